"""Signatures that come late or again (decisions A-49, threats T-32)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

import pki
import world
from domsec.cms import attributes
from domsec.services import replay
from domsec.services.verdict import Verdict
from world import acme, build

DAY = timedelta(days=1)
WEEK = 7 * DAY


def ages(verdict: Verdict) -> list[tuple[str | None, str]]:
    return [(f.layer, f.text) for f in verdict.flags if f.code == "replay"]


@pytest.mark.parametrize("notation", ["S(OC)", "S[domain](S0(OC))", "E(S[domain](S(OC)))"])
@pytest.mark.parametrize(("later", "late"), [(timedelta(0), False), (WEEK, False), (WEEK + timedelta(seconds=1), True)])
def test_a_signature_may_be_as_old_as_was_said(notation: str, later: timedelta, late: bool) -> None:
    at = world.context(acme().confidentiality, now=world.NOW + later)
    verdict = world.judge(build(notation), replace(at, max_age=WEEK))
    assert verdict.accepted
    resting = {"S(OC)": "1", "S[domain](S0(OC))": "1", "E(S[domain](S(OC)))": "1.1.1"}[notation]
    assert ages(verdict) == ([(resting, f"signed at {world.NOW.isoformat()}")] if late else [])
    assert ages(world.judge(build(notation), at)) == []  # nobody asked


def test_nobody_knows_how_old_a_signature_without_a_time_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "stated_signing_time", lambda _: None)
    verdict = world.judge(build("S(OC)"), replace(world.context(), max_age=WEEK))
    assert ages(verdict) == [("1", "it is not said when it was signed")]


def test_what_counts_by_agreement_only_has_an_age_too() -> None:
    """A domain signature over ciphertext (decisions A-41)."""
    octets = build("S[domain](E(S[bob](OC)))")
    late = world.context(acme().confidentiality, now=world.NOW + 2 * DAY, accept_outer_domain=True)
    verdict = world.judge(octets, replace(late, max_age=DAY))
    assert (verdict.level, ages(verdict)) == ("domain", [("1", f"signed at {world.NOW.isoformat()}")])
    assert ages(world.judge(octets, replace(late, max_age=DAY, accept_outer_domain=False))) == []


def test_what_nothing_rests_on_has_no_age() -> None:
    for octets in (build("S[evil](OC)"), build("OC")):
        assert ages(world.judge(octets, replace(world.context(now=world.NOW + 9 * DAY), max_age=DAY))) == []


# --- again -----------------------------------------------------------------------------------------------------------


def keys(octets: bytes, recipient: str = "bob@beta.example") -> tuple[str, ...]:
    return replay.keys(world.look(octets), recipient)


def test_the_same_signature_for_the_same_recipient_is_the_same() -> None:
    octets = build("S[domain](S0(OC))")
    assert keys(octets) == keys(octets) != ()
    assert keys(octets, "BOB@beta.example") == keys(octets)
    assert keys(octets, "carol@beta.example") != keys(octets)
    assert keys(b"Received: by another way\r\n" + octets) == keys(octets)
    assert keys(world.message(world.encrypted(world.entity("S[domain](S0(OC))"), acme().confidentiality))) == keys(
        octets
    )
    assert keys(build("S[domain](S0(OC))", text=b"Content-Type: text/plain\r\n\r\nanother\r\n")) != keys(octets)


def test_of_what_is_not_accepted_nothing_is_remembered() -> None:
    assert keys(build("OC")) == keys(build("S[evil](OC)")) == keys(build("S[domain](OC)")) == ()


def test_another_value_for_the_same_signature_makes_no_other_message() -> None:
    """Of an ECDSA signature (r, s), (r, n - s) is one as well, which anybody can compute."""
    author = pki.identity("user", "alice@acme.example", acme().ca, "p256", name="Alice")
    octets = world.message(world.signed(world.TEXT, author))
    examination = world.look(octets)
    (signer,) = examination.findings[0].signers
    assert isinstance(author.certificate.public_key, ec.EllipticCurvePublicKey)
    r, s = decode_dss_signature(signer.info.signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = replace(signer, info=replace(signer.info, signature=encode_dss_signature(r, order - s)))
    finding = replace(examination.findings[0], signers=(other,))
    changed = replace(examination, findings=(finding, *examination.findings[1:]))
    assert replay.keys(changed, "bob@beta.example") == keys(octets)


def test_what_came_before_is_a_warning_and_changes_nothing_else() -> None:
    examination = world.look(build("S[domain](S0(OC))"))
    again = replay.seen_before(examination)
    assert ages(again.verdict) == [("1", "the same signature was delivered before")]
    assert {f.code for f in again.verdict.flags} - {f.code for f in examination.verdict.flags} == {"replay"}
    assert world.codes(again.verdict, "violation") == set()
    assert replace(again.verdict, flags=()) == replace(examination.verdict, flags=())
