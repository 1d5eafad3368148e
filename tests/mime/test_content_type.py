"""Content-Type and its parameters: RFC 2045 5.1, RFC 2231."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import DomsecError, MalformedMessage
from domsec.mime.content_type import MAX_LENGTH, parse_content_type, parse_disposition


@pytest.mark.parametrize(
    ("value", "full", "parameters"),
    [
        ("text/plain", "text/plain", {}),
        ("Text/PLAIN; Charset=US-ASCII", "text/plain", {"charset": "US-ASCII"}),
        ("text/plain;charset=us-ascii;", "text/plain", {"charset": "us-ascii"}),
        ("text/plain; ; charset=a ;;", "text/plain", {"charset": "a"}),
        ("(c) text (c (d)) / plain (e) ; (f) a (g) = (h) b (i)", "text/plain", {"a": "b"}),
        ('multipart/mixed; boundary="a b;c\\"d\\\\"', "multipart/mixed", {"boundary": 'a b;c"d\\'}),
        ('multipart/mixed; boundary=""', "multipart/mixed", {"boundary": ""}),
        ("multipart/mixed; boundary=----=_Part_1/2?", "multipart/mixed", {"boundary": "----=_Part_1/2?"}),
        ("multipart/signed; protocol=application/pkcs7-signature", "multipart/signed",
         {"protocol": "application/pkcs7-signature"}),
        # RFC 2231 3 and 4, with its own examples
        ("message/external-body; access-type=URL; URL*0=\"ftp://\"; URL*1=\"cs.utk.edu/pub\"", "message/external-body",
         {"access-type": "URL", "url": "ftp://cs.utk.edu/pub"}),
        ("application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", "application/x-stuff",
         {"title": "This is ***fun***"}),
        ("application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20;"
         " title*2=\"isn't it!\"", "application/x-stuff", {"title": "This is even more ***fun*** isn't it!"}),
        ("a/b; n*1=two; n*0=one", "a/b", {"n": "onetwo"}),
        ("a/b; n*=iso-8859-1''%E9", "a/b", {"n": "é"}),
        ("a/b; n*=utf-8''%C3%A9", "a/b", {"n": "é"}),
        ("a/b; n*=punycode''abc", "a/b", {"n": "abc"}),  # a stranger does not choose the decoder
    ],
)  # fmt: skip
def test_what_is_read(value, full, parameters):
    kind = parse_content_type(value)

    assert (kind.full, kind.parameters, kind.ambiguous) == (full, parameters, ())


@pytest.mark.parametrize(
    "value",
    [
        "",
        "text",
        "text/",
        "/plain",
        "text plain",
        "text/plain charset=a",
        "text/plain; charset",
        "text/plain; =a",
        "text/plain; name=two words",
        'text/plain; name="open',
        "text/plain (open",
        "text/plain; n=a\x00b",
        'text/plain; n="a\rb"',
        "text/plain; n*0=a; n*2=b",
        "text/plain; n*01=a",
        "text/plain; n**=a",
        "text/plain; n*=utf-8''a%0D%0Ab",
        "text/plain; n*99999999999999999999999=a",
    ],
)
def test_what_is_not(value):
    with pytest.raises(MalformedMessage):
        parse_content_type(value)


@pytest.mark.parametrize(
    ("value", "ambiguous", "first"),
    [
        ("a/b; boundary=x; boundary=y", ("boundary",), "x"),
        ("a/b; boundary=x; BOUNDARY=x", ("boundary",), "x"),
        ("a/b; boundary=x; boundary*0=y", ("boundary",), "y"),
        ("a/b; boundary*0=x; boundary*0*=y; boundary*1=z", ("boundary",), "xz"),
    ],
)
def test_a_parameter_given_twice_is_told(value, ambiguous, first):
    kind = parse_content_type(value)

    assert kind.ambiguous == ambiguous
    assert kind.parameters["boundary"] == first


def test_length_is_bounded():
    parse_content_type("a/b;" + " " * (MAX_LENGTH - 4))
    for parse in (parse_content_type, parse_disposition):
        with pytest.raises(MalformedMessage, match="too long"):
            parse("a/b;" + " " * (MAX_LENGTH - 3))


def test_disposition():
    disposition = parse_disposition("Attachment; filename*0=smime; filename*1=.p7m")

    assert disposition.type == "attachment"
    assert disposition.parameters == {"filename": "smime.p7m"}
    with pytest.raises(MalformedMessage):
        parse_disposition("=")


@given(st.text(alphabet="aB/;=*\"\\()' 0%2\t\r\x00é", max_size=60))
def test_nothing_but_our_errors(text):
    for parse in (parse_content_type, parse_disposition):
        try:
            parse("a/b;" + text)
            parse(text)
        except DomsecError:
            pass
