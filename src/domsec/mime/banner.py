"""A line of text above what a message says, in a part of its own: what is below keeps every octet.

Put only above what is plain text or a plain multipart. A signature, an encryption, a report (RFC 6522) or an attached
message is what it is by its type at the root, and none of that is text to put a line above.
"""

from __future__ import annotations

import hashlib
from typing import Final

from domsec.errors import MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.mime.content_type import parse_content_type
from domsec.mime.fields import Header, entity_header, join_message, other_header, split_message
from domsec.octets import Octets, Pieces, chunks, join

_PLAIN: Final = frozenset({"multipart/mixed", "multipart/alternative", "multipart/related"})


def with_banner(message: Octets | Pieces, text: str, limits: Limits = DEFAULT) -> Octets | Pieces:
    """The message with one line above its text; the message itself where none may stand there."""
    header, body = split_message(message, limits)
    content = entity_header(header)
    if not _is_plain([field.value for field in content.all("content-type")]):
        return message
    boundary = _boundary(message)
    field = content.first("content-transfer-encoding")
    encoding = field.value.strip().lower() if field else ""
    head = (
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n'
        f"Content-Transfer-Encoding: {encoding if encoding in ('8bit', 'binary') else '7bit'}\r\n\r\n"
        f"--{boundary}\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\nContent-Disposition: inline\r\n\r\n"
        f"{text}\r\n\r\n--{boundary}\r\n"
    ).encode("ascii", "replace")
    below = Header(tuple(field for field in content.fields if field.name != "mime-version"), b"\r\n")
    return join(other_header(header).raw, head, join_message(below, body), f"\r\n--{boundary}--\r\n".encode())


def _boundary(message: Octets | Pieces) -> str:
    """Follows from all of the message, so that nobody can write one with it inside."""
    digest = hashlib.sha256()
    for chunk in chunks(message):
        digest.update(chunk)
    return f"=_domsec_{digest.hexdigest()[:32]}"


def _is_plain(types: list[str]) -> bool:
    """Whether an entity with these Content-Type fields is nothing but something to read."""
    if len(types) != 1:
        return not types  # RFC 2045 5.2: text/plain without one
    try:
        kind = parse_content_type(types[0]).full
    except MalformedMessage:
        return False
    return kind.startswith("text/") or kind in _PLAIN
