"""What to ask directories before a message is decided on: nothing where what is at hand suffices (decisions A-43).

Judging fetches nothing. It says what it would like to know, somebody finds out, and it is asked again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from domsec.mhs.names import ORName
from domsec.mime.addresses import Mailbox
from domsec.services import encrypt, names
from domsec.services.context import Context
from domsec.services.encrypt import Target
from domsec.services.finding import Finding, Signer, all_originators, names_in
from domsec.services.layers import Message
from domsec.services.names import CONFIDENTIALITY_AUTHORITY, SIGNING_AUTHORITY
from domsec.services.signature_type import DOMSEC, SignatureType
from domsec.trust.discovered import Answer, Question


def for_recipient(recipient: Mailbox, target: Target, context: Context) -> tuple[Question, ...]:
    """The questions whose answers may have certificates to encrypt to for a recipient."""
    if encrypt.survey(recipient, target, context).complete:
        return ()
    # the recipient's entry may have its own certificate or that of the authority in it (RFC 3183 4.2, first way)
    authority = () if target == "recipient" else for_authority(recipient.domain, context)
    return (Question(recipient.address), *authority)


def failure(recipient: Mailbox, target: Target, context: Context) -> Answer | None:
    """The answer that is missing, where nothing usable was found for a recipient and more may be known elsewhere."""
    return context.found.failure(for_recipient(recipient, target, context))


def for_authority(domain: str, context: Context) -> tuple[Question, ...]:
    """The questions for the confidentiality authority of a domain: its own, and those of the domains above."""
    peer = context.peers.of(domain)
    agreed = peer.distinguished_name if peer is not None else None
    above = encrypt.ascendants(domain, context)
    return tuple(Question.of_authority(CONFIDENTIALITY_AUTHORITY, each, agreed) for each in above)


def for_signers(message: Message, findings: Iterable[Finding], context: Context) -> tuple[Question, ...]:
    """The questions whose answers may tell that signers are whom they say, although no path leads to an anchor.

    Nothing is asked of a domain that the signer's certificate does not claim. Else whoever sends us the encrypted mail
    of somebody else under a name of its own could see by our questions that we opened it (threats T-22).
    """
    findings = tuple(findings)
    originators = all_originators(message, [finding.layer for finding in findings])
    unknown = (s for f in findings for s in f.signers if s.verdict.crypto == "valid" and s.verdict.path == "untrusted")
    claiming = (signer for signer in unknown if _claims(signer, originators, context))
    return tuple(dict.fromkeys(q for s in claiming for q in of_signer(s.reading.types, originators, context)))


def _claims(signer: Signer, originators: Sequence[Mailbox | ORName], context: Context) -> bool:
    """Whether a certificate says that it is of the originators, or of an authority over them."""
    if signer.certificate is None:
        return False
    if SignatureType.DOMAIN in signer.reading.types:
        entities = [names.entity(originator) for originator in originators]
        return names.check_mapping(signer.certificate, entities, None, context.is_public_suffix).passed
    named = names_in(signer.certificate)
    return all(any(names.same_originator(originator, name) for name in named) for originator in originators)


def of_signer(
    types: Collection[SignatureType], originators: Sequence[Mailbox | ORName], context: Context
) -> tuple[Question, ...]:
    """Where it may be said of a signer that it signs for the originators: at their authority's address, or their own.

    Nobody may speak for several people but who may speak for each of them, and nobody for people of X.400.
    """
    mailboxes = [originator for originator in originators if isinstance(originator, Mailbox)]
    if not mailboxes or len(mailboxes) < len(originators):
        return ()
    if SignatureType.DOMAIN in types:
        first, *others = mailboxes
        above = [d for d in encrypt.ascendants(first.domain, context)
                 if all(m.domain == d or m.domain.endswith(f".{d}") for m in others)]  # fmt: skip
        return tuple(Question.of_authority(SIGNING_AUTHORITY, domain, signer=True) for domain in above)
    if any(each in DOMSEC for each in types) or len(mailboxes) > 1:
        return ()
    return (Question(mailboxes[0].address, signer=True),)
