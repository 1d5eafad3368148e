"""Octets, few or many: in one place, in several places, or made while they are read.

    Octets    in one place: bytes, or a view of something that nobody changes
    Pieces    anything else that has a size and can be read from the start, as often as one likes
    join      parts as one, of which nothing is copied once they are many
    gather    into one place: memory while they are few, else a temporary file that has no name any more

A message of 100 MB shall not need a multiple of its size in memory (measurements-crypto.md 5). So what is small is
plain bytes throughout, and what is large is read in chunks, and kept in a file that is mapped. Such a file is memory to
whoever uses it: nobody else can open it, and it is gone with the last view of it, or with the process. $TMPDIR says
where it is.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import operator
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from typing import Final

from domsec.errors import StoreUnavailable

Octets = bytes | memoryview

THRESHOLD: Final = 256 * 1024  # what is not larger is bytes: up to here one copy is cheaper than a file
CHUNK: Final = 64 * 1024  # stays in the cache from one step to the next
RESIDENT: Final = 4 * 1024 * 1024  # of a mapping that is read, before its pages are given back
_BATCH: Final = 512  # pieces written in one call; IOV_MAX is 1024


@dataclass(frozen=True, slots=True)
class Pieces:
    """`size` octets, which each call of `make` gives one after the other, the same every time."""

    size: int
    make: Callable[[], Iterable[Octets]]

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Octets]:
        given = 0
        for piece in self.make():
            given += len(piece)
            yield piece
        if given != self.size:  # lengths were written before the octets: what has been read is wrong
            raise RuntimeError(f"{given} octets where {self.size} were promised")

    def __bytes__(self) -> bytes:
        return b"".join(self)


class _Mapping(mmap.mmap):
    """A temporary file of ours. Its pages may be dropped at any time: they come back from the file."""


def chunks(source: Octets | Pieces) -> Iterator[Octets]:
    """The octets in pieces of a handy size; nothing for nothing."""
    return iter(source) if isinstance(source, Pieces) else _slices(source, CHUNK)


def blocks(source: Octets | Pieces, size: int) -> Iterator[Octets]:
    """The octets in pieces of exactly this size, the last one excepted."""
    return _recut(source, size) if isinstance(source, Pieces) else _slices(source, size)


def _slices(octets: Octets, size: int) -> Iterator[Octets]:
    if len(octets) <= size:
        if octets:
            yield octets
        return
    view = memoryview(octets)
    resident = 0
    for at in range(0, len(view), size):
        yield view[at : at + size]
        resident += size
        if resident >= RESIDENT:
            give_back(view)
            resident = 0
    give_back(view)


def _recut(pieces: Iterable[Octets], size: int) -> Iterator[Octets]:
    begun = bytearray()
    for piece in pieces:
        at = 0
        if begun:
            at = size - len(begun)
            begun += piece[:at]
            if len(begun) < size:
                continue
            yield memoryview(begun)
            begun = bytearray()
        view = memoryview(piece)
        end = len(view) - (len(view) - at) % size
        for begin in range(at, end, size):
            yield view[begin : begin + size]
        begun += view[end:]
    if begun:
        yield memoryview(begun)


def give_back(octets: Octets) -> None:
    """Tell the system that nobody needs these octets soon. They stay as they are."""
    if isinstance(octets, memoryview) and isinstance(octets.obj, _Mapping):
        octets.obj.madvise(mmap.MADV_DONTNEED)


def start(source: Octets | Pieces, count: int) -> bytes:
    """The first octets, at most `count`."""
    if not isinstance(source, Pieces):
        return bytes(source[:count])
    found = b""
    for piece in source:
        found += piece[: count - len(found)]
        if len(found) == count:
            break
    return found


def behind(source: Octets | Pieces, count: int) -> memoryview | Pieces:
    """What follows the first `count` octets."""
    if not isinstance(source, Pieces):
        return memoryview(source)[count:]
    return Pieces(len(source) - count, lambda: _behind(source, count))


def _behind(pieces: Iterable[Octets], count: int) -> Iterator[Octets]:
    for piece in pieces:
        if count < len(piece):
            yield memoryview(piece)[count:]
        count = max(0, count - len(piece))


def join(*parts: Octets | Pieces) -> Octets | Pieces:
    """The parts as one: bytes as long as they are few."""
    size = sum(map(len, parts))
    if size <= THRESHOLD:
        try:
            return b"".join(parts)  # type: ignore[arg-type]
        except TypeError:
            return b"".join(map(bytes, parts))
    if len(parts) == 1:
        return parts[0]
    return Pieces(size, lambda: itertools.chain.from_iterable(map(chunks, parts)))


def same(one: Octets | Pieces, other: Octets | Pieces) -> bool:
    """Whether both have the same octets, read once."""
    if len(one) != len(other):
        return False
    return all(map(operator.eq, blocks(one, CHUNK), blocks(other, CHUNK)))


def in_one_place(source: Octets | Pieces) -> Octets:
    """The same octets where every one of them can be reached. Raises StoreUnavailable."""
    return gather(source) if isinstance(source, Pieces) else source


def gather(pieces: Iterable[Octets]) -> Octets:
    """The pieces in one place; one that is alone stays where it is.

    What making a piece raises goes on to the caller, and nothing is left of those before. Raises StoreUnavailable where
    the temporary file cannot be written.
    """
    kept: list[Octets] = []
    size = 0
    coming = iter(pieces)
    for piece in coming:
        kept.append(piece)
        size += len(piece)
        if size > THRESHOLD and len(kept) > 1:
            with Spool() as spool:
                for each in itertools.chain(kept, coming):
                    spool.write(each)
                return spool.octets()
    return kept[0] if len(kept) == 1 else b"".join(kept)


def place() -> str:
    """The folder of temporary files: what $TMPDIR says, or nothing.

    Python takes another folder where that one is full. Decrypted text is in such files, and somebody has said where it
    may be.
    """
    return os.environ.get("TMPDIR") or tempfile.gettempdir()


@contextlib.contextmanager
def _available() -> Iterator[None]:
    """The disk is full, or there is none: later there may be room again."""
    try:
        yield
    except OSError as problem:
        raise StoreUnavailable(f"a temporary file cannot be used: {problem.strerror or problem}") from problem


class Spool:
    """A temporary file without a name that is being written, for who cannot give all pieces at once.

    Everything raises StoreUnavailable where the file cannot be written. A piece is not to change after it was given.
    """

    __slots__ = ("_batch", "_file", "_resident", "_size", "_waiting")

    def __init__(self) -> None:
        self._batch: list[Octets] = []
        self._waiting = self._resident = self._size = 0
        with _available():
            self._file: FileIO = tempfile.TemporaryFile(buffering=0, prefix="domsec-", dir=place())  # noqa: SIM115  `close` does it

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write no more. What `octets` gave stays."""
        self._file.close()

    def write(self, piece: Octets) -> None:
        self._batch.append(piece)
        self._waiting += len(piece)
        if self._waiting >= CHUNK or len(self._batch) >= _BATCH:
            self._flush()

    def octets(self) -> memoryview:
        """What was written, at least one octet."""
        self._flush()
        with _available():
            return memoryview(_Mapping(self._file.fileno(), self._size, access=mmap.ACCESS_READ))

    def _flush(self) -> None:
        if not self._batch:
            return
        with _available():
            write_all(self._file.fileno(), self._batch)
        self._size += self._waiting
        self._resident += self._waiting
        if self._resident >= RESIDENT:
            give_back(self._batch[-1])
            self._resident = 0
        self._batch, self._waiting = [], 0


def write_all(descriptor: int, pieces: Sequence[Octets]) -> None:
    """Write the pieces to a file, however often that takes. Raises OSError."""
    left = sum(map(len, pieces))
    while left:
        written = os.writev(descriptor, pieces)
        left -= written
        if left:
            pieces = [b"".join(pieces)[written:]]
