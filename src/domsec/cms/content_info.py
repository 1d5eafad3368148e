"""ContentInfo, the outermost structure of every CMS message (RFC 5652 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domsec import der
from domsec.limits import DEFAULT, Limits
from domsec.octets import Octets, Pieces

_CONTENT: Final = der.context(0)


@dataclass(frozen=True, slots=True)
class ContentInfo:
    """`content` is the whole value inside, as received; `trailing` how many octets follow the structure."""

    content_type: str
    content: Octets
    trailing: int


def parse(data: Octets, limits: Limits = DEFAULT) -> ContentInfo:
    """Raises MalformedMessage, LimitExceeded. Octets that follow are counted and not looked at."""
    reader = der.Reader(data, limits)
    reader.enter(der.SEQUENCE)
    content_type = reader.oid()
    reader.enter(_CONTENT)
    content = reader.skip()
    reader.leave()
    reader.leave()
    return ContentInfo(content_type, content, len(data) - reader.offset)


def wrap(content_type: str, content: Octets | Pieces) -> Octets | Pieces:
    """A ContentInfo around one value."""
    return der.enclose(der.SEQUENCE, der.oid(content_type), der.enclose(_CONTENT, content))
