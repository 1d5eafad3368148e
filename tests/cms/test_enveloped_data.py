"""RFC 5652 section 6, RFC 5083 and 5084: what goes in comes out, for those it is meant for, or nothing does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from domsec import der, oids
from domsec.cms.attributes import content_type, is_distinguished, parse_attributes, signing_time
from domsec.cms.encrypted_content import CIPHERS_BY_NAME
from domsec.cms.enveloped_data import (
    addressed_to,
    decrypt,
    encrypt,
    envelope_version,
    is_outdated,
    parse_enveloped,
    recipient_matches,
    take_over,
)
from domsec.cms.recipients import build_recipient
from domsec.errors import DecryptionFailed, LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import Limits
from envelope_keys import certificate, credential, parse, value_of

CONTENT = b"Content-Type: text/plain\r\n\r\nfor your eyes\r\n"
GCM = ("aes128-gcm", "aes192-gcm", "aes256-gcm")
CBC = ("aes128-cbc", "aes192-cbc", "aes256-cbc")
TYPE = dict.fromkeys(GCM, oids.ID_CT_AUTH_ENVELOPED_DATA) | dict.fromkeys(CBC, oids.ID_ENVELOPED_DATA)


def auth_enveloped(
    key: bytes,
    nonce: bytes,
    sealed: bytes,
    *,
    mac: bytes | None = None,
    parameters: bytes | None = None,
    attributes: bytes = b"",
    content_type: str = oids.ID_DATA,
    to: str = "p256",
    cipher: str = oids.AES128_GCM,
) -> bytes:
    """An AuthEnvelopedData value as somebody else may write it; `sealed` is ciphertext and tag together."""
    if parameters is None:
        parameters = der.sequence(der.octet_string(nonce), der.integer(16))
    return der.sequence(
        der.integer(0),
        der.set_of([build_recipient(key, certificate(to))]),
        der.sequence(
            der.oid(content_type),
            der.sequence(der.oid(cipher), parameters),
            der.tlv(der.context(0, constructed=False), sealed[:-16]),
        ),
        attributes,
        der.octet_string(sealed[-16:] if mac is None else mac),
    )


# --- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R8551-2.3-01")
@pytest.mark.parametrize("by_key_identifier", [False, True])
@pytest.mark.parametrize("cipher", [*GCM, *CBC])
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "p521", "x25519", "x448", "mlkem768", "mlkem1024"])
def test_what_was_encrypted_is_decrypted(kind: str, cipher: str, by_key_identifier: bool) -> None:
    message = encrypt(CONTENT, [certificate(kind)], cipher=cipher, by_key_identifier=by_key_identifier)

    content_type, value = value_of(message)
    assert content_type == TYPE[cipher]
    opened = decrypt(parse_enveloped(content_type, value), [credential(kind)])
    assert opened.plaintext == CONTENT
    assert isinstance(opened.plaintext, bytes)
    assert opened.cipher == cipher
    assert opened.authenticated is (cipher in GCM)
    assert opened.credential is credential(kind)
    assert opened.content_type == oids.ID_DATA


@pytest.mark.parametrize(
    ("kind", "options", "management"),
    [
        ("rsa2048", {}, "rsa-oaep"),
        ("rsa2048", {"key_transport": "pkcs1v15"}, "rsa-pkcs1v15"),
        ("rsa1024", {}, "rsa-oaep"),
        ("p256", {}, "ecdh-sha256kdf"),
        ("p384", {}, "ecdh-sha384kdf"),
        ("p521", {}, "ecdh-sha512kdf"),
        ("x25519", {}, "ecdh-hkdf-sha256"),
        ("x448", {}, "ecdh-hkdf-sha512"),
        ("mlkem768", {}, "ml-kem-768"),
        ("mlkem1024", {}, "ml-kem-1024"),
    ],
)
def test_the_key_of_the_recipient_decides_how_it_gets_the_content_key(
    kind: str, options: dict, management: str
) -> None:
    opened = decrypt(parse(encrypt(CONTENT, [certificate(kind)], **options)), [credential(kind)])
    assert opened.management == management


@pytest.mark.requirement("R3183-4-02", "R3183-4.2-02")
def test_each_of_several_recipients_can_open_it() -> None:
    kinds = ["rsa2048", "p256", "x25519", "p384", "rsa3072", "p256b"]
    message = parse(encrypt(CONTENT, [certificate(kind) for kind in kinds]))
    assert len(message.recipients) == len(kinds)
    for kind in kinds:
        assert decrypt(message, [credential(kind)]).plaintext == CONTENT


def test_a_recipient_named_twice_gets_one_recipient_info() -> None:
    message = parse(encrypt(CONTENT, [certificate("p256"), certificate("p256")]))
    assert len(message.recipients) == 1


@settings(deadline=None, max_examples=60)
@given(content=st.binary(max_size=300), cipher=st.sampled_from([*GCM, *CBC]))
def test_any_content_survives(content: bytes, cipher: str) -> None:
    assert decrypt(
        parse(encrypt(content, [certificate("x25519")], cipher=cipher)), [credential("x25519")]
    ).plaintext == (content)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 127, 128, 65535, 65536, 1 << 20])
@pytest.mark.parametrize("cipher", ["aes256-gcm", "aes256-cbc"])
def test_content_of_any_length(count: int, cipher: str) -> None:
    content = bytes(range(256)) * (count // 256 + 1)
    content = content[:count]
    message = encrypt(memoryview(content), [certificate("x25519")], cipher=cipher)
    assert decrypt(parse(message), [credential("x25519")]).plaintext == content


def test_what_is_written_is_der() -> None:
    for cipher in (*GCM, *CBC):
        for kinds in (["p256", "rsa2048", "x25519"], ["rsa2048"]):
            assert is_distinguished(encrypt(CONTENT, [certificate(kind) for kind in kinds], cipher=cipher))


def test_only_certificates_that_can_be_encrypted_to() -> None:
    with pytest.raises(Unsupported):
        encrypt(CONTENT, [certificate("ed25519")])
    with pytest.raises(Unsupported):
        encrypt(CONTENT, [certificate("brainpool")])


@pytest.mark.requirement("R5652-6.1-02")
def test_a_message_for_nobody_is_not_made_and_not_opened() -> None:
    with pytest.raises(ValueError, match="nobody"):
        encrypt(CONTENT, [])
    value = der.sequence(
        der.integer(0),
        der.set_of([]),
        der.sequence(der.oid(oids.ID_DATA), der.sequence(der.oid(oids.AES128_CBC), der.octet_string(bytes(16)))),
    )
    with pytest.raises(DecryptionFailed):
        decrypt(parse_enveloped(oids.ID_ENVELOPED_DATA, value), [credential("p256")])


@pytest.mark.requirement("R8551-2.3-02")
@pytest.mark.parametrize("cipher", [*GCM, *CBC])
def test_the_key_wrap_is_of_the_size_of_the_content_key(cipher: str) -> None:
    (recipient,) = parse(encrypt(CONTENT, [certificate("p256")], cipher=cipher)).recipients
    wrap = {16: oids.AES128_WRAP, 24: oids.AES192_WRAP, 32: oids.AES256_WRAP}[CIPHERS_BY_NAME[cipher].key_length]
    assert recipient.algorithm.parameters == der.sequence(der.oid(wrap))


def test_weak_ciphers_are_not_written() -> None:
    with pytest.raises(ValueError, match="not used"):
        encrypt(CONTENT, [certificate("p256")], cipher="des-ede3-cbc")


# --- originatorInfo and versions -------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-5-07", "R5652-6.1-01")
@pytest.mark.parametrize(("cipher", "version"), [("aes256-gcm", 0), ("aes256-cbc", 2)])
def test_the_encrypting_authority_describes_itself(cipher: str, version: int) -> None:
    chain = (certificate("p256"), certificate("p384"))
    message = parse(encrypt(CONTENT, [certificate("rsa2048")], cipher=cipher, originator_certificates=chain))
    assert set(message.originator_certificates) == set(chain)
    assert message.version == version
    assert decrypt(message, [credential("rsa2048")]).plaintext == CONTENT


@pytest.mark.requirement("R5652-6.1-01")
@pytest.mark.parametrize(
    ("kinds", "options", "version"),
    [
        (["rsa2048"], {}, 0),
        (["rsa2048", "rsa3072"], {}, 0),
        (["rsa2048"], {"by_key_identifier": True}, 2),
        (["p256"], {}, 2),
        (["rsa2048", "p256"], {}, 2),
        (["rsa2048"], {"originator_certificates": ("p256",)}, 2),
    ],
)
def test_the_version_of_enveloped_data(kinds: list[str], options: dict, version: int) -> None:
    options = dict(options)
    if "originator_certificates" in options:
        options["originator_certificates"] = [certificate(kind) for kind in options["originator_certificates"]]
    message = encrypt(CONTENT, [certificate(kind) for kind in kinds], cipher="aes128-cbc", **options)
    assert parse(message).version == version


@pytest.mark.requirement("R5652-6.1-01")
def test_a_password_or_another_recipient_makes_it_version_three() -> None:
    password = der.tlv(der.context(3), der.integer(0))
    other = der.tlv(der.context(4), der.oid("1.2.3"))
    transport = build_recipient(bytes(32), certificate("rsa2048"))
    assert envelope_version([transport, password]) == 3
    assert envelope_version([transport, other], originator_information=True) == 3
    assert envelope_version([transport], unprotected_attributes=True) == 2
    assert envelope_version([transport]) == 0


def test_broken_originator_certificates_are_passed_over() -> None:
    kind, value = value_of(encrypt(CONTENT, [certificate("p256")]))
    parts = _split(value)
    originator = der.explicit(
        0,
        der.explicit(0, certificate("p384").der, der.sequence(b"\x05\x00"), der.tlv(0xA1, b"\x05\x00")),
        der.tlv(0xA1),
    )
    message = parse_enveloped(kind, der.sequence(parts[0], originator, *parts[1:]))
    assert message.originator_certificates == (certificate("p384"),)
    assert decrypt(message, [credential("p256")]).plaintext == CONTENT


# --- authenticated attributes ----------------------------------------------------------------------------------------

EXTRA = signing_time(datetime(2026, 11, 23, 12, tzinfo=UTC))


@pytest.mark.requirement("R5083-2.1-01")
def test_a_content_that_is_not_data_carries_its_type_authenticated() -> None:
    message = parse(encrypt(b"\x30\x00", [certificate("p256")], content_type=oids.ID_SIGNED_DATA))
    assert message.auth_attributes is not None
    assert message.auth_attributes.raw == content_type(oids.ID_SIGNED_DATA).raw
    assert decrypt(message, [credential("p256")]).content_type == oids.ID_SIGNED_DATA

    for changed in (
        replace(message, content_type=oids.ID_DATA),
        replace(message, content_type=oids.ID_ENVELOPED_DATA),
        replace(message, auth_attributes=None),
    ):
        assert_fails(changed, "p256")


@pytest.mark.requirement("R5083-2.1-01")
def test_attributes_are_authenticated_under_the_tag_of_a_set() -> None:
    message = parse(encrypt(CONTENT, [certificate("p256")], auth_attributes=[EXTRA]))
    assert message.auth_attributes == parse_attributes(EXTRA.raw)
    assert decrypt(message, [credential("p256")]).plaintext == CONTENT
    assert_fails(replace(message, auth_attributes=parse_attributes(EXTRA.raw.replace(b"26", b"27"))), "p256")
    assert_fails(replace(message, auth_attributes=None), "p256")


def test_cbc_has_no_place_for_attributes() -> None:
    with pytest.raises(ValueError, match="authenticates no"):
        encrypt(CONTENT, [certificate("p256")], cipher="aes128-cbc", auth_attributes=[EXTRA])


def test_attributes_count_in_the_order_of_der() -> None:
    attributes = [EXTRA.raw, content_type(oids.ID_DATA).raw]
    assert sorted(attributes) != attributes
    key, nonce = bytes(16), bytes(12)
    sealed = AESGCM(key).encrypt(nonce, CONTENT, der.set_of(attributes))
    value = auth_enveloped(key, nonce, sealed, attributes=der.tlv(0xA1, *attributes))
    message = parse_enveloped(oids.ID_CT_AUTH_ENVELOPED_DATA, value)
    assert decrypt(message, [credential("p256")]).plaintext == CONTENT


# --- tags, nonces, parameters ----------------------------------------------------------------------------------------


@pytest.mark.requirement("R5084-3.2-01")
@pytest.mark.parametrize("tag_length", [12, 13, 14, 15, 16])
def test_tags_of_twelve_to_sixteen_octets_are_read(tag_length: int) -> None:
    key, nonce = bytes(range(16)), b"n" * 12
    sealed = AESGCM(key).encrypt(nonce, CONTENT, b"")
    said = b"" if tag_length == 12 else der.integer(tag_length)  # twelve is the default
    value = auth_enveloped(
        key, nonce, sealed, mac=sealed[-16:][:tag_length], parameters=der.sequence(der.octet_string(nonce), said)
    )
    message = parse_enveloped(oids.ID_CT_AUTH_ENVELOPED_DATA, value)
    assert decrypt(message, [credential("p256")]).plaintext == CONTENT


@pytest.mark.requirement("R5084-3.2-01")
@pytest.mark.parametrize(
    ("said", "sent"),
    [(16, 12), (16, 15), (12, 16), (11, 11), (4, 4), (1, 1), (0, 0), (17, 16), (-1, 0), (16, 0), (16, 17)],
)
def test_a_tag_of_another_length_than_said_or_allowed_is_refused(said: int, sent: int) -> None:
    key, nonce = bytes(16), bytes(12)
    sealed = AESGCM(key).encrypt(nonce, CONTENT, b"")
    value = auth_enveloped(
        key,
        nonce,
        sealed,
        mac=(sealed[-16:] + b"\0")[:sent],
        parameters=der.sequence(der.octet_string(nonce), der.integer(said)),
    )
    assert_fails(parse_enveloped(oids.ID_CT_AUTH_ENVELOPED_DATA, value), "p256")


@pytest.mark.parametrize(
    "parameters",
    [
        b"",
        der.null(),
        der.octet_string(bytes(12)),
        der.sequence(),
        der.sequence(der.octet_string(b"")),
        der.sequence(der.octet_string(bytes(7)), der.integer(16)),
        der.sequence(der.octet_string(bytes(129)), der.integer(16)),
        der.sequence(der.octet_string(bytes(12)), der.integer(16), der.null()),
        der.sequence(der.octet_string(bytes(12)), der.integer(1 << 16000)),  # more digits than Python prints
    ],
)
def test_gcm_without_proper_parameters_is_refused(parameters: bytes) -> None:
    sealed = AESGCM(bytes(16)).encrypt(bytes(12), CONTENT, b"")
    value = auth_enveloped(bytes(16), bytes(12), sealed, parameters=parameters)
    assert_fails(parse_enveloped(oids.ID_CT_AUTH_ENVELOPED_DATA, value), "p256")


@pytest.mark.parametrize("length", [8, 16, 128])
def test_nonces_of_other_lengths_are_read(length: int) -> None:
    nonce = bytes(range(length))
    value = auth_enveloped(bytes(16), nonce, AESGCM(bytes(16)).encrypt(nonce, CONTENT, b""))
    message = parse_enveloped(oids.ID_CT_AUTH_ENVELOPED_DATA, value)
    assert decrypt(message, [credential("p256")]).plaintext == CONTENT


@pytest.mark.requirement("R5084-3.2-01")
def test_nonce_and_key_are_new_for_every_message() -> None:
    messages = [parse(encrypt(CONTENT, [certificate("p256")])) for _ in range(8)]
    assert len({message.algorithm.parameters for message in messages}) == 8
    assert len({bytes(message.ciphertext or b"") for message in messages}) == 8


def test_a_cipher_without_tag_is_refused_where_one_is_expected_and_the_other_way_round() -> None:
    gcm, cbc = (
        parse(encrypt(CONTENT, [certificate("p256")], cipher=cipher)) for cipher in ("aes128-gcm", "aes128-cbc")
    )
    assert_fails(replace(gcm, kind="enveloped"), "p256")
    assert_fails(replace(cbc, kind="auth_enveloped"), "p256")


# --- old ciphers -----------------------------------------------------------------------------------------------------


def cbc_message(cipher: str, key: bytes, sealed: bytes, iv: bytes, *, to: str = "rsa2048", **options: str) -> bytes:
    return der.sequence(
        der.integer(0),
        der.set_of([build_recipient(key, certificate(to), **options)]),
        der.sequence(
            der.oid(oids.ID_DATA),
            der.sequence(der.oid(cipher), der.octet_string(iv)),
            der.tlv(der.context(0, constructed=False), sealed),
        ),
    )


def test_triple_des_is_read_in_archives_only() -> None:
    key, iv = bytes(range(24)), bytes(8)
    padded = CONTENT + bytes([8 - len(CONTENT) % 8]) * (8 - len(CONTENT) % 8)
    sealed = Cipher(TripleDES(key), modes.CBC(iv)).encryptor().update(padded)
    message = parse_enveloped(oids.ID_ENVELOPED_DATA, cbc_message(oids.DES_EDE3_CBC, key, sealed, iv))
    assert is_outdated(message, [credential("rsa2048")])
    assert_fails(message, "rsa2048")
    opened = decrypt(message, [credential("rsa2048")], archive=True)
    assert (opened.plaintext, opened.cipher, opened.authenticated) == (CONTENT, "des-ede3-cbc", False)


def test_rc2_is_not() -> None:
    message = parse_enveloped(oids.ID_ENVELOPED_DATA, cbc_message(oids.RC2_CBC, bytes(16), bytes(16), bytes(8)))
    assert message.cipher == oids.RC2_CBC
    assert addressed_to(message, [credential("rsa2048")])
    assert_fails(message, "rsa2048")


# --- one outcome -----------------------------------------------------------------------------------------------------


def outcome(message: object, kind: str, **options: object) -> BaseException:
    with pytest.raises(DecryptionFailed) as caught:
        decrypt(message, [credential(kind)], **options)
    return caught.value


def assert_fails(message: object, kind: str, **options: object) -> None:
    """Fails, and in a way that cannot be told from any other failure."""
    error, reference = outcome(message, kind, **options), DecryptionFailed()
    assert type(error) is DecryptionFailed
    assert str(error) == str(reference)
    assert error.args == reference.args
    assert error.__cause__ is None
    assert error.__context__ is None
    assert not getattr(error, "__notes__", None)
    assert vars(error) == vars(reference)


def assert_garbled(message: object, kind: str) -> None:
    """With a wrong key the padding of CBC is right once in 256 times; that must not tell more than a failure does."""
    try:
        opened = decrypt(message, [credential(kind)])
    except DecryptionFailed as error:
        assert str(error) == str(DecryptionFailed())
        assert error.__context__ is None
        return
    assert opened.plaintext != CONTENT
    assert not opened.authenticated


def flip(octets: object, at: int) -> bytes:
    changed = bytearray(octets)  # type: ignore[call-overload]
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.requirement("R5652-6.3-01", "R5083-2-01", "R3218-2.3-01")
@pytest.mark.parametrize("padding", ["oaep", "pkcs1v15"])
@pytest.mark.parametrize("cipher", ["aes256-gcm", "aes256-cbc"])
def test_a_change_anywhere_has_the_same_outcome(cipher: str, padding: str) -> None:
    message = parse(encrypt(CONTENT, [certificate("rsa2048")], cipher=cipher, key_transport=padding))
    (recipient,) = message.recipients
    ciphertext = message.ciphertext
    assert ciphertext is not None
    changes = {
        "key": replace(message, recipients=(replace(recipient, encrypted_key=flip(recipient.encrypted_key, 100)),)),
        "key too short": replace(message, recipients=(replace(recipient, encrypted_key=b"\0"),)),
        "key too long": replace(message, recipients=(replace(recipient, encrypted_key=bytes(300)),)),
        "no key": replace(message, recipients=(replace(recipient, encrypted_key=b""),)),
        "cut": replace(message, ciphertext=ciphertext[:-1]),
        "empty": replace(message, ciphertext=b""),
        "absent": replace(message, ciphertext=None),
        "last block": replace(message, ciphertext=flip(ciphertext, -1)),
        "parameters": replace(message, algorithm=replace(message.algorithm, parameters=None)),
        "unknown cipher": replace(message, algorithm=replace(message.algorithm, oid="1.2.3")),
        "not for us": replace(message, recipients=()),
    }
    if cipher in GCM:
        changes["tag"] = replace(message, mac=flip(message.mac, 0))
        changes["first octet"] = replace(message, ciphertext=flip(ciphertext, 0))
    for name, changed in changes.items():
        if cipher in CBC and "key" in name:
            assert_garbled(changed, "rsa2048")
        elif cipher not in CBC or name != "last block":
            assert_fails(changed, "rsa2048")


@pytest.mark.requirement("R3218-2.3-01")
@pytest.mark.parametrize("length", [0, 1, 15, 16, 24, 31, 33, 48, 190])
@pytest.mark.parametrize("padding", ["oaep", "pkcs1v15"])
def test_a_content_key_of_another_length_has_the_same_outcome(length: int, padding: str) -> None:
    message = parse(encrypt(CONTENT, [certificate("rsa2048")]))
    wrong = parse_enveloped(
        oids.ID_ENVELOPED_DATA,
        cbc_message(oids.AES256_CBC, bytes(length), bytes(16), bytes(16), padding=padding),
    )
    assert_fails(replace(message, recipients=wrong.recipients), "rsa2048")


@pytest.mark.requirement("R5652-6.3-01")
def test_every_padding_octet_is_looked_at() -> None:
    key, iv = bytes(32), bytes(16)
    good = b"0123456789" + bytes([6]) * 6
    for at in range(10, 16):
        for value in (0, 1, 5, 7, 16, 17, 255):
            block = bytearray(good)
            block[at] = value
            if value == 1 and at == 15:
                continue  # which is a padding of one octet
            sealed = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(bytes(block))
            message = parse_enveloped(oids.ID_ENVELOPED_DATA, cbc_message(oids.AES256_CBC, key, sealed, iv))
            assert_fails(message, "rsa2048")


@pytest.mark.requirement("R3218-2.3-01")
def test_the_same_message_has_the_same_fate_every_time() -> None:
    """With a new random key for each try, one in 256 tries would come through the padding of CBC, and tell."""
    message = parse(encrypt(CONTENT, [certificate("rsa2048")], cipher="aes128-cbc", key_transport="pkcs1v15"))
    recipient = replace(message.recipients[0], encrypted_key=flip(message.recipients[0].encrypted_key, 17))
    keys = {recipient.recover(0, credential("rsa2048"), 16, ()) for _ in range(5)}
    assert len(keys) == 1
    assert {len(key) for key in keys} == {16}


class Counting:
    """A credential that counts, and whose private key gives what it is told to."""

    def __init__(self, kind: str, answer: Callable[[], bytes]) -> None:
        self.inner = credential(kind)
        self.certificate = self.inner.certificate
        self.chain = ()
        self.answer = answer
        self.calls = 0

    def sign(self, data: bytes, algorithm: object) -> bytes:
        raise NotImplementedError

    def decrypt(self, encrypted_key: bytes, algorithm: object) -> bytes:
        self.calls += 1
        return self.answer()

    def exchange(self, public_key: object) -> bytes:
        self.calls += 1
        return self.answer()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        self.calls += 1
        return self.answer()


@pytest.mark.requirement("R3218-2.3-01")
def test_the_content_is_decrypted_whatever_became_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    message = parse(encrypt(CONTENT, [certificate("rsa2048")]))
    mode = type(CIPHERS_BY_NAME["aes256-gcm"].mode)
    opened: list[int] = []
    original = mode.open

    def count(self: object, key: bytes, *rest: object) -> bytes | None:
        opened.append(len(key))
        return original(self, key, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(mode, "open", count)

    def fails() -> bytes:
        raise ValueError("no padding")

    for answer in (lambda: b"", lambda: bytes(32), lambda: bytes(1000), fails):
        with pytest.raises(DecryptionFailed):
            decrypt(message, [Counting("rsa2048", answer)])
    assert opened == [32, 32, 32, 32]


def test_a_key_store_that_does_not_answer_is_no_failure_of_the_message() -> None:
    from domsec.errors import StoreUnavailable

    def gone() -> bytes:
        raise StoreUnavailable("the token is away")

    for kind in ("rsa2048", "p256"):
        with pytest.raises(StoreUnavailable):
            decrypt(parse(encrypt(CONTENT, [certificate(kind)])), [Counting(kind, gone)])


@pytest.mark.parametrize("kind", ["p256", "x25519"])
def test_a_change_in_a_key_agreement_has_the_same_outcome(kind: str) -> None:
    message = parse(encrypt(CONTENT, [certificate(kind)]))
    (recipient,) = message.recipients
    originator, key = recipient.originator, recipient.keys[0]

    def with_point(point: bytes) -> object:
        return replace(message, recipients=(replace(recipient, originator=replace(originator, point=point)),))

    changed = [
        with_point(b""),
        with_point(bytes(len(originator.point))),  # zero: no shared secret (RFC 8418 2)
        with_point(originator.point[:-1]),
        with_point(flip(originator.point, -1)),  # P-256: not on the curve
        with_point(b"\x00"),
        replace(message, recipients=(replace(recipient, ukm=None),)),
        replace(message, recipients=(replace(recipient, ukm=b"other"),)),
        replace(message, recipients=(replace(recipient, algorithm=replace(recipient.algorithm, oid="1.2.3")),)),
        replace(message, recipients=(replace(recipient, algorithm=replace(recipient.algorithm, parameters=None)),)),
        replace(
            message,
            recipients=(
                replace(
                    recipient, algorithm=replace(recipient.algorithm, parameters=der.sequence(der.oid(oids.SHA256)))
                ),
            ),
        ),
        replace(message, recipients=(replace(recipient, keys=(replace(key, encrypted_key=b""),)),)),
        replace(
            message, recipients=(replace(recipient, keys=(replace(key, encrypted_key=flip(key.encrypted_key, 3)),)),)
        ),
        replace(message, recipients=(replace(recipient, keys=(replace(key, encrypted_key=bytes(4096)),)),)),
    ]
    for one in changed:
        assert_fails(one, kind)


# --- whose it is -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-4.3-01", "R5652-6.2.1-01")
@pytest.mark.parametrize("by_key_identifier", [False, True])
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "x25519", "mlkem768"])
def test_who_it_is_for_is_seen_without_any_key(kind: str, by_key_identifier: bool) -> None:
    message = parse(encrypt(CONTENT, [certificate(kind)], by_key_identifier=by_key_identifier))
    assert addressed_to(message, [credential("p384"), credential(kind)])
    assert not addressed_to(message, [credential("p384")])
    assert not addressed_to(message, [])
    assert recipient_matches(message.recipients[0], certificate(kind))
    assert not recipient_matches(message.recipients[0], certificate("p384"))


def test_a_key_of_another_kind_under_the_same_name_fails_like_any_other() -> None:
    message = parse(encrypt(CONTENT, [certificate("rsa2048")]))
    lying = Counting("p256", lambda: b"")
    lying.certificate = certificate("rsa2048")
    lying.decrypt = credential("p256").decrypt  # type: ignore[method-assign]
    with pytest.raises(DecryptionFailed):
        decrypt(message, [lying])


def test_key_management_that_policy_refuses_is_not_tried() -> None:
    message = parse(encrypt(CONTENT, [certificate("rsa2048")], key_transport="pkcs1v15"))
    assert_fails(message, "rsa2048", refused={"rsa-pkcs1v15"})
    assert decrypt(message, [credential("rsa2048")], refused={"ecdh-sha1kdf"}).plaintext == CONTENT


# --- limits ----------------------------------------------------------------------------------------------------------


def with_recipients(*recipients: bytes) -> bytes:
    """The value of a message whose RecipientInfos are these."""
    _, value = value_of(encrypt(CONTENT, [certificate("p256")]))
    version, _, *rest = _split(value)
    return der.sequence(version, der.tlv(der.SET, *recipients), *rest)


def _split(value: object) -> list[bytes]:
    reader = der.Reader(value)  # type: ignore[arg-type]
    reader.enter(der.SEQUENCE)
    parts = []
    while not reader.at_end():
        parts.append(bytes(reader.skip()))
    return parts


def test_as_many_recipients_as_the_limit_and_no_more() -> None:
    one = build_recipient(bytes(32), certificate("p256"))
    limits = Limits(recipients=5)
    kind = oids.ID_CT_AUTH_ENVELOPED_DATA
    assert len(parse_enveloped(kind, with_recipients(*[one] * 5), limits).recipients) == 5
    with pytest.raises(LimitExceeded) as caught:
        parse_enveloped(kind, with_recipients(*[one] * 6), limits)
    assert caught.value.limit == "recipients"


def test_keys_in_one_key_agreement_count_as_recipients() -> None:
    reader = der.Reader(build_recipient(bytes(32), certificate("p256")))
    reader.enter(der.context(1))
    *before, keys = (bytes(reader.skip()) for _ in range(5))
    one = bytes(der.Reader(keys).content(der.SEQUENCE))
    kind = oids.ID_CT_AUTH_ENVELOPED_DATA

    def many(count: int) -> bytes:
        return with_recipients(der.tlv(der.context(1), *before, der.sequence(*[one] * count)))

    assert len(parse_enveloped(kind, many(5), Limits(recipients=5)).recipients[0].identifiers) == 5
    with pytest.raises(LimitExceeded):
        parse_enveloped(kind, many(6), Limits(recipients=5))


def test_a_handful_of_recipient_infos_is_tried_for_one_message() -> None:
    good = parse(encrypt(CONTENT, [certificate("rsa2048")]))
    bad = replace(good.recipients[0], encrypted_key=bytes(256))
    limits = Limits(recipient_candidates=4)
    counting = Counting("rsa2048", lambda: b"")
    with pytest.raises(DecryptionFailed):
        decrypt(replace(good, recipients=(bad,) * 900), [counting], limits)
    assert counting.calls == 4
    assert decrypt(replace(good, recipients=(bad,) * 3 + good.recipients), [credential("rsa2048")], limits).plaintext
    with pytest.raises(DecryptionFailed):
        decrypt(replace(good, recipients=(bad,) * 4 + good.recipients), [credential("rsa2048")], limits)


@pytest.mark.timeout(10)
def test_long_issuer_names_cost_little() -> None:
    """A thousand RecipientInfos with our serial number, each with another issuer name of thousands of attributes."""
    attribute = der.tlv(der.SET, der.sequence(der.oid(oids.COMMON_NAME), der.utf8("x")))
    issuer = der.sequence(*[attribute] * 4000)
    name = der.sequence(issuer, der.integer(certificate("rsa2048").serial))
    algorithm = der.sequence(der.oid(oids.RSA_ENCRYPTION), der.null())
    one = der.sequence(der.integer(0), name, algorithm, der.octet_string(bytes(256)))
    message = parse_enveloped(oids.ID_CT_AUTH_ENVELOPED_DATA, with_recipients(*[one] * 1000))
    assert_fails(message, "rsa2048")


def test_large_attributes_are_refused() -> None:
    key, nonce = bytes(16), bytes(12)
    sealed = AESGCM(key).encrypt(nonce, CONTENT, b"")
    value = auth_enveloped(key, nonce, sealed, attributes=der.tlv(0xA1, der.octet_string(bytes(70_000))))
    with pytest.raises(LimitExceeded):
        parse_enveloped(oids.ID_CT_AUTH_ENVELOPED_DATA, value)


# --- BER -------------------------------------------------------------------------------------------------------------


def loosen(value: bytes, *, split: frozenset[int] = frozenset((0x04, 0x80))) -> bytes:
    """The same value as a careless producer writes it: indefinite lengths, strings in pieces."""
    reader = der.Reader(value)
    tag = value[0]
    content = bytes(reader.content(tag))
    if tag & 0x20:
        inner, pieces = der.Reader(content), []
        while not inner.at_end():
            pieces.append(loosen(bytes(inner.skip())))
        return bytes((tag, 0x80)) + b"".join(pieces) + b"\0\0"
    if tag in split and len(content) > 3:
        halves = content[:3], content[3:]
        return bytes((tag | 0x20, 0x80)) + b"".join(der.octet_string(half) for half in halves) + b"\0\0"
    return value


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "x25519"])
@pytest.mark.parametrize("cipher", ["aes256-gcm", "aes256-cbc"])
def test_indefinite_lengths_and_strings_in_pieces_are_read(kind: str, cipher: str) -> None:
    message = encrypt(CONTENT, [certificate(kind)], cipher=cipher, by_key_identifier=True)
    content_type, value = value_of(message)
    parts = _split(value)
    # recipientInfos and content loosened; the wrap algorithm is input of the key derivation and stays as it is
    if kind == "rsa2048":
        value = loosen(bytes(value))
    else:
        value = der.sequence(*(part if part[0] == der.SET else loosen(part) for part in parts))
    parsed = parse_enveloped(content_type, value)
    assert decrypt(parsed, [credential(kind)]).plaintext == CONTENT


@pytest.mark.parametrize("kind", [oids.ID_SIGNED_DATA, oids.ID_DATA, "1.2.3"])
def test_other_content_types_are_refused(kind: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_enveloped(kind, value_of(encrypt(CONTENT, [certificate("p256")]))[1])


def test_every_truncation_and_every_changed_octet_ends_well() -> None:
    message = encrypt(CONTENT, [certificate("p256")], originator_certificates=[certificate("x25519")])
    for at in range(len(message)):
        for damaged in (message[:at], flip(message, at), message[:at] + b"\xff" + message[at + 1 :]):
            try:
                opened = decrypt(parse(damaged), [credential("p256")])
            except (MalformedMessage, DecryptionFailed):
                continue
            assert opened.plaintext == CONTENT


# --- others ----------------------------------------------------------------------------------------------------------


def openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    try:
        return subprocess.run(
            ["openssl", "cms", *map(str, arguments)], input=stdin, capture_output=True, check=True
        ).stdout
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    except subprocess.CalledProcessError as problem:
        raise AssertionError(problem.stderr.decode()) from None


def write_credential(kind: str, folder: Path) -> tuple[Path, Path]:
    key, cert = folder / f"{kind}.key", folder / f"{kind}.pem"
    key.write_bytes(
        credential(kind).key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    cert.write_bytes(certificate(kind).x509.public_bytes(serialization.Encoding.PEM))
    return key, cert


@pytest.mark.interop
@pytest.mark.requirement("R8551-2.3-01", "R5753-3.1.1-01", "R3560-3-01")
@pytest.mark.parametrize("cipher", [*GCM, *CBC])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rsa2048", {}),
        ("rsa2048", {"by_key_identifier": True}),
        ("rsa2048", {"key_transport": "pkcs1v15"}),
        ("p256", {}),
        ("p256", {"by_key_identifier": True}),
        ("p384", {}),
        ("p521", {}),
    ],
)
def test_openssl_opens_what_we_made(kind: str, options: dict, cipher: str, tmp_path: Path) -> None:
    key, cert = write_credential(kind, tmp_path)
    recipients = [certificate("rsa3072"), certificate(kind)]
    message = encrypt(CONTENT, recipients, cipher=cipher, originator_certificates=[certificate("x25519")], **options)
    arguments = ("-decrypt", "-binary", "-inform", "DER", "-inkey", key, "-recip", cert)
    assert openssl(*arguments, stdin=message) == CONTENT


@pytest.mark.interop
@pytest.mark.requirement("R8551-2.3-01", "R5753-3.1.1-01", "R3560-3-01", "R5652-6.2.1-01")
@pytest.mark.parametrize("cipher", ["-aes-128-gcm", "-aes-256-gcm", "-aes128", "-aes192", "-aes256", "-des3"])
@pytest.mark.parametrize("form", [(), ("-keyid",), ("-stream",), ("-indef",)])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rsa2048", ()),
        ("rsa2048", ("rsa_padding_mode:oaep",)),
        ("rsa2048", ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256")),
        ("rsa2048", ("rsa_padding_mode:oaep", "rsa_oaep_md:sha512", "rsa_mgf1_md:sha256")),
        ("p256", ()),
        ("p256", ("ecdh_kdf_md:sha256",)),
        ("p384", ("ecdh_kdf_md:sha384",)),
        ("p521", ("ecdh_kdf_md:sha512", "ecdh_cofactor_mode:1")),
    ],
)
def test_we_open_what_openssl_made(
    kind: str, options: tuple[str, ...], form: tuple[str, ...], cipher: str, tmp_path: Path
) -> None:
    _, cert = write_credential(kind, tmp_path)
    keyopt = [word for option in options for word in ("-keyopt", option)]
    arguments = ("-encrypt", "-binary", cipher, *form, "-outform", "DER", "-recip", cert, *keyopt)
    message = parse(openssl(*arguments, stdin=CONTENT))
    keys = [credential("rsa3072"), credential(kind)]
    if cipher == "-des3":
        assert [recipient.outdated for recipient in message.recipients] == [kind != "rsa2048"]  # it wraps keys as well
        with pytest.raises(DecryptionFailed):
            decrypt(message, keys)
    opened = decrypt(message, keys, archive=cipher == "-des3")
    assert opened.plaintext == CONTENT
    assert opened.authenticated is cipher.endswith("gcm")


@pytest.mark.interop
@pytest.mark.requirement("R5753-3.1.1-01")
@pytest.mark.parametrize("cipher", ["-aes128", "-aes192", "-aes256"])  # and with it the key wrap
@pytest.mark.parametrize("cofactor", ["0", "1"])
@pytest.mark.parametrize("digest", ["sha1", "sha224", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", ["p256", "p384", "p521"])
def test_we_open_every_key_agreement_of_openssl(
    kind: str, digest: str, cofactor: str, cipher: str, tmp_path: Path
) -> None:
    _, cert = write_credential(kind, tmp_path)
    options = ("-keyopt", f"ecdh_kdf_md:{digest}", "-keyopt", f"ecdh_cofactor_mode:{cofactor}")
    arguments = ("-encrypt", "-binary", cipher, "-outform", "DER", "-recip", cert, *options)
    message = parse(openssl(*arguments, stdin=CONTENT))
    assert [r.management for r in message.recipients] == [f"ecdh-{digest}kdf"]
    family = "CofactorDh" if cofactor == "1" else "Std"
    assert oids.name(message.recipients[0].algorithm.oid) == f"dhSinglePass{family}{digest.title()}kdf"
    assert decrypt(message, [credential(kind)]).plaintext == CONTENT


# --- other recipients for the same content ---------------------------------------------------------------------------


def _tail(value: memoryview) -> bytes:
    """What stands behind RecipientInfos."""
    reader = der.Reader(value)
    reader.enter(der.SEQUENCE)
    while reader.peek() != der.SET:
        reader.skip()
    reader.skip()
    return bytes(value[reader.offset :])


@pytest.mark.requirement("R2634-4.2.3.1-01")
@pytest.mark.parametrize("cipher", [*GCM, *CBC])
def test_a_message_gets_other_recipients_and_its_content_stays_octet_for_octet(cipher: str) -> None:
    extra = {"auth_attributes": [signing_time(datetime(2026, 11, 23, tzinfo=UTC))]} if cipher in GCM else {}
    sent = encrypt(
        CONTENT, [certificate("p256")], cipher=cipher, originator_certificates=[certificate("p384")], **extra
    )
    kind, value = value_of(sent)

    members = [certificate(each) for each in ("rsa2048", "p256b", "x25519")]
    sealed = take_over(kind, value, [credential("p256")])
    made = sealed.readdressed(members, originator_certificates=[certificate("p256")])

    kind_made, value_made = value_of(made)
    assert kind_made == kind
    assert _tail(value_made) == _tail(value)
    found = parse(made)
    assert found.originator_certificates == (certificate("p256"),)
    assert len(found.recipients) == 3
    for member in ("rsa2048", "p256b", "x25519"):
        assert decrypt(found, [credential(member)]).plaintext == CONTENT
    assert not addressed_to(found, [credential("p256")])


def test_what_others_wrote_in_ber_is_kept_as_it_is(tmp_path: Path) -> None:
    """OpenSSL streams: indefinite lengths, and the content in pieces."""
    for name, text in (
        ("in", CONTENT * 4000),
        ("cert", certificate("p256").x509.public_bytes(serialization.Encoding.PEM)),
    ):
        (tmp_path / name).write_bytes(text)
    options = ["-encrypt", "-binary", "-stream", "-outform", "DER", "-aes-256-cbc", "-in", "in", "-out", "out", "cert"]
    subprocess.run(["openssl", "cms", *options], cwd=tmp_path, check=True, capture_output=True)
    kind, value = value_of((tmp_path / "out").read_bytes())
    assert value[1] == 0x80
    made = take_over(kind, value, [credential("p256")]).readdressed([certificate("p384")])
    assert _tail(value_of(made)[1]) + bytes(2) == _tail(value)
    assert decrypt(parse(made), [credential("p384")]).plaintext == CONTENT * 4000


def test_unprotected_attributes_stay_and_count_in_the_version() -> None:
    whole = value_of(encrypt(CONTENT, [certificate("rsa2048")], cipher="aes256-cbc"))[1]
    attribute = der.tlv(der.context(1), content_type(oids.ID_DATA).raw)
    reader = der.Reader(whole)
    reader.enter(der.SEQUENCE)
    reader.integer()
    value = memoryview(der.sequence(der.integer(2), reader.skip(), reader.skip(), attribute))
    made = take_over(oids.ID_ENVELOPED_DATA, value, [credential("rsa2048")]).readdressed([certificate("rsa3072")])
    assert parse(made).version == 2
    assert _tail(value_of(made)[1]) == _tail(value)


@pytest.mark.parametrize("cipher", ["aes256-gcm", "aes256-cbc"])
def test_a_key_that_does_not_open_is_given_to_nobody(cipher: str) -> None:
    kind, value = value_of(encrypt(CONTENT, [certificate("rsa2048")], cipher=cipher))
    with pytest.raises(DecryptionFailed):
        take_over(kind, value, [credential("p256")]).readdressed([certificate("p384")])
    if cipher == "aes256-gcm":
        changed = bytearray(value)
        changed[-1] ^= 1
        with pytest.raises(DecryptionFailed):
            take_over(kind, memoryview(bytes(changed)), [credential("rsa2048")]).readdressed([certificate("p384")])
    with pytest.raises(ValueError, match="nobody"):
        take_over(kind, value, [credential("rsa2048")]).readdressed([])
