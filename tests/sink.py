"""A next hop for tests: real sockets, own parsing, answers as it is told, keeps what it got.

It shares no code with the gateway. `lenient` makes it take LF.LF, CR.CR and the like for an end of data, as servers did
that SMTP smuggling was made for.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FEATURES = ("PIPELINING", "SIZE 100000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")


@dataclass
class Mail:
    sender: str
    recipients: list[str]
    content: bytes = b""


@dataclass
class Sink:
    lmtp: bool = False
    features: tuple[str, ...] = FEATURES
    answers: Mapping[str, str] = field(default_factory=dict)  # command or recipient -> reply
    close_at: str = (
        ""  # command at which the connection is dropped, once; DOT: before the message is kept, REPLY: after
    )
    lenient: bool = False
    path: Path | None = None
    port: int = 0  # 0 for any
    tls: ssl.SSLContext | None = None  # offers STARTTLS with it
    final: Mapping[str, str] = field(default_factory=dict)  # recipient -> reply after the dot (LMTP); "" for SMTP

    def __post_init__(self) -> None:
        self.mails: list[Mail] = []
        self.commands: list[str] = []
        self.connections = 0
        self.secured = 0
        self.gate: asyncio.Event | None = None  # the reply after the dot waits for it
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Sink:
        if self.path:
            self.server = await asyncio.start_unix_server(self._serve, self.path)
            self.address = f"unix:{self.path}"
        else:
            self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *args: object) -> None:
        self.server.close()
        self.drop()

    def drop(self) -> None:
        for writer in self.writers:
            writer.close()
        self.writers.clear()

    def contents(self) -> list[bytes]:
        """The messages without the Received field of the gateway."""
        return [re.sub(rb"\AReceived: .*?\r\n(?![ \t])", b"", mail.content, flags=re.DOTALL) for mail in self.mails]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((self.answers.get("", "220 sink") + "\r\n").encode())
        mail = None
        while line := await reader.readline():
            text = line.decode().rstrip("\r\n")
            self.commands.append(text)
            verb = text.split(" ")[0].upper()
            if verb == self.close_at:
                self.close_at = ""
                return
            if verb in self.answers and verb != "DATA":
                writer.write((self.answers[verb] + "\r\n").encode())
                continue
            if verb in ("EHLO", "LHLO"):
                lines = ["sink", *self.features, *(["STARTTLS"] if self.tls else [])]
                writer.write("".join(f"250{'-' if each != lines[-1] else ' '}{each}\r\n" for each in lines).encode())
            elif verb == "STARTTLS" and self.tls:
                writer.write(b"220 go\r\n")
                await writer.start_tls(self.tls)
                self.secured += 1
            elif verb == "MAIL":
                mail = Mail(text[10:], [])
                writer.write(b"250 2.1.0 ok\r\n")
            elif verb == "RCPT" and mail is None:
                writer.write(b"503 5.5.1 no sender\r\n")
            elif verb == "RCPT":
                address = re.search("<(.*)>", text)[1]
                reply = self.answers.get(address, "250 2.1.5 ok")
                if reply.startswith("2"):
                    mail.recipients.append(text[8:])
                writer.write((reply + "\r\n").encode())
            elif verb == "DATA":
                if "DATA" in self.answers or not mail or not mail.recipients:
                    writer.write((self.answers.get("DATA", "503 5.5.1 no recipients") + "\r\n").encode())
                    continue
                writer.write(b"354 go\r\n")
                mail.content = await self._data(reader)
                if self.close_at == "DOT":
                    self.close_at = ""
                    return
                if self.gate:
                    await self.gate.wait()
                if self.close_at == "REPLY":
                    self.close_at = ""
                    self.mails.append(mail)
                    return
                self._reply_to(mail, writer)
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")

    def _reply_to(self, mail: Mail, writer: asyncio.StreamWriter) -> None:
        addresses = [re.search("<(.*)>", each)[1] for each in mail.recipients] if self.lmtp else [""]
        replies = [self.final.get(each, f"250 2.0.0 got it {len(self.mails)}") for each in addresses]
        taken = [whom for whom, reply in zip(mail.recipients, replies, strict=False) if reply.startswith("2")]
        if taken:
            self.mails.append(Mail(mail.sender, taken if self.lmtp else mail.recipients, mail.content))
        writer.write("".join(f"{reply}\r\n" for reply in replies).encode())

    async def _data(self, reader: asyncio.StreamReader) -> bytes:
        if not self.lenient:
            content = b"\r\n"
            while not content.endswith(b"\r\n.\r\n"):
                content += await reader.readuntil(b"\n")
            return content[2:-3].replace(b"\r\n.", b"\r\n")
        content = b"\n"
        while not re.search(rb"[\r\n]\0?\.\0?(\r\n|\r|\n)\Z", content):
            content += await reader.readexactly(1)
        return content[1:]


class Mailer:
    """A client for tests: sends what it is told, octet for octet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, address: str, hello: str = "LHLO me") -> Mailer:
        if address.startswith("unix:"):
            mailer = cls(*await asyncio.open_unix_connection(address[5:]))
        else:
            host, _, port = address.rpartition(":")
            mailer = cls(*await asyncio.open_connection(host, int(port)))
        assert (await mailer.reply()).startswith("220")
        if hello:
            assert (await mailer.say(hello)).startswith("250")
        return mailer

    async def secure(self, believed: ssl.SSLContext) -> None:
        """STARTTLS, and hello again."""
        assert (await self.say("STARTTLS")).startswith("220")
        await self.writer.start_tls(believed, server_hostname="localhost")

    async def reply(self) -> str:
        while line := (await self.reader.readline()).decode():
            if line[3:4] != "-":
                return line.rstrip("\r\n")
        return ""

    async def say(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.reply()

    async def send(self, sender: str, recipients: list[str], content: bytes, *, lmtp: bool = True) -> list[str]:
        """The final replies, to each recipient for LMTP. Asserts that the envelope is taken."""
        commands = [f"MAIL FROM:{sender}", *(f"RCPT TO:{each}" for each in recipients), "DATA"]
        self.writer.write("".join(f"{each}\r\n" for each in commands).encode())
        replies = [await self.reply() for _ in commands]
        assert [reply[:3] for reply in replies] == ["250"] * (len(commands) - 1) + ["354"], replies
        self.writer.write(content + b".\r\n")
        return [await self.reply() for _ in (recipients if lmtp else [0])]

    def close(self) -> None:
        self.writer.close()
