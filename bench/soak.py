"""A steady load through a gateway for as long as one likes: its memory has to be flat (`python -m bench soak`).

Every second some mail goes out, signed and encrypted, one large message among it, and some comes in, decrypted and
verified, from somebody else each time. Measured is what each process has for itself (`measure.anonymous`).

Judged is the median of the last quarter of the time against that of the second; the first is for warming up: pools,
caches, connections. LIMIT is what the allocator may keep of the largest messages, which stays the same however long it
goes on: 60 seconds find a leak of a KB for each message, ten minutes one of a hundred octets.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import gateway, library, world
from bench.measure import anonymous
from domsec.mime import fields
from domsec.services import encrypt

RATE = 40  # messages a second in each direction: two shared cores keep up with it
LARGE = 1024 * 1024  # octets of one message a second, which goes through a spool file
LIMIT = 3 * 1024 * 1024  # octets, and of what there was before:
SHARE = 0.05
FEWEST = 20  # seconds, so that a quarter has samples


@dataclass(frozen=True, slots=True)
class Grown:
    """The memory of one process: medians of quarters, in octets."""

    name: str
    before: float
    after: float

    @property
    def by(self) -> float:
        return self.after - self.before

    @property
    def flat(self) -> bool:
        return self.by <= max(LIMIT, SHARE * self.before)


def judge(name: str, samples: Sequence[int]) -> Grown:
    quarter = len(samples) // 4
    return Grown(name, statistics.median(samples[quarter : 2 * quarter]), statistics.median(samples[-quarter:]))


def main(arguments: Sequence[str]) -> int:
    seconds = max(FEWEST, int(arguments[arguments.index("--seconds") + 1]) if "--seconds" in arguments else 60)
    with (
        gateway._folder() as folder,
        gateway.sink() as sink,
        gateway._gateway(folder, sink, sign=True, encrypt="dca") as running,
    ):
        samples, sent = _run(seconds, folder, running)
    return _report(samples, sent, seconds)


def _run(seconds: int, folder: Path, running: gateway.Running) -> tuple[Mapping[int, list[int]], int]:
    """The samples of each process, and how many messages went through."""
    pids = [running.pid, *gateway.children(running.pid)]
    samples: dict[int, list[int]] = {pid: [] for pid in pids}
    sent = 0
    begin = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        for second in range(seconds):
            time.sleep(max(0.0, begin + second - time.monotonic()))
            sent += sum(pool.map(lambda batch: _send(*batch), _batches(folder, running, second)))
            if [running.pid, *gateway.children(running.pid)] != pids:
                raise RuntimeError("a worker has ended")
            for pid in pids:
                samples[pid].append(anonymous(pid))
    return samples, sent


_Batch = tuple[int, str, Path, int]  # port, to, file, how many


def _batches(folder: Path, running: gateway.Running, second: int) -> Iterator[_Batch]:
    """What is sent in one second. No two seconds have the same people."""

    def file(name: str, octets: bytes) -> Path:
        path = folder / f"{name}.eml"
        path.write_bytes(octets.replace(b"\r\n", b"\n"))
        return path

    def message(size: int) -> bytes:
        return world.message(size).replace(b"alice@", f"person{second}@".encode())

    yield running.outbound, "bob@beta.example", file("small", message(gateway.SIZE)), RATE
    yield running.outbound, "bob@beta.example", file("large", message(LARGE)), 1
    yield running.inbound, "bob@acme.example", file("sealed", _sealed(message(gateway.SIZE))), RATE


def _sealed(octets: bytes) -> bytes:
    """As a partner would send it."""
    signed = bytes(library._domain_signer(octets, "rsa2048")())
    authority = world.held("confidentiality", "acme.example", "rsa2048").credential.certificate
    return bytes(
        fields.replace_entity(
            fields.split_message(signed)[0], bytes(encrypt.encrypt(fields.entity_of(signed), [authority]))
        )
    )


def _send(port: int, to: str, mail: Path, count: int) -> int:
    command = ["smtp-source", "-d", "-s", "4", "-m", str(count), "-f", "alice@acme.example", "-t", to, "-F", str(mail)]
    subprocess.run([*command, f"127.0.0.1:{port}"], check=True)
    return count


def _report(samples: Mapping[int, Sequence[int]], sent: int, seconds: int) -> int:
    grown = [judge("worker" if number else "parent", of) for number, of in enumerate(samples.values())]
    between = sent / 2  # messages from the middle of the second quarter to the middle of the last one
    print(f"{sent} messages in {seconds} s")
    print(f"{'process':<10}{'2nd quarter':>14}{'last quarter':>14}{'a message':>14}")
    for each in grown:
        slope = f"{each.by / between:+.0f} B"
        words = "" if each.flat else "  GROWS"
        print(f"{each.name:<10}{each.before / 1e6:>11.1f} MB{each.after / 1e6:>11.1f} MB{slope:>14}{words}")
    return 0 if all(each.flat for each in grown) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
