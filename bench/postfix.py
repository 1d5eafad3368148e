"""domsec behind a real Postfix: smtp-source -> Postfix -> smtp-sink, with and without domsec in the way.

The Postfix is that of the tests. Everything shares the cores of this machine, so the limit is what the same Postfix
does with the same message when nobody filters it, measured in turns with domsec, from the first message until all are
gone:

    postfix.milter   domsec verifies a domain signature and marks the message, as a milter: it never signs nor encrypts
    postfix.filter   domsec signs and encrypts after the queue (content_filter, LMTP over Unix sockets)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from bench import library, world
from bench.gateway import START, Case, free_port, process, ready, sink, wait_for, write_credential
from bench.measure import Result

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from e2e import postfix

SIZE = 10 * 1024
CONNECTIONS = 20
MESSAGES = 600
ROUNDS = 3
PATIENCE = 120.0  # seconds until all messages of a round have to be gone

MAIN = """\
myhostname = mx.acme.example
mydestination =
alias_maps =
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink}
smtp_line_length_limit = 0
in_flow_delay = 0
"""
MASTER = """\
127.0.0.1:{plain} inet n - n - 100 smtpd
127.0.0.1:{milter} inet n - n - 100 smtpd
  -o smtpd_milters=unix:{folder}/milter.sock
127.0.0.1:{filter} inet n - n - 100 smtpd
  -o content_filter=domsec:unix:{folder}/outbound.sock
domsec unix - - n - 20 lmtp
  -o lmtp_send_xforward_command=yes
  -o disable_mime_output_conversion=yes
  -o lmtp_line_length_limit=0
  -o lmtp_tls_security_level=none
domsec-out unix n - n - 100 smtpd
  -o content_filter=
  -o receive_override_options=no_unknown_recipient_checks,no_address_mappings,no_header_body_checks,no_milters
"""
DOMSEC = """\
domains = ["acme.example"]
[listen]
milter = "unix:{folder}/milter.sock"
outbound = "lmtp:unix:{folder}/outbound.sock"
metrics = "127.0.0.1:{status}"
socket_mode = "0666"
[next_hop]
outbound = "smtp:unix:{folder}/postfix/spool/public/domsec-out"
[keys.signing]
credential = "signing.pem"
[trust]
roles = ["ca.pem"]
users = ["ca.pem"]
certificates = ["partner.pem"]
[outbound]
encrypt = "dca"
{rest}"""


@dataclass(frozen=True, slots=True)
class Ports:
    """The services of one Postfix."""

    plain: int
    milter: int
    filter: int


def cases() -> Iterator[Case]:
    yield "postfix.milter", lambda: [_milter()]
    yield "postfix.filter", lambda: [_filter()]


def missing() -> str | None:
    """Why Postfix cannot be measured here, None if it can."""
    without: str | None = postfix.missing()
    return without


def _milter() -> Result:
    signed = bytes(library._domain_signer(world.message(SIZE), "rsa2048")())
    return _against("postfix.milter", signed, lambda ports: ports.milter)


def _filter() -> Result:
    return _against("postfix.filter", world.message(SIZE), lambda ports: ports.filter)


def _against(name: str, octets: bytes, service: Callable[[Ports], int]) -> Result:
    limits, values = [], []
    with _running() as (instance, folder, ports):
        mail = folder / "mail.eml"
        mail.write_bytes(octets.replace(b"\r\n", b"\n"))
        for _ in range(ROUNDS):
            limits.append(_rate(instance, ports.plain, mail))
            values.append(_rate(instance, service(ports), mail))
    return Result(name, max(values), "msg/s", max(limits), max(values) / max(limits), MESSAGES * ROUNDS)


def _rate(instance: postfix.Instance, port: int, mail: Path) -> float:
    """Messages a second, until the last one has left the queue."""
    command = ["smtp-source", "-d", "-s", str(CONNECTIONS), "-m", str(MESSAGES), "-f", "alice@acme.example"]
    command += ["-t", "bob@beta.example", "-F", str(mail), f"127.0.0.1:{port}"]
    begin = time.perf_counter()
    subprocess.run(command, check=True)
    while _waiting(instance):
        if time.perf_counter() > begin + PATIENCE:
            raise TimeoutError(f"mail is stuck in the queue:\n{instance.waiting_for()[-2000:]}")
        time.sleep(0.01)
    return MESSAGES / (time.perf_counter() - begin)


def _waiting(instance: postfix.Instance) -> bool:
    """Whether anything is in a queue: what is with domsec still is. Raises RuntimeError for what has to wait."""
    if any(path.is_file() for path in (instance.spool / "deferred").rglob("*")):
        raise RuntimeError(f"mail was deferred, so nothing is measured:\n{instance.waiting_for()[-2000:]}")
    return any(entry.is_file() for queue in ("incoming", "active") for entry in os.scandir(instance.spool / queue))


@contextlib.contextmanager
def _running() -> Iterator[tuple[postfix.Instance, Path, Ports]]:
    """Postfix, domsec and a sink behind them."""
    folder = Path(tempfile.mkdtemp(prefix="domsec-bench-", dir="/var/tmp"))  # postlogd writes below /var only
    folder.chmod(0o755)
    instance = postfix.Instance(folder / "postfix")
    ports, status = Ports(free_port(), free_port(), free_port()), free_port()
    try:
        with sink() as port:
            _configure(folder, status)
            master = MASTER.format(plain=ports.plain, milter=ports.milter, filter=ports.filter, folder=folder)
            instance.configure(MAIN.format(sink=port), master)
            with process([sys.executable, "-c", START, str(folder / "domsec.toml")], lambda: ready(status)):
                instance.start()
                wait_for(ports.plain)
                yield instance, folder, ports
    finally:
        instance.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, status: int) -> None:
    write_credential(folder / "signing.pem", world.held("signing", "acme.example", "rsa2048"))
    (folder / "ca.pem").write_bytes(world.ca()[0].x509.public_bytes(Encoding.PEM))
    partner = world.held("confidentiality", "beta.example", "rsa2048").credential.certificate
    (folder / "partner.pem").write_bytes(partner.x509.public_bytes(Encoding.PEM))
    (folder / "domsec.toml").write_text(DOMSEC.format(folder=folder, status=status, rest=world.REST))
