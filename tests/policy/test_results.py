"""A verdict as Authentication-Results (RFC 7281): one `smime=` for each signed layer, none in words of the sender."""

from __future__ import annotations

from datetime import timedelta

import pytest

import names
import pki
import world
from domsec.mime.authentication_results import format_result
from domsec.policy.results import results
from domsec.services.context import Context
from domsec.trust import issue
from world import acme, build, judge


def outcomes(octets: bytes, at: Context | None = None) -> list[tuple[str, str | None]]:
    return [(r.result, r.part) for r in results(judge(octets, at))]


@pytest.mark.requirement("R7281-3.1-01", "R7281-3.2-01")
@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        ("OC", [("none", None)]),
        ("S0(OC)", [("none", None)]),
        ("X(OC)", [("none", None)]),
        ("S(OC)", [("pass", "1")]),
        ("S~(OC)", [("pass", "2")]),
        ("S[domain](S(OC))", [("pass", "1"), ("pass", "1/1")]),
        ("S[domain](S~(OC))", [("pass", "1"), ("pass", "1/2")]),
        ("S~(S(OC))", [("pass", "2"), ("pass", "1.1")]),
        ("E(S[domain](S0(OC)))", [("pass", "1/1")]),
        ("S[evil](OC)", [("policy", "1")]),
        ("S[bob](OC)", [("policy", "1")]),
        ("S[domain](S[evil](OC))", [("pass", "1"), ("policy", "1/1")]),
        ("S[domain](OC)", [("policy", "1")]),
    ],
)
def test_outcome(notation: str, expected: list[tuple[str, str | None]]) -> None:
    assert outcomes(build(notation)) == expected


@pytest.mark.requirement("R7281-3.1-01")
def test_outcomes_that_need_a_world() -> None:
    octets = build("S~(OC)")
    alice = acme().users["alice"].certificate
    crl = issue.issue_crl(acme().ca.certificate, acme().ca.signing_key, [alice.serial], now=world.NOW, days=9)
    for changed, at, expected in (
        (octets.replace(b"dawn", b"dusk"), None, "fail"),
        (octets, world.context(now=world.NOW + timedelta(days=400)), "fail"),
        (octets, world.context(crls=[crl]), "fail"),
        (octets, world.context(revocation="hard"), "temperror"),
        (octets, world.context(users=[]), "policy"),
        (world.other_from(octets, "bob@acme.example"), None, "policy"),
        (world.other_from(build("S[domain](S0(OC))"), "carol@beta.example"), None, "policy"),
        (build("S[domain](E(S[bob](OC)))"), None, "policy"),
    ):
        assert outcomes(changed, at)[0][0] == expected


@pytest.mark.requirement("R7281-3.1-01")
def test_only_the_layer_that_vouches_has_the_level() -> None:
    """A domain signature that was put on along the way is nobody's word on who sent the message."""
    domain = [world.typed(world.SignatureType.DOMAIN)]
    octets = world.message(world.signed(world.entity("S[domain](S0(OC))"), world.beta().signing, extra=domain))
    at = world.context(transit_domains=frozenset({"beta.example"}))
    transit, own = results(judge(octets, at))
    assert (transit.result, transit.reason, transit.level, transit.domain) == ("policy", "domain.transit", None, None)
    assert (own.result, own.level, own.domain) == ("pass", "domain", "acme.example")


def test_a_broken_structure_is_neutral() -> None:
    octets = world.message(b"Content-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\njunk\r\n")
    assert outcomes(octets) == [("neutral", None)]


@pytest.mark.requirement("R7281-3.2-01", "R8601-4-01")
def test_what_is_said_of_the_signer() -> None:
    first, second = results(judge(build("S[domain](S(OC))")))
    assert (first.identifier, first.level, first.domain) == (
        "domain-signing-authority@acme.example",
        "originator_direct",
        "acme.example",
    )
    assert (second.identifier, second.level, second.domain) == ("alice@acme.example", None, None)
    failed = results(judge(world.other_from(build("S[domain](S0(OC))"), "carol@beta.example")))
    assert [(r.level, r.domain) for r in failed] == [(None, None)]


@pytest.mark.requirement("R8601-4-01")
def test_a_signer_without_an_address_is_named_by_issuer_and_serial_number() -> None:
    certificate = names.certificate('cn=Eve"; smime=pass')
    eve = pki.Identity(certificate, names.key())
    (found,) = results(judge(world.message(world.signed(world.TEXT, eve)), world.context(users=[certificate])))
    assert (found.identifier, found.serial) == (None, 1)
    assert found.issuer == "CN=issuer"
    line = format_result("mx.example", (found,)).raw
    assert line.count(b"smime=") == 1


@pytest.mark.requirement("R8601-4-01")
@pytest.mark.parametrize("address", ['"x;\tsmime=pass"@acme.example', '"a\\"b"@acme.example', "a'b@acme.example"])
def test_no_word_of_a_stranger_becomes_syntax(address: str) -> None:
    certificate = names.certificate("cn=x", address)
    eve = pki.Identity(certificate, names.key())
    found = results(judge(world.message(world.signed(world.TEXT, eve))))
    line = format_result("mx.example", found).raw.decode()
    outside = "".join(line.split('"')[::2])
    assert outside.count("smime=") == 1
    assert "pass" not in outside
