"""`domsec cert import`, `list`, `export`, `approve`, `reject`, and `show` of what is stored."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs7, pkcs12

import pki
from commands import AT, Desk, Ran, private, public, run
from domsec.cms.certificates import Certificate
from domsec.mime import fields
from domsec.services import encrypt
from domsec.stores.certificate_table import CertificateTable
from domsec.trust import issue
from domsec.trust.names import name_text
from postgresql import Server

WORLD = pki.world()
ALICE, BOB = (WORLD.beta.users[name].certificate for name in ("alice", "bob"))
DCA, CA = WORLD.beta.confidentiality.certificate, WORLD.beta.ca.certificate


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: Server = request.getfixturevalue("postgresql")
    return server.database()


@pytest.fixture
def store(tmp_path: Path) -> tuple[object, ...]:
    """The option that names a store."""
    return ("--store", f"sqlite:///{tmp_path}/store.db")


def attribute(name: str, octets: bytes) -> bytes:
    """A value of an entry as slapcat(8) writes it: in base64, its lines folded."""
    line = f"{name}:: ".encode() + base64.b64encode(octets)
    return b"\n ".join(line[i : i + 70] for i in range(0, len(line), 70)) + b"\n"


def ldif(*values: bytes) -> bytes:
    return b"version: 1\n\n# a comment\n  folded\ndn: cn=Bob,dc=beta,dc=example\ncn: Bob\n" + b"".join(values) + b"\n"


def certs_only(*certificates: Certificate, encoding: Encoding = Encoding.DER) -> bytes:
    return pkcs7.serialize_certificates([c.x509 for c in certificates], encoding)


def pfx(password: bytes, *, key: bool) -> bytes:
    owner = WORLD.beta.users["bob"]
    return pkcs12.serialize_key_and_certificates(
        None,
        owner.key if key else None,
        BOB.x509 if key else None,
        [CA.x509],
        BestAvailableEncryption(password),  # type: ignore[arg-type]
    )


def stored(store: tuple[object, ...]) -> set[str]:
    return {entry["sha256"] for entry in run("cert", "list", "--json", *store).json}


# --- import ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R8550-4-02")
@pytest.mark.parametrize(
    ("name", "octets", "certificates"),
    [
        pytest.param("a.pem", public(BOB) + b"text\n" + public(CA), {BOB, CA}, id="pem"),
        pytest.param("a.cer", BOB.der, {BOB}, id="der"),
        pytest.param("a.p7b", certs_only(BOB, DCA), {BOB, DCA}, id="pkcs7"),
        pytest.param("a.p7c", certs_only(BOB, DCA, encoding=Encoding.PEM), {BOB, DCA}, id="pkcs7-pem"),
        pytest.param("a.p12", pfx(b"secret", key=True), {BOB, CA}, id="pkcs12"),
        pytest.param("a.pfx", pfx(b"secret", key=False), {CA}, id="pkcs12-without-key"),
        pytest.param(
            "a.ldif",
            ldif(
                attribute("userCertificate;binary", BOB.der),
                attribute("cACertificate", CA.der),
                attribute("userSMIMECertificate;binary", certs_only(DCA)),
                attribute("jpegPhoto", b"\xff\xd8"),
            ),
            {BOB, CA, DCA},
            id="ldif",
        ),
        pytest.param(
            "a.ldif", ldif(attribute("usercertificate;BINARY", BOB.der)).replace(b"\n", b"\r\n"), {BOB}, id="crlf"
        ),
        pytest.param("bob.pem", private(WORLD.beta.users["bob"].key) + public(BOB), {BOB}, id="beside-a-key"),
    ],
)
def test_every_form_is_imported(
    tmp_path: Path, store: tuple[object, ...], name: str, octets: bytes, certificates: set[Certificate]
) -> None:
    (tmp_path / name).write_bytes(octets)
    ran = run("cert", "import", name, *store, DOMSEC_PASSWORD="secret")
    assert (ran.code, ran.err) == (0, f"domsec: {name}: {len(certificates)} new\n")
    assert stored(store) == {c.sha256 for c in certificates}
    assert b"PRIVATE" not in (tmp_path / "store.db").read_bytes()


@pytest.mark.parametrize(
    ("name", "octets", "reason"),
    [
        ("a.pem", b"", "neither PEM nor DER"),
        ("a.pem", b"hello", "neither PEM nor DER"),
        ("a.pem", private(WORLD.beta.users["bob"].key), "no certificate in it"),
        ("a.pem", public(BOB)[:-30], "a PEM block has no end"),
        ("a.der", BOB.der[:-1], "a.der: "),
        ("a.p12", pfx(b"other", key=True), "the password is wrong or the PKCS#12 file is broken"),
        ("a.ldif", b"dn: cn=Bob\ncn: Bob\n", "no certificate in it"),
        ("a.ldif", ldif(b"userCertificate:< file:///etc/passwd\n"), "line 7: a value by URL, which is not fetched"),
        ("a.ldif", ldif(b"userCertificate: text\n"), "line 7: a certificate that is not in base64"),
        ("a.ldif", ldif(b"userCertificate:: ???\n"), "line 7: a certificate in broken base64"),
        ("a.ldif", ldif(attribute("userCertificate", b"\x30\x00")), "line 7: "),
    ],
)
def test_a_broken_file_is_an_error_that_names_it_and_the_rest_is_imported(
    tmp_path: Path, store: tuple[object, ...], name: str, octets: bytes, reason: str
) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / name).write_bytes(octets)
    (tmp_path / "many" / "good.pem").write_bytes(public(DCA))
    ran = run("cert", "import", "many", *store, DOMSEC_PASSWORD="secret")
    assert ran.code == 5
    assert f"error: many/{name}: " in ran.err
    assert reason in ran.err
    assert "many/good.pem: 1 new" in ran.err
    assert stored(store) == {DCA.sha256}


@pytest.mark.parametrize("spoil", [lambda der: b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"])
def test_a_broken_certificate_in_a_bundle_does_not_keep_the_others_out(
    tmp_path: Path, store: tuple[object, ...], spoil: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "a.pem").write_bytes(public(BOB) + spoil(ALICE.der) + public(DCA))
    ran = run("cert", "import", "a.pem", *store)
    assert ran.code == 5
    assert "error: a.pem: block 2: " in ran.err
    assert stored(store) == {BOB.sha256, DCA.sha256}


def test_what_is_known_already_is_told(tmp_path: Path, store: tuple[object, ...]) -> None:
    (tmp_path / "a.pem").write_bytes(public(BOB) + public(BOB))
    (tmp_path / "b.pem").write_bytes(public(BOB) + public(DCA))
    ran = run("cert", "import", "--json", "a.pem", "b.pem", *store)
    assert "a.pem: 1 new\n" in ran.err
    assert "b.pem: 1 new, 1 known already\n" in ran.err
    assert [(file["new"], file["known"]) for file in ran.json] == [([BOB.sha256], []), ([DCA.sha256], [BOB.sha256])]
    assert run("cert", "import", "a.pem", *store).code == 0


def test_a_rejected_certificate_does_not_come_back_by_an_import(tmp_path: Path, store: tuple[object, ...]) -> None:
    (tmp_path / "a.pem").write_bytes(public(BOB))
    run("cert", "import", "a.pem", *store)
    assert run("cert", "reject", BOB.sha256[:12], "--note", "left the company", *store).code == 0
    ran = run("cert", "import", "a.pem", *store)
    assert (ran.code, "was rejected before and stays so" in ran.err) == (0, True)
    assert run("cert", "list", "--state", "approved", *store).out == b""


@pytest.mark.parametrize("place", ["sqlite:///nowhere/x.db", "sqlite:///", "mysql://x"])
def test_a_store_that_cannot_be_used_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "a.pem").write_bytes(public(BOB))
    ran = run("cert", "import", "a.pem", "--store", place)
    assert ran.code in (2, 4)
    assert ran.err.count("\n") == 1


def test_without_a_store_nothing_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(public(BOB))
    ran = run("cert", "import", "a.pem")
    assert (ran.code, "expected --store, --config" in ran.err) == (2, True)


# --- list, show ------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(desk: Desk, url: str) -> tuple[object, ...]:
    """A store of each kind with beta's certificates, and one in quarantine."""
    store = ("--store", url)
    for who in ("beta-alice", "beta-bob", "beta-ca", "beta-confidentiality"):
        assert run("cert", "import", desk.certificate(who), "--by", "carol", *AT, *store).code == 0
    table = CertificateTable.open(url)
    table.harvest(WORLD.acme.users["bob"].certificate, domain="acme.example", origin="mail", now=pki.NOW)
    table.close()
    return store


def test_a_list_says_what_each_is_and_how_it_came(full: tuple[object, ...]) -> None:
    ran = run("cert", "list", *full)
    assert ran.code == 0
    assert f"{BOB.sha256[:16]} approved    until {BOB.not_after:%Y-%m-%d} bob@beta.example" in ran.text.splitlines()
    (listed,) = run("cert", "list", "--address", "BOB@beta.example", "--json", *full).json
    assert (listed["sha256"], listed["decided_by"], listed["state"]) == (BOB.sha256, "carol", "approved")
    assert listed["origin"].startswith("imported from ")
    (waiting,) = run("cert", "list", "--state", "quarantined", "--json", *full).json
    assert (waiting["addresses"], waiting["origin"], waiting["decided_by"]) == (["bob@acme.example"], "mail", None)


def test_those_of_one_issuer_are_listed(full: tuple[object, ...], desk: Desk) -> None:
    listed = run("cert", "list", "--issuer", desk.certificate("acme-ca"), "--json", *full).json
    assert [entry["addresses"] for entry in listed] == [["bob@acme.example"]]


def test_what_ends_soon_is_an_exit_code(full: tuple[object, ...]) -> None:
    def expiring(days: int) -> Ran:
        return run("cert", "list", "--expiring", days, *AT, *full)

    left = (BOB.not_after - pki.NOW) // timedelta(days=1)
    assert (expiring(left - 1).code, expiring(left - 1).out) == (0, b"")
    soon = expiring(left)
    assert (soon.code, len(soon.text.splitlines())) == (1, 3)  # not the CA, and not what waits in quarantine
    assert "bob@beta.example" in soon.text


def test_a_stored_certificate_is_shown_by_its_digest(full: tuple[object, ...], desk: Desk) -> None:
    shown = run("cert", "show", BOB.sha256[:8], *full)
    assert (shown.code, shown.out) == (0, run("cert", "show", desk.certificate("beta-bob")).out)
    assert run("cert", "show", "0" * 16, *full).code == 1
    assert run("cert", "show", "nothing.pem", *full).code == 2


# --- approve, reject -------------------------------------------------------------------------------------------------


def test_what_a_person_decides_is_kept_with_who_and_why(full: tuple[object, ...]) -> None:
    waiting = WORLD.acme.users["bob"].certificate.sha256
    ran = run("cert", "approve", waiting[:10], "--by", "dave", "--note", "called him", *AT, *full)
    assert (ran.code, ran.err.startswith(f"domsec: approved: {waiting[:16]} ")) == (0, True)
    (entry,) = run("cert", "list", "--address", "bob@acme.example", "--json", *full).json
    assert (entry["state"], entry["decided_by"], entry["note"]) == ("approved", "dave", "called him")
    assert entry["decided_at"] == pki.NOW.isoformat()


def test_where_one_digest_is_wrong_nothing_is_decided(full: tuple[object, ...]) -> None:
    ran = run("cert", "reject", BOB.sha256, "0" * 64, *full)
    assert (ran.code, "no certificate whose digest begins with" in ran.err) == (1, True)
    assert run("cert", "list", "--state", "rejected", *full).out == b""


def test_who_decides_is_who_is_logged_in_if_nobody_says(full: tuple[object, ...]) -> None:
    run("cert", "reject", BOB.sha256, *full, SUDO_USER="erin")
    (entry,) = run("cert", "list", "--state", "rejected", "--json", *full).json
    assert entry["decided_by"] == "erin"


# --- export ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R8550-4-02")
@pytest.mark.parametrize("form", ["pem", "pkcs7", "ldif"])
def test_what_is_exported_can_be_imported(full: tuple[object, ...], tmp_path: Path, form: str) -> None:
    ran = run("cert", "export", "--all", "--format", form, *full, "-o", tmp_path / "out")
    assert ran.code == 0
    other = ("--store", f"sqlite:///{tmp_path}/other.db")
    assert "out: 4 new" in run("cert", "import", "out", *other).err
    assert stored(other) == {c.sha256 for c in (ALICE, BOB, DCA, CA)}


def test_one_is_exported_by_its_digest_or_address(full: tuple[object, ...]) -> None:
    assert run("cert", "export", BOB.sha256, "--format", "der", *full).out == BOB.der
    assert run("cert", "export", "--address", "bob@beta.example", *full).out == public(BOB)


def test_an_entry_of_a_directory_gets_the_certificate_beside_those_it_has(full: tuple[object, ...]) -> None:
    text = run("cert", "export", BOB.sha256, "--format", "ldif", "--dn", "cn=Björn,dc=beta", *full).text
    lines = text.splitlines()
    assert lines[:2] == ["version: 1", ""]
    assert lines[2] == "dn:: " + base64.b64encode("cn=Björn,dc=beta".encode()).decode()
    assert lines[3:5] == ["changetype: modify", "add: userCertificate;binary"]
    assert lines[-2:] == ["-", ""]
    assert all(len(line) <= 76 for line in lines)
    default = run("cert", "export", BOB.sha256, "--format", "ldif", *full).text
    assert f"dn: {name_text(BOB.subject)}" in default


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("--all", "--address", "bob@beta.example"), 2),
        (("--all", "--format", "der"), 2),
        (("--address", "bob@acme.example"), 1),  # in quarantine
        (("0" * 64,), 1),
    ],
)
def test_what_cannot_be_exported_is_said(full: tuple[object, ...], arguments: tuple[str, ...], code: int) -> None:
    ran = run("cert", "export", *arguments, *full)
    assert (ran.code, ran.out) == (code, b"")


# --- which one is used -----------------------------------------------------------------------------------------------


def installation(folder: Path, desk: Desk, url: str, more: str = "") -> Path:
    """acme.example, with a store and no certificates of others beside it."""
    crl = folder / "beta.crl"
    revoked = WORLD.beta.ca.certificate, WORLD.beta.ca.signing_key, [REVOKED]
    crl.write_bytes(issue.issue_crl(*revoked, now=pki.NOW, days=7))
    file = folder / "acme.toml"
    file.write_text(
        'domains = ["acme.example"]\n'
        f'[trust]\nroles = ["{desk.certificate("beta-ca")}"]\nusers = ["{desk.certificate("beta-ca")}"]\n'
        f'crls = ["{crl}"]\n{more}[store]\nurl = "{url}"\n'
    )
    return file


REVOKED = 4711


def of_bob(
    *,
    ca: pki.Identity = WORLD.beta.ca,
    key: object = None,
    start: int = 0,
    days: int = pki.DAYS,
    serial: int | None = None,
) -> Certificate:
    """A certificate of bob@beta.example, valid from `start` days after the test PKI's begin."""
    public_key = key or WORLD.beta.users["bob"].key.public_key()
    return issue.issue(
        "user", "bob@beta.example", public_key, ca.certificate, ca.signing_key,  # type: ignore[arg-type]
        now=pki.START + timedelta(days=start), days=days, serial=serial,
    )  # fmt: skip


@pytest.mark.requirement("R3183-4.2-01")
def test_of_many_the_right_certificate_is_used_and_of_each_other_one_it_is_said_why(
    tmp_path: Path, desk: Desk, url: str
) -> None:
    """Expired, revoked, weak, too early, not trusted, for signing only, older: whatever the order they came in."""
    newest, same_key = of_bob(start=20), of_bob(start=10)
    twins = sorted((of_bob(start=5, serial=n) for n in (1, 2)), key=lambda c: c.sha256)
    known = {
        newest: "usable for bob@beta.example",
        same_key: "usable for bob@beta.example, but another one is newer",
        twins[0]: "usable for bob@beta.example, but another one is newer",
        twins[1]: "usable for bob@beta.example, but another one is newer",
        of_bob(start=25, days=1): "invalid: expired",
        of_bob(start=25, serial=REVOKED): "revoked",
        of_bob(start=25, key=rsa.generate_private_key(65537, 1024).public_key()): "an RSA key of 1024 bits",
        of_bob(start=25, key=ed25519.Ed25519PrivateKey.generate().public_key()): "this kind of key cannot decrypt",
        of_bob(start=40): "not valid before",
        of_bob(start=25, ca=pki.ca("Mallory")): "untrusted",
    }
    (tmp_path / "all.pem").write_bytes(b"".join(map(public, sorted(known, key=lambda c: c.sha256))))
    config = ("--config", installation(tmp_path, desk, url))
    assert run("cert", "import", "all.pem", *config).code == 0
    found = run("locate", "bob@beta.example", "--target", "recipient", "--json", *config, *AT)
    assert [c["sha256"] for c in found.json["certificates"]] == [newest.sha256]
    told = {one["sha256"]: one["why"] for one in found.json["considered"]}
    assert set(told) == {c.sha256 for c in known}
    for certificate, why in known.items():
        assert why in told[certificate.sha256]

    for certificate in (newest, same_key):  # and when these are gone, the twin with the higher digest
        assert run("cert", "reject", certificate.sha256, *config).code == 0
    found = run("locate", "bob@beta.example", "--target", "recipient", "--json", *config, *AT)
    assert [c["sha256"] for c in found.json["certificates"]] == [twins[1].sha256]
    told = {one["sha256"]: one["why"] for one in found.json["considered"]}
    assert told[twins[0].sha256].endswith("but another one is as new and has the higher digest")
    assert newest.sha256 not in told


def test_an_authority_of_the_store_is_used_and_cas_of_the_store_help_to_find_a_path(
    tmp_path: Path, desk: Desk, url: str
) -> None:
    key = issue.new_key("p256")
    assert isinstance(key, issue.SigningKey)
    ca = WORLD.beta.ca
    middle = issue.issue_ca(
        "Beta Issuing CA", key, now=pki.START, days=99, issuer_cert=ca.certificate, issuer_key=ca.signing_key
    )
    below = pki.identity("confidentiality", "beta.example", pki.Identity(middle, key), days=90).certificate
    (tmp_path / "all.pem").write_bytes(public(below) + public(middle))
    config = ("--config", installation(tmp_path, desk, url))
    assert run("locate", "bob@beta.example", *config, *AT).code == 1  # there is no store yet
    assert run("cert", "import", "all.pem", *config).code == 0
    ran = run("locate", "bob@beta.example", *config, *AT)
    assert ran.text.startswith(below.sha256)


def test_mail_to_an_old_key_is_opened_whatever_the_store_thinks_of_its_certificate(
    tmp_path: Path, desk: Desk, message: Path
) -> None:
    """Keys are found by what the message names, not by the store: here the certificate is expired and rejected."""
    old = pki.identity("confidentiality", "acme.example", WORLD.acme.ca, days=20)
    desk.add("acme-old", old).chmod(0o600)
    desk.key("acme-confidentiality").chmod(0o600)
    keys = (
        f'[keys.confidentiality]\ncredential = "{desk.key("acme-confidentiality")}"\n'
        f'previous = ["{desk.key("acme-old")}"]\n'
    )
    config = ("--config", installation(tmp_path, desk, f"sqlite:///{tmp_path}/store.db", keys))
    run("cert", "import", desk.certificate("acme-old"), *config)
    run("cert", "reject", old.certificate.sha256, *config)
    entity = fields.entity_of(message.read_bytes())
    header, _ = fields.split_message(message.read_bytes())
    (tmp_path / "old.eml").write_bytes(fields.replace_entity(header, encrypt.encrypt(entity, [old.certificate])))
    opened = run("decrypt", *config, "old.eml")
    assert (opened.code, b"it is signed." in opened.out) == (0, True)
