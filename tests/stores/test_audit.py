"""The audit trail, in a file and in the database."""

from __future__ import annotations

import json
import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domsec.errors import StoreUnavailable
from domsec.stores.audit import AuditTrail, FileAudit
from domsec.stores.audit_table import TableAudit
from domsec.stores.database import open_database

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_one_line_whatever_is_in_it(tmp_path: Path) -> None:
    trail: AuditTrail = FileAudit(tmp_path / "audit")
    trail.record("grant", {"originator": "alice@acme.example", "evidence": ["network\n192.0.2.1"]}, at=NOW)
    trail.record("refusal", {"reasons": ("gate.from",), "path": tmp_path}, at=NOW)
    first, second = lines(tmp_path / "audit")
    assert first == {
        "at": "2026-11-23T12:00:00+00:00",
        "event": "grant",
        "originator": "alice@acme.example",
        "evidence": ["network\n192.0.2.1"],
    }
    assert second["reasons"] == ["gate.from"]
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o600


def test_a_record_is_on_the_disk_before_the_call_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    FileAudit(tmp_path / "audit").record("grant", {}, at=NOW)
    assert len(synced) == 2  # the file, and the folder that now has it
    FileAudit(tmp_path / "audit").record("grant", {}, at=NOW)
    assert len(synced) == 3
    FileAudit(tmp_path / "audit", fsync=False).record("grant", {}, at=NOW)
    assert len(synced) == 3


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    (tmp_path / "audit").write_bytes(b'{"event": "gra')
    FileAudit(tmp_path / "audit").record("grant", {}, at=NOW)
    broken, whole = (tmp_path / "audit").read_text().splitlines()
    assert broken == '{"event": "gra'
    assert json.loads(whole)["event"] == "grant"


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    trail = FileAudit(tmp_path / "audit")
    trail.record("one", {}, at=NOW)
    (tmp_path / "audit").rename(tmp_path / "audit.1")
    trail.record("two", {}, at=NOW)
    assert [line["event"] for line in lines(tmp_path / "audit")] == ["two"]


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    def work(number: int) -> None:
        trail = FileAudit(tmp_path / "audit", fsync=False)
        for _ in range(50):
            trail.record("grant", {"number": number, "text": "x" * 5000}, at=NOW)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(tmp_path / "audit")) == 200


def test_a_trail_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="absent/audit: No such file"):
        FileAudit(tmp_path / "absent" / "audit").record("grant", {}, at=NOW)


def test_the_database_keeps_a_trail_as_well(url: str) -> None:
    database = open_database(url)
    trail = TableAudit(database)
    trail.record("grant", {"originator": "alice@acme.example"}, at=NOW)
    trail.record("refusal", {"reasons": ["gate.from"]}, at=NOW)
    first, second = trail.records()
    assert (first.event, first.at, first.fields) == ("grant", NOW, {"originator": "alice@acme.example"})
    assert [record.event for record in trail.records(after=first.number)] == [second.event]
    database.close()
