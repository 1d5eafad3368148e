"""Addresses and the From field: RFC 5322 3.4, decisions A-20 and A-21, threats T-08."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import DomsecError, MalformedMessage
from domsec.mime import addresses
from domsec.mime.fields import Field, Header, split_message


def from_field(value: str | bytes) -> Header:
    octets = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    return Header((Field(b"From: " + octets + b"\r\n", "from"),))


@pytest.mark.requirement("R5322-3.6.2-01")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("alice@acme.example", ["alice@acme.example"]),
        ("<alice@acme.example>", ["alice@acme.example"]),
        ("Alice <alice@acme.example>", ["alice@acme.example"]),
        ("Alice B. Carol <alice@acme.example>", ["alice@acme.example"]),
        ('"Doe, John (x) <a@b>" <john@acme.example>', ["john@acme.example"]),
        ("(c (d)) alice@acme.example (Alice\\))", ["alice@acme.example"]),
        ("Alice (c) < (d) alice@acme.example (e) > (f)", ["alice@acme.example"]),
        ("Alice <Alice@ACME.Example>", ["Alice@acme.example"]),
        ("a@x.example, B <b@y.example>", ["a@x.example", "b@y.example"]),
        (",a@x.example,, b@y.example,", ["a@x.example", "b@y.example"]),
        ('"a b"@x.example', ['"a b"@x.example']),
        ('"a@b"@x.example', ['"a@b"@x.example']),  # the last at sign that is not quoted
        ('"alice"@x.example', ["alice@x.example"]),
        ('"a\\"b"@x.example', ['"a\\"b"@x.example']),
        ("=?utf-8?q?ceo=40bank.example?= <m@evil.example>", ["m@evil.example"]),
        ("用户 <用户@例子.example>", ["用户@xn--fsqu00a.example"]),
        ("alice@BÜCHER.example", ["alice@xn--bcher-kva.example"]),
        ("alice@xn--bcher-kva.example", ["alice@xn--bcher-kva.example"]),
        ("alice@[192.0.2.1]", ["alice@[192.0.2.1]"]),
        ("alice@[IPv6:2001:DB8:0::1]", ["alice@[ipv6:2001:db8::1]"]),
        ("root@localhost", ["root@localhost"]),
        ("o'brien+tag=x/y{z}@acme.example", ["o'brien+tag=x/y{z}@acme.example"]),
    ],
)
def test_from_that_is_understood(value, expected):
    info = addresses.parse_from(from_field(value))

    assert (info.valid, info.reason) == (True, "")
    assert [mailbox.address for mailbox in info.mailboxes] == expected


@pytest.mark.requirement("R5322-3.6.2-01")
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "no mailbox"),
        (" , ,", "no mailbox"),
        ("(only a comment)", "no mailbox"),
        ("Alice", "words without an address"),
        ("undisclosed: ceo@example.com, b@other.example;", "group"),
        ("undisclosed:;", "group"),
        ("<@relay.example:alice@acme.example>", "route"),
        ("alice@acme.example <mallory@evil.example>", "junk behind"),
        ("<alice@acme.example> mallory@evil.example", "junk behind"),
        ("<alice@acme.example><mallory@evil.example>", "junk behind"),
        ("alice@acme.example mallory@evil.example", "junk behind"),
        ("Doe, John <john@acme.example>", "not an address"),
        ("alice @acme.example", "blank, comment"),
        ("alice(c)@acme.example", "blank, comment"),
        ("alice@ acme.example", "domain"),
        ("alice@(c)acme.example", "domain"),
        ("alice@acme (c).example", "junk behind"),
        ("alice. smith@acme.example", "dot-atom"),
        ("<alice@acme.example", "angle brackets"),
        ("<>", "dot-atom"),
        ("@acme.example", "not an address"),
        ("a@b@acme.example", "junk behind"),
        (".alice@acme.example", "dot-atom"),
        ("alice.@acme.example", "dot-atom"),
        ("al..ice@acme.example", "dot-atom"),
        ('""@acme.example', "local part"),
        ('"alice@acme.example', "does not end"),
        ("alice@acme.example (open", "does not end"),
        ("alice@acme.example\x00", "control"),
        ("alice@acme.example\r", "control"),
        ("alice\r@acme.example", "control"),
        ("alice@acme..example", "label"),
        ("alice@acme.example.", "label"),
        ("alice@-acme.example", "label"),
        ("alice@ac_me.example", "label"),
        ("alice@192.0.2.1", "digits"),
        ("alice@[192.0.2.256]", "literal"),
        ("alice@[IPv6:fe80::1%eth0]", "literal"),
        ("alice@[x400:y]", "literal"),
        ("alice@[192.0.2.1", "literal"),
        ("alice@xn--a.example", "IDNA"),
        ("alice@a\u200bcme.example", "IDNA"),
        ("alice@ａcme.example", "IDNA"),  # full width
        ("al\u200bice@acme.example", "invisible"),
        ("al\u00a0ice@acme.example", "invisible"),
        (b"al\xffice@acme.example", "invisible"),
        ("=?utf-8?q?alice?=@acme.example", "encoded word"),
        ("a" * 65 + "@acme.example", "too long local"),
        ("a@" + "b." * 130 + "example", "too long domain"),
        ("a@" + "b" * 64 + ".example", "label"),
        (", ".join(f"a{number}@b.example" for number in range(101)), "too many"),
    ],
)
def test_from_that_is_not(value, reason):
    info = addresses.parse_from(from_field(value))

    assert not info.valid
    assert info.mailboxes == ()
    assert reason in info.reason


@pytest.mark.requirement("R5322-3.6.2-01")
@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"Subject: x\r\n\r\n", "no from field"),
        (b"From: a@b.example\r\nFROM : c@d.example\r\n\r\n", "2 from fields"),
        (b"From: a@b.example\r\nFrom: a@b.example\r\n\r\n", "2 from fields"),
    ],
)
def test_exactly_one_from_field(octets, reason):
    info = addresses.parse_from(split_message(octets)[0])

    assert (info.valid, info.reason) == (False, reason)


def test_a_folded_from_is_one_value():
    info = addresses.parse_from(split_message(b"From: Alice\r\n\t<alice@acme.example>,\r\n b@c.example\r\n\r\n")[0])

    assert [mailbox.address for mailbox in info.mailboxes] == ["alice@acme.example", "b@c.example"]


def test_the_display_name_is_no_evidence():
    (mailbox,) = addresses.parse_from(from_field(b'"ceo@bank.example" \xff <m@evil.example>')).mailboxes

    assert mailbox == addresses.Mailbox("m", "evil.example")
    assert mailbox.display == "ceo@bank.example \ufffd"


def test_sender_is_read_in_the_same_way():
    header, _ = split_message(b"From: a@b.example, c@d.example\r\nSender: c@d.example\r\n\r\n")

    assert addresses.parse_originators(header, "sender").mailboxes == (addresses.Mailbox("c", "d.example"),)


@pytest.mark.requirement("R5321-2.4-01")
def test_local_parts_are_kept_and_compared_without_ascii_case():
    one, other = addresses.parse_address("Alice@acme.example"), addresses.parse_address("aLICE@ACME.example")

    assert one.address == "Alice@acme.example"
    assert one != other
    assert one.same_as(other)
    assert not addresses.parse_address("É@a.example").same_as(addresses.parse_address("é@a.example"))
    assert not one.same_as(addresses.parse_address("alice@b.acme.example"))


@pytest.mark.parametrize(
    "text", ["", "a", "<a@b.example>", "a@b.example ", "(c)a@b.example", "A <a@b.example>", "a@", "@"]
)
def test_an_address_alone_has_nothing_around_it(text):
    with pytest.raises(MalformedMessage):
        addresses.parse_address(text)


@pytest.mark.parametrize(
    ("domain", "normal"),
    [
        ("ACME.Example", "acme.example"),
        ("STRASSE.example", "strasse.example"),
        ("straße.example", "xn--strae-oqa.example"),  # IDNA 2008 keeps it apart from strasse
        ("r3---sn-x.example", "r3---sn-x.example"),
        ("[IPv6:2001:db8::0.0.0.1]", "[ipv6:2001:db8::1]"),
    ],
)
def test_one_form_of_a_domain(domain, normal):
    assert addresses.normalise_domain(domain) == normal
    assert addresses.normalise_domain(normal) == normal


@pytest.mark.parametrize(
    "domain", ["", ".", "a.", ".a", "a..b", "a b", "a\x00", "a/b", "é\u0301.", "[", "[]", "[1.2.3.4"]
)
def test_domains_that_are_none(domain):
    with pytest.raises(MalformedMessage):
        addresses.normalise_domain(domain)


@given(st.text(alphabet='aé用 \t"\\<>()[]@,.:;=?-\x00\r\u200b\udcff1', max_size=60))
def test_nothing_but_our_errors_and_what_is_read_is_read_again(text):
    info = addresses.parse_from(from_field(text))
    for mailbox in info.mailboxes:
        assert addresses.parse_address(mailbox.address) == mailbox
    for parse in (addresses.parse_address, addresses.normalise_domain):
        try:
            parse(text)
        except DomsecError:
            pass
