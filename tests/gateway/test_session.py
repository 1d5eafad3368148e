"""domsec.gateway.session: envelope syntax, XFORWARD, Received and hops."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domsec.gateway.session import (
    RECIPIENT_PARAMETERS,
    SENDER_PARAMETERS,
    XFORWARD_NAMES,
    EnvelopeError,
    hops,
    is_address,
    parse_attributes,
    parse_parameters,
    parse_path,
    received_field,
    received_fields,
    without_parameters,
)


@pytest.mark.requirement("R5321-2.4-01")
@pytest.mark.parametrize(
    ("text", "address", "parameters"),
    [
        ("<a@b.example>", "a@b.example", ""),
        ("<>", "", ""),
        (" <a@b.example>", "a@b.example", ""),
        ("<Alice.O'Neil+Tag@B.Example>", "Alice.O'Neil+Tag@B.Example", ""),
        ("<a@b.example> SIZE=10  BODY=8BITMIME ", "a@b.example", "SIZE=10  BODY=8BITMIME"),
        ('<"a b\\"@c"@d.example>', '"a b\\"@c"@d.example', ""),
        ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", ""),
        ("<@relay.example,@other.example:a@b.example>", "a@b.example", ""),
        ("<Postmaster>", "Postmaster", ""),
        ("<jürgen@bücher.example>", "jürgen@bücher.example", ""),
    ],
)
def test_an_address_is_kept_as_it_is_written(text: str, address: str, parameters: str) -> None:
    assert parse_path(text, "sender_syntax") == (address, parameters)


@pytest.mark.parametrize(
    "text",
    ["", "a@b", "<a@b", "<a@b>x", "<a>", "<a@b@c>", "<a b@c>", "<a<b@c>", '<"a>b"@c>', "<a@b c>", "<@a@b>", "<a@>",
     "<" + "a" * 1000 + "@b>", "<a\\b@c>", "<a@b>,<c@d>", "<a,b@c>"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(EnvelopeError):
        parse_path(text, "sender_syntax")


@pytest.mark.parametrize(
    "address", ["a@b\r\nRCPT TO:<c@d>", "a@b\0", "a@b>", "a@b> X=1", "<a@b", "a@b\n", "a", "a@b\u2028"]
)
def test_no_address_can_carry_a_command(address: str) -> None:
    assert not is_address(address)


@pytest.mark.parametrize(
    ("text", "known", "found"),
    [
        ("SIZE=5 BODY=8BITMIME smtputf8", SENDER_PARAMETERS, {"SIZE": "5", "BODY": "8BITMIME", "SMTPUTF8": ""}),
        ("RET=HDRS ENVID=a+2Bb", SENDER_PARAMETERS, {"RET": "HDRS", "ENVID": "a+2Bb"}),
        ("NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+3Dy@z", RECIPIENT_PARAMETERS,
         {"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;x+3Dy@z"}),
        ("NOTIFY=NEVER", RECIPIENT_PARAMETERS, {"NOTIFY": "NEVER"}),
        ("SIZE=x", SENDER_PARAMETERS, "parameter_value"),
        ("SIZE", SENDER_PARAMETERS, "parameter_value"),
        ("SMTPUTF8=1", SENDER_PARAMETERS, "parameter_value"),
        ("SIZE=1 SIZE=2", SENDER_PARAMETERS, "parameter_value"),
        ("BODY=BINARYMIME", SENDER_PARAMETERS, "parameter_value"),
        ("NOTIFY=NEVER,DELAY", RECIPIENT_PARAMETERS, "parameter_value"),
        ("FOO=1", SENDER_PARAMETERS, "parameter"),
        ("NOTIFY=NEVER", SENDER_PARAMETERS, "parameter"),
        ("=1", SENDER_PARAMETERS, "syntax"),
    ],
)  # fmt: skip
def test_parameters_are_known_well_formed_and_given_once(text, known, found) -> None:
    if isinstance(found, dict):
        assert parse_parameters(text, known) == found
        return
    with pytest.raises(EnvelopeError) as caught:
        parse_parameters(text, known)
    assert caught.value.reply == found


def test_a_parameter_is_taken_out_and_the_others_stay_verbatim() -> None:
    assert without_parameters("size=5 RET=hdrs BODY=8bitmime", "SIZE", "BODY") == "RET=hdrs"


def test_xforward_is_decoded_and_what_is_unavailable_left_out() -> None:
    found = parse_attributes("NAME=a+20b ADDR=IPv6:2001:db8::1 HELO=[UNAVAILABLE] ident=4C3F", XFORWARD_NAMES)
    assert found == {"NAME": "a b", "ADDR": "2001:db8::1", "IDENT": "4C3F"}


@pytest.mark.parametrize("text", ["LOGIN=x", "NAME", "NAME=a+0Db"])
def test_xforward_that_is_not_well_formed_is_refused(text: str) -> None:
    with pytest.raises(EnvelopeError):
        parse_attributes(text, XFORWARD_NAMES)


def field(instance: str, helo: str = "mx.example") -> bytes:
    return received_field(
        helo=helo, client="192.0.2.1", hostname="gw.example", instance=instance, protocol="LMTP", identifier="1a",
        at=datetime(2026, 11, 23, 12, tzinfo=UTC),
    )  # fmt: skip


def test_the_received_field_says_from_whom_by_whom_and_when() -> None:
    assert field("acme-1/outbound") == (
        b"Received: from mx.example ([192.0.2.1])\r\n\tby gw.example (domsec acme-1/outbound)\r\n"
        b"\twith LMTP id 1a;\r\n\tMon, 23 Nov 2026 12:00:00 +0000\r\n"
    )


def test_a_helo_cannot_end_the_received_field() -> None:
    assert field("x", "a\r\nSubject: (domsec y)").count(b"\r\n") == 4


@pytest.mark.parametrize(
    ("octets", "count"),
    [
        (field("i") + b"Subject: x\r\n\r\nbody", 1),
        (b"Subject: x\r\n" + field("i") + field("i") + b"\r\nbody", 2),
        (field("other") + b"\r\nbody", 0),
        (b"Subject: (domsec i)\r\n\r\n", 0),  # only Received counts
        (b"Subject: x\r\n\r\n" + field("i"), 0),  # a message inside is not this message
        (b"", 0),
    ],
)
def test_hops_counts_our_own_received_fields(octets: bytes, count: int) -> None:
    assert hops(octets, "i") == count


def test_received_fields_counts_all_of_the_header() -> None:
    assert received_fields(b"received: a\r\nX: y\r\nReceived: b\r\n c\r\n\r\nReceived: no\r\n") == 2
