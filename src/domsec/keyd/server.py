"""The key process as processes: a parent that accepts, and a child for each connection that answers requests.

A child is a fork, so it has the keys without opening anything; whatever happens in it, a crash of a token's library
included, ends one connection. Gateways keep their connections, so forking is rare.

    SIGTERM, SIGINT   stop
    SIGHUP            reload: `load` is asked for new keys. Children end after the request they are at, and whoever
                      asked them connects again. If `load` raises, the old keys stay

Who may ask is decided by the user id that the kernel says the other side has (SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from domsec import daemon
from domsec.errors import MalformedMessage
from domsec.keyd import privileges
from domsec.keyd.answer import Answer, Keys, Purposes, answer
from domsec.stores.key_protocol import MAXIMUM_REQUEST, read_frame, send_frame

CONNECTIONS: Final = 256  # at the same time, each of them a process
REFUSALS: Final = 16  # of one connection; then it is closed, so that nobody fills the log through one
PATIENCE: Final = 10.0  # seconds that a request may take to arrive, and a response to be taken

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_STOPPING: Final = 5.0  # seconds a child has to end
_log = logging.getLogger("domsec.keyd")


@dataclass(frozen=True, slots=True)
class Service:
    """The keys, and the user ids that may ask, each with what for."""

    keys: Keys
    clients: Mapping[int, Purposes]


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection."""

    pid: int
    uid: int

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return cls(pid, uid)

    def log(self, text: str, **fields: object) -> None:
        _log.warning("refused: %s", text, extra={"fields": {"pid": self.pid, "uid": self.uid, **fields}})


def serve(
    listener: socket.socket,
    service: Service,
    load: Callable[[], Service],
    announce: Callable[[str], None] = lambda text: None,
    *,
    connections: int = CONNECTIONS,
) -> None:
    """Answer connections until told to stop. `announce` gets a line when ready, on reload and at the end."""
    _Parent(listener, service, load, announce, connections).run()


class _Parent:
    def __init__(
        self,
        listener: socket.socket,
        service: Service,
        load: Callable[[], Service],
        announce: Callable[[str], None],
        connections: int,
    ) -> None:
        self._listener = listener
        self._service = service
        self._load = load
        self._announce = announce
        self._connections = connections
        self._children: set[int] = set()
        self._stopping = False

    def run(self) -> None:
        self._listener.setblocking(False)
        with _woken_by_signals() as wake:
            daemon.notify("READY=1")
            self._announce(f"ready on {self._listener.getsockname()} with {len(self._service.keys)} keys")
            while not self._stopping:
                readable, _, _ = select.select([self._listener, wake], [], [], 1.0)
                daemon.notify("WATCHDOG=1")
                if wake in readable:
                    for number in wake.recv(1024):
                        self._on_signal(number)
                if self._listener in readable and not self._stopping:
                    self._accept(wake)
            daemon.notify("STOPPING=1")
            self._announce("stopping")
            self._end_children()

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
        elif number == signal.SIGHUP:
            self._reload()
        self._reap()

    def _reload(self) -> None:
        daemon.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self._service = self._load()
        except Exception as problem:
            _log.exception("reload failed")
            self._announce(f"reload failed, the old keys stay: {problem}")
        else:
            self._tell_children(signal.SIGTERM)
            self._announce(f"reloaded, {len(self._service.keys)} keys")
        daemon.notify("READY=1")

    def _accept(self, wake: socket.socket) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return  # whoever it was has gone
        except OSError as problem:
            _log.error("a connection could not be taken: %s", problem)
            return
        with connection:
            peer = Peer.of(connection)
            if peer.uid not in self._service.clients:
                peer.log("this user is none of the clients")
            elif len(self._children) >= self._connections:
                peer.log("too many connections")
            else:
                self._fork(connection, peer, wake)

    def _fork(self, connection: socket.socket, peer: Peer, wake: socket.socket) -> None:
        gc.freeze()  # what is there already is not touched by the child's collector, so its memory stays shared
        # A signal for the child that came before its own handlers would be told to us.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            child = os.fork()
        except OSError as problem:
            _log.error("a connection could not be taken: %s", problem)
            child = -1
        if child:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._children |= {child} - {-1}
            return
        status = 1
        try:
            privileges.end_with_parent()
            signal.set_wakeup_fd(-1)
            wake.close()
            self._listener.close()
            _Child(connection, peer, self._service.keys, self._service.clients[peer.uid]).run()
            status = 0
        except BaseException:  # a child must never return into its parent's code
            _log.exception("a connection ended with an error")
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGTERM:
                _log.error("the process of a connection ended by signal %d", os.WTERMSIG(status))

    def _tell_children(self, number: int) -> None:
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end_children(self) -> None:
        self._tell_children(signal.SIGTERM)
        deadline = time.monotonic() + _STOPPING
        while self._children and time.monotonic() < deadline:
            time.sleep(0.01)
            self._reap()
        self._tell_children(signal.SIGKILL)


@contextlib.contextmanager
def _woken_by_signals() -> Iterator[socket.socket]:
    """A socket from which the numbers of signals that came can be read."""
    wake, write = socket.socketpair()
    with wake, write:
        wake.setblocking(False)
        write.setblocking(False)
        handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        previous = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        try:
            yield wake
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in handlers.items():
                signal.signal(number, handler)


class _Stopped(BaseException):
    """SIGTERM while nothing was under way."""


class _Child:
    """One connection: requests in, responses out, until the other side or our parent ends it."""

    def __init__(self, connection: socket.socket, peer: Peer, keys: Keys, purposes: Purposes) -> None:
        self._connection = connection
        self._peer = peer
        self._keys = keys
        self._purposes = purposes
        self._waiting = False
        self._stopping = False
        self._refusals = 0

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)  # the parent decides
        interval = struct.pack("ll", int(PATIENCE), 0)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
        parent = os.getppid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        with contextlib.suppress(_Stopped, OSError):
            while not self._stopping and self._refusals < REFUSALS and os.getppid() == parent:
                try:
                    octets = self._next()
                except BlockingIOError:
                    continue  # nothing came
                except (MalformedMessage, TimeoutError) as problem:
                    self._peer.log(str(problem))
                    return
                if octets is None:
                    return
                self._respond(answer(octets, self._keys, self._purposes))

    def _stop(self, *_: object) -> None:
        self._stopping = True
        if self._waiting:
            raise _Stopped

    def _next(self) -> bytes | None:
        self._waiting = True
        try:
            if self._stopping:
                raise _Stopped
            return read_frame(self._connection, MAXIMUM_REQUEST, PATIENCE)
        finally:
            self._waiting = False

    def _respond(self, made: Answer) -> None:
        if made.refused:
            self._refusals += 1
            request = made.request
            about = {} if request is None else {"act": request.act.name.lower(), "key": request.name}
            self._peer.log(made.refused, **about)
        send_frame(self._connection, bytes((made.status,)), made.result)
