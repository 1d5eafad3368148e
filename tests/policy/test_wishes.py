"""What is wanted for each recipient, and who gets the same message."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import pki
from domsec.mime.addresses import parse_address
from domsec.mime.fields import split_message
from domsec.policy import wishes
from domsec.policy.configuration import Configuration
from domsec.policy.options import Outbound
from domsec.policy.wishes import Wish
from domsec.services.peer import Peer
from domsec.services.sign import Scheme


def wish(peer: Peer | None = None, *, domsec: bool = False, **outbound: Any) -> Wish:
    given = Configuration(path=Path("domsec.toml"), domains=("acme.example",), outbound=Outbound(**outbound))
    return wishes.wish(given, peer, domsec=domsec)


@pytest.mark.parametrize(
    ("peer", "domsec", "sign", "expected"),
    [
        pytest.param(None, False, "required", (False, False), id="an unknown domain"),
        pytest.param(None, True, "required", (True, True), id="one whose authority was found"),
        pytest.param(None, True, "if-possible", (True, False), id="if possible"),
        pytest.param(None, True, "never", (False, False), id="never"),
        pytest.param(Peer("b.example"), False, "required", (True, True), id="agreed"),
        pytest.param(Peer("b.example", domsec=False), True, "required", (False, False), id="agreed that they cannot"),
        pytest.param(Peer("b.example", sign=False), True, "required", (False, False), id="agreed not to"),
        pytest.param(Peer("b.example", sign=True), False, "never", (True, False), id="agreed to, nevertheless"),
    ],
)
def test_signing(peer: Peer | None, domsec: bool, sign: str, expected: tuple[bool, bool]) -> None:
    made = wish(peer, domsec=domsec, sign=sign)
    assert (made.sign, made.sign_required) == expected


def test_encryption() -> None:
    assert wish(encrypt="dca").encrypt == "dca"
    assert wish(Peer("b.example", encrypt="both"), encrypt="dca").encrypt == "both"
    assert wish(Peer("b.example", encrypt="no"), encrypt="dca").encrypt == "no"
    assert wish(Peer("b.example", encrypt="dca")).encryption_required
    assert not wish(Peer("b.example", encrypt="no")).encryption_required
    assert not wish(Peer("b.example")).encryption_required
    assert not wish(encrypt="dca").encryption_required


def test_ciphers() -> None:
    assert wish(domsec=True).cipher.content == "aes256-gcm"
    peer = Peer(
        "b.example",
        cipher="aes128-gcm",
        key_transport="pkcs1v15",
        signature="pss",
        digest="sha512",
        sigtype_oid="id-sti",
    )
    made = wish(peer)
    assert (made.cipher.content, made.cipher.key_transport) == ("aes128-gcm", "pkcs1v15")
    assert (made.signature, made.sigtype_oid) == (Scheme("pss", "sha512"), "id-sti")
    assert wish(domsec=True, signature="pss", digest="sha384").signature == Scheme("pss", "sha384")


def test_the_line_that_decided(tmp_path: Path) -> None:
    file = tmp_path / "domsec.toml"
    file.write_text(
        'domains = ["acme.example"]\n\n\n\n\n[outbound]\nencrypt = "dca"\n\n[[peer]]\ndomain = "beta.example"\n'
    )
    given = Configuration.load(file)
    assert wishes.where(given, None) == "domsec.toml:6 [outbound]"
    assert wishes.where(given, None, "outbound", "encrypt") == "domsec.toml:7 outbound.encrypt"
    assert wishes.where(given, None, "inbound", "strip") == "inbound.strip (default)"
    assert wishes.where(given, Peer("beta.example")) == "domsec.toml:9 [[peer]] beta.example"
    file.write_text('domains = ["acme.example"]\n[[outbound.evidence]]\nkind = "xclient"\n')
    assert wishes.where(Configuration.load(file), None) == "[outbound] (default)"


# --- groups ---------------------------------------------------------------------------------------------------------


def groups(head: str, *recipients: str, encrypt: str = "dca") -> list[tuple[int, ...]]:
    wanted = dataclasses.replace(wish(domsec=True), encrypt=encrypt)
    header = split_message(head.encode() + b"\r\n")[0]
    return [g.indexes for g in wishes.group([parse_address(r) for r in recipients], header, lambda _: wanted)]


@pytest.mark.requirement("R5322-3.6.3-01")
@pytest.mark.parametrize(
    ("head", "recipients", "expected"),
    [
        ("To: a@b.example, c@b.example\r\n", ("a@b.example", "c@b.example"), [(0, 1)]),
        ("To: a@b.example\r\nCc: c@b.example\r\n", ("a@b.example", "c@b.example"), [(0, 1)]),
        ("To: a@b.example\r\n", ("a@b.example", "c@b.example"), [(0,), (1,)]),
        ("To: a@b.example\r\nBcc: c@b.example\r\n", ("a@b.example", "c@b.example"), [(0,), (1,)]),
        ("To: A@B.example\r\n", ("a@b.example", "c@b.example", "d@b.example"), [(0,), (1,), (2,)]),
        ("To: a@b.example, x@y.example\r\n", ("a@b.example", "x@y.example"), [(0,), (1,)]),
        ("", ("a@b.example", "c@b.example"), [(0,), (1,)]),
        ("To: undisclosed recipients:;\r\n", ("a@b.example", "c@b.example"), [(0,), (1,)]),
        ("To: broken <\r\nCc: a@b.example\r\n", ("a@b.example", "c@b.example"), [(0,), (1,)]),
        ("To: a@b.example\r\nTo: c@b.example\r\n", ("a@b.example", "c@b.example"), [(0, 1)]),
    ],
)
def test_who_gets_the_same_message(head: str, recipients: tuple[str, ...], expected: list[tuple[int, ...]]) -> None:
    assert groups(head, *recipients) == expected
    domains = {r.partition("@")[2] for r in recipients}
    assert len(groups(head, *recipients, encrypt="no")) == len(domains)  # then nothing shows who they are


def test_every_recipient_is_in_one_group() -> None:
    found = groups("To: a@b.example\r\n", *(f"{n}@{d}.example" for n in "abcabc" for d in "bcd"))
    assert sorted(i for group in found for i in group) == list(range(18))


@pytest.mark.parametrize(
    ("certificate", "peer", "expected"),
    [
        pytest.param("confidentiality", None, ("aes256-gcm", "oaep"), id="an authority"),
        pytest.param("bob", None, ("aes256-cbc", "pkcs1v15"), id="a person"),
        pytest.param("bob", Peer("beta.example", cipher="aes256-gcm"), ("aes256-gcm", "pkcs1v15"), id="agreed"),
        pytest.param("bob", Peer("beta.example", key_transport="oaep"), ("aes256-cbc", "oaep"), id="agreed in part"),
        pytest.param("confidentiality", Peer("beta.example", cipher="aes128-cbc"), ("aes128-cbc", "oaep"),
                     id="agreed for all"),
    ],
)  # fmt: skip
def test_people_get_what_their_mail_programs_read(
    certificate: str, peer: Peer | None, expected: tuple[str, str]
) -> None:
    """Decisions A-46 and A-62: GCM and OAEP for authorities, what everybody reads for people."""
    beta = pki.world().beta
    whose = beta.users["bob"] if certificate == "bob" else beta.confidentiality
    made = wishes.cipher(wish(peer, domsec=True), [whose.certificate])
    assert (made.content, made.key_transport) == expected
    both = wishes.cipher(wish(peer, domsec=True), [whose.certificate, beta.confidentiality.certificate])
    assert both == wishes.cipher(wish(peer, domsec=True), [beta.confidentiality.certificate])
