"""`domsec verify`: the verdict on a message, for people or as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import click

from domsec.cli import console, explained
from domsec.cli.console import Exit
from domsec.cli.options import Given, archive_option, common, file_argument, json_option, output_option
from domsec.services.verdict import Flag, Label, Labels, LayerVerdict, SignerVerdict, Verdict
from domsec.trust.names import escaped


@click.command()
@file_argument
@click.option(
    "--explain",
    is_flag=True,
    help="Each layer in plain words; for each flag the clause, what was seen, what would have passed.",
)
@archive_option
@json_option
@output_option
@common
def verify(given: Given, file: Path | None, output: Path | None, *, explain: bool, archive: bool, as_json: bool) -> int:
    """Open what the credentials can open in FILE, verify every layer, and give the verdict."""
    from domsec.cli.reading import read_input
    from domsec.cli.world import load_world
    from domsec.services.check import examine
    from domsec.services.discovery import for_signers
    from domsec.services.layers import peel

    world = load_world(given)
    context = dataclasses.replace(world.context, archive=archive)
    octets = read_input(file, context.limits)
    message = peel(octets, context.keyring, context.limits, archive=archive)
    examination = examine(message, context)
    if world.site.asks and (wanted := for_signers(message, examination.findings, context)):
        context = dataclasses.replace(world.asking(wanted).context, archive=archive)
        examination = examine(message, context)
    verdict = examination.verdict
    if as_json:
        console.write_json(verdict.to_json(), output)
    else:
        console.print_lines(report(verdict, explain=explain), output)
    if not verdict.accepted and world.trusts_nobody:
        console.hint("no anchor is trusted: name some with --trust, or a configuration with --config")
    return exit_code(verdict)


def exit_code(verdict: Verdict) -> Exit:
    """The worst that was seen."""
    if verdict.malformed:
        return Exit.MALFORMED
    if verdict.violations:
        return Exit.VIOLATION
    return Exit.DONE if verdict.accepted else Exit.REFUSED


def report(verdict: Verdict, *, explain: bool = False) -> Iterator[str]:
    """A verdict in words: the answer first, then what it rests on."""
    domain = f", domain {verdict.domain}" if verdict.domain else ""
    yield f"{'accepted' if verdict.accepted else 'not accepted'}: level {verdict.level}{domain}"
    yield f"structure: {verdict.structure}"
    yield f"meaning: {_meaning(verdict)}"
    stated = ", ".join(verdict.from_.mailboxes) or "nobody"
    yield f"from: {stated}" + ("" if verdict.from_.valid else " (no usable From field)")
    if verdict.originator is not None:
        who = verdict.originator
        by = "as its certificate says" if who.source == "certificate" else f"as stated by {verdict.domain}"
        yield f"originator: {who.name} <{', '.join(who.addresses)}>, {by}"
    yield f"header: {', '.join(verdict.headers) + ' protected' if verdict.headers else 'unprotected'}"
    for title, subjects in (
        ("reviewed by", verdict.reviewed_by),
        ("additional attributes by", verdict.additional_attributes),
    ):
        for subject in subjects:
            yield f"{title}: {subject}"
    yield from _labels(verdict.labels)
    for expansion in verdict.mlh:
        yield f"expanded by list: {expansion.mail_list_identifier} at {expansion.expansion_time}"
    yield from (f"protected part, judged apart: {part}" for part in verdict.embedded if not explain)
    if explain:
        yield from explained.layers(verdict)
        yield from explained.embedded(verdict)
        return
    for layer in verdict.layers:
        yield from _layer(layer)
    if verdict.flags:
        yield "flags:"
    for flag in verdict.flags:
        yield _flag(flag)


def _labels(labels: Labels) -> Iterator[str]:
    if labels.original is not None:
        yield f"label: {_label(labels.original)}"
    for equivalent in labels.equivalent:
        trust = "trusted" if equivalent.trusted else "not trusted"
        yield f"equivalent label, {trust}: {_label(equivalent)}"
    for aggregate in labels.aggregate:
        yield f"additional label: {_label(aggregate)}"
    if labels.effective not in (None, labels.original):
        yield f"label that counts: {_label(labels.effective)}"


def _label(label: Label) -> str:
    classification = "" if label.classification is None else f" classification {label.classification}"
    mark = f' "{escaped(label.privacy_mark)}"' if label.privacy_mark else ""
    categories = f" {len(label.categories)} categories" if label.categories else ""
    if label.marking is not None:
        return f"{escaped(label.marking)}{mark}, layer {label.layer}, by {label.signer}"
    return f"policy {label.policy}{classification}{mark}{categories}, layer {label.layer}, by {label.signer}"


def _meaning(verdict: Verdict) -> str:
    who = verdict.originator
    names = {"domain": verdict.domain or "", "originator": ", ".join(who.addresses) or who.name if who else "somebody"}
    text = explained.LEVELS[verdict.level].format(**names)
    if verdict.level != "none" and not verdict.accepted:
        return f"{text}; but a rule is broken, so do not rely on it"
    return text


def _layer(layer: LayerVerdict) -> Iterator[str]:
    where = "" if layer.form == "opaque" else f" {layer.form}"
    roles = f" as {'+'.join(layer.roles)}" if layer.roles else ""
    state = f": {layer.state}" if layer.state and layer.state != "null" else ""
    yield f"layer {layer.id}: {layer.kind}{where}{roles}{state}" + _about(layer)
    for signer in layer.signers:
        yield f"  {_signer(signer)}"
        for countersignature in signer.countersignatures:
            yield from explained.countersignature(countersignature, "    ")
    if layer.encryption is not None:
        encryption = layer.encryption
        opened = f"opened by {encryption.opened_by}" if encryption.opened else "closed"
        yield f"  {encryption.cipher}, {len(encryption.recipients)} recipients, {opened}"


def _about(layer: LayerVerdict) -> str:
    words = []
    if layer.kind == "signed" and layer.coverage not in (None, "plaintext"):
        words.append(f"covers {layer.coverage}")
    if layer.mapping is not None:
        words.append("covers the From domain" if layer.mapping["passed"] else "does not cover the From domain")
    if layer.address is not None:
        words.append(f"address {layer.address}")
    return f" ({', '.join(words)})" if words else ""


def _signer(signer: SignerVerdict) -> str:
    who = signer.subject or "a signer whose certificate is not at hand"
    words = [f"signature {signer.crypto}"]
    if signer.path is not None:
        words.append(f"path {signer.path}")
    if signer.revocation is not None:
        words.append(f"revocation {signer.revocation}")
    if signer.state != "valid" and signer.reason:
        words.append(signer.reason)
    return f"{who}: {', '.join(words)}"


def _flag(flag: Flag) -> str:
    where = f" in layer {flag.layer}" if flag.layer else ""
    return f"  {flag.severity}: {flag.code}{where}: {flag.text}"
