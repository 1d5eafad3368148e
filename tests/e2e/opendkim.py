"""OpenDKIM as a milter that signs for acme.example, and as one that checks, with the key in a file instead of DNS."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def write_key(folder: Path) -> None:
    """The key of mail._domainkey.acme.example: `mail.private`, and `mail.txt` for those who check."""
    key = rsa.generate_private_key(65537, 2048)
    private, public = folder / "mail.private", folder / "mail.txt"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    der = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    inside = "".join(line for line in der.splitlines() if "-" not in line)
    public.write_text(f"mail._domainkey.acme.example v=DKIM1; k=rsa; p={inside}\n")


@contextlib.contextmanager
def signing(folder: Path, port: int) -> Iterator[None]:
    """Signs what comes from this machine with the key in `folder`."""
    text = (
        f"Mode s\nDomain acme.example\nSelector mail\nKeyFile {folder}/mail.private\n"
        "Canonicalization relaxed/simple\nInternalHosts 127.0.0.0/8\n"
    )
    with _running(folder / "signing.conf", text, port):
        yield


@contextlib.contextmanager
def checking(folder: Path, port: int, authserv_id: str) -> Iterator[None]:
    """Writes into Authentication-Results what it finds, wherever mail comes from."""
    text = f"Mode v\nTestPublicKeys {folder}/mail.txt\nAuthservID {authserv_id}\nAlwaysAddARHeader yes\n"
    with _running(folder / "milter.conf", f"{text}InternalHosts 192.0.2.255\n", port):
        yield


@contextlib.contextmanager
def _running(configuration: Path, text: str, port: int) -> Iterator[None]:
    configuration.write_text(f"{text}Socket inet:{port}@127.0.0.1\nSyslog no\nRequireSafeKeys no\n")
    process = subprocess.Popen(["opendkim", "-f", "-x", str(configuration)], env={"PATH": "/usr/sbin"})
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def holds(folder: Path, octets: bytes) -> bool:
    """Whether a receiver finds the signature of acme.example good."""
    (folder / "message").write_bytes(octets)
    (folder / "checking.conf").write_text(f"Mode v\nTestPublicKeys {folder}/mail.txt\nSyslog no\n")
    command = ["opendkim", "-x", str(folder / "checking.conf"), "-t", str(folder / "message")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/sbin"})
    return "d=acme.example" in done.stdout and "succeeded" in done.stdout
