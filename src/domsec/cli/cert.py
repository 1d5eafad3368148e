"""`domsec cert`: what is in a certificate, what it can serve as, and a small CA for tests and private use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from domsec import oids
from domsec.cli import console, lint
from domsec.cli.console import Exit
from domsec.cli.lint import Fitness, Wanted
from domsec.cli.options import ADDRESS, FILE, TIME, Given, json_option, output_option
from domsec.cli.world import ROLE_NAMES, Role, role_of
from domsec.cms.certificates import Certificate
from domsec.cms.credential import PrivateKeyCredential
from domsec.errors import ConfigurationError, DomsecError, KeyUnusable, MalformedMessage
from domsec.mime.addresses import normalise_domain
from domsec.services.describe import addresses_of, or_addresses_of, subject_text
from domsec.services.verdict import JSON
from domsec.stores import credentials, public_suffixes
from domsec.stores.certificates import certificates_in
from domsec.stores.files import read_file
from domsec.trust import issue as ca
from domsec.trust import usage
from domsec.trust.names import name_text

if TYPE_CHECKING:
    from datetime import datetime

    from domsec.trust.issue import KeyKind, PrivateKey, SigningKey

KEY_KINDS: Final = (
    "rsa2048", "rsa3072", "rsa4096", "p256", "p384", "ed25519", "x25519",
    "ml-dsa-44", "ml-dsa-65", "ml-dsa-87", "ml-kem-768", "ml-kem-1024",
)  # fmt: skip
SUBJECT_ATTRIBUTES: Final = {
    "C": "2.5.4.6",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "ST": "2.5.4.8",
    "L": "2.5.4.7",
    "DC": "0.9.2342.19200300.100.1.25",
}
_KIND_NAMES: Final = {
    oids.ML_DSA_44: "ml-dsa-44",
    oids.ML_DSA_65: "ml-dsa-65",
    oids.ML_DSA_87: "ml-dsa-87",
    oids.ML_KEM_768: "ml-kem-768",
    oids.ML_KEM_1024: "ml-kem-1024",
}
CA_DAYS: Final = 3650
DAYS: Final = 365


@click.group()
def cert() -> None:
    """Certificates."""


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
    role: Role | None,
    domain: tuple[str, ...],
    naming: Literal["strict", "mailbox"],
    password_file: Path | None,
    at: datetime | None,
    output: Path | None,
    *,
    as_json: bool,
) -> int:
    """Say for each role whether the certificate in FILE can serve, and every reason why not.

    Exit code 0 if it can serve as --role, or without that as at least one.
    """
    wanted = Wanted(Given(at=at).now, tuple(_domain(d) for d in domain), naming, public_suffixes.load())
    certificate = _leaf(_certificates(file, password_file))
    found = [lint.lint(certificate, r, wanted) for r in (lint.ROLES if role is None else (role,))]
    if as_json:
        report: JSON = {
            "certificate": _described(certificate),
            "roles": {f.role: {"name": f.name, "serves": f.serves, "problems": list(f.problems)} for f in found},
        }
        console.write_json(report, output)
    else:
        console.print_lines(_fitness(certificate, found), output)
    return Exit.DONE if any(f.serves for f in found) else Exit.REFUSED


def _leaf(found: Sequence[Certificate]) -> Certificate:
    """The one a file is about: the first that is no CA's."""
    for certificate in found:
        try:
            if not lint.is_authority_for_certificates(certificate):
                return certificate
        except DomsecError:
            return certificate
    return found[0]


def _domain(text: str) -> str:
    try:
        return normalise_domain(text)
    except MalformedMessage as problem:
        raise click.BadParameter(f"{text!r} is no domain: {problem}", param_hint="--domain") from None


def _x400(certificate: Certificate) -> list[str]:
    return [address.text for address in or_addresses_of(certificate)]


def _fitness(certificate: Certificate, found: Sequence[Fitness]) -> Iterator[str]:
    yield f"{subject_text(certificate)}"
    if stated := (*addresses_of(certificate), *_x400(certificate)):
        yield f"addresses: {', '.join(stated)}"
    for fitness in found:
        if fitness.serves:
            uses = f" ({' and '.join(lint.can(certificate))})" if fitness.role == "user" else ""
            yield f"{fitness.name}: yes{uses}"
        else:
            yield f"{fitness.name}: no"
        for problem in fitness.problems:
            yield f"  {problem}"


# --- show -----------------------------------------------------------------------------------------------------------


@cert.command("show")
@click.argument("file", type=FILE)
@_PASSWORD
@json_option
@output_option
def cert_show(file: Path, password_file: Path | None, output: Path | None, *, as_json: bool) -> int:
    """Show the certificates in FILE. Nothing is verified."""
    found = _certificates(file, password_file)
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
        return lint.is_authority_for_certificates(certificate)
    except DomsecError:
        return False


# --- issue ----------------------------------------------------------------------------------------------------------


@cert.command("issue")
@click.option("--ca-name", metavar="NAME", help="Make a CA with this common name.")
@click.option("--ca", "ca_file", type=FILE, metavar="FILE", help="The CA that issues: its key and certificate.")
@click.option("--role", type=click.Choice(list(ROLE_NAMES)), help="Issue for this role of --domain.")
@click.option("--domain", metavar="DOMAIN", help="The mail domain that a role is for.")
@click.option("--user", type=ADDRESS, metavar="ADDR", help="Issue for a person with this address.")
@click.option("--name", metavar="NAME", help="The common name of a person; default is the address.")
@click.option("--subject", multiple=True, metavar="KEY=VALUE",
              help="Attributes before the common name, root first: C, O, OU, ST, L, DC.")  # fmt: skip
@click.option("--key", "kind", type=click.Choice(KEY_KINDS), default="p256", show_default=True, help="Kind of key.")
@click.option("--days", type=click.IntRange(1, 36500), help=f"Days it is valid; default {DAYS}, for a CA {CA_DAYS}.")
@click.option("--certificate", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the certificate here as well, without the key: what others need.")  # fmt: skip
@click.option("--password-file", type=FILE, metavar="FILE",
              help="Password of the CA's key, and to protect the new key with.")  # fmt: skip
@_AT
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="The new key and certificate; must not exist, gets mode 0600.")  # fmt: skip
def cert_issue(
    ca_name: str | None,
    ca_file: Path | None,
    role: Role | None,
    domain: str | None,
    user: str | None,
    name: str | None,
    subject: tuple[str, ...],
    kind: KeyKind,
    days: int | None,
    certificate: Path | None,
    password_file: Path | None,
    at: datetime | None,
    output: Path,
) -> int:
    """Issue certificates with their keys, from a small CA for tests and private use.

    \b
    domsec cert issue --ca-name "Acme CA" -o ca.pem
    domsec cert issue --ca ca.pem --role signing --domain acme.example -o dsa.pem
    domsec cert issue --ca ca.pem --user alice@acme.example -o alice.pem
    """
    asked = [option for option in (ca_name, role, user) if option is not None]
    if len(asked) != 1:
        raise click.UsageError("expected one of --ca-name, --role and --user")
    if ca_name is None and ca_file is None:
        raise click.UsageError("expected --ca with the CA that issues")
    if (role is None) != (domain is None):
        raise click.UsageError("expected --role and --domain together")
    for file in (output, certificate):
        if file is not None and file.exists():
            raise ConfigurationError(f"{file}: exists already, and is not overwritten")
    now = Given(at=at).now - timedelta(minutes=5)  # clocks of others may be behind ours
    given = tuple(_attribute(text) for text in subject)
    new = ca.new_key(kind)
    issuer = _issuer(ca_file, password_file) if ca_file is not None else None
    if ca_name is not None:
        made = _ca(new, (*given, ("2.5.4.3", ca_name)), now, days or CA_DAYS, issuer)
    else:
        assert issuer is not None
        whom = _domain(domain) if domain is not None else user or ""
        made = ca.issue(
            role or "user", whom, new.public_key(), issuer[0], issuer[1], now=now, days=days or DAYS, subject=given,
            name=name,
        )  # fmt: skip
    chain = [made, *((issuer[0],) if issuer is not None and issuer[0].subject != issuer[0].issuer else ())]
    _write_private(_pem_key(new, password_file) + b"".join(_pem(c) for c in chain), output)
    if certificate is not None:
        console.write(_pem(made), certificate)
    if role is not None:
        for problem in lint.lint(
            made, role, Wanted(Given(at=at).now, is_public_suffix=public_suffixes.load())
        ).problems:
            console.warning(f"{output} cannot serve as {ROLE_NAMES[role]}: {problem}")
    console.note(f"{output}: {subject_text(made)}, valid until {made.not_after:%Y-%m-%d}")
    return Exit.DONE


def _attribute(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not value or key.strip().upper() not in SUBJECT_ATTRIBUTES:
        wanted = ", ".join(SUBJECT_ATTRIBUTES)
        raise click.BadParameter(f"{text!r}, expected KEY=VALUE with one of {wanted}", param_hint="--subject")
    return SUBJECT_ATTRIBUTES[key.strip().upper()], value


def _issuer(file: Path, password_file: Path | None) -> tuple[Certificate, SigningKey]:
    """A CA to issue with. Raises KeyUnusable for what is none."""
    password = Given(password_file=password_file).password
    found = credentials.open_credential(str(file), password_file, environment_password=password)
    if not lint.is_authority_for_certificates(found.certificate):
        raise KeyUnusable(f"{file}: not the certificate of a CA")
    if not isinstance(found, PrivateKeyCredential) or not isinstance(found.key, ca.SigningKey):
        raise KeyUnusable(f"{file}: this kind of key cannot issue certificates")
    return found.certificate, found.key


def _ca(
    new: PrivateKey,
    subject: Sequence[tuple[str, str]],
    now: datetime,
    days: int,
    issuer: tuple[Certificate, SigningKey] | None,
) -> Certificate:
    if not isinstance(new, ca.SigningKey):
        raise KeyUnusable("a CA needs a key that signs, expected another --key")
    above, key = issuer if issuer is not None else (None, None)
    return ca.issue_ca(subject, new, now=now, days=days, issuer_cert=above, issuer_key=key)


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.x509.public_bytes(Encoding.PEM)


def _pem_key(key: PrivateKey, password_file: Path | None) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        KeySerializationEncryption,
        NoEncryption,
        PrivateFormat,
    )

    protection: KeySerializationEncryption = NoEncryption()
    if password_file is not None:
        protection = BestAvailableEncryption(credentials.read_password(password_file))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def _write_private(octets: bytes, output: Path) -> None:
    """A new file that only its owner may read, from the moment it exists (RFC 3183 section 6)."""
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"{output}: exists already, and is not overwritten") from None
    except OSError as problem:
        raise ConfigurationError(f"{output}: cannot be written: {problem.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
