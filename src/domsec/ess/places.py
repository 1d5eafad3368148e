"""Which attribute may stand where, how often, and how its value is read (RFC 2634 1.3.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from domsec import oids
from domsec.ess.labels import EquivalentLabels, ESSSecurityLabel
from domsec.ess.lists import MLExpansionHistory
from domsec.ess.receipts import ContentHints, ContentIdentifier, ContentReference, MsgSigDigest, ReceiptRequest
from domsec.ess.secure_headers import SecureHeaderFields


class Value(Protocol):
    """What every attribute value here can do besides being read."""

    def write(self) -> bytes: ...


READ: Final[Mapping[str, Callable[[bytes], Value]]] = {
    oids.ID_AA_RECEIPT_REQUEST: ReceiptRequest.read,
    oids.ID_AA_CONTENT_IDENTIFIER: ContentIdentifier.read,
    oids.ID_AA_CONTENT_REFERENCE: ContentReference.read,
    oids.ID_AA_CONTENT_HINT: ContentHints.read,
    oids.ID_AA_MSG_SIG_DIGEST: MsgSigDigest.read,
    oids.ID_AA_SECURITY_LABEL: ESSSecurityLabel.read,
    oids.ID_AA_EQUIVALENT_LABELS: EquivalentLabels.read,
    oids.ID_AA_ML_EXPAND_HISTORY: MLExpansionHistory.read,
    oids.ID_AA_SECURE_HEADER_FIELDS: SecureHeaderFields.read,
}

# RFC 2634 1.3.4: at most one of each in a SignerInfo, with one value
SINGLE: Final = frozenset({*READ, oids.ID_AA_SIGNING_CERTIFICATE, oids.ID_AA_SIGNING_CERTIFICATE_V2})


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the table in RFC 2634 1.3.4."""

    layer: Literal["either", "inner", "outer"]
    signed: Literal["must", "may", "never"]


PLACES: Final[Mapping[str, Place]] = {
    oids.ID_AA_CONTENT_HINT: Place("either", "may"),
    oids.ID_AA_CONTENT_IDENTIFIER: Place("either", "may"),
    oids.ID_AA_CONTENT_REFERENCE: Place("either", "must"),
    oids.ID_CONTENT_TYPE: Place("either", "must"),
    oids.ID_COUNTERSIGNATURE: Place("either", "never"),
    oids.ID_AA_EQUIVALENT_LABELS: Place("either", "must"),
    oids.ID_AA_SECURITY_LABEL: Place("either", "must"),
    oids.ID_MESSAGE_DIGEST: Place("either", "must"),
    oids.ID_AA_MSG_SIG_DIGEST: Place("inner", "must"),
    oids.ID_AA_ML_EXPAND_HISTORY: Place("outer", "must"),
    oids.ID_AA_RECEIPT_REQUEST: Place("inner", "must"),
    oids.ID_AA_SIGNING_CERTIFICATE: Place("either", "must"),
    oids.ID_AA_SIGNING_CERTIFICATE_V2: Place("either", "must"),
    oids.ID_SIGNING_TIME: Place("either", "must"),
    oids.SMIME_CAPABILITIES: Place("either", "must"),
    oids.ID_AA_ENCRYP_KEY_PREF: Place("either", "must"),
    oids.ID_AA_MULTIPLE_SIGNATURES: Place("either", "must"),  # RFC 5752 3
    oids.ID_AA_SECURE_HEADER_FIELDS: Place("either", "must"),  # RFC 7508 4
}
