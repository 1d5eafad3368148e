"""One installation with everything loaded that its configuration names: keys, trust, agreements, evidence, stores."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential, WithoutPkcs1v15
from domsec.errors import ConfigurationError, MalformedMessage
from domsec.ess.lists import MLReceiptPolicy
from domsec.ess.names import mail_address
from domsec.policy.boundaries import NO_BOUNDARIES, Boundaries, boundaries
from domsec.policy.check import shared_keys
from domsec.policy.configuration import Configuration
from domsec.policy.configuration import peers as configuration_peers
from domsec.policy.evidence import Rights, Rule, fingerprint
from domsec.policy.labels import labelling
from domsec.policy.logins import load_logins, load_owners
from domsec.policy.members import members_of
from domsec.policy.options import ConfidentialityKey, DirectoryOptions, Evidence, Key, ListOptions
from domsec.policy.rule_tables import rules
from domsec.policy.rules import Rule as PolicyRule
from domsec.services import names
from domsec.services.boundary import Passage
from domsec.services.context import Context
from domsec.services.encrypt import Cipher
from domsec.services.labelling import NO_LABELLING, Labelling
from domsec.services.maillist import MailList
from domsec.services.peer import Peers
from domsec.services.proxy import NO_USERS, Users
from domsec.services.sign import Grant, Scheme, Signer, Stripped
from domsec.services.verdict import JSON, as_json
from domsec.stores import certificates, credentials, public_suffixes
from domsec.stores.users import Held, Opened, lacking, load_users, users_in_key_process
from domsec.trust.addresses import subject_text
from domsec.trust.discovered import Found
from domsec.trust.path import Validator, is_authority
from domsec.trust.source import CertificateSource, MemorySource, SourcesInOrder
from domsec.trust.usage import signing_problems

if TYPE_CHECKING:  # whose stores are files, and who asks nobody, need not wait for what the others load
    from domsec.stores.certificate_table import CertificateTable
    from domsec.stores.discovery import Asked, Discovery
    from domsec.stores.ldap import LdapDirectory
    from domsec.stores.smimea import SmimeaDirectory

_OIDS = {"id-aa-signatureType": oids.ID_AA_SIGNATURE_TYPE, "id-sti": oids.ID_STI}


Recorded = Grant | Passage | Stripped  # what the audit trail keeps


def stated(entry: Recorded) -> dict[str, JSON]:
    """What a record of the trail says, beside when."""
    return {f.name: as_json(getattr(entry, f.name)) for f in dataclasses.fields(entry) if f.name != "at"}


def _never_seen(_keys: Collection[str], _now: datetime) -> bool:
    """For an installation that remembers no signatures."""
    return False


def _unrecorded(_event: str, _transaction: str, _entry: Recorded) -> None:
    """For an installation that keeps no audit trail: tests and commands."""


@dataclass(frozen=True)
class Site:
    """What `domsec.pipeline.process` may use. Made anew at every reload; never changed."""

    configuration: Configuration
    validator: Validator
    source: CertificateSource
    peers: Peers
    is_public_suffix: Callable[[str], bool]
    signing: Credential | None = None
    confidentiality: Credential | None = None
    attributes: Credential | None = None  # our attribute-authority, where it carries labels on
    keyring: tuple[Credential, ...] = ()  # the confidentiality keys and those they replaced
    signing_keys: tuple[Credential, ...] = ()  # newest first; `signing` is the one in force
    confidentiality_keys: tuple[Credential, ...] = ()
    attribute_keys: tuple[Credential, ...] = ()
    users: Users = NO_USERS  # whose keys we hold
    evidence: tuple[Rule, ...] = ()
    asks: bool = False  # whether there are directories to ask before a decision
    labelling: Labelling = NO_LABELLING
    boundaries: Boundaries = NO_BOUNDARIES
    rules: tuple[PolicyRule, ...] = ()
    record: Callable[[str, str, Recorded], None] = _unrecorded  # the audit trail: durable when it returns
    seen: Callable[[Collection[str], datetime], bool] = _never_seen  # whether one of `services.replay.keys` came before

    def at(self, now: datetime) -> Site:
        """The same installation with the keys in force at `now`: one takes over when its certificate becomes valid."""
        signing = in_force(self.signing_keys, now) or self.signing
        confidentiality = in_force(self.confidentiality_keys, now) or self.confidentiality
        attributes = in_force(self.attribute_keys, now) or self.attributes
        # found again for the next message, since what is prepared for signing belongs to a site
        key = (id(signing), id(confidentiality), id(attributes))
        if key == (id(self.signing), id(self.confidentiality), id(self.attributes)):
            return self
        if key not in self._successors:
            self._successors[key] = dataclasses.replace(
                self, signing=signing, confidentiality=confidentiality, attributes=attributes
            )
        return self._successors[key]

    @functools.cached_property
    def _successors(self) -> dict[tuple[int, int, int], Site]:
        return {}

    @property
    def role_keys(self) -> tuple[tuple[str, Credential], ...]:
        """Our keys, each after the name of its role."""
        signing = ((names.SIGNING_AUTHORITY, key) for key in self.signing_keys)
        confidentiality = ((names.CONFIDENTIALITY_AUTHORITY, key) for key in self.keyring)
        attributes = ((names.ATTRIBUTE_AUTHORITY, key) for key in self.attribute_keys)
        users = ((f"the user {subject_text(key.certificate)}", key) for key in self.users.credentials)
        return (*signing, *confidentiality, *attributes, *users)

    def context(
        self, now: datetime, *, open_it: bool = True, keys: tuple[Credential, ...] = (), found: Found | None = None
    ) -> Context:
        """The world as it is for a message that arrived at `now`, with what directories said for it. `keys` open it
        beside those of our authority."""
        context = self._context if open_it else self._closed
        if keys:
            context = dataclasses.replace(context, keyring=(*context.keyring, *keys))
        context = dataclasses.replace(context, now=now)
        return context if found is None else context.knowing(found)

    @functools.cached_property
    def _context(self) -> Context:
        return Context(
            now=datetime.max,
            validator=self.validator,
            source=self.source,
            keyring=self.keyring,
            peers=self.peers,
            limits=self.configuration.limits,
            revocation=self.configuration.trust.revocation,
            is_public_suffix=self.is_public_suffix,
            labelling=self.labelling,
            own_naming=own.naming if (own := self.configuration.keys.confidentiality) is not None else "strict",
            own=self._by_mailbox,
            accept_outer_domain=self.configuration.inbound.accept_outer_domain,
            max_age=self.configuration.inbound.max_age,
            transit_domains=frozenset(self.configuration.inbound.transit_domains),
            embedded="closed",  # nobody is handed what is in them, so no stranger has our keys tried on them
        )

    @property
    def _by_mailbox(self) -> frozenset[Certificate]:
        """Our signing authority, where nothing but its mailbox names it: ours to know when it comes back to us."""
        key = self.configuration.keys.signing
        named = key is not None and key.naming == "mailbox"
        return frozenset(each.certificate for each in self.signing_keys if named)

    @functools.cached_property
    def _closed(self) -> Context:
        return dataclasses.replace(self._context, keyring=())

    def serves(self, domain: str) -> bool:
        """Whether a mail domain is one of ours or lies below one."""
        return self.configuration.serves(domain)

    def signer(self, signature: Scheme, sigtype_oid: str) -> Signer:
        """Our domain signing authority, prepared for a peer's wishes. Only where `signing` is there."""
        return self._signers(signature, sigtype_oid)

    @functools.cached_property
    def attribute_authority(self) -> Signer | None:
        """Our attribute-authority, prepared; None where it has nothing to sign."""
        return Signer(self.attributes) if self.attributes is not None else None

    @functools.cached_property
    def _signers(self) -> Callable[[Scheme, str], Signer]:
        @functools.cache
        def prepare(signature: Scheme, sigtype_oid: str) -> Signer:
            assert self.signing is not None
            certificate = self.confidentiality.certificate if self.confidentiality else None
            algorithm = signature.algorithm(self.signing.certificate)
            return Signer(self.signing, algorithm, certificate, _OIDS[sigtype_oid])

        return prepare


def in_force(keys: Sequence[Credential], now: datetime) -> Credential | None:
    """Of the keys of a role, newest first, the newest whose certificate is valid at `now`.

    The newest of all where none is, so that whoever uses it can say what is wrong; None where there is no key.
    """
    if len(keys) < 2:
        return keys[0] if keys else None
    valid = (key for key in keys if key.certificate.valid_at(now))
    return next(valid, keys[0])


def open_keys(
    options: Key, sources: Sequence[str], *, keyd_socket: Path, environment_password: str | None = None
) -> tuple[Credential, ...]:
    """Some keys of a role, newest first. Raises ConfigurationError, KeyUnusable, StoreUnavailable or Unsupported."""
    found: list[Credential] = [
        credential
        for source in sources
        for credential in credentials.open_credentials(
            source,
            options.password_file,
            options.certificates,
            environment_password=environment_password,
            keyd_socket=keyd_socket,
        )
    ]
    if isinstance(options, ConfidentialityKey) and not options.pkcs1v15:
        found = [WithoutPkcs1v15(each) for each in found]
    return _newest_first(found)


def _newest_first(found: Iterable[Credential]) -> tuple[Credential, ...]:
    return tuple(sorted(found, key=lambda c: c.certificate.not_before, reverse=True))


def refuse_shared_keys(keys: Iterable[tuple[str, Credential]]) -> None:
    """Raises ConfigurationError where two roles, each named before its key, have one key (decisions A-45)."""
    found = shared_keys((role, credential.certificate) for role, credential in keys)
    texts = tuple(text for _, text in found)
    if texts:
        raise ConfigurationError(*texts)


def load_site(
    configuration: Configuration,
    *,
    environment_password: str | None = None,
    record: Callable[[str, str, Recorded], None] = _unrecorded,
    users: Held | None = None,
) -> Site:
    """Open what a configuration names.

    Broken certificate files are left out, as `domsec.policy.check` reports; a key that does not open is an error, and
    so is one that is there for two roles. `users`: their keys, by whoever has opened them already.
    Raises ConfigurationError, KeyUnusable or Unsupported.
    """
    trust = configuration.trust
    snapshot, _ = certificates.load_snapshot(
        roles=trust.roles,
        users=trust.users,
        certificates=trust.certificates,
        crls=trust.crls,
        grace=configuration.revocation.grace or timedelta(0),
    )

    def opened(options: Key | None, sources: Sequence[str]) -> tuple[Credential, ...]:
        if options is None:
            return ()
        socket = configuration.keyd.socket
        return open_keys(options, sources, environment_password=environment_password, keyd_socket=socket)

    keys = configuration.keys
    signing = opened(keys.signing, keys.signing.credential if keys.signing else ())
    confidentiality = opened(keys.confidentiality, keys.confidentiality.credential if keys.confidentiality else ())
    previous = opened(keys.confidentiality, keys.confidentiality.previous if keys.confidentiality else ())
    carries = configuration.outbound.stripped_labels == "carry"
    attributes = opened(keys.attributes, keys.attributes.credential if keys.attributes and carries else ())
    known = labelling(configuration.labels)
    borders = boundaries(configuration, known)
    site = Site(
        configuration=configuration,
        validator=Validator(snapshot, limits=configuration.limits),
        source=MemorySource(snapshot.intermediates),
        peers=Peers(configuration_peers(configuration.peers, certificates.load_anchors)),
        is_public_suffix=public_suffixes.load(),
        signing=signing[0] if signing else None,
        confidentiality=confidentiality[0] if confidentiality else None,
        keyring=(*confidentiality, *previous),
        signing_keys=signing,
        confidentiality_keys=confidentiality,
        attributes=attributes[0] if attributes else None,
        attribute_keys=attributes,
        users=load_held(configuration, environment_password, users),
        evidence=tuple(_rule(one, configuration) for one in configuration.outbound.evidence),
        asks=bool(configuration.directories),
        labelling=known,
        boundaries=borders,
        rules=rules(configuration, known, borders),
        record=record,
    )
    refuse_shared_keys(site.role_keys)
    return site


def load_held(configuration: Configuration, environment_password: str | None, held: Held | None = None) -> Users:
    """The keys of users. Those that do not open are left out, as `domsec.policy.check` reports."""
    held = held or users_of(configuration, environment_password)
    return Users(held.credentials, configuration.users.decrypt)


def users_of(
    configuration: Configuration,
    environment_password: str | None,
    *,
    ask: bool = False,
    opened: Opened | None = None,
    takes_time: Callable[[], None] = lambda: None,
) -> Held:
    """The keys of users with what is wrong with them. `ask`: whether the key process is asked for those it has.

    `opened` and `takes_time` as in `load_users`.
    """
    options = configuration.users
    if isinstance(options.folder, Path):
        return load_users(
            options.folder,
            options.password_file,
            environment_password=environment_password,
            opened=opened,
            takes_time=takes_time,
        )
    if opened is not None:
        opened.clear()
    if options.folder is None:
        return Held((), ())
    held = users_in_key_process(options.folder, options.certificates, configuration.keyd.socket)
    missing = lacking(held, decrypt=options.decrypt) if ask else ()
    return Held(held.files, (*held.problems, *missing))


def with_table(site: Site, table: CertificateTable) -> Site:
    """The same, with the certificates in the database. Those of people and authorities are asked for when wanted; those
    of CAs are read here, to build paths with, so that new ones count from the next reload on.

    A process does this for itself, as no connection crosses a fork. Raises StoreUnavailable.
    """
    snapshot = site.validator.snapshot
    known = dict.fromkeys((*snapshot.intermediates, *table.certificate_authorities()))
    validator = site.validator.on(dataclasses.replace(snapshot, intermediates=tuple(known)))
    return dataclasses.replace(site, validator=validator, source=SourcesInOrder(site.source, table))


def own_certificates(site: Site) -> tuple[Certificate, ...]:
    """Those of our own keys, and of the CAs that help to build paths."""
    ours = (*site.signing_keys, *site.confidentiality_keys, *site.attribute_keys)
    known = site.validator.snapshot.intermediates
    return tuple(dict.fromkeys((*(each.certificate for each in ours), *filter(_is_authority, known))))


def _is_authority(certificate: Certificate) -> bool:
    try:
        return is_authority(certificate)
    except MalformedMessage:
        return False


def load_list(
    configuration: Configuration, name: str, *, now: datetime, environment_password: str | None = None
) -> MailList:
    """Open the keys of a mail list and read who is on it. Raises ConfigurationError, KeyUnusable or Unsupported."""
    options = list_options(configuration, name)
    own = list_keys(options, configuration.keyd.socket, environment_password=environment_password)
    signing = in_force([each for each in own if not signing_problems(each.certificate)] or own, now)
    assert signing is not None
    previous = [
        credentials.open_credential(
            source, options.password_file, options.certificates, environment_password=environment_password
        )
        for source in options.previous
    ]
    return MailList(
        address=options.address,
        credentials=(signing, *(each for each in own if each is not signing), *previous),
        members=members_of(options),
        receipt_policy=_receipt_policy(options),
        encrypt=options.encrypt,
        target=options.encrypt_to,
        cipher=Cipher(options.cipher, options.key_transport),
        grouping=options.grouping,
    )


def list_keys(
    options: ListOptions, keyd_socket: Path, *, environment_password: str | None = None
) -> tuple[Credential, ...]:
    """The keys that a mail list has now, newest first; several only where the key process holds them.

    Raises as `load_list`.
    """
    found = credentials.open_credentials(
        options.credential,
        options.password_file,
        options.certificates,
        environment_password=environment_password,
        keyd_socket=keyd_socket,
    )
    return _newest_first(found)


def load_discovery(configuration: Configuration) -> Discovery:
    """The directories of a configuration, none of them asked yet. Raises ConfigurationError."""
    from domsec.stores.discovery import Discovery

    return Discovery([_asked(options, configuration) for options in configuration.directories])


def _asked(options: DirectoryOptions, configuration: Configuration) -> Asked:
    from domsec.stores.discovery import Asked

    return Asked(
        _smimea(options, configuration) if options.kind == "smimea" else _ldap(options, configuration),
        options.domains,
        float(options.keep),
        float(options.keep_nothing),
        vouches=options.kind == "smimea" and options.believe == "dnssec",
    )


def _smimea(options: DirectoryOptions, configuration: Configuration) -> SmimeaDirectory:
    from domsec.stores.smimea import SmimeaDirectory, require_library

    require_library()
    return SmimeaDirectory(
        host=options.resolver.host,
        port=options.resolver.port,
        believed=options.believe == "dnssec",
        timeout=float(options.timeout),
        limits=configuration.limits,
    )


def _ldap(options: DirectoryOptions, configuration: Configuration) -> LdapDirectory:
    from domsec.stores.ldap import LdapDirectory
    from domsec.stores.tls import tls_context

    assert options.url is not None
    url = options.url
    password = credentials.read_password(options.password_file) if options.password_file else b""
    ca = certificates.load_anchors(options.ca).certificates if options.ca else ()
    return LdapDirectory(
        host=url.host,
        port=url.port,
        tls="ldaps" if url.scheme == "ldaps" else "start" if options.starttls else "none",
        base=options.base or "",
        mail=options.mail_attribute,
        bind=(options.bind_dn, password.decode()) if options.bind_dn else None,
        context=tls_context(ca) if url.scheme == "ldaps" or options.starttls else None,
        timeout=float(options.timeout),
        limits=configuration.limits,
    )


def list_options(configuration: Configuration, name: str) -> ListOptions:
    """What the configuration says of a list. Raises ConfigurationError for one it does not know."""
    for options in configuration.lists:
        if options.name == name:
            return options
    known = ", ".join(options.name for options in configuration.lists) or "none"
    raise ConfigurationError(f"{configuration.path}: no [[list]] with the name {name}, known are {known}")


def _receipt_policy(options: ListOptions) -> MLReceiptPolicy | None:
    receivers = tuple((mail_address(mailbox.address),) for mailbox in options.receipts_to)
    match options.receipts:
        case "none":
            return MLReceiptPolicy("none")
        case "instead-of":
            return MLReceiptPolicy("insteadOf", receivers)
        case "in-addition-to":
            return MLReceiptPolicy("inAdditionTo", receivers)
    return None


def _rule(options: Evidence, configuration: Configuration) -> Rule:
    return Rule(
        kind=options.kind,
        domains=frozenset(options.domains or configuration.domains),
        networks=options.networks,
        header=options.header,
        token=credentials.read_password(options.token_file).decode() if options.token_file else "",
        logins=_logins(options),
        owners=load_owners(options.owners) if options.owners else None,
        authserv_id=options.authserv_id or "",
        selectors=frozenset(selector.lower() for selector in options.selectors),
    )


def _logins(options: Evidence) -> dict[str, Rights] | None:
    if options.logins is None:
        return None
    logins = load_logins(options.logins)
    return {fingerprint(name): rights for name, rights in logins.items()} if options.kind == "certificate" else logins
