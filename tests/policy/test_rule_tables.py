"""`[[rule]]` tables: what `config check` says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from domsec.errors import ConfigurationError
from domsec.policy.boundaries import boundaries
from domsec.policy.configuration import Configuration
from domsec.policy.rule_tables import rule_problems, rules
from domsec.policy.rules import Rule
from domsec.services.labelling import NO_LABELLING

HEAD = """\
domains = ["acme.example"]
[keys.signing]
credential = "signing.pem"
[[peer]]
domain = "beta.example"
encrypt = "dca"
[[peer]]
domain = "gamma.example"
encrypt = "no"
"""


def configuration(folder: Path, text: str, head: str = HEAD) -> Configuration:
    (folder / "signing.pem").touch()
    (folder / "domsec.toml").write_text(head + text)
    return Configuration.load(folder / "domsec.toml")


def made(folder: Path, text: str) -> tuple[Rule, ...]:
    given = configuration(folder, text)
    return rules(given, NO_LABELLING, boundaries(given, NO_LABELLING))


def told(folder: Path, text: str, head: str = HEAD) -> list[tuple[str, int | None, str]]:
    given = configuration(folder, text, head)
    found = rule_problems(given, NO_LABELLING, boundaries(given, NO_LABELLING))
    return [(problem.severity, problem.line, problem.text) for problem in found]


def test_a_rule_is_called_by_its_line_its_number_and_its_name(tmp_path: Path) -> None:
    found = made(
        tmp_path, '[[rule]]\nencrypt = "required"\n\n[[rule]]\nname = "secure tag"\nsubject_tag = "[secure]"\n'
    )
    assert [rule.line for rule in found] == ["domsec.toml:10 [[rule]] 1", 'domsec.toml:13 [[rule]] 2 "secure tag"']


@pytest.mark.parametrize(
    ("rule", "line", "text"),
    [
        pytest.param(
            'direction = "inbound"\nuser = "alice"',
            12,
            'user means nothing for direction "inbound"',
            id="nobody is logged in outside",
        ),
        pytest.param(
            'direction = "inbound"\nencrypt = "required"',
            12,
            'encrypt means nothing for direction "inbound"',
            id="what leaves, of what comes",
        ),
        pytest.param(
            'on_violation = "hold"',
            11,
            'on_violation means nothing for direction "outbound", expected direction = "inbound"',
            id="what comes, of what leaves",
        ),
        pytest.param("min_size = 2\nmax_size = 1", 11, "never matches: min_size is above max_size 1", id="sizes"),
        pytest.param(
            "min_size = 99999999999",
            11,
            "never matches: no message is larger than limits.size, which is 67108864",
            id="larger than anything",
        ),
        pytest.param("strip_tag = true", 11, "strip_tag without subject_tag, expected both", id="no tag"),
        pytest.param(
            'encrypt = "never"\ntarget = "dca"',
            12,
            'encrypt is "never" with target = "dca", expected one of them',
            id="encrypts and forbids it",
        ),
        pytest.param(
            'encrypt = "never"\non_no_certificate = "hold"',
            12,
            'encrypt is "never" with on_no_certificate, expected one of them',
            id="wants certificates and forbids encryption",
        ),
        pytest.param(
            'encrypt = "required"\non_no_certificate = "clear"',
            11,
            'encrypt is "required" with on_no_certificate = "clear", expected one of them',
            id="required and clear",
        ),
        pytest.param(
            'review = "legal"', 11, 'no [[review]] with the name "legal", known are none', id="an unknown review"
        ),
        pytest.param('label = "Food:Luxury"', 11, "", id="a label of no policy"),
    ],
)
def test_what_cannot_be_meant_is_an_error(tmp_path: Path, rule: str, line: int, text: str) -> None:
    ((severity, at, said),) = told(tmp_path, f"[[rule]]\n{rule}\n")
    assert (severity, at) == ("error", line)
    assert said == text if text else "Food" in said
    with pytest.raises(ConfigurationError) as caught:
        made(tmp_path, f"[[rule]]\n{rule}\n")
    assert len(caught.value.problems) == 1


def test_signing_needs_a_key(tmp_path: Path) -> None:
    """Of a gateway; whoever only reviews has its rules and none of its keys."""
    rule = '[[rule]]\nsign = "required"\n'
    head = HEAD.replace('[keys.signing]\ncredential = "signing.pem"\n', "")
    assert told(tmp_path, rule, head) == []
    places = '[outbound]\nsign = "never"\n[listen]\noutbound = "smtp:127.0.0.1:1"\n'
    places += '[next_hop]\noutbound = "smtp:127.0.0.1:2"\n'
    ((severity, line, text),) = told(tmp_path, rule, head + places)
    assert (severity, line, text) == ("error", 15, 'sign is "required" without a key, expected [keys.signing]')


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        pytest.param("", "has neither a condition nor anything that it wants", id="empty"),
        pytest.param(
            'subject_tag = "[x]"\nencrypt = "never"',
            'encrypt = "never" has no effect, since anybody can write what this rule looks at; '
            "may_loosen = true lets it count",
            id="less because of a tag",
        ),
        pytest.param(
            'recipient = "sub.beta.example"\nencrypt = "never"',
            'encrypt is "never" although [[peer]] beta.example has encrypt = "dca": such mail leaves in clear',
            id="not what was agreed",
        ),
        pytest.param(
            'recipient = "carol@gamma.example"\nencrypt = "required"',
            'encrypt is "required" although [[peer]] gamma.example has encrypt = "no", which this rule overrides',
            id="more than was agreed",
        ),
    ],
)
def test_what_has_no_effect_or_an_odd_one_is_a_warning(tmp_path: Path, rule: str, text: str) -> None:
    assert told(tmp_path, f"[[rule]]\n{rule}\n")[0][::2] == ("warning", text)
    made(tmp_path, f"[[rule]]\n{rule}\n")


def test_a_signature_that_nobody_there_reads(tmp_path: Path) -> None:
    rule = '[[rule]]\nrecipient = "people.example"\nsign = "required"\n'
    peer = '[[peer]]\ndomain = "people.example"\ndomsec = false\n'
    ((severity, line, text),) = told(tmp_path, rule, HEAD + peer)
    assert (severity, line) == ("warning", 15)
    assert text.startswith('sign is "required" although [[peer]] people.example has domsec = false')
    assert told(tmp_path, rule, f"{HEAD}{peer}sign = true\n") == []


def test_nothing_in_clear_and_a_rule_that_does_not_encrypt(tmp_path: Path) -> None:
    head = HEAD + "[outbound]\nrequire_encryption = true\n"
    for wish in ("never", "if-possible"):
        ((severity, _, text),) = told(tmp_path, f'[[rule]]\nuser = "x"\nencrypt = "{wish}"\n', head)
        assert severity == "warning"
        assert text.startswith(f'encrypt is "{wish}" although outbound.require_encryption is set')
    assert told(tmp_path, '[[rule]]\nuser = "x"\nencrypt = "required"\n', head) == []


@pytest.mark.parametrize(
    ("earlier", "later", "covered"),
    [
        ("", 'user = "x"', True),
        ('user = "x"', "", False),
        ('recipient = "beta.example"', 'recipient = "bob@sub.beta.example"', True),
        ('recipient = "beta.example"', 'recipient = ["beta.example", "delta.example"]', False),
        ('recipient = ["delta.example", "beta.example"]', 'recipient = "beta.example"\nuser = "x"', True),
        ('recipient = "bob@beta.example"', 'recipient = "beta.example"', False),
        ('recipient = "BOB@beta.example"', 'recipient = "bob@beta.example"', True),
        ('recipient = "*"', 'recipient = "*"', True),
        ('recipient = "*"', 'recipient = "beta.example"', False),  # seen only by who knows our domains
        ('sender = "acme.example"', 'recipient = "acme.example"', False),
        ('subject_tag = "secure"\nmay_loosen = true', 'subject_tag = "[SECURE]"', True),
        ('subject_tag = "secure"', 'subject_tag = "[SECURE]"', False),  # it counts beside the earlier one
        ('subject_tag = "[secure]"\nmay_loosen = true', 'subject_tag = "secure"', False),
        ('sender = "acme.example"', 'sender = "alice@acme.example"', False),
        ('header = "X-A"\nmay_loosen = true', 'header = "x-a: yes"', True),
        ('header = "X-A: yes"\nmay_loosen = true', 'header = "X-A"', False),
        ("min_size = 10\nmay_loosen = true", "min_size = 20", True),
        ("min_size = 20\nmay_loosen = true", "min_size = 10", False),
        ("max_size = 20\nmay_loosen = true", "max_size = 10", True),
        ("max_size = 10\nmay_loosen = true", "max_size = 20", False),
        ('user = "A"', 'user = "a"\nsubject_tag = "x"', True),
        ('direction = "inbound"', 'recipient = "beta.example"', False),
    ],
)
def test_a_rule_that_never_matches_is_told(tmp_path: Path, earlier: str, later: str, covered: bool) -> None:
    wish = 'on_no_certificate = "hold"'
    found = told(tmp_path, f"[[rule]]\n{earlier}\n{wish}\n[[rule]]\n{later}\n{wish}\n")
    never = [text for _, _, text in found if text.startswith("never matches")]
    assert never == (["never matches: whatever fits it fits domsec.toml:10 [[rule]] 1 before it"] if covered else [])


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("recipient = []", "rule[0].recipient is an empty list, expected a mail address"),
        ('recipient = "bob@"', "rule[0].recipient is"),
        ('header = "no name: x"', 'rule[0].header is "no name", expected the name of a header field'),
        ('encrypt = "always"', 'expected one of "required", "if-possible", "never"'),
        ('tag = "[x]"', 'did you mean "target"?'),
        ('subject = "[x]"', 'did you mean "subject_tag"?'),
    ],
)
def test_what_no_rule_can_say_is_told_with_its_line(tmp_path: Path, rule: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configuration(tmp_path, f"[[rule]]\n{rule}\n")
    (problem,) = caught.value.problems
    assert "domsec.toml:11:" in problem
    assert text in problem


def test_a_review_has_a_destination_or_a_name(tmp_path: Path) -> None:
    pins = f'reviewers = ["{"ab" * 32}"]\n'
    configuration(tmp_path, f'[[review]]\nname = "legal"\n{pins}')
    with pytest.raises(ConfigurationError, match=r"review\[0\].to is empty"):
        configuration(tmp_path, f"[[review]]\n{pins}")
    with pytest.raises(ConfigurationError, match="a second time"):
        configuration(tmp_path, f'[[review]]\nname = "legal"\n{pins}[[review]]\nname = "legal"\n{pins}')
