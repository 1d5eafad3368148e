"""Failures to decrypt, counted by key and by client (RFC 2634 6, threats T-22).

Who asks a key often enough about altered ciphertext may learn what it opens, a bit a message, however alike the
answers are. That takes many messages, so an administrator is told of many.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(hours=1)
MOST_NAMES: Final = 10_000  # clients that are remembered: who failed longest ago is forgotten first


class Watch:
    """Counts failures of names within a sliding window; of one process."""

    def __init__(self, threshold: int) -> None:
        """`threshold` failures within the window are too many; 0 is never."""
        self.threshold = threshold
        self._failures: OrderedDict[str, deque[datetime]] = OrderedDict()

    def failed(self, names: Iterable[str], at: datetime) -> list[str]:
        """Count a failure for each name; those with too many by now, who then start anew."""
        return [name for name in names if self._count(name, at)] if self.threshold else []

    def _count(self, name: str, at: datetime) -> bool:
        times = self._failures.setdefault(name, deque())
        self._failures.move_to_end(name)
        while times and times[0] <= at - WINDOW:
            times.popleft()
        times.append(at)
        if len(times) >= self.threshold:
            del self._failures[name]
            return True
        if len(self._failures) > MOST_NAMES:
            self._failures.popitem(last=False)
        return False
