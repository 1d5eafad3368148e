"""What reading and making all the values have in common."""

from __future__ import annotations

from domsec import der
from domsec.der import Octets
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.limits import DEFAULT


def open_value(value: Octets) -> der.Reader:
    """A Reader of one attribute value, or of a receipt. Raises LimitExceeded for one without end."""
    if len(value) > DEFAULT.attributes_size:
        raise LimitExceeded("attributes_size")
    return der.Reader(value)


def read_octets(reader: der.Reader) -> bytes:
    """The OCTET STRING that comes next."""
    return bytes(reader.octet_string())


def text_of(octets: Octets, encoding: str) -> str:
    """Raises MalformedMessage for what is not in this encoding."""
    try:
        return bytes(octets).decode(encoding)
    except UnicodeDecodeError:
        raise MalformedMessage("a text that is none") from None


def check_oid(dotted: str) -> None:
    """Raises MalformedMessage for what cannot be written; what was read always can."""
    try:
        written = der.oid(dotted)
    except ValueError:
        raise MalformedMessage("an object identifier that is none") from None
    if der.Reader(written).oid() != dotted:
        raise MalformedMessage("an object identifier that is none")


def utf8(text: str) -> bytes:
    """A UTF8String. Raises MalformedMessage for half a surrogate pair."""
    try:
        return der.utf8(text)
    except UnicodeEncodeError:
        raise MalformedMessage("a text that is none") from None
