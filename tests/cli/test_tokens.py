"""`--credential pkcs11:...` in a real token: what it signs OpenSSL verifies, what OpenSSL encrypts it opens."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import pki
import softhsm
from commands import AT, PLAIN, Desk, run
from softhsm import Token

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")

SECRET = b"Content-Type: text/plain\r\n\r\nattack at dawn\r\n"


def openssl(*arguments: object, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
def test_openssl_verifies_a_domain_signature_made_in_a_token(token: Token, desk: Desk, kind: str) -> None:
    ran = run(
        "sign-domain",
        "--credential",
        token.uri(kind),
        "--evidence",
        "local:alice@acme.example",
        *desk.trust,
        stdin=PLAIN,
    )
    assert (ran.code, ran.err) == (0, "domsec: OC is now S[domain](S0(OC))\n")
    assert run("verify", *desk.trust, stdin=ran.out).code == 0
    time = str(int(pki.NOW.timestamp()))
    inside = openssl("cms", "-verify", "-CAfile", desk.certificate("acme-ca"), "-attime", time, stdin=ran.out)
    assert b"pkcs7-mime" in inside


@pytest.mark.parametrize(
    ("kind", "options"),
    [("rsa2048", ("rsa_padding_mode:pkcs1",)), ("rsa2048", ("rsa_padding_mode:oaep",)), ("p256", ()), ("p384", ())],
)
def test_a_token_opens_what_openssl_encrypted(
    token: Token, desk: Desk, tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    name = "dca-" + "-".join((kind, *options)).replace(":", "-")
    authority = softhsm.certificate(token.generate(name, kind), "confidentiality", "acme.example")
    (tmp_path / "dca.pem").write_bytes(softhsm.pem(authority))
    how = [part for option in options for part in ("-keyopt", option)]
    sealed = openssl("cms", "-encrypt", "-aes-256-gcm", "-recip", tmp_path / "dca.pem", *how, stdin=SECRET)
    ran = run("decrypt", "--credential", token.uri(name), "--cert", tmp_path / "dca.pem", stdin=sealed)
    assert (ran.code, ran.out.removeprefix(b"MIME-Version: 1.0\r\n")) == (0, SECRET), ran.err


def test_a_configuration_may_name_keys_in_a_token(token: Token, desk: Desk, tmp_path: Path) -> None:
    authority = softhsm.certificate(token.generate("configured", "p256"), "confidentiality", "acme.example")
    (tmp_path / "dca.pem").write_bytes(softhsm.pem(authority))
    (tmp_path / "domsec.toml").write_text(
        f'domains = ["acme.example"]\n[keys.signing]\ncredential = "{token.uri("p256")}"\n'
        f'[keys.confidentiality]\ncredential = "{token.uri("configured")}"\ncertificates = "dca.pem"\n'
        f'[trust]\nroles = ["{desk.certificate("acme-ca")}"]\n[[outbound.evidence]]\nkind = "network"\n'
        'networks = ["127.0.0.0/8"]\n'
    )
    ran = run("config", "check", "--config", tmp_path / "domsec.toml", *AT)
    assert (ran.code, ran.err) == (0, f"domsec: {tmp_path}/domsec.toml: nothing is wrong with it\n")
    # by its number, and by its name
    uri = token.uri("p256").replace("object=p256", f"id=%{token.ids['p256']:02x}")
    other = softhsm.certificate(token.public_keys["p256"], "confidentiality", "acme.example")
    (tmp_path / "dca.pem").write_bytes(softhsm.pem(other))
    both = (tmp_path / "domsec.toml").read_text().replace(token.uri("configured"), uri)
    (tmp_path / "domsec.toml").write_text(both)
    ran = run("config", "check", "--config", tmp_path / "domsec.toml", *AT)
    assert ran.code == 2
    assert "the key of keys.confidentiality is that of keys.signing too, expected a key of its own" in ran.err


@pytest.mark.parametrize(("padding", "code"), [("pkcs1", 1), ("oaep", 0)])
def test_a_key_may_be_told_not_to_undo_pkcs1v15(
    token: Token, desk: Desk, tmp_path: Path, padding: str, code: int
) -> None:
    """Threats T-22. What is refused looks like any message that does not open."""
    name = f"dca-refuses-{padding}"
    authority = softhsm.certificate(token.generate(name, "rsa2048"), "confidentiality", "acme.example")
    (tmp_path / "dca.pem").write_bytes(softhsm.pem(authority))
    (tmp_path / "domsec.toml").write_text(
        f'domains = ["acme.example"]\n[keys.confidentiality]\ncredential = "{token.uri(name)}"\n'
        f'certificates = "dca.pem"\npkcs1v15 = false\n[trust]\nroles = ["{desk.certificate("acme-ca")}"]\n'
    )
    how = ("-keyopt", f"rsa_padding_mode:{padding}")
    sealed = openssl("cms", "-encrypt", "-aes-256-gcm", "-recip", tmp_path / "dca.pem", *how, stdin=SECRET)
    ran = run("decrypt", "--config", tmp_path / "domsec.toml", stdin=sealed)
    assert (ran.code, b"attack" in ran.out) == (code, code == 0)
    if code:
        assert ran.err == "domsec: error: the message could not be decrypted\n"
