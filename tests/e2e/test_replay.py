"""A message that somebody kept and sends again: delivered, with a warning in the log (decisions A-49).

alice ─▶ acme's gateway ─▶ tap ─▶ beta's gateway, which remembers for a week ─▶ sink
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from commands import public
from e2e.gateways import Side, exchanged, on, side
from e2e.letters import letter
from e2e.wire import Sink, Tap, free_ports
from e2e.world import keys_of, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

ALICE, BOB, CAROL = "alice@acme.example", "bob@beta.example", "carol@beta.example"


@dataclass
class There:
    acme: Side
    beta: Side
    wire: Tap
    sink: Sink


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    base = tmp_path_factory.mktemp("replay")
    acme_keys, beta_keys = keys_of("acme.example"), keys_of("beta.example")
    (base / "beta.crt").write_bytes(public(beta_keys.confidentiality.certificate))
    with contextlib.ExitStack() as stack:
        sink = Sink()
        stack.callback(sink.close)
        ports = free_ports(4)
        wire = Tap(ports[3])
        stack.callback(wire.close)
        acme = side(
            base / "acme", acme_keys, ports[:2], wire.port, sink, trusted=[beta_keys.ca],
            more='certificates = ["../beta.crt"]\n[[peer]]\ndomain = "beta.example"\n',
        )  # fmt: skip
        beta = side(
            base / "beta", beta_keys, ports[2:], wire.port, sink, trusted=[acme_keys.ca],
            more='[inbound]\nmax_age = "7d"\n[[peer]]\ndomain = "acme.example"\n',
        )  # fmt: skip
        for each in (acme, beta):
            stack.callback(each.gateway.kill)
            each.gateway.start()
        yield There(acme, beta, wire, sink)


def test_what_comes_again_is_delivered_with_a_warning(there: There) -> None:
    sent = letter("only once")
    record = exchanged(there.acme, there.beta, there.wire, there.sink, sent, ALICE, BOB)
    assert "replay" not in record["flags"]
    kept = on(there.wire, sent).content

    def again(recipient: str) -> bool:
        """Whether the log of beta's gateway has the warning for another copy."""
        before = len(there.beta.gateway.journal())
        there.beta.from_internet(ALICE, [recipient], kept)
        wait_until(lambda: len(there.beta.gateway.journal()) > before, "a line of beta's gateway")
        line = there.beta.gateway.journal()[-1]
        assert (line["action"], line["accepted"]) == ("deliver", True)
        return "replay" in line["flags"]

    wait_until(lambda: again(BOB), "the signature to be remembered, which no mail waits for")
    assert not again(CAROL)
    there.beta.gateway.stop()
    there.beta.gateway.start()
    assert again(BOB)
