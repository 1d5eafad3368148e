"""Six messages made by cryptlib, the one other program that writes the signature type attribute.

It identifies the attribute by id-sti itself (decisions A-01) and writes types in the order of their numbers.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import world
from domsec.services.context import Context
from domsec.services.verdict import Verdict
from domsec.trust.path import AnchorSet, Snapshot, Validator
from domsec.trust.source import MemorySource

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "corpora" / "cryptlib-domsec"


@pytest.fixture(scope="module")
def context(folder: Path) -> Context:
    anchors = AnchorSet((world.pem(folder / "pki/trust/root.pem"),))
    known = [world.pem(path) for path in sorted((folder / "pki/certs").glob("*.pem"))]
    return Context(
        now=world.NOW + timedelta(days=1), validator=Validator(Snapshot(anchors, anchors)), source=MemorySource(known)
    )


@pytest.mark.requirement("R3183-3.1.2-02")
@pytest.mark.parametrize(
    ("name", "accepted", "level", "structure", "violations"),
    [
        ("domsig-over-s1", True, "originator_direct", "S[domain](S[originator](OC))", set()),
        ("domsig-over-s0", True, "domain", "S[domain](S0(OC))", set()),
        ("orig+dom-over-s1", True, "originator_direct", "S[originator+domain](S[originator](OC))", set()),
        ("dom+review-over-s1", False, "originator_direct", "S[domain+review](S[originator](OC))",
         {"naming.cn", "naming.rfc822_local"}),
        ("review-over-s1", False, "originator_direct", "S[review](S[originator](OC))",
         {"naming.cn", "naming.rfc822_local"}),
        ("addattr-over-s1", False, "originator_direct", "S[attributes](S[originator](OC))",
         {"naming.cn", "naming.rfc822_local"}),
    ],
)  # fmt: skip
def test_message(
    folder: Path, context: Context, name: str, accepted: bool, level: str, structure: str, violations: set[str]
) -> None:
    verdict: Verdict = world.judge((folder / f"cl-{name}.eml").read_bytes(), context)
    assert (verdict.accepted, verdict.level, verdict.structure) == (accepted, level, structure)
    assert world.codes(verdict, "violation") == violations
    assert "sigtype.legacy_oid" in world.codes(verdict, "info")
    assert all(layer.state in ("valid", "null", None) for layer in verdict.layers)
