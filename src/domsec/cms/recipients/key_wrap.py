"""Key wrap: a content encryption key under a key encryption key (RFC 3394, 3565, 3217)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from domsec import der, oids
from domsec.cms.algorithms import Status


def _unwrap_triple_des(key: bytes, wrapped: bytes) -> bytes:
    """RFC 3217 3.2. Raises InvalidUnwrap."""
    if len(wrapped) != 40:
        raise InvalidUnwrap
    once = Cipher(TripleDES(key), modes.CBC(bytes.fromhex("4adda22c79e82105"))).decryptor().update(wrapped)[::-1]
    twice = Cipher(TripleDES(key), modes.CBC(once[:8])).decryptor().update(once[8:])
    checksum = hashlib.sha1(twice[:24], usedforsecurity=False).digest()[:8]
    if not hmac.compare_digest(checksum, twice[24:]):
        raise InvalidUnwrap
    return twice[:24]


@dataclass(frozen=True, slots=True)
class Wrap:
    """A row: a way to encrypt a key with a key encryption key of `length` octets."""

    length: int
    unwrap: Callable[[bytes, bytes], bytes]
    status: Status = Status.ALLOWED


WRAPS: Final = {
    oids.AES128_WRAP: Wrap(16, aes_key_unwrap),
    oids.AES192_WRAP: Wrap(24, aes_key_unwrap),
    oids.AES256_WRAP: Wrap(32, aes_key_unwrap),
    oids.ID_ALG_CMS3DES_WRAP: Wrap(24, _unwrap_triple_des, Status.REFUSED),
}
WRAP_OF_SIZE: Final = {  # parameters absent: RFC 3565 2.3.2
    16: der.sequence(der.oid(oids.AES128_WRAP)),
    24: der.sequence(der.oid(oids.AES192_WRAP)),
    32: der.sequence(der.oid(oids.AES256_WRAP)),
}


def is_outdated(oid: str) -> bool:
    """Whether a wrap is one that is opened in archives only (decisions A-47)."""
    wrap = WRAPS.get(oid)
    return wrap is not None and wrap.status is Status.REFUSED
