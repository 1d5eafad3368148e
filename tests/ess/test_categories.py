"""Security categories in the syntaxes of ACP 145(A), SDN.801 and RFC 3114."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from hypothesis import given
from hypothesis import strategies as st

from domsec import der, oids
from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.ess import categories
from domsec.ess.categories import MAX_VALUES, Tag, TagKind, read_tags, write_tags
from domsec.ess.labels import SecurityCategory

SET_A, SET_B = "1.2.826.0.1.6726289.0.0.1", "1.2.826.0.1.6726289.0.0.2"
ACP145 = (
    TagKind.RESTRICTIVE,
    TagKind.PERMISSIVE,
    TagKind.ENUMERATED_RESTRICTIVE,
    TagKind.ENUMERATED_PERMISSIVE,
    TagKind.INFORMATIVE,
)
SDN801 = (TagKind.RESTRICTIVE, TagKind.PERMISSIVE, TagKind.ENUMERATED, TagKind.INFORMATIVE)
numbers = st.frozensets(st.integers(0, 300), max_size=20)


def read(*found: SecurityCategory) -> set[Tag]:
    return {tag for category in found for tag in read_tags(category)}


# --- whatever is written is read again -------------------------------------------------------------------------------


@given(st.sampled_from(ACP145), numbers, st.booleans())
def test_acp_145(kind: TagKind, values: frozenset[int], bits: bool) -> None:
    tag = Tag(SET_A, kind, values, bits=bits and kind is TagKind.INFORMATIVE)
    assert read(*write_tags([tag])) == {tag}


@given(st.lists(st.tuples(st.sampled_from(SDN801), numbers, st.booleans()), max_size=4))
def test_sdn_801(given_tags: list[tuple[TagKind, frozenset[int], bool]]) -> None:
    tags = {
        Tag(oid, kind, values, bits=bits and kind is TagKind.INFORMATIVE)
        for oid in (SET_A, SET_B)
        for kind, values, bits in given_tags
    }
    assert read(*write_tags(tags, "sdn801")) == tags


@given(st.frozensets(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_texts(texts: frozenset[str]) -> None:
    tag = Tag("1.2.840.113549.1.9.16.7.4", TagKind.TEXT, texts=texts)
    assert read(*write_tags([tag])) == read(*write_tags([tag], "sdn801")) == {tag}


def test_one_text_stands_by_itself_or_in_a_sequence() -> None:
    alone = SecurityCategory("1.2.3", der.utf8("LAW DEPARTMENT USE ONLY"))
    listed = SecurityCategory("1.2.3", der.sequence(der.utf8("LAW DEPARTMENT USE ONLY")))
    assert read(alone) == read(listed)


def test_privileges_have_no_sequence_around_the_flags() -> None:
    tags = der.sequence(
        der.implicit(1, der.bit_string(b"\xa0", 5)),
        der.implicit(2, der.set_of([der.integer(9954)])),
        der.implicit(6, der.bit_string(b"\x10", 4)),
    )
    found = SecurityCategory(oids.ID_SSL_PRIVILEGES, der.set_of([der.sequence(der.oid(SET_A), tags)]))
    assert read(found) == {
        Tag(SET_A, TagKind.RESTRICTIVE, frozenset({0, 2})),
        Tag(SET_A, TagKind.ENUMERATED, frozenset({9954})),
        Tag(SET_A, TagKind.PERMISSIVE, frozenset({3})),
    }


@asn1.sequence
class Bits:
    tag_name: x509.ObjectIdentifier
    flags: asn1.BitString


@asn1.sequence
class Numbers:
    tag_name: x509.ObjectIdentifier
    attributes: asn1.SetOf[int]


@asn1.sequence
class TagOfType6:
    flags: asn1.BitString


@asn1.sequence
class NamedTagSet:
    name: x509.ObjectIdentifier
    tags: list[Annotated[TagOfType6, asn1.Implicit(6)]]


def test_another_codec_reads_the_same() -> None:
    (category,) = write_tags([Tag(SET_A, TagKind.RESTRICTIVE, frozenset({1, 9}))])
    found: Any = asn1.decode_der(Bits, category.value)
    assert (found.tag_name.dotted_string, found.flags.as_bytes(), found.flags.padding_bits()) == (SET_A, b"@@", 6)
    (category,) = write_tags([Tag(SET_A, TagKind.ENUMERATED_PERMISSIVE, frozenset({300, 1}))])
    found = asn1.decode_der(Numbers, category.value)
    assert sorted(found.attributes.as_list()) == [1, 300]


# --- what is refused -------------------------------------------------------------------------------------------------


def acp145(kind: str, value: bytes) -> SecurityCategory:
    return SecurityCategory(getattr(oids, kind), der.sequence(der.oid(SET_A), value))


def sdn801(*tags: bytes) -> SecurityCategory:
    value = der.set_of([der.sequence(der.oid(SET_A), der.sequence(*tags))])
    return SecurityCategory(oids.ID_MISSI_SECURITY_CATEGORIES, value)


@pytest.mark.parametrize(
    ("category", "error"),
    [
        (acp145("ID_RESTRICTIVE_ATTRIBUTES", der.set_of([der.integer(1)])), MalformedMessage),
        (acp145("ID_ENUMERATED_PERMISSIVE_ATTRIBUTES", der.bit_string(b"\x80")), MalformedMessage),
        (acp145("ID_RESTRICTIVE_ATTRIBUTES", der.tlv(der.BIT_STRING)), MalformedMessage),
        (acp145("ID_RESTRICTIVE_ATTRIBUTES", der.tlv(der.BIT_STRING, b"\x08\x00")), MalformedMessage),
        (acp145("ID_RESTRICTIVE_ATTRIBUTES", der.tlv(der.BIT_STRING, b"\x01")), MalformedMessage),
        (acp145("ID_ENUMERATED_RESTRICTIVE_ATTRIBUTES", der.set_of([der.integer(-1)])), MalformedMessage),
        (acp145("ID_ENUMERATED_RESTRICTIVE_ATTRIBUTES", der.set_of([der.integer(1 << 128)])), MalformedMessage),
        (SecurityCategory(oids.ID_PERMISSIVE_ATTRIBUTES, der.null()), MalformedMessage),
        (SecurityCategory(oids.ID_PERMISSIVE_ATTRIBUTES, der.null(), primitive=True), MalformedMessage),
        (SecurityCategory("1.2.3", der.utf8("a") + der.utf8("b")), MalformedMessage),
        (SecurityCategory("1.2.3", der.integer(1)), Unsupported),
        (SecurityCategory("1.2.3", der.sequence(der.integer(1))), Unsupported),
        (SecurityCategory("1.2.3", der.tlv(der.UTF8_STRING, b"\xff")), MalformedMessage),
        (sdn801(der.explicit(3, der.bit_string(b"\x80"))), MalformedMessage),
        (sdn801(der.explicit(1, der.integer(4), der.bit_string(b"\x80"))), Unsupported),
        (sdn801(der.explicit(1, der.bit_string(b"\x80"), der.null())), MalformedMessage),
        (SecurityCategory(oids.ID_MISSI_SECURITY_CATEGORIES, der.sequence(der.oid("1.2.3"))), MalformedMessage),
    ],
)
def test_a_category_that_cannot_be_read(category: SecurityCategory, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_tags(category)


def test_a_kind_that_a_syntax_cannot_say() -> None:
    with pytest.raises(Unsupported):
        write_tags([Tag(SET_A, TagKind.ENUMERATED, frozenset({1}))])


def test_every_limit_at_its_edge() -> None:
    for values in (range(MAX_VALUES), range(MAX_VALUES + 1)):
        category = acp145("ID_ENUMERATED_PERMISSIVE_ATTRIBUTES", der.set_of(map(der.integer, values)))
        if len(values) == MAX_VALUES:
            assert len(read_tags(category)[0].values) == MAX_VALUES
            continue
        with pytest.raises(LimitExceeded):
            read_tags(category)
    read_tags(acp145("ID_PERMISSIVE_ATTRIBUTES", der.bit_string(bytes(MAX_VALUES))))
    with pytest.raises(LimitExceeded):
        read_tags(acp145("ID_PERMISSIVE_ATTRIBUTES", der.bit_string(bytes(MAX_VALUES + 1))))
    with pytest.raises(LimitExceeded):
        Tag(SET_A, TagKind.PERMISSIVE, frozenset({8 * MAX_VALUES}))
    one = der.explicit(1, der.bit_string(b"\x80"))
    assert len(read_tags(sdn801(*[one] * categories.MAX_TAGS))) == categories.MAX_TAGS
    with pytest.raises(LimitExceeded):
        read_tags(sdn801(*[one] * (categories.MAX_TAGS + 1)))
