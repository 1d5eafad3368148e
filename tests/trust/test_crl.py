"""Revocation lists: loading, and what is left to the path algorithm. Verdicts by mode are in test_path."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

import pki
from domsec import der
from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage
from domsec.trust import crl, issue
from domsec.trust.crl import Crl, CrlIndex, crl_index, loadable

ACME = pki.world().acme
CA = ACME.ca.certificate
LEAF = ACME.signing.certificate


def plain(*serials: int, **options) -> bytes:
    return issue.issue_crl(CA, ACME.ca.signing_key, serials, **{"now": pki.START, "days": 60} | options)


def odd(*extensions: x509.ExtensionType, entry: x509.ExtensionType | None = None, critical: bool = True) -> bytes:
    """A CRL of acme's CA that no table answers."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(CA.x509.subject)
    builder = builder.last_update(pki.START).next_update(pki.START + timedelta(days=60))
    for extension in extensions:
        builder = builder.add_extension(extension, critical)
    revoked = x509.RevokedCertificateBuilder().serial_number(4711).revocation_date(pki.START)
    if entry is not None:
        revoked = revoked.add_extension(entry, critical)
    builder = builder.add_revoked_certificate(revoked.build())
    return builder.sign(ACME.ca.signing_key, hashes.SHA256()).public_bytes(Encoding.DER)


def point(
    *uris: str, only_user=False, only_ca=False, reasons=None, indirect=False, attributes=False
) -> x509.IssuingDistributionPoint:
    names = [x509.UniformResourceIdentifier(uri) for uri in uris] or None
    return x509.IssuingDistributionPoint(names, None, only_user, only_ca, reasons, indirect, attributes)


def leaf(*uris: str, serial: int = 1) -> Certificate:
    """A certificate of acme's CA whose revocation is published there."""
    names = [x509.UniformResourceIdentifier(uri) for uri in uris]
    key = issue.new_key("p256").public_key()
    builder = issue._builder(LEAF.x509.subject, key, CA, pki.START, 365, serial)
    points = x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])
    return issue._signed(builder.add_extension(points, False), ACME.ca.signing_key)


@pytest.mark.parametrize("octets", [b"", b"\x30\x00", b"\x30\x80", plain()[:-1], plain() + b"\0", LEAF.der])
def test_what_is_no_crl_is_refused(octets):
    with pytest.raises(MalformedMessage):
        crl_index([octets])
    assert len(loadable([octets, plain()])) == 1


X400_NAMES = der.sequence(der.tlv(der.context(3)))  # GeneralNames with an x400Address, which pyca does not read


def test_a_crl_with_names_that_cannot_be_read_is_refused():
    octets = odd(x509.UnrecognizedExtension(ExtensionOID.ISSUER_ALTERNATIVE_NAME, X400_NAMES), critical=False)
    with pytest.raises(MalformedMessage):
        crl_index([octets])
    assert loadable([octets]) == ()


def test_an_entry_with_names_that_cannot_be_read_is_left_to_the_path_algorithm():
    octets = odd(entry=x509.UnrecognizedExtension(CRLEntryExtensionOID.CERTIFICATE_ISSUER, X400_NAMES), critical=False)
    assert Crl(octets).entries is None


def test_a_crl_is_a_table():
    crl = Crl(plain(5, 6))
    assert crl.issuer == CA.subject
    assert crl.this_update == pki.START
    assert not crl.is_complex
    assert crl.entries is not None
    assert set(crl.entries) == {5, 6}


def test_the_table_of_a_long_list_is_exact():
    index = crl_index([plain(*range(1000, 3000, 2))])
    for serial, state in ((1000, "revoked"), (1001, "good"), (2998, "revoked"), (2999, "good")):
        certificate = pki.identity("user", "a@acme.example", ACME.ca, serial=serial).certificate
        assert index.status(certificate, CA, pki.NOW).state == state


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(odd(point(attributes=True)), id="attribute certificates"),
        pytest.param(odd(point(reasons=frozenset({x509.ReasonFlags.key_compromise}))), id="some reasons"),
        pytest.param(odd(point(indirect=True)), id="indirect"),
        pytest.param(odd(x509.DeltaCRLIndicator(1)), id="delta"),
        pytest.param(
            odd(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\0")), id="unknown and critical"
        ),
        pytest.param(
            odd(entry=x509.CertificateIssuer([x509.DirectoryName(CA.x509.subject)])), id="entry of another issuer"
        ),
    ],
)
def test_what_is_not_simple_is_left_to_the_path_algorithm(octets):
    assert crl_index([octets]).status(LEAF, CA, pki.NOW).state == "complex"


@pytest.mark.requirement("R5280-6.1-01")
@pytest.mark.parametrize(
    ("scope", "certificate", "state"),
    [
        (point(only_user=True), LEAF, "good"),
        (point(only_ca=True), LEAF, "unknown"),
        (point(only_user=True), CA, "unknown"),
        (point(only_ca=True), CA, "good"),
        (point("http://crl.example/1"), leaf("http://crl.example/1"), "good"),
        (point("http://crl.example/1"), leaf("http://crl.example/1", serial=4711), "revoked"),
        (point("http://crl.example/1"), leaf("http://crl.example/2", serial=4711), "unknown"),
        (point("http://crl.example/1", "http://crl.example/2"), leaf("http://crl.example/2", serial=4711), "revoked"),
        (point("http://crl.example/1"), LEAF, "unknown"),
        (point("http://crl.example/1", only_ca=True), leaf("http://crl.example/1", serial=4711), "unknown"),
    ],
)
def test_a_list_for_some_certificates_says_nothing_of_the_others(scope, certificate, state):
    """RFC 5280 6.3.3 (b) (2): a CRL of another part must not make a revoked certificate good."""
    assert crl_index([odd(scope)]).status(certificate, CA, pki.NOW).state == state


def test_the_list_for_all_counts_beside_one_for_others():
    index = crl_index([odd(point("http://crl.example/1")), plain(5)])
    assert index.status(leaf("http://crl.example/2", serial=5), CA, pki.NOW).state == "revoked"
    assert index.status(leaf("http://crl.example/2", serial=6), CA, pki.NOW).state == "good"


def test_an_unknown_extension_that_is_not_critical_changes_nothing():
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\0")
    assert crl_index([odd(extension, critical=False)]).status(LEAF, CA, pki.NOW).state == "good"


def test_a_list_signed_with_another_key_is_left_to_the_path_algorithm():
    forger = pki.ca("acme.example CA")
    forged = issue.issue_crl(forger.certificate, forger.signing_key, [], now=pki.START, days=60)
    assert crl_index([forged]).status(LEAF, CA, pki.NOW).state == "complex"


def test_lists_of_strangers_count_only_if_the_issuer_signed_them():
    forger = pki.ca("acme.example CA")
    forged = Crl(issue.issue_crl(forger.certificate, forger.signing_key, [LEAF.serial], now=pki.NOW, days=60))
    genuine = Crl(plain(LEAF.serial))
    other = Crl(issue.issue_crl(pki.world().beta.ca.certificate, pki.world().beta.ca.signing_key, now=pki.NOW, days=9))
    index = CrlIndex()
    assert index.status(LEAF, CA, pki.NOW, (forged, other)).state == "unknown"
    assert index.status(LEAF, CA, pki.NOW, (forged, genuine)).state == "revoked"


def test_a_stranger_may_bring_a_list_so_long_and_no_longer(monkeypatch):
    octets = plain(1, 2, 3)
    monkeypatch.setattr(crl, "LARGEST_OFFERED", len(octets))
    assert len(loadable([octets])) == 1
    monkeypatch.setattr(crl, "LARGEST_OFFERED", len(octets) - 1)
    assert loadable([octets]) == ()


def test_an_index_has_a_generation_of_its_contents():
    one, other = plain(), plain(1)
    assert crl_index([one, other]).generation == crl_index([other, one, one]).generation
    assert crl_index([one]).generation != crl_index([other]).generation
