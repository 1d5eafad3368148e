"""Each value of RFC 2634, RFC 5035 and RFC 7508: written, read again, and refused where its type says no."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec import der, oids
from domsec.cms.attributes import distinguished, is_distinguished
from domsec.cms.certificates import IssuerAndSerialNumber, SubjectKeyIdentifier
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.ess.labels import EquivalentLabels, ESSPrivacyMark, ESSSecurityLabel, SecurityCategory
from domsec.ess.lists import MLData, MLExpansionHistory, MLReceiptPolicy, union
from domsec.ess.names import MAX_NAMES, GeneralName, directory_name, mail_address
from domsec.ess.places import READ
from domsec.ess.receipts import (
    ContentHints,
    ContentIdentifier,
    ContentReference,
    MsgSigDigest,
    Receipt,
    ReceiptRequest,
)
from domsec.ess.secure_headers import SecureField, SecureHeaderFields

ALICE, BOB, CAROL = ((mail_address(f"{name}@acme.example"),) for name in ("alice", "bob", "carol"))
NAME = der.sequence(der.tlv(der.SET, der.sequence(der.oid(oids.COMMON_NAME), der.utf8("a list"))))
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIST = SubjectKeyIdentifier(b"a list")
READERS: dict[str, Callable[[bytes], Any]] = {**READ, oids.ID_CT_RECEIPT: Receipt.read}

# --- whatever is written is read again -------------------------------------------------------------------------------

# each arc in one octet or more, first two as X.660 wants them
oid_strings = st.tuples(
    st.sampled_from(["0.1", "1.2", "2.5", "2.999"]), st.lists(st.integers(0, 2**40), max_size=6)
).map(lambda parts: ".".join([parts[0], *map(str, parts[1])]))
octets = st.binary(max_size=80)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
ascii_texts = st.text(st.characters(max_codepoint=127), min_size=1, max_size=128)
names = st.one_of(
    texts.map(lambda local: mail_address(f"{local}@acme.example")),
    st.just(directory_name(NAME)),
    oid_strings.map(lambda oid: GeneralName(der.implicit(8, der.oid(oid)))),
)
many_names = st.lists(st.lists(names, min_size=1, max_size=3).map(tuple), min_size=1, max_size=4).map(tuple)
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(
    lambda when: when.replace(microsecond=0)
)
identifiers = st.one_of(
    octets.map(SubjectKeyIdentifier),
    st.integers(-(2**64), 2**160).map(lambda serial: IssuerAndSerialNumber(NAME, serial)),
)
policies = st.one_of(
    st.just(MLReceiptPolicy("none")),
    st.builds(MLReceiptPolicy, st.sampled_from(["insteadOf", "inAdditionTo"]), many_names),
)
categories = st.lists(
    st.builds(SecurityCategory, oid_strings, texts.map(der.utf8), st.booleans()),
    max_size=4,
    unique_by=lambda c: c.write(),
).map(lambda found: tuple(sorted(found, key=SecurityCategory.write)))
marks = st.one_of(st.builds(ESSPrivacyMark, texts), st.builds(ESSPrivacyMark, ascii_texts, st.just("pString")))
labels = st.builds(ESSSecurityLabel, oid_strings, st.none() | st.integers(0, 256), st.none() | marks, categories)
secure_fields = st.builds(
    SecureField,
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=20),
    st.just("") | texts,
    st.sampled_from(["duplicated", "deleted", "modified"]),
)
VALUES: dict[type[Any], st.SearchStrategy[Any]] = {
    ContentIdentifier: st.builds(ContentIdentifier, octets),
    ContentHints: st.builds(ContentHints, oid_strings, st.none() | texts),
    ContentReference: st.builds(ContentReference, oid_strings, octets, octets),
    Receipt: st.builds(Receipt, oid_strings, octets, octets),
    MsgSigDigest: st.binary(min_size=1, max_size=64).map(MsgSigDigest),
    ReceiptRequest: st.builds(
        ReceiptRequest, octets, st.sampled_from(["allReceipts", "firstTierRecipients"]) | many_names, many_names
    ),
    ESSSecurityLabel: labels,
    EquivalentLabels: st.lists(labels, min_size=1, max_size=4).map(tuple).map(EquivalentLabels),
    MLExpansionHistory: st.lists(st.builds(MLData, identifiers, times, st.none() | policies), min_size=1, max_size=4)
    .map(tuple)
    .map(MLExpansionHistory),
    SecureHeaderFields: st.builds(
        SecureHeaderFields, st.sampled_from(["simple", "relaxed"]), st.lists(secure_fields, min_size=1).map(tuple)
    ),
}


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_what_is_written_is_read_again(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(VALUES[kind])
    written = value.write()
    assert kind.read(written) == value
    assert kind.read(written).write() == written
    assert kind.read(memoryview(written)) == value
    assert is_distinguished(written)


@pytest.mark.parametrize("oid", READERS, ids=oids.name)
@given(value=st.binary(max_size=200))
def test_no_octets_make_a_reader_stumble(oid: str, value: bytes) -> None:
    try:
        READERS[oid](value).write()
    except MalformedMessage:
        pass


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_no_damage_makes_a_reader_stumble(kind: type[Any], data: st.DataObject) -> None:
    value = bytearray(data.draw(VALUES[kind]).write())
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = kind.read(bytes(value))
    except MalformedMessage:
        return
    assert kind.read(again.write()) == again


@pytest.mark.parametrize("oid", READERS, ids=oids.name)
def test_a_value_is_one_value_and_not_without_end(oid: str) -> None:
    kind = next(kind for kind in VALUES if kind.read == READERS[oid])
    value = _EXAMPLES[kind].write()
    assert READERS[oid](value) == _EXAMPLES[kind]
    with pytest.raises(MalformedMessage):
        READERS[oid](value + b"\x05\x00")
    with pytest.raises(MalformedMessage):
        READERS[oid](value[:-1])
    with pytest.raises(MalformedMessage):
        READERS[oid](b"")
    with pytest.raises(LimitExceeded):
        READERS[oid](der.octet_string(bytes(70_000)))


_EXAMPLES: dict[type[Any], Any] = {
    ContentIdentifier: ContentIdentifier(b"1"),
    ContentHints: ContentHints(oids.ID_DATA, "a letter"),
    ContentReference: ContentReference(oids.ID_DATA, b"1", b"signature"),
    Receipt: Receipt(oids.ID_DATA, b"1", b"signature"),
    MsgSigDigest: MsgSigDigest(bytes(32)),
    SecureHeaderFields: SecureHeaderFields("relaxed", (SecureField("subject", "plans"),)),
    ReceiptRequest: ReceiptRequest(b"1", "allReceipts", (ALICE,)),
    ESSSecurityLabel: ESSSecurityLabel("1.2.3", 5, ESSPrivacyMark("eyes only")),
    EquivalentLabels: EquivalentLabels((ESSSecurityLabel("1.2.3"),)),
    MLExpansionHistory: MLExpansionHistory((MLData(LIST, NOON),)),
}

# --- what the types do not allow -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReceiptRequest(b"1", "allReceipts", ()),
        lambda: ReceiptRequest(b"1", "allReceipts", ((),)),
        lambda: ReceiptRequest(b"1", ((),), (ALICE,)),
        lambda: ContentHints(oids.ID_DATA, ""),
        lambda: ContentHints("not an oid"),
        lambda: ContentHints("1"),
        lambda: ContentHints("1.2.-3"),
        lambda: ContentHints("1.50"),
        lambda: ContentHints("1.2.03"),
        lambda: ContentReference("", b"", b""),
        lambda: Receipt("1.2." + "9" * 200, b"", b""),
        lambda: MsgSigDigest(b""),
        lambda: MsgSigDigest(bytes(65)),
        lambda: ESSPrivacyMark(""),
        lambda: ESSPrivacyMark("Häuser", "pString"),
        lambda: ESSPrivacyMark("\ud800"),
        lambda: ESSSecurityLabel("1.2.3", -1),
        lambda: ESSSecurityLabel("1.2.3", 257),
        lambda: EquivalentLabels(()),
        lambda: MLReceiptPolicy("none", (ALICE,)),
        lambda: MLReceiptPolicy("insteadOf"),
        lambda: MLReceiptPolicy("inAdditionTo", ((),)),
        lambda: MLExpansionHistory(()),
        lambda: GeneralName(b""),
        lambda: GeneralName(der.integer(1)),
        lambda: GeneralName(mail_address("a@b.example").raw + b"\x05\x00"),
        lambda: GeneralName(b"\x81\x02\xc3\xbc"),
        lambda: mail_address("\ud800@acme.example"),
    ],
)
def test_a_value_that_its_type_forbids_is_not_made(make: Callable[[], object]) -> None:
    with pytest.raises(MalformedMessage):
        make()


@pytest.mark.parametrize(
    ("make", "limit", "most"),
    [
        (lambda n: ReceiptRequest(b"1", "allReceipts", (ALICE,) * n), "receipts_to", 16),
        (lambda n: ReceiptRequest(b"1", (ALICE,) * n, (ALICE,)), "recipients", MAX_NAMES),
        (lambda n: ESSPrivacyMark("x" * n, "pString"), "privacy_mark_length", 128),
        (
            lambda n: ESSSecurityLabel(
                "1.2.3", security_categories=tuple(SecurityCategory(f"1.2.{i}", der.null()) for i in range(n))
            ),
            "security_categories",
            64,
        ),
        (lambda n: EquivalentLabels((ESSSecurityLabel("1.2.3"),) * n), "equivalent_labels", 64),
        (lambda n: MLExpansionHistory((MLData(LIST, NOON),) * n), "ml_expansion_history", 64),
    ],
    ids=["receiptsTo", "receiptList", "privacy mark", "categories", "equivalent labels", "history"],
)
@pytest.mark.requirement("R2634-4.4-01")
def test_each_limit_at_its_edge(make: Callable[[int], Any], limit: str, most: int) -> None:
    value = make(most)
    if not isinstance(value, ESSPrivacyMark):
        assert type(value).read(value.write()) == value
    with pytest.raises(LimitExceeded) as raised:
        make(most + 1)
    assert raised.value.limit == limit


def _history(*entries: bytes) -> bytes:
    return der.sequence(*entries)


ENTRY = MLData(LIST, NOON).write()
_LABEL = (der.integer(1), der.oid("1.2.3"))
_CATEGORY = SecurityCategory("1.2.3", der.null()).write()


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (MLExpansionHistory.read, _history()),
        (MLExpansionHistory.read, _history(*[ENTRY] * 65)),
        (MLExpansionHistory.read, _history(der.sequence(der.octet_string(b"x")))),
        (MLExpansionHistory.read, _history(der.sequence(der.octet_string(b"x"), der.time(NOON)))),
        (MLExpansionHistory.read, _history(der.sequence(der.octet_string(b"x"), b"\x18\x01Z"))),
        (MLExpansionHistory.read, _history(ENTRY[:1] + bytes([ENTRY[1] + 2]) + ENTRY[2:] + b"\x83\x00")),
        (MLExpansionHistory.read, _history(ENTRY[:1] + bytes([ENTRY[1] + 3]) + ENTRY[2:] + b"\x80\x01x")),
        (ESSSecurityLabel.read, der.tlv(der.SET, der.integer(1))),
        (ESSSecurityLabel.read, der.tlv(der.SET, *_LABEL, der.oid("1.2.4"))),
        (ESSSecurityLabel.read, der.tlv(der.SET, *_LABEL, der.utf8("a"), b"\x13\x01b")),
        (ESSSecurityLabel.read, der.tlv(der.SET, *_LABEL, der.null())),
        (ESSSecurityLabel.read, der.tlv(der.SET, *_LABEL, der.tlv(der.SET))),
        (ESSSecurityLabel.read, der.tlv(der.SET, *_LABEL, der.tlv(der.SET, *[_CATEGORY] * 65))),
        (ESSSecurityLabel.read, der.tlv(der.SET, *_LABEL, b"\x0c\x01\xff")),
        (ESSSecurityLabel.read, der.tlv(der.SET, der.integer(2**4000), der.oid("1.2.3"))),
        (ESSSecurityLabel.read, der.sequence(*_LABEL)),
        (EquivalentLabels.read, der.sequence(*[ESSSecurityLabel("1.2.3").write()] * 65)),
        (
            ReceiptRequest.read,
            der.sequence(der.octet_string(b"1"), b"\x80\x01\x02", der.sequence(der.sequence(*ALICE[:0]))),
        ),
        (ReceiptRequest.read, der.sequence(der.octet_string(b"1"), b"\x80\x01\x00", der.sequence())),
        (Receipt.read, der.sequence(der.integer(2), der.oid("1.2.3"), der.octet_string(b""), der.octet_string(b""))),
        (ContentHints.read, der.sequence(der.utf8(""), der.oid("1.2.3"))),
        (ContentHints.read, der.sequence(b"\x0c\x01\xff", der.oid("1.2.3"))),
        (ContentIdentifier.read, b"\x24\x80" * 40),
        (ESSSecurityLabel.read, b"\x31\x80" * 200),
    ],
)
def test_a_hostile_value_is_malformed(read: Callable[[bytes], object], value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read(value)


def test_ber_is_read_and_der_is_written() -> None:
    label = der.tlv(der.SET, b"\x13\x01m", der.oid("1.2.3"), der.integer(5))
    indefinite = b"\x31\x80" + label[2:] + b"\0\0"
    found = ESSSecurityLabel.read(indefinite)
    assert found == ESSSecurityLabel("1.2.3", 5, ESSPrivacyMark("m", "pString"))
    assert found.write() == der.tlv(der.SET, der.integer(5), der.oid("1.2.3"), b"\x13\x01m")
    in_pieces = der.tlv(der.OCTET_STRING | der.CONSTRUCTED, der.octet_string(b"on"), der.octet_string(b"e"))
    assert ContentIdentifier.read(in_pieces).write() == der.octet_string(b"one")
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    assert MLData(LIST, elsewhere).write() == MLData(LIST, NOON).write()


# --- names -----------------------------------------------------------------------------------------------------------


def test_what_a_name_says() -> None:
    assert (ALICE[0].kind, ALICE[0].address, ALICE[0].text) == ("rfc822Name", *("alice@acme.example",) * 2)
    umlaut = mail_address("jürgen@acme.example")
    assert (umlaut.kind, umlaut.address, umlaut.text) == ("otherName", "jürgen@acme.example", None)
    known = directory_name(NAME)
    assert (known.kind, known.directory_name, known.address) == ("directoryName", NAME, None)
    other = GeneralName(der.tlv(der.context(0), der.oid("1.2.3"), der.explicit(0, der.utf8("x"))))
    assert (other.address, GeneralName(der.tlv(der.context(0))).address) == (None, None)
    uri = GeneralName(b"\x86\x03urn")
    assert (uri.kind, uri.text, uri.address) == ("uniformResourceIdentifier", "urn", None)


# --- labels ----------------------------------------------------------------------------------------------------------


def test_categories_in_another_order_are_the_same_label() -> None:
    one, two = SecurityCategory("1.2.3", der.null()), SecurityCategory("1.2.4", der.null())
    label = ESSSecurityLabel("1.2.3", 1, None, (one, two))
    assert ESSSecurityLabel("1.2.3", 1, None, (two, one)) == label
    unsorted = der.tlv(der.SET, der.oid("1.2.3"), der.integer(1), der.tlv(der.SET, two.write(), one.write()))
    assert ESSSecurityLabel.read(unsorted) == label


def test_a_label_in_either_order_of_a_set_is_written_as_it_came_and_is_der() -> None:
    """X.690 10.3 puts SET, 17, before PrintableString, 19; RFC 4134 4.10 sorts octets and so has it the other way."""
    mark, categories_ = ESSPrivacyMark("mark", "pString"), (SecurityCategory("1.2.3", der.null()),)
    proper = ESSSecurityLabel("1.2.3", 1, mark, categories_)
    other = ESSSecurityLabel("1.2.3", 1, mark, categories_, mark_first=True)
    assert proper == other
    for label in (proper, other):
        assert ESSSecurityLabel.read(label.write()).write() == label.write()
        assert is_distinguished(label.write())
    assert proper.write() != other.write()
    assert proper.write().index(_CATEGORY) < proper.write().index(b"mark")
    unsorted = der.tlv(der.SET, *[b"\x13\x04mark", der.integer(1), der.oid("1.2.3"), *[der.set_of([_CATEGORY])]])
    assert not is_distinguished(unsorted)
    assert is_distinguished(distinguished(unsorted))


@pytest.mark.requirement("R2634-3.4.1-01")
def test_equivalent_labels_repeat_no_policy() -> None:
    one, two = ESSSecurityLabel("1.2.3"), ESSSecurityLabel("1.2.4")
    assert not EquivalentLabels((one, two)).repeats()
    assert EquivalentLabels((one, ESSSecurityLabel("1.2.3", 5))).repeats()
    assert EquivalentLabels((one,)).repeats(one)
    assert not EquivalentLabels((one,)).repeats(two)


# --- lists -----------------------------------------------------------------------------------------------------------

NONE = MLReceiptPolicy("none")
INSTEAD_A, INSTEAD_B = MLReceiptPolicy("insteadOf", (ALICE, CAROL)), MLReceiptPolicy("insteadOf", (BOB,))
ADDITION_A, ADDITION_B = MLReceiptPolicy("inAdditionTo", (ALICE,)), MLReceiptPolicy("inAdditionTo", (BOB, ALICE))


@pytest.mark.requirement("R2634-4.3-01")
@pytest.mark.parametrize(
    ("a", "row"),
    [
        # B's policy:   none  insteadOf  inAdditionTo                                     missing
        (NONE,         (NONE, NONE,      NONE,                                            NONE)),
        (INSTEAD_A,    (NONE, INSTEAD_B, MLReceiptPolicy("insteadOf", (ALICE, CAROL, BOB)), INSTEAD_A)),
        (ADDITION_A,   (NONE, INSTEAD_B, MLReceiptPolicy("inAdditionTo", (ALICE, BOB)),   ADDITION_A)),
        (None,         (NONE, INSTEAD_B, ADDITION_B,                                      None)),
    ],
)  # fmt: skip
def test_receipt_policies_of_nested_lists(a: MLReceiptPolicy | None, row: tuple[MLReceiptPolicy | None, ...]) -> None:
    for b, expected in zip((NONE, INSTEAD_B, ADDITION_B, None), row, strict=True):
        assert union(a, b) == expected


def test_many_names_are_bounded_over_all_entities() -> None:
    with pytest.raises(LimitExceeded):
        MLReceiptPolicy("insteadOf", (ALICE * 600, BOB * 600))
    value = der.sequence(
        der.octet_string(b"1"), b"\x80\x01\x00", der.sequence(*[der.sequence(*[b"\x81\x01a"] * 600)] * 2)
    )
    with pytest.raises(LimitExceeded):
        ReceiptRequest.read(value)
