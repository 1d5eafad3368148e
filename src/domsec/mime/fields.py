"""A message is header fields, an empty line, and a body (RFC 5322 2.1); fields keep the octets they came in.

Lines end in CRLF; a bare LF is accepted as a line end on input and kept as it is. A bare CR ends nothing.
The *root entity* of a message (RFC 8551 3.1) is its Content-* fields and MIME-Version, the empty line, and the body:
that is what S/MIME wraps, while the other fields stay outside.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import overload

from domsec.errors import LimitExceeded, MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.mime import lexical
from domsec.octets import Octets as Octets
from domsec.octets import Pieces, behind, join
from domsec.octets import start as first

_FIELD_START = re.compile(rb"\n(?![ \t])")
_FTEXT = bytes(range(33, 58)) + bytes(range(59, 127))  # printable, without the colon: RFC 5322 2.2
_FIRST_LOOK = 16 * 1024  # most headers are shorter; larger ones are copied again, up to the limit

ENTITY_FIELDS = ("mime-version",)  # with everything that begins with content-: RFC 2045 3
_SHORT_BLOCK = 512  # octets of a header that is remembered when it was cut
_USUAL_NAME = 64  # octets within which the colon of a field usually stands


@dataclass(frozen=True, slots=True)
class Field:
    """One header field. `name` is lower case and empty for a line that is no field; such lines are kept as well."""

    raw: bytes  # as received, folding and line end included
    name: str

    @property
    def value(self) -> str:
        """Unfolded, without the blanks around. Octets that are not UTF-8 are surrogates (PEP 383)."""
        body = self.raw.partition(b":")[2] if self.name else self.raw
        return body.replace(b"\r\n", b"").replace(b"\n", b"").strip(b" \t").decode("utf-8", "surrogateescape")

    @property
    def of_entity(self) -> bool:
        """Whether it describes the body: Content-* or MIME-Version."""
        return self.name.startswith("content-") or self.name in ENTITY_FIELDS


@dataclass(frozen=True, slots=True)
class Header:
    """Fields in the order received, and the empty line behind them."""

    fields: tuple[Field, ...]
    separator: bytes = b"\r\n"  # the empty line as received; nothing when the message ends without one

    def first(self, name: str) -> Field | None:
        for field in self.fields:
            if field.name == name:
                return field
        return None

    def all(self, name: str) -> tuple[Field, ...]:
        return tuple([field for field in self.fields if field.name == name])

    def without(self, names: Collection[str] | str) -> Header:
        """The header without the fields of these (lower case) names."""
        unwanted = frozenset([names]) if isinstance(names, str) else frozenset(names)
        return Header(tuple([field for field in self.fields if field.name not in unwanted]), self.separator)

    def prepend(self, *fields: Field) -> Header:
        """The header with new fields on top, where trace fields belong (RFC 5322 3.6, RFC 8601 4)."""
        return Header((*fields, *self.fields), self.separator)

    @property
    def raw(self) -> bytes:
        """The fields as received, without the empty line."""
        return b"".join([field.raw for field in self.fields])

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """What other readers may see differently, as flag codes with what was seen: `mime.bad_field` for a line that is
        no field.

        Some end the header at such a line, some skip it. The mbox separator as the very first line is not one.
        """
        for number, field in enumerate(self.fields):
            if not field.name and not (number == 0 and field.raw.startswith((b"From ", b">From "))):
                return (("mime.bad_field", f"field {number + 1} of the header: {field.raw[:60]!r}"),)
        return ()


def new_field(name: str, value: str) -> Field:
    """A field of our own making. `value` may be folded with CRLF and a blank, and must be ASCII.

    Raises MalformedMessage if the value could end the field and begin another one.
    """
    unfolded = value.replace("\r\n ", " ").replace("\r\n\t", "\t")
    if lexical.has_control(unfolded) or not value.isascii():
        raise MalformedMessage(f"a value for {name} has octets no field may have")
    return Field(f"{name}: {value}\r\n".encode("ascii"), name.lower())


@overload
def split_message(octets: Octets, limits: Limits = DEFAULT) -> tuple[Header, memoryview]: ...
@overload
def split_message(octets: Octets | Pieces, limits: Limits = DEFAULT) -> tuple[Header, memoryview | Pieces]: ...
def split_message(octets: Octets | Pieces, limits: Limits = DEFAULT) -> tuple[Header, memoryview | Pieces]:
    """Header and body at the first empty line. Header octets, separator and body together are the input again.

    Without an empty line everything is header. Raises LimitExceeded for too many or too large fields.
    """
    block, separator = _cut_header(octets, limits)
    body = behind(octets, len(block) + len(separator))
    return Header(_cut_fields(block, limits), separator), body


def _cut_header(octets: Octets | Pieces, limits: Limits) -> tuple[bytes, bytes]:
    start = first(octets, min(_FIRST_LOOK, limits.header_size))
    cut = _find_empty_line(start)
    if cut is None and len(start) < len(octets):
        start = first(octets, limits.header_size + 2)
        cut = _find_empty_line(start)
    if cut is not None:
        end, behind = cut
        return start[:end], start[end:behind]
    if len(octets) > limits.header_size:
        raise LimitExceeded("header_size")
    return start, b""


def _find_empty_line(start: bytes) -> tuple[int, int] | None:
    if start.startswith(b"\r\n"):
        return 0, 2
    if start.startswith(b"\n"):
        return 0, 1
    crlf = start.find(b"\n\r\n")
    lone = start.find(b"\n\n", 0, crlf + 1 if crlf >= 0 else len(start))
    if lone >= 0:
        return lone + 1, lone + 2
    if crlf >= 0:
        return crlf + 1, crlf + 3
    return None


def _cut_fields(block: bytes, limits: Limits) -> tuple[Field, ...]:
    cut = _short_block if len(block) <= _SHORT_BLOCK else _fields_of
    return cut(block, limits.header_fields)


@functools.lru_cache(maxsize=512)
def _short_block(block: bytes, most: int) -> tuple[Field, ...]:
    """The headers of security layers are the same few octets over and over."""
    return _fields_of(block, most)


def _fields_of(block: bytes, most: int) -> tuple[Field, ...]:
    fields: list[Field] = []
    at = 0
    for mark in _FIELD_START.finditer(block):
        end = mark.end()
        fields.append(_field(block[at:end]))
        at = end
        if len(fields) > most:
            raise LimitExceeded("header_fields")
    if at < len(block):
        fields.append(_field(block[at:]))
    return tuple(fields)


def _field(raw: bytes) -> Field:
    colon = raw.find(b":", 0, _USUAL_NAME)
    if colon > 0:
        return Field(raw, _usual_name(raw[:colon]))
    name, found, _ = raw.partition(b":")
    return Field(raw, _name(name) if found else "")


def _name(written: bytes) -> str:
    """The name of a field in lower case; empty if what stands before the colon is none."""
    name = written.rstrip(b" \t")  # obsolete syntax allows blanks before the colon: RFC 5322 4.5
    return "" if name.translate(None, _FTEXT) else name.lower().decode("ascii")


_usual_name = functools.lru_cache(maxsize=1024)(_name)  # the same few names stand in every message


def join_message(header: Header, body: Octets | Pieces) -> Octets | Pieces:
    """The octets of a message. An empty line is written where the header has none and there is a body."""
    raw = header.raw
    if header.separator or not len(body):
        return join(raw, header.separator, body)
    return join(_ended(raw), b"\r\n", body)


def _ended(raw: bytes) -> bytes:
    return raw if not raw or raw.endswith(b"\n") else raw + b"\r\n"


def changes(header: Header, other: Header) -> tuple[tuple[Field, ...], tuple[int, ...]]:
    """What makes a header another one: fields to put on top, and the places, from 0, of those to remove."""
    top, removed = len(other.fields), []
    for place in reversed(range(len(header.fields))):
        if top and other.fields[top - 1].raw == header.fields[place].raw:
            top -= 1
        else:
            removed.append(place)
    return other.fields[:top], tuple(reversed(removed))


def entity_header(header: Header) -> Header:
    """Only the fields that describe the body: Content-* and MIME-Version."""
    return Header(tuple([field for field in header.fields if field.of_entity]), header.separator)


def other_header(header: Header) -> Header:
    """All other fields, lines that are no fields included."""
    return Header(tuple([field for field in header.fields if not field.of_entity]), header.separator)


def entity_of(octets: Octets, limits: Limits = DEFAULT) -> Octets | Pieces:
    """The root entity of a message: fields and body as received. Not canonical; see `canonical.canonical`."""
    header, body = split_message(octets, limits)
    return entity_from(entity_header(header), body)


def entity_from(own: Header, body: Octets) -> Octets | Pieces:
    """The root entity, of a message that is split already: the fields that describe the body, and the body."""
    return join(_ended(own.raw), own.separator or b"\r\n", body)


def replace_entity(original: Header, entity: Octets | Pieces, limits: Limits = DEFAULT) -> Octets | Pieces:
    """The message with another root entity (decisions A-55).

    The fields of `original` other than Content-* and MIME-Version keep order and octets; Content-* fields come from
    `entity`. Any other field of the entity (a protected header) stays out. MIME-Version is written if it is missing.
    """
    inner, body = split_message(entity, limits)
    content = entity_header(inner)
    version = b"" if content.first("mime-version") else b"MIME-Version: 1.0\r\n"
    outer = _ended(other_header(original).raw)
    return join(outer, version, _ended(content.raw), inner.separator or b"\r\n", body)
