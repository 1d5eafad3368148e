"""Signed zones on a real authoritative server (nsd), and a validating resolver in front of it (unbound), on loopback.

    with zone.servers({"beta.example": [record, ...]}) as running:
        running.resolver          the port that answers as a resolver of this machine would

Below the signed `example` are zones: signed ones with their DS in it; unsigned ones; ones whose signatures somebody
spoiled; and `dead.example`, whose server does not exist.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("/usr/sbin/nsd", "/usr/sbin/unbound", "/usr/bin/ldns-signzone", "/usr/bin/ldns-keygen")
TTL = 3600
_NSD = """\
server:
  ip-address: 127.0.0.1@{port}
  zonesdir: "{folder}"
  database: ""
  username: ""
  chroot: ""
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  server-count: 1
  verbosity: 0
remote-control:
  control-enable: no
"""
_UNBOUND = """\
server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  use-syslog: no
  username: ""
  chroot: ""
  pidfile: "{folder}/unbound.pid"
  directory: "{folder}"
  do-not-query-localhost: no
  do-ip6: no
  module-config: "validator iterator"
  trust-anchor-file: "{folder}/anchor.ds"
  local-zone: "example." nodefault
  qname-minimisation: no
  num-threads: 1
  so-reuseport: no
  verbosity: 0
remote-control:
  control-enable: no
stub-zone:
  name: "example."
  stub-addr: 127.0.0.1@{authoritative}
{more}"""
_STUB = 'stub-zone:\n  name: "{name}."\n  stub-addr: 127.0.0.1@{port}\n'
_HEAD = """\
$ORIGIN {name}.
$TTL {ttl}
@ IN SOA ns.example. postmaster.example. 1 3600 600 86400 300
@ IN NS ns.example.
"""


@dataclass(frozen=True)
class Servers:
    authoritative: int
    resolver: int


def missing() -> str:
    """Why there can be no zones, or nothing."""
    absent = [Path(program).name for program in PROGRAMS if not Path(program).exists()]
    return f"not installed: {', '.join(absent)}" if absent else ""


@contextlib.contextmanager
def servers(
    signed: Mapping[str, Iterable[str]],
    *,
    unsigned: Mapping[str, Iterable[str]] = {},
    spoiled: Mapping[str, Iterable[str]] = {},
    dead: Iterable[str] = (),
) -> Iterator[Servers]:
    """Both servers with these zones below `example`, each with its records, until the block ends.

    A spoiled zone is signed, and then each SMIMEA record in it gets another octet at its end.
    """
    folder = Path(tempfile.mkdtemp(prefix="domsec-zone-"))
    running: list[subprocess.Popen[bytes]] = []
    try:
        authoritative, resolver = _free_ports()
        top = ["ns.example. IN A 127.0.0.1"]
        for name, records in {**signed, **spoiled}.items():
            top += [f"{name}. IN NS ns.example.", _sign(folder, name, records)]
        for name, records in unsigned.items():
            top.append(f"{name}. IN NS ns.example.")
            (folder / f"{name}.signed").write_text(_zone(name, records))
        top += [f"{name}. IN NS ns.example." for name in dead]
        (folder / "anchor.ds").write_text(_sign(folder, "example", top) + "\n")
        for name in spoiled:
            _spoil(folder / f"{name}.signed")
        names = ["example", *signed, *unsigned, *spoiled]
        zones = "".join(f'zone:\n  name: "{name}"\n  zonefile: "{name}.signed"\n' for name in names)
        stubs = "".join(_STUB.format(name=name, port=authoritative) for name in names[1:])
        stubs += "".join(_STUB.format(name=name, port=1) for name in dead)
        (folder / "nsd.conf").write_text(_NSD.format(folder=folder, port=authoritative) + zones)
        (folder / "unbound.conf").write_text(
            _UNBOUND.format(folder=folder, port=resolver, authoritative=authoritative, more=stubs)
        )
        running.append(_start(["/usr/sbin/nsd", "-d", "-c", str(folder / "nsd.conf")], authoritative))
        running.append(_start(["/usr/sbin/unbound", "-d", "-c", str(folder / "unbound.conf")], resolver))
        yield Servers(authoritative, resolver)
    finally:
        for process in running:
            process.terminate()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _zone(name: str, records: Iterable[str]) -> str:
    return _HEAD.format(name=name, ttl=TTL) + "".join(f"{record}\n" for record in records)


def _sign(folder: Path, name: str, records: Iterable[str]) -> str:
    """Write `name`.signed, with NSEC3; the DS record that belongs into the zone above."""
    path = folder / name
    path.write_text(_zone(name, records))
    made = subprocess.run(
        ["ldns-keygen", "-a", "ECDSAP256SHA256", "-k", f"{name}."], cwd=folder, check=True, capture_output=True
    )
    key = made.stdout.decode().strip()
    command = ["ldns-signzone", "-n", "-f", str(folder / f"{name}.signed"), str(path), str(folder / key)]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return (folder / f"{key}.ds").read_text().strip()


def _spoil(path: Path) -> None:
    lines = path.read_text().splitlines()
    spoiled = [f"{line}00" if "\tSMIMEA\t" in line or "\tTYPE53\t" in line else line for line in lines]
    assert spoiled != lines
    path.write_text("\n".join(spoiled) + "\n")


def _start(command: list[str], port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                said = process.stderr.read().decode() if process.stderr else ""
                raise RuntimeError(f"{command[0]} did not start: {said}") from None
            time.sleep(0.02)
        else:
            return process


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
