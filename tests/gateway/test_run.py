"""From a configuration to what the gateway's processes are given."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import pki
from commands import private, public
from domsec.gateway.run import load
from domsec.stores.users import Opened

ACME = pki.world().acme


def test_keys_of_users_are_opened_once_and_systemd_hears_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends who is silent for too long (WatchdogSec), and thousands of RSA keys take minutes."""
    (tmp_path / "users").mkdir()
    for name in ("alice", "bob"):
        each = ACME.user(name)
        (tmp_path / "users" / f"{name}.pem").write_bytes(private(each.key) + public(each.certificate))
    (tmp_path / "domsec.toml").write_text(
        'domains = ["acme.example"]\n[listen]\ninbound = "smtp:127.0.0.1:1"\n[next_hop]\ninbound = "smtp:127.0.0.1:2"\n'
        '[users]\nfolder = "users"\n'
    )
    opened: Opened = {}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        load(tmp_path / "domsec.toml", opened)
        heard = [systemd.recv(200) for _ in range(2)]
        load(tmp_path / "domsec.toml", opened)
        with pytest.raises(BlockingIOError):
            systemd.recv(200)
    assert heard == [b"WATCHDOG=1\nEXTEND_TIMEOUT_USEC=60000000"] * 2
    assert len(opened) == 2
