"""Run the cases and write what was measured (CONTRACT.md section 7)."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

from bench import gateway, keys, library, postfix, scaling, soak, stores, trust
from bench.measure import Result

RESULTS = Path(__file__).parent / "results.json"


def main(wanted: list[str]) -> int:
    if wanted[:1] == ["soak"]:
        return soak.main(wanted[1:])
    results: list[Result] = []
    suites = [library.cases(), keys.cases(), scaling.cases(), trust.cases(), stores.cases()]
    if without := keys.missing():
        print(without, file=sys.stderr)
    if shutil.which("smtp-source") and shutil.which("smtp-sink"):
        suites.append(gateway.cases())
    else:
        print("smtp-source is missing (Debian package postfix): the gateway is not measured", file=sys.stderr)
    if without := postfix.missing():
        print(f"{without}: domsec behind Postfix is not measured", file=sys.stderr)
    else:
        suites.append(postfix.cases())
    print(f"{'case':<44}{'value':>14}  {'limit':>14}  {'ratio':>6}  unit")
    for suite in suites:
        for name, measure in suite:
            if wanted and not any(name.startswith(prefix) for prefix in wanted):
                continue
            for result in measure():
                results.append(result)
                limit = f"{result.limit:>14,.0f}" if result.limit else f"{'-':>14}"
                ratio = f"{result.ratio:>6.2f}" if result.ratio is not None else f"{'-':>6}"
                print(f"{result.name:<44}{result.value:>14,.0f}  {limit}  {ratio}  {result.unit}", flush=True)
    RESULTS.write_text(json.dumps([dataclasses.asdict(r) for r in results], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
