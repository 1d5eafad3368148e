"""The copies of a mail list's message given to the next hop, and a word to its owner about who could not be served.

Whoever called keeps the message until all is done: what is put off here is tried again with the whole message, and
`served` then says who has it already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from domsec.gateway.data import stuffed
from domsec.gateway.metrics import Metrics
from domsec.gateway.relay import NextHop, Relay
from domsec.gateway.smtp_client import Job
from domsec.mime.addresses import Mailbox
from domsec.pipeline import Recipient
from domsec.services.maillist import Copy

RECIPIENTS: Final = 100  # of one transaction: RFC 5321 4.5.3.1.8 lets a server take no more

LINE: Final = 900  # characters of a line in a report; RFC 5322 2.1.1 has 998 octets

Problem = tuple[Mailbox, str]  # a member, and why there is nothing for it


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of whom nothing is said here, has the message."""

    refused: tuple[Problem, ...]  # for good
    deferred: tuple[Problem, ...]


def distribute(
    copies: Sequence[Copy], sender: str, hop: NextHop, accepted: Callable[[Sequence[Mailbox]], None]
) -> Outcome:
    """Give each copy to the next hop. `accepted` is told who has it, before the next copy is made.

    Raises MalformedMessage for octets that no server takes, and whatever making a copy or `accepted` raises.
    """
    return asyncio.run(_distribute(copies, sender, Relay(hop, Metrics().counters()), accepted))


async def _distribute(
    copies: Sequence[Copy],
    sender: str,
    relay: Relay,
    accepted: Callable[[Sequence[Mailbox]], None],
) -> Outcome:
    refused: list[Problem] = []
    deferred: list[Problem] = []
    watch = asyncio.create_task(_watch(relay))
    try:
        for copy in copies:
            wire = stuffed(copy.octets)
            for at in range(0, len(copy.members), RECIPIENTS):
                members = copy.members[at : at + RECIPIENTS]
                job = Job(sender, "", tuple(Recipient(member.address) for member in members), (wire,))
                answers = list(zip(members, await relay.deliver(job), strict=True))
                accepted([member for member, reply in answers if reply.positive])
                refused += [(member, str(reply)) for member, reply in answers if reply.permanent]
                deferred += [(member, str(reply)) for member, reply in answers if reply.temporary]
    finally:
        watch.cancel()
        relay.close()
    return Outcome(tuple(refused), tuple(deferred))


async def _watch(relay: Relay) -> None:
    """End connections on which nothing moves any more."""
    while True:
        await asyncio.sleep(1)
        relay.sweep(asyncio.get_running_loop().time())


def report(
    address: Mailbox, owner: Mailbox, subject: str, lines: Iterable[str], message_id: str, now: datetime
) -> bytes:
    """A message to the owner of a list. Nothing of the message it is about is in it but its Message-ID."""
    about = f"Message-ID of the message: {_line(message_id)}" if message_id else "The message has no Message-ID."
    text = "\r\n".join([*map(_line, lines), "", about, ""])
    return (
        f"From: {address.address}\r\n"
        f"To: {owner.address}\r\n"
        f"Subject: {_line(subject)}\r\n"
        f"Date: {format_datetime(now)}\r\n"
        "Auto-Submitted: auto-generated\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n"
        f"\r\n{text}"
    ).encode("utf-8", "replace")


def _line(text: str) -> str:
    """One line of a report, whatever a stranger put into it."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= LINE else shown[: LINE - 3] + "..."
