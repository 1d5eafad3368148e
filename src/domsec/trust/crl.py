"""Certificate revocation lists, read once and asked often (RFC 5280 5 and 6.3).

A CRL of a CA for its own certificates, for all of them or for those of one distribution point or kind, is answered from
a table. Everything beyond that - indirect and delta CRLs, partitioned reasons, CRLs signed with another key of the
issuer - is `complex` and left to the path algorithm.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from domsec.cms.certificates import Certificate
from domsec.der import INTEGER, SEQUENCE, Reader
from domsec.errors import MalformedMessage
from domsec.trust import names, usage
from domsec.trust.signature import is_crl_signed_by

# extensions that say nothing about what the CRL covers
_HARMLESS: Final = frozenset(
    {
        ExtensionOID.CRL_NUMBER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
    }
)
_MEANINGFUL: Final = frozenset({ExtensionOID.DELTA_CRL_INDICATOR, ExtensionOID.FRESHEST_CRL})
# what pyca raises for extensions it cannot read; names of kinds it does not know have an error of their own
_UNREADABLE: Final = (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_FRESHEST_CRL: Final = ExtensionOID.FRESHEST_CRL.dotted_string
LARGEST_OFFERED: Final = 1024 * 1024  # octets of a CRL that came in a message: its table takes 100 ms


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry of a CRL."""

    date: datetime
    reason: str | None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which certificates of its issuer a CRL speaks of (RFC 5280 5.2.5)."""

    points: frozenset[bytes] | None = None  # GeneralNames in DER, of the distribution point it is
    only: Literal["users", "authorities"] | None = None

    def covers(self, certificate: Certificate) -> bool:
        """RFC 5280 6.3.3 (b) (2). Raises MalformedMessage."""
        if self.only is not None and (self.only == "authorities") != usage.is_ca(certificate):
            return False
        return self.points is None or not self.points.isdisjoint(_distribution_points(certificate))


EVERYTHING: Final = Scope()


@dataclass(frozen=True)
class Crl:
    """One CRL: a value, its table made when first asked for. Making one raises MalformedMessage."""

    der: bytes = field(repr=False)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha256", hashlib.sha256(self.der).hexdigest())
        try:
            _ = self.x509.signature_algorithm_oid, self.this_update, self.next_update, self.issuer, self.is_complex
        except (*_UNREADABLE, x509.InvalidVersion):
            raise MalformedMessage("a revocation list that cannot be loaded") from None

    @functools.cached_property
    def x509(self) -> x509.CertificateRevocationList:
        with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
            return x509.load_der_x509_crl(self.der)

    @functools.cached_property
    def issuer(self) -> bytes:
        """The issuer's name in DER."""
        reader = Reader(self.x509.tbs_certlist_bytes)
        reader.enter(SEQUENCE)
        if reader.peek() == INTEGER:
            reader.skip()
        reader.skip()
        return bytes(reader.skip())

    @functools.cached_property
    def this_update(self) -> datetime:
        return self.x509.last_update_utc

    @functools.cached_property
    def next_update(self) -> datetime | None:
        return self.x509.next_update_utc

    @property
    def is_complex(self) -> bool:
        """Whether more than its issuer's name and its scope decides which certificates it speaks of."""
        return self.scope is None

    @functools.cached_property
    def scope(self) -> Scope | None:
        """None where it is indirect, a delta, for some reasons only, or has an extension that is not known."""
        with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
            extensions = self.x509.extensions
        scope: Scope | None = EVERYTHING
        for extension in extensions:
            if isinstance(extension.value, x509.IssuingDistributionPoint):
                scope = _scope(extension.value)
            elif extension.oid not in _HARMLESS and (extension.critical or extension.oid in _MEANINGFUL):
                return None
        return scope

    @functools.cached_property
    def entries(self) -> Mapping[int, Revocation] | None:
        """Serial number to entry; None if an entry has a critical extension, or cannot be read."""
        table: dict[int, Revocation] = {}
        try:
            for entry in self.x509:
                reason = None
                for extension in entry.extensions:
                    if extension.critical or extension.oid == CRLEntryExtensionOID.CERTIFICATE_ISSUER:
                        return None
                    if isinstance(extension.value, x509.CRLReason):
                        reason = extension.value.reason.value
                table[entry.serial_number] = Revocation(entry.revocation_date_utc, reason)
        except _UNREADABLE:
            return None
        return table

    def until(self, grace: timedelta = timedelta(0)) -> datetime | None:
        """How long it is believed: until nextUpdate and some more; None without that (RFC 5280 5.1.2.5)."""
        try:
            return self.next_update + grace if self.next_update is not None else None
        except OverflowError:
            return self.next_update

    def current(self, now: datetime, grace: timedelta = timedelta(0)) -> bool:
        """Whether `now` lies between thisUpdate and `until`; without nextUpdate it never does."""
        until = self.until(grace)
        return until is not None and self.this_update <= now <= until


@dataclass(frozen=True, slots=True)
class Status:
    """What the CRLs at hand say of one certificate. `until` is when that has to be asked again."""

    state: Literal["good", "revoked", "unknown", "complex"]
    text: str = ""
    until: datetime | None = None


@dataclass(frozen=True)
class CrlIndex:
    """CRLs by the name of their issuer. Immutable, but remembers which signatures held.

    `grace` is how long after nextUpdate one is believed, for want of a newer; those that are complex have none.
    """

    crls: tuple[Crl, ...] = ()
    grace: timedelta = timedelta(0)
    _by_issuer: dict[bytes, list[Crl]] = field(init=False, repr=False, compare=False)
    _checked: dict[tuple[str, bytes], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_issuer: dict[bytes, list[Crl]] = {}
        for crl in self.crls:
            by_issuer.setdefault(crl.issuer, []).append(crl)
        object.__setattr__(self, "_by_issuer", by_issuer)
        object.__setattr__(self, "_checked", {})

    @functools.cached_property
    def generation(self) -> str:
        """Changes when any CRL does."""
        return hashlib.sha256("".join(sorted(crl.sha256 for crl in self.crls)).encode()).hexdigest()

    def concerning(self, path: Sequence[Certificate]) -> tuple[Crl, ...]:
        """The CRLs that may say something of the first certificate of a path, or of who signed such a CRL.

        Indirect CRLs only where the certificate names their issuer: pyhanko-certvalidator 0.33 takes any indirect CRL
        for an answer about any certificate.
        """
        issuers = dict.fromkeys((*(each.issuer for each in path[:-1]), *named_crl_issuers(path[0])))
        return tuple(dict.fromkeys(crl for issuer in issuers for crl in self.of(issuer)))

    def of(self, issuer: bytes) -> tuple[Crl, ...]:
        """The CRLs whose issuer has this name."""
        if issuer in self._by_issuer:
            return tuple(self._by_issuer[issuer])
        return tuple(crl for name, crls in self._by_issuer.items() if names.same_name(name, issuer) for crl in crls)

    def status(
        self, certificate: Certificate, issuer: Certificate, now: datetime, offered: Sequence[Crl] = ()
    ) -> Status:
        """Whether `certificate` is revoked. `issuer` issued it, and is itself trusted to have done so.

        `offered` are CRLs a stranger sent along: those count that are simple and signed by the issuer. "complex" where
        the CRLs of the index cannot be judged here. Raises MalformedMessage for broken extensions.
        """
        candidates = [crl for crl in self.of(certificate.issuer) if crl.this_update <= now]
        candidates += [
            crl
            for crl in offered
            if crl.this_update <= now
            and not crl.is_complex
            and names.same_name(crl.issuer, certificate.issuer)
            and is_crl_signed_by(crl.x509, issuer)
        ]
        if named_crl_issuers(certificate) or _has_relative_point(certificate):
            return Status("complex")
        if not candidates:
            return Status("unknown", "no revocation list of the issuer")
        candidates = [crl for crl in candidates if crl.scope is None or crl.scope.covers(certificate)]
        if not candidates:
            return Status("unknown", "no revocation list of the issuer covers it")
        if any(crl.is_complex for crl in candidates) or certificate.extension(_FRESHEST_CRL) is not None:
            return Status("complex")
        if not all(self._signed(crl, issuer) for crl in candidates) or not _may_sign_crls(issuer):
            return Status("complex")
        newest = max(candidates, key=lambda crl: crl.this_update)
        if newest.entries is None:
            return Status("complex")
        entry = newest.entries.get(certificate.serial)
        if entry is not None:
            reason = f", {entry.reason}" if entry.reason else ""
            return Status("revoked", f"revoked {entry.date:%Y-%m-%d %H:%M:%SZ}{reason}", newest.next_update)
        if not newest.current(now, self.grace):
            return Status("unknown", f"the revocation list of {newest.this_update:%Y-%m-%d} is out of date")
        return Status("good", "", newest.until(self.grace))

    def prepare(self, issuer: Certificate) -> None:
        """Check the signatures of an issuer's CRLs and make their tables, so that whoever asks next need not wait."""
        for crl in self.of(issuer.subject):
            if self._signed(crl, issuer):
                _ = crl.entries

    def _signed(self, crl: Crl, issuer: Certificate) -> bool:
        key = (crl.sha256, issuer.spki)
        if key not in self._checked:
            self._checked[key] = is_crl_signed_by(crl.x509, issuer)
        return self._checked[key]


def named_crl_issuers(certificate: Certificate) -> tuple[bytes, ...]:
    """Names of those whose indirect CRLs speak of a certificate (RFC 5280 4.2.1.13). Raises MalformedMessage."""
    points = _points(certificate) or ()
    found = [name.value for point in points for name in point.crl_issuer or () if isinstance(name, x509.DirectoryName)]
    return tuple(name.public_bytes() for name in found)


def _points(certificate: Certificate) -> x509.CRLDistributionPoints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return None


def _has_relative_point(certificate: Certificate) -> bool:
    return any(point.relative_name is not None for point in _points(certificate) or ())


def _scope(point: x509.IssuingDistributionPoint) -> Scope | None:
    beyond = point.indirect_crl or point.only_contains_attribute_certs or point.only_some_reasons is not None
    if beyond or point.relative_name is not None or (point.only_contains_user_certs and point.only_contains_ca_certs):
        return None
    only: Literal["users", "authorities"] | None = "users" if point.only_contains_user_certs else None
    if point.only_contains_ca_certs:
        only = "authorities"
    return Scope(_keys(point.full_name) if point.full_name is not None else None, only)


def _distribution_points(certificate: Certificate) -> frozenset[bytes]:
    """The names of the distribution points of a certificate; without any it is its issuer (RFC 5280 6.3.3)."""
    points = _points(certificate)
    if points is None:
        return frozenset({certificate.issuer})
    return frozenset().union(*(_keys(point.full_name) for point in points if point.full_name is not None))


def _keys(general: Iterable[x509.GeneralName]) -> frozenset[bytes]:
    """Names to be compared: URIs as they are, directory names in DER. The other kinds name no place of a CRL."""
    found = set()
    for name in general:
        if isinstance(name, x509.UniformResourceIdentifier):
            found.add(name.value.encode())
        elif isinstance(name, x509.DirectoryName):
            found.add(name.value.public_bytes())
    return frozenset(found)


def _may_sign_crls(issuer: Certificate) -> bool:
    bits = usage.key_usage(issuer)
    return bits is None or "cRLSign" in bits


def crl_index(octets: Iterable[bytes], grace: timedelta = timedelta(0)) -> CrlIndex:
    """An index of these CRLs in DER, each once. Raises MalformedMessage if one cannot be loaded."""
    return CrlIndex(tuple(Crl(der) for der in dict.fromkeys(octets)), grace)


def loadable(octets: Iterable[bytes]) -> tuple[Crl, ...]:
    """Those of a stranger's CRLs that can be loaded, and take no long time to."""
    found = []
    for der in dict.fromkeys(octets):
        if len(der) > LARGEST_OFFERED:
            continue
        try:
            found.append(Crl(der))
        except MalformedMessage:
            continue
    return tuple(found)
