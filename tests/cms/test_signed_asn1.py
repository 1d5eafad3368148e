"""Another codec, strict about DER, reads what we write and writes the same (cryptography.hazmat.asn1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import pytest
from cryptography import x509
from cryptography.hazmat import asn1

import signers
from domsec import der, oids
from domsec.cms.attributes import attribute
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import Signing, certificates_only, null_layer, sign

CONTENT = b"Content-Type: text/plain\r\n\r\nhello\r\n"


@asn1.sequence
class AttributeValue:
    type: x509.ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class Algorithm:
    algorithm: x509.ObjectIdentifier
    parameters: asn1.Null | asn1.TLV | None


@asn1.sequence
class IssuerAndSerial:
    issuer: asn1.TLV
    serial: int


@asn1.sequence
class Signer:
    version: int
    sid: IssuerAndSerial | Annotated[bytes, asn1.Implicit(0)]
    digest: Algorithm
    signed: Annotated[asn1.SetOf[AttributeValue] | None, asn1.Implicit(0)]
    algorithm: Algorithm
    signature: bytes
    unsigned: Annotated[asn1.SetOf[AttributeValue] | None, asn1.Implicit(1)]


@asn1.sequence
class Encapsulated:
    type: x509.ObjectIdentifier
    content: Annotated[bytes | None, asn1.Explicit(0)]


@asn1.sequence
class Signed:
    version: int
    digests: asn1.SetOf[Algorithm]
    content: Encapsulated
    certificates: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
    crls: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(1)]
    signers: asn1.SetOf[Signer]


@asn1.sequence
class Info:
    type: x509.ObjectIdentifier
    content: Annotated[Signed, asn1.Explicit(0)]


EXTRA = (
    attribute(oids.ID_AA_SIGNATURE_TYPE, der.sequence(der.oid(oids.ID_STI_DOMAIN_SIG))),
    attribute("1.2.3.4", der.null(), der.integer(1), der.utf8("x")),
)
CERTIFICATES: tuple[Certificate, ...] = tuple(signers.credential("p256", i).certificate for i in range(3))
WAYS = [
    Signing(signers.credential("rsa2048"), attributes=EXTRA, signing_time=signers.NOW),
    Signing(signers.credential("p256"), key_identifier=True, unsigned_attributes=EXTRA),
    Signing(signers.credential("p384"), signing_time=signers.NOW.replace(year=2060)),
    Signing(signers.credential("ed25519")),
]


@pytest.mark.requirement("R5652-5.3-01")
@pytest.mark.parametrize(
    "octets",
    [
        sign(CONTENT, oids.ID_DATA, WAYS[:1]),
        sign(CONTENT, oids.ID_DATA, WAYS[:1], detached=True),
        sign(CONTENT * 5000, oids.ID_CT_RECEIPT, [replace(WAYS[1], attributes=EXTRA)]),
        sign(CONTENT, oids.ID_DATA, WAYS, certificates=CERTIFICATES),
        null_layer(CONTENT),
        certificates_only(CERTIFICATES),
    ],
    ids=["opaque", "detached", "receipt", "all", "null", "certificates"],
)
def test_what_we_write_is_der(octets: bytes) -> None:
    read = asn1.decode_der(Info, octets)
    assert asn1.encode_der(read) == octets
