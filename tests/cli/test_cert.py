"""`domsec cert`: lint, show."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

import pki
from commands import Desk, public, run
from domsec.trust.issue import PrivateKey

WORLD = pki.world()
ROLES = ("signing", "confidentiality", "review", "attributes", "list", "user")


# --- lint ------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-6-01")
def test_lint_finds_reserved_names_in_what_others_issued(desk: Desk) -> None:
    named = pki.identity("user", "domain-signing-authority@acme.example", WORLD.acme.ca, name="Alice")
    ran = run("cert", "lint", "--role", "user", desk.add("reserved", named))
    assert ran.code == 1
    assert "it is named like a domain-signing-authority" in ran.text


@pytest.mark.requirement("R3183-3.1.1-04", "R3183-3.1.1-06", "R3183-4.1-02")
@pytest.mark.parametrize(
    ("who", "serves"),
    [
        ("acme-signing", {"signing"}),
        ("acme-confidentiality", {"confidentiality"}),
        ("acme-review", {"review"}),
        ("acme-alice", {"list", "user"}),
        ("acme-ca", set()),
    ],
)
def test_lint_says_for_each_role_whether_a_certificate_can_serve(desk: Desk, who: str, serves: set[str]) -> None:
    at = ("--at", pki.NOW.isoformat())
    ran = run("cert", "lint", "--json", *at, desk.certificate(who))
    assert {role for role, found in ran.json["roles"].items() if found["serves"]} == serves
    assert ran.code == (0 if serves else 1)
    assert all(bool(found["problems"]) != found["serves"] for found in ran.json["roles"].values())
    for role in ROLES:
        assert run("cert", "lint", "--role", role, *at, desk.certificate(who)).code == (0 if role in serves else 1)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--domain", "beta.example"], "the rfc822 name of the authority does not cover beta.example"),
        (["--at", "2030-01-01T00:00:00Z"], "it expired on 2027-"),
        (["--at", "2020-01-01T00:00:00Z"], "it is not valid before 2026-"),
        (["--naming", "mailbox"], "the common name is not the only mailbox of the certificate"),
    ],
)
def test_lint_gives_every_reason(desk: Desk, arguments: list[str], problem: str) -> None:
    given = arguments if "--at" in arguments else ["--at", pki.NOW.isoformat(), *arguments]
    ran = run("cert", "lint", "--role", "signing", *given, desk.certificate("acme-signing"))
    assert ran.code == 1
    assert problem in ran.text


def test_lint_reads_pkcs12_and_key_files(desk: Desk, tmp_path: Path) -> None:
    identity = WORLD.acme.signing
    key: PrivateKey = identity.key
    octets = pkcs12.serialize_key_and_certificates(
        b"x",
        key,  # type: ignore[arg-type]
        identity.certificate.x509,
        None,
        BestAvailableEncryption(b"word"),
    )
    (tmp_path / "dsa.p12").write_bytes(octets)
    at = ("--at", pki.NOW.isoformat())
    assert run("cert", "lint", *at, "dsa.p12", DOMSEC_PASSWORD="word").code == 0
    assert run("cert", "lint", *at, "dsa.p12").code == 2
    assert run("cert", "lint", *at, desk.key("acme-signing")).code == 0


@pytest.mark.shared
@pytest.mark.requirement("R3183-3.1.1-05", "R3183-4.1-01")
def test_the_one_authority_found_in_the_wild_cannot_serve(shared: Path) -> None:
    """PrivaSphere's certificate of 2017, from Bouncy Castle's tests: no CN, and a key usage that allows no key."""
    file = shared / "corpora" / "bouncycastle" / "wild" / "dca-family-net.ch.crt.pem"
    ran = run("cert", "lint", "--json", "--at", "2017-12-01T00:00:00Z", file)
    assert ran.code == 1
    problems = ran.json["roles"]["confidentiality"]["problems"]
    assert "no common name, expected domain-confidentiality-authority" in problems
    assert "key usage has no keyEncipherment" in problems
    assert "the address domain-confidentiality-authority@bekb.ch  has no domain that can be used" in problems
    assert ran.json["roles"]["signing"]["serves"] is ran.json["roles"]["list"]["serves"] is False
    assert [text.split(";")[0] for text in ran.json["remarks"]] == [
        "it is valid for 7305 days",
        "domain-confidentiality-authority@bekb.ch  stands in the subject only",
        "domain-confidentiality-authority@family-net.ch stands in the subject only",
        "it has 2 addresses, and is taken for each: domain-confidentiality-authority@bekb.ch ,"
        " domain-confidentiality-authority@family-net.ch",
        "there are blanks around domain-confidentiality-authority@bekb.ch",
        "its serial number is short",
        "it names no place for revocation lists and no OCSP responder: those who require to know have to be told",
    ]


# --- show ------------------------------------------------------------------------------------------------------------


def test_show_tells_what_is_in_a_certificate(desk: Desk) -> None:
    ran = run("cert", "show", desk.certificate("acme-alice"))
    assert ran.text.splitlines()[0] == "subject: CN=Alice"
    assert "  addresses: alice@acme.example" in ran.text.splitlines()
    listed = json.loads(run("cert", "show", "--json", desk.key("acme-signing")).out)
    assert [entry["claims"] for entry in listed] == ["domain-signing-authority"]
    assert run("cert", "show", __file__).code == 2


@pytest.mark.shared
def test_every_certificate_of_the_corpora_can_be_shown_and_linted(shared: Path) -> None:
    files = [f for s in (".crt", ".pem", ".cer", ".der") for f in sorted((shared / "corpora").rglob(f"*{s}"))]
    for file in files[::25]:
        assert run("cert", "show", file).code in (0, 2), file
        assert run("cert", "lint", file).code in (0, 1, 2), file


# --- smimea ----------------------------------------------------------------------------------------------------------

BOBS_LABEL = "81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd"  # printf bob | sha256sum | cut -c 1-56


def _record(text: str) -> tuple[str, tuple[int, int, int], bytes]:
    """Owner, the three numbers, the data."""
    owner, class_, kind, usage, selector, matching, data = text.split()
    assert (class_, kind) == ("IN", "SMIMEA")
    return owner, (int(usage), int(selector), int(matching)), bytes.fromhex(data)


def test_smimea_prints_a_record_for_each_address(desk: Desk, tmp_path: Path) -> None:
    bob = WORLD.beta.users["bob"].certificate
    ran = run("cert", "smimea", desk.key("beta-bob"))
    assert (ran.code, ran.err) == (0, "")
    assert _record(ran.text) == (f"{BOBS_LABEL}._smimecert.beta.example.", (3, 0, 0), bob.der)
    two = pki.identity("user", "bob@beta.example", WORLD.beta.ca)
    (tmp_path / "two.pem").write_bytes(public(two.certificate))  # not on the desk: others would encrypt to it
    addresses = ("--address", "bob@beta.example", "--address", "x@beta.example")
    ran = run("cert", "smimea", tmp_path / "two.pem", *addresses)
    assert [_record(line)[2] for line in ran.text.splitlines()] == [two.certificate.der] * 2
    assert "the certificate does not name x@beta.example, so nobody will use it for that address" in ran.err


def test_smimea_of_an_authority_stands_at_its_mailbox(desk: Desk) -> None:
    ran = run("cert", "smimea", desk.certificate("beta-confidentiality"))
    owner, numbers, data = _record(ran.text)
    name = hashlib.sha256(b"domain-confidentiality-authority").hexdigest()[:56]
    assert owner == f"{name}._smimecert.beta.example."
    assert (numbers, data) == ((3, 0, 0), WORLD.beta.confidentiality.certificate.der)


def test_smimea_of_a_digest_of_the_key_and_of_a_ca(desk: Desk) -> None:
    ran = run("cert", "smimea", "--usage", "1", "--selector", "1", "--matching", "2", desk.certificate("beta-bob"))
    spki = WORLD.beta.users["bob"].certificate.spki
    assert _record(ran.text)[1:] == ((1, 1, 2), hashlib.sha512(spki).digest())
    options = ("--usage", "2", "--address", "bob@beta.example")
    ran = run("cert", "smimea", *options, desk.certificate("beta-ca"))
    assert (ran.err, _record(ran.text)[1:]) == ("", ((2, 0, 0), WORLD.beta.ca.certificate.der))
    assert "is not that of a CA" in run("cert", "smimea", *options, desk.certificate("beta-bob")).err


def test_smimea_for_servers_that_do_not_know_it(desk: Desk) -> None:
    owner, _, kind, mark, size, data = run("cert", "smimea", "--generic", desk.key("beta-bob")).text.split()
    octets = bytes.fromhex(data)
    assert (kind, mark, int(size)) == ("TYPE53", "\\#", len(octets))
    assert octets == b"\x03\x00\x00" + WORLD.beta.users["bob"].certificate.der
    assert owner.startswith(BOBS_LABEL)


def test_smimea_needs_an_address(desk: Desk) -> None:
    ran = run("cert", "smimea", desk.certificate("beta-ca"))
    assert (ran.code, ran.out) == (2, b"")
    assert "names no address, expected --address" in ran.err
