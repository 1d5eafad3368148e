"""Thousands of messages while everything fails at random, and the balance of every one of them at the end.

    accepted      arrived at the next hop, or stands in the hold store
    refused       never arrived
    twice         only where an attempt was in doubt: the connection was lost behind the final dot, so that whoever sent
                  it has to send it again (RFC 5321 4.5.4.1, RFC 1047). Each such attempt is counted
    sealed        its words are nowhere at the next hop
    signed        every copy verifies, and its grant is in the audit trail

DOMSEC_FAULTS_MESSAGES, DOMSEC_FAULTS_SECONDS and DOMSEC_FAULTS_SEED make a longer run, or the same one again.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from domsec.stores.audit_table import TableAudit
from domsec.stores.holds import Hold, HoldStore
from e2e.installation import KINDS, MARKER, Installation, installation
from e2e.mail_queue import MailQueue, Queued
from e2e.world import wait_until
from postgresql import Server

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("faults"), pytest.mark.slow]

MESSAGES = int(os.environ.get("DOMSEC_FAULTS_MESSAGES", "2000"))
SECONDS = float(os.environ.get("DOMSEC_FAULTS_SECONDS", "26"))
SEED = int(os.environ.get("DOMSEC_FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
SENDERS = 12
CALM = (0.3, 1.0)  # seconds between two faults, from and to
TIMEOUT = 300 + 3 * SECONDS
DRAINED = 60 + SECONDS  # seconds within which all mail is settled once nothing fails any more
RELEASED = 30.0  # and what was approved is delivered, or waits for its time

_ID = re.compile(rb"^Message-ID: (<[a-z]+-\d+@faults\.example>)", re.MULTILINE)
_TRANSACTION = re.compile(rb"\tby [^\r]*\(domsec [^\r]*\r\n\twith \S+ id ([0-9a-f]+);")


@pytest.mark.timeout(TIMEOUT)
def test_nothing_is_lost_doubled_or_shown_whatever_fails():
    with installation() as ours:
        _run(ours, MESSAGES, SECONDS, _faults(ours))


@pytest.mark.timeout(TIMEOUT)
def test_nor_is_it_where_the_store_is_a_server_that_fails_too(postgresql: Server):
    def server_fails() -> None:
        postgresql.stop()
        time.sleep(0.5)
        postgresql.start()

    with installation(store=postgresql.database(), audit="") as ours:
        beside = ("worker killed", "gateway killed", "gateway reloaded", "next hop closes when it has kept")
        faults = {"store server killed": server_fails, **{name: _faults(ours)[name] for name in beside}}
        _run(ours, MESSAGES // 4, SECONDS / 3, faults)


# --- what fails -----------------------------------------------------------------------------------------------------


def _faults(ours: Installation) -> Mapping[str, Callable[[], None]]:
    """Each fails for a while, and all is well when it returns."""

    def gateway_killed() -> None:
        ours.gateway.kill()
        ours.gateway.start()

    def gateway_restarted() -> None:
        assert ours.gateway.stop() == 0
        ours.gateway.start()

    def keyd_killed() -> None:
        ours.keyd.stop(signal.SIGKILL)
        time.sleep(0.5)
        ours.keyd.start()

    def keyd_connection_killed() -> None:
        for pid in ours.keyd.children[:1]:
            os.kill(pid, signal.SIGKILL)

    def keyd_hangs() -> None:
        with ours.keyd.hanging():
            time.sleep(1)
        time.sleep(1)

    def hop_killed() -> None:
        ours.hop.kill()
        time.sleep(0.5)
        ours.hop.start()
        ours.hop_goes_on()

    def hop_killed_with_mail_in_hand() -> None:
        ours.hop_goes_on(hang=True)
        time.sleep(0.5)
        hop_killed()

    def hop(seconds: float, **order: object) -> Callable[[], None]:
        def fails() -> None:
            ours.hop_goes_on(**order)
            time.sleep(seconds)
            ours.hop_goes_on()

        return fails

    return {
        "worker killed": ours.gateway.kill_worker,
        "gateway killed": gateway_killed,
        "gateway restarted": gateway_restarted,
        "gateway reloaded": lambda: os.kill(ours.gateway.pid, signal.SIGHUP),
        "key process killed": keyd_killed,
        "connection to key process killed": keyd_connection_killed,
        "key process hangs": keyd_hangs,
        "next hop killed": hop_killed,
        "next hop killed with mail in hand": hop_killed_with_mail_in_hand,
        "next hop hangs": hop(1.5, hang=True),
        "next hop is busy": hop(0.5, answers={"MAIL": "421 4.3.2 busy"}),
        "next hop puts off": hop(0.5, final={"": "452 4.3.1 no room"}),
        "next hop closes at DATA": hop(0.3, close_at="DATA"),
        "next hop closes before it keeps": hop(0.3, close_at="DOT"),
        "next hop closes when it has kept": hop(0.3, close_at="REPLY"),
    }


def _run(ours: Installation, count: int, seconds: float, faults: Mapping[str, Callable[[], None]]) -> None:
    print(f"seed {SEED}, {count} messages in {seconds:.0f} s")
    dice = random.Random(SEED)
    done: Counter[str] = Counter()
    ours.start()
    mail, approving = MailQueue(dice, SENDERS), _Approving(ours)
    mail.put(ours.letters(count, dice), seconds)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            left = [name for name in faults if done[name] == min(done[each] for each in faults)]
            name = dice.choice(left)  # each once before any comes again
            faults[name]()
            done[name] += 1
            time.sleep(dice.uniform(*CALM))
        _ends(lambda: mail.open == 0, DRAINED)
        approving.stop()
        _ends(lambda: not approving.once(), RELEASED)
        _ends(lambda: not _due(ours), RELEASED)
    finally:
        approving.stop()
        mail.close()
    print("\n".join(f"{number:4} {name}" for name, number in done.items()))
    assert ours.gateway.stop() == 0  # nothing moves while it is counted
    _Balance(ours, mail.all).hold()
    assert "Traceback" not in ours.gateway.log.read_text(errors="replace")


def _ends(true: Callable[[], object], seconds: float) -> None:
    """Wait, in vain perhaps: the balance tells better what is missing."""
    try:
        wait_until(true, "the end", seconds)
    except AssertionError as late:
        print(late)


class _Approving:
    """Somebody who approves what is held, one after the other, by the command and while everything fails."""

    def __init__(self, ours: Installation) -> None:
        self._ours = ours
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def once(self) -> int:
        """Approve what waits; how many did."""
        waiting = self._ours.held("held")
        for identifier in waiting:
            if not self._stopped.is_set() or threading.current_thread() is not self._thread:
                done = self._ours.hold("approve", identifier, "--credential", self._ours.reviewer)
                assert "Traceback" not in done.stderr, done.stderr
        return len(waiting)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(200)

    def _go_on(self) -> None:
        while not self._stopped.wait(1):
            self.once()


def _due(ours: Installation) -> list[Hold]:
    """What could be let go on or be delivered now."""
    holds = HoldStore.open(ours.store)
    try:
        return [each for each in holds.list("approved") if each.not_before <= datetime.now(UTC)]
    finally:
        holds.close()


# --- the balance ----------------------------------------------------------------------------------------------------


@dataclass
class _Line:
    """Of all messages of a kind."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    attempts: int = 0
    in_doubt: int = 0
    held: int = 0
    copies: int = 0
    twice: int = 0


@dataclass
class _Balance:
    ours: Installation
    mail: list[Queued]
    lines: dict[str, _Line] = field(default_factory=lambda: defaultdict(_Line))
    wrong: list[str] = field(default_factory=list)

    def hold(self) -> None:
        """Print it, and fail where it does not."""
        copies: dict[bytes, list[bytes]] = defaultdict(list)
        for each in self.ours.hop.arrived():
            found = _ID.search(each.content)
            assert found, each.content[:500]
            copies[found[1]].append(each.content)
        stored = self._stored()
        known = {letter.id for letter in self.mail}
        assert set(copies) <= known
        for letter in self.mail:
            self._settled(letter, len(copies[letter.id]), stored[letter.id])
        self._contents(copies)
        print(self)
        assert not self.wrong, "\n".join(self.wrong[:30])

    def _stored(self) -> dict[bytes, list[Hold]]:
        """What the hold store has of each message."""
        holds = HoldStore.open(self.ours.store)
        found: dict[bytes, list[Hold]] = defaultdict(list)
        try:
            for listed in holds.list(None, limit=1_000_000):
                hold = holds.get(listed.id)
                match = _ID.search(hold.octets or b"")
                assert match, hold
                found[match[1]].append(hold)
        finally:
            holds.close()
        return found

    def _settled(self, letter: Queued, copies: int, stored: list[Hold]) -> None:
        line, end, kind = self.lines[letter.kind], letter.end, KINDS[letter.kind]
        line.sent += 1
        line.attempts += len(letter.attempts)
        line.in_doubt += letter.doubts
        line.copies += copies
        line.twice += max(0, copies - 1)
        line.held += sum(hold.state not in ("done", "rejected") for hold in stored)
        if end is None:
            self._wrong(letter, f"has no end: {letter.attempts[-3:]}")
            return
        line.accepted += end.code == 250
        line.refused += end.code >= 500
        if (end.code == 250) is (kind.end == "refused"):
            self._wrong(letter, f"came to another end: {end}")
        if any("[internal]" in attempt.text for attempt in letter.attempts):
            self._wrong(letter, "met an error of ours")
        if kind.end == "held":
            self._released(letter, copies, stored)
        elif kind.end == "refused" and (copies or stored):
            self._wrong(letter, f"was refused and is there {copies} times, and {len(stored)} times in the store")
        elif kind.end == "delivered" and not 1 <= copies <= 1 + letter.doubts:
            self._wrong(letter, f"arrived {copies} times, {letter.doubts} attempts were in doubt")

    def _released(self, letter: Queued, copies: int, stored: list[Hold]) -> None:
        """Held once for each attempt that may have been one; each of these delivered once, or still there."""
        came = [hold for hold in stored if hold.reasons[:1] != ("delivery",)]
        owed = [hold for hold in stored if hold.reasons[:2] == ("delivery", "released")]
        if not 1 <= len(came) <= 1 + letter.doubts:
            self._wrong(letter, f"is held {len(came)} times, {letter.doubts} attempts were in doubt")
        if len(owed) != sum(hold.state == "done" for hold in came):
            self._wrong(letter, f"was released {len(owed)} times of {[hold.state for hold in came]}")
        delivered = sum(hold.state == "done" for hold in owed)
        doubtful = sum(hold.state in ("releasing", "failed") or hold.attempts > 1 for hold in owed)
        if not delivered <= copies <= delivered + doubtful:
            self._wrong(letter, f"arrived {copies} times of {[(hold.state, hold.attempts) for hold in owed]}")

    def _contents(self, copies: Mapping[bytes, list[bytes]]) -> None:
        """Nothing that is sealed is seen; what we signed verifies, and we were granted to sign it."""
        granted = _granted(self.ours)
        opened_by_beta = self.ours.judge(self.ours.beta)
        for letter in self.mail:
            for content in copies[letter.id]:
                if letter.kind == "inbound":
                    if letter.marker not in content or b"smime=pass" not in content:
                        self._wrong(letter, "arrived, and was not opened or not verified")
                    continue
                if KINDS[letter.kind].sealed and letter.marker in content:
                    self._wrong(letter, "ARRIVED IN CLEAR")
                verdict = opened_by_beta(content)
                if not verdict.accepted or verdict.domain != "acme.example":
                    self._wrong(letter, f"arrived and does not verify: {verdict.structure} {verdict.flags}")
                match = _TRANSACTION.search(content)
                if match is None or match[1].decode() not in granted:
                    self._wrong(letter, "was signed, and the audit trail knows nothing of it")
        shown = {found[0] for found in MARKER.finditer(self.ours.hop.journal.read_bytes())}
        for letter in self.mail:
            if KINDS[letter.kind].sealed and letter.marker in shown:
                self._wrong(letter, "STANDS IN CLEAR AT THE NEXT HOP")

    def _wrong(self, letter: Queued, what: str) -> None:
        self.wrong.append(f"{letter.id.decode()} {what}")

    def __str__(self) -> str:
        names = list(vars(_Line()))
        lines = [f"{'':10}" + "".join(f"{name:>10}" for name in names)]
        for kind in (*KINDS, "all"):
            of = [self.lines[kind]] if kind != "all" else list(self.lines.values())
            numbers = (sum(vars(line)[name] for line in of) for name in names)
            lines.append(f"{kind:10}" + "".join(f"{number:10}" for number in numbers))
        return "\n".join(lines)


def _granted(ours: Installation) -> set[str]:
    """The transactions for which we were granted to sign."""
    return {str(entry["transaction"]) for event, entry in _trail(ours) if event == "grant"}


def _trail(ours: Installation) -> Iterator[tuple[str, Mapping[str, object]]]:
    if ours.audit is not None:
        for line in ours.audit.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a worker was killed in the middle of it, before anything was sent that it grants
            yield entry["event"], entry
        return
    holds = HoldStore.open(ours.store)
    try:
        yield from ((record.event, record.fields) for record in TableAudit(holds.database).records(limit=1_000_000))
    finally:
        holds.close()
