"""Content-Type and Content-Disposition (RFC 2045 5.1, RFC 2183, parameters also as in RFC 2231).

More is read than the grammar allows where senders are known to write it (values that need quotes and have none,
semicolons without a parameter), nothing is guessed where readers would differ: that raises MalformedMessage, or is
told in `ambiguous`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from domsec.errors import MalformedMessage
from domsec.mime import lexical

MAX_LENGTH = 8 * 1024  # of one value: a message has up to a thousand parts, and each has one

_BARE_VALUE = re.compile(r'[^\s;"(]*+')
_EXTENDED = re.compile(r"([^*]++)(?:\*(0|[1-9][0-9]{0,4}))?(\*)?\Z")

# charsets whose decoders are simple; a name from a stranger must not choose any codec Python knows
_CHARSETS = {
    "": "utf-8",
    "us-ascii": "utf-8",
    "utf-8": "utf-8",
    "iso-8859-1": "latin-1",
    "iso-8859-15": "iso8859-15",
    "windows-1252": "cp1252",
}


@dataclass(frozen=True, slots=True)
class ContentType:
    """A media type. Names are lower case, values as sent."""

    type: str
    subtype: str
    parameters: dict[str, str] = field(default_factory=dict)
    ambiguous: tuple[str, ...] = ()  # parameters given more than once: readers take different ones

    @property
    def full(self) -> str:
        return f"{self.type}/{self.subtype}"


@dataclass(frozen=True, slots=True)
class Disposition:
    """A Content-Disposition."""

    type: str
    parameters: dict[str, str] = field(default_factory=dict)
    ambiguous: tuple[str, ...] = ()


@functools.lru_cache(maxsize=512)
def parse_content_type(value: str) -> ContentType:
    """Read the value of a Content-Type field. Raises MalformedMessage."""
    at = _begin(value)
    main, at = lexical.token(value, at)
    at = lexical.skip_comments(value, at)
    if not main or value[at : at + 1] != "/":
        raise MalformedMessage("content type without type and subtype")
    subtype, at = lexical.token(value, lexical.skip_comments(value, at + 1))
    if not subtype:
        raise MalformedMessage("content type without subtype")
    parameters, ambiguous = _parameters(value, at)
    return ContentType(main.lower(), subtype.lower(), parameters, ambiguous)


def parse_disposition(value: str) -> Disposition:
    """Read the value of a Content-Disposition field. Raises MalformedMessage."""
    kind, at = lexical.token(value, _begin(value))
    if not kind:
        raise MalformedMessage("content disposition without a type")
    parameters, ambiguous = _parameters(value, at)
    return Disposition(kind.lower(), parameters, ambiguous)


def _begin(value: str) -> int:
    if len(value) > MAX_LENGTH:
        raise MalformedMessage("content type or disposition too long")
    return lexical.skip_comments(value, 0)


def _parameters(value: str, at: int) -> tuple[dict[str, str], tuple[str, ...]]:
    found: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[str, bool]]] = {}
    twice: list[str] = []
    end = len(value)
    while (at := lexical.skip_comments(value, at)) < end:
        if value[at] != ";":
            raise MalformedMessage("junk between parameters")
        at = lexical.skip_comments(value, at + 1)
        if at == end or value[at] == ";":
            continue
        name, at = lexical.token(value, at)
        at = lexical.skip_comments(value, at)
        if not name or value[at : at + 1] != "=":
            raise MalformedMessage("parameter without a value")
        text, at = _value(value, lexical.skip_comments(value, at + 1))
        name = name.lower()
        if "*" not in name:
            if name in found:
                twice.append(name)
            else:
                found[name] = text
            continue
        shape = _EXTENDED.match(name)
        if shape is None:
            raise MalformedMessage("parameter name with misplaced asterisk")
        numbered = pieces.setdefault(shape[1], {})
        number = int(shape[2] or 0)
        if number in numbered:
            twice.append(shape[1])
        else:
            numbered[number] = (text, shape[3] is not None)
    for name, numbered in pieces.items():
        if name in found:
            twice.append(name)
        found[name] = _joined(numbered)
    return found, tuple(dict.fromkeys(twice))


def _value(value: str, at: int) -> tuple[str, int]:
    if value[at : at + 1] == '"':
        text, at = lexical.quoted_string(value, at)
    else:
        match = _BARE_VALUE.match(value, at)
        assert match is not None
        text, at = match[0], match.end()
    if lexical.has_control(text):
        raise MalformedMessage("control character in a parameter")
    return text, at


def _joined(numbered: dict[int, tuple[str, bool]]) -> str:
    """RFC 2231 3 and 4: pieces from 0 on without a gap; percent encoding in those marked with an asterisk."""
    charset = ""
    octets: list[bytes] = []
    for number in range(len(numbered)):
        if number not in numbered:
            raise MalformedMessage("a piece of a parameter is missing")
        text, encoded = numbered[number]
        if not encoded:
            octets.append(text.encode("utf-8", "surrogateescape"))
            continue
        if number == 0:
            charset, quote, rest = text.partition("'")
            if quote:
                text = rest.partition("'")[2]
            else:
                charset = ""
        octets.append(unquote_to_bytes(text.encode("utf-8", "surrogateescape")))
    joined = b"".join(octets).decode(_CHARSETS.get(charset.lower(), "utf-8"), "replace")
    if lexical.has_control(joined):
        raise MalformedMessage("control character in a parameter")
    return joined
