"""application/x400-content: what mail carries of X.400 without any protection (RFC 3854 3.5)."""

from __future__ import annotations

import pytest

from domsec import oids
from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import DEFAULT, Limits
from domsec.mhs.transport import Content
from domsec.mime import x400_content
from domsec.mime.fields import split_message
from interpersonal import P22, message

ENCODING = b"Content-Transfer-Encoding: "
TYPE = b"Content-Type: application/x400-content; content-type="


def read(entity: bytes, limits: Limits = DEFAULT) -> Content | None:
    return x400_content.read(*split_message(entity), limits)


@pytest.mark.parametrize(
    ("content_type", "stated"), [(P22, b"22"), (oids.ID_MCT_P2_1984, b"2"), (oids.ID_MCONT_MM, b"1.3.26.0.4406.0.4.1")]
)
def test_a_type_is_an_integer_or_an_object_identifier(content_type: str, stated: bytes) -> None:
    content = Content(content_type, message())
    entity = x400_content.write(content)
    assert entity.startswith(TYPE + stated + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
    assert read(entity) == content


def test_a_transport_that_carries_anything_needs_no_encoding() -> None:
    assert read(TYPE + b"2.6.1.10.1\r\nContent-Transfer-Encoding: binary\r\n\r\n" + message()) == Content(
        P22, message()
    )


@pytest.mark.parametrize(
    "entity",
    [
        b"\r\n",
        b"Content-Type: text/plain\r\n\r\n",
        b"Content-Type: x400-content\r\n\r\n",
        (TYPE + b"22\r\n") * 2 + b"\r\n",
    ],
)
def test_what_is_something_else(entity: bytes) -> None:
    assert read(entity) is None


@pytest.mark.parametrize(
    ("entity", "error"),
    [
        (TYPE + b"22; content-type=2\r\n\r\n", MalformedMessage),
        (TYPE + b"P22\r\n\r\n", MalformedMessage),
        (TYPE + b"35\r\n\r\n", Unsupported),
        (TYPE + b"22\r\n" + ENCODING + b"base64\r\n" + ENCODING + b"binary\r\n\r\n", MalformedMessage),
        (TYPE + b"22\r\n" + ENCODING + b"rot13\r\n\r\n", Unsupported),
        (TYPE + b"22\r\n" + ENCODING + b"base64\r\n\r\n?", MalformedMessage),
    ],
)  # fmt: skip
def test_what_says_that_it_is_one_and_is_not(entity: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(entity)


def test_a_content_that_is_too_large() -> None:
    assert read(TYPE + b"22\r\n\r\n1234", Limits(size=4))
    with pytest.raises(LimitExceeded):
        read(TYPE + b"22\r\n\r\n12345", Limits(size=4))
