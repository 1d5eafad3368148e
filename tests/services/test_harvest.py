"""Certificates that messages bring: which are worth keeping, and that nobody can slip one in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import names
import pki
import world
from domsec import der, oids
from domsec.cms import attributes
from domsec.cms.attributes import Attribute, read_encryption_key_preference
from domsec.cms.certificates import Certificate, IssuerAndSerialNumber, SubjectKeyIdentifier
from domsec.errors import MalformedMessage
from domsec.services import harvest as harvesting
from domsec.services.harvest import harvest
from domsec.services.peer import Peer
from domsec.trust.path import AnchorSet
from world import acme, beta, build

ALICE = acme().users["alice"]
ANNE = pki.identity("user", "alice@acme.example", acme().ca, "x25519", name="Alice")  # her key to be encrypted to


def brought(octets: bytes, **more: object) -> list[tuple[Certificate, str]]:
    """What beta would keep of a message."""
    at = world.context(beta().confidentiality, peers=(world.ACME,), **more)  # type: ignore[arg-type]
    return [(one.certificate, one.whose) for one in harvest(world.look(octets, at), at)]


def signed(who: pki.Identity, *beside: Certificate, prefers: Certificate | None = None, sender: str = "alice") -> bytes:
    """A message with further certificates beside the signer's, and one that is named as preferred."""
    extra: Sequence[Attribute] = (attributes.encryption_key_preference(prefers),) if prefers else ()
    entity = world.signed(world.TEXT, pki.Identity(who.certificate, who.key, beside), extra=extra)
    return world.message(entity, sender=f"{sender}@acme.example")


def signer_only(address: str, ca: pki.Identity | None = None) -> pki.Identity:
    return pki.identity("user", address, ca or acme().ca, "ed25519")


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_who_signs_can_be_answered_encrypted() -> None:
    assert brought(build("S(OC)")) == [(ALICE.certificate, "alice@acme.example")]


@pytest.mark.requirement("R8551-2.5.3-01")
def test_the_certificate_that_a_signer_prefers_is_kept_and_one_that_only_signs_is_not() -> None:
    octets = signed(signer_only("alice@acme.example"), ANNE.certificate, prefers=ANNE.certificate)
    assert brought(octets) == [(ANNE.certificate, "alice@acme.example")]


def preferred(octets: bytes, *known: Certificate) -> list[tuple[str, str]]:
    """Whose preferences beta would note: address and the beginning of the digest."""
    at = world.context(beta().confidentiality, peers=(world.ACME,), known=known)
    return [(one.address, one.certificate.sha256) for one in harvest(world.look(octets, at), at) if one.preferred]


@pytest.mark.requirement("R8551-2.5.3-01")
def test_what_a_signer_prefers_is_told_apart() -> None:
    address = "alice@acme.example"
    assert preferred(build("S(OC)")) == []
    assert preferred(signed(ALICE, prefers=ALICE.certificate)) == [(address, ALICE.certificate.sha256)]
    assert preferred(signed(ALICE, ANNE.certificate, prefers=ANNE.certificate)) == [(address, ANNE.certificate.sha256)]
    assert preferred(signed(ALICE, prefers=ANNE.certificate)) == []  # it neither came along nor is it known
    assert preferred(signed(ALICE, prefers=ANNE.certificate), ANNE.certificate) == [(address, ANNE.certificate.sha256)]
    others = acme().users["bob"].certificate
    assert preferred(signed(ALICE, others, prefers=others)) == []


def test_a_domain_on_the_way_chooses_no_key_of_another() -> None:
    """Whatever it prefers: its layer is information only (decisions A-59)."""
    extra = [
        world.typed(world.SignatureType.DOMAIN),
        attributes.encryption_key_preference(acme().confidentiality.certificate),
    ]
    entity = world.signed(world.entity("S[domain](S0(OC))"), beta().signing, extra=extra)
    at = world.context(
        known=[acme().confidentiality.certificate], peers=(world.ACME,), transit_domains=frozenset({"beta.example"})
    )
    examination = world.look(world.message(entity), at)
    assert examination.verdict.accepted
    assert harvest(examination, at) == ()


def test_one_certificate_is_preferred_however_often_it_is_there() -> None:
    """By its key identifier others may be meant as well: then the first that came along."""
    by_key = attributes.attribute(
        oids.ID_AA_ENCRYP_KEY_PREF, der.implicit(2, der.octet_string(ANNE.certificate.ski or b""))
    )
    twin = pki.identity("user", "alice@acme.example", acme().ca, "x25519", name="Alice", serial=999, key=ANNE.key)
    entity = world.signed(
        world.TEXT, pki.Identity(ALICE.certificate, ALICE.key, (ANNE.certificate, twin.certificate)), extra=[by_key]
    )
    found = preferred(world.message(entity), ANNE.certificate)
    assert len(found) == 1


def test_an_authority_prefers_for_the_domain_that_it_is_of() -> None:
    """Also where the message is from a domain below."""
    address, digest = "domain-confidentiality-authority@acme.example", acme().confidentiality.certificate.sha256
    for sender in ("alice@acme.example", "alice@sales.acme.example"):
        assert preferred(world.only(world.send(build("OC", sender=sender)))) == [(address, digest)]


def test_a_domain_signature_brings_the_domains_authority_and_nothing_for_who_wrote() -> None:
    octets = world.only(world.send(build("OC")))
    assert brought(octets) == [(acme().confidentiality.certificate, "the authority of acme.example")]


# --- what is not (threats T-20) --------------------------------------------------------------------------------------


def of_victim(*, ca: pki.Identity) -> Certificate:
    """With Alice's address, for somebody else's key."""
    return pki.identity("user", "alice@acme.example", ca, name="Alice").certificate


@pytest.mark.parametrize("ca", [pki.ca("Mallory"), acme().ca], ids=["own-ca", "trusted-ca"])
def test_a_certificate_with_the_victims_address_in_another_ones_message_is_not_kept(ca: pki.Identity) -> None:
    mallory = pki.identity("user", "mallory@acme.example", acme().ca)
    forged = of_victim(ca=ca)
    octets = signed(mallory, forged, prefers=forged, sender="mallory")
    assert brought(octets) == [(mallory.certificate, "mallory@acme.example")]


def test_a_certificate_that_lies_beside_a_good_signature_is_not_kept() -> None:
    assert brought(signed(ALICE, of_victim(ca=acme().ca))) == [(ALICE.certificate, "alice@acme.example")]


def test_what_the_signer_prefers_needs_a_path_of_its_own() -> None:
    forged = of_victim(ca=pki.ca("Mallory"))
    assert brought(signed(ALICE, forged, prefers=forged)) == [(ALICE.certificate, "alice@acme.example")]


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(build("S[evil](OC)"), id="no-path"),
        pytest.param(build("S[bob](OC)"), id="somebody-else"),
        pytest.param(build("OC"), id="no-signature"),
        pytest.param(world.other_from(build("S(OC)"), "eve@acme.example"), id="other-from"),
        pytest.param(build("S~(OC)").replace(b"attack", b"retire"), id="altered"),
    ],
)
def test_of_a_message_that_is_not_accepted_nothing_is_kept(octets: bytes) -> None:
    assert brought(octets) == []


def test_an_authority_of_another_domain_is_not_kept_for_this_one() -> None:
    preference = attributes.encryption_key_preference(beta().confidentiality.certificate)
    inner = world.signed(
        world.TEXT,
        pki.Identity(acme().signing.certificate, acme().signing.key, (beta().confidentiality.certificate,)),
        extra=(preference, world.typed(world.SignatureType.DOMAIN)),
    )
    assert brought(world.message(inner)) == []


def test_a_person_whose_certificate_has_the_name_of_an_authority_is_not_answered_with_it() -> None:
    odd = names.certificate("cn=domain-confidentiality-authority", "alice@acme.example")
    at = world.context(users=[odd])
    octets = world.message(world.signed(world.TEXT, pki.Identity(odd, names.key())))
    examination = world.look(octets, at)
    assert examination.verdict.level == "originator_direct"
    assert harvest(examination, at) == ()


@pytest.mark.parametrize(
    ("peer", "notation", "view", "kept"),
    [
        (Peer("acme.example", revocation="off"), "S(OC)", {"revocation": "hard"}, [ALICE.certificate]),
        (Peer("acme.example"), "S(OC)", {"revocation": "hard"}, []),
        (Peer("acme.example", anchors=AnchorSet((acme().ca.certificate,))), "OC", {"roles": ()},
         [acme().confidentiality.certificate]),
        (Peer("acme.example"), "OC", {"roles": ()}, []),
    ],
)  # fmt: skip
def test_what_is_kept_is_judged_by_what_was_agreed_with_the_domain(
    peer: Peer, notation: str, view: dict[str, Any], kept: list[Certificate]
) -> None:
    at = world.context(beta().confidentiality, peers=(peer,), **view)
    octets = build(notation) if notation != "OC" else world.only(world.send(build("OC")))
    assert [one.certificate for one in harvest(world.look(octets, at), at)] == kept


def test_one_message_brings_a_few_certificates_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = signed(ALICE, ANNE.certificate, prefers=ANNE.certificate)
    assert len(brought(octets)) == 2
    monkeypatch.setattr(harvesting, "MOST", 1)
    assert brought(octets) == [(ANNE.certificate, "alice@acme.example")]


# --- the attribute ---------------------------------------------------------------------------------------------------

_KEY = der.context(2, constructed=False)


@pytest.mark.parametrize(
    ("value", "preferred"),
    [
        (
            attributes.encryption_key_preference(ANNE.certificate).values[0],
            IssuerAndSerialNumber(ANNE.certificate.issuer, ANNE.certificate.serial),
        ),
        (der.tlv(_KEY, b"key"), SubjectKeyIdentifier(b"key")),
        (der.tlv(der.context(1), der.octet_string(b"key")), SubjectKeyIdentifier(b"key")),
        (der.tlv(der.context(1), der.octet_string(b"key") + der.tlv(der.GENERALIZED_TIME, b"20261123110000Z")), None),
    ],
)
def test_a_preference_names_a_certificate_in_three_ways(value: bytes, preferred: object) -> None:
    assert read_encryption_key_preference(value) == preferred


@pytest.mark.parametrize(
    "value", [b"", b"\x30\x00", b"\xa0\x00", b"\xa1\x00", b"\x82\x05a", der.tlv(_KEY, b"k") + b"\0"]
)
def test_a_broken_preference_is_an_error(value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_encryption_key_preference(value)


def test_where_the_preference_is_broken_the_signers_certificate_is_kept() -> None:
    broken = attributes.attribute(oids.ID_AA_ENCRYP_KEY_PREF, b"\x30\x00")
    octets = world.message(world.signed(world.TEXT, ALICE, extra=(broken,)))
    assert brought(octets) == [(ALICE.certificate, "alice@acme.example")]
