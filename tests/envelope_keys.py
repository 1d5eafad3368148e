"""Keys to encrypt to, of every kind, each made once for a test run; and a way to change a message in one place."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domsec import der
from domsec.cms.certificates import Certificate
from domsec.cms.credential import PrivateKeyCredential, credential_from_private_key
from domsec.cms.enveloped_data import Enveloped, parse_enveloped
from domsec.limits import DEFAULT, Limits

KINDS = {
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa2048b": lambda: rsa.generate_private_key(65537, 2048),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p256b": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "x25519": x25519.X25519PrivateKey.generate,
    "x448": x448.X448PrivateKey.generate,
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "mlkem768": mlkem.MLKEM768PrivateKey.generate,
    "mlkem768b": mlkem.MLKEM768PrivateKey.generate,
    "mlkem1024": mlkem.MLKEM1024PrivateKey.generate,
}
_ISSUER = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test ca")])


@functools.cache
def _issuer_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def credential(kind: str) -> PrivateKeyCredential:
    """A key of this kind with a certificate that has a subject key identifier."""
    key = KINDS[kind]()
    start = datetime(2026, 11, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(_ISSUER)
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, kind)]))
        .serial_number(1000 + list(KINDS).index(kind))
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .public_key(key.public_key())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(_issuer_key(), hashes.SHA256())
    )
    return credential_from_private_key(key, Certificate(certificate.public_bytes(Encoding.DER)))


def certificate(kind: str) -> Certificate:
    return credential(kind).certificate


def value_of(message: bytes) -> tuple[str, memoryview]:
    """Type and value of a ContentInfo."""
    reader = der.Reader(message)
    reader.enter(der.SEQUENCE)
    kind = reader.oid()
    reader.enter(der.context(0))
    value = reader.skip()
    reader.leave()
    reader.leave()
    return kind, value


def parse(message: bytes, limits: Limits = DEFAULT) -> Enveloped:
    """A whole message, parsed."""
    return parse_enveloped(*value_of(message), limits)


def _key_algorithm(key: Any) -> str:
    reader = der.Reader(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    reader.enter(der.SEQUENCE)
    reader.enter(der.SEQUENCE)
    return reader.oid()


@dataclass(frozen=True)
class NamedByTheMessage:
    """A private key whose certificate is lost: it answers to the name in the RecipientInfo."""

    key: Any
    identifier: Any

    @property
    def certificate(self) -> Any:
        return SimpleNamespace(
            serial=getattr(self.identifier, "serial", None),
            issuer=getattr(self.identifier, "issuer", None),
            ski=getattr(self.identifier, "key_identifier", None),
            public_key=self.key.public_key(),
            key_algorithm=_key_algorithm(self.key.public_key()),
        )

    @property
    def chain(self) -> tuple[Certificate, ...]:
        return ()

    def _with_key(self) -> PrivateKeyCredential:
        return PrivateKeyCredential(self.key, self.certificate)

    def decrypt(self, encrypted_key: bytes, algorithm: Any) -> bytes:
        return self._with_key().decrypt(encrypted_key, algorithm)

    def exchange(self, public_key: Any) -> bytes:
        return self._with_key().exchange(public_key)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        return self._with_key().decapsulate(ciphertext)

    def sign(self, data: bytes, algorithm: Any) -> bytes:
        raise NotImplementedError
