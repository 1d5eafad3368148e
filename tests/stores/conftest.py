"""Where the stores of these tests are: what they promise holds on each database."""

from __future__ import annotations

from pathlib import Path

import pytest

from postgresql import Server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/domsec.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A new database of each kind."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    server: Server = request.getfixturevalue("postgresql")
    return server.database()
