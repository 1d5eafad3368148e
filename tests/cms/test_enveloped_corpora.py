"""Encrypted messages that others made: OpenSSL, Bouncy Castle, NSS, and those who made them to hurt.

What the corpora say of theirs is in tests/corpora.
"""

from __future__ import annotations

import base64
import email
import email.policy
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.cms.credential import PrivateKeyCredential, credential_from_private_key
from domsec.cms.enveloped_data import Enveloped, decrypt, parse_enveloped
from domsec.errors import DecryptionFailed, MalformedMessage
from envelope_keys import NamedByTheMessage, value_of
from foreign import private_key

ROOT = Path(__file__).resolve().parents[2]
ORACLE = ROOT / "tests/vectors/oracle"
CORPORA = ROOT.parent / "shared/corpora"


# --- the oracle: two domains -----------------------------------------------------------------------------------------


def oracle_credential(name: str) -> PrivateKeyCredential:
    certificate = x509.load_pem_x509_certificate((ORACLE / f"pki/certs/{name}.pem").read_bytes())
    key = load_pem_private_key((ORACLE / f"pki/keys/{name}.key").read_bytes(), None)
    return credential_from_private_key(key, Certificate(certificate.public_bytes(Encoding.DER)))


def oracle_message(name: str) -> Enveloped:
    message = email.message_from_bytes((ORACLE / f"msgs/{name}.eml").read_bytes(), policy=email.policy.default)
    return parse_enveloped(*value_of(message.get_payload(decode=True)))


@pytest.mark.requirement("R3183-4.3-01", "R3183-4.3-02", "R8551-2.3-01")
@pytest.mark.parametrize(
    ("name", "key", "cipher", "management"),
    [
        ("g40-enc-rsa", "bravo-dca", "aes256-cbc", "rsa-pkcs1v15"),
        ("g41-enc-oaep", "bravo-dca", "aes256-cbc", "rsa-oaep"),
        ("g42-enc-ecdh", "bravo-dca-ec", "aes128-cbc", "ecdh-sha1kdf"),
        ("g44-enc-x25519", "bravo-dca-x", "aes128-cbc", "ecdh-hkdf-sha256"),
        ("g45-enc-oaep-bc", "bravo-dca", "aes256-cbc", "rsa-oaep"),
        ("g46-authenc-bc", "bravo-dca", "aes256-gcm", "rsa-pkcs1v15"),
        ("g47-authenc-openssl", "bravo-dca", "aes128-gcm", "rsa-pkcs1v15"),
        ("g48-enc-3des-nss", "bravo-dca", "aes128-cbc", "rsa-pkcs1v15"),
        ("g49-enc-two", "bravo-dca", "aes256-cbc", "rsa-pkcs1v15"),
        ("g49-enc-two", "bob", "aes256-cbc", "rsa-pkcs1v15"),
        ("g52-case-b", "bravo-dca", "aes256-cbc", "rsa-pkcs1v15"),
        ("g53-case-c", "bob", "aes256-cbc", "rsa-pkcs1v15"),
        ("g54-own-dca", "acme-dca", "aes256-cbc", "rsa-pkcs1v15"),
        ("b49-enc-only", "bravo-dca", "aes256-cbc", "rsa-pkcs1v15"),
        ("g70-enc-multi-domain-dca", "multi-dca", "aes256-cbc", "rsa-pkcs1v15"),
        ("g71-enc-nocn-dca", "nocn-dca", "aes256-cbc", "rsa-pkcs1v15"),
    ],
)
def test_messages_of_openssl_bouncy_castle_and_nss(name: str, key: str, cipher: str, management: str) -> None:
    opened = decrypt(oracle_message(name), [oracle_credential("carol"), oracle_credential(key)])
    assert opened.plaintext.startswith(b"Content-Type: ")
    assert (opened.cipher, opened.management) == (cipher, management)
    assert opened.authenticated is cipher.endswith("gcm")


@pytest.mark.requirement("R5083-2-01")
def test_a_tag_that_does_not_fit_lets_nothing_out() -> None:
    message = oracle_message("b69-authenc-tampered")
    with pytest.raises(DecryptionFailed):
        decrypt(message, [oracle_credential("bravo-dca")])


# --- shared corpora --------------------------------------------------------------------------------------------------

CMS_TYPES = (oids.ID_ENVELOPED_DATA, oids.ID_CT_AUTH_ENVELOPED_DATA)


def octets(path: Path) -> bytes:
    """The CMS octets in a file, be it DER, PEM or a message."""
    raw = path.read_bytes()
    if raw[:1] == b"\x30":
        return raw
    if b"-----BEGIN" in raw:
        lines = raw.partition(b"-----BEGIN")[2].partition(b"-----\n")[2].partition(b"-----END")[0]
        return base64.b64decode(lines)
    return email.message_from_bytes(raw).get_payload(decode=True) or b""


@pytest.mark.shared
@pytest.mark.requirement("R5083-2-01", "R5084-3.2-01")
@pytest.mark.parametrize(
    "name",
    [
        "lifted/authenveloped_non_aead_ofb.der",  # CVE-2026-34182
        "lifted/authenveloped_one_byte_tag.der",  # CVE-2026-34182
        "80-test_cms_data/bad_authenveloped_attrs.pem",
        "80-test_cmsapi_data/encDataWithTooLongIV.pem",  # CVE-2025-15467
    ],
)
def test_attacks_on_openssl_are_none_on_us(shared: Path, name: str) -> None:
    message = parse_enveloped(*value_of(octets(shared / "corpora/openssl" / name)))
    key = private_key(shared / "corpora/rfc4134/pem/BobPrivRSAEncrypt.pri.pem", None)
    names = [identifier for recipient in message.recipients for identifier in recipient.identifiers]
    with pytest.raises(DecryptionFailed):
        decrypt(message, [NamedByTheMessage(key, name) for name in names])


@pytest.mark.shared
@pytest.mark.requirement("R5652-6.2-01")
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("enveloped_data_kari.bin", ["kari"]),
        ("enveloped_data_kekri.bin", ["kekri"]),
        ("enveloped_data_ktri.bin", ["ktri"]),
        ("enveloped_data_pwri.bin", ["pwri"]),
        ("1.3.6.1.4.1.22554.5.6.1_ML-KEM-512-ipd_kemri_ukm.der", ["ori"]),
        ("kms_ciphertext_for_recipient_1.ber", ["ktri"]),
    ],
)
def test_every_kind_of_recipient_is_recognised(shared: Path, name: str, kinds: list[str]) -> None:
    raw = (shared / "corpora/cms-lib-fixtures/rustcrypto-cms/examples" / name).read_bytes()
    try:
        found = parse_enveloped(*value_of(raw))
    except MalformedMessage:
        found = parse_enveloped(oids.ID_ENVELOPED_DATA, raw)  # without ContentInfo
    assert [recipient.kind for recipient in found.recipients] == kinds
