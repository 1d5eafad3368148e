"""Certificates, revocation lists and OCSP responses from files and folders: PEM (RFC 7468), DER, PKCS#7 (certs-only).

A file that cannot be read is a problem that names it; the others are used all the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from domsec import oids
from domsec.cms import content_info, signed_data
from domsec.cms.certificates import Certificate, Identifier
from domsec.der import ENUMERATED, INTEGER, OID, SEQUENCE, Reader, context
from domsec.errors import ConfigurationError, DomsecError, MalformedMessage
from domsec.limits import Limits
from domsec.stores.files import read_file
from domsec.stores.pem import blocks, is_pem
from domsec.trust.crl import Crl, crl_index
from domsec.trust.ocsp import OcspResponse, ocsp_index
from domsec.trust.path import AnchorSet, Snapshot
from domsec.trust.source import MemorySource

# names of certificate files in a folder; those of c_rehash (openssl-rehash(1)) end in .0 or .r0
_FILE_NAME = re.compile(r"(?i)(.*\.(pem|crt|cer|der|p7b|p7c|crl|ors)|[0-9a-f]{8}\.r?[0-9]+)")
CERTIFICATE_LABELS = ("CERTIFICATE", "X509 CERTIFICATE")
CRL_LABELS = ("X509 CRL", "CRL")
PKCS7_LABELS = ("PKCS7", "CMS")

# a folder of an administrator's, not a message of a stranger's
LIMITS = Limits(certificates=100_000, crls=10_000, der_values=10_000_000)


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that was left out, and why."""

    path: Path
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What some files held, each once, in the order of the files."""

    certificates: tuple[Certificate, ...] = ()
    crls: tuple[bytes, ...] = ()
    problems: tuple[FileProblem, ...] = ()
    ocsp: tuple[bytes, ...] = ()


def load_certificates(paths: Iterable[Path]) -> Loaded:
    """Everything in these files and folders. Raises nothing: what cannot be used is in `problems`."""
    certificates: dict[Certificate, None] = {}
    crls: dict[bytes, None] = {}
    responses: dict[bytes, None] = {}
    problems: list[FileProblem] = []
    for path in paths:
        for file in files_in(path, problems):
            try:
                found = read(read_file(file))
            except ConfigurationError as problem:
                problems.append(FileProblem(file, str(problem).removeprefix(f"{file}: ")))
            except DomsecError as problem:
                problems.append(FileProblem(file, str(problem)))
            else:
                certificates |= dict.fromkeys(found.certificates)
                crls |= dict.fromkeys(found.crls)
                responses |= dict.fromkeys(found.ocsp)
    return Loaded(tuple(certificates), tuple(crls), tuple(problems), tuple(responses))


def certificates_in(octets: bytes, name: str) -> tuple[Certificate, ...]:
    """The certificates of one file. Raises ConfigurationError with its name if it has none or is broken."""
    try:
        found = read(octets).certificates
    except DomsecError as problem:
        raise ConfigurationError(f"{name}: {problem}") from None
    if not found:
        raise ConfigurationError(f"{name}: no certificate in it")
    return found


def load_anchors(paths: Sequence[Path]) -> AnchorSet:
    """Anchors from files and folders. Raises ConfigurationError for every broken file, and for having none at all."""
    loaded = load_certificates(paths)
    texts = [str(problem) for problem in loaded.problems]
    if not loaded.certificates:
        texts.append(f"{', '.join(map(str, paths))}: no certificate in it, expected an anchor")
    if texts:
        raise ConfigurationError(*texts)
    anchors, problems = _anchors(loaded)
    if problems:
        raise ConfigurationError(*(f"{', '.join(map(str, paths))}: {text}" for text in problems))
    return anchors


def _anchors(loaded: Loaded) -> tuple[AnchorSet, tuple[str, ...]]:
    """Those certificates that can be anchors, and why the others cannot."""
    usable: list[Certificate] = []
    problems: list[str] = []
    for certificate in loaded.certificates:
        try:
            AnchorSet((certificate,))
        except MalformedMessage as problem:
            problems.append(f"the certificate {certificate.sha256[:16]} cannot be an anchor: {problem}")
        else:
            usable.append(certificate)
    return AnchorSet(tuple(usable)), tuple(problems)


def load_snapshot(
    *,
    roles: Sequence[Path] = (),
    users: Sequence[Path] = (),
    certificates: Sequence[Path] = (),
    crls: Sequence[Path] = (),
    grace: timedelta = timedelta(0),
) -> tuple[Snapshot, tuple[FileProblem, ...]]:
    """The world of trust that some files describe, and the files that were left out of it.

    CRLs and OCSP responses found beside certificates count as well. Every certificate may serve as an intermediate one.
    """
    loaded = [load_certificates(paths) for paths in (roles, users, certificates, crls)]
    problems = [problem for part in loaded for problem in part.problems]
    anchors: list[AnchorSet] = []
    for part, paths in zip(loaded, (roles, users), strict=False):
        usable, texts = _anchors(part)
        anchors.append(usable)
        problems += (FileProblem(paths[0], text) for text in texts)
    intermediates = dict.fromkeys(certificate for part in loaded[2:] for certificate in part.certificates)
    lists = crl_index((crl for part in loaded for crl in part.crls), grace)
    answers = ocsp_index((response for part in loaded for response in part.ocsp), grace)
    return Snapshot(anchors[0], anchors[1], tuple(intermediates), lists, answers), tuple(problems)


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """Certificates of files and folders, to be asked for by address, role and domain, or identifier.

    Implements `domsec.trust.source.CertificateSource`. A value: `load` again to see what changed.
    """

    certificates: MemorySource
    problems: tuple[FileProblem, ...] = ()

    @classmethod
    def load(cls, paths: Iterable[Path]) -> DirectorySource:
        loaded = load_certificates(paths)
        return cls(MemorySource(loaded.certificates), loaded.problems)

    def by_address(self, address: str) -> Sequence[Certificate]:
        return self.certificates.by_address(address)

    def authority(self, role_name: str, domain: str) -> Sequence[Certificate]:
        return self.certificates.authority(role_name, domain)

    def by_sid(self, identifier: Identifier) -> Sequence[Certificate]:
        return self.certificates.by_sid(identifier)

    def preferred(self, address: str) -> str | None:
        return self.certificates.preferred(address)


def files_in(path: Path, problems: list[FileProblem], named: re.Pattern[str] = _FILE_NAME) -> Iterator[Path]:
    """A file itself, whatever its name; of a folder, and those in it, the files with names of certificate files."""
    if not path.is_dir():
        yield path
        return

    def failed(error: OSError) -> None:
        problems.append(FileProblem(Path(str(error.filename)), f"cannot be read: {error.strerror}"))

    for folder, inner, names in os.walk(path, onerror=failed):
        inner.sort()
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield from (Path(folder, name) for name in sorted(names) if named.fullmatch(name) and name[0] != ".")


def read(octets: bytes) -> Loaded:
    """What one file holds. Raises MalformedMessage, Unsupported."""
    if not is_pem(octets):
        return read_der(octets)
    certificates: list[Certificate] = []
    crls: list[bytes] = []
    for block in blocks(octets):
        if block.label in (*CERTIFICATE_LABELS, *CRL_LABELS, *PKCS7_LABELS):
            found = read_der(block.der)
            certificates += found.certificates
            crls += found.crls
        elif block.label == "TRUSTED CERTIFICATE":
            raise MalformedMessage("OpenSSL's own TRUSTED CERTIFICATE, expected CERTIFICATE")
    if not certificates and not crls:
        raise MalformedMessage("no certificate and no revocation list in it")
    return Loaded(tuple(certificates), tuple(crls))


def read_der(octets: bytes) -> Loaded:
    """One Certificate, CertificateList, OCSPResponse or ContentInfo, told apart by what stands inside."""
    reader = Reader(octets, LIMITS)
    if reader.peek() != SEQUENCE:
        raise MalformedMessage("neither PEM nor DER of a certificate or revocation list")
    reader.enter(SEQUENCE)
    if reader.peek() == ENUMERATED:
        OcspResponse(octets)
        return Loaded(ocsp=(octets,))
    if reader.peek() == OID:
        return _read_pkcs7(octets)
    reader.enter(SEQUENCE)
    if reader.peek() != context(0) and _is_crl(reader):
        Crl(octets)
        return Loaded(crls=(octets,))
    return Loaded((Certificate(octets),))


def _is_crl(reader: Reader) -> bool:
    """Standing in a tbsCertList or a version 1 tbsCertificate, which has a SEQUENCE where the list has its time."""
    if reader.peek() == SEQUENCE:
        return True  # version 1 list: begins with its algorithm
    if reader.peek() != INTEGER:
        return False
    for _ in ("version or serial", "algorithm", "issuer"):
        reader.skip()
    return reader.peek() != SEQUENCE


def _read_pkcs7(octets: bytes) -> Loaded:
    outer = content_info.parse(octets, LIMITS)
    if outer.content_type != oids.ID_SIGNED_DATA:
        raise MalformedMessage(f"PKCS#7 of type {oids.name(outer.content_type)}, expected signedData with certificates")
    signed = signed_data.parse_signed_data(outer.content, LIMITS)
    if signed.odd_certificates:
        raise MalformedMessage(f"PKCS#7 with {signed.odd_certificates} certificates that cannot be read")
    for crl in signed.crls:
        Crl(crl)
    return Loaded(signed.certificates, signed.crls)
