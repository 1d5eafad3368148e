"""Asking the key process: what is answered, and what becomes of everything that can be wrong with it."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import key_processes
import other_users
import pki
import softhsm
from domsec.cms.credential import signs
from domsec.errors import ConfigurationError, KeyUnusable, StoreUnavailable, Unsupported
from domsec.stores.credentials import open_credentials
from domsec.stores.key_process import KeyProcess, KeyProcessCredential
from domsec.stores.key_protocol import Act, Request, read_frame
from key_processes import KeyProcess as Running
from key_processes import public

REQUEST = Request(Act.SIGN, "signing", bytes(32), (b"", b"", b""))


def test_a_key_process_that_is_down_is_asked_again_and_found_when_it_is_up(keyd: Running) -> None:
    own = KeyProcessCredential(KeyProcess(keyd.socket), "signing", keyd.keys["signing"][0].certificate)
    with pytest.raises(StoreUnavailable, match=r"socket: No such file or directory"):
        signs(own)
    keyd.start()
    assert signs(own)
    keyd.stop(signal.SIGKILL)
    with pytest.raises(StoreUnavailable, match=r"socket: Connection refused"):
        signs(own)
    keyd.start()
    assert signs(own)


def test_a_connection_is_not_shared_over_a_fork(keyd: Running) -> None:
    keyd.start()
    own = KeyProcessCredential(KeyProcess(keyd.socket), "signing", keyd.keys["signing"][0].certificate)
    assert signs(own)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if all(signs(own) for _ in range(50)) else 2
        finally:
            os._exit(status)
    assert all(signs(own) for _ in range(50))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_share_a_connection_in_turns(keyd: Running) -> None:
    keyd.start()
    own = KeyProcessCredential(KeyProcess(keyd.socket), "signing", keyd.keys["signing"][0].certificate)
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(all(signs(own) for _ in range(20)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


# --- a key process that does not behave -------------------------------------------------------------------------------


@contextmanager
def listening(path: Path, behave: Callable[[socket.socket], None]) -> Iterator[KeyProcess]:
    """Somebody who listens where the key process should and answers each request as `behave` does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    read_frame(connection, 10_000, 5)
                    behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        asked = KeyProcess(path, patience=0.2)
        try:
            yield asked
        finally:
            asked.close()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


@pytest.mark.parametrize(
    ("octets", "error", "words"),
    [
        (b"\x00\x00\x00\x00", StoreUnavailable, "the key process closes the connection"),
        (b"", StoreUnavailable, "the key process closes the connection"),
        (b"\x00\x00\x00", StoreUnavailable, "does not answer as it should: a frame that is cut off"),
        (b"\x00\x00\x00\x09\x00sig", StoreUnavailable, "does not answer as it should: a frame that is cut off"),
        (b"\xff\xff\xff\xff\x00", StoreUnavailable, "does not answer as it should: a frame of 4294967295 octets"),
        (b"\x00\x00\x00\x01\x00\x00", StoreUnavailable, "does not answer as it should: more than one frame"),
        (b"\x00\x00\x00\x03\x09no", StoreUnavailable, "the key process: no"),
        (b"\x00\x00\x00\x03\x01no", KeyUnusable, "the key process: no"),
        (b"\x00\x00\x00\x03\x02no", Unsupported, "the key process: no"),
        (b"\x00\x00\x00\x08\x03a\n\x1b[1m\xff", StoreUnavailable, "the key process: a[1m\ufffd"),
    ],
)
def test_what_is_no_answer_is_an_error_that_says_so(
    tmp_path: Path, octets: bytes, error: type[Exception], words: str
) -> None:
    with listening(tmp_path / "socket", lambda connection: connection.sendall(octets)) as asked:
        for _ in range(2):
            with pytest.raises(error) as caught:
                asked.ask(REQUEST)
            assert words in str(caught.value)
            assert str(caught.value).isprintable()


@pytest.mark.parametrize(("hangs_up", "words"), [(1, ""), (7, ""), (8, "the key process closes the connection")])
def test_who_hangs_up_before_a_word_is_asked_a_few_times_more(tmp_path: Path, hangs_up: int, words: str) -> None:
    """As the process of a connection does that is made in the moment of a reload."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        accepted: list[socket.socket] = []

        class Asked(KeyProcess):
            def _connect(self) -> socket.socket:
                connection = super()._connect()
                accepted.append(listener.accept()[0])
                if len(accepted) <= hangs_up:
                    accepted[-1].close()
                else:
                    accepted[-1].sendall(b"\x00\x00\x00\x02\x00x")
                return connection

        asked = Asked(tmp_path / "socket")
        if words:
            with pytest.raises(StoreUnavailable, match=words):
                asked.ask(REQUEST)
        else:
            assert asked.ask(REQUEST) == b"x"
        asked.close()
        accepted[-1].close()


def test_who_hangs_is_waited_for_once_and_then_left_alone_for_a_while(tmp_path: Path) -> None:
    """A gateway has other mail, which needs no key."""
    awake = threading.Event()
    answered = threading.Event()

    def behave(connection: socket.socket) -> None:
        if awake.is_set():
            connection.sendall(b"\x00\x00\x00\x02\x00x")
            return
        answered.wait(20)

    with listening(tmp_path / "socket", behave) as asked:
        with pytest.raises(StoreUnavailable, match="does not answer in time"):
            asked.ask(REQUEST)
        with pytest.raises(StoreUnavailable, match="did not answer just now"):
            asked.ask(REQUEST)
        awake.set()
        answered.set()
        deadline = time.monotonic() + 20
        while True:
            try:
                assert asked.ask(REQUEST) == b"x"
                break
            except StoreUnavailable:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_who_is_shunned_is_not_waited_for_at_all(tmp_path: Path) -> None:
    """Somebody who asks beside us has found that no answer comes, and finds out when one does."""
    with listening(tmp_path / "socket", lambda connection: connection.sendall(b"\x00\x00\x00\x02\x00x")) as asked:
        asked.shunned = True
        with pytest.raises(StoreUnavailable, match="did not answer just now"):
            asked.ask(REQUEST)
        asked.shunned = False
        assert asked.ask(REQUEST) == b"x"


def test_a_key_is_asked_for_without_being_used(keyd: Running) -> None:
    keyd.start()
    process = KeyProcess(keyd.socket)
    own = keyd.keys["signing"][0].certificate
    KeyProcessCredential(process, "signing", own).present(process)
    with pytest.raises(StoreUnavailable, match="there is no key"):
        KeyProcessCredential(process, "review", own).present(process)
    process.close()


# --- keyd:ROLE --------------------------------------------------------------------------------------------------------


def test_each_certificate_beside_is_one_of_our_own_with_its_chain(tmp_path: Path) -> None:
    root = pki.ca("Keyd Root")
    key = pki.issue.new_key("p256")
    assert isinstance(key, pki.SigningKey)
    intermediate = pki.issue.issue_ca(
        "Keyd CA", key, now=pki.START, days=9, issuer_cert=root.certificate, issuer_key=root.signing_key
    )
    issuing = pki.Identity(intermediate, key)
    old, new = (pki.identity("signing", "acme.example", issuing) for _ in range(2))
    (tmp_path / "both.pem").write_bytes(b"".join(map(public, (root, old, issuing, new))))
    found = open_credentials("keyd:signing", None, [tmp_path / "both.pem"], keyd_socket=tmp_path / "socket")
    assert [(each.certificate, each.chain) for each in found] == [
        (old.certificate, (intermediate,)),
        (new.certificate, (intermediate,)),
    ]


@pytest.mark.parametrize("places", [[], ["ca.pem"]])
def test_without_a_certificate_nobody_can_ask(tmp_path: Path, places: list[str]) -> None:
    (tmp_path / "ca.pem").write_bytes(public(pki.world().acme.ca))
    with pytest.raises(ConfigurationError, match=r"keyd:signing: no certificate beside it, expected that of the key"):
        open_credentials("keyd:signing", None, [tmp_path / each for each in places], keyd_socket=tmp_path / "socket")
    with pytest.raises(ConfigurationError, match=r"keyd:signing: no key process is known"):
        open_credentials("keyd:signing")


def test_a_key_process_may_hold_keys_in_a_token(keyd: Running) -> None:
    """Each of its processes opens the token for itself."""
    if reason := softhsm.missing():
        pytest.skip(reason)
    token = softhsm.Token(keyd.folder / "token")
    token.initialise()
    certificate = softhsm.certificate(token.generate("keyd", "p256"), "signing", "acme.example", now=key_processes.NOW)
    token.write_certificate("keyd", certificate)
    for path in (token.folder, *token.folder.rglob("*")):
        other_users.give(path, key_processes.USER)
    keyd.configure(signing=[])
    text = keyd.configuration.read_text()
    keyd.configuration.write_text(text.replace("credential = []", f'credential = "{token.uri("keyd")}"'))
    keyd.start(**token.environment)
    first, second = (KeyProcessCredential(KeyProcess(keyd.socket), "signing", certificate) for _ in range(2))
    for _ in range(3):
        assert signs(first)
        assert signs(second)
    assert len(keyd.children) == 2
    keyd.reload()
    assert signs(first)
