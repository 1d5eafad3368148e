"""The signature on a certificate, CRL, OCSP response or request: did this key make it, and is it strong enough.

RFC 5280 4.1.1.2, RFC 2986 4.2, decisions A-46.
"""

from __future__ import annotations

from typing import Final, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from domsec.cms.algorithms import AlgorithmIdentifier, check_cost, self_contained, weaknesses
from domsec.cms.certificates import Certificate
from domsec.der import SEQUENCE, Reader, context
from domsec.errors import DomsecError

_WEAK_DIGESTS: Final = frozenset({"md5", "sha1"})
_WHOLE_MESSAGE = (
    ed25519.Ed25519PublicKey,
    ed448.Ed448PublicKey,
    mldsa.MLDSA44PublicKey,
    mldsa.MLDSA65PublicKey,
    mldsa.MLDSA87PublicKey,
)
_Signed = x509.Certificate | x509.CertificateRevocationList | x509.CertificateSigningRequest


def is_signed_by(subject: Certificate, issuer: Certificate) -> bool:
    """Whether the issuer's key made the signature on the subject. The names are not compared. Raises nothing."""
    try:
        certificate = subject.x509
        return _verified(certificate, certificate.tbs_certificate_bytes, issuer.public_key) and _one_algorithm(subject)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm, DomsecError):
        return False


def is_crl_signed_by(crl: x509.CertificateRevocationList, issuer: Certificate) -> bool:
    """Whether the issuer's key made the signature on the CRL. Raises nothing."""
    try:
        return _verified(crl, crl.tbs_certlist_bytes, issuer.public_key)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm, DomsecError):
        return False


def is_request_signed_by(request: x509.CertificateSigningRequest, key: object) -> bool:
    """Whether a public key made the signature on a certification request, with a strong digest. Raises nothing."""
    try:
        digest = request.signature_hash_algorithm
        if digest is not None and digest.name in _WEAK_DIGESTS:
            return False
        return _verified(request, request.tbs_certrequest_bytes, key)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm, DomsecError):
        return False


def are_signed_by(
    octets: bytes, algorithm: AlgorithmIdentifier, signature: bytes, issuer: Certificate, *, allow_weak: bool = False
) -> bool:
    """Whether the key in a certificate made a signature over some octets, and strongly enough. Raises nothing."""
    try:
        row = self_contained(algorithm)
        key = issuer.public_key
        if issuer.key_algorithm not in row.keys:
            return False
        check_cost(key)
        row.verify(cast(PublicKeyTypes, key), signature, octets)
        return allow_weak or not weaknesses(cast(PublicKeyTypes, key), row)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm, DomsecError):
        return False


def weak_signature(subject: Certificate) -> str | None:
    """Why the algorithm of the signature on a certificate is below the floor, or None. Raises MalformedMessage."""
    try:
        digest = subject.x509.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "signed with an unsupported algorithm"
    except ValueError:
        return "signed with an algorithm that cannot be read"
    if digest is not None and digest.name in _WEAK_DIGESTS:
        return f"signed with {digest.name}"
    return None


def _one_algorithm(certificate: Certificate) -> bool:
    """Whether the algorithm inside, which is signed, is the one outside, which is used (RFC 5280 4.1.1.2)."""
    reader = Reader(certificate.der)
    reader.enter(SEQUENCE)
    reader.enter(SEQUENCE)
    if reader.peek() == context(0):
        reader.skip()
    reader.integer()
    inside = reader.skip()
    while not reader.at_end():
        reader.skip()
    reader.leave()
    return inside == reader.skip()


def _verified(signed: _Signed, tbs: bytes, key: object) -> bool:
    check_cost(key)
    if isinstance(key, _WHOLE_MESSAGE):
        key.verify(signed.signature, tbs)
        return True
    digest = signed.signature_hash_algorithm
    if digest is None:
        return False
    parameters = signed.signature_algorithm_parameters
    if isinstance(key, rsa.RSAPublicKey) and isinstance(parameters, padding.PKCS1v15 | padding.PSS):
        key.verify(signed.signature, tbs, parameters, digest)
        return True
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
        key.verify(signed.signature, tbs, parameters)
        return True
    if isinstance(key, dsa.DSAPublicKey):
        key.verify(signed.signature, tbs, digest)
        return True
    return False
