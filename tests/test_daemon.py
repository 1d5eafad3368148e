"""What long-lived processes ask of the system."""

from __future__ import annotations

import grp
import os
import socket
from pathlib import Path

import pytest

from domsec.daemon import listen_unix


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_socket_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    mask = os.umask(0o022)
    try:
        with listen_unix(str(tmp_path / "socket"), mode, group=grp.getgrgid(os.getegid()).gr_name):
            assert (tmp_path / "socket").stat().st_mode & 0o777 == mode
    finally:
        assert os.umask(mask) == 0o022


def test_a_socket_that_nobody_serves_is_replaced_and_no_other_file(tmp_path: Path) -> None:
    listen_unix(str(tmp_path / "socket"), 0o600).close()
    listen_unix(str(tmp_path / "socket"), 0o600).close()
    (tmp_path / "file").write_text("somebody's")
    with pytest.raises(OSError, match="something else than a socket is there"):
        listen_unix(str(tmp_path / "file"), 0o600)
    assert (tmp_path / "file").read_text() == "somebody's"


def test_a_link_in_place_of_the_socket_gives_nobody_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may make the socket in a folder of the user that it becomes, whom somebody may have taken over."""
    secret = tmp_path / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    path = tmp_path / "socket"
    bind = socket.socket.bind

    def exchanged(sock: socket.socket, address: str) -> None:
        bind(sock, address)
        path.unlink()
        path.symlink_to(secret)

    monkeypatch.setattr(socket.socket, "bind", exchanged)
    listen_unix(str(path), 0o666, group=grp.getgrgid(os.getegid()).gr_name).close()
    assert secret.stat().st_mode & 0o777 == 0o600
