"""The manual page says what the commands say, and the page of verdicts what a verdict can say."""

from __future__ import annotations

import re
from pathlib import Path

from domsec.cli import VERBS
from domsec.cli.reference import manual_page
from domsec.cli.verdicts import verdicts_markdown
from domsec.services.catalogue import CODES

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_manual_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "man" / "domsec.1").read_text() == manual_page(), "run `make docs`"


def test_the_manual_page_has_every_verb() -> None:
    page = manual_page().replace("\\-", "-")
    assert all(f".SS {verb}" in page for verb in VERBS)


def test_the_page_of_verdicts_is_up_to_date() -> None:
    assert (ROOT / "docs" / "verdicts.md").read_text() == verdicts_markdown(), "run `make docs`"


def test_the_page_of_verdicts_has_every_code_once_and_its_links_lead_there() -> None:
    page = verdicts_markdown()
    headings = re.findall(r"^### (\S+)$", page, re.MULTILINE)
    assert headings == list(CODES)
    anchors = [re.sub(r"[^\w]", "", heading) for heading in headings]
    assert re.findall(r"\]\(#(\w+)\)", page) == anchors
    assert len(set(anchors)) == len(anchors)


def test_every_code_that_a_page_or_a_reason_names_is_in_the_catalogue() -> None:
    """A remedy that sends its reader to another entry, an option, or a command names one that is there."""
    page = verdicts_markdown()
    options = (ROOT / "docs" / "configuration.md").read_text()
    for named in re.findall(r"what to do: .*", page):
        for quoted in re.findall(r"`([a-z_.]+)`", named):
            assert f"`{quoted.rpartition('.')[2]}`" in options, quoted
        for code in re.findall(r"as for ([a-z_.]+)", named):
            assert code in CODES
