"""Header and body to the octet: RFC 5322 2, decisions A-55."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import LimitExceeded, MalformedMessage
from domsec.limits import Limits
from domsec.mime import fields

MESSAGE = (
    b"Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"From:  Alice <alice@acme.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Subject: one\r\n two\r\n"
    b"Content-Type: text/plain;\r\n charset=utf-8\r\n"
    b"CONTENT-LANGUAGE : en\r\n"
    b"\r\n"
    b"body\r\n"
)


@pytest.mark.parametrize(
    ("octets", "names", "separator", "body"),
    [
        (b"", [], b"", b""),
        (b"\r\n", [], b"\r\n", b""),
        (b"\nx", [], b"\n", b"x"),
        (b"A: b", ["a"], b"", b""),
        (b"A: b\r\n", ["a"], b"", b""),
        (b"A: b\r\n\r\n", ["a"], b"\r\n", b""),
        (b"A: b\n\nx", ["a"], b"\n", b"x"),
        (b"A: b\r\n\nx\r\n\r\n", ["a"], b"\n", b"x\r\n\r\n"),
        (b"A: b\n\r\nx\n\n", ["a"], b"\r\n", b"x\n\n"),
        (b"A: b\r\n c\r\nB:\r\n\r\n\r\nx", ["a", "b"], b"\r\n", b"\r\nx"),
        (b"A: b\r\n \r\nB: c\r\n\r\n", ["a", "b"], b"\r\n", b""),  # a line of blanks is folding, not the end
        (b"A: b\rB: c\r\n\r\n", ["a"], b"\r\n", b""),  # a bare CR ends nothing
        (b"no field\r\nA : b\r\n\r\n", ["", "a"], b"\r\n", b""),
        (b"Sm\xe9rgas: b\r\n\r\n", [""], b"\r\n", b""),
        (b" folded first\r\nA: b\r\n\r\n", ["", "a"], b"\r\n", b""),
        (b"X\x00: b\r\n\r\n", [""], b"\r\n", b""),
    ],
)
def test_split(octets, names, separator, body):
    header, rest = fields.split_message(octets)

    assert [field.name for field in header.fields] == names
    assert header.separator == separator
    assert bytes(rest) == body


LINES = st.lists(st.sampled_from([b"A: 1\r\n", b"A: 2\r\n", b"B: 1\r\n"]), max_size=6).map(b"".join)


@given(LINES, LINES)
def test_changes_make_one_header_another(octets, wanted):
    header, other = fields.split_message(octets)[0], fields.split_message(wanted)[0]

    top, removed = fields.changes(header, other)

    kept = [field for place, field in enumerate(header.fields) if place not in removed]
    assert (*top, *kept) == other.fields


def test_a_field_that_stays_is_neither_removed_nor_put_again():
    header = fields.split_message(b"A: 1\r\nR: forged\r\nB: 2\r\n\r\n")[0]
    other = header.without("r").prepend(fields.new_field("R", "ours"))

    assert fields.changes(header, other) == ((fields.new_field("R", "ours"),), (1,))
    assert fields.changes(header, header) == ((), ())


@given(st.lists(st.sampled_from([b"A: b", b"\r\n", b"\n", b"\r", b" ", b":", b"--x", b"\x00\xff"])).map(b"".join))
def test_split_and_join_give_the_same_octets(octets):
    header, body = fields.split_message(octets)

    assert header.raw + header.separator + bytes(body) == octets
    assert fields.join_message(header, body) == octets
    assert fields.split_message(memoryview(octets))[0] == header


def test_values_are_unfolded_and_octets_that_are_not_utf8_survive():
    header, _ = fields.split_message(b"Subject: one\r\n two\n\tthree \r\nX: \xff\xc3\xa9\r\n\r\n")

    assert header.first("subject").value == "one two\tthree"
    assert header.first("x").value.encode("utf-8", "surrogateescape") == b"\xff\xc3\xa9"


def test_a_header_larger_than_the_first_look_is_found():
    octets = b"A: b\r\n" * 5000 + b"\r\nbody"
    header, body = fields.split_message(memoryview(octets), Limits(header_fields=5000))

    assert len(header.fields) == 5000
    assert bytes(body) == b"body"


def test_limits_of_the_header():
    octets = b"A: b\r\n" * 10 + b"\r\n"
    fields.split_message(octets, Limits(header_fields=10, header_size=60))
    with pytest.raises(LimitExceeded, match="header_fields"):
        fields.split_message(octets, Limits(header_fields=9))
    with pytest.raises(LimitExceeded, match="header_size"):
        fields.split_message(octets, Limits(header_size=57))


@pytest.mark.requirement("R5321-4.4-01")
def test_only_content_fields_and_mime_version_belong_to_the_entity():
    assert fields.entity_of(MESSAGE) == (
        b"MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\nCONTENT-LANGUAGE : en\r\n\r\nbody\r\n"
    )


@pytest.mark.requirement("R5321-4.4-01")
def test_replacing_the_entity_keeps_all_other_fields_as_they_were():
    header, _ = fields.split_message(MESSAGE)
    entity = b"From: inner@acme.example\r\nContent-Type: application/pkcs7-mime\r\n\r\nMIA=\r\n"

    assert fields.replace_entity(header, entity) == (
        b"Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n"
        b"From:  Alice <alice@acme.example>\r\n"
        b"Subject: one\r\n two\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: application/pkcs7-mime\r\n"
        b"\r\n"
        b"MIA=\r\n"
    )


def test_replacing_a_field_without_line_end_does_not_glue_lines():
    header, _ = fields.split_message(b"From: a@b.example")

    assert fields.replace_entity(header, b"\r\nx") == b"From: a@b.example\r\nMIME-Version: 1.0\r\n\r\nx"


def test_mime_version_is_there_once():
    header, _ = fields.split_message(MESSAGE)
    replaced = fields.replace_entity(header, fields.entity_of(MESSAGE))

    assert replaced.lower().count(b"mime-version") == 1
    assert fields.entity_of(replaced) == fields.entity_of(MESSAGE)


@pytest.mark.parametrize(
    ("octets", "problems"),
    [
        (MESSAGE, ()),
        (b"From alice Mon Jan 1\r\nA: b\r\n\r\n", ()),
        (
            b"A: b\r\nFrom alice Mon Jan 1\r\n\r\n",
            (("mime.bad_field", "field 2 of the header: b'From alice Mon Jan 1\\r\\n'"),),
        ),
        (
            b"A: b\r\njunk\r\nContent-Type: text/plain\r\n\r\n",
            (("mime.bad_field", "field 2 of the header: b'junk\\r\\n'"),),
        ),
    ],
)
def test_lines_that_are_no_fields_are_told(octets, problems):
    assert fields.split_message(octets)[0].problems == problems


def test_header_access():
    header, _ = fields.split_message(b"A: 1\r\nB: 2\r\na : 3\r\n\r\n")

    assert header.first("a").value == "1"
    assert [field.value for field in header.all("a")] == ["1", "3"]
    assert header.first("c") is None
    assert header.without("a").raw == header.without(["a"]).raw == b"B: 2\r\n"
    assert header.prepend(fields.new_field("Z", "0")).raw.startswith(b"Z: 0\r\nA: 1\r\n")


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\rb", "a\nb", "a\x00", "\r\n", "\u00e9"])
def test_a_new_field_cannot_begin_another_one(value):
    with pytest.raises(MalformedMessage):
        fields.new_field("A", value)
