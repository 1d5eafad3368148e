"""Whose anchors judge whose certificates: the role store, the store of users, and what was agreed with a peer."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest

import pki
from domsec.services.context import Context
from domsec.services.peer import Peer
from domsec.trust import issue
from domsec.trust.association import DANE_TA, Association
from domsec.trust.crl import CrlIndex, crl_index
from domsec.trust.path import AnchorSet, PathVerdict, Snapshot, Validator

ACME, BETA = pki.world().acme, pki.world().beta
ROLES, USERS, AGREED = (AnchorSet((pki.ca(name).certificate,)) for name in ("roles", "users", "agreed"))


def context(
    *, roles: AnchorSet = ROLES, users: AnchorSet = USERS, crls: CrlIndex | None = None, **more: object
) -> Context:
    return Context(pki.NOW, Validator(Snapshot(roles, users, crls=crls or CrlIndex())), **more)  # type: ignore[arg-type]


def ask(at: Context, peer: Peer | None, *, role: bool = True) -> PathVerdict:
    certificate = BETA.signing.certificate if role else BETA.users["bob"].certificate
    return at.path(certificate, (BETA.ca.certificate,), role=role, peer=peer)


BETAS = AnchorSet((BETA.ca.certificate,))


def test_roles_and_people_have_stores_of_their_own() -> None:
    at = context(roles=BETAS)
    assert (ask(at, None).state, ask(at, None, role=False).state) == ("valid", "untrusted")
    at = context(users=BETAS)
    assert (ask(at, None).state, ask(at, None, role=False).state) == ("untrusted", "valid")


@pytest.mark.requirement("R5280-6.1-01")
def test_the_anchors_of_a_peer_count_for_its_roles_alone() -> None:
    """Beside the role store, and not for people: who agreed on a CA for a domain has not agreed on it for mail."""
    agreed = Peer("beta.example", anchors=BETAS)
    assert ask(context(), agreed).state == "valid"
    assert ask(context(), agreed, role=False).state == "untrusted"
    assert ask(context(), None).state == "untrusted"
    assert ask(context(), Peer("beta.example", anchors=AGREED)).state == "untrusted"
    assert ask(context(roles=BETAS), Peer("beta.example", anchors=AGREED)).state == "valid"


def test_a_certificate_may_be_the_anchor_itself() -> None:
    pinned = Peer("beta.example", anchors=AnchorSet((BETA.signing.certificate,)))
    assert ask(context(), pinned).state == "valid"
    others = Peer("beta.example", anchors=AnchorSet((ACME.signing.certificate,)))
    assert ask(context(), others).state == "untrusted"


def test_what_is_wrong_on_the_path_to_a_peers_anchor_is_not_mended_by_another_store() -> None:
    """A revoked certificate stays revoked, whoever else would vouch for it."""
    revoked = crl_index(
        [issue.issue_crl(BETA.ca.certificate, BETA.ca.signing_key, [BETA.signing.certificate.serial],
                         now=pki.START, days=60)]
    )  # fmt: skip
    at = context(roles=AnchorSet((BETA.signing.certificate,)), crls=revoked)
    assert ask(at, Peer("beta.example", anchors=BETAS)).revocation == "revoked"


@pytest.mark.parametrize(
    ("general", "agreed", "state"),
    [
        ("soft", None, "valid"),
        ("soft", "hard", "unknown"),
        ("hard", None, "unknown"),
        ("hard", "soft", "valid"),
        ("hard", "off", "valid"),
    ],
)
def test_how_revocation_matters_may_be_agreed_with_a_peer(
    general: Literal["hard", "soft"], agreed: Literal["hard", "soft", "off"] | None, state: str
) -> None:
    at = context(roles=BETAS, revocation=general)
    assert ask(at, Peer("beta.example", revocation=agreed)).state == state
    assert ask(at, Peer("acme.example")).state == ask(at, None).state


def test_the_time_is_that_of_the_message() -> None:
    at = context(roles=BETAS)
    assert ask(at, None).state == "valid"
    late = Context(pki.NOW + timedelta(days=400), at.validator)
    assert ask(late, None).state == "invalid"


def test_a_domain_that_names_its_ca_in_dns_makes_no_other_ca_an_anchor() -> None:
    """RFC 8162 3, usage DANE-TA: any CA that happens to be at hand would do otherwise."""
    certificate, named, beside = BETA.signing.certificate, BETA.ca.certificate, ACME.ca.certificate
    at = Context(pki.NOW, Validator(Snapshot(AnchorSet(), AnchorSet())))
    for said, believed in ((named, True), (beside, False), (certificate, False)):
        verdict = at.path(
            certificate, (named, beside), role=True, peer=None, associations=(Association.of(said, DANE_TA),)
        )
        assert (verdict.state == "valid") is believed


@pytest.mark.requirement("R3183-4.2-06")
def test_of_several_records_one_that_leads_to_the_certificate_is_enough() -> None:
    """In any order, and whatever the others speak of."""
    certificate, named, beside = BETA.signing.certificate, BETA.ca.certificate, ACME.ca.certificate
    unknown, elsewhere, right = (Association.of(c, DANE_TA) for c in (ACME.signing.certificate, beside, named))
    at = Context(pki.NOW, Validator(Snapshot(AnchorSet(), AnchorSet())))
    for said in ((unknown, right), (elsewhere, right), (right, elsewhere), (unknown, elsewhere)):
        verdict = at.path(certificate, (named, beside), role=True, peer=None, associations=said)
        assert (verdict.state == "valid") is (right in said)
        assert ("(DANE-TA) of its domain" in verdict.reason) is (right in said)
