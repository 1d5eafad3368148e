"""RFC 3183 3.2: the gate before a domain signature, and what a domain signature says on reception."""

from __future__ import annotations

from datetime import timedelta

import pytest

import names
import pki
import world
from domsec import oids
from domsec.cms import signed_data
from domsec.cms.signed_data import Signing
from domsec.errors import SigningRefused
from domsec.mime import smime
from domsec.services import sign
from domsec.services.context import Context
from domsec.services.peer import Peer
from domsec.services.sign import Evidence, Grant
from domsec.services.signature_type import SignatureType
from domsec.trust import issue
from world import acme, beta, build, judge

EVIDENCE = (Evidence("network", "192.0.2.7", domains=frozenset({"acme.example"})),)
NONE: tuple[Evidence, ...] = ()


def gate(octets: bytes, evidence: tuple[Evidence, ...] = EVIDENCE, at: Context | None = None, **more: object) -> Grant:
    at = at or world.context(acme().confidentiality)
    return sign.gate(world.look(octets, at), acme().signing.certificate, evidence, at, **more)  # type: ignore[arg-type]


def refusal(
    octets: bytes, evidence: tuple[Evidence, ...] = EVIDENCE, at: Context | None = None, **more: object
) -> set[str]:
    """The reasons, none if the gate opens."""
    try:
        gate(octets, evidence, at, **more)
    except SigningRefused as refused:
        assert refused.reasons
        return {code for code, _ in refused.reasons}
    return set()


FROM_TWO = "alice@acme.example, bob@acme.example"


@pytest.mark.requirement(
    "R3183-3.2-03", "R3183-3.2-04", "R3183-3.2-05", "R3183-3.2-06", "R3183-3.2-09", "R3183-3.2-10", "R3183-5.1-01"
)
@pytest.mark.parametrize(
    ("octets", "evidence", "expected"),
    [
        pytest.param(build("OC"), EVIDENCE, set(), id="evidence from the session"),
        pytest.param(build("OC"), NONE, {"gate.originator"}, id="nothing shows who sent it"),
        pytest.param(build("S(OC)"), NONE, set(), id="the originator's signature"),
        pytest.param(build("S~(OC)"), NONE, set(), id="in the clear"),
        pytest.param(build("E(S(OC))"), NONE, set(), id="inside encryption for us"),
        pytest.param(build("S(S(S(OC)))"), NONE, set(), id="several"),
        pytest.param(build("S0(OC)"), EVIDENCE, set(), id="the empty signature is no broken one"),
        pytest.param(build("S0(OC)"), NONE, {"gate.originator"}, id="and no evidence"),
        pytest.param(build("E(OC)"), NONE, {"gate.originator"}, id="nor is encryption"),
        pytest.param(build("S(OC)", sender="bob@acme.example"), NONE, {"gate.originator", "gate.originator_conflict"},
                     id="signed by somebody else"),
        pytest.param(build("S(OC)", sender="bob@acme.example"), EVIDENCE, {"gate.originator_conflict"},
                     id="evidence does not override the signature"),
        pytest.param(build("S(OC)", sender=FROM_TWO), NONE, {"gate.originator"}, id="two in From, one signed"),
        pytest.param(build("S(OC)", sender=FROM_TWO), EVIDENCE, set(), id="two in From, evidence for the other"),
        pytest.param(build("S[evil](OC)"), EVIDENCE, {"gate.invalid_signature"}, id="issuer unknown"),
        pytest.param(build("S(S[evil](OC))"), EVIDENCE, {"gate.invalid_signature"}, id="inside a good one"),
        pytest.param(build("E(S[evil](OC))"), EVIDENCE, {"gate.invalid_signature"}, id="inside encryption"),
        pytest.param(build("S[evil](S0(OC))"), EVIDENCE, {"gate.invalid_signature"}, id="around the empty one"),
        pytest.param(build("C(S[evil](OC))"), EVIDENCE, {"gate.invalid_signature"}, id="inside compression"),
        pytest.param(build("X(OC)"), EVIDENCE, {"gate.undecryptable"}, id="encrypted to somebody else"),
        pytest.param(build("S(X(S(OC)))"), EVIDENCE, {"gate.undecryptable"}, id="closed inside"),
        pytest.param(build("OC", sender="carol@beta.example"), EVIDENCE, {"gate.not_our_domain", "gate.originator"},
                     id="not of our domain"),
        pytest.param(build("OC", sender="alice@acme.example, carol@beta.example"), EVIDENCE,
                     {"gate.not_our_domain", "gate.originator"}, id="one of two is not"),
        pytest.param(build("OC", sender=""), EVIDENCE, {"gate.from"}, id="no From"),
        pytest.param(build("OC", sender="friends: alice@acme.example;"), EVIDENCE, {"gate.from"}, id="a group"),
        pytest.param(b"From: bob@acme.example\r\n" + build("S(OC)"), EVIDENCE, {"gate.from"}, id="two From fields"),
        pytest.param(build("S[domain](S(OC))"), NONE, set(), id="already signed for the domain"),
        pytest.param(build("S[review](OC)"), EVIDENCE, {"gate.malformed"}, id="a review of nothing signed"),
    ],
)  # fmt: skip
def test_gate(octets: bytes, evidence: tuple[Evidence, ...], expected: set[str]) -> None:
    assert refusal(octets, evidence) == expected


@pytest.mark.requirement("R3183-3.2-10", "R3183-5.1-01")
@pytest.mark.parametrize(
    ("who", "role", "expected"),
    [
        pytest.param(lambda: beta().signing, "domain", "gate.mapping", id="another domain's authority"),
        pytest.param(lambda: acme().review, "domain", "gate.naming", id="a reviewer's key"),
        pytest.param(lambda: acme().users["bob"], "review", "gate.naming", id="a person's key"),
        pytest.param(lambda: beta().review, "review", None, id="a reviewer elsewhere"),
    ],
)
def test_gate_holds_other_authorities_to_their_names(who: object, role: str, expected: str | None) -> None:
    signer = who()  # type: ignore[operator]
    entity = world.signed(world.entity("S(OC)"), signer, extra=[world.typed(SignatureType(role))])
    assert refusal(world.message(entity)) == ({expected} if expected else set())


@pytest.mark.requirement("R3183-3.2-06", "R3183-3.2-10")
def test_gate_refuses_each_kind_of_broken_signature() -> None:
    alice = acme().users["alice"]
    whole = build("S~(OC)")
    expired = world.context(now=world.NOW + timedelta(days=400))
    crl = issue.issue_crl(
        acme().ca.certificate, acme().ca.signing_key, [alice.certificate.serial], now=world.NOW, days=9
    )
    assert refusal(whole) == set()
    assert refusal(whole.replace(b"dawn", b"dusk")) == {"gate.invalid_signature"}
    assert "gate.invalid_signature" in refusal(whole, at=expired)
    assert refusal(whole, at=world.context(crls=[crl])) == {"gate.invalid_signature"}
    assert refusal(whole, at=world.context(revocation="hard")) == {"gate.invalid_signature"}
    assert refusal(whole.replace(b"-----", b"------").replace(b"MII", b"MI!", 1)) != set()


@pytest.mark.requirement("R3183-3.2-06")
def test_gate_wants_every_signer_of_a_layer_valid() -> None:
    signers = (acme().users["alice"], world.stranger_user())
    signings = tuple(Signing(world.credential(i), signing_time=world.NOW) for i in signers)
    octets = signed_data.sign(world.TEXT, oids.ID_DATA, signings)
    assert refusal(world.message(smime.pkcs7_mime(octets, "signed-data"))) == {"gate.invalid_signature"}


@pytest.mark.requirement("R3183-3.2-03", "R3183-3.1.1-22")
@pytest.mark.parametrize(
    ("evidence", "allowed"),
    [
        (Evidence("login", "alice", addresses=frozenset({"alice@acme.example"})), True),
        (Evidence("login", "alice", addresses=frozenset({"ALICE@Acme.example"})), True),
        (Evidence("login", "bob", addresses=frozenset({"bob@acme.example"})), False),
        (Evidence("network", "x", domains=frozenset({"acme.example"})), True),
        (Evidence("network", "x", domains=frozenset({"example"})), True),
        (Evidence("network", "x", domains=frozenset({"sub.acme.example"})), False),
        (Evidence("network", "x", domains=frozenset({"me.example"})), False),
        (Evidence("network", "x"), False),
    ],
)
def test_evidence_speaks_for_whom_it_names(evidence: Evidence, allowed: bool) -> None:
    assert refusal(build("OC"), (evidence,)) == (set() if allowed else {"gate.originator"})


def test_evidence_is_needed_for_every_mailbox() -> None:
    alice = Evidence("login", "alice", addresses=frozenset({"alice@acme.example"}))
    bob = Evidence("login", "bob", addresses=frozenset({"bob@acme.example"}))
    assert refusal(build("OC", sender=FROM_TWO), (alice,)) == {"gate.originator"}
    assert gate(build("OC", sender=FROM_TWO), (alice, bob)).evidence == ("login alice", "login bob")


def test_a_grant_says_on_what_it_rests() -> None:
    grant = gate(build("S(E(S(OC)))"), NONE)
    assert grant.originators == ("alice@acme.example",)
    assert grant.layers == ("1", "1.1.1")
    assert grant.evidence == ("signature of layer 1.1.1",)
    assert grant.structure == "S[unspecified](E(S[originator](OC)))"
    assert grant.at == world.NOW


def test_a_refusal_has_every_reason() -> None:
    found = refusal(build("S(X(S(OC)))", sender="carol@beta.example"), NONE)
    assert found >= {"gate.undecryptable", "gate.not_our_domain", "gate.originator"}


@pytest.mark.requirement("R3183-3.2-10")
def test_gate_refuses_a_protected_from_that_is_somebody_else() -> None:
    """Else alice could have the domain sign what programs that show protected fields take for mail of bob."""
    inner = b'Content-Type: text/plain; hp="clear"\r\nFrom: bob@acme.example\r\n\r\nhello\r\n'
    signed = world.signed(inner, acme().users["alice"])
    assert "gate.from" in refusal(world.message(signed))
    same = world.signed(inner.replace(b"bob@", b"alice@"), acme().users["alice"])
    assert refusal(world.message(same)) == set()


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("Content-Type: text/plain\r\nContent-Type: text/html\r\n", "mime.duplicate_header"),
        ('Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary=b\r\n', "mime.parts"),
    ],
)
def test_gate_refuses_mime_that_can_be_read_in_two_ways(head: str, code: str) -> None:
    octets = world.message(head.encode() + b"\r\n--b\r\n\r\nhello\r\n--b--\r\n")
    with pytest.raises(SigningRefused, match=rf"gate\.malformed: .*{code}"):
        gate(octets)


@pytest.mark.requirement("R3183-3.2-16", "R3183-5.1-02")
def test_an_agreed_domain_signature_may_end_validation() -> None:
    octets = build("S[domain](S[evil](OC))")
    trusted = frozenset({"acme.example"})
    assert refusal(octets) == {"gate.invalid_signature"}
    assert refusal(octets, trust_domain_signature=trusted) == set()
    assert refusal(octets, trust_domain_signature=frozenset({"beta.example"})) == {"gate.invalid_signature"}
    forged = world.signed(world.entity("S[evil](OC)"), acme().users["bob"], extra=[world.typed(SignatureType.DOMAIN)])
    assert "gate.naming" in refusal(world.message(forged), trust_domain_signature=trusted)
    assert "gate.invalid_signature" in refusal(world.message(forged), trust_domain_signature=trusted)


@pytest.mark.requirement("R3183-3.2-08")
def test_gate_refuses_an_authority_that_has_run_out() -> None:
    later = world.context(now=world.NOW + timedelta(days=400))
    assert "gate.authority" in refusal(build("OC"), at=later)
    ours, second = acme().signing.certificate, timedelta(seconds=1)
    for now, valid in ((ours.not_before, True), (ours.not_after, True), (ours.not_before - second, False),
                       (ours.not_after + second, False)):  # fmt: skip
        assert (sign.authority_problems(ours, "domain-signing-authority", "strict", now) == []) is valid


@pytest.mark.requirement("R3183-3.2-08", "R3183-3.2-01")
def test_our_own_certificate_may_follow_the_mailbox_convention_where_that_is_said() -> None:
    ca = acme().ca
    named = pki.identity("user", "domain-signing-authority@acme.example", ca)  # CN is the address
    at = world.context()
    examination = world.look(build("OC"), at)
    with pytest.raises(SigningRefused, match=r"gate\.authority"):
        sign.gate(examination, named.certificate, EVIDENCE, at)
    assert sign.gate(examination, named.certificate, EVIDENCE, at, naming="mailbox")


# --- reception ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement(
    "R3183-3.2-02", "R3183-3.2-11", "R3183-3.2-13", "R3183-3.2-14", "R3183-3.2-15", "R3183-3.2-16", "R3183-3.1-01"
)
@pytest.mark.parametrize(
    ("notation", "level", "originator"),
    [
        pytest.param("S[domain](S0(OC))", "domain", None, id="nobody signed: only the domain is known"),
        pytest.param("S[domain](S(OC))", "originator_direct", "certificate", id="both can be verified"),
        pytest.param("S[domain](S[evil](OC))", "originator_vouched", "certificate", id="the domain vouches"),
        pytest.param("S[domain](S[bob](OC))", "domain", "stated_by_domain", id="signed by another of the domain"),
        pytest.param("S[evil](OC)", "none", None, id="nobody vouches"),
        pytest.param("S(OC)", "originator_direct", "certificate", id="no domain signature"),
    ],
)  # fmt: skip
def test_what_is_known_of_the_originator(notation: str, level: str, originator: str | None) -> None:
    verdict = judge(build(notation))
    assert verdict.level == level
    assert (verdict.originator.source if verdict.originator else None) == originator
    assert verdict.accepted is (level != "none")
    assert verdict.domain == ("acme.example" if "domain" in notation else None)


@pytest.mark.requirement("R3183-3.2-16", "R3183-3.2-15")
def test_a_broken_signature_below_a_domain_signature_is_reported_and_proves_nobody() -> None:
    inner = build("S~(OC)").partition(b"MIME-Version: 1.0\r\n")[2].replace(b"dawn", b"dusk")
    over = world.signed(inner, acme().signing, extra=[world.typed(SignatureType.DOMAIN)])
    verdict = judge(world.message(over))
    assert (verdict.accepted, verdict.level, verdict.originator) == (True, "domain", None)
    assert "inner.invalid" in world.codes(verdict, "warning")


@pytest.mark.requirement("R3183-3.2-14", "R3183-3.2-13")
def test_a_domain_vouches_only_for_names_it_covers() -> None:
    """An originator's certificate from nowhere that names somebody of another domain as well."""
    for others, level in (((), "originator_vouched"), (("mallory@gamma.example",), "domain")):
        certificate = names.certificate("cn=Alice", "alice@acme.example", *others)
        inner = world.signed(world.TEXT, pki.Identity(certificate, names.key()))
        over = world.signed(inner, acme().signing, extra=[world.typed(SignatureType.DOMAIN)])
        assert judge(world.message(over)).level == level


@pytest.mark.requirement("R3183-3.2-14")
def test_a_domain_vouches_as_far_as_was_agreed() -> None:
    """The originator's certificate names him in a domain two below as well: with `max_ascent` 1 that is too far."""
    certificate = names.certificate("cn=Alice", "alice@acme.example", "alice@a.b.acme.example")
    inner = world.signed(world.TEXT, pki.Identity(certificate, names.key()))
    octets = world.message(world.signed(inner, acme().signing, extra=[world.typed(SignatureType.DOMAIN)]))
    agreed = world.context(peers=(Peer(domain="acme.example", max_ascent=1),))
    assert (judge(octets).level, judge(octets, agreed).level) == ("originator_vouched", "domain")


def test_only_domain_signatures_are_told_to_cover_ciphertext() -> None:
    verdict = judge(build("S[review](S[domain](E(S[bob](OC))))"))
    assert [f.layer for f in verdict.flags if f.code == "coverage.ciphertext_only"] == ["1.1"]


@pytest.mark.requirement("R3183-3.2-18")
def test_several_domain_signatures() -> None:
    verdict = judge(build("S[domain](S[domain](S(OC)))"))
    assert verdict.accepted
    assert [layer.roles for layer in verdict.layers[:2]] == [("domain",), ("domain",)]
    over = world.signed(world.entity("S[domain](S(OC))"), beta().signing, extra=[world.typed(SignatureType.DOMAIN)])
    transit = judge(world.message(over))
    assert transit.domain == "acme.example"  # the innermost that maps
    assert transit.level == "originator_direct"
    assert "mapping.mismatch" in world.codes(transit, "violation")


TRANSIT = frozenset({"beta.example"})


def _passed_through_beta(notation: str, *, by: pki.Identity | None = None) -> bytes:
    domain = [world.typed(SignatureType.DOMAIN)]
    return world.message(world.signed(world.entity(notation), by or beta().signing, extra=domain))


@pytest.mark.requirement("R3183-3.2-18")
def test_a_domain_on_the_way_may_sign_where_that_is_known() -> None:
    """Decisions A-59: its layer is information only, whatever it encloses."""
    at = world.context(transit_domains=TRANSIT)
    verdict = judge(_passed_through_beta("S[domain](S0(OC))"), at)
    assert (verdict.accepted, verdict.level, verdict.domain) == (True, "domain", "acme.example")
    assert ("info", "domain.transit", "1") in {(f.severity, f.code, f.layer) for f in verdict.flags}
    alone = judge(_passed_through_beta("S0(OC)"), at)
    assert (alone.accepted, alone.level, alone.domain) == (False, "none", None)
    through = judge(_passed_through_beta("S(OC)"), at)
    assert (through.accepted, through.level, through.domain) == (True, "originator_direct", None)
    closed = judge(_passed_through_beta("X(S(OC))"), at)
    assert (closed.accepted, closed.level) == (False, "none")


def _mistaken(domains: frozenset[str], by: pki.Identity) -> set[str]:
    verdict = judge(_passed_through_beta("S[domain](S0(OC))", by=by), world.context(transit_domains=domains))
    assert not verdict.accepted
    assert "domain.transit" not in world.codes(verdict)
    return world.codes(verdict, "violation")


@pytest.mark.requirement("R3183-3.2-18")
def test_nobody_else_signs_on_the_way_unseen() -> None:
    cas = pki.world().cas
    assert "mapping.mismatch" in _mistaken(frozenset({"gamma.example"}), beta().signing)
    for above in ("example", "mail.beta.example"):  # a domain that is listed is listed, and no other
        assert "mapping.mismatch" in _mistaken(frozenset({above}), beta().signing)
    for name in ("beta.exarnple", "mail.beta.example"):
        assert "mapping.mismatch" in _mistaken(TRANSIT, pki.identity("signing", name, beta().ca))
    untrusted = pki.identity("signing", "beta.example", pki.ca("evil CA"))
    assert untrusted.certificate.issuer not in {ca.subject for ca in cas}
    assert {"mapping.mismatch", "signature.invalid"} <= _mistaken(TRANSIT, untrusted)
    assert {"mapping.mismatch", "naming.cn"} <= _mistaken(TRANSIT, beta().review)


@pytest.mark.requirement("R3183-3.2-18", "R3183-3.1.1-07")
def test_whoever_speaks_for_everybody_is_nobody_on_the_way() -> None:
    """The authority of a top-level domain would cover every originator below it (decisions A-19)."""
    everybody = pki.identity("signing", "example", acme().ca)
    assert "mapping.too_general" in _mistaken(frozenset({"example"}), everybody)


def test_two_domains_in_one_certificate_are_both_to_be_known() -> None:
    certificate = names.certificate(
        "cn=domain-signing-authority", "domain-signing-authority@beta.example", "domain-signing-authority@gamma.example"
    )
    octets = _passed_through_beta("S[domain](S0(OC))", by=pki.Identity(certificate, names.key()))
    roles = [*pki.world().cas, certificate]
    one, both = (
        judge(octets, world.context(roles=roles, transit_domains=domains))
        for domains in (TRANSIT, TRANSIT | {"gamma.example"})
    )
    assert (one.accepted, both.accepted) == (False, True)


@pytest.mark.requirement("R3183-3.2-03")
def test_our_gate_signs_no_mail_that_others_signed_on_its_way() -> None:
    """The list is about what may be believed, not about what we vouch for."""
    at = world.context(transit_domains=TRANSIT)
    with pytest.raises(SigningRefused, match=r"gate\.mapping"):
        sign.gate(world.look(_passed_through_beta("S(OC)"), at), acme().signing.certificate, (), at)


@pytest.mark.requirement("R3183-3.2-11", "R3183-4-09")
@pytest.mark.parametrize(
    ("notation", "level", "violations", "warnings"),
    [
        pytest.param("S[domain](E(OC))", "none", {"encapsulation.missing"}, set(), id="a"),
        pytest.param("S[domain](E(S(OC)))", "originator_direct", set(), set(), id="b"),
        pytest.param("S[domain](X(S(OC)))", "domain", set(), {"coverage.unknown"}, id="c"),
        pytest.param("S[domain](E(S[bob](OC)))", "none", {"coverage.ciphertext_only"}, set(), id="d"),
        pytest.param("S[domain](E(S[evil](OC)))", "originator_vouched", set(), set(), id="e"),
        pytest.param("E(S[domain](S(OC)))", "originator_direct", set(), set(), id="f"),
    ],
)
def test_a_signature_outside_encryption_has_to_be_tied_to_the_text(
    notation: str, level: str, violations: set[str], warnings: set[str]
) -> None:
    verdict = judge(build(notation))
    assert verdict.level == level
    assert violations <= world.codes(verdict, "violation")
    assert warnings <= world.codes(verdict, "warning")
    assert verdict.accepted is not bool(violations)


def test_an_agreement_can_accept_a_domain_signature_over_ciphertext() -> None:
    octets = build("S[domain](E(S[bob](OC)))")
    at = world.context(acme().confidentiality, accept_outer_domain=True)
    assert judge(octets, at).level == "domain"
    assert "coverage.ciphertext_only" in world.codes(judge(octets, at))


@pytest.mark.requirement("R3183-3.1-02")
def test_the_warning_about_the_signer_is_only_silent_where_the_name_is_right() -> None:
    """A signer who is not From is nobody's authority unless type and name say so."""
    right = judge(build("S[domain](S0(OC))"))
    assert right.accepted
    wrong = world.signed(world.entity("S0(OC)"), acme().users["bob"], extra=[world.typed(SignatureType.DOMAIN)])
    verdict = judge(world.message(wrong))
    assert {"naming.cn", "naming.rfc822_local"} <= world.codes(verdict, "violation")
    assert (verdict.accepted, verdict.level) == (False, "none")


@pytest.mark.requirement("R3183-3.2-11")
def test_role_certificates_are_judged_by_the_role_anchors_alone() -> None:
    """A CA that may certify people may not certify authorities (decisions A-25)."""
    octets = build("S[domain](S0(OC))")
    at = world.context(roles=[beta().ca.certificate])
    verdict = judge(octets, at)
    assert verdict.layers[0].state == "untrusted"
    assert (verdict.accepted, verdict.level) == (False, "none")
    at = world.context(users=[beta().ca.certificate])
    assert judge(octets, at).accepted
    assert judge(build("S(OC)"), at).level == "none"


@pytest.mark.requirement("R3183-3.2-02")
def test_headers_are_unprotected_unless_they_are_inside() -> None:
    assert judge(build("S[domain](S(OC))")).headers is None
    octets = world.only(world.send(build("OC")))
    headers = judge(octets).headers
    assert headers is not None
    assert {"from", "to", "subject", "date", "message-id"} <= set(headers)


@pytest.mark.requirement("R3183-3.1.1-22")
def test_a_protected_from_has_to_be_the_outer_one() -> None:
    octets = world.only(world.send(build("OC")))
    assert judge(octets).accepted
    replayed = judge(world.other_from(octets, "bob@acme.example"))
    assert world.codes(replayed, "violation") == {"from.outer_inner_differ"}
    assert not replayed.accepted


def test_sender_is_no_originator() -> None:
    octets = build("S[domain](S0(OC))", sender="carol@beta.example", Sender="alice@acme.example")
    assert judge(octets).level == "none"
    octets = build("S[domain](S0(OC))", Sender="carol@beta.example")
    assert judge(octets).accepted
    assert "sender.mismatch" in world.codes(judge(octets), "warning")
