"""Other people's programs, each behind the same four functions.

    sign, seal    the entity with one layer more; RefusedError if the program will not
    read          the content of an entity that domsec made, with every layer verified or opened by the program

What has no MIME of its own gets the CMS cut out, and put into an entity, by `cases`; OpenSSL and Bouncy Castle read
MIME themselves. Each has a folder of its own, so that several test processes do not meet.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.hashes import SHA1

import judges
from interop import cases, keys
from interop.cases import CASES, Case, NoOptionError, RefusedError, Sealed, Signed

LIMIT = 60  # seconds; what hangs is stopped


class Peer(Protocol):
    """A program with its keys. `holds` names those it has the private part of."""

    holds: frozenset[str]

    def version(self) -> str: ...
    def sign(self, entity: bytes, layer: Signed) -> bytes: ...
    def seal(self, entity: bytes, layer: Sealed) -> bytes: ...
    def read(self, case: Case, entity: bytes, key: str) -> bytes: ...


class Reader(Protocol):
    """A peer that reads a message one layer after the other."""

    def verify(self, entity: bytes, layer: Signed) -> bytes: ...
    def open(self, entity: bytes, layer: Sealed, key: str) -> bytes: ...


def read_layers(reader: Reader, case: Case, entity: bytes, key: str) -> bytes:
    for layer in case.layers:
        if isinstance(layer, Sealed):
            entity = reader.open(entity, layer, key)
        else:
            content = reader.verify(entity, layer)
            entity = cases.wrap(content) if layer.form == "direct" else content
    return entity


@dataclass
class Files:
    """Keys in files, room for messages, and programs run there."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _number: count[int] = field(default_factory=count)

    def certificate(self, name: str) -> str:
        return str(self.folder / "certs" / f"{name}.pem")

    def private(self, name: str) -> str:
        return str(self.folder / "keys" / f"{name}.key")

    @property
    def anchor(self) -> str:
        return str(self.folder / "trust" / "0.pem")

    def new(self, octets: bytes | None = None) -> Path:
        path = self.folder / f"message-{next(self._number)}"
        if octets is not None:
            path.write_bytes(octets)
        return path

    def run(self, *command: str, given: bytes = b"") -> str:
        """What the program said, on either stream. Raises RefusedError for every exit status but 0."""
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            timeout=LIMIT,
            check=False,
            cwd=self.folder,
            env={**os.environ, "LC_ALL": "C", **self.environment},
        )
        said = (done.stderr + done.stdout).decode(errors="replace")
        if done.returncode != 0:
            raise RefusedError(f"{command[0]} ended with {done.returncode}: {said[:1500]}")
        return said


# --- OpenSSL --------------------------------------------------------------------------------------------------------

_OPENSSL_CIPHERS = {f"aes{bits}-{mode}": f"-aes-{bits}-{mode}" for bits in (128, 256) for mode in ("cbc", "gcm")}


@dataclass
class OpenSSL:
    files: Files
    holds: frozenset[str] = frozenset({"rsa", "rsa-b", "p256", "p384"})

    def version(self) -> str:
        return " ".join(self.files.run("openssl", "version").split()[:2])

    def sign(self, entity: bytes, layer: Signed) -> bytes:
        options = ["-sign", "-md", layer.digest]
        # what is signed in the clear has to be canonical; what OpenSSL made itself has bare line feeds
        options += ["-crlfeol"] if layer.detached else ["-binary", "-nodetach"]
        options += ["-keyid"] if layer.by_key_identifier else []
        options += ["-econtent_type", layer.content_type] if layer.form == "direct" else []
        for name in layer.by:
            options += ["-signer", self.files.certificate(name), "-inkey", self.files.private(name)]
            options += ["-keyopt", "rsa_padding_mode:pss"] if layer.pss else []
        return self._cms(cases.unwrap(entity) if layer.form == "direct" else entity, *options)

    def seal(self, entity: bytes, layer: Sealed) -> bytes:
        if layer.originator:
            raise NoOptionError("openssl cms has no option for originatorInfo")
        options = ["-encrypt", "-binary", _OPENSSL_CIPHERS[layer.cipher]]
        for name in layer.to:
            options += ["-recip", self.files.certificate(name)]
            if layer.padding == "oaep":
                options += ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"]
        return self._cms(entity, *options)

    def read(self, case: Case, entity: bytes, key: str) -> bytes:
        return read_layers(self, case, entity, key)

    def verify(self, entity: bytes, layer: Signed) -> bytes:
        return self._cms(entity, "-verify", "-CAfile", self.files.anchor)

    def open(self, entity: bytes, layer: Sealed, key: str) -> bytes:
        recipient = ("-recip", self.files.certificate(key), "-inkey", self.files.private(key))
        return self._cms(entity, "-decrypt", *recipient)

    def _cms(self, given: bytes, *options: str) -> bytes:
        target = self.files.new()
        self.files.run("openssl", "cms", *options, "-in", str(self.files.new(given)), "-out", str(target))
        return target.read_bytes()


# --- NSS ------------------------------------------------------------------------------------------------------------


@dataclass
class NSS:
    files: Files
    holds: frozenset[str] = frozenset({"rsa", "rsa-b"})

    def __post_init__(self) -> None:
        (self.files.folder / "db").mkdir()
        self.files.run("certutil", "-N", *self._db, "--empty-password")
        self.files.run("certutil", "-A", *self._db, "-n", "authority", "-t", ",C,", "-i", self.files.anchor)
        for path in sorted((self.files.folder / "p12").iterdir()):
            self.files.run("pk12util", "-i", str(path), *self._db, "-W", keys.PASSWORD)

    @property
    def _db(self) -> tuple[str, ...]:
        return ("-d", f"sql:{self.files.folder / 'db'}")

    def version(self) -> str:
        return f"NSS {_package('libnss3-tools')}"

    def sign(self, entity: bytes, layer: Signed) -> bytes:
        if layer.pss or layer.by_key_identifier or layer.form == "direct" or len(layer.by) > 1:
            raise NoOptionError("cmsutil -S has no option for this")
        options = ("-S", "-N", layer.by[0], "-G", "-H", layer.digest.upper(), *(("-T",) if layer.detached else ()))
        return cases.carry(self._cmsutil(entity, *options), layer, entity)

    def seal(self, entity: bytes, layer: Sealed) -> bytes:
        if layer.originator or layer.padding == "oaep":
            raise NoOptionError("cmsutil -E has no option for this")
        return cases.carry(self._cmsutil(entity, "-E", "-r", ",".join(layer.to)), layer)

    def read(self, case: Case, entity: bytes, key: str) -> bytes:
        return read_layers(self, case, entity, key)

    def verify(self, entity: bytes, layer: Signed) -> bytes:
        der, beside = cases.cut(entity)
        source = str(self.files.new(der))
        detached = ("-c", str(self.files.new(beside))) if beside is not None else ()
        said = self.files.run("cmsutil", "-D", "-n", "-h", "1", *self._db, "-i", source, *detached)
        if (good := said.count("GoodSignature")) != len(layer.by):
            raise RefusedError(f"cmsutil finds {good} good signatures: {said}")
        return self._cmsutil(der, "-D", *detached)

    def open(self, entity: bytes, layer: Sealed, key: str) -> bytes:
        # the database has all keys; which of them opens it is not to be chosen
        return self._cmsutil(cases.cut(entity)[0], "-D")

    def _cmsutil(self, given: bytes, *options: str) -> bytes:
        target = self.files.new()
        self.files.run("cmsutil", *options, *self._db, "-i", str(self.files.new(given)), "-o", str(target))
        return target.read_bytes()


# --- GnuPG ----------------------------------------------------------------------------------------------------------


@dataclass
class Gpgsm:
    """gpgsm with an agent of its own, which `close` ends."""

    files: Files
    holds: frozenset[str] = frozenset({"rsa", "rsa-b"})

    def __post_init__(self) -> None:
        # not in the folder of the test: the path of a socket has 107 octets at most
        self.home = Path(tempfile.mkdtemp(prefix="domsec-gpgsm-"))
        (self.home / "gpg-agent.conf").write_text("allow-loopback-pinentry\ns2k-count 65536\ndisable-scdaemon\n")
        (self.home / "gpgsm.conf").write_text("batch\nno-tty\nyes\ndisable-crl-checks\npinentry-mode loopback\n")
        fingerprint = keys.authority().certificate.x509.fingerprint(SHA1())
        (self.home / "trustlist.txt").write_text(f"{fingerprint.hex().upper()} S relax\n")
        self.files.environment = {**self.files.environment, "GNUPGHOME": str(self.home)}

    def load(self) -> None:
        self._gpgsm("--import", self.files.anchor)
        for name in keys.KINDS:
            if name in self.holds:
                self._import_key(name)
            else:  # an EC key in a PKCS #12 makes gpgsm 2.2 crash: interop-notes 3
                self._gpgsm("--import", self.files.certificate(name))

    def _import_key(self, name: str) -> None:
        """gpgsm 2.2 cannot decrypt one in some hundred PKCS #12 files: it gets the key again under another salt."""
        for _ in range(4):
            try:
                self._gpgsm("--import", str(self.files.new(keys.as_pkcs12(name))))
            except RefusedError as error:
                if "error parsing or decrypting the PKCS#12 file" not in str(error):
                    raise
            else:
                return
        raise RefusedError(f"gpgsm takes no PKCS #12 file with the key {name}")

    def close(self) -> None:
        try:
            self.files.run("gpgconf", "--kill", "all")
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    def version(self) -> str:
        return self.files.run("gpgsm", "--version").splitlines()[0]

    def sign(self, entity: bytes, layer: Signed) -> bytes:
        if layer.pss or layer.by_key_identifier or layer.form == "direct":
            raise NoOptionError("gpgsm has no option for this")
        users = [option for name in layer.by for option in ("-u", keys.address(name))]
        how = "--detach-sign" if layer.detached else "--sign"
        digest = ("--digest-algo", layer.digest.upper())
        return cases.carry(self._to_file(entity, *digest, *users, how), layer, entity)

    def seal(self, entity: bytes, layer: Sealed) -> bytes:
        if layer.originator or layer.padding == "oaep":
            raise NoOptionError("gpgsm has no option for this")
        cipher = {"aes128-cbc": "AES", "aes256-cbc": "AES256"}.get(layer.cipher, layer.cipher)
        recipients = [option for name in layer.to for option in ("-r", keys.address(name))]
        return cases.carry(self._to_file(entity, "--cipher-algo", cipher, *recipients, "--encrypt"), layer)

    def read(self, case: Case, entity: bytes, key: str) -> bytes:
        return read_layers(self, case, entity, key)

    def verify(self, entity: bytes, layer: Signed) -> bytes:
        der, beside = cases.cut(entity)
        source, target = str(self.files.new(der)), self.files.new()
        if beside is None:
            said = self._gpgsm("--status-fd", "1", "-o", str(target), "--verify", source)
        else:
            said = self._gpgsm("--status-fd", "1", "--verify", source, str(self.files.new(beside)))
        # without a signature at all it ends with 0 too
        if (good := said.count("] GOODSIG ")) != len(layer.by):
            raise RefusedError(f"gpgsm finds {good} good signatures: {said}")
        return target.read_bytes() if beside is None else beside

    def open(self, entity: bytes, layer: Sealed, key: str) -> bytes:
        return self._to_file(cases.cut(entity)[0], "--decrypt")

    def _to_file(self, given: bytes, *options: str) -> bytes:
        target = self.files.new()
        self._gpgsm("-o", str(target), *options, str(self.files.new(given)))
        return target.read_bytes()

    def _gpgsm(self, *options: str) -> str:
        return self.files.run("gpgsm", "--passphrase-fd", "0", *options, given=keys.PASSWORD.encode() + b"\n")


# --- GnuTLS ---------------------------------------------------------------------------------------------------------


@dataclass
class GnuTLS:
    files: Files
    holds: frozenset[str] = frozenset()

    def version(self) -> str:
        return f"GnuTLS {self.files.run('certtool', '--version').splitlines()[0].split()[-1]}"

    def sign(self, entity: bytes, layer: Signed) -> bytes:
        if layer.by_key_identifier or layer.form == "direct" or len(layer.by) > 1:
            raise NoOptionError("certtool --p7-sign has no option for this")
        (name,) = layer.by
        target = self.files.new()
        self.files.run(
            "certtool",
            "--p7-detached-sign" if layer.detached else "--p7-sign",
            "--p7-time",
            *("--load-certificate", self.files.certificate(name), "--load-privkey", self.files.private(name)),
            *(("--sign-params", "RSA-PSS") if layer.pss else ()),
            *("--hash", layer.digest.upper(), "--infile", str(self.files.new(entity))),
            *("--outder", "--outfile", str(target)),
        )
        return cases.carry(target.read_bytes(), layer, entity)

    def seal(self, entity: bytes, layer: Sealed) -> bytes:
        self.files.run("certtool", "--p7-encrypt")  # there is no such option, nor another
        raise AssertionError("certtool has learnt to encrypt")

    def read(self, case: Case, entity: bytes, key: str) -> bytes:
        return read_layers(self, case, entity, key)

    def verify(self, entity: bytes, layer: Signed) -> bytes:
        der, beside = cases.cut(entity)
        target = self.files.new()
        said = self.files.run(
            "certtool",
            *("--p7-verify", "--p7-show-data", "--inder", "--load-ca-certificate", self.files.anchor),
            *("--infile", str(self.files.new(der)), "--outfile", str(target)),
            *(("--load-data", str(self.files.new(beside))) if beside is not None else ()),
        )
        if (good := said.count("Signature status: ok")) != len(layer.by):
            raise RefusedError(f"certtool finds {good} good signatures: {said}")
        return target.read_bytes() if beside is None else beside

    def open(self, entity: bytes, layer: Sealed, key: str) -> bytes:
        self.files.run("certtool", "--p7-decrypt")
        raise AssertionError("certtool has learnt to decrypt")


# --- Bouncy Castle --------------------------------------------------------------------------------------------------


@dataclass
class BouncyCastle:
    """The kit of tests/oracle: one Java process makes messages as they are asked for, one for each key reads all."""

    files: Files
    holds: frozenset[str] = frozenset(keys.KINDS) - {"ed25519"}

    def __post_init__(self) -> None:
        self.maker = subprocess.Popen(
            judges.java("Oracle", "make", str(self.files.folder)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._seen: dict[str, Mapping[str, judges.Seen]] = {}

    def close(self) -> None:
        self.maker.communicate(timeout=LIMIT)

    def version(self) -> str:
        return f"Bouncy Castle {_package('libbcpkix-java')}"

    def sign(self, entity: bytes, layer: Signed) -> bytes:
        flags = f"|md={layer.digest.upper()}" + "|pss" * layer.pss + "|ski" * layer.by_key_identifier
        job = ["sign", *(f"signer={name}{flags}" for name in layer.by), f"ctype={layer.content_type}"]
        content = cases.unwrap(entity) if layer.form == "direct" else entity
        return cases.carry(self._make(content, *job, *(["detached"] if layer.detached else [])), layer, entity)

    def seal(self, entity: bytes, layer: Sealed) -> bytes:
        how = {"x25519": "x25519", "p256": "ecdh", "p384": "ecdh"}
        rsa = "oaep" if layer.padding == "oaep" else "rsa"
        job = ["encrypt", *(f"recip={name}:{how.get(name, rsa)}" for name in layer.to)]
        job += [f"originfo={layer.originator}"] if layer.originator else []
        return cases.carry(self._make(entity, *job, f"alg={layer.cipher.replace('-', '')}"), layer)

    def _make(self, content: bytes, *job: str) -> bytes:
        target = self.files.new()
        assert self.maker.stdin
        assert self.maker.stdout
        print("\t".join((*job, f"in={self.files.new(content)}", f"out={target}")), file=self.maker.stdin, flush=True)
        said = self.maker.stdout.readline().strip()
        assert said, "the maker has ended"
        if said != "ok":
            raise RefusedError(said)
        return target.read_bytes()

    def read(self, case: Case, entity: bytes, key: str) -> bytes:
        found = self._what_is_seen(key)[case.name] if entity == cases.made_by_domsec(case.name) else None
        if found is None:
            found = self._judge({"one": entity}, key)["one"]
        if found["error"]:
            raise RefusedError(str(found["error"]))
        *theirs, content = found["layers"] or [{"type": "nothing"}]
        for seen, layer in zip(theirs, case.layers, strict=False):
            if not seen["valid"] or ("signers" in seen and len(seen["signers"]) != len(layer.by)):  # type: ignore[union-attr]
                raise RefusedError(str(seen))
        if len(theirs) != len(case.layers) or content["type"] != "content":
            raise RefusedError(str(found["layers"]))
        return content_with_digest(str(content["body_sha256"]))

    def _what_is_seen(self, key: str) -> Mapping[str, judges.Seen]:
        """All that domsec made for this key, in one run: a Java process takes long to start."""
        if key not in self._seen:
            wanted = [case.name for case in CASES.values() if key in (case.readers or ("rsa",))]
            self._seen[key] = self._judge({name: cases.made_by_domsec(name) for name in wanted}, key)
        return self._seen[key]

    def _judge(self, entities: Mapping[str, bytes], key: str) -> Mapping[str, judges.Seen]:
        folder = self.files.new()
        shutil.copytree(self.files.folder / "certs", folder / "certs")
        shutil.copytree(self.files.folder / "trust", folder / "trust")
        (folder / "keys").mkdir()
        shutil.copy(self.files.private(key), folder / "keys")
        messages = {name: cases.HEADER + entity for name, entity in entities.items()}
        return judges.bouncycastle(messages, folder, folder)


def content_with_digest(digest: str) -> bytes:
    """The text of all cases, if that is what has this digest."""
    return cases.TEXT if hashlib.sha256(cases.BODY).hexdigest() == digest else b"something else"


# --- all of them ----------------------------------------------------------------------------------------------------

TITLES = {
    "openssl": "OpenSSL `cms`",
    "nss": "NSS `cmsutil`",
    "gpgsm": "GnuPG `gpgsm`",
    "gnutls": "GnuTLS `certtool`",
    "bouncycastle": "Bouncy Castle",
}
_PROGRAMS = {
    "openssl": ("openssl",),
    "nss": ("cmsutil", "certutil", "pk12util"),
    "gpgsm": ("gpgsm", "gpg-agent", "gpgconf"),
    "gnutls": ("certtool",),
}


def missing(name: str) -> list[str]:
    """What a peer needs and is not here."""
    if name == "bouncycastle":
        return judges.missing()
    return [program for program in _PROGRAMS[name] if shutil.which(program) is None]


def start(name: str, folder: Path, stack: ExitStack) -> Peer:
    """A peer with its keys in `folder`; what it leaves running ends with `stack`."""
    files = Files(keys.files(folder))
    if name == "gpgsm":
        gpgsm = Gpgsm(files)
        stack.callback(gpgsm.close)
        gpgsm.load()
        return gpgsm
    if name == "bouncycastle":
        castle = BouncyCastle(files)
        stack.callback(castle.close)
        return castle
    simple: dict[str, type[OpenSSL] | type[NSS] | type[GnuTLS]] = {"openssl": OpenSSL, "nss": NSS, "gnutls": GnuTLS}
    return simple[name](files)


@functools.cache
def _package(name: str) -> str:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    return done.stdout or "of an unknown version"
