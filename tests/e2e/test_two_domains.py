"""acme.example and beta.example behind real Postfix, with the configuration that docs/postfix.md prints."""

from __future__ import annotations

import os
import re
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import commands
from e2e import documented
from e2e.arrivals import at_next_hop, in_bobs_mailbox, on_the_wire, record_of
from e2e.domsec_process import Domsec
from e2e.letters import body_of, fields_of, letter
from e2e.world import SERVER, World, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


@contextmanager
def down(gateway: Domsec) -> Iterator[None]:
    """The gateway is not there meanwhile."""
    assert gateway.stop() == 0
    try:
        yield
    finally:
        gateway.start()


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_prints_every_file_that_is_used():
    assert set(documented.files()) == {
        "/etc/postfix/main.cf",
        "/etc/postfix/master.cf",
        "/etc/postfix/mailboxes",
        "/etc/postfix/virtual",
        "/etc/postfix/senders",
        "/etc/postfix/sasl/smtpd.conf",
        "/etc/postfix/domsec-login.re",
        "/etc/postfix/domsec-certificate.re",
        "/etc/postfix/machines",
        "/etc/domsec/machines",
        "/etc/postfix-edge/main.cf",
        "/etc/postfix-edge/master.cf",
        "/etc/postfix-edge/recipients",
        "/etc/domsec/domsec.toml",
    }


def test_postfix_has_nothing_to_say_against_the_configuration(mail: World):
    for instance in mail.instances:
        assert instance.complaints() == ""


def test_domsec_has_nothing_to_say_against_the_configuration(mail: World):
    for side in (mail.acme, mail.beta):
        command = [side.domsec.program, "config", "check", "--config", str(side.domsec.configuration)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_domsec_has_nothing_to_say_against_postfix(mail: World):
    """The laboratory differs in two ports, and has tables of routes for want of DNS."""
    for side in (mail.acme, mail.beta):
        folders = ("--inside", side.inside.etc, "--edge", side.edge.etc)
        ran = commands.run("postfix", "--compare", "--json", "--config", side.domsec.configuration, *folders)
        assert {(each["name"], each["found"]) for each in ran.json if each["severity"] == "error"} == {
            ("submission/inet", "missing"),
            ("2587/inet", "missing"),
        }
        assert {each["name"] for each in ran.json if each["severity"] == "warning"} == {"transport_maps"}


# --- the main path ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.2-02", "R3183-4.2-02", "R3183-3.1.2-09")
def test_authenticated_mail_is_protected_on_the_wire_and_readable_in_the_mailbox(mail: World):
    sent = letter("good morning")
    mail.acme.submit("alice@acme.example", ["bob@beta.example"], sent.octets)
    arrived = in_bobs_mailbox(mail, sent)
    wire = on_the_wire(mail, sent)

    verdict = mail.beta.verdict(wire)
    assert verdict.structure == "E(S[domain](S0(OC)))"
    assert verdict.accepted
    assert verdict.domain == "acme.example"
    assert sent.secret not in wire
    assert max(map(len, wire.split(b"\r\n"))) <= 998
    assert wire.isascii()
    assert body_of(arrived) == body_of(sent.octets)
    [result] = fields_of(arrived, "Authentication-Results")
    assert "mx.beta.example" in result
    assert "smime=pass" in result
    assert "domain-signing-authority@acme.example" in result


@pytest.mark.requirement("R8601-5-01")
def test_a_forged_result_is_removed(mail: World):
    forged = "Authentication-Results: mx.beta.example;\r\n smime=pass body.smime-identifier=ceo@beta.example\r\n"
    other = "Authentication-Results: mx.elsewhere.example; spf=pass\r\n"
    sent = letter("not signed by anybody", "Mallory <mallory@elsewhere.example>", header=forged + other)
    mail.beta.from_internet("mallory@elsewhere.example", ["bob@beta.example"], sent.octets)
    results = fields_of(in_bobs_mailbox(mail, sent), "Authentication-Results")
    assert len(results) == 2
    ours, theirs = sorted(results, key=lambda line: "elsewhere" in line)
    assert "smime=none" in ours
    assert "ceo@" not in ours
    assert "spf=pass" in theirs


def test_every_octet_arrives(mail: World):
    body = b"\r\n".join(
        [
            b".", b"..", b".dot at the beginning", b"trailing blanks  \t", b"", b"From the beginning of a line",
            "grüße, 日本".encode(), b"a line of " + b"x" * 5000, b"\ttab", b"--", b"=3D is not decoded", b"", b"",
        ]
    )  # fmt: skip
    content_type = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    sent = letter("octets", header=content_type, body=body)
    mail.acme.submit("alice@acme.example", ["bob@beta.example"], sent.octets)
    arrived = in_bobs_mailbox(mail, sent)
    assert body_of(arrived) == body_of(sent.octets)
    assert on_the_wire(mail, sent).isascii()


@pytest.mark.slow
def test_a_message_of_the_largest_size_arrives(mail: World):
    """The sizes on the page: what users may send fits through everything behind, protected."""
    sent = letter("large", body=b"".join(b"%075d\r\n" % number for number in range(26_000_000 // 77)))
    mail.acme.submit("alice@acme.example", ["bob@beta.example"], sent.octets)
    arrived = in_bobs_mailbox(mail, sent)
    assert body_of(arrived) == body_of(sent.octets)
    assert "smime=pass" in fields_of(arrived, "Authentication-Results")[0]


@pytest.mark.requirement("R3183-3.2-02")
def test_answers_come_back_the_same_way(mail: World):
    sent = letter("an answer", "bob@beta.example", "alice@acme.example")
    mail.beta.submit("bob@beta.example", ["alice@acme.example"], sent.octets)
    wait_until(lambda: any(map(sent.within, mail.acme.mailbox("alice"))), "mail for alice")
    arrived = sent.arrived(lambda: mail.acme.mailbox("alice"))
    assert "smime=pass" in fields_of(arrived, "Authentication-Results")[0]
    assert sent.secret not in mail.acme.tap.raw


def test_mail_inside_a_domain_stays_inside(mail: World):
    sent = letter("lunch?", to="carol@acme.example")
    mail.acme.submit("alice@acme.example", ["carol@acme.example"], sent.octets)
    wait_until(lambda: any(map(sent.within, mail.acme.mailbox("carol"))), "mail for carol")
    assert not any(sent.within(each.content) for each in mail.sink.sent + mail.beta.tap.sent)


# --- who sent it ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.2-03")
def test_a_login_does_not_speak_for_a_colleague(mail: World):
    sent = letter("pay this", "Carol <carol@acme.example>")
    mail.acme.submit("alice@acme.example", ["bob@beta.example"], sent.octets)
    record = record_of(mail.acme.domsec, "alice@acme.example", "hold")
    assert record["from"] == ["carol@acme.example"]
    assert record["refused"]
    wait_until(mail.idle, "empty queues")
    assert not any(sent.within(each) for each in mail.beta.mailbox("bob"))
    assert not any(sent.within(each.content) for each in mail.beta.tap.sent)


def test_a_login_does_not_send_with_the_address_of_a_colleague(mail: World):
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        mail.acme.submit("alice@acme.example", ["bob@beta.example"], letter("no").octets, "carol@acme.example")
    [(code, text)] = refused.value.recipients.values()
    assert code == 553
    assert b"not owned by user" in text


@pytest.mark.requirement("R3183-3.2-03")
def test_one_of_our_servers_is_known_by_its_address(mail: World):
    sent = letter("from a server", "invoices@acme.example")
    mail.acme.send_from_server("invoices@acme.example", ["bob@beta.example"], sent.octets)
    assert "smime=pass" in fields_of(in_bobs_mailbox(mail, sent), "Authentication-Results")[0]
    assert sent.secret not in on_the_wire(mail, sent)


@pytest.mark.requirement("R3183-3.2-03")
@pytest.mark.parametrize("secret_known", [False, True])
def test_an_evidence_field_written_by_a_client_is_none(mail: World, secret_known: bool):
    """Neither with a wrong secret nor with the right one: it stands below the Received field of our server."""
    secret = (mail.acme.domsec.configuration.parent / "auth-token").read_text().strip() if secret_known else "guess"
    sent = letter("forged evidence", "dora@acme.example", header=f"X-Domsec-Auth: {secret} dora@acme.example\r\n")
    octets = f"X-Domsec-Auth: {secret} dora@acme.example\r\n".encode() + sent.octets
    sender = f"dora+{secret_known}@acme.example"
    with smtplib.SMTP("127.0.0.1", mail.acme.ports.server) as client:  # 127.0.0.1 may relay, but is no evidence
        client.sendmail(sender, ["bob@beta.example"], octets)
    assert record_of(mail.acme.domsec, sender, "hold")["refused"]
    assert not any(sent.within(each.content) for each in mail.beta.tap.sent)


@pytest.mark.requirement("R3183-3.2-05")
def test_a_machine_is_known_by_its_certificate(mail: World):
    sent = letter("the ledger", "ledger@acme.example")
    mail.acme.send_from_machine(mail.acme.machine, "ledger@acme.example", ["bob@beta.example"], sent.octets)
    arrived = in_bobs_mailbox(mail, sent)
    assert "smime=pass" in fields_of(arrived, "Authentication-Results")[0]
    assert not fields_of(arrived, "X-Domsec-Certificate")


@pytest.mark.requirement("R3183-3.2-05")
def test_the_certificate_of_a_machine_does_not_speak_for_a_person(mail: World):
    sent = letter("from alice, says the ledger")
    mail.acme.send_from_machine(mail.acme.machine, "ledger+x@acme.example", ["bob@beta.example"], sent.octets)
    record = record_of(mail.acme.domsec, "ledger+x@acme.example", "hold")
    assert record["refused"] == ["gate.originator"]
    assert "certificate " in str(record["refusal"])
    assert "evidence[0] header: no X-Domsec-Auth field with our token above Received" in record["no_evidence"]


def test_another_certificate_is_not_let_in(mail: World):
    other = mail.beta.machine
    with pytest.raises(smtplib.SMTPException):
        mail.acme.send_from_machine(other, "ledger@acme.example", ["bob@beta.example"], letter("no").octets)


# --- others -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-2.1-01")
def test_a_domain_without_domsec_gets_mail_as_it_was(mail: World):
    sent = letter("to the world", to="dave@plain.example", header="X-Own: kept\r\n")
    mail.acme.submit("alice@acme.example", ["dave@plain.example"], sent.octets)
    arrived = at_next_hop(mail, sent, "dave@plain.example")
    assert arrived.endswith(sent.octets)
    added = re.findall(rb"^(\S+):", arrived.removesuffix(sent.octets), re.MULTILINE)
    assert set(added) == {b"Received"}


def test_each_domain_gets_what_it_can_read(mail: World):
    sent = letter("to both", to="bob@beta.example, erin@plain.example")
    mail.acme.submit("alice@acme.example", ["bob@beta.example", "erin@plain.example"], sent.octets)
    assert "smime=pass" in fields_of(in_bobs_mailbox(mail, sent), "Authentication-Results")[0]
    assert at_next_hop(mail, sent, "erin@plain.example").endswith(sent.octets)
    assert sent.secret not in on_the_wire(mail, sent)


# --- nothing passes beside it -----------------------------------------------------------------------------------------


def test_without_the_gateway_mail_waits_and_then_goes(mail: World):
    letters = [letter(f"waiting {number}") for number in range(5)]
    inward = letter("from outside", "mallory@elsewhere.example")
    plain = letter("to the world", to="frank@plain.example")
    with down(mail.acme.domsec), down(mail.beta.domsec):
        for each in letters:
            mail.acme.submit("alice@acme.example", ["bob@beta.example"], each.octets)
        mail.acme.submit("alice@acme.example", ["frank@plain.example"], plain.octets)
        mail.beta.from_internet("mallory@elsewhere.example", ["bob@beta.example"], inward.octets)
        mail.acme.flush()
        mail.beta.flush()
        wait_until(lambda: "outbound.sock" in mail.acme.inside.waiting_for(), "a deferral")
        assert len(mail.acme.inside.queue()) == 6
        assert len(mail.beta.edge.queue()) == 1
        assert not mail.acme.edge.queue()
        assert not mail.beta.inside.queue()
        assert not any(each.within(sent.content) for each in letters for sent in mail.beta.tap.sent)
        assert not any(map(inward.within, mail.beta.mailbox("bob")))
        assert not mail.sink.to("frank@plain.example")
    mail.acme.flush()
    mail.beta.flush()
    for each in (*letters, inward):
        in_bobs_mailbox(mail, each)
    at_next_hop(mail, plain, "frank@plain.example")
    assert not any(each.secret in mail.beta.tap.raw for each in letters)


@pytest.mark.parametrize("alias", ["away@acme.example", "everybody@lists.acme.example"])
def test_what_an_alias_sends_on_passes_the_gateway(mail: World, alias: str):
    """By cleanup(8) or local(8): what was decrypted here does not leave again in the clear."""
    sent = letter("for somebody else", "Bob <bob@beta.example>", to=alias)
    sender = f"bob+{alias.partition('@')[0]}@beta.example"
    with smtplib.SMTP("127.0.0.1", mail.beta.ports.server, source_address=(SERVER, 0)) as client:
        client.sendmail(sender, [alias], sent.octets)
    record = record_of(mail.to_sink, sender, "hold")
    assert [each["address"] for each in record["recipients"]] == ["somebody@gamma.example"]
    assert "gate.not_our_domain" in record["refused"]
    assert sent.secret not in mail.acme.tap.raw
    wait_until(mail.idle, "empty queues")
    assert not any(sent.within(each.content) for each in mail.sink.sent)


def test_the_edge_relays_for_nobody_but_the_gateway(mail: World):
    for address in ("127.0.0.1", SERVER):
        with smtplib.SMTP("127.0.0.1", mail.acme.ports.edge, source_address=(address, 0)) as client:
            client.ehlo()
            client.mail("alice@acme.example")
            code, _ = client.rcpt("dave@plain.example")
            assert code == 554


@pytest.mark.parametrize("groups", [[], ["postdrop"]])
def test_local_accounts_reach_the_sockets_between_the_instances_only_in_group_postdrop(mail: World, groups: list[str]):
    for instance in (mail.acme.inside, mail.acme.edge):
        program = f"import socket; socket.socket(socket.AF_UNIX).connect('{instance.spool}/public/domsec-in')"
        command = ["/usr/bin/python3", "-c", program]
        user = {"user": "nobody", "group": "nogroup", "extra_groups": groups}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **user)
        assert ("PermissionError" in done.stderr) is not bool(groups)


def test_local_accounts_do_not_reach_the_sockets_of_the_gateway(mail: World):
    for path in (mail.acme.run / "outbound.sock", mail.acme.run / "inbound.sock"):
        status = os.stat(path)
        assert status.st_mode & 0o007 == 0
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert client.recv(4) == b"220 "


# --- replies for each recipient ---------------------------------------------------------------------------------------


@pytest.mark.requirement("R5321-4.2-01")
def test_one_recipient_is_sent_one_kept_and_one_bounced(mail: World):
    """The next hop of the gateway takes one, defers one, refuses one; Postfix does the same, for protected mail."""
    one, later, never = (f"{name}@gamma.example" for name in ("one", "later", "never"))
    mail.sink.answers = {later: "450 4.2.0 come back later", never: "550 5.1.1 no such user"}
    sent = letter("three of you", to=f"{one}, {later}, {never}")
    mail.acme.submit("alice@acme.example", [one, later, never], sent.octets)

    def bounces() -> list[bytes]:
        return [each for each in mail.acme.mailbox("alice") if b"no such user" in each and sent.within(each)]

    wait_until(bounces, "a bounce")
    wait_until(lambda: mail.sink.to(one), "mail for one")
    wait_until(lambda: mail.sink.tried.count(later) >= 2, "a second try")
    waiting = mail.acme.inside.waiting_for()
    assert later in waiting
    assert one not in waiting
    assert never not in waiting
    assert mail.sink.tried.count(one) == mail.sink.tried.count(never) == 1
    assert never in bounces()[0].decode("latin-1")

    mail.sink.answers = {}
    mail.acme.flush()
    wait_until(lambda: mail.sink.to(later), "mail for later")
    wait_until(lambda: not mail.acme.inside.queue(), "an empty queue")
    assert [len(mail.sink.to(each)) for each in (one, later, never)] == [1, 1, 0]
    assert len(bounces()) == 1
    for each in (*mail.sink.to(one), *mail.sink.to(later)):
        assert sent.secret not in each.content
        assert mail.acme.verdict(each.content, mail.gamma).structure == "E(S[domain](S0(OC)))"


def test_a_next_hop_that_is_down_defers(mail: World):
    mail.acme.edge.stop()
    try:
        sent = letter("edge is down")
        mail.acme.submit("alice@acme.example", ["bob@beta.example"], sent.octets)
        wait_until(lambda: "next hop does not answer" in mail.acme.inside.waiting_for(), "a deferral")
    finally:
        mail.acme.edge.start()
    mail.acme.flush()
    in_bobs_mailbox(mail, sent)


# --- bounces ----------------------------------------------------------------------------------------------------------


def test_the_bounce_of_a_decrypted_message_does_not_tell_it(mail: World):
    """The alias `gone` is taken by beta's inside and fails there, after decryption."""
    sent = letter("are you there", to="gone@beta.example")
    mail.acme.submit("alice@acme.example", ["gone@beta.example"], sent.octets)

    def bounces() -> list[bytes]:
        return [each for each in mail.acme.mailbox("alice") if sent.within(each) and b"left@beta.example" in each]

    wait_until(bounces, "a bounce")
    [bounce] = bounces()
    assert b"text/rfc822-headers" in bounce
    assert sent.secret not in bounce
    assert sent.secret not in mail.acme.tap.raw
    assert sent.secret not in mail.beta.tap.raw
    # It went through both gateways, as mail of beta.
    assert "smime=pass" in fields_of(bounce, "Authentication-Results")[0]
    assert "domain-signing-authority@beta.example" in fields_of(bounce, "Authentication-Results")[0]
    wire = [each for each in mail.acme.tap.sent if each.sender.startswith("<>")][-1]
    assert mail.acme.verdict(wire.content).structure == "E(S[domain](S0(OC)))"


def test_an_unknown_recipient_is_refused_by_the_edge(mail: World):
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        mail.beta.from_internet("a@elsewhere.example", ["nobody@beta.example"], letter("hello").octets)
    assert refused.value.recipients["nobody@beta.example"][0] == 550
