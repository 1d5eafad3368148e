"""Exit codes and words for everything that can go wrong, and for what should not."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from commands import run
from domsec import __version__, errors
from domsec.cli import VERBS, cli, console
from domsec.cli.console import Exit


def raising(problem: BaseException) -> int:
    def command() -> None:
        raise problem

    return console.guarded(command)


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (errors.MalformedMessage("no SEQUENCE"), 5, "domsec: error: no SEQUENCE\n"),
        (errors.LimitExceeded("depth"), 5, "domsec: error: limit.depth: limit depth exceeded\n"),
        (errors.Unsupported("MD2"), 5, "domsec: error: MD2\n"),
        (errors.SignatureInvalid("it does not hold"), 1, "domsec: error: it does not hold\n"),
        (errors.SigningRefused([("gate.from", "none"), ("gate.review", "")]), 1,
         "domsec: error: gate.from: none\ndomsec: error: gate.review\n"),
        (errors.DecryptionFailed(), 1, "domsec: error: the message could not be decrypted\n"),
        (errors.CertificateNotFound("a@b.example", ["one: expired"]), 1,
         "domsec: error: no usable certificate for a@b.example\ndomsec: hint: one: expired\n"),
        (errors.KeyUnusable("wrong password"), 2, "domsec: error: wrong password\n"),
        (errors.StoreUnavailable("no answer"), 4, "domsec: error: no answer\n"),
        (errors.ConfigurationError("a:1: b", "a:2: c"), 2, "domsec: error: a:1: b\ndomsec: error: a:2: c\n"),
        (OSError(28, "No space left on device", "out"), 4, "domsec: error: out: No space left on device\n"),
        (errors.MalformedMessage("\x1b[2J"), 5, "domsec: error: \\1B[2J\n"),
    ],
)  # fmt: skip
def test_every_error_is_words_and_an_exit_code(
    problem: Exception, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(problem) == code
    assert capsys.readouterr().err == words


def test_an_error_that_nobody_thought_of_is_a_refusal() -> None:
    assert raising(errors.DomsecError("something else")) == Exit.REFUSED


def test_a_bug_shows_no_traceback_unless_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert raising(ZeroDivisionError("secret")) == Exit.TEMPORARY
    said = capsys.readouterr().err
    assert "internal error: ZeroDivisionError" in said
    assert "Traceback" not in said
    assert "secret" not in said
    monkeypatch.setenv("DOMSEC_DEBUG", "1")
    raising(ZeroDivisionError("secret"))
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_ends_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


def test_version_and_help() -> None:
    assert run("--version").out == f"domsec {__version__}\n".encode()
    listed = run("--help").text
    assert all(verb in listed for verb in VERBS)
    for verb in VERBS:
        assert run(verb, "--help").code == 0


@pytest.mark.parametrize("arguments", [[], ["cert"], ["nonsense"], ["show", "--nonsense"], ["cert", "nonsense"]])
def test_wrong_calls_are_usage(arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, b"")
    assert ran.err


def test_words_fit_a_terminal_that_knows_ascii_only() -> None:
    runner = CliRunner(charset="ascii")
    result = runner.invoke(cli, ["show", "/nowhere/\u00e4\u00f6"])
    assert result.exit_code == 2
    assert b"/nowhere/\\xe4\\xf6" in result.stderr_bytes
