"""A file or standard input: mail, or CMS by itself in DER, PEM or base64.

CMS by itself is treated as the body of a message that has no header fields: nobody is said to have sent it.

What is read is ours from then on: a large file is copied, not mapped. What a signature is checked over and what is then
signed has to be the same, whoever else may write to the file, and `-o` may name the file that was read.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import click

from domsec.cms import content_info
from domsec.errors import ConfigurationError, LimitExceeded, MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.mime.transfer_encoding import decode_base64
from domsec.octets import CHUNK, Octets, chunks, gather, in_one_place, join

# Without a configuration a message may be long: whoever names a file wants it read, it costs no memory, and the disk is
# theirs. With two layers of base64 around it, it is still within the 64 GB that AES-GCM encrypts with one nonce. What
# it unpacks to is still nothing that they have seen.
UNCONFIGURED: Final = dataclasses.replace(DEFAULT, size=1 << 35)

_PEM: Final = re.compile(rb"\s*-----BEGIN ([A-Z0-9 .#]{1,64})-----[ \t]*\r?\n(.*?)-----END \1-----", re.DOTALL)
_CMS_LABELS: Final = (b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=\s]+")
_BLANKS: Final = b" \t\v\f"
_AROUND: Final = (
    b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n"
)


def read_input(file: Path | None, limits: Limits = UNCONFIGURED) -> Octets:
    """The octets of a file, or of standard input for None and `-`, as a message.

    Raises ConfigurationError for a file that cannot be read, LimitExceeded for one that is too large, MalformedMessage
    for PEM with something else than CMS, StoreUnavailable where there is no room for a large one.
    """
    return as_message(read_octets(None if file is not None and str(file) == "-" else file, limits.size))


def read_octets(file: Path | None, most: int = UNCONFIGURED.size) -> Octets:
    """The octets of a file, or of standard input for None, whatever they are. Raises as `read_input`."""
    if file is None:
        if sys.stdin.isatty():
            raise click.UsageError("no FILE, and standard input is a terminal")
        return gather(_read(sys.stdin.buffer, most))
    try:
        with file.open("rb") as source:
            return gather(_read(source, most))
    except OSError as problem:
        raise ConfigurationError(f"{file}: cannot be read: {problem.strerror}") from None


def _read(source: BinaryIO, most: int) -> Iterator[bytes]:
    size = 0
    while chunk := source.read(CHUNK):
        size += len(chunk)
        if size > most:
            raise LimitExceeded("size", f"a message of more than {most} octets")
        yield chunk


def as_message(octets: Octets) -> Octets:
    """Mail as it is; CMS by itself inside the header that it would have in mail. Raises MalformedMessage."""
    if octets[:1] == b"\x30" and _is_der(octets):
        return _around(octets)
    if pem := _PEM.match(octets):
        if pem[1] not in _CMS_LABELS:
            label = pem[1].decode("ascii").lower()
            raise MalformedMessage(f"a PEM file with a {label}, expected mail or CMS")
        return _around(_decoded(memoryview(octets)[slice(*pem.span(2))]))
    if octets[:1] == b"M" and _BASE64.fullmatch(octets):  # base64 of a SEQUENCE begins so
        try:
            return _around(_decoded(octets))
        except MalformedMessage:
            return octets
    return octets


def _around(octets: Octets) -> Octets:
    return in_one_place(join(_AROUND, octets))


def _is_der(octets: Octets) -> bool:
    """Whether what begins like a SEQUENCE is none of the few header lines that begin with a zero."""
    if bytes(octets[1:2]) >= b"\x80":
        return True
    try:
        content_info.parse(octets)
    except MalformedMessage:
        return False
    return True


def _decoded(text: Octets) -> Octets:
    octets = decode_base64(gather(bytes(chunk).translate(None, _BLANKS) for chunk in chunks(text)))
    if octets[:1] != b"\x30":
        raise MalformedMessage("base64 with something else than CMS in it")
    return octets
