"""What the postmaster is to be told, collected from all workers until it is time for a notice.

At most one notice in a while, whoever asks: a gateway that floods its administrator while a server is away is one that
is not read any more. Lines are kept once with how often they were said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import domsec.stores.database as db
from domsec.stores.database import Database, open_database, read_time, sql, time_text

MOST: Final = 100  # lines of one notice: who has more to read needs the log
LENGTH: Final = 400  # characters of a line


@dataclass(frozen=True, slots=True)
class Line:
    """Something that was said, how often, and when first."""

    text: str
    count: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Pending:
    """All that is to be told: lines in the order of time, and messages that wait for a person."""

    lines: tuple[Line, ...]
    held: int
    newly_held: int  # of these, since the last notice
    failed: int  # of which the log has said so


@dataclass(frozen=True, slots=True)
class NoticeStore:
    """In the database of the held messages."""

    database: Database

    @classmethod
    def open(cls, url: str) -> NoticeStore:
        return cls(open_database(url))

    def note(self, said: Mapping[str, int], now: datetime) -> None:
        """Keep lines with how often they were said. Beyond MOST no new ones are kept. Raises StoreUnavailable."""
        table = db.notice_lines
        with self.database.writing() as connection:
            _alone(connection)
            room = MOST - (connection.execute(sql.select(sql.func.count()).select_from(table)).scalar() or 0)
            for text, count in said.items():
                digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
                known = sql.update(table).where(table.c.sha256 == digest).values(count=table.c.count + count)
                if connection.execute(known).rowcount or room <= 0:
                    continue
                room -= 1
                shown = text.encode("utf-8", "replace").decode()[:LENGTH]
                connection.execute(
                    sql.insert(table).values(sha256=digest, text=shown, count=count, since=time_text(now))
                )

    def take(self, now: datetime, every: timedelta) -> Pending | None:
        """What is to be told now, which nobody else is given then; None if there is nothing, or it is too early.

        Whoever takes it and dies loses it: the log has the lines, and what waits is counted again the next time. Raises
        StoreUnavailable.
        """
        with self.database.reading() as connection:  # workers ask all the time, and seldom is there anything
            if _due(connection, now, every) is None:
                return None
        with self.database.writing() as connection:
            _alone(connection)
            pending = _due(connection, now, every)
            if pending is not None:
                connection.execute(sql.delete(db.notice_lines))
                connection.execute(sql.delete(db.notice_sent))
                connection.execute(sql.insert(db.notice_sent).values(at=time_text(now)))
            return pending


def _due(connection: sql.Connection, now: datetime, every: timedelta) -> Pending | None:
    table = db.notice_lines
    found = connection.execute(sql.select(db.notice_sent.c.at)).scalar()
    last = None if found is None else read_time(found)
    if last is not None and abs(now - last) < every:  # a clock that was ahead silences nobody for long
        return None
    rows = connection.execute(sql.select(table).order_by(table.c.since, table.c.sha256)).mappings().all()
    lines = tuple(Line(row["text"], row["count"], read_time(row["since"])) for row in rows)
    pending = Pending(lines, *_waiting(connection, last))
    return pending if pending.lines or pending.newly_held else None


def _alone(connection: sql.Connection) -> None:
    """Until the transaction ends nobody else writes here. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sql.text(f"LOCK TABLE {db.notice_lines.name} IN EXCLUSIVE MODE"))


def _waiting(connection: sql.Connection, last: datetime | None) -> Sequence[int]:
    """Messages that wait for a person, those of them since the last notice, and those that could not be delivered."""
    holds = db.holds
    new = holds.c.held_at > (time_text(last) if last is not None else "")

    def count(*conditions: sql.ColumnElement[bool]) -> int:
        return connection.execute(sql.select(sql.func.count()).select_from(holds).where(*conditions)).scalar() or 0

    held = holds.c.state == "held"
    return count(held), count(held, new), count(holds.c.state == "failed")
