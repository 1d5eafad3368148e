"""What a certificate may be used for (RFC 8550 4.4, RFC 5280 4.2.1.3 and 4.2.1.12, decisions A-45 and A-46).

Each function lists what stands against a use, in words; an empty answer means nothing does. Whether anybody vouches for
the certificate is another question (`domsec.trust.path`).
"""

from __future__ import annotations

import functools
from typing import Final

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, mlkem, rsa, x448, x25519

from domsec import oids
from domsec.cms.attributes import read_smime_capabilities
from domsec.cms.certificates import Certificate
from domsec.der import BIT_STRING, BOOLEAN, SEQUENCE, Reader
from domsec.errors import DomsecError, MalformedMessage
from domsec.limits import DEFAULT

BASIC_CONSTRAINTS: Final = "2.5.29.19"
KEY_USAGE: Final = "2.5.29.15"
EXTENDED_KEY_USAGE: Final = "2.5.29.37"

MIN_RSA_BITS: Final = 2048  # RFC 8550 4.3 allows 1024 for old mail; decisions A-46 does not
MAX_RSA_BITS: Final = 8192  # what checking one signature may cost
MAX_RSA_EXPONENT_BITS: Final = DEFAULT.rsa_exponent_bits
MIN_EC_BITS: Final = 224

# RFC 5280 4.2.1.3, by number of the bit
KEY_USAGE_BITS: Final = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)

_SIGNING_KEYS = (
    rsa.RSAPublicKey,
    ec.EllipticCurvePublicKey,
    ed25519.Ed25519PublicKey,
    ed448.Ed448PublicKey,
    mldsa.MLDSA44PublicKey,
    mldsa.MLDSA65PublicKey,
    mldsa.MLDSA87PublicKey,
)
_TRANSPORT_KEYS = (rsa.RSAPublicKey, mlkem.MLKEM768PublicKey, mlkem.MLKEM1024PublicKey)  # RFC 9935 5 for the latter
_AGREEMENT_KEYS = (ec.EllipticCurvePublicKey, x25519.X25519PublicKey, x448.X448PublicKey)


@functools.lru_cache(maxsize=4096)
def signing_problems(certificate: Certificate) -> tuple[str, ...]:
    """What stands against verifying signatures with this certificate."""
    return (*_signature_usage(certificate), *_purpose(certificate), *_signing_key(certificate))


@functools.lru_cache(maxsize=4096)
def encryption_problems(certificate: Certificate) -> tuple[str, ...]:
    """What stands against encrypting to this certificate."""
    return (*_decryption(certificate), *_purpose(certificate))


def is_ca(certificate: Certificate) -> bool:
    """Whether basicConstraints say CA (RFC 5280 4.2.1.9). Raises MalformedMessage."""
    value = certificate.extension(BASIC_CONSTRAINTS)
    if value is None:
        return False
    reader = Reader(value)
    reader.enter(SEQUENCE)
    return reader.peek() == BOOLEAN and reader.boolean()


def key_usage(certificate: Certificate) -> frozenset[str] | None:
    """The names of the bits that are set; None without the extension, which means all. Raises MalformedMessage."""
    value = certificate.extension(KEY_USAGE)
    if value is None:
        return None
    reader = Reader(value)
    content = bytes(reader.primitive(BIT_STRING))
    reader.end()
    if not content or content[0] > 7 or len(content) > 3:
        raise MalformedMessage("a key usage that is no string of bits")
    bits = "".join(f"{octet:08b}" for octet in content[1:])
    return frozenset(name for name, bit in zip(KEY_USAGE_BITS, bits, strict=False) if bit == "1")


def extended_key_usage(certificate: Certificate) -> tuple[str, ...] | None:
    """The purposes as OIDs; None without the extension, which means any. Raises MalformedMessage."""
    value = certificate.extension(EXTENDED_KEY_USAGE)
    if value is None:
        return None
    reader = Reader(value)
    reader.enter(SEQUENCE)
    purposes = []
    while not reader.at_end():
        purposes.append(reader.oid())
    reader.leave()
    reader.end()
    return tuple(purposes)


@functools.lru_cache(maxsize=4096)
def capabilities(certificate: Certificate) -> frozenset[str]:
    """The algorithms that a certificate says its owner takes (RFC 4262); empty where it says nothing to be read."""
    try:
        value = certificate.extension(oids.SMIME_CAPABILITIES)
        return frozenset(a.oid for a in read_smime_capabilities(value)) if value is not None else frozenset()
    except MalformedMessage:
        return frozenset()


def for_mail(certificate: Certificate) -> bool:
    """Whether the extended key usage allows mail: absent, emailProtection or any. Raises MalformedMessage."""
    purposes = extended_key_usage(certificate)
    return purposes is None or oids.ID_KP_EMAIL_PROTECTION in purposes or oids.ANY_EXTENDED_KEY_USAGE in purposes


def weak_key(key: object) -> str | None:
    """Why a public key is below the floor of decisions A-46, or None."""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            return f"an RSA key of {key.key_size} bits, at least {MIN_RSA_BITS} are needed"
        if key.key_size > MAX_RSA_BITS:
            return f"an RSA key of {key.key_size} bits, more than {MAX_RSA_BITS} are not processed"
        if key.public_numbers().e.bit_length() > MAX_RSA_EXPONENT_BITS:
            return f"an RSA key with an exponent of more than {MAX_RSA_EXPONENT_BITS} bits is not processed"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < MIN_EC_BITS:
        return f"an elliptic curve key of {key.key_size} bits, at least {MIN_EC_BITS} are needed"
    if isinstance(key, dsa.DSAPublicKey):
        return "a DSA key, which is no longer accepted"
    return None


def _signature_usage(certificate: Certificate) -> tuple[str, ...]:
    # 8550:4.4.2  absent means both are set
    try:
        bits = key_usage(certificate)
    except MalformedMessage as error:
        return (str(error),)
    if bits is None or bits & {"digitalSignature", "nonRepudiation"}:
        return ()
    return ("key usage has neither digitalSignature nor nonRepudiation",)


def _purpose(certificate: Certificate) -> tuple[str, ...]:
    # 8550:4.4.4
    try:
        return () if for_mail(certificate) else ("extended key usage has neither emailProtection nor any",)
    except MalformedMessage as error:
        return (f"extended key usage cannot be read: {error}",)


def _signing_key(certificate: Certificate) -> tuple[str, ...]:
    try:
        key = certificate.public_key
    except DomsecError as error:
        return (str(error),)
    if weakness := weak_key(key):
        return (weakness,)
    return () if isinstance(key, _SIGNING_KEYS) else ("this kind of key cannot sign",)


def _decryption(certificate: Certificate) -> tuple[str, ...]:
    try:
        key = certificate.public_key
        bits = key_usage(certificate)
    except DomsecError as error:
        return (str(error),)
    if weakness := weak_key(key):
        return (weakness,)
    if isinstance(key, _TRANSPORT_KEYS):
        needed = "keyEncipherment"
    elif isinstance(key, _AGREEMENT_KEYS):
        needed = "keyAgreement"
    else:
        return ("this kind of key cannot decrypt",)
    if bits is None:
        return ()
    if needed not in bits:
        return (f"key usage has no {needed}",)
    if needed == "keyAgreement" and "encipherOnly" in bits:
        return ("key usage is encipherOnly, so its owner may not decrypt",)
    return ()
