"""Read files in a process that may not have much: 2 s of CPU for each file and 256 MB of memory.

    python tests/reading.py < names-of-files

Everything domsec does with a message that somebody sent: taken apart, described, its signatures checked, opened with a
key; certificates by themselves too. The process dies of whatever is not an error of ours, of a file that takes too
long, and of too much memory; the last name on standard error is the culprit's. At the end it prints how many files were
read and how many refused.
"""

from __future__ import annotations

import functools
import json
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from domsec import oids
from domsec.cli.reading import as_message
from domsec.cms.certificates import Certificate
from domsec.cms.compressed_data import inflate, parse_compressed
from domsec.cms.enveloped_data import decrypt, parse_enveloped
from domsec.cms.signed_data import parse_signed_data
from domsec.der import Octets
from domsec.errors import DomsecError
from domsec.services.describe import describe
from domsec.services.layers import Message, peel
from domsec.stores.pem import blocks
from domsec.trust import usage
from domsec.trust.addresses import addresses
from domsec.trust.names import name_text
from envelope_keys import NamedByTheMessage, value_of
from foreign import CORPORA, plaintext_of, private_key
from signed_messages import outcomes

SECONDS = 2.0
MEMORY = 256 * 1024 * 1024


@functools.cache
def _key() -> object:
    return private_key(CORPORA / "rfc4134/pem/BobPrivRSAEncrypt.pri.pem")


def look(octets: bytes) -> bool:
    """Whether there was anything to be read: a layer, or a message without one."""
    message: Message | None = None
    try:
        message = peel(as_message(octets))
        describe(message).to_json()
        for layer in message.spine():
            if layer.signed is not None:
                outcomes(layer.signed, layer.content)
            if layer.enveloped is not None:
                plaintext_of(layer.enveloped, _key())
    except DomsecError:
        pass
    found = [_try(reader, value) for value in _values(octets) for reader in READERS]
    return any(found) or (message is not None and message.root.kind != "unsupported")


def _values(octets: bytes) -> Iterator[Octets]:
    """The file as a value by itself, or those of its PEM blocks, and what is inside a ContentInfo."""
    found = [octets] if octets[:1] == b"\x30" else []
    try:
        found += [block.der for block in blocks(octets)]
    except DomsecError:
        pass
    for value in found:
        yield value
        try:
            yield value_of(value)[1]
        except DomsecError:
            continue


def _signed(value: Octets) -> None:
    signed = parse_signed_data(value)
    outcomes(signed, signed.content)
    outcomes(signed, b"other content")


def _open(content_type: str, value: Octets) -> None:
    message = parse_enveloped(content_type, value)
    names = [identifier for recipient in message.recipients for identifier in recipient.identifiers]
    decrypt(message, [NamedByTheMessage(_key(), name) for name in names], archive=True)


def _compressed(value: Octets) -> None:
    inflate(parse_compressed(value))


def _certificate(value: Octets) -> None:
    found = Certificate(bytes(value))
    addresses(found)
    name_text(found.subject)
    usage.signing_problems(found)


READERS: tuple[Callable[[Octets], None], ...] = (
    _signed,
    functools.partial(_open, oids.ID_ENVELOPED_DATA),
    functools.partial(_open, oids.ID_CT_AUTH_ENVELOPED_DATA),
    _compressed,
    _certificate,
)


def _try(reader: Callable[[Octets], None], value: Octets) -> bool:
    try:
        reader(value)
    except DomsecError:
        return False
    return True


def main() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    read = refused = 0
    for name in sys.stdin.read().splitlines():
        print(name, file=sys.stderr)
        octets = Path(name).read_bytes()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal kills
        if look(octets):
            read += 1
        else:
            refused += 1
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps({"read": read, "refused": refused, "peak": _peak()}))


def _peak() -> int:
    """Of resident memory; getrusage would count the process that started this one."""
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
