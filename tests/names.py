"""Certificates with any names in them, for the naming and mapping rules: self-signed, nobody has to trust them."""

from __future__ import annotations

import functools
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from domsec import der, oids
from domsec.cms.certificates import Certificate
from pki import DAYS, START

_TYPES = {
    "cn": oids.COMMON_NAME,
    "c": oids.COUNTRY_NAME,
    "o": oids.ORGANIZATION_NAME,
    "ou": oids.ORGANIZATIONAL_UNIT_NAME,
    "st": oids.STATE_OR_PROVINCE_NAME,
    "l": oids.LOCALITY_NAME,
    "dc": oids.DOMAIN_COMPONENT,
    "email": oids.EMAIL_ADDRESS,
    "serial": "2.5.4.5",
    "uid": "0.9.2342.19200300.100.1.1",
}


@functools.cache
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def name(text: str) -> x509.Name:
    """`cn=x,o=acme,c=us` as RFC 3183 writes names: most significant last.

    `+` joins attributes of one RDN, `␠` is a space that stays.
    """
    rdns = []
    for rdn in reversed([part for part in text.split(",") if part.strip()]):
        pairs = [attribute.strip().partition("=")[::2] for attribute in rdn.split("+")]
        rdns.append(x509.RelativeDistinguishedName([_attribute(kind, value) for kind, value in pairs]))
    return x509.Name(rdns)


def _attribute(kind: str, value: str) -> x509.NameAttribute:
    return x509.NameAttribute(x509.ObjectIdentifier(_TYPES[kind]), value.replace("␠", " "), _validate=False)


@functools.cache
def certificate(subject: str, *addresses: str) -> Certificate:
    """A certificate with this subject and these addresses in its subjectAltName."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name("cn=issuer"))
        .public_key(key().public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=DAYS))
    )
    if addresses:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(a) for a in addresses]), critical=False)
    return Certificate(builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.DER))


def _general(address: str) -> x509.GeneralName:
    if address.startswith("utf8:"):
        other = x509.ObjectIdentifier(oids.ID_ON_SMTP_UTF8_MAILBOX)
        return x509.OtherName(other, der.utf8(address.removeprefix("utf8:")))
    return x509.RFC822Name(address)


def subject(text: str) -> bytes:
    """A DER Name."""
    return name(text).public_bytes()
