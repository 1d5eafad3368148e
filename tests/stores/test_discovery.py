"""Directories asked at once, and what is remembered of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from directories import Memory, asked, dca
from domsec.cms.certificates import IssuerAndSerialNumber
from domsec.stores import discovery
from domsec.stores.discovery import Asked, Discovery
from domsec.trust.discovered import Question
from world import beta

T = TypeVar("T")
BOB = asked("bob@beta.example")
ALICE = asked("alice@beta.example")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(test: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(test)


def bobs() -> Memory:
    return Memory({BOB.address: (beta().users["bob"].certificate,)})


def test_every_directory_is_asked_at_once_and_answers_in_its_place() -> None:
    async def test() -> None:
        gate = asyncio.Event()
        slow, quick = Memory(gate=gate, name="slow"), bobs()
        asking = asyncio.create_task(Discovery([Asked(slow), Asked(quick)]).find([BOB, ALICE]))
        await slow.was_asked(2)
        await quick.was_asked(2)
        gate.set()
        found = await asking
        assert [answer.source for answer in found.answers[BOB]] == ["slow", "memory"]
        assert [answer.outcome for answer in found.answers[BOB]] == ["nothing", "found"]
        assert found.by_address(BOB.address) == (beta().users["bob"].certificate,)
        assert found.by_address(ALICE.address) == ()

    run(test())


@pytest.mark.parametrize(
    ("domains", "served"),
    [
        ((), ["bob@beta.example", "bob@a.beta.example", "bob@gamma.example", "bob@xbeta.example"]),
        (("beta.example",), ["bob@beta.example", "bob@a.beta.example"]),
        (("a.beta.example",), ["bob@a.beta.example"]),
    ],
)
def test_a_directory_is_asked_for_its_domains_only(domains: tuple[str, ...], served: list[str]) -> None:
    everybody = ["bob@beta.example", "bob@a.beta.example", "bob@gamma.example", "bob@xbeta.example"]
    directory = Memory()
    found = run(Discovery([Asked(directory, domains)]).find(map(asked, everybody)))
    assert sorted(directory.questions) == sorted(served)
    assert sorted(question.address for question in found.answers) == sorted(served)


def test_nobody_is_asked_about_signers_who_cannot_vouch_for_them() -> None:
    """An LDAP server that is down keeps no mail from coming in."""
    silent, other = Memory(outcome="unavailable"), Memory()
    question = asked("domain-signing-authority@beta.example", signer=True)
    found = run(Discovery([Asked(silent), Asked(other, vouches=True)]).find([question]))
    assert (silent.questions, other.questions) == ([], [question.address])
    assert found.failure([question]) is None


def test_answers_are_remembered_for_their_time() -> None:
    async def test() -> None:
        clock, directory = Clock(), bobs()
        asking = Discovery([Asked(directory, keep=100, keep_nothing=10)], clock=clock)
        for seconds, expected in ((0, 2), (9, 2), (10, 3), (99, 4), (100, 5)):
            clock.now = 1000.0 + seconds
            found = await asking.find([BOB, ALICE])
            assert found.by_address(BOB.address)
            assert len(directory.questions) == expected, seconds
        assert directory.questions == [BOB.address, ALICE.address, ALICE.address, ALICE.address, BOB.address]

    run(test())


def test_one_question_for_all_who_wait_for_it() -> None:
    async def test() -> None:
        gate = asyncio.Event()
        directory = Memory({BOB.address: (beta().users["bob"].certificate,)}, gate=gate)
        asking = Discovery([Asked(directory, keep=0)])
        first, second, third = (asyncio.create_task(asking.find([BOB])) for _ in range(3))
        await directory.was_asked()
        first.cancel()  # whose client went away
        await asyncio.sleep(0)
        gate.set()
        assert [bool((await each).by_address(BOB.address)) for each in (second, third)] == [True, True]
        assert directory.questions == [BOB.address]
        assert (await asking.find([BOB])).by_address(BOB.address)
        assert len(directory.questions) == 2  # kept for no time

    run(test())


def test_a_directory_that_does_not_answer_is_left_alone_for_a_while() -> None:
    async def test() -> None:
        clock, directory, other = Clock(), Memory(outcome="unavailable"), bobs()
        asking = Discovery([Asked(directory), Asked(other)], clock=clock)
        for seconds, expected in ((0, 1), (discovery.PAUSE - 1, 1), (discovery.PAUSE, 2)):
            clock.now = 1000.0 + seconds
            question = Question(f"{seconds}@beta.example")
            found = await asking.find([question])
            assert found.failure([question]) is not None
            assert len(directory.questions) == expected
        directory.outcome = "nothing"
        clock.now += discovery.PAUSE
        found = await asking.find([BOB, ALICE])
        assert found.failure([BOB, ALICE]) is None
        assert other.questions.count(ALICE.address) == 1

    run(test())


def test_an_answer_that_is_no_use_speaks_for_itself_only() -> None:
    """Whoever writes an entry that cannot be read keeps nobody else from being found."""

    async def test() -> None:
        clock, directory = Clock(), Memory({BOB.address: (beta().users["bob"].certificate,)}, "unusable")
        asking = Discovery([Asked(directory)], clock=clock)
        found = await asking.find([ALICE])
        assert found.failure([ALICE]) is not None
        assert (await asking.find([BOB])).by_address(BOB.address)
        await asking.find([ALICE])
        assert directory.questions == [ALICE.address, BOB.address]
        clock.now += discovery.PAUSE
        await asking.find([ALICE])
        assert len(directory.questions) == 3

    run(test())


def test_limit_on_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer that was not wanted for longest is forgotten."""
    monkeypatch.setattr(discovery, "KEPT", 3)

    async def test() -> None:
        directory = Memory()
        asking = Discovery([Asked(directory)])
        for name in ("a", "b", "c", "a", "d", "a", "b"):
            await asking.find([Question(f"{name}@beta.example")])
        assert "".join(each[0] for each in directory.questions) == "abcdb"

    run(test())


def test_limit_on_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = beta().users["bob"].certificate
    known = {f"{name}@beta.example": (certificate,) for name in "abc"}

    async def test(most: int) -> str:
        monkeypatch.setattr(discovery, "KEPT_OCTETS", most)
        directory = Memory(known)
        asking = Discovery([Asked(directory)])
        for name in "ababcab":
            await asking.find([Question(f"{name}@beta.example")])
        return "".join(each[0] for each in directory.questions)

    size = len(certificate.der)
    assert run(test(3 * size)) == "abc"
    assert run(test(3 * size - 1)) == "abcab"
    assert run(test(size - 1)) == "ababcab"


def test_a_turn_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions that wait for their turn wait no longer than for an answer."""
    monkeypatch.setattr(discovery, "AT_ONCE", 1)

    async def test() -> None:
        gate = asyncio.Event()
        directory = Memory(gate=gate, timeout=0.01)
        asking = Discovery([Asked(directory)])
        first = asyncio.create_task(asking.find([BOB]))
        await directory.was_asked()
        found = await asking.find([ALICE])
        failure = found.failure([ALICE])
        assert failure is not None
        assert failure.text == "too many questions are waiting for it"
        gate.set()
        assert (await first).failure([BOB]) is None

    run(test())


def test_what_strangers_have_us_ask_does_not_hold_up_what_our_users_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mail from outside can make us ask domains that never answer, as many as it likes."""
    monkeypatch.setattr(discovery, "AT_ONCE", 2)

    async def test() -> None:
        gate = asyncio.Event()
        directory = Memory(gate=gate)
        asking = Discovery([Asked(directory)])
        strangers = [Question(f"x@{number}.example") for number in range(9)]
        flood = asyncio.create_task(asking.find(strangers, "inbound"))
        await directory.was_asked(2)
        ours = asyncio.create_task(asking.find([BOB], "outbound"))
        await directory.was_asked(3)
        assert directory.questions[2:] == [BOB.address]
        gate.set()
        assert (await ours).failure([BOB]) is None
        assert (await flood).failure(strangers) is None

    run(test())


def test_what_was_not_asked_is_not_known() -> None:
    found = run(Discovery([Asked(bobs())]).find([BOB, asked(dca("beta.example"))]))
    assert found.by_address("bob@gamma.example") == ()
    assert found.authority("domain-confidentiality-authority", "beta.example") == ()
    bob, alice = (beta().users[name].certificate for name in ("bob", "alice"))
    assert found.by_sid(IssuerAndSerialNumber(bob.issuer, bob.serial)) == (bob,)
    assert found.by_sid(IssuerAndSerialNumber(alice.issuer, alice.serial)) == ()
    assert next(found.lines()) == "asked for bob@beta.example: memory: 1 certificates"
