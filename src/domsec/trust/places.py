"""Where revocation of the certificates of a path is published (RFC 5280 4.2.1.13, 4.2.2.1), and what may stand there.

Only paths that hold are looked at: places in a stranger's certificate are not followed (RFC 5280 8).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.parse import quote

import pybase64
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from domsec import oids
from domsec.cms.algorithms import DIGESTS
from domsec.cms.certificates import Certificate
from domsec.errors import DomsecError, MalformedMessage
from domsec.trust import names
from domsec.trust.crl import Crl
from domsec.trust.ocsp import OcspIndex, OcspResponse, request
from domsec.trust.signature import is_crl_signed_by

MOST: Final = 4  # places of one kind that are tried for one certificate
LONGEST: Final = 1024  # octets of a URI

_SHA1: Final = DIGESTS[oids.SHA1].identifier  # RFC 5019 2.1.1: what every responder knows; it only names


@dataclass(frozen=True)
class Place:
    """One URI with what has to stand there: a CRL of `issuer`, or its answer about `certificate`."""

    kind: Literal["crl", "ocsp"]
    uri: str
    issuer: Certificate
    certificate: Certificate | None = None

    @functools.cached_property
    def name(self) -> str:
        """The same for the same place, unlike for others; letters and digits."""
        about = self.certificate.sha256 if self.certificate is not None else ""
        return hashlib.sha256("\0".join((self.kind, self.uri, self.issuer.sha256, about)).encode()).hexdigest()[:40]

    @property
    def get(self) -> str:
        """The URI to ask by GET: that of the CRL, or the responder's with the request in it (RFC 6960 A.1).

        Raises MalformedMessage or Unsupported for an issuer whose key cannot be read.
        """
        if self.certificate is None:
            return self.uri
        asked = pybase64.b64encode(request(self.certificate, self.issuer, _SHA1)).decode()
        return f"{self.uri.rstrip('/')}/{quote(asked, safe='')}"


def places(chain: Sequence[Certificate]) -> Iterator[Place]:
    """Where to look for every certificate of a path but the anchor. Only http: what else there is cannot be asked."""
    for subject, issuer in itertools.pairwise(chain):
        try:
            lists, responders = _stated(subject)
        except MalformedMessage:
            continue
        yield from (Place("crl", uri, issuer) for uri in lists[:MOST])
        yield from (Place("ocsp", uri, issuer, subject) for uri in responders[:MOST])


def accepted_crl(octets: bytes, place: Place, now: datetime) -> Crl:
    """The CRL that stood at a place, if it is one of the issuer's and can be used now. Raises MalformedMessage."""
    crl = Crl(octets)
    if not names.same_name(crl.issuer, place.issuer.subject):
        raise MalformedMessage("a revocation list of another issuer")
    if not is_crl_signed_by(crl.x509, place.issuer):
        raise MalformedMessage("a revocation list that its issuer did not sign")
    if not crl.current(now):
        raise MalformedMessage(f"a revocation list of {crl.this_update:%Y-%m-%d %H:%M:%SZ} that does not hold now")
    return crl


def accepted_response(octets: bytes, place: Place, now: datetime, before: OcspResponse | None = None) -> OcspResponse:
    """The response that stood at a place, if it tells of the certificate now, and nothing older than `before`.

    Raises MalformedMessage.
    """
    response = OcspResponse(octets)
    assert place.certificate is not None
    if before is not None and (known := before.told_at(place.certificate, place.issuer)) is not None:
        told = response.told_at(place.certificate, place.issuer)
        if told is not None and told < known:
            raise MalformedMessage(f"an OCSP response older than the one of {known:%Y-%m-%d %H:%M:%SZ}")
    status = OcspIndex((response,)).status(place.certificate, place.issuer, now)
    if status.state == "unknown":
        raise MalformedMessage(status.text)
    return response


def _stated(certificate: Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """URIs of CRLs of the issuer itself, and of OCSP responders, without repetition. Raises MalformedMessage."""
    lists: list[str] = []
    responders: list[str] = []
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.CRLDistributionPoints):
            # with cRLIssuer it is somebody else's list, which takes more than this to judge
            own = [point for point in extension.value if point.crl_issuer is None]
            lists += (uri for point in own for name in point.full_name or () if (uri := _http(name)))
        elif isinstance(extension.value, x509.AuthorityInformationAccess):
            asked = [each for each in extension.value if each.access_method == AuthorityInformationAccessOID.OCSP]
            responders += (uri for each in asked if (uri := _http(each.access_location)))
    return tuple(dict.fromkeys(lists)), tuple(dict.fromkeys(responders))


def _http(name: x509.GeneralName) -> str:
    """The URI if it is one of http, with nothing in it that could break a request line; or else nothing."""
    if not isinstance(name, x509.UniformResourceIdentifier):
        return ""
    uri = name.value
    clean = uri.isascii() and uri.isprintable() and " " not in uri and len(uri) <= LONGEST
    return uri if clean and uri[:7].lower() == "http://" else ""


def refusal(problem: DomsecError) -> str:
    """Why something that stood at a place is not used, safe to log."""
    return names.escaped(str(problem))
