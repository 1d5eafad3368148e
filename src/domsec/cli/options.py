"""What every verb takes (CONTRACT.md section 2), declared once."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click

CONFIGURATION_VARIABLE: Final = "DOMSEC_CONFIG"
PASSWORD_VARIABLE: Final = "DOMSEC_PASSWORD"
CONFIGURATION_PLACES: Final = (Path("domsec.toml"), Path("/etc/domsec/domsec.toml"))

C = TypeVar("C", bound=Callable[..., object])
Revocation = Literal["hard", "soft", "off"]


@dataclass(frozen=True, slots=True)
class Given:
    """The common options of one call."""

    config: Path | None = None
    credential: tuple[str, ...] = ()
    password_file: Path | None = None
    trust: tuple[Path, ...] = ()
    trust_roles: tuple[Path, ...] = ()
    trust_users: tuple[Path, ...] = ()
    cert: tuple[Path, ...] = ()
    crl: tuple[Path, ...] = ()
    revocation: Revocation | None = None
    at: datetime | None = None
    peer: Path | None = None
    label_policy: tuple[Path, ...] = ()

    @property
    def now(self) -> datetime:
        return self.at or datetime.now(UTC)

    @property
    def password(self) -> str | None:
        """What stands in the environment; a password file goes before it."""
        return os.environ.get(PASSWORD_VARIABLE) or None

    def configuration(self) -> tuple[Path | None, bool]:
        """The configuration file if there is one, and whether somebody asked for it."""
        if self.config is not None:
            return self.config, True
        if stated := os.environ.get(CONFIGURATION_VARIABLE):
            return Path(stated), True
        found = next((place for place in CONFIGURATION_PLACES if os.access(place, os.R_OK)), None)
        return found, False


def configuration_file(config: Path | None) -> Path:
    """The configuration without which a verb can do nothing. Raises UsageError."""
    found, _ = Given(config=config).configuration()
    if found is None:
        raise click.UsageError("no configuration, expected --config, $DOMSEC_CONFIG or ./domsec.toml")
    return found


class _Time(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            moment = None
        if moment is None or moment.tzinfo is None or len(value) < len("2026-01-01T00:00Z"):
            self.fail(f"{value!r} is no time of RFC 3339, expected one like 2026-11-23T12:00:00Z", param, ctx)
        return moment


class _Mailbox(click.ParamType[str]):
    name = "addr"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from domsec.errors import MalformedMessage
        from domsec.mime.addresses import parse_address

        try:
            return parse_address(value).address
        except MalformedMessage as problem:
            self.fail(f"{value!r} is no mail address: {problem}", param, ctx)


TIME: Final = _Time()
ADDRESS: Final = _Mailbox()
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
PLACE: Final = click.Path(exists=True, path_type=Path)

_COMMON: Final[tuple[Callable[[C], C], ...]] = (
    click.option("--config", type=FILE, metavar="FILE", help="Configuration with keys, trust and policy."),
    click.option("--credential", multiple=True, metavar="FILE", help="Private key with certificate: PEM or PKCS#12."),
    click.option("--password-file", type=FILE, metavar="FILE", help="Password of the keys, in its first line."),
    click.option("--trust", multiple=True, type=PLACE, metavar="FILE|DIR", help="Anchors for roles and people."),
    click.option("--trust-roles", multiple=True, type=PLACE, metavar="FILE|DIR", help="Anchors for roles only."),
    click.option("--trust-users", multiple=True, type=PLACE, metavar="FILE|DIR", help="Anchors for people only."),
    click.option("--cert", multiple=True, type=PLACE, metavar="FILE|DIR", help="Certificates to use."),
    click.option("--crl", multiple=True, type=PLACE, metavar="FILE|DIR", help="Revocation lists, OCSP responses."),
    click.option("--revocation", type=click.Choice(["hard", "soft", "off"]), help="If unknown: refuse, pass, skip."),
    click.option("--at", type=TIME, metavar="TIME", help="Validation time (RFC 3339); default now."),
    click.option("--label-policy", multiple=True, type=FILE, metavar="FILE", help="A security policy (Open XML SPIF)."),
    click.option("--peer", type=FILE, metavar="FILE", help="Agreements with other domains: [[peer]] tables."),
)


def common(command: Callable[..., int]) -> Callable[..., int]:
    """Add the common options; the command gets them as its first argument, a `Given`."""
    names = [field.name for field in fields(Given)]

    @functools.wraps(command)
    def with_given(**parameters: Any) -> int:
        given = Given(**{name: parameters.pop(name) for name in names})
        return command(given, **parameters)

    for option in reversed(_COMMON):
        with_given = option(with_given)
    return with_given


def file_argument(command: C) -> C:
    """FILE, or standard input."""
    return click.argument("file", required=False, type=click.Path(allow_dash=True, path_type=Path))(command)


def output_option(command: C) -> C:
    return click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                        help="Write the result here; default is standard output.")(command)  # fmt: skip


def json_option(command: C) -> C:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document instead of words.")(command)


def archive_option(command: C) -> C:
    """For verbs that only read."""
    return click.option("--archive", is_flag=True, help="Read old mail: open 3DES, compute MD5, SHA-1, DSA and short "
                        "keys. Nothing of that is ever accepted.")(command)  # fmt: skip
