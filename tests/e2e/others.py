"""Mail programs of others, as far as they can be asked without a screen: what they open and verify.

OpenSSL is what mutt calls. NSS is what Thunderbird has inside.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import judges
import pki
from interop import keys
from interop.peers import NSS, Files, OpenSSL, missing

Program = OpenSSL | NSS


def program(name: str, folder: Path, person: pki.Identity, anchor: pki.Identity) -> Program:
    """The program with one person's key, and one anchor it trusts. Skips where it is not installed."""
    if lacking := missing(name):
        pytest.skip(f"needs {', '.join(lacking)}")
    judges.write_keys(folder, {"me": person}, [anchor.certificate])
    (folder / "p12").mkdir()
    (folder / "p12" / "me.p12").write_bytes(keys.pkcs12_of("me", person))
    return OpenSSL(Files(folder)) if name == "openssl" else NSS(Files(folder))
