"""What docs/edi-energy.md shows is what happens; and what we send there is what OpenSSL, and the rules, expect."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from console_page import DOCS, missing_pages, run_page
from domsec.pipeline import Recipient, Session, Transaction, process
from domsec.policy.configuration import Configuration
from domsec.site import load_site

PAGE = (DOCS / "edi-energy.md").read_text()

pytestmark = [pytest.mark.interop, pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")]


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_command_does_what_the_page_shows_and_openssl_reads_what_we_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGE, tmp_path)

    site = load_site(Configuration.load(Path("domsec.toml")))
    session = Session(None, "", "edi@acme.example", "lmtp", True, {}, "outbound", None)
    octets = Path("order.eml").read_bytes().replace(b"\n", b"\r\n")
    given = Transaction("outbound", "edi@acme.example", "", (Recipient("edi@netz.example"),), octets, session, "T1",
                        datetime.now(UTC))  # fmt: skip
    [out] = process(given, site).outgoing
    Path("sent.eml").write_bytes(bytes(out.octets))
    shown = openssl("cms", "-cmsout", "-print", "-noout", "-in", "sent.eml")
    for part in ("algorithm: rsaesOaep", "sha256", "algorithm: aes-128-cbc"):
        assert part in shown
    assert "rsaEncryption" not in shown

    openssl("cms", "-decrypt", "-in", "sent.eml", "-recip", "netz.crt", "-inkey", "netz.key", "-out", "opened.eml")
    assert "algorithm: rsassaPss" in openssl("cms", "-cmsout", "-print", "-noout", "-in", "opened.eml")
    openssl("cms", "-verify", "-CAfile", "root.crt", "-in", "opened.eml", "-out", "content", "-signer", "signer.crt")
    assert b"VU5BOisuPyAnVU5CK1VOT0M6MysxOjE0KzI6MTQn" in Path("content").read_bytes()
    assert "edi@acme.example" in openssl("x509", "-in", "signer.crt", "-noout", "-email")


def test_every_page_named_is_there() -> None:
    assert missing_pages(PAGE) == []
