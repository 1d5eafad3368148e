"""RFC 2634 4: what a mail list agent makes of a message, and when it makes nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

import agents
import pki
import world
from agents import ALICE, BOB, MEMBERS, expand, only, reads
from domsec import der, oids
from domsec.cms import attributes
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import SubjectKeyIdentifier
from domsec.errors import ExpansionStopped
from domsec.ess.labels import ESSSecurityLabel
from domsec.ess.lists import UB_ML_EXPANSION_HISTORY, MLData, MLExpansionHistory, MLReceiptPolicy
from domsec.ess.names import mail_address
from domsec.limits import Limits
from domsec.mime.addresses import Mailbox
from domsec.services import ess_attributes, maillist
from domsec.services.check import Examination
from domsec.services.context import Context
from domsec.services.ess_attributes import StatedLabel
from domsec.services.layers import Layer
from domsec.services.peer import Peer
from domsec.services.signature_type import SignatureType
from world import acme, beta, build

# message, what members get, what they get where the list encrypts; the examples of RFC 2634 4.2.1 first
TABLE = {
    "example 1": ("S(OC)", "S+mlh(S(OC))", "S+mlh(E(S(OC)))"),
    "example 2": ("S(S(S(OC)))", "S+mlh(S(S(S(OC))))", "S+mlh(E(S(S(S(OC)))))"),
    "example 3": ("E(S(OC))", "S+mlh(E(S(OC)))", "S+mlh(E(S(OC)))"),
    "example 4": ("S+mlh(E(S(OC)))", "S+mlh(E(S(OC)))", "S+mlh(E(S(OC)))"),
    "example 5": ("S(S(E(S(OC))))", "S+mlh(E(S(OC)))", "S+mlh(E(S(OC)))"),
    "example 6": ("S+mlh(S(E(S(OC))))", "S+mlh(E(S(OC)))", "S+mlh(E(S(OC)))"),
    "nothing signed": ("OC", "S+mlh(OC)", "S+mlh(E(OC))"),
    "list layer, clear": ("S+mlh(S(OC))", "S+mlh(S(OC))", "S+mlh(E(S(OC)))"),
    "layer around a list layer": ("S(S+mlh(S(OC)))", "S+mlh(S(OC))", "S+mlh(E(S(OC)))"),
    "two list layers": ("S+mlh(S+mlh(S(OC)))", "S+mlh(S+mlh(S(OC)))", "S+mlh(E(S+mlh(S(OC))))"),
    "two list layers, encrypted": ("S+mlh(S+mlh(E(S(OC))))", "S+mlh(E(S(OC)))", "S+mlh(E(S(OC)))"),
    "empty signature over encryption": ("S0(E(S(OC)))", "S+mlh(E(S(OC)))", "S+mlh(E(S(OC)))"),
    "of a gateway": ("S[domain](S0(OC))", "S+mlh(S[domain](S0(OC)))", "S+mlh(E(S[domain](S0(OC))))"),
    "of a gateway, encrypted": ("E(S[domain](S(OC)))", "S+mlh(E(S[domain](S(OC))))", "S+mlh(E(S[domain](S(OC))))"),
    "re-signed by a gateway": ("S+mlh(S[domain](S(OC)))", "S+mlh(S[domain](S(OC)))", "S+mlh(E(S[domain](S(OC))))"),
    "compressed": ("S(C(S(OC)))", "S+mlh(S(C(S(OC))))", "S+mlh(E(S(C(S(OC)))))"),
    "clear signed": ("S~(S~(OC))", "S+mlh(S(S(OC)))", "S+mlh(E(S(S(OC))))"),
    "clear signed list layer": ("S+mlh~(E(S~(OC)))", "S+mlh(E(S(OC)))", "S+mlh(E(S(OC)))"),
    "header wrapped": ("S(M(OC))", "S+mlh(S(M(OC)))", "S+mlh(E(S(M(OC))))"),
}  # fmt: skip
IDS = {
    "example 1": ("R2634-4.2-05",), "example 2": ("R2634-4.2-05",), "example 3": ("R2634-4.2-05",),
    "example 4": ("R2634-4.2-03",), "example 5": ("R2634-4.2-03",), "example 6": ("R2634-4.2-04",),
}  # fmt: skip
CASES = [
    pytest.param(*case, id=name, marks=pytest.mark.requirement(*IDS.get(name, ()), "R2634-4.2-02"))
    for name, case in TABLE.items()
]
LABEL = ESSSecurityLabel("1.2.3", 4)


def shape(examination: Examination) -> str:
    """In the notation of the table."""
    letters = [_letter(layer) for layer in examination.message.spine()]
    return "(".join(letters) + ")" * (len(letters) - 1)


def _letter(layer: Layer) -> str:
    if layer.kind != "signed":
        return {"null": "S0", "compressed": "C", "content": "OC", "rfc822": "M"}.get(layer.kind, "E")
    assert layer.signed is not None
    signing = [acme().signing.certificate]
    kind = "S[domain]" if any(layer.signed.signers[0].matches(c) for c in signing) else "S"
    return kind + ("+mlh" if _outer_history(layer) else "")


def _outer_history(layer: Layer) -> tuple[MLData, ...]:
    assert layer.signed is not None
    stated = layer.signed.signers[0].signed_attributes
    found = stated.get(oids.ID_AA_ML_EXPAND_HISTORY) if stated else ()
    return MLExpansionHistory.read(found[0].values[0]).entries if found else ()


def outer(octets: bytes) -> dict[str, Attribute]:
    """The signed attributes of the outermost signature, each there once."""
    root = reads(octets, beta().users["bob"]).message.root
    assert root.signed is not None
    stated = root.signed.signers[0].signed_attributes
    assert stated is not None
    assert len({a.oid for a in stated.items}) == len(stated.items)
    return {a.oid: a for a in stated.items}


def history(octets: bytes) -> tuple[MLData, ...]:
    return MLExpansionHistory.read(outer(octets)[oids.ID_AA_ML_EXPAND_HISTORY].values[0]).entries


def stopped(octets: bytes, name: str = "staff", **more: object) -> str:
    with pytest.raises(ExpansionStopped) as caught:
        expand(octets, name, **more)  # type: ignore[arg-type]
    return caught.value.code


# --- which layers go on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("notation", "as_received", "encrypted"), CASES)
def test_the_examples(notation: str, as_received: str, encrypted: str) -> None:
    octets = build(notation.replace("E(", "E[staff]("))
    for wanted, expected in ((False, as_received), (True, encrypted)):
        expansion = expand(octets, encrypt=wanted)
        assert expansion.plan.notation == planned(expected)
        assert [m.address for copy in expansion.copies for m in copy.members] == list(MEMBERS)
        for copy in expansion.copies:
            examined = reads(copy.octets, beta().users[copy.members[0].local])
            assert shape(examined) == expected
            layers = examined.verdict.layers
            assert {layer.state for layer in layers} <= {"valid", "null", None}
            assert layers[0].signers[0].addresses == ("staff@acme.example",)


def planned(notation: str) -> str:
    """The result as a plan has it: of the layers it keeps only their letters."""
    head, _, body = notation.partition("(")
    return f"{head.replace('S', 'S[unspecified]')}({body.replace('[domain]', '').replace('+mlh', '')}"


@pytest.mark.requirement("R2634-1.3.3-01", "R2634-4.2-03")
@pytest.mark.parametrize("case", TABLE, ids=str)
@pytest.mark.parametrize("encrypt", [False, True])
def test_what_the_inner_signature_covers_is_not_touched(case: str, encrypt: bool) -> None:
    octets = build(TABLE[case][0].replace("E(", "E[staff]("))
    before = world.look(octets, agents.context(world.mail_list("staff"))).message.spine()
    for copy in expand(octets, encrypt=encrypt).copies:
        after = reads(copy.octets, beta().users[copy.members[0].local]).message.spine()
        inside = [bytes(layer.entity) for layer in after if not layer.encrypted]
        kept = [bytes(layer.entity) for layer in before if not layer.encrypted]
        assert inside[1:] == kept[len(kept) - len(inside) + 1 :]
        assert len(inside) > 1


# --- the encryption ---------------------------------------------------------------------------------------------------


def envelope(octets: bytes) -> Layer:
    (found,) = [layer for layer in reads(octets, beta().users["bob"]).message.spine() if layer.encrypted]
    return found


@pytest.mark.requirement("R2634-4.2.3.1-01")
@pytest.mark.parametrize("cipher", ["aes256-gcm", "aes128-gcm", "aes256-cbc"])
def test_expansion_replaces_whom_it_is_for_and_nothing_of_the_content(cipher: str) -> None:
    octets = build("E[staff+acme](S(OC))", cipher=cipher)
    before = world.look(octets, agents.context(world.mail_list("staff"))).message.root
    for copy, who in zip(expand(octets).copies, ("bob", "alice"), strict=True):
        found = reads(copy.octets, beta().users[who]).message.spine()[1]
        assert before.enveloped is not None
        assert found.enveloped is not None
        for name in ("kind", "content_type", "algorithm", "ciphertext", "auth_attributes", "mac", "unprotected"):
            assert getattr(found.enveloped, name) == getattr(before.enveloped, name)
        (recipient,) = found.enveloped.recipients
        assert recipient.identifiers[0].matches(beta().users[who].certificate)
        assert found.enveloped.originator_certificates == (world.mail_list("staff").certificate,)
        assert found.enveloped.version == (0 if cipher.endswith("gcm") else 2)
        assert found.opened is not None


@pytest.mark.requirement("R2634-4.2.3.1-01")
@pytest.mark.parametrize(
    ("grouping", "groups"),
    [("member", [1, 1, 1]), ("domain", [2, 1]), ("all", [3])],
)
@pytest.mark.parametrize("notation", ["E[staff](S(OC))", "S(OC)"])
def test_who_sees_whom_among_the_recipients(grouping: str, groups: list[int], notation: str) -> None:
    members = (BOB, "alice@beta.example", ALICE)
    expansion = expand(build(notation), members=members, grouping=grouping, encrypt=True)
    assert [len(copy.members) for copy in expansion.copies] == groups
    for copy in expansion.copies:
        found = reads(copy.octets, beta().users["bob"]).message.spine()[1].enveloped
        assert found is not None
        assert len(found.recipients) == len(copy.members)


def test_what_is_not_encrypted_is_one_copy_for_all() -> None:
    (copy,) = expand(build("S(OC)"), grouping="member").copies
    assert [m.address for m in copy.members] == list(MEMBERS)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_copy_has_no_more_recipients_than_a_reader_takes(most: int) -> None:
    at = agents.context(world.mail_list("staff"))
    limited = world.replace(at, limits=Limits(recipients=most))
    members = (BOB, "alice@beta.example", ALICE)
    expansion = expand(build("S(OC)"), members=members, at=limited, encrypt=True, grouping="all")
    assert [len(copy.members) for copy in expansion.copies] == {1: [1, 1, 1], 2: [2, 1], 3: [3]}[most]


def test_a_member_without_certificate_gets_nothing_rather_than_the_clear_text() -> None:
    members = ("nobody@gamma.example", BOB)
    for notation, encrypt in (("E[staff](S(OC))", False), ("S(OC)", True)):
        expansion = expand(build(notation), members=members, encrypt=encrypt)
        assert [m.address for copy in expansion.copies for m in copy.members] == [BOB]
        ((member, reason),) = expansion.left_out
        assert member.address == "nobody@gamma.example"
        assert reason.startswith("no usable certificate for nobody@gamma.example")
    assert not expand(build("E[staff](S(OC))"), members=members[:1]).copies


def test_an_agreement_with_a_domain_goes_before_the_cipher_of_the_list() -> None:
    at = agents.context(world.mail_list("staff"), peers=[Peer("beta.example", cipher="aes128-cbc")])
    (copy,) = expand(build("S(OC)"), members=[BOB], at=at, encrypt=True).copies
    assert envelope(copy.octets).enveloped.cipher == "aes128-cbc"  # type: ignore[union-attr]
    (copy,) = expand(build("S(OC)"), members=[BOB], encrypt=True).copies
    assert envelope(copy.octets).enveloped.cipher == "aes256-gcm"  # type: ignore[union-attr]


@pytest.mark.parametrize("notation", ["S(OC)", "E[staff](S(OC))"])
def test_an_agreement_goes_before_the_key_transport_of_the_list(notation: str) -> None:
    at = agents.context(world.mail_list("staff"), peers=[Peer("beta.example", key_transport="pkcs1v15")])
    bob = pki.identity("user", BOB, beta().ca, "rsa2048", name="Bob")
    at = world.replace(at, source=world.MemorySource([bob.certificate, world.mail_list("staff").certificate]))

    def transport(at: Context) -> str | None:
        (copy,) = expand(build(notation), members=[BOB], at=at, encrypt=True).copies
        enveloped = envelope(copy.octets).enveloped
        assert enveloped is not None
        return next(r.management for r in enveloped.recipients if r.kind == "ktri")

    assert transport(at) == "rsa-pkcs1v15"
    assert transport(world.replace(at, peers=agents.context().peers)) == "rsa-oaep"


def test_who_encrypted_goes_along_where_the_list_encrypts_itself() -> None:
    (copy,) = expand(build("S(OC)"), members=[BOB], encrypt=True).copies
    enveloped = envelope(copy.octets).enveloped
    assert enveloped is not None
    assert [c.sha256 for c in enveloped.originator_certificates] == [world.mail_list("staff").certificate.sha256]


# --- attributes and history -------------------------------------------------------------------------------------------

HINT = attributes.attribute(oids.ID_AA_CONTENT_HINT, der.sequence(der.utf8("plans"), der.oid(oids.ID_DATA)))
UNKNOWN = attributes.attribute("1.2.3.4", der.utf8("kept"))


@pytest.mark.requirement("R2634-4.2-03", "R2634-4.1-01")
@pytest.mark.parametrize("before", [True, False], ids=["list layer", "around encryption"])
def test_the_new_layer_has_the_attributes_of_the_old_unless_they_are_its_signers(before: bool) -> None:
    extra = [HINT, UNKNOWN, attributes.smime_capabilities([]), world.typed(SignatureType.ORIGINATOR)]
    extra += [attributes.encryption_key_preference(acme().users["bob"].certificate)]
    extra += [world.history()] if before else []
    received = world.message(world.signed(world.entity("E[staff](S(OC))"), acme().users["bob"], extra=extra))
    later = world.replace(agents.context(world.mail_list("staff")), now=world.NOW + timedelta(hours=1))
    found = outer(expand(received, at=later).copies[0].octets)
    assert (found[HINT.oid].raw, found[UNKNOWN.oid].raw) == (HINT.raw, UNKNOWN.raw)
    made_here = {oids.ID_CONTENT_TYPE, oids.ID_MESSAGE_DIGEST, oids.ID_SIGNING_TIME, oids.ID_AA_CMS_ALGORITHM_PROTECT}
    made_here |= {oids.ID_AA_SIGNING_CERTIFICATE_V2, oids.ID_AA_ML_EXPAND_HISTORY}
    assert set(found) == {HINT.oid, UNKNOWN.oid, *made_here}
    assert attributes.read_signing_time(found[oids.ID_SIGNING_TIME].values[0]) == later.now
    assert len(history(expand(received, at=later).copies[0].octets)) == 1 + before


@pytest.mark.requirement("R2634-4.1-01")
def test_a_second_list_writes_behind_the_first() -> None:
    first = expand(build("E[staff](S(OC))"), members=["board@acme.example"]).copies[0].octets
    second = expand(first, "board").copies[0].octets
    entries = history(second)
    assert [e.mail_list_identifier for e in entries] == [agents.mail_list(n).identifier for n in ("staff", "board")]
    assert {e.expansion_time for e in entries} == {world.NOW}
    assert [e.receipt_policy for e in entries] == [None, None]


TO_ALICE = MLReceiptPolicy("insteadOf", ((mail_address(ALICE),),))
TO_BOB_TOO = MLReceiptPolicy("inAdditionTo", ((mail_address(BOB),),))
NONE = MLReceiptPolicy("none")


@pytest.mark.requirement("R2634-4.3-01")
@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (None, None, None),
        (None, TO_BOB_TOO, TO_BOB_TOO),
        (TO_ALICE, None, TO_ALICE),
        (TO_ALICE, TO_BOB_TOO, MLReceiptPolicy("insteadOf", (*TO_ALICE.names, *TO_BOB_TOO.names))),
        (TO_BOB_TOO, TO_ALICE, TO_ALICE),
        (NONE, TO_ALICE, NONE),
        (TO_ALICE, NONE, NONE),
    ],
)
def test_the_receipt_policies_of_two_lists(
    first: MLReceiptPolicy | None, second: MLReceiptPolicy | None, together: MLReceiptPolicy | None
) -> None:
    once = only(expand(build("S(OC)"), receipt_policy=first))
    assert history(once)[-1].receipt_policy == first
    assert history(only(expand(once, "board", receipt_policy=second)))[-1].receipt_policy == together


@pytest.mark.requirement("R2634-4.1.1-01")
@pytest.mark.parametrize("notation", ["S(OC)", "E[staff+board](S(OC))"])
def test_a_loop_of_two_lists_is_cut_at_the_third_hop(notation: str) -> None:
    for_board = expand(build(notation), "staff", ["board@acme.example"]).copies[0].octets
    again = expand(for_board, "board", ["staff@acme.example", "friends@acme.example"]).copies
    assert stopped(again[0].octets, "staff") == "mla.loop"
    assert len(history(expand(again[-1].octets, "friends").copies[0].octets)) == 3


@pytest.mark.requirement("R2634-4.1.1-01")
def test_a_list_is_known_by_its_key_identifier_and_by_its_former_certificate_too() -> None:
    own = world.mail_list("staff").certificate
    assert own.ski is not None
    entry = MLData(SubjectKeyIdentifier(own.ski), world.NOW)
    stated = attributes.attribute(oids.ID_AA_ML_EXPAND_HISTORY, MLExpansionHistory((entry,)).write())
    received = world.message(world.signed(world.entity("S(OC)"), acme().users["bob"], extra=[stated]))
    assert stopped(received) == "mla.loop"
    renewed = world.replace(
        agents.mail_list("board"),
        credentials=tuple(world.credential(world.mail_list(n)) for n in ("board", "staff")),
    )
    at = agents.context(world.mail_list("staff"))
    with pytest.raises(ExpansionStopped, match=r"mla\.loop"):
        maillist.expand(world.look(received, at), renewed, at)


@pytest.mark.requirement("R2634-4.1.1-01")
def test_a_loop_is_seen_behind_an_encryption_but_a_forwarded_message_is_none() -> None:
    once = only(expand(build("S(OC)")))
    entity = once[once.index(b"Content-Type") :]
    hidden = world.message(world.encrypted(world.signed(entity, acme().users["bob"]), world.mail_list("staff")))
    assert stopped(hidden) == "mla.loop"
    forwarded = world.signed(b"Content-Type: message/rfc822\r\n\r\n" + once, acme().users["bob"])
    assert expand(world.message(forwarded)).copies


@pytest.mark.requirement("R2634-4.4-01")
def test_there_is_room_for_64_lists() -> None:
    full = UB_ML_EXPANSION_HISTORY
    for before, room in ((full - 1, True), (full, False)):
        stated = world.history(before)
        received = world.message(world.signed(world.entity("S(OC)"), acme().users["bob"], extra=[stated]))
        if room:
            assert len(history(only(expand(received)))) == full
        else:
            assert stopped(received) == "mla.overflow"
    overfull = attributes.attribute(oids.ID_AA_ML_EXPAND_HISTORY, _entries(full + 1))
    received = world.message(world.signed(world.entity("S(OC)"), acme().users["bob"], extra=[overfull]))
    assert stopped(received) == "mlh.overflow"


def _entries(count: int) -> bytes:
    one = MLData(SubjectKeyIdentifier(b"a list"), world.NOW).write()
    return der.sequence(*[one] * count)


# --- what is not believed ---------------------------------------------------------------------------------------------


def by_two(*signers: tuple[pki.Identity, Sequence[Attribute]]) -> bytes:
    """An encrypted message with one layer around it that each of these signs with attributes of its own."""
    return world.message(world.two_signed(world.entity("E[staff](S(OC))"), *signers))


@pytest.mark.requirement("R2634-4.2.3.2-01", "R2634-4.2-02")
@pytest.mark.parametrize(
    "notation", ["S[evil](OC)", "S[evil]+mlh(S(OC))", "S[evil](E[staff](S(OC)))", "S(S[evil](OC))"]
)
def test_a_signature_on_the_way_in_that_does_not_hold_stops_it(notation: str) -> None:
    assert stopped(build(notation)) == "mla.invalid_signature"
    assert expand(build(notation.replace("evil", "bob"))).copies


@pytest.mark.requirement("R2634-4.2.3.2-01")
def test_an_altered_message_stops_it() -> None:
    clear = build("S~(OC)").replace(b"attack at dawn", b"attack at noon")
    assert stopped(clear) == "mla.invalid_signature"


def test_what_is_kept_inside_is_for_its_readers_to_judge() -> None:
    for notation in ("E[staff](S[evil](OC))", "S+mlh(S[evil](OC))", "S+mlh(S[evil](E[staff](S(OC))))"):
        assert expand(build(notation)).copies


@pytest.mark.requirement("R2634-4.1-02")
def test_signers_with_different_histories_stop_it() -> None:
    alice, bob = acme().users["alice"], acme().users["bob"]
    assert stopped(by_two((alice, [world.history(1)]), (bob, [world.history(2)]))) == "mlh.conflict"
    assert len(history(expand(by_two((alice, []), (bob, [world.history(2)]))).copies[0].octets)) == 3


@pytest.mark.requirement("R2634-4.1-02")
def test_a_history_that_nobody_signed_is_not_taken_over() -> None:
    """Beside a valid signature anybody can put another SignerInfo, which names the same signer and is not supported."""
    alice, forged_history = acme().users["alice"], world.history(2)
    inside = world.entity("E[staff](S(OC))")
    forged = world.message(world.with_forged_signer(inside, alice, [HINT], [forged_history, UNKNOWN]))
    found = world.look(forged, agents.context(world.mail_list("staff"))).findings[0]
    assert found.state == "valid"
    assert {s.verdict.state for s in found.signers} == {"valid", "unsupported"}
    kept = expand(forged).copies[0].octets
    assert (HINT.oid in outer(kept), UNKNOWN.oid in outer(kept)) == (True, False)
    assert len(history(kept)) == 1


@pytest.mark.requirement("R2634-4.2-01")
@pytest.mark.parametrize("notation", ["X(S(OC))", "S(X(S(OC)))", "E[staff](S(X(OC)))", "E(OC)"])
def test_what_the_list_cannot_open_it_does_not_pass_on(notation: str) -> None:
    assert stopped(build(notation)) == "mla.undecryptable"


def test_an_encryption_inside_for_the_list_alone_would_be_read_by_nobody() -> None:
    assert stopped(build("E[staff](S(E[staff](OC)))")) == "inner_env.unreadable"
    assert stopped(build("C(E[staff](OC))")) == "inner_env.unreadable"
    assert expand(build("E[staff](S(E[staff+bob](OC)))")).copies


def test_a_layer_that_cannot_be_read_stops_it() -> None:
    broken = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\nMAA=\r\n"
    assert stopped(world.message(broken)) == "mla.malformed"
    assert stopped(world.message(world.signed(broken, acme().users["bob"]))) == "mla.malformed"


# --- labels -----------------------------------------------------------------------------------------------------------


def labelled(*where: str) -> bytes:
    """A triple wrapped message with a label in these layers."""
    label = [attributes.attribute(oids.ID_AA_SECURITY_LABEL, LABEL.write())]
    inner = world.signed(world.TEXT, acme().users["alice"], extra=label if "inner" in where else [])
    sealed = world.encrypted(inner, world.mail_list("staff"))
    return world.message(world.signed(sealed, acme().users["alice"], extra=label if "outer" in where else []))


@pytest.mark.requirement("R2634-4.2-01")
@pytest.mark.parametrize("where", [("inner",), ("outer",), ("inner", "outer")], ids="+".join)
def test_a_label_keeps_the_message_from_members(where: tuple[str, ...]) -> None:
    asked: list[tuple[str, int]] = []

    def may_receive(labels: Sequence[StatedLabel], who: Mailbox) -> str | None:
        assert all(label.label == LABEL for label in labels)
        asked.append((who.address, len(labels)))
        return None if who.address != "alice@beta.example" else "not cleared"

    expansion = expand(labelled(*where), may_receive=may_receive)
    assert asked == [(who, len(where)) for who in ("staff@acme.example", *MEMBERS)]
    assert [m.address for copy in expansion.copies for m in copy.members] == [BOB]
    assert [(m.address, reason) for m, reason in expansion.left_out] == [("alice@beta.example", "not cleared")]


@pytest.mark.requirement("R2634-4.2-01", "R2634-3.1.2-02")
def test_a_label_that_nobody_judges_stops_it() -> None:
    assert stopped(labelled("inner")) == "label.unknown_policy"
    assert stopped(labelled("inner"), may_receive=lambda labels, who: "not here") == "label.denied"
    only_list = lambda labels, who: None if who.local == "staff" else "no"  # noqa: E731
    assert not expand(labelled("inner"), may_receive=only_list).copies
    assert expand(labelled(), may_receive=None).copies


@pytest.mark.requirement("R2634-3.1.2-01", "R2634-4.2-01")
def test_a_label_under_a_signature_that_does_not_hold_cannot_be_obeyed() -> None:
    label = [attributes.attribute(oids.ID_AA_SECURITY_LABEL, LABEL.write())]
    inner = world.signed(world.TEXT, world.stranger_user(), extra=label)
    received = world.message(world.encrypted(inner, world.mail_list("staff")))
    assert stopped(received, may_receive=lambda labels, who: None) == "label.unverified"


def test_labels_that_differ_stop_it() -> None:
    one = attributes.attribute(oids.ID_AA_SECURITY_LABEL, LABEL.write())
    other = attributes.attribute(oids.ID_AA_SECURITY_LABEL, ESSSecurityLabel("1.2.3", 1).write())
    alice, bob = acme().users["alice"], acme().users["bob"]
    received = by_two((alice, [one]), (bob, [other]))
    assert stopped(received, may_receive=lambda labels, who: None) == "label.conflict"


def test_equivalents_are_told_with_their_signers() -> None:
    label = attributes.attribute(oids.ID_AA_SECURITY_LABEL, LABEL.write())
    received = world.message(world.signed(world.TEXT, acme().users["alice"], extra=[label]))
    (stated,) = ess_attributes.stated_labels(world.look(received).findings)
    assert stated == StatedLabel("1", LABEL, (), (acme().users["alice"].certificate,))
