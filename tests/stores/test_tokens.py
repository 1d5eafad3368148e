"""Keys in a real token: SoftHSM2."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519

import envelope_keys
import pki
import softhsm
from domsec import der, oids
from domsec.cms import enveloped_data
from domsec.cms.algorithms import (
    SIGNATURES,
    AlgorithmIdentifier,
    SignatureAlgorithm,
    algorithm_identifier,
    check_signature,
    encrypt_key,
    oaep,
    rsa_pss,
)
from domsec.cms.certificates import SubjectKeyIdentifier
from domsec.cms.credential import Credential, credential_from_private_key, holds_key
from domsec.cms.recipients.key_transport import KeyTransport
from domsec.errors import ConfigurationError, DecryptionFailed, KeyUnusable, StoreUnavailable, Unsupported
from domsec.stores import tokens
from domsec.stores.credentials import load_credential, open_credential
from softhsm import PIN, Token

V15 = algorithm_identifier(oids.RSA_ENCRYPTION, der.null())


@pytest.fixture(autouse=True)
def afresh() -> None:
    """Each test opens the token for itself."""
    for module in tokens._modules.values():
        module.close()
        module.wrong_pins.clear()


def opened(token: Token, name: str) -> Credential:
    return load_credential(token.uri(name))


# --- signatures -------------------------------------------------------------------------------------------------------

WAYS = [
    ("rsa2048", SIGNATURES[oids.SHA256_WITH_RSA, oids.SHA256]),
    ("rsa2048", SIGNATURES[oids.SHA384_WITH_RSA, oids.SHA384]),
    ("rsa2048", SIGNATURES[oids.SHA512_WITH_RSA, oids.SHA512]),
    ("rsa2048", rsa_pss(oids.SHA256)),
    ("rsa2048", rsa_pss(oids.SHA512)),
    ("p256", SIGNATURES[oids.ECDSA_WITH_SHA256, oids.SHA256]),
    ("p384", SIGNATURES[oids.ECDSA_WITH_SHA384, oids.SHA384]),
    ("ed25519", SIGNATURES[oids.ED25519, oids.SHA512]),
]


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.parametrize(("kind", "algorithm"), WAYS, ids=lambda value: getattr(value, "name", value))
def test_a_token_signs(token: Token, kind: str, algorithm: SignatureAlgorithm) -> None:
    credential = opened(token, kind)
    for data in (b"", b"attributes" * 50):
        assert check_signature(credential.certificate, algorithm, credential.sign(data, algorithm), data) == ()


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("p256", SIGNATURES[oids.SHA256_WITH_RSA, oids.SHA256]),
        ("rsa2048", SIGNATURES[oids.ECDSA_WITH_SHA256, oids.SHA256]),
        ("rsa2048", SIGNATURES[oids.ML_DSA_65, oids.SHA512]),
        ("ed25519", rsa_pss(oids.SHA256)),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_token_says_that_a_key_is_of_another_kind(token: Token, kind: str, algorithm: SignatureAlgorithm) -> None:
    with pytest.raises(KeyUnusable):
        opened(token, kind).sign(b"data", algorithm)


# --- decryption -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.parametrize("algorithm", [V15, oaep(oids.SHA1)], ids=["pkcs1v15", "oaep-sha1"])
def test_a_token_undoes_key_transport(token: Token, algorithm: AlgorithmIdentifier) -> None:
    credential = opened(token, "rsa2048")
    encrypted = encrypt_key(credential.certificate.public_key, b"k" * 32, algorithm)
    assert credential.decrypt(encrypted, algorithm) == b"k" * 32


@pytest.mark.requirement("R3218-2.3-01")
@pytest.mark.parametrize("algorithm", [V15, oaep(oids.SHA1)], ids=["pkcs1v15", "oaep-sha1"])
def test_a_wrong_padding_gives_octets_that_nobody_knows(token: Token, algorithm: AlgorithmIdentifier) -> None:
    """Always the same for the same ciphertext, so that asking twice does not tell it from a right one (T-22)."""
    credential = opened(token, "rsa2048")
    right = encrypt_key(credential.certificate.public_key, b"k" * 32, algorithm)
    wrong = [bytes(256), b"\xff" * 256, right[:-1] + bytes([right[-1] ^ 1]), right[:-1], right + b"x", b""]
    found = [credential.decrypt(each, algorithm) for each in wrong]
    assert len(set(found)) == len(wrong)
    assert all(len(each) == 32 for each in found)
    assert found == [load_credential(token.uri("rsa2048")).decrypt(each, algorithm) for each in wrong]
    transport = KeyTransport(0, SubjectKeyIdentifier(b""), algorithm, wrong[2])
    assert len(transport.recover(0, credential, 16, ())) == 16


def test_a_message_with_a_wrong_key_does_not_open_and_says_no_more(token: Token) -> None:
    credential = opened(token, "rsa2048")
    made = enveloped_data.encrypt(b"content", [credential.certificate], key_transport="pkcs1v15")
    right = envelope_keys.parse(made)
    assert enveloped_data.decrypt(right, [credential]).plaintext == b"content"
    [recipient] = right.recipients
    assert isinstance(recipient, KeyTransport)
    wrong = replace(right, recipients=(replace(recipient, encrypted_key=recipient.encrypted_key[:-1] + b"x"),))
    for _ in range(2):
        with pytest.raises(DecryptionFailed, match="the message could not be decrypted"):
            enveloped_data.decrypt(wrong, [credential])


def test_what_the_token_never_does_is_said(token: Token) -> None:
    """SoftHSM knows OAEP with SHA-1 only (measurements-crypto 7)."""
    credential = opened(token, "rsa2048")
    encrypted = encrypt_key(credential.certificate.public_key, b"k" * 32, oaep(oids.SHA256))
    with pytest.raises(KeyUnusable, match="cannot decrypt so"):
        credential.decrypt(encrypted, oaep(oids.SHA256))
    label = der.sequence(der.oid(oids.P_SPECIFIED), der.octet_string(b"label"))
    labelled = algorithm_identifier(oids.RSAES_OAEP, der.sequence(der.explicit(2, label)))
    with pytest.raises(Unsupported, match="OAEP with a label"):
        credential.decrypt(encrypt_key(credential.certificate.public_key, b"k", labelled), labelled)
    with pytest.raises(KeyUnusable, match="only an RSA key decrypts"):
        opened(token, "p256").decrypt(encrypted, V15)
    with pytest.raises(KeyUnusable, match="do not decapsulate"):
        credential.decapsulate(b"")


# --- key agreement ----------------------------------------------------------------------------------------------------


def _with_leading_zero(theirs: ec.EllipticCurvePublicKey) -> ec.EllipticCurvePrivateKey:
    while (ours := ec.generate_private_key(theirs.curve)).exchange(ec.ECDH(), theirs)[0]:
        pass
    return ours


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_a_token_agrees_on_a_secret(token: Token, kind: str) -> None:
    credential = opened(token, kind)
    theirs = credential.certificate.public_key
    for ours in (ec.generate_private_key(theirs.curve), _with_leading_zero(theirs)):
        assert credential.exchange(ours.public_key()) == ours.exchange(ec.ECDH(), theirs)


def test_a_token_agrees_with_keys_of_its_own_curve_only(token: Token) -> None:
    for other in (ec.generate_private_key(ec.SECP384R1()), x25519.X25519PrivateKey.generate()):
        with pytest.raises(KeyUnusable, match="of different kinds"):
            opened(token, "p256").exchange(other.public_key())
    with pytest.raises(KeyUnusable, match="of different kinds"):
        opened(token, "rsa2048").exchange(ec.generate_private_key(ec.SECP256R1()).public_key())


# --- which certificate ------------------------------------------------------------------------------------------------


def test_the_certificate_comes_from_the_token_and_its_chain_from_beside(token: Token, tmp_path: Path) -> None:
    key = token.generate("chained", "p256")
    root = pki.ca("Token Root")
    issuing_key = pki.issue.new_key("p256")
    assert isinstance(issuing_key, pki.SigningKey)
    issuing = pki.issue.issue_ca(
        "Token CA", issuing_key, now=pki.START, days=9, issuer_cert=root.certificate, issuer_key=root.signing_key
    )
    own = pki.issue.issue("signing", "acme.example", key, issuing, issuing_key, now=pki.START, days=9)
    token.write_certificate("chained", own)
    (tmp_path / "chain.pem").write_bytes(softhsm.pem(root.certificate) + softhsm.pem(issuing))
    found = load_credential(token.uri("chained"), certificates=[tmp_path])
    assert (found.certificate, found.chain) == (own, (issuing,))


def test_the_certificate_may_stand_beside(token: Token, tmp_path: Path) -> None:
    key = token.generate("beside", "p256")
    own = softhsm.certificate(key, "signing", "acme.example")
    (tmp_path / "own.pem").write_bytes(softhsm.pem(pki.world().acme.review.certificate) + softhsm.pem(own))
    with pytest.raises(KeyUnusable, match=r"pkcs11:token=acme;object=beside: \d+ other certificates"):
        load_credential(token.uri("beside"))
    assert load_credential(token.uri("beside"), certificates=[tmp_path / "own.pem"]).certificate == own


def test_a_certificate_of_another_key_is_not_taken(token: Token) -> None:
    """Whatever its name on the token says: the key has to show that it belongs (threats T-16)."""
    key = token.generate("misnamed", "p256")
    token.write_certificate("misnamed", pki.world().acme.review.certificate)
    own = softhsm.certificate(key, "signing", "acme.example")
    token.write_certificate("other name", own, identifier=99)
    assert load_credential(token.uri("misnamed")).certificate == own


def test_a_key_shows_that_it_belongs_to_its_certificate(token: Token) -> None:
    for kind in softhsm.KINDS:
        assert holds_key(opened(token, kind))
    own = opened(token, "p256")
    assert isinstance(own, tokens.TokenCredential)
    assert not holds_key(tokens.TokenCredential(own.key, pki.world().acme.signing.certificate))
    for kind in ("rsa2048", "p256", "ed25519", "x25519", "ml-dsa-65", "ml-kem-768"):
        made = pki.identity("user", "a@acme.example", pki.world().acme.ca, kind)  # type: ignore[arg-type]
        assert holds_key(credential_from_private_key(made.key, made.certificate))


# --- what can be wrong ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.parametrize(
    ("changes", "name", "error", "complaint"),
    [
        ({"module-path": "/nowhere.so"}, "p256", ConfigurationError, "/nowhere.so: cannot be loaded as a PKCS#11"),
        ({}, "nobody", KeyUnusable, "0 private keys with this name on the token, expected one"),
        ({"pin-source": None}, "p256", KeyUnusable, "no PIN, expected pin-source in the URI, or a password"),
        ({"pin-source": "/nowhere"}, "p256", ConfigurationError, "/nowhere: cannot be read"),
    ],
)
def test_what_is_wrong_is_told(
    token: Token, changes: dict[str, object], name: str, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error) as caught:
        load_credential(token.uri(name, **changes))
    assert complaint in str(caught.value)
    assert PIN not in str(caught.value)


def test_a_token_that_is_not_there_may_come_later(token: Token) -> None:
    with pytest.raises(StoreUnavailable, match="the token does not answer: no such token"):
        load_credential(token.uri("p256").replace("token=acme", "token=other"))


def test_two_tokens_that_fit_are_one_too_many(token: Token) -> None:
    command = ["softhsm2-util", "--init-token", "--free", "--so-pin", "12345678", "--pin", PIN, "--label", "twice"]
    for _ in range(2):
        subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ConfigurationError, match="2 tokens fit, expected one; serial tells them apart"):
        load_credential(token.uri("p256").replace("token=acme", "token=twice"))


def test_a_wrong_pin_is_tried_once(token: Token, tmp_path: Path) -> None:
    """Asking again for every message would lock the token."""
    (tmp_path / "pin").write_text("wrong\n")
    uri = token.uri("p256", **{"pin-source": tmp_path / "pin"})
    for _ in range(2):
        with pytest.raises(KeyUnusable, match="the token did not take the PIN") as caught:
            load_credential(uri)
        assert "wrong" not in str(caught.value)
    [module] = tokens._modules.values()
    assert [pin for _, pin in module.wrong_pins] == ["wrong"]
    assert holds_key(opened(token, "p256"))


def test_the_pin_may_be_a_password(token: Token, tmp_path: Path) -> None:
    uri = token.uri("p256", **{"pin-source": None})
    assert holds_key(open_credential(uri, environment_password=PIN))
    assert holds_key(open_credential(uri, token.pin_file))
    (tmp_path / "pin").write_bytes(b"\xff\n")
    with pytest.raises(KeyUnusable, match="the PIN is not UTF-8"):
        open_credential(uri, tmp_path / "pin")


def test_nothing_secret_is_shown(token: Token) -> None:
    assert PIN not in repr(opened(token, "p256"))


def test_without_the_library_it_says_what_to_install(token: Token) -> None:
    program = (
        "import sys; sys.modules['pkcs11'] = None\n"
        "from domsec.stores.credentials import load_credential\n"
        f"load_credential({token.uri('p256')!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ConfigurationError: keys in tokens need python-pkcs11, pip install 'domsec[hsm]'" in done.stderr


# --- sessions, threads, forks -----------------------------------------------------------------------------------------


def _session(token: Token) -> object:
    [module] = tokens._modules.values()
    [session] = module.sessions.values()
    return session


def test_a_session_that_was_closed_is_opened_again(token: Token) -> None:
    credential = opened(token, "p256")
    _session(token).close()  # type: ignore[attr-defined]
    assert holds_key(credential)


def test_a_token_that_went_away_and_came_back_is_used_again(token: Token) -> None:
    credential = opened(token, "rsa2048")
    away = token.folder / "away"
    (token.folder / "tokens").rename(away)
    try:
        with pytest.raises(StoreUnavailable, match="the token does not answer"):
            credential.sign(b"data", WAYS[0][1])
            _session(token).close()  # type: ignore[attr-defined]  # SoftHSM has the objects in memory until then
            credential.sign(b"data", WAYS[0][1])
    finally:
        away.rename(token.folder / "tokens")
    assert holds_key(credential)


def test_many_threads_may_use_keys_of_one_token(token: Token) -> None:
    """What two sessions in two threads do to SoftHSM is a segmentation fault (measurements-crypto 7)."""
    credentials = [opened(token, kind) for kind in ("p256", "p384", "ed25519")]
    failed: list[BaseException] = []

    def work(credential: Credential) -> None:
        try:
            assert all(holds_key(credential) for _ in range(30))
        except BaseException as problem:
            failed.append(problem)

    threads = [threading.Thread(target=work, args=(each,)) for each in credentials * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_a_key_is_used_on_both_sides_of_a_fork(token: Token) -> None:
    """No session crosses it: a child that calls into a library its parent initialised has undefined behaviour."""
    credential = opened(token, "p256")
    assert holds_key(credential)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if holds_key(credential) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert holds_key(credential)
