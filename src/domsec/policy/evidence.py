"""Who handed outbound mail over, from the session and from what our own mail server wrote above it (decisions A-27).

    network      the address of the client
    xclient      the login, told by a trusted client
    header       the login, in a field that our own mail server wrote
    certificate  the client's TLS certificate, whose fingerprint our own mail server wrote into such a field, or that
                 was shown to ourselves
    local        the user at the other end of a Unix socket
    results      the login, in Authentication-Results of an upstream server, on a link that is known by its address

Nothing a client can write is believed: a field counts only above the first Received field, where only the server writes
that handed the message to us. A rule that gives nothing says why, for whoever asks later why a message was not signed.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from domsec.errors import MalformedMessage
from domsec.mime import authentication_results
from domsec.mime.addresses import Mailbox, ascii_lower, parse_address, within
from domsec.mime.authentication_results import Result
from domsec.mime.fields import Field, Header
from domsec.policy import options
from domsec.policy.kinds import Networks
from domsec.services.names import printable
from domsec.services.sign import Evidence

UNAVAILABLE = frozenset({"", "[UNAVAILABLE]"})  # what XFORWARD says of what it does not know


@dataclass(frozen=True, slots=True)
class Rights:
    """What one login may write in From."""

    addresses: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()


Owners = Mapping[str, frozenset[str]]  # the logins an address or @domain belongs to, all in lower case

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
    owners: Owners | None = None
    authserv_id: str = ""
    selectors: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Client:
    """What the listener knows of who is connected. `login` was told by a trusted client."""

    address: str | None
    login: str | None
    xforward: Mapping[str, str]
    user: str | None = None
    certificate: str | None = None  # SHA-256 of what it showed us

    @property
    def origin(self) -> str | None:
        """Where the message came from first: what a trusted client forwarded, else who is connected.

        None is our own machine. Raises LookupError where a trusted client does not know.
        """
        if not self.xforward:
            return self.address
        forwarded = self.xforward.get("ADDR")
        if forwarded is not None and forwarded not in UNAVAILABLE:
            return forwarded.removeprefix("IPV6:")
        if self.xforward.get("SOURCE") == "LOCAL":
            return None
        raise LookupError("a trusted client does not say where the message came from")


@dataclass(frozen=True, slots=True)
class Collected:
    """All evidence there is, and for each other rule why it gives none."""

    evidence: tuple[Evidence, ...] = ()
    missing: tuple[str, ...] = ()


def collect(rules: Iterable[Rule], client: Client, header: Header, originators: Iterable[Mailbox] = ()) -> Collected:
    """What this session and the fields of our own mail server say of who sent the message.

    `originators` are those of From: a table of owners is asked for them, as Postfix asks it for the envelope sender.
    """
    found: list[Evidence] = []
    missing: list[str] = []
    named = tuple(originators)
    for index, rule in enumerate(rules):
        try:
            found.append(_from(rule, client, header, named))
        except LookupError as none:
            missing.append(f"evidence[{index}] {rule.kind}: {none}")
    return Collected(tuple(found), tuple(missing))


def _from(rule: Rule, client: Client, header: Header, originators: tuple[Mailbox, ...]) -> Evidence:
    """Raises LookupError with the reason where there is none."""
    match rule.kind:
        case "network":
            return _of_network(rule, client)
        case "certificate" if not rule.token:
            login = _shown(client)
        case "header" | "certificate":
            login = _attested(rule, header)
        case "xclient":
            login = _known(client.login, "no trusted client told a login")
        case "local":
            login = _known(client.user, "the client did not come by a Unix socket")
        case "results":
            login = _stated(rule, client, header)
        case "dkim":
            return _of_dkim(rule, client, header, originators)
    return _of_login(rule, fingerprint(login) if rule.kind == "certificate" else login, originators)


def _known(told: str | None, otherwise: str) -> str:
    if not told:
        raise LookupError(otherwise)
    return told


def _shown(client: Client) -> str:
    """The certificate of who is connected, as long as that is who sends."""
    if client.xforward or client.login:
        raise LookupError("a trusted client speaks for somebody else, whose certificate is not known")
    return _known(client.certificate, "the client showed no certificate by a CA of listen.tls_clients")


def _of_network(rule: Rule, client: Client) -> Evidence:
    origin = client.origin
    if origin not in rule.networks:
        raise LookupError(f"{_address(origin)} is in none of its networks")
    return Evidence("network", origin or "local", domains=rule.domains)


def _address(address: str | None) -> str:
    return "our own machine" if address is None else printable(address)


def _attested(rule: Rule, header: Header) -> str:
    """What the evidence field says. Two that differ mean that somebody else wrote one: then there is none."""
    found = set()
    for field in _of_our_server(header, rule.header.lower()):
        token, _, login = field.value.strip().partition(" ")
        genuine = hmac.compare_digest(token.encode("utf-8", "surrogateescape"), rule.token.encode())
        if rule.token and genuine and login.strip():
            found.add(login.strip())
    if len(found) > 1:
        raise LookupError(f"several {rule.header} fields with our token that differ")
    return _known(next(iter(found), None), f"no {rule.header} field with our token above Received")


def _stated(rule: Rule, client: Client, header: Header) -> str:
    """The login that an upstream server has checked (RFC 8601 2.7.4): one field, one `auth=pass`, or none at all."""
    checked = _results(rule, client, header, "auth")
    logins = [text for result in checked for name, text in result.properties if name == "smtp.auth"]
    if not len(checked) == len(logins) == 1 or checked[0].result != "pass":
        raise LookupError(f"{rule.authserv_id} does not say auth=pass of one login")
    return _known(logins[0], f"{rule.authserv_id} names no login")


def _of_dkim(rule: Rule, client: Client, header: Header, originators: tuple[Mailbox, ...]) -> Evidence:
    """That an upstream server has checked a signature of the domain in From, by a key that counts (RFC 8601 2.7.1).

    A signature speaks for its own domain, not for those below (as with strict alignment, RFC 7489 3.1.1).
    """
    signed: dict[str, str] = {}
    for result in _results(rule, client, header, "dkim"):
        stated = dict(result.properties)
        selector, domain = stated.get("header.s", "").lower(), stated.get("header.d", "").lower()
        repeated = len(stated) != len(result.properties)
        if result.result == "pass" and not repeated and selector in rule.selectors and within(domain, rule.domains):
            signed[domain] = selector
    addresses = frozenset(mailbox.address for mailbox in originators if mailbox.domain in signed)
    if not addresses:
        raise LookupError(f"{rule.authserv_id} says dkim=pass of no domain in From by a key with one of its selectors")
    return Evidence("dkim", " ".join(f"{selector}._domainkey.{d}" for d, selector in signed.items())[:200], addresses)


def _results(rule: Rule, client: Client, header: Header, method: str) -> list[Result]:
    """What an upstream server says of a method, in the one field that is its own."""
    if client.address not in rule.networks:
        raise LookupError(f"{_address(client.address)} is not the upstream server")
    ours = [f.value for f in _of_our_server(header, authentication_results.NAME)]
    ours = [v for v in ours if (authentication_results.parse_authserv_id(v) or "").lower() == rule.authserv_id.lower()]
    if len(ours) != 1:
        raise LookupError(f"{len(ours)} results of {rule.authserv_id} above Received, expected one")
    try:
        return [result for result in authentication_results.parse_results(ours[0]) if result.method == method]
    except MalformedMessage as error:
        raise LookupError(f"the results of {rule.authserv_id} cannot be read: {error}") from None


def _of_our_server(header: Header, name: str) -> Iterator[Field]:
    """The fields of this name above the first Received field."""
    for field in header.fields:
        if field.name == "received":
            return
        if field.name == name:
            yield field


def fingerprint(text: str) -> str:
    """A digest as Postfix and OpenSSL print it, in the form of ours."""
    return text.replace(":", "").strip().lower()


def _of_login(rule: Rule, login: str, originators: tuple[Mailbox, ...]) -> Evidence:
    rights = _rights(rule, login, originators)
    addresses = frozenset(a for a in rights.addresses if _within(a, rule.domains))
    kind = rule.kind if rule.kind in ("certificate", "local") else "login"
    return Evidence(kind, login[:200], addresses, frozenset(d for d in rights.domains if within(d, rule.domains)))


def _rights(rule: Rule, login: str, originators: tuple[Mailbox, ...]) -> Rights:
    if rule.owners is not None:
        return Rights(frozenset(m.address for m in originators if login.lower() in _owners(rule.owners, m)))
    if rule.logins is not None:
        return rule.logins.get(login.lower(), Rights())
    return Rights(frozenset({login}) if "@" in login else frozenset())


def _owners(owners: Owners, mailbox: Mailbox) -> frozenset[str]:
    """Whom an address belongs to: its domain is asked only where the address stands in no line of its own."""
    own = owners.get(ascii_lower(mailbox.address))
    return own if own is not None else owners.get(f"@{mailbox.domain}", frozenset())


def _within(address: str, domains: frozenset[str]) -> bool:
    try:
        return within(parse_address(address).domain, domains)
    except MalformedMessage:
        return False


def without_fields(header: Header, rules: Sequence[Rule]) -> Header:
    """The header without the fields that evidence stands in: they are nobody else's business."""
    ids = {rule.authserv_id for rule in rules if rule.kind in ("results", "dkim")}
    kept = authentication_results.remove(header, ids) if ids else header
    return kept.without({rule.header.lower() for rule in rules if rule.kind in ("header", "certificate")})
