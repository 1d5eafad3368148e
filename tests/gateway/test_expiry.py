"""domsec.gateway.expiry: who is told when certificates end, and when."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import pki
import world
from domsec.errors import StoreUnavailable
from domsec.gateway import expiry
from domsec.gateway.expiry import Expiry
from domsec.gateway.metrics import Counters, Metrics
from domsec.policy.options import Trust
from domsec.services.proxy import Users
from domsec.site import Site
from domsec.stores.certificate_table import CertificateTable
from world import acme, beta

DAY = timedelta(days=1)
END = acme().signing.certificate.not_after


@pytest.fixture
def table(tmp_path: Path) -> Iterator[CertificateTable]:
    table = CertificateTable.open(f"sqlite:///{tmp_path}/domsec.db")
    table.add([beta().users["bob"].certificate], origin="imported", by="carol", now=pki.NOW)
    yield table
    table.close()


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logging.getLogger("domsec"), "propagate", True)


def site(*signing: pki.Identity, margin: int = 30) -> Site:
    made = world.acme_site()
    configuration = dataclasses.replace(made.configuration, trust=Trust(expiry_alarm=margin))
    keys = tuple(map(world.credential, signing))
    return dataclasses.replace(made, configuration=configuration, signing_keys=keys)


def looked(at: datetime, of: Site, table: CertificateTable) -> Counters:
    counters = Metrics().counters()
    Expiry(of, table).look(at, counters)
    return counters


def test_a_clock_that_was_ahead_silences_nobody_for_a_year(
    table: CertificateTable, caplog: pytest.LogCaptureFixture
) -> None:
    looking = Expiry(site(acme().signing), table)
    looking.look(END + 365 * DAY, Metrics().counters())
    caplog.clear()
    looking.look(END - 2 * DAY, Metrics().counters())
    assert "ends on 2027-10-24, in 2 days" in caplog.text


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (END - 30 * DAY - timedelta(seconds=1), []),
        (END - 30 * DAY, ["the certificate of keys.signing ends on 2027-10-24, in 30 days"]),
        (END, ["the certificate of keys.signing ended on 2027-10-24"]),
    ],
)
def test_the_end_of_our_own_certificate_is_an_error_in_the_log(
    table: CertificateTable, caplog: pytest.LogCaptureFixture, at: datetime, said: list[str]
) -> None:
    looked(at, site(acme().signing), table)
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == said


def test_a_certificate_with_a_successor_is_not_missed(
    table: CertificateTable, caplog: pytest.LogCaptureFixture
) -> None:
    successor = pki.identity("signing", "acme.example", acme().ca, days=2 * pki.DAYS)
    counters = looked(END, site(acme().signing, successor), table)
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]
    assert counters.get("end_signing") == int(successor.certificate.not_after.timestamp())


def test_keys_of_users_are_counted_where_no_later_one_is_there(
    table: CertificateTable, caplog: pytest.LogCaptureFixture
) -> None:
    old = pki.identity("user", "alice@acme.example", acme().ca, days=40)
    later = pki.identity("user", "alice@acme.example", acme().ca, days=400)
    for held, count in (((old,), 1), ((old, later), 0), ((later, pki.world().acme.user("bob")), 0)):
        caplog.clear()
        with_users = dataclasses.replace(site(), users=Users(tuple(map(world.credential, held))))
        looked(pki.NOW, with_users, table)
        assert ("1 keys of users end within 30 days" in caplog.text) is bool(count)


def test_it_is_said_once_a_day(table: CertificateTable, caplog: pytest.LogCaptureFixture) -> None:
    watch = Expiry(site(acme().signing), table)
    counters = Metrics().counters()
    told = []
    for hours in (0, 1, 23, 24, 25):
        caplog.clear()
        watch.look(END - 3 * DAY + timedelta(hours=hours), counters)
        told.append(bool(caplog.records))
    assert told == [True, False, False, True, False]


def test_certificates_of_others_are_counted_and_whoever_is_to_act_is_told_how(
    table: CertificateTable, caplog: pytest.LogCaptureFixture
) -> None:
    table.harvest(beta().users["alice"].certificate, domain="beta.example", origin="mail", now=pki.NOW)
    counters = looked(END - DAY, site(), table)
    levels = [counters.get(key) for key in ("approved", "quarantined", "expiring", "end_signing")]
    assert levels == [1, 1, 1, 0]
    assert "1 certificates of the store end within 30 days" in caplog.text
    assert "domsec cert list --expiring 30" in caplog.text


def test_nought_is_never(table: CertificateTable, caplog: pytest.LogCaptureFixture) -> None:
    counters = looked(END + DAY, site(acme().signing, margin=0), table)
    assert (caplog.records, counters.get("expiring")) == ([], 0)
    assert counters.get("end_signing") == int(END.timestamp())


def test_a_level_is_not_added_up() -> None:
    metrics = Metrics(2)
    for row in (0, 1):
        metrics.counters(row).set("approved", 7)
    assert 'domsec_certificates{state="approved"} 7\n' in metrics.text()
    assert "# TYPE domsec_certificates gauge\n" in metrics.text()
    metrics.counters(0).clear_gauges()
    assert metrics.total("approved") == 7


def test_a_store_that_is_away_is_asked_again(
    table: CertificateTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [StoreUnavailable("down"), ZeroDivisionError("a fault of ours"), None]
    watch = Expiry(site(), table)

    def look(now: datetime, counters: Counters) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(watch, "look", look)

    async def scene() -> None:
        task = asyncio.create_task(expiry.run(watch, Metrics().counters(), lambda: pki.NOW, pause=0.001))
        async with asyncio.timeout(20):
            while answers:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(scene())
    assert "it is not known which certificates end soon: down" in caplog.text
