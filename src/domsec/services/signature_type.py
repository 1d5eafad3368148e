"""The SignatureType attribute (RFC 3183 3.1.2, decisions A-01 to A-05)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from domsec import der, oids
from domsec.cms import attributes
from domsec.cms.attributes import Attribute
from domsec.cms.signed_data import SignerInfo
from domsec.errors import MalformedMessage


class SignatureType(StrEnum):
    """What a signature is for."""

    ORIGINATOR = "originator"
    DOMAIN = "domain"
    REVIEW = "review"
    ATTRIBUTES = "attributes"
    UNKNOWN = "unknown"


OIDS: Final = {
    SignatureType.ORIGINATOR: oids.ID_STI_ORIGINATOR_SIG,
    SignatureType.DOMAIN: oids.ID_STI_DOMAIN_SIG,
    SignatureType.REVIEW: oids.ID_STI_REVIEW_SIG,
    SignatureType.ATTRIBUTES: oids.ID_STI_ADD_ATTRIB_SIG,
}
TYPES: Final = {oid: signature_type for signature_type, oid in OIDS.items()}

# the types RFC 3183 adds: they need a role name, and something signed inside
DOMSEC: Final = (SignatureType.DOMAIN, SignatureType.REVIEW, SignatureType.ATTRIBUTES)

ATTRIBUTE_OIDS: Final = (oids.ID_AA_SIGNATURE_TYPE, oids.ID_STI)
MAX_TYPES: Final = 16

State = Literal["absent", "valid", "invalid"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one SignerInfo says it is. `flags` are codes with texts."""

    state: State
    types: tuple[SignatureType, ...] = ()
    oids: tuple[str, ...] = ()
    flags: tuple[tuple[str, str], ...] = ()


def attribute(signature_type: SignatureType, *, oid: str = oids.ID_AA_SIGNATURE_TYPE) -> Attribute:
    """The signed attribute with this one type.

    `oid` is id-sti itself only for a peer that reads nothing else (decisions A-01).
    """
    return attributes.attribute(oid, der.sequence(der.oid(OIDS[signature_type])))


def _syntax(text: str, *flags: tuple[str, str]) -> Reading:
    return Reading("invalid", flags=(*flags, ("sigtype.syntax", text)))


def read(signer: SignerInfo) -> Reading:
    """The signature type a SignerInfo states in its signed attributes; unsigned ones are only reported."""
    signed = [
        a for oid in ATTRIBUTE_OIDS for a in (signer.signed_attributes.get(oid) if signer.signed_attributes else ())
    ]
    unsigned = (
        any(signer.unsigned_attributes.get(oid) for oid in ATTRIBUTE_OIDS) if signer.unsigned_attributes else False
    )
    flags: list[tuple[str, str]] = []
    if unsigned:
        flags.append(("sigtype.unsigned", "a signature type among the unsigned attributes is ignored"))
    if not signed:
        return Reading("absent", flags=tuple(flags))
    if len(signed) > 1:
        return Reading("invalid", flags=(*flags, ("sigtype.multiple", f"{len(signed)} signature type attributes")))
    if signed[0].oid == oids.ID_STI:
        flags.append(("sigtype.legacy_oid", "the attribute is identified by id-sti itself, as cryptlib does"))
    values = signed[0].values
    if not values:
        return _syntax("the attribute has no value", *flags)
    if len(values) > 1:
        flags.append(("sigtype.multi_value", f"the attribute has {len(values)} values, expected one"))
    try:
        found = [oid for value in values for oid in _object_identifiers(value)]
    except MalformedMessage as error:
        return _syntax(str(error), *flags)
    return _judge(found, flags)


def _object_identifiers(value: bytes) -> list[str]:
    reader = der.Reader(value)
    reader.enter(der.SEQUENCE)
    found = []
    while not reader.at_end():
        found.append(reader.oid())
        if len(found) > MAX_TYPES:
            raise MalformedMessage(f"more than {MAX_TYPES} signature types")
    reader.leave()
    reader.end()
    if not found:
        raise MalformedMessage("the sequence of types is empty")
    return found


def _judge(found: Iterable[str], flags: list[tuple[str, str]]) -> Reading:
    distinct = tuple(dict.fromkeys(listed := list(found)))
    if len(distinct) < len(listed):
        flags.append(("sigtype.repeated", "a type is listed more than once"))
    types = tuple(dict.fromkeys(TYPES.get(oid, SignatureType.UNKNOWN) for oid in distinct))
    if SignatureType.ATTRIBUTES in types and len(distinct) > 1:
        text = f"additional attributes stands beside {', '.join(t for t in types if t is not SignatureType.ATTRIBUTES)}"
        return Reading("invalid", oids=distinct, flags=(*flags, ("sigtype.addattr_not_alone", text)))
    flags += [("sigtype.unknown", f"type {oids.name(oid)} is not known") for oid in distinct if oid not in TYPES]
    return Reading("valid", types, distinct, tuple(flags))
