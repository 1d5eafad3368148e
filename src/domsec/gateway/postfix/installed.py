"""A Postfix that is there, held against the text made for it.

Both are asked of postconf(1), so that spelling, order and continuation lines do not matter. What is the administrator's
own (mailboxes, TLS, tables) is left alone; what could let mail pass beside domsec, or break what domsec made, is not.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from domsec.errors import ConfigurationError
from domsec.gateway.postfix.text import File, Instance, Layout

SECONDS: Final = 20.0  # that postconf may take

# what is the administrator's to choose; the text has it as an example that works
OWN: Final = frozenset(
    {
        *("myhostname", "mydomain", "myorigin", "mydestination", "alias_maps", "alias_database", "transport_maps"),
        "inet_interfaces",
        *("virtual_mailbox_domains", "virtual_mailbox_maps", "virtual_mailbox_base", "virtual_uid_maps"),
        *("virtual_gid_maps", "virtual_alias_domains", "virtual_alias_maps", "smtpd_sender_login_maps"),
        *("relay_recipient_maps", "smtpd_tls_chain_files", "smtpd_tls_security_level", "smtp_tls_security_level"),
        *("domsec_destination_concurrency_limit", "syslog_name"),
        *("lmtp_data_done_timeout", "smtp_data_done_timeout"),
    }
)
AT_LEAST: Final = frozenset({"message_size_limit"})  # octets; 0 is no limit
AMONG_OTHERS: Final = frozenset({"smtpd_milters"})
NO_LIMIT: Final = frozenset({"mailbox_size_limit", "virtual_mailbox_limit"})  # or one that no message reaches

_PORT_25: Final = "smtp/inet"

_BESIDE: Final = "mail could leave or arrive without domsec"
_BROKEN: Final = "signatures could be broken on the way"
# parameters that have to be empty, and what they would do
EMPTY: Final[Mapping[Instance, Mapping[str, str]]] = {
    "inside": dict.fromkeys(
        ("relayhost", "content_filter", "sender_dependent_relayhost_maps", "sender_dependent_default_transport_maps"),
        _BESIDE,
    ),
    "edge": dict.fromkeys(("content_filter", "sender_dependent_default_transport_maps"), _BESIDE),
    "single": {},
}
WHY: Final[Mapping[str, str]] = {
    "default_transport": _BESIDE,
    "relay_transport": _BESIDE,
    "mynetworks": "domsec takes these clients at their word",
    "smtpd_relay_restrictions": _BESIDE,
    "authorized_submit_users": "every local account could send as anybody",
    "disable_mime_output_conversion": _BROKEN,
    "lmtp_line_length_limit": _BROKEN,
    "smtp_line_length_limit": _BROKEN,
    "smtpd_forbid_bare_newline": "one message could become two (SMTP smuggling)",
    "smtpd_forbid_bare_newline_exclusions": "one message could become two (SMTP smuggling)",
    "smtpd_forbid_unauth_pipelining": "one message could become two (SMTP smuggling)",
    "message_size_limit": "a protected message is larger than what was sent",
    "mailbox_size_limit": "local delivery stops where it is smaller than message_size_limit",
    "virtual_mailbox_limit": "local delivery stops where it is smaller than message_size_limit",
    "receive_override_options": "what was signed could be changed, or addresses mapped twice or never",
    "lmtp_send_xforward_command": "domsec would not know who sent it",
    "smtp_send_xforward_command": "domsec would not know who sent it",
    "smtpd_data_restrictions": "domsec would not know who sent it",
    "smtpd_milters": "what passes would not be judged, or not be signed by DKIM",
    "milter_default_action": "mail would pass unjudged, or be refused for good, while domsec is away",
    "content_filter": _BESIDE,
    "smtpd_proxy_filter": _BESIDE,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """Something in an instance that is not as it should be. `name` is a parameter, or SERVICE/TYPE[/parameter]."""

    instance: Instance
    name: str
    found: str
    expected: str
    why: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        reason = f": {self.why}" if self.why else ""
        return f"{self.instance}: {self.name} is {self.found or 'empty'}, expected {self.expected or 'empty'}{reason}"


def differences(files: Sequence[File], folders: Mapping[Instance, Path], layout: Layout) -> tuple[Difference, ...]:
    """All differences between `files` and the instances whose configuration is in `folders`.

    Runs postconf(1), which reads and changes nothing. Raises ConfigurationError where that cannot be done. Does not
    look into tables, nor at what other programs do with the mail.
    """
    found: list[Difference] = []
    there = {instance: _Postfix(folder) for instance, folder in folders.items()}
    for instance in folders:
        with tempfile.TemporaryDirectory(prefix="domsec-postfix-") as wanted:
            for file in files:
                if file.instance == instance and file.name in ("main.cf", "master.cf"):
                    (Path(wanted) / file.name).write_text(file.text, encoding="utf-8")
            found += _differences(instance, _Postfix(Path(wanted)), there[instance], layout)
    return (*found, *_in_the_way(there))


def _in_the_way(there: Mapping[Instance, _Postfix]) -> Iterator[Difference]:
    """Two instances that want the same port at the same addresses: the second one does not start."""
    name = "inet_interfaces"
    places = [set(_words(each.values([name])[name])) for each in there.values() if _PORT_25 in each.services]
    if len(places) == 2 and (places[0] & places[1] or {"all"} & (places[0] | places[1])):
        instance = list(there)[1]
        found = ", ".join(sorted(places[1]))
        yield Difference(instance, name, found, "other addresses", "both instances listen on port 25")


class _Postfix:
    """One folder with main.cf and master.cf, asked by postconf(1)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stated = _assignments(self._ask("-n"))
        self.stated.pop("config_directory", None)
        self.services = {f"{line[0]}/{line[1]}": line[2:] for line in map(_columns, self._ask("-M")) if line}
        self._options = _assignments(self._ask("-P"))

    def values(self, names: Sequence[str]) -> dict[str, str]:
        """What these parameters of main.cf are, defaults included."""
        return _assignments(self._ask(*names)) if names else {}

    def options(self, service: str) -> dict[str, str]:
        """The `-o` of a service."""
        prefix = f"{service}/"
        return {n.removeprefix(prefix): value for n, value in self._options.items() if n.startswith(prefix)}

    def _ask(self, *arguments: str) -> list[str]:
        command = ["postconf", "-x", "-c", str(self.folder), *arguments]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, timeout=SECONDS, env=environment
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigurationError(f"postconf cannot be asked about {self.folder}: {error}") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConfigurationError(f"postconf cannot read {self.folder}: {last}")
        return done.stdout.splitlines()


def _assignments(lines: Sequence[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines)
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _columns(line: str) -> list[str]:
    """The columns of a line of master.cf, without the `-o` of its command."""
    return line.split()[:8]


def _differences(instance: Instance, wanted: _Postfix, there: _Postfix, layout: Layout) -> Iterator[Difference]:
    actual = there.values([*wanted.stated, *EMPTY[instance], "transport_maps", "content_filter"])
    largest = _largest(wanted)
    for name, expected in wanted.stated.items():
        if name in NO_LIMIT and actual[name].isdigit() and int(actual[name]) >= largest:
            continue
        if name not in OWN and (difference := _compared(instance, name, actual.get(name, ""), expected)):
            yield difference
    for name, why in EMPTY[instance].items():
        if actual.get(name):
            yield Difference(instance, name, actual[name], "", why)
    if (routes := actual.get("transport_maps")) and routes != wanted.stated.get("transport_maps"):
        text = "only servers of your own in it: what it lists is sent without domsec"
        yield Difference(instance, "transport_maps", routes, text, severity="warning")
    yield from _services(instance, wanted, there)
    if instance == "single":
        yield from _unfiltered(there, wanted, layout, everywhere=bool(actual.get("content_filter")))


def _largest(postfix: _Postfix) -> int:
    """The octets of the largest message that one of its services takes."""
    stated = [postfix.stated, *map(postfix.options, postfix.services)]
    return max(int(each.get("message_size_limit", "0")) for each in stated)


def _compared(instance: Instance, name: str, found: str, expected: str) -> Difference | None:
    plain = name.rpartition("/")[2]
    if _words(found) == _words(expected):
        return None
    if plain in AT_LEAST and (found == "0" or (found.isdigit() and int(found) >= int(expected))):
        return None
    if plain in AMONG_OTHERS and set(_words(expected)) <= set(_words(found)):
        return None
    if plain in AT_LEAST:
        expected = f"{expected} or more"
    return Difference(instance, name, found, expected, WHY.get(plain, ""))


def _words(value: str) -> list[str]:
    return re.split(r"[,\s]+", value.strip("{} \t"))


def _services(instance: Instance, wanted: _Postfix, there: _Postfix) -> Iterator[Difference]:
    for service, columns in wanted.services.items():
        found = there.services.get(service)
        if found is None:
            yield Difference(instance, service, "missing", " ".join(columns))
            continue
        if _chroot(found) != "n" and _opens_a_socket(columns, wanted.options(service), wanted.stated):
            yield Difference(instance, f"{service}, chroot", found[2], "n", "the path of a socket would begin there")
        if found[5] != columns[5]:
            yield Difference(instance, f"{service}, command", found[5], columns[5])
        options = there.options(service)
        names = [name for name in wanted.options(service) if name not in OWN]
        defaults = there.values([name for name in names if name not in options])
        for name in names:
            value = options.get(name, defaults.get(name, ""))
            difference = _compared(instance, f"{service}/{name}", value, wanted.options(service)[name])
            if difference:
                yield difference


def _opens_a_socket(columns: Sequence[str], options: Mapping[str, str], main: Mapping[str, str]) -> bool:
    """Whether a service has to find a Unix socket by its path: domsec's listener, or a milter's."""
    if columns[5] in ("lmtp", "smtp"):
        return True
    asked = (options.get(name, main.get(name, "")) for name in ("smtpd_proxy_filter", "smtpd_milters"))
    return columns[5] == "smtpd" and any("unix:/" in each for each in asked)


def _chroot(columns: Sequence[str]) -> str:
    return "n" if columns[2] == "-" else columns[2]  # the default since Postfix 3.0


def _unfiltered(there: _Postfix, wanted: _Postfix, layout: Layout, *, everywhere: bool) -> Iterator[Difference]:
    """Services that take mail and give it to nobody but Postfix."""
    if layout == "milter":
        return
    name = "content_filter" if layout == "content-filter" else "smtpd_proxy_filter"
    for service, columns in there.services.items():
        if columns[5] == "smtpd" and service not in wanted.services and not everywhere:
            options = there.options(service)
            if not (options.get("content_filter") or options.get("smtpd_proxy_filter")):
                yield Difference("single", f"{service}/{name}", "", "one of domsec's listeners", _BESIDE)
