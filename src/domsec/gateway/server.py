"""Listeners of one worker, and what becomes of a decision.

A message arrives, the handler decides, each outgoing message is relayed, what is to be held is held, and only then the
client gets its replies (measurements-mail.md A7):

    LMTP   each recipient has its own outcome
    milter the mail server keeps the message, and is told how to mark it, to refuse it, or to put it aside
    SMTP   one reply stands for all. A decision that refuses anybody refuses everybody, and nothing is sent. When the
           next hop took some and not others, the others are held, so that nothing is lost and nothing sent twice;
           when it took none, its refusal is ours and nothing is owned here.

An exception in the handler is 451, a traceback in the log, and a message that nobody touched.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from domsec.errors import ConfigurationError, DomsecError
from domsec.gateway import shadow
from domsec.gateway.alarm import Watch
from domsec.gateway.connection import A, Connection, Door, Peer, hurry
from domsec.gateway.data import stuffed
from domsec.gateway.metrics import Counters, Metrics
from domsec.gateway.milter import Answer, Milter
from domsec.gateway.relay import NextHop, Relay
from domsec.gateway.replies import REPLIES, Reply, delivered, for_error, held, passed_on, refusal
from domsec.gateway.session import MAX_HOPS, hops, received_field, received_fields
from domsec.gateway.smtp_client import Job
from domsec.gateway.smtp_server import Arrived, Budget, Profile, Server, TurnedAway
from domsec.limits import DEFAULT, Limits
from domsec.mime.fields import changes, split_message
from domsec.octets import Octets, Pieces, same, start
from domsec.pipeline import Decision, Direction, Held, Outgoing, Recipient, Session, Transaction
from domsec.trust.discovered import Question

Handler = Callable[[Transaction], Decision]
Hold = Callable[[Transaction, Held], str]
Journal = Callable[[Mapping[str, object]], None]
Discover = Callable[[Direction, Sequence[Question]], Awaitable[Handler]]  # a handler that knows the answers
AsItCame = Callable[[Transaction], Octets | Pieces]  # what goes on in shadow mode
Delivered = Callable[[Sequence[str]], None]  # told what `Decision.signatures` has for recipients who got it
Durable = Callable[[], Awaitable[None]]  # returns when all that the handler recorded is on the disk

_log = logging.getLogger("domsec.gateway")
IN_FLIGHT: Final = 256 * 1024 * 1024  # octets of all messages that one worker has at a time
MILTER_TIMEOUT: Final = 7210.0  # that of libmilter: a mail server is silent for as long as its own client may be
_LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class Listener:
    """One address that takes mail in one direction. `address` as for `NextHop`."""

    address: str
    protocol: Literal["lmtp", "smtp", "milter"]
    direction: Direction
    next_hop: NextHop | None = None  # of a milter: none, since the mail server keeps the message
    clients: tuple[str, ...] = _LOOPBACK  # networks that may connect at all; a UNIX socket has its file mode instead
    trusted: tuple[str, ...] = _LOOPBACK  # of these, who may use XFORWARD and XCLIENT
    trust_unix: bool = True  # whether everybody on a UNIX socket may
    mode: int = 0o660  # of a UNIX socket


@dataclass(frozen=True, slots=True)
class Settings:
    """What all listeners of a gateway share. Sizes in octets, times in seconds, numbers for one worker."""

    hostname: str
    instance: str  # in our Received field; names this gateway among all that a message may meet
    size: int = 64 * 1024 * 1024
    recipients: int = 1000
    connections: int = 500
    in_flight: int = IN_FLIGHT
    command_timeout: float = 300.0
    data_timeout: float = 180.0
    linger: float = 30.0  # after a reload, for connections that are there
    drain: float = 60.0
    decryption_alarm: int = 0  # failures to decrypt in an hour that are too many (T-22); 0 is never
    limits: Limits = DEFAULT  # of messages that a milter hears
    tls: ssl.SSLContext | None = None  # what clients that come by TCP are shown
    require_tls: bool = False
    minimum_time: float = 0.0  # before a message is answered, so that replies do not tell how long work took (T-22)


_WITH_THEM: Final = ("delivered", "marked")  # the recipient has it, or the mail server that asked


@dataclass(frozen=True, slots=True)
class _Outcome:
    action: Literal["delivered", "refused", "deferred", "held", "discarded", "marked"]
    reply: Reply


class Gateway:
    """One worker: its listeners, its connections to next hops, its messages in flight."""

    def __init__(
        self,
        settings: Settings,
        handler: Handler,
        hold: Hold,
        *,
        counters: Counters | None = None,
        journal: Journal | None = None,
        durable: Durable | None = None,
        discover: Discover | None = None,
        shadow: AsItCame | None = None,
        delivered: Delivered | None = None,
    ) -> None:
        self.settings = settings
        self.durable = durable
        self.discover = discover
        self.shadow = shadow
        self.delivered = delivered
        self.handler = handler
        self.hold = hold
        self.counters = counters or Metrics().counters()
        self.journal = journal
        self.budget = Budget(settings.in_flight)
        self.watch = Watch(settings.decryption_alarm)
        self.connections: set[Connection[Any]] = set()
        self.draining = False
        self._relays: dict[NextHop, Relay] = {}
        self._directions: dict[str, Relay] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: dict[Connection[Any], asyncio.Task[None]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._serial = itertools.count()
        self._prefix = f"{time.time_ns() // 1000:x}{os.getpid() & 0xFFFF:04x}"

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self, listeners: Sequence[tuple[Listener, socket.socket]]) -> None:
        """Take connections from these listening sockets."""
        loop = asyncio.get_running_loop()
        for listener, sock in listeners:
            sock.setblocking(False)
            factory = self._factory(listener)
            if sock.family == socket.AF_UNIX:
                self._servers.append(await loop.create_unix_server(factory, sock=sock))
            else:
                self._servers.append(await loop.create_server(factory, sock=sock))
        self._sweeper = loop.create_task(self._sweep())
        self.counters.set("ready", 1)
        self.counters.set("shadow", int(self.shadow is not None))

    async def retire(self, told: asyncio.Event) -> None:
        """Leave new connections to others, and serve those that are there until they end; then there is `drain`.

        A client that keeps its connection is not waited for longer than `Settings.linger`, nor past `told`.
        """
        self._close_servers()
        deadline = time.monotonic() + self.settings.linger
        while (self.connections or self._tasks) and time.monotonic() < deadline and not told.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def _close_servers(self) -> None:
        self.counters.set("ready", 0)
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def drain(self, seconds: float | None = None) -> bool:
        """Take no new connection, let transactions end, close. Gives False if some had to be cut off."""
        self.draining = True
        self._close_servers()
        for connection in list(self.connections):
            connection.stop_if_idle()
        deadline = time.monotonic() + (self.settings.drain if seconds is None else seconds)
        while (self.connections or self._tasks) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        clean = not self.connections and not self._tasks
        for connection in list(self.connections):
            connection.abort()
        for relay in self._relays.values():
            relay.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await asyncio.sleep(0)
        return clean

    def ready(self) -> str | None:
        """None, or why no mail is taken."""
        return "draining" if self.draining else None

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            now = loop.time()
            for connection in list(self.connections):
                connection.sweep(now)
            for relay in self._relays.values():
                relay.sweep(now)
            self.counters.set("in_flight", self.budget.used)

    @property
    def relays(self) -> Iterable[Relay]:
        return self._relays.values()

    def relay_of(self, direction: str) -> Relay | None:
        """The connections to the next hop of a direction; None if nothing listens for it."""
        return self._directions.get(direction)

    def _factory(self, listener: Listener) -> Callable[[], Connection[Any]]:
        door = Door.of(listener.clients, listener.trusted, trust_unix=listener.trust_unix)
        if listener.protocol == "milter":
            return lambda: _MilterConnection(self, door)
        profile = Profile(
            protocol=listener.protocol,
            direction=listener.direction,
            hostname=self.settings.hostname,
            size=self.settings.size,
            recipients=self.settings.recipients,
            tls="no" if self.settings.tls is None else "required" if self.settings.require_tls else "offered",
        )
        hop = listener.next_hop
        assert hop is not None
        relay = self._relays.get(hop)
        if relay is None:
            relay = Relay(hop if hop.helo else replace(hop, helo=self.settings.hostname), self.counters)
            self._relays[hop] = relay
        self._directions[listener.direction] = relay
        return lambda: _SmtpConnection(self, door, profile, relay)

    def spawn(self, connection: Connection[Any], arrived: Arrived) -> None:
        """Work on a message; `connection` gets the answer."""
        task = asyncio.get_running_loop().create_task(self._work(connection, arrived))
        self._tasks[connection] = task  # the loop itself holds tasks weakly; a connection has one message at a time

    async def _work(self, connection: Connection[A], arrived: Arrived) -> None:
        try:
            answer = await connection.work(arrived)
        except Exception:
            self.counters.add("errors")
            _log.exception("error while handling a message")
            answer = connection.fault(arrived)
        finally:
            del self._tasks[connection]
        connection.finish(answer)

    # -- one message -----------------------------------------------------------------------------------------------

    async def process(self, arrived: Arrived, relay: Relay) -> tuple[Reply, ...]:
        """Carry one message through: the replies for it, to each recipient for LMTP, one for SMTP."""
        begun = time.perf_counter()
        transaction = self._transaction(arrived)
        decision, outcomes = await self._judge(transaction)
        decided = time.perf_counter()
        if not outcomes:
            settle = self._settle_each if transaction.session.protocol == "lmtp" else self._settle_as_one
            outcomes = await settle(transaction, decision, arrived, relay)
        results = await self._report(transaction, decision, outcomes, begun, decided)
        if transaction.session.protocol == "lmtp":
            return tuple(outcome.reply for outcome in results)
        return (_one_reply(results),)

    async def annotate(self, arrived: Arrived) -> Answer:
        """What a mail server is to do with one message that stays with it."""
        begun = time.perf_counter()
        transaction = self._transaction(arrived)
        decision, outcomes = await self._judge(transaction)
        answer = Answer(REPLIES["marked"])
        if not outcomes and self.shadow is not None:
            outcomes = dict.fromkeys(range(len(transaction.recipients)), _Outcome("marked", answer.reply))
        if not outcomes:
            try:
                answer, outcomes = _marked(transaction, decision, self.settings.limits)
            except Exception as error:
                decision, outcomes = self._failed(transaction, error)
        results = await self._report(transaction, decision, outcomes, begun, time.perf_counter())
        refused = [each for each in results if not each.reply.positive]
        return Answer(_worst(refused).reply) if refused else answer

    async def _judge(self, transaction: Transaction) -> tuple[Decision, dict[int, _Outcome]]:
        """The decision on a message, on the disk as far as the audit trail has to have it; or the outcomes without."""
        self.counters.add("messages_outbound" if transaction.direction == "outbound" else "messages_inbound")
        self.counters.add("bytes_in", len(transaction.octets))
        decision, outcomes = self._cut_loop(transaction)
        if outcomes:
            return decision, outcomes
        decision, outcomes = self._decide(transaction, self.handler)
        if decision.wanted:
            decision, outcomes = await self._decide_with(decision, transaction)
        if decision.unopened:
            self._watch(transaction, decision.unopened)
        if self.shadow is not None:
            return self._passing(transaction, decision, outcomes, self.shadow)
        return decision, outcomes or await self._recorded(transaction)

    async def _report(
        self,
        transaction: Transaction,
        decision: Decision,
        outcomes: Mapping[int, _Outcome],
        begun: float,
        decided: float,
    ) -> list[_Outcome]:
        """Tell metrics and log what became of a message: for each recipient, in their order."""
        done = time.perf_counter()
        self.counters.add("handler_us", int((decided - begun) * 1e6))
        self.counters.add("relay_us", int((done - decided) * 1e6))
        results = [outcomes[index] for index in range(len(transaction.recipients))]
        for outcome in results:
            self.counters.add(outcome.action)
        if self.delivered is not None and decision.signatures:
            self.delivered([key for index, key in decision.signatures if results[index].action in _WITH_THEM])
        if self.journal is not None:
            self.journal(_record(transaction, decision, results, decided - begun, done - begun))
        if self.settings.minimum_time:
            await asyncio.sleep(max(0.0, self.settings.minimum_time - (time.perf_counter() - begun)))
        return results

    def _watch(self, transaction: Transaction, keys: Sequence[str]) -> None:
        """Count a message that did not decrypt, and raise the alarm if there are too many."""
        self.counters.add("unopened")
        names = [*(f"key {key[:16]}" for key in keys), f"client {_client(transaction.session) or 'local'}"]
        for name in self.watch.failed(names, transaction.received_at):
            self.counters.add("alarms")
            _log.error(
                "%s: %d messages within an hour did not decrypt, the last one is %s; "
                "somebody may be trying what the key opens",
                name,
                self.watch.threshold,
                transaction.id,
            )

    async def _recorded(self, transaction: Transaction) -> dict[int, _Outcome]:
        """Nothing leaves before the audit trail has it; where it cannot be kept, everybody is told to come back."""
        if self.durable is None:
            return {}
        try:
            await self.durable()
        except Exception as error:
            self.counters.add("errors")
            _log.error("message %s deferred, the audit trail cannot be kept: %s", transaction.id, error)
            return _all(transaction, REPLIES["store"])
        return {}

    def turned_away(self, message: TurnedAway) -> None:
        """Tell metrics and log of a message that was refused before there was anything to decide."""
        outcome = _failure(message.reply)
        self.counters.add("messages_outbound" if message.session.direction == "outbound" else "messages_inbound")
        self.counters.add("bytes_in", message.size)
        self.counters.add(outcome.action, len(message.recipients))
        if self.journal is None:
            return
        results = ((recipient, outcome) for recipient in message.recipients)
        line = _envelope(self._new_id(), datetime.now(UTC), message.session, message.sender, message.size, results)
        self.journal({**line, "action": outcome.action})

    def _new_id(self) -> str:
        return f"{self._prefix}{next(self._serial):x}"

    def _transaction(self, arrived: Arrived) -> Transaction:
        return Transaction(
            direction=arrived.session.direction,
            sender=arrived.sender,
            sender_parameters=arrived.sender_parameters,
            recipients=arrived.recipients,
            octets=arrived.octets,
            session=arrived.session,
            id=self._new_id(),
            received_at=datetime.now(UTC),
        )

    def mark(self, direction: Direction) -> str:
        """The instance as it stands in Received: one for each direction, since mail may lawfully pass through both."""
        return f"{self.settings.instance}/{direction}"

    async def _decide_with(self, asking: Decision, transaction: Transaction) -> tuple[Decision, dict[int, _Outcome]]:
        """Ask directories, while other mail goes on, and decide with what they said."""
        self.counters.add("lookups", len(asking.wanted))
        try:
            if self.discover is None:
                raise ConfigurationError("there is nobody to ask")
            handler = await self.discover(transaction.direction, asking.wanted)
        except Exception as error:
            return self._failed(transaction, error)
        return self._decide(replace(transaction, judged=asking.judged), handler)

    def _decide(self, transaction: Transaction, handler: Handler) -> tuple[Decision, dict[int, _Outcome]]:
        """The decision, or the outcomes that stand without one."""
        try:
            decision = handler(transaction)
            if not decision.wanted:
                check(decision, transaction)
        except Exception as error:
            return self._failed(transaction, error)
        return decision, {}

    def _cut_loop(self, transaction: Transaction) -> tuple[Decision, dict[int, _Outcome]]:
        """No outcomes, unless the message has been here before or has come too far."""
        header = start(transaction.octets, DEFAULT.header_size)
        if hops(header, self.mark(transaction.direction)):
            return Decision(log={"action": "loop"}), _all(transaction, REPLIES["loop"])
        if received_fields(header) > MAX_HOPS:
            return Decision(log={"action": "loop"}), _all(transaction, REPLIES["hops"])
        return Decision(), {}

    def _passing(
        self, transaction: Transaction, decision: Decision, outcomes: dict[int, _Outcome], as_it_came: AsItCame
    ) -> tuple[Decision, dict[int, _Outcome]]:
        """Shadow mode: the message goes on, whatever was decided, also where nothing could be."""
        failed = [str(outcome.reply) for outcome in outcomes.values()]
        told = shadow.would(decision, transaction, failed)
        for each in told:
            self.counters.add(f"shadow_{each['action']}")
        try:
            passed = shadow.instead(decision, transaction, as_it_came(transaction))
        except Exception as error:
            return self._failed(transaction, error)
        return replace(passed, log={**decision.log, "shadow": True, "would": told}), {}

    def _failed(self, transaction: Transaction, error: Exception) -> tuple[Decision, dict[int, _Outcome]]:
        reply = for_error(error)
        self.counters.add("errors")
        if reply is REPLIES["internal"]:
            _log.error("error while handling message %s", transaction.id, exc_info=error)
        else:
            _log.error("message %s deferred: %s", transaction.id, error)
        return Decision(log={"action": "error", "error": type(error).__name__}), _all(transaction, reply)

    async def _settle_each(
        self, transaction: Transaction, decision: Decision, arrived: Arrived, relay: Relay
    ) -> dict[int, _Outcome]:
        """LMTP: the failure of one recipient is nobody else's."""
        outcomes = _refused(decision) | _discarded(decision)
        if len(decision.outgoing) == 1:
            outcomes |= await self._relay(transaction, decision.outgoing[0], arrived, relay, all_or_nothing=False)
        elif decision.outgoing:
            jobs = (self._relay(transaction, each, arrived, relay, all_or_nothing=False) for each in decision.outgoing)
            for result in await asyncio.gather(*jobs):
                outcomes |= result
        for each in decision.held:
            outcomes |= await self._hold(transaction, each)
        return outcomes

    async def _settle_as_one(
        self, transaction: Transaction, decision: Decision, arrived: Arrived, relay: Relay
    ) -> dict[int, _Outcome]:
        """SMTP: everybody shares one reply, so it is made true for everybody."""
        if decision.refused:
            refused = _refused(decision)
            return dict.fromkeys(range(len(transaction.recipients)), _worst(refused.values()))
        outcomes: dict[int, _Outcome] = {}
        owed: list[Outgoing] = []
        for outgoing in decision.outgoing:
            alone = len(transaction.recipients) == 1
            result = await self._relay(transaction, outgoing, arrived, relay, all_or_nothing=not alone)
            outcomes |= result
            failed = [index for index in outgoing.indexes if result[index].action != "delivered"]
            if failed:
                owed.append(_only(outgoing, frozenset(failed)))
                if not any(outcome.action == "delivered" for outcome in outcomes.values()):
                    worst = _worst(result.values())
                    return dict.fromkeys(range(len(transaction.recipients)), worst)
        for each in decision.held:
            outcomes |= await self._hold(transaction, each)
        for outgoing in owed:
            reason = outcomes[outgoing.indexes[0]].reply
            each = Held(outgoing.indexes, ("delivery", f"{reason.code} {reason.enhanced}"), outgoing.octets, outgoing)
            outcomes |= await self._hold(transaction, each)
        return outcomes | _discarded(decision)

    async def _relay(
        self, transaction: Transaction, outgoing: Outgoing, arrived: Arrived, relay: Relay, *, all_or_nothing: bool
    ) -> dict[int, _Outcome]:
        try:
            wire = arrived.wire if outgoing.octets is arrived.octets else stuffed(outgoing.octets)
            job = Job(
                outgoing.sender,
                outgoing.sender_parameters,
                outgoing.recipients,
                (self._received(transaction), wire),
                all_or_nothing,
            )
            replies = await relay.deliver(job)
        except Exception as error:
            self.counters.add("errors")
            _log.exception("error while relaying message %s", transaction.id)
            return dict.fromkeys(outgoing.indexes, _failure(for_error(error)))
        return {
            index: _Outcome("delivered", delivered(reply, transaction.id))
            if reply.positive
            else _failure(passed_on(reply))
            for index, reply in zip(outgoing.indexes, replies, strict=True)
        }

    def _received(self, transaction: Transaction) -> bytes:
        session = transaction.session
        utf8 = "UTF8" if "SMTPUTF8" in transaction.sender_parameters.upper().split() else ""
        plain = {"lmtp": "LMTP", "smtp": "SMTP" if utf8 else "ESMTP"}
        return received_field(
            helo=session.helo,
            client=session.client_address,
            hostname=self.settings.hostname,
            instance=self.mark(session.direction),
            protocol=utf8 + plain[session.protocol] + ("S" if session.tls else ""),  # RFC 3848, RFC 6531 4.3
            identifier=transaction.id,
            at=transaction.received_at,
        )

    async def _hold(self, transaction: Transaction, each: Held) -> dict[int, _Outcome]:
        """Beside the loop: a store may take half a minute to say that it is locked, and other mail goes on."""
        try:
            identifier = await asyncio.to_thread(self.hold, transaction, each)
        except DomsecError as error:
            self.counters.add("errors")
            _log.error("message %s could not be held: %s", transaction.id, error)
            return dict.fromkeys(each.indexes, _failure(REPLIES["store"]))
        except Exception:
            self.counters.add("errors")
            _log.exception("message %s could not be held", transaction.id)
            return dict.fromkeys(each.indexes, _failure(REPLIES["store"]))
        return dict.fromkeys(each.indexes, _Outcome("held", held(identifier, transaction.id)))


# -- outcomes ----------------------------------------------------------------------------------------------------------


def check(decision: Decision, transaction: Transaction) -> None:
    """Raises ValueError unless each recipient is settled once and each refusal refuses."""
    settled = [index for part in (decision.outgoing, decision.refused, decision.held) for each in part
               for index in each.indexes]  # fmt: skip
    settled += decision.discard
    if sorted(settled) != list(range(len(transaction.recipients))):
        raise ValueError(f"decision settles recipients {sorted(settled)} of {len(transaction.recipients)}")
    for outgoing in decision.outgoing:
        if len(outgoing.indexes) != len(outgoing.recipients):
            raise ValueError("outgoing message has another number of recipients than of indexes")
    for each in decision.refused:
        refusal(each.code, each.enhanced, each.text)


def _failure(reply: Reply) -> _Outcome:
    return _Outcome("refused" if reply.permanent else "deferred", reply)


def _all(transaction: Transaction, reply: Reply) -> dict[int, _Outcome]:
    return dict.fromkeys(range(len(transaction.recipients)), _failure(reply))


def _refused(decision: Decision) -> dict[int, _Outcome]:
    return {
        index: _failure(refusal(each.code, each.enhanced, each.text))
        for each in decision.refused
        for index in each.indexes
    }


def _discarded(decision: Decision) -> dict[int, _Outcome]:
    return dict.fromkeys(decision.discard, _Outcome("discarded", REPLIES["discarded"]))


def _worst(outcomes: Iterable[_Outcome]) -> _Outcome:
    """The refusal to give for all: one that says why before one that only follows, a permanent one first."""
    failures = [each for each in outcomes if not each.reply.positive]
    return max(failures, key=lambda each: (each.reply.name != "not_sent", each.reply.permanent))


def _one_reply(results: Sequence[_Outcome]) -> Reply:
    """The reply for all recipients of an SMTP transaction. Positive only if nobody is left unsettled."""
    for wanted in ("refused", "deferred"):
        for outcome in results:
            if outcome.action == wanted:
                # A failure beside a delivery is one to hold that could not be held: the client has to keep the message.
                mixed = any(each.reply.positive for each in results)
                return REPLIES["store"] if mixed else outcome.reply
    for outcome in results:
        if outcome.action == "held":
            return outcome.reply
    return results[0].reply


def _marked(transaction: Transaction, decision: Decision, limits: Limits) -> tuple[Answer, dict[int, _Outcome]]:
    """A decision as what a mail server does with a message that it keeps, which is one thing for all recipients.

    Whoever is refused, everybody is. Raises ValueError where the message would not be the same but for its header.
    """
    everybody = range(len(transaction.recipients))
    if refused := _refused(decision):
        worst = _worst(refused.values())
        return Answer(worst.reply), dict.fromkeys(everybody, worst)
    reasons = ", ".join(reason for each in decision.held for reason in each.reasons)
    kept: Sequence[Outgoing | Held] = decision.held or decision.outgoing
    if len({bytes(start(each.octets, limits.header_size)) for each in kept}) != 1:
        raise ValueError("a milter cannot make several messages of one")
    header, body = split_message(transaction.octets, limits)
    made, rest = split_message(kept[0].octets, limits)
    if not same(body, rest):
        raise ValueError("a milter does not change what stands below the header")
    fields, removed = changes(header, made)
    quarantine = f"domsec {transaction.id}: {reasons}" if decision.held else ""
    answer = Answer(REPLIES["marked"], fields, removed, quarantine)
    return answer, dict.fromkeys(everybody, _Outcome("held" if quarantine else "marked", answer.reply))


def _only(outgoing: Outgoing, indexes: frozenset[int]) -> Outgoing:
    """The same message for some of its recipients."""
    kept = [
        (index, each) for index, each in zip(outgoing.indexes, outgoing.recipients, strict=True) if index in indexes
    ]
    return replace(outgoing, indexes=tuple(i for i, _ in kept), recipients=tuple(each for _, each in kept))


def _client(session: Session) -> str | None:
    """The address of who sent it to us, as far as a trusted client told."""
    return session.xforward.get("ADDR") or session.client_address


def _record(
    transaction: Transaction, decision: Decision, results: Sequence[_Outcome], deciding: float, total: float
) -> dict[str, object]:
    """The log entry of a message: envelope, outcome and times, never content (CONTRACT.md section 5)."""
    return {
        **_envelope(
            transaction.id,
            transaction.received_at,
            transaction.session,
            transaction.sender,
            len(transaction.octets),
            zip(transaction.recipients, results, strict=True),
        ),
        "seconds": {"decide": round(deciding, 6), "total": round(total, 6)},
        **decision.log,
    }


def _envelope(
    identifier: str,
    at: datetime,
    session: Session,
    sender: str,
    size: int,
    results: Iterable[tuple[Recipient, _Outcome]],
) -> dict[str, object]:
    return {
        "time": at.isoformat(timespec="milliseconds"),
        "event": "message",
        "id": identifier,
        "queue_id": session.xforward.get("IDENT"),
        "direction": session.direction,
        "client": _client(session),
        "auth": session.auth,
        "sender": sender,
        "size": size,
        "recipients": [
            {"address": recipient.address, "action": outcome.action, "reply": str(outcome.reply)}
            for recipient, outcome in results
        ],
    }


# -- connections -------------------------------------------------------------------------------------------------------


class _SmtpConnection(Connection[Sequence[Reply]]):
    """A client that speaks SMTP or LMTP."""

    def __init__(self, gateway: Gateway, door: Door, profile: Profile, relay: Relay) -> None:
        super().__init__(gateway, door)
        self._profile = profile
        self._relay = relay

    def speaker(self, peer: Peer) -> Server:
        budget, profile = self._gateway.budget, self._profile
        if peer.address is None:  # a Unix socket: nobody is between
            profile = replace(profile, tls="no")
        return Server(profile, client_address=peer.address, user=peer.user, trusted=peer.trusted, budget=budget)

    async def work(self, arrived: Arrived) -> Sequence[Reply]:
        return await self._gateway.process(arrived, self._relay)

    def fault(self, arrived: Arrived) -> Sequence[Reply]:
        return (REPLIES["internal"],) * (len(arrived.recipients) if self._profile.protocol == "lmtp" else 1)

    def patience(self) -> float:
        settings = self._gateway.settings
        return settings.data_timeout if self._speaker and self._speaker.receiving else settings.command_timeout


class _MilterConnection(Connection[Answer]):
    """A mail server that asks what to do with a message."""

    def speaker(self, peer: Peer) -> Milter:
        gateway = self._gateway
        return Milter(gateway.settings.limits, client_address=peer.address, user=peer.user, budget=gateway.budget)

    async def work(self, arrived: Arrived) -> Answer:
        return await self._gateway.annotate(arrived)

    def fault(self, arrived: Arrived) -> Answer:
        return Answer(REPLIES["internal"])

    def patience(self) -> float:
        return MILTER_TIMEOUT

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            hurry(self._transport)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if isinstance(self._speaker, Milter) and self._speaker.failure is not None:
            _log.warning("connection of a milter ended: %s", self._speaker.failure)
