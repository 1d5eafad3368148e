"""`domsec review`, `domsec attributes` and `domsec sign --label`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import food
import pki
from commands import PLAIN, Desk, Ran, run

POLICY = ("--label-policy", food.FOLDER / "food-policy.xml")
LABEL = "Food:Luxury::Sweet:Allergens=Nut"
TRANSLATED = "1.2.4:3"


def verified(octets: bytes, desk: Desk, *options: object) -> Any:
    return run("verify", "--json", *desk.trust, *options, stdin=octets).json


def review(desk: Desk, *arguments: object, stdin: bytes = PLAIN) -> Ran:
    return run("review", "--credential", desk.key("acme-review"), *desk.trust, *arguments, stdin=stdin)


def attributes(desk: Desk, *arguments: object, stdin: bytes = PLAIN) -> Ran:
    return run("attributes", "--credential", desk.key("acme-attributes"), *desk.trust, *arguments, stdin=stdin)


def labelled(desk: Desk, text: str = LABEL) -> bytes:
    made = run("sign", "--label", text, "--credential", desk.key("acme-alice"), *desk.trust, *POLICY, stdin=PLAIN)
    assert made.code == 0, made.err
    return made.out


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R2634-3.1.1-01", "R2634-3.4.1-02")
@pytest.mark.parametrize("text", [LABEL, f"@{food.MILK}", "1.2.3:4:eyes only"])
def test_an_originator_labels_a_message(desk: Desk, text: str) -> None:
    found = verified(labelled(desk, text), desk)
    assert (found["accepted"], found["level"]) == (True, "originator_direct")
    original = found["labels"]["original"]
    assert (original["policy"], original["marking"], found["labels"]["effective"]) == (
        "1.2.3" if text.startswith("1") else food.OID, None, None,
    )  # fmt: skip
    marked = verified(labelled(desk, text), desk, *POLICY)
    if not text.startswith("1"):
        assert marked["labels"]["effective"]["marking"].startswith("[ Food ")
        assert marked["accepted"]
    else:
        assert [f["code"] for f in marked["flags"] if f["severity"] == "violation"] == ["label.unknown_policy"]


def test_markings_are_shown_to_people(desk: Desk) -> None:
    shown = run("verify", *desk.trust, *POLICY, stdin=labelled(desk)).text
    assert "label: [ Food Luxury Sweet Contains Nut ], layer 1, by CN=Alice" in shown
    shown = run("verify", *desk.trust, stdin=labelled(desk)).text
    assert f"label: policy {food.OID} classification 52 2 categories, layer 1" in shown


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Food:Commodity::Chocolate", "is none of policy Food: Chocolate excludes Commodity"),
        ("Food:Luxury", "Luxury needs a category that is missing"),
        ("Drink:1", "label policy 'Drink' is not known"),
        (f"@{food.EVERYTHING}", "no label: <clearance>"),
        ("@nowhere.xml", "nowhere.xml: cannot be read"),
    ],
)
def test_a_label_that_its_policy_does_not_allow_is_not_signed(desk: Desk, text: str, complaint: str) -> None:
    ran = run("sign", "--label", text, "--credential", desk.key("acme-alice"), *desk.trust, *POLICY, stdin=PLAIN)
    assert (ran.code, ran.out) == (2, b"")
    assert complaint in ran.err


def test_a_policy_file_that_is_none(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "policy.xml"
    file.write_text('<!DOCTYPE SPIF [<!ENTITY a "b">]><SPIF/>')
    ran = run("verify", "--label-policy", file, *desk.trust, stdin=PLAIN)
    assert ran.code == 2
    assert "policy.xml: line 1: XML with a document type, which is refused" in ran.err


# --- review ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-2.2-01", "R3183-3.4-04")
def test_a_message_is_reviewed(desk: Desk, signed: Path) -> None:
    made = review(desk, signed, stdin=b"")
    assert made.code == 0
    assert "S[originator](OC) is now S[review](S[originator](OC))" in made.err
    assert "content " in made.err
    found = verified(made.out, desk)
    assert (found["accepted"], found["structure"]) == (True, "S[review](S[originator](OC))")
    assert found["reviewed_by"] == ["CN=review-authority"]


def test_what_is_wrong_is_told_to_the_reviewer(desk: Desk, signed: Path) -> None:
    made = review(desk, stdin=signed.read_bytes().replace(b"it is signed", b"it is forged"))
    assert made.code == 0
    assert "warning: signature.invalid in layer 1" in made.err


def test_several_reviewers_sign_beside_each_other(desk: Desk, signed: Path) -> None:
    other = desk.add("acme-review-2", pki.identity("review", "acme.example", pki.world().acme.ca))
    found = verified(review(desk, "--credential", other, signed, stdin=b"").out, desk)
    assert found["structure"] == "S[review](S[originator](OC))"
    assert len(found["layers"][0]["signers"]) == 2


@pytest.mark.requirement("R3183-3.4-03")
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "no credential of review-authority, expected --credential with one or [keys.review]"),
        (("--credential", "acme-signing"), "no credential of review-authority"),
        (("--credential", "old"), "gate.authority: our own certificate is not valid at this time"),
    ],
)
def test_only_a_review_authority_reviews(desk: Desk, options: tuple[str, ...], complaint: str) -> None:
    desk.add("old", pki.identity("review", "acme.example", pki.world().acme.ca, days=5))
    desk.certificate("old").unlink()
    known = [desk.key(o) if not o.startswith("-") else o for o in options]
    ran = run("review", *known, *desk.trust, stdin=PLAIN)
    assert (ran.code, ran.out) == (1 if "gate." in complaint else 2, b"")
    assert complaint in ran.err


def test_the_key_of_the_configuration_reviews(desk: Desk, tmp_path: Path) -> None:
    file, ca = tmp_path / "domsec.toml", desk.certificate("acme-ca")
    file.write_text(f"""\
domains = ["acme.example"]
[keys.review]
credential = "{desk.key("acme-review")}"
[keys.attributes]
credential = "{desk.key("acme-attributes")}"
[trust]
roles = ["{ca}"]
users = ["{ca}"]
[labels]
policies = ["{POLICY[1]}"]
""")
    options = ("--config", file, *desk.trust[-2:])
    reviewed = run("review", *options, stdin=PLAIN)
    made = run("attributes", "--aggregate-label", LABEL, *options, stdin=reviewed.out)
    found = run("verify", "--json", *options, stdin=made.out).json
    assert found["structure"] == "S[attributes](S[review](S0(OC)))"
    assert found["labels"]["aggregate"][0]["marking"] == "[ Food Luxury Sweet Contains Nut ]"


@pytest.mark.parametrize("naming", ["strict", "mailbox"])
def test_a_key_named_by_its_mailbox_serves_where_the_configuration_says_so(
    desk: Desk, tmp_path: Path, naming: str
) -> None:
    for role in ("review", "attributes", "signing"):
        desk.add(f"{role}-mailbox", pki.identity(role, "acme.example", pki.world().acme.ca, naming="mailbox"))
    file = tmp_path / "domsec.toml"
    keys = "".join(
        f'[keys.{role}]\ncredential = "{desk.key(f"{role}-mailbox")}"\nnaming = "{naming}"\n'
        for role in ("review", "attributes", "signing")
    )
    file.write_text(f'domains = ["acme.example"]\n{keys}')
    for verb in (
        ("review",),
        ("attributes", "--attribute", "1.2.3=0500"),
        ("sign-domain", "--evidence", "local:alice@acme.example"),
    ):
        ran = run(*verb, "--config", file, *desk.trust[-2:], stdin=PLAIN)
        assert (ran.code == 0) is (naming == "mailbox"), ran.err
        assert ("gate.authority" in ran.err) is (naming == "strict")


def test_of_several_configured_keys_the_newest_valid_one_reviews(desk: Desk, tmp_path: Path) -> None:
    old = desk.add("old", pki.identity("review", "acme.example", pki.world().acme.ca, days=5))
    file = tmp_path / "domsec.toml"
    file.write_text(f"""\
domains = ["acme.example"]
[keys.review]
credential = ["{desk.key("acme-review")}", "{old}"]
[trust]
roles = ["{desk.certificate("acme-ca")}"]
users = ["{desk.certificate("acme-ca")}"]
""")
    options = ("--config", file, *desk.trust[-2:])
    found = verified(run("review", *options, stdin=PLAIN).out, desk)
    assert found["structure"] == "S[review](S0(OC))"


@pytest.mark.requirement("R3183-3-04")
def test_ciphertext_is_reviewed_where_it_was_seen_or_need_not_be(desk: Desk, signed: Path) -> None:
    closed = run("encrypt", "--to", "bob@beta.example", "--cert", desk.certificates, *desk.trust, signed).out
    ran = review(desk, stdin=closed)
    assert (ran.code, ran.out) == (1, b"")
    assert "gate.undecryptable" in ran.err
    key = ("--credential", desk.key("beta-bob"))
    for options, structure in (
        (("--unseen",), "S[review](S0(E(S[originator](OC))))"),
        (key, "S[review](E(S[originator](OC)))"),
        ((*key, "--over-encrypted", "null"), "S[review](S0(E(S[originator](OC))))"),
    ):
        assert verified(review(desk, *options, stdin=closed).out, desk, *key)["structure"] == structure
    refused = review(desk, *key, "--over-encrypted", "refuse", stdin=closed)
    assert (refused.code, "gate.encrypted" in refused.err) == (1, True)


# --- attributes ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3183-2.3-01", "R3183-3.3-04", "R3183-3.3-06", "R2634-3.4.1-02")
def test_attributes_are_added(desk: Desk) -> None:
    labels = ("--equivalent-label", TRANSLATED, "--aggregate-label", "1.2.5:2")
    made = attributes(desk, *labels, "--attribute", "1.3.6.1.4.1.99999.7=0500", stdin=labelled(desk))
    assert made.code == 0
    found = verified(made.out, desk)
    assert (found["accepted"], found["structure"]) == (True, "S[attributes](S[originator](OC))")
    assert found["additional_attributes"] == ["CN=attribute-authority"]
    stated = found["labels"]
    assert stated["original"]["policy"] == food.OID
    assert [(e["policy"], e["trusted"]) for e in stated["equivalent"]] == [("1.2.4", False)]
    assert [a["policy"] for a in stated["aggregate"]] == ["1.2.5"]
    assert "1.3.6.1.4.1.99999.7" in found["layers"][0]["signers"][0]["attributes"]


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ((), 2, "nothing to add"),
        (("--attribute", "x"), 2, "'x' is no attribute: expected OID=HEX"),
        (("--attribute", "9.9.9=0500"), 2, "object identifier"),
        (("--attribute", "1.2.840.113549.1.9.16.2.5=0400"), 1, "gate.attributes: idAaMsgSigDigest may not stand"),
        (("--attribute", "1.2.840.113549.1.9.16.2.3=0500"), 1, "gate.attributes: idAaMlExpandHistory may not stand"),
        (("--attribute", "1.2.840.113549.1.9.16.2.1=0500"), 1, "gate.attributes: idAaReceiptRequest may not stand"),
        (("--attribute", "1.2.840.113549.1.9.16.2.28=3000"), 1, "idAaSignatureType is not for others to state"),
        (("--attribute", "1.2.3=ff"), 1, "a value that is not in DER"),
        (("--equivalent-label", f"{food.OID}:50"), 1, "gate.label: an equivalent label of policy"),
        (("--equivalent-label", TRANSLATED, "--equivalent-label", TRANSLATED), 1, "gate.label: two labels"),
    ],
)
def test_what_may_not_be_added(desk: Desk, arguments: tuple[str, ...], code: int, complaint: str) -> None:
    ran = attributes(desk, *arguments, stdin=labelled(desk))
    assert (ran.code, ran.out) == (code, b"")
    assert complaint in ran.err
