"""XML is read as elements, and nothing in it makes the reader do more than that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from domsec.errors import LimitExceeded, MalformedMessage
from domsec.services import xml_tree
from domsec.services.xml_tree import parse


def test_elements_have_names_attributes_text_and_lines() -> None:
    root = parse(b'<a xmlns="urn:x" xmlns:y="urn:y" b="1" y:c="2">\n <d> one <e/>two </d>\n <d/><!-- no --></a>')
    assert (root.name, root.namespace, root.attributes) == ("a", "urn:x", {"b": "1", "urn:y\nc": "2"})
    first, second = root.all("d")
    assert (first.text, first.line, [child.name for child in first.children]) == ("one two", 2, ["e"])
    assert (second.text, second.children) == ("", ())
    assert root.first("f") is None
    with pytest.raises(MalformedMessage, match="line 2: <d> without name"):
        first.required("name")


BOMB = b'<!DOCTYPE a [<!ENTITY b "xxxxxxxxxx"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    "octets",
    [
        BOMB,
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        b'<!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a/>',
        b'<!DOCTYPE a [<!ENTITY % b SYSTEM "http://192.0.2.1/b">%b;]><a/>',
        b'<!DOCTYPE a [<!ATTLIST a b CDATA "default">]><a/>',
        BOMB.decode().encode("utf-16"),
    ],
    ids=["bomb", "file", "address", "parameter", "default", "bomb in UTF-16"],
)
def test_a_document_type_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage, match="document type"):
        parse(octets)


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"<a>", b"<a></b>", b"<a/><b/>", b"<a>&b;</a>", b'<a b="1" b="2"/>', b"<x:a/>", b"<a>\0</a>", b"\xff\xfe",
        b"<a>\xe4</a>", b'<?xml version="1.0" encoding="x-none"?><a/>', b'<?xml version="1.0" encoding="utf-7"?><a/>',
    ],
)  # fmt: skip
def test_what_is_no_xml_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse(octets)


@contextlib.contextmanager
def refused(limit: str, text: str) -> Iterator[None]:
    with pytest.raises(LimitExceeded, match=text) as found:
        yield
    assert found.value.limit == limit


def test_every_limit_at_its_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    depth, attributes = xml_tree.MAX_DEPTH, xml_tree.MAX_ATTRIBUTES
    parse(b"<a>" * depth + b"</a>" * depth)
    with refused("xml_depth", "nested more than 32 deep"):
        parse(b"<a>" * (depth + 1) + b"</a>" * (depth + 1))
    stated = [f'b{i}="1"' for i in range(attributes + 1)]
    parse(f"<a {' '.join(stated[1:])}/>".encode())
    with refused("xml_attributes", "more than 64 attributes"):
        parse(f"<a {' '.join(stated)}/>".encode())
    many = xml_tree.MAX_ELEMENTS
    parse(b"<a>" + b"<b/>" * (many - 1) + b"</a>")
    with refused("xml_elements", "more than 100000 elements"):
        parse(b"<a>" + b"<b/>" * many + b"</a>")
    monkeypatch.setattr(xml_tree, "MAX_SIZE", 4)
    parse(b"<a/>")
    with refused("xml_size", "more than 4 octets"):
        parse(b"<a />")
