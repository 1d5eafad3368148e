"""What the ESS attributes of a message say, and whether they stand where they may (RFC 2634 1.3.4, 3, 4).

    decoded        the values of one SignerInfo as JSON, whoever signed them
    found_in       flags of one layer: place and number of attributes, labels and histories that differ
    usable         the value of an attribute, from a valid layer only
    history        the expansion history of the message, from its outermost valid layer that has one
    stated_labels, expansions    the values themselves, of valid layers, for those who act on them

What the labels of a message come to is in `domsec.services.labelling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from domsec import oids
from domsec.cms.attributes import Attributes
from domsec.cms.certificates import Certificate, IssuerAndSerialNumber
from domsec.cms.signed_data import SignerInfo
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.ess.labels import EquivalentLabels, ESSSecurityLabel
from domsec.ess.lists import EntityIdentifier, MLData, MLExpansionHistory
from domsec.ess.names import GeneralName, GeneralNames
from domsec.ess.places import PLACES, READ, SINGLE
from domsec.ess.receipts import (
    ContentHints,
    ContentIdentifier,
    ContentReference,
    MsgSigDigest,
    Receipt,
    ReceiptRequest,
)
from domsec.ess.secure_headers import SecureHeaderFields
from domsec.services.layers import Flags, Layer
from domsec.services.verdict import JSON, Expansion, ReceiptPolicy, as_json
from domsec.trust.names import name_text

if TYPE_CHECKING:
    from domsec.services.finding import Finding, Signer

_V = TypeVar("_V")

# --- values in words that JSON can carry ----------------------------------------------------------------------------


def decoded(signer: SignerInfo) -> dict[str, JSON]:
    """The signed ESS attributes of a SignerInfo by name; None for one that cannot be read or is not there just once.

    What a stranger states: believe it no more than the signature.
    """
    stated = signer.signed_attributes
    if stated is None:
        return {}
    found: dict[str, JSON] = {}
    for item in stated.items:
        if item.oid in READ:
            found[oids.name(item.oid)] = _plain_or_none(item.oid, single(stated, item.oid))
    return found


def _plain_or_none(oid: str, value: bytes | None) -> JSON:
    try:
        return None if value is None else plain(READ[oid](value))
    except MalformedMessage:
        return None


def plain(value: object) -> JSON:
    """A value of `domsec.ess` as JSON; octets in hexadecimal, names as text."""
    match value:
        case ESSSecurityLabel():
            return {
                "policy": value.security_policy_identifier,
                "classification": value.security_classification,
                "privacy_mark": value.privacy_mark.text if value.privacy_mark else None,
                "categories": [{"type": c.type, "value": c.value.hex()} for c in value.security_categories],
            }
        case EquivalentLabels():
            return [plain(label) for label in value.labels]
        case MLExpansionHistory():
            return [as_json(_expansion(entry)) for entry in value.entries]
        case ReceiptRequest():
            asked = value.receipts_from
            return {
                "signed_content_identifier": value.signed_content_identifier.hex(),
                "receipts_from": _texts(asked) if isinstance(asked, tuple) else asked,
                "receipts_to": _texts(value.receipts_to),
            }
        case ContentReference() | Receipt():
            return {
                "content_type": oids.name(value.content_type),
                "signed_content_identifier": value.signed_content_identifier.hex(),
                "originator_signature_value": value.originator_signature_value.hex(),
            }
        case ContentHints():
            return {"content_type": oids.name(value.content_type), "description": value.content_description}
        case ContentIdentifier():
            return value.octets.hex()
        case MsgSigDigest():
            return value.digest.hex()
        case SecureHeaderFields():
            fields: list[JSON] = [{"name": f.name, "value": f.value, "status": f.status} for f in value.fields]
            return {"algorithm": value.algorithm, "fields": fields}
    raise TypeError(type(value).__name__)


def _texts(names: Iterable[GeneralNames]) -> list[JSON]:
    return [[name_words(name) for name in entity] for entity in names]


def name_words(name: GeneralName) -> str:
    """A general name for people."""
    if name.directory_name is not None:
        return name_text(name.directory_name)
    return name.address or name.text or f"{name.kind} {name.value[:32].hex()}"


def identifier_text(identifier: EntityIdentifier) -> str:
    """Whom a SignerInfo, a RecipientInfo or an expansion history means."""
    if isinstance(identifier, IssuerAndSerialNumber):
        return f"serial {identifier.serial:x} of {name_text(identifier.issuer)}"
    return f"key identifier {identifier.key_identifier.hex()}"


# --- places, numbers and contradictions -----------------------------------------------------------------------------


def single(stated: Attributes | None, oid: str) -> bytes | None:
    """The one value of an attribute; None if it is absent, doubled, or has not just one (RFC 2634 1.3.4)."""
    found = stated.get(oid) if stated is not None else ()
    return found[0].values[0] if len(found) == 1 and len(found[0].values) == 1 else None


def _all_values(signer: SignerInfo, oid: str) -> frozenset[tuple[bytes, ...]]:
    found = signer.signed_attributes.get(oid) if signer.signed_attributes is not None else ()
    return frozenset(item.values for item in found)


def found_in(
    layer: Layer, verified: Iterable[SignerInfo], above: Sequence[Layer], below: Sequence[Layer]
) -> list[tuple[str, str]]:
    """Codes and texts for the ESS attributes of one layer. `verified` are the signers whose signature holds."""
    flags: list[tuple[str, str]] = []
    if layer.enveloped is not None:
        for stated in (layer.enveloped.unprotected, layer.enveloped.auth_attributes):
            flags += [
                ("ess.placement", f"{oids.name(item.oid)} stands beside ciphertext")
                for item in (stated.items if stated is not None else ())
                if item.oid in SINGLE and PLACES[item.oid].signed == "must"
            ]
    if layer.signed is None:
        return flags
    signers = layer.signed.signers
    for signer in signers:
        flags += _numbers(signer)
        flags += _places(signer, layer, above, below)
    flags += _labels_differ(signers)
    flags += _histories_differ(verified)
    if len({_all_values(s, oids.ID_AA_RECEIPT_REQUEST) for s in signers} - {frozenset()}) > 1:
        flags.append(("ess.cardinality", "the signers state different receipt requests"))
    return flags


def _numbers(signer: SignerInfo) -> Flags:
    flags: list[tuple[str, str]] = []
    for stated in (signer.signed_attributes, signer.unsigned_attributes):
        for oid in {item.oid for item in stated.items} & SINGLE if stated is not None else ():
            found = stated.get(oid) if stated is not None else ()
            if len(found) != 1:
                flags.append(("ess.cardinality", f"{len(found)} attributes {oids.name(oid)}, expected one"))
            elif len(found[0].values) != 1:
                flags.append(("ess.cardinality", f"{oids.name(oid)} has {len(found[0].values)} values, expected one"))
    return tuple(sorted(flags))


def _places(signer: SignerInfo, layer: Layer, above: Sequence[Layer], below: Sequence[Layer]) -> Flags:
    flags: list[tuple[str, str]] = []
    for stated, signed in ((signer.signed_attributes, True), (signer.unsigned_attributes, False)):
        for item in stated.items if stated is not None else ():
            place = PLACES.get(item.oid)
            if place is None:
                continue
            name = oids.name(item.oid)
            if place.signed == ("never" if signed else "must"):
                flags.append(("ess.placement", f"{name} stands in the {'' if signed else 'un'}signed attributes"))
            elif not _layer_fits(item.oid, layer, above, below):
                flags.append(("ess.placement", f"{name} stands in a layer where it may not"))
    return tuple(dict.fromkeys(flags))


def _layer_fits(oid: str, layer: Layer, above: Sequence[Layer], below: Sequence[Layer]) -> bool:
    """RFC 2634 1.3.4, the column "inner or outer", where a message has more layers than three.

    Inner is a signature with no other one below. Outer is one that no signature encloses through encryption: a domain
    may well sign around a list. A receipt carries neither request nor history (2.2, 2.4.1).
    """
    place = PLACES[oid].layer
    if layer.content_type == oids.ID_CT_RECEIPT and oid in (oids.ID_AA_RECEIPT_REQUEST, oids.ID_AA_ML_EXPAND_HISTORY):
        return False
    if place == "inner":
        return not any(inner.kind == "signed" for inner in below)
    if place == "outer":
        closest = max((i for i, outer in enumerate(above) if outer.encrypted), default=0)
        return not any(outer.kind == "signed" for outer in above[:closest])
    return True


def _labels_differ(signers: Sequence[SignerInfo]) -> Flags:
    """RFC 2634 3.1.1: all signers state the same label; 3.4.1: no policy twice."""
    stated = {_all_values(signer, oids.ID_AA_SECURITY_LABEL) for signer in signers}
    if len(stated) > 1 or any(len(values) > 1 for values in stated):
        return (("label.conflict", "the signers of a layer state different labels"),)
    flags: list[tuple[str, str]] = []
    for signer in signers:
        label = equivalents = None
        try:
            label = _read(signer, oids.ID_AA_SECURITY_LABEL, ESSSecurityLabel.read)
        except MalformedMessage as error:
            flags.append(("label.unknown_policy", f"a label that cannot be read: {error}"))
        try:
            equivalents = _read(signer, oids.ID_AA_EQUIVALENT_LABELS, EquivalentLabels.read)
        except MalformedMessage as error:
            flags.append(("label.unknown_policy", f"equivalent labels that cannot be read: {error}"))
        if equivalents is not None and equivalents.repeats(label):
            flags.append(("label.conflict", "two labels of one policy are said to be equivalent"))
    return tuple(dict.fromkeys(flags))


def _histories_differ(verified: Iterable[SignerInfo]) -> Flags:
    """RFC 2634 4.1: the signers whose signature holds, and who state a history, state the same."""
    stating = [signer for signer in verified if _all_values(signer, oids.ID_AA_ML_EXPAND_HISTORY)]
    if not stating:
        return ()
    if len({_all_values(signer, oids.ID_AA_ML_EXPAND_HISTORY) for signer in stating}) > 1:
        return (("mlh.conflict", "the signers state different expansion histories"),)
    value = single(stating[0].signed_attributes, oids.ID_AA_ML_EXPAND_HISTORY)
    if value is None:
        return (("mlh.conflict", "a signer states more or less than one expansion history"),)
    try:
        MLExpansionHistory.read(value)
    except LimitExceeded as error:
        return (("mlh.overflow", str(error)),)
    except MalformedMessage as error:
        return (("mlh.conflict", f"an expansion history that cannot be read: {error}"),)
    return ()


def _read(signer: SignerInfo, oid: str, read: Callable[[bytes], _V]) -> _V | None:
    value = single(signer.signed_attributes, oid)
    return None if value is None else read(value)


# --- of the message -------------------------------------------------------------------------------------------------

_UNUSABLE: Final[Mapping[str, frozenset[str]]] = {
    oids.ID_AA_SECURITY_LABEL: frozenset({"label.conflict", "label.unknown_policy"}),
    oids.ID_AA_EQUIVALENT_LABELS: frozenset({"label.conflict", "label.unknown_policy"}),
    oids.ID_AA_ML_EXPAND_HISTORY: frozenset({"mlh.conflict", "mlh.overflow"}),
}


def usable(finding: Finding, oid: str, read: Callable[[bytes], _V]) -> tuple[_V, Signer] | None:
    """The value a valid layer states, and who does so first; None if it states none, or none that can be used."""
    if finding.state != "valid" or any(f.code in _UNUSABLE[oid] for f in finding.flags):
        return None
    for signer in finding.signers:
        if signer.verdict.state != "valid":
            continue
        try:
            value = _read(signer.info, oid, read)
        except MalformedMessage:
            return None
        if value is not None:
            return value, signer
    return None


@dataclass(frozen=True, slots=True)
class StatedLabel:
    """The label and its equivalents of one valid layer, whatever its role, and the certificates of who states them."""

    layer: str
    label: ESSSecurityLabel | None
    equivalents: tuple[ESSSecurityLabel, ...]
    signers: tuple[Certificate, ...]


def stated_labels(findings: Iterable[Finding]) -> tuple[StatedLabel, ...]:
    """What each layer with a label says, outermost first: a mail list agent processes every one (RFC 2634 4.2)."""
    found: list[StatedLabel] = []
    for finding in findings:
        label = usable(finding, oids.ID_AA_SECURITY_LABEL, ESSSecurityLabel.read)
        others = usable(finding, oids.ID_AA_EQUIVALENT_LABELS, EquivalentLabels.read)
        if label is not None or others is not None:
            equivalents = others[0].labels if others is not None else ()
            signers = tuple(s.certificate for s in finding.relied_on if s.certificate is not None)
            found.append(StatedLabel(finding.layer.id, label and label[0], equivalents, signers))
    return tuple(found)


def expansions(finding: Finding) -> tuple[MLData, ...]:
    """The expansion history that a valid layer states, wherever the layer stands; none if it states none."""
    stated = usable(finding, oids.ID_AA_ML_EXPAND_HISTORY, MLExpansionHistory.read)
    return stated[0].entries if stated is not None else ()


def history(findings: Sequence[Finding]) -> tuple[Expansion, ...]:
    """The lists that expanded the message, the last one last: what the outermost valid layer with a history says."""
    for i, finding in enumerate(findings):
        above = [f.layer for f in findings[:i]]
        stated = usable(finding, oids.ID_AA_ML_EXPAND_HISTORY, MLExpansionHistory.read)
        if stated is not None and _layer_fits(oids.ID_AA_ML_EXPAND_HISTORY, finding.layer, above, ()):
            return tuple(_expansion(entry) for entry in stated[0].entries)
    return ()


def _expansion(entry: MLData) -> Expansion:
    policy = entry.receipt_policy
    return Expansion(
        mail_list_identifier=identifier_text(entry.mail_list_identifier),
        expansion_time=entry.expansion_time.isoformat(),
        receipt_policy=None
        if policy is None
        else ReceiptPolicy(policy.choice, tuple(tuple(name_words(n) for n in names) for names in policy.names)),
    )
