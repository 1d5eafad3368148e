"""Who handed outbound mail over, from the session and from what our own mail server wrote above it (decisions A-27).

Nothing a client can write is believed: a field counts only above the first Received field, where only our own mail
server writes, and only with the installation's token.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from domsec.errors import MalformedMessage
from domsec.mime.addresses import parse_address
from domsec.mime.fields import Header
from domsec.policy import options
from domsec.policy.kinds import Networks
from domsec.services.sign import Evidence

UNAVAILABLE = frozenset({"", "[UNAVAILABLE]"})  # what XFORWARD says of what it does not know


@dataclass(frozen=True, slots=True)
class Rights:
    """What one login may write in From."""

    addresses: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()


_NOWHERE = Networks()


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[outbound.evidence]]` table with the files it names read."""

    kind: options.EvidenceKind
    domains: frozenset[str]
    networks: Networks = _NOWHERE
    header: str = ""
    token: str = ""
    logins: Mapping[str, Rights] | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """What the listener knows of who is connected. `login` was told by a trusted client."""

    address: str | None
    login: str | None
    xforward: Mapping[str, str]

    @property
    def origin(self) -> str | None:
        """Where the message came from first: what a trusted client forwarded, else who is connected.

        None is our own machine. Raises LookupError where a trusted client does not know.
        """
        forwarded, source = self.xforward.get("ADDR"), self.xforward.get("SOURCE")
        if forwarded is not None and forwarded not in UNAVAILABLE:
            return forwarded.removeprefix("IPV6:")
        if source == "LOCAL":
            return None
        if forwarded is None and source is None:  # nothing was forwarded about it
            return self.address
        raise LookupError


def collect(rules: Iterable[Rule], client: Client, header: Header) -> tuple[Evidence, ...]:
    """All evidence that this session and the fields of our own mail server give."""
    return tuple(e for rule in rules for e in _from(rule, client, header))


def _from(rule: Rule, client: Client, header: Header) -> list[Evidence]:
    match rule.kind:
        case "network":
            try:
                origin = client.origin
            except LookupError:
                return []
            if origin not in rule.networks:
                return []
            return [Evidence("network", origin or "local", domains=rule.domains)]
        case "header":
            return [_of_login(rule, login) for login in _attested(rule, header)]
        case "xclient":
            return [_of_login(rule, client.login)] if client.login else []


def _attested(rule: Rule, header: Header) -> list[str]:
    """The login in the evidence field. Two of them mean that somebody else wrote one: then there is none."""
    found = []
    for field in header.fields:
        if field.name == "received":
            break
        if field.name == rule.header.lower():
            token, _, login = field.value.strip().partition(" ")
            if hmac.compare_digest(token.encode("utf-8", "surrogateescape"), rule.token.encode()) and login.strip():
                found.append(login.strip())
    return found if len(set(found)) == 1 else []


def _of_login(rule: Rule, login: str) -> Evidence:
    if rule.logins is not None:
        rights = rule.logins.get(login.lower(), Rights())
    else:
        rights = Rights(frozenset({login}) if "@" in login else frozenset())
    addresses = frozenset(a for a in rights.addresses if _within(a, rule.domains))
    return Evidence("login", login[:200], addresses, frozenset(d for d in rights.domains if _covers(rule.domains, d)))


def _within(address: str, domains: frozenset[str]) -> bool:
    try:
        return _covers(domains, parse_address(address).domain)
    except MalformedMessage:
        return False


def _covers(domains: frozenset[str], domain: str) -> bool:
    return any(domain == d or domain.endswith(f".{d}") for d in domains)


def without_fields(header: Header, rules: Sequence[Rule]) -> Header:
    """The header without the fields that evidence stands in: they are nobody else's business."""
    return header.without({rule.header.lower() for rule in rules if rule.kind == "header"})
