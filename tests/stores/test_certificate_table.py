"""Certificates in the database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

import pki
from domsec import der, oids
from domsec.cms.certificates import Certificate, IssuerAndSerialNumber, SubjectKeyIdentifier
from domsec.errors import LimitExceeded, StoreUnavailable
from domsec.limits import DEFAULT
from domsec.services.names import CONFIDENTIALITY_AUTHORITY
from domsec.stores import certificate_table
from domsec.stores.certificate_table import CertificateTable, NoSuchCertificate, row_of
from domsec.stores.database import sql
from domsec.trust.source import CertificateSource, MemorySource, SourcesInOrder

WORLD = pki.world()
NOW = pki.NOW
DAY = timedelta(days=1)
LONGEST = certificate_table.LONGEST_NAME
ALICE, BOB = (WORLD.acme.users[name].certificate for name in ("alice", "bob"))
DCA = WORLD.beta.confidentiality.certificate
CA = WORLD.beta.ca.certificate


@pytest.fixture
def table(url: str) -> Iterator[CertificateTable]:
    table = CertificateTable.open(url)
    yield table
    table.close()


@pytest.fixture
def sqlite_table(sqlite_url: str) -> Iterator[CertificateTable]:
    table = CertificateTable.open(sqlite_url)
    yield table
    table.close()


def add(table: CertificateTable, *certificates: Certificate) -> certificate_table.Added:
    return table.add(certificates, origin="a test", by="carol", now=NOW)


def people(count: int, domain: str = "acme.example", **how: object) -> list[Certificate]:
    """Certificates of many people, made quickly: of one key."""
    from domsec.trust import issue

    key, ca = WORLD.acme.users["bob"].key, WORLD.acme.ca
    how = {"now": pki.START, "days": pki.DAYS, **how}
    return [
        issue.issue("user", f"p{n}@{domain}", key.public_key(), ca.certificate, ca.signing_key, **how)  # type: ignore[arg-type]
        for n in range(count)
    ]


def with_extension(extension: x509.ExtensionType, serial: int = 77) -> Certificate:
    """With what no CA of ours would certify."""
    ca = WORLD.acme.ca
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(ca.certificate.x509.subject)
    builder = builder.not_valid_before(pki.START).not_valid_after(pki.START + 300 * DAY).serial_number(serial)
    builder = builder.public_key(ALICE.x509.public_key()).add_extension(extension, critical=False)
    return Certificate(builder.sign(ca.signing_key, hashes.SHA256()).public_bytes(Encoding.DER))  # type: ignore[arg-type]


def with_key_identifier(octets: bytes) -> Certificate:
    return with_extension(x509.SubjectKeyIdentifier(octets), len(octets))


def test_a_key_identifier_of_any_length_keeps_no_other_certificate_out(table: CertificateTable) -> None:
    """PostgreSQL has no room for it in an index. Such a one is not found by it."""
    long = with_key_identifier(random.Random(1).randbytes(8000))
    usual = with_key_identifier(random.Random(2).randbytes(certificate_table.LONGEST_NAME // 2))
    assert set(add(table, long, usual, ALICE).new) == {long, usual, ALICE}
    assert table.by_sid(SubjectKeyIdentifier(usual.ski or b"")) == (usual,)
    assert table.by_sid(SubjectKeyIdentifier(long.ski or b"")) == ()


def named(name: x509.GeneralName) -> Certificate:
    return with_extension(x509.SubjectAlternativeName([name]))


def rfc822(length: int) -> tuple[str, Certificate]:
    domain = ".".join(["x" * 60] * 15)
    address = f"{'p' * (length - len(domain) - 1)}@{domain}"
    assert len(address) == length
    return address, named(x509.RFC822Name(address))


def smtp_utf8(octets: int) -> tuple[str, Certificate]:
    """Of characters that no compression makes small."""
    local = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range((octets - 7) // 3))
    address = f"{local}@a.test"
    text = der.tlv(der.UTF8_STRING, address.encode())
    return address, named(x509.OtherName(x509.ObjectIdentifier(oids.ID_ON_SMTP_UTF8_MAILBOX), text))


# --- a source --------------------------------------------------------------------------------------------------------


def test_it_answers_as_a_source_in_memory_does(table: CertificateTable) -> None:
    everything = (ALICE, BOB, DCA, CA, WORLD.beta.signing.certificate)
    by_components = pki.identity(
        "confidentiality", "beta.example", WORLD.beta.ca, subject=(("0.9.2342.19200300.100.1.25", "example"),)
    ).certificate
    add(table, *everything, by_components)
    sources: tuple[CertificateSource, CertificateSource] = (table, MemorySource((*everything, by_components)))
    asked = [
        [
            set(source.by_address("ALICE@acme.example")),
            set(source.by_address("nobody@acme.example")),
            set(source.authority(CONFIDENTIALITY_AUTHORITY, "beta.example")),
            set(source.authority(CONFIDENTIALITY_AUTHORITY, "example")),
            set(source.by_sid(IssuerAndSerialNumber(DCA.issuer, DCA.serial))),
            set(source.by_sid(IssuerAndSerialNumber(ALICE.issuer, DCA.serial))),
            set(source.by_sid(SubjectKeyIdentifier(BOB.ski or b""))),
            set(source.by_sid(SubjectKeyIdentifier(b"absent"))),
        ]
        for source in sources
    ]
    assert asked[0] == asked[1]
    assert asked[0][0] == {ALICE}


def test_a_certificate_comes_back_with_its_octets(table: CertificateTable) -> None:
    add(table, ALICE)
    assert [found.der for found in table.by_address("alice@acme.example")] == [ALICE.der]


def test_certificates_of_cas_are_there_to_build_paths(table: CertificateTable) -> None:
    add(table, ALICE, CA, DCA)
    assert table.certificate_authorities() == (CA,)


def test_of_very_many_certificates_of_one_address_the_newest_are_found(
    sqlite_table: CertificateTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_table, "MOST_FOUND", 3)
    made = [people(1, now=NOW - timedelta(days=n))[0] for n in range(5)]
    add(sqlite_table, *made)
    assert sqlite_table.by_address("p0@acme.example") == tuple(made[:3])


def test_of_very_many_cas_the_newest_help_to_build_paths(
    sqlite_table: CertificateTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_table, "MOST_AUTHORITIES", 1)
    later = pki.ca("a later CA", days=10).certificate
    add(sqlite_table, CA, later)
    assert len(sqlite_table.certificate_authorities()) == 1


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (rfc822(LONGEST), True),
        (rfc822(LONGEST + 1), False),
        (smtp_utf8(LONGEST), True),
        (smtp_utf8(2900), False),
    ],
    ids=["longest", "longer", "utf8", "utf8-longer"],
)
def test_a_name_that_no_index_takes_is_not_searched_for(
    table: CertificateTable, name: tuple[str, Certificate], found: bool
) -> None:
    address, certificate = name
    add(table, certificate)
    assert (certificate in table.by_address(address)) is found
    assert table.by_sid(IssuerAndSerialNumber(certificate.issuer, certificate.serial)) == (certificate,)


def test_several_sources_are_one_and_say_each_certificate_once(sqlite_table: CertificateTable) -> None:
    add(sqlite_table, ALICE, DCA)
    both = SourcesInOrder(MemorySource([ALICE, BOB]), sqlite_table)
    assert both.by_address("alice@acme.example") == (ALICE,)
    assert both.authority(CONFIDENTIALITY_AUTHORITY, "beta.example") == (DCA,)
    assert both.by_sid(SubjectKeyIdentifier(BOB.ski or b"")) == (BOB,)


# --- adding ----------------------------------------------------------------------------------------------------------


def test_what_was_there_already_is_told(table: CertificateTable) -> None:
    assert add(table, ALICE, BOB, ALICE).new == (ALICE, BOB)
    again = add(table, BOB, DCA)
    assert (again.new, again.known) == ((DCA,), (BOB,))
    assert table.tally() == {"approved": 3}


def test_adding_what_is_in_quarantine_approves_it_and_a_rejected_one_stays_rejected(table: CertificateTable) -> None:
    table.harvest(ALICE, domain="acme.example", origin="a message", now=NOW)
    table.harvest(BOB, domain="acme.example", origin="a message", now=NOW)
    table.decide(BOB.sha256, "rejected", by="carol", now=NOW)
    added = add(table, ALICE, BOB)
    assert (added.approved, added.rejected, added.new) == ((ALICE,), (BOB,), ())
    assert table.tally() == {"approved": 1, "rejected": 1}


def test_many_are_added_at_once_and_found_one_by_one(table: CertificateTable) -> None:
    made = people(1203)
    assert len(add(table, *made).new) == len(made)
    assert table.by_address("p1202@acme.example") == (made[-1],)
    assert {entry.certificate for entry in table.entries()} == set(made)


def test_a_certificate_that_is_too_large_is_not_kept(sqlite_table: CertificateTable) -> None:
    def sized(octets: int) -> Certificate:
        (made,) = people(1, name="x" * 60, subject=tuple(("2.5.4.11", "y" * 64) for _ in range(octets // 75)))
        return made

    assert len(sized(DEFAULT.certificate_size - 1000).der) <= DEFAULT.certificate_size
    add(sqlite_table, sized(DEFAULT.certificate_size - 1000))
    large = sized(DEFAULT.certificate_size + 1000)
    ((refused, why),) = add(sqlite_table, large).refused
    assert (refused, why) == (large, f"a certificate of {len(large.der)} octets")
    with pytest.raises(LimitExceeded):
        sqlite_table.harvest(large, domain="acme.example", origin="mail", now=NOW)
    assert sqlite_table.tally() == {"approved": 1}


def test_names_of_files_are_kept_as_text_whatever_octets_they_have(table: CertificateTable) -> None:
    table.add([ALICE], origin=b"caf\xe9\x00.pem".decode("utf-8", "surrogateescape"), by="carol", now=NOW)
    assert table.find(ALICE.sha256).origin == "caf\\udce9.pem"


# --- quarantine ------------------------------------------------------------------------------------------------------


def test_what_is_in_quarantine_is_found_only_when_it_was_approved(table: CertificateTable) -> None:
    def found() -> list[bool]:
        return [
            ALICE in table.by_address("alice@acme.example"),
            ALICE in table.by_sid(SubjectKeyIdentifier(ALICE.ski or b"")),
        ]

    assert table.harvest(ALICE, domain="acme.example", origin="a message", now=NOW) == "new"
    assert found() == [False, False]
    table.decide(ALICE.sha256, "approved", by="carol", now=NOW + DAY, note="asked her")
    assert found() == [True, True]
    entry = table.find(ALICE.sha256)
    assert (entry.decided_by, entry.note, entry.decided_at) == ("carol", "asked her", NOW + DAY)
    table.decide(ALICE.sha256, "rejected", by="dave", now=NOW + DAY)
    assert found() == [False, False]
    assert table.harvest(ALICE, domain="acme.example", origin="again", now=NOW) == "known"


def test_a_domain_has_its_share_of_the_quarantine_and_no_more(
    table: CertificateTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_table, "MOST_OF_A_DOMAIN", 3)
    told = [table.harvest(c, domain="evil.example", origin="mail", now=NOW) for c in people(4, "evil.example")]
    assert told == ["new", "new", "new", "full"]
    assert table.harvest(ALICE, domain="acme.example", origin="mail", now=NOW) == "new"


def test_what_a_rule_approves_counts_as_long_as_no_person_decided(
    table: CertificateTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_table, "MOST_OF_A_DOMAIN", 1)
    one, two, three = people(3, "beta.example")

    def harvest(certificate: Certificate) -> str:
        return table.harvest(certificate, domain="beta.example", origin="mail", now=NOW, rule="rule renewals")

    assert (harvest(one), harvest(two)) == ("new", "full")
    assert table.by_address("p0@beta.example") == (one,)
    assert table.find(one.sha256).decided_by == "rule renewals"
    table.decide(one.sha256, "approved", by="carol", now=NOW)
    assert (harvest(two), harvest(three)) == ("new", "full")


def test_the_quarantine_has_an_end_and_what_expired_in_it_makes_room(
    table: CertificateTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_table, "MOST_HARVESTED", 2)
    soon, late = people(1, days=31)[0], people(1)[0]
    for certificate in (soon, late):
        table.harvest(certificate, domain=certificate.sha256, origin="mail", now=NOW)
    assert table.harvest(ALICE, domain="acme.example", origin="mail", now=NOW) == "full"
    assert table.harvest(ALICE, domain="acme.example", origin="mail", now=NOW + 2 * DAY) == "new"
    assert {entry.certificate for entry in table.entries("quarantined")} == {late, ALICE}


def test_the_last_preference_of_an_address_counts(table: CertificateTable) -> None:
    assert table.preferred("bob@beta.example") is None
    table.prefer("Bob@beta.example", ALICE, now=NOW)
    assert table.preferred("bob@BETA.example") == ALICE.sha256
    table.prefer("bob@beta.example", BOB, now=NOW - DAY)
    assert table.preferred("bob@beta.example") == ALICE.sha256
    table.prefer("bob@beta.example", BOB, now=NOW + DAY)
    assert table.preferred("bob@beta.example") == BOB.sha256
    assert SourcesInOrder(MemorySource(), table).preferred("bob@beta.example") == BOB.sha256
    table.prefer("x" * certificate_table.LONGEST_NAME + "@beta.example", ALICE, now=NOW)  # which no index takes


def test_a_preference_goes_with_the_certificate_that_makes_room(
    table: CertificateTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_table, "MOST_HARVESTED", 1)
    (soon,) = people(1, days=31)
    table.harvest(soon, domain="acme.example", origin="mail", now=NOW)
    table.prefer("p0@acme.example", soon, now=NOW)
    table.prefer("bob@beta.example", BOB, now=NOW)
    table.harvest(ALICE, domain="acme.example", origin="mail", now=NOW + 2 * DAY)
    assert (table.preferred("p0@acme.example"), table.preferred("bob@beta.example")) == (None, BOB.sha256)


# --- looking ---------------------------------------------------------------------------------------------------------


def test_a_certificate_is_named_by_the_begin_of_its_digest(table: CertificateTable) -> None:
    add(table, ALICE, BOB)
    assert table.find(ALICE.sha256[:8].upper()).certificate == ALICE
    assert table.find(":".join(ALICE.sha256[i : i + 2] for i in range(0, 64, 2))).certificate == ALICE


@pytest.mark.parametrize("digest", ["", "0123456", "g" * 64, "%" * 8, "_" * 64, "0" * 64, "'; DROP TABLE certificate;"])
def test_a_digest_of_nothing_finds_nothing(table: CertificateTable, digest: str) -> None:
    add(table, ALICE)
    with pytest.raises(NoSuchCertificate):
        table.find(digest)
    with pytest.raises(NoSuchCertificate):
        table.decide(digest, "approved", by="carol", now=NOW)


def test_a_digest_that_fits_more_than_one_finds_none(
    sqlite_table: CertificateTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_table, "SHORTEST_DIGEST", 1)
    add(sqlite_table, *people(17))  # more than there are first digits
    with pytest.raises(NoSuchCertificate, match="more than one"):
        for digit in "0123456789abcdef":
            try:
                sqlite_table.find(digit)
            except NoSuchCertificate as error:
                if "more than one" in str(error):
                    raise


def test_entries_are_asked_for_by_state_end_address_issuer_and_serial_number(table: CertificateTable) -> None:
    def found(**how: object) -> set[Certificate]:
        return {entry.certificate for entry in table.entries(**how)}  # type: ignore[arg-type]

    (soon,) = people(1, days=40)
    add(table, ALICE, DCA, soon)
    table.harvest(BOB, domain="acme.example", origin="mail", now=NOW)
    assert found(state="quarantined") == {BOB}
    assert found(until=soon.not_after) == {soon}
    assert found(until=soon.not_after - timedelta(microseconds=1)) == set()
    assert found(address="Alice@ACME.example") == {ALICE}
    assert found(issuer=WORLD.acme.ca.certificate.subject) == {ALICE, soon, BOB}
    assert found(serials=[DCA.serial]) == {DCA}
    assert found(issuer=WORLD.acme.ca.certificate.subject, serials=[ALICE.serial, DCA.serial]) == {ALICE}
    assert found(serials=[]) == set()


def test_an_issuer_is_the_same_however_its_name_is_written(table: CertificateTable) -> None:
    from cryptography import x509
    from cryptography.x509.name import _ASN1Type

    add(table, ALICE)
    name = WORLD.acme.ca.certificate.x509.subject
    shouted = x509.Name(
        [x509.NameAttribute(a.oid, str(a.value).upper(), _ASN1Type.PrintableString) for a in name]
    ).public_bytes()
    assert shouted != WORLD.acme.ca.certificate.subject
    assert [entry.certificate for entry in table.entries(issuer=shouted)] == [ALICE]


def test_a_damaged_row_is_a_store_that_does_not_answer(table: CertificateTable) -> None:
    add(table, ALICE)
    with table.database.writing() as connection:
        connection.exec_driver_sql("UPDATE certificate SET der = '0'")
    with pytest.raises(StoreUnavailable, match="damaged"):
        table.by_address("alice@acme.example")
    with pytest.raises(StoreUnavailable, match="damaged"):
        table.find(ALICE.sha256)


def test_every_question_of_the_source_is_answered_by_the_narrowest_index(sqlite_table: CertificateTable) -> None:
    """SQLite's own word for it. A table that is read from end to end would be a SCAN, and that of a state nearly so."""
    plans: list[str] = []

    def explain(connection: sql.Connection, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("SELECT"):
            plan = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in plan)

    sql.event.listen(sqlite_table.database.engine, "before_cursor_execute", explain)
    sqlite_table.by_address("alice@acme.example")
    sqlite_table.authority(CONFIDENTIALITY_AUTHORITY, "beta.example")
    sqlite_table.by_sid(IssuerAndSerialNumber(DCA.issuer, DCA.serial))
    sqlite_table.by_sid(SubjectKeyIdentifier(b"absent"))
    sqlite_table.certificate_authorities()
    list(sqlite_table.entries("approved", address="alice@acme.example"))
    list(sqlite_table.entries("approved", serials=[1]))
    list(sqlite_table.entries("approved", issuer=DCA.issuer))
    used = {plan.partition(" INDEX ")[2].partition(" (")[0] for plan in plans if plan.startswith("SEARCH")}
    assert not [plan for plan in plans if plan.startswith("SCAN")]
    assert used == {
        "sqlite_autoindex_certificate_1",  # of the digest
        "sqlite_autoindex_certificate_name_1",
        "certificate_by_serial",
        "certificate_by_key_identifier",
        "certificate_by_issuer",
        "certificate_by_ca",
    }


def test_a_row_says_when_its_certificate_ends() -> None:
    row = row_of(ALICE, "approved", "a test", datetime(2026, 1, 1, tzinfo=NOW.tzinfo), by="carol")
    assert str(row["not_after"]).startswith(f"{ALICE.not_after:%Y-%m-%dT%H:%M:%S}")


def test_a_file_that_is_shared_with_the_gateway_gets_the_tables(tmp_path: Path) -> None:
    from domsec.stores.holds import HoldStore

    HoldStore.open(f"sqlite:///{tmp_path}/x.db").close()
    CertificateTable.open(f"sqlite:///{tmp_path}/x.db").close()
