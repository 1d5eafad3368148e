"""Certificates in LDIF (RFC 2849): what directories give out of themselves, and take in.

Of an entry, the attributes userCertificate and cACertificate (RFC 4523 4) and userSMIMECertificate (RFC 2798 2.8, which
is PKCS#7) count; `;binary` or not. Where an entry files a certificate says nothing of whose it is.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pybase64

from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage

# a comment or blank line aside, it begins with its version or an entry
_BEGIN: Final = re.compile(rb"(?:\s*(?:#[^\n]*)?\n)*(?:version|dn):", re.IGNORECASE)
_ATTRIBUTES: Final = (b"usercertificate", b"cacertificate", b"usersmimecertificate")
_WIDTH: Final = 76


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an entry that should hold certificates. `text` is all behind the colon."""

    line: int  # where it begins, counted from 1
    text: bytes

    @property
    def der(self) -> bytes:
        """What the base64 holds. Raises MalformedMessage; a value by URL is not fetched."""
        if self.text[:1] == b"<":
            raise MalformedMessage("a value by URL, which is not fetched")
        if self.text[:1] != b":":
            raise MalformedMessage("a certificate that is not in base64")
        try:
            return binascii.a2b_base64(self.text[1:].strip(), strict_mode=True)
        except binascii.Error:
            raise MalformedMessage("a certificate in broken base64") from None


def is_ldif(octets: bytes) -> bool:
    return _BEGIN.match(octets) is not None


def values(octets: bytes) -> Iterator[Value]:
    """The values that should hold certificates, in order."""
    for number, line in _unfolded(octets):
        name, colon, text = line.partition(b":")
        if colon and name.partition(b";")[0].strip().lower() in _ATTRIBUTES:
            yield Value(number, text)


def _unfolded(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Logical lines with the number of their first one; comments, folded ones too, are left out."""
    begin = 0
    parts: list[bytes] = []
    for number, line in enumerate(octets.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if line[:1] == b" " and parts:
            parts.append(line[1:])
            continue
        if parts and parts[0][:1] != b"#":
            yield begin, b"".join(parts)
        begin, parts = number, [line]
    if parts and parts[0][:1] != b"#":
        yield begin, b"".join(parts)


def addition(dn: str, certificates: Sequence[Certificate], *, attribute: str = "userCertificate;binary") -> bytes:
    """A change that adds certificates to an entry, beside those it has. Raises MalformedMessage for a DN of lines."""
    if not dn or not dn.isprintable():
        raise MalformedMessage("a distinguished name that is empty or not printable")
    lines = [_line("dn", dn.encode()), b"changetype: modify", b"add: " + attribute.encode()]
    lines += [_folded(attribute.encode() + b":: " + pybase64.b64encode(c.der)) for c in certificates]
    return b"\n".join([*lines, b"-", b"", b""])


def _line(name: str, value: bytes) -> bytes:
    """RFC 2849 has SAFE-STRINGs as they are; all others in base64."""
    if value.isascii() and value[:1] not in b" :<" and value[-1:] != b" ":
        return _folded(f"{name}: ".encode() + value)
    return _folded(f"{name}:: ".encode() + pybase64.b64encode(value))


def _folded(line: bytes) -> bytes:
    rest = [line[at : at + _WIDTH - 1] for at in range(_WIDTH, len(line), _WIDTH - 1)]
    return b"\n ".join([line[:_WIDTH], *rest])
