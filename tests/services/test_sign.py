"""Making signatures: opaque and clear, with what is announced; gate and section 5 are in tests/spec."""

from __future__ import annotations

import pytest

import pki
import world
from domsec import oids
from domsec.cms.algorithms import default_signature_algorithm
from domsec.mime import canonical
from domsec.mime.addresses import parse_address
from domsec.services import layers, sign
from domsec.services.sign import Evidence, Signer
from domsec.services.signature_type import SignatureType
from domsec.trust.issue import KeyKind
from world import acme, judge


@pytest.mark.requirement("R8551-2.2-02", "R3183-2.1-02", "R3183-3.2-01")
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"])
@pytest.mark.parametrize("pss", [False, True])
def test_domain_signatures_by_every_kind_of_key(kind: KeyKind, pss: bool) -> None:
    if pss and kind != "rsa2048":
        return
    identity = pki.identity("signing", "acme.example", acme().ca, kind)
    algorithm = default_signature_algorithm(identity.certificate.public_key, pss=pss)
    signer = Signer(world.credential(identity), algorithm)
    made = sign.opaque(world.entity("S0(OC)"), signer.signing(SignatureType.DOMAIN), world.NOW)
    verdict = judge(world.message(made))
    assert (verdict.accepted, verdict.level) == (True, "domain")
    assert verdict.layers[0].signers[0].signing_time == world.NOW.isoformat()


BESIDE = [("rsa2048", "ml-dsa-65"), ("p256", "ml-dsa-44"), ("ml-dsa-87", "rsa2048", "p384")]


def _together(kinds: tuple[KeyKind, ...], *, pss: bool = False) -> Signer:
    first, *others = (world.credential(pki.identity("signing", "acme.example", acme().ca, kind)) for kind in kinds)
    algorithm = default_signature_algorithm(first.certificate.public_key, pss=pss)
    return Signer(first, algorithm, acme().confidentiality.certificate, beside=tuple(others))


@pytest.mark.requirement("R3183-3.1.2-12")
@pytest.mark.parametrize("kinds", BESIDE)
def test_several_keys_sign_the_same_beside_each_other(kinds: tuple[KeyKind, ...]) -> None:
    examination = world.look(world.build("OC"))
    plan = sign.plan(examination.message.spine(), encrypt=False)
    made = sign.apply(plan, examination.message.header, _together(kinds), world.NOW)
    verdict = judge(world.message(made))
    assert (verdict.accepted, verdict.level, verdict.structure) == (True, "domain", "S[domain](S0(OC))")
    signers = verdict.layers[0].signers
    assert len(signers) == len(kinds)
    assert {signer.types for signer in signers} == {("domain",)}
    assert not world.codes(verdict, "violation")
    signed = layers.peel_entity(made).signed
    assert signed is not None
    own = [{a.oid for a in s.signed_attributes.items} for s in signed.signers if s.signed_attributes]
    assert own == [own[0]] * len(kinds)


@pytest.mark.parametrize("kinds", BESIDE)
def test_several_keys_sign_in_the_clear(kinds: tuple[KeyKind, ...]) -> None:
    made = sign.clear(world.TEXT, _together(kinds).signings(SignatureType.DOMAIN), world.NOW)
    micalg = {"rsa2048": "sha-256", "p256": "sha-256", "p384": "sha-384"}
    names = dict.fromkeys(micalg.get(kind, "sha-512") for kind in kinds)
    assert f'micalg="{",".join(names)}"'.encode() in made
    assert len(judge(world.message(made)).layers[0].signers) == len(kinds)


def test_a_second_rsa_key_signs_as_the_first() -> None:
    signings = _together(("rsa2048", "rsa2048", "ml-dsa-65"), pss=True).signings(SignatureType.DOMAIN)
    assert [s.algorithm and s.algorithm.name for s in signings] == ["rsa-pss-sha256", "rsa-pss-sha256", None]


@pytest.mark.requirement("R8551-3.1.3-01", "R8551-3.1.1-01")
@pytest.mark.parametrize(
    "entity",
    [
        world.TEXT,
        world.TEXT.replace(b"\r\n", b"\n"),
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nHäuser\r\n".encode(),
        b"Content-Type: text/plain\r\n\r\n" + b"x" * 2000 + b"\r\n",
    ],
)
def test_clear_signed_parts_survive_the_way(entity: bytes) -> None:
    signing = Signer(world.credential(acme().users["alice"])).signing(None)
    made = sign.clear(entity, signing, world.NOW)
    assert made.isascii()
    assert max(map(len, made.split(b"\r\n"))) <= 998
    assert judge(world.message(made)).level == "originator_direct"
    assert judge(world.message(made).replace(b"\r\n", b"\n")).level == "originator_direct"


@pytest.mark.requirement("R8551-3.1.1-01", "R3183-3-05")
def test_content_is_made_canonical_before_it_is_wrapped() -> None:
    octets = world.build("OC").replace(b"\r\n", b"\n")
    examination = world.look(octets)
    plan = sign.plan(examination.message.spine(), encrypt=False)
    made = sign.apply(plan, examination.message.header, Signer(world.credential(acme().signing)), world.NOW)
    spine = tuple(layers.spine(layers.peel_entity(made)))
    inner = bytes(spine[-1].entity)
    assert inner == canonical.canonical(inner)
    assert b"attack at dawn\r\n" in inner


@pytest.mark.requirement("R9788-4-01")
@pytest.mark.parametrize("protect", [True, False])
def test_header_fields_are_protected_where_we_wrap_first(protect: bool) -> None:
    for notation, wrapped in (("OC", True), ("S(OC)", False)):
        octets = world.build(notation)
        examination = world.look(octets)
        plan = sign.plan(examination.message.spine(), encrypt=False)
        signer = Signer(world.credential(acme().signing))
        made = sign.apply(plan, examination.message.header, signer, world.NOW, protect_headers=protect)
        assert (judge(world.message(made)).headers is not None) is (protect and wrapped)


def test_evidence_names_mailboxes() -> None:
    evidence = Evidence("login", "x", frozenset({"Alice@acme.example"}), frozenset({"lists.acme.example"}))
    for mailbox, allowed in (
        ("alice@ACME.example", True),
        ("alice@mail.acme.example", False),
        ("any@lists.acme.example", True),
        ("any@x.lists.acme.example", True),
        ("any@notlists.acme.example", False),
    ):
        assert evidence.allows(parse_address(mailbox)) is allowed


def test_certificates_that_are_announced_go_along() -> None:
    signer = Signer(world.credential(acme().signing), confidentiality=acme().confidentiality.certificate)
    for signed_as, announced in ((SignatureType.DOMAIN, True), (None, False)):
        (attribute,) = [signer.signing(signed_as).attributes]
        assert (oids.SMIME_CAPABILITIES in {a.oid for a in attribute}) is announced
