"""Verdicts: states of signers and layers, and what the verdict has in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

import names
import pki
import world
from domsec import der, oids
from domsec.cms import content_info, signed_data
from domsec.cms.algorithms import SIGNATURES
from domsec.cms.attributes import Attribute, attribute
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import Signing, issuer_and_serial
from domsec.mime import smime
from domsec.services import check, encrypt
from domsec.services.check import Examination
from domsec.services.conclude import authority_domain
from domsec.services.context import Context
from domsec.services.layers import peel
from domsec.services.peer import Peer
from domsec.services.signature_type import SignatureType
from domsec.trust import issue
from world import acme, beta, build, judge

ALICE = "alice@acme.example"


def state(octets: bytes, at: object = None) -> str | None:
    return judge(octets, at).layers[0].state  # type: ignore[arg-type]


@pytest.mark.requirement("R8550-4.2-01", "R8550-6-01", "R8550-4.4.2-01", "R8550-4.4.4-01")
def test_states_of_a_signature() -> None:
    alice = acme().users["alice"]
    octets = build("S~(OC)")
    crl = issue.issue_crl(acme().ca.certificate, acme().ca.signing_key, [alice.certificate.serial],
                          now=world.NOW, days=9)  # fmt: skip
    good = issue.issue_crl(acme().ca.certificate, acme().ca.signing_key, [9], now=world.NOW, days=9)
    for changed, at, expected in (
        (octets, None, "valid"),
        (octets.replace(b"dawn", b"dusk"), None, "invalid"),
        (octets, world.context(users=[]), "untrusted"),
        (octets, world.context(now=world.NOW + timedelta(days=400)), "invalid"),
        (octets, world.context(now=world.NOW - timedelta(days=400)), "invalid"),
        (octets, world.context(crls=[crl]), "invalid"),
        (octets, world.context(crls=[crl], revocation="off"), "valid"),
        (octets, world.context(crls=[good], revocation="hard"), "valid"),
        (octets, world.context(revocation="hard"), "invalid"),
        (build("S[evil](OC)"), None, "untrusted"),
        (world.message(world.signed(world.TEXT, acme().confidentiality)), None, "invalid"),
    ):
        assert state(changed, at) == expected


def bringing(*information: bytes) -> bytes:
    """A message signed by alice with revocation information beside the signature."""
    alice = acme().users["alice"].certificate
    whole = smime.recognise(world.entity("S(OC)"))
    assert isinstance(whole, smime.Pkcs7)
    parsed = signed_data.parse_signed_data(content_info.parse(whole.der).content)
    more = content_info.wrap(
        oids.ID_SIGNED_DATA,
        der.sequence(
            der.integer(5),
            der.set_of([parsed.digest_algorithms[0].raw]),
            der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.octet_string(world.TEXT))),
            der.implicit(0, der.set_of([alice.der])),
            der.implicit(1, der.set_of(information)),
            bytes(whole.der)[bytes(whole.der).index(alice.der) + len(alice.der) :],  # the set of signers
        ),
    )
    return world.message(smime.pkcs7_mime(more, "signed-data"))


def answer(status: ocsp.OCSPCertStatus, signer: pki.Identity) -> bytes:
    """An OCSPResponse about alice as OtherRevocationInfoFormat (RFC 5940 2)."""
    revoked = world.NOW if status is ocsp.OCSPCertStatus.REVOKED else None
    builder = ocsp.OCSPResponseBuilder().add_response(
        acme().users["alice"].certificate.x509, acme().ca.certificate.x509, hashes.SHA256(), status,
        world.NOW - timedelta(hours=1), world.NOW + timedelta(hours=1), revoked, None,
    )  # fmt: skip
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, signer.certificate.x509)
    made = builder.sign(signer.signing_key, hashes.SHA256()).public_bytes(Encoding.DER)
    return der.implicit(1, der.sequence(der.oid(oids.ID_RI_OCSP_RESPONSE), made))


@pytest.mark.requirement("R8550-2.1-01")
def test_revocation_information_in_a_message_counts_if_the_issuer_signed_it() -> None:
    """Whoever sends may leave it out, so without any the mode decides; what the gateway knows goes before."""
    ca, other, alice = acme().ca, beta().ca, acme().users["alice"].certificate

    def listed(*serials: int, by: pki.Identity = ca) -> bytes:
        return issue.issue_crl(by.certificate, by.signing_key, serials, now=world.NOW, days=9)

    good, revoked = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED
    for information, hard, soft in (
        ((), "invalid", "valid"),
        ((listed(9),), "valid", "valid"),
        ((listed(alice.serial),), "invalid", "invalid"),
        ((listed(alice.serial, by=other),), "invalid", "valid"),
        ((answer(good, ca),), "valid", "valid"),
        ((answer(revoked, ca),), "invalid", "invalid"),
        ((answer(revoked, other),), "invalid", "valid"),
        ((answer(good, ca), listed(alice.serial)), "invalid", "invalid"),
        ((b"\x30\x00", der.implicit(1, der.sequence())), "invalid", "valid"),
    ):
        octets = bringing(*information)
        assert state(octets, world.context(revocation="hard")) == hard
        assert state(octets, world.context(revocation="soft")) == soft
    known = world.context(crls=[listed(alice.serial)], revocation="soft")
    assert state(bringing(answer(good, ca)), known) == "invalid"


@pytest.mark.requirement("R8550-2.3-01", "R5652-5.3-03")
def test_a_signer_whose_certificate_is_not_at_hand() -> None:
    """The certificate need not be in the message, but somewhere."""
    alice = acme().users["alice"].certificate
    whole = smime.recognise(world.entity("S(OC)"))
    assert isinstance(whole, smime.Pkcs7)
    parsed = signed_data.parse_signed_data(content_info.parse(whole.der).content)
    bare = content_info.wrap(
        oids.ID_SIGNED_DATA,
        der.sequence(
            der.integer(1),
            der.set_of([parsed.digest_algorithms[0].raw]),
            der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.octet_string(world.TEXT))),
            bytes(whole.der)[bytes(whole.der).index(alice.der) + len(alice.der) :],  # the set of signers
        ),
    )
    octets = world.message(smime.pkcs7_mime(bare, "signed-data"))
    assert state(octets) == "no_certificate"
    assert judge(octets).level == "none"
    assert state(octets, world.context(known=[alice])) == "valid"


@pytest.mark.requirement("R4853-3-01", "R5652-5-01")
def test_each_signer_needs_one_valid_signature() -> None:
    alice, bob = acme().users["alice"], acme().users["bob"]

    def made(*who: pki.Identity) -> bytes:
        signings = tuple(Signing(world.credential(i), signing_time=world.NOW) for i in who)
        return world.message(
            smime.pkcs7_mime(signed_data.sign(world.TEXT, oids.ID_DATA, signings), "signed-data"),
            sender="alice@acme.example, bob@acme.example",
        )

    assert judge(made(alice, bob)).level == "originator_direct"
    assert judge(made(alice)).layers[0].address == "mismatch"  # bob did not sign
    assert state(made(alice, world.stranger_user())) == "untrusted"


def test_an_attribute_from_the_future_is_a_warning() -> None:
    early = world.context(now=world.NOW - timedelta(days=2))
    assert "signing_time.future" in world.codes(judge(build("S(OC)"), early), "warning")
    assert judge(build("S(OC)"), early).accepted


def test_a_signature_without_signed_attributes_is_an_option_for_originators() -> None:
    """For domain authorities it never is: it cannot state its type."""

    def bare(who: pki.Identity) -> bytes:
        algorithm = SIGNATURES[oids.ECDSA_WITH_SHA256, oids.SHA256]
        info = der.sequence(
            der.integer(1),
            issuer_and_serial(who.certificate),
            algorithm.digest.identifier.raw,
            algorithm.identifier.raw,
            der.octet_string(algorithm.sign(who.signing_key, content)),
        )
        return world.with_signers(world.signed(content, who), lambda _: [info])

    content, at = world.entity("S0(OC)"), world.context(allow_no_attributes=True)
    octets = world.message(bare(acme().users["alice"]))
    assert (state(octets), state(octets, at)) == ("invalid", "valid")
    assert judge(octets, at).level == "originator_direct"
    assert judge(world.message(bare(acme().signing)), at).level == "none"


@pytest.mark.requirement("R3183-3.2-12")
def test_the_verdict_has_all_its_keys() -> None:
    for notation in ("OC", "E(S[domain](S~(OC)))", "X(OC)", "S0(OC)", "S[domain](S0(M(OC)))"):
        document = judge(build(notation)).to_json()
        assert json.loads(json.dumps(document)) == document
        assert set(document) == {
            "accepted", "level", "domain", "originator", "from", "headers", "structure", "layers", "reviewed_by",
            "additional_attributes", "labels", "mlh", "embedded", "flags", "decrypted", "ended_at",
        }  # fmt: skip
        for layer in document["layers"]:  # type: ignore[union-attr]
            assert set(layer) == {  # type: ignore[arg-type]
                "id", "kind", "form", "roles", "state", "coverage", "signers", "naming", "mapping", "address",
                "encryption", "expansion_history", "flags",
            }  # fmt: skip


@pytest.mark.parametrize("notation", ["S[domain](S(OC))", "S[domain](S[domain](S(OC)))"])
def test_which_domain_the_verdict_names(notation: str) -> None:
    assert judge(build(notation)).domain == "acme.example"
    below = build(notation, sender="alice@mail.acme.example")
    assert judge(below).domain == "acme.example"


def test_of_several_addresses_the_one_that_covers_is_named() -> None:
    ca = names.certificate(
        "cn=domain-signing-authority",
        "domain-signing-authority@other.example",
        "domain-signing-authority@acme.example",
    )
    identity = pki.Identity(ca, names.key())
    entity = world.signed(world.entity("S0(OC)"), identity, extra=[world.typed(SignatureType.DOMAIN)])
    verdict = judge(world.message(entity), world.context(roles=[ca]))
    assert (verdict.level, verdict.domain) == ("domain", "acme.example")


@pytest.mark.requirement("R3183-3.1.1-21")
def test_names_of_strangers_are_shown_harmlessly() -> None:
    certificate = names.certificate("cn=\x1b[31mred\x07", f"{ALICE}")
    identity = pki.Identity(certificate, names.key())
    entity = world.signed(world.entity("S(OC)"), identity, extra=[world.typed(SignatureType.DOMAIN)])
    shown = json.dumps(judge(world.message(entity)).to_json(), ensure_ascii=False)
    assert "\x1b" not in shown
    assert "\\u001b" not in shown


@pytest.mark.requirement("R3183-3.1.2-12", "R3183-3.1.1-16")
@pytest.mark.parametrize(
    ("signers", "expected"),
    [
        ((acme().signing,), set()),
        ((acme().signing, world.beta().signing), {"mapping.mismatch"}),
        ((world.beta().signing, acme().signing), {"mapping.mismatch"}),
        ((acme().signing, acme().review), {"naming.cn", "naming.rfc822_local"}),
    ],
)
def test_every_signer_of_a_domain_layer_has_to_be_its_authority(
    signers: tuple[pki.Identity, ...], expected: set[str]
) -> None:
    layer = world.signed(world.entity("S(OC)"), *signers, extra=[world.typed(SignatureType.DOMAIN)])
    verdict = judge(world.message(layer))
    assert world.codes(verdict, "violation") == expected
    assert verdict.accepted is not bool(expected)


@pytest.mark.requirement("R3183-3-09")
def test_several_empty_signatures_in_a_row_are_only_odd() -> None:
    verdict = judge(build("S[domain](S0(S0(OC)))"))
    assert verdict.accepted
    assert world.codes(verdict, "warning") == {"null.redundant"}


def test_a_peer_that_signs_all_its_mail_is_held_to_it() -> None:
    expecting = world.context(peers=[Peer("acme.example", expect_signed=True)])
    assert world.codes(judge(build("S(OC)"), expecting), "violation") == {"domain.missing"}
    assert judge(build("S[domain](S(OC))"), expecting).accepted


@pytest.mark.requirement("R3183-3.1.1-20")
def test_a_domain_signature_in_the_clear_is_read_from_who_agreed_to_it() -> None:
    octets = build("S[domain]~(OC)")
    agreed = world.context(peers=[Peer("acme.example", clear_unsigned=True)])
    assert world.codes(judge(octets), "violation") == {"encapsulation.missing"}
    assert judge(octets, agreed).accepted
    assert "naming.convention" in world.codes(judge(octets, agreed), "info")


@pytest.mark.requirement("R3183-3.1.1-22", "R3183-3.1.1-16")
@pytest.mark.parametrize(("bob_of", "covered"), [("acme", True), ("beta", False)])
def test_the_directory_name_of_one_signer_says_nothing_of_another_originator(bob_of: str, covered: bool) -> None:
    """Alice and bob write together and both sign; the authority, o=acme, has no mail address.

    Alice's certificate ties her address to o=acme, bob's ties his to where he is. Which of the two signatures comes
    first is the order of their octets, and it does not matter.
    """
    alice = names.certificate("cn=Alice,o=acme,c=us", "alice@acme.example")
    bob = names.certificate(f"cn=Bob,o={bob_of},c=us", f"bob@{bob_of}.example")
    authority = names.certificate("cn=domain-signing-authority,o=acme,c=us")
    inner = world.signed(world.TEXT, *(pki.Identity(certificate, names.key()) for certificate in (alice, bob)))
    outer = world.signed(inner, pki.Identity(authority, names.key()), extra=[world.typed(SignatureType.DOMAIN)])
    message = world.message(outer, sender=f"alice@acme.example, bob@{bob_of}.example")
    verdict = judge(message, world.context(roles=[authority], users=[alice, bob]))
    uncovered = [f.text for f in verdict.flags if f.code == "mapping.mismatch"]
    assert uncovered == ([] if covered else ["the x500 name of the authority does not cover beta.example"])
    assert verdict.accepted is covered


def _listing(*certificates: Certificate) -> Attribute:
    """signingCertificate, the one of the two that is not made while signing (RFC 2634 5.4)."""
    hashes = (hashlib.sha1(certificate.der).digest() for certificate in certificates)
    listed = der.sequence(der.sequence(*(der.sequence(der.octet_string(digest)) for digest in hashes)))
    return attribute(oids.ID_AA_SIGNING_CERTIFICATE, listed)


def _issuer(name: str) -> pki.Identity:
    """A CA below acme's."""
    ca, key = acme().ca, issue.new_key("p256")
    assert isinstance(key, issue.SigningKey)
    made = issue.issue_ca(name, key, now=pki.START, days=300, issuer_cert=ca.certificate, issuer_key=ca.signing_key)
    return pki.Identity(made, key)


@pytest.mark.requirement("R5035-3-02")
@pytest.mark.parametrize(
    ("listed", "state"), [(("alice",), "valid"), (("alice", "between"), "valid"), (("alice", "other"), "untrusted")]
)
def test_a_signer_limits_by_which_certificates_their_own_is_validated(listed: tuple[str, ...], state: str) -> None:
    between, other = _issuer("between"), _issuer("other")
    alice = pki.identity("user", "alice@acme.example", between, name="Alice")
    named = {"alice": alice.certificate, "between": between.certificate, "other": other.certificate}
    layer = world.signed(
        world.TEXT,
        dataclasses.replace(alice, chain=(between.certificate, other.certificate)),
        extra=[_listing(*(named[one] for one in listed))],
    )
    [signer] = judge(world.message(layer)).layers[0].signers
    assert (signer.crypto, signer.state) == ("valid", state)
    if state == "untrusted":
        assert signer.path_reason == "no path to an anchor by the certificates that the signer lists"


def test_a_conclusion_rests_on_the_best_signatures_of_each_signer() -> None:
    """Of one name: those that are valid, else those whose mathematics hold, else all (threats T-07)."""
    alice, old = acme().users["alice"], pki.identity("user", ALICE, acme().ca, days=3, name="Alice")

    def signed(*who: pki.Identity, broken: int = 0) -> Examination:
        entity = world.signed(world.TEXT, *who)
        spoiled = lambda infos: [i[:-1] + bytes([i[-1] ^ (n < broken)]) for n, i in enumerate(infos)]  # noqa: E731
        return world.look(world.message(world.with_signers(entity, spoiled)))

    both, one, none = signed(alice, old), signed(old, old, broken=1), signed(old, old, broken=2)
    assert [s.certificate for s in both.findings[0].relied_on] == [alice.certificate]
    assert (both.findings[0].state, len(both.findings[0].signers)) == ("valid", 2)
    assert [s.verdict.crypto for s in one.findings[0].relied_on] == ["valid"]
    assert [s.verdict.crypto for s in none.findings[0].relied_on] == ["invalid", "invalid"]


def test_an_address_that_is_none_beside_the_right_one_is_no_hindrance() -> None:
    who = pki.Identity(names.certificate("cn=Alice", "alice at home", ALICE), names.key())
    verdict = judge(world.message(world.signed(world.TEXT, who)), world.context(users=[who.certificate]))
    assert (verdict.layers[0].address, verdict.level) == ("match", "originator_direct")


def test_the_originator_is_named_as_the_certificate_names_her() -> None:
    named = judge(build("S(OC)")).originator
    assert named is not None
    assert (named.name, named.addresses) == ("Alice", (ALICE,))


def test_the_structure_is_what_was_stated_whether_it_may_be_or_not() -> None:
    certificate = names.certificate("cn=x", "x@acme.example")
    entity = world.signed(world.entity("S0(OC)"), pki.Identity(certificate, names.key()), extra=[
        world.typed(SignatureType.DOMAIN)
    ])  # fmt: skip
    verdict = judge(world.message(entity), world.context(roles=[certificate]))
    assert verdict.structure == "S[domain](S0(OC))"
    assert (verdict.layers[0].roles, verdict.accepted) == ((), False)


# --- flags ----------------------------------------------------------------------------------------------------------

CLEAR = Peer("acme.example", clear_unsigned=True)


@pytest.mark.parametrize(
    ("notation", "code", "text"),
    [
        ("E(S[domain](X(S(OC))))", "encapsulation.unknown", "layer 1.1.1 is closed"),
        ("E(S[domain](E(X(OC))))", "encapsulation.unknown", "layer 1.1.1.1 is closed"),  # not the one that was opened
        ("E(S[domain]~(OC))", "naming.convention", "a domain signature in the clear"),
        ("E(S[review](OC))", "encapsulation.missing", "inside is content,"),
        ("E(S0(OC))", "null.uncovered", "around it is layer 1, auth_enveloped"),
        ("E(S[domain](S0(S(OC))))", "null.redundant", "inside is layer 1.1.1.1, signed"),
    ],
)
def test_a_flag_says_which_layer_it_is_about(notation: str, code: str, text: str) -> None:
    octets = build(notation)
    layer = "1.1.1" if code == "null.redundant" else "1.1"
    verdict = judge(octets, world.context(acme().confidentiality, peers=[CLEAR]))
    found = [flag for flag in verdict.flags if flag.code == code]
    assert [flag.layer for flag in found] == [layer]
    assert found[0].text.startswith(text)


@pytest.mark.requirement("R3183-3.2-16")
def test_only_what_is_below_a_domain_signature_that_holds_may_fail_with_a_warning() -> None:
    """What is around it fails as if it were not there; and a role that fails is a violation wherever it is."""

    def broken(notation: str) -> bytes:
        whole = world.entity(notation)
        return world.with_signers(whole, lambda infos: [info[:-1] + bytes([info[-1] ^ 1]) for info in infos])

    def domain(inner: bytes) -> bytes:
        return world.signed(inner, acme().signing, extra=[world.typed(SignatureType.DOMAIN)])

    for entity, code, layer in (
        (broken("S(S[domain](S0(OC)))"), "signature.invalid", "1"),
        (broken("S[review](S[domain](S0(OC)))"), "signature.invalid", "1"),
        (domain(broken("S[review](S0(OC))")), "signature.invalid", "1.1"),
        (domain(broken("S(OC)")), "inner.invalid", "1.1"),
    ):
        told = judge(world.message(entity)).flags
        assert [(f.code, f.layer) for f in told if f.code.endswith("invalid")] == [(code, layer)]


def told(code: str, octets: bytes, at: Context | None = None) -> list[str | None]:
    """The layers that bear a flag."""
    return [flag.layer for flag in judge(octets, at).flags if flag.code == code]


@pytest.mark.parametrize(
    ("notation", "unsigned", "unauthenticated"),
    [
        ("E[beta](OC)", ["1"], ["1"]),
        ("E[beta](S(OC))", [], []),
        ("S(E[beta](OC))", [], ["1.1"]),  # whoever signed outside need not have seen what is inside
        ("S[evil](E[beta](OC))", ["1.1"], ["1.1"]),
        ("S[evil](E[beta](S(OC)))", [], []),
    ],
)
def test_a_cipher_without_a_tag_needs_a_signature_inside(
    notation: str, unsigned: list[str], unauthenticated: list[str]
) -> None:
    octets = build(notation, cipher="aes256-cbc")
    assert told("enc.unsigned", octets) == unsigned
    assert told("enc.unauthenticated", octets) == unauthenticated


@pytest.mark.parametrize(
    ("sender", "flagged"),
    [
        ("bob@acme.example", False),
        ("bob@mail.acme.example", False),  # the authority stands above
        ("bob@example", True),
        ("bob@acme.example, carol@beta.example", True),
        ("nobody in particular", True),
    ],
)
@pytest.mark.parametrize("name", ["Sender", "Resent-From", "Resent-Sender"])
def test_whoever_else_sent_it_from_outside_the_authoritys_domain_is_told(name: str, sender: str, flagged: bool) -> None:
    head = f"{name}: {sender}\r\n".encode()
    verdict = judge(head + build("S[domain](S(OC))", sender="alice@sales.acme.example"))
    assert verdict.level == "domain"
    texts = [flag.text for flag in verdict.flags if flag.code == "sender.mismatch"]
    assert texts == [f"{name} is outside the domain of the authority"] * flagged
    assert not told("sender.mismatch", head + build("S(OC)"))


def test_a_signature_without_what_it_covers_is_invalid() -> None:
    alone = signed_data.sign(
        world.TEXT, oids.ID_DATA, (Signing(world.credential(acme().users["alice"])),), detached=True
    )
    octets = world.message(smime.pkcs7_mime(alone, "signed-data"))
    assert (state(octets), told("cms.no_content", octets)) == ("invalid", ["1"])


def test_a_layer_tells_how_its_names_were_compared_and_what_its_certificate_went_through() -> None:
    domain, inner, _ = judge(build("S[domain](S(OC))")).layers
    assert domain.naming == {"domain": ()}
    assert domain.mapping == {"passed": True, "compared": [["acme.example", "rfc822", "equal"]]}
    assert (inner.naming, inner.mapping) == ({}, None)
    assert [(s.types, s.revocation) for layer in (domain, inner) for s in layer.signers] == [
        (("domain",), "unknown"),
        (None, "unknown"),
    ]
    assert [layer.coverage for layer in judge(build("S[domain](X(S(OC)))")).layers] == ["unknown", None]


def test_around_an_empty_signature_alone_is_nothing() -> None:
    (flag,) = [flag for flag in judge(build("S0(OC)")).flags if flag.code == "null.uncovered"]
    assert (flag.layer, flag.text) == ("1", "around it is nothing")


def test_a_verdict_is_that_of_the_examination() -> None:
    octets, at = build("S[domain](S(OC))"), world.context()
    assert check.verify(peel(octets, (), at.limits), at) == judge(octets, at)


def test_a_person_who_opens_their_own_mail_is_no_authority_with_a_wrong_name() -> None:
    bob = beta().users["bob"]
    to_bob, blind = build("E[bob](S(OC))"), build("E[bob](S(OC))", to="carol@beta.example")
    assert not world.codes(judge(to_bob, world.context(bob)), "warning")
    assert world.codes(judge(blind, world.context(bob)), "warning") >= {"naming.cn"}


@pytest.mark.requirement("R3183-4.1-01")
def test_our_own_authority_is_held_to_the_naming_rule_when_it_opens() -> None:
    own = pki.Identity(names.certificate("cn=x", "domain-confidentiality-authority@beta.example"), names.key())
    person = pki.Identity(names.certificate("cn=x", "carol@beta.example"), names.key())
    for who, severity in ((own, "violation"), (person, "warning")):
        verdict = judge(world.message(world.encrypted(world.entity("S(OC)"), who)), world.context(who))
        [found] = [flag for flag in verdict.flags if flag.code == "naming.cn"]
        assert (found.severity, found.layer) == (severity, "1")
        assert found.text.startswith("the authority that opened it: the common name is x")


def test_an_authority_without_a_mail_name_covers_a_sender_of_the_domain_in_from() -> None:
    octets, authority = of_directory("cn=domain-signing-authority,o=acme,c=us", inner=world.entity("S0(OC)"))
    at = world.context(roles=[authority], peers=[Peer("acme.example", distinguished_name=names.subject("o=acme,c=us"))])
    assert judge(octets, at).level == "domain"
    assert not told("sender.mismatch", b"Sender: bob@acme.example\r\n" + octets, at)
    assert told("sender.mismatch", b"Sender: bob@beta.example\r\n" + octets, at)


# --- directory names of originators (decisions A-16) ----------------------------------------------------------------


def of_directory(subject: str, *addresses: str, inner: bytes = world.TEXT) -> tuple[bytes, Certificate]:
    """A domain signature by an authority of this name."""
    authority = names.certificate(subject, *addresses)
    entity = world.signed(inner, pki.Identity(authority, names.key()), extra=[world.typed(SignatureType.DOMAIN)])
    return world.message(entity), authority


@pytest.mark.requirement("R3183-3.1.1-08", "R3183-3.1.1-22")
@pytest.mark.parametrize(("agreed", "covered"), [("o=acme,c=us", True), ("o=gamma,c=us", False), (None, False)])
def test_the_directory_name_agreed_for_a_mail_domain_stands_for_its_originators(
    agreed: str | None, covered: bool
) -> None:
    octets, authority = of_directory("cn=domain-signing-authority,o=acme,c=us", inner=world.entity("S0(OC)"))
    peer = Peer("acme.example", distinguished_name=names.subject(agreed) if agreed else None)
    verdict = judge(octets, world.context(roles=[authority], peers=[peer]))
    assert (verdict.accepted, verdict.level) == (covered, "domain" if covered else "none")


@pytest.mark.requirement("R3183-3.1.1-07", "R3183-3.1.1-22")
@pytest.mark.parametrize(("organization", "contradicts"), [("acme", False), ("gamma", True)])
def test_the_directory_name_of_another_signer_is_good_for_contradicting_only(
    organization: str, contradicts: bool
) -> None:
    """Carol's signature names nobody in From: what it says of her organization proves nothing of Alice."""
    carol = names.certificate(f"cn=Carol,o={organization},c=us", "carol@acme.example")
    inner = world.signed(world.TEXT, pki.Identity(carol, names.key()))
    name = "cn=domain-signing-authority,o=acme,c=us"
    for addresses, codes in (
        (("domain-signing-authority@acme.example",), {"mapping.mismatch"} if contradicts else set()),
        ((), {"mapping.mismatch"} if contradicts else {"mapping.no_mail_form"}),
    ):
        octets, authority = of_directory(name, *addresses, inner=inner)
        verdict = judge(octets, world.context(roles=[authority], users=[carol]))
        assert world.codes(verdict) & {"mapping.mismatch", "mapping.no_mail_form"} == codes


@pytest.mark.requirement("R3183-4.1-01", "R3183-4.1-02")
@pytest.mark.parametrize(
    ("subject", "address", "code"),
    [
        ("o=acme", "domain-confidentiality-authority@acme.example", "enc_agent.mapping"),  # it has no common name
        ("cn=domain-confidentiality-authority", "x@acme.example", "enc_agent.mapping"),
        ("cn=x", "x@acme.example", "enc_agent.unknown"),
    ],
)
def test_who_encrypted_is_held_to_all_of_the_naming_rule_if_one_name_claims_the_role(
    subject: str, address: str, code: str
) -> None:
    agent = names.certificate(subject, address)
    sealed = encrypt.encrypt(world.TEXT, [beta().confidentiality.certificate], originator=[agent])
    flags = judge(world.message(sealed), world.context(beta().confidentiality)).flags
    [found] = [flag for flag in flags if flag.code.startswith("enc_agent")]
    assert (found.code, found.layer) == (code, "1")
    assert ("none of 1 certificates in originatorInfo" in found.text) is (code == "enc_agent.unknown")


@pytest.mark.requirement("R3183-4.1-02", "R3183-3.1.1-20")
def test_who_encrypted_is_held_to_what_was_agreed_with_the_domain() -> None:
    """By address alone, as the profile "mailbox" has it, and for subdomains only where that was agreed."""
    agent = names.certificate("o=acme", "domain-confidentiality-authority@acme.example")
    sealed = encrypt.encrypt(world.TEXT, [beta().confidentiality.certificate], originator=[agent])

    def told(peer: Peer) -> list[str]:
        octets = world.message(sealed, sender="alice@mail.acme.example")
        verdict = judge(octets, world.context(beta().confidentiality, peers=[peer]))
        return [flag.text for flag in verdict.flags if flag.code == "enc_agent.mapping"]

    assert told(Peer("acme.example")) == ["no common name, expected domain-confidentiality-authority"]
    assert told(Peer("acme.example", naming="mailbox")) == []
    assert len(told(Peer("acme.example", naming="mailbox", max_ascent=0))) == 1


@pytest.mark.requirement("R3183-3.1.1-20", "R3183-3.1.1-16")
@pytest.mark.parametrize(("max_ascent", "accepted"), [(None, True), (1, True), (0, False)])
def test_how_far_above_an_originator_an_authority_may_stand_can_be_agreed(
    max_ascent: int | None, accepted: bool
) -> None:
    octets = build("S[domain](S0(OC))", sender="alice@mail.acme.example")
    at = world.context(peers=[Peer("acme.example", max_ascent=max_ascent)])
    assert judge(octets, at).accepted is accepted


def test_our_own_certificates_need_no_name_of_a_role() -> None:
    """Mail of ours that comes back is judged by what we agreed with ourselves, unless something else was written."""
    own = pki.Identity(names.certificate("cn=secure@acme.example", "secure@acme.example"), names.key())
    entity = world.signed(world.entity("S0(OC)"), own, extra=[world.typed(SignatureType.DOMAIN)])
    octets, at = world.message(entity), world.context(roles=[own.certificate])
    ours = dataclasses.replace(at, own=frozenset([own.certificate]))
    agreed = dataclasses.replace(ours, peers=world.context(peers=[Peer("acme.example")]).peers)
    found = [world.codes(judge(octets, each), "violation") for each in (at, ours, agreed)]
    assert found[0] == {"naming.cn", "naming.rfc822_local"} == found[2]
    assert found[1] == {"naming.rfc822_local"}


@pytest.mark.parametrize(
    ("subject", "addresses", "domain"),
    [
        ("cn=x,o=acme,c=us", ("x@mail.acme.example",), "mail.acme.example"),
        ("cn=x,dc=acme,dc=example", (), "acme.example"),
        ("cn=x,dc=acme,dc=us", ("x@acme.example",), "acme.example"),
        ("cn=x,o=acme", (), "CN=x,O=acme"),
    ],
)
def test_the_domain_of_an_authority_is_told_as_people_write_it(
    subject: str, addresses: tuple[str, ...], domain: str
) -> None:
    assert authority_domain(names.certificate(subject, *addresses)) == domain


def test_a_verdict_as_json_has_the_protected_fields_and_the_attributes() -> None:
    plain, protected = (
        build("S(OC)"),
        world.only(world.send(build("OC"), at=world.acme_site(outbound={"encrypt": "no"}))),
    )
    assert judge(plain).to_json()["headers"] == "unprotected"
    verdict = judge(protected)
    document = verdict.to_json()
    assert verdict.headers
    assert document["headers"] == list(verdict.headers)
    (signer,) = document["layers"][0]["signers"]  # type: ignore[index, call-overload]
    assert signer["attributes"] == dict(verdict.layers[0].signers[0].attributes)  # type: ignore[index, call-overload]
