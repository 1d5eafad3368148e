"""Finding certificates in memory."""

from __future__ import annotations

import pytest
from cryptography import x509

import pki
from domsec import der, oids
from domsec.cms.certificates import IssuerAndSerialNumber, SubjectKeyIdentifier
from domsec.trust import issue
from domsec.trust.source import CertificateSource, MemorySource

ACME, BETA = pki.world().acme, pki.world().beta
ALICE = ACME.users["alice"].certificate


@pytest.fixture
def source() -> CertificateSource:
    everybody = [i.certificate for d in (ACME, BETA) for i in (d.ca, d.signing, d.confidentiality, *d.users.values())]
    return MemorySource([*everybody, *everybody])


@pytest.mark.requirement("R8550-3-02")
@pytest.mark.parametrize("address", ["alice@acme.example", "Alice@ACME.example"])
def test_by_address_without_case(source, address):
    assert source.by_address(address) == (ALICE,)


@pytest.mark.parametrize("address", ["alice@beta.examples", "", "alice", "domain-signing-authority"])
def test_nothing_is_found_for_what_nobody_has(source, address):
    assert source.by_address(address) == ()


def test_letters_beyond_ascii_are_compared_as_they_are():
    person = pki.identity("user", "zoë@acme.example", ACME.ca).certificate
    source = MemorySource([person])
    assert source.by_address("ZOë@acme.example") == (person,)
    assert source.by_address("ZOË@acme.example") == ()


def test_an_authority_is_found_by_role_and_exactly_its_domain(source):
    found = source.authority("domain-confidentiality-authority", "acme.example")
    assert found == (ACME.confidentiality.certificate,)
    assert source.authority("domain-confidentiality-authority", "example") == ()
    assert source.authority("domain-confidentiality-authority", "sub.acme.example") == ()
    assert source.authority("review-authority", "acme.example") == ()


def test_an_authority_may_be_named_by_domain_components_alone():
    subject = [
        (oids.DOMAIN_COMPONENT, "example"),
        (oids.DOMAIN_COMPONENT, "Acme"),
        (oids.COMMON_NAME, "Review-Authority"),
    ]
    named = issue.issue_ca(subject, issue.new_key("p256"), now=pki.START, days=9)
    assert MemorySource([named]).authority("review-authority", "acme.example") == (named,)


def test_by_identifier(source):
    assert source.by_sid(IssuerAndSerialNumber(ALICE.issuer, ALICE.serial)) == (ALICE,)
    assert source.by_sid(IssuerAndSerialNumber(BETA.ca.certificate.subject, ALICE.serial)) != (ALICE,)
    assert source.by_sid(SubjectKeyIdentifier(ALICE.ski or b"")) == (ALICE,)
    assert source.by_sid(SubjectKeyIdentifier(b"nobody's")) == ()


def test_a_certificate_with_names_that_cannot_be_read_is_found_by_identifier_only():
    raw = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), der.sequence(der.tlv(0x81, b"a@b\0")))
    odd = issue.issue_ca("odd", issue.new_key("p256"), now=pki.START, days=9, extensions=[(raw, False)])
    source = MemorySource([odd])
    assert source.by_sid(IssuerAndSerialNumber(odd.issuer, odd.serial)) == (odd,)
    assert source.by_address("a@b") == ()
