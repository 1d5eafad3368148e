"""Addresses of header fields and envelopes (RFC 5322 3.4, RFC 6532), read so that nobody can read another one.

A From field decides who a message is said to be from, so what different readers would take for different addresses
is refused: comments or blanks inside an address, source routes, groups, encoded words, control characters, a second
From field (decisions A-21, threats T-08). Domains are compared in one form only (decisions A-20).
"""

from __future__ import annotations

import functools
import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

import idna

from domsec.errors import MalformedMessage
from domsec.mime import lexical
from domsec.mime.fields import Header

MAX_MAILBOXES = 100  # in one field; each costs a comparison with each certificate later
MAX_LOCAL = 64  # octets: RFC 5321 4.5.3.1
MAX_DOMAIN = 255

# atoms of RFC 5322 3.2.3 with what RFC 6532 adds; dots for dot-atoms and for the phrases people write
_ATOMS = re.compile(r"[!#$%&'*+\-/=?^_`{|}~0-9A-Za-z.\u0080-\U0010ffff]*+")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")
_ENCODED_WORD = re.compile(r"=\?[^?\s]*+\?[bqBQ]\?")
_LITERAL = re.compile(r"\[[^\[\]\\\x00-\x20\x7f-\U0010ffff]*+\]")
MAX_REMEMBERED = 512  # characters; longer values are read anew each time, so that memory stays bounded
_ASCII_LOWER = str.maketrans({chr(upper): chr(upper + 32) for upper in range(65, 91)})


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox. `local` is what the local part means, without quotes; `domain` is in the form of `normalise_domain`.

    `display` is the text before the address. Whoever sent the message chose it: it proves nothing.
    """

    local: str
    domain: str
    display: str = field(default="", compare=False)

    @property
    def address(self) -> str:
        """As it is written in a header field or an SMTP command, with quotes where the local part needs them."""
        if _is_dot_atom(self.local):
            return f"{self.local}@{self.domain}"
        escaped = self.local.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'

    @property
    def text(self) -> str:
        """The address, for people."""
        return self.address

    @property
    def is_literal(self) -> bool:
        """Whether the domain is an address literal, which has no ascendants."""
        return self.domain.startswith("[")

    def same_as(self, other: Mailbox) -> bool:
        """Whether both name one mailbox: local parts without regard to ASCII case, which is for comparing only."""
        return self.domain == other.domain and ascii_lower(self.local) == ascii_lower(other.local)


@dataclass(frozen=True, slots=True)
class FromInfo:
    """What a From field says. Not valid means that nothing may be concluded from it; `reason` then says why."""

    mailboxes: tuple[Mailbox, ...]
    valid: bool
    reason: str = ""


def within(domain: str, domains: Iterable[str]) -> bool:
    """Whether a domain is one of these or lies below one. All in the form of `Mailbox.domain`."""
    return any(domain == each or domain.endswith(f".{each}") for each in domains)


def ascii_lower(text: str) -> str:
    """Lower case for A to Z and nothing else."""
    return text.translate(_ASCII_LOWER)


def parse_from(header: Header) -> FromInfo:
    """All mailboxes of the single From field (decisions A-21)."""
    return parse_originators(header, "from")


def parse_originators(header: Header, name: str) -> FromInfo:
    """The same for another field, as Sender. More mailboxes than the field may have are for the caller to count."""
    found = header.all(name)
    if not found:
        return FromInfo((), False, f"no {name} field")
    if len(found) > 1:
        return FromInfo((), False, f"{len(found)} {name} fields")
    try:
        mailboxes = parse_mailboxes(found[0].value)
    except MalformedMessage as error:
        return FromInfo((), False, str(error))
    return FromInfo(mailboxes, True)


def parse_mailboxes(value: str) -> tuple[Mailbox, ...]:
    """Read a mailbox-list of at least one mailbox. Raises MalformedMessage; its text has nothing of the value."""
    return _short_list(value) if len(value) <= MAX_REMEMBERED else _mailbox_list(value)


@functools.lru_cache(maxsize=1024)
def _short_list(value: str) -> tuple[Mailbox, ...]:
    return _mailbox_list(value)


def _mailbox_list(value: str) -> tuple[Mailbox, ...]:
    if lexical.has_control(value):
        raise MalformedMessage("control character in an address field")
    mailboxes: list[Mailbox] = []
    at, end = 0, len(value)
    while True:
        at = lexical.skip_comments(value, at)
        if at == end:
            break
        if value[at] == ",":  # an empty element, RFC 5322 4.4
            at += 1
            continue
        mailbox, at = _mailbox(value, at)
        mailboxes.append(mailbox)
        if len(mailboxes) > MAX_MAILBOXES:
            raise MalformedMessage("too many mailboxes")
        at = lexical.skip_comments(value, at)
        if at < end and value[at] != ",":
            raise MalformedMessage("junk behind an address")
    if not mailboxes:
        raise MalformedMessage("no mailbox")
    return tuple(mailboxes)


def parse_address(text: str) -> Mailbox:
    """Read an addr-spec standing alone, as in an envelope or a certificate. Raises MalformedMessage."""
    return _short_address(text) if len(text) <= MAX_REMEMBERED else _address(text)


@functools.lru_cache(maxsize=4096)
def _short_address(text: str) -> Mailbox:
    return _address(text)


def _address(text: str) -> Mailbox:
    if lexical.has_control(text):
        raise MalformedMessage("control character in an address")
    local, domain, at = _addr_spec(text, 0)
    if at != len(text):
        raise MalformedMessage("junk behind an address")
    return _checked(local, domain, "")


def _mailbox(value: str, at: int) -> tuple[Mailbox, int]:
    """mailbox = name-addr / addr-spec. Words are read until `<` makes them a display name or `@` an address."""
    start = at
    words: list[str] = []
    while at < len(value):
        char = value[at]
        if char == "<":
            return _angle_address(value, at, " ".join(words))
        if char == '"':
            word, at = lexical.quoted_string(value, at)
        elif char == "@":
            break
        else:
            word, at = _atoms(value, at)
            if not word:
                break
        words.append(word)
        at = lexical.skip_comments(value, at)
    if at == len(value):
        raise MalformedMessage("words without an address")
    char = value[at]
    if char == "@" and words:
        local, domain, at = _addr_spec(value, start)
        return _checked(local, domain, ""), at
    if char == ":":
        raise MalformedMessage("a group where a mailbox was expected")
    raise MalformedMessage("not an address")


def _angle_address(value: str, at: int, display: str) -> tuple[Mailbox, int]:
    at = lexical.skip_comments(value, at + 1)
    if value[at : at + 1] in ("@", ","):
        raise MalformedMessage("a source route before an address")
    local, domain, at = _addr_spec(value, at)
    at = lexical.skip_comments(value, at)
    if value[at : at + 1] != ">":
        raise MalformedMessage("not an address between angle brackets")
    return _checked(local, domain, display), at + 1


def _addr_spec(value: str, at: int) -> tuple[str, str, int]:
    """local-part "@" domain, with nothing between: blanks and comments there are read in different ways."""
    if value[at : at + 1] == '"':
        local, at = lexical.quoted_string(value, at)
    else:
        local, at = _atoms(value, at)
        if not _is_dot_atom(local):
            raise MalformedMessage("local part is no dot-atom")
    if value[at : at + 1] != "@":
        raise MalformedMessage("blank, comment or other junk within an address")
    at += 1
    if value[at : at + 1] == "[":
        literal = _LITERAL.match(value, at)
        if literal is None:
            raise MalformedMessage("malformed address literal")
        return local, literal[0], literal.end()
    domain, at = _atoms(value, at)
    return local, domain, at


def _atoms(value: str, at: int) -> tuple[str, int]:
    match = _ATOMS.match(value, at)
    assert match is not None
    return match[0], match.end()


def _is_dot_atom(local: str) -> bool:
    match = _ATOMS.match(local)
    assert match is not None
    if not local or match.end() != len(local):
        return False
    return not (local.startswith(".") or local.endswith(".") or ".." in local)


def _checked(local: str, domain: str, display: str) -> Mailbox:
    if not local.isascii() and any(unicodedata.category(char)[0] in "CZ" for char in local):
        raise MalformedMessage("invisible character or broken UTF-8 in a local part")
    if not local or len(local.encode("utf-8")) > MAX_LOCAL:
        raise MalformedMessage("empty or too long local part")
    if _ENCODED_WORD.search(local):
        raise MalformedMessage("encoded word in a local part")
    shown = display.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return Mailbox(local, normalise_domain(domain), shown)


def normalise_domain(domain: str) -> str:
    """The one form domains are compared in: lower case A-labels, or a literal as `[192.0.2.1]`, `[ipv6:2001:db8::1]`.

    Raises MalformedMessage for empty labels, a trailing dot, anything but letters, digits and hyphens, labels that
    IDNA 2008 does not allow, a top-level label of digits, too much length. Whether the domain exists is not asked.
    """
    if domain.startswith("["):
        return _normalise_literal(domain)
    if not domain or len(domain) > MAX_DOMAIN:
        raise MalformedMessage("empty or too long domain")
    lowered = ascii_lower(domain) if domain.isascii() else domain.lower()
    labels = lowered.split(".")
    if not lowered.isascii() or any(label.startswith("xn--") for label in labels):
        labels = [_a_label(label) for label in labels]
    for label in labels:
        if not _LABEL.match(label) or len(label) > 63:
            raise MalformedMessage("domain with a malformed label")
    if labels[-1].isdigit():
        raise MalformedMessage("domain with a top-level label of digits")
    normal = ".".join(labels)
    if len(normal) > MAX_DOMAIN:
        raise MalformedMessage("too long domain")
    return normal


def _a_label(label: str) -> str:
    if len(label) > 63:
        raise MalformedMessage("domain with a malformed label")
    if label.isascii() and not label.startswith("xn--"):
        return label
    try:
        return idna.alabel(label).decode("ascii")
    except (UnicodeError, IndexError):  # idna.IDNAError is a UnicodeError
        raise MalformedMessage("domain with a label IDNA 2008 does not allow") from None


def _normalise_literal(literal: str) -> str:
    inside = ascii_lower(literal[1:-1])
    if not literal.endswith("]") or "%" in inside:
        raise MalformedMessage("malformed address literal")
    try:
        if inside.startswith("ipv6:"):
            return f"[ipv6:{ipaddress.IPv6Address(inside[5:]).compressed}]"
        return f"[{ipaddress.IPv4Address(inside)}]"
    except ValueError:
        raise MalformedMessage("malformed address literal") from None
