"""Who handed mail over: rules, the session, and the field of our own mail server."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import pytest

from domsec.mime.addresses import parse_address
from domsec.mime.fields import split_message
from domsec.policy.evidence import Client, Rights, Rule, collect, without_fields
from domsec.policy.kinds import Networks

ACME = frozenset({"acme.example"})
HOME = Networks((ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/32")), unix=True)
AWAY = Networks((ipaddress.ip_network("192.0.2.0/24"),))
FIELD = Rule("header", ACME, header="X-Login", token="t0ken")


def client(address: str | None = None, login: str | None = None, xforward: Mapping[str, str] | None = None) -> Client:
    return Client(address, login, xforward or {})


def allowed(rule: Rule, who: Client, head: bytes = b"", mailbox: str = "alice@acme.example") -> bool:
    found = collect([rule], who, split_message(head + b"\r\n")[0])
    return any(e.allows(parse_address(mailbox)) for e in found)


@pytest.mark.requirement("R3183-3.2-05")
@pytest.mark.parametrize(
    ("networks", "address", "xforward", "expected"),
    [
        (HOME, "192.0.2.7", {}, True),
        (HOME, "192.0.3.7", {}, False),
        (HOME, "2001:db8::1", {}, True),
        (HOME, "::ffff:192.0.2.7", {}, True),
        (HOME, None, {}, True),
        (AWAY, None, {}, False),
        (HOME, "not an address", {}, False),
        (HOME, "192.0.2.7", {"ADDR": "198.51.100.1"}, False),
        (HOME, "198.51.100.1", {"ADDR": "192.0.2.7"}, True),
        (HOME, "192.0.2.7", {"ADDR": "IPV6:2001:db8::9"}, True),
        (HOME, "192.0.2.7", {"ADDR": "[UNAVAILABLE]"}, False),
        (HOME, "192.0.2.7", {"ADDR": ""}, False),
        (HOME, "192.0.2.7", {"ADDR": "[UNAVAILABLE]", "SOURCE": "LOCAL"}, True),
        (AWAY, "192.0.2.7", {"ADDR": "[UNAVAILABLE]", "SOURCE": "LOCAL"}, False),
        (HOME, "192.0.2.7", {"SOURCE": "LOCAL"}, True),
        (HOME, None, {"SOURCE": "REMOTE"}, False),  # what the session leaves of ADDR=[UNAVAILABLE] SOURCE=REMOTE
    ],
)
def test_network(networks: Networks, address: str | None, xforward: Mapping[str, str], expected: bool) -> None:
    assert allowed(Rule("network", ACME, networks), client(address, xforward=xforward)) is expected


@pytest.mark.requirement("R3183-3.1.1-22")
@pytest.mark.parametrize(
    ("mailbox", "expected"),
    [
        ("alice@acme.example", True),
        ("anybody@ACME.example", True),
        ("x@sub.acme.example", True),
        ("x@notacme.example", False),
        ("x@example", False),
        ("x@acme.example.evil.test", False),
    ],
)
def test_a_network_speaks_for_its_domains(mailbox: str, expected: bool) -> None:
    assert allowed(Rule("network", ACME, HOME), client("192.0.2.7"), mailbox=mailbox) is expected


@pytest.mark.requirement("R3183-3.2-05")
@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"X-Login: t0ken alice@acme.example\r\n", True),
        (b"x-login:t0ken   alice@acme.example\r\n", True),
        (b"X-Other: y\r\nX-Login: t0ken alice@acme.example\r\nReceived: z\r\n", True),
        (b"Received: z\r\nX-Login: t0ken alice@acme.example\r\n", False),
        (b"X-Login: t0ken bob@acme.example\r\n", False),
        (b"X-Login: t0ken alice@other.example\r\n", False),
        (b"X-Login: T0KEN alice@acme.example\r\n", False),
        (b"X-Login: t0ke alice@acme.example\r\n", False),
        (b"X-Login: alice@acme.example t0ken\r\n", False),
        (b"X-Login: t0ken \r\n", False),
        (b"X-Login: \xff\xfe alice@acme.example\r\n", False),
        (b"X-Login: t0ken alice\xff@acme.example\r\n", False),
        (b"X-Login: t0ken alice@acme.example\r\nX-Login: t0ken alice@acme.example\r\n", True),
        (b"X-Login: t0ken alice@acme.example\r\nX-Login: t0ken bob@acme.example\r\n", False),
        (b"X-Login: t0ken bob@acme.example\r\nX-Login: wrong alice@acme.example\r\n", False),
    ],
)
def test_field(head: bytes, expected: bool) -> None:
    assert allowed(FIELD, client("198.51.100.1"), head) is expected


LOGINS = {
    "al": Rights(frozenset({"alice@acme.example", "alice@other.example"})),
    "lists": Rights(frozenset(), frozenset({"lists.acme.example", "other.example"})),
}


@pytest.mark.parametrize(
    ("login", "mailbox", "expected"),
    [
        ("al", "alice@acme.example", True),
        ("AL", "alice@acme.example", True),
        ("al", "bob@acme.example", False),
        ("al", "alice@other.example", False),  # the rule speaks for acme.example only
        ("lists", "news@lists.acme.example", True),
        ("lists", "news@acme.example", False),
        ("lists", "x@other.example", False),
        ("alice@acme.example", "alice@acme.example", False),  # where there is a table, only the table counts
        ("nobody", "alice@acme.example", False),
    ],
)
def test_logins(login: str, mailbox: str, expected: bool) -> None:
    assert allowed(Rule("xclient", ACME, logins=LOGINS), client(login=login), mailbox=mailbox) is expected
    head = f"X-Login: t0ken {login}\r\n".encode()
    by_field = Rule("header", ACME, header="X-Login", token="t0ken", logins=LOGINS)
    assert allowed(by_field, client(), head, mailbox) is expected


@pytest.mark.parametrize(
    ("login", "expected"),
    [("alice@acme.example", True), ("alice", False), ("bob@acme.example", False), ("", False), (None, False)],
)
def test_without_a_table_a_login_is_an_address(login: str | None, expected: bool) -> None:
    assert allowed(Rule("xclient", ACME), client(login=login)) is expected


def test_nothing_speaks_where_there_are_no_rules() -> None:
    assert collect([], client("192.0.2.7", "alice@acme.example"), split_message(b"\r\n")[0]) == ()


def test_the_fields_are_removed_wherever_they_stand() -> None:
    head = b"X-Login: a\r\nReceived: z\r\nx-LOGIN: b\r\nSubject: s\r\n\r\n"
    assert without_fields(split_message(head)[0], [FIELD]).raw == b"Received: z\r\nSubject: s\r\n"
    assert without_fields(split_message(head)[0], [Rule("network", ACME, HOME)]).raw == head[:-2]


def test_what_evidence_says_for_the_audit_trail() -> None:
    (found,) = collect([Rule("network", ACME, HOME)], client(None), split_message(b"\r\n")[0])
    assert (found.kind, found.detail) == ("network", "local")
    (found,) = collect([Rule("xclient", ACME)], client(login="l" * 1000), split_message(b"\r\n")[0])
    assert len(found.detail) == 200
