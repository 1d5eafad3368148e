"""Run targets: `python -m fuzz [--seconds N | --runs N] [--seed N] [--seeds N] TARGET... [FILE...]`.

With files, the one target named is run once with each of them, without atheris; that is how what was found is looked
at. Otherwise each target runs in a process of its own, one after the other, and the first fault ends all.

.fuzz/<target>/corpus keeps what was worth keeping for the next run, .fuzz/<target>/found what went wrong.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

INSTRUMENTED = ["domsec", "idna"]
SLOW = 10  # seconds for one input that are a fault
MEMORY = 2048  # megabytes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=0, help="for each target; 0 is without end")
    parser.add_argument("--runs", type=int, default=-1, help="inputs for each target")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations; 0 is another one each time")
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to begin with, at most")
    parser.add_argument("--work", type=Path, default=ROOT / ".fuzz", help="folder of corpora and findings")
    parser.add_argument("names", nargs="*", help="targets, or one target and files")
    options = parser.parse_args()
    if len(options.names) > 1 and all(Path(name).is_file() for name in options.names[1:]):
        return _replay(options.names[0], [Path(name) for name in options.names[1:]])
    if len(options.names) == 1:
        return _fuzz(options.names[0], options)
    return _each(options.names)


def _each(names: list[str]) -> int:
    from fuzz.targets import TARGETS

    given = [argument for argument in sys.argv[1:] if argument not in names]
    for name in names or TARGETS:
        print(f"--- {name}", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", "fuzz", *given, name], cwd=ROOT, check=False)
        if done.returncode:
            return done.returncode
    return 0


def _replay(name: str, files: list[Path]) -> int:
    from fuzz.targets import TARGETS

    for file in files:
        print(file, file=sys.stderr, flush=True)
        TARGETS[name](file.read_bytes())
    return 0


def _fuzz(name: str, options: argparse.Namespace) -> int:
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz import seeds
        from fuzz.mutate import mutated
        from fuzz.targets import DICTIONARIES, TARGETS

    target = TARGETS[name]
    folder = options.work / name
    for part in ("corpus", "seeds", "found"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(seeds.chosen(target.seeds(), options.seeds)):
        if len(octets) <= target.size:
            (folder / "seeds" / f"{number:05}").write_bytes(octets)
    arguments = [
        sys.argv[0],
        f"-max_total_time={options.seconds}",
        f"-runs={options.runs}",
        f"-seed={options.seed}",
        f"-max_len={target.size}",
        f"-timeout={SLOW}",
        f"-rss_limit_mb={MEMORY}",
        f"-dict={DICTIONARIES / target.dictionary}.dict",
        f"-artifact_prefix={folder / 'found'}/",
        "-print_final_stats=1",
        "-report_slow_units=2",
        str(folder / "corpus"),
        str(folder / "seeds"),
    ]

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return mutated(data, most, atheris.Mutate, seed)

    atheris.Setup(arguments, target, custom_mutator=mutate if target.structured else None)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
