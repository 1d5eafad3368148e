"""What a configuration asks of mail on its way to each destination: `[[review]]` and `[[boundary]]`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from domsec.errors import ConfigurationError
from domsec.ess.labels import ESSSecurityLabel
from domsec.mime.addresses import within
from domsec.policy import options
from domsec.policy.configuration import Configuration, Problem
from domsec.policy.kinds import EVERYWHERE
from domsec.policy.labels import clearances, known_signers
from domsec.services.boundary import Boundary, LabelRule, Reviewing
from domsec.services.label_text import parse_label
from domsec.services.labelling import Labelling


@dataclass(frozen=True, slots=True)
class Boundaries:
    """All entries with their destinations, in the order of the file; `named` are reviews that a rule may ask for."""

    own: tuple[str, ...] = ()
    reviews: tuple[tuple[tuple[str, ...], Reviewing], ...] = ()
    labels: tuple[tuple[tuple[str, ...], LabelRule], ...] = ()
    named: Mapping[str, Reviewing] = field(default_factory=dict)

    def of(self, domain: str) -> Boundary:
        """What holds for a destination: every entry that names it, a domain above it, or all but ours."""
        return Boundary(
            tuple(reviewing for to, reviewing in self.reviews if self._means(to, domain)),
            tuple(rule for to, rule in self.labels if self._means(to, domain)),
        )

    def _means(self, to: Sequence[str], domain: str) -> bool:
        return within(domain, to) or (EVERYWHERE in to and not within(domain, self.own))


NO_BOUNDARIES = Boundaries()


def boundaries(configuration: Configuration, labelling: Labelling) -> Boundaries:
    """The entries of a configuration. Raises ConfigurationError with every problem."""
    made, problems = _made(configuration, labelling)
    if problems:
        raise ConfigurationError(*map(str, problems))
    return made


def boundary_problems(configuration: Configuration, labelling: Labelling) -> list[Problem]:
    """What is wrong with the labels and files that they name."""
    return _made(configuration, labelling)[1]


def _made(configuration: Configuration, labelling: Labelling) -> tuple[Boundaries, list[Problem]]:
    problems: list[Problem] = []
    reviews = tuple(
        (review.to, _reviewing(review, _line(configuration, "review", i)))
        for i, review in enumerate(configuration.reviews)
    )
    labels = tuple(
        (boundary.to, _rule(boundary, i, configuration, labelling, problems))
        for i, boundary in enumerate(configuration.boundaries)
    )
    entries = zip(configuration.reviews, reviews, strict=True)
    named = {entry.name: reviewing for entry, (_, reviewing) in entries if entry.name is not None}
    return Boundaries(configuration.domains, reviews, labels, named), problems


def _line(configuration: Configuration, section: str, index: int) -> str:
    return f"{configuration.path.name}:{configuration.lines.get((section, index), 0)} [[{section}]]"


def _reviewing(review: options.Review, line: str) -> Reviewing:
    who = known_signers(review.reviewers, review.issuer, review.domains)
    return Reviewing(review.min_reviews, who, review.max_age, line)


def _rule(
    boundary: options.Boundary, index: int, configuration: Configuration, labelling: Labelling, problems: list[Problem]
) -> LabelRule:
    def complain(texts: Iterable[str], *place: str | int) -> None:
        problems.extend(configuration.problem(text, "boundary", index, *place) for text in texts)

    def patterns(name: str, texts: Sequence[str]) -> tuple[ESSSecurityLabel, ...]:
        found = []
        for position, text in enumerate(texts):
            try:
                found.append(parse_label(text, labelling.policies.values()))
            except ConfigurationError as error:
                complain(error.problems, name, position)
        return tuple(found)

    broken: list[str] = []
    cleared = clearances(boundary.clearances, broken)
    strangers = [oid for oid in cleared if oid not in labelling.policies]
    unknown = (f"a clearance for policy {oid}, which is none of labels.policies" for oid in strangers)
    complain((*broken, *unknown), "clearances")
    return LabelRule(
        boundary.require_label,
        cleared,
        patterns("allowed", boundary.allowed),
        patterns("forbidden", boundary.forbidden),
        _line(configuration, "boundary", index),
    )
