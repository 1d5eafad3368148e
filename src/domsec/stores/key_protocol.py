"""What is said over the socket of the key process: a request asks for one act of one key, a response has its result.

Both are frames: four octets of length, most significant first, and that many octets. One request is under way at a
time.

    request    act (1 octet), name of the key (1 octet of length, ASCII), SHA-256 of its subjectPublicKeyInfo, arguments
    argument   length (4 octets), octets
    response   status (1 octet), then the result, or the reason in words

A name says what a key is for: a role, `users` or `lists`. What is held under one name is not there under another. There
are four acts and no others; the last one is no use of a key:

    sign       signatureAlgorithm, digestAlgorithm (AlgorithmIdentifiers in DER), data  ->  signature
    decrypt    keyEncryptionAlgorithm, encrypted key                                    ->  key
    exchange   the other side's subjectPublicKeyInfo; for an ML-KEM key a ciphertext    ->  secret
    present    nothing                                                                  ->  nothing: this key is here
"""

from __future__ import annotations

import functools
import hashlib
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage

MAXIMUM_REQUEST: Final = 128 * 1024  # signed attributes have 64 KiB at most (`domsec.limits`)
MAXIMUM_RESPONSE: Final = 16 * 1024  # an ML-DSA-87 signature has 4627 octets
ARGUMENTS: Final = 3  # as many as `sign` has
DIGEST_SIZE: Final = 32
USERS: Final = "users"  # names of keys that are no role's
LISTS: Final = "lists"

_NAME: Final = re.compile(rb"[a-z][a-z0-9-]{0,63}")
_PIECE: Final = 64 * 1024


class Act(IntEnum):
    SIGN = 1
    DECRYPT = 2
    EXCHANGE = 3
    PRESENT = 4


class Status(IntEnum):
    DONE = 0
    UNUSABLE = 1  # this key never does this
    UNSUPPORTED = 2
    UNAVAILABLE = 3  # trying again may help


@dataclass(frozen=True, slots=True)
class Request:
    """One act. `key` is the SHA-256 of the public key, since one name may stand for several keys in turn."""

    act: Act
    name: str
    key: bytes
    arguments: tuple[bytes, ...]

    def encode(self) -> bytes:
        name = self.name.encode("ascii")
        arguments = [part for each in self.arguments for part in (len(each).to_bytes(4), each)]
        return b"".join((bytes((self.act, len(name))), name, self.key, *arguments))


@functools.lru_cache(maxsize=64)
def key_digest(certificate: Certificate) -> bytes:
    """What names the key of a certificate in requests."""
    return hashlib.sha256(certificate.spki).digest()


def parse_request(octets: bytes) -> Request:
    """Raises MalformedMessage."""
    if len(octets) < 2 or len(octets) < 2 + octets[1] + DIGEST_SIZE:
        raise MalformedMessage("a request that is too short")
    try:
        act = Act(octets[0])
    except ValueError:
        raise MalformedMessage(f"act {octets[0]} is none of the four") from None
    position = 2 + octets[1]
    name = octets[2:position]
    if not _NAME.fullmatch(name):
        raise MalformedMessage("a name of a key that is none")
    key = octets[position : position + DIGEST_SIZE]
    return Request(act, name.decode("ascii"), key, _arguments(octets, position + DIGEST_SIZE))


def _arguments(octets: bytes, position: int) -> tuple[bytes, ...]:
    found: list[bytes] = []
    while position < len(octets):
        begin = position + 4
        position = begin + int.from_bytes(octets[position:begin])
        if begin > len(octets) or position > len(octets) or len(found) == ARGUMENTS:
            raise MalformedMessage("arguments that are cut off, or too many")
        found.append(octets[begin:position])
    return tuple(found)


def send_frame(connection: socket.socket, *parts: bytes) -> None:
    """Raises OSError."""
    length = sum(map(len, parts))
    connection.sendall(b"".join((length.to_bytes(4), *parts)))


def read_frame(connection: socket.socket, maximum: int, patience: float) -> bytes | None:
    """The next frame; None if the other side has closed instead.

    The first octets may take as long as the socket waits; once they have come the rest has `patience` seconds. Raises
    MalformedMessage for a frame that is longer, cut off or followed by more, TimeoutError and other OSErrors.
    """
    found = connection.recv(_PIECE)
    if not found:
        return None
    deadline = time.monotonic() + patience
    wanted = _wanted(found, maximum)
    if len(found) < wanted:
        found = _rest(connection, bytearray(found), maximum, deadline)
        wanted = _wanted(found, maximum)
    if len(found) > wanted:
        raise MalformedMessage("more than one frame at a time")
    return found[4:]


def _wanted(begun: Sequence[int], maximum: int) -> int:
    if len(begun) < 4:
        return 4
    length = int.from_bytes(bytes(begun[:4]))
    if length > maximum:
        raise MalformedMessage(f"a frame of {length} octets, at most {maximum} are taken")
    return 4 + length


def _rest(connection: socket.socket, begun: bytearray, maximum: int, deadline: float) -> bytes:
    while len(begun) < _wanted(begun, maximum):
        if time.monotonic() > deadline:
            raise TimeoutError("a frame that does not end")
        more = connection.recv(_PIECE)
        if not more:
            raise MalformedMessage("a frame that is cut off")
        begun += more
    return bytes(begun)
