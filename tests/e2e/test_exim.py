"""domsec behind Exim, which hands it mail by LMTP after its queue and takes it back at other ports.

alice ─▶ exim ─▶ domsec ─▶ exim, port for what leaves ─▶ sink
sink's world ─▶ exim ─▶ domsec ─▶ exim, port for what arrives ─▶ sink

Exim cannot be installed beside Postfix. `make packages` unpacks it, and here it runs in a mount namespace whose /etc
has its user and its configuration.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import smtplib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.domsec_process import Domsec
from e2e.letters import Letter, fields_of, letter
from e2e.signing import protected
from e2e.wire import Sink, free_ports
from e2e.world import BASE, PREFIX, Keys, keys_of, wait_until, write_p12, write_pem

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

OTHERS = Path(__file__).parents[2] / ".others"
EXIM = OTHERS / "usr/sbin/exim4"
USER = "Debian-exim"

CONFIGURATION = """\
primary_hostname = mx.acme.example
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
exim_path = {exim}
keep_environment =
local_interfaces = <; 127.0.0.1
daemon_smtp_ports = {port} : {leaving} : {arriving}
queue_only
smtp_accept_max = 100
tls_advertise_hosts =
chunking_advertise_hosts =
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
to_domsec_inbound:
  driver = manualroute
  condition = ${{if eq{{$received_port}}{{{port}}}}}
  domains = acme.example
  route_list = * 127.0.0.1
  self = send
  transport = domsec_inbound
to_domsec_outbound:
  driver = manualroute
  condition = ${{if !eq{{$received_port}}{{{leaving}}}}}
  domains = !acme.example
  route_list = * 127.0.0.1
  self = send
  transport = domsec_outbound
to_world:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = sink
begin transports
domsec_inbound:
  driver = smtp
  protocol = lmtp
  port = {inbound}
  allow_localhost
  max_rcpt = 50
  message_linelength_limit = 1G
  hosts_try_chunking =
  hosts_avoid_tls = *
domsec_outbound:
  driver = smtp
  protocol = lmtp
  port = {outbound}
  allow_localhost
  max_rcpt = 50
  message_linelength_limit = 1G
  hosts_try_chunking =
  hosts_avoid_tls = *
sink:
  driver = smtp
  port = {sink}
  allow_localhost
  message_linelength_limit = 1G
  hosts_try_chunking =
  hosts_avoid_tls = *
begin retry
* * F,2h,1s
"""
DOMSEC = """\
domains = ["acme.example"]
[listen]
outbound = "lmtp:127.0.0.1:{outbound}"
inbound = "lmtp:127.0.0.1:{inbound}"
[next_hop]
outbound = "smtp:127.0.0.1:{leaving}"
inbound = "smtp:127.0.0.1:{arriving}"
[keys.signing]
credential = "signing.p12"
password_file = "password"
[keys.confidentiality]
credential = "confidentiality.p12"
password_file = "password"
[trust]
roles = ["trust"]
certificates = ["certificates"]
[[outbound.evidence]]
kind = "network"
networks = ["127.0.0.0/8"]
[inbound]
authserv_id = "mx.acme.example"
[[peer]]
domain = "beta.example"
expect_signed = true
[store]
url = "sqlite:///{folder}/domsec.db"
"""


def missing() -> str | None:
    if not EXIM.exists():
        return "Exim is not unpacked: make packages"
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        return "a mount namespace for Exim's user needs root"
    return None


@dataclass
class Office:
    folder: Path
    domsec: Domsec
    sink: Sink
    acme: Keys
    beta: Keys
    port: int

    def send(self, sender: str, octets: bytes, *recipients: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.sendmail(sender, list(recipients), octets)

    def at_sink(self, sent: Letter) -> bytes:
        wait_until(lambda: any(sent.within(each.content) for each in self.sink.sent), "mail at the sink", 60)
        return sent.arrived(lambda: (each.content for each in self.sink.sent))


@pytest.fixture(scope="module")
def exim() -> Iterator[Office]:
    if reason := missing():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=BASE))
        folder.chmod(0o755)
        (folder / "owner").write_text(str(os.getpid()))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sink = Sink()
        stack.callback(sink.close)
        names = ("port", "leaving", "arriving", "outbound", "inbound")
        ports = dict(zip(names, free_ports(5), strict=True))
        acme, beta = keys_of("acme.example"), keys_of("beta.example")
        domsec = _domsec(folder, ports, acme, beta)
        stack.callback(domsec.kill)
        domsec.start()
        stack.enter_context(_exim(folder, {**ports, "sink": sink.port}))
        yield Office(folder, domsec, sink, acme, beta, ports["port"])


def _domsec(folder: Path, ports: dict[str, int], acme: Keys, beta: Keys) -> Domsec:
    for name in ("domsec/trust", "domsec/certificates"):
        (folder / name).mkdir(parents=True)
    (folder / "domsec/domsec.toml").write_text(DOMSEC.format(**ports, folder=folder))
    (folder / "domsec/password").write_text("open sesame\n")
    for role in ("signing", "confidentiality"):
        write_p12(folder / f"domsec/{role}.p12", getattr(acme, role), acme.ca)
        write_pem(folder / f"domsec/certificates/beta-{role}.pem", getattr(beta, role))
    for keys in (acme, beta):
        write_pem(folder / f"domsec/trust/{keys.domain}.pem", keys.ca)
    return Domsec(folder / "domsec/domsec.toml", folder / "domsec.log")


@contextlib.contextmanager
def _exim(folder: Path, ports: dict[str, int]) -> Iterator[None]:
    """An Exim that looks into its queue once a second."""
    etc = folder / "etc"
    shutil.copytree("/etc", etc, symlinks=True)
    (etc / "exim4").mkdir()
    (etc / "exim4/exim4.conf").write_text(CONFIGURATION.format(**ports, folder=folder, exim=EXIM))
    for name, line in (("passwd", f"{USER}:x:990:990::/nonexistent:/bin/false"), ("group", f"{USER}:x:990:")):
        with (etc / name).open("a") as file:
            file.write(f"{line}\n")
    for name in ("spool", "log"):
        (folder / name).mkdir()
        os.chown(folder / name, 990, 990)
    with (folder / "exim.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc && exec "$1" -bdf -q1s', str(etc), str(EXIM)],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: _listens(ports["arriving"]), f"Exim: {(folder / 'exim.log').read_text()}")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), smtplib.SMTP("127.0.0.1", port, timeout=5):
        return True
    return False


def test_what_leaves_is_protected(exim: Office) -> None:
    sent = letter("by Exim")
    exim.send("alice@acme.example", sent.octets, "bob@beta.example")
    wire = exim.at_sink(sent)
    assert sent.secret not in wire
    assert exim.domsec.journal()[-1]["action"] == "relay"


def test_what_arrives_is_opened_and_marked(exim: Office, tmp_path: Path) -> None:
    sent = letter("to Exim", "Bob <bob@beta.example>", to="alice@acme.example")
    octets = protected(sent, "bob@beta.example", exim.beta, "alice@acme.example", exim.acme, tmp_path, "dca")
    exim.send("bob@beta.example", octets, "alice@acme.example")
    arrived = exim.at_sink(sent)
    assert sent.secret in arrived
    assert "smime=pass" in fields_of(arrived, "Authentication-Results")[0]


def test_while_domsec_is_down_mail_waits(exim: Office) -> None:
    sent = letter("later")
    assert exim.domsec.stop() == 0
    try:
        exim.send("alice@acme.example", sent.octets, "bob@beta.example")
        wait_until(lambda: "Connection refused" in (exim.folder / "log/mainlog").read_text(), "a deferral")
        assert not any(sent.within(each.content) for each in exim.sink.sent)
    finally:
        exim.domsec.start()
    assert sent.secret not in exim.at_sink(sent)
