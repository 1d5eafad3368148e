"""The Debian package, built, installed, used and purged in a root file system of its own (an overlay over this one)."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "packaging" / "debian"
BOOT = Path(__file__).with_name("boot.sh")
TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin"

# Everything below runs in one namespace with the overlay as its root; what it writes is in memory and gone afterwards.
IN_AN_OVERLAY = """\
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cp "$2" "$1/root/tmp/domsec.deb"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
exec chroot "$1/root" /bin/sh -ec "$3"
"""
LIFE = r"""
cd /tmp
dpkg -i domsec.deb > /dev/null
echo "version: $(domsec --version)"
echo "user: $(id -un domsec), state: $(stat -c '%U %a' /var/lib/domsec), etc: $(stat -c '%U:%G %a' /etc/domsec)"
cd /etc/domsec
mkdir roles
domsec cert issue --ca-name "acme.example CA" -o ca.pem --certificate roles/ca.pem
domsec cert issue --ca ca.pem --role signing --domain acme.example -o signing.pem
cat > domsec.toml <<'END'
domains = ["acme.example"]
[listen]
outbound = "lmtp:unix:/var/lib/domsec/outbound.sock"
workers = 1
[next_hop]
outbound = "smtp:127.0.0.1:9"
[keys.signing]
credential = "signing.pem"
[trust]
roles = ["roles"]
[[outbound.evidence]]
kind = "network"
networks = ["unix"]
[store]
url = "sqlite:////var/lib/domsec/domsec.db"
END
chown -R root:domsec /etc/domsec; chmod 640 domsec.toml; chown domsec signing.pem; chmod 600 signing.pem; rm ca.pem
runuser -u domsec -- domsec config check --config domsec.toml 2>&1
runuser -u domsec -- domsec gateway run --config domsec.toml 2> /tmp/log &
gateway=$!
for i in $(seq 600); do grep -q "domsec: ready" /tmp/log && break; sleep 0.1; done
grep "domsec: ready" /tmp/log || cat /tmp/log
kill -TERM $(pgrep -u domsec -o -f "gateway run"); wait $gateway && echo "stopped: 0"
dpkg --purge domsec 2>&1 | grep kept || true
echo "left: $(ls -m /var/lib/domsec) $(ls /usr/bin/domsec /usr/lib/domsec 2>/dev/null)"
"""


def exposure(said: str, unit: str) -> float:
    """systemd's own measure, 0 (nothing may be done) to 10."""
    found = re.search(rf"Overall exposure level for {unit}.service: (\d+\.\d+)", said)
    assert found is not None, said
    return float(found[1])


def _why_not() -> str | None:
    if os.geteuid() != 0:
        return "not root: no file system of its own for the package"
    for program in ("dpkg-deb", "unshare", "systemd-analyze"):
        if shutil.which(program, path=TOOLS) is None:
            return f"{program} is missing"
    tried = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w && "
         "mount -t overlay o -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt"], capture_output=True, check=False,
    )  # fmt: skip
    return "no overlay can be mounted here" if tried.returncode else None


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := _why_not():
        pytest.skip(reason)
    build = cast("Callable[[Path, str], Path]", runpy.run_path(str(FOLDER / "build.py"))["build"])
    return build(tmp_path_factory.mktemp("debian"), "none")


@pytest.mark.slow
@pytest.mark.xdist_group("e2e")
@pytest.mark.timeout(600)
def test_it_is_installed_runs_as_its_own_user_and_leaves_mail_behind(package: Path, tmp_path: Path) -> None:
    command = ["unshare", "-m", "-p", "-f", "sh", "-c", IN_AN_OVERLAY, "sh", str(tmp_path), str(package), LIFE]
    environment = {"PATH": TOOLS, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=500)
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"version: domsec \d+\.\d+\.\d+\S*", said[0])
    assert said[1] == "user: domsec, state: domsec 700, etc: root:domsec 750"
    assert "domsec.toml: nothing is wrong with it" in done.stdout
    assert "domsec: ready on unix:/var/lib/domsec/outbound.sock" in said
    assert "stopped: 0" in said
    assert "domsec: /var/lib/domsec is kept, remove it by hand" in said
    assert re.fullmatch(
        r"left: domsec\.db\b.* ", said[-1]
    )  # with what SQLite keeps beside it, and nothing of the package


@pytest.mark.slow
@pytest.mark.xdist_group("e2e")
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    any(shutil.which(program, path=f"/lib/systemd:{TOOLS}") is None for program in ("systemd", "ip", "smtp-sink")),
    reason="systemd, ip or smtp-sink is missing",
)
def test_systemd_runs_it_in_its_sandbox(package: Path, tmp_path: Path) -> None:
    """The unit as it is, started by a systemd of its own: what is forbidden to it does not keep it from its work."""
    said = tmp_path / "said"
    (tmp_path / "overlay").mkdir()
    said.mkdir()
    command = [
        "unshare", "-m", "-p", "-f", "-C", "-n", "--kill-child",
        "sh", str(BOOT), str(tmp_path / "overlay"), str(package), str(said),
    ]  # fmt: skip
    environment = {"PATH": TOOLS, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment, timeout=500
    )
    if "cgroup2" in done.stderr:
        pytest.skip("no cgroups for a systemd here")
    words = (said / "words").read_text()
    logs = "".join(path.read_text() for path in said.glob("domsec*"))
    *lines, score, score_of_keys, last = words.splitlines()
    assert lines == [
        "started: active, notify, as domsec",
        "sent: yes",
        "signed: 1",
        "reloaded: the same process",
        "wrong configuration: refused, active",
        "killed: active again",
        "sent again: yes",
        "key process killed: sent again",
        "keys: active, as domsec-keyd",
    ], words + logs
    assert exposure(score, "domsec") < 2.0
    assert exposure(score_of_keys, "domsec-keyd") < 2.0
    assert last == "stopped: success"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
@pytest.mark.parametrize(("unit", "beside_postfix"), [("domsec", False), ("domsec", True), ("domsec-keyd", False)])
def test_the_service_is_hardened(tmp_path: Path, unit: str, *, beside_postfix: bool) -> None:
    path = tmp_path / f"{unit}.service"
    written = (FOLDER / path.name).read_text()
    path.write_text(written + ((FOLDER / "postfix.conf").read_text() if beside_postfix else ""))
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": TOOLS})
    assert exposure(done.stdout, unit) < 2.0
