"""Certification requests: what is asked for, who shows that they have the key, and what a CA must not believe."""

from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

import pki
from domsec import der, oids
from domsec.cms.credential import credential_from_private_key
from domsec.errors import ConfigurationError, DomsecError, KeyUnusable, MalformedMessage, SignatureInvalid, Unsupported
from domsec.trust import issue
from domsec.trust.request import MAXIMUM_SIZE, Holder, check, holder, read_request, request

ACME = pki.world().acme
CA = ACME.ca.certificate
IN_ACME = ((oids.ORGANIZATION_NAME, "Acme"),)
SIGNING_KINDS = ("rsa2048", "p256", "p384", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87")
OTHER_KINDS = ("x25519", "ml-kem-768", "ml-kem-1024")
NAMES = [
    ("signing", "domain-signing-authority"),
    ("confidentiality", "domain-confidentiality-authority"),
    ("review", "review-authority"),
    ("attributes", "attribute-authority"),
]


def made(role: Any = "signing", domain: str = "acme.example", kind: Any = "p256", **more: Any) -> bytes:
    return request(role, domain, issue.new_key(kind), **more)


def by(identity: pki.Identity) -> Any:
    return credential_from_private_key(identity.key, identity.certificate, identity.chain)


def stated(signer: pki.Identity = ACME.signing, **more: Any) -> bytes:
    """A request for an X25519 key of the confidentiality authority, whose possession somebody states."""
    return made(**{"role": "confidentiality", "kind": "x25519", "signer": by(signer), **more})


def refused(octets: bytes, *, ca: Any = CA, now: Any = pki.NOW) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        check(read_request(octets), ca, now)
    return str(caught.value)


# --- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.1.1-01", "R3183-3.1.1-02", "R3183-3.1.1-03", "R3183-4.1-01")
@pytest.mark.parametrize(("role", "name"), NAMES)
def test_a_request_for_a_role_has_its_name_and_address(role, name):
    octets = made(role, subject=IN_ACME)
    asked = x509.load_der_x509_csr(octets)
    assert asked.subject.rfc4514_string() == f"CN={name},O=Acme"
    alternative = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternative.get_values_for_type(x509.RFC822Name) == [f"{name}@acme.example"]
    assert holder(read_request(octets)) == Holder(role, "acme.example", None, IN_ACME)


@pytest.mark.parametrize(("role", "name"), NAMES)
def test_a_role_may_be_asked_for_by_its_mailbox_alone(role, name):
    octets = made(role, subject=IN_ACME, naming="mailbox")
    asked = x509.load_der_x509_csr(octets)
    assert asked.subject.rfc4514_string() == f"CN={name}@acme.example,O=Acme"
    assert holder(read_request(octets)) == Holder(role, "acme.example", None, IN_ACME, "mailbox")


def test_a_role_without_a_common_name_is_asked_for_by_its_mailbox():
    key = ec.generate_private_key(ec.SECP256R1())
    octets = _by_pyca(key, hashes.SHA256(), name=None, addresses=("review-authority@acme.example",))
    assert holder(read_request(octets)) == Holder("review", "acme.example", None, (), "mailbox")


def test_the_mailbox_of_a_role_beside_the_name_of_another_is_no_holder():
    key = ec.generate_private_key(ec.SECP256R1())
    for name in ("review-authority", "Alice", "domain-signing-authority@beta.example"):
        octets = _by_pyca(key, hashes.SHA256(), name=name, addresses=("domain-signing-authority@acme.example",))
        with pytest.raises(MalformedMessage, match="do not name the same role"):
            holder(read_request(octets))


def test_a_person_is_asked_for_by_address_and_name():
    octets = made("user", "alice@acme.example", name="Alice", subject=IN_ACME)
    assert holder(read_request(octets)) == Holder("user", "alice@acme.example", "Alice", IN_ACME)
    assert read_request(made("user", "zoë@acme.example")).addresses == ("zoë@acme.example",)


# --- who has the key --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_a_key_that_can_sign_signs_its_own_request(kind):
    octets = made(kind=kind)
    check(read_request(octets), CA, pki.NOW)
    # what pyca makes of it, with OpenSSL's own ML-DSA
    assert x509.load_der_x509_csr(octets).is_signature_valid


@pytest.mark.interop
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["openssl", "req", "-verify", "-noout", "-inform", "DER", "-in"], "verify OK"),
        (["certtool", "--crq-info", "--inder", "--infile"], "Self signature: verified"),
    ],
    ids=["openssl", "gnutls"],
)
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "ed25519"])
def test_others_verify_the_request(kind, command, said, tmp_path):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    (tmp_path / "it.csr").write_bytes(made(kind=kind))
    ran = subprocess.run([*command, str(tmp_path / "it.csr")], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout + ran.stderr


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_key_that_cannot_sign_is_vouched_for_by_the_signing_authority(kind):
    octets = stated(kind=kind)
    check(read_request(octets), CA, pki.NOW)
    assert read_request(octets).signer == ACME.signing.certificate


@pytest.mark.parametrize("kind", ["rsa2048", "ed25519", "ml-dsa-65"])
def test_the_statement_is_signed_with_any_kind_of_key(kind):
    signer = pki.identity("signing", "acme.example", ACME.ca, kind)
    check(read_request(stated(signer)), CA, pki.NOW)


def test_a_person_states_possession_of_another_key_of_theirs():
    octets = stated(ACME.user("alice"), role="user", domain="alice@acme.example")
    check(read_request(octets), CA, pki.NOW)


@pytest.mark.parametrize(
    ("kind", "signer", "complaint"),
    [
        ("p256", ACME.signing, "signs its request itself"),
        ("x25519", None, "needs another"),
    ],
)
def test_the_statement_is_for_keys_that_cannot_sign(kind, signer, complaint):
    with pytest.raises(KeyUnusable, match=complaint):
        made("confidentiality", kind=kind, signer=by(signer) if signer else None)


@pytest.mark.parametrize(("role", "kind"), [("signing", "x25519"), ("confidentiality", "ed25519")])
def test_no_request_is_made_for_what_a_key_cannot_do(role, kind):
    with pytest.raises(KeyUnusable, match="cannot"):
        made(role, kind=kind, signer=by(ACME.signing) if kind == "x25519" else None)


def test_no_request_is_made_for_what_is_no_address():
    with pytest.raises(ConfigurationError, match="is no address"):
        made("user", "nobody")


# --- what a CA must not believe ---------------------------------------------------------------------------------------


def test_a_signature_by_another_key_is_refused():
    one, other = made(), made()
    assert (
        refused(der.sequence(_parts(one)[0], *_parts(other)[1:]))
        == "the signature on the request was not made with its key"
    )


def test_a_changed_request_is_refused():
    octets = made("user", "alice@acme.example")
    assert "not made with its key" in refused(octets.replace(b"alice@acme", b"mally@acme"))


def test_a_weak_key_or_digest_is_refused():
    assert "an RSA key of 1024 bits" in refused(_by_pyca(rsa.generate_private_key(65537, 1024), hashes.SHA256()))
    key = ec.generate_private_key(ec.SECP256R1())
    information = _parts(_by_pyca(key, hashes.SHA256()))[0]
    signature = key.sign(information, ec.ECDSA(hashes.SHA1()))
    algorithm = der.sequence(der.oid(oids.ECDSA_WITH_SHA1))
    assert "not made with its key" in refused(der.sequence(information, algorithm, der.bit_string(signature)))


def test_a_key_that_cannot_sign_needs_a_statement():
    octets = stated()
    information, algorithm, signature = _parts(octets)
    parts = _inside(information)
    bare = der.sequence(der.sequence(*parts[:3], der.tlv(der.context(0))), algorithm, signature)
    assert "nobody states possession" in refused(bare)


@pytest.mark.parametrize(
    ("signer", "complaint"),
    [
        (pki.world().beta.signing, "this CA does not stand for"),
        (ACME.review, "somebody other than the owner"),
        (ACME.user("alice"), "somebody other than the owner"),
        (pki.identity("signing", "other.example", ACME.ca), "somebody other than the owner"),
        (pki.identity("confidentiality", "acme.example", ACME.ca), "may not sign"),
    ],
)
def test_a_statement_counts_by_the_owner_of_the_key_only(signer, complaint):
    assert complaint in refused(stated(signer))


def test_a_statement_with_an_expired_certificate_is_refused():
    assert "this CA does not stand for" in refused(stated(), now=pki.NOW + timedelta(days=2 * pki.DAYS))


def test_a_statement_with_a_revoked_certificate_is_refused():
    asked = read_request(stated())
    revoked, unrevoked = (
        issue.issue_crl(CA, ACME.ca.signing_key, serials, now=pki.NOW - timedelta(days=1), days=7)
        for serials in ([ACME.signing.certificate.serial], [])
    )
    check(asked, CA, pki.NOW, [unrevoked])
    with pytest.raises(SignatureInvalid, match=r"this CA does not stand for.*revoked"):
        check(asked, CA, pki.NOW, [revoked])
    with pytest.raises(SignatureInvalid, match="this CA does not stand for"):
        check(asked, CA, pki.NOW + timedelta(days=30), [unrevoked])  # nobody knows any more


def test_a_statement_signed_with_another_key_than_it_names_is_refused():
    information, algorithm, _ = _parts(stated())
    assert "not made by who states" in refused(der.sequence(information, algorithm, _parts(stated())[2]))


def test_a_statement_is_no_way_to_a_certificate_that_signs():
    """RFC 9883: MUST NOT be used to obtain a signature certificate."""
    assert "has to be signed with that" in refused(_with_key(stated(), ACME.review.certificate.spki))


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "error", "complaint"),
    [
        (b"", MalformedMessage, "cannot be read"),
        (b"\x30\x00", MalformedMessage, "cannot be read"),
        (bytes(MAXIMUM_SIZE), MalformedMessage, "cannot be read"),
        (bytes(MAXIMUM_SIZE + 1), MalformedMessage, "more than 65536 octets"),
    ],
)
def test_what_is_no_request_is_told(octets, error, complaint):
    with pytest.raises(error, match=complaint):
        read_request(octets)


def test_a_kind_of_key_that_nobody_knows_is_unsupported():
    unknown = der.sequence(der.sequence(der.oid("1.2.3.4")), der.bit_string(b"key"))
    with pytest.raises(Unsupported, match="not supported"):
        read_request(_with_key(made(), unknown))


def test_a_statement_names_the_certificate_it_holds():
    octets = stated()
    serial = der.integer(ACME.signing.certificate.serial)
    other = octets.replace(CA.subject + serial, CA.subject + der.integer(ACME.signing.certificate.serial + 1), 1)
    assert other != octets
    with pytest.raises(MalformedMessage, match="another certificate than it holds"):
        read_request(other)


def test_a_role_in_the_common_name_only_is_no_holder():
    octets = _by_pyca(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256(), name="domain-signing-authority")
    with pytest.raises(MalformedMessage, match="do not name the same role"):
        holder(read_request(octets))


@pytest.mark.parametrize("more", [("bob@acme.example",), ("a@x.example", "b@x.example")])
def test_several_addresses_are_no_holder(more):
    octets = _by_pyca(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256(), addresses=("alice@acme.example", *more))
    with pytest.raises(MalformedMessage, match="expected one address"):
        holder(read_request(octets))


@given(st.integers(0, 4000), st.integers(0, 255))
def test_a_damaged_request_is_an_error_of_ours_or_is_refused(at, octet):
    octets = bytearray(STATED)
    at %= len(octets)
    octets[at] = octet
    if octets == STATED:
        return
    try:
        asked = read_request(bytes(octets))
        holder(asked)
        check(asked, CA, pki.NOW)
    except DomsecError:
        return
    # the algorithm's own parameters are all that the signature does not cover
    assert asked.public_key == read_request(STATED).public_key
    assert holder(asked) == holder(read_request(STATED))


STATED = stated()


def _parts(octets: bytes) -> list[bytes]:
    """certificationRequestInfo, signatureAlgorithm, signature."""
    return _inside(octets)


def _inside(sequence: bytes) -> list[bytes]:
    reader = der.Reader(sequence)
    reader.enter(der.SEQUENCE)
    parts = []
    while not reader.at_end():
        parts.append(bytes(reader.skip()))
    return parts


def _with_key(octets: bytes, spki: bytes) -> bytes:
    information, algorithm, signature = _parts(octets)
    parts = _inside(information)
    return der.sequence(der.sequence(*parts[:2], spki, parts[3]), algorithm, signature)


def _by_pyca(
    key: Any, digest: Any, *, name: str | None = "Alice", addresses: tuple[str, ...] = ("alice@acme.example",)
) -> bytes:
    alternative = x509.SubjectAlternativeName([x509.RFC822Name(address) for address in addresses])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(alternative, critical=False)
    return builder.sign(key, digest).public_bytes(Encoding.DER)
