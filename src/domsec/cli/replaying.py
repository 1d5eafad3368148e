"""`domsec gateway replay`: what would have become of stored messages. Nothing is sent, held, recorded or kept.

messages    the files of a folder: `*.eml`, and those of Maildirs
Envelope    who sent a message to whom, from options or from the fields that delivery leaves behind
replay      one message
Summary     all of them, by action and by the line that decided
"""

from __future__ import annotations

import dataclasses
import ipaddress
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from domsec.cli.console import Exit
from domsec.cli.explaining import explain
from domsec.cli.explaining import words as _words
from domsec.cli.options import Given
from domsec.cli.reading import read_input
from domsec.cli.world import World, load_world
from domsec.errors import DomsecError, MalformedMessage
from domsec.gateway.replies import for_error
from domsec.gateway.shadow import would
from domsec.mime.addresses import Mailbox, parse_from, parse_mailboxes
from domsec.mime.fields import Header, split_message
from domsec.octets import Octets
from domsec.pipeline import Decision, Recipient, Session, Transaction
from domsec.policy.evidence import Rule
from domsec.policy.kinds import Networks
from domsec.services.verdict import JSON
from domsec.services.verdict import as_json as plain

# where a delivered message says for whom it was, the surest first
_DELIVERED: Final = ("x-original-to", "envelope-to", "delivered-to")
_WRITTEN: Final = ("to", "cc", "bcc")
_EACH: Final = 500  # messages that take longer than another process takes to begin
_CHUNK: Final = 10  # messages that a process takes at a time
_EVERYWHERE: Final = Networks((ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")), unix=True)


@dataclass(frozen=True, slots=True)
class Replay:
    """What is the same for all messages of one call."""

    given: Given
    folder: Path
    direction: Literal["outbound", "inbound"]
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    auth: str | None = None
    client: str | None = None
    user: str | None = None
    trust_from: bool = False

    def load(self) -> World:
        """Raises ConfigurationError, KeyUnusable and so on."""
        world = load_world(self.given)
        if not self.trust_from:
            return world
        anybody = Rule("network", frozenset(world.configuration.domains), _EVERYWHERE)
        return dataclasses.replace(world, site=dataclasses.replace(world.site, evidence=(anybody,)))


@dataclass(frozen=True, slots=True)
class Replayed:
    """What would have become of one message; `recipients` has an action for each, none where it was not replayed."""

    file: str
    recipients: tuple[Mapping[str, object], ...] = ()
    lines: tuple[str, ...] = ()  # for each recipient the place in the configuration that decided
    document: Mapping[str, JSON] = field(default_factory=dict)
    problem: str = ""

    def words(self) -> Iterator[str]:
        if self.problem:
            yield f"{self.file}: not replayed: {self.problem}"
        for recipient, line in zip(self.recipients, self.lines, strict=True):
            more = [_words(plain(recipient[name])) for name in ("made", "reasons", "reply") if recipient.get(name)]
            yield f"{self.file}: {recipient['action']} for {recipient['address']}: {', '.join([*more, line])}"


def messages(folder: Path) -> tuple[Path, ...]:
    """The messages below a folder, in the order of their names. Links to folders are not followed."""
    found: list[Path] = []
    for where, _, names in os.walk(folder):
        maildir = Path(where).name in ("cur", "new")
        found += (Path(where, name) for name in names if name.endswith(".eml") or (maildir and name[:1] != "."))
    return tuple(sorted(found))


def run(replay: Replay, files: Sequence[Path], jobs: int | None) -> Iterator[Replayed]:
    """Each message in turn. Several processes share the work where there is enough of it."""
    processes = jobs or min(os.cpu_count() or 1, len(files) // _EACH + 1)
    world = replay.load()  # also where others load it again: what is wrong with it is told once
    if processes == 1:
        yield from (one(file, replay, world) for file in files)
        return
    # a new interpreter each: neither a token nor the connection to a key process or database crosses a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (replay,)) as pool:
        yield from pool.map(_next, files, chunksize=_CHUNK)


_in_process: list[tuple[Replay, World]] = []  # of a process that replays for another


def _begin(replay: Replay) -> None:
    _in_process.append((replay, replay.load()))


def _next(file: Path) -> Replayed:
    replay, world = _in_process[0]
    return one(file, replay, world)


# --- one message ----------------------------------------------------------------------------------------------------


def one(file: Path, replay: Replay, world: World) -> Replayed:
    """Decide about one message. Whatever is wrong with it becomes words."""
    name = str(file.relative_to(replay.folder))
    try:
        octets = as_on_the_wire(read_input(file, world.configuration.limits))
        envelope = envelope_of(octets, replay, world)
    except (DomsecError, OSError) as problem:
        return Replayed(name, problem=str(problem))
    login = replay.auth or (envelope.author if replay.trust_from else None)
    session = Session(replay.client, None, login, "smtp", False, {}, replay.direction, replay.user)
    recipients = tuple(Recipient(address) for address in envelope.recipients)
    transaction = Transaction(replay.direction, envelope.sender, "", recipients, octets, session, "replay", world.now)
    return _decided(name, envelope, transaction, world)


def _decided(name: str, envelope: Envelope, transaction: Transaction, world: World) -> Replayed:
    failed: list[str] = []
    log: Mapping[str, object] = {}
    decision = Decision()
    try:
        explained = explain(transaction, world, rules=False)
        decision, log = explained.decision, explained.log
    except DomsecError as error:  # as the gateway answers
        reply = for_error(error)
        failed = [f"{reply.code} {reply.enhanced} {error}"] * len(transaction.recipients)
    notes = _by_recipient(decision)
    recipients: list[dict[str, object]] = []
    lines: list[str] = []
    for index, outcome in enumerate(would(decision, transaction, failed)):
        note = notes.get(index, {})
        made = {"made": note["made"]} if "made" in note else {}
        recipients.append({"address": envelope.recipients[index], **outcome, **made})
        lines.append(str(note.get("line") or log.get("line") or "no line"))
    document = plain({"file": name, "envelope": envelope, **log, "recipients": recipients})
    assert isinstance(document, dict)
    return Replayed(name, tuple(recipients), tuple(lines), document)


def _by_recipient(decision: Decision) -> dict[int, Mapping[str, object]]:
    groups = decision.log.get("groups")
    notes = groups if isinstance(groups, list) else []
    return {index: note for note in notes for index in note["recipients"]}


def as_on_the_wire(octets: Octets) -> Octets:
    """With CRLF: a Maildir, and many a file, has the line ends of the system."""
    begun = bytes(octets[:1000])
    if b"\n" not in begun or b"\r\n" in begun:
        return octets
    return bytes(octets).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who sent a message to whom, and what says so: options, or names of fields."""

    sender: str
    sender_from: str
    recipients: tuple[str, ...]
    recipients_from: str
    author: str | None = None  # the address in From


def envelope_of(octets: Octets, replay: Replay, world: World) -> Envelope:
    """Raises MalformedMessage where nobody is named to whom it goes."""
    header, _ = split_message(octets, world.configuration.limits)
    written = parse_from(header).mailboxes
    author = written[0].address if written else None
    sender, said = replay.sender, "option"
    if sender is None:
        returned = header.first("return-path")
        sender, said = author or "", "from"
        if returned is not None:
            sender, said = returned.value.strip().removeprefix("<").removesuffix(">"), "return-path"
    if replay.recipients:
        return Envelope(sender, said, replay.recipients, "option", author)
    for names in (*((name,) for name in _DELIVERED), _WRITTEN):
        found = _mailboxes(header, names)
        if names is _WRITTEN and replay.direction == "inbound":  # others got theirs elsewhere
            found = [mailbox for mailbox in found if world.site.serves(mailbox.domain)]
        if found:
            addresses = tuple(dict.fromkeys(mailbox.address for mailbox in found))
            return Envelope(sender, said, addresses, ", ".join(names), author)
    raise MalformedMessage("no recipient in its header, expected --rcpt")


def _mailboxes(header: Header, names: Sequence[str]) -> list[Mailbox]:
    found: list[Mailbox] = []
    for each in (f for name in names for f in header.all(name)):
        try:
            found += parse_mailboxes(each.value)
        except MalformedMessage:  # what cannot be read names nobody
            continue
    return found


# --- all of them ----------------------------------------------------------------------------------------------------


@dataclass
class Summary:
    """Counts of recipients by action and by the line that decided."""

    messages: int = 0
    recipients: int = 0
    not_replayed: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)

    def add(self, replayed: Replayed) -> None:
        self.messages += 1
        self.recipients += len(replayed.recipients)
        self.not_replayed += bool(replayed.problem)
        self.actions.update(str(recipient["action"]) for recipient in replayed.recipients)
        self.lines.update(replayed.lines)

    def document(self) -> dict[str, JSON]:
        return {
            "messages": self.messages,
            "recipients": self.recipients,
            "not_replayed": self.not_replayed,
            "actions": dict(self.actions.most_common()),
            "lines": dict(self.lines.most_common()),
        }

    def words(self) -> Iterator[str]:
        yield f"{self.messages} messages, {self.not_replayed} not replayed, {self.recipients} recipients"
        for counter in (self.actions, self.lines):
            yield from (f"{count:8} {name}" for name, count in counter.most_common())

    @property
    def status(self) -> Exit:
        """The worst that was met."""
        if self.not_replayed:
            return Exit.MALFORMED
        if self.actions["defer"]:
            return Exit.TEMPORARY
        return Exit.REFUSED if self.actions["hold"] or self.actions["refuse"] else Exit.DONE
