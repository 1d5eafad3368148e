"""The Subject as people read it (RFC 2047), and tags that they write into it for the gateway, such as `[secure]`."""

from __future__ import annotations

import base64
import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from domsec.mime.fields import Field, Header

# longer than the 75 characters of RFC 2047 2, as some programs write them, and not without end
_ENCODED_WORD: Final = re.compile(r"=\?([!-)+->@-~]{1,40})(?:\*[!->@-~]{0,40})?\?([bBqQ])\?([!->@-~]{0,500})\?=")
_BETWEEN: Final = re.compile(r"(\?=)[ \t]+(?==\?)")  # blanks between two encoded words are not shown: RFC 2047 6.2
_QUOTED: Final = re.compile(r"=([0-9A-Fa-f]{2})")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Mn", "Zl", "Zp", "Zs"})  # categories of what shows nothing by itself
_NESTED: Final = 4  # who nests deeper does not write subjects
_SUPPLEMENT: Final = 0x20000  # alphabets for mathematics and the like are below
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


def has_tag(decoded_subjects: Iterable[str], tags: Iterable[str]) -> bool:
    """Whether one of the tags stands in one of `subjects`, in upper or lower case."""
    pattern = _pattern(tags)
    return any(pattern.search(subject) is not None for subject in decoded_subjects)


def without_tags(header: Header, tags: Sequence[str]) -> Header:
    """The header with the tags taken out of every Subject; other fields, and a Subject without any, keep their octets.

    What follows an encoded tag is encoded anew, in UTF-8.
    """
    pattern = _pattern(tags)
    return _changed(header, lambda field: _without(field, pattern))


def with_tag(header: Header, tag: str) -> Header:
    """The header with a tag before the first Subject, which is written if there is none."""
    fields = list(header.fields)
    at = next((i for i, field in enumerate(fields) if field.name == "subject"), None)
    if at is None:
        return header.prepend(_subject(_encoded(tag)))
    fields[at] = _subject(" ".join([_encoded(tag), *fields[at].value.split()]))
    return Header(tuple(fields), header.separator)


def without_imitations(header: Header, tag: str) -> Header:
    """The header without what looks like a tag of ours in any Subject.

    Compared are compatible characters (NFKC) in upper or lower case, whatever blanks or invisible characters stand
    between. Letters of other scripts that only look alike are others.
    """
    pattern = _imitation(tag)
    return _changed(header, lambda field: _clean(field, pattern))


def _changed(header: Header, change: Callable[[Field], Field]) -> Header:
    fields = tuple([change(field) if field.name == "subject" else field for field in header.fields])
    return Header(fields, header.separator)


def _clean(field: Field, pattern: re.Pattern[str]) -> Field:
    """Without any match, also one that appears when another is taken out of its middle."""
    for _ in range(_NESTED):
        if (clean := _without(field, pattern)) is field:
            return field
        field = clean
    return _subject(_encoded(pattern.sub("?", decoded(field.value))))


@functools.lru_cache(maxsize=8)
def _imitation(tag: str) -> re.Pattern[str]:
    wanted = [_compatible(character) for character in tag if not character.isspace()]
    same: dict[str, list[str]] = {form: [] for form in wanted}
    unseen: list[str] = []
    for character in map(chr, range(_SUPPLEMENT)):
        if (found := same.get(_compatible(character))) is not None:
            found.append(character)
        elif unicodedata.category(character) in _UNSEEN:
            unseen.append(character)
    return re.compile(f"{_class(unseen)}*".join(_class(same[form]) for form in wanted))


def _class(characters: Iterable[str]) -> str:
    return "[" + "".join(map(re.escape, characters)) + "]"


def _compatible(character: str) -> str:
    return unicodedata.normalize("NFKC", character).casefold()


def _pattern(tags: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(tag) for tag in tags), re.IGNORECASE)


def _without(field: Field, pattern: re.Pattern[str]) -> Field:
    value = field.value
    if pattern.search(decoded(value)) is None:
        return field
    left = _taken_out(value, pattern)
    if pattern.search(decoded(left)) is not None:  # it stands in encoded words
        left = _encoded(_taken_out(decoded(value), pattern))
    return _subject(left)


def _subject(value: str) -> Field:
    return Field(_folded("Subject:", value) + b"\r\n", "subject")


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
