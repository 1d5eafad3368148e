"""Mutations of DER that keep what stands around them readable.

libFuzzer changes octets, and nearly every change of an octet in DER breaks a length further out, so that no reader gets
past it. Here a value somewhere inside is changed, and the lengths of everything that encloses it follow.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from domsec import der
from domsec.errors import DomsecError

Path = tuple[int, ...]
MOST = 2000  # values that are looked at in one input

_INTERESTING = (
    der.integer(0),
    der.integer(-1),
    der.integer(1 << 64),
    der.tlv(der.INTEGER, b"\x7f" + b"\xff" * 2048),
    der.tlv(der.GENERALIZED_TIME, b"99991231235959Z"),
    der.tlv(der.GENERALIZED_TIME, b"00010101000000+2359"),
    der.tlv(der.UTC_TIME, b"500101000000Z"),
    der.null(),
    der.octet_string(b""),
    der.octet_string(der.sequence()),
    der.utf8("\u202e\u0000"),
    der.tlv(der.BMP_STRING, b"\xd8\x00"),
    der.tlv(der.UNIVERSAL_STRING, b"\x00\x11\x00\x00"),
    der.sequence(),
    der.tlv(der.SET),
    der.explicit(0, der.explicit(0, der.null())),
    der.tlv(der.context(1, constructed=False), b"a@b"),
    der.tlv(der.context(3), b""),
    der.tlv(der.OID, b"\x88\x80\x00"),
    b"\x24\x80\x04\x01a\x24\x00\x00\x00",
    b"\x30\x80\x00\x00",
)


def mutated(data: bytes, most: int, mutate: Callable[[bytes, int], bytes], seed: int) -> bytes:
    """`data` with one value in it changed, at most `most` octets long; what is no DER goes to `mutate` as it is."""
    chance = random.Random(seed)
    tree = _tree(data)
    if not tree or chance.random() < 0.1:
        return bytes(mutate(data, most))
    path, start, end = chance.choice(tree)
    value = data[start:end]
    other = chance.choice(tree)
    match chance.randrange(8):
        case 0:
            changed = b""
        case 1:
            changed = value + value
        case 2:
            changed = data[other[1] : other[2]]
        case 3:
            changed = value + data[other[1] : other[2]]
        case 4:
            changed = chance.choice(_INTERESTING)
        case 5:
            changed = bytes((chance.randrange(256),)) + value[1:]
        case 6:
            changed = _indefinite(value)
        case _:
            head = _head(value)
            content = bytes(mutate(value[head:], min(most, len(value) + 64))) if head < len(value) else b"a"
            changed = der.tlv(value[0], content)
    made = _replaced(data, tree, path, changed)
    return made if len(made) <= most else bytes(mutate(data, most))


def _tree(data: bytes) -> list[tuple[Path, int, int]]:
    """Every value in `data` with its path from the root, from where to where it stands; lengths are definite."""
    found: list[tuple[Path, int, int]] = []
    waiting: list[tuple[Path, int, int]] = [((), 0, len(data))]
    while waiting and len(found) < MOST:
        path, at, end = waiting.pop()
        number = 0
        while at < end:
            try:
                reader = der.Reader(memoryview(data)[at:end])
                size = len(reader.skip())
            except DomsecError:
                if not path:
                    return found
                break
            here = (*path, number)
            found.append((here, at, at + size))
            head = _head(data[at : at + size])
            # many octet strings and bit strings hold DER, which is worth changing as well
            inside = head + 1 if data[at] == der.BIT_STRING else head
            holds = data[at] in (der.OCTET_STRING, der.BIT_STRING) and data[at + inside : at + inside + 1] == b"\x30"
            if (data[at] & der.CONSTRUCTED and data[at + 1] != 0x80) or holds:
                waiting.append((here, at + (inside if holds else head), at + size))
            at += size
            number += 1
    return found


def _head(value: bytes) -> int:
    """How long identifier and length octets are."""
    return 2 if len(value) < 2 or value[1] <= 0x80 else 2 + (value[1] & 0x7F)


def _indefinite(value: bytes) -> bytes:
    if not value[0] & der.CONSTRUCTED or value[1] == 0x80:
        return bytes((value[0], 0x81)) + value[1:] if value[1] < 0x80 else value[:-1]
    return bytes((value[0], 0x80)) + value[_head(value) :] + b"\0\0"


def _replaced(data: bytes, tree: list[tuple[Path, int, int]], path: Path, changed: bytes) -> bytes:
    """The octets with the value at `path` replaced, and the lengths of all around it put right."""
    places = {each: (start, end) for each, start, end in tree}
    while path:
        start, end = places[path]
        path = path[:-1]
        if not path:
            return data[:start] + changed + data[end:]
        outer, outer_end = places[path]
        inside = outer + _head(data[outer:outer_end])
        content = data[inside:start] + changed + data[end:outer_end]
        changed = der.tlv(data[outer], content)
    return changed
