"""`[[rule]]`: what is wanted of a message for one recipient, by the first rule whose conditions hold.

    Mail       what conditions look at
    choose     the rule that counts, and those that it may not make less of
    looked_at  all that was looked at on the way, and why it did not fit
    lay        the options that rules name over those of the rest of the configuration

What anybody can write does not make less of it: a rule that fits on the word of a header field, or of a sender whom
nobody vouches for, is laid over what the rules behind it make of the message, and only as far as it asks for more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar

from domsec.errors import MalformedMessage
from domsec.ess.labels import ESSSecurityLabel
from domsec.mime.addresses import MAX_MAILBOXES, Mailbox, ascii_lower, parse_address, parse_mailboxes, within
from domsec.mime.fields import Header
from domsec.mime.subject import decoded, has_tag, subjects
from domsec.policy.evidence import fingerprint
from domsec.policy.kinds import EVERYWHERE, HeaderTest
from domsec.policy.options import RuleOptions
from domsec.services.boundary import LabelRule, Reviewing
from domsec.services.names import printable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Direction = Literal["outbound", "inbound"]
T_co = TypeVar("T_co", covariant=True)
W = TypeVar("W", bound="DataclassInstance")

# how much each value asks for; options that are not here are a matter of taste
MORE: Final[Mapping[str, Mapping[str, int]]] = {
    "sign": {"never": 0, "if-possible": 1, "required": 2},
    "encrypt": {"never": 0, "if-possible": 1, "required": 2},
    "on_refusal": {"pass": 0, "hold": 1, "reject": 1},
    "unknown_domains": {"pass": 0, "hold": 1, "reject": 1},
    "on_no_certificate": {"clear": 0, "hold": 1, "reject": 1},
    "on_violation": {"deliver": 0, "hold": 1, "reject": 1},
    "on_unopenable": {"deliver": 0, "hold": 1, "reject": 1},
    "on_unverified": {"deliver": 0, "hold": 1, "reject": 1},
    "after_decrypt": {"deliver": 0, "user": 1},
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[rule]]` with what it names looked up. `line` is the place that says so, for logs."""

    options: RuleOptions
    line: str
    own: tuple[str, ...] = ()  # our domains, which `*` leaves out
    labels: tuple[ESSSecurityLabel, ...] = ()
    reviews: tuple[Reviewing, ...] = ()

    @property
    def label_rules(self) -> tuple[LabelRule, ...]:
        return (LabelRule(required=True, line=self.line),) if self.options.require_label else ()

    @property
    def stripped(self) -> tuple[str, ...]:
        """The tags that are taken out of the Subject."""
        return (self.options.subject_tag or ()) if self.options.strip_tag else ()


@dataclass(frozen=True)
class Mail:
    """What rules look at in one message. What costs something is found out where a rule asks for it."""

    sender: str  # of the envelope
    originators: tuple[Mailbox, ...]  # of From, where it is well-formed
    header: Header
    size: int
    users: Callable[[], frozenset[str]]  # in lower case
    vouched: Callable[[], bool]  # whether everybody in From is who they say, by other means than their word
    has_label: Callable[[ESSSecurityLabel], bool]
    told: dict[str, str | None] = field(default_factory=dict)  # by the line of a rule: why it fits nobody, or None
    decoded: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by the name of a field

    @functools.cached_property
    def subjects(self) -> tuple[str, ...]:
        return subjects(self.header)

    def values(self, name: str) -> tuple[str, ...]:
        """What the fields of a name say, decoded, without regard to blanks and case."""
        if name not in self.decoded:
            found = (decoded(field.value) for field in self.header.all(name))
            self.decoded[name] = tuple(" ".join(value.split()).casefold() for value in found)
        return self.decoded[name]

    @functools.cached_property
    def senders(self) -> tuple[Mailbox, ...]:
        """Everybody whom From names, however it is written, and the envelope sender: mail programs show somebody also
        where there are two From fields, or one that we would not conclude anything from."""
        found = dict.fromkeys(m for f in self.header.all("from") for m in _named_in(f.value))
        with contextlib.suppress(MalformedMessage):
            found[parse_address(self.sender)] = None
        return tuple(found)


_BETWEEN_ADDRESSES: Final = re.compile(r'[\s<>"(),:;]+')


def _named_in(value: str) -> Iterator[Mailbox]:
    try:
        yield from parse_mailboxes(value)
    except MalformedMessage:
        words = (word for word in _BETWEEN_ADDRESSES.split(decoded(value)) if "@" in word)
        for word in itertools.islice(words, MAX_MAILBOXES):
            with contextlib.suppress(MalformedMessage):
                yield parse_address(word)


# --- conditions -----------------------------------------------------------------------------------------------------


def mismatch(rule: Rule, mail: Mail, recipient: Mailbox | None) -> str | None:
    """The first condition of a rule that does not hold, in words; None where all do.

    A recipient whose address cannot be read is None, and fits no condition about recipients.
    """
    if not _is_for(rule, recipient):
        who = printable(recipient.address) if recipient is not None else "no address"
        return f"recipient is {who}, expected {_words(rule.options.recipient or ())}"
    return _unfit(rule, mail)


def fits(rule: Rule, mail: Mail, recipient: Mailbox | None) -> bool:
    """Whether all conditions of a rule hold."""
    return _is_for(rule, recipient) and _unfit(rule, mail) is None


def _is_for(rule: Rule, recipient: Mailbox | None) -> bool:
    named = rule.options.recipient
    return named is None or (recipient is not None and _is(recipient, named, rule.own))


def _unfit(rule: Rule, mail: Mail) -> str | None:
    """The first condition about the message that does not hold: looked for once for all recipients."""
    if rule.line not in mail.told:
        tests = (test for name, test in _TESTS.items() if getattr(rule.options, name) is not None)
        mail.told[rule.line] = next((why for test in tests if (why := test(rule, mail)) is not None), None)
    return mail.told[rule.line]


def _sender(rule: Rule, mail: Mail) -> str | None:
    named = rule.options.sender or ()
    if any(_is(sender, named) for sender in mail.senders):
        return None
    who = ", ".join(dict.fromkeys(sender.address for sender in mail.senders)) or "nobody"
    return f"sender is {printable(who)}, expected {_words(named)}"


def _user(rule: Rule, mail: Mail) -> str | None:
    users, named = mail.users(), rule.options.user or ()
    if any(ascii_lower(name) in users or fingerprint(name) in users for name in named):
        return None
    return f"user is {printable(', '.join(sorted(users))) if users else 'not known'}, expected {_words(named)}"


def _subject_tag(rule: Rule, mail: Mail) -> str | None:
    tags = rule.options.subject_tag or ()
    return None if has_tag(mail.subjects, tags) else f"Subject without {_words(tags)}"


def _header(rule: Rule, mail: Mail) -> str | None:
    named = rule.options.header or ()
    return None if any(_has(mail, test) for test in named) else f"no field {_words(named)}"


def _has(mail: Mail, test: HeaderTest) -> bool:
    return any(test.text.casefold() in value for value in mail.values(test.name))


def _label(rule: Rule, mail: Mail) -> str | None:
    if any(mail.has_label(pattern) for pattern in rule.labels):
        return None
    return f"no label {_words(rule.options.label or ())}"


def _min_size(rule: Rule, mail: Mail) -> str | None:
    least = rule.options.min_size or 0
    return None if mail.size >= least else f"size is {mail.size}, expected at least {least}"


def _max_size(rule: Rule, mail: Mail) -> str | None:
    most = rule.options.max_size or 0
    return None if mail.size <= most else f"size is {mail.size}, expected at most {most}"


_TESTS: Final[Mapping[str, Callable[[Rule, Mail], str | None]]] = {  # in the order in which they are looked at
    "sender": _sender,
    "subject_tag": _subject_tag,
    "header": _header,
    "min_size": _min_size,
    "max_size": _max_size,
    "user": _user,
    "label": _label,
}
CONDITIONS: Final = frozenset({"recipient", *_TESTS})


def _is(mailbox: Mailbox, named: Iterable[Mailbox | str], own: Sequence[str] = ()) -> bool:
    return any(_names(one, mailbox, own) for one in named)


def _names(one: Mailbox | str, mailbox: Mailbox, own: Sequence[str]) -> bool:
    if isinstance(one, Mailbox):
        return one.same_as(mailbox)
    if one == EVERYWHERE:
        return not within(mailbox.domain, own)
    return within(mailbox.domain, (one,))


def _words(named: Iterable[object]) -> str:
    return " or ".join(one.address if isinstance(one, Mailbox) else str(one) for one in named)


def _firm(rule: Rule, mail: Mail) -> bool:
    """Whether a rule that fits does so on what nobody can just write, or may count all the same."""
    given = rule.options
    if given.may_loosen:
        return True
    if any(getattr(given, name) is not None for name in WRITTEN):
        return False
    return given.sender is None or (all(_is(m, given.sender) for m in mail.originators) and mail.vouched())


WRITTEN: Final = ("subject_tag", "header", "label", "min_size", "max_size")


# --- choosing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """The rules that fit one recipient, in their order. The first one counts. Where others follow it, what anybody can
    write made it fit, and no less is done than they say; that holds for each of them, but for the last if it is
    `firm`."""

    rules: tuple[Rule, ...] = ()
    firm: bool = True

    @property
    def rule(self) -> Rule | None:
        return self.rules[0] if self.rules else None

    def lay(self, settings: W) -> W:
        """Settings of the rest of the configuration with what the rules name in place of them."""
        for number, rule in reversed(list(enumerate(self.rules, 1))):
            settings = _laid(settings, rule, firm=self.firm and number == len(self.rules))
        return settings

    @property
    def reviews(self) -> tuple[Reviewing, ...]:
        return tuple(dict.fromkeys(reviewing for rule in self.rules for reviewing in rule.reviews))

    @property
    def labels(self) -> tuple[LabelRule, ...]:
        return tuple(one for rule in self.rules for one in rule.label_rules)

    @property
    def stripped_tags(self) -> tuple[str, ...]:
        return tuple(tag for rule in self.rules for tag in rule.stripped)

    @property
    def key(self) -> tuple[str, ...]:
        """What is the same for all recipients for whom the same rules count."""
        return tuple(rule.line for rule in self.rules)


NO_RULE: Final = Choice()


@dataclass(frozen=True, slots=True)
class Look:
    """A rule that was looked at, and why it did not fit; None if it did. `firm`: not by what anybody can write."""

    rule: Rule
    why_not: str | None
    firm: bool = True


def looked_at(rules: Iterable[Rule], direction: Direction, mail: Mail, recipient: Mailbox | None) -> Iterator[Look]:
    """The rules for a direction in their order, up to the first that fits and rests on nothing that anybody can
    write."""
    for rule in rules:
        if rule.options.direction != direction:
            continue
        why = mismatch(rule, mail, recipient)
        look = Look(rule, why, firm=why is not None or _firm(rule, mail))
        yield look
        if why is None and look.firm:
            return


def choose(rules: Iterable[Rule], direction: Direction, mail: Mail, recipient: Mailbox | None) -> Choice:
    """The rules that count for one recipient."""
    found: list[Rule] = []
    for rule in rules:
        if rule.options.direction == direction and fits(rule, mail, recipient):
            found.append(rule)
            if _firm(rule, mail):
                return Choice(tuple(found))
    return Choice(tuple(found), firm=False) if found else NO_RULE


# --- what it changes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting(Generic[T_co]):
    """The value of an option with the place that says so: a rule, or the path of an option in the configuration."""

    value: T_co
    place: Rule | tuple[str, ...] | str = field(compare=False)


def _laid(settings: W, rule: Rule, *, firm: bool) -> W:
    changed = {}
    for each in dataclasses.fields(settings):
        before: Setting[object] = getattr(settings, each.name)
        value = getattr(rule.options, each.name)
        if value is None:
            continue
        more = MORE.get(each.name, {})
        if firm or more.get(value, 0) >= more.get(str(before.value), 0):
            changed[each.name] = Setting(value, rule)
    return dataclasses.replace(settings, **changed)


def kept(settings: DataclassInstance, rule: Rule) -> Iterator[tuple[str, Setting[object]]]:
    """What a rule names and did not get, since it would have made less of it."""
    for each in dataclasses.fields(settings):
        setting: Setting[object] = getattr(settings, each.name)
        if getattr(rule.options, each.name) is not None and setting.place is not rule:
            yield each.name, setting
