"""Encryption as octets; finding certificates is in tests/spec/test_section_4.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

import names
import pki
import world
from domsec import der, oids
from domsec.cms.certificates import Certificate
from domsec.errors import CertificateNotFound
from domsec.mime.addresses import Mailbox, parse_address
from domsec.services import encrypt, layers
from domsec.services.encrypt import Cipher, Target
from domsec.services.known_signers import KnownSigners
from domsec.services.peer import Peer
from domsec.trust import issue
from domsec.trust.association import Association
from domsec.trust.discovered import Answer, Found, Question
from domsec.trust.path import AnchorSet
from domsec.trust.source import MemorySource
from world import acme, beta


def opened(entity: bytes, who: str = "beta") -> bytes | None:
    key = (beta() if who == "beta" else acme()).confidentiality
    layer = layers.peel_entity(entity, [world.credential(key)])
    return layer.opened.plaintext if layer.opened else None


@pytest.mark.requirement("R3183-4.2-02", "R3183-4.3-01")
@given(st.binary(max_size=200))
def test_what_is_encrypted_comes_back(content: bytes) -> None:
    made = encrypt.encrypt(content, [beta().confidentiality.certificate])
    assert opened(made) == content
    assert opened(made, "acme") is None


@pytest.mark.requirement("R5084-3.2-01", "R3183-6-03")
def test_keys_are_new_for_every_message() -> None:
    certificate = beta().confidentiality.certificate
    made = {encrypt.encrypt(world.TEXT, [certificate]) for _ in range(5)}
    parsed = [layers.peel_entity(entity).enveloped for entity in made]
    assert len(made) == 5
    assert len({bytes(e.ciphertext or b"") for e in parsed if e}) == 5
    assert len({e.algorithm.parameters for e in parsed if e}) == 5


def test_each_certificate_once() -> None:
    certificates = [beta().confidentiality.certificate, acme().confidentiality.certificate] * 2
    enveloped = layers.peel_entity(encrypt.encrypt(world.TEXT, certificates)).enveloped
    assert enveloped is not None
    assert len(enveloped.recipients) == 2


@pytest.mark.requirement("R8551-3.2.2-01")
@pytest.mark.parametrize(
    ("content", "smime_type"),
    [("aes256-gcm", b"authEnveloped-data"), ("aes128-cbc", b"enveloped-data")],
)
def test_the_smime_type(content: str, smime_type: bytes) -> None:
    made = encrypt.encrypt(world.TEXT, [beta().confidentiality.certificate], Cipher(content))  # type: ignore[arg-type]
    assert b"smime-type=" + smime_type + b";" in made.partition(b"\r\n")[0]


@pytest.mark.requirement("R5652-6.1-01")
def test_our_own_chain_goes_along() -> None:
    chain = (acme().confidentiality.certificate, acme().ca.certificate)
    for content in ("aes256-gcm", "aes256-cbc"):
        made = encrypt.encrypt(world.TEXT, [beta().confidentiality.certificate], Cipher(content), originator=chain)  # type: ignore[arg-type]
        enveloped = layers.peel_entity(made).enveloped
        assert enveloped is not None
        assert set(enveloped.originator_certificates) == set(chain)


@pytest.mark.parametrize(
    ("domain", "asked"), [("gamma.example", 1), ("a.gamma.example", 2), ("localhost", 0), ("[192.0.2.1]", 0)]
)
def test_a_domain_nobody_knows(domain: str, asked: int) -> None:
    """Asked are the domain and those above it, down to two labels."""
    with pytest.raises(CertificateNotFound) as caught:
        encrypt.locate(Mailbox("x", domain), "dca", world.context())
    assert not caught.value.rejected
    assert len(caught.value.trace) == asked
    assert encrypt.find_authority(domain, world.context()) is None


def test_the_authority_of_a_domain_is_found() -> None:
    known: list[Certificate] = [beta().confidentiality.certificate]
    for domain, found in (("beta.example", True), ("mail.beta.example", True), ("acme.example", False)):
        assert (encrypt.find_authority(domain, world.context(known=known)) is not None) is found


def _stating(*oids_: str) -> Certificate:
    """A person's certificate that states capabilities (RFC 4262)."""
    value = der.sequence(*(der.sequence(der.oid(oid)) for oid in oids_))
    ca = beta().ca
    builder = issue._builder(
        ca.certificate.x509.subject, issue.new_key("rsa2048").public_key(), ca.certificate, pki.START, 9, 1
    ).add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oids.SMIME_CAPABILITIES), value), critical=False)
    return issue._signed(builder, ca.signing_key)


@pytest.mark.requirement("R8551-2.7.1-02")
@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ([[]], ("aes256-cbc", "pkcs1v15")),
        ([[oids.AES256_GCM]], ("aes256-gcm", "pkcs1v15")),
        ([[oids.AES128_GCM, oids.RSAES_OAEP]], ("aes128-gcm", "oaep")),
        ([[oids.AES256_GCM, oids.AES128_GCM], [oids.AES128_GCM]], ("aes128-gcm", "pkcs1v15")),
        ([[oids.AES256_GCM, oids.RSAES_OAEP], []], ("aes256-cbc", "pkcs1v15")),
        ([], ("aes256-cbc", "pkcs1v15")),
        ([[oids.DES_EDE3_CBC]], ("aes256-cbc", "pkcs1v15")),  # whoever says no more than that gets no less than AES
        ([[oids.RC2_CBC], [oids.AES256_GCM]], ("aes256-cbc", "pkcs1v15")),
    ],
)
def test_people_get_more_than_the_old_forms_if_all_of_them_say_that_they_read_it(
    stated: list[list[str]], expected: tuple[str, str]
) -> None:
    found = encrypt.for_people(_stating(*one) if one else beta().users["bob"].certificate for one in stated)
    assert (found.content, found.key_transport) == expected


def test_an_authority_that_the_agreement_names_in_a_directory_is_compared_with_that_name() -> None:
    """Decisions A-16: the configured directory name of a domain stands for its people."""
    authority = names.certificate("cn=domain-confidentiality-authority,o=beta,c=us")
    for agreed, problem in (("o=beta,c=us", None), ("ou=x,o=beta,c=us", None), ("o=gamma,c=us", "does not cover")):
        peer = Peer("beta.example", distinguished_name=names.subject(agreed))
        at = world.context(roles=[authority], peers=[peer])
        found = encrypt.authority_problem(authority, "beta.example", at, peer)
        assert found is None if problem is None else problem in (found or "")


# --- what was agreed with the domain --------------------------------------------------------------------------------

DCA = "domain-confidentiality-authority"
BOB = parse_address("bob@beta.example")
AUTHORITY, BOBS = beta().confidentiality.certificate, beta().users["bob"].certificate
ANCHORED = AnchorSet((beta().ca.certificate,))


@pytest.mark.requirement("R3183-4.2-07", "R3183-4.1-07")
@pytest.mark.parametrize(
    ("peer", "whom", "target", "view", "usable"),
    [
        (Peer("beta.example", anchors=ANCHORED), BOB, "dca", {"roles": ()}, True),
        (None, BOB, "dca", {"roles": ()}, False),  # only the agreement knows that CA
        (None, BOB, "dca", {"users": ()}, True),  # an authority is not validated with the anchors of people
        (None, BOB, "recipient", {"users": ()}, False),
        (None, BOB, "recipient", {"roles": ()}, True),
        (Peer("beta.example", revocation="hard"), BOB, "recipient", {}, False),  # there is no CRL
        (Peer("beta.example", revocation="off"), BOB, "recipient", {"revocation": "hard"}, True),
        (Peer("beta.example", max_ascent=0), parse_address("x@sales.beta.example"), "dca", {}, False),
        (Peer("beta.example", max_ascent=1), parse_address("x@sales.beta.example"), "dca", {}, True),
    ],
)
def test_certificates_are_judged_by_what_was_agreed_with_the_domain(
    peer: Peer | None, whom: Mailbox, target: Target, view: dict[str, Any], usable: bool
) -> None:
    at = world.context(peers=[peer] if peer else [], known=[AUTHORITY, BOBS], **view)
    assert encrypt.survey(whom, target, at).complete is usable
    if target == "dca":
        assert (encrypt.find_authority(whom.domain, at) is not None) is usable


@pytest.mark.requirement("R3183-4.2-07")
@pytest.mark.parametrize(("says", "usable"), [(None, True), ("itself", True), ("another", False)])
@pytest.mark.parametrize("target", ["recipient", "dca"])
def test_what_a_domain_says_in_dns_of_an_address_holds_for_who_is_encrypted_to(
    says: str | None, usable: bool, target: Target
) -> None:
    certificate = BOBS if target == "recipient" else AUTHORITY
    question = Question("bob@beta.example") if target == "recipient" else Question.of_authority(DCA, "beta.example")
    spoken_of = {"itself": certificate, "another": acme().ca.certificate}
    answers = {question: (Answer("DNS", "found", associations=(Association.of(spoken_of[says]),)),)} if says else {}
    at = replace(world.context(known=[certificate]), found=Found(answers))
    assert encrypt.survey(BOB, target, at).complete is usable


# --- the search, certificate by certificate -------------------------------------------------------------------------


def outcomes(*known: Certificate, whom: Mailbox = BOB, target: Target = "auto", **more: Any) -> list[tuple[str, str]]:
    located = encrypt.survey(whom, target, world.context(known=known, **more), exhaustive=True)
    return [(one.whose, one.outcome) for one in located.considered]


def test_an_exhaustive_search_says_of_everything_why_it_was_not_used() -> None:
    near = pki.identity("confidentiality", "sales.beta.example", beta().ca).certificate
    carols = pki.identity("user", "carol@sales.beta.example", beta().ca).certificate
    carol = parse_address("carol@sales.beta.example")
    own, nearest, above = (carol.address, f"the authority of {'sales.beta.example'}", "the authority of beta.example")
    assert outcomes(carols, near, AUTHORITY, whom=carol) == [
        (own, f"usable for {own}"),
        (nearest, f"usable for {nearest}, but the recipient's own is wanted"),
        (above, f"usable for {above}, but the recipient's own is wanted"),
    ]
    assert outcomes(carols, near, AUTHORITY, whom=carol, target="dca") == [
        (nearest, f"usable for {nearest}"),
        (own, f"usable for {own}, but an authority is asked for"),
        (above, f"usable for {above}, but a nearer authority is used"),
    ]
    strict = {"peers": [Peer("beta.example", max_ascent=0, revocation="hard")], "roles": (), "revocation": "off"}
    unusable = dict(outcomes(carols, near, AUTHORITY, whom=carol, target="dca", **strict))
    assert "usable" not in " ".join(unusable.values())


def test_of_two_as_new_the_same_one_is_used_everywhere() -> None:
    twins = [AUTHORITY, pki.identity("confidentiality", "beta.example", beta().ca).certificate]
    foreign = pki.identity("confidentiality", "beta.example", pki.ca("nobody's CA")).certificate
    older = pki.identity("confidentiality", "beta.example", beta().ca, now=pki.START - timedelta(days=1)).certificate
    found = encrypt.survey(BOB, "dca", world.context(known=[*twins, foreign, older])).considered
    assert [one.certificate for one in found if one.used] == [max(twins, key=lambda c: c.sha256)]
    why = {one.certificate: one.outcome for one in found}
    assert why[min(twins, key=lambda c: c.sha256)].endswith("but another one is as new and has the higher digest")
    assert why[older].endswith("but another one is newer")
    assert why[foreign].startswith("untrusted")


@pytest.mark.requirement("R3183-4.2-04", "R8551-2.5.3-01")
def test_of_several_the_one_that_its_owner_prefers_comes_first() -> None:
    """Decisions A-43: then the newest. A preference makes nothing usable that is not."""
    older = pki.identity("confidentiality", "beta.example", beta().ca, now=pki.START - timedelta(days=1)).certificate
    foreign = pki.identity("confidentiality", "beta.example", pki.ca("nobody's CA")).certificate

    def found(preferred: Certificate | None) -> tuple[Certificate, dict[Certificate | None, str]]:
        said = {"Domain-Confidentiality-Authority@beta.example": preferred} if preferred else {}
        source = MemorySource([AUTHORITY, older, foreign], said)
        located = encrypt.survey(BOB, "dca", replace(world.context(), source=source))
        (used,) = located.certificates
        return used, {one.certificate: one.outcome for one in located.considered}

    for preferred in (None, AUTHORITY, foreign, acme().confidentiality.certificate):
        assert found(preferred)[0] == AUTHORITY
    used, why = found(older)
    assert used == older
    assert why[AUTHORITY] == "usable for the authority of beta.example, but its owner prefers another one"
    assert found(foreign)[1][older].endswith("but another one is newer")


def test_a_persons_own_certificate_is_none_of_their_domains_authority() -> None:
    """It does not even appear in that search."""
    found = encrypt.survey(BOB, "dca", world.context(known=[BOBS]))
    assert [(one.whose, one.certificate) for one in found.considered] == [("the authority of beta.example", None)]


@pytest.mark.requirement("R3183-4.1-01", "R3183-4.1-02")
@pytest.mark.parametrize(
    ("subject", "address", "authority"),
    [
        (f"cn={DCA},o=beta", "", True),
        ("o=beta", f"{DCA}@beta.example", True),
        ("cn=Bob", "bob@beta.example", False),
        (f"cn={DCA} of beta", f"x-{DCA}@beta.example", False),
    ],
)
def test_who_has_the_name_of_a_confidentiality_authority_anywhere_says_to_be_one(
    subject: str, address: str, authority: bool
) -> None:
    assert encrypt.is_authority(names.certificate(subject, *filter(None, [address]))) is authority


def test_one_address_of_a_person_is_enough_whatever_stands_beside_it() -> None:
    bob = names.certificate("cn=Bob", "no address", "robert@beta.example", "bob@beta.example")
    at = world.context(users=[bob])
    assert encrypt.own_problem(bob, BOB, at, None) is None
    assert encrypt.own_problem(bob, parse_address("carol@beta.example"), at, None) == "is for another address"


def broken(extension: str) -> Certificate:
    """A certificate of beta's CA with an extension that cannot be read."""
    ca = beta().ca
    builder = issue._builder(
        ca.certificate.x509.subject, issue.new_key("p256").public_key(), ca.certificate, pki.START, 9, 1
    ).add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(extension), b"\x30\x05\x00"), critical=False)
    return issue._signed(builder, ca.signing_key)


def test_whoever_has_names_that_cannot_be_read_is_nobody() -> None:
    """No authority that encrypts, no reviewer and no translator, whoever issued the certificate."""
    nobody = broken("2.5.29.17")
    assert not KnownSigners(issuer=beta().ca.certificate.subject, domains=frozenset({"beta.example"})).know(nobody)
    made = encrypt.encrypt(world.entity("S(OC)"), [AUTHORITY], originator=[nobody])
    verdict = world.judge(world.message(made), world.context(beta().confidentiality))
    assert {"enc_agent.unknown", "enc_agent.mapping"} & world.codes(verdict) == {"enc_agent.unknown"}


def test_a_certificate_that_cannot_be_read_is_of_nobody_and_still_something_that_was_there() -> None:
    """Threats T-20: what might have been meant to encrypt to, and is no good, is never as if there was nothing."""
    assert not encrypt.is_authority(broken("2.5.29.17"))
    unusable = encrypt.Considered("bob@beta.example", broken("2.5.29.15"), "no good")
    assert encrypt.Located("bob@beta.example", (), authority=False, considered=(unusable,)).rejected


@pytest.mark.requirement("R8551-2.3-01")
@pytest.mark.parametrize(("key_transport", "oid"), [("oaep", oids.RSAES_OAEP), ("pkcs1v15", oids.RSA_ENCRYPTION)])
def test_the_way_to_an_rsa_key_is_the_one_asked_for(key_transport: str, oid: str) -> None:
    bob = pki.identity("user", "bob@beta.example", beta().ca, "rsa2048").certificate
    made = encrypt.encrypt(world.TEXT, [bob], Cipher(key_transport=key_transport))  # type: ignore[arg-type]
    enveloped = layers.peel_entity(made).enveloped
    assert enveloped is not None
    assert [recipient.algorithm.oid for recipient in enveloped.recipients] == [oid]  # type: ignore[union-attr]
