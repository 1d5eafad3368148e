"""The database: held messages, audit trail, list deliveries, certificates. SQLite by default, PostgreSQL for several
machines.

Needs SQLAlchemy (extra `gateway`), so import this module and those of its tables only where they are used. All goes
through `Database.reading` and `Database.writing`: what was written is on the disk when `writing` ends, whatever happens
to this process or this machine afterwards (WAL with synchronous=FULL, measurements-mail E). Every failure is
StoreUnavailable.

There is one schema. A database that an earlier version made is migrated when it is opened, in one transaction; one that
a later version made is refused.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from domsec.errors import ConfigurationError, StoreUnavailable

try:
    import sqlalchemy as sql
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
    from sqlalchemy.pool import ConnectionPoolEntry
except ImportError:  # pragma: no cover
    raise ConfigurationError("the store needs SQLAlchemy: pip install 'domsec[gateway]'") from None

__all__ = [
    "SCHEMA",
    "Database",
    "audit",
    "certificate_names",
    "certificates",
    "deliveries",
    "holds",
    "metadata",
    "notice_lines",
    "notice_sent",
    "open_database",
    "preferences",
    "read_time",
    "signatures",
    "sql",
    "time_text",
    "upserting",
]

SCHEMA: Final = 4  # raised with every change of the tables, together with a migration
BUSY_SECONDS: Final = 30  # how long a writer waits for another one, and anybody for an answer
CONNECT_SECONDS: Final = 5  # how long a server may take to answer that it is there
SILENCE: Final = 10_000  # milliseconds that a server's machine may leave what we sent unanswered

_LOCK: Final = 0x646F6D736563  # of PostgreSQL, for who makes or migrates the tables: "domsec"

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # sorts as text, in every database

# SQLite counts by itself in columns of type INTEGER only, which have 64 bits there
_NUMBER = sql.BigInteger().with_variant(sql.Integer(), "sqlite")

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
    sql.Column("number", _NUMBER, primary_key=True, autoincrement=True),
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

certificates = sql.Table(
    "certificate",
    metadata,
    sql.Column("sha256", sql.String(64), primary_key=True),
    sql.Column("state", sql.String(16), nullable=False),  # approved, quarantined, rejected
    sql.Column("origin", sql.Text, nullable=False),  # how it came here, in words
    sql.Column("domain", sql.Text, nullable=False),  # whose share it is counted to; empty when a person decided
    sql.Column("added_at", sql.String(32), nullable=False),
    sql.Column("decided_at", sql.String(32)),
    sql.Column("decided_by", sql.Text),
    sql.Column("note", sql.Text),
    sql.Column("not_before", sql.String(32), nullable=False),
    sql.Column("not_after", sql.String(32), nullable=False),
    sql.Column("serial", sql.Text, nullable=False),  # hexadecimal
    sql.Column("issuer", sql.String(64), nullable=False),  # SHA-256 of the Name, prepared for comparison
    sql.Column("key_identifier", sql.Text),  # hexadecimal
    sql.Column("ca", sql.Boolean, nullable=False),
    sql.Column("der", sql.LargeBinary, nullable=False),
    sql.Index("certificate_by_state", "state", "not_after"),
    sql.Index("certificate_by_domain", "domain"),
    sql.Index("certificate_by_serial", "serial"),
    sql.Index("certificate_by_issuer", "issuer"),
    sql.Index("certificate_by_key_identifier", "key_identifier"),
    sql.Index("certificate_by_ca", "ca"),
)

# by what a certificate is found: its mail addresses, and ROLE@DOMAIN where domain components alone name an authority
certificate_names = sql.Table(
    "certificate_name",
    metadata,
    sql.Column("name", sql.Text, primary_key=True),
    sql.Column("kind", sql.String(16), primary_key=True),  # address, authority
    sql.Column("sha256", sql.String(64), sql.ForeignKey("certificate.sha256", ondelete="CASCADE"), primary_key=True),
    sql.Index("certificate_name_of", "sha256"),
)

# which certificate the owner of an address, or of ROLE@DOMAIN, said last to prefer; it need not be one of the above
preferences = sql.Table(
    "certificate_preference",
    metadata,
    sql.Column("name", sql.Text, primary_key=True),
    sql.Column("sha256", sql.String(64), nullable=False),
    sql.Column("stated_at", sql.String(32), nullable=False),
    sql.Index("certificate_preference_of", "sha256"),
)

# what was signed and delivered to whom, as a digest of both
signatures = sql.Table(
    "seen_signature",
    metadata,
    sql.Column("key", sql.String(64), primary_key=True),
    sql.Column("at", sql.String(32), nullable=False),
    sql.Index("seen_signature_by_time", "at"),
)

# what the postmaster is to be told, and when that was done last (one row)
notice_lines = sql.Table(
    "notice_line",
    metadata,
    sql.Column("sha256", sql.String(64), primary_key=True),
    sql.Column("text", sql.Text, nullable=False),
    sql.Column("count", sql.BigInteger, nullable=False),
    sql.Column("since", sql.String(32), nullable=False),
)

notice_sent = sql.Table("notice_sent", metadata, sql.Column("at", sql.String(32), nullable=False))


def upserting(connection: sql.Connection, table: sql.Table, key: str, later: str) -> sql.Insert:
    """Inserts a row, or changes the one that has its `key`, if the `later` column says that the new one is."""
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    return insert.on_conflict_do_update(
        index_elements=[key],
        set_={column.name: insert.excluded[column.name] for column in table.columns},
        where=table.c[later] < insert.excluded[later],
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
    file: Path | None = None  # of SQLite

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

    def check(self) -> None:
        """Whether it takes a write now: one that changes nothing. Raises StoreUnavailable."""
        with self.writing() as connection:
            connection.execute(sql.update(schema).values(version=schema.c.version))

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            if self.file is not None and "locked" not in str(cause):
                self.engine.dispose()  # what a connection has read of a damaged file it goes on believing
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
        if address.get_backend_name() not in ("sqlite", "postgresql"):
            raise ConfigurationError(f"store.url: {address.drivername}, expected sqlite or postgresql")
        file = Path(address.database) if address.drivername == "sqlite" and address.database else None
        if address.drivername == "sqlite" and file is None:
            raise ConfigurationError("sqlite: no file, expected sqlite:///PATH")
        engine = _sqlite(address, file) if file else _postgresql(address)
    except SQLAlchemyError as error:
        raise ConfigurationError(f"store.url cannot be used: {' '.join(str(error).split())[:200]}") from None
    except ImportError:
        raise ConfigurationError("PostgreSQL needs psycopg: pip install 'domsec[postgresql]'") from None
    database = Database(engine, str(file) if file else address.render_as_string(hide_password=True), file)
    try:
        if file is not None:
            _make_file(file, database.name)
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


def _sqlite(address: sql.URL, file: Path) -> sql.Engine:
    def connect() -> sqlite3.Connection:  # to a file that is there: one that SQLite made would be readable for others
        place = f"file:{quote(str(file))}?mode=rw"
        return sqlite3.connect(place, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)

    engine = sql.create_engine(address, creator=connect)

    @sql.event.listens_for(engine, "checkout")
    def find(_: sqlite3.Connection, record: sql.PoolProxiedConnection, __: object) -> None:
        """A file that was put in the place of another one: what is written to that other one is lost."""
        if record.info["file"] != _identity(file):
            raise DisconnectionError(f"{file} is another file now")

    @sql.event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info["file"] = _identity(file)
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

    return engine


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _postgresql(address: sql.URL) -> sql.Engine:
    """Raises ImportError without psycopg. A connection that the server ended meanwhile is made anew, not an error."""
    waits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": SILENCE, "application_name": "domsec"}
    engine = sql.create_engine(address, connect_args=waits, pool_pre_ping=True)

    @sql.event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET statement_timeout = '{BUSY_SECONDS}s'")
        cursor.execute("SHOW synchronous_commit")
        if cursor.fetchone() == ("off",):  # one that waits for more than the disk may go on doing so
            cursor.execute("SET synchronous_commit = on")
        cursor.close()
        connection.commit()

    return engine


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
        if connection.dialect.name == "postgresql":  # where two that make the same table at once are an error of one
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # a change of a large table takes its time
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(_LOCK)))
        found = _version(connection)
        if found is not None and not 1 <= found <= SCHEMA:
            raise StoreUnavailable(f"{database.name}: schema version {found}, expected at most {SCHEMA}")
        for version in range(found or SCHEMA, SCHEMA):
            if change := MIGRATIONS.get(version):
                change(connection)
        metadata.create_all(connection)
        if found is None:
            connection.execute(sql.insert(schema).values(version=SCHEMA))
        elif found != SCHEMA:
            connection.execute(sql.update(schema).values(version=SCHEMA))


def _version(connection: sql.Connection) -> int | None:
    """Of the schema that is there; None where there is none."""
    if not sql.inspect(connection).has_table(schema.name):
        return None
    return connection.execute(sql.select(schema.c.version)).scalar()


# --- migrations -----------------------------------------------------------------------------------------------------


def _from_1(connection: sql.Connection) -> None:
    """The audit trail counts beyond 2^31."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE audit ALTER COLUMN number TYPE BIGINT")
        connection.exec_driver_sql("ALTER SEQUENCE audit_number_seq AS BIGINT")


# what changes in tables from each version to the next one; a table that is new is made as it stands above
MIGRATIONS: Final[Mapping[int, Callable[[sql.Connection], None]]] = {1: _from_1}
