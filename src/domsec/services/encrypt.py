"""Domain encryption (RFC 3183 section 4): finding whom to encrypt to, and doing it (spec/algorithms.md (e)).

`locate` answers for one recipient, with a trace that says for every certificate it passed over why. A certificate that
was found and is no good is never a reason to send in clear; that decision is policy's, not ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from domsec.cms import enveloped_data
from domsec.cms.certificates import Certificate
from domsec.errors import CertificateNotFound, DomsecError
from domsec.mime import smime
from domsec.mime.addresses import Mailbox, parse_address
from domsec.services import names
from domsec.services.context import Context
from domsec.services.names import CONFIDENTIALITY_AUTHORITY, Entity
from domsec.services.peer import CipherName, Peer
from domsec.trust.addresses import addresses
from domsec.trust.names import common_names, name_text
from domsec.trust.usage import encryption_problems, key_usage

Target = Literal["auto", "recipient", "dca", "both"]


@dataclass(frozen=True, slots=True)
class Located:
    """The certificates to encrypt to for one recipient, and the way there, a line for each certificate looked at."""

    recipient: str
    certificates: tuple[Certificate, ...]
    authority: bool  # whether one of them is a domain's authority
    trace: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cipher:
    """How to encrypt for a peer."""

    content: CipherName = "aes256-gcm"
    key_transport: Literal["oaep", "pkcs1v15"] = "oaep"


def locate(recipient: Mailbox, target: Target, context: Context) -> Located:
    """Find the certificates for a recipient: its own, or the authority of its domain or of one above (A-43).

    Raises CertificateNotFound with the trace.
    """
    trace = _Trace()
    peer = context.peers.of(recipient.domain)
    found: list[Certificate] = []
    own = _own(recipient, context, peer, trace) if target in ("auto", "recipient", "both") else None
    if own is not None:
        found.append(own)
    authority = None
    if target in ("dca", "both") or (target == "auto" and own is None):
        authority = _authority(recipient, context, peer, trace)
        if authority is not None:
            found.append(authority)
    complete = (own is not None and authority is not None) if target == "both" else bool(found)
    if not complete:
        raise CertificateNotFound(recipient.address, trace.lines, rejected=trace.rejected)
    return Located(recipient.address, tuple(found), authority is not None, tuple(trace.lines))


@dataclass(slots=True)
class _Trace:
    """What was looked at on the way, and whether something found was no good."""

    lines: list[str] = field(default_factory=list)
    rejected: bool = False


def _own(recipient: Mailbox, context: Context, peer: Peer | None, trace: _Trace) -> Certificate | None:
    """A certificate of the recipient. An authority's filed under the recipient's name is left to `_authority`."""
    usable = []
    for certificate in context.source.by_address(recipient.address):
        if is_authority(certificate):
            continue
        problem = _problem(certificate, context, role=False, peer=peer)
        if problem is None and not _names(certificate, recipient):
            problem = "is for another address"
        if _note(certificate, problem, recipient.address, trace):
            usable.append(certificate)
    return _best(usable)


def _authority(recipient: Mailbox, context: Context, peer: Peer | None, trace: _Trace) -> Certificate | None:
    """The nearest authority that may decrypt for the domain: whatever found it, the mapping decides (4.2)."""
    for domain in _ascendants(recipient.domain, context):
        usable = []
        offered = list(context.source.authority(CONFIDENTIALITY_AUTHORITY, domain))
        if domain == recipient.domain:
            offered += [c for c in context.source.by_address(recipient.address) if is_authority(c) and c not in offered]
        for certificate in offered:
            problem = authority_problem(certificate, recipient.domain, context, peer)
            if _note(certificate, problem, f"the authority of {domain}", trace):
                usable.append(certificate)
        if usable:
            return _best(usable)
        if not offered:
            trace.lines.append(f"no certificate of an authority of {domain}")
    return None


def authority_problem(certificate: Certificate, domain: str, context: Context, peer: Peer | None) -> str | None:
    """Why a certificate may not be used as the confidentiality authority of a domain; None if it may."""
    problem = _problem(certificate, context, role=True, peer=peer)
    if problem is not None:
        return problem
    findings = names.check_naming(certificate, CONFIDENTIALITY_AUTHORITY, peer)
    texts = [text for code, text in findings if code != "naming.convention"]
    texts += [
        text for _, text in names.check_mapping(certificate, [Entity(domain)], peer, context.is_public_suffix).findings
    ]
    return "; ".join(texts) or None


def _ascendants(domain: str, context: Context) -> Iterable[str]:
    """The domain and those above, down to two labels and never a public suffix."""
    while domain.count(".") >= 1 and not domain.startswith("[") and not context.is_public_suffix(domain):
        yield domain
        domain = domain.partition(".")[2]


def is_authority(certificate: Certificate) -> bool:
    """Whether a certificate says that it is of a confidentiality authority, rightly or not."""
    try:
        stated = [a.rpartition("@")[0] for a in addresses(certificate)]
        return any(names.same_name(n, CONFIDENTIALITY_AUTHORITY) for n in (*common_names(certificate), *stated))
    except DomsecError:
        return False


def _names(certificate: Certificate, recipient: Mailbox) -> bool:
    for address in addresses(certificate):
        try:
            if parse_address(address).same_as(recipient):
                return True
        except DomsecError:
            continue
    return False


def _problem(certificate: Certificate, context: Context, *, role: bool, peer: Peer | None) -> str | None:
    try:
        problems = encryption_problems(certificate)
        if problems:
            return "; ".join(problems)
        path = context.path(certificate, (), role=role, peer=peer)
    except DomsecError as error:
        return str(error)
    return None if path.state == "valid" else f"{path.state}: {path.reason}"


def _note(certificate: Certificate, problem: str | None, what: str, trace: _Trace) -> bool:
    try:
        who = name_text(certificate.subject)
    except DomsecError:
        who = "a name that cannot be read"
    trace.lines.append(f"{certificate.sha256[:16]} {who}: {problem or f'usable for {what}'}")
    trace.rejected = trace.rejected or (problem is not None and not _only_signs(certificate))
    return problem is None


def _only_signs(certificate: Certificate) -> bool:
    """Whether a certificate never was meant to encrypt to."""
    try:
        bits = key_usage(certificate)
    except DomsecError:
        return False
    return bits is not None and not bits & {"keyEncipherment", "keyAgreement"}


def _best(certificates: Sequence[Certificate]) -> Certificate | None:
    """Of several the newest, then by digest so that everybody chooses the same."""
    return max(certificates, key=lambda c: (c.not_before, c.sha256), default=None)


def encrypt(
    entity: bytes,
    certificates: Iterable[Certificate],
    cipher: Cipher | None = None,
    *,
    originator: Sequence[Certificate] = (),
) -> bytes:
    """An entity encrypted to certificates. `originator` is the chain of our own authority, if one encrypts (A-36).

    Checks nothing about the certificates: that is what `locate` is for.
    """
    cipher = cipher or Cipher()
    distinct = tuple(dict.fromkeys(certificates))
    der = enveloped_data.encrypt(
        entity,
        distinct,
        cipher=cipher.content,
        key_transport=cipher.key_transport,
        originator_certificates=tuple(originator),
    )
    smime_type = "authEnveloped-data" if cipher.content.endswith("-gcm") else "enveloped-data"
    return smime.pkcs7_mime(der, smime_type)


def find_authority(domain: str, context: Context) -> Certificate | None:
    """The confidentiality authority that may be used for a domain, if one is known (decisions A-62)."""
    return _authority(Mailbox("", domain), context, context.peers.of(domain), _Trace())
