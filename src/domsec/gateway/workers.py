"""The processes of a gateway: a parent that mails never reach, and workers that share its listening sockets.

    SIGTERM, SIGINT   stop: workers finish what is in flight, at most `Settings.drain` seconds
    SIGHUP            reload: `load` is asked for a new service and new workers start; once they take mail the old ones
                      retire: they take no new connections and serve those they have until the clients end them, or
                      for `Settings.linger` seconds. If `load` raises or the new workers cannot start, the old service
                      goes on. Listening sockets are kept, so no connection is refused meanwhile
    a worker dies     another takes its place

The parent never runs an event loop and never imports uvloop, so that forking is safe; it waits in sigtimedwait.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass

from domsec.daemon import BACKLOG, listen_unix, notify
from domsec.errors import ConfigurationError, DomsecError
from domsec.gateway import metrics as metrics_page
from domsec.gateway.metrics import Metrics
from domsec.gateway.relay import parse_address
from domsec.gateway.server import (
    AsItCame,
    Delivered,
    Discover,
    Durable,
    Gateway,
    Handler,
    Hold,
    Journal,
    Listener,
    Settings,
)

_log = logging.getLogger("domsec.gateway")

ROWS = 128  # workers that may exist at the same time, those on their way out included
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)
_RETIRE = signal.SIGUSR2  # from the parent to a worker; SIGTERM is to drain at once
_GC_THRESHOLDS = (20_000, 20, 20)  # what a message makes is freed by counting; looking for cycles may be rare
_START_FAILED = 78  # exit status of a worker that could not start (EX_CONFIG)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a worker does with mail. Made in the worker, so that no database connection crosses the fork."""

    handler: Handler
    hold: Hold
    journal: Journal | None = None
    durable: Durable | None = None  # waited for before anything is relayed
    discover: Discover | None = None  # asks directories, where a decision wants that
    shadow: AsItCame | None = None  # what goes on whatever was decided; None where decisions count
    delivered: Delivered | None = None  # told which signatures recipients have got
    background: Callable[[Gateway], Coroutine[None, None, None]] | None = None  # runs beside, until the worker drains


@dataclass(frozen=True, slots=True)
class Service:
    """All that one configuration says to the processes."""

    settings: Settings
    listeners: tuple[Listener, ...]
    hooks: Callable[[], Hooks]
    workers: int = 1
    metrics: str = ""  # host:port or unix:/path of /metrics, /healthz and /readyz; empty for none


@dataclass(slots=True)
class _Worker:
    row: int
    generation: int
    started: float
    leaving: bool = False
    killed_at: float = 0.0


def serve(load: Callable[[], Service], announce: Callable[[str], None] = lambda text: None) -> int:
    """Run the gateway until it is told to stop. `announce` gets a line when ready, on reload and at the end.

    Raises what `load` raises, and ConfigurationError for an address that cannot be listened on, before anything runs.
    Gives the exit status: 0, or 4 if the workers could not be started.
    """
    return _Parent(load, announce).run()


def json_journal(fd: int) -> Journal:
    """A journal that writes one JSON line for each message, in one write."""

    def write(record: Mapping[str, object]) -> None:
        os.write(fd, json.dumps(record, ensure_ascii=True, default=str, separators=(",", ":")).encode() + b"\n")

    return write


class _Parent:
    def __init__(self, load: Callable[[], Service], announce: Callable[[str], None]) -> None:
        self._load = load
        self._announce = announce
        self._service = load()
        self._metrics = Metrics(ROWS)
        self._sockets: dict[str, socket.socket] = {}
        self._workers: dict[int, _Worker] = {}
        self._generations = itertools.count(1)
        self._generation = 0
        self._previous: tuple[int, Service] | None = None  # while a reload is under way
        self._ready = False
        self._stopping = False
        self._status = 0
        self._restart_at = 0.0
        self._quick_deaths = 0

    def run(self) -> int:
        self._open_sockets(self._service)
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self._start_missing()
            while self._workers or not self._stopping:
                info = signal.sigtimedwait(_SIGNALS, 0.5)
                self._reap()
                if info is not None:
                    self._on_signal(info.si_signo)
                self._start_missing()
                self._supervise()
            return self._status
        finally:
            self._kill_all()
            self._close_sockets(set(self._sockets))
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop()
        elif number == signal.SIGHUP and not self._stopping:
            self._reload()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        notify("STOPPING=1")
        self._announce("stopping")
        for pid in self._workers:
            self._tell(pid, signal.SIGTERM, self._service.settings.drain)

    def _retire(self, pids: list[int]) -> None:
        settings = self._service.settings
        for pid in pids:
            if not self._workers[pid].leaving:
                self._tell(pid, _RETIRE, settings.linger + settings.drain)

    def _tell(self, pid: int, to_leave: signal.Signals, within: float) -> None:
        worker = self._workers[pid]
        worker.leaving = True
        worker.killed_at = time.monotonic() + within + 5
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, to_leave)

    def _reload(self) -> None:
        if self._previous is not None:
            self._announce("reload refused: another one is under way")
            return
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            service = self._load()
            if len(self._workers) + service.workers > ROWS:
                raise ConfigurationError("too many workers are still draining, try again later")
            self._open_sockets(service)
        except Exception as error:
            self._announce(f"reload failed, the old configuration stays: {error}")
            _log.exception("reload failed")
            notify("READY=1")
            return
        self._previous = (self._generation, self._service)
        self._generation, self._service = next(self._generations), service
        self._ready = False
        self._restart_at = 0.0

    def _finish_reload(self) -> None:
        if self._previous is None:
            return
        self._previous = None
        self._retire([pid for pid, worker in self._workers.items() if worker.generation != self._generation])
        self._close_sockets(set(self._sockets) - _addresses(self._service))

    def _undo_reload(self) -> None:
        assert self._previous is not None
        self._announce("reload failed, the old configuration stays: new workers could not be started")
        self._retire(self._current())
        self._generation, self._service = self._previous
        self._previous = None
        self._close_sockets(set(self._sockets) - _addresses(self._service))

    def _current(self) -> list[int]:
        """The workers of the service in force that are not on their way out."""
        return [
            pid for pid, worker in self._workers.items() if worker.generation == self._generation and not worker.leaving
        ]

    def _start_missing(self) -> None:
        if self._stopping or time.monotonic() < self._restart_at:
            return
        for _ in range(self._service.workers - len(self._current())):
            self._fork()

    def _fork(self) -> None:
        row = next(row for row in range(ROWS) if row not in {worker.row for worker in self._workers.values()})
        self._metrics.counters(row).clear_gauges()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._workers[pid] = _Worker(row, self._generation, time.monotonic())
            return
        status = _START_FAILED
        try:
            status = _work(self._service, self._sockets, self._metrics, row)
        except DomsecError as error:  # a store that is away, say
            self._announce(f"a worker cannot start: {error}")
        except BaseException:  # a worker must never return into its parent's code
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            worker = self._workers.pop(pid, None)
            if worker is None:
                continue
            self._metrics.counters(worker.row).clear_gauges()
            if not worker.leaving:
                self._on_death(pid, worker, os.waitstatus_to_exitcode(status))

    def _on_death(self, pid: int, worker: _Worker, code: int) -> None:
        _log.error("worker %d ended with status %d", pid, code)
        self._announce(f"worker {pid} ended with status {code}")
        if worker.generation == self._generation and not self._ready:
            if self._previous is not None:
                self._undo_reload()
                return
            self._announce("workers could not be started")
            self._status = 4
            self._stop()
            return
        if time.monotonic() - worker.started < 5:
            # Not again and again at full speed.
            self._quick_deaths += 1
            self._restart_at = time.monotonic() + min(30.0, 0.1 * 2 ** min(self._quick_deaths, 9))
        else:
            self._quick_deaths = 0

    def _supervise(self) -> None:
        now = time.monotonic()
        for pid, worker in self._workers.items():
            if worker.leaving and now > worker.killed_at:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self._stopping:
            return
        notify("WATCHDOG=1")
        rows = [self._workers[pid].row for pid in self._current()]
        ready = len(rows) == self._service.workers and all(self._metrics.counters(row).get("ready") for row in rows)
        if ready and not self._ready:
            self._ready = True
            self._finish_reload()
            notify("READY=1")
            self._announce("ready on " + ", ".join(listener.address for listener in self._service.listeners))

    def _kill_all(self) -> None:
        for pid in list(self._workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._workers.clear()

    def _open_sockets(self, service: Service) -> None:
        opened: list[str] = []
        modes = {listener.address: listener.mode for listener in service.listeners}
        try:
            for address in sorted(_addresses(service)):
                if address not in self._sockets:
                    self._sockets[address] = listen(address, modes.get(address, 0o660))
                    opened.append(address)
        except Exception:
            self._close_sockets(set(opened))
            raise

    def _close_sockets(self, addresses: set[str]) -> None:
        for address in addresses:
            self._sockets.pop(address).close()
            if address.startswith("unix:"):
                with contextlib.suppress(OSError):
                    os.unlink(address.removeprefix("unix:"))


def _addresses(service: Service) -> set[str]:
    return {listener.address for listener in service.listeners} | ({service.metrics} if service.metrics else set())


def listen(address: str, mode: int = 0o660) -> socket.socket:
    """A listening socket. A UNIX socket that nobody serves any more is replaced. Raises ConfigurationError."""
    try:
        target = parse_address(address)
        if isinstance(target, str):
            return listen_unix(target, mode)
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(target)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot listen on {address}: {error}") from None
    return sock


# -- a worker ----------------------------------------------------------------------------------------------------------


def _work(service: Service, sockets: Mapping[str, socket.socket], metrics: Metrics, row: int) -> int:
    """The life of one worker, from just after the fork."""
    parent = os.getppid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the whole group; the parent decides
    wanted = _addresses(service)
    for address, sock in sockets.items():
        if address not in wanted:
            sock.close()
    hooks = service.hooks()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_live(service, sockets, metrics, row, hooks, parent))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _live(
    service: Service,
    sockets: Mapping[str, socket.socket],
    metrics: Metrics,
    row: int,
    hooks: Hooks,
    parent: int,
) -> int:
    loop = asyncio.get_running_loop()
    leave, stop = asyncio.Event(), asyncio.Event()

    def stop_now() -> None:
        leave.set()
        stop.set()

    loop.add_signal_handler(_RETIRE, leave.set)
    loop.add_signal_handler(signal.SIGTERM, stop_now)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    counters = metrics.counters(row)
    gateway = Gateway(
        service.settings,
        hooks.handler,
        hooks.hold,
        counters=counters,
        journal=hooks.journal,
        durable=hooks.durable,
        discover=hooks.discover,
        shadow=hooks.shadow,
        delivered=hooks.delivered,
    )
    page = None
    if service.metrics:
        page = await metrics_page.serve(
            sockets[service.metrics].dup(), metrics.text, lambda: gateway.ready() or metrics.missing()
        )
    await gateway.start([(listener, sockets[listener.address].dup()) for listener in service.listeners])
    beside = loop.create_task(hooks.background(gateway)) if hooks.background is not None else None
    # What exists now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    os.kill(parent, signal.SIGUSR1)
    while not leave.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(leave.wait(), 1)
        if os.getppid() != parent:
            break  # nobody would restart or stop us
    if page is not None:
        page.close()
    if beside is not None:
        beside.cancel()  # it ends what it has in hand
    if not stop.is_set() and os.getppid() == parent:
        await gateway.retire(stop)
    await asyncio.gather(gateway.drain(), *([asyncio.wait([beside], timeout=service.settings.drain)] if beside else ()))
    return 0
