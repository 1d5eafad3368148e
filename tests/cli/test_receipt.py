"""`domsec sign --request-receipt` and `domsec receipt`: asked for, made, checked; by domsec and by OpenSSL."""

from __future__ import annotations

import email
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

import pki
import world
from commands import AT, PLAIN, Desk, Ran, private, run
from domsec.ess.receipts import ReceiptRequest
from domsec.services import receipts
from domsec.services.layers import peel

ALICE, BOB = "alice@acme.example", "bob@beta.example"


@pytest.fixture
def sent(desk: Desk, tmp_path: Path) -> Path:
    """What alice signs and keeps."""
    file = tmp_path / "sent.eml"
    ran = run("sign", "--request-receipt", "--credential", desk.key("acme-alice"), *AT, "-o", file, stdin=PLAIN)
    assert ran.code == 0, ran.err
    return file


def make(desk: Desk, file: Path, *options: object, who: str = "beta-bob") -> Ran:
    return run("receipt", "make", "--credential", desk.key(who), *desk.trust, *options, file)


def check(desk: Desk, receipt: bytes, kept: Path, *options: object) -> Ran:
    return run("receipt", "check", "--sent", kept, *desk.trust, *options, stdin=receipt)


def request_in(octets: bytes) -> ReceiptRequest:
    (found,) = receipts.sent(peel(octets))
    return found.request


# --- asking ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R2634-2.2-02")
@pytest.mark.parametrize(
    ("options", "receipts_from", "receipts_to"),
    [
        ((), "allReceipts", [ALICE]),
        (("--receipts-from", "all"), "allReceipts", [ALICE]),
        (("--receipts-from", "first-tier", "--receipts-to", "desk@acme.example"), "firstTierRecipients",
         ["desk@acme.example"]),
        (("--receipts-from", BOB, "--receipts-from", "carol@beta.example"), [BOB, "carol@beta.example"], [ALICE]),
    ],
)  # fmt: skip
def test_a_signature_asks_for_receipts(
    desk: Desk, options: Sequence[str], receipts_from: object, receipts_to: list[str]
) -> None:
    ran = run("sign", "--request-receipt", *options, "--credential", desk.key("acme-alice"), *AT, stdin=PLAIN)
    assert ran.code == 0, ran.err
    found = request_in(ran.out)
    assert [n.address for entity in found.receipts_to for n in entity] == receipts_to
    asked = found.receipts_from
    assert (asked if isinstance(asked, str) else [n.address for e in asked for n in e]) == receipts_from
    assert run("verify", *desk.trust, stdin=ran.out).code == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--receipts-to", ALICE), "--receipts-from or --receipts-to without --request-receipt"),
        (("--request-receipt", "--receipts-from", "some"), "expected all, first-tier, or addresses"),
        (("--request-receipt", "--receipts-from", "all", "--receipts-from", BOB), "expected all, first-tier, or addre"),
        (("--request-receipt", "--receipts-from", "all", "--receipts-from", "first-tier"), "expected all, first-tier"),
        (("--request-receipt", "--receipts-from", "@beta.example"), "is no mail address"),
    ],
)
def test_what_cannot_be_asked_is_said(desk: Desk, options: Sequence[str], complaint: str) -> None:
    ran = run("sign", *options, "--credential", desk.key("acme-alice"), stdin=PLAIN)
    assert (ran.code, ran.out) == (2, b"")
    assert complaint in ran.err


@pytest.mark.requirement("R2634-1.3.1-01", "R2634-2.2-01")
@pytest.mark.parametrize("notation", ["S[bob](OC)", "E(OC)", "C(S(OC))"])
def test_a_receipt_is_asked_for_in_the_innermost_signature_only(desk: Desk, notation: str) -> None:
    ran = run("sign", "--request-receipt", "--credential", desk.key("acme-alice"), stdin=world.build(notation))
    assert (ran.code, ran.out) == (2, b"")
    assert "expected the message itself" in ran.err


def test_the_gateway_asks_for_none_and_makes_none(desk: Desk, sent: Path) -> None:
    """Decisions A-53: a domain signature keeps the request inside, and what beta delivers is one message to bob."""
    out = world.only(world.send(sent.read_bytes()))
    verdict = world.judge(out)
    asking = ["idAaReceiptRequest" in signer.ess for layer in verdict.layers for signer in layer.signers]
    assert (verdict.structure, asking) == ("E(S[domain](S[originator](OC)))", [False, True])
    decision = world.receive(out)
    assert [o.recipients[0].address for o in decision.outgoing] == [BOB]


# --- answering and checking ------------------------------------------------------------------------------------------


@pytest.mark.requirement("R2634-2.6-01", "R2634-2.4-01", "R2634-2.5-01")
def test_a_receipt_there_and_back(desk: Desk, sent: Path) -> None:
    made = make(desk, sent)
    assert made.code == 0, made.err
    answer = email.message_from_bytes(made.out)
    assert (answer["from"], answer["to"], answer["auto-submitted"]) == (BOB, ALICE, "auto-replied")
    assert (answer["in-reply-to"], answer.get_param("smime-type")) == ("<1@acme.example>", "signed-receipt")
    found = check(desk, made.out, sent)
    assert (found.code, found.text) == (0, f"{BOB} had the message and could verify it, signed on {AT[1]}\n")
    document = check(desk, made.out, sent, "--json").json
    assert document["accepted"] is True
    assert document["addresses"] == [BOB]
    assert document["content_identifier"] == request_in(sent.read_bytes()).signed_content_identifier.hex()


@pytest.mark.requirement("R2634-2.4-03", "R2634-2.9-01")
def test_what_came_encrypted_is_answered_encrypted(desk: Desk, sent: Path, tmp_path: Path) -> None:
    sealed = tmp_path / "sealed.eml"
    keys = ("--cert", desk.certificates)
    assert run("encrypt", "--to", BOB, *keys, *desk.trust, "-o", sealed, sent).code == 0
    made = make(desk, sealed, *keys)
    assert made.code == 0, made.err
    opened = check(desk, made.out, sent, "--credential", desk.key("acme-alice"))
    assert opened.code == 0, opened.err
    closed = check(desk, made.out, sent)
    assert (closed.code, closed.out) == (1, b"")
    assert "receipt.none" in closed.err
    plain = make(desk, sealed, "--no-encrypt")
    assert check(desk, plain.out, sent).code == 0
    assert make(desk, sent, "--encrypt").code == 1, "no certificate of alice"
    assert make(desk, sent, "--encrypt", *keys).code == 0


@pytest.mark.requirement("R2634-2.3-02")
def test_who_may_not_answer_does_not(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "sent.eml"
    options = ("--request-receipt", "--receipts-from", "carol@beta.example")
    run("sign", *options, "--credential", desk.key("acme-alice"), *AT, "-o", file, stdin=PLAIN)
    ran = make(desk, file)
    assert (ran.code, ran.out) == (1, b"")
    assert "receipt.not_in_list: receipts are asked of others" in ran.err


def test_a_receipt_needs_a_key(desk: Desk, sent: Path) -> None:
    ran = run("receipt", "make", *desk.trust, sent)
    assert (ran.code, ran.out) == (2, b"")
    assert "nobody to sign the receipt" in ran.err


def test_of_several_keys_the_one_the_message_is_for_answers(desk: Desk, sent: Path) -> None:
    made = make(desk, sent, "--credential", desk.key("beta-bob"), who="beta-alice")
    assert check(desk, made.out, sent, "--json").json["addresses"] == [BOB]


def test_a_receipt_for_something_else_is_refused(desk: Desk, sent: Path, tmp_path: Path) -> None:
    made = make(desk, sent)
    other = tmp_path / "other.eml"
    run("sign", "--request-receipt", "--credential", desk.key("acme-alice"), *AT, "-o", other, stdin=PLAIN)
    assert check(desk, made.out, other).code == 1
    found = check(desk, made.out, other, "--json")
    assert (found.code, found.json["accepted"], found.json["reason"]) == (1, False, "receipt.other_message")


def test_a_header_of_a_stranger_does_not_get_into_the_answer(desk: Desk, tmp_path: Path) -> None:
    plain = PLAIN.replace(b"<1@acme.example>", b"<1\rBcc: x@y.example>")
    file = tmp_path / "sent.eml"
    run("sign", "--request-receipt", "--credential", desk.key("acme-alice"), *AT, "-o", file, stdin=plain)
    made = make(desk, file)
    assert made.code == 0, made.err
    assert b"In-Reply-To" not in made.out
    assert b"Bcc" not in made.out


# --- with OpenSSL ----------------------------------------------------------------------------------------------------

interop = pytest.mark.interop
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture
def openssl_files(desk: Desk, tmp_path: Path) -> Path:
    (tmp_path / "cas.pem").write_bytes(
        desk.certificate("acme-ca").read_bytes() + desk.certificate("beta-ca").read_bytes()
    )
    for who, identity in (("alice", world.acme().users["alice"]), ("bob", world.beta().users["bob"])):
        (tmp_path / f"{who}.key").write_bytes(private(identity.key))
        name = "acme-alice" if who == "alice" else "beta-bob"
        (tmp_path / f"{who}.pem").write_bytes(desk.certificate(name).read_bytes())
    return tmp_path


def openssl(folder: Path, *options: str, expect: int = 0) -> str:
    """`openssl cms` in a folder; what it said."""
    done = subprocess.run(["openssl", "cms", *options], cwd=folder, capture_output=True, timeout=60, check=False)
    assert done.returncode == expect, done.stderr.decode()
    return (done.stdout + done.stderr).decode(errors="replace")


TRUST = ("-CAfile", "cas.pem", "-purpose", "any", "-attime", str(int(pki.NOW.timestamp())))


@interop
@needs_openssl
@pytest.mark.requirement("R2634-2.6-01", "R2634-2.2-02")
@pytest.mark.parametrize("form", [(), ("--clear",)], ids=["opaque", "clear"])
def test_openssl_answers_what_we_ask(desk: Desk, openssl_files: Path, form: tuple[str, ...]) -> None:
    kept = openssl_files / "sent.eml"
    asked = run(
        "sign", *form, "--request-receipt", "--credential", desk.key("acme-alice"), *AT, "-o", kept, stdin=PLAIN
    )
    assert asked.code == 0
    signer = ("-signer", "bob.pem", "-inkey", "bob.key")
    openssl(openssl_files, "-sign_receipt", "-in", "sent.eml", *signer, "-out", "receipt.eml")
    receipt = (openssl_files / "receipt.eml").read_bytes()
    found = check(desk, receipt, kept, "--json")
    assert found.code == 0, found.text
    assert found.json["addresses"] == [BOB]
    printed = openssl(openssl_files, "-verify", "-in", "sent.eml", *TRUST, "-receipt_request_print", "-out", "text")
    assert ALICE in printed


@interop
@needs_openssl
@pytest.mark.requirement("R2634-2.4-01", "R2634-2.4-02", "R2634-2.5-01")
@pytest.mark.parametrize("whom", [("-receipt_request_all",), ("-receipt_request_first",),
                                  ("-receipt_request_from", BOB)], ids=str)  # fmt: skip
@pytest.mark.parametrize("form", [(), ("-nodetach",)], ids=["clear", "opaque"])
def test_openssl_takes_our_answer(desk: Desk, openssl_files: Path, whom: Sequence[str], form: tuple[str, ...]) -> None:
    (openssl_files / "text").write_bytes(b"Content-Type: text/plain\r\n\r\nDear Bob\r\n")
    signer = ("-signer", "alice.pem", "-inkey", "alice.key")
    mail = ("-from", ALICE, "-to", BOB, "-subject", "asked")
    openssl(openssl_files, "-sign", "-in", "text", "-crlfeol", *form, *signer, *whom, "-receipt_request_to", ALICE,
            *mail, "-out", "sent.eml")  # fmt: skip
    made = make(desk, openssl_files / "sent.eml", "-o", openssl_files / "receipt.eml")
    assert made.code == 0, made.err
    openssl(openssl_files, "-verify_receipt", "receipt.eml", "-in", "sent.eml", *TRUST)
    assert check(desk, (openssl_files / "receipt.eml").read_bytes(), openssl_files / "sent.eml").code == 0


@interop
@needs_openssl
@pytest.mark.requirement("R2634-2.6-01")
def test_openssl_and_we_refuse_a_receipt_for_another_message(desk: Desk, openssl_files: Path) -> None:
    for name in ("one", "other"):
        file = openssl_files / f"{name}.eml"
        run("sign", "--request-receipt", "--credential", desk.key("acme-alice"), *AT, "-o", file, stdin=PLAIN)
    made = make(desk, openssl_files / "one.eml", "-o", openssl_files / "receipt.eml")
    assert made.code == 0
    verify = ("-verify_receipt", "receipt.eml", *TRUST)
    openssl(openssl_files, *verify, "-in", "one.eml")
    openssl(openssl_files, *verify, "-in", "other.eml", expect=4)
    assert check(desk, (openssl_files / "receipt.eml").read_bytes(), openssl_files / "other.eml").code == 1
