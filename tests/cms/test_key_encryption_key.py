"""Keys that both sides were given before (RFC 5652 6.2.3), with OpenSSL on the other side."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

import world
from domsec import der, oids
from domsec.cms import enveloped_data
from domsec.cms.certificates import Certificate
from domsec.cms.content_info import parse
from domsec.cms.enveloped_data import Enveloped, SharedKey, addressed_to, decrypt, encrypt, parse_enveloped
from domsec.cms.recipients import parse_recipients
from domsec.cms.recipients.key_encryption_key import WrappedKey, build
from domsec.errors import DecryptionFailed
from domsec.limits import DEFAULT
from domsec.services.check import examine
from domsec.services.encrypt import sealed
from domsec.services.layers import peel

KEYS = {size: SharedKey(b"our key", bytes(range(size))) for size in (16, 24, 32)}
CONTENT = b"attack at dawn\r\n"


def opened(octets: bytes, *keys: SharedKey) -> bytes:
    return bytes(decrypt(read(octets), (), shared_keys=keys).plaintext)


def reads(octets: bytes, key: SharedKey) -> bool:
    """Whether a key gives the content; of CBC a wrong one may give something."""
    try:
        return opened(octets, key) == CONTENT
    except DecryptionFailed:
        return False


def read(octets: bytes) -> Enveloped:
    info = parse(octets)
    return parse_enveloped(info.content_type, info.content)


def _bob() -> Certificate:
    return world.beta().users["bob"].certificate


@pytest.mark.requirement("R5652-6.2-01", "R5652-6.1-01")
@pytest.mark.parametrize("size", KEYS)
@pytest.mark.parametrize("cipher", ["aes256-gcm", "aes128-cbc"])
def test_who_has_the_key_opens_it_and_nobody_else(size: int, cipher: enveloped_data.CipherName) -> None:
    key = KEYS[size]
    made = bytes(encrypt(CONTENT, (), cipher=cipher, shared_keys=[key]))
    assert opened(made, key) == CONTENT
    assert read(made).version == (0 if cipher.endswith("gcm") else 2)
    for other in (replace(key, identifier=b"another"), SharedKey(key.identifier, bytes(size)), *KEYS.values()):
        if other != key:
            assert not reads(made, other)
    assert addressed_to(read(made), (), [key])
    assert not addressed_to(read(made), (), [replace(key, identifier=b"another")])
    assert not addressed_to(read(made), [world.credential(world.beta().users["bob"])])


@pytest.mark.requirement("R5652-6.2-01")
def test_it_stands_beside_recipients_with_certificates() -> None:
    key = KEYS[32]
    made = bytes(encrypt(CONTENT, [_bob()], shared_keys=[key, SharedKey(b"another", bytes(16))]))
    assert [recipient.kind for recipient in read(made).recipients].count("kekri") == 2
    assert opened(made, key) == opened(made, SharedKey(b"another", bytes(16))) == CONTENT
    found = decrypt(read(made), [world.credential(world.beta().users["bob"])])
    assert (bytes(found.plaintext), found.credential is None) == (CONTENT, False)
    assert decrypt(read(made), (), shared_keys=[key]).credential is None


def test_of_two_keys_by_one_name_the_right_one_opens() -> None:
    made = bytes(encrypt(CONTENT, (), shared_keys=[KEYS[32]]))
    assert opened(made, replace(KEYS[32], key=bytes(32)), KEYS[16], KEYS[32]) == CONTENT


@pytest.mark.requirement("R5652-6.2-01")
def test_the_date_and_other_attributes_of_its_name_are_passed_over() -> None:
    raw = build(bytes(32), KEYS[32])
    name = der.sequence(der.octet_string(b"our key"))
    dated = der.sequence(
        der.octet_string(b"our key"), der.tlv(0x18, b"20261201000000Z"), der.sequence(der.oid("1.2.3"), der.null())
    )
    changed = raw[:2].replace(raw[1:2], bytes([raw[1] + len(dated) - len(name)])) + raw[2:].replace(name, dated)
    (found,) = parse_recipients(der.Reader(der.tlv(der.SET, changed)))
    assert isinstance(found, WrappedKey)
    assert (found.key_identifier, found.unwrap(KEYS[32], 32)) == (b"our key", bytes(32))


@pytest.mark.parametrize("wrap", [oids.AES128_WRAP, oids.ID_ALG_CMS3DES_WRAP, "1.2.3.4"])
def test_a_wrap_that_does_not_fit_the_key_gives_another_one_always_the_same(wrap: str) -> None:
    """Nothing but the content tells whether it was the key (RFC 3218 2.3)."""
    (found,) = parse_recipients(der.Reader(der.tlv(der.SET, build(bytes(32), KEYS[32]))))
    assert isinstance(found, WrappedKey)
    changed = replace(found, wrap=replace(found.wrap, oid=wrap))
    assert changed.unwrap(KEYS[32], 32) == changed.unwrap(KEYS[32], 32) != bytes(32)
    assert len(changed.unwrap(KEYS[32], 16)) == 16
    assert changed.outdated is (wrap == oids.ID_ALG_CMS3DES_WRAP)


def test_no_key_has_another_length_and_none_is_printed() -> None:
    for size in (0, 8, 15, 17, 64):
        with pytest.raises(ValueError, match=f"a key of {size} octets"):
            SharedKey(b"x", bytes(size))
    assert KEYS[16].key.hex() not in repr(KEYS[16])
    assert repr(KEYS[16].key) not in repr(KEYS[16])


def test_as_many_are_tried_as_of_other_recipients() -> None:
    wrong = [SharedKey(b"our key", bytes([n]) * 32) for n in range(DEFAULT.recipient_candidates)]
    made = bytes(encrypt(CONTENT, (), shared_keys=[KEYS[32]]))
    assert opened(made, *wrong[1:], KEYS[32]) == CONTENT
    with pytest.raises(DecryptionFailed):
        opened(made, *wrong, KEYS[32])


# --- openssl ---------------------------------------------------------------------------------------------------------

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def _openssl(*arguments: str, key: SharedKey, given: bytes) -> bytes:
    command = ["openssl", "cms", *arguments, "-secretkey", key.key.hex(), "-secretkeyid", key.identifier.hex()]
    return subprocess.run(command, input=given, capture_output=True, check=True, timeout=60).stdout


@openssl
@pytest.mark.interop
@pytest.mark.requirement("R5652-6.2-01")
@pytest.mark.parametrize("size", KEYS)
def test_openssl_and_we_read_each_other(size: int) -> None:
    key = KEYS[size]
    for cipher in ("-aes-256-cbc", "-aes-128-gcm"):
        theirs = _openssl("-encrypt", "-binary", "-outform", "DER", cipher, key=key, given=CONTENT)
        assert opened(theirs, key) == CONTENT
    for ours in ("aes256-gcm", "aes256-cbc"):
        made = bytes(encrypt(CONTENT, [_bob()], cipher=ours, shared_keys=[key]))  # type: ignore[arg-type]
        assert _openssl("-decrypt", "-inform", "DER", key=key, given=made) == CONTENT


def test_a_layer_opened_so_names_nobody() -> None:
    """And no rule about names of authorities is asked of it."""
    key = KEYS[32]
    made = bytes(sealed(world.entity("S(OC)"), (), shared_keys=[key]))
    message = peel(world.message(made), shared_keys=[key])
    verdict = examine(message, world.context()).verdict
    assert (verdict.structure, verdict.accepted) == ("E(S[originator](OC))", True)
    assert verdict.layers[0].encryption is not None
    assert verdict.layers[0].encryption.opened_by == "a shared key"
    assert verdict.layers[0].encryption.recipients == (f"kekri aes256Wrap: the shared key {key.identifier.hex()}",)
    assert peel(world.message(made)).root.closed == "not_for_us"
