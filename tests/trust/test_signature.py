"""Signatures on certificates."""

from __future__ import annotations

import pki
from domsec import der, oids
from domsec.cms.certificates import Certificate
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
