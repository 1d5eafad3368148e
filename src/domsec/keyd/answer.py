"""One request to the key process and the response to it. No socket here, and nothing that a request can break.

A key does what it is held for and nothing else. Who may ask, and for what, is decided before (`domsec.keyd.server`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.serialization import load_der_public_key

from domsec.cms.algorithms import check_signing_key, find_signature, parse_algorithm
from domsec.cms.credential import Credential
from domsec.errors import DomsecError, KeyUnusable, MalformedMessage, StoreUnavailable, Unsupported
from domsec.stores.key_protocol import LISTS, USERS, Act, Request, Status, parse_request

Keys = Mapping[tuple[str, bytes], Credential]  # by name and digest of the public key
Purposes = Mapping[str, frozenset[Act]]  # what keys of a name are for

SIGNS: Final = frozenset({Act.SIGN, Act.PRESENT})
OPENS: Final = frozenset({Act.DECRYPT, Act.EXCHANGE, Act.PRESENT})
PURPOSES: Final[Purposes] = {
    "signing": SIGNS,
    "confidentiality": OPENS,
    "review": SIGNS,
    "attributes": SIGNS,
    USERS: SIGNS,
    LISTS: SIGNS | OPENS,
}
_ARGUMENTS: Final = {Act.SIGN: 3, Act.DECRYPT: 2, Act.EXCHANGE: 1, Act.PRESENT: 0}
_MAXIMUM_PUBLIC_VALUE: Final = 4096  # octets; an ML-KEM-1024 ciphertext has 1568

_log = logging.getLogger("domsec.keyd")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `refused` says why, where somebody asked for what they may not have; it belongs into the log."""

    status: Status
    result: bytes
    request: Request | None = None
    refused: str = ""


def answer(octets: bytes, keys: Keys, purposes: Purposes = PURPOSES) -> Answer:
    """Do what a request asks for, or say why not. `purposes` are those of whoever asks. Raises nothing."""
    try:
        request = parse_request(octets)
    except MalformedMessage as problem:
        return _refuse(str(problem), Status.UNUSABLE, None)
    if request.name not in purposes:
        return _refuse(f"keys for {request.name} are none of this client's", Status.UNUSABLE, request)
    if request.act not in purposes[request.name]:
        return _refuse(f"a key for {request.name} does not {request.act.name.lower()}", Status.UNUSABLE, request)
    credential = keys.get((request.name, request.key))
    if credential is None:
        # whoever asks may have read a newer configuration than we have
        return _refuse(f"there is no key {request.key.hex()[:16]} for {request.name}", Status.UNAVAILABLE, request)
    if len(request.arguments) != _ARGUMENTS[request.act]:
        return _refuse(f"{len(request.arguments)} arguments", Status.UNUSABLE, request)
    try:
        return Answer(Status.DONE, _act(request, credential), request)
    except _Refused as problem:
        return _refuse(str(problem), Status.UNUSABLE, request)
    except StoreUnavailable as problem:
        return Answer(Status.UNAVAILABLE, str(problem).encode(), request)
    except Unsupported as problem:
        return Answer(Status.UNSUPPORTED, str(problem).encode(), request)
    except DomsecError as problem:
        return Answer(Status.UNUSABLE, str(problem).encode(), request)
    except Exception:
        _log.exception("error while answering a request")
        return Answer(Status.UNAVAILABLE, b"an error in the key process", request)


class _Refused(Exception):
    """The request is not one that a process of ours would send."""


def _refuse(why: str, status: Status, request: Request | None) -> Answer:
    return Answer(status, why.encode(), request, why)


def _act(request: Request, credential: Credential) -> bytes:
    if request.act is Act.PRESENT:
        return b""
    if request.act is Act.SIGN:
        return _sign(credential, *request.arguments)
    if request.act is Act.DECRYPT:
        return _decrypt(credential, *request.arguments)
    return _exchange(credential, *request.arguments)


def _sign(credential: Credential, signature: bytes, digest: bytes, data: bytes) -> bytes:
    try:
        algorithm = find_signature(parse_algorithm(signature), parse_algorithm(digest))
        check_signing_key(credential.certificate.public_key, algorithm)
    except DomsecError as problem:
        raise _Refused(f"no signature: {problem}") from None
    return credential.sign(data, algorithm)


def _decrypt(credential: Credential, algorithm: bytes, encrypted_key: bytes) -> bytes:
    # the algorithm stood in somebody's message, so what is wrong with it is nobody's misdeed here
    return credential.decrypt(encrypted_key, parse_algorithm(algorithm))


def _exchange(credential: Credential, public_value: bytes) -> bytes:
    if len(public_value) > _MAXIMUM_PUBLIC_VALUE:
        raise _Refused(f"a public value of {len(public_value)} octets")
    if isinstance(credential.certificate.public_key, mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey):
        return credential.decapsulate(public_value)
    try:
        public_key = load_der_public_key(public_value)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyUnusable("no secret can be agreed with this public key") from None
    return credential.exchange(public_key)
