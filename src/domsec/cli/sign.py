"""`domsec sign` and `domsec sign-domain`: signatures of a person and of a domain."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import click

from domsec import oids
from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.labels import SYNTAX, label_of
from domsec.cli.options import ADDRESS, Given, common, file_argument, output_option
from domsec.cli.reading import read_input
from domsec.cli.world import World, load_world
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.errors import KeyUnusable, MalformedMessage, SigningRefused
from domsec.mime import canonical, fields, header_protection
from domsec.mime.addresses import Mailbox, parse_address
from domsec.mime.fields import Header
from domsec.octets import Octets, Pieces
from domsec.policy import wishes
from domsec.policy.wishes import Wish
from domsec.services import boundary, names, receipts
from domsec.services import encrypt as encryption
from domsec.services import sign as signatures
from domsec.services.check import Examination, examine
from domsec.services.describe import addresses_of
from domsec.services.encapsulate import security_label
from domsec.services.layers import Message, mime_entity, peel
from domsec.services.peer import Target
from domsec.services.sign import Evidence, Grant, Plan, Scheme, Signer
from domsec.services.signature_type import SignatureType

EVIDENCE_KINDS: Final = ("local",)
_USUAL: Final = Scheme()
SIGTYPE_OIDS: Final = {"id-aa-signatureType": oids.ID_AA_SIGNATURE_TYPE, "id-sti": oids.ID_STI}


hide_subject_option = click.option(
    "--hide-subject", is_flag=True,
    help="Keep Subject, Keywords and Comments inside of what is encrypted now or next; `Subject: [...]` stands outside "
         "(RFC 9788).",
)  # fmt: skip


# --- a person -------------------------------------------------------------------------------------------------------


@click.command(epilog=SYNTAX)
@file_argument
@click.option("--clear", is_flag=True, help="multipart/signed, which programs without S/MIME can read.")
@click.option("--label", metavar="LABEL", help="A security label among the signed attributes (RFC 2634 3).")
@click.option("--request-receipt", is_flag=True, help="Ask for signed receipts; keep the result to check them with.")
@click.option("--receipts-from", multiple=True, metavar="all|first-tier|ADDR",
              help="Who is asked: everybody (the default), who gets it by no list, or these.")  # fmt: skip
@click.option("--receipts-to", multiple=True, type=ADDRESS, metavar="ADDR",
              help="Where receipts go; default is the address in From.")  # fmt: skip
@hide_subject_option
@output_option
@common
def sign(
    given: Given,
    file: Path | None,
    output: Path | None,
    *,
    clear: bool,
    label: str | None,
    request_receipt: bool,
    receipts_from: tuple[str, ...],
    receipts_to: tuple[str, ...],
    hide_subject: bool,
) -> int:
    """Put the originator's signature on FILE, with the credential that has the address in From."""
    if not request_receipt and (receipts_from or receipts_to):
        raise click.UsageError("--receipts-from or --receipts-to without --request-receipt")
    world = load_world(given)
    stated = (security_label(label_of(label, world)),) if label is not None else ()
    context = world.context
    octets = read_input(file, context.limits)
    message = peel(octets, context.keyring, context.limits)
    own = _originator(message, world.credentials)
    asked = (_request(message, own, world, receipts_from, receipts_to),) if request_receipt else ()
    signing = Signer(own).signing(_stated_type(message), (*stated, *asked))
    entity, header = mime_entity(message.root), message.header
    if hide_subject:
        entity, header = concealed(message, entity)
    elif message.root.kind == "content" and world.configuration.outbound.protect_headers:
        entity = header_protection.protect(message.header, entity, context.limits)
    if clear:
        made = signatures.clear(entity, signing, world.now, context.limits)
    else:
        made = signatures.opaque(canonical.canonical(entity), signing, world.now)
    console.write(fields.replace_entity(header, made, context.limits), output)
    return Exit.DONE


def concealed(message: Message, entity: Octets | Pieces) -> tuple[Octets | Pieces, Header]:
    """The entity with what --hide-subject hides inside, and the header for outside.

    Raises UsageError where nothing can be hidden: what others made is not written anew to put fields into it.
    """
    if message.root.kind == "content":
        made, outside = header_protection.conceal(message.header, entity)
        if outside is not message.header:
            return made, outside
    raise click.UsageError("--hide-subject for a message that is signed, encrypted or marked already")


def _originator(message: Message, credentials: Sequence[Credential]) -> Credential:
    """The credential of whom From names. Raises KeyUnusable."""
    if not message.originators.valid:
        raise MalformedMessage(f"nobody to sign for: {message.originators.reason}")
    wanted = message.originators.mailboxes
    for credential in credentials:
        if any(_is(mailbox, address) for mailbox in wanted for address in addresses_of(credential.certificate)):
            return credential
    who = " or ".join(mailbox.address for mailbox in wanted)
    raise KeyUnusable(f"no credential of {who} among {len(credentials)}, expected --credential with one")


def _request(
    message: Message, own: Credential, world: World, receipts_from: Sequence[str], receipts_to: Sequence[str]
) -> Attribute:
    """The attribute that asks for receipts. It has its place in the innermost signature (RFC 2634 2.2)."""
    if any(layer.kind == "signed" or layer.encrypted for layer in message.spine()):
        raise click.UsageError("--request-receipt over something signed or encrypted, expected the message itself")
    identifier = receipts.content_identifier(own.certificate, world.now)
    to = [parse_address(address) for address in receipts_to] or list(message.originators.mailboxes)
    return receipts.request(identifier, _asked(receipts_from), to)


def _asked(receipts_from: Sequence[str]) -> Literal["all", "first-tier"] | Sequence[Mailbox]:
    tiers = [word for word in receipts_from if "@" not in word]
    if len(tiers) < len(receipts_from) and not tiers:
        return [parse_address(ADDRESS.convert(word, None, None)) for word in receipts_from]
    if len(receipts_from) <= 1 and set(tiers) <= {"all", "first-tier"}:
        return "first-tier" if "first-tier" in tiers else "all"
    raise click.BadParameter("expected all, first-tier, or addresses", param_hint="--receipts-from")


def _is(mailbox: Mailbox, address: str) -> bool:
    try:
        return parse_address(address).same_as(mailbox)
    except MalformedMessage:
        return False


def _stated_type(message: Message) -> SignatureType | None:
    """None where its absence already says originator; around other signatures it has to be said (3.1.2)."""
    below = any(layer.kind == "signed" or layer.closed for layer in message.spine())
    return SignatureType.ORIGINATOR if below else None


# --- a domain -------------------------------------------------------------------------------------------------------


@click.command("sign-domain")
@file_argument
@click.option("--rcpt", multiple=True, type=ADDRESS, metavar="ADDR", help="A recipient to encrypt to.")
@click.option("--evidence", multiple=True, metavar="local:ADDR", help="You know that ADDR sent this.")
@click.option("--encrypt", "target", type=click.Choice(["no", "auto", "dca", "recipient", "both"]),
              help="Encrypt the result; default no, or what the configuration says for the recipients.")  # fmt: skip
@hide_subject_option
@output_option
@common
def sign_domain(
    given: Given,
    file: Path | None,
    output: Path | None,
    *,
    rcpt: tuple[str, ...],
    evidence: tuple[str, ...],
    target: Target | None,
    hide_subject: bool,
) -> int:
    """Sign FILE for its domain (RFC 3183 3.2 and section 5), then encrypt if asked.

    With several --credential of the domain's authority, say one with RSA and one with ML-DSA, each signs and names
    the others, so that none is removed unseen (RFC 5752). RFC 4853 has a verifier rely on the one it knows; some, as
    OpenSSL, want to know all.

    Nothing is signed unless the originator is authentic, by a signature or by --evidence, and every signature in the
    message is valid. Where the configuration has a store or an audit file, the trail says before who had it signed, and
    on what evidence.
    """
    known = [_evidence(text) for text in evidence]
    world = load_world(given)
    context = world.context
    octets = read_input(file, context.limits)
    authorities = world.signing()
    message = peel(octets, context.keyring, context.limits)
    examination = examine(message, context)
    grant = _granted(examination, authorities, known, world)
    leaving = _leaving(world, [parse_address(address) for address in rcpt], target)
    if hide_subject:
        leaving = _hiding(leaving)
    _check_boundary(examination, leaving, world)
    plan = _plan(examination, leaving, world)
    how = None
    if plan.encrypt:
        how = encryption_for(leaving.recipients, leaving.target, world)
        warn_of_hidden(leaving.recipients, message)
    plan = wishes.as_agreed(plan, leaving.wish, how.certificates if how is not None else ())
    world.record("grant", grant)
    if (off := signatures.stripped(plan, examination.findings, world.now)).layers:
        world.record("stripped", off)
    made, outside = _made(plan, message, authorities, world, leaving.wish, how)
    console.write(fields.replace_entity(outside, made, context.limits), output)
    console.note(f"{examination.verdict.structure} is now {plan.notation}")
    return Exit.DONE


def _granted(
    examination: Examination, authorities: Sequence[Credential], known: Sequence[Evidence], world: World
) -> Grant:
    """The leave to sign, which every key has to get. Raises SigningRefused."""
    options = world.configuration.outbound
    grants = [
        signatures.gate(
            examination,
            authority.certificate,
            known,
            world.context,
            trust_domain_signature=frozenset(options.trust_domain_signature),
            naming=world.naming("signing"),
            require_embedded=options.embedded == "require",
        )
        for authority in authorities
    ]
    return grants[0]


def _evidence(text: str) -> Evidence:
    kind, _, address = text.partition(":")
    if kind not in EVIDENCE_KINDS:
        raise click.BadParameter(f"{text!r} is of no known kind, expected local:ADDR", param_hint="--evidence")
    return Evidence(kind, "command line", frozenset({ADDRESS.convert(address, None, None)}))


@dataclass(frozen=True, slots=True)
class _Leaving:
    """How a message leaves: one wish for all recipients, since there is one output."""

    recipients: tuple[Mailbox, ...]
    target: Target
    wish: Wish


def _leaving(world: World, recipients: Sequence[Mailbox], target: Target | None) -> _Leaving:
    if target not in (None, "no") and not recipients:
        raise click.UsageError(f"--encrypt {target} without --rcpt, expected whom to encrypt to")
    found = list(dict.fromkeys(_wish(world, recipient.domain) for recipient in recipients))
    ways = {(wish.signature, wish.sigtype_oid, wish.protection, wish.clear_unsigned) for wish in found}
    if len(ways) > 1:
        raise click.UsageError("these recipients agreed on different signatures, expected one call for each")
    wish = found[0] if found else _wish(world, "")
    if target is None:
        wanted = {w.encrypt for w in found} if world.configured else set[Target]()
        if len(wanted) > 1:
            raise click.UsageError("these recipients want different encryption, expected --encrypt")
        target = wanted.pop() if wanted else "no"
    return _Leaving(tuple(recipients), target, wish)


def _hiding(leaving: _Leaving) -> _Leaving:
    protection = dataclasses.replace(leaving.wish.protection, hide=True)
    return dataclasses.replace(leaving, wish=dataclasses.replace(leaving.wish, protection=protection))


def _wish(world: World, domain: str) -> Wish:
    known = bool(domain) and encryption.find_authority(domain, world.context) is not None
    return wishes.wish(world.configuration, world.site.peers.of(domain) if domain else None, domsec=known)


def _check_boundary(examination: Examination, leaving: _Leaving, world: World) -> None:
    """Raises SigningRefused for what may not leave for one of the recipients."""
    for domain in dict.fromkeys(recipient.domain for recipient in leaving.recipients):
        asked = world.site.boundaries.of(domain)
        passage = boundary.check(examination, asked, domain, world.context)
        if not passage.released:
            raise SigningRefused(passage.reasons)
        if asked:
            world.record("passage", passage)


def _plan(examination: Examination, leaving: _Leaving, world: World) -> Plan:
    plan = wishes.section_5(world.configuration, examination, world.context, encrypt=leaving.target != "no")
    if world.configuration.outbound.stripped_labels == "hold" and signatures.lost_labels(plan):
        raise SigningRefused([("stripped_label", "a layer with a security label would be taken off")])
    if plan.encrypt and not leaving.recipients:
        raise click.UsageError("an encryption lies inside, so the result has to be encrypted too: expected --rcpt")
    shut = signatures.closed_to_others(plan.body, world.context.keyring)
    if shut is not None and not all(_ours(recipient.domain, world) for recipient in leaving.recipients):
        raise SigningRefused([("inner_env.unreadable", "an encrypted layer lies inside that only we can open")])
    return plan


def _ours(domain: str, world: World) -> bool:
    """Whether mail for a domain is opened by us: as the configuration says, or by the names of our authority."""
    named = (part for own in world.context.keyring for part in names.domain_parts(own.certificate).rfc822)
    return world.site.serves(domain) or any(names.written(part) == domain for part in named)


def _made(
    plan: Plan,
    message: Message,
    authorities: Sequence[Credential],
    world: World,
    wish: Wish,
    how: _Encryption | None,
) -> tuple[Octets | Pieces, Header]:
    """The entity that leaves, and its header."""
    own = world.confidentiality()
    signer = dataclasses.replace(
        several(authorities, wish.signature),
        confidentiality=own.certificate if own else None,
        sigtype_oid=SIGTYPE_OIDS[wish.sigtype_oid],
    )
    seal = functools.partial(_sealed, how, world) if how is not None else None
    labeller = several(world.authorities("attributes")) if plan.carried else None
    body, outside = signatures.kept(plan, message.header, wish.protection)
    signed = signatures.domain_signed(plan, body, signer, world.now, attribute_authority=labeller)
    return signatures.finish(plan, signed, signer, world.now, seal), outside


def several(credentials: Sequence[Credential], scheme: Scheme = _USUAL) -> Signer:
    """Credentials that sign the same beside each other, an RSA key first since every verifier knows it."""
    first, *others = sorted(credentials, key=lambda c: c.certificate.key_algorithm != oids.RSA_ENCRYPTION)
    return Signer(first, scheme.algorithm(first.certificate), beside=tuple(others))


def _sealed(how: _Encryption, world: World, entity: Octets | Pieces) -> Octets | Pieces:
    """An entity encrypted to all recipients at once, as their domain's authority does it."""
    own, options = world.confidentiality(), world.configuration.outbound
    chain = (own.certificate, *own.chain) if own is not None and options.originator_info else ()
    audit = (own.certificate,) if own is not None and options.audit_dca == "own" else ()
    return encryption.sealed(entity, (*how.certificates, *audit), how.cipher, originator=chain)


@dataclass(frozen=True, slots=True)
class _Encryption:
    certificates: tuple[Certificate, ...]
    cipher: encryption.Cipher


def encryption_for(recipients: Sequence[Mailbox], target: Target, world: World) -> _Encryption:
    """The certificates for all recipients, and a cipher that all of them read.

    Raises CertificateNotFound for the first recipient without a usable certificate.
    """
    wanted = "auto" if target == "no" else target
    world = world.asking_for(recipients, wanted)
    found = [encryption.locate(recipient, wanted, world.context) for recipient in recipients]
    certificates = tuple(dict.fromkeys(c for located in found for c in located.certificates))
    ciphers = [
        wishes.cipher(
            wishes.wish(world.configuration, world.site.peers.of(r.domain), domsec=located.authority),
            located.certificates,
        )
        for r, located in zip(recipients, found, strict=True)
    ]
    return _Encryption(certificates, _read_by_all(ciphers))


def _read_by_all(ciphers: Sequence[encryption.Cipher]) -> encryption.Cipher:
    """The older form wherever one of the recipients needs it."""
    content = min((c.content for c in ciphers), key=lambda name: (name.endswith("-gcm"), name))
    return encryption.Cipher(content, "oaep" if all(c.key_transport == "oaep" for c in ciphers) else "pkcs1v15")


def warn_of_hidden(recipients: Sequence[Mailbox], message: Message) -> None:
    """Everybody who gets a message sees to whom it is encrypted (decisions A-35)."""
    visible = " ".join(field.value for name in ("to", "cc") for field in message.header.all(name)).lower()
    hidden = [r.address for r in recipients if r.address.lower() not in visible]
    if hidden and len(recipients) > 1:
        console.warning(f"every recipient can see that this is for {', '.join(hidden)} as well")
