"""Shadow mode: what would have become of a message stands in the log, and the message goes on as it came.

One thing does not go on: the fields in which our own mail server tells us who is logged in. They hold a secret of the
installation, and they would be out in the world.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from domsec.limits import DEFAULT, Limits
from domsec.mime.fields import join_message, split_message
from domsec.octets import Octets, Pieces
from domsec.pipeline import Decision, Outgoing, Transaction
from domsec.pipeline.transaction import everybody
from domsec.policy.evidence import without_fields
from domsec.site import Site


def as_it_came(site: Site, transaction: Transaction) -> Octets | Pieces:
    """The octets that go on. What takes nothing out takes no time, and whatever the header looks like it is read."""
    secret = [rule for rule in site.evidence if rule.kind in ("header", "certificate")]
    if transaction.direction != "outbound" or not secret:
        return transaction.octets
    header, body = split_message(transaction.octets, _any(len(transaction.octets)))
    kept = without_fields(header, secret)
    return transaction.octets if kept.fields == header.fields else join_message(kept, body)


def _any(size: int) -> Limits:
    """Limits that no message of this size meets: it is to pass."""
    return dataclasses.replace(DEFAULT, header_size=max(size, 1), header_fields=max(size, 1))


def would(decision: Decision, transaction: Transaction, failed: Sequence[str]) -> list[dict[str, object]]:
    """What would have become of each recipient; `failed` are the replies where no decision could be made."""
    if failed:
        return [{"action": "defer", "reply": reply} for reply in failed]
    found: dict[int, dict[str, object]] = {}
    for outgoing in decision.outgoing:
        found |= {index: {"action": "relay"} for index in outgoing.indexes}
    for held in decision.held:
        found |= {index: {"action": "hold", "reasons": list(held.reasons)} for index in held.indexes}
    for refused in decision.refused:
        action = "defer" if refused.code < 500 else "refuse"
        found |= {index: {"action": action, "reply": str(refused)} for index in refused.indexes}
    found |= {index: {"action": "discard"} for index in decision.discard}
    return [found[index] for index in everybody(transaction)]


def instead(decision: Decision, transaction: Transaction, octets: Octets | Pieces) -> Decision:
    """The message for all its recipients in place of what was decided; what the log says of that stays."""
    indexes = everybody(transaction)
    whole = Outgoing(transaction.sender, transaction.sender_parameters, transaction.recipients, octets, indexes)
    return Decision(outgoing=(whole,), log=decision.log, unopened=decision.unopened)
