"""Certificates of others in the database: what was imported, and what was seen in mail and waits for a person.

    quarantined ──> approved <──> rejected
         └─────────────────────────^

Only approved ones are ever found by address or name. That makes none of them trusted: whoever uses one still wants a
path to an anchor. A certificate is kept once, under its digest. The DER is all that counts; the other columns are what
it can be searched by.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeVar, cast

from sqlalchemy.dialects import postgresql, sqlite

import domsec.stores.database as db
from domsec.cms.certificates import Certificate, Identifier, IssuerAndSerialNumber
from domsec.cms.certificates import certificate as certificate_of
from domsec.errors import DomsecError, LimitExceeded, MalformedMessage, StoreUnavailable
from domsec.limits import DEFAULT
from domsec.stores.database import Database, open_database, read_time, sql, time_text
from domsec.trust import names
from domsec.trust.path import is_authority
from domsec.trust.source import filed_under, folded

T = TypeVar("T")
State = Literal["approved", "quarantined", "rejected"]
Harvested = Literal["new", "known", "full"]

MOST_FOUND: Final = 64  # certificates that one question is answered with, the newest
MOST_HARVESTED: Final = 50_000  # that came with mail and no person has decided on; some 100 MB
MOST_OF_A_DOMAIN: Final = 1000  # of these; who can get certificates from a trusted CA can get many
MOST_AUTHORITIES: Final = 10_000  # CA certificates that help to build paths
LONGEST_NAME: Final = 1000  # octets that can be searched for; PostgreSQL indexes no more than 2700
LONGEST_DOMAIN: Final = 255  # characters that tell one domain's share from another's
SHORTEST_DIGEST: Final = 8  # hexadecimal digits that name a certificate

_CHUNK: Final = 500  # rows in one statement


class NoSuchCertificate(DomsecError):
    """No certificate in the store, or more than one, has a digest that begins so."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A certificate as it is kept."""

    certificate: Certificate
    state: State
    origin: str  # how it came here
    added_at: datetime
    decided_at: datetime | None = None
    decided_by: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of certificates that were to be added: each stands in one of these."""

    new: tuple[Certificate, ...] = ()
    known: tuple[Certificate, ...] = ()  # were there in the same state
    approved: tuple[Certificate, ...] = ()  # were in quarantine
    rejected: tuple[Certificate, ...] = ()  # were rejected once, and stay so
    refused: tuple[tuple[Certificate, str], ...] = ()  # cannot be kept, and why


@dataclass(frozen=True, slots=True)
class CertificateTable:
    """The certificates of a database. Threads may share it; a process opens its own.

    Implements `domsec.trust.source.CertificateSource` over those that are approved. Every method raises
    StoreUnavailable.
    """

    database: Database

    @classmethod
    def open(cls, url: str) -> CertificateTable:
        """Raises ConfigurationError, StoreUnavailable."""
        return cls(open_database(url))

    def close(self) -> None:
        self.database.close()

    # --- putting in -----------------------------------------------------------------------------------------------

    def add(self, certificates: Iterable[Certificate], *, origin: str, by: str, now: datetime) -> Added:
        """Keep certificates that somebody vouches for, in one transaction. One in quarantine is approved thereby."""
        rows: dict[str, tuple[Certificate, dict[str, object]]] = {}
        refused: list[tuple[Certificate, str]] = []
        for one in certificates:
            try:
                rows[one.sha256] = (one, row_of(one, "approved", origin, now, by=by))
            except DomsecError as problem:
                refused.append((one, str(problem)))
        with self.database.writing() as connection:
            states: dict[str, State] = {}
            for part in _parts(rows):
                states |= _states(connection, part)
            approved = [digest for digest, state in states.items() if state == "quarantined"]
            _decide(connection, approved, "approved", by=by, note="", now=now)
            _insert(connection, [pair for digest, pair in rows.items() if digest not in states])

        def those(state: State | None) -> tuple[Certificate, ...]:
            return tuple(c for digest, (c, _) in rows.items() if states.get(digest) == state)

        return Added(those(None), those("approved"), those("quarantined"), those("rejected"), tuple(refused))

    def harvest(
        self, certificate: Certificate, *, domain: str, origin: str, now: datetime, rule: str = ""
    ) -> Harvested:
        """Keep a certificate that came with mail, unless it is known or there are too many: in quarantine, or approved
        where `rule` names what approves it.

        `domain` is whose share it is counted to. Raises MalformedMessage, LimitExceeded for what cannot be kept.
        """
        domain = domain[:LONGEST_DOMAIN]
        row = row_of(certificate, "approved" if rule else "quarantined", origin, now, by=rule, domain=domain)
        with self.database.writing() as connection:
            if _states(connection, [certificate.sha256]):
                return "known"
            if _full(connection, domain):
                _purge(connection, now)
                if _full(connection, domain):
                    return "full"
            _insert(connection, [(certificate, row)])
        return "new"

    def prefer(self, address: str, certificate: Certificate, *, now: datetime) -> None:
        """Note which certificate the owner of an address said at `now` to prefer, unless it said something later."""
        name = folded(_storable(address))
        if len(name.encode()) > LONGEST_NAME:
            return
        row = {"name": name, "sha256": certificate.sha256, "stated_at": time_text(now)}
        with self.database.writing() as connection:
            connection.execute(db.upserting(connection, db.preferences, "name", "stated_at"), row)

    def decide(self, digest: str, state: State, *, by: str, now: datetime, note: str = "") -> None:
        """Approve or reject a certificate, whatever it was before. Raises NoSuchCertificate."""
        with self.database.writing() as connection:
            if not _decide(connection, [digest], state, by=by, note=note, now=now):
                raise NoSuchCertificate(f"no certificate {digest[:64]!r} in the store")

    # --- looking at -----------------------------------------------------------------------------------------------

    def find(self, digest: str) -> Entry:
        """The certificate whose SHA-256 in hexadecimal begins so. Raises NoSuchCertificate."""
        wanted = digest.lower().replace(":", "")
        if not is_digest(digest):
            text = f"{digest[:64]!r} names no certificate, expected {SHORTEST_DIGEST} or more digits of its SHA-256"
            raise NoSuchCertificate(text)
        c = db.certificates.c
        query = sql.select(db.certificates).where(c.sha256 >= wanted, c.sha256 <= wanted + "g").limit(2)
        with self.database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        if len(rows) != 1:
            count = "more than one" if rows else "no"
            raise NoSuchCertificate(f"{count} certificate whose digest begins with {wanted}")
        return _entry(rows[0])

    def entries(
        self,
        state: State | None = None,
        *,
        until: datetime | None = None,
        address: str | None = None,
        issuer: bytes | None = None,
        serials: Sequence[int] | None = None,
    ) -> Iterator[Entry]:
        """Certificates in a state, or in any for None, by the end of their validity.

        `until` leaves out those that are valid beyond it. The others ask for an address, an issuer (a Name in DER), one
        of some serial numbers.
        """
        c = db.certificates.c
        query = sql.select(db.certificates).order_by(c.not_after, c.sha256).limit(_CHUNK)
        narrow = not (address is None and issuer is None and serials is None)
        if state is not None:
            query = query.where(_is(c.state, state) if narrow else c.state == state)
        if until is not None:
            query = query.where(c.not_after <= time_text(until))
        if issuer is not None:
            query = query.where(c.issuer == _issuer(issuer))
        if address is not None:
            n = db.certificate_names.c
            query = query.where(c.sha256.in_(sql.select(n.sha256).where(n.name == folded(address))))
        if serials is None:
            yield from self._pages(query)
            return
        for part in _parts(sorted(set(serials))):
            yield from self._pages(query.where(c.serial.in_([f"{serial:x}" for serial in part])))

    def _pages(self, query: sql.Select[tuple[object, ...]]) -> Iterator[Entry]:
        """No transaction is open while whoever asked looks at a page."""
        c = db.certificates.c
        after: tuple[str, str] | None = None
        while True:
            place = sql.tuple_(c.not_after, c.sha256)
            page = query if after is None else query.where(place > sql.tuple_(*after))
            with self.database.reading() as connection:
                rows = connection.execute(page).mappings().all()
            yield from map(_entry, rows)
            if len(rows) < _CHUNK:
                return
            after = str(rows[-1]["not_after"]), str(rows[-1]["sha256"])

    def tally(self) -> Mapping[State, int]:
        """How many there are in each state that has any."""
        c = db.certificates.c
        with self.database.reading() as connection:
            rows = connection.execute(sql.select(c.state, sql.func.count()).group_by(c.state)).all()
        return {cast("State", state): count for state, count in rows}

    # --- the source -----------------------------------------------------------------------------------------------

    def by_address(self, address: str) -> Sequence[Certificate]:
        return self._found(_BY_ADDRESS, folded(address))

    def authority(self, role_name: str, domain: str) -> Sequence[Certificate]:
        return self._found(_BY_AUTHORITY, folded(f"{role_name}@{domain}"))

    def by_sid(self, identifier: Identifier) -> Sequence[Certificate]:
        if isinstance(identifier, IssuerAndSerialNumber):
            found = self._found(_BY_SERIAL, f"{identifier.serial:x}")  # a name may be written in more than one way
        else:
            found = self._found(_BY_KEY_IDENTIFIER, identifier.key_identifier.hex())
        return tuple(certificate for certificate in found if identifier.matches(certificate))

    def preferred(self, address: str) -> str | None:
        p = db.preferences.c
        with self.database.reading() as connection:
            return connection.execute(sql.select(p.sha256).where(p.name == folded(address))).scalar()

    def certificate_authorities(self) -> Sequence[Certificate]:
        """Those of CAs, for building paths; at most MOST_AUTHORITIES, the newest."""
        return self._found(_AUTHORITIES, None, MOST_AUTHORITIES)

    def _found(
        self, query: sql.Select[tuple[bytes]], wanted: str | None, most: int | None = None
    ) -> Sequence[Certificate]:
        with self.database.reading() as connection:
            rows = connection.execute(query, {"wanted": wanted, "most": most or MOST_FOUND}).scalars().all()
        return tuple(_certificate(octets) for octets in rows)


def _is(column: sql.Column[str], value: str) -> sql.ColumnElement[bool]:
    """A condition that finds no rows, but judges those found by others.

    Without statistics, SQLite would rather look through all of a state than through the few of a name.
    """
    return sql.func.coalesce(column, "") == value


def _question(having: sql.ColumnElement[bool]) -> sql.Select[tuple[bytes]]:
    """Built once: putting a statement together takes longer than answering it."""
    c = db.certificates.c
    query = sql.select(c.der).where(having, _is(c.state, "approved")).order_by(c.not_before.desc(), c.sha256)
    return query.limit(sql.bindparam("most"))


def _named(*kinds: str) -> sql.ColumnElement[bool]:
    n = db.certificate_names.c
    return db.certificates.c.sha256.in_(sql.select(n.sha256).where(n.name == _WANTED, n.kind.in_(kinds)))


_WANTED: Final[sql.BindParameter[str]] = sql.bindparam("wanted")
_BY_ADDRESS: Final = _question(_named("address"))
_BY_AUTHORITY: Final = _question(_named("address", "authority"))
_BY_SERIAL: Final = _question(db.certificates.c.serial == _WANTED)
_BY_KEY_IDENTIFIER: Final = _question(db.certificates.c.key_identifier == _WANTED)
_AUTHORITIES: Final = _question(db.certificates.c.ca.is_(True))


def is_digest(text: str) -> bool:
    """Whether a text can name a certificate: enough hexadecimal digits, with colons or without."""
    digits = text.lower().replace(":", "")
    return len(digits) >= SHORTEST_DIGEST and set(digits) <= set("0123456789abcdef")


def row_of(
    certificate: Certificate, state: State, origin: str, now: datetime, *, by: str = "", domain: str = ""
) -> dict[str, object]:
    """What is kept of a certificate. Raises MalformedMessage, LimitExceeded for what cannot be kept."""
    if len(certificate.der) > DEFAULT.certificate_size:
        raise LimitExceeded("certificate_size", f"a certificate of {len(certificate.der)} octets")
    try:
        ca = is_authority(certificate)
    except MalformedMessage:
        ca = False
    ski = certificate.ski
    return {
        "sha256": certificate.sha256,
        "state": state,
        "origin": _storable(origin),
        "domain": _storable(domain),
        "added_at": time_text(now),
        "decided_at": time_text(now) if by else None,
        "decided_by": _storable(by) or None,
        "not_before": time_text(certificate.not_before),
        "not_after": time_text(certificate.not_after),
        "serial": f"{certificate.serial:x}"[:LONGEST_NAME],
        "issuer": _issuer(certificate.issuer),
        "key_identifier": ski.hex() if ski is not None and len(ski) <= LONGEST_NAME // 2 else None,
        "ca": ca,
        "der": certificate.der,
    }


def _issuer(name: bytes) -> str:
    """A digest that is the same for names that RFC 5280 7.1 calls equal."""
    try:
        comparable = repr([sorted(rdn) for rdn in names.normalised(name)]).encode()
    except MalformedMessage:
        comparable = name
    return hashlib.sha256(comparable).hexdigest()


def _storable(text: str) -> str:
    """Text as every database takes it: names of files are octets, and hold what is no text."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "")


def _parts(values: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """What one statement takes, again and again."""
    left = iter(values)
    while part := tuple(itertools.islice(left, _CHUNK)):
        yield part


def _states(connection: sql.Connection, digests: Sequence[str]) -> dict[str, State]:
    c = db.certificates.c
    rows = connection.execute(sql.select(c.sha256, c.state).where(c.sha256.in_(digests))).all()
    return {digest: cast("State", state) for digest, state in rows}


def _insert(connection: sql.Connection, pairs: Sequence[tuple[Certificate, Mapping[str, object]]]) -> None:
    named = [
        {"name": name, "kind": kind, "sha256": certificate.sha256}
        for certificate, _ in pairs
        for kind, name in filed_under(certificate)
        if len(name.encode()) <= LONGEST_NAME
    ]
    kept = [row for _, row in pairs]
    for insert, rows in (
        (_inserting(connection, db.certificates), kept),
        (_inserting(connection, db.certificate_names), named),
    ):
        for part in _parts(rows):
            connection.execute(insert, part)


def _inserting(connection: sql.Connection, table: sql.Table) -> sql.Insert:
    """Does nothing for a row that is there: another process may have been faster."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def _decide(
    connection: sql.Connection, digests: Sequence[str], state: State, *, by: str, note: str, now: datetime
) -> int:
    c = db.certificates.c
    values = {
        "state": state,
        "decided_at": time_text(now),
        "decided_by": _storable(by),
        "note": _storable(note),
        "domain": "",
    }
    changed = 0
    for part in _parts(digests):
        changed += connection.execute(sql.update(db.certificates).where(c.sha256.in_(part)).values(values)).rowcount
    return changed


def _full(connection: sql.Connection, domain: str) -> bool:
    c = db.certificates.c
    harvested = sql.select(sql.func.count()).where(c.domain != "")
    share = sql.select(sql.func.count()).where(c.domain == _storable(domain))
    return any(
        (connection.execute(count).scalar() or 0) >= most
        for count, most in ((share, MOST_OF_A_DOMAIN), (harvested, MOST_HARVESTED))
    )


def _purge(connection: sql.Connection, now: datetime) -> None:
    """What expired before any person looked at it is of no more use."""
    c, p = db.certificates.c, db.preferences.c
    gone = sql.select(c.sha256).where(c.domain != "", c.not_after < time_text(now))
    connection.execute(sql.delete(db.preferences).where(p.sha256.in_(gone)))
    connection.execute(sql.delete(db.certificates).where(c.sha256.in_(gone)))


def _certificate(octets: object) -> Certificate:
    """Raises StoreUnavailable for a row that nobody here wrote."""
    try:
        return certificate_of(bytes(cast("bytes", octets)))
    except (MalformedMessage, TypeError) as error:
        raise StoreUnavailable(f"a certificate in the store is damaged: {error}") from error


def _entry(row: sql.RowMapping) -> Entry:
    decided_at = row["decided_at"]
    return Entry(
        certificate=_certificate(row["der"]),
        state=cast("State", row["state"]),
        origin=str(row["origin"]),
        added_at=read_time(str(row["added_at"])),
        decided_at=read_time(str(decided_at)) if decided_at is not None else None,
        decided_by=cast("str | None", row["decided_by"]),
        note=cast("str | None", row["note"]) or None,
    )
