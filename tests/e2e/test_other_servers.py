"""domsec behind Exim and OpenSMTPD, which hand it mail by LMTP after their queue and take it back at other ports.

alice ─▶ server ─▶ domsec ─▶ server, port for what leaves ─▶ sink
sink's world ─▶ server ─▶ domsec ─▶ server, port for what arrives ─▶ sink

Neither can be installed beside Postfix. `make packages` unpacks them, and here they run in a mount namespace whose /etc
has their users and their configuration, and whose /var is theirs.
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
USERS = {"Debian-exim": 990, "opensmtpd": 991, "opensmtpq": 992}

EXIM = """\
primary_hostname = mx.acme.example
spool_directory = /var/spool/exim
log_file_path = /var/log/exim/%slog
pid_file_path = /var/run/exim.pid
exim_path = {binary}
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
OPENSMTPD = """\
listen on 127.0.0.1 port {port} tag IN
listen on 127.0.0.1 port {leaving} tag LEAVING
listen on 127.0.0.1 port {arriving} tag ARRIVING
action "inbound" relay host "lmtp://127.0.0.1:{inbound}"
action "outbound" relay host "lmtp://127.0.0.1:{outbound}"
action "world" relay host "smtp+notls://127.0.0.1:{sink}"
match tag LEAVING from any for any action "world"
match tag ARRIVING from any for domain "acme.example" action "world"
match tag IN from any for domain "acme.example" action "inbound"
match from any for any action "outbound"
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


@dataclass(frozen=True)
class Program:
    """A mail server: its program, where it reads its configuration, and that."""

    arguments: tuple[str, ...]
    place: str
    configuration: str


PROGRAMS = {
    "exim": Program(("exim4", "-bdf", "-q1s"), "exim4/exim4.conf", EXIM),
    "opensmtpd": Program(("smtpd", "-d"), "smtpd.conf", OPENSMTPD),
}


def missing(program: str) -> str | None:
    if not (path := OTHERS / "usr/sbin" / program).exists():
        return f"{program} is not unpacked: make packages"
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        return "a mount namespace for another mail server needs root"
    if "not found" in subprocess.run(["ldd", str(path)], check=False, capture_output=True, text=True).stdout:
        return f"{program} lacks libraries: make packages"
    return None


@dataclass
class Office:
    name: str
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


@pytest.fixture(scope="module", params=PROGRAMS)
def server(request: pytest.FixtureRequest) -> Iterator[Office]:
    program = PROGRAMS[request.param]
    if reason := missing(program.arguments[0]):
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
        stack.enter_context(_running(program, folder, {**ports, "sink": sink.port}))
        yield Office(request.param, folder, domsec, sink, acme, beta, ports["port"])


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
def _running(program: Program, folder: Path, ports: dict[str, int]) -> Iterator[None]:
    """The mail server, in a world where it is the only one."""
    etc, var = folder / "etc", folder / "var"
    shutil.copytree("/etc", etc, symlinks=True)
    for name, number in USERS.items():
        with (etc / "passwd").open("a") as passwd, (etc / "group").open("a") as group:
            passwd.write(f"{name}:x:{number}:{number}::/var/lib/opensmtpd/empty:/bin/false\n")
            group.write(f"{name}:x:{number}:\n")
    (etc / program.place).parent.mkdir(exist_ok=True)
    binary = OTHERS / "usr/sbin" / program.arguments[0]
    (etc / program.place).write_text(program.configuration.format(**ports, binary=binary))
    for name in ("lib/opensmtpd/empty", "run", "tmp", "spool/smtpd", "spool/exim", "log/exim"):
        (var / name).mkdir(parents=True)
    (var / "spool/smtpd").chmod(0o711)
    for name in ("spool/exim", "log/exim"):
        os.chown(var / name, USERS["Debian-exim"], USERS["Debian-exim"])
    start = 'mount --bind "$0/etc" /etc && mount --bind "$0/var" /var && exec "$@"'
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", start, str(folder), str(binary), *program.arguments[1:]],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: _listens(ports["arriving"]), f"{program.arguments[0]} to listen")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), smtplib.SMTP("127.0.0.1", port, timeout=5):
        return True
    return False


def test_what_leaves_is_protected(server: Office) -> None:
    sent = letter("on its way out")
    server.send("alice@acme.example", sent.octets, "bob@beta.example")
    wire = server.at_sink(sent)
    assert sent.secret not in wire
    assert server.domsec.journal()[-1]["action"] == "relay"


def test_what_arrives_is_opened_and_marked(server: Office, tmp_path: Path) -> None:
    sent = letter("on its way in", "Bob <bob@beta.example>", to="alice@acme.example")
    octets = protected(sent, "bob@beta.example", server.beta, "alice@acme.example", server.acme, tmp_path, "dca")
    server.send("bob@beta.example", octets, "alice@acme.example")
    arrived = server.at_sink(sent)
    assert sent.secret in arrived
    assert "smime=pass" in fields_of(arrived, "Authentication-Results")[0]


def test_while_domsec_is_down_mail_waits(server: Office) -> None:
    if server.name == "opensmtpd":
        pytest.skip("OpenSMTPD comes again after six minutes")
    sent = letter("later")
    assert server.domsec.stop() == 0
    try:
        server.send("alice@acme.example", sent.octets, "bob@beta.example")
        wait_until(lambda: "Connection refused" in (server.folder / "var/log/exim/mainlog").read_text(), "a deferral")
        assert not any(sent.within(each.content) for each in server.sink.sent)
    finally:
        server.domsec.start()
    assert sent.secret not in server.at_sink(sent)
