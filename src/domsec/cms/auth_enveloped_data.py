"""What AuthEnvelopedData has that EnvelopedData has not: attributes and a tag that authenticates them (RFC 5083)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from domsec import der, oids
from domsec.cms.attributes import Attribute, Attributes, content_type, set_of_attributes
from domsec.der import context

VERSION: Final = 0
AUTH_ATTRIBUTES: Final = context(1)
UNAUTH_ATTRIBUTES: Final = context(2)


def associated_data(attributes: Attributes | None) -> bytes:
    """What the tag covers beside the content: authAttrs in DER under the tag of a SET OF (RFC 5083 2.2).

    They are put in DER if they came otherwise. Raises MalformedMessage for attributes that cannot be.
    """
    return b"" if attributes is None else der.tlv(der.SET, attributes.der)


def names_content_type(attributes: Attributes | None, inner_type: str) -> bool:
    """Whether the authenticated attributes say of the content what the field beside the ciphertext says.

    That field is not authenticated. Only id-data needs no attribute (RFC 5083 2.1), and it too must not contradict one.
    """
    said = () if attributes is None else attributes.get(oids.ID_CONTENT_TYPE)
    if not said:
        return inner_type == oids.ID_DATA
    return [attribute.values for attribute in said] == [(der.oid(inner_type),)]


def write_attributes(attributes: Sequence[Attribute], inner_type: str) -> tuple[bytes, bytes]:
    """The authAttrs field with these attributes, and contentType where it is due; and what the tag covers of it."""
    if inner_type != oids.ID_DATA:
        attributes = (*attributes, content_type(inner_type))
    if not attributes:
        return b"", b""
    content = set_of_attributes(attributes)
    return der.tlv(AUTH_ATTRIBUTES, content), der.tlv(der.SET, content)
