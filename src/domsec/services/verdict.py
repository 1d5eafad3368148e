"""What was found in a message: never a bare yes or no (spec/algorithms.md (b)).

A `Flag` is something seen that is worth saying; `domsec.services.catalogue` has an entry for each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from domsec.services import catalogue
from domsec.services.catalogue import Severity

JSON = None | bool | int | str | list["JSON"] | dict[str, "JSON"]


@dataclass(frozen=True, slots=True)
class Flag:
    """Something seen: in which layer (None: in the message), and in words."""

    severity: Severity
    code: str
    layer: str | None
    text: str
    clause: str


def flag(code: str, text: str = "", layer: str | None = None, severity: Severity | None = None) -> Flag:
    """A flag of the catalogue. Raises KeyError for what is not in it."""
    entry = catalogue.entry(code)
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
    """One SignerInfo. The fields up to `x400_addresses` are None or empty where the certificate is not at hand."""

    subject: str | None
    issuer: str | None
    serial: str | None  # hexadecimal
    sha256: str | None
    addresses: tuple[str, ...]
    x400_addresses: tuple[str, ...]
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
    marking: str | None  # in the words of its policy; None where that is not known here, or has no such label


@dataclass(frozen=True, slots=True)
class EquivalentLabel(Label):
    """A label in the words of another policy; `trusted` tells whether its signer may translate to that."""

    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a message, from layers whose signature is valid (decisions A-50).

    The original is that of the innermost originator; equivalents and aggregates stand from inside out. The effective
    one is that whose policy is known: the original, or else the first equivalent from who may translate.
    """

    original: Label | None = None
    equivalent: tuple[EquivalentLabel, ...] = ()
    aggregate: tuple[Label, ...] = ()
    effective: Label | None = None


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
    """A protected part inside the content, judged by itself: it has no part in the verdict on the message (A-10)."""

    part: str  # as IMAP numbers them
    verdict: Verdict | None = None  # None: not judged, for too many or too large, or since nobody asked for it

    def __str__(self) -> str:
        if self.verdict is None:
            return f"{self.part} not judged"
        domain = f", domain {self.verdict.domain}" if self.verdict.domain else ""
        outcome = "accepted" if self.verdict.accepted else "not accepted"
        return f"{self.part} {self.verdict.structure} {outcome}, level {self.verdict.level}{domain}"


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
    return any(
        f.code in ("cms.malformed", "mime.malformed", "x400.malformed") or f.code.startswith("limit.") for f in flags
    )


def document(judged: object, headers: tuple[str, ...] | None) -> dict[str, JSON]:
    """A verdict or a description under the keys of CONTRACT.md section 4."""
    assert dataclasses.is_dataclass(judged)
    plain = {field.name: as_json(getattr(judged, field.name)) for field in dataclasses.fields(judged)}
    plain["from"] = plain.pop("from_")
    plain["headers"] = list(headers) if headers is not None else "unprotected"
    return plain


def as_json(value: object) -> JSON:
    """Dataclasses, mappings and sequences as what `json` writes."""
    if isinstance(value, Verdict):
        return value.to_json()
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
