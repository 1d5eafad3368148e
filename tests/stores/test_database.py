"""One schema on two databases: made, migrated, refused; and what a URL may be."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import domsec
import domsec.stores.database as database_module
from domsec.errors import ConfigurationError, StoreUnavailable
from domsec.stores.audit_table import TableAudit
from domsec.stores.certificate_table import CertificateTable
from domsec.stores.database import MIGRATIONS, SCHEMA, metadata, open_database, read_time, sql, time_text
from domsec.stores.deliveries import Deliveries
from domsec.stores.holds import HoldStore
from postgresql import Server

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)

# what version 1 made, before list deliveries had a table, with a held message and an audit record in it
VERSION_1 = """
CREATE TABLE audit (
    number {serial} NOT NULL, at VARCHAR(32) NOT NULL, event TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (number)
);
CREATE TABLE domsec_schema (version INTEGER NOT NULL);
CREATE TABLE hold (
    id VARCHAR(32) NOT NULL, state VARCHAR(16) NOT NULL, held_at VARCHAR(32) NOT NULL, not_before VARCHAR(32) NOT NULL,
    attempts INTEGER NOT NULL, direction VARCHAR(16) NOT NULL, transaction_id TEXT NOT NULL,
    received_at VARCHAR(32) NOT NULL, reasons TEXT NOT NULL, envelope TEXT NOT NULL, decided_at VARCHAR(32),
    decided_by TEXT, note TEXT, size BIGINT NOT NULL, octets {octets} NOT NULL, PRIMARY KEY (id)
);
CREATE INDEX hold_by_state ON hold (state, held_at, id, not_before, size);
INSERT INTO domsec_schema VALUES (1);
INSERT INTO audit (at, event, record) VALUES ('2026-11-23T12:00:00.000000Z', 'grant', '{{"evidence": ["network"]}}');
INSERT INTO hold VALUES ('4f2a', 'held', '2026-11-23T12:00:00.000000Z', '2026-11-23T12:00:00.000000Z', 0, 'outbound',
    '4F2A1', '2026-11-23T11:59:00.000000Z', '["gate.from"]',
    '{{"sender": "a@acme.example", "sender_parameters": "", "recipients": [["b@beta.example", ""]], "session": {{}}}}',
    NULL, NULL, NULL, 4, {mail});
"""
SQLITE = {"serial": "INTEGER", "octets": "BLOB", "mail": "x'6d61696c'"}
POSTGRESQL = {"serial": "SERIAL", "octets": "BYTEA", "mail": "'\\x6d61696c'"}


@pytest.fixture
def old(url: str, request: pytest.FixtureRequest) -> str:
    """A database of version 1."""
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.executescript(VERSION_1.format(**SQLITE))
        connection.close()
    else:
        server: Server = request.getfixturevalue("postgresql")
        server.sql(url, VERSION_1.format(**POSTGRESQL))
    return url


def shape(url: str) -> dict[str, object]:
    """The tables as the database itself tells of them."""
    database = open_database(url)
    with database.reading() as connection:
        found = sql.inspect(connection)
        made: dict[str, object] = {
            table: (
                [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)],
                found.get_pk_constraint(table)["constrained_columns"],
                sorted((str(i["name"]), i["column_names"]) for i in found.get_indexes(table)),
            )
            for table in sorted(found.get_table_names())
        }
    database.close()
    return made


def test_a_database_of_an_earlier_version_keeps_what_is_in_it(old: str) -> None:
    database = open_database(old)
    assert HoldStore(database).get("4f2a").octets == b"mail"
    trail = TableAudit(database)
    trail.record("refusal", {}, at=NOW)
    assert [record.event for record in trail.records()] == ["grant", "refusal"]
    assert Deliveries(database).served("any") == frozenset()
    assert CertificateTable(database).tally() == {}
    database.close()


def test_a_migrated_database_has_the_shape_of_a_new_one(
    old: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    if old.startswith("sqlite:"):
        new = f"sqlite:///{tmp_path_factory.mktemp('new')}/new.db"
    else:
        server: Server = request.getfixturevalue("postgresql")
        new = server.database()
    assert shape(old) == shape(new)
    assert set(metadata.tables) == set(shape(new))


def test_every_step_from_the_first_version_is_one_that_is_known() -> None:
    assert set(MIGRATIONS) <= set(range(1, SCHEMA))


@pytest.mark.parametrize("version", [0, SCHEMA + 1, 99])
def test_a_database_of_another_version_is_left_alone(url: str, version: int) -> None:
    database = open_database(url)
    with database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE domsec_schema SET version = {version}")
    database.close()
    with pytest.raises(StoreUnavailable, match=f"schema version {version}, expected at most {SCHEMA}"):
        open_database(url)


OPENER = "import sys; from domsec.stores.database import open_database; open_database(sys.argv[1]).close()"


def test_processes_that_make_or_migrate_the_tables_at_once_do_it_once(url: str, old: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(domsec.__file__).parents[1])}
    openers = [
        subprocess.Popen([sys.executable, "-c", OPENER, old], stderr=subprocess.PIPE, env=environment) for _ in range(4)
    ]
    said = [process.communicate(timeout=120)[1] for process in openers]
    assert [process.returncode for process in openers] == [0] * 4, said


def test_a_server_that_was_away_is_found_again(postgresql: Server) -> None:
    store = HoldStore.open(postgresql.database())
    store.list()
    postgresql.stop()
    try:
        with pytest.raises(StoreUnavailable):
            store.list()
    finally:
        postgresql.start()
    assert store.list() == ()
    store.close()


def test_what_was_written_is_on_the_disk_even_where_the_server_would_wait(postgresql: Server) -> None:
    database = open_database(postgresql.database("synchronous_commit=off"))
    with database.reading() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    database.close()


def test_a_server_that_does_not_come_to_an_end_is_one_that_does_not_answer(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 1)
    database = open_database(postgresql.database())
    with pytest.raises(StoreUnavailable, match="statement timeout"), database.reading() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(60)")
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    database.close()


def test_the_password_of_a_server_stands_in_no_error() -> None:
    with pytest.raises(StoreUnavailable) as raised:
        open_database("postgresql://domsec:secret@127.0.0.1:1/domsec")
    assert "secret" not in str(raised.value)
    assert "127.0.0.1:1/domsec" in str(raised.value)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda file: file.write_bytes(b"this is no database " * 100), "not a database", id="text"),
        pytest.param(lambda file: file.mkdir(), "directory", id="folder"),
    ],
)
def test_a_damaged_database_is_named(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    make(tmp_path / "domsec.db")
    with pytest.raises(StoreUnavailable, match=rf"domsec\.db: .*{reason}"):
        open_database(f"sqlite:///{tmp_path}/domsec.db")


def test_a_damaged_database_that_was_mended_is_read_anew(tmp_path: Path) -> None:
    """And not what a connection has in its memory of it."""
    file = tmp_path / "domsec.db"
    database = open_database(f"sqlite:///{file}")
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good = file.read_bytes()
    _overwrite(file, bytes(len(good)))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            database.check()
    _overwrite(file, good)
    database.check()
    database.close()


def _overwrite(file: Path, octets: bytes) -> None:
    with file.open("r+b") as opened:
        opened.write(octets)


def test_nothing_is_written_to_a_file_that_another_one_took_the_place_of(tmp_path: Path) -> None:
    """It would be gone with the last connection, although somebody was told that it is kept."""
    database, other = (open_database(f"sqlite:///{tmp_path}/{name}.db") for name in ("domsec", "other"))
    with other.writing() as connection:
        connection.execute(sql.update(database_module.schema).values(version=77))
    other.close()
    for file in tmp_path.glob("domsec.db*"):  # what lies beside it would be read as if it belonged to the next one
        file.unlink()
    with pytest.raises(StoreUnavailable, match="unable to open"):
        database.check()
    assert not (tmp_path / "domsec.db").exists()
    (tmp_path / "other.db").rename(tmp_path / "domsec.db")
    with database.reading() as connection:
        assert connection.execute(sql.select(database_module.schema.c.version)).scalar() == 77
    database.close()


@pytest.mark.parametrize("wrong", ["sqlite://", "nonsense", "mysql://localhost/x"])
def test_a_url_that_cannot_be_used_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError):
        open_database(wrong)


@pytest.mark.parametrize("away", ["sqlite:////nowhere/at/all.db", "postgresql://localhost:1/x"])
def test_a_database_that_does_not_answer_may_do_so_later(away: str) -> None:
    with pytest.raises(StoreUnavailable):
        open_database(away)


def test_times_keep_their_order_as_text() -> None:
    elsewhere = NOW.astimezone(tz=None)
    assert read_time(time_text(elsewhere)) == NOW
    assert time_text(NOW) < time_text(NOW + timedelta(microseconds=1)) < time_text(NOW + timedelta(minutes=1))
