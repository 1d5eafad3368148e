"""A security policy for labels: what their numbers are called, which labels there may be, and who may see what.

    LabelPolicy.resolve    the classification and the categories that a label means
    LabelPolicy.problems   why a label is none of this policy: what it excludes, what it lacks
    LabelPolicy.refusals   why a clearance does not dominate a label (the access control decision function, X.841)
    LabelPolicy.marking_of  the words for people

A label that is not valid is for nobody: with categories that exclude each other one could be made that a clearance
passes by mistake. Policies are read by `domsec.services.spif`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Final, Literal

from domsec.errors import MalformedMessage, Unsupported
from domsec.ess.categories import Syntax, Tag, TagKind, read_tags, write_tags
from domsec.ess.labels import ESSSecurityLabel, SecurityCategory

UNMARKED: Final = 0  # X.411: what a label without classification is
_ALL_OF: Final = (TagKind.RESTRICTIVE, TagKind.ENUMERATED_RESTRICTIVE)
_ANY_OF: Final = (TagKind.PERMISSIVE, TagKind.ENUMERATED_PERMISSIVE)
_ENUMERATED: Final = (TagKind.ENUMERATED_RESTRICTIVE, TagKind.ENUMERATED_PERMISSIVE)


# --- what a policy has ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Marking:
    """How something is shown. `phrase` stands in place of its name; None: the name."""

    phrase: str | None = None
    prefix: str = ""
    suffix: str = ""
    separator: str = ""
    hidden: bool = False
    replaces_policy: bool = False
    suppresses_classification: bool = False


_PLAIN: Final = Marking()


@dataclass(frozen=True, slots=True)
class CategoryReference:
    """A category by tag set, kind and number; every one of that kind in the tag set where the number is None."""

    tag_set: str
    kind: TagKind
    number: int | None = None

    def means(self, category: Category) -> bool:
        same = (category.tag_set, category.kind) == (self.tag_set, self.kind)
        return same and self.number in (None, category.number)


@dataclass(frozen=True, slots=True)
class Requirement:
    """Categories that have to stand beside something: all of these, one or more, or exactly one."""

    operation: Literal["all", "oneOrMore", "onlyOne"]
    references: tuple[CategoryReference, ...]

    def met(self, categories: Iterable[Category]) -> bool:
        found = tuple(categories)
        count = sum(any(reference.means(category) for category in found) for reference in self.references)
        match self.operation:
            case "all":
                return count == len(self.references)
            case "oneOrMore":
                return count >= 1
        return count == 1


@dataclass(frozen=True, slots=True)
class Classification:
    """A level. `hierarchy` orders levels for people; a clearance lists those it covers."""

    number: int
    name: str
    hierarchy: int
    obsolete: bool = False
    required: tuple[Requirement, ...] = ()
    marking: Marking = _PLAIN


@dataclass(frozen=True, slots=True)
class Category:
    """One value of a tag, and what has to be so where it stands."""

    tag_set: str  # OID
    kind: TagKind
    number: int
    name: str
    tag: str  # the name of the tag that it belongs to
    obsolete: bool = False
    excluded_classifications: frozenset[int] = frozenset()
    required_classifications: frozenset[int] = frozenset()
    required: tuple[Requirement, ...] = ()
    excluded: tuple[CategoryReference, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None
    marking: Marking = _PLAIN


@dataclass(frozen=True, slots=True)
class CategoryTag:
    """Categories of one kind that are chosen together, in their order. At most `most`, at least `least` of them."""

    name: str
    kind: TagKind
    categories: tuple[Category, ...]
    bits: bool = False  # the form of informative ones in a label
    least: int = 0
    most: int | None = None
    marking: Marking = _PLAIN


@dataclass(frozen=True, slots=True)
class TagSet:
    name: str
    oid: str
    tags: tuple[CategoryTag, ...]


@dataclass(frozen=True, slots=True)
class Clearance:
    """What somebody, or a domain, may see (X.501, RFC 5755 4.4.6). A clearance is for one policy."""

    policy: str
    classifications: frozenset[int]
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class Meaning:
    """A label, or a clearance, in terms of its policy; categories in the order of the policy."""

    classifications: tuple[Classification, ...]
    categories: tuple[Category, ...]


# --- what it makes of labels ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelPolicy:
    """One security policy. References in it are to be right: whoever reads one checks them."""

    name: str
    oid: str
    classifications: tuple[Classification, ...]
    tag_sets: tuple[TagSet, ...] = ()
    marking: Marking = _PLAIN
    syntax: Syntax = "acp145"  # in which categories are written
    _by_number: Mapping[int, Classification] = field(init=False, repr=False, compare=False)
    _ordered: Mapping[Category, tuple[int, CategoryTag]] = field(init=False, repr=False, compare=False)
    _by_value: Mapping[tuple[str, int | str], tuple[Category, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tags = [tag for tag_set in self.tag_sets for tag in tag_set.tags]
        every = [(category, tag) for tag in tags for category in tag.categories]
        by_value: dict[tuple[str, int | str], tuple[Category, ...]] = {}
        for category, _ in every:
            for value in (category.number, category.name):
                key = (category.tag_set, value)
                by_value[key] = (*by_value.get(key, ()), category)
        object.__setattr__(self, "_by_number", {c.number: c for c in self.classifications})
        object.__setattr__(self, "_ordered", {c: (place, tag) for place, (c, tag) in enumerate(every)})
        object.__setattr__(self, "_by_value", by_value)

    @property
    def categories(self) -> tuple[Category, ...]:
        return tuple(self._ordered)

    def resolve(self, label: ESSSecurityLabel) -> Meaning:
        """What a label of this policy means. Raises MalformedMessage, Unsupported for what the policy does not have."""
        if label.security_policy_identifier != self.oid:
            raise MalformedMessage(f"a label of policy {label.security_policy_identifier}, expected {self.oid}")
        number = label.security_classification
        if number is None and UNMARKED not in self._by_number:
            raise MalformedMessage("a label without classification")
        return self._meaning([number or UNMARKED], _tags(label))

    def categories_of(self, label: ESSSecurityLabel) -> frozenset[Category]:
        """The categories of a label of this policy, whatever its classification. Raises as `resolve`."""
        return frozenset(self._meaning([], _tags(label)).categories)

    def covered(self, clearance: Clearance) -> Meaning:
        """The same for a clearance. Numbers that the policy does not have open nothing, and are left out."""
        if clearance.policy != self.oid:
            raise MalformedMessage(f"a clearance of policy {clearance.policy}, expected {self.oid}")
        known = [number for number in clearance.classifications if number in self._by_number]
        return self._meaning(known, clearance.tags, lenient=True)

    def _meaning(self, numbers: Sequence[int], tags: Iterable[Tag], *, lenient: bool = False) -> Meaning:
        for number in numbers:
            if number not in self._by_number:
                raise MalformedMessage(f"policy {self.name} has no classification {number}")
        found = {category for tag in tags for category in self._of(tag, lenient=lenient)}
        levels = sorted((self._by_number[number] for number in numbers), key=lambda c: (c.hierarchy, c.number))
        return Meaning(tuple(levels), tuple(sorted(found, key=lambda c: self._ordered[c][0])))

    def _of(self, tag: Tag, *, lenient: bool) -> Iterator[Category]:
        for value in tag.values | tag.texts:
            found = self._by_value.get((tag.tag_set, value), ())
            meant = [category for category in found if _same_kind(category.kind, tag.kind)]
            if len(meant) == 1:
                yield meant[0]
            elif not lenient:
                which = "more than one" if meant else "no"
                raise MalformedMessage(f"policy {self.name} has {which} {tag.kind} category {value} in {tag.tag_set}")

    def problems(self, label: ESSSecurityLabel, now: datetime, *, new: bool = False) -> tuple[str, ...]:
        """Why a label may not be; none if it may. `new` is for one about to be made: nothing obsolete then."""
        try:
            meaning = self.resolve(label)
        except (MalformedMessage, Unsupported) as error:
            return (str(error),)
        return tuple(self._broken(meaning, now, new=new))

    def _broken(self, meaning: Meaning, now: datetime, *, new: bool) -> Iterator[str]:
        (level,), categories = meaning.classifications, meaning.categories
        stated: tuple[Classification | Category, ...] = (level, *categories)
        for thing in stated:
            if new and thing.obsolete:
                yield f"{thing.name} is obsolete"
            if not all(requirement.met(categories) for requirement in thing.required):
                yield f"{thing.name} needs a category that is missing, or only one of several"
        for category in categories:
            yield from self._beside(category, level, categories, now)
        for tag in (tag for tag_set in self.tag_sets for tag in tag_set.tags):
            count = sum(self._ordered[category][1] is tag for category in categories)
            if count < tag.least or (tag.most is not None and count > tag.most):
                yield f"{count} categories of {tag.name}"

    def _beside(
        self, category: Category, level: Classification, categories: Iterable[Category], now: datetime
    ) -> Iterator[str]:
        name = category.name
        if level.number in category.excluded_classifications:
            yield f"{name} excludes {level.name}"
        if category.required_classifications and level.number not in category.required_classifications:
            yield f"{name} does not go with {level.name}"
        for other in categories:
            if other is not category and any(reference.means(other) for reference in category.excluded):
                yield f"{name} excludes {other.name}"
        if (category.not_before and now < category.not_before) or (category.not_after and now > category.not_after):
            yield f"{name} is not in force"

    def refusals(self, label: ESSSecurityLabel, clearance: Clearance, now: datetime) -> tuple[str, ...]:
        """Why a clearance gives no access to a label; none if it does.

        The clearance needs the classification, every restrictive category, and of each permissive tag with categories
        in the label at least one of them. Raises MalformedMessage for a clearance of another policy.
        """
        cleared = self.covered(clearance)
        if wrong := self.problems(label, now):
            return wrong
        return tuple(self._missing(self.resolve(label), cleared))

    def _missing(self, label: Meaning, cleared: Meaning) -> Iterator[str]:
        (level,) = label.classifications
        if level not in cleared.classifications:
            yield f"not cleared for {level.name}"
        held = set(cleared.categories)
        for category in label.categories:
            if category.kind in _ALL_OF and category not in held:
                yield f"not cleared for {category.name}"
        for tag, members in groupby(label.categories, key=lambda category: self._ordered[category][1]):
            any_of = list(members)
            if tag.kind in _ANY_OF and not held.intersection(any_of):
                yield f"cleared for none of {', '.join(category.name for category in any_of)}"

    def marking_of(self, label: ESSSecurityLabel) -> str:
        """The words for a label, as at the foot of a page. Raises as `resolve`; the privacy mark is not in them."""
        meaning = self.resolve(label)
        (level,) = meaning.classifications
        shown = [level.marking, *(category.marking for category in meaning.categories)]
        named = next((m for m in (self.marking, *shown) if m.replaces_policy), _PLAIN)
        words = [named.phrase or self.name if named.replaces_policy else self.name]
        if not any(m.suppresses_classification for m in shown):
            words.append(_phrase(level.marking, level.name))
        return self._framed([*words, *self._groups(meaning.categories)])

    def marking_of_clearance(self, clearance: Clearance) -> str:
        """The words for a clearance. Raises MalformedMessage for one of another policy."""
        meaning = self.covered(clearance)
        levels = "{" + "|".join(level.name for level in meaning.classifications) + "}"
        return self._framed([levels, *self._groups(meaning.categories)])

    def _framed(self, words: Iterable[str]) -> str:
        body = (self.marking.separator or " ").join(word for word in words if word)
        return f"{self.marking.prefix}{body}{self.marking.suffix}"

    def _groups(self, categories: Iterable[Category]) -> Iterator[str]:
        """The categories of each tag in words."""
        for tag, members in groupby(categories, key=lambda category: self._ordered[category][1]):
            phrases = [phrase for category in members if (phrase := _phrase(category.marking, category.name))]
            if phrases:
                marking = tag.marking
                yield f"{marking.prefix}{(marking.separator or '/').join(phrases)}{marking.suffix}"

    def encode(self, categories: Iterable[Category]) -> tuple[SecurityCategory, ...]:
        """Categories of this policy as they stand in a label."""
        tags: dict[tuple[str, TagKind, bool], set[int]] = {}
        for category in categories:
            key = (category.tag_set, category.kind, self._ordered[category][1].bits)
            tags.setdefault(key, set()).add(category.number)
        written = (Tag(oid, kind, frozenset(numbers), bits=bits) for (oid, kind, bits), numbers in tags.items())
        return write_tags(written, self.syntax)


def _tags(label: ESSSecurityLabel) -> Iterator[Tag]:
    return (tag for category in label.security_categories for tag in read_tags(category))


def _same_kind(category: TagKind, stated: TagKind) -> bool:
    """Whether a category may be what a tag of some kind means: SDN.801 and texts do not say all of it."""
    if stated is TagKind.TEXT:
        return True
    return category is stated or (stated is TagKind.ENUMERATED and category in _ENUMERATED)


def _phrase(marking: Marking, name: str) -> str:
    """What is shown for something of this name; what replaces the policy's name still shows its own."""
    if marking.hidden:
        return ""
    return name if marking.phrase is None or marking.replaces_policy else marking.phrase
