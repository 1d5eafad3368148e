"""Names of X.400 users: what is read from octets written by hand, compared and shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import MalformedMessage
from domsec.mhs.names import MAX_ADDRESS_OCTETS, ORAddress, ORName
from interpersonal import address_content, or_name, printable, tlv

ALICE = ORAddress.of(address_content())


def address(*attributes: bytes, beside: bytes = b"") -> ORAddress:
    """An address with these built-in attributes, and what stands behind them."""
    return ORAddress.of(tlv(0x30, *attributes) + beside)


def extension(number: int, value: bytes) -> bytes:
    return tlv(0x31, tlv(0x30, tlv(0x80, bytes((number,))), tlv(0xA1, value)))


def test_an_address_reads_from_the_country_down() -> None:
    found = ORAddress.of(address_content("Acme", "Sales", "East"))
    assert found.text == "C=US;A= ;P=Acme;O=Acme;OU1=Sales;OU2=East;S=Doe;G=Alice"
    assert found.domain == (("C", "us"), ("A", ""), ("P", "acme"), ("O", "acme"), ("OU1", "sales"), ("OU2", "east"))
    assert found.user == (("S", "Doe"), ("G", "Alice"))


def test_an_address_is_read_with_its_tag_or_without() -> None:
    assert ORAddress.read(tlv(0x30, address_content())) == ALICE


@pytest.mark.parametrize(
    ("attribute", "text"),
    [
        (tlv(0x61, tlv(0x12, b"840")), "C=840"),
        (tlv(0x80, b"31101234567"), "X121=31101234567"),
        (tlv(0x81, b"TLX-1"), "T-ID=TLX-1"),
        (tlv(0x84, b"12"), "N-ID=12"),
        (tlv(0xA5, tlv(0x80, b"Doe"), tlv(0x82, b"JP"), tlv(0x83, b"III")), "S=Doe;I=JP;Q=III"),
    ],
)
def test_built_in_attributes(attribute: bytes, text: str) -> None:
    assert address(attribute).text == text


def test_domain_defined_attributes_and_a_common_name() -> None:
    defined = tlv(0x30, tlv(0x30, printable("RFC-822"), printable("alice(a)acme.example")))
    found = address(tlv(0x61, printable("US")), beside=defined + extension(1, printable("Alice; Doe")))
    assert found.text == "C=US;DD.RFC-822=alice(a)acme.example;CN=Alice$; Doe"


@pytest.mark.parametrize("number", [3, 5, 25, 27])
def test_an_organization_in_another_alphabet_only_has_no_domain_to_compare(number: int) -> None:
    """Without it the address of one organization would look like that of all its neighbours."""
    found = address(tlv(0x61, printable("US")), beside=extension(number, tlv(0x14, "Österreich".encode("latin-1"))))
    assert found.domain is None
    assert found.attributes[1][0] == f"X{number}"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (address_content("ACME", surname="DOE", given="alice"), True),
        (address_content(" Acme  "), True),
        (address_content("Acme", "Sales"), False),
        (address_content(given="Bob"), False),
        (address_content(given=None), False),
    ],
)
def test_case_and_spaces_do_not_matter(other: bytes, same: bool) -> None:
    assert ALICE.same_as(ORAddress.of(other)) is same


def test_a_name_has_an_address_and_perhaps_a_directory_name() -> None:
    name = tlv(0x30, tlv(0x31, tlv(0x30, tlv(0x06, b"\x55\x04\x03"), printable("Alice"))))
    found = ORName.read(or_name(directory_name=name))
    assert (found.address, found.directory_name) == (ALICE, name)
    assert found.same_as(ORName.read(or_name()))
    assert found.text == ALICE.text


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(tlv(0x60, tlv(0x30)), id="nothing in it"),
        pytest.param(tlv(0x61, tlv(0x30)), id="another tag"),
        pytest.param(or_name() + b"\0", id="something behind"),
        pytest.param(or_name()[:-1], id="cut short"),
        pytest.param(or_name(tlv(0x30, tlv(0x83, b"a"), tlv(0x83, b"b"))), id="an attribute twice"),
        pytest.param(or_name(tlv(0x30, tlv(0x8F, b"a"))), id="an attribute unknown"),
        pytest.param(or_name(tlv(0x30, tlv(0x83, b"\xff"))), id="no ASCII"),
        pytest.param(or_name(tlv(0x30, tlv(0x83, b"a\nb"))), id="a line break"),
        pytest.param(or_name(tlv(0x30, tlv(0x61, tlv(0x0C, b"US")))), id="a string of another type"),
        pytest.param(or_name(tlv(0x30, tlv(0xA5, tlv(0x80, b"a"), tlv(0x80, b"b")))), id="two surnames"),
        pytest.param(or_name(tlv(0x30, tlv(0xA6, printable("a") * 5))), id="five units"),
        pytest.param(or_name(tlv(0x30) + tlv(0x30, tlv(0x30, printable("a") * 2) * 5)), id="five domain defined"),
        pytest.param(or_name(tlv(0x30) + tlv(0x31, extension(1, printable("a"))[2:] * 2)), id="two common names"),
        pytest.param(or_name(tlv(0x30, tlv(0x83, b"a" * MAX_ADDRESS_OCTETS))) * 5, id="long"),
    ],
)
def test_a_name_that_is_none(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        ORName.read(octets)


def test_an_address_that_is_too_long() -> None:
    fits = tlv(0x30, tlv(0x83, b"a" * (MAX_ADDRESS_OCTETS - 8)))
    assert len(fits) == MAX_ADDRESS_OCTETS
    assert ORAddress.of(fits)
    with pytest.raises(MalformedMessage):
        ORAddress.of(tlv(0x30, tlv(0x83, b"a" * (MAX_ADDRESS_OCTETS - 7))))


@given(st.binary(max_size=64))
def test_any_octets_are_a_name_or_malformed(octets: bytes) -> None:
    for cut in (octets, or_name()[:20] + octets):
        try:
            found = ORName.read(cut)
        except MalformedMessage:
            continue
        assert found.text.isprintable()
