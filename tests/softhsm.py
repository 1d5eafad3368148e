"""A token of SoftHSM2 in a folder, filled by OpenSC's pkcs11-tool as an administrator would do it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from unittest import mock

import pytest
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key

import pki
from domsec.cms.certificates import Certificate
from domsec.trust import issue
from domsec.trust.issue import Role

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")  # the same in Debian for every architecture
PIN = "5ecret"
KINDS = {"rsa2048": "rsa:2048", "p256": "EC:prime256v1", "p384": "EC:secp384r1", "ed25519": ""}


def missing() -> str | None:
    """Why there can be no token here, or None."""
    if not MODULE.exists() or not shutil.which("softhsm2-util"):
        return "softhsm2 is not installed"
    for program, package in (("pkcs11-tool", "opensc"), ("p11tool", "gnutls-bin")):
        if not shutil.which(program):
            return f"{program} is not installed (Debian package {package})"
    if importlib.util.find_spec("pkcs11") is None:
        return "python-pkcs11 is not installed"
    return None


@dataclass
class Token:
    """One token. It is found by whoever has SOFTHSM2_CONF in the environment; see `environment`."""

    folder: Path
    label: str = "acme"
    ids: dict[str, int] = field(default_factory=dict)
    public_keys: dict[str, CertificatePublicKeyTypes] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")}

    @property
    def pin_file(self) -> Path:
        return self.folder / "pin"

    def initialise(self) -> None:
        (self.folder / "tokens").mkdir(parents=True)
        (self.folder / "softhsm2.conf").write_text(f"directories.tokendir = {self.folder}/tokens\nlog.level = ERROR\n")
        self.pin_file.write_text(f"{PIN}\n")
        command = ["softhsm2-util", "--init-token", "--free", "--label", self.label, "--so-pin", "12345678"]
        self._run([*command, "--pin", PIN])

    def generate(self, name: str, kind: str) -> CertificatePublicKeyTypes:
        """Make a key in the token that never leaves it; its public half."""
        self.ids[name] = len(self.ids) + 1
        self.public_keys[name] = self._import(name) if kind == "ed25519" else self._generate(name, kind)
        return self.public_keys[name]

    def _generate(self, name: str, kind: str) -> CertificatePublicKeyTypes:
        usage = "--usage-derive" if kind[0] == "p" else "--usage-decrypt"
        self._tool("--keypairgen", "--key-type", KINDS[kind], "--label", name, "--id", self._id(name), usage)
        file = self.folder / f"{name}.pub"  # by p11tool: pkcs11-tool 0.23 does not read P-384
        command = ["p11tool", "--provider", str(MODULE), "--login", "--outfile", str(file), "--export-pubkey"]
        self._run([*command, f"pkcs11:token={self.label};object={name};type=public"])
        return load_pem_public_key(file.read_bytes())  # type: ignore[return-value]

    def _import(self, name: str) -> CertificatePublicKeyTypes:
        """For keys whose public half none of the tools can read."""
        key = issue.new_key("ed25519")
        file = self.folder / f"{name}.key"
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        command = ["softhsm2-util", "--import", str(file), "--token", self.label, "--pin", PIN, "--label", name]
        self._run([*command, "--id", self._id(name)])
        file.unlink()
        return key.public_key()

    def write_certificate(self, name: str, certificate: Certificate, identifier: int | None = None) -> None:
        file = self.folder / f"{name}.der"
        file.write_bytes(certificate.der)
        given = f"{identifier:02x}" if identifier is not None else self._id(name)
        self._tool("--write-object", str(file), "--type", "cert", "--label", name, "--id", given)

    def uri(self, name: str, **query: object) -> str:
        """The URI of a key, its PIN in a file unless `query` says otherwise."""
        query = {"module-path": MODULE, "pin-source": self.pin_file} | query
        asked = "&".join(f"{key}={value}" for key, value in query.items() if value)
        return f"pkcs11:token={self.label};object={name}?{asked}"

    def _id(self, name: str) -> str:
        return f"{self.ids[name]:02x}"

    def _tool(self, *arguments: str) -> bytes:
        return self._run(
            ["pkcs11-tool", "--module", str(MODULE), "--token-label", self.label, "--login", "--pin", PIN, *arguments]
        )

    def _run(self, command: list[str]) -> bytes:
        environment = os.environ | self.environment | {"GNUTLS_PIN": PIN}
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    """A token with a key of each kind, named so, and a certificate of acme's signing authority for each."""
    if reason := missing():
        pytest.skip(reason)
    made = Token(tmp_path_factory.mktemp("token"))
    made.initialise()
    with mock.patch.dict(os.environ, made.environment):
        for kind in KINDS:
            made.write_certificate(kind, certificate(made.generate(kind, kind), "signing", "acme.example"))
        yield made


def certificate(
    token_key: CertificatePublicKeyTypes, role: Role, who: str, *, now: datetime = pki.START
) -> Certificate:
    """A certificate of acme's CA for a key in a token."""
    ca = pki.world().acme.ca
    return issue.issue(role, who, token_key, ca.certificate, ca.signing_key, now=now, days=pki.DAYS)


def pem(made: Certificate) -> bytes:
    return made.x509.public_bytes(Encoding.PEM)
