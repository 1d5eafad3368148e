"""`domsec expand`: copies in files, and the service that a mail server pipes messages into."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import pki
import slapd
import world
from commands import AT, Desk, Ran, run
from domsec.services.maillist import Grouping
from domsec.stores.deliveries import Deliveries
from e2e.wire import Sent, Sink, free_ports

BOB, CAROL, OWNER = "bob@beta.example", "alice@beta.example", "owner@acme.example"


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture
def lists(desk: Desk, tmp_path: Path, sink: Sink) -> Path:
    """A configuration with the lists staff and board, each a member of the other, whose next hop is the sink."""
    text = f"""\
domains = ["acme.example"]
[trust]
users = ["{desk.certificate("acme-ca")}", "{desk.certificate("beta-ca")}"]
roles = ["{desk.certificate("acme-ca")}"]
certificates = ["{desk.certificates}"]
[store]
url = "sqlite:///{tmp_path}/domsec.db"
"""
    for name, members in (("staff", f'"{BOB}", "{CAROL}"'), ("board", '"staff@acme.example"')):
        desk.add(f"acme-list-{name}", world.mail_list(name)).chmod(0o600)
        text += f"""\
[[list]]
name = "{name}"
address = "{name}@acme.example"
owner = "{OWNER}"
members = [{members}]
credential = "{desk.key(f"acme-list-{name}")}"
next_hop = "smtp:127.0.0.1:{sink.port}"
"""
    (tmp_path / "domsec.toml").write_text(text)
    return tmp_path / "domsec.toml"


def expand(lists: Path, *arguments: object, octets: bytes, name: str = "staff") -> Ran:
    return run("expand", "--config", lists, "--list", name, *AT, *arguments, stdin=octets)


def to(sink: Sink, address: str) -> list[Sent]:
    return [sent for sent in sink.sent if address in sent.recipients]


# --- to files --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R2634-4.2-05")
def test_what_is_not_encrypted_is_one_copy(lists: Path) -> None:
    ran = expand(lists, octets=world.build("S(OC)"))
    assert ran.code == 0, ran.err
    assert run("show", "--json", stdin=ran.out).json["structure"] == "S[unspecified]+mlh(S[originator](OC))"
    assert "S[unspecified]+mlh(S(OC)) for 2 members in 1 copies" in ran.err


@pytest.mark.requirement("R2634-4.2.3.1-01")
def test_an_encrypted_message_is_a_copy_for_each_member_in_a_folder(lists: Path, desk: Desk, tmp_path: Path) -> None:
    octets = world.build("E[staff](S(OC))")
    (tmp_path / "copies").mkdir()
    ran = expand(lists, "-o", tmp_path / "copies", "--json", octets=octets)
    assert ran.code == 0, ran.err
    assert [copy["members"] for copy in ran.json["copies"]] == [[BOB], [CAROL]]
    assert ran.json["left_out"] == []
    for copy, who in zip(ran.json["copies"], ("beta-bob", "beta-alice"), strict=True):
        opened = run("verify", "--json", "--credential", desk.key(who), *desk.trust, copy["file"])
        assert opened.json["structure"] == "S[unspecified]+mlh(E(S[originator](OC)))"
        assert [entry["receipt_policy"] for entry in opened.json["mlh"]] == [None]


def test_several_copies_want_a_folder_or_one_for_all(lists: Path, tmp_path: Path) -> None:
    octets = world.build("E[staff](S(OC))")
    for options in ((), ("-o", tmp_path / "one.eml")):
        ran = expand(lists, *options, octets=octets)
        assert (ran.code, ran.out) == (2, b"")
        assert "2 copies, expected an existing folder" in ran.err
    grouping: Grouping = "all"
    assert expand(lists, "--grouping", grouping, "-o", tmp_path / "one.eml", octets=octets).code == 0
    assert (tmp_path / "one.eml").exists()


def test_a_message_that_stops_is_refused_with_its_reason(lists: Path) -> None:
    ran = expand(lists, octets=world.build("S[evil](OC)"))
    assert (ran.code, ran.out) == (1, b"")
    assert "mla.invalid_signature: layer 1 is untrusted" in ran.err


def test_a_member_without_certificate_is_named(lists: Path, tmp_path: Path) -> None:
    lists.write_text(lists.read_text().replace(CAROL, "nobody@gamma.example"))
    ran = expand(lists, octets=world.build("E[staff](S(OC))"))
    assert ran.code == 0
    assert "nothing for nobody@gamma.example: no usable certificate" in ran.err
    lists.write_text(lists.read_text().replace(BOB, "nobody@delta.example"))
    ran = expand(lists, octets=world.build("E[staff](S(OC))"))
    assert (ran.code, ran.out) == (1, b"")
    assert "no member is left who may have this message" in ran.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--list", "nobody"), "no [[list]] with the name nobody, known are staff, board"),
        (("--list", "staff", "--json"), "--json without --output"),
        (("--list", "staff", "--send", "--json"), "--send together with --output or --json"),
        ((), "missing option '--list'"),
    ],
)
def test_what_is_not_asked_rightly_is_said(lists: Path, arguments: tuple[str, ...], complaint: str) -> None:
    ran = run("expand", "--config", lists, *AT, *arguments, stdin=world.build("S(OC)"))
    assert ran.code == 2
    assert complaint in ran.err


# --- as a service ----------------------------------------------------------------------------------------------------


def piped(octets: bytes) -> bytes:
    """As Postfix's local(8) pipes it: with a line above, and line feeds alone."""
    return b"From alice@acme.example  Mon Nov 23 12:00:00 2026\n" + octets.replace(b"\r\n", b"\n")


def served(sink: Sink, *members: str) -> bool:
    return [sent.recipients for sent in sink.sent] == [[member] for member in members]


def test_members_get_their_copies_from_the_owner(lists: Path, sink: Sink) -> None:
    ran = expand(lists, "--send", octets=piped(world.build("E[staff](S~(OC))")))
    assert (ran.code, ran.out) == (0, b""), ran.err
    assert served(sink, BOB, CAROL)
    assert all(f"<{OWNER}>" in sent.sender for sent in sink.sent)
    examined = world.look(sink.sent[0].content, world.context(world.beta().users["bob"]))
    assert [layer.state for layer in examined.verdict.layers] == ["valid", None, "valid", None]
    assert examined.message.header.fields[0].name == "from"


@pytest.mark.requirement("R2634-4.1.1-01")
def test_a_loop_is_cut_and_the_owner_told(lists: Path, sink: Sink) -> None:
    assert expand(lists, "--send", name="staff", octets=world.build("S(OC)")).code == 0
    (first,) = sink.sent
    assert expand(lists, "--send", name="board", octets=first.content).code == 0
    back = sink.sent[1].content
    ran = expand(lists, "--send", name="staff", octets=back)
    assert ran.code == os.EX_NOPERM
    assert len(sink.sent) == 3
    told = sink.sent[2]
    assert (told.sender.split()[0], told.recipients) == ("<>", [OWNER])
    assert b"mla.loop: layer 1 has been through this list before" in told.content
    assert b"Message-ID of the message: <1@acme.example>" in told.content


@pytest.mark.requirement("R2634-6-01")
@pytest.mark.parametrize("notation", ["S[evil](OC)", "X(OC)", "E[staff](OC)", "S(X(OC))"])
def test_the_sender_does_not_learn_why_it_stopped(lists: Path, sink: Sink, notation: str) -> None:
    """What was opened, or not, is nothing for who wrote it: he may be trying keys or paddings (threats T-22)."""
    ran = expand(lists, "--send", octets=world.build(notation, cipher="aes256-cbc"))
    assert ran.code == os.EX_NOPERM
    assert ran.err == "domsec: error: the list does not distribute this message; its owner has been told why\n"
    (told,) = sink.sent
    assert b"\r\nmla." in told.content
    assert world.SECRET not in told.content


def test_what_tells_of_the_way_to_the_list_ends_there(lists: Path, sink: Sink) -> None:
    above = (
        b"Return-Path: <alice@acme.example>\nX-Original-To: staff\n\t@acme.example\nDelivered-To: staff@acme.example\n"
    )
    line, _, rest = piped(b"Delivered-to-me: no\r\nReturn-Path: <x>\r\n" + world.build("S(OC)")).partition(b"\n")
    assert expand(lists, "--send", octets=line + b"\n" + above + rest).code == 0
    names = [field.name for field in world.look(sink.sent[0].content).message.header.fields]
    assert names[:3] == ["delivered-to-me", "return-path", "from"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(BOB, "nobody@gamma.example").replace(CAROL, "nobody@delta.example"),
        lambda text: text.replace(f'members = ["{BOB}", "{CAROL}"]', 'members_file = "none"'),
    ],
    ids=["no certificates", "no members"],
)
def test_where_nobody_can_be_served_the_sender_is_told(lists: Path, sink: Sink, spoil) -> None:
    (lists.parent / "none").write_text("# nobody\n")
    lists.write_text(spoil(lists.read_text()))
    ran = expand(lists, "--send", octets=world.build("E[staff](S(OC))"))
    assert ran.code == os.EX_NOPERM
    assert "nobody on the list can have this message; its owner has been told why" in ran.err
    assert [sent.recipients for sent in sink.sent] == [[OWNER]]


def test_a_message_of_which_everybody_has_a_copy_is_over(lists: Path, sink: Sink) -> None:
    """Also where the process ended between the last copy and its end."""
    octets = world.build("S(OC)")
    assert expand(lists, "--send", octets=octets).code == 0
    key = hashlib.sha256(b"staff\0" + octets).hexdigest()
    deliveries = Deliveries.open(f"sqlite:///{lists.parent}/domsec.db")
    assert deliveries.served(key) == frozenset()
    deliveries.add(key, [BOB, CAROL], now=world.NOW)
    assert expand(lists, "--send", octets=octets).code == 0
    assert len(sink.sent) == 1
    assert deliveries.served(key) == frozenset()
    assert expand(lists, "--send", octets=octets).code == 0
    assert len(sink.sent) == 2


def test_who_has_it_does_not_get_it_again(lists: Path, sink: Sink) -> None:
    octets = piped(world.build("E[staff](S(OC))"))
    sink.answers = {CAROL: "451 4.2.0 try later"}
    assert expand(lists, "--send", octets=octets).code == os.EX_TEMPFAIL
    assert served(sink, BOB)
    sink.answers = {}
    later = octets.replace(b"12:00:00 2026\nFrom:", b"12:05:00 2026\nFrom:")
    assert later != octets
    assert expand(lists, "--send", octets=later).code == 0
    assert served(sink, BOB, CAROL)
    assert expand(lists, "--send", octets=later).code == 0
    assert len(sink.sent) == 4, "the same message sent anew is a new one"


def test_a_next_hop_that_is_down_keeps_the_message_with_the_mail_server(lists: Path, sink: Sink) -> None:
    lists.write_text(lists.read_text().replace(f"127.0.0.1:{sink.port}", f"127.0.0.1:{free_ports(1)[0]}"))
    ran = expand(lists, "--send", octets=world.build("S(OC)"))
    assert ran.code == os.EX_TEMPFAIL
    assert "next hop does not answer" in ran.err
    assert expand(lists, "--send", octets=world.build("S[evil](OC)")).code == os.EX_TEMPFAIL, (
        "the owner is not told yet"
    )


def test_of_members_who_are_refused_for_good_the_owner_is_told_once(lists: Path, sink: Sink) -> None:
    lists.write_text(
        lists.read_text().replace(CAROL, "nobody@gamma.example").replace(f'"{BOB}"', f'"{BOB}", "{CAROL}"')
    )
    sink.answers = {BOB: "550 5.1.1 no such person", CAROL: "451 4.2.0 try later"}
    octets = world.build("E[staff](S(OC))")
    assert expand(lists, "--send", octets=octets).code == os.EX_TEMPFAIL
    (told,) = to(sink, OWNER)
    assert b"bob@beta.example: 550 5.1.1 no such person" in told.content
    assert b"nobody@gamma.example: no usable certificate" in told.content
    sink.answers = {}
    assert expand(lists, "--send", octets=octets).code == 0
    assert (len(to(sink, OWNER)), len(to(sink, CAROL)), len(to(sink, BOB))) == (1, 1, 0)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda text: text.replace('name = "staff"', 'name = "other"'), os.EX_TEMPFAIL),
        (lambda text: text.replace("next_hop = ", "next_hopp = "), os.EX_TEMPFAIL),
        (lambda text: text.replace("domsec.db", "missing/domsec.db"), os.EX_TEMPFAIL),
        (lambda text: "\n".join(line for line in text.split("\n") if "next_hop" not in line), os.EX_TEMPFAIL),
    ],
)
def test_what_an_administrator_has_to_mend_does_not_lose_mail(lists: Path, spoil, code: int) -> None:
    lists.write_text(spoil(lists.read_text()))
    assert expand(lists, "--send", octets=world.build("S(OC)")).code == code


def test_what_is_no_message_is_returned(lists: Path) -> None:
    assert expand(lists, "--send", octets=b"x" * 600_000).code == os.EX_DATAERR


def test_the_line_above_a_piped_message_is_not_a_field_of_the_same_name(lists: Path, sink: Sink) -> None:
    """RFC 5322 4.5 lets blanks stand before a colon."""
    octets = world.build("S(OC)").replace(b"From: ", b"From : ", 1)
    assert octets.startswith(b"From : ")
    assert expand(lists, "--send", octets=octets).code == 0
    assert sink.sent[0].content.startswith(b"From : Alice")


# --- members whose certificates are in directories -------------------------------------------------------------------


def _asking(lists: Path, port: int) -> None:
    """A directory for gamma, and carol@gamma.example in the place of somebody whose certificate is at hand."""
    text = lists.read_text().replace(CAROL, "carol@gamma.example")
    text += f'[[directory]]\nkind = "ldap"\nurl = "ldap://127.0.0.1:{port}"\nstarttls = false\n'
    lists.write_text(text + 'domains = ["gamma.example"]\nbase = "dc=beta,dc=example"\n')


def test_a_member_is_found_in_a_directory(lists: Path, sink: Sink) -> None:
    if reason := slapd.missing():
        pytest.skip(reason)
    carol = pki.identity("user", "carol@gamma.example", world.beta().ca)
    with slapd.server([slapd.person("carol", "carol@gamma.example", [carol.certificate])]) as server:
        _asking(lists, server.plain)
        ran = expand(lists, "--send", octets=world.build("E[staff](S(OC))"))
    assert ran.code == 0, ran.err
    (sent,) = to(sink, "carol@gamma.example")
    assert world.judge(sent.content, world.context(carol)).decrypted


def test_a_member_whose_directory_is_silent_gets_it_later_and_the_others_now(lists: Path, sink: Sink) -> None:
    _asking(lists, 1)
    octets = world.build("E[staff](S(OC))")
    for _ in range(2):
        ran = expand(lists, "--send", octets=octets)
        assert (ran.code, "carol@gamma.example: " in ran.err) == (os.EX_TEMPFAIL, True)
        assert len(to(sink, BOB)) == 1
    assert [sent.recipients for sent in sink.sent] == [[BOB]]  # and nobody told the owner that she gets nothing
    assert expand(lists, octets=octets).code == 4
    assert expand(lists, octets=world.build("S(OC)")).code == 0  # what is not encrypted asks nobody
