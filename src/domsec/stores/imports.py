"""Certificates from whatever file an administrator has: PEM, DER, PKCS#7, PKCS#12 and LDIF.

Unlike the files of a configuration (`domsec.stores.certificates`), one broken certificate of a file does not keep the
others out. Private keys are passed over: they have no place among the certificates of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from domsec.cms.certificates import Certificate
from domsec.der import INTEGER, SEQUENCE, Reader
from domsec.errors import ConfigurationError, DomsecError, KeyUnusable
from domsec.stores import ldif
from domsec.stores.certificates import (
    CERTIFICATE_LABELS,
    CRL_LABELS,
    PKCS7_LABELS,
    FileProblem,
    files_in,
    read_der,
)
from domsec.stores.files import read_file
from domsec.stores.pem import Block, blocks, is_pem

MAXIMUM_SIZE: Final = 512 * 1024 * 1024  # octets of a file; 10^5 certificates are some 200 MB of LDIF

_FILE_NAME: Final = re.compile(r"(?i).*\.(pem|crt|cer|der|p7b|p7c|p12|pfx|ldif|ldf)")


@dataclass(frozen=True, slots=True)
class Imported:
    """What one file held."""

    path: Path
    certificates: tuple[Certificate, ...] = ()
    problems: tuple[FileProblem, ...] = ()


def imported(paths: Iterable[Path], password: bytes | None = None) -> Iterator[Imported]:
    """The certificates of files and of folders with all below, file after file. Raises nothing."""
    for path in paths:
        problems: list[FileProblem] = []
        for file in files_in(path, problems, _FILE_NAME):
            yield _of_file(file, password)
        if problems:
            yield Imported(path, problems=tuple(problems))


def _of_file(file: Path, password: bytes | None) -> Imported:
    found: dict[Certificate, None] = {}
    problems: list[FileProblem] = []
    try:
        octets = read_file(file, MAXIMUM_SIZE)
        if not is_pem(octets) and not ldif.is_ldif(octets):
            found |= dict.fromkeys(
                _from_pkcs12(octets, password) if _is_pkcs12(octets) else read_der(octets).certificates
            )
        for place, part in _parts(octets):
            try:
                found |= dict.fromkeys(read_der(part.der).certificates)
            except DomsecError as problem:
                problems.append(FileProblem(file, f"{place}: {problem}"))
    except ConfigurationError as problem:
        problems.append(FileProblem(file, str(problem).removeprefix(f"{file}: ")))
    except DomsecError as problem:
        problems.append(FileProblem(file, str(problem)))
    if not found and not problems:
        problems.append(FileProblem(file, "no certificate in it"))
    return Imported(file, tuple(found), tuple(problems))


def _parts(octets: bytes) -> Iterator[tuple[str, Block | ldif.Value]]:
    """Where in a file of text, and what is there. Raises MalformedMessage for PEM that does not end."""
    if is_pem(octets):
        for number, block in enumerate(blocks(octets), 1):
            if block.label in (*CERTIFICATE_LABELS, *PKCS7_LABELS, *CRL_LABELS):
                yield f"block {number}", block
    elif ldif.is_ldif(octets):
        yield from ((f"line {value.line}", value) for value in ldif.values(octets))


def _is_pkcs12(octets: bytes) -> bool:
    """Whether DER begins as a PFX does: with its version (RFC 7292 4)."""
    reader = Reader(octets)
    if reader.peek() != SEQUENCE:
        return False
    reader.enter(SEQUENCE)
    return reader.peek() == INTEGER


def _from_pkcs12(octets: bytes, password: bytes | None) -> tuple[Certificate, ...]:
    """Raises KeyUnusable, MalformedMessage."""
    for attempt in (password,) if password is not None else (None, b""):
        try:
            store = pkcs12.load_pkcs12(octets, attempt)
        except (UnsupportedAlgorithm, TypeError):
            raise KeyUnusable("PKCS#12 with what is not supported, expected the certificates as PEM") from None
        except ValueError:
            continue
        found = (*([store.cert] if store.cert else []), *store.additional_certs)
        return tuple(Certificate(one.certificate.public_bytes(Encoding.DER)) for one in found)
    if password is None:
        raise KeyUnusable("PKCS#12 that cannot be read without a password")
    raise KeyUnusable("the password is wrong or the PKCS#12 file is broken")
