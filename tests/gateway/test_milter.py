"""domsec.gateway.milter: what a mail server tells, octet by octet, and what it is told to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domsec.gateway import milter
from domsec.gateway.milter import Answer, Milter
from domsec.gateway.replies import REPLIES, Reply
from domsec.gateway.smtp_server import Arrived, Budget
from domsec.limits import DEFAULT, Limits
from domsec.mime.fields import new_field
from domsec.octets import THRESHOLD
from domsec.pipeline import Recipient
from mta import (
    BODY,
    CONNECTED,
    CONTENT,
    ENVELOPE,
    FIELDS,
    HEADER,
    MESSAGE,
    OPTIONS,
    macros,
    options,
    packet,
    packets,
    texts,
)

MARKED = REPLIES["marked"]


def opened(limits: Limits = DEFAULT, protocol: int = OPTIONS[2], budget: Budget | None = None) -> Milter:
    """One that has agreed on its options."""
    made = Milter(limits, user="postfix", budget=budget)
    assert made.receive(options(6, 0x1FF, protocol)) is None
    made.take()
    return made


def told(made: Milter, octets: bytes, step: int) -> list[Arrived]:
    found = []
    for at in range(0, len(octets), step):
        arrived = made.receive(octets[at : at + step])
        while arrived is not None:
            found.append(arrived)
            arrived = made.answer(Answer(MARKED))
    return found


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 10_000])
def test_a_message_is_the_same_wherever_the_reads_are_cut(step: int) -> None:
    made = opened()
    first, second = told(made, CONNECTED + texts("H", "client.example") + MESSAGE * 2, step)
    assert bytes(first.octets) == bytes(second.octets) == CONTENT
    assert first.sender == "alice@acme.example"
    assert first.sender_parameters == "RET=HDRS"
    assert first.recipients == (Recipient("bob@beta.example", "NOTIFY=NEVER"),)
    session = first.session
    assert (session.client_address, session.helo, session.auth) == ("192.0.2.1", "client.example", "alice")
    assert (session.protocol, session.direction, session.user) == ("milter", "inbound", "postfix")
    assert session.xforward == {"IDENT": "4XyZ", "ADDR": "192.0.2.1"}
    assert packets(made.take()) == [("c", b"")] * 2  # nothing but the end of a message has an answer


def test_what_is_agreed_on_is_what_both_want() -> None:
    made = Milter()
    made.receive(options(*OPTIONS))
    ((command, data),) = packets(made.take())
    assert command == "O"
    numbers = [int.from_bytes(data[at : at + 4], "big") for at in (0, 4, 8)]
    assert numbers == [6, milter.ADD_FIELDS | milter.CHANGE_FIELDS | milter.QUARANTINE, milter.WANTED]
    assert not numbers[2] & 0x3F  # connection, hello, envelope, header and body are told


def test_a_mail_server_that_waits_is_answered_each_time() -> None:
    """Sendmail before 8.14 knows no way not to wait; values of header fields then have lost their blank."""
    made = Milter()
    made.receive(options(2, 0x3F, 0x7F))
    assert packets(made.take())[0][1][:4] == (2).to_bytes(4, "big")
    stripped = b"".join(packet("L", name + b"\0" + value.removeprefix(b" ") + b"\0") for name, value in FIELDS)
    arrived = made.receive(CONNECTED + ENVELOPE + stripped + packet("N") + BODY + packet("E"))
    assert arrived is not None
    assert bytes(arrived.octets) == CONTENT.replace(b"X-Odd:\t", b"X-Odd: \t")
    assert packets(made.take()) == [("c", b"")] * (3 + len(FIELDS) + 3)
    made.answer(Answer(MARKED, (new_field("X-New", "1"),)))
    assert packets(made.take()) == [("i", b"\0\0\0\0X-New\x001\0"), ("c", b"")]


@pytest.mark.parametrize(
    ("connected", "macro", "client"),
    [
        (b"c\x006\x04\xd2IPv6:2001:db8::1\0", "", "2001:db8::1"),
        (b"c\x006\x04\xd2" + b"2001:db8::1\0", "", "2001:db8::1"),
        (b"c\0L\0\0/run/socket\0", "", None),
        (b"c\0U", "192.0.2.9", "192.0.2.9"),
    ],
    ids=["as Sendmail writes it", "as Postfix does", "a socket", "by the macro"],
)
def test_the_client_is_known_by_its_address(connected: bytes, macro: str, client: str | None) -> None:
    made = opened()
    arrived = made.receive(macros("C", client_addr=macro) + packet("C", connected) + ENVELOPE + packet("E"))
    assert arrived is not None
    assert arrived.session.client_address == client


def test_folded_lines_end_in_crlf_however_they_are_told() -> None:
    made = opened()
    arrived = made.receive(ENVELOPE + packet("L", b"A\0 1\r\n\t2\n 3\0") + packet("E"))
    assert arrived is not None
    assert bytes(arrived.octets) == b"A: 1\r\n\t2\r\n 3\r\n\r\n"


def test_fields_are_removed_from_below_and_then_put_on_top() -> None:
    made = opened()
    lines = [(b"a", b" 1"), (b"B", b" 2"), (b"A", b" 3"), (b"b", b" 4"), (b"A", b" 5")]
    header = b"".join(packet("L", name + b"\0" + value + b"\0") for name, value in lines)
    assert made.receive(ENVELOPE + header + packet("E"))
    fields = (new_field("X-First", "1;\r\n 2"), new_field("X-Second", "3"))
    made.answer(Answer(MARKED, fields, removed=(0, 2, 3)))
    assert packets(made.take()) == [
        ("m", b"\0\0\0\x02b\0\0"),
        ("m", b"\0\0\0\x02A\0\0"),
        ("m", b"\0\0\0\x01a\0\0"),
        ("i", b"\0\0\0\0X-Second\0 3\0"),
        ("i", b"\0\0\0\0X-First\0 1;\n 2\0"),
        ("c", b""),
    ]


def test_a_refusal_is_the_reply_that_the_client_gets() -> None:
    made = opened()
    assert made.receive(MESSAGE)
    made.answer(Answer(Reply(550, "5.7.7", "100 % forged", "policy"), (new_field("X", "1"),), (0,)))
    assert packets(made.take()) == [("y", b"550 5.7.7 100 %% forged [policy]\0")]


def test_a_quarantine_says_why_and_keeps_the_marks() -> None:
    made = opened()
    assert made.receive(MESSAGE)
    made.answer(Answer(MARKED, (new_field("X", "1"),), quarantine="domsec 1: signature.invalid"))
    assert [command for command, _ in packets(made.take())] == ["i", "q", "c"]


def test_an_aborted_message_leaves_nothing_and_a_new_connection_nobody() -> None:
    budget = Budget(10_000)
    made = opened(budget=budget)
    made.receive(CONNECTED + texts("H", "me") + macros("M", auth_authen="alice") + ENVELOPE + HEADER + BODY)
    assert budget.used
    assert made.receiving
    made.receive(packet("A"))
    assert budget.used == 0
    assert made.idle
    arrived = made.receive(ENVELOPE + packet("E"))
    assert arrived is not None
    assert (bytes(arrived.octets), arrived.session.auth) == (b"\r\n", None)
    assert arrived.session.client_address == "192.0.2.1"
    made.answer(Answer(MARKED))
    arrived = made.receive(packet("K") + ENVELOPE + packet("E", b"last"))
    assert arrived is not None
    assert bytes(arrived.octets) == b"\r\nlast"
    assert (arrived.session.client_address, arrived.session.helo) == (None, None)
    made.answer(Answer(MARKED))
    made.receive(packet("Q"))
    assert made.closed
    assert made.failure is None


@pytest.mark.parametrize(
    ("limits", "octets", "reply"),
    [
        pytest.param(replace(DEFAULT, size=64), HEADER + BODY, "size", id="size"),
        pytest.param(replace(DEFAULT, header_fields=2), HEADER + BODY, "header", id="fields"),
        pytest.param(replace(DEFAULT, header_size=40), HEADER + BODY, "header", id="header"),
        pytest.param(replace(DEFAULT, recipients=2), texts("R", "<c@b.example>") * 2 + HEADER, "recipients", id="rcpt"),
        pytest.param(DEFAULT, packet("B", bytes(5000)) * 2, "memory", id="memory"),
    ],
)
def test_what_is_too_much_is_not_kept_and_refused_at_the_end(limits: Limits, octets: bytes, reply: str) -> None:
    budget = Budget(6000)
    made = opened(limits, budget=budget)
    assert made.receive(ENVELOPE + octets) is None
    assert made.receive(packet("B", bytes(1000)) * 100 + packet("E")) is None
    assert packets(made.take()) == [("y", REPLIES[reply].encode().strip() + b"\0")]
    assert budget.used == 0
    assert made.receive(ENVELOPE + packet("E"))  # the next one is welcome


def test_a_large_message_is_in_a_file() -> None:
    made = opened()
    chunk = b"x" * 65533 + b"\r\n"
    arrived = made.receive(ENVELOPE + HEADER + packet("B", chunk) * 8 + packet("E"))
    assert arrived is not None
    assert len(arrived.octets) > THRESHOLD
    assert isinstance(arrived.octets, memoryview)
    assert bytes(arrived.octets).endswith(b"Subject: x\r\n\r\n" + chunk * 8)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\0\0\0\0", id="empty packet"),
        pytest.param(b"\xff\xff\xff\xff", id="endless packet"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(packet("?"), id="unknown command"),
        pytest.param(options(*OPTIONS), id="options twice"),
        pytest.param(packet("E"), id="end without a beginning"),
        pytest.param(texts("M", "<a@b.example>") + packet("E"), id="for nobody"),
        pytest.param(texts("R", "<a@b.example>"), id="recipient without a beginning"),
        pytest.param(ENVELOPE + packet("L", b"no-value"), id="half a field"),
        pytest.param(ENVELOPE + packet("B", b"x") + HEADER, id="header behind the body"),
        pytest.param(ENVELOPE + packet("L", b"A\0 1\nB: 2\0"), id="two fields in one"),
        pytest.param(ENVELOPE + packet("L", b"A\0 1\r\n\r\nbody\0"), id="a body in a field"),
        pytest.param(ENVELOPE + packet("L", b"A: 1\0 2\0"), id="a name with a colon"),
        pytest.param(ENVELOPE + packet("L", b"\0 2\0"), id="no name"),
        pytest.param(ENVELOPE + packet("L", b" A\0 2\0"), id="a name that goes on"),
        pytest.param(packet("C", b"name"), id="half a connection"),
    ],
)
def test_what_no_mail_server_says_ends_the_connection(octets: bytes) -> None:
    made = opened()
    assert made.receive(octets) is None
    assert made.closed
    assert made.failure
    assert made.take() == b""
    assert made.receive(MESSAGE) is None


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(options(1, 0x3F, 0x7F), id="too old"),
        pytest.param(options(6, milter.ADD_FIELDS, 0x7F), id="no removing"),
        pytest.param(packet("O", b"\0"), id="cut off"),
        pytest.param(MESSAGE, id="none"),
    ],
)
def test_without_options_that_we_can_work_with_there_is_no_connection(octets: bytes) -> None:
    made = Milter()
    assert made.receive(octets) is None
    assert made.closed


def test_what_is_sent_while_we_work_waits() -> None:
    made = opened()
    assert made.receive(MESSAGE)
    assert made.receive(packet("A") + MESSAGE) is None
    assert made.backlog
    assert made.answer(Answer(MARKED)) is not None
    made.answer(Answer(MARKED))
    assert packets(made.take()) == [("c", b"")] * 2
