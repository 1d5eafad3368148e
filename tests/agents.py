"""Mail list agents for tests: the lists of `world.LISTS`, each with the members a test gives it.

expand(octets, "staff")                       what the agent of staff@acme.example makes of a message
reads(octets, member)                         what a member can open and believe of a copy
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pki
import world
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.mime.addresses import parse_address
from domsec.services.check import Examination
from domsec.services.context import Context
from domsec.services.maillist import Expansion, MailList, MayReceive
from domsec.services.maillist import expand as service

BOB = "bob@beta.example"
ALICE = "alice@acme.example"
MEMBERS = (BOB, "alice@beta.example")


def mail_list(name: str, members: Sequence[str] = MEMBERS, **options: object) -> MailList:
    own: tuple[Credential, ...] = (world.credential(world.mail_list(name)),)
    return MailList(
        parse_address(f"{name}@acme.example"),
        own,
        tuple(map(parse_address, members)),
        **options,  # type: ignore[arg-type]
    )


def everybody() -> tuple[Certificate, ...]:
    """Whom the test lists can encrypt to."""
    people = [*world.acme().users.values(), *world.beta().users.values()]
    return tuple(i.certificate for i in (*people, *map(world.mail_list, world.LISTS)))


def context(*keyring: pki.Identity, known: Iterable[Certificate] | None = None, **more: object) -> Context:
    """What an agent or a member knows, with these keys to open."""
    return world.context(*keyring, known=everybody() if known is None else known, **more)  # type: ignore[arg-type]


def expand(
    octets: bytes,
    name: str = "staff",
    members: Sequence[str] = MEMBERS,
    *,
    at: Context | None = None,
    may_receive: MayReceive | None = None,
    **options: object,
) -> Expansion:
    """Raises ExpansionStopped."""
    at = at or context(world.mail_list(name))
    return service(world.look(octets, at), mail_list(name, members, **options), at, may_receive)


def reads(octets: bytes, member: pki.Identity) -> Examination:
    return world.look(octets, context(member))


def only(expansion: Expansion) -> bytes:
    """The one copy."""
    (copy,) = expansion.copies
    assert not expansion.left_out
    return copy.octets
