"""`docs/verdicts.md`: how to read a verdict, and every flag it can bear.

Run `python -m domsec.cli.verdicts [DIRECTORY]` after changing the catalogue; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from domsec.cli import explained
from domsec.services.catalogue import FAMILIES, Code, Severity

_SEVERITIES: Final[Mapping[Severity, str]] = {
    Severity.VIOLATION: "a rule is broken that RFC 3183 wants flagged, or that a safe verifier has to insist on. The "
    "message is not accepted, `domsec verify` exits with 3, and the gateway does what `inbound.on_violation` says.",
    Severity.WARNING: "odd or careless, and not enough to refuse the message.",
    Severity.INFO: "worth knowing when one looks for something else.",
}
_OPENING: Final = (
    "What domsec says of a message, in `domsec verify`, in its JSON, in the log of the gateway and with held messages. "
    "`domsec verify --explain FILE` goes through the layers of a message in plain words and prints, with each flag, "
    "what stands here. Reasons for refusing or holding that are no flags are in [replies.md](replies.md)."
)


def verdicts_markdown() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Verdicts"
    yield ""
    yield "<!-- made by python -m domsec.cli.verdicts from src/domsec/services/catalogue.py; change it there -->"
    yield ""
    yield _OPENING
    yield ""
    yield "A message is accepted if its level is not `none` and no flag is a violation."
    yield from _table("Levels: what may be concluded", "level", explained.LEVELS)
    yield from _table("Roles of a signature layer", "role", explained.ROLES)
    yield from _table("States of a signature layer", "state", explained.STATES)
    yield from _table("Coverage: whether the signer can be tied to the text", "coverage", explained.COVERAGES)
    yield ""
    yield "## Flags"
    yield ""
    yield from (f"- **{severity}**: {text}" for severity, text in _SEVERITIES.items())
    yield ""
    yield "| flags about | codes |"
    yield "|---|---|"
    for family in FAMILIES:
        codes = ", ".join(f"[{code}](#{_anchor(code)})" for code in family.codes)
        yield f"| {family.title} | {codes} |"
    for family in FAMILIES:
        yield ""
        yield f"## {family.title}"
        yield ""
        yield family.about
        for code, entry in family.codes.items():
            yield from _entry(code, entry)


def _table(title: str, heading: str, meanings: Mapping[str, str]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield f"| {heading} | meaning |"
    yield "|---|---|"
    for name, meaning in meanings.items():
        yield f"| `{name}` | {meaning.format(domain='the domain', originator='the one in From')} |"


def _entry(code: str, entry: Code) -> Iterator[str]:
    yield ""
    yield f"### {code}"
    yield ""
    yield f"{entry.severity.capitalize()}, {_cited(entry.clause)}: {entry.meaning}."
    yield ""
    yield from (f"- {title}: {text}" for title, text in explained.texts(entry))


def _cited(clause: str) -> str:
    """A clause; of ours, a link to what we decided."""
    number = clause.rpartition(" ")[2]
    return clause if clause.startswith("RFC") else f"[{clause}](decisions/rfc3183.md#{number.lower()})"


def _anchor(code: str) -> str:
    """As GitHub makes it of a heading."""
    return "".join(letter for letter in code if letter.isalnum() or letter == "_")


if __name__ == "__main__":
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "docs") / "verdicts.md"
    page.write_text(verdicts_markdown())
    print(page, file=sys.stderr)
