"""What the gateway remembers of delivered mail, and what it does when it cannot."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import pki
import world
from domsec.errors import StoreUnavailable
from domsec.gateway.replays import Replays
from domsec.stores.database import open_database
from domsec.stores.signatures import SeenSignatures
from world import build

WEEK = timedelta(days=7)


@pytest.fixture
def store(tmp_path: Path) -> SeenSignatures:
    return SeenSignatures(open_database(f"sqlite:///{tmp_path}/domsec.db"))


async def run_until(replays: Replays, keys: list[str]) -> None:
    """Let it work until it knows these."""
    task = asyncio.create_task(replays.run())
    async with asyncio.timeout(20):
        while not replays.seen(keys, datetime.now(UTC)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_what_was_delivered_is_remembered_beside_the_mail(store: SeenSignatures) -> None:
    replays = Replays(store, WEEK)
    replays.take(["a", "b"])
    assert not replays.seen(["a"], datetime.now(UTC))
    asyncio.run(run_until(replays, ["b"]))
    assert replays.seen(["a"], datetime.now(UTC))
    assert not replays.seen(["a"], datetime.now(UTC) + WEEK)


def test_a_store_that_is_away_costs_a_warning_and_no_mail(
    store: SeenSignatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [StoreUnavailable("down")]
    real = SeenSignatures.note

    def sometimes(self: SeenSignatures, keys: list[str], *, now: datetime) -> None:
        if failures:
            raise failures.pop()
        real(self, keys, now=now)

    monkeypatch.setattr(SeenSignatures, "note", sometimes)
    replays = Replays(store, WEEK)

    async def scene() -> None:
        replays.take(["lost"])
        task = asyncio.create_task(replays.run())
        while failures:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        replays.take(["kept"])
        task.cancel()
        await run_until(replays, ["kept"])

    asyncio.run(scene())
    assert not replays.seen(["lost"], datetime.now(UTC))

    def away(*_: object, **__: object) -> bool:
        raise StoreUnavailable("down")

    monkeypatch.setattr(SeenSignatures, "any_of", away)
    assert not replays.seen(["kept"], datetime.now(UTC))


def test_the_pipeline_asks_and_says_what_to_remember() -> None:
    """One digest for each recipient; nothing where nobody asked."""
    asked: list[list[str]] = []

    def seen(keys: object, now: datetime) -> bool:
        assert isinstance(keys, list)
        assert now == pki.NOW
        asked.append(keys)
        return True

    octets = build("S[domain](S0(OC))")
    at = world.beta_site(inbound={"max_age": WEEK})
    decision = world.receive(octets, "bob@beta.example", "carol@beta.example", at=at)
    assert [index for index, _ in decision.signatures] == [0, 1]
    assert "replay" not in decision.log["flags"]  # type: ignore[operator]
    again = world.receive(octets, "bob@beta.example", at=replace(at, seen=seen))
    assert asked == [[decision.signatures[0][1]]]
    assert "replay" in again.log["flags"]  # type: ignore[operator]
    assert b"smime=pass" in world.only(again)
    off = world.receive(octets, at=replace(world.beta_site(), seen=seen))
    assert (off.signatures, len(asked)) == ((), 1)
