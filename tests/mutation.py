"""Small faults in `services/`, one at a time, and whether a test notices: `make mutation`, docs/mutation.md.

mutmut makes them, all in one tree, `mutants/`; a variable of the environment says which is alive. `mypy --strict` kills
most. For the rest this is our own: mutmut runs a mutant in a fork of a process that ran the tests before, where much is
remembered that the mutant would have changed. Here it is a fork of a process that has only collected them, the tests
that reach the changed function run, and those first that killed its other mutants. A test that fails in such a fork
where nothing is wrong does not count.

    python tests/mutation.py [PATTERN ...]     mutants whose name matches one (fnmatch), or all

What was found stays in `mutants/`: `found.tsv` (a mutant a line) and `left.diff` (what nothing noticed). A run goes on
where the last one ended; after a change of tests only what was left is tried again, of changed code all.
"""

from __future__ import annotations

import ast
import copy
import difflib
import fnmatch
import functools
import gc
import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

TESTS: Final = (
    "tests/services",
    "tests/spec",
    "tests/mhs",
    "tests/policy",
    "tests/test_pipeline.py",
    "tests/test_discovery.py",
    "tests/test_limits.py",
    "tests/test_user_signatures.py",
    "tests/cli/test_verify.py",
)
SECONDS: Final = float(os.environ.get("MUTATION_SECONDS", "12"))  # of tests, at most, that a mutant is tried with
AT_ONCE: Final = os.cpu_count() or 1
PAGE: Final = Path("docs/mutation.md")
STATES: Final = ("types", "tests", "texts", "left", "not run")
_NAME: Final = re.compile(r"__mutmut_\d+$")
_ALIVE: Final = "MUTANT_UNDER_TEST"  # mutmut's
_STEP: Final = "DOMSEC_MUTATION"
FOLDER: Final = Path(".") if _STEP in os.environ else Path("mutants")  # the steps of pytest run within it


class Mutant(NamedTuple):
    """A function of services/ with a fault: `domsec.services.sign.x_gate__mutmut_14`, and both texts of it."""

    name: str
    original: str
    changed: str

    @property
    def function(self) -> str:
        return _NAME.sub("", self.name)

    @property
    def module(self) -> str:
        return self.name.split(".")[2]

    @property
    def key(self) -> str:
        """The same for the same fault in the same function, whatever its number is."""
        return hashlib.sha256(f"{self.function}\0{self.original}\0{self.changed}".encode()).hexdigest()[:16]

    @property
    def only_texts(self) -> bool:
        """Whether it differs from the original in the characters of strings alone."""
        return _without_texts(self.original) == _without_texts(self.changed)

    def diff(self) -> str:
        lines = difflib.unified_diff(self.original.splitlines(), self.changed.splitlines(), n=1, lineterm="")
        return "\n".join([f"# {self.name}", *list(lines)[2:]])


# -- the steps ---------------------------------------------------------------------------------------------------------


def main(patterns: list[str]) -> int:
    """Make the mutants, let mypy and the tests look at them, write what was found."""
    subprocess.run([sys.executable, __file__, "--make"], check=True, stdout=subprocess.DEVNULL)
    every = {mutant.name: mutant for mutant in _all()}
    chosen = [name for name in every if not patterns or any(fnmatch.fnmatch(name, each) for each in patterns)]
    found = _known(every)
    if any(name not in found for name in chosen):
        refused = _refused_by_types(every)
        found = {name: "types" if name in refused else found.get(name, "not run") for name in every}
    todo = [name for name in chosen if found[name] not in ("types", "tests")]
    todo.sort(key=lambda name: found[name] == "texts")  # those matter least
    print(f"{len(every)} mutants, {len(chosen)} chosen, {len(todo)} for the tests", flush=True)
    if todo:
        _write("found.tsv", (f"{mutant.key}\t{found[name]}" for name, mutant in every.items()))
        _write("todo.tsv", (f"{every[name].key}\t{name}" for name in todo))
        for step in ("reach", "try"):
            _pytest(step)
        found |= _known(every)
    left = [every[name] for name in every if found[name] == "left"]
    (FOLDER / "left.diff").write_text("\n\n".join(mutant.diff() for mutant in left) + "\n")
    table = _table(every.values(), found)
    print(table)
    text = PAGE.read_text()
    head, _, rest = text.partition("<!-- table -->\n")
    PAGE.write_text(f"{head}<!-- table -->\n{table}<!-- end -->\n{rest.partition('<!-- end -->' + chr(10))[2]}")
    return 0


def _make() -> None:
    """The tree of mutants, by mutmut's own steps (its command would go on to run the tests)."""
    from mutmut import __main__ as mutmut

    FOLDER.mkdir(exist_ok=True)
    mutmut.copy_src_dir()
    mutmut.copy_also_copy_files()
    mutmut.create_mutants(AT_ONCE)


def _all() -> Iterator[Mutant]:
    for path in sorted(FOLDER.glob("src/domsec/services/*.py")):
        module = f"domsec.services.{path.stem}"
        nodes = {node.name: node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
        for name, node in nodes.items():
            if _NAME.search(name):
                original = nodes[_NAME.sub("__mutmut_orig", name)]
                yield Mutant(f"{module}.{name}", _text(original), _text(node))


def _text(node: ast.FunctionDef) -> str:
    node = copy.copy(node)
    node.name = "f"
    return ast.unparse(node)


def _without_texts(code: str) -> str:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            node.value = type(node.value)()
    return ast.dump(tree)


def _known(every: dict[str, Mutant]) -> dict[str, str]:
    """What is known of the same faults in the same functions: `tried.tsv` goes into `found.tsv`."""
    found, tried = (dict(_lines(name)) for name in ("found.tsv", "tried.tsv"))
    states = {}
    for name, mutant in every.items():
        if mutant.key in tried:
            states[name] = "tests" if tried[mutant.key] else "texts" if mutant.only_texts else "left"
        elif mutant.key in found:
            states[name] = found[mutant.key]
    _write("found.tsv", (f"{every[name].key}\t{state}" for name, state in states.items()))
    (FOLDER / "tried.tsv").unlink(missing_ok=True)
    return states


def _lines(name: str) -> Iterator[tuple[str, str]]:
    file = FOLDER / name
    for line in file.read_text().splitlines() if file.exists() else []:
        key, _, value = line.partition("\t")
        yield key, value


def _write(name: str, lines: Iterable[str]) -> None:
    (FOLDER / name).write_text("".join(f"{line}\n" for line in lines))


def _refused_by_types(every: Iterable[str]) -> set[str]:
    """The mutants within which mypy finds an error; others come of what mutmut puts around them."""
    command = [sys.executable, "-m", "mypy", "--output", "json", "--no-warn-unused-ignores"]
    spans: dict[str, list[tuple[int, int, str]]] = {}
    refused = set()
    for line in subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False).stdout.splitlines():
        error = json.loads(line)
        file = error["file"]
        if file not in spans:
            tree = ast.parse((FOLDER / file).read_text())
            functions = (
                node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _NAME.search(node.name)
            )
            spans[file] = [(node.lineno, node.end_lineno or node.lineno, node.name) for node in functions]
        for first, last, name in spans[file]:
            if first <= error["line"] <= last:
                refused.add(f"domsec.services.{Path(file).stem}.{name}")
    return refused & set(every)


def _table(every: Iterable[Mutant], found: dict[str, str]) -> str:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant in every:
        for row in (mutant.module, "all"):
            counts[row]["all"] += 1
            counts[row][found[mutant.name]] += 1
    columns = ("all", *STATES)
    rows = [f"| {row} | {' | '.join(str(counts[row][each]) for each in columns)} |" for row in counts if row != "all"]
    rows.append(f"| all | {' | '.join(str(counts['all'][each]) for each in columns)} |")
    head = "| module | mutants | by types | by tests | texts only | left | not run |\n|---|---|---|---|---|---|---|\n"
    return head + "\n".join(sorted(rows[:-1]) + rows[-1:]) + "\n"


# -- as a plugin of pytest, within the tree of mutants -----------------------------------------------------------------


def _pytest(step: str) -> None:
    """Run one of the two steps below instead of the tests, or with them."""
    environment = os.environ | {
        _STEP: step,
        _ALIVE: "stats" if step == "reach" else "",
        "MUTMUT_DEPENDENCY_DEPTH": "-1",
    }
    environment["PYTHONPATH"] = os.pathsep.join(["src", "tests"])
    command = [sys.executable, "-m", "pytest", "-p", "mutation", "-p", "no:cacheprovider", "-n", "0", "-W", "ignore"]
    with (FOLDER / f"{step}.log").open("w") as log:
        done = subprocess.run([*command, *TESTS], cwd=FOLDER, env=environment, check=False, stdout=log)
    if done.returncode:
        sys.exit(f"the tests do not pass as they are: {FOLDER / step}.log")


def _forget() -> None:
    """Empty every cache of the program and of its tests."""
    for each in _caches():
        each.cache_clear()


@functools.cache
def _caches() -> list[functools._lru_cache_wrapper[object]]:
    """But for the keys that tests have, which are slow to make."""
    found = []
    for thing in gc.get_objects():
        if isinstance(thing, functools._lru_cache_wrapper) and thing is not _caches:
            file = getattr(sys.modules.get(thing.__module__), "__file__", None) or ""
            if "mutants" in Path(file).parts and thing.__module__ != "pki":
                found.append(thing)
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Step "reach": which functions each test calls, when nothing is remembered."""
    if os.environ.get(_STEP) != "reach":
        return (yield)
    from mutmut.state import state

    _forget()
    state()._stats.clear()
    begin = time.perf_counter()
    answer = yield
    _REACHED[item.nodeid] = (time.perf_counter() - begin, sorted(state()._stats))
    return answer


_REACHED: dict[str, tuple[float, list[str]]] = {}
_FAILED: list[str] = []


def pytest_sessionfinish() -> None:
    if os.environ.get(_STEP) == "reach":
        (FOLDER / "reached.json").write_text(json.dumps(_REACHED))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _FAILED.append(report.nodeid)


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Step "try": each mutant in a fork of this process, and who noticed it, in `tried.tsv`."""
    if os.environ.get(_STEP) != "try":
        return None
    items = {item.nodeid: item for item in session.items}
    reaching: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for test, (seconds, functions) in json.loads((FOLDER / "reached.json").read_text()).items():
        for function in functions:
            reaching[function].append((seconds, test))
    killers: dict[str, Counter[str]] = defaultdict(Counter)  # of each function, and of each module
    running: dict[int, _Running] = {}
    sound: dict[str, bool] = {"": True, "time": True}  # tests that killed: whether they pass where nothing is wrong
    todo = deque(_lines("todo.tsv"))
    with (FOLDER / "tried.tsv").open("a") as out:

        def collect(at_most: int) -> None:
            while len(running) > at_most:
                for pipe, by in _ended(running):
                    mutant = running.pop(pipe)
                    if by not in sound:
                        sound[by] = _passes(items[by])
                    if not sound[by]:
                        todo.append((mutant.key, mutant.name))
                        continue
                    function = _NAME.sub("", mutant.name)
                    killers[function][by] += 1
                    killers[function.rpartition(".")[0]][by] += 1
                    print(mutant.key, by, sep="\t", file=out, flush=True)

        while todo or running:
            if not todo:
                collect(len(running) - 1)
                continue
            key, name = todo.popleft()
            function = _NAME.sub("", name)
            tests = [test for test in reaching[function] if sound.get(test[1], True)]
            module = function.rpartition(".")[0]
            chosen = _chosen(tests, killers[function], killers[module], f"test_{name.split('.')[2]}.py")
            collect(AT_ONCE - 1)
            pid, pipe = _fork(name, [items[test] for _, test in chosen])
            limit = 20 + 6 * sum(seconds for seconds, _ in chosen)
            running[pipe] = _Running(pid, key, name, time.monotonic() + limit)
    return True


def _passes(item: pytest.Item) -> bool:
    pid, pipe = _fork("", [item])
    said = os.read(pipe, 1)
    os.waitpid(pid, 0)
    os.close(pipe)
    return not said


class _Running(NamedTuple):
    pid: int
    key: str
    name: str
    until: float  # time.monotonic()


def _chosen(
    tests: list[tuple[float, str]], of_function: Counter[str], of_module: Counter[str], own: str
) -> list[tuple[float, str]]:
    """Tests, with their seconds, as they are tried: what killed here or nearby, the module's own, the quick."""
    order = sorted(tests, key=lambda test: (-of_function[test[1]], -of_module[test[1]], own not in test[1], *test))
    total, chosen = 0.0, []
    for seconds, test in order:
        if total + seconds < SECONDS or not chosen:
            total += seconds
            chosen.append((seconds, test))
    return chosen


def _fork(name: str, items: list[pytest.Item]) -> tuple[int, int]:
    """A process in which a mutant lives and tests run until one fails, and a pipe in which that test's name comes."""
    pipe, end = os.pipe()
    if pid := os.fork():
        os.close(end)
        return pid, pipe
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.environ[_ALIVE] = name
    _forget()
    for item, following in zip(items, [*items[1:], None], strict=True):
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except BaseException:  # what a mutant throws at pytest itself
            _FAILED.append(item.nodeid)
        if _FAILED:
            os.write(end, _FAILED[0].encode())
            break
    os._exit(0)


def _ended(running: dict[int, _Running]) -> list[tuple[int, str]]:
    """Pipes whose mutant is dead or was tried whole, each with the test that noticed it, or with nothing."""
    ready, _, _ = select.select(list(running), [], [], 0.1)
    ended = []
    for pipe, mutant in running.items():
        if pipe in ready:
            by = os.read(pipe, 4096).decode()
            ended.append((pipe, by))
        elif time.monotonic() > mutant.until:
            ended.append((pipe, "time"))
        else:
            continue
        os.killpg(mutant.pid, signal.SIGKILL)
        os.waitpid(mutant.pid, 0)
        os.close(pipe)
    return ended


if __name__ == "__main__":
    if sys.argv[1:] == ["--make"]:
        _make()
    else:
        sys.exit(main(sys.argv[1:]))
