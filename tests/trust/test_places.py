"""Where revocation is published, and what is taken from there."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as pyca
from cryptography.x509.oid import AuthorityInformationAccessOID

import pki
from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage
from domsec.trust import issue
from domsec.trust.path import AnchorSet, Snapshot, Validator
from domsec.trust.places import LONGEST, MOST, Place, accepted_crl, accepted_response, places

CA = pki.world().acme.ca
ISSUER = CA.certificate
CRL = "http://crl.example/ca.crl"
OCSP = "http://ocsp.example/"


def uris(*given: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(uri) for uri in given]


def point(*given: str, crl_issuer: x509.Name | None = None) -> x509.DistributionPoint:
    issuers = [x509.DirectoryName(crl_issuer)] if crl_issuer is not None else None
    return x509.DistributionPoint(uris(*given), None, None, issuers)


def leaf(
    *points: x509.DistributionPoint, responders: tuple[str, ...] = (), issuers: tuple[str, ...] = ()
) -> Certificate:
    key = issue.new_key("p256")
    builder = issue._builder(issue._name([]), key.public_key(), ISSUER, pki.START, 365, 7)
    if points:
        builder = builder.add_extension(x509.CRLDistributionPoints(points), False)
    kinds = [(AuthorityInformationAccessOID.OCSP, u) for u in responders]
    kinds += [(AuthorityInformationAccessOID.CA_ISSUERS, u) for u in issuers]
    if kinds:
        access = [x509.AccessDescription(kind, x509.UniformResourceIdentifier(uri)) for kind, uri in kinds]
        builder = builder.add_extension(x509.AuthorityInformationAccess(access), False)
    return issue._signed(builder, CA.signing_key)


def found(certificate: Certificate) -> list[tuple[str, str]]:
    return [(place.kind, place.uri) for place in places((certificate, ISSUER))]


def test_places_of_lists_and_responders() -> None:
    certificate = leaf(point(CRL), responders=(OCSP,), issuers=("http://ca.example/ca.cer",))
    first, second = places((certificate, ISSUER))
    assert first == Place("crl", CRL, ISSUER)
    assert second == Place("ocsp", OCSP, ISSUER, certificate)


def test_a_certificate_may_name_no_place() -> None:
    assert found(leaf()) == []
    assert list(places((ISSUER,))) == []


@pytest.mark.parametrize(
    "uri",
    [
        "https://crl.example/",
        "ldap://crl.example/cn=ca",
        "file:///etc/passwd",
        "http://crl.example/a b",
        "http://crl.example/\r\nX:",
        "http://crl.example/" + "a" * LONGEST,
    ],
)
def test_what_cannot_be_asked_is_no_place(uri: str) -> None:
    assert found(leaf(point(uri, CRL), responders=(uri,))) == [("crl", CRL)]


def test_the_list_of_another_issuer_is_no_place() -> None:
    assert found(leaf(point(CRL, crl_issuer=ISSUER.x509.subject))) == []


def test_so_many_places_are_tried_and_no_more() -> None:
    many = [f"{CRL}{number}" for number in range(MOST + 1)]
    assert [uri for _, uri in found(leaf(point(*many)))] == many[:MOST]


@pytest.mark.requirement("R8550-6-02")
def test_only_paths_that_hold_are_noted() -> None:
    """Places in a certificate that a stranger made are not followed, nor those of one that is invalid."""
    noted: list[tuple[Certificate, ...]] = []
    anchors = AnchorSet((ISSUER,))
    validator = Validator(Snapshot(users=anchors), note=noted.append)

    def asked(certificate: Certificate, revocation: str = "hard", days: int = 0) -> None:
        now = pki.NOW + timedelta(days=days)
        validator.validate(certificate, anchors=anchors, now=now, revocation=revocation)  # type: ignore[arg-type]

    stranger = pki.identity("user", "eve@acme.example", pki.ca("acme.example CA")).certificate
    asked(stranger)
    asked(leaf(point(CRL)), days=1000)
    asked(leaf(point(CRL)), "off")
    assert noted == []
    certificate = leaf(point(CRL))
    asked(certificate)
    asked(certificate)  # remembered
    assert noted == [(certificate, ISSUER)]


def test_a_place_has_a_name_of_its_own() -> None:
    one, other = leaf(responders=(OCSP,)), leaf(responders=(OCSP,))
    all_of_them = [
        Place("crl", CRL, ISSUER),
        Place("crl", CRL + "x", ISSUER),
        Place("crl", CRL, pki.world().beta.ca.certificate),
        Place("ocsp", OCSP, ISSUER, one),
        Place("ocsp", OCSP, ISSUER, other),
    ]
    assert len({place.name for place in all_of_them}) == len(all_of_them)
    assert Place("crl", CRL, ISSUER).name == all_of_them[0].name


def test_a_responder_is_asked_in_the_uri() -> None:
    assert Place("crl", CRL, ISSUER).get == CRL
    asked = Place("ocsp", OCSP, ISSUER, leaf()).get
    assert asked.startswith(OCSP + "M")
    assert len(asked) < 255, "RFC 5019 5: so that caches and servers take it by GET"


# --- what may stand there --------------------------------------------------------------------------------------------


def crl(issuer: pki.Identity = CA, *, days: int = 60) -> bytes:
    return issue.issue_crl(issuer.certificate, issuer.signing_key, [], now=pki.START, days=days)


PLACE = Place("crl", CRL, ISSUER)


def test_a_list_that_its_issuer_signed_and_that_holds_is_taken() -> None:
    octets = crl()
    assert accepted_crl(octets, PLACE, pki.NOW).der == octets


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"<html>", "cannot be loaded"),
        (crl(pki.world().beta.ca), "of another issuer"),
        (crl(pki.ca("acme.example CA")), "its issuer did not sign"),
        (crl(days=1), "does not hold now"),
    ],
)
def test_another_list_is_not_taken(octets: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        accepted_crl(octets, PLACE, pki.NOW)


def answered(certificate: Certificate, signer: pki.Identity = CA, *, hours: int = 1) -> bytes:
    until = pki.NOW + timedelta(hours=hours)
    builder = pyca.OCSPResponseBuilder().add_response(
        certificate.x509, ISSUER.x509, hashes.SHA1(), pyca.OCSPCertStatus.GOOD, pki.START, until, None, None
    )
    builder = builder.responder_id(pyca.OCSPResponderEncoding.NAME, signer.certificate.x509)
    return builder.sign(signer.signing_key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_an_answer_is_taken_if_it_tells_of_the_certificate_now() -> None:
    certificate = leaf()
    place = Place("ocsp", OCSP, ISSUER, certificate)
    octets = answered(certificate)
    assert accepted_response(octets, place, pki.NOW).der == octets
    for other, reason in (
        (answered(leaf(point(CRL)), pki.world().beta.ca), "signed by whom its issuer let answer"),
        (answered(certificate, hours=-1), "out of date"),
        (answered(pki.world().acme.signing.certificate), "no OCSP response about it"),
        (b"<html>", "longer than what encloses it"),
    ):
        with pytest.raises(MalformedMessage, match=reason):
            accepted_response(other, place, pki.NOW)
