"""What tells one signature from all others, and the warning where it comes again (decisions A-49, threats T-32).

Whether a signature comes late is for `conclude` to say. That it came before is for others to remember: mail is lawfully
sent twice, so it is a warning at most, and only where somebody asked for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from domsec.mime.addresses import ascii_lower
from domsec.services.check import Examination
from domsec.services.conclude import rests_on
from domsec.services.verdict import flag


def keys(examination: Examination, recipient: str) -> tuple[str, ...]:
    """What to remember of a message for a recipient: a digest for each signer of the layer that its level rests on.

    Nothing where it was not accepted.

    They are of what was signed, not of the signature: anybody can give one of ECDSA another value that is valid too.
    """
    verdict = examination.verdict
    layer = rests_on(examination.findings, verdict.level) if verdict.accepted else None
    if layer is None:
        return ()
    found = []
    for signer in layer.relied_on:
        signed = signer.info.signed_attributes
        octets = signed.der if signed is not None else signer.info.signature
        who = signer.certificate.sha256 if signer.certificate is not None else ""
        text = f"{who} {hashlib.sha256(octets).hexdigest()} {ascii_lower(recipient)}"
        found.append(hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest())
    return tuple(dict.fromkeys(found))


def seen_before(examination: Examination) -> Examination:
    """The same, with the warning that its signature came before."""
    verdict = examination.verdict
    layer = rests_on(examination.findings, verdict.level)
    told = flag("replay", "the same signature was delivered before", layer.layer.id if layer is not None else None)
    return replace(examination, verdict=replace(verdict, flags=tuple(dict.fromkeys((*verdict.flags, told)))))
