"""Hands messages to the next hop over connections that are kept (measurements-mail.md A7, B5).

A message is tried again, once and on a new connection, only if a kept connection turns out to be closed before the
content was sent: after that the next hop may have it. Whatever goes wrong becomes a reply for each recipient.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from domsec.gateway.metrics import Counters
from domsec.gateway.replies import REPLIES, Reply
from domsec.gateway.smtp_client import Client, Job, State
from domsec.octets import give_back
from domsec.stores.certificates import load_anchors
from domsec.stores.tls import tls_context

_log = logging.getLogger("domsec.gateway")
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where messages go. `address` is `host:port`, `[ipv6]:port` or `unix:/path`."""

    address: str
    protocol: Literal["lmtp", "smtp"] = "smtp"
    helo: str = ""
    tls: Literal["no", "may", "verify"] = "no"  # by TCP; on a UNIX socket nobody is between
    ca: tuple[Path, ...] = ()  # who may certify the host; empty is what this machine trusts
    connections: int = 50  # of one worker, at the same time
    keep: float = 60.0  # seconds an idle connection is kept; Postfix closes after 300
    connect_timeout: float = 30.0
    command_timeout: float = 120.0  # RFC 5321 4.5.3.2 allows 300: the client of ours waits for us meanwhile
    data_timeout: float = 180.0
    final_timeout: float = 600.0


def parse_address(address: str) -> tuple[str, int] | str:
    """Host and port, or the path of a UNIX socket. Raises ValueError."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"{address}: path of a UNIX socket must be absolute")
        return path
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or not host:
        raise ValueError(f"{address}: expected host:port or unix:/path")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Lost(Exception):
    """The connection ended before the message was done."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


def tls_of(hop: NextHop) -> ssl.SSLContext | None:
    """How TLS with a next hop is made; None for none. Raises ConfigurationError for anchors that cannot be read."""
    if hop.tls == "no" or isinstance(parse_address(hop.address), str):
        return None
    if hop.tls == "verify":
        return tls_context(load_anchors(hop.ca).certificates if hop.ca else ())
    context = tls_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Connection(asyncio.Protocol):
    """One connection to the next hop."""

    def __init__(self, hop: NextHop, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._handshake: asyncio.Task[None] | None = None
        self._hop = hop
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._queue: deque[memoryview] = deque()
        self._paused = False
        self.client = Client(hop.protocol, hop.helo or socket.gethostname(), hop.tls if tls is not None else "no")
        # Before any octet can arrive: with uvloop the greeting comes before create_connection has returned.
        self.ready: asyncio.Future[None] = loop.create_future()
        self.deadline = loop.time() + hop.command_timeout
        self.used = False
        self.closed = False

    async def send(self, job: Job) -> tuple[Reply, ...]:
        """Send one message. Raises Lost before the content was sent, never after."""
        client = self.client
        client.begin(job)
        if client.results is None:
            self._waiter = self._loop.create_future()
            self._set_deadline()
            self._flush()
            try:
                if client.results is None and not self.closed:
                    await self._waiter
            finally:
                self._waiter = None
        self.used = True
        if client.results is not None:
            return client.results
        reply = client.failure or REPLIES["next_hop_lost"]
        if client.content_sent:
            return client.settle(reply)
        raise Lost(reply)

    def abort(self, reply: Reply) -> None:
        """Close at once."""
        self.client.failure = self.client.failure or reply
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def quit(self) -> None:
        """Close politely."""
        self.closed = True
        if self._transport is not None and not self._transport.is_closing():
            self.client.quit()
            self._transport.write(b"".join(self.client.take()))
            self._transport.close()

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        _no_delay(transport)

    def data_received(self, data: bytes) -> None:
        client = self.client
        client.receive(data)
        self._flush()
        if client.tls_due and self._handshake is None:
            self._handshake = self._loop.create_task(self._secure())
        if client.state is State.CLOSED:
            self.closed = True
            if self._transport is not None:
                self._transport.close()
        else:
            self._set_deadline()
        if self.closed or client.results is not None or client.state is State.READY:
            self._wake()

    async def _secure(self) -> None:
        """Begin TLS; what goes wrong puts the mail off."""
        plain, host = self._transport, parse_address(self._hop.address)[0]
        assert plain is not None
        assert self._tls is not None
        try:
            made = await self._loop.start_tls(plain, self, self._tls, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            _log.warning("next hop %s: its certificate: %s", self._hop.address, error.verify_message)
            made = None
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError and TimeoutError are OSErrors
            _log.warning("next hop %s: TLS did not begin: %s", self._hop.address, error)
            made = None
        if made is None or self.closed:
            self.abort(REPLIES["next_hop_tls"])
            return
        self._transport = made
        self.client.secured()
        self._flush()
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._queue.clear()
        self._wake()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write()

    # -- writing ---------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        pieces = self.client.take()
        if not pieces:
            return
        transport = self._transport
        assert transport is not None
        if not self._queue and sum(map(len, pieces)) <= _PIECE:
            transport.write(b"".join(pieces))
            return
        for piece in pieces:
            view = memoryview(piece)
            self._queue.extend(view[start : start + _PIECE] for start in range(0, len(view), _PIECE))
        self._write()

    def _write(self) -> None:
        transport = self._transport
        assert transport is not None
        while self._queue and not self._paused:
            piece = self._queue.popleft()
            transport.write(piece)
            give_back(piece)
        self._set_deadline()

    def _set_deadline(self) -> None:
        """Something moved: how long until something has to move again."""
        timeout = self._hop.command_timeout
        if self.client.state is State.CONTENT:
            timeout = self._hop.data_timeout if self._queue else self._hop.final_timeout
        self.deadline = self._loop.time() + timeout

    def _wake(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Relay:
    """The connections of one worker to one next hop."""

    def __init__(self, hop: NextHop, counters: Counters) -> None:
        self._hop = hop
        self._target = parse_address(hop.address)
        self._tls = tls_of(hop)
        self._counters = counters
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._places = asyncio.Semaphore(hop.connections)
        self._closing = False
        self.down = False  # the last attempt to connect was in vain

    @property
    def address(self) -> str:
        return self._hop.address

    async def probe(self) -> None:
        """Find out whether it takes connections again; one that it takes is kept for a message."""
        try:
            connection = await self._connect()
        except Lost:
            return
        self._keep(connection)

    async def deliver(self, job: Job) -> tuple[Reply, ...]:
        """Send one message; one reply of the next hop, or of ours in its place, for each recipient."""
        async with self._places:
            return await self._deliver(job)

    async def _deliver(self, job: Job) -> tuple[Reply, ...]:
        connection = self._kept()
        try:
            if connection is not None:
                try:
                    return await self._send(connection, job)
                except Lost:
                    # Others of its age are likely gone too.
                    self._counters.add("relay_retries")
                    self.close_idle()
            return await self._send(await self._connect(), job)
        except Lost as error:
            return (error.reply,) * len(job.recipients)

    async def _send(self, connection: Connection, job: Job) -> tuple[Reply, ...]:
        self._busy.add(connection)
        try:
            replies = await connection.send(job)
        except BaseException:
            connection.abort(REPLIES["next_hop_lost"])
            raise
        finally:
            self._busy.discard(connection)
        if connection.client.state is State.READY and not connection.closed and not self._closing:
            self._keep(connection)
        else:
            connection.quit()
        if connection.client.content_sent:
            self._counters.add("bytes_out", sum(map(len, job.wire)))
        return replies

    def _keep(self, connection: Connection) -> None:
        if self._closing:
            connection.quit()
            return
        connection.deadline = asyncio.get_running_loop().time() + self._hop.keep
        self._idle.append(connection)

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self) -> Connection:
        """Raises Lost."""
        try:
            connection = await self._greeted()
        except Lost:
            self.down = True
            raise
        self.down = False
        return connection

    async def _greeted(self) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(self._hop, loop, self._tls)
        try:
            async with asyncio.timeout(self._hop.connect_timeout):
                if isinstance(self._target, str):
                    await loop.create_unix_connection(lambda: connection, self._target)
                else:
                    await loop.create_connection(lambda: connection, *self._target)
        except (OSError, TimeoutError):
            raise Lost(REPLIES["next_hop_down"]) from None
        self._counters.add("relay_connections")
        self._busy.add(connection)
        try:
            await connection.ready
        except BaseException:
            connection.abort(REPLIES["next_hop_lost"])
            raise
        finally:
            self._busy.discard(connection)
        if connection.client.state is not State.READY:
            connection.abort(REPLIES["next_hop_lost"])
            raise Lost(connection.client.failure or REPLIES["next_hop_lost"])
        return connection

    def sweep(self, now: float) -> None:
        """Close what has waited too long. Called every second or so."""
        for connection in [each for each in self._busy if now > each.deadline]:
            connection.abort(REPLIES["next_hop_timeout"])
        for connection in [each for each in self._idle if now > each.deadline or each.closed]:
            self._idle.remove(connection)
            connection.quit()

    def close_idle(self) -> None:
        while self._idle:
            self._idle.pop().quit()

    def close(self) -> None:
        """Keep no connection from here on."""
        self._closing = True
        self.close_idle()


def _no_delay(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
