"""What is wanted for mail to each recipient: the general policy, and what was agreed with the domain (decisions A-35).

Recipients who want the same of the same domain share one output message; blind ones get one each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage
from domsec.mime.addresses import Mailbox, ascii_lower, parse_mailboxes
from domsec.mime.fields import Header
from domsec.mime.header_protection import Protection
from domsec.policy.configuration import Configuration
from domsec.policy.options import KeyTransport, NoCertificate, Signature
from domsec.services import encrypt
from domsec.services.encrypt import Cipher
from domsec.services.peer import CipherName, Peer, Target


@dataclass(frozen=True, slots=True)
class Wish:
    """What policy wants for one recipient, and the line that says so."""

    domsec: bool  # the domain is known to read what RFC 3183 makes
    sign: bool
    sign_required: bool
    encrypt: Target
    agreed_encryption: bool  # the agreement with the domain says so: never in clear because of who they are
    on_no_certificate: NoCertificate
    cipher: Cipher  # where an authority reads it
    agreed_content: CipherName | None  # what the agreement names, whoever reads it
    agreed_transport: KeyTransport | None
    signature: Signature
    sigtype_oid: Literal["id-aa-signatureType", "id-sti"]
    protection: Protection  # of header fields, where the innermost layer is ours
    clear_unsigned: bool  # an agreed deviation: the domain signature in the clear over what nobody signed
    line: str

    @property
    def for_people(self) -> bool:
        """Whether mail programs read what we sign, and no gateway: then not around another signature (A-62)."""
        return self.clear_unsigned and not self.domsec


@dataclass(frozen=True, slots=True)
class Group:
    """Recipients, by their index in the transaction, who get the same message."""

    domain: str
    indexes: tuple[int, ...]
    mailboxes: tuple[Mailbox, ...]
    wish: Wish


def wish(configuration: Configuration, peer: Peer | None, *, domsec: bool) -> Wish:
    """The wish for a domain; `domsec` where its authority was found although nothing was agreed (decisions A-62)."""
    out = configuration.outbound
    known = peer.domsec if peer is not None else domsec
    sign = out.sign != "never" and known
    if peer is not None and peer.sign is not None:
        sign = peer.sign
    target = (peer.encrypt if peer else None) or out.encrypt
    content = peer.cipher if peer else None
    transport = peer.key_transport if peer else None
    return Wish(
        domsec=known,
        sign=sign,
        sign_required=sign and out.sign == "required",
        encrypt=target,
        agreed_encryption=peer is not None and peer.encrypt not in (None, "no"),
        on_no_certificate=out.on_no_certificate,
        cipher=Cipher(content or out.cipher, transport or out.key_transport),
        agreed_content=content,
        agreed_transport=transport,
        signature=(peer.signature if peer else None) or out.signature,
        sigtype_oid=peer.sigtype_oid if peer else "id-aa-signatureType",
        protection=protection(configuration, peer),
        clear_unsigned=peer is not None and peer.clear_unsigned,
        line=where(configuration, peer),
    )


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
        for index, agreed in enumerate(configuration.peers):
            if agreed.domain == peer.domain:
                return f"{name}:{configuration.lines.get(('peer', index), 0)} [[peer]] {peer.domain}"
    line = configuration.lines.get(path or ("outbound",))
    label = ".".join(path) or "[outbound]"
    return f"{name}:{line} {label}" if line else f"{label} (default)"


def group(recipients: Sequence[Mailbox], header: Header, wish_of: Callable[[str], Wish]) -> tuple[Group, ...]:
    """Recipients of one transaction as groups that get one message each."""
    hidden = blind(header)
    groups: dict[object, list[int]] = {}
    wishes: dict[str, Wish] = {}
    for index, mailbox in enumerate(recipients):
        if mailbox.domain not in wishes:
            wishes[mailbox.domain] = wish_of(mailbox.domain)
        wanted = wishes[mailbox.domain]
        alone = wanted.encrypt != "no" and hidden(mailbox)
        groups.setdefault((mailbox.domain, index) if alone else mailbox.domain, []).append(index)
    return tuple(
        Group(recipients[members[0]].domain, tuple(members), tuple(recipients[i] for i in members),
              wishes[recipients[members[0]].domain])
        for members in groups.values()
    )  # fmt: skip


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
