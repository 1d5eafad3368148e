"""Whether a certificate can serve as a role of RFC 3183, as a mail list's or as a person's, and every reason why not.

Names by `services.names` (3.1.1, 4.1), usage and key by `trust.usage`, validity by the clock that is passed in. Whether
anybody trusts its issuer is not looked at: that depends on who receives. What is only worth knowing is in
`domsec.cli.remarks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from domsec.cli.world import ROLE_NAMES, Role
from domsec.cms.certificates import Certificate
from domsec.errors import DomsecError, MalformedMessage
from domsec.mime.addresses import parse_address
from domsec.services import names
from domsec.services.names import DomainParts, Entity
from domsec.services.peer import Naming, Peer
from domsec.trust import usage
from domsec.trust.addresses import NAME_CONSTRAINTS, addresses
from domsec.trust.names import common_names
from domsec.trust.signature import weak_signature

Part = Role | Literal["list"]
ROLES: Final[tuple[Part, ...]] = ("signing", "confidentiality", "review", "attributes", "list", "user")
NAMES: Final = {**dict[Part, str](ROLE_NAMES.items()), "list": "mail list agent", "user": "person"}
SPEAKS_FOR_DOMAINS: Final = ("signing", "confidentiality")  # the roles that the name mapping rule is for


@dataclass(frozen=True, slots=True)
class Fitness:
    """One role: it can be served if there is no problem."""

    role: Part
    name: str  # the role name of the RFC
    problems: tuple[str, ...]
    scope: str = ""  # for whom or what it serves, or could

    @property
    def serves(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a certificate is held against."""

    now: datetime
    domains: tuple[str, ...] = ()  # for which the authority has to speak; none: those of its own names
    naming: Naming = "strict"
    is_public_suffix: Callable[[str], bool] = lambda _: False


def lint(certificate: Certificate, role: Part, wanted: Wanted) -> Fitness:
    """Whether a certificate can serve as one role. Raises nothing for what is in it."""
    try:
        problems = tuple(_problems(certificate, role, wanted))
        scope = _otherwise(certificate, role, wanted) if problems else _scope(certificate, role, wanted)
    except DomsecError as problem:
        problems, scope = (f"it cannot be read: {problem}",), ""
    return Fitness(role, NAMES[role], tuple(dict.fromkeys(problems)), scope)


def _problems(certificate: Certificate, role: Part, wanted: Wanted) -> Iterator[str]:
    yield from _general(certificate, wanted.now)
    if role == "user":
        yield from _person(certificate)
    elif role == "list":
        yield from _list(certificate)
    else:
        yield from _authority(certificate, role, wanted)


def _scope(certificate: Certificate, role: Part, wanted: Wanted) -> str:
    if role in SPEAKS_FOR_DOMAINS:
        domains = wanted.domains or _own_domains(names.domain_parts(certificate))
        served = f"for {', '.join(domains)}" + ("" if wanted.domains else " and what lies below")
        return served if wanted.naming == "strict" else f'{served}, with peers that agree to naming = "{wanted.naming}"'
    return " and ".join(can(certificate)) if role in ("user", "list") else ""


def reserved_names(certificate: Certificate) -> tuple[str, ...]:
    """The roles of RFC 3183 whose names a certificate has, or names that look like them. Raises MalformedMessage."""
    stated = (*common_names(certificate), *(address.rpartition("@")[0] for address in addresses(certificate)))
    return tuple(name for name in ROLE_NAMES.values() if any(names.looks_like(part, name) for part in stated))


def _otherwise(certificate: Certificate, role: Part, wanted: Wanted) -> str:
    """Whether it is only the common name that public CAs may not issue."""
    if role not in ROLE_NAMES or wanted.naming != "strict":
        return ""
    agreed = replace(wanted, naming="mailbox")
    return "" if any(_problems(certificate, role, agreed)) else 'with peers that agree to naming = "mailbox" it can'


def _general(certificate: Certificate, now: datetime) -> Iterator[str]:
    """What no certificate that serves may have; a path with it would not hold either (`domsec.trust.path`)."""
    if now < certificate.not_before:
        yield f"it is not valid before {certificate.not_before:%Y-%m-%d}"
    if now > certificate.not_after:
        yield f"it expired on {certificate.not_after:%Y-%m-%d}"
    if usage.is_ca(certificate):
        yield "it is the certificate of a CA"
    elif certificate.extension(NAME_CONSTRAINTS) is not None:
        yield "it has name constraints, but is no CA"
    if certificate.issuer != certificate.subject and (weakness := weak_signature(certificate)):
        yield f"it is {weakness}"


def _authority(certificate: Certificate, role: Role, wanted: Wanted) -> Iterator[str]:
    agreed = None if wanted.naming == "strict" else Peer("", naming=wanted.naming)
    yield from (t for code, t in names.check_naming(certificate, ROLE_NAMES[role], agreed) if _counts(code))
    if role in SPEAKS_FOR_DOMAINS:
        yield from _mapping(certificate, wanted)
    find = usage.encryption_problems if role == "confidentiality" else usage.signing_problems
    yield from find(certificate)


def _counts(code: str) -> bool:
    return code != "naming.convention"


def _mapping(certificate: Certificate, wanted: Wanted) -> Iterator[str]:
    """The name mapping rule, for the domains asked for or for each that the certificate names itself."""
    domains = wanted.domains or _own_domains(names.domain_parts(certificate))
    if not domains:
        yield "no name of it can be compared with a mail domain"
    for domain in domains:
        yield from (
            text
            for _, text in names.check_mapping(certificate, [Entity(domain)], None, wanted.is_public_suffix).findings
        )


def _own_domains(parts: DomainParts) -> tuple[str, ...]:
    found = [*parts.rfc822, *([parts.dc] if parts.dc is not None and parts.dc_names_mail else [])]
    return tuple(names.written(domain) for domain in found)


def _list(certificate: Certificate) -> Iterator[str]:
    """RFC 2634 4: it signs what it sends on. What it only opens with may be another one (`previous` of `[[list]]`)."""
    yield from _own_name(certificate)
    yield from (f"it cannot sign: {text}" for text in usage.signing_problems(certificate))


def _own_name(certificate: Certificate) -> Iterator[str]:
    """An address, and not one that an authority would have."""
    found = addresses(certificate)
    if not any(_usable(address) for address in found):
        yield "it has no mail address"
    yield from (f"it is named like a {name}" for name in reserved_names(certificate))


def _person(certificate: Certificate) -> Iterator[str]:
    yield from _own_name(certificate)
    signing, encryption = usage.signing_problems(certificate), usage.encryption_problems(certificate)
    if signing and encryption:
        yield from (f"it cannot sign: {text}" for text in signing)
        yield from (f"it cannot be encrypted to: {text}" for text in encryption)


def _usable(address: str) -> bool:
    """Whether it is one, and not meant as a wildcard: nothing in mail compares with those."""
    try:
        parse_address(address)
    except MalformedMessage:
        return False
    return "*" not in address


def can(certificate: Certificate) -> tuple[str, ...]:
    """What the key may be used for, in words."""
    uses: Sequence[tuple[str, Callable[[Certificate], tuple[str, ...]]]] = (
        ("sign", usage.signing_problems),
        ("be encrypted to", usage.encryption_problems),
    )
    return tuple(word for word, problems in uses if not problems(certificate))
