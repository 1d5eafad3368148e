"""Domain parts and how they stand to each other; the rules themselves are in tests/spec/test_section_3_1_1.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import names as made
from domsec.cms.certificates import Certificate
from domsec.services import names
from domsec.services.names import DomainParts, Entity
from domsec.services.peer import Peer, Peers

DSA = names.SIGNING_AUTHORITY
LABEL = st.sampled_from(["acme", "example", "mail", "a", "b"])
DOMAIN = st.lists(LABEL, min_size=1, max_size=4).map(".".join)


def is_ascendant(above: str, below: str) -> bool:
    """The same rule, on strings."""
    return below == above or below.endswith(f".{above}")


def test_an_address_literal_is_one_label() -> None:
    """It is above nothing, and nothing is above it."""
    assert names.labels("[192.0.2.1]") == ("[192.0.2.1]",)
    assert names.labels("mail.acme.example") == ("example", "acme", "mail")


@given(DOMAIN, DOMAIN)
def test_relation_is_that_of_domains(authority: str, entity: str) -> None:
    found = names.relation(names.labels(authority), names.labels(entity))
    assert (found != "mismatch") is is_ascendant(authority, entity)
    assert (found == "equal") is (authority == entity)


@given(st.lists(DOMAIN, min_size=1, max_size=3), st.lists(DOMAIN, min_size=1, max_size=3))
def test_mapping_of_addresses_against_the_rule_in_words(authorities: list[str], originators: list[str]) -> None:
    """Some authority address covers each originator, and is not a top-level domain."""
    certificate = made.certificate(f"cn={DSA}", *(f"{DSA}@{d}" for d in authorities))
    found = names.check_mapping(certificate, [Entity(d) for d in originators], None, lambda _: False)
    covered = [any(is_ascendant(a, o) and "." in a for a in authorities) for o in originators]
    assert found.passed is all(covered)


@given(st.text(max_size=40))
def test_only_the_name_itself_is_the_name(text: str) -> None:
    assert names.same_name(text, DSA) is (text.isascii() and text.lower() == DSA)
    names.looks_like(text, DSA)
    assert "\n" not in names.printable(text)
    assert "\x1b" not in names.printable(text)


@pytest.mark.requirement("R3183-3.1.1-08", "R3183-3.1.1-09", "R3183-3.1.1-10")
@pytest.mark.parametrize(
    ("subject", "addresses", "expected"),
    [
        ("cn=x", (), DomainParts()),
        ("cn=x", ("x@mail.acme.example",), DomainParts((("example", "acme", "mail"),))),
        ("cn=x", ("x@a.example", "y@a.example"), DomainParts((("example", "a"),))),
        ("cn=x", ("broken", "x@a.example"), DomainParts((("example", "a"),))),
        ("cn=x", ('"x@b.example"@a.example',), DomainParts((("example", "a"),))),
        ("cn=x,dc=acme,dc=example", (), DomainParts((), ("example", "acme"), dc_names_mail=True)),
        ("cn=x,dc=acme,dc=example", ("x@a.example",), DomainParts((("example", "a"),), ("example", "acme"))),
        ("uid=1,cn=x,dc=acme,dc=example", (), DomainParts((), ("example", "acme"))),
    ],
)
def test_domain_parts(subject: str, addresses: tuple[str, ...], expected: DomainParts) -> None:
    assert names.domain_parts(made.certificate(subject, *addresses)) == expected


def test_the_parts_of_a_directory_name() -> None:
    parts = names.domain_parts(made.certificate("cn=x,ou=b,ou=a,o=acme,c=us"))
    assert parts.x500 is not None
    assert [[value for _, value in rdn] for rdn in parts.x500] == [["us"], ["acme"], ["a"], ["b"]]
    mixed = names.domain_parts(made.certificate("cn=x,o=acme,dc=acme,dc=example"))
    assert (mixed.x500, mixed.dc, mixed.dc_names_mail) == (None, ("example", "acme"), True)
    assert mixed.mixed is not None
    assert len(mixed.mixed) == 3


def test_agreements_are_found_by_domain() -> None:
    own, below, strict = Peer("acme.example"), Peer("mail.acme.example"), Peer("beta.example", subdomains=False)
    peers = Peers((own, below, strict))
    for domain, expected in (
        ("acme.example", own),
        ("mail.acme.example", below),
        ("x.mail.acme.example", below),
        ("www.acme.example", own),
        ("beta.example", strict),
        ("www.beta.example", None),
        ("notacme.example", None),
        ("example", None),
        ("[192.0.2.1]", None),
    ):
        assert peers.of(domain) is expected
    assert peers.common(["acme.example", "www.acme.example"]) is own
    assert peers.common(["acme.example", "mail.acme.example"]) is None
    assert peers.common(["acme.example", "gamma.example"]) is None


# --- functions that remember their answers, which no mutant reaches (docs/mutation.md) --------------------------------


def unreadable(certificate: Certificate, after: bytes) -> Certificate:
    """The same with octets that are no text where the authority is named behind these."""
    head, found, tail = certificate.der.partition(after)
    assert found
    return Certificate(head + found + tail.replace(DSA.encode(), b"\xff" * len(DSA), 1))


SUBJECT, ADDRESS = b"\x06\x03\x55\x04\x03\x0c\x18", b"\x06\x03\x55\x1d\x11"  # a common name so long; subjectAltName


@pytest.mark.requirement("R3183-3.1.1-21")
def test_names_that_cannot_be_read_are_no_names_of_an_authority() -> None:
    certificate = made.certificate(f"cn={DSA}", f"{DSA}@acme.example")
    assert names.check_naming(certificate, DSA) == ()
    for broken in (unreadable(certificate, SUBJECT), unreadable(certificate, ADDRESS)):
        [(code, text)] = names.check_naming(broken, DSA)
        assert (code, text.partition(":")[0]) == ("naming.cn", "the names of the certificate cannot be read")
    found = names.check_mapping(unreadable(certificate, ADDRESS), [Entity("acme.example")], None, lambda _: False)
    assert not found.passed
    assert [code for code, _ in found.findings] == ["mapping.not_comparable"]


@pytest.mark.requirement("R3183-3.1.1-20")
@pytest.mark.parametrize(
    ("common_names", "mailboxes", "kept"),
    [
        ("", ("a",), True),
        (f"cn={DSA}@a.example", ("a",), True),
        (f"cn={DSA}@a.example,", ("a", "b"), False),  # one of two is not the only one (decisions A-14)
        (f"cn={DSA}@a.example,cn={DSA}@a.example", ("a",), False),
        (f"cn={DSA}@b.example", ("a",), False),
    ],
)
def test_a_common_name_may_be_the_only_mailbox(common_names: str, mailboxes: tuple[str, ...], kept: bool) -> None:
    certificate = made.certificate(f"{common_names},o=x", *(f"{DSA}@{m}.example" for m in mailboxes))
    found = names.check_naming(certificate, DSA, Peer("a.example", naming="mailbox"))
    assert ("naming.cn" not in dict(found)) is kept


def test_a_name_that_looks_like_the_role_in_other_letters() -> None:
    for other in (
        "ｄｏｍａｉｎ-signing-authority",
        "domain-sıgning-authority",
        "dömain-signing-authority",
        "domain_signing_authority",
    ):
        assert names.looks_like(other, DSA)
        assert not names.same_name(other, DSA)
    assert not names.looks_like("domain-signing", DSA)


@pytest.mark.requirement("R3183-3.1.1-09")
@pytest.mark.parametrize(
    ("subject", "addresses", "dc", "names_mail"),
    [
        ("cn=x,dc=acme,dc=example", (), "acme.example", True),
        ("cn=x,dc=acme,dc=example", ("x@acme.example",), "acme.example", False),
        ("cn=x,o=acme,dc=acme,dc=example", (), "acme.example", True),
        ("cn=x,o=acme,dc=acme,dc=example", ("x@acme.example",), "acme.example", False),
        ("cn=x,dc=acme+o=acme,dc=example", (), "example", True),  # the run ends where something else stands in it
        ("cn=x,dc=acme+dc=beta,dc=example", (), "example", True),
        ("cn=x,dc=acme+uid=acme,dc=example", (), "acme.example", False),
    ],
)
def test_which_domain_components_are_a_mail_domain(
    subject: str, addresses: tuple[str, ...], dc: str, names_mail: bool
) -> None:
    found = names.domain_parts(made.certificate(subject, *addresses))
    assert (found.dc, found.dc_names_mail) == (names.labels(dc), names_mail)
