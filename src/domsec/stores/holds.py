"""Held messages: stored durably before the 250, with all that releasing them later needs (measurements-mail E, A6).

    held ──> approved ──> releasing ──> done
     │  └──> rejected        │ │
     └─────> expired         │ └──────> failed ──> approved, rejected
                             └──> approved (another attempt later)

A held message stays held where a review was added and more are needed. What a message becomes (its outputs, parts that
are still owed, a word to the sender) is stored by the act that ends it: there is no moment in which both are there, or
neither. A message being released is leased: if its worker dies, another gets it when the lease is over, and is told
(`Hold.interrupted`). Octets are kept in the row at every size: a file beside it would win at 1 MB only, and be lost
alone.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal, NoReturn, Protocol, cast

import domsec.stores.database as db
from domsec.errors import DomsecError, StoreUnavailable
from domsec.stores.database import Database, open_database, read_time, sql, time_text

State = Literal["held", "approved", "releasing", "done", "failed", "rejected", "expired"]

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    "held": frozenset({"held", "approved", "rejected", "expired"}),
    "approved": frozenset({"held", "rejected"}),
    "releasing": frozenset({"done", "failed"}),  # and back by `retry`, which only its worker calls
    "failed": frozenset({"failed", "approved", "rejected"}),
    "done": frozenset(),
    "rejected": frozenset(),
    "expired": frozenset(),
}
LEASE: Final = timedelta(minutes=2)  # of a claim; as long as it may take to see that a worker is gone
FARTHEST: Final = timedelta(hours=2)  # nothing is put off for longer: a clock that was ahead wrote what lies beyond
FINAL: Final = tuple(state for state, following in TRANSITIONS.items() if not following)


class HoldNotFound(DomsecError):
    """There is no held message with this id."""


class WrongState(DomsecError):
    """Somebody else was faster, or the message is past that."""


class Addressee(Protocol):
    """A recipient with ESMTP parameters, as `domsec.pipeline.Recipient`."""

    @property
    def address(self) -> str: ...

    @property
    def parameters(self) -> str: ...


@dataclass(frozen=True, slots=True)
class HeldRecipient:
    """One RCPT TO of a held message, parameters verbatim (NOTIFY, ORCPT)."""

    address: str
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """A held message. `octets` is None in lists."""

    id: str
    state: State
    direction: str
    transaction: str  # id of the transaction it came by, as in the log
    sender: str
    sender_parameters: str  # RET, ENVID, BODY, SMTPUTF8 verbatim
    recipients: tuple[HeldRecipient, ...]
    session: Mapping[str, object]  # who handed it over, XFORWARD attributes
    reasons: tuple[str, ...]
    received_at: datetime
    held_at: datetime
    not_before: datetime
    attempts: int
    size: int
    decided_at: datetime | None = None
    decided_by: str | None = None
    note: str | None = None
    octets: bytes | None = field(default=None, repr=False)
    interrupted: bool = False  # a claim whose last worker died with it: it may have been given to the next hop


@dataclass(frozen=True, slots=True)
class Part:
    """A message that comes of a stored one, and has its transaction, time and session."""

    sender: str
    recipients: Sequence[Addressee]
    octets: bytes = field(repr=False)
    reasons: Sequence[str]
    sender_parameters: str = ""
    direction: str = ""  # empty for that of the other
    ready: bool = False  # nothing is missing but its delivery


@dataclass(frozen=True, slots=True)
class Tally:
    """How many messages are in a state, and since when the oldest."""

    count: int
    octets: int
    oldest: datetime


_LISTED = [column for column in db.holds.c if column.name != "octets"]


@dataclass(frozen=True, slots=True)
class HoldStore:
    """The held messages of a database. Threads may share it; a process opens its own.

    Every method raises StoreUnavailable.
    """

    database: Database

    @classmethod
    def open(cls, url: str) -> HoldStore:
        """Raises ConfigurationError, StoreUnavailable."""
        return cls(open_database(url))

    def close(self) -> None:
        self.database.close()

    def put(
        self,
        *,
        direction: str,
        sender: str,
        recipients: Sequence[Addressee],
        octets: bytes,
        reasons: Sequence[str],
        transaction: str,
        received_at: datetime,
        now: datetime,
        sender_parameters: str = "",
        session: Mapping[str, object] | None = None,
        ready: bool = False,
    ) -> str:
        """Store a message and say its id. When this returns, the message is on the disk.

        `ready` stores it as approved: nothing is missing but its delivery.
        """
        part = Part(sender, recipients, octets, reasons, sender_parameters, direction, ready)
        row = _row(part, transaction, received_at, session or {}, now)
        with self.database.writing() as connection:
            connection.execute(sql.insert(db.holds), row)
        return str(row["id"])

    def get(self, identifier: str) -> Hold:
        """One held message with its octets. Raises HoldNotFound."""
        with self.database.reading() as connection:
            row = connection.execute(sql.select(db.holds).where(db.holds.c.id == identifier)).mappings().first()
        if row is None:
            raise HoldNotFound(f"no held message {identifier[:32]!r}")
        return _hold(row)

    def list(self, state: State | None = "held", *, limit: int = 1000, after: Hold | None = None) -> tuple[Hold, ...]:
        """Messages in a state, or in any for None, oldest first and without octets; `after` goes on behind one."""
        query = sql.select(*_LISTED).order_by(db.holds.c.held_at, db.holds.c.id).limit(limit)
        if state is not None:
            query = query.where(db.holds.c.state == state)
        if after is not None:
            place = sql.tuple_(db.holds.c.held_at, db.holds.c.id)
            query = query.where(place > sql.tuple_(time_text(after.held_at), after.id))
        with self.database.reading() as connection:
            return tuple(_hold(row) for row in connection.execute(query).mappings())

    def tally(self) -> dict[State, Tally]:
        """What there is in each state that has any."""
        c = db.holds.c
        query = sql.select(c.state, sql.func.count(), sql.func.sum(c.size), sql.func.min(c.held_at)).group_by(c.state)
        with self.database.reading() as connection:
            rows = connection.execute(query).all()
        return {cast("State", state): Tally(count, int(size), read_time(oldest)) for state, count, size, oldest in rows}

    def mark(
        self,
        identifier: str,
        state: State,
        *,
        now: datetime,
        by: str = "",
        note: str = "",
    ) -> None:
        """Move a message on along the arrows above; `by` decided it. Raises HoldNotFound, WrongState."""
        sources = [source for source, targets in TRANSITIONS.items() if state in targets]
        c = db.holds.c
        change = (
            sql.update(db.holds)
            .where(c.id == identifier, c.state.in_(sources))
            .values(
                state=state,
                not_before=time_text(now),
                decided_at=time_text(now),
                decided_by=by or c.decided_by,
                note=note or c.note,
            )
        )
        with self.database.writing() as connection:
            if connection.execute(change).rowcount != 1:
                self._complain(connection, identifier, state)

    def settle(
        self,
        seen: Hold,
        state: State,
        *,
        now: datetime,
        by: str = "",
        note: str = "",
        octets: bytes | None = None,
        reasons: Sequence[str] | None = None,
        parts: Sequence[Part] = (),
    ) -> tuple[str, ...]:
        """Move a message on, change it, and store what it becomes, all of it or nothing; the ids of the parts.

        Only if it still is as it was `seen`, by a reader or by whoever claimed it. Raises HoldNotFound, WrongState.
        """
        if state not in TRANSITIONS[seen.state]:
            raise WrongState(f"held message {seen.id} is {seen.state}, which cannot become {state}")
        c = db.holds.c
        decided_at = time_text(seen.decided_at) if seen.decided_at is not None else None
        changed: dict[str, object] = {"state": state, "decided_at": time_text(now), "not_before": time_text(now)}
        if octets is not None:
            changed |= {"octets": bytes(octets), "size": len(octets)}
        if reasons is not None:
            changed["reasons"] = json.dumps(list(reasons))
        change = (
            sql.update(db.holds)
            .where(c.id == seen.id, c.state == seen.state, c.attempts == seen.attempts)
            .where(c.decided_at.is_not_distinct_from(decided_at))
            .values(decided_by=by or c.decided_by, note=note or c.note, **changed)
        )
        rows = [_row(part, seen.transaction, seen.received_at, seen.session, now, seen.direction) for part in parts]
        with self.database.writing() as connection:
            if connection.execute(change).rowcount != 1:
                self._complain(connection, seen.id, state)
            if rows:
                connection.execute(sql.insert(db.holds), rows)
        return tuple(str(row["id"]) for row in rows)

    def retry(self, claimed: Hold, *, now: datetime, not_before: datetime, note: str = "") -> None:
        """Give a claimed message back, to be claimed again at `not_before`.

        Raises WrongState where another has it by now, or was done with it.
        """
        c = db.holds.c
        change = (
            sql.update(db.holds)
            .where(c.id == claimed.id, c.state == "releasing", c.attempts == claimed.attempts)
            .values(state="approved", not_before=time_text(not_before), decided_at=time_text(now), note=note or c.note)
        )
        with self.database.writing() as connection:
            if connection.execute(change).rowcount != 1:
                raise WrongState(f"held message {claimed.id} was taken over")

    def _complain(self, connection: sql.Connection, identifier: str, state: State) -> NoReturn:
        found = connection.execute(sql.select(db.holds.c.state).where(db.holds.c.id == identifier)).scalar()
        if found is None:
            raise HoldNotFound(f"no held message {identifier[:32]!r}")
        if state in TRANSITIONS[found]:
            raise WrongState(f"held message {identifier} has changed meanwhile, look at it again")
        raise WrongState(f"held message {identifier} is {found}, which cannot become {state}")

    def claim(self, *, now: datetime, lease: timedelta = LEASE, take_over: bool = True) -> Hold | None:
        """Take for releasing the next approved message, or one whose worker let its lease run out; None if none is due.

        Whoever claims settles it or lets it be tried again (`retry`) before the lease is over, or renews that. Without
        `take_over` no message is taken that another has: for who cannot trust what its clock says of leases.
        """
        c = db.holds.c
        times = [c.not_before <= time_text(now), (c.state == "approved") & (c.not_before > time_text(now + FARTHEST))]
        times.append((c.state == "releasing") & (c.not_before > time_text(now + 2 * lease)))
        due = (
            sql.select(c.id, c.state)
            .where(c.state.in_(("approved", "releasing") if take_over else ("approved",)), sql.or_(*times))
            .order_by(c.held_at, c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self.database.writing() as connection:
            found = connection.execute(due).first()
            if found is None:
                return None
            change = sql.update(db.holds).where(c.id == found.id)
            until = time_text(now + lease)
            connection.execute(change.values(state="releasing", not_before=until, attempts=c.attempts + 1))
            row = connection.execute(sql.select(db.holds).where(c.id == found.id)).mappings().one()
        return replace(_hold(row), interrupted=found.state == "releasing")

    def renew(self, claimed: Hold, *, now: datetime, lease: timedelta = LEASE) -> None:
        """Have a claim for longer. Raises WrongState where another has the message by now."""
        c = db.holds.c
        change = sql.update(db.holds).where(c.id == claimed.id, c.state == "releasing", c.attempts == claimed.attempts)
        with self.database.writing() as connection:
            if connection.execute(change.values(not_before=time_text(now + lease))).rowcount != 1:
                raise WrongState(f"held message {claimed.id} was taken over")

    def purge(self, *, before: datetime) -> int:
        """Remove messages that came to their end before a moment. Says how many."""
        c = db.holds.c
        ended = sql.delete(db.holds).where(c.state.in_(FINAL), c.decided_at < time_text(before))
        with self.database.writing() as connection:
            return connection.execute(ended).rowcount


def _row(
    part: Part,
    transaction: str,
    received_at: datetime,
    session: Mapping[str, object],
    now: datetime,
    direction: str = "",
) -> dict[str, object]:
    envelope = {
        "sender": part.sender,
        "sender_parameters": part.sender_parameters,
        "recipients": [[recipient.address, recipient.parameters] for recipient in part.recipients],
        "session": dict(session),
    }
    return {
        "id": secrets.token_hex(8),
        "state": "approved" if part.ready else "held",
        "held_at": time_text(now),
        "not_before": time_text(now),
        "attempts": 0,
        "direction": part.direction or direction,
        "transaction_id": transaction,
        "received_at": time_text(received_at),
        "reasons": json.dumps(list(part.reasons)),
        "envelope": json.dumps(envelope, default=str),
        "size": len(part.octets),
        "octets": bytes(part.octets),
    }


def _hold(row: sql.RowMapping) -> Hold:
    """Raises StoreUnavailable for a row that nobody here wrote."""
    try:
        envelope = json.loads(str(row["envelope"]))
        octets = row.get("octets")
        decided_at = row["decided_at"]
        return Hold(
            id=str(row["id"]),
            state=cast("State", row["state"]),
            direction=str(row["direction"]),
            transaction=str(row["transaction_id"]),
            sender=envelope["sender"],
            sender_parameters=envelope["sender_parameters"],
            recipients=tuple(HeldRecipient(*recipient) for recipient in envelope["recipients"]),
            session=envelope["session"],
            reasons=tuple(json.loads(str(row["reasons"]))),
            received_at=read_time(str(row["received_at"])),
            held_at=read_time(str(row["held_at"])),
            not_before=read_time(str(row["not_before"])),
            attempts=int(str(row["attempts"])),
            size=int(str(row["size"])),
            decided_at=read_time(str(decided_at)) if decided_at is not None else None,
            decided_by=cast("str | None", row["decided_by"]),
            note=cast("str | None", row["note"]),
            octets=bytes(octets) if isinstance(octets, bytes | memoryview) else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreUnavailable(f"the held message {row.get('id')} is damaged") from error
