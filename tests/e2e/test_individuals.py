"""The three relationships of RFC 3183 section 1, each with a person and their own program at one end.

    domain to domain        alice signs, both gateways do their part, bob reads what alice signed
    individual to domain    dave, who has no gateway, signs and encrypts to beta's authority
    domain to individual    acme's gateway signs and encrypts for dave

What reaches a person is also read by OpenSSL and by NSS, which is inside Thunderbird: a form that only we can read
would be no use to them (decisions A-12, A-62).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import pki
from e2e import others
from e2e.arrivals import at_next_hop, in_bobs_mailbox, on_the_wire, record_of
from e2e.domsec_process import Domsec
from e2e.letters import body_of, fields_of, letter
from e2e.world import World
from interop.cases import RefusedError, Sealed, Signed

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

DAVE = "Dave <dave@people.example>"
PROGRAMS = ("openssl", "nss")
# Thunderbird opens no AES-GCM, and shows a blank page for a null layer and for two signatures (decisions A-62)
FOR_PEOPLE = [("enveloped", "opaque", "aes256Cbc"), ("signed", "clear", "")]


@dataclass(frozen=True)
class Desk:
    """A person's folder, and `domsec` called in it without a configuration."""

    folder: Path

    def domsec(self, *arguments: str, code: int = 0) -> str:
        """What it said on either stream."""
        done = subprocess.run(
            [Domsec.program, *arguments], capture_output=True, text=True, check=False, cwd=self.folder, timeout=60
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def write(self, name: str, octets: bytes) -> None:
        (self.folder / name).write_bytes(octets)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@pytest.fixture
def desk(mail: World, tmp_path: Path) -> Desk:
    """CA certificates of everybody, the certificate of beta's authority, and dave's key."""
    made = Desk(tmp_path)
    for name, identity in {
        "people-ca": mail.person.ca,
        "acme-ca": mail.acme.keys.ca,
        "beta-ca": mail.beta.keys.ca,
        "beta-authority": mail.beta.keys.confidentiality,
    }.items():
        made.write(f"{name}.pem", identity.certificate.x509.public_bytes(Encoding.PEM))
    made.write("dave.pem", _with_key(mail.person.dave))
    return made


def _with_key(identity: pki.Identity) -> bytes:
    private = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + identity.certificate.x509.public_bytes(Encoding.PEM)


def _alice(mail: World) -> pki.Identity:
    """A key of her own, of a kind every program reads."""
    now = datetime.now(UTC) - timedelta(hours=1)
    return pki.identity("user", "alice@acme.example", mail.acme.keys.ca, "rsa2048", now=now, name="Alice")


def forms(show: str) -> list[tuple[str, str, str]]:
    """Of `show --json`, each layer outside the content: its kind, how it stands in the message, its cipher."""
    layers = [layer for layer in json.loads(show)["layers"] if layer["kind"] != "content"]
    return [(layer["kind"], layer["form"], (layer["encryption"] or {}).get("cipher", "")) for layer in layers]


def with_crlf(octets: bytes) -> bytes:
    """A Maildir has the line ends of the system."""
    return re.sub(rb"\r?\n", b"\r\n", octets)


def shown(
    name: str, folder: Path, octets: bytes, person: pki.Identity, anchor: pki.Identity, layers: Sequence[str]
) -> bytes:
    """The text that somebody else's program comes to, having opened and verified each layer; it refuses otherwise."""
    reader = others.program(name, folder / name, person, anchor)
    entity = with_crlf(octets)
    for layer in layers:
        if layer == "sealed":
            entity = reader.open(entity, Sealed(to=("me",)), "me")
        else:
            entity = reader.verify(entity, Signed(by=("me",), form="clear"))
    return entity


@pytest.mark.requirement("R3183-1-01", "R3183-1-03", "R1847-2.1-02")
def test_domain_to_domain(mail: World, desk: Desk):
    desk.write("alice.pem", _with_key(_alice(mail)))
    sent = letter("signed at home")
    desk.write("letter.eml", sent.octets)
    desk.domsec("sign", "--clear", "--credential", "alice.pem", "letter.eml", "-o", "signed.eml")

    mail.acme.submit("alice@acme.example", ["bob@beta.example"], desk.read("signed.eml"))
    arrived = in_bobs_mailbox(mail, sent)

    wire = mail.beta.verdict(on_the_wire(mail, sent))
    assert (wire.structure, wire.level) == ("E(S[domain](S[originator](OC)))", "originator_direct")
    assert body_of(arrived) == body_of(desk.read("signed.eml"))  # octet for octet what she signed
    assert "smime-identifier=alice@acme.example" in fields_of(arrived, "Authentication-Results")[0]
    desk.write("arrived.eml", arrived)
    said = desk.domsec("verify", "--trust", "acme-ca.pem", "arrived.eml")
    assert "S[originator](OC)" in said
    for name in PROGRAMS:
        assert sent.secret in shown(name, desk.folder, arrived, mail.person.dave, mail.acme.keys.ca, ["signed"])


@pytest.mark.requirement("R3183-1-01", "R3183-4.2-01", "R3183-4.2-06")
def test_individual_to_domain(mail: World, desk: Desk):
    """Section 4.2: whoever sends from outside looks for the authority, since bob himself has no certificate."""
    sent = letter("from a person", DAVE)
    desk.write("letter.eml", sent.octets)
    known = ("--trust", "beta-ca.pem", "--cert", "beta-authority.pem")
    assert "domain-confidentiality-authority" in desk.domsec("locate", "bob@beta.example", *known)
    desk.domsec("sign", "--clear", "--credential", "dave.pem", "letter.eml", "-o", "signed.eml")
    desk.domsec("encrypt", "--to", "bob@beta.example", *known, "signed.eml", "-o", "sealed.eml")
    assert sent.secret not in desk.read("sealed.eml")

    mail.beta.from_internet("dave@people.example", ["bob@beta.example"], desk.read("sealed.eml"))
    arrived = in_bobs_mailbox(mail, sent)

    assert record_of(mail.beta.domsec, "dave@people.example", "deliver")["structure"] == "E(S[originator](OC))"
    [result] = fields_of(arrived, "Authentication-Results")
    assert "smime=pass" in result
    assert "smime-identifier=dave@people.example" in result
    for name in PROGRAMS:
        assert sent.secret in shown(name, desk.folder, arrived, mail.person.dave, mail.person.ca, ["signed"])


def test_an_individual_who_does_not_sign_is_not_taken_for_anybody(mail: World, desk: Desk):
    """RFC 3183 section 6: anybody can encrypt to an authority, so that says nothing of who they are."""
    sent = letter("from nobody", DAVE)
    desk.write("letter.eml", sent.octets)
    known = ("--trust", "beta-ca.pem", "--cert", "beta-authority.pem")
    desk.domsec("encrypt", "--to", "bob@beta.example", *known, "letter.eml", "-o", "sealed.eml")
    mail.beta.from_internet("dave@people.example", ["bob@beta.example"], desk.read("sealed.eml"))
    [result] = fields_of(in_bobs_mailbox(mail, sent), "Authentication-Results")
    assert "smime=pass" not in result


@pytest.mark.requirement("R3183-1-01", "R3183-4.2-01")
def test_domain_to_individual(mail: World, desk: Desk):
    sent = letter("to a person", to=DAVE)
    mail.acme.submit("alice@acme.example", ["dave@people.example"], sent.octets)
    arrived = at_next_hop(mail, sent, "dave@people.example")
    assert sent.secret not in arrived
    desk.write("arrived.eml", arrived)
    desk.write("agreed.toml", b'[[peer]]\ndomain = "acme.example"\nclear_unsigned = true\n')

    who = ("--credential", "dave.pem", "--trust", "acme-ca.pem")
    said = desk.domsec("verify", *who, "--peer", "agreed.toml", "arrived.eml")
    assert "E(S[domain](OC))" in said
    assert "acme.example" in said
    desk.domsec("decrypt", "--credential", "dave.pem", "arrived.eml", "-o", "opened.eml")
    assert sent.secret in desk.read("opened.eml")
    assert "encapsulation.missing" in desk.domsec("verify", *who, "arrived.eml", code=3)  # nothing was agreed here
    assert forms(desk.domsec("show", "--json", "--credential", "dave.pem", "arrived.eml")) == FOR_PEOPLE
    for name in PROGRAMS:
        layers = ["sealed", "signed"]
        assert sent.secret in shown(name, desk.folder, arrived, mail.person.dave, mail.acme.keys.ca, layers)


@pytest.mark.requirement("R3183-1-01", "R3183-4.2-01")
def test_an_individual_gets_what_its_originator_signed_without_a_second_signature(mail: World, desk: Desk):
    desk.write("alice.pem", _with_key(_alice(mail)))
    sent = letter("signed, to a person", to=DAVE)
    desk.write("letter.eml", sent.octets)
    desk.domsec("sign", "--clear", "--credential", "alice.pem", "letter.eml", "-o", "signed.eml")

    mail.acme.submit("alice@acme.example", ["dave@people.example"], desk.read("signed.eml"))
    arrived = at_next_hop(mail, sent, "dave@people.example")

    assert sent.secret not in arrived
    desk.write("arrived.eml", arrived)
    who = ("--credential", "dave.pem", "--trust", "acme-ca.pem")
    assert "E(S[originator](OC))" in desk.domsec("verify", *who, "arrived.eml")
    assert forms(desk.domsec("show", "--json", *who[:2], "arrived.eml")) == FOR_PEOPLE
    for name in PROGRAMS:
        layers = ["sealed", "signed"]
        assert sent.secret in shown(name, desk.folder, arrived, mail.person.dave, mail.acme.keys.ca, layers)


def test_an_individual_without_a_certificate_gets_the_signature_in_the_clear(mail: World, desk: Desk):
    sent = letter("to another person", to="erin@people.example")
    mail.acme.submit("alice@acme.example", ["erin@people.example"], sent.octets)
    arrived = at_next_hop(mail, sent, "erin@people.example")
    assert sent.secret in arrived
    for name in PROGRAMS:
        assert sent.secret in shown(name, desk.folder, arrived, mail.person.dave, mail.acme.keys.ca, ["signed"])
    changed = arrived.replace(sent.secret, sent.secret[::-1])
    with pytest.raises(RefusedError):
        shown("openssl", desk.folder / "again", changed, mail.person.dave, mail.acme.keys.ca, ["signed"])
