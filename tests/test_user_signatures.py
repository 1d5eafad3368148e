"""Mail that is signed in the name of who wrote it, with a key that the gateway holds for them.

The gate is that of the domain's signature; the names have to be the user's own, and so has the evidence.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import judges
import pki
import world
from domsec.mime import fields
from domsec.pipeline import Decision
from domsec.policy.evidence import Rights, Rule
from domsec.services.layers import peel
from domsec.services.peer import Peer
from domsec.services.proxy import Users, problems
from domsec.site import Site
from interop.peers import Files
from mime.test_openpgp import SIGNED, encrypted
from world import acme, build, decide, judge, only, send

ALICE = pki.identity("user", "alice@acme.example", acme().ca, "rsa2048", name="Alice")
DAVE_CA = pki.ca("people CA", "rsa2048")
DAVE = pki.identity("user", "dave@people.example", DAVE_CA, "rsa2048", name="Dave")
TO = "dave@people.example"
LOGIN = Rule("xclient", frozenset({"acme.example"}))
NETWORK = Rule("network", frozenset({"acme.example"}), world.LOCAL)


def site(*held: pki.Identity, evidence: Sequence[Rule] = (LOGIN,), peers: Sequence[Peer] = (), **more: Any) -> Site:
    outbound = {"user_signature": "if-held", **more.pop("outbound", {})}
    made = world.acme_site(outbound=outbound, evidence=evidence, peers=(world.BETA, *peers), **more)
    return dataclasses.replace(made, users=Users(tuple(map(world.credential, held or (ALICE,)))))


def sent(
    octets: bytes = build("OC"), *to: str, at: Site | None = None, auth: str | None = "alice@acme.example"
) -> bytes:
    return bytes(only(send(octets, *(to or (TO,)), at=at or site(), auth=auth)))


def as_it_was(octets: bytes = build("OC"), **more: Any) -> bool:
    return sent(octets, **more).endswith(octets)


def reasons(
    octets: bytes = build("OC"), *, at: Site | None = None, auth: str | None = "alice@acme.example"
) -> set[str]:
    decision = send(octets, TO, at=at or site(outbound={"user_signature": "required"}), auth=auth)
    assert not decision.outgoing
    return {reason for held in decision.held for reason in held.reasons}


# --- what is made -----------------------------------------------------------------------------------------------------


def test_a_person_elsewhere_gets_the_senders_own_signature_in_the_clear() -> None:
    made = sent()
    assert world.SECRET in made
    verdict = judge(made)
    assert (verdict.structure, verdict.level) == ("S[originator](OC)", "originator_direct")
    assert peel(made).root.form == "clear"
    assert verdict.headers is not None and "subject" in verdict.headers


def test_whose_certificate_is_known_gets_it_encrypted_as_well() -> None:
    made = sent(at=site(known=(DAVE.certificate,), anchors=[*pki.world().cas, DAVE_CA.certificate]))
    assert world.SECRET not in made
    opened = judge(made, world.context(DAVE))
    assert (opened.structure, opened.level) == ("E(S[originator](OC))", "originator_direct")
    [layer] = [layer for layer in opened.layers if layer.encryption]
    assert layer.encryption is not None and layer.encryption.cipher == "aes256Cbc"  # what people's programs read


def test_a_domain_with_a_gateway_gets_the_domains_signature() -> None:
    made = sent(build("OC"), "bob@beta.example", at=site(evidence=(LOGIN, NETWORK)))
    assert judge(made, world.context(world.beta().confidentiality)).structure == "E(S[domain](S0(OC)))"


def test_each_recipient_gets_what_their_domain_reads() -> None:
    decision = send(build("OC"), "bob@beta.example", TO, at=site(), auth="alice@acme.example")
    made = {out.recipients[0].address: out.octets for out in decision.outgoing}
    assert judge(bytes(made[TO])).structure == "S[originator](OC)"
    assert world.SECRET not in made["bob@beta.example"]


def test_the_scheme_is_what_the_domain_agreed_on() -> None:
    peer = Peer("people.example", domsec=False, user_signature="required", signature="pss", digest="sha512")
    made = sent(at=site(peers=(peer,), outbound={"user_signature": "never"}))
    [signer] = judge(made).layers[0].signers
    assert (signer.algorithm, signer.digest) == ("rsassaPss", "sha512")


@pytest.mark.interop
def test_openssl_verifies_it_and_opens_it(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    judges.write_keys(tmp_path, {"dave": DAVE}, [acme().ca.certificate])
    openssl = Files(tmp_path)
    at = site(known=(DAVE.certificate,), anchors=[*pki.world().cas, DAVE_CA.certificate])
    opened, content, signers = openssl.new(), openssl.new(), openssl.new()
    openssl.run("openssl", "cms", "-decrypt", "-in", str(openssl.new(sent(at=at))), "-recip",
                openssl.certificate("dave"), "-inkey", openssl.private("dave"), "-out", str(opened))  # fmt: skip
    openssl.run("openssl", "cms", "-verify", "-CAfile", openssl.anchor, "-in", str(opened), "-out", str(content),
                "-signer", str(signers), "-attime", str(int(world.NOW.timestamp())))  # fmt: skip
    assert world.SECRET in content.read_bytes()
    assert "alice@acme.example" in openssl.run("openssl", "x509", "-in", str(signers), "-noout", "-email")


def test_who_has_no_key_gets_the_domains_signature_where_that_was_agreed() -> None:
    peer = Peer("people.example", domsec=False, sign=True, clear_unsigned=True)
    at = site(evidence=(NETWORK, LOGIN), peers=(peer,))
    assert judge(sent(at=at)).structure == "S[originator](OC)"
    other = sent(build("OC", sender="carol@acme.example"), at=at)
    assert judge(other).structure == "S[domain](OC)"


# --- whose key --------------------------------------------------------------------------------------------------------


def test_the_record_is_made_before_and_the_log_names_the_certificate() -> None:
    recorded = world.Recorded()
    at = site(record=recorded)
    decision = send(build("OC"), TO, at=at, auth="alice@acme.example")
    [grant] = recorded.grants
    assert (grant.user, grant.originators) == (ALICE.certificate.sha256, ("alice@acme.example",))
    assert grant.evidence == ("login alice@acme.example",)
    [group] = decision.log["groups"]  # type: ignore[misc]
    assert group["signer"] == f"{ALICE.certificate.sha256[:16]} CN=Alice"
    assert group["made"] == "S[originator](OC)"


def test_of_several_keys_the_newest_that_is_valid_signs() -> None:
    def of(start: timedelta, days: int, name: str) -> pki.Identity:
        return pki.identity("user", "alice@acme.example", acme().ca, now=pki.NOW + start, days=days, name=name)

    old, new, next_year = of(timedelta(-90), 365, "old"), of(timedelta(-9), 365, "new"), of(timedelta(9), 365, "next")
    expired = of(timedelta(-8), 2, "expired")
    made = sent(at=site(old, new, next_year, expired))
    assert judge(made).layers[0].signers[0].subject == "CN=new"
    assert as_it_was(at=site(expired, next_year))


@pytest.mark.parametrize(
    ("octets", "auth", "evidence", "reason"),
    [
        pytest.param(build("OC"), "bob@acme.example", (LOGIN,), "gate.originator", id="somebody else"),
        pytest.param(build("OC"), None, (LOGIN,), "gate.originator", id="nobody"),
        pytest.param(build("OC"), None, (NETWORK,), "gate.originator", id="anybody of the domain"),
        pytest.param(
            build("OC"), "service",
            (dataclasses.replace(LOGIN, logins={"service": Rights(domains=frozenset({"acme.example"}))}),),
            "gate.originator", id="who may speak for all",
        ),
        pytest.param(
            build("OC", sender="carol@acme.example"), "carol@acme.example", (LOGIN,), "gate.user", id="no key"
        ),
        pytest.param(
            build("OC", sender="alice@acme.example, bob@acme.example"), "alice@acme.example", (LOGIN,), "gate.user",
            id="two in From",
        ),
        pytest.param(build("OC", sender=""), "alice@acme.example", (LOGIN,), "gate.from", id="no From"),
        pytest.param(
            b"From: bob@acme.example\r\n" + build("OC"), "alice@acme.example", (LOGIN,), "gate.from", id="two From"
        ),
    ],
)  # fmt: skip
def test_nobody_signs_for_somebody_else(octets: bytes, auth: str | None, evidence: Sequence[Rule], reason: str) -> None:
    required = site(evidence=evidence, outbound={"user_signature": "required"})
    assert reason in reasons(octets, at=required, auth=auth)
    assert as_it_was(octets, at=site(evidence=evidence), auth=auth)
    passing = site(evidence=evidence, outbound={"user_signature": "required", "on_refusal": "pass"})
    assert as_it_was(octets, at=passing, auth=auth)


def test_a_refusal_says_what_it_is_about() -> None:
    at = site(outbound={"user_signature": "required", "on_refusal": "reject"})
    decision = send(build("OC"), TO, at=at, auth="bob@acme.example")
    [refused] = decision.refused
    assert refused.text == "not signed for its sender: gate.originator"
    assert "gate.originator: nothing shows that alice@acme.example sent this" in str(decision.log["user_refused"])


def test_a_certificate_that_is_named_like_an_authority_or_cannot_sign_serves_nobody() -> None:
    authority = pki.identity("signing", "acme.example", acme().ca, naming="mailbox")
    assert list(problems(authority.certificate)) == ["it is named like a domain-signing-authority"]
    reading = pki.identity("user", "alice@acme.example", acme().ca, "x25519")
    assert any("cannot sign" in text for text in problems(reading.certificate))
    assert list(problems(ALICE.certificate)) == []
    assert as_it_was(at=site(reading))


def test_without_the_option_nothing_is_signed_so() -> None:
    assert as_it_was(at=site(outbound={"user_signature": "never"}))
    peer = Peer("people.example", domsec=False, user_signature="never")
    assert as_it_was(at=site(peers=(peer,)))


# --- what is encrypted to users ---------------------------------------------------------------------------------------

READER = pki.identity("user", "alice@acme.example", acme().ca, "x25519", days=20)  # that has expired, and cannot sign


def reading(*, decrypt: bool = True, held: Sequence[pki.Identity] = (ALICE, READER), **inbound: Any) -> Site:
    made = world.acme_site(inbound=inbound, anchors=[*pki.world().cas, DAVE_CA.certificate])
    return dataclasses.replace(made, users=Users(tuple(map(world.credential, held)), open=decrypt))


def to_alice(key: pki.Identity = ALICE, entity: bytes | None = None) -> bytes:
    signed = world.signed(world.TEXT, DAVE, detached=True)
    return world.message(world.encrypted(entity or signed, key, cipher="aes256-cbc"), sender="dave@people.example")


def taken_in(octets: bytes, *to: str, at: Site) -> Decision:
    return decide(
        world.transaction(octets, *to, direction="inbound", client="192.0.2.1", sender="dave@people.example"), at
    )


@pytest.mark.parametrize("key", [ALICE, READER], ids=["rsa", "expired"])
def test_what_is_encrypted_to_a_user_is_opened_for_that_user(key: pki.Identity) -> None:
    arrived = bytes(only(taken_in(to_alice(key), "alice@acme.example", at=reading())))
    assert world.SECRET in arrived
    assert b"smime=pass" in arrived
    assert b"dave@people.example" in arrived


def test_nobody_else_reads_what_a_users_key_opens() -> None:
    """Whoever sends Alice's mail to himself, or to both, gets what he had."""
    decision = taken_in(to_alice(), "bob@acme.example", "alice@acme.example", "bob+alice@acme.example", at=reading())
    made = {r.address: bytes(out.octets) for out in decision.outgoing for r in out.recipients}
    assert {to: world.SECRET in octets for to, octets in made.items()} == {
        "bob@acme.example": False, "alice@acme.example": True, "bob+alice@acme.example": False,
    }  # fmt: skip


def test_a_user_opens_beside_the_authority_and_not_in_its_place() -> None:
    for to in ("alice@acme.example", "bob@acme.example"):
        assert world.SECRET in bytes(only(taken_in(to_alice(acme().confidentiality), to, at=reading())))
    twice = world.encrypted(_entity(to_alice()), acme().confidentiality)
    octets = world.message(twice, sender="dave@people.example")
    assert world.SECRET in bytes(only(taken_in(octets, "alice@acme.example", at=reading())))


def _entity(octets: bytes) -> bytes:
    return bytes(fields.entity_of(octets))


def test_a_message_is_opened_once_for_all_whose_own_keys_are_not_needed() -> None:
    key = world.Counting(acme().confidentiality)
    at = dataclasses.replace(reading(), keyring=(key,))
    octets = to_alice(acme().confidentiality)
    assert world.SECRET in bytes(only(taken_in(octets, "alice@acme.example", "bob@acme.example", at=at)))
    assert key.opened == 1


def test_without_the_option_users_keys_open_nothing() -> None:
    assert world.SECRET not in bytes(only(taken_in(to_alice(), "alice@acme.example", at=reading(decrypt=False))))


def test_what_users_keys_open_is_judged_like_everything_else() -> None:
    unsigned = taken_in(to_alice(entity=world.TEXT), "alice@acme.example", at=reading(on_unopenable="reject"))
    assert [refused.code for refused in unsigned.refused] == [550]  # CBC that no signature covers is handed to nobody
    assert not unsigned.outgoing


def test_on_the_way_out_they_open_nothing() -> None:
    """What a user encrypted to somebody and to themself is between them."""
    assert as_it_was(to_alice(), at=dataclasses.replace(site(), users=reading().users))


# --- what is protected already ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("notation", ["S~(OC)", "S(OC)", "X(OC)", "X(S(OC))"])
@pytest.mark.parametrize("wish", ["if-held", "required"])
def test_what_users_have_protected_with_smime_is_not_touched(notation: str, wish: str) -> None:
    assert as_it_was(build(notation), at=site(outbound={"user_signature": wish}))


def message(entity: bytes) -> bytes:
    return fields.replace_entity(fields.split_message(build("OC"))[0], entity)  # type: ignore[return-value]


@pytest.mark.parametrize("entity", [encrypted(), SIGNED], ids=["encrypted", "signed"])
@pytest.mark.parametrize("policy", ["encapsulate", "pass"])
def test_what_users_have_protected_with_openpgp_is_not_touched_for_people(entity: bytes, policy: str) -> None:
    assert as_it_was(message(entity), at=site(outbound={"user_signature": "required", "openpgp": policy}))


@pytest.mark.parametrize(
    ("entity", "policy", "touched"),
    [
        pytest.param(encrypted(), "encapsulate", True, id="encrypted, encapsulated"),
        pytest.param(encrypted(), "pass", False, id="encrypted, passed"),
        pytest.param(SIGNED, "encapsulate", True, id="signed, encapsulated"),
        pytest.param(SIGNED, "pass", True, id="signed is readable"),
        pytest.param(encrypted(b"plain text\r\n"), "pass", True, id="only says to be encrypted"),
    ],
)
def test_openpgp_for_a_domain_with_a_gateway(entity: bytes, policy: str, touched: bool) -> None:
    octets = message(entity)
    at = site(evidence=(NETWORK,), outbound={"openpgp": policy})
    made = sent(octets, "bob@beta.example", at=at)
    assert made.endswith(octets) is not touched
    if touched:
        arrived = bytes(only(world.receive(made)))
        assert arrived.partition(b"\r\n\r\n")[2] == entity.partition(b"\r\n\r\n")[2]  # octet for octet, for its reader
        assert b"smime=pass" in arrived


def test_openpgp_from_outside_is_delivered_as_it_came() -> None:
    octets = message(encrypted())
    given = world.transaction(octets, direction="inbound", client="192.0.2.1")
    arrived = bytes(only(decide(given, world.beta_site())))
    assert arrived.endswith(octets)
    assert b"smime=none" in arrived
