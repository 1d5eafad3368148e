"""domsec.der: what is written is read as the same, whatever stands in it; and times at the ends of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec import der
from domsec.errors import MalformedMessage

TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda when: when.replace(microsecond=0))


@given(TIMES)
def test_a_time_is_read_as_it_was_written(when: datetime) -> None:
    assert der.Reader(der.time(when)).time() == when


@pytest.mark.parametrize(
    ("text", "when"),
    [
        (b"00010101000000Z", datetime(1, 1, 1, tzinfo=UTC)),
        (b"99991231235959Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (b"20261124120000+0130", datetime(2026, 11, 24, 10, 30, tzinfo=UTC)),
        (b"20261124120000-2359", datetime(2026, 11, 25, 11, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_in_utc(text: bytes, when: datetime) -> None:
    found = der.Reader(der.tlv(der.GENERALIZED_TIME, text)).time()
    assert (found, found.utcoffset()) == (when, timedelta())
    assert der.Reader(der.time(found)).time() == when


@pytest.mark.parametrize("text", [b"00010101000000+0001", b"99991231235959-0001", b"20261124120000+2400"])
def test_a_time_that_is_none_in_utc_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedMessage):
        der.Reader(der.tlv(der.GENERALIZED_TIME, text)).time()


def test_a_time_elsewhere_is_written_in_utc() -> None:
    elsewhere = datetime(2026, 11, 24, 1, tzinfo=timezone(timedelta(hours=2)))
    assert der.time(elsewhere) == der.tlv(der.UTC_TIME, b"261123230000Z")
