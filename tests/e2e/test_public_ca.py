"""Two domains whose authorities a public CA certified by mailbox: they agreed on that with each other and nobody else.

    alice ─▶ acme's gateway ─▶ tap ─▶ beta's gateway ─▶ sink          and back by the same way, through acme's

gamma has the CA as an anchor for acme as well, but keeps to the names of RFC 3183.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from commands import public
from e2e.gateways import Side, arrived, exchanged, side
from e2e.letters import letter
from e2e.wire import Sink, Tap, free_ports
from e2e.world import Keys, ca_named, keys_of, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

ALICE, BOB, CAROL = "alice@acme.example", "bob@beta.example", "carol@gamma.example"


@dataclass
class There:
    acme: Side
    beta: Side
    gamma: Side
    wire: Tap
    back: Tap
    sink: Sink


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    base = tmp_path_factory.mktemp("public-ca")
    ca = ca_named("Public CA", "rsa2048")
    acme_keys, beta_keys = (keys_of(f"{name}.example", ca=ca, naming="mailbox") for name in ("acme", "beta"))
    gamma_keys = keys_of("gamma.example")
    (base / "ca.pem").write_bytes(public(ca.certificate))
    (base / "gamma-ca.pem").write_bytes(public(gamma_keys.ca.certificate))
    (base / "certificates").mkdir()
    for each in (acme_keys, beta_keys, gamma_keys):
        (base / "certificates" / f"{each.domain}.pem").write_bytes(public(each.confidentiality.certificate))

    def peer(keys: Keys, anchor: str, naming: str) -> str:
        return f'[[peer]]\ndomain = "{keys.domain}"\nanchors = ["../{anchor}.pem"]\nnaming = "{naming}"\n'

    known = '[trust]\ncertificates = ["../certificates"]\n'
    with contextlib.ExitStack() as stack:
        sink = Sink()
        stack.callback(sink.close)
        ports = free_ports(6)
        wire, back = Tap(ports[3]), Tap(ports[1])
        for tap in (wire, back):
            stack.callback(tap.close)
        acme = side(
            base / "acme", acme_keys, ports[:2], wire.port, sink, naming="mailbox",
            more=known + peer(beta_keys, "ca", "mailbox") + peer(gamma_keys, "gamma-ca", "strict"),
        )  # fmt: skip
        beta = side(
            base / "beta", beta_keys, ports[2:4], back.port, sink, naming="mailbox",
            more=known + peer(acme_keys, "ca", "mailbox"),
        )  # fmt: skip
        gamma = side(
            base / "gamma", gamma_keys, ports[4:], back.port, sink, more=known + peer(acme_keys, "ca", "strict")
        )
        for each in (acme, beta, gamma):
            stack.callback(each.gateway.kill)
            each.gateway.start()
        yield There(acme, beta, gamma, wire, back, sink)


@pytest.mark.requirement("R3183-3.1.1-20", "R3183-4.1-09")
def test_domains_that_agreed_on_mailbox_names_exchange_protected_mail(there: There):
    for one, other, tap, author, reader in (
        (there.acme, there.beta, there.wire, ALICE, BOB),
        (there.beta, there.acme, there.back, BOB, ALICE),
    ):
        sent = letter("by mailbox", author=author, to=reader)
        record = exchanged(one, other, tap, there.sink, sent, author, reader)
        assert f"domain-signing-authority@{one.keys.domain}" in record["result"]
        assert record["flags"] == ["naming.convention"]


@pytest.mark.requirement("R3183-3.1.1-20")
def test_who_did_not_agree_takes_it_for_a_violation(there: There):
    """The same anchor, the same signature: only the agreement on the name is missing."""
    sent = letter("not agreed", to=CAROL)
    there.acme.send(ALICE, [CAROL], sent.octets)
    crossed = arrived(there.sink, sent, CAROL)  # beta hands on what is not for it
    there.gamma.from_internet(ALICE, [CAROL], crossed)
    wait_until(there.gamma.gateway.journal, "a line of gamma's gateway")
    record = there.gamma.gateway.journal()[-1]
    assert (record["action"], record["level"]) == ("hold", "none")
    assert "naming.cn" in record["flags"]
    assert len([each for each in there.sink.to(CAROL) if sent.within(each.content)]) == 1


def test_nobody_is_encrypted_to_by_a_name_that_was_not_agreed_on(there: There):
    """gamma knows the certificate of acme's authority, and that it is acme's; still the mail waits for a person."""
    sent = letter("an answer", author=CAROL, to=ALICE)
    there.gamma.send(CAROL, [ALICE], sent.octets)
    record = there.gamma.gateway.journal()[-1]
    assert record["action"] == "hold"
    assert not any(sent.within(each.content) for each in (*there.back.sent, *there.sink.sent))
