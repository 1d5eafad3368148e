"""`domsec cert request` and `domsec cert issue`: keys, requests for certificates, and a small CA that answers them."""

from __future__ import annotations

import base64
import os
import textwrap
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from domsec import oids
from domsec.cli import console, lint
from domsec.cli.console import Exit
from domsec.cli.lint import Wanted
from domsec.cli.options import ADDRESS, FILE, TIME, Given, output_option
from domsec.cli.world import ROLE_NAMES, Role
from domsec.cms.certificates import Certificate
from domsec.cms.credential import PrivateKeyCredential
from domsec.errors import ConfigurationError, KeyUnusable, MalformedMessage, SignatureInvalid
from domsec.mime.addresses import normalise_domain
from domsec.stores import credentials, public_suffixes
from domsec.stores.certificates import load_certificates
from domsec.stores.files import read_file
from domsec.stores.pem import blocks, is_pem
from domsec.trust import issue as ca
from domsec.trust import request as requests
from domsec.trust import usage
from domsec.trust.addresses import subject_text

if TYPE_CHECKING:
    from datetime import datetime

    from domsec.trust.issue import KeyKind, Naming, PrivateKey, SigningKey
    from domsec.trust.request import Holder

KEY_KINDS: Final = (
    "rsa2048", "rsa3072", "rsa4096", "p256", "p384", "ed25519", "x25519",
    "ml-dsa-44", "ml-dsa-65", "ml-dsa-87", "ml-kem-768", "ml-kem-1024",
)  # fmt: skip
SUBJECT_ATTRIBUTES: Final = {
    "C": oids.COUNTRY_NAME,
    "O": oids.ORGANIZATION_NAME,
    "OU": oids.ORGANIZATIONAL_UNIT_NAME,
    "ST": oids.STATE_OR_PROVINCE_NAME,
    "L": oids.LOCALITY_NAME,
    "DC": oids.DOMAIN_COMPONENT,
}
CA_DAYS: Final = 3650
DAYS: Final = 365
_CLOCKS: Final = timedelta(minutes=5)  # those of others may be behind ours
_LABELS: Final = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")  # RFC 7468 7

Whom = tuple[Role, str]  # and the role's domain, or the person's address

_ROLE = click.option("--role", type=click.Choice(list(ROLE_NAMES)), help="For this role of --domain.")
_DOMAIN = click.option("--domain", metavar="DOMAIN", help="The mail domain that a role is for.")
_USER = click.option("--user", type=ADDRESS, metavar="ADDR", help="For a person with this address, or a mail list.")
_NAME = click.option("--name", metavar="NAME", help="The common name of a person; default is the address.")
_SUBJECT = click.option(
    "--subject", multiple=True, metavar="KEY=VALUE",
    help="Attributes before the common name, root first: C, O, OU, ST, L, DC.",
)  # fmt: skip
_NAMING = click.option("--naming", type=click.Choice(["strict", "mailbox"]), default="strict", show_default=True,
                       help="How a role is named: as RFC 3183 has it, or by its address only, as public CAs "
                            "issue them.")  # fmt: skip
_KEY = click.option("--key", "kind", type=click.Choice(KEY_KINDS), help="Kind of key; default p256.")


# --- request --------------------------------------------------------------------------------------------------------


@click.command("request")
@_ROLE
@_DOMAIN
@_USER
@_NAME
@_NAMING
@_SUBJECT
@_KEY
@click.option("--new-key", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Where the new private key goes; must not exist, gets mode 0600.")  # fmt: skip
@click.option("--password-file", type=FILE, metavar="FILE",
              help="Password to protect the new key with; default is $DOMSEC_PASSWORD.")  # fmt: skip
@click.option("--no-password", is_flag=True, help="Leave the new key without a password.")
@click.option("--signer", type=FILE, metavar="FILE",
              help="Who signs for a key that cannot, x25519 or ml-kem: key and certificate of the domain's signing "
                   "authority, or of the same person (RFC 9883).")  # fmt: skip
@click.option("--signer-password-file", type=FILE, metavar="FILE",
              help="Password of the signer's key; default is $DOMSEC_PASSWORD.")  # fmt: skip
@output_option
def cert_request(
    role: Role | None,
    domain: str | None,
    user: str | None,
    name: str | None,
    naming: Naming,
    subject: tuple[str, ...],
    kind: KeyKind | None,
    new_key: Path,
    password_file: Path | None,
    signer: Path | None,
    signer_password_file: Path | None,
    output: Path | None,
    *,
    no_password: bool,
) -> int:
    """Make a private key, and a request for a certificate for it (PKCS#10) to give to a CA.

    \b
    domsec cert request --role signing --domain acme.example --new-key dsa.key -o dsa.csr
    domsec cert request --role confidentiality --domain acme.example --key ml-kem-768 \\
        --signer dsa.pem --new-key dca.key -o dca.csr
    """
    whom = _whom(role, domain, user)
    if whom is None:
        raise click.UsageError("expected --role or --user")
    _naming_is_a_roles(naming, whom)
    _must_not_exist(new_key)
    password = _new_password(password_file, no_password=no_password)
    by = None
    if signer is not None:
        environment = Given().password
        by = credentials.open_credential(str(signer), signer_password_file, environment_password=environment)
    kind = kind or "p256"
    new = ca.new_key(kind)
    given = tuple(_attribute(text) for text in subject)
    made = requests.request(*whom, new, subject=given, name=name, naming=naming, signer=by)
    write_new(pem_key(new, password), new_key, 0o600)
    console.write(armoured(_LABELS[0], made), output)
    console.note(f"{new_key}: a new {kind} key{'' if password else ', without a password'}")
    return Exit.DONE


def _whom(role: Role | None, domain: str | None, user: str | None) -> Whom | None:
    """What --role with --domain, or --user, say; None if neither is there."""
    if (role is None) != (domain is None):
        raise click.UsageError("expected --role and --domain together")
    if role is not None and user is not None:
        raise click.UsageError("expected one of --role and --user")
    if role is not None and domain is not None:
        return role, mail_domain(domain)
    return None if user is None else ("user", user)


def _naming_is_a_roles(naming: Naming, whom: Whom | None) -> None:
    if naming != "strict" and (whom is None or whom[0] == "user"):
        raise click.UsageError("--naming is how a role is named, expected --role with it")


def _new_password(password_file: Path | None, *, no_password: bool) -> bytes | None:
    """What protects a new key: never nothing, unless that was asked for (RFC 3183 section 6)."""
    if no_password:
        return None
    if password_file is not None:
        return credentials.read_password(password_file)
    if (stated := Given().password) is not None:
        return stated.encode()
    raise click.UsageError("expected --password-file or $DOMSEC_PASSWORD to protect the new key, or --no-password")


# --- issue ----------------------------------------------------------------------------------------------------------


@click.command("issue")
@click.option("--ca-name", metavar="NAME", help="Make a CA with this common name.")
@click.option("--ca", "ca_file", type=FILE, metavar="FILE", help="The CA that issues: its key and certificate.")
@click.option("--request", "request_file", type=FILE, metavar="FILE",
              help="For whom this certification request (PKCS#10) names, and for its key. That they have the key is "
                   "checked. Where --role or --user is there as well, it has to name the same; a role is granted with "
                   "--role only.")  # fmt: skip
@click.option("--crl", multiple=True, type=FILE, metavar="FILE",
              help="With --request: who was revoked states nothing for a key that cannot sign (RFC 9883).")  # fmt: skip
@_ROLE
@_DOMAIN
@_USER
@_NAME
@_NAMING
@_SUBJECT
@_KEY
@click.option("--days", type=click.IntRange(1, 36500), help=f"Days it is valid; default {DAYS}, for a CA {CA_DAYS}.")
@click.option("--certificate", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the certificate here as well, without the key: what others need.")  # fmt: skip
@click.option("--password-file", type=FILE, metavar="FILE",
              help="Password of the CA's key, and to protect the new key with.")  # fmt: skip
@click.option("--at", type=TIME, metavar="TIME", help="The time to go by (RFC 3339); default now.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="The new certificate, with its key and mode 0600 if that is new; must not exist.")  # fmt: skip
def cert_issue(
    ca_name: str | None,
    ca_file: Path | None,
    request_file: Path | None,
    crl: tuple[Path, ...],
    role: Role | None,
    domain: str | None,
    user: str | None,
    name: str | None,
    naming: Naming,
    subject: tuple[str, ...],
    kind: KeyKind | None,
    days: int | None,
    certificate: Path | None,
    password_file: Path | None,
    at: datetime | None,
    output: Path,
) -> int:
    """Issue certificates from a small CA for tests and private use, with new keys or for those of requests.

    \b
    domsec cert issue --ca-name "Acme CA" -o ca.pem
    domsec cert issue --ca ca.pem --role signing --domain acme.example -o dsa.pem
    domsec cert issue --ca ca.pem --user alice@acme.example -o alice.pem
    domsec cert issue --ca ca.pem --request alice.csr -o alice.crt
    domsec cert issue --ca ca.pem --request dsa.csr --role signing --domain acme.example -o dsa.crt

    The names that RFC 3183 gives to roles are for those you grant the role to, so --role has to say it.
    """
    whom = _whom(role, domain, user)
    if (ca_name is None) == (whom is None and request_file is None):
        raise click.UsageError("expected --ca-name, or whom to issue for: --role, --user, --request")
    if ca_name is None and ca_file is None:
        raise click.UsageError("expected --ca with the CA that issues")
    if request_file is not None and (name, naming, subject, kind) != (None, "strict", (), None):
        raise click.UsageError("with --request, the request has the key, the name and the subject")
    _naming_is_a_roles(naming, whom)
    _must_not_exist(output, *([certificate] if certificate else []))
    now = Given(at=at).now - _CLOCKS
    issuer = _issuer(ca_file, password_file) if ca_file is not None else None
    given = tuple(_attribute(text) for text in subject)
    new: PrivateKey | None = None
    if request_file is not None and issuer is not None:
        holder, made = _answer(request_file, whom, issuer, Given(at=at).now, days or DAYS, crl)
        whom, naming = (holder.role, holder.domain), holder.naming
    elif whom is not None and issuer is not None:
        new = ca.new_key(kind or "p256")
        made = ca.issue(
            *whom, new.public_key(), *issuer, now=now, days=days or DAYS, subject=given, name=name, naming=naming
        )
    else:
        new = ca.new_key(kind or "p256")
        made = _ca(new, (*given, (oids.COMMON_NAME, ca_name or "")), now, days or CA_DAYS, issuer)
    if whom is None or whom[0] == "user":
        _refuse_reserved_names(made)
    chain = [made, *((issuer[0],) if issuer is not None and issuer[0].subject != issuer[0].issuer else ())]
    password = credentials.read_password(password_file) if password_file is not None else None
    key = b"" if new is None else pem_key(new, password)
    write_new(key + b"".join(_pem(c) for c in chain), output, 0o600 if key else 0o644)
    if certificate is not None:
        console.write(_pem(made), certificate)
    if whom is not None and whom[0] != "user":
        _warn(made, whom[0], Wanted(Given(at=at).now, naming=naming, is_public_suffix=public_suffixes.load()), output)
    console.note(f"{output}: {subject_text(made)}, valid until {made.not_after:%Y-%m-%d}")
    return Exit.DONE


def _refuse_reserved_names(made: Certificate) -> None:
    """Only whoever is granted a role gets its name (RFC 3183 section 6). Raises UsageError."""
    for name in lint.reserved_names(made):
        raise click.UsageError(f"{subject_text(made)} is named like a {name}, expected --role to grant that")


def _answer(
    file: Path,
    whom: Whom | None,
    issuer: tuple[Certificate, SigningKey],
    now: datetime,
    days: int,
    crls: Sequence[Path],
) -> tuple[Holder, Certificate]:
    """The certificate that a request asks for: names and key of it, and nothing else it may wish.

    Raises SignatureInvalid where whoever made it does not show that they have the key, or it names somebody else.
    """
    asked = requests.read_request(_request(file))
    requests.check(asked, issuer[0], now, _revoked(crls))
    holder = requests.holder(asked)
    if whom is not None and (holder.role, holder.domain.lower()) != (whom[0], whom[1].lower()):
        raise SignatureInvalid(f"the request is for {_described(holder)}, which is not what was given")
    if whom is None and holder.role != "user":
        raise click.UsageError(f"the request is for {_described(holder)}, expected --role and --domain to grant that")
    if strange := [oid for oid, _ in holder.subject if oid not in SUBJECT_ATTRIBUTES.values()]:
        raise ConfigurationError(f"{file}: asks for {oids.name(strange[0])} in the subject, which is not issued here")
    where = mail_domain(holder.domain) if holder.role != "user" else holder.domain
    made = ca.issue(
        holder.role, where, asked.public_key, *issuer, now=now - _CLOCKS, days=days, subject=holder.subject,
        name=holder.name, naming=holder.naming,
    )  # fmt: skip
    return holder, made


def _revoked(files: Sequence[Path]) -> tuple[bytes, ...]:
    loaded = load_certificates(files)
    if loaded.problems or (files and not loaded.crls):
        raise ConfigurationError(*(map(str, loaded.problems) if loaded.problems else [f"{files[0]}: no CRL in it"]))
    return loaded.crls


def _described(holder: Holder) -> str:
    return holder.domain if holder.role == "user" else f"the {ROLE_NAMES[holder.role]} of {holder.domain}"


def _request(file: Path) -> bytes:
    octets = read_file(file, requests.MAXIMUM_SIZE * 2)
    if not is_pem(octets):
        return octets
    found = [block for block in blocks(octets) if block.label in _LABELS]
    if len(found) != 1:
        raise ConfigurationError(f"{file}: {len(found)} certification requests, expected one")
    return found[0].der


def _warn(made: Certificate, role: Role, wanted: Wanted, output: Path) -> None:
    for problem in lint.lint(made, role, wanted).problems:
        console.warning(f"{output} cannot serve as {ROLE_NAMES[role]}: {problem}")


def mail_domain(text: str) -> str:
    """A --domain, as A-labels."""
    try:
        return normalise_domain(text)
    except MalformedMessage as problem:
        raise click.BadParameter(f"{text!r} is no domain: {problem}", param_hint="--domain") from None


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
    if not usage.is_ca(found.certificate):
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


def armoured(label: str, octets: bytes) -> bytes:
    """PEM (RFC 7468)."""
    lines = "\n".join(textwrap.wrap(base64.b64encode(octets).decode("ascii"), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode("ascii")


def pem_key(key: PrivateKey, password: bytes | None) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        KeySerializationEncryption,
        NoEncryption,
        PrivateFormat,
    )

    protection: KeySerializationEncryption = NoEncryption()
    if password is not None:
        protection = BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def _must_not_exist(*files: Path) -> None:
    for file in files:
        if file.exists():
            raise ConfigurationError(f"{file}: exists already, and is not overwritten")


def write_new(octets: bytes, output: Path, mode: int) -> None:
    """A new file; a private key is for its owner only from the moment it exists (RFC 3183 section 6)."""
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigurationError(f"{output}: exists already, and is not overwritten") from None
    except OSError as problem:
        raise ConfigurationError(f"{output}: cannot be written: {problem.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
