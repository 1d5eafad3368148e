"""What people decide of held messages, and what they can know of them before they do.

    look      what is in a message, and what keeps it here now
    approve   let it go on: with a review signature where the border asks for one, else as another attempt
    reject    end it, with a reason that the sender is told

Approving opens no door by itself: a message passes the border again before it is released, and the gateway decides anew
what becomes of it (`domsec.gateway.release`). Every decision is in the audit trail before it takes effect; two people
who decide at the same time do not undo each other's work.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from domsec.errors import SigningRefused
from domsec.gateway.notices import may_be_told, rejection
from domsec.mime import fields
from domsec.mime.addresses import parse_address
from domsec.pipeline import Direction, Recipient, Session, Transaction, border
from domsec.policy.configuration import Configuration
from domsec.services import boundary
from domsec.services.boundary import Passage, Reviewed
from domsec.services.check import Examination, examine
from domsec.services.context import Context
from domsec.services.encapsulate import Encapsulated, Manner, review
from domsec.services.layers import peel
from domsec.services.sign import Reason, Signer
from domsec.site import Site
from domsec.stores.audit import AuditTrail, FileAudit
from domsec.stores.audit_table import TableAudit
from domsec.stores.holds import TRANSITIONS, Hold, HoldNotFound, HoldStore, Part, State, WrongState

WAITING: Final = ("held", "failed")  # for a person
OWED: Final = "delivery"  # the first reason of what lacks nothing but a next hop
RELEASED: Final = "released"  # the second one of what a person let go


@dataclass(frozen=True, slots=True)
class Stores:
    """Held messages, and the trail of what was decided."""

    holds: HoldStore
    trail: AuditTrail

    @classmethod
    def open(cls, configuration: Configuration) -> Stores:
        """Raises ConfigurationError, StoreUnavailable."""
        holds, options = HoldStore.open(configuration.store.url), configuration.store
        if options.audit:
            return cls(holds, FileAudit(options.audit, fsync=options.audit_fsync))
        return cls(holds, TableAudit(holds.database))


@dataclass(frozen=True, slots=True)
class Person:
    """Who decides: the account, as it stands in the audit trail and in the store."""

    name: str
    note: str = ""


def transaction_of(hold: Hold, now: datetime) -> Transaction:
    """A held message as it came, to be decided again at `now`. Nothing in it is from the message."""
    told: Mapping[str, object] = hold.session
    direction = cast("Direction", hold.direction)
    session = Session(
        client_address=_text(told.get("client")),
        helo=_text(told.get("helo")),
        auth=_text(told.get("auth")),
        protocol="lmtp" if told.get("protocol") == "lmtp" else "smtp",
        tls=False,
        xforward=_strings(told.get("xforward")),
        direction=direction,
        user=_text(told.get("user")),
        certificate=_text(told.get("certificate")),
    )
    recipients = tuple(Recipient(r.address, r.parameters) for r in hold.recipients)
    octets = hold.octets or b""
    return Transaction(
        direction, hold.sender, hold.sender_parameters, recipients, octets, session, hold.transaction, now
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _strings(value: object) -> Mapping[str, str]:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, Mapping) else {}


# --- looking --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """What is in a held message, and whether it may leave for each of its destinations now."""

    examination: Examination
    passages: tuple[Passage, ...]

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return tuple(dict.fromkeys(reason for passage in self.passages for reason in passage.reasons))

    @property
    def needs_review(self) -> bool:
        return any(code == "review.missing" for code, _ in self.reasons)

    @property
    def reviews(self) -> tuple[Reviewed, ...]:
        return tuple(dict.fromkeys(each for passage in self.passages for each in passage.reviews))


def look(hold: Hold, site: Site, context: Context) -> Look:
    """Raises MalformedMessage for what cannot be read at all."""
    return _look(hold.octets or b"", hold, site, context)


def _look(octets: bytes, hold: Hold, site: Site, context: Context) -> Look:
    if hold.direction == "outbound" and not is_owed(hold):
        transaction = dataclasses.replace(transaction_of(hold, context.now), octets=octets)
        return Look(*border(transaction, site, context))
    return Look(examine(peel(octets, context.keyring, context.limits), context), ())


def is_owed(hold: Hold) -> bool:
    """Whether it is what was made for a next hop, and only has not got there: policy has seen it."""
    return hold.reasons[:1] == (OWED,)


# --- approving ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Approval:
    """What came of it: `reasons` is why the message stays although a review was added, none if it goes on."""

    made: Encapsulated | None
    reasons: tuple[Reason, ...]

    @property
    def released(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Reviewing:
    """How somebody reviews: `signer` is asked for only where a review is needed."""

    signer: Callable[[], Signer]
    manner: Manner
    unseen: bool = False


def approve(stores: Stores, hold: Hold, reviewing: Reviewing, person: Person, site: Site, context: Context) -> Approval:
    """Let a held message go on, or a step further where it needs more than one review.

    Raises SigningRefused with every reason why not, and then nothing has changed but the audit trail; HoldNotFound and
    WrongState where somebody else was faster, StoreUnavailable.
    """
    _must_become(hold, "approved")
    found = look(hold, site, context)
    destinations = [passage.destination for passage in found.passages]
    try:
        octets, made, reasons = _reviewed(hold, found, reviewing, site, context)
    except SigningRefused as refusal:
        _record(stores, "hold.not_approved", hold, person, context.now, reasons=_plain(refusal.reasons))
        raise
    stated: dict[str, object] = {"destinations": destinations, "reasons": _plain(reasons)}
    if made is not None:
        stated |= {"reviewers": _digests(reviewing.signer()), "content": made.content, "body": made.body}
    _record(stores, "hold.reviewed" if reasons else "hold.approved", hold, person, context.now, **stated)
    state: State = hold.state if reasons else "approved"
    _settle(stores, hold, state, person, context.now, octets=octets, reasons=boundary.codes(reasons) or None)
    return Approval(made, reasons)


def _reviewed(
    hold: Hold, found: Look, reviewing: Reviewing, site: Site, context: Context
) -> tuple[bytes | None, Encapsulated | None, tuple[Reason, ...]]:
    """The message in a review signature, where it needs one, and what keeps it here even so.

    Raises SigningRefused where it may not be reviewed, or not by whoever asks.
    """
    if not found.needs_review:
        if found.reasons:
            raise SigningRefused(found.reasons)
        return None, None, ()
    signer = reviewing.signer()
    made = review(found.examination, signer, context, manner=reviewing.manner, unseen=reviewing.unseen)
    octets = bytes(fields.replace_entity(found.examination.message.header, made.entity, context.limits))
    after = _look(octets, hold, site, context)
    if not any(each.sha256 in _digests(signer) for each in after.reviews):
        whom = ", ".join(passage.destination for passage in found.passages if not passage.released)
        raise SigningRefused([("review.not_allowed", f"not one of those who may review for {whom} ([[review]])")])
    if after.reasons == found.reasons:
        raise SigningRefused([("review.repeated", "this reviewer's review counts already"), *after.reasons])
    return octets, made, after.reasons


def _digests(signer: Signer) -> list[str]:
    return [credential.certificate.sha256 for credential in (signer.credential, *signer.beside)]


def _plain(reasons: Sequence[Reason]) -> list[str]:
    return [f"{code}: {text}" for code, text in reasons]


def _record(stores: Stores, event: str, hold: Hold, person: Person, now: datetime, **stated: object) -> None:
    entry = {"transaction": hold.transaction, "hold": hold.id, "by": person.name, "note": person.note, **stated}
    stores.trail.record(event, entry, at=now)


def _must_become(hold: Hold, state: State) -> None:
    """Raises WrongState."""
    if state not in TRANSITIONS[hold.state]:
        raise WrongState(f"held message {hold.id} is {hold.state}, which cannot become {state}")


def _settle(
    stores: Stores,
    hold: Hold,
    state: State,
    person: Person,
    now: datetime,
    *,
    octets: bytes | None = None,
    reasons: Sequence[str] | None = None,
    parts: Sequence[Part] = (),
) -> None:
    """Do what the audit trail says is done; where it cannot be done any more, the trail says that too."""
    try:
        stores.holds.settle(
            hold, state, now=now, by=person.name, note=person.note, octets=octets, reasons=reasons, parts=parts
        )
    except (HoldNotFound, WrongState) as error:
        _record(stores, "hold.overtaken", hold, person, now, reasons=[str(error)])
        raise


# --- rejecting ------------------------------------------------------------------------------------------------------


def reject(stores: Stores, hold: Hold, person: Person, configuration: Configuration, now: datetime) -> bool:
    """End a held message for the reason in `person.note`; whether its sender is told.

    What is told to our own users goes where inbound mail does, by the same act that ends the message. Whoever sent mail
    from outside is never told (decisions A-57). Raises HoldNotFound, WrongState, StoreUnavailable.
    """
    _must_become(hold, "rejected")
    told = hold.direction == "outbound" and configuration.outbound.tell_sender and may_be_told(hold)
    parts = [_notice(hold, person.note, configuration, now)] if told else []
    _record(stores, "hold.rejected", hold, person, now, told=told)
    _settle(stores, hold, "rejected", person, now, parts=parts)
    return told


def _notice(hold: Hold, reason: str, configuration: Configuration, now: datetime) -> Part:
    made = rejection(hold, reason, configuration.listen.hostname or socket.gethostname(), now)
    ours = configuration.serves(parse_address(hold.sender).domain)
    inside = ours and configuration.listen.inbound is not None and configuration.next_hop.inbound is not None
    return Part(
        sender="",
        recipients=(Recipient(hold.sender),),
        octets=made.octets,
        reasons=(OWED, "notice", hold.id),
        sender_parameters=made.parameters,
        direction="inbound" if inside else "outbound",
        ready=True,
    )
