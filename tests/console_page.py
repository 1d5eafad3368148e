"""Pages of docs/ whose commands run as they stand there, in order, in one folder, and print what is said.

```console          commands behind `$ `, each with what it prints on either stream, `...` standing for anything;
                    one that does not end with 0 is followed by `$ echo $?`
```text NAME        a file
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from domsec.cli import cli

DOCS = Path(__file__).resolve().parent.parent / "docs"


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


def run_page(page: str, folder: Path) -> None:
    """Do what a page shows; `folder` is where we are. Fails for whatever comes out otherwise."""
    status = 0
    for kind, text in re.findall(r"^```(console|text \S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if kind != "console":
            Path(kind.removeprefix("text ")).write_text(text)
            continue
        for step in steps(text):
            if step.command == "echo $?":
                assert step.expected == f"{status}\n"
                status = 0
                continue
            assert status == 0, f"the page does not show that the command before {step.command} ended with {status}"
            printed, status = called(step.command, folder)
            assert step.matches(printed), f"$ {step.command}\n{printed}"
    assert status == 0


def missing_pages(page: str) -> list[str]:
    """Other pages that a page names and that are not there."""
    return [target for target in re.findall(r"\]\(([^)#:]+\.md)\)", page) if not (DOCS / target).exists()]
