"""Whether a worker has what its mail needs: asked every few seconds, so that it is known before mail finds out.

    store      the database takes a write
    audit      the file of the audit trail can be written
    room       a disk that mail is put on has room for one more message of the largest size
    keys       the key process has our keys
    next_hop   a next hop that did not answer the last message answers again

What fails makes `/readyz` say no, with the worker's place in `/metrics`, and is a line in the log; so is its end. Mail
is answered by what it meets itself: 4xx where it needs what is not there, as ever where it does not.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from domsec.errors import DomsecError, StoreUnavailable
from domsec.gateway.metrics import NEEDS, Counters
from domsec.gateway.server import Gateway
from domsec.octets import place
from domsec.site import Site
from domsec.stores.audit import FileAudit
from domsec.stores.database import Database
from domsec.stores.key_process import KeyProcess, KeyProcessCredential, Silent

PAUSE: Final = 5.0  # seconds between looks: as long as a load balancer takes to ask twice
Probe = Callable[[], None]  # raises DomsecError

_log = logging.getLogger("domsec.gateway")


class Health:
    """Of one worker."""

    def __init__(self, probes: Mapping[str, Probe], gateway: Gateway) -> None:
        self._probes = probes
        self._gateway = gateway
        self._counters: Counters = gateway.counters
        self._down: dict[str, str] = {}

    async def run(self, *, pause: float = PAUSE) -> None:
        """Look again and again, for ever; what takes long keeps nothing else from being looked at."""
        looks = [self._keep_looking(name, probe, pause) for name, probe in self._probes.items()]
        await asyncio.gather(*looks, self._keep_trying_next_hops(pause))

    async def _keep_looking(self, name: str, probe: Probe, pause: float) -> None:
        while True:
            try:
                await asyncio.to_thread(probe)
            except DomsecError as error:
                self._is(name, str(error))
            except Exception as error:  # nobody else would say it
                _log.exception("error while looking for %s", name)
                self._is(name, type(error).__name__)
            else:
                self._is(name, "")
            await asyncio.sleep(pause)

    async def _keep_trying_next_hops(self, pause: float) -> None:
        while True:
            for relay in self._gateway.relays:
                if relay.down:
                    await relay.probe()
            self._is("next_hop", ", ".join(relay.address for relay in self._gateway.relays if relay.down))
            await asyncio.sleep(pause)

    def _is(self, name: str, why: str) -> None:
        before = self._down.get(name, "")
        self._down[name] = why
        self._counters.set(f"down_{name}", bool(why))
        if why and not before:
            _log.error("%s: %s", NEEDS[name], why)
        elif before and not why:
            _log.warning("no longer so: %s", NEEDS[name])


# --- what is asked --------------------------------------------------------------------------------------------------


def probes(site: Site, database: Database, trail: object) -> Mapping[str, Probe]:
    """For an installation as it is configured. The trail in the database needs none of its own."""
    folders = {Path(place()), *([database.file.parent] if database.file else [])}
    found: dict[str, Probe] = {"store": database.check}
    if isinstance(trail, FileAudit):
        found["audit"] = trail.check
        folders.add(trail.path.parent)
    found["room"] = lambda: _room(folders, site.configuration.limits.size)
    if held := _held(site):
        found["keys"] = _keys(held)
    return found


def _held(site: Site) -> tuple[KeyProcessCredential, ...]:
    """Which keys of ours the key process is asked for.

    Of users' keys one and that only where there are no others: there may be thousands, and a worker is not to stop
    for one that is missing.
    """
    roles, users = (*site.signing_keys, *site.keyring, *site.attribute_keys), site.users.credentials
    found = (tuple(key for key in keys if isinstance(key, KeyProcessCredential)) for keys in (roles, users[:1]))
    return next(filter(None, found), ())


def _room(folders: Iterable[Path], wanted: int) -> None:
    for folder in folders:
        try:
            found = os.statvfs(folder)
        except OSError as error:
            raise StoreUnavailable(f"{folder}: {error.strerror}") from None
        free = found.f_bavail * found.f_frsize
        if free < wanted:
            raise StoreUnavailable(f"{folder}: {free} octets are free, a message may have {wanted} (limits.size)")


def _keys(held: Iterable[KeyProcessCredential]) -> Probe:
    """Ask over connections of our own, so that mail does not wait for the answer; where none comes it need not ask."""
    beside = {key.process: KeyProcess(key.process.path) for key in held}

    def probe() -> None:
        for key in held:
            try:
                key.present(beside[key.process])
            except Silent:
                key.process.shunned = True
                raise
            key.process.shunned = False

    return probe
