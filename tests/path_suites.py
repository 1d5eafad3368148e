"""The public suites of path validation in ../shared/corpora: each case with what its makers say of it.

    for case in path_suites.cases("x509-limbo"):
        case.name, case.valid, case.judge().state

NIST PKITS has a test of its own (tests/trust/test_pkits.py). The suites ask for servers of the web as well; what is
answered here is what domsec asks: is there a path to the anchor, for mail, at that time, and is the key strong enough.
Names of servers are not compared, and what the certificate itself may be used for is not looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from domsec.cms.certificates import Certificate
from domsec.errors import DomsecError, MalformedMessage
from domsec.limits import DEFAULT
from domsec.stores.pem import blocks
from domsec.trust import usage
from domsec.trust.crl import crl_index
from domsec.trust.ocsp import ocsp_index
from domsec.trust.path import AnchorSet, PathVerdict, Snapshot, Validator
from domsec.trust.rfc5280 import PathAlgorithm

CORPORA: Final = Path(__file__).resolve().parents[2] / "shared" / "corpora"


@dataclass(frozen=True, slots=True)
class Case:
    """One path. `judge` gives our verdict; `valid` is theirs."""

    name: str
    valid: bool
    judge: Callable[[], PathVerdict]


def cases(suite: str) -> tuple[Case, ...]:
    """Every case of a suite; none where the corpora are missing."""
    return tuple(SUITES[suite]()) if (CORPORA / suite).exists() else ()


def _refused(reason: str) -> PathVerdict:
    return PathVerdict("invalid", reason, "unknown", ())


def _verdict(
    certificate: bytes,
    others: list[bytes],
    anchors: list[bytes],
    now: datetime,
    crls: list[bytes] | None = None,
    depth: int | None = None,
) -> PathVerdict:
    """Certificates and CRLs in DER; with `crls` revocation is required. `depth` is how many intermediates are allowed.

    What cannot even be read, as anchor, certificate or CRL, is refused: a folder with it would be reported.
    """
    try:
        trusted = AnchorSet(tuple(Certificate(der) for der in anchors))
        target = Certificate(certificate)
        index = crl_index(crls or ())
    except MalformedMessage as error:
        return _refused(str(error))
    offered = []
    for der in others:
        try:
            offered.append(Certificate(der))
        except MalformedMessage:
            continue
    limits = DEFAULT if depth is None else replace(DEFAULT, path_length=min(depth + 2, DEFAULT.path_length))
    validator = Validator(Snapshot(users=trusted, crls=index), limits=limits)
    revocation = "off" if crls is None else "hard"
    verdict = validator.validate(target, offered, anchors=trusted, now=now, revocation=revocation)
    return _with_a_strong_key(target, verdict) if verdict.state == "valid" else verdict


def _with_a_strong_key(certificate: Certificate, verdict: PathVerdict) -> PathVerdict:
    """The floor for the key of the certificate itself, which domsec looks at with its use."""
    try:
        weakness = usage.weak_key(certificate.public_key)
    except DomsecError as error:
        weakness = str(error)
    return replace(verdict, state="invalid", reason=weakness) if weakness else verdict


def _pem(octets: bytes | str, *labels: str) -> list[bytes]:
    text = octets.encode() if isinstance(octets, str) else octets
    return [block.der for block in blocks(text) if not labels or block.label in labels]


# x509-limbo


def _limbo() -> Iterator[Case]:
    for case in json.loads((CORPORA / "x509-limbo" / "limbo.json").read_text())["testcases"]:
        yield Case(case["id"], case["expected_result"] == "SUCCESS", lambda case=case: _limbo_verdict(case))


def _limbo_verdict(case: dict[str, Any]) -> PathVerdict:
    moment = case["validation_time"]
    return _verdict(
        _pem(case["peer_certificate"])[0],
        [der for pem in case["untrusted_intermediates"] for der in _pem(pem)],
        [der for pem in case["trusted_certs"] for der in _pem(pem)],
        datetime.fromisoformat(moment) if moment else datetime(2026, 6, 29, tzinfo=UTC),  # when it was compiled
        [der for pem in case["crls"] for der in _pem(pem)] or None,
        case["max_chain_depth"],
    )


# BoringSSL's pki/testdata

_BORING_DEFAULT: Final = datetime(2021, 10, 5, 12, tzinfo=UTC)
_BORING_CRL: Final = datetime(2017, 3, 9, tzinfo=UTC)  # crl_unittest.cc


def _boringssl() -> Iterator[Case]:
    suite = json.loads((CORPORA / "boringssl-pki" / "expected.json").read_text())["files"]
    for name, case in suite.items():
        yield Case(name, case["valid"], lambda case=case: _boringssl_verdict(case))
    for file in sorted((CORPORA / "boringssl-pki" / "crl_unittest").glob("*.pem")):
        valid = file.name.startswith("good_")
        yield Case(f"crl_unittest/{file.name}", valid, lambda file=file: _boringssl_crl(file))
    for file in sorted((CORPORA / "boringssl-pki" / "ocsp_unittest").glob("*.pem")):
        valid = file.stem in _BORING_GOOD_ANSWERS
        yield Case(f"ocsp_unittest/{file.name}", valid, lambda file=file: _boringssl_ocsp(file))


def _boringssl_verdict(case: dict[str, Any]) -> PathVerdict:
    chain = _pem((CORPORA / "boringssl-pki" / case["chain"]).read_bytes(), "CERTIFICATE")
    trust = case["last_cert_trust"]
    anchors = [] if trust in ("DISTRUSTED", "UNSPECIFIED") else chain[-1:]
    moment = case["utc_time"]
    now = _BORING_DEFAULT if moment == "DEFAULT" else datetime.strptime(moment, "%y%m%d%H%M%S%z")
    return _verdict(chain[0], chain[1:], anchors, now)


def _boringssl_crl(file: Path) -> PathVerdict:
    """Revocation alone: the CAs of these have short keys and no basicConstraints."""
    octets = file.read_bytes()
    (target,) = map(Certificate, _pem(octets, "CERTIFICATE"))
    issuer, *others = map(Certificate, [*_pem(octets, "CA CERTIFICATE"), *_pem(octets, "CA CERTIFICATE 2")])
    try:
        index = crl_index(_pem(octets, "CRL"))
        status = index.status(target, issuer, _BORING_CRL)
    except MalformedMessage as error:
        return _refused(str(error))
    if status.state == "good":
        return PathVerdict("valid", "", "good", (target, issuer))
    if status.state != "complex":
        return _refused(status.text)
    relevant = index.concerning((target, issuer))
    outcome = PathAlgorithm().check_revocation((target, issuer), _BORING_CRL, relevant, others)
    return replace(_refused(outcome.text), state="valid" if outcome.state == "valid" else "invalid")


_BORING_OCSP: Final = datetime(2017, 3, 1, 12, tzinfo=UTC)
# by the names and descriptions of the files; the others tell of something wrong, or of a revoked certificate
_BORING_GOOD_ANSWERS: Final = frozenset(
    {
        "good_response_sha256", "ocsp_sign_direct", "ocsp_sign_indirect", "ocsp_extra_certs", "has_version",
        "responder_name", "responder_id", "has_extension", "has_single_extension",
    }
)  # fmt: skip


def _boringssl_ocsp(file: Path) -> PathVerdict:
    octets = file.read_bytes()
    (target,) = map(Certificate, _pem(octets, "CERTIFICATE"))
    (issuer,) = map(Certificate, _pem(octets, "CA CERTIFICATE"))
    try:
        status = ocsp_index(_pem(octets, "OCSP RESPONSE")).status(target, issuer, _BORING_OCSP, allow_weak=True)
    except MalformedMessage as error:
        return _refused(str(error))
    return PathVerdict("valid", "", "good", (target, issuer)) if status.state == "good" else _refused(status.text)


# Botan's x509 data

_EXTENDED: Final = datetime(2017, 9, 1, tzinfo=UTC)
_NC_TIME: Final = datetime(2026, 6, 1, tzinfo=UTC)
_NO_SUFFIX: Final = {  # names that do not end in what they expect; the other ones do
    "dns-excluded-overrides-permitted": False,
    "name-constraints-many-names-complexity": False,
    "registered-id-critical-constraint": False,
    "registered-id-excluded-critical-constraint": False,
}


def _botan() -> Iterator[Case]:
    root = CORPORA / "botan-x509"
    for name, case in json.loads((root / "expected.json").read_text())["files"].items():
        yield Case(name, case["valid"], lambda name=name: _botan_folder(root / name, _EXTENDED))
    years = dict(_lines(root / "pss_certs" / "validation_times.txt"))
    for name, text in _lines(root / "pss_certs" / "expected.txt"):
        if (root / "pss_certs" / name / "root.crt").exists():  # not requests, and not what signed itself
            folder, now = root / "pss_certs" / name, datetime(int(years[name]), 1, 21, tzinfo=UTC)
            yield Case(f"pss_certs/{name}", text == "Verified", lambda f=folder, t=now: _botan_folder(f, t))
    for file in sorted((root / "name_constraints").glob("*.pem")):
        yield Case(f"name_constraints/{file.name}", _expected(file.stem), lambda file=file: _botan_chain(file))
    time_check = root / "misc" / "root_cert_time_check"
    for year, valid in ((2025, True), (2029, False), (2031, False)):
        name = f"misc/root_cert_time_check in {year}"
        now = datetime(year, 7, 1, tzinfo=UTC)
        yield Case(name, valid, lambda now=now: _botan_folder(time_check, now, "leaf.crt"))
    without_next = root / "misc" / "crl_without_nextupdate"
    for serial, valid in (("01", False), ("42", True)):
        yield Case(f"misc/crl_without_nextupdate/{serial}.pem", valid, lambda s=serial: _botan_crl(without_next, s))


def _lines(path: Path) -> list[tuple[str, str]]:
    return [(name, text) for name, _, text in (line.partition(":") for line in path.read_text().split("\n") if line)]


def _expected(stem: str) -> bool:
    """What the name of a file says: ...-valid, ...-invalid-rfc5280, ...-rejected."""
    if stem in _NO_SUFFIX:
        return _NO_SUFFIX[stem]
    found = re.search(r"-(valid|invalid|rejected)(-rfc5280)?$", stem)
    assert found is not None, stem
    return found[1] == "valid"


def _botan_folder(folder: Path, now: datetime, end: str = "end.crt") -> PathVerdict:
    def certificates(pattern: str) -> list[bytes]:
        return [der for file in sorted(folder.glob(pattern)) for der in _pem_or_der(file.read_bytes())]

    crls = certificates("*.crl") or None
    return _verdict(certificates(end)[0], certificates("int*.crt"), certificates("root.crt"), now, crls)


def _botan_chain(file: Path) -> PathVerdict:
    """The root of these is not among the files: the uppermost certificate is the anchor."""
    chain = _pem(file.read_bytes(), "CERTIFICATE")
    return _verdict(chain[0], chain[1:-1], chain[-1:], _NC_TIME)


def _botan_crl(folder: Path, serial: str) -> PathVerdict:
    (target,) = _pem((folder / f"{serial}.pem").read_bytes())
    crls = _pem_or_der((folder / "valid_forever.crl").read_bytes())
    return _verdict(target, [], _pem((folder / "ca.pem").read_bytes()), datetime(2025, 6, 1, tzinfo=UTC), crls)


def _pem_or_der(octets: bytes) -> list[bytes]:
    return _pem(octets) if b"-----BEGIN" in octets else [octets]


SUITES: Final[dict[str, Callable[[], Iterator[Case]]]] = {
    "x509-limbo": _limbo,
    "boringssl-pki": _boringssl,
    "botan-x509": _botan,
}
