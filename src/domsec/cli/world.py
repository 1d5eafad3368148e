"""Keys, trust and policy for one command: the configuration, with what the command line adds or says instead.

Anchors and agreements of the command line stand in place of the configuration's; keys, certificates and revocation
lists are used beside it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pwd
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from domsec.cli import console
from domsec.cli.options import Given
from domsec.cli.reading import UNCONFIGURED
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.errors import ConfigurationError, DomsecError, KeyUnusable, StoreUnavailable
from domsec.mime.addresses import Mailbox
from domsec.policy.configuration import Configuration, load_peers
from domsec.policy.options import Key, Trust
from domsec.services import discovery, names
from domsec.services.context import Context
from domsec.services.encrypt import Target
from domsec.site import (
    Recorded,
    Site,
    in_force,
    load_discovery,
    load_site,
    open_keys,
    refuse_shared_keys,
    stated,
    with_table,
)
from domsec.stores import certificates, key_process, pkcs11_uri
from domsec.stores.credentials import open_credentials
from domsec.trust.addresses import addresses
from domsec.trust.discovered import Found, Question
from domsec.trust.names import common_names
from domsec.trust.source import MemorySource, SourcesInOrder

if TYPE_CHECKING:
    from domsec.stores.audit import AuditTrail
    from domsec.trust.issue import Naming

Role = Literal["signing", "confidentiality", "review", "attributes", "user"]

ROLE_NAMES: Final[dict[Role, str]] = {
    "signing": names.SIGNING_AUTHORITY,
    "confidentiality": names.CONFIDENTIALITY_AUTHORITY,
    "review": names.REVIEW_AUTHORITY,
    "attributes": names.ATTRIBUTE_AUTHORITY,
}


@dataclass(frozen=True)
class World:
    """What a verb may use."""

    site: Site
    credentials: tuple[Credential, ...]  # of the command line
    configured: bool
    given: Given
    found: Found | None = None  # what directories answered

    @property
    def now(self) -> datetime:
        return self.given.now

    @functools.cached_property
    def context(self) -> Context:
        context = self.site.context(self.now, found=self.found)
        return dataclasses.replace(context, keyring=(*self.site.keyring, *self.credentials), embedded="opened")

    def asking(self, questions: Iterable[Question]) -> World:
        """The same, knowing what the directories of the configuration say to these. Waits for them."""
        if not (asked := tuple(questions)) or not self.site.asks:
            return self
        import asyncio

        return dataclasses.replace(self, found=asyncio.run(load_discovery(self.configuration).find(asked)))

    def asking_for(self, recipients: Iterable[Mailbox], target: Target) -> World:
        """The same, with what is to be known elsewhere of whom to encrypt to. Waits for directories.

        Raises StoreUnavailable if one did not answer that may know more.
        """
        everybody = tuple(recipients)
        world = self.asking(q for r in everybody for q in discovery.for_recipient(r, target, self.context))
        for recipient in everybody:
            failure = discovery.failure(recipient, target, world.context)
            if failure is not None:
                raise StoreUnavailable(str(failure))
        return world

    def record(self, event: str, entry: Recorded) -> None:
        """Keep in the audit trail what is done in the name of the domain, with who does it; durable when this returns.

        Nothing where there is no trail: without a configuration, or before its store is there. Raises StoreUnavailable.
        """
        if self.trail is not None:
            self.trail.record(event, {"transaction": "command", "by": account(), **stated(entry)}, at=datetime.now(UTC))

    @functools.cached_property
    def trail(self) -> AuditTrail | None:
        """The audit trail of the configuration, where there is one."""
        options = self.configuration.store
        if not self.configured or not (options.audit or _has_store(self.configuration)):
            return None
        if options.audit is not None:
            from domsec.stores.audit import FileAudit

            return FileAudit(options.audit, fsync=options.audit_fsync)
        from domsec.stores.audit_table import TableAudit
        from domsec.stores.database import open_database

        return TableAudit(open_database(options.url))

    @property
    def configuration(self) -> Configuration:
        return self.site.configuration

    @property
    def trusts_nobody(self) -> bool:
        snapshot = self.site.validator.snapshot
        agreed = any(peer.anchors or peer.pins for peer in self.site.peers.entries)
        return not snapshot.roles.certificates and not snapshot.users.certificates and not agreed

    def of_role(self, role: Role) -> tuple[Credential, ...]:
        """The keys of the command line that play a role, by the names in their certificates."""
        return tuple(c for c in self.credentials if role_of(c.certificate) == role)

    def signing(self) -> tuple[Credential, ...]:
        """The domain signing authority, in every key it signs with. Raises KeyUnusable if there is none."""
        found = tuple({c.certificate: c for c in self.of_role("signing")}.values())
        if found:
            return found
        if self.site.signing is not None:
            return (self.site.signing,)
        name = ROLE_NAMES["signing"]
        raise KeyUnusable(f"no credential of a {name}, expected --credential with one or a configuration")

    def authorities(self, role: Literal["review", "attributes"]) -> tuple[Credential, ...]:
        """The keys of a role, each of which signs: those of the command line, else the configured one in force.

        Raises KeyUnusable if there is none, ConfigurationError.
        """
        found = tuple({c.certificate: c for c in self.of_role(role)}.values())
        key: Key | None = getattr(self.configuration.keys, role)
        if not found and key is not None:
            configured = open_keys(
                key,
                key.credential,
                environment_password=self.given.password,
                keyd_socket=self.configuration.keyd.socket,
            )
            refuse_shared_keys((*self.site.role_keys, *((ROLE_NAMES[role], one) for one in configured)))
            found = tuple(filter(None, [in_force(configured, self.now)]))
        if not found:
            name = ROLE_NAMES[role]
            raise KeyUnusable(f"no credential of {name}, expected --credential with one or [keys.{role}]")
        return found

    def naming(self, role: Literal["signing", "review", "attributes"]) -> Naming:
        """How the certificates of a role of ours are named (decisions A-14)."""
        key: Key | None = getattr(self.configuration.keys, role)
        return key.naming if key is not None else "strict"

    def confidentiality(self) -> Credential | None:
        """The confidentiality authority, if we are one."""
        found = self.of_role("confidentiality")
        return found[0] if found else self.site.confidentiality


def role_of(certificate: Certificate) -> Role:
    """The role a certificate's names claim: whether it may play it is another question."""
    try:
        stated = (*common_names(certificate), *(a.rpartition("@")[0] for a in addresses(certificate)))
    except DomsecError:
        return "user"
    for role, name in ROLE_NAMES.items():
        if any(names.same_name(found, name) for found in stated):
            return role
    return "user"


def load_world(given: Given) -> World:
    """Everything that options and configuration name. Raises ConfigurationError, KeyUnusable."""
    path, _ = given.configuration()
    configuration = Configuration.load(path) if path is not None else _unconfigured()
    _check_places(given)
    trust = dataclasses.replace(
        configuration.trust,
        roles=(*given.trust, *given.trust_roles) or configuration.trust.roles,
        users=(*given.trust, *given.trust_users) or configuration.trust.users,
        certificates=(*configuration.trust.certificates, *given.cert),
        crls=(*configuration.trust.crls, *given.crl),
        revocation=given.revocation or configuration.trust.revocation,
    )
    labels = dataclasses.replace(configuration.labels, policies=(*configuration.labels.policies, *given.label_policy))
    configuration = dataclasses.replace(configuration, trust=trust, labels=labels)
    if given.peer is not None:
        configuration = dataclasses.replace(configuration, peers=load_peers(given.peer))
    site = load_site(configuration, environment_password=given.password).at(given.now)
    if path is not None:
        site = _with_store(site)
    own = credentials_of(given, configuration.keyd.socket)
    played = ((role_of(one.certificate), one) for one in own)
    refuse_shared_keys((*site.role_keys, *((ROLE_NAMES[role], one) for role, one in played if role != "user")))
    if own:  # their certificates may be what a signature or an envelope names
        known = (*(c for o in own for c in (o.certificate, *o.chain)), *site.validator.snapshot.intermediates)
        site = dataclasses.replace(site, source=SourcesInOrder(MemorySource(known), site.source))
    return World(site, own, path is not None, dataclasses.replace(given, at=given.now))


def _with_store(site: Site) -> Site:
    """With the certificates of the configuration's store, where there is one yet. Raises StoreUnavailable."""
    if not _has_store(site.configuration):
        return site
    from domsec.stores.certificate_table import CertificateTable

    return with_table(site, CertificateTable.open(site.configuration.store.url))


def _has_store(configuration: Configuration) -> bool:
    """Whether somebody has made the configuration's store; of PostgreSQL that is found out by asking it."""
    url = configuration.store.url
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


def account() -> str:
    """Who runs the command; behind sudo, who asked for it. A number where nobody is called that, as in containers."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return os.environ.get("SUDO_USER", name) if uid == 0 else name


def _unconfigured() -> Configuration:
    trust = Trust(revocation="soft")
    return Configuration(path=Path("domsec.toml"), domains=(), trust=trust, limits=UNCONFIGURED)


def credentials_of(given: Given, keyd_socket: Path) -> tuple[Credential, ...]:
    """The keys of the command line. Raises KeyUnusable, ConfigurationError, StoreUnavailable."""
    found: list[Credential] = []
    for source in given.credential:
        elsewhere = source.startswith((pkcs11_uri.SCHEME, key_process.SCHEME))  # with certificates beside it
        found += open_credentials(
            source,
            given.password_file,
            given.cert if elsewhere else (),
            environment_password=given.password,
            keyd_socket=keyd_socket,
        )
    return tuple(found)


def open_keyring(given: Given) -> tuple[Credential, ...]:
    """Only what may decrypt, without any trust: keys of the command line, and those of the configuration.

    A configuration nobody asked for, or whose keys are not ours to read, is passed over with a warning.
    """
    path, asked = given.configuration()
    configuration = _unconfigured()
    configured: tuple[Credential, ...] = ()
    try:
        if path is not None:
            configuration = Configuration.load(path)
            configured = _configured_keys(configuration, given)
    except (ConfigurationError, KeyUnusable) as problem:
        if asked:
            raise
        console.warning(f"the keys of {path} are not used: {problem}")
    return (*credentials_of(given, configuration.keyd.socket), *configured)


def _configured_keys(configuration: Configuration, given: Given) -> tuple[Credential, ...]:
    key = configuration.keys.confidentiality
    if key is None:
        return ()
    return open_keys(
        key,
        (*key.credential, *key.previous),
        environment_password=given.password,
        keyd_socket=configuration.keyd.socket,
    )


def _check_places(given: Given) -> None:
    """Files that somebody named and that are no use. Raises ConfigurationError with all of them."""
    texts: list[str] = []
    for option, places, crls in (
        ("--trust", (*given.trust, *given.trust_roles, *given.trust_users), False),
        ("--cert", given.cert, False),
        ("--crl", given.crl, True),
    ):
        for place in places:
            texts += _problems(place, option, crls=crls)
    if texts:
        raise ConfigurationError(*texts)


def _problems(place: Path, option: str, *, crls: bool) -> Sequence[str]:
    loaded = certificates.load_certificates([place])
    if (loaded.crls or loaded.ocsp) if crls else loaded.certificates:
        for problem in loaded.problems:
            console.warning(str(problem))
        return ()
    if loaded.problems:
        return [str(problem) for problem in loaded.problems]
    return [f"{place}: no {'revocation list' if crls else 'certificate'} in it, expected one for {option}"]
