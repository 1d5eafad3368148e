"""The command `domsec` called from tests, and the files of two domains that it is called with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import pki
from domsec.cli import cli
from domsec.cms.certificates import Certificate
from domsec.cms.credential import credential_from_private_key
from domsec.mime import fields
from domsec.services.layers import null_layer
from domsec.services.sign import Signer, opaque
from domsec.services.signature_type import SignatureType
from domsec.trust.issue import PrivateKey

ORACLE = Path(__file__).parent / "vectors" / "oracle"
EXPECTED = [m for m in json.loads((ORACLE / "expected.json").read_bytes())["messages"] if (ORACLE / m["file"]).exists()]
ROLES = ("ca", "signing", "confidentiality", "review", "attributes")
Options = Callable[[Mapping[str, str]], list[object]]  # for a message of the oracle

AT = ("--at", pki.NOW.isoformat())

PLAIN = b"""\
From: Alice <alice@acme.example>
To: Bob <bob@beta.example>
Subject: the contract
Date: Mon, 23 Nov 2026 11:00:00 +0000
Message-ID: <1@acme.example>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

Dear Bob,
it is signed.
""".replace(b"\n", b"\r\n")


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one call."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: object, stdin: bytes = b"", **environment: str) -> Ran:
    """Call `domsec` in this process. A traceback, or words for one, fail the test."""
    runner = CliRunner(env={"DOMSEC_CONFIG": None, "DOMSEC_PASSWORD": None, **environment})
    result = runner.invoke(cli, [str(a) for a in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "internal error" not in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    return Ran(result.exit_code, result.stdout_bytes, result.stderr)


@dataclass(frozen=True, slots=True)
class Desk:
    """A folder with a key file and a certificate file for everybody."""

    folder: Path

    def key(self, who: str) -> Path:
        """Key and certificate: `acme-signing`, `beta-bob`, `acme-ca`."""
        return self.folder / "keys" / f"{who}.pem"

    def certificate(self, who: str) -> Path:
        return self.folder / "certs" / f"{who}.pem"

    @property
    def certificates(self) -> Path:
        return self.folder / "certs"

    @property
    def trust(self) -> tuple[object, ...]:
        """Options that trust both CAs, at the time of the test PKI."""
        return ("--trust", self.certificate("acme-ca"), "--trust", self.certificate("beta-ca"), *AT)

    def add(self, who: str, identity: pki.Identity) -> Path:
        self.key(who).write_bytes(private(identity.key) + public(identity.certificate))
        self.certificate(who).write_bytes(public(identity.certificate))
        return self.key(who)


def desk(folder: Path) -> Desk:
    """The files of acme.example and beta.example in a new folder."""
    made = Desk(folder)
    (folder / "keys").mkdir()
    (folder / "certs").mkdir()
    for domain in (pki.world().acme, pki.world().beta):
        short = domain.name.partition(".")[0]
        everybody = {role: getattr(domain, role) for role in ROLES}
        for who, identity in {**everybody, **domain.users}.items():
            made.add(f"{short}-{who}", identity)
    return made


def private(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public(certificate: Certificate) -> bytes:
    return certificate.x509.public_bytes(Encoding.PEM)


def domain_signed(identity: pki.Identity, octets: bytes = PLAIN, at: datetime = pki.NOW) -> bytes:
    """A message inside the empty signature and a domain signature that nobody's gate has seen."""
    signer = Signer(credential_from_private_key(identity.key, identity.certificate))
    header, _ = fields.split_message(octets)
    inner = null_layer(fields.entity_of(octets))
    return fields.replace_entity(header, opaque(inner, signer.signing(SignatureType.DOMAIN), at))
