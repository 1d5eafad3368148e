"""A CA that publishes revocation by servers that really run: Python's own HTTP server, and the responder of OpenSSL.

with publishing.ca(folder) as ca:
    alice = ca.issue("alice@acme.example")          names both places
    ca.publish(revoked=[alice], days=7)             a new CRL
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID

import pki
from domsec.cms.certificates import Certificate
from domsec.trust import issue
from domsec.trust.issue import Role

CRL = "ca.crl"


@dataclass
class Publisher:
    """Serials count up from 100, so that OpenSSL's index can have each."""

    identity: pki.Identity
    folder: Path
    port: int
    responder: int = 0
    issued: list[Certificate] = field(default_factory=list)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/{CRL}"

    def issue(self, name: str, role: Role = "user", *, crl: bool = True, ocsp: bool = True) -> pki.Identity:
        key = issue.new_key("p256")
        extensions: list[tuple[x509.ExtensionType, bool]] = []
        if crl:
            place = x509.DistributionPoint([x509.UniformResourceIdentifier(self.uri)], None, None, None)
            extensions.append((x509.CRLDistributionPoints([place]), False))
        if ocsp and self.responder:
            uri = x509.UniformResourceIdentifier(f"http://127.0.0.1:{self.responder}")
            access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri)
            extensions.append((x509.AuthorityInformationAccess([access]), False))
        certificate = issue.issue(
            role,
            name,
            key.public_key(),
            self.identity.certificate,
            self.identity.signing_key,
            now=datetime.now(UTC) - timedelta(days=1),
            days=300,
            extensions=extensions,
            serial=100 + len(self.issued),
        )
        self.issued.append(certificate)
        return pki.Identity(certificate, key)

    def publish(self, revoked: Sequence[Certificate] = (), *, days: float = 7, now: datetime | None = None) -> bytes:
        """A new CRL at its place, made an hour before `now` and good for `days` after it."""
        moment = (now or datetime.now(UTC)).replace(microsecond=0)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.identity.certificate.x509.subject)
        builder = builder.last_update(moment - timedelta(hours=1)).next_update(moment + timedelta(days=days))
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial)
            builder = builder.add_revoked_certificate(entry.revocation_date(moment - timedelta(hours=2)).build())
        octets = builder.sign(self.identity.signing_key, hashes.SHA256()).public_bytes(Encoding.DER)
        self.put(octets)
        return octets

    def put(self, octets: bytes) -> None:
        """Whatever octets at the place of the CRL. HTTP knows when in whole seconds, so each has another one."""
        path = self.folder / CRL
        before = path.stat().st_mtime if path.exists() else time.time() - 10_000
        beside = path.with_suffix(".new")
        beside.write_bytes(octets)
        os.utime(beside, (before + 2, before + 2))
        beside.replace(path)


@contextlib.contextmanager
def ca(folder: Path, name: str = "Published CA") -> Iterator[Publisher]:
    """With an HTTP server for its CRL. `responding` adds OCSP."""
    served = folder / "served"
    served.mkdir()
    log = folder / "http.log"
    with log.open("wb") as written:
        command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(served)]
        server = subprocess.Popen(command, stdout=written, stderr=written)
    try:
        port = int(_said(log, "port ", server).split("port ")[1].split()[0])
        yield Publisher(pki.ca(name, days=3650), served, port)
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def responding(publisher: Publisher, folder: Path, revoked: Sequence[Certificate] = ()) -> Iterator[None]:
    """`openssl ocsp` answers for what the CA has issued by now; it signs itself. For `publisher.responder`."""
    identity = publisher.identity
    (folder / "ca.pem").write_bytes(identity.certificate.x509.public_bytes(Encoding.PEM))
    (folder / "ca.key").write_bytes(
        identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[union-attr]
    )
    lines = []
    for certificate in publisher.issued:
        status = "R" if certificate in revoked else "V"
        when = "260101000000Z,keyCompromise" if certificate in revoked else ""
        lines.append(f"{status}\t270101000000Z\t{when}\t{certificate.serial:04X}\tunknown\t/CN=x\n")
    (folder / "index.txt").write_text("".join(lines))
    log = folder / "ocsp.log"
    with log.open("wb") as written:
        command = [
            "openssl", "ocsp", "-port", str(publisher.responder), "-index", "index.txt", "-CA", "ca.pem",
            "-rsigner", "ca.pem", "-rkey", "ca.key", "-ndays", "1", "-text",
        ]  # fmt: skip
        server = subprocess.Popen(command, stdout=written, stderr=written, cwd=folder)
    try:
        _said(log, "waiting for OCSP client connections", server)
        yield
    finally:
        server.kill()
        server.wait()


def missing() -> str:
    """Why there can be no responder, or nothing."""
    return "" if shutil.which("openssl") else "openssl is not installed"


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _said(log: Path, text: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 20
    while text not in (said := log.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start: {said}")
        time.sleep(0.02)
    return said
