"""SMTP smuggling (corpus `smtp-smuggling`): what only looks like an end of data ends no message, in or out.

Each file is what follows DATA: a message, a doubtful end of data, and the commands and text of a second message. With
the settings that docs/postfix.md prints there is one message or none. A listener without them shows that the
corpus would do harm.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from e2e.world import SERVER, World, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.shared]

NAMES = (
    "data-lf.lf.bin",
    "data-cr.cr.bin",
    "data-lf.cr.bin",
    "data-lf.crlf.bin",
    "data-crlf.cr.bin",
    "data-crlf.nul-before.bin",
    "data-crlf.nul-after.bin",
    "data-crcrlf.crcrlf.bin",
)


def _payload(shared: Path, name: str, outside: str, inside: str, tag: str) -> bytes:
    """The payload with our domains in place of its own, and a word to find it by in both subjects."""
    octets = (shared / "corpora" / "smtp-smuggling" / name).read_bytes()
    octets = octets.replace(b"outside.example", outside.encode()).replace(b"inside.example", inside.encode())
    return octets.replace(b"Subject: ", f"Subject: {tag} ".encode())


def _send(port: int, source: str, sender: str, recipient: str, payload: bytes) -> bytes:
    """Give the payload to a server as it is; all that the server said."""
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as client:
        said = client.recv(4096)
        for command in ("EHLO client.example", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            client.sendall(command.encode() + b"\r\n")
            said += client.recv(4096)
        assert said.splitlines()[-1].startswith(b"354"), said
        client.sendall(payload)
        said += client.recv(4096)
        client.sendall(b"QUIT\r\n")
        while octets := client.recv(4096):
            said += octets
    return said


def _smuggled(octets: bytes) -> bool:
    """Whether the second message has become one: its subject stands in the header."""
    header = octets.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    return b"smuggled" in header and b"carrier" not in header


def test_the_corpus_is_known(shared: Path):
    expected = json.loads((shared / "corpora" / "smtp-smuggling" / "expected.json").read_text())
    assert set(expected["files"]) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_smuggled_in(mail: World, shared: Path, name: str):
    tag = f"in-{name}"
    payload = _payload(shared, name, "elsewhere.example", "beta.example", tag)
    _send(mail.beta.ports.edge, "127.0.0.1", "alice@elsewhere.example", "bob@beta.example", payload)
    wait_until(mail.idle, "empty queues")
    arrived = [each for each in mail.beta.mailbox("bob") if tag.encode() in each]
    assert len(arrived) <= 1
    assert not any(map(_smuggled, arrived))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("recipient", ["bob@beta.example", "dave@plain.example"])
def test_nothing_is_smuggled_out(mail: World, shared: Path, name: str, recipient: str):
    tag = f"out-{name}"
    payload = _payload(shared, name, "acme.example", recipient.partition("@")[2], tag)
    _send(mail.acme.ports.server, SERVER, "alice@acme.example", recipient, payload)
    wait_until(mail.idle, "empty queues")
    at_dave = [each.content for each in mail.sink.sent if tag.encode() in each.content]
    at_bob = [each for each in mail.beta.mailbox("bob") if tag.encode() in each]
    assert len(at_dave) <= 1
    assert len(at_bob) <= 1
    assert not any(map(_smuggled, at_dave + at_bob))
    for each in at_dave:
        assert not set(b"\r\n") & set(each.replace(b"\r\n", b""))


@pytest.mark.parametrize("name", ["data-lf.lf.bin", "data-lf.crlf.bin"])
def test_the_corpus_does_harm_without_the_settings(mail: World, shared: Path, name: str):
    payload = _payload(shared, name, "elsewhere.example", "beta.example", f"harm-{name}")
    said = _send(mail.beta.ports.careless, "127.0.0.1", "alice@elsewhere.example", "bob@beta.example", payload)
    assert said.count(b"queued as") == 2
    wait_until(mail.idle, "empty queues")
