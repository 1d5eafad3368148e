"""The conformance page: every requirement with the tests that name it, written from one run of the tests.

    pytest --conformance docs/conformance.md

A test names requirements with `@pytest.mark.requirement("R3183-3-05", ...)`; an id that is not in the list is an
error. The run fails if a requirement of RFC 3183 of priority 1 or 2 has no passing test.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parent / "spec" / "requirements.toml"


def requirements() -> dict[str, dict[str, object]]:
    return {r["id"]: r for r in tomllib.loads(REQUIREMENTS.read_text())["requirement"]}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance", metavar="FILE", help="write the conformance page")


def pytest_configure(config: pytest.Config) -> None:
    target = config.getoption("--conformance")
    if target and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Page(Path(target)), "conformance-page")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known = requirements()
    for item in items:
        for mark in item.iter_markers("requirement"):
            unknown = [named for named in mark.args if named not in known]
            if unknown:
                raise pytest.UsageError(f"{item.nodeid} names {', '.join(unknown)}, which is no requirement")
            item.user_properties += [("requirement", named) for named in mark.args]


class _Page:
    def __init__(self, target: Path) -> None:
        self.target = target
        self.outcomes: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            test = report.nodeid.partition("[")[0]
            for name, value in report.user_properties:
                if name == "requirement":
                    self.outcomes[str(value)][report.outcome].add(test)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        missing = self._write()
        if missing:
            print(f"\nno passing test: {', '.join(missing)}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self) -> list[str]:
        known = requirements()
        rows, missing = [], []
        count = {"RFC 3183": [0, 0], "others": [0, 0]}
        for name, requirement in known.items():
            found = self.outcomes.get(name, {})
            good = found.get("passed", set()) if not found.get("failed") else set()
            family = "RFC 3183" if requirement["rfc"] == 3183 else "others"
            count[family][1] += 1
            count[family][0] += bool(good)
            if not good and family == "RFC 3183" and requirement["priority"] in (1, 2):
                missing.append(name)
            text = str(requirement["text"]).replace("|", "\\|")
            state = "yes" if good else "FAILS" if found.get("failed") else "not yet"
            rows.append(
                f"| {name} | {requirement['level']} | {requirement['priority']} | {text} | {state} | {_files(good)} |"
            )
        lines = [
            "# Conformance",
            "",
            "Written by `make conformance` from the tests that name each requirement; not by hand.",
            "",
            *(
                f"- {family}: {shown} of {total} requirements are shown by a passing test"
                for family, (shown, total) in count.items()
            ),
            "",
            "| requirement | level | priority | in own words | shown | by |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
        self.target.write_text("\n".join(lines) + "\n")
        return missing


def _files(tests: Iterable[str]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for test in tests:
        counts[test.partition("::")[0].removeprefix("tests/")] += 1
    return ", ".join(f"{file} ({number})" for file, number in sorted(counts.items()))
