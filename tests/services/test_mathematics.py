"""Which certificates are tried for a signature: each once, and no more than is allowed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

import pki
import signers
import world
from domsec import der, oids
from domsec.cms import attributes, content_info, signed_data
from domsec.cms.algorithms import algorithm_identifier
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import ContentDigests, SignerInfo
from domsec.limits import DEFAULT
from domsec.services import mathematics
from domsec.services.layers import peel

ALICE = world.acme().users["alice"]
NAMESAKES = [pki.identity("user", f"{n}@acme.example", world.acme().ca, serial=4711).certificate for n in range(6)]


def signed_by_serial(serial: int) -> SignerInfo:
    signed = peel(world.build("S(OC)")).root.signed
    assert signed is not None
    info = signed.signers[0]
    return replace(info, sid=replace(info.sid, serial=serial), signed_attributes=None)


def found(offered: list[Certificate], most: int = DEFAULT.certificate_candidates) -> list[Certificate]:
    at = replace(world.context(known=NAMESAKES), limits=replace(DEFAULT, certificate_candidates=most))
    return mathematics.candidates(signed_by_serial(4711), offered, at)


def test_a_certificate_that_is_there_many_times_is_one_candidate() -> None:
    assert found([NAMESAKES[0]] * 100) == NAMESAKES[:4]
    assert found([ALICE.certificate, NAMESAKES[5]] * 2)[0] == NAMESAKES[5]


def test_there_are_as_many_candidates_as_are_tried() -> None:
    assert found(NAMESAKES) == NAMESAKES[:4]
    assert found(NAMESAKES, 6) == NAMESAKES
    assert found([], 5) == NAMESAKES[:5]


def test_a_weak_key_beside_the_right_one_is_no_hindrance() -> None:
    """Anybody can put a certificate beside a signature, with the identifier of another one."""
    signed = peel(world.build("S(OC)")).root.signed
    assert signed is not None
    short = signers.credential("rsa1024").certificate
    for among in ([short, ALICE.certificate], [ALICE.certificate, short]):
        done = mathematics.check(signed.signers[0], ContentDigests(world.TEXT), oids.ID_DATA, among, world.context())
        assert (done.crypto, done.certificate) == ("valid", ALICE.certificate)


def test_where_none_fits_the_first_that_was_tried_is_told() -> None:
    signed = peel(world.build("S(OC)")).root.signed
    assert signed is not None
    short, other = signers.credential("rsa1024").certificate, world.acme().users["bob"].certificate
    unknown = replace(signed.signers[0], signature_algorithm=algorithm_identifier("1.2.3"))
    for info, among, told in (
        (signed.signers[0], [], (None, "no_certificate", ())),
        (signed.signers[0], [short, other], (short, "weak", ("alg.weak",))),
        (signed.signers[0], [other, short], (other, "invalid", ())),
        (unknown, [other, ALICE.certificate], (other, "unsupported", ())),
    ):
        done = mathematics.check(info, ContentDigests(world.TEXT), oids.ID_DATA, among, world.context())
        assert (done.certificate, done.crypto, tuple(code for code, _ in done.flags)) == told
        assert done.reason
        assert ("not computed: this is no archive" in done.reason) is (done.crypto == "weak")


def test_a_key_that_is_too_large_is_a_limit_and_its_signature_is_not_computed() -> None:
    credential = signers.credential("rsa2048")
    octets = signed_data.sign(world.TEXT, oids.ID_DATA, (signed_data.Signing(credential, signing_time=world.NOW),))
    [info] = signed_data.parse_signed_data(content_info.parse(octets).content).signers
    own, at = credential.certificate, replace(world.context(), limits=replace(DEFAULT, rsa_bits=1024))
    done = mathematics.check(info, ContentDigests(world.TEXT), oids.ID_DATA, [own, ALICE.certificate], at)
    assert (done.certificate, done.crypto, done.reason) == (own, "unsupported", "limit rsa_bits exceeded")
    assert done.flags == (("limit.rsa_bits", done.reason),)


def _decoy() -> Certificate:
    """A certificate of nobody's that has alice's key identifier."""
    real, key = ALICE.certificate.x509, ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(real.issuer, real.subject, key.public_key(), 77)
    builder = builder.not_valid_before(real.not_valid_before_utc).not_valid_after(real.not_valid_after_utc)
    builder = builder.add_extension(x509.SubjectKeyIdentifier(ALICE.certificate.ski or b""), critical=False)
    return Certificate(builder.sign(key, SHA256()).public_bytes(Encoding.DER))


def _by_key_identifier() -> bytes:
    """Alice's signature as others make it: she is named by her key identifier, and by no attribute."""
    items = [attributes.content_type(oids.ID_DATA), attributes.message_digest(hashlib.sha256(world.TEXT).digest())]
    signed = der.set_of([item.raw for item in items])
    value = ALICE.key.sign(signed, ec.ECDSA(SHA256()))  # type: ignore[union-attr, call-arg, arg-type]
    info = der.sequence(
        der.integer(3),
        der.tlv(der.context(0, constructed=False), ALICE.certificate.ski or b""),
        der.sequence(der.oid(oids.SHA256)),
        bytes((der.context(0),)) + signed[1:],
        der.sequence(der.oid(oids.ECDSA_WITH_SHA256)),
        der.octet_string(value),
    )
    return world.with_signers(world.signed(world.TEXT, ALICE), lambda _: [info])


@pytest.mark.requirement("R8551-2.6-01")
@pytest.mark.parametrize("decoys", range(DEFAULT.certificate_candidates))
def test_certificates_with_one_key_identifier_are_each_tried(decoys: int) -> None:
    """Anybody can put alice's key identifier into certificates of their own and have them lie beside hers."""
    beside = [_decoy() for _ in range(decoys)]
    signed = peel(world.message(_by_key_identifier())).root.signed
    assert signed is not None
    [info] = signed.signers
    among = mathematics.candidates(info, [*beside, ALICE.certificate], world.context())
    assert among == [*beside, ALICE.certificate]
    done = mathematics.check(info, ContentDigests(world.TEXT), oids.ID_DATA, among, world.context())
    assert (done.crypto, done.certificate) == ("valid", ALICE.certificate)
