"""The tables: what goes with what, what is allowed, what is weak."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import signers
from domsec import der, oids
from domsec.cms import algorithms
from domsec.cms.algorithms import (
    DIGESTS,
    SIGNATURES,
    AlgorithmIdentifier,
    Status,
    algorithm_identifier,
    check_signature,
    check_signing_key,
    default_signature_algorithm,
    find_digest,
    find_signature,
    key_transport_padding,
    oaep,
    parse_algorithm,
    rsa_pss,
)
from domsec.cms.credential import credential_from_private_key
from domsec.errors import KeyUnusable, LimitExceeded, MalformedMessage, SignatureInvalid, Unsupported
from domsec.limits import DEFAULT

SHA256 = DIGESTS[oids.SHA256].identifier
SHA512 = DIGESTS[oids.SHA512].identifier


def test_an_identifier_is_kept_as_it_came() -> None:
    raw = der.sequence(der.oid(oids.SHA256), der.null())
    assert parse_algorithm(raw) == AlgorithmIdentifier(oids.SHA256, der.null(), raw)
    assert parse_algorithm(b"\x30\x80" + raw[2:] + b"\0\0").oid == oids.SHA256


@pytest.mark.parametrize("raw", [b"", b"\x30\x00", b"\x31\x02\x05\x00", der.sequence(der.oid("1.2"), b"\5\0\5\0")])
def test_what_is_no_identifier_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_algorithm(raw)


@pytest.mark.requirement("R5754-2-01")
def test_digests_are_sent_without_parameters_and_read_with_null_or_none() -> None:
    assert DIGESTS[oids.SHA256].identifier.raw == der.sequence(der.oid(oids.SHA256))
    with_null = algorithm_identifier(oids.SHA256, der.null())
    assert find_digest(with_null) is find_digest(SHA256) is DIGESTS[oids.SHA256]
    assert with_null.same_as(SHA256)
    with pytest.raises(MalformedMessage):
        find_digest(algorithm_identifier(oids.SHA256, der.integer(1)))
    with pytest.raises(Unsupported):
        find_digest(algorithm_identifier("1.2.3"))


@pytest.mark.requirement("R8551-2.2-02", "R8419-3.1-01")
@pytest.mark.parametrize(
    ("kind", "name", "digest"),
    [
        ("rsa2048", "rsa-sha256", "sha256"),
        ("rsa3072", "rsa-sha256", "sha256"),
        ("p256", "ecdsa-sha256", "sha256"),
        ("p384", "ecdsa-sha384", "sha384"),
        ("ed25519", "ed25519", "sha512"),
        ("mldsa44", "ml-dsa-44", "sha512"),
        ("mldsa65", "ml-dsa-65", "sha512"),
        ("mldsa87", "ml-dsa-87", "sha512"),
    ],
)
def test_each_kind_of_key_has_its_usual_algorithm(kind: str, name: str, digest: str) -> None:
    row = default_signature_algorithm(signers.key(kind).public_key())
    assert (row.name, row.digest.name, row.status) == (name, digest, Status.ALLOWED)


def test_an_rsa_key_signs_as_asked() -> None:
    key = signers.key("rsa2048").public_key()
    assert default_signature_algorithm(key, digest=oids.SHA512).oid == oids.SHA512_WITH_RSA
    assert default_signature_algorithm(key, pss=True).name == "rsa-pss-sha256"
    assert default_signature_algorithm(key, pss=True, digest=oids.SHA384).name == "rsa-pss-sha384"


@pytest.mark.requirement("R8551-4-01")
@pytest.mark.parametrize("kind", ["rsa1024", "rsa2047", "p521", "secp256k1", "dsa", "ed448"])
def test_other_keys_do_not_sign(kind: str) -> None:
    with pytest.raises(KeyUnusable):
        default_signature_algorithm(signers.key(kind).public_key())


@pytest.mark.parametrize(
    ("kind", "pss", "digest"),
    [
        ("rsa2048", False, oids.SHA1),
        ("rsa2048", True, oids.SHA1),
        ("rsa2048", False, oids.MD5),
        ("rsa2048", False, oids.SHA224),
        ("rsa2048", False, "1.2.3"),
        ("p256", False, oids.SHA384),
        ("p256", False, oids.SHA1),
        ("ed25519", False, oids.SHA256),
    ],
)
def test_weak_and_unfit_digests_are_not_made(kind: str, pss: bool, digest: str) -> None:
    with pytest.raises(KeyUnusable):
        default_signature_algorithm(signers.key(kind).public_key(), pss=pss, digest=digest)


def test_a_key_signs_with_its_own_kind_of_algorithm_only() -> None:
    for kind, row in (
        ("p256", algorithms.RSA_SHA256),
        ("p384", algorithms.ECDSA_SHA256),
        ("rsa2048", algorithms.ED25519),
    ):
        with pytest.raises(KeyUnusable):
            check_signing_key(signers.key(kind).public_key(), row)


@pytest.mark.requirement("R8933-3-01", "R8419-3.1-01")
@pytest.mark.parametrize(
    ("signature", "digest"),
    [
        (oids.SHA256_WITH_RSA, oids.SHA512),
        (oids.SHA512_WITH_RSA, oids.SHA256),
        (oids.ECDSA_WITH_SHA256, oids.SHA384),
        (oids.ED25519, oids.SHA256),
        (oids.ML_DSA_87, oids.SHA256),
    ],
)
def test_the_digest_of_the_content_is_that_of_the_signature(signature: str, digest: str) -> None:
    with pytest.raises(SignatureInvalid):
        find_signature(algorithm_identifier(signature), DIGESTS[digest].identifier)
    with pytest.raises(SignatureInvalid):
        find_signature(rsa_pss(oids.SHA256).identifier, SHA512)


def test_where_the_signature_does_not_say_its_digest_the_other_does() -> None:
    bare = algorithm_identifier(oids.RSA_ENCRYPTION, der.null())
    assert [find_signature(bare, DIGESTS[oid].identifier).digest.name for oid in DIGESTS] == [
        row.name for row in DIGESTS.values()
    ]
    assert find_signature(algorithm_identifier(oids.RSA_ENCRYPTION), SHA256).name == "rsa-sha256"
    assert find_signature(algorithm_identifier(oids.EC_PUBLIC_KEY), SHA512).name == "ecdsa-sha512"


@pytest.mark.requirement("R5652-5.1-02")
def test_unknown_signature_algorithms_are_unsupported_not_invalid() -> None:
    for oid in ("1.2.3", oids.ED448, oids.ID_DATA):
        with pytest.raises(Unsupported):
            find_signature(algorithm_identifier(oid), SHA256)
    with pytest.raises(MalformedMessage):
        find_signature(algorithm_identifier(oids.SHA256_WITH_RSA, der.integer(1)), SHA256)


@pytest.mark.requirement("R4056-3-01")
def test_pss_parameters_are_written_and_read() -> None:
    for digest in (oids.SHA256, oids.SHA384, oids.SHA512):
        row = rsa_pss(digest)
        assert row.status is Status.ALLOWED
        assert find_signature(parse_algorithm(row.identifier.raw), DIGESTS[digest].identifier) == row


def pss(*fields: bytes) -> AlgorithmIdentifier:
    return algorithm_identifier(oids.RSASSA_PSS, der.sequence(*fields))


MGF_SHA256 = der.sequence(der.oid(oids.MGF1), SHA256.raw)


@pytest.mark.requirement("R4056-3-01")
@pytest.mark.parametrize(
    ("identifier", "error"),
    [
        (algorithm_identifier(oids.RSASSA_PSS), MalformedMessage),
        (algorithm_identifier(oids.RSASSA_PSS, der.null()), MalformedMessage),
        (pss(), SignatureInvalid),  # nothing said: SHA-1
        (pss(der.explicit(0, SHA256.raw), der.explicit(1, der.sequence(der.oid("1.2.3")))), Unsupported),
        (pss(der.explicit(0, SHA256.raw), der.explicit(1, der.sequence(der.oid(oids.MGF1)))), MalformedMessage),
        (pss(der.explicit(0, SHA256.raw), der.explicit(2, der.integer(-1))), MalformedMessage),
        (pss(der.explicit(0, SHA256.raw), der.explicit(2, der.integer(1 << 40))), MalformedMessage),
        (pss(der.explicit(0, SHA256.raw), der.explicit(3, der.integer(2))), Unsupported),
        (pss(der.explicit(0, SHA256.raw), der.explicit(4, der.integer(2))), MalformedMessage),
        (pss(der.explicit(0, der.sequence(der.oid("1.2.3")))), Unsupported),
        (pss(der.octet_string(bytes(1000))), MalformedMessage),
    ],
)
def test_strange_pss_parameters_are_refused(identifier: AlgorithmIdentifier, error: type[Exception]) -> None:
    with pytest.raises(error):
        find_signature(identifier, SHA256)


def test_pss_with_unusual_salt_is_read_and_not_made() -> None:
    row = find_signature(
        pss(der.explicit(0, SHA256.raw), der.explicit(1, MGF_SHA256), der.explicit(2, der.integer(20))), SHA256
    )
    assert row.status is Status.READ_ONLY
    signature = row.sign(signers.key("rsa2048"), b"data")
    assert check_signature(signers.credential("rsa2048").certificate, row, signature, b"data") == ()
    with pytest.raises(KeyUnusable):
        check_signing_key(signers.key("rsa2048").public_key(), row)


@pytest.mark.parametrize("row", SIGNATURES.values(), ids=lambda row: f"{oids.name(row.oid)}-{row.digest.name}")
def test_every_row_has_a_place_in_the_table_and_a_status_that_fits(row: algorithms.SignatureAlgorithm) -> None:
    assert find_signature(row.identifier, row.digest.identifier) is row
    if row.digest.status is Status.REFUSED:
        assert row.status is Status.REFUSED
    if row.status is Status.ALLOWED:
        assert row.digest.status is Status.ALLOWED


@pytest.mark.requirement("R8551-2.2-01", "R8551-2.1-01")
@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("rsa2048", algorithms.RSA_SHA256),
        ("rsa2048", algorithms.RSA_SHA384),
        ("rsa2048", algorithms.RSA_SHA512),
        ("rsa3072", rsa_pss(oids.SHA256)),
        ("rsa2048", rsa_pss(oids.SHA512)),
        ("p256", algorithms.ECDSA_SHA256),
        ("p384", algorithms.ECDSA_SHA384),
        ("p384", algorithms.ECDSA_SHA256),
        ("p521", SIGNATURES[oids.ECDSA_WITH_SHA512, oids.SHA512]),
        ("ed25519", algorithms.ED25519),
        ("mldsa44", SIGNATURES[oids.ML_DSA_44, oids.SHA512]),
        ("mldsa65", SIGNATURES[oids.ML_DSA_65, oids.SHA512]),
        ("mldsa87", SIGNATURES[oids.ML_DSA_87, oids.SHA512]),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_signature_fits_its_data_and_no_other(kind: str, row: algorithms.SignatureAlgorithm) -> None:
    certificate = signers.credential(kind).certificate
    signature = row.sign(signers.key(kind), b"data")
    assert check_signature(certificate, row, signature, b"data") == ()
    for octets, data in ((signature, b"date"), (signature[:-1], b"data"), (b"", b"data")):
        with pytest.raises(SignatureInvalid):
            check_signature(certificate, row, octets, data)
    with pytest.raises(SignatureInvalid):
        check_signature(signers.credential(kind, 1).certificate, row, signature, b"data")


@pytest.mark.parametrize(
    ("kind", "row", "weak"),
    [
        ("rsa2048", SIGNATURES[oids.SHA1_WITH_RSA, oids.SHA1], ("sha1",)),
        ("rsa2048", SIGNATURES[oids.RSA_ENCRYPTION, oids.MD5], ("md5",)),
        ("rsa1024", algorithms.RSA_SHA256, ("rsa-1024",)),
        ("rsa2047", algorithms.RSA_SHA256, ("rsa-2047",)),
        ("rsa1024", SIGNATURES[oids.SHA1_WITH_RSA, oids.SHA1], ("sha1", "rsa-1024")),
        ("p256", SIGNATURES[oids.ECDSA_WITH_SHA1, oids.SHA1], ("sha1",)),
    ],
    ids=lambda value: getattr(value, "name", value),
)
@pytest.mark.requirement("R8551-4-01")
def test_weak_signatures_are_verified_and_called_weak(
    kind: str, row: algorithms.SignatureAlgorithm, weak: tuple[str, ...]
) -> None:
    signature = row.sign(signers.key(kind), b"data")
    assert check_signature(signers.credential(kind).certificate, row, signature, b"data") == weak


def test_dsa_is_weak() -> None:
    row = SIGNATURES[oids.DSA_WITH_SHA256, oids.SHA256]
    signature = signers.key("dsa").sign(b"data", row.digest.pyca)  # type: ignore[union-attr, call-arg, arg-type]
    assert check_signature(signers.credential("dsa").certificate, row, signature, b"data") == ("dsa",)
    with pytest.raises(KeyUnusable):
        row.sign(signers.key("dsa"), b"data")


def test_a_certificate_for_another_kind_of_key_fits_nothing() -> None:
    signature = algorithms.ECDSA_SHA256.sign(signers.key("p256"), b"data")
    for kind in ("rsa2048", "ed25519"):
        with pytest.raises(SignatureInvalid):
            check_signature(signers.credential(kind).certificate, algorithms.ECDSA_SHA256, signature, b"data")


def test_other_curves_are_unsupported() -> None:
    signature = algorithms.ECDSA_SHA256.sign(signers.key("secp256k1"), b"data")
    with pytest.raises(Unsupported):
        check_signature(signers.credential("secp256k1").certificate, algorithms.ECDSA_SHA256, signature, b"data")


@pytest.mark.requirement("R8551-4-01")
def test_rsa_keys_are_bounded() -> None:
    certificate, row = signers.credential("rsa2048").certificate, algorithms.RSA_SHA256
    signature = row.sign(signers.key("rsa2048"), b"data")
    assert check_signature(certificate, row, signature, b"data", replace(DEFAULT, rsa_bits=2048)) == ()
    with pytest.raises(LimitExceeded, match="rsa_bits"):
        check_signature(certificate, row, signature, b"data", replace(DEFAULT, rsa_bits=2047))


def test_rsa_exponents_are_bounded() -> None:
    certificate, row = signers.credential("rsa2048").certificate, algorithms.RSA_SHA256
    signature = row.sign(signers.key("rsa2048"), b"data")
    assert check_signature(certificate, row, signature, b"data", replace(DEFAULT, rsa_exponent_bits=17)) == ()
    with pytest.raises(LimitExceeded, match="rsa_exponent_bits"):
        check_signature(certificate, row, signature, b"data", replace(DEFAULT, rsa_exponent_bits=16))
    modulus = certificate.public_key.public_numbers().n
    algorithms.check_cost(rsa.RSAPublicNumbers(2**63 + 1, modulus).public_key())
    with pytest.raises(LimitExceeded, match="rsa_exponent_bits"):
        algorithms.check_cost(rsa.RSAPublicNumbers(2**64 + 1, modulus).public_key())


def test_key_transport_reads_what_it_writes() -> None:
    credential = signers.credential("rsa2048")
    for algorithm in (
        oaep(),
        oaep(oids.SHA1),
        oaep(oids.SHA512),
        algorithm_identifier(oids.RSA_ENCRYPTION, der.null()),
    ):
        encrypted = algorithms.encrypt_key(signers.key("rsa2048").public_key(), b"k" * 32, algorithm)  # type: ignore[arg-type]
        assert credential.decrypt(encrypted, algorithm) == b"k" * 32
    assert isinstance(key_transport_padding(algorithm_identifier(oids.RSAES_OAEP)), padding.OAEP)
    with pytest.raises(Unsupported):
        key_transport_padding(algorithm_identifier("1.2.3"))


def test_a_key_that_does_not_decrypt_gives_octets_and_no_error() -> None:
    credential = signers.credential("rsa2048")
    for encrypted in (b"", b"\1" * 255, b"\0" * 256, b"\xff" * 256, bytes(range(256)), b"\1" * 257):
        for algorithm in (oaep(), algorithm_identifier(oids.RSA_ENCRYPTION)):
            assert isinstance(credential.decrypt(encrypted, algorithm), bytes)


def test_a_credential_needs_the_key_of_its_certificate() -> None:
    with pytest.raises(KeyUnusable):
        credential_from_private_key(signers.key("p256"), signers.credential("p256", 1).certificate)
    with pytest.raises(KeyUnusable):
        signers.credential("p256").sign(b"data", algorithms.RSA_SHA256)
    with pytest.raises(KeyUnusable):
        signers.credential("p256").decrypt(b"", oaep())
    with pytest.raises(KeyUnusable):
        signers.credential("p256").exchange(signers.key("p384").public_key())


def test_agreement_is_mutual() -> None:
    one, other = signers.credential("p256"), signers.credential("p256", 1)
    assert one.exchange(signers.key("p256", 1).public_key()) == other.exchange(signers.key("p256").public_key())
