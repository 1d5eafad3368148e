"""BER read, DER written (X.690), for the structures of CMS and nothing else.

Reading is a pull: the caller says which value it expects, the `Reader` answers with a slice of the input or raises. It
is iterative, never looks at an octet twice for the same purpose, copies no content, and does a bounded amount of work
whatever the input. A generic BER to DER pass is deliberately absent: the same octets mean different things under
EXPLICIT and IMPLICIT tags, so only whoever knows the structure can read them.

Writing always gives DER with definite lengths.
"""

from __future__ import annotations

import functools
import mmap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from domsec.errors import LimitExceeded, MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.octets import RESIDENT, Pieces, gather, give_back, join
from domsec.octets import Octets as Octets

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
ENUMERATED: Final = 0x0A
UTF8_STRING: Final = 0x0C
NUMERIC_STRING: Final = 0x12
PRINTABLE_STRING: Final = 0x13
TELETEX_STRING: Final = 0x14
IA5_STRING: Final = 0x16
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
VISIBLE_STRING: Final = 0x1A
UNIVERSAL_STRING: Final = 0x1C
BMP_STRING: Final = 0x1E
SEQUENCE: Final = 0x30
SET: Final = 0x31

CONSTRUCTED: Final = 0x20

MAX_LENGTH_OCTETS: Final = 6  # 2^48 octets; more is nothing but an attempt to overflow somebody
MAX_OID_OCTETS: Final = 64
MAX_INTEGER_OCTETS: Final = 2049  # a 16384 bit number with its sign octet
MAX_STRING_NESTING: Final = 16  # constructed strings inside constructed strings
FREE_SEGMENTS: Final = 4096  # segments of a constructed string that may be shorter than SEGMENT_AVERAGE on average
SEGMENT_AVERAGE: Final = 64

_INDEFINITE: Final = -1
_END_OF_CONTENTS: Final = b"\0\0"


def context(number: int, *, constructed: bool = True) -> int:
    """The identifier octet of a context tag `[number]`."""
    return 0x80 | number | (CONSTRUCTED if constructed else 0)


class Reader:
    """A place in BER encoded octets, and the way from there.

    Every method raises MalformedMessage where the octets are not what it reads, LimitExceeded where they ask for too
    much.
    What is returned as memoryview is a slice of the input.
    """

    __slots__ = ("_at", "_budget", "_data", "_depth", "_limit", "_segments", "_stack", "_view")

    def __init__(self, data: Octets | mmap.mmap, limits: Limits = DEFAULT) -> None:
        self._data = data
        self._view = data if isinstance(data, memoryview) else memoryview(data)
        self._at = 0
        self._limit = len(data)  # end of the nearest enclosing value with a definite length
        self._stack: list[tuple[int, bool]] = []  # limit outside, and whether the value entered is indefinite
        self._budget = limits.der_values
        self._segments = FREE_SEGMENTS + len(data) // SEGMENT_AVERAGE
        self._depth = limits.der_depth

    @property
    def offset(self) -> int:
        """Octets from the start of the input to the next value."""
        return self._at

    def at_end(self) -> bool:
        """Whether nothing follows in the value entered last (at the top: in the input)."""
        if self._stack and self._stack[-1][1]:
            if self._at + 2 > self._limit:
                raise MalformedMessage("a value of indefinite length has no end")
            return self._data[self._at] == 0 and self._data[self._at + 1] == 0
        return self._at >= self._limit

    def peek(self) -> int | None:
        """The identifier octet of the next value, None at the end of the enclosing one."""
        return None if self.at_end() else self._data[self._at]

    def _header(self, at: int) -> tuple[int, int, int]:
        """Of the value at `at`: identifier octet, where the content starts, where it ends (or _INDEFINITE).

        The hottest function of all, hence the short forms of the length one by one.
        """
        self._budget -= 1
        if self._budget < 0:
            raise LimitExceeded("der_values")
        data, limit = self._data, self._limit
        if at + 2 > limit:
            raise MalformedMessage("a value is missing" if at >= limit else "a value is cut short")
        tag, size = data[at], data[at + 1]
        at += 2
        if tag == 0 or tag & 0x1F == 0x1F:
            raise MalformedMessage(f"tag {tag:#04x} has no place in CMS")
        if size < 0x80:
            end = at + size
        elif size == 0x82 and at + 2 <= limit:
            at += 2
            end = at + (data[at - 2] << 8 | data[at - 1])
        elif size == 0x80:
            if not tag & CONSTRUCTED:
                raise MalformedMessage("a primitive value of indefinite length")
            return tag, at, _INDEFINITE
        else:
            count = size & 0x7F
            if count > MAX_LENGTH_OCTETS:
                raise MalformedMessage(f"a length of {count} octets")
            at += count
            if at > limit:
                raise MalformedMessage("a value is cut short")
            end = at + int.from_bytes(self._view[at - count : at], "big")
        if end > limit:
            raise MalformedMessage("a value is longer than what encloses it")
        return tag, at, end

    def _expect(self, tag: int) -> tuple[int, int]:
        found, start, end = self._header(self._at)
        if found != tag:
            raise MalformedMessage(f"tag {found:#04x} where {tag:#04x} is expected")
        return start, end

    def enter(self, tag: int) -> None:
        """Go into the next value, which is constructed and has this identifier octet."""
        start, end = self._expect(tag)
        if len(self._stack) >= self._depth:
            raise LimitExceeded("der_depth")
        indefinite = end == _INDEFINITE
        self._stack.append((self._limit, indefinite))
        if not indefinite:
            self._limit = end
        self._at = start

    def leave(self) -> None:
        """Go out of the value entered last; nothing may be left in it."""
        if not self.at_end():
            raise MalformedMessage("a value has more in it than it should")
        self._limit, indefinite = self._stack.pop()
        if indefinite:
            self._at += 2

    def end(self) -> None:
        """Make sure that nothing follows."""
        if not self.at_end():
            raise MalformedMessage("octets follow where nothing should")

    def primitive(self, tag: int) -> memoryview:
        """Content octets of the next value, which is primitive and has this identifier octet."""
        start, end = self._expect(tag)
        if end == _INDEFINITE:
            raise MalformedMessage("a constructed value where a primitive one is expected")
        self._at = end
        return self._view[start:end]

    def _close(self, start: int) -> int:
        """Where the content ends of the indefinite value whose content starts at `start`."""
        data, at, limit, open_values = self._data, start, self._limit, 1
        far = start + RESIDENT
        while True:
            if at + 2 > limit:
                raise MalformedMessage("a value of indefinite length has no end")
            if data[at] == 0:
                if data[at + 1] != 0:
                    raise MalformedMessage("an end of contents with content")
                open_values -= 1
                if not open_values:
                    return at
                at += 2
                continue
            tag, begin, end = self._header(at)
            if tag & ~CONSTRUCTED == OCTET_STRING:  # segments of long content have a budget of their own
                self._budget += 1
                self._segments -= 1
                if self._segments < 0:
                    raise LimitExceeded("der_values", "a string in too many pieces")
                if at > far:
                    give_back(self._view)
                    far = at + RESIDENT
            if end == _INDEFINITE:
                open_values += 1
                if open_values > self._depth:
                    raise LimitExceeded("der_depth")
                at = begin
            else:
                at = end

    def skip(self) -> memoryview:
        """The next value as it stands: identifier, length, content and, if indefinite, its end of contents."""
        begin = self._at
        _, start, end = self._header(begin)
        self._at = self._close(start) + 2 if end == _INDEFINITE else end
        return self._view[begin : self._at]

    def content(self, tag: int) -> memoryview:
        """Content octets of the next value, primitive or constructed, as they stand, without end of contents."""
        start, end = self._expect(tag)
        if end == _INDEFINITE:
            end = self._close(start)
            self._at = end + 2
        else:
            self._at = end
        return self._view[start:end]

    def octet_string(self, tag: int = OCTET_STRING) -> memoryview:
        """Value octets of an OCTET STRING (or an IMPLICIT `tag` of one); the segments of a constructed one are joined.

        Joining copies; a primitive one is a slice of the input. Raises StoreUnavailable where there is no room for more
        than a few.
        """
        found = self.peek()
        if found == tag:
            return self.primitive(tag)
        if found != tag | CONSTRUCTED:
            raise MalformedMessage(f"{'nothing' if found is None else f'tag {found:#04x}'} where a string is expected")
        return memoryview(gather(self._segments_of(tag)))

    def _segments_of(self, tag: int) -> Iterator[memoryview]:
        self.enter(tag | CONSTRUCTED)
        nested = 1
        while nested:
            following = self.peek()
            if following is None:
                self.leave()
                nested -= 1
            elif following == OCTET_STRING:
                self._segments -= 1
                self._budget += 1
                if self._segments < 0:
                    raise LimitExceeded("der_values", "a string in too many pieces")
                yield self.primitive(OCTET_STRING)
            elif following == OCTET_STRING | CONSTRUCTED:
                if nested >= MAX_STRING_NESTING:
                    raise LimitExceeded("der_depth", "strings nested in strings")
                self._segments -= 1
                self.enter(following)
                nested += 1
            else:
                raise MalformedMessage(f"tag {following:#04x} among the segments of a string")

    def oid(self) -> str:
        """An OBJECT IDENTIFIER in dotted form."""
        content = self.primitive(OID)
        if not 0 < len(content) <= MAX_OID_OCTETS:
            raise MalformedMessage(f"an object identifier of {len(content)} octets")
        return _dotted(bytes(content))

    def integer(self, tag: int = INTEGER) -> int:
        """An INTEGER (or ENUMERATED, or an IMPLICIT tag of one)."""
        content = self.primitive(tag)
        if not 0 < len(content) <= MAX_INTEGER_OCTETS:
            raise MalformedMessage(f"an integer of {len(content)} octets")
        return int.from_bytes(content, "big", signed=True)

    def boolean(self, tag: int = BOOLEAN) -> bool:
        """A BOOLEAN; in BER every value but zero is true."""
        content = self.primitive(tag)
        if len(content) != 1:
            raise MalformedMessage(f"a boolean of {len(content)} octets")
        return content[0] != 0

    def null(self) -> None:
        """A NULL."""
        if len(self.primitive(NULL)):
            raise MalformedMessage("a null with content")

    def time(self) -> datetime:
        """A UTCTime or GeneralizedTime, in UTC."""
        tag = self.peek()
        if tag not in (UTC_TIME, GENERALIZED_TIME):
            raise MalformedMessage("a time is missing")
        return read_time(tag, self.primitive(tag))


@functools.lru_cache(maxsize=2048)
def _dotted(content: bytes) -> str:
    if content[-1] & 0x80:
        raise MalformedMessage("an object identifier is cut short")
    arcs: list[int] = []
    value = 0
    fresh = True
    for octet in content:
        if fresh and octet == 0x80:
            raise MalformedMessage("an object identifier with padding")
        value = value << 7 | octet & 0x7F
        fresh = not octet & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def read_time(tag: int, content: Octets) -> datetime:
    """The time, in UTC, that a UTCTime or GeneralizedTime has; seconds may be missing, a zone may not."""
    try:
        text = bytes(content).decode("ascii")
        width = 2 if tag == UTC_TIME else 4
        stem, zone = (text[:-1], UTC) if text.endswith("Z") else (text[:-5], _zone(text[-5:]))
        stem, _, fraction = stem.partition(".")
        if len(stem) not in (width + 8, width + 10) or not stem.isdigit() or (fraction and not fraction.isdigit()):
            raise ValueError(text)
        year = int(stem[:width])
        if width == 2:
            year += 1900 if year >= 50 else 2000
        month, day, hour, minute = (int(stem[i : i + 2]) for i in range(width, width + 8, 2))
        when = datetime(year, month, day, hour, minute, int(stem[width + 8 :] or 0), tzinfo=zone)
        return when.astimezone(UTC)  # here, since not every time of another zone has one in UTC
    except (ValueError, UnicodeDecodeError, OverflowError):
        raise MalformedMessage("a time that is none") from None


def _zone(text: str) -> timezone:
    if text[:1] not in ("+", "-") or not text[1:].isdigit():
        raise ValueError(text)
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))
    return timezone(-offset if text[0] == "-" else offset)


def header(tag: int, count: int) -> bytes:
    """Identifier and length octets. The short forms stand here one by one because they are what is written most."""
    if count < 0x80:
        return bytes((tag, count))
    if count < 0x100:
        return bytes((tag, 0x81, count))
    if count < 0x10000:
        return bytes((tag, 0x82, count >> 8, count & 0xFF))
    octets = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def tlv(tag: int, *parts: Octets) -> bytes:
    """A value with this identifier octet and the parts as its content."""
    count = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
    return b"".join((header(tag, count), *parts))


def enclose(tag: int, *parts: Octets | Pieces) -> Octets | Pieces:
    """The same around what may be large: then it is not copied."""
    return join(header(tag, sum(map(len, parts))), *parts)


def sequence(*parts: Octets) -> bytes:
    return tlv(SEQUENCE, *parts)


def set_of(parts: Iterable[bytes]) -> bytes:
    """A SET OF, its elements in the order DER wants."""
    return tlv(SET, *sorted(parts))


def octet_string(content: Octets) -> bytes:
    return tlv(OCTET_STRING, content)


@functools.lru_cache(maxsize=2048)
def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER. Raises ValueError for what is no dotted form."""
    if not dotted.replace(".", "").isdecimal():  # a negative arc would never end
        raise ValueError(dotted)
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytearray()
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        content += bytes(reversed(groups))
    return tlv(OID, bytes(content))


def integer(value: int, tag: int = INTEGER) -> bytes:
    return tlv(
        tag,
        value.to_bytes(
            value.bit_length() // 8 + 1 if value >= 0 else (value + 1).bit_length() // 8 + 1, "big", signed=True
        ),
    )


def null() -> bytes:
    return b"\x05\x00"


def boolean(value: bool) -> bytes:
    return b"\x01\x01\xff" if value else b"\x01\x01\x00"


def bit_string(content: Octets, unused: int = 0) -> bytes:
    return tlv(BIT_STRING, bytes((unused,)), content)


def utf8(text: str) -> bytes:
    return tlv(UTF8_STRING, text.encode())


def ia5(text: str) -> bytes:
    return tlv(IA5_STRING, text.encode("ascii"))


def time(when: datetime) -> bytes:
    """UTCTime to 2049, GeneralizedTime after, as RFC 5652 11.3 asks. `when` is aware."""
    when = when.astimezone(UTC)
    if 1950 <= when.year < 2050:
        return tlv(UTC_TIME, when.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(GENERALIZED_TIME, f"{when.year:04}{when:%m%d%H%M%S}Z".encode())  # %Y has no leading zeros


def explicit(number: int, *values: Octets) -> bytes:
    """`[number] EXPLICIT` around complete values."""
    return tlv(context(number), *values)


def implicit(number: int, value: Octets) -> bytes:
    """`[number] IMPLICIT`: the value with its identifier octet replaced."""
    constructed = bool(value[0] & CONSTRUCTED)
    return bytes((context(number, constructed=constructed),)) + bytes(value[1:])
