"""RecipientInfos that are read and passed over: pwri, ori (RFC 5652 6.2.4, 6.2.5), and what nobody can read.

We share no passwords with anybody, and an iteration count would be the sender's to choose (threats T-23). An ori of a
type we know is read by the module of that type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from domsec.cms.certificates import Certificate, Identifier
from domsec.cms.credential import Credential
from domsec.der import Octets, Reader, context
from domsec.errors import MalformedMessage, Unsupported

OtherKind = Literal["pwri", "ori", "unknown"]


@dataclass(frozen=True, slots=True)
class OtherRecipient:
    """A RecipientInfo nobody here can open. `type` is the oriType of an ori, empty for the other kinds."""

    outdated: ClassVar[bool] = False

    kind: OtherKind
    raw: bytes
    version: int | None = None
    type: str = ""

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """None: nothing in it names a certificate, so it is never ours."""
        return ()

    @property
    def management(self) -> str:
        return self.type or self.kind

    def recover(
        self, position: int, credential: Credential, length: int, originator_certificates: Sequence[Certificate]
    ) -> bytes:
        """Never asked for, having no identifiers. Raises Unsupported."""
        raise Unsupported(f"recipient information {self.management}")


_KINDS: Final[dict[int, OtherKind]] = {context(3): "pwri"}
_ORI: Final = context(4)


def parse(raw: Octets) -> OtherRecipient:
    """A whole RecipientInfo of another kind. Whatever it is, it does not keep the others from being read."""
    reader = Reader(raw)
    tag = reader.peek()
    try:
        if tag == _ORI:
            reader.enter(_ORI)
            return OtherRecipient("ori", bytes(raw), None, reader.oid())
        if tag in _KINDS:
            reader.enter(tag)
            return OtherRecipient(_KINDS[tag], bytes(raw), reader.integer())
    except MalformedMessage:
        return OtherRecipient("unknown", bytes(raw))
    return OtherRecipient("unknown", bytes(raw))
