"""The SignatureType attribute, read and made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec import der, oids
from domsec.cms.algorithms import algorithm_identifier
from domsec.cms.attributes import Attribute, Attributes, attribute
from domsec.cms.certificates import SubjectKeyIdentifier
from domsec.cms.signed_data import SignerInfo
from domsec.services import signature_type
from domsec.services.signature_type import MAX_TYPES, OIDS, Reading, SignatureType


def read(*signed: Attribute, unsigned: tuple[Attribute, ...] = (), bare: bool = False) -> Reading:
    algorithm = algorithm_identifier(oids.SHA256)

    def among(items: tuple[Attribute, ...]) -> Attributes:
        return Attributes(items, b"".join(a.raw for a in items))

    return signature_type.read(
        SignerInfo(
            1, SubjectKeyIdentifier(b"k"), algorithm, None if bare else among(signed), algorithm, b"",
            among(unsigned) if unsigned else None,
        )
    )  # fmt: skip


@pytest.mark.requirement("R3183-3.1-06", "R3183-3.1-07", "R3183-3.1.2-01", "R3183-3.1.2-02")
@pytest.mark.parametrize("signed_as", [t for t in SignatureType if t is not SignatureType.UNKNOWN])
@pytest.mark.parametrize("oid", signature_type.ATTRIBUTE_OIDS)
def test_what_is_made_is_read(signed_as: SignatureType, oid: str) -> None:
    made = signature_type.attribute(signed_as, oid=oid)
    assert made.values == (der.sequence(der.oid(OIDS[signed_as])),)
    reading = read(made)
    assert (reading.state, reading.types, reading.oids) == ("valid", (signed_as,), (OIDS[signed_as],))
    assert [code for code, _ in reading.flags] == (["sigtype.legacy_oid"] if oid == oids.ID_STI else [])


def test_absent() -> None:
    assert read() == Reading("absent")
    assert read(bare=True) == Reading("absent")
    reading = read(unsigned=(signature_type.attribute(SignatureType.DOMAIN),))
    assert (reading.state, reading.types) == ("absent", ())
    assert [code for code, _ in reading.flags] == ["sigtype.unsigned"]


@pytest.mark.requirement("R3183-3.1.2-03", "R3183-3.1.2-10")
def test_a_signed_one_counts_whatever_is_unsigned() -> None:
    domain, review = (signature_type.attribute(t) for t in (SignatureType.DOMAIN, SignatureType.REVIEW))
    reading = read(domain, unsigned=(review,))
    assert (reading.state, reading.types) == ("valid", (SignatureType.DOMAIN,))
    assert read(domain, review).state == "invalid"


def _sequence(*listed: str) -> Attribute:
    return attribute(oids.ID_AA_SIGNATURE_TYPE, der.sequence(*map(der.oid, listed)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((), "the attribute has no value"),
        ((der.sequence(),), "the sequence of types is empty"),
        ((der.sequence(*[der.oid("1.2.3")] * (MAX_TYPES + 1)),), "more than 16 signature types"),
    ],
)
def test_what_is_wrong_is_told_beside_what_was_seen_before(value: tuple[bytes, ...], text: str) -> None:
    """A legacy OID and an unsigned attribute are no less there because the value is wrong."""
    signed = Attribute(oids.ID_STI, value, b"")
    reading = read(signed, unsigned=(signature_type.attribute(SignatureType.DOMAIN),))
    assert reading.state == "invalid"
    assert [code for code, _ in reading.flags] == ["sigtype.unsigned", "sigtype.legacy_oid", "sigtype.syntax"]
    assert reading.flags[-1][1] == text


def test_as_many_types_as_are_allowed() -> None:
    reading = read(_sequence(*[f"1.2.{number}" for number in range(MAX_TYPES)]))
    assert (reading.state, len(reading.oids)) == ("valid", MAX_TYPES)
    assert reading.types == (SignatureType.UNKNOWN,)
    assert reading.flags[0] == ("sigtype.unknown", "type 1.2.0 is not known")


@given(st.lists(st.binary(max_size=20), max_size=4))
def test_no_value_raises(values: list[bytes]) -> None:
    attribute = Attribute(oids.ID_AA_SIGNATURE_TYPE, tuple(values), b"")
    assert read(attribute).state in ("valid", "invalid")


@given(st.lists(st.sampled_from([*OIDS.values(), "1.2.3"]), min_size=1, max_size=6))
def test_the_rule_for_several_types(listed: list[str]) -> None:
    reading = read(Attribute(oids.ID_AA_SIGNATURE_TYPE, (der.sequence(*map(der.oid, listed)),), b""))
    alone = OIDS[SignatureType.ATTRIBUTES] in listed and len(set(listed)) > 1
    assert reading.state == ("invalid" if alone else "valid")
    assert set(reading.oids) == set(listed)
    flags = {code for code, _ in reading.flags}
    assert ("sigtype.repeated" in flags) is (len(set(listed)) < len(listed))
    if not alone:
        assert ("sigtype.unknown" in flags) is ("1.2.3" in listed)
        assert (SignatureType.UNKNOWN in reading.types) is ("1.2.3" in listed)
