"""KeyTransRecipientInfo with RSA (RFC 5652 6.2.1, 3370 4.2.1, 3560)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from domsec import der, oids
from domsec.cms.algorithms import (
    AlgorithmIdentifier,
    algorithm_identifier,
    key_transport_padding,
    oaep,
    read_algorithm,
)
from domsec.cms.certificates import (
    Certificate,
    Identifier,
    SubjectKeyIdentifier,
    issuer_and_serial,
    read_issuer_and_serial,
)
from domsec.cms.credential import Credential
from domsec.der import Reader, context
from domsec.errors import DomsecError, StoreUnavailable, Unsupported
from domsec.limits import Limits

KeyTransportPadding = Literal["oaep", "pkcs1v15"]

_KEY_IDENTIFIER: Final = context(0, constructed=False)
_NAMES: Final = {oids.RSA_ENCRYPTION: "rsa-pkcs1v15", oids.RSAES_OAEP: "rsa-oaep"}

_VERSION_0: Final = der.integer(0)
_VERSION_2: Final = der.integer(2)
_MADE: Final = {"oaep": oaep(oids.SHA256), "pkcs1v15": algorithm_identifier(oids.RSA_ENCRYPTION, der.null())}
_PADDINGS: Final = {name: (algorithm.raw, key_transport_padding(algorithm)) for name, algorithm in _MADE.items()}


@dataclass(frozen=True, slots=True)
class KeyTransport:
    """A ktri: the key encrypted to one RSA key."""

    kind: ClassVar[Literal["ktri"]] = "ktri"
    outdated: ClassVar[bool] = False

    version: int
    identifier: Identifier
    algorithm: AlgorithmIdentifier
    encrypted_key: bytes

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        return (self.identifier,)

    @property
    def management(self) -> str:
        """rsa-pkcs1v15, rsa-oaep, or the OID of something else."""
        return _NAMES.get(self.algorithm.oid, self.algorithm.oid)

    def recover(
        self, position: int, credential: Credential, length: int, originator_certificates: Sequence[Certificate]
    ) -> bytes:
        """The content encryption key; another one of that length if there is none.

        That other key is made from what the private key operation gave, so that the same message always has the same
        fate: with a new random key each time, asking twice would tell a bad padding from a good one where the content
        is in CBC. Raises StoreUnavailable if the private key cannot be reached now, and nothing else.
        """
        try:
            key = self._decrypt(credential)
        except StoreUnavailable:
            raise
        except (DomsecError, ValueError, UnsupportedAlgorithm):
            key = os.urandom(length + 1)
        instead = hashlib.shake_256(b"domsec: no content encryption key" + key).digest(length)
        return (instead, key)[len(key) == length]

    def _decrypt(self, credential: Credential) -> bytes:
        if self.algorithm.oid == oids.RSAES_OAEP and self.algorithm.parameters is None:
            raise Unsupported("oaep without parameters")  # RFC 3560 3: they must be present
        return credential.decrypt(self.encrypted_key, self.algorithm)


def parse(reader: Reader, limits: Limits) -> KeyTransport:
    """The ktri that comes next. Raises MalformedMessage."""
    reader.enter(der.SEQUENCE)
    version = reader.integer()
    identifier: Identifier
    if reader.peek() == der.SEQUENCE:
        identifier = read_issuer_and_serial(reader)
    else:
        identifier = SubjectKeyIdentifier(bytes(reader.octet_string(_KEY_IDENTIFIER)))
    algorithm = read_algorithm(reader)
    encrypted_key = bytes(reader.octet_string())
    reader.leave()
    return KeyTransport(version, identifier, algorithm, encrypted_key)


def build(
    key: bytes, recipient: Certificate, *, padding: KeyTransportPadding = "oaep", by_key_identifier: bool = False
) -> bytes:
    """A ktri that gives `key` to the subject of `recipient`: version 2 if it is named by key identifier, else 0.

    Raises Unsupported for another key than RSA, or one too short for the padding; MalformedMessage.
    """
    public_key = recipient.public_key
    if not isinstance(public_key, RSAPublicKey):
        raise Unsupported("key transport to a key that is not rsa")
    algorithm, how = _PADDINGS[padding]
    try:
        encrypted = public_key.encrypt(key, how)
    except ValueError:
        raise Unsupported(f"an rsa key of {public_key.key_size} bits is too short for {padding}") from None
    if by_key_identifier and recipient.ski is not None:
        version, identifier = _VERSION_2, der.tlv(_KEY_IDENTIFIER, recipient.ski)
    else:
        version, identifier = _VERSION_0, issuer_and_serial(recipient)
    return der.sequence(version, identifier, algorithm, der.octet_string(encrypted))
