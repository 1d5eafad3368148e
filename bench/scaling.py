"""How the work grows with what a message has, and with what is held already: a flat ratio is linear."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench import library, world
from bench.measure import ROUNDS, Result, best
from domsec.cms.certificates import Certificate
from domsec.limits import DEFAULT
from domsec.mime import fields
from domsec.octets import Octets, Pieces, in_one_place
from domsec.services import encrypt, sign
from domsec.services.check import verify
from domsec.services.encrypt import Cipher
from domsec.services.layers import peel
from domsec.services.sign import Signer
from domsec.stores import holds
from domsec.stores.database import holds as held_table
from domsec.stores.database import sql
from domsec.stores.holds import HeldRecipient, HoldStore
from domsec.trust import issue

KILO: Final = 1024
MEGA: Final = 1024 * KILO
SIZES: Final = {
    "1k": KILO,
    "10k": 10 * KILO,
    "100k": 100 * KILO,
    "1m": MEGA,
    "10m": 10 * MEGA,
    "100m": 100 * MEGA,
}
LAYERS: Final = (1, 2, 4, 8, 16)
RECIPIENTS: Final = (1, 10, 100, 1000)
HELD: Final = (0, 1_000, 100_000)
_FULL: Final = 10 * MEGA  # octets in all rounds of a size, roughly
_FEWEST: Final = 2


def cases() -> Iterator[library.Case]:
    for name, size in SIZES.items():
        yield f"scaling.size_{name}", lambda name=name, size=size: [_size(f"scaling.size_{name}", size)]
    for count in LAYERS:
        yield f"scaling.layers_{count}", functools.partial(_layers, count)
    for count in RECIPIENTS:
        yield f"scaling.recipients_{count}", functools.partial(_recipients, count)
    for count in HELD:
        yield f"scaling.held_{count}", functools.partial(_held, count)


def _size(name: str, size: int) -> Result:
    """A message signed and encrypted by one domain, decrypted and verified by the other.

    The limit: its octets hashed twice and through AES twice, and the four operations with keys.
    """
    octets = world.message(size)
    signing = world.held("signing", "acme.example", "rsa2048")
    confidentiality = world.held("confidentiality", "beta.example", "rsa2048")
    raw = (
        lambda: hashlib.sha256(octets).digest(),
        lambda: hashlib.sha256(octets).digest(),
        library._raw_sign(signing.key),
        library._raw_verify(signing.key),
        library._raw_wrap(confidentiality.key, octets),
        library._raw_unwrap(confidentiality.key, octets),
    )
    rounds = max(_FEWEST, min(ROUNDS, _FULL // size))
    (subject, limit), n = best(_there_and_back(octets), lambda: [act() for act in raw], rounds=rounds)
    return Result(name, size / subject, "octets/s", size / limit, limit / subject, n)


def _there_and_back(plain: Octets) -> Callable[[], object]:
    signer = Signer(world.held("signing", "acme.example", "rsa2048").credential)
    authority = world.held("confidentiality", "beta.example", "rsa2048").credential
    context = world.context(authority)
    limits = dataclasses.replace(DEFAULT, size=4 * len(plain) + MEGA)  # three layers of base64

    def seal(entity: Octets | Pieces) -> Octets | Pieces:
        return encrypt.sealed(entity, [authority.certificate], Cipher())

    def act() -> None:
        message = peel(plain, limits=limits)
        plan = sign.plan(message.spine(), encrypt=True)
        made = sign.apply(plan, message.header, signer, world.NOW, encrypt=seal)
        octets = in_one_place(fields.replace_entity(message.header, made))
        assert verify(peel(octets, (authority,), limits), context).accepted

    return act


def _layers(count: int) -> list[Result]:
    """A message with this many domain signatures around an empty one, opened and verified.

    The limit: what each covers hashed once, and as many bare verifications.
    """
    octets: Octets = world.message(10 * KILO)
    covered = []
    limits = dataclasses.replace(DEFAULT, depth=count + 2)  # the empty signature inside and what it carries
    signer = Signer(world.held("signing", "acme.example", "rsa2048").credential)
    for _ in range(count):
        message = peel(octets, limits=limits)
        covered.append(bytes(fields.entity_of(octets)))
        made = sign.apply(sign.plan(message.spine(), encrypt=False), message.header, signer, world.NOW)
        octets = bytes(in_one_place(fields.replace_entity(message.header, made)))
    raw, context = library._raw_verify(world.held("signing", "acme.example", "rsa2048").key), world.context()
    verdict = verify(peel(octets, limits=limits), context)
    assert verdict.accepted, verdict.structure
    assert len(verdict.layers) == count + 2

    def limit() -> None:
        for each in covered:
            hashlib.sha256(each).digest()
            raw()

    (subject, least), n = best(lambda: verify(peel(octets, limits=limits), context), limit, rounds=10)
    return [Result(f"scaling.layers_{count}", 1 / subject, "1/s", 1 / least, least / subject, n)]


def _recipients(count: int) -> list[Result]:
    """A message encrypted to this many people. The limit: the key wrapped as often, the content encrypted once."""
    held = world.held("confidentiality", "beta.example", "rsa2048")
    entity = bytes(fields.entity_of(world.message(10 * KILO)))
    people = _people(count)
    cek, nonce = os.urandom(32), os.urandom(12)
    assert isinstance(held.key, rsa.RSAPrivateKey)
    public, seal = held.key.public_key(), AESGCM(cek)

    def limit() -> None:
        for _ in range(count):
            public.encrypt(cek, library._OAEP)
        seal.encrypt(nonce, entity, None)

    (subject, least), n = best(lambda: encrypt.encrypt(entity, people, Cipher()), limit, rounds=5)
    return [Result(f"scaling.recipients_{count}", count / subject, "recipients/s", count / least, least / subject, n)]


def _people(count: int) -> list[Certificate]:
    """Certificates with an address each, all for one key."""
    public = world.held("confidentiality", "beta.example", "rsa2048").key.public_key()
    ca, key = world.ca()
    return [
        issue.issue("user", f"p{number}@beta.example", public, ca, key, now=world.BEGIN, days=30, name="p")
        for number in range(count)
    ]


def _held(count: int) -> list[Result]:
    """One more message of 10 KB held, found first in its list, approved, claimed and released, among so many others.

    By the clock on the wall: the disk is what it waits for. The limit: the four writes by the bare driver, each of them
    synchronized, in a table with nothing else. And what the page of metrics asks, which counts them.
    """
    octets = world.message(10 * KILO)
    with TemporaryDirectory(prefix="domsec-bench-") as folder:
        store = _filled(Path(folder) / "held.db", count, octets)
        bare = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "CREATE TABLE t (id INTEGER, s TEXT, o BLOB)",
        ):
            bare.execute(statement)

        def release() -> None:
            now = datetime.now(UTC)
            identifier = _hold(store, octets, now)
            assert store.list(limit=50)
            store.mark(identifier, "approved", now=now, by="bench")
            claimed = store.claim(now=now)
            assert claimed is not None
            store.settle(claimed, "done", now=now)

        def limit() -> None:
            bare.execute("INSERT INTO t VALUES (1, 'held', ?)", (octets,))
            for state in ("approved", "releasing", "done"):
                bare.execute("UPDATE t SET s = ? WHERE rowid = last_insert_rowid()", (state,))

        (subject, least), n = best(release, limit, rounds=10, clock=time.perf_counter)
        (asked,), m = best(store.tally, rounds=5, clock=time.perf_counter)
        store.close()
        bare.close()
    name = f"scaling.held_{count}"
    return [
        Result(name, 1 / subject, "1/s", 1 / least, least / subject, n),
        Result(f"{name}.tally", 1 / asked, "1/s", None, None, m),
    ]


def _filled(path: Path, count: int, octets: bytes) -> HoldStore:
    store = HoldStore.open(f"sqlite:///{path}")
    part = holds.Part(
        "alice@acme.example", [HeldRecipient("bob@beta.example")], octets[:KILO], ["bench"], "", "outbound"
    )
    for begin in range(0, count, 1000):
        rows = [holds._row(part, "t", world.BEGIN, {}, world.BEGIN) for _ in range(begin, begin + 1000)]
        with store.database.writing() as connection:
            connection.execute(sql.insert(held_table), rows)
    return store


def _hold(store: HoldStore, octets: bytes, now: datetime) -> str:
    return store.put(
        direction="outbound",
        sender="alice@acme.example",
        recipients=[HeldRecipient("bob@beta.example")],
        octets=octets,
        reasons=["bench"],
        transaction="t",
        received_at=now,
        now=now,
    )
