"""RFC 9629 and 9936: KEMRecipientInfo with ML-KEM, read and written.

No independent program here does ML-KEM: OpenSSL 3.0 has none, Bouncy Castle 1.72 only its forerunner. The judges are
the RFC's own example, whose secret is given, and messages of others with the same structure and another KEM.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from hypothesis import given
from hypothesis import strategies as st

from domsec import der, oids
from domsec.cms.algorithms import algorithm_identifier
from domsec.cms.attributes import is_distinguished
from domsec.cms.certificates import IssuerAndSerialNumber, SubjectKeyIdentifier
from domsec.cms.enveloped_data import decrypt, encrypt, parse_enveloped
from domsec.cms.recipients import build_recipient, kem, parse_recipients, recipient_matches
from domsec.cms.recipients.kem import Encapsulation, derive, other_info
from domsec.cms.recipients.key_wrap import WRAP_OF_SIZE, WRAPS
from domsec.cms.recipients.other import OtherRecipient
from domsec.der import Reader, context
from domsec.errors import DecryptionFailed, KeyUnusable, MalformedMessage, StoreUnavailable, Unsupported
from envelope_keys import NamedByTheMessage, certificate, credential, parse, value_of

KEY = bytes(range(32))
CONTENT = b"Content-Type: text/plain\r\n\r\nfor your eyes\r\n"
KINDS = {"mlkem768": (oids.ML_KEM_768, 1088), "mlkem1024": (oids.ML_KEM_1024, 1568)}


def parsed(raw: bytes) -> Encapsulation:
    (found,) = parse_recipients(Reader(der.tlv(der.SET, raw)))
    assert isinstance(found, Encapsulation)
    return found


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_key_identifier", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_what_the_rfc_asks_for(kind: str, by_key_identifier: bool) -> None:
    raw = build_recipient(KEY, certificate(kind), by_key_identifier=by_key_identifier)
    assert is_distinguished(raw)
    found = parsed(raw)
    oid, size = KINDS[kind]
    assert (found.kind, found.version, found.length, found.ukm) == ("ori", 0, 32, None)
    assert (found.kem.oid, found.kem.parameters, len(found.ciphertext)) == (oid, None, size)
    assert (found.kdf.oid, found.kdf.parameters) == (oids.ALG_HKDF_WITH_SHA256, None)
    assert found.wrap.raw == WRAP_OF_SIZE[32]
    assert isinstance(found.identifier, SubjectKeyIdentifier if by_key_identifier else IssuerAndSerialNumber)
    assert recipient_matches(found, certificate(kind))
    assert not recipient_matches(found, certificate("mlkem768b"))
    assert found.recover(0, credential(kind), 32, ()) == KEY


@pytest.mark.parametrize("size", [16, 24, 32])
def test_the_wrap_is_as_strong_as_the_kem_whatever_the_content_key(size: int) -> None:
    found = parsed(build_recipient(KEY[:size], certificate("mlkem768")))
    assert found.wrap.oid == oids.AES256_WRAP
    assert found.recover(0, credential("mlkem768"), size, ()) == KEY[:size]


@pytest.mark.requirement("R5652-6.1-01")
@pytest.mark.parametrize(("cipher", "version"), [("aes256-cbc", 3), ("aes256-gcm", 0)])
def test_the_version_around_it(cipher: str, version: int) -> None:
    message = parse(encrypt(CONTENT, [certificate("mlkem768"), certificate("rsa2048")], cipher=cipher))
    assert message.version == version


@pytest.mark.requirement("R3183-4-02")
@pytest.mark.parametrize("cipher", ["aes128-gcm", "aes256-gcm", "aes256-cbc"])
def test_classical_and_post_quantum_recipients_of_one_message(cipher: str) -> None:
    managements = {
        "rsa2048": "rsa-oaep",
        "mlkem768": "ml-kem-768",
        "p256": "ecdh-sha256kdf",
        "mlkem1024": "ml-kem-1024",
        "mlkem768b": "ml-kem-768",
    }
    message = parse(encrypt(CONTENT, [certificate(kind) for kind in managements], cipher=cipher))
    for kind, management in managements.items():
        opened = decrypt(message, [credential(kind)])
        assert (opened.plaintext, opened.management) == (CONTENT, management)
    with pytest.raises(DecryptionFailed):
        decrypt(message, [credential("mlkem768")], refused={"ml-kem-768"})


# --- what others write -----------------------------------------------------------------------------------------------


def test_the_example_of_rfc_9936() -> None:
    """Its KEM is ML-KEM-512, which cannot be loaded here; from the shared secret on, all is reproduced."""
    secret = bytes.fromhex("7df12d412ae299a24fde6d7c3bb8e3194c80ad3c733dcf2775e09fe8bedb86d8")
    assert other_info(WRAP_OF_SIZE[16], 16, None).hex() == "3010300b0609608648016503040105020110"
    key = derive(secret, oids.ALG_HKDF_WITH_SHA256, WRAP_OF_SIZE[16], 16)
    assert key.hex() == "cf453a3e2bae0a78701b8206c185a008"
    wrapped = bytes.fromhex("c050e4392f9c14dd0ac2220203f317d701f94f9dd92778f5")
    assert WRAPS[oids.AES128_WRAP].unwrap(key, wrapped).hex() == "c5153005588269a0a59f3c01943fdd56"


@pytest.mark.parametrize("ukm", [None, b"", b"keying material"])
@pytest.mark.parametrize("size", [16, 24, 32])
@pytest.mark.parametrize("kdf", [oids.ALG_HKDF_WITH_SHA256, oids.ALG_HKDF_WITH_SHA384, oids.ALG_HKDF_WITH_SHA512])
def test_other_choices_of_others_are_read(kdf: str, size: int, ukm: bytes | None) -> None:
    secret, ciphertext = credential("mlkem768").key.public_key().encapsulate()
    wrapped = aes_key_wrap(derive(secret, kdf, WRAP_OF_SIZE[size], size, ukm), KEY)
    written = kemri(ciphertext, wrapped, kdf=kdf, wrap=WRAP_OF_SIZE[size], size=size, ukm=ukm)
    assert parsed(written).recover(0, credential("mlkem768"), 32, ()) == KEY


def kemri(ciphertext: bytes, wrapped: bytes, *, kdf: str, wrap: bytes, size: int, ukm: bytes | None) -> bytes:
    return der.tlv(
        context(4),
        der.oid("1.2.840.113549.1.9.16.13.3"),
        der.sequence(
            der.integer(0),
            der.tlv(context(0, constructed=False), certificate("mlkem768").ski or b""),
            der.sequence(der.oid("2.16.840.1.101.3.4.4.2")),
            der.octet_string(ciphertext),
            der.sequence(der.oid(kdf)),
            der.integer(size),
            b"" if ukm is None else der.explicit(0, der.octet_string(ukm)),
            wrap,
            der.octet_string(wrapped),
        ),
    )


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "oid", "ukm"),
    [
        ("rfc-structures/rfc9629.EnveopedDataRSAKEMTestCase.pem_text.der", "1.0.18033.2.2.4", None),
        ("cms-lib-fixtures/rustcrypto-cms/examples/1.3.6.1.4.1.22554.5.6.1_ML-KEM-512-ipd_kemri_ukm.der",
         "1.3.6.1.4.1.22554.5.6.1", b"This is some User Keying Material\n"),
    ],
)  # fmt: skip
def test_a_kem_that_is_not_ours_is_read_and_named(shared: Path, file: str, oid: str, ukm: bytes | None) -> None:
    message = parse_enveloped(*value_of((shared / "corpora" / file).read_bytes()))
    (found,) = message.recipients
    assert isinstance(found, Encapsulation)
    assert (found.management, found.kem.oid, found.ukm) == (oid, oid, ukm)
    with contextlib.suppress(DecryptionFailed):
        # one key in 256 that is drawn anew: what CBC makes of the content happens to end in padding
        opened = decrypt(message, [NamedByTheMessage(credential("mlkem768").key, found.identifier)])
        assert not opened.authenticated
        assert b"Hello" not in bytes(opened.plaintext)


# --- no oracle -------------------------------------------------------------------------------------------------------


def flip(octets: bytes, at: int) -> bytes:
    changed = bytearray(octets)
    changed[at] ^= 1
    return bytes(changed)


CHANGES: dict[str, Callable[[Encapsulation], Encapsulation]] = {
    "ciphertext": lambda r: replace(r, ciphertext=flip(r.ciphertext, 500)),
    "ciphertext, end": lambda r: replace(r, ciphertext=flip(r.ciphertext, -1)),
    "ciphertext shorter": lambda r: replace(r, ciphertext=r.ciphertext[:-1]),
    "ciphertext longer": lambda r: replace(r, ciphertext=r.ciphertext + b"\x00"),
    "no ciphertext": lambda r: replace(r, ciphertext=b""),
    "ciphertext for the other set": lambda r: replace(r, ciphertext=bytes(1568)),
    "encrypted key": lambda r: replace(r, encrypted_key=flip(r.encrypted_key, 3)),
    "no encrypted key": lambda r: replace(r, encrypted_key=b""),
    "long encrypted key": lambda r: replace(r, encrypted_key=bytes(4096)),
    "ukm": lambda r: replace(r, ukm=b"other"),
    "kem": lambda r: replace(r, kem=algorithm_identifier(oids.ML_KEM_1024)),
    "kem with parameters": lambda r: replace(r, kem=algorithm_identifier(oids.ML_KEM_768, der.null())),
    "unknown kem": lambda r: replace(r, kem=algorithm_identifier("1.2.3")),
    "kdf": lambda r: replace(r, kdf=algorithm_identifier(oids.ALG_HKDF_WITH_SHA512)),
    "kdf with parameters": lambda r: replace(r, kdf=algorithm_identifier(oids.ALG_HKDF_WITH_SHA256, der.null())),
    "unknown kdf": lambda r: replace(r, kdf=algorithm_identifier("1.2.3")),
    "wrap": lambda r: replace(r, wrap=algorithm_identifier(oids.AES128_WRAP)),
    "wrap and length": lambda r: replace(r, wrap=algorithm_identifier(oids.AES128_WRAP), length=16),
    "unknown wrap": lambda r: replace(r, wrap=algorithm_identifier("1.2.3")),
    "wrap with parameters": lambda r: replace(r, wrap=algorithm_identifier(oids.AES256_WRAP, der.null())),
    "length": lambda r: replace(r, length=31),
    "length of nothing": lambda r: replace(r, length=0),
    "negative length": lambda r: replace(r, length=-32),
    "absurd length": lambda r: replace(r, length=1 << 62),
}


@pytest.mark.requirement("R3218-2.3-01")
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_has_the_same_outcome(change: str) -> None:
    message = parse(encrypt(CONTENT, [certificate("mlkem768")]))
    (recipient,) = message.recipients
    assert isinstance(recipient, Encapsulation)
    changed = CHANGES[change](recipient)
    assert len(changed.recover(0, credential("mlkem768"), 32, ())) == 32
    reference = DecryptionFailed()
    with pytest.raises(DecryptionFailed) as caught:
        decrypt(replace(message, recipients=(changed,)), [credential("mlkem768")])
    error = caught.value
    assert (type(error), str(error), error.args, vars(error)) == (
        DecryptionFailed, str(reference), reference.args, vars(reference),
    )  # fmt: skip
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.requirement("R3218-2.3-01")
def test_the_same_message_has_the_same_fate_every_time() -> None:
    (recipient,) = parse(encrypt(CONTENT, [certificate("mlkem768")], cipher="aes256-cbc")).recipients
    assert isinstance(recipient, Encapsulation)
    for name in ("ciphertext", "encrypted key", "ukm"):
        changed = CHANGES[name](recipient)
        keys = {changed.recover(0, credential("mlkem768"), 32, ()) for _ in range(5)}
        assert len(keys) == 1
        assert keys != {recipient.recover(0, credential("mlkem768"), 32, ())}


def test_with_the_key_of_another_nothing_opens() -> None:
    message = parse(encrypt(CONTENT, [certificate("mlkem768")]))
    (recipient,) = message.recipients
    for kind in ("mlkem768b", "mlkem1024", "rsa2048", "p256", "ed25519"):
        with pytest.raises(DecryptionFailed):
            decrypt(message, [NamedByTheMessage(credential(kind).key, recipient.identifiers[0])])
        assert len(recipient.recover(0, credential(kind), 32, ())) == 32


def test_a_key_store_that_does_not_answer_is_no_failure_of_the_message() -> None:
    class Away:
        certificate = certificate("mlkem768")
        chain = ()

        def decapsulate(self, ciphertext: bytes) -> bytes:
            raise StoreUnavailable("the token is away")

    with pytest.raises(StoreUnavailable):
        decrypt(parse(encrypt(CONTENT, [certificate("mlkem768")])), [Away()])  # type: ignore[list-item]


def test_the_private_key_says_only_what_everybody_sees() -> None:
    own = credential("mlkem768")
    assert len(own.decapsulate(bytes(1088))) == 32
    for wrong in (b"", bytes(1087), bytes(1568)):
        with pytest.raises(KeyUnusable, match="length"):
            own.decapsulate(wrong)
    with pytest.raises(KeyUnusable, match="ML-KEM"):
        credential("rsa2048").decapsulate(bytes(1088))


# --- what is none ----------------------------------------------------------------------------------------------------


def test_a_broken_one_is_passed_over() -> None:
    whole = build_recipient(KEY, certificate("mlkem768"))
    inside = bytes(Reader(whole).content(context(4)))
    oid, body = inside[:13], bytes(Reader(inside[13:]).content(der.SEQUENCE))
    for broken in (b"", body[:40], body[:-34], body + b"\x05\x00", body.replace(b"\x02\x01\x20", b"\x05\x00")):
        raw = der.tlv(context(4), oid, der.sequence(broken))
        ours = build_recipient(KEY, certificate("p256"))
        found = parse_recipients(Reader(der.tlv(der.SET, raw, ours)))
        assert isinstance(found[0], OtherRecipient)
        assert found[1].recover(0, credential("p256"), 32, ()) == KEY


RAW = build_recipient(KEY, certificate("mlkem768"))


@given(at=st.integers(0, len(RAW) - 1), bits=st.integers(1, 255))
def test_no_change_of_one_octet_raises_anything_else(at: int, bits: int) -> None:
    changed = bytearray(RAW)
    changed[at] ^= bits
    try:
        found = parse_recipients(Reader(der.tlv(der.SET, bytes(changed))))
    except MalformedMessage:
        return  # the outermost length
    for one in found:
        if one.identifiers:
            assert len(one.recover(0, credential("mlkem768"), 32, ())) == 32


def test_only_a_kem_key_is_encapsulated_to() -> None:
    with pytest.raises(Unsupported):
        kem.build(KEY, certificate("rsa2048"))
