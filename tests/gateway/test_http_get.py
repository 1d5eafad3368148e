"""GET from hosts that somebody else named: what may be asked, and what a hostile server gets out of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest

import publishing
from domsec.gateway import http_get
from domsec.gateway.http_get import FetchFailed, Got, Guard, get
from domsec.policy.kinds import NETWORKS, Networks

LOOPBACK: Networks = NETWORKS.convert(["127.0.0.0/8"], Path())
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(*answers: bytes | Answer) -> AsyncIterator[int]:
    """One that answers each connection with the next of these."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = left.pop(0)
        try:
            await reader.readuntil(b"\r\n\r\n")
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def fetched(*answers: bytes | Answer, size: int = 1000, uri: str = "http://127.0.0.1:{port}/") -> Got:
    async def test() -> Got:
        async with server(*answers) as port:
            return await get(uri.format(port=port), Guard(frozenset({port}), LOOPBACK), size=size)

    return asyncio.run(test())


def ok(body: bytes, *fields: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *fields, "", ""]).encode() + body


# --- where one may go ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.5.4", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("fec0::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::10.0.0.1", False),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False),
        ("no address", False),
    ],
)
def test_only_public_addresses_are_asked(address: str, admitted: bool) -> None:
    assert Guard().admits(address) is admitted


def test_addresses_that_are_agreed_on_are_asked_too() -> None:
    guard = Guard(networks=NETWORKS.convert(["10.1.0.0/16", "fd00::/64"], Path()))
    asked = ("10.1.2.3", "fd00::5", "::ffff:10.1.2.3", "10.2.0.1", "127.0.0.1")
    assert [guard.admits(each) for each in asked] == [True, True, True, False, False]


@pytest.mark.parametrize(
    "uri",
    [
        "https://127.0.0.1/",
        "file:///etc/passwd",
        "ldap://127.0.0.1/",
        "http://",
        "http://user@127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\r\nX: y",
        "http://127.0.0.1/ä",
        "http://[::1",
    ],
)
def test_what_is_no_clean_uri_of_http_is_not_asked(uri: str) -> None:
    with pytest.raises(FetchFailed, match="not a URI of http"):
        asyncio.run(get(uri, Guard(networks=LOOPBACK)))


def test_a_host_that_leads_to_ourselves_is_not_asked() -> None:
    async def test() -> None:
        async with server() as port:
            for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1"):
                with pytest.raises(FetchFailed, match="no address"):
                    await get(f"http://{host}:{port}/", Guard(frozenset({port})))

    asyncio.run(test())


def test_name_servers_that_do_not_answer_keep_nothing_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def silent(*_: object, **__: object) -> list[object]:
        answered.wait(60)
        return []

    async def test() -> None:
        monkeypatch.setattr("socket.getaddrinfo", silent)
        asking = [asyncio.create_task(get(f"http://h{n}.example/", Guard())) for n in range(64)]
        try:
            async with asyncio.timeout(20):
                await asyncio.sleep(0)
                assert await asyncio.to_thread(lambda: "done") == "done"
        finally:
            answered.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(each, FetchFailed) for each in found)

    asyncio.run(test())


def test_another_port_is_not_asked() -> None:
    with pytest.raises(FetchFailed, match="port 25 may not be asked"):
        asyncio.run(get("http://127.0.0.1:25/", Guard(networks=LOOPBACK)))


# --- what comes ------------------------------------------------------------------------------------------------------


def test_a_real_server_is_asked_only_for_what_changed(tmp_path: Path) -> None:
    async def test(ca: publishing.Publisher) -> None:
        guard = Guard(frozenset({ca.port}), LOOPBACK)
        ca.put(b"one")
        got = await get(ca.uri, guard)
        assert got.octets == b"one"
        assert got.modified
        assert await get(ca.uri, guard, modified=got.modified) == Got(None)
        ca.put(b"two")
        assert (await get(ca.uri, guard, modified=got.modified)).octets == b"two"
        with pytest.raises(FetchFailed, match="the server says 404"):
            await get(ca.uri + "x", guard)

    with publishing.ca(tmp_path) as ca:
        asyncio.run(test(ca))


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (ok(b"body", "Content-Length: 4"), b"body"),
        (ok(b"until the end"), b"until the end"),
        (ok(b"4\r\nbody\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), b"body"),
        (b"HTTP/1.0 200 OK\n\nbody", b"body"),
    ],
)
def test_every_way_to_say_where_it_ends(answer: bytes, body: bytes) -> None:
    assert fetched(answer).octets == body


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "no answer of HTTP"),
        (b"220 mail.example ESMTP\r\n", "no answer of HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "no answer of HTTP"),
        (ok(b"bo", "Content-Length: 4"), "the answer is cut short"),
        (ok(b"zz\r\n", "Transfer-Encoding: chunked"), "the answer is cut short"),
        (b"HTTP/1.1 500 No\r\n\r\n", "the server says 500"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 65_600 + b"\r\n\r\n", "no answer of HTTP"),
    ],
)
def test_what_is_no_answer_is_a_failure(answer: bytes, reason: str) -> None:
    with pytest.raises(FetchFailed, match=reason):
        fetched(answer)


@pytest.mark.parametrize(("length", "taken"), [(1000, True), (1001, False)])
def test_no_more_is_taken_than_was_agreed(length: int, taken: bool) -> None:
    if taken:
        assert fetched(ok(bytes(length))).octets == bytes(length)
    else:
        with pytest.raises(FetchFailed, match="more than 1000 octets"):
            fetched(ok(bytes(length)))


def test_a_server_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(10_000))
            sent += 10_000
            await writer.drain()

    monkeypatch.setattr(http_get, "HEADERS", 1000)
    with pytest.raises(FetchFailed, match="more than 2000 octets"):
        fetched(endless)
    assert sent < 20_000_000


def test_a_server_that_takes_its_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for octet in ok(bytes(1000)):
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(0.05)

    monkeypatch.setattr(http_get, "WHOLE", 0.3)
    with pytest.raises(FetchFailed, match="it took too long"):
        fetched(dripping)


def test_what_came_is_put_together_while_mail_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body in chunks of one octet takes long."""
    threads: list[threading.Thread] = []
    taken = http_get._taken

    def seen(answer: HTTPResponse, size: int, *, conditional: bool) -> Got:
        threads.append(threading.current_thread())
        return taken(answer, size, conditional=conditional)

    monkeypatch.setattr(http_get, "_taken", seen)
    assert fetched(ok(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n", "Transfer-Encoding: chunked")).octets == b"ab"
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("length", [http_get.LABEL, http_get.LABEL + 1])
def test_what_a_server_calls_its_state_is_kept_only_if_it_is_short(length: int) -> None:
    label = "x" * length
    got = fetched(ok(b"list", f"ETag: {label}", f"Last-Modified: {label}"))
    kept = label if length <= http_get.LABEL else ""
    assert got == Got(b"list", kept, kept)
    assert fetched(ok(b"list", "ETag: \xff")).etag == ""


def test_nothing_new_is_no_answer_to_who_has_nothing() -> None:
    with pytest.raises(FetchFailed, match="the server says 304"):
        fetched(b"HTTP/1.1 304 Not Modified\r\n\r\n")


# --- redirections ----------------------------------------------------------------------------------------------------


def moved(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n".encode()


def test_a_redirection_is_followed() -> None:
    assert fetched(moved("/other"), ok(b"here")).octets == b"here"


def test_redirections_have_an_end() -> None:
    assert fetched(*[moved("/other")] * http_get.REDIRECTIONS, ok(b"here")).octets == b"here"
    with pytest.raises(FetchFailed, match="more than 3 redirections"):
        fetched(*[moved("/other")] * (http_get.REDIRECTIONS + 1))


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("http://10.0.0.1:{port}/", "no address that may be asked"),
        ("http://169.254.169.254:{port}/latest/meta-data", "no address that may be asked"),
        ("http://127.0.0.1:22/", "port 22 may not be asked"),
        ("file:///etc/passwd", "not a URI of http"),
        ("https://127.0.0.1/", "not a URI of http"),
        ("http://[", "redirected to what is no URI"),
    ],
)
def test_a_redirection_leads_nowhere_one_may_not_go(to: str, reason: str) -> None:
    async def test() -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            port = writer.get_extra_info("sockname")[1]
            writer.write(moved(to.format(port=port)))

        async with server(answer) as port:
            with pytest.raises(FetchFailed, match=reason):
                await get(f"http://127.0.0.1:{port}/", Guard(frozenset({port}), LOOPBACK))

    asyncio.run(test())
