"""The public suites of path validation: domsec says what their makers say, or `path_differences.toml` says why not.

NIST PKITS is in test_pkits. The counts make `docs/paths.md` (`pytest --paths`, see tests/paths_page.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

import path_suites
from paths_page import PROPERTY, differences


def test_every_difference_has_a_reason_and_is_listed_once() -> None:
    entries = differences()
    listed = Counter((one["suite"], case) for one in entries for case in one["cases"])
    assert all(one["reason"].strip() and one["ours"] in ("stricter", "laxer") for one in entries)
    assert [case for case, count in listed.items() if count > 1] == []
    assert {suite for suite, _ in listed} == {*path_suites.SUITES, "nist-pkits"}


@pytest.mark.shared
@pytest.mark.requirement("R5280-6.1-01")
@pytest.mark.requirement("R8550-2.1-01")
@pytest.mark.parametrize(("suite", "size"), [("x509-limbo", 139), ("boringssl-pki", 190), ("botan-x509", 283)])
def test_domsec_agrees_or_the_difference_is_listed(
    suite: str, size: int, shared: object, record_property: Callable[[str, object], None]
) -> None:
    known = {case: one["ours"] == "laxer" for one in differences() if one["suite"] == suite for case in one["cases"]}
    cases = path_suites.cases(suite)
    assert len(cases) == size
    differing = {}
    for case in cases:
        verdict = case.judge()
        if (verdict.state == "valid") is not case.valid:
            differing[case.name] = (verdict.state == "valid", verdict.reason)
    counts = {
        "cases": len(cases),
        "agree": len(cases) - len(differing),
        "stricter": sum(not valid for valid, _ in differing.values()),
        "laxer": sum(valid for valid, _ in differing.values()),
    }
    record_property(PROPERTY, {"suite": suite, **counts})
    assert {name: found for name, found in differing.items() if known.get(name) is not found[0]} == {}
    assert known.keys() - differing.keys() == set(), "listed, but no longer different"
