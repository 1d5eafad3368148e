"""Counters of all workers in shared memory, and the page that shows them (Prometheus text format 0.0.4).

Each worker writes its own row of one anonymous mapping, so no lock is needed; a reader adds the rows up. A worker that
takes over the row of a dead one counts on from there, so counters never go back. What every worker sees alike, a level,
is not added up: the highest counts.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable
from typing import Final, Literal

# what mail needs, and what is said where it is not there (`domsec.gateway.health`)
NEEDS: Final[dict[str, str]] = {
    "store": "the store does not answer",
    "audit": "the audit trail cannot be kept",
    "room": "there is no room on a disk",
    "keys": "the key process does not answer",
    "next_hop": "a next hop does not answer",
}

# key: (name, labels, kind, help). Durations are counted in microseconds and shown in seconds.
_ROWS: Final[dict[str, tuple[str, str, Literal["counter", "gauge", "level", "seconds"], str]]] = {
    "connections": ("domsec_connections_total", "", "counter", "connections accepted"),
    "connections_refused": (
        "domsec_connections_refused_total",
        "",
        "counter",
        "connections refused by limit or client",
    ),
    "connections_open": ("domsec_connections", "", "gauge", "connections open"),
    "in_flight": ("domsec_in_flight_bytes", "", "gauge", "octets of messages being received or processed"),
    "messages_outbound": ("domsec_messages_total", 'direction="outbound"', "counter", "messages received"),
    "messages_inbound": ("domsec_messages_total", 'direction="inbound"', "counter", "messages received"),
    "bytes_in": ("domsec_received_bytes_total", "", "counter", "octets of messages received"),
    "bytes_out": ("domsec_sent_bytes_total", "", "counter", "octets of messages handed to the next hop"),
    "delivered": ("domsec_recipients_total", 'result="delivered"', "counter", "recipients by result"),
    "held": ("domsec_recipients_total", 'result="held"', "counter", "recipients by result"),
    "marked": ("domsec_recipients_total", 'result="marked"', "counter", "recipients by result"),
    "discarded": ("domsec_recipients_total", 'result="discarded"', "counter", "recipients by result"),
    "deferred": ("domsec_recipients_total", 'result="deferred"', "counter", "recipients by result"),
    "refused": ("domsec_recipients_total", 'result="refused"', "counter", "recipients by result"),
    "shadow": ("domsec_shadow", "", "level", "1 where all mail passes as it came, and is only judged"),
    "shadow_relay": ("domsec_shadow_recipients_total", 'result="relay"', "counter", "what would have become of them"),
    "shadow_hold": ("domsec_shadow_recipients_total", 'result="hold"', "counter", "what would have become of them"),
    "shadow_refuse": ("domsec_shadow_recipients_total", 'result="refuse"', "counter", "what would have become of them"),
    "shadow_defer": ("domsec_shadow_recipients_total", 'result="defer"', "counter", "what would have become of them"),
    "shadow_discard": (
        "domsec_shadow_recipients_total",
        'result="discard"',
        "counter",
        "what would have become of them",
    ),
    "unopened": ("domsec_decryption_failures_total", "", "counter", "messages to our keys that did not decrypt"),
    "alarms": ("domsec_decryption_alarms_total", "", "counter", "times that these were too many of a key or a client"),
    "lookups": ("domsec_lookups_total", "", "counter", "questions for directories that mail had to wait for"),
    "errors": ("domsec_errors_total", "", "counter", "exceptions that no code expected"),
    "handler_us": ("domsec_processing_seconds_total", "", "seconds", "time spent deciding"),
    "relay_us": ("domsec_next_hop_seconds_total", "", "seconds", "time spent waiting for the next hop"),
    "relay_connections": ("domsec_next_hop_connections_total", "", "counter", "connections made to the next hop"),
    "relay_retries": ("domsec_next_hop_retries_total", "", "counter", "kept connections found closed"),
    "harvested": ("domsec_certificates_harvested_total", "", "counter", "certificates that mail brought and we kept"),
    "harvest_full": ("domsec_certificates_not_kept_total", "", "counter", "certificates that there was no room for"),
    "approved": ("domsec_certificates", 'state="approved"', "level", "certificates in the store"),
    "quarantined": ("domsec_certificates", 'state="quarantined"', "level", "certificates in the store"),
    "expiring": ("domsec_certificates_expiring", "", "level", "approved ones that end within trust.expiry_alarm days"),
    "end_signing": (
        "domsec_own_certificate_not_after_seconds",
        'role="signing"',
        "level",
        "when our certificate ends, in Unix time",
    ),
    "end_confidentiality": (
        "domsec_own_certificate_not_after_seconds",
        'role="confidentiality"',
        "level",
        "when our certificate ends, in Unix time",
    ),
    "fetches_new": (
        "domsec_revocation_fetches_total",
        'result="new"',
        "counter",
        "revocation lists and OCSP responses",
    ),
    "fetches_same": (
        "domsec_revocation_fetches_total",
        'result="unchanged"',
        "counter",
        "revocation lists and OCSP responses",
    ),
    "fetches_failed": (
        "domsec_revocation_fetches_total",
        'result="failed"',
        "counter",
        "revocation lists and OCSP responses",
    ),
    "revocation_places": ("domsec_revocation_places", "", "gauge", "places of revocation that are kept fresh"),
    "revocation_stale": ("domsec_revocation_stale", "", "gauge", "of these, those of which nothing current is known"),
    "revocation_octets": ("domsec_revocation_octets", "", "gauge", "octets of all that was fetched from them"),
    **{
        f"down_{name}": ("domsec_unavailable", f'what="{name}"', "level", "1 where a worker misses what mail needs")
        for name in NEEDS
    },
    "ready": ("domsec_workers_ready", "", "gauge", "workers that take mail"),
}
_INDEX: Final = {key: number for number, key in enumerate(_ROWS)}


class Counters:
    """The row of one worker."""

    __slots__ = ("_row",)

    def __init__(self, row: memoryview) -> None:
        self._row = row

    def add(self, key: str, amount: int = 1) -> None:
        self._row[_INDEX[key]] += amount

    def set(self, key: str, value: int) -> None:
        self._row[_INDEX[key]] = value

    def get(self, key: str) -> int:
        return int(self._row[_INDEX[key]])

    def clear_gauges(self) -> None:
        """What a dead worker left behind is no longer so."""
        for key, (_, _, kind, _) in _ROWS.items():
            if kind in ("gauge", "level"):
                self.set(key, 0)


class Metrics:
    """The rows of all workers. Made before the fork."""

    def __init__(self, rows: int = 1) -> None:
        self._memory = mmap.mmap(-1, max(rows * len(_ROWS) * 8, mmap.PAGESIZE))
        self._numbers = memoryview(self._memory).cast("q")
        self.rows = rows

    def counters(self, row: int = 0) -> Counters:
        if not 0 <= row < self.rows:
            raise IndexError(row)
        return Counters(self._numbers[row * len(_ROWS) : (row + 1) * len(_ROWS)])

    def total(self, key: str) -> int:
        of_rows = [self._numbers[_INDEX[key] + row * len(_ROWS)] for row in range(self.rows)]
        return max(of_rows) if _ROWS[key][2] == "level" else sum(of_rows)

    def missing(self) -> str | None:
        """What any worker has not got of what mail needs, in words; None if nothing."""
        return "; ".join(words for name, words in NEEDS.items() if self.total(f"down_{name}")) or None

    def text(self) -> str:
        """All of it in Prometheus text format."""
        lines = []
        seen = set()
        for key, (name, labels, kind, text) in _ROWS.items():
            if name not in seen:
                seen.add(name)
                lines += [
                    f"# HELP {name} {text}",
                    f"# TYPE {name} {'gauge' if kind in ('gauge', 'level') else 'counter'}",
                ]
            value = self.total(key)
            lines.append(f"{name}{f'{{{labels}}}' if labels else ''} {value / 1e6 if kind == 'seconds' else value}")
        return "\n".join(lines) + "\n"


async def serve(sock: socket.socket, text: Callable[[], str], ready: Callable[[], str | None]) -> asyncio.Server:
    """Answer GET /metrics, /healthz and /readyz. `ready` gives None or why not."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_page(request, text, ready))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(answer, sock=sock, limit=8192)


def _page(request: bytes, text: Callable[[], str], ready: Callable[[], str | None]) -> bytes:
    method, _, rest = request.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    status, body = "404 Not Found", "not found\n"
    if method not in (b"GET", b"HEAD"):
        status, body = "405 Method Not Allowed", "only GET\n"
    elif path == b"/metrics":
        status, body = "200 OK", text()
    elif path == b"/healthz":
        status, body = "200 OK", "ok\n"
    elif path == b"/readyz":
        why = ready()
        status, body = ("200 OK", "ok\n") if why is None else ("503 Service Unavailable", f"{why}\n")
    content = body.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == b"HEAD" else content)
