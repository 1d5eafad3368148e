"""What a configuration that loads may still have wrong."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

import pki
from domsec.policy.check import check
from domsec.policy.configuration import Configuration, Problem
from domsec.site import users_of
from domsec.stores.certificates import load_certificates
from domsec.stores.credentials import open_credentials
from domsec.trust import issue

ACME = pki.world().acme
BETA = pki.world().beta

TEXT = """\
domains = ["acme.example"]
[listen]
outbound = "lmtp:unix:out.sock"
[next_hop]
outbound = "smtp:127.0.0.1:10026"
[keys.signing]
credential = "signing.pem"
[keys.confidentiality]
credential = "confidentiality.pem"
[trust]
roles = ["anchors"]
[[outbound.evidence]]
kind = "header"
token_file = "token"
logins = "logins"
"""


def write(path: Path, identity: pki.Identity, password: bytes | None = None) -> None:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    path.write_bytes(key + identity.certificate.x509.public_bytes(Encoding.PEM))
    path.chmod(0o600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "signing.pem", ACME.signing)
    write(tmp_path / "confidentiality.pem", ACME.confidentiality)
    (tmp_path / "anchors").mkdir()
    (tmp_path / "anchors" / "beta.pem").write_bytes(BETA.ca.certificate.x509.public_bytes(Encoding.PEM))
    (tmp_path / "token").write_text("t0ken\n")
    (tmp_path / "logins").write_text("alice alice@acme.example\n")
    return tmp_path


def found(folder: Path, text: str = TEXT, *, now: datetime = pki.NOW) -> list[Problem]:
    (folder / "domsec.toml").write_text(text)
    configuration = Configuration.load(folder / "domsec.toml")
    return list(
        check(
            configuration, open_credentials=open_credentials, load_certificates=load_certificates, now=now,
            load_users=functools.partial(users_of, configuration, None, ask=True),
        )
    )  # fmt: skip


def texts(folder: Path, text: str = TEXT, *, now: datetime = pki.NOW) -> list[str]:
    return [str(problem).replace(f"{folder}/", "") for problem in found(folder, text, now=now)]


def test_the_keys_of_users_are_looked_at_and_one_that_is_no_good_is_a_warning(folder: Path) -> None:
    users = folder / "users"
    users.mkdir()
    write(users / "alice.pem", ACME.user("alice"))
    text = f'{TEXT}[users]\nfolder = "users"\n'
    assert texts(folder, text) == []
    write(users / "bob.pem", BETA.user("bob"))
    write(users / "signing.pem", pki.identity("signing", "acme.example", ACME.ca))
    write(users / "old.pem", pki.identity("user", "carol@acme.example", ACME.ca, days=20))
    write(users / "soon.pem", pki.identity("user", "dora@acme.example", ACME.ca, days=40))
    (users / "alice.pem").chmod(0o644)
    (users / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    problems = found(folder, text)
    assert {problem.severity for problem in problems} == {"warning"}
    said = "\n".join(map(str, problems))
    for part in (
        "bob.pem: it is of beta.example, none of our domains",
        "old.pem: it expired on",
        "soon.pem: it expires",
        "signing.pem: it is named like a domain-signing-authority",
        "alice.pem has permissions 0644",
        "broken.pem: ",
    ):
        assert part in said


def test_a_users_key_is_no_other_key_of_ours(folder: Path) -> None:
    (folder / "users").mkdir()
    alice = pki.identity("user", "alice@acme.example", ACME.ca, key=ACME.signing.key)
    write(folder / "users" / "alice.pem", alice)
    [problem] = found(folder, f'{TEXT}[users]\nfolder = "users"\n')
    assert problem.severity == "error"
    assert "is that of keys.signing too" in problem.text or "keys.signing is that of" in problem.text


def test_a_right_configuration_has_no_problems(folder: Path) -> None:
    assert texts(folder) == []


def as_signing(identity: pki.Identity) -> Callable[[Path], None]:
    return lambda folder: write(folder / "signing.pem", identity)


PERSON = ACME.users["alice"]
ELSEWHERE = BETA.signing
UNNAMED = pki.Identity(ACME.users["bob"].certificate, ACME.users["bob"].key)
SUBDOMAIN = pki.identity("signing", "sub.acme.example", ACME.ca)
WRONG_USE = pki.Identity(ACME.confidentiality.certificate, ACME.confidentiality.key)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(
            as_signing(PERSON),
            "domsec.toml:7: the certificate of keys.signing cannot serve as domain-signing-authority: the common name",
            id="a-person",
        ),
        pytest.param(
            as_signing(ELSEWHERE),
            "domsec.toml:7: the certificate of keys.signing cannot serve as domain-signing-authority: the rfc822 name",
            id="another-domain",
        ),
        pytest.param(
            lambda folder: write(folder / "confidentiality.pem", UNNAMED),
            "domsec.toml:9: the certificate of keys.confidentiality cannot serve as domain-confidentiality-authority: ",
            id="an-encrypting-authority-by-another-name",
        ),
        pytest.param(as_signing(SUBDOMAIN), "cannot serve as domain-signing-authority", id="only-a-subdomain"),
        pytest.param(
            as_signing(WRONG_USE),
            "domsec.toml:9: the key of keys.confidentiality is that of keys.signing too, expected a key of its own",
            id="one-key-in-two-roles",
        ),
        pytest.param(as_signing(WRONG_USE), "cannot serve as domain-signing-authority", id="another-role"),
        pytest.param(
            lambda folder: write(folder / "signing.pem", ACME.signing, b"secret"),
            "domsec.toml:7: signing.pem: the private key is encrypted and there is no password",
            id="no-password",
        ),
        pytest.param(
            lambda folder: (folder / "signing.pem").write_text("rubbish"),
            "domsec.toml:7: signing.pem: neither PEM nor PKCS#12",
            id="rubbish",
        ),
        pytest.param(
            lambda folder: (folder / "signing.pem").chmod(0o644),
            "domsec.toml:7: " + "signing.pem has permissions 0644, expected 0600 or 0640",
            id="permissions",
        ),
        pytest.param(
            lambda folder: (folder / "anchors" / "broken.pem").write_text("x"),
            "domsec.toml:11: anchors/broken.pem: neither PEM nor DER",
            id="broken-anchor",
        ),
        pytest.param(
            lambda folder: (folder / "anchors" / "beta.pem").unlink(),
            "domsec.toml:11: anchors: no certificate in it, expected anchors",
            id="no-anchor",
        ),
        pytest.param(
            lambda folder: (folder / "token").write_text(""),
            "domsec.toml:14: token: expected a token without blanks in line 1",
            id="no-token",
        ),
        pytest.param(
            lambda folder: (folder / "logins").write_text("alice\n"),
            "domsec.toml:15: logins:1: a login without addresses",
            id="logins",
        ),
    ],
)
@pytest.mark.requirement("R3183-4.2-03", "R3183-4.1-01")
def test_what_is_wrong_is_named_with_its_line(folder: Path, spoil: Callable[[Path], None], expected: str) -> None:
    spoil(folder)
    problems = texts(folder)
    assert any(problem.startswith(expected) or expected in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("days", "severity", "expected"),
    [(-31, "error", "is not valid before"), (320, "warning", "expires on"), (700, "error", "expired on")],
)
def test_certificates_out_of_their_time_are_named(folder: Path, days: int, severity: str, expected: str) -> None:
    (problem,) = [p for p in found(folder, now=pki.NOW + timedelta(days=days)) if "of keys.signing" in p.text]
    assert problem.severity == severity
    assert expected in problem.text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('[trust]\nroles = ["anchors"]\n', ""), "domsec.toml:1: no anchors for domain authorities"),
        (
            ('[[outbound.evidence]]\nkind = "header"\ntoken_file = "token"\nlogins = "logins"\n', ""),
            "domsec.toml:1: no [[outbound.evidence]], so only mail signed by its originator",
        ),
        (
            ('kind = "header"\ntoken_file = "token"\nlogins = "logins"\n', 'kind = "network"\nnetworks = ["::/0"]\n'),
            "domsec.toml:14: evidence of kind network from every address there is, so anybody is who he says",
        ),
    ],
)
def test_what_makes_a_gateway_useless_is_a_warning(folder: Path, change: tuple[str, str], expected: str) -> None:
    (problem,) = found(folder, TEXT.replace(*change))
    assert problem.severity == "warning"
    assert expected in str(problem)


LISTENS = '[listen]\ntls = "tls.pem"'


def locked(path: Path) -> None:
    write(path, ACME.signing, b"secret")


def without_key(path: Path) -> None:
    path.write_bytes(BETA.ca.certificate.x509.public_bytes(Encoding.PEM))


@pytest.mark.parametrize("make", [locked, without_key, Path.touch], ids=["a password", "no key", "nothing"])
def test_a_certificate_that_cannot_be_shown_is_named(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / "tls.pem")
    (problem,) = texts(folder, TEXT.replace("[listen]", LISTENS))
    assert problem.startswith("domsec.toml:3: tls.pem: ")
    assert problem.endswith("expected a private key without a password, its certificate and the chain, as PEM")


def test_one_that_can_be_shown_has_no_problem(folder: Path) -> None:
    write(folder / "tls.pem", ACME.signing)
    clients = f'{LISTENS}\ntls_clients = ["anchors/beta.pem"]'
    assert texts(folder, TEXT.replace("[listen]", clients)) == []
    (problem,) = texts(folder, TEXT.replace("[listen]", clients.replace("anchors/beta.pem", "token")))
    assert problem.startswith("domsec.toml:4: token: ")
    assert problem.endswith("expected certificates of CAs, as PEM")


@pytest.mark.parametrize(
    ("hop", "problems"),
    [
        ('"smtp:[::1]:25"', []),
        ('"smtp:localhost:25"', []),
        ('"smtp:mx.isp.example:25"', ["domsec.toml:5: smtp:mx.isp.example:25 is reached in the clear, expected "
                                      "next_hop.tls"]),
        ('"smtp:mx.isp.example:25"\ntls = "may"', []),
        ('"smtp:mx.isp.example:25"\ntls = "verify"\nca = ["token"]',
         ["domsec.toml:7: token: neither PEM nor DER of a certificate or revocation list"]),
    ],
)  # fmt: skip
def test_mail_in_the_clear_to_another_machine_is_a_warning(folder: Path, hop: str, problems: list[str]) -> None:
    assert texts(folder, TEXT.replace('"smtp:127.0.0.1:10026"', hop)) == problems


def test_keys_that_came_before_must_open_and_be_others(folder: Path) -> None:
    write(folder / "old.pem", pki.identity("confidentiality", "acme.example", ACME.ca, now=pki.START, days=1))
    (folder / "broken.pem").write_text("x")
    (folder / "broken.pem").chmod(0o600)
    old = TEXT.replace("[trust]", 'previous = ["old.pem", "broken.pem", "signing.pem"]\n[trust]')
    assert texts(folder, old) == [
        "domsec.toml:10: broken.pem: neither PEM nor PKCS#12",
        "domsec.toml:10: the key of keys.confidentiality is that of keys.signing too, expected a key of its own",
    ]


TWO = TEXT.replace('credential = "signing.pem"', 'credential = ["signing.pem", "next.pem"]')


@pytest.mark.parametrize(
    ("begin", "days", "at", "expected"),
    [
        pytest.param(0, 365, 0, [], id="one-beside-the-other"),
        pytest.param(300, 365, 310, [], id="ready-to-take-over"),
        pytest.param(
            400,
            365,
            310,
            ["warning: domsec.toml:7: the certificate of keys.signing expires on 2027-10-24 and none takes over"],
            id="a-gap-between",
        ),
        pytest.param(
            300,
            365,
            350,
            [
                "warning: domsec.toml:7: the certificate of keys.signing expired on 2027-10-24 and another has taken "
                "over, so it can go"
            ],
            id="has-taken-over",
        ),
        pytest.param(
            300,
            20,
            310,
            ["warning: domsec.toml:7: the certificate of keys.signing expires on 2027-10-24 and none takes over"],
            id="the-new-one-ends-first",
        ),
        pytest.param(
            -400,
            365,
            700,
            [
                "error: domsec.toml:7: the certificate of keys.signing expired on 2027-10-24",
                "error: domsec.toml:7: the certificate of keys.signing expired on 2026-10-19",
            ],
            id="all-have-expired",
        ),
    ],
)
def test_of_several_certificates_one_has_to_be_valid(
    folder: Path, begin: int, days: int, at: int, expected: list[str]
) -> None:
    start = pki.NOW + timedelta(days=begin)
    write(folder / "next.pem", pki.identity("signing", "acme.example", ACME.ca, now=start, days=days))
    write(folder / "confidentiality.pem", pki.identity("confidentiality", "acme.example", ACME.ca, days=900))
    problems = found(folder, TWO, now=pki.NOW + timedelta(days=at))
    shown = [f"{p.severity}: {p}".replace(f"{folder}/", "") for p in problems]
    assert [text for text in shown if "anchor" not in text] == expected


def test_an_old_confidentiality_key_that_only_decrypts_may_have_expired(folder: Path) -> None:
    old = pki.identity("confidentiality", "acme.example", ACME.ca, now=pki.START, days=1)
    write(folder / "old.pem", old)
    two = TEXT.replace('credential = "confidentiality.pem"', 'credential = ["old.pem", "confidentiality.pem"]')
    assert texts(folder, two) == []


def test_a_key_may_have_two_certificates_of_its_role_but_none_of_another(folder: Path) -> None:
    renewed = issue.issue(
        "signing", "acme.example", ACME.signing.key.public_key(), ACME.ca.certificate, ACME.ca.signing_key,
        now=pki.NOW, days=9,
    )  # fmt: skip
    write(folder / "next.pem", pki.Identity(renewed, ACME.signing.key))
    assert texts(folder, TWO) == []
    other = issue.issue(
        "confidentiality", "acme.example", ACME.signing.key.public_key(), ACME.ca.certificate, ACME.ca.signing_key,
        now=pki.NOW, days=9,
    )  # fmt: skip
    write(folder / "confidentiality.pem", pki.Identity(other, ACME.signing.key))
    assert "domsec.toml:9: the key of keys.confidentiality is that of keys.signing too, expected a key of its own" in (
        texts(folder, TWO)
    )


def _as_pem(folder: Path, identity: pki.Identity) -> str:
    write(folder / "as.pem", identity)
    return "as.pem"


def _as_pkcs12(folder: Path, identity: pki.Identity) -> str:
    certificate = identity.certificate.x509
    octets = pkcs12.serialize_key_and_certificates(None, identity.signing_key, certificate, None, NoEncryption())
    (folder / "as.p12").write_bytes(octets)
    (folder / "as.p12").chmod(0o600)
    return "as.p12"


def _as_bare_key(folder: Path, identity: pki.Identity) -> str:
    key = identity.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    (folder / "as.key").write_bytes(key)
    (folder / "as.key").chmod(0o600)
    (folder / "as.crt").write_bytes(identity.certificate.x509.public_bytes(Encoding.PEM))
    return 'as.key"\ncertificates = "as.crt'


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.parametrize("kept", [_as_pem, _as_pkcs12, _as_bare_key])
def test_one_key_in_two_roles_is_seen_however_it_is_kept(
    folder: Path, kept: Callable[[Path, pki.Identity], str]
) -> None:
    """Decisions A-45. Keys in tokens: tests/cli/test_tokens.py."""
    made = kept(folder, ACME.signing)
    text = TEXT.replace('credential = "confidentiality.pem"', f'credential = "{made}"')
    assert "domsec.toml:9: the key of keys.confidentiality is that of keys.signing too, expected a key of its own" in (
        texts(folder, text)
    )


def test_a_certificate_named_by_mailbox_needs_to_be_declared(folder: Path) -> None:
    """As public CAs issue them (decisions A-14): the address alone says the role."""
    plain = pki.identity("user", "domain-signing-authority@acme.example", ACME.ca)
    write(folder / "signing.pem", plain)
    assert any("common name" in text for text in texts(folder))
    assert texts(folder, TEXT.replace('"signing.pem"', '"signing.pem"\nnaming = "mailbox"')) == []


def test_other_checks_of_roles_can_be_passed_in(folder: Path) -> None:
    (folder / "domsec.toml").write_text(TEXT)
    problems = check(
        Configuration.load(folder / "domsec.toml"),
        open_credentials=open_credentials,
        load_certificates=load_certificates,
        now=pki.NOW,
        role_problems=lambda role, key, certificate, domains: [f"{role} for {', '.join(domains)}"],
    )
    assert [problem.text.rpartition(": ")[2] for problem in problems] == [
        "signing for acme.example",
        "confidentiality for acme.example",
    ]


LIST = """
[[list]]
name = "staff"
address = "staff@acme.example"
owner = "owner@acme.example"
members_file = "members"
credential = "staff.pem"
previous = ["old.pem"]
"""


def test_a_mail_list_has_members(with_list: Path) -> None:
    without = LIST.replace('members_file = "members"\n', "")
    (problem,) = found(with_list, TEXT + without)
    assert (problem.severity, problem.text) == ("error", "list staff without members or members_file, expected one")


@pytest.fixture
def with_list(folder: Path) -> Path:
    write(folder / "staff.pem", pki.identity("user", "staff@acme.example", ACME.ca))
    write(folder / "old.pem", pki.identity("user", "staff@acme.example", ACME.ca))
    (folder / "members").write_text("alice@acme.example\n")
    return folder


def test_a_right_mail_list_has_no_problems(with_list: Path) -> None:
    assert texts(with_list, TEXT + LIST) == []


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: write(folder / "staff.pem", ACME.users["bob"]),
         "domsec.toml:22: the certificate of list staff does not name staff@acme.example, so nobody"),
        (lambda folder: write(folder / "staff.pem", ACME.signing), "the key of list staff is that of keys.signing too"),
        (lambda folder: write(folder / "staff.pem", ACME.confidentiality), "certificate of list staff cannot sign: "),
        (lambda folder: (folder / "staff.pem").chmod(0o644), "staff.pem has permissions 0644"),
        (lambda folder: (folder / "old.pem").write_text("x"), "domsec.toml:23: old.pem: neither PEM nor PKCS#12"),
        (lambda folder: (folder / "members").write_text("alice\n"), "domsec.toml:21: members:1: "),
        (lambda folder: (folder / "members").write_text("staff@acme.example"), "list staff is its own member"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_mail_list_is_named(with_list: Path, spoil: Callable[[Path], None], expected: str) -> None:
    spoil(with_list)
    problems = texts(with_list, TEXT + LIST)
    assert any(expected in problem for problem in problems), problems


def test_the_certificate_of_a_mail_list_has_its_time(with_list: Path) -> None:
    late = found(with_list, TEXT + LIST, now=pki.NOW + timedelta(days=700))
    assert any("the certificate of list staff expired on" in p.text for p in late)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_that_may_not_be_read_is_named(folder: Path) -> None:
    (folder / "signing.pem").chmod(0)
    assert "domsec.toml:7: signing.pem: cannot be read: Permission denied" in texts(folder)


def test_shadow_mode_is_told_loudly(folder: Path) -> None:
    (problem,) = found(folder, f"{TEXT}[gateway]\nshadow = true\n")
    assert (problem.severity, problem.line) == ("warning", 17)
    assert "what should have been protected leaves in clear" in problem.text


def test_problems_of_rules_are_told_with_their_lines(folder: Path) -> None:
    text = f'{TEXT}[[rule]]\nencrypt = "required"\n[[rule]]\nuser = "x"\nreview = "legal"\n'
    assert texts(folder, text) == [
        'domsec.toml:20: no [[review]] with the name "legal", known are none',
        "domsec.toml:18: never matches: whatever fits it fits domsec.toml:16 [[rule]] 1 before it",
    ]
