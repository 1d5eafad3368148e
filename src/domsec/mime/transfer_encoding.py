"""Content-Transfer-Encoding (RFC 2045 6): base64, fast and strict; quoted-printable; three that change nothing."""

from __future__ import annotations

import binascii
import functools
import struct

import pybase64

from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import DEFAULT, Limits
from domsec.mime.fields import Octets

_LINE = 57  # octets that make a line of 76 characters: RFC 2045 6.8
_LINES = 1150  # lines cut at a time: 64 KB stay in the cache
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_ALPHABET = bytes(set(range(256)) - set(_ALPHABET))

IDENTITY = frozenset({"", "7bit", "8bit", "binary"})


def encode_base64(data: Octets) -> bytes:
    """Lines of 76 characters, each ended by CRLF; nothing for nothing."""
    block = _LINE * _LINES
    view = memoryview(data)
    return b"".join([_encoded(view[at : at + block]) for at in range(0, len(data), block)])


def _encoded(block: memoryview) -> bytes:
    text = pybase64.b64encode(block)
    lines, rest = divmod(len(text), 76)
    return b"\r\n".join((*_cutter(lines, rest).unpack(text), b""))


@functools.lru_cache(maxsize=256)
def _cutter(lines: int, rest: int) -> struct.Struct:
    """Cuts text into lines of 76 characters and what is left; struct does it in C."""
    return struct.Struct("76s" * lines + (f"{rest}s" if rest else ""))


def decode_base64(body: Octets) -> bytes:
    """Decode what is base64 and line ends and nothing else. Raises MalformedMessage."""
    text = body if isinstance(body, bytes) else bytes(body)
    try:
        return pybase64.b64decode(text.translate(None, b"\r\n"), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedMessage("base64 with other characters, or of a wrong length") from None


def decode_base64_leniently(body: Octets) -> bytes:
    """Decode as RFC 2045 6.8 asks readers to: other characters are skipped, the first padding is the end.

    Readers differ on such input, so whoever calls this says so in a flag. Raises MalformedMessage if the number of
    characters fits no octets.
    """
    text = body if isinstance(body, bytes) else bytes(body)
    text = text.partition(b"=")[0].translate(None, _NOT_ALPHABET)
    if len(text) % 4 == 1:
        raise MalformedMessage("base64 of a wrong length")
    return pybase64.b64decode(text + b"=" * (-len(text) % 4), validate=True)


def decode(body: Octets, encoding: str, limits: Limits = DEFAULT) -> bytes:
    """Undo a transfer encoding; strict for base64. Raises MalformedMessage, LimitExceeded or Unsupported."""
    if len(body) > limits.size:
        raise LimitExceeded("size")
    name = encoding.strip(" \t").lower()
    if name == "base64":
        return decode_base64(body)
    if name in IDENTITY:
        return bytes(body)
    if name == "quoted-printable":
        return binascii.a2b_qp(body)
    raise Unsupported("unknown content transfer encoding")


def is_seven_bit(octets: Octets) -> bool:
    """Whether SMTP without extensions carries these octets: ASCII without NUL, lines up to 998 octets ended by CRLF."""
    data = octets if isinstance(octets, bytes) else bytes(octets)
    if not data.isascii() or b"\0" in data:
        return False
    ends = data.count(b"\r\n")
    if ends != data.count(b"\n") or ends != data.count(b"\r"):
        return False
    return len(data) <= 998 or all(len(line) <= 998 for line in data.split(b"\r\n"))


def encode_quoted_printable(data: bytes) -> bytes:
    """RFC 2045 6.7 for text: CRLF stays a line end, everything else that might change in transit is encoded."""
    return b"\r\n".join([_quoted_printable_line(line) for line in data.split(b"\r\n")])


def _quoted_printable_line(line: bytes) -> bytes:
    if line.startswith(b"From "):  # some relays put a mark before it: RFC 8551 3.1.4
        return b"=46=\r\n" + _quoted_printable_line(line[1:])
    return binascii.b2a_qp(line, istext=False).replace(b"=\r\n", b"=\n").replace(b"=\n", b"=\r\n")
