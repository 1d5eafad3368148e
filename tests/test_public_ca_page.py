"""What docs/public-ca.md shows is what happens: a certificate of a public CA, from request to belief."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from console_page import DOCS, missing_pages, run_page
from domsec.policy.options import SECTIONS, options

PAGE = (DOCS / "public-ca.md").read_text()
PROGRAMS = ("openssl", "postmap")


@pytest.mark.interop
@pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=f"needs {' and '.join(PROGRAMS)}")
def test_every_command_does_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGE, tmp_path)


def test_every_option_named_is_there() -> None:
    known = {f"{section.name}.{option.name}" for section in SECTIONS for option in options(section.declaration)}
    for named in re.findall(r"`((?:inbound|outbound|store|trust)\.[a-z_]+)", PAGE):
        assert named in known, named


def test_every_page_named_is_there() -> None:
    assert missing_pages(PAGE) == []
