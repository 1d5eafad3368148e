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

from domsec.errors import ConfigurationError, MalformedMessage
from domsec.ess.labels import ESSSecurityLabel
from domsec.mime.addresses import MAX_MAILBOXES, Mailbox, ascii_lower, parse_address, parse_mailboxes
from domsec.mime.fields import Header
from domsec.mime.subject import decoded, has_tag, subjects
from domsec.policy.boundaries import Boundaries
from domsec.policy.configuration import Configuration, Problem
from domsec.policy.evidence import fingerprint
from domsec.policy.kinds import EVERYWHERE, HeaderTest
from domsec.policy.options import PeerOptions, RuleOptions, options
from domsec.services.boundary import LabelRule, Reviewing
from domsec.services.label_text import parse_label
from domsec.services.labelling import Labelling
from domsec.services.names import printable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Direction = Literal["outbound", "inbound"]
T_co = TypeVar("T_co", covariant=True)
W = TypeVar("W", bound="DataclassInstance")

CONDITIONS: Final = ("sender", "recipient", "user", "subject_tag", "header", "label", "min_size", "max_size")
BOTH: Final = frozenset({"name", "direction", "may_loosen", "on_no_certificate", *CONDITIONS}) - {"user"}
INBOUND: Final = frozenset({"on_violation", "on_unopenable", "on_unverified", "strip", "after_decrypt"})

# how much each value asks for; options that are not here are a matter of taste
_MORE: Final[Mapping[str, Mapping[str, int]]] = {
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


_TESTS: Final[Mapping[str, Callable[[Rule, Mail], str | None]]] = {
    "sender": _sender,
    "subject_tag": _subject_tag,
    "header": _header,
    "min_size": _min_size,
    "max_size": _max_size,
    "user": _user,
    "label": _label,
}


def _is(mailbox: Mailbox, named: Iterable[Mailbox | str], own: Sequence[str] = ()) -> bool:
    return any(_names(one, mailbox, own) for one in named)


def _names(one: Mailbox | str, mailbox: Mailbox, own: Sequence[str]) -> bool:
    if isinstance(one, Mailbox):
        return one.same_as(mailbox)
    if one == EVERYWHERE:
        return not any(_within(mailbox.domain, domain) for domain in own)
    return _within(mailbox.domain, one)


def _within(domain: str, above: str) -> bool:
    return domain == above or domain.endswith(f".{above}")


def _words(named: Iterable[object]) -> str:
    return " or ".join(one.address if isinstance(one, Mailbox) else str(one) for one in named)


def _firm(rule: Rule, mail: Mail) -> bool:
    """Whether a rule that fits does so on what nobody can just write, or may count all the same."""
    given = rule.options
    if given.may_loosen:
        return True
    if any(getattr(given, name) is not None for name in _WRITTEN):
        return False
    return given.sender is None or (all(_is(m, given.sender) for m in mail.originators) and mail.vouched())


_WRITTEN: Final = ("subject_tag", "header", "label", "min_size", "max_size")


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
        more = _MORE.get(each.name, {})
        if firm or more.get(value, 0) >= more.get(str(before.value), 0):
            changed[each.name] = Setting(value, rule)
    return dataclasses.replace(settings, **changed)


def kept(settings: DataclassInstance, rule: Rule) -> Iterator[tuple[str, Setting[object]]]:
    """What a rule names and did not get, since it would have made less of it."""
    for each in dataclasses.fields(settings):
        setting: Setting[object] = getattr(settings, each.name)
        if getattr(rule.options, each.name) is not None and setting.place is not rule:
            yield each.name, setting


# --- reading --------------------------------------------------------------------------------------------------------


def rules(configuration: Configuration, labelling: Labelling, boundaries: Boundaries) -> tuple[Rule, ...]:
    """The rules of a configuration. Raises ConfigurationError with every problem that is an error."""
    made, problems = _made(configuration, labelling, boundaries)
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    if errors:
        raise ConfigurationError(*errors)
    return made


def rule_problems(configuration: Configuration, labelling: Labelling, boundaries: Boundaries) -> list[Problem]:
    """What is wrong with the rules, and what can be seen to have no effect."""
    return _made(configuration, labelling, boundaries)[1]


def _made(
    configuration: Configuration, labelling: Labelling, boundaries: Boundaries
) -> tuple[tuple[Rule, ...], list[Problem]]:
    problems: list[Problem] = []
    made = tuple(
        _rule(given, index, configuration, labelling, boundaries, problems)
        for index, given in enumerate(configuration.rules)
    )
    for index, given in enumerate(configuration.rules):
        problems += (
            configuration.problem(text, "rule", index, *option, severity="error" if error else "warning")
            for text, option, error in (
                *_contradictions(given, configuration),
                *_pointless(given),
                *_disagreements(given, configuration),
            )
        )
        covering = next((number for number in range(index) if _covers(configuration.rules[number], given)), None)
        if covering is not None:
            text = f"never matches: whatever fits it fits {made[covering].line} before it"
            problems.append(configuration.problem(text, "rule", index, severity="warning"))
    return made, problems


def _rule(
    given: RuleOptions,
    index: int,
    configuration: Configuration,
    labelling: Labelling,
    boundaries: Boundaries,
    problems: list[Problem],
) -> Rule:
    labels = []
    for position, text in enumerate(given.label or ()):
        try:
            labels.append(parse_label(text, labelling.policies.values()))
        except ConfigurationError as error:
            problems += (configuration.problem(found, "rule", index, "label", position) for found in error.problems)
    reviews = []
    for position, name in enumerate(given.review or ()):
        if (reviewing := boundaries.named.get(name)) is None:
            known = ", ".join(boundaries.named) or "none"
            text = f'no [[review]] with the name "{name}", known are {known}'
            problems.append(configuration.problem(text, "rule", index, "review", position))
        else:
            reviews.append(reviewing)
    called = f' "{given.name}"' if given.name else ""
    line = f"{configuration.path.name}:{configuration.lines.get(('rule', index), 0)} [[rule]] {index + 1}{called}"
    return Rule(given, line, configuration.domains, tuple(labels), tuple(reviews))


_Remark = tuple[str, tuple[str, ...], bool]  # what is wrong, at which option, whether it is an error


def _named(given: RuleOptions) -> frozenset[str]:
    """The options that somebody wrote, as far as that is not what they are anyway."""
    return frozenset(o.name for o in options(RuleOptions) if getattr(given, o.name) not in (None, False))


def _contradictions(given: RuleOptions, configuration: Configuration) -> Iterator[_Remark]:
    """What no mail can fit, and what cannot be wanted together."""
    named = _named(given)
    if given.direction == "inbound":
        for name in sorted(named - BOTH - INBOUND):
            yield f'{name} means nothing for direction "inbound"', (name,), True
    else:
        for name in sorted(named & INBOUND):
            yield f'{name} means nothing for direction "outbound", expected direction = "inbound"', (name,), True
    if given.min_size is not None and given.max_size is not None and given.min_size > given.max_size:
        yield f"never matches: min_size is above max_size {given.max_size}", ("min_size",), True
    if given.min_size is not None and given.min_size > configuration.limits.size:
        text = f"never matches: no message is larger than limits.size, which is {configuration.limits.size}"
        yield text, ("min_size",), True
    if given.strip_tag and given.subject_tag is None:
        yield "strip_tag without subject_tag, expected both", ("strip_tag",), True
    if given.encrypt == "never" and given.target is not None:
        yield f'encrypt is "never" with target = "{given.target}", expected one of them', ("target",), True
    if given.encrypt == "never" and given.direction == "outbound" and given.on_no_certificate is not None:
        yield 'encrypt is "never" with on_no_certificate, expected one of them', ("on_no_certificate",), True
    if given.encrypt == "required" and given.on_no_certificate == "clear":
        yield 'encrypt is "required" with on_no_certificate = "clear", expected one of them', ("encrypt",), True
    signs = given.sign in ("required", "if-possible") and configuration.listen.outbound is not None
    if signs and configuration.keys.signing is None:
        yield f'sign is "{given.sign}" without a key, expected [keys.signing]', ("sign",), True


def _pointless(given: RuleOptions) -> Iterator[_Remark]:
    """What has no effect, whatever mail there is."""
    named = _named(given)
    if not any(name in named for name in CONDITIONS) and named <= {"name", "direction"}:
        yield "has neither a condition nor anything that it wants", (), False
    if any(getattr(given, name) is not None for name in _WRITTEN) and not given.may_loosen:
        for name in sorted(named & _MORE.keys()):
            value = getattr(given, name)
            if not _MORE[name][value]:
                text = f'{name} = "{value}" has no effect, since anybody can write what this rule looks at'
                yield f"{text}; may_loosen = true lets it count", (name,), False


def _disagreements(given: RuleOptions, configuration: Configuration) -> Iterator[_Remark]:
    """Where a rule says the opposite of what holds for all, or of what was agreed with a domain that it names."""
    if given.direction != "outbound":
        return
    if given.encrypt in ("never", "if-possible") and configuration.outbound.require_encryption:
        text = f'encrypt is "{given.encrypt}" although outbound.require_encryption is set: such mail may leave in clear'
        yield text, ("encrypt",), False
    for peer in configuration.peers:
        if not any(_concerns(one, peer) for one in given.recipient or ()):
            continue
        if given.encrypt == "never" and peer.encrypt not in (None, "no"):
            text = (
                f'encrypt is "never" although [[peer]] {peer.domain} has encrypt = "{peer.encrypt}": such mail leaves'
            )
            yield f"{text} in clear", ("encrypt",), False
        if given.encrypt in ("required", "if-possible") and peer.encrypt == "no":
            text = f'encrypt is "{given.encrypt}" although [[peer]] {peer.domain} has encrypt = "no"'
            yield f"{text}, which this rule overrides", ("encrypt",), False
        if given.sign == "required" and not peer.domsec and not peer.sign:
            text = f'sign is "required" although [[peer]] {peer.domain} has domsec = false: such mail is not signed'
            yield f"{text} unless the peer has sign = true", ("sign",), False


def _concerns(one: Mailbox | str, peer: PeerOptions) -> bool:
    """Whether a recipient that a rule names has to do with a peer."""
    domain = _domain(one)
    return _within(peer.domain, domain) or (peer.subdomains and _within(domain, peer.domain))


def _domain(one: Mailbox | str) -> str:
    return one.domain if isinstance(one, Mailbox) else one


def _covers(earlier: RuleOptions, later: RuleOptions) -> bool:
    """Whether the earlier rule takes all that fits the later one, as far as that is seen by comparing condition by
    condition. One that goes by what anybody can write takes nothing: those behind it count beside it."""
    if not earlier.may_loosen and any(getattr(earlier, name) is not None for name in ("sender", *_WRITTEN)):
        return False
    return earlier.direction == later.direction and all(
        _condition_covers(name, getattr(earlier, name), getattr(later, name)) for name in CONDITIONS
    )


def _condition_covers(name: str, earlier: object, later: object) -> bool:
    if earlier is None:
        return True
    if later is None:
        return False
    if isinstance(earlier, int) and isinstance(later, int):
        return earlier <= later if name == "min_size" else earlier >= later
    assert isinstance(earlier, tuple)
    assert isinstance(later, tuple)
    return all(any(_item_covers(name, one, other) for one in earlier) for other in later)


def _item_covers(name: str, one: object, other: object) -> bool:
    if isinstance(one, HeaderTest) and isinstance(other, HeaderTest):
        return one.name == other.name and one.text.casefold() in other.text.casefold()
    if name == "subject_tag":
        return str(one).casefold() in str(other).casefold()
    if name == "user":
        return ascii_lower(str(one)) == ascii_lower(str(other))
    if name in ("sender", "recipient") and isinstance(one, str) and EVERYWHERE not in (one, other):
        return _within(other.domain if isinstance(other, Mailbox) else str(other), one)
    if isinstance(one, Mailbox) and isinstance(other, Mailbox):
        return one.same_as(other)
    return one == other
