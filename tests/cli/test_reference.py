"""The manual page says what the commands say."""

from __future__ import annotations

from pathlib import Path

from domsec.cli import VERBS
from domsec.cli.reference import manual_page

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_manual_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "man" / "domsec.1").read_text() == manual_page(), "run `make docs`"


def test_the_manual_page_has_every_verb() -> None:
    page = manual_page().replace("\\-", "-")
    assert all(f".SS {verb}" in page for verb in VERBS)
