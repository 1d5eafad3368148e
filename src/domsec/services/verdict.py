"""What was found in a message: never a bare yes or no (spec/algorithms.md (b)).

A `Flag` is something seen that is worth saying; `CODES` is the catalogue of them, with severity and clause. A code is a
stable identifier: people filter on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

JSON = None | bool | int | str | list["JSON"] | dict[str, "JSON"]


class Severity(StrEnum):
    """How bad. A violation is what RFC 3183 says MUST be flagged, and what a safe verifier must not accept."""

    INFO = "info"
    WARNING = "warning"
    VIOLATION = "violation"


@dataclass(frozen=True, slots=True)
class Code:
    """One line of the catalogue."""

    severity: Severity
    clause: str
    meaning: str
    would_pass: str = ""


def _catalogue(severity: Severity, *lines: tuple[str, str, str, str]) -> dict[str, Code]:
    return {code: Code(severity, clause, meaning, would_pass) for code, clause, meaning, would_pass in lines}


_NAMING = "RFC 3183 3.1.1"
_ONE_CN = "exactly one CN, equal to the role name"
CODES: Final[Mapping[str, Code]] = {
    **_catalogue(
        Severity.VIOLATION,
        ("naming.cn", _NAMING, "the common name is not the role name", _ONE_CN),
        ("naming.cn_missing", _NAMING, "the subject has no common name", _ONE_CN),
        ("naming.cn_multiple", _NAMING, "the subject has several common names", _ONE_CN),
        ("naming.rfc822_local", _NAMING, "an address of the certificate is not the role's", "role-name@domain only"),
        ("naming.lookalike", _NAMING, "a name only looks like the role name", "the role name in ASCII letters"),
        ("naming.no_address", "decisions A-14", "the agreed convention wants an address", "role-name@domain"),
        ("naming.not_pinned", "decisions A-14", "not the certificate agreed for the domain", "a pinned certificate"),
        ("mapping.mismatch", _NAMING, "the authority's domain does not cover the originator",
         "a domain equal to, or above, that of every From address"),
        ("mapping.not_comparable", _NAMING, "no name of the authority can be compared", "an address"),
        ("mapping.no_mail_form", "decisions A-16", "only an unproven directory name connects authority and originator",
         "an authority address in the domain of the From address"),
        ("mapping.too_general", "decisions A-19", "the authority speaks for a public suffix",
         "at least two labels, and no public suffix"),
        ("sigtype.multiple", "RFC 3183 3.1.2", "several signature type attributes", "at most one"),
        ("sigtype.syntax", "RFC 3183 3.1.2", "the signature type cannot be read", "SEQUENCE OF OBJECT IDENTIFIER"),
        ("sigtype.inconsistent", "RFC 3183 3.1.2", "the signers of a layer state different types", "the same in each"),
        ("sigtype.addattr_not_alone", "RFC 3183 3.3", "additional attributes stands beside another type", "alone"),
        ("encapsulation.missing", "RFC 3183 3.1.2", "a DOMSEC signature with nothing signed inside",
         "a signature, or the empty one, below it"),
        ("null.uncovered", "RFC 3183 3", "an empty signature that no DOMSEC signature encloses",
         "a DOMSEC signature directly around it"),
        ("null.econtenttype", "RFC 3183 3", "an empty signature over something else than id-data", "id-data"),
        ("null.detached", "RFC 3183 3", "an empty signature without its content", "the content inside"),
        ("coverage.ciphertext_only", "RFC 8551 3.7", "the domain signature covers only ciphertext",
         "a signature inside the encryption"),
        ("enc_agent.mapping", "RFC 3183 4.1", "the encrypting authority does not cover the originator",
         "originatorInfo with an authority of the From domain"),
        ("from.invalid", "RFC 5322 3.6.2", "there is no single usable From field", "one From field with mailboxes"),
        ("from.outer_inner_differ", "decisions A-21", "the protected From differs from the outer one", "the same"),
        ("address.invalid", "decisions A-20", "an address cannot be used", "a mailbox with a proper domain"),
        ("attrs.not_der", "RFC 5652 5.3", "the signed attributes are not DER", "DER"),
        ("attrs.cardinality", "RFC 5652 11", "an attribute is missing, doubled, or has several values", "one each"),
        ("attrs.confusion", "RFC 5652 5.4", "the content is a set of signed attributes", "a message"),
        ("attrs.absent", "decisions A-47", "a signature without signed attributes", "signed attributes"),
        ("alg.weak", "decisions A-47", "an algorithm or key that no longer proves anything", "SHA-256 or better, "
         "RSA of 2048 bits or more, ECDSA, Ed25519"),
        ("multisig.removed", "RFC 5752", "a signature that this one names was removed", "all siblings"),
        ("mime.signature_has_content", "threats T-04", "a detached signature with a content of its own", "none"),
        ("mime.parts", "RFC 1847", "multipart/signed does not have two parts", "two parts"),
        ("mime.duplicate_header", "threats T-24", "Content-Type or Content-Transfer-Encoding stands twice", "once"),
        ("mime.content_type", "RFC 2045 5", "Content-Type cannot be read", "a well-formed one"),
        ("mime.duplicate_parameter", "threats T-24", "a parameter of Content-Type stands twice", "once"),
        ("mime.transfer_encoding", "RFC 2045 6", "an unknown transfer encoding", "base64, quoted-printable or none"),
        ("mime.malformed", "RFC 2045", "a security layer's MIME cannot be read", "well-formed MIME"),
        ("cms.malformed", "RFC 5652", "a security layer's CMS cannot be read", "well-formed CMS"),
        ("cms.no_content", "RFC 5652 5", "signers, but nothing signed", "content"),
        ("domain.missing", "threats T-11", "the domain signs all its mail, but not validly this",
         "a valid one"),
        ("signature.invalid", "RFC 5652 5.6", "the domain signature does not hold", "a valid signature and path"),
        ("label.conflict", "RFC 2634 3", "labels differ", "the same label in each SignerInfo"),
        ("label.unknown_policy", "RFC 2634 3", "a label nobody here can judge", "a known security policy"),
        ("mlh.conflict", "RFC 2634 4", "the signers state different expansion histories", "the same"),
        ("mlh.overflow", "RFC 2634 4", "the expansion history is full", "at most 64 entries"),
        ("limit.exceeded", "decisions A-57", "a limit was hit", "less of it"),
    ),
    **_catalogue(
        Severity.WARNING,
        ("sigtype.multi_value", "RFC 3183 3.1.2", "the signature type has several values", "one"),
        ("sigtype.repeated", "RFC 3183 3.1.2", "a signature type is repeated", "each once"),
        ("sigtype.unsigned", "RFC 3183 3.1.2", "an unsigned signature type is ignored", "a signed one"),
        ("null.redundant", "decisions A-08", "an empty signature around something signed", "none"),
        ("coverage.unknown", "decisions A-41", "encryption below the domain signature is closed here", "opened"),
        ("enc.unsigned", "RFC 3183 6", "encrypted, and not signed", "a domain signature inside"),
        ("enc.unauthenticated", "RFC 8551 2.7", "the cipher does not authenticate", "AES-GCM or a signature"),
        ("sender.mismatch", "decisions A-21", "Sender lies outside the domain", "Sender in the domain"),
        ("inner.invalid", "RFC 3183 3.2", "the originator's signature does not hold", "a valid one"),
        ("alg.invalid_sibling", "RFC 4853", "another signature of the signer does not hold", "all of them valid"),
        ("multisig.added", "RFC 5752 4.6", "the signer has more signatures than this one names", "all of them named"),
        ("attrs.order", "RFC 5652 5.4", "signed attributes signed in the order sent, not in DER", "DER order"),
        ("ess.placement", "RFC 2634 1.3.4", "an attribute stands where it may not, and is not used", "its place"),
        ("ess.cardinality", "RFC 2634 1.3.4", "an attribute stands too often, and is not used", "once"),
        ("mime.outside_text", "RFC 1847", "text outside the parts is ignored", "none"),
        ("mime.smime_type", "RFC 8551 3.2", "smime-type does not fit the structure", "the fitting one"),
        ("mime.base64", "RFC 2045 6.8", "base64 with something else in between", "clean base64"),
        ("mime.boundary", "RFC 2046 5.1.1", "a line that is almost a boundary", "none"),
        ("mime.bad_field", "RFC 5322 2.2", "a line in the header that is no field", "fields only"),
        ("cms.trailing", "RFC 5652", "octets after the structure", "none"),
        ("cms.unsupported", "RFC 5652", "a content type that is not handled", "a handled one"),
        ("cms.digest_algorithms", "RFC 5652 5.1", "the list of digests does not fit the signers", "the digests used"),
        ("from.unusual", "decisions A-21", "the protected header says something else than the outer", "the same"),
        ("signing_time.future", "decisions A-49", "signed more than a day from now", "a time that has been"),
    ),
    **_catalogue(
        Severity.INFO,
        ("naming.convention", "RFC 3183 3.1.1", "an agreed local naming convention was applied", ""),
        ("sigtype.legacy_oid", "decisions A-01", "the attribute is identified by id-sti", ""),
        ("sigtype.unknown", "decisions A-04", "a type value that is not known", ""),
        ("encapsulation.unknown", "decisions A-09", "what lies below is closed here", ""),
        ("enc_agent.unknown", "decisions A-36", "the encrypting authority does not say who it is", ""),
        ("alg.unsupported_sibling", "decisions A-52", "another SignerInfo of the signer is not supported", ""),
        ("countersignature.invalid", "RFC 5652 11.4", "a signature over a signature does not hold", ""),
        ("mime.embedded", "decisions A-10", "a protected part inside the content is not judged", ""),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flag:
    """Something seen: in which layer (None: in the message), and in words."""

    severity: Severity
    code: str
    layer: str | None
    text: str
    clause: str


def flag(code: str, text: str = "", layer: str | None = None, severity: Severity | None = None) -> Flag:
    """A flag of the catalogue. `limit.*` share one entry."""
    entry = CODES["limit.exceeded"] if code.startswith("limit.") else CODES[code]
    return Flag(severity or entry.severity, code, layer, text or entry.meaning, entry.clause)


Level = Literal["none", "domain", "originator_vouched", "originator_direct"]
State = Literal["valid", "invalid", "untrusted", "weak", "unsupported", "no_certificate", "null"]
Crypto = Literal["valid", "invalid", "weak", "unsupported", "no_certificate"]
PathState = Literal["valid", "invalid", "untrusted", "unknown"]
Address = Literal["match", "mismatch", "not_present"]
Coverage = Literal["plaintext", "through_encryption", "ciphertext", "unknown"]


@dataclass(frozen=True, slots=True)
class CountersignatureVerdict:
    """Somebody's signature over a signature, and those over it: nothing is concluded from them (decisions A-26)."""

    subject: str | None  # None, and so on, where the certificate is not at hand
    issuer: str | None
    serial: str | None  # hexadecimal
    sha256: str | None
    addresses: tuple[str, ...]
    crypto: Crypto
    path: PathState | None  # to an anchor of the users' store
    reason: str  # why it does not hold, or its path is not valid
    digest: str
    algorithm: str
    signing_time: str | None
    countersignatures: tuple[CountersignatureVerdict, ...]


@dataclass(frozen=True, slots=True)
class SignerVerdict:
    """One SignerInfo. The fields up to `addresses` are None or empty where the certificate is not at hand."""

    subject: str | None
    issuer: str | None
    serial: str | None  # hexadecimal
    sha256: str | None
    addresses: tuple[str, ...]
    crypto: Crypto
    path: PathState | None
    path_reason: str
    revocation: str | None
    usage: tuple[str, ...]  # why the certificate may not sign; empty if it may
    types: tuple[str, ...] | None  # None: the attribute is absent
    digest: str
    algorithm: str
    signing_time: str | None
    attributes: Mapping[str, str]  # OID to name, signed ones
    ess: Mapping[str, JSON]  # name to value of those of RFC 2634; None: unreadable, or not there exactly once
    countersignatures: tuple[CountersignatureVerdict, ...]
    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class EncryptionVerdict:
    """What is known of one encryption layer."""

    opened: bool
    opened_by: str | None  # subject of our certificate
    cipher: str
    authenticated: bool
    recipients: tuple[str, ...]
    originator: tuple[str, ...]  # subjects in originatorInfo


@dataclass(frozen=True, slots=True)
class LayerVerdict:
    """One layer, judged."""

    id: str
    kind: str
    form: str
    roles: tuple[str, ...]
    state: State | None
    coverage: Coverage | None
    signers: tuple[SignerVerdict, ...]
    naming: Mapping[str, tuple[str, ...]]  # role to codes; no code: granted
    mapping: Mapping[str, JSON] | None
    address: Address | None
    encryption: EncryptionVerdict | None
    expansion_history: bool
    flags: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class Originator:
    """Who wrote the message, as far as that is known, and who says so."""

    name: str
    addresses: tuple[str, ...]
    source: Literal["certificate", "stated_by_domain"]


@dataclass(frozen=True, slots=True)
class From:
    """What the header says: never verified by itself."""

    mailboxes: tuple[str, ...]
    valid: bool
    inner: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelCategory:
    """A security category: the OID of its type, and its value in hexadecimal."""

    type: str
    value: str


@dataclass(frozen=True, slots=True)
class Label:
    """A security label (RFC 2634 3), and who put it on which layer."""

    layer: str
    signer: str | None
    policy: str
    classification: int | None
    privacy_mark: str | None
    categories: tuple[LabelCategory, ...]


@dataclass(frozen=True, slots=True)
class EquivalentLabel(Label):
    """A label in the words of another policy; `trusted` tells whether its signer may translate to that."""

    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a message, from layers whose signature is valid (decisions A-50).

    The original is that of the innermost originator; equivalents and aggregates stand from inside out.
    """

    original: Label | None = None
    equivalent: tuple[EquivalentLabel, ...] = ()
    aggregate: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiptPolicy:
    """What a mail list does with receipt requests: "none", "insteadOf" or "inAdditionTo", and whose names it adds."""

    policy: str
    names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Expansion:
    """That a mail list expanded the message (RFC 2634 4.4, MLData)."""

    mail_list_identifier: str
    expansion_time: str
    receipt_policy: ReceiptPolicy | None


@dataclass(frozen=True, slots=True)
class Embedded:
    """A protected part inside the content: it has no part in the verdict, and is not judged by itself (A-10)."""

    part: str  # as IMAP numbers them
    verdict: None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that may be believed of a message, and why."""

    accepted: bool
    level: Level
    domain: str | None  # of the authority the level rests on
    originator: Originator | None
    from_: From
    headers: tuple[str, ...] | None  # protected fields; None: unprotected
    structure: str
    layers: tuple[LayerVerdict, ...]
    reviewed_by: tuple[str, ...]
    additional_attributes: tuple[str, ...]
    labels: Labels
    mlh: tuple[Expansion, ...]  # the lists that expanded the message, the last one last
    embedded: tuple[Embedded, ...]
    flags: tuple[Flag, ...]
    decrypted: bool
    ended_at: str | None  # a place in the local log for what is not told

    @property
    def violations(self) -> tuple[Flag, ...]:
        return tuple(f for f in self.flags if f.severity is Severity.VIOLATION)

    @property
    def malformed(self) -> bool:
        """Whether part of the message could not be read, or a limit was hit."""
        return unreadable(self.flags)

    def to_json(self) -> dict[str, JSON]:
        """The keys of CONTRACT.md section 4."""
        return document(self, self.headers)


def unreadable(flags: Iterable[Flag]) -> bool:
    """Whether one of these says that something could not be read, or a limit was hit."""
    return any(f.code in ("cms.malformed", "mime.malformed") or f.code.startswith("limit.") for f in flags)


def document(judged: object, headers: tuple[str, ...] | None) -> dict[str, JSON]:
    """A verdict or a description under the keys of CONTRACT.md section 4."""
    plain = as_json(judged)
    assert isinstance(plain, dict)
    plain["from"] = plain.pop("from_")
    plain["headers"] = list(headers) if headers is not None else "unprotected"
    return plain


def as_json(value: object) -> JSON:
    """Dataclasses, mappings and sequences as what `json` writes."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Iterable):
        return [as_json(item) for item in value]
    raise TypeError(type(value).__name__)
