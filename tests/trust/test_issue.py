"""The small CA: what it issues is what RFC 3183 asks of an authority, and what others accept."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509

import pki
from domsec.errors import ConfigurationError, KeyUnusable
from domsec.trust import addresses, issue, names, usage
from domsec.trust.path import AnchorSet, Snapshot, Validator

ACME = pki.world().acme


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("signing", "domain-signing-authority"),
        ("confidentiality", "domain-confidentiality-authority"),
        ("review", "review-authority"),
        ("attributes", "attribute-authority"),
    ],
)
def test_an_authority_has_its_role_as_only_common_name_and_local_part(role, name):
    certificate = getattr(ACME, role).certificate
    assert names.common_names(certificate) == (name,)
    assert addresses.addresses(certificate) == (f"{name}@acme.example",)
    assert usage.extended_key_usage(certificate) == ("1.3.6.1.5.5.7.3.4",)
    assert certificate.not_before == pki.START
    assert certificate.not_after == pki.START + timedelta(days=pki.DAYS)


@pytest.mark.parametrize(
    ("role", "kind", "expected"),
    [
        ("signing", "rsa2048", {"digitalSignature", "nonRepudiation"}),
        ("review", "p384", {"digitalSignature", "nonRepudiation"}),
        ("attributes", "ed25519", {"digitalSignature", "nonRepudiation"}),
        ("confidentiality", "rsa2048", {"keyEncipherment"}),
        ("confidentiality", "p256", {"keyAgreement"}),
        ("confidentiality", "x25519", {"keyAgreement"}),
        ("user", "rsa2048", {"digitalSignature", "nonRepudiation", "keyEncipherment"}),
        ("user", "p256", {"digitalSignature", "nonRepudiation", "keyAgreement"}),
        ("user", "ed25519", {"digitalSignature", "nonRepudiation"}),
        ("user", "x25519", {"keyAgreement"}),
        ("signing", "ml-dsa-44", {"digitalSignature", "nonRepudiation"}),
        ("review", "ml-dsa-87", {"digitalSignature", "nonRepudiation"}),
        ("user", "ml-dsa-65", {"digitalSignature", "nonRepudiation"}),
        ("confidentiality", "ml-kem-768", {"keyEncipherment"}),
        ("user", "ml-kem-1024", {"keyEncipherment"}),
    ],
)
def test_key_usage_follows_role_and_key(role, kind, expected):
    domain = "eve@acme.example" if role == "user" else "acme.example"
    certificate = pki.identity(role, domain, ACME.ca, kind).certificate
    assert usage.key_usage(certificate) == expected


@pytest.mark.parametrize(
    ("role", "kind"),
    [
        ("signing", "x25519"),
        ("review", "x25519"),
        ("confidentiality", "ed25519"),
        ("signing", "ml-kem-768"),
        ("confidentiality", "ml-dsa-65"),
    ],
)
def test_a_key_that_cannot_do_the_work_is_refused(role, kind):
    with pytest.raises(KeyUnusable):
        pki.identity(role, "acme.example", ACME.ca, kind)


def test_a_subject_may_say_more_before_the_common_name():
    subject = (("2.5.4.6", "US"), ("2.5.4.10", "Acme"))
    certificate = pki.identity("signing", "acme.example", ACME.ca, subject=subject).certificate
    assert names.name_text(certificate.subject) == "CN=domain-signing-authority,O=Acme,C=US"


def test_keys_and_issuers_are_named_by_identifiers():
    signing, ca = ACME.signing.certificate, ACME.ca.certificate
    extension = signing.x509.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert extension.value.key_identifier == ca.ski
    assert signing.ski is not None
    assert signing.ski != ca.ski


def test_an_internationalised_address_becomes_a_mailbox_of_its_kind():
    certificate = pki.identity("user", "zoë@acme.example", ACME.ca).certificate
    assert addresses.smtp_utf8_addresses(certificate) == ("zoë@acme.example",)


@pytest.mark.parametrize("address", ["zürich.example", "@acme.example", "a@zürich.example", "a\n@acme.example", "a"])
def test_an_address_that_no_certificate_can_carry_is_refused(address):
    with pytest.raises(ConfigurationError):
        pki.identity("user", address, ACME.ca)


def test_a_country_has_two_letters():
    with pytest.raises(ConfigurationError):
        pki.identity("signing", "acme.example", ACME.ca, subject=(("2.5.4.6", "USA"),))


def test_a_time_needs_its_zone():
    with pytest.raises(ConfigurationError):
        issue.issue_ca("x", ACME.ca.signing_key, now=datetime(2026, 1, 1), days=1)


def test_an_unknown_kind_of_key_is_refused():
    with pytest.raises(ConfigurationError):
        issue.new_key("rsa1024")


@pytest.mark.parametrize("kind", ["rsa3072", "p256", "p384", "ed25519"])
def test_every_kind_of_ca_issues_what_validates(kind):
    ca = pki.ca("any", kind)
    certificate = pki.identity("signing", "acme.example", ca).certificate
    anchors = AnchorSet((ca.certificate,))
    verdict = Validator(Snapshot()).validate(certificate, anchors=anchors, now=pki.NOW, revocation="off")
    assert verdict.state == "valid"
