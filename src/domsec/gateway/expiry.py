"""When certificates end: shown to whoever watches `/metrics`, and said in the log once a day while it is time.

A gateway whose certificate ends in the night sends mail that nobody believes any more; nothing else tells beforehand.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

from domsec.cms.credential import Credential
from domsec.errors import DomsecError
from domsec.gateway.metrics import Counters
from domsec.site import Site
from domsec.stores.certificate_table import CertificateTable

PAUSE: Final = 3600.0  # seconds between looks
REPEAT: Final = timedelta(days=1)
MOST: Final = 10_000  # certificates counted as expiring

_log = logging.getLogger("domsec.gateway")


class Expiry:
    """Of one worker."""

    def __init__(self, site: Site, table: CertificateTable) -> None:
        self.site = site
        self.table = table
        self.margin = timedelta(days=site.configuration.trust.expiry_alarm)
        self._told: datetime | None = None

    def look(self, now: datetime, counters: Counters) -> None:
        """Set the levels, and say what is due if it was not said today. Raises StoreUnavailable."""
        tally = self.table.tally()
        counters.set("approved", tally.get("approved", 0))
        counters.set("quarantined", tally.get("quarantined", 0))
        for role, keys in self._own():
            counters.set(f"end_{role}", int(_end(keys).timestamp()))
        until = now + self.margin
        expiring = sum(1 for _ in itertools.islice(self.table.entries("approved", until=until), MOST))
        counters.set("expiring", expiring if self.margin else 0)
        if self.margin and (self._told is None or abs(now - self._told) >= REPEAT):
            self._told = now
            self._say(now, expiring)

    def _own(self) -> Iterator[tuple[str, tuple[Credential, ...]]]:
        roles = {"signing": self.site.signing_keys, "confidentiality": self.site.confidentiality_keys}
        yield from ((role, keys) for role, keys in roles.items() if keys)

    def _say(self, now: datetime, expiring: int) -> None:
        for role, keys in self._own():
            end = _end(keys)
            if end <= now:
                _log.error("the certificate of keys.%s ended on %s", role, f"{end:%Y-%m-%d}")
            elif end <= now + self.margin:
                days = (end - now).days
                _log.error("the certificate of keys.%s ends on %s, in %d days", role, f"{end:%Y-%m-%d}", days)
        if users := sum(certificate.not_after <= now + self.margin for _, certificate in self.site.users.last()):
            days = self.margin.days
            _log.warning(
                "%d keys of users end within %d days or have ended: domsec cert list --expiring %d", users, days, days
            )
        if expiring:
            days = self.margin.days
            _log.warning(
                "%d certificates of the store end within %d days or have ended: domsec cert list --expiring %d",
                expiring, days, days,
            )  # fmt: skip


def _end(keys: tuple[Credential, ...]) -> datetime:
    """When the last of some keys of a role ends: one that has a successor is not missed."""
    return max(key.certificate.not_after for key in keys)


async def run(expiry: Expiry, counters: Counters, now: Callable[[], datetime], *, pause: float = PAUSE) -> None:
    """Look again and again, for ever. A store that does not answer now may do so later."""
    while True:
        try:
            await asyncio.to_thread(expiry.look, now(), counters)
        except DomsecError as error:
            _log.warning("it is not known which certificates end soon: %s", error)
        except Exception:  # nobody else would say it
            _log.exception("error while looking which certificates end soon")
        await asyncio.sleep(pause)
