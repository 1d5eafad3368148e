"""`domsec gateway replay`: what would have become of stored messages, and that nothing comes of it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import world
from commands import AT, PLAIN, Desk, Ran, run
from domsec.stores.holds import HoldStore

LOCAL = ("--client", "192.0.2.7")


@pytest.fixture
def configuration(desk: Desk, tmp_path: Path) -> Path:
    for role in ("signing", "confidentiality"):
        desk.key(f"acme-{role}").chmod(0o600)
    file = tmp_path / "acme.toml"
    file.write_text(
        'domains = ["acme.example"]\n'
        f'[keys.signing]\ncredential = "{desk.key("acme-signing")}"\n'
        f'[keys.confidentiality]\ncredential = "{desk.key("acme-confidentiality")}"\n'
        f'[trust]\nroles = ["{desk.certificate("beta-ca")}", "{desk.certificate("acme-ca")}"]\n'
        f'certificates = ["{desk.certificates}"]\n'
        '[inbound]\nharvest = "trusted"\non_unverified = "hold"\n'
        '[[outbound.evidence]]\nkind = "network"\nnetworks = ["192.0.2.0/24"]\n'
        '[[rule]]\nname = "gamma"\nrecipient = "gamma.example"\nencrypt = "required"\n'
        f'[store]\nurl = "sqlite:///{tmp_path}/store.db"\naudit = "{tmp_path}/audit.jsonl"\n'
    )
    return file


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "stored"
    for name in ("cur", "new", "tmp"):
        (folder / "Maildir" / name).mkdir(parents=True)
    (folder / "a.eml").write_bytes(PLAIN)
    (folder / "notes.txt").write_bytes(b"no message")
    (folder / "Maildir" / "cur" / "1.M1.host:2,S").write_bytes(PLAIN.replace(b"\r\n", b"\n"))
    (folder / "Maildir" / "new" / "2.M2.host").write_bytes(
        b"Return-Path: <bounce@acme.example>\nDelivered-To: carol@gamma.example\n" + PLAIN.replace(b"\r\n", b"\n")
    )
    (folder / "Maildir" / "new" / ".hidden").write_bytes(b"x")
    (folder / "Maildir" / "tmp" / "3.M3.host").write_bytes(PLAIN)
    return folder


def replay(configuration: Path, folder: Path, *more: object) -> Ran:
    return run("gateway", "replay", folder, "--config", configuration, *AT, *more)


def told(ran: Ran) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was said of each file, and of all."""
    *messages, last = map(json.loads, ran.text.splitlines())
    return {each["file"]: each for each in messages}, last["summary"]


def test_each_message_and_the_sum_of_them(configuration: Path, stored: Path) -> None:
    ran = replay(configuration, stored, *LOCAL, "--json")
    messages, summary = told(ran)
    assert list(messages) == ["Maildir/cur/1.M1.host:2,S", "Maildir/new/2.M2.host", "a.eml"]
    plain, other = messages["a.eml"], messages["Maildir/new/2.M2.host"]
    assert plain["recipients"] == [{"address": "bob@beta.example", "action": "relay", "made": "E(S[domain](S0(OC)))"}]
    assert messages["Maildir/cur/1.M1.host:2,S"]["recipients"] == plain["recipients"]
    assert other["recipients"] == [{"address": "carol@gamma.example", "action": "hold", "reasons": ["no_certificate"]}]
    assert other["groups"][0]["line"] == 'acme.toml:15 [[rule]] 1 "gamma"'
    assert summary == {
        "messages": 3,
        "recipients": 3,
        "not_replayed": 0,
        "actions": {"relay": 2, "hold": 1},
        "lines": {"[outbound] (default)": 2, 'acme.toml:15 [[rule]] 1 "gamma"': 1},
    }
    assert ran.code == 1


def test_people_get_words(configuration: Path, stored: Path) -> None:
    assert replay(configuration, stored, *LOCAL).text.splitlines() == [
        "Maildir/cur/1.M1.host:2,S: relay for bob@beta.example: E(S[domain](S0(OC))), [outbound] (default)",
        'Maildir/new/2.M2.host: hold for carol@gamma.example: no_certificate, acme.toml:15 [[rule]] 1 "gamma"',
        "a.eml: relay for bob@beta.example: E(S[domain](S0(OC))), [outbound] (default)",
        "3 messages, 0 not replayed, 3 recipients",
        "       2 relay",
        "       1 hold",
        "       2 [outbound] (default)",
        '       1 acme.toml:15 [[rule]] 1 "gamma"',
    ]


def test_the_envelope_is_that_of_the_options_or_of_the_header_and_says_so(configuration: Path, stored: Path) -> None:
    messages, _ = told(replay(configuration, stored, *LOCAL, "--json"))
    envelopes = {name: message["envelope"] for name, message in messages.items()}
    assert envelopes["a.eml"] == {
        "sender": "alice@acme.example",
        "sender_from": "from",
        "recipients": ["bob@beta.example"],
        "recipients_from": "to, cc, bcc",
        "author": "alice@acme.example",
    }
    other = envelopes["Maildir/new/2.M2.host"]
    assert (other["sender"], other["sender_from"], other["recipients_from"]) == (
        "bounce@acme.example",
        "return-path",
        "delivered-to",
    )
    options = ("--from", "x@acme.example", "--rcpt", "dave@delta.example", "--rcpt", "eve@delta.example")
    given, _ = told(replay(configuration, stored, *LOCAL, "--json", *options))
    assert {message["envelope"]["sender"] for message in given.values()} == {"x@acme.example"}
    assert {tuple(message["envelope"]["recipients"]) for message in given.values()} == {
        ("dave@delta.example", "eve@delta.example")
    }


def test_stored_mail_does_not_say_who_was_logged_in(configuration: Path, stored: Path) -> None:
    _, summary = told(replay(configuration, stored, "--json"))
    assert summary["actions"] == {"hold": 3}  # no evidence
    _, trusting = told(replay(configuration, stored, "--json", "--trust-from"))
    assert trusting["actions"] == {"relay": 2, "hold": 1}
    assert replay(configuration, stored, "--trust-from", *LOCAL).code == 2


def test_mail_from_outside_goes_to_those_of_ours_whom_it_names(configuration: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    signed = world.entity("E[acme](S[domain](S0(OC)))", sender="bob@beta.example")
    octets = world.message(signed, sender="bob@beta.example", to="alice@acme.example, x@elsewhere.example")
    (folder / "1.eml").write_bytes(octets)
    messages, summary = told(replay(configuration, folder, "--json", "--direction", "inbound"))
    assert [each["address"] for each in messages["1.eml"]["recipients"]] == ["alice@acme.example"]
    assert messages["1.eml"]["structure"] == "E(S[domain](S0(OC)))"
    assert list(summary["lines"]) == ["inbound.on_violation (default)"]  # acme's signature for an author of beta


def test_what_cannot_be_replayed_is_told_and_stops_nothing(configuration: Path, stored: Path) -> None:
    (stored / "b.eml").write_bytes(b"From: alice@acme.example\r\nSubject: to nobody\r\n\r\n")
    (stored / "c.eml").write_bytes(b"A: b\r\n" * 5000 + PLAIN)
    (stored / "d.eml").write_bytes(b"\xff\x00" * 100)
    (stored / "e.eml").symlink_to(stored / "nowhere")
    ran = replay(configuration, stored, *LOCAL, "--json")
    messages, summary = told(ran)
    assert (ran.code, summary["not_replayed"], summary["messages"]) == (5, 4, 7)
    assert messages["b.eml"]["problem"] == "no recipient in its header, expected --rcpt"
    assert "header_fields" in messages["c.eml"]["problem"] or "header" in messages["c.eml"]["problem"]
    assert summary["actions"] == {"relay": 2, "hold": 1}
    with_rcpt, _ = told(replay(configuration, stored, *LOCAL, "--json", "--rcpt", "bob@beta.example"))
    assert with_rcpt["d.eml"]["recipients"][0]["action"] in ("hold", "refuse")


def test_nothing_is_written(configuration: Path, stored: Path, tmp_path: Path) -> None:
    HoldStore.open(f"sqlite:///{tmp_path}/store.db")
    database = tmp_path / "store.db"

    def content() -> list[str]:
        with sqlite3.connect(database) as connection:
            return list(connection.iterdump())

    before = content()
    for direction in ("outbound", "inbound"):
        replay(configuration, stored, *LOCAL, "--direction", direction, "--rcpt", "alice@acme.example")
    assert content() == before
    assert not (tmp_path / "audit.jsonl").exists()


def test_without_a_store_none_is_made(configuration: Path, stored: Path, tmp_path: Path) -> None:
    replay(configuration, stored, *LOCAL)
    assert not (tmp_path / "store.db").exists()
    assert not (tmp_path / "audit.jsonl").exists()


@pytest.mark.slow
def test_several_processes_say_the_same_in_the_same_order(configuration: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(50):
        to = b"bob@beta.example" if number % 3 else b"carol@gamma.example"
        (folder / f"{number:02}.eml").write_bytes(PLAIN.replace(b"Bob <bob@beta.example>", to))
    alone = replay(configuration, folder, *LOCAL, "--json", "--jobs", "1")
    together = replay(configuration, folder, *LOCAL, "--json", "--jobs", "2")
    assert together.text == alone.text
    assert told(alone)[1]["actions"] == {"relay": 33, "hold": 17}


def test_what_is_wrong_with_the_configuration_is_told_once(configuration: Path, stored: Path, tmp_path: Path) -> None:
    configuration.write_text(configuration.read_text().replace("encrypt = ", "encrpt = "))
    ran = replay(configuration, stored)
    assert (ran.code, ran.out) == (2, b"")
    assert 'did you mean "encrypt"?' in ran.err
    (tmp_path / "empty").mkdir()
    assert replay(configuration, tmp_path / "empty").code == 2


def test_a_store_that_does_not_answer_puts_off(
    configuration: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import domsec.cli.explaining
    from domsec.errors import StoreUnavailable

    def down(*_: object) -> None:
        raise StoreUnavailable("the token is gone")

    monkeypatch.setattr(domsec.cli.explaining, "process", down)
    ran = replay(configuration, stored, *LOCAL, "--json")
    messages, summary = told(ran)
    assert (ran.code, summary["actions"]) == (4, {"defer": 3})
    assert messages["a.eml"]["recipients"][0]["reply"] == "451 4.3.0 the token is gone"
