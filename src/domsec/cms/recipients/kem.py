"""KEMRecipientInfo with ML-KEM (RFC 9629, 9936): an OtherRecipientInfo, for one recipient.

The private key's operation never says that a ciphertext was none: ML-KEM answers with another secret (FIPS 203 6.3),
and what is made of that is as long and as useless as any wrong key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey, MLKEM1024PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_wrap

from domsec import der, oids
from domsec.cms.algorithms import AlgorithmIdentifier, read_algorithm
from domsec.cms.certificates import (
    Certificate,
    Identifier,
    SubjectKeyIdentifier,
    issuer_and_serial,
    read_issuer_and_serial,
)
from domsec.cms.credential import Credential
from domsec.cms.recipients.key_wrap import WRAP_OF_SIZE, WRAPS, is_outdated
from domsec.der import Reader, context
from domsec.errors import DomsecError, MalformedMessage, StoreUnavailable, Unsupported
from domsec.limits import Limits

TAG: Final = context(4)
_KEY_IDENTIFIER: Final = context(0, constructed=False)
_VERSION: Final = der.integer(0)

KEMS: Final = {  # RFC 9936 2.2; ML-KEM-512 is left out, as its keys cannot be loaded
    oids.ML_KEM_768: "ml-kem-768",
    oids.ML_KEM_1024: "ml-kem-1024",
}
KDFS: Final[dict[str, hashes.HashAlgorithm]] = {  # HKDF without salt: RFC 9936 2.2.1, RFC 8619
    oids.ALG_HKDF_WITH_SHA256: hashes.SHA256(),
    oids.ALG_HKDF_WITH_SHA384: hashes.SHA384(),
    oids.ALG_HKDF_WITH_SHA512: hashes.SHA512(),
}

# what we write for both: RFC 9936 2.2.1 and 2.2.2
_MADE_KDF: Final = oids.ALG_HKDF_WITH_SHA256
_MADE_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """A KEMRecipientInfo: a secret encapsulated to one key, and the content encryption key under what follows."""

    kind: ClassVar[Literal["ori"]] = "ori"

    version: int
    identifier: Identifier
    kem: AlgorithmIdentifier
    ciphertext: bytes
    kdf: AlgorithmIdentifier
    length: int  # of the key encryption key
    ukm: bytes | None
    wrap: AlgorithmIdentifier
    encrypted_key: bytes

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        return (self.identifier,)

    @property
    def management(self) -> str:
        """ml-kem-768, ml-kem-1024, or the OID of something else."""
        return KEMS.get(self.kem.oid, self.kem.oid)

    @property
    def outdated(self) -> bool:
        return is_outdated(self.wrap.oid)

    def recover(
        self, position: int, credential: Credential, length: int, originator_certificates: Sequence[Certificate]
    ) -> bytes:
        """The content encryption key; another one of that length if there is none.

        That other key is made from the secret, so that the same message always has the same fate. Raises
        StoreUnavailable if the private key cannot be reached now, and nothing else.
        """
        secret = os.urandom(32)
        try:
            self._check(credential.certificate)
            secret = credential.decapsulate(self.ciphertext)
            key = self._unwrapped(secret)
        except StoreUnavailable:
            raise
        except (DomsecError, ValueError, InvalidUnwrap, UnsupportedAlgorithm):
            key = b""
        instead = hashlib.shake_256(b"domsec: no content encryption key" + secret).digest(length)
        return (instead, key)[len(key) == length]

    def _check(self, certificate: Certificate) -> None:
        """What anybody can see. Raises Unsupported, MalformedMessage."""
        if self.kem.oid not in KEMS or self.kem.parameters is not None:
            raise Unsupported(f"key encapsulation {self.kem.oid}")
        if self.kem.oid != certificate.key_algorithm:
            raise MalformedMessage("a secret encapsulated to another kind of key than the recipient's")
        if self.kdf.oid not in KDFS or self.kdf.parameters is not None:
            raise Unsupported(f"key derivation {self.kdf.oid}")
        wrap = WRAPS.get(self.wrap.oid)
        if wrap is None or wrap.length != self.length:
            raise Unsupported("an unknown key wrap, or a key of the wrong length for it")

    def _unwrapped(self, secret: bytes) -> bytes:
        key = derive(secret, self.kdf.oid, self.wrap.raw, self.length, self.ukm)
        return WRAPS[self.wrap.oid].unwrap(key, self.encrypted_key)


def other_info(wrap: bytes, length: int, ukm: bytes | None) -> bytes:
    """CMSORIforKEMOtherInfo in DER (RFC 9629 5); `wrap` is a whole AlgorithmIdentifier."""
    return der.sequence(
        wrap,
        der.integer(length),
        b"" if ukm is None else der.explicit(0, der.octet_string(ukm)),
    )


def derive(secret: bytes, kdf: str, wrap: bytes, length: int, ukm: bytes | None = None) -> bytes:
    """The key encryption key. `kdf` is one of `KDFS`."""
    return HKDF(KDFS[kdf], length, salt=None, info=other_info(wrap, length, ukm)).derive(secret)


def parse(reader: Reader, limits: Limits) -> Encapsulation:
    """The ori of type id-ori-kem that comes next. Raises MalformedMessage."""
    reader.enter(TAG)
    reader.oid()
    reader.enter(der.SEQUENCE)
    version = reader.integer()
    identifier: Identifier
    if reader.peek() == der.SEQUENCE:
        identifier = read_issuer_and_serial(reader)
    else:
        identifier = SubjectKeyIdentifier(bytes(reader.octet_string(_KEY_IDENTIFIER)))
    kem = read_algorithm(reader)
    ciphertext = bytes(reader.octet_string())
    kdf = read_algorithm(reader)
    length = reader.integer()
    ukm = None
    if reader.peek() == context(0):
        reader.enter(context(0))
        ukm = bytes(reader.octet_string())
        reader.leave()
    wrap = read_algorithm(reader)
    encrypted_key = bytes(reader.octet_string())
    reader.leave()
    reader.leave()
    return Encapsulation(version, identifier, kem, ciphertext, kdf, length, ukm, wrap, encrypted_key)


def build(key: bytes, recipient: Certificate, *, padding: object = None, by_key_identifier: bool = False) -> bytes:
    """A KEMRecipientInfo that gives `key` to one recipient, with HKDF-SHA256 and a 256 bit wrap. There is no padding.

    Raises Unsupported for another kind of key, MalformedMessage for one that cannot be loaded.
    """
    theirs = recipient.public_key
    if not isinstance(theirs, MLKEM768PublicKey | MLKEM1024PublicKey):
        raise Unsupported("key encapsulation to a key that is not for ml-kem")
    secret, ciphertext = theirs.encapsulate()
    wrap = WRAP_OF_SIZE[_MADE_LENGTH]
    if by_key_identifier and recipient.ski is not None:
        identifier = der.tlv(_KEY_IDENTIFIER, recipient.ski)
    else:
        identifier = issuer_and_serial(recipient)
    return der.tlv(
        TAG,
        der.oid(oids.ID_ORI_KEM),
        der.sequence(
            _VERSION,
            identifier,
            der.sequence(der.oid(recipient.key_algorithm)),
            der.octet_string(ciphertext),
            der.sequence(der.oid(_MADE_KDF)),
            der.integer(_MADE_LENGTH),
            wrap,
            der.octet_string(aes_key_wrap(derive(secret, _MADE_KDF, wrap, _MADE_LENGTH), key)),
        ),
    )
