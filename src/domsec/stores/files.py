"""Reading files that an administrator named: bounded, and every failure tells the file."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from domsec.errors import ConfigurationError

MAXIMUM_SIZE = 64 * 1024 * 1024  # a large CRL has some ten million octets


def read_file(path: Path, maximum: int = MAXIMUM_SIZE) -> bytes:
    """The octets of a file. Raises ConfigurationError that names it."""
    try:
        with path.open("rb") as file:
            octets = file.read(min(_size(file), maximum) + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    if len(octets) > maximum:
        raise ConfigurationError(f"{path}: longer than {maximum} octets")
    return octets


def _size(file: BinaryIO) -> int:
    """How much there is to read: memory for as much is asked for at once. Of a pipe nobody knows."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else MAXIMUM_SIZE
