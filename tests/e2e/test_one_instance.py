"""One Postfix with domsec after its queue or before it, as `domsec postfix` prints it, and OpenDKIM behind.

alice ─▶ submission ─▶ domsec ─▶ domsec-out, OpenDKIM ─▶ sink
sink's world ─▶ smtp ─▶ domsec ─▶ domsec-in ─▶ Maildir
"""

from __future__ import annotations

import contextlib
import os
import shutil
import smtplib
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import commands
from domsec.cms.credential import credential_from_private_key
from domsec.policy.configuration import Configuration
from domsec.services.check import examine
from domsec.services.layers import peel
from domsec.services.verdict import Verdict
from domsec.site import load_site
from e2e import opendkim, postfix, rspamd
from e2e.domsec_process import Domsec
from e2e.letters import Letter, fields_of, letter
from e2e.postfix import Instance
from e2e.signing import protected
from e2e.wire import Sink, free_ports
from e2e.world import (
    BASE,
    MAIL_UID,
    PASSWORD,
    PREFIX,
    SERVER,
    Keys,
    keys_of,
    wait_until,
    write_p12,
    write_pem,
    write_tls,
)

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

# what an administrator of one Postfix has already
MAIN = """\
myhostname = mx.acme.example
mydomain = acme.example
myorigin = $mydomain
mydestination = lists.acme.example
alias_maps = texthash:{etc}/aliases
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = acme.example
virtual_mailbox_maps = texthash:{etc}/mailboxes
virtual_alias_maps = texthash:{etc}/virtual
virtual_mailbox_base = {mail}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination
smtpd_sender_login_maps = texthash:{etc}/senders
smtpd_tls_security_level = may
smtpd_tls_chain_files = {etc}/tls.pem
cyrus_sasl_config_path = {etc}/sasl
relayhost = [127.0.0.1]:{sink}
"""
DOMSEC = """\
domains = ["acme.example"]
[listen]
outbound = "{outbound}"
inbound = "{inbound}"
[next_hop]
outbound = "smtp:unix:{spool}/public/domsec-out"
inbound = "smtp:unix:{spool}/public/domsec-in"
[keys.signing]
credential = "signing.p12"
password_file = "password"
[keys.confidentiality]
credential = "confidentiality.p12"
password_file = "password"
[trust]
roles = ["trust"]
certificates = ["certificates"]
[outbound]
on_refusal = "reject"
[[outbound.evidence]]
kind = "header"
token_file = "auth-token"
[[outbound.evidence]]
kind = "network"
networks = ["{server}/32"]
[inbound]
authserv_id = "mx.acme.example"
[[peer]]
domain = "beta.example"
expect_signed = true
[store]
url = "sqlite:///{state}/domsec.db"
[limits]
size = 10485760
"""


@dataclass
class Office:
    """acme.example on one machine, and beta.example's keys."""

    layout: str
    folder: Path
    instance: Instance
    domsec: Domsec
    sink: Sink
    acme: Keys
    beta: Keys
    submission: int
    servers: int
    port: int

    def submit(self, sent: Letter, *recipients: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.submission, timeout=30) as client:
            client.starttls(context=ssl._create_unverified_context())
            client.login("alice@acme.example", PASSWORD)
            client.sendmail("alice@acme.example", list(recipients), sent.octets)

    def deliver(self, sender: str, octets: bytes, recipient: str = "alice@acme.example") -> None:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.sendmail(sender, [recipient], octets)

    def at_sink(self, sent: Letter) -> bytes:
        wait_until(lambda: any(sent.within(each.content) for each in self.sink.sent), "mail at the sink")
        return sent.arrived(lambda: (each.content for each in self.sink.sent))

    def mailbox(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.folder / "mail/alice/new").glob("*"))]

    def in_mailbox(self, sent: Letter) -> bytes:
        wait_until(lambda: any(map(sent.within, self.mailbox())), "mail for alice")
        return sent.arrived(self.mailbox)

    def verdict_of_beta(self, octets: bytes) -> Verdict:
        site = load_site(Configuration.load(self.domsec.configuration))
        mine = self.beta.confidentiality
        credential = credential_from_private_key(mine.key, mine.certificate)
        context = replace(site.context(datetime.now(UTC)), keyring=(credential,))
        return examine(peel(octets, context.keyring, context.limits), context).verdict


@pytest.fixture(scope="module", params=["content-filter", "before-queue"])
def office(request: pytest.FixtureRequest) -> Iterator[Office]:
    reason = postfix.missing()
    for program in ("opendkim", "rspamd"):
        if reason is None and shutil.which(program, path="/usr/sbin:/usr/bin") is None:
            reason = f"{program} is missing: apt-get install {program}"
    if reason:
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix=PREFIX, dir=BASE))
        base.chmod(0o755)
        (base / "owner").write_text(str(os.getpid()))
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        sink = Sink()
        stack.callback(sink.close)
        yield _opened(stack, base, request.param, sink)


def _opened(stack: contextlib.ExitStack, base: Path, layout: str, sink: Sink) -> Office:
    ports = submission, servers, port, dkim, checks, spam = free_ports(6)
    folder = base / "acme"
    instance = Instance(folder / "postfix")
    for name in ("mail", "state", "run", "domsec/trust", "domsec/certificates", "postfix/etc/sasl", "dkim"):
        (folder / name).mkdir(parents=True)
    (folder / "run").chmod(0o2750)
    shutil.chown(folder / "run", group="postfix")
    os.chown(folder / "mail", MAIL_UID, MAIL_UID)
    acme, beta = keys_of("acme.example"), keys_of("beta.example")
    domsec = Domsec(folder / "domsec/domsec.toml", folder / "domsec.log")
    _configure_domsec(folder, layout, acme, beta)
    _configure_postfix(folder, layout, instance, sink.port, ports)
    opendkim.write_key(folder / "dkim")
    stack.enter_context(opendkim.signing(folder / "dkim", dkim))
    stack.enter_context(opendkim.checking(folder / "dkim", checks, "filter.acme.example"))
    stack.enter_context(rspamd.running(folder / "rspamd", spam))
    stack.callback(instance.stop)
    instance.start()
    stack.callback(domsec.kill)
    domsec.start()
    return Office(layout, folder, instance, domsec, sink, acme, beta, submission, servers, port)


def _configure_domsec(folder: Path, layout: str, acme: Keys, beta: Keys) -> None:
    protocol = "lmtp" if layout == "content-filter" else "smtp"
    places = {side: f"{protocol}:unix:{folder}/run/{side}.sock" for side in ("outbound", "inbound")}
    text = DOMSEC.format(**places, server=SERVER, spool=folder / "postfix/spool", state=folder / "state")
    (folder / "domsec/domsec.toml").write_text(text)
    (folder / "domsec/password").write_text("open sesame\n")
    (folder / "domsec/auth-token").write_text("0123456789abcdef\n")
    for role in ("signing", "confidentiality"):
        write_p12(folder / f"domsec/{role}.p12", getattr(acme, role), acme.ca)
        write_pem(folder / f"domsec/certificates/beta-{role}.pem", getattr(beta, role))
    for keys in (acme, beta):
        write_pem(folder / f"domsec/trust/{keys.domain}.pem", keys.ca)


def _configure_postfix(folder: Path, layout: str, instance: Instance, sink: int, ports: tuple[int, ...]) -> None:
    """The files that `domsec postfix` writes, at ports of the laboratory, beside an administrator's own."""
    submission, servers, port, dkim, *milters = ports
    filters = [word for each in milters for word in ("--milter", f"inet:127.0.0.1:{each}")]
    filters = filters if layout == "content-filter" else []
    ran = commands.run(
        "postfix", "--layout", layout, "--dkim", f"inet:127.0.0.1:{dkim}", *filters, "-o", folder / "printed",
        "--config", folder / "domsec/domsec.toml",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    printed = {path.name: path.read_text() for path in (folder / "printed/etc/postfix").iterdir()}
    etc = instance.etc
    master = printed["master.cf"].replace("/etc/postfix/", f"{etc}/")
    for service, place in (("submission inet", submission), ("2525 inet", servers), ("smtp      inet", port)):
        assert service in master
        master = master.replace(service, f"127.0.0.1:{place} inet")
    behind = "smtpd_recipient_restrictions=permit_mynetworks,reject"
    before, leaving = master.split("domsec-out unix")
    assert behind in leaving
    refusing = behind.replace("=", f"=check_recipient_access,regexp:{etc}/refused,", 1)
    master = f"{before}domsec-out unix{leaving.replace(behind, refusing, 1)}"
    (etc / "refused").write_text("/^never@/ 550 5.1.1 no such user\n/^later@/ 450 4.2.0 come back later\n")
    main = MAIN.format(etc=etc, mail=folder / "mail", uid=MAIL_UID, sink=sink)
    instance.configure(main + printed["main.cf"], master)
    (etc / "domsec-login.re").write_text(printed["domsec-login.re"])
    (etc / "mailboxes").write_text("alice@acme.example alice/\n")
    (etc / "senders").write_text("alice@acme.example alice@acme.example\n")
    (etc / "aliases").write_text("everybody bob@beta.example\n")
    (etc / "virtual").write_text("sales@acme.example alice@acme.example\ngone@acme.example left@acme.example\n")
    (etc / "sasl/smtpd.conf").write_text(
        f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {etc}/sasl/sasldb2\nmech_list: PLAIN\n"
    )
    write_tls(etc / "tls.pem", "acme.example")
    command = ["saslpasswd2", "-p", "-c", "-f", str(etc / "sasl/sasldb2"), "-u", "acme.example", "alice"]
    subprocess.run(command, input=PASSWORD.encode(), check=True, env={"PATH": "/usr/sbin:/usr/bin"})
    shutil.chown(etc / "sasl/sasldb2", group="postfix")
    (etc / "sasl/sasldb2").chmod(0o640)


def test_postfix_has_nothing_to_say_against_the_configuration(office: Office) -> None:
    assert office.instance.complaints() == ""


def test_what_leaves_is_protected_and_then_signed_by_dkim(office: Office) -> None:
    sent = letter("one instance")
    office.submit(sent, "bob@beta.example")
    wire = office.at_sink(sent)
    verdict = office.verdict_of_beta(wire)
    assert (verdict.structure, verdict.accepted, verdict.domain) == ("E(S[domain](S0(OC)))", True, "acme.example")
    assert sent.secret not in wire
    assert not fields_of(wire, "X-Domsec-Auth")
    assert opendkim.holds(office.folder / "dkim", wire)
    assert not opendkim.holds(office.folder / "dkim", wire.replace(b"\r\n\r\n", b"\r\n\r\nAAAA\r\n", 1))


def test_what_arrives_is_judged_and_is_not_signed_by_our_dkim(office: Office) -> None:
    forged = letter("from your chief", "Alice <alice@acme.example>", to="alice@acme.example")
    office.deliver("alice@acme.example", forged.octets)
    arrived = office.in_mailbox(forged)
    assert "smime=none" in fields_of(arrived, "Authentication-Results")[0]
    assert not fields_of(arrived, "DKIM-Signature")


def test_spam_is_refused_before_domsec_sees_it(office: Office, tmp_path: Path) -> None:
    """In the clear, that is: what another domain encrypted the filter cannot read, and domsec comes after it."""
    if office.layout == "before-queue":
        pytest.skip("milters before the queue hear of no content: domsec postfix refuses them (decision 50)")
    spam = letter("an offer", "Bob <bob@beta.example>", to="alice@acme.example", body=rspamd.GTUBE + b"\r\n")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        office.deliver("bob@beta.example", spam.octets)
    assert (refused.value.smtp_code, b"Gtube" in refused.value.smtp_error) == (554, True)
    sealed = protected(
        spam, "bob@beta.example", office.beta, "alice@acme.example", office.acme, tmp_path, encrypt="dca"
    )
    office.deliver("bob@beta.example", sealed)
    assert rspamd.GTUBE in office.in_mailbox(spam)


def test_what_another_domain_protected_arrives_in_clear_and_believed(office: Office, tmp_path: Path) -> None:
    sent = letter("protected", "Bob <bob@beta.example>", to="alice@acme.example")
    octets = protected(
        sent, "bob@beta.example", office.beta, "alice@acme.example", office.acme, tmp_path, encrypt="dca"
    )
    assert sent.secret not in octets
    office.deliver("bob@beta.example", octets)
    arrived = office.in_mailbox(sent)
    assert sent.secret in arrived
    assert "smime=pass" in fields_of(arrived, "Authentication-Results")[0]


def test_who_did_not_log_in_gets_no_signature(office: Office) -> None:
    """The user is told at once before the queue, by a bounce after it."""
    sent = letter("as carol", "Carol <carol@acme.example>")
    if office.layout == "before-queue":
        with pytest.raises(smtplib.SMTPDataError) as refused:
            office.submit(sent, "bob@beta.example")
        assert refused.value.smtp_code == 550
    else:
        office.submit(sent, "bob@beta.example")
        wait_until(lambda: any(sent.id in each for each in office.mailbox()), "a bounce")
    assert not any(sent.within(each.content) for each in office.sink.sent)


def test_a_server_that_does_not_log_in_has_a_port_of_its_own(office: Office) -> None:
    sent = letter("the monthly bill", "Bills <bills@acme.example>")
    with smtplib.SMTP("127.0.0.1", office.servers, timeout=30, source_address=(SERVER, 0)) as client:
        client.sendmail("bills@acme.example", ["bob@beta.example"], sent.octets)
    assert office.verdict_of_beta(office.at_sink(sent)).structure == "E(S[domain](S0(OC)))"
    with pytest.raises(smtplib.SMTPRecipientsRefused), smtplib.SMTP("127.0.0.1", office.servers, timeout=30) as other:
        other.sendmail("bills@acme.example", ["bob@beta.example"], sent.octets)


def test_nobody_sends_to_others_by_the_port_for_what_arrives(office: Office) -> None:
    """It would take the inbound way, and leave as it came, although the client is in mynetworks."""
    sent = letter("past the gateway")
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        office.deliver("alice@acme.example", sent.octets, "bob@beta.example")
    assert refused.value.recipients["bob@beta.example"][0] == 554


def test_domsec_knows_the_client_of_postfix(office: Office) -> None:
    sent = letter("by XFORWARD")
    office.submit(sent, "bob@beta.example")
    office.at_sink(sent)
    record = office.domsec.journal()[-1]
    assert (record["client"], record["direction"]) == ("127.0.0.1", "outbound")
    # Before the queue there is no queue id yet, and Postfix says so.
    assert bool(record["queue_id"]) is (office.layout == "content-filter")


def test_of_two_recipients_who_are_refused_in_part_none_is_lost_and_none_doubled(office: Office) -> None:
    """What Postfix, behind domsec, refuses of one message for both."""
    recipients = ("bob@beta.example", "never@beta.example")
    sent = letter("to bob and nobody", to=", ".join(recipients))
    if office.layout == "before-queue":
        with pytest.raises(smtplib.SMTPDataError) as refused:  # one reply for both, so nothing was sent
            office.submit(sent, *recipients)
        assert refused.value.smtp_code == 550
        assert b"no such user" in refused.value.smtp_error
        office.submit(sent, "bob@beta.example")
    else:
        office.submit(sent, *recipients)
        wait_until(lambda: any(sent.id in each for each in office.mailbox()), "a bounce")
    office.at_sink(sent)
    wait_until(lambda: not office.instance.queue(), "an empty queue")
    assert [each.recipients for each in office.sink.sent if sent.within(each.content)] == [["bob@beta.example"]]


def test_of_two_messages_made_of_one_the_one_that_is_put_off_comes_later_and_once(office: Office) -> None:
    """One for a domain that reads what is encrypted, one for a domain that does not."""
    sent = letter("to bob and later")
    table = office.instance.etc / "refused"
    refusals = table.read_text()
    office.submit(sent, "bob@beta.example", "later@plain.example")
    office.at_sink(sent)
    assert not office.sink.to("later@plain.example")
    office.instance.stop()  # it reads the table anew when it starts
    try:
        table.write_text("# nobody\n")
        office.instance.start()
        office.instance.flush()
        # an attempt while it was down is made again after one minute, then two
        wait_until(lambda: office.sink.to("later@plain.example"), "mail for later", 200)
        wait_until(lambda: not office.instance.queue(), "an empty queue")
    finally:
        table.write_text(refusals)
    arrived = [each.recipients for each in office.sink.sent if sent.within(each.content)]
    assert sorted(arrived) == [["bob@beta.example"], ["later@plain.example"]]


def test_while_domsec_is_down_nothing_leaves(office: Office) -> None:
    sent = letter("later")
    assert office.domsec.stop() == 0
    try:
        if office.layout == "before-queue":
            with pytest.raises(smtplib.SMTPResponseException) as refused:
                office.submit(sent, "bob@beta.example")
            assert 400 <= refused.value.smtp_code < 500
        else:
            office.submit(sent, "bob@beta.example")
            wait_until(office.instance.queue, "mail in the queue")
    finally:
        office.domsec.start()
    if office.layout == "before-queue":
        office.submit(sent, "bob@beta.example")
    office.instance.flush()
    assert sent.secret not in office.at_sink(sent)


def test_what_a_filter_found_before_domsec_stays_under_a_name_of_its_own(office: Office) -> None:
    if office.layout == "before-queue":
        pytest.skip("milters hear nothing of a message that a proxy filter takes")
    sent = letter("with two results", "Carol <carol@elsewhere.example>", to="alice@acme.example")
    office.deliver("carol@elsewhere.example", sent.octets)
    ours, theirs = fields_of(office.in_mailbox(sent), "Authentication-Results")
    assert ours.startswith("Authentication-Results: mx.acme.example; smime=none")
    assert theirs.startswith("Authentication-Results: filter.acme.example; dkim=none")


def test_an_alias_is_expanded_once(office: Office) -> None:
    sent = letter("to sales", "Carol <carol@elsewhere.example>", to="sales@acme.example")
    office.deliver("carol@elsewhere.example", sent.octets, "sales@acme.example")
    assert "smime=none" in fields_of(office.in_mailbox(sent), "Authentication-Results")[0]


def test_the_leak_of_aliases_that_the_page_tells_of(office: Office) -> None:
    """Aliases of local(8) are expanded behind domsec: what another domain sends to one leaves again as it came."""
    sent = letter("to everybody", "Carol <carol@elsewhere.example>", to="everybody@lists.acme.example")
    office.deliver("carol@elsewhere.example", sent.octets, "everybody@lists.acme.example")
    wire = office.at_sink(sent)
    assert sent.secret in wire
    assert office.verdict_of_beta(wire).structure == "OC"


def test_the_leak_of_bounces_that_the_page_tells_of(office: Office, tmp_path: Path) -> None:
    """Postfix sends them past domsec: the header of what was decrypted is in the clear, but not the text."""
    sent = letter("a telling subject", "Bob <bob@beta.example>", to="gone@acme.example")
    octets = protected(sent, "bob@beta.example", office.beta, "gone@acme.example", office.acme, tmp_path, encrypt="dca")
    office.deliver("bob@beta.example", octets, "gone@acme.example")
    bounce = office.at_sink(sent)
    assert b"left@acme.example" in bounce
    assert office.verdict_of_beta(bounce).structure == "OC"
    assert b"a telling subject" in bounce
    assert sent.secret not in bounce
