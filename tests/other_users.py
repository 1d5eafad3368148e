"""Running domsec as another user, which root can; others run it as themselves.

A Python under /root, say of pyenv, is not for other users. Debian's of the same version then runs the same packages.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import domsec

ROOT = os.geteuid() == 0
_SYSTEM = Path("/usr/bin/python3")


def _open_to_all(path: Path) -> bool:
    path = path.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (*path.parents, path))


def _python() -> tuple[str, dict[str, str]] | None:
    packages = [Path(domsec.__file__).parent.parent, Path(sysconfig.get_path("purelib"))]
    if not ROOT or _open_to_all(Path(sys.executable)):
        return sys.executable, {}
    same = _SYSTEM.exists() and _SYSTEM.resolve().name == f"python3.{sys.version_info.minor}"
    if same and all(map(_open_to_all, packages)):
        return str(_SYSTEM), {"PYTHONPATH": os.pathsep.join(map(str, packages))}
    return None


_FOUND = _python()
REASON = None if _FOUND else f"other users cannot run {sys.executable}"


def python(program: str) -> list[str]:
    """A Python program for whoever runs it, in `environment`."""
    assert _FOUND is not None, REASON
    return [_FOUND[0], "-c", program]


def domsec_command(*arguments: object) -> list[str]:
    return [*python("from domsec.cli import main; main()"), *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    assert _FOUND is not None, REASON
    return os.environ | _FOUND[1] | more


def as_user(name: str) -> dict[str, Any]:
    """Arguments of subprocess.Popen to run a program as this user, where that can be done."""
    return {"user": name, "group": "nogroup", "extra_groups": []} if ROOT else {}


@contextmanager
def folder(owner: str) -> Iterator[Path]:
    """A folder that everybody can enter and list, this user's where we are root."""
    made = Path(tempfile.mkdtemp(prefix="domsec-test-"))
    try:
        made.chmod(0o755)
        give(made, owner)
        yield made
    finally:
        shutil.rmtree(made)


def give(path: Path, owner: str) -> None:
    if ROOT:
        shutil.chown(path, owner)
