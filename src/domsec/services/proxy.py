"""Signatures in the name of a user, with a key that the gateway holds for them.

For recipients whose domain has no gateway: mail programs warn where the signer is somebody else than From names, and
know no authority of a domain. The gate of RFC 3183 3.2 is the same as for the domain's signature; only whose name it is
differs: From has one mailbox, the certificate names it, and the evidence is for this very mailbox; that somebody may
speak for anybody of the domain is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.errors import DomsecError, SigningRefused
from domsec.mime.addresses import Mailbox, ascii_lower
from domsec.services import names
from domsec.services.check import Examination
from domsec.services.context import Context
from domsec.services.finding import all_originators, mailboxes_of
from domsec.services.sign import Evidence, Grant, Reason, checked, seen_embedded
from domsec.trust.addresses import addresses
from domsec.trust.names import common_names
from domsec.trust.usage import signing_problems

_ROLES = (*names.ROLE_NAMES.values(), names.CONFIDENTIALITY_AUTHORITY)


@dataclass(frozen=True, slots=True)
class Users:
    """The credentials held for users, found by the mailboxes that their certificates name."""

    credentials: tuple[Credential, ...] = ()
    open: bool = False  # whether what is encrypted to one of them is opened for that user
    _readers: Mapping[tuple[str, str], tuple[Credential, ...]] = field(init=False, repr=False, compare=False)
    _by_address: Mapping[tuple[str, str], tuple[Credential, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        persons = [c for c in self.credentials if not any(name_problems(c.certificate))]
        signing = [c for c in persons if not signing_problems(c.certificate)]
        object.__setattr__(self, "_readers", _by_address(persons if self.open else ()))
        object.__setattr__(self, "_by_address", _by_address(signing))

    def of(self, mailbox: Mailbox, now: datetime) -> Credential | None:
        """Of those that are valid now the newest."""
        valid = (c for c in self._by_address.get(_key(mailbox), ()) if c.certificate.valid_at(now))
        return max(valid, key=lambda c: (c.certificate.not_before, c.certificate.sha256), default=None)

    def last(self) -> tuple[tuple[str, Certificate], ...]:
        """Each address with the one of its certificates that signs for the longest time."""
        best = ((key, max((c.certificate for c in found), key=lambda c: c.not_after))
                for key, found in self._by_address.items())  # fmt: skip
        return tuple((f"{local}@{domain}", certificate) for (local, domain), certificate in best)

    def readers(self, mailbox: Mailbox) -> tuple[Credential, ...]:
        """Those that open mail for a mailbox, whatever their dates; none where that is not wanted."""
        return self._readers.get(_key(mailbox), ())


def _by_address(credentials: Iterable[Credential]) -> dict[tuple[str, str], tuple[Credential, ...]]:
    found: dict[tuple[str, str], tuple[Credential, ...]] = {}
    for credential in credentials:
        for mailbox in mailboxes_of(addresses(credential.certificate)):
            found[_key(mailbox)] = (*found.get(_key(mailbox), ()), credential)
    return found


def _key(mailbox: Mailbox) -> tuple[str, str]:
    return ascii_lower(mailbox.local), mailbox.domain


NO_USERS = Users()


def problems(certificate: Certificate) -> Iterator[str]:
    """What keeps a certificate from signing as a user's, whatever the time. Raises nothing."""
    yield from name_problems(certificate)
    yield from (f"it cannot sign: {text}" for text in signing_problems(certificate))


def name_problems(certificate: Certificate) -> Iterator[str]:
    """What in its names keeps a certificate from being a user's. Raises nothing."""
    try:
        stated = addresses(certificate)
        if not mailboxes_of(stated):
            yield "it has no mail address"
        parts = (*common_names(certificate), *(address.rpartition("@")[0] for address in stated))
        yield from (f"it is named like a {role}" for role in _ROLES if any(names.looks_like(p, role) for p in parts))
    except DomsecError as problem:
        yield f"it cannot be read: {problem}"


def gate(
    examination: Examination,
    users: Users,
    evidence: Iterable[Evidence],
    context: Context,
    *,
    require_embedded: bool = False,
) -> tuple[Credential, Grant]:
    """Decide whether a message may be signed in the name of whom From names, and with which key.

    `require_embedded` as for `sign.gate`. Raises SigningRefused with every reason.
    """
    message = examination.message
    if not message.originators.valid:
        raise SigningRefused([("gate.from", message.originators.reason)])
    named = all_originators(message, message.spine())
    if len(named) != 1 or not isinstance(named[0], Mailbox):
        raise SigningRefused([("gate.user", f"{len(named)} originators, and one can sign")])
    reasons: list[Reason] = []
    credential = users.of(named[0], context.now)
    if credential is None:
        reasons.append(("gate.user", f"no valid certificate of {names.printable(named[0].text)} is held"))
    personal = [replace(each, domains=frozenset(), x400=frozenset()) for each in evidence]
    layers, used, found = checked(examination, named, personal, require_embedded=require_embedded)
    reasons += found
    if credential is None or reasons:
        raise SigningRefused(tuple(dict.fromkeys(reasons)))
    digest = credential.certificate.sha256
    structure, embedded = examination.verdict.structure, seen_embedded(examination, context)
    return credential, Grant((named[0].text,), used, layers, structure, context.now, digest, embedded)
