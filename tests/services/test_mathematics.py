"""Which certificates are tried for a signature: each once, and no more than is allowed."""

from __future__ import annotations

from dataclasses import replace

import pki
import signers
import world
from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import ContentDigests, SignerInfo
from domsec.limits import DEFAULT
from domsec.services import mathematics
from domsec.services.layers import peel

ALICE = world.acme().users["alice"]
NAMESAKES = [pki.identity("user", f"{n}@acme.example", world.acme().ca, serial=4711).certificate for n in range(6)]


def signed_by_serial(serial: int) -> SignerInfo:
    signed = peel(world.build("S(OC)")).root.signed
    assert signed is not None
    info = signed.signers[0]
    return replace(info, sid=replace(info.sid, serial=serial), signed_attributes=None)


def found(offered: list[Certificate], most: int = DEFAULT.certificate_candidates) -> list[Certificate]:
    at = replace(world.context(known=NAMESAKES), limits=replace(DEFAULT, certificate_candidates=most))
    return mathematics.candidates(signed_by_serial(4711), offered, at)


def test_a_certificate_that_is_there_many_times_is_one_candidate() -> None:
    assert found([NAMESAKES[0]] * 100) == NAMESAKES[:4]
    assert found([ALICE.certificate, NAMESAKES[5]] * 2)[0] == NAMESAKES[5]


def test_there_are_as_many_candidates_as_are_tried() -> None:
    assert found(NAMESAKES) == NAMESAKES[:4]
    assert found(NAMESAKES, 6) == NAMESAKES
    assert found([], 5) == NAMESAKES[:5]


def test_a_weak_key_beside_the_right_one_is_no_hindrance() -> None:
    """Anybody can put a certificate beside a signature, with the identifier of another one."""
    signed = peel(world.build("S(OC)")).root.signed
    assert signed is not None
    short = signers.credential("rsa1024").certificate
    for among in ([short, ALICE.certificate], [ALICE.certificate, short]):
        done = mathematics.check(signed.signers[0], ContentDigests(world.TEXT), oids.ID_DATA, among, world.context())
        assert (done.crypto, done.certificate) == ("valid", ALICE.certificate)
