"""Mail of our users on its way out (spec/algorithms.md (c), (d), (e)).

Recipients are taken in groups that want the same. For each: may we sign, whom do we encrypt to, what does section 5 of
RFC 3183 make of the message. Whoever cannot be served is refused or held, as policy says, and hinders nobody else.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.errors import CertificateNotFound, LimitExceeded, MalformedMessage, SigningRefused
from domsec.mime import fields, header_protection, openpgp
from domsec.mime.addresses import Mailbox, ascii_lower, parse_address
from domsec.mime.fields import Header
from domsec.mime.openpgp import OpenPgp
from domsec.mime.subject import without_tags
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
from domsec.policy import evidence, rules, wishes
from domsec.policy.evidence import Collected
from domsec.policy.rules import Choice, Look, Mail, Setting
from domsec.policy.wishes import Group, Wish
from domsec.services import boundary, discovery, encrypt, proxy, sign
from domsec.services.boundary import Boundary, Passage
from domsec.services.check import Examination
from domsec.services.context import Context
from domsec.services.encrypt import Target
from domsec.services.layers import in_mime, mime_entity, peel, unopened
from domsec.services.sign import Grant, Plan, Stripped
from domsec.site import Site
from domsec.trust.addresses import subject_text
from domsec.trust.discovered import Found, Question

Note = Mapping[str, object]


def outbound(transaction: Transaction, site: Site, found: Found | None = None) -> Decision:
    """Decide what becomes of mail from inside."""
    addressed, settled = _addressed(transaction)
    try:
        (judged,) = transaction.judged_by(site) or (_judged(transaction, site, site.context(transaction.received_at)),)
    except MalformedMessage as error:
        return _unreadable(transaction, error)
    case = _case(transaction, judged if found is None else judged.with_answers(found))
    message, header, context = case.examination.message, case.header, case.context
    if site.asks and found is None:
        wanted = tuple(dict.fromkeys(q for _, mailbox in addressed for q in _questions(mailbox, case)))
        if wanted:
            return Decision(wanted=wanted, judged=(judged,))
    if found is not None:
        addressed, waiting = _answered(addressed, case)
        settled += waiting
    settled.append(Settled(unopened=tuple(c.sha256 for c in unopened(message.spine(), context.keyring))))
    for group in wishes.group([mailbox for _, mailbox in addressed], header, case.wish):
        indexes = tuple(addressed[i][0] for i in group.indexes)
        settled += _send(dataclasses.replace(group, indexes=indexes), case)
    log: dict[str, object] = {
        "structure": case.examination.verdict.structure,
        "from": [m.address for m in message.originators.mailboxes],
    }
    if found is not None and found.answers:
        log["directories"] = list(found.lines())
    if case.granted is not None:
        log["evidence"] = list(case.granted.evidence)
    if case.refusal is not None:
        log["refused"] = [code for code, _ in case.refusal.reasons]
        log["refusal"] = str(case.refusal)
    if case.user_refusal is not None:
        log["user_refused"] = [f"{code}: {text}" for code, text in case.user_refusal.reasons]
    refusals = (
        *(case.refusal.reasons if case.refusal else ()),
        *(case.user_refusal.reasons if case.user_refusal else ()),
    )
    if any(code == "gate.originator" for code, _ in refusals):
        log["no_evidence"] = list(case.collected.missing)
    return decision(settled, log)


def looked_at(transaction: Transaction, site: Site, found: Found | None = None) -> tuple[tuple[Look, ...], ...]:
    """For each recipient the rules that were looked at. Raises MalformedMessage where no rule can be."""
    context = site.context(transaction.received_at, found=found)
    case = _case(transaction, _judged(transaction, site, context))
    mailboxes = (mailbox_of(recipient) for recipient in transaction.recipients)
    return tuple(tuple(rules.looked_at(site.rules, "outbound", case.mail, mailbox)) for mailbox in mailboxes)


def border(transaction: Transaction, site: Site, context: Context) -> tuple[Examination, tuple[Passage, ...]]:
    """What is in a message, and whether it may leave for each of its destinations. Nothing is recorded.

    Raises MalformedMessage for what cannot be read at all, an address of a recipient included.
    """
    case = _case(transaction, _judged(transaction, site, context))
    mailboxes = [parse_address(recipient.address) for recipient in transaction.recipients]
    groups = dict.fromkeys((mailbox.domain, case.wish(mailbox)) for mailbox in mailboxes)
    return case.examination, tuple(case.judged_at_border(domain, wish) for domain, wish in groups)


def _judged(transaction: Transaction, site: Site, context: Context) -> Judged:
    """Raises MalformedMessage."""
    looks = site.configuration.outbound.embedded != "ignore"
    context = dataclasses.replace(context, embedded="opened" if looks else "named")
    message = peel(transaction.octets, context.keyring, context.limits)
    return judge(message, everybody(transaction), site, context)


def _case(transaction: Transaction, judged: Judged) -> _Case:
    header = evidence.without_fields(judged.examination.message.header, judged.site.evidence)
    return _Case(transaction, judged.site, judged.context, judged.examination, header)


def _unreadable(transaction: Transaction, error: MalformedMessage) -> Decision:
    code, enhanced = (552, "5.3.4") if isinstance(error, LimitExceeded) else (550, "5.6.0")
    refused = Refused(everybody(transaction), code, enhanced, f"message refused: {error} [malformed]")
    return Decision(refused=(refused,), log={"action": "refused", "reason": str(error)})


def _addressed(transaction: Transaction) -> tuple[list[tuple[int, Mailbox]], list[Settled]]:
    """The recipients with their indexes; those whose address cannot be read are refused."""
    found: list[tuple[int, Mailbox]] = []
    settled: list[Settled] = []
    for index, recipient in enumerate(transaction.recipients):
        try:
            found.append((index, parse_address(recipient.address)))
        except MalformedMessage as error:
            refused = Refused((index,), 553, "5.1.3", f"recipient refused: {error} [recipient]")
            settled.append(Settled(refused=(refused,)))
    return found, settled


# --- what others know -----------------------------------------------------------------------------------------------


def _questions(mailbox: Mailbox, case: _Case) -> tuple[Question, ...]:
    """What to ask directories about a recipient, or what is still not answered: nothing where all is known."""
    domain, wish, context = mailbox.domain, case.wish(mailbox), case.context
    asked: tuple[Question, ...] = ()
    signs = wish.wanted.sign.value != "never" or wish.encrypt != "no" or wish.wanted.unknown_domains.value != "pass"
    if signs and not wish.domsec and case.site.peers.of(domain) is None:
        asked = discovery.for_authority(domain, context)  # it may be one that does DOMSEC (decisions A-62)
    if wish.encrypt != "no":
        asked += discovery.for_recipient(mailbox, wish.encrypt, context)
    return asked


def _answered(addressed: Sequence[tuple[int, Mailbox]], case: _Case) -> tuple[list[tuple[int, Mailbox]], list[Settled]]:
    """Recipients of whom enough is known, and those to come again."""
    enough: list[tuple[int, Mailbox]] = []
    waiting: list[Settled] = []
    for index, mailbox in addressed:
        failure = case.context.found.failure(_questions(mailbox, case))
        if failure is None:
            enough.append((index, mailbox))
        else:
            waiting.append(unanswered((index,), mailbox.domain, failure))
    return enough, waiting


# --- one group ------------------------------------------------------------------------------------------------------


def _send(group: Group, case: _Case) -> list[Settled]:
    """Sign if that is wanted and granted, encrypt to whom a certificate is found, settle the others."""
    wish, wanted = group.wish, group.wish.wanted
    note: Note = {"domain": group.domain, "line": wish.line, **({"kept": wish.kept} if wish.kept else {})}
    passage = case.passage(group.domain, wish)
    if not passage.released:
        return [case.held_at_boundary(passage, wanted.on_boundary, group.indexes, note)]
    if not wish.domsec and wanted.unknown_domains.value != "pass":
        text = f"mail to {group.domain} may not leave: it is not known to read protected mail"
        return [case.stop(wanted.unknown_domains, group.indexes, "unknown_domain", text, note)]
    if wish.openpgp == "pass" and case.openpgp == "encrypted":
        return [case.relay(group.indexes, case.make(wish, None, ()), {**note, "action": "relay", "made": "as it was"})]
    user = case.user() if wish.user_signature != "never" and case.unprotected else None
    if wish.user_signature == "required" and case.unprotected and user is None and wanted.on_refusal.value != "pass":
        return [case.refused_by_gate(wanted.on_refusal, group.indexes, note, case.user_refusal)]
    signed = user is None and wish.sign and case.grant() is not None
    if wish.sign_required and not signed and user is None and wanted.on_refusal.value != "pass":
        return [case.refused_by_gate(wanted.on_refusal, group.indexes, note, case.refusal)]
    signed = signed and not (wish.for_people and case.signed_by_people)
    if user is not None:
        note = {**note, "signer": f"{user.certificate.sha256[:16]} {subject_text(user.certificate)}"}
    duty = signed and case.lower
    if duty and wish.encrypt == "no":
        wish = dataclasses.replace(wish, encrypt="dca")
    required = wish.encryption_required or duty
    located, missing = _locate(dataclasses.replace(group, wish=wish), case.context, required=required)
    by: _By = "user" if user is not None else "domain" if signed else None
    settled = [_make(indexes, certificates, wish, case, by=by, note=note) for indexes, certificates in located]
    if missing:
        settled.append(_without_certificate(missing, wish, case, by=by, note=note))
    return settled


_By = Literal["domain", "user"] | None  # in whose name it is signed
_Located = tuple[tuple[int, ...], tuple[Certificate, ...]]
_Missing = list[tuple[int, CertificateNotFound]]


def _locate(group: Group, context: Context, *, required: bool) -> tuple[list[_Located], _Missing]:
    """The certificates to encrypt to (none: in clear, as policy wants), and the recipients for whom none is usable."""
    if group.wish.encrypt == "no":
        return [(group.indexes, ())], []
    found: list[int] = []
    certificates: list[Certificate] = []
    clear: list[int] = []
    missing: _Missing = []
    for index, mailbox in zip(group.indexes, group.mailboxes, strict=True):
        try:
            certificates += _certificates(mailbox, group.wish, context)
            found.append(index)
        except CertificateNotFound as error:
            if group.wish.domsec or required or error.rejected:  # found and no good: that is no leave (threats T-20)
                missing.append((index, error))
            else:
                clear.append(index)  # decisions A-62: others get the message as it is
    located: list[_Located] = [(tuple(found), tuple(dict.fromkeys(certificates)))] if found else []
    return located + ([(tuple(clear), ())] if clear else []), missing


_HOLD: Final = Setting("hold", "RFC 3183 section 5")
_DOMSEC_FIRST: tuple[Target, ...] = ("dca", "recipient")
_PERSON_FIRST: tuple[Target, ...] = ("recipient", "dca")


def _certificates(mailbox: Mailbox, wish: Wish, context: Context) -> tuple[Certificate, ...]:
    """A domain that does DOMSEC reads what is encrypted to its authority, others only what is for the person."""
    assert wish.encrypt != "no"
    if wish.encrypt != "auto":
        return encrypt.locate(mailbox, wish.encrypt, context).certificates
    trace: list[str] = []
    rejected = False
    for target in _DOMSEC_FIRST if wish.domsec else _PERSON_FIRST:
        try:
            return encrypt.locate(mailbox, target, context).certificates
        except CertificateNotFound as error:
            trace += error.trace
            rejected = rejected or error.rejected
    raise CertificateNotFound(mailbox.address, trace, rejected=rejected)


def _make(
    indexes: tuple[int, ...],
    certificates: tuple[Certificate, ...],
    wish: Wish,
    case: _Case,
    *,
    by: _By,
    note: Note,
) -> Settled:
    """The message for recipients who can be served, or the reason why section 5 cannot be followed for them."""
    if by == "user":
        made = "E(S[originator](OC))" if certificates else "S[originator](OC)"
        return case.relay(indexes, case.make_as_user(wish, certificates), {**note, "action": "relay", "made": made})
    plan: Plan | None = None
    if by == "domain":
        try:
            plan = case.plan(encrypted=bool(certificates))
        except SigningRefused as refusal:
            case.refusal = refusal
            return case.refused_by_gate(_HOLD, indexes, note, refusal)
        if _nobody_there_reads(plan, case, indexes):
            text = "an encrypted layer lies inside that only we can open"
            return case.stop(_HOLD, indexes, "inner_env.unreadable", text, note)
        if case.minds_losses and sign.lost_labels(plan):
            text = "a layer with a security label would be taken off"
            return case.stop(_HOLD, indexes, "stripped_label", text, note)
        plan = wishes.as_agreed(plan, wish, certificates)
        case.record_stripped(plan)
    octets = case.make(wish, plan, certificates)
    made = plan.notation if plan is not None else ("E(...)" if certificates else "as it was")
    return case.relay(indexes, octets, {**note, "action": "relay", "made": made})


def _nobody_there_reads(plan: Plan, case: _Case, indexes: tuple[int, ...]) -> bool:
    """Whether a lower encryption is for our own authority alone, and mail leaves our domains (decisions A-37)."""
    if sign.closed_to_others(plan.body, case.context.keyring) is None:
        return False
    domains = [parse_address(case.transaction.recipients[i].address).domain for i in indexes]
    return not all(case.site.serves(domain) for domain in domains)


def _without_certificate(missing: _Missing, wish: Wish, case: _Case, *, by: _By, note: Note) -> Settled:
    """Recipients to whom nothing can be encrypted although it should: in clear only if policy says exactly that."""
    indexes = tuple(index for index, _ in missing)
    trace = [line for _, error in missing for line in error.trace]
    note = {**note, "certificate": trace[:20]}
    policy = wish.wanted.on_no_certificate
    if policy.value == "clear" and not (wish.never_clear or (by == "domain" and case.lower)):
        return _make(indexes, (), wish, case, by=by, note=note)
    text = f"no usable certificate to encrypt to {missing[0][1].address}"
    if policy.value == "clear":
        policy = Setting("hold", wish.wanted.encrypt.place if wish.never_clear else policy.place)
    return case.stop(policy, indexes, "no_certificate", text, note)


# --- one message ----------------------------------------------------------------------------------------------------


@dataclass
class _Case:
    """One message under decision. What is the same for several groups is found out or made once."""

    transaction: Transaction
    site: Site
    context: Context
    examination: Examination
    header: Header  # without the fields of our own evidence
    refusal: SigningRefused | None = None
    _grant: Grant | None = None
    _wishes: dict[tuple[str, tuple[str, ...]], Wish] = field(default_factory=dict)
    _stripped: list[Stripped] = field(default_factory=list)
    _signed: dict[tuple[object, ...], tuple[Octets | Pieces, Header]] = field(default_factory=dict)
    user_refusal: SigningRefused | None = None
    _user: Credential | None = None

    @functools.cached_property
    def mail(self) -> Mail:
        """What rules look at."""
        return Mail(
            sender=self.transaction.sender,
            originators=self.examination.message.originators.mailboxes,
            header=self.header,
            size=len(self.transaction.octets),
            users=self._users,
            vouched=self._vouched,
            has_label=lambda pattern: boundary.has_label(self.examination, pattern, self.context),
        )

    def _users(self) -> frozenset[str]:
        """Who is logged in, as somebody else says than the message."""
        told = [e.detail for e in self.collected.evidence if e.kind != "network"]
        auth = self.transaction.session.auth
        return frozenset(ascii_lower(name) for name in (*told, *([auth] if auth else [])))

    def _vouched(self) -> bool:
        """Whether everybody in From is known to be who they say: by evidence, or by their own signature."""
        verdict, originators = self.examination.verdict, self.examination.message.originators
        if not originators.valid:
            return False
        if verdict.accepted and verdict.level != "none":
            return True
        return all(any(e.allows(m) for e in self.collected.evidence) for m in originators.mailboxes)

    def wish(self, mailbox: Mailbox) -> Wish:
        """What is wanted for a recipient: the same object for all of a domain for whom the same rules count."""
        choice = rules.choose(self.site.rules, "outbound", self.mail, mailbox) if self.site.rules else rules.NO_RULE
        key = (mailbox.domain, choice.key)
        if key not in self._wishes:
            self._wishes[key] = self._wish(mailbox.domain, choice)
        return self._wishes[key]

    def _wish(self, domain: str, choice: Choice) -> Wish:
        """A domain without an agreement does DOMSEC if its authority can be found (A-62)."""
        peer = self.site.peers.of(domain)
        known = peer is None and encrypt.find_authority(domain, self.context) is not None
        return wishes.wish(self.site.configuration, peer, domsec=known, choice=choice)

    def header_for(self, wish: Wish) -> Header:
        """The header without the tags that a rule takes out. What a signature inside covers stays as it is."""
        if not wish.stripped_tags or any(layer.protected is not None for layer in self.examination.message.spine()):
            return self.header
        return without_tags(self.header, wish.stripped_tags)

    # -- signing

    def grant(self) -> Grant | None:
        """Leave to sign, recorded in the audit trail before it is given; None if the gate refused."""
        if self._grant is None and self.refusal is None:
            try:
                self._grant = self._open_gate()
            except SigningRefused as refusal:
                self.refusal = refusal
        return self._grant

    @property
    def granted(self) -> Grant | None:
        """The leave to sign, if it was asked for and given."""
        return self._grant

    @functools.cached_property
    def collected(self) -> Collected:
        """What else than a signature says who sent this."""
        session, message = self.transaction.session, self.examination.message
        client = evidence.Client(
            session.client_address, session.auth, session.xforward, session.user, session.certificate
        )
        return evidence.collect(self.site.evidence, client, message.header, message.originators.mailboxes)

    def _open_gate(self) -> Grant:
        site = self.site
        if site.signing is None:
            raise SigningRefused([("gate.not_our_domain", "there is no signing key")])
        key = site.configuration.keys.signing
        grant = sign.gate(
            self.examination,
            site.signing.certificate,
            self.collected.evidence,
            self.context,
            trust_domain_signature=frozenset(site.configuration.outbound.trust_domain_signature),
            naming=key.naming if key is not None else "strict",
            require_embedded=site.configuration.outbound.embedded == "require",
        )
        site.record("grant", self.transaction.id, grant)
        return grant

    @functools.cached_property
    def openpgp(self) -> OpenPgp | None:
        """How users have protected the message with OpenPGP."""
        root = self.examination.message.root
        return openpgp.protection(mime_entity(root)) if root.kind == "content" and in_mime(root) else None

    @property
    def unprotected(self) -> bool:
        """Whether nobody has signed or encrypted it: only then it is signed in somebody's name."""
        return self.examination.message.root.kind == "content" and self.openpgp is None

    def user(self) -> Credential | None:
        """The key to sign with in the name of who wrote this, the leave recorded before; None if that is refused."""
        if self._user is None and self.user_refusal is None:
            try:
                credential, grant = proxy.gate(
                    self.examination,
                    self.site.users,
                    self.collected.evidence,
                    self.context,
                    require_embedded=self.site.configuration.outbound.embedded == "require",
                )
            except SigningRefused as refusal:
                self.user_refusal = refusal
            else:
                self.site.record("grant", self.transaction.id, grant)
                self._user = credential
        return self._user

    def plan(self, *, encrypted: bool) -> Plan:
        """Section 5 for this message. Raises SigningRefused."""
        return wishes.section_5(self.site.configuration, self.examination, self.context, encrypt=encrypted)

    @functools.cached_property
    def lower(self) -> bool:
        """Whether an encryption inside makes encryption of what is signed a duty (RFC 3183 section 5)."""
        try:
            return self.plan(encrypted=False).encrypt
        except SigningRefused:
            return False

    @property
    def signed_by_people(self) -> bool:
        """Whether a signature is outermost already."""
        return self.examination.message.root.kind == "signed"

    @property
    def minds_losses(self) -> bool:
        """Whether no label may go with a layer that section 5 takes off (decisions A-33)."""
        return self.site.configuration.outbound.stripped_labels == "hold"

    def record_stripped(self, plan: Plan) -> None:
        """Have the audit trail keep what section 5 takes off, once for all recipients."""
        off = sign.stripped(plan, self.examination.findings, self.transaction.received_at)
        if off.layers and off not in self._stripped:
            self.site.record("stripped", self.transaction.id, off)
            self._stripped.append(off)

    # -- the boundary

    def passage(self, domain: str, wish: Wish) -> Passage:
        """Whether the message may leave for a domain (spec/algorithms.md (h)); if so, the audit trail has why."""
        passage = self.judged_at_border(domain, wish)
        if self._asked(domain, wish) and passage.released:
            self.site.record("passage", self.transaction.id, passage)
        return passage

    def judged_at_border(self, domain: str, wish: Wish) -> Passage:
        return boundary.check(self.examination, self._asked(domain, wish), domain, self.context)

    def _asked(self, domain: str, wish: Wish) -> Boundary:
        """What `[[review]]` and `[[boundary]]` ask for a destination, and what the rule asks beside them."""
        asked = self.site.boundaries.of(domain)
        if not (wish.reviews or wish.labels):
            return asked
        reviews = tuple(dict.fromkeys((*asked.reviews, *wish.reviews)))
        return Boundary(reviews, (*asked.labels, *wish.labels))

    # -- octets

    def make(self, wish: Wish, plan: Plan | None, certificates: Sequence[Certificate]) -> Octets | Pieces:
        """The message for one group: signed as planned (None: not signed), encrypted if there are certificates."""
        header = self.header_for(wish)
        if plan is None:
            if not certificates:
                return fields.join_message(header, self.examination.message.body)
            entity, outside = self._unsigned(wish, header)
            return fields.replace_entity(outside, self._encrypted(wish, certificates, entity))
        signer = self.site.signer(wish.signature, wish.sigtype_oid)
        now = self.transaction.received_at
        form = (wish.protection, wish.signature, wish.sigtype_oid, plan.in_clear, wish.stripped_tags)
        key = (plan.body.id, plan.carried, plan.encrypt, *form)
        if key not in self._signed:
            body, outside = sign.kept(plan, header, wish.protection)
            made = sign.domain_signed(
                plan,
                body,
                signer,
                now,
                attribute_authority=self.site.attribute_authority,
                limits=self.context.limits,
            )
            self._signed[key] = made, outside
        entity, outside = self._signed[key]
        seal = functools.partial(self._encrypted, wish, certificates) if plan.encrypt else None
        return fields.replace_entity(outside, sign.finish(plan, entity, signer, now, seal))

    def make_as_user(self, wish: Wish, certificates: Sequence[Certificate]) -> Octets | Pieces:
        """The message signed in the clear by whom From names, so that every program shows it, then encrypted."""
        user = self._user
        assert user is not None
        protection = dataclasses.replace(wish.protection, hide=wish.protection.hide and bool(certificates))
        key = ("user", protection, wish.signature, wish.stripped_tags)
        if key not in self._signed:
            entity = mime_entity(self.examination.message.root)
            body, outside = header_protection.put_inside(self.header_for(wish), entity, protection)
            signing = sign.Signer(user, wish.signature.algorithm(user.certificate)).signing(None)
            self._signed[key] = sign.clear(body, signing, self.transaction.received_at, self.context.limits), outside
        made, outside = self._signed[key]
        return fields.replace_entity(outside, self._encrypted(wish, certificates, made) if certificates else made)

    def _unsigned(self, wish: Wish, header: Header) -> tuple[Octets | Pieces, Header]:
        """What is encrypted without our signature, and its header. Nothing is put into it but to hide it."""
        root = self.examination.message.root
        entity = mime_entity(root)
        if root.kind != "content" or not wish.protection.hide:
            return entity, header
        return header_protection.put_inside(header, entity, wish.protection)

    def _encrypted(self, wish: Wish, certificates: Sequence[Certificate], entity: Octets | Pieces) -> Octets | Pieces:
        options = self.site.configuration.outbound
        own = self.site.confidentiality
        chain = (own.certificate, *own.chain) if own is not None and options.originator_info else ()
        audit = (own.certificate,) if own is not None and options.audit_dca == "own" else ()
        cipher = wishes.cipher(wish, certificates)
        return encrypt.sealed(entity, (*certificates, *audit), cipher, originator=chain)

    # -- outcomes

    def relay(self, indexes: tuple[int, ...], octets: Octets | Pieces, note: Note) -> Settled:
        given = self.transaction
        recipients = tuple(given.recipients[i] for i in indexes)
        return Settled(
            outgoing=(Outgoing(given.sender, given.sender_parameters, recipients, octets, indexes),), note=note
        )

    def by(self, policy: Setting[str]) -> Note:
        """For the log: the action, and the line that says so."""
        place = policy.place
        line = place if policy is _HOLD else wishes.told(self.site.configuration, policy)
        return {"action": policy.value, "by": line}

    def stop(self, policy: Setting[str], indexes: tuple[int, ...], reason: str, text: str, note: Note) -> Settled:
        """Refuse or hold for a reason of policy."""
        note = {**note, **self.by(policy), "reason": reason}
        if policy.value == "reject":
            return Settled(refused=(Refused(indexes, 550, "5.7.1", f"{text} [{reason}]"),), note=note)
        return Settled(held=(Held(indexes, (reason,), self.transaction.octets),), note=note)

    def held_at_boundary(self, passage: Passage, policy: Setting[str], indexes: tuple[int, ...], note: Note) -> Settled:
        """Refuse or hold what may not leave for a destination."""
        reasons = boundary.codes(passage.reasons)
        note = {**note, **self.by(policy), "boundary": [f"{code}: {text}" for code, text in passage.reasons]}
        if policy.value == "reject":
            text = f"may not leave for {passage.destination}: {', '.join(reasons)}"
            return Settled(refused=(Refused(indexes, 550, "5.7.1", text),), note=note)
        return Settled(held=(Held(indexes, reasons, self.transaction.octets),), note=note)

    def refused_by_gate(
        self, policy: Setting[str], indexes: tuple[int, ...], note: Note, refusal: SigningRefused | None
    ) -> Settled:
        """Refuse or hold what may not be signed."""
        reasons = tuple(code for code, _ in refusal.reasons) if refusal else ("gate.refused",)
        note = {**note, **self.by(policy)}
        if policy.value == "reject":
            text = (
                f"not signed for {'its sender' if refusal is self.user_refusal else 'the domain'}: {', '.join(reasons)}"
            )
            return Settled(refused=(Refused(indexes, 550, "5.7.1", text),), note=note)
        return Settled(held=(Held(indexes, reasons, self.transaction.octets),), note=note)
