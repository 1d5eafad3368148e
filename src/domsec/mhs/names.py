"""Names of X.400 users (X.411 8.5, the same ASN.1 in RFC 5280 appendix A.1): read, compared, shown.

An O/R address is kept as labelled values, the labels those of X.402 annex F. Its domain part goes from the country to
the organizational units, so that one is an ascendant of another when it is a proper prefix of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from domsec.der import NUMERIC_STRING, PRINTABLE_STRING, SEQUENCE, SET, TELETEX_STRING, Octets, Reader, context
from domsec.errors import MalformedMessage

Labelled = tuple[str, str]  # label and value

MAX_ADDRESS_OCTETS: Final = 4096  # the upper bounds of X.411 add up to less
MAX_UNITS: Final = 4
MAX_DOMAIN_DEFINED: Final = 4

_OR_NAME: Final = 0x60  # [APPLICATION 0]
_COUNTRY: Final = 0x61
_ADMINISTRATION: Final = 0x62
_PRIVATE: Final = context(2)
_UNITS: Final = context(6)
_PERSONAL: Final = context(5)
_DOMAIN: Final = ("C", "A", "P", "O", "OU1", "OU2", "OU3", "OU4")
_BUILT_IN: Final = {
    context(0, constructed=False): "X121",
    context(1, constructed=False): "T-ID",
    context(3, constructed=False): "O",
    context(4, constructed=False): "N-ID",
}
_PERSONAL_NAME: Final = {context(i, constructed=False): label for i, label in enumerate(("S", "G", "I", "Q"))}
_COMMON_NAME: Final = 1
_OTHER_ALPHABET: Final = (3, 5, 25, 27)  # organization and units that PrintableString cannot write
_CODECS: Final = {NUMERIC_STRING: "ascii", PRINTABLE_STRING: "ascii", TELETEX_STRING: "latin-1"}
_SPACES: Final = re.compile(" +")


@dataclass(frozen=True, slots=True)
class ORAddress:
    """An O/R address: values as written, the most significant first. Extension attributes but for the common name are
    kept as the hexadecimal digits of their DER, under the label `X` and their number."""

    attributes: tuple[Labelled, ...]

    @property
    def domain(self) -> tuple[Labelled, ...] | None:
        """Country, management domains, organization and units, ready to be compared.

        None where part of it is written in another alphabet only: cut short, it would cover more than is meant.
        """
        labels = [label for label, _ in self.attributes]
        if any(f"X{number}" in labels for number in _OTHER_ALPHABET):
            return None
        return tuple((label, _prepared(value)) for label, value in self.attributes if label in _DOMAIN)

    @property
    def user(self) -> tuple[Labelled, ...]:
        """Whom the address means in that domain; nothing for the domain itself."""
        return tuple((label, value) for label, value in self.attributes if label not in _DOMAIN)

    @property
    def text(self) -> str:
        """As people write it: C=us;A= ;P=acme;O=acme;S=Doe;G=John."""
        return ";".join(f"{label}={value.replace(';', '$;')}" for label, value in self.attributes)

    def same_as(self, other: ORAddress) -> bool:
        """Whether both are one address: the same attributes, without regard to case and spaces (X.402 18.4)."""
        return self._comparable() == other._comparable()

    def _comparable(self) -> list[Labelled]:
        return sorted((label.upper(), _prepared(value)) for label, value in self.attributes)

    @classmethod
    def read(cls, value: Octets) -> ORAddress:
        """An ORAddress. Raises MalformedMessage."""
        reader = Reader(value)
        content = reader.content(SEQUENCE)
        reader.end()
        return cls.of(content)

    @classmethod
    def of(cls, content: Octets) -> ORAddress:
        """The content octets of an ORAddress, as x400Address of RFC 5280 has them. Raises MalformedMessage."""
        if len(content) > MAX_ADDRESS_OCTETS:
            raise MalformedMessage(f"an O/R address of {len(content)} octets")
        reader = Reader(content)
        found = _read_address(reader)
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class ORName:
    """An O/R name: an address, and perhaps the directory name of the same user, a Name in DER.

    Whoever made the name says that the two are of one user; nobody has shown it.
    """

    address: ORAddress
    directory_name: bytes | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        return self.address.text

    def same_as(self, other: ORName) -> bool:
        """Whether both name one user, by the address alone."""
        return self.address.same_as(other.address)

    @classmethod
    def read(cls, value: Octets) -> ORName:
        """An ORName, as the envelope of a message and the heading of its content have it. Raises MalformedMessage."""
        if len(value) > MAX_ADDRESS_OCTETS * 4:
            raise MalformedMessage(f"an O/R name of {len(value)} octets")
        reader = Reader(value)
        reader.enter(_OR_NAME)
        address = _read_address(reader)
        directory_name = None
        if not reader.at_end():
            reader.enter(context(0))
            directory_name = bytes(reader.skip())
            reader.leave()
        reader.leave()
        reader.end()
        return cls(address, directory_name)


def _prepared(value: str) -> str:
    return _SPACES.sub(" ", value.strip(" ")).lower()


def _read_address(reader: Reader) -> ORAddress:
    """The components of an ORAddress where `reader` stands, to the end or to what an ORName has behind them."""
    reader.enter(SEQUENCE)
    found = list(_built_in(reader))
    reader.leave()
    if reader.peek() == SEQUENCE:
        found += _domain_defined(reader)
    if reader.peek() == SET:
        found += _extensions(reader)
    if not found:
        raise MalformedMessage("an O/R address with nothing in it")
    order = {label: position for position, label in enumerate(_DOMAIN)}
    return ORAddress(tuple(sorted(found, key=lambda pair: order.get(pair[0], len(order)))))


def _built_in(reader: Reader) -> Iterator[Labelled]:
    seen: set[int] = set()
    while not reader.at_end():
        tag = reader.peek()
        if tag is None or tag in seen:
            raise MalformedMessage("an attribute of an O/R address stands twice")
        seen.add(tag)
        if tag in (_COUNTRY, _ADMINISTRATION, _PRIVATE):
            reader.enter(tag)
            yield {_COUNTRY: "C", _ADMINISTRATION: "A", _PRIVATE: "P"}[tag], _string(reader)
            reader.leave()
        elif tag == _PERSONAL:
            yield from _personal_name(reader)
        elif tag == _UNITS:
            yield from _units(reader)
        elif tag in _BUILT_IN:
            yield _BUILT_IN[tag], _text(reader.primitive(tag), "ascii")
        else:
            raise MalformedMessage(f"tag {tag:#04x} in an O/R address")


def _personal_name(reader: Reader) -> list[Labelled]:
    found: list[Labelled] = []
    reader.enter(_PERSONAL)
    while not reader.at_end():
        tag = reader.peek()
        if tag not in _PERSONAL_NAME or any(label == _PERSONAL_NAME[tag] for label, _ in found):
            raise MalformedMessage("a personal name with something else in it")
        found.append((_PERSONAL_NAME[tag], _text(reader.primitive(tag), "ascii")))
    reader.leave()
    return found


def _units(reader: Reader) -> list[Labelled]:
    found: list[Labelled] = []
    reader.enter(_UNITS)
    while not reader.at_end():
        if len(found) == MAX_UNITS:
            raise MalformedMessage(f"an O/R address with more than {MAX_UNITS} organizational units")
        found.append((f"OU{len(found) + 1}", _string(reader)))
    reader.leave()
    return found


def _domain_defined(reader: Reader) -> list[Labelled]:
    found: list[Labelled] = []
    reader.enter(SEQUENCE)
    while not reader.at_end():
        if len(found) == MAX_DOMAIN_DEFINED:
            raise MalformedMessage(f"an O/R address with more than {MAX_DOMAIN_DEFINED} domain defined attributes")
        reader.enter(SEQUENCE)
        found.append((f"DD.{_string(reader)}", _string(reader)))
        reader.leave()
    reader.leave()
    return found


def _extensions(reader: Reader) -> list[Labelled]:
    found: dict[str, str] = {}
    reader.enter(SET)
    while not reader.at_end():
        reader.enter(SEQUENCE)
        number = reader.integer(context(0, constructed=False))
        reader.enter(context(1))
        label, value = ("CN", _string(reader)) if number == _COMMON_NAME else (f"X{number}", bytes(reader.skip()).hex())
        reader.leave()
        reader.leave()
        if label in found:
            raise MalformedMessage("an extension of an O/R address stands twice")
        found[label] = value
    reader.leave()
    return list(found.items())


def _string(reader: Reader) -> str:
    tag = reader.peek()
    if tag not in _CODECS:
        raise MalformedMessage("a value in an O/R address is no string of X.411")
    return _text(reader.primitive(tag), _CODECS[tag])


def _text(content: Octets, encoding: str) -> str:
    try:
        text = bytes(content).decode(encoding)
    except UnicodeDecodeError:
        raise MalformedMessage("a value in an O/R address does not decode") from None
    if not text.isprintable():
        raise MalformedMessage("a value in an O/R address holds a control character")
    return text
