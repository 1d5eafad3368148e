"""The gateway as it runs: two workers, a CA that publishes a list, and mail that depends on it."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest

import commands
import pki
import publishing
from e2e.domsec_process import Domsec
from e2e.wire import Sink, free_ports
from e2e.world import wait_until

CONFIGURATION = """\
domains = ["acme.example"]
[listen]
inbound = "smtp:127.0.0.1:{port}"
metrics = "127.0.0.1:{metrics}"
workers = 2
[next_hop]
inbound = "smtp:127.0.0.1:{sink}"
[trust]
roles = ["ca.pem"]
revocation = "hard"
[revocation]
fetch = "crls"
folder = "fetched"
every = "1m"
ports = [{http}]
networks = ["127.0.0.0/8"]
[inbound]
on_violation = "deliver"
[store]
url = "sqlite:///domsec.db"
"""


@pytest.mark.slow
def test_revocation_is_fresh_in_every_worker_and_after_a_restart(tmp_path: Path) -> None:
    """A message that comes before anything is known is told so; one that comes after is not."""
    port, metrics = free_ports(2)
    (tmp_path / "fetched").mkdir()
    sink = Sink()
    domsec = Domsec(tmp_path / "domsec.toml", tmp_path / "domsec.log")

    def outcome() -> str:
        """What a reader of the mail is told of its domain signature."""
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.sendmail("alice@beta.example", ["bob@acme.example"], letter)
        (line,) = (line for line in sink.sent[-1].content.split(b"\r\n") if b"smime=" in line)
        return line.decode().partition("smime=")[2].split()[0].rstrip(";")

    def everywhere() -> set[str]:
        return {outcome() for _ in range(10)}

    with publishing.ca(tmp_path) as ca:
        signer = ca.issue("beta.example", "signing")
        ca.publish()
        letter = commands.domain_signed(pki.Identity(signer.certificate, signer.key), BETA)
        (tmp_path / "ca.pem").write_bytes(commands.public(ca.identity.certificate))
        (tmp_path / "domsec.toml").write_text(
            CONFIGURATION.format(port=port, metrics=metrics, sink=sink.port, http=ca.port)
        )
        domsec.start()
        try:
            assert outcome() == "temperror"
            wait_until(lambda: everywhere() == {"pass"}, "not every worker has the list", 60)
            domsec.kill()
            (ca.folder / publishing.CRL).unlink()
            domsec.start()
            assert everywhere() == {"pass"}
            ca.publish([signer.certificate])
            wait_until(lambda: everywhere() == {"fail"}, "not every worker has the new list", 60)
        finally:
            domsec.kill()
            sink.close()


BETA = commands.PLAIN.replace(b"alice@acme.example", b"alice@beta.example").replace(
    b"bob@beta.example", b"bob@acme.example"
)
