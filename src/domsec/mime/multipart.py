"""Cutting a multipart body at its boundary (RFC 2046 5.1.1, RFC 1847 2.1), byte exact.

The line end before a delimiter belongs to the delimiter, blanks behind it are allowed, and a part is everything
between. A line that only begins with the delimiter is none: with the boundaries `ab` and `abc` nested, prefixes
would cut the wrong one. RFC 2046 lets readers compare prefixes, though, so such lines are reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from domsec.errors import LimitExceeded, MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.mime import lexical
from domsec.octets import CHUNK, RESIDENT, Octets, give_back

MAX_BOUNDARY = 250  # RFC 2046 says 70; longer ones were seen, endless ones are nobody's need

_LINE_REST = re.compile(rb"(--)?[ \t]*+(?:\r\n|\n|\r?\Z)")
_NON_BLANK = re.compile(rb"[^ \t\r\n]")


@dataclass(frozen=True, slots=True)
class Multipart:
    """Slices of the body that was cut."""

    preamble: memoryview
    parts: tuple[memoryview, ...]
    epilogue: memoryview  # behind the line of the closing delimiter
    closed: bool  # whether there is a closing delimiter
    near_misses: bool  # whether some line begins like a delimiter and goes on otherwise

    @property
    def outside_text(self) -> bool:
        """Whether the preamble or the epilogue has anything but blanks."""
        return _NON_BLANK.search(self.preamble) is not None or _NON_BLANK.search(self.epilogue) is not None


def split(body: Octets, boundary: str, limits: Limits = DEFAULT) -> Multipart:
    """Cut `body`. Without any delimiter there are no parts and all is preamble.

    Raises MalformedMessage for a boundary that is none, LimitExceeded for too many parts.
    """
    view = memoryview(body)
    delimiter = _delimiter(boundary)
    parts: list[memoryview] = []
    preamble = view
    begin = -1  # where the current part begins
    near_misses = 0
    for at in _line_starts(body, delimiter):
        rest = _LINE_REST.match(view, at + len(delimiter))
        if rest is None:
            near_misses += 1
            if near_misses > 10 * limits.mime_parts:
                raise LimitExceeded("mime_parts")
            continue
        end = _before_line_end(view, at, max(begin, 0))
        if begin < 0:
            preamble = view[:end]
        else:
            parts.append(view[begin:end])
            if len(parts) > limits.mime_parts:
                raise LimitExceeded("mime_parts")
        begin = rest.end()
        if rest[1]:
            return Multipart(preamble, tuple(parts), view[begin:], True, near_misses > 0)
    if begin >= 0:
        parts.append(view[begin:])
        if len(parts) > limits.mime_parts:
            raise LimitExceeded("mime_parts")
    return Multipart(preamble, tuple(parts), view[len(view) :], False, near_misses > 0)


def _delimiter(boundary: str) -> bytes:
    if not boundary or boundary.isspace():
        raise MalformedMessage("multipart without a boundary")
    if len(boundary) > MAX_BOUNDARY:
        raise MalformedMessage("boundary too long")
    if lexical.has_control(boundary):
        raise MalformedMessage("control character in a boundary")
    # a boundary cannot end in blanks, they would be padding: RFC 2046 5.1.1
    return b"--" + boundary.rstrip(" \t").encode("utf-8", "surrogateescape")


def _line_starts(body: Octets, start: bytes) -> Iterator[int]:
    """Where lines begin with `start`. A memoryview has no find; copying it by blocks keeps the cost in the cache."""
    if body[: len(start)] == start:
        yield 0
    needle = b"\n" + start
    if isinstance(body, bytes):
        at = body.find(needle)
        while at >= 0:
            yield at + 1
            at = body.find(needle, at + len(needle))
        return
    for block_at in range(0, len(body), CHUNK):
        if block_at % RESIDENT == 0:
            give_back(body)
        block = bytes(body[block_at : block_at + CHUNK + len(needle) - 1])
        at = block.find(needle)
        while at >= 0:
            yield block_at + at + 1
            at = block.find(needle, at + len(needle))


def _before_line_end(view: memoryview, at: int, floor: int) -> int:
    """`at` without the line end before it, but not before `floor`: a part may be empty without one."""
    if at > floor:
        at -= 1
        if at > floor and view[at - 1] == 0x0D:
            at -= 1
    return at
