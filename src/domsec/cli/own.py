"""The certificates that a configuration has of our own, and those that it trusts or knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from domsec.cli.world import ROLE_NAMES, Role
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.policy.configuration import Configuration
from domsec.policy.lines import KeyPath
from domsec.policy.options import Key, ListOptions
from domsec.site import list_keys, open_keys
from domsec.stores.certificates import load_certificates

ROLES: tuple[Role, ...] = tuple(ROLE_NAMES)


@dataclass(frozen=True, slots=True)
class Own:
    """One of our keys with its certificate, and where the configuration names it."""

    path: KeyPath  # of the table with its `credential`
    place: str  # "keys.signing", "list staff"
    role: Role  # "user" for a mail list
    source: str  # a file, or the URI of a token or of the key process
    options: Key | ListOptions
    credential: Credential

    @property
    def certificate(self) -> Certificate:
        return self.credential.certificate

    @property
    def file_name(self) -> str:
        """`place` as part of a file's name."""
        return self.place.replace(" ", ".").replace("/", "_")

    @property
    def file(self) -> Path | None:
        """Where the key is, if it is in a file."""
        return None if ":" in self.source.partition("/")[0] else Path(self.source)


def keys_in_use(configuration: Configuration, password: str | None) -> tuple[Own, ...]:
    """The keys in use, of roles and lists; not those that only decrypt old mail.

    Raises ConfigurationError, KeyUnusable, StoreUnavailable, Unsupported.
    """
    found: list[Own] = []
    for role in ROLES:
        key: Key | None = getattr(configuration.keys, role)
        for source in key.credential if key else ():
            assert key is not None
            opened = open_keys(key, (source,), keyd_socket=configuration.keyd.socket, environment_password=password)
            found += [Own(("keys", role), f"keys.{role}", role, source, key, one) for one in opened]
    for index, options in enumerate(configuration.lists):
        for one in list_keys(options, configuration.keyd.socket, environment_password=password):
            found.append(Own(("list", index), f"list {options.name}", "user", options.credential, options, one))
    return tuple(found)


def configured(configuration: Configuration) -> Iterator[tuple[str, Certificate]]:
    """Anchors and certificates in files, and the option that names each. Files that cannot be read are left out."""
    for option in ("roles", "users", "certificates"):
        places: tuple[Path, ...] = getattr(configuration.trust, option)
        for certificate in load_certificates(places).certificates:
            yield f"trust.{option}", certificate
