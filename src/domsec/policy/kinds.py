"""What the value of an option may be: for each kind the words that describe it and the check that makes it a value.

A check takes what TOML gave and the folder that relative paths start from, and raises `ValueError` with what it found,
or `WrongItem` to point at one item of a list. `domsec.policy.options` says which option is of which kind.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Generic, Literal, TypeVar

from cryptography import x509

from domsec.errors import MalformedMessage
from domsec.mime.addresses import Mailbox, normalise_domain, parse_address
from domsec.services.peer import MAPPING_FORMS

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
W = TypeVar("W", bound=str)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EVERYWHERE = "*"  # as a destination: every domain that is not ours
ROLES = ("signing", "confidentiality", "review", "attributes")  # sections of [keys]
KEYD_USERS = "keyd:users"  # where the keys of users are, if the key process has them
KEYD_LISTS = "keyd:lists"
_LDAP_PORTS = {"ldap": 389, "ldaps": 636}
UNIX_PATH_MAXIMUM = 107  # sun_path of unix(7) is 108 octets with its closing NUL


class WrongItem(ValueError):
    """One item of a list is wrong."""

    def __init__(self, index: int, text: str) -> None:
        super().__init__(text)
        self.index = index


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """A kind of value. `expected` completes the sentence "..., expected"."""

    expected: str
    convert: Callable[[object, Path], T_co]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where mail is taken from or given to: protocol, and either a Unix socket or a host with its port."""

    protocol: str  # "smtp", "lmtp" or "milter"
    path: str | None = None
    host: str | None = None
    port: int = 0

    @property
    def address(self) -> str:
        """The place without the protocol: `unix:PATH` or `HOST:PORT`."""
        return f"unix:{self.path}" if self.path is not None else str(TcpAddress(self.host or "", self.port))

    def __str__(self) -> str:
        return f"{self.protocol}:{self.address}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host, by address or name, with a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class LdapUrl:
    """An LDAP server."""

    scheme: Literal["ldap", "ldaps"]
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class HeaderTest:
    """A header field that has a text in it: `name` in lower case; no text is any field of that name."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.text else self.name


@dataclass(frozen=True, slots=True)
class Networks:
    """Client addresses; `unix` stands for everybody who may open our Unix socket."""

    networks: tuple[Network, ...] = ()
    unix: bool = False

    def __contains__(self, client_address: object) -> bool:
        """Whether a client with this address is one of them. None is a client on a Unix socket."""
        if client_address is None:
            return self.unix
        try:
            address = ipaddress.ip_address(str(client_address))
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)

    def __str__(self) -> str:
        return ", ".join([*map(str, self.networks), *(["unix"] if self.unix else [])])


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as far as its name tells."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown(value: object) -> str:
    """A value as an administrator wrote it, short enough for a line."""
    match value:
        case bool():
            text = str(value).lower()
        case str():
            text = '"' + value.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
        case dict():
            text = "a table"
        case list():
            text = "a list"
        case _:
            text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def found(value: object) -> ValueError:
    return ValueError(shown(value))


def _boolean(value: object, _: Path) -> bool:
    if not isinstance(value, bool):
        raise found(value)
    return value


def _string(value: object, _: Path) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise found(value)
    return value


_BRACKETED = re.compile(r"[\[({<].{1,38}[\])}>]")


def _tag(value: object, path: Path) -> str:
    tag = _string(value, path)
    if not _BRACKETED.fullmatch(tag):  # what is taken out of subjects is not to be a word
        raise found(value)
    return tag


def integer(least: int, most: int | None = None) -> Kind[int]:
    """A whole number within bounds."""

    def convert(value: object, _: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise found(value)
        if value < least or (most is not None and value > most):
            raise found(value)
        return value

    bounds = f"from {least} to {most}" if most is not None else f"of {least} or more"
    return Kind(f"a whole number {bounds}", convert)


def choice(*words: W) -> Kind[W]:
    """One of a few words. The declared type of the kind says which literals they are."""

    def convert(value: object, _: Path) -> W:
        for word in words:
            if isinstance(value, str) and value == word:
                return word
        raise found(value)

    return Kind("one of " + ", ".join(f'"{word}"' for word in words), convert)


def list_of(kind: Kind[T], expected: str) -> Kind[tuple[T, ...]]:
    """A list of values of another kind."""

    def convert(value: object, base: Path) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise found(value)
        values: list[T] = []
        for index, item in enumerate(value):
            try:
                values.append(kind.convert(item, base))
            except ValueError as problem:
                raise WrongItem(index, str(problem)) from None
        return tuple(values)

    return Kind(expected, convert)


def one_or_more(kind: Kind[T], expected: str) -> Kind[tuple[T, ...]]:
    """A value of another kind by itself, or a list of some."""
    several = list_of(kind, expected)

    def convert(value: object, base: Path) -> tuple[T, ...]:
        if not isinstance(value, list):
            return (kind.convert(value, base),)
        if not value:
            raise ValueError("an empty list")
        return several.convert(value, base)

    return Kind(expected, convert)


def _mode(value: object, _: Path) -> int:
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return int(value, 8)
    raise found(value)


def _existing(value: object, base: Path, *, fit: Callable[[Path], bool]) -> Path:
    path = base / _string(value, base)
    try:
        if not path.exists():
            raise ValueError(f"{shown(value)}, which does not exist")
        if not fit(path):
            raise found(value)
    except OSError as error:
        raise ValueError(f"{shown(value)}, which cannot be looked at: {error.strerror}") from None
    return path


def _file(value: object, base: Path) -> Path:
    return _existing(value, base, fit=Path.is_file)


def _file_or_folder(value: object, base: Path) -> Path:
    return _existing(value, base, fit=lambda path: path.is_file() or path.is_dir())


def _folder(value: object, base: Path) -> Path:
    return _existing(value, base, fit=Path.is_dir)


def _new_file(value: object, base: Path) -> Path:
    path = base / _string(value, base)
    if path.is_dir():
        raise ValueError(f"{shown(value)}, which is a folder")
    if not path.parent.is_dir():
        raise ValueError(f"{shown(value)}, whose folder does not exist")
    return path


def _credential(value: object, base: Path) -> str:
    text = _string(value, base)
    return text if text.startswith("pkcs11:") else str(_file(text, base))


def _or_held(convert: Callable[[object, Path], T], *names: str) -> Callable[[object, Path], T | str]:
    """A place for keys, or the key process, which has them by one of some names."""

    def place(value: object, base: Path) -> T | str:
        text = _string(value, base)
        if not text.startswith("keyd:"):
            return convert(value, base)
        if text not in names:
            raise found(value)
        return text

    return place


def _unix_path(value: object, base: Path) -> Path:
    path = base / _string(value, base)
    if len(str(path).encode()) > UNIX_PATH_MAXIMUM:
        raise ValueError(f"{shown(value)}, which is longer than {UNIX_PATH_MAXIMUM} octets")
    return path


def _host_and_port(text: str) -> TcpAddress | None:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})", text)
    if not match or not 0 < int(match[3]) < 65536:
        return None
    if match[1]:
        try:
            ipaddress.IPv6Address(match[1])
        except ValueError:
            return None
    return TcpAddress(match[1] or match[2], int(match[3]))


def _tcp_address(value: object, base: Path) -> TcpAddress:
    address = _host_and_port(_string(value, base))
    if address is None:
        raise found(value)
    return address


def _ldap_url(value: object, base: Path) -> LdapUrl:
    match = re.fullmatch(r"(ldaps?)://((?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?)/?", _string(value, base))
    if not match:
        raise found(value)
    scheme: Literal["ldap", "ldaps"] = "ldaps" if match[1] == "ldaps" else "ldap"
    ported = re.search(r":[0-9]+\Z", match[2]) and not match[2].endswith("]")
    place = _host_and_port(match[2] if ported else f"{match[2]}:{_LDAP_PORTS[scheme]}")
    if place is None:
        raise found(value)
    return LdapUrl(scheme, place.host, place.port)


def _endpoint(value: object, base: Path) -> Endpoint:
    protocol, _, place = _string(value, base).partition(":")
    if protocol not in {"smtp", "lmtp"}:
        raise found(value)
    return _at(protocol, place, value, base)


def _milter(value: object, base: Path) -> Endpoint:
    return _at("milter", _string(value, base), value, base)


def _at(protocol: str, place: str, value: object, base: Path) -> Endpoint:
    if place.startswith("unix:"):
        path = str(base / place.removeprefix("unix:"))
        if place == "unix:" or len(path.encode()) > UNIX_PATH_MAXIMUM:
            raise ValueError(f"{shown(value)}, whose path is empty or longer than {UNIX_PATH_MAXIMUM} octets")
        return Endpoint(protocol, path=path)
    address = _host_and_port(place)
    if address is None:
        raise found(value)
    return Endpoint(protocol, host=address.host, port=address.port)


def _networks(value: object, base: Path) -> Networks:
    if not isinstance(value, list):
        raise found(value)
    networks: list[Network] = []
    for index, item in enumerate(value):
        if item == "unix":
            continue
        try:
            networks.append(ipaddress.ip_network(_string(item, base)))
        except ValueError as problem:
            reason = f"{shown(item)}, which has host bits set" if "host bits" in str(problem) else shown(item)
            raise WrongItem(index, reason) from None
    return Networks(tuple(networks), "unix" in value)


def _domain(value: object, base: Path) -> str:
    text = _string(value, base)
    try:
        return normalise_domain(text)
    except MalformedMessage as problem:
        raise ValueError(f"{shown(value)}: {problem}") from None


def _mailbox(value: object, base: Path) -> Mailbox:
    text = _string(value, base)
    try:
        return parse_address(text)
    except MalformedMessage as problem:
        raise ValueError(f"{shown(value)}: {problem}") from None


def _digest(value: object, base: Path) -> str:
    text = _string(value, base).replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise found(value)
    return text


def _oid(value: object, base: Path) -> str:
    text = _string(value, base)
    if not re.fullmatch(r"[0-2](\.(0|[1-9][0-9]*))+", text):
        raise found(value)
    return text


def _field_name(value: object, base: Path) -> str:
    text = _string(value, base)
    if not re.fullmatch(r"[!-9;-~]+", text):
        raise found(value)
    return text


def _header_test(value: object, base: Path) -> HeaderTest:
    name, _, text = _string(value, base).partition(":")
    return HeaderTest(_field_name(name.strip(), base).lower(), text.strip())


def _who(value: object, base: Path) -> Mailbox | str:
    return _mailbox(value, base) if "@" in _string(value, base) else _domain(value, base)


def _to_whom(value: object, base: Path) -> Mailbox | str:
    return EVERYWHERE if value == EVERYWHERE else _who(value, base)


def _token(value: object, base: Path) -> str:
    text = _string(value, base)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise found(value)
    return text


def _store_url(value: object, base: Path) -> str:
    text = _string(value, base)
    if text.startswith(("postgresql://", "postgresql+psycopg://")):
        return text
    if text.startswith("sqlite:///") and text != "sqlite:///":
        return "sqlite:///" + str(_new_file(text.removeprefix("sqlite:///"), base))
    raise found(value)


def _name(value: object, base: Path) -> bytes:
    try:
        return x509.Name.from_rfc4514_string(_string(value, base)).public_bytes()
    except ValueError:
        raise found(value) from None


def _destination(value: object, base: Path) -> str:
    return EVERYWHERE if value == EVERYWHERE else _domain(value, base)


def _duration(value: object, base: Path) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", _string(value, base))
    if not match:
        raise found(value)
    return int(match[1]) * {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[match[2]]


def _forms(value: object, base: Path) -> frozenset[str]:
    return frozenset(list_of(choice(*sorted(MAPPING_FORMS)), "").convert(value, base))


BOOLEAN = Kind("true or false", _boolean)
STRING = Kind("a text of printable characters", _string)
TAG = Kind("a text in brackets, of at most 40 characters", _tag)
STRINGS = list_of(STRING, "a list of texts")
MODE = Kind('file permissions in octal such as "0660"', _mode)
FILE = Kind("an existing file", _file)
FILES = list_of(FILE, "a list of existing files")
PLACES = list_of(Kind("an existing file or folder", _file_or_folder), "a list of existing files or folders")
FOLDER = Kind("an existing folder", _folder)
NEW_FILE = Kind("a file in an existing folder", _new_file)
CREDENTIAL = Kind("an existing file or a pkcs11: URI", _credential)
CREDENTIALS = one_or_more(CREDENTIAL, "an existing file, a pkcs11: URI, or a list of them")
ROLE_CREDENTIALS = one_or_more(
    Kind("an existing file, a pkcs11: URI or keyd:ROLE", _or_held(_credential, *(f"keyd:{role}" for role in ROLES))),
    "an existing file, a pkcs11: URI, keyd:ROLE, or a list of them",
)
LIST_CREDENTIAL = Kind(f"an existing file, a pkcs11: URI or {KEYD_LISTS}", _or_held(_credential, KEYD_LISTS))
USER_FOLDER = Kind(f"an existing folder or {KEYD_USERS}", _or_held(_folder, KEYD_USERS))
UNIX_PATH = Kind("the path of a Unix socket", _unix_path)
USERS = list_of(Kind("a name of letters, digits, dots and hyphens", _token), "a list of names of users")
PLACE_OR_PLACES = one_or_more(
    Kind("an existing file or folder", _file_or_folder), "an existing file or folder, or a list of them"
)
TCP_ADDRESS = Kind('host and port such as "127.0.0.1:9183"', _tcp_address)
LDAP_URL = Kind('a server such as "ldaps://ldap.beta.example" or "ldap://192.0.2.1:389"', _ldap_url)
ENDPOINT = Kind('"smtp:HOST:PORT", "smtp:unix:PATH", "lmtp:HOST:PORT" or "lmtp:unix:PATH"', _endpoint)
MILTER = Kind('"unix:PATH" or "HOST:PORT"', _milter)
NETWORKS = Kind('a list of networks such as "192.0.2.0/24", or "unix"', _networks)
DOMAIN = Kind("a mail domain", _domain)
DOMAINS = list_of(DOMAIN, "a list of mail domains")
ADDRESS = Kind("a mail address", _mailbox)
ADDRESSES = list_of(ADDRESS, "a list of mail addresses")
DESTINATIONS = list_of(Kind('a mail domain or "*"', _destination), 'a list of mail domains, or "*" for all but ours')
DURATION = Kind('a time such as "30m", "36h" or "7d"', _duration)
DIGESTS = list_of(
    Kind("a SHA-256 digest", _digest), "a list of SHA-256 digests of certificates, 64 hexadecimal digits each"
)
OID = Kind("an object identifier in dotted form", _oid)
OIDS = list_of(OID, "a list of object identifiers in dotted form")
TEXT_OR_TEXTS = one_or_more(STRING, "a text, or a list of texts")
WHO = one_or_more(Kind("a mail address or domain", _who), "a mail address or domain, or a list of them")
TO_WHOM = one_or_more(
    Kind('a mail address, a domain or "*"', _to_whom),
    'a mail address, a domain or "*" for all but ours, or a list of them',
)
HEADER_TESTS = one_or_more(
    Kind('a field such as "Sensitivity: company-confidential"', _header_test),
    'the name of a header field, a colon and a text, such as "Sensitivity: company-confidential", or a list of such',
)
FIELD_NAME = Kind("the name of a header field", _field_name)
TOKEN = Kind("a name of letters, digits, dots and hyphens", _token)
STORE_URL = Kind('"sqlite:///PATH" in an existing folder, or "postgresql://..."', _store_url)
NAME = Kind('a distinguished name such as "CN=Acme,O=Acme,C=US" (RFC 4514)', _name)
FORMS = Kind(f"a list of name forms out of {', '.join(sorted(MAPPING_FORMS))}", _forms)
