"""Domains that never met exchange protected mail: gateways, a signed zone and a directory, all of them really running.

    alice ─▶ acme's gateway ─▶ tap ─▶ beta's gateway ─▶ sink          and back by the same way, through acme's

acme and beta trust their own CAs and nobody else's, have no agreements and no certificates of each other. What each
publishes is what `domsec cert smimea` prints. gamma's authority is in an OpenLDAP, and acme trusts gamma's CA.
"""

from __future__ import annotations

import contextlib
import smtplib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import slapd
import zone
from directories import dca
from domsec.policy.configuration import Configuration
from domsec.site import load_site
from e2e.domsec_process import Domsec
from e2e.gateways import ROLES, Side, arrived, exchanged, inside, pem, side
from e2e.letters import letter
from e2e.wire import Sent, Sink, Tap, free_ports
from e2e.world import Keys, keys_of

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

CAROL = "carol@gamma.example"


@dataclass
class There:
    acme: Side
    beta: Side
    gamma: Keys
    wire: Tap  # between acme's gateway and beta's
    back: Tap
    sink: Sink
    directory: slapd.Server


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    if reason := slapd.missing() or zone.missing():
        pytest.skip(reason)
    base = tmp_path_factory.mktemp("discovery")
    keys = {name: keys_of(f"{name}.example") for name in ("acme", "beta", "gamma")}
    with contextlib.ExitStack() as stack:
        published = {f"{name}.example": _published(base, keys[name]) for name in ("acme", "beta")}
        stray = _record(base, keys_of("delta.example"), "confidentiality")
        servers = stack.enter_context(
            zone.servers(
                {**published, "gamma.example": ()},
                unsigned={"delta.example": [stray]},
                spoiled={"epsilon.example": [_record(base, keys_of("epsilon.example"), "confidentiality")]},
            )
        )
        entry = slapd.authority(
            "cn=gamma,dc=beta,dc=example", [keys["gamma"].confidentiality.certificate], mail=dca("gamma.example")
        )
        directory = stack.enter_context(slapd.server([entry]))
        sink = Sink()
        stack.callback(sink.close)
        ports = free_ports(4)
        wire, back = Tap(ports[3]), Tap(ports[1])
        for tap in (wire, back):
            stack.callback(tap.close)
        ldap = f'[[directory]]\nkind = "ldap"\nurl = "ldaps://localhost:{directory.secure}"\nca = ["ldap-ca.pem"]\n'
        ldap += 'domains = ["gamma.example"]\nbase = "dc=beta,dc=example"\n'
        acme = _side(base / "acme", keys["acme"], ports[:2], wire.port, sink, servers, [keys["gamma"]], ldap)
        (base / "acme" / "ldap-ca.pem").write_bytes(directory.ca)
        beta = _side(base / "beta", keys["beta"], ports[2:], back.port, sink, servers, [], "")
        for each in (acme, beta):
            stack.callback(each.gateway.kill)
            each.gateway.start()
        yield There(acme, beta, keys["gamma"], wire, back, sink, directory)


def _published(base: Path, keys: Keys) -> list[str]:
    return [_record(base, keys, role) for role in ROLES]


def _record(base: Path, keys: Keys, role: str) -> str:
    """The record that the administrator of a domain pastes into its zone."""
    path = base / f"{keys.domain}-{role}.pem"
    path.write_bytes(pem(getattr(keys, role), keys.ca))
    printed = subprocess.run([Domsec.program, "cert", "smimea", str(path)], check=True, capture_output=True)
    return printed.stdout.decode().strip()


def _side(
    folder: Path,
    keys: Keys,
    ports: list[int],
    next_hop: int,
    sink: Sink,
    servers: zone.Servers,
    trusted: list[Keys],
    more: str,
) -> Side:
    dns = f'[[directory]]\nkind = "smimea"\nresolver = "127.0.0.1:{servers.resolver}"\n'
    anchors = [each.ca for each in (keys, *trusted)]
    return side(folder, keys, ports, next_hop, sink, trusted=anchors, more=dns + more)


@pytest.mark.requirement("R3183-4.2-01", "R3183-4.2-07")
def test_domains_that_never_met_exchange_protected_mail(there: There):
    """There, and the answer back: encrypted on the way, verified at its end, by what both publish in DNS."""
    for one, other, tap, author, reader in (
        (there.acme, there.beta, there.wire, "alice@acme.example", "bob@beta.example"),
        (there.beta, there.acme, there.back, "bob@beta.example", "alice@acme.example"),
    ):
        sent = letter("we never met", author=author, to=reader)
        record = exchanged(one, other, tap, there.sink, sent, author, reader)
        assert f"domsec-domain={one.keys.domain}" in record["result"]


@pytest.mark.requirement("R3183-4.2-06", "R3183-4.2-07")
def test_a_partner_is_found_in_ldap(there: There):
    """acme asks over TLS, and beta hands on what is not for it."""
    sent = letter("to gamma", to=CAROL)
    there.acme.send("alice@acme.example", [CAROL], sent.octets)
    got = arrived(there.sink, sent, CAROL)
    assert sent.secret not in got
    assert inside(Sent("", [], got), there.gamma) == "auth_enveloped signed null content"
    asked = there.acme.gateway.journal()[-1]["directories"]
    assert f"asked for {dca('gamma.example')}: ldaps://localhost:{there.directory.secure}: 1 certificates" in asked


@pytest.mark.requirement("R3183-4.2-07")
def test_what_unsigned_dns_has_is_not_used(there: There):
    """Anybody on the way could have put it there. The mail leaves as it would if there were nothing."""
    sent = letter("to delta", to="dora@delta.example")
    there.acme.send("alice@acme.example", ["dora@delta.example"], sent.octets)
    assert sent.secret in arrived(there.sink, sent, "dora@delta.example")
    assert "insecure" in str(there.acme.gateway.journal()[-1]["directories"])


def test_what_was_tampered_with_puts_the_mail_off_and_nothing_leaves(there: There):
    sent = letter("to epsilon", to="eve@epsilon.example")
    with pytest.raises(smtplib.SMTPDataError) as caught:
        there.acme.send("alice@acme.example", ["eve@epsilon.example"], sent.octets)
    assert caught.value.smtp_code == 451
    assert caught.value.smtp_error.startswith(b"4.7.5 ")
    assert sent.secret not in there.wire.raw
    assert not any(sent.within(each.content) for each in there.sink.sent)
    assert "bogus" in str(there.acme.gateway.journal()[-1]["directories"])


def test_the_trust_of_the_site_is_what_the_test_says(there: There):
    """Neither domain's CA is among the other's anchors."""
    for one, other in ((there.acme, there.beta), (there.beta, there.acme)):
        roots = load_site(Configuration.load(one.gateway.configuration)).validator.snapshot.roles
        assert one.keys.ca.certificate in roots
        assert other.keys.ca.certificate not in roots
