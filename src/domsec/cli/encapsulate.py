"""`domsec review` and `domsec attributes`: a third party's signature around a whole message."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeVar

import click

from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.labels import SYNTAX, label_of
from domsec.cli.options import Given, common, file_argument, output_option
from domsec.cli.reading import read_input
from domsec.cli.sign import several
from domsec.cli.world import World, load_world
from domsec.cms import attributes as cms_attributes
from domsec.cms.attributes import Attribute
from domsec.errors import ConfigurationError, DomsecError
from domsec.ess.reading import check_oid
from domsec.mime import fields
from domsec.octets import in_one_place
from domsec.services.catalogue import Severity
from domsec.services.check import Examination, examine
from domsec.services.encapsulate import Additions, Encapsulated, Manner, OverEncrypted, add_attributes
from domsec.services.encapsulate import review as review_message
from domsec.services.layers import peel

C = TypeVar("C", bound=Callable[..., object])
_ATTRIBUTE: Final = re.compile(r"([0-9.]+)=((?:[0-9A-Fa-f]{2})+)", re.ASCII)


def over_encrypted_option(command: C) -> C:
    return click.option(
        "--over-encrypted",
        type=click.Choice(["direct", "null", "refuse"]),
        default="direct",
        show_default=True,
        help="What goes around an encrypted message: the signature itself if one was seen inside (else, or with "
        "'null', an empty signature first), or nothing.",
    )(command)


@click.command()
@file_argument
@click.option("--unseen", is_flag=True, help="Sign although the original content cannot be seen.")
@over_encrypted_option
@output_option
@common
def review(given: Given, file: Path | None, output: Path | None, *, unseen: bool, over_encrypted: OverEncrypted) -> int:
    """Put a review signature around FILE, with the credential of a review-authority (RFC 3183 3.4).

    By it you say that you have seen the message and that it may go on to its recipients. What is not right with it is
    told beforehand. Several --credential sign beside each other, and count as several reviewers.
    """
    world = load_world(given)
    examination = _examined(file, world)
    signer, manner = several(world.authorities("review")), manner_of(world, "review", over_encrypted)
    made = review_message(examination, signer, world.context, manner=manner, unseen=unseen)
    return _written(examination, made, world, output)


@click.command(epilog=SYNTAX)
@file_argument
@click.option("--equivalent-label", multiple=True, metavar="LABEL",
              help="A label of another policy that says what the originator's label says.")  # fmt: skip
@click.option("--aggregate-label", metavar="LABEL", help="The sensitivity of the message with all that is around it.")
@click.option("--attribute", multiple=True, metavar="OID=HEX", help="An attribute: its type, and its value in DER.")
@over_encrypted_option
@output_option
@common
def attributes(
    given: Given,
    file: Path | None,
    output: Path | None,
    *,
    equivalent_label: tuple[str, ...],
    aggregate_label: str | None,
    attribute: tuple[str, ...],
    over_encrypted: OverEncrypted,
) -> int:
    """Put an additional attributes signature around FILE, by an attribute-authority (RFC 3183 3.3).

    Nobody has to believe an equivalent label unless they trust the signer to translate to its policy.
    """
    if not (equivalent_label or aggregate_label or attribute):
        raise click.UsageError("nothing to add, expected --equivalent-label, --aggregate-label or --attribute")
    world = load_world(given)
    additions = Additions(
        label_of(aggregate_label, world) if aggregate_label else None,
        tuple(label_of(text, world) for text in equivalent_label),
        tuple(_attribute(text) for text in attribute),
    )
    examination = _examined(file, world)
    signer, manner = several(world.authorities("attributes")), manner_of(world, "attributes", over_encrypted)
    made = add_attributes(examination, additions, signer, world.context, manner=manner)
    return _written(examination, made, world, output)


def _attribute(text: str) -> Attribute:
    match = _ATTRIBUTE.fullmatch(text)
    try:
        if match is None:
            raise ConfigurationError("expected OID=HEX")
        check_oid(match[1])
        return cms_attributes.attribute(match[1], bytes.fromhex(match[2]))
    except DomsecError as error:
        raise click.BadParameter(f"{text!r} is no attribute: {error}", param_hint="--attribute") from None


def manner_of(world: World, role: Literal["review", "attributes"], over_encrypted: OverEncrypted) -> Manner:
    protect = world.configuration.outbound.protect_headers
    return Manner(over_encrypted, naming=world.naming(role), protect_headers=protect)


def _examined(file: Path | None, world: World) -> Examination:
    """The message, with what is not right in it said on standard error."""
    context = world.context
    octets = read_input(file, context.limits)
    examination = examine(peel(octets, context.keyring, context.limits), context)
    for flag in examination.verdict.flags:
        if flag.severity is not Severity.INFO:
            where = f" in layer {flag.layer}" if flag.layer else ""
            console.warning(f"{flag.code}{where}: {flag.text}")
    return examination


def _written(examination: Examination, made: Encapsulated, world: World, output: Path | None) -> int:
    message = examination.message
    octets = fields.replace_entity(message.header, made.entity, world.context.limits)
    console.write(octets, output)
    after = peel(in_one_place(octets), world.context.keyring, world.context.limits)
    console.note(f"{examination.verdict.structure} is now {examine(after, world.context).verdict.structure}")
    console.note(f"content {made.content or 'not seen'} (SHA-256)")
    return Exit.DONE
