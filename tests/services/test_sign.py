"""Making signatures: opaque and clear, with what is announced; gate and section 5 are in tests/spec."""

from __future__ import annotations

import pytest

import ess_values
import food
import pki
import world
from domsec import der, oids
from domsec.cms import attributes
from domsec.cms.algorithms import default_signature_algorithm
from domsec.cms.attributes import Attribute
from domsec.errors import SigningRefused
from domsec.mime import canonical
from domsec.mime.addresses import parse_address
from domsec.mime.header_protection import Protection
from domsec.policy import wishes
from domsec.services import layers, sign
from domsec.services.finding import Finding
from domsec.services.layers import Layer
from domsec.services.peer import DigestName, Peer
from domsec.services.sign import Evidence, Scheme, Signer
from domsec.services.signature_type import SignatureType
from domsec.services.verdict import flag
from domsec.trust.issue import KeyKind
from world import acme, build, judge


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


@pytest.mark.requirement("R8551-3.5.3.2-01")
@pytest.mark.parametrize(
    ("kind", "digest", "micalg"),
    [
        ("rsa2048", "sha256", "sha-256"), ("rsa2048", "sha384", "sha-384"), ("rsa2048", "sha512", "sha-512"),
        ("p256", "sha256", "sha-256"), ("p384", "sha256", "sha-384"), ("ed25519", "sha256", "sha-512"),
    ],
)  # fmt: skip
def test_micalg_names_the_digest_that_was_made(kind: KeyKind, digest: DigestName, micalg: str) -> None:
    """As RFC 8551 spells it, with a hyphen, and the protocol in quotes."""
    identity = pki.identity("signing", "acme.example", acme().ca, kind)
    signer = Signer(world.credential(identity), Scheme(digest=digest).algorithm(identity.certificate))
    made = bytes(sign.clear(world.TEXT, signer.signings(SignatureType.DOMAIN), world.NOW))
    head = made.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"")
    assert head.startswith(b'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=')
    assert head.partition(b"micalg=")[2].partition(b";")[0] == micalg.encode()
    (found,) = judge(world.message(made)).layers[0].signers
    assert found.digest == micalg.replace("-", "")


@pytest.mark.requirement("R8551-3.5.3.2-01")
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


# --- the gate -------------------------------------------------------------------------------------------------------


def layer_with(kind: str, *codes: str) -> Finding:
    """A layer of nothing but its kind, with these flags."""
    return Finding(Layer("1", kind, "opaque", b"", b""), flags=tuple(flag(code, "", "1") for code in codes))  # type: ignore[arg-type]


@pytest.mark.requirement("R3183-3.2-06")
@pytest.mark.parametrize(
    ("findings", "reasons"),
    [
        ([layer_with("compressed", "limit.size")], ["limit.size"]),
        ([layer_with("compressed", "mime.parts")], ["mime.parts"]),
        ([layer_with("compressed", "mime.bad_field")], []),  # a warning
        ([layer_with("compressed", "sigtype.inconsistent")], []),  # a violation that is for others to weigh
        ([layer_with("signed", "limit.size")], []),  # which the signatures themselves are asked about
        ([layer_with("compressed", "limit.size"), layer_with("content", "x400.malformed")],
         ["limit.size", "x400.malformed"]),
    ],
)  # fmt: skip
def test_what_others_may_read_in_another_way_is_not_signed(findings: list[Finding], reasons: list[str]) -> None:
    """Threats T-24; every layer is asked, and no answer covers that of another."""
    found = sign.unreadable(findings)
    assert [text.split()[2] for _, text in found] == reasons
    assert {code for code, _ in found} <= {"gate.malformed"}


# --- what section 5 takes off, and what of it is kept (decisions) ----------------------------------------

SWEET = ess_values.label(food.label("Food:Luxury::Sweet"))
UNKNOWN = attributes.attribute("1.2.3.4", der.utf8("of nobody here"))
AUTHORITY = Signer(world.credential(acme().attributes))


def labelled(*stated: Attribute, notation: str = "E(S(OC))") -> bytes:
    """A layer of bob's that states these, around one that has to come off."""
    return world.message(world.signed(world.entity(notation), acme().users["bob"], extra=stated))


def plan_of(octets: bytes, **options: bool) -> sign.Plan:
    return sign.plan(world.look(octets).message.spine(), encrypt=False, **options)


IN_CLEAR = wishes.wish(
    world.acme_site().configuration, Peer("people.example", domsec=False, clear_unsigned=True), domsec=False
)


def stated_by(layer: Layer) -> set[str]:
    assert layer.signed is not None
    (signer,) = layer.signed.signers
    assert signer.signed_attributes is not None
    return {attribute.oid for attribute in signer.signed_attributes.items}


@pytest.mark.requirement("R3183-5-03", "R3183-5-10")
def test_attributes_that_nobody_here_knows_go_on_unless_that_is_not_wanted() -> None:
    octets = labelled(world.history(), SWEET, UNKNOWN)
    for options, kept in (({}, True), ({"copy_unknown": True}, True), ({"copy_unknown": False}, False)):
        outer = plan_of(octets, **options).outer
        assert outer is not None
        wanted = {oids.ID_AA_ML_EXPAND_HISTORY, oids.ID_AA_SECURITY_LABEL, *([UNKNOWN.oid] if kept else [])}
        assert {attribute.oid for attribute in outer} == wanted


@pytest.mark.parametrize(
    ("octets", "lost"),
    [
        (labelled(SWEET), True),
        (labelled(SWEET, world.history()), False),  # its successor states it
        (labelled(SWEET, notation="S(OC)"), False),  # nothing is taken off
        (labelled(UNKNOWN), False),
    ],
)
def test_a_label_is_lost_where_its_layer_comes_off_and_no_list_layer_takes_it_on(octets: bytes, lost: bool) -> None:
    found = plan_of(octets)
    assert [attribute.raw for attribute in sign.lost_labels(found)] == ([SWEET.raw] if lost else [])
    assert found.carried == ()  # that is for whoever asks
    assert [attribute.raw for attribute in plan_of(octets, carry_labels=True).carried] == ([SWEET.raw] if lost else [])


@pytest.mark.requirement("R3183-3.3-01", "R3183-3.3-06")
@pytest.mark.parametrize(("notation", "structure"), [
    ("E(S(OC))", "S[domain](S[attributes](S[originator](OC)))"),
    ("E(OC)", "S[domain](S[attributes](S0(OC)))"),
])  # fmt: skip
def test_a_label_that_would_be_lost_is_stated_again_by_our_attribute_authority(notation: str, structure: str) -> None:
    """Also where a domain signature in the clear was agreed: around a further signature it is opaque."""
    octets = labelled(SWEET, notation=notation)
    header = world.look(octets).message.header
    found = wishes.as_agreed(plan_of(octets, carry_labels=True), IN_CLEAR, ())
    assert not found.in_clear
    signer = Signer(world.credential(acme().signing))
    body, _ = sign.kept(found, header, Protection())
    made = sign.domain_signed(found, body, signer, world.NOW, attribute_authority=AUTHORITY)
    whole = sign.apply(found, header, signer, world.NOW, attribute_authority=AUTHORITY)
    for entity in (bytes(made), bytes(whole)):  # type: ignore[arg-type]
        examination = world.look(world.message(entity))
        assert (examination.verdict.structure, examination.verdict.accepted) == (structure, True)
        assert oids.ID_AA_SECURITY_LABEL in stated_by(examination.message.spine()[1])
    with pytest.raises(ValueError, match="who states"):
        sign.apply(found, header, signer, world.NOW)


@pytest.mark.parametrize("values", [(b"\x30\x00",), (b"",), (*SWEET.values, *SWEET.values)])
def test_a_label_that_cannot_be_read_is_not_stated_again(values: tuple[bytes, ...]) -> None:
    lost = attributes.attribute(oids.ID_AA_SECURITY_LABEL, *values)
    with pytest.raises(SigningRefused) as caught:
        plan_of(labelled(lost), carry_labels=True)
    assert [code for code, _ in caught.value.reasons] == ["stripped_label"]


def test_the_audit_trail_has_the_signatures_that_come_off_and_no_others() -> None:
    octets = labelled(SWEET, notation="S[review](S0(E(S(OC))))")
    examination = world.look(octets)
    gone = sign.stripped(sign.plan(examination.message.spine(), encrypt=False), examination.findings, world.NOW)
    assert [(each.layer, each.signers) for each in gone.layers] == [
        ("1", ("CN=Bob",)),
        ("1.1", ("CN=review-authority",)),
    ]
    assert oids.name(oids.ID_AA_SECURITY_LABEL) in gone.layers[0].attributes


# --- octets ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R9788-4-01")
def test_header_fields_go_into_plain_content_only() -> None:
    """A body that is compressed, or has its fields inside already, stays as it came."""
    plain = world.look(build("OC")).message
    entity, _ = sign.kept(plan_of(build("OC")), plain.header, Protection("fields"))
    once = world.encrypted(bytes(entity), acme().confidentiality)  # type: ignore[arg-type]
    for octets in (build("C(S(OC))"), world.message(once)):
        message, plan = world.look(octets).message, plan_of(octets)
        kept, outside = sign.kept(plan, message.header, Protection("fields"))
        assert plan.null
        assert kept == layers.mime_entity(plan.body)
        assert outside == message.header


def test_nothing_is_hidden_where_nothing_is_encrypted() -> None:
    message = world.look(build("OC")).message
    for encrypt, subject in ((False, "plans"), (True, "[...]")):
        plan = sign.plan(message.spine(), encrypt=encrypt)
        _, outside = sign.kept(plan, message.header, Protection("fields", hide=True))
        assert [field.value.strip() for field in outside.all("subject")] == [subject]


def test_a_domain_signature_in_the_clear_is_one_of_the_domain_and_has_its_time() -> None:
    octets = build("OC")
    message = world.look(octets).message
    signer = Signer(world.credential(acme().signing))
    plan = wishes.as_agreed(plan_of(octets), IN_CLEAR, ())
    assert (plan.in_clear, plan.notation) == (True, "S[domain](OC)")
    body, _ = sign.kept(plan, message.header, Protection())
    made = sign.domain_signed(plan, body, signer, world.NOW)
    (signed,) = judge(world.message(bytes(made))).layers[0].signers  # type: ignore[arg-type]
    assert (signed.types, signed.signing_time) == (("domain",), world.NOW.isoformat())
