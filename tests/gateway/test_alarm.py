"""domsec.gateway.alarm: when failures to decrypt are too many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domsec.gateway.alarm import MOST_NAMES, WINDOW, Watch

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.requirement("R2634-6-01")
def test_the_threshold_is_the_first_that_is_too_many_and_then_counting_begins_anew() -> None:
    watch = Watch(3)
    times = [NOON + timedelta(seconds=second) for second in range(7)]
    assert [bool(watch.failed(["key"], at)) for at in times] == [False, False, True, False, False, True, False]


def test_names_are_counted_apart() -> None:
    watch = Watch(2)
    assert watch.failed(["key a", "client 1"], NOON) == []
    assert watch.failed(["key a", "client 2"], NOON) == ["key a"]
    assert watch.failed(["key b", "client 2"], NOON) == ["client 2"]


@pytest.mark.parametrize(("later", "alarm"), [(WINDOW - timedelta(seconds=1), True), (WINDOW, False)])
def test_what_was_longer_ago_does_not_count(later: timedelta, alarm: bool) -> None:
    watch = Watch(2)
    watch.failed(["key"], NOON)
    assert bool(watch.failed(["key"], NOON + later)) is alarm


def test_nought_is_never() -> None:
    watch = Watch(0)
    assert not any(watch.failed(["key"], NOON) for _ in range(1000))


def test_many_clients_take_bounded_memory_and_who_goes_on_is_remembered() -> None:
    watch = Watch(3)
    watch.failed(["persistent"], NOON)
    for number in range(MOST_NAMES - 1):
        watch.failed([f"client {number}"], NOON)
    watch.failed(["persistent"], NOON)
    for number in range(MOST_NAMES - 1):
        watch.failed([f"other {number}"], NOON)
    assert watch.failed(["persistent"], NOON) == ["persistent"]
    assert watch.failed(["client 0"], NOON) == watch.failed(["client 0"], NOON) == []  # forgotten, so these are two
    assert watch.failed(["client 0"], NOON) == ["client 0"]
