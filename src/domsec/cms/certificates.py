"""A certificate as CMS sees it: octets with an issuer, a serial number and a public key in them (RFC 5280 4.1).

Nothing here says whether a certificate is good; that is `domsec.trust`. The outside is cut when a certificate is made,
since SignerInfo and RecipientInfo ask for issuer and serial number only; the rest waits until somebody wants it.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import Extensions

from domsec import der
from domsec.errors import MalformedMessage, Unsupported

_VERSION: Final = der.context(0)
_EXTENSIONS: Final = der.context(3)
_SUBJECT_KEY_IDENTIFIER: Final = "2.5.29.14"
_LONGEST_FOLDED: Final = 4 * 1024  # octets of a name; longer ones are the same only octet for octet
_SUBJECT_ALT_NAME: Final = "2.5.29.17"
_STRINGS: Final = {
    der.UTF8_STRING: "utf-8",
    der.NUMERIC_STRING: "ascii",
    der.PRINTABLE_STRING: "ascii",
    der.TELETEX_STRING: "latin-1",
    der.IA5_STRING: "ascii",
    der.VISIBLE_STRING: "ascii",
    der.UNIVERSAL_STRING: "utf-32-be",
    der.BMP_STRING: "utf-16-be",
}


@dataclass(frozen=True, eq=False)
class Certificate:
    """A value: two certificates are equal if their octets are.

    Making one raises MalformedMessage if the octets cannot be cut into a certificate; that the parts have sense is
    found out when they are asked for. The signature on it is not checked.
    """

    der: bytes
    serial: int = field(init=False)
    issuer: bytes = field(init=False)
    _rest: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        reader = der.Reader(self.der)
        reader.enter(der.SEQUENCE)
        reader.enter(der.SEQUENCE)
        if reader.peek() == _VERSION:
            reader.skip()
        object.__setattr__(self, "serial", reader.integer())
        reader.skip()
        if reader.peek() != der.SEQUENCE:
            raise MalformedMessage("a certificate without issuer")
        object.__setattr__(self, "issuer", bytes(reader.skip()))
        object.__setattr__(self, "_rest", reader.offset)
        for tag in (der.SEQUENCE, der.SEQUENCE, der.SEQUENCE):
            if reader.peek() != tag:
                raise MalformedMessage("a certificate without validity, subject or key")
            reader.skip()
        while not reader.at_end():
            if reader.peek() == _EXTENSIONS:
                reader.enter(_EXTENSIONS)
                reader.skip()
                reader.leave()
            else:
                reader.skip()
        reader.leave()
        reader.skip()
        reader.content(der.BIT_STRING)
        reader.leave()
        reader.end()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Certificate) and self.der == other.der)

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"Certificate({self.sha256[:16]}, serial={self.serial:#x})"

    @functools.cached_property
    def _parts(self) -> tuple[bytes, bytes, bytes, bytes | None]:
        """Validity, subject, subjectPublicKeyInfo, extensions (the SEQUENCE OF)."""
        reader = der.Reader(memoryview(self.der)[self._rest :])
        validity, subject, spki = (bytes(reader.skip()) for _ in range(3))
        # the end of tbsCertificate is not the end of this reader, but signatureAlgorithm's tag is no [3]
        while not reader.at_end() and reader.peek() != der.SEQUENCE:
            if reader.peek() == _EXTENSIONS:
                reader.enter(_EXTENSIONS)
                return validity, subject, spki, bytes(reader.skip())
            reader.skip()
        return validity, subject, spki, None

    @property
    def subject(self) -> bytes:
        return self._parts[1]

    @property
    def spki(self) -> bytes:
        return self._parts[2]

    @functools.cached_property
    def _validity(self) -> tuple[datetime, datetime]:
        reader = der.Reader(self._parts[0])
        reader.enter(der.SEQUENCE)
        times = reader.time(), reader.time()
        reader.leave()
        return times

    @property
    def not_before(self) -> datetime:
        """Aware. Raises MalformedMessage."""
        return self._validity[0]

    @property
    def not_after(self) -> datetime:
        """Aware. Raises MalformedMessage."""
        return self._validity[1]

    def valid_at(self, moment: datetime) -> bool:
        """Whether it is neither too early nor too late (RFC 5280 4.1.2.5). Raises MalformedMessage."""
        return self.not_before <= moment <= self.not_after

    def extension(self, oid: str) -> bytes | None:
        """The extnValue octets of the first extension of this type. Raises MalformedMessage."""
        if self._parts[3] is None:
            return None
        reader = der.Reader(self._parts[3])
        reader.enter(der.SEQUENCE)
        while not reader.at_end():
            reader.enter(der.SEQUENCE)
            found = reader.oid()
            if reader.peek() == der.BOOLEAN:
                reader.boolean()
            value = reader.octet_string()
            reader.leave()
            if found == oid:
                return bytes(value)
        return None

    @functools.cached_property
    def ski(self) -> bytes | None:
        """The subject key identifier; None if there is none or it cannot be read."""
        try:
            value = self.extension(_SUBJECT_KEY_IDENTIFIER)
            return None if value is None else bytes(der.Reader(value).octet_string())
        except MalformedMessage:
            return None

    @functools.cached_property
    def sha256(self) -> str:
        """Of the whole certificate, in hexadecimal; its name in logs and pins."""
        return hashlib.sha256(self.der).hexdigest()

    @functools.cached_property
    def key_algorithm(self) -> str:
        """The OID in subjectPublicKeyInfo. Raises MalformedMessage."""
        reader = der.Reader(self.spki)
        reader.enter(der.SEQUENCE)
        reader.enter(der.SEQUENCE)
        return reader.oid()

    @functools.cached_property
    def x509(self) -> x509.Certificate:
        """Loaded by pyca. Raises MalformedMessage for what pyca refuses, which is more than what RFC 5280 forbids."""
        try:
            return _loaded(self.der)
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
            raise MalformedMessage("a certificate that cannot be loaded") from None

    @functools.cached_property
    def extensions(self) -> Extensions:
        """As pyca reads them; without subjectAltName where X.400 addresses (RFC 3854 4.3) or EDI parties stand in that.

        Raises MalformedMessage for what pyca refuses, an extension that is there twice included.
        """
        try:
            try:
                with _unworried():
                    return self.x509.extensions
            except x509.UnsupportedGeneralNameType:
                # one name that pyca does not know, and it reads none of the extensions
                with _unworried():
                    return _loaded(_without(self.der, _SUBJECT_ALT_NAME)).extensions
        except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            raise MalformedMessage("a certificate whose extensions cannot be read") from None

    @functools.cached_property
    def public_key(self) -> CertificatePublicKeyTypes:
        """Raises Unsupported for a kind of key or curve that pyca does not know, MalformedMessage for a broken one."""
        try:
            with _unworried():  # of kinds that nothing here uses
                return self.x509.public_key()
        except UnsupportedAlgorithm:
            raise Unsupported("a public key of unsupported kind") from None
        except (ValueError, TypeError):
            raise MalformedMessage("a public key that cannot be loaded") from None


def _loaded(octets: bytes) -> x509.Certificate:
    with _unworried():
        return x509.load_der_x509_certificate(octets)


def _unworried() -> warnings.catch_warnings[None]:
    """Without pyca's warnings: a serial number of zero and the like are judged elsewhere."""
    return warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning)


def _without(octets: bytes, oid: str) -> bytes:
    """A certificate without the extensions of one type. Its signature does not fit any more."""
    reader = der.Reader(octets)
    reader.enter(der.SEQUENCE)
    reader.enter(der.SEQUENCE)
    parts: list[bytes] = []
    while not reader.at_end():
        if reader.peek() != _EXTENSIONS:
            parts.append(bytes(reader.skip()))
            continue
        reader.enter(_EXTENSIONS)
        reader.enter(der.SEQUENCE)
        extensions = []
        while not reader.at_end():
            extensions.append(bytes(reader.skip()))
        reader.leave()
        reader.leave()
        kept = [extension for extension in extensions if not _is_extension(extension, oid)]
        parts += [der.explicit(3, der.sequence(*kept))] if kept else []
    reader.leave()
    return der.sequence(der.sequence(*parts), bytes(reader.skip()), bytes(reader.skip()))


def _is_extension(octets: bytes, oid: str) -> bool:
    reader = der.Reader(octets)
    reader.enter(der.SEQUENCE)
    return reader.oid() == oid


@functools.lru_cache(maxsize=1024)
def certificate(octets: bytes) -> Certificate:
    """The Certificate of these octets; the same object again while it is in the cache, so its key is loaded once.

    Raises MalformedMessage.
    """
    return Certificate(octets)


@dataclass(frozen=True, slots=True)
class IssuerAndSerialNumber:
    """RFC 5652 10.2.4. `issuer` is the whole Name as received."""

    issuer: bytes
    serial: int

    def matches(self, candidate: Certificate) -> bool:
        return self.serial == candidate.serial and same_name(self.issuer, candidate.issuer)


@dataclass(frozen=True, slots=True)
class SubjectKeyIdentifier:
    """The other way of RFC 5652 5.3 and 6.2 to name a certificate."""

    key_identifier: bytes

    def matches(self, candidate: Certificate) -> bool:
        return self.key_identifier == candidate.ski


Identifier = IssuerAndSerialNumber | SubjectKeyIdentifier


def read_issuer_and_serial(reader: der.Reader, tag: int = der.SEQUENCE) -> IssuerAndSerialNumber:
    """The IssuerAndSerialNumber that comes next. Raises MalformedMessage."""
    reader.enter(tag)
    if reader.peek() != der.SEQUENCE:
        raise MalformedMessage("an issuer name is missing")
    issuer = bytes(reader.skip())
    serial = reader.integer()
    reader.leave()
    return IssuerAndSerialNumber(issuer, serial)


def issuer_and_serial(of: Certificate) -> bytes:
    """The IssuerAndSerialNumber that names a certificate."""
    return der.sequence(of.issuer, der.integer(of.serial))


def same_name(one: bytes, other: bytes) -> bool:
    """Whether two Names are the same, their string types, case and runs of spaces aside.

    Good enough to find a candidate; who relies on a name compares it as RFC 5280 7.1 says (`domsec.trust.names`).
    """
    if one == other:
        return True
    # no string type takes more than four times the octets of another, and folding a long name takes its time
    if max(len(one), len(other)) > min(4 * min(len(one), len(other)), _LONGEST_FOLDED):
        return False
    folded = _folded(one)
    return folded is not None and folded == _folded(other)


@functools.lru_cache(maxsize=1024)  # a message may ask for each of its certificates with each of its signers
def _folded(name: bytes) -> tuple[frozenset[tuple[str, str | bytes]], ...] | None:
    """What is compared of a name; None where it cannot be read, which is remembered as well."""
    try:
        return tuple(_folded_rdns(name))
    except MalformedMessage:
        return None


def _folded_rdns(name: bytes) -> Iterator[frozenset[tuple[str, str | bytes]]]:
    reader = der.Reader(name)
    reader.enter(der.SEQUENCE)
    while not reader.at_end():
        reader.enter(der.SET)
        attributes: set[tuple[str, str | bytes]] = set()
        while not reader.at_end():
            reader.enter(der.SEQUENCE)
            kind = reader.oid()
            tag = reader.peek()
            encoding = _STRINGS.get(tag or 0)
            if encoding is None:
                attributes.add((kind, bytes(reader.skip())))
            else:
                try:
                    text = bytes(reader.primitive(tag or 0)).decode(encoding)
                except UnicodeDecodeError:
                    raise MalformedMessage("a name that is not text") from None
                attributes.add((kind, " ".join(text.casefold().split())))
            reader.leave()
        reader.leave()
        yield frozenset(attributes)
    reader.leave()
