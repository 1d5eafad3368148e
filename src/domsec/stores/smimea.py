"""Certificates that domains publish of their people and authorities in DNS: SMIMEA (RFC 8162).

We ask a validating resolver on this machine, and believe its AD bit for the reason that nobody stands between (RFC 4035
4.9.3, as Postfix does for DANE). Its answers are

    secure                    used
    insecure                  as if there were nothing: anybody may have put it there
    NXDOMAIN, no such record  nothing
    bogus                     not used, and no leave to go on without: somebody may be keeping the right one from us
    none                      the same; the domain's servers do not answer, or the resolver does not

Questions go over TCP, since certificates are long (RFC 8162 7), and to nobody about a local part that was changed: only
the recipient's servers know what is the same mailbox (RFC 8162 4).
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from domsec.errors import ConfigurationError, DomsecError, LimitExceeded, MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.mime.addresses import Mailbox, parse_address
from domsec.trust.association import DANE_EE, DANE_TA, PKIX_EE, PKIX_TA, Association
from domsec.trust.discovered import Answer, Question

if TYPE_CHECKING:
    import dns.message

LABEL: Final = "_smimecert"
_LOCAL_PART_OCTETS: Final = 28
_LONGEST_NAME: Final = 254  # characters of an absolute name (RFC 1035 3.1)
_CONSTRAINED: Final = {DANE_TA: PKIX_TA, DANE_EE: PKIX_EE}


@dataclass(frozen=True, slots=True)
class SmimeaDirectory:
    """The DNS, by way of one validating resolver.

    With `believed` what a domain says of its own addresses may stand for a path to an anchor, where its records say so
    (usages 2 and 3). Without, they find certificates and nothing else.
    """

    host: str  # of this machine: nobody may stand between
    port: int = 53
    believed: bool = True
    timeout: float = 5.0
    limits: Limits = DEFAULT

    @property
    def name(self) -> str:
        return "SMIMEA"

    async def ask(self, question: Question) -> Answer:
        """What the domain says of the address that is asked for. Raises nothing for any resolver."""
        mailbox = parse_address(question.address)
        if mailbox.is_literal:
            return Answer(self.name, "nothing", text="an address literal has no name in DNS")
        owner = owner_name(mailbox)
        if len(owner) > _LONGEST_NAME:
            return Answer(self.name, "nothing", text="the domain is so long that there is no name below it")
        try:
            async with asyncio.timeout(self.timeout):
                reader, writer = await asyncio.open_connection(self.host, self.port)
        except (OSError, TimeoutError):
            return Answer(self.name, "unavailable", text=f"no resolver at {self.host} port {self.port}")
        try:
            async with asyncio.timeout(self.timeout):
                return await self._asked(owner, reader, writer)
        except TimeoutError:  # the resolver waits for the domain's servers, which is nobody else's trouble
            return Answer(self.name, "unusable", text=f"{owner}: no answer within {self.timeout:g} seconds")
        except (OSError, EOFError, DomsecError) as error:
            return Answer(self.name, "unusable", text=f"{owner}: {error}")
        finally:
            writer.close()

    async def _asked(self, owner: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        import dns.rcode

        response = await self._exchange(owner, reader, writer)
        code = response.rcode()
        if code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return self.answer(owner, response)
        if code != dns.rcode.SERVFAIL:
            return Answer(self.name, "unusable", text=f"{owner}: the resolver says {dns.rcode.to_text(code)}")
        # without checking there may be an answer: then checking is what failed (RFC 4035 3.2.2)
        unchecked = await self._exchange(owner, reader, writer, checking=False)
        if unchecked.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return Answer(self.name, "bogus", text=f"{owner}: the signatures of the domain do not hold")
        return Answer(self.name, "unusable", text=f"{owner}: the servers of the domain do not answer")

    async def _exchange(
        self, owner: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, checking: bool = True
    ) -> dns.message.QueryMessage:
        """One question and its answer. Raises MalformedMessage, LimitExceeded."""
        import dns.flags
        import dns.message
        import dns.rdatatype

        flags = dns.flags.RD | dns.flags.AD | (0 if checking else dns.flags.CD)
        query = dns.message.make_query(owner, dns.rdatatype.SMIMEA, flags=flags, use_edns=True)
        octets = query.to_wire()
        writer.write(struct.pack("!H", len(octets)) + octets)
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        if size > self.limits.answer_size:
            raise LimitExceeded("answer_size", f"an answer of {size} octets")
        return read_response(await reader.readexactly(size), query)

    def answer(self, owner: str, response: dns.message.QueryMessage) -> Answer:
        """What a response says of an owner name. Raises MalformedMessage, LimitExceeded."""
        import dns.exception
        import dns.flags

        try:
            chain = response.resolve_chaining()
        except dns.exception.DNSException as error:
            raise MalformedMessage(f"the answer cannot be followed: {error}") from None
        proven = bool(response.flags & dns.flags.AD)
        seconds = float(chain.minimum_ttl)
        if chain.answer is None:
            how = "proven by DNSSEC" if proven else "as far as an unsigned domain can tell"
            return Answer(self.name, "nothing", text=f"{owner}: {how}", seconds=seconds)
        if not proven:
            text = f"{owner}: the domain does not sign it, so anybody may have put it there"
            return Answer(self.name, "insecure", text=text, seconds=seconds)
        if len(chain.answer) > self.limits.answer_certificates:
            raise LimitExceeded("answer_certificates", f"{len(chain.answer)} records")
        found = [Association(r.usage, r.selector, r.mtype, bytes(r.cert)) for r in chain.answer]
        usable = self._usable(found)
        if not usable:
            return Answer(self.name, "nothing", text=f"{owner}: no record that can be used", seconds=seconds)
        certificates = tuple(c for a in usable if not a.of_issuer and (c := a.certificate) is not None)
        return Answer(self.name, "found", certificates, usable, owner, seconds)

    def _usable(self, found: Iterable[Association]) -> tuple[Association, ...]:
        """Those that say something; no more than where certificates are, if that is all they may."""
        kept = (a for a in found if a.usable and len(a.data) <= self.limits.certificate_size)
        if self.believed:
            return tuple(kept)
        return tuple(replace(a, usage=_CONSTRAINED.get(a.usage, a.usage)) for a in kept)


def read_response(octets: bytes, query: dns.message.Message) -> dns.message.QueryMessage:
    """A response as it came, if it is one to this question. Raises MalformedMessage."""
    import dns.exception
    import dns.message

    try:
        response = dns.message.from_wire(octets)
    except (dns.exception.DNSException, ValueError) as error:
        raise MalformedMessage(f"the answer is no DNS message: {error}") from None
    if not isinstance(response, dns.message.QueryMessage) or not query.is_response(response):
        raise MalformedMessage("an answer to something not asked")
    return response


def owner_name(mailbox: Mailbox) -> str:
    """Where the records of a mailbox stand (RFC 8162 3), absolute."""
    local = unicodedata.normalize("NFC", mailbox.local).encode()
    label = hashlib.sha256(local).digest()[:_LOCAL_PART_OCTETS].hex()
    return f"{label}.{LABEL}.{mailbox.domain}."


def record_text(mailbox: Mailbox, association: Association, *, generic: bool = False) -> str:
    """The record as it stands in a zone file (RFC 8162 2, RFC 6698 2.2), or in the form of RFC 3597."""
    numbers = (association.usage, association.selector, association.matching)
    if generic:
        octets = bytes(numbers) + association.data
        return f"{owner_name(mailbox)} IN TYPE53 \\# {len(octets)} {octets.hex()}"
    return f"{owner_name(mailbox)} IN SMIMEA {' '.join(map(str, numbers))} {association.data.hex()}"


def require_library() -> None:
    """Raises ConfigurationError if dnspython is not installed."""
    try:
        import dns.message  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            'SMIMEA needs dnspython, which is not installed: expected pip install "domsec[discovery]"'
        ) from None
