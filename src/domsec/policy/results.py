"""A verdict as Authentication-Results (RFC 8601, RFC 7281): one `smime=` for each signature layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from domsec.mime.authentication_results import Outcome, SmimeResult
from domsec.services.catalogue import Severity
from domsec.services.verdict import LayerVerdict, Verdict

_OF_STATE: Final[dict[str, Outcome]] = {
    "invalid": "fail",
    "weak": "policy",
    "untrusted": "policy",
    "unsupported": "neutral",
    "no_certificate": "permerror",
}


def results(verdict: Verdict) -> tuple[SmimeResult, ...]:
    """What to say about a message, outermost layer first; nothing signed gives the one result `none`."""
    found = tuple(_result(verdict, layer, part) for layer, part in _parts(verdict) if layer.kind == "signed")
    if found:
        return found
    if verdict.malformed:
        return (SmimeResult("neutral", reason="part of the message cannot be read"),)
    return (SmimeResult("none"),)


_ORIGIN: Final[dict[str, str]] = {
    "none": "Nothing shows who sent this message.",
    "domain": "This message comes from {domain}, which vouches for it.",
    "originator_vouched": "This message is signed by its author, for whom {domain} vouches.",
    "originator_direct": "This message is signed by its author.",
}


def told(verdict: Verdict) -> str:
    """What people may be told of the origin, in one line and without a word of the sender's."""
    if verdict.violations:
        return "Something is wrong with the signatures of this message. Do not rely on who seems to have sent it."
    line = _ORIGIN[verdict.level if verdict.accepted else "none"].format(domain=verdict.domain)
    return f"{line} It came encrypted." if verdict.decrypted else line


def _parts(verdict: Verdict) -> Iterator[tuple[LayerVerdict, str]]:
    """Each layer with the section path of its signature: `/` goes into an opaque or opened layer."""
    prefix = ""
    for layer in verdict.layers:
        if layer.form == "clear":
            yield layer, f"{prefix}2"
            prefix = f"{prefix}1."
        else:
            yield layer, f"{prefix}1"
            prefix = f"{prefix}1/"


def _result(verdict: Verdict, layer: LayerVerdict, part: str) -> SmimeResult:
    outcome, reason = _outcome(layer, verdict)
    signer = next((s for s in layer.signers if s.state == layer.state), None)
    domain = "domain" in layer.roles and outcome == "pass"
    return SmimeResult(
        outcome,
        reason=reason,
        part=part,
        identifier=signer.addresses[0] if signer and signer.addresses else None,
        serial=int(signer.serial, 16) if signer and signer.serial and not signer.addresses else None,
        issuer=signer.issuer if signer and not signer.addresses else None,
        level=verdict.level if domain else None,
        domain=verdict.domain if domain else None,
    )


def _outcome(layer: LayerVerdict, verdict: Verdict) -> tuple[Outcome, str | None]:
    if any(s.path == "unknown" for s in layer.signers):
        return "temperror", "the status of the certificate is not known"
    if layer.state != "valid":
        return _OF_STATE.get(layer.state or "", "neutral"), layer.state
    wrong = [f for f in verdict.flags if f.layer == layer.id and f.severity is Severity.VIOLATION]
    if wrong:
        return "policy", wrong[0].code
    if layer.mapping is not None and not layer.mapping["passed"]:
        return "policy", "domain.transit"
    if layer.address == "mismatch":
        return "policy", "the signer is not who From names"
    if layer.coverage == "ciphertext":
        return "policy", "coverage.ciphertext_only"
    return "pass", None
