"""The audit trail in the database of held messages; see `domsec.stores.audit` for the one in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import domsec.stores.database as db
from domsec.stores.audit import Entry
from domsec.stores.database import Database, read_time, sql, time_text


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was kept."""

    number: int
    at: datetime
    event: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TableAudit:
    """Implements `domsec.stores.audit.AuditTrail`; always durable."""

    database: Database

    def record(self, event: str, fields: Mapping[str, object], *, at: datetime) -> None:
        self.record_all([(event, fields, at)])

    def record_all(self, entries: Sequence[Entry]) -> None:
        rows = [
            {"at": time_text(at), "event": event, "record": json.dumps(dict(fields), default=str)}
            for event, fields, at in entries
        ]
        if rows:
            with self.database.writing() as connection:
                connection.execute(sql.insert(db.audit), rows)

    def records(self, *, after: int = 0, limit: int = 1000) -> Iterator[Record]:
        """Records in the order they were made, those behind number `after`."""
        query = sql.select(db.audit).where(db.audit.c.number > after).order_by(db.audit.c.number).limit(limit)
        with self.database.reading() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            yield Record(row.number, read_time(row.at), row.event, json.loads(row.record))
