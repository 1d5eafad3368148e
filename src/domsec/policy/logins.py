"""Which addresses a login may use in From: text tables as Postfix reads them (postmap(1)).

logins   by login: the addresses it may use
owners   by address: the logins it belongs to, which is the table of Postfix's smtpd_sender_login_maps
"""

from __future__ import annotations

import re
from pathlib import Path

from domsec.errors import ConfigurationError, MalformedMessage
from domsec.mime.addresses import ascii_lower, normalise_domain, parse_address
from domsec.policy.evidence import Rights


def load_logins(path: Path) -> dict[str, Rights]:
    """Read a table: a login, white space, then addresses or @domains separated by commas or white space.

    Lines that begin with white space go on with the line before; empty ones and those that begin with # are skipped.
    Raises ConfigurationError with every problem of the file.
    """
    text = _text(path)
    table: dict[str, Rights] = {}
    problems: list[str] = []
    for line, login, values in _entries(text):
        if not values:
            problems.append(f"{path}:{line}: a login without addresses, expected addresses or @domains")
        for value in values:
            rights = table.get(login, Rights())
            try:
                if value.startswith("@"):
                    rights = Rights(rights.addresses, rights.domains | {normalise_domain(value[1:])})
                else:
                    rights = Rights(rights.addresses | {parse_address(value).address}, rights.domains)
            except MalformedMessage as problem:
                problems.append(f"{path}:{line}: {problem}, expected an address or @domain")
            table[login] = rights
    if problems:
        raise ConfigurationError(*problems)
    return table


def load_owners(path: Path) -> dict[str, frozenset[str]]:
    """Read the table of smtpd_sender_login_maps: an address or @domain, white space, then logins.

    A name without @, which to Postfix is one of $myorigin, is a problem: which domain that is we do not know.
    Raises ConfigurationError with every problem of the file.
    """
    table: dict[str, frozenset[str]] = {}
    problems: list[str] = []
    for line, key, logins in _entries(_text(path)):
        try:
            named = _owned(key)
        except MalformedMessage as problem:
            problems.append(f"{path}:{line}: {problem}, expected an address or @domain")
            continue
        if not logins:
            problems.append(f"{path}:{line}: an address without logins, expected whom it belongs to")
        if named in table:
            problems.append(f"{path}:{line}: {named} a second time, expected all its logins in one line")
        table[named] = frozenset(login.lower() for login in logins)
    if problems:
        raise ConfigurationError(*problems)
    return table


def _owned(key: str) -> str:
    return f"@{normalise_domain(key[1:])}" if key.startswith("@") else ascii_lower(parse_address(key).address)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8, expected a table as Postfix reads them") from None


def _entries(text: str) -> list[tuple[int, str, list[str]]]:
    entries: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = re.split(r"[\s,]+", line.strip().strip(","))
        if line[0].isspace() and entries:
            entries[-1][2].extend(words)
        else:
            entries.append((number, words[0].lower(), words[1:]))
    return entries
