"""What a configuration that loads may still have wrong: keys that do not open, certificates that do not fit their role.

Run before a port opens and by `domsec config check`. How keys and certificates are opened is passed in, since the
stores are a room of their own.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential, holds_key, receives, signs
from domsec.errors import ConfigurationError, DomsecError, StoreUnavailable
from domsec.policy.boundaries import boundaries, boundary_problems
from domsec.policy.configuration import Configuration, Problem
from domsec.policy.kinds import KEYD_USERS, is_loopback
from domsec.policy.labels import labelling
from domsec.policy.lines import KeyPath
from domsec.policy.logins import load_logins, load_owners
from domsec.policy.members import members_of
from domsec.policy.options import ConfidentialityKey, Key, ListOptions
from domsec.policy.rule_tables import rule_problems
from domsec.policy.tls import server_context
from domsec.services import names, proxy
from domsec.services.finding import mailboxes_of
from domsec.services.names import Entity
from domsec.services.peer import Peer
from domsec.trust import usage
from domsec.trust.addresses import addresses, subject_text

EXPIRY_WARNING = timedelta(days=30)

Role = Literal["signing", "confidentiality", "review", "attributes"]
RoleProblems = Callable[[Role, Key, Certificate, Sequence[str]], Sequence[str]]
# credential, password file, certificates; several where the key process holds several keys of a role
OpenCredentials = Callable[[str, Path | None, Sequence[Path]], Sequence[Credential]]


class LoadedFiles(Protocol):
    """What loading certificate files gives, as `domsec.stores.certificates.Loaded`."""

    @property
    def certificates(self) -> Sequence[Certificate]: ...

    @property
    def problems(self) -> Sequence[object]: ...


LoadCertificates = Callable[[Sequence[Path]], LoadedFiles]


class HeldKeys(Protocol):
    """What loading the keys of users gives, as `domsec.stores.users.Held`."""

    @property
    def files(self) -> Sequence[tuple[Path, Credential]]: ...

    @property
    def problems(self) -> Sequence[str]: ...


LoadUsers = Callable[[], HeldKeys]  # of the configuration that is checked

ROLE_NAMES: dict[Role, str] = {
    "signing": names.SIGNING_AUTHORITY,
    "confidentiality": names.CONFIDENTIALITY_AUTHORITY,
    "review": names.REVIEW_AUTHORITY,
    "attributes": names.ATTRIBUTE_AUTHORITY,
}


def role_problems(
    role: Role,
    key: Key,
    certificate: Certificate,
    domains: Sequence[str],
    is_public_suffix: Callable[[str], bool] = lambda _: False,
) -> tuple[str, ...]:
    """What in a certificate's names keeps it from the role.

    A signing or confidentiality authority has to speak for every one of `domains`.
    """
    agreed = Peer(domains[0], naming=key.naming) if domains else None
    findings = [f for f in names.check_naming(certificate, ROLE_NAMES[role], agreed) if f[0] != "naming.convention"]
    if role in ("signing", "confidentiality"):
        for domain in domains:
            findings += names.check_mapping(certificate, [Entity(domain)], None, is_public_suffix).findings
    return tuple(dict.fromkeys(text for _, text in findings))


def check(
    configuration: Configuration,
    *,
    open_credentials: OpenCredentials,
    load_certificates: LoadCertificates,
    now: datetime,
    role_problems: RoleProblems = role_problems,
    load_users: LoadUsers | None = None,
) -> tuple[Problem, ...]:
    """Open what the configuration names and say what is wrong with it. Raises nothing for what can be reported.

    Whether others will find a valid path to our certificates is not checked: their anchors are not known here.
    """
    checker = _Checker(configuration, open_credentials, now, role_problems)
    return (
        *checker.keys(),
        *checker.lists(),
        *checker.members(),
        *checker.users(load_users),
        *checker.shared_keys(),
        *checker.trust(load_certificates),
        *checker.directories(load_certificates),
        *checker.connections(load_certificates),
        *checker.evidence(),
        *checker.labels(),
        *checker.shadow(),
    )


def check_keys(
    configuration: Configuration,
    *,
    open_credentials: OpenCredentials,
    now: datetime,
    role_problems: RoleProblems = role_problems,
    load_users: LoadUsers | None = None,
) -> tuple[Problem, ...]:
    """As `check`, of the keys alone: all that the key process looks at."""
    checker = _Checker(configuration, open_credentials, now, role_problems)
    return (*checker.keys(), *checker.lists(), *checker.users(load_users), *checker.shared_keys())


@dataclass(frozen=True, slots=True)
class _Opened:
    place: str  # "keys.signing", "list staff"
    path: KeyPath
    certificate: Certificate


def _key_of(certificate: Certificate) -> bytes:
    """The public key in one way of writing it: an RSA key may be named by several object identifiers."""
    try:
        return certificate.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except DomsecError:
        return certificate.spki


def shared_keys(keys: Iterable[tuple[str, Certificate]]) -> Iterator[tuple[int, str]]:
    """Which of some keys, each with the place it is for, is another place's too: its index and what to say.

    One role, one key (decisions A-45); whoever may use one key in two roles could act as both.
    """
    seen: dict[bytes, str] = {}
    for index, (place, certificate) in enumerate(keys):
        other = seen.setdefault(_key_of(certificate), place)
        if other != place:
            yield index, f"the key of {place} is that of {other} too, expected a key of its own"


class _Checker:
    def __init__(
        self,
        configuration: Configuration,
        open_credentials: OpenCredentials,
        now: datetime,
        role_problems: RoleProblems,
    ) -> None:
        self.configuration = configuration
        self.open_credentials = open_credentials
        self.now = now
        self.role_problems = role_problems
        self.opened: list[_Opened] = []

    def keys(self) -> Iterator[Problem]:
        for role in ROLE_NAMES:
            key: Key | None = getattr(self.configuration.keys, role)
            if key is None:
                continue
            found: list[_Opened] = []
            for index, credential in enumerate(key.credential):
                path: KeyPath = ("keys", role, "credential", index)
                yield from self.permissions(credential, path)
                yield from self.open(f"keys.{role}", key, credential, path, found)
            for opened in found:
                yield from self.role(role, key, opened)
            yield from self.times(f"keys.{role}", found, still_used=role == "confidentiality")
            if isinstance(key, ConfidentialityKey):
                for index, previous in enumerate(key.previous):
                    path = ("keys", role, "previous", index)
                    yield from self.permissions(previous, path)
                    yield from self.open(f"keys.{role}", key, previous, path, [])

    def lists(self) -> Iterator[Problem]:
        """The keys of mail lists."""
        for index, options in enumerate(self.configuration.lists):
            path: KeyPath = ("list", index, "credential")
            name = f"list {options.name}"
            found: list[_Opened] = []
            yield from self.permissions(options.credential, path)
            yield from self.open(name, options, options.credential, path, found)
            signing = [opened for opened in found if not usage.signing_problems(opened.certificate)] or found
            for opened in signing:
                yield from self.list_certificate(options, opened)
            yield from self.times(name, signing, still_used=True)
            for number, previous in enumerate(options.previous):
                path = ("list", index, "previous", number)
                yield from self.permissions(previous, path)
                yield from self.open(name, options, previous, path, [])

    def members(self) -> Iterator[Problem]:
        """Who is on mail lists."""
        for index, options in enumerate(self.configuration.lists):
            try:
                members = members_of(options)
            except ConfigurationError as error:
                for text in error.problems:
                    yield self.configuration.problem(text, "list", index, "members_file")
                continue
            if any(member.same_as(options.address) for member in members):
                text = f"list {options.name} is its own member, expected others"
                yield self.configuration.problem(text, "list", index)

    def list_certificate(self, options: ListOptions, opened: _Opened) -> Iterator[Problem]:
        """Whether a list can sign with its certificate, and whether others find that it is the list's."""
        of, certificate, path = f"the certificate of list {options.name}", opened.certificate, opened.path
        try:
            texts = usage.signing_problems(certificate)
            named = mailboxes_of(addresses(certificate))
        except DomsecError as error:
            yield self.configuration.problem(f"{of} cannot be read: {error}", *path)
            return
        for text in texts:
            yield self.configuration.problem(f"{of} cannot sign: {text}", *path)
        if not any(mailbox.same_as(options.address) for mailbox in named):
            text = f"{of} does not name {options.address.address}, so nobody encrypts to the list"
            yield self.configuration.problem(text, *path, severity="warning")

    def users(self, load_users: LoadUsers | None) -> Iterator[Problem]:
        """The keys of users. One that is no good keeps none of the others from serving."""
        options, path = self.configuration.users, ("users", "folder")
        if options.folder is None or load_users is None:
            return
        held = load_users()
        for text in held.problems:
            yield self.configuration.problem(text, *path, severity="warning")
        for file, credential in held.files:
            if options.folder != KEYD_USERS:
                yield from self.permissions(str(file), path)
            self.opened.append(
                _Opened(f"the user {subject_text(credential.certificate)}", path, credential.certificate)
            )
            for text in self.user_problems(credential.certificate):
                yield self.configuration.problem(f"{file}: {text}", *path, severity="warning")

    def user_problems(self, certificate: Certificate) -> Iterator[str]:
        """What keeps a key from signing, or will soon, for whom its certificate names."""
        yield from proxy.problems(certificate)
        try:
            domains = [mailbox.domain for mailbox in mailboxes_of(addresses(certificate))]
            end = certificate.not_after
        except DomsecError:
            return  # told already
        if domains and not any(map(self.configuration.serves, domains)):
            yield f"it is of {', '.join(domains)}, none of our domains"
        if end < self.now:
            yield f"it expired on {end:%Y-%m-%d}"
        elif end - self.now < EXPIRY_WARNING:
            yield f"it expires on {end:%Y-%m-%d}"

    def open(
        self, place: str, key: Key | ListOptions, credential: str, path: KeyPath, found: list[_Opened]
    ) -> Iterator[Problem]:
        """Open a credential and add it to those `found`."""
        try:
            credentials = self.open_credentials(credential, key.password_file, key.certificates)
        except ConfigurationError as error:
            for text in error.problems:
                yield self.configuration.problem(text, *path)
        except DomsecError as error:
            yield self.configuration.problem(str(error), *path)
        else:
            for one in credentials:
                found.append(_Opened(place, path, one.certificate))
                self.opened.append(found[-1])
                if credential.startswith("keyd:"):
                    yield from self.held(one, path, place)

    def held(self, credential: Credential, path: KeyPath, place: str) -> Iterator[Problem]:
        """Whether the key process has the key of a certificate. One that is down may come up again."""
        works = holds_key if place.startswith("list ") else receives if place == "keys.confidentiality" else signs
        try:
            if not works(credential):
                text = f"the key process holds another key than that of the certificate {credential.certificate.sha256}"
                yield self.configuration.problem(text, *path)
        except StoreUnavailable as error:
            text = f"mail waits until the key process answers: {error}"
            yield self.configuration.problem(text, *path, severity="warning")
        except DomsecError as error:
            yield self.configuration.problem(str(error), *path)

    def role(self, role: Role, key: Key, opened: _Opened) -> Iterator[Problem]:
        """Whether a certificate can serve its role, whatever the time."""
        certificate = opened.certificate
        try:
            find = usage.encryption_problems if role == "confidentiality" else usage.signing_problems
            texts = (*find(certificate), *self.role_problems(role, key, certificate, self.configuration.domains))
        except DomsecError as error:
            yield self.configuration.problem(f"the certificate of keys.{role} cannot be read: {error}", *opened.path)
            return
        for text in texts:
            text = f"the certificate of keys.{role} cannot serve as {ROLE_NAMES[role]}: {text}"
            yield self.configuration.problem(text, *opened.path)

    def times(self, place: str, found: Sequence[_Opened], *, still_used: bool = False) -> Iterator[Problem]:
        """Whether one of some certificates is valid now, and will be for a while.

        `still_used`: those that have expired still decrypt.
        """
        of = f"the certificate of {place}"
        spans: list[tuple[datetime, datetime, _Opened]] = []
        for opened in found:
            try:
                spans.append((opened.certificate.not_before, opened.certificate.not_after, opened))
            except DomsecError as error:
                yield self.configuration.problem(f"{of} cannot be read: {error}", *opened.path)
        none_valid = not any(begin <= self.now <= end for begin, end, _ in spans)
        for begin, end, opened in spans:
            if none_valid and self.now < begin:
                yield self.configuration.problem(f"{of} is not valid before {begin:%Y-%m-%d}", *opened.path)
            elif none_valid:
                yield self.configuration.problem(f"{of} expired on {end:%Y-%m-%d}", *opened.path)
            elif end < self.now and not still_used:
                text = f"{of} expired on {end:%Y-%m-%d} and another has taken over, so it can go"
                yield self.configuration.problem(text, *opened.path, severity="warning")
        if none_valid:
            return
        until, last = self.now, found[0]
        for begin, end, opened in sorted(spans, key=lambda span: span[0]):
            if begin <= until < end:
                until, last = end, opened
        if until - self.now < EXPIRY_WARNING:
            text = f"{of} expires on {until:%Y-%m-%d} and none takes over"
            yield self.configuration.problem(text, *last.path, severity="warning")

    def permissions(self, credential: str, path: KeyPath) -> Iterator[Problem]:
        """RFC 3183 section 6: private keys are protected."""
        if credential.startswith(("pkcs11:", "keyd:")):
            return
        mode = Path(credential).stat().st_mode
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            text = f"{credential} has permissions {stat.S_IMODE(mode):04o}, expected 0600 or 0640"
            yield self.configuration.problem(text, *path, severity="warning")

    def shared_keys(self) -> Iterator[Problem]:
        for index, text in shared_keys((opened.place, opened.certificate) for opened in self.opened):
            yield self.configuration.problem(text, *self.opened[index].path)

    def trust(self, load_certificates: LoadCertificates) -> Iterator[Problem]:
        trust = self.configuration.trust
        for name in ("roles", "users", "certificates", "crls"):
            places: tuple[Path, ...] = getattr(trust, name)
            if places:
                yield from self.files(load_certificates, places, ("trust", name), anchors=name in ("roles", "users"))
        for index, peer in enumerate(self.configuration.peers):
            if peer.anchors:
                yield from self.files(load_certificates, peer.anchors, ("peer", index, "anchors"), anchors=True)
        wanted = (
            self.configuration.listen.inbound
            or self.configuration.listen.milter
            or self.configuration.outbound.encrypt != "no"
            or any(rule.encrypt in ("required", "if-possible") for rule in self.configuration.rules)
        )
        agreed = any(peer.anchors for peer in self.configuration.peers)
        published = any(one.kind == "smimea" and one.believe == "dnssec" for one in self.configuration.directories)
        if wanted and not trust.roles and not agreed and not published:
            text = "no anchors for domain authorities, so none of them will be believed; expected trust.roles"
            yield self.configuration.problem(text, "trust", severity="warning")

    def directories(self, load_certificates: LoadCertificates) -> Iterator[Problem]:
        """What is needed to ask them. Nobody is asked: a directory that is down is no fault of the configuration."""
        for index, one in enumerate(self.configuration.directories):
            if one.ca:
                yield from self.files(load_certificates, one.ca, ("directory", index, "ca"), anchors=True)
            if one.url is not None and one.url.scheme == "ldap" and not one.starttls:
                text = "asked without TLS: everybody on the way can see to whom you write"
                yield self.configuration.problem(text, "directory", index, "starttls", severity="warning")

    def connections(self, load_certificates: LoadCertificates) -> Iterator[Problem]:
        """TLS with mail servers. Nobody is asked."""
        listen, hop = self.configuration.listen, self.configuration.next_hop
        if listen.tls is not None:
            try:
                server_context(listen.tls, listen.tls_clients)
            except ConfigurationError as error:
                wrong = "tls" if str(error).startswith(f"{listen.tls}: ") else "tls_clients"
                yield self.configuration.problem(str(error), "listen", wrong)
        if hop.ca:
            yield from self.files(load_certificates, hop.ca, ("next_hop", "ca"), anchors=True)
        for name, place in (("outbound", hop.outbound), ("inbound", hop.inbound)):
            if hop.tls == "no" and place is not None and place.host is not None and not is_loopback(place.host):
                text = f"{place} is reached in the clear, expected next_hop.tls"
                yield self.configuration.problem(text, "next_hop", name, severity="warning")

    def files(
        self, load_certificates: LoadCertificates, places: Sequence[Path], path: KeyPath, *, anchors: bool
    ) -> Iterator[Problem]:
        for index, place in enumerate(places):
            loaded = load_certificates([place])
            for problem in loaded.problems:
                yield self.configuration.problem(str(problem), *path, index)
            if anchors and not loaded.certificates and not loaded.problems:
                yield self.configuration.problem(f"{place}: no certificate in it, expected anchors", *path, index)
            for certificate in loaded.certificates if anchors else ():
                if certificate.not_after < self.now:
                    text = f"{place}: the anchor {certificate.sha256[:16]} expired on {certificate.not_after:%Y-%m-%d}"
                    yield self.configuration.problem(text, *path, index, severity="warning")

    def evidence(self) -> Iterator[Problem]:
        configuration = self.configuration
        for index, evidence in enumerate(configuration.outbound.evidence):
            path: KeyPath = ("outbound", "evidence", index)
            if evidence.token_file is not None:
                yield from self.token(evidence.token_file, path)
            if any(network.prefixlen == 0 for network in evidence.networks.networks):
                text = f"evidence of kind {evidence.kind} from every address there is, so anybody is who he says"
                yield configuration.problem(text, *path, "networks", severity="warning")
            for option, table, load in (
                ("logins", evidence.logins, load_logins),
                ("owners", evidence.owners, load_owners),
            ):
                try:
                    if table is not None:
                        load(table)
                except ConfigurationError as error:
                    for text in error.problems:
                        yield configuration.problem(text, *path, option)
        wishes = (configuration.outbound.sign, *(rule.sign for rule in configuration.rules))
        signs = configuration.listen.outbound is not None and any(w in ("required", "if-possible") for w in wishes)
        if signs and not configuration.outbound.evidence:
            text = "no [[outbound.evidence]], so only mail signed by its originator can get a domain signature"
            yield configuration.problem(text, "outbound", severity="warning")

    def labels(self) -> Iterator[Problem]:
        try:
            known = labelling(self.configuration.labels)
        except ConfigurationError as error:
            for text in error.problems:
                yield self.configuration.problem(text, "labels")
            return
        broken = boundary_problems(self.configuration, known)
        yield from broken
        if not broken:
            yield from rule_problems(self.configuration, known, boundaries(self.configuration, known))

    def shadow(self) -> Iterator[Problem]:
        if self.configuration.gateway.shadow:
            text = (
                "shadow mode: all mail passes as it came, nothing is signed, encrypted, opened, held or refused by "
                "policy; what should have been protected leaves in clear"
            )
            yield self.configuration.problem(text, "gateway", "shadow", severity="warning")

    def token(self, file: Path, path: KeyPath) -> Iterator[Problem]:
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            yield self.configuration.problem(f"{file}: cannot be read: {error.strerror}", *path, "token_file")
            return
        if not lines or len(lines[0].split()) != 1:
            yield self.configuration.problem(f"{file}: expected a token without blanks in line 1", *path, "token_file")
