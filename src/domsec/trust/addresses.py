"""The addresses in a certificate, and the mail ones a CA is confined to (RFC 5280 4.2.1.6, 4.2.1.10, RFC 9598).

Addresses are given as written; comparing them is left to whoever knows the rules of mail. Confinement is checked here
for every address of a certificate, since domain parts are concluded from each of them (decisions A-15): RFC 5280 itself
asks for the emailAddress attribute only where there is no subjectAltName.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.der import SEQUENCE, UTF8_STRING, Reader, context
from domsec.errors import MalformedMessage
from domsec.mhs.names import ORAddress
from domsec.trust import names

SUBJECT_ALT_NAME: Final = "2.5.29.17"
NAME_CONSTRAINTS: Final = "2.5.29.30"

_OTHER_NAME: Final = context(0)
_RFC822_NAME: Final = context(1, constructed=False)
_X400_ADDRESS: Final = context(3)

_Alternative = tuple[tuple[str, ...], tuple[str, ...], tuple[bytes, ...]]  # rfc822Name, SmtpUTF8Mailbox, x400Address
_NONE: Final[_Alternative] = ((), (), ())


@dataclass(frozen=True, slots=True)
class MailConstraints:
    """The rfc822Name subtrees of one CA certificate. `permitted` is None where it says nothing about mail."""

    permitted: tuple[str, ...] | None
    excluded: tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def addresses(certificate: Certificate) -> tuple[str, ...]:
    """Every address, once: rfc822Name, then SmtpUTF8Mailbox, then emailAddress attributes of the subject.

    Raises MalformedMessage if any of them is no clean string, or the names cannot be read.
    """
    return _all(_subject_alt_names(certificate), certificate.subject)


def subject_text(certificate: Certificate) -> str:
    """The subject for people; where it is empty, as public CAs may leave it, the addresses. Never raises."""
    if text := names.name_text(certificate.subject):
        return text
    try:
        return names.escaped(", ".join(addresses(certificate))) or "no name"
    except MalformedMessage:
        return "a name that cannot be read"


def requested_addresses(subject: bytes, alternative: bytes | None) -> tuple[str, ...]:
    """The same of a certification request: its subject, and the subjectAltName it asks for. Raises MalformedMessage."""
    return _all(_NONE if alternative is None else _alternative_names(alternative), subject)


def _all(found: _Alternative, subject: bytes) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*found[0], *found[1], *names.attribute_values(subject, oids.EMAIL_ADDRESS))))


def smtp_utf8_addresses(certificate: Certificate) -> tuple[str, ...]:
    """The SmtpUTF8Mailbox names (RFC 9598 3). Raises MalformedMessage."""
    return _subject_alt_names(certificate)[1]


def or_addresses(certificate: Certificate) -> tuple[ORAddress, ...]:
    """The X.400 addresses (RFC 3854 4.3): those of subjectAltName, where they have to be. Raises MalformedMessage."""
    return tuple(ORAddress.of(content) for content in _subject_alt_names(certificate)[2])


def mail_constraints(ca: Certificate) -> MailConstraints:
    """What a CA certificate says about mail names below it. Raises MalformedMessage."""
    value = ca.extension(NAME_CONSTRAINTS)
    if value is None:
        return MailConstraints(None, ())
    reader = Reader(value)
    reader.enter(SEQUENCE)
    permitted = _subtrees(reader, context(0))
    excluded = _subtrees(reader, context(1))
    reader.leave()
    return MailConstraints(permitted, excluded or ())


def outside(address: str, constraints: MailConstraints, *, smtp_utf8: bool = False) -> bool:
    """Whether the constraints forbid an address. A constraint or address that cannot be compared forbids."""
    if any(_within(address, base, strict=False, smtp_utf8=smtp_utf8) for base in constraints.excluded):
        return True
    if constraints.permitted is None:
        return False
    return not any(_within(address, base, strict=True, smtp_utf8=smtp_utf8) for base in constraints.permitted)


def _within(address: str, base: str, *, strict: bool, smtp_utf8: bool) -> bool:
    """Whether `base` covers the address; where that is in doubt, no if `strict`, yes otherwise."""
    local, _, domain = address.rpartition("@")
    if not local or not domain.isascii() or not base.isascii() or not base:
        return not strict
    if "@" in local and not local.startswith('"'):  # RFC 5321 4.1.2: which of them divides it is anybody's guess
        return not strict
    domain = domain.lower()
    if "@" in base:
        if smtp_utf8:  # RFC 9598 6: a constraint on one mailbox says nothing of these
            return not strict
        base_local, _, base_domain = base.rpartition("@")
        same = local == base_local if strict else local.lower() == base_local.lower()
        return same and domain == base_domain.lower()
    if base.startswith("."):
        return domain.endswith(base.lower()) and len(domain) > len(base)
    return domain == base.lower()


def _subtrees(reader: Reader, tag: int) -> tuple[str, ...] | None:
    if reader.peek() != tag:
        return None
    found: list[str] = []
    mentioned = False
    reader.enter(tag)
    while not reader.at_end():
        reader.enter(SEQUENCE)
        if reader.peek() == _RFC822_NAME:
            mentioned = True
            found.append(_text(bytes(reader.primitive(_RFC822_NAME)), "ascii"))
        while not reader.at_end():
            reader.skip()
        reader.leave()
    reader.leave()
    return tuple(found) if mentioned else None


@functools.lru_cache(maxsize=4096)
def _subject_alt_names(certificate: Certificate) -> _Alternative:
    value = certificate.extension(SUBJECT_ALT_NAME)
    return _NONE if value is None else _alternative_names(value)


def _alternative_names(value: bytes) -> _Alternative:
    rfc822: list[str] = []
    smtp_utf8: list[str] = []
    x400: list[bytes] = []
    reader = Reader(value)
    reader.enter(SEQUENCE)
    while not reader.at_end():
        tag = reader.peek()
        if tag == _RFC822_NAME:
            rfc822.append(_text(bytes(reader.primitive(_RFC822_NAME)), "ascii"))
        elif tag == _OTHER_NAME:
            reader.enter(_OTHER_NAME)
            if reader.oid() == oids.ID_ON_SMTP_UTF8_MAILBOX:
                reader.enter(context(0))
                smtp_utf8.append(_text(bytes(reader.primitive(UTF8_STRING)), "utf-8"))
                reader.leave()
            else:
                reader.skip()
            reader.leave()
        elif tag == _X400_ADDRESS:
            x400.append(bytes(reader.content(_X400_ADDRESS)))
        else:
            reader.skip()
    reader.leave()
    reader.end()
    return tuple(rfc822), tuple(smtp_utf8), tuple(x400)


def _text(content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise MalformedMessage("a mail address in a certificate does not decode") from None
    if not text or not text.isprintable():
        raise MalformedMessage("a mail address in a certificate is empty or holds a control character")
    return text
