"""SignedData: what we make verifies, what is not as it should be does not, and each refusal has its code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

import signers
from domsec import der, oids
from domsec.cms import attributes, content_info
from domsec.cms.algorithms import DIGESTS, ECDSA_SHA256, SIGNATURES, AlgorithmIdentifier, Digest, rsa_pss
from domsec.cms.attributes import Attribute, attribute, set_of_attributes
from domsec.cms.certificates import Certificate, IssuerAndSerialNumber, SubjectKeyIdentifier, issuer_and_serial
from domsec.cms.signed_data import (
    ContentDigests,
    SignatureCheck,
    SignedData,
    SignerInfo,
    Signing,
    certificates_only,
    looks_like_signed_attributes,
    names_certificate,
    null_layer,
    parse_signed_data,
    sign,
    sign_around,
    verify,
)
from domsec.errors import DomsecError, KeyUnusable, LimitExceeded, MalformedMessage, SignatureInvalid, Unsupported
from domsec.limits import DEFAULT, Limits
from signed_messages import outcomes

CONTENT = b"Content-Type: text/plain\r\n\r\nhello\r\n"
SIGNATURE_TYPE = attribute(oids.ID_AA_SIGNATURE_TYPE, der.sequence(der.oid(oids.ID_STI_DOMAIN_SIG)))
P256 = signers.credential("p256")
SHA256 = DIGESTS[oids.SHA256].identifier


def read(octets: bytes, limits: Limits = DEFAULT) -> SignedData:
    outer = content_info.parse(octets)
    assert (outer.content_type, outer.trailing) == (oids.ID_SIGNED_DATA, 0)
    return parse_signed_data(outer.content, limits)


def check(signed: SignedData, content: bytes | None = None, *, by: Certificate | None = None) -> SignatureCheck:
    stated = signed.content if content is None else content
    assert stated is not None
    return verify(signed.signers[0], stated, signed.content_type, by or P256.certificate)


# --- what we make ----------------------------------------------------------------------------------------------------

WAYS = {
    "rsa2048": Signing(signers.credential("rsa2048")),
    "rsa2048-sha384": Signing(signers.credential("rsa2048"), SIGNATURES[oids.SHA384_WITH_RSA, oids.SHA384]),
    "rsa2048-sha512": Signing(signers.credential("rsa2048"), SIGNATURES[oids.SHA512_WITH_RSA, oids.SHA512]),
    "rsa3072": Signing(signers.credential("rsa3072")),
    "rsa2048-pss": Signing(signers.credential("rsa2048"), rsa_pss(oids.SHA256)),
    "rsa2048-pss-sha512": Signing(signers.credential("rsa2048"), rsa_pss(oids.SHA512)),
    "p256": Signing(P256),
    "p384": Signing(signers.credential("p384")),
    "ed25519": Signing(signers.credential("ed25519")),
    "mldsa44": Signing(signers.credential("mldsa44")),
    "mldsa65": Signing(signers.credential("mldsa65")),
    "mldsa87": Signing(signers.credential("mldsa87")),
}


@pytest.mark.requirement("R8551-2.1-01", "R8551-2.2-01", "R8551-2.2-02", "R8419-3.1-01", "R5652-5.3-02")
@pytest.mark.parametrize("key_identifier", [False, True])
@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_signed_verifies(way: str, detached: bool, key_identifier: bool) -> None:
    signing = replace(WAYS[way], attributes=(SIGNATURE_TYPE,), signing_time=signers.NOW, key_identifier=key_identifier)
    own = signing.credential.certificate
    signed = read(sign(CONTENT, oids.ID_DATA, [signing], detached=detached))
    (signer,) = signed.signers
    assert signed.content == (None if detached else CONTENT)
    assert signed.certificates == (own,)
    assert (signed.content_type, signed.odd_certificates, signed.crls) == (oids.ID_DATA, 0, ())
    assert (signed.version, signer.version) == ((3, 3) if key_identifier else (1, 1))
    assert isinstance(signer.sid, SubjectKeyIdentifier if key_identifier else IssuerAndSerialNumber)
    assert signer.matches(own)
    assert names_certificate(signer, own) is True
    assert signer.signed_attributes is not None
    assert signer.signed_attributes.get(oids.ID_AA_SIGNATURE_TYPE) == (SIGNATURE_TYPE,)
    assert signer.unsigned_attributes is None
    done = check(signed, CONTENT, by=own)
    assert (done.weak, done.order, done.is_der) == ((), "der", True)
    assert done.algorithm.digest.identifier == signed.digest_algorithms[0]
    with pytest.raises(SignatureInvalid) as caught:
        check(signed, CONTENT + b" ", by=own)
    assert caught.value.code == "crypto.invalid"


@pytest.mark.requirement("R5652-11-01", "R6211-3.1-01", "R5035-3-03")
def test_every_signature_has_the_attributes_that_make_it_safe() -> None:
    (signer,) = read(sign(CONTENT, oids.ID_DATA, [Signing(P256, signing_time=signers.NOW)])).signers
    assert signer.signed_attributes is not None
    assert sorted(oids.name(item.oid) for item in signer.signed_attributes.items) == [
        "idAaCmsAlgorithmProtect",
        "idAaSigningCertificateV2",
        "idContentType",
        "idMessageDigest",
        "idSigningTime",
    ]
    assert all(len(item.values) == 1 for item in signer.signed_attributes.items)


@pytest.mark.parametrize(
    "made_here",
    [attributes.signing_time(signers.NOW), attributes.content_type(oids.ID_DATA), attribute(oids.ID_MESSAGE_DIGEST)],
)
def test_attributes_made_while_signing_are_not_given(made_here: Attribute) -> None:
    with pytest.raises(ValueError, match="made while signing"):
        Signing(P256, attributes=(made_here,))


@pytest.mark.requirement("R5652-5.1-01")
def test_versions_are_the_lowest_that_fit() -> None:
    assert read(sign(CONTENT, oids.ID_DATA, [Signing(P256)])).version == 1
    assert read(sign(CONTENT, oids.ID_CT_RECEIPT, [Signing(P256)])).version == 3
    both = [Signing(P256), Signing(P256, key_identifier=True)]
    assert read(sign(CONTENT, oids.ID_DATA, both)).version == 3


def test_several_signers_share_one_content() -> None:
    ways = [replace(way, signing_time=signers.NOW) for way in WAYS.values()]
    signed = read(sign(CONTENT, oids.ID_DATA, ways))
    assert len(signed.signers) == len(ways)
    assert {a.oid for a in signed.digest_algorithms} == {oids.SHA256, oids.SHA384, oids.SHA512}
    assert outcomes(signed, signed.content) == ["valid"] * len(ways)


def test_chains_and_further_certificates_are_sent_once() -> None:
    one, other, third = (signers.credential("p256", i).certificate for i in range(3))
    credential = replace(P256, chain=(other,))
    signed = read(sign(CONTENT, oids.ID_DATA, [Signing(credential)] * 2, certificates=(third, one)))
    assert sorted(c.der for c in signed.certificates) == sorted(c.der for c in (one, other, third))


@pytest.mark.requirement("R8551-4-01")
@pytest.mark.parametrize("kind", ["rsa1024", "p521", "dsa"])
def test_weak_keys_do_not_sign(kind: str) -> None:
    with pytest.raises(KeyUnusable):
        sign(CONTENT, oids.ID_DATA, [Signing(signers.credential(kind))])


def test_refused_algorithms_and_missing_identifiers_do_not_sign() -> None:
    with pytest.raises(KeyUnusable):
        sign(CONTENT, oids.ID_DATA, [Signing(P256, SIGNATURES[oids.ECDSA_WITH_SHA1, oids.SHA1])])
    bare = replace(P256, certificate=signers.certificate_for(signers.key("p256"), key_identifier=False))
    with pytest.raises(KeyUnusable):
        sign(CONTENT, oids.ID_DATA, [Signing(bare, key_identifier=True)])


def test_content_need_not_be_in_one_piece() -> None:
    pieces = [b"Content-Type: ", b"text/plain", b"\r\n\r\nhello"]
    content = b"".join(pieces)
    before, after = sign_around(ContentDigests(*pieces), len(content), oids.ID_DATA, [Signing(P256)])
    signed = read(before + content + after)
    assert verify(signed.signers[0], ContentDigests(*pieces), oids.ID_DATA, P256.certificate).weak == ()


def test_unsigned_attributes_are_carried() -> None:
    extra = attribute("1.2.3", der.null())
    (signer,) = read(sign(CONTENT, oids.ID_DATA, [Signing(P256, unsigned_attributes=(extra,))])).signers
    assert signer.unsigned_attributes is not None
    assert signer.unsigned_attributes.items == (extra,)


@given(
    content=st.binary(max_size=70_000),
    detached=st.booleans(),
    values=st.lists(st.binary(max_size=100), max_size=5),
    when=st.none() | st.datetimes(datetime(1950, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    key_identifier=st.booleans(),
)
def test_whatever_is_signed_verifies(
    content: bytes, detached: bool, values: list[bytes], when: datetime | None, key_identifier: bool
) -> None:
    extra = tuple(attribute(f"1.2.840.{i}", der.octet_string(value)) for i, value in enumerate(values))
    signing = Signing(P256, attributes=extra, signing_time=when, key_identifier=key_identifier)
    signed = read(sign(content, oids.ID_DATA, [signing], detached=detached))
    assert check(signed, content).is_der
    assert signed.signers[0].signed_attributes is not None
    assert set(extra) <= set(signed.signers[0].signed_attributes.items)


# --- the empty signature ---------------------------------------------------------------------------------------------

UNSIGNED = b"Content-Type: text/plain\r\n\r\nunsigned hello\r\n"


@pytest.mark.requirement("R3183-3-05", "R3183-3-06", "R3183-3-07", "R5652-5.2-01")
def test_the_null_layer_is_the_one_others_make() -> None:
    """Bouncy Castle and OpenSSL made these octets (interop-notes 1)."""
    golden = (
        f"3053 06092a864886f70d010702 a046 3044 020101 3100 303b 06092a864886f70d010701 a02e 042c{UNSIGNED.hex()} 3100"
    )
    assert null_layer(UNSIGNED) == bytes.fromhex(golden)


@pytest.mark.requirement("R3183-3-05", "R3183-3-06", "R3183-3-07")
@pytest.mark.parametrize("content", [b"", UNSIGNED, b"x" * 70_000])
def test_a_null_layer_has_content_and_no_signers(content: bytes) -> None:
    signed = read(null_layer(content))
    assert (signed.version, signed.content_type, signed.content) == (1, oids.ID_DATA, content)
    assert (signed.digest_algorithms, signed.certificates, signed.crls, signed.signers) == ((), (), (), ())


@pytest.mark.requirement("R8551-3.8-01")
def test_certificates_alone_have_no_content() -> None:
    one, other = P256.certificate, signers.credential("p384").certificate
    signed = read(certificates_only((one, other), (der.sequence(),)))
    assert signed.content is None
    assert set(signed.certificates) == {one, other}
    assert (signed.crls, signed.signers) == ((der.sequence(),), ())


# --- what others make, well and badly --------------------------------------------------------------------------------


def indefinite(tag: int, *parts: bytes) -> bytes:
    return bytes((tag, 0x80)) + b"".join(parts) + b"\0\0"


def usual(digest: Digest = DIGESTS[oids.SHA256], content: bytes = CONTENT) -> list[Attribute]:
    hasher = digest.new()
    hasher.update(content)
    return [attributes.content_type(oids.ID_DATA), attributes.message_digest(hasher.digest())]


def signer_info(
    items: Sequence[bytes] | None,
    *,
    over: bytes | None = None,
    digest: AlgorithmIdentifier = SHA256,
    algorithm: AlgorithmIdentifier = ECDSA_SHA256.identifier,
    wrap: Callable[..., bytes] = der.tlv,
    unsigned: bytes = b"",
    content: bytes = CONTENT,
) -> SignerInfo:
    """A SignerInfo by the P-256 key with these attributes in this order, `over` is what is signed if not they."""
    if over is None:
        over = content if items is None else der.tlv(der.SET, *items)
    octets = der.sequence(
        der.integer(1),
        issuer_and_serial(P256.certificate),
        digest.raw,
        b"" if items is None else wrap(der.context(0), *items),
        algorithm.raw,
        der.octet_string(ECDSA_SHA256.sign(P256.key, over)),
        unsigned,
    )
    whole = der.sequence(
        der.integer(1),
        der.set_of([digest.raw]),
        der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.octet_string(content))),
        der.set_of([octets]),
    )
    return parse_signed_data(whole).signers[0]


def verdict(signer: SignerInfo, content: bytes = CONTENT, *, allow_no_attributes: bool = False) -> SignatureCheck:
    return verify(signer, content, oids.ID_DATA, P256.certificate, allow_no_attributes=allow_no_attributes)


def refusal(signer: SignerInfo, content: bytes = CONTENT, *, allow_no_attributes: bool = False) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        verdict(signer, content, allow_no_attributes=allow_no_attributes)
    return caught.value.code


def raws(items: Sequence[Attribute]) -> list[bytes]:
    return sorted(item.raw for item in items)


def test_the_least_a_signature_needs_is_content_type_and_digest() -> None:
    assert verdict(signer_info(raws(usual()))).is_der


@pytest.mark.requirement("R5652-5.4-01", "R5652-5.3-01")
@pytest.mark.parametrize("wrap", [der.tlv, indefinite])
def test_unsorted_attributes_may_be_signed_in_der_or_as_they_came(wrap: Callable[..., bytes]) -> None:
    unsorted = raws(usual())[::-1]
    in_der = verdict(signer_info(unsorted, over=der.set_of(unsorted), wrap=wrap))
    assert (in_der.order, in_der.is_der) == ("der", False)
    as_sent = verdict(signer_info(unsorted, wrap=wrap))
    assert (as_sent.order, as_sent.is_der) == ("received", False)


def test_attributes_of_indefinite_length_are_signed_in_der() -> None:
    items = [indefinite(der.SEQUENCE, der.oid(item.oid), indefinite(der.SET, *item.values)) for item in usual()]
    found = verdict(signer_info(items, over=der.set_of(item.raw for item in usual()), wrap=indefinite))
    assert (found.order, found.is_der) == ("der", False)


def test_attributes_signed_under_their_implicit_tag_are_not_signed() -> None:
    items = raws(usual())
    assert refusal(signer_info(items, over=der.tlv(der.context(0), *items))) == "crypto.invalid"


@pytest.mark.requirement("R5652-5.6-01")
def test_the_digest_is_computed_and_not_believed() -> None:
    assert refusal(signer_info(raws(usual(content=b"other")))) == "crypto.invalid"


@pytest.mark.requirement("R5652-5.6-02")
def test_the_content_type_is_the_one_signed() -> None:
    items = [attributes.content_type(oids.ID_CT_RECEIPT), usual()[1]]
    assert refusal(signer_info(raws(items))) == "crypto.invalid"
    with pytest.raises(SignatureInvalid):
        verify(signer_info(raws(usual())), CONTENT, oids.ID_CT_RECEIPT, P256.certificate)


@pytest.mark.requirement("R5652-11-01", "R8551-2.5.2-01", "R5652-5.3-01", "R8551-2.5-01")
@pytest.mark.parametrize(
    "change",
    [
        lambda items: [],
        lambda items: items[:1],
        lambda items: items[1:],
        lambda items: [*items, items[0]],
        lambda items: [*items, attributes.message_digest(bytes(32))],
        lambda items: [items[1], attribute(oids.ID_CONTENT_TYPE)],
        lambda items: [items[1], attribute(oids.ID_CONTENT_TYPE, der.oid(oids.ID_DATA), der.oid(oids.ID_CT_RECEIPT))],
        lambda items: [items[0], attribute(oids.ID_MESSAGE_DIGEST, *items[1].values, der.octet_string(b""))],
        lambda items: [*items, *[attributes.signing_time(signers.NOW)] * 2],
        lambda items: [*items, attribute(oids.ID_SIGNING_TIME)],
        lambda items: [*items, attribute(oids.SMIME_CAPABILITIES, der.sequence(), der.sequence(der.sequence()))],
        lambda items: [*items, *[attributes.smime_capabilities([SHA256])] * 2],
        lambda items: [*items, attribute(oids.ID_AA_CMS_ALGORITHM_PROTECT)],
    ],
)
def test_attributes_that_must_be_there_once_are(change: Callable[[list[Attribute]], list[Attribute]]) -> None:
    assert refusal(signer_info(raws(change(usual())))) == "attrs.cardinality"


@pytest.mark.requirement("R8551-2.5-01")
def test_unknown_attributes_do_no_harm() -> None:
    unknown = [attribute("1.2.3.4"), attribute("1.2.3.4", der.null()), attribute("1.2.3.5", b"\x30\x02\x05\x00")]
    assert verdict(signer_info(raws([*usual(), *unknown]))).weak == ()


@pytest.mark.requirement("R5652-5.3-03")
def test_nothing_unsigned_changes_the_verdict() -> None:
    for unsigned in (usual(content=b"x"), [attributes.signing_time(signers.NOW)] * 3, []):
        block = der.tlv(der.context(1), set_of_attributes(unsigned))
        assert verdict(signer_info(raws(usual()), unsigned=block)).weak == ()
        assert refusal(signer_info(None, unsigned=block)) == "attrs.absent"


@pytest.mark.requirement("R6211-3.1-01")
def test_protected_algorithms_are_those_used() -> None:
    protection = attributes.cms_algorithm_protection
    sha512 = DIGESTS[oids.SHA512].identifier
    other = SIGNATURES[oids.ECDSA_WITH_SHA512, oids.SHA512].identifier
    fits = protection(SHA256, ECDSA_SHA256.identifier)
    assert verdict(signer_info(raws([*usual(), fits]))).weak == ()
    with_null = AlgorithmIdentifier(oids.SHA256, der.null(), der.sequence(der.oid(oids.SHA256), der.null()))
    assert verdict(signer_info(raws([*usual(), protection(with_null, ECDSA_SHA256.identifier)]))).weak == ()
    mac = attribute(
        oids.ID_AA_CMS_ALGORITHM_PROTECT, der.sequence(SHA256.raw, der.implicit(2, ECDSA_SHA256.identifier.raw))
    )
    for wrong in (protection(sha512, ECDSA_SHA256.identifier), protection(SHA256, other), mac):
        assert refusal(signer_info(raws([*usual(), wrong]))) == "crypto.invalid"
    broken = attribute(oids.ID_AA_CMS_ALGORITHM_PROTECT, der.null())
    with pytest.raises(MalformedMessage):
        verdict(signer_info(raws([*usual(), broken])))


@pytest.mark.requirement("R8933-3-01")
def test_content_and_attributes_have_the_same_digest() -> None:
    sha512 = DIGESTS[oids.SHA512]
    assert refusal(signer_info(raws(usual(sha512)), digest=sha512.identifier)) == "crypto.invalid"


@pytest.mark.requirement("R5652-5.1-02")
def test_an_unknown_algorithm_is_not_called_invalid() -> None:
    unknown = AlgorithmIdentifier("1.2.3", None, der.sequence(der.oid("1.2.3")))
    with pytest.raises(Unsupported):
        verdict(signer_info(raws(usual()), algorithm=unknown))
    with pytest.raises(Unsupported):
        verdict(signer_info(raws(usual()), digest=unknown))


@pytest.mark.requirement("R5035-3-01", "R8550-4.2-02")
def test_the_signing_certificate_attribute_binds_the_certificate() -> None:
    other = signers.certificate_for(signers.key("p256"), name="p256-0", serial=2000)  # the same key
    signed = read(sign(CONTENT, oids.ID_DATA, [Signing(P256)]))
    assert check(signed).weak == ()
    assert names_certificate(signed.signers[0], other) is False
    with pytest.raises(SignatureInvalid, match="names another certificate"):
        check(signed, by=other)
    without = signer_info(raws(usual()))
    assert names_certificate(without, other) is None
    assert verify(without, CONTENT, oids.ID_DATA, other).weak == ()


@pytest.mark.requirement("R5035-2-01", "R5035-3-03")
def test_a_signing_certificate_attribute_that_cannot_be_used_says_nothing() -> None:
    good, wrong = (attributes.signing_certificate_v2(signers.credential("p256", i).certificate) for i in (0, 1))
    sha1 = hashes.Hash(hashes.SHA1())
    sha1.update(P256.certificate.der)
    v1 = attribute(
        oids.ID_AA_SIGNING_CERTIFICATE, der.sequence(der.sequence(der.sequence(der.octet_string(sha1.finalize()))))
    )
    v1_wrong = attribute(
        oids.ID_AA_SIGNING_CERTIFICATE, der.sequence(der.sequence(der.sequence(der.octet_string(bytes(20)))))
    )
    empty = attribute(oids.ID_AA_SIGNING_CERTIFICATE_V2, der.sequence(der.sequence()))
    broken = attribute(oids.ID_AA_SIGNING_CERTIFICATE_V2, der.null())

    def answer(*items: Attribute) -> bool | None:
        return names_certificate(signer_info(raws([*usual(), *items])), P256.certificate)

    assert [answer(item) for item in (good, v1, wrong, v1_wrong)] == [True, True, False, False]
    assert answer(good, v1) is True
    assert answer(good, v1_wrong) is answer(wrong, v1) is False
    assert answer(good, wrong) is answer(empty) is answer(broken) is answer() is None


def test_a_signature_without_attributes_needs_leave() -> None:
    signer = signer_info(None)
    assert refusal(signer) == "attrs.absent"
    assert verdict(signer, allow_no_attributes=True).weak == ()
    assert refusal(signer, CONTENT + b"x", allow_no_attributes=True) == "crypto.invalid"


@pytest.mark.requirement("R5652-5.3-01")
def test_content_of_another_type_is_never_signed_without_attributes() -> None:
    with pytest.raises(SignatureInvalid) as caught:
        verify(signer_info(None), CONTENT, oids.ID_CT_RECEIPT, P256.certificate, allow_no_attributes=True)
    assert caught.value.code == "attrs.absent"


@pytest.mark.requirement("R5652-5.6-03")
def test_signed_attributes_do_not_come_back_as_content() -> None:
    """Who has a message of ours must not be able to show its attributes as something we signed."""
    genuine = read(sign(CONTENT, oids.ID_DATA, [Signing(P256, signing_time=signers.NOW)])).signers[0]
    assert genuine.signed_attributes is not None
    content = der.tlv(der.SET, genuine.signed_attributes.raw)
    forged = replace(genuine, signed_attributes=None)
    assert ECDSA_SHA256.verify(P256.certificate.public_key, forged.signature, content) is None  # type: ignore[arg-type, func-returns-value]
    for allowed in (False, True):
        assert refusal(forged, content, allow_no_attributes=allowed) == "attrs.confusion"


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"", False),
        (b"1", False),
        (b"1st line\r\n", False),
        (CONTENT, False),
        (der.set_of([]), False),
        (der.set_of(raws(usual())), True),
        (indefinite(der.SET, *raws(usual())), True),
        (der.set_of(raws(usual())) + b"\0", False),
        (der.set_of(raws(usual()[:1])), False),
        (der.set_of(raws([*usual(), *[attribute("1.2.3")] * 100])), True),
        (der.sequence(*raws(usual())), False),
    ],
)
def test_content_that_looks_like_signed_attributes_is_known(content: bytes, looks: bool) -> None:
    assert looks_like_signed_attributes(content) is looks


def test_each_digest_is_computed_once() -> None:
    class Counted:
        made = 0

        def __init__(self) -> None:
            Counted.made += 1
            self.hasher = DIGESTS[oids.SHA256].new()

        def update(self, octets: bytes) -> None:
            self.hasher.update(octets)

        def digest(self) -> bytes:
            return self.hasher.digest()

    counted = replace(DIGESTS[oids.SHA256], new=Counted)  # type: ignore[arg-type]
    digests = ContentDigests(b"hel", memoryview(b"lo"))
    assert digests.of(counted) == digests.of(counted)
    assert Counted.made == 1
    assert digests.octets() == b"hello"


# --- limits and hostility --------------------------------------------------------------------------------------------


def test_signers_are_bounded() -> None:
    signed = sign(CONTENT, oids.ID_DATA, [Signing(P256)] * 4)
    assert len(read(signed, replace(DEFAULT, signers=4)).signers) == 4
    with pytest.raises(LimitExceeded, match="signers"):
        read(signed, replace(DEFAULT, signers=3))


def test_digest_algorithms_are_bounded_with_the_signers() -> None:
    def with_algorithms(count: int) -> bytes:
        algorithms = [der.sequence(der.oid(f"1.2.{i}")) for i in range(count)]
        content = der.sequence(der.oid(oids.ID_DATA))
        return der.sequence(der.integer(1), der.set_of(algorithms), content, der.set_of([]))

    assert len(parse_signed_data(with_algorithms(DEFAULT.signers)).digest_algorithms) == DEFAULT.signers
    with pytest.raises(LimitExceeded, match="digest algorithms"):
        parse_signed_data(with_algorithms(DEFAULT.signers + 1))
    with pytest.raises(DomsecError):
        parse_signed_data(with_algorithms(15_000))


@pytest.mark.parametrize("many", [5, 40])  # the second in more octets than are remembered
def test_certificates_are_bounded(many: int) -> None:
    certificates = [signers.certificate_for(signers.key("p256"), serial=i) for i in range(many)]
    bag = certificates_only(certificates)
    assert len(read(bag, replace(DEFAULT, certificates=many)).certificates) == many
    with pytest.raises(LimitExceeded, match="certificates"):
        read(bag, replace(DEFAULT, certificates=many - 1))
    size = max(len(c.der) for c in certificates)
    assert len(read(bag, replace(DEFAULT, certificate_size=size)).certificates) == many
    with pytest.raises(LimitExceeded, match="certificate_size"):
        read(bag, replace(DEFAULT, certificate_size=size - 1))


def test_crls_are_bounded() -> None:
    crls = [der.sequence(der.integer(i)) for i in range(4)]
    assert len(read(certificates_only((), crls), replace(DEFAULT, crls=4)).crls) == 4
    with pytest.raises(LimitExceeded, match="crls"):
        read(certificates_only((), crls), replace(DEFAULT, crls=3))


def test_odd_certificates_and_revocation_information_are_passed_over() -> None:
    choices = [P256.certificate.der, der.tlv(der.context(1), der.null()), der.sequence(der.null())]
    value = der.sequence(
        der.integer(5),
        der.set_of([]),
        der.sequence(der.oid(oids.ID_DATA)),
        der.tlv(der.context(0), *choices),
        der.tlv(der.context(1), der.tlv(der.context(1), der.null()), der.sequence()),
        der.set_of([]),
    )
    signed = parse_signed_data(value)
    assert (signed.certificates, signed.odd_certificates) == ((P256.certificate,), 2)
    assert signed.crls == (der.sequence(),)


@pytest.mark.requirement("R8550-2.1-01")
def test_ocsp_responses_are_told_from_other_revocation_information() -> None:
    """RFC 5940 2."""
    response = der.sequence(der.tlv(der.ENUMERATED, b"\0"))
    other = der.implicit(1, der.sequence(der.oid("1.2.3"), response))
    found = der.implicit(1, der.sequence(der.oid(oids.ID_RI_OCSP_RESPONSE), response))
    signed = read(certificates_only((), [other, found, der.sequence()]))
    assert (signed.crls, signed.ocsp) == ((der.sequence(),), (response,))


def test_content_that_is_no_octet_string_is_unsupported() -> None:
    content = der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.sequence()))
    with pytest.raises(Unsupported):
        parse_signed_data(der.sequence(der.integer(1), der.set_of([]), content, der.set_of([])))


def test_content_in_pieces_is_joined() -> None:
    pieces = indefinite(0x24, der.octet_string(b"hel"), indefinite(0x24, der.octet_string(b"lo")))
    value = indefinite(
        der.SEQUENCE,
        der.integer(1),
        indefinite(der.SET),
        indefinite(der.SEQUENCE, der.oid(oids.ID_DATA), indefinite(der.context(0), pieces)),
        indefinite(der.SET),
    )
    assert parse_signed_data(value).content == b"hello"


WHOLE = sign(CONTENT, oids.ID_DATA, [Signing(P256, attributes=(SIGNATURE_TYPE,), signing_time=signers.NOW)])


def test_what_follows_inside_is_malformed() -> None:
    value = content_info.parse(WHOLE).content
    with pytest.raises(MalformedMessage):
        parse_signed_data(bytes(value) + b"\0")


@given(st.data())
def test_no_changed_octet_makes_another_message_valid(data: st.DataObject) -> None:
    octets = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        outer = content_info.parse(bytes(octets))
        signed = parse_signed_data(outer.content)
        found = [
            verify(signer, signed.content or b"", signed.content_type, P256.certificate, allow_no_attributes=True)
            for signer in signed.signers
        ]
    except DomsecError:
        return
    if found:
        assert (signed.content, signed.content_type) == (CONTENT, oids.ID_DATA)


@given(st.data())
def test_a_message_cut_short_is_malformed(data: st.DataObject) -> None:
    with pytest.raises(MalformedMessage):
        read(WHOLE[: data.draw(st.integers(0, len(WHOLE) - 1))])
