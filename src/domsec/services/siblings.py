"""Several signatures in one layer: what they come to together (RFC 4853, RFC 5752, decisions A-52).

Each signer needs one valid signature, so that old and new algorithms can stand side by side. What is wrong with another
one of the same signer is said, and does not count; that one was taken away does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from domsec import oids
from domsec.cms.multiple_signatures import MultipleSignatures, Parallel, named
from domsec.errors import MalformedMessage
from domsec.services.catalogue import Severity
from domsec.services.finding import Finding, Signer
from domsec.services.verdict import Flag, State, flag

_WORST_FIRST: Final[tuple[State, ...]] = ("invalid", "weak", "untrusted", "no_certificate", "unsupported")
_SIBLING_CODES: Final = {"unsupported": "alg.unsupported_sibling", "invalid": "alg.invalid_sibling"}


def state(finding: Finding) -> State:
    """Valid if every signer has a valid signature, else the worst of those who have none."""
    states = [[s.verdict.state for s in group] for group in finding.by_name]
    left = [min(group, key=_WORST_FIRST.index) for group in states if "valid" not in group]
    return min(left, key=_WORST_FIRST.index) if left else "valid"


def flags(finding: Finding) -> list[Flag]:
    """What is to be said of the signatures of a layer, of each and of those that belong together."""
    layer_id = finding.layer.id
    found: list[Flag] = []
    for group in finding.by_name:
        outweighed = any(s.verdict.state == "valid" for s in group)
        for signer in group:
            for code, text in signer.flags:
                harmless = outweighed and code == "alg.weak"
                found.append(flag(code, text, layer_id, Severity.INFO if harmless else None))
            if outweighed and signer.verdict.state in _SIBLING_CODES:
                found.append(flag(_SIBLING_CODES[signer.verdict.state], signer.verdict.reason, layer_id))
        found += [flag(code, text, layer_id) for code, text in _links(group)]
    return found


def _links(group: Sequence[Signer]) -> Iterator[tuple[str, str]]:
    """What the signatures of one signer that hold say of their siblings."""
    counts = [named(signer.info) for signer in group]
    if all(count is None for count in counts):
        return
    parallel = [Parallel.of(signer.info) for signer in group]
    for signer, one, count in zip(group, parallel, counts, strict=True):
        if signer.verdict.crypto != "valid" or count is None:
            continue
        others = [other for other in parallel if other is not one]
        try:
            gone = one.unanswered(others)
        except MalformedMessage as error:
            yield "multisig.removed", f"the names of its siblings cannot be read: {error}"
            continue
        yield from (("multisig.removed", f"a signature by {_words(value)} is not there as it was") for value in gone)
        if count < len(others):
            yield "multisig.added", f"{len(others)} signatures beside one that names {count}"


def _words(value: MultipleSignatures) -> str:
    return f"{oids.name(value.signature.oid)} with {oids.name(value.digest.oid)}"
