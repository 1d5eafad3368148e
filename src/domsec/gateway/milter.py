"""The filter's side of the milter protocol, version 6, without I/O (libmilter of Sendmail; MILTER_README of Postfix).

A mail server tells a message step by step, keeps it, and waits at its end to be told what to do with it. Octets go into
`receive`, replies come out of `take`, and a whole message comes back as `Arrived`. Then this side stays silent, and
keeps what else was sent, until `answer` is called.

Of all steps only the end of a message needs a reply of ours: for the others the mail server is asked not to wait, and
is answered where it cannot do otherwise. What is not needed is asked for not to be sent.

    what the mail server tells     what becomes of it
    header fields                  a line each, as it stood there but for blanks before the colon
    body                           the octets, in chunks; what is large is kept in a temporary file (domsec.octets)
    macros                         queue id, login, client address and TLS of the session; the others are not kept
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from domsec.errors import StoreUnavailable
from domsec.gateway.replies import REPLIES, Reply
from domsec.gateway.smtp_server import Arrived, Budget, TurnedAway
from domsec.limits import DEFAULT, Limits
from domsec.mime.fields import Field
from domsec.octets import THRESHOLD, Octets, Spool
from domsec.pipeline import Recipient, Session

VERSION: Final = 6
OLDEST: Final = 2  # the first that tells its options; Sendmail 8.10 spoke 1
PACKET_LIMIT: Final = 1024 * 1024 + 1  # MILTER_MAX_DATA_SIZE is 64 KB, or 1 MB where both sides agreed
MACRO_LIMIT: Final = 1000  # octets of a value we keep; a login is an address

# What we may do to a message (SMFIF_...).
ADD_FIELDS: Final = 0x01
CHANGE_FIELDS: Final = 0x10
QUARANTINE: Final = 0x20
NEEDED: Final = ADD_FIELDS | CHANGE_FIELDS | QUARANTINE

# What the mail server need not tell, and where it need not wait (SMFIP_...).
NO_END_OF_HEADER: Final = 0x40
NO_UNKNOWN: Final = 0x100
NO_DATA: Final = 0x200
LEADING_SPACE: Final = 0x100000  # values of header fields with the blanks that stood behind the colon
_NO_WAITING: Final = {
    "L": 0x80,
    "C": 0x1000,
    "H": 0x2000,
    "M": 0x4000,
    "R": 0x8000,
    "T": 0x10000,
    "U": 0x20000,
    "N": 0x40000,
    "B": 0x80000,
}
WANTED: Final = NO_END_OF_HEADER | NO_UNKNOWN | NO_DATA | LEADING_SPACE | sum(_NO_WAITING.values())

_MACROS: Final = frozenset({"i", "auth_authen", "client_addr", "tls_version"})
_BLANKS: Final = (b" ", b"\t")
_CONTINUE: Final = b"\0\0\0\x01c"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the mail server is to do with a message: take it, unless `reply` refuses it.

    Fields of `removed` go away, those of `fields` go on top, the first of them topmost.
    """

    reply: Reply
    fields: tuple[Field, ...] = ()
    removed: tuple[int, ...] = ()  # places in the header as it came, counted from 0
    quarantine: str = ""  # why it is put aside until the administrator of the mail server looks at it


class Malformed(Exception):
    """The mail server said what no mail server says."""


class State(Enum):
    NEW = auto()  # options have to be agreed on
    READY = auto()
    MESSAGE = auto()  # after MAIL
    BUSY = auto()  # a message was handed out, `answer` is due
    CLOSED = auto()


class Milter:
    """One connection of a mail server."""

    __slots__ = (
        "_address",
        "_agreed",
        "_budget",
        "_buffer",
        "_client",
        "_content",
        "_helo",
        "_in_body",
        "_limits",
        "_macros",
        "_names",
        "_out",
        "_problem",
        "_recipients",
        "_reserved",
        "_sender",
        "_sender_parameters",
        "_size",
        "_spool",
        "_turned_away",
        "_user",
        "failure",
        "state",
    )

    def __init__(
        self,
        limits: Limits = DEFAULT,
        *,
        client_address: str | None = None,
        user: str | None = None,
        budget: Budget | None = None,
    ) -> None:
        """`client_address` and `user` are the mail server's."""
        self._limits = limits
        self._address = client_address
        self._user = user
        self._budget = budget
        self._buffer = b""
        self._out: list[bytes] = []
        self._agreed = 0
        self._client: str | None = None
        self._helo: str | None = None
        self._macros: dict[str, dict[str, str]] = {}
        self._reserved = 0
        self._spool: Spool | None = None
        self.failure: str | None = None  # what the mail server said that none says: the connection has ended
        self.state = State.NEW
        self._sender = ""
        self._sender_parameters = ""
        self._recipients: list[Recipient] = []
        self._names: list[bytes] = []
        self._content = bytearray()
        self._size = 0
        self._in_body = False
        self._problem: str | None = None
        self._turned_away: list[TurnedAway] = []

    # -- what the outside asks and tells ---------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection ends once what `take` gives is written."""
        return self.state is State.CLOSED

    @property
    def idle(self) -> bool:
        """Whether no message is under way."""
        return self.state in (State.NEW, State.READY)

    @property
    def busy(self) -> bool:
        """Whether `answer` is due."""
        return self.state is State.BUSY

    @property
    def receiving(self) -> bool:
        """Whether a message is being told."""
        return self.state is State.MESSAGE

    @property
    def tls_due(self) -> bool:
        """Never: the protocol knows no TLS."""
        return False

    def secured(self, certificate: str | None = None) -> None:
        """Not called."""

    @property
    def backlog(self) -> int:
        """Octets that wait for `answer`."""
        return len(self._buffer)

    def take(self) -> bytes:
        """The octets to send."""
        out, self._out = b"".join(self._out), []
        return out

    def turned_away(self) -> Sequence[TurnedAway]:
        """The messages that were refused since the last time it was asked."""
        found, self._turned_away = self._turned_away, []
        return found

    def receive(self, data: bytes) -> Arrived | None:
        """Take octets from the mail server. Gives a message when one is complete."""
        if self.state is State.CLOSED:
            return None
        self._buffer = self._buffer + data if self._buffer else data
        return None if self.state is State.BUSY else self._advance()

    def answer(self, answer: Answer) -> Arrived | None:
        """Say what to do with the message that `receive` gave. Gives the next one if it was sent already."""
        assert self.state is State.BUSY
        self._say(answer)
        self._reset()
        return self._advance()

    def close(self, name: str) -> None:
        """End the connection; the mail server treats what it has in hand as its own configuration says."""
        self.lost()

    def lost(self) -> None:
        """The connection is gone."""
        self.state = State.CLOSED
        self._buffer = b""
        self._reset()

    # -- packets ---------------------------------------------------------------------------------------------------

    def _advance(self) -> Arrived | None:
        data, start = self._buffer, 0
        arrived = None
        try:
            while arrived is None and self.state is not State.CLOSED and len(data) - start >= 4:
                size = int.from_bytes(data[start : start + 4], "big")
                if not 1 <= size <= PACKET_LIMIT:
                    raise Malformed(f"a packet of {size} octets")
                end = start + 4 + size
                if len(data) < end:
                    break
                arrived = self._packet(chr(data[start + 4]), data[start + 5 : end])
                start = end
        except Malformed as problem:
            self.failure = str(problem)
            self.lost()
        self._buffer = b"" if self.state is State.CLOSED else data[start:] if start else data
        return arrived

    def _packet(self, command: str, data: bytes) -> Arrived | None:
        if self.state is State.NEW and command not in "OQ":
            raise Malformed(f"command {command!r} before the options")
        match command:
            case "O":
                self._negotiate(data)
            case "D":
                self._hear_macros(data)
            case "C":
                self._connect(data)
            case "H":
                self._helo = _texts(data)[0]
            case "M":
                self._begin(data)
            case "R":
                self._recipient(data)
            case "L":
                self._field(data)
            case "B":
                self._body(data)
            case "E":
                return self._end(data)
            case "A":
                self._reset()
            case "K":
                self._reset()
                self._client = self._helo = None
                self._macros.clear()
            case "Q":
                self.lost()
            case "N" | "T" | "U":
                pass
            case _:
                raise Malformed(f"command {command!r}")
        if command in _NO_WAITING and not self._agreed & _NO_WAITING[command]:
            self._out.append(_CONTINUE)
        return None

    def _negotiate(self, data: bytes) -> None:
        if self.state is not State.NEW or len(data) < 12:
            raise Malformed("options out of turn or cut off")
        version, actions, protocol = (int.from_bytes(data[at : at + 4], "big") for at in (0, 4, 8))
        if version < OLDEST:
            raise Malformed(f"version {version} of the protocol")
        if actions & NEEDED != NEEDED:
            raise Malformed("a mail server that lets nobody change header fields or quarantine")
        self._agreed = protocol & WANTED
        self.state = State.READY
        self._put("O", b"".join(n.to_bytes(4, "big") for n in (min(version, VERSION), NEEDED, self._agreed)))

    def _hear_macros(self, data: bytes) -> None:
        """Macros hold for the command whose letter stands in front, and until it is said again."""
        words = _texts(data[1:])
        pairs = zip(words[::2], words[1::2], strict=False)
        named = ((name.removeprefix("{").removesuffix("}"), value[:MACRO_LIMIT]) for name, value in pairs)
        self._macros[chr(data[0]) if data[:1] in _STAGES else ""] = {n: v for n, v in named if n in _MACROS}

    def _macro(self, name: str) -> str | None:
        """Its latest value: what comes later in a message is better known."""
        for stage in reversed(_STAGE_ORDER):
            if value := self._macros.get(stage, {}).get(name):
                return value
        return None

    def _connect(self, data: bytes) -> None:
        _, found, rest = data.partition(b"\0")
        if not found or not rest:
            raise Malformed("a connection cut off")
        self._client = _texts(rest[3:])[0].removeprefix("IPv6:") if rest[:1] in b"46" else None

    # -- one message -----------------------------------------------------------------------------------------------

    def _begin(self, data: bytes) -> None:
        told = self._macros.get("M", {})  # they come before their command
        self._reset()
        self._macros["M"] = told
        address, *parameters = _texts(data)
        self._sender, self._sender_parameters = _path(address), " ".join(parameters)
        self.state = State.MESSAGE

    def _recipient(self, data: bytes) -> None:
        self._expect_message()
        if len(self._recipients) >= self._limits.recipients:
            self._drop("recipients")
            return
        address, *parameters = _texts(data)
        self._recipients.append(Recipient(_path(address), " ".join(parameters)))

    def _field(self, data: bytes) -> None:
        self._expect_message()
        name, found, value = data.removesuffix(b"\0").partition(b"\0")
        if not found or self._in_body:
            raise Malformed("a header field cut off or behind the header")
        lines = value.replace(b"\r\n", b"\n").split(b"\n")
        if any(line[:1] not in _BLANKS for line in lines[1:]):
            raise Malformed("a header field that would be several")
        if name[:1] in (b"", *_BLANKS) or b"\n" in name or b":" in name:
            raise Malformed("a header field whose name is none")
        line = name + (b":" if self._agreed & LEADING_SPACE else b": ") + b"\r\n".join(lines) + b"\r\n"
        if len(self._names) >= self._limits.header_fields or self._size + len(line) > self._limits.header_size:
            self._drop("header")
            return
        self._names.append(name)
        self._keep(line)

    def _body(self, data: bytes) -> None:
        self._expect_message()
        if not self._in_body:
            self._in_body = True
            self._keep(b"\r\n")
        self._keep(data)

    def _end(self, data: bytes) -> Arrived | None:
        self._body(data)
        octets = self._octets()
        recipients = tuple(self._recipients)
        if self._problem is not None:
            reply = REPLIES[self._problem]
            self._turned_away.append(TurnedAway(self._sender, recipients, self._size, self._session(), reply))
            self._say(Answer(reply))
            self._reset()
            return None
        if not recipients:
            raise Malformed("a message for nobody")
        self.state = State.BUSY
        return Arrived(self._sender, self._sender_parameters, recipients, octets, octets, self._session())

    def _expect_message(self) -> None:
        if self.state is not State.MESSAGE:
            raise Malformed("a message without its beginning")

    def _session(self) -> Session:
        client = self._client or self._macro("client_addr")
        told = {"IDENT": self._macro("i"), "ADDR": client}
        return Session(
            client_address=client,
            helo=self._helo,
            auth=self._macro("auth_authen"),
            protocol="milter",
            tls=self._macro("tls_version") is not None,
            xforward={name: value for name, value in told.items() if value},
            direction="inbound",
            user=self._user,
        )

    # -- content ---------------------------------------------------------------------------------------------------

    def _keep(self, octets: bytes) -> None:
        if self._problem is not None:
            return
        self._size += len(octets)
        if self._size > self._limits.size:
            self._drop("size")
        elif not self._reserve(len(octets)):
            self._drop("memory")
        else:
            self._content += octets
            if len(self._content) > THRESHOLD:
                self._put_away()

    def _put_away(self) -> None:
        try:
            self._spool = self._spool or Spool()
            self._spool.write(bytes(self._content))
            self._content.clear()
        except StoreUnavailable:
            self._drop("room")

    def _octets(self) -> Octets:
        if self._spool is None:
            return bytes(self._content)
        try:
            if self._content:
                self._spool.write(bytes(self._content))
            return self._spool.octets()
        except StoreUnavailable:
            self._drop("room")
            return b""

    def _drop(self, problem: str) -> None:
        """Keep nothing of this message from here on, and remember why."""
        self._problem = self._problem or problem
        self._content.clear()
        self._close_spool()

    def _close_spool(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _reserve(self, octets: int) -> bool:
        if self._budget is None:
            return True
        if not self._budget.take(octets):
            return False
        self._reserved += octets
        return True

    def _reset(self) -> None:
        """No message is under way any more."""
        if self._budget is not None and self._reserved:
            self._budget.give(self._reserved)
        self._reserved = 0
        self._close_spool()
        for stage in _OF_MESSAGE:
            self._macros.pop(stage, None)
        if self.state in (State.MESSAGE, State.BUSY):
            self.state = State.READY
        self._sender = self._sender_parameters = ""
        self._recipients = []
        self._names = []
        self._content = bytearray()
        self._size = 0
        self._in_body = False
        self._problem = None

    # -- replies ---------------------------------------------------------------------------------------------------

    def _say(self, answer: Answer) -> None:
        if not answer.reply.positive:
            # Sendmail takes it for a format (smfi_setreply): a lone per cent sign would be an error.
            self._put("y", answer.reply.encode().rstrip(b"\r\n").replace(b"%", b"%%") + b"\0")
            return
        for place in sorted(answer.removed, reverse=True):  # from below, so that those above keep their number
            name = self._names[place]
            number = sum(1 for each in self._names[: place + 1] if each.lower() == name.lower())
            self._put("m", number.to_bytes(4, "big") + name + b"\0\0")
        for field in reversed(answer.fields):
            name, _, value = field.raw.removesuffix(b"\r\n").partition(b":")
            if not self._agreed & LEADING_SPACE:
                value = value.removeprefix(b" ")
            self._put("i", bytes(4) + name + b"\0" + value.replace(b"\r\n", b"\n") + b"\0")
        if answer.quarantine:
            self._put("q", answer.quarantine.encode("ascii", "replace") + b"\0")
        self._out.append(_CONTINUE)

    def _put(self, command: str, data: bytes) -> None:
        self._out.append((1 + len(data)).to_bytes(4, "big") + command.encode() + data)


_STAGE_ORDER: Final = ("C", "H", "M", "R", "T", "N", "B", "E")
_STAGES: Final = frozenset(stage.encode() for stage in _STAGE_ORDER)
_OF_MESSAGE: Final = frozenset(_STAGE_ORDER[2:]) | {""}


def _texts(data: bytes) -> list[str]:
    """Words that each end in NUL, one at least. Octets that are not UTF-8 are replaced."""
    return [word.decode("utf-8", "replace") for word in data.removesuffix(b"\0").split(b"\0")]


def _path(text: str) -> str:
    """The address in a path. The mail server has accepted it: one that we cannot read is kept as it is, for the log."""
    return text.strip().removeprefix("<").removesuffix(">")
