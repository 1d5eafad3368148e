"""What every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = [
    "conformance", "corpora_page", "groups", "key_processes", "matrix_page", "paths_page", "postgresql", "softhsm",
]  # fmt: skip

settings.register_profile("domsec", deadline=None, derandomize=True)
settings.load_profile("domsec")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
VECTORS = ROOT / "tests" / "vectors"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of corpora and specifications beside the project; its tests skip where it is missing."""
    if not (SHARED / "corpora" / "CATALOG.md").exists():
        pytest.skip(f"{SHARED} is not here")
    return SHARED


@pytest.fixture(scope="session")
def vectors() -> Path:
    return VECTORS


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Octets that are more than a word are named by their argument: a key in them is new in every process."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None
