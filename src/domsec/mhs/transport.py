"""What X.400 is told of a content it carries, and the body part that forwards one (RFC 3855; RFC 3854 3.5).

A content is an octet string with a type: CMS by itself is id-ct-contentInfo, MIME, around CMS or not, is id-data, and
an X.400 content has its own. What smime-type says in mail, encoded information types say here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from domsec import der, oids
from domsec.cms import content_info
from domsec.der import Octets, Reader, context
from domsec.errors import MalformedMessage, Unsupported
from domsec.limits import DEFAULT, Limits

BUILT_IN: Final = {2: oids.ID_MCT_P2_1984, 22: oids.ID_MCT_P2_1988}  # content types that P1 writes as integers

# RFC 3855 2.5
INFORMATION_TYPES: Final = {
    "enveloped-data": oids.ID_EIT_ENVELOPED_DATA,
    "signed-data": oids.ID_EIT_SIGNED_DATA,
    "certs-only": oids.ID_EIT_CERTS_ONLY,
    "signed-receipt": oids.ID_EIT_SIGNED_RECEIPT,
    "enveloped-x400": oids.ID_EIT_ENVELOPED_X400,
    "signed-x400": oids.ID_EIT_SIGNED_X400,
    "compressed-data": oids.ID_EIT_COMPRESSED_DATA,
}
_SMIME_TYPES: Final = {oid: smime_type for smime_type, oid in INFORMATION_TYPES.items()}

_EXTENDED: Final = context(15)  # of BodyPart
_PARAMETERS: Final = context(0)
_EXTERNAL: Final = 0x28
_SINGLE: Final = context(0)
_ALIGNED: Final = context(1, constructed=False)


@dataclass(frozen=True, slots=True)
class Content:
    """The content of an X.400 message, and what the envelope says of it."""

    type: str  # an object identifier, also for what P1 writes as an integer
    octets: Octets
    smime_type: str | None = None  # None: not said, or nothing that RFC 3855 has a value for

    @property
    def information_types(self) -> tuple[str, ...]:
        """What original-encoded-information-types should name (RFC 3855 2.5)."""
        known = INFORMATION_TYPES.get(self.smime_type or "")
        return () if known is None else (known,)

    @property
    def is_x400(self) -> bool:
        """Whether these are octets of X.400's own, neither CMS nor MIME."""
        return self.type not in (oids.ID_CT_CONTENT_INFO, oids.ID_DATA)


def received(
    content_type: str | int, octets: Octets, information_types: Iterable[str] = (), limits: Limits = DEFAULT
) -> Content:
    """A content as P1 brought it: content-type an OID or a built-in integer, encoded information types as OIDs.

    Raises Unsupported for an integer that is no interpersonal message, MalformedMessage for CMS that is none.
    """
    if isinstance(content_type, int):
        if content_type not in BUILT_IN:
            raise Unsupported(f"a content of the built-in type {content_type}")
        content_type = BUILT_IN[content_type]
    if content_type == oids.ID_CT_CONTENT_INFO:
        content_info.parse(octets, limits)
    stated = [_SMIME_TYPES[oid] for oid in information_types if oid in _SMIME_TYPES]
    return Content(content_type, octets, stated[0] if len(stated) == 1 else None)


def forwarding(content: Content) -> bytes:
    """The BodyPart, in DER, that forwards a content in an interpersonal message (RFC 3855 2.3).

    The delivery envelope, which is optional, is left out.
    """
    data = der.explicit(0, der.octet_string(content.octets))
    external = der.tlv(_EXTERNAL, der.oid(f"{oids.ID_ET_CONTENT}.{content.type}"), data)
    return der.tlv(_EXTENDED, external)


def forwarded(body_part: Octets, limits: Limits = DEFAULT) -> Content:
    """The content in a BodyPart. Raises Unsupported for another kind of body part, MalformedMessage."""
    reader = Reader(body_part, limits)
    if reader.peek() != _EXTENDED:
        raise Unsupported("a body part that is none of the extended ones")
    reader.enter(_EXTENDED)
    if reader.peek() == _PARAMETERS:
        reader.skip()
    reader.enter(_EXTERNAL)
    reference = reader.oid()
    octets = _data(reader)
    reader.leave()
    reader.leave()
    reader.end()
    prefix = f"{oids.ID_ET_CONTENT}."
    if not reference.startswith(prefix):
        raise Unsupported(f"a body part of type {reference}")
    return received(reference.removeprefix(prefix), octets, limits=limits)


def _data(reader: Reader) -> bytes:
    """Content is an OCTET STRING (X.411); there are writers who put the value there that it should hold."""
    if reader.peek() == _ALIGNED:
        return bytes(reader.octet_string(_ALIGNED))
    reader.enter(_SINGLE)
    octets = reader.octet_string() if reader.peek() in (der.OCTET_STRING, der.OCTET_STRING | der.CONSTRUCTED) else None
    data = bytes(reader.skip() if octets is None else octets)
    reader.leave()
    return data


def type_parameter(content_type: str) -> str:
    """A content type as application/x400-content has it: an integer for a built-in one (RFC 3854 3.5)."""
    return next((str(number) for number, oid in BUILT_IN.items() if oid == content_type), content_type)


def read_type_parameter(value: str) -> str:
    """The other way. Raises MalformedMessage for what is neither integer nor OID, Unsupported for other integers."""
    if value.isascii() and value.isdecimal():
        return received(int(value[:9]), b"").type
    try:
        if Reader(der.oid(value)).oid() == value:
            return value
    except ValueError:
        pass
    raise MalformedMessage("a content type that is neither an integer nor an object identifier")
