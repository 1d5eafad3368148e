"""The rows of the matrix: what a message is made of, layer by layer.

A case is made by one side and read by the other. `domsec` below is the domsec side of both; what other people's
programs do is in `peers`.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from domsec import oids
from domsec.cms import content_info, enveloped_data, signed_data
from domsec.cms.algorithms import default_signature_algorithm
from domsec.cms.credential import Credential, credential_from_private_key
from domsec.cms.encrypted_content import CipherName
from domsec.cms.recipients.key_transport import KeyTransportPadding
from domsec.cms.signed_data import Signing
from domsec.mime import smime
from domsec.services import layers as services
from domsec.services.check import Examination, examine
from domsec.services.context import Context
from domsec.services.layers import peel
from domsec.services.verdict import LayerVerdict
from domsec.trust.crl import crl_index
from domsec.trust.path import AnchorSet, Snapshot, Validator
from interop import keys

TEXT = b"Content-Type: text/plain; charset=us-ascii\r\n\r\nattack at dawn\r\n"
BODY = b"attack at dawn\r\n"
HEADER = b"From: rsa@acme.example\r\nTo: bob@beta.example\r\nSubject: matrix\r\nMIME-Version: 1.0\r\n"

Form = Literal["opaque", "clear", "direct"]
Direction = Literal["reads", "makes"]  # what the peer does


class RefusedError(Exception):
    """The peer says no. `shown` is the word for it on the page."""

    shown = "refuses"


class AnotherError(RefusedError):
    """It makes something else than it was asked for."""

    shown = "another"


class NoOptionError(RefusedError):
    """There is no way to ask the program for it, by its manual and its --help."""

    shown = "no option"


@dataclass(frozen=True)
class Signed:
    """`direct`: the content is a SignedData of its own, without MIME in between (RFC 3854)."""

    by: tuple[str, ...] = ("rsa",)
    form: Form = "opaque"
    pss: bool = False
    by_key_identifier: bool = False

    @property
    def detached(self) -> bool:
        return self.form == "clear"

    @property
    def content_type(self) -> str:
        return oids.ID_SIGNED_DATA if self.form == "direct" else oids.ID_DATA

    @property
    def digest(self) -> str:
        """The one that fits the largest key, as most programs take one for all signers."""
        return {"p384": "sha384", "ed25519": "sha512"}.get(self.by[-1], "sha256")


@dataclass(frozen=True)
class Sealed:
    to: tuple[str, ...] = ("rsa",)
    cipher: CipherName = "aes256-cbc"
    padding: KeyTransportPadding = "pkcs1v15"
    originator: str | None = None

    @property
    def authenticated(self) -> bool:
        return self.cipher.endswith("-gcm")


Layer = Signed | Sealed


@dataclass(frozen=True)
class Case:
    """`layers` from the outside in. `requirements` are shown by both directions of every peer."""

    name: str
    title: str
    layers: tuple[Layer, ...]
    requirements: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def readers(self) -> tuple[str, ...]:
        """Who can open it; empty if it is not encrypted."""
        return next((layer.to for layer in self.layers if isinstance(layer, Sealed)), ())


def _case(name: str, title: str, *layers: Layer, shows: tuple[str, ...] = ()) -> Case:
    return Case(name, title, layers, requirements=shows)


SIGNING = (
    _case("opaque", "opaque", Signed(), shows=("R8551-2.2-01", "R8551-2.2-02", "R8551-3.5-01")),
    _case("clear", "clear: multipart/signed, or a detached CMS", Signed(form="clear"), shows=("R8551-3.5-01",)),
    _case("key-identifier", "signer named by key identifier", Signed(by_key_identifier=True), shows=("R5652-5.3-02",)),
    _case("pss", "RSA-PSS", Signed(pss=True), shows=("R4056-3-01",)),
    _case("ecdsa-p256", "ECDSA P-256", Signed(("p256",)), shows=("R8551-2.2-01",)),
    _case("ecdsa-p384", "ECDSA P-384", Signed(("p384",))),
    _case("eddsa", "EdDSA: Ed25519", Signed(("ed25519",)), shows=("R8419-3.1-01",)),
    _case("signers-rsa", "several signers: two RSA", Signed(("rsa", "rsa-b")), shows=("R5652-5-01",)),
    _case("signers-mixed", "several signers: RSA, ECDSA P-256", Signed(("rsa", "p256")), shows=("R5652-5-01",)),
    _case("nested", "nested: S(S(OC))", Signed(("rsa-b",)), Signed(), shows=("R8551-3.7-01",)),
    _case("nested-clear", "nested: S(S(OC)), the inner one clear", Signed(("rsa-b",)), Signed(form="clear")),
    _case("nested-direct", "nested without MIME (RFC 3854)", Signed(("rsa-b",), form="direct"), Signed()),
)
ENCRYPTING = (
    _case("cbc-256", "RSA v1.5, AES-256-CBC", Sealed(), shows=("R8551-2.3-01",)),
    _case("cbc-128", "RSA v1.5, AES-128-CBC", Sealed(cipher="aes128-cbc"), shows=("R8551-2.7-01",)),
    _case("gcm-256", "RSA v1.5, AES-256-GCM", Sealed(cipher="aes256-gcm"), shows=("R8551-2.7-01",)),
    _case("gcm-128", "RSA v1.5, AES-128-GCM", Sealed(cipher="aes128-gcm"), shows=("R8551-2.7-01",)),
    _case("oaep-cbc", "RSA-OAEP, AES-256-CBC", Sealed(padding="oaep"), shows=("R3560-3-01",)),
    _case("oaep-gcm", "RSA-OAEP, AES-256-GCM", Sealed(padding="oaep", cipher="aes256-gcm"), shows=("R3560-3-01",)),
    _case("ecdh-cbc", "ECDH P-256, AES-256-CBC", Sealed(("p256",)), shows=("R5753-3.1.1-01",)),
    _case("ecdh-gcm", "ECDH P-256, AES-256-GCM", Sealed(("p256",), cipher="aes256-gcm"), shows=("R5753-3.1.1-01",)),
    _case("ecdh-p384", "ECDH P-384, AES-256-CBC", Sealed(("p384",))),
    _case("x25519-cbc", "X25519, AES-256-CBC", Sealed(("x25519",)), shows=("R8418-2-01",)),
    _case("x25519-gcm", "X25519, AES-256-GCM", Sealed(("x25519",), cipher="aes256-gcm"), shows=("R8418-2-01",)),
    _case("recipients-rsa", "several recipients: two RSA", Sealed(("rsa", "rsa-b"), "aes128-cbc")),
    _case(
        "recipients-mixed",
        "several recipients: RSA, ECDH P-256",
        Sealed(("rsa", "p256"), "aes128-cbc"),
        shows=("R5652-6.2-01",),
    ),
    _case(
        "recipients-x25519",
        "several recipients: RSA, ECDH P-256, X25519",
        Sealed(("rsa", "p256", "x25519"), "aes128-cbc"),
        shows=("R5652-6.2-01",),
    ),
    _case("originator", "with originatorInfo (RFC 3183 5)", Sealed(cipher="aes128-cbc", originator="rsa-b")),
)
WRAPPING = (
    _case(
        "triple",
        "triple wrapped: S(E(S(OC))), CBC",
        Signed(("rsa-b",)),
        Sealed(cipher="aes128-cbc"),
        Signed(),
        shows=("R8551-3.7-01",),
    ),
    _case(
        "triple-clear",
        "triple wrapped, both signatures clear, CBC",
        Signed(("rsa-b",), form="clear"),
        Sealed(cipher="aes128-cbc"),
        Signed(form="clear"),
    ),
    _case("triple-gcm", "triple wrapped, GCM", Signed(("rsa-b",)), Sealed(cipher="aes256-gcm"), Signed()),
    _case(
        "triple-ec",
        "triple wrapped, ECDSA and ECDH, GCM",
        Signed(("p256",)),
        Sealed(("p256",), cipher="aes256-gcm"),
        Signed(("p256",)),
    ),
)
GROUPS = {"Signing": SIGNING, "Encrypting": ENCRYPTING, "Both": WRAPPING}
CASES = {case.name: case for group in GROUPS.values() for case in group}


# --- what peers cannot do -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """A reviewed reason why cells are not green. `says` is a pattern for the refusal, `reviewed` how the version that
    was looked at begins; with another one the cells may be green."""

    number: int
    reason: str
    says: str
    reviewed: str


@functools.cache
def cannot() -> dict[tuple[str, str, Direction], Mark]:
    """(peer, case, direction) -> why not, from cannot.toml."""
    found: dict[tuple[str, str, Direction], Mark] = {}
    table = tomllib.loads((Path(__file__).parent / "cannot.toml").read_text())
    for number, entry in enumerate(table["cannot"], 1):
        mark = Mark(number, entry["reason"], entry["says"], table["reviewed"][entry["peer"]])
        for direction in entry["directions"]:
            for name in entry["cases"]:
                cell = (entry["peer"], name, direction)
                if name not in CASES or direction not in ("reads", "makes") or cell in found:
                    raise ValueError(f"cannot.toml: {cell} is unknown or there twice")
                found[cell] = mark
    return found


# --- domsec makes ---------------------------------------------------------------------------------------------------


@functools.cache
def credential(name: str) -> Credential:
    identity = keys.identities()[name]
    return credential_from_private_key(identity.key, identity.certificate)


@functools.cache
def made_by_domsec(name: str) -> bytes:
    """The entity of a case. Made once, so that all peers read the same."""
    entity = TEXT
    for layer in reversed(CASES[name].layers):
        entity = _seal(entity, layer) if isinstance(layer, Sealed) else _sign(entity, layer)
    return entity


def _sign(entity: bytes, layer: Signed) -> bytes:
    algorithms = [
        default_signature_algorithm(keys.identities()[name].certificate.public_key, pss=layer.pss) for name in layer.by
    ]
    signers = [
        Signing(credential(name), algorithm, signing_time=keys.NOW, key_identifier=layer.by_key_identifier)
        for name, algorithm in zip(layer.by, algorithms, strict=True)
    ]
    content = unwrap(entity) if layer.form == "direct" else entity
    der = signed_data.sign(content, layer.content_type, signers, detached=layer.detached)
    return carry(der, layer, entity)


def _seal(entity: bytes, layer: Sealed) -> bytes:
    recipients = [keys.identities()[name].certificate for name in layer.to]
    originator = [keys.identities()[layer.originator].certificate] if layer.originator else []
    der = enveloped_data.encrypt(
        entity, recipients, cipher=layer.cipher, key_transport=layer.padding, originator_certificates=originator
    )
    return carry(der, layer)


# --- MIME around CMS, for peers that have none ----------------------------------------------------------------------


def carry(der: bytes, layer: Layer, content: bytes = b"") -> bytes:
    """The entity for a CMS value; `content` is what a detached signature is beside."""
    if isinstance(layer, Sealed):
        return smime.pkcs7_mime(der, "authEnveloped-data" if layer.authenticated else "enveloped-data")
    if layer.detached:
        return smime.clear_signed(content, der, smime.MICALG[layer.digest])
    return smime.pkcs7_mime(der, "signed-data")


def cut(entity: bytes) -> tuple[bytes, bytes | None]:
    """The CMS value in an entity, and the content beside it if it is detached."""
    found = smime.recognise(entity)
    assert not isinstance(found, smime.Other), entity[:300]
    if isinstance(found, smime.ClearSigned):
        return found.signature_der, bytes(found.part)
    return found.der, None


def unwrap(entity: bytes) -> bytes:
    """The SignedData in an entity, without ContentInfo."""
    return bytes(content_info.parse(cut(entity)[0]).content)


def wrap(signed: bytes) -> bytes:
    """The reverse."""
    return smime.pkcs7_mime(content_info.wrap(oids.ID_SIGNED_DATA, signed), "signed-data")


# --- domsec reads ---------------------------------------------------------------------------------------------------


def read_by_domsec(entity: bytes, case: Case, key: str | None = None) -> bytes:
    """The content of a peer's message, all layers verified and opened; raises AnotherError if it is another case."""
    examination = examined(entity, key)
    spine = examination.message.spine()
    kinds = [layer.kind for layer in spine]
    assert len(spine) == len(case.layers) + 1, kinds
    for layer, verdict, wanted in zip(spine, examination.verdict.layers, case.layers, strict=False):
        if isinstance(wanted, Sealed):
            _check_sealed(layer, wanted)
        else:
            _check_signed(verdict, wanted)
    return bytes(spine[-1].entity)


def examined(entity: bytes, key: str | None = None) -> Examination:
    authorities = AnchorSet((keys.authority().certificate,))
    keyring = (credential(key),) if key else ()
    validator = Validator(Snapshot(authorities, authorities, (), crl_index(())))
    context = Context(now=keys.NOW, validator=validator, keyring=keyring)
    header = re.sub(rb"(?i)\A(mime-version:[^\n]*\n)?", HEADER, entity, count=1)
    return examine(peel(header, keyring), context)


def _check_signed(layer: LayerVerdict, wanted: Signed) -> None:
    assert layer.kind == "signed", layer
    bad = [f"{one.subject}: {one.crypto} {one.path} {one.reason}" for one in layer.signers if one.state != "valid"]
    assert not bad, bad
    families = sorted(_family(signer.algorithm) for signer in layer.signers)
    if families != sorted(_wanted_families(wanted)):
        raise AnotherError(f"made a signature by {', '.join(families)}")
    clear = layer.form == "clear"
    if clear != wanted.detached:
        raise AnotherError(f"made the form {layer.form}")


def _family(algorithm: str) -> str:
    """Of the name of a signature algorithm: RSA with its padding, or the kind of key."""
    if algorithm == "rsassaPss":
        return "pss"
    return next((kind for kind in ("rsa", "ecdsa", "ed25519") if kind in algorithm.lower()), algorithm)


def _wanted_families(wanted: Signed) -> Iterator[str]:
    for name in wanted.by:
        if name.startswith("rsa"):
            yield "pss" if wanted.pss else "rsa"
        else:
            yield "ed25519" if name == "ed25519" else "ecdsa"


def _check_sealed(layer: services.Layer, wanted: Sealed) -> None:
    assert layer.enveloped is not None, layer
    assert layer.opened is not None, layer
    if layer.opened.cipher != wanted.cipher:
        raise AnotherError(f"made {layer.opened.cipher}")
    if layer.opened.management.startswith("rsa") and layer.opened.management != f"rsa-{wanted.padding}":
        raise AnotherError(f"made {layer.opened.management}")
    assert layer.opened.authenticated is wanted.authenticated
    assert len([one for info in layer.enveloped.recipients for one in info.identifiers]) == len(wanted.to)
    if wanted.originator and not layer.enveloped.originator_certificates:
        raise AnotherError("made no originatorInfo")
