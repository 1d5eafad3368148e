"""What people protect with OpenPGP (RFC 3156), as far as one has to know it without any key of theirs.

Only PGP/MIME is known: what stands inline in a text may have anything in the clear around it.
"""

from __future__ import annotations

from typing import Final, Literal

from domsec.errors import MalformedMessage
from domsec.mime.content_type import ContentType, parse_content_type
from domsec.mime.fields import Header, split_message
from domsec.mime.multipart import split
from domsec.octets import Octets, Pieces, in_one_place

OpenPgp = Literal["encrypted", "signed"]

PREAMBLE: Final = 200  # octets; Thunderbird writes a sentence of 60 there, and nobody should write a letter
_BEGIN: Final = b"-----BEGIN PGP MESSAGE-----"
_END: Final = b"-----END PGP MESSAGE-----"
_PROTOCOLS: Final[dict[tuple[str, str], OpenPgp]] = {
    ("multipart/signed", "application/pgp-signature"): "signed",
    ("multipart/encrypted", "application/pgp-encrypted"): "encrypted",
}


def protection(entity: Octets | Pieces) -> OpenPgp | None:
    """How an entity is protected. None for other entities, and for what says to be encrypted and has more in it than
    RFC 3156 4 puts there: somebody may read that in the clear. Raises nothing.
    """
    try:
        header, body = split_message(entity)
        stated = _content_type(header)
        if stated is None:
            return None
        found = _PROTOCOLS.get((stated.full, stated.parameters.get("protocol", "").lower()))
        if found == "encrypted" and not _nothing_else(stated, in_one_place(body)):
            return None
    except MalformedMessage:
        return None
    return found


def _nothing_else(stated: ContentType, body: Octets) -> bool:
    """The version, and one armoured message."""
    found = split(body, stated.parameters.get("boundary", ""))
    if len(found.parts) != 2 or len(found.preamble) > PREAMBLE or bytes(found.epilogue).strip():
        return False
    (first, version), (second, message) = (split_message(bytes(part)) for part in found.parts)
    kinds = [_content_type(first), _content_type(second)]
    if [kind and kind.full for kind in kinds] != ["application/pgp-encrypted", "application/octet-stream"]:
        return False
    text = bytes(message).strip()
    whole = text.startswith(_BEGIN) and text.endswith(_END) and text.count(b"-----") == 4
    return whole and bytes(version).split() == [b"Version:", b"1"]


def _content_type(header: Header) -> ContentType | None:
    fields = header.all("content-type")
    return parse_content_type(fields[0].value) if len(fields) == 1 else None
