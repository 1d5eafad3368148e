"""What may leave for a domain: reviews by those who may review, and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

import food
import pki
import world
from domsec import der, oids
from domsec.cms import signed_data
from domsec.cms.signed_data import Signing
from domsec.ess.categories import TagKind, read_tags, write_tags
from domsec.ess.labels import ESSSecurityLabel, SecurityCategory
from domsec.mime import smime
from domsec.services import boundary
from domsec.services.boundary import Boundary, LabelRule, Passage, Reviewing
from domsec.services.context import Context
from domsec.services.known_signers import KnownSigners
from domsec.services.labelling import NO_LABELLING, Labelling
from domsec.services.signature_type import SignatureType
from ess_values import equivalents, label, signed
from world import acme, beta

SECOND = pki.identity("review", "acme.example", acme().ca, serial=51, subject=((oids.ORGANIZATION_NAME, "Second"),))
SAME_NAME = pki.identity("review", "acme.example", acme().ca, serial=52)  # the first reviewer with a further key
ALICE = acme().users["alice"]


def known(*identities: pki.Identity) -> KnownSigners:
    return KnownSigners(frozenset(identity.certificate.sha256 for identity in identities))


FIRST = known(acme().review)
REVIEW = world.typed(SignatureType.REVIEW)
SIGNED = world.entity("S(OC)")


def leave(
    octets: bytes, *reviews: Reviewing, labels: Sequence[LabelRule] = (), rules: Labelling = NO_LABELLING
) -> Passage:
    """What acme's border says of a message to beta.example."""
    at = replace(world.context(acme().confidentiality), labelling=rules)
    return boundary.check(world.look(octets, at), Boundary(reviews, tuple(labels)), "beta.example", at)


def reviewed(octets: bytes, least: int = 1, who: KnownSigners = FIRST, max_age: timedelta | None = None) -> bool:
    """Whether the reviews of a message suffice; that nothing else is complained of."""
    passage = leave(octets, Reviewing(least, who, max_age))
    assert {code for code, _ in passage.reasons} <= {"review.missing"}
    return passage.released


def by(entity: bytes, *reviewers: pki.Identity, at: str = "review") -> bytes:
    """An entity in a review signature, as a message."""
    return world.message(world.signed(entity, *reviewers, extra=[world.typed(SignatureType(at))]))


# --- reviews --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-2.2-01", "R3183-3.4-02", "R3183-1-02")
def test_only_what_was_reviewed_leaves_and_the_reviewer_is_named() -> None:
    passage = leave(world.build("S[review](S(OC))"), Reviewing(1, FIRST))
    assert passage.released
    (review,) = passage.reviews
    assert (review.layer, review.reviewer) == ("1", "CN=review-authority")
    assert review.sha256 == acme().review.certificate.sha256
    assert review.signed_at == world.NOW.isoformat()

    passage = leave(world.build("S(OC)"), Reviewing(1, FIRST))
    assert not passage.released
    assert passage.reviews == ()
    assert passage.reasons == (("review.missing", "0 of 1 reviews by those who may review for beta.example"),)


def test_where_nothing_is_asked_everything_leaves() -> None:
    assert leave(world.build("OC")).released
    assert not Boundary()


@pytest.mark.requirement("R3183-2.2-01", "R3183-3.4-02", "R3183-3.4-03")
@pytest.mark.parametrize(
    ("octets", "listed"),
    [
        pytest.param(by(SIGNED, SECOND), True, id="a reviewer nobody named"),
        pytest.param(by(SIGNED, beta().review), True, id="a reviewer of elsewhere"),
        pytest.param(by(SIGNED, ALICE), False, id="a person who says she reviews"),
        pytest.param(by(SIGNED, acme().signing), False, id="an authority of another role"),
        pytest.param(by(SIGNED, acme().review, at="domain"), False, id="a reviewer who says domain"),
        pytest.param(world.message(world.signed(SIGNED, acme().review)), False, id="no type"),
    ],
)
def test_whose_review_counts_is_written_down(octets: bytes, *, listed: bool) -> None:
    """No rule of names says who reviews for whom (decisions A-51); but a role needs its name, whoever is listed."""
    assert not reviewed(octets, who=FIRST)
    everybody = known(acme().review, SECOND, beta().review, ALICE, acme().signing)
    assert reviewed(octets, who=everybody) is listed


@pytest.mark.requirement("R3183-3.4-02")
def test_reviewers_are_known_by_their_issuer_and_domain() -> None:
    ours, theirs = acme().ca.certificate.subject, beta().ca.certificate.subject
    for issuer, domain, counts in (
        (ours, "acme.example", True),
        (ours, "beta.example", False),
        (theirs, "acme.example", False),
    ):
        who = KnownSigners(issuer=issuer, domains=frozenset({domain}))
        assert reviewed(world.build("S[review](S(OC))"), who=who) is counts


@pytest.mark.requirement("R3183-3.4-02")
def test_a_review_that_does_not_hold_counts_for_nothing() -> None:
    changed = world.signed(SIGNED, acme().review, extra=[REVIEW], detached=True)
    assert reviewed(world.message(changed))
    inside = changed.index(b"\r\n\r\n", changed.index(b"application/pkcs7-mime"))
    assert not reviewed(world.message(changed[:inside] + b"\r\nX-Added: 1" + changed[inside:]))
    stranger = pki.identity("review", "acme.example", pki.ca("evil CA"))
    assert not reviewed(by(SIGNED, acme().review, stranger))  # somebody else put his beside it (decisions A-52)


@pytest.mark.requirement("R3183-3.4-02")
@pytest.mark.parametrize(
    ("at", "counts"),
    [
        (world.context(), True),
        (world.context(now=pki.NOW + timedelta(days=400)), False),  # the certificate has expired
        (world.context(roles=[beta().ca.certificate]), False),  # nobody here trusts its issuer
    ],
)
def test_the_certificate_of_a_reviewer_has_to_be_good_now(at: Context, *, counts: bool) -> None:
    examination = world.look(world.build("S[review](S(OC))"), at)
    assert boundary.check(examination, Boundary((Reviewing(1, FIRST),)), "beta.example", at).released is counts


@pytest.mark.requirement("R3183-3.4-02")
def test_reviewers_are_counted_by_their_certified_names() -> None:
    three = known(acme().review, SECOND, SAME_NAME)
    once = world.build("S[review](S(OC))")
    assert not reviewed(once, 2, three)
    inner = world.signed(SIGNED, acme().review, extra=[REVIEW])
    assert not reviewed(by(inner, acme().review), 2, three)  # twice the same
    assert not reviewed(by(inner, SAME_NAME), 2, three)  # with another key
    assert reviewed(by(inner, SECOND), 2, three)
    assert reviewed(by(SIGNED, acme().review, SECOND), 2, three)  # beside each other
    assert not reviewed(by(inner, SECOND), 2, known(SECOND))


def test_every_entry_counts_for_itself() -> None:
    inner = world.signed(SIGNED, acme().review, extra=[REVIEW])
    both = (Reviewing(1, FIRST), Reviewing(1, known(SECOND)))
    assert not leave(world.message(inner), *both).released
    passage = leave(by(inner, SECOND), *both)
    assert passage.released
    assert [review.layer for review in passage.reviews] == ["1.1", "1"]


@pytest.mark.requirement("R3183-3.4-02")
@pytest.mark.parametrize(
    ("notation", "counts"),
    [
        ("S[review](OC)", False),  # 3.1.2: around a signature, or the empty one
        ("S[review](S0(OC))", True),
        ("S[review](S~(OC))", True),
        ("S[attributes](S[review](S(OC)))", True),
        ("S[domain](S0(S[review](S(OC))))", True),
        ("S[evil](S[review](S(OC)))", True),  # it adds nothing to what was reviewed
        ("S[review](E(S(OC)))", True),  # decisions A-41: alice's signature ties the text to it
        ("S[review](S0(E(OC)))", False),  # whoever reviewed that need not have seen the text
        ("E(S[review](S(OC)))", True),
        ("X(S[review](S(OC)))", False),
        ("S[review](X(S(OC)))", False),
        ("C(S[review](S(OC)))", False),  # other octets could expand to something else for others
        ("M(S[review](S(OC)))", False),  # with a header that nobody reviewed
        ("S(M(S[review](S(OC))))", False),
    ],
)
def test_a_review_is_of_everything_that_leaves(notation: str, *, counts: bool) -> None:
    assert reviewed(world.build(notation)) is counts


@pytest.mark.parametrize("notation", ["S~(S[review](S(OC)))", "S[review]~(S(OC))"])
def test_text_beside_the_signed_part_was_not_reviewed(notation: str) -> None:
    octets = world.build(notation)
    assert reviewed(octets)
    boundary_line = octets.index(b"\r\n--")
    assert not reviewed(octets[:boundary_line] + b"\r\npay at once" + octets[boundary_line:])


@pytest.mark.requirement("R3183-3.4-02")
@pytest.mark.parametrize(
    ("signed_ago", "counts"),
    [(timedelta(days=7), True), (timedelta(days=7, seconds=1), False), (timedelta(days=-1), True),
     (timedelta(days=-1, seconds=-1), False), (None, False)],
)  # fmt: skip
def test_a_review_may_be_too_old(signed_ago: timedelta | None, *, counts: bool) -> None:
    when = None if signed_ago is None else pki.NOW - signed_ago
    signing = Signing(world.credential(acme().review), attributes=(REVIEW,), signing_time=when)
    octets = signed_data.sign(SIGNED, oids.ID_DATA, [signing])
    message = world.message(smime.pkcs7_mime(octets, "signed-data"))
    assert reviewed(message)
    assert reviewed(message, max_age=timedelta(days=7)) is counts


# --- labels ---------------------------------------------------------------------------------------------------------

WATER = food.label("water")
SWEET = food.label("Food:Luxury::Sweet")
CLEARED = {food.OID: food.clearance()}  # for Commodity and Luxury
FOREIGN = ESSSecurityLabel(food.OTHER, 4)
KNOWN = food.labelling(food.translator(acme().attributes))


BOTH = food.label("Food:Luxury::Sweet:Allergens=Nut")


def closed(number: int, *beside: SecurityCategory) -> ESSSecurityLabel:
    """A label with a category of a form that nobody here reads."""
    return ESSSecurityLabel(food.OID, security_categories=(SecurityCategory("1.2.9", der.integer(number)), *beside))


CLOSED, OTHER_CLOSED = closed(7), closed(8)
WITH_CLOSED = replace(SWEET, security_categories=closed(7, *SWEET.security_categories).security_categories)


def held(entity: bytes, rule: LabelRule, rules: Labelling = KNOWN) -> set[str]:
    return {code for code, _ in leave(world.message(entity), labels=[rule], rules=rules).reasons}


def pattern(text: str) -> tuple[ESSSecurityLabel, ...]:
    return (food.label(text),)


@pytest.mark.parametrize(
    ("stated", "rule", "reasons"),
    [
        (SWEET, LabelRule(), set()),
        (SWEET, LabelRule(required=True), set()),
        (None, LabelRule(required=True), {"label.missing"}),
        (None, LabelRule(clearances=CLEARED), set()),
        (SWEET, LabelRule(clearances=CLEARED), set()),
        (WATER, LabelRule(clearances=CLEARED), {"label.denied"}),
        (FOREIGN, LabelRule(clearances=CLEARED), {"label.unknown_policy"}),
        (FOREIGN, LabelRule(required=True), {"label.unknown_policy"}),
        (ESSSecurityLabel(food.OID, 99), LabelRule(), {"label.invalid"}),
        (SWEET, LabelRule(allowed=pattern("Food:Luxury")), set()),
        (SWEET, LabelRule(allowed=pattern("Food::")), set()),
        (SWEET, LabelRule(allowed=pattern("Food:Luxury::Sweet")), set()),
        (SWEET, LabelRule(allowed=pattern("Food:Commodity")), {"label.not_allowed"}),
        (SWEET, LabelRule(allowed=(*pattern("Food:Commodity"), *pattern("Food:Luxury"))), set()),
        (SWEET, LabelRule(allowed=pattern("Food:Luxury::Allergens=Nut")), {"label.not_allowed"}),
        (None, LabelRule(allowed=pattern("Food:Luxury")), set()),
        (SWEET, LabelRule(forbidden=pattern("Food::")), {"label.forbidden"}),
        (SWEET, LabelRule(forbidden=pattern("Food:::Sweet")), {"label.forbidden"}),
        (SWEET, LabelRule(forbidden=pattern("Food:Commodity")), set()),
    ],
)
def test_with_which_label_a_message_may_leave(
    stated: ESSSecurityLabel | None, rule: LabelRule, reasons: set[str]
) -> None:
    assert held(signed(world.TEXT, *([label(stated)] if stated else [])), rule) == reasons


@pytest.mark.parametrize(
    ("stated", "rule", "reasons"),
    [
        (FOREIGN, LabelRule(required=True), set()),
        (FOREIGN, LabelRule(allowed=(ESSSecurityLabel(food.OTHER),)), set()),
        (FOREIGN, LabelRule(forbidden=(ESSSecurityLabel(food.OTHER, 4),)), {"label.forbidden"}),
        (FOREIGN, LabelRule(forbidden=(ESSSecurityLabel(food.OTHER, 5),)), set()),
        (FOREIGN, LabelRule(forbidden=(ESSSecurityLabel(food.OID, 4),)), set()),  # another policy
        (SWEET, LabelRule(allowed=pattern("Food:Luxury::Sweet")), set()),
        (SWEET, LabelRule(allowed=pattern("Food:Luxury::Allergens=Nut")), {"label.not_allowed"}),
        (BOTH, LabelRule(allowed=pattern("Food:Luxury::Sweet")), set()),
        (BOTH, LabelRule(allowed=pattern("Food:Luxury::Allergens=Nut")), set()),
        (BOTH, LabelRule(allowed=(CLOSED,)), {"label.not_allowed"}),
        (WITH_CLOSED, LabelRule(allowed=pattern("Food:Luxury::Sweet")), set()),
        (WITH_CLOSED, LabelRule(forbidden=(CLOSED,)), {"label.forbidden"}),
        (WITH_CLOSED, LabelRule(forbidden=(OTHER_CLOSED,)), set()),
    ],
)
def test_patterns_need_no_policy(stated: ESSSecurityLabel, rule: LabelRule, reasons: set[str]) -> None:
    assert held(signed(world.TEXT, label(stated)), rule, NO_LABELLING) == reasons


def test_labels_are_told_where_they_were_asked_for() -> None:
    octets = world.message(signed(world.TEXT, label(FOREIGN)))
    assert leave(octets, labels=[LabelRule()]).labels == (f"policy {food.OTHER} classification 4",)
    assert leave(octets).labels == ()


def test_with_a_policy_a_pattern_is_met_however_the_categories_are_written() -> None:
    """SDN.801 does not say of which kind its numbers are; the policy does."""
    vegan = food.label("Food:Luxury::Not Vegan")
    tags = [tag for category in vegan.security_categories for tag in read_tags(category)]
    numbered = replace(
        vegan, security_categories=write_tags([replace(t, kind=TagKind.ENUMERATED) for t in tags], "sdn801")
    )
    entity = signed(world.TEXT, label(numbered))
    assert "label.not_allowed" not in held(entity, LabelRule(allowed=(vegan,)))
    assert "label.forbidden" in held(entity, LabelRule(forbidden=(vegan,)))


@pytest.mark.requirement("R3183-3.3-05", "R2634-3.4-01")
def test_a_label_is_judged_by_the_translation_of_who_may_translate() -> None:
    """R3183-3.3-05: equivalent to the label inside; RFC 2634 3.4: only of whom that is trusted for."""
    entity = signed(signed(world.TEXT, label(FOREIGN)), equivalents(SWEET), by="attributes")
    rule = LabelRule(required=True, clearances=CLEARED, allowed=pattern("Food:Luxury"))
    assert held(entity, rule) == set()
    assert held(entity, rule, food.labelling()) == {"label.unknown_policy"}
    denied = signed(signed(world.TEXT, label(FOREIGN)), equivalents(WATER), by="attributes")
    assert held(denied, rule) == {"label.denied", "label.not_allowed"}


@pytest.mark.requirement("R3183-3.3-06")
def test_an_aggregate_only_restricts_and_never_stands_for_the_original() -> None:
    rule = LabelRule(required=True, clearances=CLEARED)
    sweet = signed(world.TEXT, label(SWEET))
    assert held(signed(sweet, label(WATER), by="attributes"), rule) == {"label.denied"}
    assert held(signed(signed(world.TEXT, label(WATER)), label(SWEET), by="attributes"), rule) == {"label.denied"}
    assert held(signed(signed(world.TEXT), label(SWEET), by="attributes"), rule) == {"label.missing"}
    forbidden = LabelRule(forbidden=pattern("Food:Commodity"))
    assert held(signed(sweet, label(food.label("Food:Commodity")), by="attributes"), forbidden) == {"label.forbidden"}
    passage = leave(world.message(signed(sweet, label(food.label("Food:Commodity")), by="attributes")),
                    labels=[rule], rules=KNOWN)  # fmt: skip
    assert [text.split()[2] for text in passage.labels] == ["Luxury", "Commodity"]


@pytest.mark.requirement("R3183-3.3-06")
def test_a_label_under_a_signature_that_does_not_hold_keeps_the_message_here() -> None:
    entity = world.signed(world.TEXT, world.stranger_user(), extra=[label(SWEET)])
    assert held(entity, LabelRule(required=True)) == {"label.unverified", "label.missing"}
    assert held(entity, LabelRule(forbidden=pattern("Food:Commodity"))) == {"label.unverified"}
