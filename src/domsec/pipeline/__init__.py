"""From a transaction to a decision: peel, check, decide, wrap.

    transaction   the values on both sides
    outbound      mail of our users: sign it for the domain, encrypt it, one output a group of recipients
    inbound       mail from outside: open it, verify it, say what may be believed, hand on what can be read

Outbound and inbound differ in what they decide only. Nothing here waits for anybody: certificates and keys are at hand,
or the answer is a temporary one, or it says what to ask of directories first.
"""

from __future__ import annotations

from domsec.errors import StoreUnavailable
from domsec.pipeline.inbound import inbound
from domsec.pipeline.inbound import looked_at as _looked_at_inbound
from domsec.pipeline.outbound import border, outbound
from domsec.pipeline.outbound import looked_at as _looked_at_outbound
from domsec.pipeline.transaction import (
    Decision,
    Direction,
    Held,
    Outgoing,
    Recipient,
    Refused,
    Session,
    Transaction,
    everybody,
)
from domsec.policy.rules import Look
from domsec.site import Site
from domsec.trust.discovered import Found

__all__ = [
    "Decision",
    "Direction",
    "Held",
    "Look",
    "Outgoing",
    "Recipient",
    "Refused",
    "Session",
    "Transaction",
    "border",
    "inbound",
    "looked_at",
    "outbound",
    "process",
]


def looked_at(transaction: Transaction, site: Site, found: Found | None = None) -> tuple[tuple[Look, ...], ...]:
    """For each recipient the rules that are looked at, each with why it did not fit. Decides nothing.

    Raises MalformedMessage for a message that no rule can look at.
    """
    look = _looked_at_outbound if transaction.direction == "outbound" else _looked_at_inbound
    return look(transaction, site.at(transaction.received_at), found)


def process(transaction: Transaction, site: Site, found: Found | None = None) -> Decision:
    """Decide what becomes of a transaction. Each recipient is relayed to, refused, or held: never forgotten.

    Where the site has directories and `found` is None, the decision may be what to ask them (`Decision.wanted`). Once
    there is an answer to that, whatever it is, it is never asked for more.

    Raises nothing for what a message contains. What it does raise is a fault of ours, and the gateway answers 451.
    """
    decide = outbound if transaction.direction == "outbound" else inbound
    site = site.at(transaction.received_at)
    try:
        return decide(transaction, site, found)
    except StoreUnavailable as error:
        text = "a key or certificate store does not answer, try again later"
        log: dict[str, object] = {"action": "tempfail", "reason": str(error)}
        return Decision(refused=(Refused(everybody(transaction), 451, "4.3.0", text),), log=log)
