"""Two domains that exchange mail: for each an inside Postfix, domsec, and an edge Postfix, as docs/postfix.md says.

    alice ─▶ acme inside ─▶ domsec ─▶ acme edge ─▶ tap ─▶ beta edge ─▶ domsec ─▶ beta inside ─▶ Maildir of bob

Everything else than the two domains is a `Sink`. Mail from acme to gamma.example takes a gateway of its own whose next
hop is the sink itself, so that a test can say what a next hop answers. It lets nothing out to reviewed.gamma.example
that acme's reviewer has not seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import smtplib
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

import pki
from domsec.cms.credential import credential_from_private_key
from domsec.policy.configuration import Configuration
from domsec.services.check import examine
from domsec.services.layers import peel
from domsec.services.verdict import Verdict
from domsec.site import load_site
from domsec.trust import issue
from domsec.trust.issue import KeyKind, Naming, Role, SigningKey
from e2e import documented
from e2e.domsec_process import Domsec
from e2e.postfix import Instance
from e2e.wire import Sink, Tap, free_ports

BASE = Path("/var/tmp")  # postlogd writes below /var only; user postfix has to get there
PREFIX = "domsec-e2e-"
PASSWORD = "correct horse"
SERVER = "127.0.0.2"  # a server of ours that does not log in
PRINTED_FINGERPRINT = "5E:88:48:98:DA:28:04:71:51:D0:E5:6F:8D:C6:29:27:73:60:3D:0D:6A:AB:BD:D6:2A:11:EF:72:1D:15:42:D8"
MAIL_UID = 5000


@dataclass(frozen=True)
class Keys:
    """A domain's own CA and role keys, valid now: the gateway reads the real clock."""

    domain: str
    ca: pki.Identity
    signing: pki.Identity
    confidentiality: pki.Identity
    review: pki.Identity


def keys_of(domain: str, *, ca: pki.Identity | None = None, naming: Naming = "strict") -> Keys:
    """From a CA of its own, or from one that issues for others as well."""
    now = datetime.now(UTC) - timedelta(hours=1)
    ca = ca or ca_named(f"{domain} CA")

    def role(name: Role) -> pki.Identity:
        return pki.identity(name, domain, ca, now=now, days=300, naming=naming)

    return Keys(domain, ca, role("signing"), role("confidentiality"), role("review"))


def ca_named(name: str, kind: KeyKind = "p256") -> pki.Identity:
    key = issue.new_key(kind)
    assert isinstance(key, SigningKey)
    return pki.Identity(issue.issue_ca(name, key, now=datetime.now(UTC) - timedelta(hours=1), days=400), key)


@dataclass(frozen=True)
class Person:
    """Somebody at people.example, where there is no gateway: an own CA, and a key of a kind every program reads."""

    ca: pki.Identity
    dave: pki.Identity


def _person() -> Person:
    now = datetime.now(UTC) - timedelta(hours=1)
    ca = ca_named("people CA", "rsa2048")
    return Person(ca, pki.identity("user", "dave@people.example", ca, "rsa2048", now=now, days=300, name="Dave"))


@dataclass(frozen=True)
class Ports:
    submission: int
    machines: int
    server: int
    edge: int
    careless: int  # the edge without its guard against smuggling, as Debian ships it


class Side:
    """One domain: its folder, two Postfix instances, its gateway."""

    def __init__(self, base: Path, keys: Keys, others: list[Keys], person: Person, ports: Ports, other: str) -> None:
        self.domain = keys.domain
        self.keys = keys
        self.ports = ports
        self.folder = base / keys.domain
        self.inside = Instance(self.folder / "inside")
        self.edge = Instance(self.folder / "edge")
        self.run = self.folder / "run"
        self.mail = self.folder / "mail"
        self.machine = self.folder / "machine.pem"
        self.domsec = Domsec(self.folder / "domsec" / "domsec.toml", self.folder / "domsec.log")
        self.tap = Tap(ports.edge)
        self.folder.mkdir()
        write_tls(self.machine, f"ledger.{keys.domain}")
        self._table = {
            "acme.example": keys.domain,
            "beta.example": other,
            "/etc/postfix-edge": str(self.edge.etc),
            "/etc/postfix": str(self.inside.etc),
            "/var/spool/postfix-edge": str(self.edge.spool),
            "/var/spool/postfix": str(self.inside.spool),
            "/etc/domsec": str(self.folder / "domsec"),
            "/var/lib/domsec": str(self.folder / "state"),
            "/run/domsec": str(self.run),
            "/srv/mail": str(self.mail),
            "192.0.2.0/28": f"{SERVER}/32",
            "submission inet": f"127.0.0.1:{ports.submission} inet",
            "2587 inet": f"127.0.0.1:{ports.machines} inet",
            PRINTED_FINGERPRINT: _fingerprint(self.machine),
            "6dd6a54d1be2f2a0": (secret := secrets.token_hex(8)),
        }
        self._files = {
            documented.replaced(path, self._table): documented.replaced(text, self._table)
            for path, text in documented.files().items()
        }
        self._make_folders()
        self._configure_domsec(others, person, secret)

    def _make_folders(self) -> None:
        for folder in (self.run, self.mail, self.folder / "state", self.folder / "domsec", self.inside.etc / "sasl"):
            folder.mkdir(parents=True)
        self.edge.etc.mkdir(parents=True)
        shutil.chown(self.run, group="postfix")
        self.run.chmod(0o2750)
        os.chown(self.mail, MAIL_UID, MAIL_UID)

    def _configure_domsec(self, others: list[Keys], person: Person, secret: str) -> None:
        folder = self.folder / "domsec"
        (folder / "password").write_text("open sesame\n")
        (folder / "auth-token").write_text(f"{secret}\n")
        for name in ("signing", "confidentiality"):
            write_p12(folder / f"{name}.p12", getattr(self.keys, name), self.keys.ca)
        for name in ("trust/roles", "trust/users", "certificates"):
            (folder / name).mkdir(parents=True)
        write_pem(folder / "trust" / "users" / "people.pem", person.ca)
        write_pem(folder / "certificates" / "dave.pem", person.dave)
        for each in (self.keys, *others):
            for store in ("roles", "users"):
                write_pem(folder / "trust" / store / f"{each.domain}.pem", each.ca)
            for role in ("signing", "confidentiality"):
                write_pem(folder / "certificates" / f"{each.domain}-{role}.pem", getattr(each, role))
        for path, text in self._files.items():
            if Path(path).is_relative_to(folder):
                Path(path).write_text(text)

    def configure_postfix(self, routes: str, inside_routes: str, elsewhere: int) -> None:
        """Lines of transport tables, and the port for all that they do not name: what we have instead of DNS."""
        ours = dict(self._files)
        inside, edge = str(self.inside.etc), str(self.edge.etc)
        listeners = {inside: f"127.0.0.1:{self.ports.server} inet n - n - - smtpd\n",
                     edge: f"127.0.0.1:{self.ports.edge} inet n - n - - smtpd\n"
                           f"127.0.0.1:{self.ports.careless} inet n - n - - smtpd\n"
                           "  -o smtpd_forbid_bare_newline=no -o smtpd_forbid_unauth_pipelining=no\n"}  # fmt: skip
        for instance, transport in ((self.inside, inside_routes), (self.edge, routes)):
            etc = str(instance.etc)
            (instance.etc / "transport").write_text(transport)
            local = {"mydestination": f"lists.{self.domain}", "alias_maps": f"texthash:{etc}/aliases"}
            local = local if instance is self.inside else {}
            instance.configure(
                ours.pop(f"{etc}/main.cf"),
                ours.pop(f"{etc}/master.cf") + listeners[etc],
                transport_maps=f"texthash:{etc}/transport",
                relayhost=f"[127.0.0.1]:{elsewhere}" if instance is self.edge else "",
                cyrus_sasl_config_path=f"{etc}/sasl",
                **local,
            )
            write_tls(instance.etc / "tls.pem", self.domain)
        # The page has alice, carol and postmaster.
        ours[f"{inside}/mailboxes"] += f"bob@{self.domain} bob/\n"
        ours[f"{inside}/senders"] += f"bob@{self.domain} bob@{self.domain}\n"
        ours[f"{edge}/recipients"] += f"bob@{self.domain} ok\ngone@{self.domain} ok\n"
        # An alias of somebody who has left: the inside instance takes such mail and then has to bounce it.
        ours[f"{inside}/virtual"] += f"gone@{self.domain} left@{self.domain}\n"
        # Aliases to somewhere else, one of cleanup(8) and one of local(8).
        ours[f"{inside}/virtual"] += f"away@{self.domain} somebody@gamma.example\n"
        ours[f"{inside}/aliases"] = "everybody somebody@gamma.example\n"
        ours[f"{edge}/recipients"] += f"away@{self.domain} ok\neverybody@lists.{self.domain} ok\n"
        for path, text in ours.items():
            if Path(path).is_relative_to(inside) or Path(path).is_relative_to(edge):
                Path(path).write_text(text)
        self._write_passwords()

    def _write_passwords(self) -> None:
        database = self.inside.etc / "sasl" / "sasldb2"
        for name in ("alice", "bob", "carol"):
            command = ["saslpasswd2", "-p", "-c", "-f", str(database), "-u", self.domain, name]
            path = {"PATH": "/usr/sbin:/usr/bin"}
            subprocess.run(command, input=PASSWORD.encode(), check=True, env=path, capture_output=True)
        shutil.chown(database, group="postfix")
        database.chmod(0o640)

    # -- using it ----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        self.inside.flush()
        self.edge.flush()

    def mailbox(self, name: str) -> list[bytes]:
        """The messages in somebody's Maildir."""
        return [path.read_bytes() for path in sorted((self.mail / name / "new").glob("*"))]

    def submit(self, login: str, recipients: list[str], message: bytes, sender: str = "") -> None:
        """Send as an authenticated user: STARTTLS, AUTH PLAIN, MAIL."""
        context = ssl._create_unverified_context()
        with smtplib.SMTP("127.0.0.1", self.ports.submission, timeout=30) as client:
            client.starttls(context=context)
            client.login(login, PASSWORD)
            client.sendmail(sender or login, recipients, message, mail_options=["BODY=8BITMIME"])

    def send_from_machine(self, certificate: Path, sender: str, recipients: list[str], message: bytes) -> None:
        """Send as a program that has a certificate and no login."""
        context = ssl._create_unverified_context()
        context.load_cert_chain(certificate)
        with smtplib.SMTP("127.0.0.1", self.ports.machines, timeout=30) as client:
            client.starttls(context=context)
            client.sendmail(sender, recipients, message)

    def send_from_server(self, sender: str, recipients: list[str], message: bytes) -> None:
        """Send as one of our servers that does not log in."""
        with self.server() as client:
            client.sendmail(sender, recipients, message)

    def server(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.ports.server, timeout=30, source_address=(SERVER, 0))

    def from_internet(self, sender: str, recipients: list[str], message: bytes) -> None:
        """Send as anybody in the world, to the edge."""
        with smtplib.SMTP("127.0.0.1", self.ports.edge, timeout=30) as client:
            client.sendmail(sender, recipients, message)

    def verdict(self, octets: bytes, keys: Keys | None = None) -> Verdict:
        """What this domain, with its own or other keys, would say of a message."""
        site = load_site(Configuration.load(self.domsec.configuration))
        context = site.context(datetime.now(UTC))
        if keys is not None:
            mine = keys.confidentiality
            context = replace(context, keyring=(credential_from_private_key(mine.key, mine.certificate),))
        return examine(peel(octets, context.keyring, context.limits), context).verdict


@dataclass
class World:
    base: Path
    acme: Side
    beta: Side
    gamma: Keys
    person: Person
    sink: Sink
    to_sink: Domsec  # the gateway of acme whose next hop is the sink

    @property
    def gateways(self) -> tuple[Domsec, ...]:
        return self.acme.domsec, self.beta.domsec, self.to_sink

    @property
    def instances(self) -> tuple[Instance, ...]:
        return self.acme.inside, self.acme.edge, self.beta.inside, self.beta.edge

    def idle(self) -> bool:
        """Whether all queues are empty. Asked forth and back, so that no message slips by on its way."""
        there = (self.acme.inside, self.acme.edge, self.beta.edge, self.beta.inside)
        return not any(instance.queue() for instance in (*there, *reversed(there)))


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Build it, run it, and take it away whatever happens."""
    _remove_leftovers()
    base = Path(tempfile.mkdtemp(prefix=PREFIX, dir=BASE))
    base.chmod(0o755)
    (base / "owner").write_text(str(os.getpid()))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        made = _build(base)
        stack.callback(made.sink.close)
        stack.callback(made.acme.tap.close)
        stack.callback(made.beta.tap.close)
        with ThreadPoolExecutor(4) as pool:
            for each in made.instances:
                stack.callback(each.stop)
            for each in made.gateways:
                stack.callback(each.kill)
            starting = [pool.submit(each.start) for each in (*made.instances, *made.gateways)]
            for each in starting:
                each.result()
        yield made


def _build(base: Path) -> World:
    keys = {name: keys_of(f"{name}.example") for name in ("acme", "beta", "gamma")}
    ports = free_ports(10)
    sink, person = Sink(), _person()
    acme = Side(base, keys["acme"], [keys["beta"], keys["gamma"]], person, Ports(*ports[:5]), "beta.example")
    beta = Side(base, keys["beta"], [keys["acme"]], person, Ports(*ports[5:]), "acme.example")
    to_sink = acme.run / "to-sink.sock"
    for side, partner, inside in (
        (acme, beta, f"gamma.example domsec:unix:{to_sink}\n.gamma.example domsec:unix:{to_sink}\n"),
        (beta, acme, ""),
    ):
        way = f"smtp:[127.0.0.1]:{partner.tap.port}"
        side.configure_postfix(f"{partner.domain} {way}\n.{partner.domain} {way}\n", inside, sink.port)
    return World(base, acme, beta, keys["gamma"], person, sink, _gateway_to_sink(acme, to_sink, sink.port))


def _gateway_to_sink(acme: Side, listen: Path, port: int) -> Domsec:
    text = acme.domsec.configuration.read_text()
    table = {
        f'outbound = "lmtp:unix:{acme.run}/outbound.sock"': f'outbound = "lmtp:unix:{listen}"',
        f'inbound = "lmtp:unix:{acme.run}/inbound.sock"\n': "",
        f'outbound = "smtp:unix:{acme.edge.spool}/public/domsec-in"': f'outbound = "smtp:127.0.0.1:{port}"',
        f'inbound = "smtp:unix:{acme.inside.spool}/public/domsec-in"\n': "",
        "domsec.db": "to-sink.db",
    }
    assert all(part in text for part in table)
    path = acme.domsec.configuration.with_name("to-sink.toml")
    reviewer = acme.keys.review.certificate.sha256
    review = f'[[review]]\nto = ["reviewed.gamma.example"]\nreviewers = ["{reviewer}"]\n'
    path.write_text(documented.replaced(text, table) + review)
    return Domsec(path, acme.folder / "to-sink.log")


def _remove_leftovers() -> None:
    """Stop what an earlier run left behind that could not clean up after itself."""
    for base in BASE.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            if not Path(f"/proc/{int((base / 'owner').read_text())}").exists():
                for pid in base.glob("*/*.pid"):
                    _end(int(pid.read_text()), base)
                for etc in base.glob("*/*/etc"):
                    Instance(etc.parent).stop()
                shutil.rmtree(base, ignore_errors=True)


def _end(pid: int, base: Path) -> None:
    """Kill a gateway with its workers, if the process with this id is still one of those."""
    with contextlib.suppress(OSError):
        if os.fsencode(base) in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.killpg(pid, signal.SIGKILL)


def wait_until(true: Callable[[], object], what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.05)


def write_pem(path: Path, identity: pki.Identity) -> None:
    path.write_bytes(identity.certificate.x509.public_bytes(Encoding.PEM))


def write_p12(path: Path, identity: pki.Identity, ca: pki.Identity) -> None:
    encryption = BestAvailableEncryption(b"open sesame")
    certificate, chain = identity.certificate.x509, [ca.certificate.x509]
    path.write_bytes(pkcs12.serialize_key_and_certificates(None, identity.key, certificate, chain, encryption))
    path.chmod(0o600)


def _fingerprint(certificate: Path) -> str:
    """As Postfix and OpenSSL print it."""
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(_certificate_in(certificate))).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 64, 2))


def _certificate_in(file: Path) -> str:
    return file.read_text()[file.read_text().index("-----BEGIN CERTIFICATE") :]


def write_tls(path: Path, domain: str) -> None:
    key = issue.new_key("p256")
    assert isinstance(key, SigningKey)
    certificate = issue.issue_ca(domain, key, now=datetime.now(UTC) - timedelta(hours=1), days=3)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(text + certificate.x509.public_bytes(Encoding.PEM))
    path.chmod(0o600)
