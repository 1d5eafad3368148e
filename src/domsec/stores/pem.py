"""PEM: labelled base64 in text (RFC 7468), as administrators' tools write it."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from domsec.errors import MalformedMessage

_BLOCK = re.compile(rb"^-----BEGIN ([A-Z0-9 .#]{1,64})-----[ \t]*\r?$(.*?)^-----END \1-----", re.MULTILINE | re.DOTALL)
_BEGIN = re.compile(rb"^-----BEGIN ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a PEM file. `text` is all of it with its BEGIN and END lines; text between blocks is not ours."""

    label: str
    text: bytes
    inside: bytes

    @property
    def der(self) -> bytes:
        """What the base64 holds. Raises MalformedMessage."""
        try:
            return binascii.a2b_base64(b"".join(self.inside.split()), strict_mode=True)
        except binascii.Error:
            raise MalformedMessage(f"the PEM block {self.label} is not base64") from None


def is_pem(octets: bytes) -> bool:
    return _BEGIN.search(octets) is not None


def blocks(octets: bytes) -> Iterator[Block]:
    """The blocks of a PEM file, in order. Raises MalformedMessage for one that does not end."""
    position = 0
    while begin := _BEGIN.search(octets, position):
        match = _BLOCK.match(octets, begin.start())
        if not match:
            raise MalformedMessage("a PEM block has no end")
        yield Block(match[1].decode("ascii"), match[0] + b"\n", match[2])
        position = match.end()
