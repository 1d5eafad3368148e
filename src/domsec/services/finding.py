"""What was found out about one layer: the working form of a verdict, shared by those who check and conclude."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import SignerInfo
from domsec.errors import MalformedMessage
from domsec.mhs.names import ORName
from domsec.mime.addresses import FromInfo, Mailbox, parse_address
from domsec.services import describe
from domsec.services.catalogue import Severity
from domsec.services.layers import Layer, Message, carries
from domsec.services.names import Mapping, same_originator
from domsec.services.signature_type import Reading, SignatureType
from domsec.services.verdict import Address, Coverage, Flag, SignerVerdict, State


@dataclass(frozen=True, slots=True)
class Signer:
    """One SignerInfo, judged by itself."""

    info: SignerInfo
    certificate: Certificate | None
    reading: Reading
    verdict: SignerVerdict
    flags: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> object:
        """What tells one signer from another: the certified name, not the identifier (RFC 4853 3, decisions A-52)."""
        return (self.certificate.subject, self.certificate.issuer) if self.certificate else self.info.sid


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
    def by_name(self) -> tuple[tuple[Signer, ...], ...]:
        """The signatures of each signer."""
        found: dict[object, list[Signer]] = {}
        for signer in self.signers:
            found.setdefault(signer.name, []).append(signer)
        return tuple(map(tuple, found.values()))

    @property
    def relied_on(self) -> tuple[Signer, ...]:
        """Of each signer the signatures that a conclusion may rest on: the valid ones, else the best that is left.

        A certificate that is no good may bear the name of one that is, and any address (threats T-07).
        """
        return tuple(signer for group in self.by_name for signer in _best(group))

    @property
    def crypto_valid(self) -> bool:
        """Whether of each signer there is a signature whose mathematics hold."""
        return bool(self.signers) and all(any(s.verdict.crypto == "valid" for s in group) for group in self.by_name)

    @property
    def violated(self) -> bool:
        return any(f.severity is Severity.VIOLATION for f in self.flags)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Of the signers, each once, in their order."""
        return tuple(dict.fromkeys(s.certificate for s in self.signers if s.certificate is not None))

    @property
    def certificate(self) -> Certificate | None:
        """Of the first signature that is relied on and whose certificate is at hand."""
        return next((s.certificate for s in self.relied_on if s.certificate is not None), None)


def _best(group: Sequence[Signer]) -> Sequence[Signer]:
    """Of one signer's signatures those that are valid, else those whose mathematics hold, else all."""
    valid = [s for s in group if s.verdict.state == "valid"]
    return valid or [s for s in group if s.verdict.crypto == "valid"] or group


def originator_layer(findings: Iterable[Finding]) -> Finding | None:
    """The innermost layer that signs as originator: it names the originator (decisions A-06)."""
    return next((f for f in reversed(tuple(findings)) if "originator" in f.roles), None)


def expansion_history(finding: Finding) -> bool:
    """Whether a signed layer carries mlExpansionHistory (RFC 2634 4.2)."""
    return carries(finding.layer, oids.ID_AA_ML_EXPAND_HISTORY)


def inner_from(layers: Iterable[Layer]) -> list[FromInfo]:
    """What protected From fields say."""
    return [layer.inner_from for layer in layers if layer.inner_from is not None]


def inner_or_names(layers: Iterable[Layer]) -> list[ORName]:
    """Whom X.400 contents name as their originators."""
    return [layer.or_name for layer in layers if layer.or_name is not None]


def all_originators(message: Message, layers: Sequence[Layer]) -> tuple[Mailbox | ORName, ...]:
    """Those of the outer From, or named to us, and those of a protected inner From or heading (decisions A-21)."""
    found = list(message.names)
    inside: list[Mailbox | ORName] = [mailbox for info in inner_from(layers) for mailbox in info.mailboxes]
    inside += inner_or_names(layers)
    for inner in inside:
        if not any(same_originator(inner, other) for other in found):
            found.append(inner)
    return tuple(found)


def names_in(certificate: Certificate | None) -> list[Mailbox | ORName]:
    """The addresses of a certificate that can be read, of mail and of X.400."""
    x400 = [ORName(address) for address in describe.or_addresses_of(certificate)]
    return [*mailboxes_of(describe.addresses_of(certificate)), *x400]


def mailboxes_of(found: Iterable[str]) -> list[Mailbox]:
    """The addresses that can be read."""
    mailboxes = []
    for address in found:
        try:
            mailboxes.append(parse_address(address))
        except MalformedMessage:
            continue
    return mailboxes


def believed(findings: Iterable[Finding]) -> tuple[Layer, ...]:
    """The spine with those SignerInfos only whose signature holds: others may state whatever they like.

    A layer is valid where each signer has one valid SignerInfo; anybody could have put another beside it.
    """
    child: Layer | None = None
    spine: list[Layer] = []
    for finding in reversed(tuple(findings)):
        layer = finding.layer
        if layer.signed is not None:
            signers = tuple(s.info for s in finding.signers if s.verdict.state == "valid")
            layer = replace(layer, signed=replace(layer.signed, signers=signers))
        child = replace(layer, child=child)
        spine.append(child)
    return tuple(reversed(spine))
