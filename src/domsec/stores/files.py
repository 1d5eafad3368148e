"""Reading files that an administrator named: bounded, and every failure tells the file."""

from __future__ import annotations

from pathlib import Path

from domsec.errors import ConfigurationError

MAXIMUM_SIZE = 64 * 1024 * 1024  # a large CRL has some ten million octets


def read_file(path: Path, maximum: int = MAXIMUM_SIZE) -> bytes:
    """The octets of a file. Raises ConfigurationError that names it."""
    try:
        with path.open("rb") as file:
            octets = file.read(maximum + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    if len(octets) > maximum:
        raise ConfigurationError(f"{path}: longer than {maximum} octets")
    return octets
