"""`[[rule]]` tables of a configuration, with what they name looked up, and what is wrong with them.

An error is what cannot be meant; a warning what has no effect, or another one than somebody may have thought.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from domsec.errors import ConfigurationError
from domsec.mime.addresses import Mailbox, ascii_lower, within
from domsec.policy.boundaries import Boundaries
from domsec.policy.configuration import Configuration, Problem
from domsec.policy.kinds import EVERYWHERE, HeaderTest
from domsec.policy.options import PeerOptions, RuleOptions, options
from domsec.policy.rules import CONDITIONS, MORE, WRITTEN, Rule
from domsec.services.label_text import parse_label
from domsec.services.labelling import Labelling

_BOTH: Final = frozenset({"name", "direction", "may_loosen", "on_no_certificate", *CONDITIONS}) - {"user"}
_INBOUND: Final = frozenset({"on_violation", "on_unopenable", "on_unverified", "strip", "after_decrypt"})


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
        for name in sorted(named - _BOTH - _INBOUND):
            yield f'{name} means nothing for direction "inbound"', (name,), True
    else:
        for name in sorted(named & _INBOUND):
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
    if any(getattr(given, name) is not None for name in WRITTEN) and not given.may_loosen:
        for name in sorted(named & MORE.keys()):
            value = getattr(given, name)
            if not MORE[name][value]:
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
    return within(peer.domain, (domain,)) or (peer.subdomains and within(domain, (peer.domain,)))


def _domain(one: Mailbox | str) -> str:
    return one.domain if isinstance(one, Mailbox) else one


def _covers(earlier: RuleOptions, later: RuleOptions) -> bool:
    """Whether the earlier rule takes all that fits the later one, as far as that is seen by comparing condition by
    condition. One that goes by what anybody can write takes nothing: those behind it count beside it."""
    if not earlier.may_loosen and any(getattr(earlier, name) is not None for name in ("sender", *WRITTEN)):
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
        return within(other.domain if isinstance(other, Mailbox) else str(other), (one,))
    if isinstance(one, Mailbox) and isinstance(other, Mailbox):
        return one.same_as(other)
    return one == other
