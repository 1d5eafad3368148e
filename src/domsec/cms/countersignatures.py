"""Countersignatures: signatures over the signature of somebody else (RFC 5652 11.4).

They stand in the unsigned attributes, so anybody on the way may add and remove them, and who made one need not have
seen the content. They are told, and nothing is concluded from them (decisions A-26).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domsec import oids
from domsec.cms import signed_data
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import SignatureCheck, SignerInfo
from domsec.errors import LimitExceeded
from domsec.limits import DEFAULT, Limits

MAX_NESTING: Final = 4  # countersignatures of countersignatures; nobody was seen to need two

# RFC 2634 1.3.4, and what came later to make each of these safe
_ALLOWED: Final = frozenset(
    {
        oids.ID_MESSAGE_DIGEST,
        oids.ID_SIGNING_TIME,
        oids.ID_AA_SIGNING_CERTIFICATE,
        oids.ID_AA_SIGNING_CERTIFICATE_V2,
        oids.ID_AA_CMS_ALGORITHM_PROTECT,
    }
)


@dataclass(frozen=True, slots=True)
class Countersignature:
    """One, with those over its own signature."""

    info: SignerInfo
    over: bytes  # the signature value it is for
    countersignatures: tuple[Countersignature, ...]

    def verify(self, candidate: Certificate, limits: Limits = DEFAULT) -> SignatureCheck:
        """Check it with one certificate. Raises as `signed_data.verify`."""
        return signed_data.verify(self.info, self.over, None, candidate, limits=limits)

    @property
    def unexpected(self) -> tuple[str, ...]:
        """OIDs of attributes that have no business in a countersignature (RFC 2634 1.3.4)."""
        signed = self.info.signed_attributes.items if self.info.signed_attributes else ()
        unsigned = self.info.unsigned_attributes.items if self.info.unsigned_attributes else ()
        found = [item.oid for item in signed if item.oid not in _ALLOWED]
        found += [item.oid for item in unsigned if item.oid != oids.ID_COUNTERSIGNATURE]
        return tuple(dict.fromkeys(found))


def countersignatures(signer: SignerInfo, limits: Limits = DEFAULT) -> tuple[Countersignature, ...]:
    """Those over the signature of a signer, each with those over it.

    Raises MalformedMessage if one cannot be read, LimitExceeded for more of them than `limits.signers` in all, or
    nested deeper than MAX_NESTING.
    """
    found, _ = _read(signer, limits, limits.signers, MAX_NESTING)
    return found


def _read(signer: SignerInfo, limits: Limits, left: int, depth: int) -> tuple[tuple[Countersignature, ...], int]:
    """The countersignatures of one signer, and how many more there may be after them."""
    stated = signer.unsigned_attributes.get(oids.ID_COUNTERSIGNATURE) if signer.unsigned_attributes else ()
    values = [value for item in stated for value in item.values]
    if values and not depth:
        raise LimitExceeded("signers", "countersignatures nested too deep")
    found = []
    for value in values:
        if not left:
            raise LimitExceeded("signers", "more countersignatures than signers are allowed")
        info = signed_data.parse_signer(value, limits)
        inner, left = _read(info, limits, left - 1, depth - 1)
        found.append(Countersignature(info, signer.signature, inner))
    return tuple(found), left
