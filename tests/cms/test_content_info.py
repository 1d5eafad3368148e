"""ContentInfo: the type, the value, and how much follows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec import der, oids
from domsec.cms import content_info
from domsec.cms.content_info import ContentInfo
from domsec.errors import MalformedMessage

VALUE = der.octet_string(b"content")
DEFINITE = der.sequence(der.oid(oids.ID_DATA), der.explicit(0, VALUE))
INDEFINITE = b"\x30\x80" + der.oid(oids.ID_DATA) + b"\xa0\x80" + VALUE + b"\0\0" + b"\0\0"


@pytest.mark.parametrize("octets", [DEFINITE, INDEFINITE])
@pytest.mark.parametrize("trailing", [0, 1, 7])
def test_a_content_info_is_read_and_what_follows_is_counted(octets: bytes, trailing: int) -> None:
    assert content_info.parse(octets + b"\0" * trailing) == ContentInfo(oids.ID_DATA, VALUE, trailing)


def test_it_is_read_without_copying() -> None:
    found = content_info.parse(memoryview(DEFINITE))
    assert isinstance(found.content, memoryview)
    assert found.content.obj is DEFINITE


@given(st.binary(max_size=300))
def test_what_is_written_is_read(octets: bytes) -> None:
    written = content_info.wrap(oids.ID_DATA, der.octet_string(octets))
    assert content_info.parse(written) == ContentInfo(oids.ID_DATA, der.octet_string(octets), 0)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30\x00",
        b"\x30\x80",
        der.oid(oids.ID_DATA),
        der.sequence(der.oid(oids.ID_DATA)),
        der.sequence(der.oid(oids.ID_DATA), VALUE),
        der.sequence(der.oid(oids.ID_DATA), der.explicit(0)),
        der.sequence(der.oid(oids.ID_DATA), der.explicit(0, VALUE, VALUE)),
        der.sequence(der.oid(oids.ID_DATA), der.explicit(0, VALUE), VALUE),
        DEFINITE[:-1],
        INDEFINITE[:-1],
    ],
)
def test_what_is_none_is_malformed(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        content_info.parse(octets)
