"""What docs/commands.md shows is what happens: its commands run in order, in one folder, without a configuration."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from console_page import DOCS, missing_pages, run_page

PAGE = (DOCS / "commands.md").read_text()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_every_command_does_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGE, tmp_path)


DESK = "show verify sign sign-domain review attributes encrypt decrypt locate boundary receipt cert"


def test_the_page_has_every_verb_that_needs_no_installation() -> None:
    assert set(re.findall(r"^\$.*?\bdomsec ([a-z-]+)", PAGE, re.MULTILINE)) == set(DESK.split())


def test_every_page_named_is_there() -> None:
    assert missing_pages(PAGE) == []
