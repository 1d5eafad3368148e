"""`domsec boundary`, and that `sign-domain` asks the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import food
import pki
from commands import AT, PLAIN, Desk, Ran, run

POLICY = ("--label-policy", food.FOLDER / "food-policy.xml")


def boundary(desk: Desk, *arguments: object, stdin: bytes) -> Ran:
    return run("boundary", "--to", "beta.example", *desk.trust, *arguments, stdin=stdin)


def reviewed(desk: Desk, octets: bytes, who: str = "acme-review") -> bytes:
    made = run("review", "--credential", desk.key(who), *desk.trust, stdin=octets)
    assert made.code == 0, made.err
    return made.out


def labelled(desk: Desk, text: str) -> bytes:
    made = run("sign", "--label", text, "--credential", desk.key("acme-alice"), *desk.trust, *POLICY, stdin=PLAIN)
    assert made.code == 0, made.err
    return made.out


@pytest.fixture
def config(desk: Desk, tmp_path: Path) -> Path:
    """An installation whose mail to beta.example has to be reviewed by acme's reviewer."""
    file = tmp_path / "domsec.toml"
    file.write_text(f"""\
domains = ["acme.example"]
[keys.signing]
credential = "{desk.key("acme-signing")}"
[trust]
roles = ["{desk.certificate("acme-ca")}"]
users = ["{desk.certificate("acme-ca")}"]
[[review]]
to = ["beta.example"]
reviewers = ["{pki.world().acme.review.certificate.sha256}"]
""")
    return file


@pytest.mark.requirement("R3183-3.4-02", "R3183-2.2-01")
def test_a_reviewed_message_may_leave(desk: Desk, config: Path, signed: Path) -> None:
    octets = signed.read_bytes()
    held = boundary(desk, "--config", config, stdin=octets)
    assert held.code == 1
    assert held.text.splitlines() == [
        "hold for beta.example",
        "  review.missing: 0 of 1 reviews by those who may review for beta.example",
    ]
    released = boundary(desk, "--config", config, stdin=reviewed(desk, octets))
    assert released.code == 0
    assert released.text.startswith("release for beta.example\nreviewed by: CN=review-authority in layer 1, signed 20")
    assert released.err == ""


def test_a_document_for_programs(desk: Desk, config: Path, signed: Path) -> None:
    found = boundary(desk, "--config", config, "--json", stdin=reviewed(desk, signed.read_bytes())).json
    (review,) = found.pop("reviews")
    assert found == {"destination": "beta.example", "released": True, "reasons": [], "labels": []}
    assert review["reviewer"] == "CN=review-authority"
    assert review["sha256"] == pki.world().acme.review.certificate.sha256
    held: Any = boundary(desk, "--config", config, "--json", stdin=PLAIN).json
    assert held["reasons"] == [["review.missing", "0 of 1 reviews by those who may review for beta.example"]]


def test_who_reviews_can_be_said_by_options(desk: Desk, signed: Path) -> None:
    octets = reviewed(desk, signed.read_bytes())
    for who, code in (("acme-review", 0), ("beta-review", 1)):
        assert boundary(desk, "--reviewer", desk.certificate(who), stdin=octets).code == code
    both = ("--reviewer", desk.certificate("acme-review"), "--reviewer", desk.certificate("beta-review"))
    assert boundary(desk, *both, stdin=octets).code == 0
    assert boundary(desk, *both, "--min-reviews", "2", stdin=octets).code == 1
    assert boundary(desk, *both, "--min-reviews", "2", stdin=reviewed(desk, octets, "beta-review")).code == 0


@pytest.mark.requirement("R3183-3.3-05", "R3183-3.3-06")
def test_labels_are_held_against_clearances(desk: Desk) -> None:
    cleared = (*POLICY, "--clearance", food.EVERYTHING)
    passes = boundary(desk, *cleared, "--require-label", stdin=labelled(desk, "Food:Luxury::Sweet"))
    assert (passes.code, passes.text) == (0, "release for beta.example\nlabel: [ Food Luxury Sweet ]\n")
    held = boundary(desk, *cleared, stdin=labelled(desk, f"@{food.FOLDER}/food-label-water.xml"))
    assert held.code == 1
    assert "  label.denied: " in held.text
    assert "  label.missing: " in boundary(desk, *cleared, "--require-label", stdin=PLAIN).text


def test_where_nothing_is_asked_that_is_said(desk: Desk) -> None:
    ran = boundary(desk, stdin=PLAIN)
    assert (ran.code, ran.text) == (0, "release for beta.example\n")
    assert "hint: nothing is asked of mail to beta.example" in ran.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--min-reviews", "2"), "--min-reviews without --reviewer"),
        (("--to", "no domain"), "is no domain"),
        (("--reviewer", "domsec-none.pem"), "domsec-none.pem"),
        (("--clearance", food.EVERYTHING), "expected it with --label-policy"),
        (("--clearance", food.MILK), "food-label-milk-chocolate.xml"),
    ],
)
def test_what_cannot_be_asked(desk: Desk, arguments: tuple[object, ...], complaint: str) -> None:
    ran = boundary(desk, *arguments, stdin=PLAIN)
    assert (ran.code, ran.text) == (2, "")
    assert complaint in ran.err


def test_what_cannot_be_read_does_not_leave(desk: Desk, config: Path) -> None:
    broken = PLAIN.replace(b"text/plain; charset=us-ascii", b"application/pkcs7-mime; smime-type=signed-data")
    ran = boundary(desk, "--config", config, stdin=broken)
    assert (ran.code, ran.text.splitlines()[0]) == (5, "hold for beta.example")


@pytest.mark.requirement("R3183-3.4-02")
def test_nothing_is_signed_for_the_domain_that_may_not_leave(desk: Desk, config: Path, signed: Path) -> None:
    ask = ("sign-domain", "--config", config, *desk.trust, "--encrypt", "no")
    for rcpt, octets, code in (
        ("bob@beta.example", signed.read_bytes(), 1),
        ("bob@beta.example", reviewed(desk, signed.read_bytes()), 0),
        ("carol@gamma.example", signed.read_bytes(), 0),
    ):
        ran = run(*ask, "--rcpt", rcpt, stdin=octets)
        assert ran.code == code, ran.err
        assert ("review.missing" in ran.err, bool(ran.out)) == (code == 1, code == 0)


def test_the_configuration_is_checked(desk: Desk, config: Path) -> None:
    assert run("config", "check", "--config", config, *AT).code == 0
    config.write_text(config.read_text() + '[[boundary]]\nto = ["*"]\nallowed = ["Food:1"]\n')
    ran = run("config", "check", "--config", config, *AT)
    assert ran.code == 2
    assert "domsec.toml:12: label policy 'Food' is not known, expected an object identifier" in ran.err
