"""The gateway as it runs: a certificate comes by SMTP, waits, is approved by a command, and is encrypted to."""

from __future__ import annotations

import smtplib
import urllib.request
from pathlib import Path

import pytest

from commands import PLAIN, run
from domsec.services.layers import peel
from e2e.domsec_process import Domsec
from e2e.wire import Sink, free_ports
from e2e.world import wait_until
from postgresql import Server

CONFIGURATION = """\
domains = ["beta.example"]
[listen]
inbound = "smtp:127.0.0.1:{inbound}"
outbound = "smtp:127.0.0.1:{outbound}"
metrics = "127.0.0.1:{metrics}"
workers = 2
[next_hop]
inbound = "smtp:127.0.0.1:{sink}"
outbound = "smtp:127.0.0.1:{sink}"
[trust]
roles = ["ca.crt"]
users = ["ca.crt"]
[outbound]
sign = "never"
on_no_certificate = "clear"
[[outbound.evidence]]
kind = "network"
networks = ["127.0.0.0/8"]
[[peer]]
domain = "acme.example"
encrypt = "auto"
[store]
url = "{store}"
"""


@pytest.mark.slow
def test_a_certificate_that_came_with_mail_is_used_when_somebody_approved_it(
    tmp_path: Path, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("cert", "issue", "--ca-name", "CA", "-o", "ca.pem", "--certificate", "ca.crt").code == 0
    assert run("cert", "issue", "--ca", "ca.pem", "--user", "alice@acme.example", "-o", "alice.pem").code == 0
    sink = Sink()
    inbound, outbound, metrics = free_ports(3)
    Path("domsec.toml").write_text(
        CONFIGURATION.format(
            inbound=inbound, outbound=outbound, metrics=metrics, sink=sink.port, store=postgresql.database()
        )
    )
    domsec = Domsec(tmp_path / "domsec.toml", tmp_path / "domsec.log")

    def send(port: int, sender: str, recipient: str, octets: bytes) -> bytes:
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.sendmail(sender, [recipient], octets)
        return sink.sent[-1].content

    def answered() -> str:
        """The layers in which an answer to Alice leaves."""
        answer = b"From: bob@beta.example\r\nTo: alice@acme.example\r\nSubject: re\r\n\r\nthanks\r\n"
        made = send(outbound, "bob@beta.example", "alice@acme.example", answer)
        return peel(made, ()).spine()[0].kind

    def page() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=30) as response:
            return str(response.read().decode())

    domsec.start()
    try:
        assert answered() == "content"
        signed = run("sign", "--credential", "alice.pem", stdin=PLAIN).out
        send(inbound, "alice@acme.example", "bob@beta.example", signed)
        wait_until(lambda: len(run("cert", "list", "--state", "quarantined", "--json").json) == 1, "nothing waits", 60)
        assert answered() == "content"
        (waiting,) = run("cert", "list", "--state", "quarantined", "--json").json
        assert waiting["addresses"] == ["alice@acme.example"]
        assert "domsec_certificates_harvested_total 1\n" in page()
        assert run("cert", "approve", waiting["sha256"]).code == 0
        assert answered() == "enveloped"
        assert domsec.stop() == 0
    finally:
        domsec.kill()
        sink.close()
