"""Mail for partners whose certificates are in directories, from the envelope to what leaves.

Whatever a directory says: what it has is used only if its path, its names and its dates hold, and a directory that
keeps silent makes nothing go out in clear (RFC 3183 4.2, threats T-20).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

import pki
import world
from directories import dca, found, published, together
from domsec.cms.certificates import Certificate
from domsec.pipeline import Decision, process
from domsec.services.peer import Peer
from domsec.site import Site
from domsec.trust import issue
from domsec.trust.association import Association
from domsec.trust.discovered import Found, Outcome
from domsec.trust.path import AnchorSet, Snapshot, Validator
from world import BETA, acme, beta, build, judge, only

BOB = "bob@beta.example"
CAROL = "carol@gamma.example"
DCA = dca("beta.example")
SILENT: tuple[Outcome, ...] = ("unavailable", "unusable")


def asking(**options: object) -> Site:
    """acme, which agreed with nobody, has nobody's certificate, and asks directories."""
    options.setdefault("peers", ())
    options.setdefault("known", ())
    return replace(world.acme_site(**options), asks=True)


def wanted(*recipients: str, at: Site | None = None) -> list[str]:
    """What is asked before mail to these is decided on."""
    decision = process(world.transaction(build("OC"), *recipients), at or asking())
    assert bool(decision.wanted) is not bool(decision.outgoing or decision.refused or decision.held)
    return [question.address for question in decision.wanted]


def answered(answers: Mapping[str, Iterable[Certificate] | Outcome] | Found, *recipients: str, at: Site) -> Decision:
    """The decision with these answers."""
    given = world.transaction(build("OC", to=", ".join(recipients)), *recipients)
    known = answers if isinstance(answers, Found) else found(answers)
    decision = process(given, at, known)
    assert not decision.wanted
    settled = [i for part in (*decision.outgoing, *decision.refused, *decision.held) for i in part.indexes]
    assert sorted(settled) == list(range(len(recipients)))
    return decision


# --- asking ---------------------------------------------------------------------------------------------------------


def test_a_domain_that_is_not_known_is_asked_for() -> None:
    assert wanted(BOB) == [DCA, BOB]
    assert wanted("bob@a.beta.example") == [dca("a.beta.example"), DCA, "bob@a.beta.example"]
    assert wanted(BOB, "alice@beta.example", CAROL) == [DCA, BOB, "alice@beta.example", dca("gamma.example"), CAROL]


@pytest.mark.requirement("R3183-4.2-04")
def test_nobody_is_asked_where_everything_is_at_hand() -> None:
    known = [beta().confidentiality.certificate]
    assert wanted(BOB, at=asking(known=known)) == []
    assert wanted(BOB, at=asking(known=known, peers=(BETA,))) == []
    assert wanted(BOB, CAROL, at=asking(known=known)) == [dca("gamma.example"), CAROL]


def test_nobody_is_asked_where_nothing_depends_on_it() -> None:
    assert wanted(BOB, at=asking(peers=(replace(BETA, encrypt="no"),))) == []
    assert wanted(BOB, at=asking(outbound={"sign": "never", "encrypt": "no"})) == []
    assert wanted(BOB, at=asking(outbound={"sign": "never", "encrypt": "no", "unknown_domains": "hold"})) == [DCA]
    assert wanted("not an address", at=asking()) == []


def test_an_installation_without_directories_asks_nobody() -> None:
    assert wanted(BOB, at=replace(asking(), asks=False)) == []


# --- what comes of the answers --------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-4.2-01", "R3183-4.2-07")
@pytest.mark.parametrize("place", [DCA, BOB], ids=["mapped name", "recipient's entry"])
def test_a_domain_whose_authority_is_found_gets_protected_mail(place: str) -> None:
    """Both ways of section 4.2, and nothing was agreed before (decisions A-62)."""
    decision = answered({place: [beta().confidentiality.certificate]}, BOB, at=asking())
    if place == DCA:
        verdict = judge(only(decision), world.context(beta().confidentiality))
        assert (verdict.structure, verdict.level, verdict.domain) == ("E(S[domain](S0(OC)))", "domain", "acme.example")
    else:
        assert judge(only(decision), world.context(beta().confidentiality)).decrypted


@pytest.mark.requirement("R3183-4.2-01")
def test_a_person_found_is_encrypted_to() -> None:
    out = only(answered({BOB: [beta().users["bob"].certificate], DCA: "nothing"}, BOB, at=asking()))
    assert judge(out, world.context(beta().users["bob"])).structure == "E(OC)"
    assert world.SECRET not in out


def test_the_log_says_who_was_asked() -> None:
    decision = answered({BOB: "nothing", DCA: "nothing"}, BOB, at=asking())
    assert decision.log["directories"] == [f"asked for {a}: directory: nothing" for a in (BOB, DCA)]


def test_intermediate_certificates_may_come_along() -> None:
    """What a directory adds helps to build a path, and is no anchor."""
    below = _ca_below(beta().ca)
    bob = pki.identity("user", BOB, below)
    for chain, usable in (([below.certificate], True), ([], False)):
        decision = answered({BOB: [bob.certificate, *chain], DCA: "nothing"}, BOB, at=asking())
        assert bool(decision.outgoing) is usable


def _ca_below(above: pki.Identity) -> pki.Identity:
    key = issue.new_key("p256")
    assert isinstance(key, issue.SigningKey)
    certificate = issue.issue_ca(
        "Beta CA 2", key, now=pki.START, days=300, issuer_cert=above.certificate, issuer_key=above.signing_key
    )
    return pki.Identity(certificate, key)


# --- attacks --------------------------------------------------------------------------------------------------------


def _attacks() -> dict[str, tuple[str, Certificate]]:
    """Where an attacker puts which certificate. All but the first are from CAs that we trust."""
    attacker, ca = pki.ca("Attacker CA"), beta().ca
    authority = pki.identity("confidentiality", "beta.example", attacker).certificate
    return {
        "self-made, with the victim's address": (BOB, pki.identity("user", BOB, attacker).certificate),
        "self-made, with the authority's name": (DCA, authority),
        "somebody else's in the victim's entry": (BOB, acme().users["bob"].certificate),
        "a colleague's in the victim's entry": (BOB, beta().users["alice"].certificate),
        "another domain's authority under the mapped name": (DCA, acme().confidentiality.certificate),
        "another domain's authority in the victim's entry": (BOB, acme().confidentiality.certificate),
        "an authority of everything": (DCA, pki.identity("confidentiality", "example", ca).certificate),
        "an authority of a part": (DCA, pki.identity("confidentiality", "a.beta.example", ca).certificate),
        "the signing authority": (DCA, beta().signing.certificate),
        "a person under the authority's name": (DCA, beta().users["bob"].certificate),
        "an expired one": (BOB, pki.identity("user", BOB, ca, days=3).certificate),
        "one not yet valid": (BOB, pki.identity("user", BOB, ca, now=pki.NOW.replace(year=2027)).certificate),
        "the CA itself": (BOB, ca.certificate),
    }  # fmt: skip


@pytest.mark.requirement("R3183-4.2-07", "R3183-4.2-05", "R8550-4.2-01")
@pytest.mark.parametrize("name", _attacks())
@pytest.mark.parametrize("target", ["auto", "recipient", "dca", "both"])
def test_a_certificate_put_into_a_directory_by_an_attacker_is_never_encrypted_to(name: str, target: str) -> None:
    place, certificate = _attacks()[name]
    answers = {BOB: "nothing", DCA: "nothing", place: [certificate]}
    decision = answered(answers, BOB, at=asking(outbound={"encrypt": target}))  # type: ignore[arg-type]
    for out in decision.outgoing:  # in clear, as to any domain without DOMSEC: only where nothing was found for bob
        assert certificate.der not in out.octets
        assert judge(out.octets).structure == "OC"
    agreed = asking(peers=(BETA,), outbound={"encrypt": target})
    assert answered(answers, BOB, at=agreed).held  # type: ignore[arg-type]


@pytest.mark.requirement("R3183-4.2-07")
@pytest.mark.parametrize("name", ["self-made, with the victim's address", "an expired one"])
def test_one_that_is_no_good_is_no_leave_to_send_in_clear(name: str) -> None:
    place, certificate = _attacks()[name]
    assert answered({DCA: "nothing", place: [certificate]}, BOB, at=asking()).held


def test_a_good_one_beside_an_attackers_is_taken() -> None:
    """Whoever can add to an entry gains nothing, and hides nothing."""
    _, certificate = _attacks()["self-made, with the victim's address"]
    bob = beta().users["bob"]
    out = only(answered({BOB: [certificate, bob.certificate], DCA: "nothing"}, BOB, at=asking()))
    assert judge(out, world.context(bob)).structure == "E(OC)"


# --- silence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", SILENT)
def test_a_silent_directory_delays_only_those_who_need_it(outcome: Outcome) -> None:
    known = [beta().confidentiality.certificate]
    decision = answered({CAROL: outcome, dca("gamma.example"): "nothing"}, BOB, CAROL, at=asking(known=known))
    assert [out.indexes for out in decision.outgoing] == [(0,)]
    (refused,) = decision.refused
    assert (refused.indexes, refused.code, refused.enhanced) == ((1,), 451, "4.4.3")
    assert refused.text.endswith("[directory]")


@pytest.mark.parametrize("outcome", SILENT)
@pytest.mark.parametrize("place", [BOB, DCA])
def test_silence_lets_nothing_out_in_clear(outcome: Outcome, place: str) -> None:
    answers = {BOB: "nothing", DCA: "nothing", place: outcome}
    decision = answered(answers, BOB, at=asking(outbound={"on_no_certificate": "clear"}))  # type: ignore[arg-type]
    assert not decision.outgoing
    assert [refused.code for refused in decision.refused] == [451]


@pytest.mark.parametrize("outcome", SILENT)
def test_another_directory_that_answers_is_enough(outcome: Outcome) -> None:
    silent, other = (
        found({DCA: outcome, BOB: outcome}),
        found({DCA: [beta().confidentiality.certificate], BOB: "nothing"}),
    )
    both = Found({q: (*silent.answers[q], *other.answers[q]) for q in silent.answers})
    assert judge(only(answered(both, BOB, at=asking())), world.context(beta().confidentiality)).decrypted


def test_where_nobody_knows_anything_policy_decides() -> None:
    """No directory serves the domain, or none has anything: as if none were configured."""
    for answers in ({}, {BOB: "nothing", DCA: "nothing"}):
        assert only(answered(answers, BOB, at=asking())).endswith(world.SECRET + b"\r\n")  # type: ignore[arg-type]
        assert answered(answers, BOB, at=asking(peers=(BETA,))).held  # type: ignore[arg-type]


# --- what domains say of themselves in signed DNS (RFC 8162) ----------------------------------------------------------


def strangers() -> tuple[pki.Domain, Site]:
    """A domain whose CA nobody here knows, and ours, which has no anchors but its own."""
    theirs = pki.domain("gamma.example", ("carol", "dora"))
    return theirs, asking(anchors=[acme().ca.certificate])


def opens(decision: Decision, key: pki.Identity) -> bool:
    return bool(decision.outgoing) and judge(only(decision), world.context(key)).decrypted


GDCA = dca("gamma.example")
GDSA = "domain-signing-authority@gamma.example"
ADSA = "domain-signing-authority@acme.example"


def test_a_domain_that_never_met_ours_gets_protected_mail() -> None:
    """No anchor leads there. Its own word in DNS is enough for its own addresses."""
    gamma, at = strangers()
    said = published({GDCA: [Association.of(gamma.confidentiality.certificate)], CAROL: "nothing"})
    out = only(answered(said, CAROL, at=at))
    assert judge(out, world.context(gamma.confidentiality)).structure == "E(S[domain](S0(OC)))"
    said = published({GDCA: "nothing", CAROL: [Association.of(gamma.user("carol").certificate)]})
    assert judge(only(answered(said, CAROL, at=at)), world.context(gamma.user("carol"))).structure == "E(OC)"


@pytest.mark.parametrize(
    ("usage", "anchored", "used"),
    [(3, False, True), (3, True, True), (2, False, True), (2, True, True), (1, False, False), (1, True, True),
     (0, False, False), (0, True, True)],
)  # fmt: skip
def test_certificate_usages(usage: int, anchored: bool, used: bool) -> None:
    """RFC 8162 5 wants all four understood. The certificate itself is in LDAP, where the record names only its CA."""
    gamma, at = strangers()
    if anchored:
        at = asking(anchors=[acme().ca.certificate, gamma.ca.certificate])
    carol = gamma.user("carol")
    whose = gamma.ca if usage in (0, 2) else carol
    said = published({GDCA: "nothing", CAROL: [Association.of(whose.certificate, usage)]})
    filed = found({CAROL: [carol.certificate]})
    decision = answered(together(said, filed), CAROL, at=at)
    assert opens(decision, carol) is used
    assert used or decision.held


@pytest.mark.parametrize("anchored", [False, True])
def test_nothing_is_fetched_where_certificates_say_for_which_only_their_domain_stands(anchored: bool) -> None:
    """Anybody can sign a zone, and have us ask wherever, for as much as fits, instead of what we want to know."""
    gamma = pki.domain("gamma.example", ("carol",))
    noted: list[tuple[Certificate, ...]] = []
    carol = gamma.user("carol").certificate
    anchors = AnchorSet((acme().ca.certificate, *([gamma.ca.certificate] if anchored else [])))
    validator = Validator(Snapshot(users=anchors), note=noted.append)
    at = replace(world.context(), validator=validator, revocation="soft")
    said = [Association.of(gamma.ca.certificate, 2)]
    assert at.path(carol, [gamma.ca.certificate], role=False, peer=None, associations=said).state == "valid"
    assert noted == ([(carol, gamma.ca.certificate)] if anchored else [])


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [1, 2])
def test_a_digest_confirms_what_is_found_elsewhere(selector: int, matching: int) -> None:
    gamma, at = strangers()
    carol, dora = gamma.user("carol"), gamma.user("dora")
    for named, used in ((carol, True), (dora, False)):
        said = published({GDCA: "nothing", CAROL: [Association.of(named.certificate, 3, selector, matching)]})
        decision = answered(together(said, found({CAROL: [carol.certificate]})), CAROL, at=at)
        assert opens(decision, carol) is used


def test_a_domain_may_say_which_of_its_certificates_is_the_right_one() -> None:
    """One with a good path that the domain does not speak of may be mis-issued: it is not used (RFC 6698 2.1)."""
    wrong = pki.identity("user", BOB, beta().ca)
    said = published({DCA: "nothing", BOB: [Association.of(beta().users["bob"].certificate, 1, 0, 1)]})
    assert answered(together(said, found({BOB: [wrong.certificate]})), BOB, at=asking()).held
    right = together(said, found({BOB: [wrong.certificate, beta().users["bob"].certificate]}))
    assert opens(answered(right, BOB, at=asking()), beta().users["bob"])


def test_the_certificate_of_the_authority_published_for_a_person() -> None:
    """RFC 8162 9: who has to be able to read everything publishes the key that reads it."""
    gamma, at = strangers()
    said = published({CAROL: [Association.of(gamma.confidentiality.certificate)], GDCA: "nothing"})
    assert opens(answered(said, CAROL, at=at), gamma.confidentiality)


@pytest.mark.requirement("R3183-4.2-07")
def test_a_domain_speaks_for_its_own_addresses_only() -> None:
    """Whoever publishes a certificate with a victim's name in it gets no mail of the victim."""
    evil = pki.domain("evil.example", ("eve",))
    authority = pki.identity("confidentiality", "beta.example", evil.ca)
    bob = pki.identity("user", BOB, evil.ca)
    at = asking(anchors=[acme().ca.certificate])
    said = published({
        dca("evil.example"): [Association.of(authority.certificate), Association.of(evil.ca.certificate, 2)],
        "eve@evil.example": [Association.of(bob.certificate), Association.of(evil.ca.certificate, 2)],
        DCA: "nothing",
        BOB: "nothing",
    })  # fmt: skip
    filed = found({BOB: [bob.certificate], DCA: [authority.certificate]})
    decision = answered(together(said, filed), BOB, "eve@evil.example", at=at)
    for out in decision.outgoing:
        assert judge(out.octets, world.context(bob)).structure == "OC"
        assert judge(out.octets, world.context(authority)).structure == "OC"
    assert [held.indexes for held in decision.held] == [(0,), (1,)]


@pytest.mark.requirement("R8162-6-01")
@pytest.mark.parametrize("outcome", ["insecure", "nothing"])
@pytest.mark.parametrize("place", [CAROL, GDCA])
def test_what_unsigned_dns_has_is_as_good_as_nothing(outcome: Outcome, place: str) -> None:
    """An attacker's certificate there is never encrypted to: it does not even get into the answer."""
    _, at = strangers()
    said = published({CAROL: "nothing", GDCA: "nothing", place: outcome})
    assert judge(only(answered(said, CAROL, at=at))).structure == "OC"
    agreed = asking(anchors=[acme().ca.certificate], peers=(Peer("gamma.example"),))
    assert answered(said, CAROL, at=agreed).held


@pytest.mark.parametrize("place", [CAROL, GDCA])
def test_bogus_answers_put_mail_off(place: str) -> None:
    _, at = strangers()
    said = published({CAROL: "nothing", GDCA: "nothing", place: "bogus"})
    decision = answered(said, CAROL, at=at)
    (refused,) = decision.refused
    assert (refused.code, refused.enhanced, refused.text[-8:]) == (451, "4.7.5", "[dnssec]")
    assert not decision.outgoing


@pytest.mark.requirement("R8162-6-01")
@pytest.mark.parametrize("days", [3, 365])
def test_an_expired_certificate_is_not_used_though_its_domain_publishes_it(days: int) -> None:
    """RFC 8162 9."""
    gamma, at = strangers()
    carol = pki.identity("user", CAROL, gamma.ca, days=days)
    said = published({CAROL: [Association.of(carol.certificate)], GDCA: "nothing"})
    decision = answered(said, CAROL, at=at)
    assert opens(decision, carol) is (days == 365)


@pytest.mark.requirement("R8162-6-01")
def test_a_revoked_certificate_is_not_used_though_its_domain_publishes_it() -> None:
    """RFC 8162 9. Its CA is one of ours, and took it back."""
    ca, bob = beta().ca, beta().users["bob"]
    crl = issue.issue_crl(ca.certificate, ca.signing_key, [bob.certificate.serial], now=pki.NOW, days=7)
    said = published({BOB: [Association.of(bob.certificate)], DCA: "nothing"})
    assert answered(said, BOB, at=asking(crls=[crl])).held


def test_an_agreement_goes_before_what_dns_says() -> None:
    """A partner whose anchors were agreed on is believed for these alone."""
    gamma = pki.domain("gamma.example", ("carol",))
    anchors = AnchorSet((beta().ca.certificate,))
    said = published({GDCA: [Association.of(gamma.confidentiality.certificate)], CAROL: "nothing"})
    for agreed in (Peer("gamma.example", anchors=anchors), Peer("gamma.example", naming="pinned", pins=("0" * 64,))):
        decision = answered(said, CAROL, at=asking(anchors=[acme().ca.certificate], peers=(agreed,)))
        assert decision.held
    loose = asking(anchors=[acme().ca.certificate], peers=(Peer("gamma.example"),))
    assert opens(answered(said, CAROL, at=loose), gamma.confidentiality)


# --- mail from domains that never met ours ----------------------------------------------------------------------------


vouched = functools.partial(published, signer=True)


def receiving(octets: bytes, said: Found | None, **more: object) -> Decision:
    """What beta, which knows no CA but its own, makes of it."""
    at = replace(world.beta_site(peers=(), known=(), anchors=[beta().ca.certificate], **more), asks=True)
    return process(world.transaction(octets, BOB, direction="inbound"), at, said)


def level(decision: Decision) -> tuple[object, object]:
    return decision.log["level"], decision.log["domain"]


@pytest.mark.parametrize("notation", ["S[domain](S0(OC))", "E[beta](S[domain](S0(OC)))", "S[domain](S(OC))"])
def test_the_authority_of_an_unknown_domain_is_asked_for_and_believed(notation: str) -> None:
    octets = build(notation)
    asked = [question.address for question in receiving(octets, None).wanted]
    assert ADSA in asked
    assert asked[1:] == (["alice@acme.example"] if "S(" in notation else [])
    said = vouched({ADSA: [Association.of(acme().signing.certificate)]})
    decision = receiving(octets, said)
    assert level(decision) == ("domain" if "S0" in notation else "originator_vouched", "acme.example")
    assert level(receiving(octets, vouched({ADSA: "nothing"})))[1] is None


def test_a_person_of_an_unknown_domain() -> None:
    octets = build("S(OC)")
    assert [question.address for question in receiving(octets, None).wanted] == ["alice@acme.example"]
    said = vouched({"alice@acme.example": [Association.of(acme().users["alice"].certificate)]})
    assert receiving(octets, said).log["accepted"] is True
    other = vouched({"alice@acme.example": [Association.of(acme().users["bob"].certificate)]})
    assert receiving(octets, other).log["accepted"] is False


def test_nothing_is_asked_of_mail_whose_signers_are_known_or_that_has_none() -> None:
    for notation in ("OC", "E[beta](OC)", "E[bob](S[domain](S0(OC)))", "X(S[domain](S0(OC)))"):
        assert receiving(build(notation), None).wanted == ()
    known = replace(world.beta_site(), asks=True)
    transaction = world.transaction(build("S[domain](S(OC))"), BOB, direction="inbound")
    assert process(transaction, known).wanted == ()


def test_nothing_is_asked_of_a_domain_that_the_signer_does_not_claim() -> None:
    """Somebody else's signed text, sent to us under a name of one's own, makes us ask nobody (threats T-22)."""
    for notation in ("S[domain](S0(OC))", "E[beta](S[domain](S0(OC)))", "E[beta](S(OC))"):
        stolen = build(notation).replace(b"From: Alice <alice@acme.example>", b"From: Eve <eve@evil.example>")
        stolen = stolen.replace(b"From: alice@acme.example", b"From: eve@evil.example")
        assert b"eve@evil.example" in stolen
        assert receiving(stolen, None).wanted == ()


def test_another_domain_cannot_speak_for_the_one_in_from() -> None:
    octets = build("S[domain](S0(OC))")
    for said in (
        published(
            {"domain-signing-authority@evil.example": [Association.of(acme().signing.certificate)], ADSA: "nothing"}
        ),
        vouched({ADSA: [Association.of(beta().signing.certificate)]}),
        vouched({ADSA: "insecure"}),
    ):
        assert level(receiving(octets, said))[1] is None


def test_a_domain_cannot_speak_for_another_beside_it_in_from() -> None:
    """From names people of two domains, and only one of them says that it signed."""
    octets = build("S[domain](S0(OC))", sender="alice@acme.example, eve@evil.example")
    assert receiving(octets, None).wanted == ()
    said = vouched({ADSA: [Association.of(acme().signing.certificate)]})
    assert level(receiving(octets, said))[1] is None


@pytest.mark.parametrize("outcome", [*SILENT, "bogus"])
def test_mail_whose_authority_cannot_be_asked_for_now_comes_again(outcome: Outcome) -> None:
    decision = receiving(build("S[domain](S0(OC))"), vouched({ADSA: outcome}))
    code = "4.7.5" if outcome == "bogus" else "4.4.3"
    assert [(each.code, each.enhanced) for each in decision.refused] == [(451, code)]
    person = receiving(build("S(OC)"), vouched({"alice@acme.example": outcome}))
    assert person.outgoing  # as that of somebody unknown
    assert person.log["accepted"] is False


# --- what was found out before they were asked ------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["nothing", "found"])
def test_a_message_is_opened_once_however_often_it_is_decided_on(outcome: str) -> None:
    key = world.Counting(beta().confidentiality)
    at = replace(world.beta_site(peers=(), known=(), anchors=[beta().ca.certificate]), asks=True, keyring=(key,))
    transaction = world.transaction(build("E[beta](S[domain](S0(OC)))"), BOB, direction="inbound")
    first = process(transaction, at)
    assert first.wanted
    said = vouched({ADSA: [Association.of(acme().signing.certificate)] if outcome == "found" else "nothing"})
    again = process(replace(transaction, judged=first.judged), at, said)
    assert again.log["accepted"] is (outcome == "found")
    assert key.opened == 1
    assert again == process(transaction, at, said)


def test_what_was_found_out_does_not_outlive_the_trust_it_rests_on() -> None:
    """Meanwhile the CA of the sender has become one that is trusted."""
    at = replace(world.beta_site(peers=(), known=()), asks=True)
    transaction = world.transaction(build("S[domain](S0(OC))"), BOB, direction="inbound")
    first = process(transaction, replace(at, validator=Validator(Snapshot())))
    assert first.wanted
    assert process(replace(transaction, judged=first.judged), at, Found()).log["accepted"] is True
