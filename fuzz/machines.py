"""Targets that are not messages: both sides of SMTP, the milter, and the configuration file."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path

from domsec.errors import ConfigurationError
from domsec.gateway.milter import Answer, Milter
from domsec.gateway.replies import REPLIES
from domsec.gateway.smtp_client import Client, Job
from domsec.gateway.smtp_client import State as ClientState
from domsec.gateway.smtp_server import Arrived, Budget, Profile, Server
from domsec.limits import Limits
from domsec.mime.fields import new_field, split_message
from domsec.pipeline import Recipient
from domsec.policy.configuration import Configuration, load_peers
from domsec.policy.lines import KeyPath, key_lines

LARGEST = 4096
PROFILES = (
    Profile("lmtp", "inbound", "gw.example", size=LARGEST, recipients=3),
    Profile("smtp", "outbound", "gw.example", size=LARGEST, recipients=3, tls="offered"),
)
FEATURES = b"250-gw\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n"
FEW = b"250 gw\r\n"


# --- the SMTP server ------------------------------------------------------------------------------------------------


def serve(data: bytes) -> None:
    """Octets of a client, cut in several ways: the same messages and the same replies.

    The first octet says who listens and how the reads are cut. Whoever sends on without waiting where a reply has to
    be waited for is cut off, which depends on what came together, and so such dialogues are not compared.
    """
    if not data:
        return
    choice, dialogue = data[0], data[1:]
    profile, trusted = PROFILES[choice & 1], bool(choice & 2)
    one_by_one = _dialogue(profile, dialogue, 1, trusted)
    for size in (2 + (choice >> 2), len(dialogue) or 1):
        other = _dialogue(profile, dialogue, size, trusted)
        if REPLIES["pipelining"].encode() not in other[1]:
            assert other == one_by_one
    for message in one_by_one[0]:
        assert message.octets.endswith(b"\r\n") or not message.octets
        for features in (FEATURES, FEW):
            _send(message, profile, features)


def _dialogue(profile: Profile, dialogue: bytes, size: int, trusted: bool) -> tuple[list[Arrived], bytes]:
    budget = Budget(8 * LARGEST)
    server = Server(profile, client_address="192.0.2.1", trusted=trusted, budget=budget)
    arrived: list[Arrived] = []
    out = b""
    for at in range(0, len(dialogue), size):
        event = server.receive(dialogue[at : at + size])
        while event:
            arrived.append(event)
            event = server.answer([REPLIES["ok"]] * (len(event.recipients) if profile.protocol == "lmtp" else 1))
        out += server.take()
        if server.tls_due:
            server.secured()
    server.lost()
    assert server.closed
    assert budget.used == 0
    out += server.take()
    assert all(len(line) > 3 and line[:3].isdigit() for line in out.splitlines())
    return arrived, out


def _send(message: Arrived, profile: Profile, features: bytes) -> None:
    """What was let in can be handed on: commands of one line each."""
    client = Client(profile.protocol, "gw.example")
    client.receive(b"220 hello\r\n" + features)
    client.take()
    client.begin(Job(message.sender, message.sender_parameters, message.recipients, (message.wire,)))
    while client.state is ClientState.ENVELOPE:
        commands = client.take()
        assert commands
        for command in commands:
            assert command.endswith(b"\r\n")
            assert command.count(b"\n") == command.count(b"\r") == 1
            assert command.isascii() or features is FEATURES
            client.receive(b"354 go\r\n" if command == b"DATA\r\n" else b"250 ok\r\n")


# --- the SMTP client ------------------------------------------------------------------------------------------------


def ask(data: bytes) -> None:
    """Octets of a server, which may say anything at any time: every recipient has an answer in the end."""
    if not data:
        return
    recipients = tuple(Recipient(f"{name}@beta.example") for name in "abc")
    job = Job("alice@acme.example", "RET=HDRS", recipients, (b"Subject: x\r\n", b"\r\nhello\r\n"), bool(data[0] & 2))
    client = Client("lmtp" if data[0] & 1 else "smtp", "gw.example", ("no", "may", "verify", "no")[data[0] >> 2 & 3])
    for line in data[1:].splitlines(keepends=True):
        if client.state is ClientState.READY:
            client.begin(job)
        client.receive(line)
        if client.tls_due:
            client.secured()
        for command in client.take():
            assert command.endswith(b"\r\n")
        if client.results is not None:
            assert len(client.results) == len(recipients)
            client.results = None
    for reply in client.settle(REPLIES["next_hop_protocol"]):
        assert reply.code >= 200
        reply.encode()


# --- the milter -----------------------------------------------------------------------------------------------------

FEW_LIMITS = Limits(size=LARGEST, header_fields=20, header_size=1024, recipients=3)


def listen(data: bytes) -> None:
    """Octets of a mail server, cut in several ways: the same messages, the same answers, and each field one line."""
    one_by_one = _heard(data, 1)
    for size in (3, len(data) or 1):
        assert _heard(data, size) == one_by_one


def _heard(data: bytes, size: int) -> tuple[list[Arrived], bytes, str | None]:
    budget = Budget(2 * LARGEST)
    milter = Milter(FEW_LIMITS, budget=budget)
    arrived: list[Arrived] = []
    out = b""
    for at in range(0, len(data), size):
        event = milter.receive(data[at : at + size])
        while event:
            arrived.append(event)
            header, _ = split_message(event.octets, FEW_LIMITS)
            assert len(header.fields) == len(milter._names)
            places = tuple(range(len(header.fields)))
            event = milter.answer(Answer(REPLIES["marked"], (new_field("X-Mark", "a\r\n b"),), places))
        out += milter.take()
    milter.lost()
    assert milter.closed
    assert budget.used == 0
    return arrived, out + milter.take(), milter.failure


# --- configuration --------------------------------------------------------------------------------------------------


def configure(data: bytes) -> None:
    """A configuration file is read, or everything that is wrong with it is said with its line."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        path = Path(file.name)
        for load in (Configuration.load, load_peers):
            try:
                load(path)
            except ConfigurationError as error:
                assert error.problems
                assert all("\n" not in problem for problem in error.problems)
    try:
        text = data.decode().replace("\r\n", "\n")
        document = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
        return
    _every_key_has_a_line(document, (), key_lines(text), text.count("\n") + 1)


def _every_key_has_a_line(value: object, path: KeyPath, lines: dict[KeyPath, int], last: int) -> None:
    if path:
        assert 1 <= lines[path] <= last
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        _every_key_has_a_line(inner, (*path, key), lines, last)
