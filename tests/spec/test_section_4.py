"""RFC 3183 4: domain encryption and decryption, its four cases, its names, and finding certificates."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest

import commands
import names as made
import pki
import world
from commands import PLAIN, Desk, run
from domsec.errors import CertificateNotFound
from domsec.mime import fields, smime
from domsec.mime.addresses import parse_address
from domsec.services import encrypt, layers
from domsec.services.context import Context
from domsec.services.encrypt import Cipher, Located, Target
from domsec.services.peer import MAPPING_FORMS, Naming, Peer
from domsec.trust import issue
from domsec.trust.issue import KeyKind
from world import acme, beta, build, judge, only

BOB = parse_address("bob@beta.example")


def located(*known: pki.Identity, target: Target = "auto", whom: str = "bob@beta.example", **more: object) -> Located:
    at = world.context(known=[i.certificate for i in known], **more)  # type: ignore[arg-type]
    return encrypt.locate(parse_address(whom), target, at)


def reasons(*known: pki.Identity, target: Target = "dca", whom: str = "bob@beta.example", **more: object) -> str:
    """The trace of a search without success."""
    with pytest.raises(CertificateNotFound) as caught:
        located(*known, target=target, whom=whom, **more)
    return "\n".join(caught.value.trace)


# --- the four cases -------------------------------------------------------------------------------------------------

CASES = {
    "a": ("S(OC)", "bob", "R3183-4-05"),
    "b": ("S(OC)", "beta", "R3183-4-03"),
    "c": ("S[domain](S(OC))", "bob", "R3183-4-04"),
    "d": ("S[domain](S(OC))", "beta", "R3183-4-07"),
}


@pytest.mark.parametrize(
    ("inside", "reader"),
    [pytest.param(*case[:2], id=name, marks=pytest.mark.requirement(case[2])) for name, case in CASES.items()],
)
@pytest.mark.requirement("R3183-4-01", "R3183-4.3-01", "R3183-4.3-02", "R3183-4-09", "R3183-1-01")
def test_cases(inside: str, reader: str) -> None:
    """Originator or domain encrypts, recipient or domain decrypts: opened by whom it is for, and by nobody else."""
    octets = build(f"E[{reader}]({inside})")
    key = beta().users["bob"] if reader == "bob" else beta().confidentiality
    verdict = judge(octets, world.context(key))
    assert verdict.accepted
    assert verdict.decrypted
    assert verdict.structure == f"E({inside.replace('S(OC', 'S[originator](OC')})"
    for other in (acme().confidentiality, beta().users["alice"], acme().users["bob"]):
        closed = judge(octets, world.context(other))
        assert (closed.structure, closed.decrypted, closed.accepted) == ("E", False, False)


@pytest.mark.requirement("R3183-4-06", "R3183-4-08", "R3183-4.2-02", "R3183-6-05", "R3183-2.4-01")
@pytest.mark.parametrize("target", ["dca", "recipient", "both"])
def test_our_authority_encrypts_for_the_recipient_and_for_the_domain(target: str) -> None:
    """Cases (c) and (d): the domain signature lies inside."""
    known = (beta().confidentiality.certificate, beta().users["bob"].certificate)
    at = world.acme_site(known=known, outbound={"encrypt": target})
    out = only(world.send(build("S(OC)"), at=at))
    readers = {"dca": [beta().confidentiality], "recipient": [beta().users["bob"]]}
    able = readers.get(target, [*readers["dca"], *readers["recipient"]])
    for key in (beta().confidentiality, beta().users["bob"], acme().confidentiality):
        structure = judge(out, world.context(key)).structure
        assert structure == ("E(S[domain](S[originator](OC)))" if key in able else "E")
    assert world.SECRET not in out


@pytest.mark.requirement("R3183-4-07", "R3183-4-09", "R3183-4.3-02")
@pytest.mark.parametrize("inside", ["S(OC)", "S[domain](S(OC))", "S[domain](S0(OC))"])
def test_our_authority_decrypts_for_our_users(inside: str) -> None:
    """Cases (b) and (d) on reception."""
    decision = world.receive(build(f"E[beta]({inside})"))
    assert decision.log["accepted"] is True
    assert world.look(only(decision), world.context()).message.root.kind != "auth_enveloped"


@pytest.mark.requirement("R3183-4-02")
def test_a_copy_for_our_own_authority_is_by_configuration_only() -> None:
    for audit, opened in (("none", False), ("own", True)):
        out = only(world.send(build("S(OC)"), at=world.acme_site(outbound={"audit_dca": audit})))
        assert judge(out, world.context(acme().confidentiality)).decrypted is opened
        assert judge(out, world.context(beta().confidentiality)).decrypted


# --- the four cases, each end with what is really there: a person with commands, an authority with a gateway ---------


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return commands.desk(tmp_path_factory.mktemp("desk"))


def by_alice(desk: Desk, target: Target) -> bytes:
    """Alice signs and encrypts with her own client."""
    signed = run("sign", "--clear", "--credential", desk.key("acme-alice"), stdin=PLAIN)
    options = ("--to", "bob@beta.example", "--target", target, "--cert", desk.certificates, *desk.trust)
    made = run("encrypt", *options, stdin=signed.out)
    assert (signed.code, made.code) == (0, 0), made.err
    assert b"it is signed" not in made.out
    return made.out


def read_by_bob(desk: Desk, octets: bytes) -> tuple[str, str]:
    """Level and structure as Bob's own client sees them once it has opened the message."""
    opened = run("decrypt", "--credential", desk.key("beta-bob"), stdin=octets)
    assert opened.code == 0, opened.err
    assert opened.out.partition(b"\r\n\r\n")[0].startswith(octets[: octets.index(b"MIME-Version")])
    judged = run("verify", "--json", *desk.trust, stdin=opened.out)
    assert judged.code == 0
    return judged.json["level"], judged.json["structure"]


def results(octets: bytes) -> str:
    return octets[: octets.index(b"\r\nFrom:")].decode()


@pytest.mark.requirement("R3183-4-05", "R3183-1-01")
def test_case_a_a_person_encrypts_and_a_person_decrypts(desk: Desk) -> None:
    """Both gateways hand it through as it is: it is not for them."""
    made = by_alice(desk, "recipient")
    arrived = only(world.receive(made))
    assert arrived.endswith(made)
    assert "smime=none" in results(arrived)
    assert read_by_bob(desk, made) == ("originator_direct", "S[originator](OC)")


@pytest.mark.requirement("R3183-4-03", "R3183-4-09", "R3183-4.3-01", "R3183-1-01")
def test_case_b_a_person_encrypts_and_the_domain_decrypts(desk: Desk) -> None:
    arrived = only(world.receive(by_alice(desk, "dca")))
    assert "smime=pass" in results(arrived)
    verdict = judge(arrived, world.context())
    assert (verdict.structure, verdict.level) == ("S[originator](OC)", "originator_direct")
    assert b"it is signed" in arrived  # in the clear, so that every mail program reads it


@pytest.mark.requirement("R3183-4-04", "R3183-4-06", "R3183-4-08", "R3183-1-01")
def test_case_c_the_domain_encrypts_and_a_person_decrypts(desk: Desk) -> None:
    """Who encrypted is not who wrote it, and a client does not mind (decisions A-42)."""
    at = world.acme_site(known=[beta().users["bob"].certificate], outbound={"encrypt": "recipient"})
    made = only(world.send(PLAIN, at=at))
    assert only(world.receive(made)).endswith(made)
    assert read_by_bob(desk, made) == ("domain", "S[domain](S0(OC))")
    named = run("show", "--json", "--credential", desk.key("beta-bob"), stdin=made).json["layers"][0]["encryption"]
    assert f"CN={DCA}" in named["originator"]


@pytest.mark.requirement("R3183-4-07", "R3183-4-06", "R3183-4-08", "R3183-4-09", "R3183-1-01")
def test_case_d_the_domain_encrypts_and_the_domain_decrypts() -> None:
    made = only(world.send(PLAIN))
    assert b"it is signed" not in made
    arrived = only(world.receive(made))
    assert "smime=pass" in results(arrived)
    assert "domsec=domain" in results(arrived)
    assert judge(arrived, world.context()).structure == "OC"


@pytest.mark.requirement("R3183-4-08", "R3183-4-02", "R3183-4.2-02")
@pytest.mark.parametrize("notation", ["OC", "S(OC)", "S+mlh(E(S(OC)))", "E(S(OC))", "S+mlh(S(OC))", "S(E(S(OC)))"])
def test_whatever_way_section_5_takes_our_authority_says_that_it_encrypted(notation: str) -> None:
    """And what it says is what a receiver checks: the naming rule, and the mapping against From (A-36)."""
    out = only(world.send(build(notation)))
    examination = world.look(out, world.context(beta().confidentiality))
    sealed = next(f for f in examination.findings if f.layer.encrypted)
    assert sealed.layer.enveloped is not None
    assert acme().confidentiality.certificate in sealed.layer.enveloped.originator_certificates
    assert not {"enc_agent.unknown", "enc_agent.mapping"} & world.codes(examination.verdict)
    silent = only(world.send(build(notation), at=world.acme_site(outbound={"originator_info": False})))
    assert "enc_agent.unknown" in world.codes(judge(silent, world.context(beta().confidentiality)), "info")


@pytest.mark.requirement("R3183-4-02", "R3183-4.2-02")
def test_recipients_in_several_domains_get_what_their_own_domain_reads() -> None:
    """One message for each domain; nobody learns from a RecipientInfo who else got one (A-35)."""
    gamma = pki.domain("gamma.example", ("carol",))
    known = [beta().confidentiality.certificate, beta().users["bob"].certificate, gamma.confidentiality.certificate]
    at = world.acme_site(known=known, anchors=[*pki.world().cas, gamma.ca.certificate], peers=())
    to = "bob@beta.example, carol@gamma.example, dora@gamma.example"
    decision = world.send(build("S(OC)", to=to), "bob@beta.example", "carol@gamma.example", "dora@gamma.example", at=at)
    assert [out.indexes for out in decision.outgoing] == [(0,), (1, 2)]
    for out, reader in zip(decision.outgoing, (beta().confidentiality, gamma.confidentiality), strict=True):
        anchored = world.context(reader, roles=[*pki.world().cas, gamma.ca.certificate])
        examination = world.look(out.octets, anchored)
        assert examination.verdict.structure == "E(S[domain](S[originator](OC)))"
        assert examination.message.root.enveloped is not None
        assert len(examination.message.root.enveloped.recipients) == 1


@pytest.mark.requirement("R3183-4-02")
def test_a_blind_recipient_is_alone_even_at_the_same_domain() -> None:
    decision = world.send(build("OC", to="bob@beta.example"), "bob@beta.example", "eve@beta.example")
    assert sorted(out.indexes for out in decision.outgoing) == [(0,), (1,)]
    assert all(world.SECRET not in out.octets for out in decision.outgoing)


# --- encryption to the end recipient after the authority has opened the message (case (c), decisions A-55) -----------

FOR_USERS = {"after_decrypt": "user"}
CAROL = "carol@beta.example"


def receiving(*known: pki.Identity, **inbound: object) -> world.Site:
    certificates = [beta().users["bob"].certificate, *(i.certificate for i in known)]
    return world.beta_site(known=certificates, inbound={**FOR_USERS, **inbound})


@pytest.mark.requirement("R3183-4-04", "R3183-4.2-02", "R3183-6-07")
@pytest.mark.parametrize(
    ("notation", "strip", "inside"),
    [
        ("E[beta](S[domain](S(OC)))", "verified", "S[originator](OC)"),
        ("E[beta](S[domain](S0(OC)))", "verified", "OC"),
        ("E[beta](S[domain](S(OC)))", "none", "S[domain](S[originator](OC))"),
        ("E[beta](S[review](S[domain](S(OC))))", "domain", "S[review](S[domain](S[originator](OC)))"),
        ("E[beta](S[domain](S[review](S(OC))))", "domain", "S[review](S[originator](OC))"),
        ("E[beta](S(OC))", "verified", "S[originator](OC)"),
    ],
)
def test_what_was_opened_is_encrypted_to_the_recipient(notation: str, strip: str, inside: str) -> None:
    """Checked by the authority, read by nobody but the recipient, in a form that mail programs open (A-62)."""
    got = only(world.receive(build(notation), at=receiving(strip=strip)))
    assert "smime=pass" in results(got)
    assert world.SECRET not in got
    assert judge(got, world.context(beta().confidentiality)).structure == "E"
    examination = world.look(got, world.context(beta().users["bob"]))
    assert examination.verdict.structure == f"E({inside})"
    root = examination.message.root
    assert root.enveloped is not None
    assert root.kind == "enveloped"  # AES-CBC
    assert root.enveloped.originator_certificates == ()  # our authority does not stand for who sent it


@pytest.mark.requirement("R3183-6-06")
@pytest.mark.parametrize("wanted", ["deliver", "user"])
def test_plain_text_leaves_towards_our_own_domains_only(wanted: str) -> None:
    """The authority opens for whom it serves; another domain's user gets what came, as it came."""
    octets = build("E[beta+acme](S[domain](S~(OC)))")
    decision = world.receive(octets, "bob@beta.example", "dave@gamma.example", at=receiving(after_decrypt=wanted))
    ours, theirs = sorted(decision.outgoing, key=lambda out: out.indexes)
    assert (world.SECRET in ours.octets) is (wanted == "deliver")
    assert (ours.indexes, theirs.indexes) == ((0,), (1,))
    assert bytes(theirs.octets).endswith(octets.partition(b"MIME-Version")[2])


@pytest.mark.requirement("R3183-4-01")
def test_one_authority_opens_for_everybody_of_its_domain_and_for_nobody_else() -> None:
    octets = build("E[beta](S[domain](S~(OC)))")
    everybody = ("bob@beta.example", "carol@beta.example", "eve@sales.beta.example", "dave@gamma.example")
    decision = world.receive(octets, *everybody)
    readable = {i for out in decision.outgoing if world.SECRET in out.octets for i in out.indexes}
    assert readable == {0, 1, 2}


@pytest.mark.requirement("R3183-4-02")
@pytest.mark.parametrize("notation", ["OC", "S(OC)", "S[domain](S(OC))", "E[beta](S[domain](E[bob](S(OC))))"])
def test_only_what_our_authority_opened_is_encrypted_again(notation: str) -> None:
    """What came in clear was in clear all the way, and what is encrypted to bob inside is so already."""
    octets = build(notation)
    assert only(world.receive(octets, at=receiving())) == only(world.receive(octets, at=world.beta_site()))


def test_recipients_whom_all_see_share_a_message_and_a_blind_one_gets_their_own() -> None:
    users = [pki.identity("user", f"{name}@beta.example", beta().ca) for name in ("carol", "dora")]
    octets = build("E[beta](S[domain](S(OC)))", to=f"bob@beta.example, {CAROL}")
    decision = world.receive(octets, "dora@beta.example", "bob@beta.example", CAROL, at=receiving(*users))
    assert [out.indexes for out in decision.outgoing] == [(0,), (1, 2)]
    alone, together = (out.octets for out in decision.outgoing)
    readers = {"bob": beta().users["bob"], "carol": users[0], "dora": users[1]}
    can = {name: [judge(m, world.context(key)).decrypted for m in (alone, together)] for name, key in readers.items()}
    assert can == {"bob": [False, True], "carol": [False, True], "dora": [True, False]}


@pytest.mark.requirement("R3183-4.2-06")
@pytest.mark.parametrize("policy", ["hold", "reject", "clear"])
@pytest.mark.parametrize("certificate", ["none", "expired"])
def test_without_a_certificate_the_text_is_in_clear_only_if_policy_says_so(policy: str, certificate: str) -> None:
    known = [pki.identity("user", CAROL, beta().ca, days=3)] if certificate == "expired" else []
    octets = build("E[beta](S[domain](S(OC)))", to=f"bob@beta.example, {CAROL}")
    decision = world.receive(octets, CAROL, "bob@beta.example", at=receiving(*known, on_no_certificate=policy))
    sealed = next(out for out in decision.outgoing if out.indexes == (1,))
    assert world.SECRET not in sealed.octets
    in_clear = [out for out in decision.outgoing if out.indexes == (0,)]
    assert bool(in_clear) is (policy == "clear")
    assert [h.reasons for h in decision.held] == ([("no_certificate",)] if policy == "hold" else [])
    assert [r.code for r in decision.refused] == ([550] if policy == "reject" else [])
    assert all("RET=HDRS" in out.sender_parameters for out in in_clear)
    noted = [note["certificate"] for note in decision.log["groups"] if "certificate" in note]  # type: ignore[attr-defined]
    assert noted


@pytest.mark.parametrize("notation", ["E[beta](OC)", "E[beta](S[domain](OC))", "E[beta](S0(OC))"])
def test_policy_on_what_is_wrong_comes_first(notation: str) -> None:
    octets = build(notation, cipher="aes256-cbc")
    decision = world.receive(octets, at=receiving())
    assert not decision.outgoing
    assert decision.held


# --- failures of a key (RFC 2634 6) ----------------------------------------------------------------------------------


@pytest.mark.requirement("R2634-6-01")
@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_it_is_known_which_key_did_not_open_what_was_for_it(direction: str) -> None:
    whose, settle = (beta(), world.receive) if direction == "inbound" else (acme(), world.send)
    octets = build(f"E[{whose.name.partition('.')[0]}](S(OC))")
    assert settle(octets).unopened == ()
    assert settle(build("X(S(OC))")).unopened == ()
    decision = settle(_altered(octets))
    assert decision.unopened == (whose.confidentiality.certificate.sha256,)
    assert decision.log["unopened"] == [whose.confidentiality.certificate.sha256[:16]]


def _altered(octets: bytes) -> bytes:
    """With another octet at the end of the ciphertext or its tag."""
    head, _, _ = octets.partition(b"\r\n\r\n")
    found = smime.recognise(fields.entity_of(octets))
    assert isinstance(found, smime.Pkcs7)
    der = found.der[:-1] + bytes([found.der[-1] ^ 1])
    return fields.replace_entity(fields.split_message(head)[0], smime.pkcs7_mime(der, "authEnveloped-data"))


KINDS: tuple[KeyKind, ...] = ("rsa2048", "p256", "p384", "x25519")


@pytest.mark.requirement("R3183-4-10", "R3183-2.4-01", "R8551-2.3-01")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", ["aes256-gcm", "aes128-gcm", "aes256-cbc", "aes128-cbc"])
def test_key_transport_and_key_agreement(
    kind: KeyKind, content: Literal["aes256-gcm", "aes128-gcm", "aes256-cbc", "aes128-cbc"]
) -> None:
    authority = pki.identity("confidentiality", "beta.example", beta().ca, kind)
    chosen = located(authority, target="dca").certificates
    for padding in ("oaep", "pkcs1v15"):
        entity = encrypt.encrypt(world.entity("S(OC)"), chosen, Cipher(content, padding))  # type: ignore[arg-type]
        verdict = judge(world.message(entity), world.context(authority))
        assert verdict.structure == "E(S[originator](OC))"
        assert verdict.layers[0].encryption is not None
        assert verdict.layers[0].encryption.authenticated is content.endswith("gcm")
        assert b"authEnveloped-data" in entity or content.endswith("cbc")


# --- names ----------------------------------------------------------------------------------------------------------

DCA = "domain-confidentiality-authority"


@pytest.mark.requirement(
    "R3183-4.1-01", "R3183-4.1-02", "R3183-4.1-03", "R3183-4.1-07", "R3183-4.1-08", "R3183-4.2-03", "R3183-4.2-07"
)
@pytest.mark.parametrize(
    ("role", "domain", "expected"),
    [
        pytest.param("confidentiality", "beta.example", None, id="the authority of the domain"),
        pytest.param("confidentiality", "example", "may not speak", id="of the top level domain"),
        pytest.param("confidentiality", "gamma.example", "does not cover", id="of another domain"),
        pytest.param("confidentiality", "mail.beta.example", "does not cover", id="of a part of the domain"),
        pytest.param("signing", "beta.example", "key usage", id="the signing authority"),
    ],
)
def test_whom_the_domain_may_be_encrypted_to(role: pki.Role, domain: str, expected: str | None) -> None:
    certificate = pki.identity(role, domain, beta().ca).certificate
    problem = encrypt.authority_problem(certificate, "beta.example", world.context(), None)
    assert problem is None if expected is None else expected in (problem or "")


@pytest.mark.requirement("R3183-4.1-01", "R3183-4.1-02", "R3183-4.1-07")
@pytest.mark.parametrize(
    ("subject", "address"),
    [
        ("cn=Beta gateway", f"{DCA}@beta.example"),
        (f"cn={DCA}", "bob@beta.example"),
        (f"cn={DCA},cn=x", f"{DCA}@beta.example"),
        ("o=beta", f"{DCA}@beta.example"),
        (f"cn={DCA}", f"domain-signing-authority@beta.example"),  # noqa: F541
    ],
)
def test_a_certificate_of_another_name_is_not_encrypted_to(subject: str, address: str) -> None:
    certificate = made.certificate(subject, address)
    anchored = world.context(roles=[certificate], known=[certificate])
    with pytest.raises(CertificateNotFound):
        encrypt.locate(BOB, "dca", anchored)
    good = made.certificate(f"cn={DCA}", f"{DCA}@beta.example")
    assert encrypt.locate(BOB, "dca", world.context(roles=[good], known=[good])).authority


@pytest.mark.requirement("R3183-4.1-06", "R3183-4.1-03")
def test_an_encrypting_authority_that_does_not_cover_the_originator_is_flagged() -> None:
    inside = world.entity("S[domain](S(OC))")
    for agent, code in ((acme(), None), (beta(), "enc_agent.mapping")):
        sealed = encrypt.encrypt(
            inside, [beta().confidentiality.certificate], originator=(agent.confidentiality.certificate,)
        )
        verdict = judge(world.message(sealed), world.context(beta().confidentiality))
        assert ({"enc_agent.mapping", "enc_agent.unknown"} & world.codes(verdict) or {None}) == {code}
        assert verdict.accepted is (code is None)
    none = judge(build("E[beta](S[domain](S(OC)))"), world.context(beta().confidentiality))
    assert "enc_agent.unknown" in world.codes(none, "info")


@pytest.mark.requirement("R3183-4.1-09")
def test_our_own_authority_may_be_named_by_its_mailbox() -> None:
    """What partners have agreed on with us is no fault when we open what they encrypted."""
    mailbox = pki.identity("confidentiality", "beta.example", beta().ca, naming="mailbox")
    sealed = encrypt.encrypt(world.entity("S[domain](S0(OC))"), [mailbox.certificate])
    ours = world.context(mailbox)
    assert "naming.cn" in world.codes(judge(world.message(sealed), ours))
    assert judge(world.message(sealed), replace(ours, own_naming="mailbox")).accepted


def test_every_authority_that_says_it_encrypted_is_looked_at() -> None:
    agents = (acme().confidentiality.certificate, beta().confidentiality.certificate)
    sealed = encrypt.encrypt(world.entity("S(OC)"), [beta().confidentiality.certificate], originator=agents)
    assert "enc_agent.mapping" in world.codes(judge(world.message(sealed), world.context(beta().confidentiality)))


def test_who_encrypted_never_raises_the_level() -> None:
    sealed = encrypt.encrypt(
        world.TEXT, [beta().confidentiality.certificate], originator=(acme().confidentiality.certificate,)
    )
    verdict = judge(world.message(sealed), world.context(beta().confidentiality))
    assert (verdict.accepted, verdict.level, verdict.domain) == (False, "none", None)
    assert "enc.unsigned" in world.codes(verdict)


# --- finding certificates -------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-4.2-01", "R3183-4.2-04", "R3183-4.2-06", "R3183-4-02")
@pytest.mark.parametrize(
    ("target", "expected"),
    [("auto", ["bob"]), ("recipient", ["bob"]), ("dca", ["dca"]), ("both", ["bob", "dca"])],
)
def test_target(target: Target, expected: list[str]) -> None:
    by_name = {"bob": beta().users["bob"], "dca": beta().confidentiality}
    found = located(*by_name.values(), target=target)
    assert found.certificates == tuple(by_name[n].certificate for n in expected)
    assert found.authority is ("dca" in expected)


def test_auto_takes_the_authority_where_the_recipient_has_nothing_usable() -> None:
    assert located(beta().confidentiality).certificates == (beta().confidentiality.certificate,)
    assert located(beta().users["alice"], beta().confidentiality).authority


@pytest.mark.parametrize("missing", ["bob", "dca"])
def test_both_wants_both(missing: str) -> None:
    known = {"bob": beta().users["bob"], "dca": beta().confidentiality}
    del known[missing]
    reasons(*known.values(), target="both")


@pytest.mark.requirement("R3183-4.1-03", "R3183-4.2-06")
def test_the_nearest_authority_is_taken() -> None:
    ca = beta().ca
    near = pki.identity("confidentiality", "sales.beta.example", ca)
    for known, whom, expected in (
        ([near, beta().confidentiality], "bob@sales.beta.example", near),
        ([near, beta().confidentiality], "bob@beta.example", beta().confidentiality),
        ([near, beta().confidentiality], "bob@x.sales.beta.example", near),
        ([beta().confidentiality], "bob@sales.beta.example", beta().confidentiality),
    ):
        assert located(*known, target="dca", whom=whom).certificates == (expected.certificate,)


@pytest.mark.requirement("R3183-4.1-07")
def test_the_search_ends_at_public_suffixes() -> None:
    hoster = pki.identity("confidentiality", "co.example", beta().ca)
    trace = reasons(hoster, whom="bob@beta.co.example", is_public_suffix=lambda d: d == "co.example")
    assert "co.example:" not in trace
    assert located(hoster, target="dca", whom="bob@beta.co.example").authority  # where it is a domain like any other


@pytest.mark.requirement("R3183-4.2-05", "R3183-4.2-07")
def test_an_authority_filed_under_a_persons_name_is_held_to_the_mapping_rule() -> None:
    """A directory that returns an authority's certificate for bob: good if it maps, and never as bob's own."""

    class Directory(world.MemorySource):
        """What is asked for an address returns; there is no entry of an authority's."""

        def by_address(self, address: str) -> tuple[world.Certificate, ...]:
            return self.certificates

        def authority(self, role_name: str, domain: str) -> tuple[world.Certificate, ...]:
            return ()

    def find(identity: pki.Identity, target: Target) -> Located:
        at = world.context()
        at = Context(now=at.now, validator=at.validator, source=Directory([identity.certificate]))
        return encrypt.locate(BOB, target, at)

    assert find(beta().confidentiality, "dca").authority
    assert find(beta().confidentiality, "auto").authority
    for identity, target in ((acme().confidentiality, "auto"), (beta().confidentiality, "recipient"),
                             (beta().users["alice"], "recipient")):  # fmt: skip
        with pytest.raises(CertificateNotFound):
            find(identity, target)  # type: ignore[arg-type]


@pytest.mark.requirement("R3183-4.2-07", "R8550-4.2-01")
def test_why_certificates_are_passed_over() -> None:
    ca = beta().ca
    expired = pki.identity("confidentiality", "beta.example", ca, days=10)
    revoked = pki.identity("confidentiality", "beta.example", ca, serial=77)
    foreign = pki.identity("confidentiality", "beta.example", pki.ca("nobody's CA"))
    crl = issue.issue_crl(ca.certificate, ca.signing_key, [77], now=world.NOW, days=9)
    trace = reasons(expired, revoked, foreign, crls=[crl])
    assert all(i.certificate.sha256[:16] in trace for i in (expired, revoked, foreign))
    assert "revoked" in trace
    assert "untrusted" in trace
    found = located(expired, foreign, beta().confidentiality, target="dca")
    assert found.certificates == (beta().confidentiality.certificate,)
    assert len(found.trace) == 3


def test_a_search_tells_whether_there_was_something() -> None:
    for known, rejected in (([], False), ([pki.identity("confidentiality", "beta.example", beta().ca, days=9)], True)):
        with pytest.raises(CertificateNotFound) as caught:
            located(*known)
        assert caught.value.rejected is rejected
    only_signs = pki.identity("user", "bob@beta.example", beta().ca, "ed25519")
    with pytest.raises(CertificateNotFound) as caught:
        located(only_signs)
    assert not caught.value.rejected


def test_of_several_the_newest_is_taken() -> None:
    newer = pki.identity("confidentiality", "beta.example", beta().ca, now=pki.START + timedelta(days=1))
    for known in ([newer, beta().confidentiality], [beta().confidentiality, newer]):
        assert located(*known, target="dca").certificates == (newer.certificate,)


@pytest.mark.requirement("R3183-4.1-09")
def test_an_agreed_convention_finds_its_authority() -> None:
    """The address is what it is found by; the common name may then be missing, if that was agreed."""
    mailbox = made.certificate("o=beta", f"{DCA}@beta.example")
    for peers, usable in (((), False), ((Peer("beta.example", naming="mailbox"),), True)):
        at = world.context(roles=[mailbox], known=[mailbox], peers=peers)
        problem = encrypt.authority_problem(mailbox, "beta.example", at, at.peers.of("beta.example"))
        assert (problem is None) is usable


@pytest.mark.requirement("R3183-4.1-08", "R3183-3.1.1-18")
@pytest.mark.parametrize("naming", ["strict", "mailbox", "pinned"])
def test_no_agreement_leaves_out_the_mapping(naming: Naming) -> None:
    """A convention is about the name of an authority; whose domain it speaks for is compared under each."""
    foreign = pki.identity("confidentiality", "gamma.example", beta().ca).certificate
    signing = pki.identity("signing", "gamma.example", beta().ca)
    pins = (foreign.sha256, signing.certificate.sha256)
    for forms in (MAPPING_FORMS, frozenset({"x500"}), frozenset[str]()):
        agreed = Peer("beta.example", naming=naming, pins=pins, mapping_forms=forms, max_ascent=9)
        at = world.context(peers=(agreed,), known=[foreign])
        assert encrypt.authority_problem(foreign, "beta.example", at, agreed) is not None
        entity = world.signed(world.entity("S0(OC)"), signing, extra=[world.typed(world.SignatureType.DOMAIN)])
        verdict = judge(world.message(entity, sender="bob@beta.example"), at)
        assert {code.partition(".")[0] for code in world.codes(verdict, "violation")} >= {"mapping"}
        assert not verdict.accepted


@pytest.mark.requirement("R3183-4-11")
def test_a_roving_user_writes_home() -> None:
    entity = encrypt.encrypt(
        world.entity("S(OC)"), located(acme().confidentiality, whom="office@acme.example").certificates
    )
    assert layers.peel_entity(entity, [world.credential(acme().confidentiality)]).child is not None
