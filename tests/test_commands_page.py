"""What docs/commands.md shows is what happens: its commands run in order, in one folder, without a configuration."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from domsec.cli import cli

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "commands.md").read_text()
BLOCKS = re.findall(r"^```(console|text \S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A command with what it is said to print on either stream, `...` standing for anything."""

    command: str
    expected: str

    def matches(self, printed: str) -> bool:
        lines = [".*" if line.strip() == "..." else _line(line) for line in self.expected.splitlines()]
        return re.fullmatch("\n".join(lines), printed.rstrip("\n"), re.DOTALL) is not None


def _line(line: str) -> str:
    return "[^\n]*".join(map(re.escape, line.split("...")))


def steps(console: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield Step(command, expected)


def called(command: str, folder: Path) -> tuple[str, int]:
    """What it printed on either stream, and its exit status. The program is started only where a shell is needed."""
    words = shlex.split(command)
    if words[0] == "domsec" and "|" not in words:
        result = CliRunner(env={"DOMSEC_CONFIG": None, "DOMSEC_PASSWORD": None}).invoke(cli, words[1:])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.output, result.exit_code
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, env={"PATH": programs, "LC_ALL": "C.UTF-8", "HOME": str(folder)}, timeout=60,
    )  # fmt: skip
    return done.stdout, done.returncode


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_every_command_does_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status = 0
    for kind, text in BLOCKS:
        if kind != "console":
            Path(kind.removeprefix("text ")).write_text(text)
            continue
        for step in steps(text):
            if step.command == "echo $?":
                assert step.expected == f"{status}\n"
                status = 0
                continue
            assert status == 0, f"the page does not show that the command before {step.command} ended with {status}"
            printed, status = called(step.command, tmp_path)
            assert step.matches(printed), f"$ {step.command}\n{printed}"
    assert status == 0


DESK = "show verify sign sign-domain review attributes encrypt decrypt locate boundary receipt cert"


def test_the_page_has_every_verb_that_needs_no_installation() -> None:
    assert set(re.findall(r"^\$.*?\bdomsec ([a-z-]+)", PAGE, re.MULTILINE)) == set(DESK.split())


def test_every_page_named_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+\.md)\)", PAGE):
        assert (Path(__file__).resolve().parent.parent / "docs" / target).exists(), target
