"""What a recipient behind the last hop is given of a message (decisions A-55, A-56, A-63).

Today's mail programs cannot read DOMSEC layers, so those that were accepted come off; the originator's own signature
stays, octet by octet. What was not accepted is never taken off in silence: only the encryption, which was ours to open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from domsec.mime.fields import Header
from domsec.mime.header_protection import Protected
from domsec.octets import Octets, in_one_place
from domsec.services import layers
from domsec.services.check import Examination
from domsec.services.finding import Finding
from domsec.services.layers import Layer

Strip = Literal["verified", "domain", "none"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """The layer delivered, None for the message as it came, and the ids of those taken off."""

    layer: Layer | None
    removed: tuple[str, ...]
    unauthenticated: bool  # content of a cipher without authentication that no valid signature inside covers (T-02)
    protected: Protected | None = None  # the header inside of an encryption that was taken off

    def entity(self) -> Octets | None:
        """Raises StoreUnavailable where there is no room for a large one."""
        return None if self.layer is None else in_one_place(layers.mime_entity(self.layer))

    def header(self, outside: Header) -> Header:
        """The header for it: what was hidden in the encryption is for its reader to see (RFC 9788 4)."""
        return outside if self.protected is None else self.protected.revealed(outside)


def deliver(examination: Examination, strip: Strip) -> Delivery:
    """Choose what to deliver of an examined message."""
    take_off = examination.verdict.accepted and strip != "none"
    at = 0
    findings = examination.findings
    while at < len(findings) - 1:
        finding = findings[at]
        if finding.layer.opened is not None:
            at += 1  # opening is what the authority is for, accepted or not
        elif take_off and _comes_off(finding, strip):
            at += 1
        else:
            break
    if at and findings[at].layer.kind == "rfc822" and take_off:
        at += findings[at].layer.child is not None
    while at and not layers.in_mime(findings[at].layer):
        at -= 1  # what has no form in mail stays wrapped
    loose = any(is_loose(finding, findings[i + 1 :]) for i, finding in enumerate(findings))
    if at == 0:
        return Delivery(None, (), loose)
    removed = tuple(f.layer.id for f in findings[:at])
    return Delivery(findings[at].layer, removed, loose, _decrypted_header([f.layer for f in findings], at))


def _decrypted_header(spine: Sequence[Layer], at: int) -> Protected | None:
    opened = next((i for i, layer in enumerate(spine[:at]) if layer.opened is not None), len(spine))
    return next((layer.protected for layer in spine[opened:] if layer.protected is not None), None)


def is_loose(finding: Finding, below: Sequence[Finding]) -> bool:
    """Whether a layer was opened that anybody on the way could have altered."""
    opened = finding.layer.opened
    return opened is not None and not opened.authenticated and not any(f.state == "valid" for f in below)


def _comes_off(finding: Finding, strip: Strip) -> bool:
    if finding.layer.kind == "null":
        return True
    if finding.layer.kind != "signed" or finding.state != "valid" or "originator" in finding.roles:
        return False
    return strip == "verified" or finding.roles == ("domain",)
