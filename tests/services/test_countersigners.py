"""Countersignatures: told in the verdict and by show, and never part of a conclusion (RFC 5652 11.4, A-26)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import judges
import pki
import world
from commands import run
from domsec import der, oids
from domsec.cms import attributes, content_info, signed_data
from domsec.cms.algorithms import DIGESTS, ECDSA_SHA256
from domsec.cms.attributes import Attribute, attribute, set_of_attributes
from domsec.cms.certificates import issuer_and_serial
from domsec.cms.countersignatures import MAX_NESTING
from domsec.limits import DEFAULT
from domsec.mime import smime
from domsec.services import sign
from domsec.services.signature_type import SignatureType
from domsec.services.verdict import CountersignatureVerdict, Verdict
from world import acme, beta, judge

SHA256 = DIGESTS[oids.SHA256]
Sign = Callable[[bytes], bytes]  # a signature value to a whole SignerInfo


def counter(
    who: pki.Identity,
    *extra: Attribute,
    over: bytes | None = None,
    bare: bool = False,
    under: Sequence[Sign] = (),
) -> Sign:
    """A countersignature by hand: `over` is what is hashed if not the signature, `under` countersign this one."""

    def made(signature: bytes) -> bytes:
        hasher = SHA256.new()
        hasher.update(signature if over is None else over)
        items = [attributes.message_digest(hasher.digest()), attributes.signing_time(world.NOW), *extra]
        signed = der.tlv(der.SET, set_of_attributes(items))
        value = world.credential(who).sign(signature if bare else signed, ECDSA_SHA256)
        info = der.sequence(
            der.integer(1),
            issuer_and_serial(who.certificate),
            SHA256.identifier.raw,
            b"" if bare else bytes((der.context(0),)) + signed[1:],
            ECDSA_SHA256.identifier.raw,
            der.octet_string(value),
        )
        return countersigned(info, *under)

    return made


def countersigned(info: bytes, *counters: Sign | bytes) -> bytes:
    """A SignerInfo with countersignatures, or with the values given, behind its signature."""
    signature = signed_data.parse_signer(info).signature
    values = [each if isinstance(each, bytes) else each(signature) for each in counters]
    if not values:
        return info
    content = bytes(der.Reader(info).content(der.SEQUENCE))
    return der.sequence(content, der.tlv(der.context(1), attribute(oids.ID_COUNTERSIGNATURE, *values).raw))


def message(*counters: Sign | bytes, notation: str = "S(OC)") -> bytes:
    entity = world.with_signers(world.entity(notation), lambda infos: [countersigned(infos[0], *counters)])
    return world.message(entity)


KNOWN = [i.certificate for i in (acme().users["bob"], acme().signing, acme().review, beta().users["bob"])]
BOB, NOTARY = acme().users["bob"], acme().review


def verdict(octets: bytes) -> Verdict:
    return judge(octets, world.context(known=KNOWN))


def found(octets: bytes) -> tuple[CountersignatureVerdict, ...]:
    return verdict(octets).layers[0].signers[0].countersignatures


# --- told -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R5652-11.4-01", "R2634-1.3.4-03")
@pytest.mark.parametrize("bare", [False, True])
def test_a_countersignature_is_told(bare: bool) -> None:
    judged = verdict(message(counter(BOB, bare=bare)))
    (one,) = judged.layers[0].signers[0].countersignatures
    assert (one.crypto, one.path, one.addresses) == ("valid", "valid", ("bob@acme.example",))
    assert (one.subject, one.issuer) == ("CN=Bob", "CN=acme.example CA")
    assert (one.serial, one.sha256) == (f"{BOB.certificate.serial:x}", BOB.certificate.sha256)
    assert one.signing_time == (None if bare else world.NOW.isoformat())
    assert (judged.accepted, judged.level) == (True, "originator_direct")
    assert judged.originator is not None
    assert judged.originator.addresses == ("alice@acme.example",)
    assert not judged.flags


@pytest.mark.requirement("R5652-11.4-01")
@pytest.mark.parametrize(
    ("who", "view", "path", "reason"),
    [
        (BOB, {"roles": ()}, "valid", ""),  # whoever countersigns is a person, whatever they are called
        (BOB, {"users": ()}, "untrusted", "no path"),
        (acme().confidentiality, {}, "valid", "key usage"),  # which is not for signing
    ],
)
def test_whose_it_is_is_judged_as_for_any_person(
    who: pki.Identity, view: dict[str, Any], path: str, reason: str
) -> None:
    at = world.context(known=[who.certificate], **view)
    (one,) = judge(message(counter(who)), at).layers[0].signers[0].countersignatures
    assert (one.crypto, one.path) == ("valid", path)
    assert reason in one.reason


@pytest.mark.requirement("R5652-11.4-01")
def test_it_is_over_the_signature_value_and_nothing_else() -> None:
    text = bytes(world.TEXT)
    (one,) = found(message(counter(BOB, over=text)))
    assert (one.crypto, one.reason) == ("invalid", "the content has another digest than the one signed")
    whole = message(counter(BOB))
    other = world.message(world.with_signers(world.entity("S(OC)"), lambda infos: [_with_unsigned_of(infos[0], whole)]))
    assert [c.crypto for c in found(other)] == ["invalid"]  # moved to another signature by the same person


def _with_unsigned_of(info: bytes, octets: bytes) -> bytes:
    donor = world.look(octets).message.root.signed
    assert donor is not None
    unsigned = donor.signers[0].unsigned_attributes
    assert unsigned is not None
    return der.sequence(bytes(der.Reader(info).content(der.SEQUENCE)), der.tlv(der.context(1), unsigned.raw))


@pytest.mark.requirement("R5652-11.4-01")
def test_it_has_no_content_type() -> None:
    (one,) = found(message(counter(BOB, attributes.content_type(oids.ID_DATA))))
    assert (one.crypto, one.reason) == ("invalid", "a countersignature with a content type")


@pytest.mark.requirement("R5652-11.4-01")
def test_signers_of_content_are_no_countersigners_nor_the_reverse() -> None:
    """Its signature, put among the signers of the content, proves nothing there."""
    whole = world.with_signers(
        world.entity("S(OC)"), lambda infos: [infos[0], counter(BOB)(signed_data.parse_signer(infos[0]).signature)]
    )
    judged = verdict(world.message(whole))
    assert not judged.accepted
    assert sorted(s.state for s in judged.layers[0].signers) == ["invalid", "valid"]


def test_several_and_nested_ones_are_all_told() -> None:
    chain = counter(BOB, under=[counter(NOTARY, under=[counter(beta().users["bob"])])])
    judged = found(message(chain, counter(NOTARY)))
    assert sorted(len(c.countersignatures) for c in judged) == [0, 1]
    (first,) = [c for c in judged if c.countersignatures]
    (second,) = first.countersignatures
    (third,) = second.countersignatures
    assert [c.crypto for c in (first, second, third)] == ["valid"] * 3
    assert third.addresses == ("bob@beta.example",)


@pytest.mark.requirement("R5652-11.4-01")
def test_in_the_signed_attributes_it_has_no_place() -> None:
    entity = world.signed(world.TEXT, acme().users["alice"], extra=[attribute(oids.ID_COUNTERSIGNATURE, der.null())])
    judged = verdict(world.message(entity))
    assert world.codes(judged, "warning") == {"ess.placement"}
    assert judged.layers[0].signers[0].countersignatures == ()


def test_show_and_verify_say_who(tmp_path: Path) -> None:
    file = tmp_path / "countersigned.eml"
    file.write_bytes(message(counter(BOB, under=[counter(NOTARY)])))
    shown = run("show", file).text
    assert (
        "countersigned by: serial 65 of CN=acme.example CA (ecdsaWithSha256 with sha256 at 2026-11-23T12:00:00" in shown
    )
    judged = run("verify", "--at", world.NOW.isoformat(), file).text
    assert "countersigned by somebody whose certificate is not at hand: signature no_certificate" in judged
    described = run("show", "--json", file).json["layers"][0]["signers"][0]["countersignatures"]
    assert [len(c["countersignatures"]) for c in described] == [1]


# --- and believed by nobody -----------------------------------------------------------------------------------------


@pytest.mark.requirement("R2634-1.3.4-03")
def test_a_type_in_a_countersignature_is_no_role() -> None:
    domain = world.typed(SignatureType.DOMAIN)
    judged = verdict(message(counter(acme().signing, domain)))
    assert judged.structure == "S[originator](OC)"
    assert judged.domain is None
    assert world.codes(judged) == {"ess.placement"}
    reviewed = verdict(message(counter(acme().review, world.typed(SignatureType.REVIEW))))
    assert reviewed.reviewed_by == ()


@pytest.mark.parametrize(
    ("how", "states"),
    [
        (counter(BOB, over=b"other"), ["invalid"]),
        (counter(world.stranger_user()), ["no_certificate"]),
        (der.null(), []),
        (der.sequence(der.integer(1)), []),
    ],
)
def test_one_that_does_not_hold_changes_nothing(how: Sign | bytes, states: list[str]) -> None:
    """Anybody on the way can add one."""
    octets = message(how)
    judged = verdict(octets)
    assert [c.crypto for c in judged.layers[0].signers[0].countersignatures] == states
    assert (judged.accepted, judged.level) == (True, "originator_direct")
    assert world.codes(judged) <= {"countersignature.invalid"}
    assert {f.severity for f in judged.flags} <= {"info"}
    local = sign.Evidence("local", "test", domains=frozenset({"acme.example"}))
    assert sign.gate(world.look(octets), acme().signing.certificate, [local], world.context()).layers == ("1",)


def test_a_good_one_makes_no_bad_signature_good() -> None:
    entity = world.with_signers(
        world.entity("S(OC)", text=world.TEXT.replace(b"dawn", b"dusk")),
        lambda _: [countersigned(_info_of(world.entity("S(OC)")), counter(BOB))],
    )
    judged = verdict(world.message(entity))
    assert judged.layers[0].signers[0].countersignatures[0].crypto == "valid"
    assert (judged.accepted, judged.level) == (False, "none")


def _info_of(entity: bytes) -> bytes:
    kept: list[bytes] = []
    world.with_signers(entity, lambda infos: (kept.extend(infos), infos)[1])
    return kept[0]


# --- bounded --------------------------------------------------------------------------------------------------------


def test_their_number_is_bounded() -> None:
    counters = [counter(BOB)] * DEFAULT.signers
    assert len(found(message(*counters))) == DEFAULT.signers
    assert world.codes(verdict(message(*counters, counter(BOB)))) == {"limit.signers"}
    inside = counter(NOTARY, under=counters[2:])
    assert "limit.signers" not in world.codes(verdict(message(inside, counter(BOB))))
    assert "limit.signers" in world.codes(verdict(message(inside, counter(BOB), counter(BOB))))


def test_their_nesting_is_bounded() -> None:
    def chain(depth: int) -> Sign:
        return counter(BOB, under=[chain(depth - 1)] if depth > 1 else [])

    assert "limit.signers" not in world.codes(verdict(message(chain(MAX_NESTING))))
    assert "limit.signers" in world.codes(verdict(message(chain(MAX_NESTING + 1))))


# --- Bouncy Castle makes them --------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.requirement("R5652-11.4-01")
def test_those_of_bouncy_castle_hold(tmp_path: Path) -> None:
    who = {"alice": acme().users["alice"], "bob": BOB, "notary": NOTARY}
    keys = judges.write_keys(tmp_path / "pki", who, pki.world().cas)
    made = smime.recognise(world.entity("S(OC)"))
    assert isinstance(made, smime.Pkcs7)
    given, target = tmp_path / "in.der", tmp_path / "out.der"
    given.write_bytes(made.der)
    judges.run_java("Countersign", str(keys), str(given), str(target), "bob,notary", "notary")
    assert content_info.parse(target.read_bytes()).content_type == oids.ID_SIGNED_DATA
    judged = judge(world.message(smime.pkcs7_mime(target.read_bytes(), "signed-data")))
    counters = judged.layers[0].signers[0].countersignatures
    assert judged.accepted
    assert sorted((c.subject, c.crypto, c.path) for c in counters) == [
        ("CN=Bob", "valid", "valid"),
        ("CN=review-authority", "valid", "valid"),
    ]
    assert [[c.subject for c in one.countersignatures] for one in counters if one.countersignatures] == [
        ["CN=review-authority"]
    ]
    assert not judged.flags
