"""Every limit at its edge: what has as much as is allowed passes, one more is a limit hit.

A row for each field of `Limits`: a number, and something that has so many, or so much, of what the field bounds.
Most are messages, taken apart and judged; the flag then keeps them from ever being accepted.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

import names
import pki
import signers
import world
from domsec import der, oids
from domsec.cms import content_info, signed_data
from domsec.cms.algorithms import ECDSA_SHA256
from domsec.cms.attributes import attribute
from domsec.cms.certificates import Certificate
from domsec.cms.credential import PrivateKeyCredential
from domsec.cms.enveloped_data import decrypt
from domsec.cms.signed_data import ContentDigests
from domsec.errors import DecryptionFailed, LimitExceeded
from domsec.limits import DEFAULT, Limits
from domsec.mime import smime
from domsec.services import mathematics
from domsec.services.check import examine
from domsec.services.layers import peel
from domsec.stores import ldap
from domsec.trust import issue
from domsec.trust.path import AnchorSet, Snapshot, Validator
from world import acme, beta, message

ALICE = acme().users["alice"]

Take = Callable[[Limits], set[str]]  # under these limits, the names of those that were hit


def mail(octets: bytes, *, known: tuple[Certificate, ...] = ()) -> Take:
    """Taken apart and judged. What hits a limit is not accepted."""

    def take(limits: Limits) -> set[str]:
        at = replace(world.context(beta().confidentiality, known=known), limits=limits)
        try:
            verdict = examine(peel(octets, at.keyring, limits), at).verdict
        except LimitExceeded as error:
            return {error.limit}
        hit = {f.code.removeprefix("limit.") for f in verdict.flags if f.code.startswith("limit.")}
        assert not (hit and verdict.accepted)
        return hit

    return take


def call(function: Callable[[Limits], object]) -> Take:
    def take(limits: Limits) -> set[str]:
        try:
            function(limits)
        except LimitExceeded as error:
            return {error.limit}
        return set()

    return take


# --- what has so many of something -----------------------------------------------------------------------------------


def layers(count: int) -> Take:
    """The content is one of them."""
    return mail(world.build("S(" * (count - 1) + "OC" + ")" * (count - 1)))


def multiparts(depth: int) -> Take:
    inner = world.TEXT
    for level in range(depth):
        line = f"--{level}".encode()
        inner = b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n%s\r\n%s\r\n%s--\r\n' % (level, line, inner, line)
    return mail(message(inner))


def parts(count: int) -> Take:
    """The multipart itself is one of them."""
    body = b"".join(b"--x\r\n" + world.TEXT + b"\r\n" for _ in range(count - 1))
    return mail(message(b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n' + body + b"--x--\r\n"))


def embedded(count: int) -> Take:
    """What is over is named and not judged, and nothing else becomes of it."""
    body = b"".join(b"--x\r\n" + world.entity("S(OC)") + b"\r\n" for _ in range(count))
    octets = message(b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n' + body + b"--x--\r\n")

    def take(limits: Limits) -> set[str]:
        verdict = world.judge(octets, replace(world.context(), limits=limits))
        return {"embedded"} if any(part.verdict is None for part in verdict.embedded) else set()

    return take


def header_fields(count: int) -> Take:
    plain = message(world.TEXT)
    more = count - plain.partition(b"\r\n\r\n")[0].count(b"\r\n") - 1
    return mail(b"X: y\r\n" * more + plain)


def header_octets(count: int) -> Take:
    plain = message(world.TEXT)
    size = len(plain.partition(b"\r\n\r\n")[0]) + 2
    return mail(b"X: " + b"y" * (count - size - 5) + b"\r\n" + plain)


def octets(count: int) -> Take:
    plain = message(world.TEXT)
    return mail(plain + b"x" * (count - len(plain)))


def expanding(count: int) -> Take:
    head = b"Content-Type: text/plain\r\n\r\n"
    return mail(message(world.compressed(head + b"x" * (count - len(head)))))


def compressed_times(ratio: int) -> Take:
    """A content as many times as large as what it was compressed to."""
    head = b"Content-Type: text/plain\r\n\r\n"
    size = next(n for n in range(100, 100_000) if n == ratio * len(zlib.compress(head + b"x" * (n - len(head)))))
    return mail(message(world.compressed(head + b"x" * (size - len(head)))))


def nested(depth: int) -> Take:
    def enter(limits: Limits) -> None:
        value = b""
        for _ in range(depth):
            value = der.sequence(value)
        reader = der.Reader(value, limits)
        for _ in range(depth):
            reader.enter(der.SEQUENCE)

    return call(enter)


def values(count: int) -> Take:
    def read(limits: Limits) -> None:
        reader = der.Reader(der.null() * count, limits)
        while not reader.at_end():
            reader.null()

    return call(read)


def certificates(count: int) -> Take:
    more = [names.certificate(f"cn={n}") for n in range(count - 1)]
    signing = signed_data.Signing(world.credential(ALICE))
    made = signed_data.sign(world.TEXT, oids.ID_DATA, [signing], certificates=more)
    return mail(message(smime.pkcs7_mime(made, "signed-data")))


def certificate_octets(size: int) -> Take:
    """It need not be a good one."""
    bag = der.sequence(
        der.integer(1),
        der.set_of([]),
        der.sequence(der.oid(oids.ID_DATA)),
        der.tlv(der.context(0), der.sequence(der.octet_string(bytes(size - 8)))),
        der.set_of([]),
    )
    return mail(message(smime.pkcs7_mime(content_info.wrap(oids.ID_SIGNED_DATA, bag), "certs-only")))


def crls(count: int) -> Take:
    made = signed_data.certificates_only([ALICE.certificate], [der.sequence(der.integer(n)) for n in range(count)])
    return mail(message(smime.pkcs7_mime(made, "certs-only")))


def signatures(count: int) -> Take:
    return mail(message(world.signed(world.TEXT, *[ALICE] * count)))


def attributes(count: int) -> Take:
    """Five are made by whoever signs."""
    extra = [attribute(f"1.2.{n}", der.null()) for n in range(count - 5)]
    return mail(message(world.signed(world.TEXT, ALICE, extra=extra)))


def attribute_octets(size: int) -> Take:
    def made(padding: int) -> bytes:
        return world.signed(world.TEXT, ALICE, extra=[attribute("1.2.3", der.octet_string(bytes(padding)))])

    signed = peel(message(made(500))).root.signed
    assert signed is not None
    assert signed.signers[0].signed_attributes is not None
    return mail(message(made(500 + size - len(signed.signers[0].signed_attributes.raw))))


def recipients(count: int) -> Take:
    to = [pki.Identity(names.certificate(f"cn={n}"), names.key()) for n in range(count)]
    return mail(message(world.encrypted(world.TEXT, *to)))


def rsa_bits(count: int) -> Take:
    return by_key(rsa.RSAPublicNumbers(65537, (1 << count - 1) + 1))


def rsa_exponent_bits(count: int) -> Take:
    return by_key(rsa.RSAPublicNumbers((1 << count - 1) + 1, (1 << 2047) + 1))


def by_key(claimed: rsa.RSAPublicNumbers) -> Take:
    """The signature is by another key and does not hold, which is found out only if it may be computed."""
    ca = acme().ca
    certificate = issue.issue("user", "alice@acme.example", claimed.public_key(), ca.certificate, ca.signing_key,
                              now=pki.START, days=pki.DAYS)  # fmt: skip
    signing = signed_data.Signing(PrivateKeyCredential(signers.key("rsa2048"), certificate))
    return mail(message(smime.pkcs7_mime(signed_data.sign(world.TEXT, oids.ID_DATA, [signing]), "signed-data")))


def certificate_candidates(count: int) -> Take:
    """The last of so many with the same issuer and serial number made the signature."""
    *others, own = [pki.identity("user", "alice@acme.example", acme().ca, serial=4711) for _ in range(count)]
    known = [one.certificate for one in (*others, own)]
    credential = world.credential(own)
    signed = peel(message(world.signed(world.TEXT, own))).root.signed
    assert signed is not None
    # without attributes, since one of them says which certificate it is
    bare = replace(signed.signers[0], signed_attributes=None, signature=credential.sign(world.TEXT, ECDSA_SHA256))

    def take(limits: Limits) -> set[str]:
        at = replace(world.context(), limits=limits)
        among = mathematics.candidates(bare, known, at)
        done = mathematics.check(bare, ContentDigests(world.TEXT), oids.ID_DATA, among, at, allow_bare=True)
        return set() if done.crypto == "valid" else {"certificate_candidates"}

    return take


def recipient_candidates(count: int) -> Take:
    """The last of so many for one key gives the content encryption key."""
    own = beta().confidentiality
    good, bad = (peel(message(world.encrypted(world.TEXT, own))).root.enveloped for _ in range(2))
    assert good is not None
    assert bad is not None
    many = replace(good, recipients=(*bad.recipients * (count - 1), *good.recipients))

    def take(limits: Limits) -> set[str]:
        try:
            decrypt(many, [world.credential(own)], limits)
        except DecryptionFailed:
            return {"recipient_candidates"}
        return set()

    return take


# --- paths: what lies beyond a limit is not found ---------------------------------------------------------------------


def path(field: str, certificate: Certificate, offered: list[Certificate], anchors: list[Certificate]) -> Take:
    def take(limits: Limits) -> set[str]:
        validator = Validator(Snapshot(), limits=limits)
        found = validator.validate(
            certificate, offered, anchors=AnchorSet(tuple(anchors)), now=pki.NOW, revocation="off"
        )
        return set() if found.state == "valid" else {field}

    return take


def below(parent: pki.Identity, name: str, *extensions: tuple[x509.ExtensionType, bool]) -> pki.Identity:
    key = issue.new_key("p256")
    assert isinstance(key, issue.SigningKey)
    return pki.Identity(reissued(parent, key, name, *extensions), key)


def reissued(
    parent: pki.Identity, key: issue.SigningKey, name: str, *extensions: tuple[x509.ExtensionType, bool]
) -> Certificate:
    return issue.issue_ca(name, key, now=pki.START, days=pki.DAYS, issuer_cert=parent.certificate,
                          issuer_key=parent.signing_key, extensions=extensions)  # fmt: skip


def path_length(count: int) -> Take:
    """From the person's certificate to the anchor, both counted."""
    above, offered = acme().ca, []
    for level in range(count - 2):
        above = below(above, f"level {level}")
        offered.append(above.certificate)
    leaf = pki.identity("user", "alice@acme.example", above)
    return path("path_length", leaf.certificate, offered, [acme().ca.certificate])


def path_tries(count: int) -> Take:
    """The last of so many anchors of one name signed it, and nothing in it says which."""
    anchors = [pki.ca("one of many") for _ in range(count)]
    key = issue.new_key("p256")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
    builder = (
        x509.CertificateBuilder(anchors[-1].certificate.x509.subject, subject, key.public_key(), 7)
        .not_valid_before(pki.START)
        .not_valid_after(pki.NOW + timedelta(days=1))
    )
    leaf = builder.sign(anchors[-1].signing_key, hashes.SHA256())
    offered = [one.certificate for one in anchors]
    return path("path_tries", Certificate(leaf.public_bytes(Encoding.DER)), [], offered)


def path_candidates(count: int) -> Take:
    """So many certificates of one CA complete a path; a critical extension spoils all but the last."""
    key = issue.new_key("p256")
    assert isinstance(key, issue.SigningKey)
    spoilt = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
    offered = [reissued(acme().ca, key, "between", spoilt) for _ in range(count - 1)]
    offered.append(reissued(acme().ca, key, "between"))
    leaf = pki.identity("user", "alice@acme.example", pki.Identity(offered[-1], key))
    return path("path_candidates", leaf.certificate, offered, [acme().ca.certificate])


def answer_octets(count: int) -> Take:
    """What a directory sends, whatever it is."""

    def receive(limits: Limits) -> None:
        connection = ldap._Connection(limits.answer_size)
        connection.data_received(bytes(count))
        if connection._lost is not None:
            raise connection._lost

    return call(receive)


def answer_certificates(count: int) -> Take:
    people = [pki.identity("user", f"{number}@beta.example", beta().ca) for number in range(count)]
    values = [(ldap.USER_CERTIFICATE, person.certificate.der) for person in people]
    return call(lambda limits: ldap.certificates_of([*values, *values], limits))


# --- the table ------------------------------------------------------------------------------------------------------

EDGES: Mapping[str, tuple[int, Callable[[int], Take]]] = {
    "depth": (3, layers),
    "mime_depth": (3, multiparts),
    "mime_parts": (4, parts),
    "embedded": (3, embedded),
    "header_fields": (12, header_fields),
    "header_size": (700, header_octets),
    "size": (500, octets),
    "expanded": (900, expanding),
    "ratio": (20, compressed_times),
    "der_depth": (5, nested),
    "der_values": (7, values),
    "certificates": (3, certificates),
    "certificate_size": (300, certificate_octets),
    "crls": (3, crls),
    "signers": (3, signatures),
    "attributes": (7, attributes),
    "attributes_size": (1000, attribute_octets),
    "recipients": (3, recipients),
    "rsa_bits": (2048, rsa_bits),
    "rsa_exponent_bits": (40, rsa_exponent_bits),
    "certificate_candidates": (3, certificate_candidates),
    "recipient_candidates": (3, recipient_candidates),
    "path_length": (4, path_length),
    "path_tries": (3, path_tries),
    "path_candidates": (3, path_candidates),
    "answer_size": (500, answer_octets),
    "answer_certificates": (3, answer_certificates),
}


def test_every_limit_has_its_edge_here() -> None:
    assert [field.name for field in fields(Limits)] == list(EDGES)


@pytest.mark.requirement("R2634-1.1-01")
@pytest.mark.parametrize("field", EDGES)
def test_as_much_as_is_allowed_passes_and_one_more_does_not(field: str) -> None:
    most, case = EDGES[field]
    limits = replace(DEFAULT, **{field: most})
    assert case(most)(limits) == set()
    assert case(most + 1)(limits) == {field}
    assert case(most + 1)(DEFAULT) == set()  # and nothing else is wrong with it


@pytest.mark.requirement("R2634-1.1-01")
def test_eight_layers_are_verified() -> None:
    assert layers(9)(DEFAULT) == set()
    verdict = world.judge(world.build("S(" * 8 + "OC" + ")" * 8))
    assert [layer.state for layer in verdict.layers] == ["valid"] * 8 + [None]
    assert layers(DEFAULT.depth)(DEFAULT) == set()
    assert layers(DEFAULT.depth + 1)(DEFAULT) == {"depth"}
