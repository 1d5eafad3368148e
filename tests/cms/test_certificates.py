"""Certificates as values: cut, compared, loaded when asked."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st

import interpersonal
import signers
from domsec import der, oids
from domsec.cms import certificates
from domsec.cms.certificates import (
    Certificate,
    IssuerAndSerialNumber,
    SubjectKeyIdentifier,
    certificate,
    issuer_and_serial,
    read_issuer_and_serial,
    same_name,
)
from domsec.errors import DomsecError, MalformedMessage, Unsupported

X400_NAMES = interpersonal.tlv(0x30, interpersonal.tlv(0xA3, interpersonal.address_content()))


def name(*rdns: tuple[str, bytes]) -> bytes:
    return der.sequence(*(der.set_of([der.sequence(der.oid(oid), value)]) for oid, value in rdns))


def test_what_is_cut_agrees_with_what_pyca_loads() -> None:
    cut = signers.credential("p256").certificate
    loaded = cut.x509
    assert cut.serial == loaded.serial_number
    assert cut.issuer == loaded.issuer.public_bytes()
    assert cut.subject == loaded.subject.public_bytes()
    assert (cut.not_before, cut.not_after) == (loaded.not_valid_before_utc, loaded.not_valid_after_utc)
    assert cut.not_before == datetime(2026, 1, 1, tzinfo=UTC)
    assert cut.spki == loaded.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert cut.ski is not None
    assert len(cut.ski) == 20
    assert cut.key_algorithm == oids.EC_PUBLIC_KEY
    assert cut.extension("2.5.29.19") == b"\x30\x00"
    assert cut.extension("2.5.29.15") is None


def test_certificates_are_equal_if_their_octets_are() -> None:
    one = signers.credential("p256").certificate
    assert Certificate(bytes(one.der)) == one
    assert len({one, Certificate(bytes(one.der)), signers.credential("p384").certificate}) == 2
    assert certificate(one.der) is certificate(bytes(memoryview(one.der)))
    assert one != one.der
    assert one.sha256[:16] in repr(one)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30\x00",
        der.sequence(der.sequence(der.integer(1))),
        der.sequence(der.sequence(der.integer(1), der.sequence(), der.null())),
        signers.credential("p256").certificate.der + b"\0",
        signers.credential("p256").certificate.der[:-1],
    ],
    ids=range(6),
)
def test_what_is_no_certificate_is_malformed(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Certificate(octets)


def tbs(spki: bytes) -> bytes:
    validity = der.sequence(der.time(datetime(2026, 1, 1, tzinfo=UTC)), der.time(datetime(2030, 1, 1, tzinfo=UTC)))
    algorithm = der.sequence(der.oid(oids.SHA256_WITH_RSA), der.null())
    who = name((oids.COMMON_NAME, der.utf8("x")))
    inside = der.sequence(der.integer(5), algorithm, who, validity, who, spki)
    return der.sequence(inside, algorithm, der.bit_string(b"\0"))


def test_a_key_that_cannot_be_used_is_found_out_when_asked_for() -> None:
    unknown = Certificate(tbs(der.sequence(der.sequence(der.oid("1.2.3.4")), der.bit_string(b"\0"))))
    assert unknown.serial == 5
    assert unknown.ski is None
    with pytest.raises(Unsupported):
        _ = unknown.public_key
    broken = Certificate(tbs(der.sequence(der.sequence(der.oid(oids.RSA_ENCRYPTION)), der.bit_string(b"\0"))))
    with pytest.raises(MalformedMessage):
        _ = broken.public_key
    odd = Certificate(tbs(der.sequence()))
    with pytest.raises(DomsecError):
        _ = odd.public_key
    with pytest.raises(MalformedMessage):
        _ = odd.key_algorithm


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (der.utf8("Acme Inc"), der.utf8("Acme Inc"), True),
        (der.utf8("Acme Inc"), der.tlv(der.PRINTABLE_STRING, b"ACME  inc "), True),
        (der.utf8("Acme Inc"), der.tlv(der.BMP_STRING, "acme inc".encode("utf-16-be")), True),
        (der.utf8("Acme Inc"), der.utf8("Acme Incl"), False),
        (der.utf8("Acme"), der.tlv(der.UTF8_STRING, b"\xff\xfe"), False),
        (der.octet_string(b"x"), der.octet_string(b"y"), False),
    ],
)
def test_names_are_the_same_whatever_their_string_types(one: bytes, other: bytes, same: bool) -> None:
    assert same_name(name((oids.COMMON_NAME, one)), name((oids.COMMON_NAME, other))) is same


@pytest.mark.parametrize(("octets", "same"), [(4096, True), (4097, False)])
def test_a_long_name_is_the_same_only_octet_for_octet(octets: int, same: bool) -> None:
    text = "a" * (octets - len(name((oids.COMMON_NAME, der.utf8("a" * 4000)))) + 4000)
    one, other = name((oids.COMMON_NAME, der.utf8(text))), name((oids.COMMON_NAME, der.utf8(text.upper())))
    assert len(one) == len(other) == octets
    assert same_name(one, one)
    assert same_name(one, other) is same


def test_a_name_is_folded_once_however_often_it_is_compared() -> None:
    """Also one that cannot be read: a message asks for each of its certificates with each of its signers."""
    names = [name((oids.COMMON_NAME, der.utf8(f"{number}"))) for number in range(20)]
    broken = der.sequence(der.tlv(der.SET, der.sequence(der.oid(oids.COMMON_NAME), der.tlv(der.UTF8_STRING, b"\xff"))))
    certificates._folded.cache_clear()
    for _ in range(2):
        for one in names:
            assert not same_name(one, broken)
            assert not same_name(broken, one)
            assert not any(same_name(one, other) for other in names if other is not one)
    assert certificates._folded.cache_info().misses == len(names) + 1


def test_the_order_of_a_name_matters() -> None:
    c, o = (oids.COUNTRY_NAME, der.utf8("us")), (oids.ORGANIZATION_NAME, der.utf8("acme"))
    assert not same_name(name(c, o), name(o, c))
    assert not same_name(name(c, o), name(c))
    assert not same_name(name(c), b"\x31\x00")


@pytest.mark.requirement("R5652-5.3-02")
def test_both_identifiers_find_their_certificate() -> None:
    one, other = signers.credential("p256").certificate, signers.credential("p384").certificate
    by_number = read_issuer_and_serial(der.Reader(issuer_and_serial(one)))
    assert by_number == IssuerAndSerialNumber(one.issuer, one.serial)
    assert by_number.matches(one)
    assert not by_number.matches(other)
    assert one.ski is not None
    by_key = SubjectKeyIdentifier(one.ski)
    assert by_key.matches(one)
    assert not by_key.matches(other)
    bare = signers.certificate_for(signers.key("p256"), key_identifier=False)
    assert not by_key.matches(bare)


@pytest.mark.requirement("R3854-4.3-01")
def test_extensions_are_read_beside_names_that_pyca_does_not_know() -> None:
    """pyca reads no extension at all where an X.400 address stands in subjectAltName."""
    cut = interpersonal.certified("user", "cn=Alice", interpersonal.address_content()).certificate
    with pytest.raises(x509.UnsupportedGeneralNameType):
        _ = cut.x509.extensions
    assert [extension.oid.dotted_string for extension in cut.extensions] == ["2.5.29.15", "2.5.29.14"]
    plain = signers.credential("p256").certificate
    assert plain.extensions is plain.x509.extensions


def with_names(*oids: str, value: bytes) -> Certificate:
    """A certificate with subjectAltName of an X.400 address, and extensions of these types."""
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), signers.key("p256").public_key(), 1)
    builder = builder.not_valid_before(datetime(2026, 1, 1)).not_valid_after(datetime(2030, 1, 1))
    for oid in ("2.5.29.17", *oids):
        octets = X400_NAMES if oid == "2.5.29.17" else value
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), octets), critical=False)
    made = builder.sign(signers.key("p256"), hashes.SHA256())
    return Certificate(made.public_bytes(serialization.Encoding.DER))


def test_nothing_else_hides_behind_such_a_name() -> None:
    assert len(with_names(value=b"").extensions) == 0
    with pytest.raises(MalformedMessage):  # basicConstraints that are none
        _ = with_names("2.5.29.19", value=b"\x04\x00").extensions
    issuers = with_names("2.5.29.18", value=X400_NAMES)
    with pytest.raises(MalformedMessage):  # X.400 addresses of the issuer: of no use to anybody here
        _ = issuers.extensions
    with pytest.raises(MalformedMessage):  # subjectAltName twice
        _ = Certificate(issuers.der.replace(der.oid("2.5.29.18"), der.oid("2.5.29.17"))).extensions


@given(st.data())
def test_a_damaged_certificate_is_refused_or_read(data: st.DataObject) -> None:
    octets = bytearray(signers.credential("p256").certificate.der)
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        cut = Certificate(bytes(octets))
        _ = cut.issuer, cut.subject, cut.ski, cut.sha256, cut.spki, cut.not_after, cut.key_algorithm, cut.public_key
    except DomsecError:
        pass
