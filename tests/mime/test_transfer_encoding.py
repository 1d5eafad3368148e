"""Transfer encodings: RFC 2045 6."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import Limits
from domsec.mime import transfer_encoding


@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 114, 57 * 1150 - 1, 57 * 1150, 57 * 1150 + 1, 200_000])
def test_base64_lines_are_those_of_the_standard_library(size):
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    encoded = bytes(transfer_encoding.encode_base64(data))

    assert encoded == base64.encodebytes(data).replace(b"\n", b"\r\n")
    assert bytes(transfer_encoding.encode_base64(memoryview(data))) == encoded
    assert transfer_encoding.decode(encoded, "Base64 ") == data


@pytest.mark.parametrize("octet", [b"A", b"=", b"-", b"!", b" ", b"\r", b"\n", b"\xe9", b""])
@pytest.mark.parametrize("size", [400, 102_400])
@pytest.mark.parametrize("at", [0, 75, 76, 77, 78, 78 * 840 - 3, 78 * 840 - 1, 78 * 840, 78 * 1000, -5, -4, -2])
def test_full_lines_are_read_as_strictly_as_others(octet, at, size):
    text = bytes(transfer_encoding.encode_base64((bytes(range(256)) * 400)[:size]))
    at %= len(text)
    text = text[:at] + octet + text[at + 1 :]
    try:
        expected = base64.b64decode(text.replace(b"\r", b"").replace(b"\n", b""), validate=True)
    except ValueError:
        with pytest.raises(MalformedMessage):
            transfer_encoding.decode_base64(text)
    else:
        assert transfer_encoding.decode_base64(text) == expected


@given(st.binary(max_size=300), st.sampled_from(["base64", "quoted-printable", "binary", "8bit"]))
def test_decode_undoes_encode(data, name):
    encode = {
        "base64": transfer_encoding.encode_base64,
        "quoted-printable": transfer_encoding.encode_quoted_printable,
    }.get(name, bytes)

    assert transfer_encoding.decode(encode(data), name) == data
    assert transfer_encoding.decode(memoryview(encode(data)), name) == data


@pytest.mark.parametrize(
    ("body", "lenient"),
    [
        (b"QUJD QUJD", b"ABCABC"),
        (b"QUJD\r\n\tQUJD\r\n", b"ABCABC"),
        (b"QQ==QUJD", b"A"),  # readers differ on what stands behind padding
        (b"QQ==\r\n--\r\nfooter of a list", b"A"),
        (b"QQ", b"A"),
        (b"QUJD!\x00\xff", b"ABC"),
        (b"QUJD=", b"ABC"),
        (b"=QUJD", b""),
        (b"QUJDQ", None),
    ],
)
def test_base64_with_anything_else_is_refused_and_read_only_on_request(body, lenient):
    with pytest.raises(MalformedMessage):
        transfer_encoding.decode(body, "base64")
    if lenient is None:
        with pytest.raises(MalformedMessage):
            transfer_encoding.decode_base64_leniently(body)
    else:
        assert transfer_encoding.decode_base64_leniently(body) == lenient


@pytest.mark.parametrize("blank", [0, 2, 78 * 840, 200_000])
def test_nothing_follows_the_end_of_base64_however_far_behind(blank):
    body = b"QQ==" + b"\r\n" * (blank // 2)

    assert transfer_encoding.decode_base64(body) == b"A"
    with pytest.raises(MalformedMessage):
        transfer_encoding.decode_base64(body + b"QUJD")


def test_unknown_encodings_and_too_much():
    with pytest.raises(Unsupported):
        transfer_encoding.decode(b"", "x-uuencode")
    with pytest.raises(LimitExceeded, match="size"):
        transfer_encoding.decode(b"QUJD", "base64", Limits(size=3))


@pytest.mark.parametrize(
    ("octets", "fits"),
    [
        (b"a\r\nb\r\n", True),
        (b"", True),
        (b"a" * 998 + b"\r\n", True),
        (b"a" * 999 + b"\r\n", False),
        (b"a\nb", False),
        (b"a\rb", False),
        (b"a\x00", False),
        (b"\xc3\xa9", False),
    ],
)
def test_seven_bit(octets, fits):
    assert transfer_encoding.is_seven_bit(octets) is fits


@given(st.binary(max_size=400))
def test_quoted_printable_is_seven_bit_in_short_lines(data):
    encoded = transfer_encoding.encode_quoted_printable(data)

    assert transfer_encoding.is_seven_bit(encoded)
    assert all(len(line) <= 76 for line in encoded.split(b"\r\n"))


def test_quoted_printable_protects_what_relays_change():
    encoded = transfer_encoding.encode_quoted_printable(b"From here \r\na\tb\t\r\n\xe9")

    assert encoded == b"=46=\r\nrom here=20\r\na\tb=09\r\n=E9"
