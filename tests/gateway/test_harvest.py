"""Certificates on their way from mail into the store, and into use."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import pki
import world
from domsec.cms.attributes import encryption_key_preference
from domsec.errors import StoreUnavailable
from domsec.gateway import harvest
from domsec.gateway.harvest import Harvester
from domsec.gateway.metrics import Counters, Metrics
from domsec.policy.options import Harvest
from domsec.services.encrypt import survey
from domsec.services.harvest import Harvested
from domsec.site import Site, with_table
from domsec.stores.certificate_table import CertificateTable, State
from domsec.trust.source import MemorySource
from world import acme, beta, build

ALICE = acme().users["alice"]
DAY = timedelta(days=1)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[CertificateTable]:
    table = CertificateTable.open(f"sqlite:///{tmp_path}/domsec.db")
    yield table
    table.close()


@pytest.fixture
def site(table: CertificateTable) -> Site:
    """beta, which knows nobody yet."""
    return with_table(world.beta_site(known=()), table)


@pytest.fixture
def counters() -> Counters:
    return Metrics().counters()


def harvester(table: CertificateTable, rule: Harvest = "quarantine", *known: pki.Identity) -> Harvester:
    from domsec.trust.source import SourcesInOrder

    return Harvester(table, SourcesInOrder(MemorySource([i.certificate for i in known]), table), rule)


def arrive(octets: bytes, site: Site, harvester: Harvester, counters: Counters) -> None:
    """A message comes in, and what it brings is stored."""
    for one in world.receive(octets, at=site).harvested:
        harvester.store(one, "T1", pki.NOW, counters)


def used(site: Site, address: str = "alice@acme.example") -> list[str]:
    """The digests of what beta would encrypt to."""
    from domsec.mime.addresses import parse_address

    return [c.sha256 for c in survey(parse_address(address), "auto", site.context(pki.NOW)).certificates]


def state(table: CertificateTable, identity: pki.Identity) -> State:
    return table.find(identity.certificate.sha256).state


def test_what_mail_brings_waits_for_a_person_and_is_used_then(
    site: Site, table: CertificateTable, counters: Counters
) -> None:
    arrive(build("S(OC)"), site, harvester(table), counters)
    assert (state(table, ALICE), used(site)) == ("quarantined", [])
    assert table.find(ALICE.certificate.sha256).origin == "message T1 for alice@acme.example"
    table.decide(ALICE.certificate.sha256, "approved", by="carol", now=pki.NOW)
    assert used(site) == [ALICE.certificate.sha256]
    assert counters.get("harvested") == 1


@pytest.mark.parametrize("rule", ["quarantine", "renewals"])
def test_an_attackers_certificate_with_the_victims_address_is_never_used(
    site: Site, table: CertificateTable, counters: Counters, rule: Harvest
) -> None:
    """Even where a CA that we trust gave it to them, and the message under the victim's name is believed (T-20)."""
    victim = beta().users["alice"]
    table.add([victim.certificate], origin="imported", by="carol", now=pki.NOW)
    forged = pki.identity("user", "alice@beta.example", acme().ca, name="Alice", now=pki.NOW)
    octets = world.message(world.signed(world.TEXT, forged), sender="alice@beta.example")
    assert world.receive(octets, at=site).log["level"] == "originator_direct"
    arrive(octets, site, harvester(table, rule), counters)
    assert state(table, forged) == "quarantined"
    assert used(site, "alice@beta.example") == [victim.certificate.sha256]


@pytest.mark.parametrize(
    ("rule", "issuer", "expected"),
    [
        ("quarantine", "same", "quarantined"),
        ("renewals", "same", "approved"),
        ("renewals", "other", "quarantined"),
        ("trusted", "other", "approved"),
    ],
)
def test_a_rule_may_approve(
    site: Site, table: CertificateTable, counters: Counters, rule: Harvest, issuer: str, expected: State
) -> None:
    """A successor of a certificate that is in use, by the same issuer or by another one that we trust."""
    ca = acme().ca if issuer == "same" else beta().ca
    successor = pki.identity("user", "alice@acme.example", ca, name="Alice")
    octets = world.message(world.signed(world.TEXT, successor))
    arrive(octets, site, harvester(table, rule, ALICE), counters)
    assert state(table, successor) == expected
    assert (used(site) == [successor.certificate.sha256]) is (expected == "approved")
    decided = table.find(successor.certificate.sha256).decided_by
    assert decided == (f'rule harvest = "{rule}"' if expected == "approved" else None)


def test_the_authority_of_a_domain_is_renewed_by_the_same_rule(
    site: Site, table: CertificateTable, counters: Counters
) -> None:
    octets = world.only(world.send(build("OC")))
    older = pki.identity("confidentiality", "acme.example", acme().ca)
    arrive(octets, site, harvester(table, "renewals", older), counters)
    assert state(table, acme().confidentiality) == "approved"


def test_what_is_known_from_elsewhere_is_not_stored(site: Site, table: CertificateTable, counters: Counters) -> None:
    arrive(build("S(OC)"), site, harvester(table, "quarantine", ALICE), counters)
    assert table.tally() == {}


def test_nothing_is_looked_for_where_nothing_is_wanted(table: CertificateTable) -> None:
    site = with_table(world.beta_site(known=(), inbound={"harvest": "no"}), table)
    assert world.receive(build("S(OC)"), at=site).harvested == ()


def test_held_mail_brings_nothing(table: CertificateTable) -> None:
    site = with_table(world.beta_site(known=()), table)
    assert world.receive(build("S[evil](OC)"), at=site).harvested == ()


def test_a_full_store_is_said_and_counted(
    table: CertificateTable, counters: Counters, site: Site, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    from domsec.stores import certificate_table

    monkeypatch.setattr(certificate_table, "MOST_OF_A_DOMAIN", 0)
    monkeypatch.setattr(logging.getLogger("domsec"), "propagate", True)
    arrive(build("S(OC)"), site, harvester(table), counters)
    assert (counters.get("harvest_full"), table.tally()) == (1, {})
    assert "too many wait for approval" in caplog.text


@pytest.mark.requirement("R8551-2.5.3-01")
def test_what_its_owner_prefers_is_encrypted_to(site: Site, table: CertificateTable, counters: Counters) -> None:
    """Of two keys of alice's, both usable: the newer one until her mail names the other."""
    second = pki.identity("user", "alice@acme.example", acme().ca, "p256", name="Alice", now=pki.START + DAY)
    table.add([ALICE.certificate, second.certificate], origin="imported", by="carol", now=pki.NOW)
    worker = harvester(table)

    def says(preferred: pki.Identity, at: datetime) -> list[str]:
        extra = [encryption_key_preference(preferred.certificate)]
        octets = world.message(world.signed(world.TEXT, ALICE, extra=extra))
        for found in world.receive(octets, at=site).harvested:
            worker.store(found, "T1", at, counters)
        return used(site)

    assert used(site) == [second.certificate.sha256]
    assert says(ALICE, pki.NOW) == [ALICE.certificate.sha256]
    assert says(second, pki.NOW + DAY) == [second.certificate.sha256]
    assert says(ALICE, pki.NOW) == [second.certificate.sha256]  # which is older than what is known
    forged = world.message(world.signed(world.TEXT, ALICE, extra=[encryption_key_preference(ALICE.certificate)]))
    arrive(forged.replace(b"From: Alice", b"From: Bob <bob@acme.example>,"), site, worker, counters)
    assert used(site) == [second.certificate.sha256]


# --- beside the mail -------------------------------------------------------------------------------------------------


def one(identity: pki.Identity = ALICE) -> Harvested:
    return Harvested(identity.certificate, "alice@acme.example", "acme.example", "alice@acme.example")


async def until(done: object) -> None:
    assert callable(done)
    async with asyncio.timeout(20):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_preference_is_noted_once_an_hour_and_at_once_where_it_is_another(table: CertificateTable) -> None:
    worker = harvester(table)
    bob = acme().users["bob"]
    said = {who: replace(one(who), preferred=True) for who in (ALICE, bob)}

    def taken(harvested: Harvested, at: datetime) -> bool:
        before = worker._waiting.qsize()
        worker.take([harvested], "T1", at)
        return worker._waiting.qsize() > before

    assert [taken(said[ALICE], pki.NOW), taken(said[ALICE], pki.NOW), taken(one(), pki.NOW)] == [True, False, False]
    assert [taken(said[bob], pki.NOW), taken(said[ALICE], pki.NOW)] == [True, True]
    assert [taken(said[ALICE], pki.NOW + timedelta(minutes=m)) for m in (59, 61, 62)] == [False, True, False]


def test_certificates_are_stored_beside_the_mail_each_once(table: CertificateTable, counters: Counters) -> None:
    async def scene() -> None:
        worker = harvester(table)
        task = asyncio.create_task(worker.run(counters))
        for number in range(3):
            worker.take([one()], f"T{number}", pki.NOW)
        await until(lambda: counters.get("harvested") == 1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert table.find(ALICE.certificate.sha256).origin == "message T0 for alice@acme.example"


@pytest.mark.parametrize("failure", [StoreUnavailable("down"), ZeroDivisionError("a fault of ours")])
def test_a_store_that_fails_keeps_no_later_certificate_out(
    table: CertificateTable, counters: Counters, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    failures = [failure]
    real = CertificateTable.harvest

    def sometimes(self: CertificateTable, *arguments: object, **more: object) -> object:
        if failures:
            raise failures.pop()
        return real(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(CertificateTable, "harvest", sometimes)

    async def scene() -> None:
        worker = harvester(table)
        task = asyncio.create_task(worker.run(counters))
        worker.take([one(acme().users["bob"]), one()], "T0", pki.NOW)
        await until(lambda: counters.get("harvested") == 1)
        task.cancel()

    asyncio.run(scene())
    assert state(table, ALICE) == "quarantined"


def test_a_store_that_is_away_loses_nothing_but_the_moment(
    table: CertificateTable, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next message brings it again."""
    away = [StoreUnavailable("down")]
    real = CertificateTable.harvest

    def sometimes(self: CertificateTable, *arguments: object, **more: object) -> object:
        if away:
            raise away.pop()
        return real(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(CertificateTable, "harvest", sometimes)

    async def scene() -> None:
        worker = harvester(table)
        task = asyncio.create_task(worker.run(counters))
        worker.take([one()], "T0", pki.NOW)
        await until(lambda: not away and not worker._seen)
        worker.take([one()], "T1", pki.NOW)
        await until(lambda: counters.get("harvested") == 1)
        task.cancel()

    asyncio.run(scene())


def test_what_waits_and_what_is_remembered_is_bounded(table: CertificateTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harvest, "WAITING", 2)
    monkeypatch.setattr(harvest, "REMEMBERED", 1)
    people = [pki.identity("user", f"p{n}@acme.example", acme().ca) for n in range(3)]

    async def scene() -> None:
        worker = harvester(table)
        worker.take([one(person) for person in people], "T0", pki.NOW)
        assert worker._waiting.qsize() == 2
        assert len(worker._seen) == 1

    asyncio.run(scene())
