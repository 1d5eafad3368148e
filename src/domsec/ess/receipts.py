"""Receipts and what identifies a content (RFC 2634 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from domsec import der
from domsec.der import Octets
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.ess.names import GeneralNames, check_many_names, read_many_names, write_many_names
from domsec.ess.reading import check_oid, open_value, read_octets, text_of, utf8

UB_RECEIPTS_TO: Final = 16
MAX_DIGEST: Final = 64  # octets of SHA-512
_ALL_OR_FIRST_TIER: Final = der.context(0, constructed=False)
_RECEIPT_LIST: Final = der.context(1)
AllOrFirstTier = Literal["allReceipts", "firstTierRecipients"]
_TIERS: Final[tuple[AllOrFirstTier, ...]] = ("allReceipts", "firstTierRecipients")
ReceiptsFrom = AllOrFirstTier | tuple[GeneralNames, ...]


@dataclass(frozen=True, slots=True)
class ContentIdentifier:
    """2.7: what the sender calls a content, unlike any other content in the world."""

    octets: bytes

    @classmethod
    def read(cls, value: Octets) -> ContentIdentifier:
        reader = open_value(value)
        octets = read_octets(reader)
        reader.end()
        return cls(octets)

    def write(self) -> bytes:
        return der.octet_string(self.octets)


@dataclass(frozen=True, slots=True)
class ReceiptRequest:
    """2.7: who shall send a receipt, and to whom. `receipts_from` is a tier, or names for each of those asked."""

    signed_content_identifier: bytes
    receipts_from: ReceiptsFrom
    receipts_to: tuple[GeneralNames, ...]

    def __post_init__(self) -> None:
        if not self.receipts_to:
            raise MalformedMessage("a receipt request does not say where the receipts go")
        if len(self.receipts_to) > UB_RECEIPTS_TO:
            raise LimitExceeded("receipts_to", f"receipts for {len(self.receipts_to)}, at most {UB_RECEIPTS_TO}")
        check_many_names(self.receipts_to)
        if isinstance(self.receipts_from, tuple):
            check_many_names(self.receipts_from)

    @classmethod
    def read(cls, value: Octets) -> ReceiptRequest:
        reader = open_value(value)
        reader.enter(der.SEQUENCE)
        identifier = read_octets(reader)
        receipts_from: ReceiptsFrom
        if reader.peek() == _ALL_OR_FIRST_TIER:
            tier = reader.integer(_ALL_OR_FIRST_TIER)
            if not 0 <= tier < len(_TIERS):
                raise MalformedMessage("receipts from a tier that nobody knows")
            receipts_from = _TIERS[tier]
        else:
            receipts_from = read_many_names(reader, _RECEIPT_LIST)
        receipts_to = read_many_names(reader, der.SEQUENCE)
        reader.leave()
        reader.end()
        return cls(identifier, receipts_from, receipts_to)

    def write(self) -> bytes:
        if isinstance(self.receipts_from, tuple):
            receipts_from = write_many_names(_RECEIPT_LIST, self.receipts_from)
        else:
            receipts_from = der.integer(_TIERS.index(self.receipts_from), _ALL_OR_FIRST_TIER)
        receipts_to = write_many_names(der.SEQUENCE, self.receipts_to)
        return der.sequence(der.octet_string(self.signed_content_identifier), receipts_from, receipts_to)


@dataclass(frozen=True, slots=True)
class ContentReference:
    """2.11: the content that this one answers, by what identifies it in its signature."""

    content_type: str
    signed_content_identifier: bytes
    originator_signature_value: bytes

    def __post_init__(self) -> None:
        check_oid(self.content_type)

    @classmethod
    def read(cls, value: Octets) -> ContentReference:
        reader = open_value(value)
        reader.enter(der.SEQUENCE)
        found = cls(reader.oid(), read_octets(reader), read_octets(reader))
        reader.leave()
        reader.end()
        return found

    def write(self) -> bytes:
        return der.sequence(
            der.oid(self.content_type),
            der.octet_string(self.signed_content_identifier),
            der.octet_string(self.originator_signature_value),
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """2.8: the content of type id-ct-receipt, by itself in eContent. Version 1 is the only one there is."""

    content_type: str
    signed_content_identifier: bytes
    originator_signature_value: bytes

    def __post_init__(self) -> None:
        check_oid(self.content_type)

    @classmethod
    def read(cls, value: Octets) -> Receipt:
        reader = open_value(value)
        reader.enter(der.SEQUENCE)
        if reader.integer() != 1:
            raise MalformedMessage("a receipt of another version than 1")
        found = cls(reader.oid(), read_octets(reader), read_octets(reader))
        reader.leave()
        reader.end()
        return found

    def write(self) -> bytes:
        return der.sequence(
            der.integer(1),
            der.oid(self.content_type),
            der.octet_string(self.signed_content_identifier),
            der.octet_string(self.originator_signature_value),
        )


@dataclass(frozen=True, slots=True)
class MsgSigDigest:
    """2.10: the digest of the signed attributes that a receipt is for."""

    digest: bytes

    def __post_init__(self) -> None:
        if not 0 < len(self.digest) <= MAX_DIGEST:
            raise MalformedMessage(f"a digest of {len(self.digest)} octets")

    @classmethod
    def read(cls, value: Octets) -> MsgSigDigest:
        reader = open_value(value)
        digest = read_octets(reader)
        reader.end()
        return cls(digest)

    def write(self) -> bytes:
        return der.octet_string(self.digest)


@dataclass(frozen=True, slots=True)
class ContentHints:
    """2.9: what the innermost content is, for those who see only ciphertext."""

    content_type: str
    content_description: str | None = None

    def __post_init__(self) -> None:
        check_oid(self.content_type)
        if self.content_description == "":
            raise MalformedMessage("a content description that is empty")

    @classmethod
    def read(cls, value: Octets) -> ContentHints:
        reader = open_value(value)
        reader.enter(der.SEQUENCE)
        description = None
        if reader.peek() == der.UTF8_STRING:
            description = text_of(reader.primitive(der.UTF8_STRING), "utf-8")
        content_type = reader.oid()
        reader.leave()
        reader.end()
        return cls(content_type, description)

    def write(self) -> bytes:
        description = b"" if self.content_description is None else utf8(self.content_description)
        return der.sequence(description, der.oid(self.content_type))
