"""`domsec encrypt`, `decrypt` and `locate`: domain encryption (RFC 3183 section 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.options import ADDRESS, FILE, Given, archive_option, common, file_argument, json_option, output_option
from domsec.cli.reading import UNCONFIGURED, read_input
from domsec.cli.sign import concealed, encryption_for, hide_subject_option, warn_of_hidden
from domsec.cli.world import World, load_world, open_keyring
from domsec.cms.enveloped_data import SharedKey
from domsec.errors import CertificateNotFound, ConfigurationError, DecryptionFailed, StoreUnavailable
from domsec.mime import fields
from domsec.mime.addresses import Mailbox, parse_address
from domsec.octets import Octets, Pieces
from domsec.services import discovery
from domsec.services import encrypt as encryption
from domsec.services.describe import recipient_text, structure
from domsec.services.encrypt import Located, Target
from domsec.services.layers import Layer, Message, mime_entity, peel
from domsec.services.names import CONFIDENTIALITY_AUTHORITY
from domsec.services.verdict import JSON
from domsec.stores.files import read_file
from domsec.trust.addresses import subject_text
from domsec.trust.discovered import Found

_TARGETS = click.Choice(["auto", "dca", "recipient", "both"])


shared_key_option = click.option(
    "--shared-key", multiple=True, type=FILE, metavar="FILE",
    help="A key that both sides were given before: its identifier and the key, in hexadecimal, on a line.",
)  # fmt: skip


def shared_keys(files: Sequence[Path]) -> tuple[SharedKey, ...]:
    """The keys in these files, one a line. Raises ConfigurationError."""
    found: list[SharedKey] = []
    for file in files:
        lines = [line.split() for line in read_file(file).decode("ascii", "replace").splitlines() if line.strip()]
        try:
            found += [SharedKey(bytes.fromhex(identifier), bytes.fromhex(key)) for identifier, key in lines]
        except ValueError:
            text = "expected the identifier and a key of 16, 24 or 32 octets on each line, both in hexadecimal"
            raise ConfigurationError(f"{file}: {text}") from None
    return tuple(found)


@click.command()
@file_argument
@click.option("--to", "to", multiple=True, type=ADDRESS, metavar="ADDR",
              help="A recipient; default is the authority of `client.home_domain` in the configuration.")  # fmt: skip
@click.option("--target", type=_TARGETS, default="auto", show_default=True,
              help="Whose certificate: of the recipient, of the authority of its domain, or of both.")  # fmt: skip
@shared_key_option
@click.option("--copy", is_flag=True, help="To whom From names as well, so that they can read what they sent.")
@hide_subject_option
@output_option
@common
def encrypt(
    given: Given,
    file: Path | None,
    output: Path | None,
    *,
    to: tuple[str, ...],
    target: Target,
    shared_key: tuple[Path, ...],
    copy: bool,
    hide_subject: bool,
) -> int:
    """Encrypt FILE to recipients, or to the confidentiality authorities of their domains; without any to that of the
    home domain, whose gateway opens it for those at home."""
    world = load_world(given)
    context = world.context
    message = peel(read_input(file, context.limits), (), context.limits)
    recipients = [parse_address(address) for address in to]
    shared = shared_keys(shared_key)
    if not recipients and not shared:
        recipients, target = [_home(world)], "dca"
    how = encryption_for(recipients, target, world) if recipients else None
    warn_of_hidden(recipients, message)
    own = [encryption.locate(m, "recipient", context) for m in message.originators.mailboxes] if copy else []
    theirs = how.certificates if how is not None else ()
    certificates = dict.fromkeys((*theirs, *(c for located in own for c in located.certificates)))
    entity, header = mime_entity(message.root), message.header
    if hide_subject:
        entity, header = concealed(message, entity)
    made = encryption.sealed(entity, certificates, how.cipher if how is not None else None, shared_keys=shared)
    console.write(fields.replace_entity(header, made, context.limits), output)
    whom = [*map(subject_text, certificates), *(f"the shared key {key.identifier.hex()}" for key in shared)]
    console.note(f"encrypted to {'; '.join(whom)}")
    return Exit.DONE


@click.command()
@file_argument
@shared_key_option
@archive_option
@output_option
@common
def decrypt(
    given: Given, file: Path | None, output: Path | None, *, shared_key: tuple[Path, ...], archive: bool
) -> int:
    """Remove the outer encryption of FILE and print the message with the entity inside; its signatures stay."""
    keyring, shared = open_keyring(given), shared_keys(shared_key)
    message = peel(read_input(file), keyring, UNCONFIGURED, archive=archive, shared_keys=shared)
    spine = message.spine()
    found = next((i for i, layer in enumerate(spine) if layer.encrypted), None)
    if found is None:
        console.error(f"nothing is encrypted in {structure(spine)}")
        return Exit.REFUSED
    layer = spine[found]
    if layer.opened is None or layer.child is None:
        return _closed(layer, len(keyring))
    if found:
        console.warning(f"{found} layers around the encryption came off with it")
    if not layer.opened.authenticated:
        console.warning(
            f"{layer.opened.cipher} does not show whether somebody changed the text; verify before you read"
        )
    console.write(_inside(message, spine[found + 1 :]), output)
    own = layer.opened.credential
    console.note(f"opened with {'a shared key' if own is None else f'the key of {subject_text(own.certificate)}'}")
    return Exit.DONE


def _home(world: World) -> Mailbox:
    """The confidentiality authority of the home domain: the recipient of who says nothing else (decisions A-42)."""
    domain = world.configuration.client.home_domain
    if domain is None:
        raise click.UsageError("nobody to encrypt to, expected --to, or client.home_domain in the configuration")
    return Mailbox(CONFIDENTIALITY_AUTHORITY, domain)


def _inside(message: Message, inside: Sequence[Layer]) -> Octets | Pieces:
    """The message with what was encrypted, fields of its header included that were hidden with it (RFC 9788)."""
    protected = next((layer.protected for layer in inside if layer.protected is not None), None)
    header = message.header if protected is None else protected.revealed(message.header)
    return fields.replace_entity(header, mime_entity(inside[0]))


def _closed(layer: Layer, keys: int) -> int:
    assert layer.enveloped is not None
    if layer.closed == "failed":
        console.error(str(DecryptionFailed()))
        for code, text in layer.flags:
            if code == "enc.outdated":
                console.hint(f"{text}, expected --archive")
        return Exit.REFUSED
    console.error(f"no key for any recipient of layer {layer.id}")
    if not keys and any(recipient.identifiers for recipient in layer.enveloped.recipients):
        console.hint("name a key with --credential")
    for recipient in layer.enveloped.recipients[:20]:
        console.hint(f"it is for {recipient_text(recipient)}")
    return Exit.REFUSED


@click.command()
@click.argument("address", type=ADDRESS, metavar="ADDR")
@click.option("--target", type=_TARGETS, default="auto", show_default=True, help="As in `domsec encrypt`.")
@click.option("--explain", is_flag=True, help="Say for every other certificate why it is not used.")
@json_option
@output_option
@common
def locate(given: Given, address: str, output: Path | None, *, target: Target, explain: bool, as_json: bool) -> int:
    """Say which certificate would be used to encrypt to ADDR, with --explain why not another one."""
    world = load_world(given)
    mailbox = parse_address(address)
    world = world.asking(discovery.for_recipient(mailbox, target, world.context))
    found = world.context.found
    located = encryption.survey(mailbox, target, world.context, exhaustive=explain)
    failure = discovery.failure(mailbox, target, world.context)
    if as_json:
        console.write_json({**_located(located), "directories": list(found.lines())}, output)
        return Exit.DONE if located.complete else Exit.TEMPORARY if failure else Exit.REFUSED
    if failure is not None:
        raise StoreUnavailable("; ".join((*found.lines(), *located.trace)))
    if not located.complete:
        raise CertificateNotFound(address, (*found.lines(), *located.trace))
    console.print_lines(_lines(located, found, explain=explain), output)
    return Exit.DONE


def _lines(located: Located, found: Found, *, explain: bool) -> Iterator[str]:
    for certificate in located.certificates:
        yield f"{certificate.sha256} {subject_text(certificate)}"
    if explain:
        yield from found.lines()
    for one in located.considered if explain else ():
        yield f"{'+' if one.used else '-'} {one}"


def _located(located: Located) -> dict[str, JSON]:
    return {
        "recipient": located.recipient,
        "complete": located.complete,
        "certificates": [{"sha256": c.sha256, "subject": subject_text(c)} for c in located.certificates],
        "authority": located.authority,
        "considered": [
            {
                "whose": one.whose,
                "sha256": one.certificate.sha256 if one.certificate else None,
                "subject": one.subject,
                "used": one.used,
                "why": one.outcome,
            }
            for one in located.considered
        ],
        "trace": list(located.trace),
    }
