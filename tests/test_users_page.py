"""What docs/users.md shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from console_page import DOCS, missing_pages, run_page
from domsec.policy.options import SECTIONS, options

PAGE = (DOCS / "users.md").read_text()


def test_every_command_does_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGE, tmp_path)


def test_every_option_named_is_there() -> None:
    known = {f"{section.name}.{option.name}" for section in SECTIONS for option in options(section.declaration)}
    for named in re.findall(r"`((?:users|outbound|trust)\.[a-z_]+)", PAGE):
        assert named in known, named


def test_every_page_named_is_there() -> None:
    assert missing_pages(PAGE) == []
