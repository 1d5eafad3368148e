"""Signatures of delivered mail, remembered beside the mail: no message waits for it, or fails by it.

What is lost here, because a queue is full or the database is away, gives one warning less.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from domsec.errors import DomsecError
from domsec.stores.signatures import SeenSignatures

WAITING: Final = 10_000  # signatures on their way into the store
FORGET_EVERY: Final = timedelta(minutes=10)

_log = logging.getLogger("domsec.gateway")


class Replays:
    """Of one worker. `take` and `run` belong to its event loop."""

    def __init__(self, store: SeenSignatures, max_age: timedelta) -> None:
        self.store = store
        self.max_age = max_age
        self._waiting: asyncio.Queue[str] = asyncio.Queue(WAITING)
        self._forgot = datetime.min.replace(tzinfo=UTC)

    def seen(self, keys: Collection[str], now: datetime) -> bool:
        """Whether a signature was delivered before, as far as can be found out now. Raises nothing."""
        try:
            return self.store.any_of(keys, since=now - self.max_age)
        except DomsecError as error:
            _log.warning("nobody knows whether a signature came before: %s", error)
            return False

    def take(self, keys: Sequence[str]) -> None:
        """Put what was delivered in line. Never waits."""
        for key in keys:
            if not self._waiting.full():
                self._waiting.put_nowait(key)

    async def run(self) -> None:
        """Remember what comes, for ever."""
        while True:
            keys = [await self._waiting.get()]
            while not self._waiting.empty():
                keys.append(self._waiting.get_nowait())
            try:
                await asyncio.to_thread(self._store, keys, datetime.now(UTC))
            except DomsecError as error:
                _log.warning("%d signatures are not remembered: %s", len(keys), error)

    def _store(self, keys: Sequence[str], now: datetime) -> None:
        self.store.note(keys, now=now)
        if now - self._forgot > FORGET_EVERY:
            self._forgot = now
            self.store.forget(before=now - self.max_age)
