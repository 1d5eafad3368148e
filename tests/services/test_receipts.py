"""RFC 2634 2: who asks for a signed receipt, who makes one, and what it proves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import agents
import pki
import world
from domsec import der, oids
from domsec.cms import attributes, content_info, signed_data
from domsec.cms.algorithms import default_signature_algorithm
from domsec.cms.attributes import Attribute
from domsec.cms.signed_data import Signing
from domsec.errors import LimitExceeded, MalformedMessage, ReceiptRefused
from domsec.ess.lists import MLData, MLExpansionHistory, MLReceiptPolicy
from domsec.ess.names import directory_name, mail_address
from domsec.ess.receipts import UB_RECEIPTS_TO, ContentHints, MsgSigDigest, Receipt, ReceiptRequest
from domsec.mime import smime
from domsec.mime.addresses import parse_address
from domsec.services import receipts
from domsec.services.check import Examination
from domsec.services.encrypt import Cipher
from domsec.services.layers import Layer, peel
from domsec.services.receipts import Asked, Checked
from world import acme, beta

ALICE, BOB, CAROL = "alice@acme.example", "bob@beta.example", "carol@gamma.example"
IDENTIFIER = b"alice 1"


def mailboxes(*found: str) -> list:
    return [parse_address(address) for address in found]


def asking(whom: str | Sequence[str] = "all", to: Sequence[str] = (ALICE,)) -> Attribute:
    """The attribute, from a tier or from some."""
    return receipts.request(IDENTIFIER, whom if isinstance(whom, str) else mailboxes(*whom), mailboxes(*to))  # type: ignore[arg-type]


def original(*extra: Attribute) -> bytes:
    """What Alice signs."""
    return world.signed(world.TEXT, acme().users["alice"], extra=extra or (asking(),))


def by_list(inside: bytes, policy: MLReceiptPolicy | None = None, *, by: str = "staff") -> bytes:
    """The signature of a mail list around it."""
    entry = MLData(agents.mail_list("staff").identifier, world.NOW, policy)
    value = MLExpansionHistory((MLData(agents.mail_list("board").identifier, world.NOW, NONE), entry)).write()
    who = world.stranger_user() if by == "evil" else world.mail_list(by)
    return world.signed(inside, who, extra=[attributes.attribute(oids.ID_AA_ML_EXPAND_HISTORY, value)])


NONE = MLReceiptPolicy("none")
INSTEAD = MLReceiptPolicy("insteadOf", ((mail_address(CAROL),),))
TOO = MLReceiptPolicy("inAdditionTo", ((mail_address(CAROL),), (mail_address(ALICE),)))


def received(entity: bytes) -> Examination:
    """As bob sees it."""
    return agents.reads(world.message(entity), beta().users["bob"])


def due(entity: bytes, who: pki.Identity | None = None) -> Asked:
    certificate = (who or beta().users["bob"]).certificate
    return receipts.asked(received(entity), receipts.names_of(certificate))


def refused(entity: bytes, who: pki.Identity | None = None) -> str:
    with pytest.raises(ReceiptRefused) as caught:
        due(entity, who)
    return caught.value.code


# --- the request ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R2634-2.7-01")
def test_a_content_identifier_is_like_no_other() -> None:
    certificate = acme().users["alice"].certificate
    one, other = (receipts.content_identifier(certificate, world.NOW) for _ in range(2))
    assert one != other
    assert one[:35] == other[:35] == hashlib.sha256(certificate.der).digest()[:20] + b"20261123120000Z"
    assert len(one) - 35 == 16


@pytest.mark.requirement("R2634-2.2-02")
def test_a_request_says_where_receipts_go() -> None:
    request = ReceiptRequest.read(asking(to=[ALICE, CAROL]).values[0])
    assert request == ReceiptRequest(IDENTIFIER, "allReceipts", ((mail_address(ALICE),), (mail_address(CAROL),)))
    some = ReceiptRequest.read(asking([BOB]).values[0])
    assert some.receipts_from == ((mail_address(BOB),),)
    assert ReceiptRequest.read(asking("first-tier").values[0]).receipts_from == "firstTierRecipients"
    with pytest.raises(MalformedMessage):
        asking(to=[])
    assert asking(to=[f"a{i}@b.example" for i in range(UB_RECEIPTS_TO)])
    with pytest.raises(LimitExceeded):
        asking(to=[f"a{i}@b.example" for i in range(UB_RECEIPTS_TO + 1)])


# --- may one be made --------------------------------------------------------------------------------------------------

SIGNED = original()
WHO_IS_ASKED = [
    ("nobody asks", original(world.history()), "receipt.not_requested"),
    ("nobody signed", world.TEXT, "receipt.not_requested"),
    ("all are asked", SIGNED, None),
    ("first tier", original(asking("first-tier")), None),
    ("one of some", original(asking([CAROL, "BOB@beta.example"])), None),
    ("others are asked", original(asking([CAROL])), "receipt.not_in_list"),
    ("a list without policy", by_list(SIGNED), None),
    ("a list without policy, first tier", by_list(original(asking("first-tier"))), "receipt.not_first_tier"),
    ("a list that wants none", by_list(SIGNED, NONE), "receipt.policy_none"),
    ("a list that wants none, others are asked", by_list(original(asking([CAROL])), NONE), "receipt.policy_none"),
    ("a list that wants them instead", by_list(SIGNED, INSTEAD), None),
    ("a list that wants them instead, first tier", by_list(original(asking("first-tier")), INSTEAD),
     "receipt.not_first_tier"),
    ("a list that wants them too", by_list(SIGNED, TOO), None),
    ("a list that wants them too, others are asked", by_list(original(asking([CAROL])), TOO), "receipt.not_in_list"),
    ("a history that does not hold", by_list(SIGNED, INSTEAD, by="evil"), "receipt.history"),
    ("through encryption", by_list(world.encrypted(SIGNED, beta().users["bob"]), INSTEAD), None),
    ("encrypted to somebody else", world.encrypted(SIGNED, acme().users["bob"]), "receipt.closed"),
    ("signed again around a list that wants none", world.signed(by_list(SIGNED, NONE), acme().users["bob"]),
     "receipt.policy_none"),
    ("asked outside only", world.signed(world.signed(world.TEXT, acme().users["bob"]), acme().users["alice"],
                                        extra=[asking()]), "receipt.not_requested"),
]  # fmt: skip


@pytest.mark.requirement("R2634-2.3-02", "R2634-1.3.1-01")
@pytest.mark.parametrize(("entity", "code"), [pytest.param(*case[1:], id=case[0]) for case in WHO_IS_ASKED])
def test_the_decision_table(entity: bytes, code: str | None) -> None:
    if code is None:
        assert due(entity).request.signed_content_identifier == IDENTIFIER
    else:
        assert refused(entity) == code


@pytest.mark.requirement("R2634-2.3-02")
def test_somebody_may_be_asked_by_directory_name() -> None:
    bob = beta().users["bob"].certificate
    request = ReceiptRequest(IDENTIFIER, ((directory_name(bob.subject),),), ((mail_address(ALICE),),))
    entity = original(attributes.attribute(oids.ID_AA_RECEIPT_REQUEST, request.write()))
    assert due(entity).mailboxes == (parse_address(ALICE),)
    assert refused(entity, beta().users["alice"]) == "receipt.not_in_list"


def test_a_directory_name_that_cannot_be_read_is_nobodys() -> None:
    request = ReceiptRequest(IDENTIFIER, ((directory_name(b"\x30\x02\x31\x05"),),), ((mail_address(ALICE),),))
    entity = original(attributes.attribute(oids.ID_AA_RECEIPT_REQUEST, request.write()))
    assert refused(entity) == "receipt.not_in_list"


@pytest.mark.requirement("R2634-2.3-01")
@pytest.mark.parametrize(
    "entity",
    [
        world.signed(world.TEXT, acme().users["alice"], extra=[asking()], detached=True).replace(b"dawn", b"dusk"),
        world.signed(world.TEXT, world.stranger_user(), extra=[asking()]),
    ],
    ids=["altered", "nobody knows the issuer"],
)
def test_a_signature_that_does_not_hold_gets_no_receipt(entity: bytes) -> None:
    assert refused(entity) == "receipt.unverified"


@pytest.mark.requirement("R2634-2.2.1-01", "R2634-2.3-01")
def test_requests_of_several_signers_are_the_same_or_there_is_no_receipt() -> None:
    alice, bob = acme().users["alice"], acme().users["bob"]
    assert due(world.two_signed(world.TEXT, (alice, [asking()]), (bob, [asking()])))
    assert due(world.two_signed(world.TEXT, (alice, [asking()]), (bob, [])))
    assert refused(world.two_signed(world.TEXT, (alice, [asking()]), (bob, [asking("first-tier")]))) == "receipt.differ"
    # one that cannot be verified has no say
    forged = world.with_forged_signer(world.TEXT, alice, [asking()], [asking(to=[CAROL])])
    assert due(forged).mailboxes == (parse_address(ALICE),)


def test_a_request_that_stands_twice_is_none() -> None:
    assert refused(original(asking(), asking())) == "receipt.not_requested"


@pytest.mark.requirement("R2634-2.2-01")
def test_a_receipt_gets_no_receipt() -> None:
    content = Receipt(oids.ID_DATA, b"1", b"2").write()
    entity = world.signed(content, acme().users["alice"], extra=[asking()], content_type=oids.ID_CT_RECEIPT)
    assert refused(entity) == "receipt.of_receipt"


@pytest.mark.requirement("R2634-2.5-01")
@pytest.mark.parametrize(
    ("policy", "expected"),
    [(None, [ALICE]), (INSTEAD, [CAROL]), (TOO, [ALICE, CAROL])],
    ids=["none", "insteadOf", "inAdditionTo"],
)
def test_who_gets_the_receipt(policy: MLReceiptPolicy | None, expected: list[str]) -> None:
    """The last entry of the history decides; the one before wants none."""
    assert [m.address for m in due(by_list(SIGNED, policy)).mailboxes] == expected


def test_who_has_no_address_gets_none() -> None:
    request = ReceiptRequest(IDENTIFIER, "allReceipts", ((directory_name(acme().ca.certificate.subject),),))
    found = due(original(attributes.attribute(oids.ID_AA_RECEIPT_REQUEST, request.write())))
    assert (len(found.send_to), found.mailboxes) == (1, ())


# --- making one -------------------------------------------------------------------------------------------------------


def made(entity: bytes = SIGNED) -> bytes:
    """Bob's receipt."""
    return receipts.make(due(entity), world.credential(beta().users["bob"]), world.NOW)


def signed_layer(entity: bytes) -> Layer:
    layer = peel(world.message(entity)).root
    assert layer.signed is not None
    return layer


@pytest.mark.requirement("R2634-2.4-01", "R2634-2.4-02", "R2634-2.2-01")
@pytest.mark.parametrize("how", ["opaque", "detached"])
def test_a_receipt_repeats_what_was_signed(how: str) -> None:
    entity = world.signed(world.TEXT, acme().users["alice"], extra=[asking()], detached=how == "detached")
    layer, was = signed_layer(made(entity)), signed_layer(entity)
    assert layer.signed is not None
    assert was.signed is not None
    (info,) = was.signed.signers
    assert layer.content_type == oids.ID_CT_RECEIPT
    assert bytes(layer.content or b"") == Receipt(oids.ID_DATA, IDENTIFIER, info.signature).write()
    assert bytes(layer.content or b"").startswith(b"\x30")
    assert layer.signed.version == 3
    stated = layer.signed.signers[0].signed_attributes
    assert stated is not None
    assert info.signed_attributes is not None
    by_oid = {a.oid: a.values for a in stated.items}
    over = b"\x31" + der.tlv(der.SET, info.signed_attributes.raw)[1:]
    assert by_oid[oids.ID_AA_MSG_SIG_DIGEST] == (der.octet_string(hashlib.sha256(over).digest()),)
    assert by_oid[oids.ID_CONTENT_TYPE] == (der.oid(oids.ID_CT_RECEIPT),)
    digest = hashlib.sha256(bytes(layer.content or b"")).digest()
    assert by_oid[oids.ID_MESSAGE_DIGEST] == (der.octet_string(digest),)
    assert oids.ID_SIGNING_TIME in by_oid
    assert not {oids.ID_AA_ML_EXPAND_HISTORY, oids.ID_AA_RECEIPT_REQUEST} & set(by_oid)


@pytest.mark.requirement("R2634-2.4-01")
def test_a_receipt_says_in_mime_what_it_is() -> None:
    entity = made()
    assert entity.startswith(b"Content-Type: application/pkcs7-mime; smime-type=signed-receipt; name=smime.p7m\r\n")
    assert not peel(world.message(entity)).root.flags
    wrong = entity.replace(b"signed-receipt", b"signed-data")
    assert [code for code, _ in peel(world.message(wrong)).root.flags] == ["mime.smime_type"]


@pytest.mark.requirement("R2634-2.4-02")
def test_what_was_not_in_der_is_digested_as_it_was_signed() -> None:
    alice = acme().users["alice"]
    for order in ("received", "der"):
        entity = _unsorted(alice, order)
        checked(receipts.make(due(entity), world.credential(beta().users["bob"]), world.NOW), entity)
        info = signed_layer(entity).signed.signers[0]  # type: ignore[union-attr]
        assert info.signed_attributes is not None
        assert not info.signed_attributes.is_der
        assert (
            signed_data.signature_digest(info, order)
            in signed_layer(  # type: ignore[arg-type]
                receipts.make(due(entity), world.credential(beta().users["bob"]), world.NOW)
            )
            .signed.signers[0]
            .signed_attributes.raw
        )  # type: ignore[union-attr]


def _unsorted(who: pki.Identity, signed_as: str) -> bytes:
    """A message whose signed attributes stand in the wrong order, signed in that order or in the right one."""
    algorithm = default_signature_algorithm(who.certificate.public_key)
    items = [
        attributes.content_type(oids.ID_DATA),
        attributes.message_digest(hashlib.sha256(world.TEXT).digest()),
        asking(),
    ]
    in_order = sorted(item.raw for item in items)
    sent = b"".join(reversed(in_order))
    tbs = der.tlv(der.SET, sent if signed_as == "received" else b"".join(in_order))
    info = der.sequence(
        der.integer(1),
        der.sequence(who.certificate.issuer, der.integer(who.certificate.serial)),
        algorithm.digest.identifier.raw,
        der.tlv(der.context(0), sent),
        algorithm.identifier.raw,
        der.octet_string(world.credential(who).sign(tbs, algorithm)),
    )
    value = der.sequence(
        der.integer(1),
        der.set_of([algorithm.digest.identifier.raw]),
        der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.octet_string(world.TEXT))),
        der.tlv(der.context(0), who.certificate.der),
        der.tlv(der.SET, info),
    )
    return smime.pkcs7_mime(content_info.wrap(oids.ID_SIGNED_DATA, value), "signed-data")


@pytest.mark.requirement("R2634-2.4-03", "R2634-2.9-01")
def test_an_encrypted_receipt_has_a_signature_around_that_says_what_it_is() -> None:
    certificates = [acme().users["alice"].certificate]
    credential = world.credential(beta().users["bob"])
    sealed = receipts.seal(made(), credential, certificates, Cipher("aes256-cbc"), world.NOW)
    outer = signed_layer(sealed)
    assert outer.signed is not None
    stated = outer.signed.signers[0].signed_attributes
    assert stated is not None
    (hints,) = stated.get(oids.ID_AA_CONTENT_HINT)
    assert ContentHints.read(hints.values[0]) == ContentHints(oids.ID_CT_RECEIPT)
    assert outer.child is not None
    assert outer.child.kind == "enveloped"
    assert checked(sealed).addresses == (BOB,)
    with pytest.raises(ReceiptRefused, match=r"receipt\.none"):
        receipts.check(received(sealed), receipts.sent(peel(world.message(SIGNED))))


# --- checking one -----------------------------------------------------------------------------------------------------


def checked(entity: bytes, kept: bytes = SIGNED) -> Checked:
    """As alice sees it, who kept what she signed."""
    examination = agents.reads(world.message(entity, sender=BOB, to=ALICE), acme().users["alice"])
    return receipts.check(examination, receipts.sent(peel(world.message(kept))))


def not_believed(entity: bytes, kept: bytes = SIGNED) -> str:
    with pytest.raises(ReceiptRefused) as caught:
        checked(entity, kept)
    return caught.value.code


@pytest.mark.requirement("R2634-2.6-01")
def test_a_receipt_is_believed_by_whoever_kept_the_message() -> None:
    found = checked(made())
    assert found.addresses == (BOB,)
    assert found.content_identifier == IDENTIFIER
    assert found.signing_time == world.NOW.isoformat()
    assert found.listed


@pytest.mark.requirement("R2634-2.6-01", "R2634-1.3.3-01")
@pytest.mark.parametrize(
    "around",
    [
        lambda entity: by_list(entity, TOO),
        lambda entity: world.encrypted(entity, beta().users["bob"]),
        lambda entity: world.signed(entity, acme().signing, extra=[world.typed(world.SignatureType.DOMAIN)]),
        lambda entity: agents.expand(world.message(entity)).copies[0].octets.partition(b"MIME-Version: 1.0\r\n")[2],
    ],
    ids=["list", "encryption", "domain", "list agent"],
)
def test_a_receipt_for_what_came_by_gateways_and_lists_fits_what_was_signed(around) -> None:
    """Nobody on the way changes what the inner signature covers (decisions A-53)."""
    assert checked(made(around(SIGNED))).addresses == (BOB,)


def test_a_receipt_that_came_by_a_list_or_a_gateway_is_one() -> None:
    assert checked(by_list(made())).addresses == (BOB,)
    assert checked(world.signed(made(), beta().signing, extra=[world.typed(world.SignatureType.DOMAIN)]))


def forged(receipt: Receipt, digest: bytes | None, who: pki.Identity | None = None, *more: Attribute) -> bytes:
    """A receipt of bob's, or somebody else's, that says this."""
    extra = [] if digest is None else [attributes.attribute(oids.ID_AA_MSG_SIG_DIGEST, MsgSigDigest(digest).write())]
    signing = Signing(world.credential(who or beta().users["bob"]), attributes=(*extra, *more), signing_time=world.NOW)
    return smime.pkcs7_mime(signed_data.sign(receipt.write(), oids.ID_CT_RECEIPT, (signing,)), "signed-receipt")


def kept() -> tuple[Receipt, bytes]:
    (sent,) = receipts.sent(peel(world.message(SIGNED)))
    (digest,) = sent.digests
    return sent.receipt, digest


@pytest.mark.requirement("R2634-2.6-01")
def test_what_a_receipt_says_has_to_be_what_was_sent() -> None:
    receipt, digest = kept()
    assert checked(forged(receipt, digest)).addresses == (BOB,)
    assert not_believed(forged(receipt, bytes(32))) == "receipt.digest"
    assert not_believed(forged(receipt, None)) == "receipt.digest"
    other = replace(receipt, originator_signature_value=b"another")
    assert not_believed(forged(other, digest)) == "receipt.content"
    assert not_believed(forged(replace(receipt, content_type=oids.ID_CT_RECEIPT), digest)) == "receipt.content"
    unknown = replace(receipt, signed_content_identifier=b"2")
    assert not_believed(forged(unknown, digest)) == "receipt.other_message"
    assert not_believed(forged(receipt, digest, world.stranger_user())) == "receipt.signature"
    twice = attributes.attribute(oids.ID_AA_MSG_SIG_DIGEST, MsgSigDigest(digest).write())
    assert not_believed(forged(receipt, digest, None, twice)) == "receipt.digest"
    assert not_believed(SIGNED) == "receipt.none"
    assert not_believed(world.TEXT) == "receipt.none"


@pytest.mark.requirement("R2634-2.6-01")
def test_the_same_text_signed_again_is_another_message() -> None:
    assert not_believed(made(original())) == "receipt.content"


def test_a_receipt_of_somebody_who_was_not_asked_is_told_from_the_others() -> None:
    entity = original(asking([CAROL]))
    (sent,) = receipts.sent(peel(world.message(entity)))
    (digest,) = sent.digests
    assert not checked(forged(sent.receipt, digest), entity).listed


def test_only_the_message_as_signed_can_be_kept() -> None:
    for entity, code in (
        (world.encrypted(SIGNED, beta().users["bob"]), "receipt.closed"),
        (world.TEXT, "receipt.not_requested"),
        (original(world.history()), "receipt.not_requested"),
    ):
        with pytest.raises(ReceiptRefused, match=code):
            receipts.sent(peel(world.message(entity)))
    assert len(receipts.sent(peel(world.message(by_list(SIGNED))))) == 1


# --- the structures of others -----------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.requirement("R2634-2.6-01")
@pytest.mark.parametrize("name", ["rfc2634", "rfc6211"])
def test_an_identifier_alone_makes_no_receipt_fit(shared: Path, name: str) -> None:
    """The receipt in rfc-structures has the content identifier of both messages there, and is for a third signature."""
    folder = shared / "corpora" / "rfc-structures"
    asked_for = (folder / f"{name}.SignedMessageTestCase.signed_message_pem_text.der").read_bytes()
    answer = (folder / "rfc2634.SignedReceiptTestCase.signed_receipt_pem_text.der").read_bytes()
    kept = receipts.sent(peel(world.message(smime.pkcs7_mime(asked_for, "signed-data"))))
    examination = world.look(world.message(smime.pkcs7_mime(answer, "signed-receipt")))
    layer = examination.findings[0].layer
    assert Receipt.read(layer.content or b"").signed_content_identifier == kept[0].request.signed_content_identifier
    with pytest.raises(ReceiptRefused, match=r"receipt\.content"):
        receipts.check(examination, kept)
