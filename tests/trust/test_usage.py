"""What a certificate may be used for."""

from __future__ import annotations

import functools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

import pki
from domsec import der, oids
from domsec.cms.certificates import Certificate
from domsec.trust import issue, usage

NEITHER = "key usage has neither digitalSignature nor nonRepudiation"
PURPOSE = "extended key usage has neither emailProtection nor any"


@functools.cache
def key(kind: str):
    if kind == "rsa1024":
        return rsa.generate_private_key(65537, 1024)
    if kind == "dsa":
        return dsa.generate_private_key(1024)
    if kind == "p192":
        return ec.generate_private_key(ec.SECP192R1())
    return issue.new_key(kind)


def certificate(kind="p256", bits=None, purposes=None, extensions=()) -> Certificate:
    """One with this key usage and these purposes, or without the extensions."""
    ca = pki.world().acme.ca
    extensions = list(extensions)
    if bits is not None:
        extensions.append((issue._key_usage(*bits), True))
    if purposes is not None:
        extensions.append((x509.ExtendedKeyUsage([x509.ObjectIdentifier(p) for p in purposes]), False))
    builder = issue._builder(ca.certificate.x509.subject, key(kind).public_key(), ca.certificate, pki.START, 9, 1)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return issue._signed(builder, ca.signing_key)


@pytest.mark.requirement("R8550-4.4.2-01")
@pytest.mark.parametrize(
    ("bits", "problems"),
    [
        (None, ()),
        (("digital_signature",), ()),
        (("content_commitment",), ()),
        (("digital_signature", "content_commitment"), ()),
        (("key_encipherment",), (NEITHER,)),
        (("key_cert_sign", "crl_sign"), (NEITHER,)),
    ],
)
def test_signatures_need_a_key_usage_for_them(bits, problems):
    assert usage.signing_problems(certificate(bits=bits)) == problems


@pytest.mark.requirement("R8550-4.4.4-01")
@pytest.mark.parametrize(
    ("purposes", "problems"),
    [
        (None, ()),
        ([ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string], ()),
        ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string], ()),
        (["1.3.6.1.5.5.7.3.1", ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string], ()),
        (["1.3.6.1.5.5.7.3.1"], (PURPOSE,)),
    ],
)
def test_the_extended_key_usage_allows_mail(purposes, problems):
    found = certificate(purposes=purposes)
    assert usage.signing_problems(found) == problems
    assert usage.encryption_problems(found) == problems


@pytest.mark.parametrize(
    ("kind", "bits", "problems"),
    [
        ("rsa2048", None, ()),
        ("rsa2048", ("key_encipherment",), ()),
        ("rsa2048", ("digital_signature",), ("key usage has no keyEncipherment",)),
        ("rsa2048", ("key_agreement",), ("key usage has no keyEncipherment",)),
        ("p256", ("key_agreement",), ()),
        ("p256", ("key_encipherment",), ("key usage has no keyAgreement",)),
        ("p256", ("key_agreement", "decipher_only"), ()),
        ("p256", ("key_agreement", "encipher_only"), ("key usage is encipherOnly, so its owner may not decrypt",)),
        ("x25519", ("key_agreement",), ()),
        ("ed25519", None, ("this kind of key cannot decrypt",)),
        ("rsa1024", None, ("an RSA key of 1024 bits, at least 2048 are needed",)),
        ("p192", None, ("an elliptic curve key of 192 bits, at least 224 are needed",)),
        ("dsa", None, ("a DSA key, which is no longer accepted",)),
    ],
)
def test_encryption_needs_a_key_and_a_key_usage_that_fit(kind, bits, problems):
    assert usage.encryption_problems(certificate(kind, bits)) == problems


@pytest.mark.parametrize(
    ("kind", "problems"),
    [
        ("ed25519", ()),
        ("rsa2048", ()),
        ("x25519", ("this kind of key cannot sign",)),
        ("rsa1024", ("an RSA key of 1024 bits, at least 2048 are needed",)),
        ("dsa", ("a DSA key, which is no longer accepted",)),
    ],
)
def test_a_key_that_cannot_sign_or_is_weak_is_a_problem(kind, problems):
    assert usage.signing_problems(certificate(kind)) == problems


@pytest.mark.parametrize("value", [b"", b"\x03\x01", der.null(), der.bit_string(b""), der.bit_string(b"\xff", 9)])
def test_extensions_that_cannot_be_read_are_problems_and_no_errors(value):
    for oid in (usage.KEY_USAGE, usage.EXTENDED_KEY_USAGE):
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        found = certificate(extensions=[(extension, False)])
        if oid == usage.KEY_USAGE and value == der.bit_string(b""):
            assert usage.signing_problems(found) == (NEITHER,)  # no bit set is readable, and allows nothing
        else:
            assert usage.signing_problems(found)
            assert usage.encryption_problems(found)


@pytest.mark.parametrize(
    ("role", "signs", "decrypts"),
    [
        ("signing", True, False),
        ("confidentiality", False, True),
        ("review", True, False),
        ("attributes", True, False),
    ],
)
def test_what_is_issued_for_a_role_serves_that_role_only(role, signs, decrypts):
    found = getattr(pki.world().acme, role).certificate
    assert (usage.signing_problems(found) == ()) is signs
    assert (usage.encryption_problems(found) == ()) is decrypts


def test_what_is_issued_for_a_person_serves_both():
    found = pki.world().acme.users["alice"].certificate
    assert usage.signing_problems(found) == ()
    assert usage.encryption_problems(found) == ()


@pytest.mark.parametrize("kind", ["ml-kem-768", "ml-kem-1024"])
@pytest.mark.parametrize(
    ("bits", "problems"),
    [(None, ()), (("key_encipherment",), ()), (("key_agreement",), ("key usage has no keyEncipherment",))],
)
def test_ml_kem_needs_key_encipherment(kind, bits, problems):
    """RFC 9935 5."""
    assert usage.encryption_problems(certificate(kind, bits)) == problems
    assert "this kind of key cannot sign" in usage.signing_problems(certificate(kind, bits))


@pytest.mark.parametrize("kind", ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"])
def test_ml_dsa_signs_and_does_not_decrypt(kind):
    assert usage.signing_problems(certificate(kind, ("digital_signature",))) == ()
    assert usage.encryption_problems(certificate(kind)) == ("this kind of key cannot decrypt",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, frozenset()),
        (der.sequence(der.sequence(der.oid(oids.AES256_GCM))), frozenset({oids.AES256_GCM})),
        (der.sequence(der.sequence(der.oid(oids.AES128_CBC)), der.sequence(der.oid("1.2.3"), der.integer(7))),
         frozenset({oids.AES128_CBC, "1.2.3"})),
        (der.sequence(), frozenset()),
        (der.octet_string(b"?"), frozenset()),
        (b"\x30\x80", frozenset()),
    ],
)  # fmt: skip
def test_capabilities_that_a_certificate_states(value: bytes | None, expected: frozenset[str]) -> None:
    """RFC 4262; what cannot be read states nothing."""
    stated = x509.UnrecognizedExtension(x509.ObjectIdentifier(oids.SMIME_CAPABILITIES), value or b"")
    extensions = [] if value is None else [(stated, False)]
    assert usage.capabilities(certificate(extensions=extensions)) == expected
