"""The border of a domain: whether a message may leave for another (RFC 3183 2.2, 3.4, spec/algorithms.md (h)).

    Reviewing    by how many of whom it has to have been reviewed
    LabelRule    what its label may be, and has to be
    check        a Passage: release, or hold with every reason; and who reviewed it

Checked is the message as it comes to the border, before the domain signature: section 5 may take review layers off,
and then the audit trail is what is left of them (decisions A-33). A review says nothing of the header outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from domsec.errors import DomsecError
from domsec.ess.categories import read_tags
from domsec.ess.labels import ESSSecurityLabel
from domsec.services import labelling
from domsec.services.check import Examination
from domsec.services.context import Context
from domsec.services.finding import Finding, Signer
from domsec.services.known_signers import KnownSigners
from domsec.services.label_policy import UNMARKED, Clearance, LabelPolicy
from domsec.services.labelling import Judged, Stated
from domsec.services.sign import Reason

_COVERED: Final = ("plaintext", "through_encryption")  # whether the reviewer can be tied to the text
_BESIDE: Final = frozenset({"mime.outside_text", "mime.base64", "cms.trailing"})  # what would leave with it, unsigned
_AHEAD: Final = timedelta(days=1)  # how wrong a reviewer's clock may be


@dataclass(frozen=True, slots=True)
class Reviewing:
    """Reviews that a message needs. `line` is the place in the configuration that says so."""

    least: int
    reviewers: KnownSigners
    max_age: timedelta | None = None  # by the signing time, which a review has to have then
    line: str = ""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """Labels that may leave. A pattern is met by a label with all that it states, and perhaps more."""

    required: bool = False
    clearances: Mapping[str, Clearance] = field(default_factory=dict)  # of the destination, by policy; none: no matter
    allowed: tuple[ESSSecurityLabel, ...] = ()  # patterns; none: every label
    forbidden: tuple[ESSSecurityLabel, ...] = ()
    line: str = ""


@dataclass(frozen=True, slots=True)
class Boundary:
    """All that one destination asks for."""

    reviews: tuple[Reviewing, ...] = ()
    labels: tuple[LabelRule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.reviews or self.labels)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A review that counts."""

    layer: str
    reviewer: str
    sha256: str
    signed_at: str | None


@dataclass(frozen=True, slots=True)
class Passage:
    """Whether a message may leave: it may if there is no reason against it."""

    destination: str
    reasons: tuple[Reason, ...]
    reviews: tuple[Reviewed, ...]
    labels: tuple[str, ...]  # those that were judged, in the words of their policies or by their numbers
    at: datetime

    @property
    def released(self) -> bool:
        return not self.reasons


def codes(reasons: Sequence[Reason]) -> tuple[str, ...]:
    """What a held message is marked with: the kind of each reason, then the reasons."""
    found = [code for code, _ in reasons]
    return tuple(dict.fromkeys([f"gate.{code.partition('.')[0]}" for code in found] + found))


def check(examination: Examination, boundary: Boundary, destination: str, context: Context) -> Passage:
    """Whether a message may leave for a destination."""
    findings, now = examination.findings, context.now
    reviews: dict[Reviewed, None] = {}
    reasons: list[Reason] = []
    for reviewing in boundary.reviews:
        found = tuple(_counting(findings, reviewing, now))
        reviews |= dict.fromkeys(reviewed for reviewed, _ in found)
        names = {name for _, name in found}
        if len(names) < reviewing.least:
            text = f"{len(names)} of {reviewing.least} reviews by those who may review for {destination}"
            reasons.append(("review.missing", text))
    judged = labelling.judge(findings, context.labelling)
    counted = _counted(judged, context)
    for rule in boundary.labels:
        reasons += _label_reasons(rule, judged, counted, context)
    words = tuple(_words(stated, context) for stated in counted) if boundary.labels else ()
    return Passage(destination, tuple(dict.fromkeys(reasons)), tuple(reviews), words, now)


def has_label(examination: Examination, pattern: ESSSecurityLabel, context: Context) -> bool:
    """Whether a valid signature states a label with all that the pattern has."""
    counted = _counted(labelling.judge(examination.findings, context.labelling), context)
    return any(_meets(s.label, pattern, context.labelling.policies.get(s.policy)) for s in counted)


# --- reviews --------------------------------------------------------------------------------------------------------


def _counting(findings: Sequence[Finding], reviewing: Reviewing, now: datetime) -> Iterator[tuple[Reviewed, object]]:
    """The reviews that count, with what tells one reviewer from another (decisions A-51).

    Outside a review lie only signatures, empty ones and encryption: anything else could hold what nobody reviewed.
    """
    for finding in findings:
        if any(flag.code in _BESIDE for flag in finding.flags):
            return
        if _is_review(finding):
            yield from ((_reviewed(finding, s), s.name) for s in finding.relied_on if _counts(s, reviewing, now))
        if finding.layer.kind not in ("signed", "null") and not finding.layer.encrypted:
            return


def _is_review(finding: Finding) -> bool:
    return (
        "review" in finding.roles and finding.state == "valid" and finding.coverage in _COVERED and not finding.violated
    )


def _counts(signer: Signer, reviewing: Reviewing, now: datetime) -> bool:
    known = signer.certificate is not None and reviewing.reviewers.know(signer.certificate)
    return known and _is_fresh(signer, reviewing.max_age, now)


def _is_fresh(signer: Signer, max_age: timedelta | None, now: datetime) -> bool:
    if max_age is None:
        return True
    stated = signer.verdict.signing_time
    return stated is not None and now - max_age <= datetime.fromisoformat(stated) <= now + _AHEAD


def _reviewed(finding: Finding, signer: Signer) -> Reviewed:
    verdict = signer.verdict
    return Reviewed(finding.layer.id, verdict.subject or "", verdict.sha256 or "", verdict.signing_time)


# --- labels ---------------------------------------------------------------------------------------------------------


def _counted(judged: Judged, context: Context) -> tuple[Stated, ...]:
    """The labels to go by. Where no policy is known the original itself: patterns need none."""
    if context.labelling.policies or judged.original is None:
        return judged.restricting
    return (judged.original, *judged.aggregates)


def _label_reasons(rule: LabelRule, judged: Judged, counted: Sequence[Stated], context: Context) -> Iterator[Reason]:
    for layer in judged.unverified:
        yield "label.unverified", f"layer {layer} has a label that does not count, its signature or form being wrong"
    if judged.original is not None and judged.original not in counted and judged.effective is None:
        yield "label.unknown_policy", f"a label of policy {judged.original.policy}, which is not known here"
    elif rule.required and not any(stated is judged.original or stated is judged.effective for stated in counted):
        yield "label.missing", "there is no label"
    for stated in counted:
        if context.labelling.policies or rule.clearances:
            yield from labelling.refusals(stated.label, context.labelling, rule.clearances, context.now)
        words = _words(stated, context)
        policy = context.labelling.policies.get(stated.policy)
        if rule.allowed and not any(_meets(stated.label, pattern, policy) for pattern in rule.allowed):
            yield "label.not_allowed", f"{words} is none of the labels that may leave"
        if any(_meets(stated.label, pattern, policy) for pattern in rule.forbidden):
            yield "label.forbidden", f"{words} may not leave"


def _words(stated: Stated, context: Context) -> str:
    number = stated.label.security_classification
    plain = f"policy {stated.policy}" + ("" if number is None else f" classification {number}")
    return labelling.marking(stated.label, context.labelling) or plain


def _meets(label: ESSSecurityLabel, pattern: ESSSecurityLabel, policy: LabelPolicy | None) -> bool:
    if label.security_policy_identifier != pattern.security_policy_identifier:
        return False
    if pattern.security_classification not in (None, label.security_classification or UNMARKED):
        return False
    if policy is not None:
        try:
            return policy.categories_of(pattern) <= policy.categories_of(label)
        except DomsecError:
            pass
    return _categories(pattern) <= _categories(label)


def _categories(label: ESSSecurityLabel) -> set[object]:
    """Categories value by value, for want of a policy that knows them; what cannot be read stays whole."""
    found: set[object] = set()
    for category in label.security_categories:
        try:
            tags = read_tags(category)
        except DomsecError:
            found.add((category.type, category.value))
            continue
        found |= {(tag.tag_set, tag.kind, value) for tag in tags for value in tag.values | tag.texts}
    return found
