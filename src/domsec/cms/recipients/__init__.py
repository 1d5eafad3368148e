"""RecipientInfo: ways to give a content encryption key to somebody (RFC 5652 6.2).

Each kind is a module with a dataclass that can be asked whom it is for and for the key, `parse` and, if we make it,
`build`. The tables of parsers and builders are all the rest of the code knows of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from domsec import der, oids
from domsec.cms.certificates import Certificate, Identifier
from domsec.cms.credential import Credential
from domsec.cms.recipients import kem, key_agreement, key_encryption_key, key_transport, other
from domsec.cms.recipients.key_transport import KeyTransportPadding
from domsec.der import Reader
from domsec.errors import LimitExceeded, MalformedMessage, Unsupported
from domsec.limits import DEFAULT, Limits


class RecipientInfo(Protocol):
    """One element of RecipientInfos, for one recipient or, if it is a kari, for several."""

    @property
    def kind(self) -> str:
        """ktri, kari, kekri, pwri, ori, or unknown."""

    @property
    def version(self) -> int | None: ...

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """The certificates it is for; empty for kinds that name none."""

    @property
    def management(self) -> str:
        """Which algorithm protects the key, as policy and people call it: rsa-oaep, ecdh-sha256kdf, ml-kem-768."""

    @property
    def outdated(self) -> bool:
        """Whether the key is kept by a cipher that is opened in archives only (decisions A-47)."""

    def recover(
        self, position: int, credential: Credential, length: int, originator_certificates: Sequence[Certificate]
    ) -> bytes:
        """The content encryption key for `identifiers[position]`.

        Always `length` octets: where the key cannot be had, others that nobody knows, so that nothing but the content
        tells whether it worked (RFC 3218 2.3). Raises StoreUnavailable if the private key cannot be reached now.
        """


_PARSERS: Final[dict[int, Callable[[Reader, Limits], RecipientInfo]]] = {
    der.SEQUENCE: key_transport.parse,
    key_agreement.TAG: key_agreement.parse,
    key_encryption_key.TAG: key_encryption_key.parse,
}
_ORI_PARSERS: Final[dict[str, Callable[[Reader, Limits], RecipientInfo]]] = {  # by oriType
    oids.ID_ORI_KEM: kem.parse,
}


def parse_recipients(reader: Reader, limits: Limits = DEFAULT) -> tuple[RecipientInfo, ...]:
    """RecipientInfos, the SET that comes next.

    An element that cannot be read becomes an OtherRecipient of kind unknown: it may be meant for somebody else. Raises
    MalformedMessage where there is no such SET, LimitExceeded.
    """
    found: list[RecipientInfo] = []
    count = 0
    reader.enter(der.SET)
    while not reader.at_end():
        recipient = _parse_one(reader.skip(), limits)
        found.append(recipient)
        count += max(1, len(recipient.identifiers))
        if count > limits.recipients:
            raise LimitExceeded("recipients")
    reader.leave()
    return tuple(found)


def _parse_one(raw: memoryview, limits: Limits) -> RecipientInfo:
    parse = _PARSERS.get(raw[0])
    if parse is None:
        found = other.parse(raw)
        parse = _ORI_PARSERS.get(found.type)
        if parse is None:
            return found
    try:
        return parse(Reader(raw, limits), limits)
    except LimitExceeded:
        raise
    except MalformedMessage:
        return other.OtherRecipient("unknown", bytes(raw))


def recipient_matches(recipient: RecipientInfo, certificate: Certificate) -> bool:
    """Whether this RecipientInfo has a key for the subject of `certificate`, going by names only."""
    return any(identifier.matches(certificate) for identifier in recipient.identifiers)


class Build(Protocol):
    """How a kind of recipient key gets a content encryption key; `padding` is for RSA only."""

    def __call__(
        self, key: bytes, recipient: Certificate, *, padding: KeyTransportPadding, by_key_identifier: bool
    ) -> bytes: ...


_BUILDERS: Final[dict[str, Build]] = {  # by the algorithm of the recipient's public key
    oids.RSA_ENCRYPTION: key_transport.build,
    oids.EC_PUBLIC_KEY: key_agreement.build,
    oids.X25519: key_agreement.build,
    oids.X448: key_agreement.build,
    oids.ML_KEM_768: kem.build,
    oids.ML_KEM_1024: kem.build,
}


def build_recipient(
    key: bytes, recipient: Certificate, *, padding: KeyTransportPadding = "oaep", by_key_identifier: bool = False
) -> bytes:
    """A RecipientInfo that gives `key` to `recipient`; the kind of its public key decides which.

    Raises Unsupported for a key that cannot be encrypted to, MalformedMessage for one that cannot be loaded. Not
    checked here: path, revocation and key usage of the certificate (`domsec.trust`).
    """
    build = _BUILDERS.get(recipient.key_algorithm)
    if build is None:
        raise Unsupported(f"a certificate for {oids.name(recipient.key_algorithm)} cannot be encrypted to")
    return build(key, recipient, padding=padding, by_key_identifier=by_key_identifier)
