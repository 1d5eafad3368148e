"""A label as people write it: `POLICY[:CLASSIFICATION[:MARK[:CATEGORY]...]]`.

    1.2.3:4                            by numbers alone
    1.2.3:4:eyes only:1.2.9=020107     privacy mark, and a category by its type and its value in hexadecimal
    Food:Luxury::Sweet:Allergens=Nut   by names, where the policy is at hand: a category alone, or after its tag or tag
                                       set
    1.2.3                              without classification

What has a colon in it does not fit, and goes into a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from domsec.errors import ConfigurationError, DomsecError
from domsec.ess.labels import ESSPrivacyMark, ESSSecurityLabel, SecurityCategory
from domsec.services.label_policy import Category, LabelPolicy

_OID: Final = re.compile(r"[0-2](\.[0-9]{1,40}){1,30}", re.ASCII)
_RAW: Final = re.compile(r"([0-2](?:\.[0-9]+)+)=((?:[0-9A-Fa-f]{2})+)", re.ASCII)


def parse_label(text: str, policies: Iterable[LabelPolicy] = ()) -> ESSSecurityLabel:
    """Raises ConfigurationError that says which part means nothing. Whether the policy allows it is not looked at."""
    first, *rest = (part.strip() for part in text.split(":"))
    policy = _policy(first, policies)
    level, mark, *categories = (*rest, *[""] * (2 - len(rest)))
    raw = [_raw(part) for part in categories]
    named = [
        _category(part, policy, first) for part, known in zip(categories, raw, strict=True) if known is None and part
    ]
    try:
        return ESSSecurityLabel(
            policy.oid if policy else first,
            _classification(level, policy, first),
            ESSPrivacyMark(mark) if mark else None,
            (*(known for known in raw if known is not None), *(policy.encode(named) if policy else ())),
        )
    except DomsecError as error:
        raise ConfigurationError(f"label {text!r}: {error}") from None


def _policy(text: str, policies: Iterable[LabelPolicy]) -> LabelPolicy | None:
    found = [policy for policy in policies if text in (policy.oid, policy.name)]
    if len(found) > 1:
        raise ConfigurationError(f"label policy {text!r} is the name of {len(found)}, expected its object identifier")
    if not found and not _OID.fullmatch(text):
        raise ConfigurationError(f"label policy {text!r} is not known, expected an object identifier")
    return found[0] if found else None


def _classification(text: str, policy: LabelPolicy | None, name: str) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 3:
        return int(text)
    found = [level.number for level in policy.classifications if level.name == text] if policy else []
    if not found:
        known = f", expected one of {', '.join(level.name for level in policy.classifications)}" if policy else ""
        raise ConfigurationError(f"classification {text!r} is none of label policy {name!r}{known}")
    return found[0]


def _raw(text: str) -> SecurityCategory | None:
    match = _RAW.fullmatch(text)
    try:
        return SecurityCategory(match[1], bytes.fromhex(match[2])) if match else None
    except DomsecError as error:
        raise ConfigurationError(f"category {text!r}: {error}") from None


def _category(text: str, policy: LabelPolicy | None, name: str) -> Category:
    if policy is None:
        raise ConfigurationError(f"category {text!r} of label policy {name!r}, which is not at hand; expected OID=HEX")
    sets = {tag_set.oid: tag_set.name for tag_set in policy.tag_sets}
    found = [
        category
        for category in policy.categories
        if text in (category.name, f"{category.tag}={category.name}", f"{sets[category.tag_set]}={category.name}")
    ]
    if len(found) != 1:
        which = f"is {len(found)}" if found else "is none"
        raise ConfigurationError(f"category {text!r} {which} of label policy {name!r}, expected TAG=NAME of one")
    return found[0]
