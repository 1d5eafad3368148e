"""`domsec receipt`: signed receipts (RFC 2634 2). What asks for them is `domsec sign --request-receipt`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.utils import format_datetime
from pathlib import Path
from typing import Final

import click

from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.options import FILE, Given, common, file_argument, json_option, output_option
from domsec.cli.reading import read_input
from domsec.cli.sign import encryption_for
from domsec.cli.world import World, load_world
from domsec.cms.credential import Credential
from domsec.errors import KeyUnusable, ReceiptRefused
from domsec.mime.addresses import parse_originators
from domsec.services import receipts
from domsec.services.check import examine
from domsec.services.describe import addresses_of
from domsec.services.finding import mailboxes_of
from domsec.services.layers import Layer, Message, peel
from domsec.services.receipts import Asked, Checked
from domsec.services.verdict import JSON
from domsec.trust.usage import signing_problems

_PLAIN: Final = re.compile(r"[ -~]{1,900}")


@click.group()
def receipt() -> None:
    """Signed receipts."""


@receipt.command("make")
@file_argument
@click.option("--encrypt/--no-encrypt", "wanted", default=None,
              help="Encrypt the receipt; default is to do so where the message was encrypted.")  # fmt: skip
@output_option
@common
def receipt_make(given: Given, file: Path | None, output: Path | None, *, wanted: bool | None) -> int:
    """Answer the request for a receipt in FILE with a message to whom it says, signed by --credential.

    That tells them that you had the message and could verify it. Nothing is made unless the signature that asks for it
    is valid, and you are among those it asks; nothing is remembered either, so a second call makes a second receipt.
    """
    world = load_world(given)
    context = world.context
    message = peel(read_input(file, context.limits), context.keyring, context.limits)
    own = _receiver(message, world.credentials)
    due = receipts.asked(examine(message, context), receipts.names_of(own.certificate))
    if not due.mailboxes:
        raise ReceiptRefused("receipt.no_address", "nobody who shall have the receipt has a mail address")
    entity = receipts.make(due, own, world.now)
    if wanted if wanted is not None else _was_encrypted(message, due.layer):
        how = encryption_for(due.mailboxes, "auto", world)
        entity = receipts.seal(entity, own, how.certificates, how.cipher, world.now)
    console.write(_header(message, own, due, world) + entity, output)
    console.note(f"a receipt for {', '.join(mailbox.address for mailbox in due.mailboxes)}")
    return Exit.DONE


def _receiver(message: Message, credentials: Sequence[Credential]) -> Credential:
    """The key of somebody the message is addressed to, else the first. Raises KeyUnusable where none can sign."""
    credentials = [c for c in credentials if not signing_problems(c.certificate)]
    if not credentials:
        raise KeyUnusable("nobody to sign the receipt, expected --credential")
    addressed = [m for name in ("to", "cc") for m in parse_originators(message.header, name).mailboxes]
    for credential in credentials:
        if any(m.same_as(a) for m in mailboxes_of(addresses_of(credential.certificate)) for a in addressed):
            return credential
    return credentials[0]


def _was_encrypted(message: Message, signed: Layer) -> bool:
    """Whether what asks for the receipt came encrypted: then its digest is nobody else's business (2.4)."""
    return any(layer.encrypted and signed.id.startswith(f"{layer.id}.") for layer in message.spine())


def _header(message: Message, own: Credential, due: Asked, world: World) -> bytes:
    """Of the message the receipt is for only its Message-ID is told."""
    sender = next(iter(mailboxes_of(addresses_of(own.certificate))), None)
    about = message.header.first("message-id")
    fields = [
        ("From", sender.address if sender is not None else ""),
        ("To", ",\r\n ".join(mailbox.address for mailbox in due.mailboxes)),
        ("Subject", "Signed receipt"),
        ("Date", format_datetime(world.now)),
        ("In-Reply-To", about.value if about is not None and _PLAIN.fullmatch(about.value) else ""),
        ("Auto-Submitted", "auto-replied"),
        ("MIME-Version", "1.0"),
    ]
    return "".join(f"{name}: {value}\r\n" for name, value in fields if value).encode()


@receipt.command("check")
@file_argument
@click.option("--sent", required=True, type=FILE, metavar="FILE",
              help="The message the receipt is for, as `domsec sign` wrote it, before encryption.")  # fmt: skip
@json_option
@output_option
@common
def receipt_check(given: Given, file: Path | None, output: Path | None, *, sent: Path, as_json: bool) -> int:
    """Say whether FILE is a valid receipt for a message sent, and by whom."""
    world = load_world(given)
    context = world.context
    kept = receipts.sent(peel(read_input(sent, context.limits), context.keyring, context.limits))
    message = peel(read_input(file, context.limits), context.keyring, context.limits)
    try:
        found = receipts.check(examine(message, context), kept)
    except ReceiptRefused as refused:
        if not as_json:
            raise
        console.write_json({"accepted": False, "reason": refused.code, "text": refused.text}, output)
        return Exit.REFUSED
    if as_json:
        console.write_json(_document(found), output)
        return Exit.DONE
    who = ", ".join(found.addresses) or found.subject
    when = f" on {found.signing_time}" if found.signing_time else ""
    console.print_lines([f"{who} had the message and could verify it, signed{when}"], output)
    if not found.listed:
        console.warning(f"no receipt was asked of {who}")
    return Exit.DONE


def _document(found: Checked) -> JSON:
    return {
        "accepted": True,
        "subject": found.subject,
        "addresses": list(found.addresses),
        "signing_time": found.signing_time,
        "content_identifier": found.content_identifier.hex(),
        "listed": found.listed,
    }
