"""What was asked of directories, and what they answered: values. Who asks is in `domsec.stores.discovery`.

An answer says what somebody keeps in a place that anybody may have written to. It finds certificates and makes none of
them trusted, wherever it came from (RFC 3183 4.2, decisions A-43, threats T-20). Only what a domain says of its own
addresses, in DNS and proven by DNSSEC, may stand for a path: those are associations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from domsec.cms.certificates import Certificate, Identifier
from domsec.trust.association import Association

Outcome = Literal["found", "nothing", "insecure", "bogus", "unusable", "unavailable"]


@dataclass(frozen=True, slots=True)
class Question:
    """Whose certificates are wanted: those of a mailbox, or of the authority `role` of a domain.

    An authority is asked for by its mailbox too, `role@domain` (RFC 3183 4.1).
    """

    address: str  # the domain in lower case and A-labels, the local part as it was given
    role: str = ""  # the name of the authority's role; empty for a person
    directory_name: bytes | None = field(default=None, compare=False)  # DER Name agreed for the domain's people
    signer: bool = False  # a certificate is at hand, and asked is whether the domain stands for it

    @classmethod
    def of_authority(
        cls, role: str, domain: str, directory_name: bytes | None = None, *, signer: bool = False
    ) -> Question:
        return cls(f"{role}@{domain}", role, directory_name, signer)

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one directory has to say to one question.

    found        certificates, whose they may be, or associations
    nothing      the directory knows of none
    insecure     there was something, and nobody can tell who put it there: as good as nothing
    bogus        there was something that is not what the domain signed
    unusable     it answered this question with what cannot be used
    unavailable  it does not answer, whatever it is asked
    """

    source: str  # the directory, for people
    outcome: Outcome
    certificates: tuple[Certificate, ...] = ()
    associations: tuple[Association, ...] = ()  # from secure answers only
    text: str = ""  # for people
    seconds: float | None = None  # for how long the directory itself wants this to be kept, at most

    @property
    def failed(self) -> bool:
        """Whether it is not known what the directory has; asking again may help."""
        return self.outcome in ("bogus", "unusable", "unavailable")

    def __str__(self) -> str:
        what: str = self.outcome
        if self.associations:
            what = f"secure, {', '.join(map(str, self.associations))}"
        elif self.outcome == "found":
            what = f"{len(self.certificates)} certificates"
        return f"{self.source}: {what}{': ' if self.text else ''}{self.text}"


@dataclass(frozen=True, slots=True)
class Found:
    """The answers to some questions, each directory's in the order of the configuration.

    Implements `domsec.trust.source.CertificateSource`: what was not asked has no certificates.
    """

    answers: Mapping[Question, tuple[Answer, ...]] = field(default_factory=dict)

    def by_address(self, address: str) -> Sequence[Certificate]:
        return self._certificates(Question(address))

    def authority(self, role_name: str, domain: str) -> Sequence[Certificate]:
        return self._certificates(Question.of_authority(role_name, domain))

    def by_sid(self, identifier: Identifier) -> Sequence[Certificate]:
        return tuple(certificate for certificate in self.certificates if identifier.matches(certificate))

    def preferred(self, address: str) -> str | None:
        """Directories say what there is, and not what its owner prefers."""
        del address
        return None

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Everything that was found, those of CAs included, each once."""
        every = [answer for answers in self.answers.values() for answer in answers]
        issuers = (a.certificate for answer in every for a in answer.associations if a.certificate is not None)
        return tuple(dict.fromkeys((*(c for answer in every for c in answer.certificates), *issuers)))

    @property
    def empty(self) -> bool:
        """Whether no directory had anything."""
        every = (answer for answers in self.answers.values() for answer in answers)
        return not any(answer.certificates or answer.associations for answer in every)

    def associations(self, questions: Iterable[Question]) -> tuple[Association, ...]:
        """What the domains concerned say to these questions themselves."""
        every = (answer for question in questions for answer in self.answers.get(question, ()))
        return tuple(dict.fromkeys(association for answer in every for association in answer.associations))

    def failure(self, questions: Iterable[Question]) -> Answer | None:
        """The first answer that is missing among those to these questions."""
        every = (answer for question in questions for answer in self.answers.get(question, ()))
        return next((answer for answer in every if answer.failed), None)

    def lines(self) -> Iterator[str]:
        """Who was asked for what, and what came of it, for people."""
        for question, answers in self.answers.items():
            for answer in answers:
                yield f"asked for {question.address}: {answer}"

    def _certificates(self, question: Question) -> tuple[Certificate, ...]:
        answers = self.answers.get(question, ())
        return tuple(dict.fromkeys(certificate for answer in answers for certificate in answer.certificates))
