"""Making an entity fit for clear signing: RFC 8551 3.1.3."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import DomsecError, LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import Limits
from domsec.mime.seven_bit import make_seven_bit
from domsec.mime.transfer_encoding import is_seven_bit

TEXT = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nétude\r\n".encode()
IMAGE = b"Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x89PNG\r\n\x00\n"


def test_what_is_fit_stays():
    entity = b"Content-Type: text/plain\r\n\r\nhello \r\n"
    assert make_seven_bit(entity) is entity
    assert make_seven_bit(b"\nhello\n") == b"\r\nhello\r\n"


@pytest.mark.requirement("R8551-3.1.3-01")
def test_text_becomes_quoted_printable():
    assert make_seven_bit(TEXT) == (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9tude\r\n"
    )


@pytest.mark.requirement("R8551-3.1.3-01")
def test_a_bare_carriage_return_is_encoded():
    assert make_seven_bit(b"Content-Type: text/plain\r\n\r\nbare\rcr\r\n").endswith(b"\r\n\r\nbare=0Dcr\r\n")


@pytest.mark.requirement("R8551-3.1.3-01")
def test_leaves_of_a_multipart_are_encoded_each():
    inner = b"Content-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n" + TEXT + b"\r\n--i--\r\n"
    entity = b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + inner + b"\r\n--o\r\n" + IMAGE + b"\r\n--o--"
    encoded = make_seven_bit(entity)
    parts = list(email.message_from_bytes(encoded, policy=email.policy.SMTP).walk())

    assert is_seven_bit(encoded)
    assert [part.get_content_type() for part in parts] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "image/png",
    ]  # fmt: skip
    assert parts[2].get_content() == "étude\r\n"
    assert parts[3].get_content() == b"\x89PNG\r\n\x00\r\n"  # after canonical line ends, which came first


@pytest.mark.parametrize(
    ("entity", "error"),
    [
        ("Content-Type: text/plain; name=é\r\n\r\nx".encode(), Unsupported),
        (b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n" + TEXT, Unsupported),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-y\r\n\r\n\xff", Unsupported),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\xff", MalformedMessage),
        (b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n\xff", MalformedMessage),
        (b"Content-Type: x\r\n\r\n\xff", MalformedMessage),
    ],
)
@pytest.mark.requirement("R1847-2.1-02")
def test_what_cannot_be_encoded_is_not_changed(entity, error):
    with pytest.raises(error):
        make_seven_bit(entity)


def test_depth_is_bounded():
    entity = (
        b"".join(b"Content-Type: multipart/mixed; boundary=%d-\r\n\r\n--%d-\r\n" % (n, n) for n in range(40)) + TEXT
    )
    with pytest.raises(LimitExceeded, match="mime_depth"):
        make_seven_bit(entity, Limits(mime_depth=32))


@given(st.binary(max_size=100))
def test_it_fits_or_says_why(octets):
    try:
        assert is_seven_bit(make_seven_bit(octets))
    except DomsecError:
        pass
