"""What goes wrong with a gateway beside Postfix unless somebody thought of it (measurements-mail.md A6).

Those that are shown elsewhere: sizes, replies of each recipient, bounces and the gateway that is down in
test_two_domains, forwarding there and in test_one_instance, duplicates in test_kill, two ends of data in
test_smuggling.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from domsec import oids
from domsec.cms import signed_data
from domsec.cms.credential import credential_from_private_key
from domsec.cms.signed_data import Signing
from domsec.mime import smime
from e2e.arrivals import in_bobs_mailbox, on_the_wire
from e2e.letters import body_of, fields_of, letter
from e2e.world import PASSWORD, World, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


def submit(mail: World, recipient: str, octets: bytes, options: Sequence[str] = (), wishes: Sequence[str] = ()) -> None:
    """Send as alice, with parameters of MAIL and of RCPT."""
    with smtplib.SMTP("127.0.0.1", mail.acme.ports.submission, timeout=30) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.login("alice@acme.example", PASSWORD)
        replies = [client.mail("alice@acme.example", list(options)), client.rcpt(recipient, list(wishes))]
        replies.append(client.data(octets))
    assert [code for code, _ in replies] == [250, 250, 250]


def test_a_clear_signature_over_eight_bits_and_a_long_line_holds(mail: World):
    """Postfix converts to a server without 8BITMIME, and breaks lines longer than 998 octets, unless told otherwise."""
    sent = letter("signed in the clear", "Dave <dave@people.example>")
    head, _, text = sent.octets.partition(b"\r\n\r\n")
    lines = [text.rstrip(b"\r\n"), "grüße, 日本".encode(), b"x" * 1500, b".", b"trailing blanks  \t", b"-- ", b""]
    entity = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + b"\r\n".join(lines)
    dave = mail.person.dave
    signing = Signing(credential_from_private_key(dave.key, dave.certificate), signing_time=datetime.now(UTC))
    signature = signed_data.sign(entity, oids.ID_DATA, [signing], detached=True)
    octets = head + b"\r\nMIME-Version: 1.0\r\n" + bytes(smime.clear_signed(entity, signature, "sha-256"))
    with smtplib.SMTP("127.0.0.1", mail.beta.ports.edge, timeout=30) as client:
        client.sendmail("dave@people.example", ["bob@beta.example"], octets, mail_options=["BODY=8BITMIME"])
    arrived = in_bobs_mailbox(mail, sent)
    assert "smime=pass" in fields_of(arrived, "Authentication-Results")[0]
    assert body_of(arrived) == body_of(octets)


def test_an_address_beyond_ascii_goes_through(mail: World):
    """Postfix bounces mail that needs SMTPUTF8 before a server that does not offer it."""
    recipient = "grüße@gamma.example"
    sent = letter("beyond ASCII", to=recipient, header="X-Name: Jürgen\r\n")
    submit(mail, recipient, sent.octets, ["SMTPUTF8", "BODY=8BITMIME"])
    wait_until(lambda: mail.sink.to(recipient), "mail at the next hop")
    (arrived,) = mail.sink.to(recipient)
    assert "SMTPUTF8" in arrived.sender
    assert mail.acme.verdict(arrived.content, mail.gamma).structure == "E(S[domain](S0(OC)))"


def test_what_the_sender_wants_to_be_told_goes_all_the_way(mail: World):
    """Postfix tells of success itself before a server without DSN, although the message may still be held there."""
    sent = letter("tell me")
    wishes = ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;bob@beta.example"]
    submit(mail, "bob@beta.example", sent.octets, ["RET=HDRS", "ENVID=letter-of-alice"], wishes)
    in_bobs_mailbox(mail, sent)

    def told() -> list[bytes]:
        return [each for each in mail.acme.mailbox("alice") if b"letter-of-alice" in each]

    wait_until(told, "a report")
    wait_until(mail.idle, "empty queues")
    (report,) = told()
    assert b"\nAction: delivered" in report
    assert b"\nOriginal-Recipient: rfc822;bob@beta.example" in report
    assert sent.secret not in report


def test_a_message_that_comes_back_to_the_gateway_is_bounced(mail: World):
    """Else it would be signed again and again: 48 times, until somebody counts its Received fields."""
    sent = letter("round and round")
    submit(mail, "bob@beta.example", sent.octets)
    in_bobs_mailbox(mail, sent)
    again = on_the_wire(mail, sent).replace(sent.id, b"<again@e2e.example>")
    submit(mail, "bob@beta.example", again)

    def bounces() -> list[bytes]:
        return [each for each in mail.acme.mailbox("alice") if b"<again@e2e.example>" in each]

    wait_until(bounces, "a bounce")
    assert b"554 5.4.6" in bounces()[0]
    assert not any(b"<again@e2e.example>" in each for each in mail.beta.mailbox("bob"))


def test_a_carriage_return_alone_does_not_break_the_signature(mail: World):
    """Postfix makes a blank of it on its way to us: what we sign is what arrives."""
    sent = letter("a carriage return", body=b"before\rafter\r\n")
    submit(mail, "bob@beta.example", sent.octets)
    arrived = in_bobs_mailbox(mail, sent)
    assert "smime=pass" in fields_of(arrived, "Authentication-Results")[0]
    assert b"before after" in arrived
