"""`domsec cert import`, `list`, `export`, `approve` and `reject`: the certificates of others, kept in the database."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import click

from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.options import ADDRESS, FILE, PLACE, TIME, Given, json_option, output_option
from domsec.cms.certificates import Certificate
from domsec.errors import DomsecError
from domsec.services.describe import addresses_of
from domsec.services.verdict import JSON
from domsec.trust.addresses import subject_text
from domsec.trust.names import name_text

if TYPE_CHECKING:
    from datetime import datetime

    from domsec.stores.certificate_table import Added, CertificateTable, Entry, State
    from domsec.stores.imports import Imported

C = TypeVar("C", bound=Callable[..., object])
Format = Literal["pem", "der", "pkcs7", "ldif"]

STATES: Final = ("approved", "quarantined", "rejected")
DIGITS: Final = 16  # of a digest, where a line names a certificate

_CONFIG = click.option("--config", type=FILE, metavar="FILE", help="Configuration whose store it is.")
_STORE = click.option("--store", metavar="URL", help="The store itself: sqlite:///PATH or postgresql://...")
_AT = click.option("--at", type=TIME, metavar="TIME", help="The time to go by (RFC 3339); default now.")
_BY = click.option("--by", metavar="NAME", help="Who decides; default is who is logged in.")
_NOTE = click.option("--note", default="", metavar="TEXT", help="Why; kept with the decision.")
_WHICH = click.argument("digest", nargs=-1, required=True, metavar="SHA256...")


def store_options(command: C) -> C:
    """--config and --store, which `open_table` takes."""
    return _CONFIG(_STORE(command))


def open_table(config: Path | None, store: str | None) -> CertificateTable:
    """The store that options name. Raises ConfigurationError, StoreUnavailable."""
    from domsec.policy.configuration import Configuration
    from domsec.stores.certificate_table import CertificateTable

    if store is not None:
        return CertificateTable.open(store)
    found, _ = Given(config=config).configuration()
    if found is None:
        raise click.UsageError("no store, expected --store, --config, $DOMSEC_CONFIG or ./domsec.toml")
    return CertificateTable.open(Configuration.load(found).store.url)


def person(by: str | None) -> str:
    """Who types this, for the record."""
    return by or os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


# --- import ---------------------------------------------------------------------------------------------------------


@click.command("import")
@click.argument("places", nargs=-1, required=True, type=PLACE, metavar="FILE|DIR...")
@store_options
@click.option("--password-file", type=FILE, metavar="FILE", help="Password of PKCS#12 files, in its first line.")
@_BY
@_AT
@json_option
def cert_import(
    places: tuple[Path, ...],
    config: Path | None,
    store: str | None,
    password_file: Path | None,
    by: str | None,
    at: datetime | None,
    *,
    as_json: bool,
) -> int:
    """Put the certificates of files and folders into the store: PEM, DER, PKCS#7, PKCS#12 and LDIF.

    You vouch for what they hold: it is used to encrypt as soon as a path leads from it to an anchor. Exit code 5 if a
    file, or a part of one, could not be read; everything else is imported all the same.
    """
    from domsec.stores.imports import imported

    now, who = Given(at=at).now, person(by)
    table = open_table(config, store)
    report: list[JSON] = []
    broken = False
    for file in imported(places, _password(password_file)):
        added = table.add(file.certificates, origin=f"imported from {file.path}", by=who, now=now)
        broken = broken or bool(file.problems or added.refused)
        report.append(_imported(file, added))
        _say(file, added)
    table.close()
    if as_json:
        console.write_json(report)
    return Exit.MALFORMED if broken else Exit.DONE


def _password(password_file: Path | None) -> bytes | None:
    from domsec.stores.credentials import read_password

    if password_file is not None:
        return read_password(password_file)
    password = Given().password
    return password.encode() if password else None


def _say(file: Imported, added: Added) -> None:
    for problem in file.problems:
        console.error(str(problem))
    for certificate, why in added.refused:
        console.error(f"{file.path}: {_named(certificate)} is not kept: {why}")
    for certificate in added.rejected:
        console.warning(f"{file.path}: {_named(certificate)} was rejected before and stays so, unless approved")
    counts = ((added.new, "new"), (added.known, "known already"), (added.approved, "approved from quarantine"))
    if told := [f"{len(which)} {what}" for which, what in counts if which]:
        console.note(f"{file.path}: {', '.join(told)}")


def _imported(file: Imported, added: Added) -> JSON:
    return {
        "file": str(file.path),
        "new": [c.sha256 for c in added.new],
        "known": [c.sha256 for c in added.known],
        "approved": [c.sha256 for c in added.approved],
        "rejected": [c.sha256 for c in added.rejected],
        "problems": [*(problem.text for problem in file.problems), *(why for _, why in added.refused)],
    }


def _named(certificate: Certificate) -> str:
    return f"{certificate.sha256[:DIGITS]} {subject_text(certificate)}"


# --- approve and reject ---------------------------------------------------------------------------------------------


@click.command("approve")
@_WHICH
@store_options
@_NOTE
@_BY
@_AT
def cert_approve(
    digest: tuple[str, ...], config: Path | None, store: str | None, note: str, by: str | None, at: datetime | None
) -> int:
    """Let certificates of the store be used, which wait in quarantine or were rejected.

    SHA256 is the digest of one, or the first 8 or more digits of it.
    """
    return _decide(digest, "approved", open_table(config, store), note=note, by=person(by), now=Given(at=at).now)


@click.command("reject")
@_WHICH
@store_options
@_NOTE
@_BY
@_AT
def cert_reject(
    digest: tuple[str, ...], config: Path | None, store: str | None, note: str, by: str | None, at: datetime | None
) -> int:
    """Let certificates of the store be used no more. They stay known, and so do not come back by themselves."""
    return _decide(digest, "rejected", open_table(config, store), note=note, by=person(by), now=Given(at=at).now)


def _decide(digests: Sequence[str], state: State, table: CertificateTable, *, note: str, by: str, now: datetime) -> int:
    chosen = [table.find(digest).certificate for digest in digests]  # all of them, or nothing is done
    for certificate in chosen:
        table.decide(certificate.sha256, state, by=by, now=now, note=note)
        console.note(f"{state}: {_named(certificate)}")
    table.close()
    return Exit.DONE


# --- list -----------------------------------------------------------------------------------------------------------


@click.command("list")
@store_options
@click.option(
    "--state", type=click.Choice(STATES), help="Only these; default is all, or with --expiring approved ones."
)
@click.option("--address", type=ADDRESS, metavar="ADDR", help="Only those with this mail address.")
@click.option("--issuer", type=FILE, metavar="FILE", help="Only those that the CA with this certificate issued.")
@click.option("--expiring", type=click.IntRange(0, 36500), metavar="DAYS",
              help="Only those that end within so many days, and those that have ended.")  # fmt: skip
@_AT
@json_option
@output_option
def cert_list(
    config: Path | None,
    store: str | None,
    state: State | None,
    address: str | None,
    issuer: Path | None,
    expiring: int | None,
    at: datetime | None,
    output: Path | None,
    *,
    as_json: bool,
) -> int:
    """List the certificates of the store, by the end of their validity.

    With --expiring those of a configuration come first: of our own keys the last of each role, and those in files. The
    exit code is 1 if there is anything to list.
    """
    table = open_table(config, store)
    until = None if expiring is None else Given(at=at).now + timedelta(days=expiring)
    entries = table.entries(
        state or ("approved" if expiring is not None else None),
        until=until,
        address=address,
        issuer=None if issuer is None else issuer_name(issuer),
    )
    listed = list(entries)
    table.close()
    everything = until is not None and store is None and not (state or address or issuer)
    first = _configured(config, until) if everything and until is not None else []
    if as_json:
        console.write_json([*(_placed(*one) for one in first), *map(_described, listed)], output)
    else:
        console.print_lines((*(_placed_line(*one) for one in first), *map(_line, listed)), output)
    return Exit.REFUSED if expiring is not None and (first or listed) else Exit.DONE


def _configured(config: Path | None, until: datetime) -> list[tuple[str, Certificate]]:
    """Of what the configuration names: our own that have no later successor, and those in files."""
    from domsec.cli.own import configured, keys_in_use
    from domsec.policy.configuration import Configuration
    from domsec.site import load_held

    given = Given(config=config)
    path, _ = given.configuration()
    if path is None:
        return []
    configuration = Configuration.load(path)
    last: dict[str, Certificate] = {}
    try:
        for own in keys_in_use(configuration, given.password):
            if own.place not in last or own.certificate.not_after > last[own.place].not_after:
                last[own.place] = own.certificate
    except DomsecError as problem:
        console.warning(f"our own certificates are not looked at: {problem}")
    users = load_held(configuration, given.password).last()
    found = [*last.items(), *((f"users {address}", c) for address, c in users), *configured(configuration)]
    return sorted(((p, c) for p, c in found if c.not_after <= until), key=lambda pair: pair[1].not_after)


def whose(certificate: Certificate) -> str:
    """Its addresses, else its subject."""
    return ", ".join(addresses_of(certificate)) or subject_text(certificate)


def _placed_line(place: str, certificate: Certificate) -> str:
    return f"{certificate.sha256[:DIGITS]} {place:<11} until {certificate.not_after:%Y-%m-%d} {whose(certificate)}"


def _placed(place: str, certificate: Certificate) -> JSON:
    return {
        "sha256": certificate.sha256,
        "state": "configured",
        "place": place,
        "subject": subject_text(certificate),
        "not_after": certificate.not_after.isoformat(),
    }


def issuer_name(file: Path) -> bytes:
    """The name of the CA whose certificate is in a file. Raises ConfigurationError."""
    from domsec.stores.certificates import certificates_in
    from domsec.stores.files import read_file

    return certificates_in(read_file(file), str(file))[0].subject


def _line(entry: Entry) -> str:
    return _placed_line(entry.state, entry.certificate)


def _described(entry: Entry) -> JSON:
    certificate = entry.certificate
    return {
        "sha256": certificate.sha256,
        "state": entry.state,
        "subject": subject_text(certificate),
        "issuer": name_text(certificate.issuer),
        "serial": f"{certificate.serial:x}",
        "addresses": list(addresses_of(certificate)),
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "origin": entry.origin,
        "added_at": entry.added_at.isoformat(),
        "decided_at": entry.decided_at.isoformat() if entry.decided_at else None,
        "decided_by": entry.decided_by,
        "note": entry.note,
    }


# --- export ---------------------------------------------------------------------------------------------------------


@click.command("export")
@click.argument("digest", nargs=-1, metavar="[SHA256...]")
@store_options
@click.option("--address", type=ADDRESS, metavar="ADDR", help="The approved ones with this mail address.")
@click.option("--all", "everything", is_flag=True, help="All that are approved.")
@click.option("--format", "form", type=click.Choice(["pem", "der", "pkcs7", "ldif"]), default="pem", show_default=True,
              help="DER holds one; PKCS#7 is certs-only, LDIF changes entries of a directory.")  # fmt: skip
@click.option("--dn", metavar="DN", help="For LDIF: the entry they belong to; default is the subject of each.")
@output_option
def cert_export(
    digest: tuple[str, ...],
    config: Path | None,
    store: str | None,
    address: str | None,
    everything: bool,
    form: Format,
    dn: str | None,
    output: Path | None,
) -> int:
    """Write certificates of the store for others."""
    if len([way for way in (digest, address, everything) if way]) != 1:
        raise click.UsageError("expected digests, --address or --all")
    table = open_table(config, store)
    if digest:
        chosen: Iterable[Certificate] = [table.find(one).certificate for one in digest]
    else:
        chosen = [entry.certificate for entry in table.entries("approved", address=address)]
    table.close()
    found = tuple(dict.fromkeys(chosen))
    if not found:
        console.error("no approved certificate to export")
        return Exit.REFUSED
    if form == "der" and len(found) != 1:
        raise click.UsageError(f"{len(found)} certificates, expected one for DER")
    console.write(written(found, form, dn), output)
    return Exit.DONE


def written(certificates: Sequence[Certificate], form: Format, dn: str | None = None) -> bytes:
    """Certificates as a file for others. Raises MalformedMessage for one that cannot be loaded."""
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

    match form:
        case "der":
            return certificates[0].der
        case "pem":
            return b"".join(c.x509.public_bytes(Encoding.PEM) for c in certificates)
        case "pkcs7":
            return pkcs7.serialize_certificates([c.x509 for c in certificates], Encoding.PEM)
        case "ldif":
            return b"".join(_ldif(certificates, dn))


def _ldif(certificates: Sequence[Certificate], dn: str | None) -> Iterator[bytes]:
    from domsec.stores import ldif

    yield b"version: 1\n\n"
    if dn is not None:
        yield ldif.addition(dn, certificates)
        return
    for certificate in certificates:
        yield ldif.addition(name_text(certificate.subject), [certificate])


def from_store(digest: str, config: Path | None, store: str | None) -> Certificate | None:
    """For `domsec cert show`: the certificate of a digest; None for what can be none. Raises NoSuchCertificate."""
    from domsec.stores.certificate_table import is_digest

    if not is_digest(digest):
        return None
    table = open_table(config, store)
    try:
        return table.find(digest).certificate
    finally:
        table.close()
