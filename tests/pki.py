"""Two small domains for every test: acme.example and beta.example.

Each has a CA of its own, four roles and two people. Keys are P-256 and made once for a whole test run; names, times and
serial numbers never change, so that what is made from them differs from run to run in keys and signatures only.

    import pki
    world = pki.world()
    world.acme.signing.certificate, world.acme.signing.key, world.beta.users["bob"].certificate
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from domsec.cms.certificates import Certificate
from domsec.trust import issue
from domsec.trust.issue import KeyKind, Naming, PrivateKey, Role, SigningKey

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
START = NOW - timedelta(days=30)
DAYS = 365


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its private key."""

    certificate: Certificate
    key: PrivateKey
    chain: tuple[Certificate, ...] = ()

    @property
    def signing_key(self) -> SigningKey:
        assert isinstance(self.key, SigningKey)
        return self.key


@dataclass(frozen=True, slots=True)
class Domain:
    """What one domain has."""

    name: str
    ca: Identity
    signing: Identity
    confidentiality: Identity
    review: Identity
    attributes: Identity
    users: dict[str, Identity]

    def user(self, name: str) -> Identity:
        return self.users[name]


@dataclass(frozen=True, slots=True)
class World:
    acme: Domain
    beta: Domain

    @property
    def cas(self) -> tuple[Certificate, ...]:
        return (self.acme.ca.certificate, self.beta.ca.certificate)


def ca(name: str, kind: KeyKind = "p256", *, days: int = 3 * DAYS) -> Identity:
    """A self-signed CA."""
    key = issue.new_key(kind)
    assert isinstance(key, SigningKey)
    return Identity(issue.issue_ca(name, key, now=START, days=days), key)


def identity(
    role: Role,
    domain: str,
    issuer: Identity,
    kind: KeyKind = "p256",
    *,
    now: datetime = START,
    days: int = DAYS,
    name: str | None = None,
    naming: Naming = "strict",
    subject: tuple[tuple[str, str], ...] = (),
    serial: int | None = None,
    key: PrivateKey | None = None,
) -> Identity:
    """A role of `domain`, or the person with the address `domain` if role is "user"; without `key` with a new one."""
    key = key or issue.new_key(kind)
    certificate = issue.issue(
        role,
        domain,
        key.public_key(),
        issuer.certificate,
        issuer.signing_key,
        now=now,
        days=days,
        name=name,
        naming=naming,
        subject=subject,
        serial=serial,
    )
    return Identity(certificate, key)


def domain(name: str, people: tuple[str, ...] = ("alice", "bob"), kind: KeyKind = "p256") -> Domain:
    """A whole new domain. `world()` is cheaper where it will do."""
    authority = ca(f"{name} CA", kind)
    return Domain(
        name=name,
        ca=authority,
        signing=identity("signing", name, authority, kind, serial=11),
        confidentiality=identity("confidentiality", name, authority, kind, serial=12),
        review=identity("review", name, authority, kind, serial=13),
        attributes=identity("attributes", name, authority, kind, serial=14),
        users={
            person: identity("user", f"{person}@{name}", authority, kind, name=person.capitalize(), serial=100 + i)
            for i, person in enumerate(people)
        },
    )


@functools.cache
def world() -> World:
    """acme.example and beta.example, made once."""
    return World(acme=domain("acme.example"), beta=domain("beta.example"))
