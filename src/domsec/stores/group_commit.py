"""Audit records of many messages made durable together: one wait for the disk serves all that arrived meanwhile.

A record is taken at once and written in a thread; `durable` returns when everything recorded before the call is on the
disk. Nothing that a record grants may leave this process earlier. What could not be written is not kept: everybody
who waited for it is told so, and sends nothing; while a disk is full for hours, no records pile up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from domsec.stores.audit import AuditTrail, Entry


class GroupCommit:
    """Records for one event loop."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail
        self._pending: list[Entry] = []
        self._lock = threading.Lock()
        self._recorded = 0
        self._written = 0
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")

    def record(self, event: str, fields: Mapping[str, object], *, at: datetime) -> None:
        """Take a record. It is not durable yet."""
        with self._lock:
            self._pending.append((event, fields, at))
            self._recorded += 1

    async def durable(self) -> None:
        """Wait until all that was recorded so far is on the disk. Raises StoreUnavailable if it cannot be."""
        wanted = self._recorded
        while self._written < wanted:
            if self._writing is None or self._writing.done():
                self._writing = asyncio.get_running_loop().create_task(self._write())
            await asyncio.shield(self._writing)

    async def _write(self) -> None:
        with self._lock:
            batch, self._pending = self._pending, []
            until = self._recorded
        await asyncio.get_running_loop().run_in_executor(self._thread, self._trail.record_all, batch)
        self._written = until
