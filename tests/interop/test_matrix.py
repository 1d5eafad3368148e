"""The interoperability matrix: every case, both directions, with each of five other implementations.

A test is one cell. Where cannot.toml says that a cell is beyond the peer, the test shows that it still is: the peer
refuses, or makes something else. `make interop` writes docs/interop.md from the outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from interop import cases, peers
from interop.cases import CASES, Case, Direction, RefusedError, Sealed, Signed
from interop.peers import Peer

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("matrix"), pytest.mark.timeout(300)]


Cell = Callable[[Case, Direction], AbstractContextManager[Peer]]


class Peers:
    """Each peer is started when the first test asks for it."""

    def __init__(self, folders: pytest.TempPathFactory, stack: ExitStack) -> None:
        self._folders, self._stack = folders, stack
        self._started: dict[str, Peer] = {}

    def __getitem__(self, name: str) -> Peer:
        if lacking := peers.missing(name):
            pytest.skip(f"{peers.TITLES[name]} needs {', '.join(lacking)}")
        if name not in self._started:
            self._started[name] = peers.start(name, self._folders.mktemp(name), self._stack)
        return self._started[name]


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    with ExitStack() as stack:
        yield Peers(tmp_path_factory, stack)


def make(peer: Peer, case: Case) -> bytes:
    """The entity of a case, every layer by the peer."""
    entity = cases.TEXT
    for layer in reversed(case.layers):
        entity = peer.seal(entity, layer) if isinstance(layer, Sealed) else peer.sign(entity, layer)
    return entity


@pytest.fixture
def cell(peer: str, others: Peers, record_property: Callable[[str, object], None]) -> Cell:
    """What a test does in its cell: recorded for the page, and to be refused where cannot.toml says so."""

    @contextmanager
    def of(case: Case, direction: Direction) -> Iterator[Peer]:
        record_property("cell", [peer, case.name, direction])
        there = others[peer]
        version = there.version()
        record_property("version", version)
        mark = cases.cannot().get((peer, case.name, direction))
        if mark is None:
            yield there
            return
        as_reviewed = version.startswith(mark.reviewed)
        try:
            yield there
        except RefusedError as refused:
            assert re.search(mark.says, str(refused)) or not as_reviewed, refused
            record_property("beyond", refused.shown)
        else:
            assert not as_reviewed, f"it can: {mark.reason}"

    return of


CELLS = [
    pytest.param(peer, case, id=f"{peer}-{case.name}", marks=[pytest.mark.requirement(*case.requirements)])
    for peer in peers.TITLES
    for case in CASES.values()
]


@pytest.mark.parametrize(("peer", "case"), CELLS)
def test_they_read_what_domsec_makes(cell: Cell, case: Case) -> None:
    with cell(case, "reads") as peer:
        # each of those it has the key of; if that is none, it may try
        for key in [name for name in case.readers if name in peer.holds] or case.readers or ("rsa",):
            assert peer.read(case, cases.made_by_domsec(case.name), key) == cases.TEXT


@pytest.mark.parametrize(("peer", "case"), CELLS)
def test_domsec_reads_what_they_make(cell: Cell, case: Case) -> None:
    with cell(case, "makes") as peer:
        entity = make(peer, case)
        for key in case.readers or (None,):
            assert cases.read_by_domsec(entity, case, key) == cases.TEXT


@pytest.mark.requirement("R5652-5.6-01")
@pytest.mark.parametrize("peer", peers.TITLES)
def test_a_changed_content_is_noticed_by_both(peer: str, others: Peers) -> None:
    """That neither side is content with anything."""
    case = CASES["opaque"]
    ours, theirs = cases.made_by_domsec(case.name), make(others[peer], case)
    assert others[peer].read(case, ours, "rsa") == cases.TEXT
    with pytest.raises(RefusedError):
        others[peer].read(case, _changed(ours), "rsa")
    found = cases.examined(_changed(theirs)).verdict.layers[0]
    assert [signer.crypto for signer in found.signers] == ["invalid"]


def _changed(entity: bytes) -> bytes:
    der, _ = cases.cut(entity)
    assert b"dawn" in der
    return cases.carry(der.replace(b"dawn", b"dusk"), Signed())


def test_no_mark_is_for_a_peer_unknown() -> None:
    assert {peer for peer, _, _ in cases.cannot()} <= set(peers.TITLES)


def test_the_page_is_that_of_this_matrix(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--interop"):
        pytest.skip("the page is being written")
    page = (Path(__file__).parents[2] / "docs/interop.md").read_text()
    for case in CASES.values():
        assert page.count(f"| {case.title} |") == 2, f"{case.title}: make interop"
    for mark in cases.cannot().values():
        assert mark.reason in page, f"{mark.reason}: make interop"
    assert "| FAILS |" not in page
