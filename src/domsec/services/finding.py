"""What was found out about one layer: the working form of a verdict, shared by those who check and conclude."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import SignerInfo
from domsec.errors import MalformedMessage
from domsec.mime.addresses import FromInfo, Mailbox, parse_address, parse_from
from domsec.services.layers import Layer, carries
from domsec.services.names import Mapping
from domsec.services.signature_type import Reading, SignatureType
from domsec.services.verdict import Address, Coverage, Flag, Severity, SignerVerdict, State


@dataclass(frozen=True, slots=True)
class Signer:
    """One SignerInfo, judged by itself."""

    info: SignerInfo
    certificate: Certificate | None
    reading: Reading
    verdict: SignerVerdict
    flags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A layer with what was found out about it; the working form of LayerVerdict."""

    layer: Layer
    signers: tuple[Signer, ...] = ()
    state: State | None = None
    types: tuple[SignatureType, ...] | None = None  # None: absent, or not readable
    roles: tuple[str, ...] = ()
    coverage: Coverage | None = None
    naming: dict[str, tuple[str, ...]] = field(default_factory=dict)
    mapping: Mapping | None = None
    address: Address | None = None
    flags: tuple[Flag, ...] = ()

    @property
    def crypto_valid(self) -> bool:
        return bool(self.signers) and all(s.verdict.crypto == "valid" for s in self.signers)

    @property
    def violated(self) -> bool:
        return any(f.severity is Severity.VIOLATION for f in self.flags)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Of the signers, each once, in their order."""
        return tuple(dict.fromkeys(s.certificate for s in self.signers if s.certificate is not None))

    @property
    def certificate(self) -> Certificate | None:
        """Of the first signer whose certificate is at hand."""
        return next(iter(self.certificates), None)


def originator_layer(findings: Iterable[Finding]) -> Finding | None:
    """The innermost layer that signs as originator: it names the originator (decisions A-06)."""
    return next((f for f in reversed(tuple(findings)) if "originator" in f.roles), None)


def expansion_history(finding: Finding) -> bool:
    """Whether a signed layer carries mlExpansionHistory (RFC 2634 4.2)."""
    return carries(finding.layer, oids.ID_AA_ML_EXPAND_HISTORY)


def inner_from(layers: Iterable[Layer]) -> list[FromInfo]:
    return [
        parse_from(layer.protected) for layer in layers if layer.protected is not None and layer.protected.all("from")
    ]


def mailboxes_of(found: Iterable[str]) -> list[Mailbox]:
    """The addresses that can be read."""
    mailboxes = []
    for address in found:
        try:
            mailboxes.append(parse_address(address))
        except MalformedMessage:
            continue
    return mailboxes
