"""Authentication-Results: ours are written, forged ones removed, those of others read (RFC 8601, RFC 7281).

A reader believes the field that bears the name of its own border. So whatever could be read as that name goes away
at the border, together with fields whose name cannot be told at all (threats T-25); and what is written has no octet
of the message outside a quoted string.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from domsec.errors import MalformedMessage
from domsec.mime import lexical
from domsec.mime.addresses import normalise_domain
from domsec.mime.fields import Field, Header, new_field

NAME = "authentication-results"

Outcome = Literal["none", "pass", "fail", "policy", "neutral", "temperror", "permerror"]  # RFC 7281 3.1
OUTCOMES: tuple[str, ...] = get_args(Outcome)

MAX_NAME = 255  # characters of an authserv-id, as of a domain
MAX_VALUE = 300  # characters of one property: a line has at most 998
MAX_SERIAL_BITS = 512  # RFC 5280 4.1.2.2 allows 160; Python refuses to print what a stranger may send

_VERSION = re.compile(r"[0-9]+(?=[;\s(]|\Z)")
_BEGINS_LIKE = re.compile(rb"[^!-~]*+authentication-results", re.IGNORECASE)
_KEYWORD = re.compile(r"[0-9A-Za-z_-]++")
_UNQUOTED = re.compile(r'[^\s;()"=]*+')
_BARE = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+(?:@[0-9A-Za-z.-]+)?\Z")  # a token, or an address of dot-atoms


@dataclass(frozen=True, slots=True)
class SmimeResult:
    """What is said about one signature layer. Serial number and issuer are written as a pair or not at all."""

    result: Outcome
    reason: str | None = None
    part: str | None = None  # section path of the signature, as 2 or 1/1
    identifier: str | None = None  # address of the signer; left out if it is not printable ASCII
    serial: int | None = None
    issuer: str | None = None  # RFC 4514 text
    level: str | None = None  # policy.domsec: how much the conclusion of RFC 3183 says
    domain: str | None = None  # policy.domsec-domain: the domain whose authority signed


def format_result(authserv_id: str, results: Sequence[SmimeResult]) -> Field:
    """The field to put on top of the header. Values of others are quoted, cut to length and made printable ASCII.

    Without results it says none. Raises MalformedMessage if `authserv_id` is no token.
    """
    if not lexical.is_token(authserv_id):
        raise MalformedMessage("authserv-id is no token")
    blocks = [_resinfo(result) for result in results] or [" none"]
    return new_field("Authentication-Results", ";\r\n".join((authserv_id, *blocks)))


def _resinfo(result: SmimeResult) -> str:
    if result.result not in OUTCOMES:
        raise MalformedMessage("unknown result of the method smime")
    properties: list[tuple[str, str | None]] = [
        ("body.smime-part", result.part),
        ("body.smime-identifier", _identifier(result.identifier)),
    ]
    if result.serial is not None and result.issuer is not None and result.serial.bit_length() <= MAX_SERIAL_BITS:
        properties += [("body.smime-serial", str(result.serial)), ("body.smime-issuer", _printable(result.issuer))]
    properties += [("policy.domsec", result.level), ("policy.domsec-domain", result.domain)]
    lines = [f" smime={result.result}"]
    if result.reason:
        lines.append(f"  reason={lexical.quote(result.reason[:MAX_VALUE])}")
    lines += [f"  {name}={_value(value)}" for name, value in properties if value]
    return "\r\n".join(lines)


def _identifier(address: str | None) -> str | None:
    """A changed address would be another one, so one that cannot be written is left out."""
    if address is None or len(address) > MAX_VALUE:
        return None
    return address if address.isascii() and address.isprintable() else None


def _printable(name: str) -> str:
    r"""Other octets as \XX, which RFC 4514 2.4 knows."""
    octets = name.encode("utf-8", "surrogatepass")
    return "".join([chr(octet) if 32 <= octet < 127 else f"\\{octet:02X}" for octet in octets])


def _value(text: str) -> str:
    cut = text[:MAX_VALUE]
    return cut if _BARE.match(cut) else lexical.quote(cut)


def remove(header: Header, authserv_id: str | Collection[str]) -> Header:
    """The header without any Authentication-Results field that names us, or names nobody that can be told.

    Names are compared after folding, comments and quotes are gone, without case or width, as A-labels, and
    without trailing dots. Fields of others stay: whether to believe them is the reader's policy.
    """
    ours = {_comparable(name) for name in ([authserv_id] if isinstance(authserv_id, str) else authserv_id)}
    kept = [field for field in header.fields if not _is_forged(field, ours)]
    return Header(tuple(kept), header.separator)


def _is_forged(field: Field, ours: Collection[str]) -> bool:
    if not field.name:
        # no field to us, but perhaps to a reader that forgives octets around the name
        return _BEGINS_LIKE.match(field.raw) is not None
    if field.name != NAME:
        return False
    claimed = parse_authserv_id(field.value)
    return claimed is None or _comparable(claimed) in ours


def parse_authserv_id(value: str) -> str | None:
    """The authserv-id of a field value as it stands there, unquoted; None if it cannot be told for certain."""
    found = _opening(value)
    return found[0] if found else None


def _opening(value: str) -> tuple[str, int] | None:
    """The authserv-id, and where the results begin."""
    try:
        at = lexical.skip_comments(value, 0)
        if value[at : at + 1] == '"':
            name, at = lexical.quoted_string(value, at)
        else:
            end = at
            while end < len(value) and value[end] not in ' \t;("':
                end += 1
            name, at = value[at:end], end
        behind = lexical.skip_comments(value, at)
        if behind > at and (version := _VERSION.match(value, behind)):
            behind = lexical.skip_comments(value, version.end())
    except MalformedMessage:
        return None
    if behind < len(value) and value[behind] != ";":
        return None
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or not _is_name(name):
        return None
    return name, behind


@dataclass(frozen=True, slots=True)
class Result:
    """What a field says of one method, in lower case but for the values of properties."""

    method: str
    result: str
    properties: tuple[tuple[str, str], ...]  # ("smtp.auth", "alice@acme.example")


def parse_results(value: str) -> tuple[Result, ...]:
    """All that a field says (RFC 8601 2.2), whoever wrote it. Raises MalformedMessage."""
    opening = _opening(value)
    if opening is None:
        raise MalformedMessage("an authserv-id that cannot be told")
    at = opening[1]
    results = []
    while at < len(value):
        at = lexical.skip_comments(value, _behind(value, at, ";"))
        if at == len(value):
            break
        result, at = _result(value, at)
        if result is not None:
            results.append(result)
    return tuple(results)


def _result(value: str, at: int) -> tuple[Result | None, int]:
    """One resinfo and where it ends; None for `none`."""
    method, at = _keyword(value, at)
    if method == "none" and value[at : at + 1] in ("", ";"):
        return None, at
    if value[at : at + 1] == "/":
        _, at = _keyword(value, _behind(value, at, "/"))
    outcome, at = _keyword(value, _behind(value, at, "="))
    properties = []
    while at < len(value) and value[at] != ";":
        name, at = _keyword(value, at)
        if name != "reason":
            kind, at = _keyword(value, _behind(value, at, "."))
            name = f"{name}.{kind}"
        text, at = _property_value(value, _behind(value, at, "="))
        properties.append((name, text))
    return Result(method, outcome, tuple(properties)), at


def _keyword(value: str, at: int) -> tuple[str, int]:
    """A word of letters, digits and hyphens, and where the next thing begins."""
    match = _KEYWORD.match(value, at)
    if match is None:
        raise MalformedMessage("a word is missing")
    return match[0].lower(), lexical.skip_comments(value, match.end())


def _behind(value: str, at: int, mark: str) -> int:
    if value[at : at + 1] != mark:
        raise MalformedMessage(f"{mark} is missing")
    return lexical.skip_comments(value, at + 1)


def _property_value(value: str, at: int) -> tuple[str, int]:
    """A token, an address or a quoted string; of an address with a quoted local part both parts."""
    text = ""
    if value[at : at + 1] == '"':
        text, at = lexical.quoted_string(value, at)
    match = _UNQUOTED.match(value, at)
    assert match is not None
    if not text and not match[0]:
        raise MalformedMessage("a value is missing")
    return text + match[0], lexical.skip_comments(value, match.end())


def _is_name(name: str) -> bool:
    """A token, with letters beyond ASCII as RFC 6532 allows; encoded words and Microsoft's `spf=pass` are none."""
    return lexical.is_token("".join([char if char.isascii() else "x" for char in name]))


def _comparable(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold().rstrip(".")
    try:
        return normalise_domain(folded)
    except MalformedMessage:
        return folded
