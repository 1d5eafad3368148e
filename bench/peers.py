"""The same acts by other people's programs: `openssl cms`, a process for each, and a warm JVM with Bouncy Castle.

By the clock on the wall, one at a time: `value` is what domsec does a second, `limit` what they do, so a ratio above 1
is faster than they are. The acts are those on CMS alone for them; for domsec they are whole: MIME, protected header
fields and the null layer when it signs, the path of the certificate and the verdict when it verifies. 10 KB, RSA-2048,
SHA-256, OAEP, AES-256-GCM.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench import library, world
from bench.library import Case
from bench.measure import Result, best
from domsec.mime import fields
from domsec.services import encrypt
from domsec.services.check import verify
from domsec.services.encrypt import Cipher
from domsec.services.layers import peel, peel_entity

ACTS: Final = ("sign", "verify", "encrypt", "decrypt")
JARS: Final = [Path(f"/usr/share/java/{name}.jar") for name in ("bcprov", "bcpkix", "bcutil")]
SECONDS: Final = 2.0  # of each act in the JVM, after as much to become warm
ROUNDS: Final = 40  # processes of openssl for each act

Rates = Mapping[str, float]


def cases() -> Iterator[Case]:
    for name, rates in (("openssl_cms", _openssl), ("bouncycastle", _bouncycastle)):
        if missing(name) is None:
            yield f"peer.{name}", functools.partial(_compare, f"peer.{name}", rates)


def missing(name: str) -> str | None:
    """Why a program is not measured here, or None."""
    if name == "openssl_cms":
        return None if shutil.which("openssl") else "openssl is missing: it is not measured beside domsec"
    if not shutil.which("javac") or not all(jar.exists() for jar in JARS):
        return "javac or Bouncy Castle is missing (Debian packages default-jdk-headless, libbcpkix-java): not measured"
    return None


def _compare(name: str, rates: Callable[[Path], Rates]) -> list[Result]:
    """Each act, and one of each after the other under the name itself."""
    with TemporaryDirectory(prefix="domsec-bench-") as folder:
        _files(Path(folder))
        theirs = dict(rates(Path(folder)))
    ours = dict(_ours())
    for each in (ours, theirs):
        each["all"] = 1 / sum(1 / each[act] for act in ACTS)
    return [
        Result(
            name if act == "all" else f"{name}.{act}", ours[act], "1/s", theirs[act], ours[act] / theirs[act], ROUNDS
        )
        for act in ("all", *ACTS)
    ]


def _entity() -> bytes:
    return bytes(fields.entity_of(world.message(library.SIZE)))


@functools.cache
def _ours() -> Rates:
    octets, entity, context = world.message(library.SIZE), _entity(), world.context()
    confidentiality = world.held("confidentiality", "beta.example", "rsa2048").credential
    signed = bytes(library._domain_signer(octets, "rsa2048")())
    sealed = bytes(encrypt.encrypt(entity, [confidentiality.certificate], Cipher()))
    acts: tuple[Callable[[], object], ...] = (
        library._domain_signer(octets, "rsa2048"),
        lambda: verify(peel(signed), context),
        lambda: encrypt.encrypt(entity, [confidentiality.certificate], Cipher()),
        lambda: peel_entity(sealed, (confidentiality,)),
    )
    return dict(zip(ACTS, (1 / each for each in best(*acts, clock=time.perf_counter)[0]), strict=True))


def _files(folder: Path) -> None:
    """What both programs read: keys and certificates, and the part that is protected."""
    (folder / "entity").write_bytes(_entity())
    (folder / "ca.pem").write_bytes(world.ca()[0].x509.public_bytes(Encoding.PEM))
    for role, domain in (("signing", "acme.example"), ("confidentiality", "beta.example")):
        held = world.held(role, domain, "rsa2048")
        (folder / f"{role}.crt").write_bytes(held.credential.certificate.der)
        (folder / f"{role}.key").write_bytes(held.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _openssl(folder: Path) -> Rates:
    """By the clock on the wall, one at a time: the start of the process is a part of it."""
    cms = ["openssl", "cms", "-binary"]
    keys = ("-inkey", "confidentiality.key", "-recip", "confidentiality.crt")
    oaep = ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256")
    commands = {
        "sign": [*cms, "-sign", "-nodetach", "-signer", "signing.crt", "-inkey", "signing.key", "-md", "sha256",
                 "-in", "entity", "-outform", "DER", "-out", "signed"],
        "verify": [*cms, "-verify", "-in", "signed", "-inform", "DER", "-CAfile", "ca.pem", "-purpose", "any",
                   "-out", "verified"],
        "encrypt": [*cms, "-encrypt", "-aes-256-gcm", "-in", "entity", "-outform", "DER", "-out", "sealed",
                    "-recip", "confidentiality.crt", *oaep],
        "decrypt": [*cms, "-decrypt", "-in", "sealed", "-inform", "DER", *keys, "-out", "opened"],
    }  # fmt: skip
    found = {}
    for act, command in commands.items():
        seconds = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            seconds.append(time.perf_counter() - begin)
        found[act] = 1 / min(seconds)
    return found


def _bouncycastle(folder: Path) -> Rates:
    path = ":".join([str(folder), *map(str, JARS)])
    source = Path(__file__).with_name("Peer.java")
    subprocess.run(["javac", "-nowarn", "-cp", path, "-d", str(folder), str(source)], check=True, capture_output=True)
    command = ["java", "-cp", path, "Peer", str(folder), str(SECONDS)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {act: float(rate) for act, rate in (line.split() for line in lines)}
