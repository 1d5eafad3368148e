"""Taking messages apart: kinds and forms of layers, and what is wrong with them, without any judgement."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

import world
from domsec import der, oids
from domsec.cms import compressed_data, content_info, enveloped_data, signed_data
from domsec.cms.signed_data import Signing
from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import DEFAULT
from domsec.mime import smime
from domsec.mime.smime import Embedded
from domsec.services import layers
from domsec.services.layers import Layer, Message
from world import acme, build


def peel(octets: bytes, **limits: int) -> Message:
    keyring = (world.credential(acme().confidentiality),)
    return layers.peel(octets, keyring, dataclasses.replace(DEFAULT, **limits))


def shapes(message: Message) -> list[tuple[str, str]]:
    return [(layer.kind, layer.form) for layer in message.spine()]


def flags(message: Message) -> set[str]:
    return {code for layer in message.spine() for code, _ in layer.flags}


@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        ("OC", [("content", "opaque")]),
        ("S(OC)", [("signed", "opaque"), ("content", "opaque")]),
        ("S~(OC)", [("signed", "clear"), ("content", "opaque")]),
        ("S0(OC)", [("null", "opaque"), ("content", "opaque")]),
        ("E(OC)", [("auth_enveloped", "opaque"), ("content", "opaque")]),
        ("X(OC)", [("auth_enveloped", "opaque")]),
        ("C(OC)", [("compressed", "opaque"), ("content", "opaque")]),
        ("S(M(OC))", [("signed", "opaque"), ("rfc822", "opaque"), ("content", "opaque")]),
        ("M(OC)", [("content", "opaque")]),
        ("S(E(C(S~(OC))))", [("signed", "opaque"), ("auth_enveloped", "opaque"), ("compressed", "opaque"),
                             ("signed", "clear"), ("content", "opaque")]),
    ],
)  # fmt: skip
def test_spine(notation: str, expected: list[tuple[str, str]]) -> None:
    message = peel(build(notation))
    assert shapes(message) == expected
    assert [layer.id for layer in message.spine()] == ["1" + ".1" * i for i in range(len(expected))]
    assert flags(message) == set()


def test_every_layer_keeps_its_octets() -> None:
    octets = build("S(E(C(S~(OC))))")
    message = peel(octets)
    assert message.octets == octets
    spine = message.spine()
    assert octets.endswith(bytes(spine[0].entity).partition(b"\r\n")[2])
    assert bytes(spine[-1].entity) == world.TEXT
    for outer, inner in itertools.pairwise(spine):
        content = outer.opened.plaintext if outer.opened else bytes(outer.content or b"")
        assert bytes(inner.entity) == content


def test_closed_layers_say_why() -> None:
    assert peel(build("X(OC)")).root.closed == "not_for_us"
    found = smime.recognise(world.entity("E(OC)"))
    assert isinstance(found, smime.Pkcs7)
    broken = bytes(found.der)[:-1] + bytes([found.der[-1] ^ 1])
    root = peel(world.message(smime.pkcs7_mime(broken, "authEnveloped-data"))).root
    assert (root.closed, root.opened, root.child) == ("failed", None, None)


# --- what CMS calls direct (RFC 3854 3.4) ---------------------------------------------------------------------------


def _signed(content: bytes, content_type: str) -> bytes:
    signing = Signing(world.credential(acme().users["alice"]), signing_time=world.NOW)
    return signed_data.sign(content, content_type, (signing,))


def _inner(octets: bytes) -> bytes:
    return bytes(content_info.parse(octets).content)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("content_type", "make", "kind"),
    [
        (oids.ID_SIGNED_DATA, lambda: _signed(world.TEXT, oids.ID_DATA), "signed"),
        (oids.ID_CT_COMPRESSED_DATA, lambda: compressed_data.compress(world.TEXT), "compressed"),
        (oids.ID_CT_AUTH_ENVELOPED_DATA,
         lambda: enveloped_data.encrypt(world.TEXT, [acme().confidentiality.certificate]), "auth_enveloped"),
    ],
)  # fmt: skip
def test_direct_nesting(content_type: str, make: object, kind: str, wrapped: bool) -> None:
    inner = make()  # type: ignore[operator]
    outer = _signed(inner if wrapped else _inner(inner), content_type)
    message = peel(world.message(smime.pkcs7_mime(outer, "signed-data")))
    assert shapes(message) == [("signed", "opaque"), (kind, "direct"), ("content", "opaque")]
    entity = layers.mime_entity(message.spine()[1])
    again = layers.peel_entity(entity, [world.credential(acme().confidentiality)])
    assert (again.kind, again.form) == (kind, "opaque")
    assert bytes(tuple(layers.spine(again))[-1].entity) == world.TEXT


def test_content_without_a_form_in_mime() -> None:
    token = _signed(b"\x30\x00", "1.2.840.113549.1.9.16.1.4")
    inner = peel(world.message(smime.pkcs7_mime(token, "signed-data"))).spine()[1]
    assert (inner.kind, inner.form, layers.in_mime(inner)) == ("content", "direct", False)
    with pytest.raises(Unsupported):
        layers.mime_entity(inner)


# --- what is wrong --------------------------------------------------------------------------------------------------


def _cms(content_type: str, value: bytes) -> bytes:
    return world.message(smime.pkcs7_mime(content_info.wrap(content_type, value), "signed-data"))


@pytest.mark.parametrize(
    ("octets", "kind", "code"),
    [
        pytest.param(_cms(oids.ID_SIGNED_DATA, der.sequence()), "unsupported", "cms.malformed", id="empty"),
        pytest.param(_cms("1.2.840.113549.1.7.6", der.sequence()), "unsupported", "cms.unsupported", id="Encrypted"),
        pytest.param(_cms("1.2.840.113549.1.7.5", der.sequence()), "unsupported", "cms.unsupported", id="Digested"),
        pytest.param(_cms("1.2.3", der.null()), "unsupported", "cms.unsupported", id="anything"),
        pytest.param(world.message(smime.pkcs7_mime(b"", "signed-data")), "unsupported", "cms.malformed", id="nothing"),
        pytest.param(world.message(smime.pkcs7_mime(b"hello", "signed-data")), "unsupported", "cms.malformed", id="x"),
        pytest.param(world.message(smime.pkcs7_mime(compressed_data.compress(world.TEXT) + b"\0", "compressed-data")),
                     "compressed", "cms.trailing", id="something behind"),
        pytest.param(world.message(smime.pkcs7_mime(compressed_data.compress(world.TEXT), "signed-data")),
                     "compressed", "mime.smime_type", id="another smime-type"),
        pytest.param(world.message(smime.clear_signed(world.TEXT, compressed_data.compress(world.TEXT), "sha-256")),
                     "unsupported", "cms.unsupported", id="a signature that is none"),
    ],
)  # fmt: skip
def test_flags(octets: bytes, kind: str, code: str) -> None:
    message = peel(octets)
    assert message.root.kind == kind
    assert flags(message) == {code}


@pytest.mark.requirement("R8551-3.7-01", "R3183-1-02")
@pytest.mark.parametrize("letter", ["S", "S0", "C", "E", "M"])
def test_layers_are_counted(letter: str) -> None:
    deep = 12

    def peeled(depth: int) -> Message:
        letters = ["S"] + [letter if i % 2 else "S0" for i in range(depth - 1)]
        return peel(build("(".join([*letters, "OC"]) + ")" * depth), depth=deep)

    assert "limit.depth" not in flags(peeled(deep - 1))  # what is wrapped counts as well
    assert "limit.depth" in flags(peeled(deep))


@pytest.mark.requirement("R8551-3.7-01", "R3183-1-02")
def test_twenty_five_signatures() -> None:
    """As `b50-deep` of the oracle kit."""
    octets = build("S[domain](" * 24 + "S(OC)" + ")" * 24)
    verdict = world.judge(octets)
    assert "limit.depth" in world.codes(verdict, "violation")
    assert (verdict.accepted, verdict.malformed) == (False, True)


@pytest.mark.requirement("R3183-1-02")
@pytest.mark.parametrize(
    ("octets", "limits", "limit"),
    [
        (build("OC"), {"size": 10}, "size"),
        (build("OC"), {"header_fields": 3}, "header_fields"),
        (build("OC"), {"header_size": 30}, "header_size"),
    ],
)
def test_a_message_beyond_the_limits_is_not_read(octets: bytes, limits: dict[str, int], limit: str) -> None:
    with pytest.raises(LimitExceeded) as caught:
        peel(octets, **limits)
    assert caught.value.limit == limit
    assert peel(octets)


@pytest.mark.requirement("R3274-1.1-01", "R3183-1-02")
def test_limits_inside_become_flags() -> None:
    bomb = world.message(smime.pkcs7_mime(compressed_data.compress(bytes(10_000_000)), "compressed-data"))
    assert flags(peel(bomb)) == {"limit.ratio"}
    assert flags(peel(bomb, ratio=1_000_000, expanded=1_000_000)) == {"limit.expanded"}
    signed = build("S(OC)")
    assert flags(peel(signed, signers=0)) == {"limit.signers"}
    assert peel(signed, signers=0).root.kind == "unsupported"


@pytest.mark.requirement("R3183-1-02")
@pytest.mark.parametrize(
    ("text", "limits", "flagged"),
    [
        (b"X: y\r\n" * 50 + world.TEXT, {"header_fields": 40}, "limit.header_fields"),
        (b"X: " + b"y" * 3000 + b"\r\n" + world.TEXT, {"header_size": 2000}, "limit.header_size"),
        (b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\n\r\n" * 9 + b"--b--\r\n",
         {"mime_parts": 8}, "limit.mime_parts"),
        (world.entity("S(OC)"), {"certificates": 0}, "limit.certificates"),
    ],
)  # fmt: skip
def test_a_limit_inside_is_flagged_where_it_was_hit(text: bytes, limits: dict[str, int], flagged: str) -> None:
    """Not on the layers around, which can be read: with all that these say, the text is no longer the signer's."""
    whole = peel(world.message(world.encrypted(text, acme().confidentiality)), **limits)
    assert whole.root.flags == ()
    assert whole.root.child is not None
    [(code, told)] = whole.root.child.flags
    assert (code, bool(told)) == (flagged, True)


@pytest.mark.requirement("R3274-1.1-01", "R3183-1-02")
@pytest.mark.parametrize("notation", ["C(C(OC))", "C(S(C(OC)))", "C(E(C(OC)))"])
def test_what_is_compressed_inside_something_compressed_counts_with_it(notation: str) -> None:
    octets = build(notation, text=world.TEXT + bytes(range(256)) * 100)
    found = [len(layer.content or b"") for layer in peel(octets).spine() if layer.kind == "compressed"]
    outer, inner = found
    assert flags(peel(octets, expanded=outer + inner)) == set()
    assert flags(peel(octets, expanded=outer + inner - 1)) == {"limit.expanded"}
    assert flags(peel(octets, expanded=inner)) == {"limit.expanded"}


def test_a_file_name_is_only_a_hint() -> None:
    found = smime.recognise(world.entity("S(OC)"))
    assert isinstance(found, smime.Pkcs7)
    for content, kind in ((bytes(found.der), "signed"), (b"no CMS at all", "content")):
        entity = smime.pkcs7_mime(content, "signed-data").replace(
            b"application/pkcs7-mime; smime-type=signed-data;", b"application/octet-stream;"
        )
        root = peel(world.message(entity)).root
        assert root.kind == kind
        assert root.flags == ()
        assert layers.peel(world.message(entity), sniff_suffix=False).root.kind == "content"


def test_parts_of_a_multipart_are_only_named() -> None:
    part = world.entity("S(OC)")
    entity = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n' + part + b"\r\n--b--\r\n"
    message = peel(world.message(entity))
    assert (message.root.kind, message.root.embedded, message.root.child) == ("content", (Embedded("2", part),), None)


def test_protected_fields_count_only_below_a_layer() -> None:
    text = b'Content-Type: text/plain; hp="clear"\r\nSubject: inside\r\n\r\nhello\r\n'
    inside = peel(world.message(world.signed(text, acme().users["alice"]))).spine()[1]
    assert inside.protected is not None
    assert [f.name for f in inside.protected.header.fields] == ["subject"]
    assert peel(world.message(text)).root.protected is None


# --- hostile octets -------------------------------------------------------------------------------------------------

whole = functools.cache(build)
DAMAGE = st.tuples(st.integers(0, 2**20), st.integers(0, 3), st.binary(max_size=4))


@given(st.sampled_from(["S[domain](S~(OC))", "E(S(OC))", "S0(C(OC))", "S(M(OC))"]), st.lists(DAMAGE, min_size=1))
def test_damaged_messages_are_peeled_or_refused(notation: str, damages: list[tuple[int, int, bytes]]) -> None:
    broken = bytearray(whole(notation))
    for place, size, octets in damages:
        at = place % (len(broken) + 1)
        broken[at : at + size] = octets
    try:
        message = peel(bytes(broken))
    except MalformedMessage:
        return
    for layer in message.spine():
        assert isinstance(layer, Layer)
        if layers.in_mime(layer):
            layers.mime_entity(layer)


@given(st.sampled_from(["E(S(OC))", "S[domain](S(OC))", "C(S(OC))"]), st.integers(0, 2**20), st.integers(1, 255))
def test_damaged_structures_are_judged(notation: str, place: int, change: int) -> None:
    """The same inside base64, up to the verdict: nothing raises, and what was encrypted opens whole or not at all."""
    found = smime.recognise(smime_entity(notation))
    assert isinstance(found, smime.Pkcs7)
    octets = bytearray(found.der)
    octets[place % len(octets)] ^= change
    made = smime.pkcs7_mime(bytes(octets), found.smime_type or "signed-data")
    verdict = world.judge(world.message(made))
    assert isinstance(verdict.to_json(), dict)
    if verdict.decrypted:
        assert verdict.level == "originator_direct"


smime_entity = functools.cache(world.entity)
