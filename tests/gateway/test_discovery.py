"""A gateway that asks directories: a real slapd, and one that never says anything. Other mail goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace

import pytest

import pki
import slapd
import world
from directories import Memory, dca
from domsec.gateway.metrics import Metrics
from domsec.gateway.relay import NextHop
from domsec.gateway.server import Discover, Gateway, Handler, Listener, Settings
from domsec.gateway.workers import listen
from domsec.pipeline import Decision, Direction, process
from domsec.stores.discovery import Asked, Discovery
from domsec.stores.ldap import LdapDirectory
from domsec.trust.discovered import Question
from sink import Mailer, Sink
from world import beta, build, judge

GAMMA = pki.domain("gamma.example", ("carol",))
ALICE = "<alice@acme.example>"


def handlers(directories: Discovery | None, **options: object) -> tuple[Handler, Discover | None]:
    """What the hooks of `domsec gateway run` do, at the time of the test PKI."""
    options = {"peers": (), "known": [beta().confidentiality.certificate]} | options
    site = replace(world.acme_site(anchors=[*pki.world().cas, GAMMA.ca.certificate], **options), asks=True)

    def at_test_time(transaction: world.Transaction) -> world.Transaction:
        return replace(transaction, received_at=world.NOW)

    async def discover(direction: str, wanted: list[Question]) -> Handler:
        assert directories is not None
        found = await directories.find(wanted, direction)
        return lambda transaction: process(at_test_time(transaction), site, found)

    return (lambda t: process(at_test_time(t), site)), (discover if directories else None)  # type: ignore[return-value]


@contextlib.asynccontextmanager
async def gateway(sink: Sink, directories: Discovery | None, protocol: str = "lmtp") -> AsyncIterator[Gateway]:
    handler, discover = handlers(directories)
    sock = listen("127.0.0.1:0")
    running = Gateway(
        Settings("gw.example", "acme-1"),
        handler,
        lambda *_: "H1",
        counters=Metrics().counters(),
        discover=discover,
    )
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    listener = Listener(address, protocol, "outbound", NextHop(sink.address))  # type: ignore[arg-type]
    await running.start([(listener, sock)])
    running.address = address  # type: ignore[attr-defined]
    try:
        yield running
    finally:
        await running.drain(0.2)


async def send(running: Gateway, *recipients: str, protocol: str = "lmtp") -> list[str]:
    hello = "LHLO me" if protocol == "lmtp" else "EHLO me"
    mailer = await Mailer.to(running.address, hello)  # type: ignore[attr-defined]
    message = build("OC", to=", ".join(recipients)).replace(b"\r\n.", b"\r\n..")
    replies = await mailer.send(ALICE, [f"<{each}>" for each in recipients], message, lmtp=protocol == "lmtp")
    mailer.close()
    return replies


@pytest.fixture(scope="module")
def server() -> Iterator[slapd.Server]:
    if reason := slapd.missing():
        pytest.skip(reason)
    name = "cn=domain-confidentiality-authority,dc=gamma,dc=beta,dc=example"
    below = "dn: dc=gamma,dc=beta,dc=example\nobjectClass: domain\ndc: gamma\n\n"
    filed = slapd.authority(name, [GAMMA.confidentiality.certificate], mail=dca("gamma.example"))
    with slapd.server([below, filed]) as running:
        yield running


def of_slapd(server: slapd.Server) -> LdapDirectory:
    return LdapDirectory("127.0.0.1", server.plain, "none", base="dc=beta,dc=example")


def test_a_partner_found_in_ldap_gets_protected_mail(server: slapd.Server) -> None:
    async def test() -> None:
        async with Sink() as sink, gateway(sink, Discovery([Asked(of_slapd(server))])) as running:
            (reply,) = await send(running, "carol@gamma.example")
            assert reply.startswith("250 ")
            context = world.context(GAMMA.confidentiality)
            assert judge(sink.contents()[0], context).structure == "E(S[domain](S0(OC)))"
            assert running.counters.get("lookups") == 2

    asyncio.run(test())


def test_no_lookup_blocks_other_mail() -> None:
    """One message waits for a directory that says nothing yet; the others, on other connections, do not."""

    async def test() -> None:
        gate = asyncio.Event()
        directory = Memory({dca("gamma.example"): (GAMMA.confidentiality.certificate,)}, gate=gate)
        async with Sink() as sink, gateway(sink, Discovery([Asked(directory)])) as running:
            waiting = asyncio.create_task(send(running, "carol@gamma.example"))
            await directory.was_asked()
            for _ in range(3):
                (reply,) = await send(running, "bob@beta.example")
                assert reply.startswith("250 ")
            assert not waiting.done()
            gate.set()
            assert (await waiting)[0].startswith("250 ")
            assert len(sink.mails) == 4

    asyncio.run(test())


@pytest.mark.parametrize("protocol", ["lmtp", "smtp"])
def test_a_dead_directory_delays_only_what_needs_it(server: slapd.Server, protocol: str) -> None:
    """Nobody listens there. By LMTP the other recipient of the same message has it at once."""
    del server

    async def test() -> None:
        dead = LdapDirectory("127.0.0.1", 1, "none", base="dc=beta,dc=example", timeout=5)
        async with Sink() as sink, gateway(sink, Discovery([Asked(dead)]), protocol) as running:
            assert (await send(running, "bob@beta.example", protocol=protocol))[0].startswith("250 ")
            replies = await send(running, "carol@gamma.example", "bob@beta.example", protocol=protocol)
            deferred, *others = replies
            assert deferred.startswith("451 4.4.3 what is known of certificates for gamma.example cannot be found out")
            assert [reply[:3] for reply in others] == (["250"] if protocol == "lmtp" else [])
            assert len(sink.mails) == (2 if protocol == "lmtp" else 1)

    asyncio.run(test())


def test_a_directory_that_accepts_and_says_nothing(server: slapd.Server) -> None:
    """It costs its timeout once; then nothing, until it is tried again."""
    del server

    async def test() -> None:
        silent = await asyncio.start_server(lambda r, w: asyncio.sleep(60), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        directory = LdapDirectory("127.0.0.1", port, "none", base="dc=beta,dc=example", timeout=0.05)
        async with Sink() as sink, gateway(sink, Discovery([Asked(directory)])) as running:
            for who in ("carol@gamma.example", "dora@gamma.example"):
                (reply,) = await send(running, who)
                assert reply.startswith("451 4.4.3 ")
            assert sink.mails == []
        silent.close()

    asyncio.run(test())


def test_what_was_found_out_before_they_were_asked_is_handed_on() -> None:
    async def test() -> None:
        directory = Memory({dca("gamma.example"): (GAMMA.confidentiality.certificate,)})
        async with Sink() as sink, gateway(sink, Discovery([Asked(directory)])) as running:
            ask, structures = running.discover, []
            assert ask is not None

            async def discover(direction: Direction, wanted: Sequence[Question]) -> Handler:
                knowing = await ask(direction, wanted)

                def decide(transaction: world.Transaction) -> Decision:
                    structures.extend(judged.examination.verdict.structure for judged in transaction.judged)
                    return knowing(transaction)

                return decide

            running.discover = discover
            assert (await send(running, "carol@gamma.example"))[0].startswith("250 ")
            assert structures == ["OC"]

    asyncio.run(test())


def test_without_anybody_to_ask_nothing_is_decided() -> None:
    """A fault of ours: the message stays where it is."""

    async def test() -> None:
        async with Sink() as sink, gateway(sink, None) as running:
            assert (await send(running, "carol@gamma.example"))[0].startswith("451 4.3.5 ")
            assert sink.mails == []

    asyncio.run(test())
