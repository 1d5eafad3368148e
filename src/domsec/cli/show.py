"""`domsec show`: what a message says of itself, as a tree or as JSON. No key is trusted and no signature verified."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from domsec import oids
from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.options import Given, archive_option, common, file_argument, json_option, output_option

if TYPE_CHECKING:
    from domsec.cms.credential import Credential
    from domsec.services.describe import (
        CountersignerDescription,
        Description,
        LayerDescription,
        SignerDescription,
    )

KINDS: Final = {
    "signed": "signed",
    "null": "empty signature",
    "certs_only": "certificates only",
    "enveloped": "encrypted",
    "auth_enveloped": "encrypted and authenticated",
    "compressed": "compressed",
    "rfc822": "message",
    "content": "content",
    "unsupported": "not readable",
}
_INDENT: Final = "  "
_MANY: Final = 20  # recipients and certificates shown to a person; JSON has them all


@click.command()
@file_argument
@archive_option
@json_option
@output_option
@common
def show(given: Given, file: Path | None, output: Path | None, *, archive: bool, as_json: bool) -> int:
    """Show layers, signers, types, attributes and recipients of FILE, without any trust decision.

    FILE is mail, or CMS by itself in DER, PEM or base64.
    """
    from domsec.cli.reading import UNCONFIGURED, read_input
    from domsec.services.describe import describe
    from domsec.services.layers import peel

    described = describe(peel(read_input(file), _keyring(given), UNCONFIGURED, archive=archive))
    if as_json:
        console.write_json(described.to_json(), output)
    else:
        console.print_lines(_tree(described), output)
    return Exit.MALFORMED if described.malformed else Exit.DONE


def _keyring(given: Given) -> tuple[Credential, ...]:
    if not given.credential and given.configuration()[0] is None:
        return ()
    from domsec.cli.world import open_keyring

    return open_keyring(given)


def _tree(described: Description) -> Iterator[str]:
    yield f"structure: {described.structure}"
    stated = ", ".join(described.from_.mailboxes) or "nobody"
    yield f"from: {stated}" + ("" if described.from_.valid else " (no usable From field)")
    if described.from_.inner:
        yield f"from, inside: {', '.join(described.from_.inner)}"
    for depth, layer in enumerate(described.layers):
        for number, line in enumerate(_layer(layer)):
            yield _INDENT * depth + ("" if number == 0 else _INDENT) + line
    loose = [flag for flag in described.flags if flag.layer is None]
    for flag in loose:
        yield f"! {flag.code}: {flag.text}"


def _layer(layer: LayerDescription) -> Iterator[str]:
    where = "" if layer.form == "opaque" else f", {layer.form}"
    yield f"{layer.id} {KINDS[layer.kind]}{where}, {layer.content_type}, {layer.octets} octets"
    for signer in layer.signers:
        yield from _signer(signer)
    if isinstance(layer.receipt, dict):
        yield f"receipt for: {layer.receipt['signed_content_identifier']} ({layer.receipt['content_type']})"
    if layer.certificates:
        yield f"certificates: {_some(layer.certificates, '; ')}"
    if layer.crls:
        yield f"revocation lists: {layer.crls}"
    if layer.encryption is not None:
        encryption = layer.encryption
        yield f"cipher: {encryption.cipher}"
        yield f"opened by: {encryption.opened_by}" if encryption.opened else "closed"
        for recipient in encryption.recipients[:_MANY]:
            yield f"recipient: {recipient}"
        if len(encryption.recipients) > _MANY:
            yield f"and {len(encryption.recipients) - _MANY} more"
        for originator in encryption.originator:
            yield f"originator information: {originator}"
    if layer.protected is not None:
        yield f"header fields inside: {', '.join(layer.protected)}"
    if layer.hidden:
        yield f"hidden outside: {', '.join(layer.hidden)}"
    for flag in layer.flags:
        yield f"! {flag.code}: {flag.text}"


def _signer(signer: SignerDescription) -> Iterator[str]:
    types = "no signature type" if signer.types is None else f"types {'+'.join(signer.types) or 'not readable'}"
    yield f"signer: {signer.subject or signer.identifier} ({types})"
    if signer.subject is None:
        yield f"{_INDENT}the certificate is not in the message"
    else:
        yield f"{_INDENT}issuer: {signer.issuer}, serial {signer.serial}"
    if stated := (*signer.addresses, *signer.x400_addresses):
        yield f"{_INDENT}addresses: {', '.join(stated)}"
    yield f"{_INDENT}algorithm: {signer.algorithm} with {signer.digest}"
    for oid, name in signer.attributes.items():
        yield f"{_INDENT}{name}: {signer.values[oid]}"
    for oid, name in signer.unsigned.items():
        if oid != oids.ID_COUNTERSIGNATURE or not signer.countersignatures:
            yield f"{_INDENT}unsigned {name}"
    for countersigner in signer.countersignatures:
        yield from _countersigner(countersigner, _INDENT)


def _countersigner(one: CountersignerDescription, indent: str) -> Iterator[str]:
    when = f" at {one.signing_time}" if one.signing_time else ""
    yield f"{indent}countersigned by: {one.subject or one.identifier} ({one.algorithm} with {one.digest}{when})"
    for inner in one.countersignatures:
        yield from _countersigner(inner, indent + _INDENT)


def _some(texts: tuple[str, ...], joint: str) -> str:
    shown = joint.join(texts[:_MANY])
    return f"{shown}{joint}and {len(texts) - _MANY} more" if len(texts) > _MANY else shown
