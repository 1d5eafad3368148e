"""ESS attributes as other people's programs wrote them are read, and written again octet for octet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domsec import oids
from domsec.cli.reading import read_input
from domsec.cms.attributes import Attribute, is_distinguished
from domsec.cms.certificates import SubjectKeyIdentifier
from domsec.cms.content_info import parse
from domsec.cms.signed_data import SignedData, parse_signed_data
from domsec.errors import DomsecError, MalformedMessage
from domsec.ess.labels import EquivalentLabels, ESSPrivacyMark, ESSSecurityLabel, SecurityCategory
from domsec.ess.lists import MLExpansionHistory
from domsec.ess.places import READ
from domsec.ess.receipts import ContentHints, ContentReference, MsgSigDigest, Receipt, ReceiptRequest
from domsec.services.layers import peel

pytestmark = pytest.mark.shared

# how ess-index.json calls what we call by its OID
INDEX_NAMES = {
    "receiptRequest": oids.ID_AA_RECEIPT_REQUEST,
    "eSSSecurityLabel": oids.ID_AA_SECURITY_LABEL,
    "mlExpansionHistory": oids.ID_AA_ML_EXPAND_HISTORY,
    "contentHints": oids.ID_AA_CONTENT_HINT,
    "msgSigDigest": oids.ID_AA_MSG_SIG_DIGEST,
    "contentIdentifier": oids.ID_AA_CONTENT_IDENTIFIER,
    "equivalentLabels": oids.ID_AA_EQUIVALENT_LABELS,
    "contentReference": oids.ID_AA_CONTENT_REFERENCE,
}


def attributes(signed: SignedData) -> Iterator[Attribute]:
    for signer in signed.signers:
        for stated in (signer.signed_attributes, signer.unsigned_attributes):
            yield from stated.items if stated is not None else ()


def in_file(file: Path) -> list[Attribute]:
    """Of every layer of a file, be it mail or CMS by itself."""
    try:
        spine = peel(read_input(file)).spine()
    except DomsecError:
        return []
    return [item for layer in spine if layer.signed is not None for item in attributes(layer.signed)]


def signed_data(file: Path) -> SignedData:
    return parse_signed_data(parse(file.read_bytes()).content)


def values(file: Path) -> dict[str, bytes]:
    return {item.oid: item.values[0] for item in attributes(signed_data(file)) if item.oid in READ}


def test_the_example_of_rfc_4134_4_10(shared: Path) -> None:
    found = values(shared / "corpora/rfc4134/bin/4.10.bin")
    assert set(found) == {
        oids.ID_AA_CONTENT_HINT, oids.ID_AA_SECURITY_LABEL, oids.ID_AA_CONTENT_REFERENCE, oids.ID_AA_ML_EXPAND_HISTORY,
        oids.ID_AA_EQUIVALENT_LABELS,
    }  # fmt: skip
    for oid, value in found.items():
        assert READ[oid](value).write() == value

    assert ContentHints.read(found[oids.ID_AA_CONTENT_HINT]) == ContentHints(
        oids.ID_DATA, "Content Hints Description Buffer"
    )
    label = ESSSecurityLabel.read(found[oids.ID_AA_SECURITY_LABEL])
    assert (label.security_policy_identifier, label.security_classification) == ("1.2.3.4.5.6.7.8", 1)
    assert label.privacy_mark == ESSPrivacyMark("THIS IS A PRIVACY MARK TEST", "pString")
    assert label.security_categories == (
        SecurityCategory("1.2.3.4.5.6.7.888", b"\x13\x21THIS IS A TEST SECURITY-CATEGORY."),
    )
    equivalents = EquivalentLabels.read(found[oids.ID_AA_EQUIVALENT_LABELS])
    assert [e.security_policy_identifier for e in equivalents.labels] == ["1.2.3.4.5.6.7.9", "1.2.3.4.5.6.7.10"]
    assert not equivalents.repeats(label)
    reference = ContentReference.read(found[oids.ID_AA_CONTENT_REFERENCE])
    assert reference.content_type == "1.2.3.4.5.6"
    assert reference.signed_content_identifier == b"Content Reference Content Identifier Buffer"
    (entry,) = MLExpansionHistory.read(found[oids.ID_AA_ML_EXPAND_HISTORY]).entries
    assert entry.mail_list_identifier == SubjectKeyIdentifier(b"5738299")
    assert entry.expansion_time == datetime(1999, 3, 11, 10, 44, 33, tzinfo=UTC)
    assert entry.receipt_policy is not None
    assert entry.receipt_policy.choice == "insteadOf"
    assert [[name.kind for name in names] for names in entry.receipt_policy.names] == [["directoryName"] * 2]


def test_a_request_and_a_receipt(shared: Path) -> None:
    folder = shared / "corpora/rfc-structures"
    asked = signed_data(folder / "rfc2634.SignedMessageTestCase.signed_message_pem_text.der")
    answered = signed_data(folder / "rfc2634.SignedReceiptTestCase.signed_receipt_pem_text.der")
    (request,) = (a for a in attributes(asked) if a.oid == oids.ID_AA_RECEIPT_REQUEST)
    wanted = ReceiptRequest.read(request.values[0])
    assert wanted.receipts_from == "firstTierRecipients"
    assert [[name.address for name in names] for names in wanted.receipts_to] == [["alice@example.com"]]
    assert answered.content_type == oids.ID_CT_RECEIPT
    assert answered.content is not None
    receipt = Receipt.read(answered.content)
    assert receipt.write() == answered.content
    assert receipt.content_type == asked.content_type
    assert receipt.signed_content_identifier == wanted.signed_content_identifier
    # ECDSA: the receipt is for another signature over the same request than the one that was kept
    assert len(receipt.originator_signature_value) > 64
    (digest,) = (a for a in attributes(answered) if a.oid == oids.ID_AA_MSG_SIG_DIGEST)
    assert len(MsgSigDigest.read(digest.values[0]).digest) == 48


def test_a_label_in_the_order_of_x690(shared: Path) -> None:
    """RFC 3114, with a category value whose tag is primitive."""
    value = values(shared / "corpora/rfc-structures/rfc3114.SecurityLabelTestCase.pem_text.der")[
        oids.ID_AA_SECURITY_LABEL
    ]
    label = ESSSecurityLabel.read(value)
    assert not label.mark_first
    assert [category.primitive for category in label.security_categories] == [True]
    assert label.write() == value
    assert is_distinguished(value)


def test_every_file_of_the_index_is_read_and_written(shared: Path) -> None:
    corpora = shared / "corpora"
    index = json.loads((corpora / "ess-index.json").read_text())
    seen: dict[str, int] = {}
    for name, stated in index.items():
        expected = {INDEX_NAMES[a] for a in stated.get("attributes", ()) if a in INDEX_NAMES}
        found = [item for item in in_file(corpora / name) if item.oid in READ]
        for item in found:
            for value in item.values:
                if name in BROKEN:
                    with pytest.raises(MalformedMessage):
                        READ[item.oid](value)
                    continue
                assert READ[item.oid](value).write() == value, (name, oids.name(item.oid))
            seen[item.oid] = seen.get(item.oid, 0) + 1
        if name not in NOT_SEEN:
            assert expected <= {item.oid for item in found}, name
    assert set(seen) == set(READ) - {oids.ID_AA_SECURE_HEADER_FIELDS}  # nobody is known to write it


# what they name lies in other structures: collections of contents, key packages, encryption
NOT_SEEN = {
    "rfc-structures/rfc4073.ContentCollectionTestCase.pem_text.der",
    "rfc-structures/rfc7191.ReceiptRequestTestCase.message1_pem_text.der",
}
BROKEN = {"bouncycastle/pkix/cms/test/bc1639test.p7m"}  # an object identifier without octets in contentHints


def test_raw_labels_of_spiffing(shared: Path) -> None:
    folder = shared / "corpora/security-labels"
    files = {*folder.rglob("*.ber")}
    assert files
    for file in files:
        value = file.read_bytes()
        assert ESSSecurityLabel.read(value).write() == value, file


def test_every_ess_attribute_of_the_corpora_is_read_or_malformed(shared: Path) -> None:
    read = malformed = 0
    for file in sorted((shared / "corpora").rglob("*")):
        if not file.is_file() or file.stat().st_size > 2_000_000:
            continue
        for item in in_file(file):
            for value in item.values if item.oid in READ else ():
                try:
                    READ[item.oid](value).write()
                    read += 1
                except MalformedMessage:
                    malformed += 1
    assert read >= 20
    assert malformed <= read
