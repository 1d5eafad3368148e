"""Octets between a client's connection and who speaks with it: `smtp_server.Server` or `milter.Milter`.

TLS begins in the middle of a connection (RFC 3207); then the same speaker goes on over another transport.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import pwd
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar, cast

from domsec.gateway.smtp_server import Arrived, TurnedAway

if TYPE_CHECKING:
    from domsec.gateway.server import Gateway

A = TypeVar("A")  # what a message is answered with
A_contra = TypeVar("A_contra", contravariant=True)
_log = logging.getLogger("domsec.gateway")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

HANDSHAKE: Final = 60.0  # seconds for TLS to begin
BACKLOG: Final = 64 * 1024  # octets pipelined behind a message before reading stops
_PEER_CREDENTIALS = struct.Struct("3i")  # process, user, group: unix(7), SO_PEERCRED


class Speaker(Protocol[A_contra]):
    """A protocol without its connection."""

    @property
    def closed(self) -> bool: ...
    @property
    def idle(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    @property
    def receiving(self) -> bool: ...
    @property
    def tls_due(self) -> bool: ...
    @property
    def backlog(self) -> int: ...
    def take(self) -> bytes: ...
    def turned_away(self) -> Sequence[TurnedAway]: ...
    def receive(self, data: bytes) -> Arrived | None: ...
    def answer(self, answer: A_contra, /) -> Arrived | None: ...
    def secured(self, certificate: str | None = None) -> None: ...
    def close(self, name: str) -> None: ...
    def lost(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is connected."""

    address: str | None = None  # None on a Unix socket
    user: str | None = None  # on a Unix socket, as the kernel says
    trusted: bool = False  # may speak for others


@dataclass(frozen=True, slots=True)
class Door:
    """Who may connect to a listener, and who of these may speak for others."""

    clients: tuple[Network, ...]
    trusted: tuple[Network, ...]
    trust_unix: bool

    @classmethod
    def of(cls, clients: Iterable[str], trusted: Iterable[str], *, trust_unix: bool) -> Door:
        return cls(tuple(map(ipaddress.ip_network, clients)), tuple(map(ipaddress.ip_network, trusted)), trust_unix)

    def peer(self, transport: asyncio.BaseTransport) -> Peer | None:
        """Who is at the other end; None for one who may not connect."""
        sock = transport.get_extra_info("socket")
        if sock is None:
            return None
        if sock.family == socket.AF_UNIX:
            return Peer(user=_local_user(sock), trusted=self.trust_unix)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        named = transport.get_extra_info("peername")
        if not named:
            return None
        address = ipaddress.ip_address(str(named[0]).partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if not any(address in network for network in self.clients):
            return None
        return Peer(str(address), trusted=any(address in network for network in self.trusted))


def hurry(transport: asyncio.BaseTransport) -> None:
    """Acknowledge at once what comes by TCP from who waits for that with the next octets (measurements-mail A6).

    Has to be said again after each read.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _local_user(sock: socket.socket) -> str | None:
    """The user at the other end of a Unix socket, by name or by number; None where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        octets = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    except OSError:
        return None
    number = _PEER_CREDENTIALS.unpack(octets)[1]
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


class Connection(asyncio.Protocol, Generic[A]):
    """One connection of a client. Subclasses say what is spoken on it and what becomes of a message."""

    def __init__(self, gateway: Gateway, door: Door) -> None:
        self._door = door
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._speaker: Speaker[A] | None = None
        self._loop = asyncio.get_running_loop()
        self._active = self._loop.time()
        self._gone = False
        self._eof = False
        self._reading = True
        self._writable = True
        self._plain = True
        self._early = b""  # came secured, before we knew that the handshake is over
        self._handshake: asyncio.Task[None] | None = None

    # -- what is different

    def speaker(self, peer: Peer) -> Speaker[A]:
        """Who speaks with this client."""
        raise NotImplementedError

    async def work(self, arrived: Arrived) -> A:
        """The answer to a message."""
        raise NotImplementedError

    def fault(self, arrived: Arrived) -> A:
        """The answer to a message that an error of ours stopped."""
        raise NotImplementedError

    def patience(self) -> float:
        """Seconds that the client may be silent."""
        raise NotImplementedError

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        gateway = self._gateway
        gateway.connections.add(self)
        gateway.counters.add("connections")
        gateway.counters.set("connections_open", len(gateway.connections))
        peer = self._door.peer(transport)
        self._speaker = speaker = self.speaker(peer or Peer())
        refusal_name = None
        if peer is None:
            refusal_name = "client"
        elif gateway.draining:
            refusal_name = "stopping"
        elif len(gateway.connections) > gateway.settings.connections:
            refusal_name = "connections"
        if refusal_name:
            gateway.counters.add("connections_refused")
            speaker.take()
            speaker.close(refusal_name)
        self._flush()

    def data_received(self, data: bytes) -> None:
        speaker = self._speaker
        assert speaker is not None
        if self._handshake is not None:
            self._early += data  # reading stopped with STARTTLS: what the transport gives now has been decrypted
            return
        arrived = speaker.receive(data)
        if arrived is not None:
            self._flush()
            self._gateway.spawn(self, arrived)
            return
        if speaker.busy:
            if speaker.backlog > BACKLOG:
                self._read(on=False)
            return
        if self._gateway.draining and speaker.idle:
            speaker.close("stopping")
        self._flush()

    def finish(self, answer: A) -> None:
        """The answer to the message that this connection brought."""
        speaker = self._speaker
        assert speaker is not None
        if self._gone:
            speaker.lost()
            return
        arrived = speaker.answer(answer)
        if arrived is not None:
            self._flush()
            self._gateway.spawn(self, arrived)
            return
        if self._gateway.draining and speaker.idle:
            speaker.close("stopping")
        self._flush()
        if self._eof and self._transport is not None:
            self._transport.close()
        self._read(on=True)

    def _flush(self) -> None:
        speaker, transport = self._speaker, self._transport
        assert speaker is not None
        assert transport is not None
        out = speaker.take()
        if out:
            transport.write(out)
        for each in speaker.turned_away():
            self._gateway.turned_away(each)
        if speaker.closed:
            transport.close()
        elif speaker.tls_due and self._handshake is None:
            transport.pause_reading()  # what comes next is the client's hello
            self._handshake = self._loop.create_task(self._secure(transport))
        self._active = self._loop.time()

    async def _secure(self, plain: asyncio.Transport) -> None:
        """Begin TLS. Nothing that came before the client's hello is heard by anybody."""
        context, speaker = self._gateway.settings.tls, self._speaker
        assert context is not None
        assert speaker is not None
        try:
            made = await self._loop.start_tls(plain, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE)
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError and TimeoutError are OSErrors
            if not self._gone and not isinstance(error, asyncio.CancelledError):
                named = plain.get_extra_info("peername") or ["unknown"]
                _log.warning("client %s: TLS did not begin: %s", named[0], error)
            made = None
        secure = made.get_extra_info("ssl_object") if made is not None else None
        if made is None or secure is None or self._gone:  # the client may have gone at the end of it
            plain.abort()
            self.connection_lost(None)
            return
        self._transport = made
        self._plain = False
        shown = secure.getpeercert(binary_form=True)
        speaker.secured(hashlib.sha256(shown).hexdigest() if shown else None)
        self._handshake = None
        self._active = self._loop.time()
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def _read(self, *, on: bool) -> None:
        transport = self._transport
        if transport is None or on is self._reading or transport.is_closing() or (on and not self._writable):
            return
        self._reading = on
        if on:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def pause_writing(self) -> None:
        # A client that sends commands and does not read the replies.
        self._writable = False
        self._read(on=False)

    def resume_writing(self) -> None:
        self._writable = True
        self._read(on=True)

    def eof_received(self) -> bool:
        # A client that has sent its last command and half closed still gets the reply to a message.
        self._eof = True
        return self._speaker is not None and self._speaker.busy and self._plain  # TLS does not end on one side only

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        gateway = self._gateway
        gateway.connections.discard(self)
        gateway.counters.set("connections_open", len(gateway.connections))
        if self._speaker is not None and not self._speaker.busy:
            self._speaker.lost()

    # -- what the gateway does from time to time

    def sweep(self, now: float) -> None:
        speaker = self._speaker
        if speaker is None or speaker.busy or speaker.tls_due or now - self._active < self.patience():
            return
        if self._transport is not None and self._transport.is_closing():
            self._transport.abort()
            return
        speaker.close("idle")
        self._flush()

    def stop_if_idle(self) -> None:
        if self._speaker is not None and self._speaker.idle:
            self._speaker.close("stopping")
            self._flush()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
