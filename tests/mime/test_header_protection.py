"""Header fields inside the protected entity: RFC 9788, RFC 8551 3.1, decisions A-22, threats T-07."""

from __future__ import annotations

import pytest

from domsec.mime import header_protection
from domsec.mime.content_type import parse_content_type
from domsec.mime.fields import entity_of, split_message

MESSAGE = (
    b"Received: from a by b\r\n"
    b"From: Alice\r\n <alice@acme.example>\r\n"
    b"To: bob@beta.example\r\n"
    b"Bcc: carol@beta.example\r\n"
    b"Subject:  x\r\n"
    b"X-Mailer: y\r\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain;\r\n charset=utf-8\r\n"
    b"\r\n"
    b"body\r\n"
)


def protect(message: bytes) -> bytes:
    return header_protection.protect(split_message(message)[0], entity_of(message))


@pytest.mark.requirement("R9788-4-01")
def test_what_people_see_goes_inside_as_it_stands():
    assert protect(MESSAGE) == (
        b"From: Alice\r\n <alice@acme.example>\r\n"
        b"To: bob@beta.example\r\n"
        b"Subject:  x\r\n"
        b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        b"MIME-Version: 1.0\r\n"
        b'Content-Type: text/plain;\r\n charset=utf-8;\r\n hp="clear"\r\n'
        b"\r\n"
        b"body\r\n"
    )


@pytest.mark.requirement("R9788-4-01")
def test_what_was_written_is_read():
    found = header_protection.protected_fields(protect(MESSAGE))

    assert [field.name for field in found.fields] == ["from", "to", "subject", "date"]


@pytest.mark.requirement("R5322-3.6.3-01")
def test_blind_recipients_stay_out():
    assert b"carol" not in protect(MESSAGE)


@pytest.mark.parametrize(
    "content_type",
    [
        b"Content-Type: text/plain\r\n",
        b"Content-Type: text/plain; charset=utf-8;\r\n",
        b"Content-Type: text/plain (comment; hp=x)\r\n",
        b"content-type:multipart/mixed;boundary=b ; \r\n",
        b"Content-Type: text/plain;\n charset=utf-8\n",
        b'Content-Type: text/plain; hp="clear"\r\n',
        b"",
    ],
)
def test_content_types_of_all_sorts_are_marked(content_type):
    message = b"From: a@b.example\r\n" + content_type + b"\r\nbody"
    header, body = split_message(protect(message))
    kind = parse_content_type(header.first("content-type").value)
    before = split_message(message)[0].first("content-type")

    assert kind.parameters["hp"] == "clear"
    assert kind.full == (parse_content_type(before.value).full if before else "text/plain")
    assert bytes(body) == b"body"
    assert header_protection.protected_fields(protect(message)).first("from").value == "a@b.example"


@pytest.mark.parametrize(
    "content_type",
    [
        b"Content-Type: nonsense\r\n",
        b"Content-Type: text/plain\r\nContent-Type: text/html\r\n",
        b"Content-Type: text/plain; hp=cipher\r\n",
        b"Content-Type: text/plain; hp=clear; hp=cipher\r\n",
    ],
)
def test_what_cannot_be_marked_stays_and_protects_nothing(content_type):
    message = b"From: a@b.example\r\n" + content_type + b"\r\nbody"

    assert protect(message) == entity_of(message)
    assert header_protection.protected_fields(protect(message)) is None


def test_protection_of_others_is_not_touched():
    entity = b'Subject: real\r\nHP-Outer: Subject: [...]\r\nContent-Type: text/plain; hp="cipher"\r\n\r\nbody'
    header, _ = split_message(MESSAGE)

    assert header_protection.protect(header, entity) == entity
    assert header_protection.protected_fields(entity).raw == b"Subject: real\r\n"
    assert header_protection.outer_fields(entity) == ("Subject: [...]",)


@pytest.mark.requirement("R8551-3.1-01")
def test_the_message_in_a_wrapper_is_read():
    entity = b"Content-Type: message/rfc822\r\n\r\nFrom: inner@acme.example\r\nContent-Type: text/plain\r\n\r\nbody"

    assert header_protection.protected_fields(entity).raw == b"From: inner@acme.example\r\n"
    assert bytes(header_protection.wrapped_message(entity)).startswith(b"From: inner@acme.example\r\n")


@pytest.mark.requirement("R8551-3.1-01")
@pytest.mark.parametrize(
    "entity",
    [
        b"Content-Type: message/rfc822; forwarded=yes\r\n\r\nFrom: a@b.example\r\n\r\n",
        b"Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@b.example",
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nRnJvbTogYUBiLmV4YW1wbGU=",
        b"From: a@b.example\r\nContent-Type: text/plain\r\n\r\n",
        b'From: a@b.example\r\nContent-Type: text/plain; protected-headers="v1"\r\n\r\n',
        b"\r\n",
        b"",
    ],
)
def test_what_protects_no_fields(entity):
    assert header_protection.protected_fields(entity) is None


@pytest.mark.requirement("R8551-3.1-01")
def test_a_forwarded_message_as_root_does_not_speak_for_its_bearer():
    message = b"From: a@b.example\r\nContent-Type: message/rfc822\r\n\r\nFrom: ceo@bank.example\r\n\r\nold"

    assert header_protection.protected_fields(protect(message)).first("from").value == "a@b.example"
    assert header_protection.wrapped_message(protect(message)) is None
