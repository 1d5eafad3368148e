"""Who is on a mail list: the addresses of its options, and those of a file with one a line."""

from __future__ import annotations

from pathlib import Path

from domsec.errors import ConfigurationError, MalformedMessage
from domsec.mime.addresses import Mailbox, ascii_lower, parse_address
from domsec.policy.options import ListOptions


def members_of(options: ListOptions) -> tuple[Mailbox, ...]:
    """Each member once, in the order written. Raises ConfigurationError with every problem of the file.

    The key process has lists without members: it has their keys and nothing else.
    """
    if not options.members and options.members_file is None:
        raise ConfigurationError(f"list {options.name} without members or members_file, expected one")
    listed = load_members(options.members_file) if options.members_file is not None else ()
    found: dict[tuple[str, str], Mailbox] = {}
    for member in (*options.members, *listed):
        found.setdefault((ascii_lower(member.local), member.domain), member)
    return tuple(found.values())


def load_members(path: Path) -> tuple[Mailbox, ...]:
    """Raises ConfigurationError with every problem of the file."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8, expected one mail address a line") from None
    found: list[Mailbox] = []
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        written = line.strip()
        if not written or written.startswith("#"):
            continue
        try:
            found.append(parse_address(written))
        except MalformedMessage as problem:
            problems.append(f"{path}:{number}: {problem}, expected one mail address")
    if problems:
        raise ConfigurationError(*problems)
    return tuple(found)
