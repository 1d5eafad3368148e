"""Security policies, clearances and translators that a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from domsec.errors import ConfigurationError, DomsecError
from domsec.policy.options import Labels
from domsec.services import label_files, spif
from domsec.services.known_signers import KnownSigners
from domsec.services.label_policy import Clearance
from domsec.services.labelling import Labelling, Translator
from domsec.services.xml_tree import MAX_SIZE

_V = TypeVar("_V")


def labelling(options: Labels) -> Labelling:
    """What `[labels]` says. Raises ConfigurationError with every problem of every file."""
    problems: list[str] = []
    policies = _files(options.policies, spif.read, lambda policy: policy.oid, problems)
    cleared = clearances(options.clearances, problems)
    if problems:
        raise ConfigurationError(*problems)
    translators = tuple(
        Translator(known_signers(t.signers, t.issuer, t.domains), frozenset(t.into), frozenset(t.out_of))
        for t in options.translators
    )
    return Labelling(policies, translators, cleared)


def known_signers(pins: Iterable[str], issuer: bytes | None, domains: Iterable[str]) -> KnownSigners:
    return KnownSigners(frozenset(pins), issuer, frozenset(domains))


def clearances(paths: Iterable[Path], problems: list[str]) -> dict[str, Clearance]:
    """The clearances in files, by the policy each is for; problems are added to those there are."""
    return _files(paths, label_files.read_clearance, lambda clearance: clearance.policy, problems)


def _read(path: Path, read: Callable[[bytes], _V]) -> _V:
    """Raises ConfigurationError that names the file."""
    try:
        with path.open("rb") as file:
            return read(file.read(MAX_SIZE + 1))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except DomsecError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _files(
    paths: Iterable[Path], read: Callable[[bytes], _V], oid: Callable[[_V], str], problems: list[str]
) -> dict[str, _V]:
    found: dict[str, _V] = {}
    for path in paths:
        try:
            value = _read(path, read)
        except ConfigurationError as error:
            problems += error.problems
            continue
        if oid(value) in found:
            problems.append(f"{path}: policy {oid(value)} a second time, expected one file for each")
        found[oid(value)] = value
    return found
