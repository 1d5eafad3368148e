"""RFC 3183 3.1.2: the signature type attribute, in whole messages."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import pki
import world
from domsec import der, oids
from domsec.cms import attributes, signed_data
from domsec.cms.attributes import Attribute
from domsec.cms.signed_data import Signing
from domsec.mime import smime
from domsec.services.signature_type import OIDS, SignatureType
from domsec.services.verdict import Verdict
from world import acme, judge

DOMAIN, REVIEW, ATTRIBUTES, ORIGINATOR = (
    OIDS[t] for t in (SignatureType.DOMAIN, SignatureType.REVIEW, SignatureType.ATTRIBUTES, SignatureType.ORIGINATOR)
)
OID = oids.ID_AA_SIGNATURE_TYPE


def value(*types: str) -> bytes:
    return der.sequence(*(der.oid(t) for t in types))


def attribute(*values: bytes, oid: str = OID) -> Attribute:
    if values:
        return attributes.attribute(oid, *values)
    return Attribute(oid, (), der.sequence(der.oid(oid), der.tlv(der.SET)))


def over(
    inner: str, *attributes: Attribute, who: pki.Identity | None = None, unsigned: Sequence[Attribute] = ()
) -> Verdict:
    """Signed by acme's domain authority over a message."""
    entity = world.signed(world.entity(inner), who or acme().signing, extra=attributes, unsigned=unsigned)
    return judge(world.message(entity))


@pytest.mark.requirement("R3183-3.1.2-07", "R3183-7-01")
def test_type_values_are_those_of_the_module() -> None:
    arc = "1.2.840.113549.1.9.16.9"
    assert [
        OIDS[t] for t in (ORIGINATOR_TYPE, SignatureType.DOMAIN, SignatureType.ATTRIBUTES, SignatureType.REVIEW)
    ] == [f"{arc}.{n}" for n in (1, 2, 3, 4)]
    assert arc == oids.ID_STI


ORIGINATOR_TYPE = SignatureType.ORIGINATOR
SYNTAX, MULTIPLE = {"sigtype.syntax"}, {"sigtype.multiple"}


@pytest.mark.requirement(
    "R3183-3.1.2-01",
    "R3183-3.1.2-02",
    "R3183-3.1.2-10",
    "R3183-3.1.2-11",
    "R3183-3.1.2-13",
    "R3183-3.3-07",
    "R3183-3.1-04",
    "R3183-3.1-06",
)
@pytest.mark.parametrize(
    ("attributes", "roles", "violations", "others"),
    [
        pytest.param([attribute(value(DOMAIN))], ("domain",), set(), set(), id="as it should be"),
        pytest.param([attribute(value(DOMAIN), oid=oids.ID_STI)], ("domain",), set(), {"sigtype.legacy_oid"},
                     id="identified as cryptlib does"),
        pytest.param([attribute(value(DOMAIN)), attribute(value(DOMAIN))], ("none",), MULTIPLE, set(), id="twice"),
        pytest.param([attribute(value(DOMAIN)), attribute(value(DOMAIN), oid=oids.ID_STI)], ("none",), MULTIPLE, set(),
                     id="under both identifiers"),
        pytest.param([attribute(value(DOMAIN), value(ORIGINATOR))], ("originator", "domain"), set(),
                     {"sigtype.multi_value"}, id="two values: the union"),
        pytest.param([attribute()], ("none",), SYNTAX, set(), id="no value"),
        pytest.param([attribute(value())], ("none",), SYNTAX, set(), id="an empty sequence"),
        pytest.param([attribute(der.oid(DOMAIN))], ("none",), SYNTAX, set(), id="no sequence"),
        pytest.param([attribute(der.set_of([der.oid(DOMAIN)]))], ("none",), SYNTAX, set(), id="a set"),
        pytest.param([attribute(der.sequence(der.integer(2)))], ("none",), SYNTAX, set(), id="a number"),
        pytest.param([attribute(der.sequence(der.oid(DOMAIN), der.null()))], ("none",), SYNTAX, set(), id="junk"),
        pytest.param([attribute(value(DOMAIN, DOMAIN))], ("domain",), set(), {"sigtype.repeated"}, id="repeated"),
        pytest.param([attribute(value(*[DOMAIN] * 17))], ("none",), SYNTAX, set(), id="too many"),
        pytest.param([attribute(value(DOMAIN, REVIEW))], ("domain",), {"naming.cn", "naming.rfc822_local"}, set(),
                     id="two roles, one name: the one that fits"),
        pytest.param([attribute(value(ATTRIBUTES, DOMAIN))], ("none",), {"sigtype.addattr_not_alone"}, set(),
                     id="attributes beside another"),
        pytest.param([attribute(value(ATTRIBUTES, "1.2.3"))], ("none",), {"sigtype.addattr_not_alone"}, set(),
                     id="attributes beside an unknown one"),
        pytest.param([attribute(value(ATTRIBUTES), value(DOMAIN))], ("none",), {"sigtype.addattr_not_alone"}, set(),
                     id="attributes beside another, in two values"),
        pytest.param([attribute(value(DOMAIN, "1.2.840.113549.1.9.16.9.5"))], ("domain",), set(), {"sigtype.unknown"},
                     id="known and unknown"),
        pytest.param([attribute(value("1.2.840.113549.1.9.16.9.5"))], ("none",), set(), {"sigtype.unknown"},
                     id="unknown only: no role, and not the originator"),
        pytest.param([attribute(value(REVIEW))], ("none",), {"naming.cn", "naming.rfc822_local"}, set(),
                     id="another role's type"),
    ],
)  # fmt: skip
def test_attribute(attributes: list[Attribute], roles: tuple[str, ...], violations: set[str], others: set[str]) -> None:
    verdict = over("S(OC)", *attributes)
    outer = verdict.layers[0]
    assert outer.roles == (() if roles == ("none",) else roles)
    assert world.codes(verdict, "violation") == violations
    assert others <= world.codes(verdict)
    assert verdict.accepted is (not violations)


@pytest.mark.requirement("R3183-3.1.2-03", "R3183-3.2-17")
def test_an_unsigned_attribute_is_none() -> None:
    unsigned = over("S0(OC)", unsigned=[attribute(value(DOMAIN))])
    assert "sigtype.unsigned" in world.codes(unsigned, "warning")
    assert unsigned.layers[0].roles == ("originator",)
    assert unsigned.layers[0].address == "mismatch"
    assert (unsigned.level, unsigned.accepted) == ("none", False)


@pytest.mark.requirement("R3183-3.2-17", "R3183-3.1-04")
def test_a_name_without_the_attribute_gives_no_role() -> None:
    verdict = over("S(OC)")
    assert verdict.layers[0].roles == ("unspecified",)
    assert verdict.layers[0].naming == {}
    assert verdict.domain is None


@pytest.mark.requirement("R3183-3.1.2-12")
@pytest.mark.parametrize(
    ("types", "violation"),
    [
        (([DOMAIN], [DOMAIN]), False),
        (([DOMAIN], None), True),
        ((None, [DOMAIN]), True),
        (([DOMAIN], [DOMAIN, ORIGINATOR]), True),
        (([DOMAIN], [REVIEW]), True),
    ],
)
def test_all_signers_of_a_layer_state_the_same(types: tuple[list[str] | None, ...], violation: bool) -> None:
    signings = tuple(
        Signing(
            world.credential(acme().signing),
            attributes=() if stated is None else (attribute(value(*stated)),),
            signing_time=world.NOW,
        )
        for stated in types
    )
    octets = signed_data.sign(world.entity("S(OC)"), oids.ID_DATA, signings)
    verdict = judge(world.message(smime.pkcs7_mime(octets, "signed-data")))
    assert (world.codes(verdict, "violation") == {"sigtype.inconsistent"}) is violation
    assert ("domain" in verdict.layers[0].roles) is not violation


@pytest.mark.requirement("R3183-3.1.2-04", "R3183-3.1.2-05", "R3183-3.5-01", "R3183-3.1.2-08", "R3183-3.5-02")
@pytest.mark.parametrize(
    ("notation", "roles"),
    [
        pytest.param("S(OC)", ["originator"], id="absent, nothing below"),
        pytest.param("S(S(OC))", ["unspecified", "originator"], id="absent, a signature below"),
        pytest.param("S(E(S(OC)))", ["unspecified", "originator"], id="a signature inside encryption"),
        pytest.param("S(C(S(OC)))", ["unspecified", "originator"], id="inside compression"),
        pytest.param("S(X(S(OC)))", ["unspecified"], id="closed: nobody knows"),
        pytest.param("S(X(OC))", ["unspecified"], id="closed, though nothing is there"),
        pytest.param("S(E(OC))", ["originator"], id="opened, nothing there"),
        pytest.param("S[originator](OC)", ["originator"], id="stated"),
        pytest.param("S[originator](S(OC))", ["originator", "originator"], id="stated over another"),
        pytest.param("S(S0(OC))", ["originator"], id="the empty one is no signature"),
    ],
)
def test_who_is_taken_for_the_originator(notation: str, roles: list[str]) -> None:
    verdict = judge(world.build(notation))
    assert ["+".join(layer.roles) for layer in verdict.layers if layer.kind == "signed"] == roles


MISSING, UNKNOWN = "encapsulation.missing", "encapsulation.unknown"


@pytest.mark.requirement("R3183-3.1.2-08", "R3183-3.1.2-09")
@pytest.mark.parametrize("role", ["domain", "review", "attributes"])
@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("OC", MISSING),
        ("S(OC)", None),
        ("S0(OC)", None),
        ("E(S(OC))", None),
        ("E(OC)", MISSING),
        ("X(S(OC))", UNKNOWN),
        ("C(OC)", MISSING),
        ("C(S(OC))", None),
        ("M(S(OC))", None),
    ],
)
def test_all_types_but_the_originators_encapsulate_a_signature(role: str, inside: str, expected: str | None) -> None:
    verdict = judge(world.build(f"S[{role}]({inside})"))
    found = {code: severity for code in (MISSING, UNKNOWN) for severity in _severities(verdict, code)}
    assert found == ({} if expected is None else {expected: "violation" if expected == MISSING else "info"})
    if expected == MISSING:
        assert not verdict.accepted


def _severities(verdict: Verdict, code: str) -> set[str]:
    return {str(f.severity) for f in verdict.flags if f.code == code}
