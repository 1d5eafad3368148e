"""A message of 100 MB through two gateways, each with far less memory for it: signed, encrypted, opened and judged."""

from __future__ import annotations

import contextlib
import os
import resource
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

import commands
from e2e.domsec_process import Domsec
from e2e.wire import Sink, free_ports
from e2e.world import Keys, keys_of, write_pem

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

MEGABYTE = 1024 * 1024
ROOM = 24 * MEGABYTE  # of memory that no file stands behind, more than a gateway has that waits
# Threads of a worker that may not have begun yet, for the store and its kind, each with a stack that it hardly touches.
THREADS = 1 + min(32, (os.cpu_count() or 1) + 4)
STACK = 8 * MEGABYTE
LINE = b"The quick brown fox jumps over the lazy dog, and this line is as long as most are.\r\n"


def configuration(keys: Keys, other: Keys, folder: Path, listener: str, next_hop: str) -> Path:
    folder.mkdir()
    write_pem(folder / "ca.pem", keys.ca)
    write_pem(folder / "other-ca.pem", other.ca)
    write_pem(folder / "other.pem", other.confidentiality)
    for name, identity in (("signing", keys.signing), ("confidentiality", keys.confidentiality)):
        (folder / f"{name}.pem").write_bytes(commands.private(identity.key) + commands.public(identity.certificate))
        (folder / f"{name}.pem").chmod(0o600)
    path = folder / "domsec.toml"
    path.write_text(f"""\
domains = ["{keys.domain}"]
[listen]
{listener}
workers = 1
[next_hop]
{next_hop}
[keys.signing]
credential = "signing.pem"
[keys.confidentiality]
credential = "confidentiality.pem"
[trust]
roles = ["ca.pem", "other-ca.pem"]
users = ["ca.pem"]
certificates = ["other.pem"]
revocation = "soft"
[limits]
size = {500 * MEGABYTE}
[outbound]
sign = "required"
encrypt = "dca"
[inbound]
after_decrypt = "deliver"
[[outbound.evidence]]
kind = "network"
networks = ["127.0.0.0/8"]
[[peer]]
domain = "{other.domain}"
[store]
url = "sqlite:///domsec.db"
[log]
format = "json"
""")
    return path


@contextlib.contextmanager
def running(path: Path) -> Iterator[Domsec]:
    """A gateway whose worker gets no more memory than it has now, but for a few megabytes."""
    gateway = Domsec(path, path.with_suffix(".log"))
    gateway.start()
    try:
        for worker in gateway.workers:
            limit = memory_of(worker) + ROOM + STACK * (THREADS - threads_of(worker))
            resource.prlimit(worker, resource.RLIMIT_DATA, (limit, limit))
        yield gateway
    finally:
        gateway.stop()


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def memory_of(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmData:")]
    return int(line.split()[1]) * 1024


@pytest.mark.timeout(600)
def test_a_message_of_100_megabytes_goes_through_two_gateways_with_less_memory(tmp_path: Path) -> None:
    acme, beta = keys_of("acme.example"), keys_of("beta.example")
    outbound, inbound = free_ports(2)
    sink = Sink()
    sending = configuration(
        acme,
        beta,
        tmp_path / "acme",
        f'outbound = "smtp:127.0.0.1:{outbound}"',
        f'outbound = "smtp:127.0.0.1:{inbound}"',
    )
    receiving = configuration(
        beta,
        acme,
        tmp_path / "beta",
        f'inbound = "smtp:127.0.0.1:{inbound}"',
        f'inbound = "smtp:127.0.0.1:{sink.port}"',
    )
    body = LINE * (100 * MEGABYTE // len(LINE))
    message = commands.PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body

    with running(sending) as first, running(receiving) as second:
        with smtplib.SMTP("127.0.0.1", outbound, timeout=300) as client:
            client.sendmail("alice@acme.example", ["bob@beta.example"], message)
        assert b'"made":"E(S[domain](S0(OC)))"' in first.log.read_bytes()
        assert b'"structure":"E(S[domain](S0(OC)))"' in second.log.read_bytes()

    (sent,) = sink.sent
    sink.close()
    assert b"policy.domsec=domain\r\n  policy.domsec-domain=acme.example\r\n" in sent.content[:2000]
    assert sent.content.endswith(b"\r\n\r\n" + body)
