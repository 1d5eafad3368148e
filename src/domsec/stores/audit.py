"""The audit trail: what was granted, recorded durably before it is done (`spec/algorithms.md` (c) step 7).

Records are only ever added. They hold no content and no keys; whoever records passes names, digests and reasons.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from domsec.errors import StoreUnavailable

Entry = tuple[str, Mapping[str, object], datetime]  # event, fields, when


class AuditTrail(Protocol):
    """Where records go. Both return when the records are kept; they raise StoreUnavailable if that cannot be."""

    def record(self, event: str, fields: Mapping[str, object], *, at: datetime) -> None: ...

    def record_all(self, entries: Sequence[Entry]) -> None: ...


class FileAudit:
    """One JSON object a line in a file that several processes may share.

    A file that was moved away (logrotate) is made anew. With `fsync` a record is on the disk when `record` returns.
    """

    def __init__(self, path: Path, *, fsync: bool = True) -> None:
        self.path = path
        self._fsync = fsync
        self._lock = threading.Lock()

    def record(self, event: str, fields: Mapping[str, object], *, at: datetime) -> None:
        self.record_all([(event, fields, at)])

    def record_all(self, entries: Sequence[Entry]) -> None:
        lines = b"".join(
            json.dumps({"at": at.isoformat(), "event": event, **fields}, default=str).encode() + b"\n"
            for event, fields, at in entries
        )
        try:
            with self._lock:
                self._append(lines)
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from error

    def check(self) -> None:
        """Whether records can be kept: the file is there, or can be made. Raises StoreUnavailable."""
        try:
            os.close(self._open())
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from error

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _append(self, line: bytes) -> None:
        is_new = not self.path.exists()
        # opened each time, some ten microseconds beside an fsync, so that nothing is written to a file that was moved
        file = self._open()
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                line = b"\n" + line  # a writer died in the middle of its line, which stays as it is
            while line:
                line = line[os.write(file, line) :]
            if self._fsync:
                os.fsync(file)
                if is_new:
                    _fsync_folder(self.path.parent)
        finally:
            os.close(file)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
