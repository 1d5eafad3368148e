"""What a signature costs where the key is elsewhere, against the same key in this process.

By the clock on the wall, since the work is done in other processes too: how long whoever asks has to wait. One who asks
at a time.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench import world
from bench.library import DIGEST_INPUT, Case
from bench.measure import Result, rate
from bench.world import Held
from domsec.cms.algorithms import default_signature_algorithm
from domsec.cms.credential import Credential
from domsec.daemon import listen_unix
from domsec.keyd.answer import PURPOSES
from domsec.keyd.server import Service, serve
from domsec.stores.credentials import load_credential
from domsec.stores.key_process import KeyProcess, KeyProcessCredential
from domsec.stores.key_protocol import key_digest
from domsec.trust.issue import KeyKind

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
KINDS: tuple[KeyKind, ...] = ("rsa2048", "p256")
PIN = "5ecret"


def cases() -> Iterator[Case]:
    for kind in KINDS:
        yield f"keys.keyd.{kind}", functools.partial(_measure, "keyd", kind, _in_key_process)
    if missing() is None:
        for kind in KINDS:
            yield f"keys.softhsm.{kind}", functools.partial(_measure, "softhsm", kind, _in_token)


def missing() -> str | None:
    """Why no token can be measured here, or None."""
    if not MODULE.exists() or not shutil.which("softhsm2-util"):
        return "softhsm2 is missing (Debian package softhsm2): keys in tokens are not measured"
    if importlib.util.find_spec("pkcs11") is None:
        return "python-pkcs11 is missing: keys in tokens are not measured"
    return None


Elsewhere = Callable[[Path, Held], contextlib.AbstractContextManager[Credential]]


def _measure(where: str, kind: KeyKind, elsewhere: Elsewhere) -> list[Result]:
    held = world.held("signing", "acme.example", kind)
    with TemporaryDirectory() as folder, elsewhere(Path(folder), held) as credential:
        subject, limit = _signing(credential), _signing(held.credential)
        return [rate(f"keys.{where}.{kind}", subject, limit, clock=time.perf_counter)]


def _signing(credential: Credential) -> Callable[[], object]:
    algorithm = default_signature_algorithm(credential.certificate.public_key)
    return lambda: credential.sign(DIGEST_INPUT, algorithm)


@contextlib.contextmanager
def _in_key_process(folder: Path, held: Held) -> Iterator[Credential]:
    """The server of `domsec keyd`, without the privileges that it would give up first."""
    path, certificate = folder / "socket", held.credential.certificate
    service = Service({("signing", key_digest(certificate)): held.credential}, {os.geteuid(): PURPOSES})
    listener = listen_unix(str(path), 0o600)
    child = os.fork()
    if child == 0:
        try:
            serve(listener, service, lambda: service)
        finally:
            os._exit(0)
    listener.close()
    process = KeyProcess(path)
    try:
        yield KeyProcessCredential(process, "signing", certificate)
    finally:
        process.close()
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


@contextlib.contextmanager
def _in_token(folder: Path, held: Held) -> Iterator[Credential]:
    (folder / "key").write_bytes(held.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "certificate").write_bytes(held.credential.certificate.x509.public_bytes(Encoding.PEM))
    label = held.credential.certificate.sha256[:8]
    command = ["softhsm2-util", "--import", str(folder / "key"), "--token", _token(), "--pin", PIN, "--label", label]
    subprocess.run([*command, "--id", label], check=True, capture_output=True)
    uri = f"pkcs11:token={_token()};object={label}?module-path={MODULE}"
    yield load_credential(uri, password=PIN.encode(), certificates=[folder / "certificate"])


_KEPT: list[TemporaryDirectory[str]] = []  # until we end: a library that is loaded knows one place for its tokens


@functools.cache
def _token() -> str:
    """The name of a new token."""
    _KEPT.append(TemporaryDirectory())
    folder = Path(_KEPT[-1].name)
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    command = ["softhsm2-util", "--init-token", "--free", "--label", "bench", "--so-pin", "12345678", "--pin", PIN]
    subprocess.run(command, check=True, capture_output=True)
    return "bench"
