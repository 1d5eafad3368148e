"""Who handed mail over: rules, the session, and the field of our own mail server."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import pytest

from domsec.mime.addresses import parse_address
from domsec.mime.fields import split_message
from domsec.policy.evidence import Client, Collected, Rights, Rule, collect, without_fields
from domsec.policy.kinds import Networks

ACME = frozenset({"acme.example"})
HOME = Networks((ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/32")), unix=True)
AWAY = Networks((ipaddress.ip_network("192.0.2.0/24"),))
FIELD = Rule("header", ACME, header="X-Login", token="t0ken")


def client(
    address: str | None = None, login: str | None = None, xforward: Mapping[str, str] | None = None, **more: str
) -> Client:
    return Client(address, login, xforward or {}, **more)


def allowed(rule: Rule, who: Client, head: bytes = b"", mailbox: str = "alice@acme.example") -> bool:
    wanted = parse_address(mailbox)
    found = collect([rule], who, split_message(head + b"\r\n")[0], [wanted])
    return any(e.allows(wanted) for e in found.evidence)


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
        (HOME, None, {"NAME": "pc.example"}, False),  # who forwards leaves nothing to be guessed
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


DIGEST = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
PRINTED = ":".join(DIGEST[i : i + 2] for i in range(0, 64, 2)).upper()
CERTIFICATES = {DIGEST: Rights(frozenset({"invoices@acme.example"}))}
SHOWN = Rule("certificate", ACME, header="X-Certificate", token="t0ken", logins=CERTIFICATES)


@pytest.mark.requirement("R3183-3.2-05")
@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(f"X-Certificate: t0ken {PRINTED}\r\n", True, id="as Postfix prints it"),
        pytest.param(f"X-Certificate: t0ken {DIGEST}\r\n", True, id="as others print it"),
        pytest.param(f"X-Certificate: wrong {PRINTED}\r\n", False, id="without our token"),
        pytest.param(f"Received: z\r\nX-Certificate: t0ken {PRINTED}\r\n", False, id="by the client"),
        pytest.param(f"X-Certificate: t0ken {'00' * 32}\r\n", False, id="another certificate"),
        pytest.param("", False, id="none"),
    ],
)
def test_certificate(head: str, expected: bool) -> None:
    assert allowed(SHOWN, client("192.0.2.7"), head.encode(), "invoices@acme.example") is expected
    assert not allowed(SHOWN, client("192.0.2.7"), head.encode(), "alice@acme.example")


TO_US = Rule("certificate", ACME, header="X-Certificate", logins=CERTIFICATES)


@pytest.mark.requirement("R3183-3.2-05")
@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (client("192.0.2.7", certificate=DIGEST), True),
        (client("192.0.2.7", certificate="00" * 32), False),
        (client("192.0.2.7"), False),
        (client("192.0.2.7", certificate=DIGEST, xforward={"ADDR": "192.0.2.9"}), False),
        (client("192.0.2.7", "bob", certificate=DIGEST), False),
    ],
    ids=["shown", "another one", "none", "forwards for somebody", "speaks for somebody"],
)
def test_a_certificate_shown_to_us_is_that_of_who_is_connected(who: Client, expected: bool) -> None:
    forged = f"X-Certificate:  {PRINTED}\r\n".encode()
    assert allowed(TO_US, who, forged, "invoices@acme.example") is expected


def test_without_a_token_no_field_is_read() -> None:
    """A rule without one would take an empty word for the token."""
    for rule in (Rule("header", ACME, header="X-Login"), Rule("certificate", ACME, header="X-Login", logins=LOGINS)):
        assert not allowed(rule, client(), b"X-Login:  alice@acme.example\r\n")


@pytest.mark.requirement("R3183-3.2-05")
@pytest.mark.parametrize(
    ("user", "mailbox", "expected"),
    [
        ("al", "alice@acme.example", True),
        ("al", "bob@acme.example", False),
        ("postfix", "alice@acme.example", False),  # who forwards for everybody stands in no table
        (None, "alice@acme.example", False),
    ],
)
def test_local_user(user: str | None, mailbox: str, expected: bool) -> None:
    who = client(**({"user": user} if user else {}))
    assert allowed(Rule("local", ACME, logins=LOGINS), who, mailbox=mailbox) is expected


UPSTREAM = Rule("results", ACME, AWAY, authserv_id="Mx.acme.example")
PASS = b"Authentication-Results: mx.acme.example; auth=pass (plain) smtp.auth=alice@acme.example\r\n"
RECEIVED = b"Received: from client\r\n"


@pytest.mark.requirement("R3183-3.2-05")
@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(PASS + RECEIVED, True, id="of the upstream server"),
        pytest.param(PASS.replace(b"mx.", b"MX."), True, id="without case"),
        pytest.param(PASS.replace(b"; auth", b" 1; spf=fail smtp.mailfrom=x; auth"), True, id="beside other methods"),
        pytest.param(PASS.replace(b"alice@", b'"alice"@'), True, id="the same address in quotes"),
        pytest.param(PASS.replace(b"alice@", b'"alice@acme.example"@'), False, id="an address within a local part"),
        pytest.param(RECEIVED + PASS, False, id="below Received anybody may have written it"),
        pytest.param(PASS + PASS + RECEIVED, False, id="twice"),
        pytest.param(PASS + PASS.replace(b"alice", b"bob") + RECEIVED, False, id="two that differ"),
        pytest.param(PASS.replace(b"mx.acme", b"mx.evil"), False, id="of another server"),
        pytest.param(PASS.replace(b"=pass", b"=fail"), False, id="failed"),
        pytest.param(PASS.replace(b"auth=pass", b"dkim=pass"), False, id="another method"),
        pytest.param(PASS.replace(b"smtp.auth", b"smtp.mailfrom"), False, id="an address that nobody checked"),
        pytest.param(PASS.replace(b"smtp.auth=", b"smtp.auth=bob@acme.example smtp.auth="), False, id="two logins"),
        pytest.param(PASS.replace(b"; auth", b"; auth=pass smtp.auth=bob@acme.example; auth"), False, id="two results"),
        pytest.param(PASS.replace(b"; auth", b"; (auth"), False, id="in a comment"),
        pytest.param(PASS.replace(b" (plain)", b' reason="auth=pass smtp.auth=bob@acme.example"'), True, id="reason"),
        pytest.param(b"", False, id="none"),
    ],
)
def test_results(head: bytes, expected: bool) -> None:
    """RFC 8601 2.7.4, believed of one server on a link that is known by its address."""
    assert allowed(UPSTREAM, client("192.0.2.7"), head) is expected
    assert not allowed(UPSTREAM, client("198.51.100.1"), head)
    assert not allowed(UPSTREAM, client(None), head)
    forwarded = client("198.51.100.1", xforward={"ADDR": "192.0.2.7"})
    assert not allowed(UPSTREAM, forwarded, head)  # who speaks to us is asked, not whom they name


SIGNED = b"Authentication-Results: mx.acme.example; dkim=pass header.d=acme.example header.s=cloud header.b=AbC\r\n"
KEYS = Rule("dkim", ACME, AWAY, authserv_id="mx.acme.example", selectors=frozenset({"cloud", "cloud2"}))


@pytest.mark.requirement("R3183-3.2-05")
@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(SIGNED + RECEIVED, True, id="by a key that counts"),
        pytest.param(SIGNED.replace(b"=acme", b"=ACME").replace(b"=cloud", b"=CLOUD2"), True, id="without case"),
        pytest.param(SIGNED.replace(b"; dkim", b"; spf=fail smtp.mailfrom=x; dkim"), True, id="beside other methods"),
        pytest.param(SIGNED.replace(b"=cloud", b"=newsletter"), False, id="by a key of somebody else"),
        pytest.param(SIGNED.replace(b" header.s=cloud", b""), False, id="by a key that is not named"),
        pytest.param(SIGNED.replace(b"d=acme", b"d=evil"), False, id="of another domain"),
        pytest.param(SIGNED.replace(b"d=acme", b"d=mail.acme"), False, id="of a domain below"),
        pytest.param(SIGNED.replace(b"d=acme.example", b"d=example"), False, id="of a domain above"),
        pytest.param(SIGNED.replace(b"=pass", b"=fail"), False, id="failed"),
        pytest.param(SIGNED.replace(b"dkim=", b"dmarc="), False, id="another method"),
        pytest.param(SIGNED.replace(b"header.d", b"header.d=evil.example header.d"), False, id="two domains"),
        pytest.param(SIGNED + SIGNED + RECEIVED, False, id="twice"),
        pytest.param(RECEIVED + SIGNED, False, id="below Received anybody may have written it"),
        pytest.param(SIGNED.replace(b"mx.acme", b"mx.evil"), False, id="of another server"),
    ],
)  # fmt: skip
def test_dkim(head: bytes, expected: bool) -> None:
    """RFC 8601 2.7.1: our provider signed, which knows its users, and nobody else has that key."""
    assert allowed(KEYS, client("192.0.2.7"), head) is expected
    assert not allowed(KEYS, client("198.51.100.1"), head)


def test_dkim_speaks_for_the_domain_that_signed_and_no_other() -> None:
    signed = SIGNED.replace(b"d=acme", b"d=sales.acme")
    assert allowed(KEYS, client("192.0.2.7"), signed, mailbox="bob@sales.acme.example")
    assert not allowed(KEYS, client("192.0.2.7"), signed)


def test_results_with_a_table_of_logins() -> None:
    rule = Rule("results", ACME, AWAY, authserv_id="mx.acme.example", logins=LOGINS)
    head = PASS.replace(b"alice@acme.example", b"al")
    assert allowed(rule, client("192.0.2.7"), head)
    assert not allowed(rule, client("192.0.2.7"), PASS)


OWNERS = {
    "alice@acme.example": frozenset({"al", "sec"}),
    "@acme.example": frozenset({"postmaster"}),
    "@other.example": frozenset({"al"}),
}


@pytest.mark.requirement("R3183-3.2-05")
@pytest.mark.parametrize(
    ("login", "mailbox", "expected"),
    [
        ("al", "alice@acme.example", True),
        ("SEC", "Alice@ACME.example", True),
        ("al", "bob@acme.example", False),
        ("postmaster", "bob@acme.example", True),
        ("postmaster", "alice@acme.example", False),  # she has a line of her own
        ("postmaster", "x@sub.acme.example", False),  # to Postfix @domain is this domain only
        ("al", "x@other.example", False),  # the rule speaks for acme.example only
        ("alice@acme.example", "alice@acme.example", False),  # where there is a table, only the table counts
        ("nobody", "alice@acme.example", False),
    ],
)
def test_owners(login: str, mailbox: str, expected: bool) -> None:
    """smtpd_sender_login_maps, with the order in which Postfix asks it (postconf(5))."""
    assert allowed(Rule("xclient", ACME, owners=OWNERS), client(login=login), mailbox=mailbox) is expected


@pytest.mark.parametrize(
    ("rule", "who", "head", "why"),
    [
        (Rule("network", ACME, AWAY), client("198.51.100.1"), b"", "network: 198.51.100.1 is in none of its networks"),
        (Rule("network", ACME, AWAY), client(), b"", "network: our own machine is in none of its networks"),
        (Rule("network", ACME, AWAY), client(xforward={"NAME": "x"}), b"",
         "network: a trusted client does not say where the message came from"),
        (Rule("xclient", ACME), client(), b"", "xclient: no trusted client told a login"),
        (Rule("local", ACME), client("192.0.2.7"), b"", "local: the client did not come by a Unix socket"),
        (FIELD, client(), b"", "header: no X-Login field with our token above Received"),
        (FIELD, client(), b"X-Login: t0ken a\r\nX-Login: t0ken b\r\n",
         "header: several X-Login fields with our token that differ"),
        (SHOWN, client(), b"X-Certificate: t0ken\r\n",
         "certificate: no X-Certificate field with our token above Received"),
        (UPSTREAM, client("198.51.100.1"), PASS, "results: 198.51.100.1 is not the upstream server"),
        (UPSTREAM, client("192.0.2.7"), RECEIVED + PASS,
         "results: 0 results of Mx.acme.example above Received, expected one"),
        (UPSTREAM, client("192.0.2.7"), PASS.replace(b"=pass", b"pass"),
         "results: the results of Mx.acme.example cannot be read: = is missing"),
        (UPSTREAM, client("192.0.2.7"), PASS.replace(b"=pass", b"=fail"),
         "results: Mx.acme.example does not say auth=pass of one login"),
    ],
)  # fmt: skip
def test_a_rule_that_gives_nothing_says_why(rule: Rule, who: Client, head: bytes, why: str) -> None:
    found = collect([rule], who, split_message(head + b"\r\n")[0])
    assert (found.evidence, found.missing) == ((), (f"evidence[0] {why}",))


def test_what_a_client_wrote_breaks_no_log_line() -> None:
    found = collect([Rule("network", ACME, AWAY)], client(xforward={"ADDR": "x\n\x1b[2J"}), split_message(b"\r\n")[0])
    assert found.missing[0].isprintable()


def test_nothing_speaks_where_there_are_no_rules() -> None:
    assert collect([], client("192.0.2.7", "alice@acme.example"), split_message(b"\r\n")[0]) == Collected()


def test_the_fields_are_removed_wherever_they_stand() -> None:
    head = b"X-Login: a\r\nReceived: z\r\nx-LOGIN: b\r\nSubject: s\r\n\r\n"
    assert without_fields(split_message(head)[0], [FIELD]).raw == b"Received: z\r\nSubject: s\r\n"
    assert without_fields(split_message(head)[0], [Rule("network", ACME, HOME)]).raw == head[:-2]
    shown = b"X-Certificate: t0ken a\r\nSubject: s\r\n\r\n"
    assert without_fields(split_message(shown)[0], [SHOWN]).raw == b"Subject: s\r\n"
    results = PASS + b"Authentication-Results: other.example; spf=pass\r\nSubject: s\r\n\r\n"
    left = without_fields(split_message(results)[0], [UPSTREAM]).raw
    assert left == b"Authentication-Results: other.example; spf=pass\r\nSubject: s\r\n"


@pytest.mark.parametrize(
    ("rule", "who", "head", "kind", "detail"),
    [
        (Rule("network", ACME, HOME), client(), b"", "network", "local"),
        (Rule("xclient", ACME), client(login="l" * 1000), b"", "login", "l" * 200),
        (Rule("local", ACME, logins=LOGINS), client(user="al"), b"", "local", "al"),
        (SHOWN, client(), f"X-Certificate: t0ken {PRINTED}\r\n".encode(), "certificate", DIGEST),
        (UPSTREAM, client("192.0.2.7"), PASS, "login", "alice@acme.example"),
    ],
)
def test_what_evidence_says_for_the_audit_trail(rule: Rule, who: Client, head: bytes, kind: str, detail: str) -> None:
    (found,) = collect([rule], who, split_message(head + b"\r\n")[0]).evidence
    assert (found.kind, found.detail) == (kind, detail)
