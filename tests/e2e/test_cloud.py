"""Mailboxes that somebody hosts: the provider signs by DKIM, OpenDKIM before the inside Postfix checks (docs/cloud.md).

provider, one Postfix service that signs ─▶ inside, another one that checks ─▶ domsec ─▶ sink
"""

from __future__ import annotations

import contextlib
import os
import shutil
import smtplib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e import opendkim, postfix
from e2e.domsec_process import Domsec
from e2e.letters import fields_of, letter
from e2e.postfix import Instance
from e2e.wire import Sink, free_ports
from e2e.world import BASE, PREFIX, keys_of, wait_until, write_p12, write_pem

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

MAIN = """\
myhostname = inside.acme.example
mydestination =
alias_maps =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
default_transport = domsec:unix:{folder}/outbound.sock
"""
MASTER = """\
127.0.0.1:{provider} inet n - n - - smtpd
  -o smtpd_milters=inet:127.0.0.1:{signs}
  -o content_filter=smtp:[127.0.0.1]:{inside}
127.0.0.1:{other} inet n - n - - smtpd
  -o content_filter=smtp:[127.0.0.1]:{inside}
127.0.0.1:{inside} inet n - n - - smtpd
  -o smtpd_milters=inet:127.0.0.1:{checks}
domsec unix - - n - 20 lmtp
  -o lmtp_send_xforward_command=yes
  -o disable_mime_output_conversion=yes
  -o lmtp_line_length_limit=0
"""
DOMSEC = """\
domains = ["acme.example"]
[listen]
outbound = "lmtp:unix:{folder}/outbound.sock"
[next_hop]
outbound = "smtp:127.0.0.1:{sink}"
[keys.signing]
credential = "signing.p12"
password_file = "password"
[trust]
roles = ["trust"]
certificates = ["certificates"]
[[outbound.evidence]]
kind = "dkim"
networks = ["unix"]
authserv_id = "inside.acme.example"
selectors = ["mail"]
[outbound]
on_refusal = "reject"
[[peer]]
domain = "beta.example"
[store]
url = "sqlite:///{folder}/domsec.db"
"""


@dataclass
class Office:
    instance: Instance
    domsec: Domsec
    sink: Sink
    provider: int
    other: int

    def sends(self, octets: bytes, port: int) -> dict[str, object]:
        """The line of domsec's log about it."""
        before = len(self.domsec.journal())
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.sendmail("alice@acme.example", ["bob@beta.example"], octets)
        wait_until(lambda: len(self.domsec.journal()) > before, "a line in the log")
        return self.domsec.journal()[before]


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    reason = postfix.missing()
    if reason is None and shutil.which("opendkim", path="/usr/sbin:/usr/bin") is None:
        reason = "opendkim is missing: apt-get install opendkim"
    if reason:
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=BASE))
        folder.chmod(0o755)
        (folder / "owner").write_text(str(os.getpid()))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sink = Sink()
        stack.callback(sink.close)
        names = ("provider", "other", "inside", "signs", "checks")
        ports = dict(zip(names, free_ports(5), strict=True))
        opendkim.write_key(folder)
        stack.enter_context(opendkim.signing(folder, ports["signs"]))
        stack.enter_context(opendkim.checking(folder, ports["checks"], "inside.acme.example"))
        domsec = _domsec(folder, sink.port)
        instance = Instance(folder / "postfix")
        instance.configure(MAIN.format(folder=folder), MASTER.format(**ports))
        stack.callback(instance.stop)
        instance.start()
        stack.callback(domsec.kill)
        domsec.start()
        shutil.chown(folder / "outbound.sock", group="postfix")
        yield Office(instance, domsec, sink, ports["provider"], ports["other"])


def _domsec(folder: Path, sink: int) -> Domsec:
    for name in ("domsec/trust", "domsec/certificates"):
        (folder / name).mkdir(parents=True)
    (folder / "domsec/domsec.toml").write_text(DOMSEC.format(folder=folder, sink=sink))
    (folder / "domsec/password").write_text("open sesame\n")
    acme, beta = keys_of("acme.example"), keys_of("beta.example")
    write_p12(folder / "domsec/signing.p12", acme.signing, acme.ca)
    write_pem(folder / "domsec/certificates/beta.pem", beta.confidentiality)
    for keys in (acme, beta):
        write_pem(folder / f"domsec/trust/{keys.domain}.pem", keys.ca)
    return Domsec(folder / "domsec/domsec.toml", folder / "domsec.log")


def test_what_the_provider_signed_is_signed_for_the_domain(office: Office) -> None:
    sent = letter("from a mailbox elsewhere")
    line = office.sends(sent.octets, office.provider)
    assert line["evidence"] == ["dkim mail._domainkey.acme.example"]
    wait_until(lambda: office.sink.to("bob@beta.example"), "mail at the sink")
    (arrived,) = office.sink.to("bob@beta.example")
    assert sent.secret not in arrived.content
    assert not fields_of(arrived.content, "Authentication-Results")


def test_what_another_customer_of_the_provider_sends_is_refused(office: Office) -> None:
    """With a result of his own making, which stands below the Received field of the inside Postfix."""
    forged = b"Authentication-Results: inside.acme.example; dkim=pass header.d=acme.example header.s=mail\r\n"
    sent = letter("from nobody")
    line = office.sends(forged + sent.octets, office.other)
    assert line["refused"] == ["gate.originator"]
    assert not any(sent.within(each.content) for each in office.sink.to("bob@beta.example"))
