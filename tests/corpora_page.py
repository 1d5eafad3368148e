"""The page of the corpora: counts for each family, written from one run of its tests.

    pytest --corpora docs/corpora.md tests/corpora

A test puts its counts into the property `corpus` of its report. Without ../shared the page stays as it is.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

PROPERTY = "corpus"
DIFFERENCES = Path(__file__).parent / "corpora" / "differences.toml"
COLUMNS = ("files", "read", "refused", "compared", "agree", "weak", "listed")

ABOUT = (
    "Every file was read or refused with an error of domsec, each within 2 s of processor time and a family within",
    "256 MB: no crash, no other exception. Refused are those that are neither mail nor CMS nor certificates, such",
    "as keys and CRLs by themselves, and what is damaged. Compared are those of which the corpora say what they",
    "are: their makers or the RFC (`expected.json`), or else OpenSSL (`oracle.json`). Weak ones agree in the",
    "mathematics, but domsec accepts none of them: SHA-1, MD5, DSA, short keys.",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--corpora", metavar="FILE", help="write the page of the corpora")


def pytest_configure(config: pytest.Config) -> None:
    target = config.getoption("--corpora")
    if target and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Page(Path(target)), "corpora-page")


class _Page:
    def __init__(self, target: Path) -> None:
        self.target = target
        self.families: dict[str, dict[str, int]] = defaultdict(dict)
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == PROPERTY and isinstance(value, dict):
                counts = {key: number for key, number in value.items() if key != "family"}
                self.families[value["family"]].update(counts)
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.failed:
            print(f"\n{self.target} is not written: {len(self.failed)} tests failed")
        elif not self.families:
            print(f"\n{self.target} is not written: no test of the corpora ran")
        else:
            self.target.write_text("\n".join(self._lines()) + "\n")

    def _lines(self) -> list[str]:
        rows = [[name, *(counts.get(one, 0) for one in COLUMNS)] for name, counts in sorted(self.families.items())]
        total = ["all", *(sum(counts.get(one, 0) for counts in self.families.values()) for one in COLUMNS)]
        return [
            "# Corpora",
            "",
            "Written by `make corpora` from the tests in `tests/corpora`; not by hand.",
            "",
            *ABOUT,
            "",
            "| family | files | read | refused cleanly | compared | agree | weak among them | listed differences |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
            *(f"| {' | '.join(map(str, row))} |" for row in [*rows, total]),
            "",
            "## Listed differences",
            "",
            "From `tests/corpora/differences.toml`; the tests fail if one is missing there or differs no more.",
            "",
            *self._differences(),
        ]

    def _differences(self) -> list[str]:
        return [
            f"- {', '.join(f'`{path}`' for path in one['paths'])}: {' '.join(one['reason'].split())}"
            for one in tomllib.loads(DIFFERENCES.read_text())["difference"]
        ]
