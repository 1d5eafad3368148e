"""What docs/certificates.md shows is what happens, and it has every verb that keeps certificates of others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from console_page import DOCS, missing_pages, run_page
from domsec.gateway.metrics import Metrics
from domsec.policy.options import SECTIONS, options

PAGE = (DOCS / "certificates.md").read_text()


def test_every_command_does_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGE, tmp_path)


def test_the_page_has_every_verb_of_the_store() -> None:
    commands = "\n".join(re.findall(r"^\$ .*", PAGE, re.MULTILINE))
    shown = set(re.findall(r"\bdomsec cert ([a-z]+)", commands))
    assert {"import", "list", "show", "export", "approve", "reject", "replace"} <= shown


def test_every_option_and_metric_named_is_there() -> None:
    known = {f"{section.name}.{option.name}" for section in SECTIONS for option in options(section.declaration)}
    for named in re.findall(r"`((?:inbound|store|trust)\.[a-z_]+)", PAGE):
        assert named in known, named
    for named in re.findall(r"`(domsec_[a-z_]+)", PAGE):
        assert f" {named} " in Metrics().text(), named


def test_every_page_named_is_there() -> None:
    assert missing_pages(PAGE) == []
