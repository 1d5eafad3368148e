"""Octets in one place and in many: what is given back is what went in, and nothing of it stays behind."""

from __future__ import annotations

import os
import resource
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import StoreUnavailable
from domsec.octets import (
    CHUNK,
    RESIDENT,
    THRESHOLD,
    Pieces,
    behind,
    blocks,
    chunks,
    gather,
    give_back,
    in_one_place,
    join,
    place,
    same,
    start,
)

LARGE = bytes(range(256)) * (2 * THRESHOLD // 256)
CUTS = st.lists(st.binary(max_size=20), max_size=12)


def pieces(*parts: bytes) -> Pieces:
    return Pieces(sum(map(len, parts)), lambda: parts)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# --- reading --------------------------------------------------------------------------------------------------------


@given(CUTS, st.integers(1, 25))
def test_blocks_are_full_up_to_the_last(parts, size):
    whole = b"".join(parts)

    for source in (pieces(*parts), whole, memoryview(whole)):
        found = [bytes(block) for block in blocks(source, size)]

        assert b"".join(found) == whole
        assert all(len(block) == size for block in found[:-1])
        assert all(0 < len(block) <= size for block in found[-1:])


@given(CUTS, CUTS)
def test_the_same_octets_are_the_same_wherever_they_lie(parts, others):
    assert same(pieces(*parts), b"".join(parts))
    assert same(pieces(*parts), pieces(*others)) is (b"".join(parts) == b"".join(others))


def test_many_octets_that_differ_in_the_last_are_not_the_same():
    many = bytes(3 * CHUNK)

    assert not same(many, memoryview(many[:-1] + b"x"))


@given(CUTS, st.integers(0, 60))
def test_a_source_can_be_cut_in_two(parts, at):
    whole = b"".join(parts)

    for source in (pieces(*parts), whole, memoryview(whole)):
        assert start(source, at) == whole[:at]
        if at <= len(whole):
            rest = behind(source, at)
            assert len(rest) == len(whole) - at
            assert b"".join(chunks(rest)) == whole[at:]


def test_pieces_are_read_as_often_as_one_likes():
    source = join(LARGE, pieces(b"abc", b"de"), memoryview(b"f"))

    assert isinstance(source, Pieces)
    assert bytes(source) == bytes(source) == LARGE + b"abcdef"


def test_a_size_that_was_promised_and_not_kept_is_noticed():
    with pytest.raises(RuntimeError, match="3 octets where 4 were promised"):
        bytes(Pieces(4, lambda: [b"abc"]))


# --- few octets are bytes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, THRESHOLD])
def test_few_octets_are_bytes(size):
    octets = LARGE[:size]

    assert join(octets) is octets
    for made in (join(memoryview(octets)), join(pieces(octets)), join(octets[:7], octets[7:])):
        assert isinstance(made, bytes)
        assert made == octets
    assert gather([octets[:7], octets[7:]]) == octets


def test_nothing_is_copied_once_there_are_many():
    octets = LARGE[: THRESHOLD + 1]

    assert join(octets) is octets
    assert in_one_place(octets) is octets
    assert gather([octets]) is octets
    assert isinstance(join(octets, b"x"), Pieces)


# --- many octets are in a file --------------------------------------------------------------------------------------


def test_many_octets_are_in_a_file_that_nobody_else_can_open(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = descriptors()

    view = gather(blocks(LARGE, 1000))

    assert isinstance(view, memoryview)
    assert view.readonly
    assert view == LARGE
    assert list(tmp_path.iterdir()) == []
    (descriptor,) = descriptors() - before
    kept = os.fstat(int(descriptor))
    assert kept.st_nlink == 0
    assert stat.S_IMODE(kept.st_mode) == 0o600
    assert kept.st_dev == tmp_path.stat().st_dev


def test_the_file_goes_with_the_last_view_of_it():
    before = descriptors()
    part = memoryview(gather(blocks(LARGE, 1000)))[5:10]

    assert len(descriptors()) == len(before) + 1
    assert part == LARGE[5:10]
    del part
    assert descriptors() == before


def test_what_making_a_piece_raises_leaves_nothing_behind(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = descriptors()

    def broken() -> Iterator[bytes]:
        yield from blocks(LARGE, CHUNK)  # type: ignore[misc]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        gather(broken())
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process can be larger than the threshold."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (THRESHOLD, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_no_room_is_a_matter_of_time(small_files, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = descriptors()

    with pytest.raises(StoreUnavailable, match="File too large"):
        gather(blocks(LARGE, 1000))
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_said_is_the_only_one(tmp_path: Path, monkeypatch):
    """Python itself would go on to /tmp."""
    monkeypatch.setenv("TMPDIR", "/proc")
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() != "/proc"
    assert place() == "/proc"


def test_no_place_for_temporary_files_is_a_matter_of_time(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))

    with pytest.raises(StoreUnavailable, match="No such file"):
        gather(blocks(LARGE, 1000))


def resident_file_pages() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[2]) * resource.getpagesize()


@pytest.mark.parametrize("read", [chunks, lambda view: blocks(view, 1000), lambda view: gather_again(view)])
def test_what_was_read_does_not_stay_in_memory(read):
    view = gather(bytes(CHUNK) for _ in range(8 * RESIDENT // CHUNK))
    assert isinstance(view, memoryview)
    give_back(view)
    before = resident_file_pages()
    most = 0

    for number, _ in enumerate(read(view)):
        if number % 16 == 0:
            most = max(most, resident_file_pages() - before)

    assert most < 2 * RESIDENT


def gather_again(view: memoryview) -> Iterator[bytes]:
    """Slices of a mapping, taken by somebody who does not care for its pages."""
    copied = gather(view[at : at + 1000] for at in range(0, len(view), 1000))
    yield bytes(copied[:1])


def test_pages_given_back_return_as_they_were():
    view = gather(blocks(LARGE, 1000))

    give_back(view)
    assert view == LARGE
    give_back(LARGE)
    give_back(memoryview(LARGE))
