"""Private keys in PKCS#11 tokens: hardware security modules, smart cards, SoftHSM.

The library of a token is initialised for one thread (python-pkcs11 calls C_Initialize without arguments), and two
sessions in two threads are known to crash some. So every call of this process goes through one lock, over one session
for each token. Nothing of it crosses a fork: before one the libraries are finalised, and whoever needs a key
afterwards, parent or child, opens it anew.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domsec import oids
from domsec.cms.algorithms import AlgorithmIdentifier, SignatureAlgorithm, key_algorithm, key_transport
from domsec.cms.certificates import Certificate
from domsec.errors import ConfigurationError, KeyUnusable, MalformedMessage, StoreUnavailable, Unsupported
from domsec.stores.pkcs11_uri import Pkcs11Uri

try:
    import pkcs11
    from pkcs11 import exceptions as failures
    from pkcs11.constants import Attribute, ObjectClass
    from pkcs11.mechanisms import KDF, MGF, KeyType, Mechanism
except ImportError as missing:  # the extra `hsm` is not installed, or one of its own libraries is missing
    raise ConfigurationError(f"keys in tokens need python-pkcs11, pip install 'domsec[hsm]': {missing}") from None

if TYPE_CHECKING:
    from pkcs11.types import Session, Token

T = TypeVar("T")

_LOCK: Final = threading.RLock()  # one thread at a time, whichever
_CERTIFICATES: Final = 64  # looked at on one token

# The session or the token went away: worth one try with a new one.
_GONE: Final = (
    failures.SessionHandleInvalid,
    failures.SessionClosed,
    failures.DeviceRemoved,
    failures.DeviceError,
    failures.TokenNotPresent,
    failures.TokenNotRecognised,
    failures.UserNotLoggedIn,
    failures.KeyHandleInvalid,
    failures.ObjectHandleInvalid,
    failures.SlotIDInvalid,
    failures.NoSuchToken,
)
# The token never can, whatever the octets.
_CANNOT: Final = (
    failures.MechanismInvalid,
    failures.MechanismParamInvalid,
    failures.ArgumentsBad,
    failures.FunctionNotSupported,
    failures.KeyTypeInconsistent,
    failures.KeySizeRange,
    AttributeError,  # python-pkcs11 gives an object only the methods that the key's usage allows
)

_DIGESTS: Final[dict[str, tuple[Mechanism, MGF]]] = {
    oids.SHA1: (Mechanism.SHA_1, MGF.SHA1),
    oids.SHA256: (Mechanism.SHA256, MGF.SHA256),
    oids.SHA384: (Mechanism.SHA384, MGF.SHA384),
    oids.SHA512: (Mechanism.SHA512, MGF.SHA512),
}
_RSA: Final[dict[str, Mechanism]] = {
    oids.SHA256_WITH_RSA: Mechanism.SHA256_RSA_PKCS,
    oids.SHA384_WITH_RSA: Mechanism.SHA384_RSA_PKCS,
    oids.SHA512_WITH_RSA: Mechanism.SHA512_RSA_PKCS,
}
_PSS: Final[dict[str, Mechanism]] = {  # by digest
    oids.SHA256: Mechanism.SHA256_RSA_PKCS_PSS,
    oids.SHA384: Mechanism.SHA384_RSA_PKCS_PSS,
    oids.SHA512: Mechanism.SHA512_RSA_PKCS_PSS,
}


_KINDS: Final[dict[KeyType, tuple[str, ...]]] = {  # what certificates call them
    KeyType.RSA: (oids.RSA_ENCRYPTION, oids.RSASSA_PSS),
    KeyType.EC: (oids.EC_PUBLIC_KEY,),
    KeyType.EC_EDWARDS: (oids.ED25519,),
}


class _Module:
    """The library of a token in this process: a session for each token, and the keys found in it."""

    def __init__(self, path: str) -> None:
        try:
            self.library = pkcs11.lib(path)
        except failures.PKCS11Error as problem:
            raise ConfigurationError(f"{path}: cannot be loaded as a PKCS#11 library: {_words(problem)}") from None
        self.sessions: dict[int, Session] = {}  # by slot
        self.keys: dict[tuple[Pkcs11Uri, str], Any] = {}
        self.wrong_pins: set[tuple[int, str]] = set()

    def close(self) -> None:
        """Forget everything; the next to ask opens it anew."""
        self.sessions.clear()
        self.keys.clear()
        try:
            self.library.finalize()
        except failures.PKCS11Error:
            pass

    def key(self, uri: Pkcs11Uri, pin: str) -> Any:
        """The private key that a URI names. Raises KeyUnusable, ConfigurationError and what PKCS#11 raises."""
        found = self.keys.get((uri, pin))
        if found is None:
            wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, **_named(uri)}
            keys = list(self.session(uri, pin).get_objects(wanted))
            if len(keys) != 1:
                raise KeyUnusable(f"{uri}: {len(keys)} private keys with this name on the token, expected one")
            found = self.keys[uri, pin] = keys[0]
        return found

    def session(self, uri: Pkcs11Uri, pin: str) -> Session:
        """A session of the user on the token that a URI names."""
        self.library.initialize()
        token = self.token(uri)
        slot = token.slot.slot_id
        if slot not in self.sessions:
            if (slot, pin) in self.wrong_pins:
                # asking again and again would lock the token
                raise KeyUnusable(f"{uri}: the token did not take the PIN")
            try:
                self.sessions[slot] = token.open(user_pin=pin)
            except (failures.PinIncorrect, failures.PinInvalid, failures.PinLenRange):
                self.wrong_pins.add((slot, pin))
                raise KeyUnusable(f"{uri}: the token did not take the PIN") from None
            except (failures.PinLocked, failures.PinExpired, failures.UserPinNotInitialized) as problem:
                raise KeyUnusable(f"{uri}: the PIN is of no use: {_words(problem)}") from None
        return self.sessions[slot]

    def token(self, uri: Pkcs11Uri) -> Token:
        serial = None if uri.serial is None else uri.serial.encode()
        found = [
            token
            for token in self.library.get_tokens(token_label=uri.token, token_serial=serial)
            if uri.manufacturer in (None, token.manufacturer_id) and uri.model in (None, token.model)
        ]
        if len(found) > 1:
            raise ConfigurationError(f"{uri}: {len(found)} tokens fit, expected one; serial tells them apart")
        if not found:
            raise failures.NoSuchToken("no such token")
        return found[0]


_modules: dict[str, _Module] = {}  # of this process, by path: what PKCS#11 initialises is the process


def _module(path: str) -> _Module:
    if path not in _modules:
        _modules[path] = _Module(path)
    return _modules[path]


def _before_fork() -> None:
    _LOCK.acquire()
    for module in _modules.values():
        module.close()


os.register_at_fork(before=_before_fork, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


def _named(uri: Pkcs11Uri) -> dict[Attribute, object]:
    wanted = {Attribute.LABEL: uri.object, Attribute.ID: uri.id}
    return {attribute: value for attribute, value in wanted.items() if value is not None}


def _words(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A private key where it is, and how to get at it."""

    uri: Pkcs11Uri
    pin: str = field(repr=False)

    def use(self, act: Callable[[Any], T]) -> T:
        """Let `act` work with the key object; what it raises of PKCS#11 means that the session is gone.

        Tried once more with a new session. Raises StoreUnavailable where the token is away, KeyUnusable.
        """
        with _LOCK:
            module = _module(self.uri.module_path)
            try:
                return act(module.key(self.uri, self.pin))
            except failures.PKCS11Error:
                module.close()
            try:
                return act(module.key(self.uri, self.pin))
            except failures.PKCS11Error as problem:
                module.close()
                raise StoreUnavailable(f"{self.uri}: the token does not answer: {_words(problem)}") from None

    def fits(self, certificate: Certificate) -> bool:
        """Whether a certificate is for a key of this kind: what is cheap to know before the key shows more.

        Tokens answer a mechanism that is not for the key by errors of any kind.
        """
        return self.use(lambda key: certificate.key_algorithm in _KINDS.get(key.key_type, ()))

    def certificates(self) -> Iterator[Certificate]:
        """The certificates on the token, those that bear the name of the key first. Raises as `use`."""
        with _LOCK:
            module = _module(self.uri.module_path)
            try:
                session = module.session(self.uri, self.pin)
                own = module.key(self.uri, self.pin).id
                found = [
                    (bytes(each[Attribute.VALUE]), each[Attribute.ID])
                    for each in session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE})
                ]
            except failures.PKCS11Error as problem:
                module.close()
                raise StoreUnavailable(f"{self.uri}: the token does not answer: {_words(problem)}") from None
        found.sort(key=lambda each: each[1] != own)
        for octets, _ in found[:_CERTIFICATES]:
            try:
                yield Certificate(octets)
            except MalformedMessage:
                continue  # of somebody else; without its certificate our key is not used


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """A key in a token with its certificate. Equal only to itself."""

    key: TokenKey = field(hash=False, compare=False)
    certificate: Certificate
    chain: tuple[Certificate, ...] = ()

    def sign(self, data: bytes, algorithm: SignatureAlgorithm) -> bytes:
        if key_algorithm(self.certificate.public_key) not in algorithm.keys:
            raise KeyUnusable(f"the key cannot sign with {algorithm.name}")
        how = _signing(algorithm, data)

        def act(key: Any) -> bytes:
            try:
                return bytes(key.sign(how.data, mechanism=how.mechanism, mechanism_param=how.parameters))
            except _GONE:
                raise
            except _CANNOT as problem:
                raise KeyUnusable(f"{self.key.uri}: no signature by {algorithm.name}: {_words(problem)}") from None
            except failures.PKCS11Error as problem:
                raise StoreUnavailable(f"{self.key.uri}: the token does not sign: {_words(problem)}") from None

        signature = self.key.use(act)
        return _ecdsa_value(signature) if how.mechanism is Mechanism.ECDSA else signature

    def decrypt(self, encrypted_key: bytes, algorithm: AlgorithmIdentifier) -> bytes:
        if not isinstance(self.certificate.public_key, rsa.RSAPublicKey):
            raise KeyUnusable("only an RSA key decrypts")
        mechanism, parameters = _decrypting(algorithm)
        instead = self._nothing_decrypted(encrypted_key)

        def act(key: Any) -> bytes:
            try:
                return bytes(key.decrypt(encrypted_key, mechanism=mechanism, mechanism_param=parameters))
            except _GONE:
                raise
            except _CANNOT as problem:
                raise KeyUnusable(f"{self.key.uri}: the token cannot decrypt so: {_words(problem)}") from None
            except failures.PKCS11Error:
                return instead

        return self.key.use(act)

    def _nothing_decrypted(self, encrypted_key: bytes) -> bytes:
        """What stands for a key that was wrongly padded: for one ciphertext always the same, and known to nobody.

        Tokens say that the padding was wrong, so implicit rejection is done here (RFC 3218 2.3). The secret in it is
        made from the PIN, so that it is the same in every process that holds the key.
        """
        secret = hashlib.sha256(b"domsec: implicit rejection" + self.key.pin.encode() + self.certificate.spki).digest()
        return hmac.digest(secret, encrypted_key, "sha256")

    def exchange(self, public_key: PublicKeyTypes) -> bytes:
        own = self.certificate.public_key
        if (
            not isinstance(own, ec.EllipticCurvePublicKey)
            or not isinstance(public_key, ec.EllipticCurvePublicKey)
            or own.curve.name != public_key.curve.name
        ):
            raise KeyUnusable("the keys are of different kinds, or of one that is not used in tokens")
        point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        length = (own.curve.key_size + 7) // 8

        def act(key: Any) -> bytes:
            try:
                secret = key.derive_key(
                    KeyType.GENERIC_SECRET,
                    length * 8,
                    mechanism=Mechanism.ECDH1_DERIVE,
                    mechanism_param=(KDF.NULL, None, point),
                    capabilities=0,
                    template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
                )
                value = bytes(secret[Attribute.VALUE])
                secret.destroy()
            except _GONE:
                raise
            except (failures.PKCS11Error, AttributeError) as problem:
                text = f"{self.key.uri}: no secret can be agreed with this public key: {_words(problem)}"
                raise KeyUnusable(text) from None
            return value.rjust(length, b"\0")

        return self.key.use(act)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        raise KeyUnusable("keys in tokens do not decapsulate")


@dataclass(frozen=True, slots=True)
class _Signing:
    mechanism: Mechanism
    parameters: tuple[Mechanism, MGF, int] | None
    data: bytes


def _signing(algorithm: SignatureAlgorithm, data: bytes) -> _Signing:
    """How a token is asked for a signature. Raises KeyUnusable."""
    digest = algorithm.digest
    if algorithm.oid in _RSA:
        return _Signing(_RSA[algorithm.oid], None, data)
    if algorithm.oid == oids.RSASSA_PSS and digest.oid in _PSS:
        # what we sign by has one digest throughout and a salt of its length (RFC 4056 3)
        return _Signing(_PSS[digest.oid], (*_DIGESTS[digest.oid], digest.new().digest_size), data)
    if algorithm.keys == (oids.EC_PUBLIC_KEY,):
        # not every token has the mechanisms that hash
        return _Signing(Mechanism.ECDSA, None, _hashed(algorithm, data))
    if algorithm.oid == oids.ED25519:
        return _Signing(Mechanism.EDDSA, None, data)
    raise KeyUnusable(f"keys in tokens do not sign with {algorithm.name}")


def _hashed(algorithm: SignatureAlgorithm, data: bytes) -> bytes:
    digest = algorithm.digest.new()
    digest.update(data)
    return digest.digest()


def _ecdsa_value(signature: bytes) -> bytes:
    """ECDSA-Sig-Value (RFC 5753 7.2) of r and s as PKCS#11 gives them, one after the other."""
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))


def _decrypting(algorithm: AlgorithmIdentifier) -> tuple[Mechanism, tuple[Mechanism, MGF, bytes | None] | None]:
    """Mechanism and parameters. Raises Unsupported, MalformedMessage."""
    scheme = key_transport(algorithm)
    if scheme is None:
        return Mechanism.RSA_PKCS, None
    if scheme.digest.oid not in _DIGESTS or scheme.mask.oid not in _DIGESTS:
        raise Unsupported("OAEP with a digest that tokens do not have")
    if scheme.label:
        # SoftHSM passes over a label, and so would undo what another label protects
        raise Unsupported("OAEP with a label, which keys in tokens do not undo")
    return Mechanism.RSA_PKCS_OAEP, (_DIGESTS[scheme.digest.oid][0], _DIGESTS[scheme.mask.oid][1], None)
