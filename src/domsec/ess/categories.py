"""Security categories of the syntaxes in use: what stands in `SecurityCategory.value` for each `type`.

    ACP 145(A)      one type of category for each kind of tag, NATO's; RFC 7906 has some of them
    SDN.801         StandardSecurityLabel and SSLPrivileges, the MISSI ones: all tag sets in one category
    texts           UTF8String or SEQUENCE OF it, as in RFC 3114 2.2.1.4.1, where the type is the policy's own

Numbers and texts mean nothing without the policy that names the tag sets (RFC 2634 3.3.4). A clearance has its
categories in the same syntaxes (RFC 5755 4.4.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from domsec import der, oids
from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.ess.labels import SecurityCategory
from domsec.ess.reading import check_oid, open_value, text_of

MAX_VALUES: Final = 1024  # of one tag
MAX_TAGS: Final = 256  # of one category
MAX_NUMBER_OCTETS: Final = 16


class TagKind(StrEnum):
    """How a tag counts for access: all of it, any of it, or not at all."""

    RESTRICTIVE = "restrictive"
    PERMISSIVE = "permissive"
    ENUMERATED_RESTRICTIVE = "enumeratedRestrictive"
    ENUMERATED_PERMISSIVE = "enumeratedPermissive"
    INFORMATIVE = "informative"
    ENUMERATED = "enumerated"  # SDN.801 does not say which of the two: the policy does
    TEXT = "text"  # RFC 3114


Syntax = Literal["acp145", "sdn801"]
_BITS: Final = (TagKind.RESTRICTIVE, TagKind.PERMISSIVE)


@dataclass(frozen=True, slots=True)
class Tag:
    """What a label or a clearance says in one tag set: numbers, or texts where the kind is TEXT.

    `bits` is whether informative numbers are written as a BIT STRING; the other kinds have one form only.
    """

    tag_set: str
    kind: TagKind
    values: frozenset[int] = frozenset()
    texts: frozenset[str] = frozenset()
    bits: bool = False

    def __post_init__(self) -> None:
        check_oid(self.tag_set)
        if len(self.values) > MAX_VALUES or len(self.texts) > MAX_VALUES:
            raise LimitExceeded("category_values", f"more than {MAX_VALUES} values of one security tag")
        if any(not 0 <= value < 1 << 8 * MAX_NUMBER_OCTETS for value in self.values):
            raise MalformedMessage("a security attribute out of range")
        if self._bitmap and any(value >= 8 * MAX_VALUES for value in self.values):
            raise LimitExceeded("category_values", "a bit too far out")

    @property
    def _bitmap(self) -> bool:
        return self.kind in _BITS or (self.kind is TagKind.INFORMATIVE and self.bits)


_ACP145: Final = {
    TagKind.RESTRICTIVE: oids.ID_RESTRICTIVE_ATTRIBUTES,
    TagKind.ENUMERATED_PERMISSIVE: oids.ID_ENUMERATED_PERMISSIVE_ATTRIBUTES,
    TagKind.PERMISSIVE: oids.ID_PERMISSIVE_ATTRIBUTES,
    TagKind.INFORMATIVE: oids.ID_INFORMATIVE_ATTRIBUTES,
    TagKind.ENUMERATED_RESTRICTIVE: oids.ID_ENUMERATED_RESTRICTIVE_ATTRIBUTES,
}
_KINDS: Final = {oid: kind for kind, oid in _ACP145.items()}

# SDN.801: the kind of a SecurityTag is its tag
_RESTRICTIVE_BIT_MAP: Final = 1
_ENUMERATED_ATTRIBUTES: Final = 2
_PERMISSIVE_BIT_MAP: Final = 6
_FREE_FORM_FIELD: Final = 7


# --- reading --------------------------------------------------------------------------------------------------------


def read_tags(category: SecurityCategory) -> tuple[Tag, ...]:
    """What a category says. Raises MalformedMessage, LimitExceeded, Unsupported for a syntax that is none of ours."""
    if category.primitive:
        raise MalformedMessage("a security category whose value is not explicitly tagged")
    reader = open_value(category.value)
    if category.type in _KINDS:
        tags = [_acp145(reader, _KINDS[category.type])]
    elif category.type in (oids.ID_MISSI_SECURITY_CATEGORIES, oids.ID_SSL_PRIVILEGES):
        tags = list(_sdn801(reader, privileges=category.type == oids.ID_SSL_PRIVILEGES))
    else:
        tags = [Tag(category.type, TagKind.TEXT, texts=frozenset(_texts(reader)))]
    reader.end()
    return tuple(tags)


def _acp145(reader: der.Reader, kind: TagKind) -> Tag:
    reader.enter(der.SEQUENCE)
    tag_set = reader.oid()
    bits = reader.peek() == der.BIT_STRING
    if kind is not TagKind.INFORMATIVE and bits is not (kind in _BITS):
        raise MalformedMessage(f"{kind} attributes in the form of another kind")
    values = _bit_string(reader) if bits else _numbers(reader)
    reader.leave()
    return Tag(tag_set, kind, values, bits=bits and kind is TagKind.INFORMATIVE)


def _sdn801(reader: der.Reader, *, privileges: bool) -> Iterator[Tag]:
    count = 0
    reader.enter(der.SET)  # SEQUENCE is LrbacInfo, a label of another policy inside this one
    while not reader.at_end():
        reader.enter(der.SEQUENCE)
        tag_set = reader.oid()
        reader.enter(der.SEQUENCE)
        while not reader.at_end():
            count += 1
            if count > MAX_TAGS:
                raise LimitExceeded("category_tags", f"more than {MAX_TAGS} security tags")
            yield _security_tag(reader, tag_set) if not privileges else _privilege(reader, tag_set)
        reader.leave()
        reader.leave()
    reader.leave()


def _security_tag(reader: der.Reader, tag_set: str) -> Tag:
    tag = reader.peek() or 0
    number = tag & 0x1F
    if number == _FREE_FORM_FIELD:
        inside = der.Reader(reader.content(tag))
        bits = inside.peek() == der.BIT_STRING
        values = _bit_string(inside) if bits else _numbers(inside)
        inside.end()
        return Tag(tag_set, TagKind.INFORMATIVE, values, bits=bits)
    reader.enter(der.context(number))
    if reader.peek() == der.INTEGER:
        raise Unsupported("a security tag with a security level of its own")
    found = Tag(tag_set, _kind(number), _numbers(reader) if number == _ENUMERATED_ATTRIBUTES else _bit_string(reader))
    reader.leave()
    return found


def _privilege(reader: der.Reader, tag_set: str) -> Tag:
    tag = reader.peek() or 0
    number = tag & 0x1F
    if number == _ENUMERATED_ATTRIBUTES:
        return Tag(tag_set, TagKind.ENUMERATED, _numbers(reader, der.context(number)))
    return Tag(tag_set, _kind(number), _bit_string(reader, der.context(number, constructed=False)))


def _kind(number: int) -> TagKind:
    match number:
        case 1:
            return TagKind.RESTRICTIVE
        case 2:
            return TagKind.ENUMERATED
        case 6:
            return TagKind.PERMISSIVE
    raise MalformedMessage(f"a security tag of type {number}")


def _bit_string(reader: der.Reader, tag: int = der.BIT_STRING) -> frozenset[int]:
    content = reader.primitive(tag)
    if not len(content) or content[0] > 7 or (len(content) == 1 and content[0]):
        raise MalformedMessage("a bit string that is none")
    if len(content) - 1 > MAX_VALUES:
        raise LimitExceeded("category_values", "a bit string that is too long")
    most = 8 * (len(content) - 1) - content[0]
    return frozenset(bit for bit in range(most) if content[1 + bit // 8] & 0x80 >> bit % 8)


def _numbers(reader: der.Reader, tag: int = der.SET) -> frozenset[int]:
    found: list[int] = []
    reader.enter(tag)
    while not reader.at_end():
        if len(found) == MAX_VALUES:
            raise LimitExceeded("category_values", f"more than {MAX_VALUES} values of one security tag")
        found.append(reader.integer())
    reader.leave()
    return frozenset(found)


def _texts(reader: der.Reader) -> Iterator[str]:
    if reader.peek() == der.UTF8_STRING:
        yield text_of(reader.primitive(der.UTF8_STRING), "utf-8")
        return
    if reader.peek() != der.SEQUENCE:
        raise Unsupported("a security category whose syntax is not known")
    reader.enter(der.SEQUENCE)
    while not reader.at_end():
        if reader.peek() != der.UTF8_STRING:
            raise Unsupported("a security category whose syntax is not known")
        yield text_of(reader.primitive(der.UTF8_STRING), "utf-8")
    reader.leave()


# --- writing --------------------------------------------------------------------------------------------------------


def write_tags(tags: Iterable[Tag], syntax: Syntax = "acp145") -> tuple[SecurityCategory, ...]:
    """Tags as the categories of a label. Raises Unsupported for a kind that the syntax cannot say."""
    tags = tuple(tags)
    texts = tuple(_written_texts(tag) for tag in tags if tag.kind is TagKind.TEXT)
    tags = tuple(tag for tag in tags if tag.kind is not TagKind.TEXT)
    if syntax == "sdn801":
        return (*texts, SecurityCategory(oids.ID_MISSI_SECURITY_CATEGORIES, _standard_label(tags))) if tags else texts
    return (*texts, *(_written_acp145(tag) for tag in tags))


def _written_acp145(tag: Tag) -> SecurityCategory:
    if tag.kind not in _ACP145:
        raise Unsupported(f"ACP 145 has no {tag.kind} attributes")
    form = _written_bits(tag.values) if tag._bitmap else _written_numbers(tag.values)
    return SecurityCategory(_ACP145[tag.kind], der.sequence(der.oid(tag.tag_set), form))


def _standard_label(tags: Iterable[Tag]) -> bytes:
    sets: dict[str, list[bytes]] = {}
    for tag in tags:
        sets.setdefault(tag.tag_set, []).append(_written_sdn801(tag))
    return der.set_of(der.sequence(der.oid(oid), der.sequence(*written)) for oid, written in sets.items())


def _written_sdn801(tag: Tag) -> bytes:
    match tag.kind:
        case TagKind.RESTRICTIVE:
            return der.explicit(_RESTRICTIVE_BIT_MAP, _written_bits(tag.values))
        case TagKind.PERMISSIVE:
            return der.explicit(_PERMISSIVE_BIT_MAP, _written_bits(tag.values))
        case TagKind.INFORMATIVE:
            form = _written_bits(tag.values) if tag.bits else _written_numbers(tag.values)
            return der.explicit(_FREE_FORM_FIELD, form)
    return der.explicit(_ENUMERATED_ATTRIBUTES, _written_numbers(tag.values))


def _written_texts(tag: Tag) -> SecurityCategory:
    return SecurityCategory(tag.tag_set, der.sequence(*(der.utf8(text) for text in sorted(tag.texts))))


def _written_bits(values: frozenset[int]) -> bytes:
    """A BIT STRING without zeros at its end, as DER wants those with names."""
    octets = bytearray(max(values, default=-1) // 8 + 1)
    for bit in values:
        octets[bit // 8] |= 0x80 >> bit % 8
    return der.bit_string(bytes(octets), -(max(values, default=-1) + 1) % 8)


def _written_numbers(values: frozenset[int]) -> bytes:
    return der.set_of(der.integer(value) for value in values)
