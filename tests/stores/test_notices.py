"""What the postmaster is to be told, collected until it is time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from domsec.pipeline import Recipient
from domsec.stores.holds import HoldStore
from domsec.stores.notices import LENGTH, MOST, Line, NoticeStore, Pending

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def put(holds: HoldStore, at: datetime, *, ready: bool = False) -> None:
    holds.put(
        direction="outbound", sender="a@acme.example", recipients=[Recipient("b@beta.example")], octets=b"x",
        reasons=["gate.from"], transaction="T", received_at=at, now=at, ready=ready,
    )  # fmt: skip


def test_what_all_workers_say_is_told_once_and_counted(url: str) -> None:
    one, another = NoticeStore.open(url), NoticeStore.open(url)
    one.note({"the store is away": 2}, NOW)
    another.note({"the store is away": 3, "a key ends": 1}, NOW + MINUTE)
    lines = (Line("the store is away", 5, NOW), Line("a key ends", 1, NOW + MINUTE))
    assert one.take(NOW + 2 * MINUTE, HOUR) == Pending(lines, 0, 0, 0)
    assert another.take(NOW + 3 * HOUR, HOUR) is None


def test_there_is_one_notice_in_its_time_and_nothing_is_lost_between(url: str) -> None:
    notices = NoticeStore.open(url)
    notices.note({"first": 1}, NOW)
    assert notices.take(NOW, HOUR) is not None
    notices.note({"second": 1}, NOW + MINUTE)
    assert notices.take(NOW + 59 * MINUTE, HOUR) is None
    told = notices.take(NOW + HOUR, HOUR)
    assert told is not None
    assert [line.text for line in told.lines] == ["second"]


def test_a_clock_that_was_ahead_silences_nobody(url: str) -> None:
    notices = NoticeStore.open(url)
    notices.note({"first": 1}, NOW)
    assert notices.take(NOW + 1000 * HOUR, HOUR) is not None
    notices.note({"second": 1}, NOW)
    assert notices.take(NOW + HOUR, HOUR) is not None


def test_messages_that_wait_are_told_when_there_are_new_ones(url: str) -> None:
    holds, notices = HoldStore.open(url), NoticeStore.open(url)
    put(holds, NOW)
    put(holds, NOW, ready=True)  # nobody has to decide about it
    assert notices.take(NOW + MINUTE, HOUR) == Pending((), 1, 1, 0)
    assert notices.take(NOW + 2 * HOUR, HOUR) is None  # the same one waits: that was told
    put(holds, NOW + 2 * HOUR)
    assert notices.take(NOW + 4 * HOUR, HOUR) == Pending((), 2, 1, 0)


def test_one_of_many_takes_it(url: str) -> None:
    stores = [NoticeStore.open(url) for _ in range(8)]
    stores[0].note({"something": 1}, NOW)
    taken: list[Pending | None] = []
    threads = [threading.Thread(target=lambda s=s: taken.append(s.take(NOW, HOUR))) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in taken) == 1


def test_a_flood_of_different_errors_has_an_end(sqlite_url: str) -> None:
    notices = NoticeStore.open(sqlite_url)
    notices.note({f"error {i}": 1 for i in range(MOST + 5)}, NOW)
    notices.note({"error 0": 1, "one more": 1, "\udcff" * (LENGTH + 1): 1}, NOW)
    told = notices.take(NOW, HOUR)
    assert told is not None
    assert len(told.lines) == MOST
    assert max(line.count for line in told.lines) == 2
