"""Another codec, strict about DER, reads what we write and writes the same (cryptography.hazmat.asn1)."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from cryptography import x509
from cryptography.hazmat import asn1

from domsec import der, oids
from domsec.ess.labels import EquivalentLabels, ESSPrivacyMark, ESSSecurityLabel, SecurityCategory
from domsec.ess.names import directory_name, mail_address
from domsec.ess.receipts import ContentHints, ContentReference, Receipt, ReceiptRequest

NAME = der.sequence(der.tlv(der.SET, der.sequence(der.oid(oids.COMMON_NAME), der.utf8("a list"))))


@asn1.sequence
class Hints:
    description: str | None
    type: x509.ObjectIdentifier


@asn1.sequence
class Reference:
    type: x509.ObjectIdentifier
    identifier: bytes
    signature: bytes


@asn1.sequence
class SignedReceipt:
    version: int
    type: x509.ObjectIdentifier
    identifier: bytes
    signature: bytes


@asn1.sequence
class Request:
    identifier: bytes
    tier: Annotated[int, asn1.Implicit(0)]
    to: list[list[asn1.TLV]]


@asn1.sequence
class ListedRequest:
    identifier: bytes
    list: Annotated[list[list[asn1.TLV]], asn1.Implicit(1)]
    to: list[list[asn1.TLV]]


@asn1.sequence
class Category:
    type: Annotated[x509.ObjectIdentifier, asn1.Implicit(0)]
    value: Annotated[asn1.TLV, asn1.Explicit(1)]


@asn1.set
class Label:
    classification: int | None
    policy: x509.ObjectIdentifier
    mark: str | None
    categories: asn1.SetOf[Category] | None


@asn1.set
class PrintableLabel:  # this codec sorts a SET by identifier octets, as RFC 4134 4.10 does and X.690 10.3 does not
    classification: int | None
    policy: x509.ObjectIdentifier
    mark: asn1.PrintableString | None
    categories: asn1.SetOf[Category] | None


@asn1.sequence
class OneField:
    labels: list[Label]


CATEGORIES = (SecurityCategory("1.2.3", der.integer(7)), SecurityCategory("1.2.4", der.utf8("x")))
LABEL = ESSSecurityLabel("1.2.840.113549.1.9.16.7.3", 8, ESSPrivacyMark("Häuser"), CATEGORIES)
PRINTABLE = ESSSecurityLabel("1.2.3", 5, ESSPrivacyMark("mark", "pString"), CATEGORIES, mark_first=True)
WHO = ((mail_address("alice@acme.example"), directory_name(NAME)), (mail_address("jürgen@acme.example"),))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (Hints, ContentHints(oids.ID_DATA, "eine Häuserliste")),
        (Hints, ContentHints(oids.ID_CT_RECEIPT)),
        (Reference, ContentReference(oids.ID_DATA, b"identifier", b"signature")),
        (SignedReceipt, Receipt(oids.ID_DATA, b"identifier", b"signature")),
        (Request, ReceiptRequest(b"identifier", "firstTierRecipients", WHO)),
        (ListedRequest, ReceiptRequest(b"identifier", WHO[:1], WHO)),
        (Label, LABEL),
        (Label, ESSSecurityLabel("1.2.3")),
        (PrintableLabel, PRINTABLE),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, type) else value.__name__,
)
def test_others_read_the_same(theirs: Any, ours: Any) -> None:
    written = ours.write()
    assert asn1.encode_der(asn1.decode_der(theirs, written)) == written


def test_what_others_read_is_what_was_meant() -> None:
    label = asn1.decode_der(Label, LABEL.write())
    assert (label.policy.dotted_string, label.classification, label.mark) == ("1.2.840.113549.1.9.16.7.3", 8, "Häuser")
    assert label.categories is not None
    assert [category.type.dotted_string for category in label.categories.as_list()] == ["1.2.3", "1.2.4"]
    equivalents = EquivalentLabels((LABEL, ESSSecurityLabel("1.2.4")))
    found = asn1.decode_der(OneField, der.sequence(equivalents.write()))
    assert [one.policy.dotted_string for one in found.labels] == ["1.2.840.113549.1.9.16.7.3", "1.2.4"]
