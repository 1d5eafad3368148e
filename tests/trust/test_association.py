"""SMIMEA associations as values: what they speak of (RFC 6698 2.1, RFC 8162 5)."""

from __future__ import annotations

import hashlib

import pytest

from domsec.cms.certificates import Certificate
from domsec.trust import issue
from domsec.trust.association import DANE_EE, DANE_TA, PKIX_EE, PKIX_TA, Association
from world import acme, beta

BOB = beta().users["bob"].certificate
OTHER = acme().users["bob"].certificate


@pytest.mark.parametrize("usage", range(4))
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_every_way_to_speak_of_a_certificate(usage: int, selector: int, matching: int) -> None:
    said = Association.of(BOB, usage, selector, matching)
    assert said.usable
    assert said.matches(BOB)
    assert not said.matches(OTHER)
    assert said.of_issuer is (usage in (PKIX_TA, DANE_TA))
    assert said.certificate == (BOB if (selector, matching) == (0, 0) else None)
    selected = BOB.spki if selector else BOB.der
    digest = {0: bytes, 1: lambda o: hashlib.sha256(o).digest(), 2: lambda o: hashlib.sha512(o).digest()}[matching]
    assert said.data == digest(selected)  # type: ignore[operator]


def test_the_same_key_in_another_certificate_is_the_same_to_selector_1_only() -> None:
    twin = _reissued()
    assert Association.of(BOB, selector=1).matches(twin)
    assert not Association.of(BOB).matches(twin)


def _reissued() -> Certificate:
    key = beta().users["bob"].key
    ca = beta().ca
    return issue.issue(
        "user", "bob@beta.example", key.public_key(), ca.certificate, ca.signing_key, now=BOB.not_before, days=9
    )


@pytest.mark.parametrize(
    "said",
    [
        Association(4, 0, 0, BOB.der),
        Association(255, 0, 0, BOB.der),
        Association(3, 2, 0, BOB.der),
        Association(3, 0, 3, BOB.der),
        Association(3, 0, 0, b""),
        Association(3, 0, 0, b"0\x00"),
        Association(3, 0, 0, BOB.der[:-1]),
        Association(3, 0, 0, BOB.der + b"\0"),
        Association(3, 0, 1, hashlib.sha512(BOB.der).digest()),
        Association(3, 0, 2, hashlib.sha256(BOB.der).digest()),
        Association(3, 1, 1, b""),
    ],
    ids=str,
)
def test_what_is_not_known_or_does_not_fit_speaks_of_nothing(said: Association) -> None:
    assert not said.usable
    assert not said.matches(BOB)


def test_as_text() -> None:
    shown = [str(Association(usage, 0, 1, b"")) for usage in (PKIX_TA, PKIX_EE, DANE_TA, DANE_EE, 7)]
    assert shown == ["0 0 1 (PKIX-TA)", "1 0 1 (PKIX-EE)", "2 0 1 (DANE-TA)", "3 0 1 (DANE-EE)", "7 0 1 (?)"]
