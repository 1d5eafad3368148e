"""A line above the text, which leaves what is below as it was."""

from __future__ import annotations

import email
import email.policy

import pytest

from domsec.mime.banner import with_banner

HEAD = b"From: a@b.example\r\nSubject: x\r\n"
LINE = "Nothing shows who sent this message."


@pytest.mark.parametrize(
    "content",
    [
        b"\r\nhello\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n",
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+aGVsbG88L2I+\r\n",
        b"Content-Type: multipart/alternative; boundary=q\r\n\r\n--q\r\n\r\nhello\r\n--q--\r\n",
    ],
)
def test_a_line_stands_above_what_is_read(content: bytes) -> None:
    made = bytes(with_banner(HEAD + content, LINE))
    read = email.message_from_bytes(made, policy=email.policy.SMTP)
    first, second = read.iter_parts()
    assert made.startswith(HEAD)
    assert first.get_content() == LINE + "\r\n"
    assert second.get_content_type() == email.message_from_bytes(HEAD + content).get_content_type()
    assert content.partition(b"\r\n\r\n")[2] in made  # octet by octet
    assert not read.defects
    assert made.count(b"MIME-Version") == 1


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/signed; protocol=x; boundary=q",
        b"multipart/encrypted; boundary=q",
        b"multipart/report; report-type=delivery-status; boundary=q",
        b"application/pkcs7-mime; smime-type=signed-data",
        b"message/rfc822",
        b"text/plain\r\nContent-Type: multipart/signed; boundary=q",  # whom will the reader believe?
        b";;",
    ],
)
def test_nothing_stands_above_what_is_more_than_text(content_type: bytes) -> None:
    message = HEAD + b"Content-Type: " + content_type + b"\r\n\r\n--q\r\n\r\nx\r\n--q--\r\n"
    assert with_banner(message, LINE) == message
