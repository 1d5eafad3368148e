"""SignedData of others: what the oracle kit signed. What the corpora say of theirs is in tests/corpora."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from domsec.cms import content_info, signed_data
from domsec.cms.certificates import Certificate, IssuerAndSerialNumber
from domsec.cms.signed_data import SignedData
from domsec.errors import LimitExceeded, MalformedMessage, SignatureInvalid, Unsupported
from signed_messages import in_mail, outcomes
from signers import certificate_for

ORACLE = Path(__file__).resolve().parent.parent / "vectors" / "oracle"


# --- the oracle kit: OpenSSL, Bouncy Castle, NSS ---------------------------------------------------------------------

# files whose signatures do not all hold; every other file's do
ODD: dict[str, list[list[str]]] = {
    "b60-tampered-detached.eml": [["crypto.invalid"], ["crypto.invalid"]],
    "b62-tampered-signature.eml": [["crypto.invalid"], ["valid"]],
}
CUT: tuple[str, ...] = ("b61-tampered-opaque.eml", "b70-truncated.eml")
# its eContentType says SignedData, its content is a ContentInfo
DIRECT = "g64-direct-nesting.eml"


@functools.cache
def oracle_certificates() -> tuple[Certificate, ...]:
    found = (x509.load_pem_x509_certificate(path.read_bytes()) for path in sorted(ORACLE.glob("pki/certs/*.pem")))
    return tuple(Certificate(one.public_bytes(Encoding.DER)) for one in found)


def signatures_expected(layers: list[dict[str, object]]) -> int:
    """Layers down to the first encryption, or all if there is none."""
    count = 0
    for layer in layers:
        if layer["type"] not in ("signed", "null"):
            break
        count += 1
    return count


@pytest.mark.requirement("R8551-2.2-01", "R8551-3.5-01", "R3183-3-01")
@pytest.mark.parametrize("path", sorted(ORACLE.glob("msgs/*.eml")), ids=lambda path: path.stem)
def test_signatures_of_other_implementations(path: Path) -> None:
    if path.name in CUT:
        with pytest.raises(MalformedMessage):
            list(in_mail(path.read_bytes()))
        return
    layers = in_mail(path.read_bytes())
    found = [next(layers)] if path.name == DIRECT else list(layers)
    results = [outcomes(layer.signed, layer.content, oracle_certificates()) for layer in found]
    if path.name in ODD:
        assert results == ODD[path.name]
        return
    assert {word for words in results for word in words} <= {"valid"}
    expected = json.loads((ORACLE / "expected.json").read_text())["messages"]
    (message,) = [one for one in expected if one["file"] == f"msgs/{path.name}"]
    if path.name != DIRECT and "multipart" not in message.get("structure", ""):
        assert len(results) >= min(1, signatures_expected(message.get("layers", [])))


@pytest.mark.requirement("R3183-3-05", "R3183-3-06", "R3183-3-07")
@pytest.mark.parametrize(
    "name", ["g10-dom-s0-bc-over-ossl", "g11-dom-s0-ossl-over-bc", "g12-dom-s0-detached-outer", "g13-dom-s0-ber"]
)
def test_null_layers_of_other_implementations_are_ours_to_the_octet(name: str) -> None:
    """Inside a domain signature, DER or BER."""
    outer, inner = in_mail((ORACLE / "msgs" / f"{name}.eml").read_bytes())
    assert outcomes(outer.signed, outer.content, oracle_certificates()) == ["valid"]
    assert inner.signed.signers == inner.signed.digest_algorithms == inner.signed.certificates == ()
    assert inner.content is not None
    again = signed_data.null_layer(inner.content)
    assert signed_data.parse_signed_data(content_info.parse(again).content) == inner.signed


def test_indefinite_lengths_and_segments_are_read() -> None:
    outer, _ = in_mail((ORACLE / "msgs" / "g13-dom-s0-ber.eml").read_bytes())
    assert outer.content is not None
    assert bytes(outer.content).startswith(b"Content-Type: application/pkcs7-mime")


# --- the corpora -----------------------------------------------------------------------------------------------------


def parsed(path: Path) -> SignedData:
    return signed_data.parse_signed_data(content_info.parse(path.read_bytes()).content)


@pytest.mark.shared
def test_bombs_are_limited(shared: Path) -> None:
    folder = shared / "corpora" / "collector-made-attacks"
    with pytest.raises(LimitExceeded, match="certificates"):
        parsed(next(folder.rglob("signed-5000-certificates.der")))


@pytest.mark.shared
def test_authenticode_is_not_mail(shared: Path) -> None:
    """PKCS #7 with content that is no OCTET STRING."""
    with pytest.raises(Unsupported):
        parsed(shared / "corpora" / "pyca" / "pkcs7" / "authenticode.der")


@pytest.mark.shared
def test_the_example_of_rfc_9882_with_the_key_of_rfc_9881(shared: Path) -> None:
    """ML-DSA-44 with signed attributes. Its certificate is not at hand, so the key stands in one of the same name."""
    folder = shared / "corpora" / "rfc-structures"
    message = (folder / "rfc9882.MLDSASignedDataTestCase.pem_text.der").read_bytes()
    found = signed_data.parse_signed_data(content_info.parse(message).content)
    (signer,) = found.signers
    own = certificate_for(MLDSA44PrivateKey.from_seed_bytes(bytes(range(32))))
    assert isinstance(signer.sid, IssuerAndSerialNumber)
    named = replace(signer, sid=IssuerAndSerialNumber(own.issuer, own.serial))
    assert found.content is not None
    assert signed_data.verify(named, found.content, found.content_type, own).weak == ()
    with pytest.raises(SignatureInvalid):
        signed_data.verify(named, bytes(found.content) + b"!", found.content_type, own)
