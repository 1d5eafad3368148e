"""Messages, contexts and installations for tests, in the two small domains of `pki`.

    build("S+mlh(E(S(OC)))")      a real message with these layers, written as RFC 3183 5.1 writes them
    judge(octets)                 what beta.example concludes
    acme_site(), beta_site()      installations for `domsec.pipeline.process`

Letters of `build`: `S` a signature by alice@acme.example, `S[bob]` by somebody else of acme, `S[domain]` and so on by
the authority with the type attribute, `S+mlh` one with an mlExpansionHistory, `S0` the empty signature, `E` encryption
to acme's authority, `E[acme+beta]` to both authorities, `E[bob]` to bob@beta.example, `E[staff]` to the mail list
staff@acme.example, `X` to nobody here, `C` compression, `M` message/rfc822 with the header of the message. A `~` after
`S` makes it multipart/signed. `S[staff]` is by that list.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

import pki
from domsec import der, oids
from domsec.cms import attributes, compressed_data, content_info, enveloped_data, signed_data
from domsec.cms.algorithms import AlgorithmIdentifier, SignatureAlgorithm
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential, credential_from_private_key
from domsec.cms.recipients import build_recipient
from domsec.cms.signed_data import Signing
from domsec.mime import smime
from domsec.pipeline import Decision, Recipient, Session, Transaction, process
from domsec.policy.configuration import Configuration
from domsec.policy.evidence import Rule
from domsec.policy.kinds import Networks
from domsec.policy.options import Inbound, Keys, Outbound
from domsec.services import layers, signature_type
from domsec.services.check import Examination, examine
from domsec.services.context import Context, no_public_suffix
from domsec.services.layers import peel
from domsec.services.peer import Peer, Peers
from domsec.services.sign import Grant
from domsec.services.signature_type import SignatureType
from domsec.services.verdict import Verdict
from domsec.site import Recorded as Entry
from domsec.site import Site
from domsec.trust.crl import crl_index
from domsec.trust.path import AnchorSet, Snapshot, Validator
from domsec.trust.source import MemorySource

NOW = pki.NOW
TEXT = b"Content-Type: text/plain; charset=us-ascii\r\n\r\nattack at dawn\r\n"
SECRET = b"attack at dawn"
MLH = oids.ID_AA_ML_EXPAND_HISTORY


@functools.cache
def credential(identity: pki.Identity) -> Credential:
    return credential_from_private_key(identity.key, identity.certificate, identity.chain)


class Counting:
    """A key that counts how often it opens something."""

    def __init__(self, identity: pki.Identity) -> None:
        self._key = credential(identity)
        self.certificate, self.chain, self.opened = identity.certificate, identity.chain, 0

    def sign(self, data: bytes, algorithm: SignatureAlgorithm) -> bytes:
        return self._key.sign(data, algorithm)

    def decrypt(self, encrypted_key: bytes, algorithm: AlgorithmIdentifier) -> bytes:
        self.opened += 1
        return self._key.decrypt(encrypted_key, algorithm)

    def exchange(self, public_key: PublicKeyTypes) -> bytes:
        self.opened += 1
        return self._key.exchange(public_key)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        self.opened += 1
        return self._key.decapsulate(ciphertext)


def acme() -> pki.Domain:
    return pki.world().acme


def beta() -> pki.Domain:
    return pki.world().beta


# --- layers ---------------------------------------------------------------------------------------------------------


def history(entries: int = 1, name: bytes = b"a list") -> Attribute:
    """RFC 2634 4.2: who expanded the message, and when."""
    data = der.sequence(der.octet_string(name), der.tlv(der.GENERALIZED_TIME, b"20261123110000Z"))
    return attributes.attribute(MLH, der.sequence(*[data] * entries))


def typed(*types: SignatureType, oid: str = oids.ID_AA_SIGNATURE_TYPE) -> Attribute:
    return attributes.attribute(oid, der.sequence(*(der.oid(signature_type.OIDS[t]) for t in types)))


def signed(
    entity: bytes,
    *identities: pki.Identity,
    extra: Sequence[Attribute] = (),
    detached: bool = False,
    content_type: str = oids.ID_DATA,
    unsigned: Sequence[Attribute] = (),
) -> bytes:
    """An entity inside a signature by each of these; `detached` for multipart/signed."""
    signings = tuple(
        Signing(credential(i), attributes=tuple(extra), signing_time=NOW, unsigned_attributes=tuple(unsigned))
        for i in identities
    )
    octets = signed_data.sign(entity, content_type, signings, detached=detached)
    return smime.clear_signed(entity, octets, "sha-256") if detached else smime.pkcs7_mime(octets, "signed-data")


def with_signers(entity: bytes, change: Callable[[list[bytes]], Iterable[bytes]]) -> bytes:
    """An opaque signature with other SignerInfos, in the order given: what anybody can do to a message on its way."""
    found = smime.recognise(entity)
    assert isinstance(found, smime.Pkcs7)
    reader = der.Reader(content_info.parse(found.der).content)
    reader.enter(der.SEQUENCE)
    parts = []
    while not reader.at_end():
        parts.append(bytes(reader.skip()))
    *head, signers = parts
    reader = der.Reader(signers)
    reader.enter(der.SET)
    infos = []
    while not reader.at_end():
        infos.append(bytes(reader.skip()))
    value = der.sequence(*head, der.tlv(der.SET, *change(infos)))
    return smime.pkcs7_mime(content_info.wrap(oids.ID_SIGNED_DATA, value), "signed-data")


def two_signed(entity: bytes, *signers: tuple[pki.Identity, Sequence[Attribute]]) -> bytes:
    """An entity inside one layer that each of these signs, with attributes of its own."""
    signings = [Signing(credential(who), attributes=tuple(extra), signing_time=NOW) for who, extra in signers]
    return smime.pkcs7_mime(signed_data.sign(entity, oids.ID_DATA, signings), "signed-data")


def with_forged_signer(
    entity: bytes, who: pki.Identity, stated: Sequence[Attribute], forged: Sequence[Attribute]
) -> bytes:
    """An entity signed by somebody who states some attributes, and beside that what anybody can put there: a SignerInfo
    that names the same certificate, with a signature of an algorithm nobody knows, and states others."""
    known = der.oid(oids.ECDSA_WITH_SHA256)
    taken: list[bytes] = []

    def take(infos: list[bytes]) -> list[bytes]:
        taken.extend(infos)
        return infos

    with_signers(signed(entity, who, extra=forged), take)
    before, algorithm, signature = taken[0].rpartition(der.sequence(known))
    assert algorithm
    unknown = before + algorithm.replace(known, known[:-1] + b"\x7f") + signature
    return with_signers(signed(entity, who, extra=stated), lambda infos: [unknown, *infos])


def encrypted(entity: bytes, *identities: pki.Identity, cipher: str = "aes256-gcm") -> bytes:
    octets = enveloped_data.encrypt(entity, [i.certificate for i in identities], cipher=cipher)  # type: ignore[arg-type]
    return smime.pkcs7_mime(octets, "authEnveloped-data" if cipher.endswith("gcm") else "enveloped-data")


def triple_des(entity: bytes, *to: pki.Identity) -> bytes:
    """EnvelopedData with tripleDES, the key wrapped with AES."""
    key, iv = os.urandom(24), bytes(8)
    padder = PKCS7(64).padder()
    sealed = Cipher(TripleDES(key), modes.CBC(iv)).encryptor().update(padder.update(entity) + padder.finalize())
    content = der.sequence(
        der.oid(oids.ID_DATA),
        der.sequence(der.oid(oids.DES_EDE3_CBC), der.octet_string(iv)),
        der.tlv(der.context(0, constructed=False), sealed),
    )
    infos = der.set_of([build_recipient(key, who.certificate) for who in to])
    value = der.sequence(der.oid(oids.ID_ENVELOPED_DATA), der.explicit(0, der.sequence(der.integer(2), infos, content)))
    return smime.pkcs7_mime(value, "enveloped-data")


def compressed(entity: bytes) -> bytes:
    return smime.pkcs7_mime(compressed_data.compress(entity), "compressed-data")


_LAYER = re.compile(r"(S0|S|E|C|M|X)(?:\[([a-z+]+)\])?(\+mlh)?(~)?\(")


def build(
    notation: str,
    *,
    sender: str = "Alice <alice@acme.example>",
    to: str = "Bob <bob@beta.example>",
    text: bytes = TEXT,
    cipher: str = "aes256-gcm",
    **more: str,
) -> bytes:
    """A message in RFC notation, as octets."""
    return message(entity(notation, sender=sender, to=to, text=text, cipher=cipher), sender=sender, to=to, **more)


def entity(
    notation: str,
    *,
    sender: str = "Alice <alice@acme.example>",
    to: str = "Bob <bob@beta.example>",
    text: bytes = TEXT,
    cipher: str = "aes256-gcm",
) -> bytes:
    """The same without the header of the message. `S~(` is clear signed."""
    found = list(_LAYER.finditer(notation))
    core = notation[found[-1].end() :] if found else notation
    assert core.strip(")") == "OC", notation
    made = text
    for layer in reversed(found):
        letter, what, mlh, clear = layer[1], layer[2], layer[3], layer[4]
        match letter:
            case "S":
                extra = (history(),) if mlh else ()
                types = tuple(SignatureType(t) for t in what.split("+")) if what in _BY_TYPE else ()
                who = acme().users["alice"] if what is None else _BY_TYPE[what]() if types else _person(what)
                extra += (typed(*types),) if types else ()
                made = signed(made, who, extra=extra, detached=bool(clear))
            case "S0":
                made = layers.null_layer(made)
            case "E":
                whom = [_recipient(name) for name in (what or "acme").split("+")]
                made = encrypted(made, *whom, cipher=cipher)
            case "X":
                made = encrypted(made, _stranger())
            case "C":
                made = compressed(made)
            case "M":
                made = b"Content-Type: message/rfc822\r\n\r\n" + message(made, sender=sender, to=to)
    return made


_BY_TYPE: Mapping[str, Callable[[], pki.Identity]] = {
    "originator": lambda: acme().users["alice"],
    "domain": lambda: acme().signing,
    "review": lambda: acme().review,
    "attributes": lambda: acme().attributes,
}


def _recipient(name: str) -> pki.Identity:
    return beta().users["bob"] if name == "bob" else _person(name)


def _person(name: str) -> pki.Identity:
    if name in ("acme", "beta"):
        return (acme() if name == "acme" else beta()).confidentiality
    if name == "evil":
        return stranger_user()
    return mail_list(name) if name in LISTS else acme().users[name]


LISTS = ("staff", "board", "friends")


@functools.cache
def mail_list(name: str) -> pki.Identity:
    """A mail list of acme.example."""
    return pki.identity("user", f"{name}@acme.example", acme().ca, name=f"List {name}", serial=200 + LISTS.index(name))


@functools.cache
def _stranger() -> pki.Identity:
    return pki.identity("confidentiality", "gamma.example", pki.ca("gamma CA"))


@functools.cache
def stranger_user() -> pki.Identity:
    """alice@acme.example, says a CA that nobody trusts."""
    return pki.identity("user", "alice@acme.example", pki.ca("evil CA"), name="Alice")


def message(
    entity: bytes, *, sender: str = "Alice <alice@acme.example>", to: str = "Bob <bob@beta.example>", **more: str
) -> bytes:
    """Header fields around an entity; `more` are fields, `in_reply_to=...` for In-Reply-To. Empty ones are left out."""
    known = {"from": sender, "to": to, "subject": "plans", "date": "Mon, 23 Nov 2026 12:00:00 +0000"}
    known["message-id"] = "<1@acme.example>"
    known |= {name.replace("_", "-"): value for name, value in more.items()}
    head = "".join(f"{name.title()}: {value}\r\n" for name, value in known.items() if value)
    return head.encode("utf-8", "surrogateescape") + b"MIME-Version: 1.0\r\n" + bytes(entity)


def other_from(octets: bytes, sender: str) -> bytes:
    """The same message under another From."""
    return re.sub(rb"(?m)^From: .*\r\n", f"From: {sender}\r\n".encode(), octets, count=1)


# --- judging --------------------------------------------------------------------------------------------------------


def context(
    *keyring: pki.Identity,
    peers: Iterable[Peer] = (),
    now: datetime = NOW,
    roles: Sequence[Certificate] | None = None,
    users: Sequence[Certificate] | None = None,
    known: Iterable[Certificate] = (),
    crls: Iterable[bytes] = (),
    is_public_suffix: Callable[[str], bool] = no_public_suffix,
    revocation: str = "soft",
    **more: object,
) -> Context:
    """A view on the two domains. The keys given are those that decrypt."""
    cas = pki.world().cas
    snapshot = Snapshot(
        AnchorSet(tuple(cas if roles is None else roles)),
        AnchorSet(tuple(cas if users is None else users)),
        (),
        crl_index(crls),
    )
    return Context(
        now=now,
        validator=Validator(snapshot),
        source=MemorySource(known),
        keyring=tuple(credential(i) for i in keyring),
        peers=Peers(tuple(peers)),
        is_public_suffix=is_public_suffix,
        revocation=revocation,  # type: ignore[arg-type]
        **more,
    )


def look(octets: bytes, at: Context | None = None) -> Examination:
    at = at or context(acme().confidentiality, beta().confidentiality, beta().users["bob"])
    return examine(peel(octets, at.keyring, at.limits), at)


def judge(octets: bytes, at: Context | None = None) -> Verdict:
    return look(octets, at).verdict


def codes(verdict: Verdict, severity: str | None = None) -> set[str]:
    return {f.code for f in verdict.flags if severity is None or f.severity == severity}


# --- installations --------------------------------------------------------------------------------------------------


@dataclass
class Recorded:
    """The audit trail of a test."""

    entries: list[tuple[str, Entry]] = field(default_factory=list)

    def __call__(self, event: str, transaction: str, entry: Entry) -> None:
        del transaction
        self.entries.append((event, entry))

    def of(self, event: str) -> list[Any]:
        return [entry for found, entry in self.entries if found == event]

    @property
    def grants(self) -> list[Grant]:
        return self.of("grant")


LOCAL = Networks((ipaddress.ip_network("127.0.0.0/8"),), unix=True)


def site(
    domain: pki.Domain,
    *,
    outbound: Mapping[str, object] = {},
    inbound: Mapping[str, object] = {},
    peers: Iterable[Peer] = (),
    known: Iterable[Certificate] = (),
    evidence: Sequence[Rule] | None = None,
    record: Callable[[str, str, Entry], None] | None = None,
    is_public_suffix: Callable[[str], bool] = no_public_suffix,
    anchors: Sequence[Certificate] | None = None,
    keyring: Sequence[pki.Identity] | None = None,
    crls: Iterable[bytes] = (),
) -> Site:
    cas = AnchorSet(tuple(pki.world().cas if anchors is None else anchors))
    given = Rule("network", frozenset({domain.name}), LOCAL)
    made = Site(
        configuration=Configuration(
            path=Path("domsec.toml"),
            domains=(domain.name,),
            keys=Keys(),
            outbound=Outbound(**outbound),  # type: ignore[arg-type]
            inbound=Inbound(**inbound),  # type: ignore[arg-type]
        ),
        validator=Validator(Snapshot(cas, cas, (), crl_index(crls))),
        source=MemorySource(known),
        peers=Peers(tuple(peers)),
        is_public_suffix=is_public_suffix,
        signing=credential(domain.signing),
        confidentiality=credential(domain.confidentiality),
        keyring=tuple(credential(i) for i in ((domain.confidentiality,) if keyring is None else keyring)),
        evidence=(given,) if evidence is None else tuple(evidence),
    )
    return made if record is None else replace(made, record=record)


BETA = Peer("beta.example")
ACME = Peer("acme.example")


def acme_site(**options: object) -> Site:
    """acme, which has agreed with beta and knows its authority."""
    options.setdefault("peers", (BETA,))
    options.setdefault("known", (beta().confidentiality.certificate,))
    return site(acme(), **options)  # type: ignore[arg-type]


def beta_site(**options: object) -> Site:
    options.setdefault("peers", (ACME,))
    options.setdefault("known", (acme().confidentiality.certificate,))
    return site(beta(), **options)  # type: ignore[arg-type]


def transaction(
    octets: bytes,
    *recipients: str,
    direction: str = "outbound",
    client: str | None = "127.0.0.1",
    sender: str = "alice@acme.example",
    parameters: str = "",
    auth: str | None = None,
    xforward: Mapping[str, str] | None = None,
    user: str | None = None,
    protocol: str = "smtp",
) -> Transaction:
    return Transaction(
        direction=direction,  # type: ignore[arg-type]
        sender=sender,
        sender_parameters=parameters,
        recipients=tuple(Recipient(r) for r in recipients or ("bob@beta.example",)),
        octets=octets,
        session=Session(client, "client.example", auth, protocol, True, xforward or {}, direction, user),  # type: ignore[arg-type]
        id="T1",
        received_at=NOW,
    )


def send(octets: bytes, *recipients: str, at: Site | None = None, **more: object) -> Decision:
    """What acme decides about mail of its users."""
    return decide(transaction(octets, *recipients, **more), at or acme_site())  # type: ignore[arg-type]


def receive(octets: bytes, *recipients: str, at: Site | None = None, **more: object) -> Decision:
    """What beta decides about mail from outside."""
    given = transaction(octets, *recipients, direction="inbound", **more)  # type: ignore[arg-type]
    return decide(given, at or beta_site())


def decide(given: Transaction, at: Site) -> Decision:
    """`process`, and that no recipient is forgotten or settled twice."""
    made = process(given, at)
    settled = [*made.discard]
    for part in (*made.outgoing, *made.refused, *made.held):
        settled += part.indexes
    assert sorted(settled) == list(range(len(given.recipients)))
    for out in made.outgoing:
        assert out.recipients == tuple(given.recipients[i] for i in out.indexes)
    return made


def only(decision: Decision) -> bytes:
    """The octets of the one message that goes out."""
    assert len(decision.outgoing) == 1, decision.log
    assert not decision.refused
    assert not decision.held
    return decision.outgoing[0].octets


# --- the messages of other people's software ------------------------------------------------------------------------


def pem(path: Path) -> Certificate:
    return Certificate(x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER))


def oracle_context(folder: Path, keys: Iterable[str], now: datetime) -> Context:
    """A view on the PKI of tests/vectors/oracle: everything known, one anchor, these keys to decrypt with."""
    certificates = {path.stem: pem(path) for path in sorted((folder / "pki/certs").glob("*.pem"))}
    anchors = AnchorSet((pem(folder / "pki/trust/root.pem"),))
    crl = (folder / "pki/crl/root.crl").read_bytes()
    if crl.startswith(b"-----"):
        crl = x509.load_pem_x509_crl(crl).public_bytes(Encoding.DER)
    keyring = tuple(
        credential_from_private_key(
            load_pem_private_key((folder / f"pki/keys/{name}.key").read_bytes(), None),  # type: ignore[arg-type]
            certificates[name],
            (),
        )
        for name in keys
    )
    return Context(
        now=now,
        validator=Validator(Snapshot(anchors, anchors, (), crl_index([crl]))),
        source=MemorySource(certificates.values()),
        keyring=keyring,
    )
