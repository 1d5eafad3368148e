"""Revocation lists and OCSP responses that were fetched, in a folder, so that a restart has them.

One file for each place: a line of JSON that says which, and after it the octets as they came; none where it is only
wanted. Files are written beside and renamed, on the disk before their name is, so that a reader sees an old one or a
new one. The time of a file is when a path last wanted it. Many processes may use one folder: who has its lock fetches.
"""

from __future__ import annotations

import binascii
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, cast

from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage, StoreUnavailable
from domsec.trust.places import Place

MOST: Final = 2000  # places that are remembered
UNWANTED: Final = timedelta(days=30)  # since a path wanted it: then it is forgotten
TOUCHED: Final = timedelta(days=1)  # how exactly that is known
MAXIMUM_SIZE: Final = 64 * 1024 * 1024
_LONGEST_HEAD: Final = 256 * 1024
_SUFFIX: Final = ".fetched"


@dataclass(frozen=True)
class Fetched:
    """A place with what stood there last. `etag` and `modified` are what the server said of it, to ask for changes."""

    place: Place
    octets: bytes = b""
    etag: str = ""
    modified: str = ""


class RevocationFolder:
    """Every method raises StoreUnavailable where the folder does not do what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None

    def want(self, place: Place) -> bool:
        """Remember a place, or that it is still wanted; whether it is a new one. Of too many none is remembered."""
        path = self._path(place)
        with self._failing():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > TOUCHED.total_seconds():
                    os.utime(path)
                return False
            if len(self._names()) >= MOST:
                return False
            self._write(path, _head(Fetched(place)))
        return True

    def put(self, fetched: Fetched) -> None:
        """Keep what was fetched. It is on the disk when this returns."""
        path = self._path(fetched.place)
        with self._failing():
            wanted = path.stat().st_mtime if path.exists() else time.time()
            self._write(path, _head(fetched) + fetched.octets, wanted)

    def entries(self) -> Iterator[Fetched]:
        """Everything in the folder; what is broken is left out."""
        with self._failing():
            for name in self._names():
                try:
                    entry = _read(self.folder / name)
                except (FileNotFoundError, MalformedMessage):
                    continue
                if self._path(entry.place).name == name:
                    yield entry

    def forget_unwanted(self) -> int:
        """Remove what no path wanted for a long time; how many."""
        removed = 0
        with self._failing():
            for name in self._names():
                path = self.folder / name
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > UNWANTED.total_seconds():
                        path.unlink()
                        removed += 1
        return removed

    def generation(self) -> frozenset[tuple[str, int, int]]:
        """Changes when any content does."""
        found = set()
        with self._failing(), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat()
                        found.add((entry.name, status.st_ino, status.st_size))
        return frozenset(found)

    def lock(self) -> bool:
        """Become the one who fetches, or still be it. Ends with the process, or with `unlock`."""
        if self._lock is not None:
            return True
        with self._failing():
            handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            except OSError:
                os.close(handle)
                raise
        self._lock = handle
        return True

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _path(self, place: Place) -> Path:
        return self.folder / f"{place.name}{_SUFFIX}"

    def _names(self) -> list[str]:
        return sorted(name for name in os.listdir(self.folder) if name.endswith(_SUFFIX) and not name.startswith("."))

    def _write(self, path: Path, octets: bytes, wanted: float | None = None) -> None:
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with beside.open("wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            if wanted is not None:
                os.utime(beside, (wanted, wanted))
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(f"{self.folder}: {error.strerror or error}") from None


def _head(fetched: Fetched) -> bytes:
    place = fetched.place
    about = place.certificate
    return (
        json.dumps(
            {
                "kind": place.kind,
                "uri": place.uri,
                "issuer": _text(place.issuer),
                "certificate": _text(about) if about is not None else None,
                "etag": fetched.etag,
                "modified": fetched.modified,
            }
        ).encode()
        + b"\n"
    )


def _text(certificate: Certificate) -> str:
    return binascii.b2a_base64(certificate.der, newline=False).decode()


def _read(path: Path) -> Fetched:
    """Raises MalformedMessage, OSError."""
    with path.open("rb") as file:
        head = file.readline(_LONGEST_HEAD)
        octets = file.read(MAXIMUM_SIZE + 1)
    try:
        stated = json.loads(head)
        kind, uri, etag, modified = (stated[key] for key in ("kind", "uri", "etag", "modified"))
        about = stated["certificate"]
        place = Place(kind, uri, _certificate(stated["issuer"]), _certificate(about) if about is not None else None)
    except (ValueError, KeyError, TypeError):
        raise MalformedMessage("a file of what was fetched that cannot be read") from None
    named = all(isinstance(text, str) for text in (uri, etag, modified)) and kind in ("crl", "ocsp")
    if not named or (kind == "ocsp") != (about is not None) or len(octets) > MAXIMUM_SIZE:
        raise MalformedMessage("a file of what was fetched that cannot be read")
    return Fetched(place, octets, etag, modified)


def _certificate(text: object) -> Certificate:
    return Certificate(binascii.a2b_base64(cast(str, text), strict_mode=True))
