"""X.400 for tests, octet by octet: a P22 content, names, and certificates of people who have them.

Everything here is written out from X.411 and X.420, so that the code that reads it was not used to make it.
"""

from __future__ import annotations

import functools
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

import names
import pki
from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.trust import issue

P22 = oids.ID_MCT_P2_1988


def tlv(tag: int, *content: bytes) -> bytes:
    """A value; DER lengths of one or two octets more."""
    octets = b"".join(content)
    if len(octets) < 0x80:
        return bytes((tag, len(octets))) + octets
    return bytes((tag, 0x82, len(octets) >> 8, len(octets) & 0xFF)) + octets


def printable(text: str) -> bytes:
    return tlv(0x13, text.encode())


# country-name [APPLICATION 1], administration-domain-name [APPLICATION 2], private-domain-name [2] (all CHOICEs, so
# EXPLICIT), organization-name [3], personal-name [5] with surname [0] and given-name [1]
def address_content(
    organization: str | None = "Acme",
    *units: str,
    surname: str | None = "Doe",
    given: str | None = "Alice",
    private: str | None = "Acme",
    country: str = "US",
) -> bytes:
    """The content of an ORAddress: what x400Address of a certificate has in it."""
    built_in = tlv(0x61, printable(country)) + tlv(0x62, printable(" "))
    if private is not None:
        built_in += tlv(0xA2, printable(private))
    if organization is not None:
        built_in += tlv(0x83, organization.encode())
    if surname is not None:
        built_in += tlv(0xA5, tlv(0x80, surname.encode()), tlv(0x81, given.encode()) if given else b"")
    if units:
        built_in += tlv(0xA6, *(printable(unit) for unit in units))
    return tlv(0x30, built_in)


def or_name(content: bytes | None = None, directory_name: bytes = b"") -> bytes:
    """ORName ::= [APPLICATION 0] SEQUENCE { the components of an ORAddress, directory-name [0] Name OPTIONAL }"""
    inside = address_content() if content is None else content
    return tlv(0x60, inside, tlv(0xA0, directory_name) if directory_name else b"")


def message(originator: bytes | None = None, text: bytes = b"Attack at dawn.\r\n", *more: bytes) -> bytes:
    """InformationObject ::= CHOICE { ipm [0] IPM ... }, IPM ::= SEQUENCE { heading, body }

    The heading, a SET, has this-IPM, originator [0] ORDescriptor, primary-recipients [2] and subject [8]; `more` are
    fields beside them. The body is one ia5-text [0] with its parameters and data.
    """
    descriptor = or_name() if originator is None else originator
    recipient = tlv(0x31, tlv(0xA0, or_name(address_content("Beta", private="Beta", surname="Roe", given="Bob"))))
    heading = tlv(
        0x31,
        tlv(0x6B, printable("19961124120000.1")),  # [APPLICATION 11] SET: user-relative-identifier
        tlv(0xA0, descriptor) if descriptor else b"",
        tlv(0xA2, recipient),
        tlv(0xA8, tlv(0x14, b"plans")),  # EXPLICIT: SubjectField is a CHOICE
        *more,
    )
    ia5_text = tlv(0xA0, tlv(0x31), tlv(0x16, text))
    return tlv(0xA0, heading, tlv(0x30, ia5_text))


# --- certificates ---------------------------------------------------------------------------------------------------


@functools.cache
def certified(
    role: issue.Role, subject: str, *x400: bytes, addresses: tuple[str, ...] = (), start: datetime = pki.START
) -> pki.Identity:
    """A role or a person under any subject and X.400 addresses, by the CA of acme.example or one that begins now."""
    ca = pki.world().acme.ca if start == pki.START else _authority(start)
    key = ec.generate_private_key(ec.SECP256R1())
    general = [tlv(0xA3, content) for content in x400] + [tlv(0x81, address.encode()) for address in addresses]
    alternative = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), tlv(0x30, *general))
    agrees = role == "confidentiality"
    usage = x509.KeyUsage(not agrees, False, False, False, agrees, False, False, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(names.name(subject))
        .issuer_name(ca.certificate.x509.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=pki.DAYS))
        .add_extension(usage, critical=True)
        .add_extension(alternative, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    made = builder.sign(ca.signing_key, hashes.SHA256())  # type: ignore[arg-type]
    return pki.Identity(Certificate(made.public_bytes(Encoding.DER)), key, (ca.certificate,))


def _authority(start: datetime) -> pki.Identity:
    key = issue.new_key("p256")
    assert isinstance(key, issue.SigningKey)
    return pki.Identity(issue.issue_ca("acme.example CA", key, now=start, days=pki.DAYS), key)
