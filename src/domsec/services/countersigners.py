"""Who signed a signature: told, and never part of a conclusion (RFC 5652 11.4, decisions A-26)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from domsec import oids
from domsec.cms import attributes
from domsec.cms.certificates import Certificate
from domsec.cms.countersignatures import Countersignature, countersignatures
from domsec.cms.signed_data import ContentDigests, SignerInfo
from domsec.errors import LimitExceeded, MalformedMessage
from domsec.services import describe, mathematics
from domsec.services.context import Context
from domsec.services.layers import Flags
from domsec.services.verdict import CountersignatureVerdict
from domsec.trust.addresses import subject_text
from domsec.trust.names import name_text
from domsec.trust.usage import signing_problems

_CODE = "countersignature.invalid"


def report(
    signer: SignerInfo, offered: Sequence[Certificate], context: Context
) -> tuple[tuple[CountersignatureVerdict, ...], Flags]:
    """The countersignatures of a SignerInfo, judged, and what to flag. `offered` are the certificates beside it."""
    try:
        found = countersignatures(signer, context.limits)
    except LimitExceeded as error:
        return (), ((f"limit.{error.limit}", str(error)),)
    except MalformedMessage as error:
        return (), ((_CODE, f"it cannot be read: {error}"),)
    judged = tuple(_judged(one, offered, context) for one in found)
    return judged, tuple(_flags(found, judged))


def _judged(one: Countersignature, offered: Sequence[Certificate], context: Context) -> CountersignatureVerdict:
    info = one.info
    among = mathematics.candidates(info, offered, context)
    done = mathematics.check(info, ContentDigests(one.over), None, among, context)
    certificate, reason, path = done.certificate, done.reason, None
    when = attributes.stated_signing_time(info.signed_attributes)
    if certificate is not None and done.crypto == "valid":
        path = context.path(certificate, offered, role=False, peer=None)
        reason = "; ".join(signing_problems(certificate)) or path.reason
    return CountersignatureVerdict(
        subject=subject_text(certificate) if certificate else None,
        issuer=name_text(certificate.issuer) if certificate else None,
        serial=f"{certificate.serial:x}" if certificate else None,
        sha256=certificate.sha256 if certificate else None,
        addresses=describe.addresses_of(certificate),
        crypto=done.crypto,
        path=path.state if path else None,
        reason=reason,
        digest=oids.name(info.digest_algorithm.oid),
        algorithm=oids.name(info.signature_algorithm.oid),
        signing_time=when.isoformat() if when else None,
        countersignatures=tuple(_judged(inner, offered, context) for inner in one.countersignatures),
    )


def _flags(found: Sequence[Countersignature], judged: Sequence[CountersignatureVerdict]) -> Iterator[tuple[str, str]]:
    for one, verdict in zip(found, judged, strict=True):
        who = verdict.subject or "somebody whose certificate is not at hand"
        if verdict.crypto in ("invalid", "weak"):
            yield _CODE, f"by {who}: {verdict.reason}"
        for oid in one.unexpected:
            yield "ess.placement", f"{oids.name(oid)} stands in a countersignature"
        yield from _flags(one.countersignatures, verdict.countersignatures)
