"""The world, passed in: what judging and making messages may depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.limits import DEFAULT, Limits
from domsec.services.labelling import NO_LABELLING, Labelling
from domsec.services.peer import Peer, Peers
from domsec.trust.discovered import Found
from domsec.trust.path import AnchorSet, PathVerdict, Validator
from domsec.trust.source import CertificateSource, MemorySource

Revocation = Literal["hard", "soft", "off"]


def no_public_suffix(_domain: str) -> bool:
    """For tests and closed networks: no domain is a public suffix but a single label."""
    return False


_NOTHING = MemorySource(())
_NOT_ASKED = Found()
_NOBODY = Peers()


@dataclass(frozen=True, slots=True)
class Context:
    """Keys, trust, agreements and the time at which they hold. Nothing in here is ever changed."""

    now: datetime  # aware
    validator: Validator
    source: CertificateSource = _NOTHING  # what is at hand, and what was found
    found: Found = _NOT_ASKED  # what directories answered for this message
    keyring: tuple[Credential, ...] = ()  # what may decrypt
    peers: Peers = _NOBODY
    limits: Limits = DEFAULT
    revocation: Revocation = "soft"
    is_public_suffix: Callable[[str], bool] = no_public_suffix
    allow_no_attributes: bool = False  # originators' signatures without signed attributes (decisions A-47)
    archive: bool = False  # old mail is read: weak signatures are computed, and believed no more than before
    labelling: Labelling = NO_LABELLING
    accept_outer_domain: bool = False  # a domain signature over ciphertext suffices (decisions A-41)

    def path(
        self,
        certificate: Certificate,
        offered: Iterable[Certificate],
        *,
        role: bool,
        peer: Peer | None,
        issuers: frozenset[str] | None = None,
    ) -> PathVerdict:
        """Validate a certificate: those of roles against the peer's anchors and then the role store, others against
        the store of users (decisions A-25). `issuers` limits the path as in `Validator.validate`."""
        snapshot = self.validator.snapshot
        revocation = (peer.revocation if peer else None) or self.revocation
        stores: tuple[AnchorSet, ...] = (snapshot.roles,) if role else (snapshot.users,)
        if role and peer is not None and peer.anchors is not None:
            stores = (peer.anchors, *stores)
        offered = tuple(offered)
        verdict: PathVerdict | None = None
        for anchors in stores:
            verdict = self.validator.validate(
                certificate, offered, anchors=anchors, now=self.now, revocation=revocation, issuers=issuers
            )
            if verdict.state != "untrusted":
                return verdict
        assert verdict is not None
        return verdict
