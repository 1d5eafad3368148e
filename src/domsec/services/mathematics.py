"""Whose key made a signature, of the certificates at hand, and whether it holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from domsec.cms import signed_data
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import ContentDigests, SignerInfo
from domsec.errors import LimitExceeded, MalformedMessage, SignatureInvalid, Unsupported
from domsec.services.context import Context
from domsec.services.verdict import Crypto


@dataclass(frozen=True, slots=True)
class Mathematics:
    """The certificate that fits best, what came of it, why it does not hold, and codes to flag with texts."""

    certificate: Certificate | None
    crypto: Crypto
    reason: str = ""
    flags: tuple[tuple[str, str], ...] = ()


def candidates(info: SignerInfo, offered: Iterable[Certificate], context: Context) -> list[Certificate]:
    """The certificates that may be the signer's, each once and as many as are tried, those of the message first."""
    found = dict.fromkeys((*(c for c in offered if info.matches(c)), *context.source.by_sid(info.sid)))
    named = (c for c in found if signed_data.names_certificate(info, c) is not False)
    return list(itertools.islice(named, context.limits.certificate_candidates))


def check(
    info: SignerInfo,
    content: ContentDigests,
    content_type: str | None,
    among: Sequence[Certificate],
    context: Context,
    *,
    allow_bare: bool = False,
    allow_unsorted: bool = True,
) -> Mathematics:
    """Try each certificate until one fits; without `content_type` it is a countersignature.

    `allow_bare` is for signatures without attributes, `allow_unsorted` for attributes that are not in DER. What is weak
    is computed in archives only (decisions A-47).
    """
    if not among:
        return Mathematics(None, "no_certificate", "the signer's certificate is not at hand")
    outcome: Mathematics | None = None
    for certificate in among:
        try:
            weak = signed_data.weaknesses(info, certificate)
            if weak and not context.archive:
                outcome = outcome or _weak(certificate, weak, " (not computed: this is no archive)")
                continue
            done = signed_data.verify(
                info, content, content_type, certificate, allow_no_attributes=allow_bare, limits=context.limits
            )
        except SignatureInvalid as error:
            flags = () if error.code == "crypto.invalid" else ((error.code, str(error)),)
            outcome = outcome or Mathematics(certificate, "invalid", str(error), flags)
        except LimitExceeded as error:
            flags = ((f"limit.{error.limit}", str(error)),)
            outcome = outcome or Mathematics(certificate, "unsupported", str(error), flags)
        except (Unsupported, MalformedMessage) as error:
            outcome = outcome or Mathematics(certificate, "unsupported", str(error))
        else:
            if done.weak:
                return _weak(certificate, done.weak)
            if done.is_der:
                return Mathematics(certificate, "valid")
            # decisions A-11 wants DER; ordinary senders that sort wrongly are read, authorities have no excuse
            code = "attrs.order" if allow_unsorted else "attrs.not_der"
            text = "the signature is right over the attributes as they came, and not in the order of DER"
            return Mathematics(certificate, "valid", "", ((code, text),))
    assert outcome is not None
    return outcome


def _weak(certificate: Certificate, weak: Sequence[str], note: str = "") -> Mathematics:
    text = "; ".join(weak) + note
    return Mathematics(certificate, "weak", text, (("alg.weak", text),))
