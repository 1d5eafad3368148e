"""What tests put on the wire between mail servers: a tap that listens in, and a next hop that answers as it is told."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Sent:
    """One message with its envelope, dots unstuffed."""

    sender: str
    recipients: list[str]
    content: bytes


@dataclass
class _Ear:
    """Makes messages of what an SMTP client says."""

    heard: Callable[[Sent], None]
    buffer: bytearray = field(default_factory=bytearray)
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    in_data: bool = False
    searched: int = 0

    def hear(self, octets: bytes) -> None:
        self.buffer += octets
        while self._step():
            pass

    def _step(self) -> bool:
        if self.in_data:
            end = -2 if self.buffer.startswith(b".\r\n") else self.buffer.find(b"\r\n.\r\n", self.searched)
            if end == -1:
                self.searched = max(0, len(self.buffer) - 4)
                return False
            content = bytes(self.buffer[: end + 2])
            del self.buffer[: end + 5]
            self.in_data, self.searched = False, 0
            self.heard(Sent(self.sender, self.recipients, content.removeprefix(b".").replace(b"\r\n.", b"\r\n")))
            return True
        line, found, rest = self.buffer.partition(b"\r\n")
        if not found:
            return False
        self.buffer = bytearray(rest)
        command = line.decode("utf-8", "replace")
        upper = command.upper()
        if upper.startswith("MAIL FROM:"):
            self.sender, self.recipients = command[10:].strip(), []
        elif upper.startswith("RCPT TO:"):
            self.recipients = [*self.recipients, _address(command[8:])]
        elif upper == "DATA":
            self.in_data = True
        return True


def _address(text: str) -> str:
    return text.strip().partition(">")[0].removeprefix("<")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


class Tap:
    """Listens on a port of its own and passes everything on to another; keeps what the client said."""

    def __init__(self, target: int) -> None:
        self.sent: list[Sent] = []
        self.raw = bytearray()
        tap = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                tap._pass(self.request, target)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _pass(self, client: socket.socket, target: int) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", target))
        except OSError:
            return
        with server:
            back = threading.Thread(target=_pump, args=(server, client, lambda octets: None), daemon=True)
            back.start()
            ear = _Ear(self.sent.append)

            def keep(octets: bytes) -> None:
                self.raw += octets
                ear.hear(octets)

            _pump(client, server, keep)
            back.join(10)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pump(source: socket.socket, target: socket.socket, keep: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError):
        while octets := source.recv(65536):
            keep(octets)
            target.sendall(octets)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Sink:
    """An SMTP server that keeps what it gets. `answers` maps recipients to replies; others are accepted."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.tried: list[str] = []
        self.answers: dict[str, str] = {}
        self.answering = threading.Event()  # not set: what was sent is kept, and the reply to it waits
        self.answering.set()
        sink = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    sink._talk(self)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def to(self, address: str) -> list[Sent]:
        return [each for each in self.sent if address in each.recipients]

    def _talk(self, peer: socketserver.StreamRequestHandler) -> None:
        def say(text: str) -> None:
            peer.wfile.write(text.encode() + b"\r\n")

        say("220 sink ESMTP")
        sender, accepted = "", []
        while line := peer.rfile.readline():
            command = line.decode("utf-8", "replace").rstrip("\r\n")
            verb = command[:4].upper()
            if verb == "EHLO":
                say("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES")
            elif verb == "MAIL":
                sender, accepted = command[10:].strip(), []
                say("250 2.1.0 ok")
            elif verb == "RCPT":
                address = _address(command[8:])
                self.tried.append(address)
                reply = self.answers.get(address, "250 2.1.5 ok")
                if reply.startswith("2"):
                    accepted.append(address)
                say(reply)
            elif verb == "DATA" and accepted:
                say("354 go on")
                content = bytearray()
                while (line := peer.rfile.readline()) not in (b".\r\n", b""):
                    content += line.removeprefix(b".")
                self.sent.append(Sent(sender, accepted, bytes(content)))
                self.answering.wait(30)
                say("250 2.0.0 kept")
            elif verb == "DATA":
                say("503 5.5.1 no recipients")
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                return
            else:
                say("250 2.0.0 ok")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
