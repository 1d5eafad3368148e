"""Paths: leaf, CA with RSA-2048, anchor with RSA-3072, against the two bare signature checks in it.

cold     a leaf never seen, by a validator that remembers nothing; the CAs are parsed already
cached   a leaf that was asked about just now
crl      the same with revocation required, by lists of both CAs, that of the lower with 10 000 entries
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench.library import DIGEST_INPUT, Case
from bench.measure import Result, rate
from bench.world import NOW
from domsec.cms.certificates import Certificate
from domsec.trust import issue
from domsec.trust.crl import Crl, CrlIndex
from domsec.trust.path import AnchorSet, Revocation, Snapshot, Validator

ENTRIES: Final = 10_000
LEAVES: Final = 2000  # more than are asked about, so that each is new

_START: Final = NOW - timedelta(days=30)


class Pki:
    """Two CAs, many leaves with one key, and a list of each CA."""

    def __init__(self) -> None:
        root, lower = (rsa.generate_private_key(65537, bits) for bits in (3072, 2048))
        self.anchor = issue.issue_ca("bench root", root, now=_START, days=3650)
        self.lower = issue.issue_ca("bench ca", lower, issuer_cert=self.anchor, issuer_key=root, now=_START, days=1800)
        key = issue.new_key("p256").public_key()
        self.leaves = [
            issue.issue("user", f"u{n}@acme.example", key, self.lower, lower, now=_START, days=365).der
            for n in range(LEAVES)
        ]
        self.long = issue.issue_crl(self.lower, lower, range(1, ENTRIES + 1), now=_START, days=365)
        self.short = issue.issue_crl(self.anchor, root, [], now=_START, days=365)
        checks = ((root, 3072), (lower, 2048))
        signed = [(key.public_key(), key.sign(DIGEST_INPUT, padding.PKCS1v15(), hashes.SHA256())) for key, _ in checks]
        self.raw: Callable[[], object] = lambda: [
            public.verify(signature, DIGEST_INPUT, padding.PKCS1v15(), hashes.SHA256()) for public, signature in signed
        ]


def cases() -> Iterator[Case]:
    made: list[Pki] = []

    def pki() -> Pki:
        if not made:
            made.append(Pki())
        return made[0]

    for name, lists in (("", False), ("_crl", True)):
        for kind in ("cold", "new"):
            yield (
                f"trust.path.{kind}{name}",
                lambda name=name, lists=lists, kind=kind: [
                    _unseen(f"trust.path.{kind}{name}", pki(), lists, cold=kind == "cold")
                ],
            )
        yield (
            f"trust.path.cached{name}",
            lambda name=name, lists=lists: [_cached(f"trust.path.cached{name}", pki(), lists)],
        )
    yield "trust.crl.load", lambda: [_load(pki())]


def _world(pki: Pki, lists: bool) -> tuple[Snapshot, AnchorSet, Revocation]:
    anchors = AnchorSet((pki.anchor,))
    crls = CrlIndex((Crl(pki.long), Crl(pki.short)) if lists else ())
    for issuer in (pki.lower, pki.anchor):
        crls.prepare(issuer)  # as the gateway does, before a message asks
    return Snapshot(users=anchors, intermediates=(pki.lower,), crls=crls), anchors, "hard" if lists else "off"


def _unseen(name: str, pki: Pki, lists: bool, *, cold: bool) -> Result:
    snapshot, anchors, revocation = _world(pki, lists)
    validator = Validator(snapshot)
    leaves = itertools.cycle(pki.leaves)

    def act() -> None:
        asked = Certificate(next(leaves))
        asking = validator.on(snapshot) if cold else validator
        verdict = asking.validate(asked, anchors=anchors, now=NOW, revocation=revocation)
        assert verdict.state == "valid", verdict.reason

    return rate(name, act, pki.raw)


def _cached(name: str, pki: Pki, lists: bool) -> Result:
    snapshot, anchors, revocation = _world(pki, lists)
    validator = Validator(snapshot)
    asked = Certificate(pki.leaves[0])
    validator.validate(asked, anchors=anchors, now=NOW, revocation=revocation)  # or the batches would be of one call
    return rate(name, lambda: validator.validate(asked, anchors=anchors, now=NOW, revocation=revocation), pki.raw)


def _load(pki: Pki) -> Result:
    """A list of 10 000 entries from octets to a table, its signature checked, against that signature alone."""

    def act() -> None:
        CrlIndex((Crl(pki.long),)).prepare(pki.lower)

    crl = Crl(pki.long).x509
    public = pki.lower.public_key
    assert isinstance(public, rsa.RSAPublicKey)
    signature, octets = crl.signature, crl.tbs_certlist_bytes
    return rate("trust.crl.load", act, lambda: public.verify(signature, octets, padding.PKCS1v15(), hashes.SHA256()))
