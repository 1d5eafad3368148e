"""Delivery of what is held and lacks nothing else: approved by a person, or what a next hop took only in part by SMTP.

At least once: a message that was delivered and could not be marked so is delivered again. What the next hop refuses for
good is held for a person, never dropped: whoever sent it was told 250.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from domsec.errors import DomsecError
from domsec.gateway.data import stuffed
from domsec.gateway.replies import Reply
from domsec.gateway.server import Gateway
from domsec.gateway.session import received_field
from domsec.gateway.smtp_client import Job
from domsec.pipeline import Recipient
from domsec.stores.holds import Hold, HoldStore

PAUSE: Final = 30.0  # seconds between looks into the store
FIRST_RETRY: Final = timedelta(minutes=1)
LAST_RETRY: Final = timedelta(hours=1)
GIVE_UP: Final = timedelta(days=5)  # as mail queues do; then a person decides

_log = logging.getLogger("domsec.gateway")


async def run(holds: HoldStore, gateway: Gateway, *, pause: float = PAUSE) -> None:
    """Deliver what is due, for ever. A store that does not answer now may do so later."""
    while True:
        try:
            while await deliver_next(holds, gateway):
                pass
        except DomsecError as error:
            _log.error("held messages cannot be delivered now: %s", error)
        await asyncio.sleep(pause)


async def deliver_next(holds: HoldStore, gateway: Gateway) -> bool:
    """Try the next message that is due; whether there was one. Raises StoreUnavailable."""
    hold = holds.claim(now=_now())
    if hold is None or hold.octets is None:
        return False
    if hold.reasons[:1] != ("delivery",):  # never past the policy that held it: only what lacked nothing but a next hop
        holds.mark(hold.id, "failed", now=_now(), by="gateway", note="held by policy, to be decided again")
        return True
    relay = gateway.relay_of(hold.direction)
    if relay is None:
        holds.retry(hold.id, now=_now(), not_before=_now() + LAST_RETRY, note="no next hop for this direction")
        return True
    replies = await relay.deliver(_job(hold, hold.octets, gateway))
    _settle(holds, hold, hold.octets, replies)
    return True


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


def _settle(holds: HoldStore, hold: Hold, octets: bytes, replies: Sequence[Reply]) -> None:
    """What is delivered is done, what was put off is tried again, what was refused waits for a person."""
    overdue = _now() - hold.held_at > GIVE_UP
    refused = [i for i, reply in enumerate(replies) if reply.permanent or (overdue and not reply.positive)]
    deferred = [i for i, reply in enumerate(replies) if not reply.positive and i not in refused]
    if len(deferred) == len(replies):
        delay = min(LAST_RETRY, FIRST_RETRY * 2 ** min(hold.attempts, 10))
        holds.retry(hold.id, now=_now(), not_before=_now() + delay, note=_text(replies[0]))
        return
    for indexes, ready in ((deferred, True), (refused, False)):
        if indexes:
            reasons = ("delivery", _text(replies[indexes[0]]))
            kept = _put_again(holds, hold, octets, indexes, reasons, ready=ready)
            if not ready:
                _log.error("message %s was refused by the next hop and is held as %s", hold.transaction, kept)
    holds.mark(hold.id, "done", now=_now(), by="gateway")


def _put_again(
    holds: HoldStore, hold: Hold, octets: bytes, indexes: Sequence[int], reasons: Sequence[str], *, ready: bool
) -> str:
    return holds.put(
        direction=hold.direction,
        sender=hold.sender,
        sender_parameters=hold.sender_parameters,
        recipients=[hold.recipients[i] for i in indexes],
        octets=octets,
        reasons=reasons,
        transaction=hold.transaction,
        received_at=hold.received_at,
        now=_now(),
        session=hold.session,
        ready=ready,
    )


def _text(reply: Reply) -> str:
    return f"{reply.code} {reply.enhanced} {reply.text}"
