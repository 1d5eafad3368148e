"""Revocation kept fresh, while no message waits for it: what paths want is fetched, and a new snapshot is swapped in.

    a path holds        it is noted (`Refresher.note`), which costs a message one append
    every PAUSE         notes are written to the folder, what is new in the folder becomes a snapshot, and the one
                        process that has the folder's lock fetches what is due
    what was fetched    is kept if its issuer signed it, it holds now, and it is no older than what was there; a list
                        that covers something else does not take the place of one that holds

Where a place does not answer, what is known of it goes on for as long as it holds, and for the grace of the
configuration.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from domsec.cms.certificates import Certificate
from domsec.errors import DomsecError, MalformedMessage, StoreUnavailable
from domsec.gateway.http_get import SIZE as LARGEST
from domsec.gateway.http_get import FetchFailed, Got, Guard, get
from domsec.gateway.metrics import Counters
from domsec.stores.revocations import Fetched, RevocationFolder
from domsec.trust.crl import Crl, CrlIndex
from domsec.trust.ocsp import MAX_SIZE as LARGEST_RESPONSE
from domsec.trust.ocsp import OcspIndex, OcspResponse
from domsec.trust.path import Validator
from domsec.trust.places import Place, accepted_crl, accepted_response, places, refusal

PAUSE: Final = 5.0  # seconds between looks into the folder
FIRST_RETRY: Final = timedelta(minutes=1)
SOONEST: Final = timedelta(minutes=1)  # after a success, however soon it ends
AT_ONCE: Final = 4  # places that are asked at the same time
ROUND: Final = 32  # and until notes are looked at again; those that failed come last, as they may be slow too
FORGETTING: Final = timedelta(days=1)  # how often places are looked for that nobody wants any more
NOTES: Final = 1000  # paths of which notes wait to be written

_log = logging.getLogger("domsec.gateway")


@dataclass(frozen=True, slots=True)
class Refresh:
    """What the configuration says."""

    kinds: frozenset[str]  # of "crl", "ocsp"
    every: timedelta
    guard: Guard
    grace: timedelta = timedelta(0)
    size: int = 32 * 1024 * 1024  # octets of all that was fetched; in memory some eight times that


@dataclass(slots=True)
class _State:
    """When a place is due, and how often it failed in a row."""

    due: datetime
    failures: int = 0


@dataclass(frozen=True)
class _Known:
    """What stood at a place last, and what was read of it."""

    fetched: Fetched
    found: Crl | OcspResponse | None = None

    @property
    def until(self) -> datetime | None:
        """How long it holds; None if nothing is known."""
        if isinstance(self.found, Crl):
            return self.found.next_update
        ends = [answer.until(timedelta(0)) for answer in self.found.answers] if self.found is not None else []
        return min(ends, default=None)


@dataclass
class Refresher:
    """For one process. `base` is what the configuration's files and tables say; `swap` gets each new validator."""

    folder: RevocationFolder
    settings: Refresh
    base: Validator
    swap: Callable[[Validator], None]
    counters: Counters | None = None
    own: tuple[Certificate, ...] = ()  # whose places are wanted from the start
    _notes: deque[tuple[Certificate, ...]] = field(default_factory=lambda: deque(maxlen=NOTES))
    _generation: object = None
    _known: dict[str, _Known] = field(default_factory=dict)  # by the name of the place
    _sizes: dict[str, int] = field(default_factory=dict)  # of what is known, and of what is being taken
    _states: dict[str, _State] = field(default_factory=dict)
    _forgot: datetime | None = None

    def note(self, chain: tuple[Certificate, ...]) -> None:
        """A path holds, so revocation of its certificates is wanted. Called while a message is judged."""
        self._notes.append(chain)

    def load(self) -> bool:
        """Swap in what the folder has, if that is not what it had; whether it was. Raises StoreUnavailable."""
        generation = self.folder.generation()
        if generation == self._generation:
            return False
        known: dict[str, _Known] = {}
        sizes: dict[str, int] = {}
        room = self.settings.size
        for entry in self.folder.entries():
            if entry.place.kind in self.settings.kinds:
                name = entry.place.name
                known[name] = self._read(entry, room)
                sizes[name] = len(known[name].fetched.octets)
                room -= sizes[name]
        self._known, self._sizes = known, sizes
        self.swap(self._validator())
        self._generation = generation
        return True

    def _read(self, entry: Fetched, room: int) -> _Known:
        """What was read before is taken again, with all that was found out about it. What there is no room for, as
        the option may have been lowered, is as if it had never been fetched."""
        if len(entry.octets) > room:
            _log.warning("what was fetched from %s is not used: %s", shown(entry.place), self._no_room)
            return _Known(Fetched(entry.place))
        before = self._known.get(entry.place.name)
        if before is not None and before.fetched == entry:
            return before
        if not entry.octets:
            return _Known(entry)
        try:
            return _Known(entry, Crl(entry.octets) if entry.place.kind == "crl" else OcspResponse(entry.octets))
        except MalformedMessage as problem:
            _log.warning("what was fetched from %s is not used: %s", shown(entry.place), refusal(problem))
            return _Known(entry)

    def _validator(self) -> Validator:
        """With everything that takes long done before a message asks for it."""
        own, grace = self.base.snapshot, self.settings.grace
        found = [known.found for known in self._known.values()]
        lists = dict.fromkeys(each for each in found if isinstance(each, Crl))
        answers = dict.fromkeys(each for each in found if isinstance(each, OcspResponse))
        crls = CrlIndex((*own.crls.crls, *lists), grace)
        for issuer in {known.fetched.place.issuer for known in self._known.values() if known.found is not None}:
            crls.prepare(issuer)
        responses = OcspIndex((*own.ocsp.responses, *answers), grace)
        return self.base.on(replace(own, crls=crls, ocsp=responses), note=self.note)

    # -- beside the mail -------------------------------------------------------------------------------------------

    async def run(self, *, pause: float = PAUSE) -> None:
        """Keep it fresh, for ever. A folder that fails now may do so no longer later."""
        await asyncio.to_thread(self._want_own, datetime.now(UTC))
        try:
            while True:
                try:
                    await asyncio.to_thread(self.look)
                    if await asyncio.to_thread(self.folder.lock):
                        await self.fetch_due(datetime.now(UTC))
                except DomsecError as error:
                    _log.error("revocation cannot be kept fresh now: %s", error)
                except Exception:
                    _log.exception("error while revocation was kept fresh")
                await asyncio.sleep(pause)
        finally:
            self.folder.unlock()  # a process that retires may serve its connections for long

    def _want_own(self, now: datetime) -> None:
        snapshot = self.base.snapshot
        noting = self.base.on(snapshot, note=self.note)
        for certificate in self.own:
            noting.validate(certificate, anchors=snapshot.roles | snapshot.users, now=now, revocation="soft")

    def look(self) -> None:
        """Write down what is wanted, and take what others fetched. Raises StoreUnavailable."""
        while self._notes:
            for place in places(self._notes[0]):
                if place.kind in self.settings.kinds:
                    self.folder.want(place)
            self._notes.popleft()  # only now: a folder that failed is to have it later
        self.load()

    async def fetch_due(self, now: datetime) -> int:
        """Ask places that are due, at most ROUND of them; how many were. Raises StoreUnavailable."""
        if self._forgot is None or now - self._forgot >= FORGETTING:
            await asyncio.to_thread(self.folder.forget_unwanted)
            self._forgot = now
        self._states = {
            name: self._states.get(name) or _State(self._first_due(known, now)) for name, known in self._known.items()
        }
        self._gauge(now)
        states = self._states
        until = now + self.settings.every  # nothing is due later, unless the clock was set back
        names = sorted(
            (n for n in states if not now < states[n].due <= until), key=lambda n: (states[n].failures, states[n].due)
        )
        due = [self._known[name] for name in names[:ROUND]]
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(known: _Known) -> None:
            async with slots:
                await self._fetch(known, now)

        await asyncio.gather(*(one(known) for known in due))
        if due:
            await asyncio.to_thread(self.load)
        return len(due)

    def _first_due(self, known: _Known, now: datetime) -> datetime:
        """After a restart what holds is not asked for at once."""
        until = known.until
        return now if until is None or until <= now else min(until, now + self.settings.every / 4)

    async def _fetch(self, known: _Known, now: datetime) -> None:
        entry = known.fetched
        state = self._states[entry.place.name]
        try:
            got = await self._got(known)
            kept = known if got.octets is None else await self._taken(known, got, got.octets, now)
        except StoreUnavailable:
            raise
        except Exception as problem:  # of this place only: the others are still to be asked
            if not isinstance(problem, DomsecError):
                _log.exception("error while %s was fetched", shown(entry.place))
                problem = FetchFailed("an error of ours")
            state.failures += 1
            state.due = now + min(self.settings.every, FIRST_RETRY * 2 ** min(state.failures - 1, 10))
            self._count("fetches_failed")
            _log.warning("%s is not fetched: %s", shown(entry.place), refusal(problem))
            return
        state.failures = 0
        self._count("fetches_same" if got.octets is None else "fetches_new")
        until = kept.until
        soon = self.settings.every if until is None else max(SOONEST, (until - now) / 2)
        state.due = now + min(self.settings.every, soon)

    async def _got(self, known: _Known) -> Got:
        entry = known.fetched
        try:
            uri = entry.place.get
        except DomsecError as problem:
            raise FetchFailed(str(problem)) from None
        room = self._room(entry.place)
        if room <= 0:
            raise FetchFailed(self._no_room)
        if entry.place.kind == "ocsp":
            return await get(uri, self.settings.guard, size=min(LARGEST_RESPONSE, room))
        size = min(LARGEST, room)
        if known.found is None:  # then it is of no use to hear that nothing changed
            return await get(uri, self.settings.guard, size=size)
        return await get(uri, self.settings.guard, etag=entry.etag, modified=entry.modified, size=size)

    @property
    def _no_room(self) -> str:
        return f"all that was fetched may have {self.settings.size} octets (revocation.size)"

    def _room(self, place: Place) -> int:
        """What may stand at a place, beside all others."""
        return self.settings.size - sum(size for name, size in self._sizes.items() if name != place.name)

    async def _taken(self, known: _Known, got: Got, octets: bytes, now: datetime) -> _Known:
        """Keep what came, if there still is room for it. Raises FetchFailed, and as `_accepted`."""
        place = known.fetched.place
        if len(octets) > self._room(place):
            raise FetchFailed(self._no_room)
        before = self._sizes.get(place.name, 0)
        self._sizes[place.name] = max(before, len(octets))
        kept = None
        try:
            kept = await asyncio.to_thread(self._accepted, known, got, octets, now)
        finally:
            self._sizes[place.name] = before if kept is None else len(octets)
        return kept

    def _accepted(self, known: _Known, got: Got, octets: bytes, now: datetime) -> _Known:
        """Keep what came. Raises MalformedMessage for what is not wanted, StoreUnavailable."""
        place = known.fetched.place
        found: Crl | OcspResponse
        if place.kind == "crl":
            found = accepted_crl(octets, place, now)
            if isinstance(known.found, Crl):
                _check_successor(known.found, found, now)
        else:
            found = accepted_response(
                octets, place, now, known.found if isinstance(known.found, OcspResponse) else None
            )
        kept = Fetched(place, octets, got.etag, got.modified)
        self.folder.put(kept)
        return _Known(kept, found)

    def _gauge(self, now: datetime) -> None:
        if self.counters is None:
            return
        ends = [known.until for known in self._known.values()]
        self.counters.set("revocation_places", len(ends))
        self.counters.set("revocation_stale", sum(end is None or end < now for end in ends))
        self.counters.set("revocation_octets", sum(self._sizes.values()))

    def _count(self, key: str) -> None:
        if self.counters is not None:
            self.counters.add(key)


def _check_successor(before: Crl, found: Crl, now: datetime) -> None:
    """Raises MalformedMessage for a list that would make us forget what we know. Whoever stands between can send any
    list of the issuer, such as that of another distribution point, or what changed since."""
    if found.this_update < before.this_update:
        raise MalformedMessage(f"a revocation list older than the one of {before.this_update:%Y-%m-%d}")
    if found.scope != before.scope and before.current(now):
        known = f"the one of {before.this_update:%Y-%m-%d}"
        raise MalformedMessage(f"a revocation list that covers something else than {known}")


def shown(place: Place) -> str:
    """A place in the log."""
    if place.certificate is None:
        return place.uri
    return f"{place.uri} (certificate {place.certificate.sha256[:16]})"
