"""Labels and clearances in files: BER as they stand in messages and certificates, or XML as Spiffing writes it.

The XML is `http://surevine.com/xmlns/spiffy`; its numbers are those of BER, so nothing of the policy is needed.
"""

from __future__ import annotations

from typing import Final

from domsec import der
from domsec.der import Octets
from domsec.errors import MalformedMessage
from domsec.ess.categories import Tag, TagKind, read_tags, write_tags
from domsec.ess.labels import ESSSecurityLabel, SecurityCategory, read_categories
from domsec.ess.reading import check_oid, open_value
from domsec.services import xml_tree
from domsec.services.label_policy import Clearance
from domsec.services.xml_tree import Element

NAMESPACE: Final = "http://surevine.com/xmlns/spiffy"
MAX_CLASSIFICATIONS: Final = 257  # of a clearance: 0 to 256
_MAX_DIGITS: Final = 38
_KINDS: Final = frozenset(TagKind) - {TagKind.ENUMERATED, TagKind.TEXT}
_UNCLASSIFIED: Final = frozenset({1})  # the default of a class list


def read_label(octets: bytes) -> ESSSecurityLabel:
    """The label in a file. Raises MalformedMessage, LimitExceeded."""
    if not _is_xml(octets):
        return ESSSecurityLabel.read(octets)
    root = _root(octets, "label")
    levels = [_number(e) for e in root.all("classification")]
    if len(levels) > 1:
        raise MalformedMessage(f"a label with {len(levels)} classifications")
    return ESSSecurityLabel(_policy(root), levels[0] if levels else None, None, write_tags(_tags(root)))


def read_clearance(octets: bytes) -> Clearance:
    """The clearance in a file. Raises MalformedMessage, LimitExceeded, Unsupported."""
    if not _is_xml(octets):
        return _clearance(octets)
    root = _root(octets, "clearance")
    return Clearance(_policy(root), frozenset(_number(e) for e in root.all("classification")), _tags(root))


def _is_xml(octets: bytes) -> bool:
    """BER of either kind begins with a SET or a SEQUENCE, which are the digits 1 and 0."""
    return octets[:1] not in (b"1", b"0")


def _root(octets: bytes, name: str) -> Element:
    root = xml_tree.parse(octets)
    if (root.namespace, root.name) != (NAMESPACE, name):
        raise MalformedMessage(f"<{root.name}> of namespace {root.namespace!r}, expected <{name}> of {NAMESPACE!r}")
    return root


def _policy(root: Element) -> str:
    stated = root.first("policy")
    if stated is None:
        raise MalformedMessage(f"a {root.name} without policy")
    oid = stated.required("id")
    check_oid(oid)
    return oid


def _tags(root: Element) -> tuple[Tag, ...]:
    found: dict[tuple[str, TagKind], set[int]] = {}
    for element in root.all("tag"):
        kind = element.required("type")
        if kind not in _KINDS:
            raise MalformedMessage(f"line {element.line}: a tag of type {kind!r}")
        found.setdefault((element.required("id"), TagKind(kind)), set()).add(_number(element))
    return tuple(Tag(oid, kind, frozenset(numbers)) for (oid, kind), numbers in found.items())


def _number(element: Element) -> int:
    text = element.required("lacv")
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise MalformedMessage(f"line {element.line}: lacv is {text[:40]!r}, expected a number")
    return int(text)


def _clearance(octets: Octets) -> Clearance:
    """RFC 5755 4.4.6, and the form of RFC 3281 with its tags on every element."""
    reader = open_value(octets)
    reader.enter(der.SEQUENCE)
    tagged = reader.peek() == der.context(0, constructed=False)
    policy = _tagged_oid(reader) if tagged else reader.oid()
    levels: frozenset[int] = _UNCLASSIFIED
    categories: tuple[SecurityCategory, ...] = ()
    bits, inside = (der.context(1, constructed=False), der.context(2)) if tagged else (der.BIT_STRING, der.SET)
    if reader.peek() == bits:
        levels = _class_list(reader.primitive(bits))
    if reader.peek() == inside:
        categories = read_categories(reader, inside)
    reader.leave()
    reader.end()
    return Clearance(policy, levels, tuple(tag for category in categories for tag in read_tags(category)))


def _tagged_oid(reader: der.Reader) -> str:
    return der.Reader(der.tlv(der.OID, reader.primitive(der.context(0, constructed=False)))).oid()


def _class_list(content: Octets) -> frozenset[int]:
    if not len(content) or content[0] > 7 or len(content) > 1 + (MAX_CLASSIFICATIONS + 7) // 8:
        raise MalformedMessage("a class list that is none")
    most = 8 * (len(content) - 1) - content[0]
    return frozenset(bit for bit in range(most) if content[1 + bit // 8] & 0x80 >> bit % 8)
