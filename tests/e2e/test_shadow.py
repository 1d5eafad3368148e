"""Shadow mode behind real Postfix: mail passes as it came, the log says what would have been, nothing is kept."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.letters import Letter, letter
from e2e.world import World, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SHADOW = """
[gateway]
shadow = true

[[rule]]
name = "secure tag"
subject_tag = "[secure]"
encrypt = "required"
strip_tag = true
"""


@pytest.fixture
def shadow(mail: World) -> Iterator[World]:
    """The gateway to the sink in shadow mode, and afterwards as it was."""
    with mail.to_sink.configured(SHADOW):
        yield mail


def passed(mail: World, sent: Letter, recipient: str) -> tuple[bytes, dict[str, Any]]:
    """What the next hop was given of a message by alice, and the line in the log."""
    mail.acme.submit("alice@acme.example", [recipient], sent.octets)
    wait_until(lambda: [each for each in mail.sink.to(recipient) if sent.within(each.content)], "the message")
    (copy,) = (each.content for each in mail.sink.to(recipient) if sent.within(each.content))
    return copy, mail.to_sink.journal()[-1]


def held(mail: World) -> list[str]:
    gateway = mail.to_sink
    command = [gateway.program, "hold", "list", "--json", "--config", str(gateway.configuration)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [each["id"] for each in json.loads(listed)]


def test_what_would_be_encrypted_passes_as_it_came(shadow: World) -> None:
    sent = letter("[secure] the offer", to="carol@gamma.example")
    copy, line = passed(shadow, sent, "carol@gamma.example")
    assert copy.endswith(sent.octets)
    assert copy.startswith(b"Received: from ")
    assert b"x-domsec-auth" not in copy.lower()  # the token is a secret, and a login nobody's business
    assert (line["shadow"], line["action"], line["would"]) == (True, "relay", [{"action": "relay"}])
    (group,) = line["groups"]
    assert group["made"] == "E(S[domain](S0(OC)))"
    assert group["line"].endswith('[[rule]] 1 "secure tag"')
    assert line["recipients"][0]["action"] == "delivered"


def test_nothing_is_held_and_nothing_recorded(shadow: World) -> None:
    before = held(shadow)
    sent = letter("nobody has reviewed it", to="carol@reviewed.gamma.example")
    copy, line = passed(shadow, sent, "carol@reviewed.gamma.example")
    assert copy.endswith(sent.octets)
    assert line["would"] == [{"action": "hold", "reasons": ["gate.review", "review.missing"]}]
    assert held(shadow) == before
    with sqlite3.connect(shadow.acme.folder / "state" / "to-sink.db") as connection:
        records = connection.execute("SELECT record FROM audit").fetchall()
    assert not [record for (record,) in records if str(line["id"]) in record]


def test_the_start_log_says_so_loudly(shadow: World) -> None:
    said = shadow.to_sink.log.read_text()
    assert "warning:" in said
    assert "shadow mode: all mail passes as it came" in said
