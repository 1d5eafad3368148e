"""ESS attributes in verdicts: where they may stand, which are used, and what of them is reported."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import world
from domsec import der, oids
from domsec.cms import attributes, signed_data
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import SubjectKeyIdentifier
from domsec.cms.signed_data import Signing
from domsec.errors import SigningRefused
from domsec.ess.labels import ESSPrivacyMark, ESSSecurityLabel
from domsec.ess.lists import MLData, MLExpansionHistory, MLReceiptPolicy
from domsec.ess.places import PLACES, READ
from domsec.ess.receipts import Receipt, ReceiptRequest
from domsec.mime import smime
from domsec.services import ess_attributes, sign
from domsec.services.describe import describe, value_text
from domsec.services.finding import Signer
from domsec.services.layers import peel
from domsec.services.verdict import Verdict
from ess_values import ALICE, SECRET, TRANSLATED, VALUES, equivalents, having, label, signed
from world import acme, judge

ORACLE = Path(__file__).resolve().parent.parent / "vectors" / "oracle"


def by_two(one: Sequence[Attribute], other: Sequence[Attribute], inside: bytes = world.TEXT) -> bytes:
    """One layer with two signers of their own attributes each."""
    signings = [
        Signing(world.credential(who), attributes=tuple(extra), signing_time=world.NOW)
        for who, extra in ((acme().users["alice"], one), (acme().users["bob"], other))
    ]
    return smime.pkcs7_mime(signed_data.sign(inside, oids.ID_DATA, signings), "signed-data")


def verdict(entity: bytes) -> Verdict:
    return judge(world.message(entity))


def codes(entity: bytes) -> set[str]:
    found = verdict(entity)
    return {f.code for f in found.flags if f.code.partition(".")[0] in ("ess", "label", "mlh", "attrs")}


# --- places and numbers ----------------------------------------------------------------------------------------------

SIGNED = [oid for oid, place in PLACES.items() if place.signed != "never" and oid in READ]


@pytest.mark.requirement("R2634-1.3.4-01", "R2634-1.3.2-01", "R2634-1.3.1-01")
@pytest.mark.parametrize("oid", READ, ids=oids.name)
def test_an_attribute_in_each_place(oid: str) -> None:
    place = PLACES[oid]
    attribute = having(oid)
    inner = signed(signed(world.TEXT, attribute), by="domain")
    outer = signed(world.encrypted(signed(world.TEXT), acme().confidentiality), attribute, by="bob")
    around = signed(signed(world.TEXT), attribute, by="bob")
    through = signed(world.encrypted(signed(world.TEXT, attribute), acme().confidentiality), by="bob")
    unsigned = signed(world.TEXT, unsigned=[attribute])
    assert ("ess.placement" in codes(signed(world.TEXT, attribute))) is False
    assert ("ess.placement" in codes(inner)) is False
    assert ("ess.placement" in codes(outer)) is (place.layer == "inner")
    assert ("ess.placement" in codes(around)) is (place.layer == "inner")
    assert ("ess.placement" in codes(through)) is (place.layer == "outer")
    assert ("ess.placement" in codes(unsigned)) is (place.signed == "must")


@pytest.mark.requirement("R2634-1.3.2-01")
@pytest.mark.parametrize("oid", READ, ids=oids.name)
@pytest.mark.parametrize("where", ["unprotected", "auth_attributes"])
def test_beside_ciphertext_nothing_is_signed(oid: str, where: str) -> None:
    layer = peel(world.message(world.encrypted(world.TEXT, acme().confidentiality))).root
    assert layer.enveloped is not None
    stated = attributes.parse_attributes(having(oid).raw)
    found = replace(layer, enveloped=replace(layer.enveloped, **{where: stated}))
    codes_found = [code for code, _ in ess_attributes.found_in(found, (), (), ())]
    assert codes_found == (["ess.placement"] if PLACES[oid].signed == "must" else [])


@pytest.mark.requirement("R2634-1.3.4-01", "R5035-3-03")
def test_the_attributes_of_cms_have_their_places_too() -> None:
    alice = acme().users["alice"].certificate
    for attribute in (attributes.signing_certificate_v2(alice), attributes.signing_time(world.NOW)):
        assert codes(signed(world.TEXT, unsigned=[attribute])) == {"ess.placement"}
    countersignature = attributes.attribute(oids.ID_COUNTERSIGNATURE, der.sequence())
    assert codes(signed(world.TEXT, countersignature)) == {"ess.placement"}
    assert codes(signed(world.TEXT, unsigned=[countersignature])) == set()


@pytest.mark.requirement("R2634-1.3.4-02", "R5035-3-03")
@pytest.mark.parametrize("oid", READ, ids=oids.name)
def test_an_attribute_that_stands_twice_or_has_several_values_is_not_used(oid: str) -> None:
    one = having(oid)
    if oid in (oids.ID_AA_CONTENT_IDENTIFIER, oids.ID_AA_MSG_SIG_DIGEST):
        value = der.octet_string(bytes(31))
    else:
        value = VALUES[oid][:-1] + bytes([VALUES[oid][-1] ^ 1])
    for extra in ((one, one), (one, having(oid, value)), (attributes.attribute(oid, VALUES[oid], value),)):
        entity = signed(world.TEXT, *extra)
        assert "ess.cardinality" in codes(entity)
        found = verdict(entity)
        assert set(found.layers[0].signers[0].ess.values()) == {None}
        assert (found.labels.original, found.labels.equivalent, found.mlh) == (None, (), ())
    assert "ess.cardinality" in codes(signed(world.TEXT, attributes.attribute(oid)))


@pytest.mark.requirement("R2634-2.2.1-01")
def test_all_signers_request_the_same_receipts() -> None:
    other = having(oids.ID_AA_RECEIPT_REQUEST, ReceiptRequest(b"2", "allReceipts", (ALICE,)).write())
    request = having(oids.ID_AA_RECEIPT_REQUEST)
    assert codes(by_two([request], [request])) == codes(by_two([request], [])) == set()
    assert codes(by_two([request], [other])) == {"ess.cardinality"}


@pytest.mark.requirement("R2634-2.2-01")
@pytest.mark.parametrize("oid", [oids.ID_AA_RECEIPT_REQUEST, oids.ID_AA_ML_EXPAND_HISTORY], ids=oids.name)
def test_a_receipt_asks_for_no_receipt_and_has_no_history(oid: str) -> None:
    content = Receipt(oids.ID_DATA, b"1", b"signature").write()
    for extra, expected in ((), set()), ((having(oid),), {"ess.placement"}):  # type: ignore[var-annotated]
        made = world.signed(content, acme().users["alice"], extra=extra, content_type=oids.ID_CT_RECEIPT)
        assert codes(made) == expected


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R2634-3.1.2-01", "R2634-3.4-01")
def test_the_labels_of_a_message_are_kept_apart() -> None:
    """Decisions A-50."""
    inner = signed(world.TEXT, label(SECRET), equivalents(TRANSLATED))
    first = signed(inner, label(ESSSecurityLabel("1.2.5", 1)), by="attributes")
    second = signed(first, label(ESSSecurityLabel("1.2.6")), equivalents(ESSSecurityLabel("1.2.7")), by="attributes")
    review = signed(second, label(ESSSecurityLabel("1.2.8")), by="review")
    domain = signed(review, label(ESSSecurityLabel("1.2.9")), by="domain")
    found = verdict(domain)
    assert found.accepted
    stated = found.labels
    assert stated.original is not None
    assert (stated.original.layer, stated.original.policy) == ("1.1.1.1.1", "1.2.3")
    assert (stated.original.classification, stated.original.privacy_mark) == (4, "eyes only")
    assert [(c.type, c.value) for c in stated.original.categories] == [("1.2.9", "020107")]
    assert stated.original.signer == found.layers[-2].signers[0].subject
    assert [(e.policy, e.trusted, e.layer) for e in stated.equivalent] == [
        ("1.2.4", False, "1.1.1.1.1"),
        ("1.2.7", False, "1.1.1"),
    ]
    assert [(a.policy, a.layer) for a in stated.aggregate] == [("1.2.5", "1.1.1.1"), ("1.2.6", "1.1.1")]
    assert found.layers[0].signers[0].ess["idAaSecurityLabel"] == {
        "policy": "1.2.9", "classification": None, "privacy_mark": None, "categories": [],
    }  # fmt: skip
    document = found.to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["labels"]["aggregate"][0]["policy"] == "1.2.5"  # type: ignore[index,call-overload]


@pytest.mark.requirement("R2634-3.1.2-01", "R2634-4.1-02")
def test_nothing_is_taken_from_a_layer_that_does_not_hold() -> None:
    entity = signed(world.TEXT, label(SECRET), equivalents(TRANSLATED), world.history())
    octets = world.message(entity)
    assert judge(octets).labels.original is not None
    assert judge(octets).mlh
    der_octets = smime.recognise(entity)
    assert isinstance(der_octets, smime.Pkcs7)
    changed = bytes(der_octets.der).replace(world.SECRET, b"attack at dusk")
    for broken, at in (
        (world.message(smime.pkcs7_mime(changed, "signed-data")), None),
        (octets, world.context(users=[])),
    ):
        found = judge(broken, at)
        assert (found.labels.original, found.labels.equivalent, found.labels.aggregate, found.mlh) == (None, (), (), ())


def test_an_outer_label_is_not_taken_for_the_original() -> None:
    """The innermost originator put none on it, so there is none."""
    found = verdict(signed(signed(world.TEXT), label(SECRET), by="domain"))
    assert (found.labels.original, found.labels.aggregate) == (None, ())


@pytest.mark.requirement("R2634-3.1.1-01", "R2634-3.4.1-01")
def test_labels_that_contradict_each_other() -> None:
    secret, other = label(SECRET), label(TRANSLATED)
    assert codes(by_two([secret], [secret])) == set()
    assert verdict(by_two([secret], [secret])).labels.original is not None
    for entity in (
        by_two([secret], [other]),
        by_two([secret], []),
        signed(world.TEXT, secret, equivalents(SECRET)),
        signed(world.TEXT, equivalents(TRANSLATED, TRANSLATED)),
    ):
        found = verdict(entity)
        assert "label.conflict" in {f.code for f in found.violations}
        assert not found.accepted
        assert (found.labels.original, found.labels.equivalent) == (None, ())


@pytest.mark.parametrize("oid", [oids.ID_AA_SECURITY_LABEL, oids.ID_AA_EQUIVALENT_LABELS], ids=oids.name)
def test_a_label_that_nobody_can_read_is_a_violation(oid: str) -> None:
    found = verdict(signed(world.TEXT, having(oid, der.null())))
    assert {f.code for f in found.violations} == {"label.unknown_policy"}
    assert not found.accepted


def test_a_label_in_the_order_of_x690_is_no_reason_to_distrust_an_authority() -> None:
    marked = ESSSecurityLabel("1.2.3", 1, ESSPrivacyMark("mark", "pString"), SECRET.security_categories)
    for mark_first in (False, True):
        stated = ESSSecurityLabel("1.2.3", 1, marked.privacy_mark, marked.security_categories, mark_first)
        assert codes(signed(signed(world.TEXT), label(stated), by="attributes")) == set()


# --- lists -----------------------------------------------------------------------------------------------------------


def history(*entries: MLData) -> Attribute:
    return having(oids.ID_AA_ML_EXPAND_HISTORY, MLExpansionHistory(entries).write())


NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.requirement("R2634-4.1-02", "R2634-4.4-01")
def test_the_history_is_that_of_the_outermost_list_layer() -> None:
    first = MLData(SubjectKeyIdentifier(b"one"), NOON, MLReceiptPolicy("insteadOf", (ALICE,)))
    second = MLData(SubjectKeyIdentifier(b"two"), NOON)
    inner = signed(signed(world.TEXT), history(second), by="bob")
    found = verdict(signed(signed(inner, history(first, second), by="bob"), by="domain"))
    assert [e.mail_list_identifier for e in found.mlh] == ["key identifier 6f6e65", "key identifier 74776f"]
    document: Any = found.to_json()
    assert document["mlh"] == [
        {
            "mail_list_identifier": "key identifier 6f6e65",
            "expansion_time": "2026-11-23T12:00:00+00:00",
            "receipt_policy": {"policy": "insteadOf", "names": [["alice@acme.example"]]},
        },
        {
            "mail_list_identifier": "key identifier 74776f",
            "expansion_time": "2026-11-23T12:00:00+00:00",
            "receipt_policy": None,
        },
    ]
    full = verdict(signed(signed(world.TEXT), world.history(64), by="bob"))
    assert (len(full.mlh), full.violations) == (64, ())


@pytest.mark.requirement("R2634-4.1-02", "R2634-4.4-01")
@pytest.mark.parametrize(
    ("entity", "code"),
    [
        (lambda: by_two([world.history()], [world.history(2)], world.entity("S(OC)")), "mlh.conflict"),
        (lambda: signed(world.entity("S(OC)"), world.history(), world.history(2)), "mlh.conflict"),
        (lambda: signed(world.entity("S(OC)"), having(oids.ID_AA_ML_EXPAND_HISTORY, der.null())), "mlh.conflict"),
        (lambda: signed(world.entity("S(OC)"), world.history(65)), "mlh.overflow"),
    ],
)
def test_a_history_that_cannot_be_used_stops_the_message(entity: Any, code: str) -> None:
    octets = world.message(entity())
    examination = world.look(octets)
    assert code in {f.code for f in examination.verdict.violations}
    assert (examination.verdict.accepted, examination.verdict.mlh) == (False, ())
    with pytest.raises(SigningRefused, match=r"gate\.malformed"):
        sign.gate(examination, acme().signing.certificate, (), world.context(acme().confidentiality))
    assert not world.send(octets).outgoing


@pytest.mark.requirement("R2634-4.1-02")
def test_signers_without_history_do_not_matter() -> None:
    found = verdict(by_two([world.history()], [], world.entity("S(OC)")))
    assert (len(found.mlh), found.violations) == (1, ())


# --- messages that other people's programs made ----------------------------------------------------------------------


@functools.cache
def oracle(name: str) -> Verdict:
    keys = json.loads((ORACLE / "expected.json").read_text())["recipient_keys"]
    at = world.oracle_context(ORACLE, keys, datetime(2026, 11, 24, tzinfo=UTC))
    return judge((ORACLE / "msgs" / f"{name}.eml").read_bytes(), at)


def test_g23_has_an_aggregate_label_and_equivalents_by_the_authority() -> None:
    found = oracle("g23-addattr")
    assert found.labels.original is not None
    assert (found.labels.original.layer, found.labels.original.classification) == ("1.1", 2)
    assert [label.layer for label in found.labels.aggregate] == ["1"]
    assert found.labels.equivalent
    assert not any(label.trusted for label in found.labels.equivalent)
    assert {label.signer for label in found.labels.equivalent} == set(found.additional_attributes)


def test_g30_asks_for_a_receipt() -> None:
    (signer,) = oracle("g30-receipt-request").layers[1].signers
    request: Any = signer.ess["idAaReceiptRequest"]
    assert set(request) == {"signed_content_identifier", "receipts_from", "receipts_to"}
    assert request["receipts_to"] == [["alice@acme.example"]]
    assert not {f.code for f in oracle("g30-receipt-request").flags} & {"ess.placement", "ess.cardinality"}


def test_g56_went_through_a_list() -> None:
    (expansion,) = oracle("g56-ml-triple").mlh
    assert expansion.mail_list_identifier.startswith(("serial ", "key identifier "))
    assert datetime.fromisoformat(expansion.expansion_time).tzinfo is not None


# --- in words --------------------------------------------------------------------------------------------------------


def test_values_in_words_stay_on_their_line() -> None:
    hostile = ESSSecurityLabel("1.2.3", 5, ESSPrivacyMark("top\nsigner: CN=nobody \x1b[2J\u202e"), ())
    assert value_text(label(hostile)) == (
        'policy 1.2.3 classification 5 "top\\0Asigner: CN=nobody \\1B[2J\\E2\\80\\AE"'
    )
    assert value_text(label(SECRET)) == 'policy 1.2.3 classification 4 "eyes only" category 1.2.9 020107'
    assert value_text(having(oids.ID_AA_RECEIPT_REQUEST)) == "receipts from allReceipts to alice@acme.example for 31"
    expanded = MLData(SubjectKeyIdentifier(b"one"), NOON, MLReceiptPolicy("inAdditionTo", (ALICE,)))
    assert value_text(history(expanded)) == (
        "key identifier 6f6e65 at 2026-11-23T12:00:00+00:00, receipts inAdditionTo alice@acme.example"
    )
    assert value_text(equivalents(TRANSLATED, SECRET)).startswith("policy 1.2.4 classification 2; policy 1.2.3 ")
    assert value_text(world.history(40)).endswith("; and 24 more")
    assert value_text(having(oids.ID_AA_SECURITY_LABEL, der.null())) == "0500"


def test_a_description_has_the_values_and_the_receipt() -> None:
    content = Receipt(oids.ID_DATA, b"1", b"signature").write()
    made = world.signed(content, acme().users["alice"], content_type=oids.ID_CT_RECEIPT)
    described = describe(peel(world.message(made)))
    assert described.layers[-1].receipt == {
        "content_type": "idData", "signed_content_identifier": "31", "originator_signature_value": b"signature".hex(),
    }  # fmt: skip
    assert described.layers[0].receipt is None
    labelled = describe(peel(world.message(signed(world.TEXT, label(SECRET), world.history(65)))))
    stated: Any = labelled.layers[0].signers[0].ess
    assert stated["idAaSecurityLabel"]["privacy_mark"] == "eyes only"
    assert stated["idAaMlExpandHistory"] is None
    assert labelled.to_json()["embedded"] == []


def test_a_value_is_that_of_the_first_signer_who_holds_and_states_one() -> None:
    """Whatever others beside it state, or do not."""
    examination = world.look(world.message(by_two([], [label(SECRET)])))
    finding = examination.findings[0]
    silent, stating = finding.signers
    broken = replace(stating, verdict=replace(stating.verdict, state="unsupported"))

    def used(*signers: Signer) -> Signer | None:
        heard = replace(finding, signers=signers, flags=())  # that they differ is a conflict, told elsewhere
        found = ess_attributes.usable(heard, oids.ID_AA_SECURITY_LABEL, ESSSecurityLabel.read)
        return None if found is None else found[1]

    assert finding.state == "valid"
    for others in ((silent,), (broken,), (silent, broken), (broken, silent)):
        assert used(*others) is None
        assert used(*others, stating) is stating
    assert used(stating, silent) is stating
    bad = replace(finding, state="invalid")
    assert ess_attributes.usable(bad, oids.ID_AA_SECURITY_LABEL, ESSSecurityLabel.read) is None
