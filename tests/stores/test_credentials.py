"""Private keys from files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

import pki
from domsec import der
from domsec.cms.certificates import Certificate
from domsec.errors import ConfigurationError, KeyUnusable
from domsec.stores.credentials import load_credential, open_credential, read_password

PASSWORD = b"correct horse"
ROOT = pki.ca("Credential Root")
INTERMEDIATE_KEY = pki.issue.new_key("p256")
assert isinstance(INTERMEDIATE_KEY, pki.SigningKey)
INTERMEDIATE = pki.Identity(
    pki.issue.issue_ca(
        "Credential Intermediate",
        INTERMEDIATE_KEY,
        now=pki.START,
        days=pki.DAYS,
        issuer_cert=ROOT.certificate,
        issuer_key=ROOT.signing_key,
    ),
    INTERMEDIATE_KEY,
)
OWN = pki.identity("signing", "acme.example", INTERMEDIATE)
OTHER = pki.identity("review", "acme.example", INTERMEDIATE)


def pem(certificate: Certificate) -> bytes:
    return certificate.x509.public_bytes(Encoding.PEM)


def key_pem(
    identity: pki.Identity = OWN,
    format_: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption = NoEncryption(),  # noqa: B008
) -> bytes:
    return identity.key.private_bytes(Encoding.PEM, format_, encryption)


def p12(encryption: KeySerializationEncryption, identity: pki.Identity = OWN) -> bytes:
    others = [ROOT.certificate.x509, INTERMEDIATE.certificate.x509]
    key = identity.key
    assert isinstance(key, pki.SigningKey)
    return pkcs12.serialize_key_and_certificates(b"own", key, identity.certificate.x509, others, encryption)


def write(folder: Path, octets: bytes, name: str = "credential") -> Path:
    (folder / name).write_bytes(octets)
    return folder / name


ENCRYPTED = BestAvailableEncryption(PASSWORD)
TEXT = b"Bag Attributes\n    friendlyName: something\n"


@pytest.mark.parametrize(
    ("octets", "password"),
    [
        pytest.param(key_pem() + pem(OWN.certificate), None, id="pem"),
        pytest.param(pem(OTHER.certificate) + TEXT + pem(OWN.certificate) + key_pem(), None, id="pem-any-order"),
        pytest.param((key_pem() + pem(OWN.certificate)).replace(b"\n", b"\r\n"), None, id="pem-crlf"),
        pytest.param(key_pem(encryption=ENCRYPTED) + pem(OWN.certificate), PASSWORD, id="pem-encrypted"),
        pytest.param(key_pem(format_=PrivateFormat.TraditionalOpenSSL) + pem(OWN.certificate), None, id="pem-sec1"),
        pytest.param(
            key_pem(format_=PrivateFormat.TraditionalOpenSSL, encryption=ENCRYPTED) + pem(OWN.certificate),
            PASSWORD,
            id="pem-openssl-encrypted",
        ),
        pytest.param(key_pem() + pem(OWN.certificate), b"not needed", id="pem-needless-password"),
        pytest.param(p12(ENCRYPTED), PASSWORD, id="pkcs12"),
        pytest.param(p12(NoEncryption()), None, id="pkcs12-open"),
    ],
)
def test_a_key_is_found_with_its_own_certificate(tmp_path: Path, octets: bytes, password: bytes | None) -> None:
    credential = load_credential(write(tmp_path, octets), password=password)
    assert credential.certificate == OWN.certificate


@pytest.mark.parametrize(
    "octets", [key_pem(), OWN.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())]
)
def test_a_certificate_may_stand_in_another_file(tmp_path: Path, octets: bytes) -> None:
    certificates = write(tmp_path, pem(INTERMEDIATE.certificate) + pem(OWN.certificate), "certificates")
    credential = load_credential(write(tmp_path, octets), certificates=[certificates])
    assert credential.certificate == OWN.certificate
    assert credential.chain == (INTERMEDIATE.certificate,)


def test_the_chain_goes_up_without_the_root_and_without_strangers(tmp_path: Path) -> None:
    certificates = (OTHER, ROOT, OWN, INTERMEDIATE)
    octets = key_pem() + b"".join(pem(identity.certificate) for identity in certificates)
    assert load_credential(write(tmp_path, octets)).chain == (INTERMEDIATE.certificate,)
    assert load_credential(write(tmp_path, p12(ENCRYPTED)), password=PASSWORD).chain == (INTERMEDIATE.certificate,)


def test_a_newer_certificate_may_stand_beside_a_pkcs12_file(tmp_path: Path) -> None:
    certificates = write(tmp_path, pem(OTHER.certificate), "certificates")
    credential = load_credential(write(tmp_path, p12(ENCRYPTED)), password=PASSWORD, certificates=[certificates])
    assert credential.certificate == OWN.certificate


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.parametrize(
    ("octets", "password", "reason"),
    [
        pytest.param(p12(ENCRYPTED), b"wrong", "the password is wrong or the PKCS#12 file is broken", id="p12-wrong"),
        pytest.param(p12(ENCRYPTED), None, "not a PKCS#12 file that can be read without a password", id="p12-none"),
        pytest.param(
            p12(ENCRYPTED)[:-9], PASSWORD, "the password is wrong or the PKCS#12 file is broken", id="p12-cut"
        ),
        pytest.param(
            key_pem(encryption=ENCRYPTED) + pem(OWN.certificate),
            b"wrong",
            "the password is wrong or the private key is broken",
            id="pem-wrong",
        ),
        pytest.param(
            key_pem(encryption=ENCRYPTED) + pem(OWN.certificate),
            None,
            "the private key is encrypted and there is no password",
            id="pem-none",
        ),
        pytest.param(pem(OWN.certificate), None, "0 private keys, expected one", id="no-key"),
        pytest.param(key_pem() * 2 + pem(OWN.certificate), None, "2 private keys, expected one", id="two-keys"),
        pytest.param(key_pem(), None, "no certificate beside the private key", id="no-certificate"),
        pytest.param(
            key_pem() + pem(OTHER.certificate),
            None,
            "1 other certificates beside the private key",
            id="other-certificate",
        ),
        pytest.param(key_pem()[:-20] + b"\n", None, "a PEM block has no end", id="pem-cut"),
        pytest.param(
            key_pem().replace(b"\nM", b"\n?", 1) + pem(OWN.certificate),
            None,
            "the private key is broken",
            id="pem-garbled",
        ),
        pytest.param(
            key_pem() + pem(OWN.certificate).replace(b"\nM", b"\n?", 1), None, "is not base64", id="certificate-garbled"
        ),
        pytest.param(b"", None, "neither PEM nor PKCS#12", id="empty"),
        pytest.param(b"hello", None, "neither PEM nor PKCS#12", id="text"),
        pytest.param(b"\x30\x80" + bytes(100), None, "not a PKCS#12 file", id="rubbish"),
    ],
)
def test_an_unusable_file_is_named_without_what_is_in_it(
    tmp_path: Path, octets: bytes, password: bytes | None, reason: str
) -> None:
    path = write(tmp_path, octets)
    with pytest.raises(KeyUnusable) as caught:
        load_credential(path, password=password)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert reason in text
    assert "wrong" not in text.replace("the password is wrong", "")
    assert "\n" not in text
    assert caught.value.__cause__ is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent: cannot be read: No such file"):
        load_credential(tmp_path / "absent")


def test_the_password_comes_from_its_file_or_else_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, p12(ENCRYPTED))
    file = write(tmp_path, PASSWORD + b"\r\nsecond line\n", "password")
    assert read_password(file) == PASSWORD
    assert open_credential(path, file, environment_password="other").certificate == OWN.certificate
    assert open_credential(path, environment_password=PASSWORD.decode()).certificate == OWN.certificate
    with pytest.raises(ConfigurationError, match=r"empty: empty, expected a password in the first line"):
        open_credential(path, write(tmp_path, b"\n", "empty"))


# --- post-quantum ----------------------------------------------------------------------------------------------------

LATTICE = {kind: pki.identity("user", "a@acme.example", ROOT, kind) for kind in ("ml-dsa-65", "ml-kem-768")}


def _in_form(identity: pki.Identity, form: str) -> bytes:
    """PKCS#8 with the seed, with seed and expanded key as OpenSSL writes it, or with the expanded key alone."""
    seed = identity.key.private_bytes_raw()
    expanded = b"e" * 2400  # nobody looks at it
    inside = {
        "seed": der.tlv(der.context(0, constructed=False), seed),
        "both": der.sequence(der.octet_string(seed), der.octet_string(expanded)),
        "expanded": der.octet_string(expanded),
    }[form]
    algorithm = der.sequence(der.oid(identity.certificate.key_algorithm))
    return der.sequence(der.integer(0), algorithm, der.octet_string(inside))


def _armoured(octets: bytes) -> bytes:
    return b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(octets) + b"-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("kind", LATTICE)
@pytest.mark.parametrize("form", ["seed", "both"])
def test_ml_dsa_and_ml_kem_keys_with_their_seed_are_loaded(tmp_path: Path, kind: str, form: str) -> None:
    own = LATTICE[kind]
    file = write(tmp_path, _armoured(_in_form(own, form)) + pem(own.certificate))
    assert load_credential(file).certificate == own.certificate
    bare = write(tmp_path, _in_form(own, form), "key.p8")
    beside = write(tmp_path, pem(own.certificate), "certificate.pem")
    assert load_credential(bare, certificates=[beside]).certificate == own.certificate


@pytest.mark.parametrize("kind", LATTICE)
def test_ml_dsa_and_ml_kem_keys_are_loaded_with_a_password(tmp_path: Path, kind: str) -> None:
    own = LATTICE[kind]
    file = write(tmp_path, key_pem(own, encryption=ENCRYPTED) + pem(own.certificate))
    assert load_credential(file, password=PASSWORD).certificate == own.certificate
    with pytest.raises(KeyUnusable):
        load_credential(file, password=b"another")


@pytest.mark.parametrize("kind", LATTICE)
def test_an_expanded_key_alone_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    own = LATTICE[kind]
    with pytest.raises(KeyUnusable, match="without its seed"):
        load_credential(write(tmp_path, _armoured(_in_form(own, "expanded")) + pem(own.certificate)))


def test_a_seed_of_another_key_is_refused(tmp_path: Path) -> None:
    other = pki.identity("user", "b@acme.example", ROOT, "ml-dsa-65")
    file = write(tmp_path, _armoured(_in_form(other, "both")) + pem(LATTICE["ml-dsa-65"].certificate))
    with pytest.raises(KeyUnusable, match="expected its own"):
        load_credential(file)


@pytest.mark.shared
def test_the_key_of_rfc_9881_with_seed_and_expanded_key_is_read(tmp_path: Path, shared: Path) -> None:
    folder = shared / "corpora" / "rfc-structures"
    key = (folder / "rfc9881.MLDSAPrivateKeyTestCase.pem_text.der").read_bytes()
    beside = folder / "rfc9881.MLDSACertificateTestCase.pem_text.der"  # of the example for ML-DSA-65
    with pytest.raises(KeyUnusable, match="expected its own"):
        load_credential(write(tmp_path, key), certificates=[beside])
