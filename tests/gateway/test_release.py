"""What a person let go is decided again, and what has not reached its next hop is delivered; nothing is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domsec.errors import StoreUnavailable
from domsec.gateway import release
from domsec.gateway.relay import NextHop
from domsec.gateway.server import Gateway, Handler, Listener, Settings
from domsec.gateway.workers import listen
from domsec.pipeline import Decision, Held, Outgoing, Recipient, Refused, Transaction
from domsec.stores import holds as holds_store
from domsec.stores.holds import Hold, HoldStore
from sink import Sink

NOW = datetime.now(UTC)
OCTETS = b"From: alice@acme.example\r\nSubject: owed\r\n\r\n.a line with a dot\r\n"
SIGNED = b"From: alice@acme.example\r\nSubject: signed\r\n\r\nby the domain\r\n"
BOB, CAROL = "bob@beta.example", "carol@gamma.example"
SESSION = {"client": "192.0.2.1", "helo": "pc", "auth": "alice", "protocol": "lmtp", "xforward": {"ADDR": "192.0.2.9"}}


@pytest.fixture
def holds(tmp_path: Path) -> HoldStore:
    return HoldStore.open(f"sqlite:///{tmp_path}/holds.db")


def nobody(_transaction: Transaction) -> Decision:
    raise AssertionError("nothing is decided here")


async def never(transaction: Transaction) -> Decision:
    return nobody(transaction)


@asynccontextmanager
async def gateway_to(sink: Sink, journal: Callable[..., None] | None = None) -> AsyncIterator[Gateway]:
    def keep(_transaction: Transaction, _held: Held) -> str:
        raise AssertionError("nothing is held here")

    gateway = Gateway(Settings("gw.example", "acme-1"), nobody, keep, journal=journal)
    sock = listen("127.0.0.1:0", 0o600)
    await gateway.start([(Listener("127.0.0.1:0", "smtp", "outbound", NextHop(sink.address)), sock)])
    try:
        yield gateway
    finally:
        await gateway.drain(1)


def put(
    holds: HoldStore,
    *recipients: str,
    reasons: tuple[str, ...] = ("delivery", "451 4.4.1"),
    held_at: datetime = NOW - timedelta(hours=2),
) -> str:
    return holds.put(
        direction="outbound",
        sender="alice@acme.example",
        recipients=[Recipient(r) for r in recipients],
        octets=OCTETS,
        reasons=reasons,
        transaction="t1",
        received_at=NOW,
        now=held_at,
        session=SESSION,
        ready=True,
    )


def deliver(holds: HoldStore, sink: Sink, decide: Handler = nobody, journal: Callable[..., None] | None = None) -> bool:
    """One step; whether there was anything to do."""

    async def decided(transaction: Transaction) -> Decision:
        return decide(transaction)

    async def run() -> bool:
        async with sink, gateway_to(sink, journal) as gateway:
            return await release.step(holds, decided, gateway)

    return asyncio.run(run())


def claimed_by_who_died(holds: HoldStore) -> Hold:
    """The next message, taken by a worker of which nothing was heard since."""
    hold = holds.claim(now=datetime.now(UTC) - timedelta(hours=1))
    assert hold is not None
    return hold


# --- what is owed ---------------------------------------------------------------------------------------------------


def test_what_is_owed_is_delivered_and_done(holds: HoldStore) -> None:
    held = put(holds, BOB)
    sink = Sink()
    told: list[dict[str, object]] = []
    assert deliver(holds, sink, journal=told.append)
    assert sink.contents() == [OCTETS]
    assert sink.mails[0].content.startswith(b"Received: ")
    assert holds.get(held).state == "done"
    assert [(line["action"], line["hold"], line["recipients"]) for line in told] == [("delivered", held, [BOB])]
    assert not deliver(holds, Sink())


def test_what_is_put_off_is_tried_again_later(holds: HoldStore) -> None:
    held = put(holds, BOB)
    assert deliver(holds, Sink(answers={BOB: "451 4.2.0 later"}))
    waiting = holds.get(held)
    assert waiting.state == "approved"
    assert waiting.not_before > datetime.now(UTC)
    assert not deliver(holds, Sink())


def test_what_is_refused_waits_for_a_person_and_the_rest_is_delivered_once(holds: HoldStore) -> None:
    held = put(holds, BOB, "gone@beta.example", "busy@beta.example")
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
    put(holds, BOB, held_at=NOW - timedelta(days=6))
    assert deliver(holds, Sink(answers={BOB: "451 4.2.0 later"}))
    assert [r.address for hold in holds.list("held") for r in hold.recipients] == [BOB]


# --- what a person let go -------------------------------------------------------------------------------------------


def to_both(transaction: Transaction) -> Decision:
    """Signed for one, held for the other."""
    out = Outgoing("alice@acme.example", "RET=HDRS", transaction.recipients[:1], SIGNED, (0,))
    return Decision(outgoing=(out,), held=(Held((1,), ("no_certificate",), transaction.octets),))


def test_policy_decides_again_and_its_outputs_take_the_place_of_the_message(holds: HoldStore) -> None:
    held = put(holds, BOB, CAROL, reasons=("gate.review", "review.missing"))
    seen: list[Transaction] = []
    told: list[dict[str, object]] = []

    def decide(transaction: Transaction) -> Decision:
        seen.append(transaction)
        return to_both(transaction)

    assert deliver(holds, Sink(), decide, told.append)
    (transaction,) = seen
    assert (transaction.id, transaction.octets, transaction.direction) == ("t1", OCTETS, "outbound")
    session = transaction.session
    assert (session.client_address, session.auth, session.xforward) == ("192.0.2.1", "alice", {"ADDR": "192.0.2.9"})
    assert transaction.received_at > NOW  # judged as things are now
    assert holds.get(held).state == "done"
    [owed] = holds.list("approved")
    assert owed.reasons == ("delivery", "released", held)
    [again] = holds.list("held")
    assert (again.reasons, [r.address for r in again.recipients]) == (("no_certificate",), [CAROL])
    assert [(line["action"], line["hold"]) for line in told] == [("released", owed.id), ("held", again.id)]

    sink = Sink()
    assert deliver(holds, sink)
    assert sink.contents() == [SIGNED]
    (mail,) = sink.mails
    assert (mail.sender.endswith(" RET=HDRS"), mail.recipients) == (True, [f"<{BOB}>"])


def test_what_policy_holds_again_is_not_delivered(holds: HoldStore) -> None:
    held = put(holds, BOB, reasons=("gate.originator",))
    sink = Sink()
    assert deliver(holds, sink, lambda t: Decision(held=(Held((0,), ("gate.review",), t.octets),)))
    assert (sink.mails, holds.get(held).state) == ([], "done")
    [again] = holds.list("held")
    assert (again.reasons, again.id != held) == (("gate.review",), True)


def test_what_policy_refuses_waits_for_a_person(holds: HoldStore) -> None:
    put(holds, BOB, reasons=("gate.review",))
    assert deliver(holds, Sink(), lambda _: Decision(refused=(Refused((0,), 550, "5.7.1", "no"),)))
    [left] = holds.list("held")
    assert left.reasons == ("refused", "550 5.7.1 no")
    assert holds.get(left.id).octets == OCTETS


def broken(_transaction: Transaction) -> Decision:
    raise StoreUnavailable("disk full")


@pytest.mark.parametrize(
    "decide",
    [
        pytest.param(broken, id="an error of ours"),
        pytest.param(lambda _: Decision(), id="a decision that forgets somebody"),
        pytest.param(lambda _: Decision(refused=(Refused((0,), 451, "4.3.0", "later"),)), id="a store that is away"),
    ],
)
def test_what_cannot_be_decided_now_is_decided_later(holds: HoldStore, decide: Handler) -> None:
    held = put(holds, BOB, reasons=("gate.review",))
    assert deliver(holds, Sink(), decide)
    waiting = holds.get(held)
    assert (waiting.state, waiting.octets) == ("approved", OCTETS)
    assert waiting.not_before > datetime.now(UTC)


# --- the clock is set ------------------------------------------------------------------------------------------------


def test_leases_count_again_when_those_who_live_have_renewed_them() -> None:
    time, steady = [1_000_000.0], [0.0]
    clock = release.Clock(lambda: time[0], lambda: steady[0])

    def passes(seconds: float) -> bool:
        time[0] += seconds
        steady[0] += seconds
        return clock.was_set()

    assert not passes(5)
    for jump in (86_400, -86_400, 60):
        time[0] += jump
        assert passes(5)
        assert passes(holds_store.LEASE.total_seconds() - 1)
        assert not passes(2)
    time[0] += 2  # as a clock is corrected now and then
    assert not passes(5)


def test_a_message_in_other_hands_is_not_delivered_although_the_clock_says_so(holds: HoldStore) -> None:
    put(holds, BOB)
    assert holds.claim(now=datetime.now(UTC) - timedelta(hours=1)) is not None

    async def run() -> None:
        async with Sink() as sink, gateway_to(sink) as gateway:
            assert not await release.step(holds, never, gateway, take_over=False)
            assert sink.mails == []

    asyncio.run(run())


# --- a worker dies --------------------------------------------------------------------------------------------------


def test_a_worker_that_died_deciding_changed_nothing(holds: HoldStore) -> None:
    held = put(holds, BOB, CAROL, reasons=("gate.review",))
    assert claimed_by_who_died(holds).id == held
    assert deliver(holds, Sink(), to_both)
    sink = Sink()
    assert deliver(holds, sink)
    assert sink.contents() == [SIGNED]


def test_a_worker_that_dies_storing_what_it_decided_stores_nothing(
    holds: HoldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outputs and the end of the message are one act: killed in the middle of it, neither is there."""
    held = put(holds, BOB, CAROL, reasons=("gate.review",))
    real = holds_store.sql.insert

    def killed(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(holds_store.sql, "insert", killed)
    with pytest.raises(KeyboardInterrupt):
        deliver(holds, Sink(), to_both)
    monkeypatch.setattr(holds_store.sql, "insert", real)
    assert [(each.id, each.state) for each in holds.list(None)] == [(held, "releasing")]


def test_what_may_have_been_delivered_is_not_delivered_again_by_itself(holds: HoldStore) -> None:
    """RFC 1047: nobody can know; whoever approved it can ask."""
    held = put(holds, BOB, reasons=("delivery", "released", "h1"))
    assert claimed_by_who_died(holds).id == held
    sink = Sink()
    assert deliver(holds, sink)
    assert sink.mails == []
    doubtful = holds.get(held)
    assert (doubtful.state, doubtful.note) == ("failed", release.IN_DOUBT)
    holds.mark(held, "approved", now=datetime.now(UTC))
    assert deliver(holds, sink := Sink())
    assert sink.contents() == [OCTETS]


def test_nor_is_the_part_of_it_that_was_put_off(holds: HoldStore) -> None:
    put(holds, BOB, "busy@beta.example", reasons=("delivery", "released", "h1"))
    assert deliver(holds, Sink(answers={"busy@beta.example": "450 4.2.1 later"}))
    [later] = holds.list("approved")
    holds.claim(now=later.not_before)
    again = holds.claim(now=later.not_before + holds_store.LEASE)
    assert again is not None
    assert (again.id, again.interrupted, again.reasons[:2]) == (later.id, True, ("delivery", "released"))


def test_what_nobody_released_is_rather_doubled_than_lost(holds: HoldStore) -> None:
    held = put(holds, BOB)
    assert claimed_by_who_died(holds).id == held
    assert deliver(holds, sink := Sink())
    assert sink.contents() == [OCTETS]


def test_a_delivery_that_takes_long_is_not_begun_by_another_worker(
    holds: HoldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "LEASE", timedelta(seconds=0.04))
    put(holds, BOB)
    renewed: list[str] = []
    monkeypatch.setattr(HoldStore, "renew", lambda _, hold, **__: renewed.append(hold.id))

    async def run() -> None:
        sink = Sink()
        sink.gate = asyncio.Event()
        async with sink, gateway_to(sink) as gateway:
            work = asyncio.create_task(release.step(holds, never, gateway))
            while len(renewed) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            sink.gate.set()
            await work

    asyncio.run(run())


def test_a_fault_of_ours_about_one_message_keeps_no_other(holds: HoldStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = put(holds, BOB, held_at=NOW - timedelta(hours=3)), put(holds, CAROL)
    real = release._job

    def fails(hold: Hold, *rest: object) -> object:
        if hold.id == first:
            raise RuntimeError("a bug")
        return real(hold, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(release, "_job", fails)

    async def run() -> None:
        async with Sink() as sink, gateway_to(sink) as gateway:
            beside = asyncio.create_task(release.run(holds, never, gateway, pause=0.01))
            while holds.get(second).state != "done":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            beside.cancel()
        assert len(sink.mails) == 1

    asyncio.run(run())
    assert holds.get(first).state == "releasing"  # until its claim is over


def test_a_gateway_that_is_told_to_stop_ends_the_delivery_it_has_begun(holds: HoldStore) -> None:
    held = put(holds, BOB, reasons=("delivery", "released", "h1"))

    async def run() -> None:
        sink = Sink()
        sink.gate = asyncio.Event()
        async with sink, gateway_to(sink) as gateway:
            beside = asyncio.create_task(release.run(holds, never, gateway))
            while "DATA" not in sink.commands:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            beside.cancel()
            await asyncio.sleep(0.05)
            assert not beside.done()
            sink.gate.set()
            with pytest.raises(asyncio.CancelledError):
                await beside
        assert sink.contents() == [OCTETS]

    asyncio.run(run())
    assert holds.get(held).state == "done"
