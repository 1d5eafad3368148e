"""Certificates from an LDAP directory (RFC 4511, RFC 4523), both ways of RFC 3183 4.2.

    a person      the entry whose mail address it is
    an authority  the entry under its mapped name: CN=domain-confidentiality-authority,DC=beta,DC=example, or with the
                  X.500 name that was agreed for the domain in place of DC; and the entry whose mail address is the
                  authority's

A client of our own, since libldap takes an answer of any size into memory before anybody can object. It knows no more
of the protocol than StartTLS, simple bind and search. Addresses go into filters as values, never as text that somebody
parses, so nothing in them needs escaping. Referrals are not followed: they would lead to any host a stranger names.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

from domsec import der, oids
from domsec.cms import content_info, signed_data
from domsec.cms.certificates import Certificate
from domsec.der import Reader
from domsec.errors import DomsecError, LimitExceeded, MalformedMessage, StoreUnavailable, Unsupported
from domsec.limits import DEFAULT, Limits
from domsec.trust.discovered import Answer, Question
from domsec.trust.names import rdns

USER_CERTIFICATE: Final = "usercertificate"
USER_SMIME_CERTIFICATE: Final = "usersmimecertificate"  # RFC 2798 2.8: PKCS#7 with certificates
ATTRIBUTES: Final = ("userCertificate;binary", "userSMIMECertificate;binary", "userCertificate", "userSMIMECertificate")
ENTRIES: Final = 16  # of one search: there is one person with an address, perhaps filed more than once

START_TLS: Final = "1.3.6.1.4.1.1466.20037"
SUCCESS: Final = 0
REFERRAL: Final = 10
NO_SUCH_OBJECT: Final = 32
_RESULTS: Final = {
    1: "operations error",
    2: "protocol error",
    3: "time limit exceeded",
    4: "size limit exceeded",
    8: "stronger authentication required",
    13: "confidentiality required",
    48: "inappropriate authentication",
    49: "invalid credentials",
    50: "insufficient access rights",
    51: "busy",
    52: "unavailable",
    53: "unwilling to perform",
}

_CONCERNS_ALL: Final = frozenset({8, 13, 51, 52})

# protocolOp of RFC 4511 4.2, 4.5, 4.12
_BIND_REQUEST, _BIND_RESPONSE = 0x60, 0x61
_UNBIND_REQUEST = 0x42
_SEARCH_REQUEST, _SEARCH_ENTRY, _SEARCH_DONE, _SEARCH_REFERENCE = 0x63, 0x64, 0x65, 0x73
_EXTENDED_REQUEST, _EXTENDED_RESPONSE = 0x77, 0x78
_BASE_OBJECT, _WHOLE_SUBTREE = 0, 2
_EQUALITY_MATCH, _PRESENT = 0xA3, 0x87

_ESCAPED: Final = frozenset('"+,;<>\\=#')
_TYPE_NAMES: Final = {
    oids.COMMON_NAME: "CN",
    oids.COUNTRY_NAME: "C",
    oids.ORGANIZATION_NAME: "O",
    oids.ORGANIZATIONAL_UNIT_NAME: "OU",
    oids.STATE_OR_PROVINCE_NAME: "ST",
    oids.LOCALITY_NAME: "L",
    oids.DOMAIN_COMPONENT: "DC",
}


@dataclass(frozen=True, slots=True)
class LdapDirectory:
    """One LDAP server and how to ask it. A value; every `ask` makes a connection of its own."""

    host: str
    port: int
    tls: Literal["ldaps", "start", "none"]
    base: str = ""  # where people are looked for; without it only the entries of authorities are read
    mail: str = "mail"  # the attribute with the mail address
    bind: tuple[str, str] | None = None  # name and password; None is anonymous
    context: ssl.SSLContext | None = None  # how the server's certificate is checked; the system's CAs if None
    timeout: float = 5.0  # seconds for one question
    limits: Limits = DEFAULT

    @property
    def name(self) -> str:
        return f"{'ldaps' if self.tls == 'ldaps' else 'ldap'}://{self.host}:{self.port}"

    async def ask(self, question: Question) -> Answer:
        """The certificates of the entries that may be whose the question asks for. Raises nothing for any server."""
        try:
            async with asyncio.timeout(self.timeout):
                found = await self._found(question)
        except TimeoutError:
            return Answer(self.name, "unavailable", text=f"no answer within {self.timeout:g} seconds")
        except ssl.SSLCertVerificationError as error:
            return Answer(self.name, "unavailable", text=f"its certificate: {error.verify_message}")
        except (OSError, StoreUnavailable) as error:
            return Answer(self.name, "unavailable", text=_one_line(error))
        except DomsecError as error:
            return Answer(self.name, "unusable", text=_one_line(error))
        if not found:
            return Answer(self.name, "nothing")
        return Answer(self.name, "found", found)

    async def _found(self, question: Question) -> tuple[Certificate, ...]:
        most = self.limits.answer_certificates
        connection = await self._connected()
        try:
            values: dict[tuple[str, bytes], None] = {}
            for base, scope, wanted in self._searches(question):
                values |= dict.fromkeys(await connection.search(base, scope, wanted, most))
        finally:
            connection.close()
        return certificates_of(values, self.limits)

    def _searches(self, question: Question) -> Iterator[tuple[str, int, bytes]]:
        if question.role:
            for name in authority_names(question):
                yield name, _BASE_OBJECT, der.tlv(_PRESENT, b"objectClass")
        if self.base:
            yield self.base, _WHOLE_SUBTREE, _equals(self.mail, question.address)

    async def _connected(self) -> _Connection:
        loop = asyncio.get_running_loop()
        secure = (self.context or ssl.create_default_context()) if self.tls != "none" else None
        implicit = secure if self.tls == "ldaps" else None
        _, connection = await loop.create_connection(
            lambda: _Connection(self.limits.answer_size),
            self.host,
            self.port,
            ssl=implicit,
            server_hostname=self.host if implicit else None,
        )
        try:
            if self.tls == "start":
                assert secure is not None
                await connection.start_tls(secure, self.host)
            if self.bind is not None:
                await connection.bind(*self.bind)
        except BaseException:
            connection.close()
            raise
        return connection


def authority_names(question: Question) -> tuple[str, ...]:
    """The names under which the authority of a question has its entry, in the form of RFC 4514 (RFC 3183 4.1, 4.2)."""
    parts = [("DC", label) for label in question.domain.split(".")]
    names = [_dn([("CN", question.role), *parts])]
    if question.directory_name is not None:
        agreed = [
            "+".join(f"{_TYPE_NAMES.get(oid, oid)}={escaped_value(value)}" for oid, value in rdn)
            for rdn in reversed(rdns(question.directory_name))
        ]
        names.append(",".join([f"CN={escaped_value(question.role)}", *agreed]))
    return tuple(names)


def _dn(parts: Iterable[tuple[str, str]]) -> str:
    return ",".join(f"{kind}={escaped_value(value)}" for kind, value in parts)


def escaped_value(value: str) -> str:
    """An attribute value inside a distinguished name (RFC 4514 2.4)."""
    text = "".join(f"\\{c}" if c in _ESCAPED else "\\00" if c == "\0" else c for c in value)
    if text.startswith(" "):
        text = f"\\{text}"
    return f"{text[:-1]}\\ " if value.endswith(" ") and len(value) > 1 else text


def certificates_of(values: Iterable[tuple[str, bytes]], limits: Limits = DEFAULT) -> tuple[Certificate, ...]:
    """The certificates in values of attributes, each once. Raises LimitExceeded for too many."""
    found = tuple(dict.fromkeys(c for name, value in values for c in certificates_in(name, value, limits)))
    if len(found) > limits.answer_certificates:
        raise _too_many(limits.answer_certificates)
    return found


def certificates_in(name: str, value: bytes, limits: Limits = DEFAULT) -> tuple[Certificate, ...]:
    """The certificates in a value of an attribute; what cannot be read is passed over, as anybody may have put it."""
    try:
        if name == USER_SMIME_CERTIFICATE:
            outer = content_info.parse(value, limits)
            if outer.content_type != oids.ID_SIGNED_DATA:
                return ()
            return signed_data.parse_signed_data(outer.content, limits).certificates[: limits.answer_certificates]
        return (Certificate(value),) if len(value) <= limits.certificate_size else ()
    except DomsecError:
        return ()


def _equals(attribute: str, value: str) -> bytes:
    return der.tlv(_EQUALITY_MATCH, der.octet_string(attribute.encode()), der.octet_string(value.encode()))


def _one_line(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text.splitlines()[0][:200]


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; everything that arrives on it is counted against one limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._arrived = bytearray()
        self._count = 0
        self._lost: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._serial = 0

    # -- octets

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._count += len(data)
        if self._count > self._limit:
            self._end(_too_long(self._limit))
            self.close()
            return
        self._arrived += data
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or StoreUnavailable("the connection was closed"))

    def close(self) -> None:
        if self._transport is not None:
            with contextlib.suppress(Exception):  # politeness towards a server that may be gone
                self._send(der.tlv(_UNBIND_REQUEST))
            self._transport.abort()

    def _end(self, error: Exception) -> None:
        self._lost = self._lost or error
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _send(self, operation: bytes) -> int:
        assert self._transport is not None
        self._serial += 1
        self._transport.write(der.sequence(der.integer(self._serial), operation))
        return self._serial

    async def _message(self, serial: int) -> Reader:
        """The next message, which has to belong to this request; the reader stands at its protocolOp."""
        while (size := _message_size(self._arrived, self._limit)) is None or len(self._arrived) < size:
            if self._lost is not None:
                raise self._lost
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        octets = bytes(self._arrived[:size])
        del self._arrived[:size]
        reader = Reader(octets)
        reader.enter(der.SEQUENCE)
        found = reader.integer()
        if found != serial:  # number 0 is a notice that the server is about to close (RFC 4511 4.4)
            raise StoreUnavailable("the server is closing" if found == 0 else "an answer to something not asked")
        return reader

    # -- requests

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """RFC 4511 4.14. Octets that came before the handshake belong to nobody we know: they end the connection."""
        serial = self._send(der.tlv(_EXTENDED_REQUEST, der.tlv(der.context(0, constructed=False), START_TLS.encode())))
        _result(await self._message(serial), _EXTENDED_RESPONSE, "StartTLS")
        if self._arrived:
            raise StoreUnavailable("octets before the TLS handshake")
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self._transport, self, context, server_hostname=host)
        if transport is None or self._lost is not None:
            raise self._lost or StoreUnavailable("the connection was closed")
        self._transport = transport

    async def bind(self, name: str, password: str) -> None:
        secret = der.tlv(der.context(0, constructed=False), password.encode())
        request = der.tlv(_BIND_REQUEST, der.integer(3), der.octet_string(name.encode()), secret)
        _result(await self._message(self._send(request)), _BIND_RESPONSE, "bind")

    async def search(self, base: str, scope: int, wanted: bytes, most: int) -> list[tuple[str, bytes]]:
        """Values of our attributes, with the attribute's name in lower case and without options; `most` at most.

        Nothing where there is no such entry, and where the server refers us to another one.
        """
        request = der.tlv(
            _SEARCH_REQUEST,
            der.octet_string(base.encode()),
            der.integer(scope, der.ENUMERATED),
            der.integer(3, der.ENUMERATED),  # derefAliases: always
            der.integer(ENTRIES),
            der.integer(0),  # the time limit is ours to keep
            der.boolean(False),
            wanted,
            der.sequence(*(der.octet_string(each.encode()) for each in ATTRIBUTES)),
        )
        serial = self._send(request)
        values: list[tuple[str, bytes]] = []
        while True:
            reader = await self._message(serial)
            kind = reader.peek()
            if kind == _SEARCH_DONE:
                code = _result(reader, _SEARCH_DONE, "search", (NO_SUCH_OBJECT, REFERRAL))
                return values if code == SUCCESS else []
            if kind == _SEARCH_REFERENCE:
                continue
            values += _entry(reader)
            if len(values) > most:
                raise _too_many(most)


def _message_size(octets: bytes | bytearray, limit: int) -> int | None:
    """How many octets the message at the front has; None until that can be told. Raises MalformedMessage."""
    if len(octets) < 2:
        return None
    count = octets[1] & 0x7F if octets[1] & 0x80 else 0
    if octets[0] != der.SEQUENCE or octets[1] == 0x80 or count > der.MAX_LENGTH_OCTETS:
        raise MalformedMessage("what arrived is no LDAP message")
    if len(octets) < 2 + count:
        return None
    length = int.from_bytes(octets[2 : 2 + count], "big") if count else octets[1]
    if length > limit:
        raise _too_long(limit)
    return 2 + count + length


def _too_many(most: int) -> LimitExceeded:
    return LimitExceeded("answer_certificates", f"more than {most} certificates")


def _too_long(limit: int) -> LimitExceeded:
    return LimitExceeded("answer_size", f"an answer of more than {limit} octets")


def _entry(reader: Reader) -> Iterator[tuple[str, bytes]]:
    """RFC 4511 4.5.2. The name of the entry says nothing: the certificate's own names count."""
    reader.enter(_SEARCH_ENTRY)
    reader.primitive(der.OCTET_STRING)
    reader.enter(der.SEQUENCE)
    while not reader.at_end():
        reader.enter(der.SEQUENCE)
        name = bytes(reader.primitive(der.OCTET_STRING)).decode("ascii", "replace").partition(";")[0].lower()
        reader.enter(der.SET)
        while not reader.at_end():
            value = bytes(reader.primitive(der.OCTET_STRING))
            if name in (USER_CERTIFICATE, USER_SMIME_CERTIFICATE):
                yield name, value
        reader.leave()
        reader.leave()


def _result(reader: Reader, operation: int, what: str, also: Sequence[int] = ()) -> int:
    """The result code, if it is success or one of `also`.

    Raises StoreUnavailable for what concerns every search, Unsupported for what may be due to this one.
    """
    reader.enter(operation)
    code = reader.integer(der.ENUMERATED)
    if code == SUCCESS or code in also:
        return code
    text = f"{what}: {_RESULTS.get(code, f'result {code}')}"
    if operation == _SEARCH_DONE and code not in _CONCERNS_ALL:
        raise Unsupported(text)
    raise StoreUnavailable(text)
