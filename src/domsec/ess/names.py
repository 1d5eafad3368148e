"""GeneralName: of whom receipts are wanted, and where they go (RFC 5280 4.2.1.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from domsec import der, oids
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.ess.reading import open_value, text_of, utf8
from domsec.limits import DEFAULT

MAX_NAMES: Final = DEFAULT.recipients  # in one value
_OTHER_NAME: Final = der.context(0)
_RFC822_NAME: Final = der.context(1, constructed=False)
_DIRECTORY_NAME: Final = der.context(4)
NAME_KINDS: Final[Mapping[int, str]] = {
    _OTHER_NAME: "otherName",
    _RFC822_NAME: "rfc822Name",
    der.context(2, constructed=False): "dNSName",
    der.context(3): "x400Address",
    _DIRECTORY_NAME: "directoryName",
    der.context(5): "ediPartyName",
    der.context(6, constructed=False): "uniformResourceIdentifier",
    der.context(7, constructed=False): "iPAddress",
    der.context(8, constructed=False): "registeredID",
}
_IA5: Final = ("rfc822Name", "dNSName", "uniformResourceIdentifier")


@dataclass(frozen=True, slots=True)
class GeneralName:
    """One name; `raw` is all of it as it came, since it is copied and compared more often than looked at."""

    raw: bytes

    def __post_init__(self) -> None:
        reader = open_value(self.raw)
        if reader.peek() not in NAME_KINDS:
            raise MalformedMessage("a general name of no known kind")
        reader.skip()
        reader.end()
        if self.kind in _IA5:
            text_of(self.value, "ascii")

    @property
    def kind(self) -> str:
        return NAME_KINDS[self.raw[0]]

    @property
    def value(self) -> bytes:
        """The content octets."""
        return bytes(der.Reader(self.raw).content(self.raw[0]))

    @property
    def text(self) -> str | None:
        """The value of an rfc822Name, dNSName or URI."""
        return text_of(self.value, "ascii") if self.kind in _IA5 else None

    @property
    def directory_name(self) -> bytes | None:
        """The Name of a directoryName, which is EXPLICIT around it."""
        return self.value if self.kind == "directoryName" else None

    @property
    def address(self) -> str | None:
        """The mail address of an rfc822Name or an SmtpUTF8Mailbox (RFC 9598); None for another name."""
        if self.kind != "otherName":
            return self.text if self.kind == "rfc822Name" else None
        try:
            reader = der.Reader(self.raw)
            reader.enter(_OTHER_NAME)
            if reader.oid() != oids.ID_ON_SMTP_UTF8_MAILBOX:
                return None
            reader.enter(der.context(0))
            return text_of(reader.primitive(der.UTF8_STRING), "utf-8")
        except MalformedMessage:
            return None


GeneralNames = tuple[GeneralName, ...]


def mail_address(address: str) -> GeneralName:
    """The rfc822Name of an address, or the SmtpUTF8Mailbox of one that ASCII cannot write."""
    if address.isascii():
        return GeneralName(der.tlv(_RFC822_NAME, address.encode()))
    mailbox = der.explicit(0, utf8(address))
    return GeneralName(der.tlv(_OTHER_NAME, der.oid(oids.ID_ON_SMTP_UTF8_MAILBOX), mailbox))


def directory_name(name: bytes) -> GeneralName:
    """The directoryName of a Name in DER."""
    return GeneralName(der.tlv(_DIRECTORY_NAME, name))


def read_many_names(reader: der.Reader, tag: int) -> tuple[GeneralNames, ...]:
    """A SEQUENCE OF GeneralNames."""
    found: list[GeneralNames] = []
    total = 0
    reader.enter(tag)
    while not reader.at_end():
        names: list[GeneralName] = []
        reader.enter(der.SEQUENCE)
        while not reader.at_end():
            total += 1
            if total > MAX_NAMES:
                raise LimitExceeded("recipients", "more general names than anybody needs")
            names.append(GeneralName(bytes(reader.skip())))
        reader.leave()
        found.append(tuple(names))
    reader.leave()
    return tuple(found)


def write_many_names(tag: int, names: tuple[GeneralNames, ...]) -> bytes:
    return der.tlv(tag, *(der.sequence(*(name.raw for name in entity)) for entity in names))


def check_many_names(names: tuple[GeneralNames, ...]) -> None:
    if not all(names):
        raise MalformedMessage("somebody is named by no name at all")
    if sum(map(len, names)) > MAX_NAMES:
        raise LimitExceeded("recipients", "more general names than anybody needs")
