"""What docs/x400.md promises a reader holds."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import interpersonal
from domsec import oids, x400
from domsec.services.catalogue import CODES

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "x400.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    """A folder with what the examples read: acme's authority, Alice's message and her name."""
    authority = interpersonal.certified(
        "signing",
        "cn=domain-signing-authority,o=acme,c=us",
        interpersonal.address_content(surname=None),
        addresses=("domain-signing-authority@acme.example",),
        start=datetime.now(UTC),
    )
    private = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "signing.pem").write_bytes(private + authority.certificate.x509.public_bytes(Encoding.PEM))
    anchor = authority.chain[-1].x509.public_bytes(Encoding.PEM)
    (tmp_path / "ca.pem").write_bytes(anchor)
    (tmp_path / "message.p22").write_bytes(interpersonal.message())
    (tmp_path / "originator.der").write_bytes(interpersonal.or_name())
    return tmp_path


def run(example: str, folder: Path) -> str:
    command = [sys.executable, "-c", example]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.requirement("R3854-3.4-01", "R3854-4.3-01")
def test_the_examples_run_as_printed(gateway: Path) -> None:
    out, back = EXAMPLES
    name = "C=US;A= ;P=Acme;O=Acme;S=Doe;G=Alice"
    assert run(out, gateway) == f"signed-x400 {name}\n"
    assert run(back, gateway) == (
        f"S[domain](S0(OC)) domain acme.example alice@acme.example {name}\n{oids.ID_MCT_P2_1988} True\n"
    )


def test_the_table_of_contents_is_that_of_the_code() -> None:
    stated = dict(re.findall(r"^\| [^|]+ \| ([^|]+) \| `([0-9.]+)` \|$", PAGE, re.MULTILINE))
    assert stated == {
        "id-ct-contentInfo": oids.ID_CT_CONTENT_INFO,
        "id-data": oids.ID_DATA,
        "integer 22": x400.received(22, b"").type,
        "integer 2": x400.received(2, b"").type,
        "its OID": oids.ID_MCONT_MM,
    }


def test_every_flag_and_function_named_is_there() -> None:
    for code in re.findall(r"`((?:from|mapping|naming)\.[a-z0-9_]+)`", PAGE):
        assert code in CODES, code
    for name in re.findall(r"x400\.([a-z_]+)\(", PAGE):
        assert name in x400.__all__, name
