"""Notices for the postmaster: what the log says as errors, and held messages, in one mail at most every so often.

Each worker keeps the errors it logs and puts them into the store every few seconds; whichever is first when it is time
writes the notice. It is held as what is owed to a next hop, and so is delivered like that: again and again until it is.
What the store or the next hop keeps from being told stands in the log, `/readyz` and `/metrics` all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from domsec.errors import DomsecError
from domsec.gateway.holding import OWED
from domsec.pipeline import Recipient
from domsec.policy.configuration import Configuration
from domsec.stores.holds import HoldStore
from domsec.stores.notices import LENGTH, Line, NoticeStore, Pending

PAUSE: Final = 10.0  # seconds between looks
KEPT: Final = 200  # different errors of one worker between two looks

_log = logging.getLogger("domsec.gateway")


class Ear(logging.Handler):
    """Hears the errors of a process, each with how often it was said."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._heard: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`, under the lock of this handler. A traceback is for the log only."""
        text = " ".join(record.getMessage().split())[:LENGTH]
        if text in self._heard or len(self._heard) < KEPT:
            self._heard[text] = self._heard.get(text, 0) + 1

    def taken(self) -> dict[str, int]:
        """What was heard since the last time."""
        self.acquire()
        heard, self._heard = self._heard, {}
        self.release()
        return heard

    def give_back(self, heard: dict[str, int]) -> None:
        """What could not be told is heard again."""
        self.acquire()
        self._heard = {**heard, **{t: n + heard.get(t, 0) for t, n in self._heard.items()}}
        self.release()


@dataclass(frozen=True, slots=True)
class Postmaster:
    """Of one worker."""

    configuration: Configuration
    notices: NoticeStore
    holds: HoldStore
    hostname: str
    ear: Ear = field(default_factory=Ear)

    def look(self, now: datetime) -> bool:
        """Keep what was heard, and write the notice if it is time; whether there was one. Raises StoreUnavailable."""
        options = self.configuration.notices
        if options.to is None:
            return False
        heard = self.ear.taken()
        try:
            if heard:
                self.notices.note(heard, now)
        except DomsecError:
            self.ear.give_back(heard)
            raise
        pending = self.notices.take(now, options.every)
        if pending is None:
            return False
        self.holds.put(
            direction="inbound" if self.configuration.next_hop.inbound is not None else "outbound",
            sender="",
            recipients=(Recipient(options.to.address),),
            octets=notice(pending, options.to.address, self.hostname, now),
            reasons=(OWED, "notice"),
            transaction=f"notice-{now:%Y%m%d%H%M%S}",
            received_at=now,
            now=now,
            ready=True,
        )
        return True


async def run(postmaster: Postmaster, now: Callable[[], datetime], *, pause: float = PAUSE) -> None:
    """Look again and again, for ever. A store that does not answer now may do so later."""
    logger = logging.getLogger("domsec")
    logger.addHandler(postmaster.ear)
    try:
        while True:
            await asyncio.sleep(pause)
            try:
                await asyncio.to_thread(postmaster.look, now())
            except DomsecError as error:
                _log.warning("the postmaster cannot be told now: %s", error)
            except Exception:  # nobody else would say it
                _log.exception("error while telling the postmaster")
    finally:
        logger.removeHandler(postmaster.ear)


def notice(pending: Pending, to: str, hostname: str, now: datetime) -> bytes:
    """The message: nothing in it is from any mail but what the log would show, each on one line."""
    head = (
        f"From: Mail gateway <MAILER-DAEMON@{hostname}>",
        f"To: <{to}>",
        f"Subject: domsec on {hostname}: {_subject(pending)}",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <notice.{now:%Y%m%d%H%M%S%f}@{hostname}>",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
    )
    text = "\r\n".join((*head, "", *_body(pending), ""))
    return text.encode("utf-8", "replace")


def _subject(pending: Pending) -> str:
    parts = []
    if pending.newly_held:
        parts.append(f"{pending.newly_held} held")
    if pending.lines:
        parts.append("1 error" if len(pending.lines) == 1 else f"{len(pending.lines)} errors")
    return ", ".join(parts)


def _body(pending: Pending) -> Iterator[str]:
    if pending.held:
        new = f", {pending.newly_held} of them since the last notice" if pending.newly_held else ""
        waiting = "1 message waits" if pending.held == 1 else f"{pending.held} messages wait"
        yield f"{waiting} for a decision{new}: domsec hold list"
    if pending.failed:
        failed = "1 message" if pending.failed == 1 else f"{pending.failed} messages"
        yield f"{failed} could not be delivered, or perhaps were: domsec hold list --state failed"
    if pending.lines:
        yield from ("", "Errors in the log:", "")
        yield from map(_told, pending.lines)
    yield from ("", "The next notice comes when there is something new, and not before its time (notices.every).")


def _told(line: Line) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in line.text)
    times = f" ({line.count} times)" if line.count > 1 else ""
    return f"{line.since:%Y-%m-%d %H:%M}Z {shown}{times}"
