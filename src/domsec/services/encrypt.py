"""Domain encryption (RFC 3183 section 4): finding whom to encrypt to, and doing it (spec/algorithms.md (e)).

`locate` answers for one recipient, and says of every certificate on its way whether it is used, and why not. One that
was found and is no good is never a reason to send in clear; that decision is policy's, not ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from domsec import oids
from domsec.cms import enveloped_data
from domsec.cms.certificates import Certificate
from domsec.cms.enveloped_data import SharedKey
from domsec.errors import CertificateNotFound, DomsecError
from domsec.mime import smime
from domsec.mime.addresses import Mailbox, parse_address
from domsec.octets import Octets, Pieces, in_one_place
from domsec.services import names
from domsec.services.context import Context
from domsec.services.names import CONFIDENTIALITY_AUTHORITY, Entity
from domsec.services.peer import CipherName, Peer
from domsec.trust.addresses import addresses, subject_text
from domsec.trust.association import Association
from domsec.trust.discovered import Question
from domsec.trust.names import common_names
from domsec.trust.usage import capabilities, encryption_problems, key_usage

Target = Literal["auto", "recipient", "dca", "both"]

_AUTHENTICATED: Final[tuple[tuple[CipherName, str], ...]] = (
    ("aes256-gcm", oids.AES256_GCM),
    ("aes128-gcm", oids.AES128_GCM),
)


@dataclass(frozen=True, slots=True)
class Considered:
    """A certificate that was looked at on the way, or a place where there was none."""

    whose: str  # "bob@beta.example", "the authority of beta.example"
    certificate: Certificate | None = None
    problem: str | None = None  # why it may not be used
    used: bool = False
    instead: str = "another one is newer"  # why one that may be used is not

    @property
    def subject(self) -> str | None:
        return None if self.certificate is None else subject_text(self.certificate)

    @property
    def outcome(self) -> str:
        """What became of it, in words."""
        if self.certificate is None:
            return "there is none"
        if self.problem is not None:
            return self.problem
        return f"usable for {self.whose}" if self.used else f"usable for {self.whose}, but {self.instead}"

    def __str__(self) -> str:
        if self.certificate is None:
            return f"no certificate of {self.whose}"
        return f"{self.certificate.sha256[:16]} {self.subject}: {self.outcome}"


@dataclass(frozen=True, slots=True)
class Located:
    """The certificates to encrypt to for one recipient, and the way there, in the order of the search."""

    recipient: str
    certificates: tuple[Certificate, ...]
    authority: bool  # whether one of them is a domain's authority
    considered: tuple[Considered, ...]
    complete: bool = True  # whether it is all that was asked for

    @property
    def trace(self) -> tuple[str, ...]:
        return tuple(str(one) for one in self.considered)

    @property
    def rejected(self) -> bool:
        """Whether there was something meant to encrypt to that may not be used (threats T-20)."""
        return any(
            one.certificate is not None and one.problem is not None and not _only_signs(one.certificate)
            for one in self.considered
        )


@dataclass(frozen=True, slots=True)
class Cipher:
    """How to encrypt. `key_transport` concerns RSA keys only."""

    content: CipherName = "aes256-gcm"
    key_transport: Literal["oaep", "pkcs1v15"] = "oaep"


def locate(recipient: Mailbox, target: Target, context: Context) -> Located:
    """Find the certificates for a recipient: its own, or the authority of its domain or of one above (A-43).

    Raises CertificateNotFound with the trace.
    """
    found = survey(recipient, target, context)
    if not found.complete:
        raise CertificateNotFound(recipient.address, found.trace, rejected=found.rejected)
    return found


def survey(recipient: Mailbox, target: Target, context: Context, *, exhaustive: bool = False) -> Located:
    """The same, with whatever was found; if `exhaustive`, with a trace of what the search had no need to look at."""
    peer = context.peers.of(recipient.domain)
    looked: list[Considered] = []
    own = authority = None
    if target in ("auto", "recipient", "both"):
        own = _own(recipient, context, peer, looked)
    if target in ("dca", "both") or (target == "auto" and own is None):
        authority = _authority(recipient, context, peer, looked)
    found = tuple(certificate for certificate in (own, authority) if certificate is not None)
    complete = len(found) == 2 if target == "both" else bool(found)
    if exhaustive:
        looked += _passed_over(recipient, context, peer, authority, looked)
    return Located(recipient.address, found, authority is not None, tuple(looked), complete)


def _passed_over(
    recipient: Mailbox,
    context: Context,
    peer: Peer | None,
    authority: Certificate | None,
    looked: Iterable[Considered],
) -> Iterable[Considered]:
    """Everything for the recipient and its domains that the search did not come to, and why it had no need to."""
    seen = {one.certificate for one in looked}
    nearer = "a nearer authority is used" if authority is not None else "the recipient's own is wanted"
    more = [(recipient.address, c, own_problem(c, recipient, context, peer)) for c in _offered_own(recipient, context)]
    for domain in ascendants(recipient.domain, context):
        more += [
            (f"the authority of {domain}", c, authority_problem(c, recipient.domain, context, peer, said))
            for c, said in _offered_authorities(domain, recipient, context)
        ]
    for whose, certificate, problem in more:
        if certificate not in seen:
            seen.add(certificate)
            instead = "an authority is asked for" if whose == recipient.address else nearer
            yield Considered(whose, certificate, problem, instead=instead)


def _own(recipient: Mailbox, context: Context, peer: Peer | None, looked: list[Considered]) -> Certificate | None:
    """A certificate of the recipient. An authority's filed under the recipient's name is left to `_authority`."""
    problems = [(c, own_problem(c, recipient, context, peer)) for c in _offered_own(recipient, context)]
    return _choose(problems, recipient.address, recipient.address, context, looked)


def _offered_own(recipient: Mailbox, context: Context) -> list[Certificate]:
    return [c for c in context.source.by_address(recipient.address) if not is_authority(c)]


def own_problem(certificate: Certificate, recipient: Mailbox, context: Context, peer: Peer | None) -> str | None:
    """Why a certificate may not be used to encrypt to a person; None if it may."""
    said = context.found.associations([Question(recipient.address)])
    problem = _problem(certificate, context, role=False, peer=peer, said=said)
    if problem is None and not _names(certificate, recipient):
        return "is for another address"
    return problem


def _authority(recipient: Mailbox, context: Context, peer: Peer | None, looked: list[Considered]) -> Certificate | None:
    """The nearest authority that may decrypt for the domain: whatever found it, the mapping decides (4.2)."""
    for domain in ascendants(recipient.domain, context):
        offered = _offered_authorities(domain, recipient, context)
        problems = [(c, authority_problem(c, recipient.domain, context, peer, said)) for c, said in offered]
        address = f"{CONFIDENTIALITY_AUTHORITY}@{domain}"
        chosen = _choose(problems, f"the authority of {domain}", address, context, looked)
        if chosen is not None:
            return chosen
    return None


def _offered_authorities(
    domain: str, recipient: Mailbox, context: Context
) -> list[tuple[Certificate, tuple[Association, ...]]]:
    """What is filed under the domain's authority, and what of it under the recipient's own name (RFC 3183 4.2).

    With each what is said in DNS of the address that it was filed under.
    """
    said = context.found.associations([Question.of_authority(CONFIDENTIALITY_AUTHORITY, domain)])
    offered = dict.fromkeys(context.source.authority(CONFIDENTIALITY_AUTHORITY, domain), said)
    if domain == recipient.domain:
        own = context.found.associations([Question(recipient.address)])
        filed = [c for c in context.source.by_address(recipient.address) if is_authority(c) and c not in offered]
        offered |= dict.fromkeys(filed, own)
    return list(offered.items())


def for_people(certificates: Iterable[Certificate]) -> Cipher:
    """What the mail programs of these people read: old forms, unless each certificate says more (A-46, A-62)."""
    told = [capabilities(certificate) for certificate in certificates]
    taken = [name for name, oid in _AUTHENTICATED if told and all(oid in one for one in told)]
    content: CipherName = taken[0] if taken else "aes256-cbc"
    oaep = bool(told) and all(oids.RSAES_OAEP in one for one in told)
    return Cipher(content, "oaep" if oaep else "pkcs1v15")


def _choose(
    offered: Sequence[tuple[Certificate, str | None]],
    whose: str,
    address: str,
    context: Context,
    looked: list[Considered],
) -> Certificate | None:
    """Of several usable ones the one that its owner prefers, else the newest, then by digest so that everybody chooses
    the same (decisions A-43)."""
    usable = [certificate for certificate, problem in offered if problem is None]
    preferred = context.source.preferred(address) if len(usable) > 1 else None
    chosen = max(usable, key=lambda c: (c.sha256 == preferred, c.not_before, c.sha256), default=None)
    looked += [
        Considered(whose, c, problem, c is chosen, _instead(c, chosen, preferred)) for c, problem in offered
    ] or [Considered(whose)]
    return chosen


def _instead(one: Certificate, chosen: Certificate | None, preferred: str | None) -> str:
    """Why a certificate that may be used is not the one that is."""
    if chosen is not None and chosen.sha256 == preferred:
        return "its owner prefers another one"
    if chosen is not None and chosen.not_before == one.not_before:
        return "another one is as new and has the higher digest"
    return "another one is newer"


def authority_problem(
    certificate: Certificate, domain: str, context: Context, peer: Peer | None, said: Sequence[Association] = ()
) -> str | None:
    """Why a certificate may not be used as the confidentiality authority of a domain; None if it may."""
    problem = _problem(certificate, context, role=True, peer=peer, said=said)
    if problem is not None:
        return problem
    findings = names.check_naming(certificate, CONFIDENTIALITY_AUTHORITY, peer)
    texts = [text for code, text in findings if code != "naming.convention"]
    agreed = peer.distinguished_name if peer else None
    entity = Entity(domain, agreed, subject_trusted=agreed is not None)
    texts += [text for _, text in names.check_mapping(certificate, [entity], peer, context.is_public_suffix).findings]
    return "; ".join(texts) or None


def ascendants(domain: str, context: Context) -> Iterable[str]:
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


def _problem(
    certificate: Certificate, context: Context, *, role: bool, peer: Peer | None, said: Sequence[Association]
) -> str | None:
    try:
        problems = encryption_problems(certificate)
        if problems:
            return "; ".join(problems)
        path = context.path(certificate, context.found.certificates, role=role, peer=peer, associations=said)
    except DomsecError as error:
        return str(error)
    return None if path.state == "valid" else f"{path.state}: {path.reason}"


def _only_signs(certificate: Certificate) -> bool:
    """Whether a certificate never was meant to encrypt to."""
    try:
        bits = key_usage(certificate)
    except DomsecError:
        return False
    return bits is not None and not bits & {"keyEncipherment", "keyAgreement"}


def encrypt(
    entity: Octets | Pieces,
    certificates: Iterable[Certificate],
    cipher: Cipher | None = None,
    *,
    originator: Sequence[Certificate] = (),
) -> Octets:
    """An entity encrypted to certificates. `originator` is the chain of our own authority, if one encrypts (A-36).

    Checks nothing about the certificates: that is what `locate` is for. Raises StoreUnavailable where there is no room
    for a large one.
    """
    return in_one_place(sealed(entity, certificates, cipher, originator=originator))


def sealed(
    entity: Octets | Pieces,
    certificates: Iterable[Certificate],
    cipher: Cipher | None = None,
    *,
    originator: Sequence[Certificate] = (),
    shared_keys: Sequence[SharedKey] = (),
) -> Octets | Pieces:
    """The same for who goes on with it, or writes it somewhere: a large one is in base64 only while it is read."""
    cipher = cipher or Cipher()
    distinct = tuple(dict.fromkeys(certificates))
    der = enveloped_data.encrypt(
        entity,
        distinct,
        cipher=cipher.content,
        key_transport=cipher.key_transport,
        originator_certificates=tuple(originator),
        shared_keys=tuple(shared_keys),
    )
    smime_type = "authEnveloped-data" if cipher.content.endswith("-gcm") else "enveloped-data"
    return smime.pkcs7_mime(der, smime_type)


def find_authority(domain: str, context: Context) -> Certificate | None:
    """The confidentiality authority that may be used for a domain, if one is known (decisions A-62)."""
    return _authority(Mailbox("", domain), context, context.peers.of(domain), [])
