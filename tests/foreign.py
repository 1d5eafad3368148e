"""Files of the corpora: what others say of each (expected.json, oracle.json), and what domsec says, in the same words.

What others say is a set of words of which any agrees. expected.json goes before oracle.json.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key, load_pem_private_key, pkcs12

from domsec import oids
from domsec.cli.reading import as_message
from domsec.cms import content_info, signed_data
from domsec.cms.certificates import Certificate
from domsec.cms.enveloped_data import Enveloped, decrypt
from domsec.errors import DecryptionFailed, DomsecError, SignatureInvalid
from domsec.services.layers import Layer, peel
from domsec.trust.addresses import addresses
from envelope_keys import NamedByTheMessage
from signed_messages import NO_CERTIFICATE, outcomes

CORPORA = Path(__file__).resolve().parents[2] / "shared" / "corpora"

VERIFIES = "verifies"
WEAK = "verifies, weak"
HOLDS = frozenset({VERIFIES, WEAK})
FAILS = "does not verify"
NO_SIGNER = "no certificate of the signer"
NOT_SUPPORTED = "signed with an algorithm or a key that is not supported"
NO_CONTENT = "signed, without its content"
NO_SIGNATURE = "nobody signed"
OPENS = "opens"
OPENS_OTHERWISE = "opens to something else"
STAYS_CLOSED = "does not open"
REFUSED = "refused"
NOT_HANDLED = "a type that is not handled"
NO_CMS = "no CMS"
CERTIFICATE = "a certificate"

UNHANDLED = frozenset({REFUSED, NOT_HANDLED, NO_CMS})
REJECTED = UNHANDLED | {FAILS, STAYS_CLOSED, NO_SIGNER}


@dataclass(frozen=True)
class Case:
    """A file with what others say of it, and how to ask domsec."""

    path: str  # under the corpora
    said: Collection[str]
    ask: Callable[[Path], str]

    @property
    def file(self) -> Path:
        return CORPORA / self.path


# --- what domsec says ------------------------------------------------------------------------------------------------


def outermost(path: Path) -> Layer | None:
    """The outermost layer of mail or CMS in any wrapping; None if there is nothing to speak of."""
    try:
        return peel(as_message(path.read_bytes())).root
    except DomsecError:
        return None


def kind(path: Path) -> str:
    """The kind of the outermost layer."""
    return _kind(outermost(path))


def _kind(layer: Layer | None) -> str:
    if layer is None:
        return REFUSED
    if layer.kind == "unsupported":
        return NOT_HANDLED if any(code == "cms.unsupported" for code, _ in layer.flags) else REFUSED
    if layer.kind in ("content", "rfc822"):
        return NO_CMS
    return "signed" if layer.kind in ("null", "certs_only") else layer.kind


def signature(
    path: Path,
    *,
    others: Callable[[], Sequence[Certificate]] = tuple,
    content: bytes | None = None,
    sha256: str | None = None,
) -> str:
    """What the outermost signatures come to; without CMS of that kind, its kind."""
    layer = outermost(path)
    if layer is None or layer.signed is None:
        return _kind(layer)
    if not layer.signed.signers:
        return NO_SIGNATURE
    signed = content if layer.content is None else bytes(layer.content)
    if signed is None:
        return NO_CONTENT
    words = outcomes(layer.signed, signed)
    if NO_CERTIFICATE in words:
        words = outcomes(layer.signed, signed, others())
    if NO_CERTIFICATE in words:
        return NO_SIGNER
    if not {*words} <= {"valid", "valid as received", "weak"}:
        return NOT_SUPPORTED if {*words} <= {"unsupported", "valid", "weak"} else FAILS
    if sha256 is not None and hashlib.sha256(signed).hexdigest() != sha256:
        return "verifies over something else"
    return WEAK if "weak" in words else VERIFIES


def opened(path: Path, *, key: Path, password: bytes | None = None, sha256: str | None = None) -> str:
    """What a key makes of the outermost encryption; without CMS of that kind, its kind."""
    layer = outermost(path)
    if layer is None or layer.enveloped is None:
        return _kind(layer)
    plaintext = plaintext_of(layer.enveloped, private_key(key, password))
    if plaintext is None:
        return STAYS_CLOSED
    return OPENS if sha256 in (None, hashlib.sha256(plaintext).hexdigest()) else OPENS_OTHERWISE


def plaintext_of(message: Enveloped, key: Any) -> bytes | None:
    """What the key opens, whatever recipient it is; None if it opens nothing.

    The key that stands in for one that cannot be had is random, and by chance the padding of CBC fits it: here it is
    always the same, so that the answer is.
    """
    names = [identifier for recipient in message.recipients for identifier in recipient.identifiers]
    try:
        with mock.patch.object(os, "urandom", bytes):
            return decrypt(message, [NamedByTheMessage(key, name) for name in names], archive=True).plaintext
    except DecryptionFailed:
        return None


def private_key(path: Path, password: bytes | None = None) -> Any:
    raw = path.read_bytes()
    if path.suffix == ".p12":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # NSS writes these in BER
            return pkcs12.load_key_and_certificates(raw, password)[0]
    if raw[:1] == b"\x30":
        return load_der_private_key(raw, None)
    return load_pem_private_key(raw[raw.index(b"-----BEGIN") :], None)


def certificate_in(path: Path) -> Certificate:
    octets = path.read_bytes()
    if b"-----BEGIN CERTIFICATE" in octets:
        octets = x509.load_pem_x509_certificate(octets).public_bytes(Encoding.DER)
    return Certificate(octets)


@functools.cache
def certificates_of(family: str) -> tuple[Certificate, ...]:
    """Every certificate that lies about in a family as a file."""
    found = []
    for path in sorted((CORPORA / family).rglob("*")):
        if path.suffix in (".cer", ".crt", ".pem", ".der"):
            try:
                found.append(certificate_in(path))
            except (DomsecError, ValueError):
                continue
    return tuple(found)


def certificate(path: Path) -> str:
    """Whether it is a certificate whose addresses are read."""
    try:
        found = certificate_in(path)
        found.x509  # noqa: B018  loaded here, or MalformedMessage
        addresses(found)
    except DomsecError:
        return REFUSED
    return CERTIFICATE


# --- what others say -------------------------------------------------------------------------------------------------

ORACLE_TYPES = {
    "signed-data": "signed",
    "enveloped-data": "enveloped",
    "auth-enveloped-data": "auth_enveloped",
    "compressed-data": "compressed",
}


@functools.cache
def load(family: str, name: str) -> Mapping[str, Any]:
    path = CORPORA / family / name
    return json.loads(path.read_text()) if path.exists() else {}


def by_oracle(family: str) -> Iterator[Case]:
    """What OpenSSL found out about a file."""
    for name, entry in load(family, "oracle.json").get("files", {}).items():
        yield _by_oracle(family, f"{family}/{name}", entry)


def _by_oracle(family: str, path: str, entry: Mapping[str, Any]) -> Case:
    found = ORACLE_TYPES.get(entry.get("cms", ""))
    if entry["openssl_parse"] != "ok":
        return Case(path, REJECTED, signature)
    if found is None:
        return Case(path, UNHANDLED, kind)
    if found == "signed":
        ask = functools.partial(signature, others=functools.partial(certificates_of, family))
        return Case(path, _signature_by_oracle(entry), ask)
    if "opens_with" in entry:
        return Case(path, {OPENS}, _opening(entry["opens_with"], entry["plaintext_sha256"]))
    if "decrypt_error" in entry:
        return Case(path, REJECTED, _opening(entry["tried"]))
    return Case(path, {found}, kind)


def _signature_by_oracle(entry: Mapping[str, Any]) -> Collection[str]:
    if entry["openssl_signature"] == "good":
        return HOLDS
    if not entry.get("signers"):
        return {NO_SIGNATURE}
    why = entry.get("why", "")
    if "certificate not found" in why:
        return HOLDS | {NO_SIGNER}  # OpenSSL was not given it
    return {NO_CONTENT} if why == "no content" else {FAILS, NOT_SUPPORTED}


def _plaintext(family: str, name: str) -> str | None:
    """The digest of what OpenSSL found in an encrypted file."""
    return load(family, "oracle.json")["files"].get(name, {}).get("plaintext_sha256")


def _opening(stated: str, sha256: str | None = None) -> Callable[[Path], str]:
    """`family/key.p12 (password 'secret')`."""
    name, _, note = stated.partition(" (password '")
    return functools.partial(opened, key=CORPORA / name, password=note[:-2].encode() or None, sha256=sha256)


def by_rfc4134() -> Iterator[Case]:
    folder = CORPORA / "rfc4134"
    expected = load("rfc4134", "expected.json")
    others = functools.partial(certificates_of, "rfc4134")
    for name, entry in expected.get("messages", {}).items():
        path = f"rfc4134/{name}"
        text = entry.get("plaintext", entry.get("content_text", "")).encode()
        match entry.get("cms"):
            case "SignedData" if entry.get("certs_only"):
                yield Case(path, {NO_SIGNATURE}, signature)
            case "SignedData":
                detached = (folder / entry["detached_content"]).read_bytes() if entry.get("detached") else None
                sha256 = entry.get("content_sha256")
                ask = functools.partial(signature, others=others, content=detached, sha256=sha256)
                yield Case(path, HOLDS, ask)
            case "EnvelopedData":
                key = folder / "pem" / f"{Path(entry['decrypt_key']).name}.pem"
                sha256 = _plaintext("rfc4134", name) or hashlib.sha256(text).hexdigest()
                yield Case(path, {OPENS}, functools.partial(opened, key=key, sha256=sha256))
            case "Data" | "DigestedData" | "EncryptedData":
                yield Case(path, {NOT_HANDLED}, kind)
    for name in expected.get("certificates_and_crls", {}):
        if name.endswith(".cer"):
            yield Case(f"rfc4134/{name}", {CERTIFICATE}, certificate)


def by_rfc9216() -> Iterator[Case]:
    for name, entry in load("rfc9216", "expected.json").get("files", {}).items():
        if name.endswith(".crt.pem"):
            yield Case(f"rfc9216/{name}", {_of([entry["email"]] if "email" in entry else [])}, _addresses)


def _addresses(path: Path) -> str:
    return _of(addresses(certificate_in(path)))


def _of(found: Iterable[str]) -> str:
    return f"{CERTIFICATE} of {', '.join(sorted(found)) or 'nobody'}"


def by_thunderbird() -> Iterator[Case]:
    """The mathematics of the outermost signature; what Thunderbird shows is its policy."""
    others = functools.partial(certificates_of, "thunderbird")
    for name, entry in load("thunderbird", "expected.json").get("files", {}).items():
        said = HOLDS if entry["outer_signature_mathematics"] == "good" else {FAILS}
        yield Case(f"thunderbird/{name}", said, functools.partial(signature, others=others))


def by_openssl() -> Iterator[Case]:
    key = CORPORA / "rfc4134/pem/BobPrivRSAEncrypt.pri.pem"
    for name, entry in load("openssl", "expected.json").get("files", {}).items():
        path = f"openssl/{name}"
        verdict = entry["verdict"]
        if verdict == "decrypts":
            yield Case(path, {OPENS}, _opening(f"openssl/{entry['key']}", _plaintext("openssl", name)))
        elif verdict == "reject":
            yield Case(path, REJECTED, functools.partial(signed_or_opened, key=key))
        else:
            yield Case(path, {"signed", NOT_HANDLED}, kind)


def signed_or_opened(path: Path, *, key: Path, sha256: str | None = None) -> str:
    layer = outermost(path)
    if layer is not None and layer.enveloped is not None:
        return opened(path, key=key, sha256=sha256)
    return signature(path)


def by_pyca() -> Iterator[Case]:
    files = load("pyca", "expected.json").get("files", {})
    for name in ("pkcs7/non-ascii-san.pem", "pkcs7/ascii-san.pem"):
        if name in files:
            said = REFUSED if files[name]["verdict"] == "reject" else CERTIFICATE
            yield Case(f"pyca/{name}", {said}, certificate)
    if "pkcs7/enveloped.pem" in files:
        yield Case("pyca/pkcs7/enveloped.pem", {OPENS}, _opening("pyca/x509/custom/ca/rsa_key.pem"))


def by_bouncycastle() -> Iterator[Case]:
    for name, entry in load("bouncycastle", "expected.json").get("files", {}).items():
        if "emails" in entry:
            yield Case(f"bouncycastle/{name}", {_of(entry["emails"])}, _addresses)
        else:
            yield Case(f"bouncycastle/{name}", HOLDS if entry["signature_valid"] else {FAILS}, signature)


def by_mbedtls() -> Iterator[Case]:
    """One defect per file, which may leave the structure whole; and signatures without signed attributes."""
    folder = CORPORA / "mbedtls-pkcs7"
    for name, entry in load("mbedtls-pkcs7", "expected.json").get("files", {}).items():
        path = f"mbedtls-pkcs7/{name}"
        judged = [case for case in entry.get("verify", []) if case["result"] in MBEDTLS_RESULTS]
        parsed = [case["mbedtls"] for case in entry.get("parse", [])]
        if judged:
            said = ", ".join(MBEDTLS_RESULTS[case["result"]] for case in judged)
            yield Case(path, {said}, functools.partial(_judge, cases=judged))
        elif "MBEDTLS_PKCS7_SIGNED_DATA" in parsed:
            yield Case(path, {"signed"}, kind)
        elif entry.get("verdict") == "reject" or (parsed and "MBEDTLS_ERR_PKCS7_FEATURE_UNAVAILABLE" not in parsed):
            content = (folder / "pkcs7_data.bin").read_bytes()
            yield Case(path, REJECTED, functools.partial(signature, content=content))


MBEDTLS_RESULTS = {"good": VERIFIES, "MBEDTLS_ERR_RSA_VERIFY_FAILED": FAILS}


def _judge(path: Path, cases: Sequence[Mapping[str, Any]]) -> str:
    words = []
    for case in cases:
        content = (path.parent / case["detached_content"]).read_bytes()
        held = {_by_key(path, certificate_in(path.parent / one), content) for one in case["signers"]}
        words.append({(True,): VERIFIES, (False,): FAILS}.get(tuple(held), "verifies with some keys"))
    return ", ".join(words)


def _by_key(path: Path, signer_certificate: Certificate, content: bytes) -> bool:
    """Whether some signature is by this key, whatever certificate its signer meant."""
    signed = signed_data.parse_signed_data(content_info.parse(path.read_bytes()).content)
    for signer in signed.signers:
        try:
            signed_data.verify(signer, content, oids.ID_DATA, signer_certificate, allow_no_attributes=True)
        except SignatureInvalid:
            continue
        return True
    return False


# how a verdict of the collector begins, and what agrees with it; others are about work or about header fields
ATTACK_VERDICTS: dict[str, Collection[str]] = {
    "reject": REJECTED,
    "bounded": UNHANDLED,
    "verifies": HOLDS,
    "decrypts; unsigned": {OPENS},
    "CBC gives no integrity": {OPENS},
    "the encrypted part is not the root": {NO_CMS},
    "not validly signed": UNHANDLED,
}


def by_collector() -> Iterator[Case]:
    for name, entry in load("collector-made-attacks", "expected.json").get("files", {}).items():
        said = next((words for start, words in ATTACK_VERDICTS.items() if entry["verdict"].startswith(start)), None)
        if said is not None:
            key = CORPORA / "rfc9216/bob.encrypt.key.pem"
            ask = functools.partial(signed_or_opened, key=key, sha256=_plaintext("collector-made-attacks", name))
            yield Case(f"collector-made-attacks/{name}", said, ask)


def by_nist() -> Iterator[Case]:
    """Mathematics only: what their paths come to is in tests/trust/test_pkits.py."""
    for path in sorted((CORPORA / "nist-pkits/smime").glob("*.eml")):
        yield Case(f"nist-pkits/smime/{path.name}", HOLDS, signature)


def by_cryptlib() -> Iterator[Case]:
    """Signature types and naming are in tests/spec/test_cryptlib.py."""
    others = functools.partial(certificates_of, "cryptlib-domsec")
    for path in sorted((CORPORA / "cryptlib-domsec").glob("*.eml")):
        yield Case(f"cryptlib-domsec/{path.name}", HOLDS, functools.partial(signature, others=others))


EXPECTED: dict[str, Callable[[], Iterator[Case]]] = {
    "rfc4134": by_rfc4134,
    "rfc9216": by_rfc9216,
    "thunderbird": by_thunderbird,
    "openssl": by_openssl,
    "bouncycastle": by_bouncycastle,
    "mbedtls-pkcs7": by_mbedtls,
    "pyca": by_pyca,
    "cms-lib-fixtures": lambda: iter(()),
    "direct-project": lambda: iter(()),
    "misc-smime": lambda: iter(()),
    "rfc-structures": lambda: iter(()),
    "cryptlib-domsec": by_cryptlib,
    "mail-parsers": lambda: iter(()),
    "fuzz-cms": lambda: iter(()),
    "collector-made-attacks": by_collector,
    "nist-pkits": by_nist,
}


def cases(family: str) -> list[Case]:
    """Every file of the family of which somebody says something."""
    found = {case.path: case for case in by_oracle(family)}
    found.update((case.path, case) for case in EXPECTED[family]())
    return [found[path] for path in sorted(found)]


def files(family: str) -> list[Path]:
    """Every file of a family but what describes it."""
    about = ("PROVENANCE.md", "expected.json", "oracle.json")
    return [path for path in sorted((CORPORA / family).rglob("*")) if path.is_file() and path.name not in about]
