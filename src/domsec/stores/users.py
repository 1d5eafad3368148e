"""Private keys that are held for users: one file for each in a folder, PEM or PKCS#12 with the certificate in it.

A password stands beside in NAME.password, or is one for all. What is broken is told, and the rest is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from domsec.cms.credential import Credential
from domsec.errors import DomsecError
from domsec.stores.credentials import open_credential

MOST: Final = 2000  # opening an encrypted one takes a tenth of a second, at each start of a worker
SUFFIXES: Final = (".pem", ".p12", ".pfx")


@dataclass(frozen=True, slots=True)
class Held:
    """Each file that opened with its credential, and in words what did not."""

    files: tuple[tuple[Path, Credential], ...]
    problems: tuple[str, ...]

    @property
    def credentials(self) -> tuple[Credential, ...]:
        return tuple(credential for _, credential in self.files)


def load_users(folder: Path, password_file: Path | None, *, environment_password: str | None = None) -> Held:
    """Everything in a folder. Raises nothing."""
    found: list[tuple[Path, Credential]] = []
    problems: list[str] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    except OSError as error:
        return Held((), (f"{folder}: cannot be read: {error.strerror}",))
    if len(paths) > MOST:
        problems.append(f"{folder}: {len(paths)} keys, and {MOST} are held")
    for path in paths[:MOST]:
        beside = path.with_suffix(".password")
        try:
            credential = open_credential(
                path, beside if beside.exists() else password_file, environment_password=environment_password
            )
        except DomsecError as problem:
            problems.append(str(problem))
        else:
            found.append((path, credential))
    return Held(tuple(found), tuple(problems))
