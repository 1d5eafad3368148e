"""Header fields that a signature states among its attributes (RFC 7508 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from domsec import der
from domsec.der import Octets
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.ess.reading import open_value, text_of, utf8
from domsec.limits import DEFAULT

_T = TypeVar("_T")

Algorithm = Literal["simple", "relaxed"]
Status = Literal["duplicated", "deleted", "modified"]
_ALGORITHMS: Final[tuple[Algorithm, ...]] = ("simple", "relaxed")
_STATUSES: Final[tuple[Status, ...]] = ("duplicated", "deleted", "modified")


@dataclass(frozen=True, slots=True)
class SecureField:
    """One field as it was when the message was signed; `status` is what an encrypting authority makes of it outside."""

    name: str
    value: str
    status: Status = "duplicated"

    def __post_init__(self) -> None:
        if not self.name or ":" in self.name or not all("\x20" <= character <= "\x7e" for character in self.name):
            raise MalformedMessage("a header field without a proper name")


@dataclass(frozen=True, slots=True)
class SecureHeaderFields:
    """The fields, and how they were made comparable (RFC 6376 3.4)."""

    algorithm: Algorithm
    fields: tuple[SecureField, ...]

    def __post_init__(self) -> None:
        if not self.fields:
            raise MalformedMessage("secure header fields without any")
        if len(self.fields) > DEFAULT.header_fields:
            raise LimitExceeded("header_fields")

    @classmethod
    def read(cls, value: Octets) -> SecureHeaderFields:
        reader = open_value(value)
        reader.enter(der.SET)
        algorithm: Algorithm | None = None
        fields: tuple[SecureField, ...] = ()
        while not reader.at_end():  # the elements of a SET come in any order
            if reader.peek() == der.ENUMERATED:
                algorithm = _named(_ALGORITHMS, reader.integer(der.ENUMERATED))
            else:
                fields = _read_fields(reader)
        reader.leave()
        reader.end()
        if algorithm is None:
            raise MalformedMessage("secure header fields without a canonicalization")
        return cls(algorithm, fields)

    def write(self) -> bytes:
        fields = der.sequence(*(_write_field(field) for field in self.fields))
        return der.tlv(der.SET, der.integer(_ALGORITHMS.index(self.algorithm), der.ENUMERATED), fields)


def _read_fields(reader: der.Reader) -> tuple[SecureField, ...]:
    found: list[SecureField] = []
    reader.enter(der.SEQUENCE)
    while not reader.at_end():
        if len(found) == DEFAULT.header_fields:
            raise LimitExceeded("header_fields")
        reader.enter(der.SEQUENCE)
        name = text_of(reader.primitive(der.VISIBLE_STRING), "ascii")
        value = text_of(reader.primitive(der.UTF8_STRING), "utf-8")
        status = "duplicated" if reader.at_end() else _named(_STATUSES, reader.integer())
        reader.leave()
        found.append(SecureField(name, value, status))
    reader.leave()
    return tuple(found)


def _named(names: tuple[_T, ...], number: int) -> _T:
    if not 0 <= number < len(names):
        raise MalformedMessage(f"{number} where {len(names)} values are defined")
    return names[number]


def _write_field(field: SecureField) -> bytes:
    status = b"" if field.status == "duplicated" else der.integer(_STATUSES.index(field.status))
    return der.sequence(der.tlv(der.VISIBLE_STRING, field.name.encode("ascii")), utf8(field.value), status)
