"""What is asked of directories before a decision, and of whom nothing is asked."""

from __future__ import annotations

import pytest
from cryptography import x509

import pki
import world
from directories import dca, found
from domsec.mime.addresses import parse_address, parse_originators
from domsec.mime.fields import split_message
from domsec.services import discovery
from domsec.services.context import Context
from domsec.services.encrypt import Target
from domsec.services.peer import Peer
from domsec.services.signature_type import SignatureType
from domsec.trust.discovered import Found
from domsec.trust.source import MemorySource, SourcesInOrder
from world import acme, beta

BOB = "bob@beta.example"


def knowing(answers: Found, *known: pki.Identity) -> Context:
    at = world.context(known=[each.certificate for each in known])
    return world.replace(at, found=answers, source=SourcesInOrder(at.source, answers))


def dsa(domain: str) -> str:
    return f"domain-signing-authority@{domain}"


def wanted(address: str, target: Target, at: Context) -> list[str]:
    return [question.address for question in discovery.for_recipient(parse_address(address), target, at)]


@pytest.mark.requirement("R3183-4.2-06")
@pytest.mark.parametrize(
    ("address", "target", "expected"),
    [
        (BOB, "recipient", [BOB]),
        (BOB, "auto", [BOB, dca("beta.example")]),
        (BOB, "dca", [BOB, dca("beta.example")]),
        ("x@a.b.example", "both", ["x@a.b.example", dca("a.b.example"), dca("b.example")]),
        ("x@example", "auto", ["x@example"]),
        ("x@[192.0.2.1]", "auto", ["x@[192.0.2.1]"]),
        ("Bob@BETA.example", "recipient", ["Bob@beta.example"]),
        ("x@büro.example", "dca", ["x@xn--bro-hoa.example", dca("xn--bro-hoa.example")]),
    ],
)
def test_the_recipient_and_the_authorities_down_to_two_labels(
    address: str, target: Target, expected: list[str]
) -> None:
    assert wanted(address, target, world.context()) == expected


@pytest.mark.requirement("R3183-4.2-06")
def test_no_authority_of_a_public_suffix() -> None:
    at = world.context(is_public_suffix=lambda domain: domain == "co.example")
    assert wanted("x@a.co.example", "dca", at) == ["x@a.co.example", dca("a.co.example")]


@pytest.mark.requirement("R3183-4.2-04")
@pytest.mark.parametrize(
    ("target", "who", "enough"),
    [
        ("auto", "bob", True),
        ("auto", "authority", True),
        ("recipient", "bob", True),
        ("recipient", "authority", False),
        ("dca", "bob", False),
        ("dca", "authority", True),
        ("both", "bob", False),
        ("both", "authority", False),
    ],
)
def test_nobody_is_asked_where_what_is_at_hand_suffices(target: Target, who: str, enough: bool) -> None:
    identity = beta().users["bob"] if who == "bob" else beta().confidentiality
    at = world.context(known=[identity.certificate])
    assert (wanted(BOB, target, at) == []) is enough


def test_what_is_no_good_does_not_suffice() -> None:
    expired = pki.identity("user", BOB, beta().ca, days=3)
    assert wanted(BOB, "recipient", world.context(known=[expired.certificate])) == [BOB]


def test_the_name_that_was_agreed_goes_along() -> None:
    name = x509.Name.from_rfc4514_string("O=Beta,C=US").public_bytes()
    at = world.context(peers=[Peer("beta.example", distinguished_name=name)])
    (question,) = discovery.for_authority("beta.example", at)
    assert (question.role, question.directory_name) == ("domain-confidentiality-authority", name)


@pytest.mark.requirement("R3183-3.1.1-16")
@pytest.mark.parametrize(
    ("signed_as", "originators", "expected"),
    [
        (None, "alice@a.acme.example", ["alice@a.acme.example"]),
        (SignatureType.ORIGINATOR, "alice@a.acme.example", ["alice@a.acme.example"]),
        (None, "alice@acme.example, bob@acme.example", []),  # nobody signs for two
        (SignatureType.REVIEW, "alice@acme.example", []),
        (SignatureType.DOMAIN, "alice@a.acme.example", [dsa("a.acme.example"), dsa("acme.example")]),
        (SignatureType.DOMAIN, "alice@a.acme.example, bob@b.acme.example", [dsa("acme.example")]),
        (SignatureType.DOMAIN, "alice@a.acme.example, bob@acme.example", [dsa("acme.example")]),
        (SignatureType.DOMAIN, "alice@acme.example, bob@notacme.example", []),
        (SignatureType.DOMAIN, "", []),
    ],
)
def test_at_whose_address_it_may_be_said_who_signs(
    signed_as: SignatureType | None, originators: str, expected: list[str]
) -> None:
    header, _ = split_message(f"From: {originators}\r\n\r\n".encode())
    asked = discovery.of_signer(
        [signed_as] if signed_as else [], parse_originators(header, "from").mailboxes, world.context()
    )
    assert [question.address for question in asked] == expected


@pytest.mark.parametrize("outcome", ["unusable", "unavailable", "nothing"])
def test_a_missing_answer_matters_only_where_nothing_usable_was_found(outcome: str) -> None:
    nobody = found({BOB: outcome, dca("beta.example"): "nothing"})  # type: ignore[dict-item]
    failure = discovery.failure(parse_address(BOB), "auto", knowing(nobody))
    assert (failure is not None) is (outcome != "nothing")
    authority = found({BOB: outcome, dca("beta.example"): [beta().confidentiality.certificate]})  # type: ignore[dict-item]
    assert discovery.failure(parse_address(BOB), "auto", knowing(authority)) is None
    assert discovery.failure(parse_address(BOB), "auto", knowing(nobody, beta().confidentiality)) is None
    assert discovery.failure(parse_address("carol@gamma.example"), "auto", knowing(nobody)) is None


def test_what_is_at_hand_comes_before_what_was_found() -> None:
    own, other = beta().users["bob"].certificate, acme().users["bob"].certificate
    both = SourcesInOrder(MemorySource([own]), found({BOB: [other, own], dca("beta.example"): [other]}))
    assert both.by_address(BOB) == (own, other)
    assert both.authority("domain-confidentiality-authority", "beta.example") == (other,)
