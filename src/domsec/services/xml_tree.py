"""XML as frozen elements, bounded, and without anything that a document type could make it do.

A document type is refused as soon as it begins: with it go entities that grow without end, files and addresses that a
document has fetched, and defaults nobody sees. Comments and processing instructions are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

from domsec.errors import LimitExceeded, MalformedMessage

MAX_SIZE: Final = 4 * 1024 * 1024  # octets; the security policy of a nation has some hundred thousand
MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 100_000
MAX_ATTRIBUTES: Final = 64  # of one element
_SEPARATOR: Final = "\n"  # between namespace and name; neither may have one in it


@dataclass(frozen=True, slots=True)
class Element:
    """One element. `attributes` by name, of a namespace as `namespace\\nname`; `text` without that of children."""

    name: str
    namespace: str
    attributes: Mapping[str, str]
    children: tuple[Element, ...]
    text: str
    line: int

    def all(self, name: str) -> Iterator[Element]:
        """The children of this name."""
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> Element | None:
        return next(self.all(name), None)

    def get(self, name: str) -> str | None:
        """An attribute without namespace."""
        return self.attributes.get(name)

    def required(self, name: str) -> str:
        """The same. Raises MalformedMessage if there is none, or nothing in it."""
        value = self.attributes.get(name)
        if not value:
            raise MalformedMessage(f"line {self.line}: <{self.name}> without {name}")
        return value


@dataclass(slots=True)
class _Open:
    """An element under construction."""

    tag: str
    attributes: Mapping[str, str]
    line: int
    children: list[Element]
    text: list[str]

    def close(self) -> Element:
        namespace, _, name = self.tag.rpartition(_SEPARATOR)
        text = "".join(self.text).strip()
        return Element(name, namespace, self.attributes, tuple(self.children), text, self.line)


def parse(octets: bytes) -> Element:
    """The root element of a document. Raises MalformedMessage with the line, LimitExceeded."""
    if len(octets) > MAX_SIZE:
        raise LimitExceeded("xml_size", f"XML of more than {MAX_SIZE} octets")
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    builder = _Builder(parser)
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.document_type
    try:
        parser.Parse(octets, True)
    except expat.ExpatError as error:
        text = expat.ErrorString(error.code)
        raise MalformedMessage(f"line {error.lineno}: no XML: {text}") from None
    except (LookupError, ValueError):  # an encoding nobody knows, or one that is no table of 256 characters
        raise MalformedMessage("XML in an encoding that is not known") from None
    assert builder.root is not None
    return builder.root


class _Builder:
    """What the parser calls."""

    def __init__(self, parser: expat.XMLParserType) -> None:
        self.parser = parser
        self.root: Element | None = None
        self.count = 0
        self.open: list[_Open] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.count += 1
        if self.count > MAX_ELEMENTS:
            raise LimitExceeded("xml_elements", f"XML of more than {MAX_ELEMENTS} elements")
        if len(self.open) == MAX_DEPTH:
            raise LimitExceeded("xml_depth", f"XML nested more than {MAX_DEPTH} deep")
        if len(attributes) > MAX_ATTRIBUTES:
            raise LimitExceeded("xml_attributes", f"an element with more than {MAX_ATTRIBUTES} attributes")
        self.open.append(_Open(tag, attributes, self.parser.CurrentLineNumber, [], []))

    def end(self, _tag: str) -> None:
        done = self.open.pop().close()
        if self.open:
            self.open[-1].children.append(done)
        else:
            self.root = done

    def text(self, text: str) -> None:
        self.open[-1].text.append(text)

    def document_type(self, *_: object) -> None:
        raise MalformedMessage(f"line {self.parser.CurrentLineNumber}: XML with a document type, which is refused")
