"""The command `domsec` (CONTRACT.md section 2).

    console   what is written where, exit codes, errors in words
    options   what every verb takes
    reading   a file or standard input: mail, or CMS by itself
    world     keys, trust and policy that options and configuration give
    others    the verbs, each family in a module that is imported when one of them is called

A command returns its exit code. Whatever it raises becomes one line for a person here: no traceback reaches a user.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import click

from domsec import __version__
from domsec.cli import console

# where each verb is, and what it does in a few words
VERBS: Final[Mapping[str, tuple[str, str]]] = {
    "show": ("show:show", "Layers, signers, types, attributes, recipients, without any trust decision."),
    "verify": ("verify:verify", "Open and verify every layer, give the verdict."),
    "sign": ("sign:sign", "Sign as originator."),
    "sign-domain": ("sign:sign_domain", "Sign for a domain, then encrypt if asked."),
    "review": ("encapsulate:review", "Sign that a message was reviewed and may go on."),
    "attributes": ("encapsulate:attributes", "Sign further attributes of a message: labels above all."),
    "encrypt": ("encrypt:encrypt", "Encrypt to recipients or to their domain's authority."),
    "decrypt": ("encrypt:decrypt", "Remove the outer encryption; signatures inside stay."),
    "locate": ("encrypt:locate", "Which certificate would be used to encrypt to an address."),
    "boundary": ("boundary:boundary", "May a message leave for a domain: release or hold, with reasons."),
    "expand": ("expand:expand", "Expand a message for the members of a mail list."),
    "receipt": ("receipt:receipt", "Signed receipts: make, check."),
    "hold": ("hold:hold", "Held messages: list, show, approve, reject."),
    "cert": ("cert:cert", "Certificates: lint, show, list, import, export, approve, reject, request, issue, replace."),
    "config": ("service:config", "The configuration: check."),
    "postfix": ("postfix:postfix", "What Postfix needs beside the gateway, and what differs in the one that is there."),
    "explain": ("service:explain", "Dry run: what the gateway would do with a message, and why."),
    "gateway": ("service:gateway", "The mail gateway: run, replay."),
    "keyd": ("service:keyd", "The key process: it holds private keys for the gateway."),
    "backup": ("backup:backup", "Save the whole state of an installation, while it runs."),
    "restore": ("backup:restore", "Put a backup back."),
    "demo": ("service:demo", "Two domains exchange protected mail on this machine."),
}


class _Verbs(click.Group):
    """The verbs of VERBS. A module is imported when its verb is called, so that small things start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"domsec.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        del prog_name
        extra["standalone_mode"] = False
        sys.exit(console.guarded(lambda: super(_Verbs, self).main(args, "domsec", **extra)))


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done or accepted, 1 refused or not accepted, 2 usage or configuration, 3 a violation was "
    "flagged, 4 temporary failure, 5 malformed input or a limit was hit.",
)
@click.version_option(__version__, prog_name="domsec", message="%(prog)s %(version)s")
def cli() -> None:
    """S/MIME security for whole domains (RFC 3183)."""


def main() -> NoReturn:
    """The entry point; ends the process."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, to programmers; not to whoever typed a command
    cli.main()
