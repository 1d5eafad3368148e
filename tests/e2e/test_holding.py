"""Mail that has to be reviewed, behind real Postfix: held, looked at, approved or rejected, and there exactly once."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import pki
from commands import private, public
from e2e.letters import Letter, letter
from e2e.world import World, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

CAROL = "carol@reviewed.gamma.example"
NOTHING_COMES = 7.0  # seconds: the gateway looks every five


def hold(mail: World, verb: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    gateway = mail.to_sink
    command = [gateway.program, "hold", verb, *map(str, arguments), "--config", str(gateway.configuration)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def waiting(mail: World, state: str = "held") -> list[dict[str, Any]]:
    return json.loads(hold(mail, "list", "--state", state, "--json").stdout)


def held(mail: World, sent: Letter) -> str:
    """The id under which the gateway holds a message of alice."""
    before = {each["id"] for each in waiting(mail)}
    mail.acme.submit("alice@acme.example", [CAROL], sent.octets)

    def found() -> list[str]:
        return [each["id"] for each in waiting(mail) if each["id"] not in before]

    wait_until(found, "a held message")
    (identifier,) = found()
    return identifier


def copies(mail: World, sent: Letter) -> list[bytes]:
    return [each.content for each in mail.sink.to(CAROL) if sent.within(each.content)]


def key(folder: Path, identity: pki.Identity) -> Path:
    path = folder / f"{identity.certificate.sha256[:8]}.pem"
    path.write_bytes(private(identity.key) + public(identity.certificate))
    path.chmod(0o600)
    return path


@pytest.fixture
def reviewer(mail: World, tmp_path: Path) -> Path:
    return key(tmp_path, mail.acme.keys.review)


@contextmanager
def killed(mail: World) -> Iterator[None]:
    """The gateway is killed, and comes back afterwards."""
    mail.to_sink.kill()
    try:
        yield
    finally:
        mail.to_sink.start()


@pytest.mark.requirement("R3183-2.2-01", "R3183-3.4-02")
def test_a_held_message_is_shown_approved_by_the_reviewer_and_arrives(mail: World, reviewer: Path, tmp_path: Path):
    sent = letter("to be reviewed", to=CAROL)
    identifier = held(mail, sent)
    (entry,) = [each for each in waiting(mail) if each["id"] == identifier]
    assert (entry["recipients"], entry["reasons"]) == ([CAROL], ["gate.review", "review.missing"])
    shown = hold(mail, "show", identifier)
    assert "Subject: to be reviewed" in shown.stdout
    assert "hold for reviewed.gamma.example" in shown.stdout
    assert sent.secret in hold(mail, "show", identifier, "--message").stdout.encode()

    now = datetime.now(UTC) - timedelta(hours=1)
    colleague = pki.identity("review", "acme.example", mail.acme.keys.ca, now=now)
    refused = hold(mail, "approve", identifier, "--credential", key(tmp_path, colleague))
    assert refused.returncode == 1
    assert "review.not_allowed" in refused.stderr
    assert copies(mail, sent) == []

    approved = hold(mail, "approve", identifier, "--credential", reviewer)
    assert (approved.returncode, f"{identifier} goes on" in approved.stderr) == (0, True), approved.stderr
    wait_until(lambda: copies(mail, sent), "the approved message")
    (content,) = copies(mail, sent)
    verdict = mail.acme.verdict(content, mail.gamma)
    assert verdict.structure == "E(S[domain](S[review](S0(OC))))"
    assert verdict.accepted
    assert sent.secret not in content
    wait_until(lambda: identifier not in {each["id"] for each in waiting(mail, "approved")}, "the end of it")
    time.sleep(NOTHING_COMES)
    assert len(copies(mail, sent)) == 1
    assert hold(mail, "approve", identifier, "--credential", reviewer).returncode == 1


def test_a_rejected_message_stays_and_its_sender_is_told_why(mail: World):
    sent = letter("to be rejected", to=CAROL)
    identifier = held(mail, sent)
    told = len(mail.sink.to("alice@acme.example"))
    assert hold(mail, "reject", identifier, "--reason", "the price list is not for them").returncode == 0
    wait_until(lambda: len(mail.sink.to("alice@acme.example")) > told, "a report")
    report = mail.sink.to("alice@acme.example")[-1]
    assert report.sender.startswith("<>")
    assert b"the price list is not for them" in report.content
    assert sent.secret not in report.content
    assert copies(mail, sent) == []


def test_what_is_approved_while_the_gateway_is_dead_arrives_once_when_it_is_back(mail: World, reviewer: Path):
    sent = letter("approved meanwhile", to=CAROL)
    identifier = held(mail, sent)
    with killed(mail):
        assert hold(mail, "approve", identifier, "--credential", reviewer).returncode == 0
    wait_until(lambda: copies(mail, sent), "the approved message")
    time.sleep(NOTHING_COMES)
    assert len(copies(mail, sent)) == 1


@pytest.mark.slow
def test_a_gateway_killed_while_the_next_hop_takes_a_message_asks_before_it_sends_it_again(mail: World, reviewer: Path):
    """RFC 1047: the next hop has it, and nobody here can know."""
    sent = letter("in doubt", to=CAROL)
    identifier = held(mail, sent)
    mail.sink.answering.clear()
    try:
        assert hold(mail, "approve", identifier, "--credential", reviewer).returncode == 0
        wait_until(lambda: copies(mail, sent), "the message at the next hop")
        with killed(mail):
            _let_leases_run_out(mail)
    finally:
        mail.sink.answering.set()
    wait_until(lambda: waiting(mail, "failed"), "somebody is asked")
    (doubtful,) = waiting(mail, "failed")
    assert "it may have it" in doubtful["note"]
    assert len(copies(mail, sent)) == 1

    assert hold(mail, "approve", doubtful["id"]).returncode == 0
    wait_until(lambda: len(copies(mail, sent)) == 2, "the message again")
    assert waiting(mail, "failed") == []


def _let_leases_run_out(mail: World) -> None:
    """As if the gateway had been down for two minutes."""
    with sqlite3.connect(mail.acme.folder / "state" / "to-sink.db") as connection:
        connection.execute("UPDATE hold SET not_before = '2026-01-01T00:00:00.000000Z' WHERE state = 'releasing'")
