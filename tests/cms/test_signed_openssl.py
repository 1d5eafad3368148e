"""OpenSSL verifies what we sign, and we what it signs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import signers
from domsec import der, oids
from domsec.cms import content_info, signed_data
from domsec.cms.algorithms import SIGNATURES, rsa_pss
from domsec.cms.attributes import attribute
from domsec.cms.signed_data import Signing, sign
from signed_messages import outcomes

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed"),
]

CONTENT = b"Content-Type: text/plain\r\n\r\nhello\r\n"
SIGNATURE_TYPE = attribute(oids.ID_AA_SIGNATURE_TYPE, der.sequence(der.oid(oids.ID_STI_DOMAIN_SIG)))

# OpenSSL 3.0 has no Ed25519 in CMS (interop-notes 3)
WAYS = {
    "rsa2048": Signing(signers.credential("rsa2048")),
    "rsa2048-sha512": Signing(signers.credential("rsa2048"), SIGNATURES[oids.SHA512_WITH_RSA, oids.SHA512]),
    "rsa2048-pss": Signing(signers.credential("rsa2048"), rsa_pss(oids.SHA256)),
    "rsa3072-pss-sha512": Signing(signers.credential("rsa3072"), rsa_pss(oids.SHA512)),
    "p256": Signing(signers.credential("p256"), signing_time=signers.NOW),
    "p256-ski": Signing(signers.credential("p256"), key_identifier=True),
    "p384": Signing(signers.credential("p384"), attributes=(SIGNATURE_TYPE,)),
}


def openssl(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *arguments], cwd=cwd, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_openssl_verifies_what_we_sign(way: str, detached: bool, tmp_path: Path) -> None:
    signing = WAYS[way]
    (tmp_path / "message.der").write_bytes(sign(CONTENT, oids.ID_DATA, [signing], detached=detached))
    (tmp_path / "ca.pem").write_bytes(signing.credential.certificate.x509.public_bytes(Encoding.PEM))
    (tmp_path / "content").write_bytes(CONTENT)
    given = ("-content", "content") if detached else ()
    done = openssl(
        *("cms", "-verify", "-binary", "-inform", "DER", "-in", "message.der", *given),
        *("-purpose", "any", "-partial_chain", "-CAfile", "ca.pem", "-attime", str(int(signers.NOW.timestamp()))),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == CONTENT
    other = openssl(
        *("cms", "-verify", "-binary", "-inform", "DER", "-in", "message.der", "-content", "ca.pem", "-noverify"),
        cwd=tmp_path,
    )
    assert other.returncode != 0 or not detached


@pytest.mark.requirement("R5652-5.3-02", "R8551-2.2-01")
@pytest.mark.parametrize("stream", [(), ("-stream",)], ids=["der", "ber"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rsa2048", ("-md", "sha256")),
        ("rsa2048", ("-md", "sha512", "-keyid")),
        ("rsa2048", ("-md", "sha256", "-keyopt", "rsa_padding_mode:pss")),
        ("rsa2048", ("-md", "sha384", "-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:20")),
        ("rsa2048", ("-md", "sha256", "-nosmimecap", "-cades")),
        ("rsa2048", ("-md", "sha256", "-noattr")),
        ("p256", ("-md", "sha256")),
        ("p384", ("-md", "sha384", "-nocerts")),
    ],
    ids=lambda value: value if isinstance(value, str) else "".join(value),
)
def test_we_verify_what_openssl_signs(
    kind: str, options: tuple[str, ...], stream: tuple[str, ...], tmp_path: Path
) -> None:
    if stream and "rsa_padding_mode:pss" in options:
        pytest.skip("OpenSSL 3.0 cannot write RSA-PSS with -stream")
    credential = signers.credential(kind)
    (tmp_path / "content").write_bytes(CONTENT)
    (tmp_path / "certificate.pem").write_bytes(credential.certificate.x509.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        signers.key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    done = openssl(
        *("cms", "-sign", "-binary", "-nodetach", "-in", "content", "-outform", "DER", "-out", "message.der"),
        *("-signer", "certificate.pem", "-inkey", "key.pem", *options, *stream),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()
    signed = signed_data.parse_signed_data(content_info.parse((tmp_path / "message.der").read_bytes()).content)
    assert signed.content == CONTENT
    assert outcomes(signed, signed.content, [credential.certificate]) == ["valid"]
    assert outcomes(signed, b"another", [credential.certificate]) == ["crypto.invalid"]
