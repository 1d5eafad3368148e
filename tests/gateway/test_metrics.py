"""domsec.gateway.metrics: rows of several workers, one page."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from pathlib import Path

from domsec.gateway import metrics
from domsec.gateway.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]


def test_rows_are_added_up_across_processes() -> None:
    shared = Metrics(2)
    shared.counters(0).add("delivered", 2)
    pid = os.fork()
    if pid == 0:
        shared.counters(1).add("delivered", 3)
        os._exit(0)
    os.waitpid(pid, 0)
    assert shared.total("delivered") == 5
    assert 'domsec_recipients_total{result="delivered"} 5\n' in shared.text()


def test_a_dead_worker_leaves_its_counters_and_no_gauges() -> None:
    row = Metrics().counters()
    row.add("delivered")
    row.set("in_flight", 7)
    row.clear_gauges()
    assert (row.get("delivered"), row.get("in_flight")) == (1, 0)


def test_each_name_has_one_help_and_one_type() -> None:
    lines = Metrics().text().splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    assert all(line.startswith(("#", "domsec_")) for line in lines)


def test_every_name_is_explained() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    names = {line.split()[2] for line in Metrics().text().splitlines() if line.startswith("# TYPE")}
    assert {name for name in names if f"`{name}" not in page} == set()
    assert set(re.findall(r"`(domsec_[a-z_]+)[{`]", page)) <= names


def test_the_page_answers_and_a_bad_request_does_no_harm() -> None:
    async def ask(port: int, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    async def run() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        why: list[str | None] = [None]
        server = await metrics.serve(sock, Metrics().text, lambda: why[0])
        assert b"domsec_messages_total" in await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")
        assert b"200 OK" in await ask(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")
        why[0] = "draining"
        assert b"503 " in await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")
        assert b"404 " in await ask(port, b"GET /../etc HTTP/1.1\r\n\r\n")
        assert b"405 " in await ask(port, b"POST /metrics HTTP/1.1\r\n\r\n")
        assert await ask(port, b"x" * 20000 + b"\r\n\r\n") == b""
        server.close()

    asyncio.run(run())
