"""Documentation made from the declarations: `docs/configuration.md` and the manual page domsec.toml(5).

Run `python -m domsec.policy.reference [DIRECTORY]` after changing an option; a test compares.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from domsec.policy.options import SECTIONS, Option, Section, options

OPENING = (
    "One TOML file configures domsec: `domsec --config FILE`, else `$DOMSEC_CONFIG`, `./domsec.toml` or "
    "`/etc/domsec/domsec.toml`. Relative paths start from the folder of the file. An unknown key is an error that "
    "names the nearest known one. `domsec config check` reads the file, opens keys and certificates, and names every "
    "problem with its file and line."
)


def configuration_markdown() -> str:
    """The text of docs/configuration.md."""
    parts = [
        "# Configuration: domsec.toml",
        "<!-- made by python -m domsec.policy.reference from src/domsec/policy/options.py; change it there -->",
        OPENING,
        "A complete example is [domsec.toml.example](domsec.toml.example).",
    ]
    for section in SECTIONS:
        parts.append(f"## {_title(section)}")
        parts.append(_joined(section.documentation))
        parts.append("\n".join(_markdown_option(option) for option in options(section.declaration)))
    return "\n\n".join(parts) + "\n"


def _markdown_option(option: Option) -> str:
    value = f"Value: {option.kind.expected}. {_default(option)}"
    if option.example != option.default:
        value += f" Example: `{option.name} = {option.example}`."
    return f"- **`{option.name}`** {_joined(option.documentation)}<br>\n  {value}"


def manual_page() -> str:
    """The text of domsec.toml(5), in the man(7) macros."""
    lines = [
        '.\\" made by python -m domsec.policy.reference from src/domsec/policy/options.py; change it there',
        ".TH DOMSEC.TOML 5",
        ".SH NAME",
        "domsec.toml \\- configuration of domsec",
        ".SH DESCRIPTION",
        roff(OPENING),
    ]
    for section in SECTIONS:
        lines += [f".SH {roff(_title(section)).upper() if not section.name else roff(_title(section))}"]
        lines += [roff(_joined(section.documentation))]
        for option in options(section.declaration):
            lines += [".TP", f"\\fB{roff(option.name)}\\fR", roff(_joined(option.documentation)), ".br"]
            lines.append(roff(f"Value: {option.kind.expected}. {_default(option)}"))
            if option.example != option.default:
                lines += [".br", roff(f"Example: {option.name} = {option.example}")]
    lines += [".SH SEE ALSO", ".BR domsec (1)"]
    return "\n".join(lines) + "\n"


def _title(section: Section) -> str:
    return section.header if section.name else "General options"


def _default(option: Option) -> str:
    if option.default is None:
        return "It must be given."
    return f"Default: `{option.default}`." if option.default else "Absent by default."


def _joined(text: str) -> str:
    """Paragraphs on one line each."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def roff(text: str) -> str:
    """Text for troff: no line may begin with a control character, and code is bold."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", escaped)
    lines = (f"\\&{line}" if line[:1] in (".", "'") else line for line in escaped.split("\n"))
    return "\n".join(line or ".PP" for line in lines)


def write(directory: Path) -> tuple[Path, ...]:
    """Write both texts below a folder and say where they are."""
    texts = {
        directory / "configuration.md": configuration_markdown(),
        directory / "man" / "domsec.toml.5": manual_page(),
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tuple(texts)


if __name__ == "__main__":
    for written in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs")):
        print(written, file=sys.stderr)
