"""Header fields inside the protected entity (RFC 9788; RFC 8551 3.1 for the older message/rfc822 wrapper).

Written for messages the gateway wraps first (decisions A-22): the fields that people see are copied into the
entity, and its Content-Type says hp="clear", that is, nothing is hidden outside. Read in both forms. Whether a
signature covers them, and which one, is not known here.
"""

from __future__ import annotations

from domsec.errors import MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.mime.content_type import ContentType, parse_content_type
from domsec.mime.fields import Field, Header, entity_header, other_header, split_message
from domsec.mime.transfer_encoding import IDENTITY
from domsec.octets import Octets, Pieces, join

PROTECTED = frozenset(
    {
        "from",
        "to",
        "cc",
        "date",
        "subject",
        "message-id",
        "reply-to",
        "in-reply-to",
        "references",
        "sender",
    }
)

_DEFAULT_TYPE = b'Content-Type: text/plain; charset=us-ascii; hp="clear"\r\n'  # RFC 2045 5.2


def protect(header: Header, entity: Octets | Pieces, limits: Limits = DEFAULT) -> Octets | Pieces:
    """The entity with copies of the protected fields of `header`, as they stand there, and hp="clear".

    An entity that has protected fields of its own, or a Content-Type that cannot be read, comes back unchanged: ask
    `protected_fields` of the result what it has. A message/rfc822 is marked like anything else, or its inner header
    would be taken for the protected one (threats T-07).
    """
    inner, body = split_message(entity, limits)
    types = inner.all("content-type")
    if len(types) > 1 or (types and _has_own_protection(inner)):
        return join(entity)
    content: list[bytes] = []
    for field in entity_header(inner).fields:
        raw = _marked(field) if field.name == "content-type" else field.raw
        if raw is None:
            return join(entity)
        content.append(raw)
    if not types:
        content.append(_DEFAULT_TYPE)
    copies = [field.raw for field in header.fields if field.name in PROTECTED]
    lines = [raw if raw.endswith(b"\n") else raw + b"\r\n" for raw in (*copies, *content)]
    return join(*lines, inner.separator or b"\r\n", body)


def _has_own_protection(inner: Header) -> bool:
    kind = _kind(inner)
    return kind is not None and "hp" in kind.parameters and bool(other_header(inner).fields)


def _marked(field: Field) -> bytes | None:
    """The Content-Type with hp="clear" behind its own octets; None if that would not be read as meant."""
    try:
        kind = parse_content_type(field.value)
        if "hp" in kind.parameters:
            return field.raw if kind.parameters["hp"].lower() == "clear" and not kind.ambiguous else None
        marked = field.raw.rstrip(b" \t\r\n;") + b';\r\n hp="clear"\r\n'
        again = parse_content_type(Field(marked, field.name).value)
    except MalformedMessage:
        return None
    expected = {**kind.parameters, "hp": "clear"}
    return marked if (again.full, again.parameters) == (kind.full, expected) else None


def protected_fields(entity: Octets, limits: Limits = DEFAULT) -> Header | None:
    """The header fields an entity protects, when it stands directly below a security layer; None if it does not.

    Fields of a root whose Content-Type has hp="clear" or hp="cipher", or of the message in a message/rfc822 root.
    HP-Outer fields are left out: they tell what was outside, and are not protected themselves in any useful sense.
    Raises LimitExceeded only.
    """
    return protected(*split_message(entity, limits), limits)[0]


def wrapped_message(entity: Octets, limits: Limits = DEFAULT) -> memoryview | None:
    """The message in a message/rfc822 root, when that stands there for its header (RFC 8551 3.1); None otherwise.

    Only directly below a security layer may it be taken for that, and not if hp or forwarded=yes say something else.
    """
    return protected(*split_message(entity, limits), limits)[1]


def protected(header: Header, body: memoryview, limits: Limits = DEFAULT) -> tuple[Header | None, memoryview | None]:
    """Both of the above, for an entity that is split already."""
    kind = _kind(header)
    if kind is None:
        return None, None
    if kind.parameters.get("hp", "").lower() in ("clear", "cipher"):
        found = other_header(header).without("hp-outer")
        return (found if found.fields else None), None
    if kind.full != "message/rfc822" or "hp" in kind.parameters:
        return None, None
    if kind.parameters.get("forwarded", "").lower() == "yes":
        return None, None
    if any(field.value.lower() not in IDENTITY for field in header.all("content-transfer-encoding")):
        return None, None  # RFC 2046 5.2.1 does not allow it
    found = other_header(split_message(body, limits)[0])
    return (found if found.fields else None), body


def outer_fields(entity: Octets, limits: Limits = DEFAULT) -> tuple[str, ...]:
    """The HP-Outer fields: what the composer says was outside, as `Name: value` (RFC 9788 2.2)."""
    return tuple([field.value for field in split_message(entity, limits)[0].all("hp-outer")])


def _kind(header: Header) -> ContentType | None:
    """The one Content-Type that can be read in one way only."""
    found = header.all("content-type")
    if len(found) != 1:
        return None
    try:
        kind = parse_content_type(found[0].value)
    except MalformedMessage:
        return None
    return None if kind.ambiguous else kind
