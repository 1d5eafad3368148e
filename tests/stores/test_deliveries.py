"""Who already has a message that is still being distributed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domsec.errors import StoreUnavailable
from domsec.stores.deliveries import Deliveries
from domsec.stores.holds import HoldStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)


def test_who_was_served_is_known_to_the_next_attempt(url: str) -> None:
    first = Deliveries.open(url)
    first.add("one", ["alice@acme.example", "bob@beta.example"], now=NOW)
    first.add("one", [], now=NOW)
    first.add("two", ["alice@acme.example"], now=NOW)
    first.close()
    second = Deliveries.open(url)
    assert second.served("one") == {"alice@acme.example", "bob@beta.example"}
    assert second.served("three") == frozenset()
    second.finish("one", abandoned=LONG_AGO)
    assert (second.served("one"), second.served("two")) == (frozenset(), {"alice@acme.example"})


def test_what_nobody_tries_any_more_is_forgotten(url: str) -> None:
    deliveries = Deliveries.open(url)
    deliveries.add("old", ["alice@acme.example"], now=LONG_AGO - timedelta(seconds=1))
    deliveries.add("new", ["alice@acme.example"], now=LONG_AGO)
    deliveries.finish("another", abandoned=LONG_AGO)
    assert (deliveries.served("old"), deliveries.served("new")) == (frozenset(), {"alice@acme.example"})


def test_a_member_is_noted_once(url: str) -> None:
    deliveries = Deliveries.open(url)
    deliveries.add("one", ["alice@acme.example"], now=NOW)
    with pytest.raises(StoreUnavailable):
        deliveries.add("one", ["bob@beta.example", "alice@acme.example"], now=NOW)
    assert deliveries.served("one") == {"alice@acme.example"}


def test_a_database_of_the_gateway_gets_the_table(url: str) -> None:
    HoldStore.open(url).close()
    Deliveries.open(url).add("one", ["alice@acme.example"], now=NOW)
