"""Cutting multiparts: RFC 2046 5.1.1; the shapes are those of measurements-mail D2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import LimitExceeded, MalformedMessage
from domsec.limits import Limits
from domsec.mime import multipart


def cut(body: bytes, boundary: str = "b"):
    found = multipart.split(body, boundary)
    assert multipart.split(memoryview(body), boundary) == found
    return [bytes(part) for part in found.parts], bytes(found.preamble), bytes(found.epilogue), found.closed


@pytest.mark.requirement("R8551-3.1.1-02")
@pytest.mark.parametrize(
    ("body", "parts", "preamble", "epilogue", "closed"),
    [
        (b"--b\r\nx\r\n--b--\r\n", [b"x"], b"", b"", True),
        (b"--b\r\nx\r\n--b--", [b"x"], b"", b"", True),
        (b"--b\r\nx\r\n\r\n--b\r\ny\r\n--b--\r\n", [b"x\r\n", b"y"], b"", b"", True),
        (b"pre\r\n--b\r\nx\r\n--b--\r\npost\r\n", [b"x"], b"pre", b"post\r\n", True),
        (b"\r\n--b\r\nx\r\n--b--\r\n", [b"x"], b"", b"", True),
        # blanks behind the delimiter are padding, on the part they are content
        (b"--b \t\r\nx \t\r\n \r\n--b-- \r\n", [b"x \t\r\n "], b"", b"", True),
        # nothing between, with the line end the grammar wants, and without
        (b"--b\r\n\r\n--b--\r\n", [b""], b"", b"", True),
        (b"--b\r\n--b\r\n--b--\r\n", [b"", b""], b"", b"", True),
        # no end
        (b"--b\r\nx\r\n--b\r\ny", [b"x", b"y"], b"", b"", False),
        (b"--b\r\nx\r\n", [b"x\r\n"], b"", b"", False),
        (b"--b", [b""], b"", b"", False),
        (b"nothing", [], b"nothing", b"", False),
        (b"", [], b"", b"", False),
        # only whole lines are delimiters
        (b"--b\r\nx --b\r\n --b\r\n\t--b--\r\n--b--\r\n", [b"x --b\r\n --b\r\n\t--b--"], b"", b"", True),
        (b"--b\r\n--bc\r\n--b-\r\n--b--c\r\n--b--\r\n", [b"--bc\r\n--b-\r\n--b--c"], b"", b"", True),
        # line ends
        (b"--b\nx\n--b--\n", [b"x"], b"", b"", True),
        (b"--b\r\nx\n--b--\r\n", [b"x"], b"", b"", True),
        (b"--b\r\nx\r\r\n--b--\r\n", [b"x\r"], b"", b"", True),
        (b"--b\rx\r--b--\r", [], b"--b\rx\r--b--\r", b"", False),
        (b"--b\r\nx\r\n--b--\r\n--b\r\ny\r\n--b--\r\n", [b"x"], b"", b"--b\r\ny\r\n--b--\r\n", True),
    ],
)
def test_split(body, parts, preamble, epilogue, closed):
    assert cut(body) == (parts, preamble, epilogue, closed)


def test_a_nested_boundary_that_begins_alike_cuts_only_the_inner_one():
    body = b"--ab\r\n\r\n--abc\r\n\r\ninner\r\n--abc--\r\n--ab\r\n\r\nouter\r\n--ab--\r\n"
    found = multipart.split(body, "ab")

    assert [bytes(part) for part in found.parts] == [b"\r\n--abc\r\n\r\ninner\r\n--abc--", b"\r\nouter"]
    assert found.near_misses


@pytest.mark.parametrize("boundary", ["", " ", "a\rb", "a\x00", "x" * 251])
def test_boundaries_that_are_none(boundary):
    with pytest.raises(MalformedMessage):
        multipart.split(b"", boundary)


@pytest.mark.parametrize("boundary", ["=_a.b/c?d", "a b", "x" * 250, "(),'+-", "--", "a "])
def test_boundaries_of_all_characters(boundary):
    line = b"--" + boundary.rstrip().encode()
    found = multipart.split(line + b"\r\nx\r\n" + line + b"--\r\n", boundary)

    assert [bytes(part) for part in found.parts] == [b"x"]
    assert found.closed


@pytest.mark.parametrize(
    ("preamble", "epilogue", "outside"),
    [(b"", b"", False), (b" \r\n", b"\r\n\t\r\n", False), (b"text\r\n", b"", True), (b"", b"text", True)],
)
def test_text_outside_the_parts_is_told(preamble, epilogue, outside):
    body = preamble + b"--b\r\nx\r\n--b--\r\n" + epilogue

    assert multipart.split(body, "b").outside_text is outside


def test_limits():
    body = b"--b\r\nx\r\n" * 10 + b"--b--"
    assert len(multipart.split(body, "b", Limits(mime_parts=10)).parts) == 10
    with pytest.raises(LimitExceeded, match="mime_parts"):
        multipart.split(body, "b", Limits(mime_parts=9))
    with pytest.raises(LimitExceeded, match="mime_parts"):
        multipart.split(body[:-5], "b", Limits(mime_parts=9))
    with pytest.raises(LimitExceeded, match="mime_parts"):
        multipart.split(b"--b!\r\n" * 100, "b", Limits(mime_parts=9))


def test_delimiters_across_the_blocks_of_a_view_are_found():
    for filler in range(65_530, 65_545):
        body = b"--b\r\n" + b"x" * filler + b"\r\n--b\r\ny\r\n--b--\r\n"
        assert [len(part) for part in multipart.split(memoryview(body), "b").parts] == [filler, 1]


@given(st.lists(st.binary(max_size=30).filter(lambda part: b"--b" not in part), min_size=1, max_size=5))
def test_split_undoes_join(parts):
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"

    assert cut(body) == (parts, b"", b"", True)


@given(st.lists(st.sampled_from([b"--b", b"--", b"\r\n", b"\n", b"\r", b" ", b"x"]), max_size=30).map(b"".join))
def test_bytes_and_views_are_cut_alike(body):
    found = multipart.split(body, "b")

    assert multipart.split(memoryview(body), "b") == found
    assert sum(len(part) for part in found.parts) + len(found.preamble) + len(found.epilogue) <= len(body)
