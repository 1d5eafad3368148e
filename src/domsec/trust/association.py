"""What a domain says in DNS of the certificates of its people and authorities: SMIMEA (RFC 8162 2, RFC 6698 2.1).

    usage 0, PKIX-TA   a CA that has to be in the path, which has to lead to an anchor of ours as well
    usage 1, PKIX-EE   the certificate itself; its path has to lead to an anchor of ours
    usage 2, DANE-TA   a CA that the path has to lead to, and need not go further
    usage 3, DANE-EE   the certificate itself, and nothing else is needed

An association speaks for the address at which it was found, and only for that: whoever asks has to have asked for the
address that it is about to use the certificate for. That the answer was secure (RFC 4035 4.3) is known to who made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage

PKIX_TA, PKIX_EE, DANE_TA, DANE_EE = range(4)
_USAGES: Final = ("PKIX-TA", "PKIX-EE", "DANE-TA", "DANE-EE")  # RFC 7218
_SELECTED: Final[Sequence[Callable[[Certificate], bytes]]] = (lambda c: c.der, lambda c: c.spki)
_MATCHED: Final[Sequence[tuple[Callable[[bytes], bytes], int | None]]] = (
    (bytes, None),
    (lambda octets: hashlib.sha256(octets).digest(), 32),
    (lambda octets: hashlib.sha512(octets).digest(), 64),
)


@dataclass(frozen=True, slots=True)
class Association:
    """One SMIMEA record: usage, selector (0 certificate, 1 its key), matching type (0 octets, 1 SHA-256, 2 SHA-512)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @classmethod
    def of(cls, certificate: Certificate, usage: int = DANE_EE, selector: int = 0, matching: int = 0) -> Association:
        """The record that speaks of a certificate."""
        return cls(usage, selector, matching, _MATCHED[matching][0](_SELECTED[selector](certificate)))

    @property
    def usable(self) -> bool:
        """Whether its numbers are known here and fit its data; others are as if they were not there (RFC 6698 4.1)."""
        if not (self.usage <= DANE_EE and self.selector < len(_SELECTED) and self.matching < len(_MATCHED)):
            return False
        length = _MATCHED[self.matching][1]
        if length is not None:
            return len(self.data) == length
        return self.selector == 1 or self.certificate is not None

    @property
    def of_issuer(self) -> bool:
        """Whether it speaks of a CA, and not of the certificate itself."""
        return self.usage in (PKIX_TA, DANE_TA)

    @property
    def certificate(self) -> Certificate | None:
        """The certificate, where the record has the whole of it."""
        if (self.selector, self.matching) != (0, 0):
            return None
        try:
            return Certificate(self.data)
        except MalformedMessage:
            return None

    def matches(self, certificate: Certificate) -> bool:
        """Whether a certificate is the one that this speaks of."""
        return self.usable and _MATCHED[self.matching][0](_SELECTED[self.selector](certificate)) == self.data

    def __str__(self) -> str:
        usage = _USAGES[self.usage] if self.usage <= DANE_EE else "?"
        return f"{self.usage} {self.selector} {self.matching} ({usage})"
