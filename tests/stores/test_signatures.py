"""Signatures that were delivered, remembered for a while."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from domsec.stores import signatures
from domsec.stores.database import open_database
from domsec.stores.signatures import SeenSignatures

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def store(url: str) -> Iterator[SeenSignatures]:
    database = open_database(url)
    yield SeenSignatures(database)
    database.close()


def test_what_was_noted_is_known_as_long_as_was_asked(store: SeenSignatures) -> None:
    store.note(["a", "b", "a"], now=NOW)
    assert store.any_of(["x", "b"], since=NOW)
    assert not store.any_of(["x"], since=NOW)
    assert not store.any_of(["a"], since=NOW + DAY)
    store.note(["a"], now=NOW + DAY)
    store.note(["a"], now=NOW)  # by a worker that is late
    assert store.any_of(["a"], since=NOW + DAY)


def test_what_is_too_old_is_forgotten(store: SeenSignatures) -> None:
    store.note(["old"], now=NOW)
    store.note(["new"], now=NOW + DAY)
    store.forget(before=NOW + DAY)
    assert [store.any_of([key], since=NOW) for key in ("old", "new")] == [False, True]


def test_of_too_many_the_oldest_are_forgotten(store: SeenSignatures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "MOST", 2)
    for number in range(4):
        store.note([str(number)], now=NOW + number * DAY)
    store.forget(before=NOW)
    assert [store.any_of([str(number)], since=NOW) for number in range(4)] == [False, False, True, True]
    store.forget(before=NOW)  # no more than there is room for: nothing to do
    assert store.any_of(["2"], since=NOW)
