"""The gateway through real SMTP: smtp-source -> gateway -> smtp-sink, on all cores of this machine.

Source and sink want the processor too, so the limit is what they do alone; beside it stands what the raw cryptography
of the path and the gateway that decides nothing would allow together.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench import library, world
from bench.measure import Result, anonymous, best, everywhere
from domsec.mime import fields
from domsec.services import encrypt

SIZE = 10 * 1024
CONNECTIONS = 10
MESSAGES = 3000
ROUNDS = 3
STEADY = 20  # messages a second on each of two connections: far from what a gateway can do
SECONDS = 25
START = "import pathlib, sys; from domsec.gateway.run import run; sys.exit(run(pathlib.Path(sys.argv[1])))"


class Running(NamedTuple):
    """A gateway: its ports and its first process."""

    outbound: int
    inbound: int
    pid: int


Case = tuple[str, Callable[[], list[Result]]]
_found: dict[str, float] = {}


def cases() -> Iterator[Case]:
    yield "gateway.null", lambda: [_null()]
    yield "gateway.outbound_sign", lambda: [_outbound("gateway.outbound_sign", encrypted=False)]
    yield "gateway.outbound_sign_encrypt", lambda: [_outbound("gateway.outbound_sign_encrypt", encrypted=True)]
    yield "gateway.inbound_decrypt_verify", lambda: [_inbound()]
    yield "gateway.latency_p99", lambda: [_latency()]
    yield "gateway.memory_per_worker", lambda: [_memory()]


def _null() -> Result:
    """A gateway that lets everything pass: our own SMTP, MIME and policy, no cryptography."""
    direct = _direct()
    null = _null_rate()
    return Result("gateway.null", null, "msg/s", direct, null / direct, MESSAGES * ROUNDS)


def _direct() -> float:
    if "direct" not in _found:
        with _folder() as folder, sink() as port:
            _found["direct"] = _best_rate(port, _plain(folder))
    return _found["direct"]


def _null_rate() -> float:
    if "null" not in _found:
        with _folder() as folder, sink() as port, _gateway(folder, port, sign=False, encrypt="no") as ports:
            _found["null"] = _best_rate(ports[0], _plain(folder))
    return _found["null"]


def _outbound(name: str, *, encrypted: bool) -> Result:
    wanted = "dca" if encrypted else "no"
    raw = [library._raw_sign(world.held("signing", "acme.example", "rsa2048").key)]
    if encrypted:
        entity = bytes(fields.entity_of(world.message(SIZE)))
        raw.append(library._raw_wrap(world.held("confidentiality", "beta.example", "rsa2048").key, entity))
    with _folder() as folder, sink() as port, _gateway(folder, port, sign=True, encrypt=wanted) as ports:
        value = _best_rate(ports[0], _plain(folder))
    return _against(name, value, raw)


def _inbound() -> Result:
    signed = bytes(library._domain_signer(world.message(SIZE), "rsa2048")())
    authority = world.held("confidentiality", "acme.example", "rsa2048")
    entity = bytes(encrypt.encrypt(fields.entity_of(signed), [authority.credential.certificate]))
    octets = bytes(fields.replace_entity(fields.split_message(signed)[0], entity))
    raw = [
        library._raw_unwrap(authority.key, entity),
        library._raw_verify(world.held("signing", "acme.example", "rsa2048").key),
    ]
    with _folder() as folder, sink() as port, _gateway(folder, port, sign=True, encrypt="dca") as ports:
        mail = folder / "mail.eml"
        mail.write_bytes(octets.replace(b"\r\n", b"\n"))
        value = _best_rate(ports[1], mail)
    return _against("gateway.inbound_decrypt_verify", value, raw)


def _latency() -> Result:
    """From the last octet of a message to its 250, signed and encrypted: 99 of 100 get it within this time.

    Two connections with STEADY messages a second each, so that none waits for another. The limit is the same for a
    message that goes to the sink directly, and the bare cryptography once.
    """
    raw = library._raw_sign(world.held("signing", "acme.example", "rsa2048").key)
    entity = bytes(fields.entity_of(world.message(SIZE)))
    wrap = library._raw_wrap(world.held("confidentiality", "beta.example", "rsa2048").key, entity)
    with _folder() as folder, sink() as port, _gateway(folder, port, sign=True, encrypt="dca") as running:
        direct, through = (_p99(_waits(each)) for each in (port, running.outbound))
    (bare,), _ = best(lambda: (raw(), wrap()), clock=time.perf_counter)
    limit = direct + bare
    return Result("gateway.latency_p99", through * 1e6, "us", limit * 1e6, limit / through, 2 * STEADY * SECONDS)


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]


def _waits(port: int) -> list[float]:
    with ThreadPoolExecutor(2) as pool:
        return [wait for waits in pool.map(lambda _: _steady(port), range(2)) for wait in waits]


def _steady(port: int) -> list[float]:
    """How long each message of one connection waited for its reply."""
    octets, waits = world.message(SIZE), []
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo()
        begin = time.perf_counter()
        for number in range(STEADY * SECONDS):
            time.sleep(max(0.0, begin + number / STEADY - time.perf_counter()))
            client.mail("alice@acme.example")
            client.rcpt("bob@beta.example")
            client.docmd("DATA")
            client.sock.sendall(octets + b".\r\n")  # type: ignore[union-attr]
            sent = time.perf_counter()
            code, text = client.getreply()
            waits.append(time.perf_counter() - sent)
            if code != 250:
                raise RuntimeError(f"{code} {text!r}")
    return waits


def _memory() -> Result:
    """What a worker has for itself after its share of MESSAGES, signed and encrypted.

    The limit is an interpreter that has imported the library for the cryptography and nothing else.
    """
    bare = (
        "import sys, cryptography.hazmat.primitives.serialization.pkcs7, cryptography.x509; print(); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", bare], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        limit = anonymous(process.pid)
        process.communicate()
    with _folder() as folder, sink() as port, _gateway(folder, port, sign=True, encrypt="dca") as running:
        _best_rate(running.outbound, _plain(folder))
        workers = children(running.pid)
        value = sum(map(anonymous, workers)) / len(workers)
    return Result("gateway.memory_per_worker", value, "octets", limit, value / limit, MESSAGES * ROUNDS)


def _against(name: str, value: float, raw: list[Callable[[], object]]) -> Result:
    """The limit is what a null gateway and the bare cryptography, on all cores at once, would allow together."""
    limit = 1 / (1 / _null_rate() + 1 / everywhere(*raw))
    return Result(name, value, "msg/s", limit, value / limit, MESSAGES * ROUNDS)


# -- processes ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="domsec-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(400):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on port {port}")


@contextlib.contextmanager
def process(arguments: list[str], ready: Callable[[], None]) -> Iterator[int]:
    """Its process id, once it is ready."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            ready()
            yield process.pid
        except TimeoutError:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            process.terminate()
            process.wait(30)


def children(pid: int) -> list[int]:
    """The processes that a process has begun: of a gateway, its workers."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()))


@contextlib.contextmanager
def sink() -> Iterator[int]:
    port = free_port()
    user = ["-u", "postfix"] if os.geteuid() == 0 else []
    arguments = ["smtp-sink", *user, f"127.0.0.1:{port}", "1000"]
    with process(arguments, lambda: wait_for(port)):
        yield port


@contextlib.contextmanager
def _gateway(folder: Path, sink: int, *, sign: bool, encrypt: str) -> Iterator[Running]:
    outbound, inbound, status = (free_port() for _ in range(3))
    for role, domain in (("signing", "acme.example"), ("confidentiality", "acme.example")):
        write_credential(folder / f"{role}.pem", world.held(role, domain, "rsa2048"))
    (folder / "ca.pem").write_bytes(world.ca()[0].x509.public_bytes(Encoding.PEM))
    partner = world.held("confidentiality", "beta.example", "rsa2048").credential.certificate
    (folder / "partner.pem").write_bytes(partner.x509.public_bytes(Encoding.PEM))
    configuration = folder / "domsec.toml"
    configuration.write_text(f"""\
domains = ["acme.example"]
[listen]
outbound = "smtp:127.0.0.1:{outbound}"
inbound = "smtp:127.0.0.1:{inbound}"
metrics = "127.0.0.1:{status}"
[next_hop]
outbound = "smtp:127.0.0.1:{sink}"
inbound = "smtp:127.0.0.1:{sink}"
[keys.signing]
credential = "signing.pem"
[keys.confidentiality]
credential = "confidentiality.pem"
[trust]
roles = ["ca.pem"]
users = ["ca.pem"]
certificates = ["partner.pem"]
[outbound]
sign = "{"required" if sign else "never"}"
encrypt = "{encrypt}"
{world.REST}""")

    with process([sys.executable, "-c", START, str(configuration)], lambda: ready(status)) as pid:
        yield Running(outbound, inbound, pid)


def ready(status: int) -> None:
    """Wait until a gateway says that it is, on its page of metrics."""
    wait_for(status)
    for _ in range(400):
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"http://127.0.0.1:{status}/readyz"):
            return
        time.sleep(0.05)
    raise TimeoutError("the gateway is not ready")


def write_credential(path: Path, held: world.Held) -> None:
    key = held.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key + held.credential.certificate.x509.public_bytes(Encoding.PEM))
    path.chmod(0o600)


def _plain(folder: Path) -> Path:
    mail = folder / "plain.eml"
    mail.write_bytes(world.message(SIZE).replace(b"\r\n", b"\n"))
    return mail


def _best_rate(port: int, mail: Path) -> float:
    """Messages a second of the best of some runs; every run has to end without an error."""
    command = ["smtp-source", "-d", "-s", str(CONNECTIONS), "-m", str(MESSAGES), "-f", "alice@acme.example"]
    command += ["-t", "bob@beta.example" if mail.name == "plain.eml" else "bob@acme.example", "-F", str(mail)]
    rates = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        subprocess.run([*command, f"127.0.0.1:{port}"], check=True)
        rates.append(MESSAGES / (time.perf_counter() - begin))
    return max(rates)
