"""The food policy of Spiffing and labels of it (tests/vectors/security-labels)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import pki
from domsec.ess.labels import ESSSecurityLabel
from domsec.services import label_files, spif
from domsec.services.known_signers import KnownSigners
from domsec.services.label_policy import Clearance, LabelPolicy
from domsec.services.label_text import parse_label
from domsec.services.labelling import Labelling, Translator

FOLDER = Path(__file__).parent / "vectors" / "security-labels"
OID = "1.2.826.0.1.6726289.0.0"
OTHER = "1.2.3"  # a policy that nobody here knows

MILK = FOLDER / "food-label-milk-chocolate.xml"
EVERYTHING = FOLDER / "food-clearance-all-okay.xml"
NO_LACTOSE = FOLDER / "food-clearance-lactose-intolerant.xml"


@functools.cache
def policy() -> LabelPolicy:
    return spif.read((FOLDER / "food-policy.xml").read_bytes())


def label(text: str) -> ESSSecurityLabel:
    """`Food:Luxury::Sweet`, or a name of a file here: `milk-chocolate`."""
    file = FOLDER / f"food-label-{text}.xml"
    return label_files.read_label(file.read_bytes()) if file.exists() else parse_label(text, [policy()])


def clearance(file: Path = EVERYTHING) -> Clearance:
    return label_files.read_clearance(file.read_bytes())


def translator(*identities: pki.Identity, into: Iterable[str] = (), out_of: Iterable[str] = ()) -> Translator:
    pins = frozenset(identity.certificate.sha256 for identity in identities)
    return Translator(KnownSigners(pins), frozenset(into), frozenset(out_of))


def labelling(*translators: Translator, cleared: Path | None = None) -> Labelling:
    """Who knows the food policy, believes these translators, and is cleared so."""
    clearances = {} if cleared is None else {OID: clearance(cleared)}
    return Labelling({OID: policy()}, translators, clearances)
