"""Tags in the Subject, however it is written, and the Subject without them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.mime import subject
from domsec.mime.fields import Header, split_message

SECURE = ("[secure]",)


def header(value: bytes, name: bytes = b"Subject: "):
    return split_message(b"From: a@b.example\r\n" + name + value + b"\r\nX-A: [secure]\r\n\r\n")[0]


@pytest.mark.parametrize(
    ("value", "found", "left"),
    [
        (b"[secure] the offer", True, b"the offer"),
        (b"Re: [SECURE] the offer", True, b"Re: the offer"),
        (b"the offer [Secure]", True, b"the offer"),
        (b"[secure]", True, b""),
        (b"[secure] a [secure] b", True, b"a b"),
        (b"=?utf-8?q?=5Bsecure=5D_gr=C3=BC=C3=9Fe?=", True, b"=?utf-8?b?Z3LDvMOfZQ==?="),
        (b"=?utf-8?B?W3NlY3VyZV0gZ3LDvMOfZQ==?=", True, b"=?utf-8?b?Z3LDvMOfZQ==?="),
        (b"[secure] =?iso-8859-1?q?gr=FC=DFe?=", True, b"=?iso-8859-1?q?gr=FC=DFe?="),
        (b"=?utf-8?q?=5Bsec?= =?utf-8?q?ure=5D?= x", True, b"x"),
        (b"[secure]\r\n the offer", True, b"the offer"),
        (b"a\r\n [secure]\r\n\tb", True, b"a b"),
        (b"[secure] gr\xc3\xbc\xc3\x9fe", True, b"gr\xc3\xbc\xc3\x9fe"),
        (b"[secure] \xff", True, b"\xff"),
        (b"secure", False, None),
        (b"=?utf-8?b?W3NlY3VyZV0?=x", True, b"x"),
        (b"=?nobody-knows?q?=5Bsecure=5D?=", False, None),
        (b"=?utf-8?q?=5Bsecure=5D", False, None),
        (b"", False, None),
    ],
)
def test_a_tag_is_found_and_taken_out(value: bytes, found: bool, left: bytes | None) -> None:
    given_ = header(value)
    assert subject.has_tag(subject.subjects(given_), SECURE) is found
    after = subject.without_tags(given_, SECURE)
    if left is None:
        assert after == given_
    else:
        assert [field.raw for field in after.fields] == [
            b"From: a@b.example\r\n",
            b"Subject: " + left + b"\r\n",
            b"X-A: [secure]\r\n",
        ]


def test_several_subjects_and_none() -> None:
    two = split_message(b"Subject: a\r\nSubject: [secure] b\r\n\r\n")[0]
    assert subject.has_tag(subject.subjects(two), SECURE)
    assert subject.without_tags(two, SECURE).raw == b"Subject: a\r\nSubject: b\r\n"
    assert not subject.has_tag(subject.subjects(split_message(b"X: [secure]\r\n\r\n")[0]), SECURE)


def test_a_long_subject_is_folded_at_blanks() -> None:
    words = b" ".join([b"word"] * 60)
    (field,) = subject.without_tags(header(b"[secure] " + words), SECURE).all("subject")
    assert field.value.encode() == words
    assert max(map(len, field.raw.splitlines())) <= 78


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.text(max_size=20))
def test_what_is_left_says_the_same_and_is_one_field(before: str, behind: str) -> None:
    """Encoded, taken out, and decoded again: blanks apart, nothing else has changed."""
    tagged = f"{before}[secure]{behind}".encode("utf-8", "replace").decode()
    value = subject._encoded(tagged)
    if value == tagged and "=?" in tagged:
        return  # it only looks encoded
    (field,) = subject.without_tags(header(value.encode()), SECURE).all("subject")
    assert field.raw.endswith(b"\r\n")
    assert field.raw.replace(b"\r\n ", b" ").count(b"\n") == 1
    expected = subject._pattern(SECURE).sub("", tagged)
    assert subject.decoded(field.value).split() == expected.split()


def only(given: Header) -> bytes:
    return subject_of(given).strip()


def subject_of(given: Header) -> bytes:
    return next(field for field in given.fields if field.name == "subject").raw.partition(b":")[2]


@pytest.mark.parametrize(
    ("value", "tagged"),
    [
        (b"Offer", b"[verified] Offer"),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", b"[verified] =?utf-8?q?Gr=C3=BC=C3=9Fe?="),
        (b"", b"[verified]"),
    ],
)
def test_a_tag_of_ours_stands_before_the_subject(value: bytes, tagged: bytes) -> None:
    assert only(subject.with_tag(header(value), "[verified]")) == tagged


def test_a_message_without_a_subject_gets_one() -> None:
    assert subject.with_tag(Header(()), "[gepr\u00fcft]").raw == b"Subject: =?utf-8?b?W2dlcHLDvGZ0XQ==?=\r\n"


@pytest.mark.parametrize(
    ("forged", "left"),
    [
        (b"[verified] Offer", b"Offer"),
        (b"Re: [VeRiFiEd]  Offer", b"Re: Offer"),
        (b"[ veri fied ] Offer", b"Offer"),
        (b"=?utf-8?q?=5Bverified=5D?= Offer", b"Offer"),
        (b"=?utf-8?b?77y7dmVyaWZpZWTvvL0=?= Offer", b"Offer"),  # brackets of full width
        (b"=?utf-8?q?[veri=E2=80=8Bfied]?= Offer", b"Offer"),  # a blank of no width
        (b"=?utf-8?q?[veri=C2=ADfied]?= Offer", b"Offer"),  # a soft hyphen
        (b"[verified][verified] Offer", b"Offer"),
        (b"[veri[verified]fied] Offer", b"Offer"),
        (b"[veri" * 6 + b"[verified]" + b"fied]" * 6 + b" Offer", b"[veri[veri?fied]fied] Offer"),
    ],
)
def test_what_looks_like_a_tag_of_ours_is_taken_out(forged: bytes, left: bytes) -> None:
    clean = subject.without_imitations(header(forged), "[verified]")
    assert only(clean) == left
    assert not subject.has_tag(subject.subjects(clean), ["[verified]"])


@pytest.mark.parametrize("honest", [b"Offer", b"verified offers", b"[verify] Offer", b"=?utf-8?q?Gr=C3=BC=C3=9Fe?="])
def test_other_subjects_keep_their_octets(honest: bytes) -> None:
    assert subject.without_imitations(header(honest), "[verified]").raw == header(honest).raw
