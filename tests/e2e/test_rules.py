"""Rules behind real Postfix: a tag encrypts, recipients under different rules get their own copy, each exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.letters import Letter, letter
from e2e.world import World, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

CAROL, DAN, EVE = "carol@gamma.example", "dan@gamma.example", "eve@sub.gamma.example"
RULES = """
[[rule]]
name = "carol's office"
recipient = "carol@gamma.example"
user = "alice@acme.example"
encrypt = "required"

[[rule]]
name = "secure tag"
subject_tag = "[secure]"
encrypt = "required"
strip_tag = true

[[rule]]
name = "below gamma"
recipient = "sub.gamma.example"
header = "X-Draft"
on_refusal = "reject"
unknown_domains = "reject"
"""


@pytest.fixture(scope="module")
def ruled(mail: World) -> Iterator[World]:
    """The gateway to the sink with these rules, and nothing encrypted otherwise."""
    with mail.to_sink.configured(RULES, **{"[outbound]\n": '[outbound]\nencrypt = "no"\n'}):
        yield mail


def copies(mail: World, sent: Letter, *recipients: str) -> dict[str, bytes]:
    """What the next hop was given of a message by alice for each recipient: once."""
    mail.acme.submit("alice@acme.example", list(recipients), sent.octets)

    def of(recipient: str) -> list[bytes]:
        return [each.content for each in mail.sink.to(recipient) if sent.within(each.content)]

    wait_until(lambda: all(map(of, recipients)), "the message")
    wait_until(mail.idle, "idle queues")
    found = {recipient: of(recipient) for recipient in recipients}
    assert [len(each) for each in found.values()] == [1] * len(recipients)
    return {recipient: each[0] for recipient, each in found.items()}


def structure(mail: World, octets: bytes) -> str:
    return mail.beta.verdict(octets, mail.gamma).structure


def groups(mail: World) -> list[dict[str, Any]]:
    return mail.to_sink.journal()[-1]["groups"]  # type: ignore[return-value]


def test_a_tag_in_the_subject_encrypts_and_does_not_leave(ruled: World) -> None:
    sent = letter("Re: [secure] the offer", to=DAN)
    made = copies(ruled, sent, DAN)[DAN]
    assert structure(ruled, made) == "E(S[domain](S0(OC)))"
    assert sent.secret not in made
    assert b"\r\nSubject: Re: the offer\r\n" in made
    assert b"secure" not in made.lower()
    (group,) = groups(ruled)
    assert group["line"].endswith('[[rule]] 2 "secure tag"')


def test_without_it_nothing_is_encrypted(ruled: World) -> None:
    made = copies(ruled, letter("the offer", to=DAN), DAN)[DAN]
    assert structure(ruled, made) == "S[domain](S0(OC))"


def test_recipients_under_different_rules_get_their_own_copy_once(ruled: World) -> None:
    sent = letter("plans", to=f"{CAROL}, {DAN}, {EVE}")
    made = copies(ruled, sent, CAROL, DAN, EVE)
    assert {recipient: structure(ruled, octets) for recipient, octets in made.items()} == {
        CAROL: "E(S[domain](S0(OC)))",
        DAN: "S[domain](S0(OC))",
        EVE: "S[domain](S0(OC))",
    }
    assert sent.secret not in made[CAROL]
    assert [each["line"].partition(" ")[2] for each in groups(ruled)] == [
        '[[rule]] 1 "carol\'s office"',
        "[outbound]",
        "[outbound]",
    ]


def test_who_else_is_logged_in_is_not_under_her_rule(ruled: World) -> None:
    sent = letter("plans", author="bob@acme.example", to=CAROL)
    ruled.acme.submit("bob@acme.example", [CAROL], sent.octets)
    wait_until(lambda: [each for each in ruled.sink.to(CAROL) if sent.within(each.content)], "the message")
    (made,) = (each.content for each in ruled.sink.to(CAROL) if sent.within(each.content))
    assert structure(ruled, made) == "S[domain](S0(OC))"
