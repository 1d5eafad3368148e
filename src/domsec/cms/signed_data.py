"""SignedData: read, verified, made (RFC 5652 5), and the empty signature of RFC 3183 3.

Verifying here is arithmetic: does this key fit this signature over this content, and do the signed attributes keep the
rules without which that proves nothing. Whose key it is, and what follows, is decided above.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from domsec import der, oids
from domsec.cms import algorithms, multiple_signatures
from domsec.cms import attributes as attrs
from domsec.cms.algorithms import (
    AlgorithmIdentifier,
    Digest,
    SignatureAlgorithm,
    check_signature,
    check_signing_key,
    default_signature_algorithm,
    find_digest,
    find_signature,
    read_algorithm,
)
from domsec.cms.attributes import Attribute, Attributes, parse_attributes
from domsec.cms.certificates import (
    Certificate,
    Identifier,
    SubjectKeyIdentifier,
    certificate,
    issuer_and_serial,
    read_issuer_and_serial,
)
from domsec.cms.credential import Credential
from domsec.errors import KeyUnusable, LimitExceeded, MalformedMessage, SignatureInvalid, Unsupported
from domsec.limits import DEFAULT, Limits
from domsec.octets import Octets, Pieces, chunks, in_one_place, join

_CONTENT: Final = der.context(0)
_CERTIFICATES: Final = der.context(0)
_CRLS: Final = der.context(1)
_OTHER_REVOCATION: Final = der.context(1)
_SIGNED_ATTRIBUTES: Final = der.context(0)
_UNSIGNED_ATTRIBUTES: Final = der.context(1)
_KEY_IDENTIFIER: Final = der.context(0, constructed=False)


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """RFC 5652 5.3. Nothing in the unsigned attributes is vouched for by anybody."""

    version: int
    sid: Identifier
    digest_algorithm: AlgorithmIdentifier
    signed_attributes: Attributes | None
    signature_algorithm: AlgorithmIdentifier
    signature: bytes
    unsigned_attributes: Attributes | None

    def matches(self, candidate: Certificate) -> bool:
        """Whether this is a certificate the signer identifier names; there can be several."""
        return self.sid.matches(candidate)


@dataclass(frozen=True, slots=True)
class SignedData:
    """RFC 5652 5.1. `content` is the value octets of eContent, None if that is absent.

    No signers: with content a null layer (RFC 3183 3), without one a bag of certificates and CRLs.
    """

    version: int
    digest_algorithms: tuple[AlgorithmIdentifier, ...]
    content_type: str
    content: Octets | None
    certificates: tuple[Certificate, ...]
    odd_certificates: int  # left out: attribute certificates and whatever cannot be read as a certificate
    crls: tuple[bytes, ...]
    signers: tuple[SignerInfo, ...]
    ocsp: tuple[bytes, ...] = ()  # OCSPResponses among the revocation information (RFC 5940 2)


# --- reading ---------------------------------------------------------------------------------------------------------


def parse_signed_data(value: Octets, limits: Limits = DEFAULT) -> SignedData:
    """Any version is read. Raises MalformedMessage, LimitExceeded, Unsupported for content that is no OCTET STRING."""
    reader = der.Reader(value, limits)
    reader.enter(der.SEQUENCE)
    version = reader.integer()
    digest_algorithms = _read_digest_algorithms(reader, limits)
    content_type, content = _read_content(reader)
    certificates, odd = _read_certificates(reader, limits)
    crls, ocsp = _read_revocation(reader, limits)
    reader.enter(der.SET)
    signers: list[SignerInfo] = []
    while not reader.at_end():
        if len(signers) == limits.signers:
            raise LimitExceeded("signers")
        signers.append(_read_signer(reader, limits))
    reader.leave()
    reader.leave()
    reader.end()
    return SignedData(version, digest_algorithms, content_type, content, certificates, odd, crls, tuple(signers), ocsp)


# Sets of algorithms, signer identifiers and sets of certificates are the same in every message of a sender. So these
# are cut out whole, and read only if the same octets were not read lately.
_SHORT: Final = 1024
_NOT_LONG: Final = 8 * 1024


def _read_digest_algorithms(reader: der.Reader, limits: Limits) -> tuple[AlgorithmIdentifier, ...]:
    if reader.peek() != der.SET:
        raise MalformedMessage("the set of digest algorithms is missing")
    whole = reader.skip()
    if len(whole) > _NOT_LONG:
        raise LimitExceeded("signers", "digest algorithms without end")
    return _digest_algorithms(bytes(whole), limits.signers)  # each is there for a signer


@functools.lru_cache(maxsize=64)
def _digest_algorithms(whole: bytes, most: int) -> tuple[AlgorithmIdentifier, ...]:
    reader = der.Reader(whole)
    found: list[AlgorithmIdentifier] = []
    reader.enter(der.SET)
    while not reader.at_end():
        if len(found) == most:
            raise LimitExceeded("signers", "more digest algorithms than signers are allowed")
        found.append(read_algorithm(reader))
    reader.leave()
    return tuple(found)


def _read_content(reader: der.Reader) -> tuple[str, Octets | None]:
    reader.enter(der.SEQUENCE)
    content_type = reader.oid()
    content: Octets | None = None
    if not reader.at_end():
        reader.enter(_CONTENT)
        tag = reader.peek()
        if tag is not None and tag & ~der.CONSTRUCTED != der.OCTET_STRING:
            # PKCS #7 1.5 had any type here (RFC 5652 5.2.1); no mail was ever signed so
            raise Unsupported("signed content that is not an octet string")
        content = reader.octet_string()
        reader.leave()
    reader.leave()
    return content_type, content


def _read_certificates(reader: der.Reader, limits: Limits) -> tuple[tuple[Certificate, ...], int]:
    if reader.peek() != _CERTIFICATES:
        return (), 0
    whole = reader.skip()
    if len(whole) > _NOT_LONG:
        return _certificates_in(whole, limits.certificates, limits.certificate_size)
    return _certificates_remembered(bytes(whole), limits.certificates, limits.certificate_size)


def _certificates_in(whole: Octets, most: int, largest: int) -> tuple[tuple[Certificate, ...], int]:
    found: list[Certificate] = []
    odd = 0
    reader = der.Reader(whole)
    reader.enter(_CERTIFICATES)
    while not reader.at_end():
        if len(found) + odd == most:
            raise LimitExceeded("certificates")
        octets = reader.skip()
        if len(octets) > largest:
            raise LimitExceeded("certificate_size")
        try:
            found.append(certificate(bytes(octets)))
        except MalformedMessage:
            odd += 1
    reader.leave()
    return tuple(found), odd


_certificates_remembered = functools.lru_cache(maxsize=256)(_certificates_in)


def _read_revocation(reader: der.Reader, limits: Limits) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """CRLs and OCSP responses, as they came. What else there is, is left out."""
    crls: list[bytes] = []
    responses: list[bytes] = []
    if reader.peek() != _CRLS:
        return (), ()
    reader.enter(_CRLS)
    seen = 0
    while not reader.at_end():
        if seen == limits.crls:
            raise LimitExceeded("crls")
        seen += 1
        is_crl, is_other = reader.peek() == der.SEQUENCE, reader.peek() == _OTHER_REVOCATION
        octets = bytes(reader.skip())
        if is_crl:
            crls.append(octets)
        elif is_other and (response := _ocsp_response(octets)):
            responses.append(response)
    reader.leave()
    return tuple(crls), tuple(responses)


def _ocsp_response(octets: bytes) -> bytes | None:
    """What is in an OtherRevocationInfoFormat, if it is an OCSPResponse (RFC 5940 2)."""
    reader = der.Reader(octets)
    try:
        reader.enter(_OTHER_REVOCATION)
        return bytes(reader.skip()) if reader.oid() == oids.ID_RI_OCSP_RESPONSE else None
    except MalformedMessage:
        return None


def parse_signer(value: Octets, limits: Limits = DEFAULT) -> SignerInfo:
    """One SignerInfo by itself. Raises MalformedMessage, LimitExceeded."""
    reader = der.Reader(value, limits)
    signer = _read_signer(reader, limits)
    reader.end()
    return signer


def _read_signer(reader: der.Reader, limits: Limits) -> SignerInfo:
    reader.enter(der.SEQUENCE)
    version = reader.integer()
    sid: Identifier
    if reader.peek() == der.SEQUENCE:
        whole = bytes(reader.skip())
        sid = (_sid_remembered if len(whole) <= _SHORT else _sid)(whole)
    else:
        sid = SubjectKeyIdentifier(bytes(reader.octet_string(_KEY_IDENTIFIER)))
    digest_algorithm = read_algorithm(reader)
    signed = None
    if reader.peek() == _SIGNED_ATTRIBUTES:
        signed = parse_attributes(reader.content(_SIGNED_ATTRIBUTES), limits)
    signature_algorithm = read_algorithm(reader)
    signature = bytes(reader.octet_string())
    unsigned = None
    if not reader.at_end():
        unsigned = parse_attributes(reader.content(_UNSIGNED_ATTRIBUTES), limits)
    reader.leave()
    return SignerInfo(version, sid, digest_algorithm, signed, signature_algorithm, signature, unsigned)


def _sid(whole: bytes) -> Identifier:
    return read_issuer_and_serial(der.Reader(whole))


_sid_remembered = functools.lru_cache(maxsize=256)(_sid)


# --- verifying -------------------------------------------------------------------------------------------------------


class ContentDigests:
    """The digests of one content, each computed once, when it is first asked for."""

    __slots__ = ("_known", "segments")

    def __init__(self, *segments: Octets | Pieces) -> None:
        self.segments = segments
        self._known: dict[str, bytes] = {}

    def of(self, digest: Digest) -> bytes:
        known = self._known.get(digest.oid)
        if known is None:
            hasher = digest.new()
            for segment in self.segments:
                for chunk in chunks(segment):
                    hasher.update(chunk)
            known = self._known[digest.oid] = hasher.digest()
        return known

    def octets(self) -> Octets:
        """The content in one piece. Raises StoreUnavailable."""
        return in_one_place(join(*self.segments))


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """What is to be said of a signature that fits.

    `weak` names what of its algorithms is broken or too short; a signature with any is not to be believed. `is_der`
    says that the signed attributes came in DER; `order` is "received" if they did not and are signed as they came.
    """

    algorithm: SignatureAlgorithm
    weak: tuple[str, ...]
    order: Literal["der", "received"]
    is_der: bool


def verify(
    signer: SignerInfo,
    content: Octets | ContentDigests,
    content_type: str | None,
    candidate: Certificate,
    *,
    allow_no_attributes: bool = False,
    limits: Limits = DEFAULT,
) -> SignatureCheck:
    """Check one signature with one certificate; a `ContentDigests` saves hashing again for the next.

    No `content_type`: a countersignature, whose content is a signature value and has none (RFC 5652 11.4).

    Says nothing about the certificate, nor whether the signer identifier names it. Raises SignatureInvalid with the
    code of the flag, Unsupported, or MalformedMessage (LimitExceeded) where an algorithm or a key makes no sense.
    """
    digests = content if isinstance(content, ContentDigests) else ContentDigests(content)
    algorithm = find_signature(signer.signature_algorithm, signer.digest_algorithm)
    signed = signer.signed_attributes
    if signed is None:
        if content_type is not None:
            _check_absence(digests, content_type, allowed=allow_no_attributes, limits=limits)
        weak = check_signature(candidate, algorithm, signer.signature, digests.octets(), limits)
        return SignatureCheck(algorithm, weak, "der", is_der=True)
    check_attributes(signer, content_type, digests)
    if names_certificate(signer, candidate) is False:
        # R5035 3: this defends against another certificate for the same key
        raise SignatureInvalid("the signing certificate attribute names another certificate")
    received = _as_set(signed.raw)
    if signed.is_der:
        weak = check_signature(candidate, algorithm, signer.signature, received, limits)
        return SignatureCheck(algorithm, weak, "der", is_der=True)
    try:
        # RFC 5652 5.4 wants DER signed, whatever was sent; Bouncy Castle checks that, OpenSSL and NSS what was sent.
        # Both describe the same attributes, so taking either gives a forger nothing.
        weak = check_signature(candidate, algorithm, signer.signature, _as_set(signed.der), limits)
    except (SignatureInvalid, MalformedMessage):
        weak = check_signature(candidate, algorithm, signer.signature, received, limits)
        return SignatureCheck(algorithm, weak, "received", is_der=False)
    return SignatureCheck(algorithm, weak, "der", is_der=False)


def weaknesses(signer: SignerInfo, candidate: Certificate) -> tuple[str, ...]:
    """What `SignatureCheck.weak` would name, without any mathematics. Raises as `verify` for algorithm and key."""
    algorithm = find_signature(signer.signature_algorithm, signer.digest_algorithm)
    return algorithms.weaknesses(candidate.public_key, algorithm)


def _as_set(contents: bytes) -> bytes:
    """RFC 5652 5.4: the signature is over a SET OF, not over the [0] that stands in the message."""
    return der.tlv(der.SET, contents)


def signature_digest(signer: SignerInfo, order: Literal["der", "received"] = "der") -> bytes:
    """The digest of the signed attributes, which is what was signed (RFC 2634 2.4: the msgSigDigest of a receipt).

    `order` as `SignatureCheck` says it. Raises MalformedMessage without signed attributes or for ones that cannot be
    put into DER, Unsupported for an unknown digest.
    """
    signed = signer.signed_attributes
    if signed is None:
        raise MalformedMessage("a signature without signed attributes")
    hasher = find_digest(signer.digest_algorithm).new()
    hasher.update(_as_set(signed.der if order == "der" else signed.raw))
    return hasher.digest()


def check_attributes(signer: SignerInfo, content_type: str | None, digests: ContentDigests) -> None:
    """The rules signed attributes keep, apart from the signature (RFC 5652 5.3, 5.6, 11; RFC 6211; RFC 8551 2.5.2).

    Raises SignatureInvalid (`attrs.absent`, `attrs.cardinality`, `crypto.invalid`), Unsupported, MalformedMessage.
    """
    signed = signer.signed_attributes
    if signed is None:
        raise SignatureInvalid("there are no signed attributes", "attrs.absent")
    _check_content_type(signed, content_type)
    stated_digest = _single(signed, oids.ID_MESSAGE_DIGEST)
    if stated_digest is None:
        raise SignatureInvalid("the message digest is not among the signed attributes", "attrs.cardinality")
    _single(signed, oids.ID_SIGNING_TIME)
    _single(signed, oids.SMIME_CAPABILITIES)
    protection = _single(signed, oids.ID_AA_CMS_ALGORITHM_PROTECT)
    if protection is not None:
        digest, signature = attrs.read_cms_algorithm_protection(protection)
        if not (
            digest.same_as(signer.digest_algorithm) and signature and signature.same_as(signer.signature_algorithm)
        ):
            raise SignatureInvalid("the algorithms differ from those the signer protected")
    expected = digests.of(find_digest(signer.digest_algorithm))
    if stated_digest != der.octet_string(expected) and der.Reader(stated_digest).octet_string() != expected:
        raise SignatureInvalid("the content has another digest than the one signed")


def _check_content_type(signed: Attributes, content_type: str | None) -> None:
    stated = _single(signed, oids.ID_CONTENT_TYPE)
    if content_type is None:
        if stated is not None:
            raise SignatureInvalid("a countersignature with a content type", "attrs.cardinality")
        return
    if stated is None:
        raise SignatureInvalid("the content type is not among the signed attributes", "attrs.cardinality")
    if stated != der.oid(content_type) and der.Reader(stated).oid() != content_type:
        raise SignatureInvalid("the content type attribute differs from the type of the content")


def _single(signed: Attributes, oid: str) -> bytes | None:
    found = signed.get(oid)
    if not found:
        return None
    if len(found) != 1 or len(found[0].values) != 1:
        raise SignatureInvalid(f"attribute {oids.name(oid)} is there more than once", "attrs.cardinality")
    return found[0].values[0]


def _check_absence(digests: ContentDigests, content_type: str, *, allowed: bool, limits: Limits) -> None:
    if looks_like_signed_attributes(digests.octets(), limits):
        # somebody may have cut the attributes out of a message and now shows them as content signed without any
        raise SignatureInvalid("the signed content is a set of signed attributes", "attrs.confusion")
    if not allowed or content_type != oids.ID_DATA:
        raise SignatureInvalid("there are no signed attributes", "attrs.absent")


def looks_like_signed_attributes(content: Octets, limits: Limits = DEFAULT) -> bool:
    """Whether content parses as a SET OF Attribute with content type and message digest (RFC 5652 5.6, A-47)."""
    reader = der.Reader(content, limits)
    try:
        whole = reader.content(der.SET)
        reader.end()
        found = {item.oid for item in parse_attributes(whole, limits).items}
    except LimitExceeded:
        return True  # attributes so far, and we will not look at the rest
    except MalformedMessage:
        return False
    return {oids.ID_CONTENT_TYPE, oids.ID_MESSAGE_DIGEST} <= found


def names_certificate(signer: SignerInfo, candidate: Certificate) -> bool | None:
    """Whether the signing certificate attributes (RFC 2634 5.4, RFC 5035 3) name this one as the signer's.

    None if there is no such attribute, or none that can be used: a second instance, a digest not known, octets that do
    not parse.
    """
    answers = {named[0].matches(candidate) for named in _signing_certificates(signer)}
    # R5035-2-01: each is judged on its own
    return False if False in answers else (True if True in answers else None)


def permitted_issuers(signer: SignerInfo, candidates: Iterable[Certificate]) -> frozenset[str] | None:
    """The SHA-256 digests of those candidates that may stand between the signer and an anchor (RFC 5035 3).

    None where no signing certificate attribute lists more than the signer's certificate, so that all may. An anchor is
    the verifier's choice and needs no leave.
    """
    limits = [named for named in _signing_certificates(signer) if len(named) > 1]
    if not limits:
        return None
    return frozenset(c.sha256 for c in candidates if all(any(one.matches(c) for one in named) for named in limits))


def _signing_certificates(signer: SignerInfo) -> Iterator[tuple[attrs.CertificateHash, ...]]:
    """What each usable signing certificate attribute lists."""
    signed = signer.signed_attributes
    for oid in (oids.ID_AA_SIGNING_CERTIFICATE_V2, oids.ID_AA_SIGNING_CERTIFICATE):
        found = signed.get(oid) if signed else ()
        if len(found) != 1:
            continue
        try:
            named = attrs.read_signing_certificate(found[0])
        except MalformedMessage:
            continue
        if named:
            yield named


# --- making ----------------------------------------------------------------------------------------------------------

_MADE_HERE: Final = (
    oids.ID_CONTENT_TYPE,
    oids.ID_MESSAGE_DIGEST,
    oids.ID_SIGNING_TIME,
    oids.ID_AA_SIGNING_CERTIFICATE_V2,
    oids.ID_AA_CMS_ALGORITHM_PROTECT,
    oids.ID_AA_MULTIPLE_SIGNATURES,
)


@dataclass(frozen=True, slots=True)
class Signing:
    """How one signer signs. `attributes` are signed beside those made here: content type, message digest, signing time
    (if given), signing certificate, algorithm protection, and where the same name signs more than once
    multiple-signatures.

    No algorithm: the usual one for the key. `key_identifier` names the certificate by that, not by issuer and serial.
    Raises ValueError if `attributes` hold one that is made here.
    """

    credential: Credential
    algorithm: SignatureAlgorithm | None = None
    attributes: tuple[Attribute, ...] = ()
    signing_time: datetime | None = None
    unsigned_attributes: tuple[Attribute, ...] = ()
    key_identifier: bool = False

    def __post_init__(self) -> None:
        for item in self.attributes:
            if item.oid in _MADE_HERE:
                raise ValueError(f"attribute {oids.name(item.oid)} is made while signing")


def sign(
    content: Octets | Pieces,
    content_type: str,
    signers: Sequence[Signing],
    *,
    detached: bool = False,
    certificates: Iterable[Certificate] = (),
    signing_time: datetime | None = None,
) -> Octets | Pieces:
    """A ContentInfo with SignedData, DER. The certificates and chains of the signers are in it, and those given.

    `signing_time` is for signers that have none of their own, so that one preparation serves for many messages.
    Raises KeyUnusable for a key that may not sign or an algorithm that is not used any more; whatever the credential
    raises.
    """
    size = None if detached else len(content)
    head, tail = sign_around(
        ContentDigests(content), size, content_type, signers, certificates=certificates, signing_time=signing_time
    )
    return head + tail if detached else join(head, content, tail)


def sign_around(
    digests: ContentDigests,
    size: int | None,
    content_type: str,
    signers: Sequence[Signing],
    *,
    certificates: Iterable[Certificate] = (),
    signing_time: datetime | None = None,
) -> tuple[bytes, bytes]:
    """What goes before and after content of `size` octets (None: detached) that is never needed in one piece.

    Raises as `sign`.
    """
    prepared = [_prepare(*_constant(one, content_type)) for one in signers]
    items = [
        _signed_attributes(constant, digests, one.signing_time or signing_time)
        for one, constant in zip(signers, prepared, strict=True)
    ]
    if len(signers) > 1:
        _link(signers, prepared, items)
    infos = [_signer_info(one, constant, own) for one, constant, own in zip(signers, prepared, items, strict=True)]
    enclosed = [c for one in signers for c in (one.credential.certificate, *one.credential.chain)]
    return _around(
        size,
        content_type,
        version=3 if content_type != oids.ID_DATA or any(one.version == 3 for one in prepared) else 1,
        digest_algorithms=tuple([one.digest.identifier.raw for one in prepared]),
        certificates=(*enclosed, *certificates),
        signer_infos=infos,
    )


def null_layer(content: Octets | Pieces) -> Octets | Pieces:
    """The empty signature of RFC 3183 3: a ContentInfo with SignedData around `content` that nobody signs."""
    head, tail = _around(len(content), oids.ID_DATA)
    return join(head, content, tail)


def certificates_only(certificates: Iterable[Certificate], crls: Iterable[bytes] = ()) -> bytes:
    """A ContentInfo that only carries certificates and CRLs (RFC 8551 3.8)."""
    return b"".join(_around(None, oids.ID_DATA, certificates=tuple(certificates), crls=tuple(crls)))


def _around(
    size: int | None,
    content_type: str,
    *,
    version: int = 1,
    digest_algorithms: tuple[bytes, ...] = (),
    certificates: tuple[Certificate, ...] = (),
    crls: tuple[bytes, ...] = (),
    signer_infos: Sequence[bytes] = (),
) -> tuple[bytes, bytes]:
    """The octets of a ContentInfo before and after its content, lengths worked out from the inside."""
    tail = b"".join(
        (
            _certificate_set(certificates) if certificates else b"",
            der.tlv(_CRLS, *sorted(set(crls))) if crls else b"",
            der.set_of(signer_infos),
        )
    )
    head, following = b"", 0
    if size is not None:
        following = size
        head = der.header(der.OCTET_STRING, following)
        head = der.header(_CONTENT, len(head) + following) + head
    head = der.oid(content_type) + head
    head = der.header(der.SEQUENCE, len(head) + following) + head
    following += len(tail)
    head = _opening(version, digest_algorithms) + head
    head = der.header(der.SEQUENCE, len(head) + following) + head
    head = der.header(der.context(0), len(head) + following) + head
    head = der.oid(oids.ID_SIGNED_DATA) + head
    return der.header(der.SEQUENCE, len(head) + following) + head, tail


@functools.lru_cache(maxsize=128)
def _opening(version: int, digest_algorithms: tuple[bytes, ...]) -> bytes:
    return der.integer(version) + der.set_of(set(digest_algorithms))


@functools.lru_cache(maxsize=128)
def _certificate_set(certificates: tuple[Certificate, ...]) -> bytes:
    return der.tlv(_CERTIFICATES, *sorted({one.der for one in certificates}))


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What of a SignerInfo does not depend on the content: computed once for a signer, used for each message."""

    version: int
    algorithm: SignatureAlgorithm
    digest: Digest
    before: bytes  # version, sid, digest algorithm
    attributes: tuple[bytes, ...]
    between: bytes  # signature algorithm
    after: bytes  # unsigned attributes


def _constant(
    one: Signing, content_type: str
) -> tuple[Certificate, SignatureAlgorithm | None, tuple[Attribute, ...], tuple[Attribute, ...], bool, str]:
    return (
        one.credential.certificate,
        one.algorithm,
        one.attributes,
        one.unsigned_attributes,
        one.key_identifier,
        content_type,
    )


@functools.lru_cache(maxsize=256)
def _prepare(
    own: Certificate,
    wanted: SignatureAlgorithm | None,
    signed: tuple[Attribute, ...],
    unsigned: tuple[Attribute, ...],
    key_identifier: bool,
    content_type: str,
) -> _Prepared:
    algorithm = wanted or default_signature_algorithm(own.public_key)
    check_signing_key(own.public_key, algorithm)
    digest = algorithm.digest
    if key_identifier:
        if own.ski is None:
            raise KeyUnusable("the certificate has no subject key identifier")
        version, sid = 3, der.tlv(_KEY_IDENTIFIER, own.ski)
    else:
        version, sid = 1, issuer_and_serial(own)
    made = (
        attrs.content_type(content_type),
        attrs.signing_certificate_v2(own),
        attrs.cms_algorithm_protection(digest.identifier, algorithm.identifier),
    )
    return _Prepared(
        version,
        algorithm,
        digest,
        der.integer(version) + sid + digest.identifier.raw,
        tuple(item.raw for item in (*made, *signed)),
        algorithm.identifier.raw,
        der.tlv(_UNSIGNED_ATTRIBUTES, attrs.set_of_attributes(unsigned)) if unsigned else b"",
    )


def _signed_attributes(constant: _Prepared, digests: ContentDigests, when: datetime | None) -> list[bytes]:
    items = [*constant.attributes, attrs.message_digest(digests.of(constant.digest)).raw]
    if when is not None:
        items.append(attrs.signing_time(when.replace(microsecond=0)).raw)
    return items


def _link(signers: Sequence[Signing], prepared: Sequence[_Prepared], items: Sequence[list[bytes]]) -> None:
    """Add multiple-signatures to the attributes of each who signs more than once (RFC 5752 4.4.1)."""
    groups: dict[tuple[bytes, bytes], list[int]] = {}
    for i, one in enumerate(signers):
        own = one.credential.certificate
        groups.setdefault((own.subject, own.issuer), []).append(i)
    for group in (group for group in groups.values() if len(group) > 1):
        siblings = [
            multiple_signatures.Sibling(
                prepared[i].digest,
                prepared[i].algorithm.identifier,
                signers[i].credential.certificate,
                tuple(items[i]),
            )
            for i in group
        ]
        for i, made in zip(group, multiple_signatures.link(siblings), strict=True):
            items[i].append(made.raw)


def _signer_info(one: Signing, constant: _Prepared, items: list[bytes]) -> bytes:
    signed = _as_set(b"".join(sorted(items)))
    signature = one.credential.sign(signed, constant.algorithm)
    return der.sequence(
        constant.before,
        bytes((_SIGNED_ATTRIBUTES,)) + signed[1:],
        constant.between,
        der.octet_string(signature),
        constant.after,
    )
