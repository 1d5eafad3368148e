"""A gateway that holds keys of users, as a process: what leaves, what is refused, and what others' programs make of it.

alice ─▶ acme's gateway ─▶ sink
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import smtplib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import pki
from commands import public
from domsec.cms.certificates import Certificate
from domsec.stores.certificates import load_certificates
from e2e.gateways import Side, arrived, pem, side
from e2e.letters import letter
from e2e.test_individuals import PROGRAMS, shown
from e2e.wire import Sink, free_ports
from e2e.world import ca_named, keys_of, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

ALICE, DAVE, ERIN = "alice@acme.example", "dave@people.example", "erin@strict.example"


@dataclass
class There:
    acme: Side
    sink: Sink
    alice: pki.Identity
    dave: pki.Identity
    folder: Path

    def send(self, login: str, to: str, octets: bytes) -> None:
        """As a mail server that has checked who logged in."""
        with smtplib.SMTP("127.0.0.1", self.acme.outbound, timeout=30) as client:
            client.ehlo()
            assert client.docmd("XCLIENT", f"LOGIN={login}")[0] == 220
            client.ehlo()
            client.sendmail(login, [to], octets)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    base = tmp_path_factory.mktemp("users")
    now = datetime.now(UTC) - timedelta(hours=1)
    people = ca_named("people CA", "rsa2048")
    keys = keys_of("acme.example")
    alice = pki.identity("user", ALICE, people, "rsa2048", now=now, days=300, name="Alice")
    dave = pki.identity("user", DAVE, people, "rsa2048", now=now, days=300, name="Dave")
    for name in ("users", "trust", "certificates"):
        (base / name).mkdir()
    (base / "users" / "alice.pem").write_bytes(pem(alice, people))
    (base / "users" / "alice.pem").chmod(0o600)
    (base / "users" / "broken.pem").write_text("nothing of use\n")
    (base / "trust" / "people.pem").write_bytes(public(people.certificate))
    (base / "certificates" / "dave.pem").write_bytes(public(dave.certificate))
    more = """\
[users]
folder = "../users"
[outbound]
user_signature = "if-held"
[[outbound.evidence]]
kind = "xclient"
[trust]
users = ["../trust"]
certificates = ["../certificates"]
[[peer]]
domain = "strict.example"
domsec = false
user_signature = "required"
encrypt = "no"
"""
    with contextlib.ExitStack() as stack:
        sink = Sink()
        stack.callback(sink.close)
        ports = free_ports(2)
        acme = side(base / "acme", keys, ports, sink.port, sink, more=more)
        file = acme.gateway.configuration
        text = file.read_text().replace("workers = 1\n", 'workers = 1\ntrusted_clients = ["127.0.0.0/8"]\n')
        file.write_text(text.replace('[[outbound.evidence]]\nkind = "network"\nnetworks = ["127.0.0.0/8"]\n', ""))
        stack.callback(acme.gateway.kill)
        acme.gateway.start()
        yield There(acme, sink, alice, dave, base)


@pytest.mark.interop
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_persons_program_shows_the_senders_own_signature(there: There, tmp_path: Path, name: str) -> None:
    sent = letter("to dave", to=DAVE)
    there.send(ALICE, DAVE, sent.octets)
    got = arrived(there.sink, sent, DAVE)
    assert sent.secret not in got
    issuer = pki.Identity(_issuer(there), there.alice.key)
    assert sent.secret in shown(name, tmp_path, got, there.dave, issuer, ["sealed", "signed"])


def _issuer(there: There) -> Certificate:
    return load_certificates([there.folder / "trust"]).certificates[0]


def test_the_grant_is_in_the_audit_trail_and_the_certificate_in_the_log(there: There) -> None:
    sent = letter("for the record", to=ERIN)
    there.send(ALICE, ERIN, sent.octets)
    assert sent.secret in arrived(there.sink, sent, ERIN)
    record = there.acme.gateway.journal()[-1]
    [group] = record["groups"]  # type: ignore[misc]
    assert group["signer"].startswith(there.alice.certificate.sha256[:16])
    assert group["made"] == "S[originator](OC)"
    with contextlib.closing(sqlite3.connect(there.acme.gateway.configuration.with_name("domsec.db"))) as store:
        rows = [json.loads(row[0]) for row in store.execute("SELECT record FROM audit WHERE event = 'grant'")]
    assert [row["user"] for row in rows if row["transaction"] == record["id"]] == [there.alice.certificate.sha256]


def test_another_login_does_not_sign_in_her_name(there: There) -> None:
    for to, action in ((ERIN, "hold"), (DAVE, "relay")):
        sent = letter("from alice, says bob", to=to)
        there.send("bob@acme.example", to, sent.octets)
        record = there.acme.gateway.journal()[-1]
        assert (record["sender"], record["action"]) == ("bob@acme.example", action)
        assert "gate.originator" in str(record["user_refused"])
        assert not any("Content-Type: multipart/signed" in str(each.content) for each in there.sink.to(to)
                       if sent.within(each.content))  # fmt: skip


def test_a_key_that_does_not_open_is_told_at_the_start_and_the_others_serve(there: There) -> None:
    assert "warning: " in there.acme.gateway.log.read_text()
    assert "broken.pem" in there.acme.gateway.log.read_text()


def test_a_new_key_comes_into_use_at_a_reload(there: There) -> None:
    now = datetime.now(UTC) - timedelta(minutes=1)
    new = pki.identity("user", ALICE, ca_named("other CA"), now=now, days=300, name="Alice")
    file = there.folder / "users" / "alice-new.pem"
    file.write_bytes(pem(new, there.alice))
    file.chmod(0o600)
    begun = there.acme.gateway.log.read_text().count("domsec: ready on")
    os.kill(there.acme.gateway.pid, signal.SIGHUP)
    wait_until(lambda: there.acme.gateway.log.read_text().count("domsec: ready on") > begun, "a reload")
    sent = letter("with the new key", to=ERIN)
    there.send(ALICE, ERIN, sent.octets)
    arrived(there.sink, sent, ERIN)
    [group] = there.acme.gateway.journal()[-1]["groups"]  # type: ignore[misc]
    assert group["signer"].startswith(new.certificate.sha256[:16])
    shutil.move(file, there.folder / "alice-new.pem")
