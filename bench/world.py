"""Keys, certificates and contexts to measure with: acme.example sends, beta.example receives."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential, credential_from_private_key
from domsec.services.context import Context
from domsec.trust import issue
from domsec.trust.issue import KeyKind, PrivateKey, Role, SigningKey
from domsec.trust.path import AnchorSet, Snapshot, Validator
from domsec.trust.source import MemorySource

NOW = datetime.now(UTC)
BEGIN = NOW - timedelta(days=1)
TEXT = b"The quick brown fox jumps over the lazy dog, and this line is as long as most are.\r\n"

REST = """\
[[outbound.evidence]]
kind = "network"
networks = ["127.0.0.0/8"]
[[peer]]
domain = "beta.example"
[store]
url = "sqlite:///bench.db"
audit = "audit.jsonl"
[log]
level = "warning"
"""  # of every gateway's configuration


@dataclass(frozen=True, slots=True)
class Held:
    """A credential with the private key it wraps, for the raw limits."""

    credential: Credential
    key: PrivateKey


@functools.cache
def ca() -> tuple[Certificate, SigningKey]:
    key = issue.new_key("rsa2048")
    assert isinstance(key, SigningKey)
    return issue.issue_ca("Bench CA", key, now=BEGIN, days=30), key


@functools.cache
def held(role: Role, domain: str, kind: KeyKind) -> Held:
    key = issue.new_key(kind)
    certificate = issue.issue(role, domain, key.public_key(), *ca(), now=BEGIN, days=30)
    return Held(credential_from_private_key(key, certificate, (ca()[0],)), key)


def context(*keyring: Credential) -> Context:
    anchors = AnchorSet((ca()[0],))
    return Context(
        now=NOW,
        validator=Validator(Snapshot(anchors, anchors)),
        source=MemorySource(c.certificate for c in keyring),
        keyring=keyring,
    )


def message(size: int) -> bytes:
    """A plain message of about this many octets."""
    head = (
        b"From: Alice <alice@acme.example>\r\nTo: Bob <bob@beta.example>\r\nSubject: a measurement\r\n"
        b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@acme.example>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\n"
    )
    lines = max(1, (size - len(head)) // len(TEXT))
    return head + TEXT * lines
