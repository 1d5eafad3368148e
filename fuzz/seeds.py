"""Where the first inputs come from: the vectors of the tests, and the corpora beside the project where they are."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from domsec import der, oids
from domsec.cms.algorithms import algorithm_identifier, default_signature_algorithm, oaep
from domsec.cms.credential import PrivateKeyCredential
from domsec.errors import DomsecError, KeyUnusable
from domsec.mime import fields, smime
from domsec.stores.key_protocol import Act, Request, key_digest
from domsec.trust.issue import PrivateKey, Role
from domsec.trust.request import request
from fuzz import directories
from fuzz.world import ORACLE, ROOT, role_keys

CORPORA = ROOT.parent / "shared" / "corpora"
LARGEST = 64 * 1024  # octets of a seed: small ones are mutated oftener
_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----(.*?)-----END", re.DOTALL)
_MAIL = {".eml", ".msg", ".txt", ".mime", ".raw", ".p7m", ""}


def _files(*folders: Path) -> Iterator[bytes]:
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and 0 < file.stat().st_size <= LARGEST:
                yield file.read_bytes()


def chosen(found: Iterable[bytes], most: int) -> list[bytes]:
    """At most `most` of them, each once: the same ones every time, from all over the first twenty times as many."""
    by_digest = {hashlib.sha256(octets).digest(): octets for octets in itertools.islice(found, 20 * most)}
    return [by_digest[digest] for digest in sorted(by_digest)][:most]


def messages() -> Iterator[bytes]:
    yield from _files(ORACLE / "msgs")
    if CORPORA.exists():
        for folder in ("mail-parsers", "collector-made-attacks/mime", "misc-smime", "thunderbird", "rfc4134"):
            yield from (octets for octets in _files(CORPORA / folder) if b":" in octets[:200])


def headers() -> Iterator[bytes]:
    """Values of header fields."""
    for octets in messages():
        try:
            header, _ = fields.split_message(octets)
        except DomsecError:
            continue
        yield from (field.value.encode("utf-8", "surrogateescape") for field in header.fields if _is_read(field.name))


def _is_read(name: str) -> bool:
    return name.startswith("content-") or name in ("from", "to", "cc", "sender", "authentication-results", "reply-to")


def structures() -> Iterator[bytes]:
    """What is in S/MIME messages, and files of CMS."""
    for octets in messages():
        yield from _inside(octets)
    if CORPORA.exists():
        for folder in ("fuzz-cms", "mbedtls-pkcs7", "cms-lib-fixtures", "pyca", "openssl", "rfc4134"):
            yield from (_binary(octets) for octets in _files(CORPORA / folder))


def _inside(octets: bytes) -> Iterator[bytes]:
    """The CMS in a message, and in what is inside of it as far as nothing has to be decrypted."""
    try:
        found = smime.recognise(octets)
        parts = [found] if not isinstance(found, smime.Other) else []
        parts += [smime.recognise(part.entity) for part in smime.embedded(octets)]
    except DomsecError:
        return
    for part in parts:
        if isinstance(part, smime.Pkcs7):
            yield part.der
        elif isinstance(part, smime.ClearSigned):
            yield part.signature_der


def _binary(octets: bytes) -> bytes:
    match = _PEM.search(octets)
    return octets if match is None else _decoded(match) or octets


def _decoded(block: re.Match[bytes]) -> bytes:
    try:
        return base64.b64decode(block[1])
    except binascii.Error:
        return b""


def values() -> Iterator[bytes]:
    """Attribute values, and whatever else stands by itself inside of structures."""
    for octets in structures():
        yield from _attribute_values(octets)
    if CORPORA.exists():
        for folder in ("rfc-structures", "security-labels"):
            yield from (_binary(octets) for octets in _files(CORPORA / folder))


def _attribute_values(octets: bytes) -> Iterator[bytes]:
    """The values in every SEQUENCE { OID, SET }, found by walking."""
    waiting = [memoryview(octets)]
    while waiting:
        reader = der.Reader(waiting.pop())
        try:
            while not reader.at_end():
                tag = reader.peek()
                if tag is None or not tag & der.CONSTRUCTED:
                    reader.skip()
                    continue
                content = reader.content(tag)
                waiting.append(content)
                if tag == der.SEQUENCE and len(content) > 4 and content[0] == der.OID:
                    inner = der.Reader(content)
                    inner.oid()
                    if inner.peek() == der.SET:
                        inner.enter(der.SET)
                        while not inner.at_end():
                            yield bytes(inner.skip())
        except DomsecError:
            continue


def certificates() -> Iterator[bytes]:
    """Certificates in DER, and chains of them."""
    folders = [ORACLE / "pki"]
    if CORPORA.exists():
        folders += [CORPORA / name for name in ("nist-pkits", "botan-x509", "boringssl-pki", "pyca", "bouncycastle")]
    for octets in _files(*folders):
        blocks = _PEM.finditer(octets) if b"CERTIFICATE" in octets else ()
        parts = [octets for octets in map(_decoded, blocks) if octets]
        if octets[:1] == b"\x30" and b"\x06\x03\x55\x04" in octets:
            parts = [octets]
        yield from parts
        if len(parts) > 1:
            yield b"".join(parts)


def certification_requests() -> Iterator[bytes]:
    """Requests in DER for every role, with the keys of people and authorities."""
    for role, credentials in role_keys().items():
        for credential in credentials:
            assert isinstance(credential, PrivateKeyCredential)
            signer = role_keys()["signing"][0] if isinstance(credential.key, X25519PrivateKey) else None
            key = cast("PrivateKey", credential.key)
            with contextlib.suppress(KeyUnusable):
                yield request(cast("Role", role), "acme.example", key, signer=signer)
                yield request("user", "zoë@acme.example", key, name="Zoë", signer=signer)


def lists() -> Iterator[bytes]:
    """Revocation lists in DER."""
    folders = [ORACLE / "pki" / "crl"]
    if CORPORA.exists():
        folders += [CORPORA / name for name in ("nist-pkits", "botan-x509", "boringssl-pki", "pyca")]
    for folder in folders:
        for file in sorted(folder.rglob("*crl*")):
            if file.is_file() and file.stat().st_size <= LARGEST:
                yield _binary(file.read_bytes())


def ocsp_responses() -> Iterator[bytes]:
    """OCSP responses in DER, made here and of the corpora."""
    signing = role_keys()["signing"][0]
    digest = algorithm_identifier(oids.SHA1)
    hashed = der.octet_string(bytes(20))
    name = der.sequence(digest.raw, hashed, hashed, der.integer(7))
    time = der.tlv(der.GENERALIZED_TIME, b"20261123120000Z")
    revoked = der.implicit(1, der.sequence(time, der.explicit(0, der.tlv(der.ENUMERATED, b"\1"))))
    states = (der.implicit(0, der.null()), revoked, der.implicit(2, der.null()))
    singles = [der.sequence(name, state, time, der.explicit(0, time)) for state in states]
    data = der.sequence(der.tlv(der.context(2), hashed), time, der.sequence(*singles))
    certificates = der.explicit(0, der.sequence(signing.certificate.der))
    algorithm = der.sequence(der.oid(oids.ECDSA_WITH_SHA256))
    basic = der.sequence(data, algorithm, der.bit_string(bytes(70)), certificates)
    inner = der.sequence(der.oid(oids.ID_PKIX_OCSP_BASIC), der.octet_string(basic))
    yield der.sequence(der.tlv(der.ENUMERATED, b"\0"), der.explicit(0, inner))
    for folder in (CORPORA / "boringssl-pki" / "ocsp_unittest", CORPORA / "botan-x509" / "ocsp"):
        for file in sorted(folder.glob("*")) if folder.exists() else ():
            yield _binary(file.read_bytes())


def dialogues() -> Iterator[bytes]:
    """Clients of the SMTP server; the octet in front chooses how it listens."""
    hello = {0: b"LHLO me\r\n", 1: b"EHLO me\r\n", 2: b"LHLO me\r\n", 3: b"HELO me\r\n"}
    transaction = (
        b"MAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=a+2B SMTPUTF8\r\n"
        b'RCPT TO:<c@d.example> NOTIFY=NEVER\r\nRCPT TO:<"e f"@[192.0.2.1]> ORCPT=rfc822;e\r\nDATA\r\n'
    )
    for choice, greeting in hello.items():
        for how in (0, 16, 120):
            yield bytes((choice | how,)) + greeting + b"STARTTLS\r\n" + greeting + transaction + b".\r\nQUIT\r\n"
            yield bytes((choice | how,)) + greeting + transaction + b"Subject: x\r\n\r\n..dot\r\n.\r\nRSET\r\nQUIT\r\n"
        yield bytes((choice,)) + b"XCLIENT ADDR=192.0.2.7 LOGIN=a+40b HELO=x\r\n" + greeting + transaction
        yield bytes((choice,)) + greeting + b"XFORWARD NAME=x ADDR=[UNAVAILABLE]\r\nNOOP\r\nVRFY x\r\nBDAT 3 LAST\r\n"
    if CORPORA.exists():
        for octets in _files(CORPORA / "smtp-smuggling"):
            yield b"\1" + hello[1] + transaction + octets


def packets() -> Iterator[bytes]:
    """Mail servers, for the milter."""

    def packet(command: bytes, data: bytes = b"") -> bytes:
        return (1 + len(data)).to_bytes(4, "big") + command + data

    def options(version: int, protocol: int) -> bytes:
        return packet(b"O", b"".join(n.to_bytes(4, "big") for n in (version, 0x1FF, protocol)))

    connected = packet(b"D", b"Cj\0gw\0{client_addr}\x00192.0.2.1\0") + packet(b"C", b"client\x004\0\x19192.0.2.1\0")
    envelope = (
        packet(b"H", b"client\0") + packet(b"D", b"M{auth_authen}\0a\0") + packet(b"M", b"<a@b.example>\0SIZE=1\0")
    )
    envelope += packet(b"R", b"<c@d.example>\0NOTIFY=NEVER\0")
    header = packet(b"L", b"Subject\0 x\n\ty\0") + packet(b"L", b"Authentication-Results\0 gw; smime=pass\0")
    message = envelope + packet(b"T") + header + packet(b"N") + packet(b"B", b"hello\r\n") + packet(b"D", b"Ei\x004X\0")
    for first in (options(6, 0x1FFFFF), options(2, 0x7F)):
        yield first + connected + message + packet(b"E") + envelope + packet(b"A") + packet(b"Q")
        yield first + message + packet(b"E", b"more") + packet(b"K") + connected + message + packet(b"E")
        yield first + packet(b"C", b"client\0U") + packet(b"U", b"XYZ\0") + packet(b"R", b"<c@d.example>\0")


def answers() -> Iterator[bytes]:
    """Servers, for the SMTP client."""
    hello = b"220 gw\r\n250-gw\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n"
    for choice in range(4):
        for tls in (4, 8):
            secure = b"220 gw\r\n250-gw\r\n250 STARTTLS\r\n220 go\r\n250-gw\r\n250 DSN\r\n"
            yield bytes((choice | tls,)) + secure + b"250 ok\r\n" * 4 + b"354 go\r\n" + b"250 ok\r\n" * 3
        first = bytes((choice,))
        yield first + hello + b"250 2.1.0 ok\r\n" + b"250 2.1.5 ok\r\n" * 3 + b"354 go\r\n" + b"250 2.0.0 ok\r\n" * 3
        yield first + b"220 gw\r\n250 gw\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n451 later\r\n354 go\r\n250 ok\r\n"
        yield first + b"220 gw\r\n500 what\r\n250 gw\r\n421 4.3.2 bye\r\n"


def requests() -> Iterator[bytes]:
    """Clients of the key process: what each of its keys is for, and what it is not for."""
    data = der.sequence(der.null())
    for name, credentials in role_keys().items():
        for credential in credentials:
            digest, public_key = key_digest(credential.certificate), credential.certificate.public_key
            transports = (algorithm_identifier(oids.RSA_ENCRYPTION, der.null()), oaep())
            asked: list[tuple[Any, ...]] = [(Act.EXCHANGE, credential.certificate.spki)]
            asked += [(Act.DECRYPT, transport.raw, bytes(255) + b"\1") for transport in transports]
            if not isinstance(public_key, X25519PublicKey):
                algorithm = default_signature_algorithm(public_key)
                asked.append((Act.SIGN, algorithm.identifier.raw, algorithm.digest.identifier.raw, data))
            for act, *arguments in asked:
                request = Request(act, name, digest, tuple(arguments)).encode()
                yield len(request).to_bytes(4) + request


def responses() -> Iterator[bytes]:
    """Key processes, for those who ask."""
    for status, said in ((0, bytes(64)), (1, b"no"), (2, b"not so"), (3, b"not now"), (9, b"\xffwhat\n")):
        yield (len(said) + 1).to_bytes(4) + bytes((status,)) + said


def ldap_answers() -> Iterator[bytes]:
    """Directories: entries with certificates, references, results."""
    done = der.tlv(0x65, der.integer(0, der.ENUMERATED), der.octet_string(b""), der.octet_string(b""))
    reference = der.tlv(0x73, der.octet_string(b"ldap://x/"))
    for octets in certificates():
        for name in (b"userCertificate;binary", b"userSMIMECertificate"):
            attribute = der.sequence(der.octet_string(name), der.set_of([der.octet_string(octets)]))
            entry = der.tlv(0x64, der.octet_string(b"dc=example"), der.sequence(attribute))
            yield b"".join(der.sequence(der.integer(1), each) for each in (entry, reference, done))
    yield der.sequence(der.integer(1), done)


def dns_answers() -> Iterator[bytes]:
    """Resolvers: what directories.QUERY is answered with."""
    import dns.flags
    import dns.message
    import dns.rrset

    for octets in itertools.islice(certificates(), 40):
        for flags in (0, dns.flags.AD):
            made = dns.message.make_response(directories.query())
            made.flags |= flags
            made.answer.append(dns.rrset.from_text(directories.OWNER, 60, "IN", "SMIMEA", f"3 0 0 {octets.hex()}"))
            yield made.to_wire()


def configurations() -> Iterator[bytes]:
    for folder in (ROOT / "docs", ROOT / "tests", ROOT / "src"):
        yield from (file.read_bytes() for file in sorted(folder.rglob("*.toml")) if file.stat().st_size <= LARGEST)
    for page in sorted((ROOT / "docs").rglob("*.md")):
        yield from (match[1].encode() for match in re.finditer(r"```toml\n(.*?)```", page.read_text(), re.DOTALL))
