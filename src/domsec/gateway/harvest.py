"""Certificates that accepted mail brought, put into the store beside the mail: no message waits for it, or fails by it.

What is lost here, because a queue is full or the database is away, comes again with the next message.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

from domsec.cms.certificates import Certificate
from domsec.errors import DomsecError
from domsec.gateway.metrics import Counters
from domsec.policy.options import Harvest
from domsec.services.encrypt import is_authority
from domsec.services.harvest import Harvested
from domsec.services.names import CONFIDENTIALITY_AUTHORITY
from domsec.stores.certificate_table import CertificateTable
from domsec.trust.names import same_name
from domsec.trust.source import CertificateSource

WAITING: Final = 1000  # certificates on their way into the store
REMEMBERED: Final = 10_000  # that were dealt with, so that the database is not asked about each again
SAID_AGAIN: Final = timedelta(hours=1)  # after which a preference is noted anew: another worker may have seen another

K = TypeVar("K")
V = TypeVar("V")

_log = logging.getLogger("domsec.gateway")


class Harvester:
    """Of one worker. `take` and `run` belong to its event loop."""

    def __init__(self, table: CertificateTable, source: CertificateSource, rule: Harvest) -> None:
        """`source` has what may be used already, wherever it is from."""
        self.table = table
        self.source = source
        self.rule = rule
        self._waiting: asyncio.Queue[tuple[Harvested, str, datetime]] = asyncio.Queue(WAITING)
        self._seen: OrderedDict[Certificate, None] = OrderedDict()
        self._preferences: OrderedDict[str, tuple[Certificate, datetime]] = OrderedDict()

    def take(self, brought: Sequence[Harvested], transaction: str, at: datetime) -> None:
        """Put certificates of an accepted message in line. Never waits."""
        for one in brought:
            if self._is_news(one, at) and not self._waiting.full():
                _remember(self._seen, one.certificate, None)
                if one.preferred:
                    _remember(self._preferences, one.address, (one.certificate, at))
                self._waiting.put_nowait((one, transaction, at))

    def _is_news(self, one: Harvested, at: datetime) -> bool:
        if one.certificate not in self._seen:
            return True
        if not one.preferred:
            return False
        said, when = self._preferences.get(one.address, (None, at))
        return said != one.certificate or at > when + SAID_AGAIN

    async def run(self, counters: Counters) -> None:
        """Store what comes, for ever."""
        while True:
            one, transaction, at = await self._waiting.get()
            try:
                await asyncio.to_thread(self.store, one, transaction, at, counters)
            except DomsecError as error:
                _log.warning("certificate %s of %s is not kept: %s", one.certificate.sha256[:16], one.whose, error)
                self._seen.pop(one.certificate, None)
                self._preferences.pop(one.address, None)
            except Exception:  # a fault of ours about one certificate must not keep the others out
                _log.exception("error while certificate %s was kept", one.certificate.sha256[:16])

    def store(self, one: Harvested, transaction: str, at: datetime, counters: Counters) -> None:
        """Keep a certificate unless it is known, note whether its owner prefers it, and say so. Raises DomsecError."""
        if self._keep(one, transaction, at, counters) and one.preferred:
            self.table.prefer(one.address, one.certificate, now=at)

    def _keep(self, one: Harvested, transaction: str, at: datetime, counters: Counters) -> bool:
        """Whether the certificate is known by now."""
        before = self._before(one)
        if one.certificate in before:
            return True
        origin = f"message {transaction} for {one.whose}"
        rule = self._approving(one, before)
        outcome = self.table.harvest(one.certificate, domain=one.domain, origin=origin, now=at, rule=rule)
        name = one.certificate.sha256[:16]
        if outcome == "full":
            counters.add("harvest_full")
            _log.warning("certificate %s of %s is not kept: too many wait for approval", name, one.whose)
        elif outcome == "new":
            counters.add("harvested")
            _log.info("certificate %s of %s %s", name, one.whose, "is approved" if rule else "waits for approval")
        return outcome != "full"

    def _before(self, one: Harvested) -> Sequence[Certificate]:
        """What there is for the same person or authority."""
        if is_authority(one.certificate):
            return self.source.authority(CONFIDENTIALITY_AUTHORITY, one.address.rpartition("@")[2])
        return self.source.by_address(one.address)

    def _approving(self, one: Harvested, before: Sequence[Certificate]) -> str:
        """What approves a certificate by itself; empty where a person has to."""
        renewed = any(same_name(known.issuer, one.certificate.issuer) for known in before)
        if self.rule == "trusted" or (self.rule == "renewals" and renewed):
            return f'rule harvest = "{self.rule}"'
        return ""


def _remember(known: OrderedDict[K, V], key: K, value: V) -> None:
    """As the newest of REMEMBERED."""
    known[key] = value
    known.move_to_end(key)
    if len(known) > REMEMBERED:
        known.popitem(last=False)
