"""Both sides of the key process's socket: what a gateway that was taken over asks, and what an impostor answers."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path
from typing import cast

from domsec.cms.algorithms import check_signature, find_signature, parse_algorithm
from domsec.errors import DomsecError, MalformedMessage
from domsec.keyd.answer import PURPOSES, Keys, answer
from domsec.stores.key_process import KeyProcess
from domsec.stores.key_protocol import (
    MAXIMUM_REQUEST,
    MAXIMUM_RESPONSE,
    Act,
    Request,
    Status,
    key_digest,
    read_frame,
)
from fuzz.world import role_keys

PATIENCE = 60.0


class _Wire:
    """The end of a connection, where octets come in pieces of one size and nobody reads what is sent."""

    def __init__(self, octets: bytes, size: int) -> None:
        self._octets = octets
        self._size = size

    def recv(self, most: int) -> bytes:
        size = min(most, self._size)
        piece, self._octets = self._octets[:size], self._octets[size:]
        return piece

    def sendall(self, octets: bytes) -> None:
        pass

    def close(self) -> None:
        pass

    @classmethod
    def socket(cls, octets: bytes, size: int) -> socket.socket:
        return cast(socket.socket, cls(octets, size))


@functools.cache
def keys() -> Keys:
    return {(role, key_digest(each.certificate)): each for role, found in role_keys().items() for each in found}


def serve(data: bytes) -> None:
    """Octets of a client: every frame has an answer, and a key does what its role is for or nothing."""
    for size in (1, 41, MAXIMUM_REQUEST):
        connection = _Wire.socket(data, size)
        try:
            while octets := read_frame(connection, MAXIMUM_REQUEST, PATIENCE):
                _answered(octets)
        except MalformedMessage:
            pass


def _answered(octets: bytes) -> None:
    made = answer(octets, keys())
    assert len(made.result) < MAXIMUM_RESPONSE
    if made.status is not Status.DONE:
        assert made.result.decode("ascii").isprintable()
        return
    request = made.request
    assert request is not None
    assert request.encode() == octets
    assert request.act in PURPOSES[request.name]
    if request.act is Act.SIGN:
        signature, digest, signed = request.arguments
        algorithm = find_signature(parse_algorithm(signature), parse_algorithm(digest))
        check_signature(keys()[request.name, request.key].certificate, algorithm, made.result, signed)


class _Answered(KeyProcess):
    """One that hears the same octets over every connection."""

    def __init__(self, octets: bytes, size: int) -> None:
        super().__init__(Path("socket"))
        self._heard = (octets, size)

    def _connect(self) -> socket.socket:
        self._connection, self._owner = _Wire.socket(*self._heard), os.getpid()
        return self._connection


def ask(data: bytes) -> None:
    """Octets of whoever listens: a result that stands in them, or an error that can be shown to people."""
    for size in (1, 3, MAXIMUM_RESPONSE):
        try:
            result = _Answered(data, size).ask(Request(Act.SIGN, "signing", bytes(32), (b"", b"", b"")))
        except DomsecError as error:
            assert str(error).isprintable()
        else:
            assert data.startswith((len(result) + 1).to_bytes(4) + bytes((Status.DONE,)) + result)
