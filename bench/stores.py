"""Certificates in the database: whether finding one costs the same among 10^3 and among 10^5."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.library import Case
from bench.measure import Result, best
from domsec.cms.certificates import Certificate, SubjectKeyIdentifier
from domsec.stores.certificate_table import CertificateTable
from domsec.trust import issue
from domsec.trust.issue import SigningKey

SIZES: Final = {"1k": 1_000, "100k": 100_000}
NOW: Final = datetime(2026, 11, 23, tzinfo=UTC)
_ADDRESS: Final = "p{:07}@bench.example"


def cases() -> Iterator[Case]:
    for name in SIZES:
        yield f"stores.certificate_by_address.{name}", lambda name=name: [_by_address(name)]
    yield "stores.certificate_by_address.scale", lambda: [_scale()]
    yield "stores.certificate_by_key_identifier.100k", lambda: [_by_key_identifier()]
    yield "stores.certificate_import", lambda: [_import()]


def _people(count: int) -> Iterator[Certificate]:
    """Certificates with an address each. One is issued and the others copied from it: nobody looks at signatures."""
    key = issue.new_key("p256")
    assert isinstance(key, SigningKey)
    ca = issue.issue_ca("bench CA", key, now=NOW, days=365)
    model = issue.issue("user", _ADDRESS.format(0), key.public_key(), ca, key, now=NOW, days=365, name="p").der
    for number in range(count):
        yield Certificate(model.replace(_ADDRESS.format(0).encode(), _ADDRESS.format(number).encode()))


@functools.cache
def _folder() -> TemporaryDirectory[str]:
    """Gone when the process ends."""
    return TemporaryDirectory(prefix="domsec-bench-")


@functools.cache
def _table(name: str) -> CertificateTable:
    """A store of a size, filled once."""
    table = CertificateTable.open(f"sqlite:///{_folder().name}/{name}.db")
    table.add(_people(SIZES[name]), origin="bench", by="bench", now=NOW)
    return table


def _addresses(count: int) -> Callable[[], str]:
    """One after the other from everywhere in the table."""
    numbers = iter(range(0, 10**12, 7919))
    return lambda: _ADDRESS.format(next(numbers) % count)


def _raw(name: str) -> Callable[[], object]:
    """The same question by the bare driver: what the database itself takes."""
    connection = sqlite3.connect(Path(_table(name).database.name))
    query = (
        "SELECT c.der FROM certificate_name AS n CROSS JOIN certificate AS c ON c.sha256 = n.sha256 "
        "WHERE n.name = ? AND n.kind = 'address' AND c.state = 'approved'"
    )
    address = _addresses(SIZES[name])
    return lambda: connection.execute(query, (address(),)).fetchall()


def _asking(name: str) -> Callable[[], object]:
    table, address = _table(name), _addresses(SIZES[name])
    return lambda: table.by_address(address())


def _by_address(name: str) -> Result:
    (subject, raw), n = best(_asking(name), _raw(name))
    return Result(f"stores.certificate_by_address.{name}", 1 / subject, "1/s", 1 / raw, raw / subject, n)


def _scale() -> Result:
    """Seconds among 10^5 over seconds among 10^3, in the same run; 1 would be no difference."""
    (large, small), n = best(_asking("100k"), _asking("1k"))
    return Result("stores.certificate_by_address.scale", large / small, "x", 1.0, small / large, n)


def _by_key_identifier() -> Result:
    """Of a key that nobody has, as for a message that is not for us."""
    table = _table("100k")
    (subject,), n = best(lambda: table.by_sid(SubjectKeyIdentifier(b"nobody")))
    return Result("stores.certificate_by_key_identifier.100k", 1 / subject, "1/s", None, None, n)


def _import() -> Result:
    """New ones put in, in one transaction; the limit is looking at each only as far as a message needs."""
    made = [Certificate(c.der) for c in _people(5_000)]
    table = CertificateTable.open(f"sqlite:///{_folder().name}/import.db")
    begin = time.process_time()
    table.add(made, origin="bench", by="bench", now=NOW)
    taken = time.process_time() - begin
    table.close()
    begin = time.process_time()
    for certificate in made:
        Certificate(certificate.der)
    raw = time.process_time() - begin
    return Result("stores.certificate_import", len(made) / taken, "1/s", len(made) / raw, raw / taken, len(made))
