"""One request to the key process: what it may ask for, and what it gets."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

import pki
import world
from domsec import der, oids
from domsec.cms.algorithms import (
    SIGNATURES,
    AlgorithmIdentifier,
    algorithm_identifier,
    check_signature,
    encrypt_key,
    oaep,
    rsa_pss,
)
from domsec.cms.credential import Credential
from domsec.errors import StoreUnavailable
from domsec.keyd.answer import OPENS, PURPOSES, SIGNS, Answer, Keys, Purposes, answer
from domsec.stores.key_protocol import LISTS, USERS, Act, Request, Status, key_digest

ECDSA = SIGNATURES[oids.ECDSA_WITH_SHA256, oids.SHA256]
V15 = algorithm_identifier(oids.RSA_ENCRYPTION, der.null())
DATA = b"\x31\x02\x05\x00"


@functools.cache
def own(role: str, kind: str) -> pki.Identity:
    if role in (USERS, LISTS):
        return pki.identity("user", "alice@acme.example", pki.world().acme.ca, kind)  # type: ignore[arg-type]
    return pki.identity(role, "acme.example", pki.world().acme.ca, kind)  # type: ignore[arg-type]


def held(role: str, kind: str = "p256") -> tuple[Credential, Keys]:
    credential = world.credential(own(role, kind))
    return credential, {(role, key_digest(credential.certificate)): credential}


def ask(
    role: str, act: Act, *arguments: bytes, kind: str = "p256", purposes: Purposes = PURPOSES, **changes: object
) -> Answer:
    """What a key of this role answers, with the request changed so."""
    credential, keys = held(role, kind)
    request = Request(act, role, key_digest(credential.certificate), arguments)
    return answer(dataclasses.replace(request, **changes).encode(), keys, purposes)  # type: ignore[arg-type]


def spki(key: ec.EllipticCurvePublicKey | x25519.X25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


SIGN = (ECDSA.identifier.raw, ECDSA.digest.identifier.raw, DATA)
OURS = spki(ec.generate_private_key(ec.SECP256R1()).public_key())


# --- the four acts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["signing", "review", "attributes"])
def test_a_signing_key_signs(role: str) -> None:
    made = ask(role, Act.SIGN, *SIGN)
    assert made.status is Status.DONE
    check_signature(held(role)[0].certificate, ECDSA, made.result, DATA)


@pytest.mark.parametrize("algorithm", [V15, oaep(oids.SHA256), oaep(oids.SHA1)])
def test_a_confidentiality_key_decrypts(algorithm: AlgorithmIdentifier) -> None:
    public = held("confidentiality", "rsa2048")[0].certificate.public_key
    encrypted = encrypt_key(public, b"k" * 32, algorithm)  # type: ignore[arg-type]
    made = ask("confidentiality", Act.DECRYPT, algorithm.raw, encrypted, kind="rsa2048")
    assert made == dataclasses.replace(made, status=Status.DONE, result=b"k" * 32, refused="")


def test_a_confidentiality_key_agrees_on_a_secret() -> None:
    ours, theirs = ec.generate_private_key(ec.SECP256R1()), held("confidentiality")[0].certificate.public_key
    made = ask("confidentiality", Act.EXCHANGE, spki(ours.public_key()))
    assert (made.status, made.result) == (Status.DONE, ours.exchange(ec.ECDH(), theirs))  # type: ignore[arg-type]


def test_an_ml_kem_key_decapsulates_by_exchange() -> None:
    secret, ciphertext = held("confidentiality", "ml-kem-768")[0].certificate.public_key.encapsulate()  # type: ignore[union-attr]
    made = ask("confidentiality", Act.EXCHANGE, ciphertext, kind="ml-kem-768")
    assert (made.status, made.result) == (Status.DONE, secret)


@pytest.mark.parametrize("role", PURPOSES)
def test_a_key_that_is_here_is_present_and_not_used(role: str) -> None:
    assert ask(role, Act.PRESENT) == Answer(Status.DONE, b"", ask(role, Act.PRESENT).request)
    assert ask(role, Act.PRESENT, b"something").status is Status.UNUSABLE


def test_a_key_of_a_list_signs_and_opens() -> None:
    check_signature(held("lists")[0].certificate, ECDSA, ask("lists", Act.SIGN, *SIGN).result, DATA)
    assert ask("lists", Act.EXCHANGE, OURS).status is Status.DONE


def test_a_key_of_a_user_opens_only_where_that_is_wanted() -> None:
    check_signature(held("users")[0].certificate, ECDSA, ask("users", Act.SIGN, *SIGN).result, DATA)
    assert ask("users", Act.EXCHANGE, OURS).refused == "a key for users does not exchange"
    assert ask("users", Act.EXCHANGE, OURS, purposes={"users": SIGNS | OPENS}).status is Status.DONE


@pytest.mark.requirement("R3218-2.3-01")
@pytest.mark.parametrize("algorithm", [V15, oaep(oids.SHA256)])
@pytest.mark.parametrize("encrypted", [b"", b"x", bytes(256), b"\xff" * 256, b"\xff" * 5000])
def test_a_wrong_padding_is_answered_as_a_right_one(algorithm: AlgorithmIdentifier, encrypted: bytes) -> None:
    """Threats T-22: whoever asks can tell no more than if the key were here."""
    made = ask("confidentiality", Act.DECRYPT, algorithm.raw, encrypted, kind="rsa2048")
    assert (made.status, made.refused) == (Status.DONE, "")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.parametrize(
    ("role", "act", "arguments", "changes", "why"),
    [
        ("signing", Act.DECRYPT, (V15.raw, b"x"), {}, "a key for signing does not decrypt"),
        ("signing", Act.EXCHANGE, (b"x",), {}, "a key for signing does not exchange"),
        ("confidentiality", Act.SIGN, SIGN, {}, "a key for confidentiality does not sign"),
        ("signing", Act.SIGN, SIGN, {"name": "root"}, "keys for root are none of this client's"),
        ("signing", Act.SIGN, SIGN, {"name": "review"}, "there is no key "),
        ("signing", Act.SIGN, SIGN, {"key": bytes(32)}, "there is no key 0000000000000000 for signing"),
        ("signing", Act.SIGN, SIGN[:2], {}, "2 arguments"),
        ("confidentiality", Act.DECRYPT, (V15.raw,), {}, "1 arguments"),
        ("confidentiality", Act.EXCHANGE, (), {}, "0 arguments"),
        ("confidentiality", Act.EXCHANGE, (bytes(4097),), {}, "a public value of 4097 octets"),
        ("signing", Act.SIGN, (b"", *SIGN[1:]), {}, "no signature: "),
        ("signing", Act.SIGN, (b"\x30\x00", *SIGN[1:]), {}, "no signature: "),
    ],
)
def test_what_nobody_of_ours_asks_for_is_refused(
    role: str, act: Act, arguments: tuple[bytes, ...], changes: Mapping[str, object], why: str
) -> None:
    made = ask(role, act, *arguments, **changes)
    assert made.refused.startswith(why)
    assert made.status is (Status.UNAVAILABLE if "no key" in why else Status.UNUSABLE)
    assert made.result.decode() == made.refused


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.parametrize("held_as", PURPOSES)
@pytest.mark.parametrize("asked_as", PURPOSES)
def test_a_key_does_nothing_under_another_name(held_as: str, asked_as: str) -> None:
    """Decisions A-45: no user's key signs as the domain, nor the domain's as a user, whoever asks."""
    for act, arguments in ((Act.SIGN, SIGN), (Act.EXCHANGE, (OURS,)), (Act.PRESENT, ())):
        made = ask(held_as, act, *arguments, name=asked_as)
        assert (made.status is Status.DONE) == (held_as == asked_as and act in PURPOSES[held_as])


@pytest.mark.requirement("R3183-6-02")
def test_who_asks_gets_what_they_may_ask_for() -> None:
    lists = {"lists": PURPOSES["lists"]}
    assert ask("lists", Act.SIGN, *SIGN, purposes=lists).status is Status.DONE
    for name in ("signing", "users"):
        made = ask(name, Act.SIGN, *SIGN, purposes=lists)
        assert (made.status, made.refused) == (Status.UNUSABLE, f"keys for {name} are none of this client's")


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        (SIGNATURES[oids.SHA1_WITH_RSA, oids.SHA1], "rsa2048"),
        (SIGNATURES[oids.MD5_WITH_RSA, oids.MD5], "rsa2048"),
        (rsa_pss(oids.SHA256, salt_length=0), "rsa2048"),
        (SIGNATURES[oids.ECDSA_WITH_SHA384, oids.SHA384], "p256"),
        (ECDSA, "rsa2048"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_key_signs_only_as_we_sign(algorithm: object, kind: str) -> None:
    """Decisions A-46: not by an algorithm that was broken, whoever asks for it."""
    made = ask("signing", Act.SIGN, algorithm.identifier.raw, algorithm.digest.identifier.raw, DATA, kind=kind)  # type: ignore[attr-defined]
    assert made.refused.startswith("no signature: ")


@pytest.mark.parametrize(
    ("kind", "act", "arguments", "status"),
    [
        ("p256", Act.EXCHANGE, (b"rubbish",), Status.UNUSABLE),
        ("p256", Act.EXCHANGE, (spki(x25519.X25519PrivateKey.generate().public_key()),), Status.UNUSABLE),
        ("p256", Act.DECRYPT, (V15.raw, b"x"), Status.UNUSABLE),
        ("rsa2048", Act.DECRYPT, (algorithm_identifier("1.2.3").raw, b"x"), Status.UNSUPPORTED),
        ("rsa2048", Act.DECRYPT, (b"rubbish", b"x"), Status.UNUSABLE),
        ("ml-kem-768", Act.EXCHANGE, (b"short",), Status.UNUSABLE),
    ],
)
def test_what_a_message_may_bring_about_is_no_misdeed(
    kind: str, act: Act, arguments: tuple[bytes, ...], status: Status
) -> None:
    """It stood in mail of somebody far away, who shall not fill our log."""
    made = ask("confidentiality", act, *arguments, kind=kind)
    assert (made.status, made.refused) == (status, "")


class _Breaking:
    """A credential whose token behaves like `problem`."""

    def __init__(self, problem: Exception) -> None:
        self.certificate = world.credential(own("signing", "p256")).certificate
        self.problem = problem

    def sign(self, *_: object) -> bytes:
        raise self.problem


@pytest.mark.parametrize(
    ("problem", "words", "logged"),
    [
        (StoreUnavailable("the token does not answer"), b"the token does not answer", False),
        (ZeroDivisionError("secret"), b"an error in the key process", True),
    ],
)
def test_a_key_that_fails_may_work_later(
    problem: Exception, words: bytes, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    credential = _Breaking(problem)
    digest = key_digest(credential.certificate)
    logging.getLogger("domsec").propagate = True
    made = answer(Request(Act.SIGN, "signing", digest, SIGN).encode(), {("signing", digest): credential})  # type: ignore[dict-item]
    assert (made.status, made.result) == (Status.UNAVAILABLE, words)
    assert bool(caplog.records) is logged


# --- octets that are no request ---------------------------------------------------------------------------------------

_RIGHT = Request(Act.SIGN, "signing", key_digest(held("signing")[0].certificate), SIGN).encode()


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "too short"),
        (b"\x01", "too short"),
        (_RIGHT[:40], "too short"),
        (b"\x00" + _RIGHT[1:], "act 0 is none of the four"),
        (b"\x05" + _RIGHT[1:], "act 5 is none of the four"),
        (_RIGHT[:2] + b"SIGNING" + _RIGHT[9:], "a name of a key that is none"),
        (_RIGHT[:2] + b"a\n2;=/." + _RIGHT[9:], "a name of a key that is none"),
        (_RIGHT[:1] + b"\x00" + _RIGHT[9:], "a name of a key that is none"),
        (_RIGHT[:-1], "cut off, or too many"),
        (_RIGHT + b"\x00", "cut off, or too many"),
        (_RIGHT + bytes(4), "cut off, or too many"),
        (_RIGHT[:41] + b"\xff\xff\xff\xff", "cut off, or too many"),
    ],
)
def test_octets_that_are_no_request_are_refused(octets: bytes, why: str) -> None:
    made = answer(octets, held("signing")[1])
    assert (made.status, made.request) == (Status.UNUSABLE, None)
    assert why in made.refused


@given(st.binary(max_size=300))
def test_any_octets_have_an_answer(octets: bytes) -> None:
    assert answer(octets, held("signing")[1]).status is not Status.DONE


@given(st.integers(0, len(_RIGHT) - 1), st.binary(min_size=0, max_size=6))
def test_any_change_of_a_request_has_an_answer(position: int, octets: bytes) -> None:
    changed = _RIGHT[:position] + octets + _RIGHT[position + len(octets) :]
    made = answer(changed, held("signing")[1])
    assert made.status in Status
    assert made.result


@given(
    st.sampled_from(list(Act)),
    st.sampled_from(["signing", "confidentiality"]),
    st.lists(st.binary(max_size=90), max_size=3),
)
def test_any_arguments_have_an_answer(act: Act, role: str, arguments: list[bytes]) -> None:
    made = ask(role, act, *arguments, kind="rsa2048" if role == "confidentiality" else "p256")
    assert made.result or made.status is Status.DONE
    assert made.result.isascii() or made.status is Status.DONE
