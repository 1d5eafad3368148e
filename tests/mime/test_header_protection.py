"""Header fields inside the protected entity: RFC 9788, RFC 8551 3.1, decisions A-22, threats T-07.

The messages with hp="cipher" were written from what RFC 9788 says of them; samples of others were not at hand.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.mime import header_protection
from domsec.mime.content_type import parse_content_type
from domsec.mime.fields import entity_of, split_message
from domsec.mime.header_protection import Protected, Protection

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


def read(entity: bytes) -> Protected:
    found = protected(entity)
    assert found is not None
    return found


def protected(entity: bytes) -> Protected | None:
    return header_protection.protected(*split_message(entity))


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
    found = read(protect(MESSAGE))

    assert found.form == "clear"
    assert [field.name for field in found.header.fields] == ["from", "to", "subject", "date"]


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
    assert read(protect(message)).header.first("from").value == "a@b.example"


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
    assert protected(protect(message)) is None


def test_protection_of_others_is_not_touched():
    entity = b'Subject: real\r\nHP-Outer: Subject: [...]\r\nContent-Type: text/plain; hp="cipher"\r\n\r\nbody'
    header, _ = split_message(MESSAGE)

    assert header_protection.protect(header, entity) == entity
    assert read(entity).header.raw == b"Subject: real\r\n"
    assert read(entity).outside.raw == b"Subject: [...]\r\n"


@pytest.mark.requirement("R8551-3.1-01")
def test_the_message_in_a_wrapper_is_read():
    entity = b"Content-Type: message/rfc822\r\n\r\nFrom: inner@acme.example\r\nContent-Type: text/plain\r\n\r\nbody"

    assert read(entity).header.raw == b"From: inner@acme.example\r\n"
    assert bytes(read(entity).wrapped or b"").startswith(b"From: inner@acme.example\r\n")


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
    assert protected(entity) is None


@pytest.mark.requirement("R8551-3.1-01")
def test_a_forwarded_message_as_root_does_not_speak_for_its_bearer():
    message = b"From: a@b.example\r\nContent-Type: message/rfc822\r\n\r\nFrom: ceo@bank.example\r\n\r\nold"

    assert read(protect(message)).header.first("from").value == "a@b.example"
    assert read(protect(message)).wrapped is None


# --- hidden (RFC 9788 3.2.1) -----------------------------------------------------------------------------------------

SECRET = MESSAGE.replace(b"X-Mailer: y\r\n", b"X-Mailer: y\r\nKeywords: merger\r\nComments: not yet\r\n")


def conceal(message: bytes) -> tuple[bytes, bytes]:
    entity, outside = header_protection.conceal(split_message(message)[0], entity_of(message))
    return entity, outside.raw


@pytest.mark.requirement("R9788-4-01")
def test_subject_keywords_and_comments_are_hidden_and_told_of():
    entity, outside = conceal(SECRET)

    assert entity == (
        b"From: Alice\r\n <alice@acme.example>\r\n"
        b"To: bob@beta.example\r\n"
        b"Subject:  x\r\n"
        b"Keywords: merger\r\n"
        b"Comments: not yet\r\n"
        b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        b"HP-Outer: From: Alice\r\n <alice@acme.example>\r\n"
        b"HP-Outer: To: bob@beta.example\r\n"
        b"HP-Outer: Subject: [...]\r\n"
        b"HP-Outer: Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        b"MIME-Version: 1.0\r\n"
        b'Content-Type: text/plain;\r\n charset=utf-8;\r\n hp="cipher"\r\n'
        b"\r\n"
        b"body\r\n"
    )
    kept = SECRET.replace(b"Subject:  x", b"Subject: [...]").replace(b"Keywords: merger\r\nComments: not yet\r\n", b"")
    assert outside == split_message(kept)[0].raw


@pytest.mark.requirement("R9788-4-01")
def test_what_was_hidden_is_read_and_put_back():
    entity, outside = conceal(SECRET)
    found = read(entity)

    assert found.form == "cipher"
    assert [field.name for field in found.hidden] == ["subject", "keywords", "comments"]
    back = found.revealed(split_message(outside + b"\r\n")[0])
    assert sorted(field.raw for field in back.fields) == sorted(field.raw for field in split_message(SECRET)[0].fields)


@pytest.mark.parametrize(
    "content_type",
    [
        b"Content-Type: nonsense\r\n",
        b"Content-Type: text/plain; hp=clear\r\n",
        b"Content-Type: a/b\r\nContent-Type: a/b\r\n",
    ],
)
def test_nothing_is_hidden_that_is_not_inside(content_type):
    message = b"Subject: x\r\n" + content_type + b"\r\nbody"
    entity, outside = conceal(message)

    assert (entity, outside) == (entity_of(message), split_message(message)[0].raw)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ((b"", b""), ()),
        ((b"Subject: [...]", b"Subject:  x"), ()),  # shown again by whoever opened it
        ((b"Subject: [...]", b"Subject:\r\n [...]"), ()),
        ((b"Subject: [...]", b"Subject: [list] [...]"), ("subject",)),
        ((b"Subject: [...]\r\n", b""), ("subject",)),
        ((b"To: bob@beta.example", b"To: carol@beta.example"), ("to",)),
        ((b"To: bob@beta.example", b"To: bob@beta.example\r\nTo: carol@beta.example"), ("to",)),
        ((b"X-Mailer: y", b"X-Mailer: z\r\nKeywords: other"), ("keywords",)),
        ((b"Received: from a by b", b"Received: from a by c"), ()),
    ],
)
def test_what_differs_from_what_was_left_outside_is_named(change, differs):
    entity, outside = conceal(SECRET)
    there, _ = split_message(outside.replace(*change) + b"\r\n")

    assert read(entity).differences(there) == differs


def test_with_hp_clear_every_difference_is_named():
    there, _ = split_message(MESSAGE.replace(b"Subject:  x", b"Subject: [...]").replace(b"Date: Mon,", b"Date: Tue,"))

    assert read(protect(MESSAGE)).differences(there) == ("subject", "date")


def test_what_is_put_back_is_only_what_people_see_and_never_from():
    entity = (
        b"From: ceo@bank.example\r\nReceived: from nowhere\r\nAuthentication-Results: mx; smime=pass\r\n"
        b'Subject: real\r\nHP-Outer: Subject: [...]\r\nContent-Type: text/plain; hp="cipher"\r\n\r\nbody'
    )
    there, _ = split_message(b"From: a@b.example\r\nSubject: [...]\r\n\r\n")

    assert read(entity).revealed(there).raw == b"From: a@b.example\r\nSubject: real\r\n"


def test_outer_fields_that_are_none_are_passed_over():
    entity = (
        b"Subject: real\r\nHP-Outer:\r\nHP-Outer: nonsense\r\nHP-Outer: Subject: [...]\r\n"
        b'Content-Type: text/plain; hp="cipher"\r\n\r\nbody'
    )

    assert read(entity).outside.first("subject").value == "[...]"


TEXT = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1, max_size=30)


@given(
    st.lists(st.tuples(st.sampled_from(["Subject", "Keywords", "Comments", "To", "Cc", "X-Other"]), TEXT), max_size=8)
)
def test_hiding_and_putting_back_loses_no_field(written):
    message = b"".join(f"{name}: {text}\r\n".encode() for name, text in written) + b"\r\nbody"
    header, _ = split_message(message)
    entity, outside = header_protection.conceal(header, entity_of(message))
    found = protected(entity)

    assert not any(field.name in ("keywords", "comments") for field in outside.fields)
    assert all(field.value == "[...]" for field in outside.all("subject"))
    back = outside if found is None else found.revealed(outside)
    assert sorted(field.raw for field in back.fields) == sorted(field.raw for field in header.fields)
    assert found is None or found.differences(outside) == ()


# --- a whole message inside (RFC 8551 3.1) ----------------------------------------------------------------------------


@pytest.mark.requirement("R8551-3.1-01")
def test_a_whole_message_goes_into_a_wrapper_and_is_read_there():
    entity = header_protection.wrap(split_message(SECRET)[0], entity_of(SECRET))
    found = read(entity)

    assert entity.startswith(b"Content-Type: message/rfc822\r\n\r\nFrom: Alice\r\n <alice@acme.example>\r\nTo:")
    assert entity_of(bytes(found.wrapped or b"")) == entity_of(SECRET)
    assert found.form == "rfc822"
    assert b"Received" not in entity
    assert b"carol" not in entity
    assert found.differences(split_message(SECRET)[0]) == ()


@pytest.mark.requirement("R8551-3.1-01")
@pytest.mark.parametrize(
    ("subject", "differs"),
    [(b"Subject: [...]\r\n", ()), (b"", ()), (b"Subject: y\r\n", ("subject",))],
)
def test_a_wrapper_says_nowhere_what_is_left_outside(subject, differs):
    entity = header_protection.wrap(split_message(SECRET)[0], entity_of(SECRET))
    there, _ = split_message(SECRET.replace(b"Subject:  x\r\n", subject))

    assert read(entity).differences(there) == differs
    assert read(entity).revealed(there).first("subject").value == ("x" if not differs else "y")


@pytest.mark.parametrize(
    ("how", "form", "subject"),
    [
        (Protection(), "clear", b"Subject:  x"),
        (Protection(hide=True), "cipher", b"Subject: [...]"),
        (Protection("wrapped"), "rfc822", b"Subject:  x"),
        (Protection("wrapped", hide=True), "rfc822", b"Subject: [...]"),
        (Protection("none"), None, b"Subject:  x"),
    ],
)
def test_what_is_wanted_is_done(how, form, subject):
    entity, outside = header_protection.put_inside(split_message(SECRET)[0], entity_of(SECRET), how)
    found = protected(entity)

    assert (found.form if found else None) == form
    assert subject in outside.raw
