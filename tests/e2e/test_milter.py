"""domsec as a milter of a real Postfix, as `domsec postfix --layout milter` prints it.

the world ─▶ smtp, which asks domsec ─▶ Maildir
"""

from __future__ import annotations

import contextlib
import os
import shutil
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import commands
from e2e import postfix
from e2e.domsec_process import Domsec
from e2e.letters import Letter, body_of, fields_of, letter
from e2e.postfix import Instance
from e2e.signing import protected
from e2e.wire import free_ports
from e2e.world import BASE, MAIL_UID, PASSWORD, PREFIX, Keys, keys_of, wait_until, write_pem

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

# what an administrator of one Postfix has already
MAIN = """\
myhostname = mx.acme.example
mydomain = acme.example
mydestination =
alias_maps =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = acme.example
virtual_mailbox_maps = static:alice/
virtual_mailbox_base = {mail}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_sasl_auth_enable = yes
cyrus_sasl_config_path = {etc}/sasl
message_size_limit = 20971520
mailbox_size_limit = 0
virtual_mailbox_limit = 0
"""
DOMSEC = """\
domains = ["acme.example"]
[listen]
milter = "unix:{run}/milter.sock"
workers = 2
[trust]
roles = ["trust"]
[inbound]
on_violation = "reject"
authserv_id = "mx.acme.example"
[[peer]]
domain = "beta.example"
expect_signed = true
[store]
url = "sqlite:///{state}/domsec.db"
[limits]
size = 10485760
"""
FORGED = (  # results in our name, in ways that some reader would take for it
    "Authentication-Results: mx.acme.example; smime=pass policy.domsec=domain\r\n",
    "authentication-results: (a comment) MX.Acme.Example. 1;\r\n\tsmime=pass\r\n",
    'Authentication-Results:"mx.acme.example"; smime=pass\r\n',
)
OF_OTHERS = "Authentication-Results: mx.elsewhere.example; spf=pass\r\n"


@dataclass
class Office:
    """acme.example with its Postfix, and the keys of beta.example."""

    folder: Path
    instance: Instance
    domsec: Domsec
    acme: Keys
    beta: Keys
    port: int
    by_tcp: int  # a port of Postfix that asks domsec at port `tcp`
    tcp: int

    def deliver(
        self, octets: bytes, sender: str = "bob@beta.example", *, login: bool = False, port: int | None = None
    ) -> None:
        with smtplib.SMTP("127.0.0.1", port or self.port, timeout=30) as client:
            if login:
                client.login("alice@acme.example", PASSWORD)
            client.sendmail(sender, ["alice@acme.example"], octets, mail_options=["BODY=8BITMIME"])

    def mailbox(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.folder / "mail/alice/new").glob("*"))]

    def in_mailbox(self, sent: Letter) -> bytes:
        wait_until(lambda: any(map(sent.within, self.mailbox())), "mail for alice")
        return sent.arrived(self.mailbox)

    def signed(self, sent: Letter, folder: Path, encrypt: str = "no") -> bytes:
        """The letter as the gateway of beta.example lets it out."""
        return protected(sent, "bob@beta.example", self.beta, "alice@acme.example", self.acme, folder, encrypt)

    @contextlib.contextmanager
    def policy(self, old: str, new: str) -> Iterator[None]:
        """While another option is in force."""
        text = self.domsec.configuration.read_text()
        assert old in text
        try:
            self.domsec.stop()
            self.domsec.configuration.write_text(text.replace(old, new))
            self.domsec.start()
            yield
        finally:
            self.domsec.stop()
            self.domsec.configuration.write_text(text)
            self.domsec.start()


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    if reason := postfix.missing():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix=PREFIX, dir=BASE))
        base.chmod(0o755)
        (base / "owner").write_text(str(os.getpid()))
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        yield _opened(stack, base / "acme")


def _opened(stack: contextlib.ExitStack, folder: Path) -> Office:
    port, by_tcp, tcp = free_ports(3)
    instance = Instance(folder / "postfix")
    for name in ("mail", "state", "run", "domsec/trust", "postfix/etc/sasl"):
        (folder / name).mkdir(parents=True)
    (folder / "run").chmod(0o2750)
    shutil.chown(folder / "run", group="postfix")
    os.chown(folder / "mail", MAIL_UID, MAIL_UID)
    domsec = Domsec(folder / "domsec/domsec.toml", folder / "domsec.log")
    domsec.configuration.write_text(DOMSEC.format(run=folder / "run", state=folder / "state"))
    acme, beta = keys_of("acme.example"), keys_of("beta.example")
    write_pem(folder / "domsec/trust/beta.pem", beta.ca)
    _configure_postfix(folder, instance, domsec.configuration, port, (by_tcp, tcp))
    stack.callback(instance.stop)
    instance.start()
    stack.callback(domsec.kill)
    domsec.start()
    return Office(folder, instance, domsec, acme, beta, port, by_tcp, tcp)


def _configure_postfix(
    folder: Path, instance: Instance, configuration: Path, port: int, by_port: tuple[int, int]
) -> None:
    """The files that `domsec postfix` writes, at a port of the laboratory, beside an administrator's own."""
    ran = commands.run("postfix", "--layout", "milter", "-o", folder / "printed", "--config", configuration)
    assert ran.code == 0, ran.err
    printed = {path.name: path.read_text() for path in (folder / "printed/etc/postfix").iterdir()}
    etc = instance.etc
    main = MAIN.format(etc=etc, mail=folder / "mail", uid=MAIL_UID)
    assert "smtp      inet" in printed["master.cf"]
    master = printed["master.cf"].replace("smtp      inet", f"127.0.0.1:{port} inet")
    by_tcp, tcp = by_port
    master += f"127.0.0.1:{by_tcp} inet n - n - - smtpd -o smtpd_milters=inet:127.0.0.1:{tcp}\n"
    instance.configure(main + printed["main.cf"], master)
    database = etc / "sasl/sasldb2"
    (etc / "sasl/smtpd.conf").write_text(
        f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\nmech_list: PLAIN\n"
    )
    command = ["saslpasswd2", "-p", "-c", "-f", str(database), "-u", "acme.example", "alice"]
    subprocess.run(command, input=PASSWORD.encode(), check=True, env={"PATH": "/usr/sbin:/usr/bin"})
    shutil.chown(database, group="postfix")
    database.chmod(0o640)


def with_fields(octets: bytes, *fields: str) -> bytes:
    return "".join(fields).encode() + octets


def broken(octets: bytes) -> bytes:
    """The message with another octet in the base64 of what was signed."""
    at = octets.index(b"\r\n\r\n") + 400
    return octets[:at] + (b"B" if octets[at : at + 1] != b"B" else b"C") + octets[at + 1 :]


def test_postfix_has_nothing_to_say_against_the_configuration(office: Office) -> None:
    assert office.instance.complaints() == ""


def test_a_signed_message_has_the_result_and_every_octet(office: Office, tmp_path: Path) -> None:
    sent = letter(
        "signed", "Bob <bob@beta.example>", to="alice@acme.example", header="X-Odd:\tno  blank \r\n\tin front\r\n"
    )
    octets = office.signed(sent, tmp_path)
    office.deliver(with_fields(octets, *FORGED, OF_OTHERS))
    arrived = office.in_mailbox(sent)
    results = fields_of(arrived, "Authentication-Results")
    assert len(results) == 2
    assert results[0].startswith("Authentication-Results: mx.acme.example; smime=pass")
    assert "policy.domsec-domain=beta.example" in results[0]
    assert results[1] == OF_OTHERS.strip()
    assert arrived.index(b"smime=pass") < arrived.index(b"Received:")
    assert body_of(arrived) == body_of(octets)
    assert b"X-Odd:\tno  blank \n\tin front\n" in arrived


@pytest.mark.parametrize("forged", FORGED, ids=["plain", "comment", "quoted"])
def test_a_forged_result_goes_from_mail_that_nobody_signed(office: Office, forged: str) -> None:
    sent = letter("unsigned", "Dave <dave@elsewhere.example>", to="alice@acme.example")
    office.deliver(with_fields(sent.octets, "Received: from a by b; Mon, 23 Nov 2026 12:00:00 +0000\r\n", forged))
    results = fields_of(office.in_mailbox(sent), "Authentication-Results")
    assert results == ["Authentication-Results: mx.acme.example; smime=none"]


def test_a_broken_message_is_refused_while_its_sender_waits(office: Office, tmp_path: Path) -> None:
    sent = letter("broken", "Bob <bob@beta.example>", to="alice@acme.example")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        office.deliver(broken(office.signed(sent, tmp_path)))
    assert refused.value.smtp_code == 550
    assert b"[policy]" in refused.value.smtp_error
    with pytest.raises(smtplib.SMTPDataError):
        office.deliver(sent.octets)  # beta.example signs all it sends: the agreement says so
    assert not any(map(sent.within, office.mailbox()))
    assert not office.instance.queue()


def test_what_is_to_be_held_is_in_the_quarantine_of_postfix_marked(office: Office, tmp_path: Path) -> None:
    sent = letter("held", "Bob <bob@beta.example>", to="alice@acme.example")
    with office.policy('on_violation = "reject"', 'on_violation = "hold"'):
        office.deliver(with_fields(broken(office.signed(sent, tmp_path)), FORGED[0]))
        wait_until(office.instance.queue, "mail in the queue")
        assert "!" in office.instance.waiting_for()  # on hold, says mailq(1)
        assert not any(map(sent.within, office.mailbox()))
    (queue_id,) = office.instance.queue()
    office.instance.release(queue_id)
    results = fields_of(office.in_mailbox(sent), "Authentication-Results")
    assert len(results) == 1
    assert "smime=fail" in results[0]


def test_without_the_milter_mail_comes_again(office: Office) -> None:
    sent = letter("later", "Dave <dave@elsewhere.example>", to="alice@acme.example")
    assert office.domsec.stop() == 0
    try:
        with pytest.raises(smtplib.SMTPResponseException) as deferred:
            office.deliver(sent.octets)
        assert deferred.value.smtp_code == 451
    finally:
        office.domsec.start()
    office.deliver(sent.octets)
    assert office.in_mailbox(sent)


def test_what_is_encrypted_passes_as_it_came(office: Office, tmp_path: Path) -> None:
    sent = letter("encrypted", "Bob <bob@beta.example>", to="alice@acme.example")
    octets = office.signed(sent, tmp_path, "dca")
    office.deliver(octets)
    arrived = office.in_mailbox(sent)
    assert body_of(arrived) == body_of(octets)
    assert fields_of(arrived, "Authentication-Results") == ["Authentication-Results: mx.acme.example; smime=none"]


def test_a_large_message_is_judged_from_a_file(office: Office, tmp_path: Path) -> None:
    lines = b"".join(b"%07d: the quick brown fox jumps over the lazy dog\r\n" % n for n in range(40_000))
    sent = letter("large", "Bob <bob@beta.example>", to="alice@acme.example", body=lines)
    octets = office.signed(sent, tmp_path)
    office.deliver(octets)
    arrived = office.in_mailbox(sent)
    assert "smime=pass" in fields_of(arrived, "Authentication-Results")[0]
    assert body_of(arrived) == body_of(octets)


def test_several_messages_of_one_connection_are_judged_each_by_itself(office: Office, tmp_path: Path) -> None:
    letters = [letter(f"in a row {n}", "Bob <bob@beta.example>", to="alice@acme.example") for n in range(3)]
    octets = [office.signed(each, tmp_path) for each in letters]
    with smtplib.SMTP("127.0.0.1", office.port, timeout=30) as client:
        client.sendmail("bob@beta.example", ["alice@acme.example"], octets[0])
        with pytest.raises(smtplib.SMTPDataError):
            client.sendmail("bob@beta.example", ["alice@acme.example"], broken(octets[1]))
        client.mail("bob@beta.example")
        client.rcpt("alice@acme.example")
        client.rset()
        client.sendmail("bob@beta.example", ["alice@acme.example"], octets[2])
    for each in (letters[0], letters[2]):
        assert "smime=pass" in fields_of(office.in_mailbox(each), "Authentication-Results")[0]
    assert not any(map(letters[1].within, office.mailbox()))


def _until_taken(office: Office, octets: bytes) -> None:
    for _ in range(100):
        try:
            office.deliver(octets)
        except smtplib.SMTPResponseException as error:
            assert 400 <= error.smtp_code < 500
            time.sleep(0.1)
        else:
            return
    raise AssertionError("put off a hundred times")


@pytest.mark.slow
def test_whatever_is_killed_every_message_is_judged_once(office: Office, tmp_path: Path) -> None:
    """Workers die under Postfix; who is put off comes again, as mail servers do."""
    letters = [letter(f"under fire {n}", "Bob <bob@beta.example>", to="alice@acme.example") for n in range(20)]
    octets = [office.signed(each, tmp_path) for each in letters]
    with ThreadPoolExecutor(3) as pool:
        sending = [pool.submit(_until_taken, office, with_fields(each, FORGED[0])) for each in octets]
        for done in range(2, 10, 2):  # four times, each while others are under way
            wait_until(lambda so_far=done: sum(each.done() for each in sending) >= so_far, "some to be taken")
            office.domsec.kill_worker()
        for each in sending:
            each.result()
    for each in letters:
        (result,) = fields_of(office.in_mailbox(each), "Authentication-Results")
        assert "smime=pass" in result


def test_postfix_reaches_it_by_a_port_too(office: Office) -> None:
    """Each packet would wait 40 ms for the last one to be acknowledged, unless that is done at once (A6)."""
    sent = letter("by TCP", "Dave <dave@elsewhere.example>", to="alice@acme.example")
    with office.policy(f"unix:{office.folder}/run/milter.sock", f"127.0.0.1:{office.tcp}"):
        office.deliver(with_fields(sent.octets, FORGED[0]), "dave@elsewhere.example", port=office.by_tcp)
    assert fields_of(office.in_mailbox(sent), "Authentication-Results") == [
        "Authentication-Results: mx.acme.example; smime=none"
    ]


def test_the_log_has_what_postfix_knows_of_the_session(office: Office) -> None:
    sent = letter("logged in", "Alice <alice@acme.example>", to="alice@acme.example")
    office.deliver(sent.octets, "alice@acme.example", login=True)
    office.in_mailbox(sent)
    record = office.domsec.journal()[-1]
    assert (record["client"], record["auth"], record["direction"]) == ("127.0.0.1", "alice@acme.example", "inbound")
    assert f"{record['queue_id']}: client=" in office.instance.log
    assert record["recipients"] == [
        {"address": "alice@acme.example", "action": "marked", "reply": "250 2.0.0 judged and marked"}
    ]
