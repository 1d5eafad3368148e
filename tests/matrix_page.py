"""The interoperability page: what other implementations and domsec make of each other's messages, from one run.

    pytest tests/interop --interop docs/interop.md

Cells are tests of tests/interop/test_matrix.py. The run fails if a cell fails, or was left out because a program is
missing; then the page stays as it was.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

Cell = tuple[str, str, str]  # peer, case, "reads" or "makes"

HEADINGS = {"reads": "They read what domsec makes", "makes": "domsec reads what they make"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--interop", metavar="FILE", help="write the interoperability page")


def pytest_configure(config: pytest.Config) -> None:
    target = config.getoption("--interop")
    if target and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Page(Path(target)), "interop-page")


@dataclass(frozen=True)
class _Outcome:
    """`beyond`: how it was shown that the peer cannot do it; empty where it can."""

    passed: bool
    skipped: bool
    beyond: str


class _Page:
    def __init__(self, target: Path) -> None:
        self.target = target
        self.outcomes: dict[Cell, _Outcome] = {}
        self.versions: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        said = {name: value for name, value in report.user_properties if name in ("cell", "version", "beyond")}
        if report.when != "call" or "cell" not in said:
            return
        peer, case, direction = said["cell"]  # type: ignore[misc]
        if "version" in said:
            self.versions[peer] = str(said["version"])
        outcome = _Outcome(report.outcome == "passed", report.outcome == "skipped", str(said.get("beyond", "")))
        self.outcomes[peer, case, direction] = outcome

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        from interop import cases, peers

        wanted = [(p, c, d) for d in HEADINGS for c in cases.CASES for p in peers.TITLES]
        holes = [cell for cell in wanted if cell not in self.outcomes or self.outcomes[cell].skipped]
        failed = [cell for cell in wanted if cell not in holes and not self.outcomes[cell].passed]
        if not holes:
            self.target.write_text(self._text())
        if holes or failed:
            print(f"\nnot run: {_named(holes)}; failed: {_named(failed)}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _text(self) -> str:
        from interop import peers

        lines = [
            "# Interoperability",
            "",
            "Written by `make interop` from the tests of `tests/interop/test_matrix.py`, one test a cell; not by hand.",
            "",
            "Other implementations read every kind of message that domsec makes, and domsec what they make:",
            "",
            *(f"- {title}: {self.versions[name]}" for name, title in peers.TITLES.items()),
            "",
            *self._counts(),
            "",
            "OpenSSL and Bouncy Castle read the MIME of a message themselves, and OpenSSL writes it; the others work",
            "on the CMS inside it, and clear signing is a detached CMS to them. Every layer counts: a signature has to",
            "be valid, its certificate to lead to the authority, the content to be the one that was signed. What has",
            "several recipients is read as each of those whose key the reader holds. Keys are those that",
            "`domsec cert issue` makes: RSA with 2048 bits, P-256, P-384, Ed25519, X25519.",
            "",
            "`theirs` is a cell that is beyond the peer, with the number of its reason below; `FAILS` is a fault.",
        ]
        for direction, heading in HEADINGS.items():
            lines += ["", f"## {heading}", *self._tables(direction)]
        lines += ["", "## What they cannot do", "", *self._reasons()]
        return "\n".join(lines) + "\n"

    def _counts(self) -> list[str]:
        lines = []
        for direction, heading in HEADINGS.items():
            count = Counter(self._word((p, c, d)) for p, c, d in self.outcomes if d == direction)
            total = sum(count.values())
            lines.append(f"- {heading}: {total} cells, {', '.join(f'{n} {word}' for word, n in sorted(count.items()))}")
        return lines

    def _tables(self, direction: str) -> list[str]:
        from interop import cases, peers

        lines = []
        for group, rows in cases.GROUPS.items():
            lines += ["", f"| {group} | {' | '.join(peers.TITLES.values())} |", "|---" * (len(peers.TITLES) + 1) + "|"]
            for case in rows:
                words = [self._cell((peer, case.name, direction)) for peer in peers.TITLES]
                lines.append(f"| {case.title} | {' | '.join(words)} |")
        return lines

    def _word(self, cell: Cell) -> str:
        outcome = self.outcomes[cell]
        if not outcome.passed:
            return "FAILS"
        return "theirs" if outcome.beyond else "yes"

    def _cell(self, cell: Cell) -> str:
        from interop import cases

        word = self._word(cell)
        return f"{word} ({cases.cannot()[cell].number})" if word == "theirs" else word  # type: ignore[index]

    def _reasons(self) -> list[str]:
        from interop import cases, peers

        lines = [
            "From `tests/interop/cannot.toml`. Each test asks the program all the same: it *refuses*, or makes",
            "*another* message than asked for; where there is *no option* to ask it with, its manual says so. A mark",
            "that does not hold fails its test.",
            "",
            "| | peer | because | cells, and how it is shown |",
            "|---|---|---|---|",
        ]
        cells: dict[tuple[int, str, str], list[str]] = {}
        for (peer, case, direction), mark in cases.cannot().items():
            shown = self.outcomes[peer, case, direction].beyond or "no longer"
            cells.setdefault((mark.number, peers.TITLES[peer], mark.reason), []).append(f"{direction}: {shown}")
        for (number, title, reason), found in cells.items():
            counts = ", ".join(f"{n} {word}" for word, n in Counter(found).items())
            lines.append(f"| {number} | {title} | {reason} | {counts} |")
        return lines


def _named(cells: list[Cell]) -> str:
    return ", ".join("-".join(cell) for cell in cells) or "none"
