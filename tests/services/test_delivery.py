"""What a recipient behind the last hop is given (decisions A-55, A-56, A-63)."""

from __future__ import annotations

import pytest

import world
from domsec.cms import enveloped_data
from domsec.mime import smime
from domsec.services.delivery import Strip, deliver
from world import acme, beta, build


def delivered(octets: bytes, strip: Strip = "verified") -> tuple[str, tuple[str, ...]]:
    """The structure that is left, and the layers taken off."""
    delivery = deliver(world.look(octets), strip)
    entity = delivery.entity()
    left = octets if entity is None else world.message(entity)
    letters = [layer.kind for layer in world.look(left, world.context()).message.spine()]
    return "(".join(letters), delivery.removed


@pytest.mark.requirement("R3183-6-07")
@pytest.mark.parametrize(
    ("notation", "left", "removed"),
    [
        ("OC", "content", ()),
        ("S(OC)", "signed(content", ()),
        ("S~(OC)", "signed(content", ()),
        ("S[originator](OC)", "signed(content", ()),
        ("S[domain](S(OC))", "signed(content", ("1",)),
        ("S[domain](S0(OC))", "content", ("1", "1.1")),
        ("E(S[domain](S0(OC)))", "content", ("1", "1.1", "1.1.1")),
        ("E(S[domain](S~(OC)))", "signed(content", ("1", "1.1")),
        ("S[domain](S[review](S[attributes](S(OC))))", "signed(content", ("1", "1.1", "1.1.1")),
        ("S+mlh(E(S[domain](S(OC))))", "signed(content", ("1", "1.1", "1.1.1")),
        ("S[domain](C(S(OC)))", "compressed(signed(content", ("1",)),
        ("S[domain](S0(M(OC)))", "content", ("1", "1.1", "1.1.1")),
        ("S[domain](S0(M(S(OC))))", "signed(content", ("1", "1.1", "1.1.1")),
        ("S[domain](X(S(OC)))", "auth_enveloped", ("1",)),
        ("S[domain](S[evil](S(OC)))", "signed(signed(content", ("1",)),  # a signature that does not hold stays
    ],
)
def test_accepted_layers_come_off(notation: str, left: str, removed: tuple[str, ...]) -> None:
    assert delivered(build(notation)) == (left, removed)


def test_a_layer_that_signs_as_originator_too_stays() -> None:
    types = world.typed(world.SignatureType.ORIGINATOR, world.SignatureType.DOMAIN)
    octets = world.message(world.signed(world.entity("S(OC)"), acme().signing, extra=[types]))
    assert world.judge(octets).accepted
    assert delivered(octets) == ("signed(signed(content", ())


@pytest.mark.parametrize(
    ("octets", "left", "removed"),
    [
        pytest.param(world.other_from(build("S[domain](S(OC))"), "carol@beta.example"), "signed(signed(content", (),
                     id="the mapping does not hold"),
        pytest.param(build("S[domain](OC)"), "signed(content", (), id="nothing signed inside"),
        pytest.param(build("S0(OC)"), "null(content", (), id="the empty signature alone"),
        pytest.param(build("E(S0(OC))"), "null(content", ("1",), id="what was ours to open is opened"),
        pytest.param(build("E(S[evil](OC))"), "signed(content", ("1",), id="a signature nobody believes stays"),
        pytest.param(build("S[evil](E(OC))"), "signed", (), id="and what it encloses"),
        pytest.param(build("X(S(OC))"), "auth_enveloped", (), id="closed"),
        pytest.param(build("S[review](S0(OC))"), "signed(null(content", (), id="no originator, no domain"),
    ],
)  # fmt: skip
def test_what_was_not_accepted_stays(octets: bytes, left: str, removed: tuple[str, ...]) -> None:
    found, off = delivered(octets)
    assert off == removed
    assert found.startswith(left)


@pytest.mark.parametrize("notation", ["S[domain](S0(OC))", "S[domain](S(OC))", "S(OC)"])
def test_strip_none_keeps_signatures(notation: str) -> None:
    assert delivered(build(notation), "none")[1] == ()
    assert delivered(build(f"E({notation})"), "none")[1] == ("1",)


def test_strip_domain_keeps_other_layers() -> None:
    assert delivered(build("S[domain](S[review](S(OC)))"), "domain") == ("signed(signed(content", ("1",))
    assert delivered(build("S[domain](S0(OC))"), "domain") == ("content", ("1", "1.1"))


@pytest.mark.requirement("R9788-4-01")
@pytest.mark.parametrize(("encrypt", "shown"), [("dca", True), ("no", False)])
def test_header_fields_are_put_back_only_where_an_encryption_hid_them(encrypt: str, shown: bool) -> None:
    """Fields inside of a signature alone stand outside too, and what is there now is for the verdict to compare."""
    out = world.only(world.send(build("OC"), at=world.acme_site(outbound={"encrypt": encrypt})))
    delivery = deliver(world.look(out, world.context(beta().confidentiality)), "verified")
    assert delivery.removed
    assert (delivery.protected is not None) is shown


@pytest.mark.requirement("R3183-1-03", "R3183-6-07")
def test_the_originators_signature_keeps_its_octets() -> None:
    for inner in ("S(OC)", "S~(OC)"):
        entity = world.entity(inner)
        over = world.signed(entity, acme().signing, extra=[world.typed(world.SignatureType.DOMAIN)])
        assert deliver(world.look(world.message(over)), "verified").entity() == entity


@pytest.mark.parametrize("content_type", ["1.2.840.113549.1.9.16.1.4", "1.2.840.113549.1.7.2", "1.2.3.4"])
@pytest.mark.parametrize("content", [b"\x30\x03\x02\x01\x01", b"", b"no structure"])
def test_what_has_no_form_in_mail_stays_wrapped(content_type: str, content: bytes) -> None:
    octets = enveloped_data.encrypt(content, [beta().confidentiality.certificate], content_type=content_type)
    made = world.message(smime.pkcs7_mime(octets, "authEnveloped-data"))
    delivery = deliver(world.look(made), "verified")
    assert (delivery.layer, delivery.removed, delivery.entity()) == (None, (), None)


@pytest.mark.requirement("R8551-6-01")
@pytest.mark.parametrize(
    ("notation", "cipher", "loose"),
    [
        ("E(OC)", "aes256-gcm", False),
        ("E(OC)", "aes256-cbc", True),
        ("E(S0(OC))", "aes256-cbc", True),
        ("E(S(OC))", "aes256-cbc", False),
        ("E(S[evil](OC))", "aes256-cbc", True),
        ("E(C(S(OC)))", "aes128-cbc", False),
        ("S(E(OC))", "aes256-cbc", True),
        ("E(E(OC))", "aes256-cbc", True),
    ],
)
def test_content_that_anybody_could_have_altered(notation: str, cipher: str, loose: bool) -> None:
    assert deliver(world.look(build(notation, cipher=cipher)), "verified").unauthenticated is loose
