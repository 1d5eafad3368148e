"""What the gateway hands over for a decision, and what it gets back. No octet of these values is ever changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from domsec.errors import MalformedMessage
from domsec.mime.addresses import Mailbox, parse_address
from domsec.octets import Octets, Pieces
from domsec.pipeline.judging import Judged
from domsec.services.harvest import Harvested
from domsec.site import Site
from domsec.trust.discovered import Answer, Question

Direction = Literal["outbound", "inbound"]


@dataclass(frozen=True, slots=True)
class Recipient:
    """One RCPT TO: the address without its angle brackets, the ESMTP parameters verbatim (RFC 5321 4.1.1.3)."""

    address: str
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """Who handed the message over, and how we know: nothing in here comes from the message."""

    client_address: str | None  # IP address of the client; None on a UNIX socket
    helo: str | None
    auth: str | None  # login name, told by a trusted client (XCLIENT LOGIN)
    protocol: Literal["lmtp", "smtp", "milter"]  # milter: the mail server keeps the message, and its body is its own
    tls: bool
    xforward: Mapping[str, str]  # XFORWARD attributes of a trusted client, names in upper case
    direction: Direction  # set by the listener
    user: str | None = None  # who is at the other end of a UNIX socket, as the kernel says
    certificate: str | None = None  # SHA-256 of the certificate that the client showed, by a CA of ours


@dataclass(frozen=True, slots=True)
class Transaction:
    """One message with its envelope, as it was received."""

    direction: Direction
    sender: str  # without <>; empty for the null reverse-path
    sender_parameters: str
    recipients: tuple[Recipient, ...]
    octets: Octets
    session: Session
    id: str
    received_at: datetime
    judged: tuple[Judged, ...] = ()  # as it came out before directories were asked, where they were

    def judged_by(self, site: Site) -> tuple[Judged, ...]:
        """What was found out before directories were asked; nothing if keys or trust are others since."""
        return self.judged if all(judged.site is site for judged in self.judged) else ()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to relay. `indexes` are the recipients it settles, in the order of `recipients`."""

    sender: str
    sender_parameters: str
    recipients: tuple[Recipient, ...]
    octets: Octets | Pieces
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Recipients that are answered with a 4xx or 5xx reply."""

    indexes: tuple[int, ...]
    code: int
    enhanced: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


@dataclass(frozen=True, slots=True)
class Held:
    """Recipients for which the message is stored until a person, or a later delivery, settles it."""

    indexes: tuple[int, ...]
    reasons: tuple[str, ...]
    octets: Octets | Pieces
    outgoing: Outgoing | None = None  # set where nothing is missing but the delivery of exactly this


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a transaction: each recipient index stands exactly once in one of the four.

    With `wanted` nothing is decided yet: these questions are to be asked first, and the transaction decided on anew
    with the answers. It need not be judged anew: `judged` goes into it.
    """

    outgoing: tuple[Outgoing, ...] = ()
    refused: tuple[Refused, ...] = ()
    held: tuple[Held, ...] = ()
    discard: tuple[int, ...] = ()
    log: dict[str, object] = field(default_factory=dict)
    unopened: tuple[str, ...] = ()  # SHA-256 of our certificates whose keys did not open what is encrypted to them
    wanted: tuple[Question, ...] = ()
    judged: tuple[Judged, ...] = ()
    harvested: tuple[Harvested, ...] = ()  # certificates that came with it and may be worth keeping
    signatures: tuple[tuple[int, str], ...] = ()  # to be remembered when the recipient with this index has it


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of some recipients, and a word about it for the log."""

    outgoing: tuple[Outgoing, ...] = ()
    refused: tuple[Refused, ...] = ()
    held: tuple[Held, ...] = ()
    note: Mapping[str, object] = field(default_factory=dict)
    unopened: tuple[str, ...] = ()  # as in Decision
    harvested: tuple[Harvested, ...] = ()  # as in Decision
    signatures: tuple[tuple[int, str], ...] = ()  # as in Decision


def unanswered(indexes: tuple[int, ...], domain: str, failure: Answer) -> Settled:
    """Recipients to come again: a directory that may know more of a domain has not answered, or somebody tampered.

    Going on without, while somebody keeps its answers from us, is what that somebody would like.
    """
    if failure.outcome == "bogus":
        enhanced, reason = "4.7.5", "dnssec"
        text = f"what DNS has of certificates for {domain} is not what the domain signed"
    else:
        enhanced, reason = "4.4.3", "directory"
        text = f"what is known of certificates for {domain} cannot be found out now"
    refused = Refused(indexes, 451, enhanced, f"{text}, try again later [{reason}]")
    note = {"domain": domain, "action": "tempfail", "reason": reason, "directory": str(failure)}
    return Settled(refused=(refused,), note=note)


def mailbox_of(recipient: Recipient) -> Mailbox | None:
    """The address of a recipient; None where it cannot be read."""
    try:
        return parse_address(recipient.address)
    except MalformedMessage:
        return None


def everybody(transaction: Transaction) -> tuple[int, ...]:
    """The index of every recipient."""
    return tuple(range(len(transaction.recipients)))


def decision(settled: Iterable[Settled], log: Mapping[str, object]) -> Decision:
    """All that was settled as one decision; the log has a note for each part, with the recipients by their index."""
    settled = tuple(settled)
    notes = [{**s.note, "recipients": list(_indexes(s))} for s in settled if s.note]
    unopened = tuple(dict.fromkeys(digest for s in settled for digest in s.unopened))
    keys = {"unopened": [digest[:16] for digest in unopened]} if unopened else {}
    actions = list(dict.fromkeys(str(n["action"]) for n in notes if "action" in n))
    return Decision(
        outgoing=tuple(o for s in settled for o in s.outgoing),
        refused=tuple(r for s in settled for r in s.refused),
        held=tuple(h for s in settled for h in s.held),
        log={**log, **keys, "action": "+".join(actions) or "refused", "groups": notes},
        unopened=unopened,
        harvested=tuple(dict.fromkeys(one for s in settled for one in s.harvested)),
        signatures=tuple(one for s in settled for one in s.signatures),
    )


def _indexes(settled: Settled) -> Iterator[int]:
    parts: tuple[Outgoing | Refused | Held, ...] = (*settled.outgoing, *settled.refused, *settled.held)
    for part in parts:
        yield from part.indexes
