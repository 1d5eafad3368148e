"""Messages that domsec makes, judged by OpenSSL and by Bouncy Castle, each with its own code for everything."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import agents
import judges
import pki
import world
from domsec.ess.labels import ESSSecurityLabel
from domsec.mime import smime
from domsec.mime.addresses import Mailbox
from domsec.services import encapsulate, encrypt, layers, receipts, sign
from domsec.services.encapsulate import Additions
from domsec.services.encrypt import Cipher
from domsec.services.peer import Peer
from domsec.services.sign import Signer
from domsec.services.signature_type import SignatureType
from domsec.trust.issue import KeyKind
from spec import test_oracle as kit
from world import acme, beta

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("judges"), pytest.mark.timeout(300)]

UMLAUTS = "Content-Type: text/plain; charset=utf-8\r\n\r\nHäuser\r\n".encode()
DOMAIN_TYPE = "1.2.840.113549.1.9.16.9.2"


@functools.cache
def readers() -> dict[str, pki.Identity]:
    """An authority of beta for each kind of key."""
    kinds: dict[str, KeyKind] = {"rsa": "rsa2048", "p256": "p256", "p384": "p384", "x25519": "x25519"}
    return {name: pki.identity("confidentiality", "beta.example", beta().ca, kind) for name, kind in kinds.items()}


@functools.cache
def signers() -> dict[str, pki.Identity]:
    """A signing authority of acme for each kind of key."""
    kinds: dict[str, KeyKind] = {"rsa2048": "rsa2048", "rsa3072": "rsa3072", "p256": "p256", "p384": "p384",
                                 "ed25519": "ed25519"}  # fmt: skip
    return {name: pki.identity("signing", "acme.example", acme().ca, kind) for name, kind in kinds.items()}


def _sealed(inside: bytes, reader: str, cipher: Cipher) -> bytes:
    chain = (acme().confidentiality.certificate,)
    return world.message(encrypt.encrypt(inside, [readers()[reader].certificate], cipher, originator=chain))


def _by(kind: str, *, pss: bool = False) -> bytes:
    identity = signers()[kind]
    algorithm = sign.default_signature_algorithm(identity.certificate.public_key, pss=pss)
    signer = Signer(world.credential(identity), algorithm, acme().confidentiality.certificate)
    examination = world.look(world.build("OC"))
    plan = sign.plan(examination.message.spine(), encrypt=False)
    return world.message(sign.apply(plan, examination.message.header, signer, world.NOW))


def _gateway(notation: str, **outbound: Any) -> bytes:
    return world.only(world.send(world.build(notation), at=world.acme_site(outbound=outbound)))


def _expanded(reader: str, cipher: str) -> bytes:
    """A message to a mail list, as it goes to a member: the ciphertext is that of who wrote to the list."""
    known = (readers()[reader].certificate,)
    at = agents.context(world.mail_list("staff"), known=known)
    received = world.build("S(E[staff](S[domain](S(OC))))", cipher=cipher)
    return agents.only(agents.expand(received, members=["bob@beta.example"], at=at, target="dca"))


def _reviewed(octets: bytes) -> bytes:
    at = world.context(beta().confidentiality)
    signer = Signer(world.credential(acme().review))
    return world.message(encapsulate.review(world.look(octets, at), signer, at).entity)


def _by_two(notation: str) -> bytes:
    """Two authorities sign beside each other."""
    first, second = (world.credential(signers()[kind]) for kind in ("rsa2048", "p256"))
    examination = world.look(world.build(notation))
    plan = sign.plan(examination.message.spine(), encrypt=False)
    return world.message(sign.apply(plan, examination.message.header, Signer(first, beside=(second,)), world.NOW))


def _from_below() -> bytes:
    """A message of somebody whose domain is below that of our authority."""
    carol = pki.identity("user", "carol@eng.acme.example", acme().ca, name="Carol")
    own = world.message(world.signed(world.TEXT, carol), sender="Carol <carol@eng.acme.example>")
    return world.only(world.send(own, sender="carol@eng.acme.example", at=world.acme_site(outbound={"encrypt": "no"})))


def _asking_for_a_receipt() -> bytes:
    alice = acme().users["alice"]
    asked = receipts.request(b"one of a kind", "all", [Mailbox("alice", "acme.example")])
    own = world.message(world.signed(world.TEXT, alice, extra=(asked,)))
    return world.only(world.send(own, at=world.acme_site(outbound={"encrypt": "no"})))


def _with_labels(octets: bytes) -> bytes:
    additions = Additions(ESSSecurityLabel("1.2.3", 4), (ESSSecurityLabel("1.2.4", 2),))
    signer = Signer(world.credential(acme().attributes))
    return world.message(encapsulate.add_attributes(world.look(octets), additions, signer, world.context()).entity)


@functools.cache
def messages() -> dict[str, bytes]:
    inside = world.entity("S[domain](S(OC))")
    alice = Signer(world.credential(acme().users["alice"]))
    clear = sign.clear(world.TEXT, alice.signing(None), world.NOW)
    made = {
        "originator opaque": world.message(sign.opaque(world.TEXT, alice.signing(None), world.NOW)),
        "originator clear": world.message(clear),
        "originator clear 8bit": world.message(
            sign.clear(
                "Content-Type: text/plain; charset=utf-8\r\n\r\nHäuser\r\n".encode(), alice.signing(None), world.NOW
            )
        ),
        "null": world.message(world.entity("S0(OC)")),
        "domain over null": _gateway("OC", encrypt="no"),
        "domain over null bare": _gateway("OC", encrypt="no", protect_headers=False),
        "domain over opaque": _gateway("S(OC)", encrypt="no"),
        "domain over clear": _gateway("S~(OC)", encrypt="no"),
        "domain over review": _gateway("S[review](S(OC))", encrypt="no"),
        "list": _gateway("S+mlh(S(OC))", encrypt="no"),
        "list encrypted": _gateway("S+mlh(E(S(OC)))"),
        "gateway": _gateway("S~(OC)"),
        "gateway null": _gateway("OC"),
        "id-sti": world.only(
            world.send(
                world.build("OC"), at=world.acme_site(peers=[Peer("beta.example", sigtype_oid="id-sti", encrypt="no")])
            )
        ),
        "compressed inside": _gateway("C(S(OC))", encrypt="no"),
        "review": _reviewed(world.build("S~(OC)")),
        "review over null": _reviewed(world.build("OC")),
        "review over encryption": _reviewed(world.build("E[beta](S(OC))")),
        "attributes": _with_labels(world.build("S(OC)")),
        "attributes over review": _with_labels(_reviewed(world.build("S(OC)"))),
        "chain": world.only(
            world.send(_reviewed(_with_labels(world.build("S(OC)"))), at=world.acme_site(outbound={"encrypt": "no"}))
        ),
        "domain by two": _by_two("S(OC)"),
        "domain over subdomain": _from_below(),
        "receipt request": _asking_for_a_receipt(),
        "originator typed": world.message(sign.opaque(world.TEXT, alice.signing(SignatureType.ORIGINATOR), world.NOW)),
    }
    for kind in signers():
        made[f"signed {kind}"] = _by(kind)
    made["signed rsa2048 pss"] = _by("rsa2048", pss=True)
    for reader in readers():
        for content in ("aes256-gcm", "aes128-gcm", "aes256-cbc", "aes128-cbc"):
            for padding in ("oaep", "pkcs1v15") if reader == "rsa" else ("oaep",):
                cipher = Cipher(content, padding)  # type: ignore[arg-type]
                made[f"encrypted {reader} {content} {padding}"] = _sealed(inside, reader, cipher)
    for reader in ("rsa", "p256", "p384"):
        for content in ("aes256-gcm", "aes128-cbc"):
            made[f"expanded {reader} {content}"] = _expanded(reader, content)
    both = [readers()["rsa"].certificate, readers()["p256"].certificate]
    made["encrypted to two"] = world.message(encrypt.encrypt(inside, both))
    bob, dca, own = beta().users["bob"].certificate, beta().confidentiality.certificate, acme().confidentiality
    for_people = Cipher("aes256-cbc", "pkcs1v15")
    made["encrypted to both"] = world.message(encrypt.encrypt(inside, [dca, bob], for_people))
    made["encrypted to a person"] = world.message(encrypt.encrypt(inside, [bob], for_people))
    made["person to authority"] = world.message(encrypt.encrypt(world.entity("S(OC)"), [dca]))
    made["person to person and own"] = world.message(encrypt.encrypt(world.entity("S(OC)"), [own.certificate, bob]))
    return {name.replace(" ", "_"): octets for name, octets in made.items()}


NAMES = [
    "originator_opaque", "originator_clear", "originator_clear_8bit", "null", "domain_over_null",
    "domain_over_null_bare", "domain_over_opaque", "domain_over_clear", "domain_over_review", "list",
    "list_encrypted", "gateway", "gateway_null", "id-sti", "compressed_inside", "review", "review_over_null",
    "review_over_encryption", "attributes", "attributes_over_review",
    *(f"signed_{kind}" for kind in ("rsa2048", "rsa3072", "p256", "p384", "ed25519")), "signed_rsa2048_pss",
    *(f"encrypted_{reader}_{content}_{padding}"
      for reader in ("rsa", "p256", "p384", "x25519")
      for content in ("aes256-gcm", "aes128-gcm", "aes256-cbc", "aes128-cbc")
      for padding in (("oaep", "pkcs1v15") if reader == "rsa" else ("oaep",))),
    *(f"expanded_{reader}_{content}" for reader in ("rsa", "p256", "p384") for content in ("aes256-gcm", "aes128-cbc")),
    "encrypted_to_two", "encrypted_to_both", "encrypted_to_a_person", "person_to_authority", "person_to_person_and_own",
    "chain", "domain_by_two", "domain_over_subdomain", "receipt_request", "originator_typed",
]  # fmt: skip
# OpenSSL 3.0 has neither Ed25519 nor X25519 in CMS; the X25519 that was put together for Bouncy Castle knows CBC only
CANNOT = {
    "openssl": ("signed_ed25519", "encrypted_x25519"),
    "bouncycastle": ("encrypted_x25519_aes256-gcm", "encrypted_x25519_aes128-gcm"),
}
JUDGED = [(name, engine) for engine, cannot in CANNOT.items() for name in NAMES if not name.startswith(cannot)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, judges.Seen]]:
    judges.engines()
    folder = tmp_path_factory.mktemp("judges")
    known = {f"beta-dca-{name}": identity for name, identity in readers().items()}
    known |= {f"acme-dsa-{name}": identity for name, identity in signers().items()}
    known |= {"alice": acme().users["alice"], "acme-dsa": acme().signing, "beta-dca": beta().confidentiality}
    known |= {"beta-bob": beta().users["bob"]}
    keys = judges.write_keys(folder / "pki", known, pki.world().cas)
    return judges.judge(messages(), keys, folder)


def test_every_message_is_judged() -> None:
    assert sorted(messages()) == sorted(NAMES)


@pytest.mark.requirement(
    "R3183-2.1-02", "R3183-2.4-01", "R3183-3.1.2-06", "R3183-3-05", "R3183-4.2-02", "R3183-4-10", "R8551-2.2-02",
    "R2634-4.2.3.1-01", "R2634-1.3.3-01",
)  # fmt: skip
@pytest.mark.parametrize(("name", "engine"), JUDGED)
def test_others_see_what_we_meant(seen: dict[str, dict[str, judges.Seen]], name: str, engine: str) -> None:
    found = seen[name][engine]
    assert not found.get("error"), found
    ours = world.look(messages()[name], _everything())
    spine = [layer for layer in ours.message.spine() if layer.kind not in ("content", "compressed")]
    theirs = [layer for layer in found["layers"] if layer["type"] != "content"]
    if name == "compressed_inside":
        assert [layer["type"] for layer in theirs[:2]] == ["signedData", "signedData"]
        return
    kinds = {"signed": "signedData", "null": "signedData", "enveloped": "envelopedData"}
    assert [layer["type"] for layer in theirs] == [kinds.get(layer.kind, "authEnvelopedData") for layer in spine]
    for layer, finding in zip(theirs, [f for f in ours.findings if f.layer in spine], strict=True):
        if finding.layer.encrypted:
            assert layer["valid"]
            assert layer["decrypted_by"].startswith("beta-")
            continue
        assert len(layer["signers"]) == len(finding.signers)
        for signer, mine in zip(layer["signers"], finding.signers, strict=True):
            assert signer["signature_valid"]
            assert signer["chain"] == "ok"
            assert set(signer["signature_types"]) == set(mine.reading.oids)
            assert {a.lower() for a in signer["emails"]} == set(mine.verdict.addresses)


def _everything() -> Any:
    known = [*readers().values(), beta().confidentiality, beta().users["bob"]]
    return world.context(*known)


# of the kit's messages that conform: the one of ours that has the same shape
SHAPES = {
    "g01-orig-detached": "originator_clear",
    "g02-orig-opaque": "originator_opaque",
    "g03-orig-typed": "originator_typed",
    "g04-orig-nss": "originator_opaque",
    "g05-dom-opaque-opaque": "domain_over_opaque",
    "g06-dom-opaque-detached": "domain_over_clear",
    "g09-dom-ossl-over-nss": "domain_over_opaque",
    "g10-dom-s0-bc-over-ossl": "domain_over_null",
    "g11-dom-s0-ossl-over-bc": "domain_over_null_bare",
    "g15-dom-ecdsa": "domain_over_opaque",
    "g19-dom-subdomain": "domain_over_subdomain",
    "g23-addattr": "attributes",
    "g24-review": "review",
    "g25-chain": "chain",
    "g26-review-s0": "review_over_null",
    "g27-two-signers": "domain_by_two",
    "g30-receipt-request": "receipt_request",
    "g40-enc-rsa": "encrypted_rsa_aes256-cbc_pkcs1v15",
    "g41-enc-oaep": "encrypted_rsa_aes256-cbc_oaep",
    "g42-enc-ecdh": "encrypted_p256_aes128-cbc_oaep",
    "g44-enc-x25519": "encrypted_x25519_aes128-cbc_oaep",
    "g45-enc-oaep-bc": "encrypted_rsa_aes256-cbc_oaep",
    "g46-authenc-bc": "encrypted_rsa_aes256-gcm_pkcs1v15",
    "g47-authenc-openssl": "encrypted_rsa_aes128-gcm_pkcs1v15",
    "g49-enc-two": "encrypted_to_both",
    "g52-case-b": "person_to_authority",
    "g53-case-c": "encrypted_to_a_person",
    "g54-own-dca": "person_to_person_and_own",
    "g56-ml-triple": "expanded_rsa_aes128-cbc",
}
# and those that we do not make, why
NOT_MADE = {
    "g07-dom-detached-detached": "our domain signature over another is opaque (A-12)",
    "g08-dom-detached-opaque": "the same",
    "g12-dom-s0-detached-outer": "the same",
    "g13-dom-s0-ber": "we write DER",
    "g14-dom-inner-untrusted": "the gate does not open for a signature that we cannot verify (3.2)",
    "g16-dom-pss": "over an empty signature we do: signed_rsa2048_pss",
    "g17-dom-ed25519": "over an empty signature we do: signed_ed25519",
    "g21-dom-rfc2247": "our CA writes the address into the certificate",
    "g31-legacy-type": "the media type of 1998",
    "g48-enc-3des-nss": "a cipher of old",
    "g55-triple": "what has an encryption inside is encrypted again (section 5)",
    "b74-sender-differs": "g05 under another Sender",
}
TYPES = {"1": "originatorSig", "2": "domainSig", "3": "addAttribSig", "4": "reviewSig"}


def test_every_message_of_the_kit_that_conforms_has_one_of_ours_or_a_reason() -> None:
    assert sorted([*SHAPES, *NOT_MADE]) == sorted(n for n, m in kit.expected().items() if m["verdict"] == "ok")


@pytest.mark.requirement("R3183-3-04", "R3183-4-03", "R3183-4-04")
@pytest.mark.parametrize("name", SHAPES)
def test_others_see_in_ours_what_the_kit_expects_of_its_own(seen: dict[str, dict[str, judges.Seen]], name: str) -> None:
    ours, expected = SHAPES[name], kit.expected()[name]
    for engine in [engine for engine, cannot in CANNOT.items() if not ours.startswith(cannot)]:
        layers = [layer for layer in seen[ours][engine]["layers"] if layer["type"] != "content"]
        assert [_shape(layer) for layer in layers] == [
            (layer["type"], set(layer.get("types", ())), _count(layer.get("signer"))) for layer in expected["layers"]
        ]


def _shape(layer: judges.Seen) -> tuple[str, set[str], int]:
    """What the kit says of a layer, from what an engine sees of it: kind, types, how many sign."""
    if layer["type"] != "signedData":
        return "enveloped", set(), 0
    oids = {oid for signer in layer["signers"] for oid in signer["signature_types"]}
    return "signed", {TYPES[oid.rpartition(".")[2]] for oid in oids}, len(layer["signers"])


def _count(signer: str | list[str] | None) -> int:
    return len(signer) if isinstance(signer, list) else int(signer is not None)


@pytest.mark.parametrize("name", SHAPES)
def test_we_judge_ours_as_those_of_the_kit(name: str) -> None:
    (accepted, level, structure) = next(line[1:4] for line in kit.TABLE if line[0] == name)
    found = world.judge(messages()[SHAPES[name]], _everything())
    assert (found.accepted, found.level, found.structure) == (accepted, level, structure)
    assert not found.violations


@pytest.mark.requirement("R3183-3.1.2-02")
@pytest.mark.parametrize(("name", "oid"), [("domain_over_null", "1.2.840.113549.1.9.16.2.28"),
                                           ("id-sti", "1.2.840.113549.1.9.16.9")])  # fmt: skip
def test_the_type_stands_where_others_look_for_it(seen: dict[str, dict[str, judges.Seen]], name: str, oid: str) -> None:
    for engine in ("openssl", "bouncycastle"):
        (signer,) = seen[name][engine]["layers"][0]["signers"]
        assert signer["signature_types"] == [DOMAIN_TYPE]
        assert oid in str(signer["signature_type_attrs"])
        assert not signer["unsigned_signature_type_attrs"]


def test_the_judges_notice_what_is_wrong(tmp_path: Path) -> None:
    """That they are judges at all."""
    judges.engines()
    keys = judges.write_keys(tmp_path / "pki", {"alice": acme().users["alice"]}, pki.world().cas)
    good = messages()["originator_clear"]
    found = judges.judge({"good": good, "bad": good.replace(b"dawn", b"dusk")}, keys, tmp_path)
    for engine in ("openssl", "bouncycastle"):
        for name, valid in (("good", True), ("bad", False)):
            assert found[name][engine]["layers"][0]["signers"][0]["signature_valid"] is valid


# --- the openssl command alone --------------------------------------------------------------------------------------

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def _openssl(*arguments: str, given: bytes) -> bytes:
    done = subprocess.run(["openssl", "cms", *arguments], input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@openssl
@pytest.mark.requirement("R3183-3.1.2-06", "R3183-3-08")
@pytest.mark.parametrize("notation", ["S(OC)", "S~(OC)", "OC"])
def test_openssl_verifies_layer_after_layer(notation: str, tmp_path: Path) -> None:
    keys = judges.write_keys(tmp_path, {}, pki.world().cas)
    bundle = tmp_path / "cas.pem"
    bundle.write_bytes(b"".join(path.read_bytes() for path in sorted((keys / "trust").iterdir())))
    at = str(int(world.NOW.timestamp()))
    entity = _gateway(notation, encrypt="no")
    arguments = ("-verify", "-CAfile", str(bundle), "-purpose", "any", "-attime", at)
    inner = _openssl(*arguments, given=entity)
    assert layers.peel_entity(inner).kind == ("null" if notation == "OC" else "signed")
    if notation != "OC":
        assert world.SECRET in _openssl(*arguments, given=inner)


@openssl
@pytest.mark.requirement("R3183-4-07", "R3183-4.2-02")
@pytest.mark.parametrize(
    "name",
    [n for n in NAMES if n.startswith(("encrypted_rsa", "encrypted_p", "encrypted_to_two"))],
)
def test_openssl_decrypts(name: str, tmp_path: Path) -> None:
    reader = name.split("_")[1].replace("to", "rsa")
    keys = judges.write_keys(tmp_path, {"reader": readers()[reader]}, [])
    plain = _openssl(
        "-decrypt", "-recip", str(keys / "certs/reader.pem"), "-inkey", str(keys / "keys/reader.key"),
        given=messages()[name],
    )  # fmt: skip
    assert plain == layers.peel_entity(plain).entity
    assert world.judge(world.message(plain), _everything()).structure == "S[domain](S[originator](OC))"


@openssl
@pytest.mark.requirement("R3183-4-07", "R3183-3.1-06")
@pytest.mark.parametrize("cipher", ["-aes-256-cbc", "-aes-128-cbc", "-aes-256-gcm", "-aes-128-gcm"])
@pytest.mark.parametrize("reader", ["rsa", "p256"])
def test_what_openssl_encrypts_is_opened(cipher: str, reader: str, tmp_path: Path) -> None:
    keys = judges.write_keys(tmp_path, {"reader": readers()[reader]}, [])
    inside = world.entity("S[domain](S(OC))")
    made = _openssl("-encrypt", cipher, "-binary", str(keys / "certs/reader.pem"), given=inside)
    verdict = world.judge(b"From: alice@acme.example\r\nTo: bob@beta.example\r\n" + made, _everything())
    assert verdict.structure == "E(S[domain](S[originator](OC)))"
    assert verdict.accepted


@openssl
@pytest.mark.requirement("R3183-3.1-06", "R8551-3.5-01")
@pytest.mark.parametrize("options", [(), ("-nodetach",), ("-nodetach", "-keyid"), ("-md", "sha512"),
                                     ("-nodetach", "-stream", "-indef")])  # fmt: skip
def test_what_openssl_signs_is_verified(options: tuple[str, ...], tmp_path: Path) -> None:
    keys = judges.write_keys(tmp_path, {"alice": acme().users["alice"]}, [])
    signer = ("-signer", str(keys / "certs/alice.pem"), "-inkey", str(keys / "keys/alice.key"))
    made = _openssl("-sign", *signer, "-crlfeol", *options, given=world.TEXT)
    verdict = world.judge(b"From: alice@acme.example\r\nTo: bob@beta.example\r\n" + made)
    assert (verdict.structure, verdict.level) == ("S[originator](OC)", "originator_direct")


def test_the_empty_signature_is_octet_by_octet_that_of_the_judges(tmp_path: Path) -> None:
    built = judges.engines() / "build"
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(world.TEXT)
    subprocess.run([str(built / "ossl"), "s0", str(source), str(target)], check=True, timeout=60)
    found = smime.recognise(layers.null_layer(world.TEXT))
    assert isinstance(found, smime.Pkcs7)
    assert bytes(found.der) == target.read_bytes()
