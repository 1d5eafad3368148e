"""domsec.gateway.server and relay: real sockets, a real next hop, a handler that decides what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import importlib.util
import logging
import os
import pwd
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import tls
from domsec.errors import StoreUnavailable
from domsec.gateway.metrics import Metrics
from domsec.gateway.relay import NextHop
from domsec.gateway.server import AsItCame, Gateway, Listener, Settings
from domsec.gateway.workers import listen
from domsec.octets import Pieces
from domsec.pipeline import Decision, Held, Outgoing, Refused, Transaction
from domsec.policy.tls import server_context
from mta import CONNECTED, MESSAGE, OPTIONS, options
from sink import FEATURES, Mailer, Sink

MAIL = b"Subject: x\r\n\r\nhello\r\n..dot\r\n"
CONTENT = b"Subject: x\r\n\r\nhello\r\n.dot\r\n"


def everything(transaction: Transaction) -> Decision:
    """The null handler."""
    return Decision(outgoing=(outgoing(transaction, *range(len(transaction.recipients))),))


def outgoing(transaction: Transaction, *indexes: int, octets: bytes | None = None) -> Outgoing:
    recipients = tuple(transaction.recipients[index] for index in indexes)
    octets = transaction.octets if octets is None else octets
    return Outgoing(transaction.sender, transaction.sender_parameters, recipients, octets, indexes)


SETTINGS = Settings("gw.example", "acme-1")


class Site:
    """A gateway under test with what it was told to hold and what it wrote to its journal."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.journal: list[dict[str, object]] = []
        self.seen: list[Transaction] = []
        self.hold_error: Exception | None = None

    def hold(self, transaction: Transaction, held: Held) -> str:
        if self.hold_error:
            raise self.hold_error
        self.held.append(held)
        return f"H{len(self.held)}"


@asynccontextmanager
async def gateway(
    next_hop: str | NextHop | None,
    handler: Callable[[Transaction], Decision] = everything,
    *,
    protocol: str = "lmtp",
    address: str = "127.0.0.1:0",
    settings: Settings = SETTINGS,
    durable: Callable[[], Awaitable[None]] | None = None,
    shadow: AsItCame | None = None,
    **listener_options: object,
) -> AsyncIterator[Site]:
    site = Site()

    def handle(transaction: Transaction) -> Decision:
        site.seen.append(transaction)
        return handler(transaction)

    hop = NextHop(next_hop) if isinstance(next_hop, str) else next_hop
    sock = listen(address)
    site.address = address if address.startswith("unix:") else f"127.0.0.1:{sock.getsockname()[1]}"
    site.counters = Metrics().counters()
    site.gateway = Gateway(
        settings,
        handle,
        site.hold,
        counters=site.counters,
        journal=lambda record: site.journal.append(dict(record)),
        durable=durable,
        shadow=shadow,
    )
    await site.gateway.start([(Listener(site.address, protocol, "outbound", hop, **listener_options), sock)])
    try:
        yield site
    finally:
        await site.gateway.drain(0.2)


LOOPS = {"asyncio": asyncio.new_event_loop}
if importlib.util.find_spec("uvloop"):
    LOOPS["uvloop"] = importlib.import_module("uvloop").new_event_loop


@pytest.fixture(params=LOOPS, autouse=True)
def loop_factory(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both event loops: uvloop's transports are no subclasses, and its callbacks come in another order."""
    _chosen.append(LOOPS[request.param])
    yield
    _chosen.pop()


_chosen: list[Callable[[], asyncio.AbstractEventLoop]] = []


def run(test: Callable[[], object]) -> Callable[[], None]:
    """Runs a test that is a coroutine."""

    def wrapped(**kwargs: object) -> None:
        with asyncio.Runner(loop_factory=_chosen[-1]) as runner:
            runner.run(asyncio.wait_for(test(**kwargs), 30))

    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    wrapped.__dict__.update(test.__dict__)
    wrapped.__wrapped__ = test
    return wrapped


@run
async def test_a_message_goes_through_octet_for_octet(tmp_path: Path) -> None:
    async with (
        Sink(path=tmp_path / "sink") as sink,
        gateway(sink.address, address=f"unix:{tmp_path}/gw") as site,
    ):
        mailer = await Mailer.to(site.address)
        replies = await mailer.send("<a@b.example> RET=HDRS", ["<c@d.example> NOTIFY=NEVER"], MAIL)
        assert replies[0].startswith("250 2.0.0 got it 0 [domsec ")
        assert sink.contents() == [CONTENT]
        assert sink.mails[0].sender.startswith("<a@b.example> SIZE=")
        assert sink.mails[0].sender.endswith("RET=HDRS")
        assert sink.mails[0].recipients == ["<c@d.example> NOTIFY=NEVER"]
        head = sink.mails[0].content.split(b"\r\n")[:2]
        assert head == [b"Received: from me (local)", b"\tby gw.example (domsec acme-1/outbound)"]
        mailer.close()


@run
async def test_a_unix_socket_is_trusted_only_if_configured_so(tmp_path: Path) -> None:
    for trusted, reply in ((True, "250"), (False, "550 5.7.0")):
        address = f"unix:{tmp_path}/gw-{trusted}"
        async with Sink() as sink, gateway(sink.address, address=address, trust_unix=trusted):
            mailer = await Mailer.to(address)
            assert (await mailer.say("XFORWARD ADDR=192.0.2.7")).startswith(reply)
            mailer.close()


@run
async def test_the_user_at_the_other_end_of_a_unix_socket_is_known(tmp_path: Path) -> None:
    """From the kernel, so nothing that a client says changes it; over TCP there is none."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    for address, user in ((f"unix:{tmp_path}/gw", me), ("127.0.0.1:0", None)):
        async with Sink() as sink, gateway(sink.address, address=address, trust_unix=True) as site:
            mailer = await Mailer.to(site.address)
            await mailer.say("XFORWARD IDENT=root")
            assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("250")
            assert [t.session.user for t in site.seen] == [user]
            mailer.close()


@pytest.mark.requirement("R3183-3.2-03", "R3183-6-04")
@run
async def test_nothing_leaves_before_the_audit_trail_has_it(tmp_path: Path) -> None:
    """Measured at the next hop: while the record waits for the disk nothing comes, and if it fails nothing ever."""
    reached, written = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        reached.set()
        await written.wait()

    async with Sink() as sink, gateway(sink.address, durable=slow) as site:
        mailer = await Mailer.to(site.address)
        sending = asyncio.create_task(mailer.send("<a@b>", ["<c@d>"], MAIL))
        await reached.wait()
        assert sink.commands == []
        written.set()
        assert (await sending)[0].startswith("250")
        assert len(sink.mails) == 1
        mailer.close()

    async def broken() -> None:
        raise StoreUnavailable("disk full")

    async with Sink() as sink, gateway(sink.address, durable=broken) as site:
        mailer = await Mailer.to(site.address)
        assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("451 4.3.0")
        assert sink.commands == []
        mailer.close()


@pytest.mark.requirement("R5321-4.4-01")
@run
async def test_the_received_field_stands_above_what_the_handler_made() -> None:
    made = b"Received: from x by y; now\r\nSubject: other\r\n\r\n.text"
    async with Sink() as sink, gateway(sink.address, lambda t: Decision((outgoing(t, 0, octets=made),))) as site:
        mailer = await Mailer.to(site.address)
        assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("250")
        assert sink.contents() == [made + b"\r\n"]
        mailer.close()


@run
async def test_many_messages_share_a_connection_and_large_ones_pass() -> None:
    big = b"Subject: big\r\n\r\n" + (b"x" * 3000 + b"\r\n.y\r\n") * 1000
    async with Sink() as sink, gateway(sink.address, protocol="smtp") as site:
        mailer = await Mailer.to(site.address, "EHLO me")
        for _ in range(5):
            assert (await mailer.send("<>", ["<c@d>"], MAIL, lmtp=False))[0].startswith("250")
        assert (await mailer.send("<>", ["<c@d>"], big.replace(b"\r\n.", b"\r\n.."), lmtp=False))[0].startswith("250")
        assert sink.contents() == [CONTENT] * 5 + [big]
        assert sink.connections == 1
        mailer.close()


@run
async def test_a_large_message_that_was_changed_goes_out_in_pieces() -> None:
    big = b"Subject: big\r\n\r\n" + (b"x" * 3000 + b"\r\n.y\r\n") * 1000
    made = Pieces(len(big), lambda: (big[at : at + 60_000] for at in range(0, len(big), 60_000)))

    def changed(transaction: Transaction) -> Decision:
        return Decision(outgoing=(replace(outgoing(transaction, 0), octets=made),))

    async with Sink() as sink, gateway(sink.address, changed) as site:
        mailer = await Mailer.to(site.address)
        assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("250 2.0.0")
        assert sink.contents() == [big]
        mailer.close()


@run
async def test_without_room_for_a_large_message_the_client_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = b"Subject: big\r\n\r\n" + (b"x" * 3000 + b"\r\n") * 200
    async with Sink() as sink, gateway(sink.address) as site:
        mailer = await Mailer.to(site.address)
        with monkeypatch.context() as full:
            full.setenv("TMPDIR", str(tmp_path / "missing"))
            assert (await mailer.send("<a@b>", ["<c@d>"], big))[0].startswith("452 4.3.1 no room")
        assert (await mailer.send("<a@b>", ["<c@d>"], big))[0].startswith("250 2.0.0")
        assert sink.contents() == [big]
        mailer.close()


@run
async def test_concurrent_clients_get_their_own_replies() -> None:
    async with Sink() as sink, gateway(NextHop(sink.address, connections=3)) as site:

        async def one(number: int) -> None:
            mailer = await Mailer.to(site.address)
            for _ in range(5):
                replies = await mailer.send("<a@b>", [f"<r{number}@d>"], b"Subject: %d\r\n\r\n" % number)
                assert replies[0].startswith("250")
            mailer.close()

        await asyncio.gather(*(one(number) for number in range(12)))
        assert sink.connections <= 3
        assert sorted(mail.recipients[0] for mail in sink.mails) == sorted(
            f"<r{n}@d>" for n in range(12) for _ in range(5)
        )
        for mail in sink.mails:
            assert b"Subject: " + mail.recipients[0][2:-3].encode() in mail.content


@run
async def test_each_recipient_gets_what_the_next_hop_says_of_it() -> None:
    answers = {"b@x": "450 4.2.1 later", "c@x": "550 5.1.1 no such user\x07"}
    async with Sink(answers=answers) as sink, gateway(sink.address) as site:
        mailer = await Mailer.to(site.address)
        replies = await mailer.send("<a@b>", ["<a@x>", "<b@x>", "<c@x>"], MAIL)
        assert [reply[:9] for reply in replies] == ["250 2.0.0", "451 4.2.1", "550 5.1.1"]
        assert replies[2] == "550 5.1.1 next hop said: 550 no such user? [next_hop]"
        assert [mail.recipients for mail in sink.mails] == [["<a@x>"]]
        assert [entry["action"] for entry in site.journal[0]["recipients"]] == ["delivered", "deferred", "refused"]
        assert [entry["reply"] for entry in site.journal[0]["recipients"]][1:] == replies[1:]
        mailer.close()


@run
async def test_an_lmtp_next_hop_answers_for_each_recipient_after_the_dot() -> None:
    final = {"b@x": "452 4.2.2 full", "c@x": "554 5.2.0 no"}
    async with Sink(lmtp=True, final=final) as sink, gateway(NextHop(sink.address, "lmtp")) as site:
        mailer = await Mailer.to(site.address)
        replies = await mailer.send("<a@b>", ["<a@x>", "<b@x>", "<c@x>"], MAIL)
        assert [reply[:9] for reply in replies] == ["250 2.0.0", "451 4.2.2", "554 5.2.0"]
        mailer.close()


@pytest.mark.parametrize("protocol", ["lmtp", "smtp"])
@run
async def test_a_next_hop_that_is_down_loses_nothing(protocol: str) -> None:
    async with Sink() as sink:
        address = sink.address
    async with gateway(address, protocol=protocol) as site:
        mailer = await Mailer.to(site.address, "LHLO me" if protocol == "lmtp" else "EHLO me")
        replies = await mailer.send("<a@b>", ["<c@d>", "<e@f>"], MAIL, lmtp=protocol == "lmtp")
        assert [reply[:9] for reply in replies] == ["451 4.4.1"] * (2 if protocol == "lmtp" else 1)
        assert site.held == []
        mailer.close()


@pytest.mark.parametrize(
    ("sink_options", "code"),
    [
        ({"answers": {"": "554 5.7.1 no"}}, "451 4.4.1"),
        ({"answers": {"": "what?"}}, "451 4.4.0"),
        ({"answers": {"MAIL": "452 4.3.1 disk"}}, "451 4.3.1"),
        ({"answers": {"MAIL": "421 4.3.2 stop"}}, "451 4.3.2"),
        ({"answers": {"DATA": "554 5.7.1 no"}}, "554 5.7.1"),
        ({"final": {"": "554 5.6.0 content"}}, "554 5.6.0"),
        ({"final": {"": "421 4.3.2 stop"}}, "451 4.3.2"),
        ({"final": {"": "nonsense"}}, "451 4.4.0"),
        ({"close_at": "RCPT"}, "451 4.4.2"),
        ({"close_at": "DOT"}, "451 4.4.2"),
    ],
)
@run
async def test_whatever_the_next_hop_does_becomes_a_reply(sink_options: dict, code: str) -> None:
    async with Sink(**sink_options) as sink, gateway(sink.address) as site:
        mailer = await Mailer.to(site.address)
        assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0][:9] == code
        assert sink.mails == []
        mailer.close()


@run
async def test_a_kept_connection_that_was_closed_is_replaced_before_the_content_was_sent() -> None:
    async with Sink() as sink, gateway(sink.address) as site:
        mailer = await Mailer.to(site.address)
        await mailer.send("<a@b>", ["<c@d>"], MAIL)
        sink.drop()
        assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("250")
        sink.close_at = "MAIL"  # seen only after the first octets were sent
        assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("250")
        assert (len(sink.mails), site.counters.get("relay_retries")) == (3, 1)
        mailer.close()


@run
async def test_nothing_is_sent_again_once_the_content_was_sent() -> None:
    async with Sink() as sink, gateway(sink.address) as site:
        mailer = await Mailer.to(site.address)
        await mailer.send("<a@b>", ["<c@d>"], MAIL)
        sink.close_at = "DOT"
        assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("451 4.4.2")
        assert sink.commands.count("DATA") == 2
        mailer.close()


@run
async def test_a_next_hop_without_extensions_gets_plain_commands() -> None:
    async with Sink(features=()) as sink, gateway(sink.address) as site:
        mailer = await Mailer.to(site.address)
        replies = await mailer.send("<a@b> SMTPUTF8 RET=FULL", ["<c@d> NOTIFY=NEVER", "<ü@d>"], MAIL)
        assert [reply[:9] for reply in replies] == ["250 2.0.0", "550 5.6.7"]
        assert sink.commands[1:4] == ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"]
        mailer.close()


@run
async def test_no_more_connections_are_made_than_the_next_hop_is_to_have() -> None:
    async with Sink() as sink:
        sink.gate = asyncio.Event()
        async with gateway(NextHop(sink.address, connections=2)) as site:
            mailers = [await Mailer.to(site.address) for _ in range(5)]
            sending = [asyncio.create_task(each.send("<a@b>", ["<c@d>"], MAIL)) for each in mailers]
            while sink.commands.count("DATA") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert (sink.connections, sink.commands.count("DATA")) == (2, 2)
            sink.gate.set()
            for replies in await asyncio.gather(*sending):
                assert replies[0].startswith("250")
            assert sink.connections == 2
            for each in mailers:
                each.close()


@run
async def test_a_next_hop_that_is_silent_is_given_up() -> None:
    async with Sink() as sink:
        sink.gate = asyncio.Event()
        async with gateway(NextHop(sink.address, final_timeout=0.1)) as site:
            mailer = await Mailer.to(site.address)
            assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("451 4.4.2 next hop did not answer")
            mailer.close()


# -- decisions ---------------------------------------------------------------------------------------------------------


def mixed(transaction: Transaction) -> Decision:
    return Decision(
        outgoing=(outgoing(transaction, 0, octets=b"one\r\n"), outgoing(transaction, 3, 1, octets=b"two\r\n")),
        refused=(Refused((2,), 550, "5.7.1", "no certificate"),),
        held=(Held((4,), ("review",), transaction.octets),),
        discard=(5,),
        log={"line": "rule 7"},
    )


SIX = [f"<r{number}@x>" for number in range(6)]


@run
async def test_lmtp_recipients_are_split_without_loss_or_duplicates() -> None:
    async with Sink(answers={"r0@x": "550 5.1.1 no"}) as sink, gateway(sink.address, mixed) as site:
        mailer = await Mailer.to(site.address)
        replies = await mailer.send("<a@b>", SIX, MAIL)
        assert [reply[:9] for reply in replies] == [
            "550 5.1.1", "250 2.0.0", "550 5.7.1", "250 2.0.0", "250 2.0.0", "250 2.0.0"]  # fmt: skip
        assert "held as H1" in replies[4]
        assert [mail.recipients for mail in sink.mails] == [["<r3@x>", "<r1@x>"]]
        assert [held.indexes for held in site.held] == [(4,)]
        assert site.journal[0]["line"] == "rule 7"
        mailer.close()


async def by_smtp(site: Site, recipients: list[str]) -> str:
    mailer = await Mailer.to(site.address, "EHLO me")
    reply = (await mailer.send("<a@b>", recipients, MAIL, lmtp=False))[0]
    mailer.close()
    return reply


@run
async def test_smtp_a_decision_that_refuses_anybody_sends_and_holds_nothing() -> None:
    async with Sink() as sink, gateway(sink.address, mixed, protocol="smtp") as site:
        assert (await by_smtp(site, SIX)).startswith("550 5.7.1 no certificate")
        assert (sink.commands, site.held) == ([], [])


@pytest.mark.parametrize(
    ("answers", "code"), [({"r1@x": "450 4.2.1 later"}, "451 4.2.1"), ({"r1@x": "550 5.1.1 no"}, "550 5.1.1")]
)
@run
async def test_smtp_a_recipient_refused_before_anything_was_sent_refuses_all(answers: dict, code: str) -> None:
    async with Sink(answers=answers) as sink, gateway(sink.address, protocol="smtp") as site:
        assert (await by_smtp(site, SIX)).startswith(code)
        assert (sink.mails, site.held) == ([], [])
        assert (await by_smtp(site, ["<r0@x>"])).startswith("250")  # on the same connection, after RSET


def in_two(transaction: Transaction) -> Decision:
    return Decision((outgoing(transaction, 0, octets=b"one\r\n"), outgoing(transaction, 1, 2, octets=b"two\r\n")))


@run
async def test_smtp_what_failed_beside_a_delivery_is_held_as_it_was_to_be_sent() -> None:
    async with (
        Sink(answers={"r2@x": "450 4.2.1 later"}) as sink,
        gateway(sink.address, in_two, protocol="smtp") as site,
    ):
        assert (await by_smtp(site, SIX[:3])).startswith("250 2.0.0 held as H1")
        assert [mail.recipients for mail in sink.mails] == [["<r0@x>"]]
        (held,) = site.held
        assert (held.indexes, held.octets, held.reasons[0]) == ((1, 2), b"two\r\n", "delivery")
        assert [each.address for each in held.outgoing.recipients] == ["r1@x", "r2@x"]


@run
async def test_smtp_what_can_neither_be_sent_nor_held_stays_with_the_client() -> None:
    async with (
        Sink(answers={"r2@x": "450 4.2.1 later"}) as sink,
        gateway(sink.address, in_two, protocol="smtp") as site,
    ):
        site.hold_error = StoreUnavailable("disk")
        assert (await by_smtp(site, SIX[:3])).startswith("451 4.3.0")


@run
async def test_smtp_nothing_is_held_when_the_next_hop_took_nothing() -> None:
    def decide(transaction: Transaction) -> Decision:
        return Decision((outgoing(transaction, 0),), held=(Held((1,), ("review",), b""),))

    async with Sink(answers={"MAIL": "452 4.3.1 disk"}) as sink, gateway(sink.address, decide, protocol="smtp") as site:
        assert (await by_smtp(site, SIX[:2])).startswith("451 4.3.1")
        assert site.held == []
        sink.answers = {}
        assert (await by_smtp(site, SIX[:2])).startswith("250 2.0.0 held as H1")


def broken(transaction: Transaction) -> Decision:
    raise ZeroDivisionError("secret")


@pytest.mark.requirement("R3183-1-02", "R5321-4.2-01")
@pytest.mark.parametrize(
    "handler",
    [
        broken,
        lambda t: Decision(),
        lambda t: Decision((outgoing(t, 0),), discard=(0,)),
        lambda t: Decision((outgoing(t, 0),), refused=(Refused((1,), 250, "2.0.0", "fine"),)),
        lambda t: Decision((replace(outgoing(t, 0), indexes=(0, 1)),)),
        lambda t: None,
    ],
)
@run
async def test_an_error_of_ours_is_temporary_and_in_the_log(handler, caplog: pytest.LogCaptureFixture) -> None:
    async with Sink() as sink, gateway(sink.address, handler) as site:
        mailer = await Mailer.to(site.address)
        replies = await mailer.send("<a@b>", ["<c@d>", "<e@f>"], MAIL)
        assert replies == ["451 4.3.0 error in this gateway, message was not touched [internal]"] * 2
        assert sink.commands == []
        assert "Traceback" in caplog.text
        assert (await mailer.say("NOOP")).startswith("250")
        mailer.close()


@pytest.mark.parametrize(
    "made", [b"a\nb\r\n", b"a\r\n.\n", b"a\0\r\n"],
)  # fmt: skip
@run
async def test_what_the_handler_made_is_not_sent_if_it_could_smuggle(made: bytes) -> None:
    async with Sink() as sink, gateway(sink.address, lambda t: Decision((outgoing(t, 0, octets=made),))) as site:
        mailer = await Mailer.to(site.address)
        assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("451 4.3.0")
        assert sink.mails == []
        mailer.close()


@run
async def test_a_store_that_is_down_is_said_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def decide(transaction: Transaction) -> Decision:
        raise StoreUnavailable("directory does not answer")

    caplog.set_level(logging.INFO)
    async with Sink() as sink, gateway(sink.address, decide) as site:
        mailer = await Mailer.to(site.address)
        assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("451 4.3.0 a directory")
        assert "Traceback" not in caplog.text
        mailer.close()


@run
async def test_a_hold_that_fails_is_no_acceptance() -> None:
    async with gateway("127.0.0.1:1", lambda t: Decision(held=(Held((0,), ("review",), b""),))) as site:
        mailer = await Mailer.to(site.address)
        for error in (OSError("disk full"), StoreUnavailable("disk full")):
            site.hold_error = error
            assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("451 4.3.0")
        mailer.close()


@run
async def test_a_store_that_cannot_hold_is_said_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("127.0.0.1:1", lambda t: Decision(held=(Held((0,), ("review",), b""),))) as site:
        site.hold_error = StoreUnavailable("domsec.db: database or disk is full")
        mailer = await Mailer.to(site.address)
        await mailer.send("<a@b>", ["<c@d>"], MAIL)
        assert "could not be held: domsec.db: database or disk is full" in caplog.text
        assert "Traceback" not in caplog.text
        mailer.close()


@run
async def test_other_mail_goes_on_while_a_store_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = threading.Event()

    def hold_or_pass(transaction: Transaction) -> Decision:
        if transaction.recipients[0].address == "held@d":
            return Decision(held=(Held((0,), ("review",), b""),))
        return everything(transaction)

    async with Sink() as sink, gateway(sink.address, hold_or_pass) as site:
        monkeypatch.setattr(site.gateway, "hold", lambda *_: f"H{stored.wait(20)}")
        slow, quick = await Mailer.to(site.address), await Mailer.to(site.address)
        waiting = asyncio.create_task(slow.send("<a@b>", ["<held@d>"], MAIL))
        await asyncio.sleep(0.05)
        assert (await quick.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("250")
        stored.set()
        assert "held as HTrue" in (await waiting)[0]
        slow.close()
        quick.close()


# -- hostile and odd clients -------------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.requirement("R3183-1-02")
@run
async def test_no_smuggled_message_reaches_even_a_next_hop_that_would_take_it(shared: Path) -> None:
    files = sorted((shared / "corpora" / "smtp-smuggling").glob("*.bin"))
    assert files
    async with Sink(lenient=True) as sink, gateway(sink.address, protocol="smtp") as site:
        for file in files:
            mailer = await Mailer.to(site.address, "EHLO outside.example")
            for line in ("MAIL FROM:<alice@outside.example>", "RCPT TO:<bob@inside.example>"):
                assert (await mailer.say(line)).startswith("250")
            assert (await mailer.say("DATA")).startswith("354")
            mailer.writer.write(file.read_bytes())
            assert (await mailer.reply()).startswith("550 5.6.0"), file.name
            assert (await mailer.say("QUIT")).startswith("221"), file.name
            mailer.close()
        assert (sink.mails, site.seen) == ([], [])


@run
async def test_a_message_that_comes_back_is_refused() -> None:
    async with Sink() as sink, gateway(sink.address) as site:
        mailer = await Mailer.to(site.address)
        await mailer.send("<a@b>", ["<c@d>"], MAIL)
        again = sink.mails[0].content.replace(b"\r\n.", b"\r\n..")
        assert (await mailer.send("<a@b>", ["<c@d>"], again))[0].startswith("554 5.4.6")
        other = again.replace(b"acme-1/outbound", b"acme-1/inbound")
        assert (await mailer.send("<a@b>", ["<c@d>"], other))[0].startswith("250")
        many = b"Received: by x; now\r\n" * 101 + MAIL
        assert (await mailer.send("<a@b>", ["<c@d>"], many))[0].startswith("554 5.4.6")
        mailer.close()


@pytest.mark.parametrize(
    ("options", "settings", "greeting"),
    [
        ({"clients": ("192.0.2.0/24",)}, {}, "554 5.7.1"),
        ({}, {"connections": 0}, "421 4.3.2"),
    ],
)
@run
async def test_who_may_not_connect_is_told_so(options: dict, settings: dict, greeting: str) -> None:
    async with gateway("127.0.0.1:1", settings=replace(Settings("gw.example", "i"), **settings), **options) as site:
        reader, writer = await asyncio.open_connection(*site.address.split(":"))
        assert (await reader.read()).decode().startswith(greeting)
        writer.close()


@run
async def test_only_trusted_clients_are_offered_xforward() -> None:
    async with gateway("127.0.0.1:1", trusted=()) as site:
        mailer = await Mailer.to(site.address)
        assert (await mailer.say("XFORWARD NAME=x")).startswith("550 5.7.0")
        mailer.close()


@run
async def test_a_client_that_says_nothing_is_told_and_cut_off() -> None:
    settings = Settings("gw.example", "i", command_timeout=0.1, data_timeout=0.1)
    async with gateway("127.0.0.1:1", settings=settings) as site:
        quiet, in_data = await Mailer.to(site.address, ""), await Mailer.to(site.address)
        for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
            await in_data.say(line)
        for mailer in (quiet, in_data):
            assert (await mailer.reply()).startswith("421 4.4.2")
            assert await mailer.reader.read() == b""
            mailer.close()


@run
async def test_a_flood_of_commands_behind_a_message_is_not_read_into_memory() -> None:
    async with Sink() as sink, gateway(sink.address) as site:
        sink.gate = asyncio.Event()
        mailer = await Mailer.to(site.address)
        for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
            await mailer.say(line)
        mailer.writer.write(MAIL + b".\r\n" + b"NOOP\r\n" * 400_000)
        await asyncio.sleep(0.3)
        (connection,) = site.gateway.connections
        assert connection._speaker.backlog < 1_000_000
        sink.gate.set()
        assert (await mailer.reply()).startswith("250 2.0.0 got it")
        for _ in range(400_000):
            assert await mailer.reader.readline() == b"250 2.0.0 ok\r\n"
        mailer.close()


@run
async def test_a_client_that_goes_away_does_not_stop_its_message() -> None:
    async with Sink() as sink, gateway(sink.address) as site:
        sink.gate = asyncio.Event()
        mailer = await Mailer.to(site.address)
        for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
            await mailer.say(line)
        mailer.writer.write(MAIL + b".\r\n")
        await asyncio.sleep(0.1)
        mailer.close()
        await asyncio.sleep(0.1)
        sink.gate.set()
        while not site.journal:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert len(sink.mails) == 1
        await asyncio.sleep(0)
        assert site.gateway.budget.used == 0


@run
async def test_draining_ends_idle_connections_and_lets_a_transaction_finish() -> None:
    async with Sink() as sink, gateway(sink.address) as site:
        sink.gate = asyncio.Event()
        idle, busy = await Mailer.to(site.address), await Mailer.to(site.address)
        for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
            await busy.say(line)
        draining = asyncio.create_task(site.gateway.drain(10))
        assert (await idle.reply()).startswith("421 4.3.2")
        busy.writer.write(MAIL + b".\r\n")
        await asyncio.sleep(0.1)
        assert not draining.done()
        assert site.gateway.ready() == "draining"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*site.address.split(":"))
        sink.gate.set()
        assert (await busy.reply()).startswith("250")
        assert (await busy.reply()).startswith("421 4.3.2")
        assert await draining
        idle.close()
        busy.close()


@run
async def test_the_handler_sees_the_envelope_and_the_session() -> None:
    async with Sink() as sink, gateway(sink.address) as site:
        mailer = await Mailer.to(site.address, "LHLO mta.example")
        assert (await mailer.say("XFORWARD ADDR=192.0.2.7 IDENT=4C3F")).startswith("250")
        await mailer.send("<Alice@B.example> RET=HDRS", ["<C@d> NOTIFY=NEVER"], MAIL)
        (seen,) = site.seen
        assert (seen.direction, seen.sender, seen.sender_parameters) == ("outbound", "Alice@B.example", "RET=HDRS")
        assert [(each.address, each.parameters) for each in seen.recipients] == [("C@d", "NOTIFY=NEVER")]
        assert seen.octets == CONTENT
        assert (seen.session.client_address, seen.session.helo) == ("127.0.0.1", "mta.example")
        assert dict(seen.session.xforward) == {"ADDR": "192.0.2.7", "IDENT": "4C3F"}
        (entry,) = site.journal
        assert (entry["queue_id"], entry["client"], entry["size"]) == ("4C3F", "192.0.2.7", len(CONTENT))
        assert not any("hello" in str(value) for value in entry.values())
        mailer.close()


@pytest.mark.parametrize("protocol", ["lmtp", "smtp"])
@pytest.mark.parametrize(
    ("content", "reply", "action"),
    [
        pytest.param(b"Subject: x\n\r\n", "550 5.6.0 message has a CR or LF that is not part of a CRLF [bare_newline]",
                     "refused", id="bare LF"),
        pytest.param(b"Subject: \0\r\n", "550 5.6.0 message has a NUL octet [nul]", "refused", id="NUL"),
        pytest.param(b"x" * 5000 + b"\r\n", "552 5.3.4 message is larger than this gateway takes [size]",
                     "refused", id="size"),
        pytest.param(b"x" * 3500 + b"\r\n", "452 4.3.1 too much mail at once, try again later [memory]",
                     "deferred", id="memory"),
    ],
)  # fmt: skip
@run
async def test_what_is_refused_before_anybody_looks_inside_is_in_log_and_metrics_as_well(
    protocol: str, content: bytes, reply: str, action: str
) -> None:
    settings = replace(SETTINGS, size=4000, in_flight=3000)
    async with Sink() as sink, gateway(sink.address, protocol=protocol, settings=settings) as site:
        mailer = await Mailer.to(site.address, "LHLO me" if protocol == "lmtp" else "EHLO me")
        await mailer.say("XFORWARD ADDR=192.0.2.7 IDENT=4C3F")
        replies = await mailer.send("<a@b>", ["<c@d>", "<e@f>"], content, lmtp=protocol == "lmtp")
        assert set(replies) == {reply}
        (entry,) = site.journal
        assert (entry["event"], entry["action"], entry["direction"]) == ("message", action, "outbound")
        assert (entry["queue_id"], entry["client"], entry["sender"]) == ("4C3F", "192.0.2.7", "a@b")
        assert entry["size"] == len(content) + 3  # with the dot
        assert entry["recipients"] == [{"address": a, "action": action, "reply": reply} for a in ("c@d", "e@f")]
        assert (site.counters.get("messages_outbound"), site.counters.get(action)) == (1, 2)
        await mailer.send("<a@b>", ["<c@d>"], MAIL, lmtp=protocol == "lmtp")
        assert len(site.journal) == 2
        assert len({each["id"] for each in site.journal}) == 2
        mailer.close()


@run
async def test_replies_can_be_given_a_floor_so_that_they_do_not_tell_how_long_work_took() -> None:
    settings = Settings("gw.example", "i", minimum_time=0.3)
    async with Sink() as sink, gateway(sink.address, settings=settings) as site:
        mailer = await Mailer.to(site.address)
        begun = asyncio.get_running_loop().time()
        await mailer.send("<a@b>", ["<c@d>"], MAIL)
        assert asyncio.get_running_loop().time() - begun > 0.25  # clocks of sleep and loop differ a little
        mailer.close()


@pytest.mark.requirement("R2634-6-01")
@run
async def test_an_administrator_is_told_of_many_failures_to_decrypt(caplog: pytest.LogCaptureFixture) -> None:
    """By key and by client, in the log and in the metrics; the client sees nothing of it."""

    def unopened(transaction: Transaction) -> Decision:
        return replace(everything(transaction), unopened=("ab" * 32,))

    settings = Settings("gw.example", "i", decryption_alarm=3)
    async with Sink() as sink, gateway(sink.address, unopened, settings=settings) as site:
        mailer = await Mailer.to(site.address, "LHLO mta.example")
        for alarms in (0, 0, 2, 2):
            await mailer.say("XFORWARD ADDR=192.0.2.7")
            (reply,) = await mailer.send("<a@b>", ["<c@d>"], MAIL)
            assert reply.startswith("250")
            assert site.counters.get("alarms") == alarms
        assert site.counters.get("unopened") == 4
        told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert [text.partition(":")[0] for text in told] == [f"key {'ab' * 8}", "client 192.0.2.7"]
        assert all("3 messages within an hour did not decrypt" in text for text in told)
        mailer.close()


# --- TLS -------------------------------------------------------------------------------------------------------------


@run
async def test_a_client_may_secure_its_connection_and_received_says_so(tmp_path: Path) -> None:
    settings = replace(SETTINGS, tls=server_context(tls.both(tmp_path)))
    async with Sink() as sink, gateway(sink.address, protocol="smtp", settings=settings) as site:
        mailer = await Mailer.to(site.address, "EHLO me")
        await mailer.secure(tls.believing(tmp_path / "server.pem"))
        assert (await mailer.say("EHLO me")).startswith("250")
        for _ in range(2):
            (reply,) = await mailer.send("<a@acme.example>", ["<b@x.example>"], MAIL, lmtp=False)
            assert reply.startswith("250 2.0.0")
        assert b"with ESMTPS id" in sink.mails[0].content
        assert site.seen[0].session.tls
        assert sink.contents() == [CONTENT, CONTENT]
        mailer.close()


@pytest.mark.parametrize("known", [True, False], ids=["by a CA of ours", "none"])
@run
async def test_the_certificate_that_a_client_shows_is_known(tmp_path: Path, known: bool) -> None:
    (tmp_path / "client").mkdir()
    shown = tls.both(tmp_path / "client")
    settings = replace(SETTINGS, tls=server_context(tls.both(tmp_path), [tmp_path / "client/server.pem"]))
    async with Sink() as sink, gateway(sink.address, settings=settings) as site:
        mailer = await Mailer.to(site.address)
        context = tls.believing(tmp_path / "server.pem")
        if known:
            context.load_cert_chain(shown)
        await mailer.secure(context)
        await mailer.say("LHLO me")
        await mailer.send("<a@acme.example>", ["<b@x.example>"], MAIL)
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert((tmp_path / "client/server.pem").read_text())).hexdigest()
        assert site.seen[0].session.certificate == (digest if known else None)
        await mailer.say("XCLIENT LOGIN=bob")
        await mailer.say("LHLO me")
        await mailer.send("<a@acme.example>", ["<b@x.example>"], MAIL)
        assert site.seen[1].session.certificate is None  # that of who speaks for bob
        mailer.close()


@run
async def test_a_client_with_a_certificate_of_somebody_else_is_not_welcome(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("client", "other"):
        (tmp_path / name).mkdir()
        tls.both(tmp_path / name)
    settings = replace(SETTINGS, tls=server_context(tls.both(tmp_path), [tmp_path / "client/server.pem"]))
    async with Sink() as sink, gateway(sink.address, settings=settings) as site:
        mailer = await Mailer.to(site.address)
        context = tls.believing(tmp_path / "server.pem")
        context.load_cert_chain(tmp_path / "other/both.pem")
        with pytest.raises((ConnectionError, ssl.SSLError, AssertionError)):
            await mailer.secure(context)
            assert await mailer.say("LHLO me")
        assert site.seen == []
        assert "client 127.0.0.1: TLS did not begin: " in caplog.text
        assert "verify failed" in caplog.text
        mailer.close()


@run
async def test_a_large_message_comes_and_goes_secured(tmp_path: Path) -> None:
    both = tls.both(tmp_path)
    hop = {"tls": "verify", "ca": (tmp_path / "server.pem",)}
    async with Sink(tls=tls.shown(both)) as sink:
        to = NextHop(sink.address.replace("127.0.0.1", "localhost"), **hop)
        async with gateway(to, settings=replace(SETTINGS, tls=server_context(both), require_tls=True)) as site:
            mailer = await Mailer.to(site.address)
            assert (await mailer.say("MAIL FROM:<a@b.example>")).startswith("530 5.7.0")
            await mailer.secure(tls.believing(tmp_path / "server.pem"))
            await mailer.say("LHLO me")
            content = b"Subject: x\r\n\r\n" + (b"0123456789abcdef" * 4 + b"\r\n") * 16384
            (reply,) = await mailer.send("<a@acme.example>", ["<b@x.example>"], content)
            assert reply.startswith("250 2.0.0")
            assert sink.contents() == [content]
            assert sink.secured == 1
            assert b"with LMTPS id" in sink.mails[0].content
            mailer.close()


@pytest.mark.parametrize(
    ("options", "offers", "code"),
    [
        ({"tls": "may"}, True, "250 2.0.0"),
        ({"tls": "may"}, False, "250 2.0.0"),
        ({"tls": "verify"}, True, "451 4.7.5"),
        ({"tls": "verify"}, False, "451 4.7.5"),
    ],
    ids=["may, nobody is asked who it is", "may, in the clear", "verify, unknown", "verify, not offered"],
)
@run
async def test_the_next_hop_gets_nothing_without_the_tls_that_is_asked_of_it(
    tmp_path: Path, options: dict, offers: bool, code: str
) -> None:
    both = tls.both(tmp_path)
    async with Sink(tls=tls.shown(both) if offers else None) as sink:
        to = NextHop(sink.address.replace("127.0.0.1", "localhost"), **options)
        async with gateway(to) as site:
            mailer = await Mailer.to(site.address)
            for _ in range(2):
                (reply,) = await mailer.send("<a@acme.example>", ["<b@x.example>"], MAIL)
                assert reply.startswith(code)
            assert bool(sink.mails) is code.startswith("250")
            assert not sink.mails or sink.secured == offers
            mailer.close()


@run
async def test_a_certificate_for_another_host_is_not_that_of_the_next_hop(tmp_path: Path) -> None:
    both = tls.both(tmp_path)
    async with Sink(tls=tls.shown(both)) as sink:
        to = NextHop(sink.address, tls="verify", ca=(tmp_path / "server.pem",))  # 127.0.0.1 does not stand in it
        async with gateway(to) as site:
            mailer = await Mailer.to(site.address)
            (reply,) = await mailer.send("<a@acme.example>", ["<b@x.example>"], MAIL)
            assert reply.startswith("451 4.7.5")
            assert sink.mails == []
            mailer.close()


@run
async def test_a_handshake_that_makes_no_sense_ends_the_connection_only(tmp_path: Path) -> None:
    settings = replace(SETTINGS, tls=server_context(tls.both(tmp_path)))
    async with Sink() as sink, gateway(sink.address, settings=settings) as site:
        mailer = await Mailer.to(site.address)
        assert (await mailer.say("STARTTLS")).startswith("220")
        mailer.writer.write(b"MAIL FROM:<a@b.example>\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"250" not in await mailer.reader.read()
        while site.gateway.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        other = await Mailer.to(site.address)
        (reply,) = await other.send("<a@acme.example>", ["<b@x.example>"], MAIL)
        assert reply.startswith("250")
        waiting = await Mailer.to(site.address)
        assert (await waiting.say("STARTTLS")).startswith("220")  # and never a hello: nobody waits for it in the end
        assert not await site.gateway.drain(0.1)
        other.close()
        waiting.close()


@run
async def test_on_a_unix_socket_nobody_is_between(tmp_path: Path) -> None:
    settings = replace(SETTINGS, tls=server_context(tls.both(tmp_path)), require_tls=True)
    async with Sink() as sink, gateway(sink.address, address=f"unix:{tmp_path}/in", settings=settings) as site:
        mailer = await Mailer.to(site.address)
        (reply,) = await mailer.send("<a@acme.example>", ["<b@x.example>"], MAIL)
        assert reply.startswith("250")
        mailer.close()


# --- a mail server that keeps the message ----------------------------------------------------------------------------


def marking(transaction: Transaction) -> Decision:
    return Decision(outgoing=(outgoing(transaction, 0, octets=b"X-Mark: 1\r\n" + bytes(transaction.octets)),))


@asynccontextmanager
async def asked(site: Site) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of a mail server that has agreed on its options."""
    reader, writer = await asyncio.open_connection(*site.address.rsplit(":", 1))
    writer.write(options(*OPTIONS))
    assert await packet_from(reader) == "O"
    yield reader, writer
    writer.close()


async def packet_from(reader: asyncio.StreamReader) -> str:
    size = int.from_bytes(await reader.readexactly(4), "big")
    data = await reader.readexactly(size)
    return chr(data[0]) if len(data) == 1 or data[:1] in b"Omiq" else data.decode()


@run
async def test_a_mail_server_is_told_what_to_do_with_each_message_and_the_log_has_it() -> None:
    async with gateway(None, marking, protocol="milter") as site, asked(site) as (reader, writer):
        for _ in range(2):
            writer.write(CONNECTED + MESSAGE)
            assert [await packet_from(reader) for _ in range(2)] == ["i", "c"]
    record = site.journal[-1]
    assert (record["client"], record["auth"], record["queue_id"]) == ("192.0.2.1", "alice", "4XyZ")
    assert record["recipients"][0]["action"] == "marked"
    assert site.counters.get("marked") == 2
    assert site.gateway.budget.used == 0


@run
async def test_what_is_too_large_for_a_milter_is_in_the_log_as_well() -> None:
    settings = replace(SETTINGS, limits=replace(SETTINGS.limits, size=10))
    async with gateway(None, marking, protocol="milter", settings=settings) as site, asked(site) as (reader, writer):
        writer.write(CONNECTED + MESSAGE)
        assert (await packet_from(reader)).startswith("y552 5.3.4 ")
    (record,) = site.journal
    assert (record["client"], record["queue_id"], record["action"]) == ("192.0.2.1", "4XyZ", "refused")


@pytest.mark.parametrize(
    ("decide", "answers", "action"),
    [
        (lambda t: Decision(held=(Held((0,), ("signature.invalid",), t.octets),)), ["q", "c"], "held"),
        (lambda t: Decision(refused=(Refused((0,), 550, "5.7.7", "no"),)), ["y550 5.7.7 no\0"], "refused"),
        (lambda t: Decision(refused=(Refused((0,), 451, "4.4.3", "later"),)), ["y451 4.4.3 later\0"], "deferred"),
        (lambda t: 1 / 0, ["y451 4.3.0 error in this gateway, message was not touched [internal]\0"], "deferred"),
        (lambda t: Decision(outgoing=(outgoing(t, 0, octets=b"Subject: x\r\n\r\nother text\r\n"),)),
         ["y451 4.3.0 error in this gateway, message was not touched [internal]\0"], "deferred"),
    ],
    ids=["held", "refused", "deferred", "a fault of ours", "another body"],
)  # fmt: skip
@run
async def test_a_decision_is_what_a_mail_server_does(decide, answers: list[str], action: str) -> None:
    async with gateway(None, decide, protocol="milter") as site, asked(site) as (reader, writer):
        writer.write(MESSAGE)
        assert [await packet_from(reader) for _ in answers] == answers
        writer.write(MESSAGE.replace(b"Subject", b"subject"))  # the connection is of use as before
        assert await packet_from(reader) == answers[0]
    assert site.journal[0]["recipients"][0]["action"] == action


@run
async def test_a_mail_server_that_makes_no_sense_is_cut_off_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with gateway(None, marking, protocol="milter") as site, asked(site) as (reader, writer):
        writer.write(b"EHLO me\r\n")
        assert await reader.read() == b""
    assert "connection of a milter ended: a packet of" in caplog.text


@run
async def test_an_idle_mail_server_is_let_go_when_the_gateway_stops() -> None:
    async with gateway(None, marking, protocol="milter") as site, asked(site) as (reader, _):
        assert await site.gateway.drain(5)
        assert await reader.read() == b""


def test_the_sink_announces_what_the_tests_rely_on() -> None:
    assert "PIPELINING" in FEATURES


# --- shadow mode ----------------------------------------------------------------------------------------------------


def of_all_kinds(transaction: Transaction) -> Decision:
    """Changed for the first recipient, held for the second, refused for the others."""
    return Decision(
        outgoing=(outgoing(transaction, 0, octets=b"Subject: y\r\n\r\nsigned\r\n"),),
        held=(Held((1,), ("no_certificate",), transaction.octets),),
        refused=(Refused((2,), 550, "5.7.1", "no"), Refused((3,), 451, "4.3.0", "later")),
        log={"action": "relay+hold", "line": "domsec.toml:3 [[rule]] 1"},
    )


@pytest.mark.parametrize("protocol", ["lmtp", "smtp"])
@run
async def test_in_shadow_mode_a_message_passes_as_it_came_and_the_log_says_what_would_have_been(protocol: str) -> None:
    async with (
        Sink() as sink,
        gateway(sink.address, of_all_kinds, protocol=protocol, shadow=lambda t: t.octets) as site,
    ):
        mailer = await Mailer.to(site.address, "LHLO me" if protocol == "lmtp" else "EHLO me")
        replies = await mailer.send("<a@b>", [f"<r{n}@x>" for n in range(4)], MAIL, lmtp=protocol == "lmtp")
        assert all(reply.startswith("250") for reply in replies)
        assert sink.contents() == [CONTENT]
        assert sink.mails[0].recipients == [f"<r{n}@x>" for n in range(4)]
        assert site.held == []
        (record,) = site.journal
        assert (record["shadow"], record["action"], record["line"]) == (True, "relay+hold", "domsec.toml:3 [[rule]] 1")
        assert record["would"] == [
            {"action": "relay"},
            {"action": "hold", "reasons": ["no_certificate"]},
            {"action": "refuse", "reply": "550 5.7.1 no"},
            {"action": "defer", "reply": "451 4.3.0 later"},
        ]
        assert [each["action"] for each in record["recipients"]] == ["delivered"] * 4
        counted = [site.counters.get(f"shadow_{kind}") for kind in ("relay", "hold", "refuse", "defer")]
        assert (counted, site.counters.get("shadow")) == ([1, 1, 1, 1], 1)
        mailer.close()


@run
async def test_in_shadow_mode_a_fault_of_ours_stops_nothing() -> None:
    def broken(transaction: Transaction) -> Decision:
        raise StoreUnavailable("directory does not answer")

    async with Sink() as sink, gateway(sink.address, broken, shadow=lambda t: t.octets) as site:
        mailer = await Mailer.to(site.address)
        assert (await mailer.send("<a@b>", ["<c@d>"], MAIL))[0].startswith("250")
        assert sink.contents() == [CONTENT]
        (record,) = site.journal
        assert (record["action"], record["would"][0]["action"]) == ("error", "defer")
        mailer.close()


@run
async def test_in_shadow_mode_loops_are_cut_and_what_the_next_hop_refuses_is_refused() -> None:
    async with (
        Sink(answers={"gone@x": "550 5.1.1 no such user"}) as sink,
        gateway(sink.address, shadow=lambda t: t.octets) as site,
    ):
        mailer = await Mailer.to(site.address)
        assert (await mailer.send("<a@b>", ["<gone@x>"], MAIL))[0].startswith("550 5.1.1")
        mark = b"Received: from a by b (domsec acme-1/outbound) with LMTP id 1; x\r\n"
        assert (await mailer.send("<a@b>", ["<c@d>"], mark + MAIL))[0].startswith("554 5.4.6")
        assert sink.mails == []
        assert "shadow" not in site.journal[-1]
        mailer.close()


@run
async def test_in_shadow_mode_a_mail_server_is_told_to_do_nothing() -> None:
    def refusing(transaction: Transaction) -> Decision:
        return Decision(refused=(Refused((0,), 550, "5.7.7", "no"),))

    async with (
        gateway(None, refusing, protocol="milter", shadow=lambda t: t.octets) as site,
        asked(site) as (reader, writer),
    ):
        writer.write(MESSAGE)
        assert await packet_from(reader) == "c"
    (record,) = site.journal
    assert record["would"] == [{"action": "refuse", "reply": "550 5.7.7 no"}]
    assert record["recipients"][0]["action"] == "marked"
