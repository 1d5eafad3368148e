"""acme.example as a whole installation that can be broken piece by piece: a gateway, its key process, its store, and a
next hop that is a process of its own.

    people of acme ─▶ outbound (LMTP) ─▶ gateway ─▶ next hop ◀─ gateway ◀─ inbound (SMTP) ◀─ beta.example

What becomes of outbound mail is decided by the domain it is for (`KINDS`).
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import smtplib
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import other_users
from commands import domain_signed, private, public
from domsec.cms.credential import credential_from_private_key
from domsec.mime import fields
from domsec.policy.configuration import Configuration
from domsec.services.check import examine
from domsec.services.encrypt import encrypt
from domsec.services.layers import peel
from domsec.services.verdict import Verdict
from domsec.site import load_site
from e2e.domsec_process import Domsec
from e2e.mail_queue import Attempt, Queued, attempt
from e2e.next_hop import NextHop
from e2e.wire import free_ports
from e2e.world import Keys, keys_of
from key_processes import USER, KeyProcess

GONE = "gone@plain.example"  # of whom the next hop says that there is nobody of that name


@dataclass(frozen=True)
class Kind:
    """What becomes of mail for one destination."""

    to: str  # `{}` is a number
    share: float
    end: str  # "delivered", "held", "refused"
    sealed: bool = False  # nobody but the recipient's domain may see it


KINDS: Mapping[str, Kind] = {
    "sealed": Kind("bob+{}@beta.example", 55, "delivered", sealed=True),
    "signed": Kind("carol+{}@plain.example", 17, "delivered"),
    "inbound": Kind("alice+{}@acme.example", 16, "delivered"),
    # few: each is approved by a command of its own, which takes a second or two
    "reviewed": Kind("dave+{}@reviewed.beta.example", 0.4, "held", sealed=True),
    "refused": Kind("erin+{}@nokey.example", 5, "refused", sealed=True),
    "gone": Kind(GONE, 5, "refused"),
}

MARKER = re.compile(rb"what \w+ \d{7} says is for its reader")  # stands in the body of each message, once

_TEXT = """\
domains = ["acme.example"]
[listen]
outbound = "lmtp:unix:{outbound}"
inbound = "smtp:127.0.0.1:{inbound}"
metrics = "127.0.0.1:{status}"
workers = {workers}
[next_hop]
outbound = "smtp:127.0.0.1:{hop}"
inbound = "smtp:127.0.0.1:{hop}"
[keys.signing]
credential = "keyd:signing"
certificates = "signing.pem"
[keys.confidentiality]
credential = "keyd:confidentiality"
certificates = "confidentiality.pem"
[keyd]
socket = "{keyd}"
[trust]
roles = ["trust"]
users = ["trust"]
certificates = ["partners"]
[outbound]
sign = "required"
on_no_certificate = "reject"
[[outbound.evidence]]
kind = "network"
networks = ["unix"]
[[peer]]
domain = "beta.example"
encrypt = "dca"
[[peer]]
domain = "reviewed.beta.example"
encrypt = "dca"
[[peer]]
domain = "plain.example"
encrypt = "no"
[[peer]]
domain = "nokey.example"
encrypt = "dca"
[[review]]
to = ["reviewed.beta.example"]
reviewers = ["{reviewer}"]
[store]
url = "{store}"
{audit}
{options}
"""


class Installation:
    """Everything below one folder, apart from a store that is a server's."""

    def __init__(
        self,
        folder: Path,
        keyd: KeyProcess,
        *,
        store: str = "",
        workers: int = 3,
        audit: str | None = None,
        options: str = "",
    ) -> None:
        """Without a `store` it has SQLite; `audit = ""` keeps the trail in the store; `options` are more tables."""
        self.folder = folder
        self.acme, self.beta = keys_of("acme.example"), keys_of("beta.example")
        self.hop = NextHop(folder)
        self.keyd = keyd
        self.inbound, self.status = free_ports(2)
        self.outbound = str(folder / "outbound.sock")
        self.store = store or f"sqlite:///{folder}/var/domsec.db"
        trail = str(folder / "var" / "audit.jsonl") if audit is None else audit
        self.audit = Path(trail) if trail else None
        self.reviewer = folder / "reviewer.pem"
        self.gateway = Domsec(folder / "etc" / "domsec.toml", folder / "gateway.log")
        self._write(workers, options)

    def _write(self, workers: int, options: str) -> None:
        etc = self.folder / "etc"
        for each in (etc / "trust", etc / "partners", self.folder / "var"):
            each.mkdir(parents=True)
        for keys in (self.acme, self.beta):
            (etc / "trust" / f"{keys.domain}.pem").write_bytes(public(keys.ca.certificate))
        for role in ("signing", "confidentiality"):
            (etc / f"{role}.pem").write_bytes(public(getattr(self.acme, role).certificate))
            (etc / "partners" / f"{role}.pem").write_bytes(public(getattr(self.beta, role).certificate))
        self.reviewer.write_bytes(private(self.acme.review.key) + public(self.acme.review.certificate))
        self.keyd.configure(signing=[self.acme.signing], confidentiality=[self.acme.confidentiality])
        text = _TEXT.format(
            outbound=self.outbound, inbound=self.inbound, status=self.status, hop=self.hop.port, workers=workers,
            keyd=self.keyd.socket, reviewer=self.acme.review.certificate.sha256, store=self.store,
            audit=f'audit = "{self.audit}"' if self.audit else "",
            options=options,
        )  # fmt: skip
        self.gateway.configuration.write_text(text)

    def start(self) -> None:
        self.hop.start()
        self.hop_goes_on()
        self.keyd.start()
        self.gateway.start()

    def stop(self) -> None:
        self.gateway.kill()
        self.hop.kill()
        self.keyd.stop(9)

    def hop_goes_on(self, **order: object) -> None:
        """The next hop takes everything, but for what is told."""
        answers = order.pop("answers", {})
        assert isinstance(answers, dict)
        self.hop.tell(answers={GONE: "550 5.1.1 nobody of that name", **answers}, **order)

    def readyz(self) -> tuple[int, str]:
        """What a load balancer is told."""
        return self.page("/readyz")

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page for who watches."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.status}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as other:
            with other:
                return other.code, other.read().decode()

    def hold(self, verb: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """`domsec hold`."""
        command = [Domsec.program, "hold", verb, *map(str, arguments), "--config", str(self.gateway.configuration)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def held(self, state: str) -> list[str]:
        """The ids of messages in a state; none where the store does not answer."""
        listed = self.hold("list", "--state", state, "--json")
        return [each["id"] for each in json.loads(listed.stdout)] if listed.returncode == 0 else []

    def send(self, letter: Queued) -> Attempt:
        """Hand a message over once, as a client that has nothing to do with others; what came of it."""
        kept: dict[str | int, smtplib.SMTP] = {}
        try:
            return attempt(kept, letter)
        finally:
            for client in kept.values():
                client.close()

    def copies(self, letter: Queued) -> list[bytes]:
        """What arrived of a message."""
        return [each.content for each in self.hop.arrived() if letter.id in each.content]

    # -- mail ------------------------------------------------------------------------------------------------------

    def letters(self, count: int, dice: random.Random) -> list[Queued]:
        """Messages of all kinds in their shares, in an order of chance."""
        shares = [KINDS[kind].share for kind in KINDS]
        kinds = [*KINDS, *dice.choices(list(KINDS), shares, k=max(0, count - len(KINDS)))]
        dice.shuffle(kinds)
        return [self.letter(kind, number) for number, kind in enumerate(kinds)]

    def letter(self, kind: str, number: int = 1, size: int = 3000) -> Queued:
        to = KINDS[kind].to.format(number)
        identifier, marker = f"<{kind}-{number}@faults.example>", f"what {kind} {number:07d} says is for its reader"
        author = "xenia@beta.example" if kind == "inbound" else "alice@acme.example"
        head = f"From: {author}\r\nTo: {to}\r\nSubject: letter {number}\r\nMessage-ID: {identifier}\r\n"
        head += "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
        octets = (head + marker + "\r\n" + "and more of it\r\n" * (size // 16)).encode()
        if kind == "inbound":
            octets = self._from_beta(octets)
        way = self.inbound if kind == "inbound" else self.outbound
        return Queued(kind, way, author, to, octets, identifier.encode(), marker.encode())

    def _from_beta(self, octets: bytes) -> bytes:
        """As beta's gateway would send it to ours."""
        signed = domain_signed(self.beta.signing, octets, datetime.now(UTC) - timedelta(minutes=1))
        header, _ = fields.split_message(signed)
        sealed = encrypt(fields.entity_of(signed), [self.acme.confidentiality.certificate])
        return bytes(fields.replace_entity(header, sealed))

    def judge(self, keys: Keys) -> Callable[[bytes], Verdict]:
        """What the domain of these keys makes of messages, with what we trust."""
        site = load_site(Configuration.load(self.gateway.configuration))
        opens = credential_from_private_key(keys.confidentiality.key, keys.confidentiality.certificate)
        context = replace(site.context(datetime.now(UTC)), keyring=(opens,))
        return lambda octets: examine(peel(octets, context.keyring, context.limits), context).verdict


@contextlib.contextmanager
def installation(**options: str | int) -> Iterator[Installation]:
    """Not started. Whatever of it runs at the end is killed."""
    if other_users.REASON:
        pytest.skip(other_users.REASON)
    base = Path(tempfile.mkdtemp(prefix="domsec-faults-"))  # the name of a socket has to be short
    try:
        with other_users.folder(USER) as keys:
            made = Installation(base, KeyProcess(keys), **options)  # type: ignore[arg-type]
            try:
                yield made
            finally:
                made.stop()
    finally:
        shutil.rmtree(base, ignore_errors=True)
