"""Directories that say what a test wants, and what was asked of them. Real ones are in `slapd`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from domsec.cms.certificates import Certificate
from domsec.services.names import CONFIDENTIALITY_AUTHORITY
from domsec.trust.association import Association
from domsec.trust.discovered import Answer, Found, Outcome, Question


def asked(address: str, *, signer: bool = False) -> Question:
    """The question for a person, or for the authority whose address it is."""
    role = address.partition("@")[0]
    return Question(address, role if role.endswith("-authority") else "", signer=signer)


def dca(domain: str) -> str:
    return f"{CONFIDENTIALITY_AUTHORITY}@{domain}"


def found(answers: Mapping[str, Iterable[Certificate] | Outcome]) -> Found:
    """What one directory said, by address: certificates, or an outcome without any."""
    return Found({asked(address): (answer(said),) for address, said in answers.items()})


def answer(said: Iterable[Certificate] | Outcome) -> Answer:
    if isinstance(said, str):
        return Answer("directory", said)
    return Answer("directory", "found", tuple(said))


def published(records: Mapping[str, Iterable[Association] | Outcome], *, signer: bool = False) -> Found:
    """What DNS said, by address: secure records, or an outcome without any."""
    return Found({asked(address, signer=signer): (_published(said),) for address, said in records.items()})


def _published(said: Iterable[Association] | Outcome) -> Answer:
    if isinstance(said, str):
        return Answer("SMIMEA", said)
    associations = tuple(said)
    certificates = tuple(c for a in associations if not a.of_issuer and (c := a.certificate) is not None)
    return Answer("SMIMEA", "found", certificates, associations)


def together(*parts: Found) -> Found:
    """Several directories' answers."""
    questions = dict.fromkeys(question for part in parts for question in part.answers)
    return Found({q: tuple(each for part in parts for each in part.answers.get(q, ())) for q in questions})


@dataclass
class Memory:
    """A directory with these certificates, by address. With `gate` it answers once that is set."""

    certificates: Mapping[str, tuple[Certificate, ...]] = field(default_factory=dict)
    outcome: Outcome = "nothing"  # for everybody else
    gate: asyncio.Event | None = None
    name: str = "memory"
    timeout: float = 5.0
    questions: list[str] = field(default_factory=list)

    async def was_asked(self, count: int = 1) -> None:
        """Returns once so many questions have come."""
        while len(self.questions) < count:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def ask(self, question: Question) -> Answer:
        self.questions.append(question.address)
        if self.gate is not None:
            await self.gate.wait()
        known = self.certificates.get(question.address)
        return Answer(self.name, "found", known) if known else Answer(self.name, self.outcome, text="as told")
