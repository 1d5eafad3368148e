"""`domsec encrypt`, `decrypt` and `locate`."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

import pki
from commands import AT, PLAIN, Desk, public, run
from domsec.mime import fields, smime
from domsec.services.layers import peel
from domsec.trust.issue import KeyKind

WORLD = pki.world()
BOB = ("--to", "bob@beta.example")


def encrypted(desk: Desk, *arguments: object, stdin: bytes = PLAIN) -> bytes:
    ran = run("encrypt", *BOB, "--cert", desk.certificates, *desk.trust, *arguments, stdin=stdin)
    assert ran.code == 0, ran.err
    return ran.out


@pytest.mark.requirement("R3183-4-10", "R3183-4.3-01")
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "x25519", "ml-kem-768", "ml-kem-1024"])
def test_what_is_encrypted_can_be_decrypted_with_every_kind_of_key(desk: Desk, kind: KeyKind, tmp_path: Path) -> None:
    authority = pki.identity("confidentiality", "beta.example", WORLD.beta.ca, kind)
    key = desk.add(f"authority-{kind}", authority)
    certificate = desk.certificate(f"authority-{kind}")
    options = ("--target", "dca", "--cert", certificate)
    made = run("encrypt", *BOB, *options, *desk.trust, stdin=PLAIN).out
    certificate.unlink()  # the next test shall not find it
    ran = run("decrypt", "--credential", key, stdin=made)
    assert ran.code == 0
    assert fields.entity_of(ran.out) == fields.entity_of(PLAIN)
    assert b"Subject: the contract" in ran.out


@pytest.mark.requirement("R3183-4-03", "R3183-4-05", "R3183-4.2-01", "R3183-4.2-02")
@pytest.mark.parametrize(
    ("target", "openers"),
    [("dca", {"beta-confidentiality"}), ("recipient", {"beta-bob"}), ("auto", {"beta-bob"}),
     ("both", {"beta-bob", "beta-confidentiality"})],
)  # fmt: skip
def test_the_target_says_whose_certificate_is_used(desk: Desk, target: str, openers: set[str]) -> None:
    made = encrypted(desk, "--target", target)
    keys = {who: desk.key(who) for who in ("beta-bob", "beta-confidentiality", "acme-confidentiality")}
    assert {who for who, key in keys.items() if run("decrypt", "--credential", key, stdin=made).code == 0} == openers


@pytest.mark.requirement("R3183-6-07", "R3183-1-03")
def test_signatures_inside_stay_as_they_came(desk: Desk, signed: Path) -> None:
    made = encrypted(desk, stdin=signed.read_bytes())
    ran = run("decrypt", "--credential", desk.key("beta-bob"), stdin=made)
    assert fields.entity_of(ran.out) == fields.entity_of(signed.read_bytes())
    assert run("verify", *desk.trust, stdin=ran.out).code == 0


@pytest.mark.requirement("R8551-3.3-01")
def test_the_originator_can_have_a_copy(desk: Desk) -> None:
    """Only if asked for: a copy is one more key that opens the message."""
    alice = ("--credential", desk.key("acme-alice"))
    assert run("decrypt", *alice, stdin=encrypted(desk)).code == 1
    made = encrypted(desk, "--copy", *alice)
    for who in ("acme-alice", "beta-bob"):
        ran = run("decrypt", "--credential", desk.key(who), stdin=made)
        assert fields.entity_of(ran.out) == fields.entity_of(PLAIN)
    enveloped = peel(made).root.enveloped
    assert enveloped is not None
    assert len(enveloped.recipients) == 2
    ran = run("encrypt", *BOB, "--copy", "--cert", desk.certificate("beta-bob"), *desk.trust, stdin=PLAIN)
    assert (ran.code, ran.out) == (1, b"")
    assert "no usable certificate for alice@acme.example" in ran.err


def test_only_the_outer_encryption_comes_off(desk: Desk) -> None:
    twice = encrypted(desk, stdin=encrypted(desk))
    ran = run("decrypt", "--credential", desk.key("beta-bob"), stdin=twice)
    assert peel(ran.out).root.encrypted


def test_a_signature_around_the_encryption_comes_off_with_it_and_that_is_said(desk: Desk) -> None:
    outside = run("sign", "--credential", desk.key("acme-alice"), stdin=encrypted(desk)).out
    ran = run("decrypt", "--credential", desk.key("beta-bob"), stdin=outside)
    assert ran.code == 0
    assert "1 layers around the encryption came off" in ran.err


def test_without_the_key_one_learns_whose_it_is(desk: Desk) -> None:
    ran = run("decrypt", "--credential", desk.key("acme-alice"), stdin=encrypted(desk))
    assert (ran.code, ran.out) == (1, b"")
    assert ran.err.splitlines()[0] == "domsec: error: no key for any recipient of layer 1"
    assert "of CN=beta.example CA" in ran.err


def test_a_damaged_encryption_says_nothing_of_why(desk: Desk) -> None:
    made = encrypted(desk, "--target", "dca")
    found = smime.recognise(fields.entity_of(made))
    assert isinstance(found, smime.Pkcs7)
    damaged = smime.pkcs7_mime(found.der[:-1] + bytes([found.der[-1] ^ 1]), "authEnveloped-data")
    ran = run("decrypt", "--credential", desk.key("beta-confidentiality"), stdin=damaged)
    assert (ran.code, ran.out, ran.err) == (1, b"", "domsec: error: the message could not be decrypted\n")


def test_what_is_not_encrypted_cannot_be_decrypted(desk: Desk) -> None:
    ran = run("decrypt", "--credential", desk.key("beta-bob"), stdin=PLAIN)
    assert (ran.code, ran.err) == (1, "domsec: error: nothing is encrypted in OC\n")


# --- locate ----------------------------------------------------------------------------------------------------------


def test_locate_names_the_certificate_and_why_not_another(desk: Desk) -> None:
    options = ("--target", "dca", "--cert", desk.certificates, *desk.trust)
    digest = WORLD.beta.confidentiality.certificate.sha256
    ran = run("locate", "--explain", *options, "bob@mail.beta.example")
    assert ran.code == 0
    assert ran.text.splitlines() == [
        f"{digest} CN=domain-confidentiality-authority",
        "- no certificate of the authority of mail.beta.example",
        f"+ {digest[:16]} CN=domain-confidentiality-authority: usable for the authority of beta.example",
    ]
    assert run("locate", *options, "bob@mail.beta.example").text.splitlines() == ran.text.splitlines()[:1]


@pytest.mark.requirement("R3183-4.2-01", "R3183-4.2-07")
def test_locate_tells_a_program_of_each_certificate_whether_it_is_used(desk: Desk, tmp_path: Path) -> None:
    ca = WORLD.beta.ca
    newer = pki.identity("confidentiality", "beta.example", ca, now=pki.START + timedelta(days=1))
    expired = pki.identity("confidentiality", "beta.example", ca, days=3)
    for name, identity in (("newer", newer), ("expired", expired)):
        (tmp_path / f"{name}.pem").write_bytes(public(identity.certificate))
    options = ("--cert", tmp_path, "--cert", desk.certificate("beta-confidentiality"), *desk.trust)
    found = run("locate", "--json", "--target", "dca", *options, "bob@beta.example")
    assert (found.code, found.json["complete"], found.json["authority"]) == (0, True, True)
    assert [c["sha256"] for c in found.json["certificates"]] == [newer.certificate.sha256]
    considered = {one["sha256"]: (one["used"], one["why"]) for one in found.json["considered"]}
    assert {one["whose"] for one in found.json["considered"]} == {"the authority of beta.example"}
    assert considered[newer.certificate.sha256] == (True, "usable for the authority of beta.example")
    assert considered[WORLD.beta.confidentiality.certificate.sha256] == (
        False, "usable for the authority of beta.example, but another one is newer",
    )  # fmt: skip
    assert considered[expired.certificate.sha256][0] is False
    assert "expired" in considered[expired.certificate.sha256][1]


def test_locate_explains_the_certificates_that_the_search_did_not_come_to(desk: Desk, tmp_path: Path) -> None:
    """Everything filed for the address and the domains above it is named once, whatever was asked for."""
    mail = pki.identity("confidentiality", "mail.beta.example", WORLD.beta.ca)
    bob = pki.identity("user", "bob@mail.beta.example", WORLD.beta.ca)
    for name, identity in (("mail", mail), ("bob", bob)):
        (tmp_path / f"{name}.pem").write_bytes(public(identity.certificate))
    options = ("--cert", tmp_path, "--cert", desk.certificate("beta-confidentiality"), *desk.trust)

    def trace(target: str) -> dict[str, str]:
        ran = run("locate", "--explain", "--json", "--target", target, *options, "bob@mail.beta.example")
        return {one["sha256"]: one["why"] for one in ran.json["considered"]}

    above = WORLD.beta.confidentiality.certificate.sha256
    lines = run("locate", "--explain", *options, "bob@mail.beta.example").text.splitlines()
    assert [line[0] for line in lines[1:]] == ["+", "-", "-"]
    assert trace("auto") == {
        bob.certificate.sha256: "usable for bob@mail.beta.example",
        mail.certificate.sha256: "usable for the authority of mail.beta.example, but the recipient's own is wanted",
        above: "usable for the authority of beta.example, but the recipient's own is wanted",
    }
    assert trace("dca") == {
        bob.certificate.sha256: "usable for bob@mail.beta.example, but an authority is asked for",
        mail.certificate.sha256: "usable for the authority of mail.beta.example",
        above: "usable for the authority of beta.example, but a nearer authority is used",
    }
    assert "usable for the authority of beta.example, but a nearer authority is used" in trace("both").values()


@pytest.mark.requirement("R3183-4.1-07")
def test_locate_says_why_there_is_none(desk: Desk, tmp_path: Path) -> None:
    untrusted = ("--trust", desk.certificate("acme-ca"), "--at", pki.NOW.isoformat(), "--cert", desk.certificates)
    ran = run("locate", *untrusted, "bob@beta.example")
    assert ran.code == 1
    assert "domsec: error: no usable certificate for bob@beta.example" in ran.err
    assert "untrusted: no path to an anchor" in ran.err
    listed = run("locate", "--json", *untrusted, "bob@beta.example")
    assert (listed.code, listed.json["complete"], listed.json["certificates"]) == (1, False, [])
    assert not any(one["used"] for one in listed.json["considered"])
    assert len(listed.json["trace"]) == len(listed.json["considered"]) > 1


# --- for whom nothing here has a key ----------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.requirement("R5652-6.2-01")
def test_a_password_is_told_clearly_and_not_asked_for(desk: Desk) -> None:
    command = ["openssl", "cms", "-encrypt", "-aes256", "-outform", "DER", "-pwri_password", "secret"]
    made = subprocess.run(command, input=PLAIN, capture_output=True, check=True).stdout
    told = "pwri: a password, which is not supported"
    assert told in run("show", stdin=made).text
    for arguments in ((), ("--credential", desk.key("beta-bob"))):
        ran = run("decrypt", *arguments, stdin=made)
        assert (ran.code, ran.out) == (1, b"")
        assert f"hint: it is for {told}" in ran.err
        assert "--credential" not in ran.err


@pytest.mark.interop
@pytest.mark.requirement("R5652-6.2-01")
def test_a_key_that_both_sides_were_given_before(desk: Desk, tmp_path: Path) -> None:
    """By OpenSSL for us, and by us for OpenSSL; beside a recipient with a certificate too."""
    keys = tmp_path / "keys"
    keys.write_text(f"01 {16 * '0f'}\n\n02ab {32 * 'c3'}\n")
    for identifier, key in (line.split() for line in keys.read_text().splitlines() if line):
        options = ["-secretkey", key, "-secretkeyid", identifier]
        command = ["openssl", "cms", "-encrypt", "-aes256", "-binary", "-outform", "DER", *options]
        theirs = subprocess.run(command, input=fields.entity_of(PLAIN), capture_output=True, check=True).stdout
        assert f"kekri aes{len(key) * 4}Wrap: the shared key {identifier}" in run("show", stdin=theirs).text
        refused = run("decrypt", stdin=theirs)
        assert (refused.code, refused.out) == (1, b"")
        ran = run("decrypt", "--shared-key", keys, stdin=theirs)
        assert ran.code == 0
        assert ran.err.endswith("domsec: opened with a shared key\n")
        assert ran.out.endswith(fields.entity_of(PLAIN))
        made = run("encrypt", "--shared-key", keys, stdin=PLAIN)
        assert made.err == "domsec: encrypted to the shared key 01; the shared key 02ab\n"
        done = subprocess.run(["openssl", "cms", "-decrypt", *options], input=made.out, capture_output=True, check=True)
        assert done.stdout == fields.entity_of(PLAIN)
    both = encrypted(desk, "--target", "recipient", "--shared-key", keys)
    for opener in (("--shared-key", keys), ("--credential", desk.key("beta-bob"))):
        assert run("decrypt", *opener, stdin=both).code == 0


@pytest.mark.parametrize("text", ["01\n", "01 0f\n", "xx 00\n", f"01 {16 * '0f'} 02\n"])
def test_a_file_of_shared_keys_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    ran = run("decrypt", "--shared-key", tmp_path / "keys", stdin=PLAIN)
    assert (ran.code, ran.out) == (2, b"")
    assert "expected the identifier and a key of 16, 24 or 32 octets on each line" in ran.err


# --- on the road ------------------------------------------------------------------------------------------------------


def profile(
    desk: Desk, folder: Path, *, domain: str = "acme.example", certificate: str = "acme-confidentiality"
) -> Path:
    """What somebody of acme takes along."""
    made = folder / "road.toml"
    made.write_text(
        f"""
domains = ["acme.example"]
[client]
home_domain = "{domain}"
[trust]
roles = ["{desk.certificate("acme-ca")}"]
certificates = ["{desk.certificate(certificate)}"]
[outbound]
cipher = "aes256-cbc"
"""
    )
    return made


@pytest.mark.requirement("R3183-4-11", "R3183-4-03")
def test_a_roving_user_writes_home_without_saying_to_whom(desk: Desk, signed: Path, tmp_path: Path) -> None:
    """Decisions A-42: its default is the authority of the home domain, and whoever has that key opens it."""
    ran = run("encrypt", "--config", profile(desk, tmp_path), *AT, stdin=signed.read_bytes())
    assert (ran.code, ran.err) == (0, "domsec: encrypted to CN=domain-confidentiality-authority\n")
    assert run("decrypt", "--credential", desk.key("acme-alice"), stdin=ran.out).code == 1
    opened = run("decrypt", "--credential", desk.key("acme-confidentiality"), stdin=ran.out)
    assert fields.entity_of(opened.out) == fields.entity_of(signed.read_bytes())
    command = ["openssl", "cms", "-decrypt", "-inkey", desk.key("acme-confidentiality")]
    theirs = subprocess.run(command, input=ran.out, capture_output=True, check=True).stdout
    assert theirs == fields.entity_of(signed.read_bytes())


@pytest.mark.requirement("R3183-4-11")
def test_ones_own_domain_is_a_target_like_others(desk: Desk) -> None:
    options = ("--to", "carol@acme.example", "--target", "dca", "--cert", desk.certificates, *desk.trust)
    ran = run("encrypt", *options, "--credential", desk.key("acme-alice"), stdin=PLAIN)
    assert ran.code == 0, ran.err
    assert run("decrypt", "--credential", desk.key("acme-confidentiality"), stdin=ran.out).code == 0


def test_home_is_checked_like_every_authority(desk: Desk, tmp_path: Path) -> None:
    """A certificate of another domain, or a person's, is not taken for that of the home domain's authority."""
    for wrong in ("beta-confidentiality", "acme-alice"):
        ran = run("encrypt", "--config", profile(desk, tmp_path, certificate=wrong), *AT, stdin=PLAIN)
        assert (ran.code, ran.out) == (1, b"")
        assert "no usable certificate for domain-confidentiality-authority@acme.example" in ran.err


def test_whoever_says_nothing_and_has_no_home_is_asked_for_recipients(desk: Desk) -> None:
    ran = run("encrypt", *desk.trust, stdin=PLAIN)
    assert (ran.code, ran.out) == (2, b"")
    assert "expected --to, or client.home_domain in the configuration" in ran.err


# --- what is hidden (RFC 9788) ----------------------------------------------------------------------------------------


@pytest.mark.requirement("R9788-4-01")
def test_a_hidden_subject_comes_back_with_decryption(desk: Desk) -> None:
    made = encrypted(desk, "--hide-subject")
    assert b"Subject: [...]\r\n" in made
    assert b"the contract" not in made
    ran = run("decrypt", "--credential", desk.key("beta-bob"), stdin=made)
    assert b"Subject: the contract\r\n" in ran.out
    assert b"[...]" not in ran.out
    shown = run("show", "--credential", desk.key("beta-bob"), stdin=made).text
    assert "hidden outside: subject" in shown


@pytest.mark.requirement("R9788-4-01")
def test_a_subject_hidden_while_signing_stays_hidden_by_encryption(desk: Desk) -> None:
    signed = run("sign", "--hide-subject", "--credential", desk.key("acme-alice"), stdin=PLAIN)
    made = encrypted(desk, stdin=signed.out)
    assert b"the contract" not in made
    ran = run("decrypt", "--credential", desk.key("beta-bob"), stdin=made)
    assert b"Subject: the contract\r\n" in ran.out.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert fields.entity_of(ran.out) == fields.entity_of(signed.out)
    verified = run("verify", "--json", *desk.trust, "--credential", desk.key("beta-bob"), stdin=made)
    assert (verified.code, "subject" in verified.json["headers"]) == (0, True)


@pytest.mark.requirement("R9788-4-01", "R3183-4-08")
def test_a_domain_hides_the_subject_of_what_it_encrypts(desk: Desk) -> None:
    asked = ("sign-domain", "--hide-subject", "--evidence", "local:alice@acme.example", *desk.trust)
    options = ("--credential", desk.key("acme-signing"), "--cert", desk.certificates, "--rcpt", "bob@beta.example")
    made = run(*asked, *options, "--encrypt", "dca", stdin=PLAIN)
    assert made.code == 0, made.err
    assert b"Subject: [...]\r\n" in made.out
    assert b"the contract" not in made.out
    in_clear = run(*asked, *options, "--encrypt", "no", stdin=PLAIN)
    assert b"Subject: the contract\r\n" in in_clear.out


def test_nothing_is_hidden_of_what_is_signed_already(desk: Desk, signed: Path) -> None:
    ran = run("encrypt", *BOB, "--cert", desk.certificates, *desk.trust, "--hide-subject", signed)
    assert (ran.code, ran.out) == (2, b"")
    assert "--hide-subject for a message that is signed" in ran.err
