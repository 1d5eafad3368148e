"""Two gateways as processes, and in this one the people who look: on the wire between them, and at the mailbox."""

from __future__ import annotations

import asyncio
import mailbox
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from domsec.demo.scene import ACME, BETA, Scene
from domsec.errors import StoreUnavailable
from domsec.gateway.relay import NextHop
from domsec.gateway.server import Gateway, Listener, Settings
from domsec.pipeline import Decision, Held, Outgoing, Transaction

Watch = Callable[[str, bytes], None]  # at which hop, which octets

STARTING = 30.0  # seconds until a gateway has to be ready


@contextmanager
def running(scene: Scene, watch: Watch) -> Iterator[None]:
    """The stage, until the block ends."""
    with ExitStack() as stack:
        stack.enter_context(_listening(scene, watch))
        for domain, port in ((ACME, scene.ports.acme_status), (BETA, scene.ports.beta_status)):
            stack.enter_context(_gateway(scene.configuration(domain), port))
        yield


@contextmanager
def _gateway(configuration: Path, status: int) -> Iterator[None]:
    log = configuration.with_name("gateway.log")
    start = "import pathlib, sys; from domsec.gateway.run import run; sys.exit(run(pathlib.Path(sys.argv[1])))"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", start, str(configuration)],
            stdout=output,
            stderr=output,
            cwd=configuration.parent,
        )
    try:
        _wait_until_ready(process, status, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], status: int, log: Path) -> None:
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{status}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise StoreUnavailable(f"the gateway does not start: {log.read_text(errors='replace')[-800:].strip()}")


@contextmanager
def _listening(scene: Scene, watch: Watch) -> Iterator[None]:
    """Listeners in a thread: one passes on what it sees, the other puts it into the Maildir."""
    box = mailbox.Maildir(scene.maildir, create=True)
    onward = NextHop(f"127.0.0.1:{scene.ports.beta_inbound}")

    def look(transaction: Transaction) -> Decision:
        watch("wire", bytes(transaction.octets))
        everyone = tuple(range(len(transaction.recipients)))
        given = transaction
        return Decision((Outgoing(given.sender, given.sender_parameters, given.recipients, given.octets, everyone),))

    def keep(transaction: Transaction) -> Decision:
        box.add(bytes(transaction.octets))
        watch("mailbox", bytes(transaction.octets))
        return Decision(discard=tuple(range(len(transaction.recipients))))

    with (
        _served(Listener(f"127.0.0.1:{scene.ports.wire}", "smtp", "outbound", onward), look),
        _served(Listener(f"127.0.0.1:{scene.ports.mailbox}", "smtp", "inbound", onward), keep),
    ):
        yield


@contextmanager
def _served(listener: Listener, handler: Callable[[Transaction], Decision]) -> Iterator[None]:
    def never(_transaction: Transaction, _held: Held) -> str:
        raise StoreUnavailable("the demonstration holds nothing here")

    host, _, port = listener.address.rpartition(":")
    sock = socket.create_server((host, int(port)))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    gateway = Gateway(Settings("demo.example", f"demo-{port}"), handler, never)
    asyncio.run_coroutine_threadsafe(gateway.start([(listener, sock)]), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(gateway.drain(2), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
