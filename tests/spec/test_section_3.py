"""RFC 3183 3: signature encapsulation and the empty signature."""

from __future__ import annotations

import pytest

import world
from domsec import der, oids
from domsec.cms import content_info, signed_data
from domsec.cms.signed_data import Signing
from domsec.mime import smime
from domsec.services import encapsulate, layers, sign
from domsec.services.signature_type import SignatureType
from domsec.services.verdict import Verdict
from world import acme, judge

CONTENT = b"Content-Type: text/plain\r\n\r\nunsigned hello\r\n"
# made alike by OpenSSL and Bouncy Castle (design/interop-notes.md 1)
GOLDEN = bytes.fromhex(
    "3053 06092a864886f70d010702 a046 3044 020101 3100 303b 06092a864886f70d010701 a02e 042c"
) + CONTENT + bytes.fromhex("3100")  # fmt: skip


@pytest.mark.requirement("R3183-3-05", "R3183-3-06", "R3183-3-07")
def test_the_empty_signature_is_what_others_make() -> None:
    entity = layers.null_layer(CONTENT)
    found = smime.recognise(entity)
    assert isinstance(found, smime.Pkcs7)
    assert bytes(found.der) == GOLDEN
    assert found.smime_type == "signed-data"
    assert b"name=smime.p7m" in entity
    read = signed_data.parse_signed_data(content_info.parse(GOLDEN).content)
    assert (read.signers, read.content_type, read.content) == ((), oids.ID_DATA, CONTENT)


@pytest.mark.requirement("R3183-3-05", "R3183-3-08", "R3183-3.1.2-09", "R3183-2.1-01")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("OC", "S[domain](S0(OC))"),
        ("S(OC)", "S[domain](S[originator](OC))"),
        ("S~(OC)", "S[domain](S[originator](OC))"),
        ("S0(OC)", "S[domain](S0(OC))"),
        ("C(OC)", "S[domain](S0(C(OC)))"),
    ],
)
def test_an_unsigned_message_gets_the_empty_signature_first(before: str, after: str) -> None:
    octets = world.only(world.send(world.build(before), at=world.acme_site(outbound={"encrypt": "no"})))
    verdict = judge(octets)
    assert verdict.structure == after
    assert verdict.accepted


@pytest.mark.requirement("R3183-3-01", "R3183-3-08", "R3183-1-03")
@pytest.mark.parametrize("inner", ["S(OC)", "S~(OC)", "S[review](S(OC))", "S0(OC)"])
def test_what_was_signed_before_lies_octet_by_octet_inside(inner: str) -> None:
    entity = world.entity(inner)
    octets = world.only(world.send(world.message(entity), at=world.acme_site(outbound={"encrypt": "no"})))
    outer = world.look(octets).message.root
    assert bytes(outer.content or b"") == b"MIME-Version: 1.0\r\n" + entity


@pytest.mark.requirement("R3183-3-02")
def test_a_domain_signature_is_never_a_further_signer() -> None:
    entity = world.entity("S(OC)")
    octets = world.only(world.send(world.message(entity), at=world.acme_site(outbound={"encrypt": "no"})))
    spine = world.look(octets).message.spine()
    assert [len(layer.signed.signers) for layer in spine if layer.signed] == [1, 1]


@pytest.mark.requirement("R3183-3-03", "R3183-3-04")
def test_the_chain_of_the_rfc() -> None:
    """Signed by the originator, attributes around it, encrypted, reviewed, signed for the domain."""
    verdict = judge(world.build("S[domain](S[review](E(S[attributes](S(OC)))))"))
    assert verdict.structure == "S[domain](S[review](E(S[attributes](S[originator](OC)))))"
    assert verdict.accepted
    assert [layer.roles for layer in verdict.layers if layer.state] == [
        ("domain",),
        ("review",),
        ("attributes",),
        ("originator",),
    ]
    assert len(verdict.reviewed_by) == len(verdict.additional_attributes) == 1
    assert verdict.layers[0].coverage == verdict.layers[1].coverage == "through_encryption"


def _state(verdict: Verdict) -> tuple[bool, str, set[str]]:
    return verdict.accepted, verdict.level, world.codes(verdict, "violation")


@pytest.mark.requirement("R3183-3-09", "R3183-3-07")
@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        pytest.param("S0(OC)", (False, "none", {"null.uncovered"}), id="nothing outside"),
        pytest.param("S(S0(OC))", (False, "originator_direct", {"null.uncovered"}), id="no DOMSEC signature outside"),
        pytest.param("S[domain](E(S0(OC)))", (False, "none", {"null.uncovered", "coverage.ciphertext_only"}),
                     id="encryption between"),
        pytest.param("E(S0(OC))", (False, "none", {"null.uncovered"}), id="only encryption outside"),
        pytest.param("S[review](S0(OC))", (False, "none", set()), id="a review is no originator"),
        pytest.param("S[domain](S0(S(OC)))", (True, "originator_direct", set()), id="around something signed"),
    ],
)  # fmt: skip
def test_an_empty_signature_proves_nothing(notation: str, expected: tuple[bool, str, set[str]]) -> None:
    assert _state(judge(world.build(notation))) == expected


@pytest.mark.requirement("R3183-3-09")
def test_the_null_layer_has_a_state_of_its_own() -> None:
    verdict = judge(world.build("S[domain](S0(OC))"))
    assert [layer.state for layer in verdict.layers] == ["valid", "null", None]


def test_an_empty_signature_around_something_signed_is_said_to_be_too_much() -> None:
    assert "null.redundant" in world.codes(judge(world.build("S[domain](S0(S(OC)))")), "warning")


@pytest.mark.requirement("R3183-3-09")
def test_an_empty_signature_under_one_that_is_broken() -> None:
    inner = world.entity("S0(OC)")
    signed = world.signed(inner, acme().signing, extra=[world.typed(SignatureType.DOMAIN)])
    forged = _with_other_content(signed, inner, world.entity("S0(OC)", text=world.TEXT.replace(b"dawn", b"dusk")))
    verdict = judge(world.message(forged))
    assert (verdict.accepted, verdict.level) == (False, "none")
    assert "signature.invalid" in world.codes(verdict, "violation")


def _with_other_content(entity: bytes, old: bytes, new: bytes) -> bytes:
    found = smime.recognise(entity)
    assert isinstance(found, smime.Pkcs7)
    octets = bytes(found.der)
    assert octets.count(old) == 1
    assert len(old) == len(new)
    return smime.pkcs7_mime(octets.replace(old, new), "signed-data")


def _null(*, content_type: str = oids.ID_DATA, content: bytes | None = CONTENT) -> bytes:
    inner = der.explicit(0, der.octet_string(content)) if content is not None else b""
    return content_info.wrap(
        oids.ID_SIGNED_DATA,
        der.sequence(der.integer(1), der.set_of([]), der.sequence(der.oid(content_type), inner), der.set_of([])),
    )


@pytest.mark.requirement("R3183-3-06", "R3183-3-07")
@pytest.mark.parametrize(
    ("octets", "kind", "flags"),
    [
        pytest.param(_null(), "null", set(), id="as it should be"),
        pytest.param(_null(content=None), "certs_only", {"encapsulation.missing"}, id="no content: certificates only"),
        pytest.param(_null(content_type=oids.ID_CT_COMPRESSED_DATA), "null", {"null.econtenttype", "cms.malformed"},
                     id="another content type"),
        pytest.param(_null(content=b""), "null", set(), id="empty content is content"),
    ],
)  # fmt: skip
def test_what_is_an_empty_signature(octets: bytes, kind: str, flags: set[str]) -> None:
    entity = smime.pkcs7_mime(octets, "signed-data")
    over = world.signed(entity, acme().signing, extra=[world.typed(SignatureType.DOMAIN)])
    verdict = judge(world.message(over))
    assert verdict.layers[1].kind == kind
    assert world.codes(verdict, "violation") == flags
    assert verdict.accepted is (not flags)


@pytest.mark.requirement("R3183-3-07")
def test_a_detached_empty_signature_is_none() -> None:
    entity = smime.clear_signed(CONTENT, _null(content=None), "sha-256")
    over = world.signed(entity, acme().signing, extra=[world.typed(SignatureType.DOMAIN)])
    verdict = judge(world.message(over))
    assert "null.detached" in world.codes(verdict, "violation")
    assert not verdict.accepted


@pytest.mark.requirement("R3183-3-01")
def test_encapsulate_covers_what_lies_inside() -> None:
    signer = sign.Signer(world.credential(acme().review))
    for notation, structure in (
        ("S(OC)", "S[review](S[originator](OC))"),
        ("OC", "S[review](S0(OC))"),
        ("S[domain](S0(OC))", "S[review](S[domain](S0(OC)))"),
    ):
        made = encapsulate.review(world.look(world.build(notation)), signer, world.context())
        verdict = judge(world.message(made.entity))
        assert verdict.structure == structure
        assert "review" in verdict.layers[0].roles


@pytest.mark.requirement("R3183-3.1.2-06", "R3183-7-01")
def test_a_domain_signature_is_a_plain_cms_signature() -> None:
    octets = world.only(world.send(world.build("OC"), at=world.acme_site(outbound={"encrypt": "no"})))
    layer = world.look(octets).message.root
    assert layer.signed is not None
    info = layer.signed.signers[0]
    checked = signed_data.verify(info, layer.content or b"", oids.ID_DATA, acme().signing.certificate)
    assert not checked.weak
    assert info.signed_attributes is not None
    (attribute,) = info.signed_attributes.get("1.2.840.113549.1.9.16.2.28")
    assert [bytes(v) for v in attribute.values] == [der.sequence(der.oid("1.2.840.113549.1.9.16.9.2"))]


def test_signing_prepares_once() -> None:
    signer = sign.Signer(world.credential(acme().signing))
    assert isinstance(signer.signing(SignatureType.DOMAIN), Signing)
    assert signer.signing(SignatureType.DOMAIN) is signer.signing(SignatureType.DOMAIN)
