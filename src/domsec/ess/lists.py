"""Mail lists: who expanded a message, and what that means for receipts (RFC 2634 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from domsec import der
from domsec.cms.certificates import IssuerAndSerialNumber, SubjectKeyIdentifier, read_issuer_and_serial
from domsec.der import Octets
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.ess.names import GeneralNames, check_many_names, read_many_names, write_many_names
from domsec.ess.reading import open_value, read_octets

UB_ML_EXPANSION_HISTORY: Final = 64
_POLICY_NONE: Final = der.context(0, constructed=False)
_POLICY_INSTEAD_OF: Final = der.context(1)
_POLICY_IN_ADDITION_TO: Final = der.context(2)
EntityIdentifier = IssuerAndSerialNumber | SubjectKeyIdentifier
PolicyChoice = Literal["none", "insteadOf", "inAdditionTo"]
_POLICIES: Final[Mapping[int, PolicyChoice]] = {
    _POLICY_NONE: "none",
    _POLICY_INSTEAD_OF: "insteadOf",
    _POLICY_IN_ADDITION_TO: "inAdditionTo",
}
_POLICY_TAGS: Final = {choice: tag for tag, choice in _POLICIES.items()}


@dataclass(frozen=True, slots=True)
class MLReceiptPolicy:
    """4.4: what a list does with receipt requests. `names` are those who get the receipts, none for "none"."""

    choice: PolicyChoice
    names: tuple[GeneralNames, ...] = ()

    def __post_init__(self) -> None:
        if (self.choice == "none") != (not self.names):
            raise MalformedMessage("a receipt policy that does not say whose receipts it means")
        check_many_names(self.names)

    @classmethod
    def _read(cls, reader: der.Reader) -> MLReceiptPolicy:
        choice = _POLICIES.get(reader.peek() or 0)
        if choice is None:
            raise MalformedMessage("a receipt policy that nobody knows")
        if choice != "none":
            return cls(choice, read_many_names(reader, _POLICY_TAGS[choice]))
        if len(reader.primitive(_POLICY_NONE)):
            raise MalformedMessage("a null with content")
        return cls("none")

    def write(self) -> bytes:
        return write_many_names(_POLICY_TAGS[self.choice], self.names)


def union(previous: MLReceiptPolicy | None, own: MLReceiptPolicy | None) -> MLReceiptPolicy | None:
    """What list `own` writes into the history after list `previous` (4.3); None is a policy that is missing."""
    if previous is None or own is None:
        return previous or own
    if "none" in (previous.choice, own.choice):
        return MLReceiptPolicy("none")
    if own.choice == "insteadOf":
        return own
    return MLReceiptPolicy(previous.choice, tuple(dict.fromkeys((*previous.names, *own.names))))


@dataclass(frozen=True, slots=True)
class MLData:
    """4.4: that one list expanded the message. `expansion_time` is aware; fractions of a second are dropped."""

    mail_list_identifier: EntityIdentifier
    expansion_time: datetime
    receipt_policy: MLReceiptPolicy | None = None

    @classmethod
    def _read(cls, reader: der.Reader) -> MLData:
        reader.enter(der.SEQUENCE)
        identifier: EntityIdentifier
        if reader.peek() == der.SEQUENCE:
            identifier = read_issuer_and_serial(reader)
        else:
            identifier = SubjectKeyIdentifier(read_octets(reader))
        if reader.peek() != der.GENERALIZED_TIME:
            raise MalformedMessage("an expansion without time")
        when = reader.time()
        policy = None if reader.at_end() else MLReceiptPolicy._read(reader)
        reader.leave()
        return cls(identifier, when, policy)

    def write(self) -> bytes:
        who = self.mail_list_identifier
        when = self.expansion_time.astimezone(UTC)
        return der.sequence(
            der.octet_string(who.key_identifier)
            if isinstance(who, SubjectKeyIdentifier)
            else der.sequence(who.issuer, der.integer(who.serial)),
            der.tlv(der.GENERALIZED_TIME, f"{when.year:04}{when:%m%d%H%M%S}Z".encode()),
            self.receipt_policy.write() if self.receipt_policy else b"",
        )


@dataclass(frozen=True, slots=True)
class MLExpansionHistory:
    """4.4: the lists that expanded the message, the last one last."""

    entries: tuple[MLData, ...]

    def __post_init__(self) -> None:
        if not self.entries:
            raise MalformedMessage("an expansion history without an expansion")
        if len(self.entries) > UB_ML_EXPANSION_HISTORY:
            raise LimitExceeded("ml_expansion_history", f"more than {UB_ML_EXPANSION_HISTORY} lists")

    @classmethod
    def read(cls, value: Octets) -> MLExpansionHistory:
        reader = open_value(value)
        entries: list[MLData] = []
        reader.enter(der.SEQUENCE)
        while not reader.at_end():
            if len(entries) == UB_ML_EXPANSION_HISTORY:
                raise LimitExceeded("ml_expansion_history", f"more than {UB_ML_EXPANSION_HISTORY} lists")
            entries.append(MLData._read(reader))
        reader.leave()
        reader.end()
        return cls(tuple(entries))

    def write(self) -> bytes:
        return der.sequence(*(entry.write() for entry in self.entries))
