"""The originator in the heading of an interpersonal message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import MalformedMessage
from domsec.mhs.heading import originator
from domsec.mhs.names import ORName
from interpersonal import address_content, message, or_name, printable, tlv

ALICE = ORName.read(or_name())


@pytest.mark.requirement("R3854-4.3-01")
def test_the_originator_is_the_formal_name_in_the_heading() -> None:
    assert originator(message()) == ALICE


def test_the_heading_is_a_set_and_the_descriptor_too() -> None:
    """Fields in any order; a free form name [0] and a telephone number [1] beside the formal one say nothing."""
    descriptor = tlv(0xA0, printable("Alice")) + or_name() + tlv(0x81, b"1")
    heading = tlv(0x31, tlv(0xA8, tlv(0x14, b"plans")), tlv(0xA0, descriptor), tlv(0x6B, printable("1")))
    assert originator(tlv(0xA0, heading, tlv(0x30))) == ALICE


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(message(b""), id="an anonymous message"),
        pytest.param(message(tlv(0xA0, printable("Alice"))), id="a free form name only"),
        pytest.param(tlv(0xA1, tlv(0x31)), id="a notification"),
    ],
)
def test_nobody_is_named(content: bytes) -> None:
    assert originator(content) is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"Content-Type: text/plain\r\n\r\nhello", id="mail"),
        pytest.param(message()[:-1], id="cut short"),
        pytest.param(message() + b"\0", id="something behind"),
        pytest.param(message(or_name() * 2), id="two formal names"),
        pytest.param(message(or_name(address_content()[:-1])), id="a name that is none"),
        pytest.param(message(None, b"", tlv(0xA0, or_name())), id="two originators"),
        pytest.param(tlv(0xA0, tlv(0x30), tlv(0x30)), id="a heading that is no set"),
        pytest.param(tlv(0xA0, tlv(0x31)), id="no body"),
    ],
)
def test_what_is_no_interpersonal_message(content: bytes) -> None:
    with pytest.raises(MalformedMessage):
        originator(content)


@given(st.binary(max_size=64), st.integers(0, len(message())))
def test_any_octets_are_read_or_malformed(octets: bytes, at: int) -> None:
    for content in (octets, message()[:at] + octets + message()[at:]):
        try:
            originator(content)
        except MalformedMessage:
            continue
