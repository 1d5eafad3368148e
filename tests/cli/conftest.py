"""Folders and messages for the tests of commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import commands
from commands import ORACLE, Desk, Options


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return commands.desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test is called from an empty folder, so that no configuration is found by chance."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def message(tmp_path: Path) -> Path:
    """An unsigned message of alice@acme.example to bob@beta.example."""
    file = tmp_path / "plain.eml"
    file.write_bytes(commands.PLAIN)
    return file


@pytest.fixture
def signed(desk: Desk, message: Path, tmp_path: Path) -> Path:
    """The message with Alice's signature in the clear."""
    file = tmp_path / "signed.eml"
    assert commands.run("sign", "--clear", "--credential", desk.key("acme-alice"), message, "-o", file).code == 0
    return file


@pytest.fixture(scope="session")
def oracle_options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Options with which a message of the oracle is verified: its anchor, its certificates, its recipients' keys."""
    folder = tmp_path_factory.mktemp("oracle")
    options: list[object] = ["--at", "2026-11-24T00:00:00Z", "--trust", ORACLE / "pki/trust/root.pem"]
    options += ["--cert", ORACLE / "pki/certs", "--crl", ORACLE / "pki/crl/root.crl"]
    credentials: list[object] = []
    for name in json.loads((ORACLE / "expected.json").read_bytes())["recipient_keys"]:
        file = folder / f"{name}.pem"
        parts = (ORACLE / f"pki/keys/{name}.key", ORACLE / f"pki/certs/{name}.pem")
        file.write_bytes(b"".join(part.read_bytes() for part in parts))
        credentials += ["--credential", file]
    # opening many RSA keys takes longer than all the rest
    return lambda message: [*options, *(credentials if "E" in message["structure"] else ())]
