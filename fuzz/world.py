"""Keys, certificates and installations that are the same in every run, so that what is found stays findable.

They are those of tests/vectors/oracle. `tests/world.py` makes what needs no fixed key.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pki
import world
from domsec.cms import signed_data
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.pipeline import Transaction
from domsec.services.context import Context
from domsec.site import Site
from domsec.trust import path, request

ROOT = Path(__file__).resolve().parent.parent
ORACLE = ROOT / "tests" / "vectors" / "oracle"
NOW = datetime(2026, 11, 24, tzinfo=UTC)

_KEYS = ("acme-dca", "bravo-dca", "bravo-dca-ec", "bravo-dca-x", "multi-dca", "alice", "bob", "bob-ec")


@functools.cache
def context() -> Context:
    """Who has the keys of several people and authorities, and knows every certificate."""
    return world.oracle_context(ORACLE, _KEYS, NOW)


@functools.cache
def certificates() -> tuple[Certificate, ...]:
    return tuple(world.pem(file) for file in sorted((ORACLE / "pki" / "certs").glob("*.pem")))


@functools.cache
def role_keys() -> dict[str, tuple[Credential, ...]]:
    """The keys of acme.example by role, as its key process would hold them: of each kind one."""
    signing = ("acme-dsa", "acme-dsa-ec", "acme-dsa-ed")
    names = {"signing": signing, "confidentiality": ("acme-dca", "bravo-dca-ec", "bravo-dca-x"), "review": ("acme-ra",)}
    return {role: world.oracle_context(ORACLE, each, NOW).keyring for role, each in names.items()}


@functools.cache
def acme() -> Site:
    return world.acme_site()


@functools.cache
def beta() -> Site:
    return world.beta_site()


def transaction(octets: bytes, *, outbound: bool) -> Transaction:
    recipients = ("bob@beta.example", "carol@gamma.example")
    return world.transaction(octets, *recipients, direction="outbound" if outbound else "inbound")


@contextlib.contextmanager
def signatures_hold() -> Iterator[None]:
    """Take every signature for good: no mutation makes one, and behind them stands most of what is to be fuzzed."""
    with (
        mock.patch.object(path, "is_signed_by", return_value=True),
        mock.patch.object(request, "is_request_signed_by", return_value=True),
        mock.patch.object(signed_data, "check_signature", return_value=()),
    ):
        yield


def now() -> datetime:
    """When the certificates of `pki` are valid."""
    return pki.NOW
