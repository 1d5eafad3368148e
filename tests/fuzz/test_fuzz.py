"""Every target under atheris for a few seconds, beginning from the same seeds in the same order.

That is a look whether something fell over at the first push, not a hunt: `make fuzz` is.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from domsec import der
from domsec.errors import DomsecError
from fuzz.mutate import mutated
from fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 5
SEEDS = 60


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_stands_a_few_seconds(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python or machine: make fuzz needs it")
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--seconds", str(SECONDS), "--seed", "1", "--seeds", str(SEEDS),
         "--work", str(tmp_path), name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    executed = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    assert int(executed[-1].rpartition(" ")[2]) > SEEDS // 2, "most of what was to be run was not"
    assert list((tmp_path / name / "corpus").iterdir()), "nothing was worth keeping: is coverage measured?"


def test_der_that_is_changed_inside_keeps_the_lengths_around() -> None:
    """Or most inputs would fail at the first length, and nobody would ever look at what is inside."""
    octets = der.sequence(der.integer(1), der.octet_string(der.sequence(der.oid("1.2.3"))), der.explicit(0, der.null()))
    made = [mutated(octets, 200, lambda data, most: b"?" * 3, seed) for seed in range(500)]
    assert all(len(each) <= 200 for each in made)
    assert len(set(made)) > 50
    assert sum(map(_is_read, made)) > 350


def _is_read(octets: bytes) -> bool:
    reader = der.Reader(octets)
    try:
        while not reader.at_end():
            reader.skip()
    except DomsecError:
        return False
    return bool(octets)
