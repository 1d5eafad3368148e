"""Attributes of a SignerInfo (RFC 5652 5.3, 11; RFC 5035, 6211, 8551 2.5): read, checked for their form, and made.

A signature covers the octets of its attributes, so an attribute is kept as it came; what a value means is for whoever
asks. ESS attributes other than the signing certificate are in `domsec.ess`.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from domsec import der, oids
from domsec.cms.algorithms import DIGESTS, AlgorithmIdentifier, parse_algorithm, read_algorithm
from domsec.cms.certificates import (
    Certificate,
    Identifier,
    SubjectKeyIdentifier,
    issuer_and_serial,
    read_issuer_and_serial,
    same_name,
)
from domsec.der import Octets
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.limits import DEFAULT, Limits

_SHORT: Final = 1024  # longer attributes are not worth remembering
_MAX_NESTING: Final = 32  # of values inside an attribute, when it is put into DER
_CHEAP: Final = replace(DEFAULT, der_values=4096)  # what is not in DER, and so suspect, may not cost much either
_DIRECTORY_NAME: Final = der.context(4)


@dataclass(frozen=True, slots=True)
class Attribute:
    """Each of `values` is a whole value (identifier, length, content); `raw` is the attribute as it came."""

    oid: str
    values: tuple[bytes, ...]
    raw: bytes

    def __hash__(self) -> int:
        return hash(self.raw)


@dataclass(frozen=True, slots=True)
class Attributes:
    """A SET OF Attribute; `raw` is the content octets of the SET as received."""

    items: tuple[Attribute, ...]
    raw: bytes
    _by_type: dict[str, tuple[Attribute, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, tuple[Attribute, ...]] = {}
        for item in self.items:
            found[item.oid] = (*found[item.oid], item) if item.oid in found else (item,)
        object.__setattr__(self, "_by_type", found)

    def get(self, oid: str) -> tuple[Attribute, ...]:
        """Every attribute of this type; more than one where only one may be is for the caller to judge."""
        return self._by_type.get(oid, ())

    @property
    def is_der(self) -> bool:
        """Whether `raw` is as DER wants it: definite lengths of fewest octets, sets sorted."""
        octets = [item.raw for item in self.items]
        return octets == sorted(octets) and all(map(is_distinguished, octets))

    @property
    def der(self) -> bytes:
        """The content octets as DER wants them. Raises MalformedMessage, LimitExceeded for what cannot be put so."""
        return self.raw if self.is_der else b"".join(sorted(distinguished(item.raw) for item in self.items))


def parse_attributes(raw: Octets, limits: Limits = DEFAULT) -> Attributes:
    """The content octets of a SET OF Attribute. Raises MalformedMessage, LimitExceeded."""
    if len(raw) > limits.attributes_size:
        raise LimitExceeded("attributes_size")
    raw = bytes(raw)
    reader = der.Reader(raw, limits)
    items: list[Attribute] = []
    while not reader.at_end():
        if len(items) == limits.attributes:
            raise LimitExceeded("attributes")
        items.append(_attribute(bytes(reader.skip())))
    return Attributes(tuple(items), raw)


def _attribute(raw: bytes) -> Attribute:
    oid = _PLAIN.get(raw[:_PLAIN_HEADER])
    if oid is not None and len(raw) == 2 + raw[1]:
        return Attribute(oid, (raw[_PLAIN_VALUE:],), raw)
    return _remembered(raw) if len(raw) <= _SHORT else _parse(raw)


def _parse(raw: bytes) -> Attribute:
    reader = der.Reader(raw)
    reader.enter(der.SEQUENCE)
    oid = reader.oid()
    reader.enter(der.SET)
    values = []
    while not reader.at_end():
        values.append(bytes(reader.skip()))
    reader.leave()
    reader.leave()
    reader.end()
    return Attribute(oid, tuple(values), raw)


# Most attributes of a sender are the same in every message: reading them a second time is looking them up.
_remembered = functools.lru_cache(maxsize=1024)(_parse)


def is_distinguished(value: bytes) -> bool:
    """Whether a value has definite lengths of fewest octets, strings in one piece and sets sorted, all the way down.

    That is what there is of DER in CMS attributes; whether an INTEGER or a BOOLEAN is minimal is not looked at.
    """
    if value[:_PLAIN_HEADER] in _PLAIN and len(value) == 2 + value[1]:
        return True
    return _is_distinguished_remembered(value) if len(value) <= _SHORT else _is_distinguished(value)


def _is_distinguished(value: bytes) -> bool:
    at, end = 0, len(value)
    in_set, previous = False, b""
    outside: list[tuple[int, bool, bytes]] = []
    while True:
        while at >= end:
            if not outside:
                return at == end > 0
            end, in_set, previous = outside.pop()
        if at + 2 > end:
            return False
        tag, size, start = value[at], value[at + 1], at + 2
        if size >= 0x80:
            count = size & 0x7F
            size = int.from_bytes(value[start : start + count], "big")
            start += count
            if not 0 < count <= 3 or size < 0x80 or size >> 8 * (count - 1) == 0:
                return False
        stop = start + size
        if stop > end or not (outside or stop == end) or tag == 0 or tag & 0x1F == 0x1F:
            return False
        if in_set:
            whole = value[at:stop]
            if not _may_follow(previous, whole):
                return False
            previous = whole
        at = stop
        if tag & der.CONSTRUCTED:
            if (tag & 0xC0 == 0 and tag not in (der.SEQUENCE, der.SET)) or len(outside) == _MAX_NESTING:
                return False
            outside.append((end, in_set, previous))
            at, end, in_set, previous = start, stop, tag == der.SET, b""


def _may_follow(previous: bytes, value: bytes) -> bool:
    """Whether one may stand behind the other, as elements of a SET (X.690 10.3) or of a SET OF (11.6).

    Which of the two it is, only the type tells; of ESSSecurityLabel, both orders are met (RFC 4134 4.10, RFC 3114).
    """
    return previous <= value or _number(previous) < _number(value)


def _number(value: bytes) -> int:
    """What orders the elements of a SET: the tag alone."""
    return value[0] & ~der.CONSTRUCTED if value else -1


_is_distinguished_remembered = functools.lru_cache(maxsize=1024)(_is_distinguished)


def distinguished(value: bytes) -> bytes:
    """The value that `is_distinguished` and means the same.

    Only fit for attributes. A context tag around segments of a string is left as it is: which strings are IMPLICIT,
    only who knows the type can tell; attributes of CMS, ESS and S/MIME have none that anybody cuts into segments.
    Raises MalformedMessage, LimitExceeded.
    """
    reader = der.Reader(value, _CHEAP)
    result = _distinguished(reader, 0)
    reader.end()
    return result


def _distinguished(reader: der.Reader, depth: int) -> bytes:
    if depth > _MAX_NESTING:
        raise LimitExceeded("der_depth")
    tag = reader.peek()
    if tag is None:
        raise MalformedMessage("a value is missing")
    if tag == der.OCTET_STRING | der.CONSTRUCTED:
        return der.octet_string(reader.octet_string())
    if not tag & der.CONSTRUCTED:
        return der.tlv(tag, reader.primitive(tag))
    if tag & 0xC0 == 0 and tag not in (der.SEQUENCE, der.SET):
        raise MalformedMessage("a string in pieces where nobody writes one")
    reader.enter(tag)
    parts = []
    while not reader.at_end():
        parts.append(_distinguished(reader, depth + 1))
    reader.leave()
    if tag == der.SET and not all(itertools.starmap(_may_follow, itertools.pairwise(parts))):
        numbers = {_number(part) for part in parts}
        parts.sort(key=_number if len(numbers) == len(parts) else None)
    return der.tlv(tag, *parts)


# --- making ----------------------------------------------------------------------------------------------------------


def attribute(oid: str, *values: bytes) -> Attribute:
    """An attribute to send; each value is a whole one in DER."""
    ordered = tuple(sorted(values))
    return Attribute(oid, ordered, der.sequence(der.oid(oid), der.tlv(der.SET, *ordered)))


def set_of_attributes(items: Iterable[Attribute]) -> bytes:
    """The content octets of the SET OF these, in DER."""
    return b"".join(sorted(item.raw for item in items))


def content_type(oid: str) -> Attribute:
    return attribute(oids.ID_CONTENT_TYPE, der.oid(oid))


def message_digest(digest: bytes) -> Attribute:
    value = der.octet_string(digest)
    return Attribute(oids.ID_MESSAGE_DIGEST, (value,), _digest_header(len(value)) + value)


@functools.lru_cache(maxsize=8)
def _digest_header(size: int) -> bytes:
    return attribute(oids.ID_MESSAGE_DIGEST, bytes(size)).raw[:-size]


@functools.lru_cache(maxsize=8)
def signing_time(when: datetime) -> Attribute:
    """RFC 5652 11.3. `when` is aware; fractions of a second are dropped."""
    return attribute(oids.ID_SIGNING_TIME, der.time(when))


def signing_certificate_v2(certificate: Certificate) -> Attribute:
    """RFC 5035 3, naming the signer's certificate alone."""
    identifier = certificate_identifier(certificate)
    return attribute(oids.ID_AA_SIGNING_CERTIFICATE_V2, der.sequence(der.sequence(identifier)))


def certificate_identifier(certificate: Certificate) -> bytes:
    """ESSCertIDv2 (RFC 5035 4): SHA-256, which is the default and so not written, with issuer and serial number."""
    names = der.sequence(der.tlv(_DIRECTORY_NAME, certificate.issuer))
    return der.sequence(
        der.octet_string(hashlib.sha256(certificate.der).digest()),
        der.sequence(names, der.integer(certificate.serial)),
    )


def smime_capabilities(capabilities: Sequence[AlgorithmIdentifier]) -> Attribute:
    """RFC 8551 2.5.2: what we can read, best first. Parameters are omitted, not NULL, unless the algorithm has some."""
    return attribute(oids.SMIME_CAPABILITIES, der.sequence(*(capability.raw for capability in capabilities)))


def cms_algorithm_protection(digest: AlgorithmIdentifier, signature: AlgorithmIdentifier) -> Attribute:
    """RFC 6211 2, for signatures."""
    value = der.sequence(digest.raw, der.implicit(1, signature.raw))
    return attribute(oids.ID_AA_CMS_ALGORITHM_PROTECT, value)


def encryption_key_preference(certificate: Certificate) -> Attribute:
    """RFC 8551 2.5.3, naming the certificate by issuer and serial number."""
    return attribute(oids.ID_AA_ENCRYP_KEY_PREF, der.implicit(0, issuer_and_serial(certificate)))


# contentType apart, these are new in every message, and always look like this: recognised by their headers
_PLAIN: Final = {
    prototype.raw[:-size]: prototype.oid
    for prototype, size in (
        *((message_digest(bytes(size)), size) for size in (32, 48, 64)),
        (attribute(oids.ID_SIGNING_TIME, der.tlv(der.UTC_TIME, bytes(13))), 13),
    )
}
_PLAIN_HEADER: Final = 17
_PLAIN_VALUE: Final = 15
assert all(len(header) == _PLAIN_HEADER for header in _PLAIN)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_signing_time(value: bytes) -> datetime:
    """Raises MalformedMessage."""
    reader = der.Reader(value)
    when = reader.time()
    reader.end()
    return when


def stated_signing_time(found: Attributes | None) -> datetime | None:
    """When a signer says that it signed: a claim, and no more (decisions A-49). None if it says nothing to be read."""
    stated = found.get(oids.ID_SIGNING_TIME) if found else ()
    try:
        return read_signing_time(stated[0].values[0])
    except (IndexError, MalformedMessage):
        return None


def read_encryption_key_preference(value: bytes) -> Identifier | None:
    """Which certificate a signer prefers to be encrypted to (RFC 8551 2.5.3). Raises MalformedMessage.

    None for a recipientKeyIdentifier with a date or other attributes, which names no certificate by itself.
    """
    reader = der.Reader(value)
    found: Identifier | None
    if reader.peek() == der.context(0):
        found = read_issuer_and_serial(reader, der.context(0))
    elif reader.peek() == der.context(1):
        reader.enter(der.context(1))
        identifier = SubjectKeyIdentifier(bytes(reader.octet_string()))
        found = identifier if reader.at_end() else None
        while not reader.at_end():
            reader.skip()
        reader.leave()
    else:
        found = SubjectKeyIdentifier(bytes(reader.octet_string(der.context(2, constructed=False))))
    reader.end()
    return found


def read_smime_capabilities(value: bytes) -> tuple[AlgorithmIdentifier, ...]:
    """Raises MalformedMessage."""
    reader = der.Reader(value)
    reader.enter(der.SEQUENCE)
    found = []
    while not reader.at_end():
        found.append(read_algorithm(reader))
    reader.leave()
    reader.end()
    return tuple(found)


@functools.lru_cache(maxsize=256)
def read_cms_algorithm_protection(value: bytes) -> tuple[AlgorithmIdentifier, AlgorithmIdentifier | None]:
    """The digest algorithm, and the signature algorithm, None where a MAC algorithm stands. Raises MalformedMessage."""
    reader = der.Reader(value)
    reader.enter(der.SEQUENCE)
    digest = read_algorithm(reader)
    signature = None
    if reader.peek() == der.context(1):
        signature = parse_algorithm(der.sequence(reader.content(der.context(1))))
    elif reader.peek() == der.context(2):
        reader.skip()
    reader.leave()
    reader.end()
    return digest, signature


@dataclass(frozen=True, slots=True)
class CertificateHash:
    """ESSCertID and ESSCertIDv2 (RFC 2634 5.4.1, RFC 5035 4). `names` are the directory names of the issuer."""

    digest: str
    value: bytes
    names: tuple[bytes, ...]
    serial: int | None

    def matches(self, certificate: Certificate) -> bool | None:
        """None where the digest is not one we can or want to compute."""
        row = DIGESTS.get(self.digest)
        if row is None or row.oid == oids.MD5:
            return None
        if row.oid == oids.SHA256:
            digest = bytes.fromhex(certificate.sha256)
        else:
            hasher = row.new()
            hasher.update(certificate.der)
            digest = hasher.digest()
        if digest != self.value or self.serial not in (None, certificate.serial):
            return False
        issuer = certificate.issuer
        return not self.names or issuer in self.names or any(same_name(name, issuer) for name in self.names)


@functools.lru_cache(maxsize=256)
def read_signing_certificate(found: Attribute) -> tuple[CertificateHash, ...]:
    """The certificates a signingCertificate or signingCertificateV2 attribute names, the signer's first.

    Raises MalformedMessage; also for an attribute with more or fewer values than one.
    """
    if len(found.values) != 1:
        raise MalformedMessage("a signing certificate attribute without exactly one value")
    reader = der.Reader(found.values[0])
    reader.enter(der.SEQUENCE)
    reader.enter(der.SEQUENCE)
    hashes = []
    while not reader.at_end():
        hashes.append(read_certificate_hash(reader, v2=found.oid == oids.ID_AA_SIGNING_CERTIFICATE_V2))
    reader.leave()
    if not reader.at_end():
        reader.skip()  # policies: nothing here depends on them
    reader.leave()
    reader.end()
    return tuple(hashes)


def read_certificate_hash(reader: der.Reader, *, v2: bool) -> CertificateHash:
    """The ESSCertIDv2, or without `v2` the ESSCertID, that comes next. Raises MalformedMessage."""
    reader.enter(der.SEQUENCE)
    digest = oids.SHA256 if v2 else oids.SHA1
    if v2 and reader.peek() == der.SEQUENCE:
        digest = read_algorithm(reader).oid
    value = bytes(reader.octet_string())
    names: list[bytes] = []
    serial = None
    if not reader.at_end():
        reader.enter(der.SEQUENCE)
        reader.enter(der.SEQUENCE)
        while not reader.at_end():
            if reader.peek() == _DIRECTORY_NAME:
                reader.enter(_DIRECTORY_NAME)
                names.append(bytes(reader.skip()))
                reader.leave()
            else:
                reader.skip()
        reader.leave()
        serial = reader.integer()
        reader.leave()
    reader.leave()
    return CertificateHash(digest, value, tuple(names), serial)
