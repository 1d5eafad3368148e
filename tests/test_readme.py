"""What README.md promises a reader holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import domsec
from domsec.demo import scene as scenes
from domsec.demo.scene import BETA
from domsec.mime import fields
from domsec.services import encrypt, sign
from domsec.services.layers import peel
from domsec.services.sign import Signer
from domsec.stores.credentials import load_credential

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PLAIN = (ROOT / "src/domsec/demo/messages/01-plain.eml").read_bytes()


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A folder with the files that the example names: beta's key, and a message that acme sent it."""
    scene = scenes.build(tmp_path / "scene", datetime.now(UTC))
    acme, beta = scene.folder / "acme.example", scene.folder / BETA
    authority = load_credential(beta / "confidentiality.pem")
    message = peel(PLAIN)
    entity = sign.apply(
        sign.plan(message.spine(), encrypt=True),
        message.header,
        Signer(load_credential(acme / "signing.pem")),
        datetime.now(UTC),
        encrypt=lambda signed: encrypt.encrypt(signed, [authority.certificate]),
    )
    (tmp_path / "mail.eml").write_bytes(fields.replace_entity(message.header, entity))
    (tmp_path / "ca.pem").write_text((acme / "ca.pem").read_text())
    shutil.copy(beta / "confidentiality.pem", tmp_path / "confidentiality.pem")
    return tmp_path


def test_the_example_of_the_library_runs_as_printed(installation: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], cwd=installation, capture_output=True, text=True, check=True)
    assert done.stdout == "E(S[domain](S0(OC))) domain acme.example ['enc_agent.unknown']\n"


def test_the_example_has_ten_lines_at_most_beside_its_imports() -> None:
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line and "import" not in line]) <= 10


def test_the_demonstration_ends_well() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from domsec.cli import main; main()", "demo", "--once"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "E(S[domain](S0(OC)))  ->  accepted: domain acme.example" in done.stdout
    assert "E(S[domain](S[originator](OC)))  ->  accepted: originator_direct acme.example" in done.stdout
    assert "refused with 550" in done.stdout


def test_every_file_and_target_named_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for name in re.findall(r"(?:`|^    )make ([a-z]+)", README, re.MULTILINE):
        assert f"\n{name}:" in makefile, name


def test_the_packages_named_are_those_installed() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    [packages] = re.findall(r"^PACKAGES := (.*)$", makefile, re.MULTILINE)
    for package in packages.split():
        assert package in README, package


@pytest.mark.parametrize("name", domsec.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(domsec, name) is not None


def test_the_public_names_are_about_thirty() -> None:
    assert len(domsec.__all__) <= 30
    assert set(domsec.__all__) <= set(dir(domsec))
