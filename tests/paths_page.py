"""The page of the public suites of path validation, written from one run of their tests.

    pytest --paths docs/paths.md tests/trust

A test puts its counts into the property `paths` of its report. Without ../shared the page stays as it is.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

PROPERTY = "paths"
DIFFERENCES = Path(__file__).parent / "trust" / "path_differences.toml"
COLUMNS = ("cases", "agree", "stricter", "laxer")

ABOUT = (
    "Each case is a certificate, what came with it, and anchors, at one time; compared is whether a path is valid.",
    "The suites are those of ../shared/corpora; the part of Botan's that the German BSI made is not in there. PKITS",
    "is asked with revocation required, and with the policies of each test.",
)


def differences() -> list[dict[str, Any]]:
    """Each reviewed reason with its cases."""
    entries: list[dict[str, Any]] = tomllib.loads(DIFFERENCES.read_text())["difference"]
    return entries


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--paths", metavar="FILE", help="write the page of the suites of path validation")


def pytest_configure(config: pytest.Config) -> None:
    target = config.getoption("--paths")
    if target and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Page(Path(target)), "paths-page")


class _Page:
    def __init__(self, target: Path) -> None:
        self.target = target
        self.suites: dict[str, dict[str, int]] = {}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == PROPERTY and isinstance(value, dict):
                self.suites[value["suite"]] = {key: number for key, number in value.items() if key != "suite"}
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.failed:
            print(f"\n{self.target} is not written: {len(self.failed)} tests failed")
        elif not self.suites:
            print(f"\n{self.target} is not written: no test of a suite ran")
        else:
            self.target.write_text("\n".join(self._lines()) + "\n")

    def _lines(self) -> list[str]:
        rows = [[name, *(counts[one] for one in COLUMNS)] for name, counts in sorted(self.suites.items())]
        total = ["all", *(sum(counts[one] for counts in self.suites.values()) for one in COLUMNS)]
        return [
            "# Paths",
            "",
            "Written by `make paths` from the tests in `tests/trust`; not by hand.",
            "",
            *ABOUT,
            "",
            "| suite | cases | agree | domsec is stricter | domsec is laxer |",
            "|---|--:|--:|--:|--:|",
            *(f"| {' | '.join(map(str, row))} |" for row in [*rows, total]),
            "",
            "## Differences",
            "",
            "From `tests/trust/path_differences.toml`; the tests fail if one is missing there or differs no more.",
            "",
            *(
                f"- {one['suite']}, {one['ours']} ({len(one['cases'])}): {' '.join(one['reason'].split())}"
                for one in differences()
            ),
        ]
