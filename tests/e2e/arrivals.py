"""Where a letter came to: on the wire, in a mailbox, at a next hop, in a gateway's log."""

from __future__ import annotations

from e2e.domsec_process import Domsec
from e2e.letters import Letter
from e2e.world import World, wait_until


def on_the_wire(mail: World, sent: Letter) -> bytes:
    """What beta's edge was given by acme's edge."""
    return sent.arrived(lambda: (each.content for each in mail.beta.tap.sent))


def in_bobs_mailbox(mail: World, sent: Letter) -> bytes:
    wait_until(lambda: any(map(sent.within, mail.beta.mailbox("bob"))), "mail for bob")
    return sent.arrived(lambda: mail.beta.mailbox("bob"))


def at_next_hop(mail: World, sent: Letter, address: str) -> bytes:
    """What a domain that is not one of the two was given."""
    wait_until(lambda: any(sent.within(each.content) for each in mail.sink.to(address)), f"mail for {address}")
    return sent.arrived(lambda: (each.content for each in mail.sink.to(address)))


def record_of(gateway: Domsec, sender: str, action: str) -> dict[str, object]:
    """The gateway's last line about mail of that sender with that action."""

    def found() -> list[dict[str, object]]:
        return [r for r in gateway.journal() if r["sender"] == sender and r["action"] == action]

    wait_until(found, f"a line with {action}")
    return found()[-1]
