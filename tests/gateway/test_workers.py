"""domsec.gateway.workers: real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from domsec.daemon import notify
from domsec.errors import ConfigurationError
from domsec.gateway.workers import listen

PROGRAM = """
import os, sys, tomllib
from domsec.errors import ConfigurationError, StoreUnavailable
from domsec.gateway.relay import NextHop
from domsec.gateway.server import Listener, Settings
from domsec.gateway.workers import Hooks, Service, json_journal, serve
from domsec.pipeline import Decision

where = sys.argv[1]

def handler(transaction):
    if transaction.sender == "die@x.example":
        os._exit(9)
    return Decision(discard=tuple(range(len(transaction.recipients))), log={"text": settings()["text"]})

def settings():
    with open(where + "/config.toml", "rb") as file:
        return tomllib.load(file)

def load():
    config = settings()
    if "wrong" in config:
        raise ConfigurationError("config.toml:1: wrong")
    def hooks():
        if "unstartable" in config:
            raise StoreUnavailable("domsec.db: no database")
        return Hooks(handler, None, json_journal(os.open(where + "/journal", os.O_CREAT | os.O_APPEND | os.O_WRONLY)))
    hop = NextHop("127.0.0.1:9")
    return Service(
        Settings(config["hostname"], "i", drain=5.0, linger=config["linger"]),
        tuple(Listener(address, "smtp", "outbound", hop) for address in config["listen"]),
        hooks, workers=config["workers"], metrics=config["metrics"])

sys.exit(serve(load, lambda text: print(text, file=sys.stderr, flush=True)))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Process:
    def __init__(self, where: Path, **config: object) -> None:
        self.where = where
        self.port, self.metrics_port = free_port(), free_port()
        self.unix = where / "gw.sock"
        self.config = {
            "hostname": "one.example", "text": "first", "workers": 2, "linger": 10.0,
            "metrics": f"127.0.0.1:{self.metrics_port}",
            "listen": [f"127.0.0.1:{self.port}", f"unix:{self.unix}"], **config,
        }  # fmt: skip
        self.write()
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(where / "notify"))
        self.notified.settimeout(20)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(where)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(where / "notify")},
        )

    def write(self, **changes: object) -> None:
        self.config.update(changes)
        lines = (f"{key} = {json.dumps(value)}\n" for key, value in self.config.items())
        (self.where / "config.toml").write_text("".join(lines))

    def said(self, words: str) -> str:
        """The next line on standard error with these words."""
        for line in self.process.stderr:
            if words in line:
                return line
        raise AssertionError(f"ended without saying {words!r}")

    def send(self, sender: str = "a@x.example") -> str:
        """The host name of the greeting."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
            client.sendmail(sender, ["b@x.example"], b"Subject: x\r\n\r\nx\r\n")
            return client.ehlo()[1].split(b"\n")[0].decode()

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=20) as answer:
            return answer.read().decode()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    made: list[Process] = []

    def make(**config: object) -> Process:
        made.append(Process(tmp_path, **config))
        return made[-1]

    yield make
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        each.process.stderr.close()
        each.notified.close()


def test_it_serves_reports_and_stops(start) -> None:
    gateway = start()
    assert gateway.said("ready on ").startswith(f"ready on 127.0.0.1:{gateway.port}, unix:")
    for _ in range(4):
        assert gateway.send() == "one.example"
    assert 'domsec_messages_total{direction="outbound"} 4\n' in gateway.page("/metrics")
    assert "domsec_workers_ready 2\n" in gateway.page("/metrics")
    assert gateway.page("/readyz") == "ok\n"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(gateway.unix))
        assert sock.recv(100).startswith(b"220 one.example")
    assert gateway.unix.stat().st_mode & 0o777 == 0o660
    assert gateway.stop() == 0
    assert not gateway.unix.exists()
    records = [json.loads(line) for line in (gateway.where / "journal").read_text().splitlines()]
    assert [record["recipients"][0]["action"] for record in records] == ["discarded"] * 4


def test_systemd_is_told(start) -> None:
    gateway = start(workers=1)
    gateway.said("ready on ")
    messages = set()
    while b"READY=1" not in messages:
        messages.add(gateway.notified.recv(1000))
    gateway.stop()
    while b"STOPPING=1" not in messages:
        messages.add(gateway.notified.recv(1000))


def test_a_worker_that_dies_is_replaced_and_the_client_keeps_its_message(start) -> None:
    gateway = start(workers=1)
    gateway.said("ready on ")
    gateway.send()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        gateway.send("die@x.example")
    assert "status 9" in gateway.said("ended")
    assert gateway.send() == "one.example"  # waits in the backlog of the shared socket until the new one is there
    assert gateway.stop() == 0


def test_reload_keeps_sockets_and_lets_transactions_finish(start) -> None:
    gateway = start(workers=1)
    gateway.said("ready on ")
    old = smtplib.SMTP("127.0.0.1", gateway.port, timeout=20)
    old.ehlo()
    old.mail("a@x.example")
    old.rcpt("b@x.example")
    gateway.write(hostname="two.example", text="second", listen=[f"127.0.0.1:{gateway.port}"])
    gateway.process.send_signal(signal.SIGHUP)
    gateway.said("ready on ")
    assert old.data(b"Subject: old\r\n\r\n")[0] == 250
    while gateway.send() != "two.example":
        time.sleep(0.05)
    assert not gateway.unix.exists()
    old.close()
    assert gateway.stop() == 0


def test_reload_ends_no_connection_that_is_there(start) -> None:
    """Neither one that has said nothing yet nor one between two messages."""
    gateway = start(workers=1)
    gateway.said("ready on ")
    new, between = (smtplib.SMTP("127.0.0.1", gateway.port, timeout=20) for _ in range(2))
    between.sendmail("a@x.example", ["b@x.example"], b"Subject: 1\r\n\r\n")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.said("ready on ")
    while "domsec_workers_ready 1\n" not in gateway.page("/metrics"):  # the old one has been told
        time.sleep(0.05)
    for client in (new, between):
        client.sendmail("a@x.example", ["b@x.example"], b"Subject: 2\r\n\r\n")
        client.quit()
    assert gateway.stop() == 0


def test_a_client_that_never_goes_is_not_waited_for_for_ever(start) -> None:
    gateway = start(workers=1, linger=0.2)
    gateway.said("ready on ")
    client = smtplib.SMTP("127.0.0.1", gateway.port, timeout=20)
    client.ehlo()
    gateway.process.send_signal(signal.SIGHUP)
    gateway.said("ready on ")
    assert client.getreply()[0] == 421
    assert gateway.stop() == 0


def test_stopping_waits_for_no_idle_client(start) -> None:
    """Nor where a reload has let it stay."""
    gateway = start(workers=1, linger=1000.0)
    gateway.said("ready on ")
    client = smtplib.SMTP("127.0.0.1", gateway.port, timeout=20)
    gateway.process.send_signal(signal.SIGHUP)
    gateway.said("ready on ")
    assert client.ehlo()[0] == 250
    gateway.process.send_signal(signal.SIGTERM)
    assert client.getreply()[0] == 421
    assert gateway.process.wait(20) == 0


@pytest.mark.parametrize("change", [{"wrong": 1}, {"unstartable": 1}])
def test_a_reload_that_fails_changes_nothing(start, change) -> None:
    gateway = start(workers=1)
    gateway.said("ready on ")
    gateway.write(hostname="two.example", **change)
    gateway.process.send_signal(signal.SIGHUP)
    gateway.said("the old configuration stays")
    assert gateway.send() == "one.example"
    assert gateway.stop() == 0


def test_workers_that_cannot_start_end_it(start) -> None:
    gateway = start(unstartable=1)
    assert gateway.process.wait(20) == 4
    said = gateway.process.stderr.read()
    assert "a worker cannot start: domsec.db: no database" in said
    assert "Traceback" not in said


def test_workers_end_when_their_parent_is_killed(start) -> None:
    gateway = start(workers=1)
    gateway.said("ready on ")
    gateway.process.kill()
    gateway.process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", gateway.port)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.1)
    raise AssertionError("a worker still listens")


@pytest.mark.parametrize("address", ["nonsense", "unix:relative", "127.0.0.1:99999", "127.0.0.1:x", "192.0.2.1:25"])
def test_an_address_that_cannot_be_listened_on_is_a_configuration_error(address: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot listen on"):
        listen(address)


def test_a_unix_socket_left_behind_is_replaced_but_not_one_in_use(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    first = listen(address)
    with pytest.raises(ConfigurationError, match="another process listens"):
        listen(address)
    first.close()
    listen(address, 0o600).close()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
