"""A gateway whose keys are in the key process: real processes of different users, from SMTP to SMTP."""

from __future__ import annotations

import itertools
import os
import signal
import smtplib
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

import other_users
import pki
import world
from domsec.cms.certificates import Certificate
from domsec.services.layers import peel
from e2e.domsec_process import Domsec
from e2e.wire import Sink, free_ports
from key_processes import KeyProcess, identity, public

USER = "daemon"  # who runs the gateway, where we are root; the key process is another's

TEXT = """\
domains = ["acme.example"]
[listen]
outbound = "smtp:127.0.0.1:{outbound}"
inbound = "smtp:127.0.0.1:{inbound}"
workers = 2
[next_hop]
outbound = "smtp:127.0.0.1:{sink}"
inbound = "smtp:127.0.0.1:{sink}"
[keys.signing]
credential = "keyd:signing"
certificates = "signing"
[keys.confidentiality]
credential = "keyd:confidentiality"
certificates = "confidentiality"
[keyd]
socket = "{socket}"
[trust]
roles = ["ca.pem"]
users = ["ca.pem"]
[[outbound.evidence]]
kind = "network"
networks = ["127.0.0.0/8"]
[[peer]]
domain = "beta.example"
encrypt = "no"
[store]
url = "sqlite:///domsec.db"
"""


USERS = """\
[users]
folder = "keyd:users"
certificates = "users"
decrypt = true
[outbound]
user_signature = "required"
[[outbound.evidence]]
kind = "xclient"
"""


LISTS = """\
domains = ["acme.example"]
[keyd]
socket = "{socket}"
[trust]
roles = ["ca.pem"]
users = ["ca.pem", "beta.pem"]
certificates = ["bob.pem"]
[[list]]
name = "staff"
address = "staff@acme.example"
owner = "owner@acme.example"
members = ["bob@beta.example"]
credential = "keyd:lists"
certificates = "staff.pem"
next_hop = "smtp:127.0.0.1:1"
"""


def sealed(recipient: pki.Identity) -> bytes:
    """Mail from outside, encrypted to a certificate."""
    return world.message(world.encrypted(world.TEXT, recipient), sender="X <x@other.example>")


class Gateway(Domsec):
    """A gateway that asks a key process; run by a user of its own."""

    def __init__(self, folder: Path, keyd: KeyProcess) -> None:
        super().__init__(folder / "domsec.toml", folder / "gateway.log")
        self.folder = folder
        self.sink = Sink()
        self.outbound, self.inbound = free_ports(2)
        self.configuration.write_text(
            TEXT.format(outbound=self.outbound, inbound=self.inbound, sink=self.sink.port, socket=keyd.socket)
        )
        (folder / "ca.pem").write_bytes(public(pki.world().acme.ca))
        for role, identities in keyd.keys.items():
            (folder / role).mkdir()
            for each in identities:
                self.add(role, each)
        if keyd.users:
            self._hold_for_users(keyd)

    def _hold_for_users(self, keyd: KeyProcess) -> None:
        (self.folder / "users").mkdir()
        for each in keyd.users.values():
            self.add("users", each)
        text = self.configuration.read_text().replace(
            "workers = 2\n", 'workers = 2\ntrusted_clients = ["127.0.0.0/8"]\n'
        )
        self.configuration.write_text(text + USERS)

    def add(self, role: str, identity: pki.Identity) -> None:
        """Put a certificate where the configuration looks for those of a role."""
        (self.folder / role / f"{identity.certificate.sha256[:8]}.pem").write_bytes(public(identity))

    def command(self) -> list[str]:
        return other_users.domsec_command("gateway", "run", "--config", self.configuration)

    def start(self) -> None:
        begun = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
                env=other_users.environment(), **other_users.as_user(USER),
            )  # fmt: skip
        self.said("domsec: ready", begun)

    def said(self, words: str, begun: int = 0) -> str:
        deadline = time.monotonic() + 40
        while words not in (text := self.log.read_text()[begun:]):
            assert self._process is not None
            assert self._process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.02)
        return text

    def send(self, direction: str, octets: bytes, to: str = "", login: str = "") -> bytes:
        """What the next hop gets of a message. Raises smtplib.SMTPException for one that is refused."""
        before = len(self.sink.sent)
        self.submit(direction, octets, to, login)
        assert len(self.sink.sent) == before + 1, self.log.read_text()
        return self.sink.sent[-1].content

    def submit(self, direction: str, octets: bytes, to: str = "", login: str = "") -> None:
        with smtplib.SMTP("127.0.0.1", getattr(self, direction), timeout=40) as client:
            if login:
                client.ehlo()
                assert client.docmd("XCLIENT", f"LOGIN={login}")[0] == 220
                client.ehlo()
            to = to or ("bob@beta.example" if direction == "outbound" else "alice@acme.example")
            client.sendmail(login or "alice@acme.example", [to], octets)

    def reload(self) -> None:
        """SIGHUP; back when the workers of before have gone."""
        begun, before = self.log.stat().st_size, set(self.workers)
        os.kill(self.pid, signal.SIGHUP)
        self.said("domsec: ready", begun)
        deadline = time.monotonic() + 40
        while before & set(self.workers):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def signer(self) -> Certificate:
        """Who signs for the domain now."""
        return signer_of(self.send("outbound", world.build("OC")))

    def user_signer(self, user: str) -> Certificate:
        """Who signs now what a user sends to somebody whose domain has no gateway."""
        return signer_of(self.send("outbound", world.build("OC", sender=user), "dave@people.example", user))

    def opens(self, recipient: pki.Identity, to: str = "") -> bool:
        """Whether mail encrypted to this certificate is opened and delivered."""
        return world.SECRET in self.send("inbound", sealed(recipient), to)

    def check(self) -> str:
        """What `domsec config check` says, as the user that runs the gateway."""
        command = other_users.domsec_command("config", "check", "--config", self.configuration)
        environment = other_users.environment()
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, **other_users.as_user(USER)
        )
        assert done.returncode == 0, done.stderr
        return done.stderr


@pytest.fixture
def gateway(keyd: KeyProcess) -> Iterator[Gateway]:
    """A gateway beside a key process that lets it ask; neither is started."""
    yield from beside(keyd)


@pytest.fixture
def for_users(keyd: KeyProcess) -> Iterator[Gateway]:
    """The same where the key process holds keys of users too."""
    keyd.users = {name: identity("user", of=f"{name}@acme.example") for name in ("alice", "bob")}
    keyd.user_options = "decrypt = true\n"
    yield from beside(keyd)


def beside(keyd: KeyProcess) -> Iterator[Gateway]:
    keyd.options = f'clients = ["{USER}"]\nsocket_mode = "0666"\n' if other_users.ROOT else ""
    keyd.configure()
    with other_users.folder(USER) as folder:
        made = Gateway(folder, keyd)
        yield made
        made.kill()
        made.sink.close()


def _holds(pid: int, secret: int) -> bool:
    """Whether a number of 256 bits stands in the memory of a process, in either order of its octets."""
    wanted = (secret.to_bytes(32, "little"), secret.to_bytes(32, "big"))
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, permissions = line.split()[:2]
            if permissions.startswith("rw"):
                begin, end = (int(part, 16) for part in span.split("-"))
                memory.seek(begin)
                try:
                    octets = memory.read(end - begin)
                except OSError:
                    continue
                if any(each in octets for each in wanted):
                    return True
    return False


@pytest.mark.requirement("R3183-6-02")
def test_the_processes_that_read_mail_hold_no_key(keyd: KeyProcess, gateway: Gateway) -> None:
    keyd.start()
    gateway.start()
    [signing], [authority] = keyd.keys["signing"], keyd.keys["confidentiality"]
    assert gateway.signer() == signing.certificate
    assert gateway.opens(authority)
    not_to_be_had(keyd, gateway, signing, authority)


def not_to_be_had(keyd: KeyProcess, gateway: Gateway, *keys: pki.Identity) -> None:
    """These keys are in the memory of the key process and in that of no process of the gateway, nor in its reach."""
    secrets = [each.key.private_numbers().private_value for each in keys]  # type: ignore[union-attr]
    if other_users.ROOT:  # who may read the memory of others
        assert all(_holds(keyd.pid, secret) for secret in secrets)
        for pid in (gateway.pid, *gateway.workers):
            assert not any(_holds(pid, secret) for secret in secrets)
        files = list(keyd.folder.rglob("*.pem"))
        assert files
        program = "import os, sys; print(any(os.access(each, os.R_OK) for each in sys.argv[1:]))"
        asked = subprocess.run(
            [*other_users.python(program), *map(str, files)],
            capture_output=True,
            check=True,
            **other_users.as_user(USER),
        )
        assert asked.stdout == b"False\n"
    for pid in (gateway.pid, *gateway.workers):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            assert not os.readlink(link).startswith(str(keyd.folder))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP])
def test_mail_waits_while_the_key_process_does_not_answer(
    keyd: KeyProcess, gateway: Gateway, how: signal.Signals
) -> None:
    """451, so that the server that has the message keeps it: nothing leaves unsigned or is held as broken."""
    keyd.start()
    gateway.start()
    [authority] = keyd.keys["confidentiality"]
    assert gateway.signer()
    assert gateway.opens(authority)
    workers = gateway.workers
    with keyd.hanging() if how is signal.SIGSTOP else _ended(keyd, how):
        before = len(gateway.sink.sent)
        for direction, octets in (("outbound", world.build("OC")), ("inbound", sealed(authority))):
            with pytest.raises(smtplib.SMTPDataError) as caught:
                gateway.send(direction, octets)
            assert caught.value.smtp_code == 451
        assert len(gateway.sink.sent) == before
    deadline = time.monotonic() + 40
    for send in (gateway.signer, lambda: gateway.opens(authority)):
        while not _passes(send):  # who hung is left alone for a while, by each worker
            assert time.monotonic() < deadline
    assert gateway.workers == workers
    assert all(each["action"] != "held" for line in gateway.journal() for each in line["recipients"])  # type: ignore[attr-defined]


@contextmanager
def _ended(keyd: KeyProcess, how: signal.Signals) -> Iterator[None]:
    """Meanwhile there is none."""
    keyd.stop(how)
    yield
    keyd.start()


def _passes(send: Callable[[], object]) -> bool:
    try:
        return bool(send())
    except smtplib.SMTPDataError:
        time.sleep(0.2)
        return False


def test_a_gateway_starts_and_answers_451_while_the_key_process_is_not_there_yet(
    keyd: KeyProcess, gateway: Gateway
) -> None:
    gateway.start()
    said = gateway.log.read_text()
    assert "warning: " in said
    assert "mail waits until the key process answers: " in said
    with pytest.raises(smtplib.SMTPDataError, match="451"):
        gateway.send("outbound", world.build("OC"))
    keyd.start()
    assert gateway.signer()


def test_keys_change_while_mail_flows_and_nobody_restarts(keyd: KeyProcess, gateway: Gateway) -> None:
    """The order of docs/keys.md: first the key process has the new key, then the gateway its certificate."""
    keyd.start()
    gateway.start()
    [old], [old_authority] = keyd.keys["signing"], keyd.keys["confidentiality"]
    workers = set(gateway.workers)
    new = identity("signing", now=datetime.now(UTC))
    new_authority = identity("confidentiality", "rsa2048", now=datetime.now(UTC))
    keyd.configure(signing=[old, new], confidentiality=[old_authority, new_authority])
    assert "reloaded, 4 keys" in keyd.reload()
    assert gateway.signer() == old.certificate
    gateway.add("signing", new)
    gateway.add("confidentiality", new_authority)
    gateway.reload()
    assert gateway.signer() == new.certificate
    assert gateway.opens(old_authority)
    assert gateway.opens(new_authority)
    assert not workers & set(gateway.workers)
    # the old signing key goes
    keyd.configure(signing=[new])
    assert "reloaded, 3 keys" in keyd.reload()
    assert gateway.signer() == new.certificate


@pytest.mark.slow
def test_keys_change_under_load_and_neither_a_message_nor_a_connection_is_lost(
    keyd: KeyProcess, gateway: Gateway
) -> None:
    keyd.start()
    gateway.start()
    [signing], [authority] = keyd.keys["signing"], keyd.keys["confidentiality"]
    signers, authorities = [signing], [authority]
    load = Load(gateway)
    with load.running(authorities):
        for _ in range(3):
            time.sleep(1)  # certificates begin on the second, and the newest is to be another than the one before
            new = identity("signing", now=datetime.now(UTC))
            new_authority = identity("confidentiality", now=datetime.now(UTC))
            keyd.configure(signing=[signers[-1], new], confidentiality=[*authorities, new_authority])
            assert "reloaded" in keyd.reload()
            gateway.add("signing", new)
            gateway.add("confidentiality", new_authority)
            gateway.reload()
            signers.append(new)
            authorities.append(new_authority)
            # who holds on to an older key holds on to it no longer
            keyd.configure(signing=[new])
            assert "reloaded" in keyd.reload()
    assert load.failed == [], gateway.log.read_text() + keyd.log.read_text()
    assert len(load.sent) > 100
    counted = Counter(each.recipients[0] for each in gateway.sink.sent)
    assert counted == dict.fromkeys(load.sent, 1)  # none lost, none twice
    outbound = [each.content for each in gateway.sink.sent if each.recipients[0].startswith("bob+")]
    inbound = [each.content for each in gateway.sink.sent if each.recipients[0].startswith("alice+")]
    assert all(world.SECRET in content for content in inbound)
    assert {signer_of(content) for content in outbound} == {each.certificate for each in signers}
    assert set(load.opened.values()) == set(range(len(authorities)))
    assert gateway.signer() == signers[-1].certificate


def signer_of(octets: bytes) -> Certificate:
    root = peel(octets).root
    assert root.signed is not None
    [signer] = root.signed.signers
    [found] = [c for c in root.signed.certificates if signer.sid.matches(c)]
    return found


class Load:
    """People who send through a gateway without a pause, ten messages over each connection, in both directions."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._stop = threading.Event()
        self._numbers = itertools.count()
        self.sent: list[str] = []  # whom each message that was taken was for
        self.opened: dict[str, int] = {}  # to which of the authorities an inbound message was encrypted
        self.failed: list[BaseException] = []

    @contextmanager
    def running(self, authorities: list[pki.Identity]) -> Iterator[None]:
        """`authorities` may become more meanwhile; mail is encrypted to all of them in turn."""
        threads = [threading.Thread(target=self._send, args=(way, authorities)) for way in ("outbound", "inbound") * 2]
        for thread in threads:
            thread.start()
        try:
            yield
            time.sleep(1)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _send(self, direction: str, authorities: list[pki.Identity]) -> None:
        try:
            while not self._stop.is_set():
                with smtplib.SMTP("127.0.0.1", getattr(self._gateway, direction), timeout=40) as client:
                    for number in itertools.islice(self._numbers, 10):
                        to, octets = self._message(direction, number, authorities)
                        client.sendmail("alice@acme.example", [to], octets)
                        self.sent.append(to)
        except BaseException as problem:
            self.failed.append(problem)

    def _message(self, direction: str, number: int, authorities: list[pki.Identity]) -> tuple[str, bytes]:
        if direction == "outbound":
            return f"bob+{number}@beta.example", world.build("OC")
        to, which = f"alice+{number}@acme.example", number % len(authorities)
        self.opened[to] = which
        return to, sealed(authorities[which])


def test_a_certificate_whose_key_nobody_holds_is_told_and_mail_waits(keyd: KeyProcess, gateway: Gateway) -> None:
    """Somebody changed things in the wrong order."""
    keyd.start()
    gateway.add("signing", identity("signing", now=datetime.now(UTC)))
    gateway.start()
    assert "mail waits until the key process answers: the key process: there is no key" in gateway.log.read_text()
    with pytest.raises(smtplib.SMTPDataError, match="451"):
        gateway.send("outbound", world.build("OC"))


def test_what_a_key_process_signed_verifies(keyd: KeyProcess, gateway: Gateway) -> None:
    keyd.start()
    gateway.start()
    verdict = world.judge(gateway.send("outbound", world.build("OC")), world.context(now=datetime.now(UTC)))
    assert (verdict.structure, verdict.domain, verdict.accepted) == ("S[domain](S0(OC))", "acme.example", True)


# --- keys of users ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-6-02")
def test_users_sign_and_read_with_keys_that_no_process_has_that_reads_mail(
    keyd: KeyProcess, for_users: Gateway
) -> None:
    keyd.start()
    for_users.start()
    alice, bob = keyd.users["alice"], keyd.users["bob"]
    assert for_users.user_signer("alice@acme.example") == alice.certificate
    assert for_users.user_signer("bob@acme.example") == bob.certificate
    assert for_users.opens(alice, "alice@acme.example")
    assert not for_users.opens(alice, "bob@acme.example")
    assert for_users.signer() == keyd.keys["signing"][0].certificate
    assert for_users.check().endswith("nothing is wrong with it\n")
    assert keyd.refusals() == []
    not_to_be_had(keyd, for_users, alice, bob)


def test_what_a_user_signed_there_verifies(keyd: KeyProcess, for_users: Gateway) -> None:
    keyd.start()
    for_users.start()
    octets = for_users.send("outbound", world.build("OC"), "dave@people.example", "alice@acme.example")
    verdict = world.judge(octets, world.context(now=datetime.now(UTC)))
    assert (verdict.structure, verdict.level) == ("S[originator](OC)", "originator_direct")


def test_a_users_mail_waits_until_the_key_process_has_the_key(keyd: KeyProcess, for_users: Gateway) -> None:
    """The wrong order: a certificate first. Nobody else waits, and nothing leaves unsigned."""
    keyd.start()
    carol = identity("user", of="carol@acme.example")
    for_users.add("users", carol)
    said = for_users.check()
    assert f"{carol.certificate.sha256[:8]}.pem: mail waits until the key process has the key: " in said
    assert said.count("warning: ") == 1
    for_users.start()
    assert "mail waits until the key process has the key: " in for_users.log.read_text()
    for send in (
        lambda: for_users.user_signer("carol@acme.example"),
        lambda: for_users.opens(carol, "carol@acme.example"),
    ):
        with pytest.raises(smtplib.SMTPDataError, match="451"):
            send()
    assert for_users.user_signer("alice@acme.example") == keyd.users["alice"].certificate
    keyd.users["carol"] = carol
    keyd.configure()
    assert "reloaded, 5 keys" in keyd.reload()
    assert for_users.user_signer("carol@acme.example") == carol.certificate
    assert for_users.opens(carol, "carol@acme.example")
    assert for_users.check().endswith("nothing is wrong with it\n")


def test_a_key_process_that_is_not_there_is_told_once_and_not_for_each_user(for_users: Gateway) -> None:
    said = for_users.check()
    assert said.count("mail waits until the key process answers: ") == 3  # two roles, and all users


def test_users_keys_open_nothing_where_the_key_process_does_not_want_it(keyd: KeyProcess, for_users: Gateway) -> None:
    keyd.user_options = ""
    keyd.configure()
    keyd.start()
    said = for_users.check()
    assert said.count("it opens nothing, expected users.decrypt in the key process's configuration too") == 1
    for_users.start()
    for_users.submit("inbound", sealed(keyd.users["alice"]), "alice@acme.example")
    assert for_users.journal()[-1]["action"] == "hold"
    assert for_users.user_signer("alice@acme.example") == keyd.users["alice"].certificate


# --- keys of mail lists -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-6-02")
def test_a_list_is_served_by_who_has_no_key_and_gets_no_other(keyd: KeyProcess) -> None:
    """`domsec expand` opens what is encrypted to the list and signs for it; the domain does not sign for its user."""
    staff, bob = identity("user", of="staff@acme.example"), world.beta().users["bob"]
    keyd.lists = {"staff": staff}
    keyd.options = f'list_clients = ["{USER}"]\nsocket_mode = "0666"\n' if other_users.ROOT else ""
    keyd.configure()
    keyd.start()
    with other_users.folder(USER) as folder:
        for name, each in (("ca", pki.world().acme.ca), ("staff", staff), ("bob", bob), ("beta", pki.world().beta.ca)):
            (folder / f"{name}.pem").write_bytes(public(each))
        (folder / "signing.pem").write_bytes(public(keyd.keys["signing"][0]))
        (folder / "lists.toml").write_text(LISTS.format(socket=keyd.socket))
        octets = world.message(world.encrypted(world.signed(world.TEXT, world.acme().users["alice"]), staff))

        def run(*arguments: object, octets: bytes = octets) -> subprocess.CompletedProcess[bytes]:
            command = other_users.domsec_command(*arguments, "--config", folder / "lists.toml")
            environment = other_users.environment()
            return subprocess.run(
                command, input=octets, capture_output=True, check=False, env=environment, cwd=folder,
                **other_users.as_user(USER),
            )  # fmt: skip

        done = run("config", "check")
        assert (done.returncode, b"nothing is wrong" in done.stderr) == (0, True), done.stderr
        done = run("expand", "--list", "staff")
        assert done.returncode == 0, done.stderr
        made = world.judge(done.stdout, world.context(bob, known=[staff.certificate], now=datetime.now(UTC)))
        assert made.structure == "S[unspecified]+mlh(E(S[originator](OC)))"
        assert made.layers[0].signers[0].sha256 == staff.certificate.sha256
        signing = ("sign-domain", "--credential", "keyd:signing", "--cert", "signing.pem", "--evidence")
        refused = run(*signing, "local:alice@acme.example", "--rcpt", "bob@beta.example", octets=world.build("OC"))
        if other_users.ROOT:
            assert (refused.returncode, b"keys for signing are none of this client's" in refused.stderr) == (2, True)
        keyd.stop()
        done = run("expand", "--list", "staff", "--send")
        assert done.returncode == os.EX_TEMPFAIL
