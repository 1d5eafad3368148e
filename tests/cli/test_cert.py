"""`domsec cert`: issue, lint, show."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

import pki
from commands import PLAIN, Desk, run
from domsec.stores.credentials import load_credential
from domsec.trust.issue import PrivateKey

WORLD = pki.world()
ROLES = ("signing", "confidentiality", "review", "attributes", "user")


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    made = run("cert", "issue", "--ca-name", "Acme CA", "--subject", "O=Acme", "-o", file, "--certificate", "ca.crt")
    assert made.code == 0
    return file


def issued(ca: Path, *arguments: object) -> Path:
    file = ca.parent / "issued.pem"
    ran = run("cert", "issue", "--ca", ca, *arguments, "-o", file)
    assert ran.code == 0, ran.err
    return file


# --- issue -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.1.1-01", "R3183-3.1.1-02", "R3183-3.1.1-03", "R3183-4.1-01")
@pytest.mark.parametrize(
    ("role", "kind", "name"),
    [
        ("signing", "rsa2048", "domain-signing-authority"),
        ("signing", "ed25519", "domain-signing-authority"),
        ("confidentiality", "x25519", "domain-confidentiality-authority"),
        ("confidentiality", "rsa2048", "domain-confidentiality-authority"),
        ("signing", "ml-dsa-44", "domain-signing-authority"),
        ("signing", "ml-dsa-87", "domain-signing-authority"),
        ("confidentiality", "ml-kem-768", "domain-confidentiality-authority"),
        ("confidentiality", "ml-kem-1024", "domain-confidentiality-authority"),
        ("review", "p256", "review-authority"),
        ("attributes", "p384", "attribute-authority"),
    ],
)
def test_what_is_issued_for_a_role_can_serve_as_it(ca: Path, role: str, kind: str, name: str) -> None:
    file = issued(ca, "--role", role, "--domain", "acme.example", "--key", kind)
    ran = run("cert", "lint", "--json", file)
    assert (ran.code, [r for r, found in ran.json["roles"].items() if found["serves"]]) == (0, [role])
    assert ran.json["certificate"]["claims"] == name
    assert ran.json["certificate"]["addresses"] == [f"{name}@acme.example"]


def test_a_person_can_sign_with_what_was_issued(ca: Path) -> None:
    file = issued(ca, "--user", "alice@acme.example", "--name", "Alice", "--key", "rsa2048")
    made = run("sign", "--credential", file, stdin=PLAIN).out
    ran = run("verify", "--trust", "ca.crt", stdin=made)
    assert ran.code == 0
    assert "originator: Alice <alice@acme.example>" in ran.text


@pytest.mark.requirement("R3183-6-02")
def test_a_private_key_is_for_its_owner_only_and_is_never_overwritten(ca: Path) -> None:
    assert stat.S_IMODE(ca.stat().st_mode) == 0o600
    before = ca.read_bytes()
    ran = run("cert", "issue", "--ca-name", "Other CA", "-o", ca)
    assert (ran.code, ca.read_bytes()) == (2, before)
    assert "exists already" in ran.err
    assert b"PRIVATE" not in (ca.parent / "ca.crt").read_bytes()


def test_an_intermediate_ca_goes_with_what_it_issues(ca: Path, tmp_path: Path) -> None:
    middle = tmp_path / "middle.pem"
    assert run("cert", "issue", "--ca", ca, "--ca-name", "Acme Mail CA", "-o", middle).code == 0
    file = issued(middle, "--role", "signing", "--domain", "acme.example")
    made = run(
        "sign-domain", "--credential", file, "--trust", "ca.crt", "--evidence", "local:alice@acme.example", stdin=PLAIN
    )
    assert run("verify", "--trust", "ca.crt", stdin=made.out).code == 0


def test_a_password_file_protects_the_new_key(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("correct horse\n")
    run("cert", "issue", "--ca-name", "CA", "--password-file", "secret", "-o", "ca.pem")
    assert b"ENCRYPTED PRIVATE KEY" in (tmp_path / "ca.pem").read_bytes()
    assert load_credential(tmp_path / "ca.pem", password=b"correct horse")
    options = ("--role", "signing", "--domain", "acme.example", "-o", "dsa.pem")
    assert run("cert", "issue", "--ca", "ca.pem", *options).code == 2
    assert run("cert", "issue", "--ca", "ca.pem", *options, DOMSEC_PASSWORD="correct horse").code == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "one of --ca-name, --role and --user"),
        (["--ca-name", "CA", "--user", "a@b.example"], "one of --ca-name, --role and --user"),
        (["--user", "a@b.example"], "--ca with the CA"),
        (["--ca", "ca.pem", "--role", "signing"], "--role and --domain together"),
        (["--ca", "ca.pem", "--role", "signing", "--domain", "no domain"], "no domain"),
        (["--ca", "ca.pem", "--role", "signing", "--domain", "a.example", "--key", "x25519"], "cannot sign"),
        (
            ["--ca", "ca.pem", "--role", "confidentiality", "--domain", "a.example", "--key", "ed25519"],
            "cannot decrypt",
        ),
        (["--ca-name", "CA", "--key", "x25519"], "a CA needs a key that signs"),
        (["--ca-name", "CA", "--key", "ml-kem-768"], "a CA needs a key that signs"),
        (["--ca-name", "CA", "--subject", "X=1"], "expected KEY=VALUE"),
        (["--ca-name", "CA", "--subject", "C=Deutschland"], "no certificate can carry"),
    ],
)
def test_what_cannot_be_issued_is_told(ca: Path, arguments: list[str], complaint: str, tmp_path: Path) -> None:
    ran = run("cert", "issue", *arguments, "-o", "new.pem")
    assert ran.code == 2
    assert complaint in ran.err
    assert not (tmp_path / "new.pem").exists()


def test_only_a_ca_issues(ca: Path) -> None:
    file = issued(ca, "--user", "alice@acme.example")
    ran = run("cert", "issue", "--ca", file, "--user", "mallory@acme.example", "-o", "new.pem")
    assert ran.code == 2
    assert "not the certificate of a CA" in ran.err


def test_a_name_that_no_verifier_accepts_is_issued_with_a_warning(ca: Path) -> None:
    ran = run("cert", "issue", "--ca", ca, "--role", "signing", "--domain", "example", "-o", "new.pem")
    assert ran.code == 0
    assert "domsec: warning: new.pem cannot serve as domain-signing-authority" in ran.err


# --- lint ------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.1.1-04", "R3183-3.1.1-06", "R3183-4.1-02")
@pytest.mark.parametrize(
    ("who", "serves"),
    [
        ("acme-signing", {"signing"}),
        ("acme-confidentiality", {"confidentiality"}),
        ("acme-review", {"review"}),
        ("acme-alice", {"user"}),
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
        (["--naming", "mailbox"], "the common name is not the mailbox of the certificate"),
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
