"""Content-Transfer-Encoding (RFC 2045 6): base64, fast and strict; quoted-printable; three that change nothing."""

from __future__ import annotations

import binascii
import functools
import struct
from collections.abc import Iterator

import pybase64

from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import DEFAULT, Limits
from domsec.octets import CHUNK, Octets, Pieces, blocks, chunks, gather, join

_WIDTH = 76  # characters of a full line: RFC 2045 6.8
_LINE = 57  # octets that make them
_LINES = 575  # lines cut at a time: 32 KB and what becomes of them stay in the cache
_READ = 840  # and lines read at a time
_ALL_CR, _ALL_LF = b"\r" * _READ, b"\n" * _READ
_LONGEST = 998  # octets of a line: RFC 5321 4.5.3.1.6
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_ALPHABET = bytes(set(range(256)) - set(_ALPHABET))

IDENTITY = frozenset({"", "7bit", "8bit", "binary"})


def encode_base64(data: Octets | Pieces) -> Octets | Pieces:
    """Lines of 76 characters, each ended by CRLF; nothing for nothing."""
    if len(data) <= _LINE * _LINES and not isinstance(data, Pieces):
        return _encoded(data) if data else b""
    characters = 4 * ((len(data) + 2) // 3)
    lines = (characters + _WIDTH - 1) // _WIDTH
    return join(Pieces(characters + 2 * lines, lambda: map(_encoded, blocks(data, _LINE * _LINES))))


def _encoded(block: Octets) -> bytes:
    text = pybase64.b64encode(block)
    lines, rest = divmod(len(text), _WIDTH)
    return b"\r\n".join((*_cutter(lines, rest).unpack(text), b""))


@functools.lru_cache(maxsize=256)
def _cutter(lines: int, rest: int) -> struct.Struct:
    """Cuts text into lines of 76 characters and what is left; struct does it in C."""
    return struct.Struct(f"{_WIDTH}s" * lines + (f"{rest}s" if rest else ""))


def decode_base64(body: Octets) -> Octets:
    """Decode what is base64 and line ends and nothing else. Raises MalformedMessage."""
    return gather(_decoded(body))


def _decoded(body: Octets) -> Iterator[bytes]:
    odd = b""  # characters that make up octets with those that follow
    ended = False
    for block in blocks(body, (_WIDTH + 2) * _READ):
        octets, text = (b"", bytes(block)) if odd or ended else _full_lines(bytes(block))
        if text := odd + text.translate(None, b"\r\n"):
            if ended:
                raise MalformedMessage("base64 that goes on behind its end")
            whole = len(text) - len(text) % 4
            octets, odd, ended = octets + _strictly(text[:whole]), text[whole:], text.endswith(b"=", 0, whole)
        yield octets
    if odd:
        raise MalformedMessage("base64 of a wrong length")


def _full_lines(text: bytes) -> tuple[bytes, bytes]:
    """The octets of the full lines that text begins with, as most does, and what follows; else nothing, and all of it.

    A decoder that skips what is not base64 is twice as fast as cutting the line ends out. It cannot have skipped
    anything else if it gives as many octets as there are if nothing is skipped.
    """
    lines = len(text) // (_WIDTH + 2)
    full = text[: lines * (_WIDTH + 2)]
    if full[_WIDTH :: _WIDTH + 2] != _ALL_CR[:lines] or full[_WIDTH + 1 :: _WIDTH + 2] != _ALL_LF[:lines]:
        return b"", text
    try:
        octets = pybase64.b64decode(full)
    except (binascii.Error, ValueError):
        return b"", text
    return (octets, text[len(full) :]) if len(octets) == _LINE * lines else (b"", text)


def _strictly(text: bytes) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedMessage("base64 with other characters, or of a wrong length") from None


def decode_base64_leniently(body: Octets) -> Octets:
    """Decode as RFC 2045 6.8 asks readers to: other characters are skipped, the first padding is the end.

    Readers differ on such input, so whoever calls this says so in a flag. Raises MalformedMessage if the number of
    characters fits no octets.
    """
    return gather(_decoded_leniently(body))


def _decoded_leniently(body: Octets) -> Iterator[bytes]:
    odd = b""
    for chunk in chunks(body):
        before, padding, _ = bytes(chunk).partition(b"=")
        text = odd + before.translate(None, _NOT_ALPHABET)
        whole = len(text) - len(text) % 4
        yield _strictly(text[:whole])
        odd = text[whole:]
        if padding:
            break
    if len(odd) == 1:
        raise MalformedMessage("base64 of a wrong length")
    yield _strictly(odd + b"=" * (-len(odd) % 4))


def decode(body: Octets, encoding: str, limits: Limits = DEFAULT) -> Octets:
    """Undo a transfer encoding; strict for base64. Raises MalformedMessage, LimitExceeded or Unsupported."""
    if len(body) > limits.size:
        raise LimitExceeded("size")
    name = encoding.strip(" \t").lower()
    if name == "base64":
        return decode_base64(body)
    if name in IDENTITY:
        return body
    if name == "quoted-printable":
        return gather(map(binascii.a2b_qp, _by_lines(body, b"\n", CHUNK)))
    raise Unsupported("unknown content transfer encoding")


def _by_lines(octets: Octets | Pieces, end: bytes, longest: int | None = None) -> Iterator[bytes]:
    """The octets in chunks of whole lines. Raises MalformedMessage for a line that is much longer than `longest`."""
    begun: list[bytes] = []
    for chunk in chunks(octets):
        text = bytes(chunk)
        cut = text.rfind(end) + len(end)
        if cut >= len(end):
            yield b"".join((*begun, text[:cut]))
            begun = [text[cut:]]
            continue
        begun.append(text)
        if longest is not None and sum(map(len, begun)) > longest + CHUNK:
            raise MalformedMessage("a line that does not end")
    yield b"".join(begun)


def is_seven_bit(octets: Octets | Pieces) -> bool:
    """Whether SMTP without extensions carries these octets: ASCII without NUL, lines up to 998 octets ended by CRLF."""
    try:
        return all(map(_is_seven_bit, _by_lines(octets, b"\r\n", _LONGEST)))
    except MalformedMessage:
        return False


def _is_seven_bit(text: bytes) -> bool:
    if not text.isascii() or b"\0" in text:
        return False
    ends = text.count(b"\r\n")
    if ends != text.count(b"\n") or ends != text.count(b"\r"):
        return False
    return len(text) <= _LONGEST or all(len(line) <= _LONGEST for line in text.split(b"\r\n"))


def encode_quoted_printable(data: Octets | Pieces) -> Octets:
    """RFC 2045 6.7 for text: CRLF stays a line end, everything else that might change in transit is encoded."""
    return gather(map(_quoted_printable, _by_lines(data, b"\r\n")))


def _quoted_printable(text: bytes) -> bytes:
    return b"\r\n".join([_quoted_printable_line(line) for line in text.split(b"\r\n")])


def _quoted_printable_line(line: bytes) -> bytes:
    if line.startswith(b"From "):  # some relays put a mark before it: RFC 8551 3.1.4
        return b"=46=\r\n" + _quoted_printable_line(line[1:])
    return binascii.b2a_qp(line, istext=False).replace(b"=\r\n", b"=\n").replace(b"=\n", b"=\r\n")
