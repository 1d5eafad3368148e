"""Attributes: kept as received, put into DER, made and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import signers
from domsec import der, oids
from domsec.cms import attributes
from domsec.cms.algorithms import DIGESTS, ECDSA_SHA256, algorithm_identifier
from domsec.cms.attributes import (
    Attribute,
    attribute,
    distinguished,
    is_distinguished,
    parse_attributes,
    read_signing_certificate,
    set_of_attributes,
)
from domsec.errors import DomsecError, LimitExceeded, MalformedMessage
from domsec.limits import DEFAULT

ONE = attribute("1.2.3", der.integer(1))
TWO = attribute("1.2.4", der.integer(1), der.utf8("two"))


def test_what_is_written_is_read() -> None:
    items = (TWO, attributes.signing_time(signers.NOW), attributes.message_digest(bytes(32)), ONE)
    found = parse_attributes(set_of_attributes(items))
    assert set(found.items) == set(items)
    assert found.is_der
    assert found.der == found.raw
    assert found.get("1.2.4") == (TWO,)
    assert found.get("1.2.5") == ()


def test_attributes_keep_their_octets_and_order() -> None:
    found = parse_attributes(TWO.raw + ONE.raw + ONE.raw)
    assert found.raw == TWO.raw + ONE.raw + ONE.raw
    assert [item.oid for item in found.items] == ["1.2.4", "1.2.3", "1.2.3"]
    assert len(found.get("1.2.3")) == 2
    assert not found.is_der
    assert found.der == ONE.raw + ONE.raw + TWO.raw


@pytest.mark.parametrize("raw", [b"\x30\x00", b"\x05\x00", ONE.raw[:-1], der.sequence(der.oid("1.2"), der.integer(1))])
def test_what_is_no_attribute_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_attributes(raw)


def test_attributes_are_bounded() -> None:
    limits = replace(DEFAULT, attributes=3, attributes_size=len(TWO.raw) * 3)
    assert len(parse_attributes(TWO.raw * 3, limits).items) == 3
    with pytest.raises(LimitExceeded, match="attributes_size"):
        parse_attributes(TWO.raw * 4, limits)
    with pytest.raises(LimitExceeded, match="attributes"):
        parse_attributes(ONE.raw * 4, limits)


INDEFINITE = b"\x30\x80\x06\x02\x2a\x03\x31\x80\x02\x01\x01\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("octets", "wanted"),
    [
        (der.sequence(der.oid("1.2.3"), der.set_of([der.integer(1)])), None),
        (INDEFINITE, ONE.raw),
        (b"\x30\x81\x09" + ONE.raw[2:], ONE.raw),  # a length that would fit one octet
        (b"\x31\x06\x02\x01\x02\x02\x01\x01", b"\x31\x06\x02\x01\x01\x02\x01\x02"),  # a set in another order
        (b"\x24\x80\x04\x01a\x04\x01b\x00\x00", b"\x04\x02ab"),  # a string in pieces
        (b"\x30\x06\x24\x04\x04\x02ab", b"\x30\x04\x04\x02ab"),
        (der.tlv(0xA0, b"\x80\x01a"), None),
        (b"\x31\x05\x13\x01a\x31\x00", None),  # as the octets go, and as the tags go
        (b"\x31\x05\x31\x00\x13\x01a", None),
        (b"\x31\x80\x13\x01a\x31\x00\x00\x00", b"\x31\x05\x13\x01a\x31\x00"),  # an order that may be stays
        (der.octet_string(bytes(200)), None),
        (der.octet_string(bytes(70000)), None),
        (der.sequence(der.octet_string(bytes(300))), None),
    ],
)
def test_der_is_told_from_what_is_not(octets: bytes, wanted: bytes | None) -> None:
    assert is_distinguished(octets) is (wanted is None)
    assert distinguished(octets) == (wanted or octets)


def test_a_value_that_is_broken_inside_is_not_der_and_cannot_be_put_so() -> None:
    broken = der.sequence(der.oid("1.2.3"), der.set_of([b"\x30\x02\x02\x05"]))
    found = parse_attributes(broken)  # nobody asked for the value
    assert not found.is_der
    with pytest.raises(MalformedMessage):
        _ = found.der


@pytest.mark.parametrize("tag", [der.BIT_STRING, der.UTF8_STRING, der.NUMERIC_STRING, der.INTEGER])
def test_other_strings_in_pieces_cannot_be_put_into_der(tag: int) -> None:
    octets = der.sequence(der.tlv(tag | der.CONSTRUCTED, der.octet_string(b"a")))
    assert not is_distinguished(octets)
    with pytest.raises(MalformedMessage):
        distinguished(octets)


def test_nesting_and_number_of_values_are_bounded() -> None:
    deep = der.null()
    for _ in range(40):
        deep = der.sequence(deep)
    assert not is_distinguished(deep)
    with pytest.raises(LimitExceeded):
        distinguished(deep)
    with pytest.raises(LimitExceeded):
        distinguished(b"\x30\x80" + der.null() * 5000 + b"\0\0")


VALUES = st.recursive(
    st.binary(max_size=300).map(der.octet_string) | st.integers().map(der.integer),
    lambda inner: (
        st.lists(inner, max_size=5).map(lambda v: der.sequence(*v)) | st.lists(inner, max_size=5).map(der.set_of)
    ),
    max_leaves=30,
)


@given(VALUES)
def test_what_the_writer_makes_is_der(value: bytes) -> None:
    assert is_distinguished(value)
    assert distinguished(value) == value


@given(st.binary(max_size=200))
def test_hostile_octets_are_der_or_refused(octets: bytes) -> None:
    try:
        once = distinguished(octets)
        assert is_distinguished(once)
        assert is_distinguished(octets) is (once == octets)
        assert distinguished(once) == once
    except DomsecError:
        assert not is_distinguished(octets)


@pytest.mark.requirement("R5652-11-01")
@pytest.mark.parametrize(
    ("when", "octets"),
    [
        (datetime(2026, 11, 23, 12, 0, 1, 999999, tzinfo=UTC), b"\x17\x0d261123120001Z"),
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
    ],
)
def test_signing_time_is_utc_time_until_2049(when: datetime, octets: bytes) -> None:
    made = attributes.signing_time(when)
    assert made.values == (octets,)
    assert attributes.read_signing_time(octets) == when.replace(microsecond=0)
    (read,) = parse_attributes(made.raw).items
    assert read == made


@pytest.mark.parametrize("size", [0, 16, 20, 32, 48, 64, 200])
def test_message_digests_of_any_size_are_written_alike(size: int) -> None:
    made = attributes.message_digest(bytes(size))
    assert made == attribute(oids.ID_MESSAGE_DIGEST, der.octet_string(bytes(size)))
    assert parse_attributes(made.raw).items == (made,)


@pytest.mark.requirement("R8551-2.5.2-01")
def test_capabilities_have_no_parameters_where_none_are_defined() -> None:
    wanted = (algorithm_identifier(oids.AES256_GCM), algorithm_identifier(oids.AES128_CBC))
    made = attributes.smime_capabilities(wanted)
    assert len(made.values) == 1
    assert attributes.read_smime_capabilities(made.values[0]) == wanted
    assert made.values[0] == der.sequence(*(der.sequence(der.oid(a.oid)) for a in wanted))


@pytest.mark.requirement("R6211-3.1-01")
def test_algorithm_protection_names_both_algorithms() -> None:
    digest, signature = DIGESTS[oids.SHA256].identifier, ECDSA_SHA256.identifier
    made = attributes.cms_algorithm_protection(digest, signature)
    read_digest, read_signature = attributes.read_cms_algorithm_protection(made.values[0])
    assert (read_digest, read_signature) == (digest, signature)
    mac = der.sequence(digest.raw, der.implicit(2, signature.raw))
    assert attributes.read_cms_algorithm_protection(mac) == (digest, None)


@pytest.mark.requirement("R8551-2.5.3-01")
def test_encryption_key_preference_names_a_certificate() -> None:
    certificate = signers.credential("p256").certificate
    (value,) = attributes.encryption_key_preference(certificate).values
    reader = der.Reader(value)
    reader.enter(der.context(0))
    assert bytes(reader.skip()) == certificate.issuer
    assert reader.integer() == certificate.serial
    reader.leave()


@pytest.mark.requirement("R5035-3-01")
def test_a_signing_certificate_names_one_certificate_and_no_other() -> None:
    certificate = signers.credential("p256").certificate
    (named,) = read_signing_certificate(attributes.signing_certificate_v2(certificate))
    assert named.digest == oids.SHA256
    assert named.matches(certificate) is True
    assert named.matches(signers.credential("p256", 1).certificate) is False
    assert replace(named, serial=None, names=()).matches(certificate) is True
    assert replace(named, serial=7).matches(certificate) is False
    assert replace(named, names=(signers.credential("p384").certificate.subject,)).matches(certificate) is False
    assert replace(named, digest=oids.MD5).matches(certificate) is None


def signing_certificate(oid: str, *hashes: bytes) -> Attribute:
    return attribute(oid, der.sequence(der.sequence(*hashes)))


@pytest.mark.requirement("R5035-2-01")
def test_both_versions_of_the_signing_certificate_are_read() -> None:
    certificate = signers.credential("p256").certificate

    def hashed(oid: str) -> bytes:
        digest = DIGESTS[oid].new()
        digest.update(certificate.der)
        return der.octet_string(digest.digest())

    for made in (
        signing_certificate(oids.ID_AA_SIGNING_CERTIFICATE, der.sequence(hashed(oids.SHA1))),
        signing_certificate(oids.ID_AA_SIGNING_CERTIFICATE_V2, der.sequence(hashed(oids.SHA256))),
        signing_certificate(
            oids.ID_AA_SIGNING_CERTIFICATE_V2,
            der.sequence(DIGESTS[oids.SHA512].identifier.raw, hashed(oids.SHA512)),
            der.sequence(hashed(oids.SHA256)),
        ),
    ):
        assert read_signing_certificate(made)[0].matches(certificate) is True
    with pytest.raises(MalformedMessage):
        read_signing_certificate(attribute(oids.ID_AA_SIGNING_CERTIFICATE_V2))


READERS = (
    (attributes.read_signing_time, attributes.signing_time(signers.NOW).values[0]),
    (attributes.read_signing_time, der.tlv(der.UTC_TIME)),
    (attributes.read_smime_capabilities, der.sequence(algorithm_identifier(oids.AES256_GCM).raw)),
    (
        attributes.read_cms_algorithm_protection,
        attributes.cms_algorithm_protection(DIGESTS[oids.SHA256].identifier, ECDSA_SHA256.identifier).values[0],
    ),
    (
        lambda value: read_signing_certificate(Attribute(oids.ID_AA_SIGNING_CERTIFICATE_V2, (value,), value)),
        attributes.signing_certificate_v2(signers.credential("p256").certificate).values[0],
    ),
)


@given(st.data())
@pytest.mark.parametrize(
    ("read", "value"), READERS, ids=["time", "no-time", "capabilities", "protection", "certificate"]
)
def test_hostile_values_are_read_or_refused(read: Callable[[bytes], object], value: bytes, data: st.DataObject) -> None:
    octets = bytearray(value)
    for _ in range(data.draw(st.integers(0, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(octets[: data.draw(st.integers(0, len(octets)))]))
        read(bytes(octets))
    except DomsecError:
        pass
