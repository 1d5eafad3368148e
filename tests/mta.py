"""What a mail server says to a milter, for tests: packets, and one session with one message."""

from __future__ import annotations

OPTIONS = (6, 0x1FF, 0x1FFFFF)  # what Postfix 3.7 offers
FIELDS = ((b"Received", b" from a\n\tby b"), (b"X-Odd", b"\tno  blank "), (b"Subject", b" x"))
CONTENT = b"Received: from a\r\n\tby b\r\nX-Odd:\tno  blank \r\nSubject: x\r\n\r\nhello\r\n.dot\r\n"


def packet(command: str, data: bytes = b"") -> bytes:
    return (len(data) + 1).to_bytes(4, "big") + command.encode() + data


def options(version: int, actions: int, protocol: int) -> bytes:
    return packet("O", b"".join(number.to_bytes(4, "big") for number in (version, actions, protocol)))


def texts(command: str, *words: str) -> bytes:
    return packet(command, "".join(f"{word}\0" for word in words).encode())


def macros(stage: str, **values: str) -> bytes:
    words = [word for name, value in values.items() for word in (name if len(name) == 1 else f"{{{name}}}", value)]
    return texts("D", stage + words[0], *words[1:])


CONNECTED = packet("C", b"client.example\x004\x04\xd2192.0.2.1\0")
ENVELOPE = texts("M", "<alice@acme.example>", "RET=HDRS") + texts("R", "<bob@beta.example>", "NOTIFY=NEVER")
HEADER = b"".join(packet("L", name + b"\0" + value + b"\0") for name, value in FIELDS)
BODY = packet("B", b"hello\r\n") + packet("B", b".dot\r\n")
MESSAGE = macros("M", auth_authen="alice") + ENVELOPE + HEADER + BODY + macros("E", i="4XyZ") + packet("E")


def packets(octets: bytes) -> list[tuple[str, bytes]]:
    found = []
    while octets:
        size = int.from_bytes(octets[:4], "big")
        found.append((chr(octets[4]), octets[5 : 4 + size]))
        octets = octets[4 + size :]
    return found
