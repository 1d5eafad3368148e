"""The store of held messages."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domsec.errors import StoreUnavailable
from domsec.stores.holds import (
    FINAL,
    TRANSITIONS,
    HeldRecipient,
    Hold,
    HoldNotFound,
    HoldStore,
    Part,
    State,
    WrongState,
)

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(url: str) -> Iterator[HoldStore]:
    store = HoldStore.open(url)
    yield store
    store.close()


def put(
    store: HoldStore, octets: bytes = b"Subject: x\r\n\r\nbody\r\n", *, at: datetime = NOW, ready: bool = False
) -> str:
    return store.put(
        direction="outbound",
        sender="alice@acme.example",
        sender_parameters="RET=HDRS ENVID=abc SMTPUTF8",
        recipients=[
            HeldRecipient("bob@beta.example", "NOTIFY=NEVER ORCPT=rfc822;b@x"),
            HeldRecipient("caf\u00e9@beta.example"),
        ],
        octets=octets,
        reasons=["gate.originator", "gate.undecryptable"],
        transaction="4F2A1",
        received_at=at - MINUTE,
        now=at,
        session={"client_address": "192.0.2.1", "xforward": {"IDENT": "4F2A1"}},
        ready=ready,
    )


def test_a_message_comes_back_as_it_was_put(store: HoldStore) -> None:
    octets = bytes(range(256)) * 100
    identifier = put(store, octets)
    assert store.get(identifier) == Hold(
        id=identifier,
        state="held",
        direction="outbound",
        transaction="4F2A1",
        sender="alice@acme.example",
        sender_parameters="RET=HDRS ENVID=abc SMTPUTF8",
        recipients=(
            HeldRecipient("bob@beta.example", "NOTIFY=NEVER ORCPT=rfc822;b@x"),
            HeldRecipient("caf\u00e9@beta.example"),
        ),
        session={"client_address": "192.0.2.1", "xforward": {"IDENT": "4F2A1"}},
        reasons=("gate.originator", "gate.undecryptable"),
        received_at=NOW - MINUTE,
        held_at=NOW,
        not_before=NOW,
        attempts=0,
        size=len(octets),
        octets=octets,
    )


def test_octets_of_a_broken_address_are_kept(store: HoldStore) -> None:
    """Addresses are octets with surrogate escapes where they are not UTF-8."""
    strange = b"\xff\x00@acme.example".decode("utf-8", "surrogateescape")
    identifier = store.put(
        direction="inbound",
        sender=strange,
        recipients=[HeldRecipient(strange)],
        octets=b"",
        reasons=[],
        transaction="1",
        received_at=NOW,
        now=NOW,
    )
    assert store.get(identifier).sender == strange


def test_lists_are_in_order_in_pages_and_without_octets(store: HoldStore) -> None:
    identifiers = [put(store, at=NOW + number * MINUTE) for number in range(5)]
    store.mark(identifiers[2], "approved", now=NOW)
    first = store.list(limit=3)
    assert [hold.id for hold in first] == [identifiers[0], identifiers[1], identifiers[3]]
    assert all(hold.octets is None for hold in first)
    assert [hold.id for hold in store.list(limit=3, after=first[-1])] == [identifiers[4]]
    assert len(store.list(None)) == 5


def test_pages_miss_nothing_that_was_held_at_the_same_moment(store: HoldStore) -> None:
    identifiers = sorted(put(store) for _ in range(5))
    seen: list[str] = []
    last: Hold | None = None
    while page := store.list(limit=2, after=last):
        seen += [hold.id for hold in page]
        last = page[-1]
    assert seen == identifiers


def test_the_tally_counts_by_state(store: HoldStore) -> None:
    put(store, b"12", at=NOW + MINUTE)
    put(store, b"345")
    store.mark(put(store), "rejected", now=NOW)
    tally = store.tally()
    assert set(tally) == {"held", "rejected"}
    assert (tally["held"].count, tally["held"].octets, tally["held"].oldest) == (2, 5, NOW)


def test_a_decision_says_who_and_why(store: HoldStore) -> None:
    identifier = put(store)
    store.mark(identifier, "rejected", now=NOW + MINUTE, by="carol", note="forged")
    hold = store.get(identifier)
    assert (hold.state, hold.decided_by, hold.note, hold.decided_at) == ("rejected", "carol", "forged", NOW + MINUTE)


@pytest.mark.parametrize(
    ("source", "target"),
    [(source, target) for source in TRANSITIONS for target in TRANSITIONS if target not in TRANSITIONS[source]],
)
def test_no_message_takes_a_way_that_is_not_drawn(store: HoldStore, source: State, target: State) -> None:
    identifier = put(store)
    with store.database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE hold SET state = '{source}'")
    with pytest.raises(WrongState, match=f"{identifier} is {source}, which cannot become {target}"):
        store.mark(identifier, target, now=NOW)
    assert store.get(identifier).state == source


@pytest.mark.parametrize("identifier", ["absent", "", "x" * 1000, "'; DROP TABLE hold; --"])
def test_what_is_not_there_is_not_found(store: HoldStore, identifier: str) -> None:
    with pytest.raises(HoldNotFound):
        store.get(identifier)
    with pytest.raises(HoldNotFound):
        store.mark(identifier, "approved", now=NOW)


def test_an_approved_message_is_claimed_once_and_done(store: HoldStore) -> None:
    put(store)
    identifier = put(store)
    store.mark(identifier, "approved", now=NOW, by="carol")
    claimed = store.claim(now=NOW)
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.attempts) == (identifier, "releasing", 1)
    assert claimed.octets
    assert store.claim(now=NOW) is None
    store.mark(identifier, "done", now=NOW)
    hold = store.get(identifier)
    assert (hold.state, hold.decided_by) == ("done", "carol")


def test_a_message_ready_for_delivery_is_claimed_at_once(store: HoldStore) -> None:
    identifier = put(store, ready=True)
    claimed = store.claim(now=NOW)
    assert claimed is not None
    assert claimed.id == identifier


def test_a_claim_whose_worker_died_is_taken_over_when_its_lease_is_over(store: HoldStore) -> None:
    identifier = put(store, ready=True)
    store.claim(now=NOW, lease=10 * MINUTE)
    assert store.claim(now=NOW + 9 * MINUTE) is None
    again = store.claim(now=NOW + 10 * MINUTE)
    assert again is not None
    assert (again.id, again.attempts) == (identifier, 2)


def test_a_claim_says_whether_another_worker_had_it(store: HoldStore) -> None:
    put(store, ready=True)
    first = store.claim(now=NOW)
    assert first is not None
    store.retry(first, now=NOW, not_before=NOW)
    second = store.claim(now=NOW, lease=MINUTE)
    third = store.claim(now=NOW + MINUTE)
    assert [each.interrupted for each in (first, second, third) if each] == [False, False, True]


def test_a_claim_is_renewed_by_who_has_it(store: HoldStore) -> None:
    put(store, ready=True)
    claimed = store.claim(now=NOW, lease=10 * MINUTE)
    assert claimed is not None
    store.renew(claimed, now=NOW + 5 * MINUTE, lease=10 * MINUTE)
    assert store.claim(now=NOW + 14 * MINUTE) is None
    assert store.claim(now=NOW + 15 * MINUTE) is not None
    with pytest.raises(WrongState, match="was taken over"):
        store.renew(claimed, now=NOW)


def test_what_a_clock_that_was_ahead_wrote_is_not_waited_for(store: HoldStore) -> None:
    """Nobody puts anything off for a year, nor has it for longer than a lease."""
    year = timedelta(days=365)
    put(store, ready=True)
    ahead = store.claim(now=NOW + year)
    assert ahead is not None
    again = store.claim(now=NOW)
    assert again is not None
    assert again.interrupted
    store.retry(again, now=NOW, not_before=NOW + year)
    assert store.claim(now=NOW) is not None


def test_who_does_not_trust_his_clock_takes_nothing_over(store: HoldStore) -> None:
    first, second = put(store, ready=True), put(store, ready=True)
    claimed = store.claim(now=NOW)
    assert claimed is not None
    later = NOW + timedelta(days=1)
    other = store.claim(now=later, take_over=False)
    assert other is not None
    assert {claimed.id, other.id} == {first, second}
    assert store.claim(now=later, take_over=False) is None
    store.renew(claimed, now=later)
    assert store.claim(now=later) is None


# --- settling -------------------------------------------------------------------------------------------------------


def part(reasons: tuple[str, ...] = ("delivery",), *, ready: bool = True) -> Part:
    return Part("", [HeldRecipient("alice@acme.example")], b"a part", reasons, "BODY=8BITMIME", "inbound", ready)


def test_what_a_message_becomes_takes_its_place(store: HoldStore) -> None:
    identifier = put(store, ready=True)
    claimed = store.claim(now=NOW)
    assert claimed is not None
    kept = store.settle(
        claimed, "done", now=NOW, note="made two of it", parts=[part(), part(("refused",), ready=False)]
    )
    assert [store.get(each).state for each in (identifier, *kept)] == ["done", "approved", "held"]
    made = store.get(kept[0])
    assert (made.sender, made.octets, made.sender_parameters, made.direction) == (
        "",
        b"a part",
        "BODY=8BITMIME",
        "inbound",
    )
    assert (made.transaction, made.received_at, made.session) == ("4F2A1", claimed.received_at, claimed.session)


def test_a_review_changes_a_message_that_stays(store: HoldStore) -> None:
    seen = store.get(put(store))
    store.settle(seen, "held", now=NOW + MINUTE, by="carol", octets=b"reviewed", reasons=["review.missing"])
    hold = store.get(seen.id)
    assert (hold.state, hold.octets, hold.size, hold.reasons) == ("held", b"reviewed", 8, ("review.missing",))
    assert (hold.decided_by, hold.held_at) == ("carol", seen.held_at)


def test_of_two_who_decide_at_the_same_time_one_does(store: HoldStore) -> None:
    seen = store.get(put(store))
    store.settle(seen, "held", now=NOW + MINUTE, by="carol", octets=b"reviewed by carol")
    for state in ("held", "approved", "rejected"):
        with pytest.raises(WrongState, match="has changed meanwhile, look at it again"):
            store.settle(seen, state, now=NOW + MINUTE, octets=b"reviewed by dave", parts=[part()])  # type: ignore[arg-type]
    assert store.get(seen.id).octets == b"reviewed by carol"
    assert len(store.list(None)) == 1


def test_who_lost_a_claim_settles_nothing(store: HoldStore) -> None:
    put(store, ready=True)
    slow = store.claim(now=NOW, lease=MINUTE)
    other = store.claim(now=NOW + MINUTE)
    assert slow is not None
    assert other is not None
    with pytest.raises(WrongState):
        store.settle(slow, "done", now=NOW, parts=[part()])
    assert len(store.settle(other, "done", now=NOW, parts=[part()])) == 1


def test_no_message_is_settled_on_a_way_that_is_not_drawn(store: HoldStore) -> None:
    seen = store.get(put(store))
    with pytest.raises(WrongState, match="is held, which cannot become done"):
        store.settle(seen, "done", now=NOW)
    store.mark(seen.id, "rejected", now=NOW)
    with pytest.raises(WrongState, match="is rejected, which cannot become approved"):
        store.settle(seen, "approved", now=NOW)


def test_the_end_of_a_message_and_what_it_becomes_are_one_act(
    store: HoldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a part cannot be stored, the message is as it was."""
    seen = store.get(put(store))
    monkeypatch.setattr("domsec.stores.holds.secrets.token_hex", lambda _: seen.id)  # an id that is there already
    with pytest.raises(StoreUnavailable):
        store.settle(seen, "rejected", now=NOW, parts=[part()])
    assert store.get(seen.id) == seen


def test_a_claim_given_back_waits(store: HoldStore) -> None:
    put(store, ready=True)
    claimed = store.claim(now=NOW)
    assert claimed is not None
    store.retry(claimed, now=NOW, not_before=NOW + 5 * MINUTE, note="451 4.4.1 next hop is down")
    assert store.claim(now=NOW + 4 * MINUTE) is None
    assert store.claim(now=NOW + 5 * MINUTE) is not None


def test_who_lost_a_claim_gives_nothing_back(store: HoldStore) -> None:
    """A releaser that was away for longer than its lease: what the next one does, or did, stays."""
    identifier = put(store, ready=True)
    slow = store.claim(now=NOW, lease=MINUTE)
    other = store.claim(now=NOW + MINUTE)
    assert slow is not None
    assert other is not None
    with pytest.raises(WrongState, match="was taken over"):
        store.retry(slow, now=NOW, not_before=NOW, note="451 4.4.2 lost")
    assert store.get(identifier).state == "releasing"
    store.settle(other, "done", now=NOW)
    with pytest.raises(WrongState, match="was taken over"):
        store.retry(slow, now=NOW, not_before=NOW)
    assert store.get(identifier).state == "done"


def test_only_what_has_ended_is_purged(store: HoldStore) -> None:
    kept = [put(store), put(store, ready=True)]
    ended = put(store)
    store.mark(ended, "rejected", now=NOW)
    recent = put(store)
    store.mark(recent, "expired", now=NOW + MINUTE)
    assert store.purge(before=NOW + MINUTE) == 1
    assert {hold.id for hold in store.list(None)} == {*kept, recent}
    assert set(FINAL) == {"done", "rejected", "expired"}


def test_the_database_is_for_our_user_alone_and_durable(sqlite_url: str, tmp_path: Path) -> None:
    store = HoldStore.open(sqlite_url)
    put(store)
    for name in ("domsec.db", "domsec.db-wal"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    with store.database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    store.close()


WRITER = """
import sys
from datetime import UTC, datetime
from domsec.stores.holds import HeldRecipient, HoldStore
url, count = sys.argv[1], int(sys.argv[2])
store = HoldStore.open(url)
now = datetime(2026, 11, 23, tzinfo=UTC)
for number in range(count):
    identifier = store.put(direction="inbound", sender="", recipients=[HeldRecipient("a@b.example")],
                           octets=b"x" * 2000, reasons=["test"], transaction=str(number), received_at=now, now=now)
    print(identifier, flush=True)
"""


def writer(url: str, count: int) -> subprocess.Popen[str]:
    import domsec

    environment = {**os.environ, "PYTHONPATH": str(Path(domsec.__file__).parents[1])}
    command = [sys.executable, "-c", WRITER, url, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_what_was_said_to_be_stored_survives_a_kill(url: str) -> None:
    """kill -9 in the middle of writing: every id that was answered is there when the store is opened again."""
    process = writer(url, 1_000_000)
    assert process.stdout is not None
    answered = [process.stdout.readline().strip() for _ in range(50)]
    process.kill()
    answered += [line for line in process.communicate()[0].splitlines() if len(line) == len(answered[0])]
    store = HoldStore.open(url)
    stored = {hold.id for hold in store.list(limit=1_000_000)}
    store.close()
    assert set(answered) <= stored
    assert len(stored) <= len(answered) + 1


def test_processes_that_open_and_write_at_the_same_time_lose_nothing(url: str) -> None:
    writers = [writer(url, 50) for _ in range(4)]
    answered = [line for process in writers for line in process.communicate(timeout=120)[0].split()]
    assert [process.returncode for process in writers] == [0] * 4
    store = HoldStore.open(url)
    assert {hold.id for hold in store.list()} == set(answered)
    assert len(answered) == 200
    store.close()


def test_threads_claim_each_message_once(store: HoldStore) -> None:
    identifiers = {put(store, ready=True) for _ in range(40)}
    claimed: list[str] = []

    def work() -> None:
        while hold := store.claim(now=NOW):
            claimed.append(hold.id)
            store.mark(hold.id, "done", now=NOW)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(identifiers)


def test_a_full_disk_is_a_store_that_does_not_answer(sqlite_url: str) -> None:
    store = HoldStore.open(sqlite_url)
    with store.database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable, match=r"domsec\.db: database or disk is full"):
        put(store, bytes(1_000_000))
    assert store.list() == ()
    store.close()
