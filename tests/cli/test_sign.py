"""`domsec sign` and `domsec sign-domain`: who may sign what, and what comes out."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

import pki
import world
from commands import AT, PLAIN, Desk, Ran, domain_signed, private, public, run
from domsec import der
from domsec.cms.attributes import attribute
from domsec.mime import fields
from domsec.services.layers import peel
from domsec.stores.audit_table import TableAudit
from domsec.stores.database import open_database
from domsec.trust.issue import KeyKind

WORLD = pki.world()
EVIDENCE = ("--evidence", "local:alice@acme.example")


def structure(octets: bytes, *options: object) -> str:
    return str(run("show", "--json", *options, stdin=octets).json["structure"])


def sign_domain(desk: Desk, *arguments: object, stdin: bytes = PLAIN) -> Ran:
    return run("sign-domain", "--credential", desk.key("acme-signing"), *desk.trust, *arguments, stdin=stdin)


# --- a person --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.5-01", "R3183-1-01")
@pytest.mark.parametrize("form", [(), ("--clear",)])
def test_an_originator_signs_and_is_believed(desk: Desk, form: tuple[str, ...]) -> None:
    made = run("sign", *form, "--credential", desk.key("acme-alice"), *desk.trust, stdin=PLAIN).out
    ran = run("verify", "--json", *desk.trust, stdin=made)
    assert (ran.code, ran.json["level"], ran.json["structure"]) == (0, "originator_direct", "S[originator](OC)")
    assert ran.json["layers"][0]["form"] == ("clear" if form else "opaque")
    assert "subject" in ran.json["headers"]
    assert b"Subject: the contract\r\n" in made


@pytest.mark.requirement("R3183-3.1.2-04", "R3183-3.5-02")
def test_the_type_is_said_only_where_its_absence_would_say_something_else(desk: Desk, signed: Path) -> None:
    first = run("show", "--json", signed).json["layers"][0]["signers"][0]
    assert first["types"] is None
    again = run("sign", "--credential", desk.key("acme-alice"), signed).out
    assert structure(again) == "S[originator](S[originator](OC))"


def test_of_several_keys_the_one_of_whom_from_names_signs(desk: Desk) -> None:
    keys = [option for who in ("acme-bob", "acme-alice") for option in ("--credential", desk.key(who))]
    found = run("verify", "--json", *desk.trust, stdin=run("sign", *keys, stdin=PLAIN).out).json
    assert found["originator"]["addresses"] == ["alice@acme.example"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--credential", "acme-bob"], "no credential of alice@acme.example"),
        ([], "no credential of alice@acme.example"),
        (["--credential", "acme-alice", "--label", "secret"], "label policy 'secret' is not known"),
    ],
)
def test_what_cannot_be_signed_is_refused_in_words(desk: Desk, arguments: list[str], complaint: str) -> None:
    known = [desk.key(a) if a.startswith("acme-") else a for a in arguments]
    ran = run("sign", *known, stdin=PLAIN)
    assert (ran.code, ran.out) == (2, b"")
    assert complaint in ran.err


def test_a_message_of_nobody_cannot_be_signed(desk: Desk) -> None:
    assert run("sign", "--credential", desk.key("acme-alice"), stdin=b"Subject: x\r\n\r\nx\r\n").code == 5


# --- a domain: the gate ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.2-03", "R3183-3.2-05", "R3183-3.2-09", "R3183-3.2-10")
@pytest.mark.parametrize(
    ("octets", "arguments", "reasons"),
    [
        (PLAIN, (), {"gate.originator"}),
        (PLAIN, ("--evidence", "local:mallory@acme.example"), {"gate.originator"}),
        (
            PLAIN.replace(b"alice@acme", b"alice@beta"),
            ("--evidence", "local:alice@beta.example"),
            {"gate.not_our_domain"},
        ),
        (PLAIN.replace(b"From:", b"From-not:"), EVIDENCE, {"gate.from"}),
        (domain_signed(WORLD.beta.signing), EVIDENCE, {"gate.mapping"}),
        (
            domain_signed(pki.identity("signing", "acme.example", pki.ca("Nobody"))),
            EVIDENCE,
            {"gate.invalid_signature"},
        ),
    ],
    ids=["no evidence", "of somebody else", "other domain", "no from", "mapping", "untrusted signature inside"],
)
def test_what_the_gate_refuses_is_not_signed(
    desk: Desk, octets: bytes, arguments: tuple[str, ...], reasons: set[str]
) -> None:
    ran = sign_domain(desk, *arguments, stdin=octets)
    assert (ran.code, ran.out) == (1, b"")
    assert {line.split(": ")[2] for line in ran.err.splitlines()} == reasons


@pytest.mark.requirement("R3183-3.1.2-12")
@pytest.mark.parametrize("kinds", [("ml-dsa-65",), ("p256", "ml-dsa-65"), ("ml-dsa-44", "rsa2048")])
def test_every_key_of_the_authority_that_is_given_signs(desk: Desk, kinds: tuple[KeyKind, ...]) -> None:
    options: list[object] = []
    for kind in kinds:
        who = f"signing-{kind}"
        options += ["--credential", desk.add(who, pki.identity("signing", "acme.example", WORLD.acme.ca, kind))]
        desk.certificate(who).unlink()
    made = run("sign-domain", *options, *options[:2], *EVIDENCE, *desk.trust, stdin=PLAIN)
    assert made.code == 0, made.err
    found = run("verify", "--json", *desk.trust, stdin=made.out)
    assert (found.code, found.json["level"], found.json["structure"]) == (0, "domain", "S[domain](S0(OC))")
    assert len(found.json["layers"][0]["signers"]) == len(kinds)
    assert {tuple(signer["types"]) for signer in found.json["layers"][0]["signers"]} == {("domain",)}


def test_every_key_that_signs_has_to_be_of_the_domain(desk: Desk) -> None:
    ran = sign_domain(desk, "--credential", desk.key("beta-signing"), *EVIDENCE)
    assert (ran.code, ran.out) == (1, b"")
    assert "gate.not_our_domain" in ran.err


@pytest.mark.requirement("R3183-3.2-06")
def test_what_is_encrypted_and_closed_is_not_signed(desk: Desk) -> None:
    closed = run("encrypt", "--to", "bob@beta.example", "--cert", desk.certificates, *desk.trust, stdin=PLAIN).out
    ran = sign_domain(desk, *EVIDENCE, stdin=closed)
    assert ran.code == 1
    assert "gate.undecryptable" in ran.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--evidence", "network:10.0.0.1"), "of no known kind"),
        (("--evidence", "local:nobody"), "no mail address"),
        ((*EVIDENCE, "--encrypt", "dca"), "--encrypt dca without --rcpt"),
        ((*EVIDENCE, "--rcpt", "@"), "no mail address"),
    ],
)
def test_wrong_options_are_named(desk: Desk, arguments: tuple[str, ...], complaint: str) -> None:
    ran = sign_domain(desk, *arguments)
    assert (ran.code, ran.out) == (2, b"")
    assert complaint in ran.err


def test_without_a_signing_authority_nothing_is_signed(desk: Desk) -> None:
    ran = run("sign-domain", "--credential", desk.key("acme-alice"), *desk.trust, *EVIDENCE, stdin=PLAIN)
    assert (ran.code, ran.out) == (2, b"")


# --- a domain: what comes out ----------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3-05", "R3183-3-08", "R3183-3.1-07", "R3183-3.2-17")
def test_an_unsigned_message_gets_the_empty_signature_first(desk: Desk) -> None:
    ran = sign_domain(desk, *EVIDENCE)
    assert ran.code == 0
    assert "OC is now S[domain](S0(OC))" in ran.err
    verdict = run("verify", "--json", *desk.trust, stdin=ran.out)
    assert (verdict.code, verdict.json["level"], verdict.json["structure"]) == (0, "domain", "S[domain](S0(OC))")
    assert verdict.json["domain"] == "acme.example"


@pytest.mark.requirement("R3183-3.2-04", "R3183-2.1-01", "R3183-5.1-03")
def test_a_signed_message_needs_no_evidence_and_is_kept_to_the_octet(desk: Desk, signed: Path) -> None:
    made = sign_domain(desk, signed).out
    spine = peel(made).spine()
    assert bytes(spine[0].child.entity if spine[0].child else b"") == fields.entity_of(signed.read_bytes())
    found = run("verify", "--json", *desk.trust, stdin=made).json
    assert (found["level"], found["structure"]) == ("originator_direct", "S[domain](S[originator](OC))")


@pytest.mark.requirement("R3183-4-06", "R3183-4-08", "R3183-4-02")
@pytest.mark.parametrize(
    ("target", "openers"),
    [("dca", {"beta-confidentiality"}), ("recipient", {"beta-bob"}), ("auto", {"beta-bob"}),
     ("both", {"beta-bob", "beta-confidentiality"})],
)  # fmt: skip
def test_the_result_is_encrypted_to_whom_was_asked(desk: Desk, target: str, openers: set[str]) -> None:
    options = ("--rcpt", "bob@beta.example", "--encrypt", target, "--cert", desk.certificates)
    made = sign_domain(desk, *EVIDENCE, *options).out
    able = {
        who
        for who in ("beta-bob", "beta-confidentiality", "acme-alice")
        if run("verify", *desk.trust, "--credential", desk.key(who), stdin=made).code == 0
    }
    assert able == openers
    assert structure(made) == "E"


@pytest.mark.requirement("R3183-5-07")
def test_the_encrypting_authority_says_who_it_is(desk: Desk) -> None:
    own = ("--credential", desk.key("acme-confidentiality"))
    options = ("--rcpt", "bob@beta.example", "--encrypt", "dca", "--cert", desk.certificates)
    made = sign_domain(desk, *own, *EVIDENCE, *options).out
    ran = run("verify", "--json", *desk.trust, "--credential", desk.key("beta-confidentiality"), stdin=made)
    assert ran.code == 0
    assert ran.json["layers"][0]["encryption"]["originator"] == ["CN=domain-confidentiality-authority"]
    assert "enc_agent.unknown" not in [flag["code"] for flag in ran.json["flags"]]


@pytest.mark.requirement("R3183-4.1-07", "R3183-4.2-07")
def test_nothing_is_encrypted_to_an_authority_of_another_domain(desk: Desk) -> None:
    options = ("--rcpt", "carol@gamma.example", "--encrypt", "auto", "--cert", desk.certificates)
    ran = sign_domain(desk, *EVIDENCE, *options)
    assert (ran.code, ran.out) == (1, b"")
    assert "no usable certificate for carol@gamma.example" in ran.err


@pytest.mark.requirement("R3183-5-08", "R3183-5-12")
def test_an_encryption_inside_forces_encryption_of_the_result(desk: Desk, signed: Path) -> None:
    """E(S(E(S(OC)))) opened by our own authority: its inner encryption was somebody's wish."""
    own = ("--credential", desk.key("acme-confidentiality"))
    to_us = ("--to", "bob@acme.example", "--target", "dca", "--cert", desk.certificates)
    inner = run("encrypt", *to_us, "--to", "bob@beta.example", *desk.trust, signed).out
    sealed = run("sign", "--credential", desk.key("acme-alice"), stdin=inner).out
    octets = run("encrypt", *to_us, *desk.trust, stdin=sealed).out
    refused = sign_domain(desk, *own, stdin=octets)
    assert (refused.code, refused.out) == (2, b"")
    assert "expected --rcpt" in refused.err
    made = sign_domain(desk, *own, "--rcpt", "bob@beta.example", "--cert", desk.certificates, stdin=octets).out
    assert structure(made) == "E"


@pytest.mark.requirement("R3183-5-12")
def test_nothing_leaves_that_nobody_there_could_read(desk: Desk, signed: Path) -> None:
    """E(S(E(S(OC)))), all of it for our own authority: inside it stays closed for everybody else (A-37)."""
    own = ("--credential", desk.key("acme-confidentiality"), "--cert", desk.certificates)
    to_us = ("--to", "bob@acme.example", "--target", "dca", "--cert", desk.certificates)
    sealed = run("sign", "--credential", desk.key("acme-alice"), stdin=run("encrypt", *to_us, *desk.trust, signed).out)
    octets = run("encrypt", *to_us, *desk.trust, stdin=sealed.out).out
    for recipients, code in (
        (["bob@beta.example"], 1),
        (["bob@acme.example", "bob@beta.example"], 1),
        (["bob@acme.example"], 0),
    ):
        ran = sign_domain(desk, *own, *(word for r in recipients for word in ("--rcpt", r)), stdin=octets)
        assert (ran.code, bool(ran.out)) == (code, not code)
        assert ("an encrypted layer lies inside that only we can open" in ran.err) is bool(code)


def test_who_can_see_a_blind_recipient_is_told(desk: Desk) -> None:
    options = ("--rcpt", "bob@beta.example", "--rcpt", "alice@beta.example", "--encrypt", "dca")
    ran = sign_domain(desk, *EVIDENCE, *options, "--cert", desk.certificates)
    assert ran.code == 0
    assert "domsec: warning: every recipient can see that this is for alice@beta.example as well" in ran.err


@pytest.fixture
def configuration(desk: Desk, tmp_path: Path) -> Path:
    keys = {role: desk.key(f"acme-{role}") for role in ("signing", "confidentiality")}
    file = tmp_path / "acme.toml"
    file.write_text(
        'domains = ["acme.example"]\n'
        + "".join(f'[keys.{role}]\ncredential = "{key}"\n' for role, key in keys.items())
        + f'[trust]\nroles = ["{desk.certificate("beta-ca")}"]\nusers = ["{desk.certificate("acme-ca")}"]\n'
        + f'certificates = ["{desk.certificate("beta-confidentiality")}"]\nrevocation = "soft"\n'
        + '[[peer]]\ndomain = "beta.example"\nencrypt = "dca"\nsigtype_oid = "id-sti"\n'
    )
    return file


@pytest.mark.requirement("R3183-3.1.2-02")
def test_a_configuration_says_what_was_agreed_with_the_recipients(desk: Desk, configuration: Path) -> None:
    given = ("--config", configuration, "--at", pki.NOW.isoformat())
    made = run("sign-domain", *given, *EVIDENCE, "--rcpt", "bob@beta.example", stdin=PLAIN).out
    ran = run("verify", "--json", *desk.trust, "--credential", desk.key("beta-confidentiality"), stdin=made)
    assert (ran.code, ran.json["structure"]) == (0, "E(S[domain](S0(OC)))")
    assert "sigtype.legacy_oid" in [flag["code"] for flag in ran.json["flags"]]
    alone = run("sign-domain", *given, *EVIDENCE, stdin=PLAIN).out
    assert structure(alone) == "S[domain](S0(OC))"


@pytest.mark.interop
@pytest.mark.requirement("R3183-3.1.2-06", "R3183-3-06", "R3183-3-07")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_a_domain_signature_and_finds_the_empty_one(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "made.eml").write_bytes(sign_domain(desk, *EVIDENCE).out)
    command = ["openssl", "cms", "-verify", "-purpose", "any", "-CAfile", str(desk.certificate("acme-ca"))]
    command += ["-attime", str(int(pki.NOW.timestamp())), "-in", "made.eml", "-out", "inner.eml"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    inner = (tmp_path / "inner.eml").read_bytes()
    assert structure(b"From: alice@acme.example\r\n" + inner) == "S0(OC)"
    printed = subprocess.run(
        ["openssl", "cms", "-cmsout", "-print", "-in", "inner.eml"], capture_output=True, cwd=tmp_path, check=True
    ).stdout.decode()
    assert "signerInfos:\n      <EMPTY>" in printed
    assert "eContentType: pkcs7-data" in printed


@pytest.mark.requirement("R3183-1-01")
def test_for_people_the_signature_stands_in_the_clear_as_agreed(desk: Desk, tmp_path: Path) -> None:
    """Decisions A-12 and A-62: what an authority decrypts keeps to the RFC."""
    (tmp_path / "peers.toml").write_text('[[peer]]\ndomain = "beta.example"\nclear_unsigned = true\n')
    agreed = (*EVIDENCE, "--peer", tmp_path / "peers.toml", "--rcpt", "bob@beta.example")
    ran = sign_domain(desk, *agreed)
    assert (ran.code, structure(ran.out)) == (0, "S[domain](OC)")
    assert b"Content-Type: multipart/signed" in ran.out
    assert "OC is now S[domain](OC)" in ran.err
    for target, name, made in (("recipient", "beta-bob", "E(S[domain](OC))"),
                               ("dca", "beta-confidentiality", "E(S[domain](S0(OC)))")):  # fmt: skip
        ran = sign_domain(desk, *agreed, "--encrypt", target, "--cert", desk.certificate(name))
        assert (ran.code, structure(ran.out, "--credential", desk.key(name))) == (0, made)
        assert f"OC is now {made}" in ran.err
    ran = sign_domain(desk, *agreed, "--rcpt", "carol@gamma.example")
    assert (ran.code, "agreed on different signatures" in ran.err) == (2, True)


def recorded(url: str) -> list[tuple[str, dict[str, object]]]:
    database = open_database(url)
    found = [(record.event, dict(record.fields)) for record in TableAudit(database).records()]
    database.close()
    return found


@pytest.mark.requirement("R3183-3.2-03")
def test_the_audit_trail_says_before_who_had_what_signed(desk: Desk, configuration: Path, tmp_path: Path) -> None:
    """Where the configuration's store is there, or an audit file is named (decisions A-33 for what comes off)."""
    url = f"sqlite:///{tmp_path}/trail.db"
    text = configuration.read_text()
    assert "[store]" not in text
    configuration.write_text(f'{text}\n[store]\nurl = "{url}"\n')
    command = ("sign-domain", "--config", configuration, *AT)
    assert run(*command, *EVIDENCE, stdin=PLAIN).code == 0
    assert not (tmp_path / "trail.db").exists()  # nobody has made it
    open_database(url).close()
    assert run(*command, stdin=PLAIN).code == 1  # refused, so nothing to record
    assert recorded(url) == []
    assert run(*command, *EVIDENCE, stdin=world.build("S+mlh(S(OC))")).code == 0
    (grant, told), (stripped, off) = recorded(url)
    assert (grant, told["originators"], told["structure"]) == (
        "grant", ["alice@acme.example"], "S[unspecified]+mlh(S[originator](OC))",
    )  # fmt: skip
    assert told["evidence"] == ["signature of layer 1.1"]
    assert told["by"] == off["by"] == pwd.getpwuid(os.getuid()).pw_name
    assert (stripped, off["layers"][0]["layer"]) == ("stripped", "1")  # type: ignore[index]


@pytest.mark.requirement("R3183-5-03", "R3183-5-10")
@pytest.mark.parametrize("wanted", ["copy", "drop"])
def test_unknown_attributes_of_a_list_layer_go_on_as_the_configuration_says(
    desk: Desk, configuration: Path, wanted: str
) -> None:
    """`outbound.unknown_attributes` (decisions A-32), for the command as for the gateway."""
    with configuration.open("a") as file:
        file.write(f'[outbound]\nunknown_attributes = "{wanted}"\n')
    extra = (world.history(), attribute("1.2.3.4", der.utf8("of some list")))
    octets = world.message(world.signed(world.entity("S(OC)"), WORLD.acme.users["bob"], extra=extra))
    ran = run("sign-domain", "--config", configuration, *AT, stdin=octets)
    assert ran.code == 0, ran.err
    (signer,) = json.loads(run("show", "--json", stdin=ran.out).out)["layers"][0]["signers"]
    assert ("1.2.3.4" in signer["attributes"]) is (wanted == "copy")
    assert "1.2.840.113549.1.9.16.2.3" in signer["attributes"]


def test_who_signs_need_not_have_a_name(
    desk: Desk, configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a number."""
    url = f"sqlite:///{tmp_path}/trail.db"
    configuration.write_text(f'{configuration.read_text()}\n[store]\nurl = "{url}"\n')
    open_database(url).close()
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert run("sign-domain", "--config", configuration, *AT, *EVIDENCE, stdin=PLAIN).code == 0
    assert [told["by"] for _, told in recorded(url)] == ["uid 54321"]


def test_without_its_trail_nothing_is_signed(desk: Desk, configuration: Path, tmp_path: Path) -> None:
    text, kept = configuration.read_text(), tmp_path / "audit.jsonl"
    command = ("sign-domain", "--config", configuration, *AT, *EVIDENCE)
    store = f'[store]\nurl = "sqlite:///{tmp_path}/none.db"\n'
    configuration.write_text(f'{text}{store}audit = "/dev/full"\n')
    ran = run(*command, stdin=PLAIN)
    assert (ran.code, ran.out) == (4, b"")
    assert "/dev/full: No space left on device" in ran.err
    configuration.write_text(f'{text}{store}audit = "{kept}"\n')
    assert run(*command, stdin=PLAIN).code == 0
    (line,) = kept.read_text().splitlines()
    assert json.loads(line)["evidence"] == ["local command line"]


@pytest.mark.requirement("R3183-3.2-03")
def test_protected_parts_hold_where_the_configuration_requires_it(desk: Desk, configuration: Path) -> None:
    """`outbound.embedded` (decisions A-26)."""
    forwarded = run("sign", "--credential", desk.key("acme-alice"), *AT, stdin=PLAIN).out
    octets = PLAIN.partition(b"MIME-Version")[0] + b"Content-Type: message/rfc822\r\n\r\n" + forwarded
    damaged = octets[:-40] + b"\r\n"
    command = ("sign-domain", "--config", configuration, *AT, *EVIDENCE)
    assert run(*command, stdin=damaged).code == 0
    with configuration.open("a") as file:
        file.write('[outbound]\nembedded = "require"\n')
    assert run(*command, stdin=octets).code == 0
    ran = run(*command, stdin=damaged)
    assert (ran.code, ran.out) == (1, b"")
    assert "gate.embedded" in ran.err


def test_one_key_in_two_roles_is_refused_wherever_it_is_named(desk: Desk, configuration: Path, tmp_path: Path) -> None:
    """Decisions A-45, threats T-16."""
    acme = pki.world().acme
    again: dict[str, Path] = {}  # the signing key, with certificates of these roles
    for role in ("confidentiality", "signing", "review"):
        made = pki.identity(role, "acme.example", acme.ca, key=acme.signing.key)
        again[role] = tmp_path / f"{role}.pem"
        again[role].write_bytes(private(made.key) + public(made.certificate))
    said = "is that of domain-signing-authority too, expected a key of its own"
    for arguments in (
        ("sign-domain", "--credential", desk.key("acme-signing"), "--credential", again["confidentiality"], *AT),
        ("sign-domain", "--config", configuration, "--credential", again["confidentiality"], *AT),
    ):
        ran = run(*arguments, *EVIDENCE, stdin=PLAIN)
        assert (ran.code, ran.out) == (2, b"")
        assert f"the key of domain-confidentiality-authority {said}" in ran.err
    beside = ("--config", configuration, "--credential", again["signing"], *AT)
    assert run("sign-domain", *beside, *EVIDENCE, stdin=PLAIN).code == 0  # two certificates of one role
    with configuration.open("a") as file:
        file.write(f'[keys.review]\ncredential = "{again["review"]}"\n')
    ran = run("review", "--config", configuration, *AT, stdin=PLAIN)
    assert (ran.code, ran.out) == (2, b"")
    assert f"the key of review-authority {said}" in ran.err
