"""The sending side of SMTP and LMTP without I/O (RFC 5321, 2033, 2920, 1870, 6152, 6531, 3461, 3207).

`begin` starts a message on a connection that is READY, octets of the server go into `receive`, octets to send come
out of `take`, and when the message is done `results` has one reply for each recipient. The same connection then takes
the next message.

With `tls` it asks for STARTTLS where that is offered; `tls_due` then says that the connection has to be secured, and
`secured` is called when it is. With `tls` "verify" it says nothing else to a server that does not offer it.

MAIL, RCPT and DATA go out together if the server offers PIPELINING, otherwise one at a time.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Final, Literal

from domsec.gateway.replies import ENHANCED, REPLIES, Reply, clean
from domsec.gateway.session import has_control, is_address, needs_utf8, without_parameters
from domsec.limits import DEFAULT
from domsec.octets import Octets, chunks, start
from domsec.pipeline import Recipient

REPLY_LIMIT: Final = 64 * 1024  # octets of one reply; an EHLO of many lines has 1 KB
_CODE = re.compile(rb"[2-5]\d\d\Z")


class State(Enum):
    CONNECTED = auto()  # greeting or hello is under way
    TLS = auto()  # `secured` is due
    READY = auto()
    ENVELOPE = auto()
    CONTENT = auto()  # message handed to `take`, final reply is due
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Job:
    """One message to send. `wire` is dot-stuffed, in pieces that are sent one after the other."""

    sender: str
    sender_parameters: str
    recipients: tuple[Recipient, ...]
    wire: tuple[Octets, ...]
    all_or_nothing: bool = False  # send nothing if any recipient is refused


class ProtocolViolation(Exception):
    """The server said what no server says here."""


class Client:
    """One connection."""

    __slots__ = (
        "_accepted",
        "_commands",
        "_dirty",
        "_expected",
        "_features",
        "_helo",
        "_input",
        "_job",
        "_lines",
        "_out",
        "_protocol",
        "_quit",
        "_replies",
        "_tls",
        "content_sent",
        "failure",
        "results",
        "state",
    )

    def __init__(
        self, protocol: Literal["lmtp", "smtp"], helo: str, tls: Literal["no", "may", "verify"] = "no"
    ) -> None:
        self._tls = tls
        self._protocol = protocol
        self._helo = helo
        self._input = b""
        self._lines: list[bytes] = []
        self._out: list[Octets] = []
        self._commands: deque[tuple[str, bytes]] = deque()
        self._expected: deque[str] = deque(["greeting"])
        self._features: dict[str, str] = {}
        self._job: Job | None = None
        self._replies: list[Reply | None] = []
        self._accepted: list[int] = []
        self._dirty = False
        self._quit = False
        self.content_sent = False
        self.results: tuple[Reply, ...] | None = None
        self.failure: Reply | None = None  # why the connection was closed by us or refused us
        self.state = State.CONNECTED

    @property
    def features(self) -> frozenset[str]:
        """What the server offers, in upper case."""
        return frozenset(self._features)

    @property
    def tls_due(self) -> bool:
        """Whether the server waits for TLS to begin."""
        return self.state is State.TLS

    def secured(self) -> None:
        """The connection is secured: what was offered before counts no more (RFC 3207 4.2)."""
        self._tls = "no"
        self._features = {}
        self.state = State.CONNECTED
        self._say_hello("lhlo" if self._protocol == "lmtp" else "ehlo")
        self._send_commands()

    def take(self) -> list[Octets]:
        """The octets to send, in pieces."""
        out, self._out = self._out, []
        return out

    def begin(self, job: Job) -> None:
        """Start with a message. `results` may be there at once, when the server offers too little for it."""
        assert self.state is State.READY
        self._job = job
        self.results = None
        self.content_sent = False
        self._accepted = []
        self._replies = [None] * len(job.recipients)
        parameters = self._sender_parameters(job)
        if isinstance(parameters, Reply):
            self._replies = [parameters] * len(job.recipients)
            self._finish()
            return
        utf8 = "SMTPUTF8" in self._features
        commands = [("reset", b"RSET\r\n")] if self._dirty else []
        commands.append(("mail", _command("MAIL FROM", job.sender, parameters)))
        for index, recipient in enumerate(job.recipients):
            if not utf8 and not recipient.address.isascii():
                self._replies[index] = REPLIES["next_hop_utf8"]
                continue
            words = recipient.parameters if "DSN" in self._features else ""
            if not words.isascii() and not utf8:
                words = without_parameters(words, "ORCPT")
            commands.append((f"rcpt {index}", _command("RCPT TO", recipient.address, words)))
        asked = len(commands) - (2 if self._dirty else 1)
        if not asked or (job.all_or_nothing and asked < len(job.recipients)):
            self._finish()
            return
        if "PIPELINING" in self._features and not job.all_or_nothing:
            commands.append(("data", b"DATA\r\n"))
        self.state = State.ENVELOPE
        self._dirty = True
        self._commands.extend(commands)
        self._send_commands()

    def quit(self) -> None:
        """End the session politely. The server's reply is not waited for."""
        if self.state is State.READY:
            self._out.append(b"QUIT\r\n")
        self.state = State.CLOSED

    def settle(self, failure: Reply) -> tuple[Reply, ...]:
        """The connection is gone: what is known of each recipient, `failure` for the rest.

        Recipients of an LMTP server that were already answered keep their answer, so that nothing is sent twice.
        """
        self.state = State.CLOSED
        return tuple(each or failure for each in self._replies)

    def receive(self, data: bytes) -> None:
        """Take octets from the server."""
        data = self._input + data if self._input else data
        start = 0
        try:
            while self.state is not State.CLOSED:
                if self.state is State.TLS and start < len(data):
                    raise ProtocolViolation  # said in the clear, to be heard as if it were secured
                end = data.find(b"\n", start)
                if end < 0:
                    break
                self._line(data[start:end].rstrip(b"\r"))
                start = end + 1
        except ProtocolViolation:
            self._fail(REPLIES["next_hop_protocol"])
        self._input = data[start:]
        if len(self._input) + sum(map(len, self._lines)) > REPLY_LIMIT:
            self._fail(REPLIES["next_hop_protocol"])

    # -- replies ---------------------------------------------------------------------------------------------------

    def _line(self, line: bytes) -> None:
        if not self._lines and len(line) < 128 and line[3:4] != b"-":
            self._reply(_one_line(line), ())
            return
        code, mark = line[:3], line[3:4]
        if not _CODE.match(code) or mark not in (b" ", b"-", b"") or (self._lines and self._lines[0][:3] != code):
            raise ProtocolViolation
        self._lines.append(line)
        if mark == b"-":
            if len(self._lines) > 1000:
                raise ProtocolViolation
            return
        words = [each[4:].decode("ascii", "replace") for each in self._lines]
        self._lines.clear()
        last = _one_line(line)
        first = [each.removeprefix(last.enhanced).strip() for each in words[:-1]]
        self._reply(replace(last, text=" ".join([*first, last.text])), words)

    def _reply(self, reply: Reply, lines: Sequence[str]) -> None:
        if not self._expected:
            if reply.code == 421:
                self._fail(reply)
                return
            raise ProtocolViolation
        if reply.code == 421 and self.state is State.ENVELOPE:
            self._fail(reply)
            return
        kind, _, index = self._expected.popleft().partition(" ")
        if kind == "rcpt":
            self._on_rcpt(reply, int(index))
        elif kind == "mail":
            self._on_mail(reply)
        elif kind == "data":
            self._on_data(reply)
        elif kind == "final":
            self._on_final(reply)
        elif kind == "greeting":
            self._on_greeting(reply)
        elif kind == "starttls":
            self._on_starttls(reply)
        elif kind in ("ehlo", "helo", "lhlo"):
            self._on_hello(reply, kind, lines)
        self._send_commands()

    def _on_greeting(self, reply: Reply) -> None:
        if reply.code != 220:
            self._fail(_unavailable(reply))
            return
        self._say_hello("lhlo" if self._protocol == "lmtp" else "ehlo")

    def _say_hello(self, verb: str) -> None:
        self._commands.append((verb, f"{verb.upper()} {self._helo}\r\n".encode("ascii", "replace")))

    def _on_hello(self, reply: Reply, kind: str, lines: Sequence[str]) -> None:
        if reply.code == 250:
            for line in lines[1:] if kind != "helo" else ():
                keyword, _, value = line.partition(" ")
                self._features[keyword.upper()] = value
            self._ready()
            return
        if kind == "ehlo" and reply.permanent:
            self._say_hello("helo")
            return
        self._fail(_unavailable(reply))

    def _ready(self) -> None:
        if self._tls != "no" and "STARTTLS" in self._features:
            self._commands.append(("starttls", b"STARTTLS\r\n"))
        elif self._tls == "verify":
            self._fail(REPLIES["next_hop_tls"])
        else:
            self.state = State.READY

    def _on_starttls(self, reply: Reply) -> None:
        if reply.code == 220:
            self.state = State.TLS
        elif self._tls == "may":
            self.state = State.READY
        else:
            self._fail(REPLIES["next_hop_tls"])

    def _on_mail(self, reply: Reply) -> None:
        if reply.code < 300:
            return
        self._replies = [each or _error(reply) for each in self._replies]
        assert self._job is not None
        if self._commands:  # not pipelined: there is no use in asking further
            self._commands.clear()
            self._finish()
        elif not self._expected:
            self._finish()

    def _on_rcpt(self, reply: Reply, index: int) -> None:
        if reply.code < 300 and self._replies[index] is None:
            self._accepted.append(index)
        elif self._replies[index] is None:
            self._replies[index] = _error(reply)
        if self._expected or self._commands:
            return
        # The last of them, and DATA was not sent along.
        assert self._job is not None
        if not self._accepted or (self._job.all_or_nothing and len(self._accepted) < len(self._replies)):
            self._finish()
            return
        self._commands.append(("data", b"DATA\r\n"))

    def _on_data(self, reply: Reply) -> None:
        job = self._job
        assert job is not None
        if reply.code != 354:
            for index in self._accepted:
                self._replies[index] = _error(reply)
            self._finish()
            return
        if not self._accepted:
            # A server that wants a message for nobody. There is no clean way to give it none.
            self._finish()
            self.state = State.CLOSED
            return
        self._out.extend(job.wire)
        self._out.append(b".\r\n")
        self.content_sent = True
        self.state = State.CONTENT
        self._expected.extend(["final"] * (len(self._accepted) if self._protocol == "lmtp" else 1))

    def _on_final(self, reply: Reply) -> None:
        settled = reply if 200 <= reply.code < 300 else _error(reply)
        if self._protocol == "lmtp":
            self._replies[self._accepted.pop(0)] = settled
        else:
            for index in self._accepted:
                self._replies[index] = settled
        if not self._expected:
            self._dirty = False
            self._finish()
        if reply.code == 421:
            self._fail(reply)

    def _finish(self) -> None:
        self.results = tuple(each or REPLIES["not_sent"] for each in self._replies)
        self._job = None
        self._commands.clear()
        if self.state is not State.CLOSED:
            self.state = State.READY

    def _fail(self, reply: Reply) -> None:
        self.failure = self.failure or reply
        self.state = State.CLOSED

    # -- commands --------------------------------------------------------------------------------------------------

    def _send_commands(self) -> None:
        pipelining = "PIPELINING" in self._features
        while self._commands and (pipelining or not self._expected) and self.state is not State.CLOSED:
            kind, octets = self._commands.popleft()
            self._expected.append(kind)
            self._out.append(octets)

    def _sender_parameters(self, job: Job) -> str | Reply:
        """The parameters of MAIL for this server, or why the message cannot be given to it."""
        offered = self._features
        size = sum(map(len, job.wire))
        eight_bit = not all(bytes(chunk).isascii() for piece in job.wire for chunk in chunks(piece))
        words, given = "", {}
        if job.sender_parameters:
            given = {word.partition("=")[0].upper(): word for word in job.sender_parameters.split()}
            dropped = ("SIZE", "BODY", "SMTPUTF8") if "DSN" in offered else ("SIZE", "BODY", "SMTPUTF8", "RET", "ENVID")
            words = without_parameters(job.sender_parameters, *dropped)
        extra = []
        if "SIZE" in offered:
            limit = offered["SIZE"]
            if limit.isdigit() and 0 < int(limit[:20]) < size:
                return REPLIES["next_hop_size"]
            extra.append(f"SIZE={size}")
        if "8BITMIME" in offered:
            extra += [given["BODY"]] if "BODY" in given and not eight_bit else ["BODY=8BITMIME"] if eight_bit else []
        elif eight_bit:
            return REPLIES["next_hop_8bit"]
        # SMTPUTF8 may be dropped only where neither an address nor the header needs it (RFC 6531 3.2).
        if "SMTPUTF8" in offered:
            extra += ["SMTPUTF8"] if "SMTPUTF8" in given else []
        elif not job.sender.isascii() or ("SMTPUTF8" in given and eight_bit and _header_has_utf8(job.wire)):
            return REPLIES["next_hop_utf8"]
        if "SMTPUTF8" in offered and "SMTPUTF8" not in given and needs_utf8(job.sender, job.recipients):
            extra.append("SMTPUTF8")
        return " ".join([*extra, words] if words else extra)


@lru_cache(maxsize=64)  # most replies are one of three
def _one_line(line: bytes) -> Reply:
    """A reply of one line, or what the last line of a longer one says. Raises ProtocolViolation."""
    code = line[:3]
    if not _CODE.match(code) or line[3:4] not in (b" ", b""):
        raise ProtocolViolation
    text = line[4:].decode("ascii", "replace")
    enhanced, _, rest = text.partition(" ")
    if ENHANCED.match(enhanced) and enhanced[0] == chr(code[0]):
        return Reply(int(code), enhanced, rest)
    return Reply(int(code), "", text)


def _command(verb: str, address: str, parameters: str) -> bytes:
    """A MAIL or RCPT command. Raises ValueError for what must not get into a command line."""
    if not is_address(address) and (address or verb != "MAIL FROM"):
        raise ValueError("address cannot be written into a command")
    if parameters and has_control(parameters):
        raise ValueError("parameters cannot be written into a command")
    tail = f" {parameters}" if parameters else ""
    return f"{verb}:<{address}>{tail}\r\n".encode()


def _error(reply: Reply) -> Reply:
    """A reply that must settle a recipient negatively: what is not an error here is a violation by the server."""
    return reply if reply.code >= 400 else REPLIES["next_hop_protocol"]


def _unavailable(reply: Reply) -> Reply:
    """A server that does not want us at all says nothing about the message: that is temporary."""
    return Reply(451, "4.4.1", f"next hop said: {reply.code} {clean(reply.text)}", "next_hop_down")


def _header_has_utf8(wire: tuple[Octets, ...]) -> bool:
    for piece in (start(each, DEFAULT.header_size) for each in wire):
        end = piece.find(b"\r\n\r\n")
        if not (piece if end < 0 else piece[:end]).isascii():
            return True
        if end >= 0:
            return False
    return False
