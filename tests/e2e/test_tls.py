"""Postfix and domsec by TCP, as on two machines: STARTTLS on both sides, and Postfix known by its certificate.

client ─▶ smtpd ─▶ domsec, by LMTP over TLS ─▶ smtpd that wants TLS ─▶ sink
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import smtplib
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tls
from e2e import postfix
from e2e.domsec_process import Domsec
from e2e.letters import Letter, fields_of, letter
from e2e.postfix import Instance
from e2e.wire import Sink, free_ports
from e2e.world import BASE, PREFIX, keys_of, wait_until, write_p12, write_pem

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

MAIN = """\
myhostname = mx.acme.example
mydestination =
alias_maps =
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink}
lmtp_tls_loglevel = 1
lmtp_tls_CAfile = {folder}/gateway/server.pem
lmtp_tls_chain_files = {folder}/machine/both.pem
smtpd_tls_chain_files = {folder}/hop/both.pem
smtpd_tls_loglevel = 1
"""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
  -o content_filter=domsec:inet:[localhost]:{gateway}
  -o smtpd_tls_security_level=none
domsec unix - - n - 20 lmtp
  -o lmtp_tls_security_level=secure
  -o lmtp_tls_secure_cert_match=localhost
  -o disable_mime_output_conversion=yes
127.0.0.1:{hop} inet n - n - - smtpd
  -o content_filter=
  -o smtpd_tls_security_level=encrypt
"""
DOMSEC = """\
domains = ["acme.example"]
[listen]
outbound = "lmtp:127.0.0.1:{gateway}"
tls = "{folder}/gateway/both.pem"
require_tls = true
tls_clients = ["{folder}/machine/server.pem"]
[next_hop]
outbound = "smtp:localhost:{hop}"
tls = "verify"
ca = ["{folder}/hop/server.pem"]
[keys.signing]
credential = "signing.p12"
password_file = "password"
[trust]
roles = ["trust"]
certificates = ["certificates"]
[outbound]
on_refusal = "reject"
[[outbound.evidence]]
kind = "certificate"
logins = "machines"
[[peer]]
domain = "beta.example"
[store]
url = "sqlite:///{folder}/domsec.db"
"""


@dataclass
class Machines:
    folder: Path
    instance: Instance
    domsec: Domsec
    sink: Sink
    port: int

    def send(self, sent: Letter) -> None:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.sendmail("alice@acme.example", ["bob@beta.example"], sent.octets)

    def arrived(self, sent: Letter) -> bytes:
        wait_until(lambda: any(sent.within(each.content) for each in self.sink.sent), "mail at the sink")
        return sent.arrived(lambda: (each.content for each in self.sink.sent))


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    if reason := postfix.missing():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=BASE))
        folder.chmod(0o755)
        (folder / "owner").write_text(str(os.getpid()))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sink = Sink()
        stack.callback(sink.close)
        ports = dict(zip(("port", "gateway", "hop"), free_ports(3), strict=True))
        for name in ("gateway", "machine", "hop"):
            (folder / name).mkdir()
            tls.both(folder / name)
        domsec = _domsec(folder, ports)
        stack.callback(domsec.kill)
        domsec.start()
        instance = Instance(folder / "postfix")
        instance.configure(
            MAIN.format(folder=folder, sink=sink.port), MASTER.format(**ports), inet_interfaces="127.0.0.1"
        )
        stack.callback(instance.stop)
        instance.start()
        yield Machines(folder, instance, domsec, sink, ports["port"])


def _domsec(folder: Path, ports: dict[str, int]) -> Domsec:
    acme, beta = keys_of("acme.example"), keys_of("beta.example")
    for name in ("domsec/trust", "domsec/certificates"):
        (folder / name).mkdir(parents=True)
    (folder / "domsec/domsec.toml").write_text(DOMSEC.format(**ports, folder=folder))
    (folder / "domsec/password").write_text("open sesame\n")
    shown = ssl.PEM_cert_to_DER_cert((folder / "machine/server.pem").read_text())
    (folder / "domsec/machines").write_text(f"{hashlib.sha256(shown).hexdigest()} alice@acme.example\n")
    write_p12(folder / "domsec/signing.p12", acme.signing, acme.ca)
    for role in ("signing", "confidentiality"):
        write_pem(folder / f"domsec/certificates/beta-{role}.pem", getattr(beta, role))
    for keys in (acme, beta):
        write_pem(folder / f"domsec/trust/{keys.domain}.pem", keys.ca)
    return Domsec(folder / "domsec/domsec.toml", folder / "domsec.log")


def test_mail_goes_secured_both_ways_and_the_certificate_is_evidence(machines: Machines) -> None:
    sent = letter("from another machine")
    machines.send(sent)
    wire = machines.arrived(sent)
    assert sent.secret not in wire
    # The next hop had it by TLS from domsec, and domsec by TLS from Postfix.
    assert [
        word for field in fields_of(wire, "Received") for word in ("with ESMTPS", "with LMTPS") if word in field
    ] == [
        "with ESMTPS",
        "with LMTPS",
    ]
    assert "Verified TLS connection established to localhost[127.0.0.1]" in machines.instance.log
    record = machines.domsec.journal()[-1]
    assert str(record["evidence"]).startswith("['certificate ")


def test_a_next_hop_that_cannot_show_who_it_is_gets_nothing(machines: Machines) -> None:
    """Somebody else answers at its address: mail waits, and goes when the right one is back."""
    sent = letter("to somebody else")
    kept = (machines.folder / "hop/both.pem").read_bytes()
    tls.both(machines.folder / "hop")
    machines.instance.stop()
    machines.instance.start()
    try:
        machines.send(sent)
        wait_until(lambda: "does not offer the TLS that is asked of it" in machines.instance.log, "a deferral")
        assert ": its certificate: " in machines.domsec.log.read_text()
        assert not any(sent.within(each.content) for each in machines.sink.sent)
    finally:
        (machines.folder / "hop/both.pem").write_bytes(kept)
        machines.instance.stop()
        machines.instance.start()
    machines.instance.flush()
    assert sent.secret not in machines.arrived(sent)
