"""`domsec verify`: verdicts, their JSON, exit codes, and where keys and trust come from."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

import pki
from commands import AT, EXPECTED, ORACLE, PLAIN, Desk, Options, domain_signed, public, run
from domsec.mime import fields, smime
from domsec.services.layers import null_layer
from domsec.trust import issue

WORLD = pki.world()

VERDICT_KEYS = {
    "accepted", "level", "domain", "originator", "from", "headers", "structure", "layers", "flags",
    "reviewed_by", "additional_attributes", "labels", "mlh", "embedded", "decrypted", "ended_at",
}  # fmt: skip
LAYER_KEYS = {
    "id", "kind", "form", "roles", "state", "coverage", "signers", "naming", "mapping", "address", "encryption",
    "expansion_history", "flags",
}  # fmt: skip
SIGNER_KEYS = {
    "subject", "issuer", "serial", "sha256", "addresses", "x400_addresses", "crypto", "path", "path_reason",
    "revocation", "usage", "types", "digest", "algorithm", "signing_time", "attributes", "ess", "countersignatures",
    "state", "reason",
}  # fmt: skip
ENCRYPTION_KEYS = {"opened", "opened_by", "cipher", "authenticated", "recipients", "originator"}

# --- messages that other people's programs made ----------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.1-05", "R3183-3.1-06", "R3183-3.2-11", "R3183-3.2-12")
@pytest.mark.parametrize("expected", EXPECTED, ids=[Path(m["file"]).stem for m in EXPECTED])
def test_the_verdict_on_a_message_is_that_of_the_oracle(expected: dict[str, str], oracle_options: Options) -> None:
    ran = run("verify", "--json", *oracle_options(expected), ORACLE / expected["file"])
    found = ran.json
    assert found.keys() == VERDICT_KEYS
    assert all(layer.keys() == LAYER_KEYS for layer in found["layers"])
    assert all(signer.keys() == SIGNER_KEYS for layer in found["layers"] for signer in layer["signers"])
    assert all(layer["encryption"].keys() == ENCRYPTION_KEYS for layer in found["layers"] if layer["encryption"])
    assert all(flag.keys() == {"severity", "code", "layer", "text", "clause"} for flag in found["flags"])
    flagged = [flag for flag in found["flags"] if flag["severity"] != "info"]
    match expected["verdict"]:
        case "ok" if found["level"] == "none":  # a review alone says nothing of where a message comes from
            assert (Path(expected["file"]).stem, ran.code) == ("g26-review-s0", 1)
        case "ok":
            assert (found["accepted"], ran.code) == (True, 0)
        case "flag":
            assert flagged
        case "invalid":
            assert not found["accepted"]
            assert ran.code in (1, 3, 5)


# --- the answer ------------------------------------------------------------------------------------------------------


def test_the_first_line_is_the_answer_and_the_second_the_structure(desk: Desk) -> None:
    ran = run("verify", *desk.trust, stdin=domain_signed(WORLD.acme.signing))
    assert ran.text.splitlines()[:2] == ["accepted: level domain, domain acme.example", "structure: S[domain](S0(OC))"]
    assert ran.code == 0


@pytest.mark.requirement("R3183-3.1.1-16", "R3183-3.1.1-21")
def test_an_authority_of_another_domain_is_a_violation(desk: Desk) -> None:
    ran = run("verify", "--json", *desk.trust, stdin=domain_signed(WORLD.beta.signing))
    assert ran.code == 3
    assert not ran.json["accepted"]
    assert "mapping.mismatch" in [flag["code"] for flag in ran.json["flags"] if flag["severity"] == "violation"]


@pytest.mark.requirement("R3183-3.1.1-07")
@pytest.mark.parametrize(("domain", "sender"), [("example", "alice@acme.example"), ("co.uk", "alice@acme.co.uk")])
def test_an_authority_for_everybody_is_a_violation(desk: Desk, domain: str, sender: str) -> None:
    everybody = pki.identity("signing", domain, WORLD.acme.ca)
    octets = PLAIN.replace(b"alice@acme.example", sender.encode())
    ran = run("verify", "--json", *desk.trust, stdin=domain_signed(everybody, octets))
    assert ran.code == 3
    assert "mapping.too_general" in [flag["code"] for flag in ran.json["flags"]]


@pytest.mark.requirement("R3183-3.1.1-21")
def test_explain_names_the_clause_what_was_seen_and_what_would_have_passed(desk: Desk) -> None:
    ran = run("verify", "--explain", *desk.trust, stdin=domain_signed(WORLD.acme.review))
    assert "clause: RFC 3183 3.1.1" in ran.text
    assert "seen: the common name is review-authority, expected domain-signing-authority" in ran.text
    assert "would have passed: exactly one CN, equal to the role name" in ran.text


def test_parts_that_are_protected_by_themselves_are_told_apart(desk: Desk) -> None:
    octets = (
        PLAIN.partition(b"MIME-Version")[0]
        + b"Content-Type: message/rfc822\r\n\r\n"
        + domain_signed(WORLD.acme.signing)
    )
    said = "1 S[domain](S0(OC)) accepted, level domain, domain acme.example"
    ran = run("verify", *desk.trust, stdin=octets)
    assert (ran.code, ran.text.splitlines()[0]) == (1, "not accepted: level none")
    assert f"protected part, judged apart: {said}" in ran.text.splitlines()
    told = run("verify", "--explain", *desk.trust, stdin=octets).text
    at = told.index(f"protected part {said}; it counts for nothing in the verdict on the message")
    assert "\n  layer 1: " in told[at:]
    (part,) = run("verify", "--json", *desk.trust, stdin=octets).json["embedded"]
    assert (part["part"], part["verdict"]["accepted"], part["verdict"]["domain"]) == ("1", True, "acme.example")
    assert part["verdict"]["from"]["mailboxes"] == ["alice@acme.example"]
    assert not {"from_"} & set(part["verdict"])


def test_a_verdict_can_go_to_a_file(desk: Desk, tmp_path: Path) -> None:
    ran = run("verify", "--json", "-o", tmp_path / "v.json", *desk.trust, stdin=domain_signed(WORLD.acme.signing))
    assert ran.out == b""
    assert json.loads((tmp_path / "v.json").read_bytes())["accepted"] is True


# --- exit codes ------------------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    entity = fields.entity_of(PLAIN)
    for _ in range(depth):
        entity = null_layer(entity)
    return fields.replace_entity(fields.split_message(PLAIN)[0], entity)


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (domain_signed(WORLD.acme.signing), 0),
        (PLAIN, 1),
        (domain_signed(WORLD.beta.signing), 3),
        (nested(1), 3),  # not accepted, and a null layer that nothing covers: the violation wins
        (nested(17), 5),  # limit.depth
        (b"From: alice@acme.example\r\nContent-Type: application/pkcs7-mime\r\n\r\nMAMC\r\n", 5),
        (b"x: y\r\n" * 1001 + b"\r\n", 5),  # limit.header_fields
    ],
    ids=["accepted", "unsigned", "mapping", "null", "depth", "malformed", "fields"],
)
def test_the_exit_code_is_the_worst_that_was_seen(desk: Desk, octets: bytes, code: int) -> None:
    assert run("verify", *desk.trust, stdin=octets).code == code


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["/nowhere/mail.eml"], "/nowhere/mail.eml: cannot be read"),
        (["--trust", "/nowhere"], "'/nowhere' does not exist"),
        (["--at", "yesterday"], "no time of RFC 3339"),
        (["--at", "2026-11-23T12:00:00"], "no time of RFC 3339"),
        (["--frob"], "--frob"),
        (["--config", __file__], "expected TOML"),
        (["--trust", __file__], "neither PEM nor DER"),
        (["--crl", ORACLE / "pki/trust/root.pem"], "no revocation list in it"),
        (["--cert", ORACLE / "pki/crl/root.crl"], "no certificate in it"),
        (["--credential", __file__], "neither PEM nor PKCS#12"),
        (["--credential", "pkcs11:object=dsa"], "no module-path, expected the library of the token"),
    ],
)
def test_what_was_asked_for_wrongly_is_told_in_one_line(arguments: list[object], complaint: str) -> None:
    ran = run("verify", *arguments, stdin=PLAIN)
    assert ran.code == 2
    assert ran.err.startswith("domsec: error: ")
    assert complaint in ran.err
    assert ran.out == b""


def test_whoever_trusts_nobody_is_told_so() -> None:
    ran = run("verify", *AT, stdin=domain_signed(WORLD.acme.signing))
    assert ran.code == 3
    assert "domsec: hint: no anchor is trusted" in ran.err


def test_whoever_trusts_somebody_for_one_domain_is_not(tmp_path: Path) -> None:
    (tmp_path / "beta-ca.pem").write_bytes(public(WORLD.beta.ca.certificate))
    (tmp_path / "peers.toml").write_text('[[peer]]\ndomain = "beta.example"\nanchors = ["beta-ca.pem"]\n')
    ran = run("verify", *AT, "--peer", tmp_path / "peers.toml", stdin=domain_signed(WORLD.acme.signing))
    assert ran.code == 3
    assert "no anchor is trusted" not in ran.err


@pytest.mark.requirement("R3183-1-02")
def test_nothing_from_a_message_acts_on_the_terminal(desk: Desk) -> None:
    evil = pki.identity("user", "alice@acme.example", WORLD.acme.ca, name="Alice\x9b31m\u202e\u2028x")
    octets = domain_signed(evil, PLAIN.replace(b"smime", b"\x1b[2J"))
    for verb in ("verify", "show"):
        ran = run(verb, *desk.trust, stdin=octets)
        shown = ran.text + ran.err
        assert not any(c in shown for c in "\x1b\x9b\u202e\u2028")
        assert "\\E2\\80\\AE" in shown


# --- trust -----------------------------------------------------------------------------------------------------------


def test_a_revoked_signer_is_not_believed(desk: Desk, tmp_path: Path) -> None:
    ca = WORLD.acme.ca
    serial = WORLD.acme.signing.certificate.serial
    crl = issue.issue_crl(ca.certificate, ca.signing_key, [serial], now=pki.NOW - timedelta(days=1), days=30)
    (tmp_path / "acme.crl").write_bytes(crl)
    ran = run("verify", *desk.trust, "--crl", tmp_path / "acme.crl", stdin=domain_signed(WORLD.acme.signing))
    assert ran.code == 3
    assert "revoked" in ran.text


@pytest.mark.parametrize(("revocation", "code"), [("hard", 3), ("soft", 0), ("off", 0)])
def test_without_a_revocation_list_the_mode_decides(desk: Desk, revocation: str, code: int) -> None:
    options = ("--revocation", revocation)
    assert run("verify", *desk.trust, *options, stdin=domain_signed(WORLD.acme.signing)).code == code


def test_time_is_what_the_command_line_says(desk: Desk) -> None:
    options = ("--trust", desk.certificate("acme-ca"), "--at", "2030-01-01T00:00:00Z")
    assert run("verify", *options, stdin=domain_signed(WORLD.acme.signing)).code == 3


@pytest.mark.parametrize(("option", "code"), [("--trust-roles", 0), ("--trust-users", 3)])
def test_roles_and_people_have_stores_of_their_own(desk: Desk, option: str, code: int) -> None:
    ran = run("verify", option, desk.certificate("acme-ca"), *AT, stdin=domain_signed(WORLD.acme.signing))
    assert ran.code == code


@pytest.mark.requirement("R3183-3.1.1-19", "R3183-3.1.1-20")
def test_an_agreed_convention_counts_only_with_the_agreement(desk: Desk, tmp_path: Path) -> None:
    agreed = pki.identity("user", "domain-signing-authority@acme.example", WORLD.acme.ca)
    octets = domain_signed(agreed)
    assert run("verify", *desk.trust, stdin=octets).code == 3
    peers = tmp_path / "peers.toml"
    peers.write_text('[[peer]]\ndomain = "acme.example"\nnaming = "mailbox"\n')
    ran = run("verify", "--json", "--peer", peers, *desk.trust, stdin=octets)
    assert ran.code == 0
    assert [flag["code"] for flag in ran.json["flags"]] == ["naming.convention"]


@pytest.fixture
def configuration(desk: Desk, tmp_path: Path) -> Path:
    file = tmp_path / "domsec.toml"
    file.write_text(
        f'domains = ["beta.example"]\n[trust]\nroles = ["{desk.certificate("acme-ca")}"]\n'
        f'users = ["{desk.certificate("acme-ca")}"]\nrevocation = "soft"\n'
        f'[keys.confidentiality]\ncredential = "{desk.key("beta-confidentiality")}"\n'
    )
    return file


@pytest.mark.parametrize("how", ["option", "environment", "folder"])
def test_a_configuration_gives_keys_and_trust(
    desk: Desk, configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    to_beta = ("--to", "bob@beta.example", "--target", "dca", "--cert", desk.certificate("beta-confidentiality"))
    octets = run("encrypt", *to_beta, *desk.trust, stdin=domain_signed(WORLD.acme.signing)).out
    if how != "folder":
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
    options = ("--config", configuration) if how == "option" else ()
    environment = {"DOMSEC_CONFIG": str(configuration)} if how == "environment" else {}
    ran = run("verify", *options, *AT, stdin=octets, **environment)
    assert ran.text.splitlines()[:2] == [
        "accepted: level domain, domain acme.example",
        "structure: E(S[domain](S0(OC)))",
    ]


def test_anchors_of_the_command_line_stand_in_place_of_configured_ones(desk: Desk, configuration: Path) -> None:
    options = ("--config", configuration, "--trust", desk.certificate("beta-ca"))
    assert run("verify", *options, *AT, stdin=domain_signed(WORLD.acme.signing)).code == 3


def test_a_signature_by_itself_can_be_verified(desk: Desk, tmp_path: Path) -> None:
    """CMS without mail around it: nobody is said to have sent it."""
    der = smime.recognise(fields.entity_of(domain_signed(WORLD.acme.signing)))
    assert isinstance(der, smime.Pkcs7)
    (tmp_path / "m.p7m").write_bytes(der.der)
    ran = run("verify", "--json", *desk.trust, tmp_path / "m.p7m")
    assert ran.json["structure"] == "S[domain](S0(OC))"
    assert "from.invalid" in [flag["code"] for flag in ran.json["flags"]]
