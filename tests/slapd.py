"""A real OpenLDAP `slapd` with two trees, dc=beta,dc=example and o=Beta,c=US, and whatever entries a test gives it.

with slapd.server([slapd.person("bob", "bob@beta.example", [certificate])]) as server:
    server.plain, server.secure      ports of ldap:// (StartTLS offered) and ldaps://
    server.ca                        who certified "localhost", as PEM
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from domsec.cms.certificates import Certificate
from tls import certify

SUFFIXES = ("dc=beta,dc=example", "o=Beta,c=US")
READER = ("cn=reader,dc=beta,dc=example", "let me in")
PROGRAM = "/usr/sbin/slapd"
_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
access to dn.subtree="ou=hidden,dc=beta,dc=example" by dn.exact="{reader}" read by anonymous auth by * none
access to attrs=userPassword by anonymous auth by * none
access to * by * read
"""
_DATABASE = """
database mdb
suffix "{suffix}"
directory {folder}/{number}
index mail eq
"""
_TOP = """\
dn: dc=beta,dc=example
objectClass: domain
dc: beta

dn: cn=reader,dc=beta,dc=example
objectClass: person
sn: reader
userPassword: let me in

dn: ou=hidden,dc=beta,dc=example
objectClass: organizationalUnit

dn: o=Beta,c=US
objectClass: organization

"""


@dataclass(frozen=True)
class Server:
    plain: int
    secure: int
    ca: bytes
    process: subprocess.Popen[bytes]


def missing() -> str:
    """Why there can be no server, or nothing."""
    return "" if Path(PROGRAM).exists() else "slapd is not installed"


def person(
    uid: str, mail: str, certificates: Iterable[Certificate | bytes] = (), *, pkcs7: Sequence[bytes] = (), ou: str = ""
) -> str:
    """An entry of a person, as LDIF."""
    place = f"ou={ou},dc=beta,dc=example" if ou else "dc=beta,dc=example"
    lines = [f"dn: uid={uid},{place}", "objectClass: inetOrgPerson", "cn: x", "sn: x"]
    lines.append(f"mail:: {base64.b64encode(mail.encode()).decode()}")
    lines += [_binary("userCertificate;binary", each) for each in certificates]
    lines += [_binary("userSMIMECertificate", each) for each in pkcs7]
    return "\n".join(lines) + "\n\n"


def authority(name: str, certificates: Iterable[Certificate], *, mail: str = "") -> str:
    """An entry of an authority under its mapped name, as LDIF."""
    kind = "inetOrgPerson" if mail else "device"
    lines = [f"dn: {name}", f"objectClass: {kind}", "objectClass: pkiUser"]
    lines += ["sn: x", "cn: x", f"mail: {mail}"] if mail else []
    lines += [_binary("userCertificate;binary", each) for each in certificates]
    return "\n".join(lines) + "\n\n"


def _binary(attribute: str, value: Certificate | bytes) -> str:
    octets = value.der if isinstance(value, Certificate) else value
    return f"{attribute}:: {base64.b64encode(octets).decode()}"


@contextlib.contextmanager
def server(entries: Iterable[str]) -> Iterator[Server]:
    """A server with these entries, until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="domsec-slapd-"))
    try:
        ca = certify(folder)
        text = _CONFIGURATION.format(folder=folder, reader=READER[0])
        for number, suffix in enumerate(SUFFIXES):
            (folder / str(number)).mkdir()
            text += _DATABASE.format(folder=folder, suffix=suffix, number=number)
        (folder / "slapd.conf").write_text(text)
        records = (_TOP + "".join(entries)).split("\n\n")
        for suffix in SUFFIXES:
            mine = "\n\n".join(r for r in records if r.partition("\n")[0].lower().endswith(suffix.lower()))
            command = ["/usr/sbin/slapadd", "-f", str(folder / "slapd.conf"), "-b", suffix, "-s"]
            done = subprocess.run(command, input=mine.encode() + b"\n\n", capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode()
        plain, secure = _free_ports()
        places = f"ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{secure}"
        process = subprocess.Popen(
            [PROGRAM, "-f", str(folder / "slapd.conf"), "-h", places, "-d", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(plain, process)
            yield Server(plain, secure, ca, process)
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("slapd did not start") from None
            time.sleep(0.02)
        else:
            return
