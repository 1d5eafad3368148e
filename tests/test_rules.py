"""What `[[rule]]` makes of mail: a configuration as text, and what acme or beta decides under it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import world
from domsec import der, oids
from domsec.cms import attributes
from domsec.gateway.run import _approving
from domsec.mime.fields import split_message
from domsec.pipeline import Decision, looked_at, process
from domsec.policy.boundaries import boundaries
from domsec.policy.configuration import Configuration
from domsec.policy.configuration import peers as configured_peers
from domsec.policy.evidence import Rights, Rule
from domsec.policy.kinds import Networks
from domsec.policy.rule_tables import rules
from domsec.services.labelling import NO_LABELLING
from domsec.services.peer import Peers
from domsec.site import Site
from domsec.trust.path import AnchorSet
from world import acme, beta, build, judge, only, receive, send, transaction

BOB, CAROL, DAVE, EVE = "bob@beta.example", "carol@gamma.example", "dave@beta.example", "eve@acme.example"
KNOWN = (beta().confidentiality.certificate,)
Ruled = Callable[..., Site]


@pytest.fixture
def ruled(tmp_path: Path) -> Ruled:
    """acme, or another domain, with a configuration of this text."""

    def made(text: str, domain: str = "acme", **more: Any) -> Site:
        (tmp_path / "signing.pem").touch()
        file = tmp_path / "domsec.toml"
        file.write_text(f'domains = ["{domain}.example"]\n{text}[keys.signing]\ncredential = "signing.pem"\n')
        configuration = Configuration.load(file)
        borders = boundaries(configuration, NO_LABELLING)
        known = {"acme": KNOWN, "beta": (acme().confidentiality.certificate,)}[domain]
        site = world.site(acme() if domain == "acme" else beta(), known=known, **more)
        agreed = configured_peers(configuration.peers, lambda _: AnchorSet(()))
        return dataclasses.replace(
            site,
            configuration=configuration,
            peers=Peers(agreed),
            boundaries=borders,
            rules=rules(configuration, NO_LABELLING, borders),
        )

    return made


def groups(decision: Decision) -> list[dict[str, Any]]:
    found = decision.log["groups"]
    assert isinstance(found, list)
    return found


def lines(decision: Decision) -> list[str]:
    return [group["line"] for group in groups(decision)]


def subject(octets: object) -> list[str]:
    return [field.value for field in split_message(bytes(octets))[0].all("subject")]  # type: ignore[call-overload]


# --- a tag in the subject -------------------------------------------------------------------------------------------

TAGGED = """\
[outbound]
encrypt = "no"
[[peer]]
domain = "beta.example"
[[rule]]
name = "secure tag"
subject_tag = "[secure]"
encrypt = "required"
strip_tag = true
"""


def test_a_tag_in_the_subject_encrypts(ruled: Ruled) -> None:
    at = ruled(TAGGED)
    decision = send(build("OC", subject="Re: [Secure] the offer"), at=at)
    out = only(decision)
    assert judge(out, world.context(beta().confidentiality)).structure == "E(S[domain](S0(OC)))"
    assert world.SECRET not in out
    assert lines(decision) == ['domsec.toml:6 [[rule]] 1 "secure tag"']
    plain = send(build("OC", subject="the offer"), at=at)
    assert judge(only(plain)).structure == "S[domain](S0(OC))"
    assert lines(plain) == ["domsec.toml:4 [[peer]] beta.example"]


def test_a_tag_that_is_taken_out_stands_neither_outside_nor_inside(ruled: Ruled) -> None:
    out = only(send(build("OC", subject="Re: [Secure] the offer"), at=ruled(TAGGED)))
    assert subject(out) == ["Re: the offer"]
    arrived = only(receive(out))
    assert b"secure" not in arrived.lower()
    inside = world.look(out, world.context(beta().confidentiality)).message
    (protected,) = [layer.protected for layer in inside.spine() if layer.protected is not None]
    assert [field.value for field in protected.header.all("subject")] == ["Re: the offer"]
    assert "header.outer_inner_differ" not in world.codes(judge(out, world.context(beta().confidentiality)))


def test_a_subject_that_somebody_signed_keeps_its_tag(ruled: Ruled) -> None:
    part = world.TEXT.replace(b"us-ascii", b'us-ascii; hp="clear"').replace(
        b"Content", b"Subject: [secure] x\r\nContent", 1
    )
    octets = world.message(world.signed(part, acme().users["alice"]), subject="[secure] x")
    out = only(send(octets, at=ruled(TAGGED)))
    assert subject(out) == ["[secure] x"]


def test_nothing_is_taken_out_unless_that_is_said(ruled: Ruled) -> None:
    out = only(send(build("OC", subject="[secure] x"), at=ruled(TAGGED.replace("strip_tag = true\n", ""))))
    assert subject(out) == ["[secure] x"]


@pytest.mark.parametrize("policy", ["hold", "reject", "clear"])
def test_what_has_to_be_encrypted_never_leaves_in_clear(ruled: Ruled, policy: str) -> None:
    at = ruled(TAGGED.replace('encrypt = "no"\n', f'encrypt = "no"\non_no_certificate = "{policy}"\n', 1))
    for recipient in (CAROL, EVE):  # nobody has heard of gamma, and nobody has a certificate for eve
        decision = send(build("OC", subject="[secure]", to=recipient), recipient, at=at)
        assert not decision.outgoing
        assert bool(decision.refused) == (policy == "reject")
        (group,) = groups(decision)
        assert group["reason"] == "no_certificate"
        said = (
            'domsec.toml:7 [[rule]] 1 "secure tag"' if policy == "clear" else "domsec.toml:4 outbound.on_no_certificate"
        )
        assert group["by"] == said


def test_recipients_under_different_rules_get_different_messages(ruled: Ruled) -> None:
    text = '[outbound]\nencrypt = "no"\n[[peer]]\ndomain = "beta.example"\n'
    at = ruled(f'{text}[[rule]]\nrecipient = "{BOB}"\nencrypt = "required"\n')
    decision = send(build("OC", to=f"{BOB}, {DAVE}"), BOB, DAVE, CAROL, at=at)
    made = {out.indexes: judge(out.octets, world.context(beta().confidentiality)) for out in decision.outgoing}
    assert {indexes: verdict.structure for indexes, verdict in made.items()} == {
        (0,): "E(S[domain](S0(OC)))",
        (1,): "S[domain](S0(OC))",
        (2,): "OC",
    }


# --- what else a rule may want --------------------------------------------------------------------------------------

NEWSLETTER = """\
[[peer]]
domain = "beta.example"
encrypt = "dca"
[[rule]]
user = "newsletter"
sign = "never"
encrypt = "never"
"""
LOGIN = Rule("xclient", frozenset({"acme.example"}), logins={"newsletter": Rights(domains=frozenset({"acme.example"}))})


def test_a_user_who_is_logged_in_may_have_less(ruled: Ruled) -> None:
    at = ruled(NEWSLETTER, evidence=[LOGIN])
    octets = build("OC")
    decision = send(octets, at=at, auth="Newsletter")
    assert only(decision) == octets
    assert lines(decision) == ["domsec.toml:5 [[rule]] 1"]
    assert not send(octets, at=at, auth="alice").outgoing  # who has no evidence, and what is agreed holds


def test_the_user_of_a_rule_is_never_what_a_message_says(ruled: Ruled) -> None:
    forged = b"X-Domsec-Auth: t0ken newsletter\r\n"
    rule = Rule("header", frozenset({"acme.example"}), header="X-Domsec-Auth", token="t0ken")
    at = ruled(NEWSLETTER, evidence=[rule])
    assert send(forged + build("OC"), at=at).log["groups"][0]["line"].endswith("[[rule]] 1")  # type: ignore[index]
    below = b"Received: from x by y\r\n" + forged + build("OC")
    assert not send(below, at=at).outgoing
    assert not send(b"X-Domsec-Auth: guess newsletter\r\n" + build("OC"), at=at).outgoing


def test_a_fingerprint_may_be_written_as_it_is_printed(ruled: Ruled) -> None:
    rule = Rule("certificate", frozenset({"acme.example"}), header="X-M", token="t", logins={"5e88": Rights()})
    at = ruled('[[rule]]\nuser = "5E:88"\nsign = "never"\nencrypt = "never"\n', evidence=[rule])
    octets = build("OC")
    assert only(send(b"X-M: t 5E:88\r\n" + octets, at=at)) == octets


def test_a_rule_may_have_directories_asked(ruled: Ruled) -> None:
    at = dataclasses.replace(
        ruled('[outbound]\nencrypt = "no"\nsign = "never"\n' + TAGGED[TAGGED.index("[[rule]]") :]), asks=True
    )
    assert process(transaction(build("OC", to=CAROL, subject="[secure]"), CAROL), at).wanted
    assert not process(transaction(build("OC", to=CAROL), CAROL), at).wanted


@pytest.mark.parametrize(
    ("rule", "octets", "hold"),
    [
        pytest.param('on_refusal = "pass"', build("OC"), False, id="unsigned"),
        pytest.param('on_refusal = "reject"', build("OC"), None, id="refused"),
        pytest.param('sign = "if-possible"', build("OC"), False, id="if possible"),
        pytest.param('sign = "required"', build("OC"), True, id="required"),
    ],
)
def test_what_becomes_of_mail_that_may_not_be_signed(ruled: Ruled, rule: str, octets: bytes, hold: bool | None) -> None:
    text = f'[outbound]\nencrypt = "no"\n[[peer]]\ndomain = "beta.example"\n[[rule]]\nrecipient = "*"\n{rule}\n'
    decision = send(octets, at=ruled(text), client="192.0.2.1")
    assert (bool(decision.outgoing), bool(decision.held), bool(decision.refused)) == (
        hold is False,
        hold is True,
        hold is None,
    )


def test_a_target_is_the_rules_and_the_cipher_the_agreements(ruled: Ruled) -> None:
    """Form is what was agreed, whatever a rule says."""
    text = """\
[[peer]]
domain = "beta.example"
encrypt = "recipient"
cipher = "aes128-cbc"
key_transport = "pkcs1v15"
[[rule]]
subject_tag = "[gateway]"
target = "dca"
"""
    out = only(send(build("OC", subject="[gateway]"), at=ruled(text)))
    (layer, *_) = judge(out, world.context(beta().confidentiality)).layers
    assert layer.encryption is not None
    assert layer.encryption.opened
    assert layer.encryption.cipher == "aes128Cbc"


REVIEWED = f"""\
[outbound]
encrypt = "no"
[[peer]]
domain = "beta.example"
[[review]]
name = "legal"
reviewers = ["{acme().review.certificate.sha256}"]
[[rule]]
name = "finance"
recipient = "beta.example"
user = ["alice", "bob"]
[[rule]]
recipient = "beta.example"
review = "legal"
on_boundary = "reject"
"""
STAFF = Rule("xclient", frozenset({"acme.example"}), logins={n: Rights(domains=frozenset({"acme.example"}))
                                                             for n in ("alice", "carol")})  # fmt: skip


def test_a_review_by_a_rule_is_for_the_others(ruled: Ruled) -> None:
    at = ruled(REVIEWED, evidence=[STAFF])
    assert send(build("S(OC)"), at=at, auth="alice").outgoing
    decision = send(build("S(OC)"), at=at, auth="carol")
    (refused,) = decision.refused
    assert "review.missing" in refused.text
    (group,) = groups(decision)
    assert (group["line"], group["by"]) == ("domsec.toml:13 [[rule]] 2",) * 2
    reviewed = send(build("S[review](S(OC))"), at=at, auth="carol")
    assert judge(only(reviewed)).structure == "S[domain](S[review](S[originator](OC)))"
    assert send(build("S(OC)"), EVE, at=at, auth="carol").outgoing  # it goes elsewhere


def test_a_review_that_a_destination_needs_is_needed_whatever_a_rule_says(ruled: Ruled) -> None:
    text = REVIEWED.replace('name = "legal"\n', 'name = "legal"\nto = ["beta.example"]\n')
    assert send(build("S(OC)"), at=ruled(text, evidence=[STAFF]), auth="alice").held


def test_a_label_may_be_required(ruled: Ruled) -> None:
    at = ruled('[[rule]]\nrecipient = "*"\nheader = "X-Project: Blue"\nrequire_label = true\n')
    octets = build("OC", to=CAROL, x_project="Code BLUE")
    assert [hold.reasons for hold in send(octets, CAROL, at=at).held] == [("gate.label", "label.missing")]
    assert send(octets, EVE, at=at).outgoing  # it does not leave
    assert send(build("OC", to=CAROL, x_project="green"), CAROL, at=at).outgoing


@pytest.mark.parametrize(
    ("pattern", "fits"), [("1.2.3.4:3", True), ("1.2.3.4", True), ("1.2.3.4:2", False), ("1.2.3", False)]
)
def test_a_label_that_a_valid_signature_states_is_a_condition(ruled: Ruled, pattern: str, fits: bool) -> None:
    at = ruled(f'[outbound]\nencrypt = "no"\n[[rule]]\nlabel = ["{pattern}"]\nencrypt = "required"\n')
    stated = attributes.attribute(oids.ID_AA_SECURITY_LABEL, der.tlv(der.SET, der.oid("1.2.3.4"), der.integer(3)))
    labelled = world.message(world.signed(world.TEXT, acme().users["alice"], extra=[stated]))
    assert (lines(send(labelled, at=at)) == ["domsec.toml:4 [[rule]] 1"]) is fits
    broken = world.message(world.signed(world.TEXT, world.stranger_user(), extra=[stated]))
    assert lines(send(broken, at=at)) == ["domsec.toml:2 [outbound]"]  # nobody whom we trust says so
    assert lines(send(build("OC"), at=at)) == ["domsec.toml:2 [outbound]"]


def test_unknown_domains_may_be_kept_from(ruled: Ruled) -> None:
    at = ruled('[[rule]]\nmin_size = 1000\nunknown_domains = "reject"\n')
    large = build("OC", to=CAROL, text=world.TEXT + b"x" * 1000)
    assert send(large, CAROL, at=at).refused
    assert send(build("OC", to=CAROL), CAROL, at=at).outgoing


# --- what anybody can write -----------------------------------------------------------------------------------------

STRICT = """\
[[peer]]
domain = "beta.example"
encrypt = "dca"
[[rule]]
{condition}
sign = "never"
encrypt = "never"
on_no_certificate = "clear"
"""


@pytest.mark.parametrize(
    "condition",
    [
        'subject_tag = "plans"',
        'header = "X-Open: yes"',
        "min_size = 1",
        "max_size = 100000",
        'sender = "alice@acme.example"',
        'recipient = "beta.example"\nsender = "acme.example"',
    ],
)
def test_a_word_of_the_sender_makes_no_less_of_it(ruled: Ruled, condition: str) -> None:
    text = STRICT.format(condition=condition).replace('on_no_certificate = "clear"\n', "")
    octets = build("OC", x_open="yes")
    nobody = Rule("network", frozenset({"acme.example"}), Networks())
    decision = send(octets, at=ruled(text, evidence=[nobody]))
    assert not decision.outgoing  # signing is still wanted, and nobody vouches for alice
    (group,) = groups(decision)
    assert group["line"] == "domsec.toml:5 [[rule]] 1"
    assert group["kept"] == ("sign: outbound.sign (default)", "encrypt: domsec.toml:2 [[peer]] beta.example")
    loosened = send(octets, at=ruled(f"{text}may_loosen = true\n", evidence=[nobody]))
    assert only(loosened) == octets


def test_a_sender_whom_evidence_vouches_for_may_have_less(ruled: Ruled) -> None:
    text = STRICT.format(condition='sender = "alice@acme.example"').replace('on_no_certificate = "clear"\n', "")
    octets = build("OC")
    assert only(send(octets, at=ruled(text))) == octets
    both = build("OC", sender="alice@acme.example, carol@acme.example")
    assert world.SECRET not in only(send(both, at=ruled(text)))  # carol stands in From too
    other = build("OC", sender="carol@acme.example")
    assert world.SECRET not in only(send(other, at=ruled(text)))  # alice is the envelope sender only


def test_nor_does_a_word_of_the_sender_keep_a_later_rule_from_counting(ruled: Ruled) -> None:
    """The first rule fits because of a tag, and the second would have without: nobody gets around it by the tag."""
    text = """\
[outbound]
encrypt = "no"
[[rule]]
subject_tag = "[public]"
on_refusal = "reject"
[[rule]]
recipient = "beta.example"
encrypt = "required"
"""
    at = ruled(text)
    decision = send(build("OC", subject="[public] news"), at=at)
    assert world.SECRET not in only(decision)
    assert lines(decision) == ["domsec.toml:4 [[rule]] 1"]
    refused = send(build("OC", subject="[public] news", sender="x@elsewhere.example"), at=at)
    assert refused.refused  # and what the first one asks for holds as well


def test_each_word_of_the_sender_only_adds(ruled: Ruled) -> None:
    """A tag does not get around what a field asks for, whichever of the two rules stands first."""
    filtered = '[[rule]]\nheader = "X-Filter: secret"\nencrypt = "required"\n'
    tagged = '[[rule]]\nsubject_tag = "[urgent]"\nencrypt = "never"\nunknown_domains = "hold"\n'
    octets = build("OC", subject="[urgent] x", x_filter="secret")
    for first, second in ((filtered, tagged), (tagged, filtered)):
        text = f'[outbound]\nencrypt = "no"\n[[peer]]\ndomain = "beta.example"\n{first}{second}'
        decision = send(octets, BOB, CAROL, at=ruled(text))
        (out,) = decision.outgoing
        assert out.indexes == (0,)
        assert world.SECRET not in bytes(out.octets)
        assert [hold.reasons for hold in decision.held] == [("unknown_domain",)]
        assert {line.partition(" ")[2] for line in lines(decision)} == {"[[rule]] 1"}


# --- mail from outside ----------------------------------------------------------------------------------------------

PARTNER = """\
[[rule]]
name = "acme must sign"
direction = "inbound"
sender = "acme.example"
on_unverified = "reject"
on_violation = "reject"
"""


def test_a_domain_can_be_held_to_more(ruled: Ruled) -> None:
    at = ruled(PARTNER, "beta")
    decision = receive(build("OC"), at=at)
    (refused,) = decision.refused
    assert (refused.code, refused.enhanced) == (550, "5.7.7")
    assert decision.log["line"] == 'domsec.toml:2 [[rule]] 1 "acme must sign"'
    assert receive(build("S[domain](S0(OC))"), at=at).outgoing
    other = receive(build("OC", sender="carol@gamma.example"), at=at, sender="carol@gamma.example")
    assert other.outgoing
    assert other.log["line"] == "inbound.on_unverified (default)"


@pytest.mark.parametrize(
    "sender",
    [
        b"From: x@elsewhere.example\r\nFrom: alice@acme.example\r\n",
        b"From: alice@acme.example, x <x@@y>\r\n",
        b"From: group: alice@acme.example;\r\n",
        b"From: =?utf-8?q?alice=40acme.example?= (x\r\n",
        b"From: Alice <alice@sub.ACME.example> trailing\r\n",
    ],
    ids=["two fields", "a broken one beside", "a group", "encoded", "junk behind"],
)
def test_nobody_gets_around_a_rule_by_a_from_that_is_not_well_formed(ruled: Ruled, sender: bytes) -> None:
    octets = re.sub(rb"(?m)^From: .*\r\n", lambda _: sender, build("OC"), count=1)
    decision = receive(octets, at=ruled(PARTNER, "beta"), sender="x@elsewhere.example")
    assert not decision.outgoing
    assert '[[rule]] 1 "acme must sign"' in str(decision.log)


def test_a_sender_that_anybody_can_write_gets_no_mail_in(ruled: Ruled) -> None:
    text = '[inbound]\non_unverified = "hold"\n[[rule]]\ndirection = "inbound"\nsender = "acme.example"\n'
    text += 'on_unverified = "deliver"\n'
    decision = receive(build("OC"), at=ruled(text, "beta"))
    assert decision.held
    (group,) = groups(decision)
    assert group["rule"] == "domsec.toml:4 [[rule]] 1"
    assert group["kept"] == ["on_unverified: domsec.toml:3 inbound.on_unverified"]
    assert receive(build("OC"), at=ruled(f"{text}may_loosen = true\n", "beta")).outgoing


def test_layers_stay_for_whom_a_rule_says_so(ruled: Ruled) -> None:
    text = f'[[rule]]\ndirection = "inbound"\nrecipient = "{BOB}"\nstrip = "none"\n'
    decision = receive(build("E[beta](S[domain](S0(OC)))"), BOB, DAVE, at=ruled(text, "beta"))
    structures = {out.recipients[0].address: judge(out.octets).structure for out in decision.outgoing}
    assert structures == {BOB: "S[domain](S0(OC))", DAVE: "OC"}
    assert [group.get("rule") for group in groups(decision)] == ["domsec.toml:2 [[rule]] 1", None]


def test_what_was_opened_for_some_is_encrypted_again(ruled: Ruled) -> None:
    text = '[[rule]]\ndirection = "inbound"\nrecipient = "board@beta.example"\nafter_decrypt = "user"\n'
    at = ruled(f'{text}on_no_certificate = "reject"\n', "beta")
    decision = receive(build("E[beta](S[domain](S0(OC)))"), BOB, "board@beta.example", at=at)
    assert [out.indexes for out in decision.outgoing] == [(0,)]
    assert [refused.indexes for refused in decision.refused] == [(1,)]
    assert lines(decision) == ["inbound.strip (default)", "domsec.toml:2 [[rule]] 1"]


def test_all_failures_to_decrypt_still_look_alike(ruled: Ruled) -> None:
    at = ruled(PARTNER.replace("on_unverified", "on_unopenable"), "beta")
    closed = build("E[beta](S[domain](S0(OC)))")
    cut = closed[:-60] + b"A" * 58 + b"\r\n"
    replies = {(r.code, r.enhanced, r.text) for octets in (cut, build("S[evil](OC)"))
               for r in receive(octets, at=at).refused}  # fmt: skip
    assert len(replies) == 1


def test_what_a_person_let_in_is_not_kept_out_again_by_a_rule(ruled: Ruled) -> None:
    at = ruled(PARTNER, "beta")
    assert receive(build("OC"), at=_approving(at)).outgoing
    text = '[[rule]]\ndirection = "inbound"\nsender = "acme.example"\nstrip = "none"\non_violation = "reject"\n'
    approved = receive(build("E[beta](S[domain](S0(OC)))"), at=_approving(ruled(text, "beta")))
    assert judge(only(approved)).structure == "S[domain](S0(OC))"  # how it is delivered is the rule's to say


# --- looking at them ------------------------------------------------------------------------------------------------


def test_why_each_rule_did_not_fit_can_be_told(ruled: Ruled) -> None:
    text = """\
[[rule]]
recipient = ["gamma.example", "delta.example"]
[[rule]]
user = "newsletter"
[[rule]]
direction = "inbound"
[[rule]]
subject_tag = "[s]"
[[rule]]
min_size = 100000
[[rule]]
header = ["X-A: b", "X-C"]
[[rule]]
sender = "carol@acme.example"
[[rule]]
recipient = "*"
[[rule]]
on_refusal = "hold"
"""
    (looks,) = looked_at(transaction(build("OC")), ruled(text))
    assert [(look.rule.line.partition(" ")[2], look.why_not) for look in looks] == [
        ("[[rule]] 1", "recipient is bob@beta.example, expected gamma.example or delta.example"),
        ("[[rule]] 2", "user is not known, expected newsletter"),
        ("[[rule]] 4", "Subject without [s]"),
        ("[[rule]] 5", f"size is {len(build('OC'))}, expected at least 100000"),
        ("[[rule]] 6", "no field x-a: b or x-c"),
        ("[[rule]] 7", "sender is alice@acme.example, expected carol@acme.example"),
        ("[[rule]] 8", None),
    ]


# --- whatever the rules ---------------------------------------------------------------------------------------------

ADDRESSES = [BOB, DAVE, CAROL, EVE, "bob@sub.beta.example", "x@sub.gamma.example", "broken@@", "BOB@BETA.example"]
_WHO = st.sampled_from(["beta.example", "gamma.example", "sub.beta.example", "acme.example", BOB, CAROL, "*"])
_CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "recipient": st.lists(_WHO, min_size=1, max_size=3),
        "sender": st.lists(_WHO.filter(lambda who: who != "*"), min_size=1, max_size=2),
        "subject_tag": st.lists(st.sampled_from(["[a]", "[b]", "plan"]), min_size=1, max_size=2),
        "header": st.lists(st.sampled_from(["X-T: yes", "X-T", "X-U: no"]), min_size=1, max_size=2),
        "user": st.lists(st.sampled_from(["alice", "carol"]), min_size=1, max_size=2),
        "min_size": st.sampled_from([1, 100_000]),
        "max_size": st.sampled_from([1, 100_000]),
    },
)
_WISHES = st.fixed_dictionaries(
    {},
    optional={
        "sign": st.sampled_from(["required", "if-possible", "never"]),
        "encrypt": st.sampled_from(["required", "if-possible", "never"]),
        "on_refusal": st.sampled_from(["hold", "reject", "pass"]),
        "unknown_domains": st.sampled_from(["hold", "reject", "pass"]),
        "strip_tag": st.booleans(),
        "may_loosen": st.booleans(),
    },
)
_RULES = st.lists(st.builds(lambda conditions, wishes: conditions | wishes, _CONDITIONS, _WISHES), max_size=5)


def first_by_hand(found: list[dict[str, Any]], recipient: str, tag: str, field: str, user: str) -> int | None:
    """The number of the first rule that fits, written once more and more simply."""

    def among(address: str, named: Iterable[str]) -> bool:
        address = address.lower()
        domain = address.rpartition("@")[2]
        return any(
            one == address or domain == one or domain.endswith(f".{one}") or (one == "*" and domain != "acme.example")
            for one in named
        )

    for number, rule in enumerate(found, 1):
        fits = [
            "recipient" not in rule or among(recipient, rule["recipient"]),
            "sender" not in rule or among("alice@acme.example", rule["sender"]),
            "subject_tag" not in rule or any(one in f"{tag} plans" for one in rule["subject_tag"]),
            "header" not in rule or any(one in (f"X-T: {field}", "X-T") for one in rule["header"]),
            "user" not in rule or user in rule["user"],
            rule.get("min_size", 0) < 50_000,
            rule.get("max_size", 50_000) > 100,
        ]
        if all(fits):
            return number
    return None


def _consistent(rule: dict[str, Any]) -> bool:
    """What `config check` lets through."""
    return rule.get("min_size", 0) <= rule.get("max_size", 1 << 30) and not (
        rule.get("strip_tag") and "subject_tag" not in rule
    )


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    _RULES.map(lambda found: [rule for rule in found if _consistent(rule)]),
    st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=6),
    st.sampled_from(["", "[a]", "[b]"]),
    st.sampled_from(["yes", "no"]),
    st.sampled_from(["alice", "carol"]),
)
def test_everybody_is_settled_once_by_the_first_rule_that_fits(
    ruled: Ruled, found: list[dict[str, Any]], recipients: list[str], tag: str, field: str, user: str
) -> None:
    text = '[[peer]]\ndomain = "beta.example"\n' + "".join(
        "[[rule]]\n" + "".join(f"{name} = {_toml(value)}\n" for name, value in rule.items()) for rule in found
    )
    at = ruled(text, evidence=[STAFF])
    decision = send(build("OC", subject=f"{tag} plans", x_t=field), *recipients, at=at, auth=user)  # settles each once
    for index, recipient in enumerate(recipients):
        if recipient == "broken@@":
            continue
        (line,) = {group["line"] for group in groups(decision) if index in group["recipients"]}
        number = int(match[1]) if (match := re.search(r"\[\[rule\]\] (\d+)", line)) else None
        assert number == first_by_hand(found, recipient, tag, field, user)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case str():
            return f'"{value}"'
    return str(value)
