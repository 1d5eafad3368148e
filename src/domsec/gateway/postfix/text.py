"""The text of Postfix's configuration for a gateway: what `domsec postfix` prints.

Two instances are the recommended layout: neither has a route beside domsec. With one instance, mail passes domsec after
the queue (`content-filter`) or before it (`before-queue`), and docs/postfix.md says what then leaks. As a `milter`
domsec only judges and marks what arrives, which it can do beside each of the others as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final, Literal

from domsec.errors import ConfigurationError
from domsec.policy.configuration import Configuration
from domsec.policy.kinds import Endpoint

Layout = Literal["two-instances", "content-filter", "before-queue", "milter"]
Instance = Literal["inside", "edge", "single"]

FOLDERS: Final[Mapping[Instance, str]] = {
    "inside": "/etc/postfix",
    "edge": "/etc/postfix-edge",
    "single": "/etc/postfix",
}
GROWTH: Final = 3  # times the users' limit, and so much more: three layers of base64 (docs/postfix.md, Sizes)
MARGIN: Final = 64 * 1024  # octets

# evidence that Postfix writes into a field, and the table with which it does
_TABLES: Final[Mapping[str, str]] = {"header": "domsec-login.re", "certificate": "domsec-certificate.re"}
_LOGIN: Final = "  -o { smtpd_data_restrictions = check_sasl_access regexp:/etc/postfix/domsec-login.re }\n"
_SUBMITTERS: Final = """\
# What sendmail(1) is given does not pass domsec: root only.
authorized_submit_users = root

"""
_TRANSPORT: Final = """\
# Recipients of all domains reach domsec in one transaction.
domsec_destination_recipient_limit = 50
domsec_destination_concurrency_limit = 20

"""
# not in a chroot, where the path of a milter's socket would begin
_PORT_25: Final = "smtp      inet  n       -       n       -       -       smtpd\n"
_UNSEEN: Final = "no_header_body_checks"
# what a message has behind it when domsec gives it back: before the queue nobody has mapped its addresses yet
_DONE: Final[Mapping[Layout, str]] = {
    "two-instances": _UNSEEN,
    "content-filter": f"no_unknown_recipient_checks,no_address_mappings,{_UNSEEN}",
    "before-queue": f"no_unknown_recipient_checks,{_UNSEEN}",
}


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Who else is in the chain. Milters are Postfix's endpoints (`inet:localhost:11332`, `unix:/run/...`)."""

    milters: tuple[str, ...] = ()  # on port 25, before domsec: rspamd, OpenDKIM to verify; domsec's own comes last
    dkim: str = ""  # after domsec, on what leaves: OpenDKIM to sign
    mailman: str = ""  # Mailman's `var/data`, with the tables that it writes for Postfix


@dataclass(frozen=True, slots=True)
class File:
    """One file of Postfix's, or the lines to add to it."""

    instance: Instance
    path: str
    text: str
    secret: bool = False

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


def files(
    configuration: Configuration,
    layout: Layout,
    neighbours: Neighbours = Neighbours(),
    tokens: Mapping[str, str] = MappingProxyType({}),
) -> tuple[File, ...]:
    """What Postfix needs for this configuration. `tokens` are those of the evidence, by the name of their field; they
    stand in the tables that write such fields, else a word in their place.

    Tables of people (mailboxes, logins, recipients) are the administrator's and not made here. Raises
    ConfigurationError where Postfix cannot do what the configuration says.
    """
    milters = (*neighbours.milters, *_own_milter(configuration, layout))
    if layout == "before-queue" and milters:
        raise _unheard(configuration, neighbours)
    if layout == "milter":
        words = {"milters": ",".join(milters)}
        return tuple(_file("single", name, words, "milter") for name in ("main.cf", "master.cf"))
    values = _values(configuration, layout, replace(neighbours, milters=milters))
    instances: tuple[Instance, ...] = ("inside", "edge") if layout == "two-instances" else ("single",)
    made = [_file(instance, name, values[instance]) for instance in instances for name in ("main.cf", "master.cf")]
    for rule in configuration.outbound.evidence:
        if rule.kind in _TABLES and rule.token_file is not None:
            line = f"/^(.+)$/    PREPEND {rule.header}: {tokens.get(rule.header, 'TOKEN')} $1\n"
            made.append(File(instances[0], f"/etc/postfix/{_TABLES[rule.kind]}", line, secret=True))
    return tuple(made)


def _file(instance: Instance, name: str, values: Mapping[str, str], kind: str = "") -> File:
    kind = kind or (instance if instance == "single" else f"two-instances.{instance}")
    return File(instance, f"{FOLDERS[instance]}/{name}", _filled(f"{kind}.{name}", values))


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = resources.files(__package__).joinpath(template).read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], text)


def _values(
    configuration: Configuration, layout: Layout, neighbours: Neighbours
) -> Mapping[Instance, Mapping[str, str]]:
    outbound = _required(configuration, "listen", "outbound")
    inbound = _required(configuration, "listen", "inbound")
    out = _required(configuration, "next_hop", "outbound")
    back = _required(configuration, "next_hop", "inbound")
    if outbound.protocol != inbound.protocol:
        raise _wrong(configuration, "listen", "inbound", f"{inbound}, expected the protocol of listen.outbound")
    for name, listener in (("outbound", outbound), ("inbound", inbound)):
        _possible(configuration, layout, name, listener)
    if out == back:
        text = f"{back}, expected another service than next_hop.outbound: what leaves and what arrives has not one way"
        raise _wrong(configuration, "next_hop", "inbound", text)

    domain = configuration.domains[0]
    size = configuration.limits.size
    common = {
        "domain": domain,
        "domains": ", ".join(configuration.domains),
        "inside": _own_name(configuration) or f"inside.{domain}",
        "edge": configuration.inbound.authserv_id or f"mx.{domain}",
        "outbound": _place(outbound),
        "inbound": _place(inbound),
        "size": str(size),
        "users_size": str((size - MARGIN) // GROWTH),
        "login": _LOGIN if _known_by(configuration, "header") else "",
        "machines": _filled("machines.cf", {"filtered": ""}) if _known_by(configuration, "certificate") else "",
        "client": "" if layout == "before-queue" else _filled("client.cf", {"protocol": outbound.protocol}),
        "after_domsec": _after(neighbours, _DONE[layout]),
    }
    single = {
        "filter_outbound": _filter(layout, outbound),
        "filter_inbound": _filter(layout, inbound),
        "servers": _servers(configuration, _filter(layout, outbound), common["users_size"]),
        "milters": f"  -o smtpd_milters={','.join(neighbours.milters)}\n" if neighbours.milters else "",
        "pickup": _pickup(layout, outbound),
        "submitters": _SUBMITTERS if layout == "before-queue" else "",
        "transport": _TRANSPORT if layout == "content-filter" else "",
        "from_domsec_out": _service(configuration, "outbound", out),
        "from_domsec_in": _service(configuration, "inbound", back),
        "reinjected": _filled("reinjected.cf", {}),
        "done": _DONE[layout],
    }
    if _known_by(configuration, "certificate"):
        single["machines"] = _filled("machines.cf", {"filtered": f"  -o {_filter(layout, outbound)}\n"})
    return {
        "inside": {
            **common,
            "clients": ", ".join(["127.0.0.0/8", *_clients(configuration)]),
            "from_domsec": _service(configuration, "inbound", back),
            "list_mailboxes": f", hash:{neighbours.mailman}/postfix_lmtp" if neighbours.mailman else "",
            "mailman": _mailman(neighbours.mailman),
        },
        "edge": {
            **common,
            "from_domsec": _service(configuration, "outbound", out),
            "milters": _milters(neighbours.milters),
            "port_25": _PORT_25 if any(each.startswith("unix:") for each in neighbours.milters) else "",
        },
        "single": {**common, **single},
    }


def _own_milter(configuration: Configuration, layout: Layout) -> tuple[str, ...]:
    """Our own milter as Postfix names it, where there is one."""
    given = configuration.listen.milter
    if given is None:
        if layout == "milter":
            raise _wrong(configuration, "listen", "milter", "missing, expected where Postfix asks")
        return ()
    return (f"unix:{given.path}" if given.path is not None else f"inet:{given.address}",)


def _unheard(configuration: Configuration, neighbours: Neighbours) -> ConfigurationError:
    """Before the queue a milter hears of the envelope and nothing more (MILTER_README, limitations)."""
    text = "Postfix shows milters nothing of what smtpd_proxy_filter takes, expected none before the queue"
    if neighbours.milters:
        return ConfigurationError(f"--milter {neighbours.milters[0]}: {text}")
    return _wrong(configuration, "listen", "milter", text)


def _known_by(configuration: Configuration, kind: str) -> bool:
    """Whether Postfix is to write what it knows of somebody into a field."""
    return any(rule.kind == kind and rule.token_file is not None for rule in configuration.outbound.evidence)


def _required(configuration: Configuration, section: Literal["listen", "next_hop"], name: str) -> Endpoint:
    endpoint: Endpoint | None = getattr(getattr(configuration, section), name)
    if endpoint is None:
        raise _wrong(configuration, section, name, "missing, expected both directions for Postfix")
    return endpoint


def _wrong(configuration: Configuration, section: str, name: str, text: str) -> ConfigurationError:
    return ConfigurationError(str(configuration.problem(f"{section}.{name}: {text}", section, name)))


def _possible(configuration: Configuration, layout: Layout, name: str, listener: Endpoint) -> None:
    """Postfix's smtp(8) knows no Unix sockets, and smtpd(8) gives what is not queued yet to SMTP only."""
    if layout == "before-queue":
        if listener.protocol != "smtp":
            raise _wrong(configuration, "listen", name, f"{listener}, expected smtp: smtpd_proxy_filter is no LMTP")
    elif listener.protocol == "smtp" and listener.path is not None:
        raise _wrong(configuration, "listen", name, f"{listener}, expected lmtp:unix or smtp:HOST:PORT")


def _place(listener: Endpoint) -> str:
    if listener.path is not None:
        return f"unix:{listener.path}"
    assert listener.host is not None
    return f"{'inet:' if listener.protocol == 'lmtp' else ''}[{listener.host}]:{listener.port}"


def _filter(layout: Layout, listener: Endpoint) -> str:
    if layout == "content-filter":
        return f"content_filter=domsec:{_place(listener)}"
    place = listener.address if listener.path is None else f"unix:{listener.path}"
    return f"smtpd_proxy_filter={place}\n  -o smtpd_proxy_options=speed_adjust"


def _pickup(layout: Layout, outbound: Endpoint) -> str:
    """The line for what sendmail(1) is given: it has no smtpd(8) that could ask domsec before it is queued."""
    if layout != "content-filter":
        return ""
    return f"pickup    unix  n       -       n       60      1       pickup\n  -o {_filter(layout, outbound)}\n"


def _service(configuration: Configuration, direction: str, hop: Endpoint) -> str:
    """The line of master.cf for the smtpd(8) that takes mail back from domsec."""
    if hop.protocol != "smtp":
        raise _wrong(configuration, "next_hop", direction, f"{hop}, expected smtp: Postfix has no server for LMTP")
    if hop.path is None:
        return f"{hop.address} inet n       -       n       -       100     smtpd"
    path = PurePosixPath(hop.path)
    if path.parent.name != "public":
        text = f"{hop}, expected a socket in folder public of an instance's queue_directory"
        raise _wrong(configuration, "next_hop", direction, text)
    return f"{path.name} unix  n       -       n       -       100     smtpd"


def _clients(configuration: Configuration) -> list[str]:
    rules = [rule for rule in configuration.outbound.evidence if rule.kind == "network"]
    return [
        f"[{network.network_address}]/{network.prefixlen}" if network.version == 6 else str(network)
        for rule in rules
        for network in rule.networks.networks
    ]


def _servers(configuration: Configuration, filtered: str, size: str) -> str:
    """A service for those who send without logging in. Port 25 is for what arrives: its direction is the other one."""
    clients = ",".join(_clients(configuration))
    return _filled("servers.cf", {"filtered": filtered, "users_size": size, "clients": clients}) if clients else ""


def _own_name(configuration: Configuration) -> str | None:
    """The name in the addresses of mail that Postfix makes itself: what evidence from Unix sockets is good for."""
    rules = [r for r in configuration.outbound.evidence if r.kind == "network" and r.networks.unix and r.domains]
    return rules[0].domains[0] if rules else None


def _after(neighbours: Neighbours, options: str) -> str:
    if not neighbours.dkim:
        return f"  -o receive_override_options={options},no_milters"
    return f"  -o receive_override_options={options}\n  -o smtpd_milters={neighbours.dkim}"


def _milters(milters: tuple[str, ...]) -> str:
    if not milters:
        return ""
    title = "# Port 25, before domsec: spam filter, checks of DKIM, SPF and DMARC."
    return f"\n{title}\nsmtpd_milters = {', '.join(milters)}\n"


def _mailman(folder: str) -> str:
    if not folder:
        return ""
    title = "# Lists: Mailman's own table, which names nothing but Mailman."
    return f"\n{title}\ntransport_maps = hash:{folder}/postfix_lmtp\n"
