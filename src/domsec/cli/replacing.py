"""`domsec cert replace`: what a CA's misfortune affects, and new certificates for it, one step after the other.

    affected   ours, those of others in the store, and those in files, by their issuer, their serial numbers, or both
    request    a new key and a request for each of ours, in a folder that the steps share
    install    the certificates that came back: beside the old ones, which stay in use until they end
    publish    what others have to get: DNS records, changes of a directory, PKCS#7

Each step looks at what is there, so it may be repeated.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from domsec import oids
from domsec.cli import console, lint, stored
from domsec.cli.console import Exit
from domsec.cli.issuing import KEY_KINDS, armoured, pem_key, write_new
from domsec.cli.lint import Wanted
from domsec.cli.options import FILE, PLACE, TIME, Given, configuration_file, json_option
from domsec.cli.own import Own, configured, keys_in_use
from domsec.cli.world import ROLE_NAMES
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.errors import ConfigurationError, KeyUnusable
from domsec.policy.configuration import Configuration
from domsec.policy.options import Key, ListOptions
from domsec.services.describe import addresses_of
from domsec.services.finding import mailboxes_of
from domsec.services.verdict import JSON
from domsec.stores import credentials, public_suffixes
from domsec.stores.certificates import load_certificates
from domsec.stores.files import read_file
from domsec.trust import issue as ca
from domsec.trust import names
from domsec.trust import request as requests
from domsec.trust.addresses import addresses, subject_text
from domsec.trust.association import Association

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from domsec.stores.certificate_table import CertificateTable
    from domsec.trust.issue import KeyKind, Naming

_KINDS: Final[dict[str, KeyKind]] = {
    oids.ED25519: "ed25519",
    oids.X25519: "x25519",
    oids.ML_DSA_44: "ml-dsa-44",
    oids.ML_DSA_65: "ml-dsa-65",
    oids.ML_DSA_87: "ml-dsa-87",
    oids.ML_KEM_768: "ml-kem-768",
    oids.ML_KEM_1024: "ml-kem-1024",
}
_ENCRYPTED_TO: Final = ("confidentiality", "user")  # others have to find them in directories
_LOOKED_UP: Final = ("signing", *_ENCRYPTED_TO)  # who never met us asks DNS for what we sign with, too
_SERIAL: Final = re.compile(r"(?:0x)?([0-9a-f]{1,40})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Affected:
    """Which certificates are meant: of any of some issuers (Names in DER), with any of some serial numbers."""

    issuers: tuple[bytes, ...]
    serials: frozenset[int] | None

    def __contains__(self, certificate: Certificate) -> bool:
        if self.issuers and not any(names.same_name(certificate.issuer, issuer) for issuer in self.issuers):
            return False
        return self.serials is None or certificate.serial in self.serials


@click.command("replace")
@click.option("--config", type=FILE, metavar="FILE", help="The configuration whose certificates are looked at.")
@click.option("--issuer", multiple=True, type=FILE, metavar="FILE", help="What the CA with this certificate issued.")
@click.option("--serials", type=FILE, metavar="FILE",
              help="What has one of these serial numbers: hexadecimal, one a line.")  # fmt: skip
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Make new keys and requests here, and later what is to be published.")  # fmt: skip
@click.option("--key", "kind", type=click.Choice(KEY_KINDS), help="Kind of the new keys; default as before.")
@click.option("--install", multiple=True, type=PLACE, metavar="FILE|DIR",
              help="Certificates that came back: put into use beside the old ones.")  # fmt: skip
@click.option("--reject-others", is_flag=True, help="Use those of others in the store no more.")
@click.option("--by", metavar="NAME", help="Who decides; default is who is logged in.")
@click.option("--at", type=TIME, metavar="TIME", help="The time to go by (RFC 3339); default now.")
@json_option
def cert_replace(
    config: Path | None,
    issuer: tuple[Path, ...],
    serials: Path | None,
    work: Path | None,
    kind: KeyKind | None,
    install: tuple[Path, ...],
    by: str | None,
    at: datetime | None,
    *,
    reject_others: bool,
    as_json: bool,
) -> int:
    """List which certificates a CA's trouble affects, request new ones, put them into use, and publish them.

    \b
    domsec cert replace --issuer old-ca.pem
    domsec cert replace --issuer old-ca.pem --work replacing
    domsec cert replace --issuer old-ca.pem --work replacing --install from-the-ca/

    Exit code 1 as long as something that is affected is in use.
    """
    if not issuer and serials is None:
        raise click.UsageError("expected --issuer, --serials or both")
    if install and work is None:
        raise click.UsageError("expected --work with the folder of the requests")
    given = Given(config=config, at=at)
    path = configuration_file(config)
    affected = Affected(tuple(map(stored.issuer_name, issuer)), None if serials is None else _serials(serials))
    configuration = Configuration.load(path)
    if work is not None and install:
        configuration = _install(configuration, affected, work, install, given)
    own = keys_in_use(configuration, given.password)
    due = _due(own, affected, given.now)
    table = stored.open_table(path, None)
    if reject_others:
        _reject(table, affected, by=stored.person(by), now=given.now)
    others = _others(table, affected)
    table.close()
    found = [(place, c) for place, c in configured(configuration) if c in affected or c.subject in affected.issuers]
    listed = [
        *((one.place, one.certificate, "in use" if one in due else "has a successor") for one in own
          if one.certificate in affected),
        *((place, certificate, "in a file") for place, certificate in found),
        *(("store", certificate, "approved") for certificate in others),
    ]  # fmt: skip
    if as_json:
        console.write_json([_described(*one) for one in listed])
    else:
        console.print_lines(_line(*one) for one in listed)
    if work is not None:
        for one in due:
            _request(one, own, work, kind, given)
        _publish([one for one in own if one.certificate not in affected and _replaces(one, own, affected)], work)
    return Exit.REFUSED if due or others else Exit.DONE


def _serials(file: Path) -> frozenset[int]:
    """Serial numbers in a file. Blank lines and what follows a # do not count. Raises ConfigurationError."""
    found: set[int] = set()
    for number, line in enumerate(read_file(file).decode("utf-8", "replace").splitlines(), 1):
        text = line.partition("#")[0].replace(":", "").strip()
        if not text:
            continue
        if (match := _SERIAL.fullmatch(text)) is None:
            raise ConfigurationError(f"{file}:{number}: {text[:40]!r} is no serial number in hexadecimal")
        found.add(int(match[1], 16))
    if not found:
        raise ConfigurationError(f"{file}: no serial number in it")
    return frozenset(found)


def _due(own: Sequence[Own], affected: Affected, now: datetime) -> list[Own]:
    """Those of ours that are affected and have no valid successor yet."""
    return [
        one
        for one in own
        if one.certificate in affected
        and not any(
            other.place == one.place and other.certificate not in affected and other.certificate.valid_at(now)
            for other in own
        )
    ]


def _replaces(one: Own, own: Sequence[Own], affected: Affected) -> bool:
    """Whether a certificate that is not affected has come beside one that is, or in its place."""
    former = one.options.previous if isinstance(one.options, ListOptions) else ()
    return bool(former) or any(other.place == one.place and other.certificate in affected for other in own)


def _others(table: CertificateTable, affected: Affected) -> list[Certificate]:
    """The approved ones of others."""
    serials = None if affected.serials is None else sorted(affected.serials)
    return [
        entry.certificate
        for issuer in affected.issuers or (None,)
        for entry in table.entries("approved", issuer=issuer, serials=serials)
    ]


def _reject(table: CertificateTable, affected: Affected, *, by: str, now: datetime) -> None:
    for certificate in _others(table, affected):
        table.decide(certificate.sha256, "rejected", by=by, now=now, note="domsec cert replace")


def _line(place: str, certificate: Certificate, state: str) -> str:
    digits = certificate.sha256[: stored.DIGITS]
    return f"{place}: {digits} serial {certificate.serial:x} {stored.whose(certificate)} ({state})"


def _described(place: str, certificate: Certificate, state: str) -> JSON:
    return {
        "place": place,
        "state": state,
        "sha256": certificate.sha256,
        "serial": f"{certificate.serial:x}",
        "subject": subject_text(certificate),
        "addresses": list(addresses_of(certificate)),
    }


# --- request --------------------------------------------------------------------------------------------------------


def _request(one: Own, own: Sequence[Own], work: Path, kind: KeyKind | None, given: Given) -> None:
    """A new key and a request for it, unless they were made before."""
    key, csr = _files(one, work)
    if one.file is None:
        console.warning(f"{one.place}: the key is not in a file, so its successor is made where it is: {one.source}")
        return
    if key.exists():
        console.note(f"{one.place}: {csr} waits for its certificate")
        return
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = kind or _kind(one.certificate)
    new = ca.new_key(kind)
    domain, name = _whom(one)
    signer = None if isinstance(new, ca.SigningKey) else _signer(one, own)
    subject = _attributes(one.certificate)
    made = requests.request(one.role, domain, new, subject=subject, name=name, naming=_naming(one), signer=signer)
    write_new(pem_key(new, _password(one, given)), key, 0o600)
    csr.write_bytes(armoured("CERTIFICATE REQUEST", made))
    console.note(f"{one.place}: {csr} asks for a certificate for a new {kind} key")


def _files(one: Own, work: Path) -> tuple[Path, Path]:
    return work / f"{one.file_name}.key", work / f"{one.file_name}.csr"


def _password(one: Own, given: Given) -> bytes | None:
    """That of the old key, since the configuration has one for both."""
    if one.options.password_file is not None:
        return credentials.read_password(one.options.password_file)
    return given.password.encode() if given.password else None


def _kind(certificate: Certificate) -> KeyKind:
    """What is most like the old key."""
    key: CertificatePublicKeyTypes = certificate.public_key
    size = getattr(key, "key_size", 0)
    wanted = {"RSAPublicKey": f"rsa{size}", "EllipticCurvePublicKey": f"p{size}"}.get(type(key).__name__.strip("_"))
    found = wanted or _KINDS.get(certificate.key_algorithm)
    return next((kind for kind in KEY_KINDS if kind == found), "p256")


def _whom(one: Own) -> tuple[str, str | None]:
    """For which domain, or for which address of a list under which name."""
    if isinstance(one.options, ListOptions):
        return one.options.address.address, next(iter(names.common_names(one.certificate)), None)
    local = ROLE_NAMES[one.role]
    found = [a.rpartition("@")[2] for a in addresses(one.certificate) if a.rpartition("@")[0].lower() == local]
    if len(found) != 1:
        raise ConfigurationError(
            f"{one.place}: its certificate names {len(found)} domains, expected one; make a request with "
            "`domsec cert request` for each"
        )
    return found[0], None


def _naming(one: Own) -> Naming:
    return one.options.naming if isinstance(one.options, Key) else "strict"


def _attributes(certificate: Certificate) -> tuple[tuple[str, str], ...]:
    """The subject without what tells the role or the person."""
    stated = (pair for rdn in names.rdns(certificate.subject) for pair in rdn)
    return tuple(pair for pair in stated if pair[0] not in (oids.COMMON_NAME, oids.EMAIL_ADDRESS))


def _signer(one: Own, own: Iterable[Own]) -> Credential:
    """Who signs for a key that cannot (RFC 9883): our signing authority."""
    for other in own:
        if other.role == "signing":
            return other.credential
    raise KeyUnusable(f"{one.place}: a key that cannot sign, and there is no keys.signing that signs its request")


# --- install --------------------------------------------------------------------------------------------------------


def _install(
    configuration: Configuration, affected: Affected, work: Path, places: Sequence[Path], given: Given
) -> Configuration:
    """Put each certificate that belongs to a new key into use; the configuration that results.

    Raises ConfigurationError, KeyUnusable, and has changed nothing then that is in use.
    """
    for problem in load_certificates(places).problems:
        console.error(str(problem))
    for one in _due(keys_in_use(configuration, given.password), affected, given.now):
        key, _ = _files(one, work)
        if one.file is None or not key.exists():
            continue
        password = _password(one, given)
        try:
            new = credentials.load_credential(key, password=password, certificates=tuple(places))
        except KeyUnusable as problem:
            console.warning(f"{one.place}: no certificate for its new key: {problem}")
            continue
        _check(one, new.certificate, affected, configuration, given)
        file = _new_file(one, new.certificate)
        if not file.exists():
            chain = b"".join(stored.written([c], "pem") for c in (new.certificate, *new.chain))
            write_new(key.read_bytes() + chain, file, 0o600)
            _like(file, one.file, 0o640)
        configuration = _use(configuration, one, file, given)
        console.note(f"{one.place}: {file} is in use from the next reload on, beside {one.source}")
    return configuration


def _check(one: Own, new: Certificate, affected: Affected, configuration: Configuration, given: Given) -> None:
    """Raises ConfigurationError for a certificate that would not serve."""
    if new in affected:
        raise ConfigurationError(f"{one.place}: the new certificate {new.sha256[: stored.DIGITS]} is affected as well")
    speaks = one.role in ("signing", "confidentiality")
    wanted = Wanted(
        given.now,
        configuration.domains if speaks else (),
        _naming(one),
        public_suffixes.load(),
    )
    problems = lint.lint(new, "list" if isinstance(one.options, ListOptions) else one.role, wanted).problems
    if problems:
        raise ConfigurationError(*(f"{one.place}: the new certificate cannot serve: {text}" for text in problems))


def _new_file(one: Own, new: Certificate) -> Path:
    assert one.file is not None
    return one.file.with_name(f"{one.file_name}-{new.not_before:%Y%m%d}-{new.sha256[:8]}.pem")


def _like(new: Path, old: Path, most: int) -> None:
    """For whom the old file is, and nobody else; with no more permissions than `most`."""
    found = old.stat()
    if os.geteuid() == 0:
        os.chown(new, found.st_uid, found.st_gid)
    new.chmod(found.st_mode & most)


def _use(configuration: Configuration, one: Own, file: Path, given: Given) -> Configuration:
    """Write the new key into the configuration file before the old one, after a look that it loads with it."""
    text = configuration.path.read_text()
    new = _written(file, configuration.path.parent)
    if isinstance(one.options, ListOptions):
        former = [one.options.credential, *one.options.previous]
        changes = {"credential": new, "previous": _array(_written(Path(f), configuration.path.parent) for f in former)}
    else:
        sources = [new, *(_written_source(s, configuration.path.parent) for s in one.options.credential)]
        changes = {"credential": _array(sources)}
    lines = text.split("\n")
    # from the end, so that the lines before stay where they are
    for name in sorted(changes, key=lambda name: -configuration.lines.get((*one.path, name), 0)):
        _change(lines, configuration, (*one.path, name), (*one.path, "credential"), name, changes[name])
    made = configuration.path.with_name(f".{configuration.path.name}.new")
    former_file = configuration.path.with_name(f"{configuration.path.name}.old")
    try:
        _copy("\n".join(lines), made, configuration.path)
        keys_in_use(Configuration.load(made), given.password)
        _copy(text, former_file, configuration.path)
        made.replace(configuration.path)
    finally:
        made.unlink(missing_ok=True)
    return Configuration.load(configuration.path)


def _copy(text: str, new: Path, old: Path) -> None:
    """A file for whom the old one is: passwords may stand in it, so it is never for more, not even at first."""
    new.unlink(missing_ok=True)
    write_new(text.encode(), new, 0o600)
    _like(new, old, 0o777)


def _written_source(source: str, folder: Path) -> str:
    return json.dumps(source) if ":" in source.partition("/")[0] else _written(Path(source), folder)


def _written(file: Path, folder: Path) -> str:
    """A path as one writes it into the file: from its folder, where it lies below."""
    folder = folder.resolve()
    absolute = file.resolve()
    return json.dumps(str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute))


def _array(values: Iterable[str]) -> str:
    return f"[{', '.join(values)}]"


def _change(
    lines: list[str],
    configuration: Configuration,
    path: tuple[str | int, ...],
    behind: tuple[str | int, ...],
    name: str,
    value: str,
) -> None:
    """Give an option another value, the old one staying as a comment; or write it behind another option."""
    number = configuration.lines.get(path)
    if number is None:
        begin, end = _extent(lines, configuration.lines[behind] - 1, configuration.path)
        lines[end:end] = [f"{name} = {value}"]
        return
    begin, end = _extent(lines, number - 1, configuration.path)
    before = lines[begin].partition("=")[0]
    old = [f"# before `domsec cert replace`: {line.strip()}" for line in lines[begin:end]]
    lines[begin:end] = [f"{before}= {value}", *old]


def _extent(lines: Sequence[str], begin: int, file: Path) -> tuple[int, int]:
    """The lines of an option that begins on one. Raises ConfigurationError where other options share them."""
    for end in itertools.islice(itertools.count(begin + 1), min(100, len(lines) - begin)):
        try:
            if len(tomllib.loads("\n".join(lines[begin:end]))) == 1 and "{" not in lines[begin]:
                return begin, end
        except tomllib.TOMLDecodeError:
            continue
    raise ConfigurationError(f"{file}:{begin + 1}: expected the option on lines of its own; change it by hand")


# --- publish --------------------------------------------------------------------------------------------------------


def _publish(new: Sequence[Own], work: Path) -> None:
    """Write what others have to get of our new certificates, and say it."""
    if not new:
        return
    folder = work / "publish"
    folder.mkdir(parents=True, exist_ok=True)
    for one in new:
        name = one.file_name
        chain = (one.certificate, *one.credential.chain)
        (folder / f"{name}.pem").write_bytes(stored.written(chain, "pem"))
        (folder / f"{name}.p7c").write_bytes(stored.written(chain, "pkcs7"))
        if one.role in _ENCRYPTED_TO:
            (folder / f"{name}.ldif").write_bytes(stored.written([one.certificate], "ldif", _entry(one)))
        if one.role in _LOOKED_UP:
            (folder / f"{name}.smimea").write_text("".join(f"{record}\n" for record in _records(one.certificate)))
    files = ", ".join(str(file) for file in sorted(folder.iterdir()))
    console.note(f"to be published: {files}")


def _entry(one: Own) -> str:
    """The mapped name of an authority (RFC 3183 4.2), or the name in a list's certificate."""
    if one.role == "user":
        return names.name_text(one.certificate.subject)
    domain, _ = _whom(one)
    return ",".join([f"cn={ROLE_NAMES[one.role]}", *(f"dc={label}" for label in domain.split("."))])


def _records(certificate: Certificate) -> Iterator[str]:
    """SMIMEA records of a certificate (RFC 8162): this one, whole, whoever issued it."""
    from domsec.stores.smimea import record_text

    for mailbox in mailboxes_of(addresses(certificate)):
        yield record_text(mailbox, Association.of(certificate))
