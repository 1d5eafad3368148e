"""docs/smtp.md names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

from domsec.gateway.smtp_server import Server

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "smtp.md").read_text()


def _named() -> list[tuple[str, str]]:
    """File and test of every name in the tables; a name without a file is of the file before it."""
    found = []
    for row in re.findall(r"^\|[^|]+\|[^|]+\| (`.*) \|$", PAGE, re.MULTILINE):
        file = ""
        for word in re.findall(r"`([^`]+)`", row):
            place, colon, test = word.rpartition(": ")
            if colon:
                room, _, module = place.partition("/")
                file = f"tests/{room}/test_{module}.py"
            found.append((file, test))
    return found


def test_every_test_that_is_named_is_there() -> None:
    named = _named()
    assert len(named) > 60
    missing = [(file, test) for file, test in named if f"def {test}(" not in (ROOT / file).read_text()]
    assert missing == []


def test_every_row_names_a_test() -> None:
    rows = re.findall(r"^\| (?!subject|---)[^|]+\|[^|]+\|([^|]*)\|$", PAGE, re.MULTILINE)
    assert rows
    assert all("`" in row for row in rows)


def test_what_is_announced_is_on_the_page() -> None:
    server = Server.__module__  # the words stand in one place of it
    source = (ROOT / "src" / (server.replace(".", "/") + ".py")).read_text()
    announced = re.findall(r'^            "([A-Z0-9]+)",$', source, re.MULTILINE)
    assert announced
    assert [word for word in announced if word not in PAGE] == []
