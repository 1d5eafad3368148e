"""`domsec hold`: held mail is looked at, approved by those who may, or rejected; and what the gateway does then."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import pki
import world
from commands import AT, PLAIN, Desk, Ran, run
from domsec import pipeline
from domsec.gateway import release
from domsec.gateway.relay import NextHop
from domsec.gateway.run import _approving
from domsec.gateway.server import Gateway, Listener, Settings
from domsec.gateway.workers import listen
from domsec.pipeline import Direction, Recipient, Session, Transaction
from domsec.policy.configuration import Configuration
from domsec.site import load_site
from domsec.stores.audit_table import TableAudit
from domsec.stores.holds import Hold, HoldStore
from sink import Sink

ACME = pki.world().acme
BOB, CAROL = "bob@beta.example", "carol@gamma.example"
OTHER = pki.identity("review", "acme.example", ACME.ca, serial=61, subject=(("2.5.4.10", "Second"),))


@dataclass(frozen=True)
class House:
    """acme's gateway and its store, without its processes."""

    desk: Desk
    config: Path

    @property
    def holds(self) -> HoldStore:
        return HoldStore.open(Configuration.load(self.config).store.url)

    def configure(self, more: str, **changes: str) -> None:
        text = self.config.read_text() + more
        for old, new in changes.items():
            text = text.replace(old, new)
        self.config.write_text(text)

    def arrives(self, octets: bytes = PLAIN, *recipients: str, direction: Direction = "outbound") -> Sequence[Hold]:
        """A message comes to the gateway; what is held then."""
        session = Session("127.0.0.1", "pc", None, "lmtp", False, {}, direction)
        given = tuple(Recipient(r, "NOTIFY=FAILURE") for r in recipients or (BOB,))
        transaction = Transaction(direction, "alice@acme.example", "", given, octets, session, "T1", pki.NOW)
        decision = pipeline.process(transaction, load_site(Configuration.load(self.config)))
        for each in decision.held:
            self.holds.put(
                direction=direction,
                sender=transaction.sender,
                recipients=[given[i] for i in each.indexes],
                octets=each.octets,
                reasons=each.reasons,
                transaction=transaction.id,
                received_at=pki.NOW,
                now=pki.NOW + timedelta(minutes=len(self.holds.list())),
                session={"client": "127.0.0.1", "protocol": "lmtp"},
            )
        return self.holds.list()

    def hold(self, verb: str, *arguments: object, at: Sequence[object] = AT) -> Ran:
        return run("hold", verb, *arguments, "--config", self.config, *at)

    def approve(self, held: Hold, *reviewers: str, more: Sequence[object] = ()) -> Ran:
        keys = [part for who in reviewers for part in ("--credential", self.desk.key(who))]
        return self.hold("approve", held.id, *keys, *more)

    def events(self) -> list[tuple[str, dict[str, object]]]:
        return [(each.event, dict(each.fields)) for each in TableAudit(self.holds.database).records()]

    def works(self) -> Sink:
        """The gateway does what is due, and gives it to its next hops."""
        site = _approving(load_site(Configuration.load(self.config)))
        sink = Sink()

        async def decide(transaction: Transaction) -> pipeline.Decision:
            return pipeline.process(_at_pki_time(transaction), site)

        async def work() -> None:
            async with sink:
                gateway = Gateway(Settings("gw.example", "acme-1"), pipeline.process, lambda *_: "")  # type: ignore[arg-type]
                hop = NextHop(sink.address)
                listeners = [Listener("127.0.0.1:0", "smtp", d, hop) for d in ("outbound", "inbound")]  # type: ignore[arg-type]
                await gateway.start([(each, listen("127.0.0.1:0", 0o600)) for each in listeners])
                while await release.step(self.holds, decide, gateway):
                    pass
                await gateway.drain(1)

        asyncio.run(work())
        return sink


def _at_pki_time(transaction: Transaction) -> Transaction:
    """Decided in the time of the test PKI, which the real clock has passed or not."""
    assert abs(transaction.received_at - datetime.now(UTC)).total_seconds() < 60
    return dataclasses.replace(transaction, received_at=pki.NOW)


@pytest.fixture
def house(desk: Desk, tmp_path: Path) -> House:
    desk.add("acme-review-2", OTHER)
    for key in (desk.folder / "keys").glob("*.pem"):
        key.chmod(0o600)
    config = tmp_path / "domsec.toml"
    config.write_text(f"""\
domains = ["acme.example"]
[listen]
outbound = "smtp:127.0.0.1:10025"
inbound = "smtp:127.0.0.1:10027"
hostname = "gw.acme.example"
[next_hop]
outbound = "smtp:127.0.0.1:10026"
inbound = "smtp:127.0.0.1:10028"
[keys.signing]
credential = "{desk.key("acme-signing")}"
[keys.confidentiality]
credential = "{desk.key("acme-confidentiality")}"
[trust]
roles = ["{desk.certificate("acme-ca")}"]
users = ["{desk.certificate("acme-ca")}"]
certificates = ["{desk.certificates}"]
[outbound]
encrypt = "no"
[[outbound.evidence]]
kind = "network"
networks = ["127.0.0.0/8"]
[store]
url = "sqlite:///{tmp_path}/store.db"
[[peer]]
domain = "beta.example"
[[review]]
to = ["beta.example"]
reviewers = ["{ACME.review.certificate.sha256}", "{OTHER.certificate.sha256}"]
""")
    return House(desk, config)


# --- looking --------------------------------------------------------------------------------------------------------


def test_held_messages_are_listed_oldest_first(house: House) -> None:
    (held,) = house.arrives()
    house.arrives(PLAIN, "dave@beta.example")
    ran = house.hold("list", at=())
    assert ran.code == 0
    assert ran.text.splitlines()[0] == (
        f"{held.id}  held  2026-11-23 12:00  <alice@acme.example> to bob@beta.example: gate.review, review.missing"
    )
    assert [each["recipients"] for each in house.hold("list", "--json", at=()).json] == [[BOB], ["dave@beta.example"]]
    assert house.hold("list", "--state", "rejected", at=()).text == ""


def test_no_held_message_is_left_out_of_a_long_list(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real = HoldStore.list
    monkeypatch.setattr(HoldStore, "list", lambda *given, **more: real(*given, limit=2, **more))
    for number in range(5):
        house.arrives(PLAIN, f"p{number}@beta.example")
    assert len(house.hold("list", "--json", at=()).json) == 5


def test_a_reviewer_needs_none_of_the_domains_keys(house: House, tmp_path: Path) -> None:
    (held,) = house.arrives()
    text = re.sub(r"\[keys\.\w+\]\ncredential = .*\n", "", house.config.read_text())
    (own := tmp_path / "reviewer.toml").write_text(re.sub(r"(?s)\[listen\].*?(?=\[trust)", "", text))
    ran = run("hold", "approve", held.id, "--config", own, "--credential", house.desk.key("acme-review"), *AT)
    assert ran.code == 0, ran.err
    assert len(house.works().mails) == 1


def test_what_is_in_a_held_message_and_what_keeps_it(house: House) -> None:
    (held,) = house.arrives(PLAIN.replace(b"the contract", b"the \x1b[2Jcontract"))
    ran = house.hold("show", held.id)
    assert ran.code == 0
    assert ran.text.splitlines()[:3] == [
        f"{held.id}: held, outbound, {held.size} octets, since 2026-11-23 12:00 UTC",
        "from <alice@acme.example> to bob@beta.example",
        "reasons: gate.review, review.missing",
    ]
    assert "\x1b" not in ran.text
    assert "structure: OC\nhold for beta.example\n  review.missing: 0 of 1 reviews" in ran.text
    assert "decided anew" not in ran.text
    found = house.hold("show", held.id, "--json").json
    assert (found["structure"], found["passages"][0]["released"]) == ("OC", False)


def test_the_message_itself_comes_as_it_is(house: House, tmp_path: Path) -> None:
    (held,) = house.arrives()
    assert house.hold("show", held.id, "--message").out == PLAIN
    assert house.hold("show", held.id, "--message", "-o", tmp_path / "out.eml").code == 0
    assert (tmp_path / "out.eml").read_bytes() == PLAIN


RULE = """
[[rule]]
name = "contracts"
subject_tag = "[contract]"
review = "legal"
strip_tag = true
"""


def test_a_review_that_a_rule_asks_for_is_given_by_approving(house: House) -> None:
    house.configure(RULE, **{'to = ["beta.example"]': 'name = "legal"'})
    assert not house.arrives()
    (held,) = house.arrives(PLAIN.replace(b"Subject: ", b"Subject: [contract] "))
    assert "review.missing: 0 of 1 reviews" in house.hold("show", held.id).text
    ran = house.approve(held, "acme-review")
    assert ran.code == 0, ran.err
    (content,) = house.works().contents()
    assert world.judge(content).structure == "S[domain](S[review](S0(OC)))"
    assert b"\r\nSubject: [contract] the contract\r\n" in content  # the reviewer has signed it as it was


def test_nobody_reviews_for_a_rule_that_does_not_name_them(house: House) -> None:
    house.configure(RULE, **{'to = ["beta.example"]': 'name = "legal"', f'"{OTHER.certificate.sha256}"': ""})
    (held,) = house.arrives(PLAIN.replace(b"Subject: ", b"Subject: [contract] "))
    assert house.approve(held, "acme-review-2").code == 1
    assert house.works().mails == []


# --- approving ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-2.2-01", "R3183-3.4-02", "R3183-3.4-04")
def test_an_approved_message_leaves_with_the_review_of_who_approved_it(house: House) -> None:
    (held,) = house.arrives()
    ran = house.approve(held, "acme-review", more=("--note", "as agreed with bob"))
    assert ran.code == 0
    assert f"{held.id} goes on" in ran.err
    sink = house.works()
    (mail,) = sink.mails
    assert [each.rpartition("<")[2] for each in mail.recipients] == ["bob@beta.example> NOTIFY=FAILURE"]
    verdict = world.judge(sink.contents()[0])
    assert (verdict.structure, verdict.accepted) == ("S[domain](S[review](S0(OC)))", True)
    assert verdict.reviewed_by == ("CN=review-authority",)
    assert house.works().mails == []
    assert [each.state for each in house.holds.list(None)] == ["done", "done"]
    ((event, said),) = house.events()
    assert event == "hold.approved"
    assert said["reviewers"] == [ACME.review.certificate.sha256]
    assert (said["hold"], said["note"], said["destinations"]) == (held.id, "as agreed with bob", ["beta.example"])
    assert len(str(said["content"])) == 64


@pytest.mark.requirement("R3183-2.2-01", "R3183-3.4-02")
@pytest.mark.parametrize(
    ("who", "complaint"),
    [
        ("beta-review", "review.not_allowed: not one of those who may review for beta.example"),
        ("acme-attributes", "no credential of review-authority"),
        ("acme-alice", "no credential of review-authority"),
    ],
)
def test_who_may_not_review_lets_nothing_go(house: House, who: str, complaint: str) -> None:
    (held,) = house.arrives()
    ran = house.approve(held, who)
    assert ran.code in (1, 2)
    assert complaint in ran.err
    assert house.works().mails == []
    assert house.holds.get(held.id) == held_with_octets(held)
    assert [event for event, _ in house.events()] == (["hold.not_approved"] if who == "beta-review" else [])


def held_with_octets(held: Hold, octets: bytes = PLAIN) -> Hold:
    return dataclasses.replace(held, octets=octets)


def test_two_reviews_are_two_acts_of_two_people(house: House) -> None:
    house.configure("min_reviews = 2\n")
    (held,) = house.arrives()
    first = house.approve(held, "acme-review")
    assert first.code == 1
    assert "stays: review.missing: 1 of 2 reviews" in first.err
    assert house.works().mails == []
    again = house.approve(held, "acme-review")
    assert again.code == 1
    assert "review.repeated" in again.err
    assert house.approve(held, "acme-review-2").code == 0
    (content,) = house.works().contents()
    assert world.judge(content).structure == "S[domain](S[review](S[review](S0(OC))))"
    assert [event for event, _ in house.events()] == ["hold.reviewed", "hold.not_approved", "hold.approved"]


def test_two_reviewers_at_the_same_time_do_not_undo_each_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.configure("min_reviews = 2\n")
    (held,) = house.arrives()
    seen = house.holds.get(held.id)
    assert house.approve(held, "acme-review").code == 1
    monkeypatch.setattr(HoldStore, "get", lambda *_: seen)  # as the second reviewer's command had read it
    ran = house.approve(held, "acme-review-2")
    assert ran.code == 1
    assert "has changed meanwhile, look at it again" in ran.err
    monkeypatch.undo()
    assert house.events()[-1][0] == "hold.overtaken"
    assert house.approve(held, "acme-review-2").code == 0


def test_what_a_reviewer_cannot_see_is_not_reviewed_unless_said_so(house: House) -> None:
    inner = world.entity("S[domain](S(X(S(OC))))")
    (held,) = house.arrives(world.message(inner, to=BOB))
    ran = house.approve(held, "acme-review")
    assert ran.code == 1
    assert "gate.undecryptable" in ran.err


def test_a_label_that_may_not_leave_is_no_matter_of_reviews(house: House) -> None:
    house.configure('[[boundary]]\nto = ["beta.example"]\nrequire_label = true\n')
    (held,) = house.arrives()
    ran = house.approve(held, "acme-review")
    assert ran.code == 1
    assert "stays: label.missing" in ran.err
    assert house.works().mails == []
    assert house.holds.get(held.id).reasons == ("gate.label", "label.missing")
    assert house.approve(held, "acme-review").code == 1


@pytest.mark.requirement("R3183-3.4-02")
def test_the_gateway_asks_again_and_by_its_own_policy(house: House, tmp_path: Path) -> None:
    """Whatever configuration the approving was done with."""
    (held,) = house.arrives()
    lax = tmp_path / "lax.toml"
    lax.write_text(house.config.read_text().partition("[[review]]")[0])
    assert run("hold", "approve", held.id, "--config", lax, *AT).code == 0
    assert house.works().mails == []
    (again,) = house.holds.list()
    assert again.reasons == ("gate.review", "review.missing")
    assert house.holds.get(again.id).octets == PLAIN


def test_what_was_held_for_another_reason_is_decided_by_the_policy_in_force(house: House) -> None:
    house.configure("", **{'encrypt = "no"\n': 'encrypt = "recipient"\nunknown_domains = "hold"\n'})
    (held,) = house.arrives(PLAIN, CAROL)
    assert held.reasons == ("unknown_domain",)
    shown = house.hold("show", held.id).text
    assert shown.endswith("\napproved, it is decided anew, and stays unless this has changed: unknown_domain\n")
    approved = house.approve(held)
    assert (approved.code, "goes on, and the gateway decides anew what becomes of it" in approved.err) == (0, True)
    assert house.works().mails == []
    (again,) = house.holds.list()
    house.configure("", **{'unknown_domains = "hold"\n': 'unknown_domains = "pass"\n'})
    assert house.approve(again).code == 0
    assert len(house.works().mails) == 1


FORGED = world.message(world.signed(world.TEXT, world.stranger_user(), extra=[world.typed()]))


@pytest.mark.parametrize(("octets", "reason"), [(FORGED, "sigtype.syntax"), (PLAIN, "unverified")])
def test_mail_from_outside_is_delivered_with_its_verdict(house: House, octets: bytes, reason: str) -> None:
    house.configure('[inbound]\non_unverified = "hold"\n')
    (held,) = house.arrives(octets, "alice@acme.example", direction="inbound")
    assert reason in held.reasons
    assert house.approve(held).code == 0
    (content,) = house.works().contents()
    assert b"Authentication-Results: acme.example;" in content
    assert b"smime=pass" not in content


def test_what_cannot_be_read_at_all_is_not_let_in(house: House) -> None:
    house.configure("[limits]\nheader_size = 200\n")
    (held,) = house.arrives(PLAIN, "alice@acme.example", direction="inbound")
    assert held.reasons == ("cms.malformed",)
    ran = house.approve(held)
    assert (ran.code, house.holds.get(held.id).state) == (5, "held")


def test_what_a_next_hop_refused_is_tried_again_as_it_was_made(house: House) -> None:
    made = b"Subject: x\r\n\r\nmade\r\n"
    identifier = house.holds.put(
        direction="outbound",
        sender="alice@acme.example",
        recipients=[Recipient(BOB)],
        octets=made,
        reasons=("delivery", "550 5.1.1 nobody"),
        transaction="T2",
        received_at=pki.NOW,
        now=pki.NOW,
    )
    assert house.hold("approve", identifier).code == 0
    assert house.works().contents() == [made]


# --- rejecting ------------------------------------------------------------------------------------------------------


def test_a_rejected_message_ends_and_its_sender_is_told(house: House) -> None:
    (held,) = house.arrives()
    ran = house.hold("reject", held.id, "--reason", "not with the price list", at=())
    assert (ran.code, ran.err) == (0, f"domsec: {held.id} is rejected; its sender is told\n")
    (mail,) = house.works().mails
    assert (mail.sender.split(" ")[0], mail.recipients) == ("<>", ["<alice@acme.example>"])
    assert b"not with the price list" in mail.content
    assert b"it is signed" not in mail.content
    gone = house.holds.get(held.id)
    assert (gone.state, gone.note) == ("rejected", "not with the price list")
    assert house.works().mails == []
    ((event, said),) = house.events()
    assert (event, said["note"], said["told"]) == ("hold.rejected", "not with the price list", True)
    late = house.approve(held, "acme-review")
    assert late.code == 1
    assert "is rejected, which cannot become approved" in late.err
    assert len(house.events()) == 1


def test_our_users_are_told_in_their_mailboxes_and_others_where_they_are(house: House) -> None:
    (held,) = house.arrives()
    for sender, direction in (("alice@acme.example", "inbound"), ("alice@elsewhere.example", "outbound")):
        identifier = house.holds.put(
            direction="outbound", sender=sender, recipients=held.recipients, octets=PLAIN, reasons=("gate.review",),
            transaction="T3", received_at=pki.NOW, now=pki.NOW,
        )  # fmt: skip
        house.hold("reject", identifier, "--reason", "no", at=())
        assert house.holds.list("approved")[-1].direction == direction


def test_nobody_is_told_if_policy_says_so(house: House) -> None:
    house.configure("", **{'encrypt = "no"\n': 'encrypt = "no"\ntell_sender = false\n'})
    (held,) = house.arrives()
    assert "its sender is not told" in house.hold("reject", held.id, "--reason", "no", at=()).err
    assert house.works().mails == []


def test_strangers_are_never_told(house: House) -> None:
    """Decisions A-57: no word to whoever sent mail from outside, or only claims to have."""
    house.configure('[inbound]\non_unverified = "hold"\n')
    (held,) = house.arrives(PLAIN, "alice@acme.example", direction="inbound")
    assert house.hold("reject", held.id, "--reason", "no", at=()).code == 0
    assert house.works().mails == []


# --- what can go wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [["show", "x"], ["approve", "x"], ["reject", "x", "--reason", "no"]])
def test_what_is_not_held(house: House, verb: list[str]) -> None:
    house.arrives()
    ran = house.hold(*verb, at=())
    assert (ran.code, ran.err) == (1, "domsec: error: no held message 'x'\n")


def test_no_store_is_made_where_none_is(house: House, tmp_path: Path) -> None:
    ran = house.hold("list", at=())
    assert ran.code == 2
    assert "there is no store, expected store.url as the gateway has it" in ran.err
    assert not (tmp_path / "store.db").exists()
    assert run("hold", "list").code == 2


def test_an_audit_trail_in_a_file_is_used(house: House, tmp_path: Path) -> None:
    house.configure("", **{"[store]\n": f'[store]\naudit = "{tmp_path}/audit.jsonl"\n'})
    (held,) = house.arrives()
    house.hold("reject", held.id, "--reason", "no", at=())
    (line,) = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["event"] == "hold.rejected"
