"""What goes on in shadow mode: the message as it came, without the secret that our own mail server put into it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

import commands
import world
from domsec.gateway.harvest import Harvester
from domsec.gateway.run import _hooks
from domsec.gateway.shadow import as_it_came
from domsec.policy.configuration import Configuration
from domsec.policy.evidence import Rule
from domsec.site import load_discovery, load_site

TOKEN = Rule("header", frozenset({"acme.example"}), header="X-Domsec-Auth", token="t0ken")
CERTIFICATE = Rule("certificate", frozenset({"acme.example"}), header="X-Machine", token="t0ken")
UPSTREAM = Rule("results", frozenset({"acme.example"}), authserv_id="mx.acme.example")
PLAIN = world.build("OC")


def passed(octets: bytes, *evidence: Rule, direction: str = "outbound") -> object:
    at = world.acme_site(evidence=evidence)
    return as_it_came(at, world.transaction(octets, direction=direction))


@pytest.mark.parametrize("octets", [PLAIN, b"", b"\r\n", b"no field\r\n\r\nx", b"A: b\r\n" * 5000 + b"\r\n"])
def test_what_has_no_secret_passes_as_the_same_octets(octets: bytes) -> None:
    assert passed(octets, TOKEN, CERTIFICATE, UPSTREAM) is octets
    assert passed(octets) is octets


@pytest.mark.parametrize("many", [b"", b"A: b\r\n" * 5000], ids=["few", "more-than-any-limit"])
def test_the_secret_does_not_leave(many: bytes) -> None:
    secret = b"X-Domsec-Auth: t0ken alice\r\nX-Machine: t0ken\r\n 5E:88\r\n"
    result = b"Authentication-Results: mx.acme.example; auth=pass smtp.auth=alice\r\n"
    octets = many + result + secret + b"Received: from x by y\r\nx-domsec-auth: again\r\n" + PLAIN
    made = bytes(passed(octets, TOKEN, CERTIFICATE, UPSTREAM))  # type: ignore[call-overload]
    assert made == many + result + b"Received: from x by y\r\n" + PLAIN


def test_of_mail_from_outside_nothing_is_taken() -> None:
    octets = b"X-Domsec-Auth: t0ken alice\r\n" + PLAIN
    assert passed(octets, TOKEN, direction="inbound") is octets


@pytest.mark.parametrize("shadow", [True, False])
def test_nothing_is_recorded_or_harvested(shadow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "desk").mkdir()
    desk = commands.desk(tmp_path / "desk")
    desk.key("acme-signing").chmod(0o600)
    file = tmp_path / "domsec.toml"
    file.write_text(f"""\
domains = ["acme.example"]
[gateway]
shadow = {str(shadow).lower()}
[keys.signing]
credential = "{desk.key("acme-signing")}"
[trust]
roles = ["{desk.certificate("acme-ca")}"]
users = ["{desk.certificate("acme-ca")}"]
[outbound]
encrypt = "no"
[inbound]
harvest = "trusted"
[[outbound.evidence]]
kind = "network"
networks = ["127.0.0.0/8"]
[[peer]]
domain = "beta.example"
[store]
url = "sqlite:///{tmp_path}/store.db"
""")
    configuration = Configuration.load(file)
    taken: list[object] = []
    monkeypatch.setattr(Harvester, "take", lambda _, brought, *about: taken.extend(brought))
    hooks = _hooks(load_site(configuration), load_discovery(configuration))
    outbound = hooks.handler(world.transaction(PLAIN))
    assert outbound.log["action"] == "relay"
    hooks.handler(world.transaction(world.build("S(OC)"), "eve@acme.example", direction="inbound"))
    assert hooks.durable is not None
    asyncio.run(hooks.durable())
    with sqlite3.connect(tmp_path / "store.db") as connection:
        (recorded,) = connection.execute("SELECT count(*) FROM audit").fetchone()
    assert (recorded, len(taken)) == ((0, 0) if shadow else (1, 1))
    assert (hooks.shadow is not None) == shadow
