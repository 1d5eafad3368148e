"""A next hop as a process of its own, which fails when it is told to: `tests/sink.py` behind a port that stays.

What it got whole is in a file before it answers, so that it outlives a kill. It is told what to do by lines of JSON on
its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.wire import free_ports
from sink import Mail, Sink


@dataclass(frozen=True)
class Arrived:
    """One message as it came, with the address of its first recipient."""

    to: str
    content: bytes


class NextHop:
    """The process, and what it got in all its lives."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.journal = folder / "next-hop.journal"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        command = [sys.executable, "-m", "e2e.next_hop", str(self.port), str(self.journal)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                with contextlib.suppress(OSError):
                    stream.close()

    def tell(self, **order: object) -> None:
        """`answers` and `final` as `Sink` has them, `close_at` a command once, `hang` before the reply to a message."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def arrived(self) -> Iterator[Arrived]:
        if self.journal.exists():
            with self.journal.open("rb") as journal:
                while head := journal.readline():
                    stated = json.loads(head)
                    yield Arrived(stated["to"], journal.read(stated["size"]))


class _Journal(list[Mail]):
    def __init__(self, file: int) -> None:
        super().__init__()
        self._file = file

    def append(self, mail: Mail) -> None:
        to = mail.recipients[0].partition(">")[0].removeprefix("<")
        head = json.dumps({"to": to, "size": len(mail.content)}).encode()
        os.write(self._file, head + b"\n" + mail.content)  # at once: a kill leaves no half of it


async def _run(port: int, journal: str) -> None:
    sink = Sink(port=port)
    sink.mails = _Journal(os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with sink:
        print("ready", flush=True)
        while line := await reader.readline():
            _obey(sink, json.loads(line))


def _obey(sink: Sink, order: dict[str, Any]) -> None:
    sink.answers = order.get("answers", {})
    sink.final = order.get("final", {})
    sink.close_at = order.get("close_at", "")
    if order.get("hang"):
        sink.gate = asyncio.Event()
    elif sink.gate is not None:
        sink.gate.set()
        sink.gate = None
    sink.commands.clear()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), sys.argv[2]))
