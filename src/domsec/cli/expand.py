"""`domsec expand`: a message for a mail list becomes messages for its members (RFC 2634 4).

With `--send` the command is what a mail server pipes messages for the list into. Its exit status is then one of
sysexits.h, as Postfix reads them (pipe(8), local(8)): a mail server keeps the message and tries again where that may
help, and otherwise tells the sender. Nothing is lost in between: who was served is noted before the next is tried.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.options import Given, common, file_argument, json_option
from domsec.cli.reading import read_input
from domsec.cli.world import World, load_world
from domsec.errors import ConfigurationError, DomsecError, ExpansionStopped, StoreUnavailable
from domsec.mime import canonical, fields
from domsec.mime.addresses import Mailbox
from domsec.octets import CHUNK, Octets, chunks, in_one_place, start
from domsec.policy.options import ListOptions
from domsec.services import discovery
from domsec.services.check import examine
from domsec.services.layers import peel
from domsec.services.maillist import Expansion, Grouping, MailList
from domsec.services.maillist import expand as service
from domsec.services.verdict import JSON
from domsec.site import list_options, load_list

if TYPE_CHECKING:
    from domsec.gateway.relay import NextHop

# what a mail server understands, by what the command would say otherwise
_SYSEXITS: Final = {
    Exit.DONE: os.EX_OK,
    Exit.REFUSED: os.EX_NOPERM,
    Exit.VIOLATION: os.EX_NOPERM,
    Exit.USAGE: os.EX_TEMPFAIL,  # an administrator has to change something, and the message waits meanwhile
    Exit.TEMPORARY: os.EX_TEMPFAIL,
    Exit.MALFORMED: os.EX_DATAERR,
}
ABANDONED: Final = timedelta(days=30)  # no mail server tries that long


@click.command()
@file_argument
@click.option("--list", "name", required=True, metavar="NAME", help="A [[list]] of the configuration.")
@click.option("--grouping", type=click.Choice(["member", "domain", "all"]),
              help="Who shares a copy of an encrypted message; default as configured.")  # fmt: skip
@click.option("--send", is_flag=True, help="Give the copies to the list's next hop; exit status as in sysexits.h.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE|DIR",
              help="Write the copy here; a folder for several.")  # fmt: skip
@json_option
@common
def expand(
    given: Given,
    file: Path | None,
    output: Path | None,
    *,
    name: str,
    grouping: Grouping | None,
    send: bool,
    as_json: bool,
) -> int:
    """Expand FILE for the members of a mail list, and sign it for the list.

    Everything in the message is checked first: the signatures around it, its labels, and whether it has been through
    this list before. What cannot be distributed stops with the reason; with --send the owner of the list is told.
    """
    if not send:
        return _write(_Case.load(given, name, file, grouping), output, as_json=as_json)
    if output is not None or as_json:
        raise click.UsageError("--send together with --output or --json, expected one of them")
    code = console.guarded(lambda: _send(_Case.load(given, name, file, grouping)))
    return _SYSEXITS.get(Exit(code) if code in set(Exit) else Exit.TEMPORARY, os.EX_TEMPFAIL)


@dataclasses.dataclass(frozen=True, slots=True)
class _Case:
    """One message for one list."""

    world: World
    options: ListOptions
    mail_list: MailList
    octets: Octets

    @classmethod
    def load(cls, given: Given, name: str, file: Path | None, grouping: Grouping | None) -> _Case:
        world = load_world(given)
        options = list_options(world.configuration, name)
        mail_list = load_list(world.configuration, name, now=world.now, environment_password=given.password)
        if grouping is not None:
            mail_list = dataclasses.replace(mail_list, grouping=grouping)
        return cls(world, options, mail_list, _as_sent(read_input(file, world.context.limits)))

    def expanded(self, members: Sequence[Mailbox]) -> tuple[Expansion, tuple[tuple[Mailbox, str], ...]]:
        """The copies for these members, and those of whom a directory may know more that does not answer now.

        Raises ExpansionStopped.
        """
        context = dataclasses.replace(self.world.context, keyring=self.mail_list.credentials)
        examination = examine(peel(self.octets, context.keyring, context.limits), context)
        target = self.mail_list.target
        if self.mail_list.encrypt or any(layer.encrypted for layer in examination.message.spine()):
            world = self.world.asking(q for m in members for q in discovery.for_recipient(m, target, context))
            context = dataclasses.replace(world.context, keyring=self.mail_list.credentials)
        expansion = service(examination, dataclasses.replace(self.mail_list, members=tuple(members)), context)
        failures = {m: discovery.failure(m, target, context) for m, _ in expansion.left_out}
        waiting = tuple((m, str(failure)) for m, failure in failures.items() if failure is not None)
        left_out = tuple((m, reason) for m, reason in expansion.left_out if failures[m] is None)
        return dataclasses.replace(expansion, left_out=left_out), waiting

    @property
    def message_id(self) -> str:
        try:
            header, _ = fields.split_message(self.octets, self.world.context.limits)
        except DomsecError:
            return ""
        found = header.first("message-id")
        return found.value if found else ""


# what a mail server puts above a message that it delivers: it describes a delivery that ends here
_DELIVERY: Final = re.compile(
    rb"\A(?:(?:return-path|delivered-to|x-original-to)[ \t]*:.*\n(?:[ \t].*\n)*)+", re.IGNORECASE
)


def _as_sent(octets: Octets) -> Octets:
    """A message as it was on the wire: without what a mail server that pipes it puts above, and with its line ends."""
    first = _first_line(octets)
    if first.startswith(b"From ") and first.partition(b":")[0].rstrip() != b"From":
        octets = memoryview(octets)[len(first) + 1 :]
    if delivery := _DELIVERY.match(octets):
        octets = memoryview(octets)[delivery.end() :]
    return octets if _first_line(octets).endswith(b"\r") else in_one_place(canonical.canonical(octets))


def _first_line(octets: Octets) -> bytes:
    return start(octets, CHUNK).partition(b"\n")[0]


# --- to files -------------------------------------------------------------------------------------------------------


def _write(case: _Case, output: Path | None, *, as_json: bool) -> int:
    expansion, waiting = case.expanded(case.mail_list.members)
    if waiting:
        raise StoreUnavailable(_told(waiting))
    for member, reason in expansion.left_out:
        console.warning(f"nothing for {member.address}: {reason}")
    if not expansion.copies:
        console.error("no member is left who may have this message")
        return Exit.REFUSED
    places = _places(len(expansion.copies), output)
    if as_json and None in places:
        raise click.UsageError("--json without --output, expected where the copies go")
    for copy, place in zip(expansion.copies, places, strict=True):
        console.write(copy.octets, place)
    if as_json:
        console.write_json(_document(expansion, places))
    else:
        served = sum(len(copy.members) for copy in expansion.copies)
        console.note(f"{expansion.plan.notation} for {served} members in {len(expansion.copies)} copies")
    return Exit.DONE


def _places(count: int, output: Path | None) -> list[Path | None]:
    if output is not None and output.is_dir():
        return [output / f"{number}.eml" for number in range(1, count + 1)]
    if count > 1:
        raise click.UsageError(f"{count} copies, expected an existing folder for --output, --send, or --grouping all")
    return [output]


def _document(expansion: Expansion, places: Sequence[Path | None]) -> JSON:
    return {
        "made": expansion.plan.notation,
        "copies": [
            {"file": str(place), "members": [m.address for m in copy.members]}
            for copy, place in zip(expansion.copies, places, strict=True)
        ],
        "left_out": [{"member": m.address, "reason": reason} for m, reason in expansion.left_out],
    }


# --- to the next hop ------------------------------------------------------------------------------------------------


def _send(case: _Case) -> int:
    """Distribute; what is still owed to somebody is a temporary failure, and the message comes again."""
    from domsec.stores.deliveries import Deliveries

    hop = _next_hop(case)
    deliveries = Deliveries.open(case.world.configuration.store.url)
    key = _key(case)
    try:
        served = deliveries.served(key)

        def note(members: Sequence[Mailbox]) -> None:
            deliveries.add(key, [member.address for member in members], now=case.world.now)

        owed = [member for member in case.mail_list.members if member.address not in served]
        code = _serve(case, owed, hop, note) if owed or not served else Exit.DONE
        deliveries.finish(key, abandoned=case.world.now - ABANDONED)
    finally:
        deliveries.close()
    return Exit.DONE if served else code


def _serve(case: _Case, owed: Sequence[Mailbox], hop: NextHop, note: Callable[[Sequence[Mailbox]], None]) -> Exit:
    """Refused where nobody gets the message at all. Raises StoreUnavailable while somebody still may."""
    from domsec.gateway.lists import distribute

    try:
        expansion, waiting = case.expanded(owed)
    except ExpansionStopped as stopped:
        _tell_owner(case, hop, "a message was not distributed", [str(stopped)])
        # the sender reads this, and must not learn more: the list opens mail of strangers (decisions A-57)
        console.error("the list does not distribute this message; its owner has been told why")
        return Exit.REFUSED
    outcome = distribute(expansion.copies, case.options.owner.address, hop, note)
    problems = (*expansion.left_out, *outcome.refused)
    if problems or not owed:
        lines = [f"{member.address}: {why}" for member, why in problems]
        _tell_owner(case, hop, "members who get nothing", lines or ["the list has no members"])
        note([member for member, _ in problems])
    if deferred := (*outcome.deferred, *waiting):
        raise StoreUnavailable(_told(deferred))
    if len(problems) < len(owed):
        return Exit.DONE
    console.error("nobody on the list can have this message; its owner has been told why")
    return Exit.REFUSED


def _told(problems: Sequence[tuple[Mailbox, str]]) -> str:
    return "; ".join(f"{member.address}: {why}" for member, why in problems[:3])


def _key(case: _Case) -> str:
    """What a message is remembered by: the same octets for the same list."""
    digest = hashlib.sha256(case.options.name.encode() + b"\0")
    for chunk in chunks(case.octets):
        digest.update(chunk)
    return digest.hexdigest()


def _next_hop(case: _Case) -> NextHop:
    from domsec.gateway.run import next_hop

    if case.options.next_hop is None:
        raise ConfigurationError(f"list {case.options.name} has no next_hop, expected one for --send")
    return next_hop(case.options.next_hop, case.world.configuration)


def _tell_owner(case: _Case, hop: NextHop, subject: str, lines: Sequence[str]) -> None:
    """Raises StoreUnavailable if the next hop does not take the report now."""
    from domsec.gateway.lists import distribute, report
    from domsec.services.maillist import Copy

    options = case.options
    octets = report(
        options.address, options.owner, f"List {options.name}: {subject}", lines, case.message_id, case.world.now
    )
    outcome = distribute([Copy((options.owner,), lambda: octets)], "", hop, lambda _: None)
    for _, reason in outcome.deferred:
        raise StoreUnavailable(f"the owner of the list could not be told: {reason}")
    for _, reason in outcome.refused:
        console.warning(f"the owner of the list could not be told: {reason}")
