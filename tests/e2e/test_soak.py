"""Memory is flat under a steady load (`make soak SECONDS=600` for ten minutes of it)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = os.environ.get("DOMSEC_SOAK_SECONDS", "60")

# the benchmarks are not installed, so they are asked for from where they are
_JUDGED = """
import sys
from bench.soak import LIMIT, judge
flat = judge("a", [20_000_000 + second % 3 * 100_000 + min(second, 10) * 2_000_000 for second in range(40)])
grows = judge("b", [20_000_000 + second * LIMIT // 10 for second in range(40)])
sys.exit(0 if flat.flat and not grows.flat else 1)
"""


def bench(*arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)


def test_warming_up_is_no_leak_and_growing_on_is_one():
    assert bench("-c", _JUDGED, seconds=60).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(200 + int(SECONDS))
def test_memory_is_flat():
    if not (shutil.which("smtp-source") and shutil.which("smtp-sink")):
        pytest.skip("smtp-source is not installed (Debian package postfix)")
    done = bench("-m", "bench", "soak", "--seconds", SECONDS, seconds=180 + int(SECONDS))
    print(done.stdout, done.stderr)
    assert done.returncode == 0
