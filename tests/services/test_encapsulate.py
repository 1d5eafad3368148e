"""Review and additional attributes signatures: what goes around what, and what is not signed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest

import pki
import world
from domsec import der, oids
from domsec.cms import attributes
from domsec.errors import LimitExceeded, SigningRefused
from domsec.ess.labels import MAX_LABELS, EquivalentLabels, ESSSecurityLabel
from domsec.ess.places import PLACES
from domsec.mime import smime
from domsec.services import layers, names
from domsec.services.context import Context
from domsec.services.encapsulate import (
    Additions,
    Encapsulated,
    Manner,
    OverEncrypted,
    add_attributes,
    review,
    security_label,
)
from domsec.services.sign import Signer
from domsec.trust.issue import KeyKind
from ess_values import SECRET, TRANSLATED, VALUES, having, label, signed
from world import acme, beta, judge, look

REVIEWER = Signer(world.credential(acme().review))
AUTHORITY = Signer(world.credential(acme().attributes))
OURS = world.context(acme().confidentiality)
USUAL = Manner()


def reviewed(octets: bytes, at: Context = OURS, manner: Manner = USUAL, *, unseen: bool = False) -> Encapsulated:
    return review(look(octets, at), REVIEWER, at, manner=manner, unseen=unseen)


def added(octets: bytes, additions: Additions, at: Context = OURS) -> Encapsulated:
    return add_attributes(look(octets, at), additions, AUTHORITY, at)


def refused(make: Callable[[], object]) -> set[str]:
    with pytest.raises(SigningRefused) as caught:
        make()
    return {code for code, _ in caught.value.reasons}


# --- where it goes ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3-01", "R3183-3-04", "R3183-2.2-01")
@pytest.mark.parametrize(
    ("notation", "over_encrypted", "structure"),
    [
        ("OC", "direct", "S[review](S0(OC))"),
        ("S~(OC)", "direct", "S[review](S[originator](OC))"),
        ("S0(OC)", "direct", "S[review](S0(OC))"),
        ("C(S(OC))", "direct", "S[review](S0(C(S[originator](OC))))"),
        ("E(S[attributes](S(OC)))", "direct", "S[review](E(S[attributes](S[originator](OC))))"),
        ("E(S(OC))", "null", "S[review](S0(E(S[originator](OC))))"),
        ("E(OC)", "direct", "S[review](S0(E(OC)))"),
    ],
)
def test_the_signature_goes_around_what_is_there(notation: str, over_encrypted: OverEncrypted, structure: str) -> None:
    """Decisions A-09: directly around encryption only where a signature was seen in it."""
    octets = world.build(notation)
    made = reviewed(octets, manner=Manner(over_encrypted))
    verdict = judge(world.message(made.entity))
    assert verdict.structure == structure
    assert verdict.layers[0].roles == ("review",)
    assert "encapsulation.missing" not in world.codes(verdict)
    assert bytes(look(octets).message.root.entity).split(b"\r\n\r\n", 1)[1] in _all_of(made.entity)


def _all_of(entity: bytes) -> bytes:
    """Every entity of a message, one after the other."""
    at = OURS
    return b"".join(bytes(f.layer.entity) for f in look(world.message(entity), at).findings)


def test_ciphertext_is_signed_only_where_that_is_wanted() -> None:
    manner = Manner("refuse")
    assert refused(lambda: reviewed(world.build("E(S(OC))"), manner=manner)) == {"gate.encrypted"}
    assert reviewed(world.build("S[domain](E(S(OC)))"), manner=manner)


def test_the_header_goes_in_where_this_is_the_innermost_signature() -> None:
    for notation, protect, protected in (("OC", True, True), ("OC", False, False), ("S(OC)", True, False)):
        made = reviewed(world.build(notation), manner=Manner(protect_headers=protect))
        inner = look(world.message(made.entity)).message.spine()[-1]
        assert (inner.protected is not None) is protected


# --- who may, and of what --------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.4-01", "R3183-2.2-01")
@pytest.mark.parametrize("notation", ["X(S(OC))", "S[domain](X(OC))"])
def test_what_cannot_be_seen_cannot_be_reviewed(notation: str) -> None:
    octets = world.build(notation)
    assert refused(lambda: reviewed(octets)) == {"gate.undecryptable"}
    made = reviewed(octets, unseen=True)
    assert made.content is None
    assert judge(world.message(made.entity)).layers[0].roles == ("review",)
    assert added(octets, Additions(SECRET)).content is None  # who adds attributes need not have read it


def test_what_cannot_be_read_cannot_be_reviewed() -> None:
    broken = world.message(smime.pkcs7_mime(b"\x30\x03\x02\x01\x01", "signed-data"))
    assert refused(lambda: reviewed(broken)) == {"gate.malformed"}


def test_a_broken_signature_inside_can_be_reviewed() -> None:
    """The reviewer says that it may go on, not who wrote it; what is broken stays broken."""
    octets = world.build("S[evil](OC)")
    made = reviewed(octets)
    assert judge(world.message(made.entity)).level == "none"


@pytest.mark.requirement("R3183-3.4-03", "R3183-3.3-03")
@pytest.mark.parametrize("role", ["review", "attributes"])
@pytest.mark.parametrize("who", ["signing", "confidentiality", "review", "attributes", "alice"])
def test_only_the_authority_signs(role: str, who: str) -> None:
    identity = acme().users["alice"] if who == "alice" else getattr(acme(), who)
    signer, at = Signer(world.credential(identity)), OURS

    def make() -> Encapsulated:
        examination = look(world.build("S(OC)"), at)
        if role == "review":
            return review(examination, signer, at)
        return add_attributes(examination, Additions(SECRET), signer, at)

    if who == role:
        make()
    else:
        assert refused(make) == {"gate.authority"}


def test_every_one_of_several_signers_has_to_be_fit() -> None:
    other = pki.identity("review", "acme.example", acme().ca, "ml-dsa-44", serial=77)
    old = pki.identity("review", "acme.example", acme().ca, days=5)
    examination = look(world.build("S(OC)"), OURS)
    both = Signer(world.credential(acme().review), beside=(world.credential(other),))
    made = review(examination, both, OURS)
    assert len(judge(world.message(made.entity)).layers[0].signers) == 2
    one_old = Signer(world.credential(acme().review), beside=(world.credential(old),))
    assert refused(lambda: review(examination, one_old, OURS)) == {"gate.authority"}
    later = world.context(now=world.NOW + timedelta(days=4000))
    assert refused(lambda: review(examination, both, later)) == {"gate.authority"}


def test_an_agreed_convention_of_names_is_kept_too() -> None:
    mailbox = pki.identity("user", f"{names.REVIEW_AUTHORITY}@acme.example", acme().ca)
    signer, examination = Signer(world.credential(mailbox)), look(world.build("S(OC)"), OURS)
    assert refused(lambda: review(examination, signer, OURS)) == {"gate.authority"}
    review(examination, signer, OURS, manner=Manner(naming="mailbox"))


@pytest.mark.parametrize("kind", ["rsa2048", "p384", "ed25519", "ml-dsa-65"])
def test_with_every_kind_of_key(kind: KeyKind) -> None:
    signer = Signer(world.credential(pki.identity("review", "acme.example", acme().ca, kind)))
    made = review(look(world.build("OC"), OURS), signer, OURS)
    assert judge(world.message(made.entity)).layers[0].state == "valid"


def test_what_was_reviewed_is_told_by_its_digest() -> None:
    octets = world.build("S(OC)")
    message = look(octets, OURS).message
    made = reviewed(octets)
    assert made.body == hashlib.sha256(layers.mime_entity(message.root)).hexdigest()
    assert made.content == hashlib.sha256(world.TEXT).hexdigest()


# --- attributes ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-2.3-01", "R3183-3.3-04", "R3183-3.3-06", "R2634-3.4.1-02")
def test_labels_stand_in_the_new_signature_and_nowhere_else() -> None:
    octets = world.message(signed(world.TEXT, label(SECRET)))
    made = added(octets, Additions(ESSSecurityLabel("1.2.3", 5), (TRANSLATED,)))
    verdict = judge(world.message(made.entity))
    assert verdict.structure == "S[attributes](S[originator](OC))"
    assert verdict.accepted
    outer, inner = verdict.layers[0].signers[0].ess, verdict.layers[1].signers[0].ess
    assert set(outer) == {"idAaSecurityLabel", "idAaEquivalentLabels"}
    assert set(inner) == {"idAaSecurityLabel"}
    assert verdict.labels.original is not None
    assert (verdict.labels.original.classification, verdict.labels.aggregate[0].classification) == (4, 5)
    assert [equivalent.policy for equivalent in verdict.labels.equivalent] == ["1.2.4"]
    assert bytes(look(octets).message.root.entity) in bytes(
        look(world.message(made.entity)).message.root.content or b""
    )


@pytest.mark.requirement("R3183-3.3-04", "R2634-1.3.4-01")
@pytest.mark.parametrize("oid", sorted({*PLACES, oids.ID_AA_SIGNATURE_TYPE, oids.ID_STI}), ids=oids.name)
def test_which_attributes_of_ess_may_be_added(oid: str) -> None:
    value = VALUES.get(oid, der.null())
    allowed = {
        oids.ID_AA_CONTENT_HINT, oids.ID_AA_CONTENT_IDENTIFIER, oids.ID_AA_CONTENT_REFERENCE,
        oids.ID_AA_SECURITY_LABEL, oids.ID_AA_EQUIVALENT_LABELS, oids.SMIME_CAPABILITIES, oids.ID_AA_ENCRYP_KEY_PREF,
    }  # fmt: skip
    additions = Additions(others=(attributes.attribute(oid, value),))
    if oid not in allowed:
        assert refused(lambda: added(world.build("S(OC)"), additions)) == {"gate.attributes"}
        return
    verdict = judge(world.message(added(world.build("S(OC)"), additions).entity))
    assert verdict.accepted
    assert oid in verdict.layers[0].signers[0].attributes


def test_attributes_nobody_here_knows_may_be_added() -> None:
    unknown = attributes.attribute("1.3.6.1.4.1.99999.7", der.utf8("x"))
    verdict = judge(world.message(added(world.build("S(OC)"), Additions(others=(unknown,))).entity))
    assert verdict.accepted
    assert "1.3.6.1.4.1.99999.7" in verdict.layers[0].signers[0].attributes


@pytest.mark.requirement("R2634-1.3.4-02", "R2634-3.4.1-01")
@pytest.mark.parametrize(
    ("additions", "codes"),
    [
        (Additions(SECRET, others=(security_label(SECRET),)), {"gate.attributes"}),
        (Additions(others=(having(oids.ID_AA_CONTENT_HINT),) * 2), {"gate.attributes"}),
        (Additions(others=(attributes.attribute("1.2.3", der.null(), der.null()),)), {"gate.attributes"}),
        (Additions(others=(attributes.attribute("1.2.3"),)), {"gate.attributes"}),
        (Additions(others=(having(oids.ID_AA_SECURITY_LABEL, der.null()),)), {"gate.attributes"}),
        (Additions(others=(attributes.attribute("1.2.3", b"\x30\x80\x00\x00"),)), {"gate.attributes"}),
        (Additions(others=(attributes.attribute("1.2.3", b"\x30"),)), {"gate.attributes"}),
        (Additions(equivalent_labels=(TRANSLATED, TRANSLATED)), {"gate.label"}),
        (Additions(TRANSLATED, (TRANSLATED,)), {"gate.label"}),
        (Additions(equivalent_labels=(ESSSecurityLabel("1.2.3", 1),)), {"gate.label"}),
        (
            Additions(others=(having(oids.ID_AA_EQUIVALENT_LABELS, EquivalentLabels((SECRET,)).write()),)),
            {"gate.label"},
        ),
    ],
)
def test_what_may_not_be_added(additions: Additions, codes: set[str]) -> None:
    octets = world.message(signed(world.TEXT, label(SECRET)))
    assert refused(lambda: added(octets, additions)) == codes


@pytest.mark.requirement("R2634-3.1.2-01", "R3183-3.3-05")
def test_only_a_verified_label_is_translated() -> None:
    octets = world.message(signed(world.TEXT, label(SECRET)))
    unknown = world.context(users=[beta().ca.certificate])
    additions = Additions(equivalent_labels=(TRANSLATED,))
    added(octets, additions)
    added(world.build("S(OC)"), additions, unknown)  # no label, and its absence may mean something (RFC 2634 3.4.1)
    assert refused(lambda: added(octets, additions, unknown)) == {"gate.label"}


def test_equivalents_are_not_without_number() -> None:
    many = tuple(ESSSecurityLabel(f"1.2.4.{i}") for i in range(MAX_LABELS + 1))
    added(world.build("S(OC)"), Additions(equivalent_labels=many[1:]))
    with pytest.raises(LimitExceeded):
        added(world.build("S(OC)"), Additions(equivalent_labels=many))
