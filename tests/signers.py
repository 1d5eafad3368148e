"""Credentials of every kind that signs, made once for a run.

Certificates are self-signed and say what they must and no more: whoever tests mathematics needs no trust.
"""

from __future__ import annotations

import functools
import warnings
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

from domsec.cms.certificates import Certificate
from domsec.cms.credential import PrivateKeyCredential, credential_from_private_key

NOW: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

_NEW: Final = {
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
    "rsa2047": lambda: rsa.generate_private_key(65537, 2047),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "dsa": lambda: dsa.generate_private_key(2048),
    "mldsa44": mldsa.MLDSA44PrivateKey.generate,
    "mldsa65": mldsa.MLDSA65PrivateKey.generate,
    "mldsa87": mldsa.MLDSA87PrivateKey.generate,
}


def key(kind: str, which: int = 0) -> CertificateIssuerPrivateKeyTypes:
    """`which` tells keys of one kind apart."""
    return _key(kind, which)


@functools.cache
def _key(kind: str, which: int) -> CertificateIssuerPrivateKeyTypes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of short keys and old kinds
        return _NEW[kind]()


def certificate_for(
    private: CertificateIssuerPrivateKeyTypes, *, name: str = "signer", serial: int = 1, key_identifier: bool = True
) -> Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    builder = (
        x509.CertificateBuilder(subject, subject, private.public_key(), serial)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2030, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if key_identifier:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
    hashed = isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = builder.sign(private, hashes.SHA256() if hashed else None)
    return Certificate(made.public_bytes(serialization.Encoding.DER))


def credential(kind: str, which: int = 0) -> PrivateKeyCredential:
    return _credential(kind, which)


@functools.cache
def _credential(kind: str, which: int) -> PrivateKeyCredential:
    private = key(kind, which)
    return credential_from_private_key(private, certificate_for(private, name=f"{kind}-{which}", serial=1000 + which))
