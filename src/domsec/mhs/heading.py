"""Who an interpersonal message says that it is from (X.420 7.2; military messages of STANAG 4406 begin the same)."""

from __future__ import annotations

from typing import Final

from domsec import oids
from domsec.der import SET, Octets, Reader, context
from domsec.errors import MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.mhs.names import ORName

INTERPERSONAL: Final = (oids.ID_MCT_P2_1984, oids.ID_MCT_P2_1988, oids.ID_MCONT_MM)

_MESSAGE: Final = context(0)  # of InformationObject; the other choice is a notification
_ORIGINATOR: Final = context(0)  # of Heading
_FORMAL_NAME: Final = 0x60  # of ORDescriptor


def originator(content: Octets, limits: Limits = DEFAULT) -> ORName | None:
    """The formal name in the originator field of a heading; None for a notification, and for a message with none.

    Raises MalformedMessage where the content is no interpersonal message, or names more than one.
    """
    reader = Reader(content, limits)
    if reader.peek() != _MESSAGE:
        reader.skip()
        reader.end()
        return None
    reader.enter(_MESSAGE)
    reader.enter(SET)
    found: list[ORName | None] = []
    while not reader.at_end():
        if reader.peek() == _ORIGINATOR:
            found.append(_formal_name(reader))
        else:
            reader.skip()
    reader.leave()
    reader.skip()  # the body
    reader.leave()
    reader.end()
    if len(found) > 1:
        raise MalformedMessage(f"a heading with {len(found)} originators")
    return found[0] if found else None


def _formal_name(reader: Reader) -> ORName | None:
    found: list[ORName] = []
    reader.enter(_ORIGINATOR)
    while not reader.at_end():
        is_name = reader.peek() == _FORMAL_NAME
        octets = reader.skip()
        if is_name:
            found.append(ORName.read(octets))
    reader.leave()
    if len(found) > 1:
        raise MalformedMessage("an originator with more than one formal name")
    return found[0] if found else None
