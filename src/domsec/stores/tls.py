"""How we check servers that we connect to: directories and next hops."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from domsec.cms.certificates import Certificate


def tls_context(ca: Iterable[Certificate] = ()) -> ssl.SSLContext:
    """How a server's certificate and its name are checked: against these CAs, or those of this machine if none."""
    anchors = b"".join(certificate.der for certificate in ca)
    context = ssl.create_default_context(cadata=anchors or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
