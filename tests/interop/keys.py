"""Keys for the matrix, one certification authority above them, and the files other people's programs read them from.

Those programs go by the clock of the machine, so these certificates do too.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

import judges
import pki
from domsec.trust import issue
from domsec.trust.issue import KeyKind
from pki import Identity

NOW = datetime.now(UTC).replace(microsecond=0)
PASSWORD = "interop"
KINDS: dict[str, KeyKind] = {
    "rsa": "rsa2048",
    "rsa-b": "rsa2048",
    "p256": "p256",
    "p384": "p384",
    "ed25519": "ed25519",
    "x25519": "x25519",
}
LEGACY = frozenset({"rsa", "rsa-b"})  # also as PKCS #12 that gpgsm 2.2 can read


@functools.cache
def authority() -> Identity:
    key = issue.new_key("rsa2048")
    assert isinstance(key, pki.SigningKey)
    return Identity(issue.issue_ca("Interop CA", key, now=NOW - timedelta(days=1), days=30), key)


@functools.cache
def identities() -> dict[str, Identity]:
    """A person for each kind of key; `rsa` is the one From: names."""
    return {
        name: pki.identity(
            "user", address(name), authority(), kind, now=NOW - timedelta(hours=1), days=20, name=name, serial=100 + i
        )
        for i, (name, kind) in enumerate(KINDS.items())
    }


def address(name: str) -> str:
    return f"{name}@acme.example"


def files(folder: Path) -> Path:
    """certs/NAME.pem, keys/NAME.key, trust/0.pem and, where there is such a thing, p12/NAME.p12."""
    judges.write_keys(folder, identities(), [authority().certificate])
    (folder / "p12").mkdir()
    for name in identities():
        if name != "x25519" and name != "ed25519":
            (folder / "p12" / f"{name}.p12").write_bytes(as_pkcs12(name))
    return folder


def as_pkcs12(name: str) -> bytes:
    """The key with its certificate as NSS and gpgsm read it; with a new salt each time."""
    return pkcs12_of(name, identities()[name], [authority().certificate.x509])


def pkcs12_of(name: str, identity: Identity, chain: Sequence[x509.Certificate] = ()) -> bytes:
    """The same for anybody's key."""
    how = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(1000)
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(SHA1())
        .build(PASSWORD.encode())
    )
    return pkcs12.serialize_key_and_certificates(
        name.encode(), identity.signing_key, identity.certificate.x509, chain, how
    )
