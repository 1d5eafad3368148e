"""Header fields inside the protected entity (RFC 9788; RFC 8551 3.1 for the older message/rfc822 wrapper).

Written for messages the gateway wraps first (decisions A-22): the fields that people see are copied into the
entity, and its Content-Type says hp="clear". Where the message is encrypted and that was agreed, some of them stand
inside only, hp="cipher", and HP-Outer says what is left outside. Read in all forms. Whether a signature or an
encryption covers them, and which one, is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from domsec.errors import MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.mime.content_type import ContentType, parse_content_type
from domsec.mime.fields import Field, Header, entity_header, new_field, other_header, split_message
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

# hcp_baseline (RFC 9788 3.2.1): what stands outside instead, None for nothing
_BASELINE: Final = {"subject": new_field("Subject", "[...]"), "keywords": None, "comments": None}
_OBSCURED: Final = "[...]"
_NOTHING: Final = Header(())
_FORMS: Final[Mapping[str, Literal["clear", "cipher"]]] = {"clear": "clear", "cipher": "cipher"}
_SEEN: Final = PROTECTED | _BASELINE.keys()

_DEFAULT_TYPE = b'Content-Type: text/plain; charset=us-ascii; hp="%s"\r\n'  # RFC 2045 5.2
_WRAPPER: Final = b"Content-Type: message/rfc822\r\n"


@dataclass(frozen=True, slots=True)
class Protection:
    """What is wanted for the header of a message whose innermost layer is ours to make.

    `hide` has a sense for what is encrypted only.
    """

    form: Literal["none", "fields", "wrapped"] = "fields"
    hide: bool = False


@dataclass(frozen=True, slots=True)
class Protected:
    """The header that an entity directly below a security layer protects, and in which form.

    `outside` are the fields that HP-Outer says stood outside when the message was made.
    """

    header: Header
    form: Literal["clear", "cipher", "rfc822"]
    outside: Header = _NOTHING
    wrapped: memoryview | None = None  # the message in a message/rfc822

    @property
    def hidden(self) -> tuple[Field, ...]:
        """The fields that were meant to stand inside only (RFC 9788 4.3.1); inside of what, is for others to say."""
        if self.form != "cipher":
            return ()
        outside = {_comparable(field) for field in self.outside.fields}
        return tuple([field for field in self.header.fields if _comparable(field) not in outside])

    def differences(self, header: Header) -> tuple[str, ...]:
        """The names of protected fields that stand in the header of the message otherwise than they were sent.

        Names that nobody reads in a mail program are not looked at: hops on the way add and change those.
        """
        names = dict.fromkeys(field.name for field in self.header.fields if field.name in _SEEN)
        return tuple([name for name in names if not self._fits(name, header)])

    def _fits(self, name: str, header: Header) -> bool:
        if header.all(name) == self.header.all(name):
            return True
        there = _values(header, name)
        if there == _values(self.header, name):
            return True
        if self.form == "cipher":
            return there == _values(self.outside, name)
        # who wraps a whole message says nowhere what is left outside of it: RFC 8551 3.1
        return self.form == "rfc822" and there in ([], [_OBSCURED])

    def revealed(self, header: Header) -> Header:
        """The header of the message with hidden fields in it, for who is given the message without its encryption.

        Only what people see in mail programs: what else somebody writes inside, such as Received, is nothing to put on
        top. From stays what it is outside: whether both are the same is a question of the verdict.
        """
        names = {field.name for field in self.hidden}
        if self.form == "rfc822":
            names = {name for name in _SEEN if _values(header, name) in ([], [_OBSCURED])}
        hidden = [field for field in self.header.fields if field.name in names & _SEEN - {"from"}]
        outside = header.without({field.name for field in hidden})
        return Header((*outside.fields, *(Field(_ended(field.raw), field.name) for field in hidden)), header.separator)


def put_inside(
    header: Header, entity: Octets | Pieces, how: Protection = Protection(), limits: Limits = DEFAULT
) -> tuple[Octets | Pieces, Header]:
    """The entity with header fields inside as is wanted, and the header that is left outside of it."""
    if how.form == "none":
        return join(entity), header
    if how.form == "wrapped":
        return wrap(header, entity, limits), _left(header) if how.hide else header
    if how.hide:
        return conceal(header, entity, limits)
    return protect(header, entity, limits), header


def protect(header: Header, entity: Octets | Pieces, limits: Limits = DEFAULT) -> Octets | Pieces:
    """The entity with copies of the protected fields of `header`, as they stand there, and hp="clear".

    An entity that has protected fields of its own, or a Content-Type that cannot be read, comes back unchanged: ask
    `protected` of the result what it has. A message/rfc822 is marked like anything else, or its inner header
    would be taken for the protected one (threats T-07).
    """
    copies = [field for field in header.fields if field.name in PROTECTED]
    made = _inside(copies, entity, "clear", limits)
    return join(entity) if made is None else made


def conceal(header: Header, entity: Octets | Pieces, limits: Limits = DEFAULT) -> tuple[Octets | Pieces, Header]:
    """The entity with hp="cipher" for encryption, and the header that is left outside it (hcp_baseline of RFC 9788).

    Both come back unchanged where `protect` gives the entity back: nothing is hidden that is not inside.
    """
    copies = [field for field in header.fields if field.name in _SEEN]
    outside = _left(header)
    stated = [_told(field) for field in outside.fields if field.name in _SEEN]
    made = _inside([*copies, *stated], entity, "cipher", limits)
    return (join(entity), header) if made is None else (made, outside)


def _left(header: Header) -> Header:
    """What hcp_baseline leaves of a header."""
    found = [_BASELINE.get(field.name, field) for field in header.fields]
    return Header(tuple([field for field in found if field is not None]), header.separator)


def _told(field: Field) -> Field:
    return Field(b"HP-Outer: " + field.raw, "hp-outer")


def _inside(
    copies: list[Field], entity: Octets | Pieces, mode: Literal["clear", "cipher"], limits: Limits
) -> Octets | Pieces | None:
    """The entity below these fields, its Content-Type marked; None where that would not be read as meant."""
    inner, body = split_message(entity, limits)
    types = inner.all("content-type")
    if len(types) > 1 or (types and _has_own_protection(inner)):
        return None
    content: list[bytes] = []
    for field in entity_header(inner).fields:
        raw = _marked(field, mode) if field.name == "content-type" else field.raw
        if raw is None:
            return None
        content.append(raw)
    if not types:
        content.append(_DEFAULT_TYPE % mode.encode("ascii"))
    lines = [_ended(raw) for raw in (*(field.raw for field in copies), *content)]
    return join(*lines, inner.separator or b"\r\n", body)


def _ended(raw: bytes) -> bytes:
    return raw if raw.endswith(b"\n") else raw + b"\r\n"


def wrap(header: Header, entity: Octets | Pieces, limits: Limits = DEFAULT) -> Octets | Pieces:
    """The entity as a whole message in message/rfc822, with the protected fields of `header` (RFC 8551 3.1).

    What is none of them, trace fields and blind recipients above all, stays outside.
    """
    inner, body = split_message(entity, limits)
    copies = [field.raw for field in header.fields if field.name in _SEEN]
    lines = [_ended(raw) for raw in (*copies, *(field.raw for field in entity_header(inner).fields))]
    return join(_WRAPPER, b"\r\n", *lines, inner.separator or b"\r\n", body)


def _has_own_protection(inner: Header) -> bool:
    kind = _kind(inner)
    return kind is not None and "hp" in kind.parameters and bool(other_header(inner).fields)


def _marked(field: Field, mode: str) -> bytes | None:
    """The Content-Type with hp behind its own octets; None if that would not be read as meant."""
    try:
        kind = parse_content_type(field.value)
        if "hp" in kind.parameters:
            return field.raw if kind.parameters["hp"].lower() == mode and not kind.ambiguous else None
        marked = field.raw.rstrip(b" \t\r\n;") + b';\r\n hp="%s"\r\n' % mode.encode("ascii")
        again = parse_content_type(Field(marked, field.name).value)
    except MalformedMessage:
        return None
    expected = {**kind.parameters, "hp": mode}
    return marked if (again.full, again.parameters) == (kind.full, expected) else None


def protected(header: Header, body: memoryview, limits: Limits = DEFAULT) -> Protected | None:
    """What an entity protects, when it stands directly below a security layer; None if that is nothing.

    Fields of a root whose Content-Type has hp="clear" or hp="cipher", or of the message in a message/rfc822 root that
    stands there for its header: not if hp or forwarded=yes say something else. Raises LimitExceeded only.
    """
    kind = _kind(header)
    if kind is None:
        return None
    form = _FORMS.get(kind.parameters.get("hp", "").lower())
    if form is not None:
        found = other_header(header).without("hp-outer")
        return Protected(found, form, _stated(header, limits)) if found.fields else None
    if kind.full != "message/rfc822" or "hp" in kind.parameters:
        return None
    if kind.parameters.get("forwarded", "").lower() == "yes":
        return None
    if any(field.value.lower() not in IDENTITY for field in header.all("content-transfer-encoding")):
        return None  # RFC 2046 5.2.1 does not allow it
    return Protected(other_header(split_message(body, limits)[0]), "rfc822", wrapped=body)


def _stated(header: Header, limits: Limits) -> Header:
    """The fields that HP-Outer tells of (RFC 9788 2.2)."""
    told = [field.raw.partition(b":")[2].lstrip(b" \t\r\n") for field in header.all("hp-outer")]
    if not told:
        return _NOTHING
    return split_message(b"".join(_ended(raw) for raw in told if raw), limits)[0]


def _value(field: Field) -> str:
    """What is compared: hops on the way fold and unfold."""
    return " ".join(field.value.split())


def _values(header: Header, name: str) -> list[str]:
    return [_value(field) for field in header.all(name)]


def _comparable(field: Field) -> tuple[str, str]:
    return field.name, _value(field)


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
