r"""The content of a message on the wire (RFC 5321 4.1.1.4, 4.5.2; threats T-24).

The only end of data is CRLF . CRLF. A CR or LF that is not part of a CRLF, and NUL, are refused in both directions:
they are what SMTP smuggling is made of. Lines may have any length.

Each octet is looked at as few times as CPython allows: one search for CRLF-dot finds the end and the stuffed dots,
and `io.IncrementalNewlineDecoder` tells in one pass of C which kinds of line end there are (100 KB: 36 us; three
`bytes.count` calls: 160 us).

What is large goes through in chunks, and is kept in a temporary file (domsec.octets).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Final

from domsec.errors import MalformedMessage, StoreUnavailable
from domsec.octets import THRESHOLD, Octets, Pieces, Spool, blocks, chunks, gather

END: Final = b"\r\n.\r\n"
_PIECE = 1 << 20


class _Scan:
    """What is wrong with octets that come in pieces."""

    __slots__ = ("_decoder", "_nul")

    def __init__(self) -> None:
        self._decoder = io.IncrementalNewlineDecoder(None, translate=False)
        self._nul = False

    def take(self, piece: Octets) -> None:
        text = str(piece, "latin-1")
        self._decoder.decode(text)
        self._nul = self._nul or "\0" in text

    def taking(self, octets: Octets | Pieces) -> Iterator[Octets]:
        """The octets on their way to somebody else."""
        for piece in chunks(octets):
            self.take(piece)
            yield piece

    def problem(self) -> str | None:
        """After the last piece."""
        self._decoder.decode("", final=True)
        if self._decoder.newlines not in (None, "\r\n"):
            return "bare_newline"
        return "nul" if self._nul else None


def problem_of(octets: Octets) -> str | None:
    """The name of the reply that refuses these octets as message content, None if nothing is wrong with them."""
    scan = _Scan()
    for piece in blocks(octets, _PIECE):
        scan.take(piece)
    return scan.problem()


def stuffed(octets: Octets | Pieces) -> Octets:
    """The octets as they go over the wire, without the final dot. Adds a last CRLF where it is missing.

    Raises MalformedMessage if they hold what `problem_of` refuses, StoreUnavailable where there is no room for them.
    """
    if len(octets) > THRESHOLD:
        return gather(_stuffed(octets))
    octets = bytes(octets)
    if octets and not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    _check(problem_of(octets))
    if octets.startswith(b"."):
        octets = b"." + octets
    if octets.find(b"\r\n.") < 0:
        return octets
    return octets.replace(b"\r\n.", b"\r\n..")


def _check(problem: str | None) -> None:
    if problem:
        raise MalformedMessage(f"message to send holds octets that no server should take: {problem}")


def _stuffed(octets: Octets | Pieces) -> Iterator[bytes]:
    scan = _Scan()
    last = b""
    for last in _with_dots(scan.taking(octets), b"\r\n.."):
        yield last
    if last != b"\r\n":
        yield b"\r\n"
    _check(scan.problem())


def _with_dots(pieces: Iterable[Octets], changed: bytes) -> Iterator[bytes]:
    """The octets with another beginning of the lines that begin with a dot. A last line end comes by itself."""
    before, skipped = b"\r\n", 2  # so that a dot on the first line is no special case
    for piece in pieces:
        text = before + piece
        end = len(text) - (2 if text.endswith(b"\r\n") else 1 if text.endswith(b"\r") else 0)
        yield text[:end].replace(b"\r\n.", changed)[skipped:]
        before, skipped = text[end:], max(0, skipped - end)
    yield before[skipped:]


class Data:
    """Collects what follows a 354 until the end of data.

    `octets` is the message, `wire` the same still dot-stuffed (the same object where no line begins with a dot).
    After `limit` octets, or where there is no room for them, nothing is kept, but the end is still looked for, so that
    a reply can be given.
    """

    __slots__ = ("_buffer", "_dotted", "_from", "_limit", "_spool", "octets", "problem", "size", "wire")

    def __init__(self, limit: int) -> None:
        # The buffer begins with the CRLF of the DATA command, so that a dot on the first line is no special case.
        self._buffer = bytearray(b"\r\n")
        self._from = 0
        self._dotted = False
        self._limit = limit
        self._spool: Spool | None = None
        self.size = 0
        self.octets: Octets = b""
        self.wire: Octets = b""
        self.problem: str | None = None

    def drop(self, problem: str) -> None:
        """Keep nothing from here on, and remember why."""
        self.problem = self.problem or problem
        self._dotted = True
        del self._buffer[:-4]
        self._from = 0
        self.wire = self.octets = b""
        self.close()

    def close(self) -> None:
        """Nothing more will come."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def feed(self, chunk: bytes) -> bytes | None:
        """Take the next octets. Gives what follows the end of data, None while it has not been seen."""
        buffer = self._buffer
        buffer += chunk
        self.size += len(chunk)
        end = self._find_end()
        if end < 0:
            if self.problem:
                del buffer[:-4]
                self._from = 0
            elif self.size > self._limit + len(END):
                self.drop("size")
            elif len(buffer) > THRESHOLD:
                self._put_away(len(buffer) - 4)  # what may be the beginning of the end stays
            return None
        rest = bytes(memoryview(buffer)[end + 5 :])
        self.size -= len(rest)
        if self.problem is None:
            self._finish(end + 2)
        self._buffer = bytearray()
        return rest

    def _put_away(self, count: int) -> None:
        try:
            if self._spool is None:
                self._spool = Spool()
                self._spool.write(bytes(self._buffer[2:count]))
            else:
                self._spool.write(bytes(self._buffer[:count]))
        except StoreUnavailable:
            self.drop("room")
            return
        del self._buffer[:count]
        self._from = max(0, self._from - count)

    def _find_end(self) -> int:
        buffer = self._buffer
        if not self._dotted:
            at = buffer.find(b"\r\n.", self._from)
            if at < 0:
                self._from = max(0, len(buffer) - 2)
                return -1
            following = bytes(buffer[at + 3 : at + 5])
            if following == b"\r\n":
                return at
            self._from = at
            if following in (b"", b"\r"):
                return -1
            self._dotted = True
        at = buffer.find(END, self._from)
        if at < 0:
            self._from = max(self._from, len(buffer) - 4)
        return at

    def _finish(self, end: int) -> None:
        try:
            self.wire = self.octets = wire = self._kept(end)
            self.problem = problem_of(wire)
            if self._dotted and not self.problem:
                self.octets = gather(_with_dots(chunks(wire), b"\r\n"))
        except StoreUnavailable:
            self.problem = "room"
        if len(self.octets) > self._limit:
            self.problem = "size"
        if self.problem:
            self.wire = self.octets = b""
        self.close()

    def _kept(self, end: int) -> Octets:
        """Everything up to there in the buffer. Raises StoreUnavailable."""
        if self._spool is None:
            return bytes(memoryview(self._buffer)[2:end])
        self._spool.write(bytes(self._buffer[:end]))
        return self._spool.octets()
