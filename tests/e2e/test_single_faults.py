"""One fault at a time: what a sender is told, that nothing leaves that should not, that `/readyz` says so, and that all
goes on afterwards without a restart. docs/operations.md has the table.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.installation import Installation, installation
from e2e.mail_queue import Attempt, Queued
from e2e.world import wait_until
from postgresql import Server

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SMALL_DISK = 6 * 1024 * 1024
LIMITS = "[limits]\nsize = 1048576\n"  # so that there is room for one message on a small disk
READY = (200, "ok\n")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, which can be filled."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system, and not everywhere")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


STORE = "store does not answer"


def refused(attempt: Attempt, code: int, words: str) -> bool:
    """Whether a message was put off in these words, and is still the sender's."""
    return attempt.code == code and words in attempt.text


def becomes_ready(ours: Installation) -> None:
    wait_until(lambda: ours.readyz() == READY, "readyz says yes")


def says(ours: Installation, words: str) -> None:
    wait_until(lambda: ours.readyz()[0] == 503 and words in ours.readyz()[1], f"readyz says {words}")


@contextlib.contextmanager
def running(**options: str | int) -> Iterator[Installation]:
    """An installation that runs, whose processes are the same at the end, and which was never at a loss for words."""
    with installation(**options) as ours:
        ours.start()
        becomes_ready(ours)
        before = ours.gateway.workers
        yield ours
        assert ours.gateway.workers == before
        assert "Traceback" not in ours.gateway.log.read_text()


# --- disks ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_held_stays_with_its_sender_and_what_need_not_be_goes_on(tmp_path: Path):
    with (
        small_disk(tmp_path / "disk") as disk,
        running(store=f"sqlite:///{disk}/domsec.db", options=LIMITS) as ours,
    ):
        large = ours.letter("reviewed", size=200_000)
        filler = fill(disk)
        assert refused(ours.send(large), 451, STORE)
        says(ours, "there is no room on a disk")
        assert ours.send(ours.letter("sealed")).code == 250
        filler.unlink()
        becomes_ready(ours)
        assert "held as" in ours.send(large).text
        assert len(ours.held("held")) == 1
        assert ours.copies(large) == []


def test_nothing_that_is_signed_leaves_while_the_audit_trail_is_full(tmp_path: Path):
    with small_disk(tmp_path / "disk") as disk, running(audit=str(disk / "audit.jsonl"), options=LIMITS) as ours:
        sealed = ours.letter("sealed")
        # the last page of the file has room for some records yet
        filler = fill(disk)
        wait_until(lambda: refused(ours.send(ours.letter("signed")), 451, STORE), "the trail is full")
        assert refused(ours.send(sealed), 451, STORE)
        says(ours, "there is no room on a disk")
        assert ours.copies(sealed) == []
        filler.unlink()
        becomes_ready(ours)
        assert ours.send(sealed).code == 250
        assert len(ours.copies(sealed)) == 1


def test_a_large_message_waits_while_the_spool_is_full_and_small_ones_need_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setenv("TMPDIR", str(disk))
        with running(options=LIMITS) as ours:
            large = ours.letter("sealed", size=900_000)
            filler = fill(disk)
            assert refused(ours.send(large), 452, "4.3.1")
            says(ours, "there is no room on a disk")
            assert ours.send(ours.letter("sealed", 2)).code == 250
            filler.unlink()
            becomes_ready(ours)
            assert ours.send(large).code == 250
            assert len(ours.copies(large)) == 1


# --- the store ------------------------------------------------------------------------------------------------------


def test_a_damaged_store_holds_nothing_until_it_is_mended():
    with running() as ours:
        file = Path(ours.store.removeprefix("sqlite:///"))
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        good = file.read_bytes()
        with file.open("r+b") as damaged:
            damaged.write(os.urandom(len(good)))
        says(ours, "the store does not answer")
        reviewed = ours.letter("reviewed")
        # certificates to encrypt to are there as well: without them nothing is sealed, and nothing sent in clear
        for letter in (reviewed, ours.letter("sealed")):
            assert refused(ours.send(letter), 451, STORE)
            assert ours.copies(letter) == []
        with file.open("r+b") as mended:
            mended.write(good)
        becomes_ready(ours)
        assert "held as" in ours.send(reviewed).text


def test_other_mail_of_a_worker_goes_on_while_one_waits_for_a_store_that_is_locked():
    with running(workers=1) as ours, ThreadPoolExecutor(1) as pool:
        with contextlib.closing(sqlite3.connect(ours.store.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            waiting = pool.submit(ours.send, ours.letter("reviewed"))
            for number in range(5):
                assert ours.send(ours.letter("sealed", number)).code == 250
            assert not waiting.done()
            other.execute("ROLLBACK")
        assert "held as" in waiting.result().text


def test_mail_waits_while_the_store_server_is_away(postgresql: Server):
    with running(store=postgresql.database(), audit="") as ours:
        postgresql.stop()
        try:
            for kind in ("sealed", "reviewed"):
                assert refused(ours.send(ours.letter(kind)), 451, STORE)
            says(ours, "the store does not answer")
        finally:
            postgresql.start()
        becomes_ready(ours)
        assert ours.copies(ours.letter("sealed")) == []
        assert ours.send(ours.letter("sealed")).code == 250
        assert "held as" in ours.send(ours.letter("reviewed")).text


# --- keys -----------------------------------------------------------------------------------------------------------


def test_mail_that_needs_no_key_goes_on_while_the_key_process_hangs():
    """Once somebody has noticed, nobody of us waits for it any more."""
    with running(workers=1) as ours:
        with ours.keyd.hanging():
            says(ours, "the key process does not answer")
            begun = len(ours.gateway.log.read_text())
            plain = _unprotected(ours)
            for number in range(5):
                assert refused(ours.send(ours.letter("sealed", number)), 451, STORE)
                assert ours.send(plain).code == 250
            since = ours.gateway.log.read_text()[begun:]
            assert since.count("did not answer just now") == 5
            assert "does not answer in time" not in since
        becomes_ready(ours)
        wait_until(lambda: ours.send(ours.letter("sealed")).code == 250, "the key process is asked again")
        assert len(ours.copies(plain)) == 5


def _unprotected(ours: Installation) -> Queued:
    """Mail from somebody who has never heard of S/MIME."""
    made = ours.letter("signed")
    author = b"From: zoe@other.example\r\n"
    return Queued(
        "inbound", ours.inbound, "zoe@other.example", "alice@acme.example",
        author + made.octets.partition(b"\r\n")[2], made.id, made.marker,
    )  # fmt: skip


# --- the next hop ---------------------------------------------------------------------------------------------------


def test_a_next_hop_that_is_away_is_told_and_found_again_without_mail():
    with running() as ours:
        ours.hop.kill()
        assert refused(ours.send(ours.letter("sealed")), 451, "4.4.1")
        says(ours, "a next hop does not answer")
        ours.hop.start()
        becomes_ready(ours)
        assert ours.send(ours.letter("sealed")).code == 250


# --- the gateway ----------------------------------------------------------------------------------------------------


def _in_flight(ours: Installation, pool: ThreadPoolExecutor) -> Future[Attempt]:
    """A message that the next hop has whole and says nothing about."""
    ours.hop_goes_on(hang=True)
    sending = pool.submit(ours.send, ours.letter("sealed"))
    wait_until(lambda: b"in_flight_bytes 0\n" not in _metrics(ours), "a message in flight")
    return sending


def _metrics(ours: Installation) -> bytes:
    return ours.page("/metrics")[1].encode()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_in_flight_is_answered_before_a_gateway_stops_or_reads_its_configuration_anew(told: signal.Signals):
    with installation() as ours, ThreadPoolExecutor(1) as pool:
        ours.start()
        becomes_ready(ours)
        before = set(ours.gateway.workers)
        sending = _in_flight(ours, pool)
        os.kill(ours.gateway.pid, told)
        wait_until(_followed(ours, told, before), "the signal is obeyed")
        assert not sending.done()
        ours.hop_goes_on()
        assert sending.result().code == 250
        assert len(ours.copies(ours.letter("sealed"))) == 1
        if told is signal.SIGTERM:
            assert ours.gateway.stop() == 0
        else:
            assert ours.send(ours.letter("sealed", 2)).code == 250


def _followed(ours: Installation, told: signal.Signals, before: set[int]) -> Callable[[], object]:
    if told is signal.SIGTERM:
        return lambda: "domsec: stopping" in ours.gateway.log.read_text()
    return lambda: ours.gateway.log.read_text().count("domsec: ready") == 2 and set(ours.gateway.workers) - before
