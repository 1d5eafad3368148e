"""The database of held messages, audit trail and list deliveries: SQLite by default, PostgreSQL for several machines.

Needs SQLAlchemy (extra `gateway`), so import this module and those of its tables only where they are used. All goes
through `Database.reading` and `Database.writing`: what was written is on the disk when `writing` ends, whatever happens
to this process or this machine afterwards (WAL with synchronous=FULL, measurements-mail E). Every failure is
StoreUnavailable.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from domsec.errors import ConfigurationError, StoreUnavailable

try:
    import sqlalchemy as sql
    from sqlalchemy.exc import SQLAlchemyError
except ImportError:  # pragma: no cover
    raise ConfigurationError("the store needs SQLAlchemy: pip install 'domsec[gateway]'") from None

__all__ = [
    "SCHEMA",
    "Database",
    "audit",
    "deliveries",
    "holds",
    "metadata",
    "open_database",
    "read_time",
    "sql",
    "time_text",
]

SCHEMA = 1  # raised with every change of the tables, together with a migration
BUSY_SECONDS = 30  # how long a writer waits for another one

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # sorts as text, in every database

metadata = sql.MetaData()

schema = sql.Table("domsec_schema", metadata, sql.Column("version", sql.Integer, nullable=False))

holds = sql.Table(
    "hold",
    metadata,
    sql.Column("id", sql.String(32), primary_key=True),
    sql.Column("state", sql.String(16), nullable=False),
    sql.Column("held_at", sql.String(32), nullable=False),
    sql.Column("not_before", sql.String(32), nullable=False),  # release, or the next attempt, not earlier
    sql.Column("attempts", sql.Integer, nullable=False),
    sql.Column("direction", sql.String(16), nullable=False),
    sql.Column("transaction_id", sql.Text, nullable=False),
    sql.Column("received_at", sql.String(32), nullable=False),
    sql.Column("reasons", sql.Text, nullable=False),  # JSON
    sql.Column("envelope", sql.Text, nullable=False),  # JSON: sender, recipients, their ESMTP parameters, session
    sql.Column("decided_at", sql.String(32)),
    sql.Column("decided_by", sql.Text),
    sql.Column("note", sql.Text),
    sql.Column("size", sql.BigInteger, nullable=False),
    sql.Column("octets", sql.LargeBinary, nullable=False),
    sql.Index("hold_by_state", "state", "held_at", "id", "not_before", "size"),  # covers lists, tally and claims
)

audit = sql.Table(
    "audit",
    metadata,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("at", sql.String(32), nullable=False),
    sql.Column("event", sql.Text, nullable=False),
    sql.Column("record", sql.Text, nullable=False),  # JSON
)

deliveries = sql.Table(
    "list_delivery",
    metadata,
    sql.Column("message", sql.String(64), primary_key=True),
    sql.Column("member", sql.Text, primary_key=True),
    sql.Column("at", sql.String(32), nullable=False),
)


def time_text(moment: datetime) -> str:
    """A moment as it is stored: UTC, and in the order of time when sorted."""
    return moment.astimezone(UTC).strftime(_TIME)


def read_time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Database:
    """An open database. Threads may share it; a process opens its own after forking."""

    engine: sql.Engine
    name: str

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """A transaction that changes nothing and waits for nobody."""
        with self._translated(), self.engine.execution_options(reading=True).begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sql.Connection]:
        """A transaction that is durable when the block has ended, and undone if it raises."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise StoreUnavailable(f"{self.name}: {' '.join(str(cause).split())[:200]}") from error


def open_database(url: str) -> Database:
    """Open a database, and make its tables where it is new.

    Raises ConfigurationError for a URL that cannot be used, StoreUnavailable for a database that does not answer, is
    damaged, or was made by a later version.
    """
    try:
        address = sql.make_url(url)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        file = Path(address.database) if address.drivername == "sqlite" and address.database else None
        if address.drivername == "sqlite" and file is None:
            raise ConfigurationError("sqlite: no file, expected sqlite:///PATH")
        engine = sql.create_engine(address, connect_args={"timeout": BUSY_SECONDS} if file else {})
    except SQLAlchemyError as error:
        raise ConfigurationError(f"store.url cannot be used: {' '.join(str(error).split())[:200]}") from None
    except ImportError:
        raise ConfigurationError("PostgreSQL needs psycopg: pip install 'psycopg[binary]'") from None
    database = Database(engine, str(file) if file else address.render_as_string(hide_password=True))
    try:
        if file is not None:
            _make_file(file, database.name)
            _listen(engine)
        _make_tables(database)
    except BaseException:
        database.close()
        raise
    return database


def _make_file(file: Path, name: str) -> None:
    """Mail is confidential: the file and what SQLite puts beside it are for our user alone."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"{name}: {error.strerror}") from None


def _listen(engine: sql.Engine) -> None:
    @sql.event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `begin` below says, not where sqlite3 guesses
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @sql.event.listens_for(engine, "begin")
    def begin(connection: sql.Connection) -> None:
        # a deferred transaction that writes after reading fails where another one wrote meanwhile
        reading = connection.get_execution_options().get("reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait for others here, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise sqlite3.OperationalError(f"journal mode is {mode}, expected wal; is this a network file system?")
        return


def _make_tables(database: Database) -> None:
    with database.writing() as connection:
        metadata.create_all(connection)
        found = connection.execute(sql.select(schema.c.version)).scalar()
        if found is None:
            connection.execute(sql.insert(schema).values(version=SCHEMA))
        elif found != SCHEMA:
            raise StoreUnavailable(f"{database.name}: schema version {found}, expected {SCHEMA}")
