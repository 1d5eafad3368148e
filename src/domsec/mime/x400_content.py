"""application/x400-content: an X.400 content in mail that no CMS protects (RFC 3854 3.5)."""

from __future__ import annotations

from domsec.errors import MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.mhs.transport import Content, read_type_parameter, type_parameter
from domsec.mime import transfer_encoding
from domsec.mime.content_type import parse_content_type
from domsec.mime.fields import Header
from domsec.octets import Octets, Pieces, join

_TYPE = "application/x400-content"


def write(content: Content) -> Octets | Pieces:
    """The entity, in base64, without MIME-Version. `content` is X.400's own, neither CMS nor MIME."""
    head = (
        f"Content-Type: {_TYPE}; content-type={type_parameter(content.type)}\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        "\r\n"
    )
    return join(head.encode("ascii"), transfer_encoding.encode_base64(content.octets))


def read(header: Header, body: Octets, limits: Limits = DEFAULT) -> Content | None:
    """The content in an entity whose header and body are known; None for another type.

    Raises MalformedMessage, LimitExceeded or Unsupported for what says that it is one and cannot be read.
    """
    stated = header.all("content-type")
    if len(stated) != 1:
        return None
    try:
        kind = parse_content_type(stated[0].value)
    except MalformedMessage:
        return None  # said elsewhere
    if kind.full != _TYPE:
        return None
    encodings = header.all("content-transfer-encoding")
    if len(encodings) > 1 or "content-type" in kind.ambiguous:
        raise MalformedMessage("an X.400 content whose type or transfer encoding stands twice")
    content_type = read_type_parameter(kind.parameters.get("content-type", ""))
    return Content(content_type, transfer_encoding.decode(body, encodings[0].value if encodings else "", limits))
