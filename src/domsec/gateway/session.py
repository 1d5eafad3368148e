"""Envelope syntax (RFC 5321 4.1.2, RFC 3461, RFC 6531), XFORWARD and XCLIENT (Postfix).

Parameters are checked and then kept verbatim. Addresses are kept as they were written: local parts are case-sensitive
(R5321-2.4-01), only the source route of RFC 5321 appendix C is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from domsec.pipeline import Recipient

ADDRESS_LIMIT = 1000
MAX_HOPS = 100  # RFC 5321 6.3

_LOCAL = r'(?:"(?:[^"\\<>]|\\[^<>])*"|[^<>"\s\\@,:;()\[\]]+)'
_DOMAIN = r"(?:\[[^<>\s\[\]\\@\"]+\]|[^<>\"\s\\@,:;()\[\]]+)"
_PATH = re.compile(rf" ?<(?:@[^<>\"\s\\:]+:)?({_LOCAL}@{_DOMAIN}|postmaster|)>(?: +(\S.*))? *\Z", re.IGNORECASE)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20\x7f]+))?\Z")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ADDRESS = re.compile(rf"(?:{_LOCAL}@{_DOMAIN}|postmaster)\Z", re.IGNORECASE)
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_XTEXT_ESCAPE = re.compile(r"\+([0-9A-Fa-f]{2})")

SENDER_PARAMETERS = {
    "SIZE": re.compile(r"\d{1,20}\Z"),
    "BODY": re.compile(r"7BIT\Z|8BITMIME\Z", re.IGNORECASE),
    "SMTPUTF8": None,
    "RET": re.compile(r"FULL\Z|HDRS\Z", re.IGNORECASE),
    "ENVID": re.compile(rf"{_XTEXT}{{1,100}}\Z"),
}
RECIPIENT_PARAMETERS = {
    "NOTIFY": re.compile(r"NEVER\Z|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}\Z", re.IGNORECASE),
    "ORCPT": re.compile(r"[A-Za-z0-9-]{1,40};[^\x00-\x20\x7f]{1,500}\Z"),
}
XFORWARD_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
XCLIENT_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")


class EnvelopeError(Exception):
    """A command is refused; `reply` is the name of the reply."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


def has_control(text: str) -> bool:
    """Whether a control character, C1 or a Unicode line separator is in the text."""
    if text.isascii():
        return not text.isprintable()
    return _CONTROL.search(text) is not None


@lru_cache(maxsize=1024)
def is_address(address: str) -> bool:
    """Whether the address may be written into a command: the last check before it leaves."""
    return len(address) <= ADDRESS_LIMIT and not has_control(address) and _ADDRESS.match(address) is not None


@lru_cache(maxsize=1024)  # the same few people write and are written to
def parse_path(text: str, wrong: str) -> tuple[str, str]:
    """Address and parameters of what follows FROM: or TO:. Raises EnvelopeError(wrong)."""
    match = _PATH.match(text)
    if not match or len(match[1]) > ADDRESS_LIMIT:
        raise EnvelopeError(wrong)
    return match[1], (match[2] or "").rstrip(" ")


def parse_parameters(text: str, known: Mapping[str, re.Pattern[str] | None]) -> dict[str, str]:
    """The parameters by name in upper case; each known, of the right form and given once. Raises EnvelopeError."""
    found: dict[str, str] = {}
    for word in text.split(" "):
        if not word:
            continue
        match = _PARAMETER.match(word)
        if not match:
            raise EnvelopeError("syntax")
        name, value = match[1].upper(), match[2]
        if name not in known:
            raise EnvelopeError("parameter")
        form = known[name]
        if name in found or (value is not None) != (form is not None) or (form and not form.match(value)):
            raise EnvelopeError("parameter_value")
        found[name] = value or ""
    return found


def without_parameters(text: str, *names: str) -> str:
    """The parameters without those of these names, otherwise verbatim."""
    if not text:
        return text
    return " ".join(word for word in text.split() if word.partition("=")[0].upper() not in names)


def parse_attributes(text: str, names: tuple[str, ...]) -> dict[str, str]:
    """XFORWARD or XCLIENT attributes, decoded from xtext; `[UNAVAILABLE]` and `[TEMPUNAVAIL]` are left out.

    Raises EnvelopeError.
    """
    found: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        name = name.upper()
        if not equals or name not in names:
            raise EnvelopeError("attributes")
        octets = _XTEXT_ESCAPE.sub(lambda match: chr(int(match[1], 16)), value).encode("latin-1", "replace")
        value = octets.decode("utf-8", "replace")
        if has_control(value):
            raise EnvelopeError("attributes")
        if value.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]") or not value:
            found.pop(name, None)
            continue
        found[name] = value.removeprefix("IPV6:").removeprefix("IPv6:") if name == "ADDR" else value
    return found


def needs_utf8(sender: str, recipients: tuple[Recipient, ...]) -> bool:
    return not sender.isascii() or any(not recipient.address.isascii() for recipient in recipients)


def instance_mark(instance: str) -> bytes:
    return f"(domsec {instance})".encode("ascii", "replace")


@lru_cache(maxsize=4)
def _date(at: datetime) -> str:
    return format_datetime(at)


def received_field(
    *,
    helo: str | None,
    client: str | None,
    hostname: str,
    instance: str,
    protocol: str,
    identifier: str,
    at: datetime,
) -> bytes:
    """The Received field that this gateway puts on top (RFC 5321 4.4). The instance in it makes loops visible."""
    name = _NOT_IN_NAME.sub("?", helo or "")[:255] or "unknown"
    origin = f" ([{client}])" if client else " (local)"
    return (
        f"Received: from {name}{origin}\r\n"
        f"\tby {hostname} (domsec {instance})\r\n"
        f"\twith {protocol} id {identifier};\r\n"
        f"\t{_date(at.replace(microsecond=0))}\r\n"
    ).encode("ascii", "replace")


def hops(octets: bytes, instance: str) -> int:
    """How often the message has been through this instance, from the Received fields of its header."""
    mark = instance_mark(instance)
    end = octets.find(b"\r\n\r\n")
    end = len(octets) if end < 0 else end
    if octets.find(mark, 0, end) < 0:
        return 0
    fields = re.split(rb"\r\n(?![ \t])", octets[:end])
    return sum(1 for each in fields if each[:9].lower() == b"received:" and mark in each)


def received_fields(octets: bytes) -> int:
    """How many Received fields the header has."""
    end = octets.find(b"\r\n\r\n")
    header = octets[: len(octets) if end < 0 else end].lower()
    return header.count(b"\r\nreceived:") + header.startswith(b"received:")
