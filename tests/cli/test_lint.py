"""Whether a certificate can serve, and what is worth knowing: one thing is odd in each of these certificates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

import pki
from domsec import der, oids
from domsec.cli import lint
from domsec.cli.lint import Fitness, Part, Wanted
from domsec.cli.remarks import remarks
from domsec.cms.certificates import Certificate
from domsec.trust import issue

CA = pki.world().acme.ca
MAIL = ExtendedKeyUsageOID.EMAIL_PROTECTION
WANTED = Wanted(pki.NOW)
AUTHORITY = ("domain-signing-authority@acme.example",)


def made(
    addresses: Sequence[str] = ("alice@acme.example",),
    *,
    names: Sequence[str] = ("Alice",),
    in_subject: Sequence[str] = (),
    servers: Sequence[str] = (),
    purposes: Sequence[x509.ObjectIdentifier] | None = (MAIL,),
    usage: Sequence[str] | None = ("digital_signature",),
    key: object = None,
    days: int = 365,
    serial: int = 1 << 70,
    extensions: Sequence[x509.ExtensionType] = (),
    revocation: bool = True,
) -> Certificate:
    """A certificate of acme's CA, without anything to remark where nothing else is said."""
    subject = [(oids.EMAIL_ADDRESS, address) for address in in_subject] + [(oids.COMMON_NAME, name) for name in names]
    public = (key or issue.new_key("p256")).public_key()
    builder = issue._builder(issue._name(subject), public, CA.certificate, pki.START, days, serial)
    alternative = [*map(x509.RFC822Name, addresses), *map(x509.DNSName, servers)]
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), False)
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), False)
    if usage is not None:
        builder = builder.add_extension(issue._key_usage(*usage), True)
    if revocation:
        builder = builder.add_extension(_point(), False)
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    return issue._signed(builder, CA.signing_key)


def _point() -> x509.CRLDistributionPoints:
    uri = x509.UniformResourceIdentifier("http://crl.acme.example/ca.crl")
    return x509.CRLDistributionPoints([x509.DistributionPoint([uri], None, None, None)])


def _ocsp() -> x509.AuthorityInformationAccess:
    uri = x509.UniformResourceIdentifier("http://ocsp.acme.example/")
    return x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri)])


def asked(certificate: Certificate, role: Part, wanted: Wanted = WANTED) -> Fitness:
    return lint.lint(certificate, role, wanted)


# --- can it serve? ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R8550-4.4.2-01")
@pytest.mark.requirement("R8550-4.4.4-01")
@pytest.mark.parametrize(
    ("certificate", "role", "problem"),
    [
        (made(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), "user", "extended key usage has neither emailProtection"),
        (made(usage=("data_encipherment",)), "list", "it cannot sign: key usage has neither digitalSignature"),
        (made(usage=("key_agreement",)), "list", "it cannot sign: key usage has neither digitalSignature"),
        (made(key=ec.generate_private_key(ec.SECP192R1())), "user", "it cannot sign: an elliptic curve key of 192"),
        (made(key=rsa.generate_private_key(65537, 1024)), "user", "it cannot sign: an RSA key of 1024 bits"),
        (made(()), "user", "it has no mail address"),
        (made(("*@acme.example",)), "user", "it has no mail address"),
        (made(("*@acme.example",)), "list", "it has no mail address"),
        (made(AUTHORITY), "user", "it is named like a domain-signing-authority"),
        (made(AUTHORITY), "list", "it is named like a domain-signing-authority"),
        (made(extensions=(x509.NameConstraints([x509.RFC822Name("acme.example")], None),)), "user", "but is no CA"),
        (made(AUTHORITY, names=()), "signing", "no common name, expected domain-signing-authority"),
        (made(("*@acme.example",), names=("domain-signing-authority",)), "signing", "does not begin with"),
        (made((), names=("domain-signing-authority",)), "signing", "no name of it can be compared with a mail domain"),
        (made(("review-authority@acme.example",), names=("review authority",)), "review", "the common name is review"),
    ],
)  # fmt: skip
def test_why_a_certificate_cannot_serve(certificate: Certificate, role: Part, problem: str) -> None:
    fitness = asked(certificate, role)
    assert not fitness.serves
    assert any(problem in text for text in fitness.problems), fitness.problems


def test_a_certificate_signed_with_sha1_cannot_serve() -> None:
    """As `domsec.trust.path` would refuse it, whoever trusts the CA. The signature itself is not looked at."""
    today = pki.identity("user", "alice@acme.example", pki.ca("old", "rsa2048")).certificate.der
    once = today.replace(der.oid(oids.SHA256_WITH_RSA), der.oid(oids.SHA1_WITH_RSA))
    assert asked(Certificate(today), "user").serves
    assert asked(Certificate(once), "user").problems == ("it is signed with sha1",)


@pytest.mark.parametrize(
    ("certificate", "role", "scope"),
    [
        (pki.world().acme.signing.certificate, "signing", "for acme.example and what lies below"),
        (pki.world().acme.review.certificate, "review", ""),
        (made(), "user", "sign"),
        (made(usage=("digital_signature", "key_agreement")), "list", "sign and be encrypted to"),
    ],
)
def test_for_whom_it_serves(certificate: Certificate, role: Part, scope: str) -> None:
    fitness = asked(certificate, role)
    assert (fitness.problems, fitness.scope) == ((), scope)


def test_for_the_domains_that_were_asked_for() -> None:
    wanted = Wanted(pki.NOW, ("sub.acme.example", "acme.example"))
    assert asked(pki.world().acme.signing.certificate, "signing", wanted).scope == "for sub.acme.example, acme.example"


def test_what_a_public_ca_can_issue_needs_peers_that_agree() -> None:
    """S/MIME BR 7.1.4.2.2: a mailbox as common name, or none."""
    for names in (AUTHORITY, ()):
        fitness = asked(made(AUTHORITY, names=names), "signing")
        assert not fitness.serves
        assert fitness.scope == 'with peers that agree to naming = "mailbox" it can'
        assert asked(made(AUTHORITY, names=names), "signing", Wanted(pki.NOW, naming="mailbox")).serves


# --- what is worth knowing -------------------------------------------------------------------------------------------


def test_there_may_be_nothing_to_remark() -> None:
    assert remarks(made(), pki.NOW) == ()
    assert remarks(made(revocation=False, extensions=(_ocsp(),)), pki.NOW) == ()


@pytest.mark.parametrize(
    ("certificate", "remark"),
    [
        (made(days=826), "it is valid for 826 days; S/MIME BR 6.3.2 allows 825"),
        (made(usage=None), "it has no key usage, so its key may be used for anything"),
        (made(purposes=None), "it has no extended key usage: RFC 8550 4.4.4 takes it for mail"),
        (made(purposes=(MAIL, ExtendedKeyUsageOID.SERVER_AUTH)), "its extended key usage has serverAuth, which"),
        (made(purposes=(MAIL, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)), "its extended key usage has any, which"),
        (made((), in_subject=("alice@acme.example",)), "alice@acme.example stands in the subject only"),
        (made(in_subject=("bob@acme.example",)), "bob@acme.example stands in the subject only"),
        (made(("a@acme.example", "b@acme.example")), "it has 2 addresses, and is taken for each: a@acme.example, b@ac"),
        (made(("*@acme.example",)), "*@acme.example is no wildcard"),
        (made(names=("*.acme.example",)), "the common name *.acme.example is no wildcard"),
        (made(AUTHORITY, names=("domain-signing-authority",)), "no public CA may put domain-signing-authority into"),
        (made(servers=("www.acme.example",)), "it is for the server www.acme.example as well"),
        (made(key=rsa.generate_private_key(65537, 2052)), "its RSA key has 2052 bits"),
        (made(key=rsa.generate_private_key(3, 2048)), "the exponent of its RSA key is 3"),
        (made(key=ec.generate_private_key(ec.BrainpoolP256R1())), "its key is on brainpoolP256r1"),
        (made(serial=4711), "its serial number is short"),
        (made(revocation=False), "it names no place for revocation lists and no OCSP responder"),
        (CA.certificate, "it names itself as issuer"),
    ],
)
def test_what_is_remarked(certificate: Certificate, remark: str) -> None:
    assert [text for text in remarks(certificate, pki.NOW) if text.startswith(remark)]


@pytest.mark.parametrize(("left", "expected"), [(31, []), (30, ["30"]), (0, ["0"]), (-1, [])])
def test_a_certificate_that_expires_soon_is_remarked(left: int, expected: list[str]) -> None:
    certificate = made()
    found = remarks(certificate, certificate.not_after - timedelta(days=left))
    assert [text for text in found if "expires" in text] == [
        f"it expires in {days} days, on {certificate.not_after:%Y-%m-%d}" for days in expected
    ]
