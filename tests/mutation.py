"""What `make mutation` needs besides mutmut (docs/mutation.md).

As a pytest plugin: mutmut forks each mutant from a process that has run the tests, so what was remembered there is
forgotten. As `python tests/mutation.py mypy`: the errors of mypy that lie within a mutant: `make check` would kill it.
"""

from __future__ import annotations

import ast
import functools
import gc
import json
import re
import subprocess
import sys
from pathlib import Path


def pytest_sessionstart() -> None:
    """Empty every cache of the program: what a function answered before it was changed is not what it answers now."""
    for thing in gc.get_objects():
        if isinstance(thing, functools._lru_cache_wrapper) and (thing.__module__ or "").startswith("domsec"):
            thing.cache_clear()


def mutants(path: Path) -> list[tuple[int, int]]:
    """First and last line of each mutant of a function in a file that mutmut made."""
    found = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    return [(node.lineno, node.end_lineno or node.lineno) for node in found if re.search(r"__mutmut_\d+$", node.name)]


def errors() -> None:
    """Print the errors of mypy that lie within a mutant; others come of what mutmut puts around them."""
    command = [sys.executable, "-m", "mypy", "--output", "json", "--no-warn-unused-ignores"]
    lines: dict[str, list[tuple[int, int]]] = {}
    for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines():
        error = json.loads(line)
        file = error["file"]
        if file not in lines:
            lines[file] = mutants(Path(file))
        if any(first <= error["line"] <= last for first, last in lines[file]):
            print(line)


if __name__ == "__main__":
    errors()
