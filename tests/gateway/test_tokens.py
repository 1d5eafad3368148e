"""A gateway whose keys are in a token of SoftHSM2: real processes, from SMTP to SMTP."""

from __future__ import annotations

import os
import signal
import smtplib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import pki
import softhsm
import world
from domsec.cms import enveloped_data
from domsec.cms.certificates import Certificate
from domsec.mime import smime
from e2e.domsec_process import Domsec
from e2e.wire import Sink, free_ports
from softhsm import PIN, Token

TEXT = """\
domains = ["acme.example"]
[listen]
outbound = "smtp:127.0.0.1:{outbound}"
inbound = "smtp:127.0.0.1:{inbound}"
workers = 2
[next_hop]
outbound = "smtp:127.0.0.1:{sink}"
inbound = "smtp:127.0.0.1:{sink}"
[keys.signing]
credential = "{signing}"
certificates = "certificates.pem"
password_file = "pin"
[keys.confidentiality]
credential = "{confidentiality}"
certificates = "certificates.pem"
password_file = "pin"
[trust]
roles = ["ca.pem"]
users = ["ca.pem"]
[[outbound.evidence]]
kind = "network"
networks = ["127.0.0.0/8"]
[[peer]]
domain = "beta.example"
encrypt = "no"
[store]
url = "sqlite:///domsec.db"
"""


class Gateway(Domsec):
    """A gateway that has two keys in a token, and its PIN in a file of its own."""

    def __init__(self, folder: Path, token: Token, keys: dict[str, Certificate]) -> None:
        super().__init__(folder / "domsec.toml", folder / "gateway.log")
        self.folder, self.token = folder, token
        self.sink = Sink()
        self.outbound, self.inbound = free_ports(2)
        self.authority = keys["confidentiality"]
        uris = {role: token.uri(f"gateway-{role}", **{"pin-source": ""}) for role in keys}
        ports = {"outbound": self.outbound, "inbound": self.inbound, "sink": self.sink.port}
        self.configuration.write_text(TEXT.format(**ports, **uris))
        (folder / "certificates.pem").write_bytes(b"".join(map(softhsm.pem, keys.values())))
        (folder / "ca.pem").write_bytes(softhsm.pem(pki.world().acme.ca.certificate))
        self.give_pin(PIN)

    def give_pin(self, pin: str) -> None:
        (self.folder / "pin").write_text(f"{pin}\n")

    def signs(self) -> bool:
        """Whether a message leaves with our signature. Raises SMTPDataError for one that is refused."""
        self._send(self.outbound, "bob@beta.example", world.build("OC"))
        verdict = world.judge(self.sink.sent[-1].content, world.context(now=datetime.now(UTC)))
        return verdict.accepted and verdict.domain == "acme.example"

    def opens(self) -> bool:
        """Whether one that is encrypted to the key in the token is delivered opened. Raises as `signs`."""
        sealed = enveloped_data.encrypt(world.TEXT, [self.authority], cipher="aes256-gcm")
        octets = world.message(smime.pkcs7_mime(sealed, "authEnveloped-data"), sender="X <x@other.example>")
        self._send(self.inbound, "alice@acme.example", octets)
        return world.SECRET in self.sink.sent[-1].content

    def _send(self, port: int, to: str, octets: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=40) as client:
            client.sendmail("alice@acme.example", [to], octets)


@pytest.fixture
def gateway(token: Token, tmp_path: Path) -> Iterator[Gateway]:
    """One that is not started; its certificates are valid now."""
    now = datetime.now(UTC) - timedelta(hours=1)
    keys: dict[str, Certificate] = {}
    for role in ("signing", "confidentiality"):
        name = f"gateway-{role}"
        key = token.public_keys.get(name) or token.generate(name, "p256")
        keys[role] = softhsm.certificate(key, role, "acme.example", now=now)  # type: ignore[arg-type]
    made = Gateway(tmp_path, token, keys)
    yield made
    made.kill()
    made.sink.close()


@pytest.mark.requirement("R3183-6-02")
def test_a_token_signs_and_decrypts_in_every_worker(gateway: Gateway) -> None:
    gateway.start()
    assert all(gateway.signs() and gateway.opens() for _ in range(8))


def test_mail_waits_while_the_token_is_out(gateway: Gateway) -> None:
    """451 to both directions, so nothing is lost, held or sent as it is; then it is used again, without a restart."""
    gateway.start()
    workers = gateway.workers
    there, away = gateway.token.folder / "tokens", gateway.token.folder / "away"
    there.rename(away)
    try:
        for attempt in (gateway.signs, gateway.opens):
            with pytest.raises(smtplib.SMTPDataError, match="451"):
                attempt()
    finally:
        away.rename(there)
    assert gateway.sink.sent == []
    assert gateway.signs()
    assert gateway.opens()
    assert gateway.workers == workers


def test_a_wrong_pin_lets_nothing_start_and_changes_nothing_that_runs(gateway: Gateway) -> None:
    gateway.give_pin("wrong")
    with pytest.raises(RuntimeError, match=r"ended with status 2: .*: the token did not take the PIN"):
        gateway.start()
    gateway.give_pin(PIN)
    gateway.start()
    gateway.give_pin("wrong")
    begun = gateway.log.stat().st_size
    os.kill(gateway.pid, signal.SIGHUP)
    deadline = time.monotonic() + 40
    while "reload failed, the old configuration stays" not in (said := gateway.log.read_text()[begun:]):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    assert gateway.signs()
    assert gateway.opens()
