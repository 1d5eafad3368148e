"""Mail from outside on its way in (spec/algorithms.md (f), decisions A-55 to A-57, A-63).

Whoever sent it learns from our answer neither why something did not verify nor whether something decrypted.
"""

from __future__ import annotations

from domsec.errors import MalformedMessage
from domsec.mime import authentication_results, fields
from domsec.mime.addresses import parse_address
from domsec.mime.fields import Header
from domsec.pipeline.transaction import (
    Decision,
    Held,
    Outgoing,
    Refused,
    Settled,
    Transaction,
    decision,
    everybody,
)
from domsec.policy import wishes
from domsec.policy.options import Violation
from domsec.policy.results import results
from domsec.services.check import Examination, examine
from domsec.services.delivery import deliver
from domsec.services.layers import peel
from domsec.site import Site


def inbound(transaction: Transaction, site: Site) -> Decision:
    """Mail from outside on its way in: open, verify, say what may be believed, act on it, hand on what can be read."""
    ours, others = _ours(transaction, site)
    settled: list[Settled] = []
    opened: dict[str, object] = {}
    unopened: dict[str, object] = {}
    if ours:
        settled.append(_take_in(transaction, ours, site, opened, open_it=True))
    if others:
        settled.append(_take_in(transaction, others, site, unopened, open_it=False))
    return decision(settled, opened or unopened)  # what we could open says more


def _ours(transaction: Transaction, site: Site) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Recipients whom our authority may decrypt for, and the others: theirs passes unopened (algorithms (f))."""
    ours = []
    for index, recipient in enumerate(transaction.recipients):
        try:
            if site.serves(parse_address(recipient.address).domain):
                ours.append(index)
        except MalformedMessage:
            continue
    return tuple(ours), tuple(i for i in everybody(transaction) if i not in ours)


def _take_in(
    transaction: Transaction, indexes: tuple[int, ...], site: Site, log: dict[str, object], *, open_it: bool
) -> Settled:
    context = site.context(transaction.received_at, open_it=open_it)
    options = site.configuration.inbound
    try:
        message = peel(transaction.octets, context.keyring, context.limits)
    except MalformedMessage as error:
        action: Violation = "hold" if options.on_violation == "deliver" else options.on_violation
        log.update(action=action, reason=str(error))  # it may bear results in our name: never delivered
        return _act(action, transaction, indexes, ("cms.malformed",), transaction.octets)
    examination = examine(message, context)
    verdict = examination.verdict
    delivery = deliver(examination, options.strip)
    action, reasons, line = _judge(examination, site, loose=delivery.unauthenticated)
    log.update(
        {
            "from": [m.address for m in message.originators.mailboxes],
            "structure": verdict.structure,
            "accepted": verdict.accepted,
            "level": verdict.level,
            "domain": verdict.domain,
            "flags": [f.code for f in verdict.flags],
            "line": line,
        }
    )
    entity = None if delivery.unauthenticated else delivery.entity()
    marked = _marked(message.header, examination, site)
    octets = fields.join_message(marked, message.body) if entity is None else fields.replace_entity(marked, entity)
    log["removed"] = list(delivery.removed) if entity is not None else []
    return _act(action, transaction, indexes, reasons, octets, opened=entity is not None and verdict.decrypted)


def _judge(examination: Examination, site: Site, *, loose: bool) -> tuple[Violation, tuple[str, ...], str]:
    """What policy does with a message that was judged so, why, and which line says that.

    What did not decrypt, and what decrypted to something that nobody authenticated, have one outcome: whoever sends
    altered ciphertext learns nothing from it (threats T-02, T-22).
    """
    options, verdict = site.configuration.inbound, examination.verdict

    def by(option: str) -> str:
        return wishes.where(site.configuration, None, "inbound", option)

    if loose or any(f.layer.closed == "failed" for f in examination.findings):
        return options.on_unopenable, ("enc.unauthenticated" if loose else "unopenable",), by("on_unopenable")
    violations = verdict.violations
    if all(f.layer.kind == "content" for f in examination.findings):  # no layer of ours: ordinary, if odd, mail
        violations = tuple(f for f in violations if f.code == "mime.parts" or f.code.startswith("limit."))
    if violations:
        return options.on_violation, tuple(dict.fromkeys(f.code for f in violations)), by("on_violation")
    if verdict.level == "none" and not any(f.layer.closed for f in examination.findings):
        return options.on_unverified, ("unverified",), by("on_unverified")
    return "deliver", (), by("strip")


def _marked(header: Header, examination: Examination, site: Site) -> Header:
    """The header with our result on top, and none that only claims to be ours (RFC 8601 5)."""
    authserv_id = site.configuration.authserv_id
    field = authentication_results.format_result(authserv_id, results(examination.verdict))
    return authentication_results.remove(header, authserv_id).prepend(field)


def _act(
    action: Violation,
    transaction: Transaction,
    indexes: tuple[int, ...],
    reasons: tuple[str, ...],
    octets: bytes,
    *,
    opened: bool = False,
) -> Settled:
    if action == "reject":  # decisions A-57: the same words whatever went wrong
        return Settled(
            refused=(
                Refused(indexes, 550, "5.7.7", f"message refused by policy, reference {transaction.id} [policy]"),
            ),
            note={"action": "reject", "reasons": reasons},
        )
    if action == "hold":
        return Settled(held=(Held(indexes, reasons, transaction.octets),), note={"action": "hold", "reasons": reasons})
    parameters = _headers_only(transaction.sender_parameters) if opened else transaction.sender_parameters
    recipients = tuple(transaction.recipients[i] for i in indexes)
    outgoing = Outgoing(transaction.sender, parameters, recipients, octets, indexes)
    return Settled(outgoing=(outgoing,), note={"action": "deliver"})


def _headers_only(parameters: str) -> str:
    """MAIL parameters that keep plaintext out of a bounce (measurements-mail A6)."""
    return " ".join([*(p for p in parameters.split() if not p.upper().startswith("RET=")), "RET=HDRS"])
