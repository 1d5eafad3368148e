"""From a configuration to a key process: what has to be right, and what is given up before a key is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

import other_users
from commands import run
from domsec import der, oids
from domsec.cms.algorithms import algorithm_identifier, encrypt_key
from domsec.cms.credential import receives, signs
from domsec.errors import ConfigurationError, Unsupported
from domsec.keyd import privileges
from domsec.keyd.run import Opened, load
from domsec.stores.key_process import KeyProcess as Asked
from domsec.stores.key_process import KeyProcessCredential
from domsec.stores.key_protocol import Act, key_digest
from key_processes import USER, KeyProcess, identity, private, public

LIST = '[[list]]\nname = "staff"\naddress = "staff@acme.example"\nowner = "o@acme.example"\ncredential = "{}"\n'
needs_root = pytest.mark.skipif(not other_users.ROOT, reason="only root can become another user")


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: " ".join(value.split()) for name, _, value in (line.partition(":") for line in lines)}


# --- what it gives up -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-6-02")
@needs_root
def test_started_by_root_it_becomes_another_user_without_a_network(keyd: KeyProcess) -> None:
    keyd.options = 'group = "daemon"\n'
    keyd.configure()
    keyd.start("--user", USER)
    own = KeyProcessCredential(Asked(keyd.socket), "signing", keyd.keys["signing"][0].certificate)
    assert signs(own)
    for pid in (keyd.pid, *keyd.children):
        found = status(pid)
        user = str(privileges.user_id(USER))
        assert found["Uid"] == f"{user} {user} {user} {user}"
        assert "0" not in (*found["Gid"].split(), *found["Groups"].split())
        assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0000000000000000"}
        assert found["NoNewPrivs"] == "1"
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        devices = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    assert keyd.socket.group() == "daemon"


@needs_root
def test_a_network_is_left_where_a_token_needs_one(keyd: KeyProcess) -> None:
    keyd.options = "network = true\n"
    keyd.configure()
    keyd.start("--user", USER)
    assert os.readlink(f"/proc/{keyd.pid}/ns/net") == os.readlink("/proc/self/ns/net")


@pytest.mark.requirement("R3183-6-02")
def test_its_memory_cannot_be_read_by_another_process_of_its_user(keyd: KeyProcess) -> None:
    keyd.start()
    program = "import sys; open(f'/proc/{sys.argv[1]}/mem', 'rb'); print('read')"
    done = subprocess.run(
        [*other_users.python(program), str(keyd.pid)],
        capture_output=True,
        text=True,
        check=False,
        **other_users.as_user(USER),
    )
    assert "PermissionError" in done.stderr
    assert Path(f"/proc/{keyd.pid}/mem").stat().st_uid == 0  # as proc(5) says of one that is not dumpable
    core = next(line for line in Path(f"/proc/{keyd.pid}/limits").read_text().splitlines() if "core" in line)
    assert core.split()[4:6] == ["0", "0"]


@pytest.mark.requirement("R3183-6-02")
def test_its_sockets_are_one_and_its_connections(keyd: KeyProcess) -> None:
    keyd.start()
    own = KeyProcessCredential(Asked(keyd.socket), "signing", keyd.keys["signing"][0].certificate)
    assert signs(own)
    for table in ("tcp", "tcp6", "udp", "udp6", "raw"):
        inodes = {line.split()[9] for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]}
        for pid in (keyd.pid, *keyd.children):
            held = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}
            assert not {f"socket:[{inode}]" for inode in inodes} & held


@pytest.mark.parametrize(
    ("user", "root", "words"),
    [
        (None, True, "the key process does not run as root, expected --user"),
        ("nobody", False, "only root can become another user, expected no --user"),
    ],
)
def test_it_is_told_who_to_be(
    keyd: KeyProcess, monkeypatch: pytest.MonkeyPatch, user: str | None, root: bool, words: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1)
    ran = run("keyd", "--config", keyd.configuration, *(("--user", user) if user else ()))
    assert (ran.code, ran.err) == (2, f"domsec: error: {words}\n")
    assert not keyd.socket.exists()


@needs_root
@pytest.mark.parametrize(
    ("user", "words"),
    [("nobody-at-all", "there is no user nobody-at-all"), ("root", "the key process does not run as root")],
)
def test_it_becomes_nobody_else_than_a_user(keyd: KeyProcess, user: str, words: str) -> None:
    done = subprocess.run(
        other_users.domsec_command("keyd", "--config", keyd.configuration, "--user", user),
        env=other_users.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, words in done.stderr) == (2, True)


# --- configuration ----------------------------------------------------------------------------------------------------


def test_all_keys_of_all_roles_are_held(keyd: KeyProcess) -> None:
    former = identity("confidentiality", "rsa2048", days=1)
    keyd.configure(review=[identity("review")], signing=[identity("signing"), identity("signing")])
    (keyd.folder / "former.pem").write_bytes(private(former) + public(former))
    (keyd.folder / "former.pem").chmod(0o600)
    text = keyd.configuration.read_text()
    keyd.configuration.write_text(
        text.replace("[keys.confidentiality]\n", '[keys.confidentiality]\nprevious = "former.pem"\n')
    )
    found = load(keyd.configuration, {})
    assert sorted(name for name, _ in found.keys) == [
        "confidentiality", "confidentiality", "review", "signing", "signing"
    ]  # fmt: skip
    assert found.clients.keys() == {0, os.geteuid()}


@pytest.mark.parametrize("refused", [False, True])
def test_a_key_may_be_held_that_does_not_undo_pkcs1v15(keyd: KeyProcess, refused: bool) -> None:
    """Then no gateway that was taken over can ask it to, and `config check` finds that the key works all the same."""
    own = identity("confidentiality", "rsa2048")
    keyd.configure(confidentiality=[own])
    if refused:
        text = keyd.configuration.read_text()
        section = "[keys.confidentiality]\n"
        keyd.configuration.write_text(text.replace(section, f"{section}pkcs1v15 = false\n"))
    keyd.start()
    asked = KeyProcessCredential(Asked(keyd.socket), "confidentiality", own.certificate)
    public_key, transport = own.certificate.public_key, algorithm_identifier(oids.RSA_ENCRYPTION, der.null())
    assert isinstance(public_key, RSAPublicKey)
    encrypted = encrypt_key(public_key, bytes(32), transport)
    if refused:
        with pytest.raises(Unsupported, match=r"PKCS#1 v1\.5, which this key is not to undo"):
            asked.decrypt(encrypted, transport)
    else:
        assert asked.decrypt(encrypted, transport) == bytes(32)
    assert receives(asked)


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("[keys.signing]", '[keys.review]\ncredential = "other.pem"\n[keys.signing]'),
            "the key of keys.review is that of keys.signing too",
        ),
        (
            (
                "[keys.signing]\n",
                '[keys.review]\ncredential = "keyd:review"\ncertificates = "ca.pem"\n[keys.signing]\n',
            ),
            "keyd:review in the key process's own configuration, expected where the key is",
        ),
        (("[keyd]", '[keyd]\nclients = ["nobody-at-all"]'), "there is no user nobody-at-all"),
        (("[keyd]", '[keyd]\nlist_clients = ["nobody-at-all"]'), "there is no user nobody-at-all"),
        (
            ("[keyd]", '[users]\nfolder = "keyd:users"\ncertificates = "ca.pem"\n[keyd]'),
            "keyd:users in the key process's own configuration, expected where the key is",
        ),
        (
            ("[keyd]", LIST.format("keyd:lists") + 'certificates = "ca.pem"\n[keyd]'),
            "keyd:lists in the key process's own configuration, expected where the key is",
        ),
        (("[keyd]", LIST.format("other.pem") + "[keyd]"), "the key of list staff is that of keys.signing too"),
        (("[keyd]", '[users]\nfolder = "users"\n[keyd]'), "is that of keys.signing too"),
        (("acme.example", "other.example"), "cannot serve as domain-signing-authority"),
    ],
)
def test_what_is_wrong_with_the_keys_is_told(keyd: KeyProcess, change: tuple[str, str], words: str) -> None:
    for name, source in (("other.pem", keyd.keys["signing"][0]), ("ca.pem", keyd.keys["signing"][0])):
        (keyd.folder / name).write_bytes(private(source) + public(source))
        (keyd.folder / name).chmod(0o600)
    shutil.copy(keyd.folder / "other.pem", keyd.folder / "users")
    keyd.configuration.write_text(keyd.configuration.read_text().replace(*change))
    with pytest.raises(ConfigurationError) as caught:
        load(keyd.configuration, {})
    assert words in str(caught.value)


@pytest.mark.parametrize("decrypt", [False, True])
def test_keys_of_users_and_lists_are_held_too(keyd: KeyProcess, decrypt: bool) -> None:
    """Under names of their own, and each for who needs it."""
    alice, staff = identity("user", of="alice@acme.example"), identity("user", of="staff@acme.example")
    keyd.users, keyd.lists = {"alice": alice}, {"staff": staff}
    keyd.options = 'clients = ["daemon", "bin"]\nlist_clients = ["nobody", "bin"]\n'
    keyd.user_options = f"decrypt = {str(decrypt).lower()}\n"
    keyd.configure()
    found = load(keyd.configuration, {})
    named = dict(iter(found.keys))  # digests by name
    assert named["users"] == key_digest(alice.certificate)
    assert named["lists"] == key_digest(staff.certificate)
    roles = {"signing", "confidentiality", "review", "attributes"}
    may = {name: set(found.clients[privileges.user_id(name)]) for name in ("daemon", "nobody", "bin")}
    assert may == {"daemon": roles | {"users"}, "nobody": {"lists"}, "bin": roles | {"users", "lists"}}
    for user in (0, os.geteuid(), privileges.user_id("daemon")):
        assert (Act.DECRYPT in found.clients[user]["users"]) is decrypt


@pytest.mark.requirement("R3183-6-02")
def test_what_is_certified_as_an_authority_is_no_users_key(keyd: KeyProcess, capfd: pytest.CaptureFixture[str]) -> None:
    keyd.users = {"alice": identity("user", of="alice@acme.example"), "signing": identity("signing", naming="mailbox")}
    keyd.configure()
    assert [name for name, _ in load(keyd.configuration, {}).keys].count("users") == 1
    assert "signing.pem: it is named like a domain-signing-authority" in capfd.readouterr().err


def test_a_key_of_a_user_that_does_not_open_keeps_no_other_from_serving(
    keyd: KeyProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    keyd.users = {"alice": identity("user", of="alice@acme.example")}
    keyd.configure()
    (keyd.folder / "users" / "bob.pem").write_text("nothing of use\n")
    assert ("users", key_digest(keyd.users["alice"].certificate)) in load(keyd.configuration, {}).keys
    assert "bob.pem: " in capfd.readouterr().err


def test_keys_of_users_are_opened_once_and_gone_when_they_are_gone(keyd: KeyProcess) -> None:
    """Thousands take minutes to open, and a reload is to take none of them."""
    alice, bob, new = (identity("user", of=f"{name}@acme.example") for name in ("alice", "bob", "bob"))
    keyd.users = {"alice": alice, "bob": bob}
    keyd.configure()
    opened: Opened = {}
    first = load(keyd.configuration, opened).keys
    keyd.users["bob"] = new
    keyd.configure()
    second = load(keyd.configuration, opened).keys
    assert second["users", key_digest(alice.certificate)] is first["users", key_digest(alice.certificate)]
    assert {key for key in second if key[0] == "users"} == {
        ("users", key_digest(each.certificate)) for each in (alice, new)
    }
    assert len(opened) == 2
    keyd.users = {}
    keyd.configure()
    load(keyd.configuration, opened)
    assert opened == {}


def test_a_configuration_without_keys_is_of_no_use(keyd: KeyProcess) -> None:
    keyd.configuration.write_text('domains = ["acme.example"]\n')
    with pytest.raises(ConfigurationError, match="no key in it"):
        load(keyd.configuration, {})


def test_a_place_where_it_cannot_listen_is_told(keyd: KeyProcess) -> None:
    keyd.configuration.write_text(keyd.configuration.read_text().replace("/socket", "/nowhere/socket"))
    with pytest.raises(AssertionError, match=r"cannot listen on .*/nowhere/socket: \[Errno 2\]"):
        keyd.start()
    keyd.configuration.write_text(keyd.configuration.read_text().replace("/nowhere/socket", "/socket"))
    keyd.start()
    second = KeyProcess(keyd.folder)
    second.log = keyd.folder / "second.log"
    with pytest.raises(AssertionError, match="another process listens there"):
        second.start()
