"""Gateways of domains without any Postfix: each with its folder, its keys and two SMTP listeners on loopback.

somebody ─▶ outbound ─▶ next hop            next hop of others ─▶ inbound ─▶ sink
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

import pki
from commands import private, public
from domsec.cms.credential import credential_from_private_key
from domsec.services import layers
from e2e.domsec_process import Domsec
from e2e.letters import Letter, fields_of
from e2e.wire import Sent, Sink, Tap
from e2e.world import Keys, wait_until

ROLES = ("signing", "confidentiality")


@dataclass
class Side:
    """One domain with its gateway, and what it hands to others."""

    keys: Keys
    gateway: Domsec
    outbound: int
    inbound: int

    def send(self, sender: str, recipients: list[str], message: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", self.outbound, timeout=30) as client:
            client.sendmail(sender, recipients, message)

    def from_internet(self, sender: str, recipients: list[str], message: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", self.inbound, timeout=30) as client:
            client.sendmail(sender, recipients, message)


def pem(identity: pki.Identity, ca: pki.Identity) -> bytes:
    """Key, certificate and that of the CA."""
    return private(identity.key) + public(identity.certificate) + public(ca.certificate)


def side(
    folder: Path,
    keys: Keys,
    ports: list[int],
    next_hop: int,
    sink: Sink,
    *,
    trusted: Iterable[pki.Identity] = (),
    naming: str = "strict",
    more: str = "",
) -> Side:
    """A folder with configuration and keys. `trusted` are CAs for roles; `more` are further sections of the file."""
    folder.mkdir()
    for role in ROLES:
        (folder / f"{role}.pem").write_bytes(pem(getattr(keys, role), keys.ca))
        (folder / f"{role}.pem").chmod(0o600)
    anchors = [each.certificate.x509.public_bytes(Encoding.PEM) for each in trusted]
    (folder / "roots.pem").write_bytes(b"".join(anchors))
    (folder / "domsec.toml").write_text(
        f"""\
domains = ["{keys.domain}"]
[listen]
outbound = "smtp:127.0.0.1:{ports[0]}"
inbound = "smtp:127.0.0.1:{ports[1]}"
workers = 1
hostname = "gateway.{keys.domain}"
[next_hop]
outbound = "smtp:127.0.0.1:{next_hop}"
inbound = "smtp:127.0.0.1:{sink.port}"
[keys.signing]
credential = "signing.pem"
naming = "{naming}"
[keys.confidentiality]
credential = "confidentiality.pem"
naming = "{naming}"
[[outbound.evidence]]
kind = "network"
networks = ["127.0.0.0/8"]
[store]
url = "sqlite:///domsec.db"
{"[trust]" if anchors else ""}
{'roles = ["roots.pem"]' if anchors else ""}
{more}
"""
    )
    return Side(keys, Domsec(folder / "domsec.toml", folder / "domsec.log"), *ports)


def arrived(sink: Sink, sent: Letter, address: str) -> bytes:
    """What the next hop was given for somebody."""
    wait_until(lambda: any(sent.within(each.content) for each in sink.to(address)), f"mail for {address}")
    return sent.arrived(lambda: (each.content for each in sink.to(address)))


def on(tap: Tap, sent: Letter) -> Sent:
    (found,) = (each for each in tap.sent if sent.within(each.content))
    return found


def inside(sent: Sent, keys: Keys) -> str:
    """The layers of what is encrypted to an authority."""
    key = credential_from_private_key(keys.confidentiality.key, keys.confidentiality.certificate)
    message = layers.peel(sent.content, [key])
    return " ".join(layer.kind for layer in message.spine())


def exchanged(one: Side, other: Side, tap: Tap, sink: Sink, sent: Letter, author: str, reader: str) -> dict[str, Any]:
    """Have a letter go from one domain to the other: it arrives, and crosses protected. What the other's log says, with
    the field of results that its reader sees as `result`."""
    one.send(author, [reader], sent.octets)
    got = arrived(sink, sent, reader)
    assert sent.secret in got
    (result,) = fields_of(got, "Authentication-Results")
    assert "smime=pass" in result
    crossed = on(tap, sent)
    assert sent.secret not in crossed.content
    assert inside(crossed, other.keys) == "auth_enveloped signed null content"
    record = other.gateway.journal()[-1]
    assert (record["level"], record["domain"]) == ("domain", one.keys.domain)
    return {**record, "result": result}
