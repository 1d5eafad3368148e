"""Mail from outside on its way in (spec/algorithms.md (f), decisions A-55 to A-57, A-63).

Whoever sent it learns from our answer neither why something did not verify nor whether something decrypted.

What a mail server only shows us (a milter) is judged as it stands: nothing is opened, no layer comes off, and what is
to be held is held there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from domsec.cms.certificates import Certificate, Identifier
from domsec.cms.credential import Credential
from domsec.errors import CertificateNotFound, MalformedMessage
from domsec.mime import authentication_results, fields
from domsec.mime.addresses import parse_address
from domsec.mime.banner import with_banner
from domsec.mime.fields import Header
from domsec.mime.subject import with_tag, without_imitations
from domsec.octets import Octets, Pieces
from domsec.pipeline.judging import Judged, judge
from domsec.pipeline.transaction import (
    Decision,
    Held,
    Outgoing,
    Refused,
    Settled,
    Transaction,
    decision,
    everybody,
    mailbox_of,
    unanswered,
)
from domsec.policy import rules, wishes
from domsec.policy.options import Violation
from domsec.policy.results import results, told
from domsec.policy.rules import Choice, Look, Mail, Setting
from domsec.services import boundary, discovery, encrypt, replay
from domsec.services.check import Examination, examine
from domsec.services.context import Context
from domsec.services.delivery import Delivery, deliver
from domsec.services.harvest import harvest
from domsec.services.layers import Message, mime_entity, peel, spine, unopened
from domsec.site import Site
from domsec.trust.discovered import Answer, Found, Question


def inbound(transaction: Transaction, site: Site, found: Found | None = None) -> Decision:
    """Mail from outside on its way in: open, verify, say what may be believed, act on it, hand on what can be read."""
    ours, others = ((), everybody(transaction)) if _shown(transaction) else _ours(transaction, site)
    try:
        views = transaction.judged_by(site) or tuple(_views(transaction, ours, others, site))
    except MalformedMessage as error:
        return _unreadable(transaction, (ours, others), site, error)
    if found is not None:
        views = tuple(judged.with_answers(found) for judged in views)
    elif site.asks and (wanted := tuple(dict.fromkeys(q for judged in views for q in _questions(judged)))):
        return Decision(wanted=wanted, judged=views)
    settled: list[Settled] = []
    opened: dict[str, object] = {}
    passed: dict[str, object] = {}
    for judged in views:
        settled += _take_in(transaction, judged, passed if judged.indexes == others else opened)
    return decision(settled, opened or passed)  # what we could open says more


def _shown(transaction: Transaction) -> bool:
    """Whether the message stays where it is, and only its header may be another."""
    return transaction.session.protocol == "milter"


def _ours(transaction: Transaction, site: Site) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Recipients whom our authority may decrypt for, and the others: theirs passes unopened (algorithms (f))."""
    ours = []
    for index, recipient in enumerate(transaction.recipients):
        mailbox = mailbox_of(recipient)
        if mailbox is not None and site.serves(mailbox.domain):
            ours.append(index)
    return tuple(ours), tuple(i for i in everybody(transaction) if i not in ours)


def _views(transaction: Transaction, ours: tuple[int, ...], others: tuple[int, ...], site: Site) -> Iterator[Judged]:
    """The message as it is for all who have the same keys. Raises MalformedMessage."""
    now, octets = transaction.received_at, transaction.octets
    if ours:
        context = site.context(now)
        message = peel(octets, context.keyring, context.limits)
        for keys, indexes in _by_keys(transaction, ours, message, site):
            if keys:
                theirs = site.context(now, keys=keys)
                yield judge(peel(octets, theirs.keyring, theirs.limits), indexes, site, theirs)
            else:
                yield judge(message, indexes, site, context)
    if others:
        context = site.context(now, open_it=False)
        yield judge(peel(octets, context.keyring, context.limits), others, site, context)


def _by_keys(
    transaction: Transaction, ours: tuple[int, ...], message: Message, site: Site
) -> list[tuple[tuple[Credential, ...], tuple[int, ...]]]:
    """Our recipients, and last those whose own keys open what our authority's do not. Each gets what is theirs only:
    whoever sends somebody else's mail on to himself is to read no more of it than before."""
    groups: dict[tuple[Credential, ...], list[int]] = {(): []}
    closed_to = tuple(_closed_to(message))
    for index in ours:
        mailbox = mailbox_of(transaction.recipients[index]) if closed_to else None
        held = site.users.readers(mailbox) if mailbox is not None else ()
        keys = tuple(c for c in held if any(identifier.matches(c.certificate) for identifier in closed_to))
        groups.setdefault(keys, []).append(index)
    return [(keys, tuple(indexes)) for keys, indexes in groups.items() if indexes]


def _closed_to(message: Message) -> Iterator[Identifier]:
    """For whom a layer is that our authority's keys do not open."""
    for layer in message.spine():
        if layer.closed and layer.enveloped is not None:
            yield from (identifier for r in layer.enveloped.recipients for identifier in r.identifiers)


def _unreadable(
    transaction: Transaction, groups: Sequence[tuple[int, ...]], site: Site, error: MalformedMessage
) -> Decision:
    # It may bear results in our name, which nobody can remove: never delivered, nor held where others deliver it.
    policy = wishes.inbound(site.configuration).on_violation.value
    action: Violation = "reject" if policy == "reject" or _shown(transaction) else "hold"
    settled = [_act(action, transaction, some, ("cms.malformed",), transaction.octets) for some in groups if some]
    return decision(settled, {"action": action, "reason": str(error)})


def _questions(judged: Judged) -> tuple[Question, ...]:
    examination = judged.examination
    return discovery.for_signers(examination.message, examination.findings, judged.context)


def _take_in(transaction: Transaction, judged: Judged, log: dict[str, object]) -> list[Settled]:
    indexes, context, examination = judged.indexes, judged.context, judged.examination
    signatures = _signatures(transaction, judged)
    if signatures and judged.site.seen([key for _, key in signatures], transaction.received_at):
        examination = replay.seen_before(examination)
    message, verdict = examination.message, examination.verdict
    if context.found.answers and (failure := _unanswered(judged)) is not None:
        return [unanswered(indexes, message.originators.mailboxes[0].domain, failure)]
    log.update(
        {
            "from": [m.address for m in message.originators.mailboxes],
            "structure": verdict.structure,
            "accepted": verdict.accepted,
            "level": verdict.level,
            "domain": verdict.domain,
            "flags": [f.code for f in verdict.flags],
        }
    )
    if context.found.answers:
        log["directories"] = list(context.found.lines())
    closed = tuple(c.sha256 for c in unopened(message.spine(), context.keyring))
    settled = [Settled(unopened=closed, signatures=signatures)]
    case = _Case(transaction, judged.site, context, examination)
    for some, choice in _chosen(indexes, case):
        settled += _settle(some, choice, case, log)
    return settled


def _signatures(transaction: Transaction, judged: Judged) -> tuple[tuple[int, str], ...]:
    """What to remember of the signature, for each recipient; nothing unless somebody wants to know what comes again."""
    if judged.context.max_age is None:
        return ()
    recipients = ((index, transaction.recipients[index].address) for index in judged.indexes)
    return tuple((index, key) for index, address in recipients for key in replay.keys(judged.examination, address))


def looked_at(transaction: Transaction, site: Site, found: Found | None = None) -> tuple[tuple[Look, ...], ...]:
    """For each recipient the rules that were looked at. Raises MalformedMessage where no rule can be."""
    context = site.context(transaction.received_at, found=found)
    case = _Case(
        transaction, site, context, examine(peel(transaction.octets, context.keyring, context.limits), context)
    )
    mailboxes = (mailbox_of(recipient) for recipient in transaction.recipients)
    return tuple(tuple(rules.looked_at(site.rules, "inbound", case.mail, mailbox)) for mailbox in mailboxes)


@dataclass(frozen=True)
class _Case:
    """One message under decision."""

    transaction: Transaction
    site: Site
    context: Context
    examination: Examination

    @functools.cached_property
    def mail(self) -> Mail:
        """What rules look at. Nobody from outside is logged in, and only a verdict vouches for who is in From."""
        message, verdict = self.examination.message, self.examination.verdict
        return Mail(
            sender=self.transaction.sender,
            originators=message.originators.mailboxes,
            header=message.header,
            size=len(self.transaction.octets),
            users=frozenset,
            vouched=lambda: message.originators.valid and verdict.accepted,
            has_label=lambda pattern: boundary.has_label(self.examination, pattern, self.context),
        )

    @functools.cached_property
    def marked(self) -> Header:
        return _marked(self.examination.message.header, self.examination, self.site)

    def tagged(self, header: Header) -> Header:
        """With our tag before the Subject where somebody vouches for the sender, and nowhere else."""
        tag = self.site.configuration.inbound.subject_tag
        if tag is None:
            return header
        clean = without_imitations(header, tag)
        return with_tag(clean, tag) if self.examination.verdict.accepted else clean

    def told(self, octets: Octets | Pieces) -> Octets | Pieces:
        """With a line above the text that says what is known of its origin, if that is wanted."""
        wanted, verdict = self.site.configuration.inbound.banner, self.examination.verdict
        if wanted == "no" or (wanted == "verified" and not verdict.accepted):
            return octets
        return with_banner(octets, told(verdict), self.context.limits)


def _chosen(indexes: Sequence[int], case: _Case) -> Iterator[tuple[tuple[int, ...], Choice]]:
    """Recipients together with all others for whom the same rules count."""
    found: dict[tuple[str, ...], tuple[list[int], Choice]] = {}
    for index in indexes:
        mailbox = mailbox_of(case.transaction.recipients[index])
        choice = rules.choose(case.site.rules, "inbound", case.mail, mailbox) if case.site.rules else rules.NO_RULE
        found.setdefault(choice.key, ([], choice))[0].append(index)
    return ((tuple(some), choice) for some, choice in found.values())


def _settle(indexes: tuple[int, ...], choice: Choice, case: _Case, log: dict[str, object]) -> list[Settled]:
    """Act on what was found, for recipients for whom the same is wanted."""
    message, verdict, site = case.examination.message, case.examination.verdict, case.site
    wanted = wishes.inbound(site.configuration, choice)
    shown = _shown(case.transaction)
    delivery = deliver(case.examination, "none" if shown else wanted.strip.value)
    action, reasons, policy = _judge(case.examination, wanted, loose=delivery.unauthenticated, shown=shown)
    line = wishes.told(site.configuration, policy)
    entity = None if delivery.unauthenticated or delivery.layer is None else mime_entity(delivery.layer)
    if entity is None:
        octets = fields.join_message(case.tagged(case.marked), message.body)
    else:
        octets = fields.replace_entity(case.tagged(delivery.header(case.marked)), entity)
    if action == "deliver" and not shown:
        octets = case.told(octets)
    removed = list(delivery.removed) if entity is not None else []
    log.setdefault("line", line)  # of the first recipient; each group has its own
    log.setdefault("removed", removed)
    opened = entity is not None and verdict.decrypted
    harvests = action == "deliver" and site.configuration.inbound.harvest != "no"
    noted = Settled(harvested=harvest(case.examination, case.context) if harvests else ())
    if action == "deliver" and opened and wanted.after_decrypt.value == "user" and not _still_encrypted(delivery):
        assert entity is not None
        parts = _Sealing(case, wanted, entity, octets).settle(indexes)
    else:
        parts = [_act(action, case.transaction, indexes, reasons, octets, opened=opened)]
    note: dict[str, object] = {"line": line}
    if choice.rule is not None:
        note["rule"] = choice.rule.line
        if removed:
            note["removed"] = removed
        if less := list(wishes.kept_of(site.configuration, wanted, choice)):
            note["kept"] = less
    return [noted, *(replace(part, note={**note, **part.note}) for part in parts)]


def _unanswered(judged: Judged) -> Answer | None:
    """The missing answer without which nobody can tell whether a domain's authority signed.

    Where only a person's signature is in doubt, mail is delivered as that of somebody unknown.
    """
    return judged.context.found.failure(question for question in _questions(judged) if question.role)


# Violations of mail without any layer; what else is odd in it is ordinary.
_OF_ORDINARY: Final = frozenset({"mime.parts", "domain.missing", "originator.missing", "enc.missing"})
# Violations that may be none to whoever opens the message.
_OF_CLOSED: Final = frozenset({"domain.missing", "originator.missing", "enc.unsigned"})


def _judge(
    examination: Examination, wanted: wishes.Inbound, *, loose: bool, shown: bool
) -> tuple[Violation, tuple[str, ...], Setting[str]]:
    """What policy does with a message that was judged so, why, and the setting that says that.

    What did not decrypt, and what decrypted to something that nobody authenticated, have one outcome: whoever sends
    altered ciphertext learns nothing from it (threats T-02, T-22).
    """
    verdict = examination.verdict
    if loose or any(f.layer.closed == "failed" for f in examination.findings):
        policy = wanted.on_unopenable
        return policy.value, ("enc.unauthenticated" if loose else "unopenable",), policy
    violations = verdict.violations
    if all(f.layer.kind == "content" for f in examination.findings):
        violations = tuple(f for f in violations if f.code in _OF_ORDINARY or f.code.startswith("limit."))
    if shown and any(f.layer.closed for f in examination.findings):
        violations = tuple(f for f in violations if f.code not in _OF_CLOSED)
    if violations:
        return wanted.on_violation.value, tuple(dict.fromkeys(f.code for f in violations)), wanted.on_violation
    if verdict.level == "none" and not any(f.layer.closed for f in examination.findings):
        return wanted.on_unverified.value, ("unverified",), wanted.on_unverified
    return "deliver", (), wanted.strip


def _still_encrypted(delivery: Delivery) -> bool:
    """Whether what is delivered has an encryption in it, so that the text is in nobody's clear."""
    return any(layer.encrypted for layer in spine(delivery.layer))


@dataclass(frozen=True)
class _Sealing:
    """What our authority opened, to be encrypted again to each recipient's own certificate (RFC 3183 4, case (c)).

    Our authority does not name itself in originatorInfo: it stands for the recipients, not for who sent this (4.1).
    """

    case: _Case
    wanted: wishes.Inbound
    entity: Octets | Pieces
    clear: Octets | Pieces  # the message as it would be handed on without this

    def settle(self, indexes: Sequence[int]) -> list[Settled]:
        """One message for all recipients that everybody sees, one for each blind one, and policy for the others."""
        settled: list[Settled] = []
        together: list[tuple[int, Certificate]] = []
        missing: list[tuple[int, CertificateNotFound]] = []
        hidden = wishes.blind(self.case.marked)
        for index in indexes:
            mailbox = parse_address(self.case.transaction.recipients[index].address)
            try:
                (certificate,) = encrypt.locate(mailbox, "recipient", self.case.context).certificates
            except CertificateNotFound as error:
                missing.append((index, error))
                continue
            if hidden(mailbox):
                settled.append(self._sealed([(index, certificate)]))
            else:
                together.append((index, certificate))
        if together:
            settled.append(self._sealed(together))
        if missing:
            settled.append(self._without_certificate(missing))
        return settled

    def _sealed(self, found: Sequence[tuple[int, Certificate]]) -> Settled:
        certificates = tuple(dict.fromkeys(certificate for _, certificate in found))
        made = encrypt.sealed(self.entity, certificates, encrypt.for_people(certificates))
        indexes = tuple(index for index, _ in found)
        settled = _act(
            "deliver",
            self.case.transaction,
            indexes,
            (),
            fields.replace_entity(self.case.tagged(self.case.marked), made),
        )
        return replace(settled, note={**settled.note, "made": "E(...)", "line": self._line(self.wanted.after_decrypt)})

    def _line(self, setting: Setting[object]) -> str:
        return wishes.told(self.case.site.configuration, setting)

    def _without_certificate(self, missing: Sequence[tuple[int, CertificateNotFound]]) -> Settled:
        policy = self.wanted.on_no_certificate.value
        action: Violation = "deliver" if policy == "clear" else policy
        indexes = tuple(index for index, _ in missing)
        made = _act(action, self.case.transaction, indexes, ("no_certificate",), self.clear, opened=True)
        trace = [line for _, error in missing for line in error.trace]
        line = self._line(self.wanted.on_no_certificate)
        return replace(made, note={**made.note, "certificate": trace[:20], "line": line})


def _marked(header: Header, examination: Examination, site: Site) -> Header:
    """The header with our result on top, and none that only claims to be ours (RFC 8601 5)."""
    authserv_id = site.configuration.authserv_id
    field = authentication_results.format_result(authserv_id, results(examination.verdict))
    return authentication_results.remove(header, authserv_id).prepend(field)


def _act(
    action: Violation,
    transaction: Transaction,
    indexes: tuple[int, ...],
    reasons: tuple[str, ...],
    octets: Octets | Pieces,
    *,
    opened: bool = False,
) -> Settled:
    if action == "reject":  # decisions A-57: the same words whatever went wrong
        return Settled(
            refused=(
                Refused(indexes, 550, "5.7.7", f"message refused by policy, reference {transaction.id} [policy]"),
            ),
            note={"action": "reject", "reasons": reasons},
        )
    if action == "hold":
        kept = octets if _shown(transaction) else transaction.octets  # held elsewhere, it is not judged again
        return Settled(held=(Held(indexes, reasons, kept),), note={"action": "hold", "reasons": reasons})
    parameters = _headers_only(transaction.sender_parameters) if opened else transaction.sender_parameters
    recipients = tuple(transaction.recipients[i] for i in indexes)
    outgoing = Outgoing(transaction.sender, parameters, recipients, octets, indexes)
    return Settled(outgoing=(outgoing,), note={"action": "deliver"})


def _headers_only(parameters: str) -> str:
    """MAIL parameters that keep plaintext out of a bounce (measurements-mail A6)."""
    return " ".join([*(p for p in parameters.split() if not p.upper().startswith("RET=")), "RET=HDRS"])
