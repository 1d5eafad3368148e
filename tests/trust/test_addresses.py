"""Addresses in certificates, and what name constraints leave of them."""

from __future__ import annotations

import pytest
from cryptography import x509

import pki
from domsec import der, oids
from domsec.errors import MalformedMessage
from domsec.mhs.names import ORAddress
from domsec.trust import addresses, issue
from domsec.trust.addresses import MailConstraints
from interpersonal import address_content, tlv

MAILBOX = x509.ObjectIdentifier(oids.ID_ON_SMTP_UTF8_MAILBOX)
SUBJECT_ALT_NAME = x509.ObjectIdentifier(addresses.SUBJECT_ALT_NAME)


def certificate(*alternative_names, subject=(), raw: bytes | None = None):
    """A certificate with exactly these names. `raw` replaces the whole subjectAltName."""
    if raw is not None:
        extension = x509.UnrecognizedExtension(SUBJECT_ALT_NAME, raw)
    else:
        extension = x509.SubjectAlternativeName(alternative_names)
    key = issue.new_key("p256")
    extensions = [(extension, False)] if raw is not None or alternative_names else []
    # a CA, because `issue` would add an address of its own
    return issue.issue_ca([*subject, (oids.COMMON_NAME, "x")], key, now=pki.START, days=1, extensions=extensions)


def test_a_certificate_without_a_subject_is_called_by_its_addresses():
    key = issue.new_key("p256")
    for names, text in (
        ([x509.RFC822Name("a@acme.example"), x509.RFC822Name("b@acme.example")], "a@acme.example, b@acme.example"),
        ([x509.DNSName("acme.example")], "no name"),
        ([x509.OtherName(MAILBOX, b"\x0c\x01\xff")], "a name that cannot be read"),
    ):
        extensions = [(x509.SubjectAlternativeName(names), True)]
        nameless = issue.issue_ca([], key, now=pki.START, days=1, extensions=extensions)
        assert addresses.subject_text(nameless) == text
    assert addresses.subject_text(pki.world().acme.signing.certificate) == "CN=domain-signing-authority"


@pytest.mark.requirement("R8550-3-02")
def test_every_form_of_address_is_found_once():
    found = certificate(
        x509.RFC822Name("a@acme.example"),
        x509.DNSName("acme.example"),
        x509.OtherName(MAILBOX, der.utf8("zoë@acme.example")),
        x509.OtherName(x509.ObjectIdentifier("1.2.3"), der.utf8("ignored@acme.example")),
        x509.RFC822Name("B@acme.example"),
        subject=[(oids.EMAIL_ADDRESS, "a@acme.example"), (oids.EMAIL_ADDRESS, "c@acme.example")],
    )
    assert addresses.addresses(found) == ("a@acme.example", "B@acme.example", "zoë@acme.example", "c@acme.example")
    assert addresses.smtp_utf8_addresses(found) == ("zoë@acme.example",)


def test_a_certificate_without_address_has_none():
    assert addresses.addresses(certificate()) == ()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(der.sequence(der.tlv(0x81, b"a@acme.example\0@evil.example")), id="nul"),
        pytest.param(der.sequence(der.tlv(0x81, b"a@acme.example\r\nBcc: x")), id="line break"),
        pytest.param(der.sequence(der.tlv(0x81, "zoë@acme.example".encode())), id="not IA5"),
        pytest.param(der.sequence(der.tlv(0x81, b"")), id="empty"),
        pytest.param(der.sequence(der.explicit(0, der.oid(oids.ID_ON_SMTP_UTF8_MAILBOX))), id="no mailbox"),
        pytest.param(
            der.sequence(der.tlv(0xA0, der.oid(oids.ID_ON_SMTP_UTF8_MAILBOX), der.explicit(0, der.ia5("a@b")))),
            id="mailbox of another type",
        ),
        pytest.param(b"\x30\x05\x81", id="cut short"),
        pytest.param(der.sequence() + b"\0", id="more behind"),
    ],
)
def test_names_that_are_not_clean_are_refused(raw):
    with pytest.raises(MalformedMessage):
        addresses.addresses(certificate(raw=raw))


@pytest.mark.requirement("R5280-4.2.1.10-01")
@pytest.mark.parametrize(
    ("address", "permitted", "excluded", "forbidden"),
    [
        ("a@acme.example", ("acme.example",), (), False),
        ("a@ACME.example", ("acme.EXAMPLE",), (), False),
        ("a@mail.acme.example", ("acme.example",), (), True),
        ("a@mail.acme.example", (".acme.example",), (), False),
        ("a@acme.example", (".acme.example",), (), True),
        ("a@evilacme.example", (".acme.example", "acme.example"), (), True),
        ("a@acme.example", ("a@acme.example",), (), False),
        ("A@acme.example", ("a@acme.example",), (), True),
        ("b@acme.example", ("a@acme.example",), (), True),
        ("a@acme.example", None, ("acme.example",), True),
        ("A@acme.example", None, ("a@acme.example",), True),
        ("a@beta.example", None, ("acme.example",), False),
        ("a@acme.example", ("acme.example",), ("a@acme.example",), True),
        ("a@acme.example", (), (), True),
        ("a@acme.example", None, (), False),
        ("no-at-sign", None, ("acme.example",), True),
        ("no-at-sign", ("acme.example",), (), True),
        ("a@zürich.example", ("zürich.example",), (), True),
        ("a@beta.example@acme.example", ("acme.example",), (), True),
        ("a@beta.example@acme.example", None, ("gamma.example",), True),
        ('"a@beta.example"@acme.example', ("acme.example",), (), False),
    ],
)
def test_constraints_on_mail_names(address, permitted, excluded, forbidden):
    assert addresses.outside(address, MailConstraints(permitted, excluded)) is forbidden


@pytest.mark.requirement("R5280-4.2.1.10-01")
def test_a_constraint_on_one_mailbox_never_permits_an_internationalised_one():
    constraints = MailConstraints(("zoe@acme.example",), ())
    assert addresses.outside("zoe@acme.example", constraints, smtp_utf8=True)
    assert not addresses.outside("zoë@acme.example", MailConstraints(("acme.example",), ()), smtp_utf8=True)


@pytest.mark.requirement("R3854-4.3-01")
def test_x400_addresses_are_found_among_the_others():
    one, other = address_content(), address_content("Acme", "Sales")
    names = (tlv(0x81, b"a@acme.example"), tlv(0xA3, one), tlv(0x82, b"acme.example"), tlv(0xA3, other))
    found = certificate(raw=tlv(0x30, *names))
    assert addresses.or_addresses(found) == (ORAddress.of(one), ORAddress.of(other))
    assert addresses.addresses(found) == ("a@acme.example",)


def test_an_x400_address_that_is_none_does_not_hide_the_mail_addresses():
    found = certificate(raw=tlv(0x30, tlv(0xA3, b"\x04\x00"), tlv(0x81, b"a@acme.example")))
    assert addresses.addresses(found) == ("a@acme.example",)
    with pytest.raises(MalformedMessage):
        addresses.or_addresses(found)
