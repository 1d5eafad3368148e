"""Certificates and revocation lists from files and folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509 import load_der_x509_crl, ocsp

import pki
from domsec.cms.certificates import Certificate, IssuerAndSerialNumber, SubjectKeyIdentifier
from domsec.errors import ConfigurationError
from domsec.services.names import CONFIDENTIALITY_AUTHORITY
from domsec.stores.certificates import (
    DirectorySource,
    certificates_in,
    load_anchors,
    load_certificates,
    load_snapshot,
)
from domsec.trust import issue
from domsec.trust.source import CertificateSource

WORLD = pki.world()
ACME = WORLD.acme
ONE = ACME.signing.certificate
TWO = ACME.confidentiality.certificate
CRL = issue.issue_crl(ACME.ca.certificate, ACME.ca.signing_key, [7], now=pki.NOW, days=7)


def pem(certificate: Certificate) -> bytes:
    return certificate.x509.public_bytes(Encoding.PEM)


def certs_only(encoding: Encoding, certificates: Sequence[Certificate]) -> bytes:
    return pkcs7.serialize_certificates([certificate.x509 for certificate in certificates], encoding)


@pytest.mark.parametrize(
    ("octets", "certificates", "crls"),
    [
        pytest.param(pem(ONE), [ONE], [], id="pem"),
        pytest.param(b"text before\n" + pem(ONE) + b"between\n" + pem(TWO) + pem(ONE), [ONE, TWO], [], id="pem-bundle"),
        pytest.param(pem(ONE).replace(b"\n", b"\r\n"), [ONE], [], id="pem-crlf"),
        pytest.param(ONE.der, [ONE], [], id="der"),
        pytest.param(CRL, [], [CRL], id="crl-der"),
        pytest.param(load_der_x509_crl(CRL).public_bytes(Encoding.PEM) + pem(ONE), [ONE], [CRL], id="crl-pem"),
        pytest.param(certs_only(Encoding.DER, [ONE, TWO]), [ONE, TWO], [], id="pkcs7-der"),
        pytest.param(certs_only(Encoding.PEM, [ONE, TWO]), [ONE, TWO], [], id="pkcs7-pem"),
    ],
)
def test_every_form_is_read(tmp_path: Path, octets: bytes, certificates: list[Certificate], crls: list[bytes]) -> None:
    (tmp_path / "file").write_bytes(octets)
    loaded = load_certificates([tmp_path / "file"])
    assert loaded.problems == ()
    assert set(loaded.certificates) == set(certificates)
    assert list(loaded.crls) == crls


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "neither PEM nor DER"),
        (b"hello\n", "neither PEM nor DER"),
        (b"\x30", "cut short"),
        (ONE.der[:-1], ""),
        (ONE.der + b"\x00", ""),
        (b"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n", "is not base64"),
        (b"-----BEGIN CERTIFICATE-----\nMAA=\n", "a PEM block has no end"),
        (pem(ONE).replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), "OpenSSL's own TRUSTED CERTIFICATE"),
        (b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n", "no certificate and no revocation list"),
        (bytes.fromhex("300f06092a864886f70d010703a0023000"), "PKCS#7 of type"),
    ],
)
def test_a_broken_file_is_named_and_the_rest_is_used(tmp_path: Path, octets: bytes, reason: str) -> None:
    (tmp_path / "a.pem").write_bytes(pem(ONE))
    (tmp_path / "b.pem").write_bytes(octets)
    (tmp_path / "c.pem").write_bytes(pem(TWO))
    loaded = load_certificates([tmp_path])
    assert loaded.certificates == (ONE, TWO)
    (problem,) = loaded.problems
    assert problem.path == tmp_path / "b.pem"
    assert reason in problem.text
    assert str(problem).startswith(f"{tmp_path}/b.pem: ")


def test_of_a_folder_only_certificate_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "one.CRT").write_bytes(pem(ONE))
    (tmp_path / "deadbeef.0").write_bytes(pem(TWO))
    for name in ("README", "key.key", ".hidden.pem", "notes.txt"):
        (tmp_path / name).write_text("no certificate")
    loaded = load_certificates([tmp_path])
    assert set(loaded.certificates) == {ONE, TWO}
    assert loaded.problems == ()


def test_a_missing_file_is_a_problem_like_others(tmp_path: Path) -> None:
    loaded = load_certificates([tmp_path / "absent"])
    assert [str(problem) for problem in loaded.problems] == [
        f"{tmp_path}/absent: cannot be read: No such file or directory"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    assert "closed" in str(load_certificates([tmp_path]).problems[0])


def test_anchors_must_all_be_right(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(pem(ACME.ca.certificate))
    assert load_anchors([tmp_path]).certificates == (ACME.ca.certificate,)
    (tmp_path / "b.pem").write_bytes(b"broken")
    with pytest.raises(ConfigurationError, match=r"b\.pem: neither PEM nor DER"):
        load_anchors([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"empty: no certificate in it, expected an anchor"):
        load_anchors([tmp_path / "empty"])


def test_certificates_of_one_file_are_all_or_nothing() -> None:
    assert certificates_in(pem(ONE), "name") == (ONE,)
    with pytest.raises(ConfigurationError, match="name: no certificate in it"):
        certificates_in(CRL, "name")
    with pytest.raises(ConfigurationError, match="name: neither PEM nor DER"):
        certificates_in(b"x", "name")


def test_a_snapshot_has_what_the_files_have(tmp_path: Path) -> None:
    for name, octets in {
        "roles.pem": pem(ACME.ca.certificate),
        "users.pem": pem(WORLD.beta.ca.certificate),
        "others.pem": pem(TWO),
        "list.crl": CRL,
        "broken.crl": b"broken",
    }.items():
        (tmp_path / name).write_bytes(octets)
    snapshot, problems = load_snapshot(
        roles=[tmp_path / "roles.pem"],
        users=[tmp_path / "users.pem"],
        certificates=[tmp_path / "others.pem"],
        crls=[tmp_path / "list.crl", tmp_path / "broken.crl"],
    )
    assert snapshot.roles.certificates == (ACME.ca.certificate,)
    assert snapshot.users.certificates == (WORLD.beta.ca.certificate,)
    assert snapshot.intermediates == (TWO,)
    assert len(snapshot.crls.of(ACME.ca.certificate.subject)) == 1
    assert [problem.path.name for problem in problems] == ["broken.crl"]


def test_an_ocsp_response_is_read_beside_revocation_lists(tmp_path: Path) -> None:
    leaf, ca = ACME.signing.certificate, ACME.ca
    answer = ocsp.OCSPResponseBuilder().add_response(
        leaf.x509, ca.certificate.x509, hashes.SHA256(), ocsp.OCSPCertStatus.GOOD, pki.NOW, pki.NOW, None, None
    )
    signed = answer.responder_id(ocsp.OCSPResponderEncoding.NAME, ca.certificate.x509).sign(
        ca.signing_key, hashes.SHA256()
    )
    (tmp_path / "dsa.ors").write_bytes(signed.public_bytes(Encoding.DER))
    (tmp_path / "broken.ors").write_bytes(signed.public_bytes(Encoding.DER)[:-1])
    snapshot, problems = load_snapshot(crls=[tmp_path])
    assert snapshot.ocsp.status(leaf, ca.certificate, pki.NOW).state == "good"
    assert [problem.path.name for problem in problems] == ["broken.ors"]


def test_a_folder_answers_by_address_role_and_identifier(tmp_path: Path) -> None:
    bob = WORLD.beta.users["bob"].certificate
    authority = WORLD.beta.confidentiality.certificate
    (tmp_path / "bob.pem").write_bytes(pem(bob))
    (tmp_path / "authority.der").write_bytes(authority.der)
    (tmp_path / "broken.pem").write_bytes(b"broken")
    source: CertificateSource = DirectorySource.load([tmp_path])
    assert source.by_address("BOB@beta.example") == (bob,)
    assert source.authority(CONFIDENTIALITY_AUTHORITY, "beta.example") == (authority,)
    assert source.authority(CONFIDENTIALITY_AUTHORITY, "example") == ()
    assert source.by_sid(IssuerAndSerialNumber(bob.issuer, bob.serial)) == (bob,)
    assert authority.ski is not None
    assert source.by_sid(SubjectKeyIdentifier(authority.ski)) == (authority,)
    assert isinstance(source, DirectorySource)
    assert [problem.path.name for problem in source.problems] == ["broken.pem"]


def test_the_certificates_of_the_oracle_load(vectors: Path) -> None:
    loaded = load_certificates([vectors / "oracle" / "pki"])
    assert loaded.problems == ()
    assert len(loaded.certificates) > 20
    assert len(loaded.crls) == 1
    assert all(certificate.not_after > pki.NOW + timedelta(days=1) for certificate in loaded.certificates[:1])
