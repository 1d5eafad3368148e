"""What every long-lived process of ours asks of the system: Unix sockets, lines to systemd, a log."""

from __future__ import annotations

import contextlib
import grp
import json
import logging
import os
import socket
import stat
import sys
from datetime import UTC, datetime
from typing import Literal

BACKLOG = 1024
_PATIENCE = 60_000_000  # microseconds until we say more


def listen_unix(path: str, mode: int, *, group: str | None = None) -> socket.socket:
    """A listening Unix socket. One that nobody serves any more is replaced. Raises OSError, LookupError.

    The folder may be another user's, who may put a link in its place at any time: no link is followed here.
    """
    if reachable(path):
        raise OSError("another process listens there")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError("something else than a socket is there")
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o777 & ~mode)
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        if group is not None:
            os.chown(path, -1, grp.getgrnam(group).gr_gid, follow_symlinks=False)
        sock.listen(BACKLOG)  # nobody can connect before
    except (OSError, LookupError):
        sock.close()
        raise
    return sock


def reachable(path: str) -> bool:
    """Whether somebody listens at a UNIX socket."""
    if not os.path.exists(path):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def notify(*lines: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens where it does not ask for it."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto("\n".join(lines).encode(), "\0" + path[1:] if path[0] == "@" else path)


def takes_time() -> None:
    """Tell systemd, before something that takes seconds while we do nothing else, that we have not come to a stop."""
    notify("WATCHDOG=1", f"EXTEND_TIMEOUT_USEC={_PATIENCE}")


def announce(text: str) -> None:
    """A line for whoever started us."""
    sys.stderr.write(f"domsec: {text}\n")
    sys.stderr.flush()


def set_up_log(level: str, form: Literal["json", "text"]) -> None:
    """Send the log of all our rooms to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("domsec: %(levelname)s: %(message)s"))
    root = logging.getLogger("domsec")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False


class _JsonFormatter(logging.Formatter):
    """One JSON object a line; a traceback of ours becomes a field of it, and so does what is passed as `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "event": record.levelname.lower(),
            "text": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
