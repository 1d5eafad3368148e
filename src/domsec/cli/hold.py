"""`domsec hold`: held messages, for those who decide what becomes of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from domsec.cli import console
from domsec.cli.boundary import document, words
from domsec.cli.console import Exit
from domsec.cli.encapsulate import manner_of, over_encrypted_option
from domsec.cli.options import FILE, Given, common, configuration_file, json_option, output_option
from domsec.cli.sign import several
from domsec.cli.world import World, account, load_world
from domsec.errors import ConfigurationError
from domsec.policy.configuration import Configuration
from domsec.services.catalogue import Severity
from domsec.services.encapsulate import OverEncrypted
from domsec.services.sign import Signer
from domsec.services.verdict import as_json as plain

if TYPE_CHECKING:
    from domsec.gateway.holding import Look, Person, Stores
    from domsec.stores.holds import Hold, HoldStore, State

_STATES: Final[tuple[State, ...]] = ("held", "failed", "approved", "releasing", "done", "rejected", "expired")
_HEADER: Final = ("from", "to", "cc", "subject", "date")
_BORDER: Final = frozenset({"gate.review", "gate.label"})  # reasons that `look` has judged, with review.* and label.*
_SQLITE: Final = "sqlite:///"

_ID = click.argument("identifier", metavar="ID")
_NOTE = click.option("--note", default="", metavar="TEXT", help="Words for the audit trail.")


@click.group()
def hold() -> None:
    """Held messages."""


def _configuration(given: Given) -> Configuration:
    return Configuration.load(configuration_file(given.config))


def _stores(configuration: Configuration) -> Stores:
    """The stores of a gateway that has run: none is made here, where it could belong to the wrong user."""
    from domsec.gateway.holding import Stores

    url = configuration.store.url
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
        raise ConfigurationError(f"{url}: there is no store, expected store.url as the gateway has it")
    return Stores.open(configuration)


# --- looking --------------------------------------------------------------------------------------------------------


@hold.command("list")
@click.option(
    "--state", type=click.Choice((*_STATES, "all")), help="Default: held and failed, which wait for a person."
)
@click.option("--config", type=FILE, metavar="FILE", help="The configuration of the gateway.")
@json_option
@output_option
def hold_list(config: Path | None, state: State | Literal["all"] | None, output: Path | None, *, as_json: bool) -> int:
    """List held messages, oldest first: id, state, since when, sender, recipients, reasons."""
    from domsec.gateway.holding import WAITING

    holds = _stores(_configuration(Given(config=config))).holds
    wanted = WAITING if state is None else _STATES if state == "all" else (state,)
    found = sorted((each for s in wanted for each in _pages(holds, s)), key=lambda each: (each.held_at, each.id))
    if as_json:
        console.write_json(plain([_document(each) for each in found]), output)
    else:
        console.print_lines(map(_line, found), output)
    return Exit.DONE


def _pages(holds: HoldStore, state: State) -> Iterator[Hold]:
    last: Hold | None = None
    while page := holds.list(state, after=last):
        yield from page
        last = page[-1]


def _document(each: Hold) -> dict[str, object]:
    return {
        "id": each.id,
        "state": each.state,
        "direction": each.direction,
        "transaction": each.transaction,
        "held_at": each.held_at.isoformat(),
        "size": each.size,
        "sender": each.sender,
        "recipients": [recipient.address for recipient in each.recipients],
        "reasons": each.reasons,
        "decided_at": each.decided_at.isoformat() if each.decided_at else None,
        "decided_by": each.decided_by,
        "note": each.note,
    }


def _line(each: Hold) -> str:
    to = ", ".join(recipient.address for recipient in each.recipients)
    since = each.held_at.strftime("%Y-%m-%d %H:%M")
    return f"{each.id}  {each.state}  {since}  <{each.sender}> to {to}: {', '.join(each.reasons)}"


@hold.command("show")
@_ID
@click.option("--message", is_flag=True, help="The message itself, to be read or verified, instead of words about it.")
@json_option
@output_option
@common
def hold_show(given: Given, identifier: str, output: Path | None, *, message: bool, as_json: bool) -> int:
    """Show what is in a held message, what keeps it here, and whether that is still so."""
    from domsec.gateway.holding import look

    configuration = _configuration(given)
    found = _stores(configuration).holds.get(identifier)
    if message:
        console.write(found.octets or b"", output)
        return Exit.DONE
    world = load_world(given)
    seen = look(found, world.site, world.context)
    if as_json:
        verdict = seen.examination.verdict
        of_message = {"structure": verdict.structure, "level": verdict.level, "flags": verdict.flags}
        console.write_json(
            plain({**_document(found), **of_message, "passages": [document(p) for p in seen.passages]}), output
        )
    else:
        console.print_lines(_shown(found, seen), output)
    return Exit.DONE


def _shown(found: Hold, seen: Look) -> Iterator[str]:
    verdict = seen.examination.verdict
    yield f"{found.id}: {found.state}, {found.direction}, {found.size} octets, since {found.held_at:%Y-%m-%d %H:%M} UTC"
    yield f"from <{found.sender}> to {', '.join(recipient.address for recipient in found.recipients)}"
    yield f"reasons: {', '.join(found.reasons)}"
    if found.decided_by or found.note:
        yield f"last decided by {found.decided_by or 'nobody'}: {found.note or 'no note'}"
    for field in seen.examination.message.header.fields:
        if field.name in _HEADER:
            yield f"  {field.name.title()}: {field.value.encode(errors='surrogateescape').decode(errors='replace')}"
    yield f"structure: {verdict.structure}"
    for flag in verdict.flags:
        if flag.severity is not Severity.INFO:
            yield f"  {flag.severity} {flag.code}: {flag.text}"
    for passage in seen.passages:
        yield from words(passage)
    others = [code for code in found.reasons if code not in _BORDER and not code.startswith(("review.", "label."))]
    if others and seen.passages:
        yield f"approved, it is decided anew, and stays unless this has changed: {', '.join(others)}"


# --- deciding -------------------------------------------------------------------------------------------------------


@hold.command("approve")
@_ID
@click.option("--unseen", is_flag=True, help="Review although the original content cannot be seen.")
@over_encrypted_option
@_NOTE
@common
def hold_approve(given: Given, identifier: str, *, unseen: bool, over_encrypted: OverEncrypted, note: str) -> int:
    """Let a held message go on.

    Where the border asks for a review, put one around it, with the credential of a review-authority that [[review]]
    allows: the message goes on if it may leave then, and waits for further reviewers if more are needed. What was held
    for another reason is decided anew by the policy in force; what a next hop refused is tried again; mail from outside
    is delivered with its verdict. The running gateway does that, within seconds.
    """
    from domsec.gateway.holding import Reviewing, approve, is_owed

    configuration = _configuration(given)
    stores = _stores(configuration)
    found = stores.holds.get(identifier)
    world = load_world(given)
    signer = functools.cache(functools.partial(_reviewer, world))
    reviewing = Reviewing(signer, manner_of(world, "review", over_encrypted), unseen=unseen)
    approval = approve(stores, found, reviewing, _person(note), world.site, world.context)
    if approval.made is not None:
        console.note(f"reviewed; content {approval.made.content or 'not seen'} (SHA-256)")
    if approval.released:
        anew = "" if is_owed(found) else ", and the gateway decides anew what becomes of it"
        console.note(f"{found.id} goes on{anew}")
        return Exit.DONE
    for code, text in approval.reasons:
        console.warning(f"{found.id} stays: {code}: {text}")
    return Exit.REFUSED


def _reviewer(world: World) -> Signer:
    return several(world.authorities("review"))


@hold.command("reject")
@_ID
@click.option(
    "--reason", required=True, metavar="TEXT", help="Why; the sender is told, if outbound.tell_sender says so."
)
@click.option("--config", type=FILE, metavar="FILE", help="The configuration of the gateway.")
def hold_reject(identifier: str, config: Path | None, reason: str) -> int:
    """End a held message: it is not delivered."""
    from domsec.gateway.holding import reject

    given = Given(config=config)
    configuration = _configuration(given)
    stores = _stores(configuration)
    found = stores.holds.get(identifier)
    told = reject(stores, found, _person(reason), configuration, given.now)
    console.note(f"{found.id} is rejected; its sender {'is' if told else 'is not'} told")
    return Exit.DONE


def _person(note: str) -> Person:
    from domsec.gateway.holding import Person

    return Person(account(), note)
