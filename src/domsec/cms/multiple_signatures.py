"""multiple-signatures: the parallel signatures of one signer name each other, so that none goes unseen (RFC 5752).

The attribute stands in the signed attributes of each of them and has a value for every other one: its algorithms, and
the digest of its signed attributes as they were before these digests were known. Who the signer is, and what follows
from a value that nothing answers to, is decided above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from domsec import der, oids
from domsec.cms.algorithms import AlgorithmIdentifier, Digest, find_digest, read_algorithm
from domsec.cms.attributes import (
    Attribute,
    CertificateHash,
    attribute,
    certificate_identifier,
    distinguished,
    is_distinguished,
    read_certificate_hash,
)
from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage

if TYPE_CHECKING:
    from domsec.cms.signed_data import SignerInfo

OID: Final = oids.ID_AA_MULTIPLE_SIGNATURES


@dataclass(frozen=True, slots=True)
class MultipleSignatures:
    """One value (3). `certificate` is the whole ESSCertIDv2 of the certificate that goes with it, empty if not said."""

    digest: AlgorithmIdentifier
    signature: AlgorithmIdentifier
    hash_algorithm: AlgorithmIdentifier
    hash: bytes
    certificate: bytes = b""

    @property
    def certificate_hash(self) -> CertificateHash | None:
        return read_certificate_hash(der.Reader(self.certificate), v2=True) if self.certificate else None

    def write(self) -> bytes:
        signed = der.sequence(self.hash_algorithm.raw, der.octet_string(self.hash))
        return der.sequence(self.digest.raw, self.signature.raw, signed, self.certificate)


def read(value: bytes) -> MultipleSignatures:
    """Raises MalformedMessage."""
    reader = der.Reader(value)
    reader.enter(der.SEQUENCE)
    digest, signature = read_algorithm(reader), read_algorithm(reader)
    reader.enter(der.SEQUENCE)
    hash_algorithm, found = read_algorithm(reader), bytes(reader.octet_string())
    reader.leave()
    certificate = b"" if reader.at_end() else bytes(reader.skip())
    reader.leave()
    reader.end()
    made = MultipleSignatures(digest, signature, hash_algorithm, found, certificate)
    _ = made.certificate_hash
    return made


# --- checking -------------------------------------------------------------------------------------------------------


def named(info: SignerInfo) -> int | None:
    """How many others a signature names; None if it says nothing about others."""
    found = _attributes(info)
    return sum(len(item.values) for item in found) if found else None


def _attributes(info: SignerInfo) -> tuple[Attribute, ...]:
    return info.signed_attributes.get(OID) if info.signed_attributes else ()


@dataclass(frozen=True, slots=True)
class Parallel:
    """One of the signatures of a signer, with what the others hash of it: computed once, asked for by each."""

    info: SignerInfo
    unlinked: bytes | None  # signed attributes in DER, their hashes of each other empty; None where that cannot be made

    @classmethod
    def of(cls, info: SignerInfo) -> Parallel:
        try:
            return cls(info, _unlinked(info.signed_attributes.items) if info.signed_attributes else None)
        except MalformedMessage:
            return cls(info, None)

    def unanswered(self, others: Sequence[Parallel]) -> tuple[MultipleSignatures, ...]:
        """The values that none of the others answers to: their signatures were removed, or changed.

        Believe it if the signature holds. The others need not hold, nor be understood: their octets tell. Raises
        MalformedMessage where the attribute cannot be used.
        """
        found = _attributes(self.info)
        if len(found) > 1:
            raise MalformedMessage(f"{len(found)} attributes {oids.name(OID)}, expected one")
        own = self.info.digest_algorithm
        digest = find_digest(own)
        left = [(other, _digest(other.unlinked, digest)) for other in others if other.unlinked is not None]
        missing = []
        for value in (read(octets) for item in found for octets in item.values):
            answer = next((one for one in left if _answers(*one, value)), None)
            if answer is None or not value.hash_algorithm.same_as(own):
                missing.append(value)
            else:
                left.remove(answer)
        return tuple(missing)


def _answers(other: Parallel, hashed: bytes, value: MultipleSignatures) -> bool:
    info = other.info
    algorithms = info.digest_algorithm.same_as(value.digest) and info.signature_algorithm.same_as(value.signature)
    return algorithms and hashed == value.hash


def _unlinked(items: Iterable[Attribute]) -> bytes:
    """Signed attributes whose multiple-signatures have empty hashes (4.4.1). Raises MalformedMessage."""
    return der.set_of(_emptied(item) if item.oid == OID else _in_der(item.raw) for item in items)


def _in_der(raw: bytes) -> bytes:
    return raw if is_distinguished(raw) else distinguished(raw)


def _emptied(item: Attribute) -> bytes:
    return attribute(OID, *(replace(read(value), hash=b"").write() for value in item.values)).raw


# --- making ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sibling:
    """A signature about to be made: its algorithms, its certificate, and in DER all its other signed attributes."""

    digest: Digest
    signature: AlgorithmIdentifier
    certificate: Certificate
    attributes: tuple[bytes, ...]


def link(siblings: Sequence[Sibling]) -> tuple[Attribute, ...]:
    """The attribute for each of one signer's signatures, in their order. The certificate is always said."""
    emptied = [_naming(one, siblings, lambda _: b"") for one in siblings]
    octets = {id(one): der.set_of((*one.attributes, item.raw)) for one, item in zip(siblings, emptied, strict=True)}

    def linked(one: Sibling) -> Attribute:
        return _naming(one, siblings, lambda other: _digest(octets[id(other)], one.digest))

    return tuple(linked(one) for one in siblings)


def _naming(one: Sibling, siblings: Sequence[Sibling], hash_of: Callable[[Sibling], bytes]) -> Attribute:
    values = (
        MultipleSignatures(
            other.digest.identifier,
            other.signature,
            one.digest.identifier,
            hash_of(other),
            certificate_identifier(other.certificate),
        ).write()
        for other in siblings
        if other is not one
    )
    return attribute(OID, *values)


def _digest(octets: bytes, digest: Digest) -> bytes:
    hasher = digest.new()
    hasher.update(octets)
    return hasher.digest()
