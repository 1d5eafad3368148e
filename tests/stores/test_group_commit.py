"""Audit records of many messages made durable together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from domsec.errors import StoreUnavailable
from domsec.stores.audit import Entry
from domsec.stores.group_commit import GroupCommit

NOW = datetime(2026, 11, 24, tzinfo=UTC)


class Trail:
    """An audit trail whose disk is as slow and as full as the test says."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.full = False
        self.turning = threading.Event()
        self.turning.set()

    def record_all(self, entries: Sequence[Entry]) -> None:
        self.turning.wait(10)
        if self.full and entries:
            raise StoreUnavailable("disk full")
        self.batches.append([event for event, _, _ in entries])


def test_durable_waits_for_what_was_recorded_before() -> None:
    trail = Trail()
    trail.turning.clear()

    async def scenario() -> None:
        commit = GroupCommit(trail)
        commit.record("one", {}, at=NOW)
        waiting = asyncio.create_task(commit.durable())
        await asyncio.sleep(0)
        commit.record("two", {}, at=NOW)
        commit.record("three", {}, at=NOW)
        assert not waiting.done()
        assert trail.batches == []
        trail.turning.set()
        await waiting
        assert trail.batches[0][0] == "one"
        await commit.durable()
        assert [event for batch in trail.batches for event in batch] == ["one", "two", "three"]

    asyncio.run(scenario())


def test_one_wait_serves_all_that_arrived() -> None:
    trail = Trail()

    async def scenario() -> None:
        commit = GroupCommit(trail)
        for number in range(50):
            commit.record(str(number), {}, at=NOW)
        await asyncio.gather(*(commit.durable() for _ in range(50)))

    asyncio.run(scenario())
    assert [len(batch) for batch in trail.batches] == [50]


def test_what_could_not_be_written_is_told_and_does_not_pile_up() -> None:
    """Who waited sends nothing, so there is nothing to keep: a disk may be full for hours, and mail comes again."""
    trail = Trail()

    async def scenario() -> None:
        commit = GroupCommit(trail)
        trail.full = True
        for _ in range(3):
            commit.record("one", {}, at=NOW)
            with pytest.raises(StoreUnavailable):
                await commit.durable()
        await commit.durable()  # of a message that needed no record
        commit.record("two", {}, at=NOW)
        trail.full = False
        await commit.durable()

    asyncio.run(scenario())
    assert [batch for batch in trail.batches if batch] == [["two"]]
