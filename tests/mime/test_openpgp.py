"""PGP/MIME as it is sent, and what only looks like it."""

from __future__ import annotations

import pytest

from domsec.mime.openpgp import PREAMBLE, protection

ARMOUR = b"-----BEGIN PGP MESSAGE-----\r\n\r\nhF4DR2b2udXyHrY\r\n=njUN\r\n-----END PGP MESSAGE-----\r\n"
VERSION = b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
SIGNED = b"""\
Content-Type: multipart/signed; micalg=pgp-sha256; protocol="application/pgp-signature"; boundary=b

--b
Content-Type: text/plain

hello
--b
Content-Type: application/pgp-signature

-----BEGIN PGP SIGNATURE-----
-----END PGP SIGNATURE-----
--b--
""".replace(b"\n", b"\r\n")


def encrypted(
    message: bytes = ARMOUR,
    *,
    version: bytes = VERSION,
    kind: bytes = b"application/octet-stream",
    protocol: bytes = b'"application/pgp-encrypted"',
    preamble: bytes = b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n",
    more: bytes = b"",
    epilogue: bytes = b"",
) -> bytes:
    return (
        b"Content-Type: multipart/encrypted; protocol=" + protocol + b'; boundary="b"\r\n\r\n' + preamble
        + b"--b\r\n" + version + b"--b\r\nContent-Type: " + kind + b"\r\n\r\n" + message
        + more + b"--b--\r\n" + epilogue
    )  # fmt: skip


@pytest.mark.parametrize(
    ("entity", "found"),
    [
        (encrypted(), "encrypted"),
        (encrypted(preamble=b""), "encrypted"),
        (encrypted(protocol=b"Application/PGP-Encrypted"), "encrypted"),
        (SIGNED, "signed"),
        (b"Content-Type: text/plain\r\n\r\n" + ARMOUR, None),  # inline: anything may stand around it
        (b"Subject: x\r\n\r\nhello\r\n", None),
        (SIGNED.replace(b"pgp-signature", b"pkcs7-signature"), None),
    ],
)
def test_pgp_mime_is_known(entity: bytes, found: str | None) -> None:
    assert protection(entity) == found


@pytest.mark.parametrize(
    "entity",
    [
        encrypted(b"the plan is this\r\n" + ARMOUR),
        encrypted(ARMOUR + b"and that\r\n"),
        encrypted(ARMOUR + b"and that\r\n" + ARMOUR),
        encrypted(b"the plan is this\r\n"),
        encrypted(version=VERSION + b"the plan is this\r\n"),
        encrypted(more=b"--b\r\nContent-Type: text/plain\r\n\r\nthe plan is this\r\n"),
        encrypted(epilogue=b"the plan is this\r\n"),
        encrypted(preamble=b"x" * (PREAMBLE + 1) + b"\r\n"),
        encrypted(kind=b"text/plain"),
        encrypted(version=b"Content-Type: text/plain\r\n\r\nVersion: 1\r\n"),
        encrypted(protocol=b'"application/x"'),
        encrypted().replace(b'boundary="b"', b'boundary=""'),
        b"Content-Type: multipart/encrypted\r\n" + encrypted(),
    ],
)
def test_what_has_more_in_it_is_not_taken_for_encrypted(entity: bytes) -> None:
    """It would leave in the clear then."""
    assert protection(entity) is None


def test_as_much_preamble_as_that_and_no_more() -> None:
    assert protection(encrypted(preamble=b"x" * (PREAMBLE - 2) + b"\r\n")) == "encrypted"
