"""Signatures on certificates."""

from __future__ import annotations

import itertools
import math

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import pki
from domsec import der, oids
from domsec.cms.certificates import Certificate
from domsec.trust import issue, usage
from domsec.trust.signature import is_signed_by

ACME = pki.world().acme


def test_a_certificate_is_signed_by_its_issuer_and_nobody_else():
    assert is_signed_by(ACME.signing.certificate, ACME.ca.certificate)
    assert is_signed_by(ACME.ca.certificate, ACME.ca.certificate)
    assert not is_signed_by(ACME.signing.certificate, pki.world().beta.ca.certificate)
    assert not is_signed_by(ACME.signing.certificate, ACME.review.certificate)


def test_a_key_that_cannot_sign_signed_nothing():
    agreement = pki.identity("confidentiality", "acme.example", ACME.ca, "x25519").certificate
    assert not is_signed_by(ACME.signing.certificate, agreement)


def test_the_algorithm_inside_is_the_one_outside():
    certificate = ACME.signing.certificate
    one, other = der.oid(oids.ECDSA_WITH_SHA256), der.oid(oids.ECDSA_WITH_SHA384)
    for place in (certificate.der.find(one), certificate.der.rfind(one)):
        octets = certificate.der[:place] + other + certificate.der[place + len(other) :]
        assert not is_signed_by(Certificate(octets), ACME.ca.certificate)


@pytest.mark.parametrize(("bits", "signed"), [(64, True), (65, False)])
def test_a_key_whose_exponent_makes_checking_slow_is_not_asked(bits, signed):
    """Many of them, each tried for each certificate, are what a stranger would send."""
    key = _key_with_exponent(bits)
    ca = pki.Identity(issue.issue_ca("slow CA", key, now=pki.START, days=pki.DAYS), key)
    assert is_signed_by(ca.certificate, ca.certificate) is signed
    assert is_signed_by(pki.identity("user", "a@acme.example", ca).certificate, ca.certificate) is signed
    assert (usage.weak_key(key.public_key()) is None) is signed


def _key_with_exponent(bits: int) -> rsa.RSAPrivateKey:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    p, q = numbers.p, numbers.q
    order = math.lcm(p - 1, q - 1)
    e = next(e for e in itertools.count((1 << (bits - 1)) + 1, 2) if math.gcd(e, order) == 1)
    d = pow(e, -1, order)
    public = rsa.RSAPublicNumbers(e, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), numbers.iqmp, public).private_key()
