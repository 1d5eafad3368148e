"""RFC 3183 6: what can go wrong although every signature is right."""

from __future__ import annotations

import dataclasses

import pytest

import world
from domsec.services import encrypt
from domsec.services.peer import Peer
from world import acme, beta, build, judge


@pytest.mark.requirement("R3183-6-05")
@pytest.mark.parametrize("expect_signed", [False, True])
def test_encryption_alone_shows_nothing_of_the_sender(expect_signed: bool) -> None:
    """Anybody can encrypt to beta's authority and write From: alice@acme.example (threats T-12)."""
    at = world.context(beta().confidentiality, peers=[Peer("acme.example", expect_signed=expect_signed)])
    verdict = judge(build("E[beta](OC)"), at)
    assert (verdict.accepted, verdict.level) == (False, "none")
    assert "enc.unsigned" in world.codes(verdict, "violation" if expect_signed else "warning")
    decision = world.receive(build("E[beta](OC)"), at=world.beta_site(peers=at.peers.entries))
    assert bool(decision.held) is expect_signed


@pytest.mark.parametrize("expect_signed", [False, True])
def test_mail_that_is_agreed_to_be_signed_is_not_believed_without_a_signature(expect_signed: bool) -> None:
    """Not even where there is no layer at all: whoever forges From has none to make."""
    at = world.beta_site(peers=[Peer("acme.example", expect_signed=expect_signed)])
    assert bool(world.receive(build("OC"), at=at).held) is expect_signed


@pytest.mark.requirement("R3183-6-07")
def test_the_originators_signature_reaches_the_recipient() -> None:
    """So that a recipient need not believe the authority that decrypted."""
    signed = world.entity("S~(OC)")
    sealed = encrypt.encrypt(
        world.signed(signed, acme().signing, extra=[world.typed(world.SignatureType.DOMAIN)]),
        [beta().confidentiality.certificate],
    )
    delivered = world.only(world.receive(world.message(sealed)))
    assert delivered.endswith(signed.partition(b"\r\n\r\n")[2])
    assert judge(delivered, world.context()).level == "originator_direct"


@pytest.mark.requirement("R3183-6-06", "R5321-4.2-01")
@pytest.mark.parametrize("parameters", ["", "SIZE=100", "RET=FULL ENVID=7", "ret=full"])
def test_a_bounce_of_decrypted_mail_does_not_carry_the_text(parameters: str) -> None:
    decision = world.receive(build("E[beta](S[domain](S(OC)))"), parameters=parameters)
    sent = decision.outgoing[0].sender_parameters.upper()
    assert sent.count("RET=") == 1
    assert "RET=HDRS" in sent
    untouched = world.receive(build("S[domain](S(OC))"), parameters=parameters)
    assert untouched.outgoing[0].sender_parameters == parameters


@pytest.mark.requirement("R3183-6-03", "R3183-6-02")
def test_nothing_secret_is_shown() -> None:
    site = world.beta_site()
    decision = world.receive(build("E[beta](S[domain](S(OC)))"), at=site)
    shown = f"{decision.log} {site.signing!r} {site.keyring!r}"
    assert world.SECRET.decode() not in shown
    assert "PrivateKey(" not in shown
    for credential in site.keyring:
        if dataclasses.is_dataclass(credential):
            assert "-----BEGIN" not in repr(credential)
