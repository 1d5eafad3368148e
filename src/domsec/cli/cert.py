"""`domsec cert`: what is in a certificate, and what it can serve as.

`domsec.cli.issuing` has how one comes to be, `domsec.cli.stored` how those of others are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from domsec import oids
from domsec.cli import console, lint, stored
from domsec.cli.console import Exit
from domsec.cli.issuing import cert_issue, cert_request, mail_domain
from domsec.cli.lint import Fitness, Wanted
from domsec.cli.options import ADDRESS, FILE, TIME, Given, json_option, output_option
from domsec.cli.remarks import remarks
from domsec.cli.replacing import cert_replace
from domsec.cli.world import ROLE_NAMES, role_of
from domsec.cms.certificates import Certificate
from domsec.errors import ConfigurationError, DomsecError, KeyUnusable
from domsec.mime.addresses import parse_address
from domsec.services.describe import addresses_of, or_addresses_of
from domsec.services.verdict import JSON
from domsec.stores import credentials, public_suffixes
from domsec.stores.certificates import certificates_in
from domsec.stores.files import read_file
from domsec.trust import usage
from domsec.trust.addresses import subject_text
from domsec.trust.association import DANE_TA, PKIX_TA, Association
from domsec.trust.names import name_text

if TYPE_CHECKING:
    from datetime import datetime


_KIND_NAMES: Final = {
    oids.ML_DSA_44: "ml-dsa-44",
    oids.ML_DSA_65: "ml-dsa-65",
    oids.ML_DSA_87: "ml-dsa-87",
    oids.ML_KEM_768: "ml-kem-768",
    oids.ML_KEM_1024: "ml-kem-1024",
}


@click.group()
def cert() -> None:
    """Certificates."""


cert.add_command(cert_request)
cert.add_command(cert_issue)
cert.add_command(cert_replace)
for _command in (
    stored.cert_import, stored.cert_list, stored.cert_export, stored.cert_approve, stored.cert_reject,
):  # fmt: skip
    cert.add_command(_command)

_PASSWORD = click.option("--password-file", type=FILE, metavar="FILE", help="Password of the key, in its first line.")
_AT = click.option("--at", type=TIME, metavar="TIME", help="The time to go by (RFC 3339); default now.")


def _certificates(file: Path, password_file: Path | None) -> tuple[Certificate, ...]:
    """Those in a file: PEM, DER, PKCS#7, or with their key in PKCS#12. Raises ConfigurationError, KeyUnusable."""
    octets = read_file(file)
    try:
        return certificates_in(octets, str(file))
    except ConfigurationError as problem:
        if octets[:1] != b"\x30":
            raise
        try:
            password = Given(password_file=password_file).password
            found = credentials.open_credential(str(file), password_file, environment_password=password)
        except KeyUnusable as other:
            raise ConfigurationError(*problem.problems, str(other)) from None
        return (found.certificate, *found.chain)


# --- lint -----------------------------------------------------------------------------------------------------------


@cert.command("lint")
@click.argument("file", type=FILE)
@click.option("--role", type=click.Choice(lint.ROLES), help="Only this one decides.")
@click.option("--domain", multiple=True, metavar="DOMAIN", help="A mail domain that it has to speak for.")
@click.option("--naming", type=click.Choice(["strict", "mailbox"]), default="strict", show_default=True,
              help="The naming convention: of RFC 3183, or agreed as mailbox names.")  # fmt: skip
@_PASSWORD
@_AT
@json_option
@output_option
def cert_lint(
    file: Path,
    role: lint.Part | None,
    domain: tuple[str, ...],
    naming: Literal["strict", "mailbox"],
    password_file: Path | None,
    at: datetime | None,
    output: Path | None,
    *,
    as_json: bool,
) -> int:
    """Say for each role whether the certificate in FILE can serve, and every reason why not.

    Remarks are of what does not keep it from serving: that it expires soon, what public CAs may not issue, and so on.
    Exit code 0 if it can serve as --role, or without that as at least one.
    """
    wanted = Wanted(Given(at=at).now, tuple(mail_domain(d) for d in domain), naming, public_suffixes.load())
    certificate = _leaf(_certificates(file, password_file))
    found = [lint.lint(certificate, r, wanted) for r in (lint.ROLES if role is None else (role,))]
    noticed = remarks(certificate, wanted.now)
    if as_json:
        report: JSON = {
            "certificate": _described(certificate),
            "roles": {
                f.role: {"name": f.name, "serves": f.serves, "scope": f.scope, "problems": list(f.problems)}
                for f in found
            },
            "remarks": list(noticed),
        }
        console.write_json(report, output)
    else:
        console.print_lines(_fitness(certificate, found, noticed), output)
    return Exit.DONE if any(f.serves for f in found) else Exit.REFUSED


def _leaf(found: Sequence[Certificate]) -> Certificate:
    """The one a file is about: the first that is no CA's."""
    for certificate in found:
        try:
            if not usage.is_ca(certificate):
                return certificate
        except DomsecError:
            return certificate
    return found[0]


def _x400(certificate: Certificate) -> list[str]:
    return [address.text for address in or_addresses_of(certificate)]


def _fitness(certificate: Certificate, found: Sequence[Fitness], noticed: Sequence[str]) -> Iterator[str]:
    yield f"{subject_text(certificate)}"
    if stated := (*addresses_of(certificate), *_x400(certificate)):
        yield f"addresses: {', '.join(stated)}"
    for fitness in found:
        scope = f" ({fitness.scope})" if fitness.scope else ""
        yield f"{fitness.name}: {'yes' if fitness.serves else 'no'}{scope}"
        yield from (f"  {problem}" for problem in fitness.problems)
    if noticed:
        yield "remarks:"
        yield from (f"  {text}" for text in noticed)


# --- show -----------------------------------------------------------------------------------------------------------


@cert.command("show")
@click.argument("file", metavar="FILE|SHA256")
@stored.store_options
@_PASSWORD
@json_option
@output_option
def cert_show(
    file: str,
    config: Path | None,
    store: str | None,
    password_file: Path | None,
    output: Path | None,
    *,
    as_json: bool,
) -> int:
    """Show the certificates in FILE, or the one of the store with this digest. Nothing is verified."""
    if Path(file).is_file():
        found = _certificates(Path(file), password_file)
    elif certificate := stored.from_store(file, config, store):
        found = (certificate,)
    else:
        raise click.BadParameter(f"{file!r} is no file, and no digest either", param_hint="FILE")
    if as_json:
        console.write_json([_described(certificate) for certificate in found], output)
    else:
        console.print_lines((line for certificate in found for line in _lines(certificate)), output)
    return Exit.DONE


def _described(certificate: Certificate) -> JSON:
    role = role_of(certificate)
    return {
        "subject": subject_text(certificate),
        "issuer": name_text(certificate.issuer),
        "serial": f"{certificate.serial:x}",
        "sha256": certificate.sha256,
        "addresses": list(addresses_of(certificate)),
        "x400_addresses": list(_x400(certificate)),
        "not_before": _time(certificate, "not_before"),
        "not_after": _time(certificate, "not_after"),
        "key": _key(certificate),
        "key_usage": _usage(certificate),
        "ca": _is_ca(certificate),
        "claims": ROLE_NAMES.get(role),
    }


def _lines(certificate: Certificate) -> Iterator[str]:
    described = _described(certificate)
    assert isinstance(described, dict)
    for number, (name, value) in enumerate(described.items()):
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        if shown not in (None, "", False):
            yield ("" if number == 0 else "  ") + f"{name.replace('_', ' ')}: {'yes' if shown is True else shown}"


def _time(certificate: Certificate, name: Literal["not_before", "not_after"]) -> str | None:
    try:
        moment = certificate.not_before if name == "not_before" else certificate.not_after
    except DomsecError:
        return None
    return moment.isoformat()


def _key(certificate: Certificate) -> str:
    try:
        key = certificate.public_key
    except DomsecError as problem:
        return str(problem)
    kind = _KIND_NAMES.get(certificate.key_algorithm) or type(key).__name__.removesuffix("PublicKey").strip("_").lower()
    size = getattr(key, "key_size", None)
    return f"{kind} {size}" if size else kind


def _usage(certificate: Certificate) -> list[JSON] | None:
    try:
        bits = usage.key_usage(certificate)
    except DomsecError:
        return None
    return None if bits is None else [name for name in usage.KEY_USAGE_BITS if name in bits]


def _is_ca(certificate: Certificate) -> bool:
    try:
        return usage.is_ca(certificate)
    except DomsecError:
        return False


# --- smimea ---------------------------------------------------------------------------------------------------------


@cert.command("smimea")
@click.argument("file", type=FILE)
@click.option("--address", multiple=True, type=ADDRESS, metavar="ADDR",
              help="Publish for this address; default is each that the certificate names.")  # fmt: skip
@click.option("--usage", "meant", type=click.IntRange(0, 3), default=3, show_default=True,
              help="3: this certificate; 2: what this CA issues; 1 and 0: the same, and it has to lead to an anchor of "
                   "the reader's.")  # fmt: skip
@click.option("--selector", type=click.IntRange(0, 1), default=0, show_default=True, help="0: certificate; 1: its key.")
@click.option("--matching", type=click.IntRange(0, 2), default=0, show_default=True,
              help="0: all of it, so that others find it there; 1: SHA-256; 2: SHA-512.")  # fmt: skip
@click.option("--generic", is_flag=True, help="Write the record for servers that do not know SMIMEA (RFC 3597).")
@_PASSWORD
@output_option
def cert_smimea(
    file: Path,
    password_file: Path | None,
    output: Path | None,
    *,
    address: tuple[str, ...],
    meant: int,
    selector: int,
    matching: int,
    generic: bool,
) -> int:
    """Print the DNS records that tell others of the certificate in FILE (RFC 8162), for a zone signed with DNSSEC.

    With --usage 0 or 2 those of the CA in FILE.
    """
    from domsec.stores.smimea import record_text

    found = _certificates(file, password_file)
    of_issuer = meant in (PKIX_TA, DANE_TA)
    certificate = found[-1] if of_issuer else _leaf(found)
    named = addresses_of(certificate)
    if not (published := address or named):
        raise ConfigurationError(f"{file}: the certificate names no address, expected --address")
    if of_issuer and not _is_ca(certificate):
        console.warning("the certificate is not that of a CA, so nothing will match the record")
    for each in published:
        if not of_issuer and not any(_same(each, other) for other in named):
            console.warning(f"the certificate does not name {each}, so nobody will use it for that address")
    record = Association.of(certificate, meant, selector, matching)
    console.print_lines((record_text(parse_address(each), record, generic=generic) for each in published), output)
    return Exit.DONE


def _same(one: str, other: str) -> bool:
    try:
        return parse_address(one).same_as(parse_address(other))
    except DomsecError:
        return False
