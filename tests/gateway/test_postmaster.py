"""domsec.gateway.postmaster: who looks after the gateway is told, and not more often than wanted."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import logging
import smtplib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import world
from commands import run
from domsec.errors import StoreUnavailable
from domsec.gateway.postmaster import KEPT, Ear, Postmaster, notice
from domsec.mime.addresses import parse_address
from domsec.policy.options import Notices
from domsec.stores.holds import HoldStore
from domsec.stores.notices import Line, NoticeStore, Pending
from e2e.domsec_process import Domsec
from e2e.wire import Sink, free_ports
from e2e.world import wait_until

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TO = "postmaster@acme.example"


def said(ear: Ear, *texts: str, level: int = logging.ERROR) -> None:
    logger = logging.Logger("domsec.gateway")
    logger.addHandler(ear)
    for text in texts:
        logger.log(level, text)


def postmaster(tmp_path: Path, to: str | None = TO) -> Postmaster:
    holds = HoldStore.open(f"sqlite:///{tmp_path}/domsec.db")
    notices = Notices(to=None if to is None else parse_address(to))
    configuration = dataclasses.replace(world.acme_site().configuration, notices=notices)
    return Postmaster(configuration, NoticeStore(holds.database), holds, "mx.acme.example")


def test_errors_are_told_in_one_message_that_is_owed_to_the_next_hop(tmp_path: Path) -> None:
    telling = postmaster(tmp_path)
    said(telling.ear, "a next hop does not answer", "a next hop does not answer", "a key\r\nends")
    said(telling.ear, "only a warning", level=logging.WARNING)
    assert telling.look(NOW)
    (kept,) = telling.holds.list("approved")
    whole = telling.holds.get(kept.id)
    assert (whole.sender, [r.address for r in whole.recipients], whole.reasons) == ("", [TO], ("delivery", "notice"))
    read = email.message_from_bytes(whole.octets or b"", policy=email.policy.SMTP)
    assert (read["To"], read["Auto-Submitted"]) == (TO, "auto-generated")
    assert read["Subject"] == "domsec on mx.acme.example: 2 errors"
    text = read.get_content()
    assert "2026-11-23 12:00Z a next hop does not answer (2 times)" in text
    assert "2026-11-23 12:00Z a key ends" in text
    assert "warning" not in text


def test_nobody_is_told_twice_within_the_time(tmp_path: Path) -> None:
    telling = postmaster(tmp_path)
    said(telling.ear, "first")
    assert telling.look(NOW)
    said(telling.ear, "second")
    assert not telling.look(NOW + timedelta(minutes=59))
    assert telling.look(NOW + timedelta(minutes=60))


def test_without_an_address_nobody_is_told(tmp_path: Path) -> None:
    telling = postmaster(tmp_path, to=None)
    said(telling.ear, "first")
    assert not telling.look(NOW)


def test_what_the_store_could_not_take_is_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    telling = postmaster(tmp_path)
    said(telling.ear, "the store does not answer")
    with monkeypatch.context() as patched:
        patched.setattr(NoticeStore, "note", _away)
        with pytest.raises(StoreUnavailable):
            telling.look(NOW)
    said(telling.ear, "the store does not answer")
    assert telling.look(NOW)
    assert b"(2 times)" in (telling.holds.get(telling.holds.list("approved")[0].id).octets or b"")


def _away(*_: object) -> None:
    raise StoreUnavailable("away")


def test_a_flood_of_errors_costs_no_memory() -> None:
    ear = Ear()
    said(ear, *(f"error {i}" for i in range(KEPT + 100)), "error 0")
    heard = ear.taken()
    assert len(heard) == KEPT
    assert heard["error 0"] == 2
    assert ear.taken() == {}


def test_no_line_of_a_notice_can_be_two() -> None:
    pending = Pending((Line("bad\u2028\x1b[31m\r\nSubject: x", 1, NOW),), 3, 1, 2)
    octets = notice(pending, TO, "mx.acme.example", NOW)
    read = email.message_from_bytes(octets, policy=email.policy.SMTP)
    assert read["Subject"] == "domsec on mx.acme.example: 1 held, 1 error"
    assert "bad??[31m??Subject: x" in read.get_content()
    assert "3 messages wait for a decision, 1 of them since the last notice" in read.get_content()
    assert "2 messages could not be delivered" in read.get_content()


CONFIGURATION = """\
domains = ["acme.example"]
[listen]
outbound = "smtp:127.0.0.1:{outbound}"
workers = 2
[next_hop]
outbound = "smtp:127.0.0.1:{sink}"
[keys.signing]
credential = "signing.pem"
[trust]
roles = ["ca.crt"]
[notices]
to = "postmaster@acme.example"
[store]
url = "sqlite:///domsec.db"
[[peer]]
domain = "beta.example"
"""


@pytest.mark.slow
def test_the_gateway_as_it_runs_tells_of_a_held_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("cert", "issue", "--ca-name", "CA", "-o", "ca.pem", "--certificate", "ca.crt").code == 0
    issued = run(
        "cert", "issue", "--ca", "ca.pem", "--role", "signing", "--domain", "acme.example", "-o", "signing.pem"
    )
    assert issued.code == 0
    sink = Sink()
    (port,) = free_ports(1)
    Path("domsec.toml").write_text(CONFIGURATION.format(outbound=port, sink=sink.port))
    domsec = Domsec(tmp_path / "domsec.toml", tmp_path / "domsec.log")
    domsec.start()
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            octets = b"From: alice@acme.example\r\nTo: bob@beta.example\r\n\r\nnobody knows who I am\r\n"
            client.sendmail("alice@acme.example", ["bob@beta.example"], octets)
        wait_until(lambda: sink.sent, "a notice")
    finally:
        domsec.kill()
        sink.close()
    (told,) = sink.sent
    assert b"To: <postmaster@acme.example>" in told.content
    assert b"1 message waits for a decision" in told.content
