"""Revocation is kept fresh beside the mail, from servers that really run."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

import pki
import publishing
from domsec.cms.certificates import Certificate
from domsec.gateway.http_get import Guard
from domsec.gateway.metrics import Metrics
from domsec.gateway.refresh import FIRST_RETRY, Refresh, Refresher
from domsec.policy.kinds import NETWORKS, Networks
from domsec.stores.revocations import RevocationFolder
from domsec.trust.crl import crl_index
from domsec.trust.path import AnchorSet, PathVerdict, Snapshot, Validator
from domsec.trust.places import Place
from publishing import Publisher

LOOPBACK: Networks = NETWORKS.convert(["127.0.0.0/8"], Path())
HOUR = timedelta(hours=1)
NOW = datetime.now(UTC) + timedelta(hours=2)  # later than what the responder makes, however long the tests take


@dataclass
class Gateway:
    """One process: the validator in force, and what keeps it fresh."""

    refresher: Refresher
    anchors: AnchorSet
    validator: Validator

    def trust(self, validator: Validator) -> None:
        self.validator = validator

    def judge(self, certificate: Certificate, now: datetime = NOW) -> PathVerdict:
        return self.validator.validate(certificate, anchors=self.anchors, now=now, revocation="hard")

    def refresh(self, now: datetime = NOW) -> int:
        """What `run` does between two pauses; how many places were asked."""
        self.refresher.look()
        assert self.refresher.folder.lock()
        return asyncio.run(self.refresher.fetch_due(now))

    def counted(self, *keys: str) -> tuple[int, ...]:
        assert self.refresher.counters is not None
        return tuple(self.refresher.counters.get(f"fetches_{key}") for key in keys)


def gateway(
    ca: Publisher,
    folder: Path,
    *,
    kinds: tuple[str, ...] = ("crl", "ocsp"),
    networks: Networks = LOOPBACK,
    grace: timedelta = timedelta(0),
    size: int = 32 * 1024 * 1024,
    snapshot: Snapshot | None = None,
) -> Gateway:
    folder.mkdir(exist_ok=True)
    anchors = AnchorSet((ca.identity.certificate,))
    guard = Guard(frozenset({ca.port, ca.responder}), networks)
    base = Validator(snapshot or Snapshot(users=anchors))
    settings = Refresh(frozenset(kinds), HOUR, guard, grace, size)
    made: list[Gateway] = []
    refresher = Refresher(
        RevocationFolder(folder), settings, base, lambda validator: made[0].trust(validator), Metrics().counters()
    )
    made.append(Gateway(refresher, anchors, base))
    refresher.load()
    return made[0]


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Publisher]:
    with publishing.ca(tmp_path) as publisher:
        yield publisher


def test_what_a_path_wants_is_fetched_and_known_from_then_on(ca: Publisher, tmp_path: Path) -> None:
    alice, mallory = (ca.issue(f"{who}@acme.example").certificate for who in ("alice", "mallory"))
    ca.publish([mallory])
    ours = gateway(ca, tmp_path / "fetched")
    assert ours.refresh() == 0, "nobody wants anything yet"
    assert ours.judge(alice).state == "unknown"
    assert ours.refresh() == 1
    assert ours.judge(alice).revocation == "good"
    assert ours.judge(mallory).revocation == "revoked"
    assert ours.refresh() == 0, "one list for both, and it is not due again"
    assert ours.counted("new", "same", "failed") == (1, 0, 0)


def test_a_list_is_asked_for_again_and_only_for_changes(ca: Publisher, tmp_path: Path) -> None:
    alice = ca.issue("alice@acme.example").certificate
    ca.publish()
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(alice)
    ours.refresh()
    assert ours.refresh(NOW + HOUR - timedelta(seconds=1)) == 0
    assert ours.refresh(NOW + HOUR) == 1
    assert ours.judge(alice).revocation == "good"
    ca.publish([alice])
    assert ours.refresh(NOW + 2 * HOUR) == 1
    assert ours.judge(alice).revocation == "revoked"
    assert ours.counted("new", "same", "failed") == (2, 1, 0)


def test_a_clock_that_was_ahead_does_not_end_the_asking(ca: Publisher, tmp_path: Path) -> None:
    alice = ca.issue("alice@acme.example").certificate
    ca.publish(days=1000)
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(alice)
    assert ours.refresh(NOW + 365 * 24 * HOUR) == 1
    assert ours.refresh(NOW) == 1
    assert ours.refresh(NOW + HOUR - timedelta(seconds=1)) == 0


def test_a_list_that_ends_soon_is_asked_for_sooner(ca: Publisher, tmp_path: Path) -> None:
    alice = ca.issue("alice@acme.example").certificate
    ca.publish(days=20 / 1440, now=NOW)
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(alice)
    ours.refresh()
    assert ours.refresh(NOW + timedelta(minutes=9)) == 0
    assert ours.refresh(NOW + timedelta(minutes=11)) == 1


def test_a_restart_has_what_was_fetched_without_any_server(ca: Publisher, tmp_path: Path) -> None:
    alice, mallory = (ca.issue(f"{who}@acme.example").certificate for who in ("alice", "mallory"))
    ca.publish([mallory])
    before = gateway(ca, tmp_path / "fetched")
    before.judge(alice)
    before.refresh()
    before.refresher.folder.unlock()
    ca.port = 9  # nobody is there
    after = gateway(ca, tmp_path / "fetched")
    assert after.judge(alice).revocation == "good"
    assert after.judge(mallory).revocation == "revoked"
    assert after.refresh() == 0, "what holds is not asked for at once by everybody who restarts"


def test_another_process_takes_what_one_fetched(ca: Publisher, tmp_path: Path) -> None:
    alice = ca.issue("alice@acme.example").certificate
    ca.publish()
    fetching, other = gateway(ca, tmp_path / "fetched"), gateway(ca, tmp_path / "fetched")
    assert fetching.refresher.folder.lock()
    assert other.judge(alice).state == "unknown"
    other.refresher.look()
    assert not other.refresher.folder.lock()
    assert fetching.refresh() == 1
    assert other.judge(alice).state == "unknown"
    other.refresher.look()
    assert other.judge(alice).revocation == "good"


@pytest.mark.parametrize("grace", [timedelta(0), timedelta(days=3)])
def test_what_is_known_goes_on_while_a_place_does_not_answer(ca: Publisher, tmp_path: Path, grace: timedelta) -> None:
    """Until it ends, and for the grace; it is asked for ever more rarely, but at least as often as otherwise."""
    alice = ca.issue("alice@acme.example").certificate
    ca.publish(days=2)
    ours = gateway(ca, tmp_path / "fetched", grace=grace)
    ours.judge(alice)
    ours.refresh()
    (ca.folder / publishing.CRL).unlink()
    now = NOW + HOUR
    for failures in range(1, 9):
        assert ours.refresh(now) == 1
        assert ours.counted("failed") == (failures,)
        wait = min(HOUR, FIRST_RETRY * 2 ** (failures - 1))
        assert ours.refresh(now + wait - timedelta(seconds=1)) == 0
        now += wait
    assert ours.judge(alice, now).revocation == "good"
    late = NOW + timedelta(days=4)
    ours.refresh(late)
    assert ours.judge(alice, late).state == ("valid" if grace else "unknown")
    assert ours.judge(alice, late + timedelta(days=2)).state == "unknown"
    assert ours.refresher.counters is not None
    assert ours.refresher.counters.get("revocation_places") == ours.refresher.counters.get("revocation_stale") == 1


@pytest.mark.parametrize("what", ["garbage", "forged", "of another", "older", "ended", "too big"])
def test_what_should_not_stand_there_is_not_taken(
    ca: Publisher, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mallory = ca.issue("mallory@acme.example").certificate
    ca.publish([mallory])
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(mallory)
    ours.refresh()
    forger = Publisher(pki.ca("Published CA", days=3650), ca.folder, ca.port)
    stranger = Publisher(pki.ca("Another CA", days=3650), ca.folder, ca.port)
    if what == "garbage":
        ca.put(b"<html>it works")
    elif what == "forged":
        forger.publish()
    elif what == "of another":
        stranger.publish()
    elif what == "older":
        ca.publish(now=NOW - timedelta(days=1))
    elif what == "ended":
        ca.publish(days=0.01)
    else:
        monkeypatch.setattr("domsec.gateway.http_get.SIZE", 10)
        ca.put(bytes(100_000))
    with caplog.at_level(logging.WARNING, "domsec.gateway"):
        assert ours.refresh(NOW + HOUR) == 1
    assert ours.counted("new", "failed") == (1, 1)
    assert f"{ca.uri} is not fetched: " in caplog.text
    assert ours.judge(mallory, NOW + HOUR).revocation == "revoked"


def test_a_list_of_something_else_does_not_make_us_forget_who_is_revoked(ca: Publisher, tmp_path: Path) -> None:
    """Whoever stands between can send every list of the issuer, as long as it is newer. Once ours has ended it may."""
    mallory = ca.issue("mallory@acme.example").certificate
    ca.publish([mallory], days=1)
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(mallory)
    ours.refresh()
    key = ca.identity.signing_key
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.identity.certificate.x509.subject)
    builder = builder.last_update(NOW).next_update(NOW + timedelta(days=30))
    authorities = x509.IssuingDistributionPoint(None, None, False, True, None, False, False)
    ca.put(builder.add_extension(authorities, True).sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
    assert ours.refresh(NOW + HOUR) == 1
    assert ours.counted("new", "failed") == (1, 1)
    assert ours.judge(mallory, NOW + HOUR).revocation == "revoked"
    ours.refresh(NOW + timedelta(days=2))
    assert ours.counted("new", "failed") == (2, 1)


def test_an_older_answer_does_not_make_us_forget_who_is_revoked(ca: Publisher, tmp_path: Path) -> None:
    """Without a nonce whoever stands between can send what was true before, while it still holds."""
    ca.responder = ca.port
    mallory = ca.issue("mallory@acme.example", crl=False).certificate
    place = Place("ocsp", f"http://127.0.0.1:{ca.port}", ca.identity.certificate, mallory)
    served = ca.folder / unquote(urlsplit(place.get).path).lstrip("/")
    served.parent.mkdir(parents=True, exist_ok=True)
    ours = gateway(ca, tmp_path / "fetched")
    assert ours.judge(mallory).state == "unknown"

    def answer(state: ocsp.OCSPCertStatus, since: datetime) -> None:
        revoked_at = since if state is ocsp.OCSPCertStatus.REVOKED else None
        builder = ocsp.OCSPResponseBuilder().add_response(
            mallory.x509,
            ca.identity.certificate.x509,
            hashes.SHA1(),
            state,
            since,
            NOW + timedelta(days=7),
            revoked_at,
            None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, ca.identity.certificate.x509)
        served.write_bytes(builder.sign(ca.identity.signing_key, hashes.SHA256()).public_bytes(Encoding.DER))

    answer(ocsp.OCSPCertStatus.REVOKED, NOW - HOUR)
    assert ours.refresh() == 1
    assert ours.judge(mallory).revocation == "revoked"
    answer(ocsp.OCSPCertStatus.GOOD, NOW - 2 * HOUR)
    assert ours.refresh(NOW + HOUR) == 1
    assert ours.counted("new", "failed") == (1, 1)
    assert ours.judge(mallory, NOW + HOUR).revocation == "revoked"


def test_places_that_fail_come_last_and_so_many_are_asked_at_once(
    ca: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever names servers that take their time would keep us from the others."""
    monkeypatch.setattr("domsec.gateway.refresh.ROUND", 1)
    good, port = ca.issue("alice@acme.example").certificate, ca.port
    ca.port = 9  # nobody is there
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(ca.issue("bob@acme.example").certificate)
    assert ours.refresh() == 1
    ca.port = port
    ours.refresher.settings = replace(ours.refresher.settings, guard=Guard(frozenset({9, port}), LOOPBACK))
    ca.publish()
    ours.judge(good)
    assert ours.refresh(NOW + HOUR) == 1
    assert ours.judge(good, NOW + HOUR).revocation == "good"
    assert ours.counted("new", "failed") == (1, 1)


def test_one_place_with_an_error_of_ours_keeps_no_other_from_being_asked(
    ca: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alice = ca.issue("alice@acme.example").certificate
    ca.publish()
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(alice)
    monkeypatch.setattr("domsec.gateway.refresh.accepted_crl", lambda *_: 1 // 0)
    assert ours.refresh() == 1
    assert ours.counted("failed") == (1,)
    assert "error while http" in caplog.text
    assert ours.refresh() == 0, "it is not due at once"


@pytest.mark.parametrize("missing", [0, 1])
def test_all_that_is_fetched_has_so_much_room_and_no_more(
    ca: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture, missing: int
) -> None:
    """Two places are asked at the same time, and each of them alone would fit."""
    octets = len(ca.publish())
    ours = gateway(ca, tmp_path / "fetched")
    ours.refresher.settings = replace(ours.refresher.settings, size=2 * octets - missing)
    for number in (1, 2):
        ours.refresher.folder.want(Place("crl", f"{ca.uri}?{number}", ca.identity.certificate))
    assert ours.refresh() == 2
    assert ours.counted("new", "failed") == (2 - missing, missing)
    assert ("revocation.size" in caplog.text) is bool(missing)
    ours.refresh()
    assert ours.refresher.counters is not None
    assert ours.refresher.counters.get("revocation_octets") == (2 - missing) * octets
    assert ours.judge(ca.issue("alice@acme.example").certificate).revocation == "good"


def test_no_more_is_read_from_a_server_than_there_is_room_for(
    ca: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    octets = len(ca.publish())
    ours = gateway(ca, tmp_path / "fetched")
    ours.refresher.settings = replace(ours.refresher.settings, size=octets - 1)
    ours.judge(ca.issue("alice@acme.example").certificate)
    assert ours.refresh() == 1
    assert f"more than {octets - 1} octets" in caplog.text
    assert ours.counted("new", "failed") == (0, 1)


def test_a_new_list_takes_the_room_of_the_one_before_it(ca: Publisher, tmp_path: Path) -> None:
    alice = ca.issue("alice@acme.example").certificate
    ca.publish()
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(alice)
    ours.refresh()
    octets = len(ca.publish(revoked=[alice], now=NOW))
    ours.refresher.settings = replace(ours.refresher.settings, size=octets)
    assert ours.refresh(NOW + HOUR) == 1
    assert ours.judge(alice, NOW + HOUR).revocation == "revoked"


def test_what_there_is_no_room_for_any_more_is_not_used_after_a_restart(
    ca: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alice = ca.issue("alice@acme.example").certificate
    octets = len(ca.publish())
    before = gateway(ca, tmp_path / "fetched")
    before.judge(alice)
    before.refresh()
    for size, state in ((octets, "good"), (octets - 1, "unknown")):
        caplog.clear()
        ours = gateway(ca, tmp_path / "fetched", size=size)
        assert ours.judge(alice).revocation == state
        assert ("revocation.size" in caplog.text) is (state == "unknown")


def test_what_nobody_wants_any_more_is_forgotten_without_a_restart(ca: Publisher, tmp_path: Path) -> None:
    alice = ca.issue("alice@acme.example").certificate
    ca.publish()
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(alice)
    ours.refresh()
    (kept,) = (tmp_path / "fetched").glob("*.fetched")
    os.utime(kept, (0, 0))
    ours.refresh(NOW + timedelta(days=1) - timedelta(seconds=1))
    assert kept.exists()
    os.utime(kept, (0, 0))
    ours.refresh(NOW + timedelta(days=1))
    assert not kept.exists()


def test_a_certificate_cannot_make_us_ask_hosts_that_only_we_reach(ca: Publisher, tmp_path: Path) -> None:
    alice = ca.issue("alice@acme.example").certificate
    ca.publish()
    ours = gateway(ca, tmp_path / "fetched", networks=Networks())
    ours.judge(alice)
    assert ours.refresh() == 1
    assert ours.counted("new", "failed") == (0, 1)
    assert "GET" not in (tmp_path / "http.log").read_text()


def test_lists_of_the_configuration_stay_in_force(ca: Publisher, tmp_path: Path) -> None:
    alice, mallory = (ca.issue(f"{who}@acme.example").certificate for who in ("alice", "mallory"))
    own = crl_index([ca.publish([mallory])])
    anchors = AnchorSet((ca.identity.certificate,))
    ours = gateway(ca, tmp_path / "fetched", snapshot=Snapshot(users=anchors, crls=own))
    assert ours.judge(alice).revocation == "good"
    assert ours.judge(mallory).revocation == "revoked"


def test_only_what_is_wanted_of_both_kinds_is_asked(ca: Publisher, tmp_path: Path) -> None:
    ca.responder = 9
    alice = ca.issue("alice@acme.example").certificate
    ca.publish()
    ours = gateway(ca, tmp_path / "fetched", kinds=("crl",))
    ours.judge(alice)
    assert ours.refresh() == 1
    assert ours.counted("new", "failed") == (1, 0)


def test_a_real_responder_is_asked_about_each_certificate(ca: Publisher, tmp_path: Path) -> None:
    if reason := publishing.missing():
        pytest.skip(reason)
    ca.responder = publishing.free_port()
    alice, mallory = (ca.issue(f"{who}@acme.example", crl=False).certificate for who in ("alice", "mallory"))
    ours = gateway(ca, tmp_path / "fetched")
    with publishing.responding(ca, tmp_path, revoked=[mallory]):
        for certificate in (alice, mallory):
            assert ours.judge(certificate).state == "unknown"
        assert ours.refresh() == 2
        assert ours.judge(alice).revocation == "good"
        verdict = ours.judge(mallory)
        assert verdict.reason == "revoked 2026-01-01 00:00:00Z, keyCompromise"
        assert ours.refresh(NOW + HOUR) == 2
    assert ours.refresh(NOW + 2 * HOUR) == 2
    assert ours.counted("new", "failed") == (4, 2)
    assert ours.judge(alice, NOW + 2 * HOUR).revocation == "good"
    assert ours.judge(alice, NOW + timedelta(days=3)).state == "unknown"


def test_a_place_that_takes_its_time_keeps_no_message_waiting(ca: Publisher, tmp_path: Path) -> None:
    async def test() -> None:
        gate = asyncio.Event()

        async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            writer.close()

        slow = await asyncio.start_server(silent, "127.0.0.1", 0)
        ca.port = slow.sockets[0].getsockname()[1]
        alice = ca.issue("alice@acme.example").certificate
        ours = gateway(ca, tmp_path / "fetched")
        ours.judge(alice)
        ours.refresher.look()
        asking = asyncio.create_task(ours.refresher.fetch_due(NOW))
        for _ in range(100):
            await asyncio.sleep(0)
            assert ours.judge(alice).state == "unknown"
        assert not asking.done()
        gate.set()
        await asking
        slow.close()
        assert ours.counted("failed") == (1,)

    asyncio.run(test())


def test_validators_are_swapped_while_messages_are_judged(ca: Publisher, tmp_path: Path) -> None:
    """Each message sees one world or the next, and none sees less than the first."""
    alice = ca.issue("alice@acme.example").certificate
    ca.publish()
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(alice)
    ours.refresh()
    assert ours.judge(alice).revocation == "good"
    seen: set[str] = set()
    stop = threading.Event()

    def judging() -> None:
        while not stop.is_set():
            seen.add(ours.judge(alice).revocation)

    threads = [threading.Thread(target=judging) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 6):
        ca.publish([alice] if number == 5 else [])
        ours.refresh(NOW + number * HOUR)
    stop.set()
    for thread in threads:
        thread.join()
    assert seen <= {"good", "revoked"}
    assert ours.judge(alice).revocation == "revoked"


def test_our_own_certificates_are_wanted_from_the_start(ca: Publisher, tmp_path: Path) -> None:
    own = ca.issue("acme.example", "signing").certificate
    ca.publish([own])
    ours = gateway(ca, tmp_path / "fetched")
    ours.refresher.own = (own,)

    async def test() -> None:
        running = asyncio.create_task(ours.refresher.run(pause=0.01))
        async with asyncio.timeout(20):
            while ours.judge(own).revocation != "revoked":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(test())
    assert RevocationFolder(tmp_path / "fetched").lock(), "who retires lets others fetch"


def test_a_folder_that_fails_is_told_and_tried_again(
    ca: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alice = ca.issue("alice@acme.example").certificate
    ca.publish()
    ours = gateway(ca, tmp_path / "fetched")
    ours.judge(alice)
    (tmp_path / "fetched").rename(tmp_path / "away")

    async def test() -> None:
        running = asyncio.create_task(ours.refresher.run(pause=0.01))
        async with asyncio.timeout(20):
            while "revocation cannot be kept fresh now" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            (tmp_path / "away").rename(tmp_path / "fetched")
            while ours.judge(alice).revocation != "good":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.cancel()

    with caplog.at_level(logging.ERROR, "domsec.gateway"):
        asyncio.run(test())
