"""Where certificates come from: what may be asked of a directory, a database or a folder, and the answer from memory.

A source finds, it does not judge: what it gives may be expired, revoked, or invented with another's address.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Protocol

from domsec import oids
from domsec.cms.certificates import Certificate, Identifier, IssuerAndSerialNumber
from domsec.errors import MalformedMessage
from domsec.trust import addresses, names

FiledUnder = tuple[Literal["address", "authority"], str]


class CertificateSource(Protocol):
    """Certificates by what a message tells of them. Every method raises StoreUnavailable if asking again may help."""

    def by_address(self, address: str) -> Sequence[Certificate]:
        """Certificates that carry this mail address, in any form."""
        ...

    def authority(self, role_name: str, domain: str) -> Sequence[Certificate]:
        """Certificates that may belong to the authority `role_name` of exactly `domain` (RFC 3183 4.1).

        `domain` is in lower case and A-labels. Whether they keep the naming rules is not checked.
        """
        ...

    def by_sid(self, identifier: Identifier) -> Sequence[Certificate]:
        """Certificates that fit the identifier of a SignerInfo or RecipientInfo."""
        ...

    def preferred(self, address: str) -> str | None:
        """SHA-256 of the certificate that the owner of an address said to prefer (RFC 8551 2.5.3); None if unknown.

        Of the authority of a domain the address is `role_name@domain`. It need not be among those found, nor usable.
        """
        ...


class SourcesInOrder:
    """Several sources as one: what the first has comes first, each certificate once."""

    def __init__(self, *sources: CertificateSource) -> None:
        self.sources = sources

    def by_address(self, address: str) -> Sequence[Certificate]:
        return tuple(dict.fromkeys(c for source in self.sources for c in source.by_address(address)))

    def authority(self, role_name: str, domain: str) -> Sequence[Certificate]:
        return tuple(dict.fromkeys(c for source in self.sources for c in source.authority(role_name, domain)))

    def by_sid(self, identifier: Identifier) -> Sequence[Certificate]:
        return tuple(dict.fromkeys(c for source in self.sources for c in source.by_sid(identifier)))

    def preferred(self, address: str) -> str | None:
        return next((digest for source in self.sources if (digest := source.preferred(address))), None)


class MemorySource:
    """A source over certificates at hand, indexed once. Where names cannot be read, only identifiers find them."""

    def __init__(
        self, certificates: Iterable[Certificate] = (), preferences: Mapping[str, Certificate] = MappingProxyType({})
    ) -> None:
        self.certificates: tuple[Certificate, ...] = tuple(dict.fromkeys(certificates))
        self._preferences = {folded(address): certificate.sha256 for address, certificate in preferences.items()}
        self._by_name: dict[FiledUnder, list[Certificate]] = {}
        self._by_ski: dict[bytes, list[Certificate]] = {}
        self._by_serial: dict[int, list[Certificate]] = {}
        for certificate in self.certificates:
            self._add(certificate)

    def by_address(self, address: str) -> Sequence[Certificate]:
        return tuple(self._by_name.get(("address", folded(address)), ()))

    def authority(self, role_name: str, domain: str) -> Sequence[Certificate]:
        name = folded(f"{role_name}@{domain}")
        by_address, by_name = (self._by_name.get((kind, name), []) for kind in ("address", "authority"))
        return tuple(dict.fromkeys((*by_address, *by_name)))

    def by_sid(self, identifier: Identifier) -> Sequence[Certificate]:
        if isinstance(identifier, IssuerAndSerialNumber):
            candidates = self._by_serial.get(identifier.serial, [])
        else:
            candidates = self._by_ski.get(identifier.key_identifier, [])
        return tuple(candidate for candidate in candidates if identifier.matches(candidate))

    def preferred(self, address: str) -> str | None:
        return self._preferences.get(folded(address))

    def _add(self, certificate: Certificate) -> None:
        self._by_serial.setdefault(certificate.serial, []).append(certificate)
        if certificate.ski is not None:
            self._by_ski.setdefault(certificate.ski, []).append(certificate)
        for key in filed_under(certificate):
            self._by_name.setdefault(key, []).append(certificate)


def filed_under(certificate: Certificate) -> tuple[FiledUnder, ...]:
    """The names by which a source finds a certificate; none where they cannot be read.

    `address` with each mail address; `authority` with ROLE@DOMAIN, where nothing but domain components names it.
    """
    try:
        found = addresses.addresses(certificate)
        roles = names.common_names(certificate)
        domain = ".".join(reversed(names.attribute_values(certificate.subject, oids.DOMAIN_COMPONENT)))
    except MalformedMessage:
        return ()
    if found or not domain:
        return tuple(dict.fromkeys(("address", folded(address)) for address in found))
    # RFC 2247: an authority may be named by domain components alone
    return tuple(dict.fromkeys(("authority", folded(f"{role}@{domain}")) for role in roles))


@functools.lru_cache(maxsize=8192)
def folded(text: str) -> str:
    """Without case where it is ASCII (decisions A-20)."""
    return "".join(character.lower() if character.isascii() else character for character in text)
