"""What another domain does to a letter before it comes to us: `domsec sign-domain` with that domain's keys."""

from __future__ import annotations

from pathlib import Path

import commands
from e2e.letters import Letter
from e2e.world import Keys, write_p12, write_pem


def protected(sent: Letter, sender: str, keys: Keys, recipient: str, theirs: Keys, folder: Path, encrypt: str) -> bytes:
    """The letter with the domain signature of `keys`; with `encrypt` "dca" encrypted to the recipient's authority."""
    for name, identity in (("signing", keys.signing), ("ca", keys.ca), ("theirs", theirs.ca)):
        write_pem(folder / f"{name}.crt", identity)
    write_pem(folder / "dca.crt", theirs.confidentiality)
    write_p12(folder / "signing.p12", keys.signing, keys.ca)
    (folder / "password").write_text("open sesame\n")
    made = commands.run(
        "sign-domain", "--credential", folder / "signing.p12", "--password-file", folder / "password",
        "--trust", folder / "ca.crt", "--trust", folder / "theirs.crt", "--cert", folder / "dca.crt",
        "--evidence", f"local:{sender}", "--encrypt", encrypt, "--rcpt", recipient, stdin=sent.octets,
    )  # fmt: skip
    assert made.code == 0, made.err
    return made.out
