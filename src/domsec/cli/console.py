"""What is written where, exit codes, and every error as one line for a person.

Results go to standard output or the file of `-o`, words about them to standard error. Whatever comes from a message
goes through `escaped` on its way to a terminal (threats, "Terminal escapes").
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from domsec import errors
from domsec.errors import (
    CertificateNotFound,
    ConfigurationError,
    DomsecError,
    LimitExceeded,
    SigningRefused,
)
from domsec.octets import Octets, Pieces, chunks

if TYPE_CHECKING:
    from domsec.services.verdict import JSON


class Exit(IntEnum):
    """CONTRACT.md section 2."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    VIOLATION = 3
    TEMPORARY = 4
    MALFORMED = 5


# by the first that fits; what is not listed is a bug of ours, and trying again may meet a repaired version
_CODES: Final[tuple[tuple[type[BaseException], Exit], ...]] = (
    (errors.MalformedMessage, Exit.MALFORMED),
    (errors.Unsupported, Exit.MALFORMED),
    (errors.SignatureInvalid, Exit.REFUSED),
    (errors.SigningRefused, Exit.REFUSED),
    (errors.DecryptionFailed, Exit.REFUSED),
    (errors.CertificateNotFound, Exit.REFUSED),
    (errors.KeyUnusable, Exit.USAGE),
    (errors.ConfigurationError, Exit.USAGE),
    (errors.StoreUnavailable, Exit.TEMPORARY),
    (errors.DomsecError, Exit.REFUSED),
    (click.ClickException, Exit.USAGE),
    (OSError, Exit.TEMPORARY),
)
_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141


def guarded(command: Callable[[], object]) -> int:
    """Run a command; its exit code, whatever it raises."""
    try:
        code = command()
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has gone; Python would complain of it once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as problem:
        return _told(problem)
    return int(code) if isinstance(code, int) else Exit.DONE


def _told(problem: Exception) -> Exit:
    """Say what is wrong, in words, and what might help."""
    if isinstance(problem, click.ClickException):
        _usage(problem)
    elif isinstance(problem, ConfigurationError):
        for text in problem.problems:
            error(text)
    elif isinstance(problem, SigningRefused):
        for code, text in problem.reasons:
            error(f"{code}: {text}" if text else code)
    elif isinstance(problem, CertificateNotFound):
        error(str(problem))
        for line in problem.trace:
            hint(line)
    elif isinstance(problem, LimitExceeded):
        error(f"limit.{problem.limit}: {problem}")
    elif isinstance(problem, DomsecError):
        error(str(problem))
    elif isinstance(problem, OSError):
        where = f"{problem.filename}: " if problem.filename else ""
        error(f"{where}{problem.strerror or problem}")
    else:
        _bug(problem)
    return next((code for kind, code in _CODES if isinstance(problem, kind)), Exit.TEMPORARY)


def _usage(problem: click.ClickException) -> None:
    if isinstance(problem, click.exceptions.NoArgsIsHelpError):
        print_bytes(problem.format_message().encode() + b"\n", "stderr")
        return
    text = problem.format_message().rstrip(".")
    error(text[:1].lower() + text[1:] if text[1:2].islower() else text)
    context = problem.ctx if isinstance(problem, click.UsageError) else None
    if context is not None:
        hint(f"{context.command_path} --help")


def _bug(problem: Exception) -> None:
    error(f"internal error: {type(problem).__name__}")
    if os.environ.get("DOMSEC_DEBUG"):
        import traceback

        print_lines(traceback.format_exc().splitlines(), stream="stderr")
    else:
        hint("this is a bug in domsec; DOMSEC_DEBUG=1 shows where it happened")


# --- words ----------------------------------------------------------------------------------------------------------


def error(text: str) -> None:
    print_lines([f"domsec: error: {text}"], stream="stderr")


def warning(text: str) -> None:
    print_lines([f"domsec: warning: {text}"], stream="stderr")


def hint(text: str) -> None:
    print_lines([f"domsec: hint: {text}"], stream="stderr")


def note(text: str) -> None:
    print_lines([f"domsec: {text}"], stream="stderr")


def print_lines(lines: Iterable[str], output: Path | None = None, stream: str = "stdout") -> None:
    """Lines for a person, each made safe for a terminal."""
    from domsec.trust.names import escaped

    text = "".join(f"{escaped(part)}\n" for line in lines for part in line.split("\n"))
    octets = text.encode("utf-8" if output else _encoding(stream), "backslashreplace")
    if output is None:
        print_bytes(octets, stream)
    else:
        write(octets, output)


def _encoding(stream: str) -> str:
    return getattr(sys.stderr if stream == "stderr" else sys.stdout, "encoding", None) or "utf-8"


def print_bytes(octets: Octets, stream: str = "stdout") -> None:
    binary = (sys.stderr if stream == "stderr" else sys.stdout).buffer
    binary.write(octets)
    binary.flush()


# --- results --------------------------------------------------------------------------------------------------------


def write(octets: Octets | Pieces, output: Path | None) -> None:
    """The result: to a file, or to standard output. Raises ConfigurationError for a file that cannot be written."""
    if output is None:
        for chunk in chunks(octets):
            print_bytes(chunk)
        return
    try:
        with output.open("wb") as file:
            for chunk in chunks(octets):
                file.write(chunk)
    except OSError as problem:
        raise ConfigurationError(f"{output}: cannot be written: {problem.strerror}") from None


def write_json(value: JSON, output: Path | None = None) -> None:
    """One JSON document, in ASCII."""
    write(json.dumps(value, indent=2).encode("ascii") + b"\n", output)
