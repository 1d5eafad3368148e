"""How the work grows with what a message has: a flat ratio is linear."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from bench import library, world
from bench.measure import ROUNDS, Result, best
from domsec.limits import DEFAULT
from domsec.mime import fields
from domsec.octets import Octets, Pieces, in_one_place
from domsec.services import encrypt, sign
from domsec.services.check import verify
from domsec.services.encrypt import Cipher
from domsec.services.layers import peel
from domsec.services.sign import Signer

KILO: Final = 1024
MEGA: Final = 1024 * KILO
SIZES: Final = {
    "1k": KILO,
    "10k": 10 * KILO,
    "100k": 100 * KILO,
    "1m": MEGA,
    "10m": 10 * MEGA,
    "100m": 100 * MEGA,
}
_FULL: Final = 10 * MEGA  # octets in all rounds of a size, roughly
_FEWEST: Final = 2


def cases() -> Iterator[library.Case]:
    for name, size in SIZES.items():
        yield f"scaling.size_{name}", lambda name=name, size=size: [_size(f"scaling.size_{name}", size)]


def _size(name: str, size: int) -> Result:
    """A message signed and encrypted by one domain, decrypted and verified by the other.

    The limit: its octets hashed twice and through AES twice, and the four operations with keys.
    """
    octets = world.message(size)
    signing = world.held("signing", "acme.example", "rsa2048")
    confidentiality = world.held("confidentiality", "beta.example", "rsa2048")
    raw = (
        lambda: hashlib.sha256(octets).digest(),
        lambda: hashlib.sha256(octets).digest(),
        library._raw_sign(signing.key),
        library._raw_verify(signing.key),
        library._raw_wrap(confidentiality.key, octets),
        library._raw_unwrap(confidentiality.key, octets),
    )
    rounds = max(_FEWEST, min(ROUNDS, _FULL // size))
    (subject, limit), n = best(_there_and_back(octets), lambda: [act() for act in raw], rounds=rounds)
    return Result(name, size / subject, "octets/s", size / limit, limit / subject, n)


def _there_and_back(plain: Octets) -> Callable[[], object]:
    signer = Signer(world.held("signing", "acme.example", "rsa2048").credential)
    authority = world.held("confidentiality", "beta.example", "rsa2048").credential
    context = world.context(authority)
    limits = dataclasses.replace(DEFAULT, size=4 * len(plain) + MEGA)  # three layers of base64

    def seal(entity: Octets | Pieces) -> Octets | Pieces:
        return encrypt.sealed(entity, [authority.certificate], Cipher())

    def act() -> None:
        message = peel(plain, limits=limits)
        plan = sign.plan(message.spine(), encrypt=True)
        made = sign.apply(plan, message.header, signer, world.NOW, encrypt=seal)
        octets = in_one_place(fields.replace_entity(message.header, made))
        assert verify(peel(octets, (authority,), limits), context).accepted

    return act
