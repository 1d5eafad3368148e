"""`domsec cert request` and `domsec cert issue`: a key, a request, a CA and what it issues."""

from __future__ import annotations

import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commands import PLAIN, run
from domsec.cli.issuing import KEY_KINDS
from domsec.stores.certificates import certificates_in
from domsec.stores.credentials import load_credential
from domsec.trust import addresses, usage
from domsec.trust.issue import issue_crl

WORD = {"DOMSEC_PASSWORD": "correct horse"}


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
        ([], "--ca-name, or whom to issue for"),
        (["--ca-name", "CA", "--user", "a@b.example"], "--ca-name, or whom to issue for"),
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
        (["--ca-name", "CA", "--naming", "mailbox"], "expected --role with it"),
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


@pytest.mark.requirement("R3183-6-01")
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--user", "domain-confidentiality-authority@acme.example"], "domain-confidentiality-authority"),
        (["--user", "Domain-Signing-Authority@acme.example"], "domain-signing-authority"),
        (["--user", "alice@acme.example", "--name", "domain-signing-authority"], "domain-signing-authority"),
        (["--user", "alice@acme.example", "--name", "review-authority "], "review-authority"),
        (["--user", "alice@acme.example", "--name", "attribute-\u0430uthority"], "attribute-authority"),
        (["--ca-name", "attribute-authority"], "attribute-authority"),
    ],
)
def test_the_name_of_a_role_is_issued_for_the_role_only(ca: Path, arguments: list[str], name: str) -> None:
    """RFC 3183 6: these names are for legitimate entities, whether or not an organization does DOMSEC."""
    ran = run("cert", "issue", "--ca", ca, *arguments, "-o", "new.pem")
    assert (ran.code, Path("new.pem").exists()) == (2, False)
    assert f"is named like a {name}, expected --role to grant that" in ran.err


@pytest.mark.requirement("R3183-6-01")
def test_a_request_for_a_role_is_not_granted_by_itself(ca: Path) -> None:
    _, csr = requested("--role", "confidentiality", "--key", "rsa2048")
    issue = ("cert", "issue", "--ca", ca, "--request", csr, "-o", "x.crt")
    ran = run(*issue)
    assert (ran.code, Path("x.crt").exists()) == (2, False)
    assert "the request is for the domain-confidentiality-authority of acme.example, expected --role" in ran.err
    assert run(*issue, "--role", "confidentiality", "--domain", "acme.example").code == 0


def test_a_name_that_no_verifier_accepts_is_issued_with_a_warning(ca: Path) -> None:
    ran = run("cert", "issue", "--ca", ca, "--role", "signing", "--domain", "example", "-o", "new.pem")
    assert ran.code == 0
    assert "domsec: warning: new.pem cannot serve as domain-signing-authority" in ran.err


@pytest.mark.parametrize(
    ("role", "name"),
    [("signing", "domain-signing-authority"), ("confidentiality", "domain-confidentiality-authority"),
     ("review", "review-authority"), ("attributes", "attribute-authority")],
)  # fmt: skip
def test_a_role_is_named_by_its_mailbox_where_that_is_asked_for(ca: Path, role: str, name: str) -> None:
    for_role = ("--role", role, "--domain", "acme.example")
    file = issued(ca, *for_role, "--naming", "mailbox")
    lint = run("cert", "lint", "--json", file, "--naming", "mailbox")
    assert [r for r, found in lint.json["roles"].items() if found["serves"]] == [role]
    assert lint.json["certificate"]["subject"] == f"CN={name}@acme.example"
    _, csr = requested(*for_role, "--naming", "mailbox")
    by_request = run("cert", "lint", "--json", answered(ca, csr, *for_role), "--naming", "mailbox")
    assert by_request.json["certificate"]["subject"] == f"CN={name}@acme.example"
    assert run("cert", "lint", file, "--role", role).code == 1


# --- request ---------------------------------------------------------------------------------------------------------


def requested(*arguments: object, password: bool = True) -> tuple[Path, Path]:
    """A new key and its request, for the signing authority of acme.example unless said otherwise."""
    whom = arguments if any(a in arguments for a in ("--role", "--user")) else ("--role", "signing", *arguments)
    domain = () if "--user" in whom or "--domain" in whom else ("--domain", "acme.example")
    ran = run("cert", "request", *whom, *domain, "--new-key", "new.key", "-o", "new.csr", **(WORD if password else {}))
    assert ran.code == 0, ran.err
    return Path("new.key"), Path("new.csr")


def answered(ca: Path, request: Path, *arguments: object) -> Path:
    ran = run("cert", "issue", "--ca", ca, "--request", request, *arguments, "-o", "new.crt")
    assert ran.code == 0, ran.err
    assert "warning" not in ran.err
    return Path("new.crt")


@pytest.mark.requirement("R3183-3.1.1-01", "R3183-4.1-01")
@pytest.mark.parametrize("kind", KEY_KINDS)
def test_every_kind_of_key_gets_a_certificate_by_request(ca: Path, kind: str) -> None:
    role = "confidentiality" if kind in ("x25519", "ml-kem-768", "ml-kem-1024") else "signing"
    signer = issued(ca, "--role", "signing", "--domain", "acme.example") if role == "confidentiality" else None
    key, csr = requested("--role", role, "--key", kind, *(("--signer", signer) if signer else ()))
    crt = answered(ca, csr, "--role", role, "--domain", "acme.example")
    lint = run("cert", "lint", "--role", role, "--domain", "acme.example", crt)
    assert lint.code == 0, lint.text
    assert load_credential(key, password=b"correct horse", certificates=[crt])


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("signing", "domain-signing-authority"),
        ("confidentiality", "domain-confidentiality-authority"),
        ("review", "review-authority"),
        ("attributes", "attribute-authority"),
    ],
)
def test_every_role_gets_a_certificate_by_request(ca: Path, role: str, name: str) -> None:
    _, csr = requested("--role", role, "--subject", "O=Acme")
    ran = run("cert", "lint", "--json", answered(ca, csr, "--role", role, "--domain", "acme.example"))
    assert [r for r, found in ran.json["roles"].items() if found["serves"]] == [role]
    assert ran.json["certificate"]["subject"] == f"CN={name},O=Acme"


def test_a_person_signs_and_a_list_agent_serves_with_what_they_asked_for(ca: Path) -> None:
    key, csr = requested("--user", "alice@acme.example")
    alice = Path("alice.pem")
    alice.write_bytes(key.read_bytes() + answered(ca, csr).read_bytes())
    signed = run("sign", "--credential", alice, stdin=PLAIN, **WORD)
    assert run("verify", "--trust", "ca.crt", stdin=signed.out).code == 0
    for file in ("new.key", "new.csr", "new.crt"):
        Path(file).unlink()
    _, csr = requested("--user", "staff@lists.example", "--key", "rsa2048")
    (agent, *_) = certificates_in(answered(ca, csr).read_bytes(), "new.crt")
    assert addresses.addresses(agent) == ("staff@lists.example",)
    assert (usage.signing_problems(agent), usage.encryption_problems(agent)) == ((), ())


@pytest.mark.requirement("R3183-6-02")
def test_a_new_key_is_for_its_owner_only_and_behind_a_password() -> None:
    key, csr = requested()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert b"PRIVATE" not in csr.read_bytes()
    before = key.read_bytes()
    ran = run("cert", "request", "--user", "a@b.example", "--new-key", key, "-o", "other.csr", **WORD)
    assert (ran.code, key.read_bytes(), Path("other.csr").exists()) == (2, before, False)


def test_a_key_without_a_password_has_to_be_asked_for() -> None:
    asked = ("cert", "request", "--user", "alice@acme.example", "--new-key", "new.key", "-o", "new.csr")
    ran = run(*asked)
    assert (ran.code, Path("new.key").exists()) == (2, False)
    assert "--no-password" in ran.err
    ran = run(*asked, "--no-password")
    assert ran.code == 0
    assert "without a password" in ran.err
    assert Path("new.key").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_the_password_may_stand_in_a_file() -> None:
    Path("secret").write_text("correct horse\n")
    key, _ = requested("--password-file", "secret", password=False)
    ran = subprocess.run(
        ["openssl", "pkey", "-in", str(key), "-passin", "file:secret", "-noout"], capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_a_request_made_by_openssl_is_answered(ca: Path) -> None:
    subject = ("-subj", "/O=Acme/CN=domain-signing-authority", "-addext", "basicConstraints=critical,CA:TRUE")
    address = ("-addext", "subjectAltName=email:domain-signing-authority@acme.example")
    made = ("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "o.key", "-out", "o.csr")
    subprocess.run([*made, *subject, *address], capture_output=True, check=True)
    crt = answered(ca, Path("o.csr"), "--role", "signing", "--domain", "acme.example")
    described = run("cert", "show", "--json", crt).json[0]
    assert described["subject"] == "CN=domain-signing-authority,O=Acme"
    assert not described["ca"]  # what it asked for, and does not get
    assert load_credential("o.key", certificates=[crt])


def test_a_request_has_to_name_whom_the_ca_means(ca: Path) -> None:
    _, csr = requested()
    issue = ("cert", "issue", "--ca", ca, "--request", csr, "-o", "x.crt")
    for other in (("--role", "signing", "--domain", "beta.example"), ("--role", "review", "--domain", "acme.example"),
                  ("--user", "alice@acme.example")):  # fmt: skip
        ran = run(*issue, *other)
        assert (ran.code, Path("x.crt").exists()) == (1, False)
        assert "the request is for the domain-signing-authority of acme.example" in ran.err
    assert run(*issue, "--role", "signing", "--domain", "ACME.example").code == 0


def test_a_request_that_its_key_did_not_sign_is_refused(ca: Path) -> None:
    _, csr = requested()
    octets = csr.read_bytes()
    run("cert", "request", "--user", "a@b.example", "--new-key", "o.key", "-o", "o.csr", "--no-password")
    other = Path("o.csr").read_bytes()
    for file, damaged in (("a", octets.replace(b"REQUEST", b"RUBBISH")), ("b", octets + other), ("c", b"\x30\x03junk")):
        Path(file).write_bytes(damaged)
        ran = run("cert", "issue", "--ca", ca, "--request", file, "-o", "x.crt")
        assert (ran.code in (2, 5), Path("x.crt").exists()) == (True, False)
    der_form = subprocess.run(
        ["openssl", "req", "-in", str(csr), "-outform", "DER"], capture_output=True, check=True
    ).stdout
    Path("d").write_bytes(der_form.replace(b"acme.example", b"acne.example"))
    ran = run("cert", "issue", "--ca", ca, "--request", "d", "-o", "x.crt")
    assert (ran.code, Path("x.crt").exists()) == (1, False)
    assert "was not made with its key" in ran.err


def test_possession_stated_by_another_domain_is_refused(ca: Path) -> None:
    signer = issued(ca, "--role", "signing", "--domain", "beta.example")
    _, csr = requested("--role", "confidentiality", "--key", "ml-kem-1024", "--signer", signer)
    ran = run("cert", "issue", "--ca", ca, "--request", csr, "-o", "x.crt")
    assert (ran.code, Path("x.crt").exists()) == (1, False)
    assert "stated by somebody other than the owner" in ran.err


def test_possession_stated_by_who_was_revoked_is_refused(ca: Path) -> None:
    signer = issued(ca, "--role", "signing", "--domain", "acme.example")
    _, csr = requested("--role", "confidentiality", "--key", "x25519", "--signer", signer)
    authority = load_credential(ca)
    serial = load_credential(signer).certificate.serial
    for name, revoked in (("none.crl", []), ("some.crl", [serial])):
        octets = issue_crl(authority.certificate, authority.key, revoked, now=datetime.now(UTC), days=7)
        Path(name).write_bytes(octets)
    issue = ("cert", "issue", "--ca", ca, "--request", csr, "-o", "x.crt")
    ran = run(*issue, "--crl", "some.crl")
    assert (ran.code, Path("x.crt").exists()) == (1, False)
    assert "revoked" in ran.err
    assert run(*issue, "--crl", csr).code == 2
    assert run(*issue, "--crl", "none.crl", "--role", "confidentiality", "--domain", "acme.example").code == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--role or --user"),
        (["--role", "signing"], "--role and --domain together"),
        (["--role", "signing", "--domain", "a.example", "--user", "a@b.example"], "one of --role and --user"),
        (["--role", "signing", "--domain", "a.example", "--key", "x25519"], "cannot sign"),
        (["--user", "a@b.example", "--key", "x25519"], "needs another"),
        (["--user", "a@b.example", "--subject", "X=1"], "expected KEY=VALUE"),
        (["--user", "a@b.example", "--naming", "mailbox"], "expected --role with it"),
    ],
)
def test_what_cannot_be_asked_for_is_told(arguments: list[str], complaint: str) -> None:
    ran = run("cert", "request", *arguments, "--new-key", "new.key", **WORD)
    assert (ran.code, ran.out, Path("new.key").exists()) == (2, b"", False)
    assert complaint in ran.err


@pytest.mark.parametrize(
    "arguments", [["--key", "p256"], ["--name", "Alice"], ["--subject", "O=Acme"], ["--naming", "mailbox"]]
)
def test_the_request_says_what_is_issued(ca: Path, arguments: list[str]) -> None:
    _, csr = requested()
    ran = run("cert", "issue", "--ca", ca, "--request", csr, *arguments, "-o", "x.crt")
    assert ran.code == 2
    assert "the request has the key, the name and the subject" in ran.err
