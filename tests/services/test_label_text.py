"""Labels as people write them."""

from __future__ import annotations

import re

import pytest

import food
from domsec.errors import ConfigurationError
from domsec.ess.labels import ESSPrivacyMark, ESSSecurityLabel, SecurityCategory
from domsec.services.label_text import parse_label

CATEGORY = SecurityCategory("1.2.9", b"\x02\x01\x07")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("1.2.3", ESSSecurityLabel("1.2.3")),
        ("1.2.3:4", ESSSecurityLabel("1.2.3", 4)),
        ("1.2.3::eyes only", ESSSecurityLabel("1.2.3", None, ESSPrivacyMark("eyes only"))),
        ("1.2.3:0: Häuser :", ESSSecurityLabel("1.2.3", 0, ESSPrivacyMark("Häuser"))),
        ("1.2.3:4::1.2.9=020107", ESSSecurityLabel("1.2.3", 4, None, (CATEGORY,))),
        ("Food:Luxury", ESSSecurityLabel(food.OID, 52)),
        (f"{food.OID}:52", ESSSecurityLabel(food.OID, 52)),
    ],
)
def test_labels_in_words(text: str, label: ESSSecurityLabel) -> None:
    assert parse_label(text, [food.policy()]) == label


@pytest.mark.parametrize(
    "categories",
    [
        ["Sweet", "Chocolate", "Brown", "Lactose", "Not Vegan", "Animal Rights"],
        ["Flavour=Sweet", "Taste Sensations=Chocolate", "Colour=Brown", "Allergens=Lactose",
         "Ethical Concerns=Not Vegan", "Bandwagons=Animal Rights"],
    ],
)  # fmt: skip
def test_categories_by_their_names(categories: list[str]) -> None:
    label = parse_label(":".join(["Food", "Luxury", "", *categories]), [food.policy()])
    milk = food.label("milk-chocolate")
    assert food.policy().resolve(label) == food.policy().resolve(milk)
    assert ESSSecurityLabel.read(label.write()).write() == label.write()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "label policy '' is not known, expected an object identifier"),
        ("Drink:1", "label policy 'Drink' is not known"),
        ("1.x:1", "label policy '1.x' is not known"),
        ("1.2.3:Secret", "classification 'Secret' is none of label policy '1.2.3'"),
        ("Food:Secret", "expected one of Freely Available, Commodity, Luxury, Ambrosia"),
        ("1.2.3:257", "out of range"),
        ("1.2.3:1::Sweet", "which is not at hand; expected OID=HEX"),
        ("Food:Luxury::Sour", "category 'Sour' is none of label policy 'Food', expected TAG=NAME of one"),
        ("Food:Luxury::Colour=Sweet", "is none of"),
        ("1.2.3:1::1.2.9=0", "which is not at hand"),
        ("1.2.3:1::1.99=00",
         "object identifier"),
        ("1.2.3:1:" + "\udc80", "a text that is none"),
    ],
)  # fmt: skip
def test_a_label_that_means_nothing(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(complaint)):
        parse_label(text, [food.policy()])


def test_a_name_that_means_two() -> None:
    with pytest.raises(ConfigurationError, match="is the name of 2"):
        parse_label("Food", [food.policy(), food.policy()])
