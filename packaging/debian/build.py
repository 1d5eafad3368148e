"""Make the Debian package: `python packaging/debian/build.py [FOLDER]`, or `make deb`.

Debian 12 has none of the versions domsec needs, so they are in the package, in /usr/lib/domsec and on nobody else's
path, at the versions of requirements.lock. Compiled modules fit one minor version of Python, that of the machine which
builds; the package depends on it.
"""

from __future__ import annotations

import compileall
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from py_compile import PycInvalidationMode

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INTERPRETER = "/usr/bin/python3"
EXTRAS = ("gateway", "discovery", "hsm")
PROGRAMS = {"postinst": 0o755, "prerm": 0o755, "postrm": 0o755}
EPOCH = 1_767_225_600  # 2026-01-01, of every file: the same source makes the same package


def build(folder: Path, compression: str = "xz") -> Path:
    """The package in `folder`. Needs dpkg-deb, and Debian's Python with the minor version of the one that runs."""
    minor = _said(INTERPRETER, "-c", "import sys; print('{}.{}'.format(*sys.version_info))")
    ours = "{}.{}".format(*sys.version_info)
    if minor != ours:
        raise SystemExit(f"{INTERPRETER} is {minor}, expected {ours}: compiled modules would not fit")
    architecture = _said("dpkg", "--print-architecture")
    version = re.search(r'^__version__ = "(.+)"$', (ROOT / "src/domsec/__init__.py").read_text(), re.MULTILINE)
    assert version is not None
    with tempfile.TemporaryDirectory(prefix="domsec-deb-") as stage:
        _stage(Path(stage))
        _control(Path(stage) / "DEBIAN", version[1], architecture, minor)
        _settle(Path(stage))
        made = folder / f"domsec_{version[1]}_{architecture}.deb"
        folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)}
        command = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", stage, str(made)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return made


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _stage(stage: Path) -> None:
    library = stage / "usr/lib/domsec"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lock:
        lock.write("".join(_locked(_needed("domsec", EXTRAS))))
        lock.flush()
        _install(library, "--require-hashes", "-r", lock.name)
    _install(library, str(ROOT))
    shutil.rmtree(library / "bin", ignore_errors=True)
    compileall.compile_dir(
        library, quiet=2, workers=0, stripdir=str(stage), invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )
    _put(HERE / "launcher", stage / "usr/bin/domsec", 0o755)
    for unit in ("domsec.service", "domsec-keyd.service"):
        _put(HERE / unit, stage / "usr/lib/systemd/system" / unit)
    _put(HERE / "postfix.conf", stage / "usr/share/domsec/postfix.conf")
    for page, section in (("domsec.1", "man1"), ("domsec.toml.5", "man5")):
        _compressed(ROOT / "docs/man" / page, stage / "usr/share/man" / section / f"{page}.gz")
    documents = stage / "usr/share/doc/domsec"
    for path in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "docs/domsec.toml.example"]:
        _put(path, documents / path.name)
    _put(ROOT / "LICENSE", documents / "copyright")
    _compressed(ROOT / "CHANGELOG.md", documents / "changelog.gz")


def _install(library: Path, *what: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run(
        [*command, "--no-deps", "--upgrade", "--target", str(library), *what],
        check=True, env=os.environ | {"PIP_ROOT_USER_ACTION": "ignore"},
    )  # fmt: skip


def _needed(name: str, extras: Iterable[str] = ()) -> set[str]:
    """What a distribution that is installed here needs, and what that needs."""
    found: set[str] = {canonicalize_name(name)}
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            found |= _needed(requirement.name, requirement.extras)
    return found


def _locked(names: set[str]) -> Iterator[str]:
    """The entries of requirements.lock for these names, with their digests."""
    wanted = False
    for line in (ROOT / "requirements.lock").read_text().splitlines(keepends=True):
        if not line.startswith((" ", "#", "-")):
            wanted = canonicalize_name(re.split(r"[=\[; ]", line, maxsplit=1)[0]) in names
        if wanted:
            yield line


def _control(folder: Path, version: str, architecture: str, minor: str) -> None:
    size = sum(path.stat().st_size for path in folder.parent.rglob("*") if path.is_file()) // 1024
    following = f"{minor.partition('.')[0]}.{int(minor.partition('.')[2]) + 1}"
    folder.mkdir()
    (folder / "control").write_text(
        f"Package: domsec\nVersion: {version}\nArchitecture: {architecture}\nSection: mail\nPriority: optional\n"
        f"Maintainer: The domsec team <domsec@domsec.invalid>\nInstalled-Size: {size}\n"
        f"Depends: python3 (>= {minor}), python3 (<< {following}~), adduser, libc6\nRecommends: postfix\n"
        "Description: S/MIME security for whole domains (RFC 3183)\n"
        " A gateway beside the mail server that signs mail once for the domain, encrypts it to the other domain's\n"
        " authority, and on the other side opens it, verifies it and says what may be believed. With it come the same\n"
        " acts as commands.\n"
    )
    for name in PROGRAMS:
        _put(HERE / name, folder / name)


def _settle(stage: Path) -> None:
    """Modes and times that do not depend on who built it."""
    for path in [stage, *stage.rglob("*")]:
        program = path.name in PROGRAMS or path == stage / "usr/bin/domsec"
        path.chmod(0o755 if path.is_dir() or program else 0o644)
        os.utime(path, (EPOCH, EPOCH))


def _put(source: Path, target: Path, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _compressed(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(source.read_bytes(), mtime=EPOCH))


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
