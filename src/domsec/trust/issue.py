"""A small certification authority, for tests, the demonstration and private use (RFC 5280, RFC 3183 3.1.1 and 4.1).

Nothing here keeps state: keys, time and, where it matters, serial numbers are arguments. What is issued follows A-45:
one role per certificate, the role as the only common name and as the local part of the only address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, mlkem, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from domsec import der, oids
from domsec.cms.certificates import Certificate
from domsec.errors import ConfigurationError, KeyUnusable

KeyKind = Literal[
    "rsa2048", "rsa3072", "rsa4096", "p256", "p384", "ed25519", "x25519",
    "ml-dsa-44", "ml-dsa-65", "ml-dsa-87", "ml-kem-768", "ml-kem-1024",
]  # fmt: skip
Role = Literal["signing", "confidentiality", "review", "attributes", "user"]
Naming = Literal["strict", "mailbox"]  # of a role: RFC 3183 3.1.1, or by its address only (decisions A-14)

SigningKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)
PrivateKey = SigningKey | x25519.X25519PrivateKey | mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey
PublicKey = (
    rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | ed25519.Ed25519PublicKey
    | ed448.Ed448PublicKey
    | x25519.X25519PublicKey
    | x448.X448PublicKey
    | mldsa.MLDSA44PublicKey
    | mldsa.MLDSA65PublicKey
    | mldsa.MLDSA87PublicKey
    | mlkem.MLKEM768PublicKey
    | mlkem.MLKEM1024PublicKey
)

# RFC 3183 3.1.1 and 4.1; "attribute" for the additional attributes signature of 3.4
ROLE_NAMES: Final[Mapping[Role, str]] = {
    "signing": "domain-signing-authority",
    "confidentiality": "domain-confidentiality-authority",
    "review": "review-authority",
    "attributes": "attribute-authority",
}

_NEW: Final[Mapping[str, Callable[[], PrivateKey]]] = {
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa4096": lambda: rsa.generate_private_key(65537, 4096),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "x25519": x25519.X25519PrivateKey.generate,
    "ml-dsa-44": mldsa.MLDSA44PrivateKey.generate,
    "ml-dsa-65": mldsa.MLDSA65PrivateKey.generate,
    "ml-dsa-87": mldsa.MLDSA87PrivateKey.generate,
    "ml-kem-768": mlkem.MLKEM768PrivateKey.generate,
    "ml-kem-1024": mlkem.MLKEM1024PrivateKey.generate,
}
_ML_DSA = (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)
_ML_KEM = (mlkem.MLKEM768PublicKey, mlkem.MLKEM1024PublicKey)
_DECRYPTION_ONLY = (x25519.X25519PublicKey, x448.X448PublicKey, *_ML_KEM)
_SIGNATURE_ONLY = (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey, *_ML_DSA)
_WHOLE_MESSAGE = (  # hash what they sign themselves
    ed25519.Ed25519PrivateKey,
    mldsa.MLDSA44PrivateKey,
    mldsa.MLDSA65PrivateKey,
    mldsa.MLDSA87PrivateKey,
)


def new_key(kind: KeyKind) -> PrivateKey:
    """A fresh private key. Raises ConfigurationError for a kind that is not in KeyKind."""
    new = _NEW.get(kind)
    if new is None:
        raise ConfigurationError(f"key kind {kind!r}, expected one of {', '.join(get_args(KeyKind))}")
    return new()


def issue_ca(
    name: str | Sequence[tuple[str, str]],
    key: SigningKey,
    *,
    now: datetime,
    days: int,
    issuer_cert: Certificate | None = None,
    issuer_key: SigningKey | None = None,
    path_length: int | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    serial: int | None = None,
) -> Certificate:
    """A CA certificate: self-signed, or by `issuer_cert` with `issuer_key` if those are given.

    `name` is a common name, or the attributes (OID, value) of the subject from the root; `extensions` are added with
    their criticality, name constraints for example.
    """
    public = key.public_key()
    subject = _name([(oids.COMMON_NAME, name)] if isinstance(name, str) else name)
    builder = _builder(subject, public, issuer_cert, now, days, serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return _signed(builder, issuer_key or key)


def issue(
    role: Role,
    domain: str,
    public_key: PublicKey,
    issuer_cert: Certificate,
    issuer_key: SigningKey,
    *,
    now: datetime,
    days: int,
    subject: Sequence[tuple[str, str]] = (),
    name: str | None = None,
    naming: Naming = "strict",
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    serial: int | None = None,
) -> Certificate:
    """A certificate for a role of `domain`, or for the person whose address is given as `domain` if role is "user".

    `subject` are attributes (OID, value) that stand before the common name, root first; `name` is a person's common
    name and has no meaning for a role, `naming` is how a role is named. Raises KeyUnusable if the key cannot do what
    the role asks for, ConfigurationError for a domain or address that a certificate cannot carry.
    """
    named = subject_name(role, domain, subject, name, naming)
    builder = _builder(named, public_key, issuer_cert, now, days, serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    for extension, critical in (*role_extensions(role, domain, public_key), *extensions):
        builder = builder.add_extension(extension, critical=critical)
    return _signed(builder, issuer_key)


def subject_name(
    role: Role,
    domain: str,
    subject: Sequence[tuple[str, str]] = (),
    name: str | None = None,
    naming: Naming = "strict",
) -> x509.Name:
    """What a certificate for a role, or for a person, is named; the arguments are those of `issue`.

    Raises ConfigurationError for a name that a certificate cannot carry.
    """
    if role == "user":
        common_name = name or domain
    else:
        common_name = ROLE_NAMES[role] if naming == "strict" else address_of(role, domain)
    return _name([*subject, (oids.COMMON_NAME, common_name)])


def address_of(role: Role, domain: str) -> str:
    """The mailbox of a role of `domain`; a person is named by theirs."""
    return domain if role == "user" else f"{ROLE_NAMES[role]}@{domain}"


def role_extensions(role: Role, domain: str, key: PublicKey) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Usage, purpose and address for a role or a person, each with its criticality.

    Raises KeyUnusable if the key cannot do what the role asks for, ConfigurationError for an address that is none.
    """
    return (
        (_usage_of(role, key), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
        (x509.SubjectAlternativeName([_address(address_of(role, domain))]), False),
    )


def issue_crl(
    issuer_cert: Certificate,
    issuer_key: SigningKey,
    revoked: Iterable[int | tuple[int, datetime, x509.ReasonFlags]] = (),
    *,
    now: datetime,
    days: int,
    number: int = 1,
) -> bytes:
    """A full CRL in DER. `revoked` are serial numbers, alone (revoked `now`, no reason) or with time and reason."""
    moment = _moment(now)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer_cert.x509.subject)
        .last_update(moment)
        .next_update(moment + timedelta(days=days))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_key_identifier(issuer_cert), critical=False)
    )
    for entry in revoked:
        serial, when, reason = entry if isinstance(entry, tuple) else (entry, moment, None)
        revocation = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(when))
        if reason is not None:
            revocation = revocation.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(revocation.build())
    return builder.sign(issuer_key, _digest(issuer_key)).public_bytes(Encoding.DER)


def _builder(
    subject: x509.Name,
    public_key: PublicKey,
    issuer_cert: Certificate | None,
    now: datetime,
    days: int,
    serial: int | None,
) -> x509.CertificateBuilder:
    moment = _moment(now)
    ski = x509.SubjectKeyIdentifier.from_public_key(public_key)
    if issuer_cert is None:
        issuer, aki = subject, x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)
    else:
        issuer, aki = issuer_cert.x509.subject, _authority_key_identifier(issuer_cert)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(moment)
        .not_valid_after(moment + timedelta(days=days))
        .add_extension(ski, critical=False)
        .add_extension(aki, critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: SigningKey) -> Certificate:
    return Certificate(builder.sign(key, _digest(key)).public_bytes(Encoding.DER))


def _digest(key: SigningKey) -> hashes.SHA256 | hashes.SHA384 | None:
    if isinstance(key, _WHOLE_MESSAGE):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def _moment(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ConfigurationError("a time without its zone")
    return now.replace(microsecond=0)  # certificates count whole seconds, RFC 5280 4.1.2.5


def _authority_key_identifier(issuer_cert: Certificate) -> x509.AuthorityKeyIdentifier:
    if issuer_cert.ski is not None:
        ski = x509.SubjectKeyIdentifier(issuer_cert.ski)
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)
    public = issuer_cert.public_key
    if not isinstance(public, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, *_ML_DSA)):
        raise KeyUnusable("this kind of key cannot sign")
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)


def _name(attributes: Sequence[tuple[str, str]]) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(x509.ObjectIdentifier(oid), value) for oid, value in attributes])
    except ValueError as error:
        raise ConfigurationError(f"a subject that no certificate can carry: {error}") from error


def _address(address: str) -> x509.GeneralName:
    local, _, domain = address.rpartition("@")
    if not local or not domain.isascii() or not address.isprintable():
        raise ConfigurationError(f"{address!r} is no address; a domain has to be given as A-labels")
    if local.isascii():
        return x509.RFC822Name(address)
    # RFC 9598 3: only where the local part needs it
    return x509.OtherName(x509.ObjectIdentifier(oids.ID_ON_SMTP_UTF8_MAILBOX), der.utf8(address))


def can_sign(key: PublicKey) -> bool:
    """Whether it is a kind of key that makes signatures."""
    return not isinstance(key, _DECRYPTION_ONLY)


def _usage_of(role: Role, key: PublicKey) -> x509.KeyUsage:
    signs = can_sign(key)
    # RFC 9935 5: encapsulation is keyEncipherment
    decrypts = "key_encipherment" if isinstance(key, (rsa.RSAPublicKey, *_ML_KEM)) else "key_agreement"
    can_decrypt = not isinstance(key, _SIGNATURE_ONLY)
    if role == "confidentiality":
        if not can_decrypt:
            raise KeyUnusable("this kind of key cannot decrypt")
        return _key_usage(decrypts)
    if role == "user":
        signing = ("digital_signature", "content_commitment") if signs else ()
        return _key_usage(*signing, *((decrypts,) if can_decrypt else ()))
    if not signs:
        raise KeyUnusable("this kind of key cannot sign")
    return _key_usage("digital_signature", "content_commitment")


def _key_usage(*bits: str) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in bits for name in names})
