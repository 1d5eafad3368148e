"""The canonical form of an entity for signing (RFC 8551 3.1.1): text lines end in CRLF.

Only that is done: charsets and transfer encodings are the business of whoever made the entity, and a bare CR is
content, not a line end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from domsec.octets import Octets, Pieces, chunks, join

# The engine looks for the LF with memchr and only then behind: twice as fast as counting CRLF, and linear as well.
_LONE_LF = re.compile(rb"\n(?<!\r\n)")


def is_canonical(octets: Octets | Pieces) -> bool:
    """Whether there is no LF without CR before it."""
    after_cr = False
    for chunk in chunks(octets):
        if _LONE_LF.search(chunk, 1 if after_cr else 0) is not None:
            return False
        after_cr = chunk[-1] == 0x0D
    return True


def canonical(octets: Octets | Pieces) -> Octets | Pieces:
    """The same octets with every lone LF made CRLF. Given bytes that are canonical, they come back themselves."""
    if is_canonical(octets):
        return join(octets)
    return join(Pieces(sum(map(len, _converted(octets))), lambda: _converted(octets)))


def _converted(octets: Octets | Pieces) -> Iterator[bytes]:
    held = b""  # a CR at the end of a chunk: nobody knows yet whether its LF follows
    for chunk in chunks(octets):
        text = held + chunk
        held = b"\r" if text.endswith(b"\r") else b""
        yield text.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    yield held
