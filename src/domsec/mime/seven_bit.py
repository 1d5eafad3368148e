"""Making an entity fit for multipart/signed: 7bit throughout (RFC 8551 3.1.3).

Only for what nobody signed yet. Leaves that SMTP might change are encoded, text as quoted-printable and everything
else as base64; all other octets stay as they are. A multipart/signed inside must not change (RFC 1847 2.1).
"""

from __future__ import annotations

from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import DEFAULT, Limits
from domsec.mime import multipart, transfer_encoding
from domsec.mime.canonical import canonical
from domsec.mime.content_type import ContentType, parse_content_type
from domsec.mime.fields import Header, join_message, new_field, split_message
from domsec.octets import Octets, Pieces, in_one_place, join


def make_seven_bit(entity: Octets | Pieces, limits: Limits = DEFAULT) -> Octets | Pieces:
    """The canonical entity, encoded where it was not 7bit.

    Raises Unsupported where that would change what is signed or what MIME has no encoding for (header fields in
    UTF-8), MalformedMessage where the structure cannot be told.
    """
    return _seven_bit(canonical(entity), limits, depth=0)


def _seven_bit(entity: Octets | Pieces, limits: Limits, depth: int) -> Octets | Pieces:
    if transfer_encoding.is_seven_bit(entity):
        return entity
    if depth >= limits.mime_depth:
        raise LimitExceeded("mime_depth")
    header, body = split_message(in_one_place(entity), limits)
    if not transfer_encoding.is_seven_bit(header.raw):
        raise Unsupported("header fields that are not 7bit cannot be signed in the clear")
    if len(header.all("content-type")) > 1 or len(header.all("content-transfer-encoding")) > 1:
        raise MalformedMessage("a field that may stand once stands twice")
    field = header.first("content-type")
    kind = parse_content_type(field.value) if field else ContentType("text", "plain")
    if kind.full == "multipart/signed":
        raise Unsupported("a signed part that is not 7bit must not be changed")
    if kind.type == "multipart":
        return _multipart(header, body, kind, limits, depth)
    if kind.type == "message":
        inner = _seven_bit(body, limits, depth + 1)
        return join_message(header.without("content-transfer-encoding"), inner)
    return _leaf(header, body, kind, limits)


def _multipart(header: Header, body: memoryview, kind: ContentType, limits: Limits, depth: int) -> Octets | Pieces:
    boundary = kind.parameters.get("boundary", "")
    cut = multipart.split(body, boundary, limits)
    if not cut.parts or kind.ambiguous:
        raise MalformedMessage("multipart without parts")
    line = b"--" + boundary.encode("ascii", "replace")
    parts = [_seven_bit(part, limits, depth + 1) for part in cut.parts]
    # what stood before and behind the parts is for nobody: RFC 2046 5.1.1
    lines = [joined for part in parts for joined in (line, b"\r\n", part, b"\r\n")]
    return join_message(header.without("content-transfer-encoding"), join(*lines, line, b"--\r\n"))


def _leaf(header: Header, body: memoryview, kind: ContentType, limits: Limits) -> Octets | Pieces:
    field = header.first("content-transfer-encoding")
    content = transfer_encoding.decode(body, field.value if field else "", limits)
    encoded: Octets | Pieces
    if kind.type == "text":
        name, encoded = "quoted-printable", transfer_encoding.encode_quoted_printable(content)
    else:
        name, encoded = "base64", transfer_encoding.encode_base64(content)
    kept = header.without("content-transfer-encoding")
    fields = (*kept.fields, new_field("Content-Transfer-Encoding", name))
    return join_message(Header(fields, header.separator or b"\r\n"), encoded)
