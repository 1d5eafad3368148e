"""GET of a small thing by HTTP from hosts that somebody else named: bounded in size and time, and not everywhere.

The URIs stand in certificates, so whoever issues one could have us ask things of hosts that only we can reach. Every
address is looked at before it is connected to, and it is that address that is connected to, not the name again. What
came is parsed by `http.client`, when all of it is there.
"""

from __future__ import annotations

import asyncio
import functools
import http.client
import io
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import SplitResult, urljoin, urlsplit

from domsec.errors import DomsecError
from domsec.policy.kinds import Networks

SIZE: Final = 32 * 1024 * 1024
HEADERS: Final = 64 * 1024  # that come on top of SIZE
CONNECT: Final = 10.0  # seconds for a name and a connection
WHOLE: Final = 60.0  # seconds for everything, redirections included
REDIRECTIONS: Final = 3
LABEL: Final = 256  # octets of an ETag or a time that are worth keeping

# Threads of our own: a name server that does not answer keeps one for long after we gave up, and mail needs the others.
_NAMES: Final = ThreadPoolExecutor(4, "names")
_CHUNK: Final = 64 * 1024
_REDIRECTED: Final = frozenset({301, 302, 303, 307, 308})
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class FetchFailed(DomsecError):
    """What was to be fetched did not come, or may not be asked for. The text is safe to log."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Where one may go: public addresses and those of `networks`, and these ports."""

    ports: frozenset[int] = frozenset({80})
    networks: Networks = field(default_factory=Networks)

    def admits(self, address: str) -> bool:
        """Whether a numeric address may be connected to. What is wrapped in an IPv6 address counts as what it is."""
        try:
            given = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        found = _unwrapped(given)
        if str(found) in self.networks:
            return True
        inside = found.is_multicast or found.is_reserved or found.is_unspecified
        return found.is_global and not inside and not (found.version == 6 and found.is_site_local)


@dataclass(frozen=True, slots=True)
class Got:
    """An answer. `octets` is None where nothing changed."""

    octets: bytes | None
    etag: str = ""
    modified: str = ""


async def get(uri: str, guard: Guard, *, etag: str = "", modified: str = "", size: int = SIZE) -> Got:
    """Fetch what stands at an http URI; with `etag` or `modified` only if it changed. Raises FetchFailed."""
    try:
        async with asyncio.timeout(WHOLE):
            for _ in range(REDIRECTIONS + 1):
                parts = _split(uri)
                answer = await _ask(parts, guard, _conditions(etag, modified), size)
                if answer.status not in _REDIRECTED:
                    # 32 MB in chunks of one octet take ten seconds, in which mail is to go on
                    return await asyncio.to_thread(_taken, answer, size, conditional=bool(_conditions(etag, modified)))
                uri = _led_to(uri, answer.headers.get("Location", ""))
    except TimeoutError:
        raise FetchFailed("it took too long") from None
    raise FetchFailed(f"more than {REDIRECTIONS} redirections")


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        usable = parts.scheme == "http" and parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:
        usable = False
    if not usable or not uri.isascii() or not uri.isprintable() or " " in uri:
        raise FetchFailed("not a URI of http")
    return parts


def _led_to(uri: str, location: str) -> str:
    try:
        return urljoin(uri, location)
    except ValueError:
        raise FetchFailed("redirected to what is no URI") from None


def _conditions(etag: str, modified: str) -> list[tuple[str, str]]:
    stated = (("If-None-Match", etag), ("If-Modified-Since", modified))
    return [(name, value) for name, value in stated if _keepable(value)]


def _keepable(value: str) -> str:
    """What a server calls the state of a thing, if it can be sent back to it; it is kept, so it is short."""
    return value if value.isascii() and value.isprintable() and len(value) <= LABEL else ""


async def _ask(
    parts: SplitResult, guard: Guard, conditions: list[tuple[str, str]], size: int
) -> http.client.HTTPResponse:
    host, port = parts.hostname or "", parts.port or 80
    if port not in guard.ports:
        raise FetchFailed(f"port {port} may not be asked")
    reader, writer = await _connected(host, port, guard)
    try:
        writer.write(_request(parts, host, port, conditions))
        await writer.drain()
        octets = await _everything(reader, size + HEADERS)
    except OSError as error:
        raise FetchFailed(f"the connection broke: {error.strerror or type(error).__name__}") from None
    finally:
        writer.close()
    return _parsed(octets)


async def _connected(host: str, port: int, guard: Guard) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address of a host that may be connected to and answers."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT):
            asking = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            found = await loop.run_in_executor(_NAMES, asking)
    except (OSError, UnicodeError, TimeoutError):
        raise FetchFailed("the host has no address") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [address for address in addresses if guard.admits(address)]
    if not allowed:
        raise FetchFailed("the host has no address that may be asked")
    for address in allowed[:4]:
        try:
            async with asyncio.timeout(CONNECT):
                return await asyncio.open_connection(address, port, limit=_CHUNK)
        except (OSError, TimeoutError):
            continue
    raise FetchFailed("no address of the host answers")


def _request(parts: SplitResult, host: str, port: int, conditions: list[tuple[str, str]]) -> bytes:
    """Of HTTP/1.0, so that the end of the answer is that of the connection, and nothing comes in chunks."""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    named = f"[{host}]" if ":" in host else host
    lines = [
        f"GET {target} HTTP/1.0",
        f"Host: {named}" + ("" if port == 80 else f":{port}"),
        "User-Agent: domsec",
        "Accept: */*",
        "Connection: close",
        *(f"{name}: {value}" for name, value in conditions),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


async def _everything(reader: asyncio.StreamReader, most: int) -> bytes:
    found = bytearray()
    while chunk := await reader.read(_CHUNK):
        found += chunk
        if len(found) > most:
            raise FetchFailed(f"more than {most} octets")
    return bytes(found)


class _Whole:
    """What `http.client` wants of a socket, over octets that are all there."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._octets)


def _parsed(octets: bytes) -> http.client.HTTPResponse:
    answer = http.client.HTTPResponse(cast(socket.socket, _Whole(octets)), method="GET")
    try:
        answer.begin()
    except (http.client.HTTPException, ValueError, OSError):
        raise FetchFailed("no answer of HTTP") from None
    return answer


def _taken(answer: http.client.HTTPResponse, size: int, *, conditional: bool) -> Got:
    if answer.status == http.client.NOT_MODIFIED and conditional:
        return Got(None)
    if answer.status != http.client.OK:
        raise FetchFailed(f"the server says {answer.status}")
    try:
        octets = answer.read()
    except (http.client.HTTPException, ValueError, OSError):
        raise FetchFailed("the answer is cut short") from None
    if len(octets) > size:
        raise FetchFailed(f"more than {size} octets")
    etag, modified = (_keepable(answer.headers.get(name, "")) for name in ("ETag", "Last-Modified"))
    return Got(octets, etag, modified)


def _unwrapped(address: Address) -> Address:
    """The IPv4 address in one of IPv6 that leads to it: mapped, 6to4, Teredo, NAT64 (RFC 4291, 3056, 4380, 6052)."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    inside = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    return inside or address
