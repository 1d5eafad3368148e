"""Attributes of RFC 2634 with a value each, and layers that have them."""

from __future__ import annotations

from collections.abc import Sequence

import world
from domsec import der, oids
from domsec.cms import attributes
from domsec.cms.attributes import Attribute
from domsec.ess.labels import EquivalentLabels, ESSPrivacyMark, ESSSecurityLabel, SecurityCategory
from domsec.ess.names import mail_address
from domsec.ess.receipts import ReceiptRequest
from domsec.ess.secure_headers import SecureField, SecureHeaderFields
from domsec.services.signature_type import SignatureType
from world import acme

ALICE = (mail_address("alice@acme.example"),)
SECRET = ESSSecurityLabel("1.2.3", 4, ESSPrivacyMark("eyes only"), (SecurityCategory("1.2.9", der.integer(7)),))
TRANSLATED = ESSSecurityLabel("1.2.4", 2)
REQUEST = ReceiptRequest(b"1", "allReceipts", (ALICE,)).write()
VALUES = {
    oids.ID_AA_RECEIPT_REQUEST: REQUEST,
    oids.ID_AA_SECURITY_LABEL: SECRET.write(),
    oids.ID_AA_EQUIVALENT_LABELS: EquivalentLabels((TRANSLATED,)).write(),
    oids.ID_AA_ML_EXPAND_HISTORY: world.history().values[0],
    oids.ID_AA_CONTENT_HINT: der.sequence(der.oid(oids.ID_DATA)),
    oids.ID_AA_CONTENT_IDENTIFIER: der.octet_string(b"1"),
    oids.ID_AA_CONTENT_REFERENCE: der.sequence(der.oid(oids.ID_DATA), der.octet_string(b"1"), der.octet_string(b"2")),
    oids.ID_AA_MSG_SIG_DIGEST: der.octet_string(bytes(32)),
    oids.ID_AA_SECURE_HEADER_FIELDS: SecureHeaderFields("relaxed", (SecureField("x-of", "nobody"),)).write(),
}


def having(oid: str, value: bytes | None = None) -> Attribute:
    return attributes.attribute(oid, VALUES[oid] if value is None else value)


def label(value: ESSSecurityLabel) -> Attribute:
    return having(oids.ID_AA_SECURITY_LABEL, value.write())


def equivalents(*values: ESSSecurityLabel) -> Attribute:
    return having(oids.ID_AA_EQUIVALENT_LABELS, EquivalentLabels(values).write())


def signed(inside: bytes, *extra: Attribute, by: str = "alice", unsigned: Sequence[Attribute] = ()) -> bytes:
    """A layer by a person, or by an authority that states its type."""
    types = {"domain": SignatureType.DOMAIN, "review": SignatureType.REVIEW, "attributes": SignatureType.ATTRIBUTES}
    if by not in types:
        return world.signed(inside, acme().users[by], extra=extra, unsigned=unsigned)
    authority = {"domain": acme().signing, "review": acme().review, "attributes": acme().attributes}[by]
    return world.signed(inside, authority, extra=(*extra, world.typed(types[by])), unsigned=unsigned)
