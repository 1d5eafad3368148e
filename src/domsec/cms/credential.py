"""Private keys, reached in one way wherever they live (RFC 3183 section 6: they MUST be protected).

Whoever signs or decrypts holds a `Credential`: a certificate and four operations. The key may be in this process, in
the key process or in a PKCS#11 token; nothing above can tell.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

from domsec import der, oids
from domsec.cms.algorithms import (
    AlgorithmIdentifier,
    SignatureAlgorithm,
    algorithm_identifier,
    check_signature,
    default_signature_algorithm,
    encrypt_key,
    key_transport,
    key_transport_padding,
    oaep,
)
from domsec.cms.certificates import Certificate
from domsec.errors import KeyUnusable, SignatureInvalid, Unsupported

_NOTHING_DECRYPTED: Final = 32  # octets given back where decryption failed


class Credential(Protocol):
    """A private key with its certificate and chain (without the root)."""

    @property
    def certificate(self) -> Certificate: ...

    @property
    def chain(self) -> tuple[Certificate, ...]: ...

    def sign(self, data: bytes, algorithm: SignatureAlgorithm) -> bytes:
        """The signature over `data`, hashed here. Raises KeyUnusable, StoreUnavailable."""
        ...

    def decrypt(self, encrypted_key: bytes, algorithm: AlgorithmIdentifier) -> bytes:
        """Key transport undone. What was wrongly padded gives octets as random as any, never an error (RFC 3218).

        Raises Unsupported for another algorithm, KeyUnusable, StoreUnavailable.
        """
        ...

    def exchange(self, public_key: PublicKeyTypes) -> bytes:
        """The raw secret agreed with a public key of the same curve. Raises KeyUnusable, StoreUnavailable."""
        ...

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The secret in a KEM ciphertext; for one made with another key, another secret and no error (FIPS 203 6.3).

        Raises KeyUnusable for a key of another kind or a ciphertext of the wrong length, StoreUnavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class PrivateKeyCredential:
    """A key in the memory of this process. Equal only to itself."""

    key: PrivateKeyTypes = field(repr=False, hash=False, compare=False)
    certificate: Certificate
    chain: tuple[Certificate, ...] = ()

    def sign(self, data: bytes, algorithm: SignatureAlgorithm) -> bytes:
        try:
            return algorithm.sign(self.key, data)
        except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as problem:
            raise KeyUnusable(f"the key cannot sign with {algorithm.name}") from problem

    def decrypt(self, encrypted_key: bytes, algorithm: AlgorithmIdentifier) -> bytes:
        if not isinstance(self.key, rsa.RSAPrivateKey):
            raise KeyUnusable("only an RSA key decrypts")
        padding = key_transport_padding(algorithm)
        try:
            return self.key.decrypt(encrypted_key, padding)
        except ValueError:
            return os.urandom(_NOTHING_DECRYPTED)

    def exchange(self, public_key: PublicKeyTypes) -> bytes:
        try:
            if isinstance(self.key, ec.EllipticCurvePrivateKey) and isinstance(public_key, ec.EllipticCurvePublicKey):
                return self.key.exchange(ec.ECDH(), public_key)
            if isinstance(self.key, x25519.X25519PrivateKey) and isinstance(public_key, x25519.X25519PublicKey):
                return self.key.exchange(public_key)
            if isinstance(self.key, x448.X448PrivateKey) and isinstance(public_key, x448.X448PublicKey):
                return self.key.exchange(public_key)
        except ValueError as problem:
            raise KeyUnusable("no secret can be agreed with this public key") from problem
        raise KeyUnusable("the keys are of different kinds")

    def decapsulate(self, ciphertext: bytes) -> bytes:
        if not isinstance(self.key, mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey):
            raise KeyUnusable("only an ML-KEM key decapsulates")
        try:
            return self.key.decapsulate(ciphertext)
        except ValueError as problem:
            raise KeyUnusable("a ciphertext of the wrong length") from problem


@dataclass(frozen=True, slots=True)
class WithoutPkcs1v15:
    """A key that does not undo PKCS#1 v1.5, whose padding whoever asks often enough can learn from (threats T-22)."""

    behind: Credential

    @property
    def certificate(self) -> Certificate:
        return self.behind.certificate

    @property
    def chain(self) -> tuple[Certificate, ...]:
        return self.behind.chain

    def sign(self, data: bytes, algorithm: SignatureAlgorithm) -> bytes:
        return self.behind.sign(data, algorithm)

    def decrypt(self, encrypted_key: bytes, algorithm: AlgorithmIdentifier) -> bytes:
        if key_transport(algorithm) is None:
            raise Unsupported("PKCS#1 v1.5, which this key is not to undo")
        return self.behind.decrypt(encrypted_key, algorithm)

    def exchange(self, public_key: PublicKeyTypes) -> bytes:
        return self.behind.exchange(public_key)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        return self.behind.decapsulate(ciphertext)


def credential_from_private_key(
    key: PrivateKeyTypes, certificate: Certificate, chain: tuple[Certificate, ...] = ()
) -> PrivateKeyCredential:
    """Raises KeyUnusable if the key is not the one in the certificate, Unsupported or MalformedMessage for its key."""
    if key.public_key() != certificate.public_key:
        raise KeyUnusable("the private key does not belong to the certificate")
    return PrivateKeyCredential(key, certificate, tuple(chain))


def holds_key(credential: Credential) -> bool:
    """Whether the private key behind a credential is the one in its certificate, shown by letting it work once.

    For keys that cannot be looked at. Raises KeyUnusable where the key neither signs nor decrypts nor agrees,
    StoreUnavailable; Unsupported or MalformedMessage for a certificate whose key cannot be loaded.
    """
    try:
        return signs(credential)
    except KeyUnusable:
        return receives(credential)


def signs(credential: Credential) -> bool:
    """`holds_key` by a signature."""
    algorithm = default_signature_algorithm(credential.certificate.public_key)
    # no DER that anybody would take for signed attributes or a certificate
    data = b"domsec: proof of possession " + os.urandom(16)
    try:
        check_signature(credential.certificate, algorithm, credential.sign(data, algorithm), data)
    except SignatureInvalid:
        return False
    return True


def receives(credential: Credential) -> bool:
    """`holds_key` by what is encrypted, agreed or encapsulated to the certificate."""
    public_key = credential.certificate.public_key
    if isinstance(public_key, rsa.RSAPublicKey):
        return _transports(credential, public_key)
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        ours = ec.generate_private_key(public_key.curve)
        return credential.exchange(ours.public_key()) == ours.exchange(ec.ECDH(), public_key)
    if isinstance(public_key, x25519.X25519PublicKey):
        ours_x = x25519.X25519PrivateKey.generate()
        return credential.exchange(ours_x.public_key()) == ours_x.exchange(public_key)
    if isinstance(public_key, x448.X448PublicKey):
        ours_4 = x448.X448PrivateKey.generate()
        return credential.exchange(ours_4.public_key()) == ours_4.exchange(public_key)
    if isinstance(public_key, mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey):
        secret, ciphertext = public_key.encapsulate()
        return credential.decapsulate(ciphertext) == secret
    raise KeyUnusable("a key that neither signs nor decrypts")


def _transports(credential: Credential, public_key: rsa.RSAPublicKey) -> bool:
    """By PKCS#1 v1.5, which every key can that may; else by OAEP."""
    secret = os.urandom(32)
    algorithm = algorithm_identifier(oids.RSA_ENCRYPTION, der.null())
    try:
        return credential.decrypt(encrypt_key(public_key, secret, algorithm), algorithm) == secret
    except Unsupported:
        algorithm = oaep()
        return credential.decrypt(encrypt_key(public_key, secret, algorithm), algorithm) == secret
