"""Asking directories for certificates, several at once, and remembering what they said.

    find  ->  remembered?  ->  being asked already?  ->  ask each directory that serves the domain  ->  remember

Nothing here judges a certificate. A directory that does not answer is left alone for a while, so that only the first
questions wait for it. What is remembered is bounded, belongs to one process, and goes with it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from domsec.mime.addresses import within
from domsec.trust.discovered import Answer, Found, Question

AT_ONCE: Final = 16  # questions of one queue to one directory at the same time; others wait for their turn
PAUSE: Final = 15.0  # seconds in which a directory that did not answer is not asked, or not the same again
KEPT: Final = 10_000  # answers of one directory
KEPT_OCTETS: Final = 32 * 1024 * 1024  # of the certificates in them


class Directory(Protocol):
    """Somebody to ask. `ask` raises nothing for what the other side does, and comes back within its own timeout."""

    @property
    def name(self) -> str: ...

    @property
    def timeout(self) -> float: ...

    async def ask(self, question: Question) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A directory with what an administrator says of it. Times in seconds."""

    directory: Directory
    domains: tuple[str, ...] = ()  # whose people and authorities it has, with the domains below; empty is everybody
    keep: float = 3600.0  # how long a certificate is believed to be the one it has
    keep_nothing: float = 600.0  # and that it has none
    vouches: bool = False  # whether what it says of a certificate can stand for a path to an anchor

    def serves(self, question: Question) -> bool:
        domain = question.domain
        if question.signer and not self.vouches:
            return False
        return not self.domains or within(domain, self.domains)


class Discovery:
    """The directories of one installation. For one event loop."""

    def __init__(self, directories: Sequence[Asked], *, clock: Callable[[], float] = monotonic) -> None:
        self._asked = tuple(_Asking(asked, clock) for asked in directories)

    async def find(self, questions: Iterable[Question], queue: str = "") -> Found:
        """What every directory that serves the domain of a question says to it. Raises nothing for any of them.

        Questions of one queue wait for no other: what strangers have us ask does not hold up what our users need.
        """
        pairs = [(q, a) for q in dict.fromkeys(questions) for a in self._asked if a.asked.serves(q)]
        answers = await asyncio.gather(*(asking.answer(question, queue) for question, asking in pairs))
        found: dict[Question, tuple[Answer, ...]] = {}
        for (question, _), answer in zip(pairs, answers, strict=True):
            found[question] = (*found.get(question, ()), answer)
        return Found(found)


class _Asking:
    """One directory: what it said, what it is being asked, whether it is worth asking."""

    def __init__(self, asked: Asked, clock: Callable[[], float]) -> None:
        self.asked = asked
        self._clock = clock
        self._remembered = _Memory(clock)
        self._pending: dict[tuple[Question, str], asyncio.Task[Answer]] = {}
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._silent_until = 0.0
        self._silence = ""

    async def answer(self, question: Question, queue: str) -> Answer:
        remembered = self._remembered.get(question)
        if remembered is not None:
            return remembered
        key = (question, queue)
        task = self._pending.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(question, self._turns[queue]))
            self._pending[key] = task
            task.add_done_callback(lambda _: self._pending.pop(key, None))
        return await asyncio.shield(task)  # whoever else waits for it is not concerned when one gives up

    async def _ask(self, question: Question, turns: asyncio.Semaphore) -> Answer:
        directory = self.asked.directory
        try:
            async with asyncio.timeout(directory.timeout):  # a turn that does not come is a directory too slow
                await turns.acquire()
        except TimeoutError:
            return Answer(directory.name, "unavailable", text="too many questions are waiting for it")
        try:
            if self._clock() < self._silent_until:
                return Answer(directory.name, "unavailable", text=f"not asked again yet: {self._silence}")
            answer = await directory.ask(question)
        finally:
            turns.release()
        if answer.outcome == "unavailable":
            self._silent_until, self._silence = self._clock() + PAUSE, answer.text
        else:
            self._remembered.put(question, answer, self._keep(answer))
        return answer

    def _keep(self, answer: Answer) -> float:
        if answer.failed:
            return PAUSE
        longest = self.asked.keep if answer.outcome == "found" else self.asked.keep_nothing
        return longest if answer.seconds is None else min(longest, answer.seconds)


class _Memory:
    """Answers until they are too old; the one that was not wanted for longest goes first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[Question, tuple[float, Answer]] = OrderedDict()
        self._octets = 0

    def get(self, question: Question) -> Answer | None:
        kept = self._answers.get(question)
        if kept is None:
            return None
        until, answer = kept
        if self._clock() >= until:
            self._drop(question)
            return None
        self._answers.move_to_end(question)
        return answer

    def put(self, question: Question, answer: Answer, seconds: float) -> None:
        if question in self._answers:
            self._drop(question)
        self._answers[question] = (self._clock() + seconds, answer)
        self._octets += _octets(answer)
        while len(self._answers) > KEPT or self._octets > KEPT_OCTETS:
            self._drop(next(iter(self._answers)))

    def _drop(self, question: Question) -> None:
        self._octets -= _octets(self._answers.pop(question)[1])


def _octets(answer: Answer) -> int:
    return sum(len(c.der) for c in answer.certificates) + sum(len(a.data) for a in answer.associations)
