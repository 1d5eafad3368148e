"""Every family of the corpora: domsec says what others say of a file, or `differences.toml` says why not.

And whatever the file is, it is read or refused, in 2 s and 256 MB. The counts make `docs/corpora.md`
(`pytest --corpora`, see tests/corpora_page.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import foreign
import reading
from corpora_page import PROPERTY

LIST = Path(__file__).with_name("differences.toml")
# what agreement on a family shows
SHOWS = {"rfc4134": ("R5652-5.3-02", "R5652-5.1-02")}


def families() -> list[object]:
    return [
        pytest.param(name, marks=[pytest.mark.requirement(*SHOWS[name])] if name in SHOWS else [])
        for name in foreign.EXPECTED
    ]


def listed() -> dict[str, str]:
    """Path and reason of each difference."""
    return {path: one["reason"] for one in tomllib.loads(LIST.read_text())["difference"] for path in one["paths"]}


def test_every_listed_difference_has_a_reason_and_is_listed_once() -> None:
    entries = tomllib.loads(LIST.read_text())["difference"]
    paths = [path for one in entries for path in one["paths"]]
    assert len(paths) == len(set(paths))
    assert all(one["reason"].strip() for one in entries)
    assert {path.partition("/")[0] for path in paths} <= foreign.EXPECTED.keys()


@pytest.mark.shared
@pytest.mark.parametrize("family", families())
def test_domsec_agrees_or_the_difference_is_listed(
    family: str, shared: Path, record_property: Callable[[str, object], None]
) -> None:
    known = {path for path in listed() if path.startswith(f"{family}/")}
    said = {case.path: (case.ask(case.file), case.said) for case in foreign.cases(family)}
    differing = {
        path: f"{answer}, not {sorted(those)}" for path, (answer, those) in said.items() if answer not in those
    }
    agreeing = [answer for answer, those in said.values() if answer in those]
    counts = {
        "files": len(foreign.files(family)),
        "compared": len(said),
        "agree": len(agreeing),
        "weak": agreeing.count(foreign.WEAK),
        "listed": len(differing.keys() & known),
    }
    record_property(PROPERTY, {"family": family, **counts})
    assert {path: text for path, text in differing.items() if path not in known} == {}
    assert known - differing.keys() == set(), "listed, but no longer different"


@pytest.mark.shared
@pytest.mark.timeout(120)
@pytest.mark.parametrize("family", foreign.EXPECTED)
def test_every_file_is_read_or_refused_in_2_seconds_and_256_megabytes(
    family: str, shared: Path, record_property: Callable[[str, object], None]
) -> None:
    names = foreign.files(family)
    done = subprocess.run(
        [sys.executable, reading.__file__],
        input="\n".join(map(str, names)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, "\n".join(done.stderr.splitlines()[-20:])
    found = json.loads(done.stdout)
    record_property(PROPERTY, {"family": family, "read": found["read"], "refused": found["refused"]})
    assert found["read"] + found["refused"] == len(names)
    assert found["read"] > 0  # or this tests nothing
    assert found["peak"] < reading.MEMORY


@pytest.mark.shared
def test_too_much_of_either_ends_the_process(shared: Path, tmp_path: Path) -> None:
    """That the bounds above hold: a process that asks for more does not live on."""
    for greedy in ("while True: pass", "bytearray(300 * 1024 * 1024)"):
        program = (
            f"import sys; sys.path[:0] = [{str(Path(reading.__file__).parent)!r}]\n"
            f"import reading\ndef look(octets):\n    {greedy}\nreading.look = look\nreading.main()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], input=__file__, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert done.stderr.startswith(__file__)
