"""KeyAgreeRecipientInfo with elliptic curves (RFC 5652 6.2.2, 5753 3.1, 8418).

One kari may hold keys for several recipients; we write one for each, with an ephemeral key and ukm of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDH, EllipticCurvePublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domsec import der, oids
from domsec.cms.algorithms import AlgorithmIdentifier, Status, parse_algorithm, read_algorithm
from domsec.cms.certificates import (
    Certificate,
    Identifier,
    SubjectKeyIdentifier,
    issuer_and_serial,
    read_issuer_and_serial,
)
from domsec.cms.credential import Credential
from domsec.cms.recipients.key_wrap import WRAP_OF_SIZE, WRAPS, Wrap
from domsec.der import Reader, context
from domsec.errors import DomsecError, LimitExceeded, MalformedMessage, StoreUnavailable, Unsupported
from domsec.limits import Limits

TAG: Final = context(1)
_VERSION: Final = der.integer(3)
UKM_LENGTH: Final = 16  # RFC 8418 2: more than the length of the key it makes unique does no good

AgreementKey = EllipticCurvePublicKey | X25519PublicKey | X448PublicKey


@dataclass(frozen=True, slots=True)
class OriginatorPublicKey:
    """The sender's key, ephemeral as a rule, in the message itself. `point` is the content of its BIT STRING."""

    algorithm: AlgorithmIdentifier
    point: bytes


@dataclass(frozen=True, slots=True)
class RecipientEncryptedKey:
    identifier: Identifier
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class Scheme:
    """A row: how the shared secret becomes the key encryption key. `salted`: HKDF, where ukm is the salt as well."""

    name: str
    digest: hashes.HashAlgorithm
    salted: bool = False

    def derive(self, secret: bytes, wrap: bytes, length: int, ukm: bytes | None) -> bytes:
        """The key encryption key of `length` octets; `wrap` is the whole AlgorithmIdentifier of the wrap algorithm."""
        info = shared_info(wrap, length, ukm)
        if self.salted:
            return HKDF(self.digest, length, salt=ukm, info=info).derive(secret)
        return X963KDF(self.digest, length, sharedinfo=info).derive(secret)


# on the curves here the cofactor is one, so the cofactor schemes compute the same as the standard ones
SCHEMES: Final = {
    oids.DH_SINGLE_PASS_STD_SHA1KDF: Scheme("ecdh-sha1kdf", hashes.SHA1()),  # noqa: S303  read only; OpenSSL's default
    oids.DH_SINGLE_PASS_STD_SHA224KDF: Scheme("ecdh-sha224kdf", hashes.SHA224()),
    oids.DH_SINGLE_PASS_STD_SHA256KDF: Scheme("ecdh-sha256kdf", hashes.SHA256()),
    oids.DH_SINGLE_PASS_STD_SHA384KDF: Scheme("ecdh-sha384kdf", hashes.SHA384()),
    oids.DH_SINGLE_PASS_STD_SHA512KDF: Scheme("ecdh-sha512kdf", hashes.SHA512()),
    oids.DH_SINGLE_PASS_COFACTOR_DH_SHA1KDF: Scheme("ecdh-sha1kdf", hashes.SHA1()),  # noqa: S303
    oids.DH_SINGLE_PASS_COFACTOR_DH_SHA224KDF: Scheme("ecdh-sha224kdf", hashes.SHA224()),
    oids.DH_SINGLE_PASS_COFACTOR_DH_SHA256KDF: Scheme("ecdh-sha256kdf", hashes.SHA256()),
    oids.DH_SINGLE_PASS_COFACTOR_DH_SHA384KDF: Scheme("ecdh-sha384kdf", hashes.SHA384()),
    oids.DH_SINGLE_PASS_COFACTOR_DH_SHA512KDF: Scheme("ecdh-sha512kdf", hashes.SHA512()),
    oids.DH_SINGLE_PASS_STD_HKDF_SHA256: Scheme("ecdh-hkdf-sha256", hashes.SHA256(), salted=True),
    oids.DH_SINGLE_PASS_STD_HKDF_SHA384: Scheme("ecdh-hkdf-sha384", hashes.SHA384(), salted=True),
    oids.DH_SINGLE_PASS_STD_HKDF_SHA512: Scheme("ecdh-hkdf-sha512", hashes.SHA512(), salted=True),
}


_SUPP_PUB_INFO: Final = {
    wrap.length: der.explicit(2, der.octet_string((wrap.length * 8).to_bytes(4, "big"))) for wrap in WRAPS.values()
}

# what we write: RFC 5753 8, RFC 8418; decisions A-46
_CURVES: Final = {
    "secp256r1": oids.DH_SINGLE_PASS_STD_SHA256KDF,
    "secp384r1": oids.DH_SINGLE_PASS_STD_SHA384KDF,
    "secp521r1": oids.DH_SINGLE_PASS_STD_SHA512KDF,
}
_EC_KEY: Final = der.sequence(der.oid(oids.EC_PUBLIC_KEY))
_X25519_KEY: Final = der.sequence(der.oid(oids.X25519))
_X448_KEY: Final = der.sequence(der.oid(oids.X448))


@dataclass(frozen=True, slots=True)
class KeyAgreement:
    """A kari. Its recipients stand in `keys`, each at the position its identifier has in `identifiers`."""

    kind: ClassVar[Literal["kari"]] = "kari"

    version: int
    originator: OriginatorPublicKey | Identifier
    ukm: bytes | None
    algorithm: AlgorithmIdentifier
    keys: tuple[RecipientEncryptedKey, ...]

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        return tuple(key.identifier for key in self.keys)

    @property
    def management(self) -> str:
        """What the sender did, for people and for policy: the name in `SCHEMES`, or the OID."""
        scheme = SCHEMES.get(self.algorithm.oid)
        return scheme.name if scheme else self.algorithm.oid

    @property
    def outdated(self) -> bool:
        wrap = self._wrap()
        return wrap is not None and wrap.status is Status.REFUSED

    def recover(
        self, position: int, credential: Credential, length: int, originator_certificates: Sequence[Certificate]
    ) -> bytes:
        """The content encryption key for the recipient at `position`; a random one of that length if there is none.

        Raises StoreUnavailable if the private key cannot be reached now, and nothing else.
        """
        instead = os.urandom(length)
        try:
            key = self._agree(self.keys[position].encrypted_key, credential, originator_certificates)
        except StoreUnavailable:
            raise
        except (DomsecError, ValueError, InvalidUnwrap, UnsupportedAlgorithm):
            return instead
        return key if len(key) == length else instead

    def _agree(self, encrypted_key: bytes, credential: Credential, certificates: Sequence[Certificate]) -> bytes:
        scheme, wrap = SCHEMES.get(self.algorithm.oid), self._wrap()
        if scheme is None or self.algorithm.parameters is None:
            raise Unsupported(f"key agreement {self.algorithm.oid}")
        if wrap is None:
            raise Unsupported("an unknown key wrap")
        theirs = _originator_key(self.originator, credential.certificate.public_key, certificates)
        key = scheme.derive(credential.exchange(theirs), self.algorithm.parameters, wrap.length, self.ukm)
        return wrap.unwrap(key, encrypted_key)

    def _wrap(self) -> Wrap | None:
        """The row of the key wrap, which stands in the parameters (RFC 5753 3.1.1)."""
        try:
            return WRAPS.get(parse_algorithm(self.algorithm.parameters or b"").oid)
        except MalformedMessage:
            return None


def _originator_key(
    originator: OriginatorPublicKey | Identifier, own: PublicKeyTypes, certificates: Sequence[Certificate]
) -> AgreementKey:
    """The sender's public key. Raises ValueError for a point off the curve, Unsupported, MalformedMessage."""
    if not isinstance(originator, OriginatorPublicKey):
        for certificate in certificates:
            key = certificate.public_key
            if originator.matches(certificate) and isinstance(key, AgreementKey):
                return key
        raise Unsupported("the certificate of the originator's static key is not in the message")
    kind = originator.algorithm.oid
    if kind == oids.X25519:
        return X25519PublicKey.from_public_bytes(originator.point)
    if kind == oids.X448:
        return X448PublicKey.from_public_bytes(originator.point)
    if kind != oids.EC_PUBLIC_KEY or not isinstance(own, EllipticCurvePublicKey):
        raise Unsupported(f"an originator key {kind} for another kind of recipient key")
    # RFC 5753 3.1.1: parameters absent, NULL, or the name of the recipient's curve
    parameters = originator.algorithm.parameters
    if parameters not in (None, _NULL, _CURVE_PARAMETERS.get(own.curve.name)):
        raise MalformedMessage("an originator key on another curve than the recipient's")
    return EllipticCurvePublicKey.from_encoded_point(own.curve, originator.point)


_NULL: Final = der.null()
_CURVE_PARAMETERS: Final = {
    "secp256r1": der.oid(oids.SECP256R1),
    "secp384r1": der.oid(oids.SECP384R1),
    "secp521r1": der.oid(oids.SECP521R1),
}


def shared_info(wrap: bytes, length: int, ukm: bytes | None) -> bytes:
    """ECC-CMS-SharedInfo in DER (RFC 5753 7.2), for a key encryption key of `length` octets."""
    return der.sequence(
        wrap,
        b"" if ukm is None else der.explicit(0, der.octet_string(ukm)),
        _SUPP_PUB_INFO[length],
    )


def parse(reader: Reader, limits: Limits) -> KeyAgreement:
    """The kari that comes next. Raises MalformedMessage, LimitExceeded."""
    reader.enter(TAG)
    version = reader.integer()
    reader.enter(context(0))
    originator = _read_originator(reader)
    reader.leave()
    ukm = None
    if reader.peek() == context(1):
        reader.enter(context(1))
        ukm = bytes(reader.octet_string())
        reader.leave()
    algorithm = read_algorithm(reader)
    keys: list[RecipientEncryptedKey] = []
    reader.enter(der.SEQUENCE)
    while not reader.at_end():
        if len(keys) >= limits.recipients:
            raise LimitExceeded("recipients")
        reader.enter(der.SEQUENCE)
        identifier = _read_recipient(reader)
        keys.append(RecipientEncryptedKey(identifier, bytes(reader.octet_string())))
        reader.leave()
    reader.leave()
    reader.leave()
    return KeyAgreement(version, originator, ukm, algorithm, tuple(keys))


def _read_originator(reader: Reader) -> OriginatorPublicKey | Identifier:
    if reader.peek() == der.SEQUENCE:
        return read_issuer_and_serial(reader)
    if reader.peek() != context(1):
        return SubjectKeyIdentifier(bytes(reader.octet_string(context(0, constructed=False))))
    reader.enter(context(1))
    algorithm = read_algorithm(reader)
    bits = bytes(reader.primitive(der.BIT_STRING))
    reader.leave()
    if not bits or bits[0]:
        raise MalformedMessage("an originator key that is not whole octets")
    return OriginatorPublicKey(algorithm, bits[1:])


def _read_recipient(reader: Reader) -> Identifier:
    """KeyAgreeRecipientIdentifier; date and other of an rKeyId name the key no further and are passed over."""
    if reader.peek() == der.SEQUENCE:
        return read_issuer_and_serial(reader)
    reader.enter(context(0))
    identifier = SubjectKeyIdentifier(bytes(reader.octet_string()))
    while not reader.at_end():
        reader.skip()
    reader.leave()
    return identifier


def build(key: bytes, recipient: Certificate, *, padding: object = None, by_key_identifier: bool = False) -> bytes:
    """A kari that gives `key` to one recipient, with a wrap of the size of `key` (RFC 8551 2.3). There is no padding.

    Raises Unsupported for a curve that is not in the tables, MalformedMessage for a key that cannot be loaded.
    """
    theirs = recipient.public_key
    if isinstance(theirs, EllipticCurvePublicKey):
        scheme = _CURVES.get(theirs.curve.name)
        if scheme is None:
            raise Unsupported(f"curve {theirs.curve.name}")
        ephemeral = generate_private_key(theirs.curve)
        secret = ephemeral.exchange(ECDH(), theirs)
        algorithm, point = _EC_KEY, ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    elif isinstance(theirs, X25519PublicKey):
        scheme, algorithm = oids.DH_SINGLE_PASS_STD_HKDF_SHA256, _X25519_KEY
        ephemeral_x = X25519PrivateKey.generate()
        secret, point = ephemeral_x.exchange(theirs), ephemeral_x.public_key().public_bytes_raw()
    elif isinstance(theirs, X448PublicKey):
        scheme, algorithm = oids.DH_SINGLE_PASS_STD_HKDF_SHA512, _X448_KEY
        ephemeral_4 = X448PrivateKey.generate()
        secret, point = ephemeral_4.exchange(theirs), ephemeral_4.public_key().public_bytes_raw()
    else:
        raise Unsupported("key agreement with a key that has no curve")
    wrap = WRAP_OF_SIZE[len(key)]
    ukm = os.urandom(UKM_LENGTH)
    wrapped = aes_key_wrap(SCHEMES[scheme].derive(secret, wrap, len(key), ukm), key)
    return der.tlv(
        TAG,
        _VERSION,
        der.explicit(0, der.tlv(context(1), algorithm, der.bit_string(point))),
        der.explicit(1, der.octet_string(ukm)),
        der.sequence(der.oid(scheme), wrap),
        der.sequence(der.sequence(_recipient_identifier(recipient, by_key_identifier), der.octet_string(wrapped))),
    )


def _recipient_identifier(recipient: Certificate, by_key_identifier: bool) -> bytes:
    if by_key_identifier and recipient.ski is not None:
        return der.tlv(context(0), der.octet_string(recipient.ski))
    return issuer_and_serial(recipient)
