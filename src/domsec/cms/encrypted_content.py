"""Content encryption for EnvelopedData and AuthEnvelopedData (RFC 5652 6.1 and 6.3, 5083, 5084, 3565).

`CIPHERS` has a row for each algorithm that can be read, with what it may still be used for. A row takes and gives
octets in chunks, so that a large content is never in memory at once; nothing of it is given out before all is checked
that can be checked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

from domsec import der, oids
from domsec.cms.algorithms import Status
from domsec.der import Reader
from domsec.errors import MalformedMessage
from domsec.octets import CHUNK, Octets, Pieces, chunks, gather

NONCE_LENGTH: Final = 12
TAG_LENGTH: Final = 16
_TAG_LENGTH: Final = der.integer(TAG_LENGTH)
SHORTEST_TAG: Final = 12  # RFC 5084 3.2: AES-GCM-ICVlen is 12 to 16, and 12 where it is not said
SHORTEST_NONCE: Final = 8
LONGEST_NONCE: Final = 128


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an algorithm identifier says beside the algorithm: nonce or initialization vector, and length of the tag."""

    nonce: bytes
    tag_length: int = 0


class Mode(Protocol):
    """How a block cipher is used on a content."""

    authenticated: bool

    def fresh(self) -> Parameters: ...
    def read(self, parameters: bytes | None) -> Parameters: ...
    def write(self, parameters: Parameters) -> bytes: ...
    def sealed_length(self, count: int) -> int: ...
    def seal(
        self, key: bytes, parameters: Parameters, content: Octets | Pieces, associated: bytes
    ) -> Generator[Octets, None, bytes]: ...
    def open(
        self, key: bytes, parameters: Parameters, ciphertext: Octets, associated: bytes, tag: bytes
    ) -> Octets | None: ...


class GCM:
    """AES in Galois/Counter Mode with its tag in a field of its own (RFC 5084 3.2)."""

    authenticated = True

    def fresh(self) -> Parameters:
        """A nonce never used before, for a tag of full length; the key is new for every message too."""
        return Parameters(os.urandom(NONCE_LENGTH), TAG_LENGTH)

    def read(self, parameters: bytes | None) -> Parameters:
        """GCMParameters. Raises MalformedMessage where they are absent or out of bounds."""
        if parameters is None:
            raise MalformedMessage("aes-gcm without parameters")
        reader = Reader(parameters)
        reader.enter(der.SEQUENCE)
        nonce = bytes(reader.octet_string())
        tag_length = SHORTEST_TAG if reader.at_end() else reader.integer()
        reader.leave()
        if not SHORTEST_NONCE <= len(nonce) <= LONGEST_NONCE or not SHORTEST_TAG <= tag_length <= TAG_LENGTH:
            # the tag length is not in the text: Python does not print numbers as long as a stranger can send
            raise MalformedMessage(f"aes-gcm with a nonce of {len(nonce)} octets, or a tag of an impossible length")
        return Parameters(nonce, tag_length)

    def write(self, parameters: Parameters) -> bytes:
        return der.sequence(der.octet_string(parameters.nonce), _TAG_LENGTH)

    def sealed_length(self, count: int) -> int:
        return count

    def seal(
        self, key: bytes, parameters: Parameters, content: Octets | Pieces, associated: bytes
    ) -> Generator[Octets, None, bytes]:
        """Gives the ciphertext, and at the end the tag."""
        if len(content) <= CHUNK and not isinstance(content, Pieces):
            sealed = memoryview(AESGCM(key).encrypt(parameters.nonce, content, associated))
            yield sealed[:-TAG_LENGTH]
            return bytes(sealed[-TAG_LENGTH:])
        encryptor = Cipher(algorithms.AES(key), modes.GCM(parameters.nonce)).encryptor()
        encryptor.authenticate_additional_data(associated)
        for chunk in chunks(content):
            yield encryptor.update(chunk)
        encryptor.finalize()
        return encryptor.tag

    def open(
        self, key: bytes, parameters: Parameters, ciphertext: Octets, associated: bytes, tag: bytes
    ) -> Octets | None:
        """The content, or None where the tag does not fit; then nothing of it leaves this function (RFC 5083 2)."""
        if len(tag) != parameters.tag_length:
            return None
        decryptor = Cipher(
            algorithms.AES(key), modes.GCM(parameters.nonce, min_tag_length=parameters.tag_length)
        ).decryptor()
        decryptor.authenticate_additional_data(associated)
        content = gather(map(decryptor.update, chunks(ciphertext)))
        try:
            decryptor.finalize_with_tag(tag)
        except InvalidTag:
            return None
        return content


class CBC:
    """A block cipher in cipher block chaining mode with the padding of RFC 5652 6.3. Authenticates nothing."""

    authenticated = False

    def __init__(self, algorithm: Callable[[bytes], BlockCipherAlgorithm], block: int) -> None:
        self.algorithm = algorithm
        self.block = block

    def fresh(self) -> Parameters:
        return Parameters(os.urandom(self.block))

    def read(self, parameters: bytes | None) -> Parameters:
        """The initialization vector. Raises MalformedMessage where it is absent or of another length than a block."""
        if parameters is None:
            raise MalformedMessage("cbc without parameters")
        reader = Reader(parameters)
        vector = bytes(reader.octet_string())
        reader.end()
        if len(vector) != self.block:
            raise MalformedMessage(f"an initialization vector of {len(vector)} octets")
        return Parameters(vector)

    def write(self, parameters: Parameters) -> bytes:
        return der.octet_string(parameters.nonce)

    def sealed_length(self, count: int) -> int:
        return count + self.block - count % self.block

    def seal(
        self, key: bytes, parameters: Parameters, content: Octets | Pieces, associated: bytes
    ) -> Generator[Octets, None, bytes]:
        """Gives the ciphertext; there is no tag."""
        encryptor = Cipher(self.algorithm(key), modes.CBC(parameters.nonce)).encryptor()
        for chunk in chunks(content):
            yield encryptor.update(chunk)
        missing = self.block - len(content) % self.block
        yield encryptor.update(bytes((missing,)) * missing)
        encryptor.finalize()
        return b""

    def open(
        self, key: bytes, parameters: Parameters, ciphertext: Octets, associated: bytes, tag: bytes
    ) -> Octets | None:
        """The content, or None where its length or padding is wrong.

        All padding octets are looked at, in constant time; who gets None learns nothing about which of them is wrong.
        """
        count = len(ciphertext)
        if not count or count % self.block:
            return None
        decryptor = Cipher(self.algorithm(key), modes.CBC(parameters.nonce)).decryptor()
        padded = gather(map(decryptor.update, chunks(ciphertext)))
        unpadder = PKCS7(self.block * 8).unpadder()
        try:
            kept = len(unpadder.update(padded[-self.block :]) + unpadder.finalize())
        except ValueError:
            return None
        return padded[: count - self.block + kept]


_GCM: Final = GCM()
_AES_CBC: Final = CBC(algorithms.AES, 16)
_TRIPLE_DES_CBC: Final = CBC(TripleDES, 8)


@dataclass(frozen=True, slots=True)
class ContentCipher:
    """A row of the table: one content encryption algorithm. `ALLOWED` ones are used for new messages (A-46), `REFUSED`
    ones are opened in archives only (A-47)."""

    name: str
    oid: str
    key_length: int
    mode: Mode
    status: Status = Status.ALLOWED

    @property
    def authenticated(self) -> bool:
        """Whether a changed ciphertext is noticed: then it belongs in AuthEnvelopedData, else in EnvelopedData."""
        return self.mode.authenticated


_ROWS: Final = (
    ContentCipher("aes128-gcm", oids.AES128_GCM, 16, _GCM),
    ContentCipher("aes192-gcm", oids.AES192_GCM, 24, _GCM),
    ContentCipher("aes256-gcm", oids.AES256_GCM, 32, _GCM),
    ContentCipher("aes128-cbc", oids.AES128_CBC, 16, _AES_CBC),
    ContentCipher("aes192-cbc", oids.AES192_CBC, 24, _AES_CBC),
    ContentCipher("aes256-cbc", oids.AES256_CBC, 32, _AES_CBC),
    ContentCipher("des-ede3-cbc", oids.DES_EDE3_CBC, 24, _TRIPLE_DES_CBC, Status.REFUSED),
)
CIPHERS: Final = {row.oid: row for row in _ROWS}
CIPHERS_BY_NAME: Final = {row.name: row for row in _ROWS}

CipherName = Literal["aes128-gcm", "aes192-gcm", "aes256-gcm", "aes128-cbc", "aes192-cbc", "aes256-cbc"]


def write_sealed(
    cipher: ContentCipher,
    key: bytes,
    content: Octets | Pieces,
    *,
    content_type: str,
    associated: bytes,
    around: Sequence[tuple[int, bytes]],
    tail: Callable[[bytes], bytes],
    tail_length: int,
) -> Octets:
    """A whole message around the EncryptedContentInfo of `content`.

    `around` has, from the inside out, the identifier octet of each enclosing value and what stands in it before the
    EncryptedContentInfo; `tail`, made from the tag, ends the innermost of them and is `tail_length` octets long.
    """
    parameters = cipher.mode.fresh()
    algorithm = der.sequence(der.oid(cipher.oid), cipher.mode.write(parameters))
    sealed = cipher.mode.sealed_length(len(content))
    head = _head(der.context(0, constructed=False), b"", sealed)
    head = _head(der.SEQUENCE, der.oid(content_type) + algorithm + head, sealed)
    for tag, before in around:
        head = _head(tag, before + head, sealed + tail_length)

    def written() -> Iterator[Octets]:
        yield head
        mark = yield from cipher.mode.seal(key, parameters, content, associated)
        yield tail(mark)

    # made once and kept: to encrypt again, with the same nonce, what could have changed meanwhile would give away both
    return gather(written())


def _head(tag: int, before: bytes, following: int) -> bytes:
    """The start of a value: its header, and what its content has before `following` octets that are still missing."""
    return der.header(tag, len(before) + following) + before
