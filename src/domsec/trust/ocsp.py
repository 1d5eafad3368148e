"""OCSP responses, read once and asked often (RFC 6960), and the requests for them.

A response is as good as its signature, by the issuer itself or by somebody whom the issuer gave id-kp-OCSPSigning, and
holds from thisUpdate to nextUpdate, or for a day. It is asked for while no message waits (`domsec.gateway.refresh`), so
there is no nonce in it. What speaks of several certificates is taken apart; what has a critical extension that is not
known says nothing. A responder that only local configuration vouches for is not known here.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from domsec import der, oids
from domsec.cms.algorithms import AlgorithmIdentifier, find_digest, read_algorithm
from domsec.cms.certificates import Certificate
from domsec.errors import DomsecError, MalformedMessage
from domsec.trust import names, usage
from domsec.trust.crl import Status
from domsec.trust.signature import are_signed_by, is_signed_by, weak_signature

MAX_SIZE: Final = 256 * 1024  # octets of a response
MAX_CERTIFICATES: Final = 8  # that a responder may send along
MAX_ANSWERS: Final = 1000
WITHOUT_END: Final = timedelta(days=1)  # RFC 6960 2.4: without nextUpdate there is newer information at any time

_CONTEXT_0: Final = der.context(0)
_CONTEXT_1: Final = der.context(1)
_GOOD: Final = der.context(0, constructed=False)
_REVOKED: Final = der.context(1)
_NO_EXTENSIONS: Final[frozenset[str]] = frozenset()
_SUCCESSFUL: Final = 0
# RFC 6960 4.4: none of these changes what an answer means
_KNOWN_EXTENSIONS: Final = frozenset(
    {
        oids.ID_PKIX_OCSP_NONCE,
        oids.ID_PKIX_OCSP_CRL,
        oids.ID_PKIX_OCSP_ARCHIVE_CUTOFF,
        oids.ID_PKIX_OCSP_SERVICE_LOCATOR,
        oids.ID_PKIX_OCSP_EXTENDED_REVOKE,
    }
)
# RFC 5280 5.3.1
_REASONS: Final = {
    1: "keyCompromise", 2: "cACompromise", 3: "affiliationChanged", 4: "superseded", 5: "cessationOfOperation",
    6: "certificateHold", 8: "removeFromCRL", 9: "privilegeWithdrawn", 10: "aACompromise",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CertId:
    """RFC 6960 4.1.1: which certificate, by hashes of its issuer's name and key."""

    digest: AlgorithmIdentifier
    name_hash: bytes
    key_hash: bytes
    serial: int

    def fits(self, certificate: Certificate, issuer: Certificate) -> bool:
        """Whether it means `certificate`, which `issuer` issued. Raises Unsupported for a digest that is not known."""
        if self.serial != certificate.serial:
            return False
        made = cert_id(certificate, issuer, self.digest)
        return (made.name_hash, made.key_hash) == (self.name_hash, self.key_hash)

    @property
    def octets(self) -> bytes:
        hashes = (der.octet_string(self.name_hash), der.octet_string(self.key_hash))
        return der.sequence(self.digest.raw, *hashes, der.integer(self.serial))


@dataclass(frozen=True, slots=True)
class Answer:
    """One SingleResponse."""

    certificate: CertId
    state: Literal["good", "revoked", "unknown"]
    this_update: datetime
    next_update: datetime | None
    revoked_at: datetime | None = None
    reason: str | None = None

    def until(self, grace: timedelta) -> datetime:
        """How long it is believed."""
        end, more = (self.this_update, WITHOUT_END) if self.next_update is None else (self.next_update, timedelta(0))
        try:
            return end + more + grace
        except OverflowError:  # the end of the calendar
            return end


@dataclass(frozen=True)
class OcspResponse:
    """A successful response. Making one raises MalformedMessage for anything else."""

    der: bytes = field(repr=False)
    sha256: str = field(init=False)
    signed: bytes = field(init=False, repr=False)  # ResponseData, over which the signature is
    algorithm: AlgorithmIdentifier = field(init=False, repr=False)
    signature: bytes = field(init=False, repr=False)
    certificates: tuple[Certificate, ...] = field(init=False, repr=False)
    responder_name: bytes | None = field(init=False)
    responder_key: bytes | None = field(init=False)  # SHA-1 of the key
    produced_at: datetime = field(init=False)
    answers: tuple[Answer, ...] = field(init=False)  # but those with critical extensions that are not known

    def __post_init__(self) -> None:
        if len(self.der) > MAX_SIZE:
            raise MalformedMessage(f"an OCSP response of {len(self.der)} octets")
        reader = der.Reader(_basic(self.der))
        reader.enter(der.SEQUENCE)
        signed = bytes(reader.skip())
        algorithm = read_algorithm(reader)
        signature = bytes(reader.primitive(der.BIT_STRING))
        certificates = tuple(_certificates(reader))
        reader.leave()
        reader.end()
        if signature[:1] != b"\0":
            raise MalformedMessage("an OCSP response whose signature is no string of octets")
        name, key, produced_at, answers = _response_data(signed)
        found = {
            "sha256": hashlib.sha256(self.der).hexdigest(),
            "signed": signed,
            "algorithm": algorithm,
            "signature": signature[1:],
            "certificates": certificates,
            "responder_name": name,
            "responder_key": key,
            "produced_at": produced_at,
            "answers": answers,
        }
        for attribute, value in found.items():
            object.__setattr__(self, attribute, value)

    def told_at(self, certificate: Certificate, issuer: Certificate) -> datetime | None:
        """thisUpdate of the newest answer about a certificate; None without any."""
        return max((a.this_update for a in self.answers if _fits(a, certificate, issuer)), default=None)

    def is_from(self, certificate: Certificate) -> bool:
        """Whether the responder calls itself by the name or the key of a certificate."""
        if self.responder_key is not None:
            return self.responder_key == hashlib.sha1(_key_octets(certificate), usedforsecurity=False).digest()
        return self.responder_name is not None and names.same_name(self.responder_name, certificate.subject)

    def is_signed_by(self, certificate: Certificate, *, allow_weak: bool = False) -> bool:
        """Whether the key in a certificate made the signature, and strongly enough. Raises nothing."""
        return are_signed_by(self.signed, self.algorithm, self.signature, certificate, allow_weak=allow_weak)


@dataclass(frozen=True)
class OcspIndex:
    """Responses by what they speak of. Immutable, but remembers who signed them; of those that strangers offer it
    remembers nothing, since there is no end of them."""

    responses: tuple[OcspResponse, ...] = ()
    grace: timedelta = timedelta(0)  # after nextUpdate
    _by_serial: dict[int, list[tuple[OcspResponse, Answer]]] = field(init=False, repr=False, compare=False)
    _signers: dict[tuple[str, bytes, bytes, bool], Certificate | None] = field(init=False, repr=False, compare=False)
    _own: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_serial: dict[int, list[tuple[OcspResponse, Answer]]] = {}
        for response in self.responses:
            for answer in response.answers:
                by_serial.setdefault(answer.certificate.serial, []).append((response, answer))
        object.__setattr__(self, "_by_serial", by_serial)
        object.__setattr__(self, "_signers", {})
        object.__setattr__(self, "_own", frozenset(response.sha256 for response in self.responses))

    def status(
        self,
        certificate: Certificate,
        issuer: Certificate,
        now: datetime,
        offered: Sequence[OcspResponse] = (),
        *,
        is_revoked: Callable[[Certificate], bool] = lambda _: False,
        allow_weak: bool = False,
    ) -> Status:
        """What the newest answer that can be believed says of `certificate`. `issuer` issued it, and is trusted to.

        `offered` are responses that a stranger sent along; they count like ours, since they are signed. `is_revoked`
        tells whether the certificate of a responder is known to be. Raises nothing.
        """
        candidates = [
            (response, answer)
            for response, answer in (*self._by_serial.get(certificate.serial, ()), *_answers(offered))
            if answer.this_update <= now and _fits(answer, certificate, issuer)
        ]
        # of two answers of one time the worse
        candidates.sort(key=lambda found: (found[1].this_update, found[1].state == "revoked"), reverse=True)
        for response, answer in candidates:
            signer = self._signer(response, issuer, allow_weak=allow_weak)
            if signer is None or not _may_answer(signer, issuer, now, is_revoked):
                continue
            return self._told(answer, now)
        if candidates:
            return Status("unknown", "no OCSP response about it is signed by whom its issuer let answer")
        return Status("unknown", "no OCSP response about it")

    def _told(self, answer: Answer, now: datetime) -> Status:
        if answer.state == "revoked":
            reason = f", {answer.reason}" if answer.reason else ""
            when = f"{answer.revoked_at:%Y-%m-%d %H:%M:%SZ}" if answer.revoked_at else ""
            return Status("revoked", f"revoked {when}{reason}", answer.next_update)
        until = answer.until(self.grace)
        if now > until:
            return Status("unknown", f"the OCSP response of {answer.this_update:%Y-%m-%d} is out of date")
        if answer.state == "unknown":
            return Status("unknown", "the OCSP responder does not know it", until)
        return Status("good", "", until)

    def _signer(self, response: OcspResponse, issuer: Certificate, *, allow_weak: bool) -> Certificate | None:
        """The issuer, or whom it delegated to; None where neither signed. Time is not looked at."""
        if response.sha256 not in self._own:
            return _find_signer(response, issuer, allow_weak=allow_weak)
        key = (response.sha256, issuer.subject, issuer.spki, allow_weak)
        if key not in self._signers:
            self._signers[key] = _find_signer(response, issuer, allow_weak=allow_weak)
        return self._signers[key]


def ocsp_index(octets: Iterable[bytes], grace: timedelta = timedelta(0)) -> OcspIndex:
    """An index of these responses, each once. Raises MalformedMessage if one cannot be read."""
    return OcspIndex(tuple(OcspResponse(each) for each in dict.fromkeys(octets)), grace)


def loadable_responses(octets: Iterable[bytes]) -> tuple[OcspResponse, ...]:
    """Those of a stranger's responses that can be read."""
    found = []
    for each in dict.fromkeys(octets):
        try:
            found.append(OcspResponse(each))
        except DomsecError:
            continue
    return tuple(found)


def cert_id(certificate: Certificate, issuer: Certificate, digest: AlgorithmIdentifier) -> CertId:
    """How a certificate is asked for. Raises Unsupported for a digest that is not known, MalformedMessage."""
    new = find_digest(digest).new

    def hashed(octets: bytes) -> bytes:
        made = new()
        made.update(octets)
        return made.digest()

    return CertId(digest, hashed(certificate.issuer), hashed(_key_octets(issuer)), certificate.serial)


def request(certificate: Certificate, issuer: Certificate, digest: AlgorithmIdentifier) -> bytes:
    """An OCSPRequest for one certificate (RFC 6960 4.1.1, RFC 5019 2.1.1). Raises as `cert_id`."""
    single = der.sequence(cert_id(certificate, issuer, digest).octets)
    return der.sequence(der.sequence(der.sequence(single)))


# --- who may answer --------------------------------------------------------------------------------------------------


def _find_signer(response: OcspResponse, issuer: Certificate, *, allow_weak: bool) -> Certificate | None:
    if response.is_from(issuer) and response.is_signed_by(issuer, allow_weak=allow_weak):
        return issuer
    for candidate in response.certificates:
        if not response.is_from(candidate) or not _is_delegate(candidate, issuer, allow_weak=allow_weak):
            continue
        if response.is_signed_by(candidate, allow_weak=allow_weak):
            return candidate
    return None


def _is_delegate(candidate: Certificate, issuer: Certificate, *, allow_weak: bool) -> bool:
    """RFC 6960 4.2.2.2: issued directly by the CA in question, for this purpose and by its name."""
    try:
        purposes = usage.extended_key_usage(candidate)
        bits = usage.key_usage(candidate)
        weak = weak_signature(candidate)
        named = names.same_name(candidate.issuer, issuer.subject)
    except DomsecError:
        return False
    if purposes is None or oids.ID_KP_OCSP_SIGNING not in purposes or not named or (weak and not allow_weak):
        return False
    if bits is not None and not bits & {"digitalSignature", "nonRepudiation"}:
        return False
    return is_signed_by(candidate, issuer)


def _may_answer(
    signer: Certificate, issuer: Certificate, now: datetime, is_revoked: Callable[[Certificate], bool]
) -> bool:
    if signer == issuer:
        return True
    try:
        if not signer.valid_at(now):
            return False
        return signer.extension(oids.ID_PKIX_OCSP_NOCHECK) is not None or not is_revoked(signer)
    except MalformedMessage:
        return False


def _fits(answer: Answer, certificate: Certificate, issuer: Certificate) -> bool:
    try:
        return answer.certificate.fits(certificate, issuer)
    except DomsecError:
        return False


def _answers(responses: Iterable[OcspResponse]) -> Iterator[tuple[OcspResponse, Answer]]:
    return ((response, answer) for response in responses for answer in response.answers)


@functools.lru_cache(maxsize=1024)
def _key_octets(certificate: Certificate) -> bytes:
    """The value of subjectPublicKey without tag, length and unused bits. Raises MalformedMessage."""
    reader = der.Reader(certificate.spki)
    reader.enter(der.SEQUENCE)
    reader.skip()
    return bytes(reader.primitive(der.BIT_STRING))[1:]


# --- reading ---------------------------------------------------------------------------------------------------------


def _basic(octets: bytes) -> bytes:
    """The BasicOCSPResponse in a response that is successful. Raises MalformedMessage."""
    reader = der.Reader(octets)
    reader.enter(der.SEQUENCE)
    status = bytes(reader.primitive(der.ENUMERATED))
    if status != bytes([_SUCCESSFUL]):
        raise MalformedMessage(f"an OCSP response that is an error, status {int.from_bytes(status, 'big')}")
    reader.enter(_CONTEXT_0)
    reader.enter(der.SEQUENCE)
    kind = reader.oid()
    if kind != oids.ID_PKIX_OCSP_BASIC:
        raise MalformedMessage(f"an OCSP response of type {kind}")
    basic = bytes(reader.octet_string())
    for _ in range(3):
        reader.leave()
    reader.end()
    return basic


def _certificates(reader: der.Reader) -> Iterator[Certificate]:
    """Those sent along that can be read."""
    if reader.peek() != _CONTEXT_0:
        return
    reader.enter(_CONTEXT_0)
    reader.enter(der.SEQUENCE)
    count = 0
    while not reader.at_end():
        count += 1
        if count > MAX_CERTIFICATES:
            raise MalformedMessage(f"an OCSP response with more than {MAX_CERTIFICATES} certificates")
        octets = bytes(reader.skip())
        try:
            yield Certificate(octets)
        except MalformedMessage:
            continue
    reader.leave()
    reader.leave()


def _response_data(octets: bytes) -> tuple[bytes | None, bytes | None, datetime, tuple[Answer, ...]]:
    """Name and key of the responder, producedAt, the answers. Raises MalformedMessage."""
    reader = der.Reader(octets)
    reader.enter(der.SEQUENCE)
    if reader.peek() == _CONTEXT_0:
        reader.enter(_CONTEXT_0)
        if reader.integer() != 0:
            raise MalformedMessage("an OCSP response of a version that is not known")
        reader.leave()
    name = key = None
    if reader.peek() == _CONTEXT_1:
        reader.enter(_CONTEXT_1)
        name = bytes(reader.skip())
        reader.leave()
    else:
        reader.enter(der.context(2))
        key = bytes(reader.octet_string())
        reader.leave()
    produced_at = reader.time()
    reader.enter(der.SEQUENCE)
    answers: list[Answer | None] = []
    while not reader.at_end():
        if len(answers) == MAX_ANSWERS:
            raise MalformedMessage(f"an OCSP response with more than {MAX_ANSWERS} answers")
        answers.append(_answer(reader))
    reader.leave()
    understood = _understood(reader)
    reader.leave()
    reader.end()
    return name, key, produced_at, tuple(answer for answer in answers if answer is not None) if understood else ()


def _answer(reader: der.Reader) -> Answer | None:
    """The SingleResponse that comes next; None where a critical extension of it is not known."""
    reader.enter(der.SEQUENCE)
    reader.enter(der.SEQUENCE)
    digest = read_algorithm(reader)
    certificate = CertId(digest, bytes(reader.octet_string()), bytes(reader.octet_string()), reader.integer())
    reader.leave()
    state: Literal["good", "revoked", "unknown"] = "unknown"
    revoked_at = reason = None
    tag = reader.peek()
    if tag == _REVOKED:
        state = "revoked"
        reader.enter(_REVOKED)
        revoked_at = reader.time()
        if reader.peek() == _CONTEXT_0:
            reader.enter(_CONTEXT_0)
            reason = _REASONS.get(int.from_bytes(reader.primitive(der.ENUMERATED), "big"))
            reader.leave()
        reader.leave()
    elif tag in (_GOOD, der.context(2, constructed=False)):
        state = "good" if tag == _GOOD else "unknown"
        reader.skip()
    else:
        raise MalformedMessage("an OCSP response with a status that is not known")
    this_update = reader.time()
    next_update = None
    if reader.peek() == _CONTEXT_0:
        reader.enter(_CONTEXT_0)
        next_update = reader.time()
        reader.leave()
    understood = _understood(reader)
    reader.leave()
    return Answer(certificate, state, this_update, next_update, revoked_at, reason) if understood else None


def _understood(reader: der.Reader) -> bool:
    """Whether no critical extension among those that come next, if any do, is one that is not known."""
    if reader.peek() != _CONTEXT_1:
        return True
    understood = True
    reader.enter(_CONTEXT_1)
    reader.enter(der.SEQUENCE)
    while not reader.at_end():
        reader.enter(der.SEQUENCE)
        oid = reader.oid()
        if reader.peek() == der.BOOLEAN and reader.boolean() and oid not in _KNOWN_EXTENSIONS:
            understood = False
        reader.octet_string()
        reader.leave()
    reader.leave()
    reader.leave()
    return understood
