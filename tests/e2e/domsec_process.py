"""`domsec gateway run` as a process that can be killed, and started again as systemd would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


class Domsec:
    """One gateway. Its standard error, and with it one JSON line for each message, is kept in `log`."""

    program = str(Path(sys.executable).with_name("domsec"))

    def __init__(self, configuration: Path, log: Path) -> None:
        self.configuration = configuration
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> list[int]:
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:
            return []

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        begun = self.log.stat().st_size if self.log.exists() else 0
        command = [self.program, "gateway", "run", "--config", str(self.configuration)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        self.log.with_suffix(".pid").write_text(str(self.pid))
        deadline = time.monotonic() + 30
        while b"domsec: ready" not in self.log.read_bytes()[begun:]:
            said = self.log.read_text(errors="replace")[begun:]
            if self._process.poll() is not None:
                raise RuntimeError(f"domsec ended with status {self._process.returncode}: {said}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"domsec is not ready: {said}")
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM, as `systemctl stop`; the exit status."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self._process.wait(30)
        finally:
            self.kill()

    @contextlib.contextmanager
    def configured(self, more: str, **changes: str) -> Iterator[None]:
        """Restarted with this behind its configuration, and with other words in it; afterwards as it was."""
        before = text = self.configuration.read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        try:
            self._restart(text + more)
            yield
        finally:
            self._restart(before)

    def _restart(self, text: str) -> None:
        self.stop()
        self.configuration.write_text(text)
        self.start()

    def kill(self) -> None:
        """SIGKILL to the parent, then to what is left of its processes, as systemd does."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def kill_worker(self) -> None:
        """SIGKILL to one worker; the parent is to start another."""
        for pid in self.workers[:1]:
            os.kill(pid, signal.SIGKILL)

    def journal(self) -> list[dict[str, object]]:
        """The line about each message."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        records = []
        for line in lines:
            if line.startswith("{"):
                with contextlib.suppress(ValueError):
                    records.append(json.loads(line))
        return [record for record in records if record.get("event") == "message"]
