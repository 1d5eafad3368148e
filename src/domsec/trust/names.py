"""Distinguished names: read, compared (RFC 5280 7.1), and shown to people (RFC 4514).

A name is kept as its DER. Reading is strict, since role names and domain parts are concluded from it: a string that
does not decode cleanly, or holds NUL or a control character, refuses the whole name (decisions A-13). Showing never
refuses.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.der import (
    BMP_STRING,
    IA5_STRING,
    NUMERIC_STRING,
    PRINTABLE_STRING,
    SEQUENCE,
    SET,
    TELETEX_STRING,
    UNIVERSAL_STRING,
    UTF8_STRING,
    VISIBLE_STRING,
    Octets,
    Reader,
)
from domsec.errors import MalformedMessage

RDN = tuple[tuple[str, str], ...]
NormalisedName = tuple[frozenset[tuple[str, str]], ...]

MAX_RDNS: Final = 64  # a directory has a dozen levels
MAX_NAME_OCTETS: Final = 16 * 1024

# T.61 proper needs tables nobody used: what was written under this tag is Latin-1, and ASCII where it matters
_CODECS: Final = {
    UTF8_STRING: "utf-8",
    NUMERIC_STRING: "ascii",
    PRINTABLE_STRING: "ascii",
    TELETEX_STRING: "latin-1",
    IA5_STRING: "ascii",
    VISIBLE_STRING: "ascii",
    UNIVERSAL_STRING: "utf-32-be",
    BMP_STRING: "utf-16-be",
}

# attributes from which something is concluded, and which therefore have to be strings
_MUST_BE_STRINGS: Final = frozenset(
    {
        oids.COMMON_NAME,
        oids.COUNTRY_NAME,
        oids.LOCALITY_NAME,
        oids.STATE_OR_PROVINCE_NAME,
        oids.ORGANIZATION_NAME,
        oids.ORGANIZATIONAL_UNIT_NAME,
        oids.DOMAIN_COMPONENT,
        oids.EMAIL_ADDRESS,
    }
)

# RFC 4514 3, and the one more that people know
_KEYWORDS: Final = {
    oids.COMMON_NAME: "CN",
    oids.LOCALITY_NAME: "L",
    oids.STATE_OR_PROVINCE_NAME: "ST",
    oids.ORGANIZATION_NAME: "O",
    oids.ORGANIZATIONAL_UNIT_NAME: "OU",
    oids.COUNTRY_NAME: "C",
    "2.5.4.9": "STREET",
    oids.DOMAIN_COMPONENT: "DC",
    "0.9.2342.19200300.100.1.1": "UID",
    oids.EMAIL_ADDRESS: "emailAddress",
    oids.SERIAL_NUMBER: "serialNumber",
    "2.5.4.4": "SN",
    "2.5.4.42": "givenName",
    "2.5.4.12": "title",
    "2.5.4.97": "organizationIdentifier",
}

_SPECIAL: Final = frozenset('",+;<>\\')
_SPACES: Final = re.compile(r"\s+")
# RFC 4518 2.2: what comparison does not see
_MAPPED_TO_NOTHING: Final = re.compile(
    "[\u00ad\u034f\u1806\u180b-\u180d\u200b-\u200f\u202a-\u202e\u2060-\u2063\ufe00-\ufe0f\ufeff\ufffc]"
)


def rdns(name: Octets) -> tuple[RDN, ...]:
    """The relative distinguished names from the root, each its (OID, value) pairs in the order of the encoding.

    A value that is no string becomes "#" and the hexadecimal digits of its DER, as in RFC 4514 2.4. Raises
    MalformedMessage.
    """
    return _rdns(bytes(name))


@functools.lru_cache(maxsize=1024)
def _rdns(name: bytes) -> tuple[RDN, ...]:
    return tuple(tuple((oid, _string(oid, value)) for oid, value in rdn) for rdn in _cut(name))


def common_names(certificate: Certificate) -> tuple[str, ...]:
    """Every common name of the subject, those in multi-valued RDNs included. Raises MalformedMessage."""
    return attribute_values(certificate.subject, oids.COMMON_NAME)


def attribute_values(name: Octets, oid: str) -> tuple[str, ...]:
    """Every value of one attribute, from the root. Raises MalformedMessage if any part of the name is not clean."""
    return tuple(value for rdn in rdns(name) for type_, value in rdn if type_ == oid)


def normalised(name: Octets) -> NormalisedName:
    """The name in a form that is equal for names that RFC 5280 7.1 calls equal. Raises MalformedMessage."""
    return _normalised(bytes(name))


@functools.lru_cache(maxsize=1024)
def _normalised(name: bytes) -> NormalisedName:
    return tuple(frozenset((oid, normalised_value(value)) for oid, value in rdn) for rdn in _rdns(name))


def normalised_value(value: str) -> str:
    """One attribute value prepared for comparison: RFC 4518 with case folded and white space compressed."""
    mapped = unicodedata.normalize("NFKC", _MAPPED_TO_NOTHING.sub("", value)).casefold()
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", mapped)).strip()


def same_name(one: Octets, other: Octets) -> bool:
    """Whether two names are equal by RFC 5280 7.1; names that cannot be read are equal only octet for octet."""
    if one == other:
        return True
    try:
        return normalised(one) == normalised(other)
    except MalformedMessage:
        return False


def name_text(name: Octets) -> str:
    """The name for people, most specific part first (RFC 4514).

    Control characters, line breaks and those that turn the direction of text are escaped, so the result can go to a
    terminal or a log. Never raises: octets that are no name become "#" and hexadecimal digits.
    """
    return _name_text(bytes(name))


@functools.lru_cache(maxsize=4096)
def _name_text(octets: bytes) -> str:
    try:
        parts = list(_cut(octets))
    except MalformedMessage:
        return "#" + octets[:64].hex() + ("..." if len(octets) > 64 else "")
    return ",".join("+".join(_attribute_text(oid, value) for oid, value in rdn) for rdn in reversed(parts))


def escaped(text: str) -> str:
    """A string with everything that could act on a terminal or break a log line as \\XX of its UTF-8 octets."""
    return "".join(character if _visible(character) else _hex_pairs(character) for character in text)


def _visible(character: str) -> bool:
    # categories C* are controls, formats, surrogates, unassigned; Zl and Zp break lines
    return character == " " or (unicodedata.category(character)[0] != "C" and character.isprintable())


def _hex_pairs(character: str) -> str:
    return "".join(f"\\{octet:02X}" for octet in character.encode("utf-8", "surrogatepass"))


def _attribute_text(oid: str, value: bytes) -> str:
    keyword = _KEYWORDS.get(oid, oid)
    codec = _CODECS.get(value[0])
    if codec is None:
        return f"{keyword}=#{value.hex()}"
    try:
        text = _content(value).decode(codec)
    except (UnicodeDecodeError, MalformedMessage):
        return f"{keyword}=#{value.hex()}"
    characters = [
        f"\\{character}" if character in _SPECIAL else character if _visible(character) else _hex_pairs(character)
        for character in text
    ]
    if characters and text[0] in " #":
        characters[0] = "\\" + text[0]
    if len(characters) > 1 and text[-1] == " ":
        characters[-1] = "\\ "
    return f"{keyword}={''.join(characters)}"


def _cut(name: bytes) -> Iterator[list[tuple[str, bytes]]]:
    """The RDNs as (OID, whole TLV of the value); the structure only."""
    if len(name) > MAX_NAME_OCTETS:
        raise MalformedMessage(f"a name of {len(name)} octets")
    reader = Reader(name)
    reader.enter(SEQUENCE)
    parts: list[list[tuple[str, bytes]]] = []
    while not reader.at_end():
        if len(parts) == MAX_RDNS:
            raise MalformedMessage(f"a name of more than {MAX_RDNS} parts")
        reader.enter(SET)
        rdn: list[tuple[str, bytes]] = []
        while not reader.at_end():
            reader.enter(SEQUENCE)
            rdn.append((reader.oid(), bytes(reader.skip())))
            reader.leave()
        if not rdn:
            raise MalformedMessage("an empty relative distinguished name")
        reader.leave()
        parts.append(rdn)
    reader.leave()
    reader.end()
    return iter(parts)


def _content(value: bytes) -> bytes:
    return bytes(Reader(value).primitive(value[0]))


def _string(oid: str, value: bytes) -> str:
    codec = _CODECS.get(value[0])
    if codec is None:
        if oid in _MUST_BE_STRINGS:
            raise MalformedMessage(f"the {oids.name(oid)} of a name is no string")
        return "#" + value.hex()
    try:
        text = _content(value).decode(codec)
    except UnicodeDecodeError:
        raise MalformedMessage(f"the {oids.name(oid)} of a name does not decode") from None
    if value[0] == BMP_STRING and any("\ud800" <= c <= "\udfff" or c > "\uffff" for c in text):
        raise MalformedMessage(f"the {oids.name(oid)} of a name does not decode")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise MalformedMessage(f"the {oids.name(oid)} of a name holds a control character")
    return text
