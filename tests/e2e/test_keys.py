"""docs/keys.md from its first command to its last, by the two domains of `docs/postfix.md` while they exchange mail.

acme's keys go from files into the key process, and from there into a token of SoftHSM2. Nothing on the page is left out
but `adduser`; systemd is played by what starts and tells the processes as the printed unit says.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import other_users
import softhsm
from commands import private, public
from domsec.cms.certificates import Certificate
from domsec.cms.recipients import recipient_matches
from domsec.keyd import privileges
from domsec.services.layers import peel
from e2e import documented
from e2e.letters import Letter, letter
from e2e.world import Side, World, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

USER = "nobody"  # whom the page calls domsec-keyd
ROLES = ("signing", "confidentiality")
PAGE = documented.KEYS
_STEP = re.compile(
    r"^```\n# (?P<path>/\S+?)(?:: its (?P<part>keys|users))?\n(?P<text>.*?)^```$|^(?P<commands>(?:    [^\n]*\n)+)",
    re.MULTILINE | re.DOTALL,
)
_PARTS = {
    part: re.compile(rf"^\[(?:{sections})\]\n(?:(?!\[\w).*\n)*", re.MULTILINE)
    for part, sections in (("keys", r"keys\.\w+|keyd"), ("users", "users"))
}


class Administrator:
    """Who does what the page says, section by section."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.folder = side.folder / "domsec-keyd"
        self.log = side.folder / "keyd.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        self._table = {
            "/etc/domsec-keyd": str(self.folder),
            "/run/domsec-keyd": str(side.folder / "run-keyd"),
            "/etc/systemd/system": str(side.folder),
            "/etc/domsec": str(side.folder / "domsec"),
            "/usr/bin/domsec": "domsec",
            "domsec-keyd:": f"{USER}:",
            "-u domsec-keyd": f"-u {USER}",
            "--user domsec-keyd": f"--user {USER}",
            "root:domsec": "root:daemon",
            'group = "domsec"': 'group = "daemon"',
            'clients = ["domsec"]': 'clients = ["daemon"]',
        }
        for folder in (self.folder, side.folder / "run-keyd"):
            folder.mkdir()

    def does(self, title: str) -> None:
        """Everything that a section says, in its order."""
        [section] = [each for each in self._sections if each.startswith(f"{title}\n")]
        for step in _STEP.finditer(section):
            if step["commands"] is None:
                self._write(Path(self._here(step["path"])), self._here(step["text"]), step["part"])
            else:
                self._run(step["commands"])

    def _here(self, text: str) -> str:
        return documented.replaced(text, self._table)

    def _write(self, path: Path, text: str, part: str | None) -> None:
        path.write_text(_PARTS[part].sub("", path.read_text()) + text if part else text)

    def _run(self, commands: str) -> None:
        script: list[str] = []
        for line in commands.splitlines():
            if line.strip().startswith("systemctl "):
                self._shell(script)
                script = []
                self._systemctl(*line.split()[1:])
            else:
                script.append(line)
        self._shell(script)

    def _shell(self, script: list[str]) -> None:
        if not script:
            return
        path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        command = ["bash", "-euc", self._here("\n".join(script))]
        done = subprocess.run(command, cwd="/", env={"PATH": path, "HOME": "/root"}, capture_output=True, check=False)
        assert done.returncode == 0, (script, done.stdout, done.stderr)

    def _systemctl(self, verb: str, unit: str) -> None:
        if unit == "domsec":
            assert verb == "reload"
            reload(self.side)
            return
        {"start": self.start, "stop": self.stop, "reload": self.reload}[verb]()

    # -- the key process ---------------------------------------------------------------------------------------------

    @property
    def unit(self) -> configparser.SectionProxy:
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read(self.side.folder / "domsec-keyd.service")
        return parser["Service"]

    def start(self) -> None:
        assert self.unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
        program, *arguments = shlex.split(self.unit["ExecStart"])
        assert program == "domsec"
        environment = dict([self.unit["Environment"].split("=", 1)])
        begun = self._said()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                other_users.domsec_command(*arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=other_users.environment(**environment), cwd="/",
            )  # fmt: skip
        self._wait_for("domsec: ready", begun)

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            assert self._process.wait(30) == 0
            self._process = None

    def reload(self) -> None:
        assert self._process is not None
        begun = self._said()
        self._process.send_signal(signal.SIGHUP)
        self._wait_for("domsec: reloaded", begun)

    def _said(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _wait_for(self, words: str, begun: int) -> None:
        wait_until(lambda: words in self.log.read_text()[begun:] or self._ended(), f"keyd says {words}")
        assert not self._ended(), self.log.read_text()[begun:]

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def issued(self, path: str) -> Certificate:
        """A certificate that stands where the page says."""
        octets = Path(self._here(path)).read_bytes()
        return Certificate(x509.load_pem_x509_certificate(octets).public_bytes(Encoding.DER))


def reload(side: Side) -> None:
    """SIGHUP to a gateway; back when the workers of before have gone, as all who held on to older keys."""
    begun, before = side.domsec.log.stat().st_size, set(side.domsec.workers)
    os.kill(side.domsec.pid, signal.SIGHUP)
    wait_until(lambda: b"domsec: ready" in side.domsec.log.read_bytes()[begun:], "new workers")
    wait_until(lambda: not before & set(side.domsec.workers), "the old workers to go", 60)


@pytest.fixture(scope="module")
def administrator(mail: World) -> Iterator[Administrator]:
    """At acme's gateway, which has its keys in files that docs/postfix.md made; they are put back in the end."""
    for reason in (softhsm.missing(), other_users.REASON, None if shutil.which("certtool") else "no gnutls-bin"):
        if reason:
            pytest.skip(reason)
    side = mail.acme
    before = side.domsec.configuration.read_text()
    known = mail.beta.folder / "domsec" / "certificates" / "acme.example-confidentiality.pem"
    known_before = known.read_bytes()
    (side.folder / "domsec" / "ca.pem").write_bytes(private(side.keys.ca.key) + public(side.keys.ca.certificate))
    made = Administrator(side)
    try:
        yield made
    finally:
        side.domsec.configuration.write_text(before)
        known.write_bytes(known_before)
        reload(side)
        reload(mail.beta)
        made.stop()


def exchange(mail: World, what: str) -> tuple[bytes, bytes]:
    """A letter to beta and one back, both read in the end: what of them was on the wire."""
    there = letter(f"{what} there")
    back = letter(f"{what} back", "Bob <bob@beta.example>", "alice@acme.example")
    mail.acme.submit("alice@acme.example", ["bob@beta.example"], there.octets)
    mail.beta.submit("bob@beta.example", ["alice@acme.example"], back.octets)
    wait_until(lambda: any(map(there.within, mail.beta.mailbox("bob"))), "mail for bob")
    wait_until(lambda: any(map(back.within, mail.acme.mailbox("alice"))), "mail for alice")
    assert any(back.secret in each for each in mail.acme.mailbox("alice"))
    wires = mail.beta.tap.sent, mail.acme.tap.sent
    sent, answered = (
        one.arrived(lambda wire=wire: [each.content for each in wire])
        for one, wire in zip((there, back), wires, strict=True)
    )
    assert back.secret not in answered
    return sent, answered


def signer_of(mail: World, octets: bytes) -> str:
    """The certificate that acme's signature is by, which beta accepts."""
    verdict = mail.beta.verdict(octets)
    assert (verdict.structure, verdict.accepted, verdict.domain) == ("E(S[domain](S0(OC)))", True, "acme.example")
    [signer] = [each for layer in verdict.layers for each in layer.signers]
    assert signer.sha256 is not None
    return signer.sha256


def encrypted_to(octets: bytes, certificate: Certificate) -> bool:
    enveloped = peel(octets).root.enveloped
    assert enveloped is not None
    return any(recipient_matches(each, certificate) for each in enveloped.recipients)


def tell_partner(mail: World, certificate: Certificate) -> None:
    """beta keeps certificates in files: acme's confidentiality authority has this one now."""
    path = mail.beta.folder / "domsec" / "certificates" / "acme.example-confidentiality.pem"
    path.write_bytes(public(certificate))
    reload(mail.beta)


# --- the page, in its order -------------------------------------------------------------------------------------------


def test_every_section_with_something_to_do_is_done_below() -> None:
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    to_do = [each.partition("\n")[0] for each in sections if _STEP.search(each)]
    assert to_do == [
        "Files", "The key process", "Keys of users", "Tokens", "Replacing keys", "When a key may have been stolen"
    ]  # fmt: skip


def test_keys_in_files(mail: World, administrator: Administrator) -> None:
    administrator.does("Files")
    signing, confidentiality = (administrator.issued(f"/etc/domsec/{role}-2026.crt") for role in ROLES)
    tell_partner(mail, confidentiality)
    sent, answered = exchange(mail, "files")
    assert signer_of(mail, sent) == signing.sha256
    assert encrypted_to(answered, confidentiality)


@pytest.mark.requirement("R3183-6-02")
def test_keys_in_the_key_process(mail: World, administrator: Administrator) -> None:
    administrator.does("The key process")
    signing, confidentiality = (administrator.issued(f"/etc/domsec/{role}/{role}-2026.crt") for role in ROLES)
    sent, answered = exchange(mail, "key process")
    assert signer_of(mail, sent) == signing.sha256
    assert encrypted_to(answered, confidentiality)
    assert not list((mail.acme.folder / "domsec").glob("*-2026.[pk]*"))


def test_keys_of_users_in_the_key_process(mail: World, administrator: Administrator) -> None:
    """How they are used is shown in tests/gateway/test_key_process.py; here the key process says that it has them."""
    administrator.does("Keys of users")
    assert "domsec: reloaded, 3 keys" in administrator.log.read_text()
    owner = (administrator.folder / "users" / "alice.pem").stat()
    assert (owner.st_uid, owner.st_mode & 0o777) == (privileges.user_id(USER), 0o600)
    checked = subprocess.run(
        [Path(sys.executable).with_name("domsec"), "config", "check", "--config", mail.acme.domsec.configuration],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "keyd" not in checked.stderr
    assert "key process" not in checked.stderr


def test_without_the_key_process_mail_waits_and_then_goes(mail: World, administrator: Administrator) -> None:
    administrator.does("When a key may have been stolen")
    there, back = letter("waits there"), letter("waits back", "Bob <bob@beta.example>", "alice@acme.example")
    mail.acme.submit("alice@acme.example", ["bob@beta.example"], there.octets)
    mail.beta.submit("bob@beta.example", ["alice@acme.example"], back.octets)
    wait_until(lambda: deferred(mail, "bob@beta.example") and deferred(mail, "alice@acme.example"), "both are deferred")
    assert not any(there.within(each.content) for each in mail.beta.tap.sent)
    assert not any(map(back.within, mail.acme.mailbox("alice")))
    administrator.start()
    mail.acme.flush()
    wait_until(lambda: any(map(there.within, mail.beta.mailbox("bob"))), "mail for bob")
    wait_until(lambda: any(map(back.within, mail.acme.mailbox("alice"))), "mail for alice")
    assert there.arrived(lambda: mail.beta.mailbox("bob"))
    assert back.arrived(lambda: mail.acme.mailbox("alice"))


def deferred(mail: World, recipient: str) -> bool:
    """Whether acme's gateway has said 451 about mail for somebody."""
    records = mail.acme.domsec.journal()[-20:]
    return any(
        each["address"] == recipient and each["action"] == "deferred" and "451" in str(each["reply"])
        for record in records
        for each in record["recipients"]  # type: ignore[attr-defined]
    )


def test_keys_in_a_token_take_over_while_mail_flows(mail: World, administrator: Administrator) -> None:
    """From the files behind the key process to a token of SoftHSM2, by "Replacing keys", without a restart."""
    administrator.does("Tokens")
    old = administrator.issued("/etc/domsec/confidentiality/confidentiality-2026.crt")
    signing, confidentiality = (administrator.issued(f"/etc/domsec-keyd/{role}-2027.crt") for role in ROLES)
    gateway, keyd = mail.acme.domsec.pid, administrator.pid
    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        sending = [pool.submit(_send, way, stop) for way in ((mail.acme, "bob", "beta"), (mail.beta, "alice", "acme"))]
        try:
            administrator.does("Replacing keys")
        finally:
            stop.set()
        sent = [each.result() for each in sending]
    assert all(len(each) > 20 for each in sent)
    wait_until(mail.idle, "empty queues", 90)
    for letters, box in zip(sent, (mail.beta.mailbox("bob"), mail.acme.mailbox("alice")), strict=True):
        counted = Counter(each.id for each in letters for copy in box if each.within(copy))
        assert counted == {each.id: 1 for each in letters}
    assert (mail.acme.domsec.pid, administrator.pid) == (gateway, keyd)

    wire, answered = exchange(mail, "still to the old key")
    assert signer_of(mail, wire) == signing.sha256
    assert encrypted_to(answered, old)
    tell_partner(mail, confidentiality)
    wire, answered = exchange(mail, "to the token")
    assert signer_of(mail, wire) == signing.sha256
    assert encrypted_to(answered, confidentiality)


def _send(way: tuple[Side, str, str], stop: threading.Event) -> list[Letter]:
    """Letters of a server to somebody in the other domain until it is enough."""
    side, who, domain = way
    sent = []
    with side.server() as client:
        while not stop.wait(0.1):
            one = letter("load", f"load@{side.domain}", f"{who}@{domain}.example")
            client.sendmail(f"load@{side.domain}", [f"{who}@{domain}.example"], one.octets)
            sent.append(one)
    return sent
