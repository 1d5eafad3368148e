"""Postfix instances from configuration directories of their own, beside whatever Postfix the machine runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SERVICES = """\
pickup     unix       n - n 60    1 pickup
cleanup    unix       n - n -     0 cleanup
qmgr       unix       n - n 300   1 qmgr
tlsmgr     unix       - - n 1000? 1 tlsmgr
rewrite    unix       - - n -     - trivial-rewrite
bounce     unix       - - n -     0 bounce
defer      unix       - - n -     0 bounce
trace      unix       - - n -     0 bounce
verify     unix       - - n -     1 verify
flush      unix       n - n 1000? 0 flush
proxymap   unix       - - n -     - proxymap
proxywrite unix       - - n -     1 proxymap
smtp       unix       - - n -     - smtp
relay      unix       - - n -     - smtp
showq      unix       n - n -     - showq
error      unix       - - n -     - error
retry      unix       - - n -     - error
discard    unix       - - n -     - discard
local      unix       - n n -     - local
virtual    unix       - n n -     - virtual
lmtp       unix       - - n -     - lmtp
anvil      unix       - - n -     1 anvil
scache     unix       - - n -     1 scache
postlog    unix-dgram n - n -     1 postlogd
"""

# What a laboratory needs and an installation does not: short waits, no DNS, folders of its own.
_LABORATORY = {
    "compatibility_level": "3.6",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "disable_dns_lookups": "yes",
    "smtpd_peername_lookup": "no",
    "biff": "no",
    "queue_run_delay": "2s",
    "minimal_backoff_time": "2s",
    "maximal_backoff_time": "4s",
    "transport_retry_time": "2s",
    "smtpd_client_connection_count_limit": "0",
    "smtp_tls_security_level": "none",
}


def missing() -> str | None:
    """Why Postfix instances cannot be had here, None if they can."""
    if os.geteuid() != 0:
        return "not root: Postfix cannot be started"
    for program, package in (("postfix", "postfix"), ("postmulti", "postfix"), ("saslpasswd2", "sasl2-bin")):
        if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
            return f"{program} is missing: apt-get install {package}"
    if not list(Path("/usr/lib").glob("*/sasl2/libplain.so*")):
        return "SASL PLAIN is missing: apt-get install libsasl2-modules"
    return None


@dataclass(frozen=True)
class Instance:
    """One Postfix: `folder`/etc, spool, lib and maillog."""

    folder: Path

    @property
    def etc(self) -> Path:
        return self.folder / "etc"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def log(self) -> str:
        path = self.folder / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def configure(self, main: str, master: str, **options: str) -> None:
        """Write main.cf and master.cf: what is given, the services every Postfix has, and the laboratory's own.

        A service that is given stands in place of the one every Postfix has.
        """
        given = {tuple(line.split()[:2]) for line in master.splitlines() if not line.startswith(" ")}
        services = [line for line in _SERVICES.splitlines(keepends=True) if tuple(line.split()[:2]) not in given]
        for name in ("etc", "spool", "lib"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        shutil.chown(self.folder / "lib", "postfix")
        (self.etc / "main.cf").write_text(main)
        (self.etc / "master.cf").write_text("".join(services) + master)
        options = {
            **_LABORATORY,
            "queue_directory": str(self.spool),
            "data_directory": str(self.folder / "lib"),
            "maillog_file": str(self.folder / "maillog"),
            **options,
        }
        self._run("postconf", "-e", *(f"{key}={value}" for key, value in options.items()))

    def start(self) -> None:
        self._run("postfix", "start")

    def stop(self) -> None:
        """Stop at once, whatever is under way. Nothing happens if it does not run."""
        self._run("postfix", "abort", check=False)

    def flush(self) -> None:
        self._run("postqueue", "-f")

    def queue(self) -> list[str]:
        """Queue ids of what waits or is under way."""
        lines = self._run("postqueue", "-j").splitlines()
        return [match[1] for line in lines if (match := re.search(r'"queue_id": "(\w+)"', line))]

    def release(self, queue_id: str) -> None:
        """Let go what is on hold."""
        self._run("postsuper", "-H", queue_id)

    def waiting_for(self) -> str:
        """The queue as postqueue(1) shows it."""
        return self._run("postqueue", "-p")

    def complaints(self) -> str:
        """What Postfix says about its configuration: unknown parameters, wrong owners and the like."""
        asked = (("postconf", "-n"), ("postconf", "-P"), ("postfix", "check"))
        return "".join(self._ask(program, *arguments).stderr for program, *arguments in asked)

    def _run(self, program: str, *arguments: str, check: bool = True) -> str:
        done = self._ask(program, *arguments)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(done.args)}: {done.stderr or done.stdout}\n{self.log[-2000:]}")
        return done.stdout

    def _ask(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program, "-c", str(self.etc), *arguments]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
