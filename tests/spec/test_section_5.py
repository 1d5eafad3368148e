"""RFC 3183 5: a domain signature that no mail list agent strips off, with the seven examples of 5.1.

Each example stands here as the RFC prints it, once on the plan alone and once on a real message, each with and without
a policy of encryption. At the end list agents do their worst: one of a few lines to thousands of trees of layers, and
that of `services.maillist` to real messages, one after the other.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import agents
import world
from domsec import der, oids
from domsec.cms import attributes
from domsec.cms.algorithms import algorithm_identifier
from domsec.cms.attributes import Attributes
from domsec.cms.certificates import SubjectKeyIdentifier
from domsec.cms.signed_data import SignedData, SignerInfo
from domsec.errors import SigningRefused
from domsec.mime import fields
from domsec.mime.header_protection import Protection
from domsec.services import encrypt as encryption
from domsec.services import ess_attributes, layers, maillist, sign
from domsec.services.finding import believed
from domsec.services.layers import Layer
from domsec.services.sign import Plan
from world import acme, beta, build, judge, only

# example -> message, result without a policy of encryption, result with one
EXAMPLES = {
    1: ("S(OC)", "S[domain](S(OC))", "E(S[domain](S(OC)))"),
    2: ("S(S(S(OC)))", "S[domain](S(S(S(OC))))", "E(S[domain](S(S(S(OC)))))"),
    3: ("E(S(OC))", "S[domain](S(OC))", "E(S[domain](S(OC)))"),
    4: ("S+mlh(E(S(OC)))", "S+mlh(S[domain](S(OC)))", "S+mlh(E(S[domain](S(OC))))"),
    5: ("S(S(E(S(OC))))", "S[domain](S(OC))", "E(S[domain](S(OC)))"),
    6: ("S+mlh(S(E(S(OC))))", "S+mlh(S[domain](S(OC)))", "S+mlh(E(S[domain](S(OC))))"),
    7: ("S(E(S(E(S(OC)))))", "E(S[domain](S(E(S(OC)))))", "E(S[domain](S(E(S(OC)))))"),
}
IDS = {
    1: "R3183-5.1-03",
    2: "R3183-5.1-04",
    3: "R3183-5.1-05",
    4: "R3183-5.1-06",
    5: "R3183-5.1-07",
    6: "R3183-5.1-08",
    7: "R3183-5.1-09",
}
# spec/algorithms.md (d), "more cases to test"
MORE = {
    "unsigned": ("OC", "S[domain](S0(OC))", "E(S[domain](S0(OC)))"),
    "encrypted only": ("E(OC)", "S[domain](S0(OC))", "E(S[domain](S0(OC)))"),
    "outside a list layer": ("S(S+mlh(E(S(OC))))", "S+mlh(S[domain](S(OC)))", "S+mlh(E(S[domain](S(OC))))"),
    "list layer, nothing encrypted": ("S+mlh(S(OC))", "S+mlh(S[domain](S(OC)))", "S+mlh(E(S[domain](S(OC))))"),
    "list layer over unsigned": ("S+mlh(OC)", "S+mlh(S[domain](S0(OC)))", "S+mlh(E(S[domain](S0(OC))))"),
    "empty signature": ("S0(OC)", "S[domain](S0(OC))", "E(S[domain](S0(OC)))"),
    "compressed": ("C(S(OC))", "S[domain](S0(C(S(OC))))", "E(S[domain](S0(C(S(OC)))))"),
    "two list layers": ("S+mlh(S+mlh(E(S(OC))))", "S+mlh(S[domain](S(OC)))", "S+mlh(E(S[domain](S(OC))))"),
    "two list layers, clear": ("S+mlh(S+mlh(S(OC)))", "S+mlh(S[domain](S+mlh(S(OC))))",
                               "S+mlh(E(S[domain](S+mlh(S(OC)))))"),
    "list layer inside encryption (A-61)": ("E(S+mlh(S(OC)))", "S+mlh(S[domain](S(OC)))", "E(S[domain](S+mlh(S(OC))))"),
    "twice encrypted": ("E(E(S(OC)))", "E(S[domain](S0(E(S(OC)))))", "E(S[domain](S0(E(S(OC)))))"),
    "encrypted under a list layer, twice": ("S+mlh(E(S(E(S(OC)))))", "S+mlh(E(S[domain](S(E(S(OC))))))",
                                            "S+mlh(E(S[domain](S(E(S(OC))))))"),
    "compressed encryption": ("C(E(S(OC)))", "E(S[domain](S0(C(E(S(OC))))))", "E(S[domain](S0(C(E(S(OC))))))"),
    "encryption behind a compressed layer": ("S(C(E(S(OC))))", "E(S[domain](S(C(E(S(OC))))))",
                                             "E(S[domain](S(C(E(S(OC))))))"),
    "header wrapped": ("S(M(OC))", "S[domain](S(M(OC)))", "E(S[domain](S(M(OC))))"),
    "empty signature around encryption": ("S0(E(S(OC)))", "S[domain](S(OC))", "E(S[domain](S(OC)))"),
    "clear signed": ("S~(S~(OC))", "S[domain](S(S(OC)))", "E(S[domain](S(S(OC))))"),
    "domain signed already": ("S[domain](S(OC))", "S[domain](S(S(OC)))", "E(S[domain](S(S(OC))))"),
    "compressed encryption under a list layer": ("S+mlh(C(E(S(OC))))", "S+mlh(E(S[domain](S0(C(E(S(OC)))))))",
                                                 "S+mlh(E(S[domain](S0(C(E(S(OC)))))))"),
    "list layer in the clear": ("S+mlh~(E(S(OC)))", "S+mlh(S[domain](S(OC)))", "S+mlh(E(S[domain](S(OC))))"),
}  # fmt: skip

TABLE = [
    pytest.param(*case, id=f"example {n}", marks=pytest.mark.requirement(IDS[n])) for n, case in EXAMPLES.items()
] + [pytest.param(*case, id=name) for name, case in MORE.items()]


def letters(plan: Plan) -> str:
    return plan.notation.replace("S[unspecified]", "S")


def planned(notation: str, *, encrypt: bool) -> Plan:
    return sign.plan(tuple(layers.spine(abstract(notation))), encrypt=encrypt)


@pytest.mark.requirement(
    "R3183-5-01", "R3183-5-02", "R3183-5-03", "R3183-5-04", "R3183-5-05", "R3183-5-06", "R3183-5-07", "R3183-5-08",
    "R3183-5-09", "R3183-5-10", "R3183-5-11", "R3183-5-12", "R3183-5-13", "R3183-5-14", "R3183-3.2-07",
)  # fmt: skip
@pytest.mark.parametrize(("notation", "clear", "encrypted"), TABLE)
def test_plan(notation: str, clear: str, encrypted: str) -> None:
    """On the plan alone: layers of nothing but their kind. The body's own layers are letters, without their types."""
    for wanted, expected in ((False, clear), (True, encrypted)):
        kept = _plain(expected)
        assert letters(planned(notation, encrypt=wanted)) == kept


@pytest.mark.requirement("R3183-5-01", "R3183-5-06", "R3183-5-11")
@pytest.mark.parametrize("encrypt", [False, True])
@pytest.mark.parametrize("notation", [case[0] for case in (*EXAMPLES.values(), *MORE.values())])
def test_what_a_plan_takes_off_is_what_stood_outside_of_the_body(notation: str, encrypt: bool) -> None:
    """No more, no less: what is taken off goes to the audit trail, and its labels are stated again (A-33)."""
    made = planned(notation, encrypt=encrypt)
    spine = tuple(layers.spine(abstract(notation)))
    assert [layer.id for layer in (*made.stripped, *layers.spine(made.body))] == [layer.id for layer in spine]


def _plain(notation: str) -> str:
    """The result without what a plan does not say of the layers it keeps."""
    head, tail = notation.split("S[domain](", 1)
    return head + "S[domain](" + tail.replace("+mlh", "").replace("~", "")


@pytest.mark.requirement(
    "R3183-5-01", "R3183-5-02", "R3183-5-03", "R3183-5-04", "R3183-5-06", "R3183-5-07", "R3183-5-08", "R3183-5-09",
    "R3183-5-10", "R3183-5-11", "R3183-5-12", "R3183-5-13", "R3183-5-14", "R3183-3.2-07",
)  # fmt: skip
@pytest.mark.parametrize("policy", ["clear", "encrypted"])
@pytest.mark.parametrize(("notation", "clear", "encrypted"), TABLE)
def test_message(notation: str, clear: str, encrypted: str, policy: str) -> None:
    """On real messages: through acme's gateway, judged by somebody who can open everything."""
    octets = build(notation.replace("E(", "E[acme+beta]("))
    outbound = {"encrypt": "no" if policy == "clear" else "dca"}
    out = only(world.send(octets, at=world.acme_site(outbound=outbound)))
    examined = world.look(out, world.context(beta().confidentiality))
    shapes = [_shape(layer) for layer in examined.message.spine()]
    expected = clear if policy == "clear" else encrypted
    assert "(".join(shapes) + ")" * (len(shapes) - 1) == expected.replace("~", "")
    if "S[domain](S0(E" not in expected:  # there the signer of the text is the only one to be known
        assert examined.verdict.accepted, examined.verdict.flags
    assert {layer.state for layer in examined.verdict.layers} <= {"valid", "null", None}


def _shape(layer: Layer) -> str:
    """In the notation of the tables: a domain signature made by the gateway announces our confidentiality key."""
    if layer.signed is not None and layer.kind == "signed":
        made = any(s.signed_attributes and s.signed_attributes.get(_ANNOUNCED) for s in layer.signed.signers)
        return ("S[domain]" if made else "S") + ("+mlh" if sign.has_history(layer) else "")
    return {"null": "S0", "compressed": "C", "content": "OC", "rfc822": "M"}.get(
        layer.kind, "E" if layer.encrypted else "?"
    )


_ANNOUNCED = oids.ID_AA_ENCRYP_KEY_PREF


@pytest.mark.requirement("R3183-5-06", "R3183-5-11")
@pytest.mark.parametrize("notation", [case[0] for case in EXAMPLES.values()])
def test_the_kept_body_is_what_was_encrypted_octet_by_octet(notation: str) -> None:
    octets = build(notation)
    examination = world.look(octets, world.context(acme().confidentiality))
    plan = sign.plan(examination.message.spine(), encrypt=False)
    signer = sign.Signer(world.credential(acme().signing))
    body, _ = sign.kept(plan, examination.message.header, Protection())
    made = layers.peel_entity(sign.domain_signed(plan, body, signer, world.NOW))
    assert bytes(made.content or b"") == bytes(plan.body.entity)


@pytest.mark.requirement("R3183-5-04")
@pytest.mark.parametrize("policy", ["no", "dca"])
def test_what_stood_outside_a_list_layer_leaves_a_record_and_no_other_trace(policy: str) -> None:
    recorded = world.Recorded()
    octets = build("S[review](S[bob]+mlh(E[acme](S(OC))))")
    out = only(world.send(octets, at=world.acme_site(outbound={"encrypt": policy}, record=recorded)))
    examined = world.look(out, world.context(beta().confidentiality))
    alice, bob, reviewer = (i.certificate for i in (acme().users["alice"], acme().users["bob"], acme().review))
    for who, there in ((alice, True), (bob, False), (reviewer, False)):
        assert (who.sha256 in [s.sha256 for layer in examined.verdict.layers for s in layer.signers]) is there
        offered = [c for layer in examined.message.spine() if layer.signed for c in layer.signed.certificates]
        assert (who in offered) is there
    (stripped,) = recorded.of("stripped")
    taken = [(layer.layer, layer.certificates) for layer in stripped.layers]
    assert taken == [("1", (reviewer.sha256,)), ("1.1", (bob.sha256,))]


@pytest.mark.requirement("R3183-5-03", "R3183-5-10")
@pytest.mark.parametrize("wanted", ["copy", "drop"])
def test_unknown_attributes_of_the_list_layer_go_on_as_the_gateway_is_told(wanted: str) -> None:
    """`outbound.unknown_attributes` (decisions A-32)."""
    unknown = attributes.attribute("1.2.3.4", der.utf8("of some list"))
    entity = world.signed(world.entity("E(S(OC))"), acme().users["bob"], extra=(world.history(2), unknown))
    out = only(world.send(world.message(entity), at=world.acme_site(outbound={"unknown_attributes": wanted})))
    outer = layers.peel(out).root.signed
    assert outer is not None
    (signer,) = outer.signers
    assert signer.signed_attributes is not None
    assert bool(signer.signed_attributes.get("1.2.3.4")) is (wanted == "copy")
    assert signer.signed_attributes.get(oids.ID_AA_ML_EXPAND_HISTORY)


@pytest.mark.requirement("R3183-5-10", "R3183-5-03")
def test_attributes_of_the_list_layer_are_kept_and_those_of_its_signer_are_not() -> None:
    hint = attributes.attribute(oids.ID_AA_CONTENT_HINT, der.sequence(der.utf8("plans"), der.oid(oids.ID_DATA)))
    unknown = attributes.attribute("1.2.3.4", der.utf8("kept"))
    receipt = attributes.attribute(oids.ID_AA_RECEIPT_REQUEST, der.sequence(der.octet_string(b"x")))
    extra = (world.history(2), hint, unknown, receipt, world.typed(world.SignatureType.ORIGINATOR))
    entity = world.signed(world.entity("E(S(OC))"), acme().users["bob"], extra=extra)
    out = only(world.send(world.message(entity)))
    outer = world.look(out).message.root
    assert outer.signed is not None
    (info,) = outer.signed.signers
    assert info.matches(acme().signing.certificate)
    assert info.signed_attributes is not None
    by_oid = {a.oid: a for a in info.signed_attributes.items}
    for attribute in (world.history(2), hint, unknown):
        assert by_oid[attribute.oid].raw == attribute.raw
    assert not {oids.ID_AA_RECEIPT_REQUEST, oids.ID_AA_SIGNATURE_TYPE, oids.ID_STI} & set(by_oid)
    assert len(by_oid) == len(info.signed_attributes.items)
    verdict = judge(out)
    assert verdict.layers[0].roles == ("unspecified",)
    assert verdict.layers[0].state == "valid"
    assert verdict.accepted


@pytest.mark.requirement("R3183-5-03", "R3183-5.1-01")
def test_signers_with_different_histories_are_not_resigned() -> None:
    spine = tuple(layers.spine(abstract("S+mlh(E(S(OC)))")))
    signed = spine[0].signed
    assert signed is not None
    other = _signer(world.history(3))
    double = Layer("1", "signed", "opaque", b"", b"", signed=_signed_data((*signed.signers, other)), child=spine[1])
    with pytest.raises(SigningRefused, match="different expansion histories"):
        sign.plan(tuple(layers.spine(double)), encrypt=False)


@pytest.mark.requirement("R3183-5-03", "R2634-4.1-02")
def test_attributes_are_those_of_signers_whose_signature_holds() -> None:
    """Beside a valid signature anybody can put a SignerInfo that names the same signer and is not supported."""
    bob, forged_history, hint = acme().users["bob"], world.history(2), attributes.attribute("1.2.3.4", der.utf8("kept"))
    entity = world.with_forged_signer(world.entity("E(S(OC))"), bob, [hint, world.history(1)], [forged_history])
    found = world.look(world.message(entity)).findings[0]
    assert (found.state, [s.verdict.state for s in found.signers].count("unsupported")) == ("valid", 1)
    outer = world.look(only(world.send(world.message(entity)))).message.root
    assert outer.signed is not None
    stated = outer.signed.signers[0].signed_attributes
    assert stated is not None
    assert [a.raw for a in stated.get(oids.ID_AA_ML_EXPAND_HISTORY)] == [world.history(1).raw]
    assert stated.get(hint.oid)


@pytest.mark.requirement("R3183-5-03", "R2634-4.1-02")
def test_signers_without_a_history_are_passed_over() -> None:
    entity = world.two_signed(
        world.entity("E(S(OC))"), (acme().users["bob"], []), (acme().users["alice"], [world.history(2)])
    )
    outer = world.look(only(world.send(world.message(entity)))).message.root
    assert sign.has_history(outer)


@pytest.mark.requirement("R3183-3.2-04")
def test_a_history_below_a_domain_signature_that_is_trusted_has_to_hold_all_the_same() -> None:
    trusting = {"outbound": {"trust_domain_signature": ("acme.example",)}}
    assert world.send(build("S[domain](S[evil](OC))"), at=world.acme_site(**trusting)).outgoing
    held = world.send(build("S[domain](S[evil]+mlh(S(OC)))"), at=world.acme_site(**trusting)).held
    assert "gate.invalid_signature" in held[0].reasons
    deeper = build("S[domain](S[evil](S[evil]+mlh(S(OC))))")
    assert "gate.invalid_signature" in world.send(deeper, at=world.acme_site(**trusting)).held[0].reasons


@pytest.mark.requirement("R3183-5-06", "R3183-5-11")
@pytest.mark.parametrize("notation", ["X(S(OC))", "S+mlh(X(S(OC)))", "S(X(S(OC)))"])
def test_what_is_closed_to_us_is_not_signed(notation: str) -> None:
    closed = layers.peel(build(notation), ()).spine()
    with pytest.raises(SigningRefused, match=r"gate\.undecryptable"):
        sign.plan(closed, encrypt=True)
    decision = world.send(build(notation))
    assert not decision.outgoing
    assert "gate.undecryptable" in decision.held[0].reasons


@pytest.mark.requirement("R3183-5-07", "R3183-5-12", "R3183-5-08", "R3183-5.1-09")
def test_a_lower_encryption_that_nobody_there_opens_is_held() -> None:
    """Decisions A-37: example 7 where the inner encryption is for our own authority alone."""
    decision = world.send(build("S(E(S(E(S(OC)))))"))
    assert not decision.outgoing
    assert decision.held[0].reasons == ("inner_env.unreadable",)


@pytest.mark.requirement("R3183-5-08", "R3183-5-12")
@pytest.mark.parametrize("policy", ["hold", "clear", "reject"])
@pytest.mark.parametrize("encrypt", ["no", "dca"])
def test_over_a_lower_encryption_nothing_goes_unencrypted(policy: str, encrypt: str) -> None:
    octets = build("E(S(E[acme+beta](S(OC))))")
    at = world.acme_site(known=(), outbound={"on_no_certificate": policy, "encrypt": encrypt})
    assert not world.send(octets, at=at).outgoing
    at = world.acme_site(outbound={"on_no_certificate": policy, "encrypt": encrypt})
    verdict = judge(only(world.send(octets, at=at)))
    assert verdict.structure.startswith("E(S[domain](")


def test_apply_wants_encryption_exactly_where_the_plan_does() -> None:
    examination = world.look(build("S(OC)"))
    signer = sign.Signer(world.credential(acme().signing))
    header = examination.message.header
    clear = sign.plan(examination.message.spine(), encrypt=False)
    sealed = sign.plan(examination.message.spine(), encrypt=True)
    with pytest.raises(ValueError, match="plan"):
        sign.apply(sealed, header, signer, world.NOW)
    with pytest.raises(ValueError, match="plan"):
        sign.apply(clear, header, signer, world.NOW, encrypt=lambda entity: entity)
    assert sign.apply(clear, header, signer, world.NOW).startswith(b"Content-Type: application/pkcs7-mime")


# --- layers of nothing but their kind -------------------------------------------------------------------------------


def _signer(*extra: attributes.Attribute) -> SignerInfo:
    raw = b"".join(a.raw for a in extra)
    algorithm = algorithm_identifier(oids.SHA256)
    return SignerInfo(1, SubjectKeyIdentifier(b"k"), algorithm, Attributes(extra, raw), algorithm, b"", None)


def _signed_data(signers: Iterable[SignerInfo]) -> SignedData:
    return SignedData(1, (), oids.ID_DATA, b"", (), 0, (), tuple(signers))


_HISTORY = world.history()
_KINDS = {"E": "auth_enveloped", "C": "compressed", "S0": "null", "M": "rfc822"}


def abstract(notation: str) -> Layer:
    names = notation.replace("~", "").rstrip(")").split("(")
    return stack(names[:-1])


def stack(names: list[str]) -> Layer:
    """Layers by their letters, outermost first, around content."""
    layer = Layer("OC", "content", "opaque", b"", b"")
    for i, name in reversed(list(enumerate(names))):
        kind = _KINDS.get(name, "signed")
        extra = (_HISTORY,) if name.endswith("+mlh") else ()
        signed = _signed_data([_signer(*extra)]) if kind == "signed" else None
        layer = Layer(str(i), kind, "opaque", b"", b"", signed=signed, child=layer)  # type: ignore[arg-type]
    return layer


# --- mail list agents -----------------------------------------------------------------------------------------------


def result(names: list[str], *, encrypt: bool) -> list[str]:
    """The letters of what a plan makes."""
    layer = stack(names)
    plan = sign.plan(tuple(layers.spine(layer)), encrypt=encrypt)
    kept = [] if plan.body.kind == "content" else names[int(plan.body.id) :]
    made = ["S[domain]", *(["S0"] if plan.null else []), *kept]
    made = ["E", *made] if plan.encrypt else made
    return ["S+mlh", *made] if plan.outer is not None else made


def expand(names: list[str]) -> list[str]:
    """A mail list agent (RFC 2634 4.2): everything down to the outer SignedData goes, encryption is for the members."""

    def signature(name: str) -> bool:
        return name.startswith("S")

    outer = None
    for i, name in enumerate(names):
        following = names[i + 1] if i + 1 < len(names) else ""
        if name.endswith("+mlh") or (signature(name) and following == "E"):
            outer = i
            break
        if not signature(name):
            break
    rest = names if outer is None else names[outer + 1 :]
    if outer is not None:
        for i, name in enumerate(rest):
            if name == "E":
                rest = rest[i:]
                break
            if not signature(name):
                break
    return ["S+mlh", *rest]


def expanded(names: list[str], *, encrypt: bool = False) -> list[str]:
    """What the plan of our own agent makes."""
    layer = stack(names)
    plan = maillist.plan(tuple(layers.spine(layer)), encrypt=encrypt)
    kept = [] if plan.body.kind == "content" else names[int(plan.body.id) :]
    return ["S+mlh", *(["E"] if plan.encrypt else []), *kept]


_NAMES = ("S", "S+mlh", "S[review]", "E", "S0", "C")


def trees(count: int) -> Iterator[list[str]]:
    random_ = random.Random(3183)
    for _ in range(count):
        yield random_.choices(_NAMES, k=random_.randint(0, 6))


@pytest.mark.requirement("R3183-5-01", "R3183-5-14", "R3183-3.2-07")
def test_no_list_agent_removes_the_domain_signature() -> None:
    for names in trees(20_000):
        for encrypt in (False, True):
            made = result(names, encrypt=encrypt)
            for _ in range(3):
                assert "S[domain]" in made, (names, encrypt)
                made = expand(made)
            assert "S[domain]" in made, (names, encrypt)


@pytest.mark.requirement("R2634-4.2-02", "R2634-4.2-03", "R2634-4.2-04", "R2634-4.2-05")
def test_our_own_list_agent_is_one_of_these() -> None:
    for names in trees(4_000):
        assert expanded(names) == expand(names), names
        made = result(names, encrypt=False)
        for encrypt in (False, True, False):
            made = expanded(made, encrypt=encrypt)
            assert "S[domain]" in made, names


@pytest.mark.requirement("R3183-5-01")
def test_a_domain_signature_just_put_around_would_be_lost() -> None:
    """That the agent of these tests is one that strips: the procedure is not for nothing."""
    lost = [n for n, case in EXAMPLES.items() if "S[domain]" not in expand(["S[domain]", *case[0].split("(")[:-1]])]
    assert lost == [3, 4, 5, 6, 7]
    assert "S[domain]" not in expand(["S[domain]", "S+mlh", "S"]), "as printed, for E1(S2+mlh(S1(OC))): decisions A-61"


_LAYERS = st.lists(st.sampled_from(["S", "S+mlh", "E", "S0", "C", "M", "S[review]"]), max_size=5)
_EVERYBODY = "+".join(("acme", "bob", *world.LISTS))


@pytest.mark.requirement("R3183-5-01", "R3183-5-14", "R3183-3.2-07", "R2634-1.3.3-01", "R2634-4.1-01")
@given(names=_LAYERS, policy=st.booleans(), agents_encrypt=st.lists(st.booleans(), min_size=1, max_size=3))
@example(names=["E", "S+mlh", "S"], policy=False, agents_encrypt=[False])  # decisions A-61
@example(names=["E", "S+mlh", "S"], policy=True, agents_encrypt=[False, False, False])
@example(names=["S", "E", "S", "E", "S"], policy=False, agents_encrypt=[False, True])
@settings(max_examples=50)
def test_real_messages_keep_the_domain_signature_through_lists(
    names: list[str], policy: bool, agents_encrypt: list[bool]
) -> None:
    """Section 5, then one to three list agents, each a member of the one before; the last has bob as member."""
    notation = "".join(f"{name}(" for name in names) + "OC" + ")" * len(names)
    octets = build(notation.replace("E(", f"E[{_EVERYBODY}]("), to="staff@acme.example")
    octets = domain_signed(octets, encrypt=policy)
    for i, encrypt in enumerate(agents_encrypt):
        following = f"{world.LISTS[i + 1]}@acme.example" if i + 1 < len(agents_encrypt) else "bob@beta.example"
        octets = agents.only(agents.expand(octets, world.LISTS[i], [following], encrypt=encrypt))
    findings = agents.reads(octets, beta().users["bob"]).findings
    (domain,) = [f for f in findings if f.certificate == acme().signing.certificate and "domain" in f.roles]
    assert domain.state == "valid"
    assert domain.mapping is not None
    assert domain.mapping.passed
    assert {f.state for f in findings} <= {"valid", "null", None}
    assert len(ess_attributes.expansions(findings[0])) >= len(agents_encrypt)


def domain_signed(octets: bytes, *, encrypt: bool) -> bytes:
    """Section 5 by acme, on the way to the list staff."""
    examination = world.look(octets, world.context(acme().confidentiality))
    plan = sign.plan(believed(examination.findings), encrypt=encrypt)
    recipients = [world.mail_list("staff").certificate]
    entity = sign.apply(
        plan,
        examination.message.header,
        sign.Signer(world.credential(acme().signing)),
        world.NOW,
        encrypt=(lambda entity: encryption.encrypt(entity, recipients)) if plan.encrypt else None,
    )
    return fields.replace_entity(examination.message.header, entity)
