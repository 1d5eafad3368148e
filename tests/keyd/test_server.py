"""`domsec keyd` as a real process: many clients, hostile ones, signals."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

import other_users
import pki
from domsec import oids
from domsec.cms.algorithms import SIGNATURES, check_signature
from domsec.cms.credential import Credential, receives, signs
from domsec.daemon import listen_unix
from domsec.errors import StoreUnavailable
from domsec.keyd.answer import PURPOSES
from domsec.keyd.server import REFUSALS, Service, serve
from domsec.stores.key_process import KeyProcess as Asked
from domsec.stores.key_process import KeyProcessCredential
from domsec.stores.key_protocol import MAXIMUM_REQUEST, Act, Request, Status, key_digest, read_frame, send_frame
from key_processes import KeyProcess, identity

ECDSA = SIGNATURES[oids.ECDSA_WITH_SHA256, oids.SHA256]


def credential(keyd: KeyProcess, role: str = "signing", number: int = 0) -> Credential:
    """As a process of its own would ask: over a connection of its own."""
    return KeyProcessCredential(Asked(keyd.socket, patience=20), role, keyd.keys[role][number].certificate)


def connect(keyd: KeyProcess) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(keyd.socket))
    return connection


def request(keyd: KeyProcess, data: bytes = b"data", role: str = "signing") -> bytes:
    digest = key_digest(keyd.keys[role][0].certificate)
    return Request(Act.SIGN, role, digest, (ECDSA.identifier.raw, ECDSA.digest.identifier.raw, data)).encode()


def closed(connection: socket.socket) -> bool:
    """Whether the other side hangs up without a word."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def wait_until(true: object, what: str) -> None:
    deadline = time.monotonic() + 20
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_keys_are_used_and_stay_where_they_are(keyd: KeyProcess) -> None:
    keyd.start()
    assert signs(credential(keyd))
    assert receives(credential(keyd, "confidentiality"))
    assert keyd.socket.stat().st_mode & 0o777 == 0o660
    assert keyd.stop() == 0
    assert not keyd.socket.exists()
    assert keyd.refusals() == []


def test_many_clients_are_served_at_once(keyd: KeyProcess) -> None:
    keyd.start()
    failed: list[BaseException] = []
    first, last = threading.Barrier(12), threading.Barrier(12)

    def work(role: str) -> None:
        try:
            own = credential(keyd, role)
            works = signs if role == "signing" else receives
            assert works(own)
            first.wait(20)
            assert all(works(own) for _ in range(20))
            last.wait(20)
        except BaseException as problem:
            failed.append(problem)

    threads = [threading.Thread(target=work, args=(role,)) for role in ("signing", "confidentiality") * 6]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(keyd.children) == 12, "a process for each connection")
    for thread in threads:
        thread.join()
    assert not failed


# --- who may ask ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.skipif(not other_users.ROOT, reason="only root can be several users")
@pytest.mark.parametrize(("options", "served"), [("", False), ('clients = ["daemon"]\n', True)])
def test_only_clients_are_served_whatever_the_socket_allows(keyd: KeyProcess, options: str, served: bool) -> None:
    keyd.options = options + 'socket_mode = "0666"\n'
    keyd.configure()
    keyd.start()
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(bytes.fromhex(sys.argv[2])); print(s.recv(5)[4:].hex())"
    )
    octets = request(keyd)
    asked = [str(keyd.socket), (len(octets).to_bytes(4) + octets).hex()]
    done = subprocess.run(
        [*other_users.python(program), *asked],
        capture_output=True,
        text=True,
        check=False,
        **other_users.as_user("daemon"),
    )
    assert (done.stdout == "00\n") is served, done.stderr
    if not served:
        [line] = keyd.refusals()
        assert line["text"] == "refused: this user is none of the clients"
        assert line["uid"] == 1
    assert signs(credential(keyd))  # root always may


# --- hostile clients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        pytest.param(
            (MAXIMUM_REQUEST + 1).to_bytes(4), "a frame of 131073 octets, at most 131072 are taken", id="long"
        ),
        pytest.param(b"\xff" * 4, "a frame of 4294967295 octets", id="longest"),
        pytest.param(b"\x00\x00\x00\x01\x01\x00", "more than one frame at a time", id="two"),
    ],
)
def test_a_connection_that_breaks_the_protocol_is_closed(keyd: KeyProcess, octets: bytes, words: str) -> None:
    keyd.start()
    with connect(keyd) as connection:
        connection.sendall(octets)
        assert closed(connection)
    [line] = keyd.refusals()
    assert words in str(line["text"])
    assert line["pid"] == os.getpid()
    assert signs(credential(keyd))


def test_a_frame_that_is_cut_off_harms_nobody(keyd: KeyProcess) -> None:
    keyd.start()
    with connect(keyd) as connection:
        connection.sendall(b"\x00\x00")
    with connect(keyd) as connection:
        connection.sendall(b"\x00\x00\x00\x09abc")
    wait_until(lambda: len(keyd.refusals()) == 2, "both are told")
    assert {line["text"] for line in keyd.refusals()} == {"refused: a frame that is cut off"}
    assert signs(credential(keyd))


def test_the_longest_request_is_answered(keyd: KeyProcess) -> None:
    keyd.start()
    data = b"x" * (MAXIMUM_REQUEST - len(request(keyd, b"")))
    octets = request(keyd, data)
    assert len(octets) == MAXIMUM_REQUEST
    with connect(keyd) as connection:
        for piece in (len(octets).to_bytes(4), octets[:70_000], octets[70_000:]):
            connection.sendall(piece)
            time.sleep(0.01)
        response = read_frame(connection, 1000, 5)
        assert response is not None
        check_signature(keyd.keys["signing"][0].certificate, ECDSA, response[1:], data)
    with pytest.raises(Exception, match="more than the key process takes"):
        credential(keyd).sign(data + b"xx", ECDSA)


def test_a_client_that_asks_for_what_it_may_not_have_is_logged_and_cut_off(keyd: KeyProcess) -> None:
    keyd.start()
    with connect(keyd) as connection:
        for _ in range(REFUSALS):
            send_frame(connection, request(keyd, role="confidentiality"))
            response = read_frame(connection, 1000, 5)
            assert response == bytes((Status.UNUSABLE,)) + b"a key for confidentiality does not sign"
        assert closed(connection)
    assert len(keyd.refusals()) == REFUSALS
    first = keyd.refusals()[0]
    assert (first["act"], first["key"], first["pid"]) == ("sign", "confidentiality", os.getpid())


@pytest.mark.slow
def test_octets_of_chance_harm_nobody(keyd: KeyProcess) -> None:
    keyd.start()
    chance = random.Random(1)
    right = request(keyd)
    for _ in range(200):
        octets = bytearray(right)
        for _ in range(chance.randrange(1, 6)):
            octets[chance.randrange(len(octets))] = chance.randrange(256)
        with connect(keyd) as connection:
            frame = bytes(octets) if chance.random() < 0.8 else chance.randbytes(chance.randrange(300))
            connection.sendall(len(frame).to_bytes(4) + frame)
            assert read_frame(connection, 20_000, 5)
    assert "Traceback" not in keyd.log.read_text()
    assert '"traceback"' not in keyd.log.read_text()
    assert signs(credential(keyd))


def test_who_says_nothing_takes_nobodys_place(tmp_path: Path) -> None:
    """Up to the number of connections there may be; one more is refused until another ends."""
    path = tmp_path / "socket"
    listener = listen_unix(str(path), 0o600)
    child = os.fork()
    if child == 0:
        service = Service({}, {os.geteuid(): PURPOSES})
        try:
            serve(listener, service, lambda: service, connections=3)
        finally:
            os._exit(0)
    listener.close()
    asked = Request(Act.SIGN, "signing", bytes(32), (b"", b"", b""))
    third, fourth = Asked(path), Asked(path)
    try:
        with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
            one.connect(str(path))
            two.connect(str(path))
            assert _answered(third, asked) == "the key process: there is no key 0000000000000000 for signing"
            assert _answered(fourth, asked) == f"{path}: the key process closes the connection"
            one.close()
            wait_until(lambda: "there is no key" in _answered(fourth, asked), "a place is free")
    finally:
        third.close()
        fourth.close()
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


def _answered(asked: Asked, request: Request) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        asked.ask(request)
    return str(caught.value)


# --- signals ----------------------------------------------------------------------------------------------------------


def test_a_reload_brings_new_keys_while_the_old_ones_go_on(keyd: KeyProcess) -> None:
    keyd.start()
    old = credential(keyd)
    assert signs(old)
    keyd.configure(signing=[keyd.keys["signing"][0], identity("signing")])
    new = credential(keyd, number=1)
    with pytest.raises(StoreUnavailable, match="there is no key"):
        signs(new)
    assert "reloaded, 3 keys" in keyd.reload()
    assert signs(new)
    assert signs(old)
    keyd.configure(signing=keyd.keys["signing"][1:])
    keyd.keys["signing"].insert(0, pki.Identity(old.certificate, keyd.keys["signing"][0].key))
    assert "reloaded, 2 keys" in keyd.reload()
    assert signs(new)
    with pytest.raises(StoreUnavailable, match="there is no key"):
        signs(old)


def test_a_reload_that_fails_changes_nothing(keyd: KeyProcess) -> None:
    keyd.start()
    keyd.configuration.write_text(keyd.configuration.read_text().replace("signing-", "absent-"))
    said = keyd.reload()
    assert "reload failed, the old keys stay" in said
    assert "which does not exist" in said
    assert signs(credential(keyd))


def test_nobody_notices_a_reload(keyd: KeyProcess) -> None:
    """A request that meets one is asked again; every act can be."""
    keyd.start()
    own = credential(keyd)
    stop = threading.Event()
    failed: list[BaseException] = []
    done = 0

    def work() -> None:
        nonlocal done
        try:
            while not stop.is_set():
                assert signs(own)
                done += 1
        except BaseException as problem:
            failed.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(5):
        keyd.reload()
    stop.set()
    thread.join()
    assert not failed
    assert done


def test_a_connection_whose_process_dies_is_made_again(keyd: KeyProcess) -> None:
    """As when the library of a token crashes."""
    keyd.start()
    own = credential(keyd)
    assert signs(own)
    [child] = keyd.children
    os.kill(child, signal.SIGKILL)
    assert signs(own)
    wait_until(lambda: "ended by signal 9" in keyd.log.read_text(), "it is told")


def test_connections_end_with_the_key_process(keyd: KeyProcess) -> None:
    keyd.start()
    with connect(keyd) as idle, connect(keyd) as half:
        half.sendall(b"\x00\x00")
        wait_until(lambda: len(keyd.children) == 2, "both are there")
        assert keyd.stop() == 0
        assert closed(idle)
        assert closed(half)


def test_systemd_is_told(keyd: KeyProcess) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.settimeout(20)
        path = keyd.folder / "notify"
        notified.bind(str(path))
        path.chmod(0o666)
        keyd.start(NOTIFY_SOCKET=str(path))
        found = {notified.recv(1000)}
        keyd.reload()
        keyd.stop()
        while b"STOPPING=1" not in found:
            found.add(notified.recv(1000))
    assert {b"READY=1", b"STOPPING=1"} <= found
    assert any(message.startswith(b"RELOADING=1\nMONOTONIC_USEC=") for message in found)
