"""Keys that the key process (`domsec keyd`) holds: here are their certificates and a way to ask it.

A connection is made when a key is first used and kept; a process has one of its own, so none is shared over a fork.
Whatever is wrong with the key process may pass: StoreUnavailable, and the next request finds out anew.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domsec.cms.algorithms import AlgorithmIdentifier, SignatureAlgorithm
from domsec.cms.certificates import Certificate
from domsec.errors import DomsecError, KeyUnusable, MalformedMessage, StoreUnavailable, Unsupported
from domsec.stores.key_protocol import (
    MAXIMUM_REQUEST,
    MAXIMUM_RESPONSE,
    Act,
    Request,
    Status,
    key_digest,
    read_frame,
    send_frame,
)

SCHEME: Final = "keyd:"
_ATTEMPTS: Final = 8  # connections for one act, where each is closed at once: every act can be asked for again
_LONGEST_SILENCE: Final = 3  # doublings: 40 s with the patience below, some ten percent of the time lost
PATIENCE: Final = 5.0  # seconds for one act: a slow token needs one or two


class NotNow(StoreUnavailable):
    """The key process answers that trying again may help: it has no such key yet, or its token is away."""


_ERRORS: Final[dict[int, type[DomsecError]]] = {
    Status.UNUSABLE: KeyUnusable,
    Status.UNSUPPORTED: Unsupported,
    Status.UNAVAILABLE: NotNow,
}


class Silent(StoreUnavailable):
    """Somebody is there and does not answer: asking again takes as long as this took."""


class KeyProcess:
    """The key process that listens at `path`, as one process of ours sees it."""

    def __init__(self, path: Path, *, patience: float = PATIENCE) -> None:
        self.path = path
        self._patience = patience
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._owner = 0
        self._silent_until = 0.0
        self._silences = 0  # in a row
        self.shunned = False  # somebody who asks beside us says that no answer comes; nobody waits for one meanwhile

    def ask(self, request: Request) -> bytes:
        """The result of an act. Raises StoreUnavailable, KeyUnusable, Unsupported."""
        octets = request.encode()
        if len(octets) > MAXIMUM_REQUEST:
            raise KeyUnusable(f"{len(octets)} octets are more than the key process takes at once")
        with self._lock:
            response = self._exchange(octets)
        if response[0] == Status.DONE:
            return response[1:]
        words = "".join(c for c in response[1:201].decode("ascii", "replace") if c.isprintable())
        raise _ERRORS.get(response[0], NotNow)(f"the key process: {words}")

    def _exchange(self, octets: bytes) -> bytes:
        """A response, not empty. A kept connection may have been closed meanwhile; every act can be asked for again."""
        if self.shunned or time.monotonic() < self._silent_until:  # nothing else of ours waits for somebody who hangs
            raise StoreUnavailable(f"{self.path}: the key process did not answer just now")
        if self._connection is not None and self._owner == os.getpid():
            with contextlib.suppress(ConnectionError):
                return self._answer(self._connection, octets)
        for _ in range(_ATTEMPTS):  # it may just be reading its keys again
            with contextlib.suppress(ConnectionResetError):
                return self._first_answer(octets)
        raise StoreUnavailable(f"{self.path}: the key process closes the connection")

    def _first_answer(self, octets: bytes) -> bytes:
        try:
            return self._answer(self._connect(), octets)
        except ConnectionResetError:
            raise
        except OSError as problem:
            raise StoreUnavailable(f"{self.path}: {problem.strerror or problem}") from None

    def _answer(self, connection: socket.socket, octets: bytes) -> bytes:
        try:
            send_frame(connection, octets)
            response = read_frame(connection, MAXIMUM_RESPONSE, self._patience)
        except MalformedMessage as problem:
            self.close()
            raise StoreUnavailable(f"{self.path}: the key process does not answer as it should: {problem}") from None
        except (BlockingIOError, TimeoutError):
            self.close()
            # longer than somebody who asks beside us needs to find out the same; and longer each time, since who waits
            # again and again for a token that hangs is away more than he is there
            self._silences = min(self._silences + 1, _LONGEST_SILENCE)
            self._silent_until = time.monotonic() + self._patience * 2**self._silences
            raise Silent(f"{self.path}: the key process does not answer in time") from None
        except BrokenPipeError:  # closed before all was said, or after: it is one to us
            response = None
        except OSError:
            self.close()
            raise
        if not response:
            self.close()
            raise ConnectionResetError("the connection was closed")
        self._silences = 0
        return response

    def _connect(self) -> socket.socket:
        self.close()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # by the kernel, so that each call is one: a socket with settimeout() polls first
            interval = struct.pack("ll", int(self._patience), int(self._patience % 1 * 1e6))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
            connection.connect(str(self.path))
        except OSError:
            connection.close()
            raise
        self._connection, self._owner = connection, os.getpid()
        return connection

    def close(self) -> None:
        """End the connection, if there is one; the next request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@functools.cache
def process_at(path: Path) -> KeyProcess:
    """The key process at a socket: one connection for all its keys."""
    return KeyProcess(path)


@dataclass(frozen=True, slots=True)
class KeyProcessCredential:
    """A certificate whose key the key process holds under a name. Equal only to itself."""

    process: KeyProcess = field(repr=False, hash=False, compare=False)
    name: str
    certificate: Certificate
    chain: tuple[Certificate, ...] = ()

    def _ask(self, act: Act, *arguments: bytes) -> bytes:
        return self.process.ask(Request(act, self.name, key_digest(self.certificate), arguments))

    def present(self, process: KeyProcess) -> None:
        """Have a key process, perhaps over another connection, say that it has the key. Raises StoreUnavailable."""
        process.ask(Request(Act.PRESENT, self.name, key_digest(self.certificate), ()))

    def sign(self, data: bytes, algorithm: SignatureAlgorithm) -> bytes:
        return self._ask(Act.SIGN, algorithm.identifier.raw, algorithm.digest.identifier.raw, data)

    def decrypt(self, encrypted_key: bytes, algorithm: AlgorithmIdentifier) -> bytes:
        return self._ask(Act.DECRYPT, algorithm.raw, encrypted_key)

    def exchange(self, public_key: PublicKeyTypes) -> bytes:
        return self._ask(Act.EXCHANGE, public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def decapsulate(self, ciphertext: bytes) -> bytes:
        return self._ask(Act.EXCHANGE, ciphertext)
