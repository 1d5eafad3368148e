"""Security policies, clearances and translators that a configuration names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import food
from domsec.errors import ConfigurationError
from domsec.policy.configuration import Configuration
from domsec.policy.labels import labelling
from domsec.services.xml_tree import MAX_SIZE

PIN = "ab" * 32
CONFIGURATION = f"""\
domains = ["acme.example"]
[labels]
policies = ["food.xml"]
clearances = ["cleared.xml"]
[[labels.translator]]
signers = ["{PIN}"]
into = ["{food.OID}"]
[[labels.translator]]
domains = ["beta.example"]
issuer = "CN=beta CA"
out_of = ["1.2.3"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(food.FOLDER / "food-policy.xml", tmp_path / "food.xml")
    shutil.copy(food.EVERYTHING, tmp_path / "cleared.xml")
    return tmp_path


def load(folder: Path, text: str = CONFIGURATION) -> Configuration:
    (folder / "domsec.toml").write_text(text)
    return Configuration.load(folder / "domsec.toml")


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        labelling(load(folder, text).labels)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_what_a_configuration_says_of_labels(folder: Path) -> None:
    rules = labelling(load(folder).labels)
    assert rules.policies == {food.OID: food.policy()}
    assert rules.clearances == {food.OID: food.clearance()}
    first, second = rules.translators
    assert (first.who.pins, first.into, first.out_of) == ({PIN}, {food.OID}, set())
    assert (second.who.domains, second.into, second.out_of) == ({"beta.example"}, set(), {"1.2.3"})
    assert second.who.issuer is not None


def test_without_any_nothing_is_judged(folder: Path) -> None:
    rules = labelling(load(folder, 'domains = ["acme.example"]\n').labels)
    assert (rules.policies, rules.translators, rules.clearances) == ({}, (), {})


def test_every_file_that_is_wrong_is_named(folder: Path) -> None:
    (folder / "broken.xml").write_text("<SPIF>")
    (folder / "large.xml").write_bytes(b"<SPIF>" + b" " * MAX_SIZE)
    (folder / "other.xml").write_text("<clearance/>")
    text = CONFIGURATION.replace('"food.xml"', '"food.xml", "broken.xml", "food.xml", "large.xml"')
    found = problems(folder, text.replace('"cleared.xml"', '"other.xml", "cleared.xml", "cleared.xml"'))
    assert found[0].startswith("broken.xml: line 1: no XML")
    assert found[1] == f"food.xml: policy {food.OID} a second time, expected one file for each"
    assert found[2].startswith("large.xml: XML of more than")
    assert found[3].startswith("other.xml: <clearance> of namespace ''")
    assert found[4] == f"cleared.xml: policy {food.OID} a second time, expected one file for each"
    assert len(found) == 5


@pytest.mark.parametrize(
    ("translator", "complaint"),
    [
        ("", "labels.translator[0] names nobody, expected signers, or domains and issuer"),
        ('domains = ["beta.example"]', "labels.translator[0] with one of domains and issuer, expected both or neither"),
        ('issuer = "CN=beta CA"', "labels.translator[0] with one of domains and issuer, expected both or neither"),
        (f'signers = ["{PIN}"]\ninto = ["x"]', 'labels.translator[0].into[0] is "x", expected'),
    ],
)
def test_a_translator_who_is_nobody(folder: Path, translator: str, complaint: str) -> None:
    (found,) = problems(folder, f'domains = ["acme.example"]\n[[labels.translator]]\n{translator}\n')
    assert complaint in found
