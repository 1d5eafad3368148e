"""The Subject as people read it (RFC 2047), and tags that they write into it for the gateway, such as `[secure]`."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Final

from domsec.mime.fields import Field, Header

# longer than the 75 characters of RFC 2047 2, as some programs write them, and not without end
_ENCODED_WORD: Final = re.compile(r"=\?([!-)+->@-~]{1,40})(?:\*[!->@-~]{0,40})?\?([bBqQ])\?([!->@-~]{0,500})\?=")
_BETWEEN: Final = re.compile(r"(\?=)[ \t]+(?==\?)")  # blanks between two encoded words are not shown: RFC 2047 6.2
_QUOTED: Final = re.compile(r"=([0-9A-Fa-f]{2})")
_LINE: Final = 78  # characters that a line should have at most: RFC 5322 2.1.1
_OCTETS: Final = 42  # octets of UTF-8 in one encoded word, which has 75 characters at most: RFC 2047 2


def subjects(header: Header) -> tuple[str, ...]:
    """The Subject fields, decoded. Words that cannot be decoded stay as they are."""
    return tuple(decoded(field.value) for field in header.all("subject"))


def decoded(value: str) -> str:
    """Encoded words as what they stand for."""
    if "=?" not in value:
        return value
    return _ENCODED_WORD.sub(_word, _BETWEEN.sub(r"\1", value))


def _word(match: re.Match[str]) -> str:
    charset, encoding, text = match.groups()
    try:
        if encoding in "bB":
            octets = base64.b64decode(text + "=" * (-len(text) % 4))
        else:
            octets = _QUOTED.sub(lambda m: chr(int(m[1], 16)), text.replace("_", " ")).encode("latin-1")
        return octets.decode(charset, "replace")
    except (ValueError, LookupError):
        return match[0]


def has_tag(header: Header, tags: Iterable[str]) -> bool:
    """Whether one of the tags stands in a Subject, in upper or lower case."""
    pattern = _pattern(tags)
    return any(pattern.search(subject) is not None for subject in subjects(header))


def without_tags(header: Header, tags: Sequence[str]) -> Header:
    """The header with the tags taken out of every Subject; other fields, and a Subject without any, keep their octets.

    What follows an encoded tag is encoded anew, in UTF-8.
    """
    pattern = _pattern(tags)
    fields = tuple([_without(field, pattern) if field.name == "subject" else field for field in header.fields])
    return Header(fields, header.separator)


def _pattern(tags: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(tag) for tag in tags), re.IGNORECASE)


def _without(field: Field, pattern: re.Pattern[str]) -> Field:
    value = field.value
    if pattern.search(decoded(value)) is None:
        return field
    left = _taken_out(value, pattern)
    if pattern.search(decoded(left)) is not None:  # it stands in encoded words
        left = _encoded(_taken_out(decoded(value), pattern))
    return Field(_folded("Subject:", left) + b"\r\n", "subject")


def _taken_out(value: str, pattern: re.Pattern[str]) -> str:
    return " ".join(pattern.sub("", value).split())


def _encoded(text: str) -> str:
    """Text as encoded words, if it needs them."""
    if text.isascii() and text.isprintable():
        return text
    words: list[bytes] = [b""]
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(words[-1]) + len(octets) > _OCTETS:
            words.append(b"")
        words[-1] += octets
    return " ".join(f"=?utf-8?b?{base64.b64encode(word).decode('ascii')}?=" for word in words)


def _folded(name: str, value: str) -> bytes:
    """Words on lines, broken at blanks only."""
    lines = [name]
    for word in value.split(" "):
        if len(lines[-1]) + 1 + len(word) > _LINE and lines[-1] != name:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")
