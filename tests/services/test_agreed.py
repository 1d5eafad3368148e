"""Mail from a domain that agreed on algorithms: what it may use, and what is a violation although it is not weak."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import judges
import pki
import world
from domsec import der, oids
from domsec.cms import signed_data
from domsec.cms.algorithms import (
    DIGESTS_BY_NAME,
    SignatureAlgorithm,
    algorithm_identifier,
    default_signature_algorithm,
    family,
    oaep,
    rsa_pss,
)
from domsec.cms.recipients import parse_recipients
from domsec.cms.signed_data import Signing
from domsec.mime import smime
from domsec.services import agreed, encrypt
from domsec.services.encrypt import Cipher
from domsec.services.layers import peel
from domsec.services.peer import CipherName, KeyManagement, Peer, SignatureName
from domsec.services.sign import Scheme
from domsec.services.verdict import Verdict
from domsec.trust.issue import KeyKind
from interop.peers import Files
from world import acme, beta, judge

NAMES = {"rsa": pki.identity("user", "alice@acme.example", acme().ca, "rsa2048", name="Alice"),
         "p256": acme().user("alice"),
         "ed25519": pki.identity("user", "alice@acme.example", acme().ca, "ed25519", name="Alice")}  # fmt: skip
BOB = pki.identity("user", "bob@beta.example", beta().ca, "rsa2048", name="Bob")
STRICT = Peer(
    "acme.example",
    domsec=False,
    expect_signed=True,
    expect_encrypted=True,
    accept_signature=("rsa-pss-sha256", "rsa-pss-sha512"),
    accept_cipher=("aes128-cbc", "aes192-cbc", "aes256-cbc"),
    accept_key_transport=("oaep",),
)


def signed(key: str, algorithm: SignatureAlgorithm | None = None) -> bytes:
    signing = Signing(world.credential(NAMES[key]), algorithm, signing_time=world.NOW)
    return smime.pkcs7_mime(signed_data.sign(world.TEXT, oids.ID_DATA, (signing,)), "signed-data")


def pss(digest: str) -> SignatureAlgorithm:
    return rsa_pss(DIGESTS_BY_NAME[digest].oid)


def sealed(
    entity: bytes, cipher: CipherName = "aes128-cbc", *, to: Sequence[pki.Identity] = (BOB,), how: str = "oaep"
) -> bytes:
    return bytes(encrypt.sealed(entity, [each.certificate for each in to], Cipher(cipher, how)))  # type: ignore[arg-type]


def verdict(entity: bytes, peer: Peer = STRICT) -> Verdict:
    return judge(world.message(entity), replace(world.context(BOB), peers=world.context(peers=[peer]).peers))


def complaints(entity: bytes, peer: Peer = STRICT) -> list[str]:
    return [flag.text for flag in verdict(entity, peer).flags if flag.code == "alg.not_agreed"]


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "algorithm", "name"),
    [
        ("rsa", None, "rsa-sha256"),
        ("rsa", Scheme("pkcs1", "sha512").algorithm(NAMES["rsa"].certificate), "rsa-sha512"),
        ("rsa", pss("sha256"), "rsa-pss-sha256"),
        ("rsa", pss("sha384"), "rsa-pss-sha384"),
        ("rsa", pss("sha512"), "rsa-pss-sha512"),
        ("p256", None, "ecdsa-sha256"),
        ("ed25519", None, "ed25519"),
    ],
)
def test_only_signature_algorithms_that_were_agreed_are_accepted(
    key: str, algorithm: SignatureAlgorithm | None, name: SignatureName
):
    entity = sealed(signed(key, algorithm))
    judged = verdict(entity, replace(STRICT, accept_signature=(name,)))
    assert (judged.accepted, judged.level) == (True, "originator_direct")
    other = verdict(entity, replace(STRICT, accept_signature=("ml-dsa-65",)))
    assert (other.accepted, other.level) == (False, "none")
    assert f"signed with {name}, agreed with acme.example: ml-dsa-65" in [flag.text for flag in other.flags]


@pytest.mark.parametrize(
    ("mask", "salt", "name"),
    [
        ("sha256", 32, "rsa-pss-sha256"),
        ("sha256", 222, "rsa-pss-sha256"),  # as long as it can be, as OpenSSL does
        ("sha256", 31, "rsa-pss-sha256-sha256-31"),
        ("sha256", 0, "rsa-pss-sha256-sha256-0"),
        ("sha512", 32, "rsa-pss-sha256-sha512-32"),
    ],
)
def test_pss_is_the_same_digest_throughout_and_no_short_salt(mask: str, salt: int, name: str):
    row = rsa_pss(oids.SHA256, mask_digest=DIGESTS_BY_NAME[mask].oid, salt_length=salt)
    assert family(row) == name


def test_every_signer_of_a_layer_is_held_to_it():
    both = [Signing(world.credential(NAMES["rsa"]), each, signing_time=world.NOW) for each in (pss("sha256"), None)]
    entity = smime.pkcs7_mime(signed_data.sign(world.TEXT, oids.ID_DATA, tuple(both)), "signed-data")
    assert complaints(sealed(entity)) == [
        "signed with rsa-sha256, agreed with acme.example: rsa-pss-sha256, rsa-pss-sha512"
    ]


# --- encryption -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", ["aes128-cbc", "aes192-cbc", "aes256-cbc", "aes128-gcm", "aes192-gcm", "aes256-gcm"])
def test_only_ciphers_that_were_agreed_are_accepted(cipher: CipherName):
    entity = sealed(signed("rsa", pss("sha256")), cipher)
    assert complaints(entity, replace(STRICT, accept_cipher=(cipher,))) == []
    assert complaints(entity, replace(STRICT, accept_cipher=("aes256-gcm" if "cbc" in cipher else "aes256-cbc",)))


KINDS = [("oaep", "rsa2048"), ("pkcs1v15", "rsa2048"), ("ecdh", "p256"), ("ecdh", "x25519"), ("kem", "ml-kem-768")]


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_only_ways_to_the_key_that_were_agreed_are_accepted(name: KeyManagement, kind: KeyKind):
    other = pki.identity("user", "carol@beta.example", beta().ca, kind, name="Carol")
    entity = sealed(signed("rsa", pss("sha256")), to=[other], how=name if name == "pkcs1v15" else "oaep")
    assert complaints(entity, replace(STRICT, accept_key_transport=(name,))) == []
    [said] = complaints(entity, replace(STRICT, accept_key_transport=("oaep-sha1",)))
    assert said == f"the content key is encrypted with {name}, agreed with acme.example: oaep-sha1"


def test_whoever_else_can_read_it_is_looked_at_as_well():
    """The key is the same for all: a weak way to it for one is a weak way to it."""
    entity = sealed(signed("rsa", pss("sha256")), to=[BOB, acme().user("alice")])
    assert complaints(entity) == ["the content key is encrypted with ecdh, agreed with acme.example: oaep"]


def test_a_way_that_no_agreement_has_a_name_for_is_never_agreed():
    """A password, for one: it is no ECDH because it is no key transport."""
    password = der.tlv(
        der.context(3), der.integer(0), der.sequence(der.oid("1.2.840.113549.1.9.16.3.9")), der.octet_string(bytes(24))
    )
    layer = peel(world.message(sealed(world.TEXT, to=[acme().user("alice")]))).root
    assert layer.enveloped is not None
    [other] = parse_recipients(der.Reader(der.tlv(der.SET, password)))
    both = replace(layer, enveloped=replace(layer.enveloped, recipients=(*layer.enveloped.recipients, other)))
    told = agreed.flags(both, replace(STRICT, accept_key_transport=("ecdh", "oaep", "kem")))
    assert [text.split("encrypted with ")[1].split(",")[0] for _, text in told] == [other.management]


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        (oaep(oids.SHA256), "oaep"),
        (oaep(oids.SHA512), "oaep"),
        (oaep(oids.SHA1), "oaep-sha1"),
        (algorithm_identifier(oids.RSAES_OAEP, b"\x30\x00"), "oaep-sha1"),  # RFC 4055 4.1: what is left out is SHA-1
        (algorithm_identifier(oids.RSAES_OAEP, b"\x05\x00"), "rsa-oaep"),  # that is none
        (algorithm_identifier(oids.RSA_ENCRYPTION, b"\x05\x00"), "pkcs1v15"),
    ],
)
def test_oaep_is_known_by_its_digests(algorithm, name: str):
    entity = sealed(world.TEXT)
    layer = peel(world.message(entity)).root
    assert layer.enveloped is not None
    [info] = layer.enveloped.recipients
    changed = replace(layer, enveloped=replace(layer.enveloped, recipients=(replace(info, algorithm=algorithm),)))
    found = agreed.flags(changed, replace(STRICT, accept_key_transport=("ecdh",)))
    assert [text.split("encrypted with ")[1].split(",")[0] for _, text in found] == [name]


# --- what is not there ------------------------------------------------------------------------------------------------


def codes(entity: bytes, peer: Peer) -> set[str]:
    return {flag.code for flag in verdict(entity, peer).flags} & {"originator.missing", "domain.missing", "enc.missing"}


def test_what_was_agreed_cannot_be_left_out():
    """Else whoever takes the signature off would have nothing to fear from the agreement."""
    assert codes(sealed(signed("rsa", pss("sha256"))), STRICT) == set()
    assert codes(sealed(world.TEXT), STRICT) == {"originator.missing"}
    assert codes(signed("rsa", pss("sha256")), STRICT) == {"enc.missing"}
    assert codes(world.TEXT, STRICT) == {"originator.missing", "enc.missing"}
    assert codes(sealed(signed("rsa")), STRICT) == {"originator.missing"}  # with an algorithm that does not count
    assert codes(world.TEXT, replace(STRICT, domsec=True)) == {"domain.missing", "enc.missing"}
    assert codes(world.TEXT, Peer("acme.example")) == set()


def test_others_are_not_held_to_what_one_domain_agreed_on():
    entity = sealed(signed("p256"), "aes256-gcm", how="pkcs1v15")
    assert verdict(entity, replace(STRICT, domain="other.example")).accepted
    assert not verdict(entity).accepted


# --- made by others ---------------------------------------------------------------------------------------------------


@pytest.fixture
def openssl(tmp_path: Path) -> Files:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    anchors = [acme().ca.certificate, beta().ca.certificate]
    judges.write_keys(tmp_path, {"alice": NAMES["rsa"], "bob": BOB}, anchors)
    return Files(tmp_path)


PSS = ("-keyopt", "rsa_padding_mode:pss")
OAEP = ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256", "-keyopt", "rsa_mgf1_md:sha256")


@pytest.mark.interop
@pytest.mark.parametrize(
    ("signing", "sealing", "complaint"),
    [
        ((*PSS,), ("-aes-128-cbc", *OAEP), ""),
        ((*PSS, "-md", "sha512"), ("-aes-256-cbc", *OAEP), ""),
        ((*PSS, "-keyopt", "rsa_pss_saltlen:digest"), ("-aes-192-cbc", *OAEP), ""),
        ((), ("-aes-128-cbc", *OAEP), "signed with rsa-sha256"),
        ((*PSS, "-md", "sha384"), ("-aes-128-cbc", *OAEP), "signed with rsa-pss-sha384"),
        ((*PSS,), ("-aes-128-cbc",), "encrypted with pkcs1v15"),
        ((*PSS,), ("-aes-128-cbc", *OAEP[:2]), "encrypted with oaep-sha1"),
        ((*PSS,), ("-aes-256-gcm", *OAEP), "encrypted with aes256-gcm"),
    ],
)
def test_what_openssl_makes_is_held_to_it(
    openssl: Files, signing: Sequence[str], sealing: Sequence[str], complaint: str
):
    inside, around = openssl.new(), openssl.new()
    openssl.run(
        "openssl", "cms", "-sign", "-binary", "-nodetach", "-md", "sha256",
        "-signer", openssl.certificate("alice"), "-inkey", openssl.private("alice"), *signing,
        "-in", str(openssl.new(world.TEXT)), "-out", str(inside),
    )  # fmt: skip
    openssl.run("openssl", "cms", "-encrypt", "-binary", sealing[0], "-in", str(inside), "-out", str(around),
                "-recip", openssl.certificate("bob"), *sealing[1:])  # fmt: skip
    judged = verdict(around.read_bytes().replace(b"\n", b"\r\n"))
    said = [flag.text for flag in judged.flags if flag.code == "alg.not_agreed"]
    assert judged.accepted is (complaint == ""), judged.flags
    assert any(complaint in text for text in said) if complaint else said == []


@pytest.mark.interop
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("cipher", ["aes128-cbc", "aes192-cbc", "aes256-cbc"])
def test_openssl_reads_what_we_make_for_such_a_domain(openssl: Files, digest: str, cipher: CipherName):
    algorithm = Scheme("pss", digest).algorithm(NAMES["rsa"].certificate)  # type: ignore[arg-type]
    assert algorithm is default_signature_algorithm(
        NAMES["rsa"].certificate.public_key, pss=True, digest=DIGESTS_BY_NAME[digest].oid
    )
    made = openssl.new(sealed(signed("rsa", algorithm), cipher))
    opened, content = openssl.new(), openssl.new()
    openssl.run("openssl", "cms", "-decrypt", "-in", str(made), "-recip", openssl.certificate("bob"),
                "-inkey", openssl.private("bob"), "-out", str(opened))  # fmt: skip
    openssl.run("openssl", "cms", "-verify", "-CAfile", openssl.anchor, "-in", str(opened), "-out", str(content),
                "-attime", str(int(world.NOW.timestamp())))  # fmt: skip
    assert content.read_bytes() == world.TEXT
