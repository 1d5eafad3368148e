"""`domsec gateway run`: from a configuration file to processes that take mail.

Everything that can be wrong is found before a port opens. Keys are opened in the parent and inherited; a database
connection is made by each worker for itself, since none may cross a fork.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from domsec import pipeline
from domsec.daemon import announce, set_up_log, takes_time
from domsec.errors import ConfigurationError
from domsec.gateway import workers
from domsec.gateway.http_get import Guard
from domsec.gateway.refresh import Refresh, Refresher
from domsec.gateway.relay import NextHop
from domsec.gateway.server import IN_FLIGHT, Gateway, Handler, Journal, Listener, Settings
from domsec.gateway.shadow import as_it_came
from domsec.gateway.workers import Hooks, Service
from domsec.pipeline import Decision, Direction, Held, Transaction
from domsec.policy.check import check, role_problems
from domsec.policy.configuration import Configuration
from domsec.policy.kinds import Endpoint
from domsec.policy.options import RuleOptions
from domsec.policy.tls import server_context
from domsec.site import Recorded, Site, load_discovery, load_site, own_certificates, stated, users_of, with_table
from domsec.stores import certificates, credentials, public_suffixes
from domsec.stores.discovery import Discovery
from domsec.stores.group_commit import GroupCommit
from domsec.stores.key_process import process_at
from domsec.stores.revocations import RevocationFolder
from domsec.stores.users import Opened
from domsec.trust.discovered import Found, Question
from domsec.trust.path import Validator

PASSWORD_VARIABLE = "DOMSEC_PASSWORD"


def run(path: Path) -> int:
    """Run the gateway of a configuration file until it is told to stop; the exit status.

    Raises ConfigurationError with every problem found, before anything listens.
    """
    return workers.serve(functools.partial(load, path, {}), announce)


def load(path: Path, opened: Opened) -> Service:
    """All that a configuration file says to the gateway's processes. Raises ConfigurationError.

    `opened` has the users' keys of the last time, which need not be opened again, and those of this time afterwards.
    """
    configuration = Configuration.load(path)
    users = users_of(configuration, _password(), ask=True, opened=opened, takes_time=takes_time)
    problems = check(
        configuration,
        open_credentials=functools.partial(
            credentials.open_credentials, environment_password=_password(), keyd_socket=configuration.keyd.socket
        ),
        load_certificates=certificates.load_certificates,
        now=datetime.now(UTC),
        role_problems=functools.partial(role_problems, is_public_suffix=public_suffixes.load()),
        load_users=lambda: users,
    )
    process_at(configuration.keyd.socket).close()  # which was asked whether it has our keys; workers ask for themselves
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    ours = configuration.listen
    if not (ours.outbound or ours.inbound or ours.milter):
        text = "neither listen.outbound nor listen.inbound nor listen.milter, expected at least one"
        errors.append(f"{configuration.path}: {text}")
    if errors:
        raise ConfigurationError(*errors)
    for problem in problems:
        announce(f"warning: {problem}")
    set_up_log(configuration.log.level, configuration.log.format)
    site = load_site(configuration, environment_password=_password(), users=users)
    metrics = configuration.listen.metrics
    return Service(
        settings=_settings(configuration),
        listeners=tuple(_listeners(configuration)),
        hooks=functools.partial(_hooks, site, load_discovery(configuration)),
        workers=configuration.listen.workers or os.cpu_count() or 1,
        metrics=str(metrics) if metrics else "",
    )


def _password() -> str | None:
    return os.environ.get(PASSWORD_VARIABLE)


def _settings(configuration: Configuration) -> Settings:
    hostname = _hostname(configuration)
    named = "\n".join((hostname, *configuration.domains))
    ours = configuration.listen
    return Settings(
        hostname=hostname,
        instance=f"domsec-{hashlib.sha256(named.encode()).hexdigest()[:12]}",
        size=configuration.limits.size,
        in_flight=max(IN_FLIGHT, configuration.limits.size),
        recipients=configuration.limits.recipients,
        decryption_alarm=configuration.inbound.decryption_alarm,
        limits=configuration.limits,
        tls=server_context(ours.tls, ours.tls_clients) if ours.tls is not None else None,
        require_tls=ours.require_tls,
    )


def _hostname(configuration: Configuration) -> str:
    return configuration.listen.hostname or socket.gethostname()


def _listeners(configuration: Configuration) -> list[Listener]:
    listeners = []
    for direction in ("outbound", "inbound"):
        taken: Endpoint | None = getattr(configuration.listen, direction)
        given: Endpoint | None = getattr(configuration.next_hop, direction)
        if taken is not None and given is not None:
            hop = next_hop(given, configuration)
            listeners.append(_listener(configuration, taken.address, _protocol(taken), direction, hop))
    if configuration.listen.milter is not None:
        listeners.append(_listener(configuration, configuration.listen.milter.address, "milter", "inbound", None))
    return listeners


def _listener(
    configuration: Configuration,
    address: str,
    protocol: Literal["lmtp", "smtp", "milter"],
    direction: Direction,
    hop: NextHop | None,
) -> Listener:
    ours = configuration.listen
    trusted = tuple(str(network) for network in ours.trusted_clients.networks)
    listener = Listener(
        address, protocol, direction, hop, trusted=trusted, trust_unix=ours.trusted_clients.unix, mode=ours.socket_mode
    )
    if not trusted:
        return listener
    return dataclasses.replace(listener, clients=tuple(dict.fromkeys((*listener.clients, *trusted))))


def next_hop(given: Endpoint, configuration: Configuration) -> NextHop:
    """A place of the configuration as one to give messages to."""
    options = configuration.next_hop
    return NextHop(given.address, _protocol(given), helo=_hostname(configuration), tls=options.tls, ca=options.ca)


def _protocol(endpoint: Endpoint) -> Literal["lmtp", "smtp"]:
    return "lmtp" if endpoint.protocol == "lmtp" else "smtp"


def _hooks(site: Site, directories: Discovery) -> Hooks:
    """What a worker does with mail, its stores opened."""
    from domsec.gateway import release
    from domsec.gateway.expiry import Expiry
    from domsec.gateway.expiry import run as watch_expiry
    from domsec.gateway.harvest import Harvester
    from domsec.gateway.health import Health, probes
    from domsec.gateway.holding import Stores
    from domsec.gateway.postmaster import Postmaster
    from domsec.gateway.postmaster import run as tell
    from domsec.gateway.replays import Replays
    from domsec.stores.certificate_table import CertificateTable
    from domsec.stores.notices import NoticeStore
    from domsec.stores.signatures import SeenSignatures

    configuration = site.configuration
    stores = Stores.open(configuration)
    holds, commit = stores.holds, GroupCommit(stores.trail)

    def record(event: str, transaction: str, entry: Recorded) -> None:
        commit.record(event, {"transaction": transaction, **stated(entry)}, at=entry.at)

    def hold(transaction: Transaction, held: Held) -> str:
        kept = held.outgoing
        return holds.put(
            direction=transaction.direction,
            sender=kept.sender if kept else transaction.sender,
            sender_parameters=kept.sender_parameters if kept else transaction.sender_parameters,
            recipients=kept.recipients if kept else [transaction.recipients[i] for i in held.indexes],
            octets=bytes(held.octets),
            reasons=held.reasons,
            transaction=transaction.id,
            received_at=transaction.received_at,
            now=_now(),
            session=_plain(transaction),
            ready=kept is not None,
        )

    table = CertificateTable(holds.database)
    shadowed = configuration.gateway.shadow
    current = _Current(
        with_table(site, table) if shadowed else dataclasses.replace(with_table(site, table), record=record)
    )
    max_age = configuration.inbound.max_age
    replays = Replays(SeenSignatures(holds.database), max_age) if max_age is not None and not shadowed else None
    if replays is not None:
        current.site = dataclasses.replace(current.site, seen=replays.seen)
    harvester = Harvester(table, current.site.source, configuration.inbound.harvest)
    expiry = Expiry(site, table)
    refresher = _refresher(current)
    postmaster = Postmaster(configuration, NoticeStore(holds.database), holds, _hostname(configuration))

    def handler(transaction: Transaction, found: Found | None = None) -> Decision:
        decision = pipeline.process(transaction, current.site, found)
        if decision.harvested and not shadowed:
            harvester.take(decision.harvested, transaction.id, transaction.received_at)
        return decision

    async def discover(direction: Direction, wanted: Sequence[Question]) -> Handler:
        found = await directories.find(wanted, direction)
        return lambda transaction: handler(transaction, found)

    async def decide(transaction: Transaction) -> Decision:
        approving = dataclasses.replace(_approving(current.site), record=record)
        decision = pipeline.process(transaction, approving)
        if decision.wanted:
            transaction = dataclasses.replace(transaction, judged=decision.judged)
            decision = pipeline.process(transaction, approving, await directories.find(decision.wanted))
        if replays is not None:  # what a person let go is on its way, and comes here no more
            going = {index for out in decision.outgoing for index in out.indexes}
            replays.take([key for index, key in decision.signatures if index in going])
        return decision

    async def beside(gateway: Gateway) -> None:
        if refresher is not None:
            refresher.counters = gateway.counters
        await asyncio.gather(
            release.run(holds, decide, gateway),
            Health(probes(current.site, holds.database, stores.trail), gateway).run(),
            harvester.run(gateway.counters),
            *([replays.run()] if replays is not None else []),
            watch_expiry(expiry, gateway.counters, _now),
            *([tell(postmaster, _now)] if configuration.notices.to is not None else []),
            *([refresher.run()] if refresher is not None else []),
            return_exceptions=True,  # told to stop, it waits for what has something in hand
        )

    return Hooks(
        handler,
        hold,
        _journal(configuration),
        commit.durable,
        discover,
        functools.partial(as_it_came, site) if shadowed else None,
        replays.take if replays is not None else None,
        background=beside,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _approving(site: Site) -> Site:
    """The installation as it treats what a person let go: mail from outside is delivered with its verdict.

    What cannot be read, and mail of our users, meets the same policy as ever.
    """
    inbound = dataclasses.replace(
        site.configuration.inbound, on_violation="deliver", on_unopenable="deliver", on_unverified="deliver"
    )
    rules = tuple(dataclasses.replace(rule, options=_silent(rule.options)) for rule in site.rules)
    return dataclasses.replace(
        site, configuration=dataclasses.replace(site.configuration, inbound=inbound), rules=rules
    )


def _silent(options: RuleOptions) -> RuleOptions:
    return dataclasses.replace(options, on_violation=None, on_unopenable=None, on_unverified=None)


@dataclasses.dataclass(slots=True)
class _Current:
    """The site in force. A message takes it as it is when it comes; a fresh one needs no lock to take its place."""

    site: Site

    def trust(self, validator: Validator) -> None:
        self.site = dataclasses.replace(self.site, validator=validator)


def _refresher(current: _Current) -> Refresher | None:
    """What keeps revocation fresh, with all that was fetched before taken into use; None where nothing is fetched."""
    wanted = current.site.configuration.revocation
    if wanted.fetch == "no" or wanted.folder is None:
        return None
    refresher = Refresher(
        RevocationFolder(wanted.folder),
        Refresh(
            kinds=_FETCHED[wanted.fetch],
            every=wanted.every,
            guard=Guard(frozenset(wanted.ports), wanted.networks),
            grace=wanted.grace or timedelta(0),
            size=wanted.size,
        ),
        base=current.site.validator,
        swap=current.trust,
        own=own_certificates(current.site),
    )
    refresher.load()
    return refresher


_FETCHED: Final = {"crls": frozenset({"crl"}), "ocsp": frozenset({"ocsp"}), "both": frozenset({"crl", "ocsp"})}


def _plain(transaction: Transaction) -> dict[str, object]:
    """Who handed a held message over, so that it can be judged again."""
    session = transaction.session
    return {
        "client": session.client_address,
        "helo": session.helo,
        "auth": session.auth,
        "protocol": session.protocol,
        "xforward": dict(session.xforward),
        "user": session.user,
        "certificate": session.certificate,
    }


def _journal(configuration: Configuration) -> Journal | None:
    """Where the line about each message goes; it is of level info."""
    if configuration.log.level in ("warning", "error"):
        return None
    return workers.json_journal(2) if configuration.log.format == "json" else _text_journal


def _text_journal(record: Mapping[str, object]) -> None:
    shown = (f"{key}={json.dumps(value, default=str)}" for key, value in record.items() if value not in (None, [], {}))
    sys.stderr.write(f"domsec: {' '.join(shown)}\n")
