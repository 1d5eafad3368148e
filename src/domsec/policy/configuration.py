"""The configuration file: TOML in, a `Configuration` of frozen values out, or every mistake in it at once.

`Configuration.load` checks what the file and the files it names show by themselves. `domsec.policy.check` goes on and
opens keys and anchors.
"""

# ruff: noqa: RUF009  (sections are frozen values, so their defaults may be shared)

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from domsec.errors import ConfigurationError
from domsec.limits import DEFAULT, Limits
from domsec.mime.addresses import within
from domsec.policy.kinds import (
    CREDENTIALS,
    KEYD_LISTS,
    KEYD_USERS,
    LIST_CREDENTIAL,
    ROLE_CREDENTIALS,
    ROLES,
    Endpoint,
    WrongItem,
    is_loopback,
    shown,
)
from domsec.policy.lines import KeyPath, key_lines
from domsec.policy.options import (
    SECTIONS,
    Boundary,
    Client,
    ConfidentialityKey,
    DirectoryOptions,
    Evidence,
    Fresh,
    GatewayOptions,
    General,
    Inbound,
    Key,
    Keyd,
    Keys,
    Labels,
    Listen,
    ListOptions,
    Log,
    NextHop,
    Notices,
    Outbound,
    PeerOptions,
    Review,
    RuleOptions,
    Store,
    Translator,
    Trust,
    UserKeys,
    Web,
    options,
)
from domsec.services.peer import Peer
from domsec.trust.path import AnchorSet

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S")
LoadAnchors = Callable[[Sequence[Path]], AnchorSet]

MAXIMUM_SIZE = 1024 * 1024  # octets of a configuration file


@dataclass(frozen=True, slots=True)
class Problem:
    """Something an administrator has to change, or should know of where `severity` is "warning"."""

    file: Path
    line: int | None
    text: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """All options, with their defaults where the file says nothing. `lines` says where each stands in the file."""

    path: Path
    domains: tuple[str, ...]
    listen: Listen = Listen()
    next_hop: NextHop = NextHop()
    gateway: GatewayOptions = GatewayOptions()
    keys: Keys = Keys()
    keyd: Keyd = Keyd()
    users: UserKeys = UserKeys()
    trust: Trust = Trust()
    revocation: Fresh = Fresh()
    directories: tuple[DirectoryOptions, ...] = ()
    outbound: Outbound = Outbound()
    inbound: Inbound = Inbound()
    peers: tuple[PeerOptions, ...] = ()
    rules: tuple[RuleOptions, ...] = ()
    labels: Labels = Labels()
    reviews: tuple[Review, ...] = ()
    lists: tuple[ListOptions, ...] = ()
    boundaries: tuple[Boundary, ...] = ()
    store: Store = Store()
    web: Web = Web()
    client: Client = Client()
    limits: Limits = DEFAULT
    notices: Notices = Notices()
    log: Log = Log()
    lines: Mapping[KeyPath, int] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, path: Path) -> Configuration:
        """Read a configuration file. Relative paths in it start from its folder.

        Raises ConfigurationError with all problems of the file. Keys and certificates are not opened.
        """
        reader = _Reader.open(path)
        configuration = _configuration(reader)
        if configuration is not None:
            found = _contradictions(configuration, reader.wrong_sections)
            reader.problems += (p for p in found if p.line not in reader.wrong_lines)
        if configuration is None or reader.problems:
            raise _error(reader.problems)
        return configuration

    @property
    def authserv_id(self) -> str:
        """Our name in Authentication-Results."""
        return self.inbound.authserv_id or self.domains[0]

    def serves(self, domain: str) -> bool:
        """Whether a mail domain is one of ours or lies below one."""
        return within(domain, self.domains)

    def problem(self, text: str, *path: str | int, severity: Literal["error", "warning"] = "error") -> Problem:
        """A problem at the place of an option, or of the section around it."""
        return Problem(self.path, _nearest_line(self.lines, path), text, severity)


def load_peers(path: Path) -> tuple[PeerOptions, ...]:
    """Read a file that holds nothing but `[[peer]]` tables. Raises ConfigurationError with all its problems."""
    reader = _Reader.open(path)
    reader.refuse_unknown(reader.document, (), {"peer"})
    agreements = reader.tables(PeerOptions, "peer")
    lines = reader.lines
    reader.problems += (
        Problem(reader.path, _nearest_line(lines, ("peer", index, option)), text)
        for text, index, option in _agreements(agreements)
    )
    if reader.problems:
        raise _error(reader.problems)
    return agreements


def files_of(configuration: Configuration) -> Iterator[tuple[Path, bool]]:
    """Files and folders that the options name, and whether there is a secret in them. They need not be there.

    Keys in tokens and in the key process are named by no file. Sockets, the store and what tables name are not among
    them.
    """
    for section in _sections(configuration):
        for name, option in ((f.name, f.metadata.get("option")) for f in dataclasses.fields(section)):
            value = getattr(section, name)
            for item in value if isinstance(value, tuple) else (value,):
                key = option is not None and option[0] in (CREDENTIALS, ROLE_CREDENTIALS, LIST_CREDENTIAL)
                if isinstance(item, Path) or (key and not str(item).startswith(("pkcs11:", "keyd:"))):
                    users = isinstance(section, UserKeys) and name == "folder"
                    yield Path(item), key or users or name in ("password_file", "token_file")


def _sections(section: DataclassInstance) -> Iterator[DataclassInstance]:
    """A section and those in it."""
    yield section
    for field_ in dataclasses.fields(section):
        value = getattr(section, field_.name)
        for item in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(item) and not isinstance(item, type):
                yield from _sections(item)


def peers(agreements: Sequence[PeerOptions], load_anchors: LoadAnchors) -> tuple[Peer, ...]:
    """The agreements as RFC 3183's services want them. Raises what `load_anchors` raises."""
    return tuple(_peer(agreement, load_anchors) for agreement in agreements)


def _peer(agreement: PeerOptions, load_anchors: LoadAnchors) -> Peer:
    same = {f.name: getattr(agreement, f.name) for f in dataclasses.fields(PeerOptions) if f.name != "anchors"}
    return Peer(**same, anchors=load_anchors(agreement.anchors) if agreement.anchors else None)


def _configuration(reader: _Reader) -> Configuration | None:
    top = {section.name.partition(".")[0] for section in SECTIONS if section.name}
    general = reader.section(General, (), top)
    keys = reader.table(("keys",))
    reader.refuse_unknown(keys, ("keys",), set(ROLES))
    evidence = reader.tables(Evidence, "outbound", "evidence")
    outbound = reader.section(Outbound, ("outbound",), {"evidence"}) or Outbound()
    translators = reader.tables(Translator, "labels", "translator")
    labels = reader.section(Labels, ("labels",), {"translator"}) or Labels()
    sections = {
        "listen": reader.section(Listen, ("listen",)) or Listen(),
        "next_hop": reader.section(NextHop, ("next_hop",)) or NextHop(),
        "gateway": reader.section(GatewayOptions, ("gateway",)) or GatewayOptions(),
        "keyd": reader.section(Keyd, ("keyd",)) or Keyd(),
        "users": reader.section(UserKeys, ("users",)) or UserKeys(),
        "trust": reader.section(Trust, ("trust",)) or Trust(),
        "revocation": reader.section(Fresh, ("revocation",)) or Fresh(),
        "inbound": reader.section(Inbound, ("inbound",)) or Inbound(),
        "store": reader.section(Store, ("store",)) or Store(),
        "web": reader.section(Web, ("web",)) or Web(),
        "client": reader.section(Client, ("client",)) or Client(),
        "limits": reader.section(Limits, ("limits",)) or DEFAULT,
        "notices": reader.section(Notices, ("notices",)) or Notices(),
        "log": reader.section(Log, ("log",)) or Log(),
    }
    own_keys = Keys(
        signing=reader.key(Key, "signing"),
        confidentiality=reader.key(ConfidentialityKey, "confidentiality"),
        review=reader.key(Key, "review"),
        attributes=reader.key(Key, "attributes"),
    )
    agreed = reader.tables(PeerOptions, "peer")
    directories = reader.tables(DirectoryOptions, "directory")
    rules = reader.tables(RuleOptions, "rule")
    reviews = reader.tables(Review, "review")
    lists = reader.tables(ListOptions, "list")
    boundaries = reader.tables(Boundary, "boundary")
    if general is None:
        return None
    make: Callable[..., Configuration] = Configuration
    return make(
        path=reader.path,
        domains=general.domains,
        keys=own_keys,
        outbound=dataclasses.replace(outbound, evidence=evidence),
        labels=dataclasses.replace(labels, translators=translators),
        directories=directories,
        peers=agreed,
        rules=rules,
        reviews=reviews,
        lists=lists,
        boundaries=boundaries,
        lines=reader.lines,
        **sections,
    )


class _Reader:
    """One file being read: what TOML made of it, and the problems seen so far."""

    def __init__(self, path: Path, document: Mapping[str, object], lines: Mapping[KeyPath, int]) -> None:
        self.path = path
        self.base = path.parent
        self.document = document
        self.lines = lines
        self.problems: list[Problem] = []
        self._complained: set[KeyPath] = set()

    @classmethod
    def open(cls, path: Path) -> _Reader:
        path = path.absolute()
        try:
            with path.open("rb") as file:
                octets = file.read(MAXIMUM_SIZE + 1)
            if len(octets) > MAXIMUM_SIZE:
                raise _error([Problem(path, None, f"longer than {MAXIMUM_SIZE} octets, expected a configuration")])
            text = octets.decode().replace("\r\n", "\n")
            return cls(path, tomllib.loads(text), key_lines(text))
        except OSError as error:
            raise _error([Problem(path, None, f"cannot be read: {error.strerror}")]) from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise _error([Problem(path, line, "not UTF-8, expected TOML text")]) from None
        except RecursionError:
            raise _error([Problem(path, None, "nested too deeply, expected TOML text")]) from None
        except tomllib.TOMLDecodeError as error:
            raise _error([_syntax_problem(path, text, str(error))]) from None

    @property
    def wrong_lines(self) -> set[int | None]:
        return {problem.line for problem in self.problems}

    @property
    def wrong_sections(self) -> Set[str]:
        """Those in which something could not be read. A name that is none of a section may have meant any of them."""
        known = {section.name.partition(".")[0] for section in SECTIONS if section.name}
        wrong = {str(path[0]) for path in self._complained if path}
        return known if wrong - known else wrong

    def complain(self, text: str, *path: str | int) -> None:
        self._complained.add(path)
        self.problems.append(Problem(self.path, _nearest_line(self.lines, path), text))

    def table(self, path: KeyPath) -> Mapping[str, object]:
        """The table at this path, empty if there is none."""
        value: object = self.document
        for depth, key in enumerate(path):
            if isinstance(value, dict):
                value = value.get(key, {})
            elif isinstance(value, list) and isinstance(key, int):
                value = value[key]
            if not isinstance(value, dict | list):
                self.complain(
                    f"{_dotted(path)} is {shown(value)}, expected a section [{_dotted(path)}]", *path[: depth + 1]
                )
                return {}
        if isinstance(value, list):
            self.complain(f"{_dotted(path)} is a list, expected one section [{_dotted(path)}]", *path)
            return {}
        return value if isinstance(value, dict) else {}

    def refuse_unknown(self, table: Mapping[str, object], path: KeyPath, known: Set[str]) -> None:
        for key in table:
            if key not in known:
                place = _header(path) if path else "a configuration"
                self.complain(f"unknown key {shown(key)} in {place}{_advice(key, path, known)}", *path, key)

    def section(self, declaration: type[S], path: KeyPath, inner: Set[str] = frozenset()) -> S | None:
        """The section at this path, or None if an option it cannot do without is missing.

        Keys named in `inner` are sections of their own and left alone.
        """
        table = self.table(path)
        declared = tuple(options(declaration))
        self.refuse_unknown(table, path, {o.name for o in declared} | inner)
        values: dict[str, object] = {}
        complete = True
        for option in declared:
            if option.name not in table:
                if option.default is None:
                    complete = False
                    self.complain(f"{_dotted((*path, option.name))} is missing, expected {option.kind.expected}", *path)
                continue
            try:
                values[option.name] = option.kind.convert(table[option.name], self.base)
            except ValueError as problem:
                complete = complete and option.default is not None
                place = (*path, option.name, problem.index) if isinstance(problem, WrongItem) else (*path, option.name)
                self.complain(f"{_dotted(place)} is {problem}, expected {option.kind.expected}", *place)
        make: Callable[..., S] = declaration
        return make(**values) if complete else None

    def tables(self, declaration: type[S], *path: str) -> tuple[S, ...]:
        """The tables of a section that repeats."""
        value: object = self.document
        for key in path:
            value = value.get(key, []) if isinstance(value, dict) else []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.complain(f"{_dotted(path)} is {shown(value)}, expected tables [[{_dotted(path)}]]", *path)
            return ()
        found = (self.section(declaration, (*path, index)) for index in range(len(value)))
        return tuple(item for item in found if item is not None)

    def key(self, declaration: type[S], role: str) -> S | None:
        keys = self.document.get("keys")
        return self.section(declaration, ("keys", role)) if isinstance(keys, dict) and role in keys else None


def _error(problems: Sequence[Problem]) -> ConfigurationError:
    in_order = sorted(problems, key=lambda problem: (str(problem.file), problem.line or 0))
    return ConfigurationError(*dict.fromkeys(map(str, in_order)))


def _syntax_problem(path: Path, document: str, text: str) -> Problem:
    """Of tomllib's text, which ends in "(at line 3, column 5)" or "(at end of document)"."""
    match = re.fullmatch(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", text, re.DOTALL)
    what = (match[1] if match else text).replace("\n", " ")
    line = int(match[2]) if match and match[2] else document.rstrip().count("\n") + 1
    return Problem(path, line, f"{what[:1].lower()}{what[1:]}, expected TOML")


def _nearest_line(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _header(path: KeyPath) -> str:
    """The line that begins a section."""
    name = ".".join(key for key in path if isinstance(key, str))
    return f"[{name}]" if all(isinstance(key, str) for key in path) else f"[[{name}]]"


def _dotted(path: KeyPath) -> str:
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _advice(key: str, path: KeyPath, known: Set[str]) -> str:
    """What the administrator may have meant: a known key that is spelled alike, or the section this key belongs to."""
    here = ".".join(part for part in path if isinstance(part, str))
    homes = [s.header for s in SECTIONS if s.name != here and key in {o.name for o in options(s.declaration)}]
    spelled = key.lower().replace("-", "_")
    for likeness in (0.8, 0.5):
        if close := difflib.get_close_matches(spelled, sorted(known), 1, likeness):
            return f', did you mean "{close[0]}"?'
        if homes:
            return f"; it belongs to {' or '.join(home if home != '[]' else 'the top of the file' for home in homes)}"
    return f", expected one of {', '.join(sorted(known))}"


def _contradictions(configuration: Configuration, wrong: Set[str] = frozenset()) -> Iterator[Problem]:
    """What no option says by itself, but two say together. What is missing in a `wrong` section may stand there."""
    if not wrong & {"listen", "next_hop"}:
        yield from _routes(configuration)
    if not wrong & {"keys", "users"}:
        yield from _needed_keys(configuration)
    for rule in (
        _tls,
        _own_domains,
        _fresh,
        _directories,
        _evidence,
        _lists,
        _known_signers,
        _destinations,
    ):
        yield from rule(configuration)
    for text, index, option in _agreements(configuration.peers, configuration.domains):
        yield configuration.problem(text, "peer", index, option)


def _routes(c: Configuration) -> Iterator[Problem]:
    for direction in ("outbound", "inbound"):
        taken: Endpoint | None = getattr(c.listen, direction)
        given: Endpoint | None = getattr(c.next_hop, direction)
        if taken and not given:
            yield c.problem(f"listen.{direction} without next_hop.{direction}, expected both", "listen", direction)
        if given and not taken:
            yield c.problem(f"next_hop.{direction} without listen.{direction}, expected both", "next_hop", direction)
    places = [(f"listen.{name}", getattr(c.listen, name)) for name in ("outbound", "inbound", "milter")]
    places += [("next_hop.outbound", c.next_hop.outbound), ("next_hop.inbound", c.next_hop.inbound)]
    for number, (name, place) in enumerate(places):
        for other_name, other in places[:number]:
            both_next_hops = name.startswith("next_hop") and other_name.startswith("next_hop")
            if place and other and _same_place(place, other) and not both_next_hops:
                yield c.problem(f"{name} is the same place as {other_name}, expected another", *name.split("."))


def _tls(c: Configuration) -> Iterator[Problem]:
    if c.listen.require_tls and c.listen.tls is None:
        text = "listen.require_tls without listen.tls, expected the certificate to show"
        yield c.problem(text, "listen", "require_tls")
    if c.listen.tls_clients and c.listen.tls is None:
        text = "listen.tls_clients without listen.tls, expected the certificate to show"
        yield c.problem(text, "listen", "tls_clients")
    if c.next_hop.ca and c.next_hop.tls != "verify":
        text = f'next_hop.ca with tls = "{c.next_hop.tls}", expected tls = "verify"'
        yield c.problem(text, "next_hop", "ca")


def _same_place(one: Endpoint, other: Endpoint) -> bool:
    return (one.path, one.host, one.port) == (other.path, other.host, other.port)


def _needed_keys(c: Configuration) -> Iterator[Problem]:
    if c.listen.outbound and c.outbound.sign != "never" and not c.keys.signing:
        text = f'outbound.sign is "{c.outbound.sign}" without a key, expected [keys.signing]'
        yield c.problem(text, *(("outbound", "sign") if ("outbound", "sign") in c.lines else ("listen", "outbound")))
    if c.outbound.audit_dca == "own" and not c.keys.confidentiality:
        yield c.problem(
            'outbound.audit_dca is "own" without a key, expected [keys.confidentiality]', "outbound", "audit_dca"
        )
    if c.users.folder is None and c.outbound.user_signature != "never":
        text = f'outbound.user_signature is "{c.outbound.user_signature}" without keys, expected users.folder'
        yield c.problem(text, "outbound", "user_signature")
    for index, peer in enumerate(c.peers):
        if c.users.folder is None and peer.user_signature not in (None, "never"):
            text = f'peer user_signature is "{peer.user_signature}" without keys, expected users.folder'
            yield c.problem(text, "peer", index, "user_signature")
    if c.users.folder == KEYD_USERS and not c.users.certificates:
        text = f'users.folder is "{KEYD_USERS}" without certificates, expected users.certificates'
        yield c.problem(text, "users", "folder")
    if c.users.folder != KEYD_USERS and c.users.certificates:
        yield c.problem(f'users.certificates without folder = "{KEYD_USERS}"', "users", "certificates")
    if c.outbound.stripped_labels == "carry" and not c.keys.attributes:
        text = 'outbound.stripped_labels is "carry" without a key, expected [keys.attributes]'
        yield c.problem(text, "outbound", "stripped_labels")
    if c.outbound.require_encryption and c.outbound.encrypt == "no":
        text = 'outbound.require_encryption with encrypt = "no", expected another way to encrypt'
        yield c.problem(text, "outbound", "require_encryption")
    used: dict[str, str] = {}
    for role in ROLES:
        key: Key | None = getattr(c.keys, role)
        for number, credential in enumerate(key.credential if key else ()):
            if key and credential.startswith("keyd:") and not key.certificates:
                text = (
                    f'keys.{role}.credential is "{credential}" without certificates, expected keys.{role}.certificates'
                )
                yield c.problem(text, "keys", role, "credential", number)
            if (other := used.setdefault(credential, role)) != role:
                text = f"keys.{role}.credential is that of keys.{other} too, expected a key of its own"
                yield c.problem(text, "keys", role, "credential", number)


def _own_domains(c: Configuration) -> Iterator[Problem]:
    if not c.domains:
        yield c.problem("domains is empty, expected at least one mail domain", "domains")
    for index, evidence in enumerate(c.outbound.evidence):
        for position, domain in enumerate(evidence.domains):
            if not c.serves(domain):
                path: KeyPath = ("outbound", "evidence", index, "domains", position)
                yield c.problem(f'{_dotted(path)} is "{domain}", expected one of our domains or one below them', *path)


# for each kind of evidence the options that must be given with it, and those that may
_EVIDENCE_OPTIONS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "network": (frozenset({"networks"}), frozenset({"domains"})),
    "header": (frozenset({"token_file"}), frozenset({"domains", "header", "logins", "owners"})),
    "xclient": (frozenset(), frozenset({"domains", "logins", "owners"})),
    "certificate": (frozenset({"logins"}), frozenset({"domains", "header", "token_file"})),
    "local": (frozenset({"logins"}), frozenset({"domains"})),
    "results": (frozenset({"networks", "authserv_id"}), frozenset({"domains", "logins", "owners"})),
    "dkim": (frozenset({"networks", "authserv_id", "selectors"}), frozenset({"domains"})),
}


def _evidence(c: Configuration) -> Iterator[Problem]:
    for index, evidence in enumerate(c.outbound.evidence):
        path: KeyPath = ("outbound", "evidence", index)
        needed, allowed = _EVIDENCE_OPTIONS[evidence.kind]
        given = {option.name for option in options(Evidence) if (*path, option.name) in c.lines} - {"kind"}
        for name in sorted(needed - given):
            yield c.problem(f'evidence of kind "{evidence.kind}" without {name}, expected it', *path)
        for name in sorted(given - needed - allowed):
            of_use = ", ".join(sorted(needed | allowed))
            text = f'{_dotted((*path, name))} means nothing for kind "{evidence.kind}", expected {of_use}'
            yield c.problem(text, *path, name)
        if (
            "networks" in needed
            and not evidence.networks.networks
            and not evidence.networks.unix
            and "networks" in given
        ):
            yield c.problem(f"{_dotted((*path, 'networks'))} is empty, expected networks", *path, "networks")
        shown = evidence.kind == "certificate" and evidence.token_file is None  # to ourselves
        if shown and "header" in given:
            yield c.problem(f"{_dotted((*path, 'header'))} without token_file, expected both", *path, "header")
        elif shown and not c.listen.tls_clients:
            text = f"{_dotted(path)} without token_file, expected listen.tls_clients"
            yield c.problem(text, *path, "kind")
        if evidence.logins is not None and evidence.owners is not None:
            yield c.problem(f"{_dotted((*path, 'owners'))} beside logins, expected one of them", *path, "owners")


def _lists(c: Configuration) -> Iterator[Problem]:
    """What is wrong with each list by itself, and what two have in common that may not be."""
    keys = {credential: f"keys.{r}" for r in ("signing", "confidentiality", "review", "attributes")
            if (key := getattr(c.keys, r)) for credential in key.credential}  # fmt: skip
    names: set[str] = set()
    addresses: set[str] = set()
    for index, one in enumerate(c.lists):
        for option, value, seen in (("name", one.name, names), ("address", one.address.address, addresses)):
            if value in seen:
                yield c.problem(f'list[{index}].{option} is "{value}" a second time', "list", index, option)
            seen.add(value)
        if one.credential == KEYD_LISTS:
            if not one.certificates:
                text = f'list[{index}].credential is "{KEYD_LISTS}" without certificates, expected those of the list'
                yield c.problem(text, "list", index, "credential")
        elif (other := keys.setdefault(one.credential, f"list {one.name}")) != f"list {one.name}":
            text = f"list[{index}].credential is that of {other} too, expected one for this list alone"
            yield c.problem(text, "list", index, "credential")
        if one.owner.same_as(one.address) or any(m.same_as(one.address) for m in one.members):
            text = f"list[{index}] is its own {'owner' if one.owner.same_as(one.address) else 'member'}"
            yield c.problem(f"{text}, expected somebody else", "list", index, "address")
        if bool(one.receipts_to) != (one.receipts in ("instead-of", "in-addition-to")):
            text = f'list[{index}].receipts is "{one.receipts}" with {len(one.receipts_to)} receipts_to'
            yield c.problem(f"{text}, expected addresses for instead-of and in-addition-to only", "list", index)


def _fresh(c: Configuration) -> Iterator[Problem]:
    if c.revocation.fetch != "no" and c.revocation.folder is None:
        text = "revocation.fetch without folder, expected where to keep what was fetched"
        yield c.problem(text, "revocation", "fetch")


def _directories(c: Configuration) -> Iterator[Problem]:
    for index, one in enumerate(c.directories):
        path: KeyPath = ("directory", index)
        if one.kind == "smimea":
            if not is_loopback(one.resolver.host):
                text = f"{_dotted(path)}.resolver is {one.resolver}, expected a loopback address such as 127.0.0.1:53"
                yield c.problem(text, *path, "resolver")
        elif one.url is None:
            yield c.problem(f"{_dotted(path)} without url, expected the server", *path, "url")
        elif one.url.scheme == "ldap" and not one.starttls and one.bind_dn is not None:
            yield c.problem(f"{_dotted(path)} sends a password in the clear, expected starttls", *path, "starttls")
        if (one.bind_dn is None) != (one.password_file is None):
            yield c.problem(f"{_dotted(path)} with one of bind_dn and password_file, expected both", *path)


def _known_signers(c: Configuration) -> Iterator[Problem]:
    """Whoever is to be believed is named by a certificate, or by domain and issuer together."""
    tables: list[tuple[KeyPath, str, Translator | Review]] = [
        *((("labels", "translator", i), "signers", t) for i, t in enumerate(c.labels.translators)),
        *((("review", i), "reviewers", r) for i, r in enumerate(c.reviews)),
    ]
    for path, pins, table in tables:
        if bool(table.domains) != (table.issuer is not None):
            yield c.problem(f"{_dotted(path)} with one of domains and issuer, expected both or neither", *path)
        elif not getattr(table, pins) and not table.domains:
            yield c.problem(f"{_dotted(path)} names nobody, expected {pins}, or domains and issuer", *path)


def _destinations(c: Configuration) -> Iterator[Problem]:
    tables: list[tuple[KeyPath, tuple[str, ...]]] = [
        *((("review", i), review.to) for i, review in enumerate(c.reviews) if review.name is None),
        *((("boundary", i), boundary.to) for i, boundary in enumerate(c.boundaries)),
    ]
    for path, to in tables:
        if not to:
            yield c.problem(f'{_dotted((*path, "to"))} is empty, expected domains or "*"', *path, "to")
    names: set[str] = set()
    for i, review in enumerate(c.reviews):
        if review.name in names:
            yield c.problem(f'review[{i}].name is "{review.name}" a second time', "review", i, "name")
        names |= {review.name} if review.name else set()
    for i, boundary in enumerate(c.boundaries):
        if not (boundary.require_label or boundary.clearances or boundary.allowed or boundary.forbidden):
            yield c.problem(f"boundary[{i}] asks for nothing, expected an option beside to", "boundary", i)


def _agreements(agreements: Sequence[PeerOptions], own: Sequence[str] = ()) -> Iterator[tuple[str, int, str]]:
    """What is wrong, in which entry, at which option."""
    seen: set[str] = set()
    for index, peer in enumerate(agreements):
        if peer.domain in own:
            yield f'peer[{index}].domain is "{peer.domain}", expected a domain not our own', index, "domain"
        if peer.domain in seen:
            yield f'peer[{index}].domain is "{peer.domain}" a second time, expected one entry', index, "domain"
        seen.add(peer.domain)
        if peer.naming == "pinned" and not peer.pins:
            yield 'peer naming is "pinned" without pins, expected the digests of its certificates', index, "naming"
        if peer.naming != "pinned" and peer.pins:
            yield f'peer pins with naming = "{peer.naming}", expected naming = "pinned"', index, "pins"
        if not peer.mapping_forms:
            yield "peer mapping_forms is empty, expected at least one name form", index, "mapping_forms"
        if peer.domsec and peer.user_signature not in (None, "never"):
            text = f'peer user_signature = "{peer.user_signature}" with a gateway there, expected domsec = false'
            yield text, index, "user_signature"
        if peer.sign is False and peer.clear_unsigned:
            yield "peer clear_unsigned with sign = false, expected one of them", index, "clear_unsigned"
