"""Timing that survives a shared machine: processor time, best of short batches, limit and subject in turns."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

Clock = Callable[[], float]
ROUNDS = 25
_STATUS = Path("/proc/self/status")
BATCH = 0.02  # seconds of processor time a batch should take


@dataclass(frozen=True, slots=True)
class Result:
    """One line of `bench/results.json`."""

    name: str
    value: float
    unit: str
    limit: float | None
    ratio: float | None
    n: int


def _batch(act: Callable[[], object], clock: Clock) -> int:
    """How many calls make a batch long enough to time."""
    count = 1
    while True:
        begin = clock()
        for _ in range(count):
            act()
        taken = clock() - begin
        if taken > BATCH / 4:
            return max(1, int(count * BATCH / taken))
        count *= 4


def best(
    *acts: Callable[[], object], rounds: int = ROUNDS, clock: Clock = time.process_time
) -> tuple[list[float], int]:
    """Seconds for each act, by default of processor time: the best batch of each, and how many calls the first had."""
    counts = [_batch(act, clock) for act in acts]
    found = [float("inf")] * len(acts)
    for _ in range(rounds):
        for i, act in enumerate(acts):
            begin = clock()
            for _ in range(counts[i]):
                act()
            found[i] = min(found[i], (clock() - begin) / counts[i])
    return found, counts[0] * rounds


def rate(
    name: str, act: Callable[[], object], limit: Callable[[], object], *, clock: Clock = time.process_time
) -> Result:
    """Acts per second of one core, and the limit's."""
    (subject, raw), n = best(act, limit, clock=clock)
    return Result(name, 1 / subject, "1/s", 1 / raw, raw / subject, n)


def peak(act: Callable[[], object]) -> int:
    """Octets of memory that an act has at its worst, above what this process had before. Files that it maps count."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
    before = _octets(_STATUS, "VmRSS")
    act()
    return _octets(_STATUS, "VmHWM") - before


def anonymous(pid: int) -> int:
    """Octets that a process has for itself: neither pages it shares nor mapped spool files count to them."""
    return _octets(Path(f"/proc/{pid}/smaps_rollup"), "Anonymous")


def _octets(page: Path, name: str) -> int:
    for line in page.read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise LookupError(name)


def everywhere(*acts: Callable[[], object], seconds: float = 1.5) -> float:
    """How often a second all cores together do these acts, one after the other. Two threads of a core share it."""
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("fork")) as pool:
        _FORKED[:] = acts
        return sum(pool.map(_count, [seconds] * cores))


_FORKED: list[Callable[[], object]] = []


def _count(seconds: float) -> float:
    begin = time.perf_counter()
    done = 0
    while (now := time.perf_counter()) < begin + seconds:
        for act in _FORKED:
            act()
        done += 1
    return done / (now - begin)
