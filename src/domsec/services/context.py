"""The world, passed in: what judging and making messages may depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.errors import MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.services.labelling import NO_LABELLING, Labelling
from domsec.services.peer import Peer, Peers
from domsec.trust.association import DANE_EE, DANE_TA, Association
from domsec.trust.discovered import Found
from domsec.trust.path import AnchorSet, PathVerdict, Validator, is_authority
from domsec.trust.source import CertificateSource, MemorySource, SourcesInOrder

Revocation = Literal["hard", "soft", "off"]


def no_public_suffix(_domain: str) -> bool:
    """For tests and closed networks: no domain is a public suffix but a single label."""
    return False


_NOTHING = MemorySource(())
_NOT_ASKED = Found()
_NOBODY = Peers()


class _Ask(Protocol):
    """The verdict on one certificate against some anchors; whether a path that holds is noted."""

    def __call__(self, anchors: AnchorSet, *, noted: bool = True) -> PathVerdict: ...


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
    own_naming: Literal["strict", "mailbox"] = "strict"  # of our confidentiality authority (decisions A-14)
    own: frozenset[Certificate] = frozenset()  # of our signing authority, where it is named by its mailbox
    accept_outer_domain: bool = False  # a domain signature over ciphertext suffices (decisions A-41)
    max_age: timedelta | None = None  # of the signature that a level rests on, before it is a warning
    transit_domains: frozenset[str] = frozenset()  # whose domain signature on others' mail is no more than known (A-59)
    embedded: Literal["named", "closed", "opened"] = "opened"  # how far protected parts are looked into

    def knowing(self, found: Found) -> Context:
        """The same world, with what directories said for a message."""
        return replace(self, found=found, source=SourcesInOrder(self.source, found))

    def path(
        self,
        certificate: Certificate,
        offered: Iterable[Certificate],
        *,
        role: bool,
        peer: Peer | None,
        issuers: frozenset[str] | None = None,
        associations: Sequence[Association] = (),
        crls: Sequence[bytes] = (),
        ocsp: Sequence[bytes] = (),
    ) -> PathVerdict:
        """Validate a certificate: those of roles against the peer's anchors and then the role store, others against
        the store of users (decisions A-25). `issuers` limits the path as in `Validator.validate`; `offered`, `crls` and
        `ocsp` came with the certificate.

        `associations` are what the domain says of the address that the certificate is to be used for: only those that
        they speak of are valid, also without a path to an anchor if they say so (RFC 8162). An agreement that names
        anchors or certificates goes before them.
        """
        offered = tuple(offered)
        revocation = (peer.revocation if peer else None) or self.revocation

        def ask(anchors: AnchorSet, *, noted: bool = True) -> PathVerdict:
            return self.validator.validate(
                certificate,
                offered,
                anchors=anchors,
                now=self.now,
                revocation=revocation,
                crls=crls,
                ocsp=ocsp,
                issuers=issuers,
                noted=noted,
            )

        verdict = self._stored(ask, role, peer)
        if verdict.state == "untrusted" and role and peer is None and certificate in self.own:
            verdict = ask(AnchorSet((certificate,)), noted=False)
        if not associations or (peer is not None and (peer.anchors is not None or peer.pins)):
            return verdict
        if verdict.state == "untrusted":
            return self._associated(ask, certificate, offered, associations) or verdict
        if _spoken_of(certificate, verdict, associations):
            return verdict
        return replace(verdict, state="invalid", reason="the SMIMEA records of its address speak of others")

    def _associated(
        self,
        ask: _Ask,
        certificate: Certificate,
        offered: tuple[Certificate, ...],
        associations: Iterable[Association],
    ) -> PathVerdict | None:
        """The verdict on a certificate for which its domain stands, None if it does not.

        Any domain may do so, hence what its CAs say of revocation is not fetched: a stranger would choose what we ask,
        and how much. Usage 2 thus needs a CRL at hand where revocation is `hard`; with usage 3 the record is the word.
        """
        found: PathVerdict | None = None
        known = (*self.validator.snapshot.intermediates, *offered)
        for each in associations:
            anchors = _anchors(each, certificate, known)
            if anchors is None:
                continue
            found = ask(anchors, noted=False)
            if found.state == "valid":
                return replace(found, reason=f"SMIMEA {each} of its domain, proven by DNSSEC")
        return found

    def _stored(self, ask: _Ask, role: bool, peer: Peer | None) -> PathVerdict:
        snapshot = self.validator.snapshot
        stores: tuple[AnchorSet, ...] = (snapshot.roles,) if role else (snapshot.users,)
        if role and peer is not None and peer.anchors is not None:
            stores = (peer.anchors, *stores)
        verdict: PathVerdict | None = None
        for anchors in stores:
            verdict = ask(anchors)
            if verdict.state != "untrusted":
                return verdict
        assert verdict is not None
        return verdict


def _anchors(said: Association, certificate: Certificate, known: Iterable[Certificate]) -> AnchorSet | None:
    """What an association has a path lead to, without any anchor of ours; None if it says nothing of the kind."""
    try:
        if said.usage == DANE_EE and said.matches(certificate):
            return AnchorSet((certificate,))
        if said.usage == DANE_TA:
            issuers = tuple(other for other in known if said.matches(other) and is_authority(other))
            return AnchorSet(issuers) if issuers else None
    except MalformedMessage:
        return None
    return None


def _spoken_of(certificate: Certificate, verdict: PathVerdict, associations: Iterable[Association]) -> bool:
    """Whether associations speak of a certificate, or of a CA in its path (RFC 6698 2.1.1)."""
    return any(
        any(each.matches(issuer) for issuer in verdict.chain[1:]) if each.of_issuer else each.matches(certificate)
        for each in associations
    )
