"""Mail list agents (RFC 2634 4, spec/algorithms.md (g)): a message for a list becomes messages for its members.

    plan      which layer goes on to the members, and which one's attributes: pure data, printable in RFC notation
    expand    the message checked, its labels obeyed, and everybody's copy of it

The search for the outer layer is that of RFC 3183 section 5, which is there because of what is done here. Nobody sees
a member's copy of an encrypted message but that member: RecipientInfos name who else can read it.

An agent goes on only with what it could look at to the end (4.2): ExpansionStopped is for its administrator. Nothing
here says whether the sender may write to the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Final, Literal

from domsec import oids
from domsec.cms import attributes, content_info, enveloped_data
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import Certificate, IssuerAndSerialNumber
from domsec.cms.credential import Credential
from domsec.errors import CertificateNotFound, ExpansionStopped
from domsec.ess import lists
from domsec.ess.lists import UB_ML_EXPANSION_HISTORY, MLData, MLExpansionHistory, MLReceiptPolicy
from domsec.mime import fields, smime
from domsec.mime.addresses import Mailbox
from domsec.octets import Octets, Pieces, in_one_place
from domsec.services import encrypt, ess_attributes, layers, sign
from domsec.services.check import Examination
from domsec.services.context import Context
from domsec.services.delivery import is_loose
from domsec.services.encrypt import Cipher, Target
from domsec.services.ess_attributes import StatedLabel
from domsec.services.finding import Finding, believed
from domsec.services.layers import Layer

Grouping = Literal["member", "domain", "all"]

# whether this label lets somebody have the message: why not, or None. `expand` asks for the list, then for each member
MayReceive = Callable[[Sequence[StatedLabel], Mailbox], str | None]


@dataclass(frozen=True, slots=True)
class MailList:
    """A list as its agent serves it."""

    address: Mailbox
    credentials: tuple[Credential, ...]  # the first signs and is the list's identifier; each may open
    members: tuple[Mailbox, ...]
    receipt_policy: MLReceiptPolicy | None = None
    encrypt: bool = False  # also what came in clear
    target: Target = "auto"  # whose certificate of a member
    cipher: Cipher = field(default_factory=Cipher)  # for what came in clear; a peer's agreement goes before it
    grouping: Grouping = "member"  # who may see in the RecipientInfos that the others are members

    @property
    def identifier(self) -> IssuerAndSerialNumber:
        """What a history calls this list (4.4)."""
        own = self.credentials[0].certificate
        return IssuerAndSerialNumber(own.issuer, own.serial)

    def is_named_by(self, entry: MLData) -> bool:
        """Whether an entry of a history is of this list, under its present certificate or another of its own."""
        return any(entry.mail_list_identifier.matches(c.certificate) for c in self.credentials)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an agent makes of the layers of a message."""

    outer: Layer | None  # its attributes go on in the new outer signature
    body: Layer
    encrypt: bool  # anew, around a body that is not encrypted

    @property
    def expands(self) -> bool:
        """Whether the body is encrypted, and so gets RecipientInfos for the members (4.2.3.1)."""
        return self.body.encrypted

    @property
    def notation(self) -> str:
        """The result in RFC notation; the body's own layers as letters."""
        body = layers.nested(layers.SYMBOLS.get(part.kind, "S") for part in layers.spine(self.body))
        return f"S[unspecified]+mlh({f'E({body})' if self.encrypt else body})"


def plan(spine: Sequence[Layer], *, encrypt: bool = False) -> Plan:
    """4.2 for a message whose layers are these; `encrypt` is whether what comes in clear leaves encrypted.

    Of a stranger's message give it `finding.believed`: a history counts only where its signature holds.
    """
    branch, at = sign.search_outer(spine)
    if branch == "neither":
        return Plan(None, spine[0], encrypt)
    if branch == "encrypted":
        outer = spine[at - 1] if at and spine[at - 1].kind == "signed" else None  # an empty signature has no attributes
        return Plan(outer, spine[at], encrypt=False)
    _, further = sign.search_outer_encryption(spine[at + 1 :])
    body = spine[at + 1 + further]
    return Plan(spine[at], body, encrypt and not body.encrypted)


@dataclass(frozen=True, slots=True)
class Copy:
    """The message for some members. Made when it is asked for: those for a long list are not all there at once."""

    members: tuple[Mailbox, ...]
    make: Callable[[], Octets | Pieces] = field(repr=False)

    @property
    def octets(self) -> Octets | Pieces:
        """Raises KeyUnusable or StoreUnavailable for the list's key, StoreUnavailable where there is no room."""
        return self.make()


@dataclass(frozen=True, slots=True)
class Expansion:
    """What leaves, and who gets nothing and why: a label in the way, or no certificate to encrypt to."""

    plan: Plan
    copies: tuple[Copy, ...]
    left_out: tuple[tuple[Mailbox, str], ...]


def expand(
    examination: Examination, mail_list: MailList, context: Context, may_receive: MayReceive | None = None
) -> Expansion:
    """The copies of a message for the members of a list.

    `examination` was made with the keys of the list. Without `may_receive` nobody here can judge labels, and labelled
    mail stops. A member without a usable certificate is left out where the message is encrypted: it never gets it in
    clear. There may be nobody left. Raises ExpansionStopped; StoreUnavailable if the list's key cannot be reached now.
    """
    findings = examination.findings
    _check(findings)
    members, left_out = _admitted(findings, mail_list, may_receive)
    made = plan(believed(findings), encrypt=mail_list.encrypt)
    history = _history(findings, made, mail_list)
    if not layers.in_mime(made.body):
        raise ExpansionStopped("mla.malformed", f"layer {made.body.id} has no form in MIME")
    _check_readers(made, mail_list)
    entry = MLData(mail_list.identifier, context.now, lists.union(_policy_of(history), mail_list.receipt_policy))
    stated = attributes.attribute(_HISTORY, MLExpansionHistory((*history, entry)).write())
    signing = sign.Signer(mail_list.credentials[0]).signing(None, (*_kept_attributes(made), stated))
    groups, without = _groups(members, mail_list, context, encrypted=made.expands or made.encrypt)
    inside = _inside(made, mail_list, context)

    def copy(group: _Group) -> Octets | Pieces:
        entity = sign.opaque(inside(group), signing, context.now)
        return fields.replace_entity(examination.message.header, entity, context.limits)

    copies = tuple(Copy(group.members, partial(copy, group)) for group in groups)
    return Expansion(made, copies, (*left_out, *without))


_HISTORY: Final = oids.ID_AA_ML_EXPAND_HISTORY

# --- what stops an agent --------------------------------------------------------------------------------------------


def _check(findings: Sequence[Finding]) -> None:
    """All layers are parsed, and the signatures hold that the search for the outer layer passes (4.2, 4.2.3.2).

    What was opened without a cipher or a signature that would show a change goes no further: whether members got it
    would tell a stranger about the content (RFC 2634 6, threats T-22).
    """
    for i, finding in enumerate(findings):
        layer = finding.layer
        if layer.encrypted and layer.opened is None:
            raise ExpansionStopped("mla.undecryptable", f"layer {layer.id} is closed to the list")
        if is_loose(finding, findings[i + 1 :]):
            text = f"layer {layer.id} could have been changed by anybody, and no valid signature inside shows otherwise"
            raise ExpansionStopped("mla.unauthenticated", text)
        if layer.kind == "unsupported":
            why = "; ".join(f"{code} {text}".strip() for code, text in layer.flags) or "not handled"
            raise ExpansionStopped("mla.malformed", f"layer {layer.id}: {why}")
    for finding in _searched(findings):
        if finding.state not in ("valid", "null"):
            why = "; ".join(dict.fromkeys(s.verdict.reason for s in finding.signers if s.verdict.reason))
            raise ExpansionStopped("mla.invalid_signature", f"layer {finding.layer.id} is {finding.state}: {why}")
    for finding in findings:
        for flag in finding.flags:
            if flag.code.partition(".")[0] in ("label", "mlh"):
                raise ExpansionStopped(flag.code, f"layer {finding.layer.id}: {flag.text}")


def _searched(findings: Sequence[Finding]) -> Iterator[Finding]:
    """The signed and empty layers down to the outer one; where there is none, down to the content."""
    branch, at = sign.search_outer([finding.layer for finding in findings])
    passed = findings if branch == "neither" else findings[: at + 1]
    return takewhile(lambda finding: finding.layer.kind in ("signed", "null"), passed)


def _history(findings: Sequence[Finding], made: Plan, mail_list: MailList) -> tuple[MLData, ...]:
    """The history that goes on. Stops at a loop (4.1.1) and where there is no room (4.4).

    A loop is also seen in a history behind encryption, where the search for the outer layer does not go.
    """
    going_on: tuple[MLData, ...] = ()
    for finding in findings:
        if finding.layer.kind not in ("signed", "null") and not finding.layer.encrypted:
            break
        entries = ess_attributes.expansions(finding)
        if any(map(mail_list.is_named_by, entries)):
            raise ExpansionStopped("mla.loop", f"layer {finding.layer.id} has been through this list before")
        if made.outer is not None and finding.layer.id == made.outer.id:
            going_on = entries
    if len(going_on) >= UB_ML_EXPANSION_HISTORY:
        raise ExpansionStopped("mla.overflow", f"{len(going_on)} lists have expanded this message before")
    return going_on


def _policy_of(history: Sequence[MLData]) -> MLReceiptPolicy | None:
    """4.3: what lists before agreed on stands in the last entry."""
    return history[-1].receipt_policy if history else None


def _check_readers(made: Plan, mail_list: MailList) -> None:
    """An encryption that stays as it is has other readers than the list (as decisions A-37)."""
    body = made.body.child if made.expands else made.body
    layer = sign.closed_to_others(body, mail_list.credentials)
    if layer is not None:
        raise ExpansionStopped("inner_env.unreadable", f"layer {layer.id} is encrypted to the list alone")


def _admitted(
    findings: Sequence[Finding], mail_list: MailList, may_receive: MayReceive | None
) -> tuple[list[Mailbox], list[tuple[Mailbox, str]]]:
    """The members whom no label of any layer keeps the message from, and the others (4.2)."""
    for finding in findings:
        if finding.state != "valid" and layers.carries(finding.layer, oids.ID_AA_SECURITY_LABEL):
            text = f"layer {finding.layer.id} has a label, and is {finding.state}"
            raise ExpansionStopped("label.unverified", text)
    labels = ess_attributes.stated_labels(findings)
    if not labels:
        return list(mail_list.members), []
    if may_receive is None:
        raise ExpansionStopped("label.unknown_policy", f"nobody here can judge the label of layer {labels[0].layer}")
    reason = may_receive(labels, mail_list.address)
    if reason is not None:
        raise ExpansionStopped("label.denied", f"the list may not have this message: {reason}")
    answers = [(member, may_receive(labels, member)) for member in mail_list.members]
    return [m for m, reason in answers if reason is None], [(m, reason) for m, reason in answers if reason is not None]


# --- everybody's copy -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Group:
    members: tuple[Mailbox, ...]
    certificates: tuple[Certificate, ...] = ()  # none: nothing is encrypted


def _groups(
    members: Sequence[Mailbox], mail_list: MailList, context: Context, *, encrypted: bool
) -> tuple[list[_Group], list[tuple[Mailbox, str]]]:
    """Members who get the same octets, and those who cannot be encrypted to.

    What is not encrypted says nothing of its readers, so one copy does for all.
    """
    if not encrypted:
        return ([_Group(tuple(members))] if members else []), []
    found: dict[str, list[tuple[Mailbox, tuple[Certificate, ...]]]] = {}
    without: list[tuple[Mailbox, str]] = []
    for member in members:
        try:
            located = encrypt.locate(member, mail_list.target, context)
        except CertificateNotFound as error:
            without.append((member, "; ".join((str(error), *error.trace))))
            continue
        key = {"member": member.address, "domain": member.domain, "all": ""}[mail_list.grouping]
        found.setdefault(key, []).append((member, located.certificates))
    most = context.limits.recipients
    parts = [group[at : at + most] for group in found.values() for at in range(0, len(group), most)]
    return [_group(part) for part in parts], without


def _group(part: Sequence[tuple[Mailbox, tuple[Certificate, ...]]]) -> _Group:
    return _Group(tuple(m for m, _ in part), tuple(dict.fromkeys(c for _, found in part for c in found)))


def _inside(made: Plan, mail_list: MailList, context: Context) -> Callable[[_Group], Octets | Pieces]:
    """What gives the entity that the new outer signature encloses for a group."""
    own = mail_list.credentials[0]
    originator = (own.certificate, *own.chain)
    if made.expands:
        kind = made.body.kind
        value = _cms_value(made.body)
        sealed = enveloped_data.take_over(layers.CONTENT_TYPES[kind], value, mail_list.credentials, context.limits)

        def readdressed(group: _Group) -> Octets | Pieces:
            transport = _cipher(group, mail_list, context).key_transport
            octets = sealed.readdressed(group.certificates, key_transport=transport, originator_certificates=originator)
            return smime.pkcs7_mime(octets, layers.SMIME_TYPES[kind][0])

        return readdressed
    entity = layers.mime_entity(made.body)
    if not made.encrypt:
        return lambda group: entity
    return lambda group: encrypt.sealed(
        entity, group.certificates, _cipher(group, mail_list, context), originator=originator
    )


def _cipher(group: _Group, mail_list: MailList, context: Context) -> Cipher:
    """How to encrypt for a group: as agreed with its domain, else as the list says."""
    peer = context.peers.common(m.domain for m in group.members)
    if peer is None:
        return mail_list.cipher
    return Cipher(
        peer.cipher or mail_list.cipher.content,
        peer.key_transport or mail_list.cipher.key_transport,
    )


def _cms_value(layer: Layer) -> Octets:
    """The EnvelopedData or AuthEnvelopedData of a layer, without ContentInfo and MIME around it."""
    found = smime.recognise(in_one_place(layers.mime_entity(layer)))
    assert isinstance(found, smime.Pkcs7)
    return content_info.parse(found.der).content


def _kept_attributes(made: Plan) -> tuple[Attribute, ...]:
    """What the new outer signature has of the old one, apart from the history (4.2, decisions A-32)."""
    if made.outer is None:
        return ()
    return tuple(a for a in sign.readded(made.outer) if a.oid != _HISTORY)
