"""What S/MIME itself asks of layers and of what is sent with them (RFC 2634 1, RFC 8550, RFC 8551)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

import pki
import world
from commands import PLAIN, desk, private, public, run
from domsec import oids
from domsec.cms import content_info, signed_data
from domsec.errors import KeyUnusable
from domsec.mime import smime
from domsec.services import encrypt, layers, sign
from domsec.services.layers import Layer, peel, peel_entity
from domsec.services.sign import Signer
from domsec.services.signature_type import SignatureType
from domsec.stores.credentials import load_credential
from domsec.trust import issue
from world import acme, beta, build, judge

ALICE = acme().users["alice"]


def spine(entity: bytes, *keys: pki.Identity) -> Sequence[Layer]:
    return tuple(layers.spine(peel_entity(entity, [world.credential(key) for key in keys])))


# --- layers ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R2634-1.1.2-01", "R8551-2.4.1-01", "R2634-1.1-01")
@pytest.mark.parametrize("cipher", ["aes256-gcm", "aes256-cbc"])
def test_every_layer_of_a_triple_wrapped_message_is_mime_and_says_so(cipher: str) -> None:
    signer = Signer(world.credential(ALICE))
    inner = sign.opaque(world.TEXT, signer.signing(None), world.NOW)
    to = [beta().confidentiality.certificate]
    encrypted = encrypt.encrypt(inner, to, encrypt.Cipher(cipher))  # type: ignore[arg-type]
    outer = sign.opaque(encrypted, signer.signing(None), world.NOW)
    found = spine(outer, beta().confidentiality)
    assert [layer.kind[-9:] for layer in found] == ["signed", "enveloped", "signed", "content"]
    assert [layer.content_type for layer in found[:3]] == [oids.ID_DATA] * 3
    assert [bytes(layer.entity) for layer in found] == [outer, encrypted, inner, world.TEXT]


@pytest.mark.requirement("R2634-1.1.2-01", "R8551-2.4.1-01")
@pytest.mark.parametrize("signed_as", [t for t in SignatureType if t is not SignatureType.UNKNOWN])
def test_so_do_domain_review_and_other_signatures_and_the_empty_one(signed_as: SignatureType) -> None:
    signing = Signer(world.credential(acme().signing)).signing(signed_as)
    found = spine(sign.opaque(layers.null_layer(world.TEXT), signing, world.NOW))
    assert [(layer.kind, layer.content_type) for layer in found[:2]] == [
        ("signed", oids.ID_DATA),
        ("null", oids.ID_DATA),
    ]


@pytest.mark.requirement("R2634-1.1.2-01")
def test_mime_that_is_said_to_be_signed_data_is_not_read_as_either() -> None:
    signing = signed_data.Signing(world.credential(ALICE))
    made = signed_data.sign(world.entity("S(OC)"), oids.ID_SIGNED_DATA, [signing])
    verdict = judge(world.message(smime.pkcs7_mime(made, "signed-data")))
    assert [layer.kind for layer in verdict.layers] == ["signed", "unsupported"]
    assert not verdict.accepted
    assert world.codes(verdict, "violation") == {"cms.malformed"}


@pytest.mark.requirement("R2634-1.1.2-02")
def test_content_is_absent_where_it_stands_beside_and_present_where_it_does_not() -> None:
    signing = Signer(world.credential(ALICE)).signing(None)
    for entity, there in ((sign.clear(world.TEXT, signing, world.NOW), False),
                          (sign.opaque(world.TEXT, signing, world.NOW), True)):  # fmt: skip
        found = smime.recognise(entity)
        octets = found.signature_der if isinstance(found, smime.ClearSigned) else found.der  # type: ignore[union-attr]
        parsed = signed_data.parse_signed_data(content_info.parse(octets).content)
        assert (parsed.content is not None) is there
        assert isinstance(found, smime.Pkcs7) is there
        assert judge(world.message(entity)).level == "originator_direct"


@pytest.mark.requirement("R2634-1.2-01", "R2634-1.1.2-02")
@pytest.mark.parametrize(("outer", "inner"), list(itertools.product("~.", repeat=2)))
@pytest.mark.parametrize("between", ["", "E[beta]("])
def test_every_signature_may_be_in_the_clear_or_not(outer: str, inner: str, between: str) -> None:
    """Also where it was encrypted."""
    forms = {"~": "clear", ".": "opaque"}
    notation = f"S[domain]{outer}({between}S{inner}(OC)".replace(".", "") + ")" * (1 + bool(between))
    verdict = judge(build(notation), world.context(beta().confidentiality))
    signatures = [layer for layer in verdict.layers if layer.kind == "signed"]
    assert [layer.form for layer in signatures] == [forms[outer], forms[inner]]
    assert [layer.state for layer in signatures] == ["valid", "valid"]
    assert verdict.level == "originator_direct"


@pytest.mark.requirement("R2634-1.4-01", "R3183-3.1-01")
@pytest.mark.parametrize("around", [SignatureType.DOMAIN, SignatureType.REVIEW, SignatureType.ATTRIBUTES])
def test_a_signature_is_wrapped_and_never_added_to(around: SignatureType) -> None:
    """So nothing has to be copied from one SignerInfo to another, and nothing inside changes."""
    for notation in ("S(OC)", "S~(OC)", "S+mlh(S(OC))"):
        entity = world.entity(notation)
        made = sign.opaque(entity, Signer(world.credential(acme().signing)).signing(around), world.NOW)
        outer, inner, *_ = spine(made)
        assert outer.signed is not None
        assert len(outer.signed.signers) == 1
        assert bytes(inner.entity) == entity


@pytest.mark.requirement("R8551-3.2.2-02")
@pytest.mark.parametrize("said", [b"enveloped-data", b"certs-only", b"signed-receipt", b"nonsense", None])
@pytest.mark.parametrize("notation", ["S(OC)", "E[beta](S(OC))", "C(S(OC))", "S[domain](S0(OC))"])
def test_the_structure_decides_and_a_label_that_differs_is_flagged(said: bytes | None, notation: str) -> None:
    right = build(notation)
    head, _, rest = right.partition(b"smime-type=")
    true, _, rest = rest.partition(b"; ")
    wrong = head + (b"smime-type=" + said + b"; " if said is not None else b"") + rest
    at = world.context(beta().confidentiality)
    one, other = judge(right, at), judge(wrong, at)
    assert (one.structure, one.level, one.accepted) == (other.structure, other.level, other.accepted)
    assert world.codes(one) ^ world.codes(other) == ({"mime.smime_type"} if said not in (None, true) else set())


# --- what is sent with a signature ----------------------------------------------------------------------------------


@pytest.mark.requirement("R8550-2.3-02")
@pytest.mark.parametrize("form", [(), ("--clear",)])
def test_the_chain_is_sent_without_its_root(tmp_path: Path, form: tuple[str, ...]) -> None:
    files = desk(tmp_path)
    key = issue.new_key("p256")
    assert isinstance(key, issue.SigningKey)
    root = acme().ca
    between = issue.issue_ca("between", key, now=pki.START, days=pki.DAYS, issuer_cert=root.certificate,
                             issuer_key=root.signing_key)  # fmt: skip
    authority = pki.Identity(between, key)
    alice = pki.identity("user", "alice@acme.example", authority)
    dsa = pki.identity("signing", "acme.example", authority)
    for who, identity in (("alice", alice), ("dsa", dsa)):
        octets = private(identity.key) + b"".join(map(public, (root.certificate, identity.certificate, between)))
        files.key(who).write_bytes(octets)
    made = run("sign", *form, "--credential", files.key("alice"), *files.trust, stdin=PLAIN).out
    made = run("sign-domain", "--credential", files.key("dsa"), *files.trust, stdin=made).out
    outer, inner = [layer for layer in peel(made).spine() if layer.signed is not None]
    for layer, leaf in ((outer, dsa.certificate), (inner, alice.certificate)):
        assert layer.signed is not None
        assert set(layer.signed.certificates) == {leaf, between}
    assert run("verify", *files.trust, stdin=made).code == 0


# --- the examples of RFC 9216 ---------------------------------------------------------------------------------------

EXAMPLES = ("alice", "bob", "carlos", "dana")


@pytest.mark.shared
@pytest.mark.requirement("R9216-1-01")
@pytest.mark.parametrize("who", EXAMPLES)
def test_the_people_of_rfc_9216_sign_and_decrypt(shared: Path, who: str) -> None:
    """Two with RSA, whose keys say how their primes were made, two with Ed25519 and X25519."""
    folder = shared / "corpora" / "rfc9216"

    def load(purpose: str) -> world.Credential:
        return load_credential(folder / f"{who}.{purpose}.key.pem", certificates=[folder / f"{who}.{purpose}.crt.pem"])

    ca = [world.pem(path) for path in sorted(folder.glob("ca-*.crt.pem")) if "cross" not in path.name]
    signer, reader = load("sign"), load("encrypt")
    made = sign.opaque(world.TEXT, Signer(signer).signing(None), world.NOW)
    at = world.context(users=ca, now=world.NOW)
    verdict = judge(world.message(made, sender=f"{who}@smime.example"), at)
    assert (verdict.level, verdict.accepted) == ("originator_direct", True)
    for cipher in ("aes256-gcm", "aes128-cbc"):
        sealed = encrypt.encrypt(made, [reader.certificate], encrypt.Cipher(cipher))  # type: ignore[arg-type]
        opened = peel_entity(sealed, [reader]).opened
        assert opened is not None
        assert opened.plaintext == made


@pytest.mark.shared
@pytest.mark.requirement("R9216-1-01")
@pytest.mark.parametrize("who", EXAMPLES)
def test_so_do_their_pkcs_12_files_where_there_is_no_x25519_in_them(shared: Path, who: str) -> None:
    file = shared / "corpora" / "rfc9216" / f"{who}.p12"
    if who in ("carlos", "dana"):
        with pytest.raises(KeyUnusable, match="not read from PKCS#12, expected PEM"):
            load_credential(file, password=who.encode())
        return
    made = sign.opaque(world.TEXT, Signer(load_credential(file, password=who.encode())).signing(None), world.NOW)
    assert judge(world.message(made, sender=f"{who}@smime.example")).layers[0].address == "match"
