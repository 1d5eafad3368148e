"""`domsec show`: everything in a message and no opinion, whatever the file is."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

import pki
from commands import AT, EXPECTED, ORACLE, PLAIN, Desk, Options, domain_signed, public, run
from domsec.cli import show
from domsec.cli.reading import read_input
from domsec.errors import DomsecError
from domsec.mime import fields, smime
from domsec.services.describe import describe
from domsec.services.layers import peel
from domsec.trust.names import escaped

WORLD = pki.world()

JUDGING = {"accepted", "level", "domain", "originator", "reviewed_by", "additional_attributes", "labels", "mlh"}
JUDGING_LAYERS = {"roles", "state", "coverage", "naming", "mapping", "address"}
JUDGING_SIGNERS = {"crypto", "path", "path_reason", "revocation", "usage", "state", "reason"}


def cms() -> bytes:
    found = smime.recognise(fields.entity_of(domain_signed(WORLD.acme.signing)))
    assert isinstance(found, smime.Pkcs7)
    return bytes(found.der)


@pytest.mark.parametrize("expected", EXPECTED, ids=[Path(m["file"]).stem for m in EXPECTED])
def test_show_has_the_keys_of_verify_but_those_that_judge(expected: dict[str, str], oracle_options: Options) -> None:
    file = ORACLE / expected["file"]
    shown, judged = (run(verb, "--json", *oracle_options(expected), file).json for verb in ("show", "verify"))
    assert shown.keys() == judged.keys() - JUDGING
    assert shown["structure"] == judged["structure"]
    for mine, theirs in zip(shown["layers"], judged["layers"], strict=True):
        assert mine.keys() >= theirs.keys() - JUDGING_LAYERS
        assert not mine.keys() & JUDGING_LAYERS
        for one, other in zip(mine["signers"], theirs["signers"], strict=True):
            assert one.keys() >= other.keys() - JUDGING_SIGNERS
            assert not one.keys() & JUDGING_SIGNERS


def test_a_tree_names_layers_signers_types_and_attributes() -> None:
    lines = [line.strip() for line in run("show", stdin=domain_signed(WORLD.acme.signing)).text.splitlines()]
    assert lines[:2] == ["structure: S[domain](S0(OC))", "from: alice@acme.example"]
    assert "signer: CN=domain-signing-authority (types domain)" in lines
    assert "idAaSignatureType: domain" in lines
    assert f"idSigningTime: {pki.NOW.isoformat()}" in lines
    assert any(line.startswith("1.1.1 content, text/plain") for line in lines)


def test_values_of_rfc_2634_are_shown_in_words() -> None:
    text = run("show", ORACLE / "msgs/g23-addattr.eml").text
    assert "idAaSecurityLabel: policy 1.3.6.1.4.1.99999.1 classification 3" in text
    assert "idAaEquivalentLabels: policy " in text
    asked = run("show", ORACLE / "msgs/g30-receipt-request.eml").text
    assert "idAaReceiptRequest: receipts from allReceipts to alice@acme.example for " in asked
    assert "idAaMlExpandHistory: " in run("show", ORACLE / "msgs/g58-ml-in-s1.eml").text


@pytest.mark.requirement("R3183-3.1.2-03")
def test_an_unsigned_attribute_is_shown_as_one() -> None:
    assert "unsigned idAaSignatureType" in run("show", ORACLE / "msgs/b20-unsigned-attr.eml").text


def test_recipients_are_named_and_a_credential_opens(desk: Desk) -> None:
    to = ("--to", "bob@beta.example", "--cert", desk.certificates)
    octets = run("encrypt", *to, *desk.trust, stdin=domain_signed(WORLD.acme.signing)).out
    closed = run("show", stdin=octets)
    assert (closed.code, closed.text.splitlines()[0]) == (0, "structure: E")
    serial = f"{WORLD.beta.user('bob').certificate.serial:x}"
    assert f"serial {serial} of CN=beta.example CA" in closed.text
    opened = run("show", "--credential", desk.key("beta-bob"), stdin=octets)
    assert opened.text.splitlines()[0] == "structure: E(S[domain](S0(OC)))"


def test_keys_of_a_configuration_that_cannot_be_used_are_no_reason_to_show_nothing(tmp_path: Path) -> None:
    (tmp_path / "domsec.toml").write_text('domains = ["acme.example"]\n[keys.confidentiality]\ncredential = "no.pem"\n')
    ran = run("show", stdin=PLAIN)
    assert ran.code == 0
    assert "domsec: warning: the keys of domsec.toml are not used" in ran.err
    assert run("show", "--config", "domsec.toml", stdin=PLAIN).code == 2


@pytest.mark.parametrize("form", ["der", "pem", "base64"])
def test_cms_by_itself_is_shown_in_every_form(form: str, tmp_path: Path) -> None:
    octets = cms()
    text = base64.encodebytes(octets)
    forms = {"der": octets, "pem": b"-----BEGIN CMS-----\n" + text + b"-----END CMS-----\n", "base64": text}
    (tmp_path / "file").write_bytes(forms[form])
    ran = run("show", tmp_path / "file")
    assert (ran.code, ran.text.splitlines()[:2]) == (
        0,
        ["structure: S[domain](S0(OC))", "from: nobody (no usable From field)"],
    )


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"", 0),
        (b"\x00\xff" * 100, 0),
        (b"\x30\x80", 5),
        (b"\x30\x82\xff\xff\x00", 5),
        (cms()[:-10], 5),
        (b"-----BEGIN CMS-----\n!!\n-----END CMS-----\n", 5),
        (public(pki.world().acme.ca.certificate), 5),
        (b"0: a header field that begins with a zero\r\n\r\n", 0),
        (b"Mail\n", 0),
    ],
)
def test_no_file_whatsoever_makes_it_stumble(octets: bytes, code: int) -> None:
    ran = run("show", stdin=octets)
    assert ran.code == code
    assert ran.out or ran.err.startswith("domsec: error: ")


@pytest.mark.requirement("R3183-1-02")
@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_message_is_shown_and_judged_without_stumbling(seed: int, desk: Desk) -> None:
    octets = bytearray(cms())
    for step in range(4):
        octets[(seed * 97 + step * 1013) % len(octets)] ^= 1 << (seed + step) % 8
    for verb in ("show", "verify"):
        assert run(verb, *desk.trust, stdin=bytes(octets)).code in (0, 1, 3, 5)


@pytest.mark.shared
@pytest.mark.requirement("R3183-1-02")
def test_every_file_of_the_corpora_can_be_shown(shared: Path) -> None:
    seen = 0
    for file in sorted((shared / "corpora").rglob("*")):
        if not file.is_file():
            continue
        seen += 1
        try:
            described = describe(peel(read_input(file)))
        except DomsecError:
            continue
        assert all(escaped(line).isprintable() for line in show._tree(described)), file
        assert described.to_json()
    assert seen > 1000


SLOW_TO_IMPORT = (
    "pyhanko_certvalidator",
    "asn1crypto",
    "sqlalchemy",
    "publicsuffixlist",
    "domsec.trust.path",
    "asyncio",
)


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--version"], (*SLOW_TO_IMPORT, "cryptography", "domsec.der")),
        (["show", "plain.eml"], SLOW_TO_IMPORT),
    ],
)
def test_small_things_start_without_what_they_do_not_need(
    arguments: list[str], absent: tuple[str, ...], message: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\nfrom domsec.cli import cli\ntry:\n    cli.main(sys.argv[2:])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print(*(name for name in sys.argv[1].split() if name in sys.modules), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, " ".join(absent), *arguments]
    done = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path)
    assert done.stderr.split() == []


def test_the_time_of_a_message_is_of_no_interest(desk: Desk) -> None:
    assert run("show", *AT, stdin=PLAIN).out == run("show", "--at", "1999-01-01T00:00:00Z", stdin=PLAIN).out
