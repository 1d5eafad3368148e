"""domsec is killed again and again in the middle of traffic; Postfix and domsec between them lose nothing.

A message comes twice if domsec dies between the final dot that it has sent and the reply to it (RFC 1047). Postfix says
so in its log of each delivery that ended like that: "message may be sent more than once". So it is counted how often
each message may have come, and none has come more often.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.letters import Letter, fields_of, letter
from e2e.world import Side, World, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.slow]

KILLS = 20
SENDERS = 4
PAUSE = 0.06  # seconds between two messages of a sender
_ID = re.compile(rb"^Message-ID: (<letter-\d+@e2e\.example>)", re.MULTILINE)
_QUEUED = re.compile(r" ([0-9A-Za-z]+): message-id=(<letter-\d+@e2e\.example>)")
# not "delivery temporarily suspended": that repeats what befell another message
_IN_DOUBT = re.compile(
    r" ([0-9A-Za-z]+): to=.* status=deferred \((?:lost connection|conversation) .* message may be sent more than once"
)


@pytest.mark.timeout(280)
def test_nothing_is_lost_and_nothing_is_unprotected_when_the_gateway_is_killed_twenty_times(mail: World):
    folder = mail.beta.mail / "bob" / "new"
    before = set(os.listdir(folder)) if folder.exists() else set()
    before_on_wire = len(mail.beta.tap.raw)
    dice = random.Random(3183)
    stop = threading.Event()
    with ThreadPoolExecutor(SENDERS) as pool:
        sending = [pool.submit(_send, mail.acme, stop) for _ in range(SENDERS)]
        try:
            for number in range(KILLS):
                time.sleep(dice.uniform(0.6, 1.4))
                _kill(number, (mail.acme, mail.beta)[number // 2 % 2])
        finally:
            stop.set()
        sent = [each for one in sending for each in one.result()]
    wait_until(lambda: len(os.listdir(folder)) - len(before) >= len(sent) and mail.idle(), "all mail", 90)

    copies = [(folder / name).read_bytes() for name in set(os.listdir(folder)) - before]
    counted = Counter(match[1] for each in copies if (match := _ID.search(each)))
    assert len(sent) > 400
    assert set(counted) == {each.id for each in sent}  # none lost
    print(f"{len(sent)} sent, {len(copies) - len(sent)} twice, {sum(_doubts(mail).values())} in doubt")
    assert all("smime=pass" in fields_of(each, "Authentication-Results")[0] for each in copies)
    wire = mail.beta.tap.raw[before_on_wire:]
    assert b"the secret of letter" not in wire
    assert wire.count(b"Content-Type: application/pkcs7-mime") >= len(sent)
    doubts = _doubts(mail)
    assert [(each, count, doubts[each]) for each, count in counted.items() if count > 1 + doubts[each]] == []


def _doubts(mail: World) -> Counter[bytes]:
    """How often each message was given to a gateway of ours that died before it said what became of it."""
    found: Counter[bytes] = Counter()
    for instance in mail.instances:
        queued = dict(_QUEUED.findall(instance.log))
        found.update(queued[each].encode() for each in _IN_DOUBT.findall(instance.log) if each in queued)
    return found


def _kill(number: int, side: Side) -> None:
    """By turns the whole gateway, which is started again as systemd would, and one worker of it."""
    if number % 2:
        side.domsec.kill_worker()
        return
    side.domsec.kill()
    side.domsec.start()
    side.flush()  # ExecStartPost


def _send(side: Side, stop: threading.Event) -> list[Letter]:
    """Send letters until it is enough; those that the server has taken."""
    sent = []
    with side.server() as client:
        while not stop.wait(PAUSE):
            one = letter("load", "load@acme.example")
            client.sendmail("load@acme.example", ["bob@beta.example"], one.octets)
            sent.append(one)
    return sent
