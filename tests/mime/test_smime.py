"""Which entities are S/MIME, to the octet: RFC 8551 3, RFC 1847, decisions A-10 and A-12, threats T-03, T-04, T-24."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import DomsecError, LimitExceeded
from domsec.limits import Limits
from domsec.mime import fields, smime
from domsec.mime.content_type import parse_content_type

DER = b"\x30\x80\x06\x09*\x86H\x86\xf7\r\x01\x07\x02\x00\x00"
DER64 = b"MIAGCSqGSIb3DQEHAgAA"

SIGNATURE = b"Content-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n" + DER64


def entity(content_type: str, encoding: str | None = "base64", body: bytes = DER64, more: str = "") -> bytes:
    head = f"Content-Type: {content_type}\r\n{more}"
    if encoding is not None:
        head += f"Content-Transfer-Encoding: {encoding}\r\n"
    return head.encode() + b"\r\n" + body


def signed(
    *parts: bytes, before: bytes = b"", after: bytes = b"\r\n", close: bytes = b"\r\n--b--", **kind: str
) -> bytes:
    parameters = {"protocol": '"application/pkcs7-signature"', "micalg": "sha-256", "boundary": "b"} | kind
    text = "".join(f"; {name}={value}" for name, value in parameters.items())
    body = b"\r\n".join(b"--b\r\n" + part for part in parts)
    return f"Content-Type: multipart/signed{text}\r\n\r\n".encode() + before + body + close + after


@pytest.mark.requirement("R8551-3.10-01")
@pytest.mark.requirement("R8551-3.1.2-01")
@pytest.mark.requirement("R8551-3.2.1-02")
@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (entity("application/pkcs7-mime; smime-type=Signed-Data; name=smime.p7m"), smime.Pkcs7(DER, "signed-data")),
        (entity("application/pkcs7-mime"), smime.Pkcs7(DER, None)),
        (entity("Application/X-PKCS7-mime", "BASE64"), smime.Pkcs7(DER, None)),
        (entity("application/pkcs7-mime", "base64 (yes)"), smime.Pkcs7(DER, None)),
        (entity("application/pkcs7-mime", "binary", DER), smime.Pkcs7(DER, None)),
        (entity("application/pkcs7-mime", None, DER), smime.Pkcs7(DER, None)),
        (entity("application/pkcs7-mime", "quoted-printable", b"=30=80=00\r\n"), smime.Pkcs7(b"0\x80\x00\r\n", None)),
        (entity("application/pkcs7-mime", body=b""), smime.Pkcs7(b"", None)),
        (entity("application/octet-stream; name=smime.p7m"), smime.Pkcs7(DER, None, (), True)),
        (entity("application/octet-stream; name=x.P7Z"), smime.Pkcs7(DER, None, (), True)),
        (
            entity("application/octet-stream", more='Content-Disposition: attachment; filename="a.p7c"\r\n'),
            smime.Pkcs7(DER, None, (), True),
        ),
    ],
)
def test_cms_is_recognised(octets, found):
    assert smime.recognise(octets) == found
    assert smime.recognise(memoryview(octets)) == found


@pytest.mark.requirement("R8551-3.10-01")
@pytest.mark.requirement("R8551-3.2.1-02")
@pytest.mark.parametrize(
    "octets",
    [
        b"\r\nno header",
        entity("text/plain; name=smime.p7m"),
        entity("application/pkcs7-signature"),
        entity("application/octet-stream; name=smime.p7m.exe"),
        entity("application/octet-stream; name=smime.p7m", body=b"SGVsbG8="),  # no SEQUENCE
        entity("application/octet-stream; name=smime.p7m", "x-odd"),
        entity("application/octet-stream"),
        signed(b"\r\nx", SIGNATURE, protocol='"application/pgp-signature"'),
        b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b--",
        b"Subject: application/pkcs7-mime; smime-type=signed-data\r\n\r\n" + DER64,
    ],
)
def test_everything_else_is_other(octets):
    found = smime.recognise(octets)

    assert isinstance(found, smime.Other)
    assert found.flags == ()


def test_sniffing_is_an_option():
    assert isinstance(smime.recognise(entity("application/octet-stream; name=a.p7m"), sniff_suffix=False), smime.Other)


@pytest.mark.parametrize(
    ("octets", "flag", "seen"),
    [
        (
            b"Content-Type: text/plain\r\n" + entity("application/pkcs7-mime"),
            "mime.duplicate_header",
            "Content-Type stands 2 times, Content-Transfer-Encoding 1",
        ),
        (
            b"Content-Transfer-Encoding: base64\r\n" + entity("application/pkcs7-mime"),
            "mime.duplicate_header",
            "Content-Type stands 1 times, Content-Transfer-Encoding 2",
        ),
        (
            b"CONTENT-TYPE : text/plain\r\n" + signed(b"\r\nx", SIGNATURE),
            "mime.duplicate_header",
            "Content-Type stands 2 times, Content-Transfer-Encoding 0",
        ),
        (
            signed(b"\r\nx", b"Content-Type: a/b\r\n" + SIGNATURE),
            "mime.duplicate_header",
            "Content-Type stands 2 times, Content-Transfer-Encoding 1",
        ),
        (entity("application/pkcs7-mime; x"), "mime.content_type", "Content-Type: 'application/pkcs7-mime; x'"),
        (
            entity("application/pkcs7-mime", "x-uuencode"),
            "mime.transfer_encoding",
            "'x-uuencode': unknown content transfer encoding",
        ),
        (
            entity("application/pkcs7-mime", "base64 7bit"),
            "mime.transfer_encoding",
            "Content-Transfer-Encoding: 'base64 7bit'",
        ),
        (
            entity("application/pkcs7-mime", body=b"QUJDQ"),
            "mime.transfer_encoding",
            "'base64': base64 of a wrong length",
        ),
        (
            signed(b"\r\nx", SIGNATURE).replace(b"boundary=b", b"boundary=c; boundary=b"),
            "mime.duplicate_parameter",
            "boundary stands twice in Content-Type",
        ),
        (
            signed(b"\r\nx", SIGNATURE).replace(b"boundary=b", b"boundary=c; boundary*0=b"),
            "mime.duplicate_parameter",
            "boundary stands twice in Content-Type",
        ),
        (
            b"Content-Transfer-Encoding: base64\r\n" + signed(b"\r\nx", SIGNATURE),
            "mime.transfer_encoding",
            "a multipart in 'base64', which is never encoded (RFC 2045 6.4)",
        ),
        (signed(b"\r\nx"), "mime.parts", "1 parts, expected 2"),
        (signed(b"\r\nx", SIGNATURE, SIGNATURE), "mime.parts", "3 parts, expected 2"),
        (signed(b"\r\nx", b"\r\ny", SIGNATURE), "mime.parts", "3 parts, expected 2"),
        (
            signed(b"\r\nx", b"\r\nno signature"),
            "mime.parts",
            "the second part is without a type, expected application/pkcs7-signature",
        ),
        (
            signed(SIGNATURE, b"Content-Type: text/plain\r\n\r\nx"),
            "mime.parts",
            "the second part is text/plain, expected application/pkcs7-signature",
        ),
        (signed(b"\r\nx", SIGNATURE, close=b""), "mime.parts", "2 parts without an end, expected 2"),
        (signed(b"\r\nx", SIGNATURE, boundary='""'), "mime.parts", "multipart without a boundary"),
        (signed(b"\r\nx", SIGNATURE, boundary="c"), "mime.parts", "0 parts without an end, expected 2"),
    ],
)
@pytest.mark.requirement("R1847-2.1-01")
def test_what_is_ambiguous_or_broken_is_no_layer_and_flagged(octets, flag, seen):
    found = smime.recognise(octets)

    assert isinstance(found, smime.Other)
    assert found.flags == ((flag, seen),)


@pytest.mark.requirement("R8551-3.5-01")
@pytest.mark.requirement("R1847-2.1-01")
def test_clear_signed():
    found = smime.recognise(signed(b"Content-Type: text/plain\r\n\r\nx \t\r\n", SIGNATURE))

    assert isinstance(found, smime.ClearSigned)
    assert bytes(found.part) == b"Content-Type: text/plain\r\n\r\nx \t\r\n"
    assert (found.signature_der, found.micalg, found.outside_text, found.flags) == (DER, "sha-256", False, ())


@pytest.mark.requirement("R8551-3.5.3.2-02")
@pytest.mark.parametrize("micalg", ["unknown", '"sha-256,sha-512"', "sha256", '""'])
def test_any_micalg_will_do(micalg):
    assert isinstance(smime.recognise(signed(b"\r\nx", SIGNATURE, micalg=micalg)), smime.ClearSigned)


def test_the_old_alias_of_the_signature_type():
    octets = signed(b"\r\nx", SIGNATURE, protocol="application/x-pkcs7-signature").replace(
        b"Type: application/pkcs7-s", b"Type: application/x-pkcs7-s"
    )
    assert isinstance(smime.recognise(octets), smime.ClearSigned)


@pytest.mark.parametrize(
    ("where", "seen"),
    [("before", "16 octets before the parts, 0 behind them"), ("after", "0 octets before the parts, 16 behind them")],
)
def test_text_beside_the_signed_part_is_told_and_not_part_of_it(where, seen):
    octets = signed(b"\r\nx", SIGNATURE, **{where: b"\r\npay to mallory\r\n"})
    found = smime.recognise(octets)

    assert isinstance(found, smime.ClearSigned)
    assert found.outside_text
    assert found.flags == (("mime.outside_text", seen),)
    assert bytes(found.part) == b"\r\nx"


def test_lines_that_other_readers_may_take_for_delimiters_are_told():
    found = smime.recognise(signed(b"\r\nx\r\n--bc\r\ny", SIGNATURE))

    assert found.flags == (("mime.boundary", "a line begins as a delimiter of the parts and goes on"),)


def test_base64_with_other_characters_is_read_and_told():
    found = smime.recognise(entity("application/pkcs7-mime", body=DER64 + b"\r\n-- \r\n"))

    assert found.flags == (("mime.base64", "'base64': base64 of a wrong length"),)
    assert found.der.startswith(DER)


# measurements-mail D2: what a parser that writes anew does not give back
SHAPES = {
    "plain": b"Content-Type: text/plain\r\n\r\nhello\r\n",
    "no space after the colon": b"Content-Type:text/plain\r\nX:y\r\n\r\nhello",
    "blanks in a header": b"Content-Type:   text/plain;  charset=us-ascii  \r\n\r\nhello",
    "folded with tab": b"Content-Type: text/plain;\r\n\tcharset=us-ascii\r\n\r\nhello",
    "a folded line of blanks": b"X: a\r\n \r\n b\r\n\r\nhello",
    "very long header": b"X: " + b"a" * 5000 + b"\r\n\r\nhello",
    "bare LF": b"Content-Type: text/plain\r\n\r\nhello\nworld\n",
    "bare LF header": b"Content-Type: text/plain\nX: y\n\nhello",
    "bare CR": b"Content-Type: text/plain\r\n\r\nhello\rworld",
    "VT, FF and NEL in a header": b"X: a\x0bb\x0cc\x85d\r\n\r\nhello",
    "NUL": b"X: a\x00b\r\n\r\nhel\x00lo",
    "8bit": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa9\xff",
    "no header": b"\r\nhello",
    "no body": b"Content-Type: text/plain\r\n\r\n",
    "no empty line": b"Content-Type: text/plain\r\n",
    "empty": b"",
    "only an empty line": b"\r\n",
    "trailing blank lines": b"\r\nhello\r\n\r\n\r\n",
    "trailing blanks": b"\r\nhello \t\r\n \t",
    "line without colon": b"Content-Type: text/plain\r\nno colon here\r\n\r\nhello",
    "blank before the colon": b"Content-Type : text/plain\r\n\r\nhello",
    "mbox line": b"From alice Mon Jan  1 00:00:00 2024\r\nContent-Type: text/plain\r\n\r\nhello",
    "From and dots": b"\r\nFrom here\r\n.\r\n..\r\n>From there",
    "nested multipart": b"Content-Type: multipart/x; boundary=c\r\n\r\npre\r\n--c \r\n\r\na\r\n--c\r\n--c--\t\r\nx",
    "attached message": b"Content-Type: message/rfc822\r\n\r\nFrom: a@b.example\r\nSubject:x\r\n\r\n\r\nhello\r\n",
    "signed inside": signed(b"\r\ninner", SIGNATURE).replace(b"--b", b"--d").replace(b"=b", b"=d"),
}


@pytest.mark.requirement("R8551-3.1.1-02")
@pytest.mark.requirement("R1847-2.1-02")
@pytest.mark.parametrize("shape", SHAPES)
def test_the_signed_part_keeps_every_octet(shape):
    part = SHAPES[shape]
    message = b"From: a@b.example\r\nMIME-Version: 1.0\r\n" + smime.clear_signed(part, DER, "sha-256")
    entity = fields.entity_of(message)
    header, _ = fields.split_message(message)

    for octets in (message, entity, memoryview(entity), fields.replace_entity(header, entity)):
        found = smime.recognise(octets)
        assert isinstance(found, smime.ClearSigned)
        assert bytes(found.part) == part
        assert found.signature_der == DER
        assert found.flags == ()


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_recognise_undoes_clear_signed(part, signature):
    found = smime.recognise(smime.clear_signed(part, signature, "sha-512"))

    assert (bytes(found.part), found.signature_der) == (part, signature)


@given(st.binary(max_size=300), st.booleans())
def test_recognise_undoes_pkcs7_mime(der, binary):
    octets = smime.pkcs7_mime(der, "enveloped-data", binary=binary)

    assert smime.recognise(octets) == smime.Pkcs7(der, "enveloped-data")


@pytest.mark.requirement("R8551-3.2.1-01")
@pytest.mark.requirement("R8551-3.2.2-01")
@pytest.mark.parametrize(
    ("smime_type", "name"),
    [
        ("signed-data", "smime.p7m"),
        ("enveloped-data", "smime.p7m"),
        ("authEnveloped-data", "smime.p7m"),
        ("certs-only", "smime.p7c"),
        ("compressed-data", "smime.p7z"),
    ],
)
def test_names_and_types_of_what_is_written(smime_type, name):
    header, _ = fields.split_message(smime.pkcs7_mime(DER, smime_type))
    kind = parse_content_type(header.first("content-type").value)

    assert kind.full == "application/pkcs7-mime"
    assert kind.parameters == {"smime-type": smime_type, "name": name}
    assert header.first("content-disposition").value == f"attachment; filename={name}"
    assert header.first("content-transfer-encoding").value == "base64"


@pytest.mark.requirement("R8551-3.5.3.2-01")
@pytest.mark.parametrize("micalg", ["sha-256", "sha-256,sha-512"])
def test_parameters_of_multipart_signed(micalg):
    header, _ = fields.split_message(smime.clear_signed(b"\r\nx", DER, micalg))
    field = header.first("content-type")
    kind = parse_content_type(field.value)

    assert b'protocol="application/pkcs7-signature"' in field.raw
    assert kind.full == "multipart/signed"
    assert kind.parameters["micalg"] == micalg
    assert smime.MICALG["sha256"] == "sha-256"


def test_a_part_that_has_the_boundary_gets_another_one():
    once = smime.clear_signed(b"\r\nx", DER, "sha-256")
    twice = smime.clear_signed(once, DER, "sha-256")

    assert bytes(smime.recognise(twice).part) == once


def test_embedded_entities_have_their_path_and_the_root_is_none():
    inner = entity("application/pkcs7-mime")
    forwarded = b"Content-Type: message/rfc822\r\n\r\nFrom: a@b.example\r\n" + inner
    mixed = b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\ntext\r\n--c\r\n" + inner
    octets = mixed + b"\r\n--c\r\n" + forwarded + b"\r\n--c\r\n" + signed(b"\r\nx", SIGNATURE) + b"\r\n--c--"

    assert [(one.path, bytes(one.entity[:20])) for one in smime.embedded(octets)] == [
        ("2", inner[:20]),
        ("3.1", b"From: a@b.example\r\nC"),
        ("4", b"Content-Type: multip"),
    ]
    assert smime.embedded(inner) == ()


INNER = entity("application/pkcs7-mime")
MESSAGE = b"From: a@b.example\r\n" + INNER


def attached(octets: bytes, kind: str = "message/rfc822", encoding: str = "") -> bytes:
    field = f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else ""
    return f"Content-Type: {kind}\r\n{field}\r\n".encode() + octets


def multipart(*parts: bytes, subtype: str = "mixed") -> bytes:
    body = b"".join(b"--c\r\n" + part + b"\r\n" for part in parts)
    return f"Content-Type: multipart/{subtype}; boundary=c\r\n\r\n".encode() + body + b"--c--"


@pytest.mark.parametrize(
    ("octets", "paths"),
    [
        pytest.param(multipart(attached(MESSAGE)), ["1.1"], id="attached"),
        pytest.param(multipart(attached(MESSAGE, "message/global")), ["1.1"], id="with UTF-8 in its header"),
        pytest.param(attached(base64.encodebytes(MESSAGE), encoding="base64"), ["1"], id="encoded against RFC 2046"),
        pytest.param(attached(b"?", encoding="base64"), [], id="encoded, and it cannot be undone"),
        pytest.param(multipart(b"\r\n" + MESSAGE, subtype="digest"), ["1.1"], id="a message by default"),
        pytest.param(multipart(b"\r\n" + MESSAGE), [], id="text by default"),
        pytest.param(multipart(attached(MESSAGE), subtype="digest"), ["1.1"], id="a message that says so"),
        pytest.param(multipart(b"Content-Type: text/plain\r\n" + INNER), ["1"], id="two types"),
        pytest.param(multipart(signed(b"\r\nx", SIGNATURE, SIGNATURE)), ["1"], id="three parts"),
        pytest.param(multipart(entity("application/octet-stream; name=a.p7m")), ["1"], id="by its file name"),
        pytest.param(multipart(b"Content-Type: a/b\r\nContent-Type: c/d\r\n\r\nx"), ["1"], id="nobody knows what"),
        pytest.param(multipart(signed(INNER, b"\r\nx", protocol="application/pgp-signature")), ["1.1"], id="PGP"),
    ],
)
def test_what_others_may_take_for_protected_is_found(octets, paths):
    assert [one.path for one in smime.embedded(octets)] == paths


def nested(levels: int) -> bytes:
    opened = b"".join(
        f"Content-Type: multipart/mixed; boundary=n{level}x\r\n\r\n--n{level}x\r\n".encode() for level in range(levels)
    )
    return opened + b"\r\ntext"


def test_the_walk_is_bounded():
    assert smime.embedded(nested(32)) == ()
    with pytest.raises(LimitExceeded, match="mime_depth"):
        smime.embedded(nested(33))
    many = b"Content-Type: multipart/mixed; boundary=c\r\n\r\n" + b"--c\r\n\r\nx\r\n" * 10 + b"--c--"
    smime.embedded(many, Limits(mime_parts=11))
    with pytest.raises(LimitExceeded, match="mime_parts"):
        smime.embedded(many, Limits(mime_parts=10))


PIECES = [
    b"Content-Type: ", b"multipart/signed", b"application/pkcs7-mime", b"; protocol=application/pkcs7-signature",
    b"; boundary=b", b"\r\n", b"\r\n\r\n", b"--b", b"--", b"Content-Transfer-Encoding: base64", b"MIA=", b"\xff", b"\n",
    b" ", b"application/pkcs7-signature", b"(", b'"', b"*0*=", b"message/rfc822", b"multipart/mixed",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
def test_nothing_but_our_errors(octets):
    try:
        smime.recognise(octets)
        smime.embedded(octets)
    except DomsecError:
        pass


@pytest.mark.parametrize("name", ["g01-orig-detached", "g12-dom-s0-detached-outer", "g07-dom-detached-detached"])
def test_clear_signed_messages_of_others(vectors, name):
    message = (vectors / "oracle" / "msgs" / f"{name}.eml").read_bytes()
    found = smime.recognise(fields.entity_of(message))

    assert isinstance(found, smime.ClearSigned)
    assert bytes(found.part) in message
    assert found.flags == ()


def test_every_message_of_the_oracle_is_recognised(vectors):
    for path in sorted((vectors / "oracle" / "msgs").glob("*.eml")):
        found = smime.recognise(fields.entity_of(path.read_bytes()))
        assert not isinstance(found, smime.Other), path.name
