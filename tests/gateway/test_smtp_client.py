"""domsec.gateway.smtp_client: dialogues, without I/O."""

from __future__ import annotations

import pytest

from domsec.gateway.replies import REPLIES
from domsec.gateway.smtp_client import Client, Job, State
from domsec.pipeline import Recipient

ALL = ("PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN")
A, B = Recipient("a@x.example"), Recipient("b@x.example")


def client(*features: str, protocol: str = "smtp") -> Client:
    made = Client(protocol, "gw.example")
    made.receive(b"220 hi\r\n")
    lines = ["mx", *features]
    for line in lines:
        made.receive(f"250{' ' if line is lines[-1] else '-'}{line}\r\n".encode())
    assert made.take() == [(b"LHLO" if protocol == "lmtp" else b"EHLO") + b" gw.example\r\n"]
    assert made.state is State.READY
    return made


def job(
    *recipients: Recipient, parameters: str = "", wire: bytes = b"x\r\n", sender: str = "s@y.example", **kwargs
) -> Job:
    return Job(sender, parameters, recipients or (A,), (wire,), **kwargs)


def sent(made: Client) -> bytes:
    return b"".join(made.take())


def codes(made: Client) -> list[str]:
    assert made.results is not None
    return [f"{reply.code} {reply.enhanced}".strip() for reply in made.results]


def test_a_message_goes_out_in_two_writes_where_pipelining_is_offered() -> None:
    made = client(*ALL)
    made.begin(job(A, B, parameters="BODY=8BITMIME RET=HDRS ENVID=e SIZE=99"))
    assert sent(made) == (
        b"MAIL FROM:<s@y.example> SIZE=3 BODY=8BITMIME RET=HDRS ENVID=e\r\n"
        b"RCPT TO:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n"
    )
    made.receive(b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 who\r\n354 go\r\n")
    assert sent(made) == b"x\r\n.\r\n"
    made.receive(b"250-2.0.0 got\r\n250 2.0.0 it\r\n")
    assert codes(made) == ["250 2.0.0", "550 5.1.1"]
    assert made.results[0].text == "got it"
    assert made.state is State.READY


def test_replies_mean_the_same_wherever_the_reads_are_cut() -> None:
    octets = b"250 2.1.0 ok\r\n250-2.1.5 o\r\n250 2.1.5 k\r\n550 5.1.1 who\r\n354 go\r\n250 2.0.0 a\r\n"
    for cut in range(len(octets)):
        made = client(*ALL)
        made.begin(job(A, B))
        made.receive(octets[:cut])
        made.receive(octets[cut:])
        assert codes(made) == ["250 2.0.0", "550 5.1.1"]
    made = client(*ALL)
    made.begin(job(A, B))
    for at in range(len(octets)):
        made.receive(octets[at : at + 1])
    assert codes(made) == ["250 2.0.0", "550 5.1.1"]


def test_one_command_at_a_time_without_pipelining() -> None:
    made = client()
    made.begin(job(A, B, parameters="SIZE=3 RET=FULL BODY=8BITMIME"))
    steps = [
        (b"MAIL FROM:<s@y.example>\r\n", b"250 ok\r\n"), (b"RCPT TO:<a@x.example>\r\n", b"450 4.2.1 later\r\n"),
        (b"RCPT TO:<b@x.example>\r\n", b"250 ok\r\n"), (b"DATA\r\n", b"354 go\r\n"), (b"x\r\n.\r\n", b"250 ok\r\n"),
    ]  # fmt: skip
    for command, reply in steps:
        assert sent(made) == command
        made.receive(reply)
    assert codes(made) == ["450 4.2.1", "250"]


def test_lmtp_has_a_reply_for_each_accepted_recipient() -> None:
    made = client(*ALL, protocol="lmtp")
    made.begin(job(A, B, Recipient("c@x.example")))
    made.receive(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n")
    made.receive(b"250 2.0.0 ok\r\n")
    assert made.results is None
    made.receive(b"452 4.2.2 full\r\n")
    assert codes(made) == ["250 2.0.0", "550 5.1.1", "452 4.2.2"]


def test_recipients_that_were_answered_keep_their_answer_when_the_connection_is_lost() -> None:
    made = client(*ALL, protocol="lmtp")
    made.begin(job(A, B))
    made.receive(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 ok\r\n")
    assert [reply.code for reply in made.settle(REPLIES["next_hop_lost"])] == [250, 451]


@pytest.mark.parametrize("features", [ALL, ()])
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["550 5.1.8 bad sender", "503 5.5.1 no", "503 5.5.1 no", "503 5.5.1 no"], ["550 5.1.8", "550 5.1.8"]),
        (["250 ok", "550 5.1.1 no", "450 4.2.0 no", "503 5.5.1 no"], ["550 5.1.1", "450 4.2.0"]),
        (["250 ok", "250 ok", "550 5.1.1 no", "452 4.3.1 disk"], ["452 4.3.1", "550 5.1.1"]),
        (["250 ok", "250 ok", "250 ok", "250 what"], ["451 4.4.0", "451 4.4.0"]),
    ],
)
def test_a_refused_envelope_settles_everybody_and_the_connection_is_reset(features, answers, expected) -> None:
    made = client(*features)
    made.begin(job(A, B))
    for answer in answers:
        if made.results is None:
            made.receive(answer.encode() + b"\r\n")
    assert codes(made) == expected
    assert not made.content_sent
    made.take()
    made.begin(job())
    assert sent(made).startswith(b"RSET\r\n")


def test_a_server_that_wants_a_message_for_nobody_gets_none() -> None:
    made = client(*ALL)
    made.begin(job())
    made.take()
    made.receive(b"250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
    assert codes(made) == ["550 5.1.1"]
    assert sent(made) == b""
    assert made.state is State.CLOSED


def test_all_or_nothing_sends_no_content_when_one_is_refused() -> None:
    made = client(*ALL)
    made.begin(job(A, B, all_or_nothing=True))
    assert b"DATA" not in sent(made)
    made.receive(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n")
    assert [reply.name or reply.code for reply in made.results] == ["not_sent", 550]
    made.begin(job(A, B, all_or_nothing=True))
    made.receive(b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n")
    assert sent(made).endswith(b"DATA\r\n")


UTF8 = Recipient("ü@x.example")


@pytest.mark.parametrize(
    ("features", "message", "expected"),
    [
        ((), job(A, UTF8, parameters="SMTPUTF8"), [None, "next_hop_utf8"]),
        ((), job(A, sender="ü@y.example", parameters="SMTPUTF8"), ["next_hop_utf8"]),
        (("8BITMIME",), job(A, parameters="SMTPUTF8", wire="Subject: ü\r\n\r\n".encode()), ["next_hop_utf8"]),
        (("8BITMIME",), job(A, parameters="SMTPUTF8", wire="Subject: u\r\n\r\nü\r\n".encode()), b" BODY=8BITMIME\r\n"),
        ((), job(A, parameters="SMTPUTF8"), b"MAIL FROM:<s@y.example>\r\n"),  # not needed: dropped (RFC 6531 3.2)
        (("SMTPUTF8",), job(UTF8, parameters="SMTPUTF8"), b"MAIL FROM:<s@y.example> SMTPUTF8\r\n"),
        ((), job(A, wire="ü\r\n".encode()), ["next_hop_8bit"]),
        ((), job(A, parameters="BODY=8BITMIME"), b"MAIL FROM:<s@y.example>\r\n"),
        (("8BITMIME",), job(A, parameters="BODY=8BITMIME"), b"MAIL FROM:<s@y.example> BODY=8BITMIME\r\n"),
        (("SIZE 2",), job(A), ["next_hop_size"]),
        (("SIZE 3",), job(A), b" SIZE=3\r\n"),
        (("SIZE 0",), job(A), b" SIZE=3\r\n"),
        (("SIZE",), job(A), b" SIZE=3\r\n"),
        (("DSN",), job(A, parameters="RET=HDRS"), b" RET=HDRS\r\n"),
        ((), job(A, parameters="RET=HDRS ENVID=x"), b"MAIL FROM:<s@y.example>\r\n"),
    ],
)  # fmt: skip
def test_what_a_server_does_not_offer_is_dropped_only_where_it_is_safe(features, message, expected) -> None:
    made = client(*features)
    made.begin(message)
    if isinstance(expected, bytes):
        assert sent(made).endswith(expected)
        return
    for _ in range(8):
        if made.results is None:
            made.receive(b"354 go\r\n" if made.take() == [b"DATA\r\n"] else b"250 ok\r\n")
    assert [reply.name or None for reply in made.results] == expected


def test_recipient_parameters_go_only_to_a_server_with_dsn() -> None:
    recipient = Recipient("a@x.example", "NOTIFY=NEVER ORCPT=rfc822;q@r")
    for features, expected in ((("PIPELINING", "DSN"), b" NOTIFY=NEVER ORCPT=rfc822;q@r"), (("PIPELINING",), b"")):
        made = client(*features)
        made.begin(job(recipient))
        assert b"RCPT TO:<a@x.example>" + expected + b"\r\n" in sent(made)


@pytest.mark.parametrize("address", ["a@b\r\nDATA", "a@b>", "", "a", "a@b\0"])
def test_no_address_is_written_that_could_be_more_than_one(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        client(*ALL).begin(job(Recipient(address)))


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"554 5.7.1 go away\r\n", "next hop said: 554 go away"),
        (b"421 busy\r\n", "next hop said: 421 busy"),
        (b"HTTP/1.1 400 Bad Request\r\n", "next hop gave a reply that was not expected"),
        (b"220-a\r\n221 b\r\n", "next hop gave a reply that was not expected"),
        (b"220 hi\r\n550 no\r\n550 no\r\n", "next hop said: 550 no"),
        (b"220-" + b"x" * 70000, "next hop gave a reply that was not expected"),
        (b"220-x\r\n" * 2000, "next hop gave a reply that was not expected"),
    ],
)
def test_a_server_that_does_not_want_us_says_nothing_about_the_message(octets: bytes, text: str) -> None:
    made = Client("smtp", "gw.example")
    made.receive(octets)
    assert made.state is State.CLOSED
    assert (made.failure.code, made.failure.text) == (451, text)


def test_helo_where_ehlo_is_not_known() -> None:
    made = Client("smtp", "gw.example")
    made.receive(b"220 hi\r\n500 what\r\n250 ok\r\n")
    assert sent(made) == b"EHLO gw.example\r\nHELO gw.example\r\n"
    assert (made.state, made.features) == (State.READY, frozenset())


# --- STARTTLS ---------------------------------------------------------------------------------------------------------


def hearing(tls: str, *features: str) -> Client:
    """One that has said hello to a server that offers this."""
    made = Client("smtp", "gw.example", tls)
    lines = ["mx", *features]
    made.receive(b"220 hi\r\n" + "".join(f"250{' ' if x is lines[-1] else '-'}{x}\r\n" for x in lines).encode())
    return made


@pytest.mark.parametrize("tls", ["may", "verify"])
def test_what_was_offered_in_the_clear_counts_no_more_when_the_connection_is_secured(tls: str) -> None:
    made = hearing(tls, "SMTPUTF8", "STARTTLS")
    assert sent(made) == b"EHLO gw.example\r\nSTARTTLS\r\n"
    assert made.state is State.CONNECTED
    made.receive(b"220 go\r\n")
    assert made.tls_due
    made.secured()
    assert sent(made) == b"EHLO gw.example\r\n"
    made.receive(b"250-mx\r\n250-STARTTLS\r\n250 DSN\r\n")
    assert made.state is State.READY
    assert made.features == {"DSN", "STARTTLS"}
    assert sent(made) == b""


@pytest.mark.parametrize(
    ("tls", "features", "said", "state"),
    [
        ("no", ("STARTTLS",), b"", State.READY),
        ("may", (), b"", State.READY),
        ("may", ("STARTTLS",), b"454 4.7.0 not now\r\n", State.READY),
        ("verify", (), b"", State.CLOSED),
        ("verify", ("STARTTLS",), b"454 4.7.0 not now\r\n", State.CLOSED),
    ],
)
def test_without_tls_nothing_is_said_where_it_is_asked_for(
    tls: str, features: tuple[str, ...], said: bytes, state: State
) -> None:
    made = hearing(tls, *features)
    made.receive(said)
    assert made.state is state
    assert (made.failure is REPLIES["next_hop_tls"]) is (state is State.CLOSED)


def test_what_came_along_with_the_go_ahead_is_never_heard_as_secured() -> None:
    made = hearing("may", "STARTTLS")
    made.receive(b"220 go\r\n250 mx\r\n")
    assert made.state is State.CLOSED
    assert not made.tls_due


def test_words_out_of_turn_end_the_connection() -> None:
    made = client(*ALL)
    made.receive(b"250 surprise\r\n")
    assert made.state is State.CLOSED
