"""multiple-signatures: made as RFC 5752 4.4.1 says, and checked against another reading of it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import pytest
from cryptography import x509
from cryptography.hazmat import asn1

import signers
from domsec import der, oids
from domsec.cms import content_info
from domsec.cms.algorithms import DIGESTS, ECDSA_SHA256, SIGNATURES
from domsec.cms.attributes import Attribute, Attributes, attribute, set_of_attributes
from domsec.cms.credential import PrivateKeyCredential, credential_from_private_key
from domsec.cms.multiple_signatures import MultipleSignatures, Parallel, named, read
from domsec.cms.signed_data import SignerInfo, Signing, parse_signed_data, sign
from domsec.errors import MalformedMessage

CONTENT = b"Content-Type: text/plain\r\n\r\nhello\r\n"
SHA256 = DIGESTS[oids.SHA256].identifier


KINDS = ("rsa2048", "p256", "p384", "ed25519", "mldsa65")


@functools.cache
def credential(kind: str) -> PrivateKeyCredential:
    """One name, many keys."""
    key = signers.key(kind, 7)
    return credential_from_private_key(key, signers.certificate_for(key, name="both", serial=KINDS.index(kind)))


def signed(*kinds: str) -> tuple[SignerInfo, ...]:
    """The signatures with these keys, in this order."""
    octets = sign(CONTENT, oids.ID_DATA, [Signing(credential(kind), signing_time=signers.NOW) for kind in kinds])
    infos = parse_signed_data(content_info.parse(octets).content).signers
    return tuple(info for kind in kinds for info in infos if info.matches(credential(kind).certificate))


def links(info: SignerInfo) -> tuple[MultipleSignatures, ...]:
    assert info.signed_attributes is not None
    (found,) = info.signed_attributes.get(oids.ID_AA_MULTIPLE_SIGNATURES)
    return tuple(read(value) for value in found.values)


def missing(infos: Sequence[SignerInfo], position: int = 0) -> int:
    """How many of those that one names are not there."""
    others = [Parallel.of(info) for i, info in enumerate(infos) if i != position]
    return len(Parallel.of(infos[position]).unanswered(others))


# --- another reader -------------------------------------------------------------------------------------------------


@asn1.sequence
class Algorithm:
    algorithm: x509.ObjectIdentifier
    parameters: asn1.Null | asn1.TLV | None


@asn1.sequence
class SignAttrsHash:
    algorithm: Algorithm
    hash: bytes


@asn1.sequence
class Value:
    body: Algorithm
    signature: Algorithm
    hash: SignAttrsHash
    certificate: asn1.TLV


@asn1.sequence
class AttributeOfValues:
    type: x509.ObjectIdentifier
    values: Annotated[asn1.SetOf[Value], asn1.Size(min=1, max=None)]


def emptied(info: SignerInfo) -> bytes:
    """Signed attributes with empty hashes, put together by a codec that is not ours."""
    assert info.signed_attributes is not None
    octets = []
    for item in info.signed_attributes.items:
        if item.oid != oids.ID_AA_MULTIPLE_SIGNATURES:
            octets.append(item.raw)
            continue
        found = asn1.decode_der(AttributeOfValues, item.raw)
        values = [
            Value(body=v.body, signature=v.signature, hash=SignAttrsHash(algorithm=v.hash.algorithm, hash=b""),
                  certificate=v.certificate)
            for v in found.values.as_list()
        ]  # fmt: skip
        octets.append(asn1.encode_der(AttributeOfValues(type=found.type, values=asn1.SetOf(values))))
    return der.set_of(octets)


@pytest.mark.parametrize("kinds", [("rsa2048", "p256"), ("rsa2048", "mldsa65"), ("rsa2048", "p384", "ed25519")])
def test_each_signature_names_all_others_by_their_attributes(kinds: tuple[str, ...]) -> None:
    infos = signed(*kinds)
    for info in infos:
        others = [other for other in infos if other is not info]
        digest = DIGESTS[info.digest_algorithm.oid].name
        assert named(info) == len(others)
        assert {link.hash for link in links(info)} == {hashlib.new(digest, emptied(other)).digest() for other in others}
        for link in links(info):
            (other,) = [o for o in others if o.signature_algorithm == link.signature]
            assert link.digest == other.digest_algorithm
            assert link.hash_algorithm == info.digest_algorithm
            assert link.certificate_hash is not None
            assert [link.certificate_hash.matches(credential(kind).certificate) for kind in kinds].count(True) == 1
    assert [missing(infos, i) for i in range(len(infos))] == [0] * len(infos)


def test_two_keys_of_one_kind_are_told_apart() -> None:
    one, other = signers.key("p256", 7), signers.key("p256", 8)
    both = [credential_from_private_key(key, signers.certificate_for(key, name="both")) for key in (one, other)]
    octets = sign(CONTENT, oids.ID_DATA, [Signing(each) for each in both])
    infos = parse_signed_data(content_info.parse(octets).content).signers
    assert [missing(infos, i) for i in (0, 1)] == [0, 0]
    assert missing([infos[0], infos[0]]) == 1


def test_signers_of_different_names_do_not_name_each_other() -> None:
    ways = [Signing(signers.credential("p256", i)) for i in range(2)]
    infos = parse_signed_data(content_info.parse(sign(CONTENT, oids.ID_DATA, ways)).content).signers
    assert [named(info) for info in infos] == [None, None]
    with pytest.raises(ValueError, match="made while signing"):
        Signing(signers.credential("p256"), attributes=(attribute(oids.ID_AA_MULTIPLE_SIGNATURES),))


# --- what somebody did to them --------------------------------------------------------------------------------------


def test_what_is_removed_is_missed() -> None:
    infos = signed("rsa2048", "p384", "ed25519")
    assert missing(infos) == 0
    assert missing(infos[:2]) == 1
    assert missing(infos[:1]) == 2
    assert missing([infos[0], infos[1], infos[1]]) == 1  # one cannot stand for two


@pytest.mark.parametrize("reordered", [False, True])
def test_what_is_changed_is_missed_and_what_only_looks_different_is_not(reordered: bool) -> None:
    one, other = signed("rsa2048", "p384")
    assert other.signed_attributes is not None
    items = other.signed_attributes.items
    items = items[::-1] if reordered else (*items[:-1], attribute("1.2.3", der.null()))
    changed = replace(other, signed_attributes=Attributes(items, b"".join(item.raw for item in items)))
    assert missing([one, changed]) == (0 if reordered else 1)
    assert missing([one, replace(other, signature_algorithm=ECDSA_SHA256.identifier)]) == 1
    assert missing([one, replace(other, digest_algorithm=SHA256)]) == 1
    assert missing([one, replace(other, signed_attributes=None)]) == 1


def stating(*items: Attribute) -> SignerInfo:
    (info,) = signed("p256")
    return replace(info, signed_attributes=Attributes(items, set_of_attributes(items)))


VALUE = MultipleSignatures(SHA256, SIGNATURES[oids.ED25519, oids.SHA512].identifier, SHA256, b"x" * 32)


@pytest.mark.parametrize(
    "items",
    [
        [attribute(oids.ID_AA_MULTIPLE_SIGNATURES, der.null())],
        [attribute(oids.ID_AA_MULTIPLE_SIGNATURES, VALUE.write()[:-1])],
        [attribute(oids.ID_AA_MULTIPLE_SIGNATURES, replace(VALUE, certificate=der.null()).write())],
        [attribute(oids.ID_AA_MULTIPLE_SIGNATURES, VALUE.write())] * 2,
    ],
)
def test_what_cannot_be_read_is_an_error(items: list[Attribute]) -> None:
    with pytest.raises(MalformedMessage):
        Parallel.of(stating(*items)).unanswered([])


def test_the_digest_is_the_one_of_the_signature_it_stands_in() -> None:
    """RFC 5752 3: algID MUST match."""
    (other,) = signed("ed25519")
    unlinked = Parallel.of(other).unlinked
    assert unlinked is not None
    pointer = MultipleSignatures(other.digest_algorithm, other.signature_algorithm, SHA256, b"")
    right = replace(pointer, hash=hashlib.sha256(unlinked).digest())
    sha384 = DIGESTS[oids.SHA384].identifier
    wrong = replace(pointer, hash_algorithm=sha384, hash=hashlib.sha384(unlinked).digest())
    for value, gone in ((right, 0), (wrong, 1)):
        info = stating(attribute(oids.ID_AA_MULTIPLE_SIGNATURES, value.write()))
        assert len(Parallel.of(info).unanswered([Parallel.of(other)])) == gone


def test_without_the_certificate_a_value_is_shorter() -> None:
    assert read(VALUE.write()) == VALUE
    assert VALUE.certificate_hash is None
