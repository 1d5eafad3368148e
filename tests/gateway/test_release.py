"""What a next hop took only in part is delivered later, once, and never dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domsec.gateway import release
from domsec.gateway.relay import NextHop
from domsec.gateway.server import Gateway, Listener, Settings
from domsec.gateway.workers import listen
from domsec.pipeline import Decision, Held, Recipient, Transaction
from domsec.stores.holds import HoldStore
from sink import Sink

NOW = datetime.now(UTC)
OCTETS = b"From: alice@acme.example\r\nSubject: owed\r\n\r\n.a line with a dot\r\n"


@pytest.fixture
def holds(tmp_path: Path) -> HoldStore:
    return HoldStore.open(f"sqlite:///{tmp_path}/holds.db")


@asynccontextmanager
async def gateway_to(sink: Sink) -> AsyncIterator[Gateway]:
    def nobody(_transaction: Transaction) -> Decision:
        raise AssertionError("nothing is received here")

    def never(_transaction: Transaction, _held: Held) -> str:
        raise AssertionError("nothing is held here")

    gateway = Gateway(Settings("gw.example", "acme-1"), nobody, never)
    sock = listen("127.0.0.1:0", 0o600)
    await gateway.start([(Listener("127.0.0.1:0", "smtp", "outbound", NextHop(sink.address)), sock)])
    try:
        yield gateway
    finally:
        await gateway.drain(1)


def put(holds: HoldStore, *recipients: str, reason: str = "delivery", held_at: datetime = NOW) -> str:
    return holds.put(
        direction="outbound",
        sender="alice@acme.example",
        recipients=[Recipient(r) for r in recipients],
        octets=OCTETS,
        reasons=(reason, "451 4.4.1"),
        transaction="t1",
        received_at=NOW,
        now=held_at,
        ready=True,
    )


def deliver(holds: HoldStore, sink: Sink) -> bool:
    async def run() -> bool:
        async with sink, gateway_to(sink) as gateway:
            return await release.deliver_next(holds, gateway)

    return asyncio.run(run())


def test_what_is_owed_is_delivered_and_done(holds: HoldStore) -> None:
    held = put(holds, "bob@beta.example")
    sink = Sink()
    assert deliver(holds, sink)
    assert sink.contents() == [OCTETS]
    assert sink.mails[0].content.startswith(b"Received: ")
    assert holds.get(held).state == "done"
    assert not deliver(holds, Sink())


def test_what_is_put_off_is_tried_again_later(holds: HoldStore) -> None:
    held = put(holds, "bob@beta.example")
    assert deliver(holds, Sink(answers={"bob@beta.example": "451 4.2.0 later"}))
    waiting = holds.get(held)
    assert waiting.state == "approved"
    assert waiting.not_before > datetime.now(UTC)
    assert not deliver(holds, Sink())


def test_what_is_refused_waits_for_a_person_and_the_rest_is_delivered_once(holds: HoldStore) -> None:
    held = put(holds, "bob@beta.example", "gone@beta.example", "busy@beta.example")
    answers = {"gone@beta.example": "550 5.1.1 nobody of that name", "busy@beta.example": "450 4.2.1 later"}
    sink = Sink(answers=answers)
    assert deliver(holds, sink)
    assert [mail.recipients for mail in sink.mails] == [["<bob@beta.example>"]]
    assert holds.get(held).state == "done"
    [waiting] = holds.list("held")
    assert [r.address for r in waiting.recipients] == ["gone@beta.example"]
    assert "550" in waiting.reasons[1]
    [again] = holds.list("approved")
    assert [r.address for r in again.recipients] == ["busy@beta.example"]


def test_a_message_nobody_takes_for_days_waits_for_a_person(holds: HoldStore) -> None:
    put(holds, "bob@beta.example", held_at=NOW - timedelta(days=6))
    assert deliver(holds, Sink(answers={"bob@beta.example": "451 4.2.0 later"}))
    assert [r.address for hold in holds.list("held") for r in hold.recipients] == ["bob@beta.example"]


def test_what_policy_held_is_never_delivered_past_it(holds: HoldStore) -> None:
    held = put(holds, "bob@beta.example", reason="gate.originator")
    sink = Sink()
    assert deliver(holds, sink)
    assert sink.mails == []
    assert holds.get(held).state == "failed"
