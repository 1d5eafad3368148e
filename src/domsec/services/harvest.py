"""Certificates to encrypt to that the mail of their owners brings (RFC 8551 2.5.3, decisions A-54, threats T-20).

Only what a valid signature stands for is worth keeping: the certificate that made it, and the one its signed attributes
name as that to encrypt to. Each has to be usable by itself, for whom the message is from: whatever else lies in a
message may be anybody's. Keeping one does not mean to use it; that is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from domsec import oids
from domsec.cms.attributes import read_encryption_key_preference
from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage
from domsec.mime.addresses import Mailbox
from domsec.services import encrypt, names
from domsec.services.check import Examination
from domsec.services.context import Context
from domsec.services.finding import Signer

MOST: Final = 4  # certificates of one message; an honest one brings two


@dataclass(frozen=True, slots=True)
class Harvested:
    """A certificate that may be encrypted to, and for whom."""

    certificate: Certificate
    whose: str  # "bob@beta.example", "the authority of beta.example"
    domain: str
    address: str  # by which it is found: "domain-confidentiality-authority@beta.example" for an authority
    preferred: bool = False  # whether its owner says that this is the one to encrypt to


def harvest(examination: Examination, context: Context) -> tuple[Harvested, ...]:
    """The certificates that an accepted message is worth keeping of; none of any other message."""
    verdict = examination.verdict
    if not verdict.accepted:
        return ()
    mailboxes = examination.message.originators.mailboxes
    found: list[Harvested] = []
    if verdict.level == "originator_direct":
        for certificate, preferred in _offered(examination, "originator", context):
            found += [
                Harvested(certificate, mailbox.address, mailbox.domain, mailbox.address, preferred)
                for mailbox in mailboxes
                if _is_of(certificate, mailbox, context)
            ]
    for certificate, preferred in _offered(
        examination, "domain", context
    ):  # for the domain, never for who wrote
        found += [
            Harvested(
                certificate, f"the authority of {domain}", domain, _mailbox(certificate, domain, context), preferred
            )
            for domain in dict.fromkeys(mailbox.domain for mailbox in mailboxes)
            if _is_authority_of(certificate, domain, context)
        ]
    first: dict[tuple[Certificate, str], Harvested] = {}
    for one in found:
        first.setdefault((one.certificate, one.address), one)
    return tuple(first.values())[:MOST]


def _is_of(certificate: Certificate, mailbox: Mailbox, context: Context) -> bool:
    if encrypt.is_authority(certificate):
        return False
    return encrypt.own_problem(certificate, mailbox, context, context.peers.of(mailbox.domain)) is None


def _is_authority_of(certificate: Certificate, domain: str, context: Context) -> bool:
    if not encrypt.is_authority(certificate):
        return False
    return encrypt.authority_problem(certificate, domain, context, context.peers.of(domain)) is None


def _mailbox(certificate: Certificate, domain: str, context: Context) -> str:
    """The mailbox of an authority that covers a domain: it may be of one above."""
    stated = names.domain_parts(certificate).domains
    at = next((above for above in encrypt.ascendants(domain, context) if names.labels(above) in stated), domain)
    return f"{names.CONFIDENTIALITY_AUTHORITY}@{at}"


def _offered(examination: Examination, role: str, context: Context) -> Iterator[tuple[Certificate, bool]]:
    """What valid signers in a role offer: the certificate that they prefer, told apart, and their own."""
    for finding in examination.findings:
        if role not in finding.roles or finding.state != "valid" or finding.violated or finding.layer.signed is None:
            continue
        if role == "domain" and (finding.mapping is None or not finding.mapping.passed):
            continue  # a domain on the way chooses no key of another
        for signer in finding.relied_on:
            if signer.verdict.state == "valid" and signer.certificate is not None:
                preferred = _preferred(signer, finding.layer.signed.certificates, context)
                yield from ((certificate, True) for certificate in preferred)
                yield signer.certificate, False


def _preferred(signer: Signer, offered: Iterable[Certificate], context: Context) -> Sequence[Certificate]:
    """The certificate that a signer names as that to encrypt to, if it came along or is known."""
    stated = signer.info.signed_attributes.get(oids.ID_AA_ENCRYP_KEY_PREF) if signer.info.signed_attributes else ()
    try:
        preferred = read_encryption_key_preference(stated[0].values[0])
    except (MalformedMessage, IndexError):
        return ()
    if preferred is None:
        return ()
    return [c for c in (*offered, *context.source.by_sid(preferred)) if preferred.matches(c)][:1]
