"""The manual page domsec(1), made from what the commands say of themselves with --help."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from domsec.cli import cli
from domsec.policy.reference import roff


def manual_page() -> str:
    """The text of domsec(1), in the man(7) macros."""
    group = click.Context(cli, info_name="domsec", help_option_names=["-h", "--help"])
    lines = [
        '.\\" made by python -m domsec.cli.reference from src/domsec/cli; change it there',
        ".TH DOMSEC 1",
        ".SH NAME",
        "domsec \\- S/MIME security for whole domains (RFC 3183)",
        ".SH SYNOPSIS",
        ".B domsec",
        "VERB [OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        roff(
            "Input is FILE or standard input, output standard output or `-o FILE`. People's words go to standard error."
        ),
        ".SH VERBS",
        *(line for name, command in _commands(group, cli) for line in _verb(group, name, command)),
        ".SH EXIT STATUS",
        roff(cli.epilog or ""),
        ".SH SEE ALSO",
        ".BR domsec.toml (5)",
    ]
    return "\n".join(lines) + "\n"


def _commands(context: click.Context, group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(click.Context(command, context, name), command, f"{prefix}{name} ")
        elif command is not None:
            yield f"{prefix}{name}", command


def _verb(group: click.Context, name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, group, name)
    arguments = " ".join(command.collect_usage_pieces(context))
    yield f".SS {roff(name)} {roff(arguments)}"
    yield roff("\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n")))
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            yield ".TP"
            yield f"\\fB{roff(record[0])}\\fR"
            yield roff(record[1])
    if command.epilog:
        yield ".PP"
        yield roff(command.epilog)


if __name__ == "__main__":
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "docs") / "man" / "domsec.1"
    page.write_text(manual_page())
    print(page, file=sys.stderr)
