"""NIST PKITS: 160 paths with CRLs and policies (RFC 5280 6), of ../shared/corpora/nist-pkits."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domsec.cms.certificates import Certificate
from domsec.trust.crl import CrlIndex, crl_index
from domsec.trust.path import AnchorSet, Policies, Snapshot, Validator
from paths_page import PROPERTY, differences

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpora" / "nist-pkits"
NOW = datetime(2026, 11, 23, tzinfo=UTC)  # inside the suite's 2010 to 2030

# tests whose verdict is another one here: refused, though it is good
EXCEPTIONS = frozenset(case for one in differences() if one["suite"] == "nist-pkits" for case in one["cases"])


def _tests() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        suite = json.loads((CORPUS / "expected.json").read_text())
    except OSError:
        return {}, []
    return suite, suite["tests"]


SUITE, TESTS = _tests()


def _case(test: dict[str, Any]) -> object:
    return pytest.param(test, id=f"{test['test']}-{test['id']}")


def _certificates(test: dict[str, Any]) -> list[Certificate]:
    return [Certificate((CORPUS / name).read_bytes()) for name in test["certs"]]


def _crls(test: dict[str, Any]) -> CrlIndex:
    return crl_index((CORPUS / name).read_bytes() for name in test["crls"])


def _policies(test: dict[str, Any]) -> Policies:
    settings = SUITE["default_settings"] | test["settings"]
    return Policies(
        accepted=frozenset(SUITE["policy_oids"][name] for name in settings["initial_policy_set"]),
        require_explicit=settings["initial_explicit_policy"],
        inhibit_mapping=settings["initial_policy_mapping_inhibit"],
        inhibit_any=settings["initial_any_policy_inhibit"],
    )


@pytest.mark.shared
@pytest.mark.requirement("R5280-6.1-01")
@pytest.mark.requirement("R5280-7.1-01")
@pytest.mark.requirement("R8550-2.1-01")
@pytest.mark.parametrize("test", [_case(test) for test in TESTS])
def test_a_path_of_pkits(shared, test):
    *others, certificate = _certificates(test)
    anchors = AnchorSet((others[0],))
    validator = Validator(Snapshot(users=anchors, crls=_crls(test)))
    verdict = validator.validate(
        certificate, others, anchors=anchors, now=NOW, revocation="hard", policies=_policies(test)
    )
    expected = test["valid"] and test["test"] not in EXCEPTIONS
    assert (verdict.state == "valid") is expected, verdict.reason
    if expected:
        assert (verdict.chain[0], verdict.chain[-1]) == (certificate, others[0])


@pytest.mark.shared
@pytest.mark.requirement("R8550-2.3-01")
@pytest.mark.parametrize("valid", [True, False])
def test_the_right_path_is_found_when_all_certificates_of_the_suite_are_known(shared, valid):
    """The same verdicts with every CA of the suite as intermediate and every CRL in the index."""
    names = sorted(
        {name for test in TESTS for name in test["certs"]} - {name for test in TESTS for name in test["certs"][-1:]}
    )
    anchors = AnchorSet((Certificate((CORPUS / SUITE["trust_anchor"]).read_bytes()),))
    intermediates = tuple(Certificate((CORPUS / name).read_bytes()) for name in names)
    crls = crl_index((CORPUS / name).read_bytes() for name in sorted({crl for test in TESTS for crl in test["crls"]}))
    validator = Validator(Snapshot(users=anchors, intermediates=intermediates, crls=crls))
    wrong = []
    for test in TESTS:
        certificate = Certificate((CORPUS / test["certs"][-1]).read_bytes())
        verdict = validator.validate(certificate, anchors=anchors, now=NOW, revocation="hard", policies=_policies(test))
        if test["valid"] is valid and test["test"] not in EXCEPTIONS and (verdict.state == "valid") is not valid:
            wrong.append((test["test"], test["title"], verdict.state, verdict.reason))
    assert wrong == []


@pytest.mark.shared
def test_all_of_pkits_is_here(shared, record_property):
    assert len(TESTS) == 160
    assert sum(test["test"] in EXCEPTIONS for test in TESTS) == len(EXCEPTIONS) == 1
    agree = len(TESTS) - len(EXCEPTIONS)  # each has its test above
    counts = {"cases": len(TESTS), "agree": agree, "stricter": len(EXCEPTIONS), "laxer": 0}
    record_property(PROPERTY, {"suite": "nist-pkits", **counts})
