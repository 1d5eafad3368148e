"""What fuzzing found once: every input that was a fault is read or refused for ever after.

Runs the targets of `fuzz` without atheris. A new vector is the file that `python -m fuzz` left in .fuzz/<target>/found,
put into tests/vectors/fuzz/<target> under a name that says what was wrong.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from fuzz.targets import DICTIONARIES, TARGETS

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "fuzz"
VECTORS = sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.suffix != ".md")


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_what_was_found_once_is_read_or_refused(path: Path) -> None:
    octets = path.read_bytes()
    TARGETS[path.parent.name](zlib.decompress(octets) if path.suffix == ".zlib" else octets)


def test_every_vector_is_of_a_target() -> None:
    assert VECTORS
    assert {path.parent.name for path in VECTORS} <= TARGETS.keys()


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_target_has_seeds_and_a_dictionary(target) -> None:
    assert next(target.seeds())
    assert (DICTIONARIES / f"{target.dictionary}.dict").exists()
    target(b"")
