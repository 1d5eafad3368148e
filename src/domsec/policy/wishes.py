"""What is wanted for mail to each recipient: the general policy, what was agreed with the domain (decisions A-35), and
what the first rule says that fits (docs/rules.md).

Recipients who want the same of the same domain share one output message; blind ones get one each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage
from domsec.mime.addresses import Mailbox, ascii_lower, parse_mailboxes
from domsec.mime.fields import Header
from domsec.mime.header_protection import Protection
from domsec.policy.configuration import Configuration
from domsec.policy.options import (
    AfterDecrypt,
    EncryptTarget,
    EncryptWish,
    HoldOrReject,
    KeyTransport,
    NoCertificate,
    OpenPgpWish,
    Refusal,
    SignWish,
    Strip,
    UnknownDomains,
    UserSignature,
    Violation,
    options,
)
from domsec.policy.rules import NO_RULE, Choice, Rule, Setting, kept
from domsec.services import encrypt, labelling, sign
from domsec.services.boundary import LabelRule, Reviewing
from domsec.services.check import Examination
from domsec.services.context import Context
from domsec.services.encrypt import Cipher
from domsec.services.finding import believed
from domsec.services.peer import CipherName, Peer, Target
from domsec.services.sign import Plan, Scheme


@dataclass(frozen=True, slots=True)
class Outbound:
    """What a rule may say otherwise of outbound mail, each with the place that says it. The names are those of the
    options of `[[rule]]`."""

    sign: Setting[SignWish]
    encrypt: Setting[EncryptWish]
    target: Setting[EncryptTarget]
    on_refusal: Setting[Refusal]
    on_boundary: Setting[HoldOrReject]
    unknown_domains: Setting[UnknownDomains]
    on_no_certificate: Setting[NoCertificate]


@dataclass(frozen=True, slots=True)
class Inbound:
    """The same for inbound mail."""

    on_violation: Setting[Violation]
    on_unopenable: Setting[Violation]
    on_unverified: Setting[Violation]
    strip: Setting[Strip]
    after_decrypt: Setting[AfterDecrypt]
    on_no_certificate: Setting[NoCertificate]


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """What policy wants for one recipient, and the line that says so."""

    domsec: bool  # the domain is known to read what RFC 3183 makes
    sign: bool
    sign_required: bool
    encrypt: Target
    encryption_required: bool  # never in clear because of who they are
    wanted: Outbound
    cipher: Cipher  # where an authority reads it
    agreed_content: CipherName | None  # what the agreement names, whoever reads it
    agreed_transport: KeyTransport | None
    signature: Scheme
    sigtype_oid: Literal["id-aa-signatureType", "id-sti"]
    protection: Protection  # of header fields, where the innermost layer is ours
    user_signature: UserSignature  # in the name of who wrote it; where nobody there does DOMSEC
    openpgp: OpenPgpWish
    clear_unsigned: bool  # an agreed deviation: the domain signature in the clear over what nobody signed
    line: str
    reviews: tuple[Reviewing, ...] = ()
    labels: tuple[LabelRule, ...] = ()
    stripped_tags: tuple[str, ...] = ()  # of the Subject
    kept: tuple[str, ...] = ()  # what the rule asked less of than others, and who they are

    @property
    def for_people(self) -> bool:
        """Whether mail programs read what we sign, and no gateway: then not around another signature (A-62)."""
        return self.clear_unsigned and not self.domsec

    @property
    def never_clear(self) -> bool:
        """Whether a rule says that it is encrypted or does not leave."""
        return self.wanted.encrypt.value == "required" and isinstance(self.wanted.encrypt.place, Rule)


@dataclass(frozen=True, slots=True)
class Group:
    """Recipients, by their index in the transaction, who get the same message."""

    domain: str
    indexes: tuple[int, ...]
    mailboxes: tuple[Mailbox, ...]
    wish: Wish


def wish(configuration: Configuration, peer: Peer | None, *, domsec: bool, choice: Choice = NO_RULE) -> Wish:
    """The wish for a domain; `domsec` where its authority was found although nothing was agreed (decisions A-62)."""
    out = configuration.outbound
    known = peer.domsec if peer is not None else domsec
    wanted = choice.lay(_outbound(configuration, peer))
    sign = wanted.sign.value != "never" and (known or (peer is not None and peer.sign is True))
    content = peer.cipher if peer else None
    transport = peer.key_transport if peer else None
    rule = choice.rule
    return Wish(
        domsec=known,
        sign=sign,
        sign_required=sign and wanted.sign.value == "required",
        encrypt="no" if wanted.encrypt.value == "never" else wanted.target.value,
        encryption_required=wanted.encrypt.value == "required",
        wanted=wanted,
        cipher=Cipher(content or out.cipher, transport or out.key_transport),
        agreed_content=content,
        agreed_transport=transport,
        signature=Scheme(
            (peer.signature if peer else None) or out.signature, (peer.digest if peer else None) or out.digest
        ),
        sigtype_oid=peer.sigtype_oid if peer else "id-aa-signatureType",
        protection=protection(configuration, peer),
        user_signature="never" if known else (peer.user_signature if peer else None) or out.user_signature,
        openpgp=out.openpgp,
        clear_unsigned=peer is not None and peer.clear_unsigned,
        line=rule.line if rule is not None else where(configuration, peer),
        reviews=choice.reviews,
        labels=choice.labels,
        stripped_tags=choice.stripped_tags,
        kept=tuple(kept_of(configuration, wanted, choice)),
    )


def _outbound(configuration: Configuration, peer: Peer | None) -> Outbound:
    """What holds without a rule."""
    out = configuration.outbound
    agreed = peer.domain if peer is not None else ""
    sign: Setting[SignWish] = Setting(out.sign, ("outbound", "sign"))
    if peer is not None and peer.sign is not None:
        forced: SignWish = "if-possible" if out.sign == "never" else out.sign
        sign = Setting(forced if peer.sign else "never", agreed)
    target, place = out.encrypt, ("outbound", "encrypt")
    required = out.require_encryption
    source: tuple[str, ...] | str = place
    if peer is not None and peer.encrypt is not None:
        target, source, required = peer.encrypt, agreed, required or peer.encrypt != "no"
    level: EncryptWish = "never" if target == "no" else "required" if required else "if-possible"
    return Outbound(
        sign=sign,
        encrypt=Setting(level, source),
        target=Setting("auto" if target == "no" else target, source),
        on_refusal=Setting(out.on_refusal, ("outbound", "on_refusal")),
        on_boundary=Setting(out.on_boundary, ("outbound", "on_boundary")),
        unknown_domains=Setting(out.unknown_domains, ("outbound", "unknown_domains")),
        on_no_certificate=Setting(out.on_no_certificate, ("outbound", "on_no_certificate")),
    )


def inbound(configuration: Configuration, choice: Choice = NO_RULE) -> Inbound:
    """What is wanted for mail from outside."""
    given = configuration.inbound
    return choice.lay(
        Inbound(
            on_violation=Setting(given.on_violation, ("inbound", "on_violation")),
            on_unopenable=Setting(given.on_unopenable, ("inbound", "on_unopenable")),
            on_unverified=Setting(given.on_unverified, ("inbound", "on_unverified")),
            strip=Setting(given.strip, ("inbound", "strip")),
            after_decrypt=Setting(given.after_decrypt, ("inbound", "after_decrypt")),
            on_no_certificate=Setting(given.on_no_certificate, ("inbound", "on_no_certificate")),
        )
    )


def kept_of(configuration: Configuration, wanted: Outbound | Inbound, choice: Choice) -> Iterator[str]:
    """What the rule named and did not get, each with the place that was kept to instead."""
    if choice.rule is not None and not (choice.firm and len(choice.rules) == 1):
        for name, setting in kept(wanted, choice.rule):
            yield f"{name}: {told(configuration, setting)}"


def told(configuration: Configuration, setting: Setting[object]) -> str:
    """The place in the configuration that a setting is from."""
    place = setting.place
    if isinstance(place, Rule):
        return place.line
    if isinstance(place, str):
        return _agreement(configuration, place)
    return where(configuration, None, *place)


def section_5(configuration: Configuration, examination: Examination, context: Context, *, encrypt: bool) -> Plan:
    """What section 5 of RFC 3183 makes of a message, with what the configuration leaves to it. `encrypt` is whether it
    is wanted encrypted. Raises SigningRefused."""
    options = configuration.outbound
    return sign.plan(
        believed(examination.findings),
        encrypt=encrypt,
        copy_unknown=options.unknown_attributes == "copy",
        translating=labelling.translating(examination.findings, context.labelling),
        carry_labels=options.stripped_labels == "carry",
    )


def as_agreed(plan: Plan, wish: Wish, certificates: Iterable[Certificate]) -> Plan:
    """The plan, in the clear where that was agreed and no authority decrypts the result (decisions A-12)."""
    agreed = wish.clear_unsigned and plan.null and not plan.carried
    return replace(plan, in_clear=agreed and not any(encrypt.is_authority(c) for c in certificates))


def protection(configuration: Configuration, peer: Peer | None) -> Protection:
    """What becomes of the header of mail for a domain."""
    out = configuration.outbound
    wrap = out.wrap_rfc822 if peer is None or peer.wrap_rfc822 is None else peer.wrap_rfc822
    hide = (peer.header_confidentiality if peer else None) or out.header_confidentiality
    form: Literal["fields", "wrapped"] = "wrapped" if wrap else "fields"
    return Protection(form if out.protect_headers else "none", hide == "baseline")


def cipher(wish: Wish, certificates: Sequence[Certificate]) -> Cipher:
    """How to encrypt to these: an authority reads what is modern, people's mail programs often do not (A-62)."""
    if any(encrypt.is_authority(certificate) for certificate in certificates):
        return wish.cipher
    readable = encrypt.for_people(certificates)
    return Cipher(wish.agreed_content or readable.content, wish.agreed_transport or readable.key_transport)


def where(configuration: Configuration, peer: Peer | None, *path: str) -> str:
    """The place in the configuration that decided: `domsec.toml:31`, or that it is a default."""
    name = configuration.path.name
    if peer is not None and not path:
        return _agreement(configuration, peer.domain)
    lines, label = configuration.lines, ".".join(path) or "[outbound]"
    # where only tables of evidence stand in the section, its line has nothing that decides
    names = (option.name for option in options(type(configuration.outbound)))
    stated = path or any(("outbound", name) in lines for name in names)
    line = lines.get(path or ("outbound",)) if stated else None
    return f"{name}:{line} {label}" if line else f"{label} (default)"


def _agreement(configuration: Configuration, domain: str) -> str:
    for index, agreed in enumerate(configuration.peers):
        if agreed.domain == domain:
            return f"{configuration.path.name}:{configuration.lines.get(('peer', index), 0)} [[peer]] {domain}"
    return where(configuration, None)


def group(recipients: Sequence[Mailbox], header: Header, wish_of: Callable[[Mailbox], Wish]) -> tuple[Group, ...]:
    """Recipients of one transaction as groups that get one message each.

    `wish_of` gives the same object, not only an equal one, to all for whom the same is wanted.
    """
    hidden = blind(header)
    groups: dict[tuple[str, Wish, int], list[int]] = {}
    for index, mailbox in enumerate(recipients):
        wanted = wish_of(mailbox)
        alone = wanted.encrypt != "no" and hidden(mailbox)
        groups.setdefault((mailbox.domain, wanted, index if alone else -1), []).append(index)
    return tuple(
        Group(domain, tuple(members), tuple(recipients[i] for i in members), wanted)
        for (domain, wanted, _), members in groups.items()
    )


def blind(header: Header) -> Callable[[Mailbox], bool]:
    """Tells of a mailbox whether nobody else can see that the message goes there."""
    fields = (field for name in ("to", "cc") for field in header.all(name))
    visible = {_comparable(mailbox) for field in fields for mailbox in _mailboxes(field.value)}
    return lambda mailbox: _comparable(mailbox) not in visible


def _comparable(mailbox: Mailbox) -> tuple[str, str]:
    return ascii_lower(mailbox.local), mailbox.domain


def _mailboxes(value: str) -> Iterable[Mailbox]:
    try:
        return parse_mailboxes(value)
    except MalformedMessage:
        return ()
