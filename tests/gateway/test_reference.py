"""The page of replies says what the gateway says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from domsec.gateway.reference import DECISIONS, REMEDIES, replies_markdown
from domsec.gateway.replies import REPLIES

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "replies.md").read_text() == replies_markdown(), "run `make docs`"


def test_the_page_says_what_to_do_about_every_reply_that_refuses() -> None:
    assert set(REMEDIES) == {name for name, reply in REPLIES.items() if not reply.positive} | {"next_hop"}
    assert all(REMEDIES.values())


@pytest.mark.parametrize("source", ["pipeline/outbound.py", "pipeline/inbound.py", "services/sign.py"])
def test_every_reason_that_is_given_is_explained(source: str) -> None:
    text = (ROOT / "src" / "domsec" / source).read_text()
    given = set(re.findall(r'"(gate\.[a-z_]+|inner_env\.[a-z]+)"', text)) - {"gate.refused"}
    given |= set(re.findall(r'indexes, "([a-z_]+)", text', text))
    given |= set(re.findall(r'\("(unopenable|unverified)"', text))
    given |= set(re.findall(r"\[([a-z]+)\]\"", text))
    assert given
    assert given <= set(DECISIONS)
