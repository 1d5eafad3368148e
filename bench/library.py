"""The library against bare operations: one core, 10 KB unless the name says otherwise."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench import world
from bench.measure import Result, peak, rate
from domsec.limits import DEFAULT
from domsec.mime import fields
from domsec.octets import CHUNK, Octets, Pieces, chunks, gather
from domsec.services import encrypt, sign
from domsec.services.check import verify
from domsec.services.encrypt import Cipher
from domsec.services.layers import mime_entity, peel, peel_entity
from domsec.services.sign import Signer
from domsec.trust.issue import KeyKind, PrivateKey

SIZE = 10 * 1024
DIGEST_INPUT = os.urandom(300)  # about what signed attributes come to

Case = tuple[str, Callable[[], list[Result]]]

SIGNING: dict[str, KeyKind] = {"rsa2048": "rsa2048", "rsa3072": "rsa3072", "p256": "p256", "ed25519": "ed25519"}
ENCRYPTION: dict[str, KeyKind] = {"rsa2048_oaep": "rsa2048", "p256": "p256", "x25519": "x25519"}
SIZES = {"10k": 10 * 1024, "1m": 1024 * 1024, "25m": 25 * 1024 * 1024}


def cases() -> Iterator[Case]:
    for name, kind in SIGNING.items():
        yield f"library.sign_domain.{name}", lambda name=name, kind=kind: [_sign(f"library.sign_domain.{name}", kind)]
    for name, kind in SIGNING.items():
        yield f"library.verify_domain.{name}", lambda name=name, kind=kind: [_verify(name, kind)]
    for name, kind in ENCRYPTION.items():
        yield f"library.encrypt_dca.{name}", lambda name=name, kind=kind: [_encrypt(name, kind)]
    for name, kind in ENCRYPTION.items():
        yield f"library.decrypt_dca.{name}", lambda name=name, kind=kind: [_decrypt(name, kind)]
    for name, size in SIZES.items():
        yield f"library.sign_domain.size_{name}", lambda name=name, size=size: [_sign_size(name, size)]
    for name in _ACTS:
        yield f"library.memory.{name}_50m", lambda name=name: [_memory(name)]


def _raw_sign(key: PrivateKey) -> Callable[[], object]:
    if isinstance(key, rsa.RSAPrivateKey):
        return lambda: key.sign(DIGEST_INPUT, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return lambda: key.sign(DIGEST_INPUT, ec.ECDSA(hashes.SHA256()))
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return lambda: key.sign(DIGEST_INPUT)


def _raw_verify(key: PrivateKey) -> Callable[[], object]:
    if isinstance(key, rsa.RSAPrivateKey):
        public, signature = key.public_key(), key.sign(DIGEST_INPUT, padding.PKCS1v15(), hashes.SHA256())
        return lambda: public.verify(signature, DIGEST_INPUT, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        ec_public, ec_signature = key.public_key(), key.sign(DIGEST_INPUT, ec.ECDSA(hashes.SHA256()))
        return lambda: ec_public.verify(ec_signature, DIGEST_INPUT, ec.ECDSA(hashes.SHA256()))
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    ed_public, ed_signature = key.public_key(), key.sign(DIGEST_INPUT)
    return lambda: ed_public.verify(ed_signature, DIGEST_INPUT)


def _domain_signer(octets: Octets, kind: KeyKind) -> Callable[[], Octets | Pieces]:
    """The domain signature of a plain message: null layer, protected headers, signature, base64, header."""
    signer = Signer(world.held("signing", "acme.example", kind).credential)
    message = peel(octets)
    plan = sign.plan(message.spine(), encrypt=False)
    return lambda: fields.replace_entity(message.header, sign.apply(plan, message.header, signer, world.NOW))


def _sign(name: str, kind: KeyKind) -> Result:
    return rate(
        name, _domain_signer(world.message(SIZE), kind), _raw_sign(world.held("signing", "acme.example", kind).key)
    )


def _verify(name: str, kind: KeyKind) -> Result:
    octets = bytes(_domain_signer(world.message(SIZE), kind)())
    context = world.context()
    assert verify(peel(octets), context).accepted
    raw = _raw_verify(world.held("signing", "acme.example", kind).key)
    return rate(f"library.verify_domain.{name}", lambda: verify(peel(octets), context), raw)


def _encrypt(name: str, kind: KeyKind) -> Result:
    held = world.held("confidentiality", "beta.example", kind)
    entity = bytes(fields.entity_of(bytes(_domain_signer(world.message(SIZE), "p256")())))
    certificate = held.credential.certificate
    raw = _raw_wrap(held.key, entity)
    return rate(f"library.encrypt_dca.{name}", lambda: encrypt.encrypt(entity, [certificate], Cipher()), raw)


def _decrypt(name: str, kind: KeyKind) -> Result:
    held = world.held("confidentiality", "beta.example", kind)
    inner = bytes(fields.entity_of(world.message(SIZE)))
    entity = bytes(encrypt.encrypt(inner, [held.credential.certificate], Cipher()))
    assert peel_entity(entity, (held.credential,)).opened is not None
    raw = _raw_unwrap(held.key, inner)
    return rate(f"library.decrypt_dca.{name}", lambda: peel_entity(entity, (held.credential,)), raw)


_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def _raw_wrap(key: PrivateKey, content: bytes) -> Callable[[], object]:
    cek, nonce = os.urandom(32), os.urandom(12)
    seal = AESGCM(cek)
    if isinstance(key, rsa.RSAPrivateKey):
        public = key.public_key()
        return lambda: (public.encrypt(cek, _OAEP), seal.encrypt(nonce, content, None))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        peer = key.public_key()
        return lambda: (
            ec.generate_private_key(ec.SECP256R1()).exchange(ec.ECDH(), peer),
            seal.encrypt(nonce, content, None),
        )
    assert isinstance(key, x25519.X25519PrivateKey)
    x_peer = key.public_key()
    return lambda: (x25519.X25519PrivateKey.generate().exchange(x_peer), seal.encrypt(nonce, content, None))


def _raw_unwrap(key: PrivateKey, content: bytes) -> Callable[[], object]:
    cek, nonce = os.urandom(32), os.urandom(12)
    sealed, seal = AESGCM(cek).encrypt(nonce, content, None), AESGCM(cek)
    if isinstance(key, rsa.RSAPrivateKey):
        wrapped = key.public_key().encrypt(cek, _OAEP)
        return lambda: (key.decrypt(wrapped, _OAEP), seal.decrypt(nonce, sealed, None))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        peer = ec.generate_private_key(ec.SECP256R1()).public_key()
        return lambda: (key.exchange(ec.ECDH(), peer), seal.decrypt(nonce, sealed, None))
    assert isinstance(key, x25519.X25519PrivateKey)
    x_peer = x25519.X25519PrivateKey.generate().public_key()
    return lambda: (key.exchange(x_peer), seal.decrypt(nonce, sealed, None))


def _sign_size(name: str, size: int) -> Result:
    octets = world.message(size)
    raw = _raw_sign(world.held("signing", "acme.example", "rsa2048").key)
    signed = _domain_signer(octets, "rsa2048")
    return rate(
        f"library.sign_domain.size_{name}",
        lambda: sum(map(len, chunks(signed()))),
        lambda: (hashlib.sha256(octets).digest(), raw()),
    )


# --- memory ----------------------------------------------------------------------------------------------------------

_LARGE: Final = 50 * 1024 * 1024
_ROOMY: Final = dataclasses.replace(DEFAULT, size=4 * _LARGE)  # two layers of base64 are nearly twice as long


def _memory(name: str) -> Result:
    """How much memory an act takes on a message of 50 MB, read from a file and written to one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:  # memory that nobody used yet
        above = pool.submit(_peak, name).result()
    return Result(f"library.memory.{name}_50m", above, "octets", _LARGE, above / _LARGE, 1)


def _peak(name: str) -> int:
    before, act = _ACTS[name]
    with TemporaryDirectory() as folder:
        small, large, made = (Path(folder, file) for file in ("small", "large", "made"))
        for file, size in ((small, SIZE), (large, _LARGE)):
            file.write_bytes(world.message(size))
            if before is not None:
                _from_to(file, before, file)
        _from_to(small, act, made)  # the code and the keys are there before
        return peak(lambda: _from_to(large, act, made))


def _from_to(given: Path, act: Callable[[Octets], Octets | Pieces], made: Path) -> None:
    with given.open("rb") as file:
        octets = gather(iter(lambda: file.read(CHUNK), b""))
    with made.open("wb") as file:
        for chunk in chunks(act(octets)):
            file.write(chunk)


def _signed(octets: Octets) -> Octets | Pieces:
    return _domain_signer(octets, "rsa2048")()


def _encrypted(octets: Octets) -> Octets | Pieces:
    certificate = world.held("confidentiality", "beta.example", "rsa2048").credential.certificate
    message = peel(octets)
    return fields.replace_entity(message.header, encrypt.encrypt(mime_entity(message.root), [certificate], Cipher()))


def _decrypted(octets: Octets) -> Octets | Pieces:
    message = peel(octets, (world.held("confidentiality", "beta.example", "rsa2048").credential,), _ROOMY)
    assert message.root.child is not None
    return fields.replace_entity(message.header, mime_entity(message.root.child))


def _verified(octets: Octets) -> Octets | Pieces:
    assert verify(peel(octets, limits=_ROOMY), world.context()).accepted
    return b""


# what is done to the message beforehand, and what is measured
_ACTS: Final[dict[str, tuple[Callable[[Octets], Octets | Pieces] | None, Callable[[Octets], Octets | Pieces]]]] = {
    "sign": (None, _signed),
    "encrypt": (None, _encrypted),
    "decrypt": (_encrypted, _decrypted),
    "verify": (_signed, _verified),
}
