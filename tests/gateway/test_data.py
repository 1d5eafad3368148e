"""domsec.gateway.data: the end of data, dot-stuffing, and what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import MalformedMessage
from domsec.gateway.data import Data, problem_of, stuffed
from domsec.octets import THRESHOLD, Pieces

LIMIT = 10_000
FEW, CHUNK = 12, 7  # octets that are many, and that are read at a time


@pytest.fixture(params=["in memory", "in files"], autouse=True)
def kept(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here is said of large messages as well."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "in files":
            patched.setattr("domsec.gateway.data.THRESHOLD", FEW)
            patched.setattr("domsec.gateway.data._PIECE", CHUNK)
            patched.setattr("domsec.octets.THRESHOLD", FEW)
            patched.setattr("domsec.octets.CHUNK", CHUNK)
        before = os.listdir("/proc/self/fd")
        yield
        assert len(os.listdir("/proc/self/fd")) == len(before)


PIECES = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b"\0"]), max_size=12)


def receive(*chunks: bytes, limit: int = LIMIT) -> tuple[Data, bytes | None]:
    data = Data(limit)
    rest = None
    for chunk in chunks:
        assert rest is None
        rest = data.feed(chunk)
    return data, rest


@pytest.mark.parametrize(
    ("wire", "octets"),
    [
        (b".\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"..a\r\n..\r\n...b\r\n.\r\n", b".a\r\n.\r\n..b\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),  # a stuffing dot before something that needs none, RFC 5321 4.5.2
        (b"\r\n\r\n.\r\n", b"\r\n\r\n"),
        (b"x" * 5000 + b"\r\n.\r\n", b"x" * 5000 + b"\r\n"),  # no limit on the length of a line
    ],
)
def test_what_was_sent_is_what_is_kept_wherever_the_reads_are_cut(wire: bytes, octets: bytes) -> None:
    for cut in range(min(len(wire), 60) + 1):
        data = Data(LIMIT)
        rest = data.feed(wire[:cut])
        if rest is None:
            rest = data.feed(wire[cut:] + b"QUIT\r\n")
            assert rest == b"QUIT\r\n"
        assert (data.problem, data.octets, data.wire) == (None, octets, wire[:-3])
    data = Data(LIMIT)
    results = [data.feed(wire[at : at + 1]) for at in range(len(wire))]
    assert results == [None] * (len(wire) - 1) + [b""]
    assert data.octets == octets


@given(PIECES, st.integers(0, 30))
def test_the_end_is_crlf_dot_crlf_and_nothing_else(pieces: list[bytes], cut: int) -> None:
    wire = b"".join(pieces) + b"\r\n.\r\n"
    end = (b"\r\n" + wire).find(b"\r\n.\r\n")
    content = (b"\r\n" + wire)[2 : end + 2]
    data = Data(LIMIT)
    rest = data.feed(wire[:cut])
    if rest is None:
        rest = data.feed(wire[cut:])
    else:
        rest += wire[cut:]
    assert rest == wire[end + 3 :]
    bare = re.search(rb"\r(?!\n)|(?<!\r)\n", content)
    assert data.problem == ("bare_newline" if bare else "nul" if b"\0" in content else None)
    if data.problem is None:
        assert data.octets == re.sub(rb"(?m)^\.", b"", content)
        assert data.wire == content


@given(st.binary(max_size=200).map(lambda octets: octets.replace(b"\0", b"")))
def test_what_is_stuffed_comes_back(octets: bytes) -> None:
    octets = re.sub(rb"\r\n|\r|\n", b"\r\n", octets)
    whole = octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n"
    data, rest = receive(bytes(stuffed(octets)) + b".\r\n")
    assert (data.octets, rest) == (whole, b"")


@pytest.mark.parametrize("octets", [b"a\nb\r\n", b"a\rb\r\n", b"a\r\r\n", b"\n", b"a\0\r\n", b"a\r\n.\n", b"a\r"])
def test_nothing_leaves_that_another_server_could_take_for_an_end_of_data(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        stuffed(octets)


@pytest.mark.parametrize(("size", "problem"), [(100, None), (101, "size")])
def test_the_limit_is_on_the_message_as_it_is_kept(size: int, problem: str | None) -> None:
    content = b"." * (size - 2) + b"\r\n"
    data, rest = receive(b"." + content + b".\r\n", limit=100)
    assert (data.problem, rest) == (problem, b"")


def test_too_much_is_not_kept_but_read_to_its_end() -> None:
    data = Data(100)
    for _ in range(1000):
        assert data.feed(b"x" * 1000) is None
        assert len(data._buffer) <= 1200
    assert data.feed(b"\r\n.\r") is None
    assert data.feed(b"\nNOOP\r\n") == b"NOOP\r\n"
    assert (data.problem, data.octets) == ("size", b"")


@pytest.mark.parametrize("at", [0, (1 << 20) - 2, (1 << 20) - 1, 1 << 20, (2 << 20) - 1])
def test_a_bare_newline_is_seen_at_the_seams_of_the_scan(at: int) -> None:
    line = b"x" * 1022 + b"\r\n"
    octets = line * (2 << 10)
    assert problem_of(octets) is None
    spoiled = octets[:at] + b"\n\n" + octets[at + 2 :]
    assert problem_of(spoiled) == "bare_newline"


# --- in files -------------------------------------------------------------------------------------------------------

MUCH = (b"x" * 3000 + b"\r\n..y\r\n") * (THRESHOLD // 1000)


@pytest.mark.parametrize("by", [1, 1000, 65536, len(MUCH)])
def test_what_is_large_is_in_no_memory(by: int) -> None:
    sent = MUCH if by > 1 else MUCH[: THRESHOLD + 10_000] + b"\r\n"
    data = Data(len(MUCH))
    for at in range(0, len(sent), by):
        assert data.feed(sent[at : at + by]) is None
        assert len(data._buffer) <= THRESHOLD + by
    assert data.feed(b".\r\nQUIT\r\n") == b"QUIT\r\n"
    assert (data.problem, data.octets, data.wire) == (None, sent.replace(b"\r\n.", b"\r\n"), sent)
    assert isinstance(data.wire, memoryview)
    assert stuffed(data.octets) == sent


def test_what_is_made_while_it_is_read_is_checked_before_any_of_it_is_given() -> None:
    assert stuffed(Pieces(len(MUCH) + 1, lambda: (MUCH, b"x"))) == MUCH.replace(b"\r\n.", b"\r\n..") + b"x\r\n"
    with pytest.raises(MalformedMessage):
        stuffed(Pieces(len(MUCH) + 1, lambda: (MUCH, b"\n")))


@pytest.mark.parametrize("room", [0, 1])
def test_without_room_the_rest_is_read_and_the_reply_is_temporary(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data(2 * len(MUCH))
    for _ in range(room):
        data.feed(MUCH)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    data.feed(MUCH)
    assert data.feed(b".\r\nNOOP\r\n") == b"NOOP\r\n"
    assert (data.problem, data.octets, data.wire) == ("room", b"", b"")


def test_a_client_that_goes_away_leaves_nothing() -> None:
    data = Data(len(MUCH))
    data.feed(MUCH)
    data.close()
