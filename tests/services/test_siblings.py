"""Several signatures in one layer: whose they are, which of them count, and what is missed (A-52, RFC 4853, 5752)."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

import pki
import world
from domsec import der, oids
from domsec.cms import attributes, multiple_signatures, signed_data
from domsec.cms.algorithms import DIGESTS, AlgorithmIdentifier, Digest, algorithm_identifier
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import Certificate, issuer_and_serial
from domsec.cms.multiple_signatures import Sibling
from domsec.cms.signed_data import Signing
from domsec.errors import SigningRefused
from domsec.mime import smime
from domsec.services import siblings, sign
from domsec.services.signature_type import SignatureType
from domsec.services.verdict import State, Verdict
from domsec.trust import issue
from world import acme, judge

ENTITY = world.entity("S0(OC)")
DOMAIN = world.typed(SignatureType.DOMAIN)


@functools.cache
def authority(kind: issue.KeyKind) -> pki.Identity:
    """The signing authority of acme, which has many keys and one name."""
    return pki.identity("signing", "acme.example", acme().ca, kind)


def by(*who: pki.Identity) -> bytes:
    return world.signed(ENTITY, *who, extra=[DOMAIN])


def verdict(entity: bytes) -> Verdict:
    return judge(world.message(entity))


@pytest.mark.parametrize("who", [("alice", "alice"), ("alice", "bob")], ids=["of one signer", "of several"])
def test_the_worst_of_those_without_a_valid_signature_is_told(who: tuple[str, str]) -> None:
    signed = world.signed(world.TEXT, *(acme().users[name] for name in who))
    [finding, _] = world.look(world.message(signed)).findings
    worst_first: tuple[State, ...] = ("invalid", "weak", "untrusted", "no_certificate", "unsupported")
    for worse, better in itertools.combinations(worst_first, 2):
        for states in ((worse, better), (better, worse)):
            signers = (
                replace(signer, verdict=replace(signer.verdict, state=state))
                for signer, state in zip(finding.signers, states, strict=True)
            )
            assert siblings.state(replace(finding, signers=tuple(signers))) == worse


# --- SignerInfos that domsec does not make ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Maker:
    """A way to sign by hand."""

    certificate: Certificate
    digest: Digest
    algorithm: AlgorithmIdentifier
    sign: Callable[[bytes], bytes]

    def items(self) -> list[bytes]:
        digest = hashlib.new(self.digest.name, ENTITY).digest()
        made = (DOMAIN, attributes.content_type(oids.ID_DATA), attributes.message_digest(digest))
        return [item.raw for item in made]

    def sibling(self) -> Sibling:
        return Sibling(self.digest, self.algorithm, self.certificate, tuple(self.items()))

    def info(self, link: Attribute | None = None) -> bytes:
        signed = der.set_of([*self.items(), *([link.raw] if link else [])])
        return der.sequence(
            der.integer(1),
            issuer_and_serial(self.certificate),
            self.digest.identifier.raw,
            bytes((der.context(0),)) + signed[1:],
            self.algorithm.raw,
            der.octet_string(self.sign(signed)),
        )


def issued(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey) -> Certificate:
    ca = acme().ca
    return issue.issue("signing", "acme.example", key.public_key(), ca.certificate, ca.signing_key,
                       now=pki.START, days=pki.DAYS)  # fmt: skip


@functools.cache
def by_ed448() -> Maker:
    """An algorithm that domsec does not know."""
    key = ed448.Ed448PrivateKey.generate()
    return Maker(issued(key), DIGESTS[oids.SHA512], algorithm_identifier(oids.ED448), key.sign)


@functools.cache
def by_sha1() -> Maker:
    key = rsa.generate_private_key(65537, 2048)

    def sign(data: bytes) -> bytes:
        return key.sign(data, padding.PKCS1v15(), hashes.SHA1())

    return Maker(issued(key), DIGESTS[oids.SHA1], algorithm_identifier(oids.SHA1_WITH_RSA, der.null()), sign)


@functools.cache
def by_p256(which: int = 0) -> Maker:
    key = ec.generate_private_key(ec.SECP256R1())
    algorithm = algorithm_identifier(oids.ECDSA_WITH_SHA256)
    return Maker(issued(key), DIGESTS[oids.SHA256], algorithm, lambda data: key.sign(data, ec.ECDSA(hashes.SHA256())))


def with_makers(makers: Sequence[Maker], infos: Sequence[bytes]) -> bytes:
    """A domain signature by hand."""
    value = signed_data.certificates_only([maker.certificate for maker in makers])
    reader = der.Reader(value)
    reader.enter(der.SEQUENCE)
    reader.skip()
    reader.enter(der.context(0))
    reader.enter(der.SEQUENCE)
    reader.skip(), reader.skip(), reader.skip()
    certificates = bytes(reader.skip())
    made = der.sequence(
        der.integer(1),
        der.set_of({maker.digest.identifier.raw for maker in makers}),
        der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.octet_string(ENTITY))),
        certificates,
        der.set_of(infos),
    )
    return smime.pkcs7_mime(der.sequence(der.oid(oids.ID_SIGNED_DATA), der.explicit(0, made)), "signed-data")


def linked(*makers: Maker) -> list[bytes]:
    links = multiple_signatures.link([maker.sibling() for maker in makers])
    return [maker.info(link) for maker, link in zip(makers, links, strict=True)]


def home_made(
    like: Certificate,
    *,
    name: str | None = None,
    address: str = "alice@acme.example",
    key_identifier: bytes | None = None,
) -> pki.Identity:
    """A certificate that nobody issued, with the names in another one as far as nothing else is said."""
    real, key = like.x509, ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) if name else real.subject
    builder = (
        x509.CertificateBuilder(real.issuer, subject, key.public_key(), 77)
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(address)]), critical=False)
    )
    if key_identifier is not None:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(key_identifier), critical=False)
    return pki.Identity(Certificate(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)), key)


# --- what counts ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R4853-3-01", "R5652-5-01")
def test_one_valid_signature_of_each_signer_is_enough() -> None:
    """The names in the certificates say whose a signature is: both of these are by one authority."""
    both = by(authority("rsa2048"), authority("ml-dsa-65"))
    found = verdict(both)
    assert (found.accepted, found.level, world.codes(found) - {"enc_agent.unknown"}) == (True, "domain", set())
    half = verdict(world.with_signers(both, lambda infos: [infos[0], infos[1][:-8] + bytes(8)]))
    assert (half.accepted, half.layers[0].state) == (True, "valid")
    assert sorted(s.state for s in half.layers[0].signers) == ["invalid", "valid"]
    assert world.codes(half, "warning") == {"alg.invalid_sibling"}


@pytest.mark.requirement("R4853-3-01")
def test_a_key_identifier_tells_nobodys_name() -> None:
    """Two certificates that state the same key identifier are of two signers, and each has to be valid."""
    alice = acme().users["alice"]
    same = home_made(alice.certificate, name="Mallory", key_identifier=alice.certificate.ski)
    signings = [Signing(world.credential(who), key_identifier=True) for who in (alice, same)]
    octets = smime.pkcs7_mime(signed_data.sign(world.TEXT, oids.ID_DATA, signings), "signed-data")
    assert verdict(octets).layers[0].state == "untrusted"


def test_what_a_verifier_does_not_know_stands_beside_what_it_knows() -> None:
    makers = (by_p256(), by_ed448())
    found = verdict(with_makers(makers, linked(*makers)))
    assert (found.accepted, found.level) == (True, "domain")
    assert world.codes(found) == {"alg.unsupported_sibling"}
    alone = verdict(with_makers(makers[1:], [by_ed448().info()]))
    assert (alone.accepted, alone.layers[0].state) == (False, "unsupported")


def test_a_weak_signature_beside_a_strong_one_is_only_mentioned() -> None:
    """Who still signs with SHA-1 for old programs, and with SHA-256 for us, has signed with SHA-256."""
    makers = (by_p256(), by_sha1())
    found = verdict(with_makers(makers, linked(*makers)))
    assert (found.accepted, found.level) == (True, "domain")
    assert world.codes(found, "info") == {"alg.weak"}
    alone = verdict(with_makers(makers[1:], [by_sha1().info()]))
    assert (alone.accepted, alone.layers[0].state) == (False, "weak")
    assert {"alg.weak", "signature.invalid"} <= world.codes(alone, "violation")


# --- what is missed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [("rsa2048", "ml-dsa-65"), ("rsa2048", "p256", "ml-dsa-44"), ("p256", "p256")])
def test_a_signature_that_is_taken_away_is_missed(kinds: tuple[issue.KeyKind, ...]) -> None:
    whole = by(*(authority(kind) if i == 0 else pki.identity("signing", "acme.example", acme().ca, kind)
                 for i, kind in enumerate(kinds)))  # fmt: skip
    assert verdict(whole).accepted
    for i in range(len(kinds)):
        cut = world.with_signers(whole, lambda infos, i=i: infos[:i] + infos[i + 1 :])
        found = verdict(cut)
        assert found.layers[0].state == "valid"
        assert (found.accepted, found.level) == (False, "none")
        assert world.codes(found, "violation") == {"multisig.removed"}


def test_a_message_with_a_signature_taken_away_is_not_vouched_for() -> None:
    alice = acme().users["alice"]
    other = pki.identity("user", "alice@acme.example", acme().ca, "rsa2048", name="Alice")
    whole = world.signed(world.TEXT, alice, other)
    for entity, reasons in ((whole, set()), (world.with_signers(whole, lambda infos: infos[1:]), {"gate.malformed"})):
        examination = world.look(world.message(entity))
        evidence = [sign.Evidence("local", "test", domains=frozenset({"acme.example"}))]
        try:
            sign.gate(examination, acme().signing.certificate, evidence, world.context())
            found = set()
        except SigningRefused as refusal:
            found = {code for code, _ in refusal.reasons}
        assert found == reasons


def test_an_unknown_signature_that_is_taken_away_is_missed_too() -> None:
    makers = (by_p256(), by_ed448())
    cut = verdict(with_makers(makers, linked(*makers)[:1]))
    assert world.codes(cut, "violation") == {"multisig.removed"}
    assert [f.text for f in cut.flags] == ["a signature by ed448 with sha512 is not there as it was"]


def test_a_signature_put_in_anothers_place_is_not_the_one_named() -> None:
    one, other = by_p256(), by_ed448()
    replaced = [linked(one, other)[0], other.info()]  # the second says nothing of the first
    assert world.codes(verdict(with_makers((one, other), replaced)), "violation") == {"multisig.removed"}


def test_a_signature_that_nobody_named_is_said() -> None:
    makers = (by_p256(), by_ed448(), by_sha1())
    found = verdict(with_makers(makers, [*linked(*makers[:2]), makers[2].info()]))
    assert found.accepted
    assert world.codes(found, "warning") == {"multisig.added"}


def test_names_in_a_signature_that_does_not_hold_are_nothing() -> None:
    """Or anybody could add one that misses what never was."""
    one, other = by_p256(), by_ed448()
    links = multiple_signatures.link([one.sibling(), other.sibling(), by_sha1().sibling()])
    infos = [one.info(), other.info(links[1])]
    found = verdict(with_makers((one, other), infos))
    assert found.accepted
    assert world.codes(found) == {"alg.unsupported_sibling"}


def test_names_that_cannot_be_read_are_missed() -> None:
    broken = attributes.attribute(oids.ID_AA_MULTIPLE_SIGNATURES, der.null())
    found = verdict(with_makers([by_p256()], [by_p256().info(broken)]))
    assert world.codes(found, "violation") == {"multisig.removed"}


def test_names_are_shown() -> None:
    from domsec.services.describe import describe

    shown = describe(world.look(world.message(by(authority("rsa2048"), authority("ml-dsa-65")))).message)
    values = {s.values[oids.ID_AA_MULTIPLE_SIGNATURES] for s in shown.layers[0].signers}
    assert values == {"mlDsa65 with sha512", "sha256WithRsa with sha256"}


def test_names_are_nothing_where_nobody_signs_them() -> None:
    unsigned = [attributes.attribute(oids.ID_AA_MULTIPLE_SIGNATURES, der.null())]
    entity = world.signed(world.TEXT, acme().users["alice"], unsigned=unsigned)
    found = verdict(entity)
    assert found.accepted
    assert world.codes(found, "warning") == {"ess.placement"}


def test_of_one_signer_only_what_is_valid_names_an_address() -> None:
    """A certificate made at home may state the names of a good one, and somebody else's address (T-06)."""
    bob = acme().users["bob"]
    forged = home_made(bob.certificate, address="alice@acme.example")
    for who in ((bob, forged), (forged, bob)):
        entity = world.signed(world.TEXT, *who)
        assert judge(world.message(entity)).layers[0].address == "mismatch"
        found = judge(world.message(entity, sender="bob@acme.example"))
        assert (found.level, found.originator and found.originator.addresses) == (
            "originator_direct",
            ("bob@acme.example",),
        )
        received = world.only(world.receive(world.message(entity, sender="bob@acme.example")))
        assert b"smime-identifier=bob@acme.example" in received
        assert b"smime-identifier=alice" not in received
        with pytest.raises(SigningRefused) as refused:
            sign.gate(world.look(world.message(entity)), acme().signing.certificate, (), world.context())
        assert {code for code, _ in refused.value.reasons} == {"gate.originator", "gate.originator_conflict"}
