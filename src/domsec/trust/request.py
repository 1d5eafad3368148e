"""Certification requests (PKCS#10, RFC 2986): made for a role of a domain or for a person, read and checked by a CA.

A request shows that its maker holds the private key by a signature with it. A key that can only decrypt or agree
(X25519, ML-KEM) makes none; its request is signed with another key of the same owner, who already has a certificate
for that one and states possession (RFC 9883). What a request asks for is a wish: a CA that is named in no argument here
decides what of it goes into a certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domsec import der, oids
from domsec.cms import attributes
from domsec.cms.algorithms import default_signature_algorithm
from domsec.cms.certificates import Certificate, issuer_and_serial, read_issuer_and_serial
from domsec.cms.credential import Credential
from domsec.errors import DomsecError, KeyUnusable, MalformedMessage, SignatureInvalid, Unsupported
from domsec.limits import DEFAULT, Limits
from domsec.trust import names
from domsec.trust.addresses import SUBJECT_ALT_NAME, addresses, requested_addresses
from domsec.trust.issue import (
    ROLE_NAMES,
    Naming,
    PrivateKey,
    PublicKey,
    Role,
    SigningKey,
    can_sign,
    role_extensions,
    subject_name,
)
from domsec.trust.path import AnchorSet, Snapshot, Validator
from domsec.trust.signature import is_request_signed_by
from domsec.trust.usage import signing_problems, weak_key

MAXIMUM_SIZE: Final = 64 * 1024  # octets; with ML-DSA-87 and the certificate of its key it has some 17 000
_ATTRIBUTES: Final = der.context(0)


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """A request as it came. That its signature holds is not said by its being here: that is `check`."""

    der: bytes
    subject: bytes  # a Name
    addresses: tuple[str, ...]  # each once: of the subjectAltName it asks for, then of the subject
    public_key: PublicKey
    signer: Certificate | None  # of RFC 9883, who states that the owner has the private key
    loaded: x509.CertificateSigningRequest = field(repr=False, compare=False)


# --- making ----------------------------------------------------------------------------------------------------------


def request(
    role: Role,
    domain: str,
    key: PrivateKey,
    *,
    subject: Sequence[tuple[str, str]] = (),
    name: str | None = None,
    naming: Naming = "strict",
    signer: Credential | None = None,
) -> bytes:
    """A request in DER for a role of `domain`, or for the person whose address is given as `domain` if role is "user".

    `subject`, `name` and `naming` are those of `domsec.trust.issue.issue`. `signer` signs for a key that cannot (RFC
    9883); it has no place with one that can. Raises KeyUnusable if a key cannot do what is asked of it,
    ConfigurationError for a name or an address that no certificate can carry.
    """
    public = key.public_key()
    extensions = der.sequence(
        *(_extension(value, critical) for value, critical in role_extensions(role, domain, public))
    )
    asked = [attributes.attribute(oids.EXTENSION_REQUEST, extensions)]
    if isinstance(key, SigningKey):
        if signer is not None:
            raise KeyUnusable("a key that can sign signs its request itself (RFC 9883)")
    elif signer is None:
        raise KeyUnusable(
            "a key that cannot sign needs another, with its certificate, that signs the request (RFC 9883)"
        )
    else:
        asked.append(_statement(signer.certificate))
    information = der.sequence(
        der.integer(0),
        subject_name(role, domain, subject, name, naming).public_bytes(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        der.tlv(_ATTRIBUTES, attributes.set_of_attributes(asked)),
    )
    by = public if signer is None else signer.certificate.public_key
    algorithm = default_signature_algorithm(by)
    signature = algorithm.sign(key, information) if signer is None else signer.sign(information, algorithm)
    return der.sequence(information, algorithm.identifier.raw, der.bit_string(signature))


def _extension(value: x509.ExtensionType, critical: bool) -> bytes:
    return der.sequence(
        der.oid(value.oid.dotted_string),
        der.boolean(True) if critical else b"",
        der.octet_string(value.public_bytes()),
    )


def _statement(signer: Certificate) -> attributes.Attribute:
    """PrivateKeyPossessionStatement, with the certificate, which a CA need not keep then."""
    return attributes.attribute(oids.ID_AT_STATEMENT_OF_POSSESSION, der.sequence(issuer_and_serial(signer), signer.der))


# --- reading ---------------------------------------------------------------------------------------------------------


def read_request(octets: bytes, limits: Limits = DEFAULT) -> CertificationRequest:
    """A request from DER. Raises MalformedMessage, LimitExceeded, Unsupported for a kind of key without a row."""
    if len(octets) > MAXIMUM_SIZE:
        raise MalformedMessage(f"a certification request of more than {MAXIMUM_SIZE} octets")
    try:
        loaded = x509.load_der_x509_csr(octets)
        key = loaded.public_key()
    except UnsupportedAlgorithm:
        raise Unsupported("a certification request for a kind of key that is not supported") from None
    except (ValueError, TypeError, x509.InvalidVersion):
        raise MalformedMessage("a certification request that cannot be read") from None
    if not isinstance(key, PublicKey):
        raise Unsupported("a certification request for a kind of key that is not supported")
    subject, found = _information(octets, limits)
    asked = _one_value(found, oids.EXTENSION_REQUEST)
    stated = _one_value(found, oids.ID_AT_STATEMENT_OF_POSSESSION)
    alternative = None if asked is None else _alternative_name(asked)
    signer = None if stated is None else _signer(stated)
    return CertificationRequest(octets, subject, requested_addresses(subject, alternative), key, signer, loaded)


def _information(octets: bytes, limits: Limits) -> tuple[bytes, attributes.Attributes]:
    reader = der.Reader(octets, limits)
    reader.enter(der.SEQUENCE)
    reader.enter(der.SEQUENCE)
    if reader.integer() != 0:
        raise MalformedMessage("a certification request of another version than 1")
    subject = bytes(reader.skip())
    reader.skip()
    found = attributes.parse_attributes(b"" if reader.at_end() else reader.content(_ATTRIBUTES), limits)
    reader.leave()
    return subject, found


def _one_value(found: attributes.Attributes, oid: str) -> bytes | None:
    values = [value for item in found.items if item.oid == oid for value in item.values]
    if len(values) > 1:
        raise MalformedMessage(f"a certification request with {len(values)} values of {oids.name(oid)}, expected one")
    return values[0] if values else None


def _alternative_name(extensions: bytes) -> bytes | None:
    """The subjectAltName among the extensions asked for."""
    values = []
    reader = der.Reader(extensions)
    reader.enter(der.SEQUENCE)
    while not reader.at_end():
        reader.enter(der.SEQUENCE)
        oid = reader.oid()
        if reader.peek() == der.BOOLEAN:
            reader.boolean()
        value = bytes(reader.octet_string())
        reader.leave()
        if oid == SUBJECT_ALT_NAME:
            values.append(value)
    reader.leave()
    if len(values) > 1:
        raise MalformedMessage("a certification request that asks for two subjectAltNames")
    return values[0] if values else None


def _signer(statement: bytes) -> Certificate:
    reader = der.Reader(statement)
    reader.enter(der.SEQUENCE)
    named = read_issuer_and_serial(reader)
    if reader.at_end():
        raise Unsupported("a statement of possession without the certificate of who makes it")
    certificate = Certificate(bytes(reader.skip()))
    reader.leave()
    reader.end()
    if not named.matches(certificate):
        raise MalformedMessage("a statement of possession that names another certificate than it holds")
    return certificate


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a certificate is asked for; the fields are arguments of `domsec.trust.issue.issue`."""

    role: Role
    domain: str  # of a person the address
    name: str | None  # the common name of a person
    subject: tuple[tuple[str, str], ...]
    naming: Naming = "strict"


def holder(asked: CertificationRequest) -> Holder:
    """Whom a request names: a role, if it has the role's common name and address, else a person.

    A role's address is enough where there is no common name, or the same once more (decisions A-14). Raises
    MalformedMessage for a request that names nobody or more than one, or a role in one place only.
    """
    stated = [(oid, value) for rdn in names.rdns(asked.subject) for oid, value in rdn]
    common = [value for oid, value in stated if oid == oids.COMMON_NAME]
    if len(asked.addresses) != 1 or len(common) > 1:
        found = f"{len(asked.addresses)} addresses and {len(common)} common names"
        raise MalformedMessage(f"a certification request with {found}, expected one address and one common name")
    address, name = asked.addresses[0], common[0] if common else None
    local, _, domain = address.rpartition("@")
    role = _role_named(local)
    by_address = role != "user" and name in (None, address)
    if not by_address and _role_named(name or "") != role:
        raise MalformedMessage("a certification request whose common name and address do not name the same role")
    subject = tuple((oid, value) for oid, value in stated if oid not in (oids.COMMON_NAME, oids.EMAIL_ADDRESS))
    if role == "user":
        return Holder(role, address, name, subject)
    return Holder(role, domain, None, subject, "mailbox" if by_address else "strict")


def _role_named(text: str) -> Role:
    return next((role for role, name in ROLE_NAMES.items() if text.lower() == name), "user")


# --- checking --------------------------------------------------------------------------------------------------------


def check(asked: CertificationRequest, ca: Certificate, now: datetime, crls: Sequence[bytes] = ()) -> None:
    """Make sure that whoever made a request has the private key, and that the key is worth a certificate.

    With a statement of possession: that `ca` issued the certificate of who makes it, that it is valid `now`, may sign,
    and is of the same owner: the domain's signing authority for another role of that very domain, a person for
    themselves. `crls` (DER) of the CA say whether it was revoked; without any that is not asked. Raises
    SignatureInvalid.
    """
    if (weak := weak_key(asked.public_key)) is not None:
        raise SignatureInvalid(f"the request is for {weak}")
    if asked.signer is None:
        if not can_sign(asked.public_key):
            raise SignatureInvalid("the request is for a key that cannot sign, and nobody states possession (RFC 9883)")
        if not is_request_signed_by(asked.loaded, asked.public_key):
            raise SignatureInvalid("the signature on the request was not made with its key")
        return
    # RFC 9883 3: MUST NOT be used to obtain a signature certificate
    if can_sign(asked.public_key):
        raise SignatureInvalid("the request is for a key that can sign, and has to be signed with that")
    _check_statement(asked, asked.signer, ca, now, crls)


def _check_statement(
    asked: CertificationRequest, signer: Certificate, ca: Certificate, now: datetime, crls: Sequence[bytes]
) -> None:
    verdict = Validator(Snapshot()).validate(
        signer, anchors=AnchorSet((ca,)), now=now, revocation="hard" if crls else "off", crls=crls
    )
    if verdict.state != "valid":
        raise SignatureInvalid(f"possession is stated with a certificate this CA does not stand for: {verdict.reason}")
    if problems := signing_problems(signer):
        raise SignatureInvalid(f"possession is stated with a certificate that may not sign: {problems[0]}")
    try:
        key = signer.public_key
        stated = addresses(signer)
    except DomsecError as problem:
        raise SignatureInvalid(f"possession is stated with a certificate that cannot be read: {problem}") from None
    if not is_request_signed_by(asked.loaded, key):
        raise SignatureInvalid("the signature on the request was not made by who states possession")
    if not _same_owner(stated, asked.addresses):
        raise SignatureInvalid("possession is stated by somebody other than the owner of the key")


def _same_owner(signers: tuple[str, ...], owners: tuple[str, ...]) -> bool:
    """Whether one address each are the same, or the signer's is the signing authority of the role's own domain.

    RFC 9883 leaves it to a CA's policy how two different names are known to be one owner's. A role has a name of
    its own (RFC 3183 3.1.1), so that its names never are the same as those of the domain's signing authority.
    """
    if len(signers) != 1 or len(owners) != 1:
        return False
    signer, owner = signers[0].lower(), owners[0].lower()
    local, _, domain = owner.rpartition("@")
    return signer == owner or (local in ROLE_NAMES.values() and signer == f"{ROLE_NAMES['signing']}@{domain}")
