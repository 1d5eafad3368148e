"""What was fetched, on the disk: whole or not at all, for each place, and for one process to change."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

import pki
from domsec.errors import StoreUnavailable
from domsec.stores import revocations
from domsec.stores.revocations import Fetched, RevocationFolder
from domsec.trust.places import Place

ACME = pki.world().acme
LIST = Place("crl", "http://crl.example/", ACME.ca.certificate)
ANSWER = Place("ocsp", "http://ocsp.example/", ACME.ca.certificate, ACME.signing.certificate)


def test_what_was_put_is_there_for_the_next_process(tmp_path: Path) -> None:
    one = Fetched(LIST, b"octets\nof\0it", etag='"x"', modified="Mon, 23 Nov 2026 12:00:00 GMT")
    other = Fetched(ANSWER, b"others")
    folder = RevocationFolder(tmp_path)
    folder.put(one)
    folder.put(other)
    assert sorted(RevocationFolder(tmp_path).entries(), key=lambda e: e.place.kind) == [one, other]
    folder.put(Fetched(LIST, b"newer"))
    assert {entry.octets for entry in RevocationFolder(tmp_path).entries()} == {b"newer", b"others"}


def test_a_place_is_wanted_before_anything_is_there(tmp_path: Path) -> None:
    folder = RevocationFolder(tmp_path)
    assert folder.want(LIST)
    assert not folder.want(LIST)
    assert list(folder.entries()) == [Fetched(LIST)]
    folder.put(Fetched(LIST, b"octets"))
    assert not folder.want(LIST)
    assert list(folder.entries()) == [Fetched(LIST, b"octets")]


def test_so_many_places_are_remembered_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "MOST", 2)
    folder = RevocationFolder(tmp_path)
    wanted = [folder.want(Place("crl", f"http://crl.example/{n}", ACME.ca.certificate)) for n in range(3)]
    assert wanted == [True, True, False]


@pytest.mark.parametrize(
    "octets", [b"", b"{}\n", b"[]\nx", b"nonsense", b'{"kind": "crl"}\n', b'{"kind": 1, "uri": 2}\n', b"\xff\n"]
)
def test_a_broken_file_is_left_out_and_the_rest_is_used(tmp_path: Path, octets: bytes) -> None:
    folder = RevocationFolder(tmp_path)
    folder.put(Fetched(ANSWER, b"whole"))
    (tmp_path / f"{LIST.name}.fetched").write_bytes(octets)
    assert list(folder.entries()) == [Fetched(ANSWER, b"whole")]


def test_a_file_under_the_name_of_another_place_is_left_out(tmp_path: Path) -> None:
    folder = RevocationFolder(tmp_path)
    folder.put(Fetched(LIST, b"list"))
    os.rename(tmp_path / f"{LIST.name}.fetched", tmp_path / f"{ANSWER.name}.fetched")
    assert list(folder.entries()) == []


def test_a_write_that_was_cut_short_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RevocationFolder(tmp_path)
    folder.put(Fetched(LIST, b"old"))

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        folder.put(Fetched(LIST, b"new"))
    monkeypatch.undo()
    assert list(folder.entries()) == [Fetched(LIST, b"old")]
    assert [path.name for path in tmp_path.iterdir()] == [f"{LIST.name}.fetched"]


def test_only_what_changed_changes_the_generation(tmp_path: Path) -> None:
    folder = RevocationFolder(tmp_path)
    empty = folder.generation()
    folder.put(Fetched(LIST, b"old"))
    old = folder.generation()
    os.utime(tmp_path / f"{LIST.name}.fetched")
    assert folder.generation() == old != empty
    folder.put(Fetched(LIST, b"new"))
    assert folder.generation() != old


def test_what_no_path_wants_any_more_is_forgotten(tmp_path: Path) -> None:
    folder = RevocationFolder(tmp_path)
    folder.put(Fetched(LIST, b"list"))
    folder.put(Fetched(ANSWER, b"answer"))
    long_ago = time.time() - revocations.UNWANTED.total_seconds() - 60
    for place in (LIST, ANSWER):
        os.utime(tmp_path / f"{place.name}.fetched", (long_ago, long_ago))
    folder.want(ANSWER)  # wanted once more
    folder.put(Fetched(LIST, b"newer"))  # fetched, but not wanted
    assert folder.forget_unwanted() == 1
    assert [entry.place for entry in folder.entries()] == [ANSWER]


def _holding(path: Path, held: multiprocessing.synchronize.Event, end: multiprocessing.synchronize.Event) -> None:
    if RevocationFolder(path).lock():
        held.set()
    end.wait(30)


def test_one_process_at_a_time_fetches_and_another_takes_over(tmp_path: Path) -> None:
    forking = multiprocessing.get_context("fork")
    held, end = forking.Event(), forking.Event()
    process = forking.Process(target=_holding, args=(tmp_path, held, end))
    process.start()
    assert held.wait(30)
    folder = RevocationFolder(tmp_path)
    assert not folder.lock()
    process.kill()
    process.join()
    assert folder.lock()
    assert folder.lock()
    folder.unlock()
    assert RevocationFolder(tmp_path).lock()


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    folder = RevocationFolder(tmp_path / "gone")
    for ask in (folder.generation, lambda: list(folder.entries()), lambda: folder.want(LIST), folder.lock):
        with pytest.raises(StoreUnavailable, match="gone: No such file"):
            ask()
