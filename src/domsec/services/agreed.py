"""Whether the algorithms of a message are those that were agreed with the domain it is from.

What is weak is never believed, agreement or not (decisions A-46, A-47). An agreement can only ask for more: trades have
rules of their own, and whoever has agreed on RSASSA-PSS need not believe what comes without it.
"""

from __future__ import annotations

from collections.abc import Iterator

from domsec import oids
from domsec.cms.algorithms import DIGESTS, family, find_signature, key_transport
from domsec.cms.encrypted_content import CIPHERS
from domsec.cms.recipients import RecipientInfo
from domsec.cms.recipients.key_transport import KeyTransport
from domsec.cms.signed_data import SignerInfo
from domsec.errors import DomsecError
from domsec.services.layers import Flags, Layer
from domsec.services.peer import Peer

_CODE = "alg.not_agreed"
_SHA1 = DIGESTS[oids.SHA1]


def flags(layer: Layer, peer: Peer | None) -> Flags:
    """What of a layer was not agreed with the domain: each signer, the cipher, each way to the content key."""
    if peer is None:
        return ()
    return tuple(dict.fromkeys((*_signatures(layer, peer), *_encryption(layer, peer))))


def _signatures(layer: Layer, peer: Peer) -> Iterator[tuple[str, str]]:
    if layer.signed is None or not peer.accept_signature:
        return
    for name in map(_signature, layer.signed.signers):
        if name not in peer.accept_signature:
            yield _CODE, f"signed with {name}, agreed with {peer.domain}: {', '.join(peer.accept_signature)}"


def _encryption(layer: Layer, peer: Peer) -> Iterator[tuple[str, str]]:
    if layer.enveloped is None:
        return
    row = CIPHERS.get(layer.enveloped.algorithm.oid)
    cipher = row.name if row is not None else oids.name(layer.enveloped.algorithm.oid)
    if peer.accept_cipher and cipher not in peer.accept_cipher:
        yield _CODE, f"encrypted with {cipher}, agreed with {peer.domain}: {', '.join(peer.accept_cipher)}"
    if not peer.accept_key_transport:
        return
    for name in map(_key_management, layer.enveloped.recipients):
        if name not in peer.accept_key_transport:
            agreed = ", ".join(peer.accept_key_transport)
            yield _CODE, f"the content key is encrypted with {name}, agreed with {peer.domain}: {agreed}"


def _signature(info: SignerInfo) -> str:
    try:
        return family(find_signature(info.signature_algorithm, info.digest_algorithm))
    except DomsecError:
        return oids.name(info.signature_algorithm.oid)


def _key_management(recipient: RecipientInfo) -> str:
    """As the option names it; what it has no name for by another, which is never agreed."""
    if isinstance(recipient, KeyTransport):
        return _transport(recipient)
    if recipient.management.startswith("ml-kem"):
        return "kem"
    return "ecdh" if recipient.kind == "kari" else recipient.management


def _transport(recipient: KeyTransport) -> str:
    try:
        scheme = key_transport(recipient.algorithm)
    except DomsecError:
        return recipient.management
    if scheme is None:
        return "pkcs1v15"
    return "oaep-sha1" if _SHA1 in (scheme.digest, scheme.mask) else "oaep"
