"""Which rules count for a message, whatever the rules."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from domsec.mime.addresses import parse_address
from domsec.mime.fields import split_message
from domsec.policy import wishes
from domsec.policy.configuration import Configuration
from domsec.policy.options import Outbound, RuleOptions
from domsec.policy.rules import Mail, Rule, choose, looked_at, mismatch

_VALUES = {
    "sign": ("never", "if-possible", "required"),
    "encrypt": ("never", "if-possible", "required"),
    "on_refusal": ("pass", "hold", "reject"),
    "unknown_domains": ("pass", "hold", "reject"),
    "on_no_certificate": ("clear", "hold", "reject"),
}
_AMOUNT = {"never": 0, "if-possible": 1, "required": 2, "pass": 0, "clear": 0, "hold": 1, "reject": 1}
_CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "user": st.sampled_from([("alice",), ("carol",)]),
        "subject_tag": st.sampled_from([("[a]",), ("[b]",)]),
        "sender": st.sampled_from([("acme.example",), ("elsewhere.example",)]),
        "min_size": st.sampled_from([1, 100]),
    },
)
_RULE = st.builds(
    lambda conditions, wishes, loosen: RuleOptions(**conditions, **wishes, may_loosen=loosen),
    _CONDITIONS,
    st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in _VALUES.items()}),
    st.booleans(),
)


def wanted(given: list[RuleOptions], general: Outbound, mail: Mail) -> wishes.Outbound:
    compiled = [Rule(options, f"[[rule]] {number}") for number, options in enumerate(given)]
    choice = choose(compiled, "outbound", mail, None)
    looks = looked_at(compiled, "outbound", mail, None)
    assert choice.key == tuple(look.rule.line for look in looks if look.why_not is None)  # what explain tells is so
    loaded = Configuration(path=Path("domsec.toml"), domains=("acme.example",), outbound=general)
    return wishes.wish(loaded, None, domsec=True, choice=choice).wanted


@settings(max_examples=300)
@given(
    st.lists(_RULE, min_size=1, max_size=4),
    st.builds(lambda values: Outbound(**values), st.fixed_dictionaries(
        {"sign": st.sampled_from(_VALUES["sign"]), "on_refusal": st.sampled_from(_VALUES["on_refusal"]),
         "on_no_certificate": st.sampled_from(_VALUES["on_no_certificate"])})),
    st.booleans(),
)  # fmt: skip
def test_what_anybody_can_write_never_makes_less_of_it(
    given: list[RuleOptions], general: Outbound, vouched: bool
) -> None:
    """With a rule in front that fits by a word of the sender, no option asks for less than without that rule."""
    header = split_message(b"From: alice@acme.example\r\nSubject: [a] x\r\n\r\n")[0]
    mail = Mail(
        sender="alice@acme.example",
        originators=(parse_address("alice@acme.example"),),
        header=header,
        size=50,
        users=lambda: frozenset({"alice"}),
        vouched=lambda: vouched,
        has_label=lambda _: False,
    )
    first = given[0]
    written = first.subject_tag or first.min_size or (first.sender and not vouched)
    having, without = (wanted(each, general, dataclasses.replace(mail, told={})) for each in (given, given[1:]))
    for name in _VALUES:
        before, after = getattr(without, name).value, getattr(having, name).value
        if written and not first.may_loosen:
            assert _AMOUNT[after] >= _AMOUNT[before]
        elif mismatch(Rule(first, "first"), mail, None) is None and getattr(first, name) is not None:
            assert after == getattr(first, name)
