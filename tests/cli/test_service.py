"""`domsec config`, `explain`, `gateway` and `demo`."""

from __future__ import annotations

from pathlib import Path

import pytest

import domsec.demo
import domsec.gateway.run
import pki
from commands import AT, PLAIN, Desk, run
from domsec.errors import ConfigurationError

WORLD = pki.world()


@pytest.fixture
def configuration(desk: Desk, tmp_path: Path) -> Path:
    for role in ("signing", "confidentiality"):
        desk.key(f"acme-{role}").chmod(0o600)
    file = tmp_path / "acme.toml"
    file.write_text(
        'domains = ["acme.example"]\n'
        '[listen]\noutbound = "smtp:127.0.0.1:10025"\n[next_hop]\noutbound = "smtp:127.0.0.1:10026"\n'
        f'[keys.signing]\ncredential = "{desk.key("acme-signing")}"\n'
        f'[trust]\nroles = ["{desk.certificate("beta-ca")}"]\ncertificates = ["{desk.certificates}"]\n'
        'revocation = "soft"\n'
        '[[outbound.evidence]]\nkind = "network"\nnetworks = ["192.0.2.0/24"]\n'
    )
    return file


# --- config check ----------------------------------------------------------------------------------------------------


def test_a_good_configuration_is_called_good(configuration: Path) -> None:
    ran = run("config", "check", "--config", configuration, *AT)
    assert (ran.code, ran.err) == (0, f"domsec: {configuration}: nothing is wrong with it\n")


def test_every_problem_has_its_file_and_line(configuration: Path, desk: Desk) -> None:
    text = configuration.read_text()
    configuration.write_text(text.replace(str(desk.key("acme-signing")), str(desk.key("acme-alice"))))
    ran = run("config", "check", "--config", configuration, *AT)
    assert ran.code == 2
    assert f"domsec: error: {configuration}:7: the certificate of keys.signing cannot serve" in ran.err
    listed = run("config", "check", "--json", "--config", configuration, *AT)
    assert listed.code == 2
    assert (7, "error") in [(problem["line"], problem["severity"]) for problem in listed.json]


def test_an_unknown_key_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "domsec.toml").write_text('domains = ["acme.example"]\n[trust]\nrols = []\n')
    ran = run("config", "check")
    assert ran.code == 2
    assert 'domsec.toml:3: unknown key "rols"' in ran.err
    assert 'did you mean "roles"?' in ran.err
    assert run("config", "check", "--json").json[0]["severity"] == "error"


def test_without_a_configuration_there_is_nothing_to_check() -> None:
    ran = run("config", "check")
    assert (ran.code, ran.err.splitlines()[0][:33]) == (2, "domsec: error: no configuration, ")


# --- postfix ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def beside_postfix(configuration: Path, tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("0123456789abcdef\n")
    text = configuration.read_text()
    text = text.replace(
        'outbound = "smtp:127.0.0.1:10025"', 'outbound = "smtp:127.0.0.1:10025"\ninbound = "smtp:127.0.0.1:10027"'
    )
    text = text.replace(
        'outbound = "smtp:127.0.0.1:10026"', 'outbound = "smtp:127.0.0.1:10026"\ninbound = "smtp:127.0.0.1:10028"'
    )
    configuration.write_text(text + '[[outbound.evidence]]\nkind = "header"\ntoken_file = "token"\n')
    return configuration


def test_postfix_prints_its_files_without_the_secret(beside_postfix: Path) -> None:
    ran = run("postfix", "--config", beside_postfix)
    assert ran.code == 0
    for path in ("postfix/main.cf", "postfix/master.cf", "postfix-edge/main.cf", "postfix-edge/master.cf"):
        assert f"# /etc/{path}\n" in ran.text
    assert "PREPEND X-Domsec-Auth: TOKEN" in ran.text
    assert "0123456789abcdef" not in ran.text
    listed = run("postfix", "--json", "--layout", "before-queue", "--config", beside_postfix)
    assert {file["instance"] for file in listed.json} == {"single"}


def test_postfix_writes_the_secret_for_owner_and_group(beside_postfix: Path, tmp_path: Path) -> None:
    assert run("postfix", "-o", tmp_path / "made", "--config", beside_postfix).code == 0
    table = tmp_path / "made/etc/postfix/domsec-login.re"
    assert table.read_text() == "/^(.+)$/    PREPEND X-Domsec-Auth: 0123456789abcdef $1\n"
    assert table.stat().st_mode & 0o777 == 0o640


def test_postfix_without_both_directions_is_an_error_with_its_line(configuration: Path) -> None:
    ran = run("postfix", "--config", configuration)
    assert ran.code == 2
    assert "acme.toml:2: listen.inbound: missing" in ran.err


# --- explain ---------------------------------------------------------------------------------------------------------


def test_explain_says_what_would_be_done_and_why(configuration: Path) -> None:
    options = ("--config", configuration, *AT, "--from", "alice@acme.example", "--rcpt", "bob@beta.example")
    relayed = run("explain", "--json", *options, "--client", "192.0.2.7", stdin=PLAIN)
    assert (relayed.code, relayed.json["outgoing"]) == (0, [["bob@beta.example"]])
    assert relayed.json["structure"] == "OC"
    assert relayed.json["groups"][0]["line"]
    refused = run("explain", *options, "--client", "203.0.113.1", stdin=PLAIN)
    assert refused.code == 1
    assert "gate: gate.originator\n" in refused.text
    assert refused.text.endswith(
        "outgoing: nobody\nheld: {recipients: bob@beta.example, reasons: gate.originator}\nrefused: nobody\n"
    )


def test_explain_says_of_what_there_is_nothing(configuration: Path) -> None:
    options = ("--config", configuration, *AT, "--direction", "inbound", "--rcpt", "alice@acme.example")
    told = run("explain", *options, stdin=PLAIN).text.splitlines()
    assert {"accepted: no", "domain: none", "flags: none", "removed: none", "held: nobody", "refused: nobody"} <= set(
        told
    )


def test_explain_says_on_what_evidence_and_which_rules_gave_none(configuration: Path, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("scanner alice@acme.example\n")
    with configuration.open("a") as file:
        file.write('[[outbound.evidence]]\nkind = "local"\nlogins = "users"\n')
    options = ("--json", "--config", configuration, *AT, "--rcpt", "bob@beta.example")
    granted = run("explain", *options, "--user", "scanner", stdin=PLAIN)
    assert (granted.code, granted.json["evidence"]) == (0, ["local scanner"])
    refused = run("explain", *options, "--user", "nobody", stdin=PLAIN)
    assert refused.code == 1
    assert refused.json["refusal"].endswith(
        "nothing shows that alice@acme.example sent this; local nobody may not say so"
    )
    assert refused.json["no_evidence"] == ["evidence[0] network: our own machine is in none of its networks"]
    assert run("explain", *options, "--user", "scanner", "--client", "192.0.2.7", stdin=PLAIN).code == 2


def test_explain_says_which_rules_were_looked_at_and_why_each_did_not_fit(configuration: Path) -> None:
    with configuration.open("a") as file:
        file.write('[[rule]]\nname = "gamma"\nrecipient = "gamma.example"\n[[rule]]\nheader = "X-A"\nsign = "never"\n')
        file.write('[[rule]]\nrecipient = "beta.example"\nencrypt = "required"\n')
    options = ("--config", configuration, *AT, "--from", "alice@acme.example", "--client", "192.0.2.7")
    rcpt = ("--rcpt", "bob@beta.example", "--rcpt", "carol@gamma.example", "--rcpt", "eve@delta.example")
    told = run("explain", *options, *rcpt, stdin=b"X-A: y\r\n" + PLAIN).text
    rules = told[told.index("rules for") :].replace("acme.toml:", "").splitlines()
    assert rules == [
        "rules for bob@beta.example:",
        '  15 [[rule]] 1 "gamma": no: recipient is bob@beta.example, expected gamma.example',
        "  18 [[rule]] 2: fits by what anybody can write: it can only ask for more than what follows",
        "  21 [[rule]] 3: fits as well, and no less is done than it says",
        "rules for carol@gamma.example:",
        '  15 [[rule]] 1 "gamma": fits',
        "rules for eve@delta.example:",
        '  15 [[rule]] 1 "gamma": no: recipient is eve@delta.example, expected gamma.example',
        "  18 [[rule]] 2: fits by what anybody can write: it can only ask for more than what follows",
        "  21 [[rule]] 3: no: recipient is eve@delta.example, expected beta.example",
    ]
    found = run("explain", "--json", *options, *rcpt, stdin=b"X-A: y\r\n" + PLAIN).json
    assert [each["rule"].partition(" ")[2] for each in found["rules"]] == [
        "[[rule]] 2",
        '[[rule]] 1 "gamma"',
        "[[rule]] 2",
    ]
    assert [line.partition(" ")[2] for line in found["rules"][0]["beside"]] == ["[[rule]] 3"]
    (first, *_) = (group for group in found["groups"] if group["recipients"] == ["bob@beta.example"])
    assert first["line"].endswith("[[rule]] 2")
    none = run("explain", *options, "--rcpt", "eve@delta.example", stdin=PLAIN).text
    assert none.endswith("  none fits: [outbound], [inbound] and [[peer]] decide\n")
    unreadable = run("explain", *options, *rcpt, stdin=b"A: b\r\n" * 5000 + PLAIN)
    assert (unreadable.code, "rules for" in unreadable.text) == (1, False)


# --- gateway and demo ------------------------------------------------------------------------------------------------


def test_the_gateway_runs_with_its_configuration(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def instead(path: Path) -> int:
        called.append(path)
        return 4

    monkeypatch.setattr(domsec.gateway.run, "run", instead)
    assert run("gateway", "run", "--config", configuration).code == 4
    assert run("gateway", "run", DOMSEC_CONFIG=str(configuration)).code == 4
    assert called == [configuration, configuration]


def test_what_the_gateway_cannot_start_with_is_told_in_lines(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> int:
        raise ConfigurationError("a.toml:1: this, expected that", "a.toml:2: these, expected those")

    monkeypatch.setattr(domsec.gateway.run, "run", refuse)
    ran = run("gateway", "run", "--config", configuration)
    assert ran.code == 2
    assert ran.err == ("domsec: error: a.toml:1: this, expected that\ndomsec: error: a.toml:2: these, expected those\n")


def test_the_demonstration_gets_its_options(message: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def instead(*, once: bool, mail: Path | None) -> int:
        called.append((once, mail))
        return 1

    monkeypatch.setattr(domsec.demo, "main", instead)
    assert run("demo", "--once", "--mail", message).code == 1
    assert called == [(True, message)]
