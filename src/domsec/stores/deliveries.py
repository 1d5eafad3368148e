"""Which members of a mail list already have a message that is still being distributed.

The mail server that calls us has one answer for all members. When it has to try again, those who were served are known
here, and get the message once. What was given to a next hop and could not be noted here is given again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import domsec.stores.database as db
from domsec.stores.database import Database, open_database, sql, time_text


@dataclass(frozen=True, slots=True)
class Deliveries:
    """`message` is what tells one message to one list from others, up to 64 characters. Every method raises
    StoreUnavailable."""

    database: Database

    @classmethod
    def open(cls, url: str) -> Deliveries:
        """Raises ConfigurationError, StoreUnavailable."""
        return cls(open_database(url))

    def close(self) -> None:
        self.database.close()

    def served(self, message: str) -> frozenset[str]:
        """The members who need not be tried again."""
        c = db.deliveries.c
        with self.database.reading() as connection:
            return frozenset(connection.execute(sql.select(c.member).where(c.message == message)).scalars())

    def add(self, message: str, members: Iterable[str], *, now: datetime) -> None:
        """Note members; durable when this returns."""
        rows = [{"message": message, "member": member, "at": time_text(now)} for member in members]
        if rows:
            with self.database.writing() as connection:
                connection.execute(sql.insert(db.deliveries), rows)

    def finish(self, message: str, *, abandoned: datetime) -> None:
        """Forget a message that everybody has, and those begun before `abandoned` that nobody tries any more."""
        c = db.deliveries.c
        with self.database.writing() as connection:
            connection.execute(sql.delete(db.deliveries).where((c.message == message) | (c.at < time_text(abandoned))))
