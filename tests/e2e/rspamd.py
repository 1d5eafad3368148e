"""rspamd as a milter, with its rules for the test message of spam filters (GTUBE) and no others."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from e2e.world import wait_until

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

CONFIGURATION = """\
options {{
  pidfile = "{folder}/pid"; url_tld = "{folder}/suffixes"; dns {{ nameserver = ["127.0.0.1"]; timeout = 0.1s; }}
}}
logging {{ type = "console"; level = "error"; }}
actions {{ reject = 15; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{port}"; count = 1; milter = yes; timeout = 10s;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
"""


@contextlib.contextmanager
def running(folder: Path, port: int) -> Iterator[None]:
    folder.mkdir()
    (folder / "suffixes").write_text("example\n")  # the whole list of public suffixes takes it a quarter of a minute
    (folder / "rspamd.conf").write_text(CONFIGURATION.format(folder=folder, port=port))
    with (folder / "log").open("wb") as log:
        command = ["rspamd", "-f", "-i", "-c", str(folder / "rspamd.conf")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: _listens(port), f"rspamd ({folder / 'log'})")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
