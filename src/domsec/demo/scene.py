"""The two domains of the demonstration: each a CA, an authority for signing and one for confidentiality, and people."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential, credential_from_private_key
from domsec.trust import issue
from domsec.trust.issue import PrivateKey, Role, SigningKey

ACME: Final = "acme.example"
BETA: Final = "beta.example"
DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports. Mail goes submission -> wire -> arrival -> mailbox, and back the other way likewise."""

    acme_outbound: int
    acme_inbound: int
    beta_outbound: int
    beta_inbound: int
    wire: int  # between the two gateways, where anybody may look
    mailbox: int
    acme_status: int
    beta_status: int


@dataclass(frozen=True, slots=True)
class Scene:
    """What was set up, and what the play needs in hand."""

    folder: Path
    ports: Ports
    alice: Credential
    forger: Credential  # names itself the signing authority of acme.example

    def configuration(self, domain: str) -> Path:
        return self.folder / domain / "domsec.toml"

    @property
    def maildir(self) -> Path:
        return self.folder / BETA / "Maildir"


def build(folder: Path, now: datetime) -> Scene:
    """Make both domains below `folder`."""
    ports = Ports(*_free_ports(8))
    begin = now - timedelta(hours=1)
    cas = {domain: _ca(folder / domain, f"{domain} CA", begin) for domain in (ACME, BETA)}
    for domain, (certificate, key) in cas.items():
        for role in ("signing", "confidentiality"):
            _identity(folder / domain, role, domain, certificate, key, begin)
    alice = _identity(folder / ACME, "user", f"alice@{ACME}", *cas[ACME], begin)
    evil = _ca(folder / "elsewhere", "Nobody CA", begin)
    forger = _identity(folder / "elsewhere", "signing", ACME, *evil, begin)
    for domain, other in ((ACME, BETA), (BETA, ACME)):
        (folder / domain / "domsec.toml").write_text(_configuration(domain, other, folder / other, ports))
    return Scene(folder, ports, alice, forger)


def _free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    try:
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]
    finally:
        for one in taken:
            one.close()


def _ca(folder: Path, name: str, now: datetime) -> tuple[Certificate, SigningKey]:
    folder.mkdir(parents=True)
    key = issue.new_key("p256")
    assert isinstance(key, SigningKey)
    certificate = issue.issue_ca(name, key, now=now, days=DAYS)
    (folder / "ca.pem").write_text(_pem(certificate))
    return certificate, key


def _identity(folder: Path, role: Role, whose: str, ca: Certificate, ca_key: SigningKey, now: datetime) -> Credential:
    key = issue.new_key("p256")
    certificate = issue.issue(role, whose, key.public_key(), ca, ca_key, now=now, days=DAYS)
    path = folder / f"{role}.pem"
    path.touch(mode=0o600)
    path.write_text(_key_pem(key) + _pem(certificate) + _pem(ca))
    (folder / f"{role}.cert.pem").write_text(_pem(certificate))
    return credential_from_private_key(key, certificate, (ca,))


def _pem(certificate: Certificate) -> str:
    return certificate.x509.public_bytes(Encoding.PEM).decode()


def _key_pem(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _configuration(domain: str, other: str, other_folder: Path, ports: Ports) -> str:
    outbound, inbound, status = (
        (ports.acme_outbound, ports.acme_inbound, ports.acme_status)
        if domain == ACME
        else (ports.beta_outbound, ports.beta_inbound, ports.beta_status)
    )
    return f"""\
# The gateway of {domain} in the demonstration.
domains = ["{domain}"]

[listen]
outbound = "smtp:127.0.0.1:{outbound}"     # takes mail from {domain}'s users
inbound = "smtp:127.0.0.1:{inbound}"      # takes mail from outside
metrics = "127.0.0.1:{status}"
workers = 1

[next_hop]
outbound = "smtp:127.0.0.1:{ports.wire}"
inbound = "smtp:127.0.0.1:{ports.mailbox}"

[keys.signing]
credential = "signing.pem"

[keys.confidentiality]
credential = "confidentiality.pem"

[trust]
roles = ["ca.pem", "{other_folder}/ca.pem"]
users = ["ca.pem", "{other_folder}/ca.pem"]
certificates = ["{other_folder}/confidentiality.cert.pem"]

[outbound]
on_refusal = "reject"

[[outbound.evidence]]
kind = "network"              # whoever sends from this machine is believed to be of {domain}
networks = ["127.0.0.0/8"]

[inbound]
on_violation = "reject"

[[peer]]
domain = "{other}"

[store]
url = "sqlite:///{domain}.db"
"""
