"""Run the cases and write what was measured (CONTRACT.md section 7).

python -m bench [PREFIX ...]     the cases whose names begin so, or all: a table, and bench/results.json
python -m bench --page           docs/performance.md from the results of the last run
python -m bench soak             a steady load (bench/soak.py)
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench import gateway, keys, library, peers, postfix, scaling, soak, stores, trust
from bench.library import Case
from bench.measure import Result

RESULTS = Path(__file__).parent / "results.json"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
DAY = 24 * 60 * 60  # seconds
BEGIN, END = "<!-- results of bench -->\n", "<!-- end -->\n"


def main(wanted: list[str]) -> int:
    if wanted[:1] == ["soak"]:
        return soak.main(wanted[1:])
    if wanted == ["--page"]:
        PAGE.write_text(with_results(PAGE.read_text(), [Result(**each) for each in json.loads(RESULTS.read_text())]))
        return 0
    results: list[Result] = []
    print(HEAD)
    try:
        for name, measure in available():
            if wanted and not any(name.startswith(prefix) for prefix in wanted):
                continue
            for result in measure():
                results.append(result)
                print(line(result), flush=True)
    finally:  # a case that fails does not take the others with it
        RESULTS.write_text(json.dumps([dataclasses.asdict(r) for r in results], indent=1) + "\n")
    return 0


def available() -> Iterator[Case]:
    """Every case that can be measured here; on stderr, which can't, and why."""
    suites = [library.cases(), keys.cases(), scaling.cases(), trust.cases(), stores.cases(), peers.cases()]
    for without in (keys.missing(), peers.missing("openssl_cms"), peers.missing("bouncycastle")):
        if without:
            print(without, file=sys.stderr)
    if shutil.which("smtp-source") and shutil.which("smtp-sink"):
        suites.append(gateway.cases())
    else:
        print("smtp-source is missing (Debian package postfix): the gateway is not measured", file=sys.stderr)
    if without := postfix.missing():
        print(f"{without}: domsec behind Postfix is not measured", file=sys.stderr)
    else:
        suites.append(postfix.cases())
    return itertools.chain.from_iterable(suites)


HEAD = f"{'case':<44}{'value':>14}  {'limit':>14}  {'ratio':>6}  unit"


def line(result: Result) -> str:
    limit = f"{result.limit:,.0f}" if result.limit else "-"
    ratio = f"{result.ratio:.2f}" if result.ratio is not None else "-"
    return f"{result.name:<44}{result.value:>14,.0f}  {limit:>14}  {ratio:>6}  {result.unit}"


def with_results(page: str, results: Iterable[Result]) -> str:
    """A page with the results, a table for each first part of a name, between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = []
    for suite, group in itertools.groupby(results, lambda result: result.name.partition(".")[0]):
        rows = [f"| {' | '.join(_cells(result))} |" for result in group]
        head = "| case | value | limit | ratio | unit |\n|---|---:|---:|---:|---|"
        tables.append("\n".join([f"### {suite}\n", head, *rows, ""]))
    return before + BEGIN + "\n".join(tables) + END + after


def _cells(result: Result) -> list[str]:
    """As in the line; beside messages a second stands what that is in a day."""
    *cells, unit = line(result).split()
    if unit == "msg/s":
        unit += f" ({result.value * DAY / 1e6:,.1f} million a day)"
    return [*cells, unit]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
