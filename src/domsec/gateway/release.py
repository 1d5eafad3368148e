"""What becomes of held messages that may go on, and delivery of what lacks nothing but a next hop.

    approved by a person          decided again, under the policy in force: its outputs take its place in the store
    owed to a next hop            delivered: such outputs, what a next hop took only in part by SMTP, words to senders

Each step is one act of the store, so that a message is never there twice, or not at all, whenever a worker dies. The
one thing no store can settle is a worker that dies while the next hop takes a message (RFC 1047). What a person
released is then left to a person again, who can ask the other side; what was owed without anybody's decision is
delivered again. What the next hop refuses for good is held for a person, never dropped: whoever sent it was told 250.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from domsec.errors import DomsecError
from domsec.gateway.data import stuffed
from domsec.gateway.holding import OWED, RELEASED, is_owed, transaction_of
from domsec.gateway.replies import Reply
from domsec.gateway.server import Gateway, check
from domsec.gateway.session import received_field
from domsec.gateway.smtp_client import Job
from domsec.pipeline import Decision, Recipient, Transaction
from domsec.stores.holds import LEASE, Addressee, Hold, HoldStore, Part

PAUSE: Final = 5.0  # seconds between looks into the store
FIRST_RETRY: Final = timedelta(minutes=1)
LAST_RETRY: Final = timedelta(hours=1)
STEP: Final = 10.0  # seconds that the time of day may run away from the steady clock between two looks
GIVE_UP: Final = timedelta(days=5)  # as mail queues do; then a person decides
IN_DOUBT: Final = "a worker ended while the next hop took it: it may have it; approve delivers it again"

_log = logging.getLogger("domsec.gateway")


Decide = Callable[[Transaction], Awaitable[Decision]]


async def run(holds: HoldStore, decide: Decide, gateway: Gateway, *, pause: float = PAUSE) -> None:
    """Let go and deliver what is due, for ever. A store that does not answer now may do so later.

    Cancelled, it ends the message in hand first.
    """
    clock = Clock()
    while True:
        try:
            while await _undisturbed(step(holds, decide, gateway, take_over=not clock.was_set())):
                pass
        except DomsecError as error:
            _log.error("held messages cannot be delivered now: %s", error)
        except Exception:  # a fault of ours about one message must not keep the others here
            _log.exception("error while delivering held messages")
        await asyncio.sleep(pause)


class Clock:
    """Notices that the time of day was set. Leases look as if they had run out then, and their workers are at work."""

    def __init__(self, now: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._steady = steady
        self._difference = now() - steady()
        self._trusted_from = steady()

    def was_set(self) -> bool:
        """Whether it was, less than a lease ago: until then every claim that is alive is renewed by the new time."""
        difference = self._now() - self._steady()
        if abs(difference - self._difference) > STEP:
            self._trusted_from = self._steady() + LEASE.total_seconds()
        self._difference = difference
        return self._steady() < self._trusted_from


async def _undisturbed(work: Coroutine[None, None, bool]) -> bool:
    """Finish what was begun although we are told to stop: half a delivery is one that nobody knows the end of."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await task
        raise


async def step(holds: HoldStore, decide: Decide, gateway: Gateway, *, take_over: bool = True) -> bool:
    """Take the next message that is due; whether there was one. Raises StoreUnavailable."""
    hold = await asyncio.to_thread(holds.claim, now=_now(), take_over=take_over)
    if hold is None or hold.octets is None:
        return False
    renewing = asyncio.create_task(_renew(holds, hold))
    try:
        if is_owed(hold):
            await _deliver(holds, hold, hold.octets, gateway)
        else:
            await _decide(holds, hold, decide, gateway)
    finally:
        renewing.cancel()
    return True


async def _renew(holds: HoldStore, hold: Hold) -> None:
    """Keep a message that takes long from being taken by another worker."""
    while True:
        await asyncio.sleep(LEASE.total_seconds() / 4)
        try:
            await asyncio.to_thread(holds.renew, hold, now=_now())
        except DomsecError as error:
            _log.error("the claim on held message %s could not be renewed: %s", hold.id, error)


# --- what was approved ----------------------------------------------------------------------------------------------


async def _decide(holds: HoldStore, hold: Hold, decide: Decide, gateway: Gateway) -> None:
    """Have policy decide what becomes of an approved message, and store that in its place."""
    transaction = transaction_of(hold, _now())
    try:
        decision = await decide(transaction)
        check(decision, transaction)
        if gateway.durable is not None:
            await gateway.durable()
    except Exception as error:
        _log.exception("error while deciding again about held message %s", hold.id)
        await _back(holds, hold, _delay(hold), f"not decided: {type(error).__name__}")
        return
    later = [refused for refused in decision.refused if refused.code < 500]
    if later:
        await _back(holds, hold, _delay(hold), later[0].text)
        return
    parts = tuple(_parts(hold, decision))
    kept = await asyncio.to_thread(holds.settle, hold, "done", now=_now(), parts=parts)
    for identifier, part in zip(kept, parts, strict=True):
        _tell(gateway, hold, "released" if part.ready else "held", identifier, part.recipients, part.reasons)


def _parts(hold: Hold, decision: Decision) -> Iterator[Part]:
    for out in decision.outgoing:
        owed = (OWED, RELEASED, hold.id)
        yield Part(out.sender, out.recipients, bytes(out.octets), owed, out.sender_parameters, ready=True)
    for held in decision.held:
        recipients = [hold.recipients[i] for i in held.indexes]
        yield Part(hold.sender, recipients, bytes(held.octets), held.reasons, hold.sender_parameters)
    for refused in decision.refused:
        recipients = [hold.recipients[i] for i in refused.indexes]
        reasons = ("refused", str(refused))
        yield Part(hold.sender, recipients, hold.octets or b"", reasons, hold.sender_parameters)


# --- what is owed ---------------------------------------------------------------------------------------------------


async def _deliver(holds: HoldStore, hold: Hold, octets: bytes, gateway: Gateway) -> None:
    if hold.interrupted and _is_released(hold):
        _log.error("message %s, held as %s, may have been delivered when a worker ended", hold.transaction, hold.id)
        await asyncio.to_thread(holds.settle, hold, "failed", now=_now(), note=IN_DOUBT)
        return
    relay = gateway.relay_of(hold.direction)
    if relay is None:
        await _back(holds, hold, LAST_RETRY, "no next hop for this direction")
        return
    replies = await relay.deliver(_job(hold, octets, gateway))
    await _settle(holds, hold, octets, replies, gateway)


def _now() -> datetime:
    return datetime.now(UTC)


def _job(hold: Hold, octets: bytes, gateway: Gateway) -> Job:
    trace = received_field(
        helo=None,
        client=None,
        hostname=gateway.settings.hostname,
        instance=gateway.mark("outbound" if hold.direction == "outbound" else "inbound"),
        protocol="ESMTP",
        identifier=hold.transaction,
        at=hold.received_at,
    )
    recipients = tuple(Recipient(r.address, r.parameters) for r in hold.recipients)
    return Job(hold.sender, hold.sender_parameters, recipients, (trace, stuffed(octets)))


async def _settle(holds: HoldStore, hold: Hold, octets: bytes, replies: Sequence[Reply], gateway: Gateway) -> None:
    """What is delivered is done, what was put off is tried again, what was refused waits for a person."""
    overdue = _now() - hold.held_at > GIVE_UP
    refused = [i for i, reply in enumerate(replies) if reply.permanent or (overdue and not reply.positive)]
    deferred = [i for i, reply in enumerate(replies) if not reply.positive and i not in refused]
    if len(deferred) == len(replies):
        await _back(holds, hold, _delay(hold), str(replies[0]))
        return
    owed = (OWED, RELEASED) if _is_released(hold) else (OWED,)
    left = [(indexes, ready) for indexes, ready in ((deferred, True), (refused, False)) if indexes]
    parts = [
        Part(
            hold.sender,
            [hold.recipients[i] for i in indexes],
            octets,
            (*owed, str(replies[indexes[0]])),
            hold.sender_parameters,
            ready=ready,
        )
        for indexes, ready in left
    ]
    kept = await asyncio.to_thread(holds.settle, hold, "done", now=_now(), parts=parts)
    delivered = [r for r, reply in zip(hold.recipients, replies, strict=True) if reply.positive]
    if delivered:
        _tell(gateway, hold, "delivered", hold.id, delivered, hold.reasons)
    for identifier, part in zip(kept, parts, strict=True):
        if not part.ready:
            _log.error("message %s was refused by the next hop and is held as %s", hold.transaction, identifier)


async def _back(holds: HoldStore, hold: Hold, wait: timedelta, note: str) -> None:
    """Have a claimed message tried again after a while."""
    now = _now()
    await asyncio.to_thread(holds.retry, hold, now=now, not_before=now + wait, note=note)


def _is_released(hold: Hold) -> bool:
    return hold.reasons[1:2] == (RELEASED,)


def _delay(hold: Hold) -> timedelta:
    factor: int = 2 ** min(hold.attempts, 10)
    return min(LAST_RETRY, FIRST_RETRY * factor)


def _tell(
    gateway: Gateway, hold: Hold, action: str, identifier: str, recipients: Sequence[Addressee], reasons: Sequence[str]
) -> None:
    """A line in the log, as every message gets one when it comes."""
    if gateway.journal is not None:
        gateway.journal(
            {
                "time": _now().isoformat(timespec="milliseconds"),
                "event": "hold",
                "id": hold.transaction,
                "direction": hold.direction,
                "action": action,
                "hold": identifier,
                "recipients": [recipient.address for recipient in recipients],
                "reasons": list(reasons),
            }
        )
