"""Parts of a message that are protected by themselves: judged apart, and what the signing gate makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import world
from domsec.errors import SigningRefused
from domsec.limits import Limits
from domsec.services import proxy, sign
from domsec.services.peer import Peer
from domsec.services.proxy import Users
from domsec.services.sign import Evidence
from domsec.services.verdict import Embedded, Verdict
from domsec.trust.path import AnchorSet
from world import acme, beta, judge

ALICE = "Alice <alice@acme.example>"
CAROL = "Carol <carol@beta.example>"
FOOTER = b"Content-Type: text/plain\r\n\r\nThe list of the friends of lists.\r\n"


def multipart(*parts: bytes) -> bytes:
    boundary = f"b{len(b''.join(parts))}".encode()
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts)
    return b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n%s--%s--\r\n" % (boundary, body, boundary)


def attached(message: bytes) -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\n" + message


def of(notation: str, sender: str = ALICE) -> bytes:
    """A message from carol with a part of this shape in it; `sender` is in From of what is attached."""
    return world.message(multipart(FOOTER, attached(world.build(notation, sender=sender))), sender=CAROL)


def only(verdict: Verdict) -> Verdict:
    (part,) = verdict.embedded
    assert part.verdict is not None
    return part.verdict


@pytest.mark.requirement("R8551-6-01")
@pytest.mark.parametrize(
    ("notation", "level", "structure"),
    [
        ("S(OC)", "originator_direct", "S[originator](OC)"),
        ("S~(OC)", "originator_direct", "S[originator](OC)"),
        ("S[domain](S0(OC))", "domain", "S[domain](S0(OC))"),
        ("E[acme](S[domain](S(OC)))", "originator_direct", "E(S[domain](S[originator](OC)))"),
        ("E[bob](OC)", "none", "E(OC)"),
        ("S[evil](OC)", "none", "S[originator](OC)"),
    ],
)
def test_a_part_has_the_verdict_that_it_would_have_alone(notation: str, level: str, structure: str) -> None:
    octets = of(notation)
    verdict, alone = judge(octets), judge(world.build(notation))
    assert only(verdict).to_json() == alone.to_json()
    assert (only(verdict).level, only(verdict).structure) == (level, structure)
    assert (verdict.accepted, verdict.level, verdict.structure, verdict.decrypted) == (False, "none", "OC", False)
    assert world.codes(verdict) == {"mime.embedded"}


@pytest.mark.parametrize(
    ("part", "addresses"),
    [
        pytest.param(lambda s: multipart(s, FOOTER), ("carol@beta.example",), id="a list's footer beside it"),
        pytest.param(lambda s: multipart(multipart(s)), ("carol@beta.example",), id="nested"),
        pytest.param(lambda s: attached(world.message(s)), ("alice@acme.example",), id="forwarded"),
        pytest.param(
            lambda s: attached(world.message(multipart(s))), ("alice@acme.example",), id="in what is forwarded"
        ),
    ],
)
def test_a_part_is_from_whom_the_nearest_header_names(
    part: Callable[[bytes], bytes], addresses: tuple[str, ...]
) -> None:
    verdict = only(judge(world.message(part(world.entity("S(OC)")), sender=CAROL)))
    assert verdict.from_.mailboxes == addresses
    assert verdict.accepted is (addresses == ("alice@acme.example",))


def test_a_part_breaks_no_agreement_of_its_sender() -> None:
    """Whoever passes a message on did not agree to have it signed; how the sender's authority is named does hold."""
    at = world.context(
        peers=(Peer("acme.example", expect_signed=True, expect_encrypted=True, pins=(beta().ca.certificate,)),)
    )
    verdict = judge(of("OC"), at)
    assert verdict.embedded == ()
    assert not only(judge(of("S(OC)"), at)).violations
    assert only(judge(of("S[domain](S(OC))"), at)).level == "originator_direct"


def test_what_was_agreed_with_its_sender_of_trust_holds_for_a_part() -> None:
    """As it would for the message alone: here nobody but the agreement trusts the CA."""
    anchors = AnchorSet((acme().ca.certificate,))
    for peers, level in (((), "none"), ((Peer("acme.example", anchors=anchors),), "domain")):
        assert (
            only(judge(of("S[domain](S0(OC))"), world.context(peers=peers, roles=[beta().ca.certificate]))).level
            == level
        )


@pytest.mark.parametrize(("layers", "hit"), [(7, False), (8, True)])
def test_a_part_has_half_the_layers_of_a_message(layers: int, hit: bool) -> None:
    verdict = only(judge(of("S(" * layers + "OC" + ")" * layers), replace(world.context(), limits=Limits(depth=16))))
    assert ("limit.depth" in world.codes(verdict)) is hit


def test_parts_inside_a_part_are_judged_too() -> None:
    inner = world.signed(multipart(FOOTER, attached(world.build("S(OC)"))), acme().users["alice"])
    verdict = judge(world.message(multipart(FOOTER, attached(world.message(inner))), sender=CAROL))
    (part,) = verdict.embedded
    assert (part.part, only(verdict).structure, only(verdict).accepted) == ("2.1", "S[originator](OC)", True)
    (within,) = only(verdict).embedded
    assert within.verdict is not None
    assert (within.part, within.verdict.accepted) == ("2.1", True)


@pytest.mark.parametrize(("parts", "judged"), [(3, 3), (4, 4), (5, 4)])
def test_no_more_are_judged_than_the_limit_says(parts: int, judged: int) -> None:
    octets = world.message(multipart(*[world.entity("S(OC)")] * parts))
    at = world.context()
    verdict = judge(octets, replace(at, limits=Limits(embedded=4)))
    assert [part.verdict is not None for part in verdict.embedded] == [True] * judged + [False] * (parts - judged)


def _count(parts: tuple[Embedded, ...]) -> int:
    return sum(1 + _count(part.verdict.embedded) for part in parts if part.verdict is not None)


@pytest.mark.parametrize("limit", [1, 2, 5, 16])
def test_all_that_are_judged_at_any_depth_are_no_more_than_the_limit(limit: int) -> None:
    entity = world.entity("S(OC)")
    for width in (2, 3, 2):
        entity = world.signed(multipart(*[entity] * width), acme().users["alice"])
    verdict = judge(world.message(multipart(entity, entity)), replace(world.context(), limits=Limits(embedded=limit)))
    assert 1 <= _count(verdict.embedded) <= limit


def test_a_part_with_more_signers_than_a_layer_may_have_is_not_judged() -> None:
    octets = of("S[domain](S(OC))")
    at = world.context()
    assert only(judge(octets, replace(at, limits=Limits(signers=2)))).accepted
    assert judge(octets, replace(at, limits=Limits(signers=1))).embedded == (Embedded("2.1"),)


def test_parts_share_what_decompression_may_yield() -> None:
    entity = world.compressed(world.entity("OC", text=b"Content-Type: text/plain\r\n\r\n" + b"x" * 5000))
    at = replace(world.context(), limits=Limits(expanded=10_500))
    two, three = (judge(world.message(multipart(*[entity] * count)), at) for count in (2, 3))
    kinds = [[part.verdict.structure for part in v.embedded if part.verdict] for v in (two, three)]
    assert kinds == [["C(OC)"] * 2, ["X"] * 3]
    whole = judge(world.message(world.compressed(multipart(*[entity] * 2))), at)  # the outer one counts as well
    assert [part.verdict.structure for part in whole.embedded if part.verdict] == ["X"] * 2


def test_a_gateway_does_not_try_its_keys_on_what_it_will_not_hand_out() -> None:
    at = world.beta_site().context(world.NOW)
    (part,) = judge(of("E[beta](S(OC))"), at).embedded
    assert part.verdict is not None
    assert (part.verdict.structure, part.verdict.decrypted) == ("E", False)
    assert judge(of("S(OC)"), replace(at, embedded="named")).embedded == (Embedded("2.1"),)


# --- the signing gate -----------------------------------------------------------------------------------------------

LOCAL = Evidence("local", "a test", frozenset({"alice@acme.example"}))


def gate(entity: bytes, *, require: bool, trusted: frozenset[str] = frozenset()) -> sign.Grant:
    at = world.context(acme().confidentiality)
    examination = world.look(world.message(entity), at)
    return sign.gate(
        examination, acme().signing.certificate, [LOCAL], at, require_embedded=require, trust_domain_signature=trusted
    )


@pytest.mark.requirement("R3183-3.2-03")
@pytest.mark.parametrize(
    ("notation", "reason"),
    [
        ("S(OC)", None),
        ("S[domain](S0(OC))", None),
        ("E[acme](S(OC))", None),
        ("E[acme](OC)", None),
        ("S[evil](OC)", "part 2, layer 1 is untrusted: "),
        ("S[domain](S[evil](OC))", "part 2, layer 1.1 is untrusted: "),
        ("E[acme](S[evil](OC))", "part 2, layer 1.1 is untrusted: "),
        ("E[beta](S(OC))", "part 2, layer 1 is closed to us"),
        ("S(X(OC))", "part 2, layer 1.1 is closed to us"),
        ("S[domain](OC)", "part 2, layer 1: "),
    ],
)
def test_the_gate_may_require_that_parts_hold(notation: str, reason: str | None) -> None:
    entity = multipart(FOOTER, world.entity(notation))
    said = gate(entity, require=False).embedded
    assert [line.partition(" ")[0] for line in said] == ["2"]
    if reason is None:
        assert gate(entity, require=True).embedded == said
        return
    with pytest.raises(SigningRefused) as refused:
        gate(entity, require=True)
    ((code, text),) = refused.value.reasons
    assert code == "gate.embedded"
    assert text.startswith(reason)


@pytest.mark.requirement("R3183-3.2-03")
def test_what_is_required_of_parts_is_required_of_those_inside_them() -> None:
    inner = world.signed(multipart(FOOTER, world.entity("S[evil](OC)")), acme().users["alice"])
    with pytest.raises(SigningRefused, match=r"part 2: 2, layer 1 is untrusted"):
        gate(multipart(FOOTER, inner), require=True)


def test_what_was_not_judged_does_not_hold() -> None:
    with pytest.raises(SigningRefused, match="part 17 was not judged"):
        gate(multipart(*[world.entity("S(OC)")] * 17), require=True)


CLEAR = world.entity("S~(OC)")
BOUNDARY = CLEAR.partition(b'boundary="')[2].partition(b'"')[0]


@pytest.mark.requirement("R3183-3.2-03", "R1847-2.1-01")
@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (b"Content-Type: application/pkcs7-mime\r\n\r\n0\x03\x02\x01", "part 2, layer 1 cannot be read"),
        (CLEAR.replace(b"dawn", b"dusk"), "part 2, layer 1 is invalid: "),
        (CLEAR.replace(b"--" + BOUNDARY + b"--", b"--" + BOUNDARY + b"\r\n\r\nmore\r\n--" + BOUNDARY + b"--"),
         "part 2, layer 1: 3 parts, expected 2"),
        (b"Content-Type: text/plain\r\n" + CLEAR, "part 2, layer 1: Content-Type stands 2 times"),
    ],
)  # fmt: skip
def test_what_others_may_take_for_signed_does_not_hold_unless_it_is(part: bytes, reason: str) -> None:
    assert gate(multipart(FOOTER, part), require=False).embedded != ()
    with pytest.raises(SigningRefused, match=reason):
        gate(multipart(FOOTER, part), require=True)


def test_all_that_does_not_hold_is_told() -> None:
    """Of the parts, and of the message around them."""
    parts = [FOOTER, *[world.entity("S(OC)")] * 15, world.entity("S[evil](OC)"), world.entity("S(OC)")]
    entity = world.signed(multipart(*parts), world.stranger_user())
    with pytest.raises(SigningRefused) as refused:
        gate(entity, require=True)
    told = [(code, text.partition(":")[0]) for code, text in refused.value.reasons]
    assert ("gate.invalid_signature", "layer 1 is untrusted") in told
    assert ("gate.embedded", "part 17, layer 1 is untrusted") in told
    assert ("gate.embedded", "part 18 was not judged") in told


def test_what_is_only_odd_does_hold() -> None:
    assert gate(multipart(FOOTER, world.entity("S0(S(OC))")), require=True).embedded


@pytest.mark.requirement("R3183-3.2-03")
def test_who_signs_in_a_users_name_is_held_to_the_same() -> None:
    at = world.context(acme().confidentiality)
    users = Users((world.credential(acme().users["alice"]),))
    for notation, holds in (("S(OC)", True), ("S[evil](OC)", False)):
        examination = world.look(world.message(multipart(FOOTER, world.entity(notation))), at)
        _, grant = proxy.gate(examination, users, [LOCAL], at)
        assert [line.partition(" ")[0] for line in grant.embedded] == ["2"]
        if holds:
            assert proxy.gate(examination, users, [LOCAL], at, require_embedded=True)[1] == grant
        else:
            with pytest.raises(SigningRefused, match="part 2, layer 1 is untrusted"):
                proxy.gate(examination, users, [LOCAL], at, require_embedded=True)


def test_parts_below_a_trusted_domain_signature_are_its_business() -> None:
    layer = world.signed(multipart(FOOTER, world.entity("S[evil](OC)")), acme().users["alice"])
    layer = world.signed(layer, acme().signing, extra=(world.typed(world.SignatureType.DOMAIN),))
    with pytest.raises(SigningRefused):
        gate(layer, require=True)
    assert gate(layer, require=True, trusted=frozenset({"acme.example"})).embedded
