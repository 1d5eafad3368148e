"""Copies of a mail list's message at a real next hop: each member's once, and what becomes of the others."""

from __future__ import annotations

import email
from collections.abc import Iterator, Sequence
from email.policy import default

import pytest

import world
from domsec.errors import MalformedMessage, StoreUnavailable
from domsec.gateway.lists import RECIPIENTS, distribute, report
from domsec.gateway.relay import NextHop
from domsec.mime.addresses import Mailbox, parse_address
from domsec.services.maillist import Copy
from e2e.wire import Sink, free_ports

OCTETS = b"From: alice@acme.example\r\nSubject: to all\r\n\r\n.dots\r\n"
OWNER = "owner@acme.example"


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


def hop(sink: Sink) -> NextHop:
    return NextHop(f"127.0.0.1:{sink.port}", helo="lists.example")


def members(*names: str) -> tuple[Mailbox, ...]:
    return tuple(parse_address(f"{name}@beta.example") for name in names)


def copies(*groups: Sequence[str]) -> list[Copy]:
    return [Copy(members(*group), lambda: OCTETS) for group in groups]


def test_each_copy_goes_to_its_members_from_the_owner(sink: Sink) -> None:
    noted: list[str] = []
    outcome = distribute(copies("ab", "c"), OWNER, hop(sink), lambda found: noted.extend(m.local for m in found))
    assert (outcome.refused, outcome.deferred) == ((), ())
    assert [sent.recipients for sent in sink.sent] == [["a@beta.example", "b@beta.example"], ["c@beta.example"]]
    assert all(f"<{OWNER}>" in sent.sender for sent in sink.sent)
    assert {sent.content for sent in sink.sent} == {OCTETS}
    assert noted == ["a", "b", "c"]


def test_who_is_refused_hinders_nobody_else(sink: Sink) -> None:
    sink.answers = {"b@beta.example": "550 5.1.1 nobody here", "c@beta.example": "451 4.2.0 later"}
    noted: list[str] = []
    outcome = distribute(copies("abc", "d"), OWNER, hop(sink), lambda found: noted.extend(m.local for m in found))
    assert noted == ["a", "d"]
    assert [(m.local, text) for m, text in outcome.refused] == [("b", "550 5.1.1 nobody here")]
    assert [(m.local, text) for m, text in outcome.deferred] == [("c", "451 4.2.0 later")]


def test_a_next_hop_that_is_not_there_is_temporary() -> None:
    nowhere = NextHop(f"127.0.0.1:{free_ports(1)[0]}")
    outcome = distribute(copies("ab"), OWNER, nowhere, lambda found: None)
    assert [m.local for m, _ in outcome.deferred] == ["a", "b"]
    assert not outcome.refused


@pytest.mark.parametrize("count", [RECIPIENTS, RECIPIENTS + 1])
def test_a_transaction_has_no_more_recipients_than_every_server_takes(sink: Sink, count: int) -> None:
    distribute(copies([f"m{i}" for i in range(count)]), OWNER, hop(sink), lambda found: None)
    assert [len(sent.recipients) for sent in sink.sent] == ([count] if count == RECIPIENTS else [RECIPIENTS, 1])


def test_what_cannot_be_noted_ends_it_before_the_next_copy(sink: Sink) -> None:
    def full(found: Sequence[Mailbox]) -> None:
        raise StoreUnavailable("disk full")

    with pytest.raises(StoreUnavailable):
        distribute(copies("a", "b"), OWNER, hop(sink), full)
    assert len(sink.sent) == 1


def test_octets_that_smuggle_are_not_sent(sink: Sink) -> None:
    with pytest.raises(MalformedMessage):
        distribute([Copy(members("a"), lambda: b"Subject: x\n.\r\n\r\n")], OWNER, hop(sink), lambda found: None)
    assert not sink.tried


def test_a_report_says_why_in_lines_that_nothing_breaks() -> None:
    lines = ["bob@beta.example: 550 no", "x" * 2000, "two\r\nSubject: injected"]
    owner, address = parse_address(OWNER), parse_address("staff@acme.example")
    octets = report(address, owner, "List staff:\nstopped", lines, "<1@acme.example>\r\nBcc: x@y.example", world.NOW)
    made = email.message_from_bytes(octets, policy=default)
    assert (made["to"], made["from"], made["auto-submitted"]) == (OWNER, "staff@acme.example", "auto-generated")
    assert made["bcc"] is None
    assert made["subject"] == "List staff:?stopped"
    text = made.get_content()
    assert "bob@beta.example: 550 no" in text
    assert "\nSubject: injected" not in text
    assert max(map(len, octets.split(b"\r\n"))) <= 998
