"""Canonical line ends: RFC 8551 3.1.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.mime.canonical import canonical, is_canonical


@pytest.mark.requirement("R8551-3.1.1-01")
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", b""),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\n", b"a\r\nb\r\n"),
        (b"\n\n\r\n", b"\r\n\r\n\r\n"),
        (b"a\rb", b"a\rb"),  # a bare CR is content
        (b"a\r\r\nb\n\r", b"a\r\r\nb\r\n\r"),
        (b"trailing \t\r\n \r\n", b"trailing \t\r\n \r\n"),
    ],
)
def test_lone_line_feeds_become_crlf_and_nothing_else_changes(octets, expected):
    assert canonical(octets) == expected
    assert canonical(memoryview(octets)) == expected


def test_canonical_octets_come_back_themselves():
    octets = b"a\r\nb\r\n"
    assert canonical(octets) is octets


@given(st.text(alphabet="\r\nab").map(str.encode))
def test_it_is_canonical_once_and_for_all(octets):
    once = canonical(octets)

    assert is_canonical(once)
    assert canonical(once) == once
    assert once.replace(b"\r\n", b"\n") == octets.replace(b"\r\n", b"\n")
