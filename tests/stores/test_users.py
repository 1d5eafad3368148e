"""Keys of users in a folder: each kind of file, each way to a password, and what is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, pkcs12

import pki
from commands import private, public
from domsec.cms.credential import Credential
from domsec.stores import users
from domsec.stores.key_process import KeyProcessCredential
from domsec.stores.users import Opened, load_users, users_in_key_process

ACME = pki.world().acme
ALICE, BOB = ACME.user("alice"), ACME.user("bob")


def pem(identity: pki.Identity) -> bytes:
    return private(identity.key) + public(identity.certificate)


def p12(identity: pki.Identity, password: bytes) -> bytes:
    cas = [ACME.ca.certificate.x509]
    encryption = BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(None, identity.key, identity.certificate.x509, cas, encryption)


def names(folder: Path, password_file: Path | None = None, **more: str) -> list[str]:
    return [path.name for path, _ in load_users(folder, password_file, **more).files]


def test_pem_and_pkcs12_are_read_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "alice.pem").write_bytes(pem(ALICE))
    (tmp_path / "bob.p12").write_bytes(p12(BOB, b"secret"))
    (tmp_path / "bob.password").write_text("secret\n")
    for name in ("README", ".hidden.pem", "alice.pem~"):
        (tmp_path / name).write_bytes(pem(ALICE))
    held = load_users(tmp_path, None)
    assert [path.name for path, _ in held.files] == ["alice.pem", "bob.p12"]
    assert [c.certificate for c in held.credentials] == [ALICE.certificate, BOB.certificate]
    assert held.problems == ()


def test_a_password_of_its_own_goes_before_that_of_all(tmp_path: Path) -> None:
    folder = tmp_path / "users"
    folder.mkdir()
    (tmp_path / "all").write_text("common\n")
    (folder / "alice.p12").write_bytes(p12(ALICE, b"common"))
    (folder / "bob.pfx").write_bytes(p12(BOB, b"own"))
    (folder / "bob.password").write_text("own\n")
    assert names(folder, tmp_path / "all") == ["alice.p12", "bob.pfx"]
    assert names(folder, environment_password="common") == ["alice.p12", "bob.pfx"]
    assert names(folder) == ["bob.pfx"]


def test_a_broken_file_is_named_and_the_rest_is_there(tmp_path: Path) -> None:
    (tmp_path / "alice.pem").write_bytes(pem(ALICE))
    (tmp_path / "bad.pem").write_bytes(pem(BOB)[:200])
    (tmp_path / "bare.pem").write_bytes(private(BOB.key))
    (tmp_path / "shut.p12").write_bytes(p12(BOB, b"secret"))
    held = load_users(tmp_path, None, environment_password="wrong")
    assert [path.name for path, _ in held.files] == ["alice.pem"]
    assert sorted(Path(text.partition(":")[0]).name for text in held.problems) == ["bad.pem", "bare.pem", "shut.p12"]


def test_a_folder_that_is_away_is_a_problem(tmp_path: Path) -> None:
    held = load_users(tmp_path / "none", None)
    assert held.files == ()
    assert "cannot be read" in held.problems[0]


def test_so_many_keys_are_held_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "MOST", 2)
    for count, problems in ((2, 0), (3, 1)):
        for number in range(count):
            (tmp_path / f"{number}.pem").write_bytes(pem(ALICE))
        held = load_users(tmp_path, None)
        assert (len(held.files), len(held.problems)) == (2, problems)


def test_private_format_of_others_is_read(tmp_path: Path) -> None:
    encryption = BestAvailableEncryption(b"secret")
    key = ALICE.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    (tmp_path / "alice.pem").write_bytes(key + public(ALICE.certificate))
    assert names(tmp_path, environment_password="secret") == ["alice.pem"]


def test_what_was_opened_is_not_opened_again_and_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    """A process that reloads has thousands of them, and each RSA key takes a tenth of a second."""
    (tmp_path / "alice.p12").write_bytes(p12(ALICE, b"secret"))
    (tmp_path / "bob.pem").write_bytes(pem(BOB))
    (tmp_path / "bad.pem").write_text("nothing of use")
    opened: Opened = {}
    told: list[int] = []

    def load(password: str = "secret") -> dict[str, Credential]:
        """Everything that is there; `told` has how many files were opened for it."""
        told.append(0)
        held = load_users(
            tmp_path, None, environment_password=password, opened=opened, takes_time=lambda: told.append(told.pop() + 1)
        )
        return {path.name: credential for path, credential in held.files}

    first = load()
    assert load() == first
    (tmp_path / "bob.pem").write_bytes(pem(ACME.user("alice")))
    changed = load()
    assert changed["alice.p12"] is first["alice.p12"]
    assert changed["bob.pem"].certificate == ACME.user("alice").certificate
    (tmp_path / "bob.pem").unlink()
    assert set(load()) == {"alice.p12"}
    assert set(opened.values()) == {first["alice.p12"]}
    assert load(password="another") == {}  # whoever took the password away wants it closed
    assert opened == {}
    assert told == [3, 1, 2, 1, 2]  # what does not open is tried each time


# --- in the key process: here are certificates ------------------------------------------------------------------------


def test_each_certificate_that_is_no_cas_is_a_users_whose_chain_may_stand_anywhere(tmp_path: Path) -> None:
    key = pki.issue.new_key("p256")
    assert isinstance(key, pki.SigningKey)
    sub = pki.Identity(
        pki.issue.issue_ca(
            "acme sub CA", key, now=pki.START, days=9, issuer_cert=ACME.ca.certificate, issuer_key=ACME.ca.signing_key
        ),
        key,
    )
    carol = pki.identity("user", "carol@acme.example", sub)
    (tmp_path / "two.pem").write_bytes(public(ALICE.certificate) + public(carol.certificate))
    (tmp_path / "again.pem").write_bytes(public(ALICE.certificate))
    (tmp_path / "with key.pem").write_bytes(pem(BOB))
    (tmp_path / "sub.crt").write_bytes(public(sub.certificate))
    (tmp_path / "bad.pem").write_text("nothing of use")
    held = users_in_key_process("keyd:users", [tmp_path], tmp_path / "socket")
    assert {c.certificate: path.name for path, c in held.files} == {
        ALICE.certificate: "again.pem",
        BOB.certificate: "with key.pem",
        carol.certificate: "two.pem",
    }
    assert all(isinstance(each, KeyProcessCredential) and each.name == "users" for each in held.credentials)
    assert {c.certificate: c.chain for c in held.credentials}[carol.certificate] == (sub.certificate,)
    [problem] = held.problems
    assert "bad.pem: " in problem
