"""What is said of small messages holds for large ones, and these need no memory of their size (issue 3).

From a threshold on octets are in pieces and in temporary files; every test here is about messages beyond it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import agents
import commands
import domsec
import pki
import world
from domsec import der, oids, x400
from domsec.cms import signed_data
from domsec.cms.signed_data import Signing
from domsec.errors import StoreUnavailable
from domsec.limits import Limits
from domsec.mime import fields, smime
from domsec.mime.addresses import parse_address
from domsec.octets import THRESHOLD
from domsec.services import encapsulate, receipts
from domsec.services.layers import peel
from domsec.services.sign import Signer
from domsec.services.verdict import Verdict
from world import acme, beta, build, judge

LINE = b"The quick brown fox jumps over the lazy dog, and this line is as long as most are.\r\n"


def lines(count: int) -> bytes:
    """Text that can be compressed, but not without end."""
    return b"".join(b"%08x %b" % (number * 2654435761 % 2**32, LINE) for number in range(count))


HEAD = b"Content-Type: text/plain; charset=us-ascii\r\n\r\n"
SMALL = HEAD + lines(100)
LARGE = HEAD + lines(5 * THRESHOLD // len(LINE))
BOTH = (acme().confidentiality, beta().confidentiality)

NOTATIONS = [
    "OC", "S(OC)", "S~(OC)", "S0(OC)", "E(OC)", "X(OC)", "C(OC)", "M(OC)", "S(M(OC))",
    "S[domain](S0(OC))", "S[domain](S~(OC))", "S[review](S[domain](S0(OC)))", "E[acme+beta](S[domain](S(OC)))",
    "S+mlh(E(S[domain](S0(OC))))",
]  # fmt: skip


def said(verdict: Verdict) -> tuple[object, ...]:
    """What a verdict says, apart from what differs in every message."""
    layers = tuple((layer.id, layer.kind, layer.form, layer.state, layer.coverage) for layer in verdict.layers)
    flags = tuple((flag.code, flag.layer, flag.severity) for flag in verdict.flags)
    return verdict.accepted, verdict.level, verdict.structure, verdict.headers, verdict.decrypted, layers, flags


@pytest.fixture(autouse=True)
def nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test leaves a temporary file, nor a descriptor of one that has no name."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))  # for other processes
    yield
    assert list(folder.iterdir()) == []
    assert in_use(folder) == 0


def in_use(folder: Path) -> int:
    """Open files in a folder, those without a name included."""
    found = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sum(os.readlink(file).startswith(f"{folder}/") for file in found if file.is_symlink())


# --- the same for all sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", ["aes256-gcm", "aes128-cbc"])
@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_large_message_is_judged_as_a_small_one(notation, cipher):
    small, large = (judge(build(notation, text=text, cipher=cipher)) for text in (SMALL, LARGE))

    assert said(large) == said(small)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_what_is_inside_comes_out_as_it_went_in(notation):
    spine = peel(build(notation, text=LARGE), tuple(map(world.credential, BOTH))).spine()

    if "X" not in notation:
        assert bytes(spine[-1].entity).endswith(LARGE)


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda octets: octets[: int(share * len(octets))]


def at(share: float, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Change the line in which this share of the message ends."""

    def changed(octets: bytes) -> bytes:
        begin = octets.index(b"\n", int(share * len(octets))) + 1
        end = octets.index(b"\r\n", begin)
        return octets[:begin] + change(octets[begin:end]) + octets[end:]

    return changed


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut early": cut(0.3),
    "cut late": cut(0.95),
    "without its last octets": lambda octets: octets[:-3],
    "another character": at(0.5, lambda line: line[:9] + (b"B" if line[9:10] == b"A" else b"A") + line[10:]),
    "a character too many": at(0.5, lambda line: line + b"A"),
    "what is no base64": at(0.5, lambda line: line[:9] + b"!" + line[9:]),
    "padding inside": at(0.5, lambda line: line[:-2] + b"=="),
    "a line missing": at(0.7, lambda line: b""),
    "a CR too many": at(0.6, lambda line: line + b"\r"),
    "lines that end in LF": lambda octets: octets.replace(b"\r\n", b"\n"),
    "lines of another length": lambda octets: re.sub(rb"(?m)^([A-Za-z0-9+/]{60})\r\n", rb"\1", octets),
    "something behind it": lambda octets: octets + b"and more\r\n",
}


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Verdict]:
    """Judge as if everything were small: nothing in pieces, nothing in a file."""

    def judged(octets: bytes) -> Verdict:
        with monkeypatch.context() as patched:
            patched.setattr("domsec.octets.THRESHOLD", len(octets))
            patched.setattr("domsec.octets.CHUNK", len(octets))
            patched.setattr("domsec.mime.transfer_encoding._READ", len(octets))
            return judge(octets)

    return judged


@functools.cache
def built(notation: str, cipher: str) -> bytes:
    return build(notation, text=LARGE, cipher=cipher)


@pytest.mark.requirement("R5083-2-01")
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    ("notation", "cipher"),
    [
        ("S(OC)", ""),
        ("S~(OC)", ""),
        ("E(OC)", "aes256-gcm"),
        ("E(OC)", "aes256-cbc"),
        ("E[acme+beta](S[domain](S0(OC)))", "aes256-gcm"),
        ("E[acme+beta](S[domain](S0(OC)))", "aes256-cbc"),
    ],
)
def test_a_damaged_large_message_fails_as_a_small_one(notation, cipher, damage, in_memory):
    octets = DAMAGE[damage](built(notation, cipher or "aes256-gcm"))

    assert said(judge(octets)) == said(in_memory(octets))


# --- nothing before its time ----------------------------------------------------------------------------------------


@pytest.mark.requirement("R5083-2-01")
def test_nothing_of_a_large_content_is_given_out_whose_tag_does_not_fit(tmp_path):
    octets = build("E(OC)", text=LARGE)
    encoded = octets.rstrip()
    last = encoded[:-8] + (b"AAAA" if encoded[-8:-4] != b"AAAA" else b"BBBB") + encoded[-4:] + b"\r\n"

    layer = peel(last, (world.credential(acme().confidentiality),)).root

    assert (layer.closed, layer.opened, layer.child) == ("failed", None, None)
    assert in_use(tmp_path) == 1  # the ciphertext, which we still hold


def test_a_bomb_is_noticed_before_it_is_unpacked(tmp_path):
    octets = build("C(OC)", text=HEAD + LINE * 100_000)

    layer = peel(octets, limits=Limits(expanded=2 * THRESHOLD, ratio=10_000)).root

    assert [code for code, _ in layer.flags] == ["limit.expanded"]


# --- in other encodings ---------------------------------------------------------------------------------------------


def in_segments(octets: bytes, size: int) -> bytes:
    """An OCTET STRING as programs write it that do not know how much will come."""
    segments = (der.octet_string(octets[begin : begin + size]) for begin in range(0, len(octets), size))
    return b"\x24\x80" + b"".join(segments) + b"\0\0"


@pytest.mark.parametrize("size", [1000, 4096, 300_000])
def test_large_content_in_segments_is_read(size):
    made = bytes(signed_data.sign(LARGE, oids.ID_DATA, [Signing(world.credential(acme().users["alice"]))]))
    primitive = bytes(der.octet_string(LARGE))
    begin = made.index(primitive)
    tail = made[begin + len(primitive) :]
    head = re.compile(rb"\x30\x83(...)(\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01)", re.DOTALL)
    opening = head.search(made)
    assert opening is not None
    version_and_digests = made[made.index(b"\x02\x01\x01") : opening.start()]
    signed = (
        b"\x30\x80" + version_and_digests + b"\x30\x80" + opening[2] + b"\xa0\x80" + in_segments(LARGE, size)
        + b"\0\0\0\0" + tail + b"\0\0"
    )  # fmt: skip
    octets = b"\x30\x80" + der.oid(oids.ID_SIGNED_DATA) + b"\xa0\x80" + signed + b"\0\0\0\0"

    verdict = judge(world.message(smime.pkcs7_mime(octets, "signed-data")))

    assert verdict.accepted
    assert verdict.level == "originator_direct"


def test_large_content_without_signed_attributes_is_verified():
    # Ed25519 and ML-DSA want the content in one piece, RSA and ECDSA its digest
    for kind in ("rsa2048", "p256", "ed25519"):
        signer = pki.identity("user", "carol@acme.example", acme().ca, kind=kind)
        made = without_attributes(LARGE, signer)
        info = made.signers[0]

        done = signed_data.verify(info, LARGE, oids.ID_DATA, signer.certificate, allow_no_attributes=True)
        assert done.weak == ()
        with pytest.raises(signed_data.SignatureInvalid, match="does not fit"):
            signed_data.verify(info, LARGE + b"x", oids.ID_DATA, signer.certificate, allow_no_attributes=True)


def without_attributes(content: bytes, signer: pki.Identity) -> signed_data.SignedData:
    """As some programs sign: the signature is over the content itself."""
    credential = world.credential(signer)
    made = bytes(signed_data.sign(b"", oids.ID_DATA, [Signing(credential)], detached=True))
    reader = der.Reader(made)
    reader.enter(der.SEQUENCE)
    reader.oid()
    reader.enter(der.context(0))
    parsed = signed_data.parse_signed_data(reader.skip())
    info = parsed.signers[0]
    algorithm = signed_data.find_signature(info.signature_algorithm, info.digest_algorithm)
    bare = dataclasses.replace(info, signed_attributes=None, signature=credential.sign(content, algorithm))
    return dataclasses.replace(parsed, signers=(bare,))


# --- no room --------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_room() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (THRESHOLD, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_where_there_is_no_room_nothing_is_said_of_the_message(no_room):
    with pytest.raises(StoreUnavailable, match="temporary file"):
        judge(build("S(OC)", text=LARGE))


def test_where_there_is_no_room_the_gateway_asks_to_come_back(no_room):
    octets = build("S(OC)", text=LARGE, to="bob@acme.example")

    decision = world.send(octets)

    assert [(refused.code, refused.enhanced) for refused in decision.refused] == [(451, "4.3.0")]


# --- the gateway's decisions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_decrypt", ["deliver", "user"])
def test_a_large_message_passes_both_domains(after_decrypt):
    users = [beta().users["bob"].certificate]
    sent = bytes(world.only(world.send(build("S(OC)", text=LARGE))))
    assert sent.find(LINE) < 0

    at = world.beta_site(known=users, inbound={"after_decrypt": after_decrypt, "strip": "none"})
    got = bytes(world.only(world.receive(sent, at=at)))

    reading = world.context(beta().users["bob"])
    verdict = judge(got, reading)
    assert verdict.structure == ("E({})" if after_decrypt == "user" else "{}").format("S[domain](S[originator](OC))")
    assert bytes(peel(got, reading.keyring).spine()[-1].entity) == LARGE


@pytest.mark.parametrize("wrap", [False, True])
def test_the_subject_of_a_large_message_is_hidden_and_comes_back(wrap):
    at = world.acme_site(outbound={"header_confidentiality": "baseline", "wrap_rfc822": wrap})

    sent = world.only(world.send(build("OC", text=LARGE), at=at))
    got = world.only(world.receive(bytes(sent)))

    seen = [fields.split_message(octets)[0].first("subject") for octets in (sent, got)]
    assert [found and found.value for found in seen] == ["[...]", "plans"]
    assert bytes(got).endswith(LARGE.partition(b"\r\n\r\n")[2])


def test_the_digests_of_a_large_message_are_recorded_as_those_of_a_small_one():
    signer = Signer(world.credential(acme().review))
    for text in (SMALL, LARGE):
        octets = build("OC", text=text)
        made = encapsulate.review(world.look(octets), signer, world.context())

        assert made.content == made.body == hashlib.sha256(bytes(fields.entity_of(octets))).hexdigest()
        assert judge(world.message(bytes(made.entity))).structure == "S[review](S0(OC))"


# --- lists, receipts, X.400 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notation", "encrypt", "expected"),
    [
        ("S(OC)", False, "S[unspecified]+mlh(S[originator](OC))"),
        ("S(OC)", True, "S[unspecified]+mlh(E(S[originator](OC)))"),
        ("E[staff](S(OC))", False, "S[unspecified]+mlh(E(S[originator](OC)))"),
    ],
)
def test_a_list_distributes_a_large_message(notation, encrypt, expected):
    expansion = agents.expand(build(notation, text=LARGE), encrypt=encrypt)

    for copy in expansion.copies:
        verdict = judge(bytes(copy.octets), agents.context(beta().users[copy.members[0].local]))
        assert verdict.structure == expected
        assert {layer.state for layer in verdict.layers} <= {"valid", None}


def test_a_receipt_for_a_large_message_is_like_one_for_a_small_one():
    request = receipts.request(b"alice 1", "all", [parse_address("alice@acme.example")])
    bob = beta().users["bob"]
    for text in (SMALL, LARGE):
        octets = world.message(world.signed(text, acme().users["alice"], extra=[request]))
        due = receipts.asked(agents.reads(octets, bob), receipts.names_of(bob.certificate))
        receipt = world.look(world.message(receipts.make(due, world.credential(bob), world.NOW)))
        assert receipts.check(receipt, receipts.sent(peel(octets))).addresses == ("bob@beta.example",)


def test_large_contents_of_x400_are_signed_and_encrypted_and_carried(tmp_path):
    text = x400.Content(oids.ID_MCT_P2_1988, LARGE)
    signer = Signer(world.credential(acme().users["alice"]))
    signed = x400.sign(text, signer.signings(None), world.NOW)
    sealed = x400.encrypt(signed, [acme().confidentiality.certificate])
    assert signed.octets is not sealed.octets

    for found in (sealed, x400.from_mail(x400.to_mail(sealed))):
        message = x400.peel(found, ["alice@acme.example"], (world.credential(acme().confidentiality),))
        assert message.spine()[-1].entity == LARGE
        assert x400.content_of(message.spine()[1]).octets == signed.octets
    assert in_use(tmp_path) > 1


# --- what the library gives -----------------------------------------------------------------------------------------


def test_what_is_made_of_a_large_message_can_be_written_like_bytes(tmp_path):
    signer = Signer(world.credential(acme().signing))
    certificates = [beta().confidentiality.certificate]
    for text, kind in ((SMALL, bytes), (LARGE, memoryview)):
        message = peel(build("OC", text=text))
        signed = domsec.apply(domsec.plan(message.spine(), encrypt=False), message.header, signer, world.NOW)
        sealed = domsec.encrypt(signed, certificates)
        delivered = domsec.deliver(world.look(build("S[domain](S0(OC))", text=text)), "verified").entity()

        for made in (signed, sealed, delivered):
            assert type(made) is kind
            (tmp_path / "made").write_bytes(made)
            assert (tmp_path / "made").read_bytes() == b"" + made == bytes(made)


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> commands.Desk:
    return commands.desk(tmp_path_factory.mktemp("desk"))


def write_plain(path: Path, size: int, end: bytes = b"\r\n") -> Path:
    """A message of this many octets, more or less."""
    header, _ = fields.split_message(commands.PLAIN)
    with path.open("wb") as file:
        file.write((header.raw + b"\r\n").replace(b"\r\n", end))
        for _ in range(size // (1000 * len(LINE))):
            file.write(LINE.replace(b"\r\n", end) * 1000)
    return path


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_commands_take_a_large_message_all_the_way(desk, tmp_path, end):
    plain = write_plain(tmp_path / "mail.eml", 3 * THRESHOLD, end)
    file = tmp_path / "made.eml"
    authority = ("--credential", desk.key("acme-signing"), "--cert", desk.certificate("beta-confidentiality"))
    made = commands.run(
        "sign-domain", *authority, *desk.trust, "--evidence", "local:alice@acme.example", "--rcpt", "bob@beta.example",
        "--encrypt", "dca", plain, "-o", file,
    )  # fmt: skip
    assert made.code == 0, made.err
    ours = ("--credential", desk.key("beta-confidentiality"), *desk.trust)

    assert commands.run("verify", *ours, file).code == 0
    assert "S[domain]" in commands.run("show", *ours[:2], file).text
    assert commands.run("decrypt", *ours, file, "-o", file).code == 0  # onto the file that is read
    assert commands.run("verify", *desk.trust, stdin=file.read_bytes()).code == 0
    assert commands.run("review", "--credential", desk.key("acme-review"), *desk.trust, file, "-o", file).code == 0
    assert "S[review](S[domain]" in commands.run("show", file).text


def test_a_command_that_finds_no_room_says_so(desk, tmp_path, monkeypatch):
    plain = write_plain(tmp_path / "mail.eml", 2 * THRESHOLD)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))

    ran = commands.run("show", plain)

    assert ran.code == 4
    assert "a temporary file cannot be used: No such file or directory" in ran.err


def test_without_a_configuration_the_size_of_a_message_is_for_its_owner_to_choose(desk, tmp_path):
    configuration = tmp_path / "domsec.toml"
    configuration.write_text('domains = ["acme.example"]\n[limits]\nsize = 1000\n')
    plain = write_plain(tmp_path / "mail.eml", 2 * THRESHOLD)

    assert commands.run("verify", *desk.trust, plain).code == 1  # nobody signed it
    ran = commands.run("verify", "--config", configuration, *desk.trust, plain)
    assert ran.code == 5
    assert "limit.size" in ran.err


MEGABYTE = 1024 * 1024
ROOM = 64 * MEGABYTE  # of memory that no file stands behind; the program itself takes a third of it


def confined(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call `domsec` with less memory than the message is long."""
    command = [sys.executable, "-c", "from domsec.cli import main; main()", *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (ROOM, ROOM)),
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_message_of_100_megabytes_goes_through_less_memory(desk, tmp_path):
    plain, made, opened = (tmp_path / name for name in ("plain.eml", "made.eml", "opened.eml"))
    write_plain(plain, 100 * MEGABYTE)
    authority = ("--credential", desk.key("acme-signing"), "--cert", desk.certificate("beta-confidentiality"))
    ours = ("--credential", desk.key("beta-confidentiality"), *desk.trust)
    steps: list[tuple[object, ...]] = [
        ("sign-domain", *authority, *desk.trust, "--evidence", "local:alice@acme.example", "--rcpt",
         "bob@beta.example", "--encrypt", "dca", plain, "-o", made),
        ("verify", *ours, made),
        ("decrypt", *ours, made, "-o", opened),
        ("verify", *desk.trust, opened),
        ("review", "--credential", desk.key("acme-review"), *desk.trust, opened, "-o", made),
        ("verify", *desk.trust, made),
        ("sign", "--clear", "--credential", desk.key("acme-alice"), *desk.trust, plain, "-o", opened),
        ("verify", *desk.trust, opened),
    ]  # fmt: skip

    for step in steps:
        ran = confined(*step, cwd=tmp_path)
        assert ran.returncode == 0, (step[0], ran.stderr)

    assert made.stat().st_size > 250 * MEGABYTE  # three layers of base64: review, domain, null layer


def test_the_memory_of_confined_commands_is_less_than_a_message():
    """That the test above can fail."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import domsec.cli; bytes({ROOM})"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (ROOM, ROOM)),
    )
    assert "MemoryError" in ran.stderr
