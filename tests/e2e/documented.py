"""The configuration that docs/postfix.md and docs/lists.md print, as files.

A fenced block whose first line is `# /an/absolute/path` is that file. Tests use these texts and nothing of their own
beside them except names, ports and folders of the laboratory, so the page cannot say anything that was not tried.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGE = _DOCS / "postfix.md"
LISTS = _DOCS / "lists.md"
KEYS = _DOCS / "keys.md"

_BLOCK = re.compile(r"^```\n# (/\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files(page: Path = PAGE) -> dict[str, str]:
    """Path as printed -> text as printed."""
    found: dict[str, str] = {}
    for path, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        found[path] = found.get(path, "") + text
    return found


def replaced(text: str, table: Mapping[str, str]) -> str:
    """The text with every key of the table replaced by its value, longest first, in one pass."""
    keys = sorted(table, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, keys)), lambda match: table[match[0]], text)
