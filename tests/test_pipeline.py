"""What becomes of a mail transaction, from the octets that came in to those that go out: gate, encryption, policy."""

from __future__ import annotations

import dataclasses
import ipaddress
from datetime import timedelta
from typing import get_args

import pytest
from cryptography import x509

import pki
import world
from domsec import der, oids
from domsec.cms import attributes, encrypted_content, enveloped_data
from domsec.cms.algorithms import algorithm_identifier
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import Certificate
from domsec.errors import StoreUnavailable
from domsec.mime import fields, smime
from domsec.pipeline import Decision
from domsec.policy.boundaries import Boundaries
from domsec.policy.evidence import Rights, Rule
from domsec.policy.kinds import Networks
from domsec.services import peer
from domsec.services.boundary import LabelRule, Reviewing
from domsec.services.known_signers import KnownSigners
from domsec.services.layers import null_layer, peel
from domsec.services.peer import Peer
from domsec.services.signature_type import SignatureType
from domsec.site import Site
from domsec.trust import issue
from domsec.trust.source import MemorySource
from world import ACME, BETA, acme, beta, build, judge, only, receive, send

GAMMA = "carol@gamma.example"


def held(decision: Decision) -> tuple[str, ...]:
    assert not decision.outgoing
    assert not decision.refused
    (one,) = decision.held
    return one.reasons


def rejected(decision: Decision) -> tuple[int, str]:
    assert not decision.outgoing
    assert not decision.held
    (one,) = decision.refused
    return one.code, one.enhanced


# --- outbound -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-1-01", "R3183-3.2-03", "R3183-4-06", "R3183-4-08", "R3183-2.1-02")
def test_mail_leaves_signed_and_encrypted_for_a_domain_that_reads_it() -> None:
    octets = build("OC")
    out = only(send(octets))
    assert world.SECRET not in out
    verdict = judge(out, world.context(beta().confidentiality))
    assert (verdict.structure, verdict.accepted, verdict.level) == ("E(S[domain](S0(OC)))", True, "domain")
    assert verdict.domain == "acme.example"
    assert "enc_agent.unknown" not in world.codes(verdict)  # our authority says that it encrypted


@pytest.mark.requirement("R3183-1-01")
def test_two_post_quantum_domains_exchange_mail() -> None:
    ours, theirs = (_post_quantum(domain) for domain in (acme(), beta()))
    anchors = [ours.ca.certificate, theirs.ca.certificate]
    own = world.site(ours, peers=(BETA,), known=(theirs.confidentiality.certificate,), anchors=anchors)
    out = only(send(build("OC"), at=own))
    assert world.SECRET not in out
    other = world.site(theirs, peers=(ACME,), known=(ours.confidentiality.certificate,), anchors=anchors)
    arrived = only(receive(out, at=other))
    assert world.SECRET in arrived
    assert arrived.startswith(b"Authentication-Results: beta.example;\r\n smime=pass")


def _post_quantum(domain: pki.Domain) -> pki.Domain:
    ca = pki.ca(f"{domain.name} lattice CA", "ml-dsa-87")
    signing = pki.identity("signing", domain.name, ca, "ml-dsa-65")
    confidentiality = pki.identity("confidentiality", domain.name, ca, "ml-kem-768")
    return dataclasses.replace(domain, ca=ca, signing=signing, confidentiality=confidentiality)


@pytest.mark.requirement("R5321-4.4-01")
def test_fields_outside_stay_as_they_are() -> None:
    head = b"Received: from x by y\r\nX-Odd:  two  blanks\r\n\tfolded\r\nDKIM-Signature: v=1\r\n"
    out = only(send(head + build("S~(OC)")))
    assert out.startswith(head)
    assert out.count(b"\r\nSubject: plans\r\n") == 1
    assert out.count(b"Content-Type:") == 1


@pytest.mark.requirement("R3183-3.2-09", "R3183-3.2-10")
@pytest.mark.parametrize("policy", ["hold", "reject", "pass"])
@pytest.mark.parametrize(
    ("octets", "client", "reason"),
    [
        pytest.param(build("OC"), "192.0.2.1", "gate.originator", id="from nowhere"),
        pytest.param(build("OC", sender="carol@beta.example"), "127.0.0.1", "gate.not_our_domain", id="not ours"),
        pytest.param(build("S[evil](OC)"), "127.0.0.1", "gate.invalid_signature", id="broken signature"),
        pytest.param(build("X(S(OC))"), "127.0.0.1", "gate.undecryptable", id="closed"),
    ],
)
def test_what_the_gate_refuses_is_never_signed(octets: bytes, client: str, reason: str, policy: str) -> None:
    recorded = world.Recorded()
    at = world.acme_site(outbound={"on_refusal": policy, "encrypt": "no"}, record=recorded)
    decision = send(octets, at=at, client=client)
    assert recorded.grants == []
    if policy == "hold":
        assert reason in held(decision)
        assert decision.held[0].octets == octets
    elif policy == "reject":
        assert rejected(decision) == (550, "5.7.1")
        assert reason in decision.refused[0].text
    else:
        assert only(decision) == octets
    assert reason in decision.log["refused"]  # type: ignore[operator]


@pytest.mark.requirement("R3183-3.2-03", "R3183-6-04")
def test_the_grant_is_recorded_before_anything_is_signed() -> None:
    recorded = world.Recorded()
    only(send(build("OC"), at=world.acme_site(record=recorded)))
    (grant,) = recorded.grants
    assert grant.evidence == ("network 127.0.0.1",)

    def broken(event: str, transaction: str, grant: object) -> None:
        raise StoreUnavailable("disk full")

    decision = send(build("OC"), at=world.acme_site(record=broken))
    assert rejected(decision) == (451, "4.3.0")
    assert "disk" not in decision.refused[0].text


FORWARDED = world.message(
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nsee below\r\n--b\r\n'
    + b"Content-Type: message/rfc822\r\n\r\n"
    + build("S[evil](OC)")
    + b"\r\n--b--\r\n"
)


@pytest.mark.requirement("R3183-3.2-03")
def test_what_is_made_of_protected_parts_is_policy() -> None:
    """`outbound.embedded`: ignored, in the audit trail, or as good as the message has to be (decisions A-26)."""
    recorded = world.Recorded()
    for wanted in ("ignore", "report", "require"):
        at = world.acme_site(outbound={"encrypt": "no", "embedded": wanted}, record=recorded)
        decision = send(FORWARDED, at=at)
        if wanted == "require":
            assert "gate.embedded" in held(decision)
        else:
            assert world.judge(only(decision)).level == "domain"
    ignored, reported = recorded.grants
    assert ignored.embedded == ()
    assert reported.embedded == ("2.1 S[originator](OC) not accepted, level none",)


def test_the_gate_is_asked_once_for_all_recipients() -> None:
    recorded = world.Recorded()
    peers = [BETA, Peer("gamma.example")]
    decision = send(
        build("OC"),
        "bob@beta.example",
        GAMMA,
        at=world.acme_site(record=recorded, peers=peers, outbound={"encrypt": "no"}),
    )
    assert len(decision.outgoing) == 2
    assert len(recorded.grants) == 1


@pytest.mark.parametrize("sign", ["never", "if-possible", "required"])
@pytest.mark.parametrize("granted", [True, False])
def test_whether_signing_is_wanted(sign: str, granted: bool) -> None:
    at = world.acme_site(outbound={"sign": sign, "encrypt": "no"})
    decision = send(build("OC"), at=at, client="127.0.0.1" if granted else "192.0.2.1")
    if sign == "required" and not granted:
        assert held(decision) == ("gate.originator",)
        return
    assert ("S[domain]" in judge(only(decision)).structure) is (granted and sign != "never")


def test_without_a_signing_key_nothing_is_signed() -> None:
    at = dataclasses.replace(world.acme_site(), signing=None)
    assert held(send(build("OC"), at=at)) == ("gate.not_our_domain",)


# --- evidence -------------------------------------------------------------------------------------------------------

HEADER = Rule("header", frozenset({"acme.example"}), header="X-Authenticated-As", token="t0ken")


@pytest.mark.requirement("R3183-3.2-05", "R3183-3.2-03")
@pytest.mark.parametrize(
    ("head", "signed"),
    [
        pytest.param(b"X-Authenticated-As: t0ken alice@acme.example\r\nReceived: x\r\n", True, id="above Received"),
        pytest.param(b"Received: x\r\nX-Authenticated-As: t0ken alice@acme.example\r\n", False, id="below Received"),
        pytest.param(b"X-Authenticated-As: wrong alice@acme.example\r\nReceived: x\r\n", False, id="another token"),
        pytest.param(b"X-Authenticated-As: t0ken bob@acme.example\r\nReceived: x\r\n", False, id="another login"),
        pytest.param(b"X-Authenticated-As: t0ken\r\nReceived: x\r\n", False, id="no login"),
        pytest.param(b"X-Authenticated-As: alice@acme.example\r\nReceived: x\r\n", False, id="no token"),
        pytest.param(b"X-Authenticated-As: \xff\xfe alice@acme.example\r\nReceived: x\r\n", False, id="octets"),
        pytest.param(b"X-Authenticated-As: t0ken \xff\r\nReceived: x\r\n", False, id="octets as login"),
        pytest.param(
            b"X-Authenticated-As: t0ken alice@acme.example\r\nX-Authenticated-As: t0ken bob@acme.example\r\n", False,
            id="two of them",
        ),
        pytest.param(b"", False, id="none"),
    ],
)  # fmt: skip
def test_evidence_of_our_own_mail_server(head: bytes, signed: bool) -> None:
    at = world.acme_site(evidence=[HEADER], outbound={"encrypt": "no"})
    decision = send(head + build("OC"), at=at, client="192.0.2.1")
    if not signed:
        assert held(decision) == ("gate.originator",)
        return
    out = only(decision)
    assert b"t0ken" not in out
    assert b"X-Authenticated-As" not in out
    assert judge(out).level == "domain"


def test_the_token_never_leaves_even_if_nothing_is_signed() -> None:
    at = world.acme_site(evidence=[HEADER], outbound={"sign": "never", "encrypt": "no"})
    for head in (
        b"X-Authenticated-As: t0ken alice@acme.example\r\n",
        b"Received: x\r\nx-authenticated-as: t0ken a\r\n",
    ):
        out = only(send(head + build("OC"), at=at))
        assert out.endswith(build("OC"))
        assert b"t0ken" not in out


def test_logins_have_rights() -> None:
    rule = Rule("xclient", frozenset({"acme.example"}),
                logins={"al": Rights(frozenset({"alice@acme.example"}))})  # fmt: skip
    at = world.acme_site(evidence=[rule], outbound={"encrypt": "no"})
    assert judge(only(send(build("OC"), at=at, auth="al"))).accepted
    assert held(send(build("OC", sender="bob@acme.example"), at=at, auth="al")) == ("gate.originator",)
    assert held(send(build("OC"), at=at, auth="mallory")) == ("gate.originator",)
    assert held(send(build("OC"), at=at)) == ("gate.originator",)


ALICE_ALONE = {"al": Rights(frozenset({"alice@acme.example"}))}
UPSTREAM = Networks((ipaddress.ip_network("192.0.2.25/32"),))
CHECKED = b"Authentication-Results: mx.acme.example; auth=pass smtp.auth=al\r\nReceived: from pc\r\n"
SHOWN = b"X-Machine: t0ken AB:CD\r\nReceived: from pc\r\n"


@pytest.mark.requirement("R3183-3.2-03", "R3183-3.2-05")
@pytest.mark.parametrize(
    ("rule", "true", "forged"),
    [
        pytest.param({"kind": "local"}, {"user": "al"}, {"user": "mallory"}, id="local"),
        pytest.param(
            {"kind": "certificate", "header": "X-Machine", "token": "t0ken", "logins": {"abcd": ALICE_ALONE["al"]}},
            {"head": SHOWN}, {"head": b"Received: from pc\r\n" + SHOWN}, id="certificate",
        ),
        pytest.param(
            {"kind": "results", "networks": UPSTREAM, "authserv_id": "mx.acme.example"},
            {"head": CHECKED, "client": "192.0.2.25"}, {"head": CHECKED, "client": "192.0.2.99"}, id="results",
        ),
        pytest.param(
            {"kind": "results", "networks": UPSTREAM, "authserv_id": "mx.acme.example"},
            {"head": CHECKED, "client": "192.0.2.25"},
            {"head": CHECKED, "client": "192.0.2.99", "xforward": {"ADDR": "192.0.2.25"}}, id="results forwarded",
        ),
        pytest.param(
            {"kind": "xclient", "logins": None, "owners": {"alice@acme.example": frozenset({"al"})}},
            {"auth": "al"}, {"auth": "alice@acme.example"}, id="owners",
        ),
    ],
)  # fmt: skip
def test_each_kind_of_evidence_opens_the_gate_and_its_forgery_does_not(
    rule: dict[str, object], true: dict[str, object], forged: dict[str, object]
) -> None:
    recorded = world.Recorded()
    given = Rule(domains=frozenset({"acme.example"}), **{"logins": ALICE_ALONE, **rule})
    at = world.acme_site(evidence=[given], outbound={"encrypt": "no"}, record=recorded)

    def sent(how: dict[str, object], author: str = "alice@acme.example") -> Decision:
        how = dict(how)
        return send(how.pop("head", b"") + build("OC", sender=author), at=at, **how)

    out = only(sent(true))
    assert judge(out).level == "domain"
    assert b"t0ken" not in out
    assert b"auth=pass" not in out
    (grant,) = recorded.grants
    assert len(grant.evidence) == 1
    for refused in (sent(forged), sent(true, "bob@acme.example")):
        assert held(refused) == ("gate.originator",)
        assert "nothing shows that" in refused.log["refusal"]
        assert len(refused.log["no_evidence"]) <= 1
    assert len(recorded.grants) == 1


def test_a_refusal_names_who_was_there_and_which_rules_gave_nothing() -> None:
    """What an administrator reads at three in the night."""
    login = Rule("xclient", frozenset({"acme.example"}), logins=ALICE_ALONE)
    at = world.acme_site(evidence=[login, HEADER], outbound={"encrypt": "no"})
    log = send(build("OC", sender="bob@acme.example"), at=at, auth="al").log
    assert log["refusal"] == "gate.originator: nothing shows that bob@acme.example sent this; login al may not say so"
    assert log["no_evidence"] == ["evidence[1] header: no X-Authenticated-As field with our token above Received"]


@pytest.mark.parametrize(
    ("xforward", "signed"),
    [
        ({}, True),
        ({"ADDR": "127.0.0.9"}, True),
        ({"ADDR": "192.0.2.9"}, False),
        ({"ADDR": "[UNAVAILABLE]"}, False),
        ({"ADDR": "[UNAVAILABLE]", "SOURCE": "REMOTE"}, False),
        ({"ADDR": "[UNAVAILABLE]", "SOURCE": "LOCAL"}, True),
        ({"ADDR": "IPV6:::1"}, False),
        ({"ADDR": "nonsense"}, False),
    ],
)
def test_the_client_that_counts_is_the_first_one(xforward: dict[str, str], signed: bool) -> None:
    decision = send(build("OC"), at=world.acme_site(outbound={"encrypt": "no"}), xforward=xforward)
    assert bool(decision.outgoing) is signed


def test_a_rule_speaks_for_its_domains_only() -> None:
    elsewhere = Rule("network", frozenset({"beta.example"}), Networks((ipaddress.ip_network("127.0.0.0/8"),)))
    assert held(send(build("OC"), at=world.acme_site(evidence=[elsewhere]))) == ("gate.originator",)
    assert held(send(build("OC"), at=world.acme_site(evidence=[]))) == ("gate.originator",)


# --- encryption: never in clear where it was wanted -----------------------------------------------------------------


@pytest.mark.requirement("R3183-4.2-07", "R3183-4-06")
@pytest.mark.parametrize("policy", ["hold", "reject", "clear"])
@pytest.mark.parametrize("encrypt", ["auto", "dca", "recipient", "both"])
def test_no_certificate(policy: str, encrypt: str) -> None:
    at = world.acme_site(known=(), outbound={"on_no_certificate": policy, "encrypt": encrypt})
    decision = send(build("S~(OC)"), at=at)
    if policy == "clear":
        assert judge(only(decision)).structure == "S[domain](S[originator](OC))"
    elif policy == "hold":
        assert held(decision) == ("no_certificate",)
    else:
        assert rejected(decision) == (550, "5.7.1")


def _bad_authorities() -> dict[str, tuple[Certificate, ...]]:
    ca = beta().ca
    return {
        "expired": (pki.identity("confidentiality", "beta.example", ca, days=5).certificate,),
        "nobody's": (pki.identity("confidentiality", "beta.example", pki.ca("nobody")).certificate,),
        "another domain's": (acme().confidentiality.certificate,),
        "too general": (pki.identity("confidentiality", "example", ca).certificate,),
        "a signing key": (beta().signing.certificate,),
    }


@pytest.mark.requirement("R3183-4.1-07", "R3183-4.2-07", "R3183-4.1-03")
@pytest.mark.parametrize("name", ["expired", "nobody's", "another domain's", "too general", "a signing key"])
def test_a_certificate_that_is_no_good_is_not_encrypted_to_and_no_leave_to_send_clear(name: str) -> None:
    at = world.acme_site(known=_bad_authorities()[name], outbound={"encrypt": "dca"})
    assert held(send(build("OC"), at=at)) == ("no_certificate",)


@pytest.mark.requirement("R8162-6-01")
def test_a_bad_certificate_of_somebody_unknown_holds_the_mail() -> None:
    """Found and no good is not the same as not found (threats T-20)."""
    ca = pki.ca("gamma CA")
    anchors = [*pki.world().cas, ca.certificate]
    expired = pki.identity("user", GAMMA, ca, days=5).certificate
    only_signs = pki.identity("user", GAMMA, ca, "ed25519").certificate
    assert held(send(build("OC"), GAMMA, at=world.acme_site(known=[expired], anchors=anchors))) == ("no_certificate",)
    for known in ([], [only_signs]):
        assert only(send(build("OC"), GAMMA, at=world.acme_site(known=known, anchors=anchors))) == build("OC")


def test_an_agreement_on_encryption_holds_for_a_domain_without_a_gateway() -> None:
    peers = [Peer("gamma.example", domsec=False, encrypt="recipient")]
    assert held(send(build("OC"), GAMMA, at=world.acme_site(peers=peers))) == ("no_certificate",)
    peers = [Peer("gamma.example", domsec=False)]
    assert only(send(build("OC"), GAMMA, at=world.acme_site(peers=peers))) == build("OC")


@pytest.mark.requirement("R3183-5-07")
@pytest.mark.parametrize(
    "notation",
    ["OC", "S(OC)", "S+mlh(S(OC))", "S+mlh(OC)", "S+mlh(S+mlh(S(OC)))", "C(OC)", "E(S+mlh(S(OC)))", "S0(OC)"],
)
def test_where_encryption_is_wanted_the_text_is_encrypted_whatever_the_layers(notation: str) -> None:
    out = only(send(build(notation)))
    closed = judge(out, world.context())
    assert closed.layers[-1].kind == "auth_enveloped"
    opened = judge(out, world.context(beta().confidentiality))
    assert opened.structure.count("E(") == 1
    assert "S[domain]" in opened.structure


def test_recipients_with_and_without_a_certificate_are_split() -> None:
    """One is found, one is not: the one message is encrypted, the other waits; never is the text in any output."""
    known = [beta().users["bob"].certificate]
    at = world.acme_site(known=known, outbound={"encrypt": "recipient"})
    to = "bob@beta.example, alice@beta.example"
    decision = send(build("OC", to=to), "bob@beta.example", "alice@beta.example", at=at)
    assert [o.indexes for o in decision.outgoing] == [(0,)]
    assert [(h.indexes, h.reasons) for h in decision.held] == [((1,), ("no_certificate",))]
    assert world.SECRET not in decision.outgoing[0].octets


# --- whom it goes to ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notation", ["OC", "S~(OC)", "S(OC)", "X(OC)"])
def test_nothing_unreadable_goes_to_a_domain_not_known_to_do_domsec(notation: str) -> None:
    """Decisions A-62: mail for gamma.example leaves as it came."""
    octets = build(notation, to=GAMMA)
    assert only(send(octets, GAMMA)) == octets


def test_nor_to_one_that_is_known_not_to() -> None:
    peers = [Peer("gamma.example", domsec=False)]
    octets = build("S(OC)")
    assert only(send(octets, GAMMA, at=world.acme_site(peers=peers))) == octets


@pytest.mark.parametrize(("policy", "code"), [("hold", None), ("reject", (550, "5.7.1"))])
def test_or_such_mail_does_not_leave(policy: str, code: tuple[int, str] | None) -> None:
    decision = send(build("OC"), GAMMA, at=world.acme_site(outbound={"unknown_domains": policy}))
    if code is None:
        assert held(decision) == ("unknown_domain",)
    else:
        assert rejected(decision) == code


def test_a_person_of_an_unknown_domain_is_encrypted_to_in_what_mail_programs_read() -> None:
    ca = pki.ca("gamma CA")
    carol = pki.identity("user", GAMMA, ca)
    at = world.acme_site(known=[carol.certificate], anchors=[*pki.world().cas, ca.certificate])
    verdict = judge(only(send(build("S(OC)", to=GAMMA), GAMMA, at=at)), world.context(carol))
    assert verdict.structure == "E(S[originator](OC))"
    assert verdict.layers[0].encryption is not None
    assert verdict.layers[0].encryption.cipher == oids.name(oids.AES256_CBC)


def test_a_domain_whose_authority_is_found_does_domsec() -> None:
    out = only(send(build("OC"), at=world.acme_site(peers=())))
    assert judge(out, world.context(beta().confidentiality)).structure == "E(S[domain](S0(OC)))"
    # but not one whose authority is no good
    assert "S[domain]" not in str(send(build("OC"), at=world.acme_site(peers=(), known=())).log)


@pytest.mark.requirement("R5322-3.6.3-01", "R3183-2.4-01")
def test_one_message_for_each_domain_and_blind_recipients_alone() -> None:
    gamma = pki.domain("gamma.example", ("carol",))
    at = world.acme_site(
        peers=[BETA, Peer("gamma.example")],
        known=[beta().confidentiality.certificate, gamma.confidentiality.certificate],
        anchors=[*pki.world().cas, gamma.ca.certificate],
    )
    octets = build("OC", to="bob@beta.example, Alice <alice@beta.example>", Cc=GAMMA)
    decision = send(
        octets, "bob@beta.example", GAMMA, "alice@beta.example", "blind@beta.example", "also@beta.example", at=at
    )
    assert [o.indexes for o in decision.outgoing] == [(0, 2), (1,), (3,), (4,)]
    for out in decision.outgoing:
        (layer,) = judge(out.octets, world.context()).layers
        assert layer.encryption is not None
        assert len(layer.encryption.recipients) == 1
    assert b"blind" not in b"".join(o.octets for o in decision.outgoing)


@pytest.mark.requirement("R3183-4-06")
def test_every_recipient_of_a_message_can_read_it() -> None:
    users = beta().users
    at = world.acme_site(known=[i.certificate for i in users.values()], outbound={"encrypt": "recipient"})
    octets = build("OC", to="bob@beta.example, alice@beta.example")
    out = only(send(octets, "bob@beta.example", "alice@beta.example", at=at))
    for who in users.values():
        assert judge(out, world.context(who)).structure == "E(S[domain](S0(OC)))"


def test_an_address_that_cannot_be_read_is_refused_and_the_others_are_not() -> None:
    decision = send(build("OC"), "no address", "bob@beta.example")
    assert [(r.indexes, r.code) for r in decision.refused] == [((0,), 553)]
    assert [o.indexes for o in decision.outgoing] == [(1,)]


def test_the_options_of_an_agreement_are_followed() -> None:
    peer = Peer("beta.example", cipher="aes128-cbc", sigtype_oid="id-sti", encrypt="dca")
    verdict = judge(only(send(build("OC"), at=world.acme_site(peers=[peer]))), world.context(beta().confidentiality))
    assert verdict.layers[0].encryption is not None
    assert verdict.layers[0].encryption.cipher == oids.name(oids.AES128_CBC)
    assert "sigtype.legacy_oid" in world.codes(verdict)
    for sign in (True, False):
        at = world.acme_site(peers=[Peer("beta.example", sign=sign, encrypt="no")])
        assert ("S[domain]" in judge(only(send(build("OC"), at=at))).structure) is sign


# --- inbound --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-4-07", "R3183-6-07", "R8601-4-01")
@pytest.mark.parametrize("notation", ["OC", "S(OC)", "S~(OC)"])
def test_from_gateway_to_gateway(notation: str) -> None:
    """What alice wrote is what bob gets, octet by octet where it was signed, with the result on top."""
    octets = build(notation)
    got = only(receive(only(send(octets))))
    results, _, rest = got.partition(b"\r\nFrom:")
    assert results.startswith(b"Authentication-Results: beta.example;\r\n smime=pass")
    if notation == "OC":
        assert rest.endswith(b"\r\nattack at dawn\r\n")
    else:
        assert (b"From:" + rest).endswith(octets.partition(b"MIME-Version: 1.0\r\n")[2])
    assert judge(got, world.context()).level == ("none" if notation == "OC" else "originator_direct")


@pytest.mark.requirement("R8601-5-01")
@pytest.mark.parametrize("notation", ["OC", "S(OC)", "E[beta](S[domain](S(OC)))", "X(OC)", "S0(OC)"])
def test_results_in_our_name_are_removed(notation: str) -> None:
    forged = b"Authentication-Results: BETA.example (x);\r\n\tsmime=pass\r\nAuthentication-Results: other; spf=pass\r\n"
    at = world.beta_site(inbound={"on_violation": "deliver"})
    got = only(receive(forged + build(notation), at=at))
    assert got.count(b"Authentication-Results:") == 2
    assert got.index(b"beta.example") < got.index(b"other; spf=pass")
    assert b"BETA" not in got


@pytest.mark.parametrize(
    ("notation", "verified"),
    [
        ("OC", False),
        ("S(OC)", True),
        ("S[domain](S0(OC))", True),
        ("E[beta](S[domain](S(OC)))", True),
        ("X(OC)", False),
    ],
)
def test_a_subject_is_tagged_where_a_signature_vouches_for_the_sender(notation: str, *, verified: bool) -> None:
    """And nowhere else, whatever the sender writes."""
    at = world.beta_site(inbound={"subject_tag": "[verified]", "on_violation": "deliver"})
    octets = build(notation)
    for sent in (octets, octets.replace(b"Subject: ", b"Subject: [VERIFIED] ", 1)):
        subject = _subject(only(receive(sent, at=at)))
        assert subject.startswith("[verified]") is verified
        assert subject.lower().count("verified") == verified


def test_a_hidden_subject_is_tagged_and_cannot_bring_a_tag_with_it() -> None:
    agreed = Peer("beta.example", encrypt="dca", header_confidentiality="baseline")
    forged = build("OC").replace(b"Subject: ", b"Subject: [verified] ", 1)
    sent = only(send(forged, at=world.acme_site(peers=(agreed,))))
    at = world.beta_site(inbound={"subject_tag": "[verified]"})
    assert _subject(only(receive(sent, at=at))).count("[verified]") == 1


@pytest.mark.parametrize(
    ("notation", "banner", "line"),
    [
        ("S[domain](S0(OC))", "verified", "This message comes from acme.example, which vouches for it."),
        ("E[beta](S[domain](S0(OC)))", "all", "acme.example, which vouches for it. It came encrypted."),
        ("OC", "all", "Nothing shows who sent this message."),
        ("OC", "verified", None),
        ("S~(OC)", "all", None),  # signed: as it is
        ("S[domain](S~(OC))", "all", None),
        ("S[domain](S0(OC))", "no", None),
    ],
)  # fmt: skip
def test_a_line_says_what_is_known_of_the_origin(notation: str, banner: str, line: str | None) -> None:
    got = only(receive(build(notation), at=world.beta_site(inbound={"banner": banner})))
    assert (line is None) is (b'multipart/mixed; boundary="=_domsec_' not in got)
    if line is not None:
        assert line.encode() in got


@pytest.mark.requirement("R8601-5-01", "R3183-1-02")
@pytest.mark.parametrize("policy", ["hold", "reject", "deliver"])
def test_what_cannot_be_read_is_never_delivered(policy: str) -> None:
    huge = b"Authentication-Results: beta.example; smime=pass\r\n" + b"X: y\r\n" * 1001 + build("OC")
    decision = receive(huge, at=world.beta_site(inbound={"on_violation": policy}))
    assert not decision.outgoing
    assert bool(decision.refused) is (policy == "reject")


@pytest.mark.requirement("R3183-3.1.1-16", "R3183-3.1.1-21")
@pytest.mark.parametrize("policy", ["hold", "reject", "deliver"])
@pytest.mark.parametrize(
    ("octets", "code"),
    [
        pytest.param(world.other_from(build("S[domain](S0(OC))"), "e@beta.example"), "mapping.mismatch", id="mapping"),
        pytest.param(build("S~(OC)").replace(b"dawn", b"dusk"), "signature.invalid", id="broken"),
        pytest.param(build("S0(OC)"), "null.uncovered", id="empty signature"),
        pytest.param(build("S[domain](OC)"), "encapsulation.missing", id="nothing inside"),
    ],
)  # fmt: skip
def test_a_violation(octets: bytes, code: str, policy: str) -> None:
    decision = receive(octets, at=world.beta_site(inbound={"on_violation": policy}))
    if policy == "hold":
        assert code in held(decision)
        assert decision.held[0].octets == octets
    elif policy == "reject":
        assert rejected(decision) == (550, "5.7.7")
    else:
        got = only(decision)
        assert got.endswith(octets)  # nothing taken off
        assert b"smime=pass" not in got


@pytest.mark.parametrize(
    ("octets", "policy", "delivered"),
    [
        pytest.param(build("OC"), "deliver", True, id="unsigned"),
        pytest.param(build("OC"), "hold", False, id="unsigned, held by policy"),
        pytest.param(build("S[evil](OC)"), "deliver", True, id="signed by somebody unknown"),
        pytest.param(build("S[evil](OC)"), "hold", False, id="held by policy"),
        pytest.param(build("OC", sender="MAILER-DAEMON"), "deliver", True, id="a bounce"),
        pytest.param(build("OC", sender="staff: alice@acme.example;"), "deliver", True, id="a group"),
        pytest.param(build("OC", Content_Type="text/html"), "deliver", True, id="odd MIME"),
        pytest.param(build("X(S(OC))"), "hold", True, id="encrypted for somebody else: theirs to open"),
    ],
)  # fmt: skip
def test_ordinary_mail(octets: bytes, policy: str, delivered: bool) -> None:
    decision = receive(octets, at=world.beta_site(inbound={"on_unverified": policy}))
    if delivered:
        assert only(decision).endswith(octets)
    else:
        assert held(decision) == ("unverified",)


# --- shown by a mail server that keeps it ----------------------------------------------------------------------------


def shown(octets: bytes, *recipients: str, **inbound: object) -> Decision:
    return receive(octets, *recipients, at=world.beta_site(inbound=inbound), protocol="milter")


@pytest.mark.parametrize(
    ("notation", "result"),
    [
        ("S[domain](S0(OC))", b"smime=pass"),
        ("S~(OC)", b"smime=pass"),
        ("E[beta](S[domain](S0(OC)))", b"smime=none"),
        ("OC", b"smime=none"),
    ],
)
def test_what_is_shown_gets_a_mark_and_stays_as_it_is(notation: str, result: bytes) -> None:
    """Nothing is opened and no layer comes off, whoever the recipient is."""
    octets = build(notation)
    forged = b"Authentication-Results: beta.example; smime=pass\r\n"
    got = only(shown(forged + octets, "bob@beta.example", "eve@elsewhere.example"))
    header, _ = fields.split_message(got)
    (mark,) = header.all("authentication-results")
    assert result in mark.raw
    assert got == mark.raw + octets


def test_what_is_shown_and_to_be_held_is_marked_too() -> None:
    """It is held there, and delivered from there as it then is."""
    broken = build("S[domain](S0(OC))", sender="Eve <eve@evil.example>")
    decision = shown(b"Authentication-Results: beta.example; smime=pass\r\n" + broken)
    assert "mapping.mismatch" in held(decision)
    assert bytes(decision.held[0].octets).startswith(b"Authentication-Results: beta.example;\r\n smime=policy\r\n")
    assert bytes(decision.held[0].octets).endswith(broken)


@pytest.mark.parametrize("policy", ["hold", "reject", "deliver"])
def test_what_is_shown_and_cannot_be_read_is_refused(policy: str) -> None:
    """Whoever released it from a quarantine would deliver results that nobody could remove."""
    octets = b"Authentication-Results: beta.example; smime=pass\r\n" + b"X: y\r\n" * 1000 + b"\r\n"
    assert rejected(shown(octets, on_violation=policy)) == (550, "5.7.7")


def test_what_is_shown_may_be_signed_inside_although_it_is_agreed_on() -> None:
    """Whoever opens it will know (and refuse what is not)."""
    agreed = world.beta_site(inbound={"on_violation": "reject"}, peers=[Peer("acme.example", expect_signed=True)])
    assert only(receive(build("E[beta](S[domain](S0(OC)))"), at=agreed, protocol="milter"))
    assert rejected(receive(build("OC"), at=agreed, protocol="milter")) == (550, "5.7.7")


@pytest.mark.parametrize(
    ("notation", "lmtp", "milter"),
    [
        ("OC", False, False),  # nothing of it is there: ordinary mail, but not from this domain
        ("S(OC)", False, False),
        ("E[beta](OC)", False, True),
        ("E[beta](S(OC))", True, True),
    ],
)
def test_what_a_domain_without_a_gateway_agreed_on_is_held_to(notation: str, lmtp: bool, milter: bool) -> None:
    peer = Peer("acme.example", domsec=False, expect_signed=True, expect_encrypted=True)
    at = world.beta_site(inbound={"on_violation": "reject"}, peers=[peer])
    for protocol, passes in (("lmtp", lmtp), ("milter", milter)):
        decision = receive(build(notation), at=at, protocol=protocol)
        assert bool(decision.outgoing) is passes, protocol
        assert bool(decision.refused) is not passes


def _broken(octets: bytes, at: int = -1) -> bytes:
    found = smime.recognise(octets)
    assert isinstance(found, smime.Pkcs7)
    der = bytearray(found.der)
    der[at] ^= 1
    return world.message(smime.pkcs7_mime(bytes(der), found.smime_type or "enveloped-data"))


def _of_type(content: bytes, content_type: str) -> bytes:
    octets = enveloped_data.encrypt(content, [beta().confidentiality.certificate], content_type=content_type,
                                    cipher="aes256-cbc")  # fmt: skip
    return world.message(smime.pkcs7_mime(octets, "enveloped-data"))


FAILURES = {
    "tag of GCM": lambda: _broken(world.entity("E[beta](S(OC))")),
    "padding of CBC": lambda: _broken(world.entity("E[beta](S(OC))", cipher="aes256-cbc")),
    "text of CBC": lambda: _broken(world.entity("E[beta](S~(OC))", cipher="aes256-cbc"), -400),
    "not a structure": lambda: _of_type(b"junk", oids.ID_SIGNED_DATA),
    "a structure cut off": lambda: _of_type(b"\x30\x82\x10\x00", oids.ID_SIGNED_DATA),
    "an unknown type": lambda: _of_type(b"junk", "1.2.3.4"),
    "nothing signed": lambda: build("E[beta](OC)", cipher="aes256-cbc"),
    "an empty signature": lambda: build("E[beta](S0(OC))", cipher="aes256-cbc"),
    "a broken signature": lambda: world.message(
        world.encrypted(world.entity("S~(OC)").replace(b"dawn", b"dusk"), beta().confidentiality, cipher="aes256-cbc")
    ),
}


@pytest.mark.requirement("R5321-4.2-01", "R5652-6.3-01", "R3183-1-02")
@pytest.mark.parametrize("violation", ["hold", "reject", "deliver"])
@pytest.mark.parametrize("unopenable", ["hold", "reject", "deliver"])
def test_all_failures_to_decrypt_look_alike_from_outside(unopenable: str, violation: str) -> None:
    at = world.beta_site(inbound={"on_unopenable": unopenable, "on_violation": violation, "on_unverified": "deliver"})
    seen = set()
    for make in FAILURES.values():
        octets = make()
        decision = receive(octets, at=at)
        replies = tuple((r.indexes, r.code, r.enhanced, r.text) for r in decision.refused)
        relayed = tuple(
            (o.indexes, o.sender, o.sender_parameters, o.octets.endswith(octets)) for o in decision.outgoing
        )
        seen.add((replies, relayed, tuple(h.indexes for h in decision.held)))
    assert len(seen) == 1
    ((replies, relayed, waiting),) = seen
    became = {"reject": replies, "deliver": relayed, "hold": waiting}
    assert [policy for policy, found in became.items() if found] == [unopenable]


def test_replies_say_nothing_of_why() -> None:
    at = world.beta_site(inbound={"on_unopenable": "reject", "on_violation": "reject"})
    texts = {receive(make(), at=at).refused[0].text for make in FAILURES.values()}
    texts.add(receive(build("S0(OC)"), at=at).refused[0].text)
    assert len(texts) == 1


def test_only_our_own_recipients_get_it_opened() -> None:
    octets = build("E[beta](S[domain](S(OC)))")
    decision = receive(octets, "bob@beta.example", GAMMA, "x@sub.beta.example")
    assert [o.indexes for o in decision.outgoing] == [(0, 2), (1,)]
    assert judge(decision.outgoing[0].octets, world.context()).structure == "S[originator](OC)"
    assert decision.outgoing[1].octets.endswith(octets)


@pytest.mark.requirement("R3183-6-07", "R3183-3.2-16")
@pytest.mark.parametrize(
    ("notation", "strip", "left"),
    [
        ("S[domain](S0(OC))", "verified", "OC"),
        ("S[domain](S0(OC))", "none", "S[domain](S0(OC))"),
        ("S[domain](S(OC))", "verified", "S[originator](OC)"),
        ("E[beta](S[domain](S(OC)))", "none", "S[domain](S[originator](OC))"),
        ("S[review](S[domain](S(OC)))", "verified", "S[originator](OC)"),
        ("S[domain](S[evil](OC))", "verified", "S[originator](OC)"),
    ],
)
def test_the_last_hop(notation: str, strip: str, left: str) -> None:
    got = only(receive(build(notation), at=world.beta_site(inbound={"strip": strip})))
    assert judge(got, world.context()).structure == left


@pytest.mark.requirement("R8550-6-01")
def test_time_is_that_of_reception() -> None:
    octets = build("S[domain](S0(OC))")
    late = dataclasses.replace(
        world.transaction(octets, direction="inbound"), received_at=world.NOW + timedelta(days=400)
    )
    assert world.decide(late, world.beta_site()).log["accepted"] is False
    assert receive(octets).log["accepted"] is True


# --- whatever comes -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-1-02")
@pytest.mark.parametrize(
    "octets", [b"", b"\r\n", b"x", b"\0" * 1000, b"From: a@b.example", b"\r\n\r\n", b":\r\n: \r\n\r\n"]
)
def test_no_message_raises(octets: bytes) -> None:
    send(octets)
    receive(octets)
    receive(octets, at=world.beta_site(inbound={"on_violation": "deliver", "on_unopenable": "deliver"}))


@pytest.mark.requirement("R3183-1-02")
@pytest.mark.parametrize(
    "content_type", [oids.ID_SIGNED_DATA, oids.ID_CT_COMPRESSED_DATA, "1.2.3", oids.ID_CT_CONTENT_INFO]
)
@pytest.mark.parametrize("who", ["acme", "beta"])
def test_odd_content_of_an_encryption_raises_nothing(content_type: str, who: str) -> None:
    whom = acme() if who == "acme" else beta()
    octets = enveloped_data.encrypt(
        b"\x30\x03\x02\x01\x01", [whom.confidentiality.certificate], content_type=content_type
    )
    message = world.message(smime.pkcs7_mime(octets, "authEnveloped-data"))
    receive(message, at=world.beta_site(inbound={"on_violation": "deliver"}))
    assert not send(message).outgoing or who == "beta"


def test_a_source_that_does_not_answer_is_a_temporary_failure() -> None:
    class Down(MemorySource):
        def by_address(self, address: str) -> tuple[Certificate, ...]:
            raise StoreUnavailable("directory.acme.example does not answer")

    decision = send(build("OC"), at=dataclasses.replace(world.acme_site(peers=[BETA, ACME]), source=Down()))
    assert rejected(decision) == (451, "4.3.0")
    assert "directory" not in decision.refused[0].text


def test_the_log_says_what_became_of_it() -> None:
    log = send(build("S(OC)")).log
    assert log["structure"] == "S[originator](OC)"
    assert log["action"] == "relay"
    assert "attack" not in str(log)
    log = receive(build("E[beta](S[domain](S(OC)))")).log
    assert (log["accepted"], log["level"], log["domain"]) == (True, "originator_direct", "acme.example")
    assert log["removed"] == ["1", "1.1"]


# --- what section 5 would take off, and what two domains agreed beside the RFC --------------------------------------


LABEL = attributes.attribute(oids.ID_AA_SECURITY_LABEL, der.tlv(der.SET, der.oid("1.2.3.4"), der.integer(3)))


def labelled_list(label: Attribute = LABEL) -> bytes:
    """A message of alice in a labelled wrapper that section 5 takes off: around what was encrypted to us."""
    inner = world.encrypted(world.entity("S(OC)"), world.acme().confidentiality)
    return world.message(world.signed(inner, world.acme().users["alice"], extra=[label]))


@pytest.mark.parametrize(("policy", "leaves"), [("hold", False), ("drop", True)])
def test_a_label_is_not_taken_off_unless_policy_says_so(policy: str, leaves: bool) -> None:
    decision = world.send(labelled_list(), at=world.acme_site(outbound={"stripped_labels": policy}))
    assert bool(decision.outgoing) is leaves
    if not leaves:
        assert decision.held[0].reasons == ("stripped_label",)


def test_a_label_that_goes_on_with_the_attributes_of_a_list_is_not_lost() -> None:
    """Section 5 step 4 has it signed anew."""
    inner = world.encrypted(world.entity("S(OC)"), world.acme().confidentiality)
    octets = world.message(world.signed(inner, world.acme().users["alice"], extra=[LABEL, world.history()]))
    verdict = judge(only(send(octets, at=world.acme_site(outbound={"encrypt": "no"}))))
    assert verdict.structure == "S[unspecified]+mlh(S[domain](S[originator](OC)))"
    assert oids.ID_AA_SECURITY_LABEL in verdict.layers[0].signers[0].attributes


@pytest.mark.requirement("R3183-5-03")
def test_a_label_that_would_be_taken_off_is_carried_on_by_our_attribute_authority() -> None:
    """Decisions A-33: the signature is lost, what it said is not."""
    at = dataclasses.replace(
        world.acme_site(outbound={"stripped_labels": "carry", "encrypt": "no"}),
        attributes=world.credential(acme().attributes),
    )
    verdict = judge(only(send(labelled_list(), at=at)))
    assert (verdict.structure, verdict.accepted) == ("S[domain](S[attributes](S[originator](OC)))", True)
    (carried,) = verdict.labels.aggregate
    assert (carried.policy, carried.classification, carried.signer) == ("1.2.3.4", 3, "CN=attribute-authority")
    assert judge(only(send(build("S(OC)"), at=at))).structure == "S[domain](S[originator](OC))"
    two = attributes.attribute(oids.ID_AA_SECURITY_LABEL, LABEL.values[0], der.tlv(der.SET, der.oid("1.2.3.5")))
    assert held(send(labelled_list(two), at=at)) == ("stripped_label",)  # which of them it is nobody can say


@pytest.mark.requirement("R3183-5-03")
def test_the_signatures_that_are_taken_off_are_in_the_audit_trail() -> None:
    recorded = world.Recorded()
    peers = [BETA, Peer("gamma.example")]
    octets = build("S[review](E(S(OC)))")
    site = world.acme_site(record=recorded, peers=peers, outbound={"encrypt": "no"})
    assert len(send(octets, "bob@beta.example", GAMMA, at=site).outgoing) == 2
    (stripped,) = recorded.of("stripped")
    (layer,) = stripped.layers
    assert (layer.layer, layer.roles, layer.signers) == ("1", ("review",), ("CN=review-authority",))
    assert layer.certificates == (acme().review.certificate.sha256,)
    assert "idAaSignatureType" in layer.attributes


# --- the border -----------------------------------------------------------------------------------------------------


def guarded(**more: object) -> Site:
    """acme, whose reviewer has to see what leaves for beta."""
    who = KnownSigners(frozenset({acme().review.certificate.sha256}))
    asked = Boundaries(("acme.example",), reviews=((("beta.example",), Reviewing(1, who)),))
    return dataclasses.replace(world.acme_site(**more), boundaries=asked)


@pytest.mark.requirement("R3183-2.2-01", "R3183-3.4-02")
def test_what_was_not_reviewed_is_held_as_it_came() -> None:
    octets = build("S(OC)")
    decision = send(octets, at=guarded())
    assert held(decision) == ("gate.review", "review.missing")
    assert decision.held[0].octets == octets
    (group,) = decision.log["groups"]  # type: ignore[misc, attr-defined]
    assert group["boundary"] == ["review.missing: 0 of 1 reviews by those who may review for beta.example"]
    assert held(send(build("S[attributes](S(OC))"), at=guarded())) == ("gate.review", "review.missing")
    assert rejected(send(octets, at=guarded(outbound={"on_boundary": "reject"}))) == (550, "5.7.1")


@pytest.mark.requirement("R3183-2.2-01", "R3183-3.4-02", "R3183-3.4-05")
def test_what_was_reviewed_leaves_and_the_audit_trail_names_the_reviewer() -> None:
    recorded = world.Recorded()
    out = only(send(build("S[review](S(OC))"), at=guarded(record=recorded, outbound={"encrypt": "no"})))
    assert judge(out).structure == "S[domain](S[review](S[originator](OC)))"
    (passage,) = recorded.of("passage")
    assert passage.destination == "beta.example"
    assert [review.sha256 for review in passage.reviews] == [acme().review.certificate.sha256]
    assert [event for event, _ in recorded.entries] == ["passage", "grant"]


@pytest.mark.requirement("R3183-3.4-02")
def test_a_review_counts_although_section_5_takes_it_off() -> None:
    """Decisions A-33: checked before, kept in the audit trail, and no way to keep the signature itself."""
    recorded = world.Recorded()
    at = guarded(record=recorded, outbound={"encrypt": "no"})
    out = only(send(build("S[review](E(S(OC)))"), at=at))
    assert judge(out).structure == "S[domain](S[originator](OC))"
    assert [event for event, _ in recorded.entries] == ["passage", "grant", "stripped"]


@pytest.mark.requirement("R3183-3.4-02")
def test_each_destination_has_its_own_border() -> None:
    peers = [BETA, Peer("gamma.example", encrypt="no")]
    decision = send(build("S(OC)"), "bob@beta.example", GAMMA, "eve@acme.example", at=guarded(peers=peers))
    assert [hold.indexes for hold in decision.held] == [(0,)]
    assert sorted(index for out in decision.outgoing for index in out.indexes) == [1, 2]


def test_a_passage_that_cannot_be_recorded_lets_nothing_out() -> None:
    def broken(event: str, transaction: str, entry: object) -> None:
        raise StoreUnavailable("disk full")

    assert rejected(send(build("S[review](S(OC))"), at=guarded(record=broken))) == (451, "4.3.0")


def test_labels_are_asked_for_at_the_border() -> None:
    asked = Boundaries(("acme.example",), labels=((("*",), LabelRule(required=True)),))
    at = dataclasses.replace(world.acme_site(), boundaries=asked)
    assert held(send(build("S(OC)"), at=at)) == ("gate.label", "label.missing")
    labelled = world.message(world.signed(world.TEXT, acme().users["alice"], extra=[LABEL]))
    assert send(labelled, at=at).outgoing
    assert send(build("S(OC)"), "eve@acme.example", at=at).outgoing  # it does not leave


@pytest.mark.requirement("R3183-3.1.1-20")
def test_an_agreed_signature_in_the_clear_goes_from_gateway_to_gateway() -> None:
    agreed = Peer("beta.example", encrypt="no", clear_unsigned=True)
    octets = world.only(world.send(world.build("OC"), at=world.acme_site(peers=(agreed,))))
    assert b"multipart/signed" in octets
    assert world.look(octets).verdict.structure == "S[domain](OC)"
    inbound = world.beta_site(peers=(Peer("acme.example", clear_unsigned=True),))
    assert b"policy.domsec=domain" in world.only(world.receive(octets, at=inbound))
    assert world.receive(octets).held[0].reasons == ("encapsulation.missing",)


def test_without_an_agreement_the_signature_is_never_in_the_clear() -> None:
    octets = world.only(world.send(world.build("OC"), at=world.acme_site(peers=(Peer("beta.example", encrypt="no"),))))
    assert world.look(octets).verdict.structure == "S[domain](S0(OC))"


def test_a_person_in_a_domain_with_a_gateway_gets_a_cipher_that_mail_programs_read() -> None:
    bob = world.beta().users["bob"].certificate
    at = world.acme_site(peers=(Peer("beta.example", encrypt="recipient"),), known=(bob,))
    octets = world.only(world.send(world.build("OC"), at=at))
    assert world.look(octets).verdict.layers[0].kind == "enveloped"


# --- to people without a gateway ------------------------------------------------------------------------------------

PEOPLE = Peer("beta.example", domsec=False, sign=True, clear_unsigned=True)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("message", "inside"), [("OC", "S[domain](OC)"), ("S(OC)", "S[originator](OC)"), ("S~(OC)", "S[originator](OC)")]
)
def test_people_get_one_signature_in_a_form_that_mail_programs_read(message: str, inside: str, known: bool) -> None:
    """interop-notes 4: of two signatures, of a null layer and of GCM Thunderbird shows nothing."""
    bob = world.beta().users["bob"].certificate
    at = world.acme_site(peers=(PEOPLE,), known=(bob,) if known else ())
    decision = send(build(message), at=at)
    octets = only(decision)
    verdict = judge(octets)
    assert verdict.structure == (f"E({inside})" if known else inside)
    (group,) = decision.log["groups"]
    told = verdict.structure if message == "OC" else "E(...)" if known else "as it was"
    assert group["made"] == told
    if known:
        encryption = verdict.layers[0].encryption
        assert encryption is not None
        assert not encryption.authenticated
    else:
        assert (b"multipart/signed" in octets) is (message != "S(OC)")


def test_for_people_too_the_gate_has_to_open() -> None:
    at = world.acme_site(peers=(PEOPLE,), outbound={"sign": "required"})
    for message in ("OC", "S(OC)"):
        decision = send(build(message, sender="bob@acme.example"), at=at, client="192.0.2.1")
        assert "gate.originator" in held(decision)


def test_an_authority_gets_the_form_of_the_rfc_whatever_was_agreed_for_the_clear() -> None:
    octets = only(send(build("OC"), at=world.acme_site(peers=(Peer("beta.example", clear_unsigned=True),))))
    assert judge(octets).structure == "E(S[domain](S0(OC)))"


# --- how strongly ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R8551-2.7.1-01", "R8551-2.7.1-02")
@pytest.mark.parametrize("stated", [oids.RC2_CBC, oids.DES_EDE3_CBC, oids.AES256_GCM])
def test_what_a_message_says_of_its_senders_program_changes_nothing(stated: str) -> None:
    """Capabilities are taken from certificates. A list in a message, new or replayed, would be anybody's to choose."""
    bob = world.beta().users["bob"]
    at = world.acme_site(peers=(Peer("beta.example", encrypt="recipient"),), known=(bob.certificate,))
    before = judge(only(send(build("OC"), at=at))).layers[0].encryption
    layer = world.signed(world.TEXT, bob, extra=[attributes.smime_capabilities([algorithm_identifier(stated)])])
    brought = world.message(layer, sender="bob@beta.example", to="alice@acme.example")
    given = world.transaction(brought, "alice@acme.example", direction="inbound", sender="bob@beta.example")
    assert len(world.decide(given, at).outgoing) == 1
    after = judge(only(send(build("OC"), at=at))).layers[0].encryption
    assert before is not None
    assert after is not None
    assert (after.cipher, after.authenticated) == (before.cipher, before.authenticated) == ("aes256Cbc", False)


@pytest.mark.requirement("R8551-2.7.3-01")
def test_recipients_of_one_domain_get_one_copy_that_all_of_them_read() -> None:
    """One of them reads GCM, the other says nothing: two copies would be as strong as the weaker one."""
    told, silent = _person("told@beta.example", oids.AES256_GCM), _person("silent@beta.example")
    at = world.acme_site(peers=(Peer("beta.example", encrypt="recipient"),), known=(told, silent))
    both = ("told@beta.example", "silent@beta.example")
    octets = only(send(build("OC", to=", ".join(both)), *both, at=at))
    [encryption] = [layer.encryption for layer in judge(octets).layers[:1]]
    assert encryption is not None
    assert (encryption.cipher, len(encryption.recipients)) == ("aes256Cbc", 2)
    [alone] = [layer.encryption for layer in judge(only(send(build("OC"), both[0], at=at))).layers[:1]]
    assert alone is not None
    assert alone.cipher == "aes256Gcm"


@pytest.mark.requirement("R8551-2.7.3-01", "R8551-2.7.1-02")
def test_no_cipher_that_can_be_agreed_on_or_made_is_weak() -> None:
    """So whatever different domains have agreed, no copy of a message is weakly encrypted."""
    strong = {f"aes{bits}-{mode}" for bits in (128, 192, 256) for mode in ("gcm", "cbc")}
    assert set(get_args(peer.CipherName)) <= strong
    assert set(get_args(encrypted_content.CipherName)) == strong


def _person(address: str, *capabilities: str) -> Certificate:
    """Somebody whose certificate states what their program reads (RFC 4262)."""
    listed = der.sequence(*(der.sequence(der.oid(oid)) for oid in capabilities))
    stated = x509.UnrecognizedExtension(x509.ObjectIdentifier(oids.SMIME_CAPABILITIES), listed)
    ca, key = beta().ca, issue.new_key("p256")
    return issue.issue(
        "user", address, key.public_key(), ca.certificate, ca.signing_key,
        now=pki.START, days=300, extensions=[(stated, False)] if capabilities else [],
    )  # fmt: skip


# --- header fields inside (decisions A-22, RFC 9788, RFC 8551 3.1) ---------------------------------------------------


HIDING = Peer("beta.example", header_confidentiality="baseline")
WRAPPING = Peer("beta.example", wrap_rfc822=True)


def _subject(octets: bytes) -> str:
    field = fields.split_message(octets)[0].first("subject")
    return field.value if field else ""


@pytest.mark.requirement("R9788-4-01")
@pytest.mark.parametrize("notation", ["OC", "S(OC)", "E[acme](S(OC))"])
def test_a_subject_is_hidden_where_that_was_agreed_and_where_the_text_is_ours_to_wrap(notation: str) -> None:
    sent = only(send(build(notation), at=world.acme_site(peers=[HIDING])))
    assert _subject(sent) == ("[...]" if notation == "OC" else "plans")
    assert (b"plans" in sent) is (notation != "OC")
    verdict = judge(sent, world.context(beta().confidentiality))
    assert verdict.accepted
    assert not {"header.outer_inner_differ", "from.outer_inner_differ"} & world.codes(verdict)
    assert notation != "OC" or "subject" in (verdict.headers or ())


@pytest.mark.requirement("R9788-4-01")
def test_the_gateway_that_takes_the_encryption_off_puts_the_subject_back() -> None:
    sent = only(send(build("OC"), at=world.acme_site(peers=[HIDING])))
    got = only(receive(sent))
    assert _subject(got) == "plans"
    assert b"HP-Outer" not in got.partition(b"\r\n\r\n")[0]
    for strip in ("domain", "none"):
        assert _subject(only(receive(sent, at=world.beta_site(inbound={"strip": strip})))) == "plans"


def test_what_is_encrypted_again_for_a_person_keeps_its_subject_hidden() -> None:
    sent = only(send(build("OC"), at=world.acme_site(peers=[HIDING])))
    bob = beta().users["bob"]
    options = {"inbound": {"after_decrypt": "user"}, "known": (bob.certificate,)}
    got = only(receive(sent, at=world.beta_site(**options)))
    assert _subject(got) == "[...]"
    assert b"plans" not in got


@pytest.mark.parametrize(
    "agreed", [Peer("beta.example"), Peer("beta.example", encrypt="no", header_confidentiality="baseline")]
)
def test_nothing_is_hidden_without_agreement_or_encryption(agreed: Peer) -> None:
    assert _subject(only(send(build("OC"), at=world.acme_site(peers=[agreed])))) == "plans"


def test_the_general_policy_hides_too_and_an_agreement_goes_before_it() -> None:
    everybody = {"header_confidentiality": "baseline"}
    assert _subject(only(send(build("OC"), at=world.acme_site(outbound=everybody)))) == "[...]"
    agreed = Peer("beta.example", header_confidentiality="none")
    assert _subject(only(send(build("OC"), at=world.acme_site(outbound=everybody, peers=[agreed])))) == "plans"
    without = {**everybody, "protect_headers": False}
    assert _subject(only(send(build("OC"), at=world.acme_site(outbound=without)))) == "plans"


def test_a_subject_is_hidden_in_what_is_encrypted_without_our_signature() -> None:
    agreed = Peer("beta.example", sign=False, encrypt="dca", header_confidentiality="baseline")
    sent = only(send(build("OC"), at=world.acme_site(peers=[agreed])))
    assert (_subject(sent), b"plans" in sent) == ("[...]", False)
    spine = peel(sent, [world.credential(beta().confidentiality)]).spine()
    assert [layer.kind for layer in spine] == ["auth_enveloped", "content"]
    assert spine[-1].protected is not None
    assert [field.name for field in spine[-1].protected.hidden] == ["subject"]


@pytest.mark.requirement("R8551-3.1-01")
def test_a_whole_message_is_wrapped_where_that_was_agreed() -> None:
    sent = only(send(build("OC"), at=world.acme_site(peers=[WRAPPING])))
    verdict = judge(sent, world.context(beta().confidentiality))
    assert verdict.structure == "E(S[domain](S0(M(OC))))"
    assert verdict.accepted
    assert set(verdict.headers or ()) == {"from", "to", "subject", "date", "message-id"}
    got = only(receive(sent))
    assert judge(got, world.context()).structure == "OC"
    assert _subject(got) == "plans"
    hidden = dataclasses.replace(WRAPPING, header_confidentiality="baseline")
    sent = only(send(build("OC"), at=world.acme_site(peers=[hidden])))
    assert _subject(sent) == "[...]"
    assert world.codes(judge(sent, world.context(beta().confidentiality)), "warning") == set()
    assert _subject(only(receive(sent))) == "plans"


@pytest.mark.requirement("R9788-4-01")
def test_the_text_that_repeats_hidden_fields_is_delivered_as_it_came() -> None:
    """RFC 9788 5.2: a Legacy Display element is for who does not know of hp, as the mail program behind us does not."""
    text = (
        b"Subject: plans\r\nHP-Outer: Subject: [...]\r\n"
        b'Content-Type: text/plain; charset=us-ascii; hp-legacy-display="1"; hp="cipher"\r\n\r\n'
        b"Subject: plans\r\n\r\nattack at dawn\r\n"
    )
    signed = world.signed(null_layer(text), acme().signing, extra=[world.typed(SignatureType.DOMAIN)])
    got = only(receive(world.message(world.encrypted(signed, beta().confidentiality), subject="[...]")))
    assert _subject(got) == "plans"
    assert got.endswith(b"\r\n\r\nSubject: plans\r\n\r\nattack at dawn\r\n")


@pytest.mark.requirement("R9788-4-01")
@pytest.mark.parametrize("form", ["clear", "cipher", "rfc822"])
def test_a_changed_field_outside_is_a_warning_and_a_changed_from_a_violation(form: str) -> None:
    agreed = {"clear": BETA, "cipher": HIDING, "rfc822": WRAPPING}[form]
    sent = only(send(build("OC"), at=world.acme_site(peers=[agreed])))
    at = world.context(beta().confidentiality)
    verdict = judge(sent.replace(b"Subject: ", b"Subject: [list] "), at)
    assert world.codes(verdict, "warning") >= {"header.outer_inner_differ"}
    assert verdict.accepted
    verdict = judge(world.other_from(sent, "carol@acme.example"), at)
    assert "from.outer_inner_differ" in world.codes(verdict, "violation")
    assert not verdict.accepted
