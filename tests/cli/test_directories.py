"""Verbs that ask the directories of the configuration: a real slapd, at the time of the test PKI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import commands
import pki
import slapd
import zone
from commands import AT, PLAIN, Desk, Ran, run
from directories import dca
from domsec.mime.addresses import parse_address
from domsec.stores.smimea import record_text
from domsec.trust.association import Association
from world import acme, beta, build

BOB = "bob@beta.example"


@pytest.fixture(scope="module")
def server() -> Iterator[slapd.Server]:
    if reason := slapd.missing():
        pytest.skip(reason)
    attacker = pki.identity("user", "carol@beta.example", pki.ca("Attacker CA"))
    entries = [
        slapd.person("bob", BOB, [beta().users["bob"].certificate]),
        slapd.person("carol", "carol@beta.example", [attacker.certificate]),
        slapd.authority(dn(), [beta().confidentiality.certificate]),
    ]
    with slapd.server(entries) as running:
        yield running


def dn() -> str:
    return "cn=domain-confidentiality-authority,dc=beta,dc=example"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return commands.desk(tmp_path)


def configured(desk: Desk, port: int, *, more: str = "") -> tuple[str, Path]:
    """The option with a configuration that trusts both CAs and has nothing at hand."""
    roots = json.dumps([str(desk.certificate("acme-ca")), str(desk.certificate("beta-ca"))])
    path = desk.folder / "domsec.toml"
    path.write_text(
        f'domains = ["acme.example"]\n[trust]\nroles = {roots}\nusers = {roots}\n[[directory]]\nkind = "ldap"\n'
        f'url = "ldap://127.0.0.1:{port}"\nstarttls = false\nbase = "dc=beta,dc=example"\n{more}'
    )
    return "--config", path


def test_locate_asks_and_says_so(desk: Desk, server: slapd.Server) -> None:
    config = configured(desk, server.plain)
    found = run("locate", "--explain", *config, *AT, BOB)
    assert found.code == 0, found.err
    assert found.text.startswith(beta().users["bob"].certificate.sha256)
    assert f"asked for {BOB}: ldap://127.0.0.1:{server.plain}: 1 certificates" in found.text
    listed = run("locate", "--json", "--target", "dca", *config, *AT, BOB).json
    assert [c["sha256"] for c in listed["certificates"]] == [beta().confidentiality.certificate.sha256]
    assert len(listed["directories"]) == 2


def test_locate_asks_nobody_for_what_is_at_hand(desk: Desk, server: slapd.Server) -> None:
    found = run("locate", "--explain", *configured(desk, server.plain), "--cert", desk.certificates, *AT, BOB)
    assert (found.code, "asked for" in found.text) == (0, False)


def refused(ran: Ran, code: int, *words: str) -> None:
    assert ran.code == code, ran.err
    assert all(word in ran.err for word in words), ran.err
    assert ran.out == b""


def test_locate_without_success_says_what_was_found(desk: Desk, server: slapd.Server) -> None:
    config = configured(desk, server.plain)
    refused(
        run("locate", "--target", "recipient", *config, *AT, "carol@beta.example"), 1, "untrusted", "1 certificates"
    )
    refused(run("locate", *config, *AT, "carol@gamma.example"), 1, f"asked for {dca('gamma.example')}", ": nothing")


def test_a_directory_that_does_not_answer_is_a_temporary_failure(desk: Desk) -> None:
    config = configured(desk, 1)
    refused(run("locate", *config, *AT, BOB), 4, "unavailable")
    assert run("locate", "--json", *config, *AT, BOB).code == 4
    refused(run("encrypt", "--to", BOB, *config, *AT, stdin=PLAIN), 4, "unavailable")


def test_encrypt_and_sign_domain_ask_too(desk: Desk, server: slapd.Server) -> None:
    config = configured(desk, server.plain)
    made = run("encrypt", "--to", BOB, *config, *AT, stdin=PLAIN)
    assert made.code == 0, made.err
    assert run("decrypt", "--credential", desk.key("beta-bob"), stdin=made.out).code == 0
    own = ("--credential", desk.key("acme-signing"), "--evidence", "local:alice@acme.example")
    made = run("sign-domain", "--encrypt", "dca", "--rcpt", BOB, *own, *config, *AT, stdin=PLAIN)
    assert made.code == 0, made.err
    assert run("decrypt", "--credential", desk.key("beta-confidentiality"), stdin=made.out).code == 0


@pytest.fixture(scope="module")
def resolver() -> Iterator[int]:
    """Signed DNS in which acme publishes its authorities."""
    if reason := zone.missing():
        pytest.skip(reason)
    records = [
        record_text(parse_address(f"{role}@acme.example"), Association.of(key.certificate))
        for role, key in (
            ("domain-signing-authority", acme().signing),
            ("domain-confidentiality-authority", acme().confidentiality),
        )
    ]
    with zone.servers({"acme.example": records}) as running:
        yield running.resolver


def of_dns(desk: Desk, port: int, *, more: str = "") -> tuple[str, Path]:
    """beta's configuration, which knows no CA but its own and asks DNS."""
    path = desk.folder / "domsec.toml"
    roots = json.dumps([str(desk.certificate("beta-ca"))])
    path.write_text(
        f'domains = ["beta.example"]\n[trust]\nroles = {roots}\n[[directory]]\nkind = "smimea"\n'
        f'resolver = "127.0.0.1:{port}"\n{more}'
    )
    return "--config", path


def test_locate_and_verify_ask_dns(desk: Desk, resolver: int) -> None:
    found = run("locate", "--explain", *of_dns(desk, resolver), *AT, "alice@acme.example")
    assert found.code == 0, found.err
    assert found.text.startswith(acme().confidentiality.certificate.sha256)
    assert "SMIMEA: secure, 3 0 0 (DANE-EE)" in found.text
    octets = build("S[domain](S0(OC))")
    said = run("verify", "--json", *of_dns(desk, resolver), *AT, stdin=octets)
    assert (said.code, said.json["domain"]) == (0, "acme.example")
    (signer,) = said.json["layers"][0]["signers"]
    assert signer["path_reason"] == "SMIMEA 3 0 0 (DANE-EE) of its domain, proven by DNSSEC"
    strict = of_dns(desk, resolver, more='believe = "anchors"\n')
    assert run("verify", *strict, *AT, stdin=octets).code != 0
    assert run("locate", *strict, *AT, "alice@acme.example").code == 1


def test_a_resolver_elsewhere_is_not_believed(desk: Desk, resolver: int) -> None:
    config = of_dns(desk, resolver)
    config[1].write_text(config[1].read_text().replace("127.0.0.1", "192.0.2.1"))
    checked = run("config", "check", *config)
    assert checked.code == 2
    assert "expected a loopback address" in checked.err


def test_explain_says_what_the_gateway_would_do(desk: Desk, server: slapd.Server) -> None:
    said = run("explain", "--json", "--from", "alice@acme.example", "--rcpt", BOB, *configured(desk, server.plain), *AT,
               stdin=PLAIN).json  # fmt: skip
    assert len(said["directories"]) == 2
    assert said["held"] == [{"recipients": [BOB], "reasons": ["gate.not_our_domain"]}]


def test_config_check_warns_of_what_everybody_can_see(desk: Desk, server: slapd.Server) -> None:
    checked = run("config", "check", *configured(desk, server.plain))
    assert "domsec.toml:8: asked without TLS: everybody on the way can see to whom you write" in checked.err
    broken = run("config", "check", *configured(desk, server.plain, more='ca = ["domsec.toml"]\n'))
    assert (broken.code, "neither PEM nor DER" in broken.err) == (2, True)
