"""What the labels of a message come to: the original, equivalents of who may translate, aggregates that restrict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import food
import pki
import world
from domsec import der, oids
from domsec.ess.labels import ESSSecurityLabel
from domsec.mime import smime
from domsec.services import labelling, sign
from domsec.services.known_signers import KnownSigners
from domsec.services.labelling import Labelling, Translator
from domsec.services.verdict import Verdict
from ess_values import equivalents, having, label, signed
from world import acme, beta

SWEET = food.label("Food:Luxury::Sweet")
WATER = food.label("water")
FOREIGN = ESSSecurityLabel(food.OTHER, 4)
BY_AUTHORITY = food.translator(acme().attributes)


def verdict(entity: bytes, rules: Labelling, **more: Any) -> Verdict:
    at = replace(world.context(acme().confidentiality, beta().confidentiality, **more), labelling=rules)
    return world.judge(world.message(entity), at)


def effective(found: Verdict) -> tuple[str, int | None, str] | None:
    """Policy, classification and layer of the label to go by."""
    counts = found.labels.effective
    return None if counts is None else (counts.policy, counts.classification, counts.layer)


def codes(found: Verdict) -> set[str]:
    return {f.code for f in found.violations}


# --- which label counts ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.3-05", "R2634-3.4-01", "R2634-3.4.1-01")
@pytest.mark.parametrize(
    ("translators", "trusted"),
    [
        ((BY_AUTHORITY,), True),
        ((food.translator(acme().attributes, into=[food.OID]),), True),
        ((food.translator(acme().attributes, into=[food.OID], out_of=[food.OTHER]),), True),
        ((food.translator(acme().attributes, into=["1.2.4"]),), False),
        ((food.translator(acme().attributes, out_of=["1.2.4"]),), False),
        ((food.translator(acme().review, beta().attributes),), False),
        ((food.translator(),), False),
        ((), False),
    ],
    ids=["any policy", "into", "out of", "into another", "out of another", "somebody else", "nobody named", "none"],
)
def test_an_equivalent_counts_if_its_signer_may_translate(translators: tuple[Translator, ...], trusted: bool) -> None:
    entity = signed(signed(world.TEXT, label(FOREIGN)), equivalents(WATER), by="attributes")
    found = verdict(entity, food.labelling(*translators))
    assert [e.trusted for e in found.labels.equivalent] == [trusted]
    assert effective(found) == ((food.OID, 50, "1") if trusted else None)
    assert codes(found) == (set() if trusted else {"label.unknown_policy"})
    assert found.accepted is trusted


@pytest.mark.requirement("R2634-3.4.2-01", "R3183-3.3-05")
def test_where_the_original_is_understood_equivalents_are_ignored() -> None:
    """A lower equivalent of a policy that is known too, by somebody who is trusted, changes nothing."""
    other = replace(food.policy(), oid=food.OTHER, name="Other")
    rules = replace(food.labelling(BY_AUTHORITY), policies={food.OID: food.policy(), food.OTHER: other})
    low = ESSSecurityLabel(food.OTHER, 50)
    entity = signed(signed(world.TEXT, label(SWEET)), equivalents(low), by="attributes")
    found = verdict(entity, rules)
    assert [e.trusted for e in found.labels.equivalent] == [True]
    assert effective(found) == (food.OID, 52, "1.1")


@pytest.mark.requirement("R2634-3.4.2-01")
def test_the_first_trusted_equivalent_counts_from_inside_out() -> None:
    inner = signed(signed(world.TEXT, label(FOREIGN)), equivalents(food.label("Food:Commodity")), by="bob")
    entity = signed(inner, equivalents(WATER), by="attributes")
    for trusted, expected in (
        ((acme().attributes,), (food.OID, 50, "1")),
        ((acme().attributes, acme().users["bob"]), (food.OID, 51, "1.1")),
    ):
        assert effective(verdict(entity, food.labelling(food.translator(*trusted)))) == expected


@pytest.mark.requirement("R2634-3.4.1-01")
def test_an_equivalent_says_what_the_absence_of_a_label_means() -> None:
    entity = signed(signed(world.TEXT), equivalents(WATER), by="attributes")
    assert effective(verdict(entity, food.labelling(BY_AUTHORITY))) == (food.OID, 50, "1")
    untrusted = verdict(entity, food.labelling())
    assert (effective(untrusted), codes(untrusted)) == (None, set())  # not processed: there is no label
    only_labels = food.labelling(food.translator(acme().attributes, out_of=[food.OTHER]))
    assert effective(verdict(entity, only_labels)) is None


@pytest.mark.requirement("R2634-3.4.1-01")
def test_a_translation_into_the_policy_it_comes_from_is_none() -> None:
    entity = signed(signed(world.TEXT, label(SWEET)), equivalents(WATER), by="attributes")
    found = verdict(entity, food.labelling(BY_AUTHORITY))
    assert [e.trusted for e in found.labels.equivalent] == [False]
    assert effective(found) == (food.OID, 52, "1.1")


@pytest.mark.requirement("R2634-3.4-01")
@pytest.mark.parametrize(
    ("issuer", "domains", "trusted"),
    [
        ("acme", {"acme.example"}, True),
        ("acme", {"beta.example", "acme.example"}, True),
        ("beta", {"acme.example"}, False),
        ("acme", {"example"}, False),
        ("acme", set(), False),
        (None, {"acme.example"}, False),
    ],
)
def test_signers_are_known_by_issuer_and_domain(issuer: str | None, domains: set[str], trusted: bool) -> None:
    name = {"acme": acme().ca, "beta": beta().ca}[issuer].certificate.subject if issuer else None
    who = KnownSigners(issuer=name, domains=frozenset(domains))
    assert who.know(acme().attributes.certificate) is trusted
    assert not who.know(pki.identity("attributes", "acme.example", pki.ca("another CA")).certificate)


# --- aggregates ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.3-06")
@pytest.mark.parametrize(
    ("original", "aggregate", "cleared", "expected"),
    [
        ("water", "water", food.EVERYTHING, {"label.denied"}),  # cleared for 51 and 52, not for 50
        ("Food:Commodity", "Food:Luxury::Sweet", food.EVERYTHING, set()),
        ("Food:Commodity", "Food:Luxury::Sweet:Allergens=Lactose", food.NO_LACTOSE, {"label.denied"}),
        ("Food:Luxury::Sweet:Allergens=Lactose", "Food:Commodity", food.NO_LACTOSE, {"label.denied"}),
        ("Food:Commodity", "Food:Commodity", food.NO_LACTOSE, set()),
    ],
)
def test_an_aggregate_can_only_restrict_further(
    original: str, aggregate: str, cleared: Path, expected: set[str]
) -> None:
    inner = signed(world.TEXT, label(food.label(original)))
    found = verdict(signed(inner, label(food.label(aggregate)), by="attributes"), food.labelling(cleared=cleared))
    assert codes(found) == expected
    assert found.labels.original is not None
    assert found.labels.effective == found.labels.original
    assert [a.layer for a in found.labels.aggregate] == ["1"]


@pytest.mark.requirement("R3183-3.3-06", "R3183-3.3-01")
def test_an_aggregate_alone_restricts_and_is_not_the_original() -> None:
    entity = signed(signed(world.TEXT), label(food.label("Food:Luxury::Sweet:Lactose")), by="attributes")
    found = verdict(entity, food.labelling(cleared=food.NO_LACTOSE))
    assert (found.labels.original, effective(found)) == (None, None)
    assert codes(found) == {"label.denied"}


def test_labels_of_reviewers_and_domains_are_reported_and_not_used() -> None:
    inner = signed(world.TEXT, label(food.label("Food:Commodity")))
    for by in ("review", "domain"):
        entity = signed(inner, label(food.label("Food:Luxury::Sweet:Lactose")), by=by)
        found = verdict(entity, food.labelling(cleared=food.NO_LACTOSE))
        assert codes(found) == set()
        assert found.labels.aggregate == ()
        assert "idAaSecurityLabel" in found.layers[0].signers[0].ess


# --- what policies have against a label ------------------------------------------------------------------------------


@pytest.mark.requirement("R2634-3.1.2-02")
def test_a_label_of_a_policy_that_is_not_known_stops_the_message() -> None:
    for entity in (signed(world.TEXT, label(FOREIGN)), signed(signed(world.TEXT), label(FOREIGN), by="attributes")):
        found = verdict(entity, food.labelling())
        assert (codes(found), found.accepted) == ({"label.unknown_policy"}, False)
        [told] = found.violations
        policy = FOREIGN.security_policy_identifier
        assert told.layer == "1"
        assert told.text.endswith(f" of policy {policy}, which is not known here")
    reported = verdict(signed(world.TEXT, label(FOREIGN)), labelling.NO_LABELLING)
    assert reported.accepted
    assert reported.labels.original is not None
    assert (reported.labels.original.policy, reported.labels.effective) == (food.OTHER, None)


@pytest.mark.requirement("R2634-3.3.2-01")
@pytest.mark.parametrize("name", ["meaty-milk-chocolate", "cheap-milk-chocolate"])
def test_a_label_that_its_policy_does_not_allow_is_for_nobody(name: str) -> None:
    found = verdict(signed(world.TEXT, label(food.label(name))), food.labelling(cleared=food.EVERYTHING))
    assert codes(found) == {"label.invalid"}


@pytest.mark.requirement("R2634-3.1.2-01")
@pytest.mark.parametrize(("cleared", "denied"), [(food.EVERYTHING, False), (food.NO_LACTOSE, True), (None, False)])
def test_our_own_clearance_decides_what_we_may_see(cleared: Path | None, denied: bool) -> None:
    octets = signed(world.TEXT, label(food.label("milk-chocolate")))
    found = verdict(octets, food.labelling(cleared=cleared))
    assert codes(found) == ({"label.denied"} if denied else set())
    assert found.labels.original is not None
    assert found.labels.original.marking == (
        "[ Food Sweet/Yummy Chocolate Brown Contains Lactose Not Vegan Animal Rights ]"
    )


def test_a_clearance_for_another_policy_is_none_for_this() -> None:
    other = replace(food.policy(), oid=food.OTHER)
    cleared = replace(food.clearance(), policy=food.OTHER)
    rules = Labelling({food.OID: food.policy(), food.OTHER: other}, (), {food.OTHER: cleared})
    assert codes(verdict(signed(world.TEXT, label(SWEET)), rules)) == {"label.denied"}


@pytest.mark.requirement("R2634-3.1.2-01", "R2634-1.3.2-01")
def test_a_label_without_a_valid_signature_neither_grants_nor_denies() -> None:
    entity = signed(world.TEXT, label(SWEET), equivalents(FOREIGN))
    unknown = verdict(entity, food.labelling(cleared=food.NO_LACTOSE), users=[beta().ca.certificate])
    assert effective(unknown) is None
    assert not codes(unknown) & {"label.denied", "label.invalid", "label.unknown_policy"}
    found = smime.recognise(entity)
    assert isinstance(found, smime.Pkcs7)
    changed = bytes(found.der).replace(world.SECRET, b"attack at dusk")
    broken = verdict(smime.pkcs7_mime(changed, "signed-data"), food.labelling())
    assert (effective(broken), broken.labels.equivalent) == (None, ())
    unsigned = verdict(signed(world.TEXT, unsigned=[label(SWEET)]), food.labelling())
    assert (effective(unsigned), codes(unsigned)) == (None, set())


def test_labels_that_cannot_be_read_are_told_once() -> None:
    entity = signed(world.TEXT, having(oids.ID_AA_SECURITY_LABEL, der.null()))
    found = verdict(entity, food.labelling())
    assert [f.code for f in found.violations] == ["label.unknown_policy"]


# --- section 5 -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-5-10", "R2634-3.4-01")
@pytest.mark.parametrize("trusted", [True, False])
def test_a_list_layer_keeps_equivalents_only_of_who_may_translate(trusted: bool) -> None:
    """Decisions A-32: by signing them anew we vouch for them."""
    entity = signed(world.entity("S(OC)"), label(FOREIGN), equivalents(WATER), world.history(), by="bob")
    rules = food.labelling(food.translator(acme().users["bob"])) if trusted else food.labelling()
    at = replace(world.context(acme().confidentiality), labelling=rules)
    examination = world.look(world.message(entity), at)
    translating = labelling.translating(examination.findings, rules)
    plan = sign.plan(examination.message.spine(), encrypt=False, translating=translating)
    assert {a.oid for a in plan.outer or ()} == {oids.ID_AA_ML_EXPAND_HISTORY, oids.ID_AA_SECURITY_LABEL} | (
        {oids.ID_AA_EQUIVALENT_LABELS} if trusted else set()
    )
    assert translating == ({"1"} if trusted else set())
    half = ESSSecurityLabel("1.2.9")
    both = signed(world.entity("S(OC)"), equivalents(WATER, half), world.history(), by="bob")
    one = food.labelling(food.translator(acme().users["bob"], into=[food.OID]))
    assert labelling.translating(world.look(world.message(both), at).findings, one) == frozenset()
