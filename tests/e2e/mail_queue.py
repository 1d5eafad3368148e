"""Senders that do as the queue of a mail server does: a message is theirs until somebody has said 250 to it.

Every attempt is kept, so that a test can tell afterwards which copies SMTP allows (RFC 5321 4.5.4.1, RFC 1047).
"""

from __future__ import annotations

import contextlib
import queue
import random
import smtplib
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

AGAIN = (0.5, 2.0)  # seconds until a message is tried again, from and to
PATIENCE = 90.0  # seconds for one answer
_IN_DOUBT = ("[next_hop_lost]", "[next_hop_timeout]")


@dataclass(frozen=True)
class Attempt:
    """What came of one: the reply, or code 0 where the connection was lost. `whole`: the final dot had been sent."""

    code: int
    text: str
    whole: bool

    @property
    def in_doubt(self) -> bool:
        """Whether the next hop may have it although nobody said so: the connection was lost, here or behind us."""
        return self.whole and (self.code == 0 or any(each in self.text for each in _IN_DOUBT))


@dataclass
class Queued:
    """A message on its way. `way` is the server it is for: the path of an LMTP socket, or a port for SMTP."""

    kind: str
    way: str | int
    sender: str
    to: str
    octets: bytes
    id: bytes
    marker: bytes
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def doubts(self) -> int:
        """How many copies may have got through beside the one that was acknowledged."""
        return sum(each.in_doubt for each in self.attempts)

    @property
    def end(self) -> Attempt | None:
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and (last.code // 100 in (2, 5)) else None


class MailQueue:
    """Threads that send what is put in, and again what was not taken."""

    def __init__(self, dice: random.Random, senders: int) -> None:
        self._dice = random.Random(dice.random())
        self._waiting: queue.PriorityQueue[tuple[float, int, Queued]] = queue.PriorityQueue()
        self._serial = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.all: list[Queued] = []
        self.open = 0  # messages that have not come to their end
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(senders)]
        for thread in self._threads:
            thread.start()

    def put(self, letters: Iterable[Queued], seconds: float) -> None:
        """Have them sent spread over a time."""
        letters = list(letters)
        begin = time.monotonic()
        self.all += letters
        self.open += len(letters)
        for number, letter in enumerate(letters):
            self._at(begin + seconds * number / len(letters), letter)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE + 5)

    def _at(self, when: float, letter: Queued) -> None:
        with self._lock:
            self._serial += 1
            self._waiting.put((when, self._serial, letter))

    def _send(self) -> None:
        kept: dict[str | int, smtplib.SMTP] = {}
        while not self._stop.is_set():
            try:
                when, serial, letter = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            if (early := when - time.monotonic()) > 0:
                self._waiting.put((when, serial, letter))
                time.sleep(min(early, 0.05))
                continue
            letter.attempts.append(attempt(kept, letter))
            with self._lock:
                pause = self._dice.uniform(*AGAIN)
                self.open -= letter.end is not None
            if letter.end is None:
                self._at(time.monotonic() + pause, letter)
        for client in kept.values():
            client.close()


def attempt(kept: dict[str | int, smtplib.SMTP], letter: Queued) -> Attempt:
    """Send a message, over a connection that is kept if there is one. Raises nothing."""
    client, whole = kept.pop(letter.way, None), False
    try:
        if client is None:
            client = _connected(letter.way)
        code, words = client.mail(letter.sender)
        if code == 250:
            code, words = client.rcpt(letter.to)
        if code == 250:
            code, words = client.docmd("DATA")
        if code == 354:
            client.send(smtplib._quote_periods(letter.octets) + b".\r\n")  # type: ignore[attr-defined]
            whole = True
            code, words = client.getreply()
        elif code != 421:
            client.rset()
    except (OSError, smtplib.SMTPException) as problem:
        if client is not None:
            client.close()
        return Attempt(0, repr(problem), whole)
    if code == 421:
        client.close()
    else:
        kept[letter.way] = client
    return Attempt(code, words.decode("ascii", "replace"), whole)


def _connected(way: str | int) -> smtplib.SMTP:
    if isinstance(way, int):
        client: smtplib.SMTP = smtplib.SMTP("127.0.0.1", way, timeout=PATIENCE)
    else:
        client = smtplib.LMTP(way, timeout=PATIENCE)
    try:
        client.ehlo()
    except (OSError, smtplib.SMTPException):
        with contextlib.suppress(OSError):
            client.close()
        raise
    return client
