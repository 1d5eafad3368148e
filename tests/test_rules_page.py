"""What docs/rules.md shows is what happens: its commands run in order, in one folder, with its configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from console_page import DOCS, missing_pages, run_page

PAGE = (DOCS / "rules.md").read_text()


def test_every_example_does_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGE, tmp_path)


def test_every_page_named_is_there() -> None:
    assert missing_pages(PAGE) == []
