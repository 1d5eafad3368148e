"""Header fields among the signed attributes, held against the header of the message (RFC 7508 4.5.2, A-60)."""

from __future__ import annotations

import pytest

import world
from commands import run
from domsec import der, oids
from domsec.cms.attributes import Attribute, attribute
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.ess.secure_headers import Algorithm, SecureField, SecureHeaderFields
from domsec.limits import DEFAULT
from domsec.services.verdict import Verdict
from world import acme

ALICE = acme().users["alice"]
# RFC 7508, appendix B, without the second SET around and with the registered OID
EXAMPLE = SecureHeaderFields(
    "relaxed",
    (
        SecureField("x-ximf-primary-precedence", "priority"),
        SecureField("x-ximf-correspondance-type", "official"),
        SecureField("subject", "This is a test of Ext."),
    ),
)

FITTING = (
    b"x-ximf-primary-precedence: priority\r\nx-ximf-correspondance-type: official\r\n"
    b"subject: This is a test of Ext.\r\n"
)


def stating(value: SecureHeaderFields | bytes) -> Attribute:
    octets = value if isinstance(value, bytes) else value.write()
    return attribute(oids.ID_AA_SECURE_HEADER_FIELDS, octets)


def judged(*stated: Attribute, header: bytes = b"") -> Verdict:
    """The verdict on a message by alice with this attribute, and with more header fields than usual."""
    return world.judge(header + world.message(world.signed(world.TEXT, ALICE, extra=stated), subject=""))


def differences(algorithm: Algorithm, signed: list[SecureField], header: bytes) -> list[str]:
    verdict = judged(stating(SecureHeaderFields(algorithm, tuple(signed))), header=header)
    assert verdict.accepted is not bool(verdict.flags)
    assert verdict.level == ("none" if verdict.flags else "originator_direct")
    return [f.text for f in verdict.flags if f.code == "header.mismatch"]


# what the header has, what was signed, and whether that is the same: in the simple form, in the relaxed one
SAME = (
    (b"Subject: plans\r\n", "plans", True, True),
    (b"SUBJECT: plans\r\n", "plans", True, True),
    (b"Subject:plans\r\n", "plans", True, True),
    (b"Subject:  the \t plans \r\n", "the plans", False, True),
    (b"Subject: the\r\n plans\r\n", "the plans", False, True),
    (b"Subject: the\r\n plans\r\n", "the\r\n plans", True, True),
    ("Subject: Häuser\r\n".encode(), "Häuser", True, True),
    (b"Subject:\r\n", "", True, True),
    (b"Subject: Plans\r\n", "plans", False, False),
    (b"Subject: [list] plans\r\n", "plans", False, False),
    (b"Subject: plans\r\nSubject: plans\r\n", "plans", False, False),
    (b"X-Other: plans\r\n", "plans", False, False),
    (b"Subject: plans: all\r\n", "plans: all", True, True),
    (b"Subject: plans\xc2\xa0\r\n", "plans", False, False),  # no blank that RFC 6376 knows
    (b"Subject: plans\xff\r\n", "plans", False, False),
)


@pytest.mark.requirement("R7508-4.5.2-01")
@pytest.mark.parametrize("algorithm", ["simple", "relaxed"])
@pytest.mark.parametrize(("header", "signed", "simple", "relaxed"), SAME)
def test_a_field_has_to_be_what_was_signed(
    header: bytes, signed: str, simple: bool, relaxed: bool, algorithm: Algorithm
) -> None:
    found = differences(algorithm, [SecureField("Subject", signed)], header)
    assert bool(found) is not {"simple": simple, "relaxed": relaxed}[algorithm]


@pytest.mark.requirement("R7508-4.5.2-01")
def test_what_differs_is_said_with_both_values() -> None:
    assert differences("relaxed", [SecureField("Subject", "plans")], b"Subject: [list] plans\r\n") == [
        'subject: signed was "plans", there is "[list] plans"'
    ]
    assert differences("relaxed", [SecureField("X-Level", "1")], b"") == ['x-level: signed was "1", there is nothing']


def test_all_fields_of_a_name_are_signed() -> None:
    two = [SecureField("X-Tag", "a"), SecureField("X-Tag", "b")]
    assert differences("relaxed", two, b"X-Tag: b\r\nX-Tag: a\r\n") == []
    assert len(differences("relaxed", two, b"X-Tag: b\r\n")) == 1


def test_what_an_authority_hid_is_not_missed() -> None:
    """Fields that are `deleted` or `modified` outside come back when somebody restores them, which nobody does here."""
    secret = SecureField("Subject", "plans", "deleted")
    assert differences("relaxed", [secret], b"") == []
    assert differences("relaxed", [secret], b"Subject: plans\r\n") == []
    assert len(differences("relaxed", [secret], b"Subject: other\r\n")) == 1
    modified = SecureField("Subject", "plans", "modified")
    assert differences("relaxed", [modified], b"Subject: ...\r\n") == []
    assert len(differences("relaxed", [modified, SecureField("X-Level", "1")], b"Subject: ...\r\n")) == 1


@pytest.mark.parametrize(
    "stated",
    [
        [stating(der.null())],
        [stating(EXAMPLE), stating(EXAMPLE)],
        [attribute(oids.ID_AA_SECURE_HEADER_FIELDS, EXAMPLE.write(), der.null())],
    ],
)
def test_an_attribute_that_cannot_be_used_is_a_difference(stated: list[Attribute]) -> None:
    verdict = judged(*stated, header=FITTING)
    [told] = [flag.text for flag in verdict.flags if flag.code == "header.mismatch"]
    assert told.startswith("the header fields that were signed cannot be read: ")
    assert not verdict.accepted


@pytest.mark.requirement("R7508-4.5.2-01")
def test_signers_who_state_different_fields_contradict_each_other() -> None:
    other = SecureHeaderFields("relaxed", EXAMPLE.fields[:2])
    for one, two, told in (
        (EXAMPLE, EXAMPLE, []),
        (EXAMPLE, other, ["the signers state different header fields"]),
        (other, None, []),
    ):
        stated = [[stating(each)] if each else [] for each in (one, two)]
        entity = world.two_signed(world.TEXT, (ALICE, stated[0]), (acme().users["bob"], stated[1]))
        flags = world.judge(FITTING + world.message(entity, subject="")).flags
        assert [flag.text for flag in flags if flag.code == "header.mismatch"] == told


def test_only_what_is_signed_and_holds_is_compared() -> None:
    unsigned = world.signed(world.TEXT, ALICE, unsigned=[stating(EXAMPLE)])
    assert world.codes(world.judge(world.message(unsigned))) == {"ess.placement"}
    broken = world.signed(world.TEXT, ALICE, extra=[stating(EXAMPLE)], detached=True).replace(b"dawn", b"dusk")
    assert "header.mismatch" not in world.codes(world.judge(world.message(broken)))


@pytest.mark.requirement("R7508-4.5.2-01")
def test_the_values_that_were_signed_are_shown() -> None:
    assert judged(stating(EXAMPLE), header=FITTING).accepted
    octets = FITTING + world.message(world.signed(world.TEXT, ALICE, extra=[stating(EXAMPLE)]), subject="")
    shown = run("show", stdin=octets).text
    assert "idAaSecureHeaderFields: x-ximf-primary-precedence: priority (duplicated); " in shown
    stated = judged(stating(EXAMPLE), header=FITTING).layers[0].signers[0].ess["idAaSecureHeaderFields"]
    assert isinstance(stated, dict)
    assert stated["algorithm"] == "relaxed"
    assert {"name": "subject", "value": "This is a test of Ext.", "status": "duplicated"} in stated["fields"]  # type: ignore[operator]


def test_the_defaults_may_be_written_and_the_set_in_any_order() -> None:
    """As in the example of RFC 7508."""
    field = der.sequence(der.tlv(der.VISIBLE_STRING, b"subject"), der.utf8("plans"), der.integer(0))
    parts = [der.integer(1, der.ENUMERATED), der.sequence(field)]
    for order in (parts, parts[::-1]):
        found = SecureHeaderFields.read(der.tlv(der.SET, *order))
        assert found == SecureHeaderFields("relaxed", (SecureField("subject", "plans"),))


@pytest.mark.parametrize(
    "octets",
    [
        der.tlv(der.SET, der.integer(2, der.ENUMERATED), der.sequence()),
        der.tlv(der.SET, der.integer(1, der.ENUMERATED)),
        SecureHeaderFields("simple", (SecureField("a", "b", "modified"),))
        .write()
        .replace(b"\x02\x01\x02", b"\x02\x01\x03"),
        SecureHeaderFields("simple", (SecureField("ab", "c"),)).write().replace(b"ab", b"a:"),
        der.tlv(der.SET, der.sequence(der.sequence(der.tlv(der.VISIBLE_STRING, b"a"), der.utf8("b")))),
    ],
)
def test_what_is_none_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        SecureHeaderFields.read(octets)


def test_their_number_is_that_of_a_header() -> None:
    many = SecureHeaderFields("simple", (SecureField("a", "b"),) * DEFAULT.header_fields)
    assert SecureHeaderFields.read(many.write()) == many
    with pytest.raises(LimitExceeded, match="header_fields"):
        SecureHeaderFields("simple", (*many.fields, SecureField("a", "b")))
