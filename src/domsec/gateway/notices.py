"""What a sender is told of mail that a person rejected: a report of RFC 3464 with nothing of the text in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from domsec.errors import DomsecError, MalformedMessage
from domsec.gateway.session import is_address
from domsec.mime import fields
from domsec.mime.addresses import parse_address
from domsec.stores.holds import HeldRecipient, Hold

_SHOWN: Final = ("from", "to", "cc", "subject", "date", "message-id")  # none that bears evidence of our own
_LINE: Final = 900  # characters of a line; RFC 5322 2.1.1 has 998 octets
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class Notice:
    """A message for the null reverse-path, with the parameters of its MAIL."""

    octets: bytes = field(repr=False)
    parameters: str


def may_be_told(hold: Hold) -> bool:
    """Whether a report has somewhere to go, and is wanted (RFC 3461 4.1)."""
    try:
        parse_address(hold.sender)
    except MalformedMessage:
        return False
    return is_address(hold.sender) and bool(_reported(hold))


def rejection(hold: Hold, reason: str, hostname: str, now: datetime) -> Notice:
    """The report that a message was rejected, and why. Its octets are the gateway's own but for six header fields."""
    addresses = [recipient.address for recipient in _reported(hold)]
    text = (
        f"Your message is not delivered to {', '.join(addresses)}.",
        "",
        "It was held by the mail gateway, and a reviewer has rejected it:",
        *(f"    {line}" for line in reason.splitlines() or ["no reason was given"]),
        "",
        "The message itself is not part of this report.",
    )
    shown = _header(hold.octets or b"")
    international = not all(address.isascii() for address in (*addresses, hold.sender))
    status, header = ("message/delivery-status", "text/rfc822-headers")
    if international or not shown.isascii():  # RFC 6533
        status, header = ("message/global-delivery-status", "message/global-headers")
    parts = (
        _part("text/plain; charset=utf-8", "\r\n".join(map(_line, text)).encode("utf-8", "replace") + b"\r\n"),
        _part(status, _status(hold, hostname, international=international)),
        _part(header, shown),
    )
    mark = f"domsec-{hold.id}"
    head = (
        f"From: Mail gateway <MAILER-DAEMON@{hostname}>",
        f"To: <{hold.sender}>",
        "Subject: Message rejected by a reviewer",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <{hold.id}.rejected@{hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={status.partition("/")[2]}; boundary="{mark}"',
    )
    lines = "\r\n".join(head).encode("utf-8", "replace")
    body = b"".join(f"\r\n--{mark}\r\n".encode() + part for part in parts)
    octets = lines + b"\r\n" + body + f"\r\n--{mark}--\r\n".encode()
    wanted = {"BODY=8BITMIME": not octets.isascii(), "SMTPUTF8": not lines.isascii()}
    return Notice(octets, " ".join(parameter for parameter, needed in wanted.items() if needed))


def _reported(hold: Hold) -> list[HeldRecipient]:
    """The recipients about whom the sender wants to hear."""
    return [each for each in hold.recipients if _wants_failures(_parameters(each.parameters).get("NOTIFY"))]


def _wants_failures(notify: str | None) -> bool:
    return notify is None or "FAILURE" in notify.upper().split(",")


def _parameters(text: str) -> Mapping[str, str]:
    """Those of MAIL or RCPT, which were checked when they came."""
    pairs = (word.partition("=") for word in text.split())
    return {name.upper(): value for name, _, value in pairs}


def _part(content_type: str, octets: bytes) -> bytes:
    encoding = "7bit" if octets.isascii() else "8bit"
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + octets


def _status(hold: Hold, hostname: str, *, international: bool) -> bytes:
    """The fields of RFC 3464 2.2 and 2.3."""
    about = [f"Reporting-MTA: dns; {hostname}", f"Arrival-Date: {format_datetime(hold.received_at)}"]
    if envelope_id := _parameters(hold.sender_parameters).get("ENVID"):
        about.insert(0, f"Original-Envelope-Id: {_decoded(envelope_id)}")
    groups = [about]
    kind = "utf-8" if international else "rfc822"
    for recipient in _reported(hold):
        found = [f"Final-Recipient: {kind}; {recipient.address}", "Action: failed", "Status: 5.7.1"]
        named, _, original = _parameters(recipient.parameters).get("ORCPT", "").partition(";")
        if original:
            found.insert(0, f"Original-Recipient: {named}; {_decoded(original)}")
        groups.append(found)
    text = "\r\n\r\n".join("\r\n".join(map(_line, group)) for group in groups)
    return text.encode("utf-8" if international else "ascii", "replace") + b"\r\n"


def _decoded(xtext: str) -> str:
    return _XTEXT.sub(lambda match: chr(int(match[1], 16)), xtext)


def _header(octets: bytes) -> bytes:
    """The fields by which somebody knows their own message again."""
    try:
        header, _ = fields.split_message(octets)
    except DomsecError:
        return b""
    return b"".join(found.raw for found in header.fields if found.name in _SHOWN)


def _line(text: str) -> str:
    """One line of a report, whatever stands in it."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= _LINE else shown[: _LINE - 3] + "..."
