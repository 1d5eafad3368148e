"""Private keys that are held for users: one file for each in a folder, PEM or PKCS#12 with the certificate in it.

A password stands beside in NAME.password, or is one for all. Or the key process has such a folder, and here are the
certificates. What is broken is told, and the rest is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential, receives
from domsec.errors import DomsecError, MalformedMessage, StoreUnavailable
from domsec.stores.certificates import FileProblem, files_in, load_certificates
from domsec.stores.credentials import MAXIMUM_SIZE, in_key_process, open_credential, read_password
from domsec.stores.files import read_file
from domsec.stores.key_process import KeyProcessCredential, NotNow
from domsec.trust import usage

MOST: Final = 2000  # opening an RSA key takes a tenth of a second
SUFFIXES: Final = (".pem", ".p12", ".pfx")
Opened = dict[bytes, Credential]  # by the digest of a file with its password


@dataclass(frozen=True, slots=True)
class Held:
    """Each file that opened with its credential, and in words what did not."""

    files: tuple[tuple[Path, Credential], ...]
    problems: tuple[str, ...]

    @property
    def credentials(self) -> tuple[Credential, ...]:
        return tuple(credential for _, credential in self.files)


def load_users(
    folder: Path,
    password_file: Path | None,
    *,
    environment_password: str | None = None,
    opened: Opened | None = None,
    takes_time: Callable[[], None] = lambda: None,
) -> Held:
    """Everything in a folder. Raises nothing.

    `opened` has what was opened the last time, which is not opened again, and afterwards what is there now.
    `takes_time` is called before each file that is opened.
    """
    known = dict(opened or {})
    now: Opened = {}
    found: list[tuple[Path, Credential]] = []
    problems: list[str] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    except OSError as error:
        return Held((), (f"{folder}: cannot be read: {error.strerror}",))
    if len(paths) > MOST:
        problems.append(f"{folder}: {len(paths)} keys, and {MOST} are held")
    for path in paths[:MOST]:
        beside = path.with_suffix(".password")
        password = beside if beside.exists() else password_file
        try:
            secret = read_password(password) if password is not None else (environment_password or "").encode()
            digest = hashlib.sha256(secret + b"\0" + read_file(path, MAXIMUM_SIZE)).digest()
            if digest not in known:
                takes_time()
                known[digest] = open_credential(path, password, environment_password=environment_password)
        except DomsecError as problem:
            problems.append(str(problem))
        else:
            now[digest] = known[digest]
            found.append((path, known[digest]))
    if opened is not None:
        opened.clear()
        opened.update(now)
    return Held(tuple(found), tuple(problems))


def users_in_key_process(source: str, places: Sequence[Path], socket: Path) -> Held:
    """The certificates in some files and folders, whose keys the key process has. It is not asked. Raises nothing."""
    problems: list[FileProblem] = []
    own: dict[Certificate, Path] = {}
    authorities: list[Certificate] = []
    for file in (file for place in places for file in files_in(place, problems)):
        loaded = load_certificates([file])
        problems += loaded.problems
        for certificate in loaded.certificates:
            try:
                if usage.is_ca(certificate):
                    authorities.append(certificate)
                else:
                    own.setdefault(certificate, file)
            except MalformedMessage as problem:
                problems.append(FileProblem(file, str(problem)))
    credentials = in_key_process(source, own, authorities, socket)
    return Held(tuple(zip(own.values(), credentials, strict=True)), tuple(map(str, problems)))


def lacking(held: Held, *, decrypt: bool) -> Iterator[str]:
    """What of some keys the key process has not, or does not do, in words. Asks it. Raises nothing.

    To say that a key is there takes it some hundredths of a millisecond, to use one milliseconds: so one is tried.
    """
    for file, credential in held.files:
        if not isinstance(credential, KeyProcessCredential):
            continue
        try:
            credential.present(credential.process)
        except NotNow as problem:
            yield f"{file}: mail waits until the key process has the key: {problem}"
            continue
        except DomsecError as problem:
            yield f"mail waits until the key process answers: {problem}"
            return
        if decrypt and not usage.encryption_problems(credential.certificate):
            decrypt = False
            yield from _does_not_open(file, credential)


def _does_not_open(file: Path, credential: Credential) -> Iterator[str]:
    try:
        if not receives(credential):
            yield f"{file}: the key process holds another key"
    except StoreUnavailable as problem:
        yield f"{file}: mail waits until the key process answers: {problem}"
    except DomsecError as problem:
        yield f"{file}: it opens nothing, expected users.decrypt in the key process's configuration too: {problem}"
