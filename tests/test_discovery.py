"""Mail for partners whose certificates are in directories, from the envelope to what leaves.

Whatever a directory says: what it has is used only if its path, its names and its dates hold, and a directory that
keeps silent makes nothing go out in clear (RFC 3183 4.2, threats T-20).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

import pki
import world
from directories import dca, found
from domsec.cms.certificates import Certificate
from domsec.pipeline import Decision, process
from domsec.site import Site
from domsec.trust import issue
from domsec.trust.discovered import Found, Outcome
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
