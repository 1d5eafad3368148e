"""What `[[review]]` and `[[boundary]]` ask of mail on its way to each destination."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

import food
from domsec.errors import ConfigurationError
from domsec.ess.labels import ESSSecurityLabel
from domsec.policy.boundaries import Boundaries, boundaries
from domsec.policy.configuration import Configuration
from domsec.policy.labels import labelling

PIN = "ab" * 32
CONFIGURATION = f"""\
domains = ["acme.example"]
[labels]
policies = ["food.xml"]
[[review]]
to = ["*"]
reviewers = ["{PIN}"]
[[review]]
to = ["beta.example", "gamma.example"]
min_reviews = 2
domains = ["acme.example"]
issuer = "CN=acme CA"
max_age = "36h"
[[boundary]]
to = ["beta.example"]
require_label = true
clearances = ["cleared.xml"]
allowed = ["Food:Luxury", "1.2.3:1"]
forbidden = ["Food::"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(food.FOLDER / "food-policy.xml", tmp_path / "food.xml")
    shutil.copy(food.EVERYTHING, tmp_path / "cleared.xml")
    return tmp_path


def load(folder: Path, text: str = CONFIGURATION) -> Boundaries:
    (folder / "domsec.toml").write_text(text)
    configuration = Configuration.load(folder / "domsec.toml")
    return boundaries(configuration, labelling(configuration.labels))


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


@pytest.mark.requirement("R3183-3.4-02", "R3183-2.2-01")
@pytest.mark.parametrize(
    ("domain", "reviews", "labels"),
    [
        ("beta.example", [1, 2], 1),
        ("sub.beta.example", [1, 2], 1),
        ("gamma.example", [1, 2], 0),
        ("notbeta.example", [1], 0),
        ("elsewhere.example", [1], 0),
        ("acme.example", [], 0),
        ("sub.acme.example", [], 0),
        ("notacme.example", [1], 0),
    ],
)
def test_every_entry_for_a_destination_holds(folder: Path, domain: str, reviews: list[int], labels: int) -> None:
    found = load(folder).of(domain)
    assert ([review.least for review in found.reviews], len(found.labels)) == (reviews, labels)
    assert bool(found) is bool(reviews or labels)


def test_our_own_domain_can_be_named(folder: Path) -> None:
    found = load(folder, CONFIGURATION.replace('to = ["*"]', 'to = ["acme.example"]'))
    assert len(found.of("acme.example").reviews) == 1
    assert found.of("elsewhere.example").reviews == ()


def test_what_an_entry_says(folder: Path) -> None:
    first, second = load(folder).of("beta.example").reviews
    assert (first.reviewers.pins, first.max_age, first.line) == ({PIN}, None, "domsec.toml:4 [[review]]")
    assert (second.reviewers.domains, second.max_age) == ({"acme.example"}, timedelta(hours=36))
    assert second.reviewers.issuer is not None
    (rule,) = load(folder).of("beta.example").labels
    assert (rule.required, rule.clearances) == (True, {food.OID: food.clearance()})
    assert rule.allowed == (food.label("Food:Luxury"), ESSSecurityLabel("1.2.3", 1))
    assert rule.forbidden == (food.label("Food::"),)


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        (f'reviewers = ["{PIN}"]\n', "", "domsec.toml:4: review[0] names nobody, expected reviewers, or domains and"),
        ('issuer = "CN=acme CA"\n', "", "domsec.toml:7: review[1] with one of domains and issuer, expected both"),
        ('to = ["*"]', "to = []", 'domsec.toml:5: review[0].to is empty, expected domains or "*"'),
        (
            'to = ["*"]',
            'to = ["**"]',
            'domsec.toml:5: review[0].to[0] is "**": domain with a malformed label, expected',
        ),
        (
            'max_age = "36h"',
            'max_age = "36"',
            'domsec.toml:12: review[1].max_age is "36", expected a time such as "30m"',
        ),
        ('max_age = "36h"', 'max_age = "0d"', "review[1].max_age"),
        ("min_reviews = 2", "min_reviews = 17", "review[1].min_reviews is 17"),
        (
            '"1.2.3:1"',
            '"1.2.3:x"',
            "domsec.toml:17: label '1.2.3:x': classification 'x' is none of label policy '1.2.3'",
        ),
        ('forbidden = ["Food::"]', 'forbidden = ["Drink:1"]', "domsec.toml:18: label policy 'Drink' is not known"),
        ('"cleared.xml"', '"food.xml"', "domsec.toml:16: food.xml: "),
        ('policies = ["food.xml"]', "policies = []", "domsec.toml:16: a clearance for policy 1.2.826"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder: Path, right: str, wrong: str, complaint: str) -> None:
    assert right in CONFIGURATION
    assert complaint in "\n".join(problems(folder, CONFIGURATION.replace(right, wrong)))


def test_an_entry_that_asks_for_nothing_is_a_mistake(folder: Path) -> None:
    text = 'domains = ["acme.example"]\n[[boundary]]\nto = ["*"]\n'
    assert problems(folder, text) == ["domsec.toml:2: boundary[0] asks for nothing, expected an option beside to"]


def test_what_the_page_shows_is_a_configuration(folder: Path) -> None:
    """docs/boundary.md, with the policy of food under the names it uses."""
    page = (Path(__file__).parents[2] / "docs" / "boundary.md").read_text()
    (block,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    policy = (folder / "food.xml").read_text().replace('"Food"', '"Acme"').replace('"Luxury"', '"Restricted"')
    (folder / "acme-policy.xml").write_text(policy)
    (folder / "cleared.xml").rename(folder / "beta-clearance.xml")
    found = load(folder, 'domains = ["acme.example"]\n' + block)
    assert [len(found.of(domain).reviews) for domain in ("beta.example", "elsewhere.example", "acme.example")] == [
        2,
        1,
        0,
    ]
    assert [len(found.of(domain).labels) for domain in ("beta.example", "elsewhere.example", "acme.example")] == [
        2,
        1,
        0,
    ]
