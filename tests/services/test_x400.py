"""Messages of X.400: signed, encrypted and domain signed without MIME, judged, and carried in mail and back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import names
import pki
import world
from domsec import der, oids, x400
from domsec.cms import attributes, content_info, enveloped_data, signed_data
from domsec.cms.attributes import Attribute
from domsec.cms.signed_data import Signing
from domsec.errors import LimitExceeded, MalformedMessage, SigningRefused, Unsupported
from domsec.ess.receipts import ContentHints
from domsec.limits import Limits
from domsec.mime import fields, header_protection, smime
from domsec.mime.header_protection import Protection
from domsec.services import delivery, encrypt, layers, sign
from domsec.services import names as names_of
from domsec.services.check import Examination, examine
from domsec.services.context import Context
from domsec.services.layers import INTERPERSONAL
from domsec.services.peer import Peer
from domsec.services.sign import Evidence, Plan, Signer, gate, plan
from domsec.services.signature_type import SignatureType
from interpersonal import P22, address_content, certified, message, or_name
from world import acme

DSA_NAME = "cn=domain-signing-authority,o=acme,c=us"
ALICE = x400.ORName.read(or_name())
BOB = x400.ORName.read(or_name(address_content(given="Bob")))
ORGANIZATION = address_content(surname=None)  # acme itself: no user
TEXT = x400.received(22, message())


def authority() -> pki.Identity:
    return certified("signing", DSA_NAME, ORGANIZATION)


def confidentiality() -> pki.Identity:
    return certified("confidentiality", "cn=domain-confidentiality-authority,o=acme,c=us", ORGANIZATION)


def alice() -> pki.Identity:
    return certified("user", "cn=Alice Doe,o=acme,c=us", address_content())


def by(identity: pki.Identity, *extra: Attribute) -> tuple[Signing, ...]:
    return (Signing(world.credential(identity), attributes=extra),)


def signed(content: x400.Content, identity: pki.Identity | None = None, *extra: Attribute) -> x400.Content:
    return x400.sign(content, by(identity or alice(), *extra), world.NOW)


def encrypted(content: x400.Content, **options: object) -> x400.Content:
    return x400.encrypt(content, [confidentiality().certificate], **options)  # type: ignore[arg-type]


def look(
    content: x400.Content, *originators: str | x400.ORName, at: Context | None = None, opens: bool = True
) -> Examination:
    at = at or (world.context(confidentiality()) if opens else world.context())
    return examine(x400.peel(content, originators or (ALICE,), at.keyring), at)


def planned(content: x400.Content, *, encrypt: bool = False) -> Plan:
    return plan(look(content).message.spine(), encrypt=encrypt)


def domain_signed(content: x400.Content, **options: object) -> x400.Content:
    made = planned(content, encrypt=bool(options))
    return x400.apply(made, Signer(world.credential(authority())), world.NOW, **options)  # type: ignore[arg-type]


def inside(content: x400.Content) -> signed_data.SignedData:
    return signed_data.parse_signed_data(content_info.parse(content.octets).content)


# --- making (RFC 3854 3) --------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3854-3.4-01")
def test_a_content_is_signed_as_it_is_under_its_own_type() -> None:
    made = signed(TEXT)
    assert made.type == oids.ID_CT_CONTENT_INFO
    found = inside(made)
    assert (found.content_type, bytes(found.content or b"")) == (P22, message())
    assert found.version == 3  # RFC 5652 5.1, since it is not id-data


def test_a_content_is_encrypted_as_it_is_under_its_own_type() -> None:
    info = content_info.parse(encrypted(TEXT).octets)
    assert info.content_type == oids.ID_ENVELOPED_DATA
    found = enveloped_data.parse_enveloped(info.content_type, info.content)
    assert found.content_type == P22
    assert enveloped_data.decrypt(found, [world.credential(confidentiality())]).plaintext == message()


@pytest.mark.requirement("R3854-3.4-01")
def test_a_triple_wrapped_message_has_no_mime_in_it() -> None:
    """RFC 3854 3.4.1, step by step: each eContentType is the next structure, each eContent its value."""
    one = signed(TEXT)
    two = encrypted(one)
    three = signed(two)
    outer = inside(three)
    assert outer.content_type == oids.ID_ENVELOPED_DATA
    assert bytes(outer.content or b"") == bytes(content_info.parse(two.octets).content)
    sealed = enveloped_data.parse_enveloped(oids.ID_ENVELOPED_DATA, outer.content or b"")
    assert sealed.content_type == oids.ID_SIGNED_DATA
    opened = enveloped_data.decrypt(sealed, [world.credential(confidentiality())])
    assert opened.plaintext == bytes(content_info.parse(one.octets).content)
    assert b"Content-Type" not in three.octets + opened.plaintext
    verdict = look(three).verdict
    assert (verdict.structure, verdict.level) == ("S[unspecified](E(S[originator](OC)))", "originator_direct")


@pytest.mark.parametrize(
    ("make", "smime_type"),
    [
        (lambda: signed(TEXT), "signed-x400"),
        (lambda: encrypted(TEXT), "enveloped-x400"),
        (lambda: signed(encrypted(TEXT)), "enveloped-x400"),
        (lambda: signed(encrypted(signed(TEXT))), "signed-x400"),
        (lambda: domain_signed(TEXT), "signed-x400"),
        (lambda: encrypted(domain_signed(TEXT)), "signed-x400"),
        (lambda: signed(x400.Content(oids.ID_DATA, world.TEXT)), "signed-data"),
        (lambda: encrypted(x400.Content(oids.ID_DATA, world.TEXT)), "enveloped-data"),
    ],
)
def test_what_protects_the_content_itself_is_said_outside(make: object, smime_type: str) -> None:
    """RFC 3854 3.4.1: "the innermost type is reflected outwards", in mail as in the envelope of X.400."""
    made: x400.Content = make()  # type: ignore[operator]
    assert made.smime_type == smime_type
    entity = x400.to_mail(made)
    assert f"smime-type={smime_type};".encode() in entity
    layer = layers.peel_entity(entity, [world.credential(confidentiality())])
    assert (layer.flags, layers.smime_type(layer)) == ((), smime_type)


@pytest.mark.parametrize("smime_type", ["signed-x400", "enveloped-x400"])
def test_what_is_closed_may_hold_what_smime_type_says(smime_type: str) -> None:
    outside = x400.to_mail(x400.Content(oids.ID_CT_CONTENT_INFO, encrypted(signed(TEXT)).octets, smime_type))
    assert layers.peel_entity(outside).flags == ()


@pytest.mark.parametrize(
    ("smime_type", "fits"),
    [("signed-data", True), ("Signed-Data", True), ("SIGNED-X400", True), ("enveloped-data", False)],
)
def test_smime_type_may_name_the_structure_alone_in_any_letters(smime_type: str, fits: bool) -> None:
    entity = x400.to_mail(x400.Content(oids.ID_CT_CONTENT_INFO, signed(TEXT).octets, smime_type))
    assert f"smime-type={smime_type};".encode() in entity
    assert (layers.peel_entity(entity).flags == ()) is fits


def test_an_smime_type_of_x400_around_mail_is_noticed() -> None:
    made = x400.sign(x400.Content(oids.ID_DATA, world.TEXT), by(alice()), world.NOW)
    entity = x400.to_mail(x400.Content(made.type, made.octets, "signed-x400"))
    assert [code for code, _ in layers.peel_entity(entity).flags] == ["mime.smime_type"]


# --- the domain signature (RFC 3183 3, without MIME) -----------------------------------------------------------------


@pytest.mark.requirement("R3183-3-05", "R3183-3-06", "R3183-3-07", "R3854-3.4-01")
def test_an_unsigned_content_stands_in_the_empty_signature_as_it_is() -> None:
    """The empty signature has to call it id-data; contentHints of the domain signature say what it is."""
    made = domain_signed(TEXT)
    outer = inside(made)
    assert outer.content_type == oids.ID_SIGNED_DATA
    empty = signed_data.parse_signed_data(outer.content or b"")
    assert (empty.signers, empty.content_type, bytes(empty.content or b"")) == ((), oids.ID_DATA, message())
    (stated,) = outer.signers[0].signed_attributes.get(oids.ID_AA_CONTENT_HINT)  # type: ignore[union-attr]
    assert ContentHints.read(stated.values[0]) == ContentHints(P22)
    examined = look(made)
    verdict = examined.verdict
    assert (verdict.structure, verdict.level, verdict.accepted) == ("S[domain](S0(OC))", "domain", True)
    assert verdict.domain == "CN=domain-signing-authority,O=acme,C=us"
    content = examined.message.spine()[-1]
    assert (content.content_type, content.form, bytes(content.entity)) == (P22, "direct", message())


def test_a_signature_that_is_kept_is_kept_octet_by_octet() -> None:
    one = signed(TEXT)
    made = domain_signed(one)
    assert bytes(inside(made).content or b"") == bytes(content_info.parse(one.octets).content)
    verdict = look(made).verdict
    assert (verdict.structure, verdict.level) == ("S[domain](S[originator](OC))", "originator_direct")


@pytest.mark.requirement("R3183-5-10", "R3854-3.4-01")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda: TEXT, "E(S[domain](S0(OC)))"),
        (lambda: signed(TEXT), "E(S[domain](S[originator](OC)))"),
        (lambda: encrypted(signed(TEXT)), "E(S[domain](S[originator](OC)))"),
        (lambda: signed(encrypted(signed(TEXT))), "E(S[domain](S[originator](OC)))"),
        (lambda: signed(encrypted(signed(TEXT)), None, world.history()),
         "S[unspecified]+mlh(E(S[domain](S[originator](OC))))"),
        (lambda: encrypted(encrypted(signed(TEXT))), "E(S[domain](S0(E(S[originator](OC)))))"),
    ],
)  # fmt: skip
def test_section_5_without_mime(before: object, after: str) -> None:
    made = domain_signed(before(), encrypt=encrypted)  # type: ignore[operator]
    verdict = look(made).verdict
    assert verdict.structure == after
    assert verdict.accepted


def test_whether_to_encrypt_is_what_the_plan_says() -> None:
    signer = Signer(world.credential(authority()))
    with pytest.raises(ValueError, match="plan"):
        x400.apply(planned(TEXT), signer, world.NOW, encrypt=encrypted)
    with pytest.raises(ValueError, match="plan"):
        x400.apply(planned(TEXT, encrypt=True), signer, world.NOW)


def test_the_cipher_is_the_callers_choice() -> None:
    made = encrypted(signed(TEXT), cipher=encrypt.Cipher("aes256-gcm"))
    assert content_info.parse(made.octets).content_type == oids.ID_CT_AUTH_ENVELOPED_DATA
    assert look(signed(made)).verdict.structure == "S[unspecified](E(S[originator](OC)))"


def test_the_authority_that_encrypts_says_who_it_is() -> None:
    made = encrypted(signed(TEXT), originator=(confidentiality().certificate,))
    assert "enc_agent.unknown" not in world.codes(look(made).verdict)


@pytest.mark.requirement("R8551-2.5.2-01", "R8551-2.5.3-01")
def test_the_domain_signature_has_its_time_and_brings_the_domains_key() -> None:
    key = confidentiality().certificate
    for announced in (key, None):
        signer = Signer(world.credential(authority()), confidentiality=announced)
        made = x400.apply(planned(TEXT), signer, world.NOW)
        assert (key in inside(made).certificates) is (announced is not None)
        assert look(made).verdict.layers[0].signers[0].signing_time == world.NOW.isoformat()


def test_a_layer_that_came_without_mime_is_in_mail_what_it_was() -> None:
    for content, smime_type in ((signed(TEXT), "signed-x400"), (encrypted(TEXT), "enveloped-x400")):
        entity = bytes(layers.mime_entity(look(content).message.root))  # type: ignore[arg-type]
        assert f"smime-type={smime_type};".encode() in entity
        assert x400.from_mail(entity) == content
    assert look(TEXT).message.root.content == message()


def test_what_only_its_file_name_says_to_be_cms_is_none_where_there_is_no_mail() -> None:
    """The suffix is for mail programs that know no better type; X.400 says what a content is."""
    entity = bytes(smime.pkcs7_mime(signed_data.null_layer(message()), "signed-data"))  # type: ignore[arg-type]
    named = entity.replace(b"application/pkcs7-mime; smime-type=signed-data", b"application/octet-stream")
    assert x400.from_mail(named) == x400.Content(oids.ID_DATA, named)
    assert look(x400.Content(oids.ID_DATA, named)).message.root.kind == "content"
    assert layers.peel(b"From: alice@acme.example\r\n" + named, ()).root.kind == "null"


@pytest.mark.requirement("R9788-4-01")
def test_header_fields_in_content_are_protected_by_a_layer_around_it_only() -> None:
    header, _ = fields.split_message(world.build("OC"))
    entity, _ = header_protection.put_inside(header, world.TEXT, Protection("fields"))
    octets = bytes(entity)  # type: ignore[arg-type]
    assert layers.peel_entity(octets).protected is not None  # an entity that was inside of one
    assert look(x400.Content(oids.ID_DATA, octets)).message.root.protected is None


@pytest.mark.parametrize(("key_transport", "oid"), [("oaep", oids.RSAES_OAEP), ("pkcs1v15", oids.RSA_ENCRYPTION)])
def test_the_way_to_an_rsa_key_is_the_callers_choice(key_transport: str, oid: str) -> None:
    bob = pki.identity("user", "bob@acme.example", acme().ca, "rsa2048").certificate
    cipher = encrypt.Cipher("aes256-cbc", key_transport=key_transport)  # type: ignore[arg-type]
    info = content_info.parse(x400.encrypt(TEXT, [bob], cipher).octets)
    found = enveloped_data.parse_enveloped(info.content_type, info.content)
    assert [recipient.algorithm.oid for recipient in found.recipients] == [oid]  # type: ignore[union-attr]


def test_what_protects_a_content_is_still_said_outside_where_it_stands_in_the_empty_signature() -> None:
    """RFC 3854 3.4.1: it is the innermost protection that the smime-type tells."""
    made = domain_signed(encrypted(encrypted(signed(TEXT))), encrypt=encrypted)
    assert made.smime_type == "signed-x400"


# what the hint may not do


def hinted(hint: bytes, *, null: bytes | None = None, wrapped: bool = False, twice: bool = False) -> x400.Content:
    """A domain signature with this contentHints value around an empty signature."""
    empty = signed_data.null_layer(message()) if null is None else null
    around = x400.Content(oids.ID_CT_CONTENT_INFO, empty)
    if wrapped:
        around = x400.Content(oids.ID_DATA, smime.pkcs7_mime(empty, "signed-data"))
    hints = [attributes.attribute(oids.ID_AA_CONTENT_HINT, hint)] * (2 if twice else 1)
    return signed(around, authority(), world.typed(SignatureType.DOMAIN), *hints)


@pytest.mark.parametrize(
    ("made", "content_type"),
    [
        pytest.param(lambda: hinted(ContentHints(P22).write()), P22, id="as it should be"),
        pytest.param(lambda: hinted(ContentHints(oids.ID_SIGNED_DATA).write()), oids.ID_DATA, id="CMS"),
        pytest.param(lambda: hinted(ContentHints("1.2.3").write()), oids.ID_DATA, id="an unknown type"),
        pytest.param(lambda: hinted(b"\x05\x00"), oids.ID_DATA, id="not readable"),
        pytest.param(lambda: hinted(ContentHints(P22).write(), twice=True), oids.ID_DATA, id="twice"),
        pytest.param(lambda: hinted(ContentHints(P22).write(), wrapped=True), oids.ID_DATA, id="around MIME"),
    ],
)
def test_a_hint_counts_where_there_is_no_mime(made: object, content_type: str) -> None:
    content = look(made()).message.spine()[-1]  # type: ignore[operator]
    assert content.content_type == content_type


def test_signers_whose_hints_differ_give_none() -> None:
    around = x400.Content(oids.ID_CT_CONTENT_INFO, signed_data.null_layer(message()))
    hints = [attributes.attribute(oids.ID_AA_CONTENT_HINT, ContentHints(kind).write()) for kind in INTERPERSONAL]
    assert len(hints) > 1
    made = x400.sign(around, [signing for hint in hints for signing in by(authority(), hint)], world.NOW)
    assert look(made).message.spine()[-1].content_type == oids.ID_DATA


def test_a_hint_that_is_wrong_is_a_violation() -> None:
    verdict = look(hinted(ContentHints(P22).write(), null=signed_data.null_layer(world.TEXT))).verdict
    assert "x400.malformed" in world.codes(verdict, "violation")
    assert not verdict.accepted


# --- whose message it is --------------------------------------------------------------------------------------------


def test_the_originator_is_who_the_caller_says() -> None:
    verdict = look(signed(TEXT)).verdict
    assert (verdict.from_.mailboxes, verdict.from_.valid) == ((ALICE.text,), True)
    assert verdict.from_.inner == (ALICE.text,)
    nobody = world.context()
    found = examine(x400.peel(signed(TEXT), ()), nobody).verdict
    assert world.codes(found, "violation") == {"from.invalid"}


@pytest.mark.requirement("R3854-4.3-01")
def test_an_x400_address_of_a_certificate_is_a_name_of_its_owner() -> None:
    verdict = look(signed(TEXT)).verdict
    assert verdict.layers[0].address == "match"
    assert verdict.layers[0].signers[0].x400_addresses == ("C=US;A= ;P=Acme;O=Acme;S=Doe;G=Alice",)
    assert verdict.originator is not None
    assert verdict.originator.addresses == (ALICE.text,)


@pytest.mark.requirement("R3854-4.3-01")
def test_a_heading_that_names_somebody_else_is_not_what_the_certificate_says() -> None:
    """RFC 3854 4.3: the originator in the content has to match. The envelope says the same as the certificate."""
    forged = signed(x400.received(22, message(or_name(address_content(given="Bob")))))
    verdict = look(forged, ALICE).verdict
    assert verdict.layers[0].address == "mismatch"
    assert "from.outer_inner_differ" in world.codes(verdict, "violation")
    assert verdict.level == "none"


def test_a_certificate_without_x400_address_names_nobody_of_x400() -> None:
    somebody = certified("user", "cn=Alice Doe,o=acme,c=us", addresses=("alice@acme.example",))
    verdict = look(signed(TEXT, somebody)).verdict
    assert (verdict.layers[0].address, verdict.level) == ("not_present", "none")


@pytest.mark.requirement("R3183-3.1.1-07", "R3183-3.1.1-16", "R3183-3.1.1-19")
@pytest.mark.parametrize(
    ("address", "originator", "code"),
    [
        (ORGANIZATION, ALICE, None),
        (address_content(organization=None, surname=None), ALICE, None),  # the private domain above
        (ORGANIZATION, x400.ORName.read(or_name(address_content("Acme", "Sales"))), None),
        (address_content("Acme", "Sales", surname=None), ALICE, "mapping.mismatch"),
        (address_content("Acm", surname=None), ALICE, "mapping.mismatch"),
        (address_content(country="GB", surname=None), ALICE, "mapping.mismatch"),
        (address_content(organization=None, private=None, surname=None), ALICE, "mapping.too_general"),
        (None, ALICE, "mapping.not_comparable"),
    ],
)
def test_an_authority_covers_its_own_organization_and_what_is_below(
    address: bytes | None, originator: x400.ORName, code: str | None
) -> None:
    """The name mapping rule for X.400 addresses: from the country down to the units."""
    content = x400.received(22, message(or_name(address_content("Acme", "Sales")) if originator != ALICE else None))
    identity = certified("signing", DSA_NAME, *([] if address is None else [address]))
    null = x400.Content(oids.ID_CT_CONTENT_INFO, signed_data.null_layer(content.octets))
    hint = attributes.attribute(oids.ID_AA_CONTENT_HINT, ContentHints(P22).write())
    verdict = look(signed(null, identity, world.typed(SignatureType.DOMAIN), hint), originator).verdict
    assert world.codes(verdict, "violation") == ({code} if code else set())
    assert verdict.accepted is (code is None)


@pytest.mark.parametrize(("units", "relation"), [((), "ascendant"), (("Sales",), "equal"), (("Buying",), "mismatch")])
def test_how_an_authority_stands_to_an_x400_address_is_told(units: tuple[str, ...], relation: str) -> None:
    certificate = certified("signing", DSA_NAME, address_content("Acme", *units, surname=None)).certificate
    somebody = names_of.entity(x400.ORName.read(or_name(address_content("Acme", "Sales"))))
    found = names_of.check_mapping(certificate, [somebody], None, lambda _: False)
    assert [(form, stands) for _, form, stands in found.detail if form == "x400"] == [("x400", relation)]


def test_several_addresses_of_an_authority_serve_several_organizations() -> None:
    both = certified("signing", DSA_NAME, address_content("Beta", private="Beta", surname=None), ORGANIZATION)
    made = x400.apply(planned(TEXT), Signer(world.credential(both)), world.NOW)
    assert look(made).verdict.accepted


@pytest.mark.parametrize("trusted", [True, False])
def test_a_directory_name_counts_when_a_trusted_certificate_ties_it_to_the_address(trusted: bool) -> None:
    """Decisions A-16: the authority has a directory name only; alice's own certificate has both, in the same o=acme."""
    ca = [acme().ca.certificate]
    made = x400.apply(planned(signed(TEXT)), Signer(world.credential(certified("signing", DSA_NAME))), world.NOW)
    verdict = look(made, at=world.context(roles=ca, users=ca if trusted else ())).verdict
    assert world.codes(verdict, "violation") == (set() if trusted else {"mapping.no_mail_form"})


def test_the_directory_name_agreed_for_a_mail_domain_is_of_its_mailboxes_only() -> None:
    """From is alice@acme.example, whose domain o=acme stands for by agreement; the heading names somebody of beta."""
    authority = certified("signing", DSA_NAME, addresses=("domain-signing-authority@acme.example",))
    content = x400.received(22, message(or_name(address_content("Beta", private="Beta"))))
    made = x400.apply(planned(content), Signer(world.credential(authority)), world.NOW)
    peer = Peer("acme.example", distinguished_name=names.subject("o=acme,c=us"))
    verdict = world.judge(world.message(x400.to_mail(made)), world.context(peers=[peer]))
    assert world.codes(verdict, "violation") == {"mapping.not_comparable"}


def test_a_directory_name_in_the_originators_name_proves_nothing() -> None:
    """Whoever sends the message chose it: o=acme beside an address of beta, signed by acme's authority."""
    acme_name = certified("user", "cn=Alice Doe,o=acme,c=us").certificate.subject
    claimed = x400.ORName.read(or_name(address_content("Beta", private="Beta"), acme_name))
    assert claimed.directory_name == acme_name
    content = x400.received(22, message(or_name(address_content("Beta", private="Beta"), acme_name)))
    made = x400.apply(
        plan(look(content, claimed).message.spine(), encrypt=False), Signer(world.credential(authority())), world.NOW
    )
    assert "mapping.mismatch" in world.codes(look(made, claimed).verdict, "violation")


@pytest.mark.requirement("R3183-3.1.1-01")
@pytest.mark.parametrize(
    ("user", "fits"),
    [
        (None, True),
        ("domain-signing-authority", True),
        ("Domain-Signing-Authority", True),
        ("review-authority", False),
        ("Doe", False),
    ],
)
def test_an_x400_address_of_an_authority_names_no_person(user: str | None, fits: bool) -> None:
    identity = certified("signing", DSA_NAME, address_content(surname=user, given=None))
    made = x400.apply(planned(TEXT), Signer(world.credential(identity)), world.NOW)
    assert ("naming.x400" in world.codes(look(made).verdict, "violation")) is not fits


def test_a_vouched_originator_is_one_whose_own_address_the_authority_covers() -> None:
    made = domain_signed(signed(TEXT))
    ca = [acme().ca.certificate]
    verdict = look(made, at=world.context(roles=ca, users=())).verdict
    assert (verdict.level, verdict.accepted) == ("originator_vouched", True)


# --- the gate -------------------------------------------------------------------------------------------------------

FROM_ACME = Evidence("mts", "the MTA of acme", x400=frozenset({x400.ORAddress.of(ORGANIZATION)}))


def granted(
    content: x400.Content, *evidence: Evidence, originators: Sequence[x400.ORName] = (ALICE,)
) -> tuple[str, ...]:
    examined = look(content, *originators)
    return gate(examined, authority().certificate, evidence, world.context()).evidence


@pytest.mark.requirement("R3183-3.2-04", "R3183-3.2-05")
def test_the_gate_opens_for_evidence_or_a_signature_of_the_originator() -> None:
    assert granted(TEXT, FROM_ACME) == ("mts the MTA of acme",)
    assert granted(TEXT, Evidence("login", "alice", x400=frozenset({ALICE.address}))) == ("login alice",)
    assert granted(signed(TEXT)) == ("signature of layer 1",)


@pytest.mark.parametrize(
    ("evidence", "originator", "code"),
    [
        ((), ALICE, "gate.originator"),
        ((Evidence("login", "bob", x400=frozenset({BOB.address})),), ALICE, "gate.originator"),
        ((Evidence("login", "alice", addresses=frozenset({"alice@acme.example"})),), ALICE, "gate.originator"),
        ((FROM_ACME,), BOB, "gate.from"),  # the heading says alice
    ],
)
def test_the_gate_stays_shut(evidence: tuple[Evidence, ...], originator: x400.ORName, code: str) -> None:
    with pytest.raises(SigningRefused) as refused:
        granted(TEXT, *evidence, originators=[originator])
    assert code in [found for found, _ in refused.value.reasons]


def test_the_gate_refuses_an_organization_that_is_not_ours() -> None:
    beta = or_name(address_content("Beta", private="Beta"))
    all_of_us = Evidence("mts", "everybody", x400=frozenset({x400.ORAddress.of(address_content(
        organization=None, private=None, surname=None))}))  # fmt: skip
    with pytest.raises(SigningRefused) as refused:
        granted(x400.received(22, message(beta)), all_of_us, originators=[x400.ORName.read(beta)])
    assert [code for code, _ in refused.value.reasons] == ["gate.not_our_domain"]


def test_mail_around_a_heading_that_names_somebody_else_is_not_signed() -> None:
    """From says alice, whom the network vouches for; inside is an X.400 content from who knows whom."""
    octets = world.message(x400.to_mail(TEXT))
    at = world.context()
    examined = examine(layers.peel(octets), at)
    network = Evidence("network", "127.0.0.1", domains=frozenset({"acme.example"}))
    with pytest.raises(SigningRefused) as refused:
        gate(examined, acme().signing.certificate, [network], at)
    assert {code for code, _ in refused.value.reasons} == {"gate.not_our_domain", "gate.originator"}


# --- in mail, and back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: TEXT, id="an X.400 content"),
        pytest.param(lambda: domain_signed(signed(TEXT)), id="CMS"),
        pytest.param(lambda: x400.Content(oids.ID_DATA, world.TEXT), id="MIME"),
        pytest.param(lambda: x400.Content(oids.ID_DATA, world.entity("S~(OC)")), id="CMS in MIME"),
    ],
)
def test_a_content_comes_out_of_mail_as_it_went_in(make: object) -> None:
    content: x400.Content = make()  # type: ignore[operator]
    assert x400.from_mail(x400.to_mail(content)) == content


def test_a_plain_content_is_named_by_its_number() -> None:
    """RFC 3854 3.5."""
    assert x400.to_mail(TEXT).startswith(b"Content-Type: application/x400-content; content-type=22\r\n")


def test_cms_without_its_mime_is_what_x400_carries() -> None:
    content = x400.from_mail(world.entity("S[domain](S(OC))"))
    assert (content.type, content.smime_type) == (oids.ID_CT_CONTENT_INFO, "signed-data")
    verdict = look(content, "alice@acme.example").verdict
    assert (verdict.structure, verdict.level) == ("S[domain](S[originator](OC))", "originator_direct")
    assert verdict.from_.mailboxes == ("alice@acme.example",)


def test_mime_is_taken_apart_too() -> None:
    verdict = look(x400.Content(oids.ID_DATA, world.entity("S~(OC)")), "alice@acme.example").verdict
    assert (verdict.structure, verdict.accepted) == ("S[originator](OC)", True)


@pytest.mark.parametrize(
    ("entity", "error"),
    [
        (b"Content-Type: application/x400-content; content-type=35\r\n\r\n", Unsupported),
        (b"Content-Type: application/x400-content\r\n\r\n", MalformedMessage),
        (b"Content-Type: application/x400-content; content-type=22; content-type=2\r\n\r\n", MalformedMessage),
        (b"Content-Type: application/x400-content; content-type=22\r\nContent-Transfer-Encoding: base64\r\n\r\n*",
         MalformedMessage),
        (smime.pkcs7_mime(b"\x30\x00", "signed-data"), MalformedMessage),
    ],
)  # fmt: skip
def test_what_cannot_be_carried(entity: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        x400.from_mail(entity)


def test_a_gateway_signs_for_x400_and_mail_at_once() -> None:
    """Its authority has both kinds of address; alice is known as both. Beta reads mail, and checks both."""
    both = certified("signing", DSA_NAME, ORGANIZATION, addresses=("domain-signing-authority@acme.example",))
    made = x400.apply(planned(TEXT), Signer(world.credential(both)), world.NOW)
    mail = world.message(x400.to_mail(made))
    verdict = world.judge(mail)
    assert (verdict.structure, verdict.level, verdict.domain) == ("S[domain](S0(OC))", "domain", "acme.example")
    assert verdict.accepted
    assert verdict.from_.inner == (ALICE.text,)
    # an authority of mail alone covers From, and not the heading
    only_mail = x400.apply(planned(TEXT), Signer(world.credential(acme().signing)), world.NOW)
    assert world.codes(world.judge(world.message(x400.to_mail(only_mail))), "violation") == {"mapping.not_comparable"}


def test_what_is_delivered_is_the_content() -> None:
    examined = look(encrypted(domain_signed(TEXT)))
    delivered = delivery.deliver(examined, "verified")
    assert delivered.layer is not None
    assert x400.content_of(delivered.layer) == TEXT
    assert delivered.entity() == x400.to_mail(TEXT)


def test_a_layer_is_carried_as_it_came() -> None:
    one = signed(TEXT)
    made = domain_signed(one)
    assert [x400.content_of(layer) for layer in look(made).message.spine()] == [made, one, TEXT]
    mail = layers.peel(world.build("S(OC)")).root
    assert x400.content_of(mail) == x400.Content(oids.ID_DATA, bytes(mail.entity))


def test_a_message_forwarded_in_another_one_is_judged_by_itself() -> None:
    """RFC 3855 2.3: the body part has the whole object, signature and all."""
    made = domain_signed(signed(TEXT))
    forwarded = x400.forwarded(x400.forwarding(made))
    assert look(forwarded).verdict.accepted


# --- hostile octets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (x400.Content(oids.ID_CT_CONTENT_INFO, b"\x30\x00"), "cms.malformed"),
        (x400.Content(oids.ID_CT_CONTENT_INFO, signed_data.null_layer(b"") + b"\0"), "cms.trailing"),
        (x400.Content(oids.ID_CT_CONTENT_INFO, content_info.wrap(oids.ID_DIGESTED_DATA, der.null())),
         "cms.unsupported"),
        (x400.Content(P22, b"hello"), "x400.malformed"),
        (x400.Content(oids.ID_DATA, b"Content-Type: application/x400-content; content-type=22\r\n\r\nhello"),
         "x400.malformed"),
    ],
)  # fmt: skip
def test_what_is_wrong_becomes_a_flag(content: x400.Content, code: str) -> None:
    verdict = look(content).verdict
    assert code in world.codes(verdict)
    assert not verdict.accepted


def test_layers_without_mime_are_counted_too() -> None:
    content = TEXT
    for _ in range(4):
        content = signed(content)
    deep = Limits(depth=5)
    assert [layer.kind for layer in x400.peel(content, [ALICE], limits=deep).spine()] == ["signed"] * 4 + ["content"]
    found = x400.peel(signed(content), [ALICE], limits=deep).spine()
    assert (found[-1].kind, found[-1].flags[0][0]) == ("unsupported", "limit.depth")


def test_a_content_that_is_too_large() -> None:
    assert x400.peel(TEXT, [ALICE], limits=Limits(size=len(message())))
    with pytest.raises(LimitExceeded):
        x400.peel(TEXT, [ALICE], limits=Limits(size=len(message()) - 1))


def test_nobody_is_asked_for_the_recipients() -> None:
    """Mail has To and Cc, and who opens what is for somebody else is told; here is no header to compare with."""
    made = x400.encrypt(signed(TEXT), [alice().certificate])
    assert world.codes(look(made, at=world.context(alice())).verdict) == {"enc_agent.unknown"}


def test_the_header_of_mail_is_protected_around_an_x400_content() -> None:
    """An unsigned X.400 content in mail is domain signed like other mail."""
    octets = world.message(x400.to_mail(x400.received(22, message(b""))))
    at = world.context()
    examined = examine(layers.peel(octets), at)
    made = sign.apply(
        plan(examined.message.spine(), encrypt=False),
        examined.message.header,
        Signer(world.credential(acme().signing)),
        world.NOW,
    )
    verdict = world.judge(fields.replace_entity(examined.message.header, made))
    assert (verdict.structure, verdict.accepted) == ("S[domain](S0(OC))", True)
    assert verdict.headers is not None
    assert "from" in verdict.headers
