"""What the labels of a message come to (RFC 2634 3, RFC 3183 3.3, decisions A-50).

    original     of the innermost originator: what the text is
    equivalents  the same in other policies, of use only from who may translate to them
    aggregates   of additional attributes: what the text is with all around it; they can only restrict further

Whoever decides goes by the original where its policy is known, else by the first trusted equivalent from inside out.
Nothing is taken from a layer whose signature does not hold. Without any policy labels are reported and not judged;
with one, a label that cannot be judged is a violation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.errors import DomsecError
from domsec.ess.labels import EquivalentLabels, ESSSecurityLabel
from domsec.services.ess_attributes import usable
from domsec.services.finding import Finding, originator_layer
from domsec.services.known_signers import KnownSigners
from domsec.services.label_policy import Clearance, LabelPolicy
from domsec.services.layers import carries
from domsec.services.verdict import EquivalentLabel, Flag, Label, LabelCategory, Labels, flag

_L = TypeVar("_L", bound=Label)


@dataclass(frozen=True, slots=True)
class Translator:
    """Who may say in the words of some policies what a label of others means (RFC 2634 3.4)."""

    who: KnownSigners
    into: frozenset[str]  # policies; none: whatever we know
    out_of: frozenset[str] = frozenset()  # policies of the original; none: any, also of no label at all

    def may(self, certificate: Certificate, original: str | None, policy: str) -> bool:
        """Whether a signer may say what a label of `original`, or that there is none, means in `policy`."""
        return (
            (not self.into or policy in self.into)
            and (not self.out_of or original in self.out_of)
            and self.who.know(certificate)
        )


@dataclass(frozen=True, slots=True)
class Labelling:
    """The label policies of an installation, whose translations it believes, and what its own people may see."""

    policies: Mapping[str, LabelPolicy] = field(default_factory=dict)  # by object identifier
    translators: tuple[Translator, ...] = ()
    clearances: Mapping[str, Clearance] = field(default_factory=dict)  # by object identifier of the policy

    def trusted(self, certificate: Certificate | None, original: str | None, policy: str) -> bool:
        return certificate is not None and any(t.may(certificate, original, policy) for t in self.translators)


NO_LABELLING = Labelling()


@dataclass(frozen=True, slots=True)
class Stated:
    """A label that a valid layer states, and who does so first."""

    finding: Finding
    label: ESSSecurityLabel
    signer: str | None
    certificate: Certificate | None
    trusted: bool = False  # of an equivalent

    @property
    def policy(self) -> str:
        return self.label.security_policy_identifier


@dataclass(frozen=True, slots=True)
class Judged:
    """The labels of a message. `effective` is the one to go by, `unverified` the layers whose labels do not count."""

    original: Stated | None
    equivalents: tuple[Stated, ...]
    aggregates: tuple[Stated, ...]
    effective: Stated | None
    unverified: tuple[str, ...]

    @property
    def restricting(self) -> tuple[Stated, ...]:
        """Those that access has to be given by: all of them."""
        return (*((self.effective,) if self.effective else ()), *self.aggregates)


def judge(findings: Sequence[Finding], labelling: Labelling) -> Judged:
    """What labels there are, and which of them counts."""
    inside_out = tuple(reversed(findings))
    innermost = originator_layer(findings)
    original = _label(innermost) if innermost is not None else None
    policy = original.policy if original else None
    equivalents = tuple(e for f in inside_out for e in _equivalents(f, policy, labelling))
    aggregates = (_label(f) for f in inside_out if "attributes" in f.roles)
    known = [s for s in (original, *equivalents) if s is not None and s.policy in labelling.policies]
    return Judged(
        original,
        equivalents,
        tuple(a for a in aggregates if a is not None),
        next((s for s in known if s is original or s.trusted), None),
        tuple(f.layer.id for f in findings if carries(f.layer, oids.ID_AA_SECURITY_LABEL) and _label(f) is None),
    )


def _label(finding: Finding) -> Stated | None:
    stated = usable(finding, oids.ID_AA_SECURITY_LABEL, ESSSecurityLabel.read)
    return None if stated is None else Stated(finding, stated[0], stated[1].verdict.subject, stated[1].certificate)


def _equivalents(finding: Finding, original: str | None, labelling: Labelling) -> Iterator[Stated]:
    stated = usable(finding, oids.ID_AA_EQUIVALENT_LABELS, EquivalentLabels.read)
    if stated is None:
        return
    labels, signer = stated
    for label in labels.labels:
        # RFC 2634 3.4.1: the policy of an equivalent is another than that of the label it translates
        policy = label.security_policy_identifier
        trusted = policy != original and labelling.trusted(signer.certificate, original, policy)
        yield Stated(finding, label, signer.verdict.subject, signer.certificate, trusted)


def translating(findings: Iterable[Finding], labelling: Labelling) -> frozenset[str]:
    """The ids of the layers all of whose equivalent labels are by somebody who may translate to them."""
    findings = tuple(findings)
    by_layer: dict[str, list[bool]] = {}
    for stated in judge(findings, labelling).equivalents:
        by_layer.setdefault(stated.finding.layer.id, []).append(stated.trusted)
    return frozenset(layer for layer, trusted in by_layer.items() if all(trusted))


# --- for the verdict ------------------------------------------------------------------------------------------------


def labels(judged: Judged, labelling: Labelling) -> Labels:
    """The labels as a verdict shows them."""
    return Labels(
        original=_shown(Label, judged.original, labelling) if judged.original else None,
        equivalent=tuple(_equivalent(stated, labelling) for stated in judged.equivalents),
        aggregate=tuple(_shown(Label, stated, labelling) for stated in judged.aggregates),
        effective=_shown(Label, judged.effective, labelling) if judged.effective else None,
    )


def _equivalent(stated: Stated, labelling: Labelling) -> EquivalentLabel:
    return _shown(EquivalentLabel, stated, labelling, trusted=stated.trusted)


def _shown(kind: type[_L], stated: Stated, labelling: Labelling, **more: bool) -> _L:
    label = stated.label
    return kind(
        layer=stated.finding.layer.id,
        signer=stated.signer,
        policy=label.security_policy_identifier,
        classification=label.security_classification,
        privacy_mark=label.privacy_mark.text if label.privacy_mark else None,
        categories=tuple(LabelCategory(c.type, c.value.hex()) for c in label.security_categories),
        marking=marking(label, labelling),
        **more,
    )


def marking(label: ESSSecurityLabel, labelling: Labelling) -> str | None:
    """The words for a label; None where its policy is not known, or knows no such label."""
    policy = labelling.policies.get(label.security_policy_identifier)
    try:
        return policy.marking_of(label) if policy is not None else None
    except DomsecError:
        return None


def flags(judged: Judged, labelling: Labelling, now: datetime) -> Iterator[Flag]:
    """What our policies have against the labels of a message, and whether our own people may see it."""
    if not labelling.policies:
        return
    if judged.original is not None and judged.effective is None:
        layer, policy = judged.original.finding.layer.id, judged.original.policy
        yield flag("label.unknown_policy", f"the label is of policy {policy}, which is not known here", layer)
    for stated in judged.restricting:
        yield from (
            flag(code, text, stated.finding.layer.id)
            for code, text in refusals(stated.label, labelling, labelling.clearances, now)
        )


def refusals(
    label: ESSSecurityLabel, labelling: Labelling, clearances: Mapping[str, Clearance], now: datetime
) -> Iterator[tuple[str, str]]:
    """Codes and texts: why a label is for nobody, or for nobody with these clearances.

    Where `clearances` has none for any policy, only whether the label may be is looked at.
    """
    name = label.security_policy_identifier
    policy, clearance = labelling.policies.get(name), clearances.get(name)
    if policy is None:
        yield "label.unknown_policy", f"a label of policy {name}, which is not known here"
        return
    problems = policy.problems(label, now)
    if problems:
        yield "label.invalid", "; ".join(problems)
    elif clearances and clearance is None:
        yield "label.denied", f"no clearance for policy {policy.name}"
    elif clearance is not None and (missing := policy.refusals(label, clearance, now)):
        yield "label.denied", "; ".join(missing)
