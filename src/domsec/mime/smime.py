"""Which entities are S/MIME, and how ours are written (RFC 8551 3, RFC 1847).

`recognise` is `parse_entity` of the specification without the cryptography: it says what an entity holds, and in
`flags` what was odd about it. On anything ambiguous, where a mail reader might see another structure, the answer is
`Other` with the flag: such an entity is content and no security layer (threats T-24).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import DEFAULT, Limits
from domsec.mime import lexical, multipart, transfer_encoding
from domsec.mime.content_type import ContentType, parse_content_type, parse_disposition
from domsec.mime.fields import Header, split_message
from domsec.octets import Octets, Pieces, chunks, join

PKCS7_MIME = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
PKCS7_SIGNATURE = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature"})
MESSAGES = frozenset({"message/rfc822", "message/global"})
SUFFIXES = ("p7m", "p7s", "p7c", "p7z")  # RFC 8551 3.10

_SHOWN = 60  # characters of what a stranger wrote

FILE_NAMES = {"certs-only": "smime.p7c", "compressed-data": "smime.p7z"}  # RFC 8551 3.2.1; else smime.p7m

MICALG = {  # RFC 8551 3.5.3.2
    "md5": "md5",
    "sha1": "sha-1",
    "sha224": "sha-224",
    "sha256": "sha-256",
    "sha384": "sha-384",
    "sha512": "sha-512",
}


Flags = tuple[tuple[str, str], ...]  # codes, with what was seen


@dataclass(frozen=True, slots=True)
class Pkcs7:
    """application/pkcs7-mime: a CMS ContentInfo, with whatever it holds."""

    der: Octets  # the transfer encoding undone; not looked at any further
    smime_type: str | None  # a hint only: RFC 8551 3.2.2
    flags: Flags = ()
    sniffed: bool = False  # recognised by the suffix of a file name: the caller goes on as if it were content


@dataclass(frozen=True, slots=True)
class ClearSigned:
    """multipart/signed with its two parts."""

    part: memoryview  # what is signed, exactly as received; the digest is over its canonical form
    signature_der: Octets
    outside_text: bool  # something stands before or behind the parts; nobody signed it
    micalg: str | None
    flags: Flags = ()


@dataclass(frozen=True, slots=True)
class Other:
    """Not S/MIME, or not certain enough to be."""

    content_type: ContentType | None  # None if there is none or it cannot be read
    flags: Flags = ()


Entity = Pkcs7 | ClearSigned | Other


@dataclass(frozen=True, slots=True)
class Embedded:
    """An S/MIME entity below a multipart or an attached message. It says nothing about the message (decisions A-10)."""

    path: str  # as IMAP counts parts: RFC 9051 6.4.5.1
    entity: memoryview
    header: Header | None = None  # of the attached message that it is in; None: of the message itself


class _OddError(Exception):
    """What stands here is no layer, and these are the code and the text of the flag that says why."""


def recognise(entity: Octets, limits: Limits = DEFAULT, sniff_suffix: bool = True) -> Entity:
    """What an entity is. Raises LimitExceeded only; everything malformed is `Other` with a flag."""
    header, body = split_message(entity, limits)
    return recognise_split(header, body, limits, sniff_suffix)


def recognise_split(header: Header, body: Octets, limits: Limits = DEFAULT, sniff_suffix: bool = True) -> Entity:
    """The same for a header and a body that are split already; fields that are not of the entity are ignored."""
    kind: ContentType | None = None
    try:
        kind = _content_type(header)
        if kind is None:
            return Other(None)
        if kind.full in PKCS7_MIME:
            return _pkcs7(header, body, kind, limits)
        if kind.full == "multipart/signed":
            return _clear_signed(header, body, kind, limits)
        if kind.full == "application/octet-stream" and sniff_suffix:
            return _sniffed(header, body, kind, limits)
    except _OddError as odd:
        code, text = odd.args
        return Other(kind, ((code, text),))
    return Other(kind)


def _content_type(header: Header) -> ContentType | None:
    found, encodings = header.all("content-type"), header.all("content-transfer-encoding")
    if len(found) > 1 or len(encodings) > 1:
        text = f"Content-Type stands {len(found)} times, Content-Transfer-Encoding {len(encodings)}"
        raise _OddError("mime.duplicate_header", text)
    if not found:
        return None
    try:
        return parse_content_type(found[0].value)
    except MalformedMessage:
        raise _OddError("mime.content_type", f"Content-Type: {found[0].value[:_SHOWN]!a}") from None


def _pkcs7(header: Header, body: Octets, kind: ContentType, limits: Limits) -> Pkcs7:
    if "smime-type" in kind.ambiguous:
        flags: Flags = (("mime.duplicate_parameter", "smime-type stands twice in Content-Type"),)
    else:
        flags = ()
    der, odd = _decoded(header, body, limits)
    smime_type = kind.parameters.get("smime-type")
    return Pkcs7(der, smime_type.lower() if smime_type else None, flags + odd)


def _decoded(header: Header, body: Octets, limits: Limits) -> tuple[Octets, Flags]:
    """The body without its transfer encoding; base64 with other characters is read and flagged."""
    field = header.first("content-transfer-encoding")
    encoding = _encoding_name(field.value) if field else ""
    try:
        return transfer_encoding.decode(body, encoding, limits), ()
    except LimitExceeded:
        raise
    except (MalformedMessage, Unsupported) as error:
        problem = f"{encoding[:_SHOWN]!a}: {error}"
        if encoding != "base64":
            raise _OddError("mime.transfer_encoding", problem) from None
    try:
        return transfer_encoding.decode_base64_leniently(body), (("mime.base64", problem),)
    except MalformedMessage as error:
        raise _OddError("mime.transfer_encoding", f"'base64': {error}") from None


def _encoding_name(value: str) -> str:
    try:
        name, at = lexical.token(value, lexical.skip_comments(value, 0))
        if lexical.skip_comments(value, at) == len(value):
            return name.lower()
    except MalformedMessage:
        pass
    raise _OddError("mime.transfer_encoding", f"Content-Transfer-Encoding: {value[:_SHOWN]!a}")


def _clear_signed(header: Header, body: Octets, kind: ContentType, limits: Limits) -> Entity:
    protocol = kind.parameters.get("protocol", "").strip().lower()
    if protocol not in PKCS7_SIGNATURE:
        return Other(kind)  # of OpenPGP, or of nobody
    if twice := sorted({"boundary", "protocol"} & set(kind.ambiguous)):
        raise _OddError("mime.duplicate_parameter", f"{' and '.join(twice)} stands twice in Content-Type")
    encoding = header.first("content-transfer-encoding")
    if encoding and _encoding_name(encoding.value) not in transfer_encoding.IDENTITY:
        text = f"a multipart in {encoding.value[:_SHOWN]!a}, which is never encoded (RFC 2045 6.4)"
        raise _OddError("mime.transfer_encoding", text)
    cut = _split(body, kind, limits)
    if len(cut.parts) != 2 or not cut.closed:
        raise _OddError("mime.parts", f"{len(cut.parts)} parts{'' if cut.closed else ' without an end'}, expected 2")
    flags: Flags = ()
    if cut.outside_text:
        text = f"{len(cut.preamble)} octets before the parts, {len(cut.epilogue)} behind them"
        flags += (("mime.outside_text", text),)
    if cut.near_misses:
        flags += (("mime.boundary", "a line begins as a delimiter of the parts and goes on"),)
    part, signature = cut.parts
    signature_header, signature_body = split_message(signature, limits)
    signature_kind = _content_type(signature_header)
    if signature_kind is None or signature_kind.full not in PKCS7_SIGNATURE:
        what = "without a type" if signature_kind is None else signature_kind.full[:_SHOWN]
        raise _OddError("mime.parts", f"the second part is {what}, expected application/pkcs7-signature")
    der, odd = _decoded(signature_header, signature_body, limits)
    micalg = kind.parameters.get("micalg")
    return ClearSigned(part, der, cut.outside_text, micalg.lower() if micalg else None, flags + odd)


def _split(body: Octets, kind: ContentType, limits: Limits) -> multipart.Multipart:
    try:
        return multipart.split(body, kind.parameters.get("boundary", ""), limits)
    except LimitExceeded:
        raise
    except MalformedMessage as error:
        raise _OddError("mime.parts", str(error)) from None


def _sniffed(header: Header, body: Octets, kind: ContentType, limits: Limits) -> Entity:
    """An octet-stream whose file name hints at CMS, and whose octets begin as a SEQUENCE."""
    if not _file_name(header, kind).lower().endswith(tuple("." + suffix for suffix in SUFFIXES)):
        return Other(kind)
    try:
        der, odd = _decoded(header, body, limits)
    except _OddError:
        return Other(kind)
    if der[:1] != b"\x30":
        return Other(kind)
    return Pkcs7(der, None, odd, sniffed=True)


def _file_name(header: Header, kind: ContentType) -> str:
    name = kind.parameters.get("name", "")
    field = header.first("content-disposition")
    if name or field is None:
        return name.strip()
    try:
        return parse_disposition(field.value).parameters.get("filename", "").strip()
    except MalformedMessage:
        return ""


def embedded(entity: Octets, limits: Limits = DEFAULT) -> tuple[Embedded, ...]:
    """Every S/MIME entity below the root, by walking multiparts and attached messages, outermost first.

    Parts that other readers may take for S/MIME are among them, flagged when they are recognised. Does not look into a
    part it has found. Raises LimitExceeded for too many parts or levels.
    """
    return embedded_split(*split_message(entity, limits), limits)


def embedded_split(header: Header, body: memoryview, limits: Limits = DEFAULT) -> tuple[Embedded, ...]:
    """The same for a root that is split already."""
    found: list[Embedded] = []
    seen = 1
    waiting = _parts(Embedded("", body), header, 0, limits)
    while waiting:
        part, depth, attached = waiting.pop()
        seen += 1
        if seen > limits.mime_parts:
            raise LimitExceeded("mime_parts")
        header, body = split_message(part.entity, limits)
        within = header if attached else part.header
        recognised = recognise_split(header, body, limits)
        if isinstance(recognised, Other) and not recognised.flags:
            waiting += _parts(Embedded(part.path, body, within), header, depth, limits)
        else:
            found.append(replace(part, header=within))
    return tuple(found)


def _parts(parent: Embedded, header: Header, depth: int, limits: Limits) -> list[tuple[Embedded, int, bool]]:
    """What a body has for parts, the last one first, with their depth and whether they are messages."""
    prefix = f"{parent.path}." if parent.path else ""
    parts = [
        (Embedded(f"{prefix}{place}", child, parent.header), depth + 1, attached)
        for place, child, attached in _children(header, parent.entity, limits)
    ]
    if parts and depth >= limits.mime_depth:
        raise LimitExceeded("mime_depth")
    return parts[::-1]


def _children(header: Header, body: memoryview, limits: Limits) -> Iterator[tuple[str, memoryview, bool]]:
    """The parts right inside: the end of each one's path, its octets, and whether it is an attached message."""
    try:
        kind = _content_type(header)
        if kind is None:
            return
        if kind.full in MESSAGES:
            field = header.first("content-transfer-encoding")
            encoding = _encoding_name(field.value) if field else ""
            # RFC 2046 5.2.1 allows none for message/rfc822; who writes one nevertheless is read by some
            yield "1", memoryview(transfer_encoding.decode(body, encoding, limits)), True
        elif kind.type == "multipart":
            for number, part in enumerate(_split(body, kind, limits).parts, 1):
                own, inside = split_message(part, limits)
                if kind.subtype == "digest" and own.first("content-type") is None:  # RFC 2046 5.1.5
                    yield f"{number}.1", inside, True
                else:
                    yield f"{number}", part, False
    except LimitExceeded:
        raise
    except (_OddError, MalformedMessage, Unsupported):
        return


def pkcs7_mime(
    der: Octets | Pieces, smime_type: str, name: str | None = None, *, binary: bool = False
) -> Octets | Pieces:
    """An application/pkcs7-mime entity around a CMS ContentInfo, without MIME-Version.

    `smime_type` is one of RFC 8551 3.2.2, or signed-receipt. `binary` leaves out base64, for inner layers towards
    those known to take it (RFC 8551 3.1.2).
    """
    file_name = name or FILE_NAMES.get(smime_type, "smime.p7m")
    head = (
        f"Content-Type: application/pkcs7-mime; smime-type={smime_type}; name={file_name}\r\n"
        f"Content-Transfer-Encoding: {'binary' if binary else 'base64'}\r\n"
        f"Content-Disposition: attachment; filename={file_name}\r\n"
        "\r\n"
    )
    return join(head.encode("ascii"), der if binary else transfer_encoding.encode_base64(der))


def clear_signed(part: Octets | Pieces, signature_der: Octets, micalg: str) -> Octets | Pieces:
    """A multipart/signed entity around `part`, which goes in unchanged and must be what was signed: canonical, 7bit.

    `micalg` is a value of MICALG, or several with commas between. The boundary follows from the signature, so that
    the same parts give the same octets.
    """
    boundary = _boundary(part, signature_der)
    head = (
        'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n'
        f" micalg={micalg if lexical.is_token(micalg) else lexical.quote(micalg)};"
        f' boundary="{boundary}"\r\n'
        "\r\n"
        f"--{boundary}\r\n"
    )
    middle = (
        f"\r\n--{boundary}\r\n"
        "Content-Type: application/pkcs7-signature; name=smime.p7s\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        "Content-Disposition: attachment; filename=smime.p7s\r\n"
        "\r\n"
    )
    signature = transfer_encoding.encode_base64(signature_der)
    close = f"\r\n--{boundary}--\r\n"
    return join(head.encode("ascii"), part, middle.encode("ascii"), signature, close.encode("ascii"))


def _boundary(part: Octets | Pieces, signature_der: Octets) -> str:
    digest = hashlib.sha256(signature_der).digest()
    while True:
        # "=_" cannot stand in quoted-printable nor in base64: RFC 2045 6.7, note 5
        boundary = f"=_domsec_{digest[:12].hex()}"
        if not _contains(part, boundary.encode("ascii")):
            return boundary
        digest = hashlib.sha256(digest).digest()


def _contains(octets: Octets | Pieces, wanted: bytes) -> bool:
    last = b""
    for chunk in chunks(octets):
        text = last + chunk
        if wanted in text:
            return True
        last = text[-len(wanted) :]
    return False
