"""What an LDAP server or a resolver answers, read by the code that asks them."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, cast

from domsec.limits import Limits
from domsec.stores.ldap import _Connection, certificates_of
from domsec.stores.smimea import SmimeaDirectory, read_response

if TYPE_CHECKING:
    import dns.message

OWNER = "81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd._smimecert.beta.example."
LIMITS = Limits(answer_size=32 * 1024)


class _Nowhere:
    """The way out of a connection, which is not looked at."""

    def write(self, octets: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def read_ldap(data: bytes) -> None:
    """Octets of a server, in one piece; then it hangs up."""
    connection = _Connection(LIMITS.answer_size)
    connection.connection_made(cast(asyncio.Transport, _Nowhere()))
    connection.data_received(data)
    connection.connection_lost(None)
    values = _loop().run_until_complete(connection.search("dc=example", 2, b"", LIMITS.answer_certificates))
    assert len(values) <= LIMITS.answer_certificates
    certificates_of(values, LIMITS)


def query() -> dns.message.Message:
    """The question that seeds answer: number 0, so that changing octets seldom makes another number of it."""
    import dns.message

    return dns.message.make_query(OWNER, "SMIMEA", id=0, use_edns=True)


def read_dns(data: bytes) -> None:
    """Octets of a resolver."""
    for believed in (True, False):
        answer = SmimeaDirectory("127.0.0.1", believed=believed, limits=LIMITS).answer(
            OWNER, read_response(data, query())
        )
        assert believed or not any(association.usage in (2, 3) for association in answer.associations)
