"""Encryption as octets; finding certificates is in tests/spec/test_section_4.py."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

import names
import pki
import world
from domsec import der, oids
from domsec.cms.certificates import Certificate
from domsec.errors import CertificateNotFound
from domsec.mime.addresses import Mailbox
from domsec.services import encrypt, layers
from domsec.services.encrypt import Cipher
from domsec.services.peer import Peer
from domsec.trust import issue
from world import acme, beta


def opened(entity: bytes, who: str = "beta") -> bytes | None:
    key = (beta() if who == "beta" else acme()).confidentiality
    layer = layers.peel_entity(entity, [world.credential(key)])
    return layer.opened.plaintext if layer.opened else None


@pytest.mark.requirement("R3183-4.2-02", "R3183-4.3-01")
@given(st.binary(max_size=200))
def test_what_is_encrypted_comes_back(content: bytes) -> None:
    made = encrypt.encrypt(content, [beta().confidentiality.certificate])
    assert opened(made) == content
    assert opened(made, "acme") is None


@pytest.mark.requirement("R5084-3.2-01", "R3183-6-03")
def test_keys_are_new_for_every_message() -> None:
    certificate = beta().confidentiality.certificate
    made = {encrypt.encrypt(world.TEXT, [certificate]) for _ in range(5)}
    parsed = [layers.peel_entity(entity).enveloped for entity in made]
    assert len(made) == 5
    assert len({bytes(e.ciphertext or b"") for e in parsed if e}) == 5
    assert len({e.algorithm.parameters for e in parsed if e}) == 5


def test_each_certificate_once() -> None:
    certificates = [beta().confidentiality.certificate, acme().confidentiality.certificate] * 2
    enveloped = layers.peel_entity(encrypt.encrypt(world.TEXT, certificates)).enveloped
    assert enveloped is not None
    assert len(enveloped.recipients) == 2


@pytest.mark.requirement("R8551-3.2.2-01")
@pytest.mark.parametrize(
    ("content", "smime_type"),
    [("aes256-gcm", b"authEnveloped-data"), ("aes128-cbc", b"enveloped-data")],
)
def test_the_smime_type(content: str, smime_type: bytes) -> None:
    made = encrypt.encrypt(world.TEXT, [beta().confidentiality.certificate], Cipher(content))  # type: ignore[arg-type]
    assert b"smime-type=" + smime_type + b";" in made.partition(b"\r\n")[0]


@pytest.mark.requirement("R5652-6.1-01")
def test_our_own_chain_goes_along() -> None:
    chain = (acme().confidentiality.certificate, acme().ca.certificate)
    for content in ("aes256-gcm", "aes256-cbc"):
        made = encrypt.encrypt(world.TEXT, [beta().confidentiality.certificate], Cipher(content), originator=chain)  # type: ignore[arg-type]
        enveloped = layers.peel_entity(made).enveloped
        assert enveloped is not None
        assert set(enveloped.originator_certificates) == set(chain)


@pytest.mark.parametrize(
    ("domain", "asked"), [("gamma.example", 1), ("a.gamma.example", 2), ("localhost", 0), ("[192.0.2.1]", 0)]
)
def test_a_domain_nobody_knows(domain: str, asked: int) -> None:
    """Asked are the domain and those above it, down to two labels."""
    with pytest.raises(CertificateNotFound) as caught:
        encrypt.locate(Mailbox("x", domain), "dca", world.context())
    assert not caught.value.rejected
    assert len(caught.value.trace) == asked
    assert encrypt.find_authority(domain, world.context()) is None


def test_the_authority_of_a_domain_is_found() -> None:
    known: list[Certificate] = [beta().confidentiality.certificate]
    for domain, found in (("beta.example", True), ("mail.beta.example", True), ("acme.example", False)):
        assert (encrypt.find_authority(domain, world.context(known=known)) is not None) is found


def _stating(*oids_: str) -> Certificate:
    """A person's certificate that states capabilities (RFC 4262)."""
    value = der.sequence(*(der.sequence(der.oid(oid)) for oid in oids_))
    ca = beta().ca
    builder = issue._builder(
        ca.certificate.x509.subject, issue.new_key("rsa2048").public_key(), ca.certificate, pki.START, 9, 1
    ).add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oids.SMIME_CAPABILITIES), value), critical=False)
    return issue._signed(builder, ca.signing_key)


@pytest.mark.requirement("R8551-2.7.1-02")
@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ([[]], ("aes256-cbc", "pkcs1v15")),
        ([[oids.AES256_GCM]], ("aes256-gcm", "pkcs1v15")),
        ([[oids.AES128_GCM, oids.RSAES_OAEP]], ("aes128-gcm", "oaep")),
        ([[oids.AES256_GCM, oids.AES128_GCM], [oids.AES128_GCM]], ("aes128-gcm", "pkcs1v15")),
        ([[oids.AES256_GCM, oids.RSAES_OAEP], []], ("aes256-cbc", "pkcs1v15")),
        ([], ("aes256-cbc", "pkcs1v15")),
        ([[oids.DES_EDE3_CBC]], ("aes256-cbc", "pkcs1v15")),  # whoever says no more than that gets no less than AES
        ([[oids.RC2_CBC], [oids.AES256_GCM]], ("aes256-cbc", "pkcs1v15")),
    ],
)
def test_people_get_more_than_the_old_forms_if_all_of_them_say_that_they_read_it(
    stated: list[list[str]], expected: tuple[str, str]
) -> None:
    found = encrypt.for_people(_stating(*one) if one else beta().users["bob"].certificate for one in stated)
    assert (found.content, found.key_transport) == expected


def test_an_authority_that_the_agreement_names_in_a_directory_is_compared_with_that_name() -> None:
    """Decisions A-16: the configured directory name of a domain stands for its people."""
    authority = names.certificate("cn=domain-confidentiality-authority,o=beta,c=us")
    for agreed, problem in (("o=beta,c=us", None), ("ou=x,o=beta,c=us", None), ("o=gamma,c=us", "does not cover")):
        peer = Peer("beta.example", distinguished_name=names.subject(agreed))
        at = world.context(roles=[authority], peers=[peer])
        found = encrypt.authority_problem(authority, "beta.example", at, peer)
        assert found is None if problem is None else problem in (found or "")
