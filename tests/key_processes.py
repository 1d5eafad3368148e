"""`domsec keyd` as a process of its own, and the files of two that ask it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import other_users
import pki

USER = "nobody"  # who runs the key process, where we are root
OWNER = "owner@acme.example"  # of every list
NOW = datetime.now(UTC) - timedelta(hours=1)  # a process reads the real clock


def identity(role: str, kind: str = "p256", *, of: str = "acme.example", **more: object) -> pki.Identity:
    """A key of acme.example, or of a user or list there, that is valid now."""
    return pki.identity(role, of, pki.world().acme.ca, kind, **{"now": NOW, "days": 300} | more)  # type: ignore[arg-type]


class KeyProcess:
    """One `domsec keyd` with its configuration in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "socket"
        self.configuration = folder / "keyd.toml"
        self.log = folder / "keyd.log"
        self.keys: dict[str, list[pki.Identity]] = {}
        self.users: dict[str, pki.Identity] = {}  # by the name of the file
        self.lists: dict[str, pki.Identity] = {}  # by the name of the list
        self.options = ""  # more lines of [keyd]
        self.user_options = ""  # and of [users]
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, **keys: list[pki.Identity]) -> None:
        """Write the keys of each role, in this order, and the configuration that names them."""
        self.keys |= keys
        (self.folder / "users").mkdir(exist_ok=True)
        text = f'domains = ["acme.example"]\n[log]\nlevel = "info"\n[keyd]\nsocket = "{self.socket}"\n{self.options}'
        for role, identities in self.keys.items():
            names = [f"{role}-{each.certificate.sha256[:8]}.pem" for each in identities]
            for name, each in zip(names, identities, strict=True):
                self._write(name, each)
            text += f"[keys.{role}]\ncredential = {json.dumps(names)}\n"
        if self.users:
            text += f'[users]\nfolder = "users"\n{self.user_options}'
        for name, each in self.users.items():
            self._write(f"users/{name}.pem", each)
        for name, each in self.lists.items():
            self._write(f"{name}.pem", each)
            address = f"{name}@acme.example"
            text += f'[[list]]\nname = "{name}"\naddress = "{address}"\nowner = "{OWNER}"\ncredential = "{name}.pem"\n'
        self.configuration.write_text(text)

    def _write(self, name: str, of: pki.Identity) -> None:
        (self.folder / name).write_bytes(private(of) + public(of))
        (self.folder / name).chmod(0o600)
        other_users.give(self.folder / name, USER)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def children(self) -> list[int]:
        """The processes of its connections."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def start(self, *options: str, **environment: str) -> None:
        """Start it, as root with `--user` or else as USER, and wait until it is ready."""
        begun = self.written
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                other_users.domsec_command("keyd", "--config", self.configuration, *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=other_users.environment(**environment),
                **({} if "--user" in options else other_users.as_user(USER)),
            )
        self.wait_for("domsec: ready", begun)

    @property
    def written(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def wait_for(self, words: str, begun: int = 0) -> str:
        """What was written since `begun`, once it has these words."""
        deadline = time.monotonic() + 30
        while words not in (said := self.log.read_text(errors="replace")[begun:]):
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"ended with status {self._process.returncode}: {said}")
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        return said

    def refusals(self) -> list[dict[str, object]]:
        """The lines about acts that were refused."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if str(line["text"]).startswith("refused: ")]

    def reload(self) -> str:
        begun = self.written
        os.kill(self.pid, signal.SIGHUP)
        return self.wait_for("reload", begun)

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Meanwhile it answers nobody. First it stops itself, so that no new process escapes, and then those it has."""
        stopped = [self.pid]
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            for pid in self.children:
                stopped.append(pid)
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self._process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return self._process.wait(30)


def private(of: pki.Identity) -> bytes:
    return of.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public(of: pki.Identity) -> bytes:
    return of.certificate.x509.public_bytes(Encoding.PEM)


@pytest.fixture
def keyd() -> Iterator[KeyProcess]:
    """A key process with a signing and a confidentiality key, not started."""
    if other_users.REASON:
        pytest.skip(other_users.REASON)
    with other_users.folder(USER) as folder:
        made = KeyProcess(folder)
        made.configure(signing=[identity("signing")], confidentiality=[identity("confidentiality")])
        yield made
        made.stop(signal.SIGKILL)
