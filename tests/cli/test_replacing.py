"""`domsec cert replace`: a CA has to be left, from the list of what that means to mail under new keys."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import commands
import pki
from commands import PLAIN, Ran, run
from domsec.cli.own import Own, keys_in_use
from domsec.cms.certificates import Certificate
from domsec.mime import fields
from domsec.policy.configuration import Configuration
from domsec.services import encrypt
from domsec.stores.certificates import load_certificates
from domsec.stores.imports import imported

KEYS = ("signing", "confidentiality")


def first(file: Path) -> Certificate:
    return load_certificates([file]).certificates[0]


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """acme.example with keys and a partner's certificate from the old CA; and a new CA."""
    for ca in ("old", "new"):
        issue("--ca-name", f"{ca} CA", "-o", f"{ca}.pem", "--certificate", f"{ca}.crt")
    for role in KEYS:
        issue("--ca", "old.pem", "--role", role, "--domain", "acme.example", "--subject", "O=Acme", "-o", f"{role}.pem")
    issue("--ca", "old.pem", "--user", "bob@beta.example", "-o", "bob.pem", "--certificate", "bob.crt")
    issue("--ca", "new.pem", "--user", "carol@beta.example", "-o", "carol.pem", "--certificate", "carol.crt")
    file = tmp_path / "domsec.toml"
    file.write_text(
        'domains = ["acme.example"]\n\n'
        "[keys.signing]\n"
        'credential = "signing.pem"  # our signature\n\n'
        "[keys.confidentiality]\n"
        'credential = [\n    "confidentiality.pem",\n]\n\n'
        '[trust]\nroles = ["old.crt", "new.crt"]\nusers = ["old.crt", "new.crt"]\nrevocation = "off"\n\n'
        '[store]\nurl = "sqlite:///store.db"\n'
    )
    assert run("cert", "import", "bob.crt", "carol.crt").code == 0
    return tmp_path


def issue(*arguments: str) -> None:
    ran = run("cert", "issue", *arguments)
    assert ran.code == 0, ran.err


def replace(*more: object) -> Ran:
    return run("cert", "replace", "--issuer", "old.crt", *more)


def answer(office: Path, *, ca: str = "new.pem", roles: tuple[str, ...] = KEYS) -> None:
    """The CA issues what was asked for."""
    (office / "back").mkdir(exist_ok=True)
    for role in roles:
        ran = run("cert", "issue", "--ca", ca, "--request", f"work/keys.{role}.csr",
                  "--role", role, "--domain", "acme.example", "-o", f"back/{role}.crt")  # fmt: skip
        assert ran.code == 0, ran.err


def places(ran: Ran) -> list[str]:
    return [line.partition(":")[0] for line in ran.text.splitlines()]


# --- what is affected ------------------------------------------------------------------------------------------------


def test_everything_that_the_ca_issued_is_listed(office: Path) -> None:
    ran = replace()
    assert ran.code == 1
    assert places(ran) == ["keys.signing", "keys.confidentiality", "trust.roles", "trust.users", "store"]
    assert "bob@beta.example (approved)" in ran.text
    assert "carol@beta.example" not in ran.text
    listed = replace("--json").json
    assert listed[0]["sha256"] == first(office / "signing.pem").sha256
    assert {one["state"] for one in listed} == {"in use", "in a file", "approved"}


def test_serial_numbers_are_listed_as_a_ca_publishes_them(office: Path) -> None:
    serial = f"{first(office / 'bob.crt').serial:x}"
    colons = ":".join(serial.zfill(40)[i : i + 2] for i in range(0, 40, 2)).upper()
    (office / "serials").write_text(f"# revoked on Friday\n\n{colons}  # bob\n0x{'5' * 20}\n")
    ran = run("cert", "replace", "--serials", "serials")
    assert (ran.code, places(ran)) == (1, ["store"])
    both = run("cert", "replace", "--serials", "serials", "--issuer", "new.crt")
    assert places(both) == ["trust.roles", "trust.users"]  # the CA itself; nothing of it has such a number
    assert both.code == 0


@pytest.mark.parametrize(("text", "why"), [("", "no serial number in it"), ("12\nx y\n", "serials:2: 'x y' is no")])
def test_a_broken_list_of_serial_numbers_is_named(office: Path, text: str, why: str) -> None:
    (office / "serials").write_text(text)
    ran = run("cert", "replace", "--serials", "serials")
    assert (ran.code, why in ran.err) == (2, True)


@pytest.mark.parametrize("arguments", [(), ("--issuer", "old.crt", "--install", "back")])
def test_half_a_command_is_refused(office: Path, arguments: tuple[str, ...]) -> None:
    (office / "back").mkdir()
    assert run("cert", "replace", *arguments).code == 2


def test_others_are_rejected_when_that_is_asked_for(office: Path) -> None:
    assert places(replace("--reject-others", "--by", "carol"))[-1] != "store"
    (entry,) = run("cert", "list", "--state", "rejected", "--json").json
    assert (entry["addresses"], entry["decided_by"]) == (["bob@beta.example"], "carol")


# --- from request to use ---------------------------------------------------------------------------------------------


def test_new_certificates_take_over_while_the_old_ones_still_open_mail(office: Path) -> None:
    before = first(office / "confidentiality.pem")
    ran = replace("--work", "work")
    assert ran.code == 1
    assert "keys.signing: work/keys.signing.csr asks for a certificate for a new p256 key" in ran.err
    again = replace("--work", "work")
    assert "work/keys.signing.csr waits for its certificate" in again.err
    answer(office)

    ran = replace("--work", "work", "--install", "back", "--reject-others")
    assert ran.code == 0, ran.err
    assert [line.rpartition("(")[2] for line in ran.text.splitlines()][:2] == ["has a successor)"] * 2
    configuration = tomllib.loads((office / "domsec.toml").read_text())
    for role in KEYS:
        new, old = configuration["keys"][role]["credential"]
        assert old == f"{role}.pem"
        assert first(office / new).issuer == first(office / "new.crt").subject
        assert (office / new).stat().st_mode & 0o777 == 0o600
        assert "O=Acme" in run("cert", "show", new).text
    assert run("config", "check").code == 0, run("config", "check").err

    signed = run("sign-domain", "--evidence", "local:alice@acme.example", "--encrypt", "no", stdin=PLAIN)
    verdict = run("verify", "--json", "--trust-roles", "new.crt", stdin=signed.out)
    assert verdict.json["level"] == "domain"
    fresh = first(office / configuration["keys"]["confidentiality"]["credential"][0])
    for certificate in (before, fresh):
        entity = encrypt.encrypt(fields.entity_of(PLAIN), [certificate])
        header, _ = fields.split_message(PLAIN)
        opened = run("decrypt", stdin=bytes(fields.replace_entity(header, entity)))
        assert b"it is signed." in opened.out

    last = replace("--work", "work")
    assert (last.code, "csr" in last.err) == (0, False)


def test_what_others_need_is_written_for_them(office: Path) -> None:
    replace("--work", "work")
    answer(office)
    ran = replace("--work", "work", "--install", "back")
    folder = office / "work" / "publish"
    assert "to be published: work/publish/keys.confidentiality.ldif" in ran.err
    new = first(folder / "keys.confidentiality.pem")
    assert [c for one in imported([folder / "keys.confidentiality.ldif"]) for c in one.certificates] == [new]
    assert new in [c for one in imported([folder / "keys.confidentiality.p7c"]) for c in one.certificates]
    entry = (folder / "keys.confidentiality.ldif").read_text()
    assert "dn: cn=domain-confidentiality-authority,dc=acme,dc=example\nchangetype: modify\n" in entry
    record = (folder / "keys.confidentiality.smimea").read_text()
    assert record.endswith(f" 3 0 0 {new.der.hex()}\n")
    assert "._smimecert.acme.example. IN SMIMEA" in record
    assert not (folder / "keys.signing.ldif").exists()  # nobody encrypts to it
    signing = first(folder / "keys.signing.pem")
    assert (folder / "keys.signing.smimea").read_text().endswith(f" 3 0 0 {signing.der.hex()}\n")


def test_one_certificate_after_the_other_may_come_back(office: Path) -> None:
    replace("--work", "work")
    answer(office, roles=("confidentiality",))
    ran = replace("--work", "work", "--install", "back")
    assert ran.code == 1
    assert "keys.signing: no certificate for its new key" in ran.err
    assert "keys.confidentiality: " in ran.err
    answer(office, roles=("signing",))
    assert replace("--work", "work", "--install", "back", "--reject-others").code == 0


@pytest.mark.parametrize(
    ("key", "kind"), [("ed25519", "ed25519"), ("rsa2048", "rsa2048"), ("ml-dsa-44", "ml-dsa-44"), (None, "p256")]
)
def test_the_new_key_is_of_the_kind_of_the_old_one(office: Path, key: str | None, kind: str) -> None:
    if key is not None:
        (office / "signing.pem").unlink()
        issue("--ca", "old.pem", "--role", "signing", "--domain", "acme.example", "--key", key, "-o", "signing.pem")
    assert f"keys.signing.csr asks for a certificate for a new {kind} key" in replace("--work", "work").err


def test_another_kind_may_be_asked_for_and_a_key_that_cannot_sign_is_vouched_for(office: Path) -> None:
    (office / "confidentiality.pem").unlink()
    issue("--ca", "old.pem", "--role", "confidentiality", "--domain", "acme.example", "--key", "x25519",
          "-o", "confidentiality.pem")  # fmt: skip
    assert "keys.confidentiality.csr asks for a certificate for a new x25519 key" in replace("--work", "work").err
    other = replace("--work", "other", "--key", "p384").err
    assert "keys.signing.csr asks for a certificate for a new p384 key" in other


def test_names_by_mailbox_are_asked_for_again(office: Path) -> None:
    (office / "signing.pem").unlink()
    issue("--ca", "old.pem", "--role", "signing", "--domain", "acme.example", "--naming", "mailbox", "-o",
          "signing.pem")  # fmt: skip
    file = office / "domsec.toml"
    file.write_text(file.read_text().replace('"signing.pem"', '"signing.pem"\nnaming = "mailbox"'))
    assert replace("--work", "work").code == 1
    answer(office)
    assert first(office / "back" / "signing.crt").x509.subject.rfc4514_string() == (
        "CN=domain-signing-authority@acme.example"
    )
    ran = replace("--work", "work", "--install", "back", "--reject-others")
    assert ran.code == 0, ran.err


def test_a_password_protects_the_new_key_as_it_did_the_old_one(office: Path) -> None:
    (office / "password").write_text("open sesame\n")
    (office / "signing.pem").unlink()
    issue("--ca", "old.pem", "--role", "signing", "--domain", "acme.example", "-o", "plain.pem")
    key = commands.private(pki.world().acme.signing.key)
    assert b"ENCRYPTED" not in key
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )  # fmt: skip

    plain = (office / "plain.pem").read_bytes()
    secret = load_pem_private_key(plain, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")
    )
    (office / "signing.pem").write_bytes(secret + plain[plain.index(b"-----BEGIN CERT") :])
    text = (office / "domsec.toml").read_text()
    (office / "domsec.toml").write_text(
        text.replace("# our signature\n", '# our signature\npassword_file = "password"\n')
    )
    replace("--work", "work")
    assert b"ENCRYPTED" in (office / "work/keys.signing.key").read_bytes()
    answer(office)
    assert replace("--work", "work", "--install", "back", "--reject-others").code == 0


# --- a mail list -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("former", ["", 'previous = ["older.pem"]\n'])
def test_a_list_gets_a_new_key_and_keeps_the_old_one_to_open_with(office: Path, former: str) -> None:
    for name in ("staff", "older"):
        issue("--ca", "old.pem", "--user", "staff@acme.example", "--name", "Staff", "-o", f"{name}.pem")
    (office / "domsec.toml").write_text(
        (office / "domsec.toml").read_text()
        + f'\n[[list]]\nname = "staff"\naddress = "staff@acme.example"\ncredential = "staff.pem"\n{former}'
        'members = ["bob@beta.example"]\nowner = "carol@acme.example"\n'
    )
    assert "list staff" in places(replace("--work", "work"))
    answer(office)
    ran = run("cert", "issue", "--ca", "new.pem", "--request", "work/list.staff.csr",
              "--user", "staff@acme.example", "-o", "back/staff.crt")  # fmt: skip
    assert ran.code == 0, ran.err
    ran = replace("--work", "work", "--install", "back", "--reject-others")
    assert ran.code == 0, ran.err
    (options,) = tomllib.loads((office / "domsec.toml").read_text())["list"]
    assert first(office / options["credential"]).issuer == first(office / "new.crt").subject
    assert options["previous"] == ["staff.pem", *(["older.pem"] if former else [])]


# --- what is refused, with nothing changed ---------------------------------------------------------------------------


def unchanged(office: Path, before: str) -> bool:
    return (office / "domsec.toml").read_text() == before and not list(office.glob(".domsec.toml*"))


@pytest.mark.parametrize(
    ("ca", "why"),
    [("old.pem", "is affected as well"), ("expired.pem", "cannot serve: it expired")],
)
def test_a_certificate_that_is_no_better_is_not_installed(office: Path, ca: str, why: str) -> None:
    before = (office / "domsec.toml").read_text()
    replace("--work", "work")
    if ca == "old.pem":
        answer(office, ca=ca)
        ran = replace("--work", "work", "--install", "back")
    else:
        answer(office)
        ran = replace("--work", "work", "--install", "back", "--at", "2036-01-01T00:00:00Z")
    assert (ran.code, why in ran.err) == (2, True)
    assert unchanged(office, before)


def test_a_certificate_of_another_domain_is_not_installed(office: Path) -> None:
    before = (office / "domsec.toml").read_text()
    replace("--work", "work")
    issue("--ca", "new.pem", "--role", "signing", "--domain", "beta.example", "-o", "other.pem")
    (office / "work/keys.signing.key").write_bytes((office / "other.pem").read_bytes().partition(b"-----BEGIN CERT")[0])
    ran = replace("--work", "work", "--install", "other.pem")
    assert (ran.code, "keys.signing: the new certificate cannot serve" in ran.err) == (2, True)
    assert unchanged(office, before)


def test_a_configuration_that_cannot_be_changed_safely_is_left_to_a_person(office: Path) -> None:
    text = (office / "domsec.toml").read_text()
    head, _, tail = text.partition("[keys.signing]")
    _, _, tail = tail.partition("[trust]")
    before = f'{head}[keys]\nsigning = {{ credential = "signing.pem" }}\n\n[trust]{tail}'
    (office / "domsec.toml").write_text(before)
    replace("--work", "work")
    answer(office, roles=("signing",))
    ran = replace("--work", "work", "--install", "back")
    assert (ran.code, "domsec.toml:4: expected the option on lines of its own" in ran.err) == (2, True)
    assert unchanged(office, before)


def test_a_broken_file_among_those_that_came_back_is_named_and_the_rest_is_used(office: Path) -> None:
    replace("--work", "work")
    answer(office)
    (office / "back" / "broken.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    ran = replace("--work", "work", "--install", "back", "--reject-others")
    assert ran.code == 0, ran.err
    assert "back/broken.pem: a PEM block has no end" in ran.err


def test_the_file_as_it_was_is_kept(office: Path) -> None:
    before = (office / "domsec.toml").read_text()
    (office / "domsec.toml").chmod(0o640)
    replace("--work", "work")
    answer(office)
    replace("--work", "work", "--install", "back")
    assert "signing.pem" in before
    assert (office / "domsec.toml").stat().st_mode & 0o777 == 0o640
    changed = (office / "domsec.toml").read_text()
    assert '# before `domsec cert replace`: credential = "signing.pem"  # our signature' in changed
    assert "credential = [" in (office / "domsec.toml.old").read_text()


def test_no_copy_of_the_file_is_ever_for_more_than_the_file_is(office: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password may stand in it."""
    (office / "domsec.toml").chmod(0o600)
    replace("--work", "work")
    answer(office)
    modes: dict[str, set[int]] = {}

    def seen(configuration: Configuration, password: str | None) -> tuple[Own, ...]:
        for file in office.glob("*domsec.toml*"):
            modes.setdefault(file.name, set()).add(file.stat().st_mode & 0o777)
        return keys_in_use(configuration, password)

    monkeypatch.setattr("domsec.cli.replacing.keys_in_use", seen)
    replace("--work", "work", "--install", "back")
    names = (".domsec.toml.new", "domsec.toml", "domsec.toml.old")
    assert modes == {name: {0o600} for name in names}


# --- the report of what ends ----------------------------------------------------------------------------------------


def test_our_own_certificates_and_anchors_are_in_the_report_of_what_ends(office: Path) -> None:
    end = first(office / "signing.pem").not_after
    ran = run("cert", "list", "--expiring", 1, "--at", end.isoformat())
    assert ran.code == 1
    assert [line.split(" until")[0].split(" ", 1)[1].strip() for line in ran.text.splitlines()] == [
        "keys.signing", "keys.confidentiality", "approved", "approved",
    ]  # fmt: skip
    assert run("cert", "list", "--expiring", 1).code == 0
    late = first(office / "old.crt").not_after
    report = run("cert", "list", "--expiring", 1, "--json", "--at", late.isoformat()).json
    assert (
        sorted(one["place"] for one in report if one["state"] == "configured")[2:]
        == ["trust.roles"] * 2 + ["trust.users"] * 2
    )


def test_keys_of_users_are_in_the_report_of_what_ends(office: Path) -> None:
    (office / "users").mkdir()
    issue("--ca", "new.pem", "--user", "alice@acme.example", "--days", "20", "-o", "users/alice.pem")
    issue("--ca", "new.pem", "--user", "zoe@acme.example", "--days", "20", "-o", "users/zoe.pem")
    issue("--ca", "new.pem", "--user", "zoe@acme.example", "--days", "300", "-o", "users/zoe-new.pem")
    file = office / "domsec.toml"
    file.write_text(file.read_text() + '[users]\nfolder = "users"\n')
    report = run("cert", "list", "--expiring", 30, "--json").json
    assert [one["place"] for one in report] == ["users alice@acme.example"]


def test_keys_that_do_not_open_do_not_hide_the_rest(office: Path) -> None:
    end = first(office / "signing.pem").not_after
    (office / "signing.pem").write_bytes(b"")
    ran = run("cert", "list", "--expiring", 1, "--at", end.isoformat())
    assert (ran.code, len(ran.text.splitlines())) == (1, 2)
    assert "our own certificates are not looked at: " in ran.err
