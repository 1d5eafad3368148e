"""SignedData cut out of files, by means of the standard library only, and what each signer's signature comes to."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domsec import oids
from domsec.cms import content_info, signed_data
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import ContentDigests, SignatureCheck, SignedData
from domsec.der import Octets
from domsec.errors import DomsecError, SignatureInvalid, Unsupported

NO_CERTIFICATE = "no certificate"


def outcomes(signed: SignedData, content: Octets | None, others: Sequence[Certificate] = ()) -> list[str]:
    """A word for each signer: valid, weak, an error's code, unsupported, ..."""
    digests = ContentDigests(content if content is not None else b"")
    found = []
    for signer in signed.signers:
        best = NO_CERTIFICATE
        for certificate in {c: None for c in (*signed.certificates, *others) if signer.matches(c)}:
            try:
                check = signed_data.verify(signer, digests, signed.content_type, certificate, allow_no_attributes=True)
            except SignatureInvalid as problem:
                best = problem.code
            except Unsupported:
                best = "unsupported"
            except DomsecError:
                best = "malformed"
            else:
                best = word(check)
                break
        found.append(best)
    return found


def word(check: SignatureCheck) -> str:
    return "weak" if check.weak else "valid" if check.order == "der" else "valid as received"


@dataclass(frozen=True)
class Found:
    signed: SignedData
    content: Octets | None


def in_mail(octets: bytes) -> Iterator[Found]:
    """Every SignedData of a message, outermost first, as deep as one can see without a key."""
    message = email.message_from_bytes(octets, policy=email.policy.compat32)
    kind = message.get_content_type()
    if kind in ("application/pkcs7-mime", "application/x-pkcs7-mime"):
        payload = message.get_payload(decode=True)
        assert isinstance(payload, bytes)
        yield from in_cms(payload)
    elif kind == "multipart/signed":
        boundary = message.get_boundary()
        assert boundary is not None
        mark = b"--" + boundary.encode()
        body = octets.partition(mark)[2].partition(b"\n")[2]
        content = body.partition(b"\n" + mark)[0].removesuffix(b"\r")
        signature = message.get_payload()[1].get_payload(decode=True)  # type: ignore[union-attr]
        assert isinstance(signature, bytes)
        content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        outer = content_info.parse(signature)
        yield Found(signed_data.parse_signed_data(outer.content), content)
        yield from in_mail(content)


def in_cms(octets: Octets) -> Iterator[Found]:
    outer = content_info.parse(octets)
    if outer.content_type != oids.ID_SIGNED_DATA:
        return
    signed = signed_data.parse_signed_data(outer.content)
    yield Found(signed, signed.content)
    if signed.content is not None and signed.content_type == oids.ID_DATA:
        yield from in_mail(bytes(signed.content))
    elif signed.content is not None and signed.content_type == oids.ID_SIGNED_DATA:
        inner = signed_data.parse_signed_data(signed.content)
        yield Found(inner, inner.content)
