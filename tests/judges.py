"""OpenSSL and Bouncy Castle behind one function, built on first use (tests/oracle/PROVENANCE.md)."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import pki
from domsec.cms.certificates import Certificate

KIT = Path(__file__).resolve().parent / "oracle"
JARS = [
    Path("/usr/share/java") / f"{name}.jar"
    for name in ("bcprov", "bcpkix", "bcutil", "bcmail", "javax.mail", "javax.activation")
]

Seen = dict[str, Any]  # what an engine says of one message


def missing() -> list[str]:
    """Programs and libraries that are not here, by name."""
    found = [program for program in ("gcc", "java", "javac") if shutil.which(program) is None]
    found += [jar.name for jar in JARS if not jar.exists()]
    if not Path("/usr/include/openssl/cms.h").exists():
        found.append("openssl/cms.h (libssl-dev)")
    return found


@functools.cache
def engines() -> Path:
    """The folder with both engines. Skips the test that asks where something is missing."""
    if lacking := missing():
        pytest.skip(f"needs {', '.join(lacking)}")
    sources = sorted((KIT / "src").iterdir())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    ready = Path(tempfile.gettempdir()) / f"domsec-judges-{os.getuid()}-{digest}"
    if ready.exists() and ready.stat().st_uid == os.getuid():
        return ready
    building = Path(tempfile.mkdtemp(prefix="domsec-judges-"))
    built = building / "build"
    built.mkdir()
    _run("gcc", "-O1", "-w", "-D_GNU_SOURCE", "-o", str(built / "ossl"), str(KIT / "src/ossl.c"), "-lcrypto")
    java = [str(path) for path in sources if path.suffix == ".java"]
    _run("javac", "-nowarn", "-Xlint:none", "-cp", _classpath(), "-d", str(built), *java)
    try:
        building.rename(ready)
    except OSError:  # another worker was faster
        shutil.rmtree(building)
    return ready


def _classpath(*more: str) -> str:
    return ":".join([*more, *(str(jar) for jar in JARS)])


def _run(*command: str) -> bytes:
    done = subprocess.run(command, capture_output=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout


def judge(messages: Mapping[str, bytes], keys: Path, folder: Path) -> dict[str, dict[str, Seen]]:
    """What each engine sees in each message: name -> engine -> layers and the like."""
    by_java = bouncycastle(messages, keys, folder)
    found = {}
    for name in messages:
        openssl = json.loads(_run(str(engines() / "build/ossl"), "check", str(keys), str(_file(folder, name))))[0]
        found[name] = {"openssl": openssl, "bouncycastle": by_java[name]}
    return found


def bouncycastle(messages: Mapping[str, bytes], keys: Path, folder: Path) -> dict[str, Seen]:
    """What Bouncy Castle sees in each message. The files stay in `folder`."""
    for name, octets in messages.items():
        _file(folder, name).write_bytes(octets)
    files = {str(_file(folder, name)): name for name in messages}
    return {files[seen["file"]]: seen for seen in json.loads(_run(*java("Oracle", "check", str(keys), *files)))}


def java(*arguments: str) -> tuple[str, ...]:
    """The command that runs a class of the kit."""
    built = engines() / "build"
    return ("java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", _classpath(str(built)), *arguments)


def run_java(*arguments: str) -> bytes:
    """What a class of the kit writes."""
    return _run(*java(*arguments))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.eml"


def write_keys(folder: Path, identities: Mapping[str, pki.Identity], anchors: Iterable[Certificate]) -> Path:
    """The keys and certificates in the layout the engines read."""
    for part in ("trust", "certs", "keys"):
        (folder / part).mkdir(parents=True)
    for i, anchor in enumerate(anchors):
        (folder / "trust" / f"{i}.pem").write_bytes(anchor.x509.public_bytes(Encoding.PEM))
    for name, identity in identities.items():
        (folder / "certs" / f"{name}.pem").write_bytes(identity.certificate.x509.public_bytes(Encoding.PEM))
        private = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "keys" / f"{name}.key").write_bytes(private)
    return folder
