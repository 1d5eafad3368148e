"""Labels and clearances in files, BER and XML."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from domsec import der, oids
from domsec.errors import DomsecError, MalformedMessage
from domsec.ess.categories import Tag, TagKind, write_tags
from domsec.services.label_files import read_clearance, read_label
from domsec.services.label_policy import Clearance

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "security-labels"
TAG = Tag("1.2.3.1", TagKind.RESTRICTIVE, frozenset({1}))
(CATEGORY,) = (category.write() for category in write_tags([TAG]))


@pytest.mark.parametrize(
    ("name", "classification", "mark"), [("label-2.ber", 4, None), ("stupid-label.ber", 51, "VAGUELY SECRET")]
)
def test_labels_in_ber(name: str, classification: int, mark: str | None) -> None:
    label = read_label((VECTORS / name).read_bytes())
    assert (label.security_policy_identifier, label.security_classification) == ("1.1", classification)
    assert (label.privacy_mark.text if label.privacy_mark else None) == mark


def test_a_label_in_xml_is_one_in_ber() -> None:
    label = read_label((VECTORS / "food-label-milk-chocolate.xml").read_bytes())
    assert label.security_classification == 52
    assert read_label(label.write()).write() == label.write()
    assert sorted(c.type for c in label.security_categories) == [
        oids.ID_RESTRICTIVE_ATTRIBUTES, oids.ID_PERMISSIVE_ATTRIBUTES, oids.ID_PERMISSIVE_ATTRIBUTES,
        oids.ID_INFORMATIVE_ATTRIBUTES, oids.ID_ENUMERATED_RESTRICTIVE_ATTRIBUTES,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "clearance"),
    [
        (der.sequence(der.oid("1.2.3")), Clearance("1.2.3", frozenset({1}))),
        (der.sequence(der.oid("1.2.3"), der.bit_string(b"\x30")), Clearance("1.2.3", frozenset({2, 3}))),
        (der.sequence(der.oid("1.2.3"), der.bit_string(b"\x01\x40")), Clearance("1.2.3", frozenset({7, 9}))),
        (
            der.sequence(der.oid("1.2.3"), der.tlv(der.BIT_STRING, b"\x07\xff\xff")),
            Clearance("1.2.3", frozenset(range(9))),
        ),
        (der.sequence(der.oid("1.2.3"), der.bit_string(bytes(31) + b"\x01")), Clearance("1.2.3", frozenset({255}))),
        (
            der.sequence(der.oid("1.2.3"), der.bit_string(b"\x80"), der.set_of([CATEGORY])),
            Clearance("1.2.3", frozenset({0}), (TAG,)),
        ),
        (
            der.sequence(
                der.implicit(0, der.oid("1.2.3")),
                der.implicit(1, der.bit_string(b"\x80")),
                der.implicit(2, der.set_of([CATEGORY])),
            ),
            Clearance("1.2.3", frozenset({0}), (TAG,)),
        ),
        (der.sequence(der.implicit(0, der.oid("1.2.3"))), Clearance("1.2.3", frozenset({1}))),
    ],
    ids=[
        "default",
        "classes",
        "classes beyond eight",
        "unused bits",
        "the most",
        "categories",
        "as RFC 3281 had it",
        "the same with the default",
    ],
)
def test_clearances_in_ber(value: bytes, clearance: Clearance) -> None:
    """RFC 5755 4.4.6."""
    assert read_clearance(value) == clearance


@pytest.mark.parametrize(
    "value",
    [
        der.sequence(),
        der.sequence(der.oid("1.2.3"), der.null()),
        der.sequence(der.oid("1.2.3"), der.bit_string(bytes(34))),
        der.sequence(der.oid("1.2.3"), der.tlv(der.BIT_STRING, b"\x08\x00")),
        der.sequence(der.oid("1.2.3"), der.tlv(der.BIT_STRING, b"\x09\x00")),
        der.sequence(der.oid("1.2.3"), der.set_of([])),
        der.sequence(der.oid("1.2.3")) + b"\x00",
        der.set_of([der.oid("1.2.3")]),
    ],
)
def test_a_clearance_that_is_none(value: bytes) -> None:
    with pytest.raises(DomsecError):
        read_clearance(value)


XML = """<label xmlns='http://surevine.com/xmlns/spiffy'><policy id='1.2.3'/><classification lacv='1'/>
<tag type='permissive' id='1.2.3.1' lacv='3'/></label>"""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("surevine", "example", "expected <label> of"),
        ("label", "clearance", "expected <label> of"),
        ("<policy id='1.2.3'/>", "", "a label without policy"),
        ("<policy id='1.2.3'/>", "<policy/>", "<policy> without id"),
        ("id='1.2.3'/><c", "id='x'/><c", "object identifier"),
        ("<classification lacv='1'/>", "<classification lacv='1'/>" * 2, "2 classifications"),
        ("lacv='1'", "lacv='257'", "out of range"),
        ("lacv='1'", "lacv='one'", "expected a number"),
        ("'permissive'", "'enumerated'", "a tag of type"),
        ("'permissive'", "'text'", "a tag of type"),
        ("lacv='3'", "", "without lacv"),
    ],
)
def test_a_label_in_xml_that_is_none(old: str, new: str, complaint: str) -> None:
    read_label(XML.encode())
    with pytest.raises(MalformedMessage, match=re.escape(complaint)):
        read_label(XML.replace(old, new).encode())
