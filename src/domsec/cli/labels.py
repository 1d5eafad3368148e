"""LABEL on the command line: as text, or from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from domsec.cli.world import World
from domsec.errors import ConfigurationError, DomsecError
from domsec.ess.labels import ESSSecurityLabel
from domsec.services.label_files import read_label
from domsec.services.label_text import parse_label
from domsec.stores.files import read_file

MAXIMUM: Final = 64 * 1024  # octets of a label in a file

# for the help of every verb that takes a label
SYNTAX: Final = (
    "LABEL is POLICY[:CLASSIFICATION[:MARK[:CATEGORY]...]], or @FILE with a label in BER or in the XML of Spiffing. "
    "POLICY is an object identifier, CLASSIFICATION a number, MARK any words, CATEGORY the OID=HEX of its type and "
    "value; with the policy at hand (--label-policy, or [labels] of the configuration) names may stand instead: "
    "Food:Luxury::Sweet:Allergens=Nut. A label that its policy does not allow is refused."
)


def label_of(text: str, world: World) -> ESSSecurityLabel:
    """The label that LABEL means. Raises ConfigurationError."""
    policies = world.site.labelling.policies
    label = _from_file(Path(text[1:])) if text.startswith("@") else parse_label(text, policies.values())
    policy = policies.get(label.security_policy_identifier)
    if policy is not None and (problems := policy.problems(label, world.now, new=True)):
        raise ConfigurationError(f"label {text!r} is none of policy {policy.name}: {'; '.join(problems)}")
    return label


def _from_file(path: Path) -> ESSSecurityLabel:
    octets = read_file(path, MAXIMUM)
    try:
        return read_label(octets)
    except ConfigurationError:
        raise
    except DomsecError as error:
        raise ConfigurationError(f"{path}: no label: {error}") from None
