"""Paths: what reaches an anchor, what breaks on the way, and what is remembered of it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

import interpersonal
import pki
from domsec import der, oids
from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage
from domsec.limits import Limits
from domsec.trust import addresses, issue, names, rfc5280, usage
from domsec.trust.crl import crl_index, named_crl_issuers
from domsec.trust.path import AnchorSet, PathVerdict, Policies, Snapshot, Validator
from domsec.trust.signature import is_signed_by
from domsec.trust.source import MemorySource

ACME = pki.world().acme
SUBJECT_ALT_NAME = x509.ObjectIdentifier(addresses.SUBJECT_ALT_NAME)
ANCHORS = AnchorSet((ACME.ca.certificate,))


def validate(certificate: Certificate, *offered: Certificate, **options: object) -> PathVerdict:
    """At pki.NOW against acme's CA, without revocation, where nothing else is said."""
    snapshot = options.pop("snapshot", Snapshot())
    validator = options.pop("validator", None) or Validator(snapshot, **options.pop("limits", {}))
    settings = {"anchors": ANCHORS, "now": pki.NOW, "revocation": "off", **options}
    return validator.validate(certificate, offered, **settings)


class Leaf:
    """A certificate built attribute by attribute, for what `issue` would never issue."""

    def __init__(self, issuer: pki.Identity, *, subject: Sequence[tuple[str, str]] = (), key=None):
        self.issuer = issuer
        self.key = key or issue.new_key("p256")
        self.builder = issue._builder(
            issue._name([*subject, (oids.COMMON_NAME, "leaf")]),
            self.key.public_key(),
            issuer.certificate,
            pki.START,
            365,
            7,
        )

    def __call__(self, *extensions: x509.ExtensionType, critical: bool = False) -> Certificate:
        builder = self.builder
        for extension in extensions:
            builder = builder.add_extension(extension, critical)
        return issue._signed(builder, self.issuer.signing_key)


def mail(address: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.RFC822Name(address)])


def constrained(permitted=None, excluded=None, *, critical: bool = True, below: pki.Identity | None = None):
    """A CA with name constraints, below acme's."""
    key = issue.new_key("p256")
    constraints = x509.NameConstraints(permitted, excluded)
    parent = below or ACME.ca
    certificate = issue.issue_ca(
        "constrained",
        key,
        now=pki.START,
        days=365,
        issuer_cert=parent.certificate,
        issuer_key=parent.signing_key,
        extensions=[(constraints, critical)],
    )
    return pki.Identity(certificate, key)


def intermediate(name: str = "between", *, parent: pki.Identity | None = None, kind="p256", **options) -> pki.Identity:
    parent = parent or ACME.ca
    key = issue.new_key(kind)
    certificate = issue.issue_ca(
        name,
        key,
        **{"now": pki.START, "days": 365} | options,
        issuer_cert=parent.certificate,
        issuer_key=parent.signing_key,
    )
    return pki.Identity(certificate, key)


ACME_MAIL = [x509.RFC822Name("acme.example")]
ACME_MAIL_NAME = x509.RFC822Name("a@acme.example")
ACME_DIRECTORY = [x509.DirectoryName(issue._name([(oids.ORGANIZATION_NAME, "Acme")]))]


# reaching an anchor


@pytest.mark.parametrize("role", ["signing", "confidentiality", "review", "attributes"])
def test_a_certificate_of_a_trusted_ca_is_valid(role):
    certificate = getattr(ACME, role).certificate
    assert validate(certificate) == PathVerdict("valid", "", "off", (certificate, ACME.ca.certificate))


def test_a_certificate_of_another_ca_is_untrusted():
    verdict = validate(pki.world().beta.signing.certificate, pki.world().beta.ca.certificate)
    assert verdict == PathVerdict("untrusted", "no path to an anchor", "off", ())


@pytest.mark.requirement("R8550-2.3-01")
def test_a_self_signed_ca_is_not_trusted_for_being_sent_along():
    impostor = pki.ca("acme.example CA")
    forged = pki.identity("signing", "acme.example", impostor).certificate
    assert impostor.certificate.subject == ACME.ca.certificate.subject
    assert validate(forged, impostor.certificate).state == "untrusted"


@pytest.mark.requirement("R8550-2.3-01")
def test_the_chain_is_found_among_fifty_unrelated_certificates_in_any_order():
    upper = intermediate("upper")
    lower = intermediate("lower", parent=upper)
    certificate = pki.identity("signing", "acme.example", lower).certificate
    unrelated = [pki.ca(f"unrelated {number}").certificate for number in range(50)]
    verdict = validate(certificate, *unrelated[:25], lower.certificate, *unrelated[25:], upper.certificate)
    assert verdict.state == "valid"
    assert verdict.chain == (certificate, lower.certificate, upper.certificate, ACME.ca.certificate)


def test_intermediates_of_the_snapshot_complete_a_chain():
    between = intermediate()
    certificate = pki.identity("signing", "acme.example", between).certificate
    assert validate(certificate).state == "untrusted"
    assert validate(certificate, snapshot=Snapshot(intermediates=(between.certificate,))).state == "valid"


@pytest.mark.requirement("R8550-4-01")
def test_of_several_certificates_of_one_ca_the_one_that_leads_to_an_anchor_is_found():
    key = issue.new_key("p256")
    parents = [pki.ca(f"unknown {number}") for number in range(3)]
    expired = issue.issue_ca(
        "cross", key, now=pki.START, days=1, issuer_cert=ACME.ca.certificate, issuer_key=ACME.ca.signing_key
    )
    crosses = [
        issue.issue_ca("cross", key, now=pki.START, days=365, issuer_cert=p.certificate, issuer_key=p.signing_key)
        for p in (*parents, ACME.ca)
    ]
    certificate = pki.identity("signing", "acme.example", pki.Identity(crosses[0], key)).certificate
    for offered in ((expired, *crosses), (*reversed(crosses), expired)):
        verdict = validate(certificate, *offered, *(parent.certificate for parent in parents))
        assert verdict.state == "valid"
        assert verdict.chain[1] == crosses[-1]


def test_an_intermediate_may_be_the_anchor():
    between = intermediate()
    certificate = pki.identity("signing", "acme.example", between).certificate
    assert validate(certificate, anchors=AnchorSet((between.certificate,))).state == "valid"


def test_certificates_that_certify_each_other_do_not_loop():
    a, b = pki.ca("a"), pki.ca("b")
    a_by_b = issue.issue_ca(
        "a", a.signing_key, now=pki.START, days=9, issuer_cert=b.certificate, issuer_key=b.signing_key
    )
    b_by_a = issue.issue_ca(
        "b", b.signing_key, now=pki.START, days=9, issuer_cert=a.certificate, issuer_key=a.signing_key
    )
    certificate = pki.identity("signing", "acme.example", a).certificate
    offered = (a_by_b, b_by_a, a.certificate, b.certificate)
    assert validate(certificate, *offered).state == "untrusted"


# pins


def test_a_pinned_certificate_validates_itself():
    pinned = pki.world().beta.signing.certificate
    assert validate(pinned, anchors=AnchorSet((pinned,))) == PathVerdict("valid", "", "off", (pinned,))


def test_a_pinned_certificate_validates_nothing_else_with_its_name_and_key():
    beta = pki.world().beta
    pinned = beta.signing
    again = issue.issue(
        "signing", "beta.example", pinned.key.public_key(), beta.ca.certificate, beta.ca.signing_key,
        now=pki.START, days=10,
    )  # fmt: skip
    below = pki.identity("user", "eve@beta.example", pinned).certificate
    for certificate in (again, below):
        assert validate(certificate, pinned.certificate, anchors=AnchorSet((pinned.certificate,))).state == "untrusted"


def test_a_pin_does_not_outlive_its_certificate():
    pinned = pki.world().beta.signing.certificate
    verdict = validate(pinned, anchors=AnchorSet((pinned,)), now=pki.NOW + timedelta(days=400))
    assert (verdict.state, verdict.reason[:7]) == ("invalid", "expired")


def test_a_pin_does_not_save_what_its_ca_revoked():
    pinned = ACME.signing.certificate
    crl = issue.issue_crl(ACME.ca.certificate, ACME.ca.signing_key, [pinned.serial], now=pki.START, days=90)
    anchors = AnchorSet((pinned, ACME.ca.certificate))
    assert validate(pinned, anchors=anchors, revocation="soft").state == "valid"
    verdict = validate(pinned, anchors=anchors, revocation="soft", snapshot=Snapshot(crls=crl_index([crl])))
    assert (verdict.state, verdict.revocation) == ("invalid", "revoked")


def test_a_role_store_does_not_lend_its_anchors_to_the_other():
    snapshot = Snapshot(roles=AnchorSet((ACME.ca.certificate,)), users=AnchorSet((pki.world().beta.ca.certificate,)))
    certificate = ACME.signing.certificate
    assert validate(certificate, anchors=snapshot.roles, snapshot=snapshot).state == "valid"
    assert validate(certificate, anchors=snapshot.users, snapshot=snapshot).state == "untrusted"


# what breaks a path


@pytest.mark.requirement("R8550-6-01")
@pytest.mark.parametrize(
    ("now", "state", "reason"),
    [
        (pki.START, "valid", ""),
        (pki.START - timedelta(seconds=1), "invalid", "not valid before 2026-10-24 12:00:00Z"),
        (pki.START + timedelta(days=pki.DAYS), "valid", ""),
        (pki.START + timedelta(days=pki.DAYS, seconds=1), "invalid", "expired 2027-10-24 12:00:00Z"),
    ],
)
def test_validity_is_judged_at_the_given_time_both_ends_included(now, state, reason):
    verdict = validate(ACME.signing.certificate, now=now)
    assert (verdict.state, verdict.reason) == (state, reason)


@pytest.mark.requirement("R8550-6-01")
def test_a_certificate_without_an_end_is_valid_and_so_is_its_verdict():
    """RFC 5280 4.1.2.5 writes that as 99991231235959Z, the last second there is."""
    template = ACME.signing.certificate.x509
    builder = x509.CertificateBuilder(extensions=list(template.extensions))
    made = (
        builder.issuer_name(template.issuer)
        .subject_name(template.subject)
        .public_key(template.public_key())
        .serial_number(1)
        .not_valid_before(pki.START)
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .sign(ACME.ca.signing_key, hashes.SHA256())
    )
    certificate = Certificate(made.public_bytes(Encoding.DER))
    assert validate(certificate).state == "valid"
    assert validate(certificate, now=pki.START - timedelta(seconds=1)).state == "invalid"
    assert validate(certificate, now=pki.START).state == "valid"


def test_an_expired_issuer_breaks_the_path():
    between = intermediate(days=5)
    certificate = pki.identity("signing", "acme.example", between).certificate
    verdict = validate(certificate, between.certificate)
    assert (verdict.state, verdict.reason) == ("invalid", "issuer 1 of the path: expired 2026-10-29 12:00:00Z")


def test_an_end_entity_issues_nothing():
    certificate = pki.identity("signing", "acme.example", ACME.users["alice"]).certificate
    verdict = validate(certificate, ACME.users["alice"].certificate)
    assert verdict.state == "invalid"
    assert "not a CA" in verdict.reason


def _no_cert_sign() -> tuple[Certificate, Certificate]:
    key = issue.new_key("p256")
    ca = Leaf(ACME.ca, key=key)(
        x509.BasicConstraints(ca=True, path_length=None), issue._key_usage("digital_signature", "crl_sign")
    )
    return Leaf(pki.Identity(ca, key))(mail("a@acme.example")), ca


def _too_long() -> tuple[Certificate, ...]:
    upper = intermediate("upper", path_length=0)
    lower = intermediate("lower", parent=upper)
    return Leaf(lower)(mail("a@acme.example")), lower.certificate, upper.certificate


def _unknown_critical() -> tuple[Certificate]:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), der.null())
    return (Leaf(ACME.ca)(extension, critical=True),)


def _explicit_policy() -> tuple[Certificate, Certificate]:
    extension = x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None)
    between = intermediate(extensions=[(extension, True)])
    return Leaf(between)(mail("a@acme.example")), between.certificate


def _no_mail_purpose() -> tuple[Certificate, Certificate]:
    between = intermediate(extensions=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
    return Leaf(between)(mail("a@acme.example")), between.certificate


def _constraints_of_an_end_entity() -> tuple[Certificate]:
    return (Leaf(ACME.ca)(mail("a@acme.example"), x509.NameConstraints(ACME_MAIL, None)),)


def _nameless() -> tuple[Certificate, Certificate]:
    key = issue.new_key("p256")
    parent = {"issuer_cert": ACME.ca.certificate, "issuer_key": ACME.ca.signing_key}
    ca = issue.issue_ca((), key, now=pki.START, days=90, **parent)
    return Leaf(pki.Identity(ca, key))(mail("a@acme.example")), ca


def _weak_digest() -> tuple[Certificate, Certificate]:
    between = intermediate(kind="rsa2048")
    # OpenSSL still makes them; pyca does not, so an old algorithm identifier is put on a certificate of today
    leaf = Leaf(between)(mail("a@acme.example"))
    tbs = leaf.x509.tbs_certificate_bytes.replace(_algorithm(oids.SHA256_WITH_RSA), _algorithm(oids.SHA1_WITH_RSA))
    assert isinstance(between.key, rsa.RSAPrivateKey)
    signature = between.key.sign(tbs, padding.PKCS1v15(), hashes.SHA1())
    octets = der.sequence(tbs, _algorithm(oids.SHA1_WITH_RSA), der.bit_string(signature))
    return Certificate(octets), between.certificate


def _algorithm(oid: str) -> bytes:
    return der.sequence(der.oid(oid), der.null())


def _small_ca() -> tuple[Certificate, Certificate]:
    key = rsa.generate_private_key(65537, 1024)
    ca = issue.issue_ca(
        "small", key, now=pki.START, days=90, issuer_cert=ACME.ca.certificate, issuer_key=ACME.ca.signing_key
    )
    return Leaf(pki.Identity(ca, key))(mail("a@acme.example")), ca


@pytest.mark.requirement("R5280-6.1-01")
@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        pytest.param(_no_cert_sign, "not allowed to sign certificates", id="CA without keyCertSign"),
        pytest.param(_too_long, "maximum path length", id="path length"),
        pytest.param(_unknown_critical, "unsupported critical extension", id="unknown critical extension"),
        pytest.param(_explicit_policy, "no valid set of policies", id="explicit policy"),
        pytest.param(_no_mail_purpose, "emailProtection", id="CA for servers"),
        pytest.param(_constraints_of_an_end_entity, "but is no CA", id="name constraints of an end entity"),
        pytest.param(_nameless, "issuer 1 of the path has no name", id="CA without a name"),
        pytest.param(_weak_digest, "signed with sha1", id="SHA-1"),
        pytest.param(_small_ca, "RSA key of 1024 bits", id="CA of 1024 bits"),
    ],
)
def test_a_rule_that_is_broken_on_the_way_makes_the_path_invalid(chain, reason):
    verdict = validate(*chain())
    assert verdict.state == "invalid"
    assert reason in verdict.reason


def test_an_anchor_that_may_not_sign_certificates_vouches_for_none():
    certificate, anchor = _no_cert_sign()
    verdict = validate(certificate, anchors=AnchorSet((anchor,)))
    assert (verdict.state, verdict.reason) == ("invalid", "issuer 1 of the path: key usage has no keyCertSign")


@pytest.mark.parametrize("chain", [_weak_digest, _small_ca])
def test_the_floor_for_algorithms_can_be_lifted_for_old_mail(chain):
    assert validate(*chain(), limits={"allow_weak": True}).state == "valid"


# the table of measurements-crypto E2: what a verifier for S/MIME accepts


@pytest.mark.parametrize(
    "extensions",
    [
        pytest.param((mail("a@acme.example"), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])), id="all"),
        pytest.param((), id="no alternative name, no purpose"),
        pytest.param((mail("a@acme.example"),), id="no purpose"),
    ],
)
def test_a_certificate_for_mail_needs_little(extensions):
    assert validate(Leaf(ACME.ca)(*extensions)).state == "valid"


@pytest.mark.requirement("R8550-3-03")
def test_a_certificate_without_any_address_has_a_path_like_any_other():
    certificate = Leaf(ACME.ca)()
    assert addresses.addresses(certificate) == ()
    assert validate(certificate).state == "valid"


@pytest.mark.requirement("R8550-6-02")
@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_addresses_in_certificates_are_never_fetched(mode, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was about to be fetched")

    url = x509.UniformResourceIdentifier("http://192.0.2.1/ca")
    access = [
        x509.AccessDescription(method, url)
        for method in (x509.AuthorityInformationAccessOID.CA_ISSUERS, x509.AuthorityInformationAccessOID.OCSP)
    ]
    points = x509.CRLDistributionPoints([x509.DistributionPoint([url], None, None, None)])
    between = intermediate(extensions=[(points, False), (x509.AuthorityInformationAccess(access), False)])
    certificate = Leaf(between)(points, x509.AuthorityInformationAccess(access))
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    verdict = validate(certificate, between.certificate, revocation=mode)
    assert verdict.state == ("unknown" if mode == "hard" else "valid")
    assert validate(certificate, revocation=mode).state == "untrusted"


@pytest.mark.parametrize("kind", ["ed25519", "rsa2048", "p384"])
def test_any_current_key_can_be_a_ca(kind):
    ca = pki.ca("other", kind)
    certificate = pki.identity("signing", "acme.example", ca).certificate
    assert validate(certificate, anchors=AnchorSet((ca.certificate,))).state == "valid"


def test_brainpool_and_post_quantum_cas_are_accepted():
    for key in (ec.generate_private_key(ec.BrainpoolP256R1()), mldsa.MLDSA65PrivateKey.generate()):
        name = issue._name([(oids.COMMON_NAME, "new")])
        builder = issue._builder(name, key.public_key(), None, pki.START, 90, None)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        digest = hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
        ca = Certificate(builder.sign(key, digest).public_bytes(Encoding.DER))
        leaf = Leaf(pki.Identity(ca, ACME.ca.key)).builder.sign(key, digest).public_bytes(Encoding.DER)
        assert validate(Certificate(leaf), anchors=AnchorSet((ca,))).state == "valid"


def test_pss_with_any_length_of_salt_is_accepted():
    ca = pki.ca("pss", "rsa2048")
    builder = Leaf(ca).builder
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=20)
    leaf = Certificate(builder.sign(ca.signing_key, hashes.SHA256(), rsa_padding=scheme).public_bytes(Encoding.DER))
    assert validate(leaf, anchors=AnchorSet((ca.certificate,))).state == "valid"


@pytest.mark.requirement("R5280-7.1-01")
@pytest.mark.parametrize(
    ("name", "state"),
    [("ACME.example  ca", "valid"), ("аcme.example CA", "untrusted"), ("acme.exampleCA", "untrusted")],
)
def test_an_issuer_name_may_differ_in_case_and_spaces_only(name, state):
    same_key = issue.issue_ca(name, ACME.ca.signing_key, now=pki.START, days=90)
    certificate = Leaf(pki.Identity(same_key, ACME.ca.key))(mail("a@acme.example"))
    assert certificate.issuer != ACME.ca.certificate.subject
    assert validate(certificate).state == state


@pytest.mark.requirement("R5280-4.2.1.10-01")
@pytest.mark.parametrize(
    ("permitted", "excluded", "subject", "alternative", "state"),
    [
        pytest.param(ACME_MAIL, None, (), mail("a@acme.example"), "valid", id="address inside"),
        pytest.param(ACME_MAIL, None, (), mail("a@evil.example"), "invalid", id="address outside"),
        pytest.param(ACME_MAIL, None, (), mail("a@sub.acme.example"), "invalid", id="host, not domain"),
        pytest.param(
            ACME_MAIL,
            None,
            [(oids.EMAIL_ADDRESS, "a@evil.example")],
            None,
            "invalid",
            id="only in the subject, outside",
        ),
        pytest.param(
            ACME_MAIL,
            None,
            [(oids.EMAIL_ADDRESS, "a@evil.example")],
            mail("a@acme.example"),
            "invalid",
            id="inside, and outside in the subject",
        ),
        pytest.param(
            ACME_MAIL,
            None,
            (),
            x509.SubjectAlternativeName(
                [x509.OtherName(x509.ObjectIdentifier(oids.ID_ON_SMTP_UTF8_MAILBOX), der.utf8("ä@evil.example"))]
            ),
            "invalid",
            id="internationalised, outside",
        ),
        pytest.param(None, ACME_MAIL, (), mail("a@acme.example"), "invalid", id="address excluded"),
        pytest.param(None, ACME_MAIL, (), mail("a@beta.example"), "valid", id="address not excluded"),
        pytest.param(
            ACME_DIRECTORY, None, [(oids.ORGANIZATION_NAME, "Acme")], mail("a@x.example"), "valid", id="subject inside"
        ),
        pytest.param(
            ACME_DIRECTORY,
            None,
            [(oids.ORGANIZATION_NAME, "Evil")],
            mail("a@x.example"),
            "invalid",
            id="subject outside",
        ),
    ],
)
@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("as_anchor", [False, True])
def test_name_constraints_bind(permitted, excluded, subject, alternative, state, critical, as_anchor):
    ca = constrained(permitted, excluded, critical=critical)
    certificate = Leaf(ca, subject=subject)(*([alternative] if alternative else []))
    anchors = AnchorSet((ca.certificate,)) if as_anchor else ANCHORS
    verdict = validate(certificate, ca.certificate, anchors=anchors)
    assert verdict.state == state
    assert (verdict.reason == "") is (state == "valid")


X400_NAME = interpersonal.tlv(0xA3, interpersonal.address_content())


def with_x400_address(issuer: pki.Identity, *extensions: x509.ExtensionType) -> Certificate:
    names = interpersonal.tlv(0x30, X400_NAME, interpersonal.tlv(0x81, b"a@acme.example"))
    return Leaf(issuer)(x509.UnrecognizedExtension(SUBJECT_ALT_NAME, names), *extensions)


UPN = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), der.utf8("acme.example"))


@pytest.mark.requirement("R5280-4.2.1.10-01")
@pytest.mark.parametrize("as_anchor", [False, True])
@pytest.mark.parametrize(
    ("permitted", "excluded", "alternative", "state"),
    [
        ([*ACME_MAIL, UPN], None, ACME_MAIL_NAME, "valid"),
        (ACME_MAIL, [UPN], ACME_MAIL_NAME, "valid"),
        ([UPN], None, ACME_MAIL_NAME, "valid"),
        (None, [UPN], ACME_MAIL_NAME, "valid"),
        ([*ACME_MAIL, UPN], None, x509.RFC822Name("a@evil.example"), "invalid"),
        ([UPN], ACME_MAIL, ACME_MAIL_NAME, "invalid"),
        ([*ACME_MAIL, UPN], None, UPN, "invalid"),
        (ACME_MAIL, [UPN], UPN, "invalid"),
    ],
)
def test_constraints_on_other_names_bind_whom_has_one(permitted, excluded, alternative, state, as_anchor):
    """As CAs of Microsoft's have them. What cannot be compared is refused; the other constraints bind as ever."""
    ca = constrained(permitted, excluded)
    certificate = Leaf(ca)(x509.SubjectAlternativeName([alternative]))
    anchors = AnchorSet((ca.certificate,)) if as_anchor else ANCHORS
    assert validate(certificate, ca.certificate, anchors=anchors).state == state


@pytest.mark.requirement("R3854-4.3-01")
def test_a_certificate_with_an_x400_address_is_validated_like_any_other():
    """Neither of the two libraries below can read one with a country in it."""
    assert validate(with_x400_address(ACME.ca)).state == "valid"
    ca = constrained(ACME_MAIL)
    assert validate(with_x400_address(ca), ca.certificate).state == "valid"
    ca = constrained([x509.RFC822Name("beta.example")])
    assert validate(with_x400_address(ca), ca.certificate).state == "invalid"


def test_its_revocation_is_looked_up_too():
    certificate = with_x400_address(ACME.ca)
    lists = Snapshot(crls=crl_index([crl(certificate.serial)]))
    assert validate(certificate, snapshot=lists, revocation="hard").revocation == "revoked"
    elsewhere = x509.DirectoryName(issue._name([(oids.COMMON_NAME, "somebody else")]))
    point = x509.CRLDistributionPoints([x509.DistributionPoint(None, None, None, [elsewhere])])
    named = with_x400_address(ACME.ca, point)
    assert named_crl_issuers(named) == (elsewhere.value.public_bytes(),)


@pytest.mark.parametrize("field", [0xA0, 0xA1], ids=["permitted", "excluded"])
@pytest.mark.parametrize("as_anchor", [False, True])
def test_a_ca_that_is_confined_to_x400_addresses_certifies_nobody(field, as_anchor):
    """RFC 5280 4.2.1.10: such a constraint is processed, or the certificate rejected."""
    constraints = x509.UnrecognizedExtension(
        x509.ObjectIdentifier(addresses.NAME_CONSTRAINTS),
        interpersonal.tlv(0x30, interpersonal.tlv(field, interpersonal.tlv(0x30, X400_NAME))),
    )
    key = issue.new_key("p256")
    ca = issue.issue_ca("confined", key, now=pki.START, days=365, issuer_cert=ACME.ca.certificate,
                        issuer_key=ACME.ca.signing_key, extensions=[(constraints, True)])  # fmt: skip
    leaf = with_x400_address(pki.Identity(ca, key))
    anchors = AnchorSet((ca,)) if as_anchor else ANCHORS
    assert validate(leaf, ca, anchors=anchors).state in ("invalid", "untrusted")


def test_policies_that_are_named_are_needed():
    policy = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
    with_policy, without = Leaf(ACME.ca)(policy), Leaf(ACME.ca)()
    wanted = Policies(accepted=frozenset({"1.2.3"}))
    assert validate(with_policy, policies=wanted).state == "valid"
    assert validate(without, policies=wanted).state == "invalid"
    assert validate(with_policy, policies=Policies(accepted=frozenset({"1.2.4"}))).state == "invalid"
    assert validate(without).state == "valid"


# revocation


def crl(*serials: int, ca: pki.Identity = ACME.ca, now: datetime = pki.START, days: int = 60) -> bytes:
    return issue.issue_crl(ca.certificate, ca.signing_key, serials, now=now, days=days)


@pytest.mark.requirement("R8550-2.1-01")
@pytest.mark.parametrize(
    ("crls", "mode", "state", "revocation"),
    [
        pytest.param([crl()], "hard", "valid", "good", id="not listed"),
        pytest.param([crl(11)], "hard", "invalid", "revoked", id="listed, hard"),
        pytest.param([crl(11)], "soft", "invalid", "revoked", id="listed, soft"),
        pytest.param([crl(11)], "off", "valid", "off", id="listed, off"),
        pytest.param([], "hard", "unknown", "unknown", id="none, hard"),
        pytest.param([], "soft", "valid", "unknown", id="none, soft"),
        pytest.param([], "off", "valid", "off", id="none, off"),
        pytest.param([crl(days=5)], "hard", "unknown", "unknown", id="out of date"),
        pytest.param([crl(11, days=5)], "hard", "invalid", "revoked", id="out of date and listed"),
        pytest.param([crl(now=pki.NOW + timedelta(days=1))], "hard", "unknown", "unknown", id="of the future"),
        pytest.param([crl(ca=pki.ca("acme.example CA"))], "hard", "unknown", "unknown", id="forged"),
        pytest.param([crl(11, ca=pki.ca("acme.example CA"))], "soft", "valid", "unknown", id="forged and listed"),
        pytest.param([crl(11), crl(now=pki.NOW)], "hard", "valid", "good", id="the newest counts"),
    ],
)
@pytest.mark.parametrize("sent_along", [False, True])
def test_revocation_by_mode(crls, mode, state, revocation, sent_along):
    snapshot = Snapshot() if sent_along else Snapshot(crls=crl_index(crls))
    verdict = validate(ACME.signing.certificate, revocation=mode, snapshot=snapshot, crls=crls if sent_along else ())
    assert (verdict.state, verdict.revocation) == (state, revocation)


@pytest.mark.requirement("R8550-2.1-01")
def test_every_certificate_of_the_path_but_the_anchor_is_looked_up():
    between = intermediate(serial=77)
    certificate = pki.identity("signing", "acme.example", between, serial=5).certificate

    def verdict(*crls: bytes) -> PathVerdict:
        snapshot = Snapshot(crls=crl_index(crls))
        return validate(certificate, between.certificate, revocation="hard", snapshot=snapshot)

    assert verdict(crl(), crl(ca=between)).state == "valid"
    assert verdict(crl()).state == "unknown"
    assert verdict(crl(ca=between)).state == "unknown"
    revoked = verdict(crl(77), crl(ca=between))
    assert (revoked.state, revoked.revocation) == ("invalid", "revoked")
    assert revoked.reason.startswith("issuer 1 of the path is revoked")
    assert verdict(crl(77)).revocation == "revoked"


def test_a_reason_is_told():
    entry = (11, pki.START, x509.ReasonFlags.key_compromise)
    listed = issue.issue_crl(ACME.ca.certificate, ACME.ca.signing_key, [entry], now=pki.START, days=60)
    verdict = validate(ACME.signing.certificate, revocation="soft", snapshot=Snapshot(crls=crl_index([listed])))
    assert verdict.reason == "revoked 2026-10-24 12:00:00Z, keyCompromise"


def test_a_ca_that_may_not_sign_crls_says_nothing():
    key = issue.new_key("p256")
    ca = Leaf(ACME.ca, key=key)(x509.BasicConstraints(ca=True, path_length=None), issue._key_usage("key_cert_sign"))
    identity = pki.Identity(ca, key)
    certificate = pki.identity("signing", "acme.example", identity, serial=3).certificate
    snapshot = Snapshot(crls=crl_index([crl(), crl(3, ca=identity)]))
    assert validate(certificate, ca, revocation="hard", snapshot=snapshot).state == "unknown"


# hostile certificates


def broken(certificate: Certificate, old: bytes, new: bytes) -> Certificate:
    assert certificate.der.count(old) >= 1
    return Certificate(certificate.der.replace(old, new, 1))


def test_a_certificate_that_cannot_be_loaded_is_invalid():
    spki = ACME.signing.certificate.spki
    verdict = validate(broken(ACME.signing.certificate, spki[-66:], b"\x00\x05" + spki[-64:]))
    assert verdict.state in {"invalid", "untrusted"}
    assert verdict.chain == ()


def test_extensions_that_cannot_be_read_make_it_invalid():
    twice = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x05")
    verdict = validate(Leaf(ACME.ca)(twice))
    assert (verdict.state, verdict.reason) == ("invalid", "a certificate whose extensions cannot be read")


def test_a_certificate_that_is_too_big_is_not_looked_at():
    big = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x04\x82\x90\x00" + bytes(0x9000))
    verdict = validate(Leaf(ACME.ca)(big))
    assert verdict.state == "invalid"
    assert "octets" in verdict.reason


def test_a_broken_certificate_sent_along_does_not_hide_the_good_one():
    between = intermediate()
    bad = broken(between.certificate, der.oid(oids.ECDSA_WITH_SHA256), der.oid(oids.ECDSA_WITH_SHA384))
    certificate = pki.identity("signing", "acme.example", between).certificate
    assert validate(certificate, bad, between.certificate).state == "valid"


def test_a_changed_certificate_is_untrusted():
    changed = broken(ACME.signing.certificate, b"acme.example", b"evil.example")
    assert not is_signed_by(changed, ACME.ca.certificate)
    assert validate(changed).state == "untrusted"


def test_signature_checks_are_counted():
    crowd = [pki.ca("acme.example CA").certificate for _ in range(12)]
    certificate = pki.identity("signing", "acme.example", pki.ca("acme.example CA")).certificate
    verdict = validate(certificate, *crowd, limits={"limits": Limits(path_tries=5)})
    assert (verdict.state, verdict.reason) == ("untrusted", "no path to an anchor within the limit of tries")


def test_paths_have_an_end():
    above = ACME.ca
    offered = []
    for number in range(4):
        above = intermediate(f"level {number}", parent=above)
        offered.append(above.certificate)
    certificate = pki.identity("signing", "acme.example", above).certificate
    assert validate(certificate, *offered, limits={"limits": Limits(path_length=6)}).state == "valid"
    assert validate(certificate, *offered, limits={"limits": Limits(path_length=5)}).state == "untrusted"


def test_whatever_the_path_algorithm_raises_is_a_no(monkeypatch):
    def explode(_octets: bytes) -> None:
        raise RecursionError

    monkeypatch.setattr(rfc5280, "_parsed", explode)
    verdict = validate(ACME.signing.certificate)
    assert (verdict.state, verdict.reason) == ("invalid", "the path validator cannot process it (RecursionError)")


def test_the_library_below_is_imported_when_first_used():
    """`domsec show` judges nothing and must start quickly."""
    code = "import sys, domsec.trust.path, domsec.trust.source; print([m for m in sys.modules if 'pyhanko' in m])"
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | paths, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_library_below_logs_nothing():
    validate(ACME.signing.certificate)
    assert not logging.getLogger("pyhanko_certvalidator.revinfo.validate_crl").isEnabledFor(logging.ERROR)


def test_an_indirect_list_of_somebody_else_says_nothing():
    """It may be signed by a CA of ours, and still not be asked for."""
    other = intermediate("other", serial=70)
    scope = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)
    builder = x509.CertificateRevocationListBuilder().issuer_name(other.certificate.x509.subject)
    builder = builder.last_update(pki.START).next_update(pki.NOW + timedelta(days=1)).add_extension(scope, True)
    indirect = builder.sign(other.signing_key, hashes.SHA256()).public_bytes(Encoding.DER)
    between = intermediate()
    certificate = pki.identity("user", "a@acme.example", between).certificate
    snapshot = Snapshot(crls=crl_index([crl(), indirect]), intermediates=(between.certificate, other.certificate))
    assert validate(certificate, revocation="hard", snapshot=snapshot).state == "unknown"


@pytest.mark.parametrize("seed", range(8))
def test_a_certificate_of_nonsense_signed_by_a_trusted_ca_gets_a_verdict(seed):
    """The worst case: a CA of ours signs anything, so the damage gets as far as the path algorithm."""
    random = Random(seed)
    whole = ACME.users["alice"].certificate
    for _ in range(40):
        tbs = bytearray(whole.x509.tbs_certificate_bytes)
        for _ in range(random.choice((1, 1, 2, 5))):
            tbs[random.randrange(4, len(tbs))] = random.randrange(256)
        assert isinstance(ACME.ca.key, ec.EllipticCurvePrivateKey)
        signature = ACME.ca.key.sign(bytes(tbs), ec.ECDSA(hashes.SHA256()))
        algorithm = der.sequence(der.oid(oids.ECDSA_WITH_SHA256))
        try:
            certificate = Certificate(der.sequence(bytes(tbs), algorithm, der.bit_string(signature)))
        except MalformedMessage:
            continue
        verdict = validate(certificate)
        assert verdict.state in {"valid", "invalid", "untrusted"}
        assert verdict.reason.isprintable()
        assert names.name_text(certificate.subject).isprintable()
        for problem in (*usage.signing_problems(certificate), *usage.encryption_problems(certificate)):
            assert problem.isprintable()
        MemorySource([certificate])


# what is remembered


class Counting(Validator):
    """Counts the chains that were judged, which is what the cache spares."""

    judged = 0

    def _judge(self, chain, search):
        self.judged += 1
        return super()._judge(chain, search)


def test_the_same_question_is_judged_once_whatever_the_order():
    validator = Counting(Snapshot())
    certificate = ACME.signing.certificate
    others = (ACME.ca.certificate, pki.world().beta.ca.certificate)
    first = validate(certificate, *others, validator=validator)
    assert validate(Certificate(certificate.der), *reversed(others), validator=validator) == first
    assert validator.judged == 1


@pytest.mark.parametrize(
    "other",
    [
        {"anchors": AnchorSet((ACME.ca.certificate, pki.world().beta.ca.certificate))},
        {"revocation": "soft"},
        {"revocation": "soft", "crls": (crl(),)},
        {"policies": Policies(inhibit_any=True)},
        {"now": pki.NOW + timedelta(minutes=11)},
        {"now": pki.NOW - timedelta(seconds=1)},
    ],
)
def test_another_question_is_judged_anew(other):
    validator = Counting(Snapshot())
    validate(ACME.signing.certificate, validator=validator)
    validate(ACME.signing.certificate, validator=validator, **other)
    assert validator.judged == 2


def test_a_remembered_verdict_does_not_outlive_the_certificate():
    validator = Counting(Snapshot())
    end = pki.START + timedelta(days=pki.DAYS)
    assert validate(ACME.signing.certificate, validator=validator, now=end).state == "valid"
    assert validate(ACME.signing.certificate, validator=validator, now=end + timedelta(seconds=1)).state == "invalid"


def test_a_remembered_verdict_does_not_outlive_the_revocation_list():
    validator = Validator(Snapshot(crls=crl_index([crl(days=30)])))
    end = pki.START + timedelta(days=30)
    settings = {"validator": validator, "revocation": "hard"}
    assert validate(ACME.signing.certificate, now=end - timedelta(seconds=1), **settings).state == "valid"
    assert validate(ACME.signing.certificate, now=end + timedelta(seconds=1), **settings).state == "unknown"


def test_a_verdict_of_not_yet_valid_is_looked_at_again_in_time():
    validator = Validator(Snapshot())
    before = pki.START - timedelta(seconds=10)
    assert validate(ACME.signing.certificate, validator=validator, now=before).state == "invalid"
    assert validate(ACME.signing.certificate, validator=validator, now=pki.START).state == "valid"


def test_refusals_are_remembered_for_a_shorter_time():
    validator = Counting(Snapshot())
    certificate = pki.identity("signing", "acme.example", ACME.users["alice"]).certificate
    for minutes, judged in ((0, 1), (0.5, 1), (2, 2)):
        now = pki.NOW + timedelta(minutes=minutes)
        validate(certificate, ACME.users["alice"].certificate, validator=validator, now=now)
        assert validator.judged == judged


def test_a_new_snapshot_knows_what_the_old_one_did_not():
    old, new = Validator(Snapshot()), Validator(Snapshot(crls=crl_index([crl(11)])))
    assert validate(ACME.signing.certificate, validator=old, revocation="soft").state == "valid"
    assert validate(ACME.signing.certificate, validator=new, revocation="soft").state == "invalid"


def test_the_cache_has_an_end(monkeypatch):
    monkeypatch.setattr("domsec.trust.path.CACHE_SIZE", 2)
    validator = Counting(Snapshot())
    for role in (ACME.signing, ACME.review, ACME.attributes, ACME.signing, ACME.attributes):
        validate(role.certificate, validator=validator)
    assert validator.judged == 4


# certificates of others


@pytest.fixture(scope="module")
def oracle(vectors):
    folder = vectors / "oracle" / "pki"

    def load(path):
        return Certificate(x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER))

    lists = [x509.load_pem_x509_crl((folder / "crl" / "root.crl").read_bytes()).public_bytes(Encoding.DER)]
    anchors = AnchorSet((load(folder / "trust" / "root.pem"),))
    offered = tuple(load(path) for path in sorted((folder / "untrusted").glob("*.pem")))
    validator = Validator(Snapshot(roles=anchors, crls=crl_index(lists)))

    def judge(name: str) -> PathVerdict:
        certificate = load(folder / "certs" / f"{name}.pem")
        now = datetime(2026, 12, 1, tzinfo=UTC)
        return validator.validate(certificate, offered, anchors=anchors, now=now, revocation="soft")

    return judge


@pytest.mark.requirement("R8550-4.2-01")
@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("acme-dsa", "valid"),
        ("acme-dsa-ed", "valid"),
        ("bravo-dca-x", "valid"),
        ("bad-expired", "invalid"),
        ("bad-revoked", "invalid"),
        ("bad-untrusted", "untrusted"),
        ("alice-int", "untrusted"),
    ],
)
def test_certificates_made_by_openssl(oracle, name, state):
    assert oracle(name).state == state


# --- post-quantum ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"])
def test_cas_with_ml_dsa_vouch_for_every_kind_of_key(kind):
    root = pki.ca("Lattice Root", kind)
    between = intermediate("Lattice Between", parent=root, kind=kind)
    anchors = AnchorSet((root.certificate,))
    for role, key in (("signing", "ml-dsa-44"), ("signing", "rsa2048"), ("confidentiality", "ml-kem-768")):
        leaf = pki.identity(role, "acme.example", between, key)
        assert validate(leaf.certificate, between.certificate, anchors=anchors).state == "valid"
        assert validate(leaf.certificate, anchors=anchors).state == "untrusted"


@pytest.mark.parametrize("at", [-1, -1000])
def test_a_forged_ml_dsa_certificate_is_not_believed(at):
    root = pki.ca("Lattice Root", "ml-dsa-65")
    forged = bytearray(pki.identity("signing", "acme.example", root, "ml-dsa-65").certificate.der)
    forged[at] ^= 1
    assert validate(Certificate(bytes(forged)), anchors=AnchorSet((root.certificate,))).state != "valid"


def test_revocation_lists_signed_with_ml_dsa_count():
    root = pki.ca("Lattice Root", "ml-dsa-65")
    good, bad = (pki.identity("signing", "acme.example", root, "ml-dsa-44").certificate for _ in range(2))
    crl = issue.issue_crl(root.certificate, root.signing_key, [bad.serial], now=pki.START, days=100)
    options = {"anchors": AnchorSet((root.certificate,)), "revocation": "hard"}
    snapshot = Snapshot(crls=crl_index([crl]))
    assert validate(good, snapshot=snapshot, **options).state == "valid"
    assert validate(bad, snapshot=snapshot, **options).revocation == "revoked"


# --- threads ---------------------------------------------------------------------------------------------------------


def test_threads_that_share_a_validator_get_what_each_would_alone():
    """What asn1crypto has parsed is not for two at a time: one of them read of an IndexError in a good path."""
    interval = sys.getswitchinterval()
    leaves = [pki.identity("user", f"{number}@acme.example", ACME.ca).certificate for number in range(4)]
    reasons: list[str] = []
    try:
        sys.setswitchinterval(1e-5)
        for _ in range(60):
            validator, together = Validator(Snapshot()), threading.Barrier(len(leaves))

            def judge(leaf: Certificate, validator=validator, together=together) -> None:
                together.wait()
                reasons.append(validate(leaf, validator=validator).reason)

            threads = [threading.Thread(target=judge, args=(leaf,)) for leaf in leaves]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert set(reasons) == {""}
