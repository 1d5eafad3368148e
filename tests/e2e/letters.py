"""Messages for the end-to-end tests, each with a word of its own that can be looked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_serial = itertools.count(1)


@dataclass(frozen=True)
class Letter:
    """A message. `secret` stands in its body and nowhere else."""

    octets: bytes
    id: bytes
    secret: bytes

    def within(self, octets: bytes) -> bool:
        """Whether these octets are this message, or one with the same Message-ID."""
        return self.id in octets

    def arrived(self, mailbox: Callable[[], Iterable[bytes]]) -> bytes:
        """The one copy of it in a mailbox."""
        copies = [each for each in mailbox() if self.within(each)]
        assert len(copies) == 1
        return copies[0]


def letter(
    subject: str,
    author: str = "Alice <alice@acme.example>",
    to: str = "bob@beta.example",
    header: str = "",
    body: bytes | None = None,
) -> Letter:
    """`header` are more fields, each with its CRLF; `body` is made up if it is not given."""
    number = next(_serial)
    identifier = f"<letter-{number}@e2e.example>"
    secret = f"the secret of letter {number:06d} is told to nobody".encode()
    fields = f"From: {author}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: {identifier}\r\n"
    fields += f"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n{header}\r\n"
    return Letter(fields.encode() + (body or b"Dear Bob,\r\n\r\n") + secret + b"\r\n", identifier.encode(), secret)


def body_of(octets: bytes) -> bytes:
    """What follows the header, with CRLF as it was sent: Maildir has the line ends of the system."""
    return b"\r\n".join(octets.replace(b"\r\n", b"\n").partition(b"\n\n")[2].split(b"\n"))


def fields_of(octets: bytes, name: str) -> list[str]:
    """The fields of that name, unfolded."""
    header = octets.replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("utf-8", "replace")
    unfolded = header.replace("\n ", " ").replace("\n\t", " ").split("\n")
    return [line for line in unfolded if line.lower().startswith(f"{name.lower()}:")]
