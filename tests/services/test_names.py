"""Domain parts and how they stand to each other; the rules themselves are in tests/spec/test_section_3_1_1.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import names as made
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
