"""`domsec postfix`: the text of Postfix's configuration, and what differs in a Postfix that is there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.options import FILE, configuration_file, json_option

if TYPE_CHECKING:
    from domsec.gateway.postfix.text import File, Instance, Layout
    from domsec.policy.configuration import Configuration

_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--layout", type=click.Choice(["two-instances", "content-filter", "before-queue", "milter"]),
              default="two-instances", show_default=True, help="How domsec stands in the way of mail.")  # fmt: skip
@click.option("--milter", multiple=True, metavar="ENDPOINT", help="Before domsec on port 25: rspamd, OpenDKIM.")
@click.option("--dkim", default="", metavar="ENDPOINT", help="Milter that signs what leaves, after domsec.")
@click.option("--mailman", default="", metavar="DIR", help="Mailman's var/data, with its tables for Postfix.")
@click.option("--compare", is_flag=True, help="Compare with the Postfix that is there, instead of printing.")
@click.option("--inside", type=_FOLDER, default="/etc/postfix", show_default=True, metavar="DIR",
              help="For --compare: configuration of the inside, or single, instance.")  # fmt: skip
@click.option("--edge", type=_FOLDER, default=None, metavar="DIR",
              help="For --compare: configuration of the edge instance.  [default: /etc/postfix-edge]")  # fmt: skip
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write the files there, with the tokens of the evidence in them.")  # fmt: skip
@json_option
@click.option("--config", type=FILE, metavar="FILE", help="The configuration file.")
def postfix(
    layout: Layout,
    milter: tuple[str, ...],
    dkim: str,
    mailman: str,
    inside: Path,
    edge: Path | None,
    output: Path | None,
    config: Path | None,
    *,
    compare: bool,
    as_json: bool,
) -> int:
    """Print main.cf and master.cf for the configuration, or compare them with the Postfix that is there.

    The text is what docs/postfix.md explains and the tests run. Tables of people, TLS and the like are yours.
    """
    from domsec.gateway.postfix.text import Neighbours, files
    from domsec.policy.configuration import Configuration

    configuration = Configuration.load(configuration_file(config))
    tokens = _tokens(configuration) if output is not None else {}
    made = files(configuration, layout, Neighbours(milter, dkim, mailman), tokens)
    if compare:
        folders: Mapping[Instance, Path] = (
            {"inside": inside, "edge": edge or Path("/etc/postfix-edge")}
            if layout == "two-instances"
            else {"single": inside}
        )
        return _compare(made, folders, layout, as_json=as_json)
    if output is not None:
        _write(made, output)
    elif as_json:
        console.write_json([{"instance": file.instance, "path": file.path, "text": file.text} for file in made])
    else:
        console.print_lines((f"# {file.path}\n{file.text}" for file in made), None)
    return Exit.DONE


def _compare(made: Sequence[File], folders: Mapping[Instance, Path], layout: Layout, *, as_json: bool) -> int:
    from domsec.gateway.postfix.installed import differences

    found = differences(made, folders, layout)
    if as_json:
        console.write_json(
            [
                {"severity": d.severity, "instance": d.instance, "name": d.name, "found": d.found,
                 "expected": d.expected, "why": d.why}
                for d in found
            ]
        )  # fmt: skip
    else:
        for difference in found:
            (console.error if difference.severity == "error" else console.warning)(str(difference))
        if not found:
            console.note("Postfix is configured as domsec wants it")
    return Exit.USAGE if any(difference.severity == "error" for difference in found) else Exit.DONE


def _tokens(configuration: Configuration) -> dict[str, str]:
    from domsec.stores.credentials import read_password

    rules = configuration.outbound.evidence
    return {rule.header: read_password(rule.token_file).decode() for rule in rules if rule.token_file is not None}


def _write(made: Sequence[File], folder: Path) -> None:
    """Each file at its path below `folder`; what holds a secret is for owner and group only."""
    for file in made:
        path = folder / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
        os.chmod(path, 0o640 if file.secret else 0o644)
        path.write_text(file.text, encoding="utf-8")
        console.note(f"{path} is written")
