"""Configuration files that load, and each way in which one may not."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path

import pytest

from domsec.errors import ConfigurationError
from domsec.limits import DEFAULT
from domsec.policy.configuration import Configuration, load_peers, peers
from domsec.policy.kinds import Endpoint, LdapUrl, TcpAddress
from domsec.policy.options import PeerOptions
from domsec.services.peer import Peer
from domsec.trust.path import AnchorSet

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "domsec.toml.example"

MINIMAL = 'domains = ["acme.example"]\n'
GATEWAY = """\
domains = ["acme.example"]
[listen]
outbound = "lmtp:unix:out.sock"
inbound = "smtp:127.0.0.1:10025"
[next_hop]
outbound = "smtp:127.0.0.1:10026"
inbound = "lmtp:[::1]:10027"
[keys.signing]
credential = "signing.pem"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that configurations here name."""
    for name in ("signing.pem", "confidentiality.pem", "old.pem", "password", "token", "logins", "ca.pem"):
        (tmp_path / name).touch()
    (tmp_path / "anchors").mkdir()
    return tmp_path


def load(folder: Path, text: str) -> Configuration:
    (folder / "domsec.toml").write_text(text)
    return Configuration.load(folder / "domsec.toml")


def problems(folder: Path, text: str) -> list[str]:
    """What is wrong with a configuration, each with its line but without the folder."""
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_a_small_file_has_the_defaults(folder: Path) -> None:
    configuration = load(folder, MINIMAL)
    assert configuration.domains == ("acme.example",)
    assert configuration.outbound.sign == "required"
    assert configuration.inbound.strip == "verified"
    assert configuration.outbound.unknown_domains == "pass"
    assert configuration.keys.signing is None
    assert configuration.limits == DEFAULT
    assert configuration.authserv_id == "acme.example"
    assert configuration.store.url == "sqlite:////var/lib/domsec/domsec.db"


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("ldaps://ldap.beta.example", "ldap.beta.example", 636),
        ("ldap://192.0.2.1/", "192.0.2.1", 389),
        ("ldaps://[2001:db8::1]", "2001:db8::1", 636),
        ("ldaps://[2001:db8::1]:1636/", "2001:db8::1", 1636),
        ("ldap://x:3890", "x", 3890),
    ],
)
def test_a_directory(folder: Path, url: str, host: str, port: int) -> None:
    text = f'[[directory]]\nkind = "ldap"\nurl = "{url}"\ndomains = ["BETA.example"]\nbase = "dc=beta,dc=example"\n'
    (directory,) = load(folder, MINIMAL + text).directories
    assert directory.url == LdapUrl("ldaps" if url.startswith("ldaps") else "ldap", host, port)
    assert (directory.domains, directory.base) == (("beta.example",), "dc=beta,dc=example")
    assert (directory.starttls, directory.timeout, directory.keep, directory.keep_nothing) == (True, 5, 3600, 600)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('kind = "ldap"', "domsec.toml:2: directory[0] without url, expected the server"),
        (
            'kind = "ldap"\nurl = "ldap://x"\nstarttls = false\nbind_dn = "cn=x"\npassword_file = "password"',
            "domsec.toml:5: directory[0] sends a password in the clear, expected starttls",
        ),
        (
            'kind = "ldap"\nurl = "ldaps://x"\nbind_dn = "cn=x"',
            "domsec.toml:2: directory[0] with one of bind_dn and password_file, expected both",
        ),
        *(
            (
                f'kind = "ldap"\nurl = "{url}"',
                f'domsec.toml:4: directory[0].url is "{url}", expected a server such as '
                '"ldaps://ldap.beta.example" or "ldap://192.0.2.1:389"',
            )
            for url in ("ldap.beta.example", "ldap://", "ldap://x:0", "ldaps://x/dc=beta", "http://x", "ldap://[::1", "ldapi:///")
        ),
        ('kind = "http"', 'domsec.toml:3: directory[0].kind is "http", expected one of "ldap", "smimea"'),
        ('url = "ldap://x"', 'domsec.toml:2: directory[0].kind is missing, expected one of "ldap", "smimea"'),
    ],
)  # fmt: skip
def test_a_directory_that_cannot_be_asked(folder: Path, options: str, expected: str) -> None:
    assert problems(folder, f"{MINIMAL}[[directory]]\n{options}\n") == [expected]


def test_nothing_is_evidence_unless_configured(folder: Path) -> None:
    assert load(folder, MINIMAL).outbound.evidence == ()


def test_values_are_what_they_mean(folder: Path) -> None:
    configuration = load(
        folder,
        GATEWAY
        + """
[outbound]
audit_dca = "none"
[[outbound.evidence]]
kind = "network"
networks = ["192.0.2.0/24", "2001:db8::/32", "unix"]
domains = ["Sub.ACME.example"]
[keys.confidentiality]
credential = "confidentiality.pem"
previous = ["old.pem"]
[trust]
roles = ["anchors", "ca.pem"]
[store]
url = "sqlite:///holds.db"
[limits]
depth = 8
[log]
format = "text"
""",
    )
    assert configuration.listen.outbound == Endpoint("lmtp", path=str(folder / "out.sock"))
    assert configuration.listen.inbound == Endpoint("smtp", host="127.0.0.1", port=10025)
    assert str(configuration.next_hop.inbound) == "lmtp:[::1]:10027"
    assert configuration.keys.signing is not None
    assert configuration.keys.signing.credential == (str(folder / "signing.pem"),)
    assert configuration.keys.confidentiality is not None
    assert configuration.keys.confidentiality.previous == (str(folder / "old.pem"),)
    (evidence,) = configuration.outbound.evidence
    assert evidence.domains == ("sub.acme.example",)
    assert "192.0.2.77" in evidence.networks
    assert "2001:db8::1" in evidence.networks
    assert "::ffff:192.0.2.1" in evidence.networks
    assert None in evidence.networks
    assert "198.51.100.1" not in evidence.networks
    assert "rubbish" not in evidence.networks
    assert ipaddress.ip_network("192.0.2.0/24") in evidence.networks.networks
    assert configuration.trust.roles == (folder / "anchors", folder / "ca.pem")
    assert configuration.store.url == f"sqlite:///{folder}/holds.db"
    assert configuration.limits.depth == 8
    assert configuration.limits.size == DEFAULT.size
    assert configuration.log.format == "text"


def test_a_socket_mode_is_octal(folder: Path) -> None:
    assert load(folder, MINIMAL + '[listen]\nsocket_mode = "0666"\nmetrics = "[::1]:9"\n').listen.socket_mode == 0o666
    assert load(folder, MINIMAL + '[listen]\nmetrics = "[::1]:9"\n').listen.metrics == TcpAddress("::1", 9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "domsec.toml:1: domains is missing, expected a list of mail domains"),
        ("domains = []", "domsec.toml:1: domains is empty, expected at least one mail domain"),
        ('domains = "acme.example"', 'domsec.toml:1: domains is "acme.example", expected a list of mail domains'),
        ('domains = [\n"acme.example",\n"a..b"]', 'domsec.toml:3: domains[1] is "a..b"'),
        (MINIMAL + 'domian = ["x"]', 'domsec.toml:2: unknown key "domian" in a configuration, did you mean "domains"?'),
        (MINIMAL + "[outbuond]", 'domsec.toml:2: unknown key "outbuond" in a configuration, did you mean "outbound"?'),
        (
            MINIMAL + '[outbound]\nencrypt = "auto"\nencyrpt = "no"',
            'domsec.toml:4: unknown key "encyrpt" in [outbound], did you mean "encrypt"?',
        ),
        (
            MINIMAL + "[outbound]\non-refusal = 1",
            'domsec.toml:3: unknown key "on-refusal" in [outbound], did you mean "on_refusal"?',
        ),
        (
            MINIMAL + '[outbound]\nauthserv_id = "mx"',
            'domsec.toml:3: unknown key "authserv_id" in [outbound]; it belongs to [[outbound.evidence]] or [inbound]',
        ),
        (
            MINIMAL + "[web]\nzzz = 1",
            'domsec.toml:3: unknown key "zzz" in [web], expected one of listen',
        ),
        (MINIMAL + "[keys.singing]", 'domsec.toml:2: unknown key "singing" in [keys], did you mean "signing"?'),
        (
            MINIMAL + '[outbound]\nsign = "yes"',
            'domsec.toml:3: outbound.sign is "yes", expected one of "required", "if-possible", "never"',
        ),
        (
            MINIMAL + '[outbound]\nprotect_headers = "yes"',
            'domsec.toml:3: outbound.protect_headers is "yes", expected true or false',
        ),
        (MINIMAL + "outbound = 3", "domsec.toml:2: outbound is 3, expected a section [outbound]"),
        (MINIMAL + "[[outbound]]", "domsec.toml:2: outbound is a list, expected one section [outbound]"),
        (MINIMAL + "[peer]", "domsec.toml:2: peer is a table, expected tables [[peer]]"),
        (MINIMAL + "keys = 1", "domsec.toml:2: keys is 1, expected a section [keys]"),
        (
            MINIMAL + '[listen]\noutbound = "lmtp:/run/x"',
            'domsec.toml:3: listen.outbound is "lmtp:/run/x", expected "smtp:HOST:PORT"',
        ),
        (MINIMAL + '[listen]\noutbound = "smtp:h:99999"', 'domsec.toml:3: listen.outbound is "smtp:h:99999"'),
        (
            MINIMAL + f'[listen]\noutbound = "lmtp:unix:{"x" * 108}"',
            "whose path is empty or longer than 107 octets",
        ),
        (MINIMAL + "[listen]\nworkers = -1", "domsec.toml:3: listen.workers is -1, expected a whole number from 0 to"),
        (MINIMAL + "[listen]\nworkers = true", "domsec.toml:3: listen.workers is true, expected a whole number"),
        (MINIMAL + '[listen]\nsocket_mode = "rw"', 'domsec.toml:3: listen.socket_mode is "rw", expected file permis'),
        (
            MINIMAL + '[listen]\ntrusted_clients = ["10.0.0.1/8"]',
            'domsec.toml:3: listen.trusted_clients[0] is "10.0.0.1/8", which has host bits set, expected a list',
        ),
        (MINIMAL + '[keys.signing]\npassword_file = "password"', "domsec.toml:2: keys.signing.credential is missing"),
        (
            MINIMAL + '[keys.signing]\ncredential = "absent.pem"',
            'domsec.toml:3: keys.signing.credential is "absent.pem", which does not exist, expected an existing file',
        ),
        (
            MINIMAL + '[keys.signing]\ncredential = "signing.pem"\npassword = "x"',
            'domsec.toml:4: unknown key "password" in [keys.signing], did you mean "password_file"?',
        ),
        (
            MINIMAL + '[trust]\nroles = [\n  "ca.pem",\n  "absent",\n]',
            'domsec.toml:5: trust.roles[1] is "absent", which does not exist',
        ),
        (MINIMAL + '[store]\nurl = "mysql://x"', 'domsec.toml:3: store.url is "mysql://x", expected "sqlite:///PATH"'),
        (MINIMAL + '[store]\nurl = "sqlite:///no/x.db"', 'is "no/x.db", whose folder does not exist, expected'),
        (MINIMAL + "[limits]\ndepth = 0", "domsec.toml:3: limits.depth is 0, expected a whole number of 1 or more"),
        (MINIMAL + "[limits]\ndeepth = 1", 'unknown key "deepth" in [limits], did you mean "depth"?'),
        (MINIMAL + "[[peer]]\nsign = true", "domsec.toml:2: peer[0].domain is missing, expected a mail domain"),
        (
            MINIMAL + '[[peer]]\ndomain = "b.example"\n[[peer]]\ndomain = "c.example"\nciper = "x"',
            'domsec.toml:6: unknown key "ciper" in [[peer]], did you mean "cipher"?',
        ),
        (MINIMAL + '[[peer]]\ndomain = "b.example"\npins = ["ab"]', 'domsec.toml:4: peer[0].pins[0] is "ab", expected'),
        (
            MINIMAL + '[[peer]]\ndomain = "b.example"\ndistinguished_name = "nonsense"',
            'domsec.toml:4: peer[0].distinguished_name is "nonsense", expected a distinguished name',
        ),
        (MINIMAL + '[[peer]]\ndomain = "b.example"\nmapping_forms = ["x400"]', "domsec.toml:4: peer[0].mapping_forms"),
        ("domains = [", "domsec.toml:1: invalid value, expected TOML"),
        ("a = 1\na = 2", "domsec.toml:2: cannot overwrite a value, expected TOML"),
        ('domains = ["acme.example"]\n[inbound]\nstrip = none', "domsec.toml:3: invalid value, expected TOML"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_was_expected(folder: Path, text: str, expected: str) -> None:
    found = problems(folder, text)
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ('inbound = "lmtp:[::1]:10027"\n', ""),
            "domsec.toml:4: listen.inbound without next_hop.inbound, expected both",
        ),
        (
            ('inbound = "smtp:127.0.0.1:10025"\n', ""),
            "domsec.toml:6: next_hop.inbound without listen.inbound, expected both",
        ),
        (
            ('outbound = "smtp:127.0.0.1:10026"', 'outbound = "smtp:127.0.0.1:10025"'),
            "domsec.toml:6: next_hop.outbound is the same place as listen.inbound, expected another",
        ),
        (
            ("[listen]", "[listen]\nrequire_tls = true"),
            "domsec.toml:3: listen.require_tls without listen.tls, expected",
        ),
        (
            ("[listen]", '[listen]\ntls_clients = ["signing.pem"]'),
            "domsec.toml:3: listen.tls_clients without listen.tls, expected the certificate to show",
        ),
        (
            ("[listen]", '[[outbound.evidence]]\nkind = "certificate"\nlogins = "signing.pem"\n[listen]'),
            "domsec.toml:3: outbound.evidence[0] without token_file, expected listen.tls_clients",
        ),
        (
            ("[listen]", '[[outbound.evidence]]\nkind = "certificate"\nlogins = "signing.pem"\nheader = "X"\n[listen]'),
            "domsec.toml:5: outbound.evidence[0].header without token_file, expected both",
        ),
        (
            ("[next_hop]", '[next_hop]\nca = []\ntls = "yes"'),
            'domsec.toml:7: next_hop.tls is "yes", expected one of "no", "may", "verify"',
        ),
        (
            ("[listen]", '[listen]\nmilter = "127.0.0.1:10025"'),
            "domsec.toml:3: listen.milter is the same place as listen.inbound, expected another",
        ),
        (
            ("[listen]", '[listen]\nmilter = "smtp:127.0.0.1:10025"'),
            'domsec.toml:3: listen.milter is "smtp:127.0.0.1:10025", expected "unix:PATH" or "HOST:PORT"',
        ),
        (
            ('[keys.signing]\ncredential = "signing.pem"\n', ""),
            'domsec.toml:3: outbound.sign is "required" without a key, expected [keys.signing]',
        ),
        (
            ("[keys.signing]", '[keys.review]\ncredential = "signing.pem"\n[keys.signing]'),
            "domsec.toml:9: keys.review.credential is that of keys.signing too, expected a key of its own",
        ),
        (("[listen]", '[outbound]\naudit_dca = "own"\n[listen]'), "domsec.toml:3: outbound.audit_dca is"),
        (
            ("[listen]", '[outbound]\nrequire_encryption = true\nencrypt = "no"\n[listen]'),
            "domsec.toml:3: outbound.require_encryption with encrypt",
        ),
        (
            ("[listen]", '[[outbound.evidence]]\nkind = "network"\n[listen]'),
            'domsec.toml:2: evidence of kind "network" without networks, expected it',
        ),
        (
            ("[listen]", '[[outbound.evidence]]\nkind = "header"\n[listen]'),
            'domsec.toml:2: evidence of kind "header" without token_file, expected it',
        ),
        (
            ("[listen]", '[[outbound.evidence]]\nkind = "xclient"\nnetworks = ["10.0.0.0/8"]\n[listen]'),
            'domsec.toml:4: outbound.evidence[0].networks means nothing for kind "xclient", expected domains, logins',
        ),
        (
            ("[listen]", '[[outbound.evidence]]\nkind = "certificate"\ntoken_file = "signing.pem"\n[listen]'),
            'domsec.toml:2: evidence of kind "certificate" without logins, expected it',
        ),
        (
            ("[listen]", '[[outbound.evidence]]\nkind = "local"\n[listen]'),
            'domsec.toml:2: evidence of kind "local" without logins, expected it',
        ),
        (
            ("[listen]", '[[outbound.evidence]]\nkind = "results"\nnetworks = ["10.0.0.0/8"]\n[listen]'),
            'domsec.toml:2: evidence of kind "results" without authserv_id, expected it',
        ),
        (
            ("[listen]", '[[outbound.evidence]]\nkind = "results"\nauthserv_id = "mx"\nnetworks = []\n[listen]'),
            "domsec.toml:5: outbound.evidence[0].networks is empty, expected networks",
        ),
        (
            (
                "[listen]",
                '[[outbound.evidence]]\nkind = "xclient"\nlogins = "signing.pem"\nowners = "signing.pem"\n[listen]',
            ),
            "domsec.toml:5: outbound.evidence[0].owners beside logins, expected one of them",
        ),
        (
            (
                "[listen]",
                '[[outbound.evidence]]\nkind = "xclient"\ndomains = ["acme.example", "notacme.example"]\n[listen]',
            ),
            'domsec.toml:4: outbound.evidence[0].domains[1] is "notacme.example", expected one of our domains',
        ),
        (
            ("[listen]", '[[peer]]\ndomain = "acme.example"\n[listen]'),
            'domsec.toml:3: peer[0].domain is "acme.example", expected a domain not our own',
        ),
        (
            ("[listen]", '[[peer]]\ndomain = "b.example"\n[[peer]]\ndomain = "B.example"\n[listen]'),
            'domsec.toml:5: peer[1].domain is "b.example" a second time, expected one entry',
        ),
        (
            ("[listen]", '[[peer]]\ndomain = "b.example"\nnaming = "pinned"\n[listen]'),
            'domsec.toml:4: peer naming is "pinned" without pins',
        ),
        (
            ("[listen]", '[outbound]\nuser_signature = "if-held"\n[listen]'),
            'domsec.toml:3: outbound.user_signature is "if-held" without keys, expected users.folder',
        ),
        (
            ("[listen]", '[[peer]]\ndomain = "b.example"\ndomsec = false\nuser_signature = "required"\n[listen]'),
            'domsec.toml:5: peer user_signature is "required" without keys, expected users.folder',
        ),
        (
            ("[listen]", '[users]\nfolder = "keyd:users"\n[listen]'),
            'domsec.toml:3: users.folder is "keyd:users" without certificates, expected users.certificates',
        ),
        (
            ("[listen]", '[users]\nfolder = "."\ncertificates = "."\n[listen]'),
            'domsec.toml:4: users.certificates without folder = "keyd:users"',
        ),
        (
            ("[listen]", '[users]\nfolder = "keyd:signing"\n[listen]'),
            'domsec.toml:3: users.folder is "keyd:signing", expected an existing folder or keyd:users',
        ),
        (
            ("[listen]", '[users]\nfolder = "."\n[[peer]]\ndomain = "b.example"\nuser_signature = "if-held"\n[listen]'),
            'domsec.toml:6: peer user_signature = "if-held" with a gateway there, expected domsec = false',
        ),
    ],
)
def test_a_contradiction_is_named_with_its_line(folder: Path, change: tuple[str, str], expected: str) -> None:
    found = problems(folder, GATEWAY.replace(*change))
    assert len(found) == 1
    assert expected in found[0]


LIST = """\
[[list]]
name = "staff"
address = "staff@acme.example"
owner = "owner@acme.example"
members = ["alice@acme.example"]
credential = "confidentiality.pem"
"""


def test_lists_may_all_have_their_keys_in_the_key_process(folder: Path) -> None:
    """Each by certificates of its own; and the key process's own configuration says nothing of members."""
    text = "".join(
        each.replace('members = ["alice@acme.example"]\n', "").replace(file, 'keyd:lists"\ncertificates = "old.pem')
        for each, file in ((LIST, "confidentiality.pem"), (SECOND, "old.pem"))
    )
    assert [one.credential for one in load(folder, MINIMAL + text).lists] == ["keyd:lists"] * 2


def test_a_mail_list_has_its_defaults(folder: Path) -> None:
    (staff,) = load(folder, MINIMAL + LIST).lists
    assert (staff.name, staff.address.address, staff.owner.address) == (
        "staff",
        "staff@acme.example",
        "owner@acme.example",
    )
    assert [m.address for m in staff.members] == ["alice@acme.example"]
    assert (staff.encrypt, staff.grouping, staff.receipts, staff.next_hop) == (False, "member", "as-asked", None)


SECOND = LIST.replace("staff", "board").replace("confidentiality.pem", "old.pem")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LIST.replace("confidentiality.pem", "keyd:lists"),
         'domsec.toml:7: list[0].credential is "keyd:lists" without certificates, expected those of the list'),
        (LIST.replace("confidentiality.pem", "keyd:signing"), 'list[0].credential is "keyd:signing", expected'),
        (LIST.replace("owner@", "Staff@"), "domsec.toml:4: list[0] is its own owner, expected somebody else"),
        (LIST.replace("alice@", "staff@"), "domsec.toml:4: list[0] is its own member, expected somebody else"),
        (LIST + 'receipts = "instead-of"\n', 'list[0].receipts is "instead-of" with 0 receipts_to, expected addresses'),
        (LIST + 'receipts_to = ["a@b.example"]\n', 'list[0].receipts is "as-asked" with 1 receipts_to'),
        (LIST + LIST.replace("staff@", "other@").replace("confidentiality.pem", "old.pem"),
         'domsec.toml:9: list[1].name is "staff" a second time'),
        (LIST + SECOND.replace("board@", "staff@"), 'list[1].address is "staff@acme.example" a second time'),
        (LIST + SECOND.replace("old.pem", "confidentiality.pem"),
         "domsec.toml:13: list[1].credential is that of list staff too, expected one for this list alone"),
        ('[keys.signing]\ncredential = "old.pem"\n' + SECOND, "list[0].credential is that of keys.signing too"),
        (LIST.replace("staff@acme.example", "staff"), 'domsec.toml:4: list[0].address is "staff": '),
        (LIST.replace('owner = "owner@acme.example"\n', ""), "domsec.toml:2: list[0].owner is missing, expected a"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_mail_list_is_named_with_its_line(folder: Path, text: str, expected: str) -> None:
    found = problems(folder, MINIMAL + text)
    assert len(found) == 1
    assert expected in found[0]


def test_all_problems_are_told_at_once_in_the_order_of_the_file(folder: Path) -> None:
    found = problems(
        folder, MINIMAL + '[listen]\nworkers = "x"\nport = 25\n[inbound]\nstrip = "all"\n[log]\nlevel = 3\n'
    )
    assert [problem.split(":")[1] for problem in found] == ["3", "4", "6", "8"]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (('outbound = "smtp:127.0.0.1:10025"', 'outbond = "smtp:127.0.0.1:10025"'), 3),
        (("[next_hop]", "[nexthop]"), 4),
        (('credential = "signing.pem"', 'credential = "singing.pem"'), 7),
    ],
)
def test_one_mistake_is_one_problem(folder: Path, wrong: tuple[str, str], line: int) -> None:
    """What could not be read is not said to be missing as well."""
    text = MINIMAL + (
        '[listen]\noutbound = "smtp:127.0.0.1:10025"\n[next_hop]\noutbound = "smtp:127.0.0.1:10026"\n'
        '[keys.signing]\ncredential = "signing.pem"\n'
    )
    (folder / "domsec.toml").write_text(text)
    Configuration.load(folder / "domsec.toml")
    (problem,) = problems(folder, text.replace(*wrong))
    assert f"domsec.toml:{line}: " in problem


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"domsec\.toml: cannot be read: No such file"):
        Configuration.load(tmp_path / "domsec.toml")


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b'domains = ["acme.example"]\n# caf\xe9', ":2: not UTF-8, expected TOML text"),
        (b"a = " + b"[" * 100_000, ": nested too deeply, expected TOML text"),
        (b"#" * (1024 * 1024 + 1), ": longer than 1048576 octets"),
    ],
)
def test_what_is_no_configuration_at_all_is_named(tmp_path: Path, octets: bytes, expected: str) -> None:
    (tmp_path / "domsec.toml").write_bytes(octets)
    with pytest.raises(ConfigurationError) as caught:
        Configuration.load(tmp_path / "domsec.toml")
    assert expected in str(caught.value)


def test_windows_line_ends_do_not_move_lines(folder: Path) -> None:
    (folder / "domsec.toml").write_bytes(b'domains = ["acme.example"]\r\n\r\n[log]\r\nlevel = 3\r\n')
    with pytest.raises(ConfigurationError, match=r"domsec\.toml:4: log\.level is 3"):
        Configuration.load(folder / "domsec.toml")


def test_the_example_in_the_documentation_loads(folder: Path) -> None:
    text = EXAMPLE.read_text().replace("/var/lib/domsec", str(folder))
    for name in ("acme-signing.p12", "acme-confidentiality.p12", "auth-token", "trust/gamma-ca.pem"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    for name in ("trust/roles", "trust/users", "certificates", "crls"):
        (folder / name).mkdir()
    configuration = load(folder, text)
    assert len(configuration.peers) == 2
    assert [evidence.kind for evidence in configuration.outbound.evidence] == ["header", "network"]


@pytest.mark.requirement("R3183-3.1.1-20")
def test_a_local_convention_holds_only_where_an_entry_agrees_on_it(folder: Path) -> None:
    """Only `[[peer]]` has the option; without it, and for domains without an entry, the RFC's naming holds."""
    text = MINIMAL + '[[peer]]\ndomain = "b.example"\n[[peer]]\ndomain = "c.example"\nnaming = "mailbox"\n'
    assert [peer.naming for peer in load(folder, text).peers] == ["strict", "mailbox"]
    assert "unknown key" in problems(folder, MINIMAL + '[inbound]\nnaming = "mailbox"')[0]


@pytest.mark.requirement("R3183-6-02")
def test_a_password_in_the_configuration_is_refused_and_not_repeated(folder: Path) -> None:
    found = problems(folder, MINIMAL + '[keys.signing]\ncredential = "signing.pem"\npassword = "s3cret"\n')
    assert len(found) == 1
    assert "s3cret" not in found[0]


def test_a_peer_file_has_nothing_but_peers(folder: Path) -> None:
    file = folder / "peers.toml"
    file.write_text('[[peer]]\ndomain = "Beta.example"\nnaming = "pinned"\npins = ["' + "AB:" * 31 + 'AB"]\n')
    (peer,) = load_peers(file)
    assert peer.domain == "beta.example"
    assert peer.pins == ("ab" * 32,)
    file.write_text('[[peer]]\ndomain = "b.example"\n[outbound]\nsign = "never"\n')
    with pytest.raises(ConfigurationError, match=r'peers\.toml:3: unknown key "outbound"'):
        load_peers(file)
    file.write_text('[[peer]]\ndomain = "b.example"\nnaming = "pinned"\n')
    with pytest.raises(ConfigurationError, match=r"peers\.toml:3: peer naming is .pinned. without pins"):
        load_peers(file)


def test_agreements_become_peers_with_their_anchors(folder: Path) -> None:
    text = '[[peer]]\ndomain = "b.example"\nanchors = ["ca.pem"]\ncipher = "aes128-cbc"\n[[peer]]\ndomain = "c.example"'
    configuration = load(folder, MINIMAL + text)
    asked: list[object] = []

    def load_anchors(paths: object) -> AnchorSet:
        asked.append(paths)
        return AnchorSet()

    first, second = peers(configuration.peers, load_anchors)
    assert first == Peer("b.example", anchors=AnchorSet(), cipher="aes128-cbc")
    assert second == Peer("c.example")
    assert asked == [(folder / "ca.pem",)]


def test_the_defaults_of_an_agreement_are_those_of_a_peer() -> None:
    assert peers([PeerOptions(domain="b.example")], lambda _: AnchorSet()) == (Peer("b.example"),)


# --- revocation ------------------------------------------------------------------------------------------------------


def test_how_revocation_is_kept_fresh(folder: Path) -> None:
    assert load(folder, MINIMAL).revocation.fetch == "no"
    given = ('fetch = "both"', 'folder = "."', 'every = "30m"', "ports = [80, 8080]", 'networks = ["10.1.0.0/16"]')
    fresh = load(folder, "\n".join((f"{MINIMAL}[revocation]", *given, 'grace = "12h"'))).revocation
    assert (fresh.every, fresh.grace, fresh.ports) == (timedelta(minutes=30), timedelta(hours=12), (80, 8080))
    assert "10.1.2.3" in fresh.networks


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('fetch = "crls"', "domsec.toml:3: revocation.fetch without folder, expected where to keep what was fetched"),
        ('folder = "gone"', 'domsec.toml:3: revocation.folder is "gone", which does not exist, expected'),
        ("ports = [0]", "domsec.toml:3: revocation.ports[0] is 0, expected a list of port numbers"),
        ('every = "1s"', 'domsec.toml:3: revocation.every is "1s", expected a time such as'),
    ],
)
def test_what_is_wrong_with_it(folder: Path, given: str, expected: str) -> None:
    (problem,) = problems(folder, f"{MINIMAL}[revocation]\n{given}\n")
    assert problem.startswith(expected)
