"""What goes on in shadow mode: the message as it came, without the secret that our own mail server put into it."""

from __future__ import annotations

import pytest

import world
from domsec.gateway.shadow import as_it_came
from domsec.policy.evidence import Rule

TOKEN = Rule("header", frozenset({"acme.example"}), header="X-Domsec-Auth", token="t0ken")
CERTIFICATE = Rule("certificate", frozenset({"acme.example"}), header="X-Machine", token="t0ken")
UPSTREAM = Rule("results", frozenset({"acme.example"}), authserv_id="mx.acme.example")
PLAIN = world.build("OC")


def passed(octets: bytes, *evidence: Rule, direction: str = "outbound") -> object:
    at = world.acme_site(evidence=evidence)
    return as_it_came(at, world.transaction(octets, direction=direction))


@pytest.mark.parametrize("octets", [PLAIN, b"", b"\r\n", b"no field\r\n\r\nx", b"A: b\r\n" * 5000 + b"\r\n"])
def test_what_has_no_secret_passes_as_the_same_octets(octets: bytes) -> None:
    assert passed(octets, TOKEN, CERTIFICATE, UPSTREAM) is octets
    assert passed(octets) is octets


@pytest.mark.parametrize("many", [b"", b"A: b\r\n" * 5000], ids=["few", "more-than-any-limit"])
def test_the_secret_does_not_leave(many: bytes) -> None:
    secret = b"X-Domsec-Auth: t0ken alice\r\nX-Machine: t0ken\r\n 5E:88\r\n"
    result = b"Authentication-Results: mx.acme.example; auth=pass smtp.auth=alice\r\n"
    octets = many + result + secret + b"Received: from x by y\r\nx-domsec-auth: again\r\n" + PLAIN
    made = bytes(passed(octets, TOKEN, CERTIFICATE, UPSTREAM))  # type: ignore[call-overload]
    assert made == many + result + b"Received: from x by y\r\n" + PLAIN


def test_of_mail_from_outside_nothing_is_taken() -> None:
    octets = b"X-Domsec-Auth: t0ken alice\r\n" + PLAIN
    assert passed(octets, TOKEN, direction="inbound") is octets
