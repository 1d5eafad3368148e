"""A file or standard input: mail, or CMS by itself in DER, PEM or base64.

CMS by itself is treated as the body of a message that has no header fields: nobody is said to have sent it.
"""

from __future__ import annotations

import binascii
import re
import sys
from pathlib import Path
from typing import Final

import click

from domsec.cms import content_info
from domsec.errors import ConfigurationError, LimitExceeded, MalformedMessage
from domsec.limits import DEFAULT, Limits

_SEQUENCE: Final = 0x30
_PEM: Final = re.compile(rb"\s*-----BEGIN ([A-Z0-9 .#]{1,64})-----[ \t]*\r?\n(.*?)-----END \1-----", re.DOTALL)
_CMS_LABELS: Final = (b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=\s]+")
_AROUND: Final = (
    b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n"
)


def read_input(file: Path | None, limits: Limits = DEFAULT) -> bytes:
    """The octets of a file, or of standard input for None and `-`, as a message.

    Raises ConfigurationError for a file that cannot be read, LimitExceeded for one that is too large, MalformedMessage
    for PEM with something else than CMS.
    """
    octets = _octets(None if file is not None and str(file) == "-" else file, limits.size)
    if len(octets) > limits.size:
        raise LimitExceeded("size", f"a message of more than {limits.size} octets")
    return as_message(octets)


def _octets(file: Path | None, most: int) -> bytes:
    if file is None:
        if sys.stdin.isatty():
            raise click.UsageError("no FILE, and standard input is a terminal")
        return sys.stdin.buffer.read(most + 1)
    try:
        with file.open("rb") as source:
            return source.read(most + 1)
    except OSError as problem:
        raise ConfigurationError(f"{file}: cannot be read: {problem.strerror}") from None


def as_message(octets: bytes) -> bytes:
    """Mail as it is; CMS by itself inside the header that it would have in mail. Raises MalformedMessage."""
    if octets[:1] == b"\x30" and _is_der(octets):
        return _AROUND + octets
    if pem := _PEM.match(octets):
        if pem[1] not in _CMS_LABELS:
            label = pem[1].decode("ascii").lower()
            raise MalformedMessage(f"a PEM file with a {label}, expected mail or CMS")
        return _AROUND + _decoded(pem[2])
    if octets[:1] == b"M" and _BASE64.fullmatch(octets):  # base64 of a SEQUENCE begins so
        try:
            return _AROUND + _decoded(octets)
        except MalformedMessage:
            return octets
    return octets


def _is_der(octets: bytes) -> bool:
    """Whether what begins like a SEQUENCE is none of the few header lines that begin with a zero."""
    if octets[1:2] >= b"\x80":
        return True
    try:
        content_info.parse(octets)
    except MalformedMessage:
        return False
    return True


def _decoded(text: bytes) -> bytes:
    try:
        octets = binascii.a2b_base64(b"".join(text.split()), strict_mode=True)
    except binascii.Error:
        raise MalformedMessage("base64 that cannot be read") from None
    if octets[:1] != bytes([_SEQUENCE]):
        raise MalformedMessage("base64 with something else than CMS in it")
    return octets
