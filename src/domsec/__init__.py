"""domsec: S/MIME security for whole domains (RFC 3183).

What is named here is the public interface; everything else may change. Bytes go in and come out, or a memoryview: what
is larger than some 256 KB comes out as a view of a temporary file that has no name, and is in no memory. Time, keys and
certificates are arguments. A name is imported when it is first used, so that `import domsec` costs nothing.

    look      peel -> Message of Layers, verify -> Verdict with Flags
    trust     Certificate, AnchorSet, Snapshot, Validator, Context, Peer, Peers; load_* read files
    make      gate, plan, apply for domain signatures with Evidence and a Signer; locate and encrypt
    x400      a module: the same for messages without MIME, and what X.400 carries (docs/x400.md)
    errors    DomsecError and what is below it in domsec.errors
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from domsec.cms.certificates import Certificate
    from domsec.cms.credential import Credential
    from domsec.errors import DomsecError
    from domsec.limits import Limits
    from domsec.services import x400
    from domsec.services.check import examine, verify
    from domsec.services.context import Context
    from domsec.services.delivery import deliver
    from domsec.services.encrypt import encrypt, locate
    from domsec.services.layers import Layer, Message, peel
    from domsec.services.peer import Peer, Peers
    from domsec.services.sign import Evidence, Signer, apply, gate, plan
    from domsec.services.verdict import Flag, Verdict
    from domsec.stores.certificates import load_anchors, load_certificates
    from domsec.stores.credentials import load_credential
    from domsec.trust.path import AnchorSet, Snapshot, Validator
    from domsec.trust.source import MemorySource

__all__ = [
    "AnchorSet",
    "Certificate",
    "Context",
    "Credential",
    "DomsecError",
    "Evidence",
    "Flag",
    "Layer",
    "Limits",
    "MemorySource",
    "Message",
    "Peer",
    "Peers",
    "Signer",
    "Snapshot",
    "Validator",
    "Verdict",
    "apply",
    "deliver",
    "encrypt",
    "examine",
    "gate",
    "load_anchors",
    "load_certificates",
    "load_credential",
    "locate",
    "peel",
    "plan",
    "verify",
    "x400",
]

_HOMES = {
    "AnchorSet": "domsec.trust.path",
    "Certificate": "domsec.cms.certificates",
    "Context": "domsec.services.context",
    "Credential": "domsec.cms.credential",
    "DomsecError": "domsec.errors",
    "Evidence": "domsec.services.sign",
    "Flag": "domsec.services.verdict",
    "Layer": "domsec.services.layers",
    "Limits": "domsec.limits",
    "MemorySource": "domsec.trust.source",
    "Message": "domsec.services.layers",
    "Peer": "domsec.services.peer",
    "Peers": "domsec.services.peer",
    "Signer": "domsec.services.sign",
    "Snapshot": "domsec.trust.path",
    "Validator": "domsec.trust.path",
    "Verdict": "domsec.services.verdict",
    "apply": "domsec.services.sign",
    "deliver": "domsec.services.delivery",
    "encrypt": "domsec.services.encrypt",
    "examine": "domsec.services.check",
    "gate": "domsec.services.sign",
    "load_anchors": "domsec.stores.certificates",
    "load_certificates": "domsec.stores.certificates",
    "load_credential": "domsec.stores.credentials",
    "locate": "domsec.services.encrypt",
    "peel": "domsec.services.layers",
    "plan": "domsec.services.sign",
    "verify": "domsec.services.check",
}
_MODULES = {"x400": "domsec.services.x400"}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'domsec' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
