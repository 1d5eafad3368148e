"""Names of authorities and what they may speak for (RFC 3183 3.1.1 and 4.1, decisions A-13 to A-20).

A domain name is a tuple of labels, most significant first, so one name is an ascendant of another when it is a proper
prefix of it; the same holds for the X.500 part of a directory name, a tuple of normalised RDNs from the root, and for
that of an X.400 address, its attributes from the country to the units.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage
from domsec.mhs.names import ORAddress, ORName
from domsec.mime.addresses import Mailbox, normalise_domain
from domsec.services.peer import MAPPING_FORMS, Peer
from domsec.services.signature_type import SignatureType
from domsec.trust.addresses import addresses, or_addresses, smtp_utf8_addresses
from domsec.trust.names import common_names, escaped, normalised_value, rdns

SIGNING_AUTHORITY: Final = "domain-signing-authority"
REVIEW_AUTHORITY: Final = "review-authority"
ATTRIBUTE_AUTHORITY: Final = "attribute-authority"
CONFIDENTIALITY_AUTHORITY: Final = "domain-confidentiality-authority"

ROLE_NAMES: Final = {
    SignatureType.DOMAIN: SIGNING_AUTHORITY,
    SignatureType.REVIEW: REVIEW_AUTHORITY,
    SignatureType.ATTRIBUTES: ATTRIBUTE_AUTHORITY,
}

Labels = tuple[str, ...]
Relation = Literal["equal", "ascendant", "mismatch", "not_comparable"]
Finding = tuple[str, str]  # flag code and text
X400Domain = tuple[tuple[str, str], ...] | None

_X500: Final = frozenset(
    {
        oids.COUNTRY_NAME,
        oids.ORGANIZATION_NAME,
        oids.ORGANIZATIONAL_UNIT_NAME,
        oids.STATE_OR_PROVINCE_NAME,
        oids.LOCALITY_NAME,
    }
)
_BESIDE_DC: Final = frozenset({oids.COMMON_NAME, oids.EMAIL_ADDRESS})

# letters of other scripts, and digits, that pass for the letters of role names
_CONFUSABLE: Final = str.maketrans(
    {
        "а": "a", "е": "e", "о": "o", "р": "p", "с": "c", "у": "y", "х": "x", "і": "i", "ї": "i", "ѕ": "s", "ԁ": "d",
        "ո": "n", "һ": "h", "г": "r", "ԍ": "g", "т": "t", "м": "m", "к": "k", "в": "v", "п": "n", "и": "u",
        "α": "a", "ε": "e", "ι": "i", "ο": "o", "ρ": "p", "τ": "t", "υ": "u", "ν": "v", "η": "n", "κ": "k", "ω": "w",
        "ı": "i", "ɡ": "g", "ɑ": "a", "0": "o", "1": "i", "l": "i", "|": "i", "3": "e", "5": "s", "$": "s",
        "_": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-", "﹣": "-", "－": "-", ".": "-",
    }
)  # fmt: skip


def same_name(found: str, wanted: str) -> bool:
    """ASCII comparison without case: no trimming, no Unicode folding (decisions A-13)."""
    return found.isascii() and found.lower() == wanted.lower()


def looks_like(found: str, wanted: str) -> bool:
    """Whether a person, or a careless CA, might take one name for the other."""
    return _folded(found) == _folded(wanted)


@functools.lru_cache(maxsize=256)
def _folded(name: str) -> str:
    spread = unicodedata.normalize("NFKD", name.casefold())
    shown = (c for c in spread if not unicodedata.combining(c) and unicodedata.category(c) not in ("Cf", "Cc"))
    return "".join("".join(shown).translate(_CONFUSABLE).split())


def _split(address: str) -> tuple[str, str]:
    local, _, domain = address.rpartition("@")
    return local, domain


def labels(domain: str) -> Labels:
    """The labels of a normalised domain, most significant first. An address literal is one label."""
    return (domain,) if domain.startswith("[") else tuple(reversed(domain.split(".")))


def written(domain: Labels) -> str:
    """The domain of such labels, as people write it."""
    return ".".join(reversed(domain))


@functools.lru_cache(maxsize=1024)
def check_naming(certificate: Certificate, role_name: str, peer: Peer | None = None) -> tuple[Finding, ...]:
    """What in a certificate's names breaks the naming convention for a role; empty if nothing does.

    Findings are violations, but for `naming.convention`: an agreement other than the RFC's rule was applied.
    """
    profile = peer.naming if peer else "strict"
    if profile == "pinned":
        applied = ("naming.convention", "pinned")
        if peer and certificate.sha256 in peer.pins:
            return (applied,)
        return (applied, ("naming.not_pinned", "the certificate is none of those pinned for this domain"))
    try:
        names = common_names(certificate)
        stated = _trimmed(addresses(certificate), peer)
        x400 = or_addresses(certificate)
    except MalformedMessage as error:
        return (("naming.cn", f"the names of the certificate cannot be read: {error}"),)
    findings: list[Finding] = []
    if profile == "mailbox":
        findings.append(("naming.convention", "mailbox"))
        if not stated:
            findings.append(("naming.no_address", "the agreed convention wants an address, the certificate has none"))
        if names and (len(names) > 1 or {names[0]} != set(stated)):
            findings.append(("naming.cn", "the common name is not the only mailbox of the certificate"))
    elif not names:
        findings.append(("naming.cn_missing", f"no common name, expected {role_name}"))
    elif len(names) > 1:
        findings.append(("naming.cn_multiple", f"{len(names)} common names, expected one"))
    elif not same_name(names[0], role_name):
        code = "naming.lookalike" if looks_like(names[0], role_name) else "naming.cn"
        findings.append((code, f"the common name is {printable(names[0])}, expected {role_name}"))
    international = smtp_utf8_addresses(certificate)
    for address in stated:
        local, domain = _split(address)
        if not same_name(local, role_name) or address in international:
            code = "naming.lookalike" if looks_like(local, role_name) else "naming.rfc822_local"
            findings.append((code, f"the address {printable(address)} does not begin with {role_name}@"))
        elif not _usable(domain):
            findings.append(("address.invalid", f"the address {printable(address)} has no domain that can be used"))
    # RFC 3183 knows no X.400 addresses: whom one names, if anybody, has to be the role (decisions A-15)
    findings += [
        ("naming.x400", f"the address {printable(found.text)} is somebody else's")
        for found in x400
        if not all(label in ("CN", "S") and same_name(value, role_name) for label, value in found.user)
    ]
    return tuple(findings)


def _usable(domain: str) -> bool:
    try:
        normalise_domain(domain)
    except MalformedMessage:
        return False
    return True


def _trimmed(found: Iterable[str], peer: Peer | None) -> tuple[str, ...]:
    return tuple(a.strip() for a in found) if peer and peer.lenient_address else tuple(found)


def printable(text: str) -> str:
    """A name from outside, safe to show in one line."""
    return escaped(text[:200])


@dataclass(frozen=True, slots=True)
class DomainParts:
    """The domain part of a certificate's names in each form it has (RFC 3183 3.1.1)."""

    rfc822: tuple[Labels, ...] = ()
    dc: Labels | None = None
    dc_names_mail: bool = False  # the dc form may be compared with a mail domain (RFC 2247)
    x500: tuple[frozenset[tuple[str, str]], ...] | None = None
    mixed: tuple[frozenset[tuple[str, str]], ...] | None = None

    @property
    def domains(self) -> tuple[Labels, ...]:
        """Those that are domains of the DNS."""
        return (*self.rfc822, *((self.dc,) if self.dc else ()))


@functools.lru_cache(maxsize=4096)
def domain_parts(certificate: Certificate, lenient_address: bool = False) -> DomainParts:
    """The domain parts of a certificate. Addresses without a usable domain contribute none."""
    found = addresses(certificate)
    return _parts(certificate.subject, tuple(a.strip() for a in found) if lenient_address else found)


@functools.lru_cache(maxsize=1024)
def _parts(subject: bytes, found: tuple[str, ...]) -> DomainParts:
    domains: list[Labels] = []
    for address in found:
        if "@" not in address:
            continue
        try:
            domains.append(labels(normalise_domain(_split(address)[1])))
        except MalformedMessage:
            continue
    sequence = []
    dcs: list[str] = []
    dc_run_over = beside = False
    has_x500 = False
    for rdn in rdns(subject):
        kept = frozenset(
            (oid, normalised_value(value)) for oid, value in rdn if oid in _X500 or oid == oids.DOMAIN_COMPONENT
        )
        beside = beside or any(oid not in _BESIDE_DC and oid != oids.DOMAIN_COMPONENT for oid, _ in rdn)
        if not kept:
            continue
        sequence.append(kept)
        only = next(iter(kept))
        if len(kept) == 1 and only[0] == oids.DOMAIN_COMPONENT:
            if not dc_run_over:
                dcs.append(only[1])
        else:
            dc_run_over = True
        has_x500 = has_x500 or any(oid in _X500 for oid, _ in kept)
    try:
        dc = labels(normalise_domain(".".join(reversed(dcs)))) if dcs else None
    except MalformedMessage:
        dc = None
    rfc822 = tuple(dict.fromkeys(domains))
    if has_x500 and any(oid == oids.DOMAIN_COMPONENT for kept in sequence for oid, _ in kept):
        return DomainParts(rfc822, dc, dc is not None and not found, mixed=tuple(sequence))
    if has_x500:
        return DomainParts(rfc822, x500=tuple(sequence))
    return DomainParts(rfc822, dc, dc is not None and not found and not beside)


def relation(authority: tuple[object, ...], entity: tuple[object, ...]) -> Relation:
    """How an authority's domain part stands to an entity's."""
    if authority == entity:
        return "equal"
    return "ascendant" if entity[: len(authority)] == authority else "mismatch"


@dataclass(frozen=True, slots=True)
class Entity:
    """Somebody an authority may represent: the domain of a mailbox, or an X.400 address, and a directory name where
    one is known."""

    mail_domain: str  # empty for somebody of X.400
    subject: bytes | None = None  # DER Name
    subject_trusted: bool = False  # configured, or from a certificate with a valid path and this very address
    or_address: ORAddress | None = None

    @property
    def text(self) -> str:
        return printable(self.mail_domain if self.or_address is None else self.or_address.text)


def entity(originator: Mailbox | ORName, subject: bytes | None = None, *, trusted: bool = False) -> Entity:
    """Whom an originator is, in the eyes of an authority."""
    if isinstance(originator, ORName):
        return Entity("", subject, trusted, originator.address)
    return Entity(originator.domain, subject, trusted)


def same_originator(one: Mailbox | ORName, other: Mailbox | ORName) -> bool:
    """Whether two names are of one person, as far as names of their kind can tell; of two kinds they cannot."""
    if isinstance(one, ORName):
        return isinstance(other, ORName) and one.same_as(other)
    return isinstance(other, Mailbox) and one.same_as(other)


@dataclass(frozen=True, slots=True)
class Mapping:
    """The outcome of the name mapping rule. `detail` has the relation for each entity and form compared."""

    passed: bool
    detail: tuple[tuple[str, str, Relation], ...]
    findings: tuple[Finding, ...] = ()


def check_mapping(
    certificate: Certificate,
    entities: Iterable[Entity],
    peer: Peer | None,
    is_public_suffix: Callable[[str], bool],
) -> Mapping:
    """Whether the domain part of an authority equals, or is an ascendant of, that of every entity (decisions A-16).

    No form may contradict, and at least one has to be compared with the mail domain itself or with a directory name
    that is trusted to belong to it.
    """
    return _mapping(certificate, tuple(entities), peer, is_public_suffix)


@functools.lru_cache(maxsize=1024)
def _mapping(
    certificate: Certificate,
    entities: tuple[Entity, ...],
    peer: Peer | None,
    is_public_suffix: Callable[[str], bool],
) -> Mapping:
    try:
        parts = domain_parts(certificate, bool(peer and peer.lenient_address))
        x400 = [address.domain for address in or_addresses(certificate)]
    except MalformedMessage as error:
        return Mapping(False, (), (("mapping.not_comparable", f"the names of the authority cannot be read: {error}"),))
    forms = peer.mapping_forms if peer else MAPPING_FORMS
    ascent = peer.max_ascent if peer else None
    detail: list[tuple[str, str, Relation]] = []
    findings: list[Finding] = []
    for entity in entities:
        compared = list(_compare(parts, entity, forms, is_public_suffix, ascent))
        if x400 and entity.or_address is not None:
            compared.append(_by_address(x400, entity.or_address.domain))
        detail += [(entity.text, form, relation) for form, relation, _, _ in compared]
        findings += _judge(entity, compared)
    if not entities:
        findings.append(("mapping.not_comparable", "there is nobody to compare the authority with"))
    return Mapping(not findings, tuple(detail), tuple(dict.fromkeys(findings)))


# form, relation, whether it speaks of the originator's own address or of a proven name, what stood above
_Compared = tuple[str, Relation, bool, str]


def _judge(entity: Entity, compared: list[_Compared]) -> list[Finding]:
    wrong = [(form, authority) for form, found, _, authority in compared if authority or found == "mismatch"]
    held = [(form, mail) for form, found, mail, _ in compared if found in ("equal", "ascendant")]
    if not wrong and any(mail for _, mail in held):
        return []
    who = entity.text
    findings: list[Finding] = []
    for form, authority in wrong:
        if authority:
            findings.append(("mapping.too_general", f"{authority} may not speak for {who}"))
        else:
            findings.append(("mapping.mismatch", f"the {form} name of the authority does not cover {who}"))
    if findings:
        return findings
    if not held:
        return [("mapping.not_comparable", f"no form of the authority's name can be compared with {who}")]
    return [("mapping.no_mail_form", f"only a directory name nobody vouches for connects the authority with {who}")]


def _compare(
    parts: DomainParts,
    entity: Entity,
    forms: frozenset[str],
    is_public_suffix: Callable[[str], bool],
    ascent: int | None,
) -> Iterable[_Compared]:
    mail = labels(entity.mail_domain) if entity.or_address is None else None
    own = _parts(entity.subject, ()) if entity.subject is not None else DomainParts()
    trusted = entity.subject_trusted

    def general(domain: Labels) -> str:
        name = written(domain)
        if name.startswith("["):
            return ""
        return name if len(domain) < 2 or is_public_suffix(name) else ""

    def by_domain(form: str, domains: Iterable[Labels]) -> _Compared:
        if mail is None:
            return form, "not_comparable", False, ""
        best: _Compared = (form, "mismatch", True, "")
        for domain in domains:
            found = relation(domain, mail)
            if found == "mismatch" or (ascent is not None and len(mail) - len(domain) > ascent):
                continue
            if too_general := general(domain):
                best = best if best[1] != "mismatch" else (form, "mismatch", True, too_general)
                continue
            if found == "equal" or best[1] == "mismatch":
                best = (form, found, True, "")
        return best

    if parts.rfc822 and "rfc822" in forms:
        yield by_domain("rfc822", parts.rfc822)
    dc_form = "mixed" if parts.mixed is not None else "dc"
    if parts.dc is not None and dc_form in forms:
        if parts.dc_names_mail:
            yield by_domain(dc_form, (parts.dc,))
        elif parts.mixed is None:
            yield _directory(dc_form, parts.dc, own.dc, general(parts.dc), trusted)
        if parts.dc_names_mail and own.dc is not None and parts.mixed is None:
            yield _directory(dc_form, parts.dc, own.dc, general(parts.dc), trusted)
    for form, authority, person in (("x500", parts.x500, own.x500), ("mixed", parts.mixed, own.mixed)):
        if authority is None or form not in forms:
            continue
        organised = any(oid == oids.ORGANIZATION_NAME for rdn in authority for oid, _ in rdn)
        by_dc = parts.dc is not None and len(parts.dc) >= 2
        yield _directory(
            form, authority, person, "" if organised or by_dc else "a name without an organization", trusted
        )


def _by_address(authority: Iterable[X400Domain], person: X400Domain) -> _Compared:
    """X.400 addresses: the best of several, as with mail; one without an organization covers nobody."""
    usable = [domain for domain in authority if domain is not None]
    if person is None or not usable:
        return "x400", "not_comparable", False, ""
    covering = [domain for domain in usable if relation(domain, person) != "mismatch"]
    organised = [domain for domain in covering if any(label in ("P", "O") for label, _ in domain)]
    if organised:
        return "x400", "equal" if person in organised else "ascendant", True, ""
    above = ";".join(f"{label}={value}" for label, value in covering[0]) or "nothing" if covering else ""
    return "x400", "mismatch", True, above


def _directory(
    form: str, authority: tuple[object, ...], person: tuple[object, ...] | None, too_general: str, trusted: bool
) -> _Compared:
    if person is None:
        return form, "not_comparable", False, ""
    found = relation(authority, person)
    if found != "mismatch" and too_general:
        return form, "mismatch", False, too_general
    return form, found, trusted, ""
