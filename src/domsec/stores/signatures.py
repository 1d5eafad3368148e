"""Which signatures were delivered to whom, for as long as `inbound.max_age` says (decisions A-49).

Digests and times, nothing of a message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import domsec.stores.database as db
from domsec.stores.database import Database, sql, time_text

MOST: Final = 1_000_000  # signatures; some 100 MB. Beyond it the oldest are forgotten


@dataclass(frozen=True, slots=True)
class SeenSignatures:
    """In the database of the held messages. Every method raises StoreUnavailable."""

    database: Database

    def any_of(self, keys: Collection[str], *, since: datetime) -> bool:
        """Whether one of these was noted at `since` or later."""
        c = db.signatures.c
        query = sql.select(c.key).where(c.key.in_(keys), c.at >= time_text(since)).limit(1)
        with self.database.reading() as connection:
            return connection.execute(query).first() is not None

    def note(self, keys: Iterable[str], *, now: datetime) -> None:
        """Remember these. A later time takes the place of an earlier one."""
        at = time_text(now)
        rows = [{"key": key, "at": at} for key in dict.fromkeys(keys)]
        if rows:
            with self.database.writing() as connection:
                connection.execute(db.upserting(connection, db.signatures, "key", "at"), rows)

    def forget(self, *, before: datetime) -> None:
        """Forget those noted earlier, and the oldest of too many."""
        c = db.signatures.c
        with self.database.writing() as connection:
            connection.execute(sql.delete(db.signatures).where(c.at < time_text(before)))
            beyond = sql.select(c.at).order_by(c.at.desc()).offset(MOST).limit(1).scalar_subquery()
            connection.execute(sql.delete(db.signatures).where(c.at <= beyond))
