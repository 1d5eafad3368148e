"""`--dist loadgroup` for the pytest at hand: pytest-xdist 3.8 writes the group where pytest 9.2 does not read it.

Without this, each worker would build the world of the end-to-end tests for itself.
"""

from __future__ import annotations

import pytest

# what has the mark xdist_group
PATHS = ("tests/e2e/", "tests/interop/test_oracle_check.py", "tests/interop/test_matrix.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """One group for each of these paths; everything else as it comes."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((path for path in PATHS if path in nodeid.partition("::")[0]), nodeid)

    return Groups(config, log)
