"""What P1 says of a content, and the body part that forwards one (RFC 3855)."""

from __future__ import annotations

import pytest

from domsec import der, oids
from domsec.cms import signed_data
from domsec.errors import MalformedMessage, Unsupported
from domsec.mhs.transport import (
    INFORMATION_TYPES,
    Content,
    forwarded,
    forwarding,
    read_type_parameter,
    received,
    type_parameter,
)
from interpersonal import P22, message, tlv

CMS = signed_data.null_layer(b"hello")
# RFC 3855 2.3 spells it out: { 2 6 1 4 17 1 2 840 113549 1 9 16 1 6 }
FORWARDED_CMS = der.oid("2.6.1.4.17.1.2.840.113549.1.9.16.1.6")


@pytest.mark.parametrize(
    ("smime_type", "arc"),
    [("enveloped-data", 1), ("signed-data", 2), ("certs-only", 3), ("signed-receipt", 4), ("enveloped-x400", 5),
     ("signed-x400", 6), ("compressed-data", 7)],
)  # fmt: skip
def test_information_types_say_what_smime_type_says_in_mail(smime_type: str, arc: int) -> None:
    """RFC 3855 2.5.1 to 2.5.7."""
    oid = f"1.2.840.113549.1.9.16.10.{arc}"
    assert Content(oids.ID_CT_CONTENT_INFO, CMS, smime_type).information_types == (oid,)
    assert received(oids.ID_CT_CONTENT_INFO, CMS, [oid]).smime_type == smime_type
    assert len(INFORMATION_TYPES) == 7


def test_no_information_type_is_made_up() -> None:
    assert Content(oids.ID_CT_CONTENT_INFO, CMS, "authEnveloped-data").information_types == ()
    assert Content(oids.ID_DATA, b"\r\n").information_types == ()


@pytest.mark.parametrize(
    "information_types",
    [(), ("2.6.1.12.0",), (oids.ID_EIT_SIGNED_DATA, oids.ID_EIT_ENVELOPED_DATA)],
    ids=["none", "another", "two"],
)
def test_information_types_that_do_not_tell(information_types: tuple[str, ...]) -> None:
    assert received(oids.ID_CT_CONTENT_INFO, CMS, information_types).smime_type is None


@pytest.mark.parametrize(("integer", "oid"), [(2, oids.ID_MCT_P2_1984), (22, P22)])
def test_built_in_types_have_object_identifiers_as_well(integer: int, oid: str) -> None:
    assert received(integer, message()) == Content(oid, message())
    assert type_parameter(oid) == str(integer)
    assert read_type_parameter(str(integer)) == oid
    assert read_type_parameter(oid) == oid


def test_other_contents() -> None:
    assert received(oids.ID_MCONT_MM, message()).is_x400
    assert not received(oids.ID_DATA, b"MIME-Version: 1.0\r\n\r\n").is_x400
    assert type_parameter(oids.ID_MCONT_MM) == oids.ID_MCONT_MM
    with pytest.raises(Unsupported):
        received(35, b"")  # EDI
    with pytest.raises(MalformedMessage):
        received(oids.ID_CT_CONTENT_INFO, b"MIME-Version: 1.0\r\n\r\n")


@pytest.mark.parametrize("value", ["", "x", "1.2.3.", "-1", "4.1.2", "1." * 4000 + "1", "9" * 5000])
def test_a_type_parameter_that_is_none(value: str) -> None:
    with pytest.raises((MalformedMessage, Unsupported)):
        read_type_parameter(value)


# --- forwarding -----------------------------------------------------------------------------------------------------


def test_a_body_part_forwards_cms() -> None:
    """[15] extended, in it the data as EXTERNAL: the reference, and the Content, which is an OCTET STRING."""
    made = forwarding(Content(oids.ID_CT_CONTENT_INFO, CMS))
    assert made == tlv(0xAF, tlv(0x28, FORWARDED_CMS, tlv(0xA0, tlv(0x04, CMS))))
    assert forwarded(made) == Content(oids.ID_CT_CONTENT_INFO, CMS)


def test_a_body_part_forwards_another_content() -> None:
    content = Content(P22, message())
    assert forwarded(forwarding(content)) == content


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(tlv(0xA0, CMS), id="the value where its octets should be"),
        pytest.param(tlv(0x81, CMS), id="octet aligned"),
        pytest.param(tlv(0xA0, tlv(0x24, tlv(0x04, CMS[:9]), tlv(0x04, CMS[9:]))), id="in pieces"),
    ],
)
def test_other_writers_are_read(data: bytes) -> None:
    parameters = tlv(0xA0, der.oid("2.6.1.11.17.1.2.840.113549.1.9.16.1.6"), tlv(0xA0, tlv(0x31)))
    assert forwarded(tlv(0xAF, parameters, tlv(0x28, FORWARDED_CMS, data))).octets == CMS


@pytest.mark.parametrize(
    ("body_part", "error"),
    [
        pytest.param(tlv(0xA0, tlv(0x31), tlv(0x16, b"hello")), Unsupported, id="text"),
        pytest.param(tlv(0xAF, tlv(0x28, der.oid("2.6.1.4.1"), tlv(0x81, b""))), Unsupported, id="another extended"),
        pytest.param(tlv(0xAF, tlv(0x28, FORWARDED_CMS)), MalformedMessage, id="no data"),
        pytest.param(tlv(0xAF, tlv(0x28, FORWARDED_CMS, tlv(0x81, b"x"))), MalformedMessage, id="no CMS"),
        pytest.param(forwarding(Content(P22, b"x")) + b"\0", MalformedMessage, id="something behind"),
        pytest.param(b"", Unsupported, id="nothing"),
    ],
)
def test_what_is_no_forwarded_content(body_part: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        forwarded(body_part)
