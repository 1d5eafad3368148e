"""What the gateway would do with a message, and why: for `domsec explain` and `domsec gateway replay`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from domsec.cli.world import World
from domsec.errors import MalformedMessage
from domsec.pipeline import Decision, Look, Transaction, looked_at, process
from domsec.services.verdict import JSON
from domsec.services.verdict import as_json as plain

_PEOPLE: Final = frozenset({"from", "outgoing", "held", "refused"})

Looks = tuple[tuple[Look, ...], ...]  # for each recipient


@dataclass(frozen=True)
class Explained:
    """A decision that nobody carries out."""

    transaction: Transaction
    decision: Decision
    looks: Looks  # empty where there are no rules

    @property
    def relayed(self) -> bool:
        """Whether everybody would get it."""
        made = self.decision
        return bool(made.outgoing) and not made.refused and not made.held

    def document(self) -> dict[str, JSON]:
        """What a program is told of it."""
        made, log = self.decision, dict(self.log)
        gate = log.pop("refused", None)  # in a log line why it was not signed; here `refused` is about recipients
        document = plain(
            {
                **log,
                **({"gate": gate} if gate else {}),
                "outgoing": [self._addresses(o.indexes) for o in made.outgoing],
                "held": [{"recipients": self._addresses(h.indexes), "reasons": h.reasons} for h in made.held],
                "refused": [{"recipients": self._addresses(r.indexes), "reply": str(r)} for r in made.refused],
                **({"rules": [self._rules(index) for index in range(len(self.looks))]} if self.looks else {}),
            }
        )
        assert isinstance(document, dict)
        return document

    @property
    def log(self) -> dict[str, object]:
        """What stands in the log of a decision, with addresses for the numbers of recipients."""
        groups = self.decision.log.get("groups")
        if not isinstance(groups, list):
            return self.decision.log
        named = [{**group, "recipients": self._addresses(group["recipients"])} for group in groups]
        return {**self.decision.log, "groups": named}

    def _addresses(self, indexes: Sequence[int]) -> list[str]:
        return [self.transaction.recipients[index].address for index in indexes]

    def _rules(self, index: int) -> dict[str, object]:
        looks = self.looks[index]
        fitting = [look for look in looks if look.why_not is None]
        return {
            "recipient": self.transaction.recipients[index].address,
            "rule": fitting[0].rule.line if fitting else None,
            "beside": [look.rule.line for look in fitting[1:]],
            "looked_at": [{"rule": look.rule.line, "why_not": look.why_not, "firm": look.firm} for look in looks],
        }

    def words(self) -> Iterator[str]:
        """What a person is told of it."""
        document = self.document()
        for key, value in document.items():
            if key != "rules":
                yield f"{key}: {words(value) or ('nobody' if key in _PEOPLE else 'none')}"
        for index in range(len(self.looks)):
            yield from self._looks(index)

    def _looks(self, index: int) -> Iterator[str]:
        yield f"rules for {self.transaction.recipients[index].address}:"
        looks = self.looks[index]
        fitted = False
        for look in looks:
            yield f"  {look.rule.line}: {_said(look, fitted=fitted)}"
            fitted = fitted or look.why_not is None
        if not fitted:
            yield "  none fits: [outbound], [inbound] and [[peer]] decide"


def _said(look: Look, *, fitted: bool) -> str:
    if look.why_not is not None:
        return f"no: {look.why_not}"
    if fitted:
        return "fits as well, and no less is done than it says"
    if look.firm:
        return "fits"
    return "fits by what anybody can write: it can only ask for more than what follows"


def words(value: object) -> str:
    """Empty for what there is nothing of."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {words(item) or 'none'}" for key, item in value.items()) + "}"
        case list():
            return "; ".join(map(words, value))
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def explain(transaction: Transaction, world: World, *, rules: bool = True) -> Explained:
    """Decide, with what directories say if they have to be asked. Nothing is sent or recorded.

    `rules` looks at the rules once more, for what is told of them.
    """
    site, found = world.site, None
    decision = process(transaction, site)
    if decision.wanted:
        found = world.asking(decision.wanted).found
        decision = process(replace(transaction, judged=decision.judged), site, found)
    try:
        looks = looked_at(transaction, site, found) if rules and site.rules else ()
    except MalformedMessage:  # which is why it was refused
        looks = ()
    return Explained(transaction, decision, looks)
