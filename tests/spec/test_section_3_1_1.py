"""RFC 3183 3.1.1: the naming convention and the name mapping rule, as tables."""

from __future__ import annotations

import pytest

import names as made
import pki
import world
from domsec.cms.certificates import Certificate
from domsec.errors import SigningRefused
from domsec.services import names, sign
from domsec.services.names import Entity
from domsec.services.peer import Peer
from domsec.services.sign import Evidence
from domsec.trust import issue

DSA, RA, AA, DCA = (
    names.SIGNING_AUTHORITY,
    names.REVIEW_AUTHORITY,
    names.ATTRIBUTE_AUTHORITY,
    names.CONFIDENTIALITY_AUTHORITY,
)
AT = "@acme.example"


def naming(certificate: Certificate, role: str = DSA, peer: Peer | None = None) -> list[str]:
    return [code for code, _ in names.check_naming(certificate, role, peer)]


# --- the naming convention ------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.1.1-01", "R3183-3.1.1-02", "R3183-3.1.1-03", "R3183-3.1-05", "R3183-4.1-01")
@pytest.mark.parametrize("role", [DSA, RA, AA, DCA])
def test_each_role_has_its_own_name_and_no_other(role: str) -> None:
    for name in (DSA, RA, AA, DCA):
        certificate = made.certificate(f"cn={name},o=acme,c=us", f"{name}{AT}")
        assert (naming(certificate, role) == []) is (name == role)


@pytest.mark.requirement("R3183-3.1.1-01", "R3183-3.1.1-02", "R3183-3.1.1-03")
def test_role_names_are_those_of_the_rfc() -> None:
    assert (DSA, RA, AA) == ("domain-signing-authority", "review-authority", "attribute-authority")
    assert DCA == "domain-confidentiality-authority"
    assert sorted(issue.ROLE_NAMES.values()) == sorted((DSA, RA, AA, DCA))


@pytest.mark.requirement("R3183-3.1.1-04", "R3183-3.1.1-05", "R3183-3.1.1-06", "R3183-3.1.1-21", "R3183-3.1-03")
@pytest.mark.parametrize(
    ("subject", "addresses", "expected"),
    [
        pytest.param(f"cn={DSA}", [], [], id="common name alone"),
        pytest.param("cn=Domain-Signing-AUTHORITY", [], [], id="ASCII case is no difference"),
        pytest.param(f"cn={DSA}", [f"{DSA}{AT}"], [], id="with its address"),
        pytest.param(f"cn={DSA}", [f"{DSA}@a.example", f"{DSA}@b.example"], [], id="two domains"),
        pytest.param(f"email={DSA}{AT},cn={DSA}", [], [], id="address in the subject"),
        pytest.param("o=acme,c=us", [f"{DSA}{AT}"], ["naming.cn_missing"], id="no common name"),
        pytest.param(f"cn={DSA},cn={DSA}", [], ["naming.cn_multiple"], id="twice, the same"),
        pytest.param(f"cn={DSA}+cn=x,o=acme", [], ["naming.cn_multiple"], id="twice in one RDN"),
        pytest.param(f"cn={DSA},cn=x", [], ["naming.cn_multiple"], id="twice"),
        pytest.param("cn=Acme gateway", [f"{DSA}{AT}"], ["naming.cn"], id="another name"),
        pytest.param(f"cn={DSA} 2", [], ["naming.cn"], id="more than the name"),
        pytest.param(f"cn=the-{DSA}", [], ["naming.cn"], id="more in front"),
        pytest.param("cn=domain-signing-authοrity", [], ["naming.lookalike"], id="a Greek o"),
        pytest.param("cn=domаin-signing-authority", [], ["naming.lookalike"], id="a Cyrillic a"),
        pytest.param("cn=domain‐signing‐authority", [], ["naming.lookalike"], id="another hyphen"),
        pytest.param("cn=domain_signing_authority", [], ["naming.lookalike"], id="underscores"),
        pytest.param(f"cn=␠{DSA}", [], ["naming.lookalike"], id="a space in front"),
        pytest.param(f"cn={DSA}␠", [], ["naming.lookalike"], id="a space behind"),
        pytest.param(f"cn={DSA}​", [], ["naming.lookalike"], id="a space of no width"),
        pytest.param(f"cn=‮{DSA}", [], ["naming.lookalike"], id="a mark for writing direction"),
        pytest.param(f"cn={DSA}", [f"alice{AT}"], ["naming.rfc822_local"], id="a person's address"),
        pytest.param(f"cn={DSA}", [f"{DSA}{AT}", f"alice{AT}"], ["naming.rfc822_local"], id="and a person's"),
        pytest.param(f"cn={DSA}", [f"{RA}{AT}"], ["naming.rfc822_local"], id="address of another role"),
        pytest.param(f"email=alice{AT},cn={DSA}", [f"{DSA}{AT}"], ["naming.rfc822_local"], id="in the subject too"),
        pytest.param(f"cn={DSA}", [f"utf8:{DSA}{AT}"], ["naming.lookalike"], id="in SmtpUTF8Mailbox"),
        pytest.param(f"cn={DSA}", [f"DOMAIN-signing-authority{AT}"], [], id="case in the address"),
        pytest.param(f"cn={DSA}", [f"utf8:domain-signing-authοrity{AT}"], ["naming.lookalike"], id="Greek address"),
    ],
)  # fmt: skip
def test_naming(subject: str, addresses: list[str], expected: list[str]) -> None:
    assert naming(made.certificate(subject, *addresses)) == expected


@pytest.mark.requirement("R3183-3.1.1-19", "R3183-3.1.1-20", "R3183-4.1-09")
@pytest.mark.parametrize(
    ("subject", "addresses", "expected"),
    [
        pytest.param("o=acme", [f"{DSA}{AT}"], ["naming.convention"], id="address only"),
        pytest.param(f"cn={DSA}{AT}", [f"{DSA}{AT}"], ["naming.convention"], id="the mailbox as common name"),
        pytest.param("o=acme", [], ["naming.convention", "naming.no_address"], id="no address"),
        pytest.param("cn=Acme", [f"{DSA}{AT}"], ["naming.convention", "naming.cn"], id="another common name"),
        pytest.param("o=acme", [f"alice{AT}"], ["naming.convention", "naming.rfc822_local"], id="a person's"),
    ],
)
def test_mailbox_convention_holds_only_where_it_was_agreed(
    subject: str, addresses: list[str], expected: list[str]
) -> None:
    certificate = made.certificate(subject, *addresses)
    assert naming(certificate, peer=Peer("acme.example", naming="mailbox")) == expected
    assert naming(certificate, peer=Peer("acme.example")) == naming(certificate)
    assert naming(certificate) != []


@pytest.mark.requirement("R3183-3.1.1-19", "R3183-3.1.1-20")
def test_pinned_convention_takes_the_pinned_certificate_and_no_other() -> None:
    pinned, other = made.certificate("cn=Acme gateway"), made.certificate(f"cn={DSA}", f"{DSA}{AT}")
    peer = Peer("acme.example", naming="pinned", pins=(pinned.sha256,))
    assert naming(pinned, peer=peer) == ["naming.convention"]
    assert naming(other, peer=peer) == ["naming.convention", "naming.not_pinned"]


def test_white_space_around_an_address_is_dropped_only_by_agreement() -> None:
    certificate = made.certificate(f"cn={DSA},email={DSA}{AT}␠")
    lenient = Peer("acme.example", lenient_address=True)
    assert naming(certificate, peer=lenient) == []
    assert naming(made.certificate(f"cn={DSA},email=␠{DSA}{AT}"), peer=lenient) == []
    assert naming(made.certificate(f"cn={DSA},email=␠{DSA}{AT}")) == ["naming.lookalike"]
    assert mapping(certificate, "acme.example", peer=lenient) == []
    assert mapping(certificate, "acme.example") != []


# --- the mapping rule -----------------------------------------------------------------------------------------------


def public_suffix(domain: str) -> bool:
    return domain in {"co.example", "hosting.example"}


def mapping(
    certificate: Certificate, domain: str, dn: str | None = None, *, trusted: bool = False, peer: Peer | None = None
) -> list[str]:
    entity = Entity(domain, made.subject(dn) if dn else None, trusted)
    found = names.check_mapping(certificate, [entity], peer, public_suffix)
    assert found.passed is not bool(found.findings)
    return [code for code, _ in found.findings]


MISMATCH, TOO_GENERAL = ["mapping.mismatch"], ["mapping.too_general"]
NOT_COMPARABLE, NO_MAIL_FORM = ["mapping.not_comparable"], ["mapping.no_mail_form"]


@pytest.mark.requirement(
    "R3183-3.1.1-07", "R3183-3.1.1-10", "R3183-3.1.1-16", "R3183-3.1.1-18", "R3183-4.1-03", "R3183-4.1-04"
)
@pytest.mark.parametrize(
    ("authority", "originator", "expected"),
    [
        ("acme.example", "acme.example", []),
        ("ACME.Example", "acme.example", []),
        ("acme.example", "marketing.acme.example", []),
        ("acme.example", "a.b.acme.example", []),
        ("marketing.acme.example", "acme.example", MISMATCH),
        ("beta.example", "acme.example", MISMATCH),
        ("evilacme.example", "acme.example", MISMATCH),
        ("acme.example", "evilacme.example", MISMATCH),
        ("acme.example", "acme.example.evil.test", MISMATCH),
        ("example", "acme.example", TOO_GENERAL),
        ("com", "acme.com", TOO_GENERAL),
        ("co.example", "acme.co.example", TOO_GENERAL),
        ("co.example", "co.example", TOO_GENERAL),
        ("hosting.example", "customer.hosting.example", TOO_GENERAL),
        ("acme.co.example", "mail.acme.co.example", []),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", []),
        ("[192.0.2.1]", "[192.0.2.1]", []),
        ("[192.0.2.1]", "[192.0.2.2]", MISMATCH),
    ],
)
def test_mapping_of_addresses(authority: str, originator: str, expected: list[str]) -> None:
    assert mapping(made.certificate(f"cn={DSA}", f"{DSA}@{authority}"), originator) == expected


@pytest.mark.requirement("R3183-3.1.1-07")
def test_of_several_addresses_one_has_to_cover() -> None:
    certificate = made.certificate(f"cn={DSA}", f"{DSA}@acme.example", f"{DSA}@beta.example")
    assert mapping(certificate, "acme.example") == []
    assert mapping(certificate, "mail.beta.example") == []
    assert mapping(certificate, "gamma.example") == MISMATCH


@pytest.mark.requirement("R3183-3.1.1-07", "R3183-3.1.1-16")
@pytest.mark.parametrize(
    ("domains", "expected", "related"),
    [
        (("acme.example", "example"), [], "equal"),  # that one is too general spoils nothing
        (("example", "acme.example"), [], "equal"),
        (("example", "beta.example"), TOO_GENERAL, "mismatch"),
        (("acme.example", "mail.acme.example"), [], "equal"),
    ],
)
def test_the_best_of_several_addresses_counts_in_whatever_order(
    domains: tuple[str, ...], expected: list[str], related: str
) -> None:
    certificate = made.certificate(f"cn={DSA}", *(f"{DSA}@{domain}" for domain in domains))
    assert mapping(certificate, "acme.example") == expected
    found = names.check_mapping(certificate, [Entity("acme.example")], None, public_suffix)
    assert found.detail == (("acme.example", "rfc822", related),)
    nearest = made.certificate(f"cn={DSA}", f"{DSA}@mail.acme.example", f"{DSA}@acme.example")
    below = names.check_mapping(nearest, [Entity("mail.acme.example")], None, public_suffix)
    assert below.detail == (("mail.acme.example", "rfc822", "equal"),)


@pytest.mark.requirement("R3183-3.1.1-07")
def test_an_agreement_can_limit_how_far_above_an_authority_stands() -> None:
    certificate = made.certificate(f"cn={DSA}", f"{DSA}@acme.example")
    near = Peer("acme.example", max_ascent=1)
    assert mapping(certificate, "a.acme.example", peer=near) == []
    assert mapping(certificate, "b.a.acme.example", peer=near) == MISMATCH


@pytest.mark.requirement("R3183-3.1.1-22")
def test_every_originator_has_to_be_covered() -> None:
    certificate = made.certificate(f"cn={DSA}", f"{DSA}@acme.example")

    def passed(*domains: str) -> bool:
        return names.check_mapping(certificate, [Entity(d) for d in domains], None, public_suffix).passed

    assert passed("acme.example", "x.acme.example")
    assert not passed("acme.example", "beta.example")
    assert not passed("beta.example", "acme.example")
    assert not passed()


@pytest.mark.requirement("R3183-3.1.1-08", "R3183-3.1.1-13", "R3183-3.1.1-11")
@pytest.mark.parametrize(
    ("authority", "originator", "expected"),
    [
        pytest.param("o=acme,c=us", "cn=John Doe,ou=marketing,o=acme,c=us", [], id="first example"),
        pytest.param("o=acme,c=us", "cn=John Doe,o=acme,c=us", [], id="equal"),
        pytest.param("o=ACME ,c=US", "cn=John Doe,ou=marketing,o=acme,c=us", [], id="case and spaces (RFC 5280 7.1)"),
        pytest.param("ou=defence,o=acme,c=us", "cn=J,ou=marketing,ou=defence,o=acme,c=us", [], id="second example"),
        pytest.param("ou=marketing,o=acme,c=us", "cn=J,ou=marketing,ou=defence,o=acme,c=us", MISMATCH, id="order"),
        pytest.param(
            "ou=defence,ou=marketing,o=acme,c=us", "cn=J,ou=marketing,ou=defence,o=acme,c=us", MISMATCH, id="swapped"
        ),
        pytest.param("ou=marketing,o=acme,c=us", "cn=John Doe,o=acme,c=us", MISMATCH, id="below"),
        pytest.param("o=acme,c=de", "cn=John Doe,o=acme,c=us", MISMATCH, id="another country"),
        pytest.param("o=acme,c=us", "cn=J,o=acme,l=Boston,st=MA,c=us", MISMATCH, id="a local acme (A-17)"),
        pytest.param("l=Boston,o=acme,c=us", "cn=J,l=Back Bay,l=Boston,o=acme,c=us", [], id="localities"),
        pytest.param("c=us", "cn=John Doe,o=acme,c=us", TOO_GENERAL, id="a country"),
        pytest.param("st=MA,c=us", "cn=John Doe,o=acme,st=MA,c=us", TOO_GENERAL, id="a state"),
        pytest.param("o=acme,c=us", "uid=7,cn=John Doe,o=acme,c=us", [], id="other attributes do not count"),
        pytest.param("serial=1,o=acme,c=us", "cn=John Doe,ou=x,o=acme,c=us", [], id="nor in the authority"),
        pytest.param("o=acme+ou=x,c=us", "cn=John Doe,o=acme+ou=x,c=us", [], id="RDN of two attributes"),
        pytest.param("o=acme,c=us", "cn=John Doe,o=acme+ou=x,c=us", MISMATCH, id="is not one of them"),
    ],
)  # fmt: skip
def test_mapping_of_directory_names(authority: str, originator: str, expected: list[str]) -> None:
    certificate = made.certificate(f"cn={DSA},{authority}")
    assert mapping(certificate, "acme.example", originator, trusted=True) == expected


@pytest.mark.requirement("R3183-3.1.1-07", "R3183-3.1.1-08")
def test_a_directory_name_alone_counts_only_where_somebody_vouches_for_it() -> None:
    certificate = made.certificate(f"cn={DSA},o=acme,c=us")
    person = "cn=John Doe,o=acme,c=us"
    assert mapping(certificate, "acme.example", person) == NO_MAIL_FORM
    assert mapping(certificate, "acme.example") == NOT_COMPARABLE


@pytest.mark.requirement("R3183-3.1.1-09", "R3183-3.1.1-12", "R3183-3.1.1-14")
@pytest.mark.parametrize(
    ("authority", "originator", "expected"),
    [
        pytest.param("dc=acme,dc=us", "cn=John Doe,dc=marketing,dc=acme,dc=us", [], id="first example"),
        pytest.param("dc=ACME,dc=US", "cn=John Doe,dc=marketing,dc=acme,dc=us", [], id="case"),
        pytest.param("dc=marketing,dc=acme,dc=us", "cn=John Doe,dc=acme,dc=us", MISMATCH, id="below"),
        pytest.param("dc=us,dc=acme", "cn=John Doe,dc=marketing,dc=acme,dc=us", MISMATCH, id="the wrong way round"),
        pytest.param("dc=us", "cn=John Doe,dc=acme,dc=us", TOO_GENERAL, id="one label"),
    ],
)
def test_mapping_of_domain_components(authority: str, originator: str, expected: list[str]) -> None:
    address = f"{DSA}@marketing.acme.com"  # so that the dc name is compared with the dc name
    certificate = made.certificate(f"cn={DSA},{authority}", address)
    assert mapping(certificate, "marketing.acme.com", originator, trusted=True) == expected


@pytest.mark.requirement("R3183-3.1.1-09", "R2247-3-01")
@pytest.mark.parametrize(
    ("subject", "addresses", "domain", "expected"),
    [
        (f"cn={DSA},dc=acme,dc=example", [], "acme.example", []),
        (f"cn={DSA},dc=acme,dc=example", [], "mail.acme.example", []),
        (f"cn={DSA},dc=acme,dc=example", [], "beta.example", MISMATCH),
        (f"cn={DSA},dc=example", [], "acme.example", TOO_GENERAL),
        (f"cn={DSA},uid=1,dc=acme,dc=example", [], "acme.example", NOT_COMPARABLE),
        # with an address the dc name is that of a directory: the RFC's own example has dc=us beside acme.com
        (f"cn={DSA},dc=acme,dc=us", [f"{DSA}@acme.com"], "acme.com", []),
    ],
)
def test_domain_components_stand_for_a_mail_domain_where_nothing_else_does(
    subject: str, addresses: list[str], domain: str, expected: list[str]
) -> None:
    assert mapping(made.certificate(subject, *addresses), domain) == expected


@pytest.mark.requirement("R3183-3.1.1-11", "R3183-3.1.1-15", "R3183-4.1-05")
@pytest.mark.parametrize("role", [DSA, DCA])
@pytest.mark.parametrize(
    ("authority", "address", "originator", "mail", "expected"),
    [
        ("o=acme,c=us", "acme.com", "cn=John Doe,ou=marketing,o=acme,c=us", "marketing.acme.com", []),
        ("ou=defence,o=acme,c=us", "defence.acme.com", "cn=John Doe,ou=marketing,ou=defence,o=acme,c=us",
         "marketing.defence.acme.com", []),
        ("ou=defence,o=acme,c=us", "defence.acme.com", "cn=John Doe,ou=marketing,o=acme,c=us",
         "marketing.acme.com", MISMATCH),
        # printed in the RFC: dc=defense for the person, dc=defence for the authority (decisions A-48)
        ("dc=defence,dc=acme,dc=us", "defence.acme.com", "cn=John Doe,dc=marketing,dc=defense,dc=acme,dc=us",
         "marketing.defence.acme.com", MISMATCH),
        ("dc=defence,dc=acme,dc=us", "defence.acme.com", "cn=John Doe,dc=marketing,dc=defence,dc=acme,dc=us",
         "marketing.defence.acme.com", []),
    ],
)  # fmt: skip
def test_the_examples_of_the_rfc(
    role: str, authority: str, address: str, originator: str, mail: str, expected: list[str]
) -> None:
    certificate = made.certificate(f"cn={role},{authority}", f"{role}@{address}")
    assert naming(certificate, role) == []
    assert sorted(set(mapping(certificate, mail, originator))) == expected


@pytest.mark.requirement("R3183-3.1.1-07")
@pytest.mark.parametrize(
    ("subject", "address", "dn", "expected"),
    [
        pytest.param("o=acme,c=us", "acme.example", "cn=J,o=beta,c=us", MISMATCH, id="the directory name contradicts"),
        pytest.param("o=beta,c=us", "acme.example", "cn=J,o=acme,c=us", MISMATCH, id="the other way round"),
        pytest.param("o=acme,c=us", "beta.example", "cn=J,o=acme,c=us", MISMATCH, id="the address contradicts"),
        pytest.param("o=acme,c=us", "acme.example", "cn=J,dc=acme,dc=us", [], id="not comparable is no contradiction"),
        pytest.param("o=acme,c=us", "acme.example", None, [], id="no directory name known"),
    ],
)
def test_no_form_may_contradict(subject: str, address: str, dn: str | None, expected: list[str]) -> None:
    certificate = made.certificate(f"cn={DSA},{subject}", f"{DSA}@{address}")
    assert mapping(certificate, "acme.example", dn, trusted=True) == expected


def test_an_agreement_can_leave_a_form_out() -> None:
    certificate = made.certificate(f"cn={DSA},o=other,c=us", f"{DSA}@acme.example")
    dn = "cn=J,o=acme,c=us"
    assert mapping(certificate, "acme.example", dn) == MISMATCH
    assert (
        mapping(certificate, "acme.example", dn, peer=Peer("acme.example", mapping_forms=frozenset({"rfc822"}))) == []
    )


@pytest.mark.parametrize(("subject", "form"), [("dc=acme,dc=example", "dc"), ("o=x,dc=acme,dc=example", "mixed")])
def test_a_name_of_domain_components_counts_where_its_form_was_agreed(subject: str, form: str) -> None:
    certificate = made.certificate(f"cn={DSA},{subject}")
    for agreed in ("dc", "mixed", "x500", "rfc822"):
        peer = Peer("acme.example", mapping_forms=frozenset({agreed}))
        assert mapping(certificate, "acme.example", peer=peer) == ([] if agreed == form else NOT_COMPARABLE)


@pytest.mark.requirement("R3183-3.1.1-07", "R3183-3.1.1-09")
@pytest.mark.parametrize(("dn", "expected"), [("cn=J,dc=acme,dc=example", []), ("cn=J,dc=beta,dc=example", MISMATCH)])
def test_domain_components_that_cover_the_mail_domain_may_not_contradict_the_directory_name(
    dn: str, expected: list[str]
) -> None:
    assert mapping(made.certificate(f"cn={DSA},dc=acme,dc=example"), "acme.example", dn, trusted=True) == expected


@pytest.mark.parametrize(
    ("subject", "domain", "dn", "expected"),
    [
        pytest.param("o=x,dc=acme,dc=example", "acme.example", "cn=J,dc=beta,dc=example", [],
                     id="a name of domain components alone is of another form"),
        pytest.param("l=Boston,dc=acme,dc=example", "acme.example", "cn=J,l=Boston,dc=acme,dc=example", [],
                     id="two labels do for an organization"),
        pytest.param("o=x,dc=acme,dc=example", "acme.example", None, [], id="the dc run is a mail domain"),
        pytest.param("o=x,dc=acme,dc=example", "beta.example", None, MISMATCH, id="another"),
        pytest.param("dc=acme,o=x,dc=example", "acme.example", None, TOO_GENERAL, id="broken run"),
        pytest.param("o=x,dc=acme,dc=example", "acme.example", "cn=J,ou=y,o=x,dc=acme,dc=example", [], id="prefix"),
        pytest.param("o=x,dc=acme,dc=example", "acme.example", "cn=J,o=y,dc=acme,dc=example", MISMATCH, id="no prefix"),
    ],
)  # fmt: skip
def test_mixed_names(subject: str, domain: str, dn: str | None, expected: list[str]) -> None:
    assert mapping(made.certificate(f"cn={DSA},{subject}"), domain, dn, trusted=True) == expected


# --- in messages ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.1.1-16", "R3183-3.1.1-21", "R3183-3.2-12")
def test_a_neighbour_may_not_sign_for_alice() -> None:
    """beta's authority, right in every other respect, over mail of alice@acme.example."""
    octets = world.message(world.signed(world.entity("S(OC)"), world.beta().signing, extra=[_DOMAIN]))
    verdict = world.judge(octets)
    assert "mapping.mismatch" in world.codes(verdict, "violation")
    assert not verdict.accepted
    assert verdict.domain is None
    own = world.judge(world.other_from(octets, "alice@beta.example"))
    assert own.level == "domain"
    assert own.accepted


@pytest.mark.requirement("R3183-3.1.1-16")
def test_the_authority_of_a_top_level_domain_is_refused() -> None:
    ca = world.acme().ca
    general = pki.identity("signing", "example", ca)
    verdict = world.judge(world.message(world.signed(world.entity("S0(OC)"), general, extra=[_DOMAIN])))
    assert world.codes(verdict, "violation") == {"mapping.too_general"}
    assert (verdict.accepted, verdict.level) == (False, "none")


@pytest.mark.requirement("R3183-3.1.1-17")
@pytest.mark.parametrize("role", ["review", "attributes"])
def test_the_mapping_rule_is_not_for_reviewers_and_attribute_authorities(role: str) -> None:
    who = getattr(world.beta(), role)
    octets = world.message(world.signed(world.entity("S(OC)"), who, extra=[world.typed(_TYPES[role])]))
    verdict = world.judge(octets)
    assert verdict.accepted
    assert verdict.layers[0].roles == (role,)
    assert verdict.layers[0].mapping is None


@pytest.mark.requirement("R3183-3.1.1-22")
def test_two_from_mailboxes_of_two_domains() -> None:
    octets = world.build("S[domain](S0(OC))", sender="alice@acme.example, carol@beta.example")
    verdict = world.judge(octets)
    assert "mapping.mismatch" in world.codes(verdict, "violation")
    assert verdict.level == "none"
    both = world.judge(world.other_from(octets, "alice@acme.example, carol@mail.acme.example"))
    assert (both.level, both.accepted) == ("domain", True)


@pytest.mark.requirement("R3183-3.1.1-01", "R3183-3.2-08")
def test_the_gate_signs_with_no_certificate_of_another_name() -> None:
    examination = world.look(world.build("OC"))
    evidence = [Evidence("local", "test", domains=frozenset({"acme.example"}))]
    reviewer = world.acme().review.certificate
    with pytest.raises(SigningRefused, match=r"gate\.authority"):
        sign.gate(examination, reviewer, evidence, world.context())
    assert sign.gate(examination, world.acme().signing.certificate, evidence, world.context())


_DOMAIN = world.typed(world.SignatureType.DOMAIN)
_TYPES = {"review": world.SignatureType.REVIEW, "attributes": world.SignatureType.ATTRIBUTES}
