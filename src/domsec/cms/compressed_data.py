"""CompressedData (RFC 3274): a content made smaller, and by a stranger's will, smaller than it is worth."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from domsec import der, oids
from domsec.cms.algorithms import AlgorithmIdentifier, read_algorithm
from domsec.der import Reader, context
from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import DEFAULT, Limits
from domsec.octets import CHUNK, Octets, chunks, gather

_ALGORITHM: Final = der.sequence(der.oid(oids.ID_ALG_ZLIB_COMPRESS))  # parameters should be absent: RFC 3274 2


@dataclass(frozen=True, slots=True)
class Compressed:
    """A message still packed. `data` is None where the content is somewhere else."""

    version: int
    algorithm: AlgorithmIdentifier
    content_type: str
    data: Octets | None


def parse_compressed(value: Octets, limits: Limits = DEFAULT) -> Compressed:
    """The CompressedData in `value`. Raises MalformedMessage, LimitExceeded."""
    reader = Reader(value, limits)
    reader.enter(der.SEQUENCE)
    version = reader.integer()
    algorithm = read_algorithm(reader)
    reader.enter(der.SEQUENCE)
    content_type = reader.oid()
    data = None
    if not reader.at_end():
        reader.enter(context(0))
        data = reader.octet_string()
        reader.leave()
    reader.leave()
    reader.leave()
    return Compressed(version, algorithm, content_type, data)


def inflate(compressed: Compressed, limits: Limits = DEFAULT) -> Octets:
    """The content.

    Raises LimitExceeded before it would be larger than `limits.expanded`, or than `limits.ratio` times what came;
    Unsupported for another algorithm than zlib or a content that is somewhere else; MalformedMessage; StoreUnavailable.
    """
    if compressed.algorithm.oid != oids.ID_ALG_ZLIB_COMPRESS:
        raise Unsupported(f"compression algorithm {compressed.algorithm.oid}")
    if compressed.data is None:
        raise Unsupported("compressed data without content")
    most = _most(compressed.data, limits)
    return gather(_inflated(compressed.data, most, "ratio" if most < limits.expanded else "expanded"))


def _inflated(data: Octets, most: int, limit: str) -> Iterator[bytes]:
    inflater = zlib.decompressobj()
    try:
        for chunk in chunks(data):
            if inflater.eof:
                raise MalformedMessage("octets after the compressed data")
            while (piece := inflater.decompress(chunk, CHUNK)) or inflater.unconsumed_tail:
                most -= len(piece)
                if most < 0:
                    raise LimitExceeded(limit)
                yield piece
                chunk = inflater.unconsumed_tail
    except zlib.error:
        raise MalformedMessage("compressed data that is none") from None
    if not inflater.eof:
        raise MalformedMessage("compressed data without end")
    if inflater.unused_data:
        raise MalformedMessage("octets after the compressed data")


def _most(data: Octets, limits: Limits) -> int:
    return min(limits.expanded, limits.ratio * len(data))


def left(compressed: Compressed, content: Octets, limits: Limits) -> Limits:
    """The limits for what is in `content`: what compressed data in it yields counts as if this one had yielded it."""
    return replace(limits, expanded=_most(compressed.data or b"", limits) - len(content))


def compress(content: Octets, *, content_type: str = oids.ID_DATA) -> bytes:
    """A ContentInfo with the CompressedData of `content`, in DER (RFC 3274 1.1: version 0)."""
    return der.sequence(
        der.oid(oids.ID_CT_COMPRESSED_DATA),
        der.explicit(
            0,
            der.sequence(
                der.integer(0),
                _ALGORITHM,
                der.sequence(der.oid(content_type), der.explicit(0, der.octet_string(zlib.compress(content)))),
            ),
        ),
    )
