"""Security labels (RFC 2634 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from domsec import der
from domsec.der import Octets
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.ess.reading import check_oid, open_value, text_of, utf8

UB_INTEGER_OPTIONS: Final = 256
UB_PRIVACY_MARK_LENGTH: Final = 128
UB_SECURITY_CATEGORIES: Final = 64
MAX_LABELS: Final = 64  # in one EquivalentLabels; its module sets no bound
_CATEGORY_TYPE: Final = der.context(0, constructed=False)
_CATEGORY_VALUE: Final = der.context(1)
_CATEGORY_VALUE_IMPLICIT: Final = der.context(1, constructed=False)


@dataclass(frozen=True, slots=True)
class ESSPrivacyMark:
    """3.2: words for people, never compared."""

    text: str
    choice: Literal["pString", "utf8String"] = "utf8String"

    def __post_init__(self) -> None:
        if not self.text:
            raise MalformedMessage("a privacy mark that is empty")
        if self.choice == "pString" and not self.text.isascii():
            raise MalformedMessage("a privacy mark that is not printable")
        if self.choice == "pString" and len(self.text) > UB_PRIVACY_MARK_LENGTH:
            raise LimitExceeded("privacy_mark_length")
        utf8(self.text)

    def write(self) -> bytes:
        if self.choice == "utf8String":
            return der.utf8(self.text)
        return der.tlv(der.PRINTABLE_STRING, self.text.encode("ascii"))


@dataclass(frozen=True, slots=True)
class SecurityCategory:
    """3.2: what the policy says beyond a classification.

    `value` is the content of the tag [1], usually one complete value. The tag should be EXPLICIT since the type is
    ANY; some wrote it as a primitive one, and then it stays so.
    """

    type: str
    value: bytes
    primitive: bool = False

    def __post_init__(self) -> None:
        check_oid(self.type)

    def write(self) -> bytes:
        tag = _CATEGORY_VALUE_IMPLICIT if self.primitive else _CATEGORY_VALUE
        return der.sequence(der.implicit(0, der.oid(self.type)), der.tlv(tag, self.value))


@dataclass(frozen=True, slots=True)
class ESSSecurityLabel:
    """3.2. Numbers and categories mean nothing without the policy (3.3.2).

    `mark_first`: DER orders a SET by tag numbers, which puts the categories before a PrintableString. RFC 4134 4.10
    and others that sorted octets have it the other way round; what was read so is written so.
    """

    security_policy_identifier: str
    security_classification: int | None = None
    privacy_mark: ESSPrivacyMark | None = None
    security_categories: tuple[SecurityCategory, ...] = ()
    mark_first: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        check_oid(self.security_policy_identifier)
        classification = self.security_classification
        if classification is not None and not 0 <= classification <= UB_INTEGER_OPTIONS:
            raise MalformedMessage("a security classification out of range")
        if len(self.security_categories) > UB_SECURITY_CATEGORIES:
            raise LimitExceeded("security_categories")
        in_order = tuple(sorted(self.security_categories, key=SecurityCategory.write))  # a SET OF: none means anything
        object.__setattr__(self, "security_categories", in_order)

    @classmethod
    def read(cls, value: Octets) -> ESSSecurityLabel:
        reader = open_value(value)
        label = cls._read(reader)
        reader.end()
        return label

    @classmethod
    def _read(cls, reader: der.Reader) -> ESSSecurityLabel:
        policy: str | None = None
        classification: int | None = None
        mark: ESSPrivacyMark | None = None
        categories: tuple[SecurityCategory, ...] = ()
        seen: list[str] = []
        reader.enter(der.SET)
        while not reader.at_end():  # a SET comes in any order
            tag = reader.peek()
            if tag == der.OID:
                policy = reader.oid()
            elif tag == der.INTEGER:
                classification = reader.integer()
            elif tag == der.PRINTABLE_STRING:
                mark = ESSPrivacyMark(text_of(reader.primitive(tag), "ascii"), "pString")
            elif tag == der.UTF8_STRING:
                mark = ESSPrivacyMark(text_of(reader.primitive(tag), "utf-8"))
            elif tag == der.SET:
                categories = read_categories(reader)
            else:
                raise MalformedMessage("a security label with something in it that does not belong there")
            seen.append("mark" if tag in (der.PRINTABLE_STRING, der.UTF8_STRING) else str(tag))
        reader.leave()
        if policy is None:
            raise MalformedMessage("a security label without policy")
        if len(set(seen)) != len(seen):
            raise MalformedMessage("a security label says something twice")
        mark_first = mark is not None and bool(categories) and seen.index("mark") < seen.index(str(der.SET))
        return cls(policy, classification, mark, categories, mark_first)

    def write(self) -> bytes:
        mark, categories = self.privacy_mark, self.security_categories
        parts = [] if self.security_classification is None else [der.integer(self.security_classification)]
        parts.append(der.oid(self.security_policy_identifier))
        last = [der.set_of(category.write() for category in categories)] if categories else []
        if mark is not None:
            before = self.mark_first or mark.choice == "utf8String"
            last.insert(0 if before else len(last), mark.write())
        return der.tlv(der.SET, *parts, *last)


def read_categories(reader: der.Reader, tag: int = der.SET) -> tuple[SecurityCategory, ...]:
    """SecurityCategories, which stand in clearances as well. Raises MalformedMessage, LimitExceeded."""
    found: list[SecurityCategory] = []
    reader.enter(tag)
    while not reader.at_end():
        if len(found) == UB_SECURITY_CATEGORIES:
            raise LimitExceeded("security_categories")
        reader.enter(der.SEQUENCE)
        kind = der.Reader(der.tlv(der.OID, reader.primitive(_CATEGORY_TYPE))).oid()
        primitive = reader.peek() == _CATEGORY_VALUE_IMPLICIT
        value = bytes(reader.content(_CATEGORY_VALUE_IMPLICIT if primitive else _CATEGORY_VALUE))
        reader.leave()
        found.append(SecurityCategory(kind, value, primitive))
    reader.leave()
    if not found:
        raise MalformedMessage("a security label with a set of no categories")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class EquivalentLabels:
    """3.4: the same label in the words of other policies, says whoever signed it."""

    labels: tuple[ESSSecurityLabel, ...]

    def __post_init__(self) -> None:
        if not self.labels:
            raise MalformedMessage("equivalent labels without a label")
        if len(self.labels) > MAX_LABELS:
            raise LimitExceeded("equivalent_labels")

    @classmethod
    def read(cls, value: Octets) -> EquivalentLabels:
        reader = open_value(value)
        labels: list[ESSSecurityLabel] = []
        reader.enter(der.SEQUENCE)
        while not reader.at_end():
            if len(labels) == MAX_LABELS:
                raise LimitExceeded("equivalent_labels")
            labels.append(ESSSecurityLabel._read(reader))
        reader.leave()
        reader.end()
        return cls(tuple(labels))

    def write(self) -> bytes:
        return der.sequence(*(label.write() for label in self.labels))

    def repeats(self, original: ESSSecurityLabel | None = None) -> bool:
        """Whether a policy stands twice among these labels and the one they are equivalent to (3.4.1)."""
        policies = [label.security_policy_identifier for label in self.labels]
        policies += [original.security_policy_identifier] if original else []
        return len(set(policies)) != len(policies)
