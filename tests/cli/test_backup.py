"""`domsec backup` and `domsec restore`."""

from __future__ import annotations

import io
import json
import shutil
import socket
import sqlite3
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

import pki
from commands import Desk, run
from domsec.pipeline import Recipient
from domsec.stores.holds import HoldStore
from postgresql import Server

WORLD = pki.world()
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def configuration(desk: Desk, tmp_path: Path) -> Path:
    """A gateway's configuration with keys, trust and a table, in a folder of its own, and a store with held mail."""
    folder = tmp_path / "etc"
    (folder / "trust").mkdir(parents=True)
    shutil.copy(desk.certificate("acme-ca"), folder / "trust")
    shutil.copy(desk.key("acme-signing"), folder / "signing.pem")
    (folder / "signing.pem").chmod(0o600)
    (folder / "auth-token").write_text("0123456789abcdef\n")
    (folder / "auth-token").chmod(0o640)
    (folder / "owners").write_text("alice@acme.example alice\n")
    (tmp_path / "var").mkdir()
    file = folder / "domsec.toml"
    file.write_text(
        'domains = ["acme.example"]\n'
        '[listen]\noutbound = "smtp:127.0.0.1:10025"\n[next_hop]\noutbound = "smtp:127.0.0.1:10026"\n'
        '[keys.signing]\ncredential = "signing.pem"\n[trust]\nroles = ["trust"]\n'
        '[[outbound.evidence]]\nkind = "header"\ntoken_file = "auth-token"\nowners = "owners"\n'
        f'[store]\nurl = "sqlite:///{tmp_path}/var/domsec.db"\n'
    )
    return file


def hold(url: str, subject: str, *, ready: bool = False) -> str:
    store = HoldStore.open(url)
    try:
        return store.put(
            direction="outbound",
            sender="alice@acme.example",
            sender_parameters="",
            recipients=[Recipient("bob@beta.example")],
            octets=f"Subject: {subject}\r\n\r\n".encode(),
            reasons=["gate.originator"],
            transaction="t",
            received_at=NOW,
            now=NOW,
            session={},
            ready=ready,
        )
    finally:
        store.close()


def states(url: str) -> dict[str, str]:
    store = HoldStore.open(url)
    try:
        return {held.id: held.state for held in store.list(None)}
    finally:
        store.close()


def test_what_was_saved_is_back_elsewhere_with_its_modes(configuration: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/var/domsec.db"
    held, ready = hold(url, "held"), hold(url, "about to be delivered", ready=True)
    saved = run("backup", "--config", configuration, "-o", tmp_path / "backup.tar")
    assert saved.code == 0, saved.err
    assert "has private keys in it and is not encrypted" in saved.err
    assert (tmp_path / "backup.tar").stat().st_mode & 0o777 == 0o600
    root = tmp_path / "other-host"
    root.mkdir()
    back = run("restore", tmp_path / "backup.tar", "--root", root)
    assert back.code == 0, back.err
    for name, mode in (("domsec.toml", 0o644), ("signing.pem", 0o600), ("auth-token", 0o640), ("owners", 0o644)):
        there = root / str(configuration.with_name(name)).lstrip("/")
        assert there.read_bytes() == configuration.with_name(name).read_bytes()
        assert there.stat().st_mode & 0o777 == mode
    assert (root / str(configuration.parent / "trust/acme-ca.pem").lstrip("/")).exists() or list(root.rglob("trust/*"))
    assert states(f"sqlite:///{root}{tmp_path}/var/domsec.db") == {held: "held", ready: "failed"}
    assert states(url)[ready] == "approved"


def test_a_backup_is_made_while_others_write(configuration: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/var/domsec.db"
    hold(url, "before")
    writer = sqlite3.connect(tmp_path / "var/domsec.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE hold SET note = 'not committed'")
    try:
        assert run("backup", "--config", configuration, "-o", tmp_path / "backup.tar").code == 0
    finally:
        writer.close()
    with tarfile.open(tmp_path / "backup.tar") as tar:
        tar.extract("store", tmp_path, filter="data")
    with sqlite3.connect(tmp_path / "store") as copy:
        assert copy.execute("SELECT note FROM hold").fetchall() == [(None,)]
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_an_encrypted_one_is_opened_by_its_key_and_by_openssl(configuration: Path, desk: Desk, tmp_path: Path) -> None:
    hold(f"sqlite:///{tmp_path}/var/domsec.db", "held")
    made = run("backup", "--config", configuration, "--encrypt-to", desk.certificate("acme-confidentiality"),
               "-o", tmp_path / "backup.p7m")  # fmt: skip
    assert (made.code, "not encrypted" in made.err) == (0, False)
    assert b"domsec.toml" not in (tmp_path / "backup.p7m").read_bytes()
    key = desk.key("acme-confidentiality")
    (tmp_path / "a").mkdir()
    assert run("restore", tmp_path / "backup.p7m", "--credential", key, "--root", tmp_path / "a").code == 0
    command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-in", tmp_path / "backup.p7m", "-inkey", key]
    done = subprocess.run([*command, "-out", tmp_path / "backup.tar"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "backup.tar") as tar:
        assert str(configuration) in json.loads(tar.extractfile("manifest.json").read())["configuration"]  # type: ignore[union-attr]
    wrong = run("restore", tmp_path / "backup.p7m", "--credential", desk.key("acme-signing"), "--root", tmp_path / "a")
    assert wrong.code != 0


def test_a_configuration_without_a_store_is_saved_as_files(configuration: Path, tmp_path: Path) -> None:
    """That of a key process."""
    refused = run("backup", "--config", configuration, "-o", tmp_path / "backup.tar")
    assert (refused.code, "no database there" in refused.err) == (4, True)
    saved = run("backup", "--config", configuration, "--without-store", "-o", tmp_path / "backup.tar")
    assert saved.code == 0, saved.err
    shutil.rmtree(configuration.parent)
    back = run("restore", tmp_path / "backup.tar")
    assert (back.code, "and the store" in back.err) == (0, False), back.err
    assert configuration.with_name("signing.pem").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "var/domsec.db").exists()


def test_a_backup_is_made_while_a_key_process_listens(configuration: Path, tmp_path: Path) -> None:
    """Its socket is named in the configuration, and is nothing to save."""
    hold(f"sqlite:///{tmp_path}/var/domsec.db", "held")
    with configuration.open("a") as file:
        file.write(f'[keyd]\nsocket = "{tmp_path}/s"\n')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/s")
        saved = run("backup", "--config", configuration, "-o", tmp_path / "backup.tar")
    assert saved.code == 0, saved.err


def test_keys_can_be_left_out(configuration: Path, tmp_path: Path) -> None:
    hold(f"sqlite:///{tmp_path}/var/domsec.db", "held")
    made = run("backup", "--without-keys", "--config", configuration, "-o", tmp_path / "backup.tar")
    assert (made.code, "private keys" in made.err) == (0, False)
    with tarfile.open(tmp_path / "backup.tar") as tar:
        names = {Path(name).name for name in tar.getnames()}
    assert names & {"signing.pem", "auth-token"} == set()
    assert {"domsec.toml", "owners", "store"} <= names


def test_nothing_that_is_there_is_replaced_unasked(configuration: Path, tmp_path: Path) -> None:
    hold(f"sqlite:///{tmp_path}/var/domsec.db", "held")
    assert run("backup", "--config", configuration, "-o", tmp_path / "backup.tar").code == 0
    (configuration.parent / "owners").write_text("changed\n")
    refused = run("restore", tmp_path / "backup.tar")
    assert refused.code == 2
    assert "exists already" in refused.err
    assert (configuration.parent / "owners").read_text() == "changed\n"
    assert run("restore", "--overwrite", tmp_path / "backup.tar").code == 0
    assert (configuration.parent / "owners").read_text() == "alice@acme.example alice\n"


def changed(archive: Path, name: str, octets: bytes | None) -> None:
    """The archive with one member changed, or taken out."""
    with tarfile.open(archive) as tar:
        members = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    members[name] = octets or b""
    with tarfile.open(archive, "w") as tar:
        for member, content in members.items():
            if member != name or octets is not None:
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "octets", "problem"),
    [
        ("store", b"SQLite format 3", "the store in the backup is not what was saved"),
        ("manifest.json", b"{}", "no backup of domsec"),
        ("manifest.json", None, "no backup of domsec"),
        ("manifest.json", b"[" * 100_000, "no backup of domsec"),
        ("store", None, "no backup of domsec"),
        ("owners", b"mallory@evil.example alice\n", "is not what was saved"),
    ],
)
def test_a_damaged_one_writes_nothing(
    configuration: Path, tmp_path: Path, name: str, octets: bytes | None, problem: str
) -> None:
    hold(f"sqlite:///{tmp_path}/var/domsec.db", "held")
    archive = tmp_path / "backup.tar"
    assert run("backup", "--config", configuration, "-o", archive).code == 0
    changed(archive, f"files{configuration.with_name(name)}" if name == "owners" else name, octets)
    (tmp_path / "root").mkdir()
    refused = run("restore", archive, "--root", tmp_path / "root")
    assert refused.code == 5
    assert problem in refused.err
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("path", ["relative", "/etc/../../etc/passwd"])
def test_a_path_that_leads_out_is_refused(configuration: Path, tmp_path: Path, path: str) -> None:
    hold(f"sqlite:///{tmp_path}/var/domsec.db", "held")
    archive = tmp_path / "backup.tar"
    assert run("backup", "--config", configuration, "-o", archive).code == 0
    with tarfile.open(archive) as tar:
        manifest = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
    manifest["files"][0]["path"] = path
    changed(archive, "manifest.json", json.dumps(manifest).encode())
    (tmp_path / "root").mkdir()
    assert run("restore", archive, "--root", tmp_path / "root").code == 5


def test_what_is_no_archive_at_all_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\0" * 4096 + b"x" * 1000)
    refused = run("restore", tmp_path / "x", "--root", tmp_path)
    assert refused.code == 5
    assert "no backup of domsec" in refused.err


def test_postgresql_is_saved_and_restored_by_its_own_programs(
    configuration: Path, tmp_path: Path, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{postgresql.programs}:/usr/bin:/bin")
    url = postgresql.database()
    text = configuration.read_text()
    configuration.write_text(text.replace(f"sqlite:///{tmp_path}/var/domsec.db", url))
    ready = hold(url, "about to be delivered", ready=True)
    saved = run("backup", "--config", configuration, "-o", tmp_path / "backup.tar")
    assert saved.code == 0, saved.err
    hold(url, "came later")
    (tmp_path / "root").mkdir()
    back = run("restore", "--overwrite", tmp_path / "backup.tar", "--root", tmp_path / "root")
    assert back.code == 0, back.err
    assert states(url) == {ready: "failed"}


def test_nobody_sees_the_password_of_the_store_among_the_arguments_of_a_program(
    configuration: Path, tmp_path: Path, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{postgresql.programs}:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()
    for program in ("pg_dump", "pg_restore"):
        script = tmp_path / "bin" / program
        script.write_text(
            f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/arguments\necho "$PGPASSWORD" >> {tmp_path}/passwords\n'
            f'exec {postgresql.programs / program} "$@"\n'
        )
        script.chmod(0o755)
    url = postgresql.database().replace("postgres@", "postgres:sec%2Fret@")
    text = configuration.read_text()
    configuration.write_text(text.replace(f"sqlite:///{tmp_path}/var/domsec.db", url))
    hold(url, "held")
    assert run("backup", "--config", configuration, "-o", tmp_path / "backup.tar").code == 0
    (tmp_path / "root").mkdir()
    back = run("restore", "--overwrite", "--store", url, tmp_path / "backup.tar", "--root", tmp_path / "root")
    assert back.code == 0, back.err
    arguments = (tmp_path / "arguments").read_text()
    assert arguments.count("postgresql://postgres@/postgres?") == 2
    assert "ret" not in arguments.replace("restore", "").replace("retrieve", "")
    assert (tmp_path / "passwords").read_text() == "sec/ret\n" * 2


def test_where_the_store_is_there_already_no_file_is_written(configuration: Path, tmp_path: Path) -> None:
    hold(f"sqlite:///{tmp_path}/var/domsec.db", "held")
    assert run("backup", "--config", configuration, "-o", tmp_path / "backup.tar").code == 0
    (tmp_path / "root").mkdir()
    (tmp_path / "there.db").write_bytes(b"somebody's")
    store = f"sqlite:///{tmp_path}/there.db"
    refused = run("restore", tmp_path / "backup.tar", "--root", tmp_path / "root", "--store", store)
    assert (refused.code, list((tmp_path / "root").iterdir())) == (2, []), refused.err
    assert (tmp_path / "there.db").read_bytes() == b"somebody's"


def test_the_configuration_names_its_files(configuration: Path) -> None:
    from domsec.policy.configuration import Configuration, files_of

    named = {path.name: secret for path, secret in files_of(Configuration.load(configuration))}
    assert {"signing.pem": True, "auth-token": True, "owners": False, "trust": False}.items() <= named.items()
