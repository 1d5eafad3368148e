"""What a sender is told of mail that a person rejected."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage

import pki
from domsec.gateway.notices import may_be_told, rejection
from domsec.stores.holds import HeldRecipient, Hold

OCTETS = (
    b"X-Evidence: the-token alice\r\nFrom: Alice <alice@acme.example>\r\nTo: bob@beta.example\r\n"
    b"Subject: the contract\r\nMessage-ID: <1@acme.example>\r\n\r\nattack at dawn\r\n"
)
HOLD = Hold(
    id="ab12",
    state="held",
    direction="outbound",
    transaction="T1",
    sender="alice@acme.example",
    sender_parameters="RET=FULL ENVID=QQ+2B3",
    recipients=(
        HeldRecipient("bob@beta.example", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2BX@beta.example"),
        HeldRecipient("carol@beta.example"),
        HeldRecipient("quiet@beta.example", "NOTIFY=NEVER"),
    ),
    session={},
    reasons=("gate.review",),
    received_at=pki.NOW,
    held_at=pki.NOW,
    not_before=pki.NOW,
    attempts=0,
    size=len(OCTETS),
    octets=OCTETS,
)


def read(octets: bytes) -> EmailMessage:
    message = email.message_from_bytes(octets, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


def test_the_report_says_why_and_of_whom_and_nothing_of_the_text() -> None:
    notice = rejection(HOLD, "not with the price list", "gw.acme.example", pki.NOW)
    message = read(notice.octets)
    assert (message["To"], message["Auto-Submitted"]) == ("alice@acme.example", "auto-replied")
    assert message["From"] == "Mail gateway <MAILER-DAEMON@gw.acme.example>"
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    text, status, header = message.iter_parts()
    assert "not delivered to bob@beta.example, carol@beta.example." in text.get_content()
    assert "    not with the price list" in text.get_content()
    about, bob, carol = status.get_payload()  # type: ignore[misc]
    assert (about["Original-Envelope-Id"], about["Reporting-MTA"]) == ("QQ+3", "dns; gw.acme.example")
    assert (bob["Original-Recipient"], bob["Final-Recipient"]) == (
        "rfc822; Bob+X@beta.example",
        "rfc822; bob@beta.example",
    )
    assert [(each["Action"], each["Status"]) for each in (bob, carol)] == [("failed", "5.7.1")] * 2
    assert b"Subject: the contract" in header.as_bytes()
    for secret in (b"attack", b"the-token", b"quiet@"):
        assert secret not in notice.octets
    assert notice.parameters == ""
    assert b"\n" not in notice.octets.replace(b"\r\n", b"")


def test_nobody_is_told_who_did_not_ask_for_it() -> None:
    assert may_be_told(HOLD)
    assert not may_be_told(replace(HOLD, sender=""))  # never a report about a report
    assert not may_be_told(replace(HOLD, recipients=HOLD.recipients[2:]))
    success = HeldRecipient("bob@beta.example", "NOTIFY=success")
    assert not may_be_told(replace(HOLD, recipients=(success,)))


def test_a_reason_in_any_language_on_several_lines() -> None:
    notice = rejection(HOLD, "zu heiß\nund zu lang " + "x" * 2000 + "\x1b[2J", "gw.acme.example", pki.NOW)
    text, *_ = read(notice.octets).iter_parts()
    assert "    zu heiß\n    und zu lang xxx" in text.get_content().replace("\r\n", "\n")
    assert b"\x1b" not in notice.octets
    assert max(map(len, notice.octets.split(b"\r\n"))) <= 998
    assert notice.parameters == "BODY=8BITMIME"


def test_international_addresses_have_reports_of_their_own() -> None:
    """RFC 6533."""
    hold = replace(HOLD, sender="andré@acme.example", recipients=(HeldRecipient("jürgen@beta.example"),))
    notice = rejection(hold, "no", "gw.acme.example", pki.NOW)
    assert notice.parameters == "BODY=8BITMIME SMTPUTF8"
    assert b"report-type=global-delivery-status" in notice.octets
    assert "Final-Recipient: utf-8; jürgen@beta.example".encode() in notice.octets


def test_whatever_the_message_is_a_report_is_made() -> None:
    for octets in (b"", b"no header", b"\xff\xfe: \x80\r\n\r\n", b"Subject: \xc3\xa9\r\n\r\n"):
        assert rejection(replace(HOLD, octets=octets), "", "gw.acme.example", pki.NOW).octets
