"""KEKRecipientInfo: a content encryption key under a key that both sides were given before (RFC 5652 6.2.3).

No certificate names it, so nothing says whose it is: whoever has the key may have encrypted, or may read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_wrap

from domsec import der
from domsec.cms.algorithms import AlgorithmIdentifier, read_algorithm
from domsec.cms.certificates import Certificate, Identifier
from domsec.cms.credential import Credential
from domsec.cms.recipients.key_wrap import WRAP_OF_SIZE, WRAPS, is_outdated
from domsec.der import Reader, context
from domsec.errors import Unsupported
from domsec.limits import Limits
from domsec.oids import name

TAG: Final = context(2)
_VERSION: Final = der.integer(4)


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A key encryption key: 16, 24 or 32 octets for AES, and the octets that both sides call it by.

    Raises ValueError for a key of another length.
    """

    identifier: bytes
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) not in WRAP_OF_SIZE:
            raise ValueError(f"a key of {len(self.key)} octets, expected 16, 24 or 32")


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A KEKRecipientInfo. The date and the other attributes of its kekid are passed over."""

    kind: ClassVar[Literal["kekri"]] = "kekri"

    version: int
    key_identifier: bytes
    wrap: AlgorithmIdentifier
    encrypted_key: bytes

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """None: it names no certificate."""
        return ()

    @property
    def management(self) -> str:
        return name(self.wrap.oid)

    @property
    def outdated(self) -> bool:
        return is_outdated(self.wrap.oid)

    def recover(
        self, position: int, credential: Credential, length: int, originator_certificates: Sequence[Certificate]
    ) -> bytes:
        """Never asked for, having no identifiers. Raises Unsupported."""
        raise Unsupported("a shared key is no private key of a certificate")

    def unwrap(self, shared: SharedKey, length: int) -> bytes:
        """The content encryption key; another one of that length, always the same, if there is none."""
        wrap = WRAPS.get(self.wrap.oid)
        key = b""
        if wrap is not None and wrap.length == len(shared.key):
            try:
                key = wrap.unwrap(shared.key, self.encrypted_key)
            except (InvalidUnwrap, ValueError):
                key = b""
        instead = hashlib.shake_256(b"domsec: no content encryption key" + shared.key + self.encrypted_key)
        return (instead.digest(length), key)[len(key) == length]


def parse(reader: Reader, limits: Limits) -> WrappedKey:
    """The kekri that comes next. Raises MalformedMessage."""
    del limits
    reader.enter(TAG)
    version = reader.integer()
    reader.enter(der.SEQUENCE)
    identifier = bytes(reader.octet_string())
    while not reader.at_end():
        reader.skip()
    reader.leave()
    wrap = read_algorithm(reader)
    encrypted_key = bytes(reader.octet_string())
    reader.leave()
    return WrappedKey(version, identifier, wrap, encrypted_key)


def build(key: bytes, shared: SharedKey) -> bytes:
    """A RecipientInfo with `key` for all who have the shared key."""
    return der.tlv(
        TAG,
        _VERSION,
        der.sequence(der.octet_string(shared.identifier)),
        WRAP_OF_SIZE[len(shared.key)],
        der.octet_string(aes_key_wrap(shared.key, key)),
    )
