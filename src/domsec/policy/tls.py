"""The certificate that our listeners show to mail servers (RFC 3207), opened."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from domsec.errors import ConfigurationError


def server_context(file: Path, clients: Sequence[Path] = ()) -> ssl.SSLContext:
    """TLS 1.2 or newer with the key and certificates of a PEM file; clients are asked for a certificate by these CAs.

    One without is welcome, one with a certificate of somebody else is not. Raises ConfigurationError.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(file, password=lambda: "")  # one that is encrypted would be asked for on a terminal
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        text = f"{file}: {reason}, expected a private key without a password, its certificate and the chain, as PEM"
        raise ConfigurationError(text) from None
    for authority in clients:
        try:
            context.load_verify_locations(authority)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ConfigurationError(f"{authority}: {reason}, expected certificates of CAs, as PEM") from None
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
