"""The certificate that our listeners show to mail servers (RFC 3207), opened."""

from __future__ import annotations

import ssl
from pathlib import Path

from domsec.errors import ConfigurationError


def server_context(file: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with the key and certificates of a PEM file. Raises ConfigurationError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(file, password=lambda: "")  # one that is encrypted would be asked for on a terminal
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        text = f"{file}: {reason}, expected a private key without a password, its certificate and the chain, as PEM"
        raise ConfigurationError(text) from None
    return context
