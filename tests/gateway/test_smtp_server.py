"""domsec.gateway.smtp_server: dialogues, without I/O."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from domsec.gateway.replies import REPLIES, Reply
from domsec.gateway.smtp_server import COMMAND_LIMIT, Arrived, Budget, Profile, Server, State
from domsec.pipeline import Recipient

LMTP = Profile("lmtp", "inbound", "gw.example", size=1000, recipients=3)
SMTP = Profile("smtp", "outbound", "gw.example", size=1000, recipients=3)
OK = REPLIES["ok"]


def greeted(profile: Profile = LMTP, **kwargs) -> Server:
    server = Server(profile, **kwargs)
    server.receive(b"LHLO me\r\n" if profile.protocol == "lmtp" else b"EHLO me\r\n")
    server.take()
    return server


def say(server: Server, *lines: str) -> list[str]:
    """The replies, without their texts, to commands sent one at a time."""
    out = []
    for line in lines:
        assert server.receive(line.encode() + b"\r\n") is None
        out += [reply.decode()[:9].rstrip() for reply in server.take().splitlines() if reply[3:4] == b" "]
    return out


DIALOGUE = (
    b"LHLO me\r\n"
    b"MAIL FROM:<a@b.example> SIZE=10\r\nRCPT TO:<c@d.example> NOTIFY=NEVER\r\nRCPT TO:<e@f.example>\r\nDATA\r\n"
    b"..dot\r\n.\r\n"
    b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<g@h.example>\r\nDATA\r\n"
    b".\r\n"
    b"QUIT\r\n"
)


def run(chunks: list[bytes]) -> tuple[list[Arrived], bytes]:
    server, arrived, out = Server(LMTP), [], b""
    for chunk in chunks:
        event = server.receive(chunk)
        while event:
            arrived.append(event)
            event = server.answer([OK] * len(event.recipients))
        out += server.take()
    assert server.closed
    return arrived, out


def groups(octets: bytes) -> list[bytes]:
    """The dialogue as a client sends it: it waits after LHLO and DATA."""
    parts = []
    for end in (b"LHLO me\r\n", b"DATA\r\n", b"\r\n.\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<g@h.example>\r\nDATA\r\n"):
        head, _, octets = octets.partition(end)
        parts.append(head + end)
    return [*parts, octets]


def test_a_dialogue_is_the_same_wherever_the_reads_are_cut() -> None:
    whole = run(groups(DIALOGUE))
    messages, out = whole
    assert [(each.sender, each.octets) for each in messages] == [("a@b.example", b".dot\r\n"), ("", b"")]
    assert messages[0].sender_parameters == "SIZE=10"
    assert messages[0].recipients == (Recipient("c@d.example", "NOTIFY=NEVER"), Recipient("e@f.example"))
    codes = [line[:3] for line in out.splitlines() if line[3:4] == b" "]
    assert codes == b"220 250 250 250 250 354 250 250 250 250 250 354 250 221".split()
    assert run([DIALOGUE[at : at + 1] for at in range(len(DIALOGUE))]) == whole
    for part, group in enumerate(groups(DIALOGUE)):
        for cut in range(len(group)):
            parts = groups(DIALOGUE)
            parts[part : part + 1] = [group[:cut], group[cut:]]
            assert run(parts) == whole


def test_what_is_announced() -> None:
    server = Server(SMTP)
    server.receive(b"EHLO me\r\n")
    words = server.take().decode().split("\r\n")[1:-1]
    assert [word[4:] for word in words] == [
        "gw.example", "PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES",
    ]  # fmt: skip
    trusted = Server(LMTP, trusted=True)
    trusted.receive(b"LHLO me\r\n")
    assert b"XFORWARD NAME ADDR" in trusted.take()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("NOOP x", "250 2.0.0"), ("RSET", "250 2.0.0"), ("RSET x", "501 5.5.4"), ("VRFY a", "252 2.5.0"),
        ("EXPN a", "502 5.5.1"), ("STARTTLS", "502 5.5.1"), ("AUTH PLAIN x", "502 5.5.1"), ("FOO", "500 5.5.1"),
        ("", "500 5.5.1"), ("EHLO me", "500 5.5.1"), ("HELO me", "500 5.5.1"), ("LHLO", "501 5.5.4"),
        ("RCPT TO:<a@b>", "503 5.5.1"), ("DATA", "503 5.5.1"), ("DATA x", "501 5.5.4"),
        ("MAIL TO:<a@b>", "501 5.5.4"), ("MAIL FROM:a@b", "553 5.1.7"), ("MAIL FROM:<a>", "553 5.1.7"),
        ("MAIL FROM:<postmaster>", "553 5.1.7"), ("MAIL FROM:<a@b> FOO=1", "555 5.5.4"),
        ("MAIL FROM:<a@b> SIZE=1001", "552 5.3.4"), ("mail from:<a@b> size=1000", "250 2.1.0"),
        ("MAIL FROM:<ä@b>", "553 5.6.7"), ("MAIL FROM:<ä@b> SMTPUTF8", "250 2.1.0"), ("MAIL FROM:<>", "250 2.1.0"),
        ("MAIL FROM:<a@b>\tSIZE=1", "500 5.5.2"), ("MAIL FROM:<a\0@b>", "500 5.5.2"), ("NOOP \x1b", "500 5.5.2"),
        ("MAIL FROM:<a\u2028@b> SMTPUTF8", "500 5.5.2"), ("XFORWARD NAME=x", "550 5.7.0"),
        ("XCLIENT LOGIN=root", "550 5.7.0"),
    ],
)  # fmt: skip
def test_a_command_gets_its_reply(line: str, reply: str) -> None:
    assert say(greeted(), line) == [reply]


@pytest.mark.parametrize(
    ("lines", "replies"),
    [
        (["MAIL FROM:<a@b>", "MAIL FROM:<a@b>"], ["250 2.1.0", "503 5.5.1"]),
        (["MAIL FROM:<a@b>", "DATA"], ["250 2.1.0", "503 5.5.1"]),
        (["MAIL FROM:<a@b>", "RCPT TO:<>"], ["250 2.1.0", "553 5.1.3"]),
        (["MAIL FROM:<a@b>", "RCPT TO:<postmaster>"], ["250 2.1.0", "250 2.1.5"]),
        (["MAIL FROM:<a@b>", "RCPT TO:<c@d> SIZE=1"], ["250 2.1.0", "555 5.5.4"]),
        (["MAIL FROM:<a@b>", "RCPT TO:<ä@d>"], ["250 2.1.0", "553 5.6.7"]),
        (["MAIL FROM:<a@b>", *["RCPT TO:<c@d>"] * 4], ["250 2.1.0", *["250 2.1.5"] * 3, "452 4.5.3"]),
        (["MAIL FROM:<a@b>", "RSET", "MAIL FROM:<a@b>"], ["250 2.1.0", "250 2.0.0", "250 2.1.0"]),
    ],
)
def test_commands_in_a_row(lines: list[str], replies: list[str]) -> None:
    assert say(greeted(), *lines) == replies


def test_nothing_goes_without_a_hello() -> None:
    server = Server(LMTP)
    server.take()
    assert say(server, "MAIL FROM:<a@b>", "RSET", "MAIL FROM:<a@b>") == ["503 5.5.1", "250 2.0.0", "503 5.5.1"]


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"LHLO me\r\nMAIL FROM:<a@b>\r\n", b"554 5.5.0"),
        (b"NOOP\r\nNOOP\r\n", b"554 5.5.0"),  # nobody has said yet that pipelining is offered
        (b"NOOP\n", b"500 5.5.2"),
        (b"NOOP\rNOOP\n", b"500 5.5.2"),
        (b"x" * (COMMAND_LIMIT + 1), b"500 5.5.2"),
        (b"x" * COMMAND_LIMIT + b"\r\n", b"500 5.5.2"),
    ],
)
def test_who_does_not_keep_to_lines_and_groups_is_cut_off(octets: bytes, code: bytes) -> None:
    server = Server(LMTP)
    server.take()
    assert server.receive(octets) is None
    assert server.closed
    assert server.take().startswith(code)
    assert server.receive(b"LHLO me\r\n") is None
    assert server.take() == b""


def test_content_sent_before_the_go_ahead_is_refused() -> None:
    server = greeted()
    assert server.receive(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n") is None
    assert server.closed
    assert server.take().endswith(b"[pipelining]\r\n")


def test_a_bdat_ends_the_connection_since_its_octets_would_be_commands() -> None:
    server = greeted()
    server.receive(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 20 LAST\r\nMAIL FROM:<evil@b>\r\n")
    assert server.closed
    assert server.take().splitlines()[-1].startswith(b"502 5.5.1")


def test_a_client_that_only_makes_errors_is_cut_off() -> None:
    server = greeted()
    assert say(server, *["FOO"] * 20) == ["500 5.5.1"] * 20 + ["421 4.7.0"]
    assert server.closed


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a\nb\r\n", b"550 5.6.0"),
        (b"a\rb\r\n", b"550 5.6.0"),
        (b"\0\r\n", b"550 5.6.0"),
        (b"x" * 999 + b"\r\n", b"552 5.3.4"),
    ],
)
@pytest.mark.parametrize(("profile", "count"), [(LMTP, 2), (SMTP, 1)])
def test_content_that_is_refused_leaves_a_usable_connection(
    profile: Profile, count: int, content: bytes, code: bytes
) -> None:
    server = greeted(profile)
    say(server, "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>", "DATA")
    assert server.receive(content + b".\r\n") is None
    replies = server.take().splitlines()
    assert [reply[:9] for reply in replies] == [code] * count
    assert say(server, "MAIL FROM:<a@b>") == ["250 2.1.0"]


def test_a_message_without_end_is_cut_off_in_the_end() -> None:
    server = greeted()
    say(server, "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
    for _ in range(11):
        server.receive(b"x" * 1000)
    assert server.closed
    assert server.take().startswith(b"552 5.3.4")
    (refused,) = server.turned_away()
    assert (refused.sender, refused.recipients, refused.size) == ("a@b", (Recipient("c@d"),), 11000)
    assert server.turned_away() == []


@pytest.mark.shared
def test_smuggled_commands_are_one_refused_message(shared: Path) -> None:
    files = sorted((shared / "corpora" / "smtp-smuggling").glob("*.bin"))
    assert len(files) == 8
    for file in files:
        server = greeted(SMTP)
        say(server, "MAIL FROM:<alice@outside.example>", "RCPT TO:<bob@inside.example>", "DATA")
        assert server.receive(file.read_bytes()) is None, file.name
        replies = server.take().splitlines()
        assert [reply[:9] for reply in replies] == [b"550 5.6.0"], file.name


# --- STARTTLS ---------------------------------------------------------------------------------------------------------


def test_a_client_that_is_secured_begins_again_and_is_not_asked_twice() -> None:
    server = greeted(replace(SMTP, tls="offered"))
    assert say(server, "MAIL FROM:<a@b.example>", "RSET", "STARTTLS x", "STARTTLS") == [
        "250 2.1.0", "250 2.0.0", "501 5.5.4", "220 2.0.0",
    ]  # fmt: skip
    assert server.tls_due
    assert not server.idle
    server.secured()
    assert say(server, "MAIL FROM:<a@b.example>") == ["503 5.5.1"]
    server.receive(b"EHLO me\r\n")
    assert b"STARTTLS" not in server.take()
    assert say(server, "STARTTLS", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA")[0] == "502 5.5.1"
    arrived = server.receive(b"x\r\n.\r\n")
    assert arrived is not None
    assert arrived.session.tls


@pytest.mark.parametrize("behind", [b"MAIL FROM:<evil@b.example>\r\n", b"x", b"\x16\x03\x01"])
def test_what_came_along_with_starttls_is_never_heard_as_secured(behind: bytes) -> None:
    """CVE-2011-0411: whoever is between puts commands there, in the name of the client that then is secured."""
    server = greeted(replace(SMTP, tls="offered"))
    server.receive(b"STARTTLS\r\n" + behind)
    assert server.closed
    assert not server.tls_due
    server = greeted(replace(SMTP, tls="offered"))
    server.receive(b"STARTTLS\r\n")
    server.take()
    server.receive(behind)
    assert server.take() == b""


def test_where_tls_is_asked_for_there_is_no_mail_without_it() -> None:
    server = greeted(replace(SMTP, tls="required"))
    assert say(server, "MAIL FROM:<a@b.example>", "NOOP", "STARTTLS") == ["530 5.7.0", "250 2.0.0", "220 2.0.0"]
    server.secured()
    assert say(server, "EHLO me", "MAIL FROM:<a@b.example>")[1:] == ["250 2.1.0"]


def test_where_there_is_no_certificate_it_is_not_offered() -> None:
    server = greeted(SMTP)
    assert say(server, "STARTTLS") == ["502 5.5.1"]


def test_each_recipient_has_a_reply_in_lmtp_and_all_have_one_in_smtp() -> None:
    for profile, replies in ((LMTP, [OK, Reply(550, "5.1.1", "no")]), (SMTP, [OK])):
        server = greeted(profile)
        say(server, "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>", "DATA")
        assert server.receive(b"x\r\n.\r\n") is not None
        assert server.state is State.BUSY
        server.answer(replies)
        assert server.take() == b"".join(reply.encode() for reply in replies)
        assert server.idle


def test_what_is_pipelined_behind_a_message_waits_for_its_reply() -> None:
    server = greeted()
    say(server, "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
    assert server.receive(b"x\r\n.\r\nMAIL FROM:<e@f>\r\nRCPT TO:<g@h>\r\n") is not None
    assert server.receive(b"DATA\r\n") is None
    assert (server.take(), server.backlog > 0) == (b"", True)
    assert server.answer([OK]) is None
    assert [line[:3] for line in server.take().splitlines()] == [b"250", b"250", b"250", b"354"]


def test_xforward_of_a_trusted_client_holds_for_one_transaction() -> None:
    server = greeted(trusted=True)
    assert say(server, "XFORWARD NAME=mx.example ADDR=192.0.2.7", "XFORWARD IDENT=4C3F HELO=[UNAVAILABLE]",
               "XFORWARD LOGIN=x", "MAIL FROM:<a@b>", "XFORWARD IDENT=1", "RCPT TO:<c@d>", "DATA") == [
        "250 2.0.0", "250 2.0.0", "501 5.5.4", "250 2.1.0", "503 5.5.1", "250 2.1.5", "354 end w"]  # fmt: skip
    arrived = server.receive(b".\r\n")
    assert arrived is not None
    assert arrived.session.xforward == {"NAME": "mx.example", "ADDR": "192.0.2.7", "IDENT": "4C3F"}
    server.answer([OK])
    server.take()
    say(server, "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
    arrived = server.receive(b".\r\n")
    assert arrived is not None
    assert arrived.session.xforward == {}


def test_xclient_of_a_trusted_client_says_who_is_behind_it_and_begins_again() -> None:
    server = greeted(SMTP, trusted=True, client_address="127.0.0.1")
    assert say(server, "XCLIENT ADDR=IPV6:2001:db8::9 LOGIN=alice HELO=pc.example", "MAIL FROM:<a@b>") == [
        "220 gw.ex", "503 5.5.1"]  # fmt: skip
    server.receive(b"EHLO proxy\r\n")
    server.take()
    say(server, "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
    arrived = server.receive(b".\r\n")
    assert arrived is not None
    session = arrived.session
    assert (session.client_address, session.auth, session.helo) == ("2001:db8::9", "alice", "pc.example")


def test_the_budget_bounds_what_is_in_flight_and_is_given_back() -> None:
    budget = Budget(1500)
    one, two, three = (greeted(budget=budget) for _ in range(3))
    assert say(one, "MAIL FROM:<a@b> SIZE=900") == ["250 2.1.0"]
    assert say(two, "MAIL FROM:<a@b> SIZE=900") == ["452 4.3.1"]
    assert say(two, "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")[-1].startswith("354")
    assert two.receive(b"x" * 700 + b"\r\n.\r\n") is None  # it said nothing of its size, and there is no room now
    assert two.take().startswith(b"452 4.3.1")
    one.lost()
    assert budget.used == 0
    say(three, "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
    assert three.receive(b"x" * 700 + b"\r\n.\r\n") is not None
    assert budget.used >= 700
    three.answer([OK])
    assert budget.used == 0
