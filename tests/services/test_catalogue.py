"""Every flag code: declared once, borne by a real message, and explained to people."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import food
import interpersonal
import names as made
import pki
import signers
import world
from domsec import der, oids
from domsec.cli.verify import report
from domsec.cms import attributes, content_info, signed_data
from domsec.cms.algorithms import SIGNATURES
from domsec.cms.attributes import Attribute
from domsec.cms.signed_data import Signing, issuer_and_serial
from domsec.ess.labels import ESSSecurityLabel
from domsec.ess.secure_headers import SecureField, SecureHeaderFields
from domsec.gateway.reference import DECISIONS
from domsec.limits import Limits
from domsec.mime import smime
from domsec.services import catalogue, encrypt
from domsec.services.catalogue import CODES, FAMILIES, Severity
from domsec.services.check import examine
from domsec.services.label_text import parse_label
from domsec.services.layers import peel
from domsec.services.peer import Peer
from domsec.services.signature_type import OIDS, SignatureType
from domsec.services.verdict import Verdict, flag
from world import acme, beta, build, judge, message

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "domsec"
DOCS = ROOT / "docs"
OURS = (DOCS / "decisions" / "rfc3183.md").read_text()
DSA, AT = "domain-signing-authority", "@acme.example"
TYPE = oids.ID_AA_SIGNATURE_TYPE
DOMAIN = world.typed(SignatureType.DOMAIN)
S1 = world.entity("S(OC)")
ES256 = SIGNATURES[oids.ECDSA_WITH_SHA256, oids.SHA256]
UNKNOWN = der.sequence(der.oid("1.2.3.4"))
RS256 = SIGNATURES[oids.SHA256_WITH_RSA, oids.SHA256]


# --- messages -------------------------------------------------------------------------------------------------------


OTHERS = frozenset({"header.d", "header.s"})  # properties of DKIM results: RFC 8601 2.7.1


def named(subject: str, *addresses: str, peer: Peer | None = None, sender: str = "alice@acme.example") -> Verdict:
    """A domain signature by an authority with these names, whom everybody trusts."""
    certificate = made.certificate(subject, *addresses)
    signed = world.signed(S1, pki.Identity(certificate, made.key()), extra=[DOMAIN])
    at = world.context(roles=[certificate], peers=[peer] if peer else ())
    return judge(message(signed, sender=sender), at)


def typed(*stated: Attribute, unsigned: Sequence[Attribute] = ()) -> Verdict:
    """Signed by acme's authority with these attributes for its type."""
    return judge(message(world.signed(S1, acme().signing, extra=stated, unsigned=unsigned)))


def types(*values: tuple[str, ...], oid: str = TYPE) -> Attribute:
    return attributes.attribute(oid, *(der.sequence(*(der.oid(t) for t in value)) for value in values))


def by_two(one: Sequence[Attribute], other: Sequence[Attribute], inside: bytes = world.TEXT) -> Verdict:
    """One layer that alice and bob sign, each with attributes of their own."""
    users = acme().users
    signings = [Signing(world.credential(users["alice"]), attributes=tuple(one), signing_time=world.NOW),
                Signing(world.credential(users["bob"]), attributes=tuple(other), signing_time=world.NOW)]  # fmt: skip
    return judge(message(smime.pkcs7_mime(signed_data.sign(inside, oids.ID_DATA, signings), "signed-data")))


def by_hand(
    items: Sequence[bytes] | None,
    who: pki.Identity,
    *,
    content: bytes = S1,
    digests: Sequence[bytes] | None = None,
    more: Sequence[bytes] = (),
    unsigned: Sequence[Attribute] = (),
) -> Verdict:
    """A SignerInfo put together here: these attributes in this order, None for a signature over the bare content."""
    algorithm = RS256 if isinstance(who.key, rsa.RSAPrivateKey) else ES256
    over = content if items is None else der.tlv(der.SET, *items)
    info = der.sequence(
        der.integer(1),
        issuer_and_serial(who.certificate),
        algorithm.digest.identifier.raw,
        b"" if items is None else der.tlv(der.context(0), *items),
        algorithm.identifier.raw,
        der.octet_string(algorithm.sign(who.key, over)),
        der.tlv(der.context(1), *(a.raw for a in unsigned)) if unsigned else b"",
    )
    whole = der.sequence(
        der.integer(1),
        der.set_of([algorithm.digest.identifier.raw] if digests is None else digests),
        der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.octet_string(content))),
        der.tlv(der.context(0), who.certificate.der),
        der.set_of([info, *more]),
    )
    return judge(cms(oids.ID_SIGNED_DATA, whole))


def usual(*extra: Attribute, content: bytes = S1) -> list[bytes]:
    """The attributes no signature may lack, and others, in DER order."""
    hasher = ES256.digest.new()
    hasher.update(content)
    stated = (attributes.content_type(oids.ID_DATA), attributes.message_digest(hasher.digest()), *extra)
    return sorted(item.raw for item in stated)


def sibling(algorithm: bytes) -> bytes:
    """A further SignerInfo of acme's authority, whose signature is none."""
    return der.sequence(
        der.integer(1),
        issuer_and_serial(acme().signing.certificate),
        ES256.digest.identifier.raw,
        der.tlv(der.context(0), *usual(DOMAIN)),
        algorithm,
        der.octet_string(b"?"),
    )


def by_both_keys(change: Callable[[list[bytes]], list[bytes]]) -> Verdict:
    """Signed by acme's authority with two keys, each of which names the other, and then changed."""
    other = pki.identity("signing", "acme.example", acme().ca, "rsa2048")
    both = world.signed(S1, acme().signing, other, extra=[DOMAIN])
    return judge(message(world.with_signers(both, change)))


def by_one_key() -> bytes:
    """The SignerInfo of acme's authority that knows of no other."""
    found: list[bytes] = []
    world.with_signers(world.signed(S1, acme().signing, extra=[DOMAIN]), lambda infos: found.extend(infos) or infos)
    return found[0]


def short_key() -> Verdict:
    """A signature that our own code would not make."""
    key = signers.key("rsa1024")
    assert isinstance(key, rsa.RSAPrivateKey)
    old = pki.Identity(signers.certificate_for(key, name="old"), key)
    return by_hand(usual(), old)


def cms(content_type: str, value: bytes) -> bytes:
    return message(smime.pkcs7_mime(content_info.wrap(content_type, value), "signed-data"))


def clear(signature_part: bytes | None = None, *, text: bytes = b"", head: bytes = b"", more: bytes = b"") -> bytes:
    """Alice's multipart/signed, altered: `text` before the parts, `head` as further fields, `more` a third part."""
    entity = world.entity("S~(OC)")
    fields, _, body = entity.partition(b"\r\n\r\n")
    if signature_part is not None:
        return message(smime.clear_signed(world.TEXT, signature_part, "sha-256"))
    boundary = body[: body.index(b"\r\n")]
    body = body.replace(boundary + b"--", boundary + b"\r\n" + more + b"\r\n" + boundary + b"--") if more else body
    return message(fields + b"\r\n" + head + b"\r\n" + text + body)


def opaque(change: Callable[[bytes], bytes], notation: str = "S(OC)") -> bytes:
    """A message of ours with its security layer's MIME altered."""
    entity = world.entity(notation)
    changed = change(entity)
    assert changed != entity
    return message(changed)


def encrypting(agent: pki.Identity) -> Verdict:
    sealed = encrypt.encrypt(S1, [beta().confidentiality.certificate], originator=(agent.certificate,))
    return judge(message(sealed))


def empty(*, content_type: str = oids.ID_DATA, content: bytes | None = world.TEXT) -> bytes:
    """SignedData without signers."""
    inner = b"" if content is None else der.explicit(0, der.octet_string(content))
    fields = (der.integer(1), der.set_of([]), der.sequence(der.oid(content_type), inner), der.set_of([]))
    return content_info.wrap(oids.ID_SIGNED_DATA, der.sequence(*fields))


def covered(entity: bytes) -> Verdict:
    """Something inside a domain signature of acme."""
    return judge(message(world.signed(entity, acme().signing, extra=[DOMAIN])))


def labelled(value: bytes) -> Attribute:
    return attributes.attribute(oids.ID_AA_SECURITY_LABEL, value)


def by_food(text: str) -> Verdict:
    """Alice's label, seen by who knows the food policy and may not see lactose."""
    at = replace(world.context(), labelling=food.labelling(cleared=food.NO_LACTOSE))
    return judge(message(_labelled_by_alice(parse_label(text, [food.policy()]).write())), at)


def limited() -> Verdict:
    at = world.context()
    return examine(peel(build("S(OC)"), limits=Limits(certificates=0)), at).verdict


def strict(octets: bytes, **agreed: Any) -> Verdict:
    """From a domain without a gateway that agreed on more than is usual."""
    return judge(octets, world.context(peers=[Peer("acme.example", domsec=False, **agreed)]))


X400 = b"Content-Type: application/x400-content; content-type=22\r\n"
D, R, A = (OIDS[t] for t in (SignatureType.DOMAIN, SignatureType.REVIEW, SignatureType.ATTRIBUTES))
DOUBLE_TYPE = (b"application/pkcs7-mime;", b"application/pkcs7-mime; smime-type=enveloped-data;")

# a message for each code; the notation alone where that says it all
MESSAGES: dict[str, str | bytes | Callable[[], Verdict]] = {
    "naming.cn": lambda: named("cn=Acme gateway", f"{DSA}{AT}"),
    "naming.cn_missing": lambda: named("o=acme", f"{DSA}{AT}"),
    "naming.cn_multiple": lambda: named(f"cn={DSA}+cn=x", f"{DSA}{AT}"),
    "naming.rfc822_local": lambda: named(f"cn={DSA}", f"alice{AT}"),
    "naming.lookalike": lambda: named("cn=domаin-signing-authority", f"{DSA}{AT}"),
    "naming.x400": lambda: _blurred(),
    "naming.no_address": lambda: named("o=acme", peer=Peer("acme.example", naming="mailbox")),
    "naming.not_pinned": lambda: named(f"cn={DSA}", peer=Peer("acme.example", naming="pinned")),
    "naming.convention": lambda: named("o=acme", f"{DSA}{AT}", peer=Peer("acme.example", naming="mailbox")),
    "address.invalid": lambda: named(f"cn={DSA}", f"{DSA}{AT}", f"{DSA}@acme..example"),
    "mapping.mismatch": lambda: named(f"cn={DSA}", f"{DSA}@beta.example"),
    "mapping.not_comparable": lambda: named(f"cn={DSA},o=acme,c=us"),
    "mapping.no_mail_form": lambda: judge(message(_self_made()), world.context(roles=[_directory()])),
    "mapping.too_general": lambda: named(f"cn={DSA}", f"{DSA}@example"),
    "sigtype.multiple": lambda: typed(DOMAIN, types((D,), oid=oids.ID_STI)),
    "sigtype.syntax": lambda: typed(types(())),
    "sigtype.inconsistent": lambda: by_two([DOMAIN], []),
    "sigtype.addattr_not_alone": lambda: typed(types((D, A))),
    "sigtype.multi_value": lambda: typed(types((D,), (OIDS[SignatureType.ORIGINATOR],))),
    "sigtype.repeated": lambda: typed(types((D, D))),
    "sigtype.unsigned": lambda: typed(unsigned=[DOMAIN]),
    "sigtype.legacy_oid": lambda: typed(types((D,), oid=oids.ID_STI)),
    "sigtype.unknown": lambda: typed(types((D, f"{oids.ID_STI}.5"))),
    "encapsulation.missing": "S[domain](OC)",
    "encapsulation.unknown": "S[domain](X(OC))",
    "null.uncovered": "S0(OC)",
    "null.econtenttype": lambda: covered(smime.pkcs7_mime(empty(content_type=oids.ID_CT_RECEIPT), "signed-data")),
    "null.detached": lambda: covered(smime.clear_signed(world.TEXT, empty(content=None), "sha-256")),
    "null.redundant": "S[domain](S0(S(OC)))",
    "coverage.ciphertext_only": "S[domain](E(S0(OC)))",
    "coverage.unknown": "S[domain](X(OC))",
    "enc.unsigned": "E[beta](OC)",
    "enc.unauthenticated": lambda: judge(build("E[beta](OC)", cipher="aes256-cbc")),
    "enc.outdated": lambda: judge(message(world.triple_des(S1, beta().confidentiality))),
    "enc_agent.mapping": lambda: encrypting(beta().confidentiality),
    "enc_agent.unknown": "E[beta](S(OC))",
    "from.invalid": lambda: judge(world.other_from(build("S(OC)"), "nobody in particular")),
    "header.mismatch": lambda: judge(message(_stating_its_header())),
    "from.outer_inner_differ": lambda: judge(world.other_from(build("S[domain](S0(M(OC)))"), "carol@acme.example")),
    "header.outer_inner_differ": lambda: judge(build("S[domain](S0(M(OC)))").replace(b"Subject: p", b"Subject: P")),
    "sender.mismatch": lambda: judge(b"Sender: carol@beta.example\r\n" + build("S[domain](S(OC))")),
    "inner.invalid": lambda: covered(world.entity("S~(OC)").replace(b"dawn", b"dusk")),
    "signature.invalid": lambda: judge(build("S~(OC)").replace(b"dawn", b"dusk")),
    "replay": lambda: judge(build("S(OC)"), replace(world.context(), max_age=-timedelta(days=1))),
    "domain.transit": lambda: judge(_through_beta(), world.context(transit_domains=frozenset({"beta.example"}))),
    "domain.missing": lambda: judge(build("S(OC)"), world.context(peers=[Peer("acme.example", expect_signed=True)])),
    "originator.missing": lambda: strict(build("OC"), expect_signed=True),
    "enc.missing": lambda: strict(build("S(OC)"), expect_encrypted=True),
    "alg.not_agreed": lambda: strict(build("S(OC)"), accept_signature=("rsa-pss-sha256",)),
    "alg.weak": short_key,
    "alg.unsupported_sibling": lambda: by_hand(usual(DOMAIN), acme().signing, more=[sibling(UNKNOWN)]),
    "alg.invalid_sibling": lambda: by_hand(usual(DOMAIN), acme().signing, more=[sibling(ES256.identifier.raw)]),
    "countersignature.invalid": lambda: by_hand(usual(DOMAIN), acme().signing, unsigned=[_countersigned()]),
    "multisig.removed": lambda: by_both_keys(lambda infos: infos[:1]),
    "multisig.added": lambda: by_both_keys(lambda infos: [*infos, by_one_key()]),
    "signing_time.future": lambda: judge(build("S(OC)"), world.context(now=world.NOW - timedelta(days=2))),
    "attrs.not_der": lambda: by_hand(usual(DOMAIN)[::-1], acme().signing),
    "attrs.order": lambda: by_hand(usual()[::-1], acme().users["alice"]),
    "attrs.cardinality": lambda: by_hand(usual()[:1], acme().users["alice"]),
    "attrs.confusion": lambda: by_hand(None, acme().users["alice"], content=der.set_of(usual())),
    "attrs.absent": lambda: by_hand(None, acme().users["alice"]),
    "label.conflict": lambda: by_two([labelled(ESSSecurityLabel("1.2.3").write())], []),
    "label.unknown_policy": lambda: judge(message(_labelled_by_alice(der.null()))),
    "label.invalid": lambda: by_food("Food:Luxury"),
    "label.denied": lambda: by_food("Food:Luxury::Sweet:Lactose"),
    "ess.placement": lambda: judge(message(world.signed(S1, acme().users["bob"], unsigned=[world.history()]))),
    "ess.cardinality": lambda: judge(message(world.signed(S1, acme().users["bob"], extra=[world.history()] * 2))),
    "mlh.conflict": lambda: by_two([world.history()], [world.history(2)], S1),
    "mlh.overflow": lambda: judge(message(world.signed(S1, acme().users["bob"], extra=[world.history(65)]))),
    "mime.signature_has_content": lambda: judge(clear(_with_content())),
    "mime.parts": lambda: judge(clear(more=b"\r\nby the way")),
    "mime.duplicate_header": lambda: judge(clear(head=b"Content-Type: text/plain\r\n")),
    "mime.content_type": lambda: judge(opaque(lambda e: e.replace(b"application/pkcs7-mime;", b"application pkcs7;"))),
    "mime.duplicate_parameter": lambda: judge(opaque(lambda e: e.replace(*DOUBLE_TYPE))),
    "mime.transfer_encoding": lambda: judge(opaque(lambda e: e.replace(b": base64", b": rot13"))),
    "mime.outside_text": lambda: judge(clear(text=b"pay this\r\n")),
    "mime.smime_type": lambda: judge(opaque(lambda e: e.replace(b"=signed-data", b"=enveloped-data"))),
    "mime.base64": lambda: judge(opaque(lambda e: e.replace(b"\r\n\r\n", b"\r\n\r\n*", 1))),
    "mime.boundary": lambda: judge(_near_boundary()),
    "mime.bad_field": lambda: judge(b"X: y\r\nno field\r\n" + build("S(OC)")),
    "mime.embedded": lambda: judge(message(_mixed(S1))),
    "cms.malformed": lambda: judge(message(smime.pkcs7_mime(b"\x30\x03\x02\x01\x00", "signed-data"))),
    "x400.malformed": lambda: covered(world.entity("S(OC)", text=X400 + b"\r\n")),
    "cms.no_content": lambda: judge(message(smime.pkcs7_mime(_detached(), "signed-data"))),
    "cms.unsupported": lambda: judge(cms(oids.ID_DIGESTED_DATA, der.sequence())),
    "cms.trailing": lambda: judge(message(smime.pkcs7_mime(_with_content() + b"\0", "signed-data"))),
    "cms.digest_algorithms": lambda: by_hand(usual(), acme().users["alice"], digests=()),
    "limit.*": limited,
}  # fmt: skip

# declared for what is being built, or what no message of today can show; each with its reason
NOT_SHOWN = {
    "mime.malformed": "a net below the readers of MIME, each of which has flags of its own and raises nothing",
}

# of which layer each of these messages is flagged, and what was seen there
SEEN: dict[str, tuple[str | None, str]] = {
    "naming.cn": ("1", "the common name is Acme gateway, expected domain-signing-authority"),
    "naming.cn_missing": ("1", "no common name, expected domain-signing-authority"),
    "naming.cn_multiple": ("1", "2 common names, expected one"),
    "naming.rfc822_local": ("1", "the address alice@acme.example does not begin with domain-signing-authority@"),
    "naming.lookalike": ("1", "the common name is domаin-signing-authority, expected domain-signing-authority"),
    "naming.x400": ("1", "the address C=US;A= ;P=Acme;O=Acme;S=Doe;G=Alice is somebody else's"),
    "naming.no_address": ("1", "the agreed convention wants an address, the certificate has none"),
    "naming.not_pinned": ("1", "the certificate is none of those pinned for this domain"),
    "naming.convention": ("1", "mailbox"),
    "address.invalid": ("1", "the address domain-signing-authority@acme..example has no domain that can be used"),
    "mapping.mismatch": ("1", "the rfc822 name of the authority does not cover acme.example"),
    "mapping.not_comparable": ("1", "no form of the authority's name can be compared with acme.example"),
    "mapping.no_mail_form": ("1", "only a directory name nobody vouches for connects the authority with acme.example"),
    "mapping.too_general": ("1", "example may not speak for acme.example"),
    "sigtype.multiple": ("1", "2 signature type attributes"),
    "sigtype.syntax": ("1", "the sequence of types is empty"),
    "sigtype.inconsistent": ("1", "absent against domain"),
    "sigtype.addattr_not_alone": ("1", "additional attributes stands beside domain"),
    "sigtype.multi_value": ("1", "the attribute has 2 values, expected one"),
    "sigtype.repeated": ("1", "a type is listed more than once"),
    "sigtype.unsigned": ("1", "a signature type among the unsigned attributes is ignored"),
    "sigtype.legacy_oid": ("1", "the attribute is identified by id-sti itself, as cryptlib does"),
    "sigtype.unknown": ("1", "type idStiDelegatedOriginatorSig is not known"),
    "encapsulation.missing": ("1", "inside is content, and no signature below"),
    "encapsulation.unknown": ("1", "layer 1.1 is closed"),
    "null.uncovered": ("1", "around it is nothing"),
    "null.econtenttype": ("1.1", "the content is idCtReceipt"),
    "null.detached": ("1.1", "multipart/signed around a signature without signers"),
    "null.redundant": ("1.1", "inside is layer 1.1.1, signed"),
    "coverage.ciphertext_only": ("1", "an encryption lies inside, and in it no signature of somebody From names"),
    "coverage.unknown": ("1", "layer 1.1 is closed"),
    "enc.unsigned": ("1", "no signature in the message is valid"),
    "enc.unauthenticated": ("1", "aes256-cbc without a signature inside"),
    "enc.outdated": ("1", "des-ede3-cbc: opened in archives only"),
    "enc_agent.mapping": ("1", "the rfc822 name of the authority does not cover acme.example"),
    "enc_agent.unknown": ("1", "no originatorInfo"),
    "from.invalid": (None, "words without an address"),
    "header.mismatch": ("1", 'subject: signed was "other plans", there is "plans"'),
    "from.outer_inner_differ": (None, "inside it is alice@acme.example"),
    "header.outer_inner_differ": ("1.1.1", "subject"),
    "sender.mismatch": (None, "Sender is outside the domain of the authority"),
    "inner.invalid": ("1.1", "invalid: the content has another digest than the one signed"),
    "signature.invalid": ("1", "invalid: the content has another digest than the one signed"),
    "replay": ("1", "signed at 2026-11-23T12:00:00+00:00"),
    "domain.transit": ("1", "the rfc822 name of the authority does not cover acme.example"),
    "domain.missing": (None, "no valid domain signature, agreed for acme.example"),
    "originator.missing": (None, "no valid signature of its originator, agreed for acme.example"),
    "enc.missing": (None, "not encrypted, agreed for acme.example"),
    "alg.not_agreed": ("1", "signed with ecdsa-sha256, agreed with acme.example: rsa-pss-sha256"),
    "alg.weak": ("1", "rsa-1024 (not computed: this is no archive)"),
    "alg.unsupported_sibling": ("1", "signature algorithm 1.2.3.4"),
    "alg.invalid_sibling": ("1", "the signature does not fit content and key"),
    "countersignature.invalid": ("1", "by CN=domain-signing-authority: a countersignature with a content type"),
    "multisig.removed": ("1", "a signature by sha256WithRsa with sha256 is not there as it was"),
    "multisig.added": ("1", "2 signatures beside one that names 1"),
    "signing_time.future": ("1", "signed at 2026-11-23T12:00:00+00:00"),
    "attrs.not_der": ("1", "the signature is right over the attributes as they came, and not in the order of DER"),
    "attrs.order": ("1", "the signature is right over the attributes as they came, and not in the order of DER"),
    "attrs.cardinality": ("1", "the message digest is not among the signed attributes"),
    "attrs.confusion": ("1", "the signed content is a set of signed attributes"),
    "attrs.absent": ("1", "there are no signed attributes"),
    "label.conflict": ("1", "the signers of a layer state different labels"),
    "label.unknown_policy": ("1", "a label that cannot be read: tag 0x05 where 0x31 is expected"),
    "label.invalid": ("1", "Luxury needs a category that is missing, or only one of several"),
    "label.denied": ("1", "not cleared for Lactose"),
    "ess.placement": ("1", "idAaMlExpandHistory stands in the unsigned attributes"),
    "ess.cardinality": ("1", "2 attributes idAaMlExpandHistory, expected one"),
    "mlh.conflict": ("1", "the signers state different expansion histories"),
    "mlh.overflow": ("1", "more than 64 lists"),
    "mime.signature_has_content": ("1", "the signature part has a content of its own"),
    "mime.parts": ("1", "3 parts, expected 2"),
    "mime.duplicate_header": ("1", "Content-Type stands 2 times, Content-Transfer-Encoding 0"),
    "mime.content_type": ("1", "Content-Type: 'application pkcs7; smime-type=signed-data; name=smime.p7m'"),
    "mime.duplicate_parameter": ("1", "smime-type stands twice in Content-Type"),
    "mime.transfer_encoding": ("1", "'rot13': unknown content transfer encoding"),
    "mime.outside_text": ("1", "8 octets before the parts, 0 behind them"),
    "mime.smime_type": ("1", "smime-type says 'enveloped-data', the structure is signed-data"),
    "mime.base64": ("1", "'base64': base64 with other characters, or of a wrong length"),
    "mime.boundary": ("1", "a line begins as a delimiter of the parts and goes on"),
    "mime.bad_field": (None, "field 2 of the header: b'no field\\r\\n'"),
    "mime.embedded": (
        None,
        "protected parts inside the content: 1 S[originator](OC) accepted, level originator_direct",
    ),
    "cms.malformed": ("1", "tag 0x02 where 0x06 is expected"),
    "x400.malformed": ("1.1.1", "a value is missing"),
    "cms.no_content": ("1", "1 signers, and no content within or beside"),
    "cms.unsupported": ("1", "content type idDigestedData is not handled"),
    "cms.trailing": ("1", "1 octets follow the structure"),
    "cms.digest_algorithms": ("1", "the signers use sha256"),
    "limit.*": ("1", "limit certificates exceeded"),
}

STOPS = ("ExpansionStopped", "SigningRefused")  # errors that carry a reason, and no flag


def _blurred() -> Verdict:
    """An authority that is a person as well."""
    identity = interpersonal.certified(
        "signing", f"cn={DSA}", interpersonal.address_content(), addresses=(f"{DSA}{AT}",)
    )
    return judge(message(world.signed(S1, identity, extra=[DOMAIN])))


def _directory() -> world.Certificate:
    return made.certificate(f"cn={DSA},o=acme,c=us")


def _self_made() -> bytes:
    """An originator with a certificate of their own making in acme's name, inside a signature by its authority."""
    person = pki.Identity(made.certificate("cn=Alice,o=acme,c=us", f"alice{AT}"), made.key())
    inner = world.signed(world.TEXT, person)
    return world.signed(inner, pki.Identity(_directory(), made.key()), extra=[DOMAIN])


def _labelled_by_alice(value: bytes) -> bytes:
    return world.signed(world.TEXT, acme().users["alice"], extra=[labelled(value)])


def _with_content() -> bytes:
    return signed_data.sign(world.TEXT, oids.ID_DATA, (Signing(world.credential(acme().users["alice"])),))


def _stating_its_header() -> bytes:
    stated = SecureHeaderFields("relaxed", (SecureField("Subject", "other plans"),))
    extra = [attributes.attribute(oids.ID_AA_SECURE_HEADER_FIELDS, stated.write())]
    return world.signed(world.TEXT, acme().users["alice"], extra=extra)


def _countersigned() -> Attribute:
    return attributes.attribute(oids.ID_COUNTERSIGNATURE, sibling(ES256.identifier.raw))


def _detached() -> bytes:
    signing = Signing(world.credential(acme().users["alice"]))
    return signed_data.sign(world.TEXT, oids.ID_DATA, (signing,), detached=True)


def _near_boundary() -> bytes:
    entity = world.entity("S~(OC)")
    boundary = entity[entity.index(b"\r\n--") + 2 :].partition(b"\r\n")[0]
    return message(entity.replace(b"attack", boundary + b"x\r\nattack"))


def _mixed(part: bytes) -> bytes:
    return b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n' + part + b"\r\n--b--\r\n"


def _through_beta() -> bytes:
    domain = [world.typed(world.SignatureType.DOMAIN)]
    return message(world.signed(world.entity("S[domain](S0(OC))"), world.beta().signing, extra=domain))


def verdict_with(code: str) -> Verdict:
    wanted = MESSAGES[code]
    return judge(build(wanted)) if isinstance(wanted, str) else wanted()  # type: ignore[operator]


# --- what holds for every code ---------------------------------------------------------------------------------------


def test_every_code_is_shown_by_a_message_or_said_not_to_be() -> None:
    assert set(MESSAGES) | set(NOT_SHOWN) == set(CODES)
    assert not set(MESSAGES) & set(NOT_SHOWN)


@pytest.mark.requirement("R3183-3.1.1-21")
@pytest.mark.parametrize("code", MESSAGES)
def test_a_message_bears_the_code_and_is_told_why(code: str) -> None:
    verdict = verdict_with(code)
    [seen, *_] = [f for f in verdict.flags if f.code == code or (code == "limit.*" and f.code.startswith("limit."))]
    entry = CODES[code]
    assert (seen.layer, seen.text) == SEEN[code]
    assert (seen.severity, seen.clause) == (entry.severity, entry.clause)
    assert not (verdict.accepted and entry.severity is Severity.VIOLATION)
    said = list(report(verdict, explain=True))
    at = said.index(f"  {entry.severity}: {seen.code}: {entry.meaning}")
    told = [line.strip() for line in said[at + 1 : at + 6]]
    assert any(line.startswith(f"clause: {entry.clause}") for line in told)
    assert f"seen: {seen.text}" in told
    assert seen.text != entry.meaning  # what the code means is said before; this is what it is about here
    assert not entry.would_pass or f"would have passed: {entry.would_pass}" in told
    assert not entry.remedy or f"what to do: {entry.remedy}" in told


CLAUSES = re.compile(r"RFC \d+( [0-9A-Z][0-9.]*)?|(decisions|threats) [AT]-\d\d")


@pytest.mark.parametrize("code", CODES)
def test_the_clause_of_an_entry_can_be_looked_up(code: str) -> None:
    clause = CODES[code].clause
    assert CLAUSES.fullmatch(clause)
    if not clause.startswith("RFC"):
        assert f"\n### {clause.split()[1]}\n" in OURS


def test_every_decision_that_is_cited_stands_in_the_page() -> None:
    """In code, options and pages; tests cite them as well."""
    pages = [page for page in DOCS.rglob("*.md") if page.name not in ("rfc3183.md", "conformance.md")]
    sources = [*pages, *(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    cited = {number for file in sources for number in re.findall(r"\b[AT]-\d\d\b", file.read_text())}
    assert {number for number in cited if f"\n### {number}\n" not in OURS} == set()


@pytest.mark.parametrize("code", CODES)
def test_an_entry_can_be_read_by_people(code: str) -> None:
    entry = CODES[code]
    assert all((entry.clause, entry.meaning, entry.arises))
    assert entry.remedy or entry.severity is not Severity.VIOLATION
    for text in (entry.clause, entry.meaning, entry.arises, entry.remedy, entry.would_pass):
        assert text == text.strip()
        assert not text.endswith(".")
    assert bool(entry.would_pass) is (entry.severity is not Severity.INFO)
    assert flag(code).text == entry.meaning


def test_a_code_stands_in_one_family_only() -> None:
    assert sum(len(family.codes) for family in FAMILIES) == len(CODES)
    assert all(family.about.endswith(".") for family in FAMILIES)


def test_all_limits_share_an_entry() -> None:
    assert catalogue.entry("limit.depth") is CODES["limit.*"]
    assert flag("limit.depth").severity is Severity.VIOLATION
    with pytest.raises(KeyError):
        flag("no.such.code")


def test_the_program_raises_no_code_that_is_not_declared() -> None:
    """Every string of the program that has the form of a code of one of these families is one."""
    families = {code.partition(".")[0] for code in CODES}
    for path, text in _strings():
        family, dot, name = text.partition(".")
        if dot and family in families and name.replace("_", "").isalpha() and name.islower():
            assert text in CODES or text in OTHERS or text in DECISIONS or family == "limit", f"{path.name}: {text}"


def _strings() -> Iterator[tuple[Path, str]]:
    for path in SOURCES.rglob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        reasons = {id(argument) for call in calls if call.func.id in STOPS for argument in call.args}  # type: ignore[attr-defined]
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in reasons:
                yield path, node.value


def test_a_signature_that_is_too_weak_does_not_hold_whatever_it_says_it_is() -> None:
    assert "signature.invalid" in world.codes(short_key(), "violation")
