"""RFC 3274: compressed content, and as much of it as we are ready to hold."""

from __future__ import annotations

import base64
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domsec import der, oids
from domsec.cms.compressed_data import compress, inflate, parse_compressed
from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import Limits
from envelope_keys import value_of

CONTENT = b"Content-Type: text/plain\r\n\r\nnot much to say\r\n"


def compressed(
    data: bytes | None, *, algorithm: bytes | None = None, content_type: str = oids.ID_DATA, version: int = 0
) -> bytes:
    content = b"" if data is None else der.explicit(0, der.octet_string(data))
    return der.sequence(
        der.integer(version),
        algorithm or der.sequence(der.oid(oids.ID_ALG_ZLIB_COMPRESS)),
        der.sequence(der.oid(content_type), content),
    )


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_any_content_survives(content: bytes) -> None:
    kind, value = value_of(compress(content))
    assert kind == oids.ID_CT_COMPRESSED_DATA
    found = parse_compressed(value)
    assert (found.version, found.content_type) == (0, oids.ID_DATA)
    assert inflate(found) == content


def test_the_inner_type_is_kept() -> None:
    found = parse_compressed(value_of(compress(b"\x30\x00", content_type=oids.ID_SIGNED_DATA))[1])
    assert found.content_type == oids.ID_SIGNED_DATA


@pytest.mark.requirement("R3274-1.1-01")
@pytest.mark.parametrize("parameters", [b"", der.null()])
def test_parameters_are_absent_or_null(parameters: bytes) -> None:
    algorithm = der.sequence(der.oid(oids.ID_ALG_ZLIB_COMPRESS), parameters)
    assert inflate(parse_compressed(compressed(zlib.compress(CONTENT), algorithm=algorithm))) == CONTENT


def test_pieces_and_indefinite_lengths_are_read() -> None:
    data = zlib.compress(CONTENT)
    pieces = b"\x24\x80" + b"".join(der.octet_string(data[i : i + 5]) for i in range(0, len(data), 5)) + b"\0\0"
    inner = b"\x30\x80" + der.oid(oids.ID_DATA) + b"\xa0\x80" + pieces + b"\0\0\0\0"
    value = b"\x30\x80" + der.integer(0) + der.sequence(der.oid(oids.ID_ALG_ZLIB_COMPRESS)) + inner + b"\0\0"
    assert inflate(parse_compressed(value)) == CONTENT


ZEROS = zlib.compress(bytes(100_000))


@pytest.mark.requirement("R3274-1.1-01")
@pytest.mark.parametrize(
    ("limits", "hit"),
    [
        (Limits(expanded=100_000, ratio=10_000), None),
        (Limits(expanded=99_999, ratio=10_000), "expanded"),
        (Limits(expanded=10**9, ratio=-(-100_000 // len(ZEROS))), None),
        (Limits(expanded=10**9, ratio=99_999 // len(ZEROS)), "ratio"),
        (Limits(), "ratio"),  # zeros shrink to less than a hundredth
    ],
)
def test_as_much_as_the_limits_allow_and_no_more(limits: Limits, hit: str | None) -> None:
    found = parse_compressed(compressed(ZEROS))
    if hit is None:
        assert inflate(found, limits) == bytes(100_000)
        return
    with pytest.raises(LimitExceeded) as caught:
        inflate(found, limits)
    assert caught.value.limit == hit


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedMessage),
        (b"no zlib", MalformedMessage),
        (zlib.compress(CONTENT)[:-1], MalformedMessage),
        (zlib.compress(CONTENT)[:-5], MalformedMessage),
        (zlib.compress(CONTENT) + b"x", MalformedMessage),
        (zlib.compress(CONTENT) * 2, MalformedMessage),
        (bytes([*zlib.compress(CONTENT)[:-1], 0]), MalformedMessage),
        (None, Unsupported),
    ],
)
def test_data_that_is_damaged_or_missing(data: bytes | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        inflate(parse_compressed(compressed(data)))


def test_another_algorithm_is_unsupported() -> None:
    found = parse_compressed(compressed(zlib.compress(CONTENT), algorithm=der.sequence(der.oid("1.2.3"))))
    with pytest.raises(Unsupported):
        inflate(found)


@pytest.mark.parametrize("value", [b"", b"\x30\x00", der.sequence(der.integer(0)), compressed(b"")[:-1]])
def test_what_is_no_compressed_data(value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_compressed(value)


@pytest.mark.shared
@pytest.mark.requirement("R3274-1.1-01")
def test_a_bomb_is_refused_within_its_limit(shared: Path) -> None:
    bomb = (shared / "corpora/collector-made-attacks/asn1/compressed-bomb-512MiB.der").read_bytes()
    _, value = value_of(bomb)
    found = parse_compressed(value)
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded):
            inflate(found)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 100 * len(bomb)


@pytest.mark.shared
def test_compressed_data_of_others(shared: Path) -> None:
    text = (shared / "corpora/cms-lib-fixtures/asn1crypto/cms-compressed.pem").read_text()
    raw = base64.b64decode("".join(line for line in text.splitlines() if "-----" not in line))
    assert b"This is the message to encapsulate" in inflate(parse_compressed(value_of(raw)[1]))
