"""Old mail: read where somebody says that this is an archive, and accepted nowhere (decisions A-46, A-47)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import pki
import world
from commands import Desk, desk, run
from domsec.mime import smime
from domsec.services.check import examine
from domsec.services.layers import peel
from domsec.services.verdict import Verdict
from domsec.trust import issue
from world import acme, beta


def judged(octets: bytes, *, archive: bool) -> Verdict:
    context = world.context(beta().confidentiality, archive=archive)
    return examine(peel(octets, context.keyring, archive=archive), context).verdict


OLD = world.message(world.triple_des(world.entity("S[domain](S(OC))"), beta().confidentiality))


def test_triple_des_stays_closed() -> None:
    found = judged(OLD, archive=False)
    assert (found.accepted, found.decrypted, found.structure) == (False, False, "E")
    assert world.codes(found, "violation") == {"enc.outdated"}
    assert [f.text for f in found.violations] == ["des-ede3-cbc: opened in archives only"]


def test_in_an_archive_triple_des_opens_and_what_is_inside_is_judged_but_not_accepted() -> None:
    found = judged(OLD, archive=True)
    assert (found.decrypted, found.structure) == (True, "E(S[domain](S[originator](OC)))")
    assert [layer.state for layer in found.layers] == [None, "valid", "valid", None]
    assert not found.accepted
    assert world.codes(found, "violation") == {"enc.outdated"}


def test_what_is_for_others_is_no_matter_of_ours() -> None:
    """Mail for people with keys of their own passes, whatever it is encrypted with."""
    for_bob = world.message(world.triple_des(world.TEXT, beta().users["bob"]))
    assert world.codes(judged(for_bob, archive=False)) == {"enc.unsigned", "enc_agent.unknown"}


def test_a_gateway_opens_none() -> None:
    decided = world.receive(OLD)
    assert (decided.outgoing, len(decided.held)) == ((), 1)
    assert decided.held[0].reasons == ("unopenable",)


# --- signatures -----------------------------------------------------------------------------------------------------


def signed_by_openssl(folder: Path, *options: str, bits: int = 2048) -> bytes:
    key = rsa.generate_private_key(65537, bits)
    ca = acme().ca
    certificate = issue.issue("user", "alice@acme.example", key.public_key(), ca.certificate, ca.signing_key,
                              now=pki.START, days=pki.DAYS)  # fmt: skip
    files = Desk(folder)
    (folder / "keys").mkdir()
    (folder / "certs").mkdir()
    signer = files.add("alice", pki.Identity(certificate, key))
    command = ["openssl", "cms", "-sign", "-binary", "-nodetach", "-signer", str(signer), *options]
    made = subprocess.run(command, input=world.TEXT, capture_output=True, check=True).stdout
    return world.message(made.partition(b"\n")[2] if made.startswith(b"MIME-Version") else made)


@pytest.mark.interop
@pytest.mark.parametrize(
    ("options", "bits", "why"),
    [(("-md", "sha1"), 2048, "sha1"), (("-md", "md5"), 2048, "md5"), (("-md", "sha256"), 1024, "rsa-1024")],
)
def test_weak_signatures_are_computed_in_archives_only(
    tmp_path: Path, options: tuple[str, ...], bits: int, why: str
) -> None:
    octets = signed_by_openssl(tmp_path, *options, bits=bits)
    changed = world.message(smime.pkcs7_mime(_der(octets).replace(b"dawn", b"dusk"), "signed-data"))
    for archive, whole, broken in ((False, "weak", "weak"), (True, "weak", "invalid")):
        for message, state in ((octets, whole), (changed, broken)):
            found = judged(message, archive=archive)
            assert (found.layers[0].state, found.level, found.accepted) == (state, "none", False)
    assert f"{why} (not computed: this is no archive)" in judged(octets, archive=False).layers[0].signers[0].reason
    assert judged(octets, archive=True).layers[0].signers[0].reason == why


def _der(octets: bytes) -> bytes:
    signed = peel(octets).root
    found = smime.recognise(signed.entity)
    assert isinstance(found, smime.Pkcs7)
    return found.der


# --- the switch of the commands -------------------------------------------------------------------------------------


def test_the_commands_that_read_have_a_switch(tmp_path: Path) -> None:
    files = desk(tmp_path)
    key = ("--credential", files.key("beta-confidentiality"))
    ran = run("decrypt", *key, stdin=OLD)
    assert (ran.code, ran.out) == (1, b"")
    assert "domsec: hint: des-ede3-cbc: opened in archives only, expected --archive" in ran.err
    ran = run("decrypt", "--archive", *key, stdin=OLD)
    assert ran.code == 0
    assert run("show", *key, stdin=OLD).text.startswith("structure: E\n")
    assert run("show", "--archive", *key, stdin=OLD).text.startswith("structure: E(S[domain](S[originator](OC)))\n")
    for options in ((), ("--archive",)):
        ran = run("verify", *key, *files.trust, *options, stdin=OLD)
        assert ran.code == 3
        assert "violation: enc.outdated" in ran.text
