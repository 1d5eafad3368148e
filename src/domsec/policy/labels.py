"""Security policies, clearances and translators that a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from domsec.errors import ConfigurationError, DomsecError
from domsec.policy.options import Labels
from domsec.services import label_files, spif
from domsec.services.known_signers import KnownSigners
from domsec.services.label_policy import Clearance, LabelPolicy
from domsec.services.labelling import Labelling, Translator
from domsec.services.xml_tree import MAX_SIZE

_V = TypeVar("_V")


def labelling(options: Labels) -> Labelling:
    """What `[labels]` says. Raises ConfigurationError with every problem of every file."""
    problems: list[str] = []
    policies = _files(options.policies, load_policy, lambda policy: policy.oid, problems)
    clearances = _files(options.clearances, load_clearance, lambda clearance: clearance.policy, problems)
    if problems:
        raise ConfigurationError(*problems)
    translators = tuple(
        Translator(
            KnownSigners(frozenset(t.signers), t.issuer, frozenset(t.domains)), frozenset(t.into), frozenset(t.out_of)
        )
        for t in options.translators
    )
    return Labelling(policies, translators, clearances)


def load_policy(path: Path) -> LabelPolicy:
    """A security policy in an Open XML SPIF. Raises ConfigurationError that names the file."""
    return _read(path, spif.read)


def load_clearance(path: Path) -> Clearance:
    """Raises ConfigurationError that names the file."""
    return _read(path, label_files.read_clearance)


def _read(path: Path, read: Callable[[bytes], _V]) -> _V:
    try:
        with path.open("rb") as file:
            return read(file.read(MAX_SIZE + 1))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except DomsecError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _files(
    paths: Iterable[Path], load: Callable[[Path], _V], oid: Callable[[_V], str], problems: list[str]
) -> dict[str, _V]:
    """What the files hold, by the policy it is for or is; problems are added to those there are."""
    found: dict[str, _V] = {}
    for path in paths:
        try:
            value = load(path)
        except ConfigurationError as error:
            problems += error.problems
            continue
        if oid(value) in found:
            problems.append(f"{path}: policy {oid(value)} a second time, expected one file for each")
        found[oid(value)] = value
    return found
