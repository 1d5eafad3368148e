"""domsec.gateway.health: what mail needs is asked for, and whoever watches is told when it goes and comes."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

import world
from domsec.errors import StoreUnavailable
from domsec.gateway.health import Health, Probe, _held, _room
from domsec.gateway.metrics import Metrics
from domsec.gateway.relay import NextHop
from domsec.gateway.server import Gateway, Listener, Settings
from domsec.gateway.workers import listen
from domsec.pipeline import Decision
from domsec.services.proxy import Users
from domsec.stores.audit import FileAudit
from domsec.stores.database import open_database
from domsec.stores.key_process import KeyProcess, KeyProcessCredential
from sink import Sink


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("domsec"), "propagate", True)


def look(probes: Mapping[str, Probe], until: Callable[[Metrics], Awaitable[object]], hop: str = "127.0.0.1:1") -> None:
    """Have a worker look, again and again, while something happens."""

    async def run() -> None:
        metrics = Metrics()
        gateway = Gateway(
            Settings("gw.example", "acme-1"), lambda _: Decision(), lambda *_: "", counters=metrics.counters()
        )
        sock = listen("127.0.0.1:0")
        await gateway.start([(Listener("127.0.0.1:0", "smtp", "outbound", NextHop(hop)), sock)])
        looking = asyncio.create_task(Health(probes, gateway).run(pause=0.01))
        try:
            async with asyncio.timeout(20):
                metrics.gateway = gateway  # type: ignore[attr-defined]
                await until(metrics)
        finally:
            looking.cancel()
            await gateway.drain(0.2)

    asyncio.run(run())


async def says(metrics: Metrics, words: str | None) -> None:
    while metrics.missing() != words:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(("roles", "asked"), [(True, ["signing", "confidentiality"]), (False, ["users"])])
def test_the_key_process_is_not_asked_for_the_key_of_each_user(tmp_path: Path, roles: bool, asked: list[str]) -> None:
    process = KeyProcess(tmp_path / "socket")
    acme = world.acme()
    held = {
        name: KeyProcessCredential(process, name, each.certificate)
        for name, each in (("signing", acme.signing), ("confidentiality", acme.confidentiality))
    }
    users = Users(tuple(KeyProcessCredential(process, "users", each.certificate) for each in acme.users.values()))
    site = dataclasses.replace(world.acme_site(), users=users)
    if roles:
        site = dataclasses.replace(site, signing_keys=(held["signing"],), keyring=(held["confidentiality"],))
    assert [key.name for key in _held(site)] == asked


def test_what_fails_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    full, asked = threading.Event(), [0]

    def probe() -> None:
        asked[0] += 1
        if full.is_set():
            raise StoreUnavailable("disk full")

    async def story(metrics: Metrics) -> None:
        await says(metrics, None)
        full.set()
        await says(metrics, "the store does not answer")
        assert 'domsec_unavailable{what="store"} 1\n' in metrics.text()
        before = asked[0]
        while asked[0] < before + 5:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        full.clear()
        await says(metrics, None)

    look({"store": probe}, story)
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("ERROR", "the store does not answer: disk full"),
        ("WARNING", "no longer so: the store does not answer"),
    ]


def test_who_hangs_keeps_nothing_else_from_being_looked_at() -> None:
    awake = threading.Event()

    def fails() -> None:
        raise StoreUnavailable("no such file")

    async def story(metrics: Metrics) -> None:
        await says(metrics, "the audit trail cannot be kept")
        awake.set()

    look({"store": lambda: bool(awake.wait(20)) and None, "audit": fails}, story)


def test_a_next_hop_that_was_away_is_tried_until_it_is_back(tmp_path: Path) -> None:
    async def story(metrics: Metrics) -> None:
        [relay] = metrics.gateway.relays  # type: ignore[attr-defined]
        await relay.probe()
        await says(metrics, "a next hop does not answer")
        async with Sink(path=tmp_path / "hop") as sink:
            await says(metrics, None)
            assert sink.connections == 1, "which is kept for a message"

    look({}, story, f"unix:{tmp_path}/hop")


def test_room_is_what_the_largest_message_takes(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    _room([tmp_path], 1)
    with pytest.raises(StoreUnavailable, match=rf"{tmp_path}: \d+ octets are free, a message may have"):
        _room([tmp_path], found.f_blocks * found.f_frsize + 1)
    with pytest.raises(StoreUnavailable, match="No such file"):
        _room([tmp_path / "gone"], 1)


def test_a_store_and_a_trail_are_asked_without_a_trace(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/domsec.db")
    database.check()
    database.close()
    trail = FileAudit(tmp_path / "audit.jsonl")
    trail.check()
    assert trail.path.read_bytes() == b""
    with pytest.raises(StoreUnavailable, match="No such file"):
        FileAudit(tmp_path / "gone" / "audit.jsonl").check()
