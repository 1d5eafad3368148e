"""What to ask directories before a message is decided on: nothing where what is at hand suffices (decisions A-43).

Judging fetches nothing. It says what it would like to know, somebody finds out, and it is asked again.
"""

from __future__ import annotations

from collections.abc import Iterator

from domsec.mime.addresses import Mailbox
from domsec.services import encrypt
from domsec.services.context import Context
from domsec.services.encrypt import Target
from domsec.services.names import CONFIDENTIALITY_AUTHORITY
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
    return tuple(_authorities(CONFIDENTIALITY_AUTHORITY, domain, context))


def _authorities(role: str, domain: str, context: Context) -> Iterator[Question]:
    peer = context.peers.of(domain)
    agreed = peer.distinguished_name if peer is not None else None
    for each in encrypt.ascendants(domain, context):
        yield Question(f"{role}@{each}", role, agreed)
