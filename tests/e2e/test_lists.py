"""Mail lists behind real Postfix, with the configuration that docs/lists.md prints.

    alice ─▶ Postfix ─▶ pipe(8) or an alias ─▶ domsec expand ─▶ Postfix ─▶ sink, for all members

The lists staff and board are members of each other.
"""

from __future__ import annotations

import contextlib
import email
import os
import pwd
import shlex
import shutil
import smtplib
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import judges
import pki
from domsec.cms.credential import credential_from_private_key
from domsec.services import encrypt, sign
from domsec.trust import issue
from domsec.trust.issue import SigningKey
from e2e import documented, postfix
from e2e.letters import Letter, letter
from e2e.postfix import Instance
from e2e.wire import Sent, Sink, free_ports
from e2e.world import BASE, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

USER = "nobody"  # stands for domsec-lists
ALICE, BOB, CAROL = "alice@senders.example", "bob@members.example", "carol@members.example"
OLGA, OSCAR = "olga@members.example", "oscar@members.example"
STAFF, BOARD, FRIENDS = "staff@lists.example", "board@lists.example", "friends@mail.lists.example"
SOURCE = Path(__file__).resolve().parents[2] / "src"


def interpreter() -> str | None:
    """A Python that USER may run, with our packages: that of the tests may lie in a home folder nobody else enters."""
    script = "import domsec.cli.expand, domsec.stores.deliveries, domsec.gateway.lists"
    user = pwd.getpwnam(USER)
    for candidate in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [candidate, "-c", script], env=environment(), user=user.pw_uid, group=user.pw_gid, extra_groups=(),
                capture_output=True, timeout=60, check=False, cwd="/",
            )  # fmt: skip
            if done.returncode == 0:
                return candidate
    return None


def environment() -> dict[str, str]:
    path = f"{SOURCE}:{sysconfig.get_paths()['purelib']}"
    return {"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class Lists:
    """A Postfix with three lists, and the sink behind it."""

    folder: Path
    instance: Instance
    port: int
    sink: Sink
    identities: dict[str, pki.Identity]
    ca: pki.Identity
    routes: Path = field(init=False)

    def __post_init__(self) -> None:
        self.routes = self.instance.etc / "transport"

    def send(self, octets: bytes, to: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.sendmail(ALICE, [to], octets)

    def idle(self) -> bool:
        return not self.instance.queue()

    def to(self, address: str) -> list[Sent]:
        return self.sink.to(address)

    def signed(self, written: Letter, *, encrypted_to: str | None = None) -> bytes:
        """The letter with Alice's signature, and encrypted to a list."""
        alice = self.identities[ALICE]
        signer = sign.Signer(credential_from_private_key(alice.key, alice.certificate))
        header, _, body = written.octets.partition(b"\r\n\r\n")
        entity = sign.opaque(b"Content-Type: text/plain\r\n\r\n" + body, signer.signing(None), datetime.now(UTC))
        if encrypted_to is not None:
            entity = encrypt.encrypt(entity, [self.identities[encrypted_to].certificate])
        return header + b"\r\nMIME-Version: 1.0\r\n" + entity


@pytest.fixture(scope="module")
def lists() -> Iterator[Lists]:
    reason = postfix.missing()
    if reason:
        pytest.skip(reason)
    python = interpreter()
    if python is None:
        pytest.skip(f"no Python that user {USER} may run has our packages")
    folder = Path(tempfile.mkdtemp(prefix="domsec-e2e-", dir=BASE))
    folder.chmod(0o755)
    (folder / "owner").write_text(str(os.getpid()))
    sink = Sink()
    made = build(folder, python, sink)
    try:
        made.instance.start()
        yield made
    finally:
        made.instance.stop()
        sink.close()
        shutil.rmtree(folder, ignore_errors=True)


def build(folder: Path, python: str, sink: Sink) -> Lists:
    port, back = free_ports(2)
    instance = Instance(folder / "postfix")
    command = folder / "domsec"
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment().items())
    command.write_text(f"#!/bin/sh\n{variables} exec {python} -c 'from domsec.cli import main; main()' \"$@\"\n")
    command.chmod(0o755)
    table = {
        "/etc/postfix": str(instance.etc),
        "/etc/domsec": str(folder / "domsec.d"),
        "/var/lib/domsec": str(folder / "state"),
        "/usr/bin/domsec": str(command),
        "user=domsec-lists": f"user={USER}",
        "127.0.0.1:10030": f"127.0.0.1:{back}",
    }
    files = {
        documented.replaced(path, table): documented.replaced(text, table)
        for path, text in documented.files(documented.LISTS).items()
    }
    for name in ("domsec.d/trust", "domsec.d/certificates", "state"):
        (folder / name).mkdir(parents=True)
    instance.configure(
        files.pop(f"{instance.etc}/main.cf"),
        files.pop(f"{instance.etc}/master.cf") + f"127.0.0.1:{port} inet n - n - - smtpd\n",
        relayhost=f"[127.0.0.1]:{sink.port}",
        mynetworks="127.0.0.0/8",
    )
    for path, text in files.items():
        Path(path).write_text(text)
    identities, ca = people(folder / "domsec.d")
    user = pwd.getpwnam(USER)
    subprocess.run(["postalias", "-c", str(instance.etc), f"hash:{instance.etc}/aliases"], check=True)
    for path in (folder / "state", *(folder / "domsec.d").rglob("*"), *instance.etc.glob("aliases*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    return Lists(folder, instance, port, sink, identities, ca)


def people(folder: Path) -> tuple[dict[str, pki.Identity], pki.Identity]:
    """Keys of everybody, valid now; the files that the configuration names."""
    now = datetime.now(UTC) - timedelta(hours=1)
    key = issue.new_key("p256")
    assert isinstance(key, SigningKey)
    ca = pki.Identity(issue.issue_ca("lists CA", key, now=now, days=400), key)
    (folder / "trust" / "ca.pem").write_bytes(ca.certificate.x509.public_bytes(Encoding.PEM))
    found = {}
    for address in (ALICE, BOB, CAROL, STAFF, BOARD, FRIENDS):
        found[address] = identity = pki.identity("user", address, ca, now=now, days=300)
        certificate = identity.certificate.x509.public_bytes(Encoding.PEM)
        (folder / "certificates" / f"{address}.pem").write_bytes(certificate)
        if address in (STAFF, BOARD, FRIENDS):
            private = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (folder / f"{address.partition('@')[0]}.pem").write_bytes(private + certificate)
            (folder / f"{address.partition('@')[0]}.pem").chmod(0o600)
    return found, ca


def arrived(lists: Lists, written: Letter, address: str) -> Sent:
    """The one copy of a letter that somebody got."""
    wait_until(lambda: any(written.within(sent.content) for sent in lists.to(address)), f"mail for {address}")
    (found,) = [sent for sent in lists.to(address) if written.within(sent.content)]
    return found


def openssl(lists: Lists, folder: Path, octets: bytes, *options: str) -> bytes:
    """What `openssl cms` makes of a message."""
    (folder / "ca.pem").write_bytes(lists.ca.certificate.x509.public_bytes(Encoding.PEM))
    command = ["openssl", "cms", *options, "-purpose", "any"] if "-verify" in options else ["openssl", "cms", *options]
    done = subprocess.run(command, input=octets, capture_output=True, timeout=60, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_postfix_has_nothing_to_say_against_the_configuration(lists: Lists) -> None:
    assert lists.instance.complaints() == ""
    done = subprocess.run(
        [lists.folder / "domsec", "config", "check", "--config", lists.folder / "domsec.d" / "lists.toml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.requirement("R2634-4.2.3.1-01", "R2634-1.3.3-01", "R2634-4.1.1-01")
def test_members_read_what_was_encrypted_to_the_list_and_two_lists_do_not_go_round(
    lists: Lists, tmp_path: Path
) -> None:
    """Opened and verified by OpenSSL and by Bouncy Castle, layer after layer."""
    written = letter("to staff", f"Alice <{ALICE}>", STAFF)
    lists.send(lists.signed(written, encrypted_to=STAFF), STAFF)
    for address, owner, keys in ((BOB, OLGA, "bob"), (CAROL, OSCAR, "carol")):
        sent = arrived(lists, written, address)
        assert (sent.sender.split()[0], sent.recipients) == (f"<{owner}>", [address])
        assert written.secret not in sent.content
        folder = judges.write_keys(tmp_path / keys, {keys: lists.identities[address]}, [lists.ca.certificate])
        trusted = ("-CAfile", "ca.pem")
        opened = openssl(lists, tmp_path, sent.content, "-verify", *trusted)
        recipient = ("-recip", str(folder / f"certs/{keys}.pem"), "-inkey", str(folder / f"keys/{keys}.key"))
        inner = openssl(lists, tmp_path, opened, "-decrypt", *recipient)
        assert written.secret in openssl(lists, tmp_path, inner, "-verify", *trusted)
        for seen in judges.judge({keys: sent.content}, folder, tmp_path)[keys].values():
            kinds = [layer["type"] for layer in seen["layers"] if layer["type"] != "content"]
            assert kinds == ["signedData", "authEnvelopedData", "signedData"]
            for layer in (seen["layers"][0], seen["layers"][2]):
                assert [(s["signature_valid"], s["chain"]) for s in layer["signers"]] == [(True, "ok")]
    # staff -> board -> staff: there it stops, and both who could mend it know
    wait_until(lists.idle, "an empty queue")
    told = about(written, lists.to(OLGA))
    assert "mla.loop" in told.get_payload()
    (returned,) = [sent for sent in lists.to(OSCAR) if written.id in sent.content]
    assert b"Undelivered Mail Returned to Sender" in returned.content
    assert len([sent for sent in lists.sink.sent if written.within(sent.content)]) == 4


def about(written: Letter, sent: list[Sent]) -> Message:
    """The one report about a letter."""
    (found,) = [
        each for each in sent if written.id in each.content and b"Auto-Submitted: auto-generated" in each.content
    ]
    assert found.sender.split()[0] == "<>"
    return email.message_from_bytes(found.content)


@pytest.mark.requirement("R2634-4.2.3.2-01")
def test_what_stops_goes_back_without_a_reason_and_to_the_owner_with_it(lists: Lists) -> None:
    written = letter("forged", f"Alice <{ALICE}>", BOARD)
    octets = lists.signed(written)
    at = octets.index(b"\r\n\r\n") + 140  # in the text: another certificate of Alice is at hand, should hers be spoiled
    forged = octets[:at] + (b"A" if octets[at : at + 1] != b"A" else b"B") + octets[at + 1 :]
    lists.send(forged, BOARD)
    wait_until(lambda: any(written.id in sent.content for sent in lists.to(ALICE)), "a bounce")
    (bounce,) = [sent for sent in lists.to(ALICE) if written.id in sent.content]
    assert b"its owner has been told why" in bounce.content
    assert b"mla." not in bounce.content
    assert "mla." in about(written, lists.to(OSCAR)).get_payload()
    assert not any(written.within(sent.content) for sent in lists.to(CAROL))


@pytest.mark.requirement("R2634-4.2-05")
def test_an_alias_serves_a_list_too(lists: Lists, tmp_path: Path) -> None:
    written = letter("to friends", f"Alice <{ALICE}>", FRIENDS)
    lists.send(lists.signed(written), FRIENDS)
    sent = arrived(lists, written, BOB)
    assert sent.sender.split()[0] == f"<{OLGA}>"
    folder = judges.write_keys(tmp_path / "bob", {"bob": lists.identities[BOB]}, [])
    opened = openssl(lists, tmp_path, sent.content, "-verify", "-CAfile", "ca.pem")
    recipient = ("-recip", str(folder / "certs/bob.pem"), "-inkey", str(folder / "keys/bob.key"))
    inner = openssl(lists, tmp_path, opened, "-decrypt", *recipient)
    assert written.secret in openssl(lists, tmp_path, inner, "-verify", "-CAfile", "ca.pem")


@contextlib.contextmanager
def configured(lists: Lists, old: str, new: str) -> Iterator[None]:
    """The configuration of the lists with something else in it meanwhile."""
    path = lists.folder / "domsec.d" / "lists.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        yield
    finally:
        path.write_text(text)


@pytest.mark.parametrize(
    ("old", "new"), [("[store]", "[stores]"), ('credential = "board.pem"', 'credential = "gone.pem"')]
)
def test_mail_waits_while_a_list_cannot_be_served(lists: Lists, old: str, new: str) -> None:
    written = letter("patience", f"Alice <{ALICE}>", BOARD)
    with configured(lists, old, new):
        lists.send(lists.signed(written), BOARD)
        wait_until(lambda: "status=deferred" in lists.instance.log and not lists.idle(), "a deferral")
        assert not any(written.within(sent.content) for sent in lists.sink.sent)
    wait_until(lambda: lists.instance.flush() or any(written.within(s.content) for s in lists.to(CAROL)), "delivery")
    wait_until(lambda: lists.instance.flush() or lists.idle(), "an empty queue")


def test_of_two_members_the_one_who_was_served_is_not_served_again(lists: Lists) -> None:
    """The next hop is the sink itself, which puts one of them off."""
    written = letter("once", f"Alice <{ALICE}>", FRIENDS)
    lists.sink.answers = {CAROL: "451 4.2.0 come back later"}
    hop = (lists.folder / "domsec.d" / "lists.toml").read_text().rpartition("smtp:127.0.0.1:")[2].partition('"')[0]
    both = f'members = ["{BOB}", "{CAROL}"]'
    with configured(lists, f"127.0.0.1:{hop}", f"127.0.0.1:{lists.sink.port}"), \
            configured(lists, f'members = ["{BOB}"]', both):  # fmt: skip
        lists.send(lists.signed(written), FRIENDS)
        arrived(lists, written, BOB)
        wait_until(lambda: lists.sink.tried.count(CAROL) > 1, "another attempt")
        lists.sink.answers = {}
        wait_until(lambda: lists.instance.flush() or lists.idle(), "an empty queue")
    arrived(lists, written, CAROL)
    arrived(lists, written, BOB)
