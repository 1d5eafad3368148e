"""Signers that a policy names: reviewers it believes, authorities that may translate labels (decisions A-50, A-51).

No mapping rule of RFC 3183 says which review-authority or attribute-authority is whose: trust in one is written down.
"""

from __future__ import annotations

from dataclasses import dataclass

from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage
from domsec.services import names
from domsec.trust.names import same_name


@dataclass(frozen=True, slots=True)
class KnownSigners:
    """Certificates by digest, and those of some domains from one issuer. With neither nobody is known.

    The path of a certificate is checked elsewhere; `issuer` is the name (DER) of who has to have signed it.
    """

    pins: frozenset[str] = frozenset()  # SHA-256 in hexadecimal
    issuer: bytes | None = None
    domains: frozenset[str] = frozenset()  # A-labels, lower case; those below are not included

    def know(self, certificate: Certificate) -> bool:
        """Whether a certificate is one of them."""
        if certificate.sha256 in self.pins:
            return True
        if self.issuer is None or not same_name(certificate.issuer, self.issuer):
            return False
        try:
            found = names.domain_parts(certificate).rfc822
        except MalformedMessage:
            return False
        return bool(found) and all(names.written(domain) in self.domains for domain in found)
