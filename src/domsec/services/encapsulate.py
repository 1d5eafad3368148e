"""Review and additional attributes signatures: a third party's word around a message (RFC 3183 2.2, 2.3, 3.3, 3.4).

    review           somebody looked at the message, and lets it go on
    add_attributes   what somebody else has to say of it: an equivalent label, an aggregate one, other attributes

Both are put around what is there, so that the signatures inside stay as they are, and the order shows who came when.
Neither says anything of the originator, and so neither asks for evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from domsec import oids
from domsec.cms import attributes
from domsec.cms.attributes import Attribute
from domsec.errors import MalformedMessage, SigningRefused
from domsec.ess.labels import EquivalentLabels, ESSSecurityLabel
from domsec.ess.places import PLACES, READ
from domsec.mime import canonical, header_protection
from domsec.octets import Octets, Pieces, chunks
from domsec.services import layers, names, signature_type
from domsec.services.check import Examination
from domsec.services.context import Context
from domsec.services.finding import originator_layer
from domsec.services.sign import Reason, Signer, authority_problems, opaque, unreadable
from domsec.services.signature_type import SignatureType
from domsec.trust.usage import signing_problems

OverEncrypted = Literal["direct", "null", "refuse"]
KeyNaming = Literal["strict", "mailbox"]
_V = TypeVar("_V")
_SEEN: Final = ("content", "certs_only")  # how the spine ends where all of it is open

# what a third party cannot say (RFC 2634 1.3.4, decisions A-32), or what every signature says of itself
_NOT_ADDED: Final = frozenset(
    {
        oids.ID_CONTENT_TYPE,
        oids.ID_MESSAGE_DIGEST,
        oids.ID_SIGNING_TIME,
        oids.ID_AA_CMS_ALGORITHM_PROTECT,
        oids.ID_AA_SIGNING_CERTIFICATE,
        oids.ID_AA_SIGNING_CERTIFICATE_V2,
        oids.ID_AA_MULTIPLE_SIGNATURES,
        oids.ID_AA_SECURE_HEADER_FIELDS,  # the header is for its originator to state
        *signature_type.ATTRIBUTE_OIDS,
    }
)


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """A message with one signature more. The digests are SHA-256 in hexadecimal, for the audit trail."""

    entity: Octets | Pieces
    body: str  # of the entity that the signature was put around
    content: str | None  # of the original content, None where nobody here saw it


@dataclass(frozen=True, slots=True)
class Additions:
    """What an additional attributes signature says.

    `aggregate_label` is the sensitivity of all that lies inside, `equivalent_labels` say in other policies what the
    originator's label says: labels of different meaning do not belong there (RFC 2634 3.4.1).
    """

    aggregate_label: ESSSecurityLabel | None = None
    equivalent_labels: tuple[ESSSecurityLabel, ...] = ()
    others: tuple[Attribute, ...] = ()

    def attributes(self) -> tuple[Attribute, ...]:
        """As they stand in the SignerInfo. Raises LimitExceeded for too many labels."""
        found = list(self.others)
        if self.aggregate_label is not None:
            found.append(security_label(self.aggregate_label))
        if self.equivalent_labels:
            value = EquivalentLabels(self.equivalent_labels).write()
            found.append(attributes.attribute(oids.ID_AA_EQUIVALENT_LABELS, value))
        return tuple(found)


def security_label(label: ESSSecurityLabel) -> Attribute:
    return attributes.attribute(oids.ID_AA_SECURITY_LABEL, label.write())


@dataclass(frozen=True, slots=True)
class Manner:
    """How a signature is put around a message."""

    over_encrypted: OverEncrypted = "direct"  # right around it if a signature was seen inside, else over an empty one
    naming: KeyNaming = "strict"  # the convention that our own certificate keeps
    protect_headers: bool = True  # where this makes the innermost layer


_USUAL: Final = Manner()


def review(
    examination: Examination, signer: Signer, context: Context, *, manner: Manner = _USUAL, unseen: bool = False
) -> Encapsulated:
    """Put a review signature around a message. Whoever calls has looked at what `examination` shows.

    `unseen` allows it where the original content could not be seen. Raises SigningRefused with every reason.
    """
    reasons = () if unseen else unreadable(examination.findings)
    return _encapsulate(examination, SignatureType.REVIEW, (), reasons, signer, context, manner)


def add_attributes(
    examination: Examination, additions: Additions, signer: Signer, context: Context, *, manner: Manner = _USUAL
) -> Encapsulated:
    """Put an additional attributes signature around a message. Raises SigningRefused with every reason."""
    stated = additions.attributes()
    reasons = [*_attribute_problems(stated), *_label_problems(examination, stated)]
    return _encapsulate(examination, SignatureType.ATTRIBUTES, stated, reasons, signer, context, manner)


def _encapsulate(
    examination: Examination,
    signed_as: SignatureType,
    stated: Sequence[Attribute],
    reasons: Iterable[Reason],
    signer: Signer,
    context: Context,
    manner: Manner,
) -> Encapsulated:
    found = [*reasons, *_own_problems(signed_as, signer, manner, context)]
    root = examination.message.root
    if root.encrypted and manner.over_encrypted == "refuse":
        found.append(("gate.encrypted", "the message is encrypted, and ciphertext is not signed here"))
    if not layers.in_mime(root):
        found.append(("gate.malformed", f"layer {root.id} has no form in MIME"))
    if found:
        raise SigningRefused(tuple(dict.fromkeys(found)))
    body = layers.mime_entity(root)
    entity = opaque(_inner(examination, body, manner), signer.signings(signed_as, stated), context.now)
    last = examination.findings[-1].layer
    return Encapsulated(entity, _digest(body), _digest(last.entity) if last.kind in _SEEN else None)


def _own_problems(signed_as: SignatureType, signer: Signer, manner: Manner, context: Context) -> Iterator[Reason]:
    for credential in (signer.credential, *signer.beside):
        certificate = credential.certificate
        yield from authority_problems(certificate, names.ROLE_NAMES[signed_as], manner.naming, context.now)
        yield from (("gate.authority", text) for text in signing_problems(certificate))


def _digest(octets: Octets | Pieces) -> str:
    digest = hashlib.sha256()
    for chunk in chunks(octets):
        digest.update(chunk)
    return digest.hexdigest()


def _inner(examination: Examination, body: Octets | Pieces, manner: Manner) -> Octets | Pieces:
    """The body as a DOMSEC signature may enclose it: signed, or inside the empty signature (RFC 3183 3, A-09)."""
    root = examination.message.root
    if root.kind in ("signed", "null"):
        return body
    if root.encrypted and manner.over_encrypted == "direct" and _signed_inside(examination):
        return body
    if root.kind == "content" and manner.protect_headers:
        body = header_protection.protect(examination.message.header, body)
    return layers.null_layer(canonical.canonical(body))


def _signed_inside(examination: Examination) -> bool:
    return any(finding.layer.kind in ("signed", "null") for finding in examination.findings)


def _attribute_problems(stated: Sequence[Attribute]) -> Iterator[Reason]:
    """Why attributes may not stand in an additional attributes signature (RFC 2634 1.3.4)."""
    for attribute in stated:
        name, place = oids.name(attribute.oid), PLACES.get(attribute.oid)
        if attribute.oid in _NOT_ADDED:
            yield "gate.attributes", f"{name} is not for others to state"
        elif place is not None and (place.signed == "never" or place.layer != "either"):
            yield "gate.attributes", f"{name} may not stand in an additional attributes signature"
        if len(attribute.values) != 1:
            yield "gate.attributes", f"{name} with {len(attribute.values)} values, expected one"
        elif problem := _unreadable_value(attribute):
            yield "gate.attributes", f"{name}: {problem}"
    found = [attribute.oid for attribute in stated]
    yield from (
        ("gate.attributes", f"{oids.name(oid)} stands twice") for oid in dict.fromkeys(found) if found.count(oid) > 1
    )


def _unreadable_value(attribute: Attribute) -> str | None:
    value = attribute.values[0]
    try:
        if attribute.oid in READ:
            READ[attribute.oid](value)
    except MalformedMessage as error:
        return str(error)
    return None if attributes.is_distinguished(value) else "a value that is not in DER"


def _label_problems(examination: Examination, stated: Sequence[Attribute]) -> Iterator[Reason]:
    """Equivalents are of different policies, none that of the label they translate (RFC 2634 3.4.1, RFC 3183 3.3)."""
    equivalents = _stated(stated, oids.ID_AA_EQUIVALENT_LABELS, EquivalentLabels.read)
    if equivalents is None:
        return
    if equivalents.repeats(_stated(stated, oids.ID_AA_SECURITY_LABEL, ESSSecurityLabel.read)):
        yield "gate.label", "two labels of one policy are said to be equivalent"
    original = examination.verdict.labels.original
    if original is not None and original.policy in {e.security_policy_identifier for e in equivalents.labels}:
        yield "gate.label", f"an equivalent label of policy {original.policy}, which the originator's label has"
    signed = originator_layer(examination.findings)
    if original is None and signed is not None and layers.carries(signed.layer, oids.ID_AA_SECURITY_LABEL):
        yield "gate.label", f"the label of layer {signed.layer.id} is not verified, and so cannot be translated"


def _stated(stated: Sequence[Attribute], oid: str, read: Callable[[bytes], _V]) -> _V | None:
    """The value of an attribute; None where it is absent, or was complained of already."""
    found = [attribute.values for attribute in stated if attribute.oid == oid]
    try:
        return read(found[0][0]) if len(found) == 1 and found[0] else None
    except MalformedMessage:
        return None
