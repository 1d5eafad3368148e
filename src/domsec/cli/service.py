"""`domsec config`, `explain`, `gateway`, `keyd` and `demo`: what concerns a whole installation."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import click

from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.options import (
    ADDRESS,
    FILE,
    Given,
    common,
    configuration_file,
    file_argument,
    json_option,
    output_option,
)
from domsec.errors import ConfigurationError

_CONFIG = click.option("--config", type=FILE, metavar="FILE", help="The configuration file.")


@click.group()
def config() -> None:
    """The configuration."""


@config.command("check")
@json_option
@common
def config_check(given: Given, *, as_json: bool) -> int:
    """Parse the configuration, open its keys, and name each problem with file and line."""
    from domsec.policy.check import check, role_problems
    from domsec.policy.configuration import Configuration
    from domsec.site import users_of
    from domsec.stores import certificates, credentials, public_suffixes

    path = configuration_file(given.config)
    try:
        configuration = Configuration.load(path)
    except ConfigurationError as wrong:
        if as_json:
            console.write_json([{"severity": "error", "text": text} for text in wrong.problems])
            return Exit.USAGE
        raise
    problems = check(
        configuration,
        open_credentials=functools.partial(
            credentials.open_credentials,
            environment_password=given.password,
            keyd_socket=configuration.keyd.socket,
        ),
        load_certificates=certificates.load_certificates,
        now=given.now,
        role_problems=functools.partial(role_problems, is_public_suffix=public_suffixes.load()),
        load_users=functools.partial(users_of, configuration, given.password, ask=True),
    )
    if as_json:
        console.write_json(
            [{"severity": p.severity, "text": p.text, "file": str(p.file), "line": p.line} for p in problems]
        )
    else:
        for problem in problems:
            (console.error if problem.severity == "error" else console.warning)(str(problem))
        if not problems:
            console.note(f"{path}: nothing is wrong with it")
    return Exit.USAGE if any(problem.severity == "error" for problem in problems) else Exit.DONE


@click.command()
@file_argument
@click.option("--from", "sender", type=ADDRESS, metavar="ADDR", help="Envelope sender; default none.")
@click.option("--rcpt", multiple=True, required=True, type=ADDRESS, metavar="ADDR", help="Envelope recipient.")
@click.option("--auth", "--auth-user", metavar="USER", help="Login that a trusted client told.")
@click.option("--client", metavar="IP", help="Address of the client; default is a Unix socket.")
@click.option("--user", metavar="USER", help="Who is at the other end of that socket.")
@click.option("--direction", type=click.Choice(["outbound", "inbound"]), default="outbound", show_default=True,
              help="Which listener would have taken it.")  # fmt: skip
@json_option
@output_option
@common
def explain(
    given: Given,
    file: Path | None,
    output: Path | None,
    *,
    sender: str | None,
    rcpt: tuple[str, ...],
    auth: str | None,
    client: str | None,
    user: str | None,
    direction: Literal["outbound", "inbound"],
    as_json: bool,
) -> int:
    """Say what the gateway would do with FILE, and which policy line decided. Nothing is sent or recorded."""
    from domsec.cli import explaining
    from domsec.cli.reading import read_input
    from domsec.cli.world import load_world
    from domsec.pipeline import Recipient, Session, Transaction

    configuration_file(given.config)
    world = load_world(given)
    if client is not None and user is not None:
        raise click.UsageError("--user with --client, expected one of them: a user is known on a Unix socket only")
    session = Session(client, None, auth, "smtp", False, {}, direction, user)
    recipients = tuple(Recipient(address) for address in rcpt)
    octets = read_input(file, world.configuration.limits)
    transaction = Transaction(direction, sender or "", "", recipients, octets, session, "dry-run", world.now)
    explained = explaining.explain(transaction, world)
    if as_json:
        console.write_json(explained.document(), output)
    else:
        console.print_lines(explained.words(), output)
    return Exit.DONE if explained.relayed else Exit.REFUSED


@click.group()
def gateway() -> None:
    """The mail gateway."""


@gateway.command("run")
@_CONFIG
def gateway_run(config: Path | None) -> int:
    """Run the gateway until it is told to stop: SIGTERM ends, SIGHUP reads the configuration again."""
    path = configuration_file(config)
    from domsec.gateway.run import run

    return run(path)


@gateway.command("replay")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--direction", type=click.Choice(["outbound", "inbound"]), default="outbound", show_default=True,
              help="Which listener would have taken them.")  # fmt: skip
@click.option("--from", "sender", type=ADDRESS, metavar="ADDR",
              help="Envelope sender of all; default is Return-Path, else From.")  # fmt: skip
@click.option("--rcpt", multiple=True, type=ADDRESS, metavar="ADDR",
              help="Envelope recipient of all; default as in X-Original-To, Envelope-To or Delivered-To, else in To, "
              "Cc and Bcc.")  # fmt: skip
@click.option("--auth", "--auth-user", metavar="USER", help="Login that a trusted client told of all.")
@click.option("--client", metavar="IP", help="Address of the client; default is a Unix socket.")
@click.option("--user", metavar="USER", help="Who is at the other end of that socket.")
@click.option(
    "--trust-from", is_flag=True, help="Takes whoever stands in From for logged in: stored mail does not say."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Processes; default one for each core, as far as that is worth it.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line a message, and one for the summary.")
@common
def gateway_replay(
    given: Given,
    folder: Path,
    *,
    direction: Literal["outbound", "inbound"],
    sender: str | None,
    rcpt: tuple[str, ...],
    auth: str | None,
    client: str | None,
    user: str | None,
    trust_from: bool,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Say what the gateway would have done with the messages in FOLDER: files that end in .eml, and Maildirs.

    Nothing is sent, held, recorded or kept. The exit status is 0 if all would have been relayed, 1 if some would have
    been held or refused, 4 if some would have been put off, 5 if some could not be replayed.
    """
    import json

    from domsec.cli import replaying

    configuration_file(given.config)
    if trust_from and (auth or client or user):
        raise click.UsageError("--trust-from with --auth, --client or --user, expected one way to know who sends")
    if client is not None and user is not None:
        raise click.UsageError("--user with --client, expected one of them: a user is known on a Unix socket only")
    files = replaying.messages(folder)
    if not files:
        raise click.UsageError(f"no messages in {folder}, expected files that end in .eml, or a Maildir")
    replay = replaying.Replay(given, folder, direction, sender, rcpt, auth, client, user, trust_from)
    summary = replaying.Summary()
    for replayed in replaying.run(replay, files, jobs):
        summary.add(replayed)
        if as_json:
            problem = {"file": replayed.file, "problem": replayed.problem}
            console.print_bytes(json.dumps(replayed.document or problem).encode("ascii") + b"\n")
        else:
            console.print_lines(replayed.words())
    if as_json:
        console.print_bytes(json.dumps({"summary": summary.document()}).encode("ascii") + b"\n")
    else:
        console.print_lines(summary.words())
    return summary.status


@click.command()
@_CONFIG
@click.option("--user", metavar="USER", help="Whom to become, where root starts it.")
def keyd(config: Path | None, user: str | None) -> int:
    """Run the key process until it is told to stop: SIGTERM ends, SIGHUP reads configuration and keys again.

    It holds the keys of its configuration and answers on a Unix socket: signs, decrypts and agrees on secrets with
    them, and does nothing else. A gateway whose keys are named keyd:ROLE holds none.
    """
    path = configuration_file(config)
    from domsec.keyd.run import run

    return run(path, user)


@click.command()
@click.option("--once", is_flag=True, help="Stop after the messages.")
@click.option("--mail", type=click.Path(exists=True, path_type=Path), metavar="PATH",
              help="A message, or a folder of messages, instead of those shipped.")  # fmt: skip
def demo(*, once: bool, mail: Path | None) -> int:
    """Let two domains exchange protected mail on this machine, and show what happens at each hop."""
    from domsec.demo import main

    return main(once=once, mail=mail)
