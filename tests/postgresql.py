"""A PostgreSQL server for tests, really running: one for each process of pytest, reached by a Unix socket of its own.

Ask for the fixture `postgresql`; tests that do are skipped where the server is not installed.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

USER = "postgres"  # no server of PostgreSQL runs as root
# nobody wants to keep what is in it
SETTINGS = "-c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=60"


@dataclass(frozen=True, slots=True)
class Server:
    """`folder` has the data and the socket."""

    programs: Path
    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def database(self, *settings: str) -> str:
        """The URL of an empty place for tables: a schema of its own, which is made faster than a database.

        `settings` are of the server, for whoever connects there: `name=value`.
        """
        schema = f"test{next(self._numbers)}"
        self.run("psql", "-q", "-h", str(self.folder), "-U", USER, "-c", f"CREATE SCHEMA {schema}", "postgres")
        options = " ".join(f"-c {setting}" for setting in (f"search_path={schema}", *settings))
        return f"postgresql://{USER}@/postgres?host={quote(str(self.folder), safe='')}&options={quote(options)}"

    def sql(self, url: str, statements: str) -> None:
        """Statements by PostgreSQL's own client, as another program would send them."""
        self.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statements)

    def start(self) -> None:
        log = str(self.folder / "log")
        options = f"{SETTINGS} -k {self.folder}"
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def run(self, program: str, *arguments: str) -> None:
        user = USER if os.geteuid() == 0 else None
        extra_groups: tuple[int, ...] | None = () if user else None
        subprocess.run(
            [self.programs / program, *arguments],
            check=True,
            user=user,
            extra_groups=extra_groups,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
        )


def _programs() -> Path:
    """Where Debian keeps them, else wherever they are found."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    found = str(versions[-1]) if versions else shutil.which("postgres")
    if found is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    return Path(found).resolve().parent


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="domsec-pg-"))  # the name of a socket has to be short
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(folder, user.pw_uid, user.pw_gid)
        server = Server(programs, folder)
        server.run(
            "initdb", "-D", str(folder / "data"), "-U", USER, "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8"
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
