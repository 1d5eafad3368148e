"""RFC 5652 6.2, 5753, 8418, 3560: each kind of RecipientInfo, read and written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, x25519
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domsec import der, oids
from domsec.cms.algorithms import algorithm_identifier
from domsec.cms.certificates import IssuerAndSerialNumber, SubjectKeyIdentifier, issuer_and_serial
from domsec.cms.recipients import build_recipient, parse_recipients, recipient_matches
from domsec.cms.recipients.key_agreement import SCHEMES, KeyAgreement, OriginatorPublicKey, shared_info
from domsec.cms.recipients.key_transport import KeyTransport
from domsec.cms.recipients.key_wrap import WRAPS
from domsec.cms.recipients.other import OtherRecipient
from domsec.der import Reader, context
from domsec.errors import MalformedMessage, Unsupported
from envelope_keys import KINDS, certificate, credential

KEY = bytes(range(32))
EC = ec.EllipticCurvePrivateKey


def parsed(*recipients: bytes) -> tuple:
    return parse_recipients(Reader(der.tlv(der.SET, *recipients)))


# --- key transport ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R5652-6.2.1-01")
@pytest.mark.parametrize(("by_key_identifier", "version"), [(False, 0), (True, 2)])
def test_the_version_of_a_ktri_goes_with_its_identifier(by_key_identifier: bool, version: int) -> None:
    (found,) = parsed(build_recipient(KEY, certificate("rsa2048"), by_key_identifier=by_key_identifier))
    assert isinstance(found, KeyTransport)
    assert found.version == version
    assert isinstance(found.identifier, SubjectKeyIdentifier if by_key_identifier else IssuerAndSerialNumber)
    assert recipient_matches(found, certificate("rsa2048"))
    assert found.recover(0, credential("rsa2048"), 32, ()) == KEY


@pytest.mark.requirement("R3560-3-01")
def test_oaep_is_written_with_sha256_twice_and_no_label() -> None:
    (found,) = parsed(build_recipient(KEY, certificate("rsa2048")))
    reader = Reader(found.algorithm.parameters)
    reader.enter(der.SEQUENCE)
    seen = []
    while not reader.at_end():
        seen.append(reader.peek())
        reader.skip()
    assert seen == [context(0), context(1)]  # the label is the default, and so left out


def oaep_parameters(digest: str | None, mask: str | None, *, null: bool, label: bool) -> bytes:
    end = der.null() if null else b""
    fields = b""
    if digest:
        fields += der.explicit(0, der.sequence(der.oid(digest), end))
    if mask:
        fields += der.explicit(1, der.sequence(der.oid(oids.MGF1), der.sequence(der.oid(mask), end)))
    if label:
        fields += der.explicit(2, der.sequence(der.oid(oids.P_SPECIFIED), der.octet_string(b"")))
    return der.sequence(fields)


HASHES = {
    oids.SHA1: hashes.SHA1(),
    oids.SHA256: hashes.SHA256(),
    oids.SHA384: hashes.SHA384(),
    oids.SHA512: hashes.SHA512(),
}


@pytest.mark.requirement("R3560-3-01")
@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("label", [False, True])
@pytest.mark.parametrize("mask", HASHES)
@pytest.mark.parametrize("digest", HASHES)
def test_oaep_is_read_with_any_digest_and_its_defaults_written_or_not(
    digest: str, mask: str, label: bool, null: bool
) -> None:
    own = credential("rsa2048")
    encrypted = own.key.public_key().encrypt(KEY, padding.OAEP(padding.MGF1(HASHES[mask]), HASHES[digest], None))
    spellings = [oaep_parameters(digest, mask, null=null, label=label)]
    if oids.SHA1 in (digest, mask):
        spellings.append(
            oaep_parameters(
                None if digest == oids.SHA1 else digest, None if mask == oids.SHA1 else mask, null=null, label=label
            )
        )
    for spelling in spellings:
        algorithm = algorithm_identifier(oids.RSAES_OAEP, spelling)
        found = KeyTransport(0, SubjectKeyIdentifier(b""), algorithm, encrypted)
        assert found.recover(0, own, 32, ()) == KEY


@pytest.mark.requirement("R3560-3-01", "R3218-2.3-01")
@pytest.mark.parametrize(
    "parameters",
    [
        None,
        der.null(),
        der.sequence(der.explicit(0, der.sequence(der.oid("1.2.3")))),
        der.sequence(der.explicit(1, der.sequence(der.oid("1.2.3")))),
        der.sequence(der.explicit(5, der.null())),
    ],
)
def test_oaep_that_cannot_be_read_gives_some_other_key(parameters: bytes | None) -> None:
    own = credential("rsa2048")
    encrypted = own.key.public_key().encrypt(KEY, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
    found = KeyTransport(0, SubjectKeyIdentifier(b""), algorithm_identifier(oids.RSAES_OAEP, parameters), encrypted)
    other = found.recover(0, own, 32, ())
    assert len(other) == 32
    assert other != KEY


@pytest.mark.requirement("R3218-2.3-01")
@pytest.mark.parametrize("algorithm", ["oaep", "pkcs1v15"])
@pytest.mark.parametrize("length", [16, 24, 32])
def test_a_key_always_comes_back_in_the_length_that_is_needed(length: int, algorithm: str) -> None:
    (found,) = parsed(build_recipient(bytes(20), certificate("rsa2048"), padding=algorithm))
    for encrypted in (found.encrypted_key, bytes(256), b"\xff" * 256, b"", b"\x01", bytes(257)):
        assert len(replace(found, encrypted_key=encrypted).recover(0, credential("rsa2048"), length, ())) == length


def test_a_key_too_short_for_its_padding_is_no_recipient() -> None:
    with pytest.raises(Unsupported):
        build_recipient(bytes(64), certificate("rsa1024"))


# --- key agreement ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R5753-3.1.1-01")
def test_shared_info_is_the_one_of_the_rfc() -> None:
    wrap = der.sequence(der.oid(oids.AES256_WRAP))
    assert shared_info(wrap, 32, None).hex() == "3015" + wrap.hex() + "a2060404" + "00000100"
    assert (
        shared_info(wrap, 32, b"ukm").hex() == "301c" + wrap.hex() + "a0050403" + b"ukm".hex() + "a2060404" + "00000100"
    )


@pytest.mark.requirement("R5652-6.2.2-01")
@pytest.mark.parametrize("kind", ["p256", "x25519"])
def test_a_kari_has_version_three_a_new_key_and_user_keying_material(kind: str) -> None:
    (one,) = parsed(build_recipient(KEY, certificate(kind)))
    (other,) = parsed(build_recipient(KEY, certificate(kind)))
    assert isinstance(one, KeyAgreement)
    assert one.version == 3
    assert isinstance(one.originator, OriginatorPublicKey)
    assert one.originator.algorithm.parameters is None
    assert one.originator != other.originator
    assert one.ukm is not None
    assert one.ukm != other.ukm


def kari(
    recipients: list[tuple[bytes, str]],
    *,
    scheme: str = oids.DH_SINGLE_PASS_STD_SHA256KDF,
    wrap: bytes | None = None,
    ukm: bytes | None = None,
    originator: bytes | None = None,
    key: Any = None,
    ec_parameters: bytes = b"",
    compressed: bool = False,
    key_length: int = 32,
) -> bytes:
    """A kari as others may write one: several recipients (identifier, kind of key) under one ephemeral key."""
    wrap = wrap or der.sequence(der.oid(oids.AES256_WRAP))
    key = key or ec.generate_private_key(ec.SECP256R1())
    keys = []
    for identifier, kind in recipients:
        secret = key.exchange(*([ec.ECDH()] if isinstance(key, EC) else []), credential(kind).key.public_key())
        kek = SCHEMES[scheme].derive(secret, wrap, key_length, ukm)
        keys.append(der.sequence(identifier, der.octet_string(aes_key_wrap(kek, KEY))))
    form = PublicFormat.CompressedPoint if compressed else PublicFormat.UncompressedPoint
    of_curve = isinstance(key, EC)
    point = key.public_key().public_bytes(Encoding.X962, form) if of_curve else key.public_key().public_bytes_raw()
    oid = oids.EC_PUBLIC_KEY if of_curve else oids.X25519 if len(point) == 32 else oids.X448
    originator = originator or der.tlv(context(1), der.sequence(der.oid(oid), ec_parameters), der.bit_string(point))
    return der.tlv(
        context(1),
        der.integer(3),
        der.explicit(0, originator),
        b"" if ukm is None else der.explicit(1, der.octet_string(ukm)),
        der.sequence(der.oid(scheme), wrap),
        der.sequence(*keys),
    )


def named(kind: str) -> bytes:
    return issuer_and_serial(certificate(kind))


@pytest.mark.requirement("R5652-6.2.2-01")
def test_each_key_of_one_kari_is_for_its_own_recipient() -> None:
    key_identifier = der.tlv(
        context(0),
        der.octet_string(certificate("p256b").ski or b""),
        der.tlv(der.GENERALIZED_TIME, b"20261123120000Z"),
        der.sequence(der.oid("1.2.3"), der.null()),
    )
    (found,) = parsed(
        kari([(named("p384").replace(b"\x01", b"\x01"), "p256"), (key_identifier, "p256b"), (named("p256"), "p256")])
    )
    assert len(found.identifiers) == 3
    assert [identifier.matches(certificate("p256b")) for identifier in found.identifiers] == [False, True, False]
    assert found.recover(1, credential("p256b"), 32, ()) == KEY
    assert found.recover(2, credential("p256"), 32, ()) == KEY
    assert found.recover(2, credential("p256b"), 32, ()) != KEY


def test_the_table_has_every_scheme_of_the_rfcs() -> None:
    """Standard and cofactor ECDH with every digest of X9.63 (RFC 5753 7.1.4), and HKDF (RFC 8418 2.2)."""
    x963 = [f"{family}Sha{n}kdf" for family in ("Std", "CofactorDh") for n in (1, 224, 256, 384, 512)]
    hkdf = [f"StdHkdfSha{n}" for n in (256, 384, 512)]
    assert {oids.name(oid) for oid in SCHEMES} == {f"dhSinglePass{scheme}" for scheme in (*x963, *hkdf)}


@pytest.mark.requirement("R5753-3.1.1-01", "R8418-2-01")
@pytest.mark.parametrize("scheme", [pytest.param(oid, id=oids.name(oid)) for oid in SCHEMES])
@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "x25519", "x448"])
@pytest.mark.parametrize("wrap", [oids.AES128_WRAP, oids.AES192_WRAP, oids.AES256_WRAP])
@pytest.mark.parametrize("ukm", [None, b"", b"0123456789"])
def test_every_scheme_and_wrap_is_read(scheme: str, kind: str, wrap: str, ukm: bytes | None) -> None:
    recipient = kari(
        [(named(kind), kind)],
        key=KINDS[kind](),
        scheme=scheme,
        wrap=der.sequence(der.oid(wrap)),
        ukm=ukm,
        key_length=WRAPS[wrap].length,
    )
    (found,) = parsed(recipient)
    assert found.recover(0, credential(kind), 32, ()) == KEY


def test_a_wrap_with_null_parameters_is_read_as_it_is() -> None:
    (found,) = parsed(kari([(named("p256"), "p256")], wrap=der.sequence(der.oid(oids.AES256_WRAP), der.null())))
    assert found.recover(0, credential("p256"), 32, ()) == KEY


@pytest.mark.requirement("R5753-3.1.1-01")
@pytest.mark.parametrize(
    ("parameters", "works"),
    [
        (b"", True),
        (der.null(), True),
        (der.oid(oids.SECP256R1), True),
        (der.oid(oids.SECP384R1), False),
        (der.sequence(der.integer(1)), False),
    ],
)
def test_the_curve_of_the_originator_may_be_said_or_not(parameters: bytes, works: bool) -> None:
    (found,) = parsed(kari([(named("p256"), "p256")], ec_parameters=parameters))
    assert (found.recover(0, credential("p256"), 32, ()) == KEY) is works


def test_compressed_points_are_read() -> None:
    (found,) = parsed(kari([(named("p256"), "p256")], compressed=True))
    assert found.recover(0, credential("p256"), 32, ()) == KEY


@pytest.mark.requirement("R5753-3.1.1-01")
def test_a_point_off_the_curve_gives_some_other_key() -> None:
    (found,) = parsed(kari([(named("p256"), "p256")]))
    point = found.originator.point[:-1] + bytes([found.originator.point[-1] ^ 1])
    for wrong in (point, b"\0", b"", b"\x06" + found.originator.point[1:], b"\x04" + bytes(64)):
        changed = replace(found, originator=replace(found.originator, point=wrong))
        other = changed.recover(0, credential("p256"), 32, ())
        assert len(other) == 32
        assert other != KEY


@pytest.mark.requirement("R8418-2-01")
def test_a_point_of_low_order_gives_some_other_key() -> None:
    (found,) = parsed(build_recipient(KEY, certificate("x25519")))
    low = [
        bytes(32),
        b"\x01" + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    ]
    for point in low:
        changed = replace(found, originator=replace(found.originator, point=point))
        other = changed.recover(0, credential("x25519"), 32, ())
        assert len(other) == 32
        assert other != KEY


@pytest.mark.requirement("R5652-6.2.2-01")
@pytest.mark.parametrize("form", ["issuer and serial", "key identifier"])
def test_the_originator_may_be_a_certificate_in_the_message(form: str) -> None:
    sender = certificate("p256b")
    originator = named("p256b") if form == "issuer and serial" else der.tlv(0x80, sender.ski or b"")
    (found,) = parsed(kari([(named("p256"), "p256")], originator=originator, key=credential("p256b").key))
    assert found.recover(0, credential("p256"), 32, (certificate("p384"), sender)) == KEY
    assert found.recover(0, credential("p256"), 32, ()) != KEY


def test_an_originator_key_of_another_kind_gives_some_other_key() -> None:
    point = x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()
    (found,) = parsed(kari([(named("p256"), "p256")]))
    other = OriginatorPublicKey(algorithm_identifier(oids.X25519), point)
    for kind in ("p256", "x25519", "rsa2048"):
        assert replace(found, originator=other).recover(0, credential(kind), 32, ()) != KEY


@pytest.mark.parametrize("kind", ["p256", "x25519"])
def test_the_key_in_a_kari_has_the_length_that_is_needed(kind: str) -> None:
    (found,) = parsed(build_recipient(KEY, certificate(kind)))
    assert len(found.recover(0, credential(kind), 16, ())) == 16


# --- others ----------------------------------------------------------------------------------------------------------

KEK = der.tlv(
    context(2),
    der.integer(4),
    der.sequence(der.octet_string(b"shared")),
    der.sequence(der.oid(oids.AES128_WRAP)),
    der.octet_string(bytes(24)),
)
PASSWORD = der.tlv(
    context(3),
    der.integer(0),
    der.sequence(der.oid("1.2.840.113549.1.9.16.3.9")),
    der.octet_string(bytes(24)),
)
OTHER = der.tlv(context(4), der.oid("1.2.840.113549.1.9.16.13.1"), der.sequence())
UNKNOWN = der.tlv(context(7), der.null())


@pytest.mark.requirement("R5652-6.2-01")
def test_kinds_that_are_not_used_are_seen_and_passed_over() -> None:
    ours = build_recipient(KEY, certificate("rsa2048"))
    found = parsed(KEK, PASSWORD, OTHER, UNKNOWN, ours)
    assert [one.kind for one in found] == ["kekri", "pwri", "ori", "unknown", "ktri"]
    assert [one.version for one in found] == [4, 0, None, None, 0]
    assert found[2].management == "1.2.840.113549.1.9.16.13.1"
    for one in found[:4]:
        assert one.identifiers == ()
        assert not recipient_matches(one, certificate("rsa2048"))
        with pytest.raises(Unsupported):
            one.recover(0, credential("rsa2048"), 32, ())
    assert recipient_matches(found[4], certificate("rsa2048"))


@pytest.mark.requirement("R5652-6.2-01")
@pytest.mark.parametrize(
    "broken",
    [
        der.sequence(),
        der.sequence(der.integer(0)),
        der.sequence(der.null()),
        der.tlv(context(1)),
        der.tlv(context(1), der.integer(3), der.explicit(0, der.null())),
        der.tlv(context(2)),
        der.tlv(context(3), der.null()),
        der.tlv(context(4)),
        der.null(),
    ],
)
def test_a_broken_recipient_does_not_hide_the_others(broken: bytes) -> None:
    found = parsed(broken, build_recipient(KEY, certificate("p256")))
    assert isinstance(found[0], OtherRecipient)
    assert found[0].kind == "unknown"
    assert found[0].raw == broken
    assert found[1].recover(0, credential("p256"), 32, ()) == KEY


def test_something_else_than_a_set_is_malformed() -> None:
    for wrong in (der.sequence(), der.tlv(der.SET, b"\x30\x05"), b""):
        with pytest.raises(MalformedMessage):
            parse_recipients(Reader(wrong))
