"""Which algorithms there are, and what each asks of keys and digests: tables, one row an algorithm.

RSA (RFC 4056, 5754, 8017), ECDSA (RFC 5754), Ed25519 (RFC 8419), ML-DSA (RFC 9882); digests of RFC 5754. A new
algorithm is a new row. Every row has a status: `ALLOWED`; `READ_ONLY`, verified but never made; `REFUSED`, verified
only so that one can say what a signature would be worth had its algorithm not been broken (decisions A-46, A-47).
"""

from __future__ import annotations

import enum
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

from domsec import der, oids
from domsec.cms.certificates import Certificate
from domsec.errors import KeyUnusable, LimitExceeded, MalformedMessage, SignatureInvalid, Unsupported
from domsec.limits import DEFAULT, Limits
from domsec.octets import Octets

if TYPE_CHECKING:
    from hashlib import _Hash

    from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS_MADE: Final = 4096
_SHORT: Final = 512  # longer identifiers are not worth remembering
_NULL: Final = der.null()


class Status(enum.Enum):
    ALLOWED = "allowed"
    READ_ONLY = "read_only"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class AlgorithmIdentifier:
    """RFC 5280 4.1.1.2. `parameters` is a whole value; `raw` the identifier as received, or as it will be sent."""

    oid: str
    parameters: bytes | None
    raw: bytes

    def same_as(self, other: AlgorithmIdentifier) -> bool:
        """Whether both mean the same; absent and NULL parameters do (RFC 5754 2)."""
        return self.oid == other.oid and (self.parameters or _NULL) == (other.parameters or _NULL)


def algorithm_identifier(oid: str, parameters: bytes | None = None) -> AlgorithmIdentifier:
    """One to send."""
    return AlgorithmIdentifier(oid, parameters, der.sequence(der.oid(oid), parameters or b""))


def read_algorithm(reader: der.Reader) -> AlgorithmIdentifier:
    """The AlgorithmIdentifier that comes next. Raises MalformedMessage."""
    if reader.peek() != der.SEQUENCE:
        raise MalformedMessage("an algorithm identifier is missing")
    return parse_algorithm(bytes(reader.skip()))


def parse_algorithm(raw: bytes) -> AlgorithmIdentifier:
    """Raises MalformedMessage."""
    return _remembered(raw) if len(raw) <= _SHORT else _parse(raw)


def _parse(raw: bytes, tag: int = der.SEQUENCE) -> AlgorithmIdentifier:
    reader = der.Reader(raw)
    reader.enter(tag)
    oid = reader.oid()
    parameters = None if reader.at_end() else bytes(reader.skip())
    reader.leave()
    reader.end()
    return AlgorithmIdentifier(oid, parameters, raw)


_remembered = functools.lru_cache(maxsize=512)(_parse)


# --- digests ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Digest:
    """A hash function. `micalg` is its name in multipart/signed (RFC 8551 3.5.3.2)."""

    oid: str
    name: str
    micalg: str
    new: Callable[[], _Hash]
    pyca: hashes.HashAlgorithm
    status: Status
    identifier: AlgorithmIdentifier


def _md5() -> _Hash:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> _Hash:
    return hashlib.sha1(usedforsecurity=False)


def _digest(oid: str, micalg: str, new: Callable[[], _Hash], pyca: hashes.HashAlgorithm, status: Status) -> Digest:
    # RFC 5754 2: parameters are omitted
    return Digest(oid, micalg.replace("-", ""), micalg, new, pyca, status, algorithm_identifier(oid))


DIGESTS: Final[dict[str, Digest]] = {
    row.oid: row
    for row in (
        _digest(oids.SHA256, "sha-256", hashlib.sha256, hashes.SHA256(), Status.ALLOWED),
        _digest(oids.SHA384, "sha-384", hashlib.sha384, hashes.SHA384(), Status.ALLOWED),
        _digest(oids.SHA512, "sha-512", hashlib.sha512, hashes.SHA512(), Status.ALLOWED),
        _digest(oids.SHA224, "sha-224", hashlib.sha224, hashes.SHA224(), Status.READ_ONLY),
        _digest(oids.SHA1, "sha-1", _sha1, hashes.SHA1(), Status.REFUSED),  # noqa: S303
        _digest(oids.MD5, "md5", _md5, hashes.MD5(), Status.REFUSED),  # noqa: S303
    )
}
DIGESTS_BY_NAME: Final = {row.name: row for row in DIGESTS.values()}


def find_digest(algorithm: AlgorithmIdentifier) -> Digest:
    """The row of a digestAlgorithm, parameters absent or NULL (RFC 5754 2). Raises Unsupported, MalformedMessage."""
    row = DIGESTS.get(algorithm.oid)
    if row is None:
        raise Unsupported(f"digest algorithm {oids.name(algorithm.oid)}")
    if algorithm.parameters not in (None, _NULL):
        raise MalformedMessage(f"digest algorithm {row.name} with parameters")
    return row


# --- signatures ------------------------------------------------------------------------------------------------------

Verify = Callable[[PublicKeyTypes, bytes, Octets], None]  # key, signature, data; raises InvalidSignature
Sign = Callable[[PrivateKeyTypes, bytes], bytes]


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """One way to sign, digest included. `keys` are the key algorithms of certificates it goes with."""

    name: str
    identifier: AlgorithmIdentifier
    digest: Digest
    keys: tuple[str, ...]
    curve: str | None  # made on this curve only; read on any known one
    verify: Verify
    sign: Sign
    status: Status

    @property
    def oid(self) -> str:
        return self.identifier.oid

    def __hash__(self) -> int:
        return hash(self.name)


def _rsa_operations(pad: AsymmetricPadding, digest: hashes.HashAlgorithm) -> tuple[Verify, Sign]:
    def verify(key: PublicKeyTypes, signature: bytes, data: Octets) -> None:
        cast(rsa.RSAPublicKey, key).verify(signature, cast(bytes, data), pad, digest)  # any buffer will do

    def sign(key: PrivateKeyTypes, data: bytes) -> bytes:
        return cast(rsa.RSAPrivateKey, key).sign(data, pad, digest)

    return verify, sign


def _ecdsa_operations(digest: hashes.HashAlgorithm) -> tuple[Verify, Sign]:
    scheme = ec.ECDSA(digest)

    def verify(key: PublicKeyTypes, signature: bytes, data: Octets) -> None:
        cast(ec.EllipticCurvePublicKey, key).verify(signature, data, scheme)

    def sign(key: PrivateKeyTypes, data: bytes) -> bytes:
        return cast(ec.EllipticCurvePrivateKey, key).sign(data, scheme)

    return verify, sign


def _dsa_operations(digest: hashes.HashAlgorithm) -> tuple[Verify, Sign]:
    def verify(key: PublicKeyTypes, signature: bytes, data: Octets) -> None:
        cast(dsa.DSAPublicKey, key).verify(signature, data, digest)

    return verify, _never


def _never(key: PrivateKeyTypes, data: bytes) -> bytes:
    raise KeyUnusable("this algorithm is never used to sign")


def _verify_pure(key: PublicKeyTypes, signature: bytes, data: Octets) -> None:
    cast(ed25519.Ed25519PublicKey, key).verify(signature, data)  # ML-DSA keys have the same method, context empty


def _sign_pure(key: PrivateKeyTypes, data: bytes) -> bytes:
    return cast(ed25519.Ed25519PrivateKey, key).sign(data)


_RSA_KEYS: Final = (oids.RSA_ENCRYPTION,)
_PSS_KEYS: Final = (oids.RSA_ENCRYPTION, oids.RSASSA_PSS)
_EC_KEYS: Final = (oids.EC_PUBLIC_KEY,)


def _weaker(one: Status, other: Status) -> Status:
    return max(one, other, key=tuple(Status).index)


def _rsa(oid: str, digest_oid: str) -> SignatureAlgorithm:
    digest = DIGESTS[digest_oid]
    # RFC 5754 3.2: the parameters are NULL
    identifier = algorithm_identifier(oid, _NULL)
    operations = _rsa_operations(padding.PKCS1v15(), digest.pyca)
    return SignatureAlgorithm(f"rsa-{digest.name}", identifier, digest, _RSA_KEYS, None, *operations, digest.status)


def _ecdsa(oid: str, digest_oid: str, curve: str | None, status: Status) -> SignatureAlgorithm:
    digest = DIGESTS[digest_oid]
    operations = _ecdsa_operations(digest.pyca)
    status = _weaker(status, digest.status)
    return SignatureAlgorithm(
        f"ecdsa-{digest.name}", algorithm_identifier(oid), digest, _EC_KEYS, curve, *operations, status
    )


def _dsa(oid: str, digest_oid: str) -> SignatureAlgorithm:
    digest = DIGESTS[digest_oid]
    operations = _dsa_operations(digest.pyca)
    name = f"dsa-{digest.name}"
    return SignatureAlgorithm(
        name, algorithm_identifier(oid), digest, (oids.ID_DSA,), None, *operations, Status.REFUSED
    )


def _pure(oid: str, name: str, digest_oid: str, status: Status) -> SignatureAlgorithm:
    return SignatureAlgorithm(
        name, algorithm_identifier(oid), DIGESTS[digest_oid], (oid,), None, _verify_pure, _sign_pure, status
    )


# Signature OIDs that say the digest themselves, or whose digest is one of several the digestAlgorithm chooses from.
# The first row of a name is the one used to sign.
_ROWS: Final[tuple[SignatureAlgorithm, ...]] = (
    *(
        _rsa(oid, digest)
        for oid, digest in (
            (oids.SHA256_WITH_RSA, oids.SHA256),
            (oids.SHA384_WITH_RSA, oids.SHA384),
            (oids.SHA512_WITH_RSA, oids.SHA512),
            (oids.SHA224_WITH_RSA, oids.SHA224),
            (oids.SHA1_WITH_RSA, oids.SHA1),
            (oids.MD5_WITH_RSA, oids.MD5),
        )
    ),
    # RFC 3370 3.2: rsaEncryption says nothing of the digest; most senders use it
    *(_rsa(oids.RSA_ENCRYPTION, digest) for digest in DIGESTS),
    _ecdsa(oids.ECDSA_WITH_SHA256, oids.SHA256, "secp256r1", Status.ALLOWED),
    _ecdsa(oids.ECDSA_WITH_SHA384, oids.SHA384, "secp384r1", Status.ALLOWED),
    _ecdsa(oids.ECDSA_WITH_SHA512, oids.SHA512, "secp521r1", Status.READ_ONLY),
    _ecdsa(oids.ECDSA_WITH_SHA1, oids.SHA1, None, Status.REFUSED),
    # some senders name the kind of key instead of the signature algorithm, as with RSA
    *(_ecdsa(oids.EC_PUBLIC_KEY, digest, None, Status.READ_ONLY) for digest in DIGESTS if digest != oids.MD5),
    _pure(oids.ED25519, "ed25519", oids.SHA512, Status.ALLOWED),
    _dsa(oids.DSA_WITH_SHA1, oids.SHA1),
    _dsa(oids.DSA_WITH_SHA256, oids.SHA256),
    *(_dsa(oids.ID_DSA, digest) for digest in (oids.SHA1, oids.SHA256)),
    # RFC 9882 3.3: SHA-512 goes with every one, and smaller digests with smaller parameter sets
    _pure(oids.ML_DSA_44, "ml-dsa-44", oids.SHA512, Status.ALLOWED),
    _pure(oids.ML_DSA_44, "ml-dsa-44-sha384", oids.SHA384, Status.READ_ONLY),
    _pure(oids.ML_DSA_44, "ml-dsa-44-sha256", oids.SHA256, Status.READ_ONLY),
    _pure(oids.ML_DSA_65, "ml-dsa-65", oids.SHA512, Status.ALLOWED),
    _pure(oids.ML_DSA_65, "ml-dsa-65-sha384", oids.SHA384, Status.READ_ONLY),
    _pure(oids.ML_DSA_87, "ml-dsa-87", oids.SHA512, Status.ALLOWED),
)

SIGNATURES: Final[dict[tuple[str, str], SignatureAlgorithm]] = {(row.oid, row.digest.oid): row for row in _ROWS}
_KNOWN: Final = {row.oid for row in _ROWS} | {oids.RSASSA_PSS}
_KINDS_OF_KEY: Final = (oids.RSA_ENCRYPTION, oids.EC_PUBLIC_KEY, oids.ID_DSA)  # which say nothing of the digest
_SELF_CONTAINED: Final = {row.oid: row for row in reversed(_ROWS) if row.oid not in _KINDS_OF_KEY}

RSA_SHA256: Final = SIGNATURES[oids.SHA256_WITH_RSA, oids.SHA256]
RSA_SHA384: Final = SIGNATURES[oids.SHA384_WITH_RSA, oids.SHA384]
RSA_SHA512: Final = SIGNATURES[oids.SHA512_WITH_RSA, oids.SHA512]
ECDSA_SHA256: Final = SIGNATURES[oids.ECDSA_WITH_SHA256, oids.SHA256]
ECDSA_SHA384: Final = SIGNATURES[oids.ECDSA_WITH_SHA384, oids.SHA384]
ED25519: Final = SIGNATURES[oids.ED25519, oids.SHA512]


def rsa_pss(digest_oid: str, *, mask_digest: str | None = None, salt_length: int | None = None) -> SignatureAlgorithm:
    """RSASSA-PSS (RFC 4056): the same digest throughout and a salt as long as it, unless said otherwise."""
    usual_salt = DIGESTS[digest_oid].new().digest_size
    return _pss_row(digest_oid, mask_digest or digest_oid, usual_salt if salt_length is None else salt_length)


@functools.lru_cache(maxsize=128)
def _pss_row(digest_oid: str, mask_oid: str, salt: int) -> SignatureAlgorithm:
    digest, mask = DIGESTS[digest_oid], DIGESTS[mask_oid]
    parameters = der.sequence(
        der.explicit(0, digest.identifier.raw),
        der.explicit(1, der.sequence(der.oid(oids.MGF1), mask.identifier.raw)),
        der.explicit(2, der.integer(salt)),
    )
    operations = _rsa_operations(padding.PSS(padding.MGF1(mask.pyca), salt), digest.pyca)
    usual = mask is digest and salt == digest.new().digest_size
    return SignatureAlgorithm(
        f"rsa-pss-{digest.name}" if usual else f"rsa-pss-{digest.name}-{mask.name}-{salt}",
        algorithm_identifier(oids.RSASSA_PSS, parameters),
        digest,
        _PSS_KEYS,
        None,
        *operations,
        _weaker(digest.status, Status.ALLOWED if usual else Status.READ_ONLY),
    )


def find_signature(signature: AlgorithmIdentifier, digest: AlgorithmIdentifier) -> SignatureAlgorithm:
    """The row for the two identifiers of a SignerInfo.

    Raises Unsupported for what is not in the tables, SignatureInvalid where the digest is another than the one the
    signature algorithm implies (RFC 8933 3, 8419 3.1), MalformedMessage for parameters the algorithm does not have.
    """
    content_digest = find_digest(digest)
    if signature.oid not in _KNOWN:
        raise Unsupported(f"signature algorithm {oids.name(signature.oid)}")
    if signature.oid == oids.RSASSA_PSS:
        row: SignatureAlgorithm | None = _pss_of(signature.parameters)
    else:
        row = SIGNATURES.get((signature.oid, content_digest.oid))
        if signature.parameters not in (None, _NULL) and signature.oid not in (oids.ID_DSA, oids.EC_PUBLIC_KEY):
            raise MalformedMessage(f"signature algorithm {oids.name(signature.oid)} with parameters")
    if row is None or row.digest is not content_digest:
        name = oids.name(signature.oid)
        raise SignatureInvalid(f"digest algorithm {content_digest.name} does not go with signature algorithm {name}")
    return row


def self_contained(signature: AlgorithmIdentifier) -> SignatureAlgorithm:
    """The row of an identifier that says its digest itself, as on certificates and OCSP responses.

    Raises Unsupported for what is not in the tables, MalformedMessage for parameters of RSASSA-PSS that are none.
    """
    if signature.oid == oids.RSASSA_PSS:
        return _pss_of(signature.parameters)
    row = _SELF_CONTAINED.get(signature.oid)
    if row is None:
        raise Unsupported(f"signature algorithm {oids.name(signature.oid)}")
    return row


def _pss_of(parameters: bytes | None) -> SignatureAlgorithm:
    if parameters is None:
        # RFC 4055 3.1 and 4056 3: they must be there
        raise MalformedMessage("RSASSA-PSS without parameters")
    digest, mask, salt = _pss_parameters(parameters)
    return _pss_row(digest.oid, mask.oid, salt)


def _pss_parameters(raw: bytes) -> tuple[Digest, Digest, int]:
    """Digest, digest of the mask generation, length of the salt."""
    if len(raw) > _SHORT:
        raise MalformedMessage("RSASSA-PSS parameters of absurd size")
    return _read_pss(raw)


@functools.lru_cache(maxsize=128)
def _read_pss(raw: bytes) -> tuple[Digest, Digest, int]:
    digest, mask, salt = DIGESTS[oids.SHA1], DIGESTS[oids.SHA1], 20  # RFC 4055 3.1, what stands for absence
    reader = der.Reader(raw)
    reader.enter(der.SEQUENCE)
    if reader.peek() == der.context(0):
        digest = find_digest(_explicit_algorithm(reader, 0))
    if reader.peek() == der.context(1):
        mask = _mask_digest(_explicit_algorithm(reader, 1))
    if reader.peek() == der.context(2):
        reader.enter(der.context(2))
        salt = reader.integer()
        reader.leave()
    if reader.peek() == der.context(3):
        reader.enter(der.context(3))
        if reader.integer() != 1:
            raise Unsupported("RSASSA-PSS with another trailer field")
        reader.leave()
    reader.leave()
    reader.end()
    if not 0 <= salt <= DEFAULT.rsa_bits // 8:
        raise MalformedMessage("RSASSA-PSS with a salt of impossible length")
    return digest, mask, salt


def _explicit_algorithm(reader: der.Reader, number: int) -> AlgorithmIdentifier:
    reader.enter(der.context(number))
    found = read_algorithm(reader)
    reader.leave()
    return found


def _mask_digest(mask: AlgorithmIdentifier) -> Digest:
    if mask.oid != oids.MGF1:
        raise Unsupported(f"mask generation function {oids.name(mask.oid)}")
    if mask.parameters is None:
        raise MalformedMessage("MGF1 without a digest")
    return find_digest(parse_algorithm(mask.parameters))


def family(algorithm: SignatureAlgorithm) -> str:
    """Its name without what only varies it: a salt of RSASSA-PSS longer than usual, the digest beside ML-DSA."""
    if algorithm.oid == oids.RSASSA_PSS and algorithm.identifier.parameters is not None:
        digest, mask, salt = _pss_parameters(algorithm.identifier.parameters)
        usual = mask is digest and salt >= digest.new().digest_size
        return f"rsa-pss-{digest.name}" if usual else algorithm.name
    own = _SELF_CONTAINED.get(algorithm.oid)
    return own.name if own is not None else algorithm.name


_KINDS: Final[tuple[tuple[type[object], str], ...]] = (
    (rsa.RSAPublicKey, oids.RSA_ENCRYPTION),
    (ec.EllipticCurvePublicKey, oids.EC_PUBLIC_KEY),
    (ed25519.Ed25519PublicKey, oids.ED25519),
    (dsa.DSAPublicKey, oids.ID_DSA),
    (mldsa.MLDSA44PublicKey, oids.ML_DSA_44),
    (mldsa.MLDSA65PublicKey, oids.ML_DSA_65),
    (mldsa.MLDSA87PublicKey, oids.ML_DSA_87),
)


@functools.lru_cache(maxsize=32)
def _kind(key: type[object]) -> str | None:
    return next((oid for kind, oid in _KINDS if issubclass(key, kind)), None)


def key_algorithm(key: PublicKeyTypes) -> str | None:
    """The OID of a public key's kind, as it stands in certificates; None for what cannot sign."""
    return _kind(type(key))


_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


def check_signature(
    certificate: Certificate, algorithm: SignatureAlgorithm, signature: bytes, data: Octets, limits: Limits = DEFAULT
) -> tuple[str, ...]:
    """Whether the key in a certificate made a signature over `data`; gives what is weak about it.

    Says nothing about the certificate. Raises SignatureInvalid, Unsupported for a kind of key or a curve that is not in
    the tables, LimitExceeded for an RSA key slower than anybody needs, MalformedMessage for a key that is none.
    """
    key = certificate.public_key
    if certificate.key_algorithm not in algorithm.keys:
        found = oids.name(certificate.key_algorithm)
        raise SignatureInvalid(f"a signature by {algorithm.name} and a certificate for {found}")
    if certificate.key_algorithm == oids.RSASSA_PSS:
        _check_pss_key(certificate, algorithm)
    check_cost(key, limits)
    kind = key_algorithm(key)
    if kind == oids.EC_PUBLIC_KEY and cast(ec.EllipticCurvePublicKey, key).curve.name not in _CURVES:
        raise Unsupported(f"curve {cast(ec.EllipticCurvePublicKey, key).curve.name}")
    try:
        algorithm.verify(cast(PublicKeyTypes, key), signature, data)
    except (InvalidSignature, ValueError):
        raise SignatureInvalid("the signature does not fit content and key") from None
    except UnsupportedAlgorithm:
        raise Unsupported(f"signature algorithm {algorithm.name}") from None
    return weaknesses(key, algorithm)


def check_cost(key: object, limits: Limits = DEFAULT) -> None:
    """Make sure that checking a signature with this key takes no longer than it has to. Raises LimitExceeded.

    A modulus of 3072 bits may have an exponent as long: 16 ms instead of 0.2. OpenSSL bounds that of larger ones only.
    """
    if not isinstance(key, rsa.RSAPublicKey):
        return
    if key.key_size > limits.rsa_bits:
        raise LimitExceeded("rsa_bits")
    if key.public_numbers().e.bit_length() > limits.rsa_exponent_bits:
        raise LimitExceeded("rsa_exponent_bits")


def _check_pss_key(certificate: Certificate, algorithm: SignatureAlgorithm) -> None:
    """RFC 4055 3.3: parameters in the key bind those of the signature; its salt may only be longer."""
    reader = der.Reader(certificate.spki)
    reader.enter(der.SEQUENCE)
    bound = read_algorithm(reader).parameters
    if bound is None or algorithm.identifier.parameters is None:
        return
    digest, mask, salt = _pss_parameters(bound)
    used_digest, used_mask, used_salt = _pss_parameters(algorithm.identifier.parameters)
    if (digest, mask) != (used_digest, used_mask) or used_salt < salt:
        raise SignatureInvalid("RSASSA-PSS parameters other than the certificate allows")


def weaknesses(key: PublicKeyTypes, algorithm: SignatureAlgorithm) -> tuple[str, ...]:
    """What of a signature is too weak to believe today (A-47): `sha1`, `rsa-1024`, `dsa` and the like."""
    kind = key_algorithm(key)
    found = []
    if algorithm.digest.status is Status.REFUSED:
        found.append(algorithm.digest.name)
    if kind == oids.RSA_ENCRYPTION and cast(rsa.RSAPublicKey, key).key_size < MIN_RSA_BITS:
        found.append(f"rsa-{cast(rsa.RSAPublicKey, key).key_size}")
    if kind == oids.ID_DSA:
        found.append("dsa")
    if not found and algorithm.status is Status.REFUSED:
        found.append(algorithm.name)
    return tuple(found)


def default_signature_algorithm(
    key: PublicKeyTypes, *, pss: bool = False, digest: str | None = None
) -> SignatureAlgorithm:
    """How to sign with a key: the digest that fits it, or the one asked for by OID.

    Raises KeyUnusable if the key may not sign or the digest does not go with it.
    """
    if isinstance(key, rsa.RSAPublicKey):
        row = _rsa_default(digest or oids.SHA256, pss=pss)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        row = next((row for row in _ROWS if row.curve == key.curve.name), None)
    else:
        oid = key_algorithm(key)
        row = SIGNATURES.get((oid or "", oids.SHA512))
    if row is None or digest not in (None, row.digest.oid):
        raise KeyUnusable("no signature algorithm for this kind of key and digest")
    check_signing_key(key, row)
    return row


def _rsa_default(digest: str, *, pss: bool) -> SignatureAlgorithm | None:
    if digest not in DIGESTS:
        return None
    return rsa_pss(digest) if pss else next(row for row in _ROWS if row.keys == _RSA_KEYS and row.digest.oid == digest)


def check_signing_key(key: PublicKeyTypes, algorithm: SignatureAlgorithm) -> None:
    """Make sure that we may sign so (A-46, RFC 8551 4). Raises KeyUnusable."""
    if algorithm.status is not Status.ALLOWED:
        raise KeyUnusable(f"{algorithm.name} is not used to sign")
    if key_algorithm(key) not in algorithm.keys:
        raise KeyUnusable(f"the key cannot sign with {algorithm.name}")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name != algorithm.curve:
        raise KeyUnusable(f"a key on curve {key.curve.name} does not sign with {algorithm.name}")
    if isinstance(key, rsa.RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS_MADE:
        raise KeyUnusable(f"an RSA key of {key.key_size} bits does not sign")


# --- RSA key transport: the padding is asked for where the private key is --------------------------------------------

_OAEP_SHA1: Final = DIGESTS[oids.SHA1]


def key_transport_padding(algorithm: AlgorithmIdentifier) -> AsymmetricPadding:
    """PKCS#1 v1.5 or OAEP (RFC 4055 4.1, 3560), as a keyEncryptionAlgorithm says.

    Raises Unsupported, MalformedMessage.
    """
    return _padding(algorithm) if len(algorithm.raw) <= _SHORT else _padding.__wrapped__(algorithm)


@functools.lru_cache(maxsize=64)
def _padding(algorithm: AlgorithmIdentifier) -> AsymmetricPadding:
    scheme = key_transport(algorithm)
    if scheme is None:
        return padding.PKCS1v15()
    return padding.OAEP(padding.MGF1(scheme.mask.pyca), scheme.digest.pyca, scheme.label or None)


@dataclass(frozen=True, slots=True)
class Oaep:
    """RSAES-OAEP-params (RFC 4055 4.1)."""

    digest: Digest
    mask: Digest
    label: bytes


def key_transport(algorithm: AlgorithmIdentifier) -> Oaep | None:
    """What a keyEncryptionAlgorithm says: OAEP with its parameters, or None for PKCS#1 v1.5.

    Raises Unsupported, MalformedMessage.
    """
    if algorithm.oid == oids.RSA_ENCRYPTION:
        return None
    if algorithm.oid != oids.RSAES_OAEP:
        raise Unsupported(f"key transport {oids.name(algorithm.oid)}")
    digest, mask, label = _OAEP_SHA1, _OAEP_SHA1, b""
    if algorithm.parameters is not None:
        reader = der.Reader(algorithm.parameters)
        reader.enter(der.SEQUENCE)
        if reader.peek() == der.context(0):
            digest = find_digest(_explicit_algorithm(reader, 0))
        if reader.peek() == der.context(1):
            mask = _mask_digest(_explicit_algorithm(reader, 1))
        if reader.peek() == der.context(2):
            source = _explicit_algorithm(reader, 2)
            if source.oid != oids.P_SPECIFIED or source.parameters is None:
                raise Unsupported("OAEP with a label from elsewhere")
            label = bytes(der.Reader(source.parameters).octet_string())
        reader.leave()
        reader.end()
    return Oaep(digest, mask, label)


def oaep(digest_oid: str = oids.SHA256) -> AlgorithmIdentifier:
    """The identifier of OAEP with one digest throughout and no label."""
    digest = DIGESTS[digest_oid].identifier.raw
    parameters = der.sequence(der.explicit(0, digest), der.explicit(1, der.sequence(der.oid(oids.MGF1), digest)))
    return algorithm_identifier(oids.RSAES_OAEP, parameters)


def encrypt_key(key: rsa.RSAPublicKey, content_key: bytes, algorithm: AlgorithmIdentifier) -> bytes:
    """Key transport. Raises Unsupported for another algorithm, ValueError for a key too short for it."""
    return key.encrypt(content_key, key_transport_padding(algorithm))
