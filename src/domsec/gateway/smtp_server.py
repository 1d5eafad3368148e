"""The receiving side of SMTP and LMTP without I/O (RFC 5321, 2033, 2920, 1870, 6152, 6531, 3461, 2034, 3207).

Octets go into `receive`, replies come out of `take`, and a whole message comes back as `Arrived`. Then the server
stays silent, and keeps what else the client has pipelined, until `answer` is called with the replies for it.

What is announced: PIPELINING SIZE 8BITMIME SMTPUTF8 DSN ENHANCEDSTATUSCODES, to trusted clients XFORWARD and XCLIENT,
and STARTTLS where there is a certificate: then `tls_due` says that the connection has to be secured, and `secured` is
called when it is. Not CHUNKING: a BDAT would be a second way to end a message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Final, Literal

from domsec.gateway.data import Data
from domsec.gateway.replies import REPLIES, Reply
from domsec.gateway.session import (
    RECIPIENT_PARAMETERS,
    SENDER_PARAMETERS,
    XCLIENT_NAMES,
    XFORWARD_NAMES,
    EnvelopeError,
    has_control,
    parse_attributes,
    parse_parameters,
    parse_path,
)
from domsec.octets import Octets
from domsec.pipeline import Direction, Recipient, Session

COMMAND_LIMIT: Final = 2048  # RFC 5321 4.5.3.1.4 asks for 512 and more with extensions; UTF-8 addresses are long
MAX_ERRORS: Final = 20
OVERRUN: Final = 10  # a message larger than this many times the limit is cut off with the connection

_ENCODED = {name: reply.encode() for name, reply in REPLIES.items()}


@dataclass(frozen=True, slots=True)
class Profile:
    """What one listener speaks and allows."""

    protocol: Literal["lmtp", "smtp"]
    direction: Direction
    hostname: str
    size: int = 64 * 1024 * 1024
    recipients: int = 1000
    tls: Literal["no", "offered", "required"] = "no"


class Budget:
    """Octets of messages in flight in one process, at most `total`."""

    __slots__ = ("total", "used")

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0

    def take(self, octets: int) -> bool:
        if self.used + octets > self.total:
            return False
        self.used += octets
        return True

    def give(self, octets: int) -> None:
        self.used -= octets


class State(Enum):
    GREETED = auto()  # LHLO, EHLO or HELO has still to come
    READY = auto()
    ENVELOPE = auto()  # after MAIL
    DATA = auto()
    BUSY = auto()  # a message was handed out, `answer` is due
    TLS = auto()  # `secured` is due
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message. `wire` is what stood on the wire, still dot-stuffed: the same object as `octets` if nothing was."""

    sender: str
    sender_parameters: str
    recipients: tuple[Recipient, ...]
    octets: Octets
    wire: Octets
    session: Session


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A message that was refused before anybody looked inside: nothing of it was kept."""

    sender: str
    recipients: tuple[Recipient, ...]
    size: int
    session: Session
    reply: Reply


class Server:
    """One connection."""

    __slots__ = (
        "_auth",
        "_budget",
        "_buffer",
        "_certificate",
        "_client",
        "_data",
        "_errors",
        "_extended",
        "_out",
        "_profile",
        "_proxied_helo",
        "_recipients",
        "_reserved",
        "_sender",
        "_sender_parameters",
        "_session",
        "_tls",
        "_trusted",
        "_turned_away",
        "_user",
        "_utf8",
        "state",
    )

    def __init__(
        self,
        profile: Profile,
        *,
        client_address: str | None = None,
        user: str | None = None,
        trusted: bool = False,
        budget: Budget | None = None,
    ) -> None:
        self._profile = profile
        self._trusted = trusted
        self._budget = budget
        self._client = client_address
        self._user = user
        self._tls = False
        self._certificate: str | None = None
        self._auth: str | None = None
        self._proxied_helo: str | None = None
        self._buffer = b""
        self._errors = 0
        self._extended = False
        self._reserved = 0
        self._data: Data | None = None
        self._sender: str | None = None
        self._sender_parameters = ""
        self._recipients: list[Recipient] = []
        self._utf8 = False
        self._session = self._new_session(None)
        self._turned_away: list[TurnedAway] = []
        self.state = State.GREETED
        self._out: list[bytes] = [self._greeting()]

    # -- what the outside asks and tells ---------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection ends once what `take` gives is written."""
        return self.state is State.CLOSED

    @property
    def idle(self) -> bool:
        """Whether no transaction is open."""
        return self.state in (State.GREETED, State.READY)

    @property
    def busy(self) -> bool:
        """Whether `answer` is due."""
        return self.state is State.BUSY

    @property
    def receiving(self) -> bool:
        """Whether a message is being sent."""
        return self.state is State.DATA

    @property
    def tls_due(self) -> bool:
        """Whether the client waits for TLS to begin, once what `take` gives is written."""
        return self.state is State.TLS

    def secured(self, certificate: str | None = None) -> None:
        """The connection is secured from here on. The client begins again (RFC 3207 4.2).

        `certificate` is the SHA-256 of what it has shown.
        """
        self._tls = True
        self._certificate = certificate
        self._session = self._new_session(None)
        self._extended = False
        self.state = State.GREETED

    @property
    def backlog(self) -> int:
        """Octets that wait for `answer`."""
        return len(self._buffer)

    def take(self) -> bytes:
        """The octets to send."""
        out = self._out
        if not out:
            return b""
        self._out = []
        return out[0] if len(out) == 1 else b"".join(out)

    def turned_away(self) -> Sequence[TurnedAway]:
        """The messages that were refused since the last time it was asked."""
        found, self._turned_away = self._turned_away, []
        return found

    def receive(self, data: bytes) -> Arrived | None:
        """Take octets from the client. Gives a message when one is complete."""
        if self.state is State.CLOSED:
            return None
        if self.state is State.TLS:
            return None  # not of the secured connection: it is not for us to hear
        if self.state is State.BUSY:
            self._buffer += data
            return None
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        return self._advance(data)

    def answer(self, replies: Sequence[Reply]) -> Arrived | None:
        """Reply to the message that `receive` gave: to each recipient for LMTP, once for SMTP.

        Gives the next message if the client had already sent one.
        """
        assert self.state is State.BUSY
        assert len(replies) == (len(self._recipients) if self._profile.protocol == "lmtp" else 1)
        self._out.extend(reply.encode() for reply in replies)
        self._reset()
        data, self._buffer = self._buffer, b""
        return self._advance(data) if data else None

    def close(self, name: str) -> None:
        """End the connection with this reply, whatever state it is in."""
        if self.state is not State.CLOSED:
            self._out.append(_ENCODED[name])
            self._end()

    def lost(self) -> None:
        """The connection is gone."""
        self._end()

    # -- commands --------------------------------------------------------------------------------------------------

    def _advance(self, data: bytes) -> Arrived | None:
        start = 0
        while self.state is not State.CLOSED:
            if self.state is State.DATA:
                rest = self._receive_data(data[start:] if start else data)
                if rest is None:
                    return None
                data, start = rest, 0
                if self._data is not None:
                    self._buffer = data
                    return self._arrived(self._data)
                continue
            end = data.find(b"\n", start)
            if end < 0:
                self._buffer = data[start:] if start else data
                if len(self._buffer) > COMMAND_LIMIT:
                    self.close("line_length")
                return None
            line = data[start:end]
            start = end + 1
            if len(line) > COMMAND_LIMIT:
                self.close("line_length")
                return None
            if not line.endswith(b"\r"):
                # The two sides do not agree on what a line is: nothing that follows can be trusted (threats T-24).
                self.close("line_end")
                return None
            self._command(line[:-1], more=start < len(data))
        return None

    def _command(self, line: bytes, *, more: bool) -> None:
        verb, argument = _split(line)
        handler = _COMMANDS.get(verb)
        if handler is None:
            self._refuse("command" if verb else "characters")
            return
        if more and (verb in _LAST_IN_GROUP or not (self._extended or verb == "QUIT")):
            self.close("pipelining")
            return
        try:
            handler(self, argument)
        except EnvelopeError as error:
            self._refuse(error.reply)

    def _hello(self, argument: str, verb: str) -> None:
        if (verb == "LHLO") != (self._profile.protocol == "lmtp"):
            raise EnvelopeError("command")
        name = argument.strip()
        if not name:
            raise EnvelopeError("syntax")
        self._reset()
        self._session = self._new_session(name)
        self._extended = verb != "HELO"
        if not self._extended:
            self._out.append(f"250 {self._profile.hostname}\r\n".encode("ascii", "replace"))
            return
        lines = [
            self._profile.hostname,
            "PIPELINING",
            f"SIZE {self._profile.size}",
            "8BITMIME",
            "SMTPUTF8",
            "DSN",
            "ENHANCEDSTATUSCODES",
        ]
        if self._profile.tls != "no" and not self._tls:
            lines.append("STARTTLS")
        if self._trusted:
            lines += ["XFORWARD " + " ".join(XFORWARD_NAMES), "XCLIENT " + " ".join(XCLIENT_NAMES)]
        text = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
        self._out.append(text.encode("ascii", "replace"))

    def _lhlo(self, argument: str) -> None:
        self._hello(argument, "LHLO")

    def _ehlo(self, argument: str) -> None:
        self._hello(argument, "EHLO")

    def _helo(self, argument: str) -> None:
        self._hello(argument, "HELO")

    def _mail(self, argument: str) -> None:
        if self._profile.tls == "required" and not self._tls:
            raise EnvelopeError("tls_first")
        if self.state is not State.READY:
            raise EnvelopeError("sequence")
        if argument[:5].upper() != "FROM:":
            raise EnvelopeError("syntax")
        sender, parameters = parse_path(argument[5:], "sender_syntax")
        if sender and "@" not in sender:
            raise EnvelopeError("sender_syntax")
        found = parse_parameters(parameters, SENDER_PARAMETERS) if parameters else {}
        self._utf8 = "SMTPUTF8" in found
        if not self._utf8 and not sender.isascii():
            raise EnvelopeError("utf8")
        size = int(found.get("SIZE", "0"))
        if size > self._profile.size:
            raise EnvelopeError("size")
        if not self._reserve(size):
            raise EnvelopeError("memory")
        self._sender, self._sender_parameters = sender, parameters
        self.state = State.ENVELOPE
        self._out.append(_ENCODED["sender_ok"])

    def _rcpt(self, argument: str) -> None:
        if self.state is not State.ENVELOPE:
            raise EnvelopeError("sequence")
        if argument[:3].upper() != "TO:":
            raise EnvelopeError("syntax")
        address, parameters = parse_path(argument[3:], "recipient_syntax")
        if not address:
            raise EnvelopeError("recipient_syntax")
        if parameters:
            parse_parameters(parameters, RECIPIENT_PARAMETERS)
        if not self._utf8 and not (address.isascii() and parameters.isascii()):
            raise EnvelopeError("utf8")
        if len(self._recipients) >= self._profile.recipients:
            self._out.append(_ENCODED["recipients"])
            return
        self._recipients.append(Recipient(address, parameters))
        self._out.append(_ENCODED["recipient_ok"])

    def _begin_data(self, argument: str) -> None:
        if argument:
            raise EnvelopeError("syntax")
        if self.state is not State.ENVELOPE:
            raise EnvelopeError("sequence")
        if not self._recipients:
            raise EnvelopeError("no_recipients")
        self._data = Data(self._profile.size)
        self.state = State.DATA
        self._out.append(_ENCODED["start_data"])

    def _rset(self, argument: str) -> None:
        if argument:
            raise EnvelopeError("syntax")
        if self.state is not State.GREETED:
            self._reset()
        self._out.append(_ENCODED["ok"])

    def _noop(self, argument: str) -> None:
        self._out.append(_ENCODED["ok"])

    def _quit(self, argument: str) -> None:
        self.close("closing")

    def _vrfy(self, argument: str) -> None:
        self._out.append(_ENCODED["cannot_verify"])

    def _not_offered(self, argument: str) -> None:
        self._refuse("not_here")

    def _bdat(self, argument: str) -> None:
        # Its octets would follow without waiting, and be taken for commands.
        self.close("not_here")

    def _starttls(self, argument: str) -> None:
        if self._profile.tls == "no" or self._tls:
            self._refuse("not_here")
            return
        if argument:
            raise EnvelopeError("syntax")
        if self.state is not State.READY:
            raise EnvelopeError("sequence")
        self._out.append(_ENCODED["tls_ready"])
        self.state = State.TLS

    def _xforward(self, argument: str) -> None:
        if not self._trusted:
            raise EnvelopeError("not_trusted")
        if self.state is not State.READY:
            raise EnvelopeError("sequence")
        found = parse_attributes(argument, XFORWARD_NAMES)
        if found:
            self._session = replace(self._session, xforward={**self._session.xforward, **found})
        self._out.append(_ENCODED["ok"])

    def _xclient(self, argument: str) -> None:
        if not self._trusted:
            raise EnvelopeError("not_trusted")
        if not self.idle:
            raise EnvelopeError("sequence")
        found = parse_attributes(argument, XCLIENT_NAMES)
        given = {word.partition("=")[0].upper() for word in argument.split()}
        if "ADDR" in given:
            self._client = found.get("ADDR")
        if "LOGIN" in given:
            self._auth = found.get("LOGIN")
        if "HELO" in given:
            self._proxied_helo = found.get("HELO")
        # The client speaks for somebody else from here on, and begins again (XCLIENT_README).
        self._certificate = None
        self._session = self._new_session(None)
        self._extended = False
        self.state = State.GREETED
        self._out.append(self._greeting())

    # -- content ---------------------------------------------------------------------------------------------------

    def _receive_data(self, chunk: bytes) -> bytes | None:
        data = self._data
        assert data is not None
        rest = data.feed(chunk)
        if data.problem is None and data.size > self._reserved and not self._reserve(data.size - self._reserved):
            data.drop("memory")
        if rest is None:
            if data.size > OVERRUN * self._profile.size:
                self._turn_away("size", data.size)
                self.close("size")
            return None
        if data.problem is None:
            self.state = State.BUSY
            return rest
        count = len(self._recipients) if self._profile.protocol == "lmtp" else 1
        self._out.append(_ENCODED[data.problem] * count)
        self._turn_away(data.problem, data.size)
        self._reset()
        return rest

    def _turn_away(self, name: str, size: int) -> None:
        sender = self._sender
        assert sender is not None
        refused = TurnedAway(sender, tuple(self._recipients), size, self._session, REPLIES[name])
        self._turned_away.append(refused)

    def _arrived(self, data: Data) -> Arrived:
        sender = self._sender
        assert sender is not None
        self._data = None
        return Arrived(sender, self._sender_parameters, tuple(self._recipients), data.octets, data.wire, self._session)

    # -- state -----------------------------------------------------------------------------------------------------

    def _greeting(self) -> bytes:
        service = self._profile.protocol.upper() if self._profile.protocol == "lmtp" else "ESMTP"
        return f"220 {self._profile.hostname} {service} domsec\r\n".encode("ascii", "replace")

    def _new_session(self, helo: str | None) -> Session:
        return Session(
            client_address=self._client,
            helo=self._proxied_helo or helo,
            auth=self._auth,
            protocol=self._profile.protocol,
            tls=self._tls,
            xforward={},
            direction=self._profile.direction,
            user=self._user,
            certificate=self._certificate,
        )

    def _reserve(self, octets: int) -> bool:
        if self._budget is None or octets <= 0:
            return True
        if not self._budget.take(octets):
            return False
        self._reserved += octets
        return True

    def _release(self) -> None:
        if self._budget is not None and self._reserved:
            self._budget.give(self._reserved)
        self._reserved = 0

    def _reset(self) -> None:
        self._release()
        if self._data is not None:
            self._data.close()
            self._data = None
        self._sender = None
        self._sender_parameters = ""
        self._recipients = []
        self._utf8 = False
        if self._session.xforward:  # holds for one transaction (XFORWARD_README)
            self._session = replace(self._session, xforward={})
        if self.state is not State.CLOSED:
            self.state = State.READY

    def _end(self) -> None:
        self.state = State.CLOSED
        self._buffer = b""
        self._reset()

    def _refuse(self, name: str) -> None:
        self._out.append(_ENCODED[name])
        self._errors += 1
        if self._errors >= MAX_ERRORS:
            self.close("errors")


@lru_cache(maxsize=256)
def _split(line: bytes) -> tuple[str, str]:
    """Verb in upper case and argument; no verb for a line with octets that no command has."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "", ""
    if has_control(text):
        return "", ""
    verb, _, argument = text.partition(" ")
    return verb.upper() or " ", argument


_COMMANDS: dict[str, Callable[[Server, str], None]] = {
    "LHLO": Server._lhlo,
    "EHLO": Server._ehlo,
    "HELO": Server._helo,
    "MAIL": Server._mail,
    "RCPT": Server._rcpt,
    "DATA": Server._begin_data,
    "RSET": Server._rset,
    "NOOP": Server._noop,
    "QUIT": Server._quit,
    "VRFY": Server._vrfy,
    "XFORWARD": Server._xforward,
    "XCLIENT": Server._xclient,
    "BDAT": Server._bdat,
    "EXPN": Server._not_offered,
    "HELP": Server._not_offered,
    "ETRN": Server._not_offered,
    "AUTH": Server._not_offered,
    "STARTTLS": Server._starttls,
}
# RFC 2920 3.1: their reply has to be waited for. What is sent along with STARTTLS is not protected by it (T-24).
_LAST_IN_GROUP = frozenset({"LHLO", "EHLO", "HELO", "DATA", "XCLIENT", "AUTH", "STARTTLS"})
