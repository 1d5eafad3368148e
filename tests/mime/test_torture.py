"""Messages that other parsers choked on, and bombs: nothing is raised but our errors, no octet is lost."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from domsec.errors import LimitExceeded
from domsec.mime import addresses, authentication_results, fields, header_protection, smime

pytestmark = pytest.mark.shared

SUFFIXES = {".eml", ".msg", ".txt", ".mbox", ".mime", "", ".out", ".raw", ".cmy", ".expected"}


def examine(octets: bytes) -> fields.Header:
    """Everything the room does with a message on its way in."""
    header, body = fields.split_message(octets)
    assert header.raw + header.separator + bytes(body) == octets

    info = addresses.parse_from(header)
    assert info.valid == bool(info.mailboxes)
    assert [addresses.parse_address(one.address).address for one in info.mailboxes] == [
        one.address for one in info.mailboxes
    ]

    entity = bytes(fields.entity_of(octets))
    replaced = bytes(fields.replace_entity(header, entity))
    outer = fields.other_header(header).raw
    assert replaced.startswith(outer)
    assert bytes(fields.entity_of(replaced)).endswith(bytes(body))
    if fields.other_header(header).problems == () and header.separator:
        assert fields.other_header(fields.split_message(replaced)[0]).raw == outer

    found = smime.recognise(entity)
    if isinstance(found, smime.ClearSigned):
        assert bytes(found.part) in octets
    smime.embedded(entity)
    if (found := header_protection.protected(*fields.split_message(entity))) is not None:
        assert found.revealed(header).first("from") == header.first("from")
    protected = bytes(header_protection.protect(header, entity))
    assert protected.endswith(bytes(body))
    authentication_results.remove(header, "acme.example")
    return header


def messages(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() in SUFFIXES]


FAMILIES = [
    "chasquid", "cpython", "cyrus", "email-mime-perl", "enmime", "flanker", "james", "jsmimeparser", "libetpan",
    "mail-auth", "mail-mime-parser", "mailparser", "mailsplit", "mime4j", "mimekit", "rspamd", "ruby-mail",
    "spamassassin-t-data", "spamscope", "stalwart-mail-parser", "thunderbird-android",
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_torture_messages(shared, family):
    paths = messages(shared / "corpora" / "mail-parsers" / family)
    assert paths
    for path in paths:
        examine(path.read_bytes())


@pytest.mark.parametrize(
    "family", ["rfc4134", "rfc9216", "thunderbird", "bouncycastle", "misc-smime", "direct-project"]
)
def test_smime_messages_of_others(shared, family):
    for path in (shared / "corpora" / family).rglob("*.eml"):
        examine(path.read_bytes())


def bombs(shared: Path) -> list[Path]:
    return sorted((shared / "corpora" / "collector-made-attacks" / "mime").glob("*.eml"))


def test_bombs_take_no_time(shared):
    for path in bombs(shared):
        octets = path.read_bytes()
        start = time.process_time()
        try:
            examine(octets)
        except LimitExceeded:
            pass
        assert time.process_time() - start < 2, path.name  # a guard against hanging, not a measurement


@pytest.mark.parametrize(
    ("name", "limit"),
    [("nested-multipart-3000", "mime_depth"), ("parts-50000", "mime_parts")],
)
def test_bombs_that_hit_a_limit(shared, name, limit):
    octets = (shared / "corpora" / "collector-made-attacks" / "mime" / f"{name}.eml").read_bytes()
    with pytest.raises(LimitExceeded, match=limit):
        examine(octets)


@pytest.mark.requirement("R1847-2.1-01")
@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("boundary-unterminated", "mime.parts"),
        ("signed-one-part", "mime.parts"),
        ("signed-three-parts", "mime.parts"),
        ("content-type-twice", "mime.duplicate_header"),
    ],
)
def test_attacks_are_no_layer(shared, name, flag):
    octets = (shared / "corpora" / "collector-made-attacks" / "mime" / f"{name}.eml").read_bytes()
    found = smime.recognise(bytes(fields.entity_of(octets)))

    assert isinstance(found, smime.Other)
    assert [code for code, _ in found.flags] == [flag]


@pytest.mark.parametrize(
    ("name", "mailboxes"),
    [
        ("from-empty", []),
        ("from-group", []),
        ("address-comment-nesting-20000", ["a@example.com"]),
        ("utf8-headers-smtputf8", ["用户@xn--fsqu00a.example"]),
        ("nul-bytes", ["a@example.com"]),
    ],
)
def test_from_of_attacks(shared, name, mailboxes):
    octets = (shared / "corpora" / "collector-made-attacks" / "mime" / f"{name}.eml").read_bytes()
    info = addresses.parse_from(fields.split_message(octets)[0])

    assert [mailbox.address for mailbox in info.mailboxes] == mailboxes


def test_every_attack_is_looked_at(shared):
    expected = json.loads((shared / "corpora" / "collector-made-attacks" / "expected.json").read_text())["files"]
    assert {path.name for path in bombs(shared)} == {Path(name).name for name in expected if name.startswith("mime/")}
