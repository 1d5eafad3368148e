"""Every structure of CMS that we write: whatever is in it, what is read again is what was written.

Those of ESS have theirs in tests/ess/test_values.py, X.400 in tests/mhs, ContentInfo and CompressedData in the files of
their modules. Signatures are by P-256 and Ed25519, which are fast: other keys differ in a row of a table, and each row
is tested by itself.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given
from hypothesis import strategies as st

import signers
from domsec import der, oids
from domsec.cms import attributes, content_info, countersignatures, enveloped_data, multiple_signatures, signed_data
from domsec.cms.algorithms import (
    DIGESTS,
    ECDSA_SHA256,
    Status,
    algorithm_identifier,
    find_digest,
    find_signature,
    key_transport_padding,
    oaep,
    parse_algorithm,
    rsa_pss,
)
from domsec.cms.attributes import Attribute, attribute, parse_attributes, set_of_attributes
from domsec.cms.certificates import (
    Certificate,
    IssuerAndSerialNumber,
    SubjectKeyIdentifier,
    issuer_and_serial,
    read_issuer_and_serial,
)
from domsec.cms.multiple_signatures import MultipleSignatures
from domsec.cms.recipients import build_recipient, parse_recipients, recipient_matches
from domsec.cms.recipients.other import OtherRecipient
from domsec.cms.signed_data import Signing
from domsec.services import signature_type
from domsec.services.signature_type import SignatureType
from envelope_keys import certificate as recipient
from envelope_keys import credential

SIGNERS = {(kind, which): signers.credential(kind, which) for kind in ("p256", "ed25519") for which in (0, 1)}
PEOPLE = ("p256", "p256b", "p384", "x25519", "x448", "mlkem768", "rsa2048")
CERTIFICATES = [one.certificate for one in SIGNERS.values()] + [recipient(kind) for kind in PEOPLE]
MADE_BY_SIGNING = {oids.ID_CONTENT_TYPE, oids.ID_MESSAGE_DIGEST, oids.ID_SIGNING_TIME, oids.ID_COUNTERSIGNATURE}

# each arc in one octet or more, first two as X.660 wants them
oid_strings = st.tuples(
    st.sampled_from(["0.1", "1.2", "2.5", "2.999"]), st.lists(st.integers(0, 2**40), max_size=6)
).map(lambda parts: ".".join([parts[0], *map(str, parts[1])]))
octets = st.binary(max_size=200)
values = st.recursive(
    octets.map(der.octet_string) | st.integers().map(der.integer) | oid_strings.map(der.oid) | st.just(der.null()),
    lambda inner: st.lists(inner, max_size=4).map(lambda found: der.sequence(*found)),
    max_leaves=8,
)
algorithms = st.builds(algorithm_identifier, oid_strings, st.none() | values)
others = st.builds(
    lambda oid, found: attribute(oid, *found), oid_strings, st.lists(values, min_size=1, max_size=3, unique=True)
).filter(lambda found: found.oid not in MADE_BY_SIGNING)
several = st.lists(others, max_size=4, unique_by=lambda found: found.oid).map(tuple)
times = st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda when: when.replace(microsecond=0)
)
certificates = st.lists(st.sampled_from(CERTIFICATES), max_size=3, unique=True)


# --- values ----------------------------------------------------------------------------------------------------------


@given(algorithms)
def test_algorithm_identifier(found) -> None:
    assert parse_algorithm(found.raw) == found


@pytest.mark.parametrize("digest", [oid for oid, row in DIGESTS.items() if row.status is not Status.REFUSED])
@given(salt=st.none() | st.integers(0, 512))
def test_parameters_of_pss(digest: str, salt: int | None) -> None:
    row = rsa_pss(digest, salt_length=salt)
    assert find_signature(row.identifier, row.digest.identifier) is row
    assert find_digest(parse_algorithm(row.digest.identifier.raw)) is row.digest


@pytest.mark.parametrize("digest", DIGESTS)
def test_parameters_of_oaep(digest: str) -> None:
    found = key_transport_padding(parse_algorithm(oaep(digest).raw))
    assert isinstance(found, padding.OAEP)
    assert (found._algorithm.name, found.mgf._algorithm.name) == 2 * (DIGESTS[digest].pyca.name,)


@given(st.lists(others, max_size=8))
def test_attributes(written: list[Attribute]) -> None:
    raw = set_of_attributes(written)
    found = parse_attributes(raw)
    assert (found.raw, found.is_der) == (raw, True)
    assert sorted(found.items, key=lambda one: one.raw) == sorted(written, key=lambda one: one.raw)


@given(st.binary(max_size=60), st.integers(-(2**64), 2**160))
def test_issuer_and_serial_number(common_name: bytes, serial: int) -> None:
    name = der.sequence(der.set_of([der.sequence(der.oid(oids.COMMON_NAME), der.octet_string(common_name))]))
    written = der.sequence(name, der.integer(serial))
    assert read_issuer_and_serial(der.Reader(written)) == IssuerAndSerialNumber(name, serial)


@given(st.sampled_from(CERTIFICATES))
def test_what_names_a_certificate(one: Certificate) -> None:
    named = read_issuer_and_serial(der.Reader(issuer_and_serial(one)))
    assert [named.matches(other) for other in CERTIFICATES] == [other == one for other in CERTIFICATES]
    preferred = attributes.read_encryption_key_preference(attributes.encryption_key_preference(one).values[0])
    assert preferred == named
    stated = attributes.read_signing_certificate(attributes.signing_certificate_v2(one))
    assert [hashed.matches(other) for hashed in stated for other in CERTIFICATES] == [c == one for c in CERTIFICATES]


@given(octets)
def test_a_preferred_key_by_its_identifier(identifier: bytes) -> None:
    """The two forms of RFC 8551 2.5.3 that we do not write."""
    for written in (
        der.tlv(der.context(2, constructed=False), identifier),
        der.tlv(der.context(1), der.octet_string(identifier)),
    ):
        assert attributes.read_encryption_key_preference(written) == SubjectKeyIdentifier(identifier)


@given(times)
def test_signing_time(when: datetime) -> None:
    assert attributes.read_signing_time(attributes.signing_time(when).values[0]) == when


@given(st.lists(algorithms, max_size=6))
def test_smime_capabilities(stated: list) -> None:
    found = attributes.read_smime_capabilities(attributes.smime_capabilities(stated).values[0])
    assert found == tuple(stated)


@given(algorithms, algorithms)
def test_cms_algorithm_protection(digest, signature) -> None:
    (value,) = attributes.cms_algorithm_protection(digest, signature).values
    found = attributes.read_cms_algorithm_protection(value)
    assert (found[0], found[1]) == (digest, signature)


@given(algorithms, algorithms, algorithms, octets, st.none() | st.sampled_from(CERTIFICATES))
def test_multiple_signatures(digest, signature, hash_algorithm, hashed: bytes, one: Certificate | None) -> None:
    named = attributes.certificate_identifier(one) if one else b""
    written = MultipleSignatures(digest, signature, hash_algorithm, hashed, named)
    found = multiple_signatures.read(written.write())
    assert found == written
    assert (found.certificate_hash is None) is (one is None)
    assert one is None or found.certificate_hash.matches(one)


@pytest.mark.parametrize("stated", [one for one in SignatureType if one is not SignatureType.UNKNOWN])
@pytest.mark.parametrize("oid", signature_type.ATTRIBUTE_OIDS)
def test_signature_type(stated: SignatureType, oid: str) -> None:
    made = signed_data.sign(
        b"", oids.ID_DATA, [Signing(SIGNERS["p256", 0], attributes=(signature_type.attribute(stated, oid=oid),))]
    )
    (info,) = _signed(made).signers
    assert signature_type.read(info).types == (stated,)


# --- signed data -----------------------------------------------------------------------------------------------------


def _signed(made) -> signed_data.SignedData:
    outer = content_info.parse(bytes(made))
    assert outer.content_type == oids.ID_SIGNED_DATA
    return signed_data.parse_signed_data(outer.content)


signings = st.lists(
    st.builds(
        Signing,
        st.sampled_from(list(SIGNERS.values())),
        attributes=several,
        signing_time=st.none() | times,
        unsigned_attributes=several,
        key_identifier=st.booleans(),
    ),
    min_size=1,
    max_size=3,
)


@given(
    content=st.binary(max_size=2000),
    content_type=st.sampled_from([oids.ID_DATA, oids.ID_SIGNED_DATA, "1.2.3"]),
    by=signings,
    detached=st.booleans(),
    more=certificates,
)
def test_signed_data(content: bytes, content_type: str, by: list[Signing], detached: bool, more: list) -> None:
    found = _signed(signed_data.sign(content, content_type, by, detached=detached, certificates=more))
    assert found.content_type == content_type
    assert (None if found.content is None else bytes(found.content)) == (None if detached else content)
    assert set(found.certificates) == {*(one.credential.certificate for one in by), *more}
    left = list(found.signers)
    for one in by:
        info = next(i for i in left if _is_of(i, one))
        left.remove(info)
        check = signed_data.verify(info, content, content_type, one.credential.certificate)
        assert (check.weak, check.is_der) == ((), True)
        assert isinstance(info.sid, SubjectKeyIdentifier) is one.key_identifier
        assert attributes.stated_signing_time(info.signed_attributes) == one.signing_time
    assert not left


def _is_of(info: signed_data.SignerInfo, one: Signing) -> bool:
    """Whether a SignerInfo has what somebody signed and left unsigned."""
    signed = info.signed_attributes.items if info.signed_attributes else ()
    unsigned = info.unsigned_attributes.items if info.unsigned_attributes else ()
    stated = attributes.stated_signing_time(info.signed_attributes)
    return (
        info.matches(one.credential.certificate)
        and isinstance(info.sid, SubjectKeyIdentifier) is one.key_identifier
        and set(one.attributes) <= set(signed)
        and set(one.unsigned_attributes) == set(unsigned)
        and stated == one.signing_time
    )


@given(st.binary(max_size=2000))
def test_null_layer(content: bytes) -> None:
    found = _signed(signed_data.null_layer(content))
    assert (bytes(found.content or b""), found.signers, found.certificates) == (content, (), ())


@given(certificates, st.lists(values, max_size=3, unique=True))
def test_certificates_only(enclosed: list[Certificate], sequences: list[bytes]) -> None:
    crls = [der.sequence(value) for value in sequences]
    found = _signed(signed_data.certificates_only(enclosed, crls))
    assert (found.content, found.signers) == (None, ())
    assert (set(found.certificates), set(found.crls)) == (set(enclosed), set(crls))


@given(times, st.binary(max_size=100))
def test_countersignature(when: datetime, content: bytes) -> None:
    """We read them only: a SignerInfo over the signature value, made here as one over content that has no type."""
    by = SIGNERS["p256", 1]
    (plain,) = _signed(signed_data.sign(content, oids.ID_DATA, [Signing(SIGNERS["p256", 0])])).signers
    digest = hashlib.sha256(plain.signature).digest()
    items = set_of_attributes([attributes.message_digest(digest), attributes.signing_time(when)])
    written = der.sequence(
        der.integer(1),
        issuer_and_serial(by.certificate),
        ECDSA_SHA256.digest.identifier.raw,
        der.tlv(der.context(0), items),
        ECDSA_SHA256.identifier.raw,
        der.octet_string(by.sign(der.tlv(der.SET, items), ECDSA_SHA256)),
    )
    carrying = _with_unsigned(plain, attribute(oids.ID_COUNTERSIGNATURE, written))
    (found,) = countersignatures.countersignatures(signed_data.parse_signer(carrying))
    assert found.info.matches(by.certificate)
    assert attributes.stated_signing_time(found.info.signed_attributes) == when
    signed_data.verify(found.info, plain.signature, None, by.certificate)


def _with_unsigned(info: signed_data.SignerInfo, unsigned: Attribute) -> bytes:
    assert info.signed_attributes is not None
    assert isinstance(info.sid, IssuerAndSerialNumber)
    return der.sequence(
        der.integer(info.version),
        der.sequence(info.sid.issuer, der.integer(info.sid.serial)),
        info.digest_algorithm.raw,
        der.tlv(der.context(0), info.signed_attributes.raw),
        info.signature_algorithm.raw,
        der.octet_string(info.signature),
        der.tlv(der.context(1), unsigned.raw),
    )


# --- enveloped data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PEOPLE)
@given(
    key=st.sampled_from([16, 24, 32]).flatmap(lambda n: st.binary(min_size=n, max_size=n)), by_identifier=st.booleans()
)
def test_recipient_info(kind: str, key: bytes, by_identifier: bool) -> None:
    written = build_recipient(key, recipient(kind), by_key_identifier=by_identifier)
    (found,) = parse_recipients(der.Reader(der.tlv(der.SET, written)))
    assert [recipient_matches(found, recipient(other)) for other in PEOPLE] == [other == kind for other in PEOPLE]
    assert isinstance(found.identifiers[0], SubjectKeyIdentifier) is by_identifier
    assert found.recover(0, credential(kind), len(key), ()) == key


@given(oid_strings, values, octets)
def test_recipient_info_that_is_only_read(oid: str, value: bytes, identifier: bytes) -> None:
    algorithm = algorithm_identifier(oid, value).raw
    written = [
        (der.tlv(der.context(3), der.integer(0), algorithm, der.octet_string(identifier)), "pwri", 0, ""),
        (der.tlv(der.context(4), der.oid("1.2.3." + oid), value), "ori", None, "1.2.3." + oid),
    ]
    found = parse_recipients(der.Reader(der.tlv(der.SET, *(raw for raw, *_ in written))))
    assert list(found) == [OtherRecipient(kind, raw, version, type_) for raw, kind, version, type_ in written]


@given(
    content=st.binary(max_size=2000),
    to=st.lists(st.sampled_from(PEOPLE[:-1]), min_size=1, max_size=4, unique=True),
    content_type=st.sampled_from([oids.ID_DATA, oids.ID_SIGNED_DATA, "1.2.3"]),
    cipher=st.sampled_from(["aes128-gcm", "aes256-gcm", "aes128-cbc", "aes192-cbc", "aes256-cbc"]),
    by_identifier=st.booleans(),
    enclosed=certificates,
    extra=several,
)
def test_enveloped_data(
    content: bytes,
    to: list[str],
    content_type: str,
    cipher,
    by_identifier: bool,
    enclosed: list[Certificate],
    extra: tuple[Attribute, ...],
) -> None:
    authenticated = cipher.endswith("-gcm")
    made = enveloped_data.encrypt(
        content,
        [recipient(kind) for kind in to],
        content_type=content_type,
        cipher=cipher,
        by_key_identifier=by_identifier,
        originator_certificates=enclosed,
        auth_attributes=extra if authenticated else (),
    )
    outer = content_info.parse(bytes(made))
    found = enveloped_data.parse_enveloped(outer.content_type, outer.content)
    assert found.kind == ("auth_enveloped" if authenticated else "enveloped")
    assert (found.content_type, found.cipher) == (content_type, cipher)
    assert set(found.originator_certificates) == set(enclosed)
    assert len(found.recipients) == len(to)
    kept = found.auth_attributes.items if found.auth_attributes else ()
    assert set(extra if authenticated else ()) <= set(kept)
    for kind in to:
        opened = enveloped_data.decrypt(found, [credential(kind)])
        assert (bytes(opened.plaintext), opened.content_type) == (content, content_type)
        assert opened.authenticated is authenticated
