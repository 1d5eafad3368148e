"""EnvelopedData (RFC 5652 6) and, with `auth_enveloped_data`, AuthEnvelopedData (RFC 5083): content for some only.

Parsing says what is there and to whom it is addressed. `decrypt` has one outcome for everything that goes wrong
(decisions A-57, threats T-22): whoever sends messages to find out about keys or contents learns only what the message
itself already told. Nothing here says who encrypted a message; anybody can.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal, NamedTuple

from domsec import der, oids
from domsec.cms import auth_enveloped_data, content_info
from domsec.cms.algorithms import AlgorithmIdentifier, Status, read_algorithm
from domsec.cms.attributes import Attribute, Attributes, parse_attributes
from domsec.cms.certificates import Certificate
from domsec.cms.certificates import certificate as cached_certificate
from domsec.cms.credential import Credential
from domsec.cms.encrypted_content import CIPHERS, CIPHERS_BY_NAME, TAG_LENGTH, CipherName, Parameters, write_sealed
from domsec.cms.recipients import (
    RecipientInfo,
    build_recipient,
    key_encryption_key,
    parse_recipients,
    recipient_matches,
)
from domsec.cms.recipients.key_encryption_key import SharedKey, WrappedKey
from domsec.cms.recipients.key_transport import KeyTransportPadding
from domsec.der import Reader, context
from domsec.errors import DecryptionFailed, LimitExceeded, MalformedMessage
from domsec.limits import DEFAULT, Limits
from domsec.octets import Octets, Pieces

__all__ = [
    "Enveloped",
    "Opened",
    "Sealed",
    "SharedKey",
    "addressed_to",
    "decrypt",
    "encrypt",
    "is_outdated",
    "parse_enveloped",
    "recipient_matches",
    "take_over",
]

EnvelopedKind = Literal["enveloped", "auth_enveloped"]
_KINDS: Final[dict[str, EnvelopedKind]] = {
    oids.ID_ENVELOPED_DATA: "enveloped",
    oids.ID_CT_AUTH_ENVELOPED_DATA: "auth_enveloped",
}


@dataclass(frozen=True, slots=True)
class Enveloped:
    """A message still closed. Nothing in it is authenticated before it is opened, and not all of it then."""

    kind: EnvelopedKind
    version: int
    originator_certificates: tuple[
        Certificate, ...
    ]  # those of originatorInfo that can be read; a hint, no proof
    recipients: tuple[RecipientInfo, ...]
    content_type: str
    algorithm: AlgorithmIdentifier
    ciphertext: Octets | None  # None: it is somewhere else
    auth_attributes: Attributes | None = None
    mac: bytes = b""
    unprotected: Attributes | None = None  # unprotectedAttrs or unauthAttrs

    @property
    def cipher(self) -> str:
        """The name of the content encryption algorithm, or its OID."""
        row = CIPHERS.get(self.algorithm.oid)
        return row.name if row else self.algorithm.oid


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in it, and how it was kept. If not `authenticated`, somebody may have changed it on the way (EFAIL)."""

    plaintext: Octets
    content_type: str
    cipher: str
    authenticated: bool
    credential: Credential | None  # None: a shared key opened it
    management: str  # how the key came, as RecipientInfo.management says


def parse_enveloped(content_type: str, value: Octets, limits: Limits = DEFAULT) -> Enveloped:
    """The EnvelopedData or AuthEnvelopedData in `value`, by the type of its ContentInfo.

    RecipientInfos that cannot be read and an unknown cipher do not stop it. Raises MalformedMessage, LimitExceeded.
    """
    kind = _KINDS.get(content_type)
    if kind is None:
        raise MalformedMessage(f"{oids.name(content_type)} is no kind of enveloped data")
    reader = Reader(value, limits)
    reader.enter(der.SEQUENCE)
    version = reader.integer()
    certificates = _read_originator_certificates(reader, limits) if reader.peek() == context(0) else ()
    recipients = parse_recipients(reader, limits)
    reader.enter(der.SEQUENCE)
    inner_type = reader.oid()
    algorithm = read_algorithm(reader)
    ciphertext = None if reader.at_end() else reader.octet_string(context(0, constructed=False))
    reader.leave()
    auth_attributes, mac, unprotected_tag = None, b"", context(1)
    if kind == "auth_enveloped":
        if reader.peek() == auth_enveloped_data.AUTH_ATTRIBUTES:
            auth_attributes = parse_attributes(reader.content(auth_enveloped_data.AUTH_ATTRIBUTES), limits)
        mac = bytes(reader.octet_string())
        unprotected_tag = auth_enveloped_data.UNAUTH_ATTRIBUTES
    unprotected = None if reader.at_end() else parse_attributes(reader.content(unprotected_tag), limits)
    reader.leave()
    return Enveloped(
        kind,
        version,
        certificates,
        recipients,
        inner_type,
        algorithm,
        ciphertext,
        auth_attributes,
        mac,
        unprotected,
    )


def _read_originator_certificates(reader: Reader, limits: Limits) -> tuple[Certificate, ...]:
    """The X.509 certificates of OriginatorInfo. Other kinds and broken ones are passed over, as are its CRLs."""
    found: list[Certificate] = []
    count = 0
    reader.enter(context(0))
    if reader.peek() == context(0):
        reader.enter(context(0))
        while not reader.at_end():
            octets = reader.skip()
            count += 1
            if count > limits.certificates:
                raise LimitExceeded("certificates")
            if len(octets) > limits.certificate_size:
                raise LimitExceeded("certificate_size")
            if octets[0] != der.SEQUENCE:
                continue
            try:
                found.append(cached_certificate(bytes(octets)))
            except MalformedMessage:
                continue
        reader.leave()
    while not reader.at_end():
        reader.skip()
    reader.leave()
    return tuple(found)


def addressed_to(
    enveloped: Enveloped, credentials: Sequence[Credential], shared_keys: Sequence[SharedKey] = ()
) -> bool:
    """Whether some RecipientInfo names a certificate or a key of ours. Says nothing about whether it can be opened."""
    return any(True for _ in _ours(enveloped, credentials, shared_keys, (), archive=True))


def is_outdated(enveloped: Enveloped, credentials: Sequence[Credential], shared_keys: Sequence[SharedKey] = ()) -> bool:
    """Whether content or key, as far as they are for us, are kept by ciphers opened in archives only (A-47)."""
    row = CIPHERS.get(enveloped.algorithm.oid)
    if row is not None and row.status is Status.REFUSED:
        return True
    found = [one.recipient.outdated for one in _ours(enveloped, credentials, shared_keys, (), archive=True)]
    return bool(found) and all(found)


class _Ours(NamedTuple):
    """A RecipientInfo with a key of ours that fits, and how that gives a content encryption key of a length."""

    recipient: RecipientInfo
    recover: Callable[[int], bytes]
    credential: Credential | None


def _ours(
    enveloped: Enveloped,
    credentials: Sequence[Credential],
    shared_keys: Sequence[SharedKey],
    refused: Collection[str],
    *,
    archive: bool,
) -> Iterator[_Ours]:
    for recipient in enveloped.recipients:
        if (recipient.outdated and not archive) or recipient.management in refused:
            continue
        if isinstance(recipient, WrappedKey):
            named = (key for key in shared_keys if key.identifier == recipient.key_identifier)
            yield from (_Ours(recipient, functools.partial(recipient.unwrap, key), None) for key in named)
        for position, identifier in enumerate(recipient.identifiers):
            for credential in credentials:
                if identifier.matches(credential.certificate):
                    yield _Ours(recipient, _recovering(recipient, position, credential, enveloped), credential)


def _recovering(
    recipient: RecipientInfo, position: int, credential: Credential, enveloped: Enveloped
) -> Callable[[int], bytes]:
    return lambda length: recipient.recover(position, credential, length, enveloped.originator_certificates)


def decrypt(
    enveloped: Enveloped,
    credentials: Sequence[Credential],
    limits: Limits = DEFAULT,
    *,
    shared_keys: Sequence[SharedKey] = (),
    refused: Collection[str] = (),
    archive: bool = False,
) -> Opened:
    """Open a message with the first key of ours that fits: of a credential, or shared with the sender.

    `refused` names key management (`RecipientInfo.management`) that shall not be used, say {"rsa-pkcs1v15"}. `archive`
    opens what was encrypted with ciphers of old, for those who read old mail and believe nothing of it.

    Raises DecryptionFailed, always the same, whatever is wrong: a key of ours is tried to the end, content included,
    also where the key has turned out to be none. Where no key is tried, that can be seen from the message itself: it
    is not for us, its cipher is none of ours or outdated, or a length or parameter is impossible. Raises
    StoreUnavailable if a private key cannot be reached at the moment, or there is no room for the content.

    What comes out of CBC is not checked by anybody: `Opened.authenticated` says so.
    """
    return _open(enveloped, credentials, limits, refused, shared_keys=shared_keys, archive=archive)[0]


def _open(
    enveloped: Enveloped,
    credentials: Sequence[Credential],
    limits: Limits,
    refused: Collection[str] = (),
    *,
    shared_keys: Sequence[SharedKey] = (),
    archive: bool = False,
) -> tuple[Opened, bytes]:
    """What `decrypt` gives, and the content encryption key."""
    row = CIPHERS.get(enveloped.algorithm.oid)
    readable = _readable(enveloped)
    if row is not None and readable is not None and (archive or row.status is not Status.REFUSED):
        ciphertext, parameters, associated = readable
        every = _ours(enveloped, credentials, shared_keys, refused, archive=archive)
        for one in islice(every, limits.recipient_candidates):
            key = one.recover(row.key_length)
            plaintext = row.mode.open(key, parameters, ciphertext, associated, enveloped.mac)
            if plaintext is not None:
                how = one.recipient.management
                opened = Opened(plaintext, enveloped.content_type, row.name, row.authenticated, one.credential, how)
                return opened, key
    raise DecryptionFailed


def _readable(enveloped: Enveloped) -> tuple[Octets, Parameters, bytes] | None:
    """Ciphertext, parameters and associated data; None if anybody can see that no key could open this."""
    row = CIPHERS.get(enveloped.algorithm.oid)
    if row is None or enveloped.ciphertext is None or row.authenticated != (enveloped.kind == "auth_enveloped"):
        return None
    try:
        parameters = row.mode.read(enveloped.algorithm.parameters)
        if row.authenticated and not auth_enveloped_data.names_content_type(
            enveloped.auth_attributes, enveloped.content_type
        ):
            return None
        associated = auth_enveloped_data.associated_data(enveloped.auth_attributes)
    except MalformedMessage:
        return None
    return enveloped.ciphertext, parameters, associated


def encrypt(
    content: Octets | Pieces,
    recipients: Sequence[Certificate],
    *,
    content_type: str = oids.ID_DATA,
    cipher: CipherName = "aes256-gcm",
    key_transport: KeyTransportPadding = "oaep",
    originator_certificates: Sequence[Certificate] = (),
    by_key_identifier: bool = False,
    auth_attributes: Sequence[Attribute] = (),
    shared_keys: Sequence[SharedKey] = (),
) -> Octets:
    """A ContentInfo, in DER, that each of `recipients` can open: AuthEnvelopedData with GCM, EnvelopedData with CBC.

    So can whoever has one of `shared_keys`.

    `originator_certificates` go into originatorInfo (RFC 3183 5, step 3a). To `auth_attributes` contentType is added
    where RFC 5083 2.1 asks for it; with CBC there is no place for any.

    Raises Unsupported for a certificate whose key cannot be encrypted to, MalformedMessage for one that cannot be
    loaded, ValueError without recipients or for a cipher that is only read. Not checked: whether the certificates may
    be used (`domsec.trust`), and for whom.
    """
    row = CIPHERS_BY_NAME.get(cipher)
    if row is None or row.status is not Status.ALLOWED:
        raise ValueError(f"{cipher} is not used for new messages")
    if not recipients and not shared_keys:
        raise ValueError("a message nobody can open")
    if auth_attributes and not row.authenticated:
        raise ValueError(f"{cipher} authenticates no attributes")
    key = os.urandom(row.key_length)
    infos = [
        build_recipient(key, recipient, padding=key_transport, by_key_identifier=by_key_identifier)
        for recipient in dict.fromkeys(recipients)
    ]
    infos += [key_encryption_key.build(key, shared) for shared in shared_keys]
    originator = _originator_info(originator_certificates)
    if not row.authenticated:
        kind, associated, attributes, tail_length = oids.ID_ENVELOPED_DATA, b"", b"", 0
        version = envelope_version(infos, originator_information=bool(originator))
    else:
        kind, version = oids.ID_CT_AUTH_ENVELOPED_DATA, auth_enveloped_data.VERSION
        attributes, associated = auth_enveloped_data.write_attributes(auth_attributes, content_type)
        tail_length = len(attributes) + 2 + TAG_LENGTH
    return write_sealed(
        row,
        key,
        content,
        content_type=content_type,
        associated=associated,
        around=(
            (der.SEQUENCE, der.integer(version) + originator + der.set_of(infos)),
            (context(0), b""),
            (der.SEQUENCE, der.oid(kind)),
        ),
        tail=lambda mac: attributes + der.octet_string(mac) if row.authenticated else b"",
        tail_length=tail_length,
    )


def _originator_info(certificates: Sequence[Certificate]) -> bytes:
    """The originatorInfo field with these, nothing for none."""
    if not certificates:
        return b""
    return der.explicit(0, der.explicit(0, *sorted({certificate.der for certificate in certificates})))


@dataclass(frozen=True, slots=True)
class Sealed:
    """The encrypted content of a message as it came, and its key: for a mail list agent to pass on (RFC 2634 4.2.3.1).

    Everything behind RecipientInfos stays octet for octet: encryptedContentInfo with its parameters, authAttrs, mac and
    unprotected attributes.
    """

    content_type: str
    kept: tuple[memoryview, ...]
    unprotected: bool  # whether unprotected attributes are among that
    key: bytes = field(repr=False)

    def readdressed(
        self,
        recipients: Sequence[Certificate],
        *,
        key_transport: KeyTransportPadding = "oaep",
        originator_certificates: Sequence[Certificate] = (),
    ) -> Octets | Pieces:
        """A ContentInfo with the same encrypted content, new RecipientInfos and new originatorInfo.

        Raises as `encrypt`, and checks as little.
        """
        if not recipients:
            raise ValueError("a message nobody can open")
        infos = [build_recipient(self.key, each, padding=key_transport) for each in dict.fromkeys(recipients)]
        originator = _originator_info(originator_certificates)
        version = auth_enveloped_data.VERSION
        if self.content_type == oids.ID_ENVELOPED_DATA:
            version = envelope_version(
                infos, originator_information=bool(originator), unprotected_attributes=self.unprotected
            )
        return content_info.wrap(
            self.content_type,
            der.enclose(der.SEQUENCE, der.integer(version), originator, der.set_of(infos), *self.kept),
        )


def take_over(content_type: str, value: Octets, credentials: Sequence[Credential], limits: Limits = DEFAULT) -> Sealed:
    """The content of a message and its key, which has opened it. `content_type` and `value` as for `parse_enveloped`.

    Raises as `parse_enveloped` and `decrypt`.
    """
    enveloped = parse_enveloped(content_type, value, limits)
    _, key = _open(enveloped, credentials, limits)
    return Sealed(content_type, tuple(_behind_recipients(value, limits)), enveloped.unprotected is not None, key)


def _behind_recipients(value: Octets, limits: Limits) -> Iterator[memoryview]:
    """The fields of an EnvelopedData or AuthEnvelopedData that follow RecipientInfos, as they stand."""
    reader = Reader(value, limits)
    reader.enter(der.SEQUENCE)
    reader.integer()
    if reader.peek() == context(0):
        reader.skip()
    reader.skip()
    while not reader.at_end():
        yield reader.skip()


def envelope_version(
    recipients: Sequence[bytes], *, originator_information: bool = False, unprotected_attributes: bool = False
) -> int:
    """The version of an EnvelopedData with these RecipientInfos, in DER (RFC 5652 6.1).

    originatorInfo is taken to hold X.509 certificates and CRLs only, as what we write does.
    """
    if any(recipient[0] in (context(3), context(4)) for recipient in recipients):
        return 3
    if originator_information or unprotected_attributes:
        return 2
    return 0 if all(_recipient_version(recipient) == 0 for recipient in recipients) else 2


def _recipient_version(recipient: bytes) -> int:
    reader = Reader(recipient)
    reader.enter(recipient[0])
    return reader.integer()
