"""Whether a certificate can be trusted: a path to an anchor, judged by RFC 5280 and by RFC 8550 4.

    validate  ->  cached?  ->  pinned?  ->  chains  ->  judge each  ->  the best verdict

Nothing is fetched here. What may be used - anchors, intermediates, CRLs - is a `Snapshot`, made elsewhere and never
changed; what a stranger sends along is used for building paths only, and costs nothing but signature checks, and few of
them, before the path algorithm proper sees anything.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from cryptography import x509

from domsec.cms.certificates import Certificate
from domsec.der import SEQUENCE, Reader
from domsec.errors import DomsecError, MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.trust import addresses, names, usage
from domsec.trust.crl import Crl, CrlIndex, Status, loadable
from domsec.trust.ocsp import OcspIndex, OcspResponse, loadable_responses
from domsec.trust.rfc5280 import NO_POLICIES, PathAlgorithm, Policies
from domsec.trust.signature import is_signed_by, weak_signature

Revocation = Literal["hard", "soft", "off"]
State = Literal["valid", "invalid", "untrusted", "unknown"]

AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"

_NO_NAME: Final = b"\x30\x00"

CACHE_SIZE: Final = 10_000  # verdicts; a valid one keeps its chain, some 5 KB
KEEP_VALID: Final = timedelta(minutes=10)
KEEP_OTHERS: Final = timedelta(seconds=60)  # what was missing may have come with the next message


@dataclass(frozen=True, slots=True)
class PathVerdict:
    """What came out for one certificate. `chain` goes from it to the anchor; it is empty where no anchor was reached.

    valid       a path holds
    invalid     a path to an anchor exists, but a rule is broken: expired, revoked, constraints, usage of a CA, ...
    untrusted   no path to an anchor
    unknown     a path holds but for revocation, which has to be known (mode hard) and is not
    """

    state: State
    reason: str
    revocation: Literal["good", "revoked", "unknown", "off"]
    chain: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class AnchorSet:
    """What somebody decided to trust: CAs, and single certificates that vouch for nothing but themselves.

    A certificate that is no CA is a pin: it validates itself, not its namesakes (measurements-crypto 11). Raises
    MalformedMessage for an anchor that cannot be read.
    """

    certificates: tuple[Certificate, ...] = ()
    generation: str = field(init=False, compare=False, repr=False)
    members: frozenset[Certificate] = field(init=False, compare=False, repr=False)
    pool: _Pool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        digests = "".join(sorted(certificate.sha256 for certificate in self.certificates))
        authorities = [certificate for certificate in self.certificates if is_authority(certificate)]
        object.__setattr__(self, "generation", hashlib.sha256(digests.encode()).hexdigest())
        object.__setattr__(self, "members", frozenset(self.certificates))
        object.__setattr__(self, "pool", _Pool(authorities))

    def __contains__(self, certificate: Certificate) -> bool:
        return certificate in self.members

    def __or__(self, other: AnchorSet) -> AnchorSet:
        return AnchorSet(tuple(dict.fromkeys((*self.certificates, *other.certificates))))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The world of trust at one moment: the two stores (decisions A-25), what helps to build paths, and revocation."""

    roles: AnchorSet = field(default_factory=AnchorSet)
    users: AnchorSet = field(default_factory=AnchorSet)
    intermediates: tuple[Certificate, ...] = ()
    crls: CrlIndex = field(default_factory=CrlIndex)
    ocsp: OcspIndex = field(default_factory=OcspIndex)
    pool: _Pool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool", _Pool(self.intermediates))


class Validator:
    """Validates against one snapshot and remembers the verdicts. A new snapshot wants a new Validator.

    `allow_weak` lets signatures with SHA-1 or MD5, small RSA keys and DSA pass: for looking at old mail only. `note`
    gets each path that holds, but for revocation, when it is found: whoever keeps that fresh wants to know.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        limits: Limits = DEFAULT,
        allow_weak: bool = False,
        note: Callable[[tuple[Certificate, ...]], None] | None = None,
    ) -> None:
        self.snapshot = snapshot
        self._limits = limits
        self._allow_weak = allow_weak
        self._note = note
        self._algorithm = PathAlgorithm()
        self._cache = _Cache(CACHE_SIZE)

    def on(self, snapshot: Snapshot, *, note: Callable[[tuple[Certificate, ...]], None] | None = None) -> Validator:
        """One as this, against another snapshot."""
        return Validator(snapshot, limits=self._limits, allow_weak=self._allow_weak, note=note or self._note)

    def validate(
        self,
        certificate: Certificate,
        offered: Sequence[Certificate] = (),
        *,
        anchors: AnchorSet,
        now: datetime,
        revocation: Revocation,
        crls: Sequence[bytes] = (),
        ocsp: Sequence[bytes] = (),
        policies: Policies = NO_POLICIES,
        issuers: frozenset[str] | None = None,
        noted: bool = True,
    ) -> PathVerdict:
        """The verdict on `certificate` at `now`. `offered`, `crls` and `ocsp` came with it and vouch for nothing.

        `issuers` are the SHA-256 digests of those that may stand between it and an anchor; None is all. What holds is
        not `noted` where a stranger chose the anchors: whoever keeps revocation fresh goes where certificates say.
        Does not look at what the certificate is to be used for (`domsec.trust.usage`), nor whose it is. Raises nothing
        for any certificate; the first `limits.certificates` offered ones, `limits.crls` CRLs and as many OCSP responses
        are considered.
        """
        offered = tuple(offered[: self._limits.certificates])
        crls = tuple(crls[: self._limits.crls]) if revocation != "off" else ()
        ocsp = tuple(ocsp[: self._limits.crls]) if revocation != "off" else ()
        key = (
            certificate.sha256,
            frozenset([other.sha256 for other in offered]),
            anchors.generation,
            revocation,
            policies,
            issuers,
            frozenset([hashlib.sha256(octets).digest() for octets in (*crls, *ocsp)]),
        )
        verdict = self._cache.get(key, now)
        if verdict is None:
            search = _Search(self, offered, anchors, now, revocation, crls, ocsp, policies, issuers, noted=noted)
            verdict = search.verdict(certificate)
            self._cache.put(key, verdict, now, search.until(verdict))
        return verdict

    def _judge(self, chain: tuple[Certificate, ...], search: _Search) -> tuple[PathVerdict, datetime | None]:
        """The verdict on one chain, and when revocation has to be asked again."""
        invalid = PathVerdict("invalid", "", "off" if search.revocation == "off" else "unknown", chain)
        try:
            problem = (
                _expired(chain, search.now)
                or (None if self._allow_weak else _weak(chain))
                or _misissued(chain)
                or _wrong_purpose(chain)
                or _outside_constraints(chain)
            )
        except DomsecError as error:
            problem = str(error)
        if problem:
            return replace(invalid, reason=problem), None
        outcome = self._algorithm.check(chain, search.now, search.policies)
        if outcome.state != "valid":
            return replace(invalid, reason=outcome.text), None
        if search.revocation == "off":
            return PathVerdict("valid", "", "off", chain), None
        if self._note is not None and search.noted:
            self._note(chain)
        status = self._revocation(chain, search)
        if status.state == "revoked":
            return PathVerdict("invalid", status.text, "revoked", chain), status.until
        if status.state == "good":
            return PathVerdict("valid", "", "good", chain), status.until
        state: State = "unknown" if search.revocation == "hard" else "valid"
        return PathVerdict(state, status.text if state == "unknown" else "", "unknown", chain), status.until

    def _revocation(self, chain: tuple[Certificate, ...], search: _Search) -> Status:
        """Of every certificate of the chain but the anchor. Revoked beats unknown beats good."""
        unknown: Status | None = None
        until: datetime | None = None
        for depth in range(len(chain) - 1):
            status = self._status(chain[depth:], search)
            if status.state == "revoked":
                return status if depth == 0 else replace(status, text=f"issuer {depth} of the path is {status.text}")
            if status.until is not None:
                until = status.until if until is None else min(until, status.until)
            if status.state == "unknown" and unknown is None:
                unknown = status if depth == 0 else replace(status, text=f"issuer {depth} of the path: {status.text}")
        return unknown or Status("good", "", until)

    def _status(self, chain: tuple[Certificate, ...], search: _Search) -> Status:
        """Of the first certificate of a chain, by CRLs and by OCSP: either may know, and who says revoked is right."""
        by_list = self._by_list(chain, search)
        if by_list.state == "revoked":
            return by_list
        subject, issuer = chain[:2]
        by_answer = self.snapshot.ocsp.status(
            subject,
            issuer,
            search.now,
            search.offered_ocsp,
            is_revoked=lambda responder: self._by_list((responder, *chain[1:]), search).state == "revoked",
            allow_weak=self._allow_weak,
        )
        if by_answer.state == "revoked" or (by_answer.state == "good" and by_list.state != "good"):
            return by_answer
        return by_list  # in its words, where neither knows: those of OCSP mostly say that nobody asked

    def _by_list(self, chain: tuple[Certificate, ...], search: _Search) -> Status:
        try:
            status = self.snapshot.crls.status(chain[0], chain[1], search.now, search.offered_crls)
        except MalformedMessage as error:
            return Status("unknown", str(error))
        return self._complex_revocation(chain, search) if status.state == "complex" else status

    def _complex_revocation(self, chain: tuple[Certificate, ...], search: _Search) -> Status:
        try:
            relevant = self.snapshot.crls.concerning(chain)
        except MalformedMessage as error:
            return Status("unknown", str(error))
        issuers = search.crl_issuers(chain, {_name_key(crl.issuer) for crl in relevant})
        outcome = self._algorithm.check_revocation(chain, search.now, relevant, issuers)
        if outcome.state == "valid":
            ends = [crl.next_update for crl in relevant if crl.next_update is not None and crl.next_update > search.now]
            return Status("good", "", min(ends, default=None))
        return Status("revoked" if outcome.state == "revoked" else "unknown", outcome.text)


class _Search:
    """Everything about one call of `validate`; looks for chains within its budget."""

    def __init__(
        self,
        validator: Validator,
        offered: tuple[Certificate, ...],
        anchors: AnchorSet,
        now: datetime,
        revocation: Revocation,
        crls: Sequence[bytes],
        ocsp: Sequence[bytes],
        policies: Policies,
        issuers: frozenset[str] | None,
        *,
        noted: bool,
    ) -> None:
        self.now = now
        self.noted = noted
        self.revocation = revocation
        self.policies = policies
        self.issuers = issuers
        self.offered_crls: tuple[Crl, ...] = loadable(crls)
        self.offered_ocsp: tuple[OcspResponse, ...] = loadable_responses(ocsp)
        self._validator = validator
        self._limits = validator._limits
        self._offered = offered
        self._anchors = anchors
        self._pools = (validator.snapshot.pool, _Pool(offered))
        self._tries = self._limits.path_tries
        self._seen: set[Certificate] = set()
        self._revocation_until: datetime | None = None

    def verdict(self, certificate: Certificate) -> PathVerdict:
        if problem := self._unloadable(certificate):
            return PathVerdict("invalid", problem, "off" if self.revocation == "off" else "unknown", ())
        best: PathVerdict | None = None
        if certificate in self._anchors:
            best = self._pinned(certificate)
        for chain in itertools.islice(self._chains(certificate), self._limits.path_candidates):
            found, until = self._validator._judge(chain, self)
            # a pin is no excuse: whoever issued the certificate took it back
            taken_back = found.revocation == "revoked" and best is not None and len(best.chain) == 1
            if best is None or taken_back or _RANK[found.state] > _RANK[best.state]:
                best, self._revocation_until = found, until
            if best.state == "valid" or taken_back:
                break
        if best is not None:
            return best
        reason = "no path to an anchor" if self._tries > 0 else "no path to an anchor within the limit of tries"
        reason += "" if self.issuers is None else " by the certificates that the signer lists"
        return PathVerdict("untrusted", reason, "off" if self.revocation == "off" else "unknown", ())

    def until(self, verdict: PathVerdict) -> datetime:
        """When the verdict has to be found anew."""
        latest = self.now + (KEEP_VALID if verdict.state == "valid" else KEEP_OTHERS)
        bounds = [latest]
        if self._revocation_until is not None:
            with contextlib.suppress(OverflowError):
                bounds.append(self._revocation_until + timedelta(microseconds=1))  # at that very moment it still holds
        for certificate in self._seen:
            bounds += _turns(certificate)
        return min(bound for bound in bounds if bound > self.now)

    def crl_issuers(self, chain: tuple[Certificate, ...], wanted: Container[object]) -> tuple[Certificate, ...]:
        """Certificates of these names beside the path that may have signed CRLs and lead to an anchor."""
        found = []
        for candidate in dict.fromkeys((*self._validator.snapshot.intermediates, *self._offered)):
            if _name_key(candidate.subject) not in wanted or candidate in chain:
                continue
            try:
                bits = usage.key_usage(candidate)
            except MalformedMessage:
                continue
            if bits is not None and "cRLSign" not in bits:
                continue
            if next(self._chains(candidate), None) is not None:
                found.append(candidate)
        return tuple(found)

    def _pinned(self, certificate: Certificate) -> PathVerdict:
        self._seen.add(certificate)
        try:
            problem = _expired((certificate,), self.now)
        except MalformedMessage as error:
            problem = str(error)
        # like any anchor it is withdrawn by whoever set it, not by a CRL
        return PathVerdict("invalid" if problem else "valid", problem or "", "off", (certificate,))

    def _unloadable(self, certificate: Certificate) -> str | None:
        if len(certificate.der) > self._limits.certificate_size:
            return f"a certificate of {len(certificate.der)} octets"
        try:
            _ = certificate.extensions
        except MalformedMessage as error:
            return str(error)
        return None

    def _chains(self, certificate: Certificate) -> Iterator[tuple[Certificate, ...]]:
        """Chains from the certificate to an anchor, every signature in them checked, as the budget allows."""
        open_chains: list[tuple[Certificate, ...]] = [(certificate,)]
        while open_chains:
            chain = open_chains.pop()
            self._seen.update(chain)
            for anchor in self._issuers(chain, self._anchors.pool.named(chain[-1].issuer)):
                self._seen.add(anchor)
                yield (*chain, anchor)
            if len(chain) + 1 < self._limits.path_length:
                known = dict.fromkeys(other for pool in self._pools for other in pool.named(chain[-1].issuer))
                hopeful = [c for c in known if self._may_issue(c) and _name_key(c.issuer) in self._within_reach]
                open_chains.extend((*chain, issuer) for issuer in reversed(list(self._issuers(chain, hopeful))))

    def _may_issue(self, candidate: Certificate) -> bool:
        return self.issuers is None or candidate.sha256 in self.issuers

    def _issuers(self, chain: tuple[Certificate, ...], candidates: Sequence[Certificate]) -> Iterator[Certificate]:
        """Those candidates that signed the last certificate of the chain, the likeliest first."""
        last = chain[-1]
        if len(candidates) > 1:
            wanted = _authority_key_identifier(last)
            candidates = sorted(candidates, key=lambda candidate: _likelihood(candidate, wanted, self.now))
        known = {(certificate.subject, certificate.spki) for certificate in chain}
        for candidate in candidates:
            if (candidate.subject, candidate.spki) in known:
                continue
            if self._tries <= 0:
                return
            self._tries -= 1
            if is_signed_by(last, candidate) and not self._unloadable(candidate):
                yield candidate

    @functools.cached_property
    def _within_reach(self) -> frozenset[object]:
        """Names from which names alone lead to an anchor: outside of it no signature is worth checking."""
        reached = {subject for subject, _ in self._anchors.pool.links}
        links = set(self._pools[0].links | self._pools[1].links)
        for _ in range(self._limits.path_length):
            added = {link for link in links if link[1] in reached}
            if not added:
                break
            reached.update(subject for subject, _ in added)
            links -= added
        return frozenset(reached)


_RANK: Final[dict[State, int]] = {"valid": 3, "unknown": 2, "invalid": 1, "untrusted": 0}


class _Pool:
    """Certificates by subject."""

    def __init__(self, certificates: Iterable[Certificate]) -> None:
        self._by_octets: dict[bytes, list[Certificate]] = {}
        for certificate in certificates:
            self._by_octets.setdefault(certificate.subject, []).append(certificate)

    def named(self, name: bytes) -> Sequence[Certificate]:
        """Those with this subject: octet for octet, or else by RFC 5280 7.1."""
        found = self._by_octets.get(name)
        return found if found is not None else self._by_key.get(_name_key(name), ())

    @functools.cached_property
    def _by_key(self) -> dict[object, list[Certificate]]:
        found: dict[object, list[Certificate]] = {}
        for subject, certificates in self._by_octets.items():
            found.setdefault(_name_key(subject), []).extend(certificates)
        return found

    @functools.cached_property
    def links(self) -> frozenset[tuple[object, object]]:
        """Subject and issuer of each certificate."""
        certificates = itertools.chain.from_iterable(self._by_octets.values())
        return frozenset((_name_key(each.subject), _name_key(each.issuer)) for each in certificates)


def _name_key(name: bytes) -> object:
    """Equal for names that RFC 5280 7.1 calls equal; a name that cannot be read equals itself only."""
    try:
        return names.normalised(name)
    except MalformedMessage:
        return name


class _Cache:
    """Verdicts, the least recently used forgotten first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[object, tuple[PathVerdict, datetime, datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object, now: datetime) -> PathVerdict | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not entry[1] <= now < entry[2]:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: object, verdict: PathVerdict, since: datetime, until: datetime) -> None:
        with self._lock:
            self._entries[key] = (verdict, since, until)
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)


def is_authority(certificate: Certificate) -> bool:
    """Whether basicConstraints say so, or the certificate is a self-issued one from before there were any.

    Raises MalformedMessage.
    """
    if certificate.extension(usage.BASIC_CONSTRAINTS) is None:
        return certificate.x509.version is x509.Version.v1 and certificate.issuer == certificate.subject
    return usage.is_ca(certificate)


def _expired(chain: Sequence[Certificate], now: datetime) -> str | None:
    for depth, certificate in enumerate(chain):
        who = "" if depth == 0 else f"issuer {depth} of the path: "
        if now < certificate.not_before:
            return f"{who}not valid before {certificate.not_before:%Y-%m-%d %H:%M:%SZ}"
        if now > certificate.not_after:
            return f"{who}expired {certificate.not_after:%Y-%m-%d %H:%M:%SZ}"
    return None


def _turns(certificate: Certificate) -> Iterator[datetime]:
    """When a certificate begins and ceases to be valid. 99991231235959Z is no end (RFC 5280 4.1.2.5)."""
    with contextlib.suppress(MalformedMessage, OverflowError):
        yield certificate.not_before
        yield certificate.not_after + timedelta(seconds=1)


def _weak(chain: Sequence[Certificate]) -> str | None:
    """The floor for signatures of CAs. The key of the certificate itself is judged with its use."""
    for depth, (subject, issuer) in enumerate(itertools.pairwise(chain)):
        if weakness := weak_signature(subject) or usage.weak_key(issuer.public_key):
            return weakness if depth == 0 else f"issuer {depth} of the path: {weakness}"
    return None


def _misissued(chain: Sequence[Certificate]) -> str | None:
    """What RFC 5280 forbids to whoever issues, and 6.1 does not look for."""
    # 4.2.1.10  MUST be used only in a CA certificate
    if chain[0].extension(addresses.NAME_CONSTRAINTS) is not None and not is_authority(chain[0]):
        return "it has name constraints, but is no CA"
    for depth, issuer in enumerate(chain[1:], 1):
        if issuer.subject == _NO_NAME:  # 4.1.2.6
            return f"issuer {depth} of the path has no name"
    # 4.2.1.9  the algorithm asks it of every CA but the anchor, whose extensions count as well (RFC 5937 3.2)
    bits = usage.key_usage(chain[-1])
    if len(chain) > 1 and bits is not None and "keyCertSign" not in bits:
        return f"issuer {len(chain) - 1} of the path: key usage has no keyCertSign"
    return None


def _wrong_purpose(chain: Sequence[Certificate]) -> str | None:
    """A CA whose extended key usage leaves mail out certifies nobody for mail; anchors were chosen by a person."""
    for depth, issuer in enumerate(chain[1:-1], 1):
        if not usage.for_mail(issuer):
            return f"issuer {depth} of the path: extended key usage has neither emailProtection nor any"
    return None


def _outside_constraints(chain: Sequence[Certificate]) -> str | None:
    """rfc822Name constraints for every address of the certificate, those in its subject included."""
    constraints = [addresses.mail_constraints(issuer) for issuer in chain[1:]]
    if all(constraint.permitted is None and not constraint.excluded for constraint in constraints):
        return None
    certificate = chain[0]
    smtp_utf8 = frozenset(addresses.smtp_utf8_addresses(certificate))
    for address in addresses.addresses(certificate):
        for constraint in constraints:
            if addresses.outside(address, constraint, smtp_utf8=address in smtp_utf8):
                return f"the address {names.escaped(address)} is outside the name constraints of an issuer"
    return None


def _authority_key_identifier(certificate: Certificate) -> bytes | None:
    try:
        value = certificate.extension(AUTHORITY_KEY_IDENTIFIER)
        if value is None:
            return None
        reader = Reader(value)
        reader.enter(SEQUENCE)
        return bytes(reader.primitive(0x80)) if reader.peek() == 0x80 else None
    except MalformedMessage:
        return None


def _likelihood(candidate: Certificate, wanted: bytes | None, now: datetime) -> tuple[bool, bool, float]:
    """Sorts first: the key identifier fits, valid now, the newest."""
    try:
        current = candidate.valid_at(now)
        age = -candidate.not_before.timestamp()
    except MalformedMessage:
        current, age = False, 0.0
    return (wanted is not None and candidate.ski != wanted, not current, age)
