"""Distinguished names: what is read, what is refused, what is equal, and what people see."""

from __future__ import annotations

import pytest

import pki
from domsec import der, oids
from domsec.errors import MalformedMessage
from domsec.trust import names

TELETEX, BMP, UNIVERSAL, PRINTABLE, BITS = 0x14, 0x1E, 0x1C, 0x13, 0x03


def attribute(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), value)


def name(*rdns: list[tuple[str, bytes]]) -> bytes:
    """A Name of RDNs, each a list of (OID, TLV)."""
    return der.sequence(*(der.set_of(attribute(oid, value) for oid, value in rdn) for rdn in rdns))


def cn(value: bytes) -> bytes:
    return name([(oids.COMMON_NAME, value)])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (der.utf8("review-authority"), "review-authority"),
        (der.tlv(PRINTABLE, b"review-authority"), "review-authority"),
        (der.tlv(TELETEX, b"caf\xe9"), "café"),
        (der.tlv(BMP, "Zürich".encode("utf-16-be")), "Zürich"),
        (der.tlv(UNIVERSAL, "Zürich".encode("utf-32-be")), "Zürich"),
        (der.utf8(""), ""),
    ],
)
def test_any_string_type_that_decodes_is_read(value, text):
    assert names.rdns(cn(value)) == (((oids.COMMON_NAME, text),),)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(der.utf8("domain-signing-authority\0.evil"), id="nul"),
        pytest.param(der.utf8("domain-signing\r\nauthority"), id="line break"),
        pytest.param(der.tlv(TELETEX, b"\x1b[2J"), id="escape in T61"),
        pytest.param(der.tlv(TELETEX, b"\x9b2J"), id="C1 control in T61"),
        pytest.param(der.tlv(0x0C, b"\xff\xfe"), id="not UTF-8"),
        pytest.param(der.tlv(0x0C, b"\xc0\x80"), id="overlong NUL"),
        pytest.param(der.tlv(PRINTABLE, b"\xe9"), id="not ASCII"),
        pytest.param(der.tlv(BMP, b"\0a\0"), id="half a BMP character"),
        pytest.param(der.tlv(BMP, b"\xd8\x00\xdc\x00"), id="surrogates in BMP"),
        pytest.param(der.tlv(UNIVERSAL, b"\xff\xff\xff\xff"), id="beyond Unicode"),
        pytest.param(der.tlv(BITS, b"\0\x01"), id="common name as bits"),
        pytest.param(der.tlv(0x2C, der.utf8("x")), id="constructed string"),
    ],
)
def test_a_common_name_that_is_not_clean_refuses_the_name_and_can_still_be_shown(value):
    with pytest.raises(MalformedMessage):
        names.rdns(cn(value))
    text = names.name_text(cn(value))
    assert text.startswith("CN=")
    assert text.isprintable()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30",
        b"\x30\x80",
        b"\x04\x00",
        der.sequence(der.set_of([])),
        der.sequence(der.sequence()),
        der.sequence(der.set_of([der.sequence()])),
        der.sequence(der.set_of([der.sequence(der.oid("2.5.4.3"))])),
        name() + b"\0",
        name(*[[(oids.ORGANIZATION_NAME, der.utf8("x"))]] * (names.MAX_RDNS + 1)),
        cn(der.utf8("x" * names.MAX_NAME_OCTETS)),
    ],
)
def test_octets_that_are_no_name_are_refused_and_still_shown(octets):
    with pytest.raises(MalformedMessage):
        names.rdns(octets)
    assert names.name_text(octets).startswith("#")


def test_rdns_come_from_the_root_with_every_attribute_of_a_multi_valued_one():
    octets = name(
        [(oids.COUNTRY_NAME, der.utf8("US"))],
        [(oids.COMMON_NAME, der.utf8("a")), (oids.COMMON_NAME, der.utf8("b")), (oids.SERIAL_NUMBER, der.utf8("1"))],
    )
    assert names.rdns(octets) == (
        ((oids.COUNTRY_NAME, "US"),),
        ((oids.COMMON_NAME, "a"), (oids.COMMON_NAME, "b"), (oids.SERIAL_NUMBER, "1")),
    )
    assert names.attribute_values(octets, oids.COMMON_NAME) == ("a", "b")


def test_an_attribute_that_need_not_be_a_string_is_kept_as_hexadecimal():
    unique_identifier = "2.5.4.45"
    octets = name([(unique_identifier, der.tlv(BITS, b"\0\x01"))])
    assert names.rdns(octets) == (((unique_identifier, "#03020001"),),)
    assert names.name_text(octets) == "2.5.4.45=#03020001"


def test_common_names_of_a_certificate():
    assert names.common_names(pki.world().acme.signing.certificate) == ("domain-signing-authority",)


@pytest.mark.requirement("R5280-7.1-01")
@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (der.utf8("Acme Inc"), der.tlv(PRINTABLE, b"ACME  inc "), True),
        (der.utf8("Straße"), der.utf8("STRASSE"), True),
        (der.utf8("e\u0301"), der.tlv(TELETEX, b"\xe9"), True),
        (der.utf8("ac\u00adme"), der.utf8("acme"), True),
        (der.utf8("Acme"), der.utf8("Acmé"), False),
        (der.utf8("acme"), der.utf8("аcme"), False),
        (der.utf8("Acme Inc"), der.utf8("AcmeInc"), False),
    ],
)
def test_names_are_compared_without_case_and_with_white_space_compressed(one, other, equal):
    first, second = name([(oids.ORGANIZATION_NAME, one)]), name([(oids.ORGANIZATION_NAME, other)])
    assert names.same_name(first, second) is equal
    assert (names.normalised(first) == names.normalised(second)) is equal


@pytest.mark.requirement("R5280-7.1-01")
def test_order_of_rdns_and_attribute_types_count_and_order_within_an_rdn_does_not():
    o, ou = (oids.ORGANIZATION_NAME, der.utf8("x")), (oids.ORGANIZATIONAL_UNIT_NAME, der.utf8("x"))
    assert not names.same_name(name([o], [ou]), name([ou], [o]))
    assert not names.same_name(name([o]), name([ou]))
    assert not names.same_name(name([o]), name([o], [ou]))
    swapped = der.sequence(der.tlv(der.SET, attribute(*ou), attribute(*o)))
    assert names.same_name(name([o, ou]), swapped)


def test_domain_components_are_compared_without_case():
    lower, upper = (name([(oids.DOMAIN_COMPONENT, der.ia5(text))]) for text in ("acme", "ACME"))
    assert names.same_name(lower, upper)


def test_names_that_cannot_be_read_equal_only_themselves():
    broken = cn(der.utf8("a\0b"))
    assert names.same_name(broken, broken)
    assert not names.same_name(broken, cn(der.utf8("a\0B")))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "CN=plain"),
        ('a,b+c"d\\e<f>g;h', 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h'),
        (" #x ", "CN=\\ #x\\ "),
        ("#x", "CN=\\#x"),
        (" ", "CN=\\ "),
        ("\x1b[31mred", "CN=\\1B[31mred"),
        ("a\0b", "CN=a\\00b"),
        ("a\r\nb", "CN=a\\0D\\0Ab"),
        ("\u202egpj", "CN=\\E2\\80\\AEgpj"),
        ("a\u2028b", "CN=a\\E2\\80\\A8b"),
        ("a\u200bb", "CN=a\\E2\\80\\8Bb"),
        ("Zürich", "CN=Zürich"),
    ],
)
def test_text_for_people_is_rfc_4514_and_harmless_to_a_terminal(value, text):
    assert names.name_text(cn(der.utf8(value))) == text


def test_text_for_people_begins_with_the_most_specific_part():
    octets = name(
        [(oids.COUNTRY_NAME, der.utf8("US"))],
        [(oids.ORGANIZATION_NAME, der.utf8("Acme"))],
        [(oids.COMMON_NAME, der.utf8("a")), (oids.EMAIL_ADDRESS, der.ia5("a@acme.example"))],
        [("1.2.3", der.utf8("x"))],
    )
    assert names.name_text(octets) == "1.2.3=x,CN=a+emailAddress=a@acme.example,O=Acme,C=US"


def test_an_empty_name_is_empty():
    assert names.rdns(der.sequence()) == ()
    assert names.name_text(der.sequence()) == ""
