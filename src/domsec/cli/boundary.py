"""`domsec boundary`: whether a message may leave for a domain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.options import FILE, PLACE, Given, common, file_argument, json_option, output_option
from domsec.cli.reading import read_input
from domsec.cli.world import World, load_world
from domsec.errors import ConfigurationError, MalformedMessage
from domsec.mime.addresses import normalise_domain
from domsec.policy import labels
from domsec.services import boundary as services
from domsec.services.boundary import Boundary, LabelRule, Passage, Reviewing
from domsec.services.check import examine
from domsec.services.known_signers import KnownSigners
from domsec.services.layers import peel
from domsec.services.verdict import as_json as plain
from domsec.stores import certificates


class _Domain(click.ParamType[str]):
    name = "domain"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return normalise_domain(value)
        except MalformedMessage as problem:
            self.fail(f"{value!r} is no domain: {problem}", param, ctx)


@click.command()
@file_argument
@click.option("--to", "destination", required=True, type=_Domain(), metavar="DOMAIN", help="Where it would go.")
@click.option("--reviewer", multiple=True, type=PLACE, metavar="FILE|DIR",
              help="Certificates of reviewers: a review by one of them is needed.")  # fmt: skip
@click.option("--min-reviews", type=click.IntRange(1, 16), help="By how many of these; default one.")
@click.option("--clearance", multiple=True, type=FILE, metavar="FILE", help="What people there may see.")
@click.option("--require-label", is_flag=True, help="Without a label it does not leave.")
@json_option
@output_option
@common
def boundary(
    given: Given,
    file: Path | None,
    output: Path | None,
    *,
    destination: str,
    reviewer: tuple[Path, ...],
    min_reviews: int | None,
    clearance: tuple[Path, ...],
    require_label: bool,
    as_json: bool,
) -> int:
    """Say whether FILE may leave for DOMAIN, and every reason why not (RFC 3183 2.2, 3.4).

    What is asked of it stands in [[review]] and [[boundary]] of the configuration; options ask for more. FILE is the
    message before the domain signature, which may take reviews off.
    """
    if min_reviews is not None and not reviewer:
        raise click.UsageError("--min-reviews without --reviewer, expected whose reviews count")
    world = load_world(given)
    asked = world.site.boundaries.of(destination)
    asked = Boundary(
        (*asked.reviews, *_reviewing(reviewer, min_reviews or 1)),
        (*asked.labels, *_rule(clearance, world, required=require_label)),
    )
    context = world.context
    examination = examine(peel(read_input(file, context.limits), context.keyring, context.limits), context)
    passage = services.check(examination, asked, destination, context)
    if as_json:
        console.write_json(plain(document(passage)), output)
    else:
        console.print_lines(words(passage), output)
    if not asked:
        console.hint(f"nothing is asked of mail to {destination}: neither by the configuration nor by an option")
    if examination.verdict.malformed:
        return Exit.MALFORMED
    return Exit.DONE if passage.released else Exit.REFUSED


def _reviewing(places: tuple[Path, ...], least: int) -> Iterator[Reviewing]:
    if not places:
        return
    loaded = certificates.load_certificates(places)
    if not loaded.certificates:
        raise ConfigurationError(*(str(problem) for problem in loaded.problems), "--reviewer: no certificate")
    yield Reviewing(least, KnownSigners(frozenset(c.sha256 for c in loaded.certificates)), line="--reviewer")


def _rule(files: tuple[Path, ...], world: World, *, required: bool) -> Iterator[LabelRule]:
    if not (files or required):
        return
    problems: list[str] = []
    cleared = labels.clearances(files, problems)
    problems += [
        f"--clearance for policy {oid}, expected it with --label-policy"
        for oid in cleared
        if oid not in world.site.labelling.policies
    ]
    if problems:
        raise ConfigurationError(*problems)
    yield LabelRule(required, cleared, line="--clearance" if files else "--require-label")


def document(passage: Passage) -> dict[str, object]:
    """What a program is told of it."""
    return {
        "destination": passage.destination,
        "released": passage.released,
        "reasons": passage.reasons,
        "reviews": passage.reviews,
        "labels": passage.labels,
    }


def words(passage: Passage) -> Iterator[str]:
    """What a person is told of it."""
    yield f"{'release' if passage.released else 'hold'} for {passage.destination}"
    for code, text in passage.reasons:
        yield f"  {code}: {text}"
    for review in passage.reviews:
        at = f", signed {review.signed_at}" if review.signed_at else ""
        yield f"reviewed by: {review.reviewer} in layer {review.layer}{at}"
    for label in passage.labels:
        yield f"label: {label}"
