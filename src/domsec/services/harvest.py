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
from domsec.services import encrypt
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


def harvest(examination: Examination, context: Context) -> tuple[Harvested, ...]:
    """The certificates that an accepted message is worth keeping of; none of any other message."""
    verdict = examination.verdict
    if not verdict.accepted:
        return ()
    mailboxes = examination.message.originators.mailboxes
    found: list[Harvested] = []
    if verdict.level == "originator_direct":
        for certificate in _offered(examination, "originator"):
            found += [
                Harvested(certificate, mailbox.address, mailbox.domain)
                for mailbox in mailboxes
                if _is_of(certificate, mailbox, context)
            ]
    for certificate in _offered(examination, "domain"):  # for the domain, never for who wrote
        found += [
            Harvested(certificate, f"the authority of {domain}", domain)
            for domain in dict.fromkeys(mailbox.domain for mailbox in mailboxes)
            if _is_authority_of(certificate, domain, context)
        ]
    return tuple({one.certificate: one for one in found}.values())[:MOST]


def _is_of(certificate: Certificate, mailbox: Mailbox, context: Context) -> bool:
    if encrypt.is_authority(certificate):
        return False
    return encrypt.own_problem(certificate, mailbox, context, context.peers.of(mailbox.domain)) is None


def _is_authority_of(certificate: Certificate, domain: str, context: Context) -> bool:
    if not encrypt.is_authority(certificate):
        return False
    return encrypt.authority_problem(certificate, domain, context, context.peers.of(domain)) is None


def _offered(examination: Examination, role: str) -> Iterator[Certificate]:
    """What valid signers in a role offer: their certificate, and the one of the layer that they prefer."""
    for finding in examination.findings:
        if role not in finding.roles or finding.state != "valid" or finding.violated or finding.layer.signed is None:
            continue
        for signer in finding.relied_on:
            if signer.verdict.state == "valid" and signer.certificate is not None:
                yield from _preferred(signer, finding.layer.signed.certificates)
                yield signer.certificate


def _preferred(signer: Signer, offered: Iterable[Certificate]) -> Sequence[Certificate]:
    stated = signer.info.signed_attributes.get(oids.ID_AA_ENCRYP_KEY_PREF) if signer.info.signed_attributes else ()
    try:
        preferred = read_encryption_key_preference(stated[0].values[0])
    except (MalformedMessage, IndexError):
        return ()
    return [certificate for certificate in offered if preferred is not None and preferred.matches(certificate)][:1]
