"""One file with the whole state of an installation: what its configuration names, and the store as it is at a moment.

    manifest.json    what is in it, with digests, modes and owners
    files/...        each file at its path
    store            SQLite's database, or what pg_dump(1) makes of PostgreSQL; a key process has none

It is a tar archive, so that nobody needs domsec to get at what is in it. It has private keys in it: encrypt it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Final, cast

import domsec.stores.database as db
from domsec.errors import ConfigurationError, MalformedMessage, StoreUnavailable
from domsec.octets import CHUNK, Octets, Spool
from domsec.stores.database import open_database, sql, time_text

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
STORE: Final = "store"
FILES: Final = "files"
MAXIMUM_MANIFEST: Final = 16 * 1024 * 1024  # octets: some hundred thousand files


@dataclass(frozen=True, slots=True)
class Saved:
    """One file of a backup."""

    path: Path  # where it was
    sha256: str
    mode: int
    user: str
    group: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup says of itself."""

    made_at: str  # RFC 3339
    version: str
    store: str  # its URL, without a password; empty where there is none
    configuration: Path
    files: tuple[Saved, ...]


def save(configuration: Path, paths: Iterable[Path], store_url: str | None, *, now: datetime, version: str) -> Octets:
    """The archive: these files, what is in these folders, and the store, if any. Nothing stops while it is made.

    Raises ConfigurationError for what cannot be read, StoreUnavailable where the store or the temporary file fails.
    """
    files = sorted({file for path in (configuration, *paths) for file in _regular(path.absolute())})
    with tempfile.TemporaryDirectory(prefix="domsec-backup-") as folder, _named("the backup"), Spool() as spool:
        snapshot = Path(folder) / STORE
        if store_url:
            _snapshot(store_url, snapshot)
        with tarfile.open(fileobj=cast("IO[bytes]", spool), mode="w|", format=tarfile.PAX_FORMAT) as tar:
            saved = [_add(tar, file) for file in files]
            if store_url:
                tar.add(snapshot, STORE, filter=_anonymous)
            manifest = {
                "format": FORMAT,
                "made_at": time_text(now),
                "version": version,
                "store": {"url": _shown(store_url), "sha256": _digest(snapshot)} if store_url else None,
                "configuration": str(configuration.absolute()),
                "files": [
                    {"path": str(s.path), "sha256": s.sha256, "mode": s.mode, "user": s.user, "group": s.group}
                    for s in saved
                ],
            }
            text = json.dumps(manifest, indent=1).encode()
            entry = tarfile.TarInfo(MANIFEST)
            entry.size, entry.mode = len(text), 0o600
            tar.addfile(entry, io.BytesIO(text))
        return spool.octets()


def restore(archive: Octets, root: Path, store_url: str | None = None, *, overwrite: bool = False) -> Contents:
    """Put everything back, below `root`; the store to `store_url`, by default where it was, SQLite's below `root` too.

    All of it is checked against its digests before the first file is written. Held messages that were about to be
    delivered become `failed`: they may have been delivered after the backup was made, so a person has to say. Raises
    MalformedMessage for what is no whole backup, ConfigurationError for a file that is there already and for what
    cannot be written, StoreUnavailable for the store.
    """
    with tempfile.TemporaryDirectory(prefix="domsec-restore-") as folder, _named("the backup"):
        contents, members, digest = _unpacked(archive, Path(folder))
        places = {saved: root / str(saved.path).lstrip("/") for saved in contents.files}
        there = [str(place) for place in places.values() if place.exists()]
        if there and not overwrite:
            raise ConfigurationError(f"{there[0]}: exists already ({len(there)} such files), expected none")
        if contents.store:  # first, as it is what may be there already or be away
            url = store_url or _below(contents.store, root)
            if sql.make_url(url).get_backend_name() != sql.make_url(contents.store).get_backend_name():
                raise ConfigurationError(f"{url}: the store of the backup was {contents.store}")
            if _digest(members[STORE]) != digest:
                raise MalformedMessage("the store in the backup is not what was saved")
            _restore_store(members[STORE], url, overwrite=overwrite)
            _ask_again(url, contents.made_at)
        for saved, place in places.items():
            _put(members[f"{FILES}{saved.path}"], place, saved)
        return contents


# -- files ------------------------------------------------------------------------------------------------------------


def _regular(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        yield path
    else:
        raise ConfigurationError(f"{path}: cannot be saved: no such file")


def _add(tar: tarfile.TarFile, file: Path) -> Saved:
    try:
        with file.open("rb") as source:
            entry = tar.gettarinfo(arcname=f"{FILES}{file}", fileobj=source)
            reading = _Digesting(source)
            tar.addfile(entry, cast("IO[bytes]", reading))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    return Saved(file, reading.digest.hexdigest(), entry.mode & 0o7777, entry.uname, entry.gname)


class _Digesting:
    """A file, hashed while it is read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        octets = self._source.read(size)
        self.digest.update(octets)
        return octets


class _Reading:
    """Octets as a file."""

    def __init__(self, octets: Octets) -> None:
        self._octets = memoryview(octets)
        self._read = 0

    def read(self, size: int) -> bytes:
        found = bytes(self._octets[self._read : self._read + size])
        self._read += len(found)
        return found


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mode, entry.uname, entry.gname = 0o600, "", ""
    return entry


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpacked(archive: Octets, folder: Path) -> tuple[Contents, Mapping[str, Path], str]:
    """The contents, each member as a file in `folder`, and the digest of the store; all files are what was saved."""
    members: dict[str, Path] = {}
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", _Reading(archive)), mode="r|") as tar:
            for number, entry in enumerate(tar):
                source = tar.extractfile(entry) if entry.isreg() else None
                if source is None or entry.name in members:
                    raise MalformedMessage(f"{entry.name[:200]!a} in the backup is no file, or there twice")
                members[entry.name] = folder / str(number)
                with members[entry.name].open("xb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
    except (tarfile.TarError, EOFError) as error:
        raise MalformedMessage(f"no backup of domsec: {error}") from None
    try:
        if members[MANIFEST].stat().st_size > MAXIMUM_MANIFEST:
            raise MalformedMessage("the manifest of the backup is too large")
        stated = json.loads(members[MANIFEST].read_bytes())
        if stated["format"] != FORMAT:
            raise MalformedMessage(f"a backup of format {stated['format']}, expected {FORMAT}")
        store = stated["store"]
        contents = Contents(
            stated["made_at"],
            stated["version"],
            str(store["url"]) if store is not None else "",
            Path(stated["configuration"]),
            tuple(
                Saved(Path(s["path"]), s["sha256"], int(s["mode"]), str(s["user"]), str(s["group"]))
                for s in stated["files"]
            ),
        )
        digest = str(store["sha256"]) if store is not None else ""
        for saved in contents.files:
            if not saved.path.is_absolute() or ".." in saved.path.parts:
                raise MalformedMessage(f"{saved.path}: no absolute path")
            if _digest(members[f"{FILES}{saved.path}"]) != saved.sha256:
                raise MalformedMessage(f"{saved.path} in the backup is not what was saved")
        if store is not None:
            _ = members[STORE]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise MalformedMessage(f"no backup of domsec: {error!r}") from None
    return contents, members, digest


def _put(source: Path, place: Path, saved: Saved) -> None:
    """Write a file with its mode, and its owner where we may and he is there; never readable by others meanwhile."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.name}.restoring")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file, source.open("rb") as octets:
            shutil.copyfileobj(octets, file, CHUNK)
            file.flush()
            os.fsync(file.fileno())
        for name, lookup in ((saved.user, "user"), (saved.group, "group")):
            with contextlib.suppress(LookupError, PermissionError):
                shutil.chown(partial, **{lookup: name})
        partial.chmod(saved.mode)
        partial.replace(place)
    except OSError as error:
        raise ConfigurationError(f"{place}: cannot be written: {error.strerror}") from None


# -- the store --------------------------------------------------------------------------------------------------------


def _snapshot(url: str, target: Path) -> None:
    """The store as it is now, by the means of the database: writers go on meanwhile."""
    address = sql.make_url(url)
    if address.get_backend_name() == "sqlite":
        place = Path(address.database or "")
        if not place.is_file():
            raise StoreUnavailable(f"{place}: no database there")
        try:
            with (
                contextlib.closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True)) as source,
                contextlib.closing(sqlite3.connect(target)) as copy,
            ):
                source.backup(copy)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{place}: {error}") from None
        return
    _postgresql(url, "pg_dump", "--format=custom", "--no-owner", "--file", str(target))


def _shown(url: str) -> str:
    """The URL without its password: that is in ~/.pgpass, or somebody has to give it again."""
    address = sql.make_url(url)
    return address.set(password=None).render_as_string() if address.password else url


def _below(url: str, root: Path) -> str:
    address = sql.make_url(url)
    if address.get_backend_name() != "sqlite":
        return url
    place = root / (address.database or "").lstrip("/")
    return address.set(database=str(place)).render_as_string()


def _restore_store(source: Path, url: str, *, overwrite: bool) -> None:
    address = sql.make_url(url)
    if address.get_backend_name() == "postgresql":
        clean = ("--clean", "--if-exists") if overwrite else ()
        _postgresql(url, "pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", *clean, str(source))
        return
    place = Path(address.database or "")
    if place.exists() and not overwrite:
        raise ConfigurationError(f"{place}: exists already, expected no store")
    for journal in ("-wal", "-shm"):
        place.with_name(place.name + journal).unlink(missing_ok=True)
    _put(source, place, Saved(place, "", 0o600, *_owner(place.parent)))


def _owner(folder: Path) -> tuple[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.owner(), folder.group()


def _ask_again(url: str, made_at: str) -> None:
    database = open_database(url)
    try:
        with database.writing() as connection:
            connection.execute(
                sql.update(db.holds)
                .where(db.holds.c.state.in_(("approved", "releasing")))
                .values(state="failed", note=f"restored from a backup of {made_at}: may have been delivered since")
            )
    finally:
        database.close()


def _libpq(url: str) -> tuple[str, str]:
    """The URL as PostgreSQL's own programs know it, without the name of a Python driver; and the password in it."""
    scheme, colon, rest = url.partition(":")
    password = sql.make_url(url).password
    if password is not None:
        rest = re.sub(r"^(//[^:/]*):[^@]*@", r"\1@", rest)
    return scheme.partition("+")[0] + colon + rest, str(password or "")


def _postgresql(url: str, program: str, *arguments: str) -> None:
    """Run a program on a store. Everybody on the machine sees its arguments, so the password is none of them."""
    address, password = _libpq(url)
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    command = [program, "--dbname", address, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError as error:
        raise ConfigurationError(f"{program} cannot be run: {error.strerror}; it comes with PostgreSQL") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StoreUnavailable(f"{program}: {last[:300]}")


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Failures of the temporary folder."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{what} has no room: {error.strerror}") from error
