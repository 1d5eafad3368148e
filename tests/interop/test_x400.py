"""X.400 contents and CMS without MIME, with OpenSSL and Bouncy Castle: they verify, open and sign the same."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import judges
import pki
import world
from domsec import oids, x400
from domsec.cms import content_info
from domsec.cms.signed_data import Signing
from domsec.services.check import examine
from domsec.services.sign import Signer, plan
from interpersonal import P22, address_content, certified, message, or_name
from world import acme

pytestmark = [pytest.mark.interop, pytest.mark.requirement("R3854-3.4-01")]

ALICE = x400.ORName.read(or_name())
ORGANIZATION = address_content(surname=None)
TEXT = x400.received(22, message())
AT = str(int(world.NOW.timestamp()))


def people() -> dict[str, pki.Identity]:
    return {
        "alice": certified("user", "cn=Alice Doe,o=acme,c=us", address_content()),
        "acme-dsa": certified("signing", "cn=domain-signing-authority,o=acme,c=us", ORGANIZATION),
        "acme-dca": certified("confidentiality", "cn=domain-confidentiality-authority,o=acme,c=us", ORGANIZATION),
    }


def credential(name: str) -> world.Credential:
    return world.credential(people()[name])


def signed(content: x400.Content) -> x400.Content:
    return x400.sign(content, [Signing(credential("alice"))], world.NOW)


def encrypted(content: x400.Content) -> x400.Content:
    return x400.encrypt(content, [people()["acme-dca"].certificate])


def domain_signed(content: x400.Content) -> x400.Content:
    spine = x400.peel(content, [ALICE]).spine()
    return x400.apply(plan(spine, encrypt=False), Signer(credential("acme-dsa")), world.NOW)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judges.write_keys(tmp_path_factory.mktemp("x400") / "pki", people(), [acme().ca.certificate])


# --- the openssl command --------------------------------------------------------------------------------------------


def openssl(*arguments: str, given: bytes) -> bytes:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    done = subprocess.run(["openssl", "cms", *arguments], input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def verified(octets: bytes, keys: Path) -> bytes:
    """What OpenSSL says is signed, after checking signature and path."""
    anchor = str(keys / "trust" / "0.pem")
    return openssl("-verify", "-inform", "DER", "-binary", "-CAfile", anchor, "-purpose", "any", "-attime", AT,
                   given=octets)  # fmt: skip


def opened(octets: bytes, keys: Path) -> bytes:
    return openssl("-decrypt", "-inform", "DER", "-binary", "-recip", str(keys / "certs/acme-dca.pem"),
                   "-inkey", str(keys / "keys/acme-dca.key"), given=octets)  # fmt: skip


def test_openssl_verifies_a_signed_content(keys: Path) -> None:
    assert verified(signed(TEXT).octets, keys) == message()


def test_openssl_opens_an_encrypted_content(keys: Path) -> None:
    assert opened(encrypted(TEXT).octets, keys) == message()


def test_openssl_takes_a_triple_wrapped_message_apart(keys: Path) -> None:
    """Each layer is the bare value of its type; OpenSSL wants a ContentInfo around it."""
    outside = signed(encrypted(signed(TEXT)))
    sealed = content_info.wrap(oids.ID_ENVELOPED_DATA, verified(outside.octets, keys))
    inside = content_info.wrap(oids.ID_SIGNED_DATA, opened(sealed, keys))
    assert verified(inside, keys) == message()


@pytest.mark.requirement("R3183-3-08")
def test_openssl_verifies_a_domain_signature_without_mime(keys: Path) -> None:
    one = signed(TEXT)
    inside = verified(domain_signed(one).octets, keys)
    assert content_info.wrap(oids.ID_SIGNED_DATA, inside) == one.octets
    assert verified(one.octets, keys) == message()
    empty = verified(domain_signed(TEXT).octets, keys)
    printed = openssl("-cmsout", "-inform", "DER", "-print", given=content_info.wrap(oids.ID_SIGNED_DATA, empty))
    assert b"<ABSENT>" not in printed.partition(b"eContent:")[2][:40]
    assert printed.rstrip().endswith(b"<EMPTY>")  # signerInfos


@pytest.mark.parametrize("content_type", [P22, oids.ID_MCT_P2_1984, oids.ID_MCONT_MM])
def test_what_openssl_signs_is_verified(content_type: str, keys: Path) -> None:
    made = openssl(
        "-sign", "-binary", "-nodetach", "-outform", "DER", "-econtent_type", content_type,
        "-signer", str(keys / "certs/alice.pem"), "-inkey", str(keys / "keys/alice.key"), given=message(),
    )  # fmt: skip
    at = world.context()
    found = examine(x400.peel(x400.received(oids.ID_CT_CONTENT_INFO, made), [ALICE]), at)
    assert (found.verdict.structure, found.verdict.level) == ("S[originator](OC)", "originator_direct")
    assert found.message.spine()[-1].content_type == content_type


# --- Bouncy Castle and libcrypto ------------------------------------------------------------------------------------

# of each message the layers, as the judges call them, and the type of what each encloses
MESSAGES: dict[str, tuple[Callable[[], x400.Content], list[tuple[str, str]]]] = {
    "signed": (lambda: signed(TEXT), [("signedData", P22)]),
    "enveloped": (lambda: encrypted(TEXT), [("envelopedData", P22)]),
    "triple": (lambda: signed(encrypted(signed(TEXT))), [("signedData", oids.ID_ENVELOPED_DATA),
                                                         ("envelopedData", oids.ID_SIGNED_DATA), ("signedData", P22)]),
    "domain": (lambda: domain_signed(signed(TEXT)), [("signedData", oids.ID_SIGNED_DATA), ("signedData", P22)]),
    "null": (lambda: domain_signed(TEXT), [("signedData", oids.ID_SIGNED_DATA)]),
}  # fmt: skip
LAYERS = [(name, at) for name, (_, stated) in MESSAGES.items() for at in range(len(stated))]


@pytest.fixture(scope="module")
def seen(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, judges.Seen]]:
    """Each layer as the judges see it. They follow CMS into CMS only so far, so it gets MIME of its own."""
    judges.engines()
    octets = {}
    for name, (make, stated) in MESSAGES.items():
        spine = x400.peel(make(), [ALICE], [credential("acme-dca")]).spine()
        for at in range(len(stated)):
            octets[f"{name}-{at}"] = world.message(x400.to_mail(x400.content_of(spine[at])))
    return judges.judge(octets, keys, tmp_path_factory.mktemp("seen"))


@pytest.mark.parametrize("engine", ["openssl", "bouncycastle"])
@pytest.mark.parametrize(("name", "at"), LAYERS)
def test_others_verify_and_open_every_layer(
    seen: dict[str, dict[str, judges.Seen]], name: str, at: int, engine: str
) -> None:
    kind, content_type = MESSAGES[name][1][at]
    layer = seen[f"{name}-{at}"][engine]["layers"][0]
    assert (layer["type"], layer["valid"]) == (kind, True), layer
    if kind == "signedData":
        assert layer["econtent_type"] == content_type
        assert [(signer["signature_valid"], signer["chain"]) for signer in layer["signers"]] == [(True, "ok")]
    else:
        assert layer["decrypted_by"] == "acme-dca"


@pytest.mark.parametrize("engine", ["openssl", "bouncycastle"])
def test_others_see_what_is_signed(seen: dict[str, dict[str, judges.Seen]], engine: str) -> None:
    digest = hashlib.sha256(message()).hexdigest()
    for layer in (f"{name}-{at}" for name, at in LAYERS if MESSAGES[name][1][at] == ("signedData", P22)):
        assert seen[layer][engine]["layers"][0]["content_sha256"] == digest
