"""The documentation made from the declared options."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from domsec.limits import Limits
from domsec.policy import reference
from domsec.policy.options import LIMIT_DOCUMENTATION, SECTIONS, Option, options

DOCS = Path(__file__).resolve().parents[2] / "docs"
ALL = [pytest.param(option, id=f"{s.name}.{option.name}") for s in SECTIONS for option in options(s.declaration)]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (DOCS / "configuration.md", reference.configuration_markdown()),
        (DOCS / "man" / "domsec.toml.5", reference.manual_page()),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_the_documentation_is_up_to_date(path: Path, text: str) -> None:
    assert path.read_text() == text, "run python -m domsec.policy.reference"


@pytest.mark.parametrize("option", ALL)
def test_every_option_is_documented(option: Option) -> None:
    assert option.documentation.endswith("."), option.documentation
    assert option.example
    assert option.kind.expected


def test_every_limit_is_documented() -> None:
    assert set(LIMIT_DOCUMENTATION) == {limit.name for limit in dataclasses.fields(Limits)}


def test_writing_makes_both_files(tmp_path: Path) -> None:
    assert all(path.stat().st_size > 1000 for path in reference.write(tmp_path))
