"""`gateway.postfix`: the text for Postfix, and a Postfix that differs from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from domsec.errors import ConfigurationError
from domsec.gateway.postfix.installed import Difference, differences
from domsec.gateway.postfix.text import File, Instance, Layout, Neighbours, files
from domsec.policy.configuration import Configuration
from e2e import documented

needs_postconf = pytest.mark.skipif(
    shutil.which("postconf", path="/usr/sbin:/usr/bin") is None, reason="postconf is missing: apt-get install postfix"
)


def configured(folder: Path, *replacements: tuple[str, str]) -> Configuration:
    """The configuration that docs/postfix.md prints, with files of nothing where it names some."""
    text = documented.files()["/etc/domsec/domsec.toml"]
    text = text.replace("/var/lib/domsec", str(folder)).replace("/etc/postfix/senders", "senders")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    for name in ("signing.p12", "confidentiality.p12", "password", "auth-token", "senders", "machines"):
        (folder / name).touch()
    for name in ("trust/roles", "trust/users", "certificates"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "domsec.toml").write_text(text)
    return Configuration.load(folder / "domsec.toml")


# one instance: domsec gives back what leaves and what arrives to services of their own
ONE = (("/var/spool/postfix-edge/public/domsec-in", "/var/spool/postfix/public/domsec-out"),)
SMTP = (("lmtp:unix:/run/domsec/outbound.sock", "smtp:127.0.0.1:10025"),
        ("lmtp:unix:/run/domsec/inbound.sock", "smtp:[::1]:10027"))  # fmt: skip


def text_of(made: tuple[File, ...], path: str) -> str:
    return next(file.text for file in made if file.path == path)


# --- the text --------------------------------------------------------------------------------------------------------


def test_two_instances_are_what_the_page_says_and_the_end_to_end_tests_run(tmp_path: Path) -> None:
    page = documented.files()
    tokens = dict.fromkeys(("X-Domsec-Auth", "X-Domsec-Certificate"), "6dd6a54d1be2f2a0")
    made = files(configured(tmp_path), "two-instances", tokens=tokens)
    assert [(file.instance, file.path) for file in made] == [
        ("inside", "/etc/postfix/main.cf"),
        ("inside", "/etc/postfix/master.cf"),
        ("edge", "/etc/postfix-edge/main.cf"),
        ("edge", "/etc/postfix-edge/master.cf"),
        ("inside", "/etc/postfix/domsec-login.re"),
        ("inside", "/etc/postfix/domsec-certificate.re"),
    ]
    for file in made:
        assert file.text == page[file.path], file.path


def test_the_token_is_told_only_where_asked_for(tmp_path: Path) -> None:
    table = text_of(files(configured(tmp_path), "two-instances"), "/etc/postfix/domsec-login.re")
    assert table == "/^(.+)$/    PREPEND X-Domsec-Auth: TOKEN $1\n"


def test_without_evidence_in_fields_postfix_writes_none(tmp_path: Path) -> None:
    start = documented.files()["/etc/domsec/domsec.toml"].replace("/etc/postfix/senders", "senders")
    rules = start[start.index("[[outbound.evidence]]") : start.index('[[outbound.evidence]]\nkind = "network"')]
    made = files(configured(tmp_path, (rules, "")), "two-instances")
    assert "PREPEND" not in "".join(file.text for file in made)
    assert "domsec-" not in text_of(made, "/etc/postfix/master.cf").replace("domsec-in", "").replace("-domsec", "")


@needs_postconf
def test_machines_with_a_certificate_pass_domsec_in_every_layout(tmp_path: Path) -> None:
    one = text_of(files(configured(tmp_path, *ONE), "content-filter"), "/etc/postfix/master.cf")
    service = one[one.index("2587 inet") :].splitlines()
    assert service[2] == "  -o content_filter=domsec:unix:/run/domsec/outbound.sock"


def test_domains_clients_and_sizes_are_those_of_the_configuration(tmp_path: Path) -> None:
    made = files(
        configured(
            tmp_path,
            ('domains = ["acme.example"]\n\n', 'domains = ["acme.example", "acme.test"]\n\n'),
            ('networks = ["192.0.2.0/28"]', 'networks = ["192.0.2.0/28", "2001:db8::/64"]'),
            ("size = 78708736", "size = 3211264"),
        ),
        "two-instances",
    )
    inside = text_of(made, "/etc/postfix/main.cf")
    assert "virtual_mailbox_domains = acme.example, acme.test\n" in inside
    assert "mynetworks = 127.0.0.0/8, 192.0.2.0/28, [2001:db8::]/64\n" in inside
    assert f"message_size_limit = {1024 * 1024}\n" in inside
    edge = text_of(made, "/etc/postfix-edge/main.cf")
    assert "relay_domains = acme.example, acme.test\n" in edge
    assert "message_size_limit = 3211264\n" in edge


def test_listeners_on_ports_are_named_as_postfix_names_them(tmp_path: Path) -> None:
    made = files(configured(tmp_path, *SMTP), "two-instances")
    assert "default_transport = domsec:[127.0.0.1]:10025\n" in text_of(made, "/etc/postfix/main.cf")
    assert "relay_transport = domsec:[::1]:10027\n" in text_of(made, "/etc/postfix-edge/main.cf")
    assert "  -o smtp_line_length_limit=0\n" in text_of(made, "/etc/postfix/master.cf")
    lmtp = tuple((old, new.replace("smtp:", "lmtp:")) for old, new in SMTP)
    made = files(configured(tmp_path, *lmtp), "two-instances")
    assert "default_transport = domsec:inet:[127.0.0.1]:10025\n" in text_of(made, "/etc/postfix/main.cf")


def test_before_the_queue_the_client_of_postfix_is_not_used(tmp_path: Path) -> None:
    master = text_of(files(configured(tmp_path, *ONE, *SMTP), "before-queue"), "/etc/postfix/master.cf")
    assert "  -o smtpd_proxy_filter=127.0.0.1:10025\n" in master
    assert "lmtp" not in master


def test_addresses_are_mapped_once_wherever_domsec_stands(tmp_path: Path) -> None:
    """After the queue they were before domsec; before it nobody has mapped them when they come back."""
    for layout, replacements, times in (("content-filter", ONE, 2), ("before-queue", (*ONE, *SMTP), 0)):
        master = text_of(files(configured(tmp_path, *replacements), layout), "/etc/postfix/master.cf")
        assert master.count("no_address_mappings") == times
        assert master.count("receive_override_options=no_unknown_recipient_checks,") == 2


def test_a_milter_that_would_hear_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--milter inet:localhost:11332: Postfix shows milters nothing"):
        files(configured(tmp_path, *ONE, *SMTP), "before-queue", Neighbours(("inet:localhost:11332",)))


def test_filters_stand_before_domsec_and_dkim_after_it(tmp_path: Path) -> None:
    others = Neighbours(("inet:localhost:11332", "inet:localhost:8891"), "inet:localhost:8891", "/srv/mailman")
    made = files(configured(tmp_path), "two-instances", others)
    assert "\nsmtpd_milters = inet:localhost:11332, inet:localhost:8891\n" in text_of(made, "/etc/postfix-edge/main.cf")
    leaving = text_of(made, "/etc/postfix-edge/master.cf")
    assert "receive_override_options=no_header_body_checks\n  -o smtpd_milters=inet:localhost:8891\n" in leaving
    inside = text_of(made, "/etc/postfix/main.cf")
    assert "transport_maps = hash:/srv/mailman/postfix_lmtp\n" in inside
    assert "virtual_mailbox_maps = texthash:/etc/postfix/mailboxes, hash:/srv/mailman/postfix_lmtp\n" in inside
    one = text_of(files(configured(tmp_path, *ONE), "content-filter", others), "/etc/postfix/master.cf")
    leaving, arriving = one[one.index("domsec-out unix") :].split("domsec-in unix")
    assert "8891" in leaving
    assert "8891" not in arriving  # else what comes from outside with our From would get our DKIM signature


MILTER = (("[listen]\n", '[listen]\nmilter = "unix:/run/domsec/milter.sock"\n'),)


def test_our_own_milter_comes_after_those_of_others(tmp_path: Path) -> None:
    others = Neighbours(("inet:localhost:11332",))
    made = files(configured(tmp_path, *MILTER), "two-instances", others)
    ours = "inet:localhost:11332, unix:/run/domsec/milter.sock"
    assert f"\nsmtpd_milters = {ours}\n" in text_of(made, "/etc/postfix-edge/main.cf")
    assert text_of(made, "/etc/postfix-edge/master.cf").startswith("smtp      inet  n       -       n ")
    assert "milter.sock" not in text_of(made, "/etc/postfix/main.cf")
    alone = files(configured(tmp_path, *MILTER), "milter", others)
    assert [file.path for file in alone] == ["/etc/postfix/main.cf", "/etc/postfix/master.cf"]
    line = "  -o smtpd_milters=inet:localhost:11332,unix:/run/domsec/milter.sock\n"
    assert text_of(alone, "/etc/postfix/master.cf").endswith(line)
    by_port = (("[listen]\n", '[listen]\nmilter = "[::1]:10028"\n'),)
    assert "inet:[::1]:10028" in text_of(files(configured(tmp_path, *by_port), "milter"), "/etc/postfix/master.cf")


@pytest.mark.parametrize(
    ("layout", "replacements", "problem"),
    [
        ("milter", (), "listen.milter: missing, expected where Postfix asks"),
        ("two-instances", (("lmtp:unix:/run/domsec/outbound", "smtp:unix:/run/domsec/outbound"),
                           ("lmtp:unix:/run/domsec/inbound", "smtp:unix:/run/domsec/inbound")),
         "listen.outbound: smtp:unix:/run/domsec/outbound.sock, expected lmtp:unix or smtp:HOST:PORT"),
        ("two-instances", SMTP[:1], "listen.inbound: lmtp:unix:/run/domsec/inbound.sock, expected the protocol of"),
        ("two-instances", (("smtp:unix:/var/spool/postfix/", "lmtp:unix:/var/spool/postfix/"),),
         "next_hop.inbound: lmtp:unix:/var/spool/postfix/public/domsec-in, expected smtp"),
        ("two-instances", (("/var/spool/postfix/public/domsec-in", "/var/spool/postfix/private/domsec-in"),),
         "next_hop.inbound: smtp:unix:/var/spool/postfix/private/domsec-in, expected a socket in folder public"),
        ("two-instances", (('inbound = "lmtp:unix:/run/domsec/inbound.sock"\n', ""),
                           ('inbound = "smtp:unix:/var/spool/postfix/public/domsec-in"\n', "")),
         "listen.inbound: missing, expected both directions for Postfix"),
        ("before-queue", (), "listen.outbound: lmtp:unix:/run/domsec/outbound.sock, expected smtp"),
        ("before-queue", MILTER, "listen.milter: Postfix shows milters nothing of what smtpd_proxy_filter takes"),
        ("content-filter", (("/var/spool/postfix-edge/", "/var/spool/postfix/"),),
         "next_hop.inbound: smtp:unix:/var/spool/postfix/public/domsec-in, expected another service"),
    ],
)  # fmt: skip
def test_what_postfix_cannot_do_is_said(
    tmp_path: Path, layout: Layout, replacements: tuple[tuple[str, str], ...], problem: str
) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        files(configured(tmp_path, *replacements), layout)
    assert problem in str(wrong.value)
    assert "domsec.toml:" in str(wrong.value)  # with its line


# --- a Postfix that is there -----------------------------------------------------------------------------------------


SERVICES = {  # what Debian has written
    "main.cf": "compatibility_level = 3.6\n",
    "master.cf": "pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nsmtp unix - - n - - smtp\n",
}


def installed(folder: Path, made: tuple[File, ...], *changes: tuple[str, str]) -> dict[Instance, Path]:
    """The files in folders as an administrator has them, with changes of his."""
    found: dict[Instance, Path] = {}
    used = set()
    for file in made:
        if file.name in ("main.cf", "master.cf"):
            text = file.text
            for old, new in changes:
                if old in text:
                    used.add(old)
                    text = text.replace(old, new)
            etc = folder / file.instance
            etc.mkdir(exist_ok=True)
            (etc / file.name).write_text(SERVICES[file.name] + text)
            found[file.instance] = etc
    assert used == {old for old, _ in changes}
    return found


def compared(folder: Path, *changes: tuple[str, str], layout: Layout = "two-instances") -> list[Difference]:
    replacements = {"two-instances": (), "content-filter": ONE, "before-queue": (*ONE, *SMTP), "milter": MILTER}[layout]
    made = files(configured(folder, *replacements), layout)
    return list(differences(made, installed(folder, made, *changes), layout))


@needs_postconf
@pytest.mark.parametrize("layout", ["two-instances", "content-filter", "before-queue", "milter"])
def test_what_was_printed_differs_in_nothing(tmp_path: Path, layout: Layout) -> None:
    assert compared(tmp_path, layout=layout) == []


@needs_postconf
def test_spelling_and_what_is_the_administrators_own_do_not_matter(tmp_path: Path) -> None:
    assert (
        compared(
            tmp_path,
            ("mynetworks = 127.0.0.0/8, 192.0.2.0/28", "mynetworks =\n  127.0.0.0/8\n  192.0.2.0/28"),
            ("/srv/mail", "/home/mail"),
            ("relay_recipient_maps = texthash:/etc/postfix-edge/recipients", "relay_recipient_maps = static:all"),
            ("# Everything for us", "message_size_limit = 0\n# Everything for us"),
            ("\nmessage_size_limit = 78708736", ""),
            ("mailbox_size_limit = 0\nvirtual_mailbox_limit = 0", "mailbox_size_limit = 78708736"),
            ("virtual_gid_maps", "virtual_mailbox_limit = 100000000\nvirtual_gid_maps"),
        )
        == []
    )


@needs_postconf
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("default_transport = domsec:unix:/run/domsec/outbound.sock", "default_transport = smtp"),
         "inside: default_transport is smtp, expected domsec:unix:/run/domsec/outbound.sock: "
         "mail could leave or arrive without domsec"),
        (("# Who may send.", "relayhost = [mx.isp.example]\n# Who may send."),
         "inside: relayhost is [mx.isp.example], expected empty: mail could leave or arrive without domsec"),
        (("smtpd_relay_restrictions = reject_unauth_destination", ""),
         "edge: smtpd_relay_restrictions is permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination, "
         "expected reject_unauth_destination: mail could leave or arrive without domsec"),
        (("-o message_size_limit=78708736\n  -o cleanup", "-o message_size_limit=10240000\n  -o cleanup"),
         "inside: domsec-in/unix/message_size_limit is 10240000, expected 78708736 or more: "
         "a protected message is larger than what was sent"),
        (("domsec    unix  -       -       n       -       20      lmtp",
          "domsec    unix  -       -       y       -       20      lmtp"),
         "inside: domsec/unix, chroot is y, expected n: the path of a socket would begin there"),
        (("cleanup-domsec unix n", "#cleanup-domsec unix n"), "inside: cleanup-domsec/unix is missing, expected"),
        (("  -o receive_override_options=no_header_body_checks,no_milters\n  -o message",
          "  -o receive_override_options=no_milters\n  -o message"),
         "inside: domsec-in/unix/receive_override_options is no_milters, expected no_header_body_checks,no_milters: "
         "what was signed could be changed, or addresses mapped twice or never"),
        (("mailbox_size_limit = 0\nvirtual", "mailbox_size_limit = 26214400\nvirtual"),
         "inside: mailbox_size_limit is 26214400, expected 0: "
         "local delivery stops where it is smaller than message_size_limit"),
    ],
)  # fmt: skip
def test_what_lets_mail_pass_beside_or_breaks_it_is_named_with_its_reason(
    tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    found = compared(tmp_path, change)
    assert [difference.severity for difference in found][:1] == ["error"]
    assert str(found[0]).startswith(expected)


@needs_postconf
@pytest.mark.parametrize(
    ("inside", "edge", "told"),
    [("192.0.2.1, 127.0.0.1", "203.0.113.25", 0), ("all", "203.0.113.25", 1), ("192.0.2.1", "127.0.0.1 192.0.2.1", 1)],
)
def test_two_instances_do_not_want_the_same_port(tmp_path: Path, inside: str, edge: str, told: int) -> None:
    found = compared(
        tmp_path,
        ("inet_interfaces = $myhostname, localhost", f"inet_interfaces = {inside}"),
        ("inet_interfaces = $myhostname\n", f"inet_interfaces = {edge}\n"),
        ("domsec    unix", "smtp inet n - n - - smtpd\ndomsec    unix"),
    )
    assert [(each.instance, each.name) for each in found] == [("edge", "inet_interfaces")] * told
    assert all(str(each).endswith("expected other addresses: both instances listen on port 25") for each in found)


@needs_postconf
def test_a_table_of_routes_is_the_administrators_to_look_at(tmp_path: Path) -> None:
    found = compared(tmp_path, ("# Who may send.", "transport_maps = hash:/etc/postfix/transport\n# Who may send."))
    assert [(d.severity, d.name, d.found) for d in found] == [
        ("warning", "transport_maps", "hash:/etc/postfix/transport")
    ]


@needs_postconf
def test_in_one_instance_every_server_has_to_ask_domsec(tmp_path: Path) -> None:
    service = (
        "smtp      inet  n",
        "submissions inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes\nsmtp      inet  n",
    )
    assert list(map(str, compared(tmp_path, service, layout="content-filter"))) == [
        "single: submissions/inet/content_filter is empty, expected one of domsec's listeners: "
        "mail could leave or arrive without domsec"
    ]
    assert compared(tmp_path, (service[0], service[1].replace("yes", "yes -o content_filter=domsec:unix:/run/x")),
                    layout="content-filter") == []  # fmt: skip


def test_servers_that_do_not_log_in_have_a_service_where_port_25_is_for_what_arrives(tmp_path: Path) -> None:
    one = text_of(files(configured(tmp_path, *ONE), "content-filter"), "/etc/postfix/master.cf")
    service = one[one.index("2525 inet") : one.index("smtp      inet")]
    assert "  -o content_filter=domsec:unix:/run/domsec/outbound.sock\n" in service
    assert "  -o mynetworks=192.0.2.0/28\n" in service
    without = (('kind = "network"\nnetworks = ["192.0.2.0/28"]\n', 'kind = "network"\nnetworks = ["unix"]\n'), *ONE)
    assert "2525" not in text_of(files(configured(tmp_path, *without), "content-filter"), "/etc/postfix/master.cf")


@needs_postconf
def test_who_could_relay_by_port_25_of_one_instance_is_told(tmp_path: Path) -> None:
    found = compared(
        tmp_path, ("  -o smtpd_relay_restrictions=reject_unauth_destination\n", ""), layout="content-filter"
    )
    assert list(map(str, found)) == [
        "single: smtp/inet/smtpd_relay_restrictions is permit_mynetworks, permit_sasl_authenticated, "
        "defer_unauth_destination, expected reject_unauth_destination: mail could leave or arrive without domsec"
    ]


@needs_postconf
def test_other_milters_may_stand_beside_ours(tmp_path: Path) -> None:
    ours = "smtpd_milters=unix:/run/domsec/milter.sock"
    beside = (ours, "smtpd_milters=inet:localhost:11332,unix:/run/domsec/milter.sock")
    assert compared(tmp_path, beside, layout="milter") == []
    found = compared(tmp_path, (ours, "smtpd_milters=inet:localhost:11332"), layout="milter")
    assert list(map(str, found)) == [
        "single: smtp/inet/smtpd_milters is inet:localhost:11332, expected unix:/run/domsec/milter.sock: "
        "what passes would not be judged, or not be signed by DKIM"
    ]


@needs_postconf
@pytest.mark.parametrize(
    ("layout", "told"), [("content-filter", []), ("milter", ["smtp/inet, chroot"]), ("two-instances", [])]
)
def test_a_chroot_matters_where_a_socket_is_found_by_its_path(tmp_path: Path, layout: Layout, told: list[str]) -> None:
    """As Debian has it for port 25."""
    chrooted = ("smtp      inet  n       -       n", "smtp      inet  n       -       y")
    own = ("domsec    unix", "smtp inet n - y - - smtpd -o inet_interfaces=192.0.2.1\ndomsec    unix")
    addresses = ("inet_interfaces = $myhostname\n", "inet_interfaces = 203.0.113.25\n")
    changes = (own, addresses, ("$myhostname, localhost", "192.0.2.1")) if layout == "two-instances" else (chrooted,)
    assert [difference.name for difference in compared(tmp_path, *changes, layout=layout)] == told


@needs_postconf
def test_the_edge_finds_a_milter_by_its_path(tmp_path: Path) -> None:
    made = files(configured(tmp_path, *MILTER), "two-instances")
    folders = installed(tmp_path, made, ("smtp      inet  n       -       n", "smtp      inet  n       -       y"))
    assert [(each.instance, each.name) for each in differences(made, folders, "two-instances")] == [
        ("edge", "smtp/inet, chroot")
    ]


@needs_postconf
def test_what_postconf_cannot_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    made = files(configured(tmp_path), "two-instances")
    folders = installed(tmp_path, made)
    (folders["edge"] / "main.cf").unlink()
    with pytest.raises(
        ConfigurationError, match=r"postconf cannot read .*/edge: postconf: fatal: open .*/edge/main.cf"
    ):
        differences(made, folders, "two-instances")
