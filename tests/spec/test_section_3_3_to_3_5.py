"""RFC 3183 3.3 to 3.5: additional attributes, review and originator signatures."""

from __future__ import annotations

import pytest

import world
from domsec import der, oids
from domsec.cms import attributes
from domsec.services import encapsulate, sign
from domsec.services.encapsulate import Additions
from domsec.services.signature_type import SignatureType
from world import acme, build, judge


@pytest.mark.requirement("R3183-3.3-02", "R3183-3.4-01", "R3183-3.4-04", "R3183-3.3-07")
@pytest.mark.parametrize("role", ["review", "attributes"])
def test_neither_says_anything_of_the_originator(role: str) -> None:
    alone = judge(build(f"S[{role}](S0(OC))"))
    assert alone.layers[0].state == "valid"
    assert alone.layers[0].roles == (role,)
    assert (alone.accepted, alone.level, alone.originator, alone.domain) == (False, "none", None, None)
    signed = judge(build(f"S[{role}](S(OC))"))
    assert (signed.accepted, signed.level) == (True, "originator_direct")
    unknown = judge(build(f"S[{role}](S[evil](OC))"))
    assert (unknown.accepted, unknown.level) == (False, "none")


@pytest.mark.requirement("R3183-3.3-03", "R3183-3.4-03")
@pytest.mark.parametrize("role", ["review", "attributes"])
@pytest.mark.parametrize("who", ["signing", "review", "attributes"])
def test_each_needs_its_name(role: str, who: str) -> None:
    signer = getattr(acme(), who)
    verdict = judge(world.message(world.signed(world.entity("S(OC)"), signer, extra=[world.typed(_TYPE[role])])))
    assert verdict.accepted is (who == role)
    assert bool(verdict.violations) is not (who == role)
    assert (role in verdict.layers[0].roles) is (who == role)
    assert bool(verdict.reviewed_by or verdict.additional_attributes) is (who == role)


_TYPE = {"review": SignatureType.REVIEW, "attributes": SignatureType.ATTRIBUTES}


@pytest.mark.requirement("R3183-3.3-08", "R3183-3.4-05")
def test_there_may_be_several() -> None:
    verdict = judge(build("S[attributes](S[review](S[attributes](S[review](S(OC)))))"))
    assert verdict.accepted
    assert len(verdict.reviewed_by) == len(verdict.additional_attributes) == 2


@pytest.mark.requirement("R3183-3.3-01", "R3183-3.3-04", "R3183-2.3-01")
def test_attributes_of_an_additional_attributes_signature_are_listed() -> None:
    hint = attributes.attribute(oids.ID_AA_CONTENT_HINT, der.sequence(der.utf8("plans"), der.oid(oids.ID_DATA)))
    entity = world.entity("S(OC)")
    made = sign.opaque(
        entity,
        sign.Signer(world.credential(acme().attributes)).signing(SignatureType.ATTRIBUTES, (hint,)),
        world.NOW,
    )
    verdict = judge(world.message(made))
    assert verdict.accepted
    assert oids.ID_AA_CONTENT_HINT in verdict.layers[0].signers[0].attributes


@pytest.mark.requirement("R3183-3.4-01", "R3183-2.2-01")
def test_a_review_that_does_not_hold_is_a_violation_and_reviewed_by_nobody() -> None:
    octets = build("S[review](S(OC))")
    at = world.context(roles=[world.beta().ca.certificate])
    verdict = judge(octets, at)
    assert verdict.reviewed_by == ()
    assert "signature.invalid" in world.codes(verdict, "violation")


@pytest.mark.requirement("R3183-3.5-01", "R3183-3.5-02", "R3183-3.1.2-04")
@pytest.mark.parametrize("notation", ["S(OC)", "S[originator](OC)", "S~(OC)", "E(S(OC))", "C(S(OC))"])
def test_an_originator_signature(notation: str) -> None:
    verdict = judge(build(notation))
    assert (verdict.accepted, verdict.level) == (True, "originator_direct")
    assert verdict.originator is not None
    assert verdict.originator.addresses == ("alice@acme.example",)
    other = judge(world.other_from(build(notation), "bob@acme.example"))
    assert (other.accepted, other.level, other.originator) == (False, "none", None)


@pytest.mark.requirement("R3183-3.1-07", "R3183-3.1.2-02", "R3183-3.1.2-03")
@pytest.mark.parametrize("signed_as", ["domain", "review", "attributes"])
def test_each_type_can_be_made(signed_as: str) -> None:
    examination = world.look(build("S(OC)"))
    if signed_as == "domain":
        plan = sign.plan(examination.message.spine(), encrypt=False)
        signer = sign.Signer(world.credential(acme().signing))
        made = sign.apply(plan, examination.message.header, signer, world.NOW)
    elif signed_as == "review":
        signer = sign.Signer(world.credential(acme().review))
        made = encapsulate.review(examination, signer, world.context()).entity
    else:
        signer = sign.Signer(world.credential(acme().attributes))
        made = encapsulate.add_attributes(examination, Additions(), signer, world.context()).entity
    verdict = judge(world.message(made))
    assert verdict.accepted
    assert verdict.layers[0].signers[0].types == (signed_as,)
    assert oids.ID_AA_SIGNATURE_TYPE in verdict.layers[0].signers[0].attributes
    assert {oids.ID_AA_SIGNING_CERTIFICATE_V2, oids.ID_AA_CMS_ALGORITHM_PROTECT, oids.ID_SIGNING_TIME} <= set(
        verdict.layers[0].signers[0].attributes
    )


def test_a_peer_may_want_the_attribute_as_cryptlib_reads_it() -> None:
    signer = sign.Signer(world.credential(acme().signing), sigtype_oid=oids.ID_STI)
    made = sign.opaque(world.entity("S0(OC)"), signer.signing(SignatureType.DOMAIN), world.NOW)
    verdict = judge(world.message(made))
    assert verdict.accepted
    assert "sigtype.legacy_oid" in world.codes(verdict, "info")


@pytest.mark.requirement("R8551-2.5.2-01", "R8551-2.5.3-01")
def test_a_domain_signature_announces_the_domains_keys() -> None:
    octets = world.only(world.send(build("OC")))
    layer = next(x for x in world.look(octets).message.spine() if x.signed and x.signed.signers)
    assert layer.signed is not None
    signed = layer.signed.signers[0].signed_attributes
    assert signed is not None
    assert len(signed.get(oids.SMIME_CAPABILITIES)) == 1
    (preference,) = signed.get(oids.ID_AA_ENCRYP_KEY_PREF)
    assert acme().confidentiality.certificate.issuer in bytes(preference.values[0])
    assert acme().confidentiality.certificate in layer.signed.certificates
